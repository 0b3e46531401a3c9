"""Measures the averaged weights of a run with the evaluator that `atdsr eval` uses."""

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from atdsr import evaluation, imaging
from atdsr.base.errors import AtdsrError
from atdsr.base.reporter import SILENT, Reporter
from atdsr.evaluation import Evaluation, Method, methods, testsets
from atdsr.evaluation.testsets import Pair, TestSet
from atdsr.imaging import Picture
from atdsr.inference.config import Precision, UpscaleError
from atdsr.inference.upscaler import Upscaler
from atdsr.network.unet import Network
from atdsr.training import validation_images
from atdsr.training.config import TestFolder, TrainConfig
from atdsr.training.events import Validated
from atdsr.training.validation_images import ValidationImage

VALIDATION_FOLDER = "validation"
"""The folder of a run that its validation images are in."""

_BICUBIC, _ATD = "bicubic", "ATD"
_SSIM_WINDOW = 11  # pixels that must lie between the borders


class ValidationError(AtdsrError):
    """Test sets that a run cannot be measured on."""


class Validator:
    """Measures a run on its test sets.

    Everything about the sets is checked here, before a run of days begins: that they exist, that
    each has a name of its own, that pictures are large enough and fit their LR.

    Args:
        config: Configuration of the run.
        device: Device to enlarge on.
        reporter: Receives a notice if a picture does not fit into memory as a whole.

    Raises:
        ValidationError: A set is missing or cannot be used; the sentence names it and the key.
    """

    def __init__(
        self, config: TrainConfig, device: torch.device, reporter: Reporter = SILENT
    ) -> None:
        self._config = config
        self._scale = config.network.scale
        self._device = device
        self._reporter = reporter
        self._uses_tiles = False
        self._sets = find_sets(config)
        # bicubic's results never change: they are computed by the first validation and kept
        self._bicubic: dict[str, float] | None = None
        self._images: dict[tuple[str, str], ValidationImage] = {}

    def measure(self, step: int, average: Network, best: float) -> Validated:
        """Enlarge all pictures by the averaged weights, and draw the validation images.

        Neither the network nor any random number generator is changed.

        Args:
            step: Steps done.
            average: The network with the averaged weights, on the device of the run.
            best: The highest mean PSNR over the sets so far, in dB.

        Raises:
            EvaluationError, TestSetError, PictureError: A picture cannot be read any more, or is
                too large for the memory even in tiles.
            FileError: The validation images cannot be written.
        """
        start, was_training = time.perf_counter(), average.training
        compared = [self._network_method(average)]
        if self._bicubic is None:
            compared.insert(0, methods.baseline(_BICUBIC, self._scale))
        try:
            results = evaluation.evaluate(compared, self._sets, on_result=self._keep_crop)
        finally:
            average.train(was_training)
        if self._bicubic is None:
            self._bicubic = {r.dataset: r.psnr for r in results.rows if r.model == _BICUBIC}
        rows = [row for row in results.rows if row.model == _ATD]
        psnr = {row.dataset: row.psnr for row in rows}
        self._label_images(results)
        validated = Validated(
            step=step,
            psnr=psnr,
            ssim={row.dataset: row.ssim for row in rows},
            bicubic=dict(self._bicubic),
            best=False,
            strips=self._write_sheet(step, psnr),
            seconds=time.perf_counter() - start,
        )
        return replace(validated, best=validated.mean_psnr > best)

    def _network_method(self, average: Network) -> Method:
        """Return the network as a method that uses tiles only if a picture does not fit whole."""
        precision: Precision = "bf16" if self._config.precision == "bf16" else "fp32"
        whole, tiled = (
            Upscaler(average, device=self._device, precision=precision, tile=tile)
            for tile in ("off", "auto")
        )

        def enlarge(samples: np.ndarray) -> np.ndarray:
            try:
                return whole(samples)
            except UpscaleError as error:
                if not self._uses_tiles:
                    self._uses_tiles = True
                    self._reporter.notice(
                        f"validation goes on in tiles, which moves PSNR a little: {error}"
                    )
            return tiled(samples)

        return replace(methods.network(whole, _ATD), enlarge=enlarge)

    # ------------------------------------------------------------------------ validation images

    def _keep_crop(
        self, dataset: TestSet, pair: Pair, method: Method, hr: np.ndarray, sr: np.ndarray
    ) -> None:
        """Keep the crop of a picture that is shown."""
        if pair not in dataset.pairs[: self._config.validation.strips]:
            return
        key = (dataset.name, pair.name)
        if method.name == _BICUBIC:
            name = f"{dataset.name} / {pair.name}"
            self._images[key] = ValidationImage.from_pictures(name, hr, sr, self._scale)
        else:
            self._images[key] = self._images[key].with_enlarged(sr)

    def _label_images(self, results: Evaluation) -> None:
        """Set the PSNR of the crops that are shown."""
        for row in results.rows:
            for score in row.pictures:
                image = self._images.get((row.dataset, score.name))
                if image is None:
                    continue
                bicubic, network = image.psnr_y
                if row.model == _BICUBIC:
                    bicubic = score.psnr
                else:
                    network = score.psnr
                self._images[row.dataset, score.name] = replace(image, psnr_y=(bicubic, network))

    def _write_sheet(self, step: int, psnr: dict[str, float]) -> Path | None:
        """Write the validation images of a step; None if none are wanted.

        Raises:
            FileError: The file cannot be written.
        """
        if not self._images:
            return None
        figures = "   ".join(f"{name} {value:.2f} dB" for name, value in psnr.items())
        title = f"{self._config.name}   step {step:,}   {figures}"
        path = self._config.output / VALIDATION_FOLDER / f"{step:08}.png"
        sheet = validation_images.draw_sheet(title, list(self._images.values()))
        imaging.write(Picture(sheet), path, overwrite=True)
        return path


# --------------------------------------------------------------------------------- the test sets


def find_sets(config: TrainConfig) -> list[TestSet]:
    """Return the test sets of a run, after looking into them.

    Raises:
        ValidationError: One is missing or cannot be used.
    """
    scale = config.network.scale
    datasets: list[TestSet] = []
    for source in config.validation.sets:
        name = source.name if isinstance(source, TestFolder) else source
        try:
            new = _read_sets(source, scale)
            for dataset in new:
                if config.restores:
                    dataset.pairs[0].load_hr(scale)
                else:
                    _check_set(dataset, scale)
        except AtdsrError as error:
            raise ValidationError(
                f"the test set {name!r} cannot be used: {error} It is named in validate.sets; "
                "to train without test sets, give --set 'validate.sets=[]'."
            ) from None
        datasets += new
    counts = Counter(dataset.name for dataset in datasets)
    duplicate = next((name for name, count in counts.items() if count > 1), None)
    if duplicate is not None:
        raise ValidationError(
            f"two test sets of validate.sets have the name {duplicate!r}; give each one of its "
            "own, as in --set 'validate.sets=[{name: mine, hr: FOLDER}]'."
        )
    return datasets


def _read_sets(source: TestFolder | str, scale: int) -> Sequence[TestSet]:
    if isinstance(source, str):
        return testsets.find(source, scale)
    return [testsets.read(source.hr, scale, source.lr, source.name, template=source.template)]


def _check_set(dataset: TestSet, scale: int) -> None:
    """Look at the sizes of all pictures and at the samples of the first pair.

    Raises:
        ValidationError: A picture is too small, or does not fit its LR.
        TestSetError, PictureError: A picture is of another kind than the protocol has, or is
            damaged.
    """
    dataset.pairs[0].load(scale)
    for pair in dataset.pairs:
        hr = imaging.open_frames(pair.hr)
        lr_size = hr.height // scale, hr.width // scale
        if min(lr_size) * scale < _SSIM_WINDOW + 2 * scale:
            smallest = math.ceil(_SSIM_WINDOW / scale + 2) * scale
            raise ValidationError(
                f"{pair.hr} is {hr.width}x{hr.height}, and SSIM at x{scale} needs {smallest} "
                "pixels."
            )
        if pair.lr is None:
            continue
        lr = imaging.open_frames(pair.lr)
        if (lr.height, lr.width) != lr_size:
            raise ValidationError(
                f"{pair.lr} is {lr.width}x{lr.height} where {lr_size[1]}x{lr_size[0]} are due for "
                f"scale {scale}."
            )
