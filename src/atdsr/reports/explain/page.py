"""The page that shows everything `explain` draws, in one file that needs nothing else."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from atdsr.reports import html
from atdsr.reports.explain.figures import View


def page(
    view: View,
    figures: Mapping[str, bytes],
    dark: Mapping[str, bytes],
    *,
    name: str,
    at: tuple[int, int],
    remark: str,
) -> bytes:
    """Return the page as an HTML file.

    Args:
        view: The layer and the picture.
        figures: PNG files by name: `categories`, `masks`, `attention`, `dictionary`.
        dark: The same for dark screens.
        name: Name of the picture's file.
        at: Column and row, in the file, of the pixel whose attention is shown.
        remark: A sentence about the picture, such as that it was reduced.
    """
    height, width = view.photo.shape[:2]
    parts = html.render(
        "explain.html",
        name=name,
        layer=view.trace.name,
        remark=remark,
        width=width,
        height=height,
        photo=_webp(view.photo),
        blend=_webp(view.blend),
        group=view.trace.runs.shape[1],
        column=at[0],
        row=at[1],
        figures=_pngs(figures),
        dark=_pngs(dark),
        data=_data(view),
    )
    return b"".join(parts)


def _data(view: View) -> dict[str, Any]:
    """Return what `explain.js` reads."""
    height, width = view.photo.shape[:2]
    categories = view.trace.categories.cpu().numpy()
    counts = np.bincount(view.categories.ravel(), minlength=len(view.shares))
    return {
        "width": width,
        "height": height,
        "gridWidth": categories.shape[1],
        "group": view.trace.runs.shape[1],
        "categories": base64.b64encode(categories.astype("<u2").tobytes()).decode(),
        "colours": view.colours.tolist(),
        "counts": counts.tolist(),
        "largest": view.largest,
    }


def _pngs(figures: Mapping[str, bytes]) -> dict[str, str]:
    return {name: html.data_url(data, "image/png") for name, data in figures.items()}


def _webp(samples: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(samples).save(file, "WEBP", quality=92)
    return html.data_url(file.getvalue(), "image/webp")
