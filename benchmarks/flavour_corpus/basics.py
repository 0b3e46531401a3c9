"""What all files of the corpus are made of: samples, metadata, and the colours they mean."""

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyvips
from PIL import Image, ImageCms

CARRIERS = ("png", "jpg", "webp", "tiff", "avif", "jxl")
"""Formats that hold metadata and a description of colour."""

PROBE = (64, 128, 192)
"""The colour of flat pictures of which a flavour states how they look."""

P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.3127, 0.3290))
"""CIE x and y of Display P3's red, green, blue and white."""

# how samples lie in a file whose EXIF says so, from how they are shown
LAID = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: lambda a: np.rot90(a, -1),
}


@dataclass(frozen=True)
class Flavour:
    """A kind of picture file.

    Attributes:
        name: what it is, the format first.
        suffix: of the file.
        data: its content.
        frames: the samples that a faithful reader finds, h w c of uint8 or uint16, upright; what
            is fully transparent has the colour of what is seen beside it.
        near: how far a sample may be from that, in its own unit; 0 where decoders must agree.
        others: formats to write beside its own.
        own: whether its own format, or PNG where that is not written, can hold what is in it.
        looks: of a flat picture of `PROBE` whose file does not mean sRGB: that colour in sRGB.
    """

    name: str
    suffix: str
    data: bytes
    frames: tuple[np.ndarray, ...]
    near: int = 0
    others: tuple[str, ...] = ("png",)
    own: bool = True
    looks: tuple[int, ...] | None = None


# --------------------------------------------------------------------------------------- samples


def noise(channels: int, dtype: type = np.uint8, h: int = 9, w: int = 14) -> np.ndarray:
    """Samples of every value, but never fully transparent: what is not seen may change."""
    high = np.iinfo(dtype).max
    samples = np.random.default_rng(channels).integers(0, high, (h, w, channels), dtype, True)
    if channels in (2, 4):
        samples[..., -1] |= 1
    return samples


def smooth(channels: int, h: int = 24, w: int = 32) -> np.ndarray:
    """A picture that lossy formats keep."""
    y, x = np.mgrid[:h, :w]
    planes = [128 + 100 * np.sin(x / 17 + k) * np.cos(y / 13 - k) for k in range(channels)]
    return np.stack(planes, 2).round().astype(np.uint8)


def flat() -> np.ndarray:
    """The probe's colour everywhere."""
    return np.full((8, 8, 3), PROBE, np.uint8)


def sprite() -> np.ndarray:
    """A white square on transparent black."""
    samples = np.zeros((12, 12, 4), np.uint8)
    samples[3:9, 3:9] = 255
    return samples


SHOWN_SPRITE = sprite() | np.array([255, 255, 255, 0], np.uint8)
"""What a faithful reader makes of it: nobody sees the black."""


def full_range(samples: np.ndarray, bits: int) -> np.ndarray:
    """Samples of a depth over all of 8 or 16 bits, half up."""
    top, white = 2**bits - 1, 255 if bits <= 8 else 65535
    spread = (2 * samples.astype(object) * white + top) // (2 * top)
    return spread.astype(np.uint8 if bits <= 8 else np.uint16)


def animation(channels: int) -> list[np.ndarray]:
    """Three frames, so small that a palette holds what becomes of them.

    With alpha they are of one colour each, partly transparent, so that what continues into the
    transparent part is known.
    """
    if channels == 3:
        return [noise(3, h=5, w=6) // (n + 1) for n in range(3)]
    frames = np.zeros((3, 5, 6, 4), np.uint8)
    for n, frame in enumerate(frames):
        frame[..., :3] = (200, 100 - 30 * n, 40 * n)
        frame[1:4, n : n + 3, 3] = 255
    return list(frames)


# --------------------------------------------------------------------------------- files of Pillow


def image(samples: np.ndarray) -> Image.Image:
    """The same as Pillow has it."""
    return Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """What Pillow writes."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def moving(kind: str, frames: Sequence[np.ndarray], **options: Any) -> bytes:
    """An animation as Pillow writes it."""
    first, *others = map(image, frames)
    many = {"save_all": True, "append_images": others, "duration": [40, 100, 250], "loop": 0}
    return saved(first, kind, **many, **options)


def lossy(name: str, suffix: str, data: bytes, near: int = 2) -> Flavour:
    """A file that only a decoder can tell the samples of: Pillow's."""
    with Image.open(io.BytesIO(data)) as opened:
        samples = np.asarray(opened).copy()
    return Flavour(name, suffix, data, (samples.reshape(*samples.shape[:2], -1),), near)


def carried(flavour: Flavour) -> Flavour:
    """A flavour whose metadata or colour has to reach all formats that hold such."""
    return replace(flavour, others=CARRIERS)


# ------------------------------------------------------------------------------------ what is said


def exif(orientation: int = 1) -> Image.Exif:
    """An author, a date, a size in pixels and how the picture lies."""
    said, inner = Image.Exif(), {0x9003: "2024:01:02 03:04:05", 0xA002: 32, 0xA003: 24}
    said.update({0x0112: orientation, 0x013B: "Somebody", 0x8769: inner})
    return said


def exif_bytes(orientation: int = 1) -> bytes:
    """The same without JPEG's mark."""
    return exif(orientation).tobytes().removeprefix(b"Exif\0\0")


def xmp(attributes: str = "") -> bytes:
    """A packet of a creator, and more attributes of `tiff`, `GPano` or `GCamera`."""
    google = "http://ns.google.com/photos/1.0"
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        f'xmlns:GPano="{google}/panorama/" xmlns:GCamera="{google}/camera/" '
        f'dc:creator="Somebody" {attributes}/></rdf:RDF></x:xmpmeta>'
    ).encode()


XMP = xmp()
XMP_LAID = xmp('tiff:Orientation="6"')
XMP_LAID_BACK = xmp('tiff:Orientation="8"')
PANORAMA = xmp(
    'GPano:FullPanoWidthPixels="64" GPano:FullPanoHeightPixels="48" '
    'GPano:CroppedAreaImageWidthPixels="32" GPano:CroppedAreaImageHeightPixels="24" '
    'GPano:CroppedAreaLeftPixels="5" GPano:CroppedAreaTopPixels="7" '
    'GCamera:MicroVideo="1" GCamera:MicroVideoOffset="12345"'
)
"""XMP of sizes, which grow, and of a place in the old file, which has to go."""


# --------------------------------------------------------------------------------------- colours


def xyz(chromaticities: Sequence[tuple[float, float]]) -> np.ndarray:
    """The matrix from linear red, green and blue to XYZ, by SMPTE RP 177."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in chromaticities]).T
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])


def look(chromaticities: Sequence[tuple[float, float]], gamma: float | None) -> tuple[int, ...]:
    """`PROBE` of other primaries of white D65, and of a gamma or sRGB's curve, in sRGB."""
    bt709 = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), (0.3127, 0.3290))
    v = np.array(PROBE) / 255
    curve = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    light = v**gamma if gamma else curve
    light = np.linalg.solve(xyz(bt709), xyz(chromaticities) @ light).clip(0, 1)
    shown = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return tuple(np.rint(255 * shown).astype(int).tolist())


def profile(gamma: float) -> bytes:
    """An ICC profile, version 2, of sRGB's primaries (for D50) and a gamma."""
    colorants = ((0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
    points = {b"wtpt": (0.9642, 1.0, 0.8249)}
    points |= dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants, strict=True))
    contents = {
        name: b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * v) for v in values))
        for name, values in points.items()
    }
    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(256 * gamma))
    contents |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    contents[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"g\0" + bytes(78)
    contents[b"cprt"] = b"text\0\0\0\0none\0\0\0\0"
    table, body, at = struct.pack(">I", len(contents)), b"", 132 + 12 * len(contents)
    for name, content in contents.items():
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content
    head = struct.pack(">I4xI", at + len(body), 0x02100000) + b"mntrRGB XYZ "
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp"
    head = head.ljust(68, b"\0") + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    return head.ljust(128, b"\0") + table + body


PROFILE = profile(1.8)


def cmyk_profile() -> bytes:
    """The one that libvips brings for CMYK."""
    return bytes(pyvips.Operation.call("profile_load", "cmyk"))


def shown_inks(inks: Image.Image) -> np.ndarray:
    """CMYK in sRGB, by LittleCMS."""
    shown = ImageCms.profileToProfile(
        inks,
        io.BytesIO(cmyk_profile()),
        ImageCms.createProfile("sRGB"),
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        "RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert shown is not None
    return np.asarray(shown)


def said() -> dict[str, dict[str, Any]]:
    """What Pillow can put into most formats, as options of `saved`."""
    return {
        "profile": {"icc_profile": PROFILE},
        "EXIF": {"exif": exif()},
        "XMP": {"xmp": XMP},
        "panorama": {"xmp": PANORAMA},
    }
