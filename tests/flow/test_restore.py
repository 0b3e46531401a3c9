"""`atdsr restore`: pictures of the same size in and out."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from atdsr import cli, imaging
from atdsr.inference.upscaler import load
from atdsr.weights import Weights, official_state_dict, read_weights, write_weights
from helpers.clips import make_clip, samples
from helpers.networks import TINY, TINY_U, lively
from helpers.pictures import noise
from helpers.upscaling import save

GRAY = replace(TINY_U, channels=1)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network for colour and one for gray pictures."""
    monkeypatch.chdir(tmp_path)
    for name, config in (("colour", TINY_U), ("gray", GRAY)):
        write_weights(Weights(config, lively(config).state_dict()), f"{name}.safetensors")
    write_weights(Weights(TINY, lively(TINY).state_dict()), "x2.safetensors")
    return tmp_path


def run(*args: str, code: int = 0) -> str:
    result = CliRunner().invoke(cli.app, list(args))
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.output


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("model", ["colour", "gray"])
def test_the_kind_of_samples_stays(channels: int, dtype: type, model: str) -> None:
    samples = noise(channels, h=12, w=17, dtype=dtype)
    save("a.png", samples)
    run("restore", "a.png", "-m", f"{model}.safetensors")
    restored = imaging.read("a_restored.png").samples
    assert restored.shape == samples.shape
    assert restored.dtype == dtype
    assert not np.array_equal(restored, samples)
    if channels in (2, 4):
        assert np.array_equal(restored[..., -1], samples[..., -1])


def test_the_file_is_what_python_returns() -> None:
    save("a.png")
    run("restore", "a.png", "-m", "colour.safetensors", "--device", "cpu", "-o", "b.tiff")
    expected = load("colour.safetensors", "cpu")(imaging.read("a.png")).samples
    assert np.array_equal(imaging.read("b.tiff").samples, expected)


def test_folders_are_restored_once() -> None:
    Path("in").mkdir()
    save("in/a.png")
    save("in/b.png")
    command = ("restore", "in", "-m", "colour.safetensors")
    run(*command)
    assert sorted(path.name for path in Path("in").iterdir()) == [
        *("a.png", "a_restored.png", "b.png", "b_restored.png"),
    ]
    assert "0 of 2 pictures done, 2 skipped" in run(*command)
    assert len(list(Path("in").iterdir())) == 4
    lines = run(*command, "-o", "out", "--json").splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    assert sorted(path.name for path in Path("out").iterdir()) == [
        *("a_restored.png", "b_restored.png"),
    ]
    assert len(records) == 3  # and the totals


def test_nothing_is_made_in_a_trial() -> None:
    save("a.png")
    assert "a_restored.png" in run("restore", "a.png", "-m", "colour.safetensors", "--dry-run")
    assert not Path("a_restored.png").exists()


def test_which_parameters_of_a_file_are_taken() -> None:
    """The authors' test of ATD-U reads `params`, their options name `params_ema`."""
    averaged, raw = lively(TINY_U), lively(TINY_U, seed=1)
    sets = {
        key: official_state_dict(Weights(TINY_U, model.state_dict()))
        for key, model in (("params_ema", averaged), ("params", raw))
    }
    torch.save(sets, "both.pth")
    torch.save({"params": sets["params"]}, "raw.pth")
    save("a.png")
    command = ("restore", "a.png", "--category-size", "128", "--overwrite", "-m")
    results = []
    for options in (
        ("both.pth",),
        ("both.pth", "--parameters", "params"),
        ("raw.pth",),
        ("raw.pth", "--parameters", "params_ema"),
    ):
        run(*command, *options)
        results.append(imaging.read("a_restored.png").samples)
    assert not np.array_equal(results[0], results[1])
    assert np.array_equal(results[1], results[2])
    assert np.array_equal(results[2], results[3])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Name a picture, a folder or a glob."),
        (("a.png",), "Say with -m what the pictures suffer from"),
        (("a.png", "-m", "x2.safetensors"), "x2.safetensors enlarges by 2 and does not restore"),
        (("a.png", "-m", "colour.safetensors", "-o", "-", "--json"), "both write to standard"),
    ],
)
def test_commands_that_make_no_sense(arguments: tuple[str, ...], words: str) -> None:
    save("a.png")
    assert words in " ".join(run("restore", *arguments, code=2).split())
    assert not Path("a_restored.png").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("upscale", "a.png", "-m"), "restores pictures and does not enlarge them"),
        (("explain", "a.png", "-o", "page", "-m"), "restores pictures and does not enlarge them"),
        (("export", "-o", "a.onnx"), "an export takes networks that enlarge"),
        (("eval", "--data", "set", "-m"), "say what its pictures suffer from, as in --degrade"),
    ],
)
def test_commands_that_need_more_refuse_the_network(arguments: tuple[str, ...], words: str) -> None:
    save("a.png")
    Path("set/HR").mkdir(parents=True)
    save("set/HR/b.png")
    said = " ".join(run(*arguments, "colour.safetensors", code=1).split())
    assert words in said
    assert not list(Path().glob("*_x1*"))


def test_a_weight_file_is_described_and_converted() -> None:
    assert "ATD-U color of width 8" in run("info", "colour.safetensors")
    run("convert", "colour.safetensors", "a.pth")
    assert read_weights("a.pth", category_size=128).config == TINY_U
    run("convert", "a.pth", "b.safetensors", "--category-size", "128")
    assert Path("b.safetensors").read_bytes() == Path("colour.safetensors").read_bytes()


# ------------------------------------------------------------------------------ before enlarging


def test_pictures_are_restored_before_they_are_enlarged() -> None:
    Path("in").mkdir()
    kinds = {"deep": (3, np.uint16), "alpha": (4, np.uint8), "gray": (1, np.uint8)}
    for name, (channels, dtype) in kinds.items():
        save(f"in/{name}.png", noise(channels, h=12, w=17, dtype=dtype))
    options = ("-m", "x2.safetensors", "--device", "cpu")
    run("upscale", "in", "-o", "out", "--restore", "gray.safetensors", *options)
    upscaler = load("x2.safetensors", "cpu", restorer=load("gray.safetensors", "cpu"))
    for name, (channels, dtype) in kinds.items():
        made = imaging.read(f"out/{name}_x2.png").samples
        assert made.shape == (24, 34, channels)
        assert made.dtype == dtype
        assert np.array_equal(made, upscaler(imaging.read(f"in/{name}.png")).samples)
        run("upscale", f"in/{name}.png", "-o", "plain.png", "--overwrite", *options)
        assert not np.array_equal(made, imaging.read("plain.png").samples)


def test_what_restoring_first_would_take() -> None:
    save("a.png", noise(3, h=40, w=60))
    command = (
        "upscale",
        "a.png",
        "--restore",
        "colour.safetensors",
        "--dry-run",
        "--device",
        "cpu",
    )
    assert "60x40 -> 120x80, colour, atd-light-x2, about" in run(*command)
    record = json.loads(run(*command, "--json").splitlines()[0])
    assert (record["restorer"], record["model"]) == ("colour", "atd-light-x2")
    both = record["seconds"]
    alone = json.loads(run("upscale", "a.png", "--dry-run", "--json").splitlines()[0])
    assert alone["restorer"] is None
    assert both > 0
    assert not Path("a_x2.png").exists()


def test_sizes_tiles_and_previews_after_restoring() -> None:
    save("a.png", noise(3, h=70, w=200))
    restore = ("--restore", "colour.safetensors", "--device", "cpu")
    run("upscale", "a.png", "--outscale", "3", *restore)
    assert imaging.read("a_x3.png").samples.shape == (210, 600, 3)
    run("upscale", "a.png", "-m", "x2.safetensors", "--tile", "128", "-o", "tiled.png", *restore)
    restorer = load("colour.safetensors", "cpu", tile=128)
    tiled = load("x2.safetensors", "cpu", tile=128, restorer=restorer)(imaging.read("a.png"))
    assert np.array_equal(imaging.read("tiled.png").samples, tiled.samples)
    run("upscale", "a.png", "-m", "x2.safetensors", "--preview", *restore)
    assert Path("a_x2_preview.png").is_file()


def test_a_restorer_must_restore_and_be_there() -> None:
    save("a.png")
    said = run("upscale", "a.png", "--restore", "x2.safetensors", code=2)
    assert "x2.safetensors enlarges by 2 and does not restore" in " ".join(said.split())
    assert "neither a file nor a model" in run("upscale", "a.png", "--restore", "atd-uu", code=1)
    assert not Path("a_x2.png").exists()


def test_clips_are_restored_frame_by_frame() -> None:
    make_clip("a.mkv", codec="ffv1", frames=2, size=(32, 24))
    options = ("-m", "x2.safetensors", "--device", "cpu", "-q")
    run("upscale", "a.mkv", "-o", "plain.mkv", *options)
    run("upscale", "a.mkv", "-o", "restored.mkv", "--restore", "colour.safetensors", *options)
    plain, restored = (samples(name) for name in ("plain.mkv", "restored.mkv"))
    assert len(plain) == len(restored) == 2
    assert plain[0][0].shape == restored[0][0].shape == (48, 64)
    assert not np.array_equal(plain[0][0], restored[0][0])
    forecast = run(
        "upscale", "a.mkv", "--restore", "colour.safetensors", "--dry-run", *options[:-1]
    )
    assert "32x24 -> 2 frames of 64x48, colour, x2, about" in " ".join(forecast.split())
