"""The pictures of the report: each method's crop of the region where they differ most."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atdsr import imaging
from atdsr.base import escaping, units
from atdsr.base.errors import AtdsrError
from atdsr.evaluation import Evaluation, Row, Score, image_path, regions
from atdsr.evaluation.testsets import Pair, TestSet
from atdsr.imaging import metrics, resample
from atdsr.reports.evaluation import crops

_BASELINE = "bicubic"
_BUDGET = 24_000_000  # characters for all pictures of a page, by the estimates below
_THUMBNAIL_COST = 12_000  # characters of a thumbnail and of a picture's text
_CROP_COST, _ERROR_COST = 1.5, 0.5  # characters a pixel of a crop and of an error map, of photos
_MOST_COLUMNS = 7
_CROP_SIZES = ((72, 96), (54, 72), (36, 48))  # height and width in pixels of HR


class ReportError(AtdsrError):
    """A report that cannot be made from the pictures there are."""


@dataclass(frozen=True)
class Group:
    """The pictures of one set at one scale.

    Attributes:
        dataset: name of the set.
        scale: how many times the sides grew.
        rows: of the evaluation, one a method.
        pairs: the pictures that every method has, those it gains most on first.
        gains: how many dB the best method is above bicubic, by picture; empty if bicubic was not
            measured, and then the pictures are as in the set.
    """

    dataset: str
    scale: int
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    gains: Mapping[str, float]

    @property
    def best(self) -> Row:
        """The method with the highest mean PSNR."""
        return max(self.rows, key=lambda row: row.psnr_y)


@dataclass(frozen=True)
class _Shot:
    """One method's picture and the figures of it."""

    label: str
    samples: np.ndarray
    psnr_y: float
    ssim_y: float

    @property
    def figures(self) -> str:
        return f"{units.decibels(self.psnr_y)} / {self.ssim_y:.4f}"


def groups(evaluation: Evaluation, sets: Sequence[TestSet]) -> list[Group]:
    """What there is to show, in the order of the evaluation's rows."""
    found = []
    for dataset, scale in dict.fromkeys((row.dataset, row.scale) for row in evaluation.rows):
        rows = tuple(r for r in evaluation.rows if (r.dataset, r.scale) == (dataset, scale))
        test_set = next(
            (s for s in sets if s.name == dataset and s.scale in (None, scale)),
            None,
        )
        if test_set is not None:
            found.append(_group(dataset, scale, rows, test_set))
    return found


def _group(dataset: str, scale: int, rows: tuple[Row, ...], test_set: TestSet) -> Group:
    whole = set.intersection(*({score.name for score in row.pictures} for row in rows))
    pairs = tuple(pair for pair in test_set.pairs if pair.name in whole)
    baseline = next((row for row in rows if _is_baseline(row.model, scale)), None)
    best = max(rows, key=lambda row: row.psnr_y)
    gains = {}
    if baseline is not None and best is not baseline:
        before, after = _by_name(baseline), _by_name(best)
        gains = {pair.name: _gain(before[pair.name], after[pair.name]) for pair in pairs}
        pairs = tuple(sorted(pairs, key=lambda pair: -gains[pair.name]))
    return Group(dataset, scale, rows, pairs, gains)


def _by_name(row: Row) -> dict[str, Score]:
    return {score.name: score for score in row.pictures}


def _gain(before: Score, after: Score) -> float:
    """How many dB the second is above the first; two perfect pictures are equal."""
    gain = after.psnr_y - before.psnr_y
    return 0.0 if math.isnan(gain) else gain


def parts(shown: Sequence[Group], images: Path, progress: Callable[[float], None]) -> Iterator[str]:
    """The pictures of all groups as HTML, one at a time."""
    pictures = sum(len(group.pairs) for group in shown)
    methods = max((len(group.rows) for group in shown), default=0)
    size = _crop_size(pictures, methods)
    done = 0
    for index, group in enumerate(shown):
        yield _opening(group, is_open=index == 0)
        for pair in group.pairs:
            yield _picture(group, pair, images, size, f"picture-{done + 1}")
            done += 1
            progress(done / pictures)
        yield "</div></details>\n"


def _crop_size(pictures: int, methods: int) -> tuple[int, int]:
    """The largest crop with which so many pictures stay within what a page may weigh."""
    pixel = (methods + 2) * _CROP_COST + (methods + 1) * _ERROR_COST
    for height, width in _CROP_SIZES:
        if pictures * (height * width * pixel + _THUMBNAIL_COST) <= _BUDGET:
            return height, width
    return _CROP_SIZES[-1]


def _opening(group: Group, *, is_open: bool) -> str:
    count = f"{len(group.pairs)} picture{'' if len(group.pairs) == 1 else 's'}"
    order = ""
    if group.gains:
        order = (
            '<p class="order" hidden>Order '
            '<button type="button" data-by="gain" aria-pressed="true">by gain</button>'
            '<button type="button" data-by="name" aria-pressed="false">by name</button></p>'
        )
    return (
        f'<details class="group"{" open" if is_open else ""}>'
        f"<summary><h3>{escaping.html(group.dataset)} <small>x{group.scale}</small></h3>"
        f" <span>{count}</span></summary>{order}<div>\n"
    )


def _picture(group: Group, pair: Pair, images: Path, size: tuple[int, int], identity: str) -> str:
    """One picture: all methods in one region, and the region in the whole."""
    original, small = pair.load(group.scale)
    shots = _shots(group, pair, images, original, small)
    planes = regions.error_maps(original, [shot.samples for shot in shots], group.scale)
    region = regions.most_different_region(
        _compared(group, shots, planes),
        regions.fit_region_size(size, original, group.scale),
        group.scale,
    )
    best = max(shot.psnr_y for shot in shots)
    gain = group.gains.get(pair.name)
    note = "" if gain is None else f'<span class="gain">{_gain_text(group, gain)}</span>'
    height, width = original.shape[:2]
    tiles = [
        _tile(
            "LR", region.crop(small, group.scale), "nearest", pair.name, _whole(original, region)
        ),
        *(
            _tile(
                shot.label,
                region.crop(shot.samples),
                shot.figures,
                pair.name,
                _error(shot.label, crops.error_map(region.crop(plane))),
                best=shot.psnr_y == best,
            )
            for shot, plane in zip(shots, planes, strict=True)
        ),
        _tile("HR", region.crop(original), "original", pair.name, _LEGEND),
    ]
    return (
        f'<article id="{identity}" data-name="{escaping.html(pair.name)}" '
        f'data-gain="{gain or 0:.4f}">'
        f"<header><h4>{escaping.html(pair.name)}</h4><span>{width}x{height}</span>{note}</header>"
        f'<div class="tiles" style="--columns:{_columns(len(tiles))}">{"".join(tiles)}</div>'
        "</article>\n"
    )


def _columns(tiles: int) -> int:
    """How many tiles stand side by side where there is room, in rows that are evenly filled."""
    rows = math.ceil(tiles / _MOST_COLUMNS)
    return math.ceil(tiles / rows)


def _gain_text(group: Group, gain: float) -> str:
    number = "&infin;" if math.isinf(gain) else f"{gain:+.2f}".replace("-", "&minus;")
    return f"{escaping.html(group.best.model)} <b>{number} dB</b> over bicubic"


def _shots(
    group: Group, pair: Pair, images: Path, original: np.ndarray, small: np.ndarray
) -> list[_Shot]:
    """Bicubic, measured or made here, and the methods in the order of the rows."""
    shots = []
    for row in group.rows:
        score = _by_name(row)[pair.name]
        path = image_path(images, group.dataset, pair.name, row.model)
        samples = _read(path, original)
        shots.append(_Shot(row.model, samples, score.psnr_y, score.ssim_y))
    if not any(_is_baseline(shot.label, group.scale) for shot in shots):
        samples = resample.upscale(small, group.scale)
        psnr_y = metrics.psnr_y(original, samples, group.scale)
        ssim_y = metrics.ssim_y(original, samples, group.scale)
        shots.insert(0, _Shot(_BASELINE, samples, psnr_y, ssim_y))
    return sorted(shots, key=lambda shot: not _is_baseline(shot.label, group.scale))


def _is_baseline(model: str, scale: int) -> bool:
    """Whether this is bicubic, which bears its scale where there are several."""
    return model in (_BASELINE, f"{_BASELINE}-x{scale}")


def _read(path: Path, original: np.ndarray) -> np.ndarray:
    """An enlarged picture, as large as the original.

    Raises:
        ReportError: it is missing or of another size.
        PictureError: it cannot be read.
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
    group: Group, shots: Sequence[_Shot], planes: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The errors that the region is chosen by: the learned methods' if there are two, else all.

    Beside bicubic all networks look alike, and the question is how they differ.
    """
    learned = {row.model for row in group.rows if row.parameters is not None}
    chosen = [p for shot, p in zip(shots, planes, strict=True) if shot.label in learned]
    return chosen if len(chosen) > 1 else list(planes)


def _tile(
    label: str,
    crop: np.ndarray,
    figures: str,
    picture: str,
    below: str,
    *,
    best: bool = False,
) -> str:
    height, width = crop.shape[:2]
    return (
        f'<figure class="{"best" if best else ""}" data-label="{escaping.html(label)}" '
        f'data-figures="{figures}">'
        f'<img class="crop" src="{crops.exact(crop)}" width="{width}" height="{height}" '
        f'alt="{escaping.html(picture)}, {escaping.html(label)}" decoding="async">'
        f"{below}<figcaption><b>{escaping.html(label)}</b> <span>{figures}</span></figcaption>"
        "</figure>"
    )


def _error(label: str, colours: np.ndarray) -> str:
    height, width = colours.shape[:2]
    return (
        f'<img class="error" src="{crops.exact(colours)}" width="{width}" height="{height}" '
        f'alt="error of {escaping.html(label)}" decoding="async">'
    )


def _whole(original: np.ndarray, region: regions.Region) -> str:
    """The whole picture, small, with the region of the crop marked."""
    height, width = original.shape[:2]
    left, top = 100 * region.left / width, 100 * region.top / height
    return (
        f'<div class="below"><div class="whole" style="--shape:{width / height:.4f}">'
        f'<img src="{crops.thumbnail(original)}" width="{width}" height="{height}" '
        f'alt="the whole picture" decoding="async">'
        f'<i style="left:{left:.2f}%;top:{top:.2f}%;width:{100 * region.width / width:.2f}%;'
        f'height:{100 * region.height / height:.2f}%"></i></div></div>'
    )


_LEGEND = (
    '<div class="below legend" aria-hidden="true"><span>error |SR &minus; HR|</span>'
    '<div class="ramp"></div><span class="ends"><span>0</span>'
    f"<span>{crops.FULL_ERROR / 2:.0f}</span><span>≥ {crops.FULL_ERROR:.0f}</span></span></div>"
)
