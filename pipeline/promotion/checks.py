"""The rules of the gate that need no image: the challenger's origin and history, and the datasets that must be measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pipeline.promotion.gate import Check
from pipeline.promotion.log import PromotionLog
from pipeline.registry.provenance import gaps
from pipeline.registry.versions import Version


def lineage_checks(challenger: Version, here: dict[str, str], log: PromotionLog) -> list[Check]:
    """Check that the challenger's code and data are known, that its data are those in use, and that it was never rolled back.

    ``here`` maps each dataset of params.yaml to the digest of its manifest.
    """
    missing = gaps(challenger.tags)
    other = [name for name, digest in here.items() if challenger.data.get(name) != digest]
    rollback = log.rolled_back(challenger.number)
    standing = f"rolled back on {rollback.at} ({rollback.why or 'no reason given'})" if rollback else "never rolled back"
    seen = f"registered with other data than is here ({', '.join(other)}), so it may have seen these test images"
    return [
        Check("lineage", not missing, "; ".join(missing) or "code, data and leaks are known"),
        Check("data", not other, seen if other else "registered with the data that is here"),
        Check("standing", rollback is None, standing),
    ]


def benchmarks_of(champion: Version, known: Mapping[str, float]) -> set[str]:
    """The datasets on whose test images the champion was measured when it was registered.

    ``known`` has the figures of its run. If there are none any more, these are all its datasets.
    """
    return {name.partition("/")[0] for name in known if name.endswith("/derained/psnr_y")} - {"overall"} or set(champion.data)


def benchmark_checks(champion: Version | None, defended: set[str], stores: Collection[str]) -> list[Check]:
    """Check that the challenger is measured on every dataset that the champion was measured on.

    ``defended`` has the champion's datasets, ``stores`` the datasets that have test images here. No check without a champion.
    """
    if not champion:
        return []
    lost = sorted(defended.difference(stores))
    reason = f"{champion.label} was measured on {', '.join(lost)}, which has no test images here; name it in params.yaml again"
    return [Check("benchmarks", not lost, reason if lost else "all that the champion was measured on")]


def weights_checks(challenger: Version, champion: Version | None) -> list[Check]:
    """A check that fails if the challenger's weights are the champion's, so there is nothing to gain; else no check.

    The rule on all images fails then as well. This one says why.
    """
    if not champion or not champion.digest or challenger.digest != champion.digest:
        return []
    return [Check("weights", False, f"its weights are those of the champion, {champion.label}: the same model, trained again")]
