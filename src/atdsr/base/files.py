"""Writing a file so that nobody ever sees half of it, and telling files apart.

While a file is written it has a hidden name of 16 hexadecimal digits beside the file to be, such
as `.0123456789abcdef.part`. The process that writes it keeps it open and locked, so that what a
killed process left can be told from what another one is writing: see `sweep`.
"""

import contextlib
import errno
import hashlib
import io
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import IO, BinaryIO, cast

from atdsr.base.errors import AtdsrError


class FileError(AtdsrError):
    """A file or folder that cannot be written; the sentence names it."""


class ExistsError(FileError):
    """A file that exists already and may not be replaced."""


LOCK = ".lock"
"""The file in a folder that `owned` keeps for a process."""

PART = ".part"
"""What the temporary names of `replacing` end in."""

SCRATCH = ".scratch"
"""What those of `imaging.temporary_array` end in."""

_HIDDEN = re.compile(r"\.[0-9a-f]{16}\.(?:part|scratch)")
_PATIENCE = 0.2  # seconds; a lock that is held longer is a writer's, not that of a `sweep`
_living: set[Path] = set()  # the temporary files of this process
_claiming: dict[Path, list[Path]] = {}  # claims that may be there, and folders made for them
_swept: set[str] = set()  # folders


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
        ExistsError: a file or a link is in the way.
        FileError: a folder is in the way, or a pipe, a device or a socket; or the folder to write
            into is no folder or may not be written.
    """
    if path.is_dir():
        raise FileError(f"{path}: this is a folder; name a file.")
    if path.exists() and (kind := _special(path.stat().st_mode)) is not None:
        raise FileError(f"{path}: this is a {kind}; name a file.")
    if not overwrite and os.path.lexists(path):
        raise ExistsError(f"{path}: {_KEPT}")
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
    A file that is replaced leaves its permissions to the new one. A link is replaced itself: what
    it points at stays as it is, and so do the other names of a file that has several.

    Args:
        path: the file to write; its folder is made if need be.
        overwrite: whether an existing file may be replaced. Where it may not, a file that
            appears in the meantime is kept too.

    Raises:
        ExistsError, FileError: see `check_target`, or the system refuses in the middle.
    """
    with replacing_all([path], overwrite=overwrite) as (name,):
        yield name


@contextmanager
def replacing_all(paths: Sequence[Path], *, overwrite: bool) -> Iterator[list[Path]]:
    """Like `replacing`, for several files that belong together: all are written, or none.

    Only where the process is killed, or the disk fails, in the moment in which they get their
    names, some may be there.

    Args:
        paths: the files to write, in one folder.
        overwrite: as for `replacing`.

    Raises:
        ExistsError, FileError: see `replacing`.
    """
    subject = paths[0] if len(paths) == 1 else paths[0].parent
    with _as_sentence(subject), contextlib.ExitStack() as stack:
        for path in paths:
            check_target(path, overwrite=overwrite)
        parts = [stack.enter_context(temporary(path, PART)) for path in paths]
        yield [name for name, _ in parts]
        for _, file in parts:
            os.fsync(file.fileno())  # some file systems tell of a full disk only now
        made: list[Path] = []
        try:
            for path, (name, file) in zip(paths, parts, strict=True):
                _rename(name, file, path, overwrite=overwrite)
                made.append(path)
        except BaseException:
            for path in () if overwrite else made:  # nothing was there before
                path.unlink(missing_ok=True)
            raise
        sync_folder(paths[0].parent)


def move(source: Path, target: Path) -> None:
    """Give a whole file another name on the same disk, so that it outlives a power failure.

    Raises:
        OSError: the system refuses.
    """
    with source.open("rb+") as file:
        os.fsync(file.fileno())
    source.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """See that the names in a folder outlive a power failure, where the system can.

    Raises:
        OSError: the disk fails.
    """
    if sys.platform == "win32":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM):
            raise


def opened(path: Path) -> io.BufferedReader:
    """Open a file to read its bytes.

    A pipe is refused, which would wait for a writer, and so are a device and a socket.

    Raises:
        OSError: it cannot be read.
    """
    file = open(path, "rb", opener=_at_once)  # noqa: SIM115
    kind = _special(os.fstat(file.fileno()).st_mode)
    if kind is not None:
        file.close()
        raise OSError(errno.EINVAL, f"this is a {kind} and no file", str(path))
    return file


# --------------------------------------------------------------------------- temporary files


@contextmanager
def temporary(path: Path, suffix: str) -> Iterator[tuple[Path, BinaryIO]]:
    """Make an empty hidden file beside `path`, which goes away at the end unless it was renamed.

    It is to be written in place, by its name or through the open file: another file of its name
    would not be locked. What killed processes left in the folder is swept first.

    Args:
        path: the file to be; its folder is made if need be.
        suffix: `PART` or `SCRATCH`.

    Yields:
        Its name, and the file, open and locked.

    Raises:
        OSError: the system refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep_once(path.parent)
    name = path.with_name(f".{secrets.token_hex(8)}{suffix}")
    _living.add(name)
    try:
        with _locked(name, new=True) as file:
            try:
                yield name, file
            except BaseException:
                with contextlib.suppress(OSError):  # what did not fit may still be in its buffer
                    file.close()
                raise
    finally:  # also on an interrupt
        _remove(name)


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Keep other processes that claim the same file from making it while the block runs.

    The claim is a lock on a hidden file beside it, so it ends with the process, however that
    ends. Where the file system has no locks, nobody is kept.

    Args:
        path: the file to be; its folder is made if need be, and goes away again if it stays
            empty.

    Raises:
        BlockingIOError: another process has claimed it.
        FileError: the folder cannot be made or written.
    """
    folder = path.parent
    name = path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}{PART}")
    made = list(takewhile(lambda each: not each.exists(), (folder, *folder.parents)))
    file = None
    _claiming[name] = made  # an interrupt may come when the file is there and not yet ours
    try:
        with _as_sentence(path), contextlib.suppress(BlockingIOError):
            if made:
                folder.mkdir(parents=True, exist_ok=True)
            file = _locked(name, new=False)
        if file is None:
            raise BlockingIOError
        with file:
            _living.add(name)
            yield
    finally:
        if file is not None:
            _remove(name)
            _claiming.pop(name, None)
        with contextlib.suppress(OSError):
            for each in made:
                each.rmdir()


def sweep_once(folder: Path) -> None:
    """`sweep` a folder unless this process has done so already."""
    key = os.path.abspath(folder)  # noqa: PTH100
    if key not in _swept:
        _swept.add(key)
        sweep(folder)


def sweep(folder: Path) -> None:
    """Delete what `temporary` and `claimed` left in a folder when their process was killed.

    What a living process has is locked (on Windows: open), also that of another machine where a
    network file system passes locks on, and stays. Without locks, all stays.
    """
    try:
        with os.scandir(folder) as entries:
            left = [Path(entry.path) for entry in entries if _is_temporary(entry)]
    except OSError:
        return
    for path in left:
        with contextlib.suppress(OSError):
            _sweep_file(path)


def discard() -> None:
    """Delete the temporary files of this process, which is about to end without cleaning up."""
    for path in tuple(_living):
        _remove(path)
    for path, made in tuple(_claiming.items()):
        with contextlib.suppress(OSError):
            _sweep_file(path)  # unless another process has it
            for folder in made:
                folder.rmdir()


def busy() -> bool:
    """Whether this process has temporary files."""
    return bool(_living)


def _is_temporary(entry: "os.DirEntry[str]") -> bool:
    return _HIDDEN.fullmatch(entry.name) is not None and entry.is_file(follow_symlinks=False)


def _sweep_file(path: Path) -> None:
    """Delete a temporary file that nobody has.

    Raises:
        OSError: somebody has it, or it cannot be locked or deleted.
    """
    if sys.platform == "win32":
        path.unlink()  # which fails where somebody has it open
        return
    with open(path, "rb+", opener=_at_once) as file:
        lock(file)
        if _is_named(file, path):
            path.unlink()


def _locked(path: Path, *, new: bool) -> BinaryIO:
    """Open a hidden file, made if need be, and lock it before `sweep` takes it for a leftover.

    Args:
        path: the file.
        new: whether it must not exist yet.

    Raises:
        BlockingIOError: another process has it.
        OSError: the system refuses.
    """
    since = time.monotonic()
    while True:
        file = cast(BinaryIO, open(path, "xb+" if new else "ab+", opener=_at_once))  # noqa: SIM115
        if new and sys.platform == "win32":
            return file  # a lock there would keep this process, too, from writing
        try:
            lock(file)
        except BlockingIOError:
            file.close()
            if new:
                path.unlink(missing_ok=True)
            if time.monotonic() - since > _PATIENCE:
                raise
            time.sleep(0.01)
            continue
        except OSError:  # no locks in this file system
            return file
        if _is_named(file, path):
            return file
        file.close()  # it was swept between being opened and being locked


def _is_named(file: IO[bytes], path: Path) -> bool:
    """Whether an open file still has that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # Windows keeps it as long as somebody has it open
        path.unlink(missing_ok=True)
    _living.discard(path)


def _at_once(path: str, flags: int) -> int:
    """Open a file without waiting for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)


def _special(mode: int) -> str | None:
    """What it is that is neither a file nor a folder."""
    kinds = {
        stat.S_IFIFO: "pipe",
        stat.S_IFCHR: "device",
        stat.S_IFBLK: "device",
        stat.S_IFSOCK: "socket",
    }
    return kinds.get(stat.S_IFMT(mode))


# ------------------------------------------------------------------------------------- folders


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
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_KEPT = "the file exists and is kept; allow overwriting it (--overwrite), or name another."


def _rename(name: Path, file: BinaryIO, path: Path, *, overwrite: bool) -> None:
    """Give a whole file, still open, its name, and the permissions of one that it replaces."""
    if overwrite and path.is_file() and not path.is_symlink():
        name.chmod(stat.S_IMODE(path.stat().st_mode) & 0o777)
    if sys.platform == "win32":
        file.close()  # an open file keeps its name there
    if overwrite:
        name.replace(path)
    else:
        _rename_new(name, path)


def _rename_new(temporary: Path, path: Path) -> None:
    """Give a whole file its name unless another came first."""
    try:
        path.hardlink_to(temporary)  # unlike a rename, it never replaces
    except FileExistsError:
        raise ExistsError(f"{path}: {_KEPT}") from None
    except OSError:  # no hard links here (FAT, some network folders): claim the name, then fill it
        try:
            path.open("xb").close()
        except FileExistsError:
            raise ExistsError(f"{path}: {_KEPT}") from None
        try:
            temporary.replace(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    else:
        temporary.unlink()


@contextmanager
def _as_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileError(
            f"{path}: the file cannot be written: {error.strerror or error}."
        ) from error
