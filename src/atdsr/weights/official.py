"""The models that are published elsewhere.

They are those of the authors of ATD, those that others have trained, and any file with an address.
"""

import dataclasses
import hashlib
import re
import urllib.parse
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from atdsr.base import files
from atdsr.network.config import (
    ATDConfig,
    NetworkConfig,
    atd,
    atd_light,
    atd_light_v2,
    atd_u,
    atd_v2,
)
from atdsr.weights.files import READ_SUFFIXES, read_weights
from atdsr.weights.published_file import PublishedFile
from atdsr.weights.state_dict import Weights, WeightsError

Purpose = Literal["clean pictures", "everyday photos", "restoring, without enlarging"]
"""What a model is for: pictures as they were made, photos with JPEG, noise and blur, or neither."""

DRIVE_FOLDER = "1D3BvTS1xBcaU1mp50k3pBzUWb7qjRvmB"
"""Id of the authors' public folder on Google Drive, which holds every file of ATD."""

DRIVE_FOLDER_V2 = "1nz0I798GM8HkPYVZCLe8i9LAK31mpYQs"
"""Id of the folder of ATD v2, whose files have the same names."""


@dataclass(frozen=True, kw_only=True)
class OfficialModel(PublishedFile):
    """A model whose weights the authors have published and that does not come with atdsr.

    Attributes:
        config: Configuration of the network.
        parameters: Number of learned values.
        data: Training data.
        file_id: Id of the file on Google Drive; None if only its folder is known.
        drive_folder: Id of that folder.
        licence: Licence of the weights.
        purpose: What it is for.
        damage: What it removes, as `atdsr eval --degrade` takes it; empty if it enlarges.
    """

    config: NetworkConfig
    parameters: int
    data: str
    file_id: str | None = None
    drive_folder: str = DRIVE_FOLDER
    licence: str = "Apache-2.0"
    purpose: Purpose = "clean pictures"
    damage: str = ""

    @property
    def origin(self) -> str:
        """Whose file it is, for people to read."""
        return "the authors' file"

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

    def _read(self, path: Path, prefer: str = "params_ema") -> Weights:
        return read_weights(path, category_size=self.config.category_size, prefer=prefer)

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
        super()._check_content(path)


def generation(config: NetworkConfig) -> str:
    """Return the kind of a network; files of two kinds have the same names."""
    if not isinstance(config, ATDConfig):
        return "ATD-U"
    return "ATD v2" if config.is_static else "ATD"


@dataclass(frozen=True, kw_only=True)
class CommunityModel(OfficialModel):
    """A model that others have trained and published.

    Attributes:
        url: Where its file is.
        author: Who has trained it.
        note: What it is for, as its author says.
    """

    url: str
    author: str
    note: str

    @property
    def origin(self) -> str:
        """Whose file it is, for people to read."""
        return f"the file of {self.author}"

    @property
    def page(self) -> str:
        """URL of the file, for a browser."""
        return self.url


@dataclass(frozen=True, kw_only=True)
class LinkedFile(PublishedFile):
    """A file of weights with an address, of which nothing else need be known.

    Attributes:
        url: The address.
    """

    url: str

    @property
    def page(self) -> str:
        """URL of the file, for a browser."""
        return self.url


def linked_file(url: str, sha256: str | None = None) -> LinkedFile:
    """Return the file at an address.

    Args:
        url: The address, http or https, whose path ends in the name of a weight file.
        sha256: SHA-256 that the file must have, in hexadecimal.

    Raises:
        WeightsError: It is no such address, or no such hash.
    """
    parts = urllib.parse.urlsplit(url)
    name = PurePosixPath(urllib.parse.unquote(parts.path)).name
    shown = without_password(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise WeightsError(f"{shown} is no address such as https://host/file.safetensors.")
    if PurePosixPath(name).suffix.lower() not in READ_SUFFIXES or not files.is_user_file(name):
        raise WeightsError(
            f"{shown} does not end in the name of a weight file ({', '.join(READ_SUFFIXES)}); "
            "name the file itself, not its page."
        )
    if sha256 is not None and re.fullmatch(r"[0-9a-fA-F]{64}", sha256) is None:
        raise WeightsError(f"{sha256[:80]!r} is no SHA-256; it has 64 hexadecimal digits.")
    digest = None if sha256 is None else sha256.lower()
    # files of one name have folders of their own
    subfolder = f"files/{hashlib.sha256(url.encode()).hexdigest()[:12]}"
    return LinkedFile(name=shown, file=name, subfolder=subfolder, url=url, published_sha256=digest)


def without_password(url: str) -> str:
    """Return a URL without the name and password of a user."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


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
            purpose="restoring, without enlarging",
            damage=damage,
        )
        for number, name, damage, channels, file in (
            (201, "color-15", "noise15", 3, "denoising_color_sigma15"),
            (202, "color-25", "noise25", 3, "denoising_color_sigma25"),
            (203, "color-50", "noise50", 3, "denoising_color_sigma50"),
            (301, "gray-15", "gray+noise15", 1, "denoising_gray_sigma15"),
            (302, "gray-25", "gray+noise25", 1, "denoising_gray_sigma25"),
            (303, "gray-50", "gray+noise50", 1, "denoising_gray_sigma50"),
            (401, "jpeg-q10", "gray+jpeg10", 1, "jpegcar_gray_q10"),
            (402, "jpeg-q20", "gray+jpeg20", 1, "jpegcar_gray_q20"),
            (403, "jpeg-q30", "gray+jpeg30", 1, "jpegcar_gray_q30"),
            (404, "jpeg-q40", "gray+jpeg40", 1, "jpegcar_gray_q40"),
        )
    ),
)
"""Every model whose weights the authors have published; none comes with atdsr."""


_RELEASES = "https://github.com/Phhofm/models/releases/download"


def _helaman(
    name: str, sha256: str, data: str, note: str, purpose: Purpose = "everyday photos"
) -> CommunityModel:
    """Return one of the models of Philip Hofmann, as OpenModelDB lists them.

    Sizes and hashes are those of the safetensors files in github.com/OpenModelDB/
    open-model-database, `data/models/4x-*-atd*.json`. All started from the official ATD x4.
    """
    return CommunityModel(
        name=f"community/{name}",
        config=atd(4),
        file=f"{name}.safetensors",
        parameters=20_260_929,
        data=data,
        nbytes=81_689_540,
        published_sha256=sha256,
        licence="CC-BY-4.0",
        url=f"{_RELEASES}/{name}/{name}.safetensors",
        author="Philip Hofmann (Helaman)",
        purpose=purpose,
        note=note,
    )


COMMUNITY = (
    _helaman(
        "4xNomosWebPhoto_atd",
        "ca0e7a3ecbb042dad1695d4dd3b73cf355af6db822984b61ac363e42fac7dff1",
        "Nomos-v2, 6,000 pictures",
        "photos with noise, blur, JPEG and WebP",
    ),
    _helaman(
        "4xRealWebPhoto_v3_atd",
        "1812b76bb92e0a1af04c3cf02b7bd192acbe35abb071442026bc3827033a5412",
        "4xRealWebPhoto_v3, 101,904 pictures",
        "photos downloaded from the web",
    ),
    _helaman(
        "4xNomos2_hq_atd",
        "0fc5d114b19d1fe3c444e27e87a742f3584fb9bef412339f0c71474e93df39a6",
        "Nomos-v2, 6,000 pictures",
        "clean photos",
        "clean pictures",
    ),
    _helaman(
        "4xNomos8k_atd_jpg",
        "009671cec5a384db31052b52e344e5989b0c51a5ad4d25a8c2c629f658754d13",
        "Nomos8k, 8,492 pictures",
        "photos with JPEG; noise is kept",
    ),
)
"""Models of others that are known by name."""
