"""What a plan would do, and what it would take, before anything is written."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from atdsr.base import units
from atdsr.base.errors import AtdsrError
from atdsr.batch.config import enlargement
from atdsr.batch.networks import Networks
from atdsr.batch.planning import BatchItem, Plan
from atdsr.batch.running import RECORD_FORMAT, Outcome, Tally, explain, open_checked, summary_line
from atdsr.batch.staging import Stage
from atdsr.inference import UpscaleError
from atdsr.inference.budget import Workload, pass_sizes
from atdsr.inference.speed import seconds_per_pixel

MOST_OPENED = 10_000
"""So many pictures are opened before the first one begins, to tell how much time is left."""


@dataclass(frozen=True)
class Forecast:
    """What would become of a picture.

    Attributes:
        source: The picture's file, as in `Result`.
        target: The file that would be written, as in `Result`.
        outcome: What would become of it, as far as that can be told without decoding it.
        message: One line for people, without what the other fields tell in numbers.
        source_size: Width and height of the picture in pixels; None if it cannot be opened.
        size: Width and height of the result in pixels; None if there would be none.
        frames: Number of frames.
        model: Name of the network that would be used.
        restorer: Name of the network that it would go through first; None for none.
        workload: What each frame asks of the network; None if there would be no result.
        seconds: How long the network would take for all frames; None if there would be no result.
    """

    source: str
    target: str | None
    outcome: Outcome
    message: str
    source_size: tuple[int, int] | None = None
    size: tuple[int, int] | None = None
    frames: int = 1
    model: str | None = None
    workload: Workload | None = None
    seconds: float | None = None
    restorer: str | None = None

    @property
    def line(self) -> str:
        """The message; for a picture that would be made with sizes, time and memory."""
        if self.workload is None or self.source_size is None or self.size is None:
            return self.message
        sizes = f"{units.picture_size(*self.source_size)} -> "
        parts = [sizes + units.picture_size(*self.size, self.frames)]
        parts += [self.restorer] if self.restorer else []
        if self.workload.passes:
            times = "" if self.workload.passes == 1 else f" {self.workload.passes} times"
            parts.append(f"{self.model}{times}" if self.model else f"the network{times}")
        parts.append(f"about {units.duration(self.seconds)}")
        if self.workload.memory:
            parts.append(f"{units.byte_size(self.workload.memory)} of memory")
        if self.workload.tile is not None:
            parts.append(f"{self.workload.tiles} tiles of {self.workload.tile}")
        return f"{self.message}  {', '.join(parts)}"

    def renamed(self, rename: Callable[[str], str]) -> "Forecast":
        """Return the forecast with other names of its files, as `Streams.restore_names` gives."""
        target = None if self.target is None else rename(self.target)
        return replace(
            self, source=rename(self.source), target=target, message=rename(self.message)
        )

    def record(self) -> dict[str, object]:
        """Return the forecast for programs, as plain JSON; the fields are in docs/upscaling.md."""
        width, height = self.size or (None, None)
        source_width, source_height = self.source_size or (None, None)
        return {
            "event": "forecast",
            "format": RECORD_FORMAT,
            "source": self.source,
            "target": self.target,
            "outcome": self.outcome.value,
            "source_width": source_width,
            "source_height": source_height,
            "width": width,
            "height": height,
            "frames": self.frames,
            "model": self.model,
            "restorer": self.restorer,
            "passes": self.workload.passes if self.workload else None,
            "tile": self.workload.tile if self.workload else None,
            "tiles": self.workload.tiles if self.workload else None,
            "memory": self.workload.memory if self.workload else None,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "message": self.message,
        }


def forecast(plan: Plan, networks: Networks) -> Iterator[Forecast]:
    """Tell what `run` would do with each picture, and what it would take. Nothing is written.

    Every picture is opened but not decoded. Memory is that of the network (`Upscaler.workload`).
    The time is the number of pixels that the network is given, times what a short measurement on
    this machine says (`inference.speed`, a few seconds for each network that is used); reading
    and writing files come on top of it.

    Yields:
        What would become of each picture, those first that could not be planned.
    """
    for source, sentence in plan.problems:
        yield Forecast(str(source), None, Outcome.FAILED, sentence)
    speeds: dict[int, float] = {}
    stage = Stage(plan, writes=False)
    for item in plan.items:
        yield _forecast_item(item, stage, plan, networks, speeds)


def _forecast_item(
    item: BatchItem, stage: Stage, plan: Plan, networks: Networks, speeds: dict[int, float]
) -> Forecast:
    source, target = str(item.source), str(item.target)
    try:
        with stage.files_for(item) as here:
            if (clips := plan.config.clips_for(here.source)) is not None:
                return clips.forecast(here, plan, networks)
            frames, width, height = open_checked(here, plan)
        upscaler = networks.for_factor(enlargement(frames.width, frames.height, width, height))
        try:
            workload = upscaler.workload(frames.width, frames.height, (width, height))
        except UpscaleError as error:
            raise AtdsrError(f"{source}: {error}") from None
    except (AtdsrError, OSError, MemoryError) as error:
        return Forecast(source, target, *explain(error, item, plan))
    loads = [(upscaler, workload.pixels)]
    if upscaler.restorer is not None:
        first = upscaler.restorer.workload(frames.width, frames.height)
        loads.append((upscaler.restorer, first.pixels))
    seconds = 0.0
    for network, pixels in loads:
        if pixels:
            if network.scale not in speeds:
                speeds[network.scale] = seconds_per_pixel(network)
            seconds += len(frames) * pixels * speeds[network.scale]
    return Forecast(
        source,
        target,
        Outcome.DONE,
        f"{source} -> {target}",
        (frames.width, frames.height),
        (width, height),
        len(frames),
        networks.models[upscaler.scale],
        workload,
        seconds,
        networks.restorer or None,
    )


@dataclass
class ForecastTally(Tally):
    """What would become of the pictures so far, without their forecasts.

    Attributes:
        memory: The most memory in bytes that one of the pictures takes; None where it is unknown.
    """

    memory: int | None = None

    def add_forecast(self, each: Forecast) -> None:
        """Count a picture."""
        self.add(each.outcome, each.message, each.seconds or 0.0)
        if each.workload is not None and each.workload.memory is not None:
            self.memory = max(self.memory or 0, each.workload.memory)


def forecast_totals(tally: ForecastTally, plan: Plan) -> dict[str, object]:
    """Return the sums over all pictures for programs, as `Forecast.record` does for one."""
    return {
        "event": "forecast summary",
        "format": RECORD_FORMAT,
        "total": plan.total,
        **{outcome.value: tally.counts[outcome] for outcome in Outcome},
        "shard": None if plan.config.shard is None else str(plan.config.shard),
        "left_out": [str(path) for path in plan.left_out],
        "unread": dict(plan.unread),
        "seconds": round(tally.seconds, 3),
        "memory": tally.memory,
    }


def forecast_summary(tally: ForecastTally, plan: Plan) -> str:
    """Return in a line how many pictures would be made, skipped and fail, and what it would take.

    Example: "3 of 4 pictures would be made, 1 skipped, in about 2 min 5 s with up to 1.2 GiB of
    memory; 1 PSD not read".
    """
    counts, peak = tally.counts, tally.memory
    plural = "s" * (plan.total != 1)
    parts = [f"{counts[Outcome.DONE]} of {plan.total} picture{plural} would be made"]
    parts += [f"{counts[o]} {o}" for o in (Outcome.SKIPPED, Outcome.FAILED) if counts[o]]
    took = f"in about {units.duration(tally.seconds)}"
    parts.append(f"{took} with up to {units.byte_size(peak)} of memory" if peak else took)
    return summary_line(parts, plan)


def work_done(plan: Plan, networks: Networks) -> Callable[[float], float]:
    """Return a function from the number of finished pictures to the fraction of all work.

    The work for a picture is the number of pixels that the network is given, so that a bar tells
    how much time is left for pictures of different sizes. Each picture is opened for that, which
    takes about a millisecond, but not decoded. Of more than `MOST_OPENED` pictures, and of pictures
    in a store, only the number counts.
    """
    if plan.total > MOST_OPENED or plan.is_remote:
        return (1 / max(1, plan.total)).__mul__
    done = [0.0] * (len(plan.problems) + 1)
    stage = Stage(plan, writes=False)
    for item in plan.items:
        done.append(done[-1] + _work(item, stage, plan, networks))
    if not done[-1]:
        done = [float(number) for number in range(len(done))]

    def fraction(pictures: float) -> float:
        before = min(int(pictures), len(done) - 2)
        part = (pictures - before) * (done[before + 1] - done[before])
        return (done[before] + part) / done[-1]

    return fraction


def _work(item: BatchItem, stage: Stage, plan: Plan, networks: Networks) -> float:
    """Return the work for a picture, 0 where it is skipped or fails at once."""
    try:
        with stage.files_for(item) as here:
            if (clips := plan.config.clips_for(here.source)) is not None:
                return clips.work(here, plan, networks)
            frames, width, height = open_checked(here, plan)
    except (AtdsrError, OSError, MemoryError):
        return 0.0
    scale = networks.scale_for(enlargement(frames.width, frames.height, width, height))
    sizes = pass_sizes(scale, frames.width, frames.height, width, height)
    return len(frames) * (sum(map(math.prod, sizes)) or width * height / 100)
