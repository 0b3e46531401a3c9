"""AVIF: what libavif (in Pillow) reads correctly, with the levels that only libvips keeps.

libavif refuses a file of which a part cannot be decoded, divides premultiplied alpha, and knows
limited range, but Pillow returns its result with 8 bits. libvips keeps 10 and 12 bits, but does
none of this: parts that it cannot decode stay black. So more bits are taken from libvips only
where they agree with the picture that libavif decodes.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile

from atdsr.imaging import colour, pillow, vips
from atdsr.imaging.codecs import libvips
from atdsr.imaging.codecs.interface import Animation, AnimationOptions, Still, Timeline
from atdsr.imaging.codecs.isobmff import items, tracks
from atdsr.imaging.codecs.isobmff.av1 import Nclx
from atdsr.imaging.codecs.isobmff.items import PrimaryItem
from atdsr.imaging.metadata import orientation, resolution, xmp
from atdsr.imaging.picture import (
    CodePoints,
    DamagedError,
    Metadata,
    Picture,
    PictureError,
    join_alpha,
    replicate_gray,
    rescale,
    split_alpha,
    to_uint8,
    unpremultiply,
)

_BLOCK = 16  # pixels a side of the blocks that are compared
_ROWS = 16 * _BLOCK  # so many are compared at a time
_TOLERANCE = 24  # levels of 255: how far two decoders may differ in the mean of a block


def open_file(data: bytes) -> list[Still] | Animation:
    """Return the picture or the animation in a file, not decoded yet.

    Raises:
        PictureError: The file is damaged or cut short.
    """
    timeline = read_timeline(data)
    if timeline is not None and len(timeline.durations) > 1:
        points = code_points(tracks.picture_track(data).colour)
        return Animation(
            timeline,
            partial(_open_animation, data, len(timeline.durations)),
            metadata_of,
            lambda picture, _: replace(picture, code_points=None if picture.icc else points),
        )
    item, image = items.primary_item(data), _open_still(data)
    left, upper, right, lower = _aperture(item, image.size)
    size = right - left, lower - upper
    width, height = size[::-1] if orientation(image.info.get("exif")) > 4 else size
    return [Still(width, height, partial(_decode, data, item))]


def read_timeline(data: bytes) -> Timeline | None:
    """Return the timeline of an image sequence, or None for any other file.

    Raises:
        PictureError: The file is damaged or cut short.
    """
    if data[8:12] != b"avis":  # other files may have frames too, but show a still picture
        return None
    track = tracks.picture_track(data)
    return Timeline(track.width, track.height, track.durations, track.loop)


def code_points(nclx: Nclx | None) -> CodePoints | None:
    """Return resolved code points; None is sRGB, which also stands for what is unspecified."""
    points = nclx and colour.resolve(CodePoints(nclx.primaries, nclx.transfer))
    return None if points == colour.SRGB else points


def _open_still(data: bytes) -> AvifImageFile:
    """Open a file with Pillow, decoding nothing; the resolution is put into its `info`.

    Raises:
        PictureError: The file is damaged.
    """
    with vips.decoder_errors():
        image = AvifImageFile(io.BytesIO(data))
    if dpi := resolution(image.info.get("exif")):
        image.info["dpi"] = dpi
    return image


def _open_animation(data: bytes, frames: int) -> AvifImageFile:
    image = AvifImageFile(io.BytesIO(data))
    if image.n_frames != frames:
        raise DamagedError("the animation is damaged or cut short.")
    return image


def metadata_of(image: Image.Image) -> Metadata:
    """Return the metadata of a picture whose orientation is what its boxes say, not XMP.

    Pillow puts what the boxes say into the orientation of EXIF.
    """
    metadata = pillow.metadata_of(image, image.info.get("exif"))
    packet = metadata.xmp and xmp.rewrite(metadata.xmp, image.size, image.size, turned=False)
    return replace(metadata, xmp=packet)


def _decode(data: bytes, item: PrimaryItem) -> Picture:
    image = _open_still(data)
    with vips.decoder_errors():
        cropped = image.crop(_aperture(item, image.size))
        picture = pillow.to_picture(cropped, metadata_of(cropped))
    if item.is_monochrome and picture.samples.shape[2] == 4:
        icc = vips.matching_profile(picture.icc, 2)
        picture = replace(picture, samples=picture.samples[..., [0, 3]], icc=icc)
    if item.bits > 8:
        picture = replace(picture, samples=_with_all_levels(data, item, picture.samples))
    return picture if picture.icc else replace(picture, code_points=code_points(item.colour))


def _aperture(item: PrimaryItem, full_size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the part of a picture that is to be shown: left, upper, right, lower."""
    if item.aperture is None:
        return 0, 0, *full_size
    numbers = item.aperture
    if 0 in numbers[1::2]:
        raise DamagedError
    size, offset = ([Fraction(*numbers[k : k + 2]) for k in at] for at in ((0, 2), (4, 6)))
    start = [
        round(shift + Fraction(full, 2) - side / 2)
        for full, side, shift in zip(full_size, size, offset, strict=True)
    ]
    end = [first + round(side) for first, side in zip(start, size, strict=True)]
    if min(start) < 0 or min(b - a for a, b in zip(start, end, strict=True)) < 1:
        raise DamagedError
    if end[0] > full_size[0] or end[1] > full_size[1]:
        raise DamagedError
    return start[0], start[1], end[0], end[1]


def _with_all_levels(data: bytes, item: PrimaryItem, coarse: np.ndarray) -> np.ndarray:
    """Return the samples with all their levels as uint16.

    Args:
        data: The file.
        item: Its primary picture.
        coarse: The same samples with 8 bits, as libavif decodes them.

    Raises:
        PictureError: libvips decodes another picture, as where it could not decode a part.
    """
    load = vips.load().Image.heifload_buffer
    image = load(data, access="sequential", fail_on="error").copy_memory().autorot()
    samples = vips.from_vips(image)
    if samples.dtype != np.uint16 or samples.shape[:2] != coarse.shape[:2]:
        raise DamagedError
    if coarse.shape[2] < 3:  # libvips turns gray into RGB
        samples = samples[..., [0, 3][: coarse.shape[2]]]
    if samples.shape != coarse.shape:
        raise DamagedError
    # band by band, since the intermediate results take several times the memory
    bands = [slice(row, row + _ROWS) for row in range(0, coarse.shape[0], _ROWS)]
    total = np.zeros(len(_CORRECTIONS))
    largest = np.zeros(len(_CORRECTIONS))
    for rows in bands:
        means = _block_means(coarse[rows])
        for k, correction in enumerate(_CORRECTIONS):
            corrected = to_uint8(_correct(samples[rows], item, correction))
            differences = np.abs(_block_means(corrected) - means)
            total[k] += differences.sum()
            largest[k] = max(largest[k], differences.max())
    best = int(total.argmin())
    if largest[best] > _TOLERANCE:
        raise PictureError("a part of it cannot be decoded; it is damaged or cut short.")
    return np.concatenate([_correct(samples[rows], item, _CORRECTIONS[best]) for rows in bands])


def _correct(
    samples: np.ndarray, item: PrimaryItem, correction: Callable[..., np.ndarray]
) -> np.ndarray:
    """Bring samples as libvips returns them, shifted up to 16 bits, to the full range."""
    white = 2**item.bits - 1
    colours, alpha = split_alpha(samples >> (16 - item.bits))
    colours = correction(colours, item.bits)
    if item.is_premultiplied and alpha is not None:
        colours = unpremultiply(colours, alpha, white)
    return rescale(join_alpha(colours, alpha), white, np.uint16)


# What libvips does to limited range is undone here: it leaves the range of gray unchanged. RGB that
# is stored as such gets its green stretched like luma, but red and blue like chroma, whose range is
# wider.


def _unchanged(colours: np.ndarray, _: int) -> np.ndarray:
    return colours


def stretch_range(colours: np.ndarray, bits: int) -> np.ndarray:
    """Stretch samples of limited range to the full range of their bits."""
    black, span, white = 16 << (bits - 8), 219 << (bits - 8), 2**bits - 1
    return rescale((colours.astype(np.int64) - black).clip(0, span), span, np.uint16, white)


def _stretch_red_and_blue(colours: np.ndarray, bits: int) -> np.ndarray:
    white = 2**bits - 1
    factors = np.array([224, 219, 224][: colours.shape[2]])
    return rescale((colours.astype(np.int64) * factors).clip(0, 219 * white), 219, np.uint16, 1)


_CORRECTIONS = (_unchanged, stretch_range, _stretch_red_and_blue)


def _block_means(samples: np.ndarray) -> np.ndarray:
    """Return means over blocks, with colours weighted by alpha."""
    colours, alpha = split_alpha(samples)
    weighted = colours.astype(np.float64)
    if alpha is not None:
        weighted = join_alpha(weighted * (alpha / 255.0), alpha)
    for axis in (0, 1):
        starts = np.arange(0, weighted.shape[axis], _BLOCK)
        counts = np.diff(starts, append=weighted.shape[axis])
        counts = counts[:, None, None] if axis == 0 else counts[:, None]
        weighted = np.add.reduceat(weighted, starts, axis=axis) / counts
    return weighted


def write(picture: Picture, path: Path, quality: int | None) -> None:
    """Write a picture with 8 or 10 bits, without subsampling; the default quality is 90."""
    image, keep = libvips.prepare(picture, "avif", libvips.metadata_for(picture, "avif"))
    image.heifsave(
        str(path),
        compression="av1",
        effort=2,  # 4, the default, takes ten times as long for a file of the same size
        subsample_mode="off",
        Q=quality or 90,
        bitdepth=10 if picture.samples.dtype == np.uint16 else 8,
        keep=keep,
    )
    if picture.code_points:
        path.write_bytes(_with_code_points(path.read_bytes(), picture))


def write_frames(file: BinaryIO, frames: Iterator[Picture], options: AnimationOptions) -> None:
    """Write an animation of 8 bits, with the profile and metadata of its first frame."""
    first = next(frames)
    fields = {"icc_profile": "icc-profile-data", "exif": "exif-data", "xmp": "xmp-data"}
    prepared = _prepare_frame(first)
    metadata = {key: vips.blob(prepared, name) for key, name in fields.items()}
    samples = (_rgb_samples(_prepare_frame(picture)) for picture in chain((first,), frames))
    encoded = io.BytesIO()
    _FrameSequence(samples).save(
        *(encoded, "AVIF"),
        save_all=True,
        duration=list(options.durations),
        quality=options.quality or 90,
        subsampling="4:4:4",
        **{key: value for key, value in metadata.items() if value},
    )
    data = _with_code_points(encoded.getvalue(), first)
    file.write(tracks.with_loop(data, options.loop) if options.loop else data)


class _FrameSequence(Image.Image):
    """Frames one after another, in the form that Pillow's writer of animations reads."""

    is_animated = True

    def __init__(self, frames: Iterator[np.ndarray]):
        super().__init__()
        self._frames = frames
        self._number = -1
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Go to the frame with a number: the current one, or the next."""
        if frame > self._number:
            samples = next(self._frames, None)
            if samples is None:
                raise EOFError
            image = Image.fromarray(samples)
            self.im, self._mode, self._size = image.im, image.mode, image.size
            self._number = frame

    def tell(self) -> int:
        """Return the number of the frame."""
        return self._number


def _prepare_frame(picture: Picture) -> Any:
    """Return a frame as a libvips image of 8 bits, with its profile and metadata."""
    still = replace(picture, samples=to_uint8(picture.samples))
    return libvips.prepare(still, "avif", libvips.metadata_for(still, "avif"))[0]


def _rgb_samples(image: Any) -> np.ndarray:
    """Return RGB, with alpha if there is one."""
    colours, alpha = split_alpha(vips.from_vips(image))
    return join_alpha(replicate_gray(colours), alpha)


def _with_code_points(data: bytes, picture: Picture) -> bytes:
    """Return the file with the picture's code points, if it has some and no profile."""
    points = picture.code_points
    if points is None or picture.icc:
        return data
    return items.with_code_points(data, points.primaries, points.transfer)
