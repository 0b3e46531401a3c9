"""Formulas of colour, and PNG files that describe their colours, for the tests."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from atdsr.imaging import CodePoints, Picture, read
from helpers.pictures import chunk, noise, png

P3, PQ, HLG = CodePoints(12, 13), CodePoints(9, 16), CodePoints(9, 18)
XY = {  # red, green, blue; the white is D65 in all of them
    1: (0.64, 0.33, 0.30, 0.60, 0.15, 0.06),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
ADOBE = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
POINTS = [(12, 13), (9, 1), (9, 14), (9, 15), (1, 4), (1, 5), (1, 6), (1, 7), (12, 8), (1, 9)]
POINTS += [(9, 16), (12, 16), (1, 17), (9, 18), (12, 18)]
D65 = (0.3127, 0.3290)
GRID = np.stack(np.meshgrid(*[np.arange(0, 256, 51, dtype=np.uint8)] * 3), 3).reshape(1, -1, 3)


def to_xyz(xy: tuple[float, ...]) -> np.ndarray:
    """The matrix from linear RGB to XYZ."""
    columns = np.array([(x, y, 1 - x - y) for x, y in zip(xy[::2], xy[1::2], strict=True)]).T
    white = np.array([D65[0], D65[1], 1 - sum(D65)]) / D65[1]
    return columns * np.linalg.solve(columns, white)


def light(v: np.ndarray, transfer: int) -> np.ndarray:
    """Light of a display as parts of white, from the inverse of the formulas of H.273."""
    match transfer:
        case 1 | 6 | 14 | 15:
            return np.where(v < 0.081, v / 4.5, ((v + 0.0993) / 1.0993) ** (1 / 0.45))
        case 4:
            return v**2.2
        case 5:
            return v**2.8
        case 7:
            return np.where(v < 0.0913, v / 4, ((v + 0.1115) / 1.1115) ** (1 / 0.45))
        case 8:
            return v
        case 9:
            return np.where(v > 0, 10.0 ** (2 * v - 2), 0)
        case 13:
            return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
        case 16:
            m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
            p = v ** (1 / m2)
            return 10000 / 203 * (np.maximum(p - c1, 0) / (c2 - c3 * p)) ** (1 / m1)
        case 17:
            return 52.37 / 48 * v**2.6
        case _:
            a, b, c = 0.17883277, 0.28466892, 0.55991073
            e = np.where(v <= 0.5, v * v / 3, (np.exp((v - c) / a) + b) / 12)
            return 1000 / 203 * e**1.2


def srgb(samples: np.ndarray, matrix: np.ndarray, transfer: int) -> np.ndarray:
    """The sRGB of samples of 8 bits."""
    linear = light(samples / 255, transfer).clip(0, 1) @ matrix.T @ np.linalg.inv(to_xyz(XY[1])).T
    linear = linear.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return 255 * encoded


def by_lcms(samples: np.ndarray, icc: bytes | None) -> np.ndarray:
    """The sRGB of samples as LittleCMS makes it through a profile."""
    assert icc is not None
    image = Image.fromarray(samples.squeeze(2) if samples.shape[2] == 1 else samples)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    target = ImageCms.createProfile("sRGB")
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    made = ImageCms.profileToProfile(image, profile, target, intent, "RGB")
    assert made is not None
    return np.array(made)


def iccp(icc: bytes) -> bytes:
    return chunk(b"iCCP", b"x\0\0" + zlib.compress(icc))


def gama(number: int) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", number))


def chrm(xy: tuple[float, ...]) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(100_000 * value) for value in (*D65, *xy))))


def cicp(*numbers: int) -> bytes:
    return chunk(b"cICP", bytes(numbers))


def loaded(folder: Path, before: bytes = b"", after: bytes = b"", channels: int = 3) -> Picture:
    (folder / "in.png").write_bytes(png(noise(channels), before, after))
    return read(folder / "in.png")
