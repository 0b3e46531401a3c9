"""The GPU kernels of the depthwise convolution against PyTorch's own in float64."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.gpu_tests import DEVICE, difference, poisoned

pytestmark = pytest.mark.slow

kernels = pytest.importorskip("atdsr.network.kernels.gpu.depthwise")

_SMALL = replace(
    kernels.TILING, rows=4, columns=4, gradient_rows=2, gradient_columns=2, gradient_steps=2
)


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with poisoned(monkeypatch):
        yield


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles so small that there are several of each kind, for the interpreter."""
    monkeypatch.setattr(kernels, "TILING", _SMALL)


def _inputs(
    b: int, h: int, w: int, c: int, k: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(b, h, w, c, device=DEVICE).to(dtype)
    weight, bias = torch.randn(c, 1, k, k, device=DEVICE) / k, torch.randn(c, device=DEVICE)
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


def _reference(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    padding, channels = weight.shape[-1] // 2, x.shape[-1]
    mixed = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=padding, groups=channels)
    return x + F.gelu(mixed).permute(0, 2, 3, 1)


def _in_float64(*tensors: Tensor) -> list[Tensor]:
    return [x.detach().double().cpu().requires_grad_() for x in tensors]


def _check(inputs: tuple[Tensor, Tensor, Tensor], forward: float, backward: float) -> None:
    out = kernels.depthwise_gelu(*inputs)
    assert out.dtype == inputs[0].dtype
    assert out.is_contiguous()
    leaves = _in_float64(*inputs)
    expected = _reference(*leaves)
    assert difference(out, expected) < forward
    grad = torch.randn_like(out)
    found = torch.autograd.grad(out, inputs, grad)
    wanted = torch.autograd.grad(expected, leaves, grad.double().cpu())
    for leaf, one, other in zip(inputs, found, wanted, strict=True):
        assert one.dtype == leaf.dtype
        assert difference(one, other) < backward


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(
    ("b", "h", "w", "c", "k"),
    [
        (1, 1, 1, 5, 7),
        (2, 1, 5, 12, 3),
        (1, 3, 2, 48, 5),
        (2, 9, 17, 12, 3),
        (1, 5, 9, 20, 5),
        (1, 4, 3, 12, 1),
        (1, 3, 9, 5, 7),
        (1, 2, 3, 2, 9),
    ],
)
def test_any_size_width_and_kernel(b: int, h: int, w: int, c: int, k: int) -> None:
    _check(_inputs(b, h, w, c, k), 1e-5, 1e-4)


@pytest.mark.parametrize(("h", "c", "k"), [(1, 48, 7), (5, 12, 3)])
def test_as_it_is_cut_up_in_use(h: int, c: int, k: int) -> None:
    _check(_inputs(1, h, 17, c, k), 1e-5, 1e-4)


def test_channels_in_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "TILING", _SMALL)
    monkeypatch.setattr(kernels, "_WIDEST", 8)
    for channels, side in ((24, 8), (20, 5), (22, 22)):
        assert kernels._side_by_side(channels) == side
        _check(_inputs(1, 2, 7, channels, 3), 1e-5, 1e-4)


@pytest.mark.usefixtures("_small")
def test_bfloat16() -> None:
    _check(_inputs(2, 3, 5, 12, 5, torch.bfloat16), 2e-2, 3e-2)


@pytest.mark.usefixtures("_small")
def test_a_view_is_taken() -> None:
    x, weight, bias = _inputs(1, 5, 4, 12, 3)
    assert (
        difference(
            kernels.depthwise_gelu(x.transpose(1, 2), weight, bias),
            _reference(*_in_float64(x.transpose(1, 2), weight, bias)),
        )
        < 1e-5
    )


@pytest.mark.usefixtures("_small")
def test_same_bits_again() -> None:
    inputs = _inputs(2, 3, 5, 12, 3)
    runs = []
    for _ in range(2):
        out = kernels.depthwise_gelu(*inputs)
        runs.append((out, *torch.autograd.grad(out.square().sum(), inputs)))
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


@pytest.mark.usefixtures("_small")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nan_stays_within_reach() -> None:
    x, weight, bias = _inputs(1, 9, 11, 2, 3)
    with torch.no_grad():
        x[0, 4, 5, 1] = torch.nan
        out = kernels.depthwise_gelu(x, weight, bias)
    reached = torch.zeros(1, 9, 11, 2, dtype=torch.bool, device=DEVICE)
    reached[0, 3:6, 4:7, 1] = True
    assert torch.equal(out.isnan(), reached)


@pytest.mark.usefixtures("_small")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nan_in_a_gradient_stays_within_reach() -> None:
    inputs = _inputs(1, 9, 11, 2, 3)
    grad = torch.ones_like(inputs[0])
    grad[0, 0, 10, 0] = torch.nan
    found = torch.autograd.grad(kernels.depthwise_gelu(*inputs), inputs, grad)
    reached = torch.zeros(1, 9, 11, 2, dtype=torch.bool, device=DEVICE)
    reached[0, :2, 9:, 0] = True
    assert torch.equal(found[0].isnan(), reached)
    assert found[1][0].isnan().all()
    assert found[2][0].isnan()
    assert not found[1][1].isnan().any()


def test_only_training_keeps_the_slope() -> None:
    x, weight, bias = (t.detach() for t in _inputs(1, 1, 2, 2, 1))
    taps = weight.flatten(1).T.contiguous()
    sizes = [kernels._forward(x, taps, bias, 1, keep)[1].numel() for keep in (False, True)]
    assert sizes == [0, 4]


@pytest.mark.usefixtures("_small")
def test_parameters_in_bfloat16_are_taken_in_float32() -> None:
    coarse = tuple(x.detach().bfloat16().requires_grad_() for x in _inputs(1, 5, 6, 4, 3))
    runs = []
    for parameters in (coarse[1:], tuple(x.detach().float().requires_grad_() for x in coarse[1:])):
        out = kernels.depthwise_gelu(coarse[0], *parameters)
        grads = torch.autograd.grad(out.float().square().sum(), parameters)
        runs.append((out, *(grad.bfloat16() for grad in grads)))
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


@pytest.mark.usefixtures("_small")
def test_they_are_sound_operators() -> None:
    x, weight, bias = _inputs(1, 2, 3, 4, 3)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    arguments = (x, weight.detach().flatten(1).T.contiguous(), bias, 3, True)
    torch.library.opcheck(kernels._forward, arguments, test_utils=checks)
    x, taps = x.detach(), arguments[1]
    arguments = (torch.ones_like(x), x, taps, torch.rand_like(x), 3)
    torch.library.opcheck(kernels._backward, arguments, test_utils=checks)


@pytest.mark.usefixtures("_small")
def test_compiled_code_takes_it() -> None:
    inputs = _inputs(1, 2, 3, 4, 3)
    compiled = torch.compile(kernels.depthwise_gelu, backend="aot_eager", fullgraph=True)
    runs = []
    for function in (kernels.depthwise_gelu, compiled):
        out = function(*inputs)
        runs.append((out, *torch.autograd.grad(out.square().sum(), inputs)))
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))
