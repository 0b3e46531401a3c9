"""Files with weights: names, shapes, configurations, and files that are something else."""

import dataclasses
import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from atdsr.base.files import FileError
from atdsr.network.config import ATDConfig, atd, atd_light, atd_light_v2, atd_v2
from atdsr.network.model import ATD
from atdsr.weights import (
    WRITE_SUFFIXES,
    Weights,
    WeightsError,
    infer_config,
    initialise_from,
    official_name,
    official_state_dict,
    read_tensors,
    read_torch_file,
    read_weights,
    torch_file_bytes,
    write_weights,
)
from helpers.networks import TINY, TINY_V2, lively

ALL = [
    *(build(scale) for build in (atd, atd_light, atd_v2, atd_light_v2) for scale in (2, 3, 4)),
    *(dataclasses.replace(build(4), head="nearest+conv") for build in (atd, atd_v2)),
]


def fresh(config: ATDConfig) -> Weights:
    with torch.device("meta"):
        state = ATD(config).state_dict()
    return Weights(config, {name: torch.zeros(tensor.shape) for name, tensor in state.items()})


@pytest.fixture
def weights() -> Weights:
    return Weights(TINY, lively(TINY).state_dict())


@pytest.mark.parametrize("config", ALL, ids=lambda c: f"{c.width} {c.head} x{c.scale}")
def test_a_published_configuration_is_read_off_its_shapes(config: ATDConfig) -> None:
    assert infer_config(official_state_dict(fresh(config))) == config


@pytest.mark.parametrize(
    ("config", "entries"), [(atd_light(2), 683), (atd_light_v2(2), 655), (atd_v2(4), 983)]
)
def test_the_number_of_entries(config: ATDConfig, entries: int) -> None:
    assert len(official_state_dict(fresh(config))) == entries


def test_official_names(reference: Path) -> None:
    official, _ = read_tensors(reference / "trained_light_x2.pth")
    assert set(official_state_dict(fresh(atd_light(2)))) == set(official)


@pytest.mark.parametrize("ratio", [1.1, 1.7, 2.3])
def test_a_ratio_that_division_cannot_give_back(ratio: float) -> None:
    config = dataclasses.replace(atd_light(2), ffn_ratio=ratio)
    inferred = infer_config(official_state_dict(fresh(config)))
    assert int(48 * inferred.ffn_ratio) == int(48 * ratio)


@pytest.mark.parametrize("suffix", WRITE_SUFFIXES)
def test_round_trip(tmp_path: Path, weights: Weights, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    write_weights(weights, path)
    back = read_weights(path, category_size=256 if suffix == ".pth" else None)
    assert back.config == weights.config
    assert back.state.keys() == weights.state.keys()
    assert all(torch.equal(back.state[name], weights.state[name]) for name in back.state)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", WRITE_SUFFIXES)
def test_values_of_16_bits(tmp_path: Path, weights: Weights, suffix: str) -> None:
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"half{suffix}"
    write_weights(weights, whole)
    write_weights(weights, path, half=True)
    saved = sum(2 * value.numel() for value in weights.state.values())
    assert whole.stat().st_size - path.stat().st_size == pytest.approx(saved, rel=0.1)
    back = read_weights(path, category_size=256)
    assert all(torch.equal(back.state[k], weights.state[k].half()) for k in weights.state)
    assert {p.dtype for p in back.build().parameters()} == {torch.float32}


def test_values_that_16_bits_cannot_hold(tmp_path: Path, weights: Weights) -> None:
    state = weights.state | {"norm_out.bias": torch.full((48,), 7e4)}
    with pytest.raises(WeightsError, match=r"a.pth: norm.bias has values beyond the range of floa"):
        write_weights(dataclasses.replace(weights, state=state), tmp_path / "a.pth", half=True)
    assert not list(tmp_path.iterdir())


def test_metadata_wins_over_shapes_and_an_argument_over_both(tmp_path: Path) -> None:
    config = dataclasses.replace(atd_light(2), category_size=64, img_range=255.0, category_block=96)
    path = tmp_path / "model.safetensors"
    write_weights(fresh(config), path)
    assert read_weights(path).config == config
    assert read_weights(path, category_size=32).config.category_size == 32


def test_an_unknown_network_asks_for_its_category_size(tmp_path: Path, weights: Weights) -> None:
    path = tmp_path / "model.pth"
    write_weights(weights, path)
    with pytest.raises(WeightsError, match="category_size="):
        read_weights(path)
    assert read_weights(path, category_size=64).config.category_size == 64


def test_which_set_of_an_official_file_is_taken(tmp_path: Path, weights: Weights) -> None:
    tensors = official_state_dict(weights)
    other = {name: tensor + 1 for name, tensor in tensors.items()}
    path = tmp_path / "model.pth"

    def first(**kwargs) -> float:
        state = read_weights(path, category_size=256, **kwargs).state
        return state["conv_first.bias"][0].item()

    kept = tensors["conv_first.bias"][0].item()
    torch.save({"params": other, "params_ema": tensors}, path)
    assert first() == kept
    assert first(prefer="params") == pytest.approx(kept + 1)
    for content in ({"params": tensors}, tensors):
        torch.save(content, path)
        assert first() == kept


def test_equal_weights_give_equal_files(tmp_path: Path, weights: Weights) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        write_weights(weights, tmp_path / name)
    a, b = ((tmp_path / name).read_bytes() for name in ("a.safetensors", "b.safetensors"))
    assert a == b


@pytest.mark.parametrize("suffix", WRITE_SUFFIXES)
def test_a_new_file_obeys_the_umask(tmp_path: Path, weights: Weights, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    old = os.umask(0o027)
    try:
        write_weights(weights, path)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o640


def test_the_built_network_is_the_saved_one(tmp_path: Path) -> None:
    model = lively(TINY)
    write_weights(Weights(TINY, model.state_dict()), tmp_path / "m.safetensors")
    built = read_weights(tmp_path / "m.safetensors").build()
    image = torch.rand(1, 3, 20, 17)
    with torch.inference_mode():
        assert torch.equal(built(image), model(image))


def test_an_existing_file_is_kept(tmp_path: Path, weights: Weights) -> None:
    path = tmp_path / "model.pth"
    path.write_text("mine")
    with pytest.raises(FileError, match="is kept"):
        write_weights(weights, path)
    assert path.read_text() == "mine"
    write_weights(weights, path, overwrite=True)
    assert read_weights(path, category_size=1).config.scale == 2


def test_another_suffix_is_refused(tmp_path: Path, weights: Weights) -> None:
    with pytest.raises(WeightsError, match=r"\.safetensors or \.pth"):
        write_weights(weights, tmp_path / "model.onnx")


# Files that are something else


class _Evil:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_code_in_a_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"params_ema": _Evil()}, "evil.pth")
    Path("plain.pth").write_bytes(pickle.dumps(_Evil(), protocol=2))
    for name in ("evil.pth", "plain.pth"):
        with pytest.raises(WeightsError, match=f"{name}.*not loaded"):
            read_weights(name)
    assert not Path("ran").exists()


@pytest.mark.parametrize("suffix", WRITE_SUFFIXES)
@pytest.mark.parametrize("share", [0.001, 0.3, 0.99])
def test_a_truncated_file(tmp_path: Path, weights: Weights, suffix: str, share: float) -> None:
    path = tmp_path / f"model{suffix}"
    write_weights(weights, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsError, match="damaged"):
        read_weights(path)


@pytest.mark.parametrize("suffix", WRITE_SUFFIXES)
def test_something_else(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_text("no weights at all, but a text that is long enough to look into")
    with pytest.raises(WeightsError, match=path.name):
        read_weights(path)
    with pytest.raises(WeightsError, match="does not exist"):
        read_weights(tmp_path / f"missing{suffix}")
    path.unlink()
    path.mkdir()
    with pytest.raises(WeightsError, match="is a folder"):
        read_weights(path)


def test_a_pytorch_file_without_tensors(tmp_path: Path) -> None:
    for content in ([1, 2], {}, {"params": {}}, {"epoch": 3}):
        torch.save(content, tmp_path / "m.pth")
        with pytest.raises(WeightsError, match="no weights"):
            read_weights(tmp_path / "m.pth")


def _official() -> dict[str, torch.Tensor]:
    return official_state_dict(fresh(TINY))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"conv_up1.weight": (64, 64, 3, 3)}, r"conv_before_upsample\.0\.weight is missing"),
        ({"layers.0.conv.0.weight": (3, 12, 3, 3)}, "3conv"),
        ({"absolute_pos_embed": (1, 4096, 12)}, "ape"),
        ({"no_norm": (1,)}, "norm"),
        ({"upsample.0.weight": None}, "upscale: 1"),
        ({"upsample.0.weight": (192, 12, 3, 3)}, "scale is 8"),
        ({"conv_first.weight": (12, 1, 3, 3)}, "RGB"),
        ({"conv_first.weight": None}, "missing"),
        ({"layers.0.residual_group.td": None}, "not the weights of an ATD"),
        ({"norm.bias": None}, "norm.bias is missing"),
        ({"norm.bias": (13,)}, r"norm.bias is \(13,\)"),
        ({"surprise": (1,)}, "surprise has no place"),
    ],
)
def test_networks_that_are_not_built(tmp_path: Path, change: dict, sentence: str) -> None:
    tensors = _official()
    for name, shape in change.items():
        tensors.pop(name, None)
        if shape is not None:
            tensors[name] = torch.zeros(shape)
    torch.save(tensors, tmp_path / "m.pth")
    with pytest.raises(WeightsError, match=rf"m\.pth: .*{sentence}"):
        read_weights(tmp_path / "m.pth", category_size=256)


@pytest.mark.parametrize(
    ("config", "change", "sentence"),
    [
        # one tensor of the other generation, in the place where that has it
        (TINY, {"fc_td.weight": (3, 12)}, r"attn_atd\.scale is \(8,\) of"),
        (TINY_V2, {"fc_td.weight": None}, r"attn_atd\.scale is \(1,\) of"),
        (TINY, {"attn_atd.scale": (1,)}, r"attn_atd\.scale is \(1,\) of"),
        (TINY_V2, {"attn_atd.scale": (20,)}, r"attn_atd\.scale is \(20,\) of"),
        (TINY, {"attn_aca.logit_scale": None}, "logit_scale is missing"),
        (TINY_V2, {"attn_aca.logit_scale": (1, 1)}, "logit_scale has no place"),
        (TINY_V2, {"sigma": (20, 1)}, "sigma has no place"),
    ],
)
def test_no_mixture_of_the_generations(
    tmp_path: Path, config: ATDConfig, change: dict, sentence: str
) -> None:
    tensors = official_state_dict(fresh(config))
    for name, shape in change.items():
        name = f"layers.0.residual_group.layers.0.{name}"
        tensors.pop(name, None)
        if shape is not None:
            tensors[name] = torch.zeros(shape)
    torch.save(tensors, tmp_path / "m.pth")
    with pytest.raises(WeightsError, match=rf"m\.pth: .*({sentence})"):
        read_weights(tmp_path / "m.pth", category_size=256)


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    tensors = {"layers.0.residual_group.blocks.0.attn.qkv.weight": torch.zeros(3)}
    safetensors.torch.save_file(tensors, tmp_path / "swinir.safetensors")
    with pytest.raises(WeightsError, match="not the weights of an ATD"):
        read_weights(tmp_path / "swinir.safetensors")


@pytest.mark.parametrize("text", ["{", "[]", '{"scale": 2}', '{"depths": 1, "heads": 2}'])
def test_metadata_that_is_no_configuration(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.safetensors"
    safetensors.torch.save_file(_official(), path, {"atdsr.config": text})
    with pytest.raises(WeightsError, match=r"m\.safetensors: .*metadata"):
        read_weights(path)


# Fine-tuning across scales


HEAD = ["upsample.0.weight", "upsample.0.bias"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "scale", "interpolated", "left"),
    [
        (atd_light, 3, HEAD, []),
        (atd_light, 4, HEAD, []),
        (atd, 3, HEAD, []),
        (atd, 4, [], ["upsample.2.weight", "upsample.2.bias"]),
    ],
)
def test_what_a_larger_scale_takes_over(
    build, scale: int, interpolated: list[str], left: list[str]
) -> None:
    with torch.device("meta"):
        target = ATD(build(scale))
    target = target.to_empty(device="cpu")
    source = {name: torch.ones(t.shape) for name, t in fresh(build(2)).state.items()}
    assert initialise_from(target, source) == (interpolated, left)
    for name, tensor in target.state_dict().items():
        if official_name(name) not in left:
            assert torch.allclose(tensor, torch.ones(()))


@pytest.mark.parametrize(("before", "scale"), [(2, 3), (2, 4), (3, 4), (4, 2)])
def test_the_head_of_another_scale_follows_the_same_slopes(before: int, scale: int) -> None:
    """A picture that is linear inside a pixel is the same picture at every scale."""

    def linear(side: int) -> torch.Tensor:
        at = (torch.arange(side, dtype=torch.float64) + 0.5) / side
        plane = 0.3 * at[:, None] - 0.7 * at + at[:, None] * at
        return torch.stack([plane, 2 * plane, plane + 1]).flatten()

    source = lively(dataclasses.replace(TINY, scale=before)).double().state_dict()
    kernel = torch.arange(9.0, dtype=torch.float64).view(1, 1, 3, 3)
    source["head.0.bias"] = linear(before)
    source["head.0.weight"] = linear(before).view(-1, 1, 1, 1) * kernel.expand(1, TINY.width, 3, 3)
    target = lively(dataclasses.replace(TINY, scale=scale), seed=1).double()
    assert initialise_from(target, source) == (HEAD, [])
    head = target.state_dict()
    assert torch.allclose(head["head.0.bias"], linear(scale), atol=1e-12)
    assert torch.allclose(head["head.0.weight"][:, 1, 2, 1], 7 * linear(scale), atol=1e-12)


@pytest.mark.parametrize("outputs", [3, 9, 13])
def test_a_head_that_is_no_other_scale_begins_fresh(outputs: int) -> None:
    target = lively(TINY)
    source = target.state_dict()
    source["head.0.weight"] = torch.ones(outputs, *source["head.0.weight"].shape[1:])
    source["head.0.bias"] = torch.ones(outputs)
    assert initialise_from(target, source) == ([], HEAD)


def test_the_state_of_a_run_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    path.write_bytes(torch_file_bytes({"step": 2, "tensor": torch.ones(3)}))
    assert read_torch_file(path)["step"] == 2
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(WeightsError, match="damaged"):
        read_torch_file(path)


def test_a_file_with_the_average_and_what_it_is_the_average_of(tmp_path: Path) -> None:
    average, trained = (Weights(TINY, lively(TINY, seed).state_dict()) for seed in (1, 2))
    path = tmp_path / "net_g_latest.pth"
    write_weights(average, path, trained=trained.state)
    for key, expected in (("params_ema", average), ("params", trained)):
        loaded = read_weights(path, category_size=256, prefer=key).state
        assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.state.items())


def test_the_prefix_of_data_parallel_is_taken_off(tmp_path: Path) -> None:
    tensors = official_state_dict(fresh(atd_light(2)))
    path = tmp_path / "parallel.pth"
    torch.save({"params": {f"module.{name}": tensor for name, tensor in tensors.items()}}, path)
    assert read_weights(path).config == atd_light(2)
