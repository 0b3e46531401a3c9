"""Pictures of the mechanism from a person's own photo: categories, attention, dictionary.

The way through: `trace` records what one layer did, `pictures` draws it with the colours of
`colours` on sheets, `page` puts all into one page to look at in a browser.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atdsr import imaging
from atdsr.base import memory, units
from atdsr.base.files import atomic_write_all, check_target
from atdsr.imaging import resample
from atdsr.inference.upscaler import Upscaler
from atdsr.reports.explain import pictures
from atdsr.reports.explain.page import page
from atdsr.reports.explain.pictures import View
from atdsr.reports.explain.trace import ExplainError, check_layer, record

__all__ = ["MAX_SIDE", "SHEETS", "ExplainError", "Explanation", "run"]

MAX_SIDE = 512
"""Pixels of the longer side to which a larger picture is reduced by default."""

SHEETS = ("categories", "masks", "attention", "dictionary")
"""The PNG files that are written, without their suffix, beside `index.html`."""


@dataclass(frozen=True)
class Explanation:
    """What was explained, and where it is.

    Attributes:
        layer: the layer that was looked into, `BLOCK.LAYER`, both counted from 0.
        at: column and row, in the file's picture, of the pixel whose attention is shown.
        size: width and height of the picture that the network saw.
        reduced: whether that is less than the file's.
        files: what was written, the page last.
    """

    layer: str
    at: tuple[int, int]
    size: tuple[int, int]
    reduced: bool
    files: tuple[Path, ...]


def run(
    upscaler: Upscaler,
    source: Path,
    folder: Path,
    *,
    layer: str | None = None,
    at: tuple[int, int] | None = None,
    max_side: int = MAX_SIDE,
    overwrite: bool = False,
    progress: Callable[[float], None] = lambda _: None,
) -> Explanation:
    """Look into one layer while the network works on a picture, and write what is seen there.

    Args:
        upscaler: whose network to look into; always as a whole picture, in its weights' type.
        source: the picture's file; colours are shown as they are in it, transparency is ignored.
        folder: where to write; made if need be.
        layer: `BLOCK.LAYER`, both counted from 0; None is the one whose category map has the most
            structure (`trace.structure`).
        at: column and row of the pixel whose attention is shown; None is the one that attends
            most to what looks like it and is far away (`View.most_telling_place`).
        max_side: reduce a picture whose longer side is longer.
        overwrite: whether existing files may be replaced.
        progress: called with the share of the network's work that is done, from 0 to 1.

    Raises:
        ExplainError: no such layer, a place outside the picture, a picture that is too large for
            the memory or that would be overwritten.
        PictureError: the picture cannot be read.
        FileError: the files cannot be written, or exist; then none is written.
    """
    targets = [*(folder / f"{sheet}.png" for sheet in SHEETS), folder / "index.html"]
    if layer is not None:
        check_layer(upscaler.model, layer)
    _check_targets(targets, source, overwrite)
    samples = imaging.read(source).samples
    height, width = samples.shape[:2]
    if at is not None and not (0 <= at[0] < width and 0 <= at[1] < height):
        raise ExplainError(
            f"the place {at[0]},{at[1]} is outside {source}, which is {width}x{height}; columns "
            f"are 0 to {width - 1}, rows 0 to {height - 1}."
        )
    photo = _photo(samples, max_side)
    seen = photo.shape[1::-1]
    _check_memory(upscaler, source, seen)
    weights = next(upscaler.model.parameters())
    image = imaging.to_tensor(photo).to(weights.device, weights.dtype)
    view = View(record(upscaler.model, image, layer, progress), photo)
    place = view.most_telling_place() if at is None else _moved(at, (width, height), seen)
    asked = at or _moved(place, seen, (width, height))
    sheets = {
        "categories": pictures.categories(view),
        "masks": pictures.masks(view),
        "attention": pictures.attention(view, *place),
        "dictionary": pictures.dictionary(view),
    }
    encoded = {name: _png(sheet) for name, sheet in sheets.items()}
    html = page(view, encoded, name=source.name, at=asked, remark=_remark((width, height), seen))
    with atomic_write_all(targets, overwrite=overwrite) as names:
        for name, content in zip(names, [*encoded.values(), html.encode()], strict=True):
            name.write_bytes(content)
    return Explanation(view.trace.name, asked, seen, seen != (width, height), tuple(targets))


def _check_targets(targets: Sequence[Path], source: Path, overwrite: bool) -> None:
    for target in targets:
        check_target(target, overwrite=overwrite)
        if target.exists() and source.exists() and target.samefile(source):
            raise ExplainError(f"{source} would be overwritten; name another folder with -o.")


def _photo(samples: np.ndarray, max_side: int) -> NDArray[np.uint8]:
    """What the network shall see: uint8 RGB `h w 3`, reduced if need be, without alpha."""
    colour, _ = imaging.split_alpha(samples)
    height, width = colour.shape[:2]
    longer = max(height, width)
    if longer > max_side:
        short = [max(1, round(side * max_side / longer)) for side in (height, width)]
        colour = resample.resize(colour, *short)
    return imaging.replicate_gray(imaging.to_uint8(colour))


def _moved(place: tuple[int, int], size: tuple[int, int], to: tuple[int, int]) -> tuple[int, int]:
    """A pixel of a picture of one size in the same picture of another, by its centre."""
    x, y = (int((p + 0.5) * new / old) for p, old, new in zip(place, size, to, strict=True))
    return x, y


def _check_memory(upscaler: Upscaler, source: Path, size: tuple[int, int]) -> None:
    need, free = upscaler.estimate(size[1], size[0]), memory.available_bytes()
    if upscaler.device.type == "cpu" and need > free:
        raise ExplainError(
            f"{source}: {size[0]}x{size[1]} takes about {units.byte_size(need)} of memory where "
            f"{units.byte_size(free)} are free; give a smaller --max-side."
        )


def _remark(size: tuple[int, int], seen: tuple[int, int]) -> str:
    shown = f"The network saw {seen[0]} x {seen[1]} pixels"
    if size == seen:
        return f"{shown}."
    return f"{shown}; the file's {size[0]} x {size[1]} were reduced to that first."


def _png(sheet: Image.Image) -> bytes:
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()
