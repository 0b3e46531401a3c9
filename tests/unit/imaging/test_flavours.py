"""`benchmarks/flavours.py`: what is promised is kept, and what is not would be noticed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import flavour_corpus
import flavour_readers
import flavours
from flavour_corpus import Flavour, basics, pngs, tiffs

SLOW = ("AVIF ", "HEIC ")
ALIKE = (", big-endian", ", planes")  # for each kind of samples; planes in tiles are tried


@pytest.mark.slow
def test_every_promised_flavour_comes_out_right(tmp_path: Path):
    every = flavour_corpus.flavours()
    assert len({one.name for one in every}) == len(every) > 300
    assert {name for one in every for name in one.others} > set(basics.CARRIERS)
    tried = [one for one in every if one.own and not one.name.startswith(SLOW)]
    tried = [one for one in tried if not one.name.endswith(ALIKE)]
    wrong = zip(tried, flavours.outcomes(tried, tmp_path, None), strict=True)
    assert {one.name: said for one, said in wrong if said} == {}


def test_what_is_wrong_is_noticed(tmp_path: Path):
    by_name = {one.name: one for one in flavour_corpus.flavours()}
    gray, animation = by_name["PNG gray 8 bits"], by_name["GIF animation"]
    pages, jpeg = by_name["TIFF pages"], by_name["JPEG 4:4:4"]
    rgb = by_name["PNG RGB 16 bits"]
    wrong = [
        replace(gray, frames=(gray.frames[0] ^ 1,)),
        replace(gray, frames=(np.dstack([gray.frames[0]] * 3),)),
        replace(rgb, frames=(rgb.frames[0][:, ::-1],)),
        replace(animation, frames=animation.frames[:2]),
        replace(animation, frames=animation.frames[::-1]),
        replace(pages, frames=(*pages.frames[:2], pages.frames[1])),
        replace(jpeg, frames=(jpeg.frames[0][..., ::-1],)),
        replace(by_name["JPEG orientation 6"], frames=(np.rot90(jpeg.frames[0]),)),
        Flavour("no picture", ".png", b"no picture", gray.frames),
    ]
    found = flavours.outcomes(wrong, tmp_path, None)
    assert all(found)
    assert found[-1].startswith("refused: not a picture")


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("PNG tEXt before the samples", "PNG sRGB", "author was 'Somebody', is None"),
        ("PNG tEXt behind the samples", "PNG sRGB", "parameters was 'a tree, seed: 1', is None"),
        ("PNG zTXt behind the samples", "PNG sRGB", "description was 'a café', is None"),
        ("PNG EXIF before the samples", "PNG sRGB", "taken was '2024:01:02 03:04:05', is None"),
        ("JPEG EXIF", "JPEG EXIF", "size in EXIF was (64, 48), is (32, 24)"),
        ("JPEG EXIF", "JPEG orientation 6", "it is said to lie turned"),
        ("JPEG XMP", "WebP orientation in XMP", "it is said to lie turned"),
        ("WebP XMP", "PNG sRGB", "creator was True, is None"),
        (
            "TIFF panorama",
            "JPEG panorama",
            "sizes in pixels was (128, 96, 64, 48, 10, 14), is (64,",
        ),
        ("TIFF panorama", "JPEG panorama", "it has places in the old file"),
        ("JPEG resolution", "PNG sRGB", "dots was 300, is None"),
        ("JPEG profile", "PNG sRGB", "profile was b"),
        ("PNG sRGB", "JPEG profile", "it has a profile that nothing asked for"),
        ("PNG cICP of PQ", "PNG cICP of HLG", "code points was (9, 16), is (9, 18)"),
        ("AVIF nclx of P3", "PNG sRGB", "code points was (12, 13), is None"),
        (
            "PNG gAMA of 1",
            "PNG sRGB",
            "(64, 128, 192) looks like (64, 128, 192), not (137, 188, 22",
        ),
        ("GIF animation", "WebP animation", "frame 0: (5, 6, 4) of uint8 instead of (10, 12, 4)"),
    ],
)
def test_what_is_said_wrongly_is_noticed(tmp_path: Path, before: str, after: str, sentence: str):
    by_name = {one.name: one for one in flavour_corpus.flavours()}
    target = tmp_path / f"x{by_name[after].suffix}"
    target.write_bytes(by_name[after].data)
    assert sentence in "; ".join(flavours.differences(by_name[before], target))


@pytest.mark.slow
def test_what_is_said_and_meant_reaches_other_formats(tmp_path: Path):
    names = {
        "PNG iTXt, compressed behind the samples",
        "PNG cICP of PQ",
        "PNG gAMA of 1, cHRM of P3",
    }
    names |= {"JPEG XL EXIF", "WebP panorama", "GIF animation with alpha", "BMP alpha"}
    tried = [one for one in flavour_corpus.flavours() if one.name in names]
    rows = flavours.table(tried, tmp_path)
    assert {one.name: set(row) - {"its own"} for one, row in rows} == {
        one.name: set(one.others) for one in tried
    }
    assert not [(one.name, row) for one, row in rows if any(row.values())]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_readers_read_what_others_write(tmp_path: Path, channels: int, bits: int):
    samples = basics.noise(channels, np.uint8 if bits == 8 else np.uint16)
    (path := tmp_path / "a.png").write_bytes(
        pngs.png(samples, bits, {1: 0, 2: 4, 3: 2, 4: 6}[channels])
    )
    np.testing.assert_array_equal(flavour_readers.read(path), [samples])
    photometric = 1 if channels < 3 else 2
    data = tiffs.tiff(samples, bits, photometric, compression=8)
    (page,) = flavour_readers.read_tiff(data)
    np.testing.assert_array_equal(page, samples)


def test_the_table_ends_in_a_count(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.argv", ["flavours.py", "--only", "BMP"])
    assert flavours.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert "| BMP RGB | its own, png | nothing |" in lines
    assert lines[-1].endswith("0 refused, 0 silent differences")
