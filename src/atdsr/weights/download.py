"""Download published weights with gdown; an interrupted download can be continued."""

import errno
import os
import urllib.parse
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from atdsr.base import files, units
from atdsr.base.errors import AtdsrError
from atdsr.weights.official import (
    CommunityModel,
    LinkedFile,
    OfficialModel,
    without_password,
)
from atdsr.weights.published_file import ChangedFileError, PublishedFile
from atdsr.weights.state_dict import WeightsError

MIRROR_VARIABLE = "ATDSR_MIRROR"
"""The environment variable with the URL of a folder to download from, not Google Drive."""

TIMEOUT = (15.0, 60.0)
"""Seconds to wait for a connection, and for the next bytes."""

RETRIES = 3
"""How often a failed connection is tried again."""

ByteProgress = Callable[[int, int | None], None]
"""Called with the number of bytes downloaded, and the total if it is known."""


class DownloadError(AtdsrError):
    """Weights that cannot be downloaded now, or a server that sends something else."""


def fetch(model: PublishedFile, progress: ByteProgress | None = None) -> Path:
    """Download a model's weights unless they are here; continue an interrupted download.

    Args:
        model: A named model, or a file with an address.
        progress: Called as bytes arrive.

    Returns:
        Path of the file, complete and checked.

    Raises:
        DownloadError: There is no network or no answer, or what came is not the file.
        StoreError: The folder cannot be written, or another process is fetching the same model.
        WeightsError: The record of an earlier file is damaged.
    """
    if model.is_intact:
        return model.path
    with model.lock():
        if not model.is_intact:  # another process may just have finished
            _fetch(model, progress or (lambda _done, _total: None))
    return model.path


def source(model: PublishedFile) -> str:
    """Return where the weights will come from, for people to read.

    Raises:
        DownloadError: `ATDSR_MIRROR` is not a URL.
    """
    if (mirror := _mirror_of(model)) is not None:
        return without_password(mirror)
    if isinstance(model, CommunityModel | LinkedFile):
        return without_password(model.url)
    return "the authors' Google Drive"


def _fetch(model: PublishedFile, progress: ByteProgress) -> None:
    with _errors_as_sentences(model):
        url, path = _url(model), model.download_folder / model.file
        try:
            _download(model, url, path, progress)
            digest = model.check(path)
        except WeightsError as error:
            for leftover in model.download_folder.iterdir():
                if leftover.name != files.LOCK_NAME:
                    leftover.unlink()
            reason = str(error).replace(str(path), model.file).rstrip(".")
            advice = ""
            if not isinstance(error, ChangedFileError):
                # a download by hand may bring the right file
                reason, advice = reason.partition(";")[0], f"; {_by_hand(model)[:-1]}"
            raise DownloadError(
                f"{model.name}: what came is not {model.origin} and was deleted: {reason}{advice}."
            ) from None
        model.install(path, digest, without_password(url))


def _download(model: PublishedFile, url: str, path: Path, progress: ByteProgress) -> None:
    """Download a URL to a file.

    Raises:
        WeightsError: By its size alone, it cannot be the model's file.
        Exception: Whatever gdown and the system raise.
    """
    import gdown

    def check_size(done: int, total: int | None) -> None:
        size = model.nbytes
        sent = f"{done:,} or more" if total is None else f"{total:,}"
        if size is not None and (done > size or total not in (None, size)):
            raise WeightsError(f"{sent} bytes where {model.file} has {size:,}.")
        if max(done, total or 0) > model.max_bytes:
            raise WeightsError(f"{sent} bytes where {model.file} has at most {model.max_bytes:,}.")
        progress(done, total or size)

    while not path.exists():  # it exists if a process was killed before it had checked the file
        part = _unfinished(model)
        try:
            gdown.download(
                url,
                str(path),
                quiet=True,
                use_cookies=False,
                resume=True,
                progress=check_size,
                timeout=TIMEOUT,
                retries=RETRIES,
            )
        except gdown.DownloadError as error:
            if part is None or "byte range" not in str(error):
                raise
            part.unlink()  # the server cannot continue it, or has another file now


def _unfinished(model: PublishedFile) -> Path | None:
    """Return the largest unfinished download and delete others; gdown continues only one."""
    parts = sorted(model.download_folder.glob("*.part"), key=lambda part: part.stat().st_size)
    for part in parts[:-1]:
        part.unlink()
    return parts[-1] if parts else None


# ----------------------------------------------------------------------------------------- URLs


def _url(model: PublishedFile) -> str:
    """Return the URL to download.

    Raises:
        DownloadError: `ATDSR_MIRROR` is not a URL, or the file is not in the authors' folder.
    """
    mirror = _mirror_of(model)
    if mirror is not None:
        file = f"{model.subfolder}/{model.file}".lstrip("/")
        return f"{mirror}/{urllib.parse.quote(file)}"
    if isinstance(model, CommunityModel | LinkedFile):
        return model.url
    assert isinstance(model, OfficialModel), "there are no others"
    return f"https://drive.google.com/uc?id={model.file_id or _listed_id(model)}"


def _mirror_of(model: PublishedFile) -> str | None:
    """Return the mirror that has a file; one with an address of its own comes from there.

    Raises:
        DownloadError: `ATDSR_MIRROR` is not a URL.
    """
    return None if isinstance(model, LinkedFile) else _mirror()


def _mirror() -> str | None:
    mirror = os.environ.get(MIRROR_VARIABLE)
    if not mirror:
        return None
    parts = urllib.parse.urlsplit(mirror)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DownloadError(
            f"{MIRROR_VARIABLE} is {mirror!r}, which is not a URL such as https://host/folder."
        )
    return mirror.rstrip("/")


def _listed_id(model: OfficialModel) -> str:
    """Return the id of a file of which only the folder is known."""
    import gdown

    entries = gdown.download_folder(
        id=model.drive_folder,
        skip_download=True,
        quiet=True,
        use_cookies=False,
        timeout=TIMEOUT,
    )
    for entry in entries:
        if not isinstance(entry, str) and Path(entry.path).name == model.file:
            return entry.id
    raise DownloadError(
        f"{model.name}: {model.file} is no longer in the authors' folder on Google Drive; "
        f"{_by_hand(model)}"
    )


# --------------------------------------------------------------------------------------- errors


@contextmanager
def _errors_as_sentences(model: PublishedFile) -> Iterator[None]:
    """Turn what gdown, requests and the system raise into a `DownloadError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from gdown's HTML parser, about Google's pages
            yield
    except AtdsrError:
        raise
    except ImportError:
        raise DownloadError(
            f"{model.name}: gdown, which downloads it, is not installed; `pip install gdown`, or "
            f"{_by_hand(model)}"
        ) from None
    except Exception as error:  # Google's pages change, and parsing them can fail in any way
        part = _unfinished(model)
        kept_bytes = part.stat().st_size if part is not None else 0
        resume = (
            f"{units.byte_size(kept_bytes)} are kept and the same command goes on from there, or "
        )
        raise DownloadError(
            f"{model.name}: {_reason(model, error)}; "
            f"{resume if kept_bytes else ''}{_by_hand(model)}"
        ) from error


def _by_hand(model: PublishedFile) -> str:
    page = without_password(model.page)
    if isinstance(model, LinkedFile):
        return f"fetch {page} with a browser and name the file."
    return f"fetch {page} with a browser and run `atdsr models add FILE`."


def _reason(model: PublishedFile, error: Exception) -> str:
    """Return what went wrong, as the first half of a sentence."""
    import gdown
    from requests import exceptions

    if isinstance(error.__cause__, exceptions.RequestException):
        error = error.__cause__  # gdown wraps the error of its last try
    address = _mirror_of(model) or model.page
    host = urllib.parse.urlsplit(address).netloc.rpartition("@")[2]
    if isinstance(error, gdown.FileURLRetrievalError):
        return "Google Drive does not hand out the file (too many accesses lately, or it is gone)"
    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"{host} answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, exceptions.SSLError):
        return f"{host} has no certificate that is trusted here"
    if isinstance(error, exceptions.ProxyError):
        return f"the proxy does not let anyone through to {host}"
    # for a timeout in the middle of a file, requests raises another class
    if isinstance(error, exceptions.Timeout) or "timed out" in str(error):
        return f"{host} does not answer in time"
    if isinstance(error, exceptions.RequestException) and not _unfinished(model):
        return f"{host} cannot be reached"
    if isinstance(error, (exceptions.RequestException, gdown.DownloadError)):
        return f"the download from {host} broke off"
    if isinstance(error, OSError):
        advice = " (make room)" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return f"{model.download_folder} cannot be written: {error.strerror or error}{advice}"
    return f"{host} answers in a way that gdown does not understand ({type(error).__name__})"
