"""``rollback``: the champion before this one is the champion again."""

from __future__ import annotations

from pipeline.console import say
from pipeline.params import Params
from pipeline.promotion import move, settle
from pipeline.registry import registry
from pipeline.settings import Settings
from pipeline.versions import find_version, load_version
from rdmc.errors import ServiceError


def run(params: Params, settings: Settings, reason: str = "") -> None:
    """Move the champion one promotion back; again, and it is two.

    The model is loaded first, so that nothing is put in use that cannot be. Raises ServiceError where there is nothing to go
    back to, MLflow is away or another act moved the champion meanwhile, CheckpointError for a model that is damaged.
    """
    names = params.register_
    with registry(settings) as client:
        state = settle(client, names)
        if not state.before:
            at = f"models:/{names.model}@{names.champion}"
            raise ServiceError(f"{at}: no champion before this one to go back to; see `python -m pipeline history`")
        target = find_version(client, names.model, str(state.before))
    load_version(target, settings)
    with registry(settings) as client:
        move(client, names, state, "rollback", target.number, "", reason)
    say(f"models:/{names.model}@{names.champion} is version {target.number} again, before: {state.champion or 'none'}")
