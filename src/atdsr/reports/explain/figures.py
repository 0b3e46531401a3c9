"""The figures that `explain` draws: categories, their masks, attention, the dictionary."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from atdsr.imaging import metrics, montage
from atdsr.imaging.montage import GAP, above, beside, captioned, enlarged, text
from atdsr.reports.explain import colours
from atdsr.reports.explain.colours import BALANCE, HEAT
from atdsr.reports.explain.trace import Attended, Trace

_PANEL = 520  # pixels that the longer side of a picture in a figure should have
_CUTOUT = 18  # pixels of the photo on each side of a cut-out
_CUTOUT_SHOWN = 72
_PATCH = 11  # side in pixels of the patch by which two places are compared
_PALE = 222  # gray behind the pixels of a mask
_LARGE_PANEL, _SMALL_PANEL, _WINDOW_PANEL = 820, 300, 390
_NEAR = 48  # side in pixels of what is shown around a window
_APART = 6  # pixels between the places whose cut-outs are shown, at least
_SHOWN_PLACES = 8
_BARS = (820, 120)  # width and height of the bar chart
_MARK = (90, 220, 255)  # colour of what marks the query
_LISTED = 12  # categories in the legend and in the figure of masks


@dataclass(frozen=True, eq=False)
class View:
    """What is drawn of a layer's trace and the picture that the network saw.

    Attributes:
        trace: Trace of the layer.
        photo: Picture that the network saw, uint8 `h w 3`.
    """

    trace: Trace
    photo: NDArray[np.uint8]

    @cached_property
    def categories(self) -> NDArray[np.intp]:
        """The dictionary token of each pixel, `h w`."""
        height, width = self.photo.shape[:2]
        return self.trace.categories[:height, :width].cpu().numpy()

    @cached_property
    def shares(self) -> colours.Floats:
        """The share of the picture that belongs to each token, `m`."""
        counts = np.bincount(self.categories.ravel(), minlength=self.trace.similarity.shape[1])
        return counts / self.categories.size

    @cached_property
    def largest(self) -> list[int]:
        """Tokens that some pixel looks up most, the largest category first."""
        order = np.argsort(-self.shares, kind="stable")
        return [int(token) for token in order if self.shares[token] > 0]

    @cached_property
    def similar(self) -> NDArray[np.intp]:
        """Tokens in an order in which neighbours have similar keys, `m`."""
        return colours.by_similarity(_numpy(self.trace.keys))

    @cached_property
    def colours(self) -> NDArray[np.uint8]:
        """A colour for each token, `m 3`."""
        lightness = colours.to_oklab(self.photo)[..., 0].ravel()
        sums = np.bincount(self.categories.ravel(), lightness, minlength=len(self.shares))
        means = sums / np.maximum(self.shares * self.categories.size, 1)
        return colours.token_colours(_numpy(self.trace.keys), self.shares, means)

    @cached_property
    def map(self) -> NDArray[np.uint8]:
        """Each pixel in the colour of its token, `h w 3`."""
        return self.colours[self.categories]

    @cached_property
    def blend(self) -> NDArray[np.uint8]:
        """The photo's light and shade in the colours of the map, `h w 3`."""
        mixed = colours.to_oklab(self.map)
        mixed[..., 0] = 0.3 * mixed[..., 0] + 0.7 * colours.to_oklab(self.photo)[..., 0]
        return colours.from_oklab(mixed)

    @cached_property
    def gray(self) -> NDArray[np.uint8]:
        """The photo without colour, `h w 3`."""
        return colours.from_oklab(colours.to_oklab(self.photo) * (1, 0, 0))

    def most_telling_pixel(self) -> tuple[int, int]:
        """Return column and row of the pixel whose category attention shows most.

        That is the pixel with the largest `Trace.alike_and_far`. How alike two pixels are is the
        correlation of the lightness in the patches around them.
        """
        lightness = colours.to_oklab(self.photo)[..., 0].astype(np.float32)
        padded = np.pad(lightness, _PATCH // 2, mode="edge")
        patches = sliding_window_view(padded, (_PATCH, _PATCH)).reshape(*lightness.shape, -1)
        patches = patches - patches.mean(-1, keepdims=True)
        # the constant keeps the noise of a flat place from looking like anything
        patches = patches / (np.linalg.norm(patches, axis=-1, keepdims=True) + 0.02 * _PATCH)
        likeness = self.trace.alike_and_far(torch.from_numpy(patches)).cpu().numpy()
        y, x = np.unravel_index(likeness.argmax(), likeness.shape)
        return int(x), int(y)


def _numpy(tensor: Tensor) -> colours.Floats:
    return tensor.cpu().double().numpy()


# --------------------------------------------------------------------------------- categories


def categories(view: View) -> Image.Image:
    """Draw the photo, its category map, both together, and a legend with cut-outs."""
    factor = montage.factor_for(view.photo, _PANEL)
    panels = [
        captioned(enlarged(view.photo, factor, smooth=True), "the picture as the network sees it"),
        captioned(
            enlarged(view.map, factor), f"the category of each pixel in layer {view.trace.name}"
        ),
        captioned(enlarged(view.blend, factor, smooth=True), "both together"),
    ]
    listed = view.largest[:_LISTED]
    rows = [_legend_row(view, token) for token in listed]
    half = -(-len(rows) // 2)
    columns = [above(column, 12) for column in (rows[:half], rows[half:]) if column]
    used, rest = len(view.largest), 1 - sum(view.shares[listed])
    title = (
        f"{used} of the {len(view.shares)} dictionary tokens are looked up most by some pixel. "
        f"The {len(listed)} largest categories, with places that belong to them"
        + (f" (the other {used - len(listed)} share {rest:.1%}):" if used > len(listed) else ":")
    )
    return montage.framed(above([beside(panels), text(title), beside(columns, 3 * GAP)], 26))


def _legend_row(view: View, token: int) -> Image.Image:
    """Draw a token's colour, its share, and places that belong to it."""
    swatch = Image.new("RGB", (_CUTOUT_SHOWN, _CUTOUT_SHOWN), tuple(view.colours[token].tolist()))
    name = above([text(f"token {token}"), text(f"{view.shares[token]:.1%}", 22)], 4)
    label = montage.blank(96, _CUTOUT_SHOWN)
    label.paste(name, (0, 10))
    places = _typical_places(view.categories == token, 7)
    return beside([swatch, label, *(_cutout(view.photo, x, y) for x, y in places)], 8)


def _typical_places(mask: NDArray[np.bool_], count: int) -> list[tuple[int, int]]:
    """Return the centres (column, row) of up to `count` cut-outs that lie apart and fill a mask."""
    full = _sums_around(mask.astype(np.int64)) * mask
    places = []
    while len(places) < count and full.any():
        y, x = (int(i) for i in np.unravel_index(full.argmax(), full.shape))
        places.append((x, y))
        full[max(0, y - _CUTOUT) : y + _CUTOUT, max(0, x - _CUTOUT) : x + _CUTOUT] = 0
    return places


def _sums_around(values: np.ndarray) -> np.ndarray:
    """Return the sums of values `h w` over the square around each place, with 0 outside, `h w`."""
    radius = _CUTOUT // 4
    side = 2 * radius + 1
    return metrics.window_sums(np.pad(values, radius), side, side)


def _cutout(photo: NDArray[np.uint8], x: int, y: int) -> Image.Image:
    """Return the surroundings of a pixel, magnified; at an edge the pixel is not in the middle."""
    height, width = photo.shape[:2]
    left = min(max(0, x - _CUTOUT // 2), max(0, width - _CUTOUT))
    top = min(max(0, y - _CUTOUT // 2), max(0, height - _CUTOUT))
    cutout = photo[top : top + _CUTOUT, left : left + _CUTOUT]
    factor = _CUTOUT_SHOWN / _CUTOUT
    size = (round(cutout.shape[1] * factor), round(cutout.shape[0] * factor))
    return Image.fromarray(cutout).resize(size, Image.Resampling.NEAREST)


def masks(view: View) -> Image.Image:
    """Draw, for each of the largest categories, the picture with nothing but its pixels."""
    factor = montage.factor_for(view.photo, _PANEL)
    pale = (0.12 * view.gray + 0.88 * _PALE).astype(np.uint8)
    panels = []
    for token in view.largest[:_LISTED]:
        masked = np.where((view.categories == token)[..., None], view.photo, pale)
        swatch = Image.new("RGB", (18, 18), tuple(view.colours[token].tolist()))
        title = beside([swatch, text(f"token {token}: {view.shares[token]:.1%}")], 8)
        panels.append(above([title, enlarged(masked, factor)], 6))
    return montage.framed(montage.in_rows(panels, 3))


# ---------------------------------------------------------------------------------- attention


def attention(view: View, x: int, y: int) -> Image.Image:
    """Draw what one pixel attends to in its category, in its window and in the dictionary.

    Args:
        view: The layer and the picture.
        x: Column of the pixel.
        y: Row of the pixel.
    """
    trace, token = view.trace, view.trace.token(x, y)
    category = _attended_pixels(trace, trace.category_attention(token))
    window = _attended_pixels(trace, trace.window_attention(token))
    large = captioned(
        _attention_map(view, (x, y), category, category.weights.mean(0), _LARGE_PANEL),
        f"category attention of the marked pixel in layer {trace.name}",
        _attention_summary(view, category, (x, y)),
    )
    heads = [
        captioned(_attention_map(view, (x, y), category, weights, _SMALL_PANEL), f"head {head}")
        for head, weights in enumerate(category.weights)
    ]
    near = captioned(
        _window(view, (x, y), window, _WINDOW_PANEL),
        "window attention of the same pixel, for contrast",
        "It sees the pixels of its window and no other.",
    )
    bars = captioned(
        _bars(view, _numpy(trace.similarity[token])),
        f"dictionary attention: how much it looks up each of the {len(view.shares)} tokens",
        "The longest bar is its category. Bars have the tokens' colours; neighbours are similar.",
    )
    left = above([large, _attended_places(view, (x, y), category), bars], 26)
    return montage.framed(beside([left, above([montage.in_rows(heads, 2), near], 26)], 2 * GAP))


@dataclass(frozen=True, eq=False)
class _AttendedPixels:
    """Attended tokens that lie in the picture: columns and rows `k`, weights `heads k`."""

    x: NDArray[np.intp]
    y: NDArray[np.intp]
    weights: colours.Floats


def _attended_pixels(trace: Trace, attended: Attended) -> _AttendedPixels:
    y, x = np.divmod(attended.tokens.cpu().numpy(), trace.grid[1])
    inside = (y < trace.height) & (x < trace.width)
    return _AttendedPixels(x[inside], y[inside], _numpy(attended.weights)[:, inside])


def _attention_summary(view: View, attended: _AttendedPixels, query: tuple[int, int]) -> str:
    """Return what the picture of the category attention shows, in numbers."""
    x, y = query
    mean = attended.weights.mean(0)
    own = view.categories[attended.y, attended.x] == view.categories[y, x]
    distances = np.hypot(attended.x - x, attended.y - y)
    outside = mean[distances > view.trace.layer.window.side].sum()
    return (
        f"Its run has {len(mean)} pixels here, {own.sum()} of them of its category (token "
        f"{view.categories[y, x]}), up to {distances.max():.0f} pixels away.\n"
        f"{outside:.0%} of its attention goes farther than the side of a window.\n"
        "Large and light is much attention (the mean over the heads); the ring is the pixel."
    )


def _attention_map(
    view: View,
    query: tuple[int, int],
    attended: _AttendedPixels,
    weights: colours.Floats,
    side: int,
) -> Image.Image:
    """Draw a dot for each attended pixel and a ring around the query on the photo in dark gray."""
    longer = max(view.photo.shape[:2])
    factor = 2 * side / longer  # twice the size at first, for smooth edges
    size = [max(2, round(length * factor)) for length in view.photo.shape[1::-1]]
    dark = Image.fromarray((view.gray * 0.7).astype(np.uint8))
    image = dark.resize((size[0], size[1]), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image, "RGBA")
    unit = longer * factor / 1000

    def at(x: int, y: int) -> tuple[float, float]:
        return (x + 0.5) * factor, (y + 0.5) * factor

    centres = [at(x, y) for x, y in zip(attended.x.tolist(), attended.y.tolist(), strict=True)]
    strength = weights / weights.max(initial=1e-12)
    order = np.argsort(strength, kind="stable")
    heat = HEAT(0.25 + 0.75 * np.sqrt(strength))
    for i in order:
        colour = (*heat[i].tolist(), round(170 * strength[i]))
        draw.line((at(*query), centres[i]), colour, max(1, round(1.6 * unit)))
    for i in order:
        radius = (2.2 + 6 * np.sqrt(strength[i])) * unit
        draw.circle(centres[i], radius, tuple(heat[i].tolist()))
    for radius, colour, width in ((15, (0, 0, 0), 6), (14, _MARK, 3)):
        draw.circle(at(*query), radius * unit, outline=colour, width=max(1, round(width * unit)))
    return image.resize((size[0] // 2, size[1] // 2), Image.Resampling.LANCZOS)


def _window(
    view: View, query: tuple[int, int], attended: _AttendedPixels, side: int
) -> Image.Image:
    """Draw the surroundings of the query, with its window in the colours of the weights."""
    left, top = (max(0, coordinate - _NEAR // 2) for coordinate in query)
    region = (view.gray * 0.7).astype(np.uint8)[top : top + _NEAR, left : left + _NEAR]
    weights = attended.weights.mean(0)
    x, y = attended.x - left, attended.y - top
    # a shifted window at the picture's edge has a part at the other edge, which it does not see
    near = (x >= 0) & (y >= 0) & (x < region.shape[1]) & (y < region.shape[0])
    region[y[near], x[near]] = HEAT(weights / weights.max())[near]
    image = enlarged(region, factor := montage.factor_for(region, side))
    x, y = (
        (coordinate - start) * factor for coordinate, start in zip(query, (left, top), strict=True)
    )
    draw = ImageDraw.Draw(image)
    draw.rectangle((x - 1, y - 1, x + factor, y + factor), outline=_MARK, width=2)
    return image


def _attended_places(view: View, query: tuple[int, int], attended: _AttendedPixels) -> Image.Image:
    """Draw cut-outs of the query and of what it attends to most, each with its share."""
    mean = attended.weights.mean(0)
    cutouts = [captioned(_cutout(view.photo, *query), "the pixel")]
    places = [query]
    for i in np.argsort(-mean, kind="stable"):
        x, y = int(attended.x[i]), int(attended.y[i])
        if all(max(abs(x - other[0]), abs(y - other[1])) >= _APART for other in places):
            places.append((x, y))
            cutouts.append(captioned(_cutout(view.photo, x, y), f"{mean[i]:.1%}"))
        if len(cutouts) > _SHOWN_PLACES:
            break
    return above(
        [text("its surroundings, and those of the pixels it attends to most"), beside(cutouts)], 8
    )


def _bars(view: View, weights: colours.Floats) -> Image.Image:
    """Draw a bar for each token of the dictionary, in the order of similarity."""
    step = max(6, _BARS[0] // len(weights))
    image = montage.blank(step * len(weights), _BARS[1] + 24)
    draw = ImageDraw.Draw(image)
    ground = image.height - 1
    for place, token in enumerate(view.similar):
        height = round(weights[token] / weights.max() * _BARS[1])
        left = place * step
        box = (left, ground - height, left + step - 3, ground)
        draw.rectangle(box, tuple(view.colours[token].tolist()))
        if token == weights.argmax():
            half = 32  # half the width of the label, which stays in the image
            middle = min(max(left + step // 2, half), max(half, image.width - half))
            name = f"token {token}"
            draw.text(
                (middle, ground - height - 3),
                name,
                montage.palette().ink,
                montage.font(14),
                anchor="mb",
            )
    draw.line((0, ground, image.width, ground), montage.palette().faint)
    return image


# --------------------------------------------------------------------------------- dictionary


def dictionary(view: View) -> Image.Image:
    """Draw the cosines of all pairs of dictionary tokens: learned, as looked up, and refined."""
    trace = view.trace
    block, layer = trace.name.split(".")
    order = colours.by_similarity(_numpy(trace.dictionary))
    maps = [_cosine_map(view, trace.learned, order, f"as learned (block {block})")]
    if int(layer) > 0:
        maps.append(
            _cosine_map(view, trace.dictionary, order, f"as layer {trace.name} looks it up")
        )
    if trace.refined is not None:
        maps.append(_cosine_map(view, trace.refined, order, f"as layer {trace.name} refines it"))
    return montage.framed(beside([*maps, _scale()], 2 * GAP))


def _cosine_map(view: View, tokens: Tensor, order: NDArray[np.intp], title: str) -> Image.Image:
    vectors = _numpy(tokens)[order]
    cosines = colours.cosines(vectors)
    factor = max(1, _PANEL // len(vectors))
    matrix = enlarged(BALANCE((cosines + 1) / 2), factor)
    stripe = enlarged(view.colours[order][None], factor).resize((matrix.width, 14))
    others = cosines[~np.eye(len(cosines), dtype=bool)]
    mean = round(others.mean(), 2) + 0 if others.size else 1  # + 0: never "-0.00"
    note = f"cosine of two tokens: {mean:.2f} on average"
    return captioned(above([stripe, matrix], 4), title, note)


def _scale() -> Image.Image:
    """Draw the colour bar of the cosines."""
    ramp = enlarged(BALANCE(np.linspace(1, 0, _PANEL // 2))[:, None], 2).resize((18, _PANEL))
    image = montage.blank(60, _PANEL + 56)
    image.paste(ramp, (0, 44))
    for value in (-1, -0.5, 0, 0.5, 1):
        height = 44 + (1 - value) / 2 * (_PANEL - 1)
        ImageDraw.Draw(image).text(
            (24, height), f"{value:g}", montage.palette().ink, montage.font(14), anchor="lm"
        )
    return image
