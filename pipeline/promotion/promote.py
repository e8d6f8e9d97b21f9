"""The command ``promote``: compare a version with the champion on the same test images; promote it if the gate allows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.config.registry import Register
from pipeline.config.settings import Settings
from pipeline.console import say, table
from pipeline.evaluation.evaluator import device_of, open_tests
from pipeline.evaluation.journal import measuring_code
from pipeline.evaluation.model_figures import ModelFigures
from pipeline.evaluation.paired import RAINY, compared
from pipeline.promotion.champion import append, move, settle
from pipeline.promotion.checks import benchmark_checks, benchmarks_of, lineage_checks, weights_checks
from pipeline.promotion.gate import Check, Verdict, judge
from pipeline.promotion.log import LogEntry, PromotionLog
from pipeline.promotion.robustness import rain_gains, robustness_checks
from pipeline.promotion.verdict import file_verdict
from pipeline.registry.client import registry
from pipeline.registry.versions import AGAIN, Version, figures, find_version, first_known, load_version
from pipeline.storage.datasets import read_manifests
from rdmc.data.journal import digest_of, library_digest
from rdmc.data.loader import PairStore
from rdmc.errors import CheckpointError, ConfigError, ServiceError
from rdmc.models.base import Restorer

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Case:
    """What the registry knows about a promotion."""

    challenger: Version
    champion: Version | None
    """The last champion that still exists. It may have lost its alias."""
    gone: list[int]
    """The champions after it, which were deleted."""
    log: PromotionLog
    defended: set[str]
    """The datasets that the champion was measured on."""

    @property
    def twin(self) -> Version | None:
        """The champion, if it still has its alias and the challenger has its weights."""
        if not self.champion or self.champion.number != self.log.champion:
            return None
        return self.champion if self.challenger.digest and self.challenger.digest == self.champion.digest else None


def run(project: Project[Params], version: str, force: bool = False, reason: str = "", as_json: bool = False) -> bool:
    """Judge ``version`` (a number or an alias) and promote it. Returns whether it is the champion afterwards.

    ``force`` promotes a version that the gate refuses, for a reason that is recorded, but never one that cannot be loaded. The
    verdict is stored first. Then an entry is added to the history, which is what promotes the version. The alias moves last.
    ``as_json`` shows the outcome and the verdict as one JSON object instead of text.

    Raises:
        ConfigError: force without a reason.
        CheckpointError: weights are missing or damaged.
        ServiceError: MLflow is unavailable or does not know the version, or another command moved the champion meanwhile.
        DataError: test images are missing.
    """
    if force and not reason.strip():
        raise ConfigError("--force: needs a reason, which the history keeps; add --reason 'why'")
    params, settings = project.params, project.settings
    names = params.register_
    with registry(settings) as client:
        case = _case(client, names, version)
    if settled := _settled(case, names.champion, force):
        outcome, line = settled
        say(_json(case, outcome, case.log.champion == case.challenger.number, line) if as_json else line)
        return True
    stores = open_tests(project)
    here = {name: manifest.digest for name, manifest in read_manifests(project).items()}
    checks = [
        *lineage_checks(case.challenger, here, case.log),
        *benchmark_checks(case.champion, case.defended, stores),
        *weights_checks(case.challenger, case.champion),
    ]
    basis = _basis(params, here, checks, case)
    earlier = None if force else case.log.refused(case.challenger.number, basis)
    if earlier:
        line = f"{case.challenger.uri} was refused on {earlier.at}, and nothing that counts has changed. {earlier.verdict}"
        where = f"the verdict: {earlier.document} of run {case.challenger.run_id}"
        say(_json(case, "refused before", False, line, earlier.document) if as_json else f"{line}\n{where}")
        return False
    verdict, both = _judged(params, settings, case, stores, checks, force)
    if not as_json:
        _show(verdict)
    with registry(settings) as client:
        document = file_verdict(client, case.challenger, verdict, both, basis)
        kind = "promote" if verdict.passed else "force" if force else "refuse"
        record = append if kind == "refuse" else move
        entry = record(client, names, case.log, kind, case.challenger.number, verdict.line, reason, document)
    if as_json:
        say(_json(case, kind, kind != "refuse", entry.verdict, document, verdict))
    else:
        _report(entry, names.champion, case.challenger)
    return kind != "refuse"


def _settled(case: Case, champion: str, force: bool) -> tuple[str, str] | None:
    """The outcome of a case in which there is nothing to promote, and a line that says so; None if it must be judged."""
    uri = case.challenger.uri
    if case.log.champion == case.challenger.number:
        return "champion already", f"{uri} is the {champion} already: nothing to promote"
    if case.twin and not force:
        return "champion's weights", f"{uri} has the weights of the {champion}, {case.twin.label}: nothing to promote"
    return None


def _case(client: MlflowClient, names: Register, version: str) -> Case:
    """Read the case from the registry. Raises ServiceError for a version that cannot be judged."""
    challenger = find_version(client, names.model, version)
    log = settle(client, names)
    champion, gone = first_known(client, names.model, log.line[::-1])
    if champion and champion.number == challenger.number != log.champion:
        at = f"models:/{names.model}@{names.champion}"
        raise ServiceError(f"{challenger.uri}: was {at} until that was lost; `python -m pipeline rollback` brings it back")
    if not challenger.run_id:
        raise ServiceError(
            f"{challenger.uri}: has no MLflow run, so no figures and no place for a verdict; register it with {AGAIN}"
        )
    defended = benchmarks_of(champion, figures(client, champion)) if champion else set()
    return Case(challenger, champion, gone, log, defended)


def _judged(
    params: Params, settings: Settings, case: Case, stores: Mapping[str, PairStore], checks: list[Check], force: bool
) -> tuple[Verdict, list[ModelFigures]]:
    """The verdict and the figures of both models. The rainy input stands in for a champion that does not exist or load."""
    new = load_version(case.challenger, settings)
    old, lost = _loaded(case, settings, force)
    models = {case.challenger.label: new, (case.champion.label if case.champion and old else RAINY): old}
    device = device_of(settings)
    measured = compared(models, stores, params.evaluate, params.gate.clean_share, device)
    pair = [replace(one, rains=rain_gains(models[one.label], one.label, params.gate, params.seed, device)) for one in measured]
    others = [*robustness_checks(pair[0], pair[1], params.gate, params.seed), *lost, *checks]
    verdict = judge(pair[0], pair[1], params.gate, params.seed, others, first=not case.log.line)
    return replace(verdict, facts={**verdict.facts, **_facts(case)}), pair


def _basis(params: Params, here: dict[str, str], checks: list[Check], case: Case) -> str:
    """A digest of what the verdict depends on: both models, the images, the rules, ``checks``, and the code that judges.

    ``here`` maps each dataset to the digest of its manifest.
    """
    models = [(each.number, each.source, each.tags.get("model_sha256")) for each in (case.challenger, case.champion) if each]
    rules = [params.gate.rules(), params.evaluate.tile, params.seed]
    code = [measuring_code("promotion"), library_digest("datasets")]  # with the rains of the robustness checks
    return digest_of([models, here, rules, [asdict(check) for check in checks], code])[:16]


def _loaded(case: Case, settings: Settings, force: bool) -> tuple[Restorer | None, list[Check]]:
    """The champion's network, and checks that fail if it is lost.

    The network is None if there has never been a champion. A champion that cannot be loaded is an error; with ``force`` it is
    None and a check that fails.
    """
    if not case.log.line:
        return None, []
    try:
        if case.champion:
            return load_version(case.champion, settings), []
        raise ServiceError(f"version {', '.join(map(str, case.gone))}: deleted from the registry")
    except (CheckpointError, ServiceError) as error:
        if not force:
            raise type(error)(
                f"the champion cannot be loaded, so there is nothing to compare with: {error}; or --force"
            ) from None
        return None, [Check("champion", False, f"the champion could not be loaded: {error}")]


def _facts(case: Case) -> dict[str, str]:
    """Facts about the case that the verdict reports and that do not decide it."""
    facts = {"champions since then that were deleted": ", ".join(map(str, case.gone))} if case.gone else {}
    if case.champion:
        a, b = case.challenger.data, case.champion.data
        other = [name for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)]
        facts |= {"trained on other data than the champion": ", ".join(other)} if other else {}
    return facts


def _show(verdict: Verdict) -> None:
    rows = [[check.name, "holds" if check.passed else "FAILS", check.said] for check in verdict.ordered]
    table(f"{verdict.challenger} against {verdict.champion}: {verdict.counted}", ["", "", ""], rows)


def _json(case: Case, kind: str, champion: bool, line: str, document: str = "", verdict: Verdict | None = None) -> str:
    """The outcome as JSON. ``champion`` says whether the version is the champion now; ``document`` is a folder of its run."""
    outcome = {
        "model": case.challenger.model,
        "version": case.challenger.number,
        "outcome": kind,
        "champion": champion,
        "before": case.log.champion,
        "line": line,
        "run_id": case.challenger.run_id,
        "document": document,
        "verdict": json.loads(verdict.to_json()) if verdict else None,
    }
    return json.dumps(outcome, indent=1)


def _report(entry: LogEntry, champion: str, challenger: Version) -> None:
    if entry.kind == "refuse":
        say(f"{challenger.uri} is not promoted. {entry.verdict}")
        say("to promote it all the same: --force --reason 'why'")
    else:
        by = " by force" if entry.kind == "force" else ""
        say(f"models:/{challenger.model}@{champion} is version {challenger.number} now{by}, before: {entry.before or 'none'}")
