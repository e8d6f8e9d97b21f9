"""Terminal output: a line, a table, a progress bar. Nothing else prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

T = TypeVar("T")
WIDE = 160
"""Width in characters of output to a file or a pipe, which have no width themselves. COLUMNS overrides it."""
console = Console(
    highlight=False,
    markup=False,  # a path may hold [brackets] or :colons:
    emoji=False,
    width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDE,
)


def say(text: str) -> None:
    """Print one line unchanged."""
    console.print(text, soft_wrap=True)


def note(text: str) -> None:
    """Print one line on standard error, so that a program that reads the output of a command does not get it."""
    sys.stderr.write(f"{text}\n")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; the first column is left-aligned, the others right."""
    shown = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        shown.add_column(
            column, justify="left" if index == 0 else "right", overflow="fold"
        )  # a narrow terminal must not cut a value off
    for row in rows:
        shown.add_row(*row)
    console.print(shown)


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items``, with a progress bar on a terminal and silently elsewhere."""
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        yield from progress.track(items, description=escape(description), total=total)


@contextmanager
def progress_bar(description: str, total: int | None) -> Iterator[Callable[[float], None]]:
    """Yield a function that moves a progress bar on by parts of ``total``, None if unknown. It shows on a terminal only."""
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(escape(description), total=total)
        yield lambda amount: progress.advance(task, amount)


class TrainingDisplay:
    """Shows a training's progress: a live bar on a terminal, a line per validation elsewhere. Call it with each report."""

    def __init__(self, steps: int) -> None:
        self.psnr: float | None = None
        self.progress = Progress(
            TextColumn("train"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  PSNR-Y {task.fields[psnr]}  {task.fields[speed]} images/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.progress.add_task("train", total=steps, loss="-", psnr="-", speed="-")
        self.steps = steps

    def __enter__(self) -> TrainingDisplay:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def __call__(self, row: Mapping[str, float]) -> None:
        """Show one report (see ``rdmc.training.report.Report.flat``)."""
        validated = "psnr_y" in row
        self.psnr = row.get("psnr_y", self.psnr)
        loss, psnr = f"{row['loss']:.4f}", "-" if self.psnr is None else f"{self.psnr:.2f} dB"
        speed = f"{row['images_per_second']:.0f}"
        self.progress.update(self.task, completed=row["step"], loss=loss, psnr=psnr, speed=speed)
        if validated and not console.is_terminal:
            say(f"step {row['step']:.0f}/{self.steps}  loss {loss}  PSNR-Y {psnr}  {speed} images/s")
