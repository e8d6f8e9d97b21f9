"""RDMC, a recursive dynamic multi-scale network with a contrastive prior that removes rain from photographs.

The public names are imported on first use, so that reading an image or raising an error does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rdmc.inference import derain_image
    from rdmc.models.rdmc import RDMC, RDMCConfig
    from rdmc.reference import load_reference

__all__ = ["RDMC", "RDMCConfig", "derain_image", "load_reference"]

_HOMES = {
    "RDMC": "rdmc.models.rdmc",
    "RDMCConfig": "rdmc.models.rdmc",
    "derain_image": "rdmc.inference",
    "load_reference": "rdmc.reference",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'rdmc' has no attribute {name!r}")
