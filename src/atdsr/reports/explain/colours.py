"""Colours for dictionary tokens: similar tokens get similar colours, and no two the same.

Distances between colours are measured in OKLab (Ottosson, "A perceptual color space for image
processing", 2020), where equal distances look about equally large. L is lightness from 0 to 1, a
goes from green to red, b from blue to yellow.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_LIGHTNESS = (0.42, 0.9)  # range that stands out from white, from black and from a photo
_CHROMA = (0.04, 0.17)  # range between gray and glaring
_LATTICE = 25  # steps on each axis of RGB


def to_oklab(rgb: np.ndarray) -> Floats:
    """Convert sRGB uint8 `... 3` to OKLab `... 3`."""
    encoded = np.asarray(rgb, np.float64) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T


def from_oklab(lab: Floats) -> NDArray[np.uint8]:
    """Convert OKLab `... 3` to sRGB uint8 `... 3`; colours outside of sRGB are clipped."""
    linear = (lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_LMS).T
    linear = linear.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (encoded * 255 + 0.5).astype(np.uint8)


def token_colours(vectors: Floats, shares: Floats, lightness: Floats) -> NDArray[np.uint8]:
    """Return a colour for each token of a dictionary.

    The two principal directions of the vectors become hue and saturation, and the lightness stays
    what it is; each of the three is stretched so that its range is used evenly. Each token then
    takes the nearest of a set of colours that are far from each other, the largest token first.

    Args:
        vectors: Vectors that are similar for similar tokens, `m d`.
        shares: Share of the picture that belongs to each token, `m`, from 0 to 1. Tokens are
            weighted by their shares, so that the colours suit the picture at hand.
        lightness: Mean lightness of the pixels that belong to each token, `m`.

    Returns:
        Colours uint8 `m 3`, no two equal; the same for the same arguments.
    """
    palette = _distinct_colours(len(vectors))
    weights = np.sqrt(shares) + 1e-3
    wanted = np.column_stack(
        [
            np.interp(_evened(lightness, weights), (-1, 1), _LIGHTNESS),
            _CHROMA[1] * _principal_coordinates(vectors, weights),
        ]
    )
    colours = np.zeros((len(vectors), 3), np.uint8)
    lab = to_oklab(palette)
    for token in np.argsort(-shares, kind="stable"):
        nearest = ((lab - wanted[token]) ** 2).sum(1).argmin()
        colours[token] = palette[nearest]
        lab[nearest] = np.inf
    return colours


def _principal_coordinates(vectors: Floats, weights: Floats) -> Floats:
    """Project vectors `m d` on their two principal directions, evenly from -1 to 1, `m 2`."""
    centred = vectors - np.average(vectors, axis=0, weights=weights)
    _, _, directions = np.linalg.svd(centred * np.sqrt(weights)[:, None], full_matrices=False)
    directions = np.pad(directions, ((0, max(0, 2 - len(directions))), (0, 0)))[:2]
    # a direction is as good as its opposite: choose the one whose largest component is positive
    largest = directions[np.arange(2), np.abs(directions).argmax(1)]
    coordinates = centred @ (directions * np.where(largest < 0, -1, 1)[:, None]).T
    return np.column_stack([_evened(column, weights) for column in coordinates.T])


def _evened(values: Floats, weights: Floats) -> Floats:
    """Spread values over -1 to 1 in the same order, each over a length by its weight."""
    order = np.argsort(values, kind="stable")
    upper = np.cumsum(weights[order])
    evened = np.empty_like(values)
    evened[order] = (2 * upper - weights[order]) / upper[-1] - 1
    return evened


def _distinct_colours(count: int) -> NDArray[np.uint8]:
    """Return clear colours uint8 `count 3`, each as far from those before it as possible."""
    axis = np.linspace(0, 255, _LATTICE).round()
    rgb = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    lab = to_oklab(rgb)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    clear = _between(chroma, _CHROMA) & _between(lab[:, 0], _LIGHTNESS)
    rgb, lab, chroma = rgb[clear], lab[clear], chroma[clear]
    chosen = [int(chroma.argmax())]
    distance = ((lab - lab[chosen[0]]) ** 2).sum(1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, ((lab - lab[chosen[-1]]) ** 2).sum(1))
    return rgb[chosen].astype(np.uint8)


def _between(values: Floats, limits: tuple[float, float]) -> NDArray[np.bool_]:
    return (values >= limits[0]) & (values <= limits[1])


def by_similarity(vectors: Floats) -> NDArray[np.intp]:
    """Return an order of vectors `m d` in which neighbours are similar, `m`.

    It is the order along the second eigenvector of the graph Laplacian of their cosines
    (spectral seriation: Atkins, Boman and Hendrickson, 1998).
    """
    weights = (cosines(vectors) + 1) / 2
    laplacian = np.diag(weights.sum(1)) - weights
    _, eigenvectors = np.linalg.eigh(laplacian)
    second = eigenvectors[:, min(1, len(vectors) - 1)]
    return np.argsort(second * np.where(second[np.abs(second).argmax()] < 0, -1, 1), kind="stable")


def cosines(vectors: Floats) -> Floats:
    """Return the cosine of each pair of vectors `m d` as `m m`, from -1 to 1."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    return (unit @ unit.T).clip(-1, 1)


class ColourMap:
    """A colour map: numbers become colours between a few stops, evenly in OKLab.

    Args:
        stops: RGB colours for evenly spaced numbers from 0 to 1.
    """

    def __init__(self, *stops: tuple[int, int, int]) -> None:
        self._stops = to_oklab(np.array(stops))

    def __call__(self, values: Floats) -> NDArray[np.uint8]:
        """Convert numbers `...` in [0, 1] to colours uint8 `... 3`."""
        at = np.linspace(0, 1, len(self._stops))
        return from_oklab(np.stack([np.interp(values, at, c) for c in self._stops.T], -1))


HEAT = ColourMap((38, 20, 70), (130, 30, 110), (220, 60, 80), (250, 150, 50), (255, 240, 150))
"""From little (dark violet) to much (light yellow)."""

BALANCE = ColourMap((25, 75, 155), (110, 165, 215), (248, 248, 246), (235, 145, 105), (165, 35, 45))
"""From -1 (blue) over 0 (white) to 1 (red), for numbers moved to [0, 1]."""
