"""Which files folders and globs stand for: junk, links, and kinds that nobody reads."""

from pathlib import Path
from typing import Any

import pytest

from atdsr import batch
from atdsr.batch import BatchConfig, BatchError, Factor
from atdsr.batch.inputs import describe_unread
from helpers.upscaling import touch


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan(*inputs: str, out: str | None = None, **config: Any) -> batch.Plan:
    return batch.plan(inputs, out, BatchConfig(Factor(2), **config))


def sources(*inputs: str, **config: Any) -> list[str]:
    return [str(item.source) for item in plan(*inputs, **config).items]


JUNK = (
    "p/@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg",
    "p/.thumbnails/a.jpg",
    "p/.@__thumb/a.jpg",
    "p/__MACOSX/._a.jpg",
    "p/__MACOSX/a.jpg",
    "p/q/@EADIR/a.jpg",
    "p/#recycle/a.jpg",
    "p/$RECYCLE.BIN/a.jpg",
    "p/System Volume Information/a.jpg",
    "p/q/._b.jpg",
    "p/q/Thumbs.db",
    "p/q/.DS_Store",
)


@pytest.mark.parametrize(
    ("names", "recursive"),
    [(("p",), True), (("p/**",), False), (("p/**/*.jpg",), False), (("p/*.jpg", "p/*/*"), False)],
)
def test_what_programs_keep_for_themselves_is_left_out(names: tuple[str, ...], recursive: bool):
    touch("p/a.jpg", "p/q/b.jpg", *JUNK)
    assert sources(*names, recursive=recursive) == ["p/a.jpg", "p/q/b.jpg"]


def test_what_programs_keep_for_themselves_may_be_named():
    touch("p/a.jpg", *JUNK)
    assert sources("p/__MACOSX") == ["p/__MACOSX/a.jpg"]
    assert sources("p/@eaDir", recursive=True) == ["p/@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg"]
    assert sources("p/@eaDir/*/*.jpg") == ["p/@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg"]
    assert sources("p/.thumbnails/*.jpg") == ["p/.thumbnails/a.jpg"]
    assert sources("p/.t*/*.jpg") == ["p/.thumbnails/a.jpg"]


@pytest.mark.parametrize("pattern", ["p/**/*.png", "p/**", "./p/**/**/*.png", "**/*.png"])
def test_two_stars_enter_folders_but_no_links_to_them(pattern: str):
    touch("p/a.png", "p/q/b.png", "p/q/r/c.png")
    Path("p/all").symlink_to(".", target_is_directory=True)  # with two loops, the ways through
    Path("p/q/up").symlink_to("..", target_is_directory=True)  # them double at every step
    Path("p/linked").symlink_to("q", target_is_directory=True)
    Path("p/none").symlink_to("nowhere")
    Path("p/self.png").symlink_to("self.png")
    expected = ["p/a.png", "p/q/b.png", "p/q/r/c.png"]
    assert sources(pattern) == expected
    assert sources("p", recursive=True) == expected
    assert sources(pattern, "p/q", "p/linked/*.png", "p/q/../a.png") == expected


def test_a_star_goes_through_a_link_and_still_counts_a_file_once():
    touch("p/q/b.png", "other/c.png")
    Path("p/again").symlink_to("q", target_is_directory=True)
    Path("p/other").symlink_to("../other", target_is_directory=True)
    assert sources("p/*/*.png") == ["p/again/b.png", "p/other/c.png"]


def test_a_glob_leaves_out_the_folder_of_outputs_and_reports_one_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
):
    iterdir = Path.iterdir

    def refuse(path: Path) -> Any:
        if path.name == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    touch("p/a.png", "p/out/a_x2.png", "p/secret/b.png")
    monkeypatch.setattr(Path, "iterdir", refuse)
    made = plan("p/**/*.png", out="p/out")
    assert [str(item.source) for item in made.items] == ["p/a.png"]
    assert made.problems == ((Path("p/secret"), "p/secret cannot be read: Permission denied."),)
    assert sources("p/*/a*.png") == ["p/out/a_x2.png"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("https://b.org/c.jpg?size=3", "https://b.org/c.jpg.size=3 is an address, and atdsr opens"),
        ("~/c*.jpg", "only a shell replaces ~ by a home folder"),
        ("c*.jpg", r"no picture matches c\*\.jpg\."),
    ],
)
def test_what_is_no_path_is_not_taken_for_a_glob_only(name: str, words: str):
    with pytest.raises(BatchError, match=words):
        plan(name)


def test_globs_from_the_root_and_without_a_match(here: Path):
    touch("p/a.png", "p/b.txt")
    assert sources(f"{here}/*/[ab].*") == [f"{here}/p/a.png"]
    for pattern in ("p/**/*.txt", "none/**/*.png", "p/a.png/*", "q*/a.png"):
        with pytest.raises(BatchError, match="no picture matches"):
            plan(pattern)


@pytest.mark.parametrize(("inputs", "recursive"), [(["p"], True), (["p/**", "p"], False)])
def test_kinds_that_nobody_reads_are_counted_once(inputs: list[str], recursive: bool):
    touch("p/a.png", "p/1.psd", "p/q/2.PSD", "p/q/._3.psd", "p/@eaDir/4.psd", "p/notes.txt")
    Path("p/folder.psd").mkdir()
    made = plan(*inputs, recursive=recursive)
    assert made.unread == {"PSD": 2}
    assert [str(item.source) for item in made.items] == ["p/a.png"]


def test_a_folder_of_kinds_that_nobody_reads_says_so():
    touch("p/1.psd", "p/2.psd", "q/notes.txt")
    for name in ("p", "p/*", "p/*.psd"):
        with pytest.raises(BatchError) as caught:
            plan(name)
        assert str(caught.value) == f"{name}: 2 PSD not read."
    with pytest.raises(BatchError, match=r"^q is a folder without pictures; --recursive"):
        plan("q")


@pytest.mark.parametrize(
    ("unread", "words"),
    [
        ({"PSD": 1}, "1 PSD not read"),
        (
            {"PSD": 1, "HEIC": 3},
            "3 HEIC and 1 PSD not read; HEIC needs: pip install 'atdsr[formats]'",
        ),
        (
            {"JPEG XL": 1, "PSD": 1, "HEIC": 2},
            "2 HEIC, 1 JPEG XL and 1 PSD not read; "
            "HEIC and JPEG XL need: pip install 'atdsr[formats]'",
        ),
    ],
)
def test_words_about_kinds_that_nobody_reads(unread: dict[str, int], words: str):
    assert describe_unread(unread) == words
