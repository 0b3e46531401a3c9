"""Recipe files."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from atdsr.datasets import degradations
from atdsr.datasets.degradations.config import Jpeg, Noise
from atdsr.network.config import (
    ATDConfig,
    ATDUConfig,
    atd,
    atd_light,
    atd_light_v2,
    atd_u,
    atd_v2,
)
from atdsr.training import TrainConfig, recipes, schedule_checks
from atdsr.training.recipes import RecipeError
from atdsr.training.recipes.schema import NetworkFields, RestorerFields
from atdsr.weights import models, read_weights
from helpers.networks import ROOT, TINY, TINY_U

GOOD = "model: atd-light\nscale: 3\ndata: {train: sets/a}\niterations: 10\n"
TINY_MODEL = (
    "{width: 12, depths: [2, 2], heads: [2, 2], category_size: 256, dictionary_size: 8, "
    "reduced_width: 4, ffn_kernel: 3, ffn_ratio: 1, head: pixelshuffledirect}"
)

Write = Callable[..., Path]


def degraded(degradation: str) -> str:
    return GOOD.replace("{train: sets/a}", f"{{train: sets/a, degradation: {degradation}}}")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, name: str = "recipe.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_recipe(write: Write) -> None:
    text = "optim: {name: muon, lr: 2e-4}\nschedule:\n  milestones: [5, 8]\nvalidate: {every: 5}\n"
    settings = recipes.load(write(GOOD + text))
    assert settings.network == atd_light(3)
    assert settings.name == "recipe"
    assert settings.output == Path("experiments/recipe")
    assert settings.data.train == Path("sets/a")
    assert settings.optim.lr == 2e-4
    assert settings.optim.name == "muon"
    assert settings.schedule.milestones == (5, 8)
    assert settings.validation.every == 5
    assert settings.loss.kind == "l1"
    assert recipes.load(write(GOOD.replace("atd-light", "atd"))).network == atd(3)
    named = recipes.load(write(GOOD + "name: mine\n"))
    assert (named.name, named.output) == ("mine", Path("experiments/mine"))
    assert recipes.load(write(GOOD + "output: here\n")).output == Path("here")


def test_a_degradation(write: Write) -> None:
    config = recipes.load(write(degraded("web")))
    assert config.data.degradation == "web"
    assert config.data.degradation_at(3) == degradations.preset("web", 3)
    text = """{operations: [{kind: blur, kernels: {iso: 1, sinc: 2}}, {kind: shuffle, operations: [
        {kind: resize, relative_to: current, factor: [0.3, 0.7], kernels: {area: 1}},
        {kind: choice, weights: [2, 1], operations: [{kind: jpeg}, {kind: webp}]}]}]}"""
    given = recipes.load(write(degraded(" ".join(text.split()))))
    degradation = given.data.degradation_at(3)
    assert degradation is not None
    assert [operation.kind for operation in degradation.operations] == ["blur", "shuffle"]
    assert recipes.load(write(recipes.dump(given))) == given
    assert recipes.load(write(GOOD)).data.degradation_at(3) is None


def test_a_degradation_by_the_name_of_its_recipe(write: Write) -> None:
    assert recipes.degradation("bsrgan") == (degradations.preset("bsrgan", 2), 2)
    assert recipes.degradation("web", 4) == (degradations.preset("web", 4), 4)
    path = str(write(degraded("realesrgan")))
    assert recipes.degradation(path) == (degradations.preset("realesrgan", 3), 3)
    for source, sentence in (
        (str(write(GOOD)), r"has no data\.degradation"),
        ("wep", r"'wep' is neither a degradation \(web, bsrgan, realesrgan\) nor a recipe"),
        ("missing.yaml", r"missing\.yaml"),
    ):
        with pytest.raises(RecipeError, match=sentence):
            recipes.degradation(source)


def test_a_network_by_its_fields(write: Write) -> None:
    settings = recipes.load(
        write(GOOD.replace("atd-light", TINY_MODEL).replace("scale: 3", "scale: 2"))
    )
    assert settings.network == TINY
    fields = {field.name for field in dataclasses.fields(ATDConfig)} - {"scale"}
    assert set(NetworkFields.model_fields) == fields
    fields = {field.name for field in dataclasses.fields(ATDUConfig)}
    assert set(RestorerFields.model_fields) - {"network"} == fields


RESTORE = (
    "model: atd-u-gray\ndata: {train: sets/a, degradation: {operations: [{kind: jpeg}]}}\n"
    "iterations: 10\n"
)
TINY_RESTORER = (
    "{network: ATD-U, channels: 3, width: 8, depths: [2, 1, 1, 1], heads: [1, 2, 2, 2], "
    "windows: [16, 8, 8, 8], code_widths: [2, 3, 3, 3], reduced_widths: [2, 4, 4, 4], "
    "category_size: 128, dictionary_size: 10, ffn_kernel: 3, ffn_ratio: 1.5}"
)


def test_a_network_that_restores(write: Write) -> None:
    settings = recipes.load(write(RESTORE))
    assert (settings.network, settings.channels) == (atd_u(1), 1)
    assert recipes.load(write(RESTORE + "scale: 1\n")) == settings
    color = recipes.load(write(RESTORE.replace("gray", "color"))).network
    assert color == atd_u(3)
    tiny = recipes.load(write(RESTORE.replace("atd-u-gray", TINY_RESTORER)))
    assert tiny.network == TINY_U
    assert recipes.load(write(recipes.dump(tiny))) == tiny
    assert "model: atd-u-gray" in recipes.dump(settings).splitlines()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (RESTORE + "scale: 2\n", "scale is 2; an ATD-U restores"),
        (RESTORE.replace(", degradation: {operations: [{kind: jpeg}]}", ""), "an ATD-U restores"),
        (RESTORE.replace("train: sets/a", "train: sets/a, teacher: b"), r"data\.teacher makes"),
        (
            RESTORE.replace("train: sets/a", "train: sets/a, candidates: 2"),
            r"data\.candidates weig",
        ),
        (RESTORE + "validate: {sets: [{name: a, hr: b, lr: c}]}\n", "has lr; for an ATD-U"),
        (RESTORE.replace("gray", "grey"), "model is 'atd-u-grey'; it is atd or .* or atd-u-gray"),
        (
            RESTORE.replace("atd-u-gray", TINY_RESTORER.replace("channels: 3", "channels: 2")),
            "model: channels is 2",
        ),
        (
            RESTORE.replace("atd-u-gray", TINY_RESTORER.replace("windows", "window")),
            r"no key 'model\.window'; did you mean 'model\.windows'",
        ),
        (
            RESTORE.replace("atd-u-gray", TINY_RESTORER.replace("channels: 3, ", "")),
            r"the key model\.channels is missing",
        ),
        (GOOD.replace("scale: 3", "scale: 1"), "scale is 1; ATD enlarges by 2, 3 or 4"),
        (GOOD + "optim: {adam_lr: 1}\n", "adam_lr is a rate of muon-aux-adam"),
        (GOOD.replace("sets/a", "sets/a, mixup: {beta: 0}"), r"data\.mixup\.beta is 0"),
        (GOOD.replace("sets/a", "sets/a, mixup: {share: 1}"), r"no key 'data\.mixup\.share'"),
    ],
)
def test_what_is_wrong_about_restoring(write: Write, text: str, sentence: str) -> None:
    path = write(text)
    with pytest.raises(RecipeError, match=rf"^{path}: .*{sentence}"):
        recipes.load(path)


# ------------------------------------------------------------------------ the published runs

PUBLISHED = json.loads((ROOT / "tests/published_recipes.json").read_text())

# of ATD v2: batch, patch, start, rate, milestones in thousands, steps and warm-up in thousands
SECOND = {
    "v2_000_ATD_SRx2_scratch": (48, 64, None, 2e-4, (250,), 300, 5),
    "v2_001_ATD_SRx2_finetune": (48, 96, "v2_000", 1e-4, (80, 100), 120, 5),
    "v2_002_ATD_SRx3_finetune": (48, 96, "v2_000", 1e-4, (80, 100), 120, 5),
    "v2_003_ATD_SRx4_finetune": (48, 96, "v2_000", 1e-4, (80, 100), 120, 5),
    "v2_101_ATD_light_SRx2_scratch": (64, 64, None, 5e-4, (250, 400, 450, 480), 500, 20),
    "v2_102_ATD_light_SRx3_finetune": (64, 64, "v2_101", 2e-4, (125, 200, 225, 240), 250, 10),
    "v2_103_ATD_light_SRx4_finetune": (64, 64, "v2_101", 2e-4, (125, 200, 225, 240), 250, 10),
}

# of ATD-U: channels, what is done to the pictures, rate of Muon, average, test sets
COLOR, GRAY = ("CBSD68", "Kodak24", "McMaster"), ("Set12", "BSD68")
RESTORING = {
    **{
        f"{number}_ATD_U_denoising_color_sigma{sigma}": (3, sigma, 1e-3, 0, COLOR)
        for number, sigma in ((201, 15), (202, 25), (203, 50))
    },
    **{
        f"{number}_ATD_U_denoising_gray_sigma{sigma}": (1, sigma, 1e-3, 0, GRAY)
        for number, sigma in ((301, 15), (302, 25), (303, 50))
    },
    **{
        f"{number}_ATD_U_jpegcar_gray_q{quality}": (1, quality, 8e-4, 0.999, ("Classic5", "Live1"))
        for number, quality in ((401, 10), (402, 20), (403, 30), (404, 40))
    },
}


def test_there_is_a_recipe_for_each_published_run() -> None:
    first = [recipe["name"] for recipe in PUBLISHED["recipes"]]
    names = recipes.names()
    assert names[:7] == tuple(first)
    assert names[17:20] == ("finetune", "finetune_x3", "finetune_x4")
    assert (*names[20:], *names[7:17]) == tuple(SECOND) + tuple(RESTORING)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("iterations", [None, 200, 20_000])
def test_the_recipes_for_fine_tuning(scale: int, iterations: int | None) -> None:
    """They begin with the bundled weights, and suit any number of steps."""
    name = "finetune" if scale == 2 else f"finetune_x{scale}"
    overrides = [] if iterations is None else [f"iterations={iterations}"]
    settings = recipes.load(name, overrides)
    assert settings.name == name
    assert settings.network == atd_light(scale)
    assert settings.init_from is not None
    assert not models.is_file(settings.init_from)
    weights = models.load_weights(settings.init_from)
    assert weights.config == settings.network
    assert schedule_checks.warnings(settings) == []
    rates = [settings.learning_rate(step) for step in range(1, settings.iterations + 1)]
    assert max(rates) > 0.95 * settings.optim.lr
    assert rates[-1] < 0.01 * settings.optim.lr


@pytest.mark.parametrize("figures", PUBLISHED["recipes"], ids=lambda figures: figures["name"][:3])
def test_a_published_run(figures: dict[str, Any]) -> None:
    common, name, scale = PUBLISHED["common"], figures["name"], figures["scale"]
    settings = recipes.load(name)
    assert settings == recipes.load(name[:3])
    assert settings.name == name
    assert settings.output == Path("experiments") / name
    assert settings.network == {"atd": atd, "atd-light": atd_light}[figures["model"]](scale)
    assert settings.iterations == figures["iterations"]
    folder = f"datasets/{figures['data']}/{figures['data']}_train"
    assert settings.data.train == Path(f"{folder}_HR")
    assert settings.data.lr == Path(f"{folder}_LR_bicubic/X{scale}")
    assert settings.data.template == f"{{}}x{scale}"
    assert settings.data.batch == figures["global_batch"]
    assert settings.data.patch == figures["lr_patch"]
    assert settings.data.hflip
    assert settings.data.rot
    assert settings.stages == ()
    assert settings.optim.name == "adamw"
    assert settings.optim.lr == figures["lr"]
    assert list(settings.optim.betas) == common["betas"]
    assert settings.optim.weight_decay == common["weight_decay"]
    assert settings.optim.clip is None
    assert settings.schedule.kind == "multistep"
    assert settings.schedule.gamma == 0.5
    assert list(settings.schedule.milestones) == figures["milestones"]
    assert settings.schedule.warmup == figures["warmup"]
    assert settings.schedule.cooldown == 0
    assert (settings.loss.kind, settings.loss.fft) == ("l1", 0)
    assert settings.ema == common["ema_decay"]
    assert settings.precision == "fp32"
    assert settings.activation_checkpointing == (figures["model"] == "atd")
    assert settings.seed == common["seed"]
    assert settings.save.every == common["save_every"]
    assert settings.log.every == common["log_every"]
    assert settings.log.tensorboard
    assert settings.validation.every == common["validate_every"]
    names = [test.name for test in settings.validation.sets if not isinstance(test, str)]
    assert names == ["Set5", "Set14", "BSD100", "Urban100", "Manga109"]
    assert all(f"x{scale}" in str(test) for test in settings.validation.sets)
    if figures["init_from"] is None:
        assert settings.init_from is None
    else:
        start = recipes.load(figures["init_from"])
        assert settings.init_from == start.output / "models/net_g_latest.pth"
        assert settings.init_strict == figures["strict"]


@pytest.mark.parametrize("name", SECOND)
def test_a_published_run_of_atd_v2(name: str) -> None:
    batch, patch, start, rate, milestones, thousands, warmup = SECOND[name]
    settings = recipes.load(name)
    assert settings == recipes.load(name[:6])
    assert settings.name == name
    assert settings.output == Path("experiments") / name
    scale, preset = int(name.split("SRx")[1][0]), atd_light_v2 if "light" in name else atd_v2
    assert settings.network == preset(scale)
    folder = "datasets/DIV2K/DIV2K_train" if "light" in name else "datasets/DF2K/DF2K_train"
    assert settings.data.train == Path(f"{folder}_HR_sub")
    assert settings.data.lr == Path(f"{folder}_LR_bicubic/X{scale}_sub")
    assert settings.data.template == "{}"
    assert (settings.data.batch, settings.data.patch) == (batch, patch)
    assert (settings.data.hflip, settings.data.rot) == (True, True)
    optim = settings.optim
    assert (optim.name, optim.lr, optim.betas, optim.eps) == ("adamw", rate, (0.9, 0.9), 1e-8)
    assert (optim.weight_decay, optim.clip) == (0, None)
    assert settings.schedule.milestones == tuple(1000 * each for each in milestones)
    assert (settings.schedule.gamma, settings.schedule.warmup) == (0.5, 1000 * warmup)
    assert settings.iterations == 1000 * thousands
    assert (settings.loss.kind, settings.loss.fft, settings.ema) == ("l1", 0, 0.999)
    assert (settings.precision, settings.activation_checkpointing) == ("fp32", True)
    assert (settings.seed, settings.validation.every, settings.save.every) == (0, 10_000, 10_000)
    assert all(f"x{scale}" in str(test) for test in settings.validation.sets)
    assert len(settings.validation.sets) == 5
    if start is None:
        assert settings.init_from is None
    else:
        begun = recipes.load(start)
        assert settings.init_from == begun.output / "models/net_g_latest.pth"
        assert settings.init_strict == (scale == 2)


@pytest.mark.parametrize("name", RESTORING)
def test_a_published_run_of_atd_u(name: str) -> None:
    channels, strength, rate, ema, sets = RESTORING[name]
    settings = recipes.load(name)
    assert settings == recipes.load(name[:3])
    assert settings.name == name
    assert settings.network == atd_u(channels)
    assert settings.channels == channels
    assert settings.restores
    assert settings.data.train == Path("datasets/DFWB")
    assert (settings.stage(1).patch, settings.stage(1).batch) == (256, 24)
    assert settings.stage(60_000) == settings.stage(1)
    assert (settings.stage(60_001).patch, settings.stage(60_001).batch) == (384, 12)
    assert (settings.stages[-1].after, settings.iterations) == (60_000, 100_000)
    assert settings.data.min_side == 384
    assert (settings.data.hflip, settings.data.rot) == (True, True)
    mixup = settings.data.mixup
    assert mixup is not None
    assert (mixup.probability, mixup.beta) == (0.5, 1.2)
    degradation = settings.data.degradation_at(1)
    assert degradation is not None
    (operation,) = degradation.operations
    if "jpeg" in name:
        assert isinstance(operation, Jpeg)
        assert (operation.quality, operation.offset) == ((strength, strength), False)
        assert degradation.eight_bits
    else:
        assert isinstance(operation, Noise)
        assert operation.sigma == (strength, strength)
        assert (operation.gray, operation.poisson, operation.correlated) == (0, 0, 0)
        assert not degradation.eight_bits
    assert operation.probability == 1
    optim = settings.optim
    assert (optim.name, optim.lr, optim.adam_lr) == ("muon-aux-adam", rate, 2e-4)
    assert (optim.betas, optim.eps, optim.weight_decay) == ((0.9, 0.95), 1e-10, 0.01)
    assert optim.clip == 0.01
    for step, halvings in ((1, 0), (50_000, 0), (50_001, 1), (70_001, 2), (90_001, 3)):
        assert settings.learning_rate(step) == rate * 0.5**halvings
    assert settings.loss.kind == "charbonnier"
    assert settings.loss.eps**2 == pytest.approx(1e-3, rel=1e-12)
    assert (settings.ema, settings.precision, settings.seed) == (ema, "fp32", 0)
    assert settings.activation_checkpointing
    assert (settings.validation.every, settings.save.every) == (5_000, 5_000)
    names = [test.name for test in settings.validation.sets if not isinstance(test, str)]
    assert tuple(names) == sets


@pytest.mark.parametrize("figures", PUBLISHED["recipes"], ids=lambda figures: figures["name"][:3])
def test_the_learning_rate_of_a_published_run(figures: dict[str, Any]) -> None:
    rate = recipes.load(figures["name"]).learning_rate
    lr, warmup = figures["lr"], figures["warmup"]
    assert rate(1) == pytest.approx(lr / warmup, rel=1e-12)
    assert rate(warmup // 2) == pytest.approx(lr / 2, rel=1e-12)
    assert rate(warmup) == rate(warmup + 1) == lr
    for number, milestone in enumerate(figures["milestones"]):
        assert rate(milestone) == lr * 0.5**number
        assert rate(milestone + 1) == lr * 0.5 ** (number + 1)
    assert rate(figures["iterations"]) == lr * 0.5 ** len(figures["milestones"])


def test_names(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=r"'10' begins the names of several.*101_.*102_.*103_"):
        recipes.load("10")
    with pytest.raises(RecipeError, match=r"no recipe SwinIR: .* comes with 000_ATD_SRx2_scratch"):
        recipes.load("SwinIR")
    with pytest.raises(RecipeError, match=r"no recipe gone\.yaml"):
        recipes.load("gone.yaml")
    write(GOOD, "mine.yaml")
    for missing in ("mine.yml", "mine", "mime.yaml"):
        with pytest.raises(RecipeError, match=f"^{missing} does not exist; did you mean mine.yaml"):
            recipes.load(missing)
    with pytest.raises(RecipeError, match="no recipe aaa"):
        recipes.load("a" * 300)
    write(GOOD, "101")  # a file comes first
    assert recipes.load("101").network.scale == 3
    (tmp_path / "102").mkdir()  # a folder does not
    assert recipes.load("102").name == "102_ATD_light_SRx3_finetune"


# -------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (GOOD + "itreations: 3\n", "there is no key 'itreations'; did you mean 'iterations'?"),
        (GOOD + "optim: {lrr: 3}\n", r"no key 'optim\.lrr'; did you mean 'optim\.lr'\?"),
        (GOOD + "lr: 3\n", r"no key 'lr'; did you mean 'data\.lr' or 'optim\.lr'\?"),
        (GOOD + "milestones: [3]\n", r"no key 'milestones'; did you mean 'schedule\.milestones'"),
        (GOOD + "optim: {batch: 3}\n", r"no key 'optim\.batch'; did you mean 'data\.batch'\?"),
        (GOOD + "stages: [{after: 1, patch: 2, batch: 3}, {afterr: 2}]\n", r"stages\.1\.after'\?"),
        (GOOD + "validate: {sets: [{hrr: a}]}\n", r"'validate\.sets\.0\.hr'\?"),
        (GOOD + "validation: {every: 3}\n", "no key 'validation'; did you mean 'validate'"),
        (GOOD + "network: {}\n", "there is no key 'network'"),
        (GOOD + "3: {}\n", "there is no key '3'"),
        (GOOD + "optim: {lr: fast}\n", r"optim\.lr is 'fast': input should be a number"),
        (GOOD + "optim: {lr: .nan}\n", r"optim\.lr is nan: input should be"),
        (GOOD + "optim: {lr: yes}\n", r"optim\.lr is True: it must be a number"),
        (GOOD + "optim: {name: sgd}\n", r"optim\.name is 'sgd': .*'adamw', 'muon' or 'muon-a"),
        (GOOD + "optim: {betas: [0.9, 2]}\n", r"optim: betas must be from 0 to below 1\."),
        (GOOD + "optim: 3\n", "optim is 3: it must hold `key: value` lines"),
        (GOOD + "optim:\n", "optim is None"),
        (GOOD + "schedule: {milestones: 3}\n", r"schedule\.milestones is 3: .*a list"),
        (GOOD + "schedule: {milestones: [3, x]}\n", r"schedule\.milestones\.1 is 'x'"),
        (GOOD + "save: {every: 0}\n", r"save\.every is 0: input should be greater than 0"),
        (GOOD + "save: {every: 1.5}\n", r"save\.every is 1\.5"),
        (GOOD + "save: {every: 1e400}\n", r"save\.every is inf"),
        (GOOD + "stages: [{after: 3, patch: 2}]\n", r"the key stages\.0\.batch is missing"),
        (
            GOOD + "stages: [{after: 3, patch: 2, batch: 1}, {after: 3, patch: 2, batch: 1}]\n",
            "stages must come in the order",
        ),
        (GOOD + "validate: {sets: [3]}\n", r"validate\.sets\.0 is 3"),
        (GOOD + "validate: {sets: [{name: a}]}\n", r"the key validate\.sets\.0\.hr is missing"),
        (GOOD + "init_from: ~nobody-of-that-name/a\n", "init_from is .*no such user"),
        (GOOD + "name: ../up\n", r"name is '\.\./up': it becomes a folder's name, and cannot"),
        (GOOD + "name: ''\n", "name is ''"),
        (GOOD + "name: [a]\n", "name is a list"),
        (GOOD + "name: a\nname: b\n", "line 6 gives the key 'name' a second time"),
        (GOOD.replace("iterations: 10\n", ""), "the key iterations is missing"),
        (GOOD.replace("sets/a", "~"), r"data\.train is None"),
        (GOOD.replace("{train: sets/a}", "{}"), r"the key data\.train is missing"),
        (GOOD.replace("model: atd-light\n", ""), "the key model is missing"),
        (GOOD.replace("scale: 3\n", ""), "the key scale is missing"),
        (GOOD.replace("atd-light", "swinir"), "model is 'swinir'; it is atd or atd-light"),
        (GOOD.replace("atd-light", "[atd]"), "model is a list"),
        (GOOD.replace("atd-light", "{width: 12, depth: 3}"), r"did you mean 'model\.depths'"),
        (GOOD.replace("atd-light", "{width: 12}"), r"the key model\.depths is missing"),
        (GOOD.replace("atd-light", "{scale: 3}"), r"'model\.scale'; did you mean 'scale'\?"),
        (GOOD.replace("atd-light", TINY_MODEL.replace("12", "13")), "model: heads 2 does not div"),
        (GOOD.replace("atd-light", TINY_MODEL.replace("kernel: 3", "kernel: 99")), "from 1 to 63"),
        (GOOD.replace("atd-light", TINY_MODEL.replace("[2, 2]", "[200, 200]", 1)), "400 layers"),
        (GOOD.replace("atd-light", TINY_MODEL.replace("12", "yes")), r"model\.width is True"),
        (GOOD.replace("atd-light", TINY_MODEL.replace("io: 1", "io: .inf")), "ffn_ratio is inf"),
        (GOOD.replace("3", "5"), "scale is 5; ATD enlarges by 2, 3 or 4"),
        (GOOD.replace("3", "three"), "scale is 'three'"),
        (GOOD.replace("3", "2.0"), "scale is 2.0"),
        (degraded("wep"), r"data\.degradation is 'wep': it must be web, bsrgan, realesrgan, or"),
        (degraded("[web]"), r"data\.degradation is a list"),
        (degraded("{operations: []}"), r"operations is a list: it must not be empty"),
        (
            degraded("{operations: [{size: [7, 9]}]}"),
            r"operations\.0 is a mapping: it needs a kind",
        ),
        (
            degraded("{operations: [{kind: blurr}]}"),
            r"0\.kind is 'blurr': it must be one of 'blur'",
        ),
        (degraded("{operations: [{kind: jpeg, qualty: 3}]}"), r"did you mean '.*\.0\.quality'"),
        (degraded("{operations: [{kind: jpeg, quality: [50, 101]}]}"), r"quality\.1 is 101"),
        (degraded("{operations: [{kind: blur, sigma: [3, 1]}]}"), "lowest and the highest value"),
        (degraded("{operations: [{kind: blur, size: [4, 8]}]}"), "kernels have odd sizes"),
        (degraded("{operations: [{kind: blur, kernels: {iso: 0}}]}"), "one of the weights must be"),
        (degraded("{operations: [{kind: resize, kernels: {cubic: 1}}]}"), "should be 'nearest'"),
        (degraded("{operations: [{kind: resize, up: 1, factor: [2, 3]}]}"), "a range around 1"),
        (degraded("{operations: [{kind: resize, up: 0.7, down: 0.7}]}"), "together are above 1"),
        (degraded("{operations: [{kind: noise, gray: 0.7, correlated: 0.7}]}"), "are above 1"),
        (
            degraded("{operations: [{kind: choice, weights: [1, 2], operations: [{kind: jpeg}]}]}"),
            "weights must be as many as operations",
        ),
        (degraded("web, lr: x"), "data: lr names LR pictures, and degradation makes them"),
        (GOOD + "base: 3\n", "base is 3; it is the file or the name"),
        (GOOD + "base: [a.yaml, [b]]\n", "base is a list"),
        ("- a\n- b\n", "key: value"),
        ("a: [", "not valid YAML"),
        ("a: !!python/name:os.system", "more than plain values"),
        ("", "key: value"),
    ],
)
def test_what_is_no_recipe(write: Write, text: str, sentence: str) -> None:
    path = write(text)
    with pytest.raises(RecipeError, match=rf"^{path}:? .*{sentence}") as caught:
        recipes.load(path)
    assert len(str(caught.value)) < 600
    assert str(caught.value).count(".yaml:") <= 1


# ----------------------------------------------------------------------------- the command line


def test_overrides(write: Write) -> None:
    path = write(GOOD)
    overrides = [
        "optim.lr=1e-3",
        "optim.lr=2e-4",
        "data.train=sets/b",
        "data.template='{}x2'",
        "schedule.milestones=[5, 8]",
        "validate.sets=[Set5, {name: mine, hr: a}]",
        "loss={kind: charbonnier}",
        "loss.eps=1e-2",
        "init_from=",
        "name=a=b",
        "model=atd",
        "scale=2",
    ]
    settings = recipes.load(path, overrides)
    assert settings.optim.lr == 2e-4
    assert settings.data.train == Path("sets/b")
    assert settings.data.template == "{}x2"
    assert settings.schedule.milestones == (5, 8)
    assert [str(test)[:4] for test in settings.validation.sets] == ["Set5", "name"]
    assert (settings.loss.kind, settings.loss.eps) == ("charbonnier", 0.01)
    assert settings.init_from is None
    assert settings.name == "a=b"
    assert settings.output == Path("experiments/a=b")
    assert settings.network == atd(2)
    assert recipes.load("103", ["validate.sets=[]"]).validation.sets == ()


def test_an_override_of_a_network_and_of_what_is_missing(write: Write) -> None:
    text = GOOD.replace("atd-light", TINY_MODEL).replace("iterations: 10\n", "")
    settings = recipes.load(write(text), ["model.width=24", "iterations=5", "model.depths=[1, 1]"])
    assert (settings.network.width, settings.network.depths) == (24, (1, 1))
    assert settings.iterations == 5


@pytest.mark.parametrize("text", ["{}", "'{}'", '"{}"'])
def test_the_plain_template_needs_no_quotes(write: Write, text: str) -> None:
    """A shell takes the quotes away, and YAML reads what is left as an empty mapping."""
    published = recipes.load("101", [f"data.template={text}"])
    assert published.data.template == "{}"
    assert (
        recipes.load(write(GOOD.replace("sets/a", f"sets/a, template: {text}"))).data.template
        == "{}"
    )
    tests = f"validate: {{sets: [{{name: a, hr: b, template: {text}}}]}}\n"
    (test,) = recipes.load(write(GOOD + tests)).validation.sets
    assert not isinstance(test, str)
    assert test.template == "{}"


def test_code_is_named_only_where_it_is_allowed(write: Write, tmp_path: Path) -> None:
    base = write("loss: {kind: package.module:function}\n", "base.yaml")
    path = write(f"base: base.yaml\n{GOOD}")
    with pytest.raises(
        RecipeError, match=rf"^{base}: loss\.kind is .*runs Python code.*--allow-code"
    ):
        recipes.load(path)
    with pytest.raises(RecipeError, match=r"^--set loss\.kind=a:b: .*--allow-code"):
        recipes.load(path, ["loss.kind=a:b"])
    settings = recipes.load(path, allow_code=True)
    assert settings.loss.kind == "package.module:function"
    again = write(recipes.dump(settings), "again.yaml")
    assert recipes.load(again, allow_code=True) == settings
    with pytest.raises(RecipeError, match="--allow-code"):
        recipes.load(again)


@pytest.mark.parametrize(
    "kind", ["l2", "a.b", "a:b.c", "a:", ":b", "a b:c", "../a:b", "a:b:c", "3:b"]
)
def test_what_is_no_loss(write: Write, kind: str) -> None:
    with pytest.raises(RecipeError, match=r"loss\.kind is .*l1 or charbonnier, or a function"):
        recipes.load(write(GOOD), [f"loss.kind='{kind}'"], allow_code=True)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("optim.lr", "write it as key=value"),
        ("=3", "write it as key=value"),
        ("optim..lr=3", "write it as key=value"),
        ("data.template={}x2", "not valid YAML.* Put quotes around text"),
        ("a: b=[", "not valid YAML"),
        ("iterations=0x" + "f" * 30, "the value holds a very large number"),
        ("optm.lr=3", "there is no key 'optm'; did you mean 'optim'"),
        ("optim.lrr=3", r"no key 'optim\.lrr'; did you mean 'optim\.lr'"),
        ("lr=3", r"did you mean 'data\.lr' or 'optim\.lr'"),
        ("optim.lr=-1", r"optim\.lr is -1: input should be greater than 0"),
        ("optim={lr: -1}", r"optim\.lr is -1"),
        ("optim=3", "optim is 3"),
        ("optim.lr.x=3", r"optim\.lr is a mapping"),
        ("iterations.x=3", "iterations is 10 and has no keys"),
        ("model.width=3", "model is 'atd-light' and has no keys; set it as a whole"),
        ("validate.sets.0.hr=3", r"validate\.sets is a mapping: .*a list"),
        ("validate.sets=my/set", r'a list, as in --set "validate\.sets=\[my/set\]"\.$'),
        ("validate.sets='my, \"set\"'", r"""--set 'validate\.sets=\['"'"'my, \"set\"'"'"'\]'\.$"""),
        ("schedule.milestones=5", r'as in --set "schedule\.milestones=\[5\]"\.$'),
        ("stages={after: 5, patch: 8, batch: 2}", r'"stages=\[\{after: 5, patch: 8, batch: 2\}\]"'),
        ("schedule={milestones: 5}", r"input should be a list\.$"),
        ("scale=7", "scale is 7"),
        ("model={width: 3}", "model.depths is missing"),
        ("base=101", "base belongs in the file"),
        ("name=../x", "name is"),
    ],
)
def test_overrides_that_are_wrong(write: Write, override: str, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence) as caught:
        recipes.load(write(GOOD), ["seed=1", override, "ema=0.5"])
    assert str(caught.value).startswith(f"--set {override}: ")


# ---------------------------------------------------------------------------------------- bases


def test_bases(write: Write) -> None:
    write("name: first\noutput: first\noptim: {lr: 1e-3, clip: 1}\ndata: {batch: 2}\n", "a/1.yaml")
    write("base: 1.yaml\noptim: {lr: 2e-3}\nschedule: {milestones: [1, 2]}\n", "a/2.yaml")
    write("optim: {weight_decay: 0.5}\nschedule: {milestones: [3]}\n", "3.yaml")
    settings = recipes.load(write("base: [a/2.yaml, 3.yaml]\n" + GOOD, "run.yaml"))
    assert settings.optim.lr == 2e-3
    assert settings.optim.clip == 1
    assert settings.optim.weight_decay == 0.5
    assert settings.data.batch == 2
    assert settings.data.train == Path("sets/a")
    assert settings.schedule.milestones == (3,)  # a list is replaced, not continued
    assert (settings.name, settings.output) == ("run", Path("experiments/run"))


def test_a_base_that_comes_with_atdsr(write: Write) -> None:
    settings = recipes.load(write("base: '101'\ndata: {train: mine, lr: null}\n"))
    published = recipes.load("101")
    assert settings.data.train == Path("mine")
    assert settings.data.lr is None
    same = {"name": "x", "output": "y", "data": published.data}
    assert settings.model_copy(update=same) == published.model_copy(update=same)


def test_another_network_than_that_of_the_base(write: Write) -> None:
    write(GOOD.replace("atd-light", TINY_MODEL), "tiny.yaml")
    assert recipes.load(write("base: tiny.yaml\nmodel: atd\n")).network == atd(3)
    assert recipes.load(write("base: tiny.yaml\nmodel: {width: 24}\n")).network.width == 24
    path = write("base: '000'\nmodel: {width: 24}\n")
    with pytest.raises(RecipeError, match=rf"^{path}: the key model\.depths is missing"):
        recipes.load(path)
    full = recipes.load(write(f"base: '000'\nmodel: {TINY_MODEL}\n")).network
    assert full.width == 12


def test_what_is_wrong_in_a_base_is_said_of_the_base(write: Write) -> None:
    path = write("base: inner.yaml\n" + GOOD)
    inner = write("optim: {lr: fast}\n", "inner.yaml")
    with pytest.raises(RecipeError, match=rf"^{inner}: optim\.lr is 'fast'"):
        recipes.load(path)
    write("optim: {lrr: 3}\n", "inner.yaml")
    with pytest.raises(RecipeError, match=rf"^{inner}: there is no key 'optim\.lrr'"):
        recipes.load(path)
    write("a: [\n", "inner.yaml")
    with pytest.raises(RecipeError, match=rf"^{inner}: line 2 is not valid YAML"):
        recipes.load(path)
    write("base: innermost.yaml\n", "inner.yaml")
    with pytest.raises(RecipeError, match=rf"^{inner}: base: there is no recipe .*innermost\.yaml"):
        recipes.load(path)


def test_bases_in_a_circle(write: Write) -> None:
    path = write("base: recipe.yaml\n")
    with pytest.raises(RecipeError, match="go round in a circle"):
        recipes.load(path)
    one = write("base: b/two.yaml\n", "one.yaml")
    write("base: ../one.yaml\n", "b/two.yaml")
    with pytest.raises(RecipeError, match=r"circle: .*one\.yaml -> .*two\.yaml -> .*one\.yaml"):
        recipes.load(one)


def test_many_bases(write: Write) -> None:
    write("optim: {lr: 3}\n", "0.yaml")
    for number in range(1, 70):  # each twice: read once, or this would take for ever
        write(f"base: [{number - 1}.yaml, {number - 1}.yaml]\n", f"{number}.yaml")
    assert recipes.load(write(GOOD + "base: 40.yaml\n")).optim.lr == 3
    with pytest.raises(RecipeError, match="more than 50 bases"):
        recipes.load(write(GOOD + "base: 69.yaml\n"))


# ------------------------------------------------------------------------------------- and back


ODD = {
    "name": "1e4",
    "data": {"train": "a b/#c", "template": "{}x2", "micro_batch": 3, "residence": "mapped"},
    "optim": {"name": "muon", "lr": 1e-300, "betas": [0, 0.1 + 0.2], "clip": 1},
    "stages": [{"after": 3, "patch": 4, "batch": 5}, {"after": 6, "patch": 7, "batch": 8}],
    "schedule": {"kind": "cosine", "floor": 1e-7, "warmup": 3, "milestones": []},
    "validate": {"sets": ["Set5", "yes", {"name": "null", "hr": "2024-01-01", "lr": "-x/y: z"}]},
    "log": {"wandb": "no: #", "tensorboard": True},
    "init_from": "file\N{SNOWMAN}.pth",
    "output": "here",
}


@pytest.mark.parametrize(
    "settings",
    [
        *(recipes.load(name) for name in recipes.names()),
        recipes.load("101", [f"{key}={json.dumps(value)}" for key, value in ODD.items()]),
        recipes.load("000", [f"model={TINY_MODEL[:-1]}, category_block: 32}}"]),
        recipes.load("000", [f"model={TINY_MODEL}", "compile=true", "seed=9223372036854775807"]),
    ],
    ids=lambda settings: settings.name,
)
def test_what_is_dumped_is_read_back(settings: TrainConfig, write: Write) -> None:
    assert recipes.load(write(recipes.dump(settings))) == settings


def test_a_dump_is_for_people(write: Write) -> None:
    lines = recipes.dump(recipes.load("101")).splitlines()
    assert lines[:5] == [
        "name: 101_ATD_light_SRx2_scratch",
        "output: experiments/101_ATD_light_SRx2_scratch",
        "model: atd-light",
        "scale: 2",
        "iterations: 500000",
    ]
    assert "  milestones: [250000, 400000, 450000, 475000, 490000]" in lines
    assert "  lr: 0.0005" in lines
    assert "skip_limit: 10" in lines  # defaults too
    other = recipes.dump(recipes.load("000", [f"model={TINY_MODEL}"])).splitlines()
    assert other[2:4] == ["model:", "  width: 12"]


def last_step(log: Path) -> int:
    return json.loads(log.read_text(encoding="utf-8").splitlines()[-1])["step"]


def test_the_runs_behind_the_bundled_weights() -> None:
    folder = ROOT / "runs/light_x2"
    warm, main, detail, large, stable, decay = map(recipes.load, sorted(folder.glob("*.yaml")))
    assert warm.output == main.output
    assert (warm.iterations, main.iterations) == (200, 2100)
    assert warm.learning_rate(100) == 5e-4
    assert main.learning_rate(2100) == pytest.approx(1e-3 / 751)
    assert (warm.ema, main.ema) == (0.999, 0.997)
    for settings in (warm, main):
        assert (settings.data.batch, settings.data.patch, settings.seed) == (4, 32, 1)
        assert (settings.save.every, settings.log.every) == (200, 20)
    assert detail.init_from == main.output / "weights.safetensors"
    assert last_step(folder / "3-detail.jsonl") == detail.iterations
    assert large.init_from == detail.output / "models/net_g_latest.pth"
    assert last_step(folder / "4-large.jsonl") == large.iterations
    assert stable.init_from == large.output / "models/net_g_latest.pth"
    assert stable.learning_rate(stable.iterations) == 8e-4
    # it ran in two pieces, and the log of the first is lost
    assert last_step(folder / "5-stable.jsonl") == stable.iterations - 1_237
    steps = decay.iterations - stable.iterations
    assert last_step(folder / "6-decay.jsonl") == last_step(folder / "5-stable.jsonl") + steps
    assert decay.learning_rate(decay.iterations) == pytest.approx(8e-4 / (steps + 1))
    for settings in (warm, main, detail, large, stable, decay):
        assert settings.network == atd_light(2)
        assert settings.optim.name == "muon"


@pytest.mark.parametrize("scale", [2, 4])
def test_the_runs_on_everyday_photos(scale: int) -> None:
    folder = ROOT / f"runs/photo_x{scale}"
    settings = recipes.load(folder / "1-web.yaml")
    assert last_step(folder / "1-web.jsonl") == settings.iterations
    assert settings.network == atd_light(scale)
    assert settings.data.degradation_at(scale) == degradations.preset("web", scale)
    assert str(settings.init_from) == f"atd-light-x{scale}"
    (degraded_set,) = settings.validation.sets
    assert not isinstance(degraded_set, str)
    script = (folder / "run.sh").read_text("utf-8")
    assert f"--scale {scale} --degradation web --output {degraded_set.lr}" in script
    assert not schedule_checks.warnings(settings)


@pytest.mark.parametrize("scale", [3, 4])
def test_the_runs_of_the_larger_scales(scale: int) -> None:
    folder = ROOT / f"runs/light_x{scale}"
    (taught,) = map(recipes.load, folder.glob("*.yaml"))
    assert taught.init_from == Path("runs/light_x2/stable.pth")
    assert last_step(folder / "1-taught.jsonl") == taught.iterations
    assert taught.network == atd_light(scale)
    assert taught.optim.name == "muon"


@pytest.mark.slow
@pytest.mark.parametrize("model", models.BUNDLED, ids=lambda model: model.name)
def test_the_state_to_go_on_from_holds_the_bundled_weights(model: models.BundledModel) -> None:
    run = model.name.removeprefix("atd-light-")
    path = ROOT / "runs" / (run.replace("-", "_") if "-" in run else f"light_{run}") / "state.pth"
    assert path.stat().st_size < 8_000_000
    bundled = model.load().state
    average, network = (read_weights(path, prefer=key).state for key in ("params_ema", "params"))
    assert all(torch.equal(average[name].to(bundled[name]), bundled[name]) for name in bundled)
    assert not torch.equal(network["conv_first.weight"], average["conv_first.weight"])
