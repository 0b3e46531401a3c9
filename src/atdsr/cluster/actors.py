"""The processes of a cluster that enlarge pictures."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from atdsr import batch
from atdsr.base.memory import keep_freed_memory
from atdsr.base.stores import locate
from atdsr.batch import BatchConfig, BatchItem, Outcome, Plan, Result
from atdsr.cluster.config import ClusterConfig, NetworkSource
from atdsr.cluster.connection import import_ray

_ORPHAN_SECONDS = 60.0  # in which a process ends whose machine the cluster has given up


class PictureNames(NamedTuple):
    """A `BatchItem` in texts, which mean the same on every machine.

    Attributes:
        source: The absolute path of the file to read, or the name of the object.
        target: That of the file or object to write.
        origin: As in `BatchItem`.
    """

    source: str
    target: str
    origin: str

    @classmethod
    def of(cls, item: BatchItem) -> "PictureNames":
        """Return an item in texts."""
        return cls(str(item.source.absolute()), str(item.target.absolute()), item.origin)

    def item(self) -> BatchItem:
        """Return the item."""
        return BatchItem(locate(self.source), locate(self.target), self.origin)


class UpscaleActor:
    """A process that loads networks once and enlarges pictures one after another.

    Args:
        source: The networks.
        config: What the command asks for.
    """

    def __init__(self, source: NetworkSource, config: BatchConfig) -> None:
        keep_freed_memory()
        self._networks = source.load()
        self._config = config

    def check(self) -> None:
        """Return as soon as the networks are loaded."""

    def enlarge(self, pictures: Sequence[PictureNames]) -> list[Result]:
        """Enlarge pictures, and return what became of each."""
        return list(batch.run(self._plan(pictures), self._networks))

    def enlarge_again(self, picture: PictureNames) -> list[Result]:
        """Enlarge a picture whose actor was lost, as `enlarge` does.

        That actor may still be at it, on a machine that the cluster has given up. It ends soon,
        with or without a result, and is waited for.
        """
        plan, end = self._plan([picture]), time.monotonic() + _ORPHAN_SECONDS
        while True:
            results = list(batch.run(plan, self._networks))
            is_left = results[0].outcome is Outcome.SKIPPED and not locate(picture.target).is_file()
            if not is_left or time.monotonic() > end:
                return results
            time.sleep(1)

    def _plan(self, pictures: Sequence[PictureNames]) -> Plan:
        # `several`: what exists by now is no failure; `out` is not known, so that no actor lists it
        items = tuple(picture.item() for picture in pictures)
        return Plan(items, (), several=True, config=self._config)


def actor_class(config: ClusterConfig) -> Any:
    """Return the class of actors as Ray has it, with what each of them takes of the cluster."""
    options: dict[str, Any] = {
        "num_cpus": config.cpus_per_actor,
        "num_gpus": config.gpus_per_actor,
        "max_restarts": 0,  # the one that starts them knows which pictures are not done
    }
    return import_ray().remote(**options)(UpscaleActor)
