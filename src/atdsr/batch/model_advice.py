"""Tells once that other models were made for a picture than the one that enlarges it."""

from collections.abc import Iterable
from pathlib import Path

from atdsr import imaging
from atdsr.base.stores import Location
from atdsr.weights import models

_LOW_QUALITY = 85
_VERY_LOW_QUALITY = 45  # up to here, one of the models that remove traces of JPEG is close enough
_JPEG = "gray+jpeg"  # of the models for gray JPEG, followed by its quality
_MOST_FILES = 100  # that are looked into, so that a large folder costs nothing


class ModelAdvice:
    """Looks for a JPEG of low quality among pictures that a model for clean ones enlarges.

    A model for photos is named if one comes with atdsr, and at very low qualities the published
    one that restores JPEG of about that quality.

    Args:
        scales: The scales of the models that are used; empty if the user has chosen one.
    """

    def __init__(self, scales: Iterable[int]) -> None:
        scales = tuple(scales)
        photo = models.by_scale("everyday photos")
        self._model = next((photo[scale] for scale in scales if scale in photo), None)
        self._left = _MOST_FILES if scales else 0

    def line(self, source: Location) -> str | None:
        """Return what to say of a picture; None if there is nothing, or it was said before."""
        if not self._left or not isinstance(source, Path):
            return None
        self._left -= 1
        quality = imaging.jpeg_quality(source)
        if quality is None:
            return None
        advice: list[str] = []
        if self._model is not None and quality < _LOW_QUALITY:
            advice.append(f"-m {self._model.name} was made for such photos")
        if quality <= _VERY_LOW_QUALITY:
            advice.append(f"--restore {_restorer(quality)} removes traces of JPEG first")
        if not advice:
            return None
        self._left = 0
        return f"{source}: JPEG of quality {quality}; {', and '.join(advice)}"


def _restorer(quality: int) -> str:
    """Return the name of the model that restores JPEG of about that quality."""
    names = {
        int(model.damage.removeprefix(_JPEG)): model.name
        for model in models.OFFICIAL
        if model.damage.startswith(_JPEG)
    }
    return names[min(names, key=lambda known: abs(known - quality))]
