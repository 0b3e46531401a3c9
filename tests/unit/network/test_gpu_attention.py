"""Window and category attention of the GPU kernels against plain attention in float64."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from atdsr.network import attention, operators
from helpers.gpu_tests import DEVICE, difference, poisoned

pytestmark = pytest.mark.slow

kernels = pytest.importorskip("atdsr.network.kernels.gpu.attention")

_NAN_IS_MEANT = pytest.mark.filterwarnings("ignore::RuntimeWarning")
_FORWARD = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
_BACKWARD = {torch.float32: 1e-4, torch.bfloat16: 3e-2}


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if DEVICE == "cpu":  # few programs, for the interpreter
        monkeypatch.setattr(kernels, "_multiprocessors", lambda _: 1)
    with poisoned(monkeypatch):
        yield


def _window_inputs(
    rows: int, columns: int, side: int, width: int, dtype: torch.dtype = torch.float32, b: int = 1
) -> tuple[Tensor, Tensor]:
    qkv = torch.randn(b, rows * side, columns * side, 6 * width, device=DEVICE).to(dtype)
    table = torch.randn((2 * side - 1) ** 2, 2, device=DEVICE)
    return qkv.requires_grad_(), table.requires_grad_()


def _windows_in_float64(
    qkv: Tensor, table: Tensor, side: int, shifted: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    leaves = tuple(x.detach().double().cpu().requires_grad_() for x in (qkv, table))
    return attention.window_attention_reference(leaves[0], leaves[1], side, shifted), leaves


@pytest.mark.parametrize(
    ("rows", "columns", "side", "width", "shifted", "dtype", "b"),
    [
        (1, 1, 4, 12, True, torch.float32, 1),
        (1, 3, 4, 16, True, torch.float32, 1),
        (3, 1, 4, 16, True, torch.bfloat16, 2),
        (2, 1, 4, 12, False, torch.bfloat16, 1),
        (1, 1, 6, 35, True, torch.float32, 1),
        (1, 1, 8, 54, True, torch.bfloat16, 1),
        (1, 1, 8, 35, False, torch.bfloat16, 1),
        (1, 1, 16, 12, True, torch.bfloat16, 1),
    ],
)
def test_window_attention_is_the_reference(
    rows: int, columns: int, side: int, width: int, shifted: bool, dtype: torch.dtype, b: int
) -> None:
    qkv, table = _window_inputs(rows, columns, side, width, dtype, b)
    out = operators.window_attention(qkv, table, side, shifted)
    expected, leaves = _windows_in_float64(qkv, table, side, shifted)
    assert out.dtype == dtype
    assert difference(out, expected) < _FORWARD[dtype]
    upstream = torch.randn_like(out)
    found = torch.autograd.grad(out, (qkv, table), upstream)
    wanted = torch.autograd.grad(expected, leaves, upstream.double().cpu())
    for x, y in zip(found, wanted, strict=True):
        assert difference(x, y) < _BACKWARD[dtype]


@pytest.mark.parametrize("most", [1, 1000])
def test_programs_may_take_any_number_of_windows(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few programs take many windows each, the last one fewer; sums of biases agree."""
    monkeypatch.setattr(kernels, "_multiprocessors", lambda _: most)
    qkv, table = _window_inputs(2, 3, 2, 12, b=2)
    out = operators.window_attention(qkv, table, 2, shifted=True)
    expected, leaves = _windows_in_float64(qkv, table, 2, shifted=True)
    assert difference(out, expected) < 1e-5
    found = torch.autograd.grad(out.square().sum(), (qkv, table))
    wanted = torch.autograd.grad(expected.square().sum(), leaves)
    for x, y in zip(found, wanted, strict=True):
        assert difference(x, y) < 1e-4


def _category_inputs(
    n: int, width: int, dtype: torch.dtype = torch.float32, b: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries near keys, so that a larger scale has a definite effect."""
    qkv = torch.randn(b, n, 6 * width, device=DEVICE)
    qkv[..., : 2 * width] += 0.5 * qkv[..., 2 * width : 4 * width]
    categories = torch.randint(0, 5, (b, n), device=DEVICE)
    log_scale = torch.tensor([[-2.5]], device=DEVICE)
    return qkv.to(dtype).requires_grad_(), categories, log_scale.requires_grad_()


def _categories_in_float64(
    qkv: Tensor, categories: Tensor, log_scale: Tensor, group: int
) -> tuple[Tensor, tuple[Tensor, ...]]:
    leaves = tuple(x.detach().double().cpu().requires_grad_() for x in (qkv, log_scale))
    order = sort(categories).cpu()
    return attention.category_attention(leaves[0], order, leaves[1], 2, group), leaves


def sort(categories: Tensor) -> Tensor:
    return categories.sort(dim=1, stable=True).indices


def category_attention(qkv: Tensor, order: Tensor, log_scale: Tensor, group: int) -> Tensor:
    """The operator with two heads, in a given order of tokens."""
    scale = log_scale.reshape(())
    return torch.ops.atdsr.category_attention(qkv, order, scale, 2, group, True)[0]


@pytest.mark.parametrize(
    ("n", "group", "width", "dtype", "index", "b"),
    [
        (16, 8, 12, torch.float32, torch.int32, 2),
        (32, 16, 16, torch.bfloat16, torch.int64, 1),
        (21, 8, 12, torch.float32, torch.int64, 2),  # borrows of its own run and the one before
        (19, 16, 35, torch.float32, torch.int32, 1),  # likewise, most of the one before
        (40, 33, 54, torch.bfloat16, torch.int32, 1),
        (13, 13, 35, torch.bfloat16, torch.int64, 2),
        (100, 70, 12, torch.bfloat16, torch.int32, 1),
    ],
)
def test_category_attention_is_the_plain_one(
    n: int, group: int, width: int, dtype: torch.dtype, index: torch.dtype, b: int
) -> None:
    qkv, categories, log_scale = _category_inputs(n, width, dtype, b)
    order = sort(categories).to(index)
    out = category_attention(qkv, order, log_scale, group)
    expected, leaves = _categories_in_float64(qkv, categories, log_scale, group)
    assert out.dtype == dtype
    assert difference(out, expected) < _FORWARD[dtype]
    found = torch.autograd.grad((out * qkv[..., -2 * width :]).sum(), (qkv, log_scale))
    values = leaves[0][..., -2 * width :]
    wanted = torch.autograd.grad((expected * values).sum(), leaves)
    for x, y in zip(found, wanted, strict=True):
        assert difference(x, y) < _BACKWARD[dtype]


def test_one_token_attends_to_itself() -> None:
    qkv, categories, log_scale = _category_inputs(1, 12, b=2)
    out = category_attention(qkv, torch.zeros_like(categories), log_scale, 1)
    assert torch.equal(out, qkv[..., 48:])
    grad_qkv, grad_scale = torch.autograd.grad(out.sum(), (qkv, log_scale))
    assert grad_qkv[..., 48:].eq(1).all()
    assert grad_qkv[..., :48].abs().max() < 1e-6
    assert grad_scale.abs() < 1e-6


def test_two_runs_have_the_same_bits() -> None:
    qkv, table = _window_inputs(1, 2, 2, 12, torch.bfloat16)
    rows, categories, log_scale = _category_inputs(21, 12, torch.bfloat16)
    order = sort(categories)

    def once() -> tuple[Tensor, ...]:
        found = operators.window_attention(qkv, table, 2, shifted=True)
        other = category_attention(rows, order, log_scale, 8)
        loss = found.float().square().sum() + other.float().square().sum()
        return found, other, *torch.autograd.grad(loss, (qkv, table, rows, log_scale))

    assert all(torch.equal(x, y) for x, y in zip(once(), once(), strict=True))


@_NAN_IS_MEANT
def test_nan_stays_in_its_window() -> None:
    qkv, table = _window_inputs(2, 2, 4, 35)
    with torch.no_grad():
        qkv[0, 1, 2, 5] = torch.nan
    out = operators.window_attention(qkv, table, 4, shifted=False)
    assert out[0, :4, :4].isnan().any()
    (grad,) = torch.autograd.grad(out[0, 4:].sum() + out[0, :, 4:].sum(), qkv)
    elsewhere = torch.ones(8, 8, dtype=torch.bool, device=DEVICE)
    elsewhere[:4, :4] = False
    assert out[0, elsewhere].isfinite().all()
    assert grad[0, elsewhere].isfinite().all()


@_NAN_IS_MEANT
def test_nan_stays_in_its_run() -> None:
    qkv, _, log_scale = _category_inputs(24, 12)
    order = torch.arange(24, device=DEVICE).expand(1, 24)
    with torch.no_grad():
        qkv[0, 9, 3] = torch.nan
    out = category_attention(qkv, order, log_scale, 8)
    assert out[0, 9].isnan().any()
    (grad,) = torch.autograd.grad(out[0, :8].sum() + out[0, 16:].sum(), qkv)
    elsewhere = torch.arange(24, device=DEVICE) // 8 != 1
    assert out[0, elsewhere].isfinite().all()
    assert grad[0, elsewhere].isfinite().all()


def test_views_and_frozen_parameters() -> None:
    """Rows may be part of wider ones; a gradient that nobody wants is not made."""
    wide = torch.randn(1, 8, 4, 80, device=DEVICE, requires_grad=True)
    _, table = _window_inputs(1, 1, 4, 12)
    out = operators.window_attention(wide[..., :72], table.detach(), 4, shifted=False)
    expected, leaves = _windows_in_float64(wide[..., :72], table, 4, shifted=False)
    assert difference(out, expected) < 1e-5
    (found,) = torch.autograd.grad(out.square().sum(), wide)
    (wanted,) = torch.autograd.grad(expected.square().sum(), leaves[:1])
    assert difference(found[..., :72], wanted) < 1e-4
    assert found[..., 72:].eq(0).all()


def test_only_training_keeps_the_sums() -> None:
    qkv, table = _window_inputs(1, 1, 2, 12)
    sizes = [
        torch.ops.atdsr.window_attention(qkv.detach(), table.detach(), 2, False, keep)[1].numel()
        for keep in (False, True)
    ]
    assert sizes == [0, 8]


_CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor")


def test_window_attention_is_a_sound_operator() -> None:
    qkv, table = _window_inputs(1, 2, 2, 12)
    torch.library.opcheck(
        torch.ops.atdsr.window_attention.default, (qkv, table, 2, True, True), test_utils=_CHECKS
    )
    out, sums = torch.ops.atdsr.window_attention(qkv.detach(), table.detach(), 2, True, True)
    arguments = (torch.ones_like(out), qkv.detach(), table.detach(), out, sums, 2, True, True)
    backward = torch.ops.atdsr.window_attention_backward.default
    torch.library.opcheck(backward, arguments, test_utils=_CHECKS)


def test_category_attention_is_a_sound_operator() -> None:
    qkv, categories, log_scale = _category_inputs(11, 12)
    order, scale = sort(categories), log_scale.detach().reshape(())
    arguments = (qkv, order, scale.requires_grad_(), 2, 8, True)
    torch.library.opcheck(torch.ops.atdsr.category_attention.default, arguments, test_utils=_CHECKS)
    qkv, scale = qkv.detach(), scale.detach()
    out, sums = torch.ops.atdsr.category_attention(qkv, order, scale, 2, 8, True)
    arguments = (torch.ones_like(out), qkv, order, scale, out, sums, 2, 8, True)
    backward = torch.ops.atdsr.category_attention_backward.default
    torch.library.opcheck(backward, arguments, test_utils=_CHECKS)


def test_compiled_code_takes_both() -> None:
    qkv, table = _window_inputs(1, 2, 2, 12)
    order = torch.randperm(8, device=DEVICE)[None]
    log_scale = torch.tensor(0.3, device=DEVICE, requires_grad=True)

    def both(qkv: Tensor, table: Tensor, log_scale: Tensor) -> Tensor:
        found = operators.window_attention(qkv, table, 2, shifted=True)
        rows = qkv.flatten(1, 2)
        return found.flatten(1, 2) + category_attention(rows, order, log_scale, 4)

    leaves = (qkv, table, log_scale)
    plain = both(*leaves)
    compiled = torch.compile(both, backend="aot_eager", fullgraph=True)(*leaves)
    assert torch.equal(plain, compiled)
    wanted = torch.autograd.grad(plain.square().sum(), leaves)
    found = torch.autograd.grad(compiled.square().sum(), leaves)
    assert all(torch.equal(x, y) for x, y in zip(wanted, found, strict=True))
