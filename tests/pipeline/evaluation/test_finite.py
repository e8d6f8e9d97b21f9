"""Numbers that JSON does not have become null, at any depth."""

from __future__ import annotations

import json
import math

from pipeline.evaluation.finite import finite


def test_what_is_not_finite_becomes_none() -> None:
    given = {"a": math.inf, "b": [1.5, math.nan, (-math.inf, {"c": 2, "d": "NaN", "e": None, "f": True})]}
    found = finite(given)
    assert found == {"a": None, "b": [1.5, None, [None, {"c": 2, "d": "NaN", "e": None, "f": True}]]}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
