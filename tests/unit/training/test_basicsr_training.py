"""Option files for training."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from atdsr.training import TrainConfig, basicsr, recipes
from atdsr.training.basicsr import BasicSRError
from helpers.option_files import (
    OFFICIAL,
    SECOND,
    changed,
    options,
    restorer_options,
    second_options,
    write,
)

LIGHT = "101_ATD_light_SRx2_scratch"
FINETUNE = "102_ATD_light_SRx3_finetune"


def read(root: Path, *changes: tuple[str, Any], name: str = LIGHT) -> TrainConfig:
    """The settings of an official option file with some of its values changed."""
    content = options(name)
    for key, value in changes:
        changed(content, key, value)
    return basicsr.read_training(write(root, content)).config


@pytest.mark.parametrize("name", OFFICIAL)
def test_an_official_file_and_the_recipe_are_the_same_run(name: str, tmp_path: Path) -> None:
    read = basicsr.read_training(write(tmp_path, options(name)))
    assert read.config == recipes.load(name)  # every field, name and folder too
    (note,) = read.notes
    warmup = OFFICIAL[name].warmup_iter
    assert note == (
        f"After train.warmup_iter, {warmup} steps, the rate is lr; the official code stays at "
        f"lr * {warmup - 1} / {warmup}."
    )


def test_numbers_as_the_official_files_spell_them(tmp_path: Path) -> None:
    path = write(tmp_path, options(LIGHT))
    text = path.read_text()
    for plain, spelt in {
        "lr: 0.0005": "lr: !!float 5e-4",
        "val_freq: 20000.0": "val_freq: !!float 2e4",
        "save_checkpoint_freq: 10000.0": "save_checkpoint_freq: 1e4",
        "use_hflip: true": "use_hflip: yes",
        "total_iter: 500000": "total_iter: '500000'",
    }.items():
        assert plain in text
        text = text.replace(plain, spelt)
    path.write_text(text)
    assert basicsr.read_training(path).config == recipes.load(LIGHT)


# -------------------------------------------------------------------------- what becomes of keys


def test_the_network(tmp_path: Path) -> None:
    settings = read(tmp_path, ("network_g.embed_dim", 12), ("network_g.use_checkpoint", True))
    assert settings.network.width == 12
    assert settings.activation_checkpointing


@pytest.mark.parametrize(
    ("num_gpu", "devices", "batch"), [(8, 0, 128), (1, 4, 16), (0, 4, 16), ("auto", 4, 64)]
)
def test_the_batch(
    num_gpu: int | str, devices: int, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    assert read(tmp_path, ("num_gpu", num_gpu)).data.batch == batch


def test_the_training_set(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        ("datasets.train.gt_size", 144),
        ("datasets.train.use_hflip", False),
        ("datasets.train.dataroot_gt", "~/hr"),
        ("datasets.train.dataroot_lq", None),
        ("datasets.train.filename_tmpl", ...),
        name=FINETUNE,
    ).data
    assert data.patch == 48
    assert (data.hflip, data.rot) == (False, True)
    assert data.train == Path.home() / "hr"
    assert data.lr is None
    assert data.template == "{}"


def test_paths_are_seen_from_here_first_and_else_from_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, here = tmp_path / "repository", tmp_path / "here"
    content = options(FINETUNE)
    start = content["path"]["pretrain_network_g"]
    train = content["datasets"]["train"]["dataroot_gt"]
    for folder in (root / start, root / train, here / train):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)
    settings = basicsr.read_training(write(root, content)).config
    assert settings.data.train == Path(train)
    assert settings.init_from == root / start
    assert settings.output == Path("experiments") / FINETUNE


def test_where_a_run_starts(tmp_path: Path) -> None:
    start = read(tmp_path, name="001_ATD_SRx2_finetune")
    assert start.init_strict
    assert str(start.init_from) == "experiments/000_ATD_SRx2_scratch/models/net_g_latest.pth"
    for key in ("params", None):
        assert read(tmp_path, ("path.param_key_g", key), name=FINETUNE).init_from is not None
    assert not read(tmp_path, ("path", {"strict_load_g": False})).init_strict
    assert read(tmp_path, ("path", {"param_key_g": "params_ema"})).init_from is None


@pytest.mark.parametrize(
    ("kind", "decay", "ours"),
    [
        ("AdamW", 0, 0),
        ("AdamW", 0.1, 0.1),
        ("AdamW", None, 0.01),
        ("Adam", 0, 0),
        ("Adam", None, 0),
    ],
)
def test_the_optimizer(kind: str, decay: float | None, ours: float, tmp_path: Path) -> None:
    optim = {"type": kind, "lr": "1e-3"} | ({} if decay is None else {"weight_decay": decay})
    found = read(tmp_path, ("train.optim_g", optim)).optim
    assert (found.name, found.lr, found.weight_decay) == ("adamw", 1e-3, ours)
    assert found.betas == (0.9, 0.999)  # as PyTorch has them
    assert found.clip is None


def test_gradient_clipping_of_forks(tmp_path: Path) -> None:
    assert read(tmp_path, ("train.use_grad_clip", True)).optim.clip == 0.01
    assert read(tmp_path, ("train.use_grad_clip", False)).optim.clip is None


def test_steps_of_the_rate(tmp_path: Path) -> None:
    scheduler = {"type": "MultiStepRestartLR", "milestones": [30_000], "restarts": [0]}
    settings = read(tmp_path, ("train.scheduler", scheduler), ("train.warmup_iter", -1))
    assert settings.schedule.warmup == 0
    assert settings.learning_rate(30_000) == 5e-4
    assert settings.learning_rate(30_001) == pytest.approx(5e-5)  # gamma is 0.1 where it is missing


@pytest.mark.parametrize(
    "scheduler",
    [
        {"type": "CosineAnnealingRestartLR", "periods": [500_000], "eta_min": 1e-7},
        {"type": "TrueCosineAnnealingLR", "T_max": 500_000, "eta_min": 1e-7},
    ],
)
def test_the_cosine(scheduler: dict[str, Any], tmp_path: Path) -> None:
    rate = read(tmp_path, ("train.scheduler", scheduler), ("train.warmup_iter", -1)).learning_rate
    for step in (1, 2, 250_001, 500_000):
        wave = (1 + math.cos(math.pi * (step - 1) / 500_000)) / 2
        assert rate(step) == pytest.approx(1e-7 + (5e-4 - 1e-7) * wave, rel=1e-12)


def test_losses(tmp_path: Path) -> None:
    charbonnier = {"type": "CharbonnierLoss", "eps": 1e-6}
    fourier = {"type": "FFTLoss", "loss_weight": 0.05, "reduction": "mean"}
    loss = read(tmp_path, ("train.pixel_opt", charbonnier), ("train.fft_opt", fourier)).loss
    assert loss.kind == "charbonnier"
    assert loss.eps == pytest.approx(1e-3)  # squared under the root here
    assert loss.fft == 0.05
    assert read(tmp_path, ("train.pixel_opt", {"type": "CharbonnierLoss"})).loss.eps == 1e-6
    assert (
        read(tmp_path, ("train.pixel_opt", {"type": "L1Loss"})).loss
        == TrainConfig.model_fields["loss"].default
    )


def test_validation(tmp_path: Path) -> None:
    settings = read(tmp_path, ("datasets.val_1.filename_tmpl", "{}_lr"), ("val.val_freq", 5))
    assert settings.validation.every == 5
    first = settings.validation.sets[0]
    assert not isinstance(first, str)
    assert (first.name, first.template) == ("Set5", "{}_lr")
    assert read(tmp_path, ("val", ...)).validation.sets == ()
    content = options(LIGHT)
    content["datasets"] = {"train": content["datasets"]["train"]}
    assert basicsr.read_training(write(tmp_path, content)).config.validation.sets == ()


def test_the_log(tmp_path: Path) -> None:
    log = read(tmp_path, ("logger.wandb.project", "mine"), ("logger.use_tb_logger", False)).log
    assert (log.every, log.tensorboard, log.wandb) == (100, False, "mine")
    assert read(tmp_path, ("logger", ...)).save.every == 10_000


def test_what_has_no_bearing_is_passed_over(tmp_path: Path) -> None:
    content = options(LIGHT)
    content |= {"dist": True, "auto_resume": True, "find_unused_parameters": True}
    content["datasets"]["train"] |= {"dataset_enlarge_ratio": 100, "num_worker_per_gpu": 1}
    content["path"] |= {"experiments_root": "x", "resume_state": None}
    content["train"] |= {"perceptual_opt": None, "gan_opt": None}
    content["val"] |= {"suffix": "x", "pbar": True}
    read = basicsr.read_training(write(tmp_path, content))
    assert read.config == recipes.load(LIGHT)
    assert len(read.notes) == 1


@pytest.mark.parametrize(
    ("key", "value", "note"),
    [
        ("num_gpu", "auto", r"num_gpu is auto, which is 1 here: a batch has 16 crops"),
        ("manual_seed", ..., "manual_seed is missing.* here it is 0"),
        ("datasets.train.dataroot_lq", ..., "datasets.train has no dataroot_lq"),
        ("datasets.val_2.dataroot_lq", ..., "Set14 has no dataroot_lq"),
        (
            "train.scheduler",
            {"type": "TrueCosineAnnealingLR", "T_max": 500_000},
            "the rate is the cosine times the ramp",
        ),
        ("train.ema_decay", 0, "params_ema of the files that are written equals params"),
        ("train.ema_decay", ..., "train.ema_decay is 0"),
        ("train.use_grad_clip", True, "use_grad_clip"),
        ("train.fft_opt", {"type": "FFTLoss"}, "without normalisation; see whether your fork"),
        ("val.save_img", True, "as strips, not each picture"),
        ("train.use_fp16", True, "float16 is not offered"),
        ("val.metrics.niqe", {"type": "calculate_niqe"}, "'calculate_niqe'. is not measured"),
        ("name", "debug_x", "the official code would measure"),
    ],
)
def test_what_is_done_otherwise_is_noted(
    key: str, value: Any, note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    content = changed(options(LIGHT), key, value)
    notes = basicsr.read_training(write(tmp_path, content)).notes
    assert len(notes) == (1 if key == "train.scheduler" else 2)  # one is on the warm-up
    assert any(re.search(note, found) for found in notes)


# -------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("network_g.type", "SwinIR", r"network_g\.type is 'SwinIR'; only ATD or ATDUNet is"),
        ("network_g.embed_dims", 3, "network_g: there is no key 'embed_dims'.*'embed_dim'"),
        ("network_g.upscale", 4, "scale is 2 and network_g.upscale 4"),
        ("network_g.num_heads", [5] * 4, "heads 5 does not divide width 48"),
        ("network_g.window_size", 1000, "window is 1000; it must be a whole number from 1 to 32"),
        ("network_g.depths", [100] * 4, "depths make 400 layers"),
        ("train.scheduler.gamma", 1e5, "schedule.gamma is 100000.0"),
        ("train.optim_g.lr", 1e5, "optim.lr is 100000.0"),
        ("network_g.ape", True, r"network_g\.ape is True"),
        ("model_type", "HATModel", "model_type is 'HATModel'"),
        ("scale", 8, "scale is 8 and network_g.upscale 2"),
        ("name", "a/b", "name is 'a/b'"),
        ("num_gpu", -1, "num_gpu is -1"),
        ("num_gpu", ..., "the key num_gpu is missing"),
        ("num_gpus", 1, "there is no key 'num_gpus'; did you mean 'num_gpu'"),
        ("network_d", {"type": "VGG"}, "network_d is not supported: there is no discriminator"),
        ("datasets.train", ..., r"the key datasets\.train is missing"),
        ("datasets.test_1", {}, "datasets: there is no key 'test_1'; sets are called train, val_1"),
        ("datasets.train.gt_size", 129, r"gt_size is 129; it must be a multiple of the scale 2"),
        ("datasets.train.gt_size", ..., r"the key datasets\.train\.gt_size is missing"),
        ("datasets.train.use_rot", "perhaps", r"use_rot is 'perhaps': input should be true or f"),
        ("datasets.train.meta_info_file", "a.txt", "datasets.train: meta_info_file is not supp"),
        ("datasets.train.gt_sizes", [64, 96], "gt_sizes is not supported: .*--set 'stages="),
        ("datasets.train.io_backend", {"type": "lmdb"}, r"io_backend\.type is 'lmdb'"),
        ("datasets.train.batch_size", 3, "'batch_size'; did you mean 'batch_size_per_gpu'"),
        ("datasets.train.batch_size_per_gpu", 0, r"batch_size_per_gpu is 0"),
        ("datasets.train.filename_tmpl", "x2", "with {} in it once"),
        ("datasets.val_1.color", "y", "datasets.val_1: color is not supported"),
        ("datasets.val_1.name", "Set14", "two test sets are called Set14"),
        ("datasets.val_1.name", "a/b", r"datasets\.val_1\.name is 'a/b'"),
        ("path.resume_state", "1.state", "path: resume_state is not supported: a run goes on by"),
        ("path.strict_load", True, "path: there is no key 'strict_load'.*'strict_load_g'"),
        ("train.optim_g.type", "Muon", r"train\.optim_g\.type is 'Muon': .*'AdamW' or 'Adam'"),
        ("train.optim_g.momentum", 0.9, "train.optim_g: there is no key 'momentum'"),
        ("train.optim_g.eps", 2, r"optim\.eps is 2.0"),
        ("train.optim_g.amsgrad", True, r"amsgrad is True"),
        ("train.optim_g.lr", 0, r"train\.optim_g\.lr is 0"),
        ("train.optim_g.lr", ..., r"the key train\.optim_g\.lr is missing"),
        ("train.optim_g.betas", [0.9], r"train\.optim_g\.betas"),
        ("train.scheduler.type", "LinearLR", r"scheduler\.type is 'LinearLR'"),
        ("train.scheduler.milestones", ..., r"the key train\.scheduler\.milestones is missing"),
        ("train.scheduler.milestones", [5, 250_000], "has 5, inside the warm-up of 20000 steps"),
        ("train.scheduler.restarts", [0, 9], r"train\.scheduler\.restarts"),
        ("train.scheduler.restart_weights", [2], r"restart_weights\.0 is 2"),
        ("train.scheduler.periods", [9], "periods is not a key of MultiStepLR"),
        (
            "train.scheduler",
            {"type": "CosineAnnealingRestartLR", "periods": [250_000, 250_000]},
            "train.scheduler.periods must be train.total_iter, 500000",
        ),
        (
            "train.scheduler",
            {"type": "TrueCosineAnnealingLR", "T_max": 9},
            "T_max must be train.tot",
        ),
        ("train.total_iter", 1.5, r"train\.total_iter is 1\.5"),
        ("train.total_iter", ..., r"the key train\.total_iter is missing"),
        ("train.warmup_iter", -2, r"train\.warmup_iter is -2"),
        ("train.ema_decay", 1, r"train\.ema_decay is 1"),
        ("train.pixel_opt", ..., r"the key train\.pixel_opt is missing"),
        ("train.pixel_opt.type", "MSELoss", r"train\.pixel_opt\.type is 'MSELoss'"),
        ("train.pixel_opt.loss_weight", 0.5, r"pixel_opt\.loss_weight is 0\.5; it must be 1"),
        ("train.pixel_opt.reduction", "sum", r"reduction is 'sum': input should be 'mean'"),
        ("train.pixel_opt.eps", 1e-6, "eps is not a key of L1Loss"),
        ("train.fft_opt", {"type": "FrequencyLoss"}, r"fft_opt\.type is 'FrequencyLoss'"),
        ("train.perceptual_opt", {"type": "x"}, "train: perceptual_opt is not supported: the los"),
        ("train.gan_opt", {"type": "x"}, "train: gan_opt is not supported"),
        ("train.mixing_augs", {"mixup": True}, "train: mixing_augs is not supported"),
        ("val.val_freq", 0, r"val\.val_freq is 0"),
        ("val.val_freq", ..., r"the key val\.val_freq is missing"),
        ("val.metrics.psnr.crop_border", 0, r"psnr\.crop_border is 0; figures are taken with 2"),
        ("logger.print_freq", "often", r"logger\.print_freq is 'often'"),
        ("logger.wandb.entity", "x", r"logger\.wandb: there is no key 'entity'"),
    ],
)
def test_what_is_refused(key: str, value: Any, sentence: str, tmp_path: Path) -> None:
    path = write(tmp_path, changed(options(LIGHT), key, value))
    with pytest.raises(BasicSRError, match=rf"^{path}: .*{sentence}") as caught:
        basicsr.read_training(path)
    assert len(str(caught.value)) < 500
    assert str(caught.value).count("train.yml") == 1


def test_what_is_refused_of_a_start(tmp_path: Path) -> None:
    path = write(tmp_path, changed(options(FINETUNE), "path.param_key_g", "params_ema"))
    with pytest.raises(BasicSRError, match=r"path\.param_key_g is 'params_ema'.*atdsr convert exp"):
        basicsr.read_training(path)


def test_the_decay_of_adam_is_refused(tmp_path: Path) -> None:
    optim = {"type": "Adam", "lr": 1e-3, "weight_decay": 0.1}
    path = write(tmp_path, changed(options(LIGHT), "train.optim_g", optim))
    with pytest.raises(BasicSRError, match=r"weight_decay is 0\.1; Adam's decay is not that of"):
        basicsr.read_training(path)


def test_files_for_testing_and_for_training_name_each_other(tmp_path: Path) -> None:
    training = write(tmp_path, options(LIGHT))
    with pytest.raises(BasicSRError, match=f"^{training}: .* `atdsr train -opt {training}`"):
        basicsr.read_test(training)
    content = options(LIGHT)
    del content["train"]
    content["datasets"] = {"test_1": content["datasets"]["val_1"]}
    testing = write(tmp_path, content, "test")
    with pytest.raises(BasicSRError, match=f"^{testing}: .* `atdsr eval -opt {testing}`"):
        basicsr.read_training(testing)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "key: value"),
        ("- a\n", "key: value"),
        ("a: [", "not valid YAML"),
        ("[" * 2_000, "line 1 nests more than 50 levels"),
        ("datasets: 3\n", "the key name is missing"),
        ("name: a\nname: b\n", "line 2 gives the key 'name' a second time"),
        ("a: &a [*a]\n", "contains itself"),
        ("x: !!python/object/apply:os.getcwd []\n", "line 1 holds more than plain values"),
    ],
)
def test_what_is_no_option_file(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "train.yml"
    path.write_text(text)
    with pytest.raises(BasicSRError, match=rf"train\.yml.*{sentence}"):
        basicsr.read_training(path)


@pytest.mark.parametrize("key", ["datasets", "network_g", "path", "train", "train.optim_g", "val"])
@pytest.mark.parametrize("value", [3, [], "x"])
def test_sections_that_are_none(key: str, value: Any, tmp_path: Path) -> None:
    path = write(tmp_path, changed(options(LIGHT), key, value))
    with pytest.raises(BasicSRError, match=f"{key}: it must hold `key: value` lines"):
        basicsr.read_training(path)


# ------------------------------------------------------------------------------ the command line


def test_overrides_have_the_keys_of_recipes(tmp_path: Path) -> None:
    path = write(tmp_path, options(LIGHT))
    overrides = ["ema=0.99", "optim.lr=1e-3", "validate.sets=[]", "name=mine", "model.width=24"]
    settings = basicsr.read_training(path, overrides).config
    assert settings.ema == 0.99
    assert settings.optim.lr == 1e-3
    assert settings.validation.sets == ()
    assert settings.output == Path("experiments/mine")
    assert settings.network.width == 24
    with pytest.raises(BasicSRError, match=r"^--set emma=0\.9: .*did you mean 'ema'"):
        basicsr.read_training(path, ["emma=0.9"])
    with pytest.raises(BasicSRError, match=r"^--set optim\.lr=no: optim\.lr is False"):
        basicsr.read_training(path, ["optim.lr=no"])


# --------------------------------------------------------------------------- ATD v2 and ATD-U


@pytest.mark.parametrize("name", SECOND)
def test_a_file_for_atd_v2_and_the_recipe_are_the_same_run(name: str, tmp_path: Path) -> None:
    read = basicsr.read_training(write(tmp_path, second_options(name)))
    recipe = recipes.load(f"v2_{name}")
    start = recipe.init_from and Path(str(recipe.init_from).replace("v2_", ""))
    same = {"name": name, "output": Path("experiments") / name, "init_from": start}
    assert read.config == recipe.model_copy(update=same)
    precision, warmup = read.notes
    assert precision.startswith("train.use_fp16: float16 is not offered")
    assert warmup.startswith("After train.warmup_iter")


RESTORERS = [name for name in recipes.names() if "_ATD_U_" in name]


@pytest.mark.parametrize("name", RESTORERS)
def test_a_file_for_atd_u_and_the_recipe_are_the_same_run(name: str, tmp_path: Path) -> None:
    read = basicsr.read_training(write(tmp_path, restorer_options(name)))
    assert read.config == recipes.load(name)
    jpeg = "jpegcar" in name
    assert len(read.notes) == (3 if jpeg else 4)  # without an average there is one more
    assert ("blocks of JPEG begin anywhere" in read.notes[0]) == jpeg
    assert "each GPU mixes its own" in read.notes[1]
    assert read.notes[2].startswith("train.use_fp16")


def test_a_key_without_bearing_may_come_twice(tmp_path: Path) -> None:
    """As in the authors' files."""
    path = write(tmp_path, restorer_options(RESTORERS[0]))
    once = "dataset_enlarge_ratio: 100"
    text = path.read_text()
    assert text.count(once) == 1
    path.write_text(text.replace(once, f"{once}\n    dataset_enlarge_ratio: 1"))
    assert basicsr.read_training(path).config == recipes.load(RESTORERS[0])


def read_restorer(root: Path, *changes: tuple[str, Any], name: str = RESTORERS[0]) -> TrainConfig:
    content = restorer_options(name)
    for key, value in changes:
        changed(content, key, value)
    return basicsr.read_training(write(root, content)).config


def test_what_becomes_of_the_keys_of_an_atd_u(tmp_path: Path) -> None:
    config = read_restorer(
        tmp_path,
        ("train.mixing_augs.use_identity", False),
        ("train.mixing_augs.mixup_beta", 0.4),
        ("train.use_grad_clip", False),
        ("datasets.train.geometric_augs", False),
        ("datasets.train.gt_sizes", [100, 200, 300]),
        ("datasets.train.mini_batch_sizes", [6, 4, 2]),
        ("datasets.train.iters", [10, 20, 30]),
        ("num_gpu", 2),
        ("val", ...),
    )
    assert config.data.mixup is not None
    assert (config.data.mixup.probability, config.data.mixup.beta) == (1, 0.4)
    assert config.optim.clip is None
    assert (config.data.hflip, config.data.rot) == (False, False)
    assert config.data.min_side == 300
    stages = [
        (stage.after, stage.patch, stage.batch) for stage in (config.stage(1), *config.stages)
    ]
    assert stages == [(0, 100, 12), (10, 200, 8), (30, 300, 4)]
    assert config.validation.sets == ()
    assert read_restorer(tmp_path, ("train.mixing_augs.mixup", False)).data.mixup is None
    assert read_restorer(tmp_path, ("train.mixing_augs", ...)).data.mixup is None


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("network_g.bias", True, r"network_g\.bias is True"),
        ("network_g.category_size", [128, 128, 128, 64], "must be the same number for all levels"),
        ("network_g.depths", [6, 8], "depths is .*; it must be a list of 4"),
        ("network_g.in_chans", 1, "in_chans is 1 and datasets.train.in_ch 3; they must be equal"),
        ("network_g.upscale", 2, r"network_g\.upscale is 2"),
        ("network_g.window", 8, "network_g: there is no key 'window'; did you mean 'window_size'"),
        ("scale", 2, "scale is 2"),
        ("model_type", "ATDModel", "model_type is 'ATDModel'"),
        ("datasets.train.type", "PairedImageDataset", r"train\.type is 'PairedImageDataset'"),
        ("datasets.train.sigma_type", "random", r"sigma_type is 'random'"),
        ("datasets.train.sigma_range", ..., r"the key datasets\.train\.sigma_range is missing"),
        ("datasets.train.sigma_range", 25, r"datasets\.val_1 differs from datasets\.train in what"),
        ("datasets.val_2.sigma_test", ..., r"the key datasets\.val_2\.sigma_test is missing"),
        ("datasets.val_2.in_ch", 1, r"datasets\.val_2 differs from datasets\.train"),
        ("datasets.train.type", "Dataset_JPEGCAR", r"train\.quality_factor is missing"),
        ("datasets.train.gt_sizes", [256], "must have a number for each stage"),
        ("datasets.train.iters", [], "must have a number for each stage"),
        (
            "datasets.train.gt_sizes",
            [256, 400],
            "gt_sizes has 400, more than gt_size, which is 384",
        ),
        ("datasets.train.mini_batch_sizes", [7, 3], "has 7, more than batch_size_per_gpu"),
        ("datasets.train.mean", [0.5], "mean is not supported"),
        ("datasets.train.use_hflip", True, "there is no key 'use_hflip'"),
        ("datasets.test_1", {}, "datasets: there is no key 'test_1'; sets are called train, val_1"),
        ("train.optim_g.type", "AdamW", r"train\.optim_g\.type is 'AdamW'"),
        ("train.optim_g.lr", 1e-3, r"train\.optim_g\.lr is 0.001: input should be a list"),
        ("train.optim_g.betas", [0.9, 0.9], "there is no key 'betas'"),
        ("train.mixing_augs.mixup_beta", 1e3, r"data\.mixup\.beta is 1000"),
        ("train.gan_opt", {"type": "x"}, "train: gan_opt is not supported"),
        ("network_d", {"type": "x"}, "network_d is not supported"),
        ("val.metrics.psnr.crop_border", 4, r"psnr\.crop_border is 4; the whole picture"),
    ],
)
def test_what_is_refused_of_an_atd_u(key: str, value: Any, sentence: str, tmp_path: Path) -> None:
    path = write(tmp_path, changed(restorer_options(RESTORERS[0]), key, value))
    with pytest.raises(BasicSRError, match=rf"^{path}: .*{sentence}"):
        basicsr.read_training(path)


def test_what_is_done_otherwise_with_an_atd_u(tmp_path: Path) -> None:
    content = restorer_options("401_ATD_U_jpegcar_gray_q10")
    content["val"] |= {"save_img": True}
    content["val"]["metrics"]["ssim"] = {"type": "calculate_ssim", "crop_border": 0}
    *_, pictures, ssim = basicsr.read_training(write(tmp_path, content)).notes
    assert pictures == "val.save_img: no pictures are written."
    assert ssim == "val.metrics.ssim ('calculate_ssim') is not measured; PSNR is."
    changed(content, "datasets.train.gt_sizes", [384])
    changed(content, "datasets.train.mini_batch_sizes", [6])
    changed(content, "datasets.train.iters", [100_000])
    notes = basicsr.read_training(write(tmp_path, content)).notes
    assert "blocks" not in notes[0]


def test_a_file_for_testing_an_atd_u_is_refused_by_name(tmp_path: Path) -> None:
    content = restorer_options(RESTORERS[0])
    del content["train"]
    with pytest.raises(BasicSRError, match=r"network_g\.type is 'ATDUNet'; only ATD is read here"):
        basicsr.read_test(write(tmp_path, content, "test"))
