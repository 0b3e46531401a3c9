"""AdamW on one vector against PyTorch's own."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from atdsr.training.adamw import FlatAdamW
from atdsr.training.muon import Muon

_SHAPES = [(12, 12), (36,), (), (3, 2, 5), (1,), (40, 70)]
_SETTINGS: dict[str, Any] = {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}


def _parameters(seed: int, dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [
        nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype))
        for shape in _SHAPES
    ]


def _take_step(
    parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer, number: int
) -> None:
    for parameter, grad in zip(parameters, _parameters(100 + number), strict=True):
        parameter.grad = grad.detach().to(parameter.dtype)
    optimizer.step()


def _taken(
    kind: type[torch.optim.AdamW], steps: int = 4, dtype: torch.dtype = torch.float32
) -> tuple[list[nn.Parameter], torch.optim.AdamW]:
    parameters = _parameters(0, dtype)
    optimizer = kind(parameters, **_SETTINGS)
    for number in range(steps):
        _take_step(parameters, optimizer, number)
    return parameters, optimizer


def _bits(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> list[Tensor]:
    states = [optimizer.state[parameter] for parameter in parameters]
    kept = [state[key] for state in states for key in ("exp_avg", "exp_avg_sq", "step")]
    return [x.detach().clone() for x in (*parameters, *kept)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_as_pytorch(dtype: torch.dtype) -> None:
    found, ours = _taken(FlatAdamW, dtype=dtype)
    expected, theirs = _taken(torch.optim.AdamW, dtype=torch.float64)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    for one, other in zip(_bits(found, ours), _bits(expected, theirs), strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kinds", [(torch.optim.AdamW, FlatAdamW), (FlatAdamW, torch.optim.AdamW)])
def test_a_saved_state_goes_on_in_the_other(kinds: tuple[type[torch.optim.AdamW], ...]) -> None:
    before, after = kinds
    parameters, optimizer = _taken(before, 2)
    moved = after(parameters, **_SETTINGS)
    moved.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for number in (2, 3):
        _take_step(parameters, moved, number)
    expected, theirs = _taken(torch.optim.AdamW)
    for one, other in zip(_bits(parameters, moved), _bits(expected, theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_a_state_that_is_loaded_goes_on_with_the_same_bits() -> None:
    parameters, optimizer = _taken(FlatAdamW, 2)
    copies = [nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    resumed = FlatAdamW(copies, **_SETTINGS)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for number in (2, 3):
        _take_step(copies, resumed, number)
    assert all(map(torch.equal, _bits(copies, resumed), _bits(*_taken(FlatAdamW))))


def test_the_parameters_are_views_of_one_vector() -> None:
    parameters, optimizer = _taken(FlatAdamW, 1)
    assert isinstance(optimizer, FlatAdamW)
    vector = optimizer.flatten()[0].values
    assert torch.equal(vector, torch.cat([p.detach().flatten() for p in parameters]))
    vector.zero_()
    assert not any(parameter.any() for parameter in parameters)


def test_the_gradient_may_be_changed_before_the_step() -> None:
    expected = _taken(FlatAdamW, 1)[0]
    parameters = _parameters(0)
    optimizer = FlatAdamW(parameters, **_SETTINGS)
    for parameter, grad in zip(parameters, _parameters(100), strict=True):
        parameter.grad = 4 * grad.detach()
    optimizer.gather_gradients()[0].mul_(0.25)
    optimizer.step()
    assert all(map(torch.equal, parameters, expected))


def test_a_step_with_found_inf_changes_nothing() -> None:
    parameters, optimizer = _taken(FlatAdamW, 2)
    before = _bits(parameters, optimizer)
    optimizer.found_inf = torch.ones(())  # pyright: ignore[reportAttributeAccessIssue]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, torch.nan)
    optimizer.step()
    assert all(map(torch.equal, _bits(parameters, optimizer), before))
    optimizer.found_inf = torch.zeros(())  # pyright: ignore[reportAttributeAccessIssue]
    for number in (2, 3):
        _take_step(parameters, optimizer, number)
    assert all(map(torch.equal, _bits(parameters, optimizer), _bits(*_taken(FlatAdamW))))


def test_a_parameter_without_a_gradient_has_one_of_zero() -> None:
    found, expected = _parameters(0), _parameters(0)
    for parameters, kind in ((found, FlatAdamW), (expected, torch.optim.AdamW)):
        optimizer = kind(parameters, lr=0.02, weight_decay=0)
        for parameter, grad in zip(parameters[1:], _parameters(100)[1:], strict=True):
            parameter.grad = grad.detach()
        optimizer.step()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    assert torch.equal(found[0], _parameters(0)[0])


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    def trained(threads: int) -> Tensor:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            generator = torch.Generator().manual_seed(0)
            parameters = [nn.Parameter(torch.randn(70_003, generator=generator)) for _ in range(2)]
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            FlatAdamW(parameters, **_SETTINGS).step()
        finally:
            torch.set_num_threads(before)
        return torch.cat([parameter.detach() for parameter in parameters])

    assert torch.equal(trained(1), trained(3))


@pytest.mark.parametrize("kind", [FlatAdamW, Muon])
def test_a_closure_is_called_with_gradients(kind: type[FlatAdamW] | type[Muon]) -> None:
    parameter = nn.Parameter(torch.eye(4))

    def closure() -> Tensor:
        loss = parameter.square().sum()
        loss.backward()
        return loss

    assert kind([parameter], lr=0.01).step(closure) == 4
    assert not torch.equal(parameter, torch.eye(4))
