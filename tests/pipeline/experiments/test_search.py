"""The command ``search`` on a real local Ray with two workers: the same result as in one process, and its files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from pipeline.config.params import Params
from pipeline.config.paths import Paths
from pipeline.config.project import Project
from pipeline.config.recipe import with_architecture, with_overrides
from pipeline.config.settings import Settings
from pipeline.experiments import search
from rdmc.checkpoint import load_model, write_model
from rdmc.data.loader import PairStore
from rdmc.errors import CheckpointError, ConfigError, DataError
from rdmc.models.baselines import UNetConfig
from rdmc.models.cost import cost
from rdmc.models.factory import build
from rdmc.models.genotype import GENOTYPE, derive, read_genotype
from rdmc.models.rdmc import RDMC, RDMCConfig
from rdmc.training.search import SearchRun
from tests.support.data import make_dataset, tiny_params

HEAVY = {"heavy": {"source": "embedded", "rain": "heavy", "variants": 0}}
LIGHT: dict[str, Any] = {
    "datasets": {"light": {"source": "embedded", "rain": "light", "variants": 1}},
    "search.steps": 4,
    "search.lr": 0.05,
    "search.keep": 3,
    "train.validate_every": 2,
}


@pytest.fixture(scope="module")
def params() -> Params:
    return tiny_params(LIGHT)


@pytest.mark.slow
def test_search_ends_with_an_architecture_that_can_be_trained(store: str, tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    make_dataset(paths, "light")
    make_dataset(paths, "heavy", {"validation": 1})  # a dataset without training pairs
    params = tiny_params({**LIGHT, "datasets": {**LIGHT["datasets"], **HEAVY}})
    search.run(Project(params, Settings(workers=2, gpu=False), paths))

    folder = [paths.shards("light"), paths.shards("heavy")]
    alone = SearchRun(params.network, params.loss, params.train, params.search, params.seed)
    reports = [report.flat() for report in alone.reports(PairStore(folder, "train"), PairStore(folder, "validation"))]
    found = read_genotype(paths.searched)
    for name, strength in found.strengths.items():
        assert strength == pytest.approx(reports[-1][f"strength/{name.replace('->', '-to-')}"], abs=1e-4)
    config, weights = derive(params.network, alone.average.state_dict(), 3)  # type: ignore[arg-type]
    assert (found.connections, found.upsample) == (config.connections, config.upsample)
    network, facts = load_model(paths.searched)
    assert network.config == config
    assert facts["step"] == 4
    assert "validation" not in facts
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, weights[name], atol=1e-4, rtol=1e-3)
    assert list(paths.runs.iterdir()) == []

    client = MlflowClient(store)
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert (run.info.status, run.data.tags["stage"]) == ("FINISHED", "search")
    history = client.get_metric_history(run.info.run_id, "strength/enc1-to-dec2")
    assert [figure.step for figure in history] == [2, 4]
    assert history[-1].value == found.strengths["enc1->dec2"]
    assert run.data.params["genotype.upsample"] == found.upsample
    assert run.data.params["cost.parameters"] == str(cost(config).parameters)
    assert run.data.params["cost.before.parameters"] == str(cost(params.network).parameters)
    path = client.download_artifacts(run.info.run_id, GENOTYPE, str(tmp_path))
    assert Path(path).read_text() == (paths.searched / GENOTYPE).read_text()
    assert with_architecture(with_overrides(params, {"architecture": str(paths.searched)})).network == config


def test_refused_before_anything_starts(params: Params, tmp_path: Path) -> None:
    def attempt(**changes: object) -> None:
        changed = with_overrides(params, {key.replace("__", "."): value for key, value in changes.items()})
        search.run(Project(changed, Settings(workers=1, gpu=False), Paths(tmp_path)))

    with pytest.raises(ConfigError, match=r"search\.keep: 3 exceeds the 1"):
        attempt(network__connections=["enc1->dec2"])
    with pytest.raises(ConfigError, match=r"network\.kind: unet has no architecture"):
        attempt(network={"kind": "unet", "width": 2, "stem": 2})
    with pytest.raises(ConfigError, match="architecture: nowhere/genotype.json: no such file"):
        attempt(architecture="nowhere")
    make_dataset(Paths(tmp_path), "light", {"train": 1})
    with pytest.raises(DataError, match="of one scene, two are needed"):
        attempt()
    assert not (tmp_path / "architectures").exists()


def test_an_earlier_architecture_stays_where_a_new_search_fails(tmp_path: Path) -> None:
    config = RDMCConfig(width=2, passes=1)
    for name, network in (("rdmc", RDMC(config)), ("unet", build(UNetConfig(width=2)))):
        (tmp_path / name).mkdir()
        write_model(tmp_path / name, network.config, network.state_dict(), {"step": 7})
    target = tmp_path / "searched"
    first = search.write_searched(tmp_path / "rdmc", 2, target)
    for source, keep, error in (("unet", 2, CheckpointError), ("rdmc", 9, ConfigError)):
        with pytest.raises(error):
            search.write_searched(tmp_path / source, keep, target)
        assert read_genotype(target) == first


def test_the_name_depends_on_the_searched_params_and_data(params: Params) -> None:
    name = search.run_name(params, ["a"])
    assert name == search.run_name(with_overrides(params, {"tune.trials": 1}), ["a"])
    changed = [with_overrides(params, {key: 4}) for key in ("seed", "search.keep", "network.width", "train.warmup_steps")]
    others = [search.run_name(params, ["b"]), *(search.run_name(other, ["a"]) for other in changed)]
    assert name not in others
    assert len(set(others)) == len(others)


def test_an_architecture_replaces_connections_and_upsampling(params: Params, tmp_path: Path) -> None:
    assert with_architecture(params) is params
    (tmp_path / GENOTYPE).write_text('{"connections": ["enc1->dec2"], "upsample": "bicubic"}')
    chosen = with_overrides(params, {"architecture": str(tmp_path)})
    assert isinstance(params.network, RDMCConfig)
    assert len(params.network.connections) > 1
    assert with_architecture(chosen).network == replace(params.network, connections=("enc1->dec2",), upsample="bicubic")
    assert with_architecture(with_architecture(chosen)) == with_architecture(chosen)
    (tmp_path / GENOTYPE).write_text('{"connections": ["enc1->moon"], "upsample": "bicubic"}')
    with pytest.raises(ConfigError, match=r"^architecture: .*genotype\.json: 'enc1->moon' is not a connection"):
        with_architecture(chosen)
