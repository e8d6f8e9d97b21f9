"""The journal of images that are measured. Its name is a digest of everything that their figures depend on.

So results of another model, of other images, of other code or of other libraries are never found in it.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL
import torch

import pipeline
from rdmc.data.journal import PieceJournal, digest_of, library_digest
from rdmc.files import files_digest
from rdmc.models.base import Restorer

LIBRARY = ("checkpoint.py", "data", "inference.py", "metrics.py", "models", "quality")
MEASURING = ("evaluation", "comparison")
"""The modules of ``rdmc`` and the folders of ``pipeline`` that the figures of an image depend on."""
VERSIONS = [torch.__version__, np.__version__, cv2.__version__, PIL.__version__]


class ImageJournal(PieceJournal):
    """The results of the images that are finished, by position, in a file of ``folder``."""

    def __init__(self, folder: Path, *depends: str) -> None:
        super().__init__(folder / f"{digest_of([*measuring_code(), *depends])}.jsonl")


def network_digest(network: Restorer) -> str:
    """Return a SHA-256 (hex) of a network's weights and config. Some of a config, such as ``passes``, changes no weight."""
    digest = hashlib.sha256(repr(network.config).encode())
    for name, tensor in network.state_dict().items():
        digest.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def measuring_code(*folders: str) -> list[Any]:
    """Return digests of the code by which images are measured, and the versions of its libraries.

    ``folders`` are further folders of ``pipeline`` that a result depends on.
    """
    return [library_digest(*LIBRARY), _folders_digest(*MEASURING, *folders), VERSIONS]


@cache
def _folders_digest(*folders: str) -> str:
    root = Path(pipeline.__file__).parent
    return files_digest(root, [path for folder in folders for path in sorted((root / folder).glob("*.py"))])
