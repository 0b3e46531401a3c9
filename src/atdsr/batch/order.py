"""What a person asks for, the same for all pictures of a command."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from atdsr.base.errors import AtdsrError


class JobError(AtdsrError):
    """Inputs that name nothing, or outputs that cannot be as asked."""


@dataclass(frozen=True)
class Times:
    """A result whose sides are a multiple of the picture's.

    Attributes:
        factor: whole or not; above 0.
    """

    factor: float

    @property
    def label(self) -> str:
        """What stands for it in the name of an output, such as "x2" or "x3.5"."""
        return f"x{self.factor:g}"

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the result in pixels, rounded half up, at least 1."""
        return _rounded(width * self.factor), _rounded(height * self.factor)


@dataclass(frozen=True)
class Box:
    """A result as large as fits into a box.

    Attributes:
        width: of the box in pixels; None sets no bound.
        height: likewise; one of the two is set.
        exact: fill the box, whatever becomes of the picture's proportions.
    """

    width: int | None
    height: int | None
    exact: bool = False

    @property
    def label(self) -> str:
        """What stands for it in the name of an output: "1920x1080", "1920x" or "x1080"."""
        return f"{self.width or ''}x{self.height or ''}"

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the result in pixels: both exact, or one and the other in ratio."""
        if self.exact and self.width and self.height:
            return self.width, self.height
        across = self.width / width if self.width else math.inf
        down = self.height / height if self.height else math.inf
        if across <= down:
            return self.width or 1, _rounded(height * across)
        return _rounded(width * down), self.height or 1


Goal = Times | Box
"""How large a result is to be."""


@dataclass(frozen=True)
class Order:
    """What a person asks for.

    Attributes:
        goal: how large the results are to be.
        format_name: of `imaging.FORMATS`; None is as the input, the template or OUT says.
        template: what outputs are called, as `naming.Template` reads it; None is the usual name.
        model: the network's name, for templates.
        recursive: whether folders inside of folders are entered.
        overwrite: whether existing outputs are replaced.
        quality: 1 to 100 for the lossy formats; None is `imaging.write`'s choice.
        strip_metadata: whether what tells of the camera, the place and the author is left out.
    """

    goal: Goal
    format_name: str | None = None
    template: str | None = None
    model: str = ""
    recursive: bool = False
    overwrite: bool = False
    quality: int | None = None
    strip_metadata: bool = False


def network_scale(goal: Goal, scales: Iterable[int]) -> int | None:
    """The scale of the network to take for a goal, of those that there are.

    It is the one that is applied least often, and among those the one that overshoots least: a
    larger step sees more of the picture's own pixels, and what overshoots costs time for nothing.

    Args:
        goal: how large the results are to be.
        scales: of the networks at hand, each at least 2.

    Returns:
        None for a box, whose factor differs from picture to picture, and where there is none.
    """
    if not isinstance(goal, Times):
        return None

    def cost(scale: int) -> tuple[int, int]:
        passes = 1
        while scale**passes < goal.factor:
            passes += 1
        return passes, scale**passes

    return min(scales, key=cost, default=None)


def _rounded(length: float) -> int:
    return max(1, math.floor(length + 0.5))
