"""Videos: frame by frame into a file, constant memory, flicker, and videos that are damaged, cut short or something else."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.config.settings import Settings
from pipeline.console import console
from pipeline.serving import derain, video
from pipeline.serving.choice import NamedModel
from rdmc.data.images import Image
from rdmc.datasets.embedded import PHOTOS, photograph
from rdmc.datasets.rain import render
from rdmc.errors import DataError
from rdmc.inference import derain_image
from rdmc.reference import load_reference
from tests.support.comparison import Shifted
from tests.support.networks import Times

RATE = 12.5


def scene(height: int = 64, width: int = 96) -> Image:
    """A part of a photograph of the test split."""
    street = next(photo for photo in PHOTOS if photo.name == "street-80")
    return photograph(street).pixels[100 : 100 + height, 200 : 200 + width]


def write(path: Path, frames: list[Image], code: str = "FFV1") -> Path:
    """Write a video; FFV1 keeps every pixel."""
    height, width = frames[0].shape[:2]
    with video._quiet_ffmpeg():  # FFmpeg takes its level of logging when it is first used in a process
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), RATE, (width, height))
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def read(path: Path) -> list[Image]:
    return list(video.read_video(path)[1])


def showers(count: int) -> list[Image]:
    """A scene that stands still, with another rain in each frame."""
    return [render(scene(), "light", (7, number)) for number in range(count)]


def test_every_frame_is_derained_and_the_flicker_falls(tmp_path: Path) -> None:
    rainy, network = showers(3), load_reference()
    source, moves, begun = write(tmp_path / "rain.mkv", rainy), list[float](), list[video.VideoFacts]()
    done = video.derain_video(network, source, tmp_path / "new/dry.mkv", 1024, "cpu", begun.append, moves.append)
    assert begun == [video.VideoFacts(3, RATE)]
    assert (done.frames, done.size, done.trimmed, done.cut_short) == (3, (96, 64), False, False)
    assert sum(moves) == pytest.approx(3)
    written = read(tmp_path / "new/dry.mkv")
    assert len(written) == 3
    last = derain_image(network, read(source)[2])
    assert np.abs(written[2].astype(int) - last).max() <= 4  # of chroma
    assert video.read_video(tmp_path / "new/dry.mkv")[0].rate == RATE
    assert done.flicker.static > 0.3
    assert done.flicker.derained < 0.6 * done.flicker.rainy
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["dry.mkv"]


def test_flicker_is_the_mean_difference_of_static_pixels_on_the_same_mask() -> None:
    still, moved = np.full((80, 80, 3), 100, np.uint8), np.full((80, 80, 3), 100, np.uint8)
    moved[:, 40:] = 180  # an object that appears
    moved[10, 10] = 130  # a drop
    meter = video._FlickerMeter()
    for frame in (still, moved):
        meter.add(frame, frame // 2)
    found = meter.flicker()
    before, after = (cv2.medianBlur(frame[..., 0], video.BOX).astype(int) for frame in (still, moved))
    mask = np.abs(after - before) <= video.STILL
    assert mask[10, 10], "a drop moves no median"
    assert found.static == mask.mean() == pytest.approx(0.5, abs=0.01)
    assert found.rainy == pytest.approx((30 + 80 * mask[:, 40:].sum()) / mask.sum())
    assert found.derained == pytest.approx((15 + 40 * mask[:, 40:].sum()) / mask.sum())


def test_without_static_pixels_there_is_no_flicker() -> None:
    meter = video._FlickerMeter()
    assert np.isnan(meter.flicker().static)
    for level in (0, 255):
        meter.add(np.full((8, 8, 3), level, np.uint8), np.zeros((8, 8, 3), np.uint8))
    found = meter.flicker()
    assert found.static == 0
    assert np.isnan([found.rainy, found.derained]).all()


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    peaks = []
    for count in (4, 4, 40):  # the first run also allocates what is allocated once
        source = write(tmp_path / f"{count}.avi", [scene()] * count, "MJPG")
        tracemalloc.start()
        video.derain_video(Times(), source, tmp_path / "out.avi")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 3 * scene().nbytes


@pytest.mark.parametrize("suffix", video.FORMS)
def test_each_form_holds_the_frames(suffix: str, tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv", [scene(), scene()])
    done = video.derain_video(Times(0.5), source, tmp_path / f"out{suffix}")
    first, second = read(tmp_path / f"out{suffix}")
    assert done.frames == 2
    assert first.shape == second.shape == (64, 96, 3)
    assert abs(float(first.mean()) - float(scene().mean()) / 2) < 3


def test_an_odd_side_loses_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = scene(33, 47)
    with monkeypatch.context() as patch:
        patch.setattr(video, "read_video", lambda _: (video.VideoFacts(1, RATE), iter([odd])))
        done = video.derain_video(Times(), tmp_path / "in.mkv", tmp_path / "out.mkv")
    assert (done.size, done.trimmed) == ((46, 32), True)
    assert np.abs(read(tmp_path / "out.mkv")[0].astype(int) - odd[:32, :46]).mean() < 3


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: round(share * len(data))])
    return path


def test_a_video_cut_short_gives_its_frames_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "width", 500)
    same = NamedModel(Shifted(0), "same", "", "this test", "")
    monkeypatch.setattr(derain, "load_chosen", lambda *_: same)
    source = cut(write(tmp_path / "rain.mkv", showers(20)), 0.5)
    whole = len(read(source))
    assert 1 < whole < 19
    with pytest.raises(DataError, match=rf"rain\.mkv: cut short: {whole} of 20 frames could be read, and .*dry\.avi holds"):
        derain.run(source, tmp_path / "dry.avi", "same", Settings(gpu=False))
    assert len(read(tmp_path / "dry.avi")) == whole
    shown = capsys.readouterr().out
    assert f"{whole} frames derained" in shown
    assert "levels of 255): " in shown
    assert "dry.avi: has no sound; to add it: ffmpeg" in shown


def test_one_frame_less_than_estimated_is_not_cut_short() -> None:
    flicker = video.Flicker(0, 0, 0)
    for frames, announced, expected in ((10, 10, False), (9, 10, False), (8, 10, True), (8, 0, False)):
        assert video.DerainedVideo(frames, announced, (2, 2), False, flicker).cut_short == expected


@contextmanager
def kept(path: Path) -> Iterator[None]:
    path.write_bytes(b"mine")
    yield
    assert path.read_bytes() == b"mine"
    assert not [other for other in path.parent.iterdir() if other.name.startswith(".")]


def test_what_is_no_video_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = write(tmp_path / "whole.mp4", [scene()] * 3, "mp4v")
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\n{whole}\n#EXT-X-ENDLIST\n")
    (tmp_path / "concat.mp4").write_text(f"ffconcat version 1.0\nfile {whole.name}\n")
    cut(write(tmp_path / "cut.mp4", [scene()] * 3, "mp4v"), 0.5)  # its index was at the end
    network = nn.Identity()
    for name, reason in (
        ("none.mp4", "no such video"),
        ("text.mp4", "not a video"),
        ("list.mp4", "not a video"),
        ("concat.mp4", "not a video"),
        ("cut.mp4", "not a video"),
    ):
        with kept(tmp_path / "out.mp4"), pytest.raises(DataError, match=rf"{name}: {reason}"):
            video.derain_video(network, tmp_path / name, tmp_path / "out.mp4")
    assert capfd.readouterr().err == "", "FFmpeg and OpenCV add no lines"
    monkeypatch.setattr(video, "MAX_PIXELS", 1000)
    with pytest.raises(DataError, match=r"frames of 96x64 are more than 1,000 pixels"):
        video.read_video(whole)


def test_frames_of_two_sizes_and_a_video_without_frames_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "read_video", lambda _: (video.VideoFacts(0, RATE), iter([])))
    with kept(tmp_path / "out.mp4"), pytest.raises(DataError, match="holds no frame"):
        video.derain_video(Times(), tmp_path / "in.mp4", tmp_path / "out.mp4")

    class Changing:
        def __init__(self) -> None:
            self.frames = [scene(), scene(32, 32)]

        def read(self) -> tuple[bool, Image | None]:
            return (True, self.frames.pop(0)) if self.frames else (False, None)

        def release(self) -> None:
            pass

    with pytest.raises(DataError, match=r"in\.mp4: frames of 96x64 and 32x32, the rule is one size"):
        list(video._frames(Path("in.mp4"), Changing()))  # type: ignore[arg-type]


def test_names_of_results_and_videos_in_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "rain.mkv", [scene()])
    assert derain.plan(source, tmp_path / "out") == {source: tmp_path / "out/rain.mp4"}
    assert derain.plan(source, tmp_path / "dry.MOV") == {source: tmp_path / "dry.MOV"}
    for out, reason in (
        (tmp_path / "dry.png", r"results are \.mp4, \.mov, \.avi, \.mkv files"),
        (source, "overwrite an input"),
    ):
        with pytest.raises(DataError, match=reason):
            derain.plan(source, out)
    cv2.imwrite(str(tmp_path / "a.png"), scene())
    assert derain.plan(tmp_path, tmp_path / "out") == {tmp_path / "a.png": tmp_path / "out/a.png"}
    assert "1 videos are left out (first: rain.mkv)" in capsys.readouterr().out.replace("\n", " ")


def test_network_without_numbers_is_refused(tmp_path: Path) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full_like(x, torch.nan)

    with kept(tmp_path / "out.mkv"), pytest.raises(Exception, match="not finite"):
        video.derain_video(Broken(), write(tmp_path / "in.mkv", [scene()]), tmp_path / "out.mkv")
