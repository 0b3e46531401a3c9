"""Pictures as integer samples h w c, and arithmetic on such samples."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import DTypeLike

from atdsr.base.errors import AtdsrError

MAXIMUM = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
"""White of each depth."""


class PictureError(AtdsrError):
    """A picture cannot be read, written or converted; the sentence names the file."""


class DamagedError(PictureError):
    """A file is damaged or cut short."""

    def __init__(self, reason: str = "the file is damaged or cut short.") -> None:
        super().__init__(reason)


class UnsupportedError(PictureError):
    """A file is of no format that is read here."""


class TooLargeError(PictureError):
    """A file holds more pixels or pictures than are allowed."""


@dataclass(frozen=True)
class Metadata:
    """What a file says about a picture besides its samples.

    Attributes:
        exif: A table of tags as EXIF defines it, with or without the prefix that JPEG adds.
        xmp: An XML packet.
        dpi: Dots per inch along x and y; None where the file does not say.
        text: Keyword and text of each text chunk of a PNG file, such as ("Author", "Somebody").
        size: Width and height in pixels of the upright picture that EXIF and XMP describe. The
            sizes and positions in them grow with the picture. None leaves them as they are.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: tuple[tuple[str, str], ...] = ()
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class CodePoints:
    """The meaning of RGB samples in the code points of ITU-T H.273, as video and AVIF state it.

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
        samples: Array h w c of uint8 or uint16 that uses the full range of its type. One channel
            is gray, two are gray and alpha, three RGB, four RGB and alpha. Alpha is straight (the
            colours are not multiplied by it).
        icc: The ICC profile, of the class (gray or RGB) of the samples. None is sRGB, unless
            `code_points` says otherwise.
        code_points: What the colours mean, where a file says it this way and has no profile.
        metadata: What else the file said. Whatever would be wrong for the picture (orientation,
            thumbnails, sizes) is corrected or left out whenever a file is read or written.
    """

    samples: np.ndarray
    icc: bytes | None = None
    metadata: Metadata = Metadata()
    code_points: CodePoints | None = None

    def __post_init__(self) -> None:
        if self.samples.ndim != 3 or self.samples.dtype not in MAXIMUM:
            raise PictureError(
                "a picture is an array h w c of uint8 or uint16, not one of shape "
                f"{self.samples.shape} and dtype {self.samples.dtype}."
            )
        if 0 in self.samples.shape or self.samples.shape[2] > 4:
            raise PictureError(
                f"a picture has 1 to 4 channels and at least one pixel, not {self.samples.shape}."
            )

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
        """Whether there is only one channel besides alpha."""
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
    """Return the picture without EXIF, XMP, texts and resolution: no who, where, when and how."""
    return replace(picture, metadata=Metadata())


def split_alpha(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Split samples h w c into colours (h w 1 or h w 3) and alpha (h w 1, or None)."""
    if samples.shape[2] in (2, 4):
        return samples[..., :-1], samples[..., -1:]
    return samples, None


def join_alpha(colours: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Undo `split_alpha`."""
    return colours if alpha is None else np.concatenate((colours, alpha), axis=2)


def replicate_gray(samples: np.ndarray) -> np.ndarray:
    """Return samples h w 1 as h w 3; h w 3 comes back unchanged."""
    return samples.repeat(3, axis=2) if samples.shape[2] == 1 else samples


def to_uint8(samples: np.ndarray) -> np.ndarray:
    """Return samples of any depth as uint8, rounded half up; uint8 comes back unchanged."""
    return samples if samples.dtype == np.uint8 else rescale(samples, 65535, np.uint8)


def rescale(
    samples: np.ndarray, old_maximum: int, dtype: DTypeLike, maximum: int | None = None
) -> np.ndarray:
    """Bring samples from 0..old_maximum to 0..maximum, rounded half up.

    Args:
        samples: Unsigned integers.
        old_maximum: White of the samples.
        dtype: Type of the result.
        maximum: White of the result; by default the largest value of `dtype`.
    """
    maximum = maximum or MAXIMUM[np.dtype(dtype)]
    if maximum == old_maximum:
        return samples.astype(dtype)
    wide = np.uint32 if (2 * maximum + 1) * old_maximum < 2**32 else np.uint64
    doubled = samples.astype(wide) * (2 * maximum)
    return ((doubled + old_maximum) // (2 * old_maximum)).astype(dtype)


def unpremultiply(samples: np.ndarray, alpha: np.ndarray, white: int) -> np.ndarray:
    """Divide colours by the alpha that they were multiplied by, rounded half up.

    Pixels with alpha 0, which nobody sees, become black.

    Args:
        samples: Colours h w c in 0..white.
        alpha: Alpha h w 1 in the same range.
        white: Largest value of both.
    """
    divisor = np.maximum(alpha.astype(np.int64), 1)
    quotient = (2 * white * samples.astype(np.int64) + divisor) // (2 * divisor)
    return np.where(alpha > 0, quotient.clip(0, white), 0).astype(samples.dtype)


def fractions_to_uint16(samples: np.ndarray) -> np.ndarray:
    """Return fractions in 0..1 as uint16, rounded half up.

    Raises:
        PictureError: A value lies outside that range or is not a number.
    """
    if not (samples.min() >= 0 and samples.max() <= 1):
        raise PictureError(
            "its samples have values outside 0 to 1; scale them to that range, or save it with "
            "unsigned integers of 16 bits."
        )
    return np.floor(samples.astype(np.float64) * 65535 + 0.5).astype(np.uint16)
