"""Writing: wholly or not at all, and what is refused."""

import errno
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from atdsr import imaging
from atdsr.base import files
from atdsr.base.errors import AtdsrError
from atdsr.base.files import FileError
from atdsr.imaging import Picture, PictureError, read, write
from helpers.pictures import noise, smooth

ALL = sorted(imaging.FORMATS)


@pytest.mark.parametrize("name", ALL)
def test_existing_file_is_kept(tmp_path, name):
    path = tmp_path / f"x.{name}"
    path.write_bytes(b"mine")
    with pytest.raises(FileError, match="exists and is kept"):
        write(Picture(noise(3)), path)
    assert path.read_bytes() == b"mine"
    write(Picture(noise(3)), path, overwrite=True)
    assert read(path).width == 37
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", [Image.fromarray, np.asarray, torch.from_numpy])
def test_images_arrays_and_tensors_are_written_as_well(tmp_path, kind):
    samples = noise(3)
    tensor = samples.transpose(2, 0, 1).copy()
    write(kind(tensor if kind is torch.from_numpy else samples), tmp_path / "x.png")
    assert np.array_equal(read(tmp_path / "x.png").samples, samples)


def test_floats_are_written_with_8_bits(tmp_path):
    write(np.full((4, 5), 0.5), tmp_path / "x.png")
    assert np.array_equal(read(tmp_path / "x.png").samples, np.full((4, 5, 1), 128, np.uint8))
    write(Image.new("F", (5, 4), 127.6), tmp_path / "y.png")
    assert np.array_equal(read(tmp_path / "y.png").samples, np.full((4, 5, 1), 128, np.uint8))


def test_an_image_keeps_its_profile_and_metadata(tmp_path):
    image = Image.fromarray(noise(3))
    image.info["dpi"] = (300, 300)
    write(image, tmp_path / "x.png")
    assert read(tmp_path / "x.png").metadata.dpi == pytest.approx((300, 300), abs=0.1)


def test_frames_may_be_arrays(tmp_path):
    frames = [noise(3), np.flipud(noise(3))]
    imaging.write_frames(frames, tmp_path / "x.tiff")
    for page, frame in zip(imaging.open_frames(tmp_path / "x.tiff"), frames, strict=True):
        assert np.array_equal(page.samples, frame)


untyped: Any = imaging  # as a program that no type checker has read calls it


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda path: untyped.write(None, path), "None is not a picture; pass"),
        (lambda path: untyped.write(path, path), "the name of a file is not a picture"),
        (
            lambda path: untyped.write(torch.zeros(2, 3, 4, 4), path),
            "holds 2 pictures; write them one by",
        ),
        (lambda path: untyped.write_frames([3], path), "an object of type int is not a picture"),
        (
            lambda path: untyped.write(noise(3), path, quality="90"),
            "quality is from 1 to 100, not '90'",
        ),
        (
            lambda path: untyped.write(noise(3), path, quality=True),
            "quality is from 1 to 100, not True",
        ),
        (
            lambda path: untyped.write(noise(3), path, quality=0.5),
            "quality is from 1 to 100, not 0.5",
        ),
        (lambda path: untyped.write(noise(3), None), "None is not the name of a file; pass a path"),
        (lambda path: untyped.notices(Picture(noise(3)), 3), "3 is not the name of a file"),
        (lambda path: untyped.notices(None, path), "None is not a picture"),
        (lambda path: untyped.check_target(None), "None is not the name of a file"),
        (lambda path: untyped.read(None), "None is not the name of a file; pass a path"),
        (lambda path: untyped.open_frames(b"x.png"), "b'x.png' is not the name of a file"),
    ],
)
def test_arguments_of_other_types_are_refused(tmp_path, call, words):
    with pytest.raises(PictureError, match=words):
        call(tmp_path / "x.tiff")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("links", [True, False])
def test_file_that_appears_during_the_work_is_kept(tmp_path, monkeypatch, links):
    monkeypatch.setattr(files, "check_target", lambda *a, **k: None)
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", no_links)
    (tmp_path / "x.png").write_bytes(b"mine")
    with pytest.raises(FileError, match=r"x\.png: .*(is kept|File exists)"):
        write(Picture(noise(3)), tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes() == b"mine"
    assert len(list(tmp_path.iterdir())) == 1


def no_links(self, target):
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_file_system_without_links(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    write(Picture(noise(3)), tmp_path / "x.png")
    assert np.array_equal(read(tmp_path / "x.png").samples, noise(3))
    assert len(list(tmp_path.iterdir())) == 1


def test_failed_rename_without_links_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    monkeypatch.setattr(Path, "replace", no_links)
    with pytest.raises(FileError, match="not permitted"):
        write(Picture(noise(3)), tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_failure_in_mid_write_leaves_everything_as_it_was(
    tmp_path, monkeypatch, failure, overwrite
):
    path = tmp_path / "x.png"
    if overwrite:
        path.write_bytes(b"mine")

    def full(descriptor):
        assert os.fstat(descriptor).st_size > 0  # the temporary file is there by now
        raise failure

    monkeypatch.setattr(os, "fsync", full)
    expected = KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else FileError
    with pytest.raises(expected) as caught:
        write(Picture(noise(3)), path, overwrite=overwrite)
    if expected is FileError:
        assert "x.png: the file cannot be written: No space left" in str(caught.value)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([b"mine"] if overwrite else [])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize("suffix", imaging.FORMATS.values())
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_disk_that_takes_only_a_part(tmp_path, suffix, part):
    import resource

    path, picture = tmp_path / f"x{suffix}", Picture(noise(3))
    write(picture, path)
    whole = path.read_bytes()
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(part * len(whole)), usual[1]))
    try:
        with pytest.raises(FileError, match="cannot be written"):
            write(picture, path, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(FileError, match=r"x\.png: .*Permission denied"):
        write(Picture(noise(3)), tmp_path / "x.png")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_folder_that_takes_no_files():
    with pytest.raises(FileError, match=r"/proc/self/x\.png: the folder /proc/self may not be"):
        write(Picture(noise(3)), "/proc/self/x.png")


def test_refused_targets(tmp_path):
    clear = Picture(noise(4))
    for path, picture, sentence in [
        (tmp_path / "x.jpg", clear, "no transparency in jpg; write PNG"),
        (tmp_path / "x.bmp", clear, "no transparency in bmp; write PNG"),
        (tmp_path / "x.xyz", clear, "no format has the suffix '.xyz'"),
        (tmp_path / ("x" * 300 + ".png"), clear, "File name too long"),
    ]:
        with pytest.raises(AtdsrError, match=sentence):
            write(picture, path)
    with pytest.raises(AtdsrError, match="quality is from 1 to 100, not 0"):
        write(clear, tmp_path / "x.webp", quality=0)
    with pytest.raises(AtdsrError, match=r"wide\.webp: 20000x1 is more than webp can hold"):
        write(Picture(np.zeros((1, 20_000, 3), np.uint8)), tmp_path / "wide.webp")
    (tmp_path / "f.png").mkdir()
    with pytest.raises(AtdsrError, match="this is a folder"):
        write(clear, tmp_path / "f.png", overwrite=True)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("name", ["jpg", "bmp"])
def test_full_alpha_is_dropped_where_there_is_none(tmp_path, name, channels):
    samples = smooth(channels)
    samples[..., -1] = 255
    write(Picture(samples), tmp_path / f"x.{name}")
    assert read(tmp_path / f"x.{name}").samples.shape[2] == channels - 1


def test_new_file_obeys_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write(Picture(noise(3)), tmp_path / "x.png")
    finally:
        os.umask(old)
    assert (tmp_path / "x.png").stat().st_mode & 0o777 == 0o640


def test_picture_refuses_what_is_none():
    for samples in (noise(3)[0], noise(3).astype(float), np.zeros((4, 4, 5), np.uint8)):
        with pytest.raises(PictureError, match=r"a picture (is an array|has 1 to 4)"):
            Picture(samples)
