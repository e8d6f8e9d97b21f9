from collections.abc import Callable

import numpy as np
import pytest

from rdmc.datasets.streaks import MOST_BARS, Bars, Grain, Layer, Rain, blurred_grain, flat_streaks, gusts, streak_layer

HEIGHT, WIDTH = 200, 300


def rain(angle: float) -> Layer:
    look = Rain(rate=(5, 5), density=(3, 3), opacity=(0.5, 0.9), angle=(angle, angle), spread=1, veil=(0, 0))
    return streak_layer(HEIGHT, WIDTH, look, np.random.default_rng(1))


def bars(angle: float) -> Layer:
    return flat_streaks(HEIGHT, WIDTH, Bars(0.3, (30, 60), (1, 3), angle, 1, 0.5), np.random.default_rng(1))


def grain(angle: float) -> Layer:
    return blurred_grain(HEIGHT, WIDTH, Grain(40, 0.7, 0.1, angle), np.random.default_rng(1))


def direction(layer: Layer) -> float:
    """Direction of the streaks, in degrees from the vertical, from the structure tensor."""
    down, right = np.gradient(layer)
    return float(-0.5 * np.degrees(np.arctan2(2 * (right * down).mean(), (right**2).mean() - (down**2).mean())))


@pytest.mark.parametrize("draw", [rain, bars, grain])
@pytest.mark.parametrize("angle", [-50, -20, 0, 35, 60])
def test_streaks_run_in_the_given_direction(draw: Callable[[float], Layer], angle: float) -> None:
    layer = draw(angle)
    assert layer.shape == (HEIGHT, WIDTH)
    assert layer.dtype == np.float32
    assert layer.min() == 0
    assert 0.5 < layer.max() <= 1
    assert direction(layer) == pytest.approx(angle, abs=9)


def test_bars_cover_what_is_asked_for() -> None:
    look = Bars(cover=0.1, length=(40, 40), thickness=(3, 3), angle=0, spread=0, floor=0.5, smooth=False)
    layer = flat_streaks(600, 800, look, np.random.default_rng(0))
    # A fifth more than the image is sown in each direction, so that streaks also enter from outside.
    assert (layer > 0).mean() == pytest.approx(0.1 / 1.2**2, abs=0.015)
    runs = np.diff(np.flatnonzero(np.diff(np.pad((layer[300] > 0).astype(int), 1))))[::2]
    assert np.median(runs) in (3, 4)


def test_thin_bars_are_fainter() -> None:
    thin, wide = (
        flat_streaks(HEIGHT, WIDTH, Bars(0.1, (40, 40), (t, t), 0, 0, 1, smooth=False), np.random.default_rng(0))
        for t in (0.5, 1)
    )
    assert thin[thin > 0].min() == pytest.approx(0.5, abs=0.01)
    assert wide[wide > 0].min() == 1


def test_overlapping_bars_add_up() -> None:
    look = Bars(cover=3, length=(60, 60), thickness=(4, 4), angle=0, spread=0, floor=0.4, smooth=False)
    one = Bars(cover=0.05, length=(60, 60), thickness=(4, 4), angle=0, spread=0, floor=0.4, smooth=False)
    dense, sparse = (flat_streaks(HEIGHT, WIDTH, bars, np.random.default_rng(0)) for bars in (look, one))
    assert sparse[sparse > 0].mean() < 0.85
    assert (dense == 1).mean() > 0.3


def test_hard_edges_are_hard_and_blurred_ones_are_not() -> None:
    hard, soft = (
        flat_streaks(HEIGHT, WIDTH, Bars(0.1, (40, 40), (3, 3), 10, 0, 1, False, blur), np.random.default_rng(0))
        for blur in (0.0, 1.0)
    )
    assert set(np.unique(hard)) == {0, 1}
    assert len(np.unique(soft)) > 50


def test_the_number_of_bars_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[object] = []
    monkeypatch.setattr("cv2.fillConvexPoly", lambda *arguments: drawn.append(arguments))
    flat_streaks(100, 100, Bars(5, (3, 3), (0.5, 0.5), 0, 0, 1), np.random.default_rng(0))
    assert len(drawn) == MOST_BARS * 10


def test_grain_is_as_long_as_its_motion_blur() -> None:
    def reach(length: float) -> int:
        layer = blurred_grain(400, 400, Grain(length, 0.7, 0.1, 0), np.random.default_rng(0))
        layer = layer - layer.mean()
        likeness = [float((layer[shift:] * layer[: len(layer) - shift]).mean()) for shift in range(120)]
        return next(shift for shift, value in enumerate(likeness) if value < 0.5 * likeness[0])

    assert 3 <= reach(8) <= 8
    assert 20 <= reach(60) <= 45


def test_wider_grain_has_wider_streaks() -> None:
    fine, coarse = (blurred_grain(HEIGHT, WIDTH, Grain(20, size, 0.1, 0), np.random.default_rng(0)) for size in (0.2, 2.0))
    assert np.abs(np.diff(fine, axis=1)).mean() > 2 * np.abs(np.diff(coarse, axis=1)).mean()


def test_gusts_are_smooth_and_differ_between_places() -> None:
    layer = gusts(HEIGHT, WIDTH, np.random.default_rng(0))
    assert layer.shape == (HEIGHT, WIDTH)
    assert np.abs(np.diff(layer, axis=0)).max() < 0.05
    assert layer.max() - layer.min() > 0.4


@pytest.mark.parametrize("shape", [(16, 16), (17, 300), (300, 17)])
def test_any_shape_can_be_drawn(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    assert blurred_grain(*shape, Grain(160, 2, 0.03, 60), rng).shape == shape
    assert flat_streaks(*shape, Bars(2, (80, 200), (3, 6), 60, 12, 0.1), rng).shape == shape
    assert gusts(*shape, rng).shape == shape


def test_streaks_are_as_long_as_the_exposure() -> None:
    def covered(exposure: float) -> int:
        look = Rain((5, 5), (0.2, 0.2), (0.9, 0.9), (0, 0), spread=0, veil=(0, 0), exposure=exposure)
        return int((streak_layer(HEIGHT, WIDTH, look, np.random.default_rng(1)) > 0.02).sum())

    assert 1.5 < covered(0.01) / covered(0.005) < 2.2
    assert covered(0.01) > covered(0.002) > 0
