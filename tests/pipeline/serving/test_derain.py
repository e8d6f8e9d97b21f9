"""``derain`` with a model folder: files, folders, names, and inputs that are not images.

tests/pipeline/stages/test_register.py uses it with the registry.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from pipeline.config.paths import Paths
from pipeline.config.registry import Register
from pipeline.config.settings import Settings
from pipeline.console import console
from pipeline.serving import derain
from rdmc.checkpoint import WEIGHTS, load_model
from rdmc.data.images import read_rgb, write_png
from rdmc.errors import CheckpointError, DataError, ServiceError
from rdmc.inference import derain_image
from rdmc.models.baselines import PReNet, PReNetConfig
from rdmc.reference import load_reference, reference_card
from tests.support.followed import Registry, spoil
from tests.support.ports import free_port

Image = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def photo(seed: int) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, make_workspace: Callable[..., Paths]) -> str:
    return str(make_workspace(tmp_path_factory.mktemp("model"), tests=(0, 0)).best)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with three images, two of which have the same stem, a text file and a hidden file."""
    folder = tmp_path / "photos"
    write_png(folder / "a.png", photo(0))
    write_png(folder / "sub/b.png", photo(1))
    write_png(folder / "a.bmp", photo(2))
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def test_a_file_to_a_file_or_a_folder(tmp_path: Path, model: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = load_model(Path(model))[0]
    expected = derain_image(network, photo(0))
    (tmp_path / "there.d").mkdir()
    for out, target in (("x/out.png", "x/out.png"), ("new", "new/a.png"), ("there.d", "there.d/a.png")):
        derain.run(photos / "a.png", tmp_path / out, model, Settings())
        assert np.array_equal(read_rgb(tmp_path / target), expected)
        assert str(tmp_path / target) in capsys.readouterr().out.replace("\n", "")


def test_a_folder_keeps_names(tmp_path: Path, model: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = photos / "derained"  # inside the source: a second run does not derain the results
    for again in (False, True):
        derain.run(photos, out, model, Settings(), overwrite=again)
        assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png")) == [
            "a.bmp.png",
            "a.png.png",
            "sub/b.png",
        ]
        shown = capsys.readouterr().out
        assert "1 files without a picture's extension" in shown
        assert "3 of 3 pictures derained" in shown


def test_a_bad_file_is_named_and_the_others_are_derained(
    tmp_path: Path, model: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "b.jpg").write_bytes(b"not a jpeg")
    (photos / "c.png").write_bytes(b"")
    with pytest.raises(DataError, match="2 of 5 pictures failed"):
        derain.run(photos, tmp_path / "out", model, Settings())
    shown = capsys.readouterr().out
    assert "b.jpg: not an image" in shown
    assert "c.png: zero bytes" in shown
    assert len(list((tmp_path / "out").rglob("*.png"))) == 3
    with pytest.raises(DataError, match=r"b\.jpg: not an image"):
        derain.run(photos / "b.jpg", tmp_path / "b.png", model, Settings())


def test_published_weights_are_a_model(tmp_path: Path, photos: Path) -> None:
    network = PReNet(PReNetConfig(width=2)).eval()
    torch.save(network.state_dict(), tmp_path / "prenet.pth")
    derain.run(photos / "a.png", tmp_path / "out.png", str(tmp_path / "prenet.pth"), Settings(gpu=False))
    assert np.array_equal(read_rgb(tmp_path / "out.png"), derain_image(network, photo(0)))


def test_outputs_that_would_lose_something_are_refused(tmp_path: Path, model: str, photos: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link.png").symlink_to(photos / "a.png")
    (tmp_path / "empty").mkdir()
    for name in ("kept.png", "b.png"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "pipe.png").symlink_to("nowhere.png")
    for source, out, reason in (
        (photos / "none.png", tmp_path / "out.png", "no such picture"),
        (photos / "a.png", photos / "a.png", "overwrite an input"),
        (photos / "a.png", photos, "overwrite an input"),
        (photos / "a.png", tmp_path / "link.png", "overwrite an input"),
        (photos / "sub", photos / "sub", "overwrite an input"),
        (photos / "a.png", tmp_path / "out.gif", r"results are \.png, \.jpg, \.jpeg, \.webp files"),
        (photos / "a.png", tmp_path / "kept.png", r"kept\.png: exists already; .* --overwrite$"),
        (photos / "sub", tmp_path, r"b\.png: exists already"),
        (photos / "a.png", tmp_path / "pipe.png", r"pipe\.png: exists already"),
        (photos, tmp_path / "file", "is a file"),
        (tmp_path / "empty", tmp_path / "out", "no pictures"),
    ):
        with pytest.raises(DataError, match=reason):
            derain.run(source, out, model, Settings())
        if "overwrite an input" in reason:
            with pytest.raises(DataError, match=reason):
                derain.run(source, out, model, Settings(), overwrite=True)
    assert np.array_equal(read_rgb(photos / "a.png"), photo(0))
    assert (tmp_path / "kept.png").read_text() == (tmp_path / "b.png").read_text() == "mine"
    derain.run(photos / "a.png", tmp_path / "kept.png", model, Settings(), overwrite=True)
    assert read_rgb(tmp_path / "kept.png").shape == (30, 40, 3)


def test_two_inputs_with_one_result_are_refused(tmp_path: Path, model: str, photos: Path) -> None:
    write_png(photos / "a.bmp.jpg", photo(3))  # beside a.png and a.bmp, which becomes a.bmp.png
    with pytest.raises(DataError, match=r"a\.bmp\.png: would be the result of both .*a\.bmp and .*a\.bmp\.jpg; rename"):
        derain.run(photos, tmp_path / "out", model, Settings())
    assert not (tmp_path / "out").exists()


def test_results_among_the_inputs_are_not_derained_again(
    tmp_path: Path, model: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    derain.run(photos / "a.png", photos / "new.webp", model, Settings())
    derain.run(photos / "sub", photos / "elsewhere", model, Settings())
    capsys.readouterr()
    derain.run(photos, tmp_path / "out", model, Settings())
    shown = capsys.readouterr().out
    assert "2 results of an earlier derain are left out" in shown
    assert "3 of 3 pictures derained" in shown
    with pytest.raises(DataError, match="no pictures .* to derain"):
        derain.run(tmp_path / "out", tmp_path / "twice", model, Settings())
    derain.run(photos / "new.webp", tmp_path / "again.png", model, Settings())
    assert "is a result of derain already" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize(("suffix", "form"), [(".jpg", "JPEG"), (".JPEG", "JPEG"), (".webp", "WEBP"), (".png", "PNG")])
def test_the_suffix_chooses_the_format(
    suffix: str, form: str, tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    smooth = np.repeat(np.linspace(0, 255, 40, dtype=np.uint8)[None, :, None], 30, axis=0).repeat(3, axis=2)
    smooth[..., 0] //= 2
    shown = Pillow.fromarray(smooth)
    shown.putalpha(128)
    shown.save(tmp_path / "in.png")
    derain.run(tmp_path / "in.png", tmp_path / f"out{suffix}", model, Settings(gpu=False))
    expected = derain_image(load_model(Path(model))[0], smooth)
    with Pillow.open(tmp_path / f"out{suffix}") as found:
        assert found.format == form
        assert found.has_transparency_data == (form != "JPEG")
        assert np.abs(np.asarray(found.convert("RGB")).astype(int) - expected).mean() < 6
    lost = f"out{suffix}: without transparency, which JPEG has not"
    assert (lost in capsys.readouterr().out.replace("\n", "")) == (form == "JPEG")


def test_progress_moves_within_a_large_picture(tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    moves: list[float] = []
    monkeypatch.setattr(derain, "progress_bar", lambda *_: nullcontext(moves.append))
    write_png(tmp_path / "large.png", np.zeros((300, 700, 3), np.uint8))
    derain.run(tmp_path / "large.png", tmp_path / "out.png", model, Settings(gpu=False), tile=256)
    assert len(moves) > 5
    assert sum(moves) == pytest.approx(1)


def test_missing_models_are_errors(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(CheckpointError, match="no such model folder"):
        derain.run(photos, tmp_path / "out", str(tmp_path / "none"), Settings())
    with pytest.raises(ServiceError, match="there is no MLflow store"):
        derain.run(photos, tmp_path / "out", "models:/rdmc@candidate", Settings())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ServiceError, match="cannot be reached .*, or name another model: --model reference$"):
        derain.run(photos, tmp_path / "out", "", Settings(mlflow_timeout=1))
    assert not (tmp_path / "mlflow.db").exists(), "reading creates no store"


def test_without_a_name_and_a_store_the_reference_derains(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "width", 500)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    expected = derain_image(load_reference(), photo(0))
    line = f"model: reference version {reference_card().version} (comes with the package)"
    for model, why in (("", "; nothing is registered yet"), ("reference", "")):
        derain.run(photos / "a.png", tmp_path / "out.png", model, Settings(gpu=False), overwrite=True)
        assert np.array_equal(read_rgb(tmp_path / "out.png"), expected)
        assert capsys.readouterr().out.splitlines()[0] == line + why
    assert not (tmp_path / "mlflow.db").exists(), "reading creates no store"


def test_without_a_name_the_candidate_derains_until_there_is_a_champion(
    tmp_path: Path, photos: Path, models: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "width", 500)
    models.client.set_registered_model_alias("rain", "candidate", "2")
    for champion, version, why in (("nobody", 2, "; there is no nobody"), ("champion", 1, "")):
        names = Register(model="rain", alias="candidate", champion=champion)
        derain.run(photos / "a.png", tmp_path / "out.png", "", Settings(gpu=False), names=names, overwrite=True)
        expected = derain_image(load_model(models.folders[version - 1])[0], photo(0))
        assert np.array_equal(read_rgb(tmp_path / "out.png"), expected)
        alias = champion if version == 1 else "candidate"
        shown = capsys.readouterr().out.splitlines()[0]
        assert shown == f"model: rain version {version} (models:/rain@{alias}, MLflow at {models.uri}){why}"


def test_a_champion_that_is_damaged_is_an_error_and_not_skipped(tmp_path: Path, photos: Path, models: Registry) -> None:
    made = models.add(models.folders[1])
    spoil(models.files(made) / WEIGHTS)
    models.promote(made)
    try:
        with pytest.raises(CheckpointError, match="the artifact is damaged"):
            derain.run(
                photos, tmp_path / "out", "", Settings(), names=Register(model="rain", alias="next", champion="champion")
            )
    finally:
        models.promote(1)
    assert not (tmp_path / "out").exists()
