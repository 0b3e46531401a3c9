"""Packed sets as they are found: whole, damaged, hostile; and which one a folder stands for."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from atdsr import datasets
from atdsr.base.reporter import Reporter
from atdsr.datasets import DataError, PackConfig, PackedSet, Teacher
from helpers.packing import content, empty_set, noise_folder
from helpers.pictures import noise


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Four pictures at two scales."""
    return datasets.pack(
        noise_folder(tmp_path / "pictures", 4), tmp_path / "set", PackConfig((2, 3))
    ).folder


# ---------------------------------------------------------------------------------- opening


def test_what_is_no_packed_set(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"pictures is not a packed set .*make one with `atdsr data"
    ):
        PackedSet(tmp_path / "pictures", 2)
    with pytest.raises(DataError, match=r"is packed for the scales 2, 3, not 4; pack anew"):
        PackedSet(packed, 4)
    PackedSet(packed, 3)
    (packed / "lr_x2.bin").unlink()
    PackedSet(packed, 3)  # needs it not
    with pytest.raises(DataError, match=r"lr_x2\.bin cannot be read: No such file.*; pack anew"):
        PackedSet(packed, 2)


@pytest.mark.parametrize("name", ["hr.bin", "lr_x2.bin"])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_set_that_is_cut_by_a_byte(packed: Path, name: str, change: int) -> None:
    size = (packed / name).stat().st_size
    os.truncate(packed / name, size + change)
    sentence = rf"{name} has {size + change} bytes where the index says {size}; `atdsr data check"
    with pytest.raises(DataError, match=sentence):
        PackedSet(packed, 2)


def test_a_set_of_the_first_format(packed: Path) -> None:
    picture = {"name": "a.png", "height": 48, "width": 60, "offset": 0}
    index = {"format": 1, "scales": [2], "pictures": [picture]}
    (packed / "index.json").write_text(json.dumps(index, indent=1))
    for use in (lambda: PackedSet(packed, 2), lambda: datasets.check(packed)):
        with pytest.raises(DataError, match="set was packed by another version of atdsr; pack an"):
            use()


HUGE = 10**4000
HOSTILE: dict[str, Callable[[dict], Any]] = {
    "no mapping": lambda index: [index],
    "no format": lambda index: index.pop("format"),
    "no scales": lambda index: index.update(scales=[]),
    "scales twice": lambda index: index.update(scales=[2, 2]),
    "scale 1": lambda index: index.update(scales=[1]),
    "scale as text": lambda index: index.update(scales=["2"]),
    "more scales than hashes": lambda index: index.update(scales=[2, 3, 4]),
    "lr": lambda index: index.update(lr="bilinear"),
    "lr given without sources": lambda index: index.update(lr="given"),
    "no pictures": lambda index: index.update(pictures=[]),
    "pictures": lambda index: index.update(pictures={"a": 1}),
    "another key": lambda index: index.update(more=1),
}
ENTRIES: dict[str, tuple[str, Any]] = {
    "negative offset": ("offset", -12),
    "overlap": ("offset", 48 * 60 - 144),
    "gap": ("offset", 48 * 60 + 144),
    "huge offset": ("offset", HUGE),
    "fraction": ("offset", 2880.0),
    "truth": ("offset", True),
    "nothing": ("height", None),
    "zero": ("height", 0),
    "negative": ("height", -48),
    "odd": ("height", 49),
    "huge": ("height", 12 * HUGE),
    "large": ("height", 12 * 2**40),
    "swapped for larger": ("width", 72),
    "newline": ("name", "a\nb.png"),
    "control": ("name", "a\x1b[2Jb.png"),
    "surrogate": ("name", "\udcff.png"),
    "no name": ("name", ""),
    "long name": ("name", "a" * 5000),
    "number for a name": ("name", 7),
    "hash": ("blake2b", {"hr": "0" * 32}),
    "hash that is none": ("blake2b", dict.fromkeys(("hr", "x2", "x3"), "0" * 31 + "\n")),
    "sources": ("sources", {"hr": [1]}),
    "other sources": ("sources", {"x2": [1, 2]}),
    "list": ("sources", []),
}


@pytest.mark.parametrize("case", [*HOSTILE, *ENTRIES])
def test_a_hostile_index(packed: Path, case: str) -> None:
    index = json.loads((packed / "index.json").read_text())
    written = index
    if case in HOSTILE:
        changed = HOSTILE[case](index)
        written = changed if case == "no mapping" else index
    else:
        key, value = ENTRIES[case]
        index["pictures"][1][key] = value
    (packed / "index.json").write_text(json.dumps(written))
    with pytest.raises(DataError) as caught:
        PackedSet(packed, 2)
    assert "anew" in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500 + len(str(packed)) * 2


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"format": 2' + b"0" * 5000 + b"}",
        b'{"format": NaN}',
        b'{"a\\ud800": 1}',
    ],
)
def test_an_index_that_is_no_json(packed: Path, text: bytes) -> None:
    (packed / "index.json").write_bytes(text)
    with pytest.raises(DataError, match="anew"):
        PackedSet(packed, 2)


def test_opening_does_not_depend_on_the_size_of_pictures(tmp_path: Path) -> None:
    """A terabyte of holes: only sizes are looked at."""
    packed = empty_set(tmp_path / "set", [(1_200_000, 120_000), (120_000, 1_200_000)])
    assert packed.hr.nbytes == 864 * 10**9
    assert packed.pair(1)[1].shape == (120_000, 1_200_000, 3)


# ------------------------------------------------------------------------------------ checking


def test_a_flipped_bit_is_found_and_named(packed: Path) -> None:
    assert datasets.check(packed) == datasets.CheckResult(4, 4 * 8640 * 49 // 36, (2, 3), ())
    for name, share, picture in (("hr.bin", 1, 1), ("lr_x2.bin", 4, 2), ("lr_x3.bin", 9, 3)):
        path = packed / name
        content = bytearray(path.read_bytes())
        at = 8640 * picture // share  # the first byte of a picture
        content[at] ^= 1
        path.write_bytes(content)
    assert datasets.check(packed).damage == (
        "0001.png: HR is damaged (hr.bin)",
        "0002.png: LR x2 is damaged (lr_x2.bin)",
        "0003.png: LR x3 is damaged (lr_x3.bin)",
    )


def test_a_cut_and_a_missing_file_are_named(packed: Path) -> None:
    os.truncate(packed / "hr.bin", 4 * 8640 - 1)
    (packed / "lr_x2.bin").unlink()
    with (packed / "lr_x3.bin").open("ab") as file:
        file.write(b"more")
    assert datasets.check(packed).damage == (
        "hr.bin has 34559 bytes instead of 34560",
        "lr_x2.bin cannot be read: No such file or directory",
        "lr_x3.bin has 3844 bytes instead of 3840",
        "0003.png: HR is damaged (hr.bin)",
    )


# ----------------------------------------------------------------------------------- preparing


def prepared(train: Path, scale: int = 2, **options: Any) -> tuple[Path, list[str]]:
    notices: list[str] = []
    reporter = Reporter(notice=notices.append)
    return datasets.prepare(train, PackConfig((scale,), **options), reporter), notices


def test_a_packed_set_is_taken_as_it_is(packed: Path) -> None:
    assert prepared(packed, 3) == (packed, [])
    with pytest.raises(DataError, match="not 4; pack anew"):
        prepared(packed, 4)
    with pytest.raises(DataError, match="is packed with its LR pictures; take the folder lr out"):
        prepared(packed, 2, lr=Path("lr"))
    with pytest.raises(DataError, match=r"is packed already; take data\.crop out"):
        prepared(packed, 2, crop=24)
    with pytest.raises(DataError, match=r"is packed already; take data\.teacher out"):
        prepared(packed, 2, teacher=Teacher("peer", "peer 1", 2, np.flip))


def test_a_folder_is_packed_once_beside_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = noise_folder(tmp_path / "pictures", 3)
    beside = tmp_path / "pictures.packed_x2"
    told = f"packing 3 pictures of {folder} into {beside}, about 31.6 KiB, once"
    assert prepared(folder) == (beside, [told])
    made = content(beside)
    monkeypatch.chdir(folder)
    assert prepared(Path()) == (beside, [])
    assert content(beside) == made
    assert prepared(folder, 3)[0] == tmp_path / "pictures.packed_x3"
    with pytest.raises(DataError, match=r"there is no folder .*gone; name .* --data"):
        prepared(tmp_path / "gone")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("touch", r"0001\.png or its LR picture has changed"),
        ("remove", r"0001\.png is gone"),
        ("add", r"inner/new\.png is new"),
        ("lr", "its LR pictures were made"),
    ],
)
def test_a_set_of_other_pictures_is_refused(tmp_path: Path, change: str, sentence: str) -> None:
    folder = noise_folder(tmp_path / "pictures", 3)
    packed, _ = prepared(folder)
    made = content(packed)
    options: dict[str, Any] = {}
    match change:
        case "touch":
            os.utime(folder / "0001.png", (1, 1))
        case "remove":
            (folder / "0001.png").unlink()
        case "add":
            noise_folder(folder / "inner", 1)
            (folder / "inner" / "0000.png").rename(folder / "inner" / "new.png")
        case "lr":
            options["lr"] = noise_folder(tmp_path / "lr", 3, 24, 30)
    with pytest.raises(DataError, match=rf"{sentence}\); remove it to have them packed anew, or"):
        prepared(folder, **options)
    assert content(packed) == made
    assert prepared(packed) == (packed, [])


def test_given_lr_pictures_are_watched_too(tmp_path: Path) -> None:
    folder = noise_folder(tmp_path / "pictures", 2)
    lr = noise_folder(tmp_path / "lr", 2, 24, 30)
    packed, _ = prepared(folder, lr=lr)
    assert np.array_equal(PackedSet(packed, 2).pair(1)[0], noise(h=24, w=30, seed=1))
    assert prepared(folder, lr=lr) == (packed, [])
    with pytest.raises(DataError, match="its LR was given"):
        prepared(folder)
    Image.new("RGB", (30, 24)).save(lr / "0001.png")
    with pytest.raises(DataError, match=r"0001\.png or its LR picture has changed"):
        prepared(folder, lr=lr)


def test_squares_and_targets_have_sets_of_their_own(tmp_path: Path) -> None:
    folder = noise_folder(tmp_path / "pictures", 2)
    teacher = Teacher("peer", "peer 1", 2, lambda lr: lr.repeat(2, 0).repeat(2, 1))
    assert prepared(folder, crop=24)[0].name == "pictures.packed_x2_crop24"
    packed, _ = prepared(folder, crop=24, teacher=teacher)
    assert packed.name == "pictures.packed_x2_crop24_peer"
    assert prepared(folder, crop=24, teacher=teacher) == (packed, [])
    with pytest.raises(DataError, match="has the answers of another network of that name; remove"):
        prepared(folder, crop=24, teacher=replace(teacher, identity="peer 2"))
