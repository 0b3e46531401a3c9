"""An optimizer step, as training takes it: on the device from end to end.

`stepper` is the step, `muon` an optimizer for it. Nothing here knows of recipes, files or users.
"""

from atdsr.stepping.muon import Muon
from atdsr.stepping.stepper import How, Precision, Stepper, Tally, optimizers

__all__ = ["How", "Muon", "Precision", "Stepper", "Tally", "optimizers"]
