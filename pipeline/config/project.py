"""A project as every command gets it: its params, the settings of this environment, and the paths of its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from pipeline.config.paths import Paths
from pipeline.config.recipe import Recipe
from pipeline.config.schema import parse
from pipeline.config.settings import Settings

P = TypeVar("P", bound=Recipe, covariant=True)
Other = TypeVar("Other", bound=Recipe)


@dataclass(frozen=True)
class Project(Generic[P]):
    """What is run, where it runs, and where its files are. It is made once by the command line and once in each worker."""

    params: P
    settings: Settings
    paths: Paths
    digests: Mapping[str, str] = field(default_factory=dict)
    """DVC's md5 (``….dir``) of each dataset's shards, as the driver found them. A worker reads these data and no dvc.lock."""

    def with_params(self, params: Other) -> Project[Other]:
        """The same project with other params, for example those of a trial."""
        return Project(params, self.settings, self.paths, self.digests)

    def with_workers(self, count: int) -> Project[P]:
        """The same project with ``count`` training workers, neither more nor fewer."""
        return replace(self, settings=self.settings.model_copy(update={"workers": count, "min_workers": 0}))

    def to_plain(self) -> dict[str, Any]:
        """The project as plain data for another process, which reads it with ``from_plain``. It holds no credential."""
        return {
            "params": self.params.model_dump(mode="json", by_alias=True),
            "settings": self.settings.model_dump(),
            "root": str(self.paths.root.absolute()),
            "digests": dict(self.digests),
        }


def from_plain(plain: dict[str, Any], model: type[Other]) -> Project[Other]:
    """The project that ``Project.to_plain`` wrote, with only those params that ``model`` has. Raises ConfigError."""
    known = {field.alias or name for name, field in model.model_fields.items()}
    params = {name: value for name, value in plain["params"].items() if name in known}
    settings, paths = Settings(**plain["settings"]), Paths(Path(plain["root"]))
    return Project(parse(model, params, "params"), settings, paths, plain["digests"])
