"""AVIF: what libavif (in Pillow) reads right, with the levels that only libvips keeps.

libavif refuses a file of which a part cannot be decoded, divides premultiplied alpha, and knows
limited range; Pillow hands its result on with 8 bits. libvips keeps 10 and 12 bits, but leaves
all that out: parts that it cannot decode stay black. So more bits are taken from libvips only
where they agree with the picture that libavif sees.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile

from atdsr.imaging import boxes, colour, metadata, pil, saving, vips, xmp
from atdsr.imaging.av1 import Colour
from atdsr.imaging.boxes import Still
from atdsr.imaging.picture import (
    CodePoints,
    Metadata,
    Picture,
    PictureError,
    join_alpha,
    replicate_gray,
    rescale,
    split_alpha,
    straight,
    to_uint8,
)
from atdsr.imaging.pil import picture_of, pillow

_BLOCK = 16  # pixels a side of what is compared
_ROWS = 16 * _BLOCK  # so many at a time
_NEAR = 24  # levels of 255: how far two decoders may be apart in the mean of a block


def code_points(said: Colour | None) -> CodePoints | None:
    """What a description means; None is sRGB, which also stands for what is left unspecified."""
    points = said and colour.resolved(CodePoints(said.primaries, said.transfer))
    return None if points == colour.SRGB else points


def track_points(data: bytes) -> CodePoints | None:
    """What the colours of an animation mean, as far as code points say it."""
    return code_points(boxes.track(data).colour)


def opened(data: bytes) -> AvifImageFile:
    """The file as Pillow sees it, nothing decoded yet; resolution stands in its `info`.

    Raises:
        PictureError: it is damaged.
    """
    with pillow():
        image = AvifImageFile(io.BytesIO(data))
    if dpi := metadata.resolution(image.info.get("exif")):
        image.info["dpi"] = dpi
    return image


def said_of(image: Image.Image) -> Metadata:
    """The metadata of a picture that lies as its boxes say, whatever XMP has to say about it.

    Pillow puts what the boxes say into the orientation of EXIF.
    """
    said = pil.said_of(image, image.info.get("exif"))
    upright = said.xmp and xmp.rewritten(said.xmp, image.size, image.size, turned=False)
    return replace(said, xmp=upright)


def size(data: bytes) -> tuple[int, int]:
    """Width and height of the still picture in a file, upright."""
    image = opened(data)
    left, upper, right, lower = _aperture(boxes.still(data), image.size)
    width, height = right - left, lower - upper
    turned = metadata.orientation(image.info.get("exif")) > 4
    return (height, width) if turned else (width, height)


def decode(data: bytes) -> Picture:
    """The still picture in a file.

    Raises:
        PictureError: it is damaged or cut short.
        Exception: what the libraries raise for damage.
    """
    said, image = boxes.still(data), opened(data)
    with pillow():
        part = image.crop(_aperture(said, image.size))
        picture = picture_of(part, said_of(part))
    if said.monochrome and picture.samples.shape[2] == 4:
        picture = replace(
            picture, samples=picture.samples[..., [0, 3]], icc=vips.matching(picture.icc, 2)
        )
    if said.bits > 8:
        picture = replace(picture, samples=_finer(data, said, picture.samples))
    return picture if picture.icc else replace(picture, code_points=code_points(said.colour))


def _aperture(said: Still, whole: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of a picture that is to be shown: left, upper, right, lower."""
    if said.aperture is None:
        return 0, 0, *whole
    numbers = said.aperture
    if 0 in numbers[1::2]:
        raise boxes.damaged()
    size, offset = ([Fraction(*numbers[k : k + 2]) for k in at] for at in ((0, 2), (4, 6)))
    start = [
        round(away + Fraction(full, 2) - part / 2)
        for full, part, away in zip(whole, size, offset, strict=True)
    ]
    end = [first + round(part) for first, part in zip(start, size, strict=True)]
    if min(start) < 0 or min(b - a for a, b in zip(start, end, strict=True)) < 1:
        raise boxes.damaged()
    if end[0] > whole[0] or end[1] > whole[1]:
        raise boxes.damaged()
    return start[0], start[1], end[0], end[1]


def _finer(data: bytes, said: Still, coarse: np.ndarray) -> np.ndarray:
    """The samples with all their levels as uint16; `coarse` are the same with 8 bits.

    Raises:
        PictureError: libvips sees another picture, as where it could not decode a part.
    """
    load = vips.load().Image.heifload_buffer
    image = load(data, access="sequential", fail_on="error").copy_memory().autorot()
    samples = vips.from_vips(image)
    if samples.dtype != np.uint16 or samples.shape[:2] != coarse.shape[:2]:
        raise boxes.damaged()
    if coarse.shape[2] < 3:  # libvips makes gray RGB
        samples = samples[..., [0, 3][: coarse.shape[2]]]
    if samples.shape != coarse.shape:
        raise boxes.damaged()
    # piece by piece, since what is between takes several times the memory
    pieces = [slice(row, row + _ROWS) for row in range(0, coarse.shape[0], _ROWS)]
    apart = np.zeros(len(_READINGS))
    worst = np.zeros(len(_READINGS))
    for rows in pieces:
        means = _means(coarse[rows])
        for number, reading in enumerate(_READINGS):
            differences = np.abs(_means(to_uint8(_read(samples[rows], said, reading))) - means)
            apart[number] += differences.sum()
            worst[number] = max(worst[number], differences.max())
    best = int(apart.argmin())
    if worst[best] > _NEAR:
        raise PictureError("a part of it cannot be decoded.")
    return np.concatenate([_read(samples[rows], said, _READINGS[best]) for rows in pieces])


def _read(samples: np.ndarray, said: Still, reading: Callable[..., np.ndarray]) -> np.ndarray:
    """Samples as libvips has them, shifted up to 16 bits, over the full range of 16 bits."""
    white = 2**said.bits - 1
    colour, alpha = split_alpha(samples >> (16 - said.bits))
    joined = join_alpha(reading(colour, said.bits), alpha)
    return rescale(straight(joined, white) if said.premultiplied else joined, white, np.uint16)


# What libvips makes of limited range, put right: the range of gray it leaves as it is; of RGB that
# is stored as such it stretches green as luma, but red and blue as chroma, whose range is wider.


def _as_it_is(colour: np.ndarray, _: int) -> np.ndarray:
    return colour


def stretched(colour: np.ndarray, bits: int) -> np.ndarray:
    """Samples of limited range over the full one."""
    low, luma, white = 16 << (bits - 8), 219 << (bits - 8), 2**bits - 1
    return rescale((colour.astype(np.int64) - low).clip(0, luma), luma, np.uint16, white)


def _red_and_blue_stretched(colour: np.ndarray, bits: int) -> np.ndarray:
    most = 2**bits - 1
    factors = np.array([224, 219, 224][: colour.shape[2]])
    return rescale((colour.astype(np.int64) * factors).clip(0, 219 * most), 219, np.uint16, 1)


_READINGS = (_as_it_is, stretched, _red_and_blue_stretched)


def _means(samples: np.ndarray) -> np.ndarray:
    """Means over blocks, of colours as far as they are seen."""
    colour, alpha = split_alpha(samples)
    seen = colour.astype(np.float64)
    if alpha is not None:
        seen = join_alpha(seen * (alpha / 255.0), alpha)
    for axis in (0, 1):
        starts = np.arange(0, seen.shape[axis], _BLOCK)
        counts = np.diff(starts, append=seen.shape[axis])
        counts = counts[:, None, None] if axis == 0 else counts[:, None]
        seen = np.add.reduceat(seen, starts, axis=axis) / counts
    return seen


class _Frames(Image.Image):
    """Pictures one after another, as Pillow's writer of animations asks for them."""

    is_animated = True

    def __init__(self, pictures: Iterator[np.ndarray]):
        super().__init__()
        self._pictures = pictures
        self._number = -1
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Go to the frame with a number: the one that is there, or the next."""
        if frame > self._number:
            samples = next(self._pictures, None)
            if samples is None:
                raise EOFError
            image = Image.fromarray(samples)
            self.im, self._mode, self._size = image.im, image.mode, image.size
            self._number = frame

    def tell(self) -> int:
        """The number of the frame."""
        return self._number


def write_frames(
    file: BinaryIO,
    pictures: Iterator[Picture],
    durations: Sequence[int],
    loop: int,
    quality: int | None,
) -> None:
    """Write an animation of 8 bits, with what is said of its first frame.

    Args:
        file: where to.
        pictures: frames of one size and number of channels, one for each duration.
        durations: milliseconds.
        loop: how often it is shown; 0 is for ever.
        quality: 1 to 100; None is 90.
    """
    first = next(pictures)
    kept = {"icc_profile": "icc-profile-data", "exif": "exif-data", "xmp": "xmp-data"}
    about = _prepared(first)
    said = {key: vips.blob(about, name) for key, name in kept.items()}
    frames = _Frames(_colours(_prepared(picture)) for picture in chain((first,), pictures))
    written = io.BytesIO()
    frames.save(
        *(written, "AVIF"),
        save_all=True,
        duration=list(durations),
        quality=quality or 90,
        subsampling="4:4:4",
        **{key: value for key, value in said.items() if value},
    )
    data = described(written.getvalue(), first)
    file.write(boxes.repeated(data, loop) if loop else data)


def _prepared(picture: Picture) -> Any:
    """A frame as a libvips image of 8 bits, with its profile and metadata."""
    still = replace(picture, samples=to_uint8(picture.samples))
    return saving.prepared(still, "avif", saving.said_in(still, "avif"), None)[0]


def _colours(image: Any) -> np.ndarray:
    """RGB, with alpha if there is one."""
    colour, alpha = split_alpha(vips.from_vips(image))
    return join_alpha(replicate_gray(colour), alpha)


def described(data: bytes, picture: Picture) -> bytes:
    """A file of the picture that says what its colours mean, if that is said by code points."""
    points = picture.code_points
    if points is None or picture.icc:
        return data
    return boxes.described(data, points.primaries, points.transfer)
