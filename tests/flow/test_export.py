"""`atdsr export`, and what others make of its files."""

import base64
import json
import os
import shutil
import sys
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

import atdsr
from atdsr import cli, imaging
from atdsr.network import kernels
from atdsr.weights import Weights, write_weights
from helpers import browser, onnx_files
from helpers.networks import ROOT, TINY, lively
from helpers.pictures import noise
from helpers.servers import folder_served
from helpers.upscaling import Run, refused, save, temporaries

CONFIG = replace(TINY, depths=(4,), heads=(2,))  # every kind of layer
TENSORRT = {
    "Add",
    "ArgMax",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "CumSum",
    "DepthToSpace",
    "Div",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Gather",
    "Gelu",
    "GreaterOrEqual",
    "Identity",
    "LayerNormalization",
    "LeakyRelu",
    "MatMul",
    "Min",
    "Mod",
    "Mul",
    "Range",
    "Reciprocal",
    "ReduceL2",
    "ReduceMean",
    "ReduceSum",
    "Reshape",
    "ScatterElements",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Transpose",
    "Unsqueeze",
}
"""Operators of the list of onnx-tensorrt 10.15 (docs/operators.md), as far as they may occur."""

TILES = ["--tile", "48", "--overlap", "16"]


def export(*args: str | Path, code: int = 0) -> list[str]:
    """Call the command; its lines come back."""
    result = CliRunner().invoke(cli.app, ["export", *map(str, args)])
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return (result.stdout if code == 0 else result.stderr).splitlines()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "tiny.safetensors"
    write_weights(Weights(CONFIG, lively(CONFIG).state_dict()), path)
    return path


@pytest.fixture(scope="module")
def exported(weights: Path) -> Path:
    """The network as ONNX; what the command said is in the file beside it."""
    path = weights.with_suffix(".onnx")
    path.with_suffix(".txt").write_text("\n".join(export(weights, "-o", path)))
    return path


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def psnr(result: np.ndarray, expected: torch.Tensor) -> float:
    return -10 * np.log10(np.square(result - expected.numpy()).mean())


@pytest.mark.slow
def test_the_file_takes_pictures_of_any_size_and_number(exported: Path) -> None:
    model, network = lively(CONFIG), session(exported)
    for shape in [(1, 3, 1, 1), (1, 3, 5, 90), (2, 3, 33, 17), (1, 3, 64, 48)]:
        image = torch.rand(shape)
        with torch.inference_mode(), kernels.plain():
            expected = model(image)
        (result,) = network.run(["enlarged"], {"image": image.numpy()})
        assert result.shape == expected.shape
        assert psnr(result, expected) > 55


@pytest.mark.slow
def test_the_command_tells_what_the_check_gave(exported: Path, weights: Path) -> None:
    said = exported.with_suffix(".txt").read_text().splitlines()
    assert said[0].startswith(f"{weights} -> {exported}, ")
    assert [line.split(":")[0] for line in said[1:]] == ["56x40", "83x61", "33x16"]
    assert all(line.endswith(" dB from the network") for line in said[1:])


@pytest.mark.slow
def test_the_graph_has_no_operator_that_tensorrt_lacks(exported: Path) -> None:
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    assert {node.op_type for node in model.graph.node} <= TENSORRT  # so no TopK, nor another sort
    assert all(node.domain == "" for node in model.graph.node)
    assert not model.functions
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    constants = {value.name for value in model.graph.initializer}
    for node in model.graph.node:  # TensorRT wants to know these when it builds
        if node.op_type in ("CumSum", "ReduceL2", "ReduceMean", "ReduceSum"):
            assert node.input[1] in constants, node


@pytest.mark.slow
def test_the_file_describes_itself(exported: Path, weights: Path) -> None:
    model = onnx.load(exported)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    config = json.loads(facts.pop("config"))
    assert int(facts.pop("parameters")) == sum(p.numel() for p in lively(CONFIG).parameters())
    assert config["width"] == CONFIG.width
    assert config["depths"] == list(CONFIG.depths)
    assert facts.pop("source").startswith("tiny.safetensors, SHA-256 ")
    assert facts == {
        "name": "tiny",
        "architecture": "ATD",
        "scale": "2",
        "window": "16",
        "version": atdsr.__version__,
    }
    for value, sides in [
        (model.graph.input[0], ["batch", 3, "height", "width"]),
        (model.graph.output[0], ["batch", 3, "2*height", "2*width"]),
    ]:
        dims = value.type.tensor_type.shape.dim
        assert [dim.dim_param or dim.dim_value for dim in dims] == sides
    content = exported.read_bytes()
    for private in (b"/site-packages/", b".py", str(weights.parent).encode()):
        assert private not in content  # no stack traces, no paths


@pytest.mark.slow
def test_the_file_enlarges_pictures_like_the_weights(
    exported: Path, weights: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save("a.png", noise(4, h=45, w=83))
    for model, options in [(weights, []), (exported, []), (weights, TILES), (exported, TILES)]:
        run("a.png", "-o", f"{model.suffix[1:]}{len(options)}.png", *options, model=model)
    for count in (0, len(TILES)):
        ours, theirs = (
            imaging.read(f"{name}{count}.png").samples.astype(int)
            for name in ("safetensors", "onnx")
        )
        assert np.abs(ours - theirs).max() <= 1
        assert (ours != theirs).mean() < 0.01
    assert not np.array_equal(imaging.read("onnx0.png").samples, imaging.read("onnx4.png").samples)


def test_files_of_other_networks_enlarge_pictures(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save("a.png", noise(3, h=45, w=83))
    model = onnx_files.nearest(tmp_path / "other.onnx", 3)
    assert run("a.png", model=model) == ["a.png -> a_x3.png"]
    run("a.png", "--name", "{model}", "--provider", "cpu", model=model)
    assert imaging.read("other.png").samples.shape == (135, 249, 3)
    line = refused(run, "a.png", "--provider", "directml", model=model)
    assert line.startswith("error: this onnxruntime has no provider directml; it has cpu")
    line = refused(run, "a.png", "--provider", "cpu")
    assert line == "error: a provider runs ONNX files; `atdsr export` makes one."
    for command in (["explain", "a.png", "-o", "x"], ["info"], ["export", "-o", "y.onnx"]):
        named = ["-m", str(model)] if command[0] == "explain" else [str(model)]
        result = CliRunner().invoke(cli.app, [*command, *named])
        assert result.exit_code == 1, result.output
        assert f"{model} is an ONNX file, " in result.stderr
    assert not Path("x").exists()


@pytest.mark.slow
def test_half_precision_and_a_newer_opset(weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    export(weights, "-o", path, "--precision", "fp16", "--opset", "21", "--quiet")
    model = onnx.load(path)
    assert model.opset_import[0].version == 21
    halves = {v.name for v in model.graph.initializer if v.data_type == onnx.TensorProto.FLOAT16}
    assert any(".qkv.weight" in name for name in halves)
    assert not any(".dictionary." in name or ".norm_" in name for name in halves)
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert {node.op_type for node in model.graph.node} <= TENSORRT


# ------------------------------------------------------------------------------- other programs


def photo(height: int, width: int) -> np.ndarray:
    """The upper left part of the sample photo."""
    with as_file(files("atdsr.reports") / "sample" / "coffee.png") as path:
        return imaging.read(path).samples[:height, :width]


@pytest.mark.slow
def test_a_program_of_pytorch(weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.pt2"
    export(weights, "-o", path, "--quiet")
    facts = {"scale": "", "name": ""}
    program: Any = torch.export.load(path, extra_files=facts).module()
    assert (facts["scale"], facts["name"]) == ("2", "tiny")
    for shape in [(1, 3, 1, 1), (1, 3, 5, 90), (1, 3, 64, 48)]:
        image = torch.rand(shape)
        with torch.inference_mode(), kernels.plain():
            expected = lively(CONFIG)(image)
        assert psnr(program(image).detach().numpy(), expected) > 55
    content = path.read_bytes()
    assert b"/site-packages/" not in content
    assert b"atdsr::" not in content  # no operator that only this project has


@pytest.mark.slow
def test_openvino_runs_its_own_files_and_onnx(
    exported: Path, weights: Path, tmp_path: Path
) -> None:
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    path = tmp_path / "tiny.xml"
    export(weights, "-o", path, "--quiet")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["tiny.bin", "tiny.xml"]
    core = openvino.Core()
    assert core.read_model(path).get_rt_info(["atdsr", "scale"]).value == "2"
    for file in (path, exported):
        network = core.compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        for shape in [(1, 3, 1, 1), (2, 3, 33, 17), (1, 3, 64, 48)]:
            image = torch.rand(shape)
            with torch.inference_mode(), kernels.plain():
                expected = lively(CONFIG)(image)
            assert psnr(network(image.numpy())[0], expected) > 55


@pytest.mark.slow
def test_a_page_runs_the_file_in_a_browser(exported: Path, tmp_path: Path) -> None:
    packages = Path(os.environ.get("ATDSR_NODE_MODULES", ROOT / ".venv" / "node_modules"))
    if not (packages / "onnxruntime-web").is_dir():
        pytest.skip(f"no onnxruntime-web in {packages}; set ATDSR_NODE_MODULES to its folder")
    shutil.copy(ROOT / "docs" / "examples" / "web.html", tmp_path)
    empty = tmp_path / "empty.html"
    empty.write_text("<!doctype html><title>empty</title>")
    shutil.copy(exported, tmp_path / "tiny.onnx")
    (tmp_path / "node_modules").symlink_to(packages)
    network = session(exported)
    # as a file, the page itself may fetch nothing, and would complain at some later moment
    with folder_served(tmp_path) as url, browser.opened(empty) as page:
        page.requests.clear()
        page.load(f"{url}/web.html?model=tiny.onnx")
        assert page.evaluate("session.then(() => status.textContent)").startswith("tiny.onnx is ")
        for height, width in [(61, 83), (16, 48), (33, 20)]:
            samples = photo(height, width)
            rgba = np.dstack([samples, np.full((height, width), 255, np.uint8)])
            text = base64.b64encode(rgba.tobytes()).decode()
            large = page.evaluate(
                f"enlarge(new ImageData(Uint8ClampedArray.from(atob('{text}'), "
                f"each => each.charCodeAt(0)), {width}, {height})).then("
                "image => [image.width, image.height, Array.from(image.data)])"
            )
            assert large[:2] == [2 * width, 2 * height]
            seen = np.array(large[2]).reshape(2 * height, 2 * width, 4)[..., :3]
            image = imaging.to_tensor(samples)
            (expected,) = network.run(None, {"image": image.numpy()})
            levels = imaging.to_array(torch.from_numpy(expected).clamp(0, 1)).astype(int)
            assert np.abs(seen - levels).max() <= 1
            assert (seen != levels).mean() < 0.001
        assert page.errors == []
        assert all(request.startswith(url) for request in page.requests)


# -------------------------------------------------------------------------------- what is refused


def test_bad_input_ends_in_a_sentence(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "x.onnx"
    target.touch()
    (line,) = export(weights, "-o", target, code=1)
    assert line == (
        f"error: {target}: the file exists and is kept; allow overwriting it (--overwrite), or "
        "name another."
    )
    (line,) = export(weights, "-o", tmp_path / "x.ncnn", code=1)
    assert line.endswith("x.ncnn: the suffix of an exported file is one of .onnx, .pt2, .xml.")
    (line,) = export(weights, "-o", target / "y.onnx", code=1)
    assert f"{target} is not a folder" in line
    (line,) = export(tmp_path / "none.pth", "-o", tmp_path / "z.onnx", code=1)
    assert "none.pth does not exist" in line
    assert "opset is 99; it is 18 to 23." in "\n".join(
        export(weights, "-o", tmp_path / "z.onnx", "--opset", "99", code=2)
    )
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    (line,) = export(weights, "-o", tmp_path / "z.onnx", code=1)
    assert line == (
        f"error: {tmp_path / 'z.onnx'}: the folder {tmp_path} may not be written; name another "
        "place, or change its permissions."
    )
    assert sorted(tmp_path.iterdir()) == [target]
    assert target.stat().st_size == 0


def test_a_network_with_longer_runs_than_windows_is_refused(tmp_path: Path) -> None:
    config = replace(TINY, category_size=257)
    path = tmp_path / "wide.safetensors"
    write_weights(Weights(config, lively(config).state_dict()), path)
    (line,) = export(path, "-o", tmp_path / "wide.onnx", code=1)
    assert line == (
        "error: category_size is 257; networks up to 256, the tokens of a window, can be exported."
    )


@pytest.mark.slow
def test_a_file_that_computes_something_else_is_not_given_out(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atdsr.network.exportable.SHIFT_PENALTY", 3.0)
    monkeypatch.chdir(tmp_path)
    (line,) = export(weights, "-o", "wrong.onnx", code=1)
    assert line.startswith("error: the exported file differs from the network: ")
    assert not list(tmp_path.iterdir())
    assert not temporaries()


def test_a_missing_package_is_named(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    (line,) = export(weights, "-o", tmp_path / "x.onnx", code=1)
    assert "this needs onnx, which is not installed" in line
    assert line.endswith("install it with pip install 'atdsr[export]'.")
    assert not list(tmp_path.iterdir())
