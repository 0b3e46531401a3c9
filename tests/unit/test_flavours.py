"""`benchmarks/flavours.py`: what is promised is kept, and what is not would be noticed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import flavour_corpus
import flavours
from flavour_corpus import Flavour


def test_every_promised_flavour_comes_out_right(tmp_path: Path):
    tried = [one for one in flavour_corpus.flavours() if not one.name.startswith("AVIF ")]
    assert len({one.name for one in tried}) == len(tried) > 120
    wrong = zip(tried, flavours.outcomes(tried, tmp_path, None), strict=True)
    assert {one.name: said for one, said in wrong if said} == {}


def test_what_is_wrong_is_noticed(tmp_path: Path):
    by_name = {one.name: one for one in flavour_corpus.flavours()}
    gray, animation = by_name["PNG gray 8 bits"], by_name["GIF animation"]
    pages, jpeg = by_name["TIFF pages"], by_name["JPEG 4:4:4"]
    rgb = by_name["PNG RGB 16 bits"]
    told = flavour_corpus.png(gray.frames[0], 8, 0, flavour_corpus.chunk(b"tEXt", b"Author\0A"))
    turned = flavour_corpus.exif(6)
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
    one = Flavour("told", ".png", told, gray.frames)
    (target := tmp_path / "a.png").write_bytes(by_name["PNG RGB 8 bits"].data)
    said = "; ".join(flavours.differences(one, target))
    assert "text was 'A', is None" in said
    laid = flavour_corpus.image(np.zeros((18, 28, 3), np.uint8))
    target.write_bytes(flavour_corpus.saved(laid, "PNG", exif=turned))
    assert "it is said to lie turned" in "; ".join(flavours.differences(one, target))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_readers_read_what_others_write(tmp_path: Path, channels: int, bits: int):
    samples = flavour_corpus.noise(channels, np.uint8 if bits == 8 else np.uint16)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    np.testing.assert_array_equal(
        flavours.read_png(flavour_corpus.png(samples, bits, kind)), samples
    )
    photometric = 1 if channels < 3 else 2
    data = flavour_corpus.tiff(samples, bits, photometric, compression=8)
    (page,) = flavours.read_tiff(data)
    np.testing.assert_array_equal(page, samples)


def test_the_table_ends_in_a_count(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.argv", ["flavours.py", "--only", "BMP"])
    assert flavours.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert "| BMP RGB | ok | ok |" in lines
    assert lines[-1].endswith("flavours, 0 silent differences")
