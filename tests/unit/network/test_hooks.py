"""What hooks on modules see: tensors of their own, whatever computes the layers."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from atdsr.network import kernels
from atdsr.network.backend import select_backend
from atdsr.network.config import atd
from atdsr.network.fused_cpu import CPUBackend
from atdsr.network.kernels import cpu
from atdsr.network.model import ATD
from atdsr.weights import models
from helpers.networks import lively

TINY_CLASSICAL = dataclasses.replace(
    atd(4), width=12, depths=(2, 2), heads=(2, 2), dictionary_size=8, reduced_width=4
)


def light() -> ATD:
    return models.for_scale(2).load().build_enlarging("a test")


def classical() -> ATD:
    return lively(TINY_CLASSICAL)


@contextmanager
def outputs_of(modules: dict[str, nn.Module]) -> Iterator[dict[str, list[Tensor]]]:
    """The output tensors of each module, in the order in which they are computed."""
    outputs: dict[str, list[Tensor]] = {name: [] for name in modules}

    def keep(name: str, output: Any) -> None:
        outputs[name] += [output] if isinstance(output, Tensor) else list(output)

    hooks = [
        module.register_forward_hook(lambda _m, _i, output, name=name: keep(name, output))
        for name, module in modules.items()
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def hooked(network: ATD, modules: dict[str, nn.Module]) -> dict[str, list[Tensor]]:
    picture = torch.rand(1, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    with outputs_of(modules) as outputs, torch.inference_mode():
        network(picture)
    return outputs


def distinct(outputs: dict[str, list[Tensor]]) -> list[Tensor]:
    """All tensors, once where a module returns what another one does."""
    tensors = (tensor for of_module in outputs.values() for tensor in of_module)
    return list({id(tensor): tensor for tensor in tensors}.values())


@pytest.mark.parametrize("build", [light, classical])
def test_hooks_on_every_module_see_tensors_of_their_own(build) -> None:
    network = build()
    modules = {name: m for name, m in network.named_modules() if not isinstance(m, nn.ModuleList)}
    outputs = hooked(network, modules)
    assert all(outputs.values())
    tensors = distinct(outputs)
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == len(tensors)
    with kernels.plain():
        expected = hooked(network, modules)
    for name, of_module in outputs.items():
        for ours, plain in zip(of_module, expected[name], strict=True):
            assert (ours - plain).abs().max() <= 1e-4 * max(1, plain.abs().max()), name


@pytest.mark.skipif(cpu.status().variant is None, reason=f"{cpu.status().why_not}")
@pytest.mark.parametrize("build", [light, classical])
def test_hooks_on_layers_leave_them_fused(build, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build()
    fused: list[nn.Module] = []
    run_layer = CPUBackend.run_layer

    def count(self: CPUBackend, layer, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        fused.append(layer)
        return run_layer(self, layer, *inputs)

    monkeypatch.setattr(CPUBackend, "run_layer", count)
    modules = {str(i): layer for i, layer in enumerate(network.layers)}
    outputs = hooked(network, modules)
    assert fused == list(network.layers)
    tokens = [of_layer[0] for of_layer in outputs.values()]
    assert len({tensor.untyped_storage().data_ptr() for tensor in tokens}) == len(network.layers)
    with kernels.plain():
        expected = hooked(network, modules)
    for name, of_layer in outputs.items():
        for ours, plain in zip(of_layer, expected[name], strict=True):
            assert (ours - plain).abs().max() <= 1e-4 * max(1, plain.abs().max()), name


@pytest.mark.skipif(cpu.status().variant is None, reason=f"{cpu.status().why_not}")
def test_any_hook_inside_a_layer_makes_it_run_as_written() -> None:
    network, x = classical(), torch.randn(1, 16, 16, 12)
    layers = network.layers
    inside = layers[1].ffn.depthwise
    hooks = (
        lambda: layers[0].register_forward_hook(lambda *_: None),
        lambda: inside.register_forward_hook(lambda *_: None),
        lambda: inside.register_forward_pre_hook(lambda *_: None),
        lambda: inside.register_full_backward_hook(lambda *_: None),
        lambda: nn.modules.module.register_module_forward_hook(lambda *_: None),
    )
    is_fused = []
    with torch.no_grad():
        for register in hooks:
            hook = register()
            is_fused.append(select_backend(x, layers) is not None)
            hook.remove()
        assert is_fused == [True, False, False, False, False]
        assert select_backend(x, layers) is not None
