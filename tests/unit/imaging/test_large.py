"""Results that are larger than memory, and than formats: `scratch`, and what is refused."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from atdsr import imaging
from atdsr.base.files import FileError
from atdsr.imaging import Picture, PictureError, formats, read, write
from helpers.pictures import noise


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("name", sorted(imaging.FORMATS))
def test_a_scratch_is_written_like_any_array(tmp_path, name, channels, dtype):
    samples = noise(channels, dtype)
    if channels in (2, 4):
        samples[..., -1] = np.iinfo(dtype).max
    write(Picture(samples), tmp_path / f"plain.{name}")
    with imaging.temporary_array(tmp_path / f"x.{name}", samples.shape, dtype) as array:
        assert not array.any()
        array[:] = samples
        imaging.release_memory(array)
        assert np.array_equal(array, samples)
        write(Picture(array), tmp_path / f"x.{name}")
    assert (tmp_path / f"x.{name}").read_bytes() == (tmp_path / f"plain.{name}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_part_of_a_scratch_is_that_part(tmp_path):
    with imaging.temporary_array(tmp_path / "x.png", (20, 30, 3), np.uint8) as array:
        array[:] = noise(3, h=20, w=30)
        parts = {"a": array[5:], "b": array[:, ::-1], "c": array.reshape(30, 20, 3)}
        for name, part in parts.items():
            write(Picture(part), tmp_path / f"{name}.png")
            assert np.array_equal(read(tmp_path / f"{name}.png").samples, part)


def test_a_scratch_goes_away_whatever_happens(tmp_path):
    def interrupted() -> None:
        with imaging.temporary_array(tmp_path / "new" / "x.png", (5, 5, 3), np.float32) as array:
            assert array.dtype == np.float32
            assert len(list((tmp_path / "new").iterdir())) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak, and sets a limit")
def test_memory_stays_bounded_and_a_full_disk_is_a_sentence(tmp_path):
    script = f"""
import resource, numpy as np
from atdsr import imaging
from atdsr.base.files import FileError

def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])

with imaging.temporary_array({str(tmp_path / "x.jpg")!r}, (8000, 8000, 3), np.uint8) as array:
    imaging.write(imaging.Picture(array[:9].copy()), {str(tmp_path / "warm.jpg")!r})
    for row in range(0, 8000, 500):
        array[row : row + 500] = row % 256
        imaging.release_memory(array)
    before = peak()
    imaging.write(imaging.Picture(array), {str(tmp_path / "x.jpg")!r})
    print((peak() - before) / 1024)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**17, 2**17))
for suffix in ("png", "tiff", "jpg", "webp", "avif", "bmp", "gif"):
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    quality = 100 if suffix in ("jpg", "avif") else None
    try:
        imaging.write(imaging.Picture(noise), f"{tmp_path}/full.{{suffix}}", quality=quality)
    except FileError as error:
        print(error)
try:
    with imaging.temporary_array("{tmp_path}/full.png", (1500, 1500, 3), np.uint8):
        pass
except FileError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    grown, *sentences, room = done.stdout.splitlines()
    assert float(grown) < 60  # of 183 MiB of samples
    assert [sentence.rpartition(": ")[2] for sentence in sentences] == ["File too large."] * 7
    assert all("the file cannot be written" in sentence for sentence in sentences)
    assert "disk space beside it cannot be reserved" in room
    assert sorted(path.name for path in tmp_path.iterdir()) == ["warm.jpg", "x.jpg"]


def test_room_that_may_not_be_had(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(FileError, match="is not a folder"),
        imaging.temporary_array(tmp_path / "file" / "x.png", (5, 5, 3), np.uint8),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "longest"),
    [("webp", 16383), ("jpg", 65500), ("avif", 16384), ("gif", 65535), ("bmp", 2**31 - 1)],
)
def test_sizes_that_a_format_cannot_hold_are_refused_early(tmp_path, name, longest):
    path = tmp_path / f"x.{name}"
    for size in ((longest, 1), (1, longest)):
        if name != "bmp":  # whose bytes are counted too
            imaging.check_target(path, size=size)
    for size in ((longest + 1, 1), (1, longest + 1)):
        with pytest.raises(PictureError, match=rf"x\.{name}: .* is more than {name} can hold"):
            imaging.check_target(path, size=size)


@pytest.mark.parametrize("name", ["webp", "jpg", "avif", "gif"])
def test_the_longest_side_is_what_can_be_written(tmp_path, name):
    longest = formats.TABLE[name].longest_side
    write(Picture(np.zeros((1, longest, 3), np.uint8)), tmp_path / f"x.{name}")
    assert read(tmp_path / f"x.{name}").width == longest


def test_bmp_ends_at_four_gib(tmp_path):
    with pytest.raises(PictureError, match="40000x40000 is more than bmp can hold"):
        imaging.check_target(tmp_path / "x.bmp", size=(40_000, 40_000))


def test_options_in_the_names_of_folders_mean_nothing(tmp_path):
    folder = tmp_path / "a[Q=1].png"
    folder.mkdir()
    for name in imaging.FORMATS:
        path = Path(folder, f"[n=2] é.{name}")
        write(Picture(noise(3)), path)
        assert read(path).width == 37
    with imaging.temporary_array(folder / "x.png", noise(3).shape, np.uint8) as array:
        array[:] = noise(3)
        write(Picture(array), folder / "x.png")
    assert np.array_equal(read(folder / "x.png").samples, noise(3))
