"""Pictures as integers h w c, and what is done with such integers."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import DTypeLike

from atdsr.base.errors import AtdsrError

MAXIMUM = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
"""White of each depth."""


class PictureError(AtdsrError):
    """A picture cannot be read, written or converted; the sentence names the file."""


@dataclass(frozen=True)
class Metadata:
    """What a file says of a picture beside its samples.

    Attributes:
        exif: a table of tags as EXIF has it, with or without the prefix of JPEG.
        xmp: an XML packet.
        dpi: dots per inch along x and y; None leaves it open.
        text: keyword and text of each text chunk of a PNG file, such as ("Author", "Somebody").
        size: width and height in pixels of the upright picture that EXIF and XMP speak of; None
            takes them as they are. Their sizes and places grow with the picture.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: tuple[tuple[str, str], ...] = ()
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class CodePoints:
    """The meaning of RGB samples in the code points of ITU-T H.273, as video and AVIF have it.

    Attributes:
        primaries: ColourPrimaries (table 2): 1 is BT.709 and sRGB, 9 BT.2020, 12 Display P3.
        transfer: TransferCharacteristics (table 3): 13 is sRGB, 16 PQ, 18 HLG.
    """

    primaries: int
    transfer: int


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright picture as integers, with the colour profile that they are meant in.

    Attributes:
        samples: h w c, uint8 or uint16 over their full range; c = 1 is gray, 2 gray and alpha,
            3 RGB, 4 RGB and alpha. Alpha is straight (not multiplied into the colours).
        icc: the ICC profile, of the class (gray or RGB) of the samples; None is sRGB, unless
            `code_points` says otherwise.
        code_points: what the colours mean where a file says it in this way and has no profile.
        metadata: what else its file said; what would be wrong for the picture (orientation,
            thumbnails, sizes) is put right or left out whenever a file is read or written.
    """

    samples: np.ndarray
    icc: bytes | None = None
    metadata: Metadata = Metadata()
    code_points: CodePoints | None = None

    def __post_init__(self) -> None:
        if self.samples.ndim != 3 or self.samples.dtype not in MAXIMUM:
            raise PictureError("A picture is an array h w c of uint8 or uint16.")
        if 0 in self.samples.shape or self.samples.shape[2] > 4:
            raise PictureError("A picture has 1 to 4 channels and at least one pixel.")

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.samples.shape[0]

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.samples.shape[1]

    @property
    def is_gray(self) -> bool:
        """Whether there is one channel of colour."""
        return self.samples.shape[2] < 3

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.samples.shape[2] in (2, 4)

    @property
    def is_transparent(self) -> bool:
        """Whether any pixel's alpha is below full, so that dropping it would lose something."""
        alpha = self.samples[..., -1]
        return self.has_alpha and bool(alpha.min() < MAXIMUM[self.samples.dtype])


def without_metadata(picture: Picture) -> Picture:
    """The picture without EXIF, XMP, texts and resolution: nothing of who, where, when and how."""
    return replace(picture, metadata=Metadata())


def split_alpha(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Samples h w c as colour (h w 1 or h w 3) and alpha (h w 1, or None without one)."""
    if samples.shape[2] in (2, 4):
        return samples[..., :-1], samples[..., -1:]
    return samples, None


def join_alpha(colour: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """The inverse of `split_alpha`."""
    return colour if alpha is None else np.concatenate((colour, alpha), axis=2)


def replicate_gray(samples: np.ndarray) -> np.ndarray:
    """Samples h w 1 as h w 3; h w 3 is returned as it is."""
    return samples.repeat(3, axis=2) if samples.shape[2] == 1 else samples


def to_uint8(samples: np.ndarray) -> np.ndarray:
    """Samples of any depth as uint8, rounded half up; uint8 is returned as it is."""
    return samples if samples.dtype == np.uint8 else rescale(samples, 65535, np.uint8)


def rescale(
    samples: np.ndarray, old: int, dtype: DTypeLike, maximum: int | None = None
) -> np.ndarray:
    """Samples in 0..old as integers in 0..maximum (by default all of dtype), rounded half up."""
    new = maximum or MAXIMUM[np.dtype(dtype)]
    if new == old:
        return samples.astype(dtype)
    wide = np.uint32 if (2 * new + 1) * old < 2**32 else np.uint64
    return ((samples.astype(wide) * (2 * new) + old) // (2 * old)).astype(dtype)


def straight(samples: np.ndarray, white: int) -> np.ndarray:
    """Samples in 0..white whose alpha was multiplied into the colours, divided by it.

    What nobody sees becomes black; without alpha nothing changes.
    """
    colour, alpha = split_alpha(samples)
    if alpha is None:
        return samples
    whole = np.maximum(alpha.astype(np.int64), 1)
    divided = (2 * white * colour.astype(np.int64) + whole) // (2 * whole)
    divided = np.where(alpha > 0, divided.clip(0, white), 0)
    return join_alpha(divided.astype(samples.dtype), alpha)


def from_unit(samples: np.ndarray) -> np.ndarray:
    """Fractions in 0..1 as uint16, rounded half up.

    Raises:
        PictureError: some lie outside of that range, or are no numbers.
    """
    if not (samples.min() >= 0 and samples.max() <= 1):
        raise PictureError(
            "its samples have values outside 0 to 1; scale them to that range first."
        )
    return np.floor(samples.astype(np.float64) * 65535 + 0.5).astype(np.uint16)
