"""What all networks share: estimates, recomputed passes, batch-norm statistics, memory layout, padding and cropping."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rdmc.models.base import Restorer, _padded_by_index, cropped, layout, pad_to_multiple, place, recomputed, statistics_kept

pytestmark = pytest.mark.usefixtures("one_thread")


class Halves(Restorer):
    """Three passes, each half of the one before, through one batch norm and one convolution."""

    def __init__(self) -> None:
        super().__init__("config")
        self.block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))
        self.calls = 0

    def estimates(self, rainy: Tensor) -> list[Tensor]:
        return [rainy / 2**number for number in (1, 2, 3)]

    def counted(self, x: Tensor) -> Tensor:
        self.calls += 1
        found: Tensor = self.block(x)
        return found


def test_a_network_answers_with_its_last_estimate() -> None:
    network, rainy = Halves(), torch.rand(1, 3, 4, 5)
    assert network.config == "config"
    assert torch.equal(network(rainy), rainy / 8)
    assert len(network.truncated(rainy, first=2)) == 3, "without a truncation of its own: all estimates"


def test_a_network_must_define_its_estimates_and_features() -> None:
    with pytest.raises(NotImplementedError):
        Restorer(None)(torch.rand(1, 3, 4, 4))
    with pytest.raises(NotImplementedError):
        Restorer(None).features(torch.rand(1, 3, 4, 4), 1)


@pytest.mark.parametrize(
    ("recompute", "training", "grad", "calls"),
    [(True, True, True, 2), (False, True, True, 1), (True, False, True, 1), (True, True, False, 1)],
)
def test_a_pass_is_computed_again_in_training_alone(recompute: bool, training: bool, grad: bool, calls: int) -> None:
    network = Halves().train(training)
    network.recompute = recompute
    with torch.set_grad_enabled(grad):
        found = recomputed(network, network.counted, torch.rand(2, 3, 8, 8))
        if grad:
            found.square().sum().backward()
    assert network.calls == calls


def test_a_pass_computed_again_gives_the_same_gradients_and_counts_once() -> None:
    kept, again = Halves(), Halves()
    again.load_state_dict(kept.state_dict())
    again.recompute = True
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for network in (kept, again):
        recomputed(network.train(), network.counted, x).square().sum().backward()
    for one, other in zip(kept.parameters(), again.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)
    statistics = dict(again.named_buffers())
    for name, buffer in kept.named_buffers():
        assert torch.equal(buffer, statistics[name]) or buffer.dtype == torch.int64  # the count of batches, which nothing uses


def test_kept_statistics_do_not_move_and_the_momentum_comes_back() -> None:
    network = Halves().train()
    norm = network.get_submodule("block.1")
    assert isinstance(norm, nn.BatchNorm2d)
    norm.momentum = 0.3
    before = norm.state_dict()["running_mean"].clone()

    def fail() -> None:
        with statistics_kept(network):
            network.block(torch.rand(2, 3, 8, 8) + 5)
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fail()
    assert torch.equal(norm.state_dict()["running_mean"], before)
    assert norm.momentum == 0.3
    network.block(torch.rand(2, 3, 8, 8) + 5)
    assert not torch.equal(norm.state_dict()["running_mean"], before)


def test_placing_changes_the_layout_of_convolutions_and_no_value() -> None:
    network = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(8, 2))
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    place(network, "cpu")
    weight = network.get_parameter("0.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    assert (layout(weight), layout(network.get_parameter("2.weight"))) == (torch.channels_last, torch.contiguous_format)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_padding_mirrors_without_repeating_the_edge_where_the_image_is_large_enough() -> None:
    x = torch.arange(20.0).reshape(1, 1, 1, 20).expand(1, 1, 20, 20)
    padded = pad_to_multiple(x, 16)
    assert padded.shape == (1, 1, 32, 32)
    assert padded[0, 0, 0, 20:].tolist() == [18 - i for i in range(12)]
    assert pad_to_multiple(x[..., :3, :3], 16)[0, 0, 0, 3:].eq(2).all(), "a small one repeats its edge"
    assert pad_to_multiple(x[..., :16], 4) is not x
    whole = x[..., :16, :16]
    assert pad_to_multiple(whole, 16) is whole


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (8, 9), (9, 8), (9, 9), (17, 16), (33, 5), (31, 47)])
def test_padding_in_an_exported_graph_is_the_same(size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    assert torch.equal(_padded_by_index(x, 16), pad_to_multiple(x, 16))


def test_cropping_takes_the_upper_left() -> None:
    x = torch.arange(30.0).reshape(1, 1, 5, 6)
    assert cropped(x, 2, 3).tolist() == [[[[0, 1, 2], [6, 7, 8]]]]
