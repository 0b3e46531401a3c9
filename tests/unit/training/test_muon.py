"""Muon on stacks of matrices against PyTorch's own."""

import copy
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from atdsr.training import muon
from atdsr.training.muon import Muon

Kind = TypeVar("Kind", bound=torch.optim.Muon)

_SHAPES = [(12, 12), (36, 12), (12, 24), (12, 12), (36, 12), (7, 5), (1, 6)]


@pytest.fixture(autouse=True)
def _in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute as PyTorch's Muon does, also on a CPU on which ours takes float32."""
    monkeypatch.setattr(muon, "_cpu_multiplies_bf16", lambda: True)


def _matrices(seed: int, device: str = "cpu") -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(device)) for shape in _SHAPES]


def _give_gradients(parameters: list[nn.Parameter], seed: int) -> None:
    for parameter, grad in zip(parameters, _matrices(100 + seed), strict=True):
        parameter.grad = grad.detach().to(parameter.device)


def _take_steps(
    kind: type[Kind], steps: int = 4, **settings: Any
) -> tuple[list[nn.Parameter], Kind]:
    parameters = _matrices(0)
    optimizer = kind(parameters, **settings)
    for i in range(steps):
        _give_gradients(parameters, i)
        optimizer.step()
    return parameters, optimizer


def _assert_alike(found: list[nn.Parameter], expected: list[nn.Parameter]) -> None:
    """The ways from the start are the same, but for bfloat16's rounding of products."""
    for start, one, other in zip(_matrices(0), found, expected, strict=True):
        way = other - start
        assert way.abs().max() > 0
        assert (one - other).abs().max() < 0.02 * way.abs().max()


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 0.02, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"},
        {"lr": 0.02, "weight_decay": 0.0, "adjust_lr_fn": "original", "momentum": 0.5},
        {"lr": 0.01, "nesterov": False, "ns_steps": 3, "ns_coefficients": (2.0, -1.5, 0.5)},
        {"lr": 0.01, "eps": 1e3},
    ],
)
def test_the_same_as_pytorch(settings: dict[str, Any]) -> None:
    found, optimizer = _take_steps(Muon, **settings)
    expected, theirs = _take_steps(torch.optim.Muon, **settings)
    _assert_alike(found, expected)
    ours, wanted = optimizer.state_dict(), theirs.state_dict()
    assert ours["param_groups"] == wanted["param_groups"]
    torch.testing.assert_close(ours["state"], wanted["state"])


@pytest.mark.parametrize("kinds", [(torch.optim.Muon, Muon), (Muon, torch.optim.Muon)])
def test_a_saved_state_goes_on_in_the_other(kinds: tuple[type[torch.optim.Muon], ...]) -> None:
    before, after = kinds
    parameters, optimizer = _take_steps(before, 2, lr=0.02)
    moved = after(parameters, lr=1.0)
    moved.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for i in (2, 3):
        _give_gradients(parameters, i)
        moved.step()
    _assert_alike(parameters, _take_steps(torch.optim.Muon, lr=0.02)[0])


def test_the_learning_rate_may_be_a_tensor() -> None:
    expected = _take_steps(Muon, lr=0.02)[0]
    for lr in (torch.tensor(0.02), torch.tensor([0.02])):
        torch.testing.assert_close(_take_steps(Muon, lr=lr)[0], expected)


def test_groups_have_their_own_settings() -> None:
    found, expected = _matrices(0), _matrices(0)
    for parameters, kind in ((found, Muon), (expected, torch.optim.Muon)):
        groups = [
            {"params": parameters[:3], "lr": 0.1},
            {"params": parameters[3:], "lr": 0.001, "weight_decay": 0.5},
        ]
        _give_gradients(parameters, 0)
        kind(groups).step()
    _assert_alike(found, expected)


def _bits(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> list[Tensor]:
    momenta = [optimizer.state[parameter]["momentum_buffer"] for parameter in parameters]
    return [x.detach().clone() for x in (*parameters, *momenta)]


def test_a_step_with_found_inf_changes_nothing() -> None:
    parameters, optimizer = _take_steps(Muon, 2, lr=0.02)
    before = _bits(parameters, optimizer)
    optimizer.found_inf = torch.ones(1)
    _give_gradients(parameters, 2)
    for parameter, bad in zip(parameters, (torch.nan, torch.inf), strict=False):
        assert parameter.grad is not None
        parameter.grad[0, 0] = bad
    optimizer.step()
    assert all(map(torch.equal, _bits(parameters, optimizer), before))
    optimizer.found_inf.zero_()
    for i in (2, 3):
        _give_gradients(parameters, i)
        optimizer.step()
    expected = _bits(*_take_steps(Muon, 4, lr=0.02))
    assert all(map(torch.equal, _bits(parameters, optimizer), expected))


def test_a_parameter_without_a_gradient_stays() -> None:
    parameters = _matrices(0)
    _give_gradients(parameters, 0)
    parameters[1].grad = None
    optimizer = Muon(parameters, lr=0.02)
    optimizer.step()
    assert torch.equal(parameters[1], _matrices(0)[1])
    assert parameters[1] not in optimizer.state
    assert not torch.equal(parameters[4], _matrices(0)[4])


def test_gradients_are_gathered_before_the_step() -> None:
    """They may be changed until then; where there is none, the gradient is zero."""
    expected, found = _matrices(0), _matrices(0)
    _give_gradients(expected, 0)
    expected[1].grad = torch.zeros_like(expected[1])
    Muon(expected, lr=0.02).step()
    _give_gradients(found, 0)
    found[1].grad = None
    optimizer = Muon(found, lr=0.02)
    for parameter in found:
        parameter.grad = None if parameter.grad is None else 4 * parameter.grad
    for gradient in optimizer.gather_gradients():
        gradient.mul_(0.25)
    for parameter in found:
        parameter.grad = None
    optimizer.step()
    assert all(map(torch.equal, found, expected))


def test_parameters_are_views_of_a_vector_for_each_shape() -> None:
    parameters, optimizer = _take_steps(Muon, 1)
    vectors = optimizer.flatten()
    assert [len(vector.parameters) for vector in vectors] == [2, 2, 1, 1, 1]
    for vector in vectors:
        values = torch.cat([p.detach().flatten() for p in vector.parameters])
        assert torch.equal(vector.values, values)
        vector.values.zero_()
    assert not any(parameter.any() for parameter in parameters)


def _step_without_numbers(kind: type[torch.optim.Muon]) -> None:
    with FakeTensorMode():
        parameters = [nn.Parameter(torch.randn(shape)) for shape in _SHAPES]
        optimizer = kind(parameters)
        optimizer.param_groups[0]["lr"] = torch.rand(())  # nobody knows it
        optimizer.found_inf = torch.rand(1)  # pyright: ignore[reportAttributeAccessIssue]
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()


def test_no_number_is_read_from_the_device() -> None:
    _step_without_numbers(Muon)
    with pytest.raises(Exception, match="_local_scalar_dense"):
        _step_without_numbers(torch.optim.Muon)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_cuda_graph_holds_a_step() -> None:
    parameters = _matrices(0, "cuda")
    optimizer = Muon(parameters)
    optimizer.param_groups[0]["lr"] = torch.tensor(0.02, device="cuda")
    optimizer.found_inf = torch.zeros(1, device="cuda")
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        _give_gradients(parameters, 0)
        optimizer.step()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    for i in (1, 2, 3):
        for parameter, grad in zip(parameters, _matrices(100 + i), strict=True):
            assert parameter.grad is not None
            parameter.grad.copy_(grad.detach())
        graph.replay()
    found = [nn.Parameter(parameter.detach().cpu()) for parameter in parameters]
    _assert_alike(found, _take_steps(torch.optim.Muon, lr=0.02)[0])


# -------------------------------------------------------------------------- more than two axes


def test_a_convolution_is_a_matrix_of_its_outputs() -> None:
    """And the factor on its rate is that of the last two axes, 1 for square kernels."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn((24, 2, 3, 3), generator=generator)
    flat, square = nn.Parameter(start.clone().flatten(1)), nn.Parameter(start.clone())
    for parameter in (flat, square):
        optimizer = Muon([parameter], lr=0.02, weight_decay=0.1, adjust_lr_fn="original")
        for seed in (1, 2):
            grad = torch.randn(start.shape, generator=torch.Generator().manual_seed(seed))
            parameter.grad = grad.view_as(parameter)
            optimizer.step()
        assert optimizer.state[parameter]["momentum_buffer"].shape == parameter.shape
    ways = [(x.detach().view_as(start) - start * (1 - 0.02 * 0.1) ** 2) for x in (flat, square)]
    torch.testing.assert_close(ways[0], ways[1] * (24 / 18) ** 0.5)


def test_float64_is_computed_in_float64() -> None:
    """Five steps of Newton and Schulz of singular values, one by one."""
    generator = torch.Generator().manual_seed(0)
    grad = torch.randn((7, 5), generator=generator, dtype=torch.float64)
    parameter = nn.Parameter(torch.zeros_like(grad))
    parameter.grad = grad
    Muon([parameter], lr=1.0, weight_decay=0.0, adjust_lr_fn="match_rms_adamw").step()
    u, values, v = torch.linalg.svd(grad, full_matrices=False)
    values = values / values.norm()
    for _ in range(5):
        values = 3.4445 * values - 4.775 * values**3 + 2.0315 * values**5
    expected = -0.2 * 7**0.5 * (u * values) @ v
    assert (parameter.detach() - expected).abs().max() < 1e-12


def test_float32_where_the_cpu_does_not_multiply_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the result is that of float64 up to the rounding of float32."""
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn((3, 7, 12), generator=generator)
    found: dict[bool, Tensor] = {}
    for multiplies in (False, True):
        monkeypatch.setattr(muon, "_cpu_multiplies_bf16", lambda multiplies=multiplies: multiplies)
        found[multiplies] = muon._orthogonalized(matrices, (3.4445, -4.775, 2.0315), 5, 1e-7)
    exact = muon._orthogonalized(matrices.double(), (3.4445, -4.775, 2.0315), 5, 1e-7)
    assert [found[key].dtype for key in (False, True)] == [torch.float32, torch.bfloat16]
    assert (found[False] - exact).abs().max() < 1e-5
    assert 1e-4 < (found[True] - exact).abs().max() < 0.05
