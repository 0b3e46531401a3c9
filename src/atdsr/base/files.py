"""Write files so that nobody ever sees half of one, and keep other processes away meanwhile.

While a file is written it has a hidden name of 16 hexadecimal digits beside the final one, such as
`.0123456789abcdef.part`. The process that writes it keeps it open and locked, so that the leftover
of a killed process can be told from what another process is writing: see `delete_leftovers`.
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
from pathlib import Path, PurePath
from typing import IO, BinaryIO, cast

from atdsr.base.errors import AtdsrError


class FileError(AtdsrError):
    """A file or folder that cannot be written; the sentence names it."""


class ExistsError(FileError):
    """A file that exists already and may not be replaced."""


def kept(output: PurePath) -> ExistsError:
    """Return the error for an output of a command that exists already."""
    return ExistsError(
        f"{output} exists and is kept; replace it with --overwrite, or name another with -o."
    )


LOCK_NAME = ".lock"
"""Name of the lock file that `folder_lock` puts into a folder."""

PART_SUFFIX = ".part"
"""Suffix of the temporary names of `atomic_write`."""

SCRATCH_SUFFIX = ".scratch"
"""Suffix of the temporary names of `imaging.temporary_array`."""

_TEMPORARY_NAME = re.compile(r"\.[0-9a-f]{16}\.(?:part|scratch)")
_PATIENCE = 0.2  # seconds; `delete_leftovers` holds a lock for less, a writer for longer

_temporary_files: set[Path] = set()  # of this process
_output_locks: dict[Path, list[Path]] = {}  # lock files that may exist, folders made for them
_cleaned_folders: set[str] = set()

_KEPT = "the file exists and is kept; allow overwriting it (--overwrite), or name another."

# thumbnails, and deleted files
_SYSTEM_NAMES = frozenset(
    {"@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "__macosx"}
    | {"$recycle.bin", "system volume information", "lost+found"}
)


def is_user_file(name: str, *, hidden: bool = False) -> bool:
    """Whether a file or folder of this name belongs to the user.

    Storage boxes, archives and operating systems put files of their own into folders, such as
    `@eaDir`.

    Args:
        name: Name of a file or folder, without its path.
        hidden: Whether names that begin with a dot count as the user's, too.
    """
    return (hidden or not name.startswith(".")) and name.lower() not in _SYSTEM_NAMES


def user_cache_folder() -> Path:
    r"""Return the user's cache folder of atdsr, which need not exist.

    It is `$XDG_CACHE_HOME/atdsr` if that is set; else `~/.cache/atdsr`, on macOS
    `~/Library/Caches/atdsr`, on Windows `%LOCALAPPDATA%\atdsr\Cache`.
    """
    import platformdirs

    return platformdirs.user_cache_path("atdsr", appauthor=False)


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file for reading, but not a device, a socket, or a pipe, which would block.

    Raises:
        OSError: The file cannot be read.
    """
    file = open(path, "rb", opener=_open_nonblocking)  # noqa: SIM115
    kind = _special_kind(os.fstat(file.fileno()).st_mode)
    if kind is not None:
        file.close()
        raise OSError(errno.EINVAL, f"this is a {kind} and no file", str(path))
    return file


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -------------------------------------------------------------------------------- atomic writes


def check_target(path: Path, *, overwrite: bool) -> None:
    """Check before long work that `atomic_write` will not refuse a path.

    Raises:
        ExistsError: A file or a link of that name exists.
        FileError: The path is a folder, a pipe, a device or a socket, or the folder to write into
            is not a folder or not writable.
    """
    if path.is_dir():
        raise FileError(f"{path}: this is a folder; name a file.")
    if path.exists() and (kind := _special_kind(path.stat().st_mode)) is not None:
        raise FileError(f"{path}: this is a {kind}; name a file.")
    if not overwrite and os.path.lexists(path):
        raise ExistsError(f"{path}: {_KEPT}")
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise FileError(f"{path}: {folder} is not a folder; name another place.")
    if not os.access(folder, os.W_OK):
        raise FileError(
            f"{path}: the folder {folder} may not be written; name another place, or change its "
            "permissions."
        )


@contextmanager
def atomic_write(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there becomes `path` at the end.

    If the block raises or is interrupted, the temporary file is deleted and `path` is as before.
    A replaced file passes its permissions on to the new one. A link is replaced itself: the file
    that it points to stays as it is, and so do other hard links to a replaced file.

    Args:
        path: The file to write. Its folder is created if it is missing.
        overwrite: Whether an existing file may be replaced. If not, a file that appears in the
            meantime is kept, too.

    Raises:
        ExistsError, FileError: See `check_target`, or the system refuses while writing.
    """
    with atomic_write_all([path], overwrite=overwrite) as (temporary,):
        yield temporary


@contextmanager
def atomic_write_all(paths: Sequence[Path], *, overwrite: bool) -> Iterator[list[Path]]:
    """Like `atomic_write`, for several files that belong together: all are written, or none.

    Only if the process is killed, or the disk fails, at the moment in which they get their names,
    some of them may exist.

    Args:
        paths: The files to write, all in one folder.
        overwrite: As for `atomic_write`.

    Raises:
        ExistsError, FileError: See `atomic_write`.
    """
    subject = paths[0] if len(paths) == 1 else paths[0].parent
    with _errors_as_sentence(subject), contextlib.ExitStack() as stack:
        for path in paths:
            check_target(path, overwrite=overwrite)
        temporaries = [stack.enter_context(temporary_file(path, PART_SUFFIX)) for path in paths]
        yield [temporary for temporary, _ in temporaries]
        for _, file in temporaries:
            os.fsync(file.fileno())  # some file systems report a full disk only now
        written: list[Path] = []
        try:
            for path, (temporary, file) in zip(paths, temporaries, strict=True):
                _rename(temporary, file, path, overwrite=overwrite)
                written.append(path)
        except BaseException:
            for path in () if overwrite else written:  # nothing was there before
                path.unlink(missing_ok=True)
            raise
        sync_folder(paths[0].parent)


def move_durably(source: Path, target: Path) -> None:
    """Move a finished file on one disk so that it survives a power failure.

    Raises:
        OSError: The system refuses.
    """
    with source.open("rb+") as file:
        os.fsync(file.fileno())
    source.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power failure, where the system can.

    Raises:
        OSError: The disk fails.
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


def _rename(temporary: Path, file: BinaryIO, path: Path, *, overwrite: bool) -> None:
    """Give a finished, still open file its name, and the permissions of one that it replaces."""
    if overwrite and path.is_file() and not path.is_symlink():
        temporary.chmod(stat.S_IMODE(path.stat().st_mode) & 0o777)
    if sys.platform == "win32":
        file.close()  # an open file cannot be renamed there
    if overwrite:
        temporary.replace(path)
    else:
        _rename_new(temporary, path)


def _rename_new(temporary: Path, path: Path) -> None:
    """Give a finished file its name unless another file has taken it meanwhile."""
    try:
        path.hardlink_to(temporary)  # unlike a rename, it never replaces
    except FileExistsError:
        raise ExistsError(f"{path}: {_KEPT}") from None
    except OSError:  # no hard links (FAT, some network folders): create the name, then replace it
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


# ------------------------------------------------------------------------------ temporary files


@contextmanager
def temporary_file(path: Path, suffix: str) -> Iterator[tuple[Path, BinaryIO]]:
    """Create an empty hidden file beside `path`, and delete it at the end unless it was renamed.

    It must be written in place, by its name or through the open file: another file that is moved
    to its name would not be locked. The leftovers of killed processes in the folder are deleted
    first.

    Args:
        path: The final path. Its folder is created if it is missing.
        suffix: `PART_SUFFIX` or `SCRATCH_SUFFIX`.

    Yields:
        The temporary path, and the file, open and locked.

    Raises:
        OSError: The system refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    delete_leftovers_once(path.parent)
    temporary = path.with_name(f".{secrets.token_hex(8)}{suffix}")
    _temporary_files.add(temporary)
    try:
        with _open_locked(temporary, new=True) as file:
            try:
                yield temporary, file
            except BaseException:
                with contextlib.suppress(OSError):  # what did not fit may still be in its buffer
                    file.close()
                raise
    finally:  # also on an interrupt
        _delete(temporary)


def delete_leftovers_once(folder: Path) -> None:
    """Call `delete_leftovers` for a folder unless this process has done so already."""
    key = os.path.abspath(folder)  # noqa: PTH100
    if key not in _cleaned_folders:
        _cleaned_folders.add(key)
        delete_leftovers(folder)


def delete_leftovers(folder: Path) -> None:
    """Delete the files that `temporary_file` and `output_lock` left when a process was killed.

    The files of a living process are locked (on Windows: open) and stay, also those of another
    machine if a network file system passes locks on. Without locks, all files stay.
    """
    try:
        with os.scandir(folder) as entries:
            leftovers = [
                Path(entry.path)
                for entry in entries
                if _TEMPORARY_NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
            ]
    except OSError:
        return
    for path in leftovers:
        with contextlib.suppress(OSError):
            _delete_leftover(path)


def delete_temporary_files() -> None:
    """Delete the temporary files of this process, which is about to end without cleaning up."""
    for path in tuple(_temporary_files):
        _delete(path)
    for path, new_folders in tuple(_output_locks.items()):
        with contextlib.suppress(OSError):
            _delete_leftover(path)  # unless another process holds it
            for folder in new_folders:
                folder.rmdir()


def has_temporary_files() -> bool:
    """Whether this process has temporary files."""
    return bool(_temporary_files)


def _delete_leftover(path: Path) -> None:
    """Delete a temporary file that no process holds.

    Raises:
        OSError: A process holds it, or it cannot be locked or deleted.
    """
    if sys.platform == "win32":
        path.unlink()  # which fails while a process has it open
        return
    with open(path, "rb+", opener=_open_nonblocking) as file:
        _lock(file)
        if _has_name(file, path):
            path.unlink()


def _delete(path: Path) -> None:
    with contextlib.suppress(OSError):  # Windows keeps a file as long as a process has it open
        path.unlink(missing_ok=True)
    _temporary_files.discard(path)


# ---------------------------------------------------------------------------------------- locks


@contextmanager
def output_lock(path: Path) -> Iterator[None]:
    """Keep other processes that call this for the same file from writing it during the block.

    The lock is on a hidden file beside it, so it ends with the process, however that ends. On a
    file system without locks, no process is kept from anything.

    Args:
        path: The file to write. Its folder is created if it is missing, and deleted again if it
            stays empty.

    Raises:
        BlockingIOError: Another process holds the lock.
        FileError: The folder cannot be created or written.
    """
    name = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    lock_path = path.with_name(f".{name}{PART_SUFFIX}")
    new_folders = _missing_folders(path.parent)
    _output_locks[lock_path] = new_folders  # an interrupt may come before the file is locked
    file = None
    try:
        file = _acquire(lock_path, path)
        with file:
            _temporary_files.add(lock_path)
            yield
    finally:
        if file is not None:
            _delete(lock_path)
            _output_locks.pop(lock_path, None)
        with contextlib.suppress(OSError):
            for folder in new_folders:
                folder.rmdir()


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Create a folder if it is missing, and keep it for this process during the block.

    Folders that were created are deleted at the end if they are empty.

    Raises:
        BlockingIOError: Another process holds the folder.
        FileError: The folder cannot be created or written.
    """
    lock_path = folder / LOCK_NAME
    new_folders = _missing_folders(folder)
    with _acquire(lock_path, folder):
        try:
            yield
        finally:
            if [entry.name for entry in folder.iterdir()] == [LOCK_NAME]:
                with contextlib.suppress(OSError):
                    lock_path.unlink()
                    for new_folder in new_folders:
                        new_folder.rmdir()


def _missing_folders(folder: Path) -> list[Path]:
    """Return the folder and its parents as far as they do not exist."""
    return list(takewhile(lambda parent: not parent.exists(), (folder, *folder.parents)))


def _acquire(lock_path: Path, subject: Path) -> BinaryIO:
    """Open and lock a lock file; closing it releases the lock.

    Args:
        lock_path: The lock file. Its folder is created if it is missing.
        subject: Path that an error message names.

    Raises:
        BlockingIOError: Another process holds the lock.
        FileError: The file cannot be created.
    """
    with _errors_as_sentence(subject), contextlib.suppress(BlockingIOError):
        while True:
            lock_path.parent.mkdir(parents=True, exist_ok=True)
            try:
                return _open_locked(lock_path, new=False)
            except FileNotFoundError:
                if lock_path.parent.is_dir():
                    raise
                # else the process that held it has just deleted the folder
    raise BlockingIOError


def _open_locked(path: Path, *, new: bool) -> BinaryIO:
    """Open a file and lock it before `delete_leftovers` takes it for a leftover.

    filelock's `FileLock` cannot do this: the file that is locked here is written, renamed and
    deleted, and it must still have its name when it has been locked.

    Args:
        path: The file, created if it is missing.
        new: Whether it must not exist yet.

    Raises:
        BlockingIOError: Another process holds it.
        OSError: The system refuses.
    """
    # imported before the file exists: a signal during an import would end the process at once
    import filelock  # noqa: F401

    start = time.monotonic()
    while True:
        file = cast(BinaryIO, open(path, "xb+" if new else "ab+", opener=_open_nonblocking))  # noqa: SIM115
        if new and sys.platform == "win32":
            return file  # a lock there would keep this process, too, from writing
        try:
            _lock(file)
        except BlockingIOError:
            file.close()
            if new:
                path.unlink(missing_ok=True)
            if time.monotonic() - start > _PATIENCE:
                raise
            time.sleep(0.01)
            continue
        except OSError:  # this file system has no locks
            return file
        if _has_name(file, path):
            return file
        file.close()  # it was deleted between being opened and being locked


def _lock(file: IO[bytes]) -> None:
    """Lock a file for this process until it is closed.

    Raises:
        BlockingIOError: Another process holds it.
        OSError: The file system has no locks.
    """
    from filelock import lock_descriptor  # takes 35 ms to import, so not at the top

    if not lock_descriptor(file.fileno(), blocking=False):
        raise BlockingIOError


def _has_name(file: IO[bytes], path: Path) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _open_nonblocking(path: str, flags: int) -> int:
    """Open a file without waiting for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)


def _special_kind(mode: int) -> str | None:
    """Return what kind of special file this is; None for a regular file or a folder."""
    kinds = {
        stat.S_IFIFO: "pipe",
        stat.S_IFCHR: "device",
        stat.S_IFBLK: "device",
        stat.S_IFSOCK: "socket",
    }
    return kinds.get(stat.S_IFMT(mode))


@contextmanager
def _errors_as_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileError(
            f"{path}: the file cannot be written: {error.strerror or error}."
        ) from error
