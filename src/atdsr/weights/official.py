"""The models that the authors of ATD have published, and their files on this machine."""

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

from atdsr.base import files, units
from atdsr.base.errors import AtdsrError, unreadable
from atdsr.base.files import FileError
from atdsr.network.config import (
    ATDConfig,
    NetworkConfig,
    atd,
    atd_light,
    atd_light_v2,
    atd_u,
    atd_v2,
)
from atdsr.weights.files import check_file_type, read_weights
from atdsr.weights.state_dict import Weights, WeightsError

FOLDER_VARIABLE = "ATDSR_MODELS"
"""The environment variable that names the folder for official weights."""

DRIVE_FOLDER = "1D3BvTS1xBcaU1mp50k3pBzUWb7qjRvmB"
"""Id of the authors' public folder on Google Drive, which holds every file of ATD."""

DRIVE_FOLDER_V2 = "1nz0I798GM8HkPYVZCLe8i9LAK31mpYQs"
"""Id of the folder of ATD v2, whose files have the same names."""


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


@dataclass(frozen=True)
class OfficialModel:
    """A model whose weights the authors have published and that does not come with atdsr.

    Attributes:
        name: Name that a user writes.
        config: Configuration of the network.
        file: Name that the authors gave to the file of weights.
        parameters: Number of learned values.
        data: Training data.
        file_id: Id of the file on Google Drive; None if only its folder is known.
        drive_folder: Id of that folder.
        subfolder: Folder for the file inside that for official weights; "" for none. Files of both
            generations have the same names.
        nbytes: Size of the file; None if it is not published.
        published_sha256: SHA-256 in hexadecimal; None if it is not published. Then the first file
            that comes is trusted, and every later one must be the same.
        licence: Licence of the weights.
    """

    name: str
    config: NetworkConfig
    file: str
    parameters: int
    data: str
    file_id: str | None = None
    drive_folder: str = DRIVE_FOLDER
    subfolder: str = ""
    nbytes: int | None = None
    published_sha256: str | None = None
    licence: str = "Apache-2.0"

    @property
    def max_bytes(self) -> int:
        """Upper bound for the size of its file: two sets of 32-bit numbers, twice, and the rest."""
        return self.nbytes or 16 * self.parameters + 2**26

    @property
    def expected_bytes(self) -> int:
        """Size of its file; where none is published, an estimate: two sets of 32-bit numbers.

        Each set also has an index of 256 x 256 64-bit numbers. Of the file whose size is known,
        the estimate is 0.4% too small.
        """
        return self.nbytes or 2 * (4 * self.parameters + 8 * 256**2)

    @property
    def page(self) -> str:
        """URL of the file, or of its folder, for a browser."""
        if self.file_id is None:
            return f"https://drive.google.com/drive/folders/{self.drive_folder}"
        return f"https://drive.google.com/file/d/{self.file_id}/view"

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
        return read_weights(self.path, category_size=self.config.category_size, prefer=prefer)

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
                f"{path} has {size:,} bytes where the authors' {self.file} has {self.nbytes:,}; "
                "fetch it again."
            )
        if self.published_sha256 is not None and digest != self.published_sha256:
            raise WeightsError(
                f"{path} is not the authors' {self.file}, or damaged: its SHA-256 is not the "
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
        """Check that a file holds this network and is not damaged.

        Raises:
            WeightsError: It holds another network, or is damaged.
        """
        config = read_weights(path, category_size=self.config.category_size).config
        theirs, ours = (generation(of) for of in (config, self.config))
        if theirs != ours:
            raise WeightsError(
                f"{path} holds an {theirs} and {self.name} is an {ours}; the authors' files of ATD "
                "and ATD v2 have the same names."
            )
        for field in dataclasses.fields(self.config):
            theirs, ours = getattr(config, field.name), getattr(self.config, field.name)
            if theirs != ours:
                raise WeightsError(
                    f"{path} holds another network than {self.name}: its {field.name} is "
                    f"{theirs}, not {ours}."
                )
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


def generation(config: NetworkConfig) -> str:
    """Return the kind of a network; files of two kinds have the same names."""
    if not isinstance(config, ATDConfig):
        return "ATD-U"
    return "ATD v2" if config.is_static else "ATD"


def folder() -> Path:
    """Return the folder for official weights: `$ATDSR_MODELS`, or one in the user's cache."""
    path = os.environ.get(FOLDER_VARIABLE)
    return Path(path).expanduser() if path else files.user_cache_folder() / "models" / "official"


OFFICIAL = (
    OfficialModel(
        name="official/atd-x2",
        config=atd(2),
        file="001_ATD_SRx2_finetune.pth",
        parameters=20_113_217,
        data="DF2K",
    ),
    OfficialModel(
        name="official/atd-x3",
        config=atd(3),
        file="002_ATD_SRx3_finetune.pth",
        parameters=20_297_857,
        data="DF2K",
    ),
    OfficialModel(
        name="official/atd-x4",
        config=atd(4),
        file="003_ATD_SRx4_finetune.pth",
        parameters=20_260_929,
        data="DF2K",
        file_id="1J9kR9OyrOxtJ5Ygbr_W116BLBwnD4VNL",
        nbytes=163_803_535,
        published_sha256="092bf6aa82f0ecb9f681a7da6a8e65e2c1280ae5b44f1608f60742d88547b833",
    ),
    OfficialModel(
        name="official/atd-light-x2",
        config=atd_light(2),
        file="101_ATD_light_SRx2_scratch.pth",
        parameters=753_204,
        data="DIV2K",
        file_id="1ZxK7gMJXgeyHgeOaKbzpXtoElDmRWKkU",
    ),
    OfficialModel(
        name="official/atd-light-x3",
        config=atd_light(3),
        file="102_ATD_light_SRx3_finetune.pth",
        parameters=759_699,
        data="DIV2K",
        file_id="1mPcWMyDO9lOUD6DrrmNxFR67sGqnOJxp",
    ),
    OfficialModel(
        name="official/atd-light-x4",
        config=atd_light(4),
        file="103_ATD_light_SRx4_finetune.pth",
        parameters=768_792,
        data="DIV2K",
        file_id="1CxzxLWMIHDHip2nDF6A2sLBTkpypI8GU",
    ),
    *(
        OfficialModel(
            name=f"official/{name}-x{scale}",
            config=config(scale),
            file=file,
            parameters=parameters,
            data=data,
            drive_folder=DRIVE_FOLDER_V2,
            subfolder="v2",
        )
        for name, config, data, scale, file, parameters in (
            ("atd-v2", atd_v2, "DF2K", 2, "001_ATD_SRx2_finetune.pth", 21_842_207),
            ("atd-v2", atd_v2, "DF2K", 3, "002_ATD_SRx3_finetune.pth", 22_026_847),
            ("atd-v2", atd_v2, "DF2K", 4, "003_ATD_SRx4_finetune.pth", 21_989_919),
            ("atd-light-v2", atd_light_v2, "DIV2K", 2, "101_ATD_light_SRx2_scratch.pth", 760_956),
            ("atd-light-v2", atd_light_v2, "DIV2K", 3, "102_ATD_light_SRx3_finetune.pth", 767_451),
            ("atd-light-v2", atd_light_v2, "DIV2K", 4, "103_ATD_light_SRx4_finetune.pth", 776_544),
        )
    ),
    *(
        OfficialModel(
            name=f"official/atd-u-{name}",
            config=atd_u(channels),
            file=f"{number}_ATD_U_{file}.pth",
            parameters=24_905_120 if channels == 3 else 24_903_392,
            data="DFWB",
            drive_folder=DRIVE_FOLDER_V2,
            subfolder="v2",
        )
        for number, name, channels, file in (
            (201, "color-15", 3, "denoising_color_sigma15"),
            (202, "color-25", 3, "denoising_color_sigma25"),
            (203, "color-50", 3, "denoising_color_sigma50"),
            (301, "gray-15", 1, "denoising_gray_sigma15"),
            (302, "gray-25", 1, "denoising_gray_sigma25"),
            (303, "gray-50", 1, "denoising_gray_sigma50"),
            (401, "jpeg-q10", 1, "jpegcar_gray_q10"),
            (402, "jpeg-q20", 1, "jpegcar_gray_q20"),
            (403, "jpeg-q30", 1, "jpegcar_gray_q30"),
            (404, "jpeg-q40", 1, "jpegcar_gray_q40"),
        )
    ),
)
"""Every model whose weights the authors have published; none comes with atdsr."""
