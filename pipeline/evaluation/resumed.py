"""Measure a project's model on all test images, over Ray's workers where there are several, and go on after a kill.

A finished image is written to a journal at once. The journals' names are digests of the model, the data and the code, so a
killed evaluation goes on only with what is its own. They are deleted when the results are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict

import torch

from pipeline.config.project import Project
from pipeline.config.recipe import Recipe
from pipeline.console import say, track
from pipeline.evaluation.abreast import SharedNetwork, in_turn
from pipeline.evaluation.evaluator import ImageResult, measured_pair
from pipeline.evaluation.journal import ImageJournal, network_digest
from rdmc.data.images import Image
from rdmc.data.loader import Pair, PairStore
from rdmc.models.base import Restorer

FEW = 16
"""With fewer images left, a Ray of its own would take longer to start than it saves."""
KEPT = 192_000_000
"""Bytes of derained images that are kept for the pictures: 400 images of 481x321. Of others, those shown are derained again."""
Place = tuple[str, int]
"""A dataset and the position of a pair in it."""


class Evaluation:
    """The measurement of ``checkpoints/best`` on the stores of ``open_tests``.

    With ``RDMC_WORKERS`` of two or more, and ``FEW`` images or more, they are shared among that many workers of Ray; each
    image is measured by one of them, so nothing is counted twice. Otherwise this process measures them.
    """

    def __init__(
        self, project: Project[Recipe], network: Restorer, stores: Mapping[str, PairStore], device: torch.device
    ) -> None:
        self._project, self._network, self._stores = project, network, stores
        images = sum(map(len, stores.values()))
        self._shared = SharedNetwork(network, project.params.evaluate.tile, device, images)
        self._kept: dict[Place, Image] = {}
        self._room = KEPT
        model, tile = network_digest(network), str(project.params.evaluate.tile)
        self._journals = {
            name: ImageJournal(project.paths.journals, "evaluate", model, store.digest, name, tile, device.type)
            for name, store in stores.items()
        }

    def results(self) -> dict[str, list[ImageResult]]:
        """Measure what is not measured yet, and return the figures of every image by dataset, in order.

        Raises DataError for shards that cannot be read, CheckpointError for an output that is not finite, and ServiceError if
        Ray fails. What was finished before an error is kept.
        """
        every = [(name, at) for name, store in self._stores.items() for at in range(len(store))]
        left = [(name, at) for name, at in every if at not in self._journals[name].rows]
        if left and len(left) < len(every):
            say(f"evaluate: {len(every) - len(left)} of {len(every)} images were finished before this command was stopped")
        with ExitStack() as stack:
            for journal in self._journals.values():
                stack.enter_context(journal)
            for (name, at), result in track(self._measured(left), "evaluate", len(left)):
                self._journals[name].add(at, asdict(result))
        return {
            name: [ImageResult(**self._journals[name].rows[at]) for at in range(len(store))]
            for name, store in self._stores.items()
        }

    def pictures(self, places: Sequence[Place]) -> Iterator[tuple[Pair, Image]]:
        """Yield the pair of each place, and its derained image."""

        def derained(place: Place) -> tuple[Pair, Image]:
            name, at = place
            pair = self._stores[name][at]
            return pair, self._kept[place] if place in self._kept else self._shared(pair.rainy)[0]

        yield from in_turn(derained, places, self._shared.abreast)

    def forget(self) -> None:
        """Delete the journals, once the results are written elsewhere."""
        for journal in self._journals.values():
            journal.remove()

    def _measured(self, left: list[Place]) -> Iterator[tuple[Place, ImageResult]]:
        if self._project.settings.workers > 1 and len(left) >= FEW:
            from pipeline.evaluation.workers import over_workers  # imports Ray, which takes seconds

            yield from over_workers(self._project, self._network, left)
            return
        for place, (result, derained) in in_turn(self._measured_one, left, self._shared.abreast):
            if derained.nbytes <= self._room:
                self._room -= derained.nbytes
                self._kept[place] = derained
            yield place, result

    def _measured_one(self, place: Place) -> tuple[Place, tuple[ImageResult, Image]]:
        name, at = place
        return place, measured_pair(self._shared, self._stores[name][at], name)
