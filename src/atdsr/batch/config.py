"""What a command asks for, the same for all pictures of a batch."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from atdsr import imaging
from atdsr.base.errors import AtdsrError
from atdsr.base.stores import Location
from atdsr.batch.clips import Clips
from atdsr.batch.sharding import Shard


class BatchError(AtdsrError):
    """The inputs name nothing, or the outputs cannot be made as asked."""


@dataclass(frozen=True)
class Factor:
    """A result whose sides are a multiple of the picture's.

    Attributes:
        factor: The multiple, above 0; it need not be whole.
    """

    factor: float

    @property
    def label(self) -> str:
        """The size in the name of an output, such as "x2" or "x3.5"."""
        return f"x{self.factor:g}"

    def resolve(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height of the result in pixels, rounded half up, at least 1."""
        return _rounded(width * self.factor), _rounded(height * self.factor)


@dataclass(frozen=True)
class TargetBox:
    """A result as large as fits into a box.

    Attributes:
        width: Width of the box in pixels. None sets no bound.
        height: Height of the box in pixels. None sets no bound, but only one of the two may be.
        exact: Fill the box, even where that changes the picture's proportions.
    """

    width: int | None
    height: int | None
    exact: bool = False

    @property
    def label(self) -> str:
        """The size in the name of an output: "1920x1080", "1920x" or "x1080"."""
        return f"{self.width or ''}x{self.height or ''}"

    def resolve(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height of the result: both exact, or one exact and one in proportion."""
        if self.exact and self.width and self.height:
            return self.width, self.height
        horizontal = self.width / width if self.width else math.inf
        vertical = self.height / height if self.height else math.inf
        if horizontal <= vertical:
            return self.width or 1, _rounded(height * horizontal)
        return _rounded(width * vertical), self.height or 1


TargetSize = Factor | TargetBox
"""How large a result is to be."""


@dataclass(frozen=True)
class BatchConfig:
    """What a command asks for.

    Attributes:
        size: How large the results are to be.
        format_name: A name in `imaging.FORMATS` or `Clips.formats`. None takes the format from the
            input, the template or the output. One for clips leaves pictures as they are, and one
            for pictures clips.
        template: The names of outputs, as `naming.Template` reads them. None is the usual name.
        models: The names of the networks to choose from, by scale, for templates.
        recursive: Whether folders inside of folders are entered.
        overwrite: Whether existing outputs are replaced.
        quality: 1 to 100 for lossy formats. None is what `imaging.write` chooses.
        strip_metadata: Whether what tells of the camera, the place and the author is left out.
        shard: The part of the pictures to make; None makes all of them.
        clips: What enlarges clips; None takes no file for one.
        defaults: The names of those fields above that are a person's defaults and were not asked
            for this time.
    """

    size: TargetSize
    format_name: str | None = None
    template: str | None = None
    models: Mapping[int, str] = field(default_factory=dict)
    recursive: bool = False
    overwrite: bool = False
    quality: int | None = None
    strip_metadata: bool = False
    shard: Shard | None = None
    clips: Clips | None = None
    defaults: frozenset[str] = frozenset()

    def clips_for(self, source: Location) -> Clips | None:
        """Return what enlarges an input if it is a clip; None for a picture."""
        is_clip = self.clips is not None and self.clips.is_clip(source)
        return self.clips if is_clip else None

    def is_clip(self, source: Location) -> bool:
        """Return whether an input is a clip and no picture."""
        return self.clips_for(source) is not None

    @property
    def clip_suffixes(self) -> frozenset[str]:
        """The suffixes of clips that are written."""
        return frozenset(() if self.clips is None else self.clips.formats.values())

    @property
    def picture_format(self) -> str | None:
        """The format that was asked for, if it is one of pictures."""
        return self.format_name if self.format_name in imaging.FORMATS else None

    @property
    def clip_format(self) -> str | None:
        """The format that was asked for, if it is one of clips."""
        return None if self.format_name in imaging.FORMATS else self.format_name

    def format_of(self, path: PurePath) -> str:
        """Return the name of the format of a path's suffix.

        Raises:
            PictureError: There is none.
        """
        for name, suffix in () if self.clips is None else self.clips.formats.items():
            if path.suffix.lower() == suffix:
                return name
        return imaging.format_of(path)

    def suffix_of(self, format_name: str) -> str:
        """Return the suffix of a format's files."""
        formats = {} if self.clips is None else self.clips.formats
        return formats.get(format_name) or imaging.FORMATS[format_name]


def enlargement(width: int, height: int, to_width: int, to_height: int) -> float:
    """Return how many times the side grows that grows most."""
    return max(to_width / width, to_height / height)


def choose_network_scale(factor: float, scales: Iterable[int]) -> int:
    """Return the best network scale to make a picture so many times as large.

    Fewer passes come first. Among those, the largest network is the best one beyond a factor of 2,
    although its result is reduced more, and up to 2 the one that overshoots least.
    `benchmarks/factors.py` measures this, and docs/upscaling.md has its table.

    Args:
        factor: How many times the sides grow.
        scales: The scales of the available networks, each at least 2; at least one.
    """

    def cost(scale: int) -> tuple[int, int]:
        passes = 1
        while scale**passes < factor:
            passes += 1
        return passes, -scale if factor > 2 else scale**passes

    return min(scales, key=cost)


def _rounded(length: float) -> int:
    return max(1, math.floor(length + 0.5))
