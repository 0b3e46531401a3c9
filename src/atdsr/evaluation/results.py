"""What an evaluation compares and what it measures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from atdsr.base.scales import RESTORING
from atdsr.evaluation.damage import Damage
from atdsr.evaluation.published import PublishedRow
from atdsr.evaluation.testsets import TestSet

Enlarge = Callable[[np.ndarray], np.ndarray]
"""Samples h w 3 of uint8 -> samples h*scale w*scale 3 of uint8.

At scale 1, floats h w c that noise may have brought beyond [0, 1] -> floats h w c in [0, 1].
"""

Metric = Callable[[np.ndarray, np.ndarray], float]
"""HR and the result, rounded to samples h w 3 of uint8 -> a number."""


@dataclass(frozen=True)
class Method:
    """A way to enlarge pictures, or at scale 1 to restore them.

    Attributes:
        name: Name in tables, and the ending of the names of saved pictures. It is unique within an
            evaluation.
        scale: How many times the sides grow.
        enlarge: Function that enlarges a picture.
        parameters: Number of learned values; None for a method that has none.
        identity: Whatever else its results depend on, such as the SHA-256 of its weights, so that
            an interrupted evaluation is continued with the same method only.
        device: Type of the device that it runs on, whose memory is measured.
        damages: What it is measured on where it restores pictures; None for all that is measured.
    """

    name: str
    scale: int
    enlarge: Enlarge
    parameters: int | None = None
    identity: str = ""
    device: str = "cpu"
    damages: tuple[Damage, ...] | None = None

    def takes(self, dataset: TestSet) -> bool:
        """Whether it is measured on a test set."""
        if self.scale != RESTORING:
            return dataset.scale in (None, self.scale)
        is_ready = dataset.scale == RESTORING
        return is_ready and (self.damages is None or (dataset.damage or Damage()) in self.damages)


@dataclass(frozen=True)
class Score:
    """How well one picture was enlarged or restored, and at what cost.

    Attributes:
        name: Name of the picture, as `Pair.name`.
        width: Width of the HR picture in pixels, cropped to a multiple of the scale.
        height: Height of the HR picture, likewise.
        psnr: PSNR in dB, on Y where pictures are enlarged; infinite if the result equals HR.
        ssim: SSIM, likewise; at most 1.
        seconds: Wall time of the enlargement alone.
        peak_bytes: Highest memory use during the enlargement: of the process, or on CUDA of the
            tensors on the device. None if the system cannot tell.
        metrics: Other metrics, such as LPIPS, by name.
        psnr_b: PSNR-B in dB where traces of JPEG are removed, else None.
    """

    name: str
    width: int
    height: int
    psnr: float
    ssim: float
    seconds: float
    peak_bytes: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    psnr_b: float | None = None


@dataclass(frozen=True)
class Row:
    """The scores of one method on one set; the set's figures are means over its pictures.

    Attributes:
        model: Name of the method.
        dataset: Name of the test set.
        scale: How many times the sides grew.
        parameters: Number of learned values; None for a method that has none.
        pictures: Scores of the pictures, in the order of the set.
        damage: What the pictures were restored from; None where they were enlarged.
    """

    model: str
    dataset: str
    scale: int
    parameters: int | None
    pictures: tuple[Score, ...]
    damage: Damage | None = None

    @property
    def task(self) -> str:
        """What was done, in words: "x2" and so on, or what was removed, such as "noise, gray".

        Rows of one task stand in one table.
        """
        if self.scale != RESTORING:
            return f"x{self.scale}"
        damage = self.damage or Damage()
        removed = ["noise"] if damage.noise else []
        removed += ["JPEG"] if damage.quality is not None else []
        colour = "gray" if damage.gray else "colour"
        return f"{' and '.join(removed) or 'restored'}, {colour}"

    @property
    def psnr(self) -> float:
        """Mean PSNR in dB, on Y where pictures were enlarged."""
        return float(np.mean([score.psnr for score in self.pictures]))

    @property
    def ssim(self) -> float:
        """Mean SSIM, likewise."""
        return float(np.mean([score.ssim for score in self.pictures]))

    @property
    def psnr_b(self) -> float | None:
        """Mean PSNR-B in dB where traces of JPEG were removed, else None."""
        known = [score.psnr_b for score in self.pictures if score.psnr_b is not None]
        return float(np.mean(known)) if known else None

    @property
    def seconds(self) -> float:
        """Mean wall time of a picture in seconds."""
        return float(np.mean([score.seconds for score in self.pictures]))

    @property
    def peak_bytes(self) -> int | None:
        """Highest memory use over all pictures; None if the system cannot tell."""
        known = [score.peak_bytes for score in self.pictures if score.peak_bytes is not None]
        return max(known, default=None)

    @property
    def metrics(self) -> dict[str, float]:
        """Means of the other metrics, by name."""
        return {
            name: float(np.mean([score.metrics[name] for score in self.pictures]))
            for name in self.pictures[0].metrics
        }


@dataclass(frozen=True)
class Evaluation:
    """Measured figures side by side, and figures that others have published.

    Attributes:
        rows: Measured rows, by scale, then by set, then by method in the order given (bicubic
            first).
        published: Figures from papers for the same scales and sets.
        machine: What they were measured on: system, processor, versions.
        unlike_papers: Names of sets that are called like one of the papers and hold other
            pictures, so that no published figure is comparable.
    """

    rows: tuple[Row, ...]
    published: tuple[PublishedRow, ...] = ()
    machine: Mapping[str, str] = field(default_factory=dict)
    unlike_papers: tuple[str, ...] = ()

    @property
    def notes(self) -> list[str]:
        """A sentence for each set that has the name of a set of the papers, but other pictures."""
        return [
            f"Your {name} does not hold the pictures of the {name} that papers use, so no "
            "published figures stand beside it."
            for name in self.unlike_papers
        ]
