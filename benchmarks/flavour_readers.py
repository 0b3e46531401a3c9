"""Readers of picture files that are independent of atdsr's: samples, metadata and colour.

They are Pillow, imagecodecs, libheif and libjxl, and few lines each for TIFF and Netpbm of 16 bits.
"""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pillow_heif
import pyjpegxl
from PIL import Image, ImageSequence, UnidentifiedImageError

_SIZES = rb'GPano:\w+Pixels="(\d+)"'
_JXL_SRGB = ("sRGB", "Gra_D65_Rel_SRG")  # what libjxl calls what it made up
_SRGB = {(1, 13), (2, 2), (1, 2)}  # code points that say no more than nothing does


def read(path: Path) -> list[np.ndarray]:
    """The frames of a file, h w c, upright.

    Raises:
        ValueError: it is of no kind that atdsr writes.
    """
    data = path.read_bytes()
    if data[:4] in (b"II*\0", b"MM\0*"):
        return list(read_tiff(data))
    if data[:2] in (b"P5", b"P6"):
        return [_read_netpbm(data)]
    if path.suffix == ".jxl":
        return [_with_channels(imagecodecs.jpegxl_decode(data))]
    if path.suffix == ".jp2" and not _profile_of_jp2(data):  # which it would apply
        return [_with_channels(imagecodecs.jpeg2k_decode(data))]
    with Image.open(io.BytesIO(data)) as opened:
        if getattr(opened, "n_frames", 1) > 1:
            return [_with_channels(_coloured(frame)) for frame in ImageSequence.Iterator(opened)]
        if opened.format == "PNG":
            return [_with_channels(imagecodecs.png_decode(data))]
        if opened.format == "AVIF":
            return [_read_avif(data)]
        return [_with_channels(_coloured(opened))]


def _with_channels(array: np.ndarray) -> np.ndarray:
    return array.reshape(*array.shape[:2], -1)


def _coloured(frame: Image.Image) -> np.ndarray:
    if frame.mode == "P":
        frame = frame.convert("RGBA" if frame.has_transparency_data else "RGB")
    return np.array(frame)


def _read_avif(data: bytes) -> np.ndarray:
    """8 bits as they are, more over the full range of 16."""
    samples = _with_channels(imagecodecs.avif_decode(data))
    white = 2 ** data[data.find(b"pixi") + 9] - 1
    return samples if white == 255 else np.rint(samples * (65535 / white)).astype(np.uint16)


def _profile_of_jp2(data: bytes) -> bytes:
    at = data.find(b"colr")
    (size,) = struct.unpack_from(">I", data, at - 4)
    return data[at + 7 : at - 4 + size] if data[at + 4] == 2 else b""


def _read_netpbm(data: bytes) -> np.ndarray:
    """The samples of a PGM or PPM file as atdsr writes it."""
    kind, width, height, white = data.split(maxsplit=4)[:4]
    shape = int(height), int(width), 1 if kind == b"P5" else 3
    dtype = ">u2" if int(white) > 255 else "u1"
    body = data[-np.dtype(dtype).itemsize * int(np.prod(shape)) :]
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.replace(">", ""))


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG file: name and content."""
    at = 8
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        yield name, data[at + 8 : at + 8 + size]
        at += 12 + size


def read_tiff(data: bytes) -> Iterator[np.ndarray]:
    """The pages of a TIFF file as atdsr writes it: strips, deflate, differences along rows."""
    (at,) = struct.unpack_from("<I", data, 4)
    while at:
        (count,) = struct.unpack_from("<H", data, at)
        tags: dict[int, tuple[int, ...]] = {}
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, many = struct.unpack_from("<HHI", data, entry)
            size = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1}.get(kind, 0)
            place = entry + 8 if size * many <= 4 else struct.unpack_from("<I", data, entry + 8)[0]
            if size:
                letter = {1: "B", 2: "H", 4: "I"}[size]
                tags[tag] = struct.unpack_from(f"<{many}{letter}", data, place)
        yield _page(data, tags)
        (at,) = struct.unpack_from("<I", data, at + 2 + 12 * count)


def _page(data: bytes, tags: dict[int, tuple[int, ...]]) -> np.ndarray:
    (width,), (height,), (channels,) = tags[256], tags[257], tags.get(277, (1,))
    if tags[259] != (8,) or tags.get(274, (1,)) != (1,) or 273 not in tags:
        raise ValueError("atdsr writes upright strips of deflate")
    strips = zip(tags[273], tags[279], strict=True)
    raw = b"".join(zlib.decompress(data[place : place + size]) for place, size in strips)
    dtype = f"<u{tags[258][0] // 8}"
    samples = np.frombuffer(raw, dtype).reshape(height, width, channels)
    if tags.get(317) == (2,):
        samples = samples.cumsum(axis=1, dtype=dtype)
    return samples.astype(dtype[1:])


# -------------------------------------------------------------------------------- what a file says


def facts(data: bytes) -> dict[str, Any]:
    """What a file says beside its samples; only what is there."""
    said, exif = _said(data)
    xmp = said.get("xmp") or said.get("XML:com.adobe.xmp") or b""
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    icc = said.get("icc_profile") or b""
    found = {
        "profile": None if icc[16:20] == b"CMYK" else icc,
        "code points": _code_points(data, icc),
        "author": exif.get(315) or said.get("Author"),
        "description": _text(exif.get(270)) or said.get("Description"),
        "parameters": said.get("parameters") or _comment(exif),
        "taken": exif.get_ifd(0x8769).get(0x9003),
        "creator": b'creator="Somebody"' in xmp,
        "sizes in pixels": tuple(map(int, re.findall(_SIZES, xmp))),
        "size in EXIF": _size(exif),
        "dots": _dots(said, exif),
        "durations": said.get("durations"),
        "turned": exif.get(274, 1) != 1 or bool(re.search(rb'tiff:Orientation="[2-8]"', xmp)),
        "places in the old file": b"MicroVideo" in xmp,
    }
    return {name: value for name, value in found.items() if value}


def _said(data: bytes) -> tuple[dict[str, Any], Image.Exif]:
    """Pillow's words for what a file says, and its EXIF."""
    if data[:12] == b"\0\0\0\x0cJXL \r\n\x87\n" or data[:2] == b"\xff\x0a":
        told = pyjpegxl.probe(data)
        icc = told.icc or b""
        made_up = icc[4:8] == b"jxl " and any(n.encode("utf-16-be") in icc for n in _JXL_SRGB)
        return {"icc_profile": b"" if made_up else icc, "xmp": told.xmp}, _exif(told.exif)
    if data[8:12] in (b"heic", b"heix", b"mif1"):
        info = pillow_heif.open_heif(io.BytesIO(data)).info
        return dict(info), _exif(info.get("exif"))
    if data[4:8] == b"jP  ":
        return {"icc_profile": _profile_of_jp2(data)}, Image.Exif()
    if data[:2] == b"BM" and data[14] == 124 and data[70:74] == b"DEBM":
        start, size = struct.unpack_from("<II", data, 14 + 112)
        return {"icc_profile": data[14 + start : 14 + start + size]}, Image.Exif()
    if data[:4] == b"MM\0+":
        return {}, Image.Exif()  # Pillow takes BigTIFF of this byte order for classic TIFF
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        return {}, Image.Exif()
    with image as opened:
        if opened.format == "PNG":
            opened.load()  # what stands behind the samples
        said: dict[str, Any] = {str(key): value for key, value in opened.info.items()}
        exif = opened.getexif()
        if opened.format == "TIFF":
            said["xmp"] = exif.get(700)
        if getattr(opened, "n_frames", 1) > 1 and opened.format not in ("TIFF", "MPO"):
            said["durations"] = []
            for frame in ImageSequence.Iterator(opened):
                frame.load()
                said["durations"].append(round(frame.info["duration"]))
    return said, exif


def _exif(content: bytes | None) -> Image.Exif:
    """EXIF as HEIF and JPEG XL have it: behind four bytes, with or without JPEG's mark."""
    found = Image.Exif()
    marks = re.search(rb"II\*\0|MM\0\*", content or b"")
    found.load((content or b"")[marks.start() :] if marks else b"")
    return found


def _text(words: object) -> str | None:
    """EXIF has UTF-8 where Pillow sees Latin-1."""
    return words.encode("latin-1").decode() if isinstance(words, str) and words else None


def _comment(exif: Image.Exif) -> str | None:
    """The user comment, behind the name of its code; Unicode is in the byte order of EXIF."""
    content = exif.get_ifd(0x8769).get(0x9286)
    if not isinstance(content, bytes):
        return None
    order = "utf-16-le" if exif.endian == "<" else "utf-16-be"
    return content[8:].decode(order if content[:7] == b"UNICODE" else "latin-1")


def _size(exif: Image.Exif) -> tuple[int, int] | None:
    inner = exif.get_ifd(0x8769)
    return (inner[0xA002], inner[0xA003]) if 0xA002 in inner and 0xA003 in inner else None


def _dots(said: dict[str, Any], exif: Image.Exif) -> int | None:
    """Dots per inch; none where the number is what encoders put there for nothing."""
    dots = (said.get("dpi") or (exif.get(282),))[0]
    return None if not dots or round(float(dots)) in (1, 25, 72) else round(float(dots))


def _code_points(data: bytes, icc: bytes) -> tuple[int, ...] | None:
    """Primaries and transfer of H.273, by cICP, nclx, or the tag of ICC 4.4."""
    found: tuple[int, ...] | None = None
    if data[1:4] == b"PNG" and b"cICP" in (chunks := dict(png_chunks(data))):
        found = tuple(chunks[b"cICP"][:2])
    elif data[4:8] == b"ftyp" and b"colrnclx" in data:
        found = struct.unpack_from(">HH", data, data.find(b"colrnclx") + 8)
    for entry in range(132, len(icc) and 132 + 12 * struct.unpack_from(">I", icc, 128)[0], 12):
        if icc[entry : entry + 4] == b"cicp":
            (place,) = struct.unpack_from(">I", icc, entry + 4)
            found = tuple(icc[place + 8 : place + 10])
    return None if found in _SRGB else found
