"""HR and LR pictures by their names."""

from pathlib import Path

import pytest

from atdsr.datasets import pairs
from atdsr.datasets.pairs import PairsError
from atdsr.evaluation import testsets
from atdsr.evaluation.testsets import TestSetError


def files(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return sorted(folder / name for name in names)


@pytest.mark.parametrize(
    ("low", "template"),
    [
        ("0001.png", "{}"),
        ("0001x2.png", "{}"),
        ("0001_x2.webp", "{}"),
        ("0001_LRBI_x2.png", "{}"),
        ("0001x2.png", "{}x2"),
        ("lr_0001.png", "lr_{}"),
        ("0001 small.bmp", "{} small"),
    ],
)
def test_the_lr_picture_of_an_hr_picture(tmp_path: Path, low: str, template: str) -> None:
    high = files(tmp_path / "hr", "0001.png", "inner/0001.png")
    files(tmp_path / "lr", low, f"inner/{low}", "other.png")
    matched = pairs.match(
        high, tmp_path / "hr", pairs.tree(tmp_path / "lr"), tmp_path / "lr", 2, template
    )
    assert matched == [tmp_path / "lr" / low, tmp_path / "lr" / "inner" / low]


def test_lr_pictures_that_are_not_there(tmp_path: Path) -> None:
    high = files(tmp_path / "hr", "inner/0001.png")
    low = files(tmp_path / "lr", "0001.png", "inner/0001x3.png")

    def match(template: str) -> None:
        pairs.match(high, tmp_path / "hr", low, tmp_path / "lr", 2, template)

    with pytest.raises(PairsError, match=r"lr has no LR picture for .*inner/0001\.png"):
        match("{}")
    with pytest.raises(PairsError, match=r"lr has no LR picture called 0001_s for .*0001\.png"):
        match("{}_s")


@pytest.mark.parametrize("template", ["", "x2", "{}{}", "{0}", "{:>9}", "../{}", "a\\{}", "{}}"])
def test_what_is_no_template(template: str) -> None:
    with pytest.raises(PairsError, match="must be a file's name with"):
        pairs.check_template(template)


def test_one_name_twice(tmp_path: Path) -> None:
    apart = files(tmp_path, "a/0001.png", "b/0001.png")
    assert list(pairs.names(apart, 2).values()) == ["0001", "0001"]
    with pytest.raises(PairsError, match=r"0001\.jpg and 0001\.png are two files"):
        pairs.names(files(tmp_path, "a/0001.jpg", "a/0001.png"), 2)


def test_a_tree_of_folders_with_links_and_hidden_files(tmp_path: Path) -> None:
    seen = files(tmp_path / "set", "b.png", "a/c.jpg")
    files(tmp_path / "set", "a/notes.txt", ".hidden/d.png", "a/._c.jpg", "@eaDir/b.png/x.png")
    files(tmp_path / "elsewhere", "e.png")
    (tmp_path / "set" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "a" / "round").symlink_to(tmp_path / "set")
    linked = tmp_path / "set" / "link" / "e.png"
    assert pairs.tree(tmp_path / "set") == [*seen, linked]
    assert pairs.pictures(tmp_path / "set") == [tmp_path / "set" / "b.png"]
    with pytest.raises(PairsError, match="gone does not exist; check the name"):
        pairs.tree(tmp_path / "gone")


def test_a_test_set_by_a_template(tmp_path: Path) -> None:
    hr = files(tmp_path / "hr", "a.png", "b.png")
    lr = files(tmp_path / "lr", "s_a.png", "s_b.png")
    found = testsets.read(tmp_path / "hr", 2, tmp_path / "lr", "name", "s_{}")
    assert [(pair.name, pair.hr, pair.lr) for pair in found.pairs] == [
        ("a", hr[0], lr[0]),
        ("b", hr[1], lr[1]),
    ]
    with pytest.raises(TestSetError, match="no LR picture called a_s for"):
        testsets.read(tmp_path / "hr", 2, tmp_path / "lr", template="{}_s")
    with pytest.raises(TestSetError, match="gone does not exist"):
        testsets.read(tmp_path / "gone", 2)
