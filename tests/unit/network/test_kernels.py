"""The kernels on CPUs against plain PyTorch in float64, forward and backward."""

import copy
import math
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from atdsr.base.errors import AtdsrError
from atdsr.network import attention, backend, fused_cpu, kernels, model, operators
from atdsr.network.backend import products_in_bfloat16, select_backend
from atdsr.network.config import NetworkConfig
from atdsr.network.fused_cpu import CPUBackend, Results
from atdsr.network.kernels import cpu, gpu
from atdsr.network.kernels.cpu import attention as attention_kernels
from atdsr.network.kernels.cpu import dictionary as dictionary_kernels
from atdsr.network.kernels.cpu import tokenwise
from atdsr.network.kernels.cpu.tokenwise import Norm
from helpers.networks import TINY, TINY_U, TINY_V2, lively

ABLE = cpu.status().variant is not None
pytestmark = pytest.mark.skipif(not ABLE, reason=f"{cpu.status().why_not}")
VARIANTS = [name for name in ("avx512", "avx2", "neon") if name in cpu._variants()]

FORWARD, BACKWARD = 1e-5, 1e-4
ROUNDED = 2**-6  # where factors of products are rounded to bf16, numbers of 8 bits


@pytest.fixture(autouse=True, params=VARIANTS)
def _variant(request, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test runs with each library that this processor can run."""
    torch.manual_seed(0)
    monkeypatch.setenv(kernels.SWITCH, request.param)
    cpu.status.cache_clear()
    assert cpu.status().variant == request.param
    yield
    monkeypatch.undo()
    cpu.status.cache_clear()


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest one, relative to the largest number."""
    return ((found.double() - expected).abs().max() / expected.abs().max()).item()


@contextmanager
def no_plain_attention() -> Iterator[None]:
    """Fail where a plain attention runs."""
    with (
        mock.patch.object(attention, "window_attention", None),
        mock.patch.object(attention, "category_attention", None),
    ):
        yield


@pytest.fixture
def _pairs() -> None:
    """Skip where the library has instructions for pairs of bf16, and the processor has not."""
    if cpu.status().variant == "avx512" and not cpu.multiplies_bf16():
        pytest.skip("this processor has no AVX512-BF16")


@pytest.fixture(params=[False, True], ids=["exact", "rounded"])
def rounded(request: pytest.FixtureRequest) -> bool:
    """Whether factors are rounded to bfloat16."""
    if request.param:
        request.getfixturevalue("_pairs")
    return request.param


def numbers(*shape: int, rounded: bool) -> Tensor:
    """Random numbers, of which rounding to bfloat16 loses nothing if they are to be rounded."""
    found = torch.randn(*shape)
    return found.bfloat16().float() if rounded else found


def gradients(out: Tensor, upstream: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(out, inputs, upstream.to(out.dtype))


def learned(*tensors: Tensor, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [t.to(dtype).requires_grad_() for t in tensors]


# -------------------------------------------------------------------------------------- windows


SHIFTED = pytest.mark.parametrize("shifted", [False, True])
WINDOWS = pytest.mark.parametrize(
    ("side", "batch", "height", "width", "heads", "head_width"),
    [
        (16, 2, 32, 48, 4, 12),
        (16, 1, 16, 16, 2, 16),
        (16, 1, 32, 16, 6, 35),
        (16, 1, 16, 48, 2, 54),
        (16, 1, 16, 32, 3, 1),
        # rows that fill vectors in part, or several of them, or both
        (8, 2, 8, 8, 1, 48),
        (8, 2, 24, 16, 2, 48),
        (8, 2, 8, 40, 1, 96),
        (8, 2, 16, 8, 3, 7),
        (24, 2, 48, 24, 1, 5),
        (32, 2, 32, 64, 2, 2),
        (40, 2, 40, 40, 1, 3),
    ],
)


@SHIFTED
@WINDOWS
def test_window_attention(side, batch, height, width, heads, head_width, shifted) -> None:
    qkv = torch.randn(batch, height, width, 3 * heads * head_width)
    table = torch.randn((2 * side - 1) ** 2, heads)
    upstream = torch.randn(batch, height, width, heads * head_width)
    exact = learned(qkv, table, dtype=torch.float64)
    expected = attention.window_attention_reference(exact[0], exact[1], side, shifted)
    single = learned(qkv, table)
    with no_plain_attention():
        out = operators.window_attention(single[0], single[1], side, shifted)
    assert difference(out, expected) <= FORWARD
    for ours, theirs in zip(
        gradients(out, upstream, *single), gradients(expected, upstream, *exact), strict=True
    ):
        assert difference(ours, theirs) <= BACKWARD
    with torch.no_grad():
        assert torch.equal(operators.window_attention(qkv, table, side, shifted), out)


def test_windows_that_do_not_fill_vectors_take_the_plain_path() -> None:
    qkv, table = torch.randn(1, 12, 24, 12), torch.randn(23**2, 2)
    out = operators.window_attention(qkv, table, 12, shifted=False)
    expected = attention.window_attention_reference(qkv, table, 12, shifted=False)
    assert torch.allclose(out, expected, atol=1e-5)


# ----------------------------------------------------------------------------------- categories


HEADS = pytest.mark.parametrize(
    ("heads", "head_width"), [(4, 12), (1, 16), (6, 35), (2, 54), (3, 7)]
)
GROUPS = pytest.mark.parametrize(
    ("n", "group"), [(1, 128), (7, 8), (37, 16), (100, 33), (130, 128), (255, 128), (512, 256)]
)


@HEADS
@GROUPS
def test_category_attention(n: int, group: int, heads: int, head_width: int) -> None:
    """Groups not full, among them one that borrows from the group before it, and one token."""
    qkv = torch.randn(2, n, 3 * heads * head_width) * 0.5
    categories, scale = torch.randint(0, 5, (2, n)), torch.tensor([[0.3]])
    upstream = torch.randn(2, n, heads * head_width)
    exact, single = learned(qkv, scale, dtype=torch.float64), learned(qkv, scale)
    expected = operators.category_attention(exact[0], categories, exact[1], heads, group, 5)
    with no_plain_attention():
        out = operators.category_attention(single[0], categories, single[1], heads, group, 5)
    assert difference(out, expected) <= FORWARD
    ours, theirs = gradients(out, upstream, *single), gradients(expected, upstream, *exact)
    if n == 1:  # nothing to choose from
        assert theirs[1].abs() < 1e-12
        assert ours[1].abs() < 1e-5
        assert difference(ours[0][..., -heads * head_width :], upstream.double()) <= BACKWARD
        return
    assert difference(ours[0], theirs[0]) <= BACKWARD
    # the scale's gradient is a sum of terms of both signs, which are larger than the sum
    part = heads * head_width
    terms = (exact[0] * theirs[0])[..., :part].abs().sum()
    assert (ours[1] - theirs[1]).abs() <= 1e-6 * terms


def test_a_scale_at_its_bound_has_no_gradient() -> None:
    qkv, scale = learned(torch.randn(1, 32, 12) * 0.1, torch.tensor(9.0))
    out = operators.category_attention(qkv, torch.zeros(1, 32).long(), scale, 2, 16, 1)
    assert gradients(out, torch.randn(1, 32, 4), scale)[0] == 0


def test_large_scores_neither_overflow_nor_vanish() -> None:
    qkv = torch.randn(1, 64, 36) * 30
    scale = torch.tensor(math.log(100.0))
    zeros = torch.zeros(1, 64).long()
    exact = learned(qkv, dtype=torch.float64)
    expected = operators.category_attention(exact[0], zeros, scale.double(), 1, 64, 1)
    single = learned(qkv)
    out = operators.category_attention(single[0], zeros, scale, 1, 64, 1)
    assert difference(out, expected) <= 1e-3  # scores of 1e5 have steps of 8e-3
    assert gradients(out, torch.randn(1, 64, 12), *single)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("n", "group", "width"), [(512, 128, 12), (300, 128, 7), (5, 4, 1)])
def test_a_gradient_that_is_added_to_another(
    n: int, group: int, width: int, dtype: torch.dtype
) -> None:
    """Tokens that a short last group borrows get all their parts."""
    qkv, upstream = (torch.randn(2, n, k * 2 * width).to(dtype) for k in (3, 1))
    other, order = torch.randn_like(qkv), torch.randperm(n)[None].expand(2, n).contiguous()
    scale = torch.tensor(0.3)
    out, sums = attention_kernels.category_attention(qkv, order, scale, 2, group, True)
    inputs = (upstream, qkv, order, scale, out, sums, 2, group, True)
    alone = attention_kernels.category_attention_backward(*inputs)
    into = other.clone()
    together = attention_kernels.category_attention_backward(*inputs, into=into)
    assert together[0] is into
    assert torch.equal(together[1], alone[1])
    bound = 1e-6 if dtype == torch.float32 else 0.02
    assert difference(into, other.double() + alone[0].double()) <= bound


def test_a_gradient_of_windows_that_is_added_to_another() -> None:
    qkv, upstream = torch.randn(2, 16, 24, 3 * 14), torch.randn(2, 16, 24, 14)
    other, table = torch.randn_like(qkv), torch.randn(15**2, 2)
    out, sums = attention_kernels.window_attention(qkv, table, 8, True, True)
    inputs = (upstream, qkv, table, out, sums, 8, True, True)
    alone = attention_kernels.window_attention_backward(*inputs)
    into = other.clone()
    together = attention_kernels.window_attention_backward(*inputs, into=into)
    assert together[0].data_ptr() == into.data_ptr()
    assert together[0].shape == qkv.shape
    assert torch.equal(together[1], alone[1])
    assert difference(into, other.double() + alone[0].double()) <= 1e-6


def test_bfloat16_is_float32_inside() -> None:
    """Only what goes in and out is rounded."""
    qkv = torch.randn(1, 16, 32, 36).bfloat16()
    table = torch.randn(31**2, 1)
    upstream = torch.randn(1, 16, 32, 12).bfloat16()
    half, single = qkv.clone().requires_grad_(), qkv.float().requires_grad_()
    out = operators.window_attention(half, table, 16, shifted=True)
    assert out.dtype == torch.bfloat16
    expected = operators.window_attention(single, table, 16, shifted=True)
    assert torch.equal(out, expected.bfloat16())
    ours = gradients(out, upstream, half)[0]
    assert difference(ours, gradients(expected, upstream, single)[0].double()) <= 0.01
    zeros = torch.zeros(1, 50).long()
    flat = torch.randn(1, 50, 36).bfloat16().requires_grad_()
    out = operators.category_attention(flat, zeros, torch.tensor(0.1), 2, 32, 1)
    exact = flat.detach().double().requires_grad_()
    expected = operators.category_attention(exact, zeros, torch.tensor(0.1), 2, 32, 1)
    assert difference(out, expected) <= 0.01
    upstream = torch.randn(1, 50, 12)
    ours = gradients(out, upstream, flat)[0]
    assert difference(ours, gradients(expected, upstream, exact)[0]) <= 0.02


# ------------------------------------------------- attention whose factors are rounded to bf16


def to_bf16(x: Tensor, factor: float = 1.0) -> Tensor:
    """Numbers that are in bf16 after they are multiplied, in float64."""
    return (x.float() * factor).bfloat16().double() / factor


def rounded_parts(qkv: Tensor, scale: float) -> Tensor:
    """Queries, keys and values as the kernel has them, which rounds queries after the scale."""
    q, k, v = qkv.chunk(3, -1)
    return torch.cat([to_bf16(q, scale * math.log2(math.e)), to_bf16(k), to_bf16(v)], -1)


@SHIFTED
@WINDOWS
@pytest.mark.usefixtures("_pairs")
def test_rounded_window_attention(side, batch, height, width, heads, head_width, shifted) -> None:
    qkv = torch.randn(batch, height, width, 3 * heads * head_width)
    table = torch.randn((2 * side - 1) ** 2, heads)
    upstream = torch.randn(batch, height, width, heads * head_width)
    run, run_backward = (
        attention_kernels.window_attention,
        attention_kernels.window_attention_backward,
    )
    out, sums = run(qkv, table, side, shifted, True, rounded=True)
    found = run_backward(upstream, qkv, table, out, sums, side, shifted, True, rounded=True)
    exact = learned(qkv, table, dtype=torch.float64)
    # the same but for the shares and the gradients of scores, whose errors are independent
    close = learned(rounded_parts(qkv, head_width**-0.5), table, dtype=torch.float64)
    bounds = (
        (exact, upstream, ROUNDED, ROUNDED),
        (close, to_bf16(upstream), ROUNDED / 4, ROUNDED / 2),
    )
    for inputs, of_out, forward, backward in bounds:
        expected = attention.window_attention_reference(inputs[0], inputs[1], side, shifted)
        assert difference(out, expected) <= forward
        for ours, theirs in zip(found, gradients(expected, of_out, *inputs), strict=True):
            assert difference(ours, theirs) <= backward


@HEADS
@GROUPS
@pytest.mark.usefixtures("_pairs")
def test_rounded_category_attention(n: int, group: int, heads: int, head_width: int) -> None:
    qkv = torch.randn(2, n, 3 * heads * head_width) * 0.5
    categories, scale = torch.randint(0, 5, (2, n)), torch.tensor(0.3)
    upstream = torch.randn(2, n, heads * head_width)
    order, shape = operators.sort_by_category(categories, 5), (heads, min(group, n), True)
    run = attention_kernels.category_attention
    out, sums = run(qkv, order, scale, *shape, rounded=True)
    found = attention_kernels.category_attention_backward(
        upstream, qkv, order, scale, out, sums, *shape, rounded=True
    )
    exact = learned(qkv, scale, dtype=torch.float64)
    close = learned(rounded_parts(qkv, math.exp(scale)), scale, dtype=torch.float64)
    bounds = (
        (exact, upstream, ROUNDED, ROUNDED),
        (close, to_bf16(upstream), ROUNDED / 4, ROUNDED / 2),
    )
    for inputs, of_out, forward, backward in bounds:
        expected = operators.category_attention(inputs[0], categories, inputs[1], heads, group, 5)
        assert difference(out, expected) <= forward
        theirs = gradients(expected, of_out, *inputs)
        assert difference(found[0], theirs[0]) <= backward
        terms = (inputs[0] * theirs[0])[..., : heads * head_width].abs().sum()
        assert (found[1] - theirs[1]).abs() <= backward * terms + 1e-5


@pytest.mark.usefixtures("_pairs")
def test_rounded_attention_of_bfloat16() -> None:
    """What lies in memory as bf16 is not rounded a second time before it is multiplied."""
    qkv, table = torch.randn(1, 16, 32, 36).bfloat16(), torch.randn(31**2, 1)
    upstream = torch.randn(1, 16, 32, 12).bfloat16()
    run, run_backward = (
        attention_kernels.window_attention,
        attention_kernels.window_attention_backward,
    )
    out, sums = run(qkv, table, 16, True, True, rounded=True)
    expected, same_sums = run(qkv.float(), table, 16, True, True, rounded=True)
    assert torch.equal(out, expected.bfloat16())
    assert torch.equal(sums, same_sums)
    ours = run_backward(upstream, qkv, table, out, sums, 16, True, True, rounded=True)
    single = (upstream.float(), qkv.float(), table, out.float(), sums, 16, True, True)
    theirs = run_backward(*single, rounded=True)
    assert torch.equal(ours[0], theirs[0].bfloat16())
    assert torch.equal(ours[1], theirs[1])


@pytest.mark.usefixtures("_pairs")
def test_what_all_values_have_in_common_is_not_rounded() -> None:
    """Rounded shares sum to 1, and gradients of scores to 0."""
    value = torch.randn(14).bfloat16().float()
    qkv = torch.cat([torch.randn(1, 300, 28), value.expand(1, 300, 14)], -1)
    order, scale, upstream = torch.randperm(300)[None], torch.tensor(0.3), torch.randn(1, 300, 14)
    inputs = (qkv, order, scale)
    out, sums = attention_kernels.category_attention(*inputs, 2, 128, True, rounded=True)
    assert difference(out, value.double().expand_as(out)) <= FORWARD
    grad_qkv, grad_scale = attention_kernels.category_attention_backward(
        upstream, *inputs, out, sums, 2, 128, True, rounded=True
    )
    assert grad_qkv[..., :28].abs().max() <= 1e-4  # it would be 0.05
    assert grad_scale.abs() <= 1e-3


@pytest.mark.usefixtures("_pairs", "threads")
def test_rounded_attention_by_several_threads() -> None:
    qkv, table, upstream = (
        torch.randn(2, 32, 48, 36),
        torch.randn(31**2, 2),
        torch.randn(2, 32, 48, 12),
    )
    order, scale = torch.stack([torch.randperm(32 * 48) for _ in range(2)]), torch.tensor(0.3)
    flat, flat_upstream = qkv.flatten(1, 2), upstream.flatten(1, 2)

    def everything() -> list[Tensor]:
        of_windows, of_runs = (table, 16, True), (order, scale)
        out, sums = attention_kernels.window_attention(qkv, *of_windows, True, rounded=True)
        grads = attention_kernels.window_attention_backward(
            upstream, qkv, table, out, sums, 16, True, True, rounded=True
        )
        run, sums = attention_kernels.category_attention(flat, *of_runs, 2, 100, True, rounded=True)
        more = attention_kernels.category_attention_backward(
            flat_upstream, flat, *of_runs, run, sums, 2, 100, True, rounded=True
        )
        return [out, *grads, run, *more]

    torch.set_num_threads(1)
    alone = everything()
    for count in (2, 3):
        torch.set_num_threads(count)
        assert all(torch.equal(a, b) for a, b in zip(alone, everything(), strict=True))


# --------------------------------------------------------------------- what stands in between


@pytest.mark.parametrize("widths", [(12,), (48, 7, 64), (35, 1)])
@pytest.mark.parametrize(("batch", "n", "m"), [(1, 1, 1), (2, 21, 48), (1, 300, 50), (2, 9, 70)])
def test_linear(widths, batch: int, n: int, m: int, rounded: bool) -> None:
    inputs = tuple(numbers(batch, n, width, rounded=rounded) for width in widths)
    weight, bias = numbers(sum(widths), m, rounded=rounded), torch.randn(m)
    side_by_side = torch.cat(inputs, -1).double()
    residual = torch.randn(batch, n, m)
    with torch.no_grad():
        out = tokenwise.linear(inputs, weight, bias, residual=residual, rounded=rounded)
        assert difference(out, side_by_side @ weight.double() + bias + residual) <= FORWARD
        weights = numbers(batch, sum(widths), m, rounded=rounded)
        out = tokenwise.linear(inputs, weights, bias, gelu=True, rounded=rounded)
        assert difference(out, F.gelu(side_by_side @ weights.double() + bias)) <= FORWARD


@pytest.mark.parametrize("width", [1, 12, 48, 210])
def test_linear_of_normed_rows(width: int, rounded: bool) -> None:
    x, norm = torch.randn(2, 19, width) * 3 + 5, Norm(torch.randn(width), torch.randn(width), 1e-5)
    weight, bias = torch.randn(width, 30), torch.randn(30)
    out = tokenwise.linear((x,), weight, bias, norm=norm, rounded=rounded)
    normed = F.layer_norm(x.double(), (width,), norm.weight.double(), norm.bias.double(), norm.eps)
    assert difference(out, normed @ weight.double() + bias) <= (ROUNDED if rounded else FORWARD)


def test_linear_in_the_place_of_an_input() -> None:
    """Rows wider than what registers hold at a time are not read after they are overwritten."""
    x, beside = torch.randn(2, 300, 210), torch.randn(2, 300, 7)
    weight, bias = torch.randn(217, 210), torch.randn(210)
    with torch.no_grad():
        expected = tokenwise.linear((x, beside), weight, bias, residual=x)
        out = tokenwise.linear((x, beside), weight, bias, residual=x.clone(), out=x)
    assert out is x
    assert torch.equal(out, expected)


@pytest.mark.parametrize("with_gelu", [False, True])
@pytest.mark.parametrize("with_norm", [False, True])
@pytest.mark.parametrize(
    ("batch", "n", "width", "heights"),
    [
        (2, 1100, 48, (144, 10)),  # several chunks, the last one shorter
        (2, 19, 33, (7,)),
        (1, 70, 1, (1, 3)),
        (1, 33, 210, (96,)),
    ],
)
def test_gradients_of_linear(batch, n, width, heights, with_norm, with_gelu, rounded) -> None:
    if with_gelu:
        heights = heights[:1]
    x, weight = (
        numbers(*shape, rounded=rounded) for shape in ((batch, n, width), (sum(heights), width))
    )
    x, bias = x * 2, torch.randn(sum(heights))
    norm, through = Norm(torch.randn(width), torch.randn(width), 1e-5), torch.randn_like(x)
    upstream = tuple(numbers(batch, n, height, rounded=rounded) for height in heights)
    exact = learned(x, weight, bias, norm.weight, norm.bias, dtype=torch.float64)
    rows = F.layer_norm(exact[0], (width,), exact[3], exact[4], norm.eps) if with_norm else exact[0]
    out = F.linear(rows, *exact[1:3])
    inputs = exact if with_norm else exact[:3]
    expected = gradients(
        F.gelu(out) if with_gelu else out, torch.cat(upstream, -1).double(), *inputs
    )
    found = tokenwise.linear_backward(
        upstream,
        weight,
        x,
        norm=norm if with_norm else None,
        gelu_bias=bias if with_gelu else None,
        through=through,
        rounded=rounded,
    )
    most = BACKWARD
    if rounded and (
        with_norm or with_gelu
    ):  # what the GELU takes is of the order of its bend's width
        most = 2 * ROUNDED
    assert difference(found.x, expected[0] + through) <= most
    for ours, theirs in zip((found.weight, found.bias, *found.norm), expected[1:], strict=True):
        # a norm over one feature leaves nothing of it
        assert difference(ours, theirs) <= most or theirs.abs().max() < 1e-3


def test_gradients_of_linear_with_a_weight_for_each_picture(rounded: bool) -> None:
    shapes = (2, 600, 64), (2, 12, 64), (2, 600, 12)
    x, weight, upstream = (numbers(*shape, rounded=rounded) for shape in shapes)
    exact = learned(x, weight, dtype=torch.float64)
    expected = gradients(exact[0] @ exact[1].mT, upstream.double(), *exact)
    through = torch.randn_like(x)
    found = tokenwise.linear_backward(
        (upstream,), weight, x, through=through, out=through, rounded=rounded
    )
    assert found.x is through
    alone = tokenwise.linear_backward((upstream,), weight, x, rounded=rounded)
    assert difference(alone.x, expected[0]) <= BACKWARD
    assert difference(found.weight, expected[1]) <= BACKWARD
    assert difference(found.bias, upstream.double().sum(1)) <= BACKWARD


@pytest.mark.usefixtures("threads")
def test_rows_that_are_no_numbers_do_not_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last tile of a chunk is not full, and lies where those of another chunk were."""
    x, weight, parts = torch.randn(1, 520, 20), torch.randn(7, 20), []
    x[0, 500] = math.nan
    add_parts = cpu.add_parts
    monkeypatch.setattr(cpu, "add_parts", lambda given: parts.append(given) or add_parts(given))
    torch.set_num_threads(1)
    tokenwise.linear_backward((torch.randn(1, 520, 7),), weight, x)
    assert parts[0].isfinite().all(-1).tolist() == [[False, True]]


def test_gelu_from_end_to_end() -> None:
    x = torch.linspace(-12, 12, 4001)[None, :, None]
    out = tokenwise.linear((x,), torch.ones(1, 1), torch.zeros(1), gelu=True)
    expected = F.gelu(x.double())
    assert (out - expected).abs().max() <= 2e-6
    assert difference(out, expected) <= 1e-6


@pytest.mark.parametrize("kernel", [1, 3, 5, 7, 9])
@pytest.mark.parametrize(
    ("batch", "height", "width", "channels"),
    [(1, 1, 1, 12), (2, 5, 3, 48), (1, 33, 130, 35), (1, 70, 9, 16)],
)
def test_depthwise_gelu(batch, height, width, channels, kernel) -> None:
    x = torch.randn(batch, height, width, channels)
    convolution = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
    with torch.no_grad():
        out = tokenwise.depthwise_gelu(x, convolution.weight, convolution.bias)
    nchw = x.double().permute(0, 3, 1, 2)
    mixed = convolution.double()(nchw)
    assert difference(out, (nchw + F.gelu(mixed)).permute(0, 2, 3, 1)) <= FORWARD


@pytest.mark.parametrize("kernel", [1, 3, 5, 7, 9])
@pytest.mark.parametrize(
    ("batch", "height", "width", "channels"),
    [(1, 1, 1, 12), (2, 5, 3, 48), (2, 33, 130, 35), (1, 70, 9, 16)],
)
def test_gradients_of_depthwise_gelu(batch, height, width, channels, kernel) -> None:
    given = (
        torch.randn(batch, height, width, channels),
        torch.randn(channels, 1, kernel, kernel) / kernel,
        torch.randn(channels),
    )
    upstream, exact = torch.randn_like(given[0]), learned(*given, dtype=torch.float64)
    nchw, weight, bias = exact[0].permute(0, 3, 1, 2), *exact[1:]
    mixed = F.gelu(F.conv2d(nchw, weight, bias, padding=kernel // 2, groups=channels))
    expected = gradients((nchw + mixed).permute(0, 2, 3, 1), upstream, *exact)
    found = tokenwise.depthwise_gelu_backward(upstream, *given)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert difference(ours, theirs) <= BACKWARD
    again = tokenwise.depthwise_gelu_backward(upstream, *given, out=upstream)
    assert again[0] is upstream
    assert all(torch.equal(a, b) for a, b in zip(again, found, strict=True))


@pytest.mark.usefixtures("threads")
def test_gradients_of_depthwise_gelu_by_several_threads() -> None:
    given = torch.randn(2, 40, 140, 20), torch.randn(20, 1, 5, 5), torch.randn(20)
    upstream = torch.randn_like(given[0])
    torch.set_num_threads(1)
    alone = tokenwise.depthwise_gelu_backward(upstream, *given)
    for count in (2, 3):
        torch.set_num_threads(count)
        found = tokenwise.depthwise_gelu_backward(upstream, *given)
        assert all(torch.equal(a, b) for a, b in zip(found, alone, strict=True))


def test_gradients_of_depthwise_gelu_without_a_bias() -> None:
    x, weight, upstream = torch.randn(1, 6, 5, 3), torch.randn(3, 1, 5, 5), torch.randn(1, 6, 5, 3)
    with_zeros = tokenwise.depthwise_gelu_backward(upstream, x, weight, torch.zeros(3))
    without = tokenwise.depthwise_gelu_backward(upstream, x, weight, None)
    assert all(torch.equal(a, b) for a, b in zip(without, with_zeros, strict=True))


def look_up(
    q: Tensor, k: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, dictionary_kernels.CPUStatistics]:
    keys = attention.scaled_keys(k, scale)
    shares, categories, statistics = dictionary_kernels.look_up(q, keys)
    assert statistics is not None
    alone = dictionary_kernels.look_up(q, keys, refines=False)
    assert torch.equal(alone[0], shares) or shares.isnan().any()
    assert torch.equal(alone[1], categories)
    assert alone[2] is None
    return shares, categories, statistics


@pytest.mark.parametrize(
    ("n", "m", "d"),
    [(1, 8, 4), (15, 64, 8), (600, 128, 20), (1100, 10, 3), (600, 512, 16), (40_000, 8, 4)],
)
def test_looking_up_and_gathering(n: int, m: int, d: int) -> None:
    b, c = 2, 18
    q, k = torch.randn(b, n, d), torch.randn(b, m, d)
    scale, weight, x = torch.rand(m), torch.randn(m), torch.randn(b, n, c)
    with torch.no_grad():
        shares, categories, statistics = look_up(q, k, scale)
        exact = attention.attention_map(q.double(), k.double(), scale.double())
        assert difference(shares, exact) <= FORWARD
        best = exact.gather(2, categories.long()[..., None])[..., 0]
        assert (exact.amax(2) - best <= 1e-6).all()  # the same, or as good
        assert (categories == exact.argmax(-1)).float().mean() > 0.999
        assert torch.equal(statistics.smallest, shares.amin(1))
        assert torch.equal(statistics.largest, shares.amax(1))
        out, _ = dictionary_kernels.gather_tokens(shares, x, weight, statistics)
        assert difference(out, attention.gather_tokens(exact, x.double(), weight.double())) <= 2e-5


@pytest.mark.parametrize(
    ("n", "m", "d", "c"), [(1, 8, 4, 3), (37, 20, 1, 18), (1100, 64, 10, 48), (600, 130, 20, 70)]
)
@pytest.mark.parametrize("refines", [True, False])
def test_gradients_of_looking_up_and_gathering(n, m, d, c, refines) -> None:
    q, keys, x, weight = (
        torch.randn(2, n, d),
        torch.randn(2, m, d),
        torch.randn(2, n, c),
        torch.randn(m),
    )
    q[0, 0] = 0  # cannot be normalised
    of_map, of_gathered, through = torch.randn(2, n, m), torch.randn(2, m, c), torch.randn(2, n, c)
    exact = learned(q, keys, x, weight, dtype=torch.float64)
    expected = (F.normalize(exact[0], dim=-1, eps=1e-12) @ exact[1].mT).softmax(-1)
    shares, _, statistics = dictionary_kernels.look_up(q, keys, refines=refines)
    if statistics is None:
        expected_grads = gradients(expected, of_map, *exact[:2])
        found = dictionary_kernels.look_up_backward(of_map, q, keys, shares, None, None)
    else:
        gathered = attention.gather_tokens(expected, *exact[2:])
        both = torch.cat([expected.flatten(), gathered.flatten()])
        expected_grads = gradients(
            both, torch.cat([of_map.flatten(), of_gathered.flatten()]), *exact
        )
        gathered, totals = dictionary_kernels.gather_tokens(shares, x, weight, statistics)
        of_shares, *of_gathering, of_variance = dictionary_kernels.gather_tokens_backward(
            of_gathered, shares, x, weight, statistics, totals, gathered, through
        )
        found = dictionary_kernels.look_up_backward(
            of_map + of_shares, q, keys, shares, statistics, of_variance
        )
        of_gathering[0] -= through
        found += tuple(of_gathering)
    for ours, theirs in zip(found, expected_grads, strict=True):
        # a query of one number is always 1 or -1, and a single token's map has no variance
        assert difference(ours, theirs) <= BACKWARD or theirs.abs().max() < 1e-6


def test_refining_where_all_tokens_say_the_same() -> None:
    """Variances far below the epsilon beside it, of shares near 1: differences are not lost."""
    n, m = 5000, 4
    q = torch.tensor([1.0, 0.0]) + 1e-4 * torch.randn(1, n, 2)
    k = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.1], [-1.0, -0.1]])[None]
    with torch.no_grad():
        shares, _, statistics = look_up(q, k, torch.ones(m))
    variance = shares.double().var(1, correction=0)
    assert difference(statistics.variance + 1e-5, variance + 1e-5) <= 1e-6


def test_ties_go_to_the_first_entry() -> None:
    k = torch.ones(1, 6, 4)
    _, categories, _ = look_up(torch.ones(1, 40, 4), k, torch.zeros(6))
    assert categories.eq(0).all()


@pytest.mark.parametrize("n", [1, 2, 1000])
def test_sorting_by_category(n: int) -> None:
    categories = torch.randint(0, 7, (3, n))
    order = operators.sort_by_category(categories, 7)
    assert torch.equal(order, categories.sort(dim=1, stable=True).indices)


# ----------------------------------------------------------------------- what memory may hold


def test_tensors_that_are_not_contiguous() -> None:
    qkv, table = torch.randn(1, 16, 32, 48)[..., 4:40], torch.randn(31**2, 2)
    expected = attention.window_attention_reference(qkv.double(), table.double(), 16, False)
    out = operators.window_attention(qkv, table, 16, shifted=False)
    assert difference(out, expected) <= FORWARD
    qkv, categories = qkv.flatten(1, 2), torch.randint(0, 7, (512, 1), dtype=torch.int32).mT
    expected = operators.category_attention(qkv.double(), categories, torch.tensor(0.5), 2, 100, 7)
    out = operators.category_attention(qkv, categories, torch.tensor(0.5), 2, 100, 7)
    assert difference(out, expected) <= FORWARD
    for categories in (torch.randint(0, 7, (50, 3)).int().T, torch.zeros(1, 1).int().expand(2, 9)):
        order = categories.sort(dim=1, stable=True).indices
        assert torch.equal(operators.sort_by_category(categories, 7), order)


@pytest.mark.parametrize(
    ("given", "count"),
    [([3, -2, 3, 0], 4), ([3, 7, 3, 0], 4), ([2**40, 1, 2**31, 1], 2**40 + 1)],
)
def test_categories_that_cannot_be_counted(given: list[int], count: int) -> None:
    """No place is counted beyond its array."""
    categories = torch.tensor([given])
    order = operators.sort_by_category(categories, count)
    assert torch.equal(order, categories.sort(dim=1, stable=True).indices)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_no_picture_sees_what_is_no_number_in_another(number: float) -> None:
    """Nor do its tokens get categories that are none."""
    q, k, scale = torch.randn(2, 40, 3), torch.randn(2, 9, 3), torch.rand(9)
    q[0] = number
    with torch.no_grad():
        shares, categories, _ = look_up(q, k, scale)
        alone, _, _ = look_up(q[1:], k[1:], scale)
    assert shares[0].isnan().all()
    assert torch.equal(shares[1:], alone)
    assert categories.amin() >= 0
    assert categories.amax() < 9
    pictures = torch.rand(2, 3, 16, 32)
    pictures[0, 0, 3, 5] = number
    network = lively(TINY)
    with torch.no_grad():
        out = network(pictures)
    assert out[0].isnan().all()
    assert out[1].isfinite().all()


@pytest.fixture
def _defaults() -> Iterator[None]:
    attention_kernels._window_order.cache_clear()
    attention_kernels._penalties.cache_clear()
    yield
    torch.set_default_dtype(torch.float32)
    attention_kernels._window_order.cache_clear()
    attention_kernels._penalties.cache_clear()


@pytest.mark.usefixtures("_defaults")
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_default_dtype_and_device_are_for_others(dtype: torch.dtype) -> None:
    network, x = lively(TINY), torch.rand(1, 3, 32, 48)

    def everything() -> list[Tensor]:
        with torch.no_grad():
            out = network(x)
        network.zero_grad()
        network(x).square().sum().backward()
        return [out, *(p.grad for p in network.parameters() if p.grad is not None)]

    torch.set_default_dtype(dtype)
    with torch.device("meta"):
        changed = everything()
    torch.set_default_dtype(torch.float32)
    attention_kernels._window_order.cache_clear()
    attention_kernels._penalties.cache_clear()
    assert all(torch.equal(a, b) for a, b in zip(changed, everything(), strict=True))


def test_tensors_that_a_kernel_would_misread() -> None:
    x, bias = torch.randn(1, 4, 12), torch.zeros(12)
    for weight in (torch.randn(12, 12).bfloat16(), torch.randn(12, 12, device="meta")):
        with pytest.raises(RuntimeError, match="a kernel cannot read weight"):
            tokenwise.linear((x,), weight, bias)
    with pytest.raises(RuntimeError, match="a kernel cannot read x"):
        tokenwise._DepthwiseArguments.of(x=x[..., ::2])


def test_tensors_live_as_long_as_the_arguments() -> None:
    x = torch.randn(3)
    inside = weakref.ref(x)
    arguments = tokenwise._LinearArguments.of(inputs=(x,))
    del x
    assert inside() is not None
    del arguments
    assert inside() is None


# ------------------------------------------------------------------------------------- a network


def _layer_inputs(layer: model.Layer) -> tuple[Tensor, Tensor]:
    """Return tokens, none of them between two categories, and a dictionary."""
    width, pictures = layer.qkv.in_features, 2 if layer.code is None else 1
    dictionary = torch.randn(pictures, layer.category.entries, width)
    x, exact = torch.randn(2, 32, 48, width), copy.deepcopy(layer).double()
    with torch.no_grad():
        _, shares = exact.dictionary(exact.norm_attention(x.double()), dictionary.double())
    first, second = shares.flatten(0, 1).topk(2).values.unbind(-1)
    tokens, margin = x.view(-1, width), first - second
    # rounding would put such a token into either one
    tokens[margin < 1e-5] = tokens[margin.argmax()].clone()
    return x, dictionary


NETWORKS = {"v1": TINY, "v2": TINY_V2, "U": TINY_U}
LAYERS = pytest.mark.parametrize(
    "config", [*NETWORKS.values(), replace(TINY, category_block=20)], ids=[*NETWORKS, "blocks"]
)


@LAYERS
def test_a_layer_is_the_plain_one(config: NetworkConfig, rounded: bool) -> None:
    layers, exact = lively(config).layers, lively(config).double().layers
    fast, most = CPUBackend(rounded=rounded), ROUNDED if rounded else FORWARD
    with torch.no_grad(), no_plain_attention():
        fused = []
        for layer in layers:
            x, dictionary = _layer_inputs(layer)
            before = x.clone()
            fused.append((x, dictionary, layer(x, dictionary, fast)))
            assert torch.equal(x, before)
    with torch.no_grad():
        for same, (x, dictionary, out) in zip(exact, fused, strict=True):
            expected = same(x.double(), dictionary.double())
            assert difference(out[0], expected[0]) <= most
            assert difference(out[1], expected[1]) <= most


@LAYERS
@pytest.mark.parametrize("tokens", [1, 48, 100, 1535])
def test_layers_of_large_pictures_give_the_same_bits(
    config: NetworkConfig, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for layer in lively(config).layers[:2]:
        x, dictionary = _layer_inputs(layer)
        with torch.no_grad(), monkeypatch.context() as patch:
            whole = layer(x, dictionary, CPUBackend())
            patch.setattr(fused_cpu, "_BAND", tokens)
            in_parts = layer(x, dictionary, CPUBackend())
        assert all(torch.equal(a, b) for a, b in zip(whole, in_parts, strict=True))


def test_memory_of_results_is_used_again_when_nobody_has_one() -> None:
    results = Results()
    first, second = results.take(2, 3, 4), results.take(2, 3, 4)
    kept = second[0, 1:].detach()  # any view keeps it
    addresses = {first.data_ptr(), second.data_ptr()}
    assert len(addresses) == 2
    assert results.take(2, 3, 4).data_ptr() not in addresses
    first_address = first.data_ptr()
    del first, second
    again = results.take(3, 4)
    assert again.data_ptr() == first_address
    assert again.shape == (3, 4)
    assert results.take(24).data_ptr() not in addresses
    del kept
    assert results.take(24).data_ptr() in addresses - {first_address}


@pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)
def test_a_hook_may_keep_the_results_of_layers(
    config: NetworkConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = lively(config)
    image = torch.rand(1, 3, 40, 56)
    kept: list[Tensor] = []
    then: list[Tensor] = []

    def keep(_: nn.Module, __: object, out: tuple[Tensor, Tensor]) -> None:
        kept.append(out[0])
        then.append(out[0].clone())

    with torch.inference_mode():
        monkeypatch.setattr(fused_cpu, "_BAND", 600)
        alone = network(image)
        hooks = [layer.register_forward_hook(keep) for layer in network.layers]
        hooked = network(image)
        for hook in hooks:
            hook.remove()
    assert torch.equal(alone, hooked)
    assert len({x.data_ptr() for x in kept}) == len(network.layers)
    assert all(torch.equal(x, y) for x, y in zip(kept, then, strict=True))


def test_the_first_convolution_of_a_large_picture_runs_twice_unless_somebody_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, image = lively(TINY), torch.rand(1, 3, 40, 56)
    runs: list[Tensor] = []
    convolve = nn.Conv2d.forward

    def count(self: nn.Conv2d, x: Tensor) -> Tensor:
        out = convolve(self, x)
        if self is network.conv_first:
            runs.append(out)
        return out

    monkeypatch.setattr(nn.Conv2d, "forward", count)
    with torch.inference_mode():
        small = network(image)
        assert len(runs) == 1
        monkeypatch.setattr(fused_cpu, "_BAND", 600)
        assert torch.equal(network(image), small)
        assert len(runs) == 3
        hook = network.conv_first.register_forward_hook(lambda *_: None)
        assert torch.equal(network(image), small)
        hook.remove()
        assert len(runs) == 4
    network(image)  # with gradients
    assert len(runs) == 5


@LAYERS
@pytest.mark.parametrize("is_fused", [True, False])
def test_gradients_of_a_layer(config: NetworkConfig, is_fused: bool, rounded: bool) -> None:
    if rounded and not is_fused:
        pytest.skip("the modules of a layer do not round")
    most = 4 * ROUNDED if rounded else BACKWARD
    layers, exact = lively(config).layers[:3], lively(config).double().layers[:3]
    for layer, same in zip(layers, exact, strict=True):
        given = _layer_inputs(layer)
        double, single = learned(*given, dtype=torch.float64), learned(*given)
        with no_plain_attention():
            out = layer(*single, CPUBackend(rounded=rounded) if is_fused else None)
        expected = same(*double)
        learns = [i for i in range(2) if expected[i].requires_grad]  # a static dictionary does not
        upstream = [torch.randn_like(out[i]) for i in learns]
        torch.autograd.backward([out[i] for i in learns], upstream)
        torch.autograd.backward([expected[i] for i in learns], [g.double() for g in upstream])
        pairs = {name: (p, same.get_parameter(name)) for name, p in layer.named_parameters()}
        pairs |= {"x": (single[0], double[0]), "dictionary": (single[1], double[1])}
        for name, (ours, theirs) in pairs.items():
            if ours.grad is None or theirs.grad is None:
                assert ours.grad is theirs.grad, name
            else:
                # one number for all entries is a sum of many that cancel
                allowed = 20 * most if name == "dictionary.scale" else most
                assert difference(ours.grad, theirs.grad) <= allowed, name


def test_gradients_of_a_layer_of_which_a_part_learns() -> None:
    """The others' are not asked for, and memory that was checkpointed is computed again."""
    layer = lively(TINY).layers[1]
    x, dictionary = _layer_inputs(layer)
    layer(x, dictionary, CPUBackend())[0].sin().sum().backward()
    expected = layer.ffn.fc1.weight.grad
    layer.zero_grad()
    layer.requires_grad_(False).ffn.fc1.requires_grad_(True)
    out = checkpoint(layer, x, dictionary, CPUBackend(), use_reentrant=False)[0]
    out.sin().sum().backward()
    found = layer.ffn.fc1.weight.grad
    assert found is not None
    assert expected is not None
    assert torch.equal(found, expected)
    assert [name for name, p in layer.named_parameters() if p.grad is not None] == [
        "ffn.fc1.weight",
        "ffn.fc1.bias",
    ]


@LAYERS
def test_gradients_of_a_layer_of_which_one_parameter_learns(config: NetworkConfig) -> None:
    """Those of the dictionary's maps too, which come before what the layer's function takes."""
    layer = lively(config).layers[0]
    x, dictionary = _layer_inputs(layer)

    def gradients_of(names: set[str]) -> dict[str, Tensor]:
        for name, parameter in layer.named_parameters():
            parameter.grad = None
            parameter.requires_grad_(name in names)
        layer(x, dictionary, CPUBackend())[0].sin().sum().backward()
        return {name: p.grad for name, p in layer.named_parameters() if p.grad is not None}

    names = {name for name, _ in layer.named_parameters()} - {"refinement.bias", "refinement.sigma"}
    expected = gradients_of(names)
    assert {"dictionary.key.weight", "dictionary.value.weight", "dictionary.scale"} <= set(expected)
    for name, gradient in expected.items():
        found = gradients_of({name})
        assert list(found) == [name]
        assert torch.equal(found[name], gradient), name


def test_a_result_that_is_changed_in_its_place() -> None:
    """Allowed where no refinement reads it later, as by a hook of the layer."""
    layer = lively(TINY_V2).layers[0]
    given = _layer_inputs(layer)
    found = []
    for chosen in (CPUBackend(), None):
        inputs = learned(*(tensor.clone() for tensor in given))
        out = layer(*inputs, chosen)[0]
        out.mul_(out.detach().sin())
        found.append(gradients(out, torch.ones_like(out), *inputs))
    for ours, theirs in zip(*found, strict=True):
        assert difference(ours, theirs.double()) <= BACKWARD


@pytest.mark.parametrize("function", [Tensor.sum, lambda out: out.sin().sum()])
def test_a_layer_can_be_differentiated_once(function: Callable[[Tensor], Tensor]) -> None:
    """Also where the gradient that comes in is a constant, and the one that goes out is not."""
    layer = lively(TINY).layers[0].requires_grad_(False)
    x, dictionary = learned(*_layer_inputs(layer))
    out, refined = layer(x, dictionary, CPUBackend())
    for result in (out, refined):
        (of_x,) = torch.autograd.grad(function(result), x, create_graph=True)
        with pytest.raises(RuntimeError, match=r"once, not twice; inside `.*\.plain\(\)`"):
            of_x.square().sum().backward()
    key = layer.dictionary.key
    mapped = fused_cpu._map(key, dictionary)
    (of_dictionary,) = torch.autograd.grad(function(mapped), dictionary, create_graph=True)
    with pytest.raises(RuntimeError, match="once, not twice"):
        of_dictionary.sum().backward()


@pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("size", [(1, 1), (37, 70)])
def test_a_network_is_the_plain_one(config: NetworkConfig, size: tuple[int, int]) -> None:
    """Where no token is between two categories: queries are wide enough to make that unlikely."""
    if config is TINY_U:
        config = replace(TINY_U, reduced_widths=(8, 8, 8, 8))
    network, image = lively(config), torch.rand(1, 3, *size)
    with torch.no_grad():
        with no_plain_attention():
            out = network(image)
        with kernels.plain():
            expected = network(image)
    assert difference(out, expected.double()) <= FORWARD


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("pool", ["OpenMP", "Python"])
def test_the_same_bits_with_any_number_of_threads(pool: str, monkeypatch, rounded: bool) -> None:
    if pool == "Python":
        monkeypatch.setattr(cpu, "_openmp", lambda: None)
    layers = [lively(TINY).layers[1], lively(TINY_V2).layers[1], *lively(TINY_U).layers[2:4]]
    given = [_layer_inputs(layer) for layer in layers]
    qkv, table, narrow = torch.randn(2, 48, 64, 36), torch.randn(31**2, 2), torch.randn(15**2, 2)
    categories, upstream = torch.randint(0, 9, (2, 48 * 64)), torch.randn(2, 48, 64, 12)

    def everything() -> list[Tensor]:
        tensors = []
        with torch.no_grad():
            for layer, (x, dictionary) in zip(layers, given, strict=True):
                tensors += layer(x, dictionary, CPUBackend(rounded=rounded))
        for side, biases in ((16, table), (8, narrow)):
            inputs = learned(qkv, biases)
            out = operators.window_attention(inputs[0], inputs[1], side, shifted=True)
            tensors += [out, *gradients(out, upstream, *inputs)]
        for layer, given_to_layer in zip(layers, given, strict=True):
            inputs = learned(*(tensor.clone() for tensor in given_to_layer))
            out, _ = layer(*inputs, CPUBackend(rounded=rounded))
            learns = [*inputs, *(p for p in layer.parameters() if p.requires_grad)]
            found = torch.autograd.grad(out, learns, torch.sin(out), allow_unused=True)
            tensors += [tensor for tensor in found if tensor is not None]
        inputs = learned(qkv.flatten(1, 2), torch.tensor(0.5))
        out = operators.category_attention(inputs[0], categories, inputs[1], 2, 100, 9)
        return [*tensors, out, *gradients(out, upstream.flatten(1, 2), *inputs)]

    torch.set_num_threads(1)
    alone = everything()
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        assert all(torch.equal(a, b) for a, b in zip(alone, everything(), strict=True))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("pool", ["OpenMP", "Python"])
def test_several_threads_call_at_the_same_time(pool: str, monkeypatch) -> None:
    if pool == "Python":
        monkeypatch.setattr(cpu, "_openmp", lambda: None)
    qkv, categories = torch.randn(1, 2000, 36), torch.randint(0, 9, (1, 2000))

    def attend(_: int = 0) -> Tensor:
        return operators.category_attention(qkv, categories, torch.tensor(0.5), 2, 64, 9)

    torch.set_num_threads(2)
    alone = attend()
    with ThreadPoolExecutor(3) as callers:
        results = callers.map(attend, range(60))
        for count in (3, 1, 2):
            torch.set_num_threads(count)
            assert torch.equal(attend(), alone)
        assert all(torch.equal(out, alone) for out in results)


@pytest.mark.usefixtures("threads")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_threads_that_a_fork_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_openmp", lambda: None)
    inputs = torch.randn(1, 4, 4, 3), torch.randn(3, 1, 1, 1), torch.randn(3)
    torch.set_num_threads(2)
    list(cpu._python_threads(2).map(time.sleep, (0.02, 0.02)))  # both threads are there
    expected = tokenwise.depthwise_gelu(*inputs)
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        same = torch.equal(tokenwise.depthwise_gelu(*inputs), expected)
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(cpu.status().threads != "OpenMP", reason="PyTorch has no such OpenMP here")
def test_the_openmp_of_pytorch_before_others(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = Path("/proc/self/maps").read_text()
    other = "7f00-7f01 r-xp 0000 00:00 1    /another/package/libgomp.so.1\n"
    monkeypatch.setattr(Path, "read_text", lambda _: other + maps)
    found = cpu._openmp.__wrapped__()
    assert found is not None
    assert Path(found._name).is_relative_to(Path(torch.__file__).parent)


# --------------------------------------------------------------------------- when they do not run


def test_the_plain_path_on_request() -> None:
    x, layers = torch.randn(1, 16, 16, 12), lively(TINY).layers
    with torch.no_grad():
        assert cpu.supports(x)
        assert isinstance(select_backend(x, layers), CPUBackend)
        with kernels.plain():
            assert not cpu.supports(x)
            assert select_backend(x, layers) is None
        assert isinstance(select_backend(x, layers), CPUBackend)


def test_what_the_kernels_do_not_take() -> None:
    x, layers = torch.randn(1, 16, 16, 12), lively(TINY).layers
    assert not cpu.supports(x.double())
    assert not cpu.supports(x.to("meta"))
    with torch.no_grad():
        assert select_backend(x, layers) is not None
        assert select_backend(x.bfloat16(), layers) is None
        assert select_backend(x.as_subclass(nn.Parameter), layers) is None
        with torch.autocast("cpu", torch.bfloat16):
            assert select_backend(x, layers) is None


@pytest.mark.parametrize("multiplies", [True, False])
def test_products_in_bfloat16(multiplies: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the kernels where the processor multiplies bfloat16, by autocast elsewhere."""
    monkeypatch.setattr(cpu, "multiplies_bf16", lambda: multiplies)
    x, layers, device = torch.randn(1, 16, 16, 12), lively(TINY).layers, torch.device("cpu")
    made = mock.Mock()
    monkeypatch.setattr(backend, "CPUBackend", made)
    with torch.no_grad(), products_in_bfloat16(device, enabled=True):
        assert torch.is_autocast_enabled("cpu") is not multiplies
        select_backend(x, layers)
    assert made.call_args_list == ([mock.call(rounded=True)] if multiplies else [])
    with torch.no_grad():
        select_backend(x, layers)
    assert made.call_args == mock.call(rounded=False)


def test_layers_with_other_modules_run_as_they_are_written() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            return 2 * nn.Linear.forward(self, x)

    network, x = lively(TINY), torch.rand(1, 3, 16, 16)
    layer = network.layers[2]
    with torch.no_grad():
        before = network(x)
        layer.ffn.fc2.weight.mul_(2)
        layer.ffn.fc2.bias.mul_(2)
        expected = network(x)
        assert not torch.allclose(expected, before, atol=1e-3)
        layer.ffn.fc2.weight.div_(2)
        layer.ffn.fc2.bias.div_(2)
        original = layer.ffn.fc2
        layer.ffn.fc2 = Doubled(12, 12)
        layer.ffn.fc2.load_state_dict(original.state_dict())
        assert torch.allclose(network(x), expected, atol=1e-5)
        patched = layer.ffn.fc2 = copy.copy(original)
        patched.forward = Doubled.forward.__get__(patched)
        assert torch.allclose(network(x), expected, atol=1e-5)
        layer.ffn.fc2 = original
        layer.ffn.__class__ = type("OtherFFN", (type(layer.ffn),), {"__module__": model.__name__})
        assert select_backend(torch.randn(1, 16, 16, 12), network.layers) is None


@pytest.mark.parametrize("shifted", [False, True])
def test_a_layer_with_windows_that_do_not_fill_vectors(shifted: bool) -> None:
    network = lively(replace(TINY_V2, window=12, category_size=64))
    layer, x = network.layers[shifted], torch.randn(2, 12, 24, 12)
    dictionary = torch.randn(1, 20, 12)
    with torch.no_grad():
        assert isinstance(select_backend(x, network.layers), CPUBackend)
        with torch.enable_grad():  # no kernel computes gradients of such windows
            assert select_backend(x, network.layers) is None
        out, _ = layer(x, dictionary, CPUBackend())
        expected, _ = layer.double()(x.double(), dictionary.double())
    assert difference(out, expected) <= 1e-5


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_traces_hold_no_addresses() -> None:
    network = lively(TINY)
    with torch.no_grad():
        traced: Any = torch.jit.trace(network, torch.rand(1, 3, 16, 16), check_trace=False)
        other = torch.rand(1, 3, 16, 16)
        assert torch.allclose(traced(other), network(other), atol=1e-4)


def test_no_memory_is_an_error_that_tiles_know(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(pointer: Any) -> None:
        pointer._obj.failed = 1  # as the kernel does it

    monkeypatch.setattr(cpu, "function", lambda _: fails)
    with pytest.raises(MemoryError, match="out of memory in a kernel"):
        tokenwise.depthwise_gelu(torch.randn(1, 1, 1, 1), torch.randn(1, 1, 1, 1), None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("switch", "words"),
    [("off", "turned off by ATDSR_KERNELS=off"), ("neon", "ATDSR_KERNELS is 'neon'")],
)
def test_the_switch(switch: str, words: str) -> None:
    code = "from atdsr.network.kernels import cpu; print(cpu.status())"
    environment = {"PYTHONPATH": ":".join(sys.path), kernels.SWITCH: switch}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert "variant=None" in done.stdout
    assert words in done.stdout


def test_a_switch_without_meaning_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.SWITCH, "Off")
    assert kernels.switch() == "off"
    monkeypatch.setenv(kernels.SWITCH, "bogus")
    for status in (cpu.status, gpu.status):
        status.cache_clear()
        with pytest.raises(AtdsrError, match=r"ATDSR_KERNELS is 'bogus'; unset it, or set it to"):
            status()


def test_libraries_older_than_their_sources(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(cpu, "_path", lambda variant: tmp_path / f"{variant}.so")
    for variant in VARIANTS:
        (tmp_path / f"{variant}.so").touch()
    (tmp_path / "attention.c").touch()
    os.utime(tmp_path / "attention.c", (2**32, 2**32))
    cpu.status.cache_clear()
    assert cpu.status().variant is None
    assert "older than their C code" in str(cpu.status().why_not)


def test_libraries_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(cpu, "_path", lambda variant: tmp_path / f"{variant}.so")
    cpu.status.cache_clear()
    assert cpu.status().variant is None
    assert "not built" in str(cpu.status().why_not)
    (tmp_path / f"{VARIANTS[0]}.so").write_bytes(b"no library")
    monkeypatch.setenv(kernels.SWITCH, VARIANTS[0])
    cpu._library.cache_clear()
    cpu.status.cache_clear()
    assert "could not be loaded" in str(cpu.status().why_not)
    cpu._library.cache_clear()
