"""A small comparison against its parts: scores, order, records, pictures, tables, JSON."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atdsr import evaluation
from atdsr.base import files
from atdsr.evaluation import (
    Evaluation,
    EvaluationError,
    Method,
    Row,
    Score,
    standard_sets,
    tables,
    testsets,
)
from atdsr.evaluation.published import PublishedRow
from atdsr.evaluation.records import Records
from atdsr.imaging import metrics, resample


def bicubic(name: str = "bicubic", scale: int = 2) -> Method:
    return Method(name, scale, lambda samples: resample.upscale(samples, scale))


class Counting:
    """A method that counts its calls after the warm-up, and stops after some pictures."""

    def __init__(self, until: int | None = None) -> None:
        self.calls = 0
        self.until = until
        self.warm: set[str] = set()

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        if self.calls == self.until:
            raise KeyboardInterrupt
        self.calls += 1
        return resample.upscale(samples, 2)

    def method(self, name: str) -> Method:
        def enlarge(samples: np.ndarray) -> np.ndarray:
            if name not in self.warm:
                self.warm.add(name)
                return resample.upscale(samples, 2)
            return self(samples)

        return Method(name, 2, enlarge, 1000, "weights")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "Set2" / "HR"
    folder.mkdir(parents=True)
    for number, mode in enumerate(("RGB", "L")):
        noise = np.random.default_rng(number).integers(0, 256, (31, 37, 3), np.uint8)
        Image.fromarray(noise).convert(mode).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def sets(folder: Path) -> tuple[testsets.TestSet, ...]:
    return testsets.find(folder, 2)


def without_cost(result: Evaluation) -> list[Row]:
    """The figures that do not depend on the machine."""
    return [
        replace(
            row,
            pictures=tuple(replace(score, seconds=0, peak_bytes=None) for score in row.pictures),
        )
        for row in result.rows
    ]


def test_scores_of_a_folder(folder: Path, sets: tuple[testsets.TestSet, ...]) -> None:
    result = evaluation.evaluate([bicubic(), bicubic("again")], sets)
    assert [(row.model, row.dataset, row.scale) for row in result.rows] == [
        ("bicubic", "Set2", 2),
        ("again", "Set2", 2),
    ]
    row, again = without_cost(result)
    assert row.pictures == again.pictures
    assert [score.name for score in row.pictures] == ["0", "1"]
    for score in row.pictures:
        hr = np.asarray(Image.open(folder / f"{score.name}.png").convert("RGB"))[:30, :36]
        sr = resample.upscale(resample.downscale(hr, 2), 2)
        assert (score.width, score.height) == (36, 30)
        assert score.psnr == metrics.psnr_y(hr, sr, 2)
        assert score.ssim == metrics.ssim_y(hr, sr, 2)
    assert row.psnr == np.mean([score.psnr for score in row.pictures])
    assert row.ssim == np.mean([score.ssim for score in row.pictures])
    assert all(score.seconds > 0 for score in result.rows[0].pictures)
    assert result.machine["torch"]
    assert result.published == ()


def test_means_of_cost() -> None:
    scores = (Score("a", 4, 4, 30, 0.9, 1.0, 100, {"lpips": 0.1}),
              Score("b", 4, 4, 32, 0.7, 3.0, None, {"lpips": 0.3}))  # fmt: skip
    row = Row("m", "s", 2, None, scores)
    assert (row.psnr, row.seconds, row.peak_bytes) == (31, 2, 100)
    assert row.metrics == pytest.approx({"lpips": 0.2})
    assert Row("m", "s", 2, None, scores[1:]).peak_bytes is None


def test_rows_go_by_scale_then_set_then_method(folder: Path) -> None:
    other = folder.parents[1] / "Set3"
    other.mkdir()
    Image.open(folder / "0.png").save(other / "a.png")
    result = evaluation.evaluate(
        [bicubic("b3", 3), bicubic("b2"), bicubic("c2")],
        [*testsets.find(folder, 2), *testsets.find(other, 2)],
    )
    assert [(row.model, row.dataset) for row in result.rows] == [
        ("b2", "Set2"),
        ("c2", "Set2"),
        ("b2", "Set3"),
        ("c2", "Set3"),
        ("b3", "Set2"),
        ("b3", "Set3"),
    ]


def test_a_set_of_one_scale_is_for_methods_of_that_scale(
    sets: tuple[testsets.TestSet, ...],
) -> None:
    of_2, of_3 = replace(sets[0], scale=2), replace(sets[0], scale=3)
    result = evaluation.evaluate([bicubic("b2"), bicubic("b3", 3)], [of_3, of_2])
    assert [(row.model, row.scale) for row in result.rows] == [("b2", 2), ("b3", 3)]
    with pytest.raises(EvaluationError, match="no test set for scale 3"):
        evaluation.evaluate([bicubic("b2"), bicubic("b3", 3)], [of_2])


def standard_set(name: str, pictures: int, digests: dict[int, str]) -> standard_sets.StandardSet:
    return standard_sets.StandardSet(name, pictures, "a paper", "https://example.org", digests)


def test_published_figures_of_the_same_sets(
    sets: tuple[testsets.TestSet, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = replace(sets[0], name="Set5")
    count = len(known.pairs)
    digest = standard_sets.set_digest(
        standard_sets.picture_digest(pair.load_hr(2)) for pair in known.pairs
    )
    papers = [standard_set("Set5", count, {2: digest})]
    monkeypatch.setattr(standard_sets, "standard_sets", lambda: papers)
    result = evaluation.evaluate([bicubic()], [known, *sets])
    assert {(row.dataset, row.scale) for row in result.published} == {("Set5", 2)}
    assert "ATD-light" in {row.model for row in result.published}
    assert result.notes == []
    # also if all scores are recorded and no picture is enlarged
    with Records(tmp_path / "records") as records:
        for _ in range(2):
            again = evaluation.evaluate([bicubic()], [known], records=records)
            assert again.published == result.published
    # other pixels, another number of pictures
    for other in (standard_set("Set5", count, {2: "0" * 64}), standard_set("Set5", 9, {})):
        papers[:] = [other]
        result = evaluation.evaluate([bicubic()], [known, *sets])
        assert result.published == ()
        assert result.unlike_papers == ("Set5",)
        assert "Your Set5 does not hold" in result.notes[0]
        assert result.notes[0] in tables.to_markdown(result)
    papers[:] = [standard_set("Set5", count, {})]  # no digest is known
    assert evaluation.evaluate([bicubic()], [known]).published != ()


def test_what_only_the_first_call_does_is_not_measured(
    sets: tuple[testsets.TestSet, ...],
) -> None:
    method = replace(bicubic(), parameters=1000)
    shapes: list[tuple[int, ...]] = []

    def slow_at_first(lr: np.ndarray) -> np.ndarray:
        if not shapes:
            time.sleep(0.5)
        shapes.append(lr.shape)
        return method.enlarge(lr)

    rows = evaluation.evaluate([replace(method, enlarge=slow_at_first)], sets).rows
    assert len(shapes) == 1 + sum(len(each.pairs) for each in sets)
    assert max(score.seconds for row in rows for score in row.pictures) < 0.4


def test_an_equal_picture_has_infinite_psnr(folder: Path) -> None:
    hr = np.asarray(Image.open(folder / "0.png"))[:30, :36]
    perfect = Method("oracle", 2, lambda _: hr)
    (folder / "1.png").unlink()
    result = evaluation.evaluate([perfect], testsets.find(folder, 2))
    assert result.rows[0].psnr == float("inf")
    (row,) = tables.to_json(result)["rows"]
    assert row["psnr_y"] is None
    assert row["pictures"][0]["psnr_y"] is None
    assert row["ssim_y"] == pytest.approx(1)


def test_more_metrics(sets: tuple[testsets.TestSet, ...]) -> None:
    def brightness(hr: np.ndarray, sr: np.ndarray) -> float:
        return float(abs(hr.mean() - sr.mean()))

    result = evaluation.evaluate([bicubic()], sets, metrics={"brightness": brightness})
    (row,) = result.rows
    assert set(row.metrics) == {"brightness"}
    assert "BRIGHTNESS" in tables.to_markdown(result)


# -------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("until", [0, 1, 2, 3])
def test_interrupted_and_gone_on_with(
    tmp_path: Path, sets: tuple[testsets.TestSet, ...], until: int
) -> None:
    whole = evaluation.evaluate([Counting().method("a"), Counting().method("b")], sets)
    stopping = Counting(until)
    methods = [stopping.method("a"), stopping.method("b")]
    with Records(tmp_path / "kept") as records, pytest.raises(KeyboardInterrupt):
        evaluation.evaluate(methods, sets, records=records)
    going_on = Counting()
    methods = [going_on.method("a"), going_on.method("b")]
    with Records(tmp_path / "kept") as records:
        assert evaluation.count_recorded(methods, sets, records) == (until, 4)
        result = evaluation.evaluate(methods, sets, records=records)
    assert going_on.calls == 4 - until
    assert without_cost(result) == without_cost(whole)


def test_a_record_without_its_picture_is_done_again(
    tmp_path: Path, sets: tuple[testsets.TestSet, ...]
) -> None:
    counting = Counting()
    methods = [counting.method("a")]
    images = tmp_path / "images"
    with Records(tmp_path / "kept") as records:
        evaluation.evaluate(methods, sets, records=records, images=images)
        path = evaluation.image_path(images, "Set2", "1", "a")
        path.unlink()
        evaluation.evaluate(methods, sets, records=records, images=images)
    assert counting.calls == 3 + 1  # to warm up once more
    assert path.is_file()


def test_identity_is_of_methods_files_and_metrics(
    folder: Path, sets: tuple[testsets.TestSet, ...]
) -> None:
    def name(method: Method, *metrics: str) -> str:
        return evaluation.evaluation_id([method], testsets.find(folder, 2), metrics)

    first = name(bicubic())
    assert name(bicubic()) == first
    others = {
        name(bicubic("other")),
        name(bicubic(scale=3)),
        name(replace(bicubic(), identity="other weights")),
        name(bicubic(), "lpips"),
    }
    Image.open(folder / "1.png").save(folder / "2.png")
    others.add(name(bicubic()))
    assert len(others | {first}) == 6


# -------------------------------------------------------------------------------------- pictures


def test_pictures_are_kept(tmp_path: Path, sets: tuple[testsets.TestSet, ...]) -> None:
    evaluation.evaluate([bicubic()], sets, images=tmp_path / "out")
    paths = sorted((tmp_path / "out").rglob("*.png"))
    assert paths == [tmp_path / "out/Set2/0_bicubic.png", tmp_path / "out/Set2/1_bicubic.png"]
    hr, lr = sets[0].pairs[0].load(2)
    made = np.asarray(Image.open(paths[0]))
    assert np.array_equal(made, resample.upscale(lr, 2))
    assert made.shape == hr.shape


def test_existing_pictures_are_kept_unless_told(
    tmp_path: Path, sets: tuple[testsets.TestSet, ...]
) -> None:
    mine = tmp_path / "out/Set2/1_bicubic.png"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    counting = Counting()
    with pytest.raises(files.FileError, match=r"1_bicubic\.png: the file exists"):
        evaluation.evaluate([counting.method("bicubic")], sets, images=tmp_path / "out")
    assert counting.calls == 0
    assert mine.read_text() == "mine"
    evaluation.evaluate([counting.method("bicubic")], sets, images=tmp_path / "out", overwrite=True)
    with Image.open(mine) as image:
        assert image.size == (36, 30)


# ---------------------------------------------------------------------------------------- errors


def failing(error: Exception) -> Method:
    def enlarge(samples: np.ndarray) -> np.ndarray:
        raise error

    return Method("broken", 2, enlarge)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (failing(files.FileError("too bad.")), r"0\.png, enlarged by broken: too bad\."),
        (failing(MemoryError()), r"0\.png is too large for the memory .* with broken"),
        (
            Method("x3", 2, lambda samples: resample.upscale(samples, 3)),
            r"0\.png, enlarged by x3: it made 54x45 where 36x30 are due",
        ),
    ],
)
def test_a_method_that_fails(
    sets: tuple[testsets.TestSet, ...], method: Method, words: str
) -> None:
    with pytest.raises(EvaluationError, match=words):
        evaluation.evaluate([bicubic(), method], sets)


def test_a_picture_too_small_to_be_scored(folder: Path) -> None:
    Image.new("RGB", (12, 12)).save(folder / "0.png")
    with pytest.raises(EvaluationError, match=r"0\.png, enlarged by bicubic: SSIM needs at least"):
        evaluation.evaluate([bicubic()], testsets.find(folder, 2))


def test_two_of_one_name(sets: tuple[testsets.TestSet, ...]) -> None:
    with pytest.raises(EvaluationError, match="two of these methods have one name"):
        evaluation.evaluate([bicubic(), bicubic()], sets)
    with pytest.raises(EvaluationError, match="two of these test sets have one name: Set2, Set2"):
        evaluation.evaluate([bicubic()], [*sets, *sets])


# ---------------------------------------------------------------------------------------- tables


@pytest.fixture
def small() -> Evaluation:
    score = Score("baby", 36, 30, 30.125, 0.9, 0.5, 2**20)
    return Evaluation(
        rows=(
            Row("bicubic", "Set5", 2, None, (score,)),
            Row("bicubic", "my|set", 2, None, (score,)),
            Row("net", "Set5", 2, 1234, (score, replace(score, name="bird", seconds=1.5))),
            Row("net", "my|set", 2, 1234, (score,)),
            Row("net4", "Set5", 4, 99, (score,)),
        ),
        published=(
            PublishedRow("ATD", "Set5", 2, 20_100_000, "classical", 38.61, 0.9629, 38.6115),
            PublishedRow("IPT", "Set5", 2, 115_000_000, "classical", 38.37),
        ),
        machine={"cpu": "abacus"},
    )


def test_a_table_has_a_line_for_each_method(small: Evaluation) -> None:
    first, second = tables.tables(small)
    assert first.header == ("method", "parameters", "Set5", "my|set", "seconds", "memory")
    assert first.measured[1] == (
        "net", "1,234", "30.12 / 0.9000", "30.12 / 0.9000", "0.83", "1.0 MiB"
    )  # fmt: skip
    assert first.published[0] == ("ATD", "20,100,000", "38.6115 / 0.9629", "", "", "")
    assert first.published[1][2] == "38.37"
    assert (first.task, second.task) == ("x2", "x4")
    assert second.published == ()


def test_markdown(small: Evaluation, tmp_path: Path) -> None:
    tables.write_markdown(small, tmp_path / "table.md", overwrite=False)
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert "| bicubic |  | 30.12 / 0.9000 | 30.12 / 0.9000 | 0.50 | 1.0 MiB |" in lines
    assert "| ATD | 20,100,000 | 38.6115 / 0.9629 |  |" in lines
    assert all(line.count("|") in (5, 7, 6) for line in lines if line.startswith("|"))
    assert "cpu abacus" in lines[-1]


def test_names_in_markdown_are_words(small: Evaluation) -> None:
    hostile = "<img src=x>|`a`\u202e*b*"
    rows = tuple(replace(row, model=hostile, dataset=hostile) for row in small.rows[:1])
    papers = tuple(replace(row, dataset=hostile) for row in small.published)
    text = tables.to_markdown(replace(small, rows=rows, published=papers, machine={"cpu": hostile}))
    words = r"&lt;img src=x&gt;&#124;\`a\`\\u202e\*b\*"
    assert text.count(words) == 4  # two headers, a method, the machine
    assert "<" not in text
    assert "\u202e" not in text


def test_json_has_the_documented_keys(small: Evaluation, tmp_path: Path) -> None:
    tables.write_json(small, tmp_path / "all.json", overwrite=False)
    content = json.loads((tmp_path / "all.json").read_text())
    assert list(content) == ["format", "atdsr", "machine", "rows", "published"]
    assert content["format"] == 1
    row = content["rows"][2]
    assert list(row) == [
        "model", "set", "scale", "parameters",
        "psnr_y", "ssim_y", "seconds", "peak_bytes", "metrics", "pictures",
    ]  # fmt: skip
    assert list(row["pictures"][0]) == [
        "name", "width", "height", "psnr_y", "ssim_y", "seconds", "peak_bytes", "metrics",
    ]  # fmt: skip
    assert (row["model"], row["set"], row["scale"], row["seconds"]) == ("net", "Set5", 2, 1.0)
    assert content["published"][0] == {
        "model": "ATD", "set": "Set5", "scale": 2, "group": "classical",
        "parameters": 20_100_000, "psnr_y": 38.61, "ssim_y": 0.9629, "exact_psnr_y": 38.6115,
    }  # fmt: skip


@pytest.mark.parametrize("write", [tables.write_json, tables.write_markdown])
def test_an_existing_table_is_kept_unless_told(
    small: Evaluation, tmp_path: Path, write: Callable[..., None]
) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(files.FileError, match="mine: the file exists"):
        write(small, tmp_path / "mine", overwrite=False)
    assert (tmp_path / "mine").read_text() == "mine"
    write(small, tmp_path / "mine", overwrite=True)
    assert "net4" in (tmp_path / "mine").read_text()


def test_a_picture_by_an_official_model_lies_beside_the_others() -> None:
    path = evaluation.image_path(Path("a"), "Set5", "baby", "official/atd-x2")
    assert path == Path("a/Set5/baby_official-atd-x2.png")
