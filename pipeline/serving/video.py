"""Derain a video: one frame after the other, so that a long video takes no more memory than a short one.

**Flicker** is measured by a rule of this project. Between two neighbouring frames, a pixel is *static* if the median luma of
the box of ``BOX`` pixels a side around it changes by at most ``STILL`` levels of 255 in the rainy video. A streak covers less
than half of a box, so it does not move the median; a moving object or camera does. The flicker is the mean absolute difference
of luma over the static pixels of all neighbouring frames, in levels of 255. Both videos are measured on the same pixels, which
only the rainy one determines.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rdmc.data.images import MAX_PIXELS, Image
from rdmc.errors import DataError
from rdmc.inference import derain_image

FORMS = {".mp4": "mp4v", ".mov": "mp4v", ".avi": "MJPG", ".mkv": "FFV1"}
"""Codec (FourCC) of each suffix that can be written. FFV1 is lossless; the others are not."""
VIDEOS = frozenset([*FORMS, ".m4v", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".wmv"])
"""Suffixes that are read as videos, in lower case."""
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,asf"
"""FFmpeg's names of the containers that are read, whatever the suffix. Playlists are not among them: a file that came from
elsewhere could name addresses and other files in one."""
BOX, STILL = 15, 2
"""See flicker, above."""
ROUNDED = 1
"""Frames that may be missing at the end: some containers hold a duration, from which OpenCV estimates the number of frames."""

Luma = NDArray[np.uint8]
Held = tuple[Luma, Luma, Luma]
"""Of a frame: the luma of both videos, and the median of the rainy one's."""


@dataclass(frozen=True)
class VideoFacts:
    """What a container says about a video. Only frames that were read are certain."""

    frames: int
    """The number announced; 0 if unknown."""
    rate: float
    """Frames a second."""


@dataclass(frozen=True)
class Flicker:
    """Flicker of both videos on the same static pixels (see the module)."""

    rainy: float
    """Levels of 255; NaN if no pixel was static."""
    derained: float
    static: float
    """Share of static pixels among all pixels of neighbouring frames, 0 to 1; NaN for a single frame."""


@dataclass(frozen=True)
class DerainedVideo:
    """What became of a video."""

    frames: int
    """Frames that were read, derained and written."""
    announced: int
    """Frames that the container announces; 0 if unknown."""
    size: tuple[int, int]
    """Width and height of the result in pixels: even numbers, because the codecs need them."""
    trimmed: bool
    """Whether the last column or row was left out for that."""
    flicker: Flicker

    @property
    def cut_short(self) -> bool:
        """Whether frames are missing at the end."""
        return self.frames < self.announced - ROUNDED


def is_video(path: Path) -> bool:
    """Whether a file is taken for a video, by its suffix."""
    return path.suffix.lower() in VIDEOS


def derain_video(
    network: nn.Module,
    source: Path,
    target: Path,
    tile: int = 1024,
    device: str | torch.device = "cpu",
    begin: Callable[[VideoFacts], None] | None = None,
    follow: Callable[[float], None] | None = None,
) -> DerainedVideo:
    """Derain a video frame by frame. The result has no sound, and the mean frame rate of ``source`` throughout.

    Args:
        network: as ``rdmc.inference.derain_image`` takes it.
        source: a video in a container of ``CONTAINERS``. A rotation in its metadata is applied.
        target: a file with a suffix of ``FORMS``. It appears when all frames are written; what was there is replaced.
        tile: larger frames are derained in tiles of this many pixels a side.
        device: the device to compute on.
        begin: called once the video is open.
        follow: called with each part of a frame that is done; the parts of a frame add up to 1.

    Raises:
        DataError: the source is no video that can be read, it has no frame, or the target cannot be written. Nothing is
            written then. A video whose end is missing is no error: ``cut_short`` tells.
    """
    facts, frames = read_video(source)
    (begin or (lambda _: None))(facts)
    meter, writer, shape = _FlickerMeter(), None, (0, 0)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        for rainy in frames:
            shape = rainy.shape[0], rainy.shape[1]
            writer = writer or _writer(temporary, target, shape, facts.rate)
            derained = derain_image(network, rainy, tile, device, follow)
            meter.add(rainy, derained)
            writer.write(cv2.cvtColor(derained[: shape[0] & ~1, : shape[1] & ~1], cv2.COLOR_RGB2BGR))
        if writer is None:
            raise DataError(f"{source}: holds no frame that can be read; fetch it again")
        writer.release()
        temporary.replace(target)
    finally:
        if writer is not None:
            writer.release()
        temporary.unlink(missing_ok=True)
    height, width = shape
    return DerainedVideo(meter.frames, facts.frames, (width & ~1, height & ~1), bool(width % 2 or height % 2), meter.flicker())


def read_video(source: Path) -> tuple[VideoFacts, Iterator[Image]]:
    """Open a video: its facts, and its frames as (H, W, 3) RGB, 0 to 255, upright, each read when it is asked for.

    Raises DataError if it cannot be opened, has no frame rate, or (with the frames) if a frame has another size than the first
    or more than ``rdmc.data.images.MAX_PIXELS`` pixels.
    """
    if not source.is_file():
        raise DataError(f"{source}: no such video; name a file that exists")
    with _quiet_ffmpeg():
        video = cv2.VideoCapture(str(source.resolve()), cv2.CAP_FFMPEG)
    rate = video.get(cv2.CAP_PROP_FPS) if video.isOpened() else 0.0
    if not video.isOpened():
        raise DataError(f"{source}: not a video that can be read: damaged, cut short, or of another kind; fetch it again")
    width, height = (int(video.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MAX_PIXELS:
        raise DataError(f"{source}: frames of {width}x{height} are more than {MAX_PIXELS:,} pixels; reduce them first")
    if min(width, height) < 2:
        raise DataError(f"{source}: frames of {width}x{height}, the rule is 2x2 pixels and more; name another video")
    if not 0 < rate <= 1000:
        raise DataError(f"{source}: {rate:g} frames a second, the rule is above 0 and at most 1000; convert it first")
    return VideoFacts(max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0), rate), _frames(source, video)


def _frames(source: Path, video: cv2.VideoCapture) -> Iterator[Image]:
    first: tuple[int, ...] = ()
    try:
        while True:
            fine, frame = video.read()
            if not fine:
                return
            first = first or frame.shape
            if frame.shape != first:
                sizes = " and ".join(f"{shape[1]}x{shape[0]}" for shape in (first, frame.shape))
                raise DataError(f"{source}: frames of {sizes}, the rule is one size; cut it there")
            yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
    finally:
        video.release()


def _writer(path: Path, target: Path, shape: tuple[int, int], rate: float) -> cv2.VideoWriter:
    code = cv2.VideoWriter.fourcc(*FORMS[target.suffix.lower()])
    with _quiet_ffmpeg():
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, rate, (shape[1] & ~1, shape[0] & ~1))
    if not writer.isOpened():
        raise DataError(f"{target}: cannot be written; name a folder that can, and one of {', '.join(FORMS)}")
    return writer


@contextmanager
def _quiet_ffmpeg() -> Iterator[None]:
    """Let OpenCV open files with the containers of ``CONTAINERS`` only, and without lines of FFmpeg's and its own."""
    wanted = {"OPENCV_FFMPEG_CAPTURE_OPTIONS": f"format_whitelist;{CONTAINERS}", "OPENCV_FFMPEG_LOGLEVEL": "-8"}
    kept = {name: os.environ.get(name) for name in wanted}
    level = cv2.utils.logging.getLogLevel()
    os.environ.update(wanted)
    cv2.utils.logging.setLogLevel(0)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _FlickerMeter:
    """Counts the frames of a video and adds up their flicker. It holds the last frame of both videos, as luma."""

    def __init__(self) -> None:
        self.frames = 0
        self._last: Held | None = None
        self._sums, self._static, self._seen = np.zeros(2), 0, 0

    def add(self, rainy: Image, derained: Image) -> None:
        """Add the next frame of both videos, (H, W, 3) RGB, 0 to 255."""
        luma = _luma(rainy)
        now = luma, _luma(derained), np.asarray(cv2.medianBlur(luma, BOX), np.uint8)
        if self._last is not None:
            *changes, moved = (cv2.absdiff(before, after) for before, after in zip(self._last, now, strict=True))
            still = np.asarray(moved) <= STILL
            self._sums += [float(np.asarray(change)[still].sum(dtype=np.int64)) for change in changes]
            self._static += int(still.sum())
            self._seen += still.size
        self._last = now
        self.frames += 1

    def flicker(self) -> Flicker:
        """The flicker of all frames so far."""
        rainy, derained = self._sums / self._static if self._static else (np.nan, np.nan)
        return Flicker(float(rainy), float(derained), self._static / self._seen if self._seen else float("nan"))


def _luma(frame: Image) -> Luma:
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)
