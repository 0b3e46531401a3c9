"""Networks in ONNX files of any origin, by onnxruntime."""

import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

import atdsr
from atdsr.base import memory
from atdsr.inference.config import InferenceConfig, UpscaleError
from atdsr.inference.onnx_network import OnnxNetwork
from atdsr.inference.upscaler import Upscaler
from atdsr.weights import WeightsError
from helpers import onnx_files
from helpers.networks import TINY, lively
from helpers.pictures import noise


def repeated(samples: np.ndarray, scale: int) -> np.ndarray:
    return samples.repeat(scale, 0).repeat(scale, 1)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_any_network_of_this_interface_is_run(tmp_path: Path, scale: int) -> None:
    upscaler = atdsr.load(onnx_files.nearest(tmp_path / "n.onnx", scale))
    assert (upscaler.scale, upscaler.parameters) == (scale, 0)
    assert repr(upscaler) == f"<Upscaler: n.onnx x{scale}, cpu>"
    samples = noise(3, h=13, w=29)
    assert np.array_equal(upscaler(samples), repeated(samples, scale))


@pytest.mark.parametrize(
    "options",
    [{"batch": 1}, {"multiple": 4}, {"multiple": 16}, {"dtype": TensorProto.FLOAT16}],
    ids=["one-picture", "multiples-of-4", "multiples-of-16", "half"],
)
def test_what_others_export_differently(tmp_path: Path, options: dict[str, Any]) -> None:
    upscaler = atdsr.load(onnx_files.nearest(tmp_path / "n.onnx", **options))
    pictures = [noise(3, h=13, w=29), noise(3, h=13, w=29)[::-1].copy()]
    for result, samples in zip(upscaler.batch(pictures), pictures, strict=True):
        assert np.array_equal(result, repeated(samples, 2))


def test_tiles_alpha_and_gray_are_those_of_any_network(tmp_path: Path) -> None:
    path = onnx_files.nearest(tmp_path / "n.onnx")
    samples = noise(4, h=50, w=90)
    whole, tiled = atdsr.load(path)(samples), atdsr.load(path, tile=32)(samples)
    assert np.array_equal(whole, tiled)
    reference = Upscaler(lively(TINY), device="cpu")(samples)
    assert np.array_equal(whole[..., 3], reference[..., 3])
    gray = noise(1, h=13, w=29)
    assert np.array_equal(atdsr.load(path)(gray), repeated(gray, 2))


def test_progress_is_told_for_each_tile(tmp_path: Path) -> None:
    seen: list[float] = []
    upscaler = atdsr.load(onnx_files.nearest(tmp_path / "n.onnx"), tile=32, ensemble=True)
    upscaler(noise(3, h=40, w=30), progress=seen.append)
    assert seen == [pytest.approx(done / 16) for done in range(1, 17)]


def test_memory_is_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    upscaler = atdsr.load(onnx_files.nearest(tmp_path / "n.onnx"))
    samples = noise(3, h=64, w=96)
    expected = upscaler(samples, tell=told.append)
    assert not told
    monkeypatch.setattr(memory, "available_bytes", lambda: upscaler.estimate(64, 64))
    assert np.array_equal(upscaler(samples, tell=told.append), expected)
    assert "96x64 takes about" in told[0]
    assert "in tiles of 48" in told[0]


def test_memory_that_runs_out_makes_smaller_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upscaler, told = atdsr.load(onnx_files.nearest(tmp_path / "n.onnx")), list[str]()
    assert isinstance(upscaler.model, OnnxNetwork)
    run = upscaler.model._run

    def run_small(samples: np.ndarray) -> np.ndarray:
        if samples.shape[-1] > 40:
            raise RuntimeError("bfc_arena.cc:360 Failed to allocate memory for requested buffer")
        return run(samples)

    monkeypatch.setattr(upscaler.model, "_run", run_small)
    samples = noise(3, h=20, w=70)
    assert np.array_equal(upscaler(samples, tell=told.append), repeated(samples, 2))
    assert told == ["memory ran out, so it begins again in tiles of 32 with an overlap of 16."]


def test_a_signal_ends_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = OnnxNetwork(onnx_files.nearest(tmp_path / "n.onnx"))
    terminated: list[bool] = []

    class Slow:
        def run(self, names: None, feed: object, options: onnxruntime.RunOptions) -> list[object]:
            for _ in range(500):
                if options.terminate:
                    break
                threading.Event().wait(0.01)
            terminated.append(options.terminate)
            return [np.zeros(0)]

    def join(self: threading.Thread, timeout: float | None = None) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(network, "_session", Slow())
    session = network._session
    monkeypatch.setattr(threading.Thread, "join", join)
    with pytest.raises(KeyboardInterrupt):
        network(torch.rand(1, 3, 8, 8))
    assert terminated == [True], session


def test_it_is_not_used_in_a_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler = atdsr.load(onnx_files.nearest(tmp_path / "n.onnx"))
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(UpscaleError, match="forked from one that had computed"):
        upscaler(noise(3))


# -------------------------------------------------------------------------------- what is refused


def refused(path: Path) -> str:
    with pytest.raises(UpscaleError) as caught:
        atdsr.load(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path} ")
    assert "\n" not in sentence
    assert "/onnxruntime" not in sentence
    return sentence.removeprefix(f"{path} ")


def test_files_that_are_no_network(tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    assert refused(path) == "does not exist; check the name."
    path.write_bytes(b"hello world")
    assert refused(path) == "is not an ONNX file, or it is damaged; fetch it again."
    path.write_bytes(b"")
    assert refused(path) == "holds no ONNX network; fetch it again."
    whole = onnx_files.nearest(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert refused(path) == "is not an ONNX file, or it is damaged; fetch it again."
    path.unlink()
    path.mkdir()
    assert refused(path) == "is not a file; name an .onnx file."


def test_files_of_another_interface(tmp_path: Path) -> None:
    path = tmp_path / "n.onnx"
    assert refused(onnx_files.nearest(path, channels=1)) == (
        "does not enlarge RGB pictures: it has the inputs x b 1 h w and the outputs y b 1 2*h 2*w, "
        "and not one each, b 3 h w."
    )
    assert refused(onnx_files.nearest(path, sides=(64, 48))) == (
        "takes pictures of 48x64 only; export it with dynamic height and width."
    )
    assert refused(onnx_files.nearest(path, dtype=TensorProto.DOUBLE)) == (
        "takes tensor(double) and not floats; export it with a float input."
    )
    assert "networks that enlarge by 2, 3 or 4 are run" in refused(onnx_files.nearest(path, 5))


def test_external_data(tmp_path: Path) -> None:
    path = onnx_files.nearest(tmp_path / "n.onnx", external=True)
    assert atdsr.load(path).scale == 2
    data = tmp_path / "n.onnx.data"
    data.rename(tmp_path / "elsewhere")
    assert refused(path).startswith("keeps its weights in another file, which is missing; ")
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "../../etc/passwd"
    path.write_bytes(model.SerializeToString())
    assert refused(path) == "refers to a file outside its folder; it was not loaded."


def test_a_newer_opset(tmp_path: Path) -> None:
    path = onnx_files.nearest(tmp_path / "n.onnx", opset=99)
    assert refused(path) == (
        "was written for a newer version of ONNX (opset) than this onnxruntime knows; update "
        "onnxruntime, or export the network for opset 18."
    )


def test_a_configuration_that_is_none(tmp_path: Path) -> None:
    path = onnx_files.nearest(tmp_path / "n.onnx")
    model = onnx.load(path)
    for config in (
        "[",
        "[1]",
        '{"depths": 1}',
        '{"depths": [1], "heads": [1], "x": 1}',
        "[" * 9999,
    ):
        del model.metadata_props[:]
        for key, value in {"architecture": "ATD", "config": config}.items():
            model.metadata_props.add(key=key, value=value)
        path.write_bytes(model.SerializeToString())
        with pytest.raises(UpscaleError, match=r"configuration cannot be read .*export it again"):
            atdsr.load(path)


def test_a_provider_that_is_not_here(tmp_path: Path) -> None:
    path = onnx_files.nearest(tmp_path / "n.onnx")
    for name in ("directml", "tensorrt"):
        with pytest.raises(UpscaleError, match=rf"has no provider {name}; it has cpu.*\. Install "):
            atdsr.load(path, provider=name)
    with pytest.raises(UpscaleError, match="provider is 'npu'; it is one of cpu, cuda"):
        InferenceConfig(provider="npu")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UpscaleError, match="a provider runs ONNX files"):
        Upscaler(lively(TINY), provider="cpu")


def test_a_provider_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = onnx_files.nearest(tmp_path / "n.onnx")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with (
        pytest.warns(UserWarning, match="not in available"),
        pytest.raises(UpscaleError, match="the provider cuda does not start on this machine"),
    ):
        atdsr.load(path, provider="cuda")


def test_options_that_are_for_pytorch(tmp_path: Path) -> None:
    path = onnx_files.nearest(tmp_path / "n.onnx")
    with pytest.raises(UpscaleError, match="device and precision are for networks in PyTorch"):
        atdsr.load(path, precision="bf16")
    with pytest.raises(WeightsError, match="knows its category size"):
        atdsr.load(path, category_size=64)


def test_onnxruntime_that_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = onnx_files.nearest(tmp_path / "n.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UpscaleError, match=r"install it with pip install 'atdsr\[export\]'"):
        atdsr.load(path)
