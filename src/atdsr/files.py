"""Writing a file so that nobody ever sees half of it, and telling files apart."""

import contextlib
import hashlib
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from atdsr.errors import AtdsrError


class FileError(AtdsrError):
    """A file or folder that cannot be written; the sentence names it."""


LOCK = ".lock"
"""The file in a folder that `owned` keeps for a process."""

_PART = ".part"  # what the temporary names of `replacing` end in


# thumbnails, and what was deleted
_KEPT_BY_SYSTEMS = frozenset(
    {"@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "__macosx"}
    | {"$recycle.bin", "system volume information", "lost+found"}
)


def is_for_people(name: str, *, hidden: bool = False) -> bool:
    """Whether what has this name in a folder is for people.

    What storage boxes, archives and systems keep for themselves is not, such as `@eaDir`.

    Args:
        name: of a file or folder.
        hidden: whether names that begin with a dot are for people, too.
    """
    return (hidden or not name.startswith(".")) and name.lower() not in _KEPT_BY_SYSTEMS


def check_target(path: Path, *, overwrite: bool) -> None:
    """Find out before long work whether `replacing` would refuse the path.

    Raises:
        FileError: a folder or a file is in the way, or the folder to write into is no folder or
            may not be written.
    """
    if path.is_dir():
        raise FileError(f"{path}: this is a folder; name a file.")
    if not overwrite and path.exists():
        raise FileError(f"{path}: {_KEPT}")
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise FileError(f"{path}: {folder} is no folder.")
    if not os.access(folder, os.W_OK):
        raise FileError(f"{path}: the folder {folder} may not be written.")


@contextmanager
def replacing(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary name beside `path`; what is written there becomes `path` at the end.

    If the block raises, or is interrupted, the temporary file goes away and `path` is as before.

    Args:
        path: the file to write; its folder is made if need be.
        overwrite: whether an existing file may be replaced. Where it may not, a file that
            appears in the meantime is kept too.

    Raises:
        FileError: see `check_target`, or the system refuses in the middle.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}{_PART}")
    with _as_sentence(path):
        check_target(path, overwrite=overwrite)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.touch(exist_ok=False)
            mode = stat.S_IMODE(temporary.stat().st_mode)  # what the umask leaves
            yield temporary
            if stat.S_IMODE(temporary.stat().st_mode) != mode:  # safetensors makes a private file
                temporary.chmod(mode)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())  # some file systems tell of a full disk only now
            if overwrite:
                temporary.replace(path)
            else:
                _rename_new(temporary, path)
        finally:  # also on an interrupt
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Delete what `replacing` left in a folder when its process was killed.

    For folders that no other process writes to.
    """
    for left in folder.glob(f".*{_PART}"):
        with contextlib.suppress(OSError):
            left.unlink()


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Make a folder if need be, and keep it for this process while the block runs.

    What was made goes away at the end where nothing was put into it.

    Raises:
        BlockingIOError: another process has it.
        FileError: it cannot be made or written.
    """
    path = folder / LOCK
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    with _as_sentence(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    with file:
        lock(file)
        try:
            yield
        finally:
            if [inner.name for inner in folder.iterdir()] == [path.name]:
                path.unlink()
                with contextlib.suppress(OSError):
                    for each in new:
                        each.rmdir()


def lock(file: IO[bytes]) -> None:
    """Lock a file for this process until it is closed.

    Raises:
        BlockingIOError: another process has it.
    """
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            raise BlockingIOError from None
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_KEPT = "the file exists and is kept; allow overwriting it (--overwrite), or name another."


def _rename_new(temporary: Path, path: Path) -> None:
    """Give a whole file its name unless another came first."""
    try:
        path.hardlink_to(temporary)  # unlike a rename, it never replaces
    except FileExistsError:
        raise FileError(f"{path}: {_KEPT}") from None
    except OSError:  # no hard links here (FAT, some network folders): claim the name, then fill it
        try:
            path.open("xb").close()
        except FileExistsError:
            raise FileError(f"{path}: {_KEPT}") from None
        try:
            temporary.replace(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


@contextmanager
def _as_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileError(
            f"{path}: the file cannot be written: {error.strerror or error}."
        ) from error
