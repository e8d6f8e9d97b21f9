"""The page of an evaluation: its figures, its size with a thousand images, and the page in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation.evaluator import ImageResult
from pipeline.evaluation.plots import gain_histogram
from pipeline.evaluation.report.evaluation import Shown, evaluation_page, ranked
from rdmc.data.images import Image
from rdmc.datasets.rain import render
from rdmc.metrics import measure
from tests.support.browser import Page, chromium, page
from tests.support.data import scene

needs_browser = pytest.mark.skipif(chromium() is None, reason="needs Chromium")
MOST_BYTES = 25_000_000


def result(dataset: str, number: int, gain: float) -> ImageResult:
    before = {"psnr_y": 20.0 + number % 7, "ssim_y": 0.7, "psnr_rgb": 19.0, "ssim_rgb": 0.6}
    after = {"psnr_y": before["psnr_y"] + gain, "ssim_y": 0.9, "psnr_rgb": 22.0, "ssim_rgb": 0.8}
    return ImageResult(dataset, f"image-{number:04d}", 321, 481, before, after, 0.25, f"{number}", "CPU")


def shown(rank: str, number: int, height: int = 321, width: int = 481) -> Shown:
    """A picture whose rainy half is dark and whose derained half is bright, so that a browser's pixels tell them apart."""
    clean = scene(number, height, width)
    rainy, derained = np.full_like(clean, 40), np.full_like(clean, 220)
    figures = measure(rainy, clean), measure(derained, clean)
    image = ImageResult("light", f"{number}", height, width, *figures, 0.2, f"{number}", "CPU")
    return Shown(rank, image, rainy, derained, clean)


def histogram(results: dict[str, list[ImageResult]]) -> Image:
    return gain_histogram({name: [one.gain for one in group] for name, group in results.items()})


def made(images: int = 60) -> str:
    results = {"light": [result("light", number, 3 + np.sin(number)) for number in range(images)]}
    scenes = {"light": [str(number) for number in range(images)]}
    some = [shown(rank, number) for number, rank in enumerate(("worst", "median", "best"))]
    return evaluation_page(results, scenes, histogram(results), {"light": some}, {"weights, SHA-256": "abc", "commit": "def"})


def test_worst_median_and_best_are_chosen_by_rank() -> None:
    assert ranked(5, [3, 1, 4, 0, 2]) == {2: "best", 3: "worst", 4: "median"}
    assert ranked(2, [1, 0]) == {0: "best", 1: "worst"}
    assert ranked(1, [0]) == {0: "worst"}


def test_the_page_has_means_ranges_rows_pictures_and_origin() -> None:
    text = made(60)
    values = np.array([3 + np.sin(number) for number in range(60)])
    assert f"<td>{values.mean():+.2f}</td>" in text
    assert re.search(r"<td>\d+\.\d\d to \d+\.\d\d</td>", text)
    assert text.count('<th scope="row">light/image-') == 60
    assert [f"{rank} of light" in text for rank in ("worst", "median", "best")] == [True] * 3
    assert "<dt>weights, SHA-256</dt><dd>abc</dd>" in text
    assert "overall" not in text, "one dataset needs no row over all"


def test_datasets_have_a_row_over_all_images_and_few_scenes_are_said() -> None:
    results = {name: [result(name, number, 2.0 + number) for number in range(2)] for name in ("light", "heavy")}
    text = evaluation_page(results, {"light": ["a", "b"], "heavy": ["a", "a"]}, histogram(results), {}, {})
    assert '<th scope="row">overall</th><td>4</td><td>2</td>' in text
    assert "too few scenes" in text


@pytest.mark.slow
def test_a_thousand_images_and_many_pictures_stay_below_25_mb() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1280, 3)).astype(np.uint8)  # pictures cannot take more
    one = Shown("worst", result("x0", 0, 1.0), noise, noise, noise)
    names = [f"x{number}" for number in range(20)]
    results = {name: [result(name, number, 1.0) for number in range(50)] for name in names}
    scenes = {name: [str(number) for number in range(50)] for name in names}
    text = evaluation_page(results, scenes, histogram(results), {name: [one] * 3 for name in names}, {})
    assert 15_000_000 < len(text.encode()) < MOST_BYTES
    assert "pictures are left out" in text
    assert text.count('<th scope="row">x') == 1000 + 20


@pytest.fixture
def report(tmp_path: Path) -> Iterator[Page]:
    path = tmp_path / "report.html"
    path.write_text(made())
    with page(path.as_uri(), tmp_path / "profile") as opened:
        yield opened


AT = "getComputedStyle(document.querySelector('.pair')).getPropertyValue('--at')"


def mouse(opened: Page, kind: str, x: float, y: float) -> None:
    opened.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)


def box(opened: Page, selector: str) -> dict[str, float]:
    script = f"""(() => {{ const e = document.querySelector("{selector}"); e.scrollIntoView({{block: "center"}});
    const r = e.getBoundingClientRect(); return {{x: r.x, y: r.y, width: r.width, height: r.height}}; }})()"""
    return dict(opened.value(script))


@needs_browser
@pytest.mark.slow
def test_the_slider_works_by_mouse_touch_and_keyboard(report: Page) -> None:
    place = box(report, ".pair")
    middle = place["y"] + min(place["height"], 500) / 2
    mouse(report, "mousePressed", place["x"] + place["width"] * 0.25, middle)
    assert float(report.value(AT).rstrip("%")) == pytest.approx(25, abs=1)
    mouse(report, "mouseMoved", place["x"] + place["width"] * 0.8, middle)
    mouse(report, "mouseReleased", place["x"] + place["width"] * 0.8, middle)
    assert float(report.value(AT).rstrip("%")) == pytest.approx(80, abs=1)
    report.value("document.querySelector('.pair input').focus()")
    for _ in range(5):
        for kind in ("keyDown", "keyUp"):
            report.call("Input.dispatchKeyEvent", type=kind, key="ArrowLeft", code="ArrowLeft", windowsVirtualKeyCode=37)
    assert float(report.value(AT).rstrip("%")) == pytest.approx(75, abs=1)
    assert report.value("document.querySelector('.pair input').getAttribute('aria-valuetext')") == "75 % rainy"
    report.call("Emulation.setTouchEmulationEnabled", enabled=True)
    at = {"x": place["x"] + place["width"] * 0.4, "y": middle}
    report.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[at])
    report.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[{**at, "x": at["x"] + 5}])
    report.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    report.until(f"Math.abs(parseFloat({AT}) - 40) < 3")


@needs_browser
@pytest.mark.slow
def test_left_of_the_line_is_what_was_chosen_and_zoom_enlarges(report: Page) -> None:
    over = "[...document.querySelectorAll('#p1 .over')]"
    shown_now = f"{over}.filter(one => getComputedStyle(one).display !== 'none').map(one => one.dataset.name)"
    assert report.value(shown_now) == ["rainy"]
    report.value("document.querySelector('#p1 input[value=clean]').click()")
    assert report.value(shown_now) == ["clean"]
    before = box(report, "#p1 .pair")["width"]
    report.value("document.querySelector('#p1 input[value=\"4\"]').click()")
    assert box(report, "#p1 .pair")["width"] == pytest.approx(4 * before, rel=0.01)
    assert report.value("document.documentElement.scrollWidth <= window.innerWidth"), "the picture is scrolled, not the page"


@needs_browser
@pytest.mark.slow
def test_a_phone_shows_it_and_nothing_is_loaded_or_wrong(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(made())
    with page("about:blank?", tmp_path / "profile") as opened:
        opened.call("Network.enable")
        opened.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
        opened.call("Page.navigate", url=path.as_uri())
        opened.until("document.readyState === 'complete' && document.querySelectorAll('figure.compare').length === 3")
        assert opened.value("document.documentElement.scrollWidth") == 390
        place = box(opened, ".pair")
        assert place["width"] > 330
        mouse(opened, "mousePressed", place["x"] + place["width"] * 0.7, place["y"] + place["height"] / 2)
        assert float(opened.value(AT).rstrip("%")) == pytest.approx(70, abs=2)
        requests = [
            event["params"]["request"]["url"] for event in opened.events if event["method"] == "Network.requestWillBeSent"
        ]
        assert {url.partition(":")[0] for url in requests} <= {"file", "data"}
        assert [event for event in opened.events if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")] == []


@needs_browser
@pytest.mark.slow
def test_columns_sort_as_numbers(report: Page) -> None:
    cells = "[...document.querySelectorAll('.long tbody tr')].map(row => parseFloat(row.cells[4].textContent))"
    report.value("document.querySelectorAll('.long thead button')[4].click()")
    rising = report.value(cells)
    assert rising == sorted(rising)
    report.value("document.querySelectorAll('.long thead button')[4].click()")
    assert report.value(cells) == sorted(rising, reverse=True)


@needs_browser
@pytest.mark.slow
def test_a_thousand_images_open(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    clean = scene(5, 1000, 1280)
    rainy = render(clean, "light", (0,))
    group = [Shown(rank, result("x", 0, 1.0), rainy, clean, clean) for rank in ("worst", "median", "best")]
    results = {f"x{set_}": [result("x", number, 1.0 + number % 5) for number in range(100)] for set_ in range(10)}
    scenes = {name: [str(number) for number in range(100)] for name in results}
    path.write_text(evaluation_page(results, scenes, histogram(results), dict.fromkeys(results, group), {}))
    with page("about:blank?", tmp_path / "profile") as opened:
        opened.call("Page.navigate", url=path.as_uri())
        opened.until("document.readyState === 'complete' && document.querySelectorAll('tbody tr').length > 1000")
