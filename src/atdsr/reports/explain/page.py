"""The page that shows everything `explain` draws, in one file that needs nothing else."""

import base64
import io
import json
from collections.abc import Mapping
from importlib.resources import files

import numpy as np
from PIL import Image

from atdsr.base import escaping
from atdsr.reports import pages
from atdsr.reports.explain.pictures import View

_CAPTIONS = {
    "categories": (
        "Categories and what belongs to them",
        "The network keeps a dictionary of a few learned tokens, which stand for kinds of "
        "structure. Every pixel looks them up; the token it looks up most is its category. "
        "Similar tokens have similar colours, and light tokens light ones. The cut-outs are "
        "places that are full of the category. The network was never told what wood or fur is: "
        "categories are what it found useful.",
    ),
    "masks": (
        "The largest categories one by one",
        "The picture with nothing but the pixels of one category. A category need not be "
        "connected: pieces from all over the picture come together.",
    ),
    "attention": (
        "What one pixel attends to",
        "All pixels are sorted by category, row by row within one, and cut into runs of {group}. "
        "Pixels of one run attend to each other, however far apart they are: each takes in what "
        "it finds useful in the others. The ring marks the pixel that asks, here at {at}. A "
        "window, the usual way, would let it see only what is near.",
    ),
    "dictionary": (
        "The dictionary moves towards the picture",
        "How similar each pair of dictionary tokens is, from opposite (blue) over unrelated "
        "(white) to equal (red); the order is the same on all maps and puts similar tokens side "
        "by side. What was learned is the same for every picture. From layer to layer the tokens "
        "take in what the pixels that look them up have in common, so the maps after it are this "
        "picture's own.",
    ),
}


def page(
    view: View, sheets: Mapping[str, bytes], *, name: str, at: tuple[int, int], remark: str
) -> str:
    """The whole page as text.

    Args:
        view: the layer and the picture.
        sheets: PNG files by their names without suffix: those of `pictures`.
        name: of the picture's file.
        at: the pixel whose attention is shown, column and row in the file.
        remark: what a reader should know about the picture, such as that it was reduced.
    """
    package = files("atdsr.reports.explain")
    styles, script = ((package / f"explain.{kind}").read_text("utf-8") for kind in ("css", "js"))
    words = {"group": str(view.trace.runs.shape[1]), "at": f"{at[0]}, {at[1]}"}
    sections = "".join(
        f"<section><h2>{title}</h2><p>{text.format_map(words)}</p>"
        f'<figure><img alt="{title}" src="{pages.data_address(sheets[sheet], "image/png")}">'
        "</figure>"
        "</section>\n"
        for sheet, (title, text) in _CAPTIONS.items()
    )
    title = f"How the network sees {name}"
    return (
        pages.head(title, "atdsr explain", {}, styles=styles, script=script)
        + f'<p class="soft">Layer {view.trace.name}. {escaping.html(remark)}</p>\n'
        + f"{_explorer(view)}\n{sections}"
        # of a type that no browser runs, so that the page's policy is not about it
        + f'<script type="application/json" id="data">{_data(view)}</script>\n'
        + pages.end(script)
    )


def _explorer(view: View) -> str:
    """The picture to hover over, with what it takes."""
    height, width = view.photo.shape[:2]
    size = f'width="{width}" height="{height}"'
    hint = "Move over the picture, or along the tokens; click to hold on to a category."
    return f"""<section>
<div class="controls">
<fieldset><legend>what to show</legend>
<label><input type="radio" name="under" value="photo" checked>photo</label>
<label><input type="radio" name="under" value="both">both</label>
<label><input type="radio" name="under" value="map">categories</label>
</fieldset>
<label><input type="checkbox" id="run"> also show the run of the pixel</label>
</div>
<div class="explorer">
<div>
<div class="stage">
<img id="photo" alt="the picture" {size} src="{_webp(view.photo)}">
<img id="both" alt="" {size} style="visibility:hidden" src="{_webp(view.blend)}">
<canvas id="map" {size} style="visibility:hidden"></canvas>
<canvas id="overlay" {size}></canvas>
</div>
<p id="said" class="soft" aria-live="polite">{hint}</p>
<noscript><p>Highlighting needs JavaScript; the pictures below do not.</p></noscript>
</div>
<div id="tokens"></div>
</div>
</section>"""


def _data(view: View) -> str:
    """What the script needs, as JSON without anything that HTML would see as a tag."""
    height, width = view.photo.shape[:2]
    categories = view.trace.categories.cpu().numpy()
    counts = np.bincount(view.categories.ravel(), minlength=len(view.shares))
    data = {
        "width": width,
        "height": height,
        "gridWidth": categories.shape[1],
        "group": view.trace.runs.shape[1],
        "categories": base64.b64encode(categories.astype("<u2").tobytes()).decode(),
        "colours": view.colours.tolist(),
        "counts": counts.tolist(),
        "largest": view.largest,
    }
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _webp(samples: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(samples).save(file, "WEBP", quality=92)
    return pages.data_address(file.getvalue(), "image/webp")
