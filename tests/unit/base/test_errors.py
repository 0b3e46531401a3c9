"""What error messages say about paths and values."""

import doctest
from pathlib import Path

import pytest

from atdsr.base import errors


def test_the_examples() -> None:
    assert doctest.testmod(errors).failed == 0


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("holday", "holday does not exist; did you mean holiday?"),
        ("holiday/a.jgp", "holiday/a.jgp does not exist; did you mean holiday/a.jpg?"),
        ("holiday/a.png", "holiday/a.png does not exist; did you mean holiday/a.jpg?"),
        ("holday.jpg", "holday.jpg does not exist; check the name."),
        ("holiday/zebra.jpg", "holiday/zebra.jpg does not exist; check the name."),
        ("holiday/zebra", "holiday/zebra does not exist; check the name."),
        ("b/c/d.png", "b/c/d.png does not exist: there is no folder b; check the name."),
        ("holiday/a.jpg/b", "does not exist: there is no folder holiday/a.jpg; check the name."),
        ("IMG_0001.jpg", "does not exist; did you mean img_0001.JPG?"),
        ("holiday/A.JPG", "does not exist; did you mean holiday/a.jpg?"),
        ("https://b.org/c.jpg", "https://b.org/c.jpg is an address, and atdsr opens files; "),
        ("HTTP://b.org/c.jpg", "HTTP://b.org/c.jpg is an address, and atdsr opens files; "),
        ("~/c.jpg", "~/c.jpg does not exist: only a shell replaces ~ by a home folder, and not in"),
        ("~me/c.jpg", "only a shell replaces ~me by a home folder"),
        ("~c.jpg", "~c.jpg does not exist; check the name."),
        ("dangling", "dangling is a link to something that does not exist."),
        ("x" * 300, "does not exist; check the name."),
    ],
)
def test_a_missing_path(
    path: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("holiday").mkdir()
    for name in ("holiday/a.jpg", "IMG_0001.png", "img_0001.JPG", "img_0001.jpeg"):
        Path(name).touch()
    Path("dangling").symlink_to("gone")
    assert sentence in errors.missing(Path(path))


def test_a_path_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert errors.no_folder(tmp_path / "a.png").endswith("a.png is a file; name a folder.")
    assert "does not exist" in errors.no_folder(tmp_path / "gone")


def test_what_the_system_does_not_read(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert errors.unreadable(gone, FileNotFoundError()) == errors.missing(gone)
    folder = errors.unreadable(tmp_path, IsADirectoryError())
    assert folder == f"{tmp_path} is a folder; name a file."
    denied = PermissionError(13, "Permission denied")
    assert errors.unreadable(tmp_path, denied) == f"{tmp_path} cannot be read: Permission denied."


def test_the_nearest_name() -> None:
    assert errors.nearest("scael", ("scale", "model")) == "scale"
    assert errors.nearest("swinir", ("scale", "model")) is None
