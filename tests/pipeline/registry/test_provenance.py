"""What made a model, held against a real commit; and what a version's tags say of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.config.paths import Paths
from pipeline.registry.provenance import COMMITTED, Sources, gaps, job_sources, leaking, made_by_job, sources
from pipeline.versioning.dvc import folder_files, folder_md5
from rdmc.data.shards import read_manifest
from rdmc.errors import DataError
from rdmc.files import file_digest
from tests.support.data import make_dataset

WHOLE = {"registered_commit": "a" * 40, "code": COMMITTED, "leaks": "0", "data.light": "1", "dvc.data/shards/light": "2"}


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def lock(root: Path, *deps: str) -> None:
    """A dvc.lock whose stages ran with these files and folders as they are now, and with outputs of other stages."""
    made = [{"path": "data/shards", "md5": "1.dir"}, {"path": "checkpoints/best/model.json", "md5": "2"}]
    digests = {dep: folder_md5(folder_files(root / dep)) for dep in deps if (root / dep).is_dir()}
    digests |= {dep: file_digest(root / dep, "md5") for dep in deps if dep not in digests}
    named = [{"path": dep, "md5": md5} for dep, md5 in digests.items()]
    outs = [{"path": "data/shards/light", "md5": "3.dir"}, {"path": "checkpoints/best", "md5": "4.dir"}]
    old = {"deps": [{"path": "rdmc/a.py", "md5": "of another time"}]}
    stages = {"prepare@gone": old, "train": {"deps": [*named, *made], "outs": outs}, "register": old, "check": old}
    (root / "dvc.lock").write_text(json.dumps({"stages": stages}))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in a folder of a repository, as dvc.lock and the commit agree on it."""
    root = tmp_path / "repository/project"
    (root / "rdmc").mkdir(parents=True)
    for name, content in {
        "rdmc/a.py": b"a = 1\n",
        "rdmc/b.py": b"\xff\n\n",
        "dvc.yaml": b"stages: {}\n",
        "README": b"",
    }.items():
        (root / name).write_bytes(content)
    git(root.parent, "init", "-q")
    git(root.parent, "add", "-A")
    git(root.parent, "commit", "-qm", "one")
    lock(root, "rdmc/a.py", "rdmc/b.py")
    return root


def test_code_and_commit(project: Path) -> None:
    commit = git(project, "rev-parse", "HEAD")
    assert sources(project, commit, ["light"]) == Sources((), ())
    (project / "README").write_text("changed")
    (project / "rdmc/a.py").write_text("a = 2\n")
    assert sources(project, commit, ["light"]) == Sources((), ()), "what it was made with counts, not what is there now"
    lock(project, "rdmc/a.py", "rdmc/b.py")
    assert sources(project, commit, ["light"]) == Sources(("rdmc/a.py",), ())
    (project / "rdmc/new.py").write_text("")
    (project / "genotype.json").write_text("{}")
    lock(project, "rdmc/a.py", "rdmc/b.py", "rdmc/new.py", "genotype.json")
    found = sources(project, commit, ["light"])
    assert found == Sources(("rdmc/a.py", "rdmc/new.py"), ("genotype.json",))
    assert found.tag == "rdmc/a.py and 1 more not as in the commit"
    (project / "dvc.yaml").write_text("stages: {other: {}}\n")
    lock(project, "rdmc/b.py")
    assert sources(project, commit, ["light"]) == Sources(("dvc.yaml",), ())


def test_folders_of_code_and_commit(project: Path) -> None:
    for name in ("pipeline/training/worker.py", "pipeline/training/inner/é.py"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(name)
    git(project, "add", "-A")
    git(project, "commit", "-qm", "two")
    commit = git(project, "rev-parse", "HEAD")
    (project / "rdmc/__pycache__").mkdir()
    (project / "rdmc/__pycache__/a.pyc").write_bytes(b"compiled")
    lock(project, "rdmc", "pipeline/training")
    assert sources(project, commit, ["light"]) == Sources((), ())
    (project / "pipeline/training/worker.py").write_text("changed")
    (project / "pipeline/training/new.py").write_text("")
    assert sources(project, commit, ["light"]) == Sources((), ()), "the stages ran before the change"
    lock(project, "rdmc", "pipeline/training")
    found = sources(project, commit, ["light"])
    assert found == Sources(("pipeline/training/new.py", "pipeline/training/worker.py"), ())
    (project / "pipeline/training/worker.py").write_text("changed again")
    assert sources(project, commit, ["light"]) == Sources(("pipeline/training",), ()), "which file it was is not known any more"
    (project / "pipeline/training/worker.py").unlink()
    (project / "pipeline/training/new.py").unlink()
    lock(project, "rdmc", "pipeline/training")
    assert sources(project, commit, ["light"]) == Sources(("pipeline/training/worker.py",), ()), "a file that was missing"


def test_what_is_unknown(project: Path, tmp_path: Path) -> None:
    assert sources(project, "0" * 40, ["light"]) is None
    assert sources(tmp_path, "0" * 40, ["light"]) is None, "no dvc.lock"
    (project / "dvc.lock").write_text("schema: '2.0'\n")
    assert sources(project, git(project, "rev-parse", "HEAD"), []) is None


def test_leaks_that_are_in_the_shards(tmp_path: Path) -> None:
    workspace = Paths(tmp_path)
    make_dataset(workspace, "light", {"train": 3, "test": 1})
    manifest = read_manifest(workspace.shards("light") / "manifest.json")
    assert leaking(workspace.leaks, [manifest]) is None
    pairs = {"train-1": 1, "train-2": 1, "train-9": 0}  # the last was left out

    def leak(name: str) -> dict[str, object]:
        first = {"dataset": "light", "split": "train", "pairs": [name]}
        return {"first": first, "second": {"name": "x", "split": "test", "dataset": "heavy"}, "score": 0.9}

    workspace.leaks.write_text(json.dumps({"version": 1, "leaks": [leak(name) for name in pairs]}))
    assert leaking(workspace.leaks, [manifest]) == sum(pairs.values())
    workspace.leaks.write_text("{")
    with pytest.raises(DataError, match=r"leaks.json: damaged"):
        leaking(workspace.leaks, [manifest])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, None),
        ({"code": None}, "without git, or without dvc.lock"),
        ({"registered_commit": None}, "without git, or without dvc.lock"),
        ({"code": "rdmc/a.py not as in the commit"}, "rdmc/a.py not as in the commit"),
        ({"dvc.data/shards/light": None}, "DVC knows no digest of its data (light)"),
        ({"data.light": None}, "none is named"),
        ({"leaks": None}, "no report of leaks"),
        ({"leaks": "3"}, "3 of its training pairs"),
    ],
)
def test_a_lineage_with_gaps(changed: dict[str, str | None], said: str | None) -> None:
    found = gaps({name: value for name, value in {**WHOLE, **changed}.items() if value is not None})
    assert len(found) == (said is not None)
    assert said is None or said in found[0]


def test_the_code_of_a_job_is_that_of_the_commit_it_was_submitted_with(project: Path, tmp_path: Path) -> None:
    stages = {"train": {"deps": ["rdmc/a.py"]}, "evaluate": {"deps": ["rdmc/b.py"]}}
    (project / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    git(project, "commit", "-qam", "two")
    commit, genotype = git(project, "rev-parse", "HEAD"), Path("genotype.json")
    lock(project, "dvc.yaml")  # its `train` is of another time, and DVC does not run it in a job
    assert job_sources(project, commit, ["light"], genotype) == Sources((), ())
    (project / genotype).write_text("{}")
    job = {"commit": commit, "code": COMMITTED}
    assert made_by_job(project, commit, ["light"], job, genotype) == Sources((), ("genotype.json",), COMMITTED)
    lost = {"commit": commit, "code": "rdmc/c.py not as in the commit"}
    assert made_by_job(project, commit, ["light"], lost, genotype).tag == "rdmc/c.py not as in the commit"
    other = made_by_job(project, "b" * 40, ["light"], job, genotype)
    assert other.tag == f"trained at commit {commit[:12]}, registered at bbbbbbbbbbbb"
    (project / "rdmc/b.py").write_text("changed after the training")
    assert made_by_job(project, commit, ["light"], job, genotype).tag == "rdmc/b.py not as in the commit"
    shutil.copytree(project, tmp_path / "package")  # as a job has it
    assert made_by_job(tmp_path / "package", commit, ["light"], job, genotype).tag == COMMITTED
