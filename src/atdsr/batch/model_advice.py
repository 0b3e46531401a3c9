"""Tells once that another model that comes with atdsr was made for a picture."""

from collections.abc import Iterable
from pathlib import Path

from atdsr import imaging
from atdsr.base.stores import Location
from atdsr.weights import models

_LOW_QUALITY = 85
_MOST_FILES = 100  # that are looked into, so that a large folder costs nothing


class ModelAdvice:
    """Looks for a JPEG of low quality among pictures that a model for clean ones enlarges.

    Args:
        scales: The scales of the models that are used; empty if the user has chosen one.
    """

    def __init__(self, scales: Iterable[int]) -> None:
        photo = models.by_scale("everyday photos")
        self._model = next((photo[scale] for scale in scales if scale in photo), None)
        self._left = _MOST_FILES

    def line(self, source: Location) -> str | None:
        """Return what to say of a picture; None if there is nothing, or it was said before."""
        if self._model is None or not self._left or not isinstance(source, Path):
            return None
        self._left -= 1
        quality = imaging.jpeg_quality(source)
        if quality is None or quality >= _LOW_QUALITY:
            return None
        name, self._model = self._model.name, None
        return f"{source}: JPEG of quality {quality}; -m {name} was made for such photos"
