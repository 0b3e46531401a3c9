"""A benchmark by the field's protocol (`docs/protocol.md`): every method on every picture."""

import contextlib
import dataclasses
import itertools
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import atdsr
from atdsr import imaging
from atdsr.base import files, interrupts, memory
from atdsr.base.errors import AtdsrError
from atdsr.evaluation import published
from atdsr.evaluation.published import PublishedRow
from atdsr.evaluation.records import Key, Records, fingerprint
from atdsr.evaluation.testsets import Pair, TestSet
from atdsr.imaging import Picture
from atdsr.imaging.metrics import psnr_y, ssim_y

Enlarge = Callable[[np.ndarray], np.ndarray]
"""Samples h w 3 of uint8 -> samples h*scale w*scale 3 of uint8."""

Metric = Callable[[np.ndarray, np.ndarray], float]
"""HR and the enlarged picture, samples h w 3 of uint8 -> a figure."""

Progress = Callable[[int, int, str], None]
"""Called with how many enlargements are done, how many there are, and what is in work."""

See = Callable[[TestSet, Pair, "Method", np.ndarray, np.ndarray], None]
"""Called with what was enlarged, by which method, and with HR and the result, h w 3 of uint8."""


class EvaluationError(AtdsrError):
    """A comparison that cannot be made, or a method that fails on a picture."""


@dataclass(frozen=True)
class Method:
    """What enlarges pictures in a comparison.

    Attributes:
        name: as the table has it, and as the names of saved pictures end; each method of an
            evaluation has one of its own.
        scale: how many times the sides grow.
        enlarge: does it.
        parameters: how many numbers it has learned; None for what learns nothing.
        identity: what else its results depend on, such as the SHA-256 of its weights, so that an
            interrupted evaluation goes on only with the same method.
        device: the type of the device it computes on, whose memory is measured.
    """

    name: str
    scale: int
    enlarge: Enlarge
    parameters: int | None = None
    identity: str = ""
    device: str = "cpu"


@dataclass(frozen=True)
class Score:
    """How well one picture was enlarged, and at what cost.

    Attributes:
        name: of the picture, as `Pair.name`.
        width: of the HR picture in pixels, cropped to a multiple of the scale.
        height: likewise.
        psnr_y: in dB; infinite where the result equals HR.
        ssim_y: at most 1.
        seconds: wall time of the enlargement alone.
        peak_bytes: the highest memory during the enlargement: of the process, or on CUDA of the
            tensors on the device; None where the system cannot tell.
        metrics: what else was measured, such as LPIPS, by name.
    """

    name: str
    width: int
    height: int
    psnr_y: float
    ssim_y: float
    seconds: float
    peak_bytes: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """The scores of one method on one set; the set's figures are means over its pictures.

    Attributes:
        model: name of the method.
        dataset: name of the set.
        scale: how many times the sides grew.
        parameters: of the method; None for what learns nothing.
        pictures: the scores, in the order of the set.
    """

    model: str
    dataset: str
    scale: int
    parameters: int | None
    pictures: tuple[Score, ...]

    @property
    def psnr_y(self) -> float:
        """Mean PSNR in dB."""
        return float(np.mean([score.psnr_y for score in self.pictures]))

    @property
    def ssim_y(self) -> float:
        """Mean SSIM."""
        return float(np.mean([score.ssim_y for score in self.pictures]))

    @property
    def seconds(self) -> float:
        """Mean wall time of a picture."""
        return float(np.mean([score.seconds for score in self.pictures]))

    @property
    def peak_bytes(self) -> int | None:
        """The highest memory over all pictures; None where the system cannot tell."""
        known = [score.peak_bytes for score in self.pictures if score.peak_bytes is not None]
        return max(known, default=None)

    @property
    def metrics(self) -> dict[str, float]:
        """Means of what else was measured, by name."""
        return {
            name: float(np.mean([score.metrics[name] for score in self.pictures]))
            for name in self.pictures[0].metrics
        }


@dataclass(frozen=True)
class Evaluation:
    """What was measured side by side, and what others have published.

    Attributes:
        rows: by scale, then by set, then by method in the order given (bicubic first).
        published: figures from papers for the same scales and sets.
        machine: where it was measured: system, processor, versions.
    """

    rows: tuple[Row, ...]
    published: tuple[PublishedRow, ...] = ()
    machine: Mapping[str, str] = field(default_factory=dict)


def image_path(folder: Path, dataset: str, picture: str, suffix: str) -> Path:
    """Where the enlarged picture of a method (its name is the suffix) is kept."""
    return folder / dataset / f"{picture}_{suffix.replace('/', '-')}.png"


def evaluate(
    methods: Sequence[Method],
    sets: Sequence[TestSet],
    *,
    metrics: Mapping[str, Metric] | None = None,
    images: Path | None = None,
    overwrite: bool = False,
    records: Records | None = None,
    see: See = lambda *_: None,
    progress: Progress = lambda _done, _total, _what: None,
) -> Evaluation:
    """Score every method on every picture of the sets for its scale.

    Args:
        methods: what to compare.
        sets: of any scale, or of the scale of some of the methods.
        metrics: more to measure, by name.
        images: folder for the enlarged pictures, see `image_path`.
        overwrite: whether existing ones are replaced.
        records: keeps each score as it comes; what it has already is not done again, unless its
            picture is missing from `images`.
        see: shown each picture that is enlarged now, to look at and not to keep.
        progress: for a progress bar.

    Raises:
        EvaluationError: two methods or sets of one name, a method without a set, or a method that
            fails; the sentence names the file.
        TestSetError, PictureError: a picture cannot be read, or is no pair with its LR.
        FileError: a picture exists and may not be replaced, or cannot be written.
        RecordsError: a score cannot be recorded.
    """
    steps = _plan(methods, sets)
    scores = _recorded(steps, records, images)
    if images is not None:
        for step in steps:
            if step.key not in scores:
                files.check_target(step.image(images), overwrite=overwrite)
    for (_, pair, scale), group in itertools.groupby(steps, lambda step: step.place):
        missing = [step for step in group if step.key not in scores]
        if not missing:
            continue
        with interrupts.deferred():
            hr, lr = pair.load(scale)
        for step in missing:
            progress(len(scores), len(steps), str(step))
            sr, score = _score(step, hr, lr, metrics or {})
            see(step.dataset, step.pair, step.method, hr, sr)
            with interrupts.deferred():
                _keep(step, sr, score, records, images)
            scores[step.key] = score
    progress(len(steps), len(steps), "")
    rows = _rows(steps, scores)
    return Evaluation(rows, _published(rows), machine(methods))


def identity(methods: Sequence[Method], sets: Sequence[TestSet], metrics: Sequence[str]) -> str:
    """A name for this very comparison: the same methods on the same files by the same version."""
    return fingerprint(
        {
            "version": atdsr.__version__,
            "methods": [(method.name, method.scale, method.identity) for method in methods],
            "sets": [
                (dataset.name, dataset.scale, [_pair_identity(pair) for pair in dataset.pairs])
                for dataset in sets
            ],
            "metrics": list(metrics),
        }
    )


def done(methods: Sequence[Method], sets: Sequence[TestSet], records: Records) -> tuple[int, int]:
    """How many enlargements of this comparison are recorded, and how many there are."""
    steps = _plan(methods, sets)
    return sum(records.get(step.key) is not None for step in steps), len(steps)


def machine(methods: Sequence[Method]) -> dict[str, str]:
    """Where this runs, as a table's reader wants to know it."""
    devices = {"CPU": _processor()}
    if any(method.device == "cuda" for method in methods):
        devices["GPU"] = torch.cuda.get_device_name()
    return {
        "system": platform.platform(),
        **{name.lower(): what for name, what in devices.items()},
        "threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


# ------------------------------------------------------------------------------------------ steps


@dataclass(frozen=True)
class _Step:
    """One enlargement."""

    method: Method
    dataset: TestSet
    pair: Pair

    def __str__(self) -> str:
        return f"{self.dataset.name} {self.pair.name} {self.method.name}"

    @property
    def key(self) -> Key:
        return (str(self.method.scale), self.dataset.name, self.pair.name, self.method.name)

    @property
    def place(self) -> tuple[TestSet, Pair, int]:
        """What steps have in common that need the same pictures read."""
        return self.dataset, self.pair, self.method.scale

    def image(self, folder: Path) -> Path:
        return image_path(folder, self.dataset.name, self.pair.name, self.method.name)


def _plan(methods: Sequence[Method], sets: Sequence[TestSet]) -> list[_Step]:
    """All enlargements: by scale, set, picture and method.

    Raises:
        EvaluationError: two methods or sets of one name, or a method without a set.
    """
    names = [method.name for method in methods]
    if len(set(names)) < len(names):
        raise EvaluationError(f"two of these methods have one name: {', '.join(names)}.")
    steps = []
    for scale in sorted({method.scale for method in methods}):
        fitting = [dataset for dataset in sets if dataset.scale in (None, scale)]
        names = [dataset.name for dataset in fitting]
        if not fitting:
            raise EvaluationError(f"there is no test set for scale {scale}.")
        if len(set(names)) < len(names):
            raise EvaluationError(
                f"two of these test sets have one name: {', '.join(names)}; rename a folder."
            )
        steps += [
            _Step(method, dataset, pair)
            for dataset in fitting
            for pair in dataset.pairs
            for method in methods
            if method.scale == scale
        ]
    return steps


def _pair_identity(pair: Pair) -> list[object]:
    """What tells a pair of files from another and from what it was before."""
    paths = [path for path in (pair.hr, pair.lr) if path is not None]
    return [
        pair.name,
        *((str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths),
    ]


def _recorded(
    steps: Sequence[_Step], records: Records | None, images: Path | None
) -> dict[Key, Score]:
    """The scores that need not be taken again."""
    if records is None:
        return {}
    return {
        step.key: Score(**record)
        for step in steps
        if (record := records.get(step.key)) is not None
        and (images is None or step.image(images).is_file())
    }


def _score(
    step: _Step, hr: np.ndarray, lr: np.ndarray, more: Mapping[str, Metric]
) -> tuple[np.ndarray, Score]:
    """Enlarge one picture and compare.

    Raises:
        EvaluationError: the method fails, or the picture is too small to be scored.
    """
    method, path = step.method, step.pair.hr
    try:
        sr, seconds, peak = _measured(method, lr)
        if sr.shape != hr.shape:
            raise EvaluationError(
                f"it made {sr.shape[1]}x{sr.shape[0]} where {hr.shape[1]}x{hr.shape[0]} are due."
            )
        score = Score(
            name=step.pair.name,
            width=hr.shape[1],
            height=hr.shape[0],
            psnr_y=psnr_y(hr, sr, method.scale),
            ssim_y=ssim_y(hr, sr, method.scale),
            seconds=seconds,
            peak_bytes=peak,
            metrics={name: measure(hr, sr) for name, measure in more.items()},
        )
    except AtdsrError as error:
        raise EvaluationError(f"{path}, enlarged by {method.name}: {error}") from None
    except MemoryError:
        raise EvaluationError(
            f"{path} is too large for the memory of this machine with {method.name}."
        ) from None
    return sr, score


def _measured(method: Method, lr: np.ndarray) -> tuple[np.ndarray, float, int | None]:
    """The enlarged picture, the seconds it took, and the most memory in bytes."""
    on_cuda = method.device == "cuda"
    memory.trim()  # what another left would be counted as this one's
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    with memory.peak() as peak:
        start = time.perf_counter()
        sr = method.enlarge(lr)  # samples in main memory: nothing on a device is pending
        seconds = time.perf_counter() - start
    return sr, seconds, torch.cuda.max_memory_allocated() if on_cuda else peak.bytes


def _keep(
    step: _Step, sr: np.ndarray, score: Score, records: Records | None, images: Path | None
) -> None:
    """Record a score and write its picture.

    The record comes first, so that a picture without a record is never ours; one that is to be
    replaced goes away before, so that a record without its picture is work to do.

    Raises:
        RecordsError, FileError: one of them cannot be written.
    """
    if images is not None:
        with contextlib.suppress(OSError):
            step.image(images).unlink(missing_ok=True)
    if records is not None:
        records.add(step.key, dataclasses.asdict(score))
    if images is not None:
        imaging.write(Picture(sr), step.image(images), overwrite=True)


def _rows(steps: Sequence[_Step], scores: Mapping[Key, Score]) -> tuple[Row, ...]:
    by_row: dict[tuple[int, str, str], list[Score]] = {}
    parameters: dict[str, int | None] = {}
    for step in steps:
        place = (step.method.scale, step.dataset.name, step.method.name)
        by_row.setdefault(place, []).append(scores[step.key])
        parameters[step.method.name] = step.method.parameters
    return tuple(
        Row(model, dataset, scale, parameters[model], tuple(found))
        for (scale, dataset, model), found in by_row.items()
    )


def _published(rows: Sequence[Row]) -> tuple[PublishedRow, ...]:
    """The published figures for the same scales and sets."""
    sets: dict[int, list[str]] = {}
    for row in rows:
        sets.setdefault(row.scale, []).append(row.dataset)
    found = (published.rows(scale, names) for scale, names in sets.items())
    return tuple(itertools.chain.from_iterable(found))
