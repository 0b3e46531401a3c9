"""No part of a TIFF file is filled in: what cannot be decoded is refused in one sentence."""

import lzma
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image

from atdsr import imaging
from atdsr.imaging import PictureError, read
from atdsr.imaging.metadata.tags import first, layout_of, read_table
from helpers.pictures import noise, smooth
from tiff_files import Tiff, cut

H, W = 70, 90
VIPS = ["deflate", "lzw", "jpeg", "packbits", "webp"]
DAMAGES = ["garbled", "zeroed", "halved", "beyond the end", "no place", "no bytes"]
SENTENCE = r"x\.tif: a (strip|tile|strip or tile) of it .*it is damaged or cut short\.$"


def refused(path) -> None:
    with pytest.raises(PictureError, match=SENTENCE) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def damaged(data: bytes, what: str) -> bytes:
    """The file with its second to last part damaged."""
    layout = layout_of(data)
    table, _ = read_table(data, first(data, layout), layout)
    tag = 324 if 324 in table else 273
    places, sizes = (table[t].numbers(layout) for t in (tag, {324: 325, 273: 279}[tag]))
    place, size = places[-2], sizes[-2]
    content = bytearray(data)
    if what == "garbled":
        content[place : place + size] = np.random.default_rng(1).bytes(size)
    elif what == "zeroed":
        content[place : place + size] = bytes(size)
    else:
        wrong = {"beyond the end": (place, len(data) + 100), "no place": (place, 0)}
        wrong |= {"no bytes": (size, 0), "halved": (size, size // 2)}
        old, new = wrong[what]
        entry = table[{place: tag}.get(old, {324: 325, 273: 279}[tag])]
        at = data.index(entry.data)
        count = len(entry.data) // (2 if entry.kind == 3 else 4)
        letter = {3: "H", 4: "I"}[entry.kind]
        numbers = list(struct.unpack(f"<{count}{letter}", entry.data))
        numbers[-2] = new
        content[at : at + len(entry.data)] = struct.pack(f"<{count}{letter}", *numbers)
    return bytes(content)


@pytest.mark.parametrize("what", DAMAGES)
@pytest.mark.parametrize("tile", [False, True])
@pytest.mark.parametrize("compression", VIPS)
def test_damaged_part_is_refused(tmp_path, compression, tile, what):
    image = pyvips.Image.new_from_array(noise(3, h=H, w=W))
    size: dict[str, Any] = {"tile_width": 32, "tile_height": 32 if tile else 16}
    data = image.tiffsave_buffer(compression=compression, tile=tile, **size)
    path = tmp_path / "x.tif"
    path.write_bytes(data)
    assert read(path).height == H
    path.write_bytes(damaged(data, what))
    refused(path)


def file_of(
    pack: Callable[[bytes], bytes], compression: int, *, big: bool = False, planar: bool = False
) -> Tiff:
    samples = smooth(3, H, W)
    if planar:
        parts = [t.tobytes() for k in range(3) for t in cut(samples[..., k : k + 1], 32, 32)]
    else:
        parts = [t.tobytes() for t in cut(samples, 32, 32)]
    packs = [pack(part) for part in parts]
    return Tiff(packs, W, H, 2, [8] * 3, compression, tile=(32, 32), big=big, planar=planar)


@pytest.mark.parametrize("what", DAMAGES)
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("compression", "pack"), [(8, zlib.compress), (34925, lzma.compress)])
def test_damaged_tile_of_planes_and_big_files(tmp_path, compression, pack, big, planar, what):
    file = file_of(pack, compression, big=big, planar=planar)
    path = tmp_path / "x.tif"
    path.write_bytes(file.bytes())
    assert np.array_equal(read(path).samples, smooth(3, H, W))
    number = 7
    size = file.sizes[number]
    if what in ("garbled", "zeroed"):
        wrong = bytes(size) if what == "zeroed" else np.random.default_rng(2).bytes(size)
        file.parts = [*file.parts[:number], wrong, *file.parts[number + 1 :]]
    elif what in ("halved", "no bytes"):
        file.sizes[number] = size // 2 if what == "halved" else 0
    else:
        file.places[number] = 0 if what == "no place" else 10**6
    path.write_bytes(file.bytes())
    refused(path)


@pytest.mark.parametrize("what", ["halved", "beyond the end", "no place", "no bytes", "sparse"])
@pytest.mark.parametrize("planar", [False, True])
def test_missing_part_without_compression(tmp_path, planar, what):
    file = file_of(bytes, 1, planar=planar)
    wrong = {"halved": (None, file.sizes[3] // 2), "beyond the end": (10**6, None)}
    wrong |= {"no place": (0, None), "no bytes": (None, 0), "sparse": (0, 0)}
    place, size = wrong[what]
    file.places[3] = file.places[3] if place is None else place
    file.sizes[3] = file.sizes[3] if size is None else size
    path = tmp_path / "x.tif"
    path.write_bytes(file.bytes())
    refused(path)


def test_bytes_without_compression_are_data(tmp_path):
    """Nothing tells zeros that a disk lost from zeros that somebody meant."""
    file = file_of(bytes, 1)
    file.parts = [*file.parts[:3], bytes(file.sizes[3]), *file.parts[4:]]
    path = tmp_path / "x.tif"
    path.write_bytes(file.bytes())
    want = smooth(3, H, W)
    want[32:64, :32] = 0
    assert np.array_equal(read(path).samples, want)


def test_fewer_parts_than_the_picture_needs(tmp_path):
    for compression, pack in ((1, bytes), (8, zlib.compress)):
        file = file_of(pack, compression)
        file.places, file.sizes = file.places[:-1], file.sizes[:-1]
        (tmp_path / "x.tif").write_bytes(file.bytes())
        refused(tmp_path / "x.tif")


@pytest.mark.parametrize("keep", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("scheme", ["group3", "group4", "tiff_ccitt", "lzma", "packbits"])
def test_strip_that_ends_early(tmp_path, scheme, keep):
    bitmap = noise(1, h=H, w=W)[..., 0] > 90
    samples = bitmap if scheme.startswith(("group", "tiff")) else noise(3, h=H, w=W)
    path = tmp_path / "x.tif"
    Image.fromarray(samples).save(path, compression=scheme)
    data = path.read_bytes()
    layout = layout_of(data)
    table, _ = read_table(data, first(data, layout), layout)
    place, size = (table[tag].numbers(layout)[0] for tag in (273, 279))
    start = place + int(size * keep)
    path.write_bytes(data[:start] + bytes(place + size - start) + data[place + size :])
    with pytest.raises(PictureError, match=SENTENCE):
        read(path)


def test_strip_that_is_counted_too_large_is_read(tmp_path):
    """Some writers count the last strip, which is lower, as a whole one."""
    samples = smooth(3, H, W)
    strips = [samples[y : y + 16].tobytes() for y in range(0, H, 16)]
    file = Tiff(strips, W, H, 2, [8] * 3, rows=16)
    file.sizes[-1] = file.sizes[0]
    (tmp_path / "x.tif").write_bytes(file.bytes())
    assert np.array_equal(read(tmp_path / "x.tif").samples, samples)


def test_damage_in_a_later_page(tmp_path):
    path = tmp_path / "x.tif"
    pages = [Image.fromarray(noise(3, h=H, w=W)) for _ in range(3)]
    pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_adobe_deflate")
    data = path.read_bytes()
    layout = layout_of(data)
    _, second = read_table(data, first(data, layout), layout)
    table, _ = read_table(data, second, layout)
    place, size = (table[tag].numbers(layout)[0] for tag in (273, 279))
    path.write_bytes(data[:place] + bytes(size) + data[place + size :])
    found = iter(imaging.open_frames(path))
    assert np.array_equal(next(found).samples, noise(3, h=H, w=W))
    with pytest.raises(PictureError, match=SENTENCE):
        next(found)


def test_nothing_is_printed(tmp_path, capfd):
    for compression, pack in ((8, zlib.compress), (34925, lzma.compress)):
        file = file_of(pack, compression)
        file.parts = [bytes(len(part)) for part in file.parts]
        (tmp_path / "x.tif").write_bytes(file.bytes())
        refused(tmp_path / "x.tif")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("at", range(0, 1400, 100))
@pytest.mark.parametrize("tile", [False, True])
def test_checksum_of_deflate_counts(tmp_path, tile, at):
    """Some bytes of zeros, which decode to as many samples as there should be."""
    image = pyvips.Image.new_from_array(noise(3, h=64, w=64))
    size: dict[str, Any] = {"tile_width": 32, "tile_height": 32}
    data = bytearray(image.tiffsave_buffer(compression="deflate", tile=tile, **size))
    data[1000 + at : 1100 + at] = bytes(100)
    path = tmp_path / "x.tif"
    path.write_bytes(data)
    refused(path)


def test_deflate_without_its_checksum_and_with_a_filled_up_strip_is_read(tmp_path):
    samples = smooth(1, 20, 30)
    filled = np.concatenate([samples, np.zeros((12, 30, 1), np.uint8)])
    packs = [zlib.compress(filled[:16].tobytes())[:-4], zlib.compress(filled[16:].tobytes())]
    path = tmp_path / "x.tif"
    path.write_bytes(Tiff(packs, 30, 20, 1, [8], 8, rows=16).bytes())
    np.testing.assert_array_equal(read(path).samples, samples)
