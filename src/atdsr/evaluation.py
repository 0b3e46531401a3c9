"""A benchmark by the field's protocol (`docs/protocol.md`): PSNR and SSIM on Y of a folder."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atdsr import metrics, pixels, resample
from atdsr.errors import AtdsrError
from atdsr.upscale import Upscaler

Enlarge = Callable[[np.ndarray], np.ndarray]
"""Samples h w 3 of uint8 -> samples h*scale w*scale 3 of uint8."""


class EvaluationError(AtdsrError):
    """A test set that cannot be evaluated."""


@dataclass(frozen=True)
class Score:
    """How well one picture was enlarged.

    Attributes:
        name: of the picture's file.
        psnr_y: in dB.
        ssim_y: at most 1.
    """

    name: str
    psnr_y: float
    ssim_y: float


@dataclass(frozen=True)
class Result:
    """The scores of a method on a set; the set's figures are means over its pictures."""

    method: str
    dataset: str
    scale: int
    pictures: tuple[Score, ...]

    @property
    def psnr_y(self) -> float:
        """Mean PSNR in dB."""
        return float(np.mean([score.psnr_y for score in self.pictures]))

    @property
    def ssim_y(self) -> float:
        """Mean SSIM."""
        return float(np.mean([score.ssim_y for score in self.pictures]))


def bicubic(scale: int) -> Enlarge:
    """The baseline of every table: MATLAB's bicubic."""
    return lambda samples: resample.upscale(samples, scale)


def network(upscaler: Upscaler) -> Enlarge:
    """A network by the same rounding as a user's picture."""
    return lambda samples: upscaler(samples)


def evaluate(
    methods: dict[str, Enlarge],
    folder: Path,
    scale: int,
    progress: Callable[[Sequence[Path]], Iterable[Path]] = lambda paths: paths,
) -> list[Result]:
    """Score methods on the HR pictures of a folder; LR is their MATLAB-bicubic reduction.

    Args:
        methods: by the name to give them.
        folder: holds HR pictures, or a folder `HR` that does.
        scale: of all methods.
        progress: wraps the list of pictures, for a progress bar.

    Raises:
        EvaluationError: no such folder, or no picture in it.
        PictureError, MetricError: a picture cannot be read, or is too small to be scored.
    """
    paths = find_pictures(folder)
    scores: dict[str, list[Score]] = {method: [] for method in methods}
    for path in progress(paths):
        hr = resample.crop_to_multiple(_read_rgb(path), scale)
        lr = resample.downscale(hr, scale)
        for method, enlarge in methods.items():
            sr = enlarge(lr)
            scores[method].append(
                Score(path.stem, metrics.psnr_y(hr, sr, scale), metrics.ssim_y(hr, sr, scale))
            )
    name = dataset_name(folder)
    return [Result(method, name, scale, tuple(of)) for method, of in scores.items()]


def dataset_name(folder: Path) -> str:
    """The folder's name, or its parent's where the folder is `HR`."""
    folder = folder.resolve()
    return folder.parent.name if folder.name.upper() == "HR" else folder.name


def find_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder or of its folder `HR`, by name.

    Raises:
        EvaluationError: no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise EvaluationError(f"{folder} is no folder; name the folder of a test set.")
    inner = folder / "HR"
    try:
        paths = sorted(
            path
            for path in (inner if inner.is_dir() else folder).iterdir()
            if pixels.is_picture_file(path)
        )
    except OSError as error:
        raise EvaluationError(f"{folder} cannot be read: {error.strerror}.") from None
    if not paths:
        raise EvaluationError(f"{folder} holds no pictures.")
    return paths


def _read_rgb(path: Path) -> np.ndarray:
    """A picture as uint8 RGB; a gray one is replicated, as the protocol has it.

    Raises:
        EvaluationError: it has transparency or 16 bits, which no test set of the protocol has.
    """
    samples = pixels.read(path).samples
    if samples.dtype != np.uint8 or samples.shape[2] in (2, 4):
        raise EvaluationError(f"{path} is not 8-bit gray or RGB, as the protocol needs.")
    return pixels.replicate_gray(samples)
