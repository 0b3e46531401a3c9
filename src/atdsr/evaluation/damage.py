"""Noise and JPEG on the LR pictures of a test set, to measure methods on everyday pictures."""

import hashlib
import re
from dataclasses import dataclass

import numpy as np
import torch

from atdsr.base.errors import AtdsrError
from atdsr.datasets.degradations import jpeg
from atdsr.datasets.degradations.random_words import CropRandom, key_of, normal

_FORM = re.compile(r"(noise(?P<noise>\d{1,2}))?\+?(jpeg(?P<quality>\d{1,3}))?")
_SEED = 0
CLEAN = "clean"
"""What stands for LR as it is."""


class DamageError(AtdsrError):
    """A text that describes no damage."""


@dataclass(frozen=True)
class Damage:
    """What is done to an LR picture before it is enlarged.

    Attributes:
        noise: Standard deviation of Gaussian noise in levels of 8 bits; 0 for none.
        quality: Quality of JPEG with 4:2:0, as Pillow counts it; None for none. It comes last.
    """

    noise: int = 0
    quality: int | None = None

    def __str__(self) -> str:
        parts = [f"noise{self.noise}"] if self.noise else []
        parts += [f"jpeg{self.quality}"] if self.quality is not None else []
        return "+".join(parts)

    def apply(self, lr: np.ndarray, name: str) -> np.ndarray:
        """Return a damaged LR picture.

        Args:
            lr: Samples h w 3 of uint8.
            name: Name of the picture, of which the noise is a pure function.
        """
        if self.noise:
            number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
            words = CropRandom(key_of(_SEED), number).words(-(-lr.size // 2))
            drawn = normal(torch.from_numpy(words.view(np.int64))[None])[0, : lr.size]
            noisy = lr + self.noise * drawn.numpy().reshape(lr.shape)
            lr = noisy.round().clip(0, 255).astype(np.uint8)
        return lr if self.quality is None else jpeg(lr, self.quality)


def parse(text: str) -> Damage | None:
    """Return what a text such as `jpeg75` or `noise5+jpeg75` stands for; None for `clean`.

    Raises:
        DamageError: It is none of these.
    """
    if text == CLEAN:
        return None
    found = _FORM.fullmatch(text)
    noise, quality = (
        (None, None) if found is None else (found.group("noise"), found.group("quality"))
    )
    joined = noise is not None and quality is not None
    if (noise or quality) is None or joined != ("+" in text):
        raise DamageError(
            f"{text[:100]!r} is no degradation of LR; write jpeg75, noise5, noise5+jpeg75 or clean."
        )
    damage = Damage(int(noise or 0), None if quality is None else int(quality))
    if noise is not None and damage.noise == 0:
        raise DamageError(f"{text!r} has no noise; give it a level from 1 to 99.")
    if damage.quality is not None and not 1 <= damage.quality <= 100:
        raise DamageError(f"{text!r} has a quality that JPEG has not; it goes from 1 to 100.")
    return damage
