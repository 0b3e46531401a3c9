from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atdsr.base.errors import AtdsrError
from atdsr.network.config import ATDConfig, atd, atd_light
from atdsr.network.model import ATD
from atdsr.training import basicsr
from atdsr.training.basicsr import BasicSRError
from atdsr.weights import Weights, official_state_dict, write_weights
from helpers.networks import TINY, lively

CLASSICAL = """\
  embed_dim: 210
  depths: [6, 6, 6, 6, 6, 6,]
  num_heads: [6, 6, 6, 6, 6, 6,]
  category_size: 256
  num_tokens: 128
  reducted_dim: 20
  convffn_kernel_size: 5
  mlp_ratio: 2
  upsampler: 'pixelshuffle'
  use_checkpoint: false
"""
LIGHT = """\
  embed_dim: 48
  depths: [6, 6, 6, 6, ]
  num_heads: [4, 4, 4, 4, ]
  category_size: 128
  num_tokens: 64
  reducted_dim: 8
  convffn_kernel_size: 7
  mlp_ratio: 1
  upsampler: 'pixelshuffledirect'
  use_checkpoint: true
"""
TINY_NETWORK = """\
  embed_dim: 12
  depths: [2, 2]
  num_heads: [2, 2]
  category_size: 100
  num_tokens: 8
  reducted_dim: 4
  convffn_kernel_size: 3
  mlp_ratio: 1
  upsampler: pixelshuffledirect
"""
SETS = {"Set5": "Set5", "BSD100": "B100"}  # name in the file -> folder


def options(name: str = "tiny_SRx2", scale: int = 2, network: str = TINY_NETWORK) -> str:
    """An option file of the structure that the official ones have."""
    datasets = "".join(
        f"""\
  test_{number}:
    name: {set_name}
    type: PairedImageDataset
    dataroot_gt: datasets/HR/{folder}/x{scale}
    dataroot_lq: datasets/LR/{folder}/x{scale}
    io_backend:
      type: disk

"""
        for number, (set_name, folder) in enumerate(SETS.items(), start=1)
    )
    return f"""\
name: {name}
model_type: ATDModel
scale: {scale}
num_gpu: 1  # a remark
manual_seed: 0

datasets:
{datasets}
network_g:
  type: ATD
  upscale: {scale}
  in_chans: 3
  img_size: 64
  window_size: 16
  img_range: 1.
  resi_connection: '1conv'
{network}
path:
  pretrain_network_g: weights/{name}.pth
  strict_load_g: yes
  param_key_g: params_ema

val:
  save_img: true
  suffix: ~  # the name
  metrics:
    psnr:
      type: calculate_psnr
      crop_border: {scale}
      test_y_channel: yes
    ssim:
      type: calculate_ssim
      crop_border: {scale}
      test_y_channel: yes
"""


Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Put an option file where the official repository has them."""

    def write(text: str) -> Path:
        path = tmp_path / "repository/options/test/test.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("name", "scale", "network", "config", "parameters"),
    [
        ("001_ATD_SRx2_finetune", 2, CLASSICAL, atd(2), 20_113_217),
        ("002_ATD_SRx3_finetune", 3, CLASSICAL, atd(3), 20_297_857),
        ("003_ATD_SRx4_finetune", 4, CLASSICAL, atd(4), 20_260_929),
        ("101_ATD_light_SRx2_scratch", 2, LIGHT, atd_light(2), 753_204),
        ("102_ATD_light_SRx3_finetune", 3, LIGHT, atd_light(3), 759_699),
        ("103_ATD_light_SRx4_finetune", 4, LIGHT, atd_light(4), 768_792),
    ],
)
def test_the_six_published_networks(
    write: Write, name: str, scale: int, network: str, config: ATDConfig, parameters: int
) -> None:
    wanted = basicsr.read_test(write(options(name, scale, network)))
    assert wanted.name == name
    assert wanted.scale == scale
    assert wanted.config == config
    with torch.device("meta"):
        model = ATD(wanted.config)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert wanted.weights == Path(f"weights/{name}.pth")
    assert wanted.param_key == "params_ema"
    assert wanted.save_images
    assert [dataset.name for dataset in wanted.datasets] == ["Set5", "BSD100"]
    assert wanted.datasets[1].hr == Path(f"datasets/HR/B100/x{scale}")
    assert wanted.datasets[1].lr == Path(f"datasets/LR/B100/x{scale}")
    assert wanted.notes == ()


def test_missing_arguments_of_the_network_are_the_official_defaults(write: Write) -> None:
    text = options()
    for line in ("  window_size: 16\n", "  category_size: 100\n", "  img_range: 1.\n"):
        assert line in text
        text = text.replace(line, "")
    config = basicsr.read_test(write(text)).config
    assert (config.window, config.category_size, config.img_range) == (8, 128, 1.0)


def test_where_pictures_go(write: Write) -> None:
    wanted = basicsr.read_test(write(options()))
    assert wanted.images == Path("results/tiny_SRx2/visualization")
    assert wanted.suffix == "tiny_SRx2"
    for written, suffix in {"mine": "mine", "''": "tiny_SRx2"}.items():
        text = options().replace("suffix: ~", f"suffix: {written}")
        assert basicsr.read_test(write(text)).suffix == suffix


def test_keys_without_bearing_are_passed_over(write: Write) -> None:
    text = options().replace("  save_img: true\n", "  save_img: false\n  pbar: true\n")
    text += "logger: {print_freq: 100}\ndist_params: {backend: nccl}\ntile: ~\n"
    wanted = basicsr.read_test(write(text))
    assert not wanted.save_images
    assert wanted.notes == ()


def test_what_is_done_otherwise_is_noted(write: Write) -> None:
    text = options().replace("strict_load_g: yes", "strict_load_g: no")
    text = text.replace("    dataroot_lq: datasets/LR/Set5/x2\n", "")
    text += "    beauty:\n      type: calculate_niqe\n      crop_border: 7\n"
    metric, lr, strict = basicsr.read_test(write(text)).notes
    assert "val.metrics.beauty ('calculate_niqe') is not measured" in metric
    assert "Set5 has no dataroot_lq" in lr
    assert "strict_load_g" in strict


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("type: ATD\n", "type: SwinIR\n", r"network_g\.type is 'SwinIR'; only ATD"),
        ("type: ATD\n", "type: ATDPlus\n  other: 3\n", r"network_g\.type is 'ATDPlus'"),
        ("ATDModel", "HATModel", r"model_type is 'HATModel': input should be 'ATDModel'"),
        ("  embed_dim", "  embed_dims", r"network_g: there is no key 'embed_dims'.*'embed_dim'\?"),
        ("  embed_dim", "  down_c: 20\n  embed_dim", "'down_c'; take it out"),
        ("embed_dim: 12", "embed_dim: wide", r"network_g\.embed_dim is 'wide'"),
        ("embed_dim: 12", "embed_dim: yes", r"network_g\.embed_dim is True"),
        ("embed_dim: 12", "embed_dim: 0x" + "f" * 9000, "a very large number"),
        ("embed_dim: 12", "embed_dim: 13", "does not divide width 13"),
        ("[2, 2]\n  num", "[2, two]\n  num", r"network_g\.depths\.1 is 'two'"),
        ("mlp_ratio: 1", "mlp_ratio: .inf", "mlp_ratio is inf"),
        ("img_range: 1.", "img_range: 0", "img_range is 0"),
        ("'1conv'", "'3conv'", r"resi_connection is '3conv': input should be '1conv'"),
        ("img_size: 64", "ape: true", r"network_g\.ape is True"),
        ("in_chans: 3", "in_chans: 1", r"in_chans is 1"),
        ("pixelshuffledirect", "nearest+conv", r"'nearest\+conv' enlarges by 4, and scale is 2"),
        ("pixelshuffledirect", "bicubic", "upsampler is 'bicubic'"),
        ("  upsampler: pixelshuffledirect\n", "", r"the key network_g\.upsampler is missing"),
        ("upscale: 2", "upscale: 4", "scale is 2 and network_g.upscale 4"),
        ("scale: 2\nnum", "num", "the key scale is missing"),
        ("network_g:", "network_g: 3\nx:", r"no key 'x'"),
        ("name: tiny_SRx2", "name: ../up", r"name is '\.\./up': it becomes a folder's name"),
        ("name: tiny_SRx2", "name: ..", "name is"),
        ("name: Set5", "name: a/b", r"datasets\.test_1\.name is 'a/b'"),
        ("name: BSD100", "name: Set5", "two test sets are called Set5"),
        ("suffix: ~", "suffix: a/../../b", r"val\.suffix is"),
        ("type: disk", "type: lmdb", r"io_backend\.type is 'lmdb': input should be 'disk'"),
        ("Paired", "Single", r"datasets\.test_1\.type is 'SingleImageDataset'"),
        ("    io_backend", "    color: y\n    io_backend", "color is not supported: the network"),
        ("    io_backend", "    filename_tmpl: '{:>9}'\n    io_backend", "with {} in it once"),
        ("    io_backend", "    filename_tmpl: '../{}'\n    io_backend", "with {} in it once"),
        ("datasets/HR/Set5/x2", '"a\\0"', r"line \d+ holds a NUL character"),
        ("datasets/HR/Set5/x2", "a" * 300, "dataroot_gt is .*cannot be looked up"),
        ("datasets/HR/Set5/x2", "~nobody-of-that-name/x2", "there is no such user"),
        ("  test_1:", "  train:", "for training"),
        ("\nval:", "\ntrain: {}\nval:", "for training.*atdsr train"),
        ("weights/tiny_SRx2.pth", "~", r"path\.pretrain_network_g is None"),
        ("params_ema", "ema", r"param_key_g is 'ema'"),
        ("num_gpu", "tile: {tile_size: 64}\nnum_gpu", "tile is not supported: give --tile"),
        ("crop_border: 2", "crop_border: 0", r"val\.metrics\.psnr\.crop_border is 0; .* with 2"),
        ("test_y_channel: yes", "test_y_channel: no", "test_y_channel is False; .* with true"),
    ],
)
def test_what_is_refused(write: Write, before: str, after: str, sentence: str) -> None:
    text = options()
    assert before in text
    path = write(text.replace(before, after, 1))
    with pytest.raises(BasicSRError, match=rf"^{path}: .*({sentence})") as caught:
        basicsr.read_test(path)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "key: value"),
        ("- a\n", "key: value"),
        ("a: [", "not valid YAML"),
        ("[" * 100_000, "line 1 nests more than 50 levels"),
        ("a: !!timestamp x", "line 1 holds more than plain values.*!!timestamp"),
        ("a: !!bool x", "not valid YAML"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("name: a\nnetwork_g: {type: ATD}\n", "the key scale is missing"),
        ("datasets: 3\n", "the key name is missing"),
        ("1: 2\n", "there is no key 1"),
    ],
)
def test_what_is_no_option_file(write: Write, text: str, sentence: str) -> None:
    with pytest.raises(BasicSRError, match=rf"test\.yml.*{sentence}"):
        basicsr.read_test(write(text))


def test_the_text_never_runs_code(write: Write, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    text = options() + f"x: !!python/object/apply:os.mkdir ['{trace}']\n"
    with pytest.raises(BasicSRError, match=r"line \d+ holds more than plain values.*os\.mkdir"):
        basicsr.read_test(write(text))
    assert not trace.exists()


def test_aliases_that_multiply_are_not_written_out(write: Write) -> None:
    lines = ["b0: &b0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"b{i}: &b{i} [{', '.join([f'*b{i - 1}'] * 9)}]" for i in range(1, 12)]
    with pytest.raises(BasicSRError, match="more than 10000 values, counting its aliases"):
        basicsr.read_test(write("\n".join(lines)))
    with pytest.raises(BasicSRError, match="line 1 contains itself"):
        basicsr.read_test(write("name: &a [*a, *a]\n" + options().split("\n", 1)[1]))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BasicSRError, match="does not exist; check the name"):
        basicsr.read_test(tmp_path / "gone.yml")


def test_paths_are_seen_from_here_first_and_else_from_the_repository(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(options())
    repository = tmp_path / "repository"
    (repository / "datasets/HR/Set5/x2").mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "datasets/LR/Set5/x2").mkdir(parents=True)
    (repository / "datasets/LR/Set5/x2").mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    dataset = basicsr.read_test(file).datasets[0]
    assert dataset.hr == repository / "datasets/HR/Set5/x2"
    assert dataset.lr == Path("datasets/LR/Set5/x2")
    monkeypatch.chdir(repository)
    assert basicsr.read_test(Path("options/test/test.yml")).datasets[0].hr == Path(
        "datasets/HR/Set5/x2"
    )


# --------------------------------------------------------------------------------- test sets


@pytest.fixture
def repository(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with an option file, its sets, and the place where the command runs."""
    file = write(options())
    root = tmp_path / "repository"
    for folder in SETS.values():
        for name in ("b", "a"):
            picture(root / f"datasets/HR/{folder}/x2/{name}.png", 8)
            picture(root / f"datasets/LR/{folder}/x2/{name}.png", 4)
    monkeypatch.chdir(root)
    return file


def picture(path: Path, side: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(path)


def test_sets(repository: Path) -> None:
    (Path("datasets/HR/Set5/x2") / "Thumbs.db").touch()
    first, second = basicsr.read_test(repository).sets()
    assert (first.name, second.name) == ("Set5", "BSD100")
    assert [pair.name for pair in first.pairs] == ["a", "b"]
    assert second.pairs[1].hr == Path("datasets/HR/B100/x2/b.png")
    assert second.pairs[1].lr == Path("datasets/LR/B100/x2/b.png")


def test_a_template_names_lr_pictures_and_results(repository: Path, write: Write) -> None:
    folder = Path("datasets/LR/Set5/x2")
    for name in ("a", "b"):
        (folder / f"{name}.png").rename(folder / f"small_{name}.png")
    file = write(options().replace("    io", "    filename_tmpl: 'small_{}'\n    io", 1))
    first = basicsr.read_test(file).sets()[0]
    assert [pair.name for pair in first.pairs] == ["small_a", "small_b"]
    assert first.pairs[0].hr.name == "a.png"


def test_the_plain_template_finds_names_with_the_scale(repository: Path) -> None:
    folder = Path("datasets/LR/Set5/x2")
    (folder / "a.png").rename(folder / "ax2.png")
    picture(folder / "bx2.png", 4)  # the exact name comes first
    first = basicsr.read_test(repository).sets()[0]
    assert [pair.lr for pair in first.pairs] == [folder / "ax2.png", folder / "b.png"]
    assert [pair.name for pair in first.pairs] == ["a", "b"]


def test_no_lr_folder(repository: Path, write: Write) -> None:
    file = write(options().replace("    dataroot_lq: datasets/LR/Set5/x2\n", ""))
    first = basicsr.read_test(file).sets()[0]
    assert [(pair.name, pair.lr) for pair in first.pairs] == [("a", None), ("b", None)]


def test_a_set_that_is_not_whole(repository: Path, write: Write) -> None:
    wanted = basicsr.read_test(repository)
    Path("datasets/LR/B100/x2/b.png").unlink()
    with pytest.raises(BasicSRError, match=r"test\.yml: .*LR/B100/x2 .*HR/B100/x2/b\.png"):
        wanted.sets()
    file = write(options().replace("    io", "    filename_tmpl: '{}_lr'\n    io", 1))
    with pytest.raises(
        BasicSRError, match=r"LR/Set5/x2 has no LR picture called a_lr for .*a\.png"
    ):
        basicsr.read_test(file).sets()
    for path in Path("datasets/HR/Set5/x2").iterdir():
        path.unlink()
    with pytest.raises(BasicSRError, match=r"HR/Set5/x2 holds no pictures"):
        wanted.sets()
    Path("datasets/HR/Set5/x2").rmdir()
    with pytest.raises(BasicSRError, match=r"HR/Set5/x2 does not exist"):
        wanted.sets()


# ----------------------------------------------------------------------------------- weights


def test_weights_get_what_they_cannot_tell(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write(options().replace("img_range: 1.", "img_range: 255."))
    tiny = Weights(TINY, lively(TINY).state_dict())
    write_weights(tiny, "weights/tiny_SRx2.pth")
    loaded = basicsr.read_test(file).load()
    assert loaded.config == replace(TINY, category_size=100, img_range=255.0)
    assert loaded.build().config == loaded.config


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("num_tokens: 8", "num_tokens: 16", "network_g.num_tokens .* 16 by .* 8 by the weights"),
        ("depths: [2, 2]", "depths: [2, 3]", r"network_g.depths .* \(2, 3\) by"),
        ("mlp_ratio: 1", "mlp_ratio: 1.5", "network_g.mlp_ratio .* 18 by .* 12 by"),
    ],
)
def test_weights_of_another_network(
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: str,
    after: str,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = Weights(TINY, lively(TINY).state_dict())
    write_weights(tiny, "weights/tiny_SRx2.pth")
    wanted = basicsr.read_test(write(options().replace(before, after)))
    with pytest.raises(BasicSRError, match=sentence):
        wanted.load()


def test_the_set_of_weights_that_is_asked_for(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights").mkdir()
    first, second = (lively(TINY, seed) for seed in (1, 2))
    files = {
        key: official_state_dict(Weights(TINY, model.state_dict()))
        for key, model in (("params", first), ("params_ema", second))
    }
    torch.save(files, "weights/tiny_SRx2.pth")
    for key, model in (("params", first), ("params_ema", second)):
        text = options().replace("param_key_g: params_ema", f"param_key_g: {key}")
        state = basicsr.read_test(write(text)).load().state
        assert torch.equal(state["conv_first.weight"], model.conv_first.weight)


def test_missing_weights(write: Write) -> None:
    wanted = basicsr.read_test(write(options()))
    with pytest.raises(AtdsrError, match=r"tiny_SRx2\.pth does not exist"):
        wanted.load()
