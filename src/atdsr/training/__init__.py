"""Training: a loop that can be stopped at any moment, on one device or many.

`settings` says what a run does, `run` holds what it consists of, `loop` goes through its steps
(`stepper`, as `steps` has them from the settings); `feed` brings the crops, `losses` are
minimised, `ranks` are the processes that train together, `states` and `journal` are what stays on
disk, `validation` measures, and `events` are what watchers such as `trackers` are told.
"""

from atdsr.training.events import (
    Event,
    Line,
    Saved,
    Started,
    Stepped,
    Told,
    Validated,
    Watch,
    Watchers,
)
from atdsr.training.loop import StoppedError, fit
from atdsr.training.run import TrainingError
from atdsr.training.settings import Settings

__all__ = [
    "Event",
    "Line",
    "Saved",
    "Settings",
    "Started",
    "Stepped",
    "StoppedError",
    "Told",
    "TrainingError",
    "Validated",
    "Watch",
    "Watchers",
    "fit",
]
