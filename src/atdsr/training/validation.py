"""How good a run's averaged weights are so far, by the evaluator that `atdsr eval` uses."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from atdsr import evaluation, imaging
from atdsr.base.errors import AtdsrError
from atdsr.evaluation import Evaluation, Method, methods, testsets
from atdsr.evaluation.testsets import Pair, TestSet
from atdsr.imaging import Picture
from atdsr.inference.config import Precision, UpscaleError
from atdsr.inference.upscaler import Upscaler
from atdsr.network.model import ATD
from atdsr.training import strips
from atdsr.training.events import Validated
from atdsr.training.settings import Settings, TestFolder
from atdsr.training.strips import Strip

FOLDER = "validation"
"""The folder of a run that its strips are in."""

_BICUBIC, _ATD = "bicubic", "ATD"
_LEAST = 11  # pixels that SSIM's window needs between the borders


class ValidationError(AtdsrError):
    """Test sets that a run cannot be measured on."""


class Validator:
    """Measures a run on its test sets.

    Everything about the sets is checked here, before a run of days begins: that they are there,
    that each has a name of its own, that pictures are large enough and fit their LR.

    Args:
        settings: of the run.
        device: where to enlarge.
        tell: called with a sentence where a picture does not fit into memory as a whole.

    Raises:
        ValidationError: a set is missing or cannot be used; the sentence names it and the key.
    """

    def __init__(
        self, settings: Settings, device: torch.device, tell: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._scale = settings.network.scale
        self._device = device
        self._tell = tell
        self._tiled = False
        self._sets = _find(settings)
        # what bicubic makes stays as it is: computed at the first measure and kept
        self._bicubic: dict[str, float] | None = None
        self._strips: dict[tuple[str, str], Strip] = {}

    def measure(self, step: int, average: ATD, best: float) -> Validated:
        """Enlarge all pictures by the averaged weights, and draw the strips.

        Neither the network nor a generator of random numbers is changed.

        Args:
            step: steps done.
            average: the network with these weights; on the run's device.
            best: the highest mean PSNR over the sets so far, in dB.

        Raises:
            EvaluationError, TestSetError, PictureError: a picture cannot be read any more, or is
                too large for the memory even in parts.
            FileError: the strips cannot be written.
        """
        begun, was_training = time.perf_counter(), average.training
        compared = [self._network(average)]
        if self._bicubic is None:
            compared.insert(0, methods.baseline(_BICUBIC, self._scale))
        try:
            made = evaluation.evaluate(compared, self._sets, on_result=self._see)
        finally:
            average.train(was_training)
        if self._bicubic is None:
            self._bicubic = {r.dataset: r.psnr_y for r in made.rows if r.model == _BICUBIC}
        rows = [row for row in made.rows if row.model == _ATD]
        psnr = {row.dataset: row.psnr_y for row in rows}
        self._label(made)
        found = Validated(
            step=step,
            psnr=psnr,
            ssim={row.dataset: row.ssim_y for row in rows},
            bicubic=dict(self._bicubic),
            best=False,
            strips=self._draw(step, psnr),
            seconds=time.perf_counter() - begun,
        )
        return replace(found, best=found.mean_psnr > best)

    def _network(self, average: ATD) -> Method:
        """The network as a method that takes tiles only where a picture does not fit otherwise."""
        precision: Precision = "bf16" if self._settings.precision == "bf16" else "fp32"
        whole, in_parts = (
            Upscaler(average, device=self._device, precision=precision, tile=tile)
            for tile in ("off", "auto")
        )

        def enlarge(samples: np.ndarray) -> np.ndarray:
            try:
                return whole(samples)
            except UpscaleError as error:
                if not self._tiled:
                    self._tiled = True
                    self._tell(f"validation goes on in tiles, which moves PSNR a little: {error}")
            return in_parts(samples)

        return replace(methods.network(whole, _ATD), enlarge=enlarge)

    # ------------------------------------------------------------------------------------- strips

    def _see(
        self, dataset: TestSet, pair: Pair, method: Method, hr: np.ndarray, sr: np.ndarray
    ) -> None:
        """Keep the part of a picture that its strip shows."""
        if pair not in dataset.pairs[: self._settings.validation.strips]:
            return
        key = (dataset.name, pair.name)
        if method.name == _BICUBIC:
            name = f"{dataset.name} / {pair.name}"
            self._strips[key] = Strip.begin(name, hr, sr, self._scale)
        else:
            self._strips[key] = self._strips[key].with_result(sr)

    def _label(self, made: Evaluation) -> None:
        """Give the strips their figures."""
        for row in made.rows:
            for score in row.pictures:
                strip = self._strips.get((row.dataset, score.name))
                if strip is None:
                    continue
                before, after = strip.psnr_y
                if row.model == _BICUBIC:
                    before = score.psnr_y
                else:
                    after = score.psnr_y
                self._strips[row.dataset, score.name] = replace(strip, psnr_y=(before, after))

    def _draw(self, step: int, psnr: dict[str, float]) -> Path | None:
        """Write the sheet of a step; None without strips.

        Raises:
            FileError: it cannot be written.
        """
        if not self._strips:
            return None
        figures = "   ".join(f"{name} {value:.2f} dB" for name, value in psnr.items())
        title = f"{self._settings.name}   step {step:,}   {figures}"
        path = self._settings.output / FOLDER / f"{step:08}.png"
        sheet = strips.sheet(title, list(self._strips.values()))
        imaging.write(Picture(sheet), path, overwrite=True)
        return path


# --------------------------------------------------------------------------------- finding the sets


def _find(settings: Settings) -> list[TestSet]:
    """The test sets of a run, looked into.

    Raises:
        ValidationError: one is missing or cannot be used.
    """
    scale = settings.network.scale
    found: list[TestSet] = []
    for wanted in settings.validation.sets:
        name = wanted.name if isinstance(wanted, TestFolder) else wanted
        try:
            sets = tuple(_read(wanted, scale))
            for dataset in sets:
                _check(dataset, scale)
        except AtdsrError as error:
            raise ValidationError(
                f"the test set {name!r} cannot be used: {error} It is named in validate.sets; "
                "to train without test sets, give --set 'validate.sets=[]'."
            ) from None
        found += sets
    twice = next((n for n, count in Counter(s.name for s in found).items() if count > 1), None)
    if twice is not None:
        raise ValidationError(
            f"two test sets of validate.sets have the name {twice!r}; give each one of its own, "
            "as in --set 'validate.sets=[{name: mine, hr: FOLDER}]'."
        )
    return found


def _read(wanted: TestFolder | str, scale: int) -> Iterator[TestSet]:
    if isinstance(wanted, str):
        yield from testsets.find(wanted, scale)
    else:
        yield testsets.read(wanted.hr, scale, wanted.lr, wanted.name, template=wanted.template)


def _check(dataset: TestSet, scale: int) -> None:
    """Look at the sizes of all pictures and at the samples of the first pair.

    Raises:
        ValidationError: a picture is too small, or no pair with its LR.
        TestSetError, PictureError: a picture is of another kind than the protocol has, or
            damaged.
    """
    dataset.pairs[0].load(scale)
    for pair in dataset.pairs:
        hr = imaging.open_frames(pair.hr)
        small = hr.height // scale, hr.width // scale
        if min(small) * scale < _LEAST + 2 * scale:
            least = math.ceil(_LEAST / scale + 2) * scale
            raise ValidationError(
                f"{pair.hr} is {hr.width}x{hr.height}, and SSIM at x{scale} needs {least} pixels."
            )
        if pair.lr is None:
            continue
        lr = imaging.open_frames(pair.lr)
        if (lr.height, lr.width) != small:
            raise ValidationError(
                f"{pair.lr} is {lr.width}x{lr.height} where {small[1]}x{small[0]} are due for "
                f"scale {scale}."
            )
