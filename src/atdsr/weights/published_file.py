"""A file of weights that is published somewhere, and its copy on this machine."""

import contextlib
import json
import os
import shutil
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from atdsr.base import files, units
from atdsr.base.errors import AtdsrError, unreadable
from atdsr.base.files import FileError
from atdsr.weights.files import check_file_type, read_tensors, read_weights
from atdsr.weights.state_dict import Weights, WeightsError

FOLDER_VARIABLE = "ATDSR_MODELS"
"""The environment variable that names the folder for published weights."""

_MAX_BYTES = 2**32  # of a file of which nothing is known


class ChangedFileError(WeightsError):
    """A file of the right network that differs from the one recorded earlier."""


class CacheError(AtdsrError):
    """The folder for official weights cannot be written, or another process is using it."""


@dataclass(frozen=True)
class Record:
    """What was recorded when a file was downloaded or added.

    Attributes:
        name: Name of the model.
        bytes: Size of the file.
        sha256: SHA-256 of the file, in hexadecimal.
        when: Time at which it came, in UTC.
        source: URL or path that it came from.
    """

    name: str
    bytes: int
    sha256: str
    when: str
    source: str


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """A file of weights that does not come with atdsr.

    Attributes:
        name: Name that a user writes.
        file: Name of the file as published.
        subfolder: Folder for the file inside that for published weights; "" for none. Several
            authors' files have the same names.
        nbytes: Size of the file; None if it is not published.
        published_sha256: SHA-256 in hexadecimal; None if it is not published. Then the first file
            that comes is trusted, and every later one must be the same.
    """

    name: str
    file: str
    subfolder: str = ""
    nbytes: int | None = None
    published_sha256: str | None = None

    @property
    def origin(self) -> str:
        """Whose file it is, for people to read."""
        return self.file

    @property
    def page(self) -> str:
        """URL for a browser."""
        raise NotImplementedError

    @property
    def max_bytes(self) -> int:
        """Upper bound for the size of the file."""
        return self.nbytes or _MAX_BYTES

    @property
    def expected_bytes(self) -> int | None:
        """Size of the file, or an estimate of it; None if nothing is known."""
        return self.nbytes

    @property
    def path(self) -> Path:
        """Path of the weights on this machine, whether or not they are there."""
        return folder() / self.subfolder / self.file

    @property
    def download_folder(self) -> Path:
        """Folder for an unfinished download."""
        return self.path.parent / "partial" / self.path.stem

    @property
    def is_here(self) -> bool:
        """Whether there is a file of weights, whole or damaged."""
        return self.path.is_file()

    @property
    def is_intact(self) -> bool:
        """Whether there is a file of weights with the SHA-256 that it must have."""
        expected = self._expected
        return self.is_here and expected is not None and files.sha256(self.path) == expected

    @property
    def record(self) -> Record | None:
        """The record of the file that came first, or None if none ever did.

        Raises:
            WeightsError: The record cannot be read.
        """
        path = self._record_path
        try:
            return Record(**json.loads(path.read_text("utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError, RecursionError):
            raise WeightsError(
                f"{path} cannot be read or is damaged; delete it, and fetch {self.name} again."
            ) from None

    @property
    def sha256(self) -> str:
        """SHA-256 that the file must have, as published or else as recorded.

        Raises:
            WeightsError: There is no file, or no record of where it came from.
        """
        if not self.is_here:
            size = "" if self.nbytes is None else f" ({units.byte_size(self.nbytes)})"
            raise WeightsError(
                f"{self.name} is not on this machine; `atdsr models fetch {self.name}` "
                f"downloads it{size}."
            )
        expected = self._expected
        if expected is None:
            raise WeightsError(
                f"nothing is known of {self.path}; `atdsr models add {self.path}` checks and "
                "registers it."
            )
        return expected

    @property
    def _expected(self) -> str | None:
        record = self.record
        return self.published_sha256 or (record.sha256 if record else None)

    @property
    def _record_path(self) -> Path:
        return self.path.with_suffix(".json")

    def load(self, prefer: str = "params_ema") -> Weights:
        """Read the weights, after a check of their SHA-256.

        Args:
            prefer: Which of two sets of parameters to take, as for `read_weights`.

        Raises:
            WeightsError: They are not here, or damaged; the sentence says how to get them.
        """
        if self.sha256 != files.sha256(self.path):
            raise WeightsError(
                f"{self.path} is damaged (SHA-256 differs); `atdsr models fetch {self.name}` "
                "fetches it anew."
            )
        return self._read(self.path, prefer)

    def _read(self, path: Path, prefer: str = "params_ema") -> Weights:
        """Read weights; a kind of file that needs to be told something overrides it."""
        return read_weights(path, prefer=prefer)

    def check(self, path: Path) -> str:
        """Check that a file is this model's.

        Returns:
            SHA-256 of the file.

        Raises:
            WeightsError: It is not; the sentence names the file and says what it is instead.
        """
        try:
            check_file_type(path)
            size, digest = path.stat().st_size, files.sha256(path)
        except OSError as error:
            raise WeightsError(unreadable(path, error)) from None
        if self.nbytes is not None and size != self.nbytes:
            raise WeightsError(
                f"{path} has {size:,} bytes where {self.file} as published has {self.nbytes:,}; "
                "fetch it again."
            )
        if self.published_sha256 is not None and digest != self.published_sha256:
            raise WeightsError(
                f"{path} is not {self.file} as published, or damaged: its SHA-256 is not the "
                "published one; fetch it again."
            )
        self._check_content(path)
        record = self.record
        if self.published_sha256 is None and record is not None and digest != record.sha256:
            raise ChangedFileError(
                f"{path} is not the file that was recorded for {self.name} on {record.when[:10]} "
                f"(its SHA-256 differs); if the authors have replaced theirs, delete "
                f"{self._record_path} first."
            )
        return digest

    def _check_content(self, path: Path) -> None:
        """Check that a file holds tensors and is not damaged.

        Raises:
            WeightsError: It does not.
        """
        read_tensors(path)
        # PyTorch does not verify the checksums in its archives
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise WeightsError(f"{path} is damaged; fetch it again.")

    def add(self, source: Path) -> None:
        """Copy a file that was downloaded by hand to the folder for official weights.

        Raises:
            WeightsError: The file is not this model's.
            CacheError: It cannot be written, or another process is fetching the model.
        """
        with self.lock():
            digest = self.check(source)
            if self.is_intact:
                return
            with files.atomic_write(self.path, overwrite=True) as temporary:
                shutil.copyfile(source, temporary)
                if files.sha256(temporary) != digest:
                    raise WeightsError(f"{source} changed while it was copied; add it again.")
                self._write_record(source.stat().st_size, digest, str(source.resolve()))

    def install(self, path: Path, digest: str, source: str) -> None:
        """Move a checked file from `download_folder` to its final path.

        Args:
            path: Path of the file.
            digest: SHA-256 that `check` returned.
            source: URL that it came from.

        Raises:
            FileError: The record cannot be written.
            OSError: The file cannot be moved.
        """
        # the record comes first: after a power failure, a record without a file does no harm
        self._write_record(path.stat().st_size, digest, source)
        # gdown makes files that only their owner can read
        path.chmod(stat.S_IMODE(self._record_path.stat().st_mode))
        files.move_durably(path, self.path)

    def _write_record(self, size: int, digest: str, source: str) -> None:
        when = datetime.now(UTC).isoformat(timespec="seconds")
        record = Record(self.name, size, digest, when, source)
        with files.atomic_write(self._record_path, overwrite=True) as temporary:
            temporary.write_text(json.dumps(asdict(record), indent=1) + "\n", "utf-8")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from this model's files while the block runs.

        Raises:
            CacheError: Another process is using them, or the folder cannot be made or written.
        """
        try:
            with files.folder_lock(self.download_folder):
                yield
        except BlockingIOError:
            raise CacheError(
                f"another process is fetching {self.name} already; wait for its end."
            ) from None
        except FileError as error:
            raise CacheError(
                f"{str(error).rstrip('.')}; set {FOLDER_VARIABLE} to a folder that can be written."
            ) from None
        finally:
            with contextlib.suppress(OSError):  # not empty: an unfinished download is kept
                self.download_folder.rmdir()
                self.download_folder.parent.rmdir()


def folder() -> Path:
    """Return the folder for official weights: `$ATDSR_MODELS`, or one in the user's cache."""
    path = os.environ.get(FOLDER_VARIABLE)
    return Path(path).expanduser() if path else files.user_cache_folder() / "models" / "official"
