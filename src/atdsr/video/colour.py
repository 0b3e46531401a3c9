"""The samples of frames as RGB, and back, by the matrix, range and chroma of the clip.

Nothing is rounded on the way to RGB, and once on the way back. libswscale is not used for it: it
rounds in between, and guesses what a file leaves open.

Source:
    ITU-T H.273, "Coding-independent code points for video signal type identification", section 8;
    ITU-R BT.2100, table 9, for the range of samples with more than 8 bits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from atdsr.video.config import VideoError

if TYPE_CHECKING:
    from av.video.format import VideoFormat
    from av.video.frame import VideoFrame

UNSPECIFIED = 2
"""What H.273 calls a matrix, primaries or a transfer that is not stated."""

LIMITED, FULL = 1, 2
"""FFmpeg's numbers for the range of samples; 0 is unspecified."""

_RGB_MATRIX = 0
_WEIGHTS = {  # of red and blue in luma, by the code points of H.273, table 4
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
_SUBSAMPLINGS = {
    (1, 1): "444",
    (2, 1): "422",
    (2, 2): "420",
    (1, 2): "440",
    (4, 1): "411",
    (4, 4): "410",
}
_DEPTHS = (8, 9, 10, 12, 14, 16)


@dataclass(frozen=True)
class PixelFormat:
    """How the samples of a frame lie in planes.

    Attributes:
        family: "gray", "yuv" or "rgb".
        bits: Bits of a sample.
        shrink: How many times narrower and lower the planes of chroma are.
        alpha: Whether there is a plane of alpha.
    """

    family: str
    bits: int = 8
    shrink: tuple[int, int] = (1, 1)
    alpha: bool = False

    @classmethod
    def of(cls, found: "VideoFormat") -> "PixelFormat":
        """Return the planar format that holds all that a format of FFmpeg holds.

        Raises:
            VideoError: There is none, as for samples in floating point.
        """
        depth = max((component.bits for component in found.components), default=0)
        bits = next((bits for bits in _DEPTHS if bits >= depth), 0)
        if not bits or found.is_bayer or found.name.startswith(("xyz", "grayf", "gbrpf", "gbrapf")):
            raise VideoError(f"frames of the pixel format {found.name} are not read.")
        alpha = any(component.is_alpha for component in found.components)
        if found.is_rgb or found.has_palette:
            return cls("rgb", bits, alpha=alpha)
        if len(found.components) < 3:
            return cls("gray", bits)
        shrink = 64 // found.chroma_width(64), 64 // found.chroma_height(64)
        if shrink not in _SUBSAMPLINGS:
            raise VideoError(f"frames of the pixel format {found.name} are not read.")
        return cls("yuv", bits, shrink, alpha)

    @property
    def name(self) -> str:
        """The name that FFmpeg has for it."""
        depth = "" if self.bits == 8 else f"{self.bits}le"
        if self.family == "gray":
            return f"gray{depth}"
        alpha = "a" * self.alpha
        if self.family == "rgb":
            return f"gbr{alpha}p{depth}"
        return f"yuv{alpha}{_SUBSAMPLINGS[self.shrink]}p{depth}"

    @property
    def colour_planes(self) -> int:
        """How many planes there are without alpha."""
        return 1 if self.family == "gray" else 3

    @property
    def dtype(self) -> np.dtype:
        """The type of a sample."""
        return np.dtype(np.uint8 if self.bits == 8 else "<u2")

    def plane_size(self, plane: int, width: int, height: int) -> tuple[int, int]:
        """Return width and height of a plane of a frame."""
        x, y = self.shrink if self.family == "yuv" and plane in (1, 2) else (1, 1)
        return math.ceil(width / x), math.ceil(height / y)


@dataclass(frozen=True)
class Colour:
    """What the samples of a clip mean.

    Attributes:
        matrix: Code point of the matrix from RGB to luma and chroma (H.273, table 4).
        full_range: Whether black is 0 and white the largest sample.
        cosited: Whether a sample of chroma is at the place of the left one of the samples of luma
            that it belongs to, as in most codecs, or in their middle, as in JPEG.
    """

    matrix: int
    full_range: bool = False
    cosited: bool = True

    def check(self) -> None:
        """Refuse matrices that are no linear function of R'G'B' (constant luminance, ICtCp).

        Raises:
            VideoError: It is one of them, or YCgCo.
        """
        if self.matrix not in (*_WEIGHTS, _RGB_MATRIX):
            raise VideoError(
                f"its colours have the matrix {self.matrix} of H.273, which is not supported; "
                "convert it to BT.709 or BT.2020 first."
            )


def guessed_matrix(width: int, height: int) -> int:
    """Return the matrix that players assume where a clip states none: BT.709 from 720p on."""
    return 1 if width >= 1280 or height > 576 else 6


# ------------------------------------------------------------------------------ frames, planes


def planes_of(frame: "VideoFrame", pixels: PixelFormat) -> list[np.ndarray]:
    """Return copies of the planes of a frame, in the order Y Cb Cr, or G B R, then alpha.

    Args:
        frame: A frame of any layout whose samples `pixels` can hold as they are.
        pixels: The planar format.
    """
    if frame.format.name.replace("yuvj", "yuv") != pixels.name:
        frame = frame.reformat(format=pixels.name)  # only moves samples
    planes = []
    for number, plane in enumerate(frame.planes):
        samples = np.frombuffer(memoryview(plane), pixels.dtype)
        width, height = pixels.plane_size(number, frame.width, frame.height)
        pitch = plane.line_size // pixels.dtype.itemsize
        rows = np.lib.stride_tricks.as_strided(
            samples, (height, width), (pitch * pixels.dtype.itemsize, pixels.dtype.itemsize)
        )
        planes.append(rows.copy())
    return planes


def frame_of(planes: Sequence[np.ndarray], pixels: PixelFormat) -> "VideoFrame":
    """Return a new frame with these planes."""
    from av.video.frame import VideoFrame

    height, width = planes[0].shape
    frame = VideoFrame(width, height, pixels.name)
    for plane, samples in zip(frame.planes, planes, strict=True):
        lines = np.frombuffer(memoryview(plane), pixels.dtype)
        pitch = plane.line_size // pixels.dtype.itemsize
        rows = lines[: pitch * plane.height].reshape(plane.height, pitch)
        rows[:, : samples.shape[1]] = samples
    return frame


# ----------------------------------------------------------------------------- RGB and back


def to_rgb(planes: Sequence[np.ndarray], pixels: PixelFormat, colour: Colour) -> Tensor:
    """Return the planes of a frame as floats.

    Args:
        planes: As `planes_of` returns them.
        pixels: Their format.
        colour: What they mean.

    Returns:
        `1 c h w` in [0, 1]: one channel for gray, three for RGB, and a fourth for alpha. Colours
        that RGB does not have are clamped.
    """
    floats = [torch.from_numpy(plane.astype(np.float32)) for plane in planes]
    top = float(2**pixels.bits - 1)
    alpha = [floats[-1] / top] if pixels.alpha else []
    if pixels.family == "rgb":
        green, blue, red = floats[:3]
        levels = _Levels(pixels.bits, colour.full_range)
        channels = [levels.luma(red), levels.luma(green), levels.luma(blue)]
    elif pixels.family == "gray":
        channels = [_Levels(pixels.bits, colour.full_range).luma(floats[0])]
    else:
        levels = _Levels(pixels.bits, colour.full_range)
        luma = levels.luma(floats[0])
        cb, cr = (
            _widen(levels.chroma(plane), pixels.shrink, colour.cosited, luma.shape)
            for plane in floats[1:3]
        )
        of_red, of_blue = _WEIGHTS[colour.matrix]
        red = luma + 2 * (1 - of_red) * cr
        blue = luma + 2 * (1 - of_blue) * cb
        green = (luma - of_red * red - of_blue * blue) / (1 - of_red - of_blue)
        channels = [red, green, blue]
    return torch.stack(channels + alpha).clamp_(0, 1)[None]


def from_rgb(image: Tensor, pixels: PixelFormat, colour: Colour) -> list[np.ndarray]:
    """Return floats as the planes of a frame, rounded to the nearest sample.

    Args:
        image: `1 c h w` in [0, 1], with the channels of `to_rgb`; gray becomes any format.
        pixels: The format of the planes.
        colour: What they shall mean.
    """
    channels = list(image[0].float().cpu())
    top = float(2**pixels.bits - 1)
    alpha = channels.pop() if len(channels) in (2, 4) else None
    red, green, blue = channels * 3 if len(channels) == 1 else channels
    levels = _Levels(pixels.bits, colour.full_range)
    if pixels.family == "rgb":
        floats = [levels.of_luma(channel) for channel in (green, blue, red)]
    else:
        of_red, of_blue = _WEIGHTS[colour.matrix]
        luma = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
        floats = [levels.of_luma(luma)]
        if pixels.family == "yuv":
            for channel, weight in ((blue, of_blue), (red, of_red)):
                chroma = (channel - luma) / (2 * (1 - weight))
                floats.append(levels.of_chroma(_narrow(chroma, pixels.shrink, colour.cosited)))
    if pixels.alpha:
        floats.append(torch.full_like(red, top) if alpha is None else alpha * top)
    return [plane.add(0.5).floor_().clamp_(0, top).numpy().astype(pixels.dtype) for plane in floats]


@dataclass(frozen=True)
class _Levels:
    """Samples as numbers: luma in [0, 1], chroma in [-0.5, 0.5]."""

    bits: int
    full_range: bool

    @property
    def _luma(self) -> tuple[float, float]:
        """The sample for black, and how far white is from it."""
        unit = 2.0 ** (self.bits - 8)
        return (0.0, 2.0**self.bits - 1) if self.full_range else (16 * unit, 219 * unit)

    @property
    def _chroma(self) -> tuple[float, float]:
        """The sample for gray, and how far the ends of chroma are apart."""
        middle, unit = 2.0 ** (self.bits - 1), 2.0 ** (self.bits - 8)
        return (middle, 2.0**self.bits - 1) if self.full_range else (middle, 224 * unit)

    def luma(self, samples: Tensor) -> Tensor:
        black, extent = self._luma
        return (samples - black) / extent

    def of_luma(self, luma: Tensor) -> Tensor:
        black, extent = self._luma
        return luma * extent + black

    def chroma(self, samples: Tensor) -> Tensor:
        middle, extent = self._chroma
        return (samples - middle) / extent

    def of_chroma(self, chroma: Tensor) -> Tensor:
        middle, extent = self._chroma
        return chroma * extent + middle


# ------------------------------------------------------------------------- chroma at all places


def _widen(plane: Tensor, shrink: tuple[int, int], cosited: bool, shape: torch.Size) -> Tensor:
    """Return a plane of chroma `h w` with a value for each sample of luma, by cubic convolution."""
    wide = _widen_rows(plane, shrink[0], cosited)
    return _widen_rows(wide.mT, shrink[1], False).mT[: shape[0], : shape[1]]


def _widen_rows(plane: Tensor, factor: int, cosited: bool) -> Tensor:
    if factor == 1:
        return plane
    padded = F.pad(plane[None, None], (2, 2, 0, 0), mode="replicate")[0, 0]
    width = plane.shape[1]
    phases = []
    for phase in range(factor):
        position = phase / factor if cosited else (phase + 0.5) / factor - 0.5
        first = math.floor(position) - 1  # of the four samples around it
        taps = [
            weight * padded[:, 2 + first + tap : 2 + first + tap + width]
            for tap, weight in enumerate(_cubic_weights(position - math.floor(position)))
        ]
        phases.append(sum(taps[1:], start=taps[0]))
    return torch.stack(phases, dim=-1).flatten(1)


def _cubic_weights(at: float) -> list[float]:
    """Return the weights of four samples at -1, 0, 1 and 2 for a place in [0, 1).

    Source:
        "Cubic Convolution Interpolation for Digital Image Processing", R. Keys, 1981, eq. 15.
    """
    distances = (1 + at, at, 1 - at, 2 - at)
    return [
        1.5 * d**3 - 2.5 * d**2 + 1 if d <= 1 else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
        for d in distances
    ]


def _narrow(plane: Tensor, shrink: tuple[int, int], cosited: bool) -> Tensor:
    """Return fewer samples of chroma, each a weighted mean around its place."""
    narrow = _narrow_rows(plane, shrink[0], cosited)
    return _narrow_rows(narrow.mT, shrink[1], False).mT


def _narrow_rows(plane: Tensor, factor: int, cosited: bool) -> Tensor:
    if factor == 1:
        return plane
    missing = -plane.shape[1] % factor
    offsets = range(1 - factor, factor) if cosited else range(factor)
    before = -offsets.start
    padded = F.pad(plane[None, None], (before, missing + factor, 0, 0), mode="replicate")[0, 0]
    width = plane.shape[1] + missing
    weights = [1 - abs(offset) / factor if cosited else 1.0 for offset in offsets]
    total = sum(weights)
    parts = [
        weight / total * padded[:, before + offset : before + offset + width : factor]
        for offset, weight in zip(offsets, weights, strict=True)
    ]
    return sum(parts[1:], start=parts[0])
