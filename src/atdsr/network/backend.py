"""The choice, once a forward pass, of what computes the layers.

A backend computes a whole layer from its parameters, faster than the layer's modules would, in
inference and in training. There is one for CPUs, in float32, whose products may be in bfloat16, and
one for GPUs, also in bfloat16. Without one the layers run as they are written in `model.py`, and
only window and category attention have kernels (`operators.py`).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from atdsr.network.fused_cpu import CPUBackend, is_large
from atdsr.network.kernels import cpu, gpu
from atdsr.network.kernels.cpu.attention import SIDE_MULTIPLE

if TYPE_CHECKING:
    from atdsr.network.model import Layer

_GPU_WIDTH = 512  # channels of a token of which the GPU kernels hold a block in registers
_FUSED_CLASSES = frozenset(
    {"WindowAttention", "DictionaryAttention", "CategoryAttention", "Refinement", "ConvFFN"}
)
"""Classes of `model.py` that backends compute from their parameters."""

_products_in_bfloat16 = ContextVar("products_in_bfloat16", default=False)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Tell whether there are kernels on this device for products in bfloat16 that are faster."""
    return cpu.supports_device(device) and cpu.multiplies_bf16()


@contextmanager
def products_in_bfloat16(
    device: torch.device, *, enabled: bool, cache_casts: bool = True
) -> Iterator[None]:
    """Let networks on a device compute matrix products in bfloat16, with sums in float32.

    On a CPU whose processor multiplies bfloat16 these are the products of the layers' kernels.
    Elsewhere it is autocast, by which convolutions round what they return as well; that alone takes
    a light network on Set5 0.01 to 0.02 dB, all else together 0.002.

    Args:
        device: Where the networks are.
        enabled: Whether to do so at all; products keep the tensors' precision otherwise.
        cache_casts: Whether autocast keeps weights that it has cast.
    """
    if not multiplies_bfloat16(device):
        with torch.autocast(
            device.type, torch.bfloat16, enabled=enabled, cache_enabled=cache_casts
        ):
            yield
        return
    token = _products_in_bfloat16.set(enabled)
    try:
        yield
    finally:
        _products_in_bfloat16.reset(token)


class Backend(Protocol):
    """Something that computes whole layers."""

    def run_layer(self, layer: "Layer", x: Tensor, dictionary: Tensor) -> tuple[Tensor, Tensor]:
        """Compute `model.Layer.forward`, without running the layer's modules."""
        ...

    def end_stack(self) -> None:
        """Give back what is kept between the layers of a stack, after the last one."""
        ...


def select_backend(x: Tensor, layers: Iterable["Layer"]) -> Backend | None:
    """Choose what computes the layers in this forward pass.

    Args:
        x: The tokens that enter the first layer, `b h w c`.
        layers: All layers.

    Returns:
        The backend; None where the layers are to run as they are written. That is also so where
        somebody looks inside a layer, as a hook on one of its modules does.
    """
    layers = list(layers)
    if gpu.supports(x) and _are_closed(layers) and _have_gpu_kernels(layers):
        from atdsr.network.fused_gpu import GPUBackend  # which imports Triton

        return GPUBackend()
    if _runs_on_cpu(x) and _are_closed(layers) and _has_gradients(layers):
        return CPUBackend(rounded=_products_in_bfloat16.get())
    return None


def is_computed_twice(module: nn.Module, image: Tensor) -> bool:
    """Tell whether the first convolution runs again at the end, so that its result is not kept.

    It takes next to no time, and less memory for a large picture; but a hook would see two runs.

    Args:
        module: The convolution.
        image: The pictures that it is given, `b c h w`.
    """
    return (
        not torch.is_grad_enabled()
        and _runs_on_cpu(image)
        and not _has_any_global_hook()
        and not _is_open(module)
        and is_large(*image.shape[-2:])
    )


def _have_gpu_kernels(layers: Sequence["Layer"]) -> bool:
    """Tell whether the GPU backend computes layers of these widths."""
    return all(layer.qkv.in_features <= _GPU_WIDTH for layer in layers)


def _has_gradients(layers: Sequence["Layer"]) -> bool:
    """Tell whether the CPU backend computes the gradients of these layers, if there are any."""
    return not torch.is_grad_enabled() or all(
        layer.window.side % SIDE_MULTIPLE == 0 for layer in layers
    )


def _runs_on_cpu(x: Tensor) -> bool:
    return (
        x.dtype == torch.float32
        and cpu.supports_device(x.device)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and type(x) is Tensor  # a subclass need not hold numbers
    )


def _are_closed(layers: Iterable[nn.Module]) -> bool:
    """Tell whether the layers consist of their own modules, and nobody looks inside."""
    if _has_any_global_hook():
        return False
    inner = (module for layer in layers for child in layer.children() for module in child.modules())
    return not any(_is_open(module) for module in inner)


def _is_open(module: nn.Module) -> bool:
    kind = type(module)
    is_fused = kind.__module__ == "atdsr.network.model" and kind.__name__ in _FUSED_CLASSES
    return (
        # another class, such as a quantised or parametrised layer, computes something else
        not (is_fused or kind in (nn.Linear, nn.LayerNorm, nn.Conv2d))
        or bool(module._forward_hooks or module._forward_pre_hooks)
        or bool(module._backward_hooks or module._backward_pre_hooks)
        or "forward" in module.__dict__  # somebody has put a function in its place
    )
