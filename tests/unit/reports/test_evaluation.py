"""The report of an evaluation: what it shows, what it escapes, how large it gets."""

import math
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from atdsr.base.files import FileError
from atdsr.base.reporter import Reporter
from atdsr.evaluation import Method, evaluate, image_path, methods, regions, testsets
from atdsr.evaluation.damage import Damage
from atdsr.evaluation.testsets import Pair
from atdsr.reports import evaluation_gallery as gallery
from atdsr.reports import evaluation_page, plots
from atdsr.reports.evaluation_gallery import ReportError
from atdsr.reports.plots import Point
from helpers.evaluated import SCALE, make

HOSTILE = "<img src=x onerror=alert(1)>\"'&"


def written(folder: Path, *names: str, dataset: str = "Set2") -> str:
    evaluation, test_set, images = make(folder, names, dataset)
    path = folder / "report.html"
    evaluation_page.write(evaluation, [test_set], images, path, overwrite=False)
    return path.read_text("utf-8")


# ------------------------------------------------------------------------------------------ pixels


def test_the_place_is_where_the_sums_of_squares_lie_furthest_apart():
    rng = np.random.default_rng(0)
    common = rng.random((60, 80)) * 9  # what all methods have alike does not count
    planes = [common.copy() for _ in range(3)]
    planes[1][30:42, 40:56] += 2
    region = regions.most_different_region(planes, (12, 16), 2)
    assert region == regions.Region(30, 40, 12, 16)
    naive = {
        (top, left): np.ptp([np.square(p[top : top + 12, left : left + 16]).sum() for p in planes])
        for top in range(0, 49, 2)
        for left in range(0, 65, 2)
    }
    assert max(naive, key=lambda at: naive[at]) == (region.top, region.left)


def test_a_single_methods_place_is_where_it_errs_most():
    plane = np.zeros((20, 20))
    plane[12:16, 3:6] = 1
    region = regions.most_different_region([plane], (4, 3), 3)
    assert (region.top, region.left) == (12, 3)


def test_a_place_may_be_the_whole_picture():
    assert regions.most_different_region([np.ones((4, 6))], (4, 6), 2) == regions.Region(0, 0, 4, 6)


def test_a_place_is_the_same_part_of_the_small_picture():
    large = np.arange(12 * 16).reshape(12, 16)
    part = regions.Region(4, 8, 6, 4)
    np.testing.assert_array_equal(part.crop(large)[::2, ::2], part.crop(large[::2, ::2], 2))


def test_errors_are_those_of_luma_within_the_border():
    original = np.full((8, 8, 3), 100, np.uint8)
    (plane,) = regions.error_maps(original, [original + np.uint8(10)], 2)
    np.testing.assert_allclose(plane[2:-2, 2:-2], 10 * 219 / 255, rtol=1e-6)
    assert plane.sum() == pytest.approx(16 * 10 * 219 / 255)


def test_colours_of_errors_begin_and_end_with_the_table_and_grow_lighter():
    colours = gallery.error_map(np.array([[0, 8, 16, 24, gallery.FULL_ERROR, 99]]))
    text = ["#" + bytes(colour).hex() for colour in colours[0]]
    assert text[0] == gallery.ERROR_COLOURS[0]
    assert text[-2] == text[-1] == gallery.ERROR_COLOURS[-1]
    lightness = colours[0, :5] @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > 10).all()


# ------------------------------------------------------------------------------------------- plots


def scatter(*points: Point) -> tuple[Figure, Axes]:
    figure = plots.scatter(points, "parameters", "PSNR (dB)", plots.ON_PAPER)
    return figure, figure.axes[0]


def test_labels_of_crowded_points_keep_clear_of_each_other():
    rng = np.random.default_rng(1)
    points = [
        Point(f"Method-{n}", 10 ** rng.normal(6, 0.2), rng.normal(38, 0.2), n < 3, "")
        for n in range(24)
    ]
    with plots.style():
        figure, axes = scatter(*points)
        renderer = FigureCanvasAgg(figure).get_renderer()
        labels = [text for text in axes.texts if text.get_text()]
        figure.draw(renderer)
        boxes = [Text.get_window_extent(label, renderer) for label in labels]
    assert len(labels) >= 15
    assert {"Method-0", "Method-1", "Method-2"} <= {label.get_text() for label in labels}
    area = axes.get_window_extent(renderer)
    for number, box in enumerate(boxes):
        assert box.count_overlaps(boxes[:number]) == 0
        assert area.x0 <= box.x0
        assert box.x1 <= area.x1


def test_a_plot_of_one_point_has_ticks_and_escapes_its_name():
    point = Point(HOSTILE, 753_204, 36.79, True, HOSTILE)
    with plots.style():
        svg = plots.inline_svg(scatter(point)[0], "plot-0", HOSTILE, [HOSTILE])
    assert "<img" not in svg
    assert svg.count("<title>&lt;img") == 1
    assert 'role="img" aria-label="&lt;img' in svg
    root = ElementTree.fromstring(svg)  # well-formed
    assert len([text for text in root.itertext() if re.fullmatch(r"[\d.]+( [KMG])?", text)]) >= 5


@pytest.mark.parametrize("values", [(1.0,), (0.001, 2.0), (5e5, 1.2e8), (0.07, 99.0)])
def test_both_axes_have_ticks_and_the_values_lie_within_them(values: tuple[float, ...]):
    with plots.style():
        figure, axes = scatter(*(Point("a", x, 30 + x % 1, True, "") for x in values))
        figure.draw_without_rendering()
    for axis, at in ((axes.xaxis, values), (axes.yaxis, [30 + x % 1 for x in values])):
        low, high = axis.get_view_interval()
        assert all(low < value < high for value in at)
        ticks = axis.get_ticklocs()
        assert sum(low <= tick <= high for tick in ticks) >= 3
        assert all(label.get_text() for label in axis.get_ticklabels())


@pytest.mark.parametrize(
    ("low", "high"), [(1.01, 1.2), (0.018, 0.0203), (9.5, 10.4), (1e-9, 1e9), (3.0, 4000.0)]
)
def test_a_logarithmic_axis_has_several_labels_whatever_its_range(low: float, high: float):
    axes = Figure().add_subplot()
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    plots.label_log_axis(axes.yaxis)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert 3 <= len(labels) <= 8
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    ("low", "high"), [(32.82, 32.89), (32.8, 33.1), (30.0, 33.0), (0.01112, 0.01226), (1.1, 1.25)]
)
def test_a_label_is_exactly_its_tick(low: float, high: float, log: bool):
    """Steps of 0.025 with two digits would read 32.83, 32.85, 32.88."""
    axes = Figure().add_subplot()
    axes.set_yscale("log" if log else "linear")
    axes.set_ylim(low, high)
    if log:
        plots.label_log_axis(axes.yaxis)
    else:
        plots.label_linear_axis(axes.yaxis, 4)
    ticks = [float(tick) for tick in axes.yaxis.get_ticklocs()]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(ticks) >= 2
    assert [float(label) for label in labels] == pytest.approx(ticks, rel=1e-9)
    if not log:
        assert len({len(label.partition(".")[2]) for label in labels}) == 1


# -------------------------------------------------------------------------------------------- page


def test_a_single_method_is_not_plotted(tmp_path: Path):
    compared, test_set, images = make(tmp_path, ("one",), "Set2")
    unpublished = replace(compared, published=())
    path = tmp_path / "unpublished.html"
    evaluation_page.write(unpublished, [test_set], images, path, overwrite=False)
    assert 'class="plot"' in path.read_text()
    assert "</svg> published" not in path.read_text()
    alone = replace(unpublished, rows=compared.rows[-1:])
    path = tmp_path / "alone.html"
    evaluation_page.write(alone, [test_set], images, path, overwrite=False)
    assert 'class="plot"' not in path.read_text()


def test_a_report_shows_every_method_on_every_picture(tmp_path: Path):
    text = written(tmp_path, "one", "two")
    assert text.count("<article") == 2
    assert text.count('class="crop"') == 2 * 5  # LR, bicubic, two methods, HR
    assert text.count('class="error"') == 2 * 3
    assert text.count('class="plot"') == 2
    assert text.count("PAPER-A") >= 2
    assert "published (light), not measured here" in text
    assert "</svg> published" in text
    assert "atdsr eval --data &#39;Set2 &amp; more&#39;" in text
    assert "a &lt;very&gt; fast one" in text


def test_the_best_measured_figures_are_bold_and_published_ones_never(tmp_path: Path):
    text = written(tmp_path, "one")
    evaluation, _, _ = make(tmp_path, ["one"])
    best = evaluation.rows[-1]
    bold = re.findall(r"<td><b>([^<]*)</b></td>", text)
    assert bold == [f"{best.psnr:.2f}", f"{best.ssim:.4f}", "0.1000"]


def test_a_report_asks_for_nothing_from_elsewhere(tmp_path: Path):
    text = written(tmp_path, "one")
    assert "default-src 'none'" in text
    for address in re.findall(r'(?:src|href|url|action)\s*[=(]\s*["\']?([^"\')\s>]+)', text):
        assert address.startswith(("data:", "#", "picture.src")), address
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text


def test_names_of_files_are_text(tmp_path: Path):
    name = HOSTILE.replace("/", "")
    text = written(tmp_path, name, dataset=name)
    assert "<img src=x" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;&#34;&#39;&amp;" in text


def test_a_name_that_is_no_text_can_be_written(tmp_path: Path):
    evaluation, test_set, images = make(tmp_path, ["one"])
    rows = tuple(replace(row, dataset="caf\udce9") for row in evaluation.rows)
    for row in rows:
        source = image_path(images, "Set2", "one", row.model)
        target = image_path(images, row.dataset, "one", row.model)
        target.parent.mkdir(exist_ok=True)
        source.rename(target)
    path = tmp_path / "report.html"
    sets = [replace(test_set, name="caf\udce9")]
    evaluation_page.write(replace(evaluation, rows=rows), sets, images, path, overwrite=False)
    assert "caf" in path.read_text("utf-8")


def test_pictures_stand_by_gain(tmp_path: Path):
    evaluation, test_set, _ = make(tmp_path, ["a", "b", "c"])
    (group,) = gallery.Gallery(evaluation, [test_set], tmp_path).groups
    gains = [group.gains[pair.name] for pair in group.pairs]
    assert gains == sorted(gains, reverse=True)
    assert len(set(gains)) == 3


def test_without_bicubic_it_is_made_and_pictures_stand_as_in_the_set(tmp_path: Path):
    evaluation, test_set, images = make(tmp_path, ["b", "a"])
    rows = tuple(row for row in evaluation.rows if row.model != "bicubic")
    path = tmp_path / "report.html"
    evaluation_page.write(replace(evaluation, rows=rows), [test_set], images, path, overwrite=False)
    text = path.read_text("utf-8")
    assert re.findall(r'data-name="(\w+)"', text) == ["b", "a"]
    score = evaluation.rows[0].pictures[0]
    assert f'data-label="bicubic" data-figures="{score.psnr:.2f} / {score.ssim:.4f}"' in text


def test_a_set_that_is_not_given_has_its_figures_only(tmp_path: Path):
    evaluation, _, images = make(tmp_path, ["one"])
    path = tmp_path / "report.html"
    evaluation_page.write(evaluation, [], images, path, overwrite=False)
    text = path.read_text("utf-8")
    assert "<article" not in text
    assert f"{evaluation.rows[-1].psnr:.2f}" in text


def test_a_perfect_picture_has_infinite_decibels(tmp_path: Path):
    evaluation, test_set, images = make(tmp_path, ["one"])
    perfect = evaluation.rows[-1]
    score = replace(perfect.pictures[0], psnr=math.inf, ssim=1.0)
    rows = (*evaluation.rows[:-1], replace(perfect, pictures=(score,)))
    path = tmp_path / "report.html"
    evaluation_page.write(replace(evaluation, rows=rows), [test_set], images, path, overwrite=False)
    text = path.read_text("utf-8")
    assert "<b>∞</b>" in text
    assert "∞ / 1.0000" in text
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text).split("<body>")[1].split("<script>")[0]


def test_a_picture_smaller_than_a_crop_is_shown_whole(tmp_path: Path):
    evaluation, test_set, images = make(tmp_path, ["one"], size=(22, 30))
    path = tmp_path / "report.html"
    evaluation_page.write(evaluation, [test_set], images, path, overwrite=False)
    assert 'width="30" height="22"' in path.read_text("utf-8")


@pytest.mark.parametrize("foreign", [False, True])
def test_a_picture_that_is_missing_or_not_the_scored_one_is_named(tmp_path: Path, foreign: bool):
    evaluation, test_set, images = make(tmp_path, ["one"])
    gone = image_path(images, "Set2", "one", "large")
    gone.unlink()
    if foreign:
        Image.new("RGB", (10, 10)).save(gone)
    path = tmp_path / "report.html"
    with pytest.raises(ReportError, match=re.escape(str(gone))):
        evaluation_page.write(evaluation, [test_set], images, path, overwrite=False)
    assert not path.exists()
    assert not list(tmp_path.glob(".*.part"))


def test_a_report_that_exists_is_kept_unless_told(tmp_path: Path):
    evaluation, test_set, images = make(tmp_path, ["one"])
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(FileError, match="the file exists"):
        evaluation_page.write(evaluation, [test_set], images, path, overwrite=False)
    assert path.read_text() == "mine"
    evaluation_page.write(evaluation, [test_set], images, path, overwrite=True)
    assert path.read_text("utf-8").startswith("<!DOCTYPE html>")


# -------------------------------------------------------------------------------------------- size


def test_pictures_are_read_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    evaluation, test_set, images = make(tmp_path, ["a", "b", "c"])
    loaded: list[str] = []
    load = Pair.load

    def counted(pair: Pair, scale: int):
        loaded.append(pair.name)
        return load(pair, scale)

    monkeypatch.setattr(Pair, "load", counted)
    shares: list[float] = []
    parts = gallery.Gallery(evaluation, [test_set], images, Reporter(shares.append))
    pictures = parts.pictures(parts.groups[0])
    assert loaded == []
    for number in (1, 2, 3):
        assert next(pictures).number == number
        assert len(loaded) == number
    assert list(pictures) == []
    assert shares == [pytest.approx(n / 3) for n in (1, 2, 3)]


@pytest.mark.parametrize(("pictures", "methods"), [(5, 3), (219, 3), (219, 6), (500, 4)])
def test_even_many_pictures_of_noise_stay_within_bounds(
    tmp_path: Path, pictures: int, methods: int
):
    """The worst there is: noise cannot be packed, and photographs are what is reckoned with."""
    height, width = gallery.crop_size(pictures, methods)
    rng = np.random.default_rng(0)
    crop = len(gallery._lossless(rng.integers(0, 256, (height, width, 3), np.uint8)).url)
    error = len(gallery._lossless(gallery.error_map(rng.random((height, width)) * 40)).url)
    assert (
        pictures * ((methods + 1) * (crop + error) + crop * (1 + 1 / SCALE**2))
        < 3 * gallery._BUDGET
    )


# -------------------------------------------------------------------------------------- restoring


@pytest.mark.parametrize("damage", [Damage(25), Damage(quality=10, gray=True)])
def test_pictures_that_were_restored(tmp_path: Path, damage: Damage):
    folder = tmp_path / "Set2"
    folder.mkdir()
    ramp = np.linspace(40, 200, 60).astype(np.uint8)
    Image.fromarray(np.stack(3 * [np.tile(ramp, (48, 1))], axis=2)).save(folder / "a.png")

    def smooth(samples: np.ndarray) -> np.ndarray:
        padded = np.pad(samples, ((2, 2), (2, 2), (0, 0)), mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(0, 1))
        return windows.mean(axis=(-2, -1)).clip(0, 1)

    sets = [testsets.find(folder, 1)[0].to_restore(damage)]
    compared = [methods.identity(), Method("mean", 1, smooth)]
    result = evaluate(compared, sets, images=tmp_path / "out")
    evaluation_page.write(result, sets, tmp_path / "out", tmp_path / "a.html", overwrite=False)
    page = (tmp_path / "a.html").read_text("utf-8")
    gain = result.rows[1].psnr - result.rows[0].psnr
    assert gain > 0.5
    assert f"mean <b>+{gain:.2f} dB</b> over identity" in page
    labels = re.findall(r'data-label="([^"]+)"', page)
    assert labels == ["identity", "mean", "HR"]
    assert ("PSNR-B" in re.findall(r'scope="col">([^<]+)<', page)) == (damage.quality is not None)
    assert f"<title>Set2 {damage}" in page
    assert ">x1<" not in page
