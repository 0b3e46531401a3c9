"""EXIF, XMP and resolution: kept where they are true of the new picture, and never in the way."""

import io
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atdsr import imaging
from atdsr.imaging import Metadata, Picture, metadata, read, write
from helpers.pictures import noise, saved, smooth

ARTIST, DATE, ORIENTATION, COPYRIGHT = 0x013B, 0x0132, 0x0112, 0x8298
EXIF, GPS, MAKER, WIDTH, HEIGHT = 0x8769, 0x8825, 0x927C, 0xA002, 0xA003
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
    b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
    b'dc:creator="Ann" '
    b'tiff:Orientation="6" exif:PixelXDimension="99"><exif:PixelYDimension>88'
    b"</exif:PixelYDimension><xmp:Thumbnails><rdf:Alt>AAAA</rdf:Alt></xmp:Thumbnails>"
    b"</rdf:Description></x:xmpmeta>"
)
HOLDERS = ["png", "tiff", "jpg", "webp", "avif"]


def camera(orientation: int = 6) -> Image.Exif:
    """What a camera writes, big-endian, as for a picture of 99 x 88."""
    exif = Image.Exif()
    exif[ARTIST], exif[DATE], exif[ORIENTATION] = "Ann", "2020:02:03 04:05:06", orientation
    inner = exif.get_ifd(EXIF)
    inner |= {WIDTH: 99, HEIGHT: 88, MAKER: b"secret", 0x829A: 0.008, 0x9286: b"ASCII\0\0\0hello"}
    exif.get_ifd(GPS).update({1: "N", 2: (1.0, 2.0, 3.5)})
    return exif


def with_thumbnail(exif: bytes) -> bytes:
    """EXIF with a second table, of a thumbnail."""
    start = 6
    (at,) = struct.unpack_from(">I", exif, start + 4)
    (count,) = struct.unpack_from(">H", exif, start + at)
    pointer = start + at + 2 + 12 * count
    data = exif[:pointer] + struct.pack(">I", len(exif) - start) + exif[pointer + 4 :]
    place = len(exif) - start + 2 + 24 + 4
    table = struct.pack(">HHHIIHHIII", 2, 0x201, 4, 1, place, 0x202, 4, 1, 9, 0)
    return data + table + b"THUMBNAIL"


def source(folder: Path, name: str) -> Path:
    path = folder / f"in.{name}"
    if name == "tiff":  # Pillow drops the inner tables here
        said = Metadata(camera().tobytes(), XMP, (300, 150))
        write(Picture(smooth(3, 20, 30), metadata=said), path)
        return path
    options = {} if name == "png" else {"xmp": XMP}
    exif = with_thumbnail(camera().tobytes())
    return saved(Image.fromarray(smooth(3, 20, 30)), path, exif=exif, dpi=(300, 150), **options)


@pytest.mark.parametrize("target", HOLDERS)
@pytest.mark.parametrize("origin", HOLDERS)
def test_who_when_and_where_survive(tmp_path, origin, target):
    picture = read(source(tmp_path, origin))
    enlarged = Picture(np.repeat(picture.samples, 2, 1), metadata=picture.metadata)
    write(enlarged, tmp_path / f"out.{target}")
    content = (tmp_path / f"out.{target}").read_bytes()
    assert b"THUMBNAIL" not in content
    assert b"secret" not in content
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        exif = image.getexif()
        assert exif[ARTIST] == "Ann"
        assert exif[DATE] == "2020:02:03 04:05:06"
        assert exif.get(ORIENTATION, 1) == 1
        inner = exif.get_ifd(EXIF)
        assert (inner[WIDTH], inner[HEIGHT]) == image.size == (enlarged.width, enlarged.height)
        assert inner[0x829A] == pytest.approx(0.008)
        assert inner[0x9286] == b"ASCII\0\0\0hello"
        assert exif.get_ifd(GPS) == {1: "N", 2: (1.0, 2.0, 3.5)}
        if origin in ("png", "jpg", "tiff"):  # Pillow writes no resolution into the others
            dots = image.info.get("dpi", (exif[282], exif[283]))
            expected = (exif[282], exif[283]) if target in ("jpg", "webp", "avif") else dots
            assert expected == pytest.approx((300, 150), abs=0.1)
        if origin != "png":
            packet = image.info["xmp"]
            assert b'dc:creator="Ann"' in packet
            assert b'tiff:Orientation="1"' in packet
            assert f'PixelXDimension="{enlarged.width}"'.encode() in packet
            assert f"<exif:PixelYDimension>{enlarged.height}<".encode() in packet
            assert b"Thumbnails" not in packet
    again = read(tmp_path / f"out.{target}")
    assert np.abs(again.samples.astype(int) - enlarged.samples).max() < 20


@pytest.mark.parametrize("name", HOLDERS)
def test_resolution_alone_survives(tmp_path, name):
    write(Picture(noise(3), metadata=Metadata(dpi=(300, 150))), tmp_path / f"x.{name}")
    assert read(tmp_path / f"x.{name}").metadata.dpi == pytest.approx((300, 150), abs=0.1)


def test_bmp_has_a_resolution(tmp_path):
    write(Picture(noise(3), metadata=Metadata(dpi=(300, 150))), tmp_path / "x.bmp")
    assert read(tmp_path / "x.bmp").metadata.dpi == pytest.approx((300, 150), abs=0.1)


@pytest.mark.parametrize("name", HOLDERS)
def test_nothing_is_made_up(tmp_path, name):
    write(Picture(noise(3)), tmp_path / f"x.{name}")
    said = read(tmp_path / f"x.{name}").metadata
    assert said == Metadata()
    with Image.open(tmp_path / f"x.{name}") as image:
        assert "exif" not in image.info
        assert EXIF not in image.getexif()


@pytest.mark.parametrize("name", HOLDERS)
def test_nothing_is_left_without_metadata(tmp_path, name):
    picture = imaging.without_metadata(read(source(tmp_path, name)))
    write(picture, tmp_path / f"out.{name}")
    content = (tmp_path / f"out.{name}").read_bytes()
    assert b"Ann" not in content
    assert b"2020" not in content
    assert read(tmp_path / f"out.{name}").metadata == Metadata()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jpg", "png", "webp", "tiff"])
def test_malformed_exif_breaks_nothing(tmp_path, name, capfd):
    exif, chance = with_thumbnail(camera().tobytes()), random.Random(0)
    for number in range(40):
        bad = bytearray(exif[6 if number % 2 else 0 :])
        for _ in range(3):
            bad[chance.randrange(len(bad))] = chance.choice([0, 255, chance.randrange(256)])
        content = bytes(bad[: chance.randrange(len(bad))] if number % 3 == 0 else bad)
        picture = Picture(noise(3), metadata=Metadata(content))
        write(picture, tmp_path / f"x.{name}", overwrite=True)
        assert read(tmp_path / f"x.{name}").samples.shape == noise(3).shape
        if name == "jpg":
            path = saved(Image.fromarray(noise(3)), tmp_path / "y.jpg", exif=content)
            assert read(path).samples.size == noise(3).size  # it may say that it lies turned
    assert capfd.readouterr() == ("", "")


def test_a_table_that_points_to_itself_ends():
    loop = b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, EXIF, 4, 1, 8, 8)
    assert metadata.clean_metadata(Metadata(loop), 4, 4).exif is None
    assert metadata.orientation(loop) == 1


def test_exif_that_is_too_long_for_a_jpeg_loses_its_longest_value(tmp_path):
    exif = camera()
    exif.get_ifd(EXIF)[0x9286] = b"ASCII\0\0\0" + bytes(60_000)
    exif[COPYRIGHT] = "c" * 9000
    write(Picture(noise(3), metadata=Metadata(exif.tobytes())), tmp_path / "x.jpg")
    with Image.open(tmp_path / "x.jpg") as image:
        assert image.getexif()[ARTIST] == "Ann"
        assert len(image.getexif()[COPYRIGHT]) == 9000
        assert 0x9286 not in image.getexif().get_ifd(EXIF)


def test_a_comment_in_16_bits_changes_its_byte_order_with_the_file(tmp_path):
    exif = camera()
    exif.get_ifd(EXIF)[0x9286] = b"UNICODE\0" + "hé".encode("utf-16-be")
    assert exif.tobytes()[6:8] == b"MM"
    write(Picture(noise(3), metadata=Metadata(exif.tobytes())), tmp_path / "x.tiff")
    with Image.open(tmp_path / "x.tiff") as image:
        comment = image.getexif().get_ifd(EXIF)[0x9286]
        order = {b"II": "utf-16-le", b"MM": "utf-16-be"}[(tmp_path / "x.tiff").read_bytes()[:2]]
    assert comment == b"UNICODE\0" + "hé".encode(order)


def test_pillow_images_carry_it(tmp_path):
    with Image.open(source(tmp_path, "jpg")) as image:
        picture = imaging.from_pil(image)
    assert picture.height == 30  # it lay on its side
    image = imaging.to_pil(picture)
    assert image.getexif()[ARTIST] == "Ann"
    assert image.getexif().get(ORIENTATION, 1) == 1
    assert image.info["dpi"] == pytest.approx((300, 150))
