"""The report of an evaluation: what it shows, what it escapes, how large it gets."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atdsr.base import units
from atdsr.base.files import FileError
from atdsr.evaluation import image_path, regions
from atdsr.evaluation.testsets import Pair
from atdsr.reports import evaluation as report
from atdsr.reports.evaluation import ReportError, crops, gallery, plots
from atdsr.reports.evaluation.plots import Axis, Point
from helpers.evaluated import SCALE, make

HOSTILE = "<img src=x onerror=alert(1)>\"'&"


def written(folder: Path, *names: str, dataset: str = "Set2") -> str:
    evaluation, test_set, images = make(folder, names, dataset)
    path = folder / "report.html"
    report.write(evaluation, [test_set], images, path, overwrite=False)
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
    colours = crops.error_map(np.array([[0, 8, 16, 24, crops.FULL_ERROR, 99]]))
    text = ["#" + bytes(colour).hex() for colour in colours[0]]
    assert text[0] == crops.ERROR_COLOURS[0]
    assert text[-2] == text[-1] == crops.ERROR_COLOURS[-1]
    lightness = colours[0, :5] @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > 10).all()


# ------------------------------------------------------------------------------------------- plots


def boxes(svg: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom of each label, for letters as wide as the page's font has them."""
    found = []
    pattern = r'<text class="name \w+" x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">([^<]*)'
    for x, y, anchor, text in re.findall(pattern, svg):
        width = 6.2 * len(text)
        left = float(x) - {"start": 0, "middle": width / 2, "end": width}[anchor]
        found.append((left, float(y) - 9, left + width, float(y) + 2))
    return found


def test_labels_of_crowded_points_keep_clear_of_each_other():
    rng = np.random.default_rng(1)
    points = [
        Point(f"Method-{n}", 10 ** rng.normal(6, 0.2), rng.normal(38, 0.2), n < 3, "")
        for n in range(24)
    ]
    svg = plots.scatter(points, Axis("parameters", units.short_number), "PSNR (dB)", "a plot")
    labels = boxes(svg)
    assert len(labels) >= 15
    assert svg.count('class="name measured"') == 3
    for index, (left, top, right, bottom) in enumerate(labels):
        assert left >= 0
        assert right <= 480
        for other_left, other_top, other_right, other_bottom in labels[:index]:
            assert (
                left >= other_right
                or other_left >= right
                or top >= other_bottom
                or other_top >= bottom
            )


def test_a_plot_of_one_point_has_ticks_and_escapes_its_name():
    point = Point(HOSTILE, 753_204, 36.79, True, HOSTILE)
    svg = plots.scatter([point], Axis("parameters", units.short_number), "PSNR (dB)", HOSTILE)
    assert "<img" not in svg
    assert svg.count('class="tick"') >= 5
    assert svg.count("<circle") == 1


@pytest.mark.parametrize("values", [(1.0,), (0.001, 2.0), (5e5, 1.2e8), (0.07, 99.0)])
def test_ticks_lie_within_the_range_and_the_values_too(values: tuple[float, ...]):
    points = [Point("a", x, 30 + x % 1, True, "") for x in values]
    svg = plots.scatter(points, Axis("x", units.short_number), "y", "name")
    for cx, cy in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', svg):
        assert 46 <= float(cx) <= 466
        assert 24 <= float(cy) <= 286
    assert len(re.findall(r'text-anchor="middle">[\d.]+( [KMG])?</text>', svg)) >= 2


# -------------------------------------------------------------------------------------------- page


def test_a_report_shows_every_method_on_every_picture(tmp_path: Path):
    text = written(tmp_path, "one", "two")
    assert text.count("<article") == 2
    assert text.count('class="crop"') == 2 * 5  # LR, bicubic, two methods, HR
    assert text.count('class="error"') == 2 * 3
    assert text.count('class="plot"') == 2
    assert text.count("PAPER-A") >= 2
    assert "published (light), not measured here" in text
    assert "atdsr eval --data &#x27;Set2 &amp; more&#x27;" in text
    assert "a &lt;very&gt; fast one" in text


def test_the_best_measured_figures_are_bold_and_published_ones_never(tmp_path: Path):
    text = written(tmp_path, "one")
    evaluation, _, _ = make(tmp_path, ["one"])
    best = evaluation.rows[-1]
    bold = re.findall(r"<td><b>([^<]*)</b></td>", text)
    assert bold == [f"{best.psnr_y:.2f}", f"{best.ssim_y:.4f}", "0.1000"]


def test_a_report_asks_for_nothing_from_elsewhere(tmp_path: Path):
    text = written(tmp_path, "one")
    assert "default-src 'none'" in text
    for address in re.findall(r'(?:src|href|url|action)\s*[=(]\s*["\']?([^"\')\s>]+)', text):
        assert address.startswith(("data:", "picture.src")), address
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text


def test_names_of_files_are_text(tmp_path: Path):
    name = HOSTILE.replace("/", "")
    text = written(tmp_path, name, dataset=name)
    assert "<img src=x" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;&amp;" in text


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
    report.write(replace(evaluation, rows=rows), sets, images, path, overwrite=False)
    assert "caf" in path.read_text("utf-8")


def test_pictures_stand_by_gain(tmp_path: Path):
    evaluation, test_set, _ = make(tmp_path, ["a", "b", "c"])
    (group,) = gallery.groups(evaluation, [test_set])
    gains = [group.gains[pair.name] for pair in group.pairs]
    assert gains == sorted(gains, reverse=True)
    assert len(set(gains)) == 3


def test_without_bicubic_it_is_made_and_pictures_stand_as_in_the_set(tmp_path: Path):
    evaluation, test_set, images = make(tmp_path, ["b", "a"])
    rows = tuple(row for row in evaluation.rows if row.model != "bicubic")
    path = tmp_path / "report.html"
    report.write(replace(evaluation, rows=rows), [test_set], images, path, overwrite=False)
    text = path.read_text("utf-8")
    assert re.findall(r'data-name="(\w+)"', text) == ["b", "a"]
    score = evaluation.rows[0].pictures[0]
    assert f'data-label="bicubic" data-figures="{score.psnr_y:.2f} / {score.ssim_y:.4f}"' in text


def test_a_set_that_is_not_given_has_its_figures_only(tmp_path: Path):
    evaluation, _, images = make(tmp_path, ["one"])
    path = tmp_path / "report.html"
    report.write(evaluation, [], images, path, overwrite=False)
    text = path.read_text("utf-8")
    assert "<article" not in text
    assert f"{evaluation.rows[-1].psnr_y:.2f}" in text


def test_a_perfect_picture_has_infinite_decibels(tmp_path: Path):
    evaluation, test_set, images = make(tmp_path, ["one"])
    perfect = evaluation.rows[-1]
    score = replace(perfect.pictures[0], psnr_y=math.inf, ssim_y=1.0)
    rows = (*evaluation.rows[:-1], replace(perfect, pictures=(score,)))
    path = tmp_path / "report.html"
    report.write(replace(evaluation, rows=rows), [test_set], images, path, overwrite=False)
    text = path.read_text("utf-8")
    assert "<b>∞</b>" in text
    assert "∞ / 1.0000" in text
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text).split("<body>")[1].split("<script>")[0]


def test_a_picture_smaller_than_a_crop_is_shown_whole(tmp_path: Path):
    evaluation, test_set, images = make(tmp_path, ["one"], size=(22, 30))
    path = tmp_path / "report.html"
    report.write(evaluation, [test_set], images, path, overwrite=False)
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
        report.write(evaluation, [test_set], images, path, overwrite=False)
    assert not path.exists()
    assert not list(tmp_path.glob(".*.part"))


def test_a_report_that_exists_is_kept_unless_told(tmp_path: Path):
    evaluation, test_set, images = make(tmp_path, ["one"])
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(FileError, match="the file exists"):
        report.write(evaluation, [test_set], images, path, overwrite=False)
    assert path.read_text() == "mine"
    report.write(evaluation, [test_set], images, path, overwrite=True)
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
    parts = gallery.parts(gallery.groups(evaluation, [test_set]), images, shares.append)
    next(parts)
    assert loaded == []
    for number in (1, 2, 3):
        assert "<article" in next(parts)
        assert len(loaded) == number
    list(parts)
    assert shares == [pytest.approx(n / 3) for n in (1, 2, 3)]


@pytest.mark.parametrize(("pictures", "methods"), [(5, 3), (219, 3), (219, 6), (500, 4)])
def test_even_many_pictures_of_noise_stay_within_bounds(
    tmp_path: Path, pictures: int, methods: int
):
    """The worst there is: noise cannot be packed, and photographs are what is reckoned with."""
    height, width = gallery._crop_size(pictures, methods)
    rng = np.random.default_rng(0)
    crop = len(crops.exact(rng.integers(0, 256, (height, width, 3), np.uint8)))
    error = len(crops.exact(crops.error_map(rng.random((height, width)) * 40)))
    assert (
        pictures * ((methods + 1) * (crop + error) + crop * (1 + 1 / SCALE**2))
        < 3 * gallery._BUDGET
    )
