"""Mixup: which crops of a batch are mixed, and how much of each, as a pure function of the step."""

from dataclasses import dataclass

from atdsr.datasets.degradations.random_words import CropRandom, key_of
from atdsr.training.config import MixupConfig

_STREAM = 3  # of a run's seed; 0 to 2 are those of crops and their degradations


@dataclass(frozen=True)
class Mix:
    """How the crops of one batch are mixed.

    Attributes:
        share: Share of a crop itself, from 0 to 1.
        partners: For each crop, the place in the batch of the one that it is mixed with.
    """

    share: float
    partners: tuple[int, ...]


def draw(config: MixupConfig, seed: int, step: int, batch: int) -> Mix | None:
    """Return how the batch of a step is mixed, or None if it is not.

    Args:
        config: What to draw from.
        seed: Seed of the run.
        step: The step, counted from 1.
        batch: Number of crops, over all processes.
    """
    random = CropRandom(key_of(seed, _STREAM), step)
    if not random.happens(config.probability):
        return None
    return Mix(_symmetric_beta(random, config.beta), tuple(random.shuffled(batch)))


def _symmetric_beta(random: CropRandom, parameter: float) -> float:
    """Return a number from the Beta distribution with both parameters alike.

    By rejection: where the density has a top, a uniform number is kept as often as the density is
    high there; where it goes to infinity at 0 and 1, the method of Jöhnk (1964) is used.
    """
    while True:
        first, second = random.unit(), random.unit()
        if parameter >= 1:
            if second < (4 * first * (1 - first)) ** (parameter - 1):
                return first
            continue
        x, y = first ** (1 / parameter), second ** (1 / parameter)
        if 0 < x + y <= 1:
            return x / (x + y)
