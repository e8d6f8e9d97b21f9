"""VGG19's taps with random weights: against a reference, from both file formats, and files that are refused."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from rdmc.errors import CheckpointError
from rdmc.models.rdmc import RDMC, RDMCConfig
from rdmc.training.config import LossConfig
from rdmc.training.losses import Objective
from rdmc.training.vgg19 import CONVOLUTIONS, find_weights, load_vgg19


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """The needed layers as in torchvision's file, and some others."""
    generator = torch.Generator().manual_seed(0)
    made: dict[str, Tensor] = {"classifier.6.bias": torch.zeros(3), "features.14.weight": torch.zeros(256, 256, 3, 3)}
    for index, (inputs, outputs) in CONVOLUTIONS.items():
        made[f"features.{index}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / 9 / inputs) ** 0.5
        made[f"features.{index}.bias"] = torch.randn(outputs, generator=generator) * 0.1
    return made


@pytest.fixture(scope="module")
def weights(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save(state, path)
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def reference(state: dict[str, Tensor], image: Tensor) -> list[Tensor]:
    """The five taps, layer by layer."""
    colours = [(image[:, i] - m) / s for i, (m, s) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)])]

    def convolved(x: Tensor, index: int) -> Tensor:
        return F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1)

    first = convolved(torch.stack(colours, 1), 0).relu()
    second = convolved(first, 2).relu()
    third = convolved(F.max_pool2d(second, 2), 5)
    fourth = F.max_pool2d(convolved(third.relu(), 7).relu(), 2)
    fifth = convolved(convolved(fourth, 10).relu(), 12).relu()
    return [first, second, third, fourth, fifth]


@pytest.mark.parametrize("levels", [1, 4, 5])
def test_taps_equal_the_reference(state: dict[str, Tensor], weights: Path, levels: int) -> None:
    image = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    found = load_vgg19(str(weights), digest(weights), levels)(image)
    expected = reference(state, image)[:levels]
    assert [tuple(level.shape) for level in found] == [tuple(level.shape) for level in expected]
    for level, same in zip(found, expected, strict=True):
        assert torch.allclose(level, same, atol=1e-5)


def test_both_formats_and_half_precision_hold_the_same(state: dict[str, Tensor], weights: Path, tmp_path: Path) -> None:
    save_file(state, tmp_path / "vgg19.safetensors")
    torch.save({name: tensor.half() for name, tensor in state.items()}, tmp_path / "half.pth")
    image = torch.rand(1, 3, 16, 16)
    expected = load_vgg19(str(weights), "", 5)(image)
    for name, close in (("vgg19.safetensors", 0.0), ("half.pth", 0.05)):
        found = load_vgg19(str(tmp_path / name), "", 5)(image)
        assert all(torch.allclose(a, b, atol=close, rtol=close) for a, b in zip(found, expected, strict=True))


def test_gradient_reaches_the_image_and_no_weight(weights: Path) -> None:
    network = load_vgg19(str(weights), "", 3)
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    network(image)[2].sum().backward()
    assert image.grad is not None
    assert image.grad.abs().max() > 0
    assert all(not p.requires_grad and p.grad is None for p in network.parameters())


@pytest.mark.parametrize("prior", ["ratio", "infonce"])
def test_objective_over_vgg19(weights: Path, prior: str) -> None:
    torch.manual_seed(0)
    network = RDMC(RDMCConfig(width=2, passes=1))
    config = LossConfig(
        ssim=0, contrastive=1, prior=prior, features="vgg19", levels=5, patches=4,
        vgg19_weights=str(weights), vgg19_sha256=digest(weights),
    )  # fmt: skip
    objective = Objective(network, config)
    learning = {name for name, p in objective.named_parameters() if p.requires_grad}
    assert learning == {f"network.{name}" for name, _ in network.named_parameters()}, "no head, no weight of VGG19's"
    clean = torch.rand(2, 3, 32, 32)
    terms = objective((clean + 0.1).clamp(0, 1), clean)
    gradients = torch.autograd.grad(terms["contrastive"], list(network.parameters()), allow_unused=True)
    assert all(g is not None and g.isfinite().all() for g in gradients)
    assert max(g.abs().max().item() for g in gradients if g is not None) > 0


def test_levels_are_weighed_as_published(weights: Path) -> None:
    assert list(load_vgg19(str(weights), "", 5).weights) == [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1]


def test_wrong_or_missing_files_give_a_one_line_error(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"^loss\.vgg19_weights: {tmp_path}/none\.pth: No such file") as missing:
        find_weights(str(tmp_path / "none.pth"), "")
    with pytest.raises(CheckpointError, match=rf"^loss\.vgg19_sha256: .* has {digest(weights)}, not 000") as other:
        find_weights(str(weights), "0" * 64)
    with pytest.raises(CheckpointError, match="Is a directory"):
        find_weights(str(tmp_path), "")
    assert all("\n" not in str(error.value) for error in (missing, other))


class Bomb:
    """Creates a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def test_files_without_weights_give_a_one_line_error(state: dict[str, Tensor], tmp_path: Path) -> None:
    path, bomb = tmp_path / "vgg19.pth", tmp_path / "exploded"
    lacking = {name: tensor for name, tensor in state.items() if name != "features.2.bias"}
    misshapen = {**state, "features.5.weight": torch.zeros(1)}
    torch.save(state, path)
    whole = path.read_bytes()
    contents = [b"", b"not a pickle", b"\x80\x02.", whole[: len(whole) // 2], pickle.dumps(Bomb(bomb), 2), pickle.dumps([1], 2)]
    for content in contents:
        path.write_bytes(content)
        for name in (path, path.rename(path.with_suffix(".safetensors"))):
            name.write_bytes(content)
            with pytest.raises(CheckpointError, match="cannot be read as weights") as error:
                load_vgg19(str(name), "", 5)
            assert "\n" not in str(error.value)
    assert not bomb.exists()
    for wrong, message in (
        (lacking, r"features\.2\.bias is missing, .* \(64,\)"),
        (misshapen, r"features\.5\.weight is \(1,\)"),
    ):
        torch.save(wrong, path)
        with pytest.raises(CheckpointError, match=message):
            load_vgg19(str(path), "", 5)
    assert load_vgg19(str(path), "", 2), "tensors that the taps do not need are not read"
    torch.save([1], path)
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        load_vgg19(str(path), "", 5)


def test_a_url_is_served_from_the_cache(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = tmp_path / "rdmc" / f"{digest(weights)}.pth"
    kept.parent.mkdir()
    kept.write_bytes(weights.read_bytes())
    assert find_weights("https://127.0.0.1:1/vgg19-dcbb9e9d.pth?x=1", digest(weights)) == kept
