"""Measure images on Ray's workers: each holds the network and reads the pairs itself, and takes an image when it is free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util import ActorPool

from pipeline.cluster import cluster, require_resources, share, workers
from pipeline.config.project import Project
from pipeline.config.recipe import Recipe
from pipeline.evaluation.abreast import SharedNetwork
from pipeline.evaluation.evaluator import CACHE_MB, ImageResult, device_of, measured_pair
from pipeline.storage.datasets import open_pairs, with_digests
from rdmc.data.loader import PairStore
from rdmc.errors import RdmcError, ServiceError, one_line
from rdmc.models.base import Restorer


class ImageWorker:
    """The part of one worker."""

    def __init__(self, project: Project[Recipe], network: Restorer) -> None:
        self._project = project
        self._shared = SharedNetwork(network, project.params.evaluate.tile, device_of(project.settings))
        self._store = cache(self._open)

    def measure(self, dataset: str, index: int) -> tuple[tuple[str, int], ImageResult]:
        """The figures of a dataset's test pair at a position. Raises DataError or CheckpointError."""
        return (dataset, index), measured_pair(self._shared, self._store(dataset)[index], dataset)[0]

    def _open(self, dataset: str) -> PairStore:
        return open_pairs(self._project, "test", [dataset], CACHE_MB)


def over_workers(
    project: Project[Recipe], network: Restorer, images: Sequence[tuple[str, int]]
) -> Iterator[tuple[tuple[str, int], ImageResult]]:
    """Yield the figures of each image, a dataset and a position in it, in the order in which they are finished.

    Raises ConfigError if the cluster has too few resources, ServiceError if Ray fails or a worker is lost, and the errors of
    ``ImageWorker.measure``.
    """
    settings = project.settings
    with cluster(settings):
        require_resources(settings)
        here = replace(with_digests(project), paths=replace(project.paths, root=project.paths.root.absolute()))
        one = share(settings)
        worker = ray.remote(num_cpus=one.get("CPU", 0), num_gpus=one.get("GPU", 0))(ImageWorker)
        given = ray.put(network)
        pool = ActorPool([worker.remote(here, given) for _ in range(min(workers(settings), len(images)))])
        try:
            yield from pool.map_unordered(lambda actor, image: actor.measure.remote(*image), list(images))
        except RayTaskError as error:
            if isinstance(error.cause, RdmcError):
                raise error.cause from None
            raise
        except RayError as error:
            raise ServiceError(
                f"a worker of the evaluation was lost ({one_line(error)}); run it again, the images it finished are kept"
            ) from None
