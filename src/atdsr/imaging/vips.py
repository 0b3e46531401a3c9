"""libvips: loading it, its errors, samples in and out, and conversion through colour profiles."""

import contextlib
import os
import re
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from atdsr.base.errors import unreadable
from atdsr.imaging import memmap
from atdsr.imaging.picture import PictureError

UNREADABLE = "the picture cannot be read"
UNWRITABLE = "the picture cannot be written"
"""What `named_errors` says when a library gives no sentence of its own."""

_LOADER = re.compile(r"^(Vips\w+|vips\w+|\w+load_buffer): ")


def load() -> Any:
    """Return the pyvips module, loaded on first use so that a broken libvips is an error message.

    Raises:
        PictureError: It cannot be loaded, or this process was forked after loading it.
    """
    try:
        os.environ.setdefault("VIPS_WARNING", "off")  # any value; libvips drops them itself then
        import pyvips

        _remove_log_handler()
    except (ImportError, OSError) as error:
        raise PictureError(
            f"pyvips cannot be loaded ({error}); install it with: pip install 'pyvips[binary]'."
        ) from error
    if _loading_process() != os.getpid():  # libvips would wait for threads that are not here
        raise PictureError(
            "this process was forked from one that had read or written pictures already, so "
            "libvips would hang here; start processes with "
            "multiprocessing.get_context('spawn')."
        )
    return pyvips


@cache
def _remove_log_handler() -> None:
    """Remove the handler that brings warnings of libvips into Python.

    It runs Python inside GLib's log. If Python then collects an image that warns when it is
    closed, as damaged JPEG files do, GLib takes this for a recursion and ends the process.
    """
    import pyvips

    pyvips._remove_log_handler()


@cache
def _loading_process() -> int:
    """Return the process that asked first; the cache is copied into processes forked from it."""
    return os.getpid()


@contextlib.contextmanager
def named_errors(subject: object, failure: str) -> Iterator[None]:
    """Put the subject before a PictureError, and turn what the libraries raise into one.

    A PictureError keeps its class.

    Args:
        subject: Usually the path of the file.
        failure: `UNREADABLE`, `UNWRITABLE` or another clause that says what went wrong.
    """
    try:
        yield
    except PictureError as error:
        raise type(error)(f"{subject}: {error}") from error.__cause__
    # what Python, Pillow (also SyntaxError and ValueError, for damaged headers) and libvips raise
    except (OSError, SyntaxError, ValueError, load().Error) as error:
        if isinstance(error, FileNotFoundError | IsADirectoryError) and isinstance(subject, Path):
            raise PictureError(unreadable(subject, error)) from error
        # libvips adds a line at each level; the last one that is not about bytes it tried says why
        lines = [
            line.strip() for line in (getattr(error, "strerror", None) or str(error)).split("\n")
        ]
        noise = ("unable to ", "source: ")
        reasons = [line for line in lines if line and not line.startswith(noise)]
        reason = _LOADER.sub("", reasons[-1]) if reasons else ""
        if reason and isinstance(error, load().Error) and failure == UNREADABLE:
            reason = f"it is damaged or cut short ({reason})"  # libvips' words mean little alone
        reason = reason or "it is damaged or cut short"
        raise PictureError(f"{subject}: {failure}: {reason}.") from error


@contextlib.contextmanager
def decoder_errors() -> Iterator[None]:
    """Turn what Pillow, libheif and libjxl raise for damaged files, which varies, into one error.

    Warnings about odd metadata, which would reach the terminal, are dropped.

    Raises:
        PictureError: The libraries raised something else than a lack of memory.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (MemoryError, PictureError, load().Error):
        raise
    except Exception as error:
        reason = str(error).strip().rstrip(".").replace("\n", " ")
        raise PictureError(f"{UNREADABLE}: {reason}.") from error


def to_vips(samples: np.ndarray, interpretation: str = "") -> Any:
    """Return samples h w c as a libvips image.

    An array of `memmap.temporary_array` is read from its file, piece by piece, by whatever uses
    the image.

    Args:
        samples: uint8 or uint16.
        interpretation: What libvips calls the colour space, where it is not gray or RGB.
    """
    vips, wide = load(), samples.dtype == np.uint16
    gray, colour = ("grey16", "rgb16") if wide else ("b-w", "srgb")
    interpretation = interpretation or (gray if samples.shape[2] < 3 else colour)
    if isinstance(samples, np.memmap) and (path := memmap.tiff_file(samples)) is not None:
        image = vips.Image.tiffload(str(path), access="sequential")
    else:
        image = vips.Image.new_from_array(samples)
    return image.copy(interpretation=interpretation)


def with_profile(image: Any, icc: bytes | None) -> Any:
    """Return the image with a colour profile, or unchanged if there is none."""
    return image if icc is None else with_blobs(image, {"icc-profile-data": icc})


def with_blobs(image: Any, blobs: dict[str, bytes]) -> Any:
    """Return a copy of the image with fields of bytes, by libvips' names."""
    image = image.copy()
    for name, value in blobs.items():
        image.set_type(load().GValue.blob_type, name, value)
    return image


def blob(image: Any, name: str) -> bytes | None:
    """Return a field of bytes, or None where the image has none of that name."""
    return image.get(name) if image.get_typeof(name) else None


def from_vips(image: Any) -> np.ndarray:
    """Return a libvips image as h w c; its own `numpy` has no third axis for one band."""
    return image.numpy().reshape(image.height, image.width, image.bands)


def to_srgb(image: Any) -> Any:
    """Convert an image to sRGB through its profile (libvips' own of CMYK where it has none)."""
    depth = 16 if image.format == "ushort" else 8
    fallback = {"input_profile": "cmyk"} if image.interpretation == "cmyk" else {}
    options = {"embedded": True, "intent": "relative", "black_point_compensation": True}
    return image.icc_transform("srgb", depth=depth, **options, **fallback)


def matching_profile(icc: bytes | None, channels: int) -> bytes | None:
    """Return the profile if it is for that many channels (ICC.1, 7.2.6: data colour space)."""
    space = b"GRAY" if channels < 3 else b"RGB "
    return icc if icc is not None and icc[16:20] == space else None
