"""The command ``derain``: remove the rain from an image, from every image of a folder, or from a video."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import torch

from pipeline.config.registry import Register
from pipeline.config.settings import Settings
from pipeline.console import progress_bar, say
from pipeline.serving.choice import NAMES, NamedModel, load_chosen
from pipeline.serving.photos import SUFFIXES, is_result, read_photo
from pipeline.serving.video import FORMS, DerainedVideo, VideoFacts, derain_video, is_video
from rdmc.errors import DataError
from rdmc.files import PICTURES, walk, write_bytes
from rdmc.inference import best_device, derain_image


def run(
    source: Path,
    out: Path,
    model: str,
    settings: Settings,
    tile: int = 1024,
    names: Register = NAMES,
    overwrite: bool = False,
) -> None:
    """Derain ``source``, an image, a folder of images or a video. One line says which model does it.

    Grey, transparency, ICC profile and EXIF (without orientation) are kept; a line names what a result cannot hold.

    Args:
        source: an image of any common format, a folder, which is searched for images with its subfolders, or a video.
        out: a ``.png``, ``.jpg`` or ``.webp`` file for a file, or a folder, which gets PNG files. Names and subfolders are kept
            inside the folder. For a video a file with a suffix of ``pipeline.serving.video.FORMS``, or a folder, which gets
            an MP4 file.
        model: ``models:/name@alias`` of the registry, ``reference``, a model folder, or a file of published weights. Empty: the
            champion, else the candidate, else the reference model.
        settings: where MLflow is, and whether a GPU may be used.
        tile: larger images are derained in tiles of this many pixels a side.
        names: the names in the registry, for an empty ``model``.
        overwrite: replace results that exist. An input is never replaced.

    Raises:
        DataError: there is nothing to derain, or an input or an existing file would be overwritten. Also if an image failed,
            after all others are done, and if the end of a video is missing, after the frames before it are written.
        CheckpointError, ServiceError: there is no such model.
    """
    jobs = plan(source, out, overwrite)
    device = "cpu" if settings.gpu is False else best_device()
    found = load_chosen(model, settings, names)
    if source in jobs and is_video(source):
        _run_video(source, jobs[source], found, tile, device)
        return
    started = time.perf_counter()
    failed = _run_pictures(jobs, found, tile, device)
    seconds = time.perf_counter() - started
    if failed and len(jobs) == 1:
        raise DataError(failed[0])
    for line in failed:
        say(f"not derained: {line}")
    done = len(jobs) - len(failed)
    say(f"{done} of {len(jobs)} pictures derained in {seconds:.1f} s: {out if source.is_dir() else next(iter(jobs.values()))}")
    if failed:
        raise DataError(f"{source}: {len(failed)} of {len(jobs)} pictures failed, named above; fix or remove them")


def _run_pictures(jobs: Mapping[Path, Path], model: NamedModel, tile: int, device: str | torch.device) -> list[str]:
    """Derain each image with a progress bar, and name what a result cannot hold. Returns a line for each that failed."""
    failed: list[str] = []
    with progress_bar("derain", len(jobs)) as advance:
        for picture, target in jobs.items():
            form = SUFFIXES[target.suffix.lower()]
            try:
                photo = read_photo(picture)
                derained = derain_image(model.network, photo.pixels, tile, device, advance)
                write_bytes(target, photo.encoded(derained, form))
            except (DataError, OSError) as error:
                failed.append(str(error))
                continue
            if losses := photo.losses(form):
                say(f"{target}: without {', '.join(losses)}")
    return failed


def _run_video(source: Path, target: Path, model: NamedModel, tile: int, device: str | torch.device) -> None:
    """Derain a video with a progress bar, and say what became of it. Raises DataError as ``run`` does."""
    started = time.perf_counter()
    with ExitStack() as stack:
        moves: list[Callable[[float], None]] = []

        def begin(facts: VideoFacts) -> None:
            moves.append(stack.enter_context(progress_bar("derain", facts.frames or None)))

        done = derain_video(model.network, source, target, tile, device, begin, lambda part: moves[0](part))
    seconds = time.perf_counter() - started
    say(f"{done.frames} frames derained in {seconds:.1f} s ({done.frames / seconds:.2f} a second): {target}")
    for line in _about(done, source, target):
        say(line)
    if done.cut_short:
        raise DataError(
            f"{source}: cut short: {done.frames} of {done.announced} frames could be read, and {target} holds these; "
            "fetch the video again for the rest"
        )


def _about(done: DerainedVideo, source: Path, target: Path) -> list[str]:
    """What a user should know of a derained video, one line each."""
    flicker, lines = done.flicker, []
    if flicker.static > 0:
        lines.append(
            f"flicker of static pixels (mean absolute difference between frames, levels of 255): {flicker.rainy:.2f} before, "
            f"{flicker.derained:.2f} after; {flicker.static:.0%} of the pixels are static"
        )
    elif done.frames > 1:
        lines.append("flicker: not measured, no pixel is static")
    if done.trimmed:
        lines.append(
            f"{target}: {done.size[0]}x{done.size[1]}, without the last odd column or row, which the codec cannot hold"
        )
    return [
        *lines,
        f"{target}: has no sound; to add it: ffmpeg -i {target} -i {source} -map 0:v -map 1:a -c copy NEW{target.suffix}",
    ]


def plan(source: Path, out: Path, overwrite: bool = False) -> dict[Path, Path]:
    """Input -> output file of each image.

    Raises DataError if there is no image, two inputs have the same output, an input would be overwritten, or, without
    ``overwrite``, another file.
    """
    if source.is_dir():
        jobs = _plan_folder(source, out)
    elif source.is_file():
        suffix = ".mp4" if is_video(source) else ".png"
        jobs = {source: out / f"{source.stem}{suffix}" if out.is_dir() or not out.suffix else out}
        if is_result(source):
            say(f"{source}: is a result of derain already; it is derained again because you name it")
    else:
        raise DataError(f"{source}: no such picture or folder; name one that exists")
    inputs = {picture.resolve() for picture in jobs}
    targets: dict[Path, Path] = {}
    for picture, target in jobs.items():
        written = FORMS if is_video(picture) else SUFFIXES
        if target.suffix.lower() not in written:
            raise DataError(f"{target}: results are {', '.join(written)} files; end its name with one of them or name a folder")
        if target.resolve() in inputs:
            raise DataError(f"{target}: would overwrite an input; name another place")
        other = targets.setdefault(target.resolve(), picture)
        if other != picture:
            raise DataError(f"{target}: would be the result of both {other} and {picture}; rename one of them")
    existing = [] if overwrite else [target for target in jobs.values() if target.exists() or target.is_symlink()]
    if existing:
        more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise DataError(f"{existing[0]}{more}: exists already; name another place, or replace it with --overwrite")
    return jobs


def _plan_folder(source: Path, out: Path) -> dict[Path, Path]:
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file, a folder's pictures need a folder; name another place")
    inside = walk(source)
    folder = out.resolve()
    if source.resolve() in folder.parents:
        inside = [path for path in inside if folder not in path.resolve().parents]  # the results of an earlier run
    if videos := [path for path in inside if is_video(path)]:
        say(f"{source}: {len(videos)} videos are left out (first: {videos[0].name}); name each one by itself")
        inside = [path for path in inside if not is_video(path)]
    pictures = [path for path in inside if path.suffix.lower() in PICTURES]
    if skipped := len(inside) - len(pictures):
        say(f"{source}: {skipped} files without a picture's extension are left out")
    results = {path for path in pictures if is_result(path)}  # of a run that wrote elsewhere inside the source
    if results:
        say(f"{source}: {len(results)} results of an earlier derain are left out")
    rainy = [path for path in pictures if path not in results]
    if not rainy:
        raise DataError(f"{source}: no pictures ({' '.join(sorted(PICTURES))}) to derain; name a folder that has some")
    targets = {path: (out / path.relative_to(source)).with_suffix(".png") for path in rainy}
    taken = Counter(targets.values())  # a.jpg and a.png must not get the same result
    return {path: out / f"{path.relative_to(source)}.png" if taken[t] > 1 else t for path, t in targets.items()}
