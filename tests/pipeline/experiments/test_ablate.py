"""A real ablation of tiny trials on a local Ray: failures do not stop it, and a second run trains what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.settings import Settings
from pipeline.evaluation import evaluator as measuring
from pipeline.experiments import ablate
from pipeline.experiments.ablation import Score, Trial, plan, read_score, write_score
from pipeline.storage.lease import training_lease
from pipeline.tracking.tracker import Tracker
from rdmc.data.loader import PairStore
from rdmc.errors import ConfigError, DataError, TrainingError
from rdmc.training.loop import Run
from tests.support.data import HEAVY, make_dataset, tiny_params

TINY: dict[str, Any] = {
    "datasets": HEAVY,
    "ablation.steps": 4,
    "ablation.seeds": [0],
    "train.validate_every": 2,
}
TWO = {**TINY["datasets"], "light": {"source": "embedded", "rain": "light", "variants": 0}}
"""The second one has no training pairs."""
SETTINGS = Settings(gpu=False)
BEGIN, END = "<!-- ablation: begin -->", "<!-- ablation: end -->"
PAGE = f"# Ablation\n\n{BEGIN}\nnot yet\n{END}\nafter\n"


def written(paths: Paths) -> dict[str, dict[str, Any]]:
    """The results on disk by the names of their trials."""
    scores = [json.loads(path.read_text()) for path in paths.ablation.glob("*.json") if path.name != "run.json"]
    return {f"{score['variant']}/{score['seed']}": score for score in scores}


def by_hand(params: Params, paths: Paths) -> dict[str, float]:
    """The figures of a trial's last averaged weights, trained in this process."""
    folder = [paths.shards("heavy"), paths.shards("light")]
    run = Run(params.network, params.loss, params.train, params.seed)
    assert [report.step for report in run.reports(PairStore(folder, "train"), None)][-1] == 4
    store = PairStore(folder, "test")
    results = list(measuring.measured(run.average, store, "heavy", params.evaluate, run.device))
    return {kind: sum(result.derained[kind] for result in results) / len(results) for kind in ("psnr_y", "ssim_y")}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_failed_variant_does_not_stop_the_others_and_a_second_run_trains_the_rest(store: str, tmp_path: Path) -> None:
    paths, page = Paths(tmp_path), tmp_path / "page.md"
    make_dataset(paths, "heavy")
    make_dataset(paths, "light", {"validation": 1, "test": 1})
    page.write_text(PAGE)
    broken = tiny_params({**TINY, "datasets": TWO, "ablation.variants": {"full": {}, "broken": {"train.lr": 1e30}}})
    with pytest.raises(TrainingError, match="^broken/0: failed"):
        ablate.run(Project(broken, SETTINGS, paths), write=page)
    assert list(written(paths)) == ["full/0"]
    assert "Missing, because they failed or have not run: broken/0." in " ".join(page.read_text().split())
    first = (paths.ablation / "table.md").read_text()

    params = tiny_params(
        {
            **TINY,
            "datasets": TWO,
            "ablation.seeds": [0, 1],
            "ablation.variants": {"full": {}, "one-pass": {"network.passes": 1}},
        }
    )
    ablate.run(Project(params, SETTINGS, paths), write=page)
    found = written(paths)
    assert set(found) == {"full/0", "full/1", "one-pass/0", "one-pass/1"}
    assert (paths.ablation / "table.md").read_text() != first
    for trial in plan(params, "", ""):
        derained = found[trial.name]["figures"]["overall"]["derained"]
        assert {kind: derained[kind] for kind in ("psnr_y", "ssim_y")} == pytest.approx(by_hand(trial.params, paths), abs=1e-3)
    text = page.read_text()
    assert text.startswith("# Ablation\n\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "| one-pass |" in text
    assert found["full/0"]["figures"].keys() == {"heavy", "light", "overall"}
    assert "![Test PSNR-Y" in text
    assert (tmp_path / "page.png").is_file()
    assert list(paths.runs.iterdir()) == []

    client = MlflowClient(store)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    (parent,) = [
        run for run in runs if "mlflow.parentRunId" not in run.data.tags
    ]  # the second ablation continues the run of the first
    children = {run.info.run_name: run for run in runs if "mlflow.parentRunId" in run.data.tags}
    assert set(children) == {*found, "broken/0"}
    assert {name for name, run in children.items() if run.info.status == "FAILED"} == {"broken/0"}
    overall = found["one-pass/1"]["figures"]["overall"]
    assert children["one-pass/1"].data.metrics["test/overall/psnr_y"] == pytest.approx(overall["derained"]["psnr_y"])
    assert {"one-pass/psnr_y", "one-pass/difference_psnr_y", "full/psnr_y"} <= set(parent.data.metrics)
    assert {item.path for item in client.list_artifacts(parent.info.run_id)} == {"table.md", "ablation.png"}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the trials that an ablation would train; each gets a result immediately."""
    names: list[str] = []

    def train(project: Project[Params], todo: list[Trial], parent: str | None) -> list[str]:
        for trial in todo:
            means = {"rainy": {"psnr_y": 20.0, "ssim_y": 0.5}, "derained": {"psnr_y": 22.0 + trial.seed, "ssim_y": 0.6}}
            group = {**means, "gain_psnr_y": 2.0 + trial.seed, "images": 2}
            write_score(project.paths.ablation, trial, Score({"heavy": group, "overall": group}, 1.5, "a machine"))
        names.extend(trial.name for trial in todo)
        return []

    monkeypatch.setattr(ablate, "_train", train)
    return names


def test_only_missing_results_are_trained(store: str, tmp_path: Path, trained: list[str]) -> None:
    paths = Paths(tmp_path)
    make_dataset(paths, "heavy")
    variants = {"full": {}, "one-pass": {"network.passes": 1}, "two-passes": {"network.passes": 2}}
    params = tiny_params({**TINY, "ablation.variants": variants})
    ablate.run(Project(params, SETTINGS, paths))
    assert trained == ["full/0", "one-pass/0"], "two-passes is full under another name"
    assert "| two-passes | 22.00 |" in (paths.ablation / "table.md").read_text()
    trained.clear()
    ablate.run(Project(params, SETTINGS, paths))
    assert trained == []
    ablate.run(
        Project(tiny_params({**TINY, "ablation.variants": variants, "evaluate.pictures": 9, "tune.trials": 7}), SETTINGS, paths)
    )
    assert trained == [], "no result depends on these"
    ablate.run(Project(tiny_params({**TINY, "ablation.variants": variants, "ablation.seeds": [0, 3]}), SETTINGS, paths))
    assert trained == ["full/3", "one-pass/3"]
    trained.clear()
    ablate.run(Project(tiny_params({**TINY, "ablation.variants": variants, "train.lr": 1e-5}), SETTINGS, paths))
    assert trained == ["full/0", "one-pass/0"]
    trained.clear()
    ablate.run(Project(params, SETTINGS, paths), fresh=True)
    assert trained == ["full/0", "one-pass/0"]
    make_dataset(paths, "heavy", {"train": 4, "validation": 3, "test": 2})
    ablate.run(Project(params, SETTINGS, paths))
    assert len(trained) == 4


def test_a_second_ablation_of_a_project_waits_for_the_first_and_takes_nothing_from_it(
    store: str, tmp_path: Path, trained: list[str]
) -> None:
    paths = Paths(tmp_path)
    make_dataset(paths, "heavy")
    variants = {"full": {}, "one-pass": {"network.passes": 1}}
    project = Project(tiny_params({**TINY, "ablation.variants": variants}), SETTINGS, paths)
    ablate.run(project)
    with training_lease(project, "ablate-other"):
        with pytest.raises(ConfigError, match="runs `ablate` in this project; wait for its end"):
            ablate.run(project, fresh=True)
        assert (paths.ablation / "table.md").exists()


def test_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, page = Paths(tmp_path), tmp_path / "page.md"
    monkeypatch.setattr(Tracker, "start", lambda *_, **__: pytest.fail("started"))
    variants = {"full": {}, "wide": {"network.widht": 9}}
    params = tiny_params({**TINY, "ablation.variants": {"full": {}, "one-pass": {"network.passes": 1}}})
    with pytest.raises(ConfigError, match="No such file"):
        ablate.run(Project(params, SETTINGS, paths), write=page)
    page.write_text(f"{END} {BEGIN}")
    with pytest.raises(ConfigError, match=r"page\.md: needs the lines"):
        ablate.run(Project(params, SETTINGS, paths), write=page)
    make_dataset(paths, "heavy", {"train": 4, "validation": 1})
    with pytest.raises(ConfigError, match="ablation.variants.wide: network.widht: no such param"):
        ablate.run(Project(tiny_params({**TINY, "ablation.variants": variants}), SETTINGS, paths))
    with pytest.raises(DataError, match="no test pairs"):
        ablate.run(Project(params, SETTINGS, paths))
    make_dataset(paths, "heavy")
    with pytest.raises(ConfigError, match="does not divide among 3 workers"):
        ablate.run(Project(params, Settings(gpu=False, workers=3), paths))
    assert not paths.ablation.exists()


def test_an_ablation_without_results_is_an_error_and_ends_its_run(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths(tmp_path)
    make_dataset(paths, "heavy")
    monkeypatch.setattr(ablate, "_train", lambda project, todo, parent: [trial.name for trial in todo])
    with pytest.raises(TrainingError, match="no trial of the ablation succeeded"):
        ablate.run(Project(tiny_params(TINY), SETTINGS, paths))
    client = MlflowClient(store)
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert run.info.status == "FAILED"


def begun(trial: Trial, parent: str | None, folder: Path) -> tuple[ablate.AblationRuns, SimpleNamespace]:
    """A trial that has just been validated, as Ray Tune tells the callback; everything is in MLflow."""
    runs = ablate.AblationRuns([trial], tiny_params(TINY), SETTINGS, parent, folder)
    given = SimpleNamespace(config={"trial": trial.name}, last_result={})
    runs.on_trial_start(0, [], given)
    runs.on_trial_result(0, [], given, {"step": 2, "psnr_y": 20.0})
    runs._writes[-1].result()
    return runs, given


def test_a_killed_ablation_goes_on_in_the_runs_of_its_trials(store: str, tmp_path: Path) -> None:
    params, client = tiny_params(TINY), MlflowClient(store)
    trial, changed = plan(params, "data", "code")[0], plan(params, "other data", "code")[0]
    parent, other = (Tracker.start(SETTINGS, name, {}).run_id for name in ("parent", "other"))

    def run_of(trial: Trial, parent: str | None) -> str:
        return str(begun(trial, parent, tmp_path)[0].trackers[trial.name].run_id)  # nothing is ended, as after a kill

    first = run_of(trial, parent)
    assert client.get_run(first).info.status == "RUNNING"
    runs, given = begun(trial, parent, tmp_path)
    with runs:
        runs.on_trial_complete(0, [], given)
    assert runs.trackers[trial.name].run_id == first
    assert client.get_run(first).info.status == "FINISHED"
    assert run_of(changed, parent) != first, "another trial of the same name"
    assert run_of(trial, other) != first, "of another ablation"
    assert run_of(trial, None) != first, "MLflow did not answer when the ablation began"


def test_the_runs_of_trials_that_had_ended_before_a_kill_are_ended_by_the_next_command(
    store: str, tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, client = Paths(tmp_path), MlflowClient(store)
    make_dataset(paths, "heavy")
    train = ablate._train

    def killed(project: Project[Params], todo: list[Trial], parent: str | None) -> list[str]:
        """It has the result of the first trial. MLflow has not, and knows nothing of the end of either."""
        train(project, todo[:1], parent)
        for trial in todo:
            begun(trial, parent, paths.ablation)
        raise KeyboardInterrupt

    before, after = (
        tiny_params({**TINY, "ablation.variants": {"full": {}, name: {"network.passes": passes}}})
        for name, passes in (("one-pass", 1), ("two-passes", 2))
    )
    monkeypatch.setattr(ablate, "_train", killed)
    with pytest.raises(KeyboardInterrupt):
        ablate.run(Project(before, SETTINGS, paths))
    monkeypatch.setattr(ablate, "_train", train)
    ablate.run(Project(after, SETTINGS, paths))
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    runs = {run.info.run_name: run for run in found if "mlflow.parentRunId" in run.data.tags}
    assert {name: run.info.status for name, run in runs.items()} == {"full/0": "FINISHED", "one-pass/0": "KILLED"}
    assert runs["full/0"].data.metrics["test/overall/psnr_y"] == 22.0


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    trial = plan(tiny_params(TINY), "", "")[0]
    assert read_score(tmp_path, trial) is None
    write_score(tmp_path, trial, Score({}, 1.0, "a machine"))
    assert read_score(tmp_path, trial) == Score({}, 1.0, "a machine")
    (path,) = tmp_path.iterdir()
    path.write_text('{"figures"')
    with pytest.raises(Exception, match=rf"{path.name}: .*delete that file"):
        read_score(tmp_path, trial)
