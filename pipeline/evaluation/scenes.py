"""Which images show the same scene: a bootstrap draws a scene with all its images, for they are not independent."""

from __future__ import annotations

from collections.abc import Sequence


def merged(scenes: Sequence[str], cleans: Sequence[str]) -> list[str]:
    """Return the scene of each image; scenes that share a clean image are one, by the name that comes first.

    Datasets may be made from the same photographs, and datasets of other photographs may use the same names.

    Args:
        scenes: the scene of each image, named within its dataset (``light/street-3``).
        cleans: the ``pixels_digest`` of each clean image.
    """
    parent: dict[str, str] = {}
    shows: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := parent.setdefault(name, name)) != name:
            name = above
        return name

    for scene, clean in zip(scenes, cleans, strict=True):
        low, high = sorted((root(scene), root(shows.setdefault(clean, scene))))
        parent[high] = low
    return [root(scene) for scene in scenes]
