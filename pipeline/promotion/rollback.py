"""The command ``rollback``: make the previous champion the champion again."""

from __future__ import annotations

from pipeline.config.params import Params
from pipeline.config.project import Project
from pipeline.console import say
from pipeline.promotion.champion import move, settle
from pipeline.registry.client import registry
from pipeline.registry.versions import first_known, load_version
from rdmc.errors import ServiceError


def run(project: Project[Params], reason: str = "") -> None:
    """Make the previous champion the champion again. Each further rollback goes one promotion further back.

    Versions that were deleted are skipped, with a message. The model is loaded before the champion changes, so a model that
    cannot be loaded never becomes the champion.

    Raises:
        ServiceError: there is no earlier champion, MLflow is unavailable, or another command moved the champion meanwhile.
        CheckpointError: the model is damaged.
    """
    names = project.params.register_
    with registry(project.settings) as client:
        log = settle(client, names)
        target, gone = first_known(client, names.model, log.earlier)
        skipped = f"version {', '.join(map(str, gone))}: deleted from the registry" if gone else ""
        if not target:
            at = f"models:/{names.model}@{names.champion}"
            why = f" ({skipped})" if skipped else ""
            raise ServiceError(f"{at}: no champion before this one to go back to{why}; see `python -m pipeline history`")
    if skipped:
        say(f"passed over {skipped}")
    load_version(target, project.settings)
    with registry(project.settings) as client:
        move(client, names, log, "rollback", target.number, skipped and f"passed over {skipped}", reason)
    say(f"models:/{names.model}@{names.champion} is version {target.number} again, before: {log.champion or 'none'}")
