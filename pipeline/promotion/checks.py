"""The rules of the gate that need no image: is it known what made the challenger, and is it asked what the champion was?"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pipeline.promotion.gate import Check
from pipeline.promotion.log import PromotionLog
from pipeline.registry.provenance import gaps
from pipeline.registry.versions import Version


def lineage_checks(challenger: Version, here: dict[str, str], state: PromotionLog) -> list[Check]:
    """Whether it is known what made the challenger, and whether it was in use and fell."""
    found = gaps(challenger.tags)
    other = [name for name, digest in here.items() if challenger.data.get(name) != digest]
    fallen = state.fallen(challenger.number)
    back = f"rolled back on {fallen.at} ({fallen.why or 'no reason given'})" if fallen else "never rolled back"
    same = f"registered with other data than is here ({', '.join(other)}), so it may have seen these test images"
    return [
        Check("lineage", not found, "; ".join(found) or "code, data and leaks are known"),
        Check("data", not other, same if other else "registered with the data that is here"),
        Check("standing", fallen is None, back),
    ]


def benchmarks_of(champion: Version, known: Mapping[str, float]) -> set[str]:
    """The datasets on whose test images it was registered; all its datasets where its run has no figures any more."""
    return {name.partition("/")[0] for name in known if name.endswith("/derained/psnr_y")} - {"overall"} or set(champion.data)


def benchmark_checks(champion: Version | None, defended: set[str], stores: Collection[str]) -> list[Check]:
    """Whether all that the champion is good at is asked of the challenger too."""
    if not champion:
        return []
    lost = sorted(defended.difference(stores))
    said = f"{champion.label} was measured on {', '.join(lost)}, which has no test images here; name it in params.yaml again"
    return [Check("benchmarks", not lost, said if lost else "all that the champion was measured on")]
