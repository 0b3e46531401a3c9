"""Pictures of the mechanism from a person's own photo: categories, attention, dictionary.

`trace` records what one layer did, `figures` draws it with the colours of `colours`, and `page`
puts everything into one page for a browser.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atdsr import imaging
from atdsr.base import memory, units
from atdsr.base.files import atomic_write_all, check_target
from atdsr.base.reporter import SILENT, Reporter
from atdsr.imaging import montage, resample
from atdsr.inference.upscaler import Upscaler
from atdsr.network.model import ATD
from atdsr.reports.explain import figures
from atdsr.reports.explain.figures import View
from atdsr.reports.explain.page import page
from atdsr.reports.explain.trace import ExplainError, check_layer, record

__all__ = ["FIGURES", "MAX_SIDE", "ExplainError", "Explanation", "run"]

MAX_SIDE = 512
"""Pixels of the longer side to which a larger picture is reduced by default."""

FIGURES = ("categories", "masks", "attention", "dictionary")
"""Names, without their suffix, of the PNG files that are written beside `index.html`."""


@dataclass(frozen=True)
class Explanation:
    """What was explained, and the files that show it.

    Attributes:
        layer: The layer that was looked into, `BLOCK.LAYER`, both counted from 0.
        at: Column and row, in the file's picture, of the pixel whose attention is shown.
        size: Width and height of the picture that the network saw.
        reduced: Whether that is smaller than the picture in the file.
        files: Files that were written, the page last.
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
    name: str | None = None,
    reporter: Reporter = SILENT,
) -> Explanation:
    """Look into one layer while the network works on a picture, and draw what happens there.

    Args:
        upscaler: Upscaler whose network is looked into. The picture is always enlarged as a
            whole, in the type of the weights.
        source: File of the picture. Its colours are shown as they are in the file, and its
            transparency is ignored.
        folder: Folder to write to; it is made if there is none.
        layer: `BLOCK.LAYER`, both counted from 0; None chooses the layer whose category map has
            the most structure (`trace.structure`).
        at: Column and row of the pixel whose attention is shown; None chooses the pixel that
            attends most to what looks like it and is far away (`View.most_telling_pixel`).
        max_side: Longer side in pixels to which a larger picture is reduced.
        overwrite: Whether existing files may be replaced.
        name: What the page calls the picture; None is the name of its file.
        reporter: Receives the progress of the network.

    Raises:
        ExplainError: There is no such layer, the place is outside the picture, or the picture is
            too large for the memory or would be overwritten.
        PictureError: The picture cannot be read.
        FileError: The files cannot be written, or exist; then none is written.
    """
    model = upscaler.model
    if not isinstance(model, ATD):
        raise ExplainError(
            f"{model.path} is an ONNX file, whose layers cannot be seen; name the weights."
        )
    targets = [*(folder / f"{name}.png" for name in FIGURES), folder / "index.html"]
    if layer is not None:
        check_layer(model, layer)
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
    weights = next(model.parameters())
    image = imaging.to_tensor(photo).to(weights.device, weights.dtype)
    view = View(record(model, image, layer, reporter.progress), photo)
    place = view.most_telling_pixel() if at is None else _moved(at, (width, height), seen)
    place_in_file = at or _moved(place, seen, (width, height))
    encoded = _draw(view, place)
    with montage.drawn_in(montage.DARK):
        dark = _draw(view, place)
    remark = _remark((width, height), seen)
    html = page(view, encoded, dark, name=name or source.name, at=place_in_file, remark=remark)
    with atomic_write_all(targets, overwrite=overwrite) as temporary:
        for path, data in zip(temporary, [*encoded.values(), html], strict=True):
            path.write_bytes(data)
    return Explanation(
        view.trace.name, place_in_file, seen, seen != (width, height), tuple(targets)
    )


def _draw(view: View, place: tuple[int, int]) -> dict[str, bytes]:
    """Return the figures as PNG files by name, in the colours of the current palette."""
    images = (
        figures.categories(view),
        figures.masks(view),
        figures.attention(view, *place),
        figures.dictionary(view),
    )
    return {name: _png(image) for name, image in zip(FIGURES, images, strict=True)}


def _check_targets(targets: Sequence[Path], source: Path, overwrite: bool) -> None:
    for target in targets:
        check_target(target, overwrite=overwrite)
        if target.exists() and source.exists() and target.samefile(source):
            raise ExplainError(f"{source} would be overwritten; name another folder with -o.")


def _photo(samples: np.ndarray, max_side: int) -> NDArray[np.uint8]:
    """Return the picture that the network sees: uint8 RGB `h w 3`, without alpha."""
    colour, _ = imaging.split_alpha(samples)
    height, width = colour.shape[:2]
    longer = max(height, width)
    if longer > max_side:
        short = [max(1, round(side * max_side / longer)) for side in (height, width)]
        colour = resample.resize(colour, *short)
    return imaging.replicate_gray(imaging.to_uint8(colour))


def _moved(place: tuple[int, int], size: tuple[int, int], to: tuple[int, int]) -> tuple[int, int]:
    """Return the pixel of a resized picture that holds the centre of a pixel of the original."""
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


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
