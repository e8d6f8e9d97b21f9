"""``baseline``: commit the results of the pipeline, so that later experiments have something to be compared with."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.config.paths import Paths
from pipeline.console import say
from pipeline.versioning.dvc import LOCK
from pipeline.versioning.git import git
from rdmc.errors import ConfigError, ServiceError

PARAMS = "params.yaml"
RESULTS = (LOCK, "metrics", "plots")
"""What a baseline is: the digests of all outs, the figures, and the rows behind the curves."""


def run(root: Path = Path()) -> None:
    """Commit dvc.lock, metrics/ and plots/ of the project in ``root``, and nothing else, whatever is staged.

    Raises:
        ServiceError: git refuses the commit.
        ConfigError: ``root`` is no git checkout, there is nothing to commit, or git does not know who commits.
    """
    there = _there(root)
    try:
        changed = changes(root)
    except ServiceError:
        raise ConfigError(f"{root.absolute()}: no git checkout, so nothing can be committed; run `git init` here") from None
    if not changed:
        before = git(root, "log", "-1", "--format=%h, %s", "--", *there) if there else ""
        state = f"equal to commit {before}" if before else "none is here, run make repro"
        raise ConfigError(f"{', '.join(RESULTS)}: nothing to commit as a baseline: {state}")
    try:
        git(root, "var", "GIT_COMMITTER_IDENT")
    except ServiceError:
        raise ConfigError(
            "git does not know who commits; run git config user.name 'Your Name' and git config user.email you@example.org"
        ) from None
    git(root, "add", "--", *changed)
    git(root, "commit", "--quiet", "--only", "-m", _message(Paths(root)), "--", *changed)
    say(f"baseline: {git(root, 'log', '-1', '--format=%h, %s')}")
    if git(root, "status", "--porcelain", "--", PARAMS):
        say(f"{PARAMS} differs from the commit and is no part of it; if these results are of the file as it is now,")
        say(f"commit it too:  git commit {PARAMS}")
    say("try a change:  dvc exp run -S train.lr=1e-3, then make experiments")


def hint(root: Path = Path()) -> None:
    """Say that results of ``root`` are not committed, and how to commit them. Says nothing outside a git checkout."""
    try:
        if not changes(root):
            return
    except ServiceError:
        return
    say(f"These results are not committed: {', '.join(changes(root))}. The next experiment overwrites them.")
    say("Commit dvc.lock, metrics/ and plots/ as the baseline that experiments are compared with:  make baseline")


def changes(root: Path) -> list[str]:
    """Which of ``RESULTS`` differ from the commit. Raises ServiceError if ``root`` is no git checkout."""
    git(root, "rev-parse", "--git-dir")
    return [name for name in RESULTS if git(root, "status", "--porcelain", "--", name)]


def _there(root: Path) -> list[str]:
    return [name for name in RESULTS if (root / name).exists()]


def _message(paths: Paths) -> str:
    """The commit's message, with the figures on the test images where they are known."""
    try:
        overall = json.loads(paths.evaluate_metrics.read_text())["overall"]
        return f"Baseline: {overall['derained']['psnr_y']:.2f} dB PSNR-Y on the test images, {overall['gain_psnr_y']:+.2f} dB"
    except (OSError, ValueError, LookupError, TypeError):
        return "Baseline"
