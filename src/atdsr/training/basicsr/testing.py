"""Reads option files for testing: which network with which weights is tested on which pictures."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atdsr.evaluation import testsets
from atdsr.evaluation.testsets import TestSet, TestSetError
from atdsr.network.config import ATDConfig
from atdsr.training.basicsr import reading
from atdsr.training.basicsr.reading import BasicSRError
from atdsr.training.basicsr.sections import TestFileSchema
from atdsr.training.config import TestFolder
from atdsr.weights import Weights, read_weights

RESULTS = Path("results")
"""Folder of the pictures of a test, relative to the working directory."""


@dataclass(frozen=True)
class TestOptions:
    """What an option file for testing asks for.

    Attributes:
        file: The option file.
        name: Name of the experiment.
        scale: Scale of the network.
        config: The network.
        weights: File of its weights.
        param_key: Which of an official file's two sets of weights to take.
        datasets: Test sets in the order of the file; their names are those of the result folders.
        save_images: Whether the enlarged pictures are to be written.
        suffix: What the names of these pictures end in.
        notes: Sentences for the user about what is done otherwise than the file says.
    """

    __test__ = False  # not a test for pytest

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

        A `.pth` file does not tell its category size and image range; they come from `network_g`.

        Raises:
            WeightsError: The file cannot be read, or is no ATD.
            BasicSRError: It holds another network than `network_g` describes.
        """
        weights = read_weights(
            self.weights, category_size=self.config.category_size, prefer=self.param_key
        )
        config = weights.enlarging("network_g.type ATD")
        if self.weights.suffix.lower() != ".safetensors":
            config = dataclasses.replace(config, img_range=self.config.img_range)
        for field, key in reading.NETWORK_KEYS.items():
            # weights do not show the ratio, only the width that follows from it
            attribute = "hidden" if field == "ffn_ratio" else field
            in_weights, in_file = getattr(config, attribute), getattr(self.config, attribute)
            if in_weights != in_file:
                raise BasicSRError(
                    f"{self.file}: network_g.{key} does not fit the weights {self.weights}; the "
                    f"{field} is {in_file} by the option file and {in_weights} by the weights."
                )
        return dataclasses.replace(weights, config=config)

    def sets(self, names: Sequence[str] = ()) -> tuple[TestSet, ...]:
        """Return the test sets of these names, or all of them, with HR pictures beside LR ones.

        A picture has the name of its LR file as the template makes it, as in the official code.
        If the template is the plain `{}`, LR pictures may also have marks such as `x2` in their
        names, see `testsets.read`.

        Raises:
            BasicSRError: There is no such set, its folder does not exist or holds no pictures, or
                an LR picture is missing.
        """
        datasets = {dataset.name: dataset for dataset in self.datasets}
        for name in names:
            if name not in datasets:
                raise BasicSRError(
                    f"{self.file} has no test set {name}; it has {', '.join(datasets)}."
                )
        try:
            return tuple(self._read_set(datasets[name]) for name in names or datasets)
        except TestSetError as error:
            raise BasicSRError(f"{self.file}: {error}") from None

    def _read_set(self, folder: TestFolder) -> TestSet:
        test_set = testsets.read(folder.hr, self.scale, folder.lr, folder.name, folder.template)
        pairs = (
            dataclasses.replace(pair, name=folder.template.replace("{}", pair.hr.stem))
            for pair in test_set.pairs
        )
        return TestSet(folder.name, tuple(pairs), self.scale)


def read_test(path: str | Path) -> TestOptions:
    """Read an option file for testing.

    Paths in it are relative to the working directory. What does not exist there is looked for in
    the folder that holds the file's `options` folder, so that the command may run anywhere.

    Raises:
        BasicSRError: The file is no YAML mapping of plain values, is one for training, is for a
            network that is no ATD, or has an unknown key (the nearest known one is named), a
            missing one, a value of the wrong kind, or one that would change the result and is not
            supported.
    """
    path = Path(path)
    with reading.option_file(path) as content:
        if "train" in content or "train" in reading.phases(content):
            raise BasicSRError(
                f"this is an option file for training; `atdsr train -opt {path}` takes it."
            )
        options = TestFileSchema.model_validate(content)
        if not options.datasets:
            raise BasicSRError("datasets is empty; name a test set.")
        datasets = reading.find_test_folders(options.datasets, path)
        notes = [*reading.evaluation_notes(datasets, options.val.metrics, options.scale)]
        if not options.path.strict_load_g:
            notes.append("path.strict_load_g is false; weights are held to network_g all the same.")
        return TestOptions(
            file=path,
            name=options.name,
            scale=options.scale,
            config=reading.network_config(options),
            weights=reading.locate(options.path.pretrain_network_g, path),
            param_key=options.path.param_key_g or "params",
            datasets=datasets,
            save_images=options.val.save_img,
            suffix=options.val.suffix or options.name,
            notes=tuple(notes),
        )
