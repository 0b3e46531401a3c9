"""Window and category attention as operators of PyTorch, with a kernel for each device.

An operator is one node for autograd, autocast, `torch.compile` and `torch.export`, whatever
computes it: `kernels/cpu/attention.py`, `kernels/gpu/attention.py`, or plain PyTorch where neither
does. The functions at the end are what the network calls. Where no kernel takes a tensor they call
the plain functions of `attention.py` directly, which PyTorch differentiates any number of times and
can fuse; the operators themselves can be differentiated once.

They are registered by `torch.library.define`, not `torch.library.custom_op`, whose first call
imports `torch._dynamo`: two to six seconds.
"""

from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from atdsr.network import attention
from atdsr.network.kernels import DIFFERENTIATED_ONCE, cpu, gpu, needs_gradients
from atdsr.network.kernels.cpu import attention as cpu_attention
from atdsr.network.kernels.cpu import dictionary as cpu_dictionary

_LARGEST_COUNT = 2**16  # keys that are sorted by counting on a CPU
_LARGEST_COUNT_GPU = 2**10  # there each token is compared with each of them


# ---------------------------------------------------------------------------- window attention

torch.library.define(
    "atdsr::window_attention",
    "(Tensor qkv, Tensor table, int side, bool shifted, bool keep) -> (Tensor, Tensor)",
    tags=torch.Tag.pt2_compliant_tag,
)
torch.library.define(
    "atdsr::window_attention_backward",
    "(Tensor grad_out, Tensor qkv, Tensor table, Tensor out, Tensor log_sums, int side, "
    "bool shifted, bool learned) -> (Tensor, Tensor)",
    tags=torch.Tag.pt2_compliant_tag,
)


@torch.library.impl("atdsr::window_attention", "default")
def _window_attention(
    qkv: Tensor, table: Tensor, side: int, shifted: bool, keep: bool
) -> tuple[Tensor, Tensor]:
    module = _kernels(qkv, side)
    if module is not None:
        return module.window_attention(qkv, table, side, shifted, keep)
    _refuse_gradients(keep)
    out = attention.window_attention(qkv, table, side, shifted)
    return out.contiguous(), _log_sums(qkv, table.shape[1], keep)


@torch.library.register_fake("atdsr::window_attention")
def _(qkv: Tensor, table: Tensor, side: int, shifted: bool, keep: bool) -> tuple[Tensor, Tensor]:
    return _attended(qkv), _log_sums(qkv, table.shape[1], keep)


@torch.library.impl("atdsr::window_attention_backward", "default")
def _window_attention_backward(
    grad_out: Tensor, qkv: Tensor, *others: Any
) -> tuple[Tensor, Tensor]:
    module = _backward_kernels(qkv)
    return module.window_attention_backward(grad_out.contiguous(), qkv, *others)


@torch.library.register_fake("atdsr::window_attention_backward")
def _(grad_out, qkv, table, out, log_sums, side, shifted, learned) -> tuple[Tensor, Tensor]:
    return qkv.new_empty(qkv.shape), table.new_empty(table.shape if learned else 0)


def _save_for_window_attention(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    qkv, table, ctx.side, ctx.shifted, _ = inputs
    ctx.save_for_backward(qkv, table, *output)
    ctx.set_materialize_grads(False)


def _differentiate_window_attention(ctx: Any, grad_out: Tensor | None, _: Tensor | None):
    if grad_out is None:
        return None, None, None, None, None
    learned = ctx.needs_input_grad[1]
    grad_qkv, grad_table = torch.ops.atdsr.window_attention_backward(
        grad_out, *ctx.saved_tensors, ctx.side, ctx.shifted, learned
    )
    return grad_qkv, grad_table if learned else None, None, None, None


torch.library.register_autograd(
    "atdsr::window_attention",
    _differentiate_window_attention,
    setup_context=_save_for_window_attention,
)


# -------------------------------------------------------------------------- category attention

torch.library.define(
    "atdsr::category_attention",
    "(Tensor qkv, Tensor order, Tensor log_scale, int heads, int group, bool keep) "
    "-> (Tensor, Tensor)",
    tags=torch.Tag.pt2_compliant_tag,
)
torch.library.define(
    "atdsr::category_attention_backward",
    "(Tensor grad_out, Tensor qkv, Tensor order, Tensor log_scale, Tensor out, Tensor log_sums, "
    "int heads, int group, bool learned) -> (Tensor, Tensor)",
    tags=torch.Tag.pt2_compliant_tag,
)


@torch.library.impl("atdsr::category_attention", "default")
def _category_attention(
    qkv: Tensor, order: Tensor, log_scale: Tensor, heads: int, group: int, keep: bool
) -> tuple[Tensor, Tensor]:
    module = _kernels(qkv)
    if module is not None:
        return module.category_attention(qkv, order, log_scale, heads, group, keep)
    _refuse_gradients(keep)
    out = attention.category_attention(qkv, order, log_scale, heads, group)
    return out.contiguous(), _log_sums(qkv, heads, keep)


@torch.library.register_fake("atdsr::category_attention")
def _(qkv, order, log_scale, heads, group, keep) -> tuple[Tensor, Tensor]:
    return _attended(qkv), _log_sums(qkv, heads, keep)


@torch.library.impl("atdsr::category_attention_backward", "default")
def _category_attention_backward(
    grad_out: Tensor, qkv: Tensor, *others: Any
) -> tuple[Tensor, Tensor]:
    module = _backward_kernels(qkv)
    return module.category_attention_backward(grad_out.contiguous(), qkv, *others)


@torch.library.register_fake("atdsr::category_attention_backward")
def _(grad_out, qkv, order, log_scale, out, log_sums, heads, group, learned):
    return qkv.new_empty(qkv.shape), log_scale.new_empty(() if learned else 0)


def _save_for_category_attention(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    qkv, order, log_scale, ctx.heads, ctx.group, _ = inputs
    ctx.save_for_backward(qkv, order, log_scale, *output)
    ctx.set_materialize_grads(False)


def _differentiate_category_attention(ctx: Any, grad_out: Tensor | None, _: Tensor | None):
    if grad_out is None:
        return None, None, None, None, None, None
    learned = ctx.needs_input_grad[2]
    grad_qkv, grad_scale = torch.ops.atdsr.category_attention_backward(
        grad_out, *ctx.saved_tensors, ctx.heads, ctx.group, learned
    )
    return grad_qkv, None, grad_scale if learned else None, None, None, None


torch.library.register_autograd(
    "atdsr::category_attention",
    _differentiate_category_attention,
    setup_context=_save_for_category_attention,
)


# ------------------------------------------------------------------------------------- sorting

torch.library.define(
    "atdsr::sort_by_category",
    "(Tensor categories, int count) -> Tensor",
    tags=torch.Tag.pt2_compliant_tag,
)


@torch.library.impl("atdsr::sort_by_category", "default")
def _sort_by_category(categories: Tensor, count: int) -> Tensor:
    if gpu.supports_device(categories.device):
        from atdsr.network.kernels.gpu import sorting

        if count <= _LARGEST_COUNT_GPU:
            return sorting.sort_by_category(categories.int(), count)
        return categories.sort(dim=1, stable=True).indices.int()
    if cpu.supports_device(categories.device) and count <= _LARGEST_COUNT:
        first, last = (int(end) for end in categories.aminmax())
        if first >= 0 and last < count:  # else it would count beyond its array
            return cpu_dictionary.sort_by_category(categories.int(), count)
    return categories.sort(dim=1, stable=True).indices


@torch.library.register_fake("atdsr::sort_by_category")
def _(categories: Tensor, count: int) -> Tensor:
    on_gpu = gpu.supports_device(categories.device)
    return categories.new_empty(categories.shape, dtype=torch.int32 if on_gpu else torch.int64)


# --------------------------------------------------------------------- what the operators share


def _attended(qkv: Tensor) -> Tensor:
    """Return an empty tensor for the result."""
    return qkv.new_empty(*qkv.shape[:-1], qkv.shape[-1] // 3)


def _log_sums(qkv: Tensor, heads: int, keep: bool) -> Tensor:
    """Return an empty tensor for the logarithms of the softmax's sums, `b heads n`."""
    b, n = qkv.shape[0], qkv.shape[1:-1].numel()
    return qkv.new_empty((b, heads, n) if keep else 0, dtype=torch.float32)


def _has_kernel(qkv: Tensor, side: int = cpu_attention.SIDE_MULTIPLE) -> bool:
    """Tell whether a kernel takes these tensors, in windows of this side."""
    on_cpu = cpu.supports(qkv) and side % cpu_attention.SIDE_MULTIPLE == 0
    return on_cpu or gpu.supports(qkv)


def _kernels(qkv: Tensor, side: int = cpu_attention.SIDE_MULTIPLE) -> ModuleType | None:
    """Return the module whose kernels take these tensors; None where plain PyTorch does."""
    if gpu.supports(qkv):
        return import_module("atdsr.network.kernels.gpu.attention")  # which imports Triton
    return cpu_attention if _has_kernel(qkv, side) else None


def _backward_kernels(qkv: Tensor) -> ModuleType:
    """Return the module whose kernels ran in the forward pass, even inside `kernels.plain`."""
    if gpu.runs_on(qkv.device):
        return import_module("atdsr.network.kernels.gpu.attention")
    return cpu_attention


def _refuse_gradients(keep: bool) -> None:
    """Refuse to run an operator for training without a kernel.

    Only a program that was exported for training on another machine can ask for it.
    """
    if keep:
        raise RuntimeError(
            "this program was exported for training where atdsr has kernels, and there are none "
            "for these tensors here; export it on this machine."
        )


def _refuse_second_derivative(_ctx: Any, *_gradients: Any) -> None:
    raise RuntimeError(f"the attention kernels {DIFFERENTIATED_ONCE}")


for _name in ("window_attention_backward", "category_attention_backward"):
    torch.library.register_autograd(f"atdsr::{_name}", _refuse_second_derivative)


# ------------------------------------------------------------------------ for the network's use


def window_attention(qkv: Tensor, table: Tensor, side: int, shifted: bool) -> Tensor:
    """Compute `attention.window_attention`, by a kernel where one takes the tensors."""
    if not _has_kernel(qkv, side):
        return attention.window_attention(qkv, table, side, shifted)
    qkv, table = qkv.contiguous(), table.float().contiguous()
    keep = needs_gradients(qkv, table)
    return torch.ops.atdsr.window_attention(qkv, table, side, shifted, keep)[0]


def category_attention(
    qkv: Tensor, keys: Tensor, logit_scale: Tensor, heads: int, group: int, count: int
) -> Tensor:
    """Sort tokens by their keys and compute `attention.category_attention` (equations 11 to 13).

    Args:
        qkv: `b n 3c`, channel = part * c + head * (c / heads) + i.
        keys: Integer `b n`, of `attention.sort_keys`, from 0 to count - 1.
        logit_scale: One number; scores are multiplied by exp(min(logit_scale, ln 100)).
        heads: Number of heads.
        group: Tokens in a run; a picture of fewer tokens is one run.
        count: Number of keys that there may be.

    Returns:
        `b n c` in the original order, before the projection.
    """
    group = min(qkv.shape[1], group)
    log_scale = logit_scale.clamp(max=attention.MAX_LOGIT_SCALE)
    order = sort_by_category(keys, count)
    if not _has_kernel(qkv):
        return attention.category_attention(qkv, order, log_scale, heads, group)
    qkv, log_scale = qkv.contiguous(), log_scale.float().reshape(())
    keep = needs_gradients(qkv, log_scale)
    return torch.ops.atdsr.category_attention(qkv, order, log_scale, heads, group, keep)[0]


def sort_by_category(categories: Tensor, count: int) -> Tensor:
    """Return the tokens sorted by category, ties by position on every device.

    Args:
        categories: Integer `b n`, each from 0 to count - 1.
        count: Number of categories.

    Returns:
        `b n`, int32 from the GPU kernels, int64 otherwise.
    """
    if gpu.supports_device(categories.device) or cpu.supports_device(categories.device):
        return torch.ops.atdsr.sort_by_category(categories, count)
    return categories.sort(dim=1, stable=True).indices
