"""Making packed sets: what is kept of pictures, of interruptions, and what is refused."""

import multiprocessing
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections import namedtuple
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from atdsr import datasets, imaging
from atdsr.base import files
from atdsr.base.errors import AtdsrError
from atdsr.base.reporter import Reporter
from atdsr.datasets import (
    DataError,
    PackConfig,
    PackedSet,
    Teacher,
    pack_writer,
    packed_set,
    source_images,
)
from atdsr.imaging.resample import downscale
from helpers.packing import content, noise_folder, pack_to_be_killed, pack_with_limit
from helpers.pictures import noise


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three RGB pictures and a gray one, some in a folder inside."""
    folder = tmp_path / "pictures"
    (folder / "inner").mkdir(parents=True)
    Image.fromarray(noise(h=50, w=61)).save(folder / "a.png")
    Image.fromarray(noise(h=48, w=48, seed=1)).save(folder / "inner" / "b.png")
    Image.fromarray(noise(h=70, w=49, seed=2)[..., 0]).save(folder / "c.png")
    wide = noise(h=48, w=48, seed=3).astype(np.uint16) * 257
    imaging.write(imaging.Picture(wide), folder / "d.png")
    (folder / "notes.txt").write_text("not a picture")
    (folder / "._a.png").write_text("nor is this")
    return folder


def test_a_packed_set_holds_the_pictures_and_their_reductions(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    datasets.pack(folder, out, PackConfig((2, 3)))
    packed = PackedSet(out, 3)
    assert [record.name for record in packed.records] == ["a.png", "c.png", "d.png", "inner/b.png"]
    lr, hr = packed.pair(0)
    assert np.array_equal(hr, noise(h=50, w=61)[:48, :60])
    assert np.array_equal(lr, downscale(hr, 3))
    _, gray = packed.pair(1)
    assert np.array_equal(gray, noise(h=70, w=49, seed=2)[:60, :48, :1].repeat(3, axis=2))
    assert np.array_equal(packed.pair(2)[1], noise(h=48, w=48, seed=3))
    assert np.array_equal(PackedSet(out, 2).pair(3)[0], downscale(noise(h=48, w=48, seed=1), 2))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pictures", "set"]
    assert sorted(content(out)) == ["hr.bin", "index.json", "lr_x2.bin", "lr_x3.bin"]
    assert out.stat().st_mode & 0o777 == folder.stat().st_mode & 0o777


def test_the_bytes_are_the_same_for_any_number_of_threads(tmp_path: Path) -> None:
    folder = noise_folder(tmp_path / "pictures", 7)
    sets = []
    for workers in (1, 3, 20):
        datasets.pack(folder, tmp_path / str(workers), workers=workers)
        sets.append(content(tmp_path / str(workers)))
    assert sets[0] == sets[1] == sets[2]


def test_only_a_few_pictures_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the disk: a picture is read only when an earlier one was written."""
    folder = noise_folder(tmp_path / "pictures", 12)
    read, most, lock = 0, 0, threading.Lock()
    load, add = source_images.load, pack_writer.PackWriter.add

    def counted(*arguments: Any) -> Any:
        nonlocal read, most
        with lock:
            read += 1
            most = max(most, read)
        return load(*arguments)

    def slow(self: pack_writer.PackWriter, *arguments: Any) -> None:
        nonlocal read
        time.sleep(0.02)
        add(self, *arguments)
        with lock:
            read -= 1

    monkeypatch.setattr(source_images, "load", counted)
    monkeypatch.setattr(pack_writer.PackWriter, "add", slow)
    datasets.pack(folder, tmp_path / "set", workers=2)
    assert 2 <= most <= 4  # two threads, one that waits, one that is written


# ----------------------------------------------------------------------------------------- LR


@pytest.mark.parametrize(
    ("low", "lr", "template"),
    [
        ("DIV2K_train_LR_bicubic/X2/{}x2.png", "DIV2K_train_LR_bicubic", "{}"),
        ("DIV2K_train_LR_bicubic/X2/{}x2.png", "DIV2K_train_LR_bicubic/X2", "{}"),
        ("lr/x2/{}.png", "lr", "{}"),
        ("lr/lr_{}.png", "lr", "lr_{}"),
    ],
)
def test_lr_pictures_are_taken(tmp_path: Path, low: str, lr: str, template: str) -> None:
    folder = noise_folder(tmp_path / "DIV2K_train_HR", 2, 50, 61)
    for number in range(2):
        path = tmp_path / low.format(f"{number:04}")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(h=25, w=30 + number, seed=9 + number)).save(
            path
        )  # cut, and rounded up
    packed = datasets.pack(folder, tmp_path / "set", PackConfig((2,), tmp_path / lr, template))
    for number in range(2):
        small, large = packed.pair(number)
        assert np.array_equal(large, noise(h=50, w=61, seed=number)[:48, :60])
        assert np.array_equal(small, noise(h=25, w=30 + number, seed=9 + number)[:24, :30])
    assert datasets.check(tmp_path / "set").damage == ()


def test_lr_pictures_of_several_scales(tmp_path: Path) -> None:
    folder = noise_folder(tmp_path / "hr", 1)
    for scale in (2, 3):
        (tmp_path / "lr" / f"X{scale}").mkdir(parents=True)
        small = noise(h=48 // scale, w=60 // scale, seed=scale)
        Image.fromarray(small).save(tmp_path / "lr" / f"X{scale}" / f"0000x{scale}.png")
    datasets.pack(folder, tmp_path / "set", PackConfig((2, 3), tmp_path / "lr"))
    for scale in (2, 3):
        small = noise(h=48 // scale, w=60 // scale, seed=scale)
        assert np.array_equal(PackedSet(tmp_path / "set", scale).pair(0)[0], small)
    for scales, lr in (((2, 4), "lr"), ((2,), "lr/X3"), ((2, 3), "lr/X2")):
        with pytest.raises(DataError, match=r"has no folder X[234] with the LR pictures"):
            datasets.pack(folder, tmp_path / "other", PackConfig(scales, tmp_path / lr))


def test_lr_pictures_that_are_none(tmp_path: Path) -> None:
    folder = noise_folder(tmp_path / "hr", 2)
    noise_folder(tmp_path / "lr", 1, 24, 30)
    out = tmp_path / "set"
    with pytest.raises(DataError, match=r"lr has no LR picture for .*0001\.png"):
        datasets.pack(folder, out, PackConfig((2,), tmp_path / "lr"))
    Image.fromarray(noise(h=24, w=29)).save(tmp_path / "lr" / "0001.png")
    sentence = r"lr/0001\.png is 29x24 and .*hr/0001\.png is 60x48, which is no pair for scale 2"
    with pytest.raises(DataError, match=sentence):
        datasets.pack(folder, out, PackConfig((2,), tmp_path / "lr"))
    with pytest.raises(DataError, match="'x2' must be a file's name with"):
        datasets.pack(folder, out, PackConfig((2,), tmp_path / "lr", "x2"))


# ----------------------------------------------------------------------- what cannot be packed


def test_what_cannot_be_packed(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no pictures"):
        datasets.pack(tmp_path / "empty", out)
    with pytest.raises(DataError, match="gone does not exist"):
        datasets.pack(tmp_path / "gone", out)
    for scales in ((5,), (), (2, 2)):
        with pytest.raises(DataError, match="among 2, 3 and 4"):
            datasets.pack(folder, out, PackConfig(scales))
    with pytest.raises(DataError, match="exists"):
        datasets.pack(folder, tmp_path / "empty")
    with pytest.raises(files.FileError, match="Not a directory"):
        datasets.pack(folder, folder / "a.png" / "set")
    Image.new("RGB", (11, 40)).save(folder / "A small.png")
    with pytest.raises(DataError, match=r"A small\.png has a side of fewer than 12 pixels"):
        datasets.pack(folder, out)
    (folder / "A small.png").unlink()
    Image.new("RGBA", (40, 40)).save(folder / "A clear.png")
    with pytest.raises(DataError, match=r"A clear\.png has transparency"):
        datasets.pack(folder, out)
    (folder / "A clear.png").unlink()
    Image.new("RGB", (40, 40)).save(folder / "two\nlines.png")
    with pytest.raises(
        DataError, match=r"'two\\nlines\.png' in .* has too long a name, or an unprintable one"
    ):
        datasets.pack(folder, out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "pictures"]


def test_a_channel_of_alpha_that_hides_nothing_is_left_out(tmp_path: Path) -> None:
    """As in most screenshots."""
    rgb = np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8)
    (tmp_path / "pictures").mkdir()
    Image.fromarray(rgb).convert("RGBA").save(tmp_path / "pictures" / "a.png")
    Image.fromarray(rgb[..., 0]).convert("LA").save(tmp_path / "pictures" / "b.png")
    packed = datasets.pack(tmp_path / "pictures", tmp_path / "set")
    assert np.array_equal(packed.pair(0)[1], rgb)
    assert np.array_equal(packed.pair(1)[1], rgb[..., :1].repeat(3, axis=2))


def test_a_picture_that_changes_meanwhile(tmp_path: Path) -> None:
    folder = noise_folder(tmp_path / "pictures", 3)
    found = source_images.find(folder, PackConfig())
    os.utime(folder / "0002.png", (1, 1))
    with pytest.raises(DataError, match=r"0002\.png was changed while it was packed"):
        source_images.load(found[2], PackConfig())


def test_a_disk_that_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = noise_folder(tmp_path / "pictures", 40)
    needed = source_images.estimate_bytes(source_images.find(folder, PackConfig()), PackConfig())
    assert needed == pytest.approx(40 * 48 * 60 * 3 * 1.25, rel=0.01)
    usage = namedtuple("usage", "total used free")
    for free, fits in ((needed // 2, False), (needed, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage(free, 0, free))
        if fits:
            datasets.pack(folder, tmp_path / "set")
        else:
            with pytest.raises(DataError, match=r"set needs about .* KiB more, and its disk has"):
                datasets.pack(folder, tmp_path / "set")
            assert not (tmp_path / ".set.partial").exists()


# ------------------------------------------------------------------------------- going on later


@pytest.fixture(scope="module")
def children() -> Any:
    """Where child processes come from that have everything imported and no threads yet."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["packing"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # where it finds `packing`
        forkserver.ensure_running()
    return context


@pytest.mark.slow
def test_killed_at_any_moment_packing_goes_on(tmp_path: Path, children: Any) -> None:
    folder = noise_folder(tmp_path / "pictures", 30, 120, 144)
    datasets.pack(folder, tmp_path / "whole")
    out = tmp_path / "set"
    moments = random.Random(0)
    kills = 0
    while not out.exists():
        # However late this process sees the journal grow, three are killed before the set is there.
        at_most = 8 if kills < 3 else 31
        child = children.Process(target=pack_to_be_killed, args=(folder, out, at_most))
        child.start()
        journal = tmp_path / ".set.partial" / pack_writer.JOURNAL
        before = journal.stat().st_size if journal.exists() else 0
        while child.is_alive() and (not journal.exists() or journal.stat().st_size <= before):
            time.sleep(0.001)
        child.join(moments.random() * 0.05)
        child.kill()
        child.join()
        if child.exitcode == -signal.SIGKILL:
            kills += 1
            if (
                kills % 3 == 0 and journal.exists()
            ):  # as when the power fails: half a line, half a picture
                size = journal.stat().st_size
                os.truncate(journal, size - moments.randrange(min(size, 400)))
    assert kills >= 3
    made = content(out)
    for name in (
        pack_writer.JOURNAL,
        files.LOCK_NAME,
    ):  # of a kill in the moment after the set was there
        made.pop(name, None)
    assert made == content(tmp_path / "whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pictures", "set", "whole"]


def test_a_full_disk_keeps_what_is_done(tmp_path: Path, children: Any) -> None:
    folder = noise_folder(tmp_path / "pictures", 10)
    size = 48 * 60 * 3
    child = children.Process(
        target=pack_with_limit, args=(folder, tmp_path / "set", 6 * size + 100)
    )
    child.start()
    child.join()
    assert child.exitcode == 0
    said = (tmp_path / "said").read_text()
    assert "set cannot be written: File too large; what is done is kept" in said
    assert "\n" not in said
    left = tmp_path / ".set.partial"
    assert (left / "hr.bin").stat().st_size == 6 * size
    assert (left / pack_writer.JOURNAL).read_text().count("\n") == 7
    (tmp_path / "said").unlink()
    datasets.pack(folder, tmp_path / "set")
    datasets.pack(folder, tmp_path / "whole")
    assert content(tmp_path / "set") == content(tmp_path / "whole")


def interrupted(folder: Path, out: Path, after: int, **options: Any) -> None:
    """Pack some pictures of a folder and stop, as Ctrl-C does."""

    count = len(source_images.find(folder, PackConfig()))

    def stop(done: float) -> None:
        if done * count >= after - 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        datasets.pack(folder, out, PackConfig(**options), reporter=Reporter(stop))


def packed_now(folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> int:
    """Pack, and tell how many pictures were read for it."""
    load, read = source_images.load, []
    with monkeypatch.context() as patch:
        patch.setattr(source_images, "load", lambda *a: read.append(a) or load(*a))
        datasets.pack(folder, out, PackConfig(**options))
    return len(read)


def test_what_was_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = noise_folder(tmp_path / "pictures", 8)
    interrupted(folder, tmp_path / "set", 5)
    interrupted(folder, tmp_path / "set", 6)
    assert packed_now(folder, tmp_path / "set", monkeypatch) == 2
    datasets.pack(folder, tmp_path / "whole")
    assert content(tmp_path / "set") == content(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "again"),
    [
        ("touch", 6),
        ("replace", 6),
        ("remove", 5),
        ("insert", 7),
        ("scales", 8),
        ("lr", 8),
        ("journal", 8),
        ("damage", 7),
        ("shorten", 4),
    ],
)
def test_what_changed_is_packed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, again: int
) -> None:
    """From the first picture on that is not as it was; entirely with other options."""
    folder = noise_folder(tmp_path / "pictures", 8)
    noise_folder(tmp_path / "lr", 8, 24, 30)
    interrupted(folder, tmp_path / "set", 5)
    options: dict[str, Any] = {}
    left = tmp_path / ".set.partial"
    journal = left / pack_writer.JOURNAL
    lines = journal.read_text().splitlines(keepends=True)
    match change:
        case "touch":
            os.utime(folder / "0002.png", (1, 1))
        case "replace":
            Image.fromarray(noise(h=60, w=60, seed=99)).save(folder / "0002.png")
        case "remove":
            (folder / "0002.png").unlink()
        case "insert":
            Image.fromarray(noise(h=60, w=60, seed=99)).save(folder / "0001b.png")
        case "scales":
            options = {"scales": (3,)}
        case "lr":
            options = {"lr": tmp_path / "lr"}
        case "journal":
            journal.write_text("[" * 10_000)
        case "damage":
            journal.write_text("".join([*lines[:2], "{}\n", *lines[3:]]))
        case "shorten":
            os.truncate(left / "lr_x2.bin", 3 * 24 * 30 * 4 + 7)
    assert packed_now(folder, tmp_path / "set", monkeypatch, **options) == again
    datasets.pack(folder, tmp_path / "whole", PackConfig(**options))
    assert content(tmp_path / "set") == content(tmp_path / "whole")
    assert datasets.check(tmp_path / "set").damage == ()


def test_a_broken_picture_does_not_cost_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = noise_folder(tmp_path / "pictures", 6)
    whole = (folder / "0004.png").read_bytes()
    (folder / "0004.png").write_bytes(whole[:-2000])
    with pytest.raises(imaging.PictureError, match=r"0004\.png"):
        datasets.pack(folder, tmp_path / "set")
    assert not (tmp_path / "set").exists()
    (folder / "0004.png").write_bytes(whole)
    assert packed_now(folder, tmp_path / "set", monkeypatch) == 2


def test_two_at_the_same_time(tmp_path: Path) -> None:
    folder = noise_folder(tmp_path / "pictures", 2)
    out = tmp_path / "set"

    def pack_again(_: float) -> None:
        with pytest.raises(DataError, match=r"another process is packing .*set; wait for its end"):
            datasets.pack(folder, out)

    datasets.pack(folder, out, reporter=Reporter(pack_again))
    assert len(PackedSet(out, 2).records) == 2


def test_a_pause_between_packing_and_naming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is packed but the folder has not its name yet."""
    folder = noise_folder(tmp_path / "pictures", 3)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError(5, "I/O error")))
        with pytest.raises(DataError, match=r"set cannot be written: I/O error; what is done"):
            datasets.pack(folder, tmp_path / "set")
    assert packed_now(folder, tmp_path / "set", monkeypatch) == 0
    assert sorted(content(tmp_path / "set")) == ["hr.bin", "index.json", "lr_x2.bin"]


# ------------------------------------------------------------------- squares, and other targets


def test_the_most_detailed_square_is_packed(tmp_path: Path) -> None:
    """Both of the HR picture and of a given LR picture, and it depends on the name alone."""
    folder, lr_folder = tmp_path / "hr", tmp_path / "lr"
    folder.mkdir()
    lr_folder.mkdir()
    samples = np.full((240, 300, 3), 9, np.uint8)
    samples[120:, 60:240] = noise(h=120, w=180)
    for name in ("a.png", "b.png"):
        Image.fromarray(samples).save(folder / name)
    Image.fromarray(samples[::2, ::2]).save(lr_folder / "a.png")
    Image.fromarray(samples[::2, ::2]).save(lr_folder / "b.png")
    Image.fromarray(noise(h=36, w=300)).save(folder / "low.png")  # as far as it goes
    Image.fromarray(noise(h=18, w=150)).save(lr_folder / "low.png")
    config = PackConfig((2,), lr_folder, crop=48)
    packed = datasets.pack(folder, tmp_path / "set", config)
    assert [(r.height, r.width) for r in packed.records] == [(48, 48), (48, 48), (36, 48)]
    (lr, hr), (_, other) = packed.pair(0), packed.pair(1)
    assert np.array_equal(lr, hr[::2, ::2])
    assert not np.array_equal(hr, other)
    found = source_images.find(folder, config)
    places = [source_images._place(samples, 48, source.name) for source in found]
    details = [source_images._detail(source_images._cut(samples, place)) for place in places]
    assert min(details[:2]) > 0  # a single place would miss the noise with a probability of 6/10
    (folder / "a.png").unlink()
    alone = datasets.pack(folder, tmp_path / "alone", config)
    assert np.array_equal(alone.pair(0)[1], other)


def test_a_square_of_a_small_picture_is_all_of_it(tmp_path: Path) -> None:
    folder = noise_folder(tmp_path / "pictures", 2)
    datasets.pack(folder, tmp_path / "whole")
    datasets.pack(folder, tmp_path / "set", PackConfig(crop=120))
    assert content(tmp_path / "set") == content(tmp_path / "whole")


@pytest.mark.parametrize(("crop", "instead"), [(50, 48), (5, 12), (0, 12), (-24, 12)])
def test_a_square_that_scales_do_not_divide_is_refused(crop: int, instead: int) -> None:
    with pytest.raises(DataError, match=rf"not a multiple of 12; name one, such as {instead}\."):
        PackConfig(crop=crop)


def doubled(samples: np.ndarray) -> np.ndarray:
    return 255 - samples.repeat(2, 0).repeat(2, 1)


TEACHER = Teacher("peer", "peer 1", 2, doubled)


def test_what_a_network_makes_of_lr_takes_the_place_of_hr(tmp_path: Path) -> None:
    folder = noise_folder(tmp_path / "pictures", 3)
    packed = datasets.pack(folder, tmp_path / "set", PackConfig(crop=24, teacher=TEACHER))
    plain = datasets.pack(folder, tmp_path / "plain", PackConfig(crop=24))
    for number in range(3):
        lr, target = packed.pair(number)
        assert np.array_equal(lr, plain.pair(number)[0])
        assert np.array_equal(target, doubled(lr))
    assert datasets.check(tmp_path / "set").damage == ()
    assert packed_set.Index.read(tmp_path / "set").teacher == "peer 1"
    assert packed_set.Index.read(tmp_path / "plain").teacher is None


def test_another_network_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = noise_folder(tmp_path / "pictures", 6)
    monkeypatch.setattr(pack_writer, "_COMMIT_BYTES", 0)
    interrupted(folder, tmp_path / "set", 3, teacher=TEACHER)
    other = replace(TEACHER, identity="peer 2")
    assert packed_now(folder, tmp_path / "set", monkeypatch, teacher=other) == 6
    interrupted(folder, tmp_path / "same", 3, teacher=TEACHER)
    assert packed_now(folder, tmp_path / "same", monkeypatch, teacher=TEACHER) == 3


def test_a_network_that_cannot_teach_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="peer enlarges by 2, so it makes no targets for scale 3;"):
        PackConfig((3,), teacher=TEACHER)
    with pytest.raises(DataError, match="no targets for scale 2 and 4;"):
        PackConfig((2, 4), teacher=TEACHER)

    def fail(_: np.ndarray) -> np.ndarray:
        raise AtdsrError("its peer network failed: no memory.")

    folder = noise_folder(tmp_path / "pictures", 1)
    with pytest.raises(DataError, match=r"0000\.png: its peer network failed: no memory\."):
        datasets.pack(folder, tmp_path / "set", PackConfig(teacher=replace(TEACHER, enlarge=fail)))


# ------------------------------------------------------------------------------ without LR pictures


def test_a_set_of_scale_1_holds_hr_alone(folder: Path, tmp_path: Path) -> None:
    packed = datasets.pack(folder, tmp_path / "set", PackConfig((1,)))
    assert sorted(content(tmp_path / "set")) == ["hr.bin", "index.json"]
    with_lr = datasets.pack(folder, tmp_path / "with", PackConfig((2,)))
    assert content(tmp_path / "set")["hr.bin"] == content(tmp_path / "with")["hr.bin"]
    for number in range(4):
        lr, hr = packed.pair(number)
        assert np.array_equal(lr, hr)
        assert np.array_equal(hr, with_lr.pair(number)[1])
    assert datasets.check(tmp_path / "set").damage == ()
    lr, hr = PackedSet(tmp_path / "with", 1).pair(2)  # any set can be used without its LR
    assert np.array_equal(lr, hr)
    with pytest.raises(DataError, match="is packed for the scales 1, not 2"):
        PackedSet(tmp_path / "set", 2)


def test_an_interrupted_set_of_scale_1_goes_on(tmp_path: Path, children: Any) -> None:
    del children
    folder = noise_folder(tmp_path / "pictures", 3)
    sources = source_images.find(folder, PackConfig((1,)))
    partial = tmp_path / ".set.partial"
    partial.mkdir()
    with pack_writer.PackWriter(partial, PackConfig((1,)), sources) as writer:
        writer.add(sources[0], source_images.load(sources[0], PackConfig((1,))))
        writer._commit()
    with pack_writer.PackWriter(partial, PackConfig((1,)), sources) as writer:
        assert writer.packed == 1
    with pack_writer.PackWriter(partial, PackConfig((1,), min_side=60), sources) as writer:
        assert writer.packed == 0


def test_small_pictures_are_extended_by_their_mirror_image(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(noise(h=50, w=30)).save(folder / "a.png")
    Image.fromarray(noise(h=90, w=70)).save(folder / "b.png")
    packed = datasets.pack(folder, tmp_path / "set", PackConfig((1,), min_side=72))
    assert [(r.height, r.width) for r in packed.records] == [(72, 72), (84, 72)]
    _, hr = packed.pair(0)
    whole = noise(h=50, w=30)[:48, :24]
    assert np.array_equal(hr[:48, :24], whole)
    assert np.array_equal(hr[48:, :24], whole[:23:-1])
    assert np.array_equal(hr[:48, 24:48], whole[:, ::-1])
    assert np.array_equal(hr[:48, 48:], whole)  # and back again
    _, hr = packed.pair(1)
    assert np.array_equal(hr[:, :60], noise(h=90, w=70)[:84, :60])


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"scales": (1,), "lr": Path("low")}, "low holds LR pictures, which go neither with"),
        ({"lr": Path("low"), "min_side": 48}, "low holds LR pictures, which go neither with"),
        ({"min_side": 50}, r"a min_side of 50 pixels is not a multiple of 12; .* such as 48\."),
        ({"scales": (1, 2)}, r"scales \(1, 2\) must be among 2, 3 and 4"),
        ({"scales": (1,), "teacher": TEACHER}, "peer enlarges by 2, so it makes no targets for"),
    ],
)
def test_what_does_not_go_together(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        PackConfig(**fields)
