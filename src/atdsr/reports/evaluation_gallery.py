"""The pictures of an evaluation: each method's crop where the methods differ most."""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from atdsr import imaging
from atdsr.base import units
from atdsr.base.errors import AtdsrError
from atdsr.base.reporter import SILENT, Reporter
from atdsr.base.scales import RESTORING
from atdsr.evaluation import Evaluation, Row, Score, image_path, regions
from atdsr.evaluation.methods import IDENTITY
from atdsr.evaluation.testsets import Pair, TestSet
from atdsr.imaging import metrics, resample
from atdsr.reports import html

FULL_ERROR = 32
"""Error on Y, in 8-bit steps, at which the colours of an error map end."""

ERROR_COLOURS = (
    "#000004",
    "#1b0c41",
    "#4a0c6b",
    "#781c6d",
    "#a52c60",
    "#cf4446",
    "#ed6925",
    "#fb9b06",
    "#f7d13d",
    "#fcffa4",
)
"""Evenly spaced colours of matplotlib's `inferno` (CC0), ever lighter to the eye."""

_ERROR_LEVELS = 64  # of an error map: nobody sees finer steps, and they would double its bytes
_THUMBNAIL_SIDE = 320  # pixels of the longer side
_BICUBIC = "bicubic"
_BUDGET = 24_000_000  # characters for all pictures of a page, by the estimates below
_THUMBNAIL_COST = 12_000  # characters of a thumbnail and of a picture's text
_CROP_COST, _ERROR_COST = 1.5, 0.5  # characters a pixel of a crop and of an error map, of photos
_MOST_COLUMNS = 7
_CROP_SIZES = ((72, 96), (54, 72), (36, 48))  # height and width in pixels of HR


class ReportError(AtdsrError):
    """A report cannot be made from the pictures there are."""


@dataclass(frozen=True)
class PictureGroup:
    """The pictures of one test set at one scale.

    Attributes:
        dataset: Name of the test set.
        scale: Factor by which the sides grew; 1 where pictures were restored.
        rows: Rows of the evaluation, one a method.
        pairs: Pictures that every method has, those with the largest gain first.
        gains: Gain of the best method over the baseline in dB, by picture. It is empty if that was
            not measured; the pictures then stand in the order of the set.
    """

    dataset: str
    scale: int
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    gains: Mapping[str, float]

    @property
    def best(self) -> Row:
        """The method with the highest mean PSNR."""
        return max(self.rows, key=lambda row: row.psnr)

    @property
    def baseline(self) -> str:
        """What the gain is over."""
        return IDENTITY if self.scale == RESTORING else _BICUBIC

    @property
    def shown_scale(self) -> str:
        """The scale, such as "x2", if there is one to tell."""
        return "" if self.scale == RESTORING else f"x{self.scale}"


@dataclass(frozen=True)
class EncodedImage:
    """An image in a page: its `data:` URL and its size in pixels."""

    url: str
    width: int
    height: int


@dataclass(frozen=True)
class Tile:
    """The crop of one method, of LR or of HR.

    Attributes:
        label: Name of the method, `LR` or `HR`.
        figures: PSNR and SSIM of the whole picture as text, or what the tile is.
        crop: The crop itself.
        error: Map of the error below the crop; LR and HR have none.
        is_best: Whether the method has the highest PSNR.
    """

    label: str
    figures: str
    crop: EncodedImage
    error: EncodedImage | None = None
    is_best: bool = False


@dataclass(frozen=True)
class Comparison:
    """One picture as the page shows it.

    Attributes:
        number: Number of the picture on the page, from 1.
        name: Name of the picture.
        width: Width of HR in pixels.
        height: Height of HR in pixels.
        gain: Gain of the best method over the baseline in dB; None if that was not measured.
        tiles: LR, bicubic, the other methods, HR; where pictures were restored, identity and the
            others, HR.
        whole: The whole picture, small.
        left: Left side of the crop, like the three below in percent of the picture.
        top: Top of the crop.
        crop_width: Width of the crop.
        crop_height: Height of the crop.
    """

    number: int
    name: str
    width: int
    height: int
    gain: float | None
    tiles: tuple[Tile, ...]
    whole: EncodedImage
    left: float
    top: float
    crop_width: float
    crop_height: float

    @property
    def columns(self) -> int:
        """How many tiles stand side by side where there is room, so that all rows are full."""
        rows = math.ceil(len(self.tiles) / _MOST_COLUMNS)
        return math.ceil(len(self.tiles) / rows)


@dataclass(frozen=True)
class _Result:
    """One method's picture and its scores."""

    label: str
    samples: np.ndarray
    psnr: float
    ssim: float


class Gallery:
    """The pictures of all test sets of an evaluation.

    Args:
        evaluation: Scores.
        sets: Test sets; the rows of other sets have no pictures.
        images: Folder with the enlarged pictures, by `evaluation.image_path`.
        reporter: Receives the progress.

    Attributes:
        groups: Pictures by set and scale, in the order of the evaluation's rows.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        sets: Sequence[TestSet],
        images: Path,
        reporter: Reporter = SILENT,
    ) -> None:
        self.groups = _groups(evaluation, sets)
        self._images = images
        self._reporter = reporter
        self._total = sum(len(group.pairs) for group in self.groups)
        methods = max((len(group.rows) for group in self.groups), default=0)
        self._size = crop_size(self._total, methods)
        self._done = 0

    def pictures(self, group: PictureGroup) -> Iterator[Comparison]:
        """Yield the pictures of a group, each read when it is asked for.

        Raises:
            ReportError: An enlarged picture is missing or is not the one that was scored.
            TestSetError, PictureError: A picture cannot be read.
        """
        for pair in group.pairs:
            yield _compare(group, pair, self._images, self._size, self._done + 1)
            self._done += 1
            self._reporter.progress(self._done / self._total)


def _groups(evaluation: Evaluation, sets: Sequence[TestSet]) -> list[PictureGroup]:
    groups = []
    for dataset, scale in dict.fromkeys((row.dataset, row.scale) for row in evaluation.rows):
        rows = tuple(r for r in evaluation.rows if (r.dataset, r.scale) == (dataset, scale))
        matches = (s for s in sets if s.name == dataset and s.scale in (None, scale))
        test_set = next(matches, None)
        if test_set is not None:
            groups.append(_group(dataset, scale, rows, test_set))
    return groups


def _group(dataset: str, scale: int, rows: tuple[Row, ...], test_set: TestSet) -> PictureGroup:
    common = set.intersection(*({score.name for score in row.pictures} for row in rows))
    pairs = tuple(pair for pair in test_set.pairs if pair.name in common)
    baseline = next((row for row in rows if _is_baseline(row.model, scale)), None)
    best = max(rows, key=lambda row: row.psnr)
    gains = {}
    if baseline is not None and best is not baseline:
        before, after = _by_name(baseline), _by_name(best)
        gains = {pair.name: _gain(before[pair.name], after[pair.name]) for pair in pairs}
        pairs = tuple(sorted(pairs, key=lambda pair: -gains[pair.name]))
    return PictureGroup(dataset, scale, rows, pairs, gains)


def _by_name(row: Row) -> dict[str, Score]:
    return {score.name: score for score in row.pictures}


def _gain(before: Score, after: Score) -> float:
    """Return how many dB the second score is above the first; two perfect pictures are equal."""
    gain = after.psnr - before.psnr
    return 0.0 if math.isnan(gain) else gain


def _is_baseline(model: str, scale: int) -> bool:
    """Whether this is bicubic, whose name has the scale in it where there are several.

    It is identity where pictures were restored.
    """
    if scale == RESTORING:
        return model == IDENTITY
    return model in (_BICUBIC, f"{_BICUBIC}-x{scale}")


def crop_size(pictures: int, methods: int) -> tuple[int, int]:
    """Return the largest height and width of crops with which a page stays within its budget."""
    pixel = (methods + 2) * _CROP_COST + (methods + 1) * _ERROR_COST
    for height, width in _CROP_SIZES:
        if pictures * (height * width * pixel + _THUMBNAIL_COST) <= _BUDGET:
            return height, width
    return _CROP_SIZES[-1]


def _compare(
    group: PictureGroup, pair: Pair, images: Path, size: tuple[int, int], number: int
) -> Comparison:
    """Crop one region from one picture of all methods."""
    original, small = pair.load(group.scale)
    original = imaging.replicate_gray(original)
    results = _results(group, pair, images, original, small)
    border = 0 if group.scale == RESTORING else group.scale
    errors = regions.error_maps(original, [result.samples for result in results], border)
    region = regions.most_different_region(
        _compared(group, results, errors),
        regions.fit_region_size(size, original, group.scale),
        group.scale,
    )
    best = max(result.psnr for result in results)
    lr = []
    if group.scale != RESTORING:  # there it is what identity shows
        lr.append(Tile("LR", "nearest", _lossless(region.crop(small, group.scale))))
    tiles = [
        Tile(
            result.label,
            f"{units.decibels(result.psnr)} / {result.ssim:.4f}",
            _lossless(region.crop(result.samples)),
            _lossless(error_map(region.crop(error))),
            result.psnr == best,
        )
        for result, error in zip(results, errors, strict=True)
    ]
    height, width = original.shape[:2]
    return Comparison(
        number,
        pair.name,
        width,
        height,
        group.gains.get(pair.name),
        (
            *lr,
            *tiles,
            Tile("HR", "original", _lossless(region.crop(original))),
        ),
        _thumbnail(original),
        *(
            round(100 * part / whole, 2)
            for part, whole in (
                (region.left, width),
                (region.top, height),
                (region.width, width),
                (region.height, height),
            )
        ),
    )


def _results(
    group: PictureGroup, pair: Pair, images: Path, original: np.ndarray, small: np.ndarray
) -> list[_Result]:
    """Return bicubic, measured before or made here, and the methods in the order of the rows.

    Identity is what was measured only.
    """
    results = []
    for row in group.rows:
        score = _by_name(row)[pair.name]
        path = image_path(images, group.dataset, pair.name, row.model)
        results.append(_Result(row.model, _read(path, original), score.psnr, score.ssim))
    measured = any(_is_baseline(result.label, group.scale) for result in results)
    if not measured and group.scale != RESTORING:
        samples = resample.upscale(small, group.scale)
        psnr_y = metrics.psnr_y(original, samples, group.scale)
        ssim_y = metrics.ssim_y(original, samples, group.scale)
        results.insert(0, _Result(_BICUBIC, samples, psnr_y, ssim_y))
    return sorted(results, key=lambda result: not _is_baseline(result.label, group.scale))


def _read(path: Path, original: np.ndarray) -> np.ndarray:
    """Read an enlarged picture, which must be as large as the original.

    Raises:
        ReportError: It is missing or of another size.
        PictureError: It cannot be read.
    """
    if not path.is_file():
        raise ReportError(f"{path} is missing; evaluate again, so that the picture is saved anew.")
    samples = imaging.replicate_gray(imaging.read(path).samples)
    if samples.shape != original.shape or samples.dtype != np.uint8:
        raise ReportError(
            f"{path} is not the enlarged picture of {original.shape[1]}x{original.shape[0]} that "
            "was scored; evaluate again, so that it is saved anew."
        )
    return samples


def _compared(
    group: PictureGroup, results: Sequence[_Result], errors: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Return the errors that the region is chosen by: those of the networks if there are two.

    Beside bicubic all networks look alike, and the question is how they differ.
    """
    learned = {row.model for row in group.rows if row.parameters is not None}
    chosen = [e for result, e in zip(results, errors, strict=True) if result.label in learned]
    return chosen if len(chosen) > 1 else list(errors)


def error_map(error: np.ndarray) -> np.ndarray:
    """Return an error `h w` as colours uint8 `h w 3`, the last one from `FULL_ERROR` on."""
    stops = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in ERROR_COLOURS])
    at = np.linspace(0, len(stops) - 1, _ERROR_LEVELS)
    table = np.stack([np.interp(at, np.arange(len(stops)), channel) for channel in stops.T], axis=1)
    level = np.rint(np.clip(error / FULL_ERROR, 0, 1) * (_ERROR_LEVELS - 1)).astype(np.intp)
    return np.rint(table).astype(np.uint8)[level]


def _thumbnail(samples: np.ndarray) -> EncodedImage:
    """Return a picture reduced in bytes, with its own width and height."""
    picture = Image.fromarray(samples)
    picture.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    height, width = samples.shape[:2]
    return EncodedImage(_webp(picture, quality=72, method=4), width, height)


def _lossless(samples: np.ndarray) -> EncodedImage:
    """Return a picture uint8 `h w 3`, sample by sample."""
    height, width = samples.shape[:2]
    url = _webp(Image.fromarray(samples), lossless=True, quality=60, method=4)
    return EncodedImage(url, width, height)


def _webp(picture: Image.Image, **options: int | bool) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", **options)
    return html.data_url(buffer.getvalue(), "image/webp")
