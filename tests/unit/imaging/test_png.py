"""Texts, EXIF and XMP in the chunks of PNG files, wherever they stand."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from atdsr import imaging
from atdsr.imaging import Metadata, Picture, notices, open_frames, read, write
from atdsr.imaging.codecs import png as chunks
from helpers.pictures import chunk, noise, png

ARTIST, DESCRIPTION, SOFTWARE, COPYRIGHT = 0x013B, 0x010E, 0x0131, 0x8298
EXIF, COMMENT = 0x8769, 0x9286
PACKET = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="one"/>'
TEXTS = (
    ("Author", "Zoë"),
    ("parameters", "a tree, \N{EVERGREEN TREE}\nSteps: 20, Size: 512x512"),
    ("prompt", '{"3": {"class_type": "KSampler"}}'),
    ("prompt", "twice"),
    ("empty", ""),
)


def exif(artist: str = "Ann", orientation: int | None = None) -> bytes:
    table = Image.Exif()
    table[ARTIST] = artist
    if orientation is not None:
        table[0x0112] = orientation
    return table.tobytes()[6:]


def xmp_chunk(packet: bytes = PACKET, *, packed: bool = False) -> bytes:
    head = b"XML:com.adobe.xmp\0" + (b"\1\0" if packed else b"\0\0") + b"\0\0"
    return chunk(b"iTXt", head + (zlib.compress(packet) if packed else packet))


def raw(kind: str, content: bytes) -> bytes:
    """A profile as ImageMagick writes it in hexadecimal digits."""
    digits = content.hex()
    lines = "\n".join(digits[k : k + 72] for k in range(0, len(digits), 72))
    text = f"\n{kind}\n{len(content):8d}\n{lines}\n".encode()
    return chunk(b"zTXt", f"Raw profile type {kind}".encode() + b"\0\0" + zlib.compress(text))


def said(folder: Path, before: bytes = b"", after: bytes = b"") -> Metadata:
    (folder / "in.png").write_bytes(png(noise(3), before, after))
    return read(folder / "in.png").metadata


@pytest.mark.parametrize("late", [False, True])
def test_exif_and_xmp_are_found_before_and_behind_the_pixels(tmp_path, late):
    parts = chunk(b"eXIf", exif()) + xmp_chunk()
    metadata = said(tmp_path, *((b"", parts) if late else (parts, b"")))
    assert metadata.exif == exif()
    assert metadata.xmp == PACKET
    picture = read(tmp_path / "in.png")
    for name in ("png", "jpg", "tiff", "webp", "avif"):
        write(picture, tmp_path / f"out.{name}")
        with Image.open(tmp_path / f"out.{name}") as image:
            image.load()
            assert image.getexif()[ARTIST] == "Ann"
            assert image.info["xmp"] == PACKET


@pytest.mark.parametrize("late", [False, True])
def test_orientation_is_applied_wherever_it_stands(tmp_path, late):
    part = chunk(b"eXIf", exif(orientation=6))
    (tmp_path / "x.png").write_bytes(png(noise(3), *((b"", part) if late else (part, b""))))
    assert np.array_equal(read(tmp_path / "x.png").samples, np.rot90(noise(3), -1))
    frames = open_frames(tmp_path / "x.png")
    assert (frames.width, frames.height) == (23, 37)


def test_texts_round_trip(tmp_path):
    write(Picture(noise(3), metadata=Metadata(text=TEXTS)), tmp_path / "x.png")
    assert read(tmp_path / "x.png").metadata.text == TEXTS
    with Image.open(tmp_path / "x.png") as image:
        assert isinstance(image, PngImageFile)
        image.load()
        assert image.text == dict(TEXTS)
    data = (tmp_path / "x.png").read_bytes()
    assert b"tEXtAuthor\0Zo\xeb" in data  # Latin-1 where that is enough
    assert b"iTXtparameters\0\0\0\0\0a tree, " + "\N{EVERGREEN TREE}".encode() in data
    assert data.index(b"parameters") < data.index(b"IDAT")
    write(imaging.without_metadata(read(tmp_path / "x.png")), tmp_path / "y.png")
    assert read(tmp_path / "y.png").metadata == Metadata()


def test_texts_of_every_kind_of_chunk_are_read(tmp_path):
    words = "schön, \N{SNOWMAN}"
    international = b"Comment\0%c\0de\0Kommentar\0"
    parts = [
        chunk(b"tEXt", b"Title\0na\xefve"),
        chunk(b"zTXt", b"Description\0\0" + zlib.compress(b"caf\xe9" * 100)),
        chunk(b"iTXt", international % 0 + words.encode()),
        chunk(b"iTXt", international % 1 + zlib.compress(words.encode())),
    ]
    wanted = (
        ("Title", "naïve"),
        ("Description", "café" * 100),
        ("Comment", words),
        ("Comment", words),
    )
    assert said(tmp_path, b"".join(parts)).text == wanted
    assert said(tmp_path, after=b"".join(parts)).text == wanted
    assert said(tmp_path, xmp_chunk(packed=True)).xmp == PACKET


def test_profiles_in_hexadecimal_are_read(tmp_path):
    assert said(tmp_path, raw("exif", b"Exif\0\0" + exif())).exif == exif()
    assert said(tmp_path, after=raw("APP1", b"Exif\0\0" + exif())).exif == exif()
    assert said(tmp_path, raw("xmp", PACKET)).xmp == PACKET
    assert said(tmp_path, raw("APP1", b"http://ns.adobe.com/xap/1.0/\0" + PACKET)).xmp == PACKET
    both = chunk(b"eXIf", exif("Ann")) + raw("exif", exif("Bob"))
    assert said(tmp_path, both).exif == exif("Ann")
    for bad in (b"\nexif\n 9\nzz\n", b"", b"\nexif", b"\nexif\n5\nabc"):
        assert said(tmp_path, chunk(b"tEXt", b"Raw profile type exif\0" + bad)) == Metadata()
    assert said(tmp_path, raw("iptc", b"8BIM")) == Metadata()


def test_what_was_said_of_another_file_goes(tmp_path):
    names = [b"Thumb::Image::Width", b"exif:PixelXDimension", b"png:IHDR.width,height", b"Title"]
    parts = b"".join(chunk(b"tEXt", name + b"\0 5") for name in names)
    assert said(tmp_path, parts).text == (("Title", " 5"),)


def test_damaged_and_endless_texts_are_passed_over(tmp_path):
    good = chunk(b"tEXt", b"Title\0good")
    bomb = chunk(b"zTXt", b"Bomb\0\0" + zlib.compress(bytes(10**7)))
    bad = [
        good[:-1] + b"?",
        chunk(b"zTXt", b"Title\0\0nonsense"),
        chunk(b"zTXt", b"Title\0\0" + zlib.compress(b"x" * 99)[:-8]),
        chunk(b"zTXt", b"Title"),
        chunk(b"iTXt", b"Title\0\0\0\0\0\xff\xfe"),
        chunk(b"iTXt", b"Title\0\1\0"),
        chunk(b"tEXt", b"\0no keyword"),
        chunk(b"tEXt", b""),
    ]
    for part in bad:
        found = said(tmp_path, after=good + part).text
        assert ("Title", "good") in found
        assert all(text in ("good", "") for _, text in found)
    assert said(tmp_path, after=good + bomb).text == (("Title", "good"),)
    data = png(noise(3), after=bomb * 300)  # 3 GB, of which no more than a little is unpacked
    assert chunks.read_chunks(data).metadata.text == ()
    data = png(noise(3), after=chunk(b"tEXt", b"a\0") * 100_000)
    assert len(chunks.read_chunks(data).metadata.text) < chunks.MOST_TEXT / 100


def test_what_a_cut_file_says_before_the_cut_is_read():
    data = png(noise(3), chunk(b"tEXt", b"Title\0good"))
    for end in range(0, len(data), 3):
        found = chunks.read_chunks(data[:end]).metadata.text
        assert found in ((), (("Title", "good"),))


@pytest.mark.parametrize("name", ["jpg", "tiff", "webp", "avif"])
def test_texts_take_their_place_in_exif(tmp_path, name):
    texts = (
        *TEXTS[:2],
        *(("Comment", "less"), ("Description", "more"), ("Copyright", "me"), ("Software", "mine")),
    )
    write(Picture(noise(3), metadata=Metadata(text=texts)), tmp_path / f"x.{name}")
    with Image.open(tmp_path / f"x.{name}") as image:
        table = image.getexif()
        shown = {tag: table[tag] for tag in (ARTIST, DESCRIPTION, SOFTWARE, COPYRIGHT)}
        comment = table.get_ifd(EXIF)[COMMENT]
    assert {tag: str(text).encode("latin-1").decode() for tag, text in shown.items()} == {
        ARTIST: "Zoë",
        DESCRIPTION: "more",
        SOFTWARE: "mine",
        COPYRIGHT: "me",
    }
    order = "utf-16-le" if name == "tiff" else "utf-16-be"  # that of the file
    assert comment[:8] == b"UNICODE\0"
    assert comment[8:].decode(order) == texts[1][1]


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_has_precedence_over_texts(tmp_path, order):
    first = b"II*\0\x08\0\0\0" if order == "<" else b"MM\0*\0\0\0\x08"
    table = first + struct.pack(f"{order}HHHI4sI", 1, ARTIST, 2, 4, b"Ann\0", 0)
    metadata = Metadata(table, text=(("Author", "Bob"), ("Title", "Tree"), ("seed", "1")))
    picture = Picture(noise(3), metadata=metadata)
    write(picture, tmp_path / "x.jpg")
    with Image.open(tmp_path / "x.jpg") as image:
        assert image.getexif()[ARTIST] == "Ann"
        assert image.getexif()[DESCRIPTION] == "Tree"
    assert notices(picture, "x.jpg") == (
        "PNG texts left out, since jpg has no place for them: Author, seed.",
    )
    assert notices(picture, "x.png") == ()
    assert notices(picture, "x.gif") == ("EXIF and PNG texts left out, since gif holds none.",)


def test_many_and_long_texts_are_told_of_in_a_short_line(tmp_path):
    metadata = Metadata(text=tuple((f"key {k}", "x") for k in range(9)))
    (sentence,) = notices(Picture(noise(3), metadata=metadata), "x.webp")
    assert sentence.endswith("no place for them: key 0, key 1, key 2, key 3, key 4, others.")
    metadata = Metadata(text=(("a\x1b[2J", "x"), ("Author", "x" * 70_000)))
    (sentence,) = notices(Picture(noise(3), metadata=metadata), "x.webp")
    assert sentence.endswith("no place for them: Author, others.")
    write(Picture(noise(3), metadata=metadata), tmp_path / "x.webp")


def test_texts_that_png_cannot_hold_are_left_out(tmp_path):
    texts = (("a" * 80, "x"), ("", "x"), ("\N{SNOWMAN}", "x"), ("a\0b", "x"), ("a", "\0"))
    write(Picture(noise(3), metadata=Metadata(text=(*texts, ("ok", "x")))), tmp_path / "x.png")
    assert read(tmp_path / "x.png").metadata.text == (("ok", "x"),)


def test_animations_and_pillow_images_carry_texts(tmp_path):
    picture = Picture(noise(3), metadata=Metadata(exif(), PACKET, text=TEXTS[:3]))
    imaging.write_frames([picture] * 2, tmp_path / "x.png", durations=[40, 40])
    for frame in open_frames(tmp_path / "x.png"):
        assert frame.metadata.text == TEXTS[:3]
        assert b"Ann\0" in (frame.metadata.exif or b"")
        assert frame.metadata.xmp == PACKET
    write(picture, tmp_path / "y.png")
    with Image.open(tmp_path / "y.png") as image:
        again = imaging.to_pil(imaging.from_pil(image))
    assert {key: again.info[key] for key, _ in TEXTS[:3]} == dict(TEXTS[:3])
    with Image.open(io.BytesIO((tmp_path / "y.png").read_bytes())) as image:
        assert imaging.from_pil(image.convert("L")).metadata.text == TEXTS[:3]


def _with_wrong_check(data: bytes, name: bytes) -> bytes:
    """The file with a bit turned in the check of the last chunk of a name."""
    content, at = bytearray(data), data.rindex(name)
    content[at + 4 + int.from_bytes(data[at - 4 : at])] ^= 1
    return bytes(content)


@pytest.mark.parametrize("name", [b"tRNS", b"PLTE", b"IDAT", b"fcTL", b"fdAT"])
def test_wrong_check_of_what_makes_pixels_is_refused(tmp_path, name):
    frames = [Image.fromarray(noise(3)[..., k]).convert("P") for k in range(3)]
    options = {"save_all": True, "append_images": frames[1:]} if name[0] == ord("f") else {}
    file = io.BytesIO()
    frames[0].save(file, "PNG", transparency=bytes(range(256)), **options)
    path = tmp_path / "x.png"
    path.write_bytes(file.getvalue())
    assert len(list(open_frames(path))) == len(options.get("append_images", ())) + 1
    path.write_bytes(_with_wrong_check(file.getvalue(), name))
    with pytest.raises(imaging.PictureError, match="damaged or cut short"):
        list(open_frames(path))


def test_wrong_check_in_an_icon_is_refused(tmp_path):
    path = tmp_path / "x.ico"
    Image.fromarray(noise(4, h=64, w=64)).save(path, sizes=[(64, 64)])
    path.write_bytes(_with_wrong_check(path.read_bytes(), b"IDAT"))
    with pytest.raises(imaging.PictureError, match="damaged or cut short"):
        read(path)
