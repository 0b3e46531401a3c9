"""The reader of BasicSR's test option files, as the official repository of ATD has them.

An option file says which network with which weights is tested on which pictures. What it asks for
is either understood, or has no bearing on the result and is passed over, or is refused by name:
nothing is ignored that would change a figure. The file's text never runs code. `docs/migrating.md`
is the page for users.
"""

import dataclasses
import difflib
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from atdsr import checkpoint
from atdsr.checkpoint import Weights
from atdsr.errors import AtdsrError
from atdsr.evaluation import testsets
from atdsr.evaluation.testsets import Pair, TestSet, TestSetError
from atdsr.model import ATDConfig, ConfigError, Head

RESULTS = Path("results")
"""Where the pictures of a test go, as seen from where the command runs."""


class BasicSRError(AtdsrError):
    """An option file that cannot be followed; the sentence names the file and the key."""


@dataclass(frozen=True)
class Dataset:
    """A test set as an option file names it.

    Attributes:
        name: of the set, and of the folder its enlarged pictures go to.
        hr: folder of the HR pictures (`dataroot_gt`).
        lr: folder of the LR pictures (`dataroot_lq`); None to make them by MATLAB's bicubic.
        template: name of an LR picture without its suffix; `{}` stands for the HR picture's.
    """

    name: str
    hr: Path
    lr: Path | None
    template: str


@dataclass(frozen=True)
class TestOptions:
    """What an option file asks for.

    Attributes:
        file: the option file.
        name: of the experiment.
        scale: how many times the pictures grow.
        config: the network.
        weights: file of its weights.
        param_key: which of an official file's two sets of weights to take.
        datasets: in the order of the file.
        save_images: whether the enlarged pictures are to be written.
        suffix: what the names of these pictures end in.
        notes: sentences about what is done otherwise than the file says, for the user to read.
    """

    __test__ = False  # not a test of pytest's

    file: Path
    name: str
    scale: int
    config: ATDConfig
    weights: Path
    param_key: str
    datasets: tuple[Dataset, ...]
    save_images: bool
    suffix: str
    notes: tuple[str, ...]

    @property
    def images(self) -> Path:
        """The folder of the enlarged pictures; inside lies `SET/PICTURE_SUFFIX.png`."""
        return RESULTS / self.name / "visualization"

    def load(self) -> Weights:
        """Read the weights.

        A `.pth` does not tell its category size and image range; they come from `network_g`.

        Raises:
            CheckpointError: the file cannot be read, or is no ATD.
            BasicSRError: it holds another network than `network_g` describes.
        """
        weights = checkpoint.load(
            self.weights, category_size=self.config.category_size, prefer=self.param_key
        )
        config = weights.config
        if self.weights.suffix.lower() != ".safetensors":
            config = dataclasses.replace(config, img_range=self.config.img_range)
        for field, key in _NETWORK_KEYS.items():
            if field == "ffn_ratio":  # only the width that follows from it can be seen in weights
                theirs, ours = (int(of.width * of.ffn_ratio) for of in (config, self.config))
            else:
                theirs, ours = getattr(config, field), getattr(self.config, field)
            if theirs != ours:
                raise BasicSRError(
                    f"{self.file}: network_g.{key} does not fit the weights {self.weights}; the "
                    f"{field} is {ours} by the option file and {theirs} by the weights."
                )
        return dataclasses.replace(weights, config=config)

    def sets(self, names: Sequence[str] = ()) -> tuple[TestSet, ...]:
        """The test sets of these names, or all of them, each HR picture beside its LR one.

        A picture goes by the name of its LR file as the template makes it, as in the official
        code. Where the template is the plain `{}`, LR pictures may also have marks such as `x2`
        in their names, see `testsets.read`.

        Raises:
            BasicSRError: no such set, its folder is not there or holds no pictures, or an LR
                picture is missing.
        """
        known = {dataset.name: dataset for dataset in self.datasets}
        for name in names:
            if name not in known:
                raise BasicSRError(f"{self.file} has no test set {name}, but {', '.join(known)}.")
        try:
            return tuple(self._set(known[name]) for name in names or known)
        except TestSetError as error:
            raise BasicSRError(f"{self.file}: {error}") from None

    def _set(self, dataset: Dataset) -> TestSet:
        small: dict[str, Path] = {}
        lr = dataset.lr
        if lr is not None and dataset.template != "{}":
            small = {pair.hr.stem: pair.hr for pair in testsets.read(lr, self.scale).pairs}
            lr = None
        pairs = []
        for pair in testsets.read(dataset.hr, self.scale, lr, dataset.name).pairs:
            name = dataset.template.replace("{}", pair.hr.stem)
            if small and name not in small:
                raise TestSetError(
                    f"{dataset.lr} has no LR picture called {name} for {pair.hr} (filename_tmpl)."
                )
            pairs.append(Pair(name, pair.hr, small.get(name, pair.lr)))
        return TestSet(dataset.name, tuple(pairs), self.scale)


def read_test(path: str | Path) -> TestOptions:
    """Read a test option file.

    Paths in it are as seen from where the command runs; what is not there is looked for from the
    folder that holds the file's `options` folder, so that the command may run anywhere.

    Raises:
        BasicSRError: not a YAML mapping of plain values, a file for training, a network that is
            no ATD, an unknown key (the nearest known one is named), a missing one, a value of the
            wrong kind, or one that would change the result and is not supported.
    """
    path = Path(path)
    content = _read_yaml(path)
    try:
        _refuse_other_files(content)
        wanted = _Options.model_validate(content)
        notes = _check_metrics(wanted)
        return TestOptions(
            file=path,
            name=wanted.name,
            scale=wanted.scale,
            config=_config(wanted),
            weights=_located(wanted.path.pretrain_network_g, path),
            param_key=wanted.path.param_key_g or "params",
            datasets=_datasets(wanted, path),
            save_images=wanted.val.save_img,
            suffix=wanted.val.suffix or wanted.name,
            notes=(*notes, *_other_notes(wanted)),
        )
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise BasicSRError(f"{path}: {_sentence(problem)}") from None
    except (BasicSRError, ConfigError) as error:
        raise BasicSRError(f"{path}: {error}") from None


# ------------------------------------------------------------- what a file may hold, key by key


class _Section(BaseModel):
    """A mapping in an option file; each key of it is a field, passed over, or refused."""

    passed_over: ClassVar[str] = ""
    """Keys, between spaces, that have no bearing on the result."""
    instead: ClassVar[dict[str, str]] = {}
    """Keys that do and are not supported, with what to do; no value (`~`) is fine."""

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            raise _section_error("it must hold `key: value` lines.")
        passed_over = cls.passed_over.split()
        names = [*cls.model_fields, *passed_over]
        for key, value in values.items():
            if key in cls.instead and value is not None:
                raise _section_error(f"{key} is not supported: {cls.instead[key]}.")
            if key not in names and key not in cls.instead:
                near = difflib.get_close_matches(str(key)[:100], names, n=1)
                hint = f"did you mean {near[0]!r}?" if near else "take it out if nothing needs it."
                raise _section_error(f"there is no key {_short(key)}; {hint}")
        return {key: value for key, value in values.items() if key in cls.model_fields}


def _section_error(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("section", "{sentence}", {"sentence": sentence})


def _part_of_name(text: str) -> str:
    """Let nothing through that would lead out of the folder of results."""
    if not text.isprintable() or any(character in text for character in "/\\:"):
        raise ValueError("it becomes part of a file's name, and cannot")
    return text


def _name(text: str) -> str:
    if text in ("", ".", ".."):
        raise ValueError("it becomes a folder's name, and cannot")
    return _part_of_name(text)


def _template(text: str) -> str:
    if text.count("{}") != 1 or any(character in text.replace("{}", "") for character in "{}/\\"):
        raise ValueError("it must be a file's name with {} in it once")
    return text


def _path(path: Path) -> Path:
    try:
        path = path.expanduser()
    except RuntimeError:
        raise ValueError("there is no such user") from None
    if "\0" in str(path):
        raise ValueError("it cannot be a path")
    return path


_Name = Annotated[str, AfterValidator(_name)]
_Path = Annotated[Path, AfterValidator(_path)]
_Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
_Factor = Annotated[float, Field(gt=0, le=1_000_000)]


class _Backend(_Section):
    type: Literal["disk"] = "disk"


class _Dataset(_Section):
    passed_over = (
        "phase scale gt_size use_hflip use_rot use_shuffle num_worker_per_gpu batch_size_per_gpu "
        "dataset_enlarge_ratio prefetch_mode num_prefetch_queue pin_memory "
        "persistent_workers"
    )
    instead: ClassVar[dict[str, str]] = {
        "meta_info_file": "put the pictures of the set in a folder of their own",
        "color": "the network takes RGB",
        "mean": "the network subtracts its own mean colour",
        "std": "the network takes samples as they are",
    }

    name: _Name
    type: Literal["PairedImageDataset"]
    dataroot_gt: _Path
    dataroot_lq: _Path | None = None
    filename_tmpl: Annotated[str, AfterValidator(_template)] = "{}"
    io_backend: _Backend = _Backend()


class _Network(_Section):
    """The arguments of the official network, with the defaults that they have there."""

    passed_over = "img_size patch_size use_checkpoint"

    type: Literal["ATD"]
    upscale: _Count = 2
    in_chans: Literal[3] = 3
    embed_dim: _Count = 90
    depths: tuple[_Count, ...] = (6, 6, 6, 6)
    num_heads: tuple[_Count, ...] = (6, 6, 6, 6)
    window_size: _Count = 8
    category_size: _Count = 128
    num_tokens: _Count = 64
    reducted_dim: _Count = 4
    convffn_kernel_size: _Count = 5
    mlp_ratio: _Factor = 2.0
    qkv_bias: Literal[True] = True
    ape: Literal[False] = False
    patch_norm: Literal[True] = True
    img_range: _Factor = 1.0
    upsampler: Head
    resi_connection: Literal["1conv"] = "1conv"


_NETWORK_KEYS = {
    "scale": "upscale",
    "width": "embed_dim",
    "depths": "depths",
    "heads": "num_heads",
    "category_size": "category_size",
    "dictionary_size": "num_tokens",
    "reduced_width": "reducted_dim",
    "ffn_kernel": "convffn_kernel_size",
    "ffn_ratio": "mlp_ratio",
    "head": "upsampler",
    "window": "window_size",
    "img_range": "img_range",
}
"""The fields of `ATDConfig` by their official names."""


class _Paths(_Section):
    passed_over = (
        "resume_state ignore_resume_networks experiments_root results_root models "
        "training_states log visualization"
    )

    pretrain_network_g: _Path
    strict_load_g: bool = True
    param_key_g: Literal["params", "params_ema"] | None = "params"


class _Validation(_Section):
    passed_over = "val_freq pbar use_pbar"

    save_img: bool = False
    suffix: Annotated[str, AfterValidator(_part_of_name)] | None = None
    metrics: dict[str, dict[str, Any]] | None = None


class _Options(_Section):
    passed_over = (
        "num_gpu manual_seed dist dist_params launcher rank world_size auto_resume is_train "
        "find_unused_parameters logger"
    )
    instead: ClassVar[dict[str, str]] = {"tile": "give --tile to the command"}

    name: _Name
    model_type: Literal["ATDModel", "SRModel"] = "ATDModel"
    scale: _Count
    datasets: dict[str, _Dataset]
    network_g: _Network
    path: _Paths
    val: _Validation = _Validation()


_MEASURED = ("calculate_psnr", "calculate_ssim")


# ------------------------------------------------------------------------ from file to options


def _read_yaml(path: Path) -> dict[Any, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BasicSRError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise BasicSRError(f"{path} is no YAML text.") from None
    try:
        content = yaml.safe_load(text)
    except yaml.constructor.ConstructorError as error:  # a tag that would make an object, say
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise BasicSRError(
            f"{path}: line {line} holds more than plain values, which is not read: {error.problem}."
        ) from None
    except Exception:  # malformed scalars let errors of every kind out of PyYAML
        raise BasicSRError(f"{path} is no YAML text.") from None
    if not isinstance(content, dict):
        raise BasicSRError(f"{path} must hold `key: value` lines.")
    return content


def _refuse_other_files(content: dict[Any, Any]) -> None:
    """Say what the file is for, before any of its keys is looked at.

    Raises:
        BasicSRError: it is for training, or for another network.
    """
    datasets = content.get("datasets")
    phases = [str(key).split("_")[0] for key in datasets] if isinstance(datasets, dict) else []
    if "train" in content or "train" in phases:
        raise BasicSRError(
            "this is an option file for training; only those for testing are read. "
            "`atdsr train` takes a recipe (docs/training.md)."
        )
    network = content.get("network_g")
    kind = network.get("type", "ATD") if isinstance(network, dict) else "ATD"
    if kind != "ATD":
        raise BasicSRError(f"network_g.type is {_short(kind)}; only ATD is built here.")


def _config(wanted: _Options) -> ATDConfig:
    network = wanted.network_g
    if network.upscale != wanted.scale:
        raise BasicSRError(
            f"scale is {wanted.scale} and network_g.upscale {network.upscale}; they must be equal."
        )
    return ATDConfig(**{field: getattr(network, key) for field, key in _NETWORK_KEYS.items()})


def _datasets(wanted: _Options, file: Path) -> tuple[Dataset, ...]:
    if not wanted.datasets:
        raise BasicSRError("datasets is empty; name a test set.")
    names = [dataset.name for dataset in wanted.datasets.values()]
    for name in names:
        if names.count(name) > 1:
            raise BasicSRError(f"two test sets are called {name}; their pictures would mix.")
    return tuple(
        Dataset(
            dataset.name,
            _located(dataset.dataroot_gt, file),
            _located(dataset.dataroot_lq, file) if dataset.dataroot_lq else None,
            dataset.filename_tmpl,
        )
        for dataset in wanted.datasets.values()
    )


def _located(path: Path, file: Path) -> Path:
    """A path as seen from here, or else from the repository that the option file lies in."""
    if not path.exists():
        for folder in file.absolute().parents:
            if folder.name == "options" and (folder.parent / path).exists():
                return folder.parent / path
    return path


def _check_metrics(wanted: _Options) -> list[str]:
    """Refuse PSNR and SSIM by another protocol.

    Returns:
        A sentence for each metric that is not measured.

    Raises:
        BasicSRError: naming the key.
    """
    notes = []
    protocol = {"crop_border": wanted.scale, "test_y_channel": True}
    for name, metric in (wanted.val.metrics or {}).items():
        if metric.get("type") not in _MEASURED:
            notes.append(
                f"val.metrics.{name} ({_short(metric.get('type'))}) is not measured; PSNR and "
                "SSIM on Y are."
            )
            continue
        for key, ours in protocol.items():
            if metric.get(key) != ours:
                raise BasicSRError(
                    f"val.metrics.{name}.{key} is {_short(metric.get(key))}; figures are taken "
                    f"with {str(ours).lower()} (docs/protocol.md), so write that."
                )
    return notes


def _other_notes(wanted: _Options) -> list[str]:
    notes = [
        f"{dataset.name} has no dataroot_lq; its LR pictures are made by MATLAB's bicubic."
        for dataset in wanted.datasets.values()
        if dataset.dataroot_lq is None
    ]
    if not wanted.path.strict_load_g:
        notes.append("path.strict_load_g is false; weights are held to network_g all the same.")
    return notes


def _sentence(problem: ErrorDetails) -> str:
    """What pydantic found wrong first, in the words of the option file."""
    key = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "section":
        return f"{key}: {message}" if key else message
    if problem["type"] == "missing":
        return f"the key {key} is missing."
    return f"{key} is {_short(problem['input'])}: {message[0].lower()}{message[1:]}."


def _short(value: Any) -> str:
    """A value for a sentence, however large it is."""
    if isinstance(value, dict | list):  # aliases can make a short text endless here
        return "a mapping" if isinstance(value, dict) else "a list"
    try:
        return reprlib.repr(value)
    except ValueError:  # Python writes no integer of thousands of digits
        return "a very large number"
