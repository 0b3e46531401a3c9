"""Pages and animations, against what Pillow makes of the same files."""

import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from atdsr import imaging
from atdsr.base.errors import AtdsrError
from atdsr.imaging import Metadata, Picture, PictureError, open_frames, read, write, write_frames
from helpers.pictures import SRGB, chunk, noise, smooth

TIMES = (100, 50, 70, 20, 10)
MOVING = ["gif", "webp", "png"]
PILLOW = {"gif": "GIF", "webp": "WEBP", "png": "PNG"}


def moves(channels: int, count: int = 5) -> list[np.ndarray]:
    """Frames in few colours with a hole that wanders."""
    frames = [(np.roll(smooth(channels), 3 * k, 0) // 64) * 64 for k in range(count)]
    if channels in (2, 4):
        for k, frame in enumerate(frames):
            frame[..., -1] = 255
            frame[:10, 5 * k : 5 * k + 10] = 0
    return frames


def pictures(channels: int = 3, count: int = 5) -> Iterator[Picture]:
    return (Picture(frame) for frame in moves(channels, count))


def rgba(samples: np.ndarray) -> np.ndarray:
    return np.array(Image.fromarray(samples.squeeze()).convert("RGBA"))


def shown(path: Path) -> list[np.ndarray]:
    """The frames as Pillow composites them."""
    with Image.open(path) as image:
        return [np.array(frame.convert("RGBA")) for frame in ImageSequence.Iterator(image)]


def animated(path: Path, name: str, count: int = 3, **options) -> Path:
    """An animation that Pillow wrote."""
    first, *rest = [Image.fromarray(np.roll(noise(3), k, 0)) for k in range(count)]
    options = {"duration": [40, 50, 60][:count], "loop": 2} | options
    first.save(path, PILLOW[name], save_all=True, append_images=rest, **options)
    return path


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("name", MOVING)
def test_an_animation_round_trips(tmp_path, name, channels):
    path = tmp_path / f"x.{name}"
    write_frames(pictures(channels), path, durations=TIMES, loop=3)
    frames = open_frames(path)
    assert (len(frames), frames.durations, frames.loop) == (5, TIMES, 3)
    assert (frames.height, frames.width) == (40, 56)
    expected = [rgba(frame) for frame in moves(channels)]
    for _ in range(2):  # one can go through them again
        for frame, wanted in zip(frames, expected, strict=True):
            assert np.array_equal(frame.samples, wanted)
    for frame, wanted in zip(shown(path), expected, strict=True):
        assert np.array_equal(frame, wanted)
    with Image.open(path) as image:
        times = []
        for number in range(5):
            image.seek(number)
            image.load()
            times.append(image.info["duration"])
        assert times == list(TIMES)
        assert image.info["loop"] == (2 if name == "gif" else 3)  # GIF counts what comes after


@pytest.mark.parametrize("loop", [0, 1])
@pytest.mark.parametrize("name", MOVING)
def test_loops(tmp_path, name, loop):
    write_frames(pictures(count=2), tmp_path / f"x.{name}", durations=[10, 10], loop=loop)
    assert open_frames(tmp_path / f"x.{name}").loop == loop


@pytest.mark.parametrize("name", MOVING)
def test_frames_of_others_are_composited(tmp_path, name):
    # frames that hold what changed only, and are disposed of in each of the ways
    for disposal in (0, 1, 2) if name != "webp" else (0,):
        options: dict[str, Any] = {"lossless": True} if name == "webp" else {"disposal": disposal}
        first, *rest = [Image.fromarray(frame) for frame in moves(4, 4)]
        path = tmp_path / f"{disposal}.{name}"
        first.save(path, save_all=True, append_images=rest, duration=30, **options)
        frames = open_frames(path)
        assert frames.durations == (30,) * 4
        for frame, wanted in zip(frames, shown(path), strict=True):
            assert np.array_equal(frame.samples, wanted)


@pytest.mark.parametrize("name", MOVING)
def test_a_file_of_several_is_not_read_as_one(tmp_path, name):
    with pytest.raises(PictureError, match=rf"x\.{name}: the file holds several pages or frames"):
        read(animated(tmp_path / f"x.{name}", name))


def test_a_cover_is_no_frame(tmp_path):
    path = animated(tmp_path / "x.png", "png", default_image=True, duration=[40, 50])
    frames = open_frames(path)
    assert frames.durations == (40, 50)
    for frame, wanted in zip(frames, shown(path)[1:], strict=True):
        assert np.array_equal(frame.samples, wanted)


@pytest.mark.parametrize("name", ["webp", "png"])
def test_profile_and_metadata_of_the_first_frame_stay(tmp_path, name):
    exif = Image.Exif()
    exif[0x013B], exif[0x0112] = "Ann", 1
    said = Metadata(exif.tobytes(), b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>')
    frames = (Picture(frame, SRGB, said) for frame in moves(3))
    write_frames(frames, tmp_path / f"x.{name}", durations=TIMES)
    with Image.open(tmp_path / f"x.{name}") as image:
        assert image.getexif()[0x013B] == "Ann"
        assert image.info["icc_profile"] == SRGB
        assert image.info["xmp"] == b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    picture = next(iter(open_frames(tmp_path / f"x.{name}")))
    assert picture.icc == SRGB
    assert picture.metadata.xmp == b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


def test_an_orientation_turns_every_frame(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = animated(tmp_path / "x.webp", "webp", lossless=True, exif=exif)
    frames = open_frames(path)
    assert (frames.height, frames.width) == (37, 23)
    for frame, wanted in zip(frames, shown(path), strict=True):
        assert np.array_equal(frame.samples, np.rot90(wanted, -1))


def test_quality_of_webp(tmp_path):
    for quality in (20, None):
        frames = (Picture(np.roll(smooth(3), k, 0)) for k in range(3))
        path = tmp_path / f"{quality}.webp"
        write_frames(frames, path, durations=[10] * 3, quality=quality)
    assert (tmp_path / "20.webp").stat().st_size < (tmp_path / "None.webp").stat().st_size


def test_gif_of_many_colours_stays_close(tmp_path):
    samples = smooth(3, 120, 160)
    write(Picture(samples), tmp_path / "x.gif")
    back = read(tmp_path / "x.gif").samples
    assert back.shape == samples.shape
    assert np.abs(back.astype(int) - samples).mean() < 5


def test_gif_shows_half_transparent_pixels_or_does_not(tmp_path):
    samples = smooth(4)
    samples[..., 3] = np.arange(56) * 4
    write(Picture(samples), tmp_path / "x.gif")
    back = read(tmp_path / "x.gif").samples
    assert np.array_equal(back[..., 3], np.where(samples[..., 3] < 128, 0, 255))


def test_pages_of_any_kind_round_trip(tmp_path):
    exif = Image.Exif()
    exif[0x013B] = "Ann"
    said = Metadata(exif.tobytes(), b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>', (300, 300))
    pages = [
        Picture(noise(3), SRGB, said),
        Picture(noise(1, np.uint16, 50, 9)),
        Picture(noise(4, np.uint8, 300, 200), metadata=said),
    ]
    write_frames(iter(pages), tmp_path / "x.tiff")
    frames = open_frames(tmp_path / "x.tiff")
    assert (len(frames), frames.durations) == (3, None)
    for back, page in zip(frames, pages, strict=True):
        assert back.samples.dtype == page.samples.dtype
        assert np.array_equal(back.samples, page.samples)
        assert back.icc == page.icc
        assert back.metadata.xmp == page.metadata.xmp
    with Image.open(tmp_path / "x.tiff") as image:
        sizes, names = [], []
        for page in ImageSequence.Iterator(image):
            sizes.append(page.size)
            names.append(page.getexif().get(0x013B))
            page.load()
        assert sizes == [(37, 23), (9, 50), (200, 300)]
        assert names == ["Ann", None, "Ann"]


def test_pages_of_others(tmp_path):
    first, *rest = [Image.fromarray(noise(c).squeeze()) for c in (3, 1, 4)]
    first.save(tmp_path / "x.tif", save_all=True, append_images=rest, compression="tiff_lzw")
    for back, channels in zip(open_frames(tmp_path / "x.tif"), (3, 1, 4), strict=True):
        assert np.array_equal(back.samples, noise(channels))


def test_a_single_picture_is_a_file_of_one(tmp_path):
    for name in imaging.FORMATS:
        write(Picture(noise(3)), tmp_path / f"x.{name}")
        frames = open_frames(tmp_path / f"x.{name}")
        assert (len(frames), frames.durations, frames.height, frames.width) == (1, None, 23, 37)
        assert [frame.samples.shape for frame in frames] == [(23, 37, 3)]


# What is refused


def test_what_a_format_cannot_hold(tmp_path):
    for name, durations, sentence in [
        ("gif", None, "gif holds no pages; write TIFF"),
        ("tiff", TIMES, "tiff holds no animation; write GIF, WebP, PNG or AVIF"),
        ("jpg", TIMES, "jpg holds no animation"),
        ("png", TIMES[:4], r"number of durations \(4\) differs"),
        ("png", (*TIMES, 10), r"number of durations \(6\) differs"),
    ]:
        with pytest.raises(AtdsrError, match=rf"x\.{name}: .*{sentence}"):
            write_frames(pictures(), tmp_path / f"x.{name}", durations=durations)
    odd = [Picture(noise(3)), Picture(noise(3)[:, 1:])]
    with pytest.raises(PictureError, match=r"have one size .*37x23x3 and 36x23x3"):
        write_frames(odd, tmp_path / "x.gif", durations=[10, 10])
    with pytest.raises(PictureError, match="there is none"):
        write_frames([], tmp_path / "x.tiff")
    with pytest.raises(PictureError, match=r"x\.jpg: jpg holds one picture, not 2"):
        imaging.check_target(tmp_path / "x.jpg", frames=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [*MOVING, "tiff"])
def test_a_failure_on_the_way_leaves_nothing_and_keeps_its_sentence(tmp_path, name):
    def broken() -> Iterator[Picture]:
        yield Picture(noise(3))
        raise PictureError("in.gif: the second one is broken.")

    with pytest.raises(PictureError, match=r"^in\.gif: the second one is broken\.$"):
        write_frames(broken(), tmp_path / f"x.{name}", durations=None if name == "tiff" else [9, 9])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", [0.995, 0.9, 0.5, 0.1])
@pytest.mark.parametrize("name", MOVING)
def test_an_animation_that_is_cut_is_refused_before_anything(tmp_path, name, part):
    data = animated(tmp_path / "whole", name).read_bytes()
    (tmp_path / "x").write_bytes(data[: int(len(data) * part)])
    with pytest.raises(PictureError, match="cut short") as caught:
        open_frames(tmp_path / "x")
    assert "\n" not in str(caught.value)


def test_pages_that_go_in_circles_are_refused(tmp_path):
    write_frames([Picture(noise(1)), Picture(noise(1))], tmp_path / "x.tiff")
    data = bytearray((tmp_path / "x.tiff").read_bytes())
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * count, first)
    (tmp_path / "x.tiff").write_bytes(data)
    with pytest.raises(PictureError, match="runs in a circle"):
        open_frames(tmp_path / "x.tiff")


def gif(path: Path, screen: tuple[int, int], *places: tuple[int, int, int, int]) -> Path:
    """A GIF with frames of next to no data at x, y with width and height."""
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + bytes(6)
    data = b"\x02\x02\x44\x01\0"
    frames = [b"\x2c" + struct.pack("<4HB", *place, 0) + data for place in places]
    path.write_bytes(head + b"".join(frames) + b";")
    return path


def test_bombs_are_refused_before_they_are_decoded(tmp_path):
    tracemalloc.start()
    for (width, height, count), sentence in [
        ((65535, 65535, 2), "65535x65535 is 4,294,836,225 pixels, more than the limit"),
        ((16384, 16384, 300), "300 pictures with a total of 80,530,636,800 pixels are more"),
        ((1, 1, 10_001), "10,001 frames are more than the limit of 10,000"),
    ]:
        places = [(0, 0, width, height)] * count
        path = gif(tmp_path / "x.gif", (width, height), *places)
        with pytest.raises(PictureError, match=sentence):
            open_frames(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**23


@pytest.mark.parametrize(
    "places", [((0, 0, 1, 1), (0, 0, 65535, 65535)), ((65535, 0, 1, 1),), ((0, 65000, 1, 1000),)]
)
def test_a_frame_out_of_its_animation_is_refused(tmp_path, places):
    path = gif(tmp_path / "x.gif", (1, 1), *places)
    with pytest.raises(PictureError, match="a frame reaches out of the animation"):
        open_frames(path)


def test_a_count_that_lies_is_refused(tmp_path):
    data = animated(tmp_path / "x.png", "png").read_bytes()
    at = data.index(b"acTL") - 4
    lie = chunk(b"acTL", struct.pack(">II", 9, 0))
    (tmp_path / "x.png").write_bytes(data[:at] + lie + data[at + len(lie) :])
    with pytest.raises(PictureError, match="cut short"):
        open_frames(tmp_path / "x.png")


@pytest.mark.parametrize("count", [0, 3])
def test_a_second_count_is_refused(tmp_path, count):
    data = animated(tmp_path / "x.png", "png").read_bytes()
    at = data.index(b"acTL") - 4
    first = chunk(b"acTL", struct.pack(">II", count, 0))
    (tmp_path / "x.png").write_bytes(data[:at] + first + data[at:])
    with pytest.raises(PictureError, match="damaged or cut short"):  # and without a warning
        open_frames(tmp_path / "x.png")


@pytest.mark.parametrize("name", [*MOVING, "tiff"])
def test_few_frames_are_in_memory_at_a_time(tmp_path, name):
    def peak(count: int) -> int:
        frames = (Picture(np.full((200, 300, 4), 9 * k, np.uint8)) for k in range(count))
        durations = None if name == "tiff" else [10] * count
        path = tmp_path / f"{count}.{name}"
        tracemalloc.start()
        write_frames(frames, path, durations=durations)
        for frame in open_frames(path):
            assert frame.width == 300
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(2)  # what is loaded on first use
    assert peak(25) < peak(5) + 2 * 4 * 200 * 300


def test_mutated_files_are_a_sentence(tmp_path):
    chance = np.random.default_rng(0)
    sources = [animated(tmp_path / name, name).read_bytes() for name in MOVING]
    write_frames([Picture(noise(3)), Picture(noise(1))], tmp_path / "p.tiff")
    sources.append((tmp_path / "p.tiff").read_bytes())
    sentences = []
    for number in range(200):
        data = bytearray(sources[number % 4])
        for at in chance.integers(0, min(len(data), 500), 4):
            data[at] = chance.choice([0, 255, 128])
        (tmp_path / "x").write_bytes(data)
        try:
            for frame in open_frames(tmp_path / "x", max_pixels=2**20):
                assert frame.samples.size
        except PictureError as error:
            sentences.append(str(error))
    assert len(sentences) > 50
    assert not any("\n" in sentence for sentence in sentences)
