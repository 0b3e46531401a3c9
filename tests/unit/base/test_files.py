"""Files that are written whole or not at all, and what a killed process leaves."""

import errno
import os
import secrets
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from atdsr.base import files
from atdsr.base.files import ExistsError, FileError
from helpers.upscaling import SOURCES


def write(path: Path, text: str = "new", *, overwrite: bool = False) -> None:
    with files.atomic_write(path, overwrite=overwrite) as name:
        name.write_text(text)


def leftover(folder: Path, suffix: str = ".part") -> Path:
    path = folder / f".{secrets.token_hex(8)}{suffix}"
    path.write_bytes(b"half")
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def another_process(code: str) -> Iterator[subprocess.Popen[str]]:
    """Python that runs some lines, prints one when it is ready, and waits until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"from atdsr.base import files\nfrom pathlib import Path\n{code}"],
        env={**os.environ, "PYTHONPATH": SOURCES},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# ------------------------------------------------------------------------- what is replaced


def test_a_replaced_file_leaves_its_permissions(tmp_path: Path):
    path = tmp_path / "a"
    for mode in (0o600, 0o664, 0o444, 0o755):
        path.write_text("old")
        path.chmod(mode)
        write(path, overwrite=True)
        assert path.read_text() == "new"
        assert stat.S_IMODE(path.stat().st_mode) == mode
        path.unlink()


def test_a_link_is_replaced_itself(tmp_path: Path):
    (tmp_path / "old").write_text("old")
    path = tmp_path / "link"
    path.symlink_to("old")
    with pytest.raises(ExistsError, match="exists and is kept"):
        write(path)
    write(path, overwrite=True)
    assert (path.read_text(), (tmp_path / "old").read_text()) == ("new", "old")
    assert not path.is_symlink()


def test_another_name_of_a_file_keeps_it(tmp_path: Path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    write(tmp_path / "a", overwrite=True)
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("new", "old")


def test_a_link_to_nothing_is_in_the_way(tmp_path: Path):
    (tmp_path / "a").symlink_to("gone")
    with pytest.raises(ExistsError):
        files.check_target(tmp_path / "a", overwrite=False)


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_file_is_neither_replaced_nor_read(tmp_path: Path, overwrite: bool):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for name, kind in (("pipe", "pipe"), ("link", "pipe"), ("socket", "socket")):
            with pytest.raises(FileError, match=f"{name}: this is a {kind}; name a file"):
                write(tmp_path / name, overwrite=overwrite)
    with pytest.raises(FileError, match="this is a device"):
        files.check_target(Path(os.devnull), overwrite=overwrite)
    for path in (tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(OSError, match="and no file"):
            files.open_regular(path)


def test_files_that_belong_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    paths = [tmp_path / name for name in "abc"]

    def write_all(*, late: bool = False, broken: bool = False) -> None:
        with files.atomic_write_all(paths, overwrite=False) as parts:
            for part in parts:
                part.write_text("new")
            if late:
                paths[2].write_text("of another process")
            if broken:
                raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FileError, match=f"{tmp_path}: .* No space left"):
        write_all(broken=True)
    assert names(tmp_path) == []
    with pytest.raises(ExistsError, match="/c: the file exists"):
        write_all(late=True)
    assert names(tmp_path) == ["c"]
    paths[2].unlink()
    write_all()
    assert names(tmp_path) == ["a", "b", "c"]


def test_the_file_reaches_the_disk_before_its_name_and_that_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    synced: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(
        os,
        "fsync",
        lambda fd: synced.append((str(Path(f"/proc/self/fd/{fd}").readlink()), names(tmp_path))),
    )
    write(tmp_path / "a")
    (part, before), (folder, after) = synced
    assert Path(part).name in before
    assert "a" not in before
    assert (folder, after) == (str(tmp_path), ["a"])


# ------------------------------------------------------------------------- leftovers


@pytest.mark.parametrize("suffix", [".part", ".scratch"])
def test_leftovers_are_swept_by_the_first_write_into_a_folder(tmp_path: Path, suffix: str):
    leftover(tmp_path, suffix)
    write(tmp_path / "a")
    assert names(tmp_path) == ["a"]
    late = leftover(tmp_path, suffix)
    write(tmp_path / "b")  # one listing a folder
    assert names(tmp_path) == sorted(["a", "b", late.name])


def test_files_of_the_user_are_never_swept(tmp_path: Path):
    hexadecimal = "0123456789abcdef"
    own = (
        *("a.part", ".part", "x.scratch", ".abc.part", f"{hexadecimal}.part"),
        *(f".{hexadecimal}.tmp", f".{hexadecimal}0.part", f".{hexadecimal.upper()}.part"),
        *(f".{hexadecimal}.part.png", f"x.{hexadecimal}.part"),
    )
    for name in own:
        (tmp_path / name).write_text("mine")
    (tmp_path / f".{'0' * 16}.part").mkdir()
    (tmp_path / f".{'1' * 16}.part").symlink_to("a.part")
    before = names(tmp_path)
    files.delete_leftovers(tmp_path)
    assert names(tmp_path) == before
    files.delete_leftovers(tmp_path / "gone")


def test_what_a_process_has_stays_until_it_is_killed(tmp_path: Path):
    holding = f"""
with files.atomic_write(Path({str(tmp_path / "a")!r}), overwrite=False) as name:
    name.write_text("half")
    with files.temporary_file(Path({str(tmp_path / "b")!r}), files.SCRATCH_SUFFIX):
        with files.output_lock(Path({str(tmp_path / "c")!r})):
            print("ready", flush=True)
            import time; time.sleep(600)
"""
    with another_process(holding):
        before = names(tmp_path)
        assert len(before) == 3
        files.delete_leftovers(tmp_path)
        assert names(tmp_path) == before
    assert names(tmp_path) == before
    files.delete_leftovers(tmp_path)
    assert names(tmp_path) == []


def test_what_this_process_has_stays(tmp_path: Path):
    with files.atomic_write(tmp_path / "a", overwrite=False) as name:
        files.delete_leftovers(tmp_path)
        name.write_text("new")
    assert names(tmp_path) == ["a"]


def test_writers_and_sweepers_at_once(tmp_path: Path):
    def work(number: int) -> None:
        for step in range(60):
            files.delete_leftovers(tmp_path)
            write(tmp_path / f"{number}-{step % 7}", str(step), overwrite=True)
            with files.output_lock(tmp_path / f"claimed-{number}"):
                files.delete_leftovers(tmp_path)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert len(names(tmp_path)) == 42


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files, "_lock", refuse)
    left = leftover(tmp_path)
    write(tmp_path / "a")
    with files.output_lock(tmp_path / "b"), files.output_lock(tmp_path / "b"):
        pass
    assert names(tmp_path) == sorted(["a", left.name])


def test_discard_deletes_what_this_process_has(tmp_path: Path):
    leftover(tmp_path)
    with files.temporary_file(tmp_path / "a", files.PART_SUFFIX):
        leftover(tmp_path)
        assert files.has_temporary_files()
        files.delete_temporary_files()
        assert len(names(tmp_path)) == 1
    assert not files.has_temporary_files()


# ------------------------------------------------------------------------- claims


def test_a_claim_is_one_process_s(tmp_path: Path):
    path = tmp_path / "new" / "a.png"
    claiming = f"""
with files.output_lock(Path({str(path)!r})):
    print("ready", flush=True)
    import time; time.sleep(600)
"""
    with another_process(claiming):
        with pytest.raises(BlockingIOError), files.output_lock(path):
            pass
        with files.output_lock(path.with_name("b.png")):
            pass
    assert len(names(path.parent)) == 1  # as the kill has left it
    with files.output_lock(path):
        files.delete_leftovers(path.parent)
        with pytest.raises(BlockingIOError), files.output_lock(path):
            pass
    assert names(path.parent) == []


def test_a_folder_that_was_made_for_a_claim_goes_away_with_it(tmp_path: Path):
    with files.output_lock(tmp_path / "new" / "inside" / "a"):
        assert (tmp_path / "new" / "inside").is_dir()
    assert names(tmp_path) == []
    with files.output_lock(tmp_path / "new" / "inside" / "a"):
        write(tmp_path / "new" / "inside" / "a")
    assert names(tmp_path / "new" / "inside") == ["a"]
