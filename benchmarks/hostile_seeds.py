"""Small valid pictures of all formats, with all kinds of metadata, to mutate."""

import importlib
import io
import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from atdsr.imaging import vips

_PNG = b"\x89PNG\r\n\x1a\n"
_XMP_TEXT = "XML:com.adobe.xmp"


class _Files:
    """Valid files: what they are, their suffix and their content."""

    def __init__(self) -> None:
        self.made: dict[str, tuple[str, bytes]] = {}

    def add(self, what: str, suffix: str, image: Image.Image, kind: str, **options: object) -> None:
        """Have Pillow write one."""
        file = io.BytesIO()
        image.save(file, kind, **options)
        self.made[what] = suffix, file.getvalue()


@cache
def seeds() -> dict[str, tuple[str, bytes]]:
    """Small valid files: what they are, their suffix and their content."""
    rng = np.random.default_rng(0)
    rgba = Image.fromarray(rng.integers(0, 256, (18, 23, 4), np.uint8))
    wide = Image.fromarray(rng.integers(0, 2**16, (9, 14), np.uint16))
    made = _Files()
    _add_plain(made, rgba, wide)
    _add_told(made, rgba, wide)
    _add_moving(made, rgba)
    _add_tiff(made, rgba, wide)
    _add_rare(made, rgba, wide)
    return made.made


def _add_plain(made: _Files, rgba: Image.Image, wide: Image.Image) -> None:
    """Pictures of which nothing is said, of all kinds of samples."""
    rgb, gray = rgba.convert("RGB"), rgba.convert("L")
    for what, image in (
        ("rgb", rgb),
        ("rgba", rgba),
        ("gray", gray),
        ("bits", gray.convert("1")),
        ("palette", rgb.quantize(16)),
    ):
        made.add(f"png {what}", ".png", image, "PNG")
        made.add(f"tiff {what}", ".tiff", image, "TIFF")
        if what != "rgba":
            made.add(f"bmp {what}", ".bmp", image, "BMP")
    made.add("png 16 bits", ".png", wide, "PNG")
    made.add("jpg progressive", ".jpeg", rgb, "JPEG", progressive=True, subsampling=2)
    made.add("jpg gray", ".jpg", gray, "JPEG", quality=30)
    made.add("jpg cmyk", ".jpg", rgb.convert("CMYK"), "JPEG")
    made.add("webp lossless", ".webp", rgba, "WEBP", lossless=True)
    made.add("webp alpha", ".webp", rgba, "WEBP")
    made.add("avif alpha", ".avif", rgba, "AVIF")
    made.add("gif", ".gif", rgb, "GIF")


def _add_told(made: _Files, rgba: Image.Image, wide: Image.Image) -> None:
    """Pictures with EXIF, XMP, a profile, texts and descriptions of colour."""
    rgb = rgba.convert("RGB")
    said = {"exif": said_of("II"), "xmp": xmp_packet(), "icc_profile": _profile()}
    prefixed = {"exif": b"Exif\0\0" + said_of("II")}  # else Pillow writes a segment nobody reads
    made.add("jpg", ".jpg", rgb, "JPEG", dpi=(300, 300), **(said | prefixed))
    made.add("webp", ".webp", rgb, "WEBP", **said)
    made.add("avif", ".avif", rgb, "AVIF", **said)
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Title", "a title")
    texts.add_text("parameters", "a cat, sharp\nSteps: 20", zip=True)
    texts.add_itxt("Author", "Ä", "de", "Autor", zip=True)
    texts.add_itxt(_XMP_TEXT, xmp_packet().decode())
    options = {"exif": said_of("MM"), "icc_profile": _profile(), "dpi": (300, 300)}
    made.add("png told", ".png", rgb, "PNG", pnginfo=texts, **options)
    made.add("png texts", ".png", wide, "PNG", pnginfo=texts)
    plain = made.made["png rgb"][1]
    gamma = chunk(b"gAMA", struct.pack(">I", 55_555))
    primaries = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
    gamma += chunk(b"cHRM", struct.pack(">8I", *primaries))
    made.made["png gamma"] = ".png", plain[:33] + gamma + plain[33:]
    points = chunk(b"cICP", bytes((9, 16, 0, 0)))
    made.made["png code points"] = ".png", plain[:33] + points + plain[33:]
    behind = chunk(b"eXIf", said_of("MM")) + chunk(b"tEXt", b"Comment\0behind the pixels")
    made.made["png told behind"] = ".png", plain[:-12] + behind + plain[-12:]


def _add_moving(made: _Files, rgba: Image.Image) -> None:
    """Animations."""
    rgb = rgba.convert("RGB")
    frames = [rgb.rotate(90 * turn) for turn in range(1, 3)]
    moving = {"save_all": True, "append_images": frames, "duration": 40, "loop": 2}
    for suffix, kind in ((".png", "PNG"), (".webp", "WEBP"), (".gif", "GIF"), (".avif", "AVIF")):
        made.add(f"{suffix[1:]} frames", suffix, rgb, kind, **moving)
    cover = {"save_all": True, "append_images": frames, "default_image": True}
    made.add("png frames and a cover", ".png", rgb, "PNG", **cover)


def _add_tiff(made: _Files, rgba: Image.Image, wide: Image.Image) -> None:
    """TIFF in its many ways: strips and tiles, packings, byte orders, pages."""
    rgb = rgba.convert("RGB")
    frames = [rgb.rotate(90 * turn) for turn in range(1, 3)]
    made.add("tiff 16 bits", ".tif", wide, "TIFF", compression="tiff_adobe_deflate")
    made.add("tiff lzw", ".tif", rgb, "TIFF", compression="tiff_lzw", dpi=(300, 300))
    made.add("tiff pages", ".tif", rgb, "TIFF", save_all=True, append_images=frames)
    made.add("tiff cmyk", ".tif", rgb.convert("CMYK"), "TIFF")
    made.add("tiff big", ".tif", rgb, "TIFF", big_tiff=True, icc_profile=_profile())
    made.add("tiff jpeg", ".tif", rgb, "TIFF", compression="jpeg")
    made.add("tiff told", ".tif", rgb, "TIFF", exif=_exif("II"), tiffinfo={700: xmp_packet()})
    image = vips.load().Image.new_from_array(np.asarray(rgb.resize((40, 33))))
    for compression in ("none", "deflate", "lzw", "jpeg"):
        options = {"tile": True, "tile_width": 16, "tile_height": 16}
        data = image.tiffsave_buffer(compression=compression, **options)
        made.made[f"tiff tiles {compression}"] = ".tif", data


def _add_rare(made: _Files, rgba: Image.Image, wide: Image.Image) -> None:
    """Formats that fewer programs write; HEIC and JPEG XL where their extra is there."""
    rgb, gray = rgba.convert("RGB"), rgba.convert("L")
    made.add("ppm", ".ppm", rgb, "PPM")
    made.add("pgm", ".pgm", gray, "PPM")
    made.add("pgm 16 bits", ".pgm", wide, "PPM")
    made.add("pbm", ".pbm", gray.convert("1"), "PPM")
    numbers = " ".join(str(value) for value in np.asarray(gray).ravel())
    made.made["pgm text"] = ".pgm", f"P2\n# a comment\n23 18\n255\n{numbers}\n".encode()
    head = b"P7\nWIDTH 23\nHEIGHT 18\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n"
    made.made["pam"] = ".pam", head + rgba.tobytes()
    floats = np.linspace(0, 1, 23 * 18, dtype="<f4").tobytes()
    made.made["pfm"] = ".pfm", b"Pf\n23 18\n-1.0\n" + floats
    made.add("jp2", ".jp2", rgb, "JPEG2000")
    made.add("jp2 codestream", ".j2k", gray, "JPEG2000", no_jp2=True)
    made.add("ico", ".ico", rgba, "ICO", sizes=[(16, 16), (18, 18)])
    made.add("ico of bitmaps", ".ico", rgba, "ICO", sizes=[(16, 16)], bitmap_format="bmp")
    bitmap = made.made["bmp rgb"][1]
    made.made["bmp without a head"] = ".dib", bitmap[14:]
    made.made["bmp with primaries"] = ".bmp", _with_primaries(bitmap)
    if (heif := _module("pillow_heif")) is not None:
        heif.register_heif_opener()
        made.add("heic", ".heic", rgb, "HEIF", exif=said_of("MM"))
    if (jxl := _module("pyjpegxl")) is not None:
        made.made["jxl"] = ".jxl", bytes(jxl.encode_from_numpy(np.array(rgb), lossless=True))


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _with_primaries(bitmap: bytes) -> bytes:
    """A BMP file whose header is the one of 108 bytes, with primaries and gamma."""
    points = [round(2**30 * value) for value in (0.41, 0.21, 0.02, 0.36, 0.72, 0.12, 0.18)]
    points += [round(2**30 * value) for value in (0.07, 0.95)]
    more = struct.pack("<4II9i3I", 0, 0, 0, 0, 0, *points, *[round(2.2 * 65536)] * 3)
    head = bytearray(bitmap[:54] + more)
    struct.pack_into("<I", head, 14, 108)
    struct.pack_into("<I", head, 10, len(head))
    struct.pack_into("<I", head, 2, len(bitmap) + len(more))
    return bytes(head) + bitmap[54:]


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of PNG."""
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def said_of(order: str) -> bytes:
    """EXIF that begins with "II" or "MM", with tables of its own for the photo and the place."""
    return _exif(order).tobytes().removeprefix(b"Exif\0\0")


def _exif(order: str) -> Image.Exif:
    exif = Image.Exif()
    exif.endian = "<" if order == "II" else ">"
    exif.update({0x0112: 6, 0x010E: "a text", 0x013B: "somebody", 0x011A: 300.0, 0x011B: 300.0})
    photo = {0x9003: "2024:01:01 00:00:00", 0xA001: 2, 0xA002: 23, 0xA003: 18}
    photo |= {0x9214: (4, 5, 6, 7), 0xA20E: 1200.5, 0x9286: b"UNICODE\0a\0b\0", 0x927C: b"maker"}
    exif.get_ifd(0x8769).update(photo)
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 1.5)})
    return exif


def xmp_packet(encoding: str = "UTF-8") -> bytes:
    """XMP that speaks of the picture's size, of places in it, and of other pictures."""
    text = """\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
    xmlns:exif="http://ns.adobe.com/exif/1.0/" tiff:Orientation="6" tiff:ImageWidth="23"
    xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" GPano:FullPanoWidthPixels="4000"
    xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/"
    xmlns:stDim="http://ns.adobe.com/xap/1.0/sType/Dimensions#">
   <exif:PixelXDimension>23</exif:PixelXDimension>
   <exif:SubjectArea><rdf:Seq><rdf:li>4</rdf:li><rdf:li>5/2</rdf:li></rdf:Seq></exif:SubjectArea>
   <mwg-rs:Regions rdf:parseType="Resource">
    <mwg-rs:AppliedToDimensions stDim:w="23" stDim:h="18.5" stDim:unit="pixel"/>
   </mwg-rs:Regions>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
    return text.encode(encoding)


def _profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def checked(data: bytes) -> bytes:
    """A PNG file with right checks of its chunks, whatever is in them; other files as they are."""
    if not data.startswith(_PNG):
        return data
    made, at = bytearray(data), len(_PNG)
    while at + 12 <= len(made):
        end = at + 8 + int.from_bytes(made[at : at + 4])
        if end + 4 > len(made):
            break
        made[end : end + 4] = zlib.crc32(memoryview(made)[at + 4 : end]).to_bytes(4)
        at = end + 4
    return bytes(made)
