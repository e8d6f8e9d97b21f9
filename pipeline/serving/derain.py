"""The command ``derain``: remove the rain from an image or from every image of a folder."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from pipeline.config.registry import Register
from pipeline.config.settings import Settings
from pipeline.console import say, track
from pipeline.serving.choice import NAMES, ModelChoice, choose, load_named
from rdmc.data.images import read_rgb, write_png
from rdmc.errors import DataError
from rdmc.files import PICTURES, walk
from rdmc.inference import best_device, derain_image


def run(source: Path, out: Path, model: str, settings: Settings, tile: int = 1024, names: Register = NAMES) -> None:
    """Derain ``source``, an image or a folder of images, and write PNG files. One line says which model does it.

    Args:
        source: an image of any common format, or a folder, which is searched with its subfolders.
        out: a ``.png`` file for a file, or a folder. Names and subfolders are kept inside the folder.
        model: ``models:/name@alias`` of the registry, ``reference``, a model folder, or a file of published weights. Empty: the
            champion, else the candidate, else the reference model.
        settings: where MLflow is, and whether a GPU may be used.
        tile: larger images are derained in tiles of this many pixels a side.
        names: the names in the registry, for an empty ``model``.

    Raises:
        DataError: there is nothing to derain, or an input would be overwritten. Also if an image failed, after all others are
            done.
        CheckpointError, ServiceError: there is no such model.
    """
    jobs = plan(source, out)
    device = "cpu" if settings.gpu is False else best_device()
    failed: list[str] = []
    choice = ModelChoice(model) if model else choose(names, settings)
    found = load_named(choice.model, settings)
    say(f"model: {found}{f'; {choice.why}' if choice.why else ''}")
    started = time.perf_counter()
    for picture, target in track(list(jobs.items()), "derain"):
        try:
            write_png(target, derain_image(found.network, read_rgb(picture, convert=True), tile, device))
        except (DataError, OSError) as error:
            failed.append(str(error))
    seconds = time.perf_counter() - started
    if failed and len(jobs) == 1:
        raise DataError(failed[0])
    for line in failed:
        say(f"not derained: {line}")
    done = len(jobs) - len(failed)
    say(f"{done} of {len(jobs)} pictures derained in {seconds:.1f} s: {out if source.is_dir() else next(iter(jobs.values()))}")
    if failed:
        raise DataError(f"{source}: {len(failed)} of {len(jobs)} pictures failed, named above; fix or remove them")


def plan(source: Path, out: Path) -> dict[Path, Path]:
    """Input -> output file of each image. Raises DataError if there is no image or an input would be overwritten."""
    if source.is_dir():
        jobs = _plan_folder(source, out)
    elif source.is_file():
        jobs = {source: out / f"{source.stem}.png" if out.is_dir() or not out.suffix else out}
    else:
        raise DataError(f"{source}: no such picture or folder; name one that exists")
    inputs = {picture.resolve() for picture in jobs}
    for target in jobs.values():
        if target.suffix.lower() != ".png":
            raise DataError(f"{target}: results are PNG files; end its name with .png or name a folder")
        if target.resolve() in inputs:
            raise DataError(f"{target}: would overwrite an input; name another place")
    return jobs


def _plan_folder(source: Path, out: Path) -> dict[Path, Path]:
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file, a folder's pictures need a folder; name another place")
    inside = walk(source)
    results = out.resolve()
    if results != source.resolve():
        inside = [path for path in inside if results not in path.resolve().parents]  # the results of an earlier run
    pictures = [path for path in inside if path.suffix.lower() in PICTURES]
    if skipped := len(inside) - len(pictures):
        say(f"{source}: {skipped} files without a picture's extension are left out")
    if not pictures:
        raise DataError(f"{source}: no pictures ({' '.join(sorted(PICTURES))}); name a folder that has some")
    targets = {path: (out / path.relative_to(source)).with_suffix(".png") for path in pictures}
    taken = Counter(targets.values())  # a.jpg and a.png must not get the same result
    return {path: out / f"{path.relative_to(source)}.png" if taken[t] > 1 else t for path, t in targets.items()}
