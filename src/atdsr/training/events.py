"""The events of a training run, which are passed to its callbacks.

The log on disk holds every event but `Stepped`. Its records carry the `kind` and the field names
of these classes, so neither can change without breaking the logs of earlier runs.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True)
class Started:
    """The first step is about to begin.

    Attributes:
        step: Steps that earlier starts of the run have done.
        iterations: Optimizer steps of the whole run.
        name: Name of the run.
        parameters: Number of the network's parameters.
        pictures: Number of pictures in the training set.
        device: Description of the device.
        ranks: Number of processes that train together.
    """

    kind: ClassVar[str] = "started"

    step: int
    iterations: int
    name: str
    parameters: int
    pictures: int
    device: str
    ranks: int


@dataclass(frozen=True)
class Stepped:
    """A step is done. Sent after every step, so that a progress bar can move.

    Attributes:
        step: Steps done.
    """

    kind: ClassVar[str] = "stepped"

    step: int


@dataclass(frozen=True)
class LogEntry:
    """The figures of the steps since the last entry.

    Attributes:
        step: Steps done.
        loss: Mean loss over all crops since the last entry; skipped steps do not count.
        lr: Learning rate of the last step.
        gradient: Norm of all gradients together in the last step, before clipping.
        seconds: Wall time since the last entry, without validation and saving.
        waited: Seconds of that time in which the step waited for crops.
        memory: Peak memory in bytes: of the device on CUDA, else of the process.
        skipped: Steps skipped since the run began because loss or gradient was not finite.
        patch: Side of an LR crop in pixels.
        batch: Crops per step.
    """

    kind: ClassVar[str] = "line"

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
        """Fraction of the time that the step waited for crops; NaN where no time went by."""
        return self.waited / self.seconds if self.seconds > 0 else math.nan


@dataclass(frozen=True)
class Validated:
    """The averaged weights were measured on the test sets.

    Attributes:
        step: Steps done.
        psnr: PSNR-Y in dB by test set; PSNR of all channels for a network that restores.
        ssim: SSIM-Y by test set; empty for a network that restores.
        bicubic: PSNR-Y in dB of MATLAB's bicubic by test set, or PSNR of what `baseline` says.
        seconds: Duration of the validation.
        best: Whether the mean PSNR over the sets is the highest of the run so far.
        strips: File with crops of the test pictures, beside bicubic and HR.
        baseline: What a network is compared with; "degraded" for one that restores pictures.
    """

    kind: ClassVar[str] = "validated"

    step: int
    psnr: Mapping[str, float]
    ssim: Mapping[str, float]
    bicubic: Mapping[str, float]
    seconds: float
    best: bool
    strips: Path | None = None
    baseline: str = "bicubic"

    @property
    def mean_psnr(self) -> float:
        """Mean over the sets in dB, by which the best weights are chosen; -inf without figures."""
        values = [value for value in self.psnr.values() if not math.isnan(value)]
        return sum(values) / len(values) if values else -math.inf


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written.

    Attributes:
        step: Steps done.
        path: File of the checkpoint.
    """

    kind: ClassVar[str] = "saved"

    step: int
    path: Path


@dataclass(frozen=True)
class Notice:
    """A sentence for the user about something out of the ordinary.

    Attributes:
        step: Steps done.
        text: The sentence.
    """

    kind: ClassVar[str] = "told"

    step: int
    text: str


Event = Started | Stepped | LogEntry | Validated | Saved | Notice
Callback = Callable[[Event], None]


@dataclass(frozen=True)
class Callbacks:
    """Several callbacks as one.

    Attributes:
        callbacks: Called with each event, in this order.
    """

    callbacks: tuple[Callback, ...] = ()

    def __call__(self, event: Event) -> None:
        """Call all of them."""
        for callback in self.callbacks:
            callback(event)
