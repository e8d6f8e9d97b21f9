"""Published weights: recognised, refused, and PReNet's published figures on Rain100L."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rdmc.data.images import read_rgb
from rdmc.errors import CheckpointError
from rdmc.inference import derain_values
from rdmc.models.base import Restorer
from rdmc.models.baselines import PReNet, PReNetConfig
from rdmc.models.published import load_published
from rdmc.quality.conventions import Fidelity, mean, scores
from tests.support.imports import ROOT
from tests.support.loading import random_state_kept

WEIGHTS = ROOT.parent / "shared/weights/prenet_rain100l.pth"
RAIN100L = ROOT.parent / "shared/data/rain100l"
OBJECTS = (
    "holds Python objects, such as a whole model, which are not loaded; "
    "save the state dict alone: torch.save(model.state_dict(), 'weights.pth')"
)
MEASURED = {  # measured with this network: PSNR-Y (dB), SSIM-Y, PSNR of RGB (dB)
    "002": (37.8502, 0.9646, 36.5209),
    "008": (37.3696, 0.9738, 36.0239),
}
needs_data = pytest.mark.skipif(not (WEIGHTS.is_file() and RAIN100L.is_dir()), reason="needs ../shared: weights and Rain100L")


def write(path: Path, weights: object) -> Path:
    torch.save(weights, path)
    return path


def small(width: int = 3) -> PReNet:
    torch.manual_seed(0)
    return PReNet(PReNetConfig(width=width))


@pytest.mark.parametrize("width", [1, 3, 32])
def test_prenet_is_recognised_by_its_tensors(tmp_path: Path, width: int) -> None:
    network = small(width)
    with random_state_kept():
        found = load_published(write(tmp_path / "net.pth", network.state_dict()))
    assert found.config == PReNetConfig(width=width)
    assert not found.training
    rainy = torch.rand(1, 3, 9, 12)
    assert torch.equal(found(rainy), network(rainy))


def test_safetensors_are_read_too(tmp_path: Path) -> None:
    network = small()
    save_file(network.state_dict(), tmp_path / "net.safetensors")
    found = load_published(tmp_path / "net.safetensors")
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in found.state_dict().items())
    (tmp_path / "net.safetensors").write_bytes((tmp_path / "net.safetensors").read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="not weights that can be read"):
        load_published(tmp_path / "net.safetensors")


def test_other_files_give_a_one_line_error(tmp_path: Path) -> None:
    weights = small().state_dict()
    other = {f"encoder.{name}": tensor for name, tensor in weights.items()}
    wrong = {**weights, "conv.0.bias": torch.zeros(4)}
    (tmp_path / "text").write_text("weights")
    (tmp_path / "cut").write_bytes(write(tmp_path / "whole", weights).read_bytes()[:1000])
    (tmp_path / "empty").write_bytes(b"")
    for path, message in (
        (tmp_path / "none", "No such file"),
        (tmp_path / "text", "not weights that can be read"),
        (tmp_path / "cut", "first part of a zip file, or one that is cut short"),
        (tmp_path / "empty", "not weights that can be read"),
        (write(tmp_path / "list", [1, 2]), "other things than named tensors"),
        (write(tmp_path / "state", {"optimizer": {"lr": 1}, "epoch": 3}), "other things than named tensors"),
        (write(tmp_path / "nothing", {}), "has no tensor"),
        (write(tmp_path / "part", {k: v for k, v in weights.items() if k != "conv.0.bias"}), "has no tensor 'conv.0.bias'"),
        (write(tmp_path / "prefixed", other), "tensor '.*not PReNet"),
        (write(tmp_path / "shape", wrong), r"'conv.0.bias' is \(4,\)"),
        (write(tmp_path / "scalar", {**weights, "conv0.0.weight": torch.tensor(1.0)}), "conv0.0.weight"),
    ):
        with pytest.raises(CheckpointError, match=message) as caught:
            load_published(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("key", ["state_dict", "params", "params_ema", "net", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_wrapped_and_prefixed_weights_are_read(key: str, prefix: str, tmp_path: Path) -> None:
    network = small()
    weights = {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}
    adam = torch.optim.Adam(network.parameters())
    network(torch.rand(1, 3, 9, 12)).sum().backward()
    adam.step()
    beside = {"optimizer": adam.state_dict(), "epoch": 3, "loss": 0.5}
    for content in ({key: weights, **beside}, {"model": {key: weights}}, weights):
        found = load_published(write(tmp_path / "net.pth", content))
        assert all(torch.equal(tensor, weights[f"{prefix}{name}"]) for name, tensor in found.state_dict().items())


def test_averaged_weights_are_preferred(tmp_path: Path) -> None:
    averaged = {name: tensor + 1 for name, tensor in small().state_dict().items()}
    found = load_published(write(tmp_path / "net.pth", {"params": small().state_dict(), "params_ema": averaged}))
    assert torch.equal(found.state_dict()["conv0.0.bias"], averaged["conv0.0.bias"])


@pytest.mark.parametrize("old", [False, True])
def test_a_pickled_model_is_named_as_that_and_never_run(old: bool, tmp_path: Path) -> None:
    for content in (small(), {"state_dict": small().state_dict(), "args": Path("x")}, Path):
        torch.save(content, tmp_path / "model.pth", _use_new_zipfile_serialization=not old)
        with pytest.raises(CheckpointError) as caught:
            load_published(tmp_path / "model.pth")
        line = str(caught.value)
        assert line == f"{tmp_path / 'model.pth'}: {OBJECTS}"
        assert line.isprintable(), "no escape sequences"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "a Git LFS pointer, .* `git lfs pull`"),
        (b"\n<!DOCTYPE html><html><head>\x1b[31m</head>", "a web page, not weights; download the file itself"),
        (b"<html lang=en>", "a web page"),
        (b"PK\x03\x04" + bytes(600), "the first part of a zip file, or one that is cut short"),
        (b"", "zero bytes"),
        (b"\x80\x02}q\x00\x1b[31m", "not weights that can be read"),
    ],
)
def test_files_taken_for_weights_are_named_as_what_they_are(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_published(tmp_path / "net.pth")
    assert str(caught.value).isprintable()


def test_an_archive_of_weights_is_named_with_its_content(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.zip", "w") as archive:
        archive.writestr("PReNet.pth", b"weights")
    with pytest.raises(CheckpointError, match=r"an archive of other files \('PReNet.pth'\); unpack it"):
        load_published(tmp_path / "net.zip")


def figures(network: Restorer, number: str) -> dict[str, Fidelity]:
    rainy, clean = (read_rgb(RAIN100L / name) for name in (f"rainy/rain-{number}.png", f"norain-{number}.png"))
    return scores(derain_values(network, rainy), clean)


@needs_data
@pytest.mark.parametrize("number", MEASURED)
def test_prenet_on_images_of_rain100l(number: str) -> None:
    found = figures(load_published(WEIGHTS), number)
    psnr_y, ssim_y, psnr_rgb = MEASURED[number]
    assert found["y-cut"].psnr == pytest.approx(psnr_y, abs=0.005)
    assert found["y-cut"].ssim == pytest.approx(ssim_y, abs=0.0001)
    assert found["rgb-cut"].psnr == pytest.approx(psnr_rgb, abs=0.005)
    assert abs(found["y"].psnr - found["y-cut"].psnr) > 0.01, "rounded outputs have another figure"


@needs_data
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_prenet_reaches_its_published_figures() -> None:
    """On the 50 available pairs of Rain100L, measured independently: 37.84 dB, 0.9806; in RGB 36.45 dB. Outputs are cut."""
    network = load_published(WEIGHTS)
    numbers = [path.stem.removeprefix("norain-") for path in sorted(RAIN100L.glob("norain-*.png"))]
    found = [figures(network, number) for number in numbers]
    luma, rgb = (mean(one[name] for one in found) for name in ("y-cut", "rgb-cut"))
    assert (luma.images, luma.identical) == (50, 0)
    assert luma.psnr == pytest.approx(37.84, abs=0.02)
    assert luma.ssim == pytest.approx(0.9806, abs=0.0005)
    assert rgb.psnr == pytest.approx(36.45, abs=0.02)
