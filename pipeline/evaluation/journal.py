"""The journal of images that are measured. Its name is a digest of everything that their figures depend on.

So results of another model, of other images or of other code are never found in it.
"""

from __future__ import annotations

from pathlib import Path

from rdmc.data.journal import PieceJournal, digest_of, library_digest

CODE = ("inference.py", "metrics.py", "models", "quality")
"""The modules of ``rdmc`` that the figures of an image depend on."""


class ImageJournal(PieceJournal):
    """The results of the images that are finished, by position, in a file of ``folder``."""

    def __init__(self, folder: Path, *depends: str) -> None:
        super().__init__(folder / f"{digest_of([library_digest(*CODE), *depends])}.jsonl")
