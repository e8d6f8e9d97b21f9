"""``promote``: a version held against the champion on the same test images, and made the champion where the gate lets it."""

from __future__ import annotations

from dataclasses import replace

from pipeline.comparing import RAINY, compared
from pipeline.console import say, table
from pipeline.gate import Check, Outcome, Verdict, judge
from pipeline.measuring import device_of, open_stores
from pipeline.params import Params
from pipeline.promotion import Entry, State, append, move, settle
from pipeline.provenance import gaps
from pipeline.registry import registry
from pipeline.settings import Settings
from pipeline.storage import fetch_dataset
from pipeline.verdicts import file_verdict
from pipeline.versions import Version, find_version, load_version
from pipeline.workspace import Workspace
from rdmc.data.shards import MANIFEST, read_manifest
from rdmc.errors import CheckpointError, ConfigError, ServiceError
from rdmc.restorer import Restorer


def run(params: Params, settings: Settings, workspace: Workspace, version: str, force: bool = False, reason: str = "") -> bool:
    """Judge ``version`` (a number or an alias) and promote it; whether it is the champion afterwards.

    ``force`` promotes what the gate refuses, for a reason that is recorded; never what cannot be loaded. The verdict is filed
    first, then the entry of the history that makes it so, then the alias.

    Raises:
        ConfigError: force without a reason.
        CheckpointError: weights that are missing or damaged.
        ServiceError: MLflow is away or does not know the version; another act moved the champion meanwhile.
        DataError: test images that are gone.
    """
    if force and not reason.strip():
        raise ConfigError("--force: needs a reason, which the history keeps; add --reason 'why'")
    names = params.register_
    with registry(settings) as client:
        challenger = find_version(client, names.model, version)
        state = settle(client, names)
        champion = find_version(client, names.model, str(state.champion)) if state.champion else None
    if champion and champion.number == challenger.number:
        say(f"{challenger.uri} is the {names.champion} already: nothing to promote")
        return True
    if not challenger.run_id:
        raise ServiceError(
            f"{challenger.uri}: has no MLflow run, so no figures and no place for a verdict; register it with `make repro`"
        )
    verdict, outcomes = _judged(params, settings, workspace, challenger, champion, state, force)
    _show(verdict)
    with registry(settings) as client:
        file_verdict(client, challenger, verdict, outcomes)
        if verdict.passed or force:
            kind = "promote" if verdict.passed else "force"
            entry = move(client, names, state, kind, challenger.number, verdict.line, reason)
        else:
            entry = append(client, names, state, "refuse", challenger.number, verdict.line, reason)
    _tell(entry, names.champion, challenger)
    return entry.kind != "refuse"


def _judged(
    params: Params,
    settings: Settings,
    workspace: Workspace,
    challenger: Version,
    champion: Version | None,
    state: State,
    force: bool,
) -> tuple[Verdict, list[Outcome]]:
    """The verdict, and what both did with the images; the champion is the rainy input where there is none that loads."""
    new = load_version(challenger, settings)
    old, lost = _loaded(champion, settings, force)
    stores = open_stores(list(params.datasets), settings, workspace)
    models = {challenger.label: new, (champion.label if champion and old else RAINY): old}
    outcomes = compared(models, stores, params.evaluate, params.gate.clean_share, device_of(settings))
    lineage = [*lost, *lineage_checks(challenger, _here(params, settings, workspace), state)]
    verdict = judge(outcomes[0], outcomes[1], params.gate, params.seed, lineage, first=champion is None)
    other = [name for name, digest in challenger.data.items() if champion and champion.data.get(name) != digest]
    facts = {"trained on other data than the champion": ", ".join(other)} if other else {}
    return replace(verdict, facts={**verdict.facts, **facts}), outcomes


def _loaded(champion: Version | None, settings: Settings, force: bool) -> tuple[Restorer | None, list[Check]]:
    """The champion's network. One that cannot be loaded is an error, or, by force, a rule that fails."""
    if champion is None:
        return None, []
    try:
        return load_version(champion, settings), []
    except (CheckpointError, ServiceError) as error:
        if not force:
            raise type(error)(
                f"the champion cannot be loaded, so there is nothing to compare with: {error}; or --force"
            ) from None
        return None, [Check("champion", False, f"the champion could not be loaded: {error}")]


def _here(params: Params, settings: Settings, workspace: Workspace) -> dict[str, str]:
    """The digests of the datasets that the test images are of."""
    return {name: read_manifest(fetch_dataset(settings, workspace, name) / MANIFEST).digest for name in params.datasets}


def lineage_checks(challenger: Version, here: dict[str, str], state: State) -> list[Check]:
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


def _show(verdict: Verdict) -> None:
    rows = [[check.name, "holds" if check.passed else "FAILS", check.said] for check in verdict.checks]
    table(
        f"{verdict.challenger} against {verdict.champion}: {verdict.images} images of {verdict.scenes} scenes",
        ["", "", ""],
        rows,
    )


def _tell(entry: Entry, champion: str, challenger: Version) -> None:
    if entry.kind == "refuse":
        say(f"{challenger.uri} is not promoted. {entry.verdict}")
        say("to promote it all the same: --force --reason 'why'")
    else:
        by = " by force" if entry.kind == "force" else ""
        say(f"models:/{challenger.model}@{champion} is version {challenger.number} now{by}, before: {entry.before or 'none'}")
