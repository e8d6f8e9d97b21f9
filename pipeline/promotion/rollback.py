"""``rollback``: the champion before this one is the champion again."""

from __future__ import annotations

from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.console import say
from pipeline.promotion.champion import move, settle
from pipeline.registry.client import registry
from pipeline.registry.versions import first_known, load_version
from rdmc.errors import ServiceError


def run(project: Project[Params], reason: str = "") -> None:
    """Move the champion one promotion back; again, and it is two. Versions that were deleted are passed over, and named.

    The model is loaded first, so that nothing is put in use that cannot be. Raises ServiceError where there is nothing to go
    back to, MLflow is away or another act moved the champion meanwhile, CheckpointError for a model that is damaged.
    """
    names = project.params.register_
    with registry(project.settings) as client:
        state = settle(client, names)
        target, gone = first_known(client, names.model, state.earlier)
        skipped = f"version {', '.join(map(str, gone))}: deleted from the registry" if gone else ""
        if not target:
            at = f"models:/{names.model}@{names.champion}"
            why = f" ({skipped})" if skipped else ""
            raise ServiceError(f"{at}: no champion before this one to go back to{why}; see `python -m pipeline history`")
    if skipped:
        say(f"passed over {skipped}")
    load_version(target, project.settings)
    with registry(project.settings) as client:
        move(client, names, state, "rollback", target.number, skipped and f"passed over {skipped}", reason)
    say(f"models:/{names.model}@{names.champion} is version {target.number} again, before: {state.champion or 'none'}")
