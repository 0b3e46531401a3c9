"""Networks that restore, measured: what they are given, which sets they take, what is scored."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atdsr import evaluation
from atdsr.datasets.pairs import read_rgb8
from atdsr.evaluation import (
    Evaluation,
    EvaluationError,
    Method,
    expected,
    methods,
    published,
    tables,
    testsets,
)
from atdsr.evaluation.damage import Damage, parse
from atdsr.evaluation.methods import MethodError
from atdsr.imaging import metrics
from atdsr.inference.config import InferenceConfig
from atdsr.inference.upscaler import Upscaler
from atdsr.network.config import ATDUConfig, NetworkConfig
from atdsr.weights import Weights, models, official_state_dict, write_weights
from atdsr.weights.models import OfficialModel
from helpers.networks import TINY, TINY_U, lively
from helpers.training_runs import learnable

CPU = InferenceConfig(device="cpu", tile="off")
GRAY = replace(TINY_U, channels=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set of two colour pictures, one gray one, and odd sizes."""
    path = tmp_path / "Set12"
    path.mkdir()
    for number, mode in enumerate(("RGB", "RGB", "L")):
        picture = Image.fromarray(learnable(number, 33 + number, 46)).convert(mode)
        picture.save(path / f"{number}.png")
    return path


def weights(path: Path, config: NetworkConfig = TINY_U) -> str:
    write_weights(Weights(config, lively(config).state_dict()), path)
    return str(path)


def to_restore(folder: Path, *damages: str) -> list[testsets.TestSet]:
    (found,) = testsets.find(folder, 1)
    return [found.to_restore(parse(text) or Damage()) for text in damages]


def luma(rgb: np.ndarray) -> np.ndarray:
    """Full-range luma of 8 bits, which is OpenCV's but for ties."""
    return np.floor(rgb @ [0.299, 0.587, 0.114] + 0.5)


# --------------------------------------------------------------------------- what is to be restored


def test_gray_is_the_luma_of_a_gray_file(folder: Path) -> None:
    (given,) = to_restore(folder, "gray+noise25")
    assert given.name == "Set12 gray+noise25"
    for pair in given.pairs:
        original, floats = pair.load(1)
        rgb = read_rgb8(pair.hr)
        assert original.shape == floats.shape == (*rgb.shape[:2], 1)
        assert np.abs(original[..., 0] - luma(rgb)).max() <= 1
        assert (original[..., 0] == luma(rgb)).mean() > 0.99
        assert np.array_equal(floats, Damage(25).to_restore(original, "any name"))


def test_gray_of_urban100_is_matlabs_y_where_jpeg_is_removed(folder: Path) -> None:
    folder = folder.rename(folder.with_name("Urban100"))
    jpeg, noise, colour = to_restore(folder, "gray+jpeg10", "gray+noise25", "jpeg10")
    rgb = read_rgb8(jpeg.pairs[0].hr)
    assert np.array_equal(jpeg.pairs[0].load(1)[0][..., 0], np.rint(metrics.y_channel(rgb)))
    assert np.abs(noise.pairs[0].load(1)[0][..., 0] - luma(rgb)).max() <= 1
    assert np.array_equal(colour.pairs[0].load(1)[0], rgb)


def test_pictures_to_restore_may_come_from_a_folder(folder: Path, tmp_path: Path) -> None:
    noisy = tmp_path / "noisy"
    noisy.mkdir()
    for path in folder.iterdir():
        Image.fromarray(255 - read_rgb8(path)).save(noisy / path.name)
    (found,) = testsets.find(folder, 1, noisy)
    original, floats = found.pairs[0].load(1)
    assert np.array_equal(floats, (255 - original) / np.float32(255))
    original, floats = found.to_restore(Damage(gray=True)).pairs[0].load(1)
    assert original.shape == floats.shape == (33, 46, 1)


# ---------------------------------------------------------------------------------- the protocol


def plain_figures(original: np.ndarray, restored: np.ndarray) -> tuple[float, float, float]:
    """PSNR, and SSIM and PSNR-B as means over channels, of 8 bits and of floats in [0, 1]."""
    truth, result = original.astype(np.float64), 255 * restored.clip(0, 1).astype(np.float64)
    psnr = 10 * np.log10(255**2 / ((truth - result) ** 2).mean())
    pairs = list(zip(np.moveaxis(truth, 2, 0), np.moveaxis(result, 2, 0), strict=True))
    ssim = np.mean([metrics.ssim(a, b) for a, b in pairs])
    psnr_b = np.mean([metrics.psnr_b(a, b) for a, b in pairs])
    return float(psnr), float(ssim), float(psnr_b)


@pytest.mark.parametrize("damage", ["noise50", "gray+noise15", "jpeg10", "gray+jpeg40"])
def test_figures_are_of_floats_without_border(folder: Path, tmp_path: Path, damage: str) -> None:
    config = GRAY if damage.startswith("gray") else TINY_U
    name = weights(tmp_path / "mine.safetensors", config)
    compared = methods.named([name], config=CPU, degrade=[parse(damage)])
    assert [(method.name, method.scale) for method in compared] == [("identity", 1), ("mine", 1)]
    (given,) = to_restore(folder, damage)
    images = tmp_path / "images"
    result = evaluation.evaluate(compared, [given], images=images)
    identity, mine = result.rows
    upscaler = Upscaler(lively(config), device="cpu")
    for number, pair in enumerate(given.pairs):
        original, floats = pair.load(1)
        restored = upscaler(floats)
        assert restored.dtype == np.float32
        for row, made in ((identity, floats), (mine, restored)):
            psnr, ssim, psnr_b = plain_figures(original, made)
            score = row.pictures[number]
            assert (score.width, score.height) == (46, 33 + number)
            assert score.psnr == pytest.approx(psnr, abs=1e-9)
            assert score.ssim == pytest.approx(ssim, abs=1e-9)
            if "jpeg" in damage:
                assert score.psnr_b == pytest.approx(psnr_b, abs=1e-9)
            else:
                assert score.psnr_b is None
        saved = evaluation.image_path(images, given.name, pair.name, "mine")
        samples = np.asarray(Image.open(saved)).reshape(original.shape)
        assert np.array_equal(samples, np.floor(restored * np.float32(255) + np.float32(0.5)))


def test_noise_beyond_black_and_white_reaches_the_network(folder: Path) -> None:
    seen: list[np.ndarray] = []

    def keep(samples: np.ndarray) -> np.ndarray:
        seen.append(samples)
        return samples

    evaluation.evaluate([Method("keep", 1, keep)], to_restore(folder, "noise50"))
    assert min(samples.min() for samples in seen) < 0
    assert max(samples.max() for samples in seen) > 1


def test_the_noise_of_the_identity_is_20_17_db_before_it_is_clamped(folder: Path) -> None:
    original, floats = to_restore(folder, "noise25")[0].pairs[0].load(1)
    error = np.square(original / 255 - floats.astype(np.float64)).mean()
    assert -10 * np.log10(error) == pytest.approx(20 * np.log10(255 / 25), abs=0.15)
    row = evaluation.evaluate([methods.identity()], to_restore(folder, "noise25")).rows[0]
    assert row.pictures[0].psnr > -10 * np.log10(error)  # clamping takes some of it away


def test_more_metrics_see_rgb_of_8_bits(folder: Path) -> None:
    shapes = []

    def metric(hr: np.ndarray, sr: np.ndarray) -> float:
        shapes.append((hr.shape, sr.shape, hr.dtype, sr.dtype))
        return 0.5

    evaluation.evaluate(
        [methods.identity()], to_restore(folder, "gray+jpeg10"), metrics={"lpips": metric}
    )
    assert shapes[0] == ((33, 46, 3), (33, 46, 3), np.uint8, np.uint8)


# ----------------------------------------------------------------------------- methods and sets


def test_official_networks_know_what_they_remove() -> None:
    damages = {m.name: parse(m.damage) for m in models.OFFICIAL if m.damage}
    assert len(damages) == 10
    for name, damage in damages.items():
        assert damage is not None
        config = models.find(name).config
        assert isinstance(config, ATDUConfig)
        assert config.channels == (1 if damage.gray else 3)
        assert name.rsplit("-", 1)[1].lstrip("q") == str(damage.quality or damage.noise)
        assert ("jpeg" in name) == (damage.quality is not None)


def test_a_named_model_brings_what_it_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = OfficialModel(
        name="official/tiny-u",
        config=GRAY,
        file="tiny_u.pth",
        parameters=1,
        data="noise",
        damage="gray+jpeg10",
    )
    monkeypatch.setattr(models, "OFFICIAL", (model,))
    monkeypatch.setenv("ATDSR_MODELS", str(tmp_path / "store"))
    sets = {
        key: official_state_dict(Weights(GRAY, lively(GRAY, seed).state_dict()))
        for seed, key in enumerate(("params_ema", "params"))
    }
    torch.save(sets, tmp_path / model.file)
    models.add(tmp_path / model.file, model.name)
    _, own = methods.named([model.name], config=CPU)
    assert own.damages == (Damage(quality=10, gray=True),)
    _, other = methods.named([model.name], config=CPU, degrade=[Damage(25)])
    assert other.damages == (Damage(25, gray=True),)
    _, raw = methods.named([model.name], config=CPU, prefer="params")
    assert raw.identity != own.identity  # so that records are not mixed up
    samples = np.full((20, 30, 1), 0.5, np.float32)
    for method, seed in ((own, 0), (raw, 1)):
        expected = Upscaler(lively(GRAY, seed), device="cpu")(samples)
        assert np.array_equal(method.enlarge(samples), expected)


def test_each_method_is_measured_on_what_it_takes(folder: Path, tmp_path: Path) -> None:
    names = [
        weights(tmp_path / "colour.safetensors"),
        weights(tmp_path / "gray.safetensors", GRAY),
        weights(tmp_path / "x2.safetensors", TINY),
    ]
    compared = methods.named(names, config=CPU, degrade=[Damage(25), Damage(quality=10, gray=True)])
    assert [(method.name, method.scale) for method in compared] == [
        *(("bicubic", 2), ("identity", 1)),
        *(("colour", 1), ("gray", 1), ("x2", 2)),
    ]
    assert [method.damages for method in compared[2:]] == [
        (Damage(25), Damage(quality=10, gray=True)),
        (Damage(25, gray=True), Damage(quality=10, gray=True)),
        None,
    ]
    sets = [
        *testsets.find(folder, 2),
        *to_restore(folder, "noise25", "gray+noise25", "gray+jpeg10"),
    ]
    result = evaluation.evaluate(compared, sets)
    rows = [(row.model, row.dataset.removeprefix("Set12").strip()) for row in result.rows]
    assert sorted(rows) == sorted(
        [
            *(("bicubic", ""), ("x2", "")),
            *(("identity", "noise25"), ("colour", "noise25")),
            *(("identity", "gray+noise25"), ("gray", "gray+noise25")),
            *(("identity", "gray+jpeg10"), ("colour", "gray+jpeg10"), ("gray", "gray+jpeg10")),
        ]
    )
    assert [table.title for table in tables.tables(result)] == [
        "noise, colour: PSNR / SSIM",
        "noise, gray: PSNR / SSIM",
        "JPEG, gray: PSNR / SSIM / PSNR-B",
        "x2: PSNR-Y / SSIM-Y",
    ]


def test_what_nobody_can_be_measured_on(folder: Path, tmp_path: Path) -> None:
    name = weights(tmp_path / "colour.safetensors")
    for wanted in (name, "identity"):
        with pytest.raises(
            MethodError, match=r"say what its pictures suffer from, as in --degrade"
        ):
            methods.named([wanted], config=CPU)
    with pytest.raises(MethodError, match=r"colour\.safetensors restores, not by 3"):
        methods.named([name], 3, CPU, degrade=[Damage(25)])
    with pytest.raises(MethodError, match=r"restores, not by 2; name another network"):
        methods.teacher(name, 2, "cpu")
    compared = methods.named([name], config=CPU, degrade=[Damage(25)])
    for sets in (testsets.find(folder, 1), to_restore(folder, "noise15")):
        with pytest.raises(EvaluationError, match="there is no test set to restore"):
            evaluation.evaluate(compared, sets)


def test_a_picture_of_one_block_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    Image.new("L", (15, 40)).save(tmp_path / "set" / "a.png")
    with pytest.raises(EvaluationError, match=r"a\.png, restored by identity: PSNR-B needs"):
        evaluation.evaluate([methods.identity()], to_restore(tmp_path / "set", "gray+jpeg10"))


# ------------------------------------------------------------------------------ published figures


def test_published_figures_stand_beside_the_sets_of_papers(folder: Path) -> None:
    for number in range(3, 12):
        Image.fromarray(learnable(number, 20, 30)).save(folder / f"{number}.png")
    sets = to_restore(folder, "gray+noise25", "noise25")
    result = evaluation.evaluate([methods.identity()], sets)
    assert {(row.model, row.dataset, row.psnr) for row in result.published} == {
        ("DRUNet", "Set12 gray+noise25", 30.94),
        ("SwinIR", "Set12 gray+noise25", 31.01),
        ("Restormer", "Set12 gray+noise25", 31.08),
        ("Xformer", "Set12 gray+noise25", 31.16),
        ("ATD-U", "Set12 gray+noise25", 31.13),
    }
    gray, colour = tables.tables(result)
    assert gray.published[-1] == ("ATD-U", "24,900,000", "31.13", "", "")
    assert gray.published[0][:2] == ("DRUNet", "")
    assert not colour.published
    (folder / "0.png").unlink()
    fewer = evaluation.evaluate([methods.identity()], to_restore(folder, "gray+noise25"))
    assert not fewer.published
    assert fewer.unlike_papers == ("Set12",)


def test_rows_of_papers_with_traces_of_jpeg_have_ssim() -> None:
    rows = {row.model: row for row in published.rows(1, ["LIVE1 gray+jpeg20"])}
    assert set(rows) == {"FBCNN", "SwinIR", "ATD-U"}
    assert (rows["ATD-U"].psnr, rows["ATD-U"].ssim) == (32.29, 0.8917)
    assert rows["ATD-U"].group == "restoring"


def test_json_says_what_is_not_on_y(folder: Path, tmp_path: Path) -> None:
    result = evaluation.evaluate([methods.identity()], to_restore(folder, "gray+jpeg10"))
    tables.write_json(result, tmp_path / "a.json", overwrite=False)
    (row,) = json.loads((tmp_path / "a.json").read_text())["rows"]
    assert (row["set"], row["scale"]) == ("Set12 gray+jpeg10", 1)
    for figures in (row, row["pictures"][0]):
        assert {"psnr", "ssim", "psnr_b"} < set(figures)
        assert not {"psnr_y", "ssim_y"} & set(figures)
    verdict = expected.compare(result, expected.read(tmp_path / "a.json"))
    assert (verdict.compared, verdict.differing) == (1, ())
    off = Evaluation(tuple(replace(each, model="other") for each in result.rows))
    with pytest.raises(expected.ExpectError, match=r"of identity on Set12 gray\+jpeg10\."):
        expected.compare(off, expected.read(tmp_path / "a.json"))
