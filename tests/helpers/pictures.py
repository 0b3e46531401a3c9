"""Pictures, colour profiles and picture files for tests."""

import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image, ImageCms

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def gray_profile() -> bytes:
    """A minimal ICC v2 profile for gray of gamma 2.2: white point and tone curve."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(2.2 * 256))
    tags = struct.pack(">I", 2)
    tags += b"wtpt" + struct.pack(">II", 156, len(white))
    tags += b"kTRC" + struct.pack(">II", 156 + len(white), len(curve))
    body = tags + white + curve
    header = struct.pack(">I4sI", 128 + len(body), b"\0\0\0\0", 0x02100000) + b"mntrGRAYXYZ "
    header += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp"
    header = header.ljust(68, b"\0") + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    return header.ljust(128, b"\0") + body


def noise(
    channels: int = 3, dtype: type = np.uint8, h: int = 23, w: int = 37, seed: int = 0
) -> np.ndarray:
    """Return `h w c` samples, uniform over the range of an integer type."""
    high = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, high, (h, w, channels), dtype, endpoint=True)


def smooth(channels: int, h: int = 40, w: int = 56) -> np.ndarray:
    """Return `h w c` samples that lossy formats keep nearly as they are."""
    y, x = np.mgrid[0:h, 0:w]
    planes = [128 + 100 * np.sin(x / 17 + k) * np.cos(y / 13 - k) for k in range(channels)]
    return np.stack(planes, 2).round().astype(np.uint8)


def saved(image: Image.Image, path: Path, **options) -> Path:
    image.save(path, **options)
    return path


def encoded(name: str) -> bytes:
    samples = noise(3, h=64, w=64)
    if name == "jxl":
        return bytes(imagecodecs.jpegxl_encode(samples, lossless=True))
    file = io.BytesIO()
    form = {"jpg": "JPEG", "tiff": "TIFF", "jp2": "JPEG2000"}.get(name, name.upper())
    Image.fromarray(samples).save(file, form)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(samples: np.ndarray, before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG file of gray, RGB or RGBA of 8 or 16 bits, with chunks before and behind its pixels."""
    h, w, channels = samples.shape
    bits = 8 * samples.dtype.itemsize
    head = struct.pack(">IIBBBBB", w, h, bits, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(
        b"\0" + row.tobytes() for row in samples.astype(samples.dtype.newbyteorder(">"))
    )
    parts = (chunk(b"IHDR", head), before, chunk(b"IDAT", zlib.compress(rows)), after)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def chunks_in(data: bytes) -> dict[bytes, bytes]:
    """The chunks of a PNG file in their order; of several of one name the last."""
    found, at = {}, 8
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        found[name] = data[at + 8 : at + 8 + size]
        at += 12 + size
    return found
