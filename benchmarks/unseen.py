"""A model on rain that it never saw: pairs of published benchmarks, and a sheet of real photographs.

    python -m benchmarks.unseen                                    # the reference model
    python -m benchmarks.unseen --model checkpoints/best --sheet derained/real.jpg

The pairs are those of a folder of benchmarks (rain100l, rain200h-samples, rain1400-sample, rain800), each where it exists. The
figures are PSNR-Y, per image: luma by BT.601 on floats, of outputs rounded to 8 bits.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.pictures import write_sheet
from pipeline.console import say, track
from pipeline.evaluation.pages import markdown_table
from rdmc import load_reference
from rdmc.checkpoint import load_model
from rdmc.data.images import Image, read_rgb
from rdmc.datasets.matching import Match, find, match_files, match_halves
from rdmc.inference import derain_image
from rdmc.metrics import psnr_y, ssim_y
from rdmc.models.base import Restorer

SIDE, COLUMNS, QUALITY = 150, 3, 70
"""Height of a picture of the sheet in pixels, photographs in a row, and its JPEG quality."""


def pairs(root: Path) -> Iterator[tuple[str, list[Match]]]:
    """Yield name and pairs of each benchmark below ``root``."""
    files = {
        "Rain100L, 50 of its test pairs": ("rain100l/rainy/rain-*.png", "rain100l/norain-*.png"),
        "Rain1400, 28 pairs of 2 scenes": ("rain1400-sample/rainy_image/*.jpg", "rain1400-sample/ground_truth/*.jpg"),
        "Rain200H, 20 pairs (train)": ("rain200h-samples/train/small/rain/*", "rain200h-samples/train/small/norain/*"),
        "Rain200H, 5 pairs (test)": ("rain200h-samples/test/small/rain/*", "rain200h-samples/test/small/norain/*"),
    }
    for name, (rainy, clean) in files.items():
        if found := find(f"{root}/{rainy}"):
            yield name, match_files("test", found, find(f"{root}/{clean}"))[0]
    if found := find(f"{root}/rain800/test/*.jpg"):
        yield "Rain800, its 100 test pairs", match_halves("test", found, "clean")


def measured(network: Restorer, matches: Sequence[Match], name: str) -> dict[str, float]:
    """Return mean PSNR-Y (dB) and SSIM-Y before and after, the mean gain and the least gain of an image."""
    rows = []
    for match in track(matches, name):
        rainy, clean = (picture.pixels for picture in match.read())
        derained = derain_image(network, rainy)
        rows.append([psnr_y(rainy, clean), psnr_y(derained, clean), ssim_y(rainy, clean), ssim_y(derained, clean)])
    table = np.array(rows)
    gain = table[:, 1] - table[:, 0]
    names = ("rainy", "derained", "rainy_ssim_y", "ssim_y")
    return {**dict(zip(names, table.mean(0).tolist(), strict=True)), "gain": gain.mean(), "least": gain.min()}


def before_and_after(network: Restorer, folder: Path) -> list[Image]:
    """Return all photographs of a folder, each beside its derained version, both ``SIDE`` pixels high, in cells of one size."""
    shown = []
    for path in track(find(f"{folder}/*.jpg"), "real photographs"):
        rainy = read_rgb(path, convert=True)
        both = np.concatenate([rainy, derain_image(network, rainy)], axis=1)
        width = round(both.shape[1] * SIDE / both.shape[0])
        shown.append(cv2.resize(both, (width, SIDE), interpolation=cv2.INTER_AREA))
    widest = max(image.shape[1] for image in shown)
    cells = []
    for image in shown:
        right = 4 + widest - image.shape[1]
        cell = cv2.copyMakeBorder(image, 4, 4, 4, right, cv2.BORDER_CONSTANT, value=(255, 255, 255))
        cells.append(np.asarray(cell, np.uint8))
    return cells


def main() -> None:
    """Measure, print a table in Markdown, and draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a checkpoint folder; else the reference model")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the benchmarks and of real/")
    parser.add_argument("--sheet", type=Path, help="draw the photographs of real/ into this JPEG")
    parser.add_argument("--json", type=Path, help="write the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    network = load_model(arguments.model)[0] if arguments.model else load_reference()
    found = {name: measured(network, matches, name) for name, matches in pairs(arguments.data)}
    cells = [
        [
            name,
            f"{row['rainy']:.2f} dB",
            f"{row['derained']:.2f} dB",
            f"**{row['gain']:+.2f} dB**",
            f"{row['least']:+.2f} dB",
            f"{row['rainy_ssim_y']:.3f} -> {row['ssim_y']:.3f}",
        ]
        for name, row in found.items()
    ]
    say(markdown_table(["pairs", "rainy", "derained", "gain", "least gain", "SSIM-Y"], cells))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    if arguments.sheet:
        write_sheet(arguments.sheet, before_and_after(network, arguments.data / "real"), COLUMNS, QUALITY)


if __name__ == "__main__":
    main()
