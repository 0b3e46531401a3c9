"""Colours that mean something: similar tokens look similar, and yet none looks like another.

Distances between colours are taken in OKLab (Ottosson, "A perceptual color space for image
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
_LIGHTNESS = (0.42, 0.9)  # what can be told apart on white, on black and on a photo
_CHROMA = (0.04, 0.17)  # neither gray nor glaring
_LATTICE = 25  # steps on each axis of RGB


def to_oklab(rgb: np.ndarray) -> Floats:
    """uint8 `... 3` in sRGB -> OKLab `... 3`."""
    encoded = np.asarray(rgb, np.float64) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T


def from_oklab(lab: Floats) -> NDArray[np.uint8]:
    """OKLab `... 3` -> uint8 `... 3` in sRGB, what lies outside of it clipped."""
    linear = (lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_LMS).T
    linear = linear.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (encoded * 255 + 0.5).astype(np.uint8)


def of_tokens(vectors: Floats, shares: Floats, lightness: Floats) -> NDArray[np.uint8]:
    """A colour for each token of a dictionary.

    The two main directions of the vectors become hue and saturation, the lightness stays what it
    is; each of the three is stretched so that it is filled evenly. Each token then takes the
    nearest of a set of colours that are far from each other; the largest token chooses first.

    Args:
        vectors: what makes tokens similar, `m d`.
        shares: how much of the picture belongs to each token, `m`, from 0 to 1. Tokens count by
            their shares, so that the colours serve the picture at hand.
        lightness: of the pixels that belong to each token, `m`.

    Returns:
        uint8 `m 3`, no two equal; the same for the same arguments.
    """
    palette = _spread(len(vectors))
    weights = np.sqrt(shares) + 1e-3
    wished = np.column_stack(
        [
            np.interp(_evened(lightness, weights), (-1, 1), _LIGHTNESS),
            _CHROMA[1] * _main_directions(vectors, weights),
        ]
    )
    colours = np.zeros((len(vectors), 3), np.uint8)
    lab = to_oklab(palette)
    for token in np.argsort(-shares, kind="stable"):
        nearest = ((lab - wished[token]) ** 2).sum(1).argmin()
        colours[token] = palette[nearest]
        lab[nearest] = np.inf
    return colours


def _main_directions(vectors: Floats, weights: Floats) -> Floats:
    """Vectors `m d` along their two main directions, evenly from -1 to 1 by weight, `m 2`."""
    centred = vectors - np.average(vectors, axis=0, weights=weights)
    _, _, directions = np.linalg.svd(centred * np.sqrt(weights)[:, None], full_matrices=False)
    directions = np.pad(directions, ((0, max(0, 2 - len(directions))), (0, 0)))[:2]
    # a direction is as good as its opposite: choose the one whose largest component is positive
    largest = directions[np.arange(2), np.abs(directions).argmax(1)]
    placed = centred @ (directions * np.where(largest < 0, -1, 1)[:, None]).T
    return np.column_stack([_evened(column, weights) for column in placed.T])


def _evened(values: Floats, weights: Floats) -> Floats:
    """Values in the same order, but spread from -1 to 1 so that each takes room by its weight."""
    order = np.argsort(values, kind="stable")
    upper = np.cumsum(weights[order])
    evened = np.empty_like(values)
    evened[order] = (2 * upper - weights[order]) / upper[-1] - 1
    return evened


def _spread(count: int) -> NDArray[np.uint8]:
    """So many clear colours, each as far from the ones before it as can be; uint8 `count 3`."""
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
    """An order of vectors `m d` in which neighbours are similar, `m`.

    It is the order along the second eigenvector of the graph Laplacian of their cosines
    (spectral seriation: Atkins, Boman and Hendrickson, 1998).
    """
    weights = (cosines(vectors) + 1) / 2
    laplacian = np.diag(weights.sum(1)) - weights
    _, eigenvectors = np.linalg.eigh(laplacian)
    second = eigenvectors[:, min(1, len(vectors) - 1)]
    return np.argsort(second * np.where(second[np.abs(second).argmax()] < 0, -1, 1), kind="stable")


def cosines(vectors: Floats) -> Floats:
    """Cosine of each pair of vectors `m d`, `m m`, from -1 to 1."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    return (unit @ unit.T).clip(-1, 1)


class Ramp:
    """Numbers to colours along a few stops, evenly in OKLab.

    Args:
        stops: colours uint8 `stops 3` for evenly spaced numbers from 0 to 1.
    """

    def __init__(self, *stops: tuple[int, int, int]) -> None:
        self._stops = to_oklab(np.array(stops))

    def __call__(self, values: Floats) -> NDArray[np.uint8]:
        """Numbers `...` in [0, 1] -> uint8 `... 3`."""
        places = np.linspace(0, 1, len(self._stops))
        return from_oklab(np.stack([np.interp(values, places, c) for c in self._stops.T], -1))


HEAT = Ramp((38, 20, 70), (130, 30, 110), (220, 60, 80), (250, 150, 50), (255, 240, 150))
"""From little (dark violet) to much (light yellow)."""

BALANCE = Ramp((25, 75, 155), (110, 165, 215), (248, 248, 246), (235, 145, 105), (165, 35, 45))
"""From -1 (blue) over 0 (white) to 1 (red), for numbers moved to [0, 1]."""
