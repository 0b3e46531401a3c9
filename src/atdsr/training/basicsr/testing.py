"""Option files for testing: which network with which weights is tested on which pictures."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator

from atdsr.evaluation import testsets
from atdsr.evaluation.testsets import TestSet, TestSetError
from atdsr.network.model import ATDConfig
from atdsr.training.basicsr import sections
from atdsr.training.basicsr.sections import BasicSRError, Section, located
from atdsr.training.settings import FolderName, Location, TestFolder
from atdsr.weights import Weights, read_weights

RESULTS = Path("results")
"""Where the pictures of a test go, as seen from where the command runs."""


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
        datasets: in the order of the file; their names are those of the folders of results.
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
    datasets: tuple[TestFolder, ...]
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
            WeightsError: the file cannot be read, or is no ATD.
            BasicSRError: it holds another network than `network_g` describes.
        """
        weights = read_weights(
            self.weights, category_size=self.config.category_size, prefer=self.param_key
        )
        config = weights.config
        if self.weights.suffix.lower() != ".safetensors":
            config = dataclasses.replace(config, img_range=self.config.img_range)
        for field, key in sections.NETWORK_KEYS.items():
            if field == "ffn_ratio":  # only the width that follows from it can be seen in weights
                theirs, ours = config.hidden, self.config.hidden
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

    def _set(self, dataset: TestFolder) -> TestSet:
        found = testsets.read(dataset.hr, self.scale, dataset.lr, dataset.name, dataset.template)
        pairs = (
            dataclasses.replace(pair, name=dataset.template.replace("{}", pair.hr.stem))
            for pair in found.pairs
        )
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
    with sections.following(path) as content:
        if "train" in content or "train" in sections.phases(content):
            raise BasicSRError(
                f"this is an option file for training; `atdsr train -opt {path}` takes it."
            )
        sections.refuse_other_networks(content)
        wanted = _Options.model_validate(content)
        notes = sections.check_metrics(wanted.val.metrics, wanted.scale)
        notes += sections.made_pictures(wanted.datasets)
        if not wanted.path.strict_load_g:
            notes.append("path.strict_load_g is false; weights are held to network_g all the same.")
        return TestOptions(
            file=path,
            name=wanted.name,
            scale=wanted.scale,
            config=wanted.network_g.config(wanted.scale),
            weights=located(wanted.path.pretrain_network_g, path),
            param_key=wanted.path.param_key_g or "params",
            datasets=_datasets(wanted, path),
            save_images=wanted.val.save_img,
            suffix=wanted.val.suffix or wanted.name,
            notes=tuple(notes),
        )


class _Paths(Section):
    passed_over = (
        "resume_state ignore_resume_networks experiments_root results_root models "
        "training_states log visualization"
    )

    pretrain_network_g: Location
    strict_load_g: bool = True
    param_key_g: Literal["params", "params_ema"] | None = "params"


class _Validation(Section):
    passed_over = "val_freq pbar use_pbar"

    save_img: bool = False
    suffix: Annotated[str, AfterValidator(sections.part_of_name)] | None = None
    metrics: sections.Metrics | None = None


class _Options(Section):
    passed_over = (
        "num_gpu manual_seed dist dist_params launcher rank world_size auto_resume is_train "
        "find_unused_parameters logger"
    )
    instead: ClassVar[dict[str, str]] = {"tile": "give --tile to the command"}

    name: FolderName
    model_type: Literal["ATDModel", "SRModel"] = "ATDModel"
    scale: sections.Count
    datasets: dict[str, sections.TestDataset]
    network_g: sections.Network
    path: _Paths
    val: _Validation = _Validation()


def _datasets(wanted: _Options, file: Path) -> tuple[TestFolder, ...]:
    if not wanted.datasets:
        raise BasicSRError("datasets is empty; name a test set.")
    sections.check_names(wanted.datasets)
    return sections.test_folders(wanted.datasets, file)
