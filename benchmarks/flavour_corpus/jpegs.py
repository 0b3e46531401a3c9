"""JPEG and MPO: subsampling, scans, gray, CMYK, metadata segments."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from flavour_corpus.basics import (
    LAID,
    XMP_LAID,
    XMP_LAID_BACK,
    Flavour,
    carried,
    cmyk_profile,
    exif,
    flat,
    image,
    look,
    lossy,
    said,
    saved,
    shown_inks,
    smooth,
)


def _codings() -> Iterator[Flavour]:
    rgb = image(smooth(3))
    for what, options in (
        ("4:4:4", {"subsampling": 0}),
        ("progressive", {"subsampling": 0, "progressive": True}),
        ("restarts", {"subsampling": 0, "restart_marker_blocks": 1}),
        ("RGB inside", {"keep_rgb": True}),
    ):
        yield lossy(f"JPEG {what}", ".jpg", saved(rgb, "JPEG", quality=95, **options))
    for what, number in (("4:2:2", 1), ("4:2:0", 2)):  # decoders smooth colour in their own way
        yield lossy(f"JPEG {what}", ".jpg", saved(rgb, "JPEG", quality=95, subsampling=number), 8)
    yield lossy("JPEG gray", ".jpg", saved(image(smooth(1)), "JPEG", quality=95))
    second = image(255 - smooth(3))
    both = saved(rgb, "MPO", save_all=True, append_images=[second], quality=95, subsampling=0)
    with Image.open(io.BytesIO(both)) as opened:
        first = np.asarray(opened).copy()
    yield Flavour("MPO", ".mpo", both, (first,), near=2)


def _inks() -> Iterator[Flavour]:
    """CMYK through a profile of its own and through none, by LittleCMS."""
    inks = Image.fromarray(smooth(4) // 2, "CMYK")
    for what, options in (("", {}), (" with profile", {"icc_profile": cmyk_profile()})):
        data = saved(inks, "JPEG", quality=100, subsampling=0, **options)
        with Image.open(io.BytesIO(data)) as opened:
            shown = shown_inks(opened)
        yield Flavour(f"JPEG CMYK{what}", ".jpg", data, (shown,), near=4)


def _said() -> Iterator[Flavour]:
    rgb = image(smooth(3))
    for what, options in (said() | {"resolution": {"dpi": (300, 300)}}).items():
        data = saved(rgb, "JPEG", quality=95, subsampling=0, **options)
        yield carried(lossy(f"JPEG {what}", ".jpg", data))
    said_by_camera = exif()  # no space that EXIF has a number for, but the one of rule R03
    said_by_camera[0x8769] |= {0xA001: 0xFFFF, 0xA005: {1: "R03"}}
    data = saved(image(flat()), "JPEG", quality=100, subsampling=0, exif=said_by_camera)
    adobe = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), (0.3127, 0.3290))
    seen = look(adobe, 563 / 256)
    others = ("png", "webp", "gif")
    yield Flavour("JPEG Adobe RGB in EXIF", ".jpg", data, (flat(),), 2, others, looks=seen)
    for turn, laid in LAID.items():
        samples = np.ascontiguousarray(laid(smooth(3)))
        data = saved(image(samples), "JPEG", quality=95, subsampling=0, exif=exif(turn))
        yield Flavour(f"JPEG orientation {turn}", ".jpg", data, (smooth(3),), near=6)
    laid = image(np.ascontiguousarray(LAID[6](smooth(3))))
    data = saved(laid, "JPEG", quality=95, subsampling=0, xmp=XMP_LAID)
    yield Flavour("JPEG orientation in XMP", ".jpg", data, (smooth(3),), near=6)
    data = saved(laid, "JPEG", quality=95, subsampling=0, exif=exif(6), xmp=XMP_LAID_BACK)
    yield Flavour("JPEG orientation in EXIF and another in XMP", ".jpg", data, (smooth(3),), near=6)


FORMATS = (_codings, _inks, _said)
