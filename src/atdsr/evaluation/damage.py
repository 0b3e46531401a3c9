"""Noise and JPEG on the pictures of a test set.

Networks that enlarge get LR pictures as everyday files are: damaged, then rounded to 8 bits.
Networks that restore get what papers measure them on (`docs/protocol.md`).
"""

import hashlib
import io
import re
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from atdsr.base.errors import AtdsrError
from atdsr.datasets.degradations import jpeg
from atdsr.datasets.degradations.random_words import CropRandom, key_of, normal

_FORM = re.compile(r"(?P<gray>gray\+)?(noise(?P<noise>\d{1,2}))?\+?(jpeg(?P<quality>\d{1,3}))?")
_GRAY = "gray+"
_SEED = 0
CLEAN = "clean"
"""What stands for pictures as they are."""


class DamageError(AtdsrError):
    """A text that describes no damage."""


@dataclass(frozen=True)
class Damage:
    """What is done to a picture before it is enlarged or restored.

    Attributes:
        noise: Standard deviation of Gaussian noise in levels of 8 bits; 0 for none.
        quality: Quality of JPEG, with 4:2:0 in colour, as Pillow counts it; None for none. It
            comes last.
        gray: Whether the picture is made gray first, which is for networks that restore.
    """

    noise: int = 0
    quality: int | None = None
    gray: bool = False

    def __str__(self) -> str:
        parts = ["gray"] if self.gray else []
        parts += [f"noise{self.noise}"] if self.noise else []
        parts += [f"jpeg{self.quality}"] if self.quality is not None else []
        return "+".join(parts)

    def apply(self, lr: np.ndarray, name: str) -> np.ndarray:
        """Return a damaged picture of 8 bits.

        Args:
            lr: Samples h w 3 of uint8, or h w 1.
            name: Name of the picture, of which the noise is a pure function.
        """
        if self.noise:
            number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
            words = CropRandom(key_of(_SEED), number).words(-(-lr.size // 2))
            drawn = normal(torch.from_numpy(words.view(np.int64))[None])[0, : lr.size]
            noisy = lr + self.noise * drawn.numpy().reshape(lr.shape)
            lr = noisy.round().clip(0, 255).astype(np.uint8)
        return lr if self.quality is None else _jpeg(lr, self.quality)

    def to_restore(self, original: np.ndarray, name: str) -> np.ndarray:
        """Return what a network that restores is given, as papers measure it.

        Noise is numpy's, begins anew with the seed 0 for every picture, and is neither clipped
        nor rounded. JPEG is that of a file, and so is noise before it.

        Args:
            original: Samples h w 3 of uint8, or h w 1; `gray` is not looked at.
            name: As for `apply`.

        Returns:
            Floats of the same shape, float32. 0 is black and 1 is white; noise goes beyond.
        """
        white = np.float32(255)
        if self.quality is not None:
            return self.apply(original, name) / white
        drawn = np.random.RandomState(_SEED).normal(0, self.noise / 255, original.shape)
        return (original / white + drawn).astype(np.float32)


def parse(text: str) -> Damage | None:
    """Return what a text such as `jpeg75` or `noise5+jpeg75` stands for; None for `clean`.

    `gray+` before it, as in `gray+jpeg10`, makes the picture gray.

    Raises:
        DamageError: It is none of these.
    """
    if text == CLEAN:
        return None
    found = _FORM.fullmatch(text)
    gray, noise, quality = (
        (None, None, None) if found is None else found.group("gray", "noise", "quality")
    )
    joined = noise is not None and quality is not None
    if (noise or quality) is None or joined != ("+" in text.removeprefix(_GRAY)):
        raise DamageError(
            f"{text[:100]!r} is no degradation; write jpeg75, noise5, noise5+jpeg75, gray+jpeg10 "
            "or clean."
        )
    damage = Damage(int(noise or 0), None if quality is None else int(quality), gray is not None)
    if noise is not None and damage.noise == 0:
        raise DamageError(f"{text!r} has no noise; give it a level from 1 to 99.")
    if damage.quality is not None and not 1 <= damage.quality <= 100:
        raise DamageError(f"{text!r} has a quality that JPEG has not; it goes from 1 to 100.")
    return damage


def _jpeg(samples: np.ndarray, quality: int) -> np.ndarray:
    """Return a picture h w c, uint8, as it is after JPEG: of one component, or with 4:2:0."""
    if samples.shape[2] == 3:
        return jpeg(samples, quality)
    file = io.BytesIO()
    Image.fromarray(samples[..., 0]).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.asarray(image)[..., None]
