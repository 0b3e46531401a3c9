"""Downloading official weights, by gdown, so that it can be interrupted at any time."""

import errno
import os
import urllib.parse
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from atdsr.base import files, units
from atdsr.base.errors import AtdsrError
from atdsr.weights import CheckpointError
from atdsr.weights.store import DRIVE_FOLDER, OfficialModel, OtherFileError

MIRROR = "ATDSR_MIRROR"
"""The environment variable that names a web folder with the files, in place of Google Drive."""

TIMEOUT = (15.0, 60.0)
"""Seconds to wait for a connection, and for the next bytes."""

RETRIES = 3
"""How often a connection that fails is made again."""

Progress = Callable[[int, int | None], None]
"""Is called with the bytes that are here, and how many there will be where that is known."""


class FetchError(AtdsrError):
    """Weights that cannot be downloaded now, or a server that sends something else."""


def fetch(model: OfficialModel, progress: Progress | None = None) -> Path:
    """Download a model's weights unless they are here; go on where an earlier download stopped.

    Args:
        model: one of `OFFICIAL`.
        progress: told how far it is.

    Returns:
        The file, whole and checked.

    Raises:
        FetchError: no network, no answer, or what came is not the file.
        StoreError: the folder cannot be written, or another process fetches the same.
        CheckpointError: what was noted about an earlier file is damaged.
    """
    if model.is_intact:
        return model.path
    with model.held():
        if not model.is_intact:  # another process may just have been done
            _fetch(model, progress or (lambda _done, _total: None))
    return model.path


def source(model: OfficialModel) -> str:
    """Where the weights will come from, for people to read.

    Raises:
        FetchError: `ATDSR_MIRROR` is no address.
    """
    mirror = _mirror()
    return "the authors' Google Drive" if mirror is None else _shown(mirror)


def _fetch(model: OfficialModel, progress: Progress) -> None:
    with _as_sentences(model):
        url, path = _address(model), model.partial / model.file
        try:
            _download(model, url, path, progress)
            digest = model.check(path)
        except CheckpointError as error:
            for each in model.partial.iterdir():
                if each.name != files.LOCK:
                    each.unlink()
            reason = str(error).replace(str(path), model.file).rstrip(".")
            instead = ""
            if not isinstance(error, OtherFileError):
                # by hand there may come another file than the one that was just refused
                reason, instead = reason.partition(";")[0], f"; {_by_hand(model)[:-1]}"
            raise FetchError(
                f"{model.name}: what came is not the authors' file and was deleted: "
                f"{reason}{instead}."
            ) from None
        model.keep(path, digest, _shown(url))


def _download(model: OfficialModel, url: str, path: Path, progress: Progress) -> None:
    """Make a file of what is at an address.

    Raises:
        CheckpointError: it cannot be the model's file, by its size alone.
        Exception: what gdown and the system raise.
    """
    import gdown

    def watch(done: int, total: int | None) -> None:
        size = model.nbytes
        sent = f"{done:,} or more" if total is None else f"{total:,}"
        if size is not None and (done > size or total not in (None, size)):
            raise CheckpointError(f"{sent} bytes where {model.file} has {size:,}.")
        if max(done, total or 0) > model.most_bytes:
            raise CheckpointError(
                f"{sent} bytes where {model.file} has at most {model.most_bytes:,}."
            )
        progress(done, total or size)

    while not path.exists():  # it does where a process was killed before it had checked it
        begun = _begun(model)
        try:
            gdown.download(
                url,
                str(path),
                quiet=True,
                use_cookies=False,
                resume=True,
                progress=watch,
                timeout=TIMEOUT,
                retries=RETRIES,
            )
        except gdown.DownloadError as error:
            if begun is None or "byte range" not in str(error):
                raise
            begun.unlink()  # the server cannot go on, or has another file now


def _begun(model: OfficialModel) -> Path | None:
    """What earlier downloads have left to go on from; gdown takes only one such file."""
    parts = sorted(model.partial.glob("*.part"), key=lambda part: part.stat().st_size)
    for part in parts[:-1]:
        part.unlink()
    return parts[-1] if parts else None


# ----------------------------------------------------------------------------------- addresses


def _address(model: OfficialModel) -> str:
    """What to download.

    Raises:
        FetchError: `ATDSR_MIRROR` is no address, or the file is not in the authors' folder.
    """
    mirror = _mirror()
    if mirror is not None:
        return f"{mirror}/{urllib.parse.quote(model.file)}"
    return f"https://drive.google.com/uc?id={model.file_id or _listed_id(model)}"


def _mirror() -> str | None:
    mirror = os.environ.get(MIRROR)
    if not mirror:
        return None
    parts = urllib.parse.urlsplit(mirror)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FetchError(
            f"{MIRROR} is {mirror!r}, which is no address such as https://host/folder."
        )
    return mirror.rstrip("/")


def _listed_id(model: OfficialModel) -> str:
    """The id of a file of which only the folder is known."""
    import gdown

    listed = gdown.download_folder(
        id=DRIVE_FOLDER, skip_download=True, quiet=True, use_cookies=False, timeout=TIMEOUT
    )
    for file in listed:
        if not isinstance(file, str) and Path(file.path).name == model.file:
            return file.id
    raise FetchError(
        f"{model.name}: {model.file} is no longer in the authors' folder on Google Drive; "
        f"{_by_hand(model)}"
    )


def _shown(url: str) -> str:
    """An address without a user's name and password."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


# ----------------------------------------------------------------------------------- sentences


@contextmanager
def _as_sentences(model: OfficialModel) -> Iterator[None]:
    """Turn what gdown, requests and the system raise into a `FetchError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of gdown's parser of pages, about Google's
            yield
    except AtdsrError:
        raise
    except ImportError:
        raise FetchError(
            f"{model.name}: gdown, which downloads it, is not installed; `pip install gdown`, or "
            f"{_by_hand(model)}"
        ) from None
    except Exception as error:  # Google's pages change, and reading them fails in as many ways
        part = _begun(model)
        kept = part.stat().st_size if part is not None else 0
        going_on = f"{units.byte_size(kept)} are kept and the same command goes on from there, or "
        raise FetchError(
            f"{model.name}: {_reason(model, error)}; {going_on if kept else ''}{_by_hand(model)}"
        ) from error


def _by_hand(model: OfficialModel) -> str:
    return f"fetch {model.page} with a browser and run `atdsr models add FILE`."


def _reason(model: OfficialModel, error: Exception) -> str:
    """What went wrong, in half a sentence."""
    import gdown
    from requests import exceptions

    if isinstance(error.__cause__, exceptions.RequestException):
        error = error.__cause__  # gdown wraps what it has tried again
    host = urllib.parse.urlsplit(_mirror() or "https://drive.google.com").netloc.rpartition("@")[2]
    if isinstance(error, gdown.FileURLRetrievalError):
        return "Google Drive does not hand out the file (too many accesses lately, or it is gone)"
    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"{host} answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, exceptions.SSLError):
        return f"{host} has no certificate that is trusted here"
    if isinstance(error, exceptions.ProxyError):
        return f"the proxy does not let anyone through to {host}"
    # of a timeout in the middle of a file, requests makes another error
    if isinstance(error, exceptions.Timeout) or "timed out" in str(error):
        return f"{host} does not answer in time"
    if isinstance(error, exceptions.RequestException) and not _begun(model):
        return f"{host} cannot be reached"
    if isinstance(error, (exceptions.RequestException, gdown.DownloadError)):
        return f"the download from {host} broke off"
    if isinstance(error, OSError):
        room = " (make room)" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return f"{model.partial} cannot be written: {error.strerror or error}{room}"
    return f"{host} answers in a way that gdown does not understand ({type(error).__name__})"
