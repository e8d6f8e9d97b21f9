"""Images that another program saved: the outputs of a method whose network is not at hand, matched to the pairs by name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from rdmc.data.images import Image, read_rgb
from rdmc.data.pairs import clean_name
from rdmc.errors import DataError
from rdmc.files import file_digest, pictures


class Outputs:
    """The pictures below a folder. With several datasets, each has a folder of its name below it.

    A picture has the name of its rainy image; letters, case and suffix as ``rdmc.data.pairs.clean_name`` writes them. Raises
    DataError for a folder that does not exist or holds no picture.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise DataError(f"outputs:{folder}: no such folder; name the folder of the images that a method saved")
        self.folder = folder
        self._files = {path.relative_to(folder): path for path in pictures(folder)}
        if not self._files:
            raise DataError(f"outputs:{folder}: holds no pictures; name the folder of the images that a method saved")
        digest = hashlib.sha256()
        for relative, path in self._files.items():
            digest.update(f"{relative.as_posix()} {file_digest(path)}\n".encode())
        self.digest = digest.hexdigest()
        """SHA-256 over the files."""

    def read(self, dataset: str, image: str) -> Image:
        """The output for an image of a dataset: (H, W, 3), RGB, 0 to 255.

        Raises DataError if there is none, if there are several, or if it cannot be read.
        """
        found = self._of(dataset).get(image, [])
        if len(found) != 1:
            what = f"has {len(found)} outputs ({found[0].name}, {found[1].name})" if found else "has no output"
            raise DataError(f"{dataset}/{image}: {what} in {self.folder}; give it one of its name")
        return read_rgb(found[0])

    def _of(self, dataset: str) -> Mapping[str, list[Path]]:
        """The files by the name of their image: those below a folder of the dataset's name if there is one, else all."""
        own = {relative: path for relative, path in self._files.items() if dataset in relative.parts[:-1]}
        names: dict[str, list[Path]] = {}
        for path in (own or self._files).values():
            names.setdefault(clean_name(path.stem), []).append(path)
        return names
