"""libvips: loading it, its errors, samples in and out, and colour through profiles."""

import contextlib
import os
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from atdsr.imaging import disk
from atdsr.imaging.picture import PictureError

UNREAD = "the picture cannot be read"
"""What `as_sentence` says of reading."""

_LOADER = re.compile(r"^(Vips\w+|vips\w+|\w+load_buffer): ")

NAMES = {"jpg": "jpeg", "avif": "heif"}
"""Where libvips calls a format otherwise."""


def load() -> Any:
    """The pyvips module, loaded on first use so that a broken libvips is a sentence.

    Raises:
        PictureError: it cannot be loaded, or another process forked this one after loading it.
    """
    try:
        os.environ.setdefault("VIPS_WARNING", "off")  # any value; libvips drops them itself then
        import pyvips

        _drop_handler()
    except (ImportError, OSError) as error:
        raise PictureError(
            f"pyvips cannot be loaded ({error}); install it with: pip install 'pyvips[binary]'."
        ) from error
    if _loaded_by() != os.getpid():  # libvips would wait for its threads, which are not here
        raise PictureError(
            "this process was forked from one that had read or written pictures already, so "
            "libvips would hang here; start processes with "
            "multiprocessing.get_context('spawn')."
        )
    return pyvips


@cache
def _drop_handler() -> None:
    """Take away the handler that brings warnings of libvips into Python.

    It runs Python inside GLib's log. If Python then collects an image that warns when it is
    closed, as damaged JPEG files do, GLib takes it for a recursion and ends the process.
    """
    import pyvips

    pyvips._remove_log_handler()


@cache
def _loaded_by() -> int:
    """The process that asked first, also in those forked from it."""
    return os.getpid()


@contextlib.contextmanager
def as_sentence(subject: object, what: str) -> Iterator[None]:
    """Put the subject before a PictureError, and turn what the libraries raise into one."""
    try:
        yield
    except PictureError as error:
        raise PictureError(f"{subject}: {error}") from error.__cause__
    # what Python, Pillow (also SyntaxError and ValueError, for damaged headers) and libvips raise
    except (OSError, SyntaxError, ValueError, load().Error) as error:
        # libvips adds a line at each level; the last one that is not about bytes it tried says why
        lines = [
            line.strip() for line in (getattr(error, "strerror", None) or str(error)).split("\n")
        ]
        noise = ("unable to ", "source: ")
        reasons = [line for line in lines if line and not line.startswith(noise)]
        reason = _LOADER.sub("", reasons[-1]) if reasons else ""
        if isinstance(error, load().Error) and what == UNREAD:  # of no meaning to people
            reason = f"it is damaged or cut short ({reason})" if reason else ""
        reason = reason or "it is damaged or cut short"
        raise PictureError(f"{subject}: {what}: {reason}.") from error


def to_vips(samples: np.ndarray, kind: str = "") -> Any:
    """Samples h w c as a libvips image; kind is the interpretation where it is not gray or RGB.

    An array of `scratch` is read from its file, piece by piece, by what uses the image.
    """
    vips, wide = load(), samples.dtype == np.uint16
    gray, colour = ("grey16", "rgb16") if wide else ("b-w", "srgb")
    kind = kind or (gray if samples.shape[2] < 3 else colour)
    if isinstance(samples, np.memmap) and (stored := disk.stored(samples)) is not None:
        image = vips.Image.tiffload(str(stored), access="sequential")
    else:
        image = vips.Image.new_from_array(samples)
    return image.copy(interpretation=kind)


def with_profile(image: Any, icc: bytes | None) -> Any:
    """The image with a colour profile (or without, as it was)."""
    return image if icc is None else with_blobs(image, {"icc-profile-data": icc})


def with_blobs(image: Any, blobs: dict[str, bytes]) -> Any:
    """A copy of the image with fields of bytes, by the names of libvips."""
    image = image.copy()
    for name, value in blobs.items():
        image.set_type(load().GValue.blob_type, name, value)
    return image


def blob(image: Any, name: str) -> bytes | None:
    """A field of bytes, or None where the image has none of that name."""
    return image.get(name) if image.get_typeof(name) else None


def from_vips(image: Any) -> np.ndarray:
    """A libvips image as h w c; its own `numpy` has no third axis for one band."""
    return image.numpy().reshape(image.height, image.width, image.bands)


def to_srgb(image: Any) -> Any:
    """The image in sRGB, through its profile (libvips' own of CMYK where it has none)."""
    depth = 16 if image.format == "ushort" else 8
    fallback = {"input_profile": "cmyk"} if image.interpretation == "cmyk" else {}
    options = {"embedded": True, "intent": "relative", "black_point_compensation": True}
    return image.icc_transform("srgb", depth=depth, **options, **fallback)


def matching(icc: bytes | None, channels: int) -> bytes | None:
    """The profile if it is for that many channels (ICC.1, 7.2.6: data colour space)."""
    kind = b"GRAY" if channels < 3 else b"RGB "
    return icc if icc is not None and icc[16:20] == kind else None
