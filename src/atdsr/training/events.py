"""What a run tells of itself while it goes on; whoever watches is called with each event."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Started:
    """The first step is about to begin.

    Attributes:
        step: steps done before, by an earlier start of the run.
        iterations: optimizer steps in all.
        name: of the run.
        parameters: of the network.
        pictures: in the training set.
        device: what computes.
        ranks: processes that train together.
    """

    step: int
    iterations: int
    name: str
    parameters: int
    pictures: int
    device: str
    ranks: int


@dataclass(frozen=True)
class Stepped:
    """A step is done; comes after every one, so that a bar can move.

    Attributes:
        step: steps done.
    """

    step: int


@dataclass(frozen=True)
class Line:
    """A line of the log.

    Attributes:
        step: steps done.
        loss: mean over all crops since the last line; steps that were skipped do not count.
        lr: learning rate of the last step.
        gradient: norm of all gradients together in the last step, before clipping.
        seconds: wall time since the last line, without validation and saving.
        waited: seconds of these in which the step waited for crops.
        memory: the most bytes that were in use: on CUDA of the device, else of the process.
        skipped: steps skipped since the run began, because loss or gradient was no number.
        patch: side of an LR crop in pixels.
        batch: crops a step.
    """

    step: int
    loss: float
    lr: float
    gradient: float
    seconds: float
    waited: float
    memory: int
    skipped: int
    patch: int
    batch: int

    @property
    def wait(self) -> float:
        """Which part of the time the step waited for crops; NaN where none went by."""
        return self.waited / self.seconds if self.seconds > 0 else math.nan


@dataclass(frozen=True)
class Validated:
    """The average of the weights was measured.

    Attributes:
        step: steps done.
        psnr: PSNR-Y in dB by name of the set.
        ssim: SSIM-Y by name of the set.
        bicubic: PSNR-Y in dB of MATLAB's bicubic by name of the set.
        seconds: it took.
        best: whether the mean PSNR over the sets is the highest of the run so far.
        strips: a picture with parts of the sets enlarged so far, beside bicubic and HR.
    """

    step: int
    psnr: Mapping[str, float]
    ssim: Mapping[str, float]
    bicubic: Mapping[str, float]
    seconds: float
    best: bool
    strips: Path | None = None

    @property
    def mean_psnr(self) -> float:
        """Mean over the sets in dB, by which weights are chosen; below any where there is none."""
        values = [value for value in self.psnr.values() if not math.isnan(value)]
        return sum(values) / len(values) if values else -math.inf


@dataclass(frozen=True)
class Saved:
    """A state was written.

    Attributes:
        step: steps done.
        path: its file.
    """

    step: int
    path: Path


@dataclass(frozen=True)
class Told:
    """A sentence for the user, about something out of the ordinary.

    Attributes:
        step: steps done.
        text: the sentence.
    """

    step: int
    text: str


Event = Started | Stepped | Line | Validated | Saved | Told
Watch = Callable[[Event], None]


@dataclass(frozen=True)
class Watchers:
    """Several that watch together; itself one."""

    watchers: tuple[Watch, ...] = field(default=())

    def __call__(self, event: Event) -> None:
        """Tell all of them."""
        for watch in self.watchers:
            watch(event)
