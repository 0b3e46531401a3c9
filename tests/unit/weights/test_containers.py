"""Weights as they lie around: containers, prefixes, wrong suffixes, files of another kind."""

import gzip
import json
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from atdsr.weights import (
    Weights,
    WeightsError,
    official_state_dict,
    read_tensors,
    read_weights,
    write_weights,
)
from helpers.networks import TINY, lively

Tensors = dict[str, Tensor]

AVERAGE = lively(TINY, 1)
TRAINED = lively(TINY, 2)


def official(model: torch.nn.Module) -> Tensors:
    return official_state_dict(Weights(TINY, model.state_dict()))


def prefixed(prefix: str, model: torch.nn.Module = AVERAGE) -> Tensors:
    return {prefix + name: tensor for name, tensor in official(model).items()}


def lightning(tensors: Tensors) -> dict[str, Any]:
    """What a checkpoint of Lightning has beside the weights."""
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"betas": (0.9, 1)}]}
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.4.0",
        "optimizer_states": [optimizer],
        "callbacks": {"best": None},
        "state_dict": OrderedDict(tensors),
    }


def assert_same(path: Path, model: torch.nn.Module, prefer: str = "params_ema") -> None:
    loaded = read_weights(path, category_size=256, prefer=prefer)
    assert loaded.config == TINY
    expected = model.state_dict()
    assert loaded.state.keys() == expected.keys()
    assert all(torch.equal(loaded.state[name], expected[name]) for name in expected)


@pytest.mark.parametrize("key", ["state_dict", "model", "net_g", "generator", "params", "anything"])
@pytest.mark.parametrize("inner", [None, "params_ema", "params"])
def test_containers(tmp_path: Path, key: str, inner: str | None) -> None:
    tensors = official(AVERAGE)
    content = {key: tensors if inner is None else {inner: tensors}}
    torch.save({"epoch": 3, "optimizer": {"lr": 0.1}, **content}, tmp_path / "m.pth")
    assert_same(tmp_path / "m.pth", AVERAGE)


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "model.", "net.", "network.", "params_ema.", "net_g.", "generator.",
     "model._orig_mod.module.", "state_dict.params.", "generator.net."],
)  # fmt: skip
def test_prefixes(tmp_path: Path, prefix: str) -> None:
    tensors = prefixed(prefix)
    torch.save(lightning(tensors), tmp_path / "m.ckpt")
    torch.save(tensors, tmp_path / "m.pt")
    safetensors.torch.save_file(tensors, tmp_path / "m.safetensors")
    for name in ("m.ckpt", "m.pt", "m.safetensors"):
        assert_same(tmp_path / name, AVERAGE)


def test_a_part_that_was_compiled_or_wrapped(tmp_path: Path) -> None:
    tensors = {
        name.replace("residual_group.layers.1.", "residual_group.layers.1._orig_mod."): tensor
        for name, tensor in prefixed("module.").items()
    }
    torch.save({**tensors, "n_averaged": torch.tensor(7)}, tmp_path / "m.pth")
    assert_same(tmp_path / "m.pth", AVERAGE)


def test_a_prefix_in_a_safetensors_file_that_states_its_configuration(tmp_path: Path) -> None:
    write_weights(Weights(TINY, AVERAGE.state_dict()), tmp_path / "a.safetensors")
    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as file:
        metadata = file.metadata()
    safetensors.torch.save_file(prefixed("params_ema."), tmp_path / "b.safetensors", metadata)
    assert read_weights(tmp_path / "b.safetensors").config == TINY


@pytest.mark.parametrize(
    ("average", "trained"),
    [
        ("params_ema.", "params."),
        ("net_g_ema.", "net_g."),
        ("module.params_ema.", "module.params."),
    ],
)
def test_two_sets_in_one_flat_dictionary(tmp_path: Path, average: str, trained: str) -> None:
    tensors = {**prefixed(trained, TRAINED), **prefixed(average, AVERAGE)}
    torch.save(tensors, tmp_path / "m.pth")
    safetensors.torch.save_file(tensors, tmp_path / "m.safetensors")
    for name in ("m.pth", "m.safetensors"):
        assert_same(tmp_path / name, AVERAGE)
        assert_same(tmp_path / name, TRAINED, prefer="params")


def test_two_containers_of_which_one_is_the_average(tmp_path: Path) -> None:
    torch.save({"model": official(TRAINED), "model_ema": official(AVERAGE)}, tmp_path / "m.pth")
    assert_same(tmp_path / "m.pth", AVERAGE)
    assert_same(tmp_path / "m.pth", TRAINED, prefer="params")


def test_what_lies_beside_the_network(tmp_path: Path) -> None:
    beside = {"discriminator.conv.weight": torch.zeros(3), "loss.weight": torch.zeros(1)}
    torch.save(lightning({**prefixed("generator."), **beside}), tmp_path / "m.ckpt")
    assert_same(tmp_path / "m.ckpt", AVERAGE)
    torch.save({**official(AVERAGE), "epoch": 3, "name": "mine"}, tmp_path / "m.pth")
    assert_same(tmp_path / "m.pth", AVERAGE)


def test_our_own_names(tmp_path: Path) -> None:
    torch.save(AVERAGE.state_dict(), tmp_path / "m.pth")
    assert_same(tmp_path / "m.pth", AVERAGE)


def test_an_old_archive(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    torch.save(official(AVERAGE), path, _use_new_zipfile_serialization=False)
    assert_same(path, AVERAGE)


def test_one_tensor_twice(tmp_path: Path) -> None:
    torch.save({**official(AVERAGE), "module.norm.bias": torch.zeros(12)}, tmp_path / "m.pth")
    with pytest.raises(WeightsError, match=r"m\.pth: it holds the tensor norm\.bias twice"):
        read_weights(tmp_path / "m.pth")


@pytest.mark.parametrize("right", [".safetensors", ".pth"])
@pytest.mark.parametrize("wrong", [".safetensors", ".pth", ".ckpt", ".bin", ".onnx", ""])
def test_a_file_is_read_as_what_it_is(tmp_path: Path, right: str, wrong: str) -> None:
    write_weights(Weights(TINY, AVERAGE.state_dict()), tmp_path / f"right{right}")
    path = (tmp_path / f"right{right}").rename(tmp_path / f"wrong{wrong}")
    assert_same(path, AVERAGE)


def test_a_header_whose_length_begins_like_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    begins = set()
    for number in range(0, 256, 8):  # the header is padded to whole eights
        tensors = official(AVERAGE)
        safetensors.torch.save_file(tensors, path, {"note": "x" * number})
        begins.add(path.read_bytes()[0])
        assert read_tensors(path)[0].keys() == tensors.keys()
    assert 0x80 in begins


def zip_of(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/model.safetensors", b"x")


def tar_of(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "model.pth")


PAGE = b"""<!DOCTYPE html>
<html><head><title>Sign in</title></head></html>"""
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 163803535\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (PAGE, "is an HTML page, not weights; the download probably failed"),
        (b"\xef\xbb\xbf\n  " + PAGE.lower(), "is an HTML page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is an XML text"),
        (json.dumps({"error": "Access denied"}).encode(), "is a JSON text"),
        (b"see https://example.org/weights for the files", "is a text, not weights"),
        (POINTER, "is a Git LFS pointer, not weights; run `git lfs pull`"),
        (b"", "is empty; the download probably failed"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "is a JPEG picture, not weights"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "is a PNG picture"),
        (b"RIFF\x20\0\0\0WEBPVP8 ", "is a WebP picture"),
        (gzip.compress(b"weights", mtime=0), "is a gzip archive, not weights; unpack it"),
        (zip_of, "is a ZIP archive, not weights; unpack it"),
        (tar_of, "is a tar archive"),
        (
            lambda path: path.write_bytes(bytes(range(128, 256)) * 9),
            "is not a PyTorch file, or it is dam",
        ),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".ckpt"])
def test_what_is_something_else_is_named(
    tmp_path: Path, content: bytes | Callable[[Path], object], words: str, suffix: str
) -> None:
    path = tmp_path / f"page{suffix}"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    with pytest.raises(WeightsError, match=f"page{suffix} {words}"):
        read_weights(path)
    if isinstance(content, bytes):
        path = path.rename(path.with_suffix(".safetensors"))
        with pytest.raises(WeightsError, match=f"page.safetensors {words}"):
            read_weights(path)


def test_a_program_of_torchscript(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:  # as torch.jit.save lays it out
        for name in ("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py"):
            archive.writestr(name, b"\x80\x02N.")
    with pytest.raises(WeightsError, match="is a TorchScript program"):
        read_weights(tmp_path / "m.pt")


def test_a_name_that_is_too_long() -> None:
    with pytest.raises(WeightsError, match="cannot be looked up: File name too long"):
        read_weights("x" * 5000)
