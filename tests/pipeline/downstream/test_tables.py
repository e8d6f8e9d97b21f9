"""The tables and the JSON of what was seen."""

from __future__ import annotations

import json

from pipeline.downstream.measure import SetResult
from pipeline.downstream.tables import FAULTS, plain, tables
from rdmc.data.pairs import Fault
from rdmc.downstream.detection import Agreement
from rdmc.downstream.segmentation import Overlap

BOXES = SetResult("light", "its finds", ["a", "b"], {"rainy": Agreement(4, 3, 1, 0.25, -1)}, right={"rainy": [1, 0]})
MAPS = SetResult("heavy", "its labels", ["a"], maps={"derained": Overlap(0.5, 0.75, 8)})


def test_only_what_was_seen_has_a_table() -> None:
    (boxes,) = tables([BOXES])
    assert boxes.rows == [["light (2)", "rainy", "4", "1", "0.250", "2", "0.250", "-"]]
    assert "compared with its finds" in boxes.title
    (maps,) = tables([MAPS])
    assert maps.rows == [["heavy (1)", "derained", "0.500", "0.750", "8"]]
    assert "its labels" in maps.title


def test_sets_that_are_compared_with_something_else_have_a_table_of_their_own() -> None:
    other = SetResult("real", "its finds in the rain", ["c"], {"derained": Agreement(2, 2, 2, 1, 1)})
    assert [(len(one.rows), one.title.partition(":")[0]) for one in tables([BOXES, other, BOXES])] == [
        (2, "objects, compared with its finds"),
        (1, "objects, compared with its finds in the rain"),
    ]


def test_faults_are_counted_and_the_first_are_shown() -> None:
    many = SetResult("light", "", faults=[Fault(f"{n}.png", "bad") for n in range(FAULTS + 5)])
    (found,) = tables([many])
    assert found.title == f"set aside: {FAULTS + 5}"
    assert len(found.rows) == FAULTS
    assert len(plain(many)["set aside"]) == FAULTS + 5


def test_json_has_the_shares_and_every_image() -> None:
    found = json.loads(json.dumps(plain(BOXES)))
    assert found["objects"]["rainy"]["recall"] == 0.25
    assert found["objects"]["rainy"]["precision"] == 1 / 3
    assert found["found again"] == {"rainy": [1, 0]}
