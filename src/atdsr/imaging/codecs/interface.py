"""What a codec module offers: `open_file`, and `write` and `write_frames` where it can write.

`open_file(data)` looks at a file without decoding it and returns its contents: a list of `Still`
(one, or the pages of a TIFF file) or an `Animation`. `write(picture, path, quality)` writes one
picture; colours are sRGB by then if the format holds no profile, and a picture that the format
cannot hold has been refused. `write_frames(file, frames, options)` writes an animation.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import ImageFile

from atdsr.imaging import colour, pillow, vips
from atdsr.imaging.metadata import orientation
from atdsr.imaging.picture import (
    DamagedError,
    Metadata,
    Picture,
    PictureError,
    join_alpha,
    replicate_gray,
    split_alpha,
    to_uint8,
)


@dataclass(frozen=True)
class Still:
    """A picture in a file that is not decoded yet.

    Attributes:
        width: Width in pixels, upright.
        height: Height in pixels, upright.
        decode: Decodes the picture. It raises PictureError for a picture that is not supported,
            or whatever the libraries raise for damage; see `vips.named_errors`.
    """

    width: int
    height: int
    decode: Callable[[], Picture]


@dataclass(frozen=True)
class Timeline:
    """What the file of an animation says about its frames, found without decoding one.

    Attributes:
        width: Width of every frame in pixels, as stored.
        height: Height of every frame in pixels, as stored.
        durations: How long each frame is shown, in milliseconds.
        loop: How often the animation is shown; 0 is forever.
        has_cover: Whether a picture that is not a frame comes first (animated PNG).
    """

    width: int
    height: int
    durations: tuple[int, ...]
    loop: int
    has_cover: bool = False


def _unchanged(picture: Picture, _: ImageFile.ImageFile) -> Picture:
    return picture


@dataclass(frozen=True)
class Animation:
    """The frames of an animation, composited by Pillow, not decoded yet.

    Attributes:
        timeline: What the file says about the frames.
        open_image: Opens the file with Pillow.
        read_metadata: Returns the metadata of all frames.
        finish: Changes a frame as the format demands.
    """

    timeline: Timeline
    open_image: Callable[[], ImageFile.ImageFile]
    read_metadata: Callable[[ImageFile.ImageFile], Metadata] = lambda image: pillow.metadata_of(
        image, image.info.get("exif")
    )
    finish: Callable[[Picture, ImageFile.ImageFile], Picture] = _unchanged

    def upright_size(self) -> tuple[int, int]:
        """Return width and height of the frames; the file's orientation is that of all of them."""
        with vips.decoder_errors():
            metadata = self.read_metadata(self.open_image())
        turned = orientation(metadata.exif, metadata.xmp) > 4
        width, height = self.timeline.width, self.timeline.height
        return (height, width) if turned else (width, height)

    def decode(self) -> Iterator[Picture]:
        """Yield the frames one by one, as RGB and alpha of 8 bits, so that all are alike."""
        with vips.decoder_errors():
            image = self.open_image()
            metadata = self.read_metadata(image)
        size = self.upright_size()
        for number in range(len(self.timeline.durations)):
            with vips.decoder_errors():
                image.seek(number + self.timeline.has_cover)
                picture = self.finish(pillow.to_picture(image, metadata), image)
            picture = _as_rgba(picture)
            if (picture.width, picture.height) != size:
                raise DamagedError("the animation is damaged or cut short.")
            yield picture


def _as_rgba(picture: Picture) -> Picture:
    if picture.is_gray and picture.icc:  # a gray profile would not fit
        icc = colour.rgb_from_gray_profile(picture.icc)
        picture = replace(picture, icc=icc) if icc else colour.to_srgb(picture)
    colours, alpha = split_alpha(to_uint8(picture.samples))
    if alpha is None:
        alpha = np.full((*colours.shape[:2], 1), 255, np.uint8)
    return replace(picture, samples=join_alpha(replicate_gray(colours), alpha))


@dataclass(frozen=True)
class AnimationOptions:
    """How an animation is written.

    Attributes:
        path: The file that is written, for error messages.
        durations: How long each frame is shown, in milliseconds that the format can hold.
        loop: How often the animation is shown; 0 is forever.
        quality: 1 to 100 for WebP, where None is lossless, and AVIF, where None is 90.
    """

    path: Path
    durations: Sequence[int]
    loop: int
    quality: int | None = None


@dataclass(frozen=True)
class EncodedFrame:
    """A frame, how long it is shown in milliseconds, and a file of its own."""

    picture: Picture
    duration: int
    data: bytes


def encode_frames(
    frames: Iterator[Picture], options: AnimationOptions, encode: Callable[[Picture], bytes]
) -> Iterator[EncodedFrame]:
    """Encode frames one by one, so that few of them are in memory at a time.

    Raises:
        PictureError: A frame cannot be encoded; the sentence names the file.
    """
    for picture, duration in zip(frames, options.durations, strict=True):
        with vips.named_errors(options.path, "the frame cannot be written"):
            data = encode(picture)
        yield EncodedFrame(picture, duration, data)


def check_frames(frames: Iterator[Picture], options: AnimationOptions) -> Iterator[Picture]:
    """Yield frames, and check that all have one shape and each has a duration.

    Raises:
        PictureError: They differ, or there are not as many as durations.
    """
    wanted, shape, count = len(options.durations), (), 0
    for count, picture in enumerate(frames, 1):
        shape = shape or picture.samples.shape
        if picture.samples.shape != shape:
            height, width, channels = picture.samples.shape
            raise PictureError(
                f"{options.path}: the frames of an animation must have one size and number of "
                f"channels, not {shape[1]}x{shape[0]}x{shape[2]} and {width}x{height}x{channels}."
            )
        if count > wanted:
            break
        yield picture
    if count != wanted:
        raise PictureError(
            f"{options.path}: the number of durations ({wanted}) differs from that of the frames."
        )
