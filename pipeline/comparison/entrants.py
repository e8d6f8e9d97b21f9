"""The models that are compared, as a user names them.

``rainy`` is the input itself, ``outputs:FOLDER`` the images that another program saved, and the rest are networks. With ``x8:``
before its name, a network is its self-ensemble (``rdmc.models.ensemble``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.comparison.outputs import Outputs
from pipeline.config.settings import Settings
from pipeline.serving.choice import REFERENCE, SCHEME, load_named
from rdmc.checkpoint import FACTS
from rdmc.errors import ConfigError
from rdmc.models.base import Restorer
from rdmc.models.cost import Cost, cost
from rdmc.models.ensemble import COPIES, SelfEnsemble

RAINY, PRENET, OUTPUTS, TURNED = "rainy", "prenet:", "outputs:", "x8:"
BEST = Path("checkpoints/best")
"""Where the best model is in the folder of a project or of a profile's run."""
FORMS = (
    f"models:/NAME@ALIAS, models:/NAME/VERSION, a checkpoint or run folder, {REFERENCE}, {RAINY}, {PRENET}FILE, "
    f"{OUTPUTS}FOLDER, or {TURNED} before any of those with a network"
)


@dataclass(frozen=True)
class Entrant:
    """A model, or what stands in for one."""

    label: str
    """Its name in tables; no two are equal."""
    source: str
    """Where it comes from, in words."""
    digest: str
    """SHA-256 of the weights, or what else identifies the results."""
    network: Restorer | None = None
    """On the CPU, in evaluation mode; None for the rainy input and for saved outputs."""
    outputs: Outputs | None = None

    @property
    def cost(self) -> Cost | None:
        """Its parameters and arithmetic; None if they are not known."""
        if self.network is None:
            return None
        one = cost(self.network.config)
        return Cost(one.parameters, one.gflop * COPIES) if isinstance(self.network, SelfEnsemble) else one


def entrants(names: Sequence[str], settings: Settings) -> list[Entrant]:
    """Load the models in the order of their names; ``rainy`` is added at the end unless it is named.

    Raises ConfigError for a name that is no model, ServiceError or CheckpointError for a model that cannot be loaded, and
    DataError for a folder of outputs without pictures.
    """
    if not names:
        raise ConfigError(f"no model is named; name one or more: {FORMS}")
    wanted = list(dict.fromkeys([*names, RAINY]))
    found = [_entrant(name, settings) for name in wanted]
    labels = [entrant.label for entrant in found]
    return [
        Entrant(f"{one.label} ({name})" if labels.count(one.label) > 1 else one.label, *_rest(one))
        for one, name in zip(found, wanted, strict=True)
    ]


def _rest(entrant: Entrant) -> tuple[str, str, Restorer | None, Outputs | None]:
    return entrant.source, entrant.digest, entrant.network, entrant.outputs


def _entrant(name: str, settings: Settings) -> Entrant:
    if name == RAINY:
        return Entrant(RAINY, "the input as it is", "")
    if name.startswith(OUTPUTS):
        outputs = Outputs(Path(name.removeprefix(OUTPUTS)))
        return Entrant(f"outputs {outputs.folder.name}", str(outputs.folder), outputs.digest, outputs=outputs)
    if name.startswith(TURNED):
        one = _entrant(name.removeprefix(TURNED), settings)
        if one.network is None or isinstance(one.network, SelfEnsemble):
            raise ConfigError(f"{name}: {TURNED} needs a network that is turned once; name {FORMS}")
        about = f"{one.source}, mean over {COPIES} turned and mirrored copies"
        return Entrant(f"{one.label} x8", about, f"{one.digest} x8", SelfEnsemble(one.network))
    path = _file(name.removeprefix(PRENET)) if name.startswith(PRENET) else _path(name, settings)
    model = load_named(path, settings)
    label = f"{model.name} {model.version}" if path.startswith(SCHEME) else _label(path)
    return Entrant(label, str(model), model.sha256 or path, model.network)


def _label(path: str) -> str:
    return Path(path).stem if Path(path).is_file() else path


def _file(name: str) -> str:
    if not Path(name).is_file():
        raise ConfigError(f"{PRENET}{name}: no such file; name the weights that PReNet's authors publish, a .pth file")
    return name


def _path(name: str, settings: Settings) -> str:
    """The name as ``load_named`` takes it: for the folder of a project or of a run, that of its best model."""
    if name == REFERENCE or name.startswith(SCHEME):
        return name
    path = Path(name)
    if path.is_file():
        return name
    if (path / FACTS).is_file():
        return name
    if (path / BEST / FACTS).is_file():
        return str(path / BEST)
    what = "no model in this folder" if path.is_dir() else "no such model"
    raise ConfigError(f"{name}: {what}; name {FORMS}")
