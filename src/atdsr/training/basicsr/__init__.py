"""The reader of BasicSR's option files, as the official repository of ATD has them.

A file for testing says which network with which weights is tested on which pictures, one for
training how a network is trained. Every key is either followed, or has no bearing on the result
and is ignored, or is refused by name: nothing is ignored that would change a figure. The text of
a file never runs code. `docs/migrating.md` is the page for users.
"""

from atdsr.training.basicsr.reading import BasicSRError
from atdsr.training.basicsr.testing import TestOptions, read_test
from atdsr.training.basicsr.training import TrainingOptions, read_training

__all__ = [
    "BasicSRError",
    "TestOptions",
    "TrainingOptions",
    "read_test",
    "read_training",
]
