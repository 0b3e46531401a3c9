"""Expected figures: read, compared, and what is none."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from atdsr.evaluation import Evaluation, Row, Score, expected, published, tables
from atdsr.evaluation.expected import Expected, ExpectError
from atdsr.weights import models

SETS = ("Set5", "Set14", "B100", "Urban100", "Manga109")
DOCS = Path(__file__).parents[3] / "docs"


def measured(psnr: float, model: str = "net", dataset: str = "Set5", scale: int = 2) -> Row:
    return Row(model, dataset, scale, 1, (Score("a", 8, 8, psnr, 0.9, 0.1),))


def figures(psnr: float | None, **others: Any) -> Expected:
    row = {"model": "net", "set": "Set5", "scale": 2, "psnr_y": psnr}
    return Expected.model_validate({"format": 1, "rows": [row], **others})


@pytest.mark.parametrize(
    ("psnr", "target", "others", "agrees"),
    [
        (30.0, 30.0, {}, True),
        (30.01, 30.0, {}, True),
        (29.99, 30.0, {}, True),
        (30.0101, 30.0, {}, False),
        (29.9899, 30.0, {}, False),
        (30.4, 30.0, {"tolerance": 0.5}, True),
        (30.0001, 30.0, {"tolerance": 0.0}, False),
        (math.inf, None, {}, True),
        (99.0, None, {}, False),
        (math.inf, 30.0, {}, False),
        (math.nan, 30.0, {}, False),
    ],
)
def test_how_near_is_near_enough(
    psnr: float, target: float | None, others: dict[str, Any], agrees: bool
) -> None:
    verdict = expected.compare(Evaluation((measured(psnr),), ()), figures(target, **others))
    assert (verdict.compared, verdict.missing) == (1, 0)
    assert (not verdict.differing) == agrees
    if not agrees:
        assert verdict.differing[0].startswith("net on Set5, x2: ")


def test_figures_of_other_sets_models_and_scales_are_left_out() -> None:
    rows = (measured(30), measured(20, dataset="Set14"), measured(10, scale=3))
    wanted = [
        {"model": "net", "set": "Set5", "scale": 2, "psnr_y": 30.0, "pictures": []},
        {"model": "net", "set": "Set5", "scale": 3, "psnr_y": 11.0},
        {"model": "net", "set": "B100", "scale": 2, "psnr_y": 1.0},
        {"model": "other", "set": "Set5", "scale": 2, "psnr_y": 1.0},
    ]
    verdict = expected.compare(
        Evaluation(rows, ()), Expected.model_validate({"format": 1, "rows": wanted})
    )
    assert (verdict.compared, verdict.missing) == (2, 2)
    assert verdict.differing == ("net on Set5, x3: 10.0000 dB, expected 11.0000",)
    with pytest.raises(ExpectError, match=r"no expected figure is of .* net on Set5, x2"):
        expected.compare(Evaluation((measured(1, model="mine"),), ()), figures(30))


def test_what_an_evaluation_writes_is_what_it_is_held_to(tmp_path: Path) -> None:
    evaluation = Evaluation((measured(31.23456), measured(math.inf, dataset="Set14")), ())
    tables.write_json(evaluation, tmp_path / "a.json", overwrite=False)
    verdict = expected.compare(evaluation, expected.read(tmp_path / "a.json"))
    assert (verdict.compared, verdict.missing, verdict.differing) == (2, 0, ())


ROW = {"model": "net", "set": "Set5", "scale": 2, "psnr_y": 30.0}


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("", ""),
        ("{", ""),
        ("[" * 100_000, ""),
        ("\x00", ""),
        ("[]", "the whole"),
        ("{}", "format"),
        (json.dumps({"format": 2, "rows": [ROW]}), "format"),
        (json.dumps({"format": 1, "rows": []}), "rows"),
        (json.dumps({"format": 1, "rows": [{**ROW, "psnr_y": "30"}]}), "rows.0.psnr_y"),
        (
            '{"format": 1, "rows": [{"model": "a", "set": "b", "scale": 2, "psnr_y": NaN}]}',
            "rows.0",
        ),
        (json.dumps({"format": 1, "rows": [{"model": "a"}]}), "rows.0.set"),
        (json.dumps({"format": 1, "rows": [ROW], "tolerance": -1}), "tolerance"),
    ],
)
def test_what_holds_no_figures(tmp_path: Path, content: str, place: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ExpectError, match="holds no expected figures") as refusal:
        expected.read(tmp_path / "a.json")
    assert place in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.json").write_bytes(b'{"format": "\xe9"}')
    for path in (tmp_path, tmp_path / "missing.json", tmp_path / "latin.json"):
        with pytest.raises(ExpectError):
            expected.read(path)


def test_the_official_figures_are_the_published_ones() -> None:
    content = expected.read(DOCS / "models" / "official.json")
    assert content.tolerance == 0.01
    assert {(row.model, row.dataset, row.scale): row.psnr for row in content.rows} == {
        (f"official/{row.model.lower()}-x{scale}", row.dataset, scale): row.exact_psnr_y
        for scale in (2, 3, 4)
        for row in published.rows(scale, SETS)
        if row.exact_psnr_y is not None
    }
    assert len(content.rows) == 30


def test_the_figures_of_the_second_generation_are_those_of_its_tables() -> None:
    content = expected.read(DOCS / "models" / "official-v2.json")
    page = (DOCS / "models" / "official.md").read_text("utf-8")
    figures = {(row.model, row.dataset): row.psnr for row in content.rows}
    assert figures == {
        (f"official/{row.model.lower().replace(' ', '-')}-x{scale}", row.dataset): row.psnr
        for scale in (2, 3, 4)
        for row in published.rows(scale, SETS)
        if row.model.endswith(" v2")
    }
    assert len(figures) == len(content.rows) == 30
    for name in {row.model for row in content.rows}:
        cells = (f"{figures[name, dataset]:.2f}" for dataset in SETS)
        assert f"| `{name}` | {' | '.join(cells)} |\n" in page


def test_the_figures_of_what_restores_are_those_of_its_tables() -> None:
    content = expected.read(DOCS / "models" / "official-u.json")
    page = (DOCS / "models" / "official.md").read_text("utf-8")
    by_model: dict[str, list[str]] = {}
    for row in content.rows:
        model = models.find_official(row.model)
        damage = row.dataset.split()[1]
        assert (row.scale, damage) == (1, model.damage)
        (paper,) = (r for r in published.rows(1, [row.dataset]) if r.model == "ATD-U")
        assert row.psnr == paper.psnr
        ssim = "" if paper.ssim is None else f" / {paper.ssim:.4f}"
        by_model.setdefault(row.model, []).append(f"{row.psnr:.2f}{ssim}")
    assert set(by_model) == {model.name for model in models.OFFICIAL if model.damage}
    assert len(content.rows) == 3 * 4 + 7 * 3
    for name, cells in by_model.items():
        assert f"| `{name}` | {' | '.join(cells)} |\n" in page


def test_models_are_listed_with_the_figures_of_the_results() -> None:
    files = (DOCS / "results.json", DOCS / "models" / "atd-light-photo.json")
    rows = [row for file in files for row in expected.read(file).rows]
    measured_here = {(row.model, row.dataset): row.psnr for row in rows}
    for model in models.BUNDLED:
        assert set(model.psnr_y) == set(SETS) - {"Manga109"}
        for dataset, psnr_y in model.psnr_y.items():
            exact = measured_here[model.name, dataset]
            assert exact is not None
            assert psnr_y == round(exact, 2)
