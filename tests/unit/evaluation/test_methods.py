"""What names and files of weights stand for in a comparison."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atdsr.evaluation import methods
from atdsr.evaluation.methods import MethodError
from atdsr.imaging import resample
from atdsr.inference.config import InferenceConfig
from atdsr.inference.upscaler import Upscaler
from atdsr.network.config import ATDConfig
from atdsr.weights import Weights, WeightsError, models, official_state_dict, write_weights
from helpers.networks import TINY, lively

CPU = InferenceConfig(device="cpu", tile="off")


def weights(path: Path, scale: int = 2, seed: int = 0) -> str:
    config = ATDConfig(**{**vars(TINY), "scale": scale})
    path.parent.mkdir(exist_ok=True)
    write_weights(Weights(config, lively(config, seed).state_dict()), path)
    return str(path)


@pytest.fixture
def samples() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)


def test_baselines(samples: np.ndarray) -> None:
    bicubic, lanczos = methods.named(["lanczos", "bicubic", "lanczos"], 3)
    assert [bicubic.name, lanczos.name] == ["bicubic", "lanczos"]
    assert bicubic.parameters is None
    assert np.array_equal(bicubic.enlarge(samples), resample.upscale(samples, 3))
    expected = Image.fromarray(samples).resize((42, 27), Image.Resampling.LANCZOS)
    assert np.array_equal(lanczos.enlarge(samples), np.asarray(expected))
    assert [method.scale for method in methods.named(["bicubic"])] == [2]


def test_a_file_of_weights(tmp_path: Path, samples: np.ndarray) -> None:
    path = weights(tmp_path / "mine.safetensors")
    bicubic, mine = methods.named([path], config=CPU)
    assert bicubic.name == "bicubic"
    assert mine.name == "mine"
    assert mine.scale == 2
    assert mine.parameters == sum(p.numel() for p in lively(TINY).parameters())
    assert mine.device == "cpu"
    assert np.array_equal(mine.enlarge(samples), Upscaler(lively(TINY), device="cpu")(samples))


def test_ensemble_is_a_method_of_its_own(tmp_path: Path, samples: np.ndarray) -> None:
    path = weights(tmp_path / "mine.safetensors")
    _, plain = methods.named([path], config=CPU)
    bicubic, plus = methods.named(
        [path], config=InferenceConfig(device="cpu", tile="off", ensemble=True)
    )
    assert [bicubic.name, plus.name] == ["bicubic", "mine+"]
    expected = Upscaler(lively(TINY), device="cpu", ensemble=True)(samples)
    assert np.array_equal(plus.enlarge(samples), expected)
    assert not np.array_equal(plus.enlarge(samples), plain.enlarge(samples))
    assert plus.identity != plain.identity


@pytest.mark.slow
def test_a_named_model() -> None:
    _, model = methods.named(["atd-light-x2"], config=CPU)
    assert model.name == "atd-light-x2"
    assert model.parameters == 753_204
    assert models.BUNDLED[0].sha256 in model.identity
    _, default = methods.named([], config=CPU)
    assert default.name == "atd-light-x2"


def test_each_scale_has_its_baselines(tmp_path: Path) -> None:
    names = [weights(tmp_path / "a.safetensors", 4), "lanczos", weights(tmp_path / "b.pth", 2)]
    compared = methods.named(names, config=CPU, category_size=256)
    assert [(method.name, method.scale) for method in compared] == [
        ("bicubic-x2", 2),
        ("lanczos-x2", 2),
        ("bicubic-x4", 4),
        ("lanczos-x4", 4),
        ("a", 4),
        ("b", 2),
    ]


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    names = [
        weights(tmp_path / "1" / "net.safetensors", seed=1),
        weights(tmp_path / "2" / "net.safetensors", seed=2),
    ]
    _, first, second = methods.named(names, config=CPU)
    assert [first.name, second.name] == ["1/net", "2/net"]
    assert first.identity != second.identity
    names.append(weights(tmp_path / "2" / "net.pth", seed=3))  # the folder is the same, too
    *_, second, third = methods.named(names, config=CPU, category_size=256)
    assert [second.name, third.name] == ["net", "net-2"]
    *_, alone = methods.named(names[:1], config=CPU)
    assert alone.name == "net"


def test_another_scale_than_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = weights(tmp_path / "a.safetensors", 4)
    with pytest.raises(MethodError, match=r"a\.safetensors enlarges by 4, not by 2; drop it or"):
        methods.named([path], 2, CPU)
    assert methods.named([], 4, CPU)[1].name == "atd-light-x4"
    monkeypatch.setattr(models, "BUNDLED", models.BUNDLED[:1])
    with pytest.raises(WeightsError, match="no model for scale 4 comes with"):
        methods.named([], 4, CPU)


def test_what_is_no_network(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(WeightsError, match=r"text\.pth is a text, not weights"):
        methods.named([str(tmp_path / "text.pth")], config=CPU)
    with pytest.raises(WeightsError, match="model called 'bicubik'; did you mean bicubic"):
        methods.named(["bicubik"], config=CPU)
    also = "lists the models; bicubic, lanczos and identity can be named as well"
    with pytest.raises(WeightsError, match=also):
        methods.named(["swinir"], config=CPU)
    tensors = official_state_dict(Weights(TINY, lively(TINY).state_dict()))
    torch.save(tensors, tmp_path / "tiny.pth")
    with pytest.raises(WeightsError, match="--category-size"):  # an ATD: no peer is looked for
        methods.named([str(tmp_path / "tiny.pth")], config=CPU)


def test_names_in_another_case() -> None:
    found = methods.named(["Lanczos", "ATD-Light-x3"], config=CPU)
    assert [method.name for method in found] == ["bicubic", "lanczos", "atd-light-x3"]
