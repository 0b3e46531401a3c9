"""Training: a loop that can be stopped at any moment, on one device or many.

`config` says what a run does, and `loop.fit` trains. A `trainer` holds the network, its averaged
weights and the optimizers; it takes one `step` at a time on the crops of `crop_loader`, which
`mixup` may mix, minimising one of `losses`. `checkpoints` and `run_log` are what stays on disk,
`validation` and, for networks that restore, `restoration` measure, `distributed` joins several
processes, and `events` are what callbacks such as `trackers` get.
`recipes` and `basicsr` read configurations from files.
"""

from atdsr.training.config import TrainConfig
from atdsr.training.events import (
    Event,
    LogEntry,
    Notice,
    Saved,
    Started,
    Stepped,
    Validated,
)
from atdsr.training.loop import StoppedError, fit
from atdsr.training.trainer import TrainingError

__all__ = [
    "Event",
    "LogEntry",
    "Notice",
    "Saved",
    "Started",
    "Stepped",
    "StoppedError",
    "TrainConfig",
    "TrainingError",
    "Validated",
    "fit",
]
