"""Official weights on this machine: where they lie, and whether they are the authors'."""

import contextlib
import dataclasses
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

from atdsr import weights as weight_files
from atdsr.base import files, paths, units
from atdsr.base.errors import AtdsrError
from atdsr.base.files import FileError
from atdsr.network.model import ATDConfig
from atdsr.weights import CheckpointError, Weights

FOLDER = "ATDSR_MODELS"
"""The environment variable that names another folder."""

DRIVE_FOLDER = "1D3BvTS1xBcaU1mp50k3pBzUWb7qjRvmB"
"""The authors' public folder on Google Drive, with every file."""


class OtherFileError(CheckpointError):
    """A file of the right network that is not the one recorded earlier."""


class StoreError(AtdsrError):
    """The folder for official weights cannot be used, or another process is at them."""


@dataclass(frozen=True)
class Record:
    """What is known of a file since it came.

    Attributes:
        name: of the model.
        bytes: its size.
        sha256: in hexadecimal.
        when: it came, in UTC.
        source: where from, an address or a file.
    """

    name: str
    bytes: int
    sha256: str
    when: str
    source: str


@dataclass(frozen=True)
class OfficialModel:
    """A model whose weights the authors hand out and atdsr does not bring.

    Attributes:
        name: what a user writes.
        config: the network.
        file: its weights, as the authors call them.
        parameters: how many numbers the network has learned.
        data: what it was trained on.
        file_id: of the file on Google Drive; None where only its folder is known.
        nbytes: its size; None where nobody has published it.
        published_sha256: in hexadecimal; None where nobody has published it. Then the first file
            that comes is trusted, and every later one has to be the same.
        licence: of the weights.
    """

    name: str
    config: ATDConfig
    file: str
    parameters: int
    data: str
    file_id: str | None = None
    nbytes: int | None = None
    published_sha256: str | None = None
    licence: str = "Apache-2.0"

    @property
    def most_bytes(self) -> int:
        """More than its file can have: two sets of 32-bit numbers, twice, and the rest."""
        return self.nbytes or 16 * self.parameters + 2**26

    @property
    def page(self) -> str:
        """Where a browser finds the file, or its folder."""
        if self.file_id is None:
            return f"https://drive.google.com/drive/folders/{DRIVE_FOLDER}"
        return f"https://drive.google.com/file/d/{self.file_id}/view"

    @property
    def path(self) -> Path:
        """Where the weights lie or would lie."""
        return folder() / self.file

    @property
    def partial(self) -> Path:
        """The folder for what a download has brought so far."""
        return folder() / "partial" / self.path.stem

    @property
    def is_here(self) -> bool:
        """Whether there is a file of weights, be it whole or damaged."""
        return self.path.is_file()

    @property
    def is_intact(self) -> bool:
        """Whether there is a file of weights with the SHA-256 that it must have."""
        expected = self._expected
        return self.is_here and expected is not None and files.sha256(self.path) == expected

    @property
    def record(self) -> Record | None:
        """What was noted when the weights came, if they ever did.

        Raises:
            CheckpointError: it cannot be read.
        """
        path = self._record_path
        try:
            return Record(**json.loads(path.read_text("utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError, RecursionError):
            raise CheckpointError(
                f"{path} cannot be read or is damaged; delete it, and fetch {self.name} again."
            ) from None

    @property
    def sha256(self) -> str:
        """Of the file that is here: what it must be, as published or else as recorded.

        Raises:
            CheckpointError: there is no file, or nothing was noted when it came.
        """
        if not self.is_here:
            size = "" if self.nbytes is None else f" ({units.byte_size(self.nbytes)})"
            raise CheckpointError(
                f"{self.name} is not on this machine; `atdsr models fetch {self.name}` "
                f"downloads it{size}."
            )
        expected = self._expected
        if expected is None:
            raise CheckpointError(
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
        """The weights, after a check of their SHA-256.

        Args:
            prefer: which of the file's two sets to take, as for `checkpoint.load`.

        Raises:
            CheckpointError: they are not here, or damaged; the sentence says how to get them.
        """
        if self.sha256 != files.sha256(self.path):
            raise CheckpointError(
                f"{self.path} is damaged (SHA-256 differs); `atdsr models fetch {self.name}` "
                "fetches it anew."
            )
        return weight_files.load(self.path, category_size=self.config.category_size, prefer=prefer)

    def check(self, path: Path) -> str:
        """Find out whether a file is this model's.

        Returns:
            Its SHA-256.

        Raises:
            CheckpointError: it is not; the sentence names it and says what it is instead.
        """
        try:
            weight_files.check_kind(path)
            size, found = path.stat().st_size, files.sha256(path)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from None
        if self.nbytes is not None and size != self.nbytes:
            raise CheckpointError(
                f"{path} has {size:,} bytes where the authors' {self.file} has {self.nbytes:,}."
            )
        if self.published_sha256 is not None and found != self.published_sha256:
            raise CheckpointError(
                f"{path} is not the authors' {self.file}, or damaged: its SHA-256 is not the "
                "published one."
            )
        self._check_content(path)
        record = self.record
        if self.published_sha256 is None and record is not None and found != record.sha256:
            raise OtherFileError(
                f"{path} is not the file that was recorded for {self.name} on {record.when[:10]} "
                f"(its SHA-256 differs); if the authors have replaced theirs, delete "
                f"{self._record_path} first."
            )
        return found

    def _check_content(self, path: Path) -> None:
        """Whether a file holds the network, whole.

        Raises:
            CheckpointError: it does not.
        """
        config = weight_files.load(path, category_size=self.config.category_size).config
        for field in dataclasses.fields(ATDConfig):
            theirs, ours = getattr(config, field.name), getattr(self.config, field.name)
            if theirs != ours:
                raise CheckpointError(
                    f"{path} holds another network than {self.name}: its {field.name} is "
                    f"{theirs}, not {ours}."
                )
        # PyTorch leaves out the checksums of its archives
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise CheckpointError(f"{path} is damaged; fetch it again.")

    def add(self, source: Path) -> None:
        """Copy a file that a person has fetched to where the weights lie.

        Raises:
            CheckpointError: it is not this model's.
            StoreError: it cannot be written, or another process is fetching the model.
        """
        with self.held():
            digest = self.check(source)
            if self.is_intact:
                return
            with files.replacing(self.path, overwrite=True) as temporary:
                shutil.copyfile(source, temporary)
                if files.sha256(temporary) != digest:
                    raise CheckpointError(f"{source} changed while it was copied; add it again.")
                self._note(source.stat().st_size, digest, str(source.resolve()))

    def keep(self, path: Path, digest: str, source: str) -> None:
        """Give a checked file, which lies in `partial`, its place and name.

        Args:
            path: the file; it is moved.
            digest: what `check` returned.
            source: where it comes from.

        Raises:
            FileError: the note about it cannot be written.
            OSError: the file cannot be moved.
        """
        # first: after a power failure, a note without a file does no harm
        self._note(path.stat().st_size, digest, source)
        path.chmod(stat.S_IMODE(self._record_path.stat().st_mode))  # gdown makes private files
        files.move(path, self.path)

    def _note(self, size: int, digest: str, source: str) -> None:
        when = datetime.now(UTC).isoformat(timespec="seconds")
        record = Record(self.name, size, digest, when, source)
        with files.replacing(self._record_path, overwrite=True) as temporary:
            temporary.write_text(json.dumps(asdict(record), indent=1) + "\n", "utf-8")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from this model's files while the block runs.

        Raises:
            StoreError: another process is at them, or the folder cannot be made or written.
        """
        try:
            with files.owned(self.partial):
                yield
        except BlockingIOError:
            raise StoreError(
                f"another process is fetching {self.name} already; wait for its end."
            ) from None
        except FileError as error:
            raise StoreError(
                f"{str(error).rstrip('.')}; set {FOLDER} to a folder that can be written."
            ) from None
        finally:
            with contextlib.suppress(OSError):  # what an earlier process has left to go on from
                self.partial.rmdir()
                self.partial.parent.rmdir()


def folder() -> Path:
    """Where official weights lie: what `ATDSR_MODELS` names, else in the user's cache folder."""
    named = os.environ.get(FOLDER)
    return Path(named).expanduser() if named else paths.folder() / "models" / "official"
