"""Running a plan on a cluster: pictures go to actors, and those of a lost actor to others."""

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from atdsr.base import units
from atdsr.base.files import kept
from atdsr.base.reporter import SILENT, Reporter
from atdsr.base.stores import locate
from atdsr.batch import BatchConfig, BatchItem, Outcome, Plan, Result, explain
from atdsr.batch.staging import Stage
from atdsr.cluster.actors import PictureNames, actor_class
from atdsr.cluster.config import ClusterConfig, ClusterError, NetworkSource
from atdsr.cluster.connection import import_ray

MOST_LOSSES = 3
"""So many actors may be lost with a picture before it fails, since it may be what ends them."""

MOST_STARTS = 3
"""Times the number of actors: so many may end in a row before they are ready."""

_PATIENCE = 60.0  # seconds in which nothing happens, after which somebody is told


def run(
    plan: Plan, source: NetworkSource, config: ClusterConfig, reporter: Reporter = SILENT
) -> Generator[Result, None, None]:
    """Enlarge the pictures of a plan on the cluster that this process is connected to.

    The plan is gone through once and never held. Finished pictures are found before any actor is
    asked, and are skipped. The others go to the actors as texts, a few at a time, and each actor
    reads, enlarges and writes its pictures by itself.

    An actor that is lost, alone or with its machine, is replaced, and its pictures go to others.
    Those that it had finished are skipped then, or with `plan.config.overwrite` made again. Closing
    the generator ends all actors.

    Args:
        plan: What to do. Its files have the same paths on all machines.
        source: The networks.
        config: What the actors take, with all numbers, as `connected` yields it.
        reporter: Is told of lost actors, and of waiting for a place in the cluster.

    Yields:
        What became of each picture, each once: those first that could not be planned, the others
        as they are finished. A failure does not stop the others.

    Raises:
        ClusterError: No actor starts.
    """
    plan = replace(plan, several=True)  # an existing output is skipped, as in a folder
    for path, sentence in plan.problems:
        yield Result(path, None, Outcome.FAILED, sentence)
    pictures: list[PictureNames] = []
    with _actors(source, plan.config, config, reporter) as actors:
        for each in unfinished(plan):
            if isinstance(each, Result):
                yield each
                continue
            pictures.append(PictureNames.of(each))
            if len(pictures) == config.batch:
                yield from actors.give(pictures)
                pictures = []
        if pictures:
            yield from actors.give(pictures)
        yield from actors.finish()


def unfinished(plan: Plan) -> Iterator[BatchItem | Result]:
    """Yield the pictures of a plan, with a result in the place of those that need no actor."""
    stage = Stage(plan)
    for item in plan.items:
        try:
            is_finished = not plan.config.overwrite and stage.exists(item.target)
        except OSError as error:
            yield Result(item.source, item.target, *explain(error, item, plan))
            continue
        if is_finished:
            yield Result(item.source, item.target, *explain(kept(item.target), item, plan))
        else:
            yield item


@dataclass(frozen=True)
class _Task:
    """Pictures that an actor is given at a time.

    Attributes:
        pictures: At least one, and only one after a loss.
        losses: How many actors were lost with them.
    """

    pictures: tuple[PictureNames, ...]
    losses: int = 0


class _Actors:
    """The actors of a run, of which there are no more than tasks for them.

    Args:
        source: The networks.
        batch_config: What the command asks for.
        config: What the actors take.
        reporter: As for `run`.
    """

    def __init__(
        self,
        source: NetworkSource,
        batch_config: BatchConfig,
        config: ClusterConfig,
        reporter: Reporter,
    ) -> None:
        self._ray = import_ray()
        self._class = actor_class(config)
        self._arguments = self._ray.put(source), batch_config  # the weights are sent once
        self._most = config.actors or 1
        self._reporter = reporter
        self._waiting = deque[_Task]()
        self._idle = deque[Any]()
        self._starting: dict[Any, Any] = {}  # actors by what Ray will answer to
        self._working: dict[Any, tuple[Any, _Task]] = {}
        self._failed_starts = 0

    def give(self, pictures: list[PictureNames]) -> Iterator[Result]:
        """Keep pictures for the next actor; yield what is finished while too many of them wait."""
        self._waiting.append(_Task(tuple(pictures)))
        self._assign()
        while len(self._waiting) >= self._most:
            yield from self._collect()

    def finish(self) -> Iterator[Result]:
        """Yield what is finished until nothing is left to do."""
        while self._waiting or self._working:
            yield from self._collect()

    def kill(self) -> None:
        """End all actors, whatever they do."""
        working = (actor for actor, _ in self._working.values())
        for actor in (*self._idle, *self._starting.values(), *working):
            self._ray.kill(actor)

    def _assign(self) -> None:
        """Give tasks to idle actors, and start actors for those that are left."""
        while self._waiting and self._idle:
            actor, task = self._idle.popleft(), self._waiting.popleft()
            if task.losses:
                answer = actor.enlarge_again.remote(task.pictures[0])
            else:
                answer = actor.enlarge.remote(task.pictures)
            self._working[answer] = actor, task
        room = self._most - len(self._working) - len(self._idle)
        while len(self._starting) < min(room, len(self._waiting)):
            actor = self._class.remote(*self._arguments)
            self._starting[actor.check.remote()] = actor

    def _collect(self) -> Iterator[Result]:
        """Wait for an actor, yield what it has finished, and give it the next task."""
        ready, _ = self._ray.wait([*self._starting, *self._working], timeout=_PATIENCE)
        for answer in ready:
            if answer in self._starting:
                self._welcome(self._starting.pop(answer), answer)
            else:
                yield from self._take(*self._working.pop(answer), answer)
        if not ready and not self._working:
            self._reporter.notice(
                f"no actor has started within {_PATIENCE:.0f} s; the cluster may have no room for "
                f"one (free: {_shown(self._ray.available_resources())})"
            )
        self._assign()

    def _welcome(self, actor: Any, answer: Any) -> None:
        """Take up an actor that is ready.

        Raises:
            ClusterError: It was lost before, as others before it.
        """
        try:
            self._ray.get(answer)
        except self._ray.exceptions.RayError as error:
            self._failed_starts += 1
            if self._failed_starts >= MOST_STARTS * self._most:
                reason = _line_of(error)
                raise ClusterError(f"no actor starts on the cluster: {reason}.") from None
        else:
            self._failed_starts = 0
            self._idle.append(actor)

    def _take(self, actor: Any, task: _Task, answer: Any) -> Iterator[Result]:
        """Yield what an actor has finished; where it was lost, keep its pictures for others."""
        try:
            yield from self._ray.get(answer)
            self._idle.append(actor)
            return
        except self._ray.exceptions.RayError as error:
            reason = _line_of(error)
        losses = task.losses + 1
        if losses < MOST_LOSSES:
            pictures = units.counted(len(task.pictures), "picture")
            self._reporter.notice(f"an actor was lost, and {pictures} go to others: {reason}")
            self._waiting.extendleft(_Task((picture,), losses) for picture in task.pictures)
            return
        for picture in task.pictures:
            place = f"{picture.origin}: " if picture.origin else ""
            sentence = f"{place}{picture.source}: {losses} actors were lost with it: {reason}."
            yield Result(locate(picture.source), locate(picture.target), Outcome.FAILED, sentence)


def _shown(resources: dict[str, float]) -> str:
    return ", ".join(f"{resources.get(kind, 0):g} {kind}" for kind in ("CPU", "GPU"))


def _line_of(error: Exception) -> str:
    """Return one line of what Ray says about an error, without its period.

    A traceback ends with that line; other texts begin with it.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    is_traceback = any(line.startswith("File ") for line in lines)
    line = lines[-1 if is_traceback else 0] if lines else type(error).__name__
    return line.removesuffix(".")


@contextmanager
def _actors(
    source: NetworkSource, batch_config: BatchConfig, config: ClusterConfig, reporter: Reporter
) -> Iterator[_Actors]:
    """Start actors for the time of a block."""
    actors = _Actors(source, batch_config, config, reporter)
    try:
        yield actors
    finally:
        actors.kill()
