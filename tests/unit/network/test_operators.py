"""The operators of window and category attention: sound, and kept by compilers and exports."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from atdsr.network import kernels, operators
from atdsr.network.kernels import cpu
from helpers.networks import TINY, lively

pytestmark = [
    pytest.mark.skipif(cpu.status().variant is None, reason=f"{cpu.status().why_not}"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
OPERATORS = ("window_attention", "category_attention", "sort_by_category")
CONFIG = dataclasses.replace(TINY, depths=(2,), heads=(2,))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def window_inputs(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    qkv = torch.randn(1, 16, 32, 36).to(dtype)
    return qkv.requires_grad_(), torch.randn(31**2, 2).requires_grad_()


def category_inputs(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    order = torch.randint(0, 5, (2, 50)).sort(dim=1, stable=True).indices
    qkv = torch.randn(2, 50, 36).to(dtype)
    return qkv.requires_grad_(), order, torch.tensor(0.3, requires_grad=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shifted", [False, True])
def test_window_attention_is_a_sound_operator(shifted: bool, dtype: torch.dtype) -> None:
    qkv, table = window_inputs(dtype)
    torch.library.opcheck(torch.ops.atdsr.window_attention.default, (qkv, table, 16, shifted, True))
    qkv, table = qkv.detach(), table.detach()
    out, sums = torch.ops.atdsr.window_attention(qkv, table, 16, shifted, True)
    arguments = (torch.ones_like(out), qkv, table, out, sums, 16, shifted, True)
    torch.library.opcheck(torch.ops.atdsr.window_attention_backward.default, arguments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_category_attention_is_a_sound_operator(dtype: torch.dtype) -> None:
    qkv, order, scale = category_inputs(dtype)
    torch.library.opcheck(
        torch.ops.atdsr.category_attention.default, (qkv, order, scale, 2, 16, True)
    )
    qkv, scale = qkv.detach(), scale.detach()
    out, sums = torch.ops.atdsr.category_attention(qkv, order, scale, 2, 16, True)
    arguments = (torch.ones_like(out), qkv, order, scale, out, sums, 2, 16, True)
    torch.library.opcheck(torch.ops.atdsr.category_attention_backward.default, arguments)


def test_sorting_is_a_sound_operator() -> None:
    categories = torch.randint(0, 7, (2, 60))
    torch.library.opcheck(torch.ops.atdsr.sort_by_category.default, (categories, 7))


@pytest.mark.parametrize("keep", [False, True])
def test_only_training_keeps_the_sums(keep: bool) -> None:
    qkv, table = (x.detach() for x in window_inputs())
    sums = torch.ops.atdsr.window_attention(qkv, table, 16, False, keep)[1]
    assert sums.numel() == (2 * 16 * 32 if keep else 0)


def test_a_second_derivative_is_refused() -> None:
    qkv, table = window_inputs()
    rows, _, scale = category_inputs()
    categories = torch.zeros(2, 50).long()
    window = operators.window_attention(qkv, table, 16, shifted=False)
    category = operators.category_attention(rows, categories, scale, 2, 16, 1)
    for out, leaf in ((window, qkv), (category, rows)):
        (gradient,) = torch.autograd.grad(out.square().sum(), leaf, create_graph=True)
        with pytest.raises(RuntimeError, match="differentiated once"):
            gradient.sum().backward()


def test_the_operators_run_without_a_kernel() -> None:
    """As in a program that was exported where there was one."""
    qkv, table = (x.detach() for x in window_inputs())
    rows, order, scale = (x.detach() for x in category_inputs())

    def run() -> tuple[Tensor, Tensor]:
        window = torch.ops.atdsr.window_attention(qkv, table, 16, True, False)[0]
        return window, torch.ops.atdsr.category_attention(rows, order, scale, 2, 16, False)[0]

    fused = run()
    with kernels.plain():
        for ours, expected in zip(fused, run(), strict=True):
            assert torch.allclose(ours, expected, atol=1e-5)
        with pytest.raises(RuntimeError, match="exported for training"):
            torch.ops.atdsr.window_attention(qkv, table, 16, True, True)


def called_operators(graph: torch.fx.Graph) -> set[str]:
    return {
        node.target._opname
        for node in graph.nodes
        if isinstance(node.target, torch._ops.OpOverload) and node.target.namespace == "atdsr"
    }


@pytest.mark.slow
def test_an_exported_program_keeps_the_kernels() -> None:
    """For any batch; the sizes of the picture are those it is exported with."""
    network = lively(CONFIG)
    batch = torch.export.Dim("batch", min=1, max=64)
    with torch.no_grad():
        program = torch.export.export(
            network, (torch.rand(2, 3, 20, 40),), dynamic_shapes=({0: batch},)
        )
        assert called_operators(program.graph) == set(OPERATORS)
        pictures = torch.rand(3, 3, 20, 40)
        expected = network(pictures)
        assert torch.allclose(program.module()(pictures), expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("grad", [False, True])
def test_compiled_code_keeps_the_kernels(grad: bool) -> None:
    """In one graph, in use and in training; this backend spares the test a C++ compiler."""
    network, pictures = lively(CONFIG), torch.rand(1, 3, 20, 40)
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(network, backend=backend, fullgraph=True)
    with torch.set_grad_enabled(grad):
        out = compiled(pictures)
        expected = network(pictures)
    names = {str(node.target) for graph in graphs for node in graph.graph.nodes}
    assert all(any(f"atdsr.{name}" in target for target in names) for name in OPERATORS), names
    assert torch.allclose(out, expected, atol=1e-4)
    if grad:
        ours = torch.autograd.grad(out.square().mean(), network.conv_first.weight)[0]
        theirs = torch.autograd.grad(expected.square().mean(), network.conv_first.weight)[0]
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-6)
