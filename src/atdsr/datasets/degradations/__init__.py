"""Degradations: LR that is made from HR during training, each a pure function of seed and number.

`config` holds the operations with their ranges, `presets` those that have a name. `planning` draws
the tasks of a crop, `kernels` computes what they need, and `pixels` and `compression` do the work.
"""

from atdsr.datasets.degradations.compression import jpeg
from atdsr.datasets.degradations.config import Degradation
from atdsr.datasets.degradations.degrader import Degrader
from atdsr.datasets.degradations.presets import NAMES, PresetName, preset

__all__ = ["NAMES", "Degradation", "Degrader", "PresetName", "jpeg", "preset"]
