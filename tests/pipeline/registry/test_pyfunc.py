"""The code of the registered model: every form of input, including hostile ones, and MLflow's JSON server."""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mlflow.exceptions import MlflowException

from pipeline.registry.pyfunc import Derain
from rdmc.checkpoint import load_model
from rdmc.data.images import encode_png, read_rgb
from rdmc.errors import CheckpointError
from rdmc.inference import derain_image
from tests.support.followed import Registry, write_small
from tests.support.ports import free_port
from tests.support.serving import encoded, png

IMAGE = read_rgb(png(0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small(tmp_path_factory.mktemp("model") / "best", 1)


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    model = Derain()
    model.load_context(SimpleNamespace(artifacts={"model": str(folder)}))
    return model


@pytest.fixture(scope="module")
def expected(folder: Path) -> Any:
    return derain_image(load_model(folder)[0], IMAGE)


def test_every_form_of_input_gives_the_same_form(model: Any, expected: Any, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(png(0))
    text = base64.b64encode(png(0)).decode()
    for given in (IMAGE, IMAGE.tolist(), tmp_path / "photo.png"):
        assert np.array_equal(model.predict(None, given), expected)
    locked = IMAGE.copy()
    locked.flags.writeable = False
    assert np.array_equal(model.predict(None, locked), expected)
    for given in (IMAGE[None], IMAGE[None].tolist()):
        assert np.array_equal(model.predict(None, given), expected[None])
    assert model.predict(None, png(0)) == encode_png(expected)
    for given in (text, f"data:image/png;base64,{text}"):
        assert base64.b64decode(model.predict(None, given)) == encode_png(expected)
    wide = np.zeros((20, 300, 3), np.uint8)
    several = model.predict(None, [IMAGE, wide, text], {"tile": 256})
    assert np.array_equal(several[0], expected)
    assert (several[1].shape, base64.b64decode(several[2])) == (wide.shape, encode_png(expected))
    grey = encoded(np.full((9, 7), 90, np.uint8), "PNG")
    assert read_rgb(model.predict(None, grey)).shape == (9, 7, 3)


@pytest.mark.parametrize(
    "given",
    [
        *("photo.png", "/etc/hostname", "", b"", b"no picture", png(0)[:300], None, 3, {}, [], [[]], [None], [[1, 2], [3]]),
        *([[[300, 0, 0]]], [[[-1, 0, 0]]], [[[0.5, 0, 0]]], IMAGE.astype(np.float32), IMAGE[..., 0], IMAGE[..., :2]),
        *(IMAGE[:0], IMAGE[None][:0], np.array([None, None], dtype=object), pickle.dumps(IMAGE), Path("none.png")),
    ],
)
def test_input_that_is_not_an_image_is_a_one_line_error(model: Any, given: Any) -> None:
    with pytest.raises(MlflowException) as caught:
        model.predict(None, given)
    assert (caught.value.error_code, "\n" in str(caught.value)) == ("INVALID_PARAMETER_VALUE", False)


def test_a_tile_is_limited_to_256_to_2048_pixels(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tiles: list[int] = []

    def recording(network: Any, image: np.ndarray, tile: int, device: Any) -> np.ndarray:
        tiles.append(tile)
        return image

    monkeypatch.setattr("pipeline.registry.pyfunc.derain_image", recording)
    for tile in (-1, 1, 256, 1000, 2048, 10**9):
        model.predict(None, IMAGE, {"tile": tile})
    assert tiles == [256, 256, 256, 1000, 2048, 2048]


def test_pickled_weights_are_not_loaded(folder: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "model.json").write_text((folder / "model.json").read_text())
    (bad / "model.safetensors").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError):
        Derain().load_context(SimpleNamespace(artifacts={"model": str(bad)}))
    assert not (tmp_path / "ran").exists()


def test_loaded_through_mlflow_in_a_fresh_process(models: Registry, tmp_path: Path) -> None:
    """With the code that was logged. MLflow passes every form of input to the model."""
    (tmp_path / "photo.png").write_bytes(png(0))
    code = """
import pathlib, mlflow, numpy
model = mlflow.pyfunc.load_model("models:/rain/1")
photo = pathlib.Path("photo.png")
one = model.predict(photo)
assert model.predict(photo.read_bytes(), params={"tile": 256})[:4] == b"\\x89PNG"
assert numpy.array_equal(model.predict([photo])[0], one)
assert model.predict(numpy.zeros((2, 9, 7, 3), numpy.uint8)).shape == (2, 9, 7, 3)
numpy.save("out.npy", one)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert np.array_equal(np.load(tmp_path / "out.npy"), derain_image(load_model(models.folders[0])[0], IMAGE))


@pytest.mark.slow
def test_mlflow_models_serve_takes_base64_and_pixels(models: Registry, tmp_path: Path) -> None:
    port = free_port()
    options = f"-m models:/rain/1 -h 127.0.0.1 -p {port} -w 1 --env-manager local"
    command = [sys.executable, "-m", "mlflow", "models", "serve", *options.split()]
    process = subprocess.Popen(command, cwd=tmp_path, env=os.environ)
    try:
        expected = derain_image(load_model(models.folders[0])[0], IMAGE)
        text = base64.b64encode(png(0)).decode()
        assert read_rgb(base64.b64decode(_ask(port, [text])[0])).tolist() == expected.tolist()
        assert _ask(port, IMAGE[None].tolist()) == expected[None].tolist()
        with pytest.raises(urllib.error.HTTPError) as caught:
            _ask(port, ["no picture"])
        error = caught.value.read().decode()
        assert (caught.value.code, "is not base64" in error) == (400, True)
        assert not [word for word in ("Traceback", ".py", str(Path.home()), str(tmp_path)) if word in error], error
    finally:
        process.terminate()
        process.wait(60)


def _ask(port: int, inputs: Any) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", json.dumps({"inputs": inputs}).encode(), {"Content-Type": "application/json"}
    )
    end = time.monotonic() + 300
    while True:
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:  # noqa: S310  # the address of this test's own server
                return json.load(answer)["predictions"]
        except ConnectionError:
            pass
        except urllib.error.HTTPError:
            raise
        except OSError as error:
            if not isinstance(getattr(error, "reason", None), ConnectionError):
                raise
        assert time.monotonic() < end
        time.sleep(0.2)
