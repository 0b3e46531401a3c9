"""Evaluate methods on test sets by the field's protocols (`docs/protocol.md`)."""

import contextlib
import dataclasses
import itertools
import platform
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import atdsr
from atdsr import imaging
from atdsr.base import files, interrupts, memory
from atdsr.base.errors import AtdsrError
from atdsr.base.scales import RESTORING
from atdsr.evaluation import published, standard_sets
from atdsr.evaluation.damage import Damage
from atdsr.evaluation.published import PublishedRow
from atdsr.evaluation.records import Key, Records, fingerprint
from atdsr.evaluation.results import Evaluation, Method, Metric, Row, Score
from atdsr.evaluation.testsets import Pair, TestSet
from atdsr.imaging import Picture, metrics

_WARM_UP_SIDE = 64  # LR pixels

EvaluationProgress = Callable[[int, int, str], None]
"""Called with the number of finished enlargements, their total, and the name of the current one."""

ResultCallback = Callable[[TestSet, Pair, Method, np.ndarray, np.ndarray], None]
"""Called with the test set, the pair, the method, and HR and the result, h w c of uint8."""


class EvaluationError(AtdsrError):
    """A comparison that is not possible, or a method that fails on a picture."""


def image_path(folder: Path, dataset: str, picture: str, suffix: str) -> Path:
    """Return the path of an enlarged picture; the suffix is the name of the method."""
    return folder / dataset / f"{picture}_{suffix.replace('/', '-')}.png"


def evaluate(
    methods: Sequence[Method],
    sets: Sequence[TestSet],
    *,
    metrics: Mapping[str, Metric] | None = None,
    images: Path | None = None,
    overwrite: bool = False,
    records: Records | None = None,
    on_result: ResultCallback = lambda *_: None,
    progress: EvaluationProgress = lambda _done, _total, _name: None,
) -> Evaluation:
    """Score every method on every picture of the sets for its scale.

    Args:
        methods: Methods to compare.
        sets: Test sets for any scale, or for the scale of some of the methods. Methods of scale 1
            are measured on sets of `TestSet.to_restore`, or with an LR folder for that scale.
        metrics: Other metrics to compute, by name.
        images: Folder for the enlarged pictures, see `image_path`.
        overwrite: Whether existing pictures are replaced.
        records: Receives each score as it is taken. A picture that has a record is not enlarged
            again, unless it is missing from `images`.
        on_result: Called with each picture that is enlarged, which it must not change or keep.
        progress: Called before each enlargement and at the end.

    Raises:
        EvaluationError: Two methods or sets have one name, a method has no test set, or a method
            fails; the sentence names the file.
        TestSetError, PictureError: A picture cannot be read, or does not match its LR picture.
        FileError: A picture exists and may not be replaced, or cannot be written.
        RecordsError: A score cannot be recorded.
    """
    steps = _plan(methods, sets)
    scores = _recorded_scores(steps, records, images)
    warm: set[str] = set()
    digests: dict[tuple[str, int, str], str] = {}
    if images is not None:
        for step in steps:
            if step.key not in scores:
                files.check_target(step.image(images), overwrite=overwrite)
    for (dataset, pair, scale), group in itertools.groupby(steps, lambda step: step.source):
        missing = [step for step in group if step.key not in scores]
        if not missing:
            continue
        with interrupts.deferred():
            hr, lr = pair.load(scale)
        if hr.shape[2] == 3:  # sets are known by their colours
            digests[dataset.name, scale, pair.name] = standard_sets.picture_digest(hr)
        for step in missing:
            progress(len(scores), len(steps), str(step))
            if step.method.parameters is not None and step.method.name not in warm:
                warm.add(step.method.name)
                _warm_up(step.method, lr)
            sr, score = _score(step, hr, lr, metrics or {})
            on_result(step.dataset, step.pair, step.method, hr, sr)
            with interrupts.deferred():
                _save(step, sr, score, records, images)
            scores[step.key] = score
    progress(len(steps), len(steps), "")
    rows = _rows(steps, scores)
    unlike = _unlike_the_papers(steps, digests)
    papers, names = _published_rows(rows, unlike), tuple(dict.fromkeys(unlike.values()))
    return Evaluation(rows, papers, describe_machine(methods), names)


def evaluation_id(
    methods: Sequence[Method], sets: Sequence[TestSet], metrics: Sequence[str]
) -> str:
    """Return an id of this comparison: the same methods on the same files by the same version."""
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


def count_recorded(
    methods: Sequence[Method], sets: Sequence[TestSet], records: Records
) -> tuple[int, int]:
    """Return how many enlargements of this comparison are recorded, and their total."""
    steps = _plan(methods, sets)
    return sum(records.get(step.key) is not None for step in steps), len(steps)


def describe_machine(methods: Sequence[Method]) -> dict[str, str]:
    """Return the system, processors and versions for the reader of a table."""
    devices = {"CPU": _processor()}
    if any(method.device == "cuda" for method in methods):
        devices["GPU"] = torch.cuda.get_device_name()
    return {
        "system": platform.platform(),
        **{kind.lower(): name for kind, name in devices.items()},
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
    def source(self) -> tuple[TestSet, Pair, int]:
        """Equal for steps that need the same pictures."""
        return self.dataset, self.pair, self.method.scale

    def image(self, folder: Path) -> Path:
        return image_path(folder, self.dataset.name, self.pair.name, self.method.name)


def _plan(methods: Sequence[Method], sets: Sequence[TestSet]) -> list[_Step]:
    """Return all enlargements, by scale, set, picture and method.

    Raises:
        EvaluationError: Two methods or sets have one name, or a method has no test set.
    """
    names = [method.name for method in methods]
    if len(set(names)) < len(names):
        raise EvaluationError(
            f"two of these methods have one name: {', '.join(names)}; rename a file of weights."
        )
    steps = []
    for scale in sorted({method.scale for method in methods}):
        these = [method for method in methods if method.scale == scale]
        fitting = [dataset for dataset in sets if any(each.takes(dataset) for each in these)]
        names = [dataset.name for dataset in fitting]
        if not all(any(each.takes(dataset) for dataset in fitting) for each in these):
            what = "to restore" if scale == RESTORING else f"for scale {scale}"
            raise EvaluationError(
                f"there is no test set {what}; name one, or leave out the methods of that scale."
            )
        if len(set(names)) < len(names):
            raise EvaluationError(
                f"two of these test sets have one name: {', '.join(names)}; rename a folder."
            )
        steps += [
            _Step(method, dataset, pair)
            for dataset in fitting
            for pair in dataset.pairs
            for method in these
            if method.takes(dataset)
        ]
    return steps


def _pair_identity(pair: Pair) -> list[object]:
    """Return what changes when a pair of files is changed or replaced by another."""
    paths = [path for path in (pair.hr, pair.lr) if path is not None]
    return [
        pair.name,
        str(pair.damage or ""),
        *((str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths),
    ]


def _recorded_scores(
    steps: Sequence[_Step], records: Records | None, images: Path | None
) -> dict[Key, Score]:
    """Return the scores that need not be taken again."""
    if records is None:
        return {}
    return {
        step.key: Score(**record)
        for step in steps
        if (record := records.get(step.key)) is not None
        and (images is None or step.image(images).is_file())
    }


def _score(
    step: _Step, hr: np.ndarray, lr: np.ndarray, more_metrics: Mapping[str, Metric]
) -> tuple[np.ndarray, Score]:
    """Enlarge or restore one picture and score the result.

    Returns:
        The result as samples of uint8, and its score.

    Raises:
        EvaluationError: The method fails, or the picture is too small to be scored.
    """
    method, path = step.method, step.pair.hr
    try:
        sr, seconds, peak = _enlarge_measured(method, lr)
        if sr.shape != hr.shape:
            raise EvaluationError(
                f"it made {sr.shape[1]}x{sr.shape[0]} where {hr.shape[1]}x{hr.shape[0]} are due."
            )
        if method.scale == RESTORING:
            figures = _restored_figures(hr, sr, step.dataset.damage)
            sr = (255 * np.clip(sr, 0, 1) + 0.5).astype(np.uint8)
        else:
            figures = {
                "psnr": metrics.psnr_y(hr, sr, method.scale),
                "ssim": metrics.ssim_y(hr, sr, method.scale),
            }
        pair_rgb = imaging.replicate_gray(hr), imaging.replicate_gray(sr)
        score = Score(
            name=step.pair.name,
            width=hr.shape[1],
            height=hr.shape[0],
            seconds=seconds,
            peak_bytes=peak,
            metrics={name: metric(*pair_rgb) for name, metric in more_metrics.items()},
            **figures,
        )
    except AtdsrError as error:
        done = "restored" if method.scale == RESTORING else "enlarged"
        raise EvaluationError(f"{path}, {done} by {method.name}: {error}") from None
    except MemoryError:
        raise EvaluationError(
            f"{path} is too large for the memory of this machine with {method.name}; use tiles "
            "(--tile auto), or take it out."
        ) from None
    return sr, score


def _restored_figures(
    original: np.ndarray, restored: np.ndarray, damage: Damage | None
) -> dict[str, float]:
    """Return PSNR over all samples, SSIM, and PSNR-B where JPEG was removed: means over channels.

    Nothing is rounded to 8 bits, and no border is left out.

    Args:
        original: Samples h w c of uint8.
        restored: Floats of the same shape, clamped to [0, 1] here.
        damage: What was removed.
    """
    result = 255 * np.clip(restored.astype(np.float64), 0, 1)
    truth = original.astype(np.float64)
    planes = [(truth[..., channel], result[..., channel]) for channel in range(truth.shape[2])]
    figures = {
        "psnr": metrics.psnr(truth, result),
        "ssim": float(np.mean([metrics.ssim(*pair) for pair in planes])),
    }
    if damage is not None and damage.quality is not None:
        figures["psnr_b"] = float(np.mean([metrics.psnr_b(*pair) for pair in planes]))
    return figures


def _warm_up(method: Method, lr: np.ndarray) -> None:
    """Let a network enlarge a corner of a picture, so that its start-up is not measured.

    That is loading libraries, compiling kernels and starting threads. What fails here fails again
    when it is measured, with a sentence that names the file.
    """
    with contextlib.suppress(AtdsrError, MemoryError):
        method.enlarge(np.ascontiguousarray(lr[:_WARM_UP_SIDE, :_WARM_UP_SIDE]))


def _enlarge_measured(method: Method, lr: np.ndarray) -> tuple[np.ndarray, float, int | None]:
    """Return the enlarged picture, the seconds it took, and the highest memory use in bytes."""
    on_cuda = method.device == "cuda"
    memory.trim()  # memory that another method left would be counted as this one's
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    with memory.peak() as peak:
        start = time.perf_counter()
        sr = method.enlarge(lr)  # samples in main memory: nothing on a device is pending
        seconds = time.perf_counter() - start
    return sr, seconds, torch.cuda.max_memory_allocated() if on_cuda else peak.bytes


def _save(
    step: _Step, sr: np.ndarray, score: Score, records: Records | None, images: Path | None
) -> None:
    """Record a score and write its picture.

    The record comes first, so that a picture without a record was never written here. A picture
    that is replaced is deleted before, so that a record without its picture means work to do.

    Raises:
        RecordsError, FileError: One of them cannot be written.
    """
    if images is not None:
        with contextlib.suppress(OSError):
            step.image(images).unlink(missing_ok=True)
    if records is not None:
        records.add(step.key, dataclasses.asdict(score))
    if images is not None:
        imaging.write(Picture(sr), step.image(images), overwrite=True)


def _rows(steps: Sequence[_Step], scores: Mapping[Key, Score]) -> tuple[Row, ...]:
    by_row: dict[tuple[int, str, str], list[_Step]] = {}
    for step in steps:
        key = (step.method.scale, step.dataset.name, step.method.name)
        by_row.setdefault(key, []).append(step)
    return tuple(
        Row(
            model,
            dataset,
            scale,
            of_row[0].method.parameters,
            tuple(scores[step.key] for step in of_row),
            of_row[0].dataset.damage if scale == RESTORING else None,
        )
        for (scale, dataset, model), of_row in by_row.items()
    )


def _unlike_the_papers(
    steps: Sequence[_Step], digests: Mapping[tuple[str, int, str], str]
) -> dict[str, str]:
    """Find the sets that are called like one of the papers and hold other pictures.

    Args:
        steps: All enlargements.
        digests: `picture_digest` of the HR pictures that have been read, by set, scale and name;
            the others are read here, unless their number is wrong anyway.

    Returns:
        Names of these sets, and what the papers call them.
    """
    standard = {each.name: each for each in standard_sets.standard_sets()}
    unlike: dict[str, str] = {}
    for dataset, scale in dict.fromkeys((step.dataset, step.method.scale) for step in steps):
        name = dataset.base or dataset.name
        paper = standard.get(published.standard_name(name))
        if paper is None or dataset.name in unlike or not published.rows(scale, [dataset.name]):
            continue
        is_same = len(dataset.pairs) == paper.pictures
        if is_same and scale in paper.digests:
            is_same = paper.digests[scale] == standard_sets.set_digest(
                digests.get((dataset.name, scale, pair.name))
                or standard_sets.picture_digest(pair.load_hr(scale))
                for pair in dataset.pairs
            )
        if not is_same:
            unlike[dataset.name] = name
    return unlike


def _published_rows(rows: Sequence[Row], unlike: Collection[str]) -> tuple[PublishedRow, ...]:
    """Return the published figures for the same scales and sets, but for sets of other pictures."""
    sets: dict[int, list[str]] = {}
    for row in rows:
        if row.dataset not in unlike:
            sets.setdefault(row.scale, []).append(row.dataset)
    rows_by_scale = (published.rows(scale, names) for scale, names in sets.items())
    return tuple(itertools.chain.from_iterable(rows_by_scale))
