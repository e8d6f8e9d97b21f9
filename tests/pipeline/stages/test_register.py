"""``register`` into a real SQLite store: the content of the run, versions, lost runs, and the model in a fresh process."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from pipeline.config.params import Params, read_params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.recipe import flatten
from pipeline.config.settings import Settings
from pipeline.serving import derain
from pipeline.stages import evaluate, register
from pipeline.tracking.run_info import REGISTERED, only
from pipeline.tracking.tracker import Tracker
from rdmc.checkpoint import load_model
from rdmc.data.images import read_rgb, write_png
from rdmc.data.shards import read_manifest
from rdmc.errors import CheckpointError, DataError, MissingError, ServiceError
from rdmc.files import write_text
from rdmc.inference import derain_image
from rdmc.models.genotype import GENOTYPE, Genotype, genotype_of
from rdmc.models.rdmc import RDMC
from tests.support.place import Place
from tests.support.s3 import S3Server
from tests.support.waiting import PATIENCE, hanging_up

COMMIT, TRAINED = "a" * 40, "b" * 40
KNOWN = {"git_commit": COMMIT, "git_dirty": "true", "dvc.checkpoints/best": "12.dir", "dvc.data/shards/light": "3456.dir"}


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path, params: Params, make_workspace: Callable[..., Paths]
) -> Iterator[Place]:
    """The state after ``register`` for a training that lost MLflow halfway: the run lacked step 200."""
    root = tmp_path_factory.mktemp("place")
    shutil.copy(empty_store, root / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MLFLOW_TRACKING_URI", uri := f"sqlite:///{root}/mlflow.db")
        patch.setattr(register, "lineage", lambda: dict(KNOWN))
        paths = make_workspace(Path())
        with Tracker.start(Settings(), "train", {"train.lr": params.train.lr}, {"git_commit": TRAINED}) as tracker:
            tracker.log({"loss": 0.5, "psnr_y": 20.25}, 100)
        write_text(paths.run, json.dumps({"run_id": tracker.run_id}))
        write_text(Path("dvc.lock"), "schema: '2.0'\n")
        evaluate.run(Project(params, Settings(), paths))
        register.run(Project(params, Settings(), paths))
        yield Place(paths, uri, MlflowClient(uri, uri))


def test_the_run_has_all_inputs_and_results(place: Place, params: Params, tmp_path: Path) -> None:
    result = place.result()
    assert result["run_id"] == json.loads(place.paths.run.read_text())["run_id"], "the training's own run"
    assert "`python -m pipeline models`" in place.client.get_registered_model("rdmc").description
    run = place.client.get_run(result["run_id"])
    network, _ = load_model(place.paths.best)
    assert isinstance(network, RDMC)
    genotype = genotype_of(network)
    wanted = {**only(flatten(params), REGISTERED), **genotype.flat()}
    assert run.data.params == {name: str(value) for name, value in wanted.items()}
    for name, expected in {"loss/total": [0.5, 0.25], "validation/psnr_y": [20.25, 22.5], "progress/epoch": [1.5, 3.0]}.items():
        assert [figure.value for figure in place.client.get_metric_history(run.info.run_id, name)] == expected
    assert f"#/models/rdmc/versions/{result['version']}?" in run.data.tags["mlflow.note.content"]
    means = json.loads(place.paths.evaluate_metrics.read_text())
    assert run.data.metrics["test/light/derained/psnr_y"] == means["light"]["derained"]["psnr_y"]
    assert run.data.tags["git_commit"] == run.data.tags["mlflow.source.git.commit"] == TRAINED
    recorded = [run.data.tags[name] for name in ("registered_commit", "registered_dirty", "dvc.checkpoints/best")]
    assert recorded == [COMMIT, "true", "12.dir"]
    assert "git_dirty" not in run.data.tags, "the present changes were made after the training"
    files = Path(place.client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    names = {path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file()}
    assert {"params.yaml", "dvc.lock", "metrics/evaluate.json", "plots/history.csv", "plots/images.csv"} <= names
    assert (files / f"cards/{result['version']}.md").read_text().startswith(f"# rdmc, version {result['version']}, 20")
    assert {"plots/learning.png", "plots/pictures/gain.png", "plots/report.html"} <= names
    assert {"data/light/quarantine.json", "data/heavy/quarantine.json"} <= names, "the findings of the checks"
    assert len([name for name in names if name.startswith("plots/pictures/light-")]) == params.evaluate.pictures
    assert Genotype.from_json((files / GENOTYPE).read_text(), GENOTYPE) == genotype, "with the strengths that it learned"
    assert read_params(files / "params.yaml") == params, "the params as logged can be run again"
    assert run.inputs
    inputs = {given.dataset.name: given for given in run.inputs.dataset_inputs}
    assert set(inputs) == {"light", "heavy"}
    digest = read_manifest(place.paths.shards("light") / "manifest.json").digest
    assert digest.startswith(inputs["light"].dataset.digest)
    profile = {"train pairs": 2, "validation pairs": 1, "test pairs": 3, "digest": digest}
    assert json.loads(str(inputs["light"].dataset.profile)) == profile
    assert [tag.value for tag in inputs["light"].tags] == ["training"]
    assert json.loads(inputs["light"].dataset.source) == {"uri": "data/shards/light"}


def test_the_version_and_its_alias(place: Place) -> None:
    result = place.result()
    version = place.client.get_model_version_by_alias("rdmc", "candidate")
    assert {"model": "rdmc", "version": int(version.version), "alias": "candidate", "run_id": version.run_id} == result
    means = json.loads(place.paths.evaluate_metrics.read_text())["overall"]
    assert float(version.tags["psnr_y"]) == means["derained"]["psnr_y"]
    assert float(version.tags["gain_psnr_y"]) == means["gain_psnr_y"]
    assert (version.tags["git_commit"], version.tags["registered_commit"]) == (TRAINED, COMMIT)
    assert version.tags["data.heavy"] == read_manifest(place.paths.shards("heavy") / "manifest.json").digest
    assert "| overall | 5 |" in str(version.description)
    card = version.tags["card"]
    assert card == f"cards/{version.version}.md"
    assert f"/runs/{version.run_id}/artifacts/{card}?" in str(version.description), "a link to it"
    logged = place.client.get_logged_model(str(version.source).removeprefix("models:/"))
    assert logged.source_run_id == result["run_id"]
    assert logged.experiment_id == place.client.get_run(result["run_id"]).info.experiment_id
    assert Path(logged.artifact_location.removeprefix("file://")).is_relative_to(Path("mlartifacts").resolve())
    assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": "rdmc", "version": version.version}]
    assert logged.metrics
    assert {figure.key: figure.value for figure in logged.metrics}["test/overall/gain_psnr_y"] == means["gain_psnr_y"]
    files = Path(logged.artifact_location.removeprefix("file://"))
    assert not [path for path in files.rglob("*") if path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".pyc")]
    assert (files / "code/rdmc/reference.py").is_file()
    assert not (files / "code/rdmc/weights").exists(), "the model's own weights are enough"
    assert "torch==" in (files / "requirements.txt").read_text()
    assert "+cpu" not in (files / "requirements.txt").read_text()


def test_in_a_fresh_process_it_derains_as_the_checkpoint_does(place: Place, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 37, 50, 3), dtype=np.uint8)
    np.save(tmp_path / "in.npy", images)
    code = """
import sys, mlflow, numpy
model = mlflow.pyfunc.load_model("models:/rdmc@candidate")
numpy.save("out.npy", model.predict(numpy.load("in.npy")))
assert model.metadata.signature.inputs.inputs[0].shape == (-1, -1, -1, 3)
assert model.predict(model.input_example).shape == (1, 32, 32, 3)
import rdmc
assert "/code/rdmc/" in rdmc.__file__, f"not the code that was logged with it: {rdmc.__file__}"
assert not [name for name in sys.modules if name.split(".")[0] in ("pipeline", "ray")]
"""
    fresh = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert (fresh.returncode, fresh.stderr) == (0, "")
    expected = np.stack([derain_image(load_model(place.paths.best)[0], image) for image in images])
    assert np.array_equal(np.load(tmp_path / "out.npy"), expected)

    write_png(tmp_path / "photo.png", images[0])
    derain.run(tmp_path / "photo.png", tmp_path / "derained.png", "models:/rdmc@candidate", Settings())
    assert np.array_equal(read_rgb(tmp_path / "derained.png"), expected[0])
    for unknown, cure in (
        ("models:/rdmc@champion", "promote candidate"),
        ("models:/other/1", "make repro"),
        ("models:/rdmc/99", "there are 1, candidate.*name another"),
        ("models:/rdmc", "write models:/name@alias"),
    ):
        with pytest.raises(MissingError, match=cure):
            derain.run(tmp_path / "photo.png", tmp_path / "other.png", unknown, Settings())


def test_equal_weights_and_data_are_not_registered_twice(
    place: Place, params: Params, capfd: pytest.CaptureFixture[str]
) -> None:
    before = place.result()
    place.client.delete_registered_model_alias("rdmc", "candidate")
    register.run(Project(params, Settings(), place.paths))
    assert place.result() == before
    assert int(place.client.get_model_version_by_alias("rdmc", "candidate").version) == int(before["version"])
    shown = capfd.readouterr()
    assert (f"are those of version {before['version']}, so there is no new version" in shown.out, shown.err) == (True, "")
    assert len(place.client.get_metric_history(before["run_id"], "loss/total")) == 2, "no figure twice"


def test_an_experiment_moves_no_alias(place: Place, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other data make another version of the same run."""
    before, client = place.result(), place.client
    client.set_model_version_tag("rdmc", str(before["version"]), "data.heavy", "the digest of other data")
    monkeypatch.setenv("DVC_EXP_NAME", "brave-seed")
    register.run(Project(params, Settings(), place.paths))
    result = place.result()
    assert result == {**before, "version": int(before["version"]) + 1, "alias": ""}
    assert client.get_model_version("rdmc", str(result["version"])).tags["dvc_experiment"] == "brave-seed"
    assert int(client.get_model_version_by_alias("rdmc", "candidate").version) == int(before["version"])
    assert Path(client.download_artifacts(result["run_id"], f"cards/{result['version']}.md")).is_file()


def test_a_run_that_the_store_does_not_know_is_created_once(
    tmp_path: Path, empty_store: Path, place: Place, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the results came from DVC's cache, one new run is created and filled from the history."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri := f"sqlite:///{tmp_path}/mlflow.db")
    client = MlflowClient(uri, uri)
    results = []
    for _ in range(2):
        register.run(Project(params, Settings(), place.paths))
        results.append(place.result())
    run_id = results[0]["run_id"]
    assert run_id != json.loads(place.paths.run.read_text())["run_id"]
    assert results[1] == results[0]
    assert [figure.value for figure in client.get_metric_history(run_id, "validation/psnr_y")] == [20.25, 22.5]
    assert client.get_run(run_id).info.status == "FINISHED"
    assert client.get_run(run_id).data.tags["git_commit"] == COMMIT, "the only commit that is known"


def test_artifacts_are_stored_in_the_bucket(
    tmp_path: Path, store: str, s3: S3Server, place: Place, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.bucket("artifacts")
    settings = Settings(bucket="s3://artifacts/rdmc")
    register.run(Project(params, settings, place.paths))
    keys = [item.key for item in bucket.objects.all()]
    assert any(key.startswith("rdmc/mlflow/models/") and key.endswith("/model.safetensors") for key in keys)
    assert any(key.endswith("/plots/pictures/gain.png") for key in keys)
    run = MlflowClient(store, store).get_run(place.result()["run_id"])
    assert run.inputs
    sources = {json.loads(given.dataset.source)["uri"] for given in run.inputs.dataset_inputs}
    assert "s3://artifacts/rdmc/dvc/files/md5/34/56.dir" in sources
    write_png(tmp_path / "photo.png", np.zeros((20, 20, 3), np.uint8))
    derain.run(tmp_path / "photo.png", tmp_path / "out.png", "models:/rdmc@candidate", settings)
    assert (tmp_path / "out.png").is_file()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://127.0.0.1:9")  # MLflow caches its client for the old address
    for command in (
        lambda: derain.run(tmp_path / "photo.png", tmp_path / "other.png", "models:/rdmc@candidate", settings),
        lambda: register.run(Project(params, settings, place.paths)),
    ):
        with pytest.raises(ServiceError, match=r"^s3://artifacts/rdmc: 127.0.0.1:9: .*; start the server"):
            command()


def test_shards_are_read_from_the_bucket_where_they_are_not_local(
    tmp_path: Path, store: str, s3: S3Server, place: Place, params: Params
) -> None:
    bucket = s3.bucket("shards-only")

    def push(content: bytes, end: str = "") -> str:
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest() + end
        bucket.put_object(Key=f"dvc/files/md5/{md5[:2]}/{md5[2:]}", Body=content)
        return md5

    for name in ("checkpoints", "plots", "metrics"):
        shutil.copytree(name, tmp_path / name)
    outs = []
    for folder in Path("data/shards").iterdir():
        files = [{"md5": push(path.read_bytes()), "relpath": path.name} for path in sorted(folder.iterdir())]
        outs.append({"path": folder.as_posix(), "md5": push(json.dumps(files).encode(), ".dir")})
    (tmp_path / "dvc.lock").write_text(json.dumps({"stages": {"pack": {"outs": outs}}}))
    paths, settings = Paths(tmp_path), Settings(bucket="s3://shards-only")
    evaluate.run(Project(params, settings, paths))
    register.run(Project(params, settings, paths))
    assert json.loads(paths.evaluate_metrics.read_text()) == json.loads(place.paths.evaluate_metrics.read_text())
    assert paths.register_metrics.is_file()


def test_a_registry_that_cannot_be_reached_is_an_error_of_one_line(
    place: Place, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = place.result()
    with hanging_up() as (port, callers):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{port}")
        with pytest.raises(ServiceError, match=r"^http://127.0.0.1:\d+ cannot be reached .*; start that") as caught:
            register.run(Project(params, Settings(mlflow_timeout=PATIENCE), place.paths))
        assert len(callers) == 1, "it is asked once: MLflow's own client would try for minutes"
    assert "secret" not in str(caught.value)
    assert place.result() == before


def test_missing_results_name_the_stage_to_run(place: Place, params: Params, tmp_path: Path) -> None:
    for name, error, said in (
        ("metrics/evaluate.json", DataError, "dvc repro evaluate"),
        ("plots/history.csv", DataError, "dvc repro train"),
        ("checkpoints/run.json", DataError, "dvc repro train"),
        ("checkpoints/best/model.json", CheckpointError, "train"),
        ("data/shards/light/manifest.json", DataError, "pack"),
    ):
        folder = tmp_path / name.replace("/", "-")
        for part in ("metrics", "plots", "checkpoints", "data/shards"):
            shutil.copytree(place.paths.root / part, folder / part)
        (folder / name).unlink()
        with pytest.raises(error, match=said):
            register.run(Project(params, Settings(), Paths(folder)))
