"""Files of weights made to do harm: each is refused in one sentence, soon, and in little memory."""

import collections
import functools
import io
import json
import os
import pickle
import re
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import safetensors.torch
import torch
from torch import Tensor

from atdsr.base import memory
from atdsr.weights import Weights, WeightsError, official_state_dict, read_weights
from helpers.networks import TINY, lively

SECONDS, BYTES = 5.0, 500e6  # of CPU, and of memory above what there was

Content = dict[str, Any]
FIRST = "conv_first.weight"
LAYER = "layers.0.residual_group.layers.0."


def official() -> dict[str, Tensor]:
    return official_state_dict(Weights(TINY, lively(TINY).state_dict()))


def refusal(path: Path) -> str:
    """The sentence that a file is refused with, inside the budget."""
    before, start = psutil.Process().memory_info().rss, time.process_time()
    with memory.peak() as peak, pytest.raises(WeightsError) as caught:
        read_weights(path, category_size=256)
    assert time.process_time() - start < SECONDS
    assert peak.bytes is None or peak.bytes - before < BYTES
    sentence = str(caught.value)
    assert sentence.startswith(str(path))
    assert len(sentence) - len(str(path)) < 300
    assert "\n" not in sentence
    return sentence


def archive(
    path: Path, data: bytes, more: dict[str, bytes] | None = None, compression: int = 0
) -> None:
    """A file as `torch.save` writes it, with a pickle of one's own."""
    with zipfile.ZipFile(path, "w", compression) as zip_file:
        entries = {"data.pkl": data, "version": b"3\n", "byteorder": b"little", **(more or {})}
        for name, content in entries.items():
            zip_file.writestr(f"m/{name}", content)


def patched(path: Path, *changes: tuple[bytes, bytes]) -> None:
    """Change the pickle inside a file that `torch.save` has written."""
    with zipfile.ZipFile(path) as zip_file:
        data = zip_file.read(
            next(name for name in zip_file.namelist() if name.endswith("data.pkl"))
        )
        storages = {
            n.partition("/")[2]: zip_file.read(n) for n in zip_file.namelist() if "/data/" in n
        }
    for old, new in changes:
        assert old in data
        data = data.replace(old, new)
    archive(path, data, storages)


# ----------------------------------------------------------------------------------------- values


def expanded(*shape: int) -> Tensor:
    return torch.zeros(1).expand(shape)


def quantized() -> Tensor:
    return torch.quantize_per_tensor(torch.ones(12, 3, 3, 3), 0.1, 0, torch.qint8)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (lambda: {FIRST: expanded(2**20, 3, 3, 3)}, "its tensors claim .* bytes and the file has"),
        (lambda: {name: expanded(10**12) for name in official()}, "its tensors claim"),
        (lambda: {"upsample.0.weight": expanded(3 * 10**8, 12, 3, 3)}, "its tensors claim"),
        (lambda: {LAYER + "convffn.fc1.weight": expanded(12, 1, 10**6, 10**6)}, "claim"),
        (lambda: {FIRST: torch.empty(12, 3, 3, 3, device="meta")}, f"{FIRST} is on the device"),
        (lambda: {FIRST: torch.ones(12, 3, 3, 3).to_sparse()}, f"{FIRST} is sparse"),
        (lambda: {"norm.bias": torch.ones(3, 4).to_sparse_csr()}, r"norm\.bias is sparse"),
        (lambda: {FIRST: quantized()}, f"{FIRST} is quantized"),
        (
            lambda: {FIRST: torch.ones(12, 3, 3, 3).to(torch.complex64)},
            "complex64 where the network",
        ),
        (lambda: {FIRST: torch.ones(12, 3, 3, 3).int()}, "int32 where the network has"),
        (lambda: {FIRST: torch.full((12, 3, 3, 3), torch.nan)}, f"{FIRST} has values that are not"),
        (
            lambda: {"norm.bias": torch.full((12,), 1e300, dtype=torch.float64)},
            "has values that are not",
        ),
        (
            lambda: {f"p{i}.layers.0.residual_group.td": torch.ones(1) for i in range(20)},
            "it holds 21 networks",
        ),
        (lambda: {"x" * 10_000: torch.ones(1)}, "has no place in an ATD"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support", "ignore:.*quantize")
def test_tensors_without_values_of_their_own(
    tmp_path: Path, changes: Callable[[], Content], words: str
) -> None:
    torch.save({"params_ema": {**official(), **changes()}}, tmp_path / "m.pth")
    assert re.search(words, refusal(tmp_path / "m.pth"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("shape", [(), (0,), (0, 0, 0, 0), (0, 3, 3, 3)])
@pytest.mark.parametrize(
    "name",
    [FIRST, "layers.0.residual_group.td", "upsample.0.weight", LAYER + "attn_atd.wq.weight",
     LAYER + "convffn.dwconv.depthwise_conv.0.weight",
     LAYER + "attn_win.relative_position_bias_table"],
)  # fmt: skip
def test_tensors_of_no_size(tmp_path: Path, suffix: str, shape: tuple, name: str) -> None:
    tensors = {**official(), name: torch.zeros(shape)}
    path = tmp_path / f"m{suffix}"
    if suffix == ".pth":
        torch.save(tensors, path)
    else:
        safetensors.torch.save_file(tensors, path)
    refusal(path)


def test_another_set_of_the_file_does_no_harm(tmp_path: Path) -> None:
    claims = {name: expanded(10**12) for name in official()}
    torch.save({"params_ema": official(), "params": claims}, tmp_path / "m.pth")
    assert read_weights(tmp_path / "m.pth", category_size=256).config == TINY


@pytest.mark.parametrize(
    ("storage", "size", "stride"),
    [
        (2**40, (2**40,), (1,)),
        (-5, (3,), (1,)),
        (4, (2**20,), (2**30,)),
        (4, (0, 3, 3, 3), (1,) * 4),
    ],
)
def test_storages_that_claim_more_than_is_there(
    tmp_path: Path, storage: int, size: tuple, stride: tuple
) -> None:
    class Claim:
        def __reduce__(self):
            stored = ("storage", torch.FloatStorage, "0", "cpu", storage)
            more = (False, collections.OrderedDict())
            return torch._utils._rebuild_tensor_v2, (stored, 0, size, stride, *more)  # pyright: ignore

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: object) -> object:
            return obj if isinstance(obj, tuple) and obj[:1] == ("storage",) else None

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump(
        {"params_ema": {**dict.fromkeys(["layers.0.residual_group.td"], Claim())}}
    )
    archive(tmp_path / "m.pth", buffer.getvalue(), {"data/0": bytes(16)})
    refusal(tmp_path / "m.pth")


# ---------------------------------------------------------------------------------------- pickles


def tuples_of_tuples() -> bytes:
    """A key whose hash takes 2^199 steps."""
    pickled = b"\x80\x02}K\x01\x85q\x01"
    for number in range(2, 200):
        pickled += (
            b"h" + bytes([number - 1]) + b"h" + bytes([number - 1]) + b"\x86q" + bytes([number])
        )
    return pickled + b"K\x01s."


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (tuples_of_tuples(), "holds tuples too large"),
        (b"\x80\x02}K\x01" + b"\x85" * 400_000 + b"K\x01s.", "holds tuples too large"),
        (
            b"\x80\x02c__builtin__\nbytearray\n\x8a\x04" + struct.pack("<i", 2 * 10**9) + b"\x85R.",
            r"plain values \('builtins.bytearray'\), which are never loaded",
        ),
        (b"\x80\x02" + b"]" * 400_000 + b"a" * 399_999 + b".", "holds more values than any"),
        (b"\x80\x02" + b"]0" * 10**6 + b"].", "another protocol than 2"),
        (b"\x80\x02h\x07.", "is damaged"),
        (b"\x80\x02\x86.", "is damaged"),
        (b"\x80\x02}", "is damaged"),
        (pickle.dumps({"params": {}}, protocol=4), "another protocol than 2"),
    ],
)  # fmt: skip
def test_pickles_that_make_much_out_of_little(tmp_path: Path, data: bytes, words: str) -> None:
    archive(tmp_path / "m.pth", data)
    assert re.search(words, refusal(tmp_path / "m.pth"))


def test_containers_that_hold_themselves(tmp_path: Path) -> None:
    content: Content = {"x": 1}
    content["state_dict"] = content["model"] = content
    torch.save(content, tmp_path / "round.pth")
    for _ in range(60):
        content = {"a": content, "b": content, "state_dict": content, "model": content}
    torch.save(content, tmp_path / "wide.pth")
    for name in ("round.pth", "wide.pth"):
        assert "holds no weights of a model" in refusal(tmp_path / name)


def test_a_dictionary_with_attributes_of_its_own(tmp_path: Path) -> None:
    content = collections.OrderedDict(official())
    content.__dict__.update(qtems=5, qeys=3)
    torch.save(content, tmp_path / "m.pth")
    patched(tmp_path / "m.pth", (b"qtems", b"items"), (b"qeys", b"keys"))
    assert read_weights(tmp_path / "m.pth", category_size=256).config == TINY


class Call:
    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Call(os.mkdir, "ran"), r"would run code when read \('posix.mkdir'\); it was not loaded"),
        (Call(eval, "open('ran', 'w')"), r"would run code when read \('builtins.eval'\)"),
        (functools.partial(os.mkdir, "ran"), r"plain values \('functools.partial'\)"),
        (np.arange(3), r"plain values \('numpy.*_reconstruct'\), which are never loaded"),
        (Path("x"), r"plain values \('pathlib.*Path'\)"),
        (collections.deque(), r"plain values \('collections.deque'\)"),
    ],
)
def test_code_is_named_only_where_there_is_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: object, words: str, old: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"params_ema": official(), "x": value}
    torch.save(content, tmp_path / "m.pth", _use_new_zipfile_serialization=not old)
    sentence = refusal(tmp_path / "m.pth")
    assert re.search(words, sentence)
    assert not Path("ran").exists()


def test_plain_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "m.pth"
    for protocol in (2, 4, 5):
        path.write_bytes(pickle.dumps(Call(os.mkdir, "ran"), protocol))
        assert "would run code when read ('posix.mkdir')" in refusal(path)
    path.write_bytes(pickle.dumps({"a": 1}, 2))
    assert "is not a PyTorch file, or it is damaged" in refusal(path)
    assert not Path("ran").exists()


def test_archives_that_pytorch_has_not_made(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    archive(path, b"\x80\x02}.", {"data/0": bytes(10**8)}, zipfile.ZIP_DEFLATED)
    assert "its entries are compressed" in refusal(path)
    with zipfile.ZipFile(path, "w") as zip_file:
        for folder in ("a", "b"):
            zip_file.writestr(f"{folder}/data.pkl", b"\x80\x02}.")
    assert "or occur twice" in refusal(path)


# ------------------------------------------------------------------------------------ safetensors


FIELDS = {**{name: getattr(TINY, name) for name in TINY.__dataclass_fields__}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field in ("width", "window", "category_size", "dictionary_size",
                                  "reduced_width", "ffn_kernel", "scale")
     for value in (0, -1, 10**9 + 1, 12.0, True, "12", None, [12], 10**4000)]
    + [(field, value) for field in ("ffn_ratio", "img_range")
       for value in (0, -1, 1e30, 1e300, float("nan"), float("inf"), True, "1", None, 10**400)]
    + [(field, value) for field in ("depths", "heads")
       for value in ([], [0], [-2, 2], [10**7, 1], [1] * 10_000, [True, 2], [2.0, 2], "22", None,
                     5, {}, [[2], [2]])]
    + [("depths", [200, 200]), ("heads", [5, 2]), ("window", 7), ("ffn_kernel", 4),
       ("head", "evil"), ("head", ["a"]), ("head", None), ("bogus", 1)],
)  # fmt: skip
def test_absurd_configurations(tmp_path: Path, field: str, value: object) -> None:
    text = json.dumps({**FIELDS, field: value})
    safetensors.torch.save_file(official(), tmp_path / "m.safetensors", {"atdsr.config": text})
    assert field in refusal(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    "text", ["[" * 200_000, "[" * 10_000 + "]" * 10_000, "[" + "[]," * 2 * 10**6 + "[]]", "5",
             "null", '"x"', '{"width": 1' + "0" * 9000 + "}", "{}",
             json.dumps({**FIELDS, "\ud800": 1})],
)  # fmt: skip
def test_metadata_that_is_no_configuration(tmp_path: Path, text: str) -> None:
    safetensors.torch.save_file(official(), tmp_path / "m.safetensors", {"atdsr.config": text})
    assert "its metadata is not the configuration of an ATD" in refusal(tmp_path / "m.safetensors")


def tensor(shape: object, begin: int, end: int) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"{}", 2**63),
        (b"{}", 10**9),
        (b'{"a":' + json.dumps(tensor([4], 0, 16)).encode() + b"}" + b" " * 90 * 2**20, None),
        ({"a": tensor([4], 0, 16), "b": tensor([4], 0, 16)}, None),
        ({"a": tensor([4], 16, 32)}, None),
        ({"a": tensor([2**40], 0, 16)}, None),
        ({"a": tensor([2**62, 8], 0, 0)}, None),
        ({"a": tensor([-4], 0, 16)}, None),
        (b'{"__metadata__":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
        ({f"t{number}": tensor([0], 0, 0) for number in range(60_000)}, None),
    ],
)
def test_headers(tmp_path: Path, header: bytes | dict[str, object], length: int | None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    content = struct.pack("<Q", len(text) if length is None else length) + text + bytes(16)
    (tmp_path / "m.safetensors").write_bytes(content)
    refusal(tmp_path / "m.safetensors")


def test_more_blocks_than_are_built(tmp_path: Path) -> None:
    more = {f"layers.{i}.residual_group.td": torch.zeros(1) for i in range(10_000)}
    safetensors.torch.save_file({**official(), **more}, tmp_path / "m.safetensors")
    refusal(tmp_path / "m.safetensors")
