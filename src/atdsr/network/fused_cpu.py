"""Whole layers on CPUs by the kernels in C, in inference and in training.

Tensors are float32. Factors of large products may be rounded to bfloat16, but not those that
categories come from: a token in another category moves all that follow it in their order.
"""

import functools
import math
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from atdsr.base.memory import trim
from atdsr.network import operators
from atdsr.network.attention import refine_dictionary, scaled_keys
from atdsr.network.kernels import DIFFERENTIATED_ONCE, needs_gradients
from atdsr.network.kernels.cpu import attention, dictionary, tokenwise
from atdsr.network.kernels.cpu.attention import SIDE_MULTIPLE
from atdsr.network.kernels.cpu.dictionary import CPUStatistics
from atdsr.network.kernels.cpu.tokenwise import Norm, linear, linear_backward

if TYPE_CHECKING:
    from atdsr.network.model import Layer


def _allocate(size: int) -> NDArray[np.float32]:
    """Return uninitialised memory for so many floats, which begins at a multiple of 64 bytes.

    NumPy's memory, for two reasons. What PyTorch asks glibc for does not fit into a gap of just
    its size, since an aligned block is searched for with room to spare; here a block has that room,
    so blocks of either kind fit. And large ones get huge pages, where the system has some.
    """
    unit = 16  # floats in 64 bytes
    memory = np.empty(size + 4 * unit, np.float32)
    first = -(memory.ctypes.data // memory.itemsize) % unit
    return memory[first : first + size]


class Workspace:
    """Memory for intermediate results, by name, that all layers of one forward pass use again.

    Nothing outside a layer ever sees it. Freed and allocated again layer by layer, blocks of many
    sizes leave gaps that nothing fits into: the process grew to twice what was ever in use.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def buffer(self, name: str, *shape: int) -> Tensor:
        """Return an uninitialised float32 tensor in the memory that had this name before."""
        size = math.prod(shape)
        memory = self._buffers.get(name)
        if memory is None or memory.numel() < size:
            memory = self._buffers[name] = torch.from_numpy(_allocate(size))
        return memory[:size].view(shape)


class Results:
    """Memory for the results of layers, used again once nobody has a result any more.

    The input of a layer and its result take turns in two pieces of memory. While a hook keeps a
    result, or any view of it, later results have memory of their own.
    """

    def __init__(self) -> None:
        # with each piece the array through which a tensor has it, which goes when the tensor does
        self._pieces: list[tuple[NDArray[np.float32], weakref.ref[Any]]] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing was taken yet."""
        return not self._pieces

    def take(self, *shape: int) -> Tensor:
        """Return an uninitialised float32 tensor in memory that nobody else has."""
        size = math.prod(shape)
        taken = [piece for piece in self._pieces if piece[1]() is not None]
        free = [memory for memory, array in self._pieces if array() is None]
        if len(taken) == 2:
            return torch.empty(shape, dtype=torch.float32, device="cpu")
        memory = next((memory for memory in free if memory.size >= size), None)
        if memory is None:
            memory = _allocate(size)
        array = memory[:size].reshape(shape)
        self._pieces = [*taken, (memory, weakref.ref(array))]
        return torch.from_numpy(array)


class CPUBackend:
    """Runs whole layers in one forward pass; it belongs to the thread of that pass.

    Args:
        rounded: Whether factors of products are rounded to bfloat16.
    """

    def __init__(self, *, rounded: bool = False) -> None:
        self._rounded = rounded
        self._workspace, self._results = Workspace(), Results()
        self._is_large = False  # the picture

    def end_stack(self) -> None:
        """Give back what is kept between layers, that of a large picture to the system.

        What the next operations take need not fit into its gaps, nor what the next layers take
        into theirs.
        """
        self._results = Results()
        if self._is_large:
            self._workspace = Workspace()
            trim()

    def run_layer(self, layer: "Layer", x: Tensor, dictionary: Tensor) -> tuple[Tensor, Tensor]:
        """Compute `model.Layer.forward`; the result has memory of its own."""
        entries = layer.dictionary
        keys = scaled_keys(_map(entries.key, dictionary), entries.scale, entries.largest_scale)
        keys = keys.expand(len(x), -1, -1)
        values = _map(entries.value, dictionary).expand(len(x), -1, -1)
        codes = None if layer.code is None else _map(layer.code, dictionary)[0]
        weights = _weights_of(layer)
        inputs = x, keys, values, codes, *weights
        if needs_gradients(*(tensor for tensor in inputs if tensor is not None)):
            run = cast(Callable[..., tuple[Tensor, Tensor | None]], _LayerFunction.apply)
            out, gathered = run(layer, self._rounded, *inputs)
        else:
            self._is_large = is_large(*x.shape[1:3])
            if self._is_large and self._results.is_empty:  # the first layer of a stack
                trim()
            result, memory = self._results.take(*x.shape), self._workspace.buffer
            out, _, refined = _run(
                layer, weights, x, keys, values, codes, result, memory, rounded=self._rounded
            )
            gathered = None if refined is None else refined.gathered
        if layer.refinement is not None and gathered is not None:
            dictionary = refine_dictionary(dictionary, gathered, layer.refinement.sigma)
        return out, dictionary


class _Weights(NamedTuple):
    """What is learned in a layer, without the maps of the dictionary; None for what it lacks."""

    norm_attention: Tensor
    norm_attention_bias: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    query: Tensor
    query_bias: Tensor | None
    window_biases: Tensor
    window: Tensor
    window_bias: Tensor | None
    log_scale: Tensor
    category: Tensor
    category_bias: Tensor | None
    norm_ffn: Tensor
    norm_ffn_bias: Tensor
    fc1: Tensor
    fc1_bias: Tensor | None
    depthwise: Tensor
    depthwise_bias: Tensor | None
    fc2: Tensor
    fc2_bias: Tensor | None
    refinement: Tensor | None


def _weights_of(layer: "Layer") -> _Weights:
    window, category, ffn = layer.window, layer.category, layer.ffn
    return _Weights(
        layer.norm_attention.weight,
        layer.norm_attention.bias,
        layer.qkv.weight,
        layer.qkv.bias,
        layer.dictionary.query.weight,
        layer.dictionary.query.bias,
        window.bias_table,
        window.proj.weight,
        window.proj.bias,
        category.log_scale().reshape(()),
        category.proj.weight,
        category.proj.bias,
        layer.norm_ffn.weight,
        layer.norm_ffn.bias,
        ffn.fc1.weight,
        ffn.fc1.bias,
        ffn.depthwise.weight,
        ffn.depthwise.bias,
        ffn.fc2.weight,
        ffn.fc2.bias,
        None if layer.refinement is None else layer.refinement.weight,
    )


class _Activations(NamedTuple):
    """What the backward pass of a layer takes from its forward pass."""

    x: Tensor
    query: Tensor
    shares: Tensor
    categories: Tensor
    qkv: Tensor
    order: Tensor
    from_window: Tensor
    window_sums: Tensor
    from_category: Tensor
    category_sums: Tensor
    attended: Tensor
    hidden: Tensor
    mixed: Tensor


class _Refined(NamedTuple):
    """What it takes from the refinement of the dictionary: statistics, and what was gathered.

    Among them is the layer's result, of which nobody else reads anything in the backward pass.
    """

    mean: Tensor
    variance: Tensor
    smallest: Tensor
    largest: Tensor
    totals: Tensor
    gathered: Tensor
    out: Tensor


def _run(
    layer: "Layer",
    weights: _Weights,
    x: Tensor,
    keys: Tensor,
    values: Tensor,
    codes: Tensor | None,
    result: Tensor,
    memory: Callable[..., Tensor],
    *,
    rounded: bool,
    keep: bool = False,
) -> tuple[Tensor, _Activations, _Refined | None]:
    """Compute a layer, all but what becomes of its dictionary.

    Args:
        layer: Tells the shapes.
        weights: Those of the layer.
        x: Tokens, `b h w c`.
        keys: Of the dictionary, with their temperatures, `b m d`.
        values: Of the dictionary, `b m c`.
        codes: Codes of the categories, `m e`.
        result: Where the tokens go, contiguous.
        memory: Returns memory for an intermediate result, by name and shape. A name that comes
            again may get the same memory: "wide" holds queries, keys and values, then the hidden
            channels of the feed-forward part; "narrow" the queries of the dictionary, then what
            category attention returns, then what the depthwise convolution does.
        rounded: Whether factors of products are rounded to bfloat16.
        keep: Whether a backward pass follows, for which intermediate results are kept.

    Returns:
        The tokens `b h w c`, and what the backward pass needs; the second part with what the
        entries of the dictionary gather, `b m c`, if it is refined.
    """
    (b, h, w, c), n = x.shape, x.shape[1] * x.shape[2]
    tokens, norm = x.flatten(1, 2), _norm_attention(layer, weights)
    out, is_whole = result.flatten(1, 2), keep or not is_large(h, w)
    # the result's own memory holds what comes before it, unless that is needed later
    from_window, attended = (torch.empty_like(out) if keep else out for _ in range(2))

    # dictionary attention, without its values
    from_category = memory("narrow", b, n, c)  # first of its name: the largest
    query = memory("narrow", b, n, keys.shape[2])
    linear((tokens,), weights.query.T, weights.query_bias, norm=norm, out=query)
    shares = memory("shares", b, n, keys.shape[1])
    refines = weights.refinement is not None
    shares, categories, statistics = dictionary.look_up(query, keys, shares, refines=refines)

    # window and category attention
    order_by, count = layer.category.sort_keys(categories, x)
    order = operators.sort_by_category(order_by, count)
    heads = layer.category.heads
    half = heads if is_whole else math.ceil(heads / 2)
    parts = [slice(first, min(first + half, heads)) for first in range(0, heads, half)]
    outs = from_window, from_category
    qkv, window_sums, category_sums = [
        _attend(layer, weights, part, x, order, outs, memory, rounded=rounded, keep=keep)
        for part in parts
    ][-1]  # where a backward pass needs them, there is one part

    # the sum of the three and x: projections and the dictionary's values are one linear map
    projections = torch.cat([weights.window.T, weights.category.T])
    weight = torch.cat([projections.expand(b, -1, -1), values], dim=1)
    bias = None
    if weights.window_bias is not None and weights.category_bias is not None:
        bias = weights.window_bias + weights.category_bias
    inputs = from_window, from_category, shares
    linear(inputs, weight, bias, residual=tokens, out=attended, rounded=rounded)

    of_categories = None if codes is None else (categories, codes)
    before = attended.view(b, h, w, c)
    hidden, mixed = _feed_forward(
        layer, weights, before, of_categories, result, memory, rounded=rounded, whole=is_whole
    )

    kept = _Activations(
        tokens,
        query,
        shares,
        categories,
        qkv,
        order,
        from_window,
        window_sums,
        from_category,
        category_sums,
        attended,
        hidden,
        mixed,
    )
    refined = None
    if weights.refinement is not None and statistics is not None:
        gathered, totals = dictionary.gather_tokens(shares, out, weights.refinement, statistics)
        refined = _Refined(*statistics, totals, gathered, result)
    return result, kept, refined


_BAND = 2**16
"""Tokens above which a picture's layers compute the heads in two halves, and bands of at most so
many tokens in their feed-forward part: what is kept between their steps takes less memory."""


def is_large(height: int, width: int) -> bool:
    """Tell whether a picture is one of those that are computed in less memory."""
    return height * width > _BAND


def _attend(
    layer: "Layer",
    weights: _Weights,
    heads: slice,
    x: Tensor,
    order: Tensor,
    outs: tuple[Tensor, Tensor],
    memory: Callable[..., Tensor],
    *,
    rounded: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute window and category attention of some heads.

    Args:
        layer: Tells the shapes.
        weights: Those of the layer.
        heads: Which heads.
        x: Tokens, `b h w c`.
        order: The tokens sorted by category, `b n`.
        outs: Where the results go, first those of the windows, `b n c` each; of these the heads
            have their own channels.
        memory: See `_run`.
        rounded: See `_run`.
        keep: Whether a backward pass follows.

    Returns:
        Queries, keys and values, `b n 3k`, k the channels of these heads, and the logarithms of
        softmax's sums of both attentions.
    """
    (b, h, w, c), count, n = x.shape, layer.category.heads, order.shape[1]
    first = heads.start * (c // count)
    weight, bias = (
        None if rows is None else rows.unflatten(0, (3, count, -1))[:, heads].flatten(0, 2)
        for rows in (weights.qkv, weights.qkv_bias)
    )
    assert weight is not None, "only a bias may be lacking"
    qkv = memory("wide", b, n, len(weight))
    norm = _norm_attention(layer, weights)
    linear((x.flatten(1, 2),), weight.T, bias, norm=norm, out=qkv, rounded=rounded)

    from_window, from_category = outs
    window, from_window = layer.window, from_window.view(b, h, w, c)
    table = weights.window_biases[:, heads]
    grid = qkv.view(b, h, w, -1), table, window.side, window.shifted
    if window.side % SIDE_MULTIPLE == 0:
        _, window_sums = attention.window_attention(
            *grid, keep=keep, out=from_window, first=first, rounded=rounded
        )
    else:
        assert not keep, "the caller knows which windows have a kernel"
        from_window[..., first : first + len(weight) // 3] = operators.window_attention(*grid)
        window_sums = qkv.new_empty(0)
    runs = qkv, order, weights.log_scale, table.shape[1], min(n, layer.category.group)
    _, category_sums = attention.category_attention(
        *runs, keep=keep, out=from_category, first=first, rounded=rounded
    )
    return qkv, window_sums, category_sums


def _feed_forward(
    layer: "Layer",
    weights: _Weights,
    attended: Tensor,
    codes: tuple[Tensor, Tensor] | None,
    out: Tensor,
    memory: Callable[..., Tensor],
    *,
    rounded: bool,
    whole: bool,
) -> tuple[Tensor, Tensor]:
    """Compute the feed-forward part, and add it to what was attended.

    Args:
        layer: Tells the shapes.
        weights: Those of the layer.
        attended: `b h w k`.
        codes: The tokens' categories, `b n`, and codes of the categories, `m e`, if there are any.
        out: Where the sum goes, `b h w k`; it may be `attended`.
        memory: See `_run`.
        rounded: See `_run`.
        whole: Whether to compute all tokens at once; otherwise in bands of rows.

    Returns:
        The hidden channels, `b h w c`, and the result of the convolution, `b n c`; those of the
        last band unless all were computed at once.
    """
    (b, h, w, _), border = attended.shape, weights.depthwise.shape[-1] // 2
    # a quarter of the picture at the most, so that bands fit into memory that attention has taken
    rows = h if whole else max(1, min(_BAND // w, math.ceil(h / 4)))
    norm, width = _norm_ffn(layer, weights), weights.fc2.shape[1]
    weight, bias = weights.fc1.T, weights.fc1_bias
    if room := width - weight.shape[-1]:  # for the codes: columns of zeros
        weight = F.pad(weight, (0, room))
        bias = None if bias is None else F.pad(bias, (0, room))

    hidden = mixed = attended
    for picture in [slice(0, b)] if whole else [slice(i, i + 1) for i in range(b)]:
        above = attended.new_empty(0)
        for top in range(0, h, rows):
            bottom = min(top + rows, h)
            first, last = max(0, top - border), min(bottom + border, h)
            hidden = memory("wide", len(attended[picture]), last - first, w, width)
            known = 0
            if top:  # the band before had these rows, and what they came from is overwritten
                known = above.shape[1]
                hidden[:, :known] = above
            new, rest = slice(first + known, last), hidden[:, known:]
            tokens = attended[picture, new].flatten(1, 2)
            new_hidden = rest.flatten(1, 2)
            linear((tokens,), weight, bias, norm=norm, gelu=True, out=new_hidden, rounded=rounded)
            if codes is not None:
                categories, table = codes
                of_rows = categories.view(b, h, w)[picture, new]
                rest[..., -table.shape[1] :] = F.embedding(of_rows, table)
            if bottom < h:
                above = hidden[:, max(0, bottom - border) - first :].clone()

            mixed = tokenwise.depthwise_gelu(
                hidden, weights.depthwise, weights.depthwise_bias, memory("narrow", *hidden.shape)
            )[:, top - first : bottom - first].flatten(1, 2)
            residual, to = (x[picture, top:bottom].flatten(1, 2) for x in (attended, out))
            linear(
                (mixed,),
                weights.fc2.T,
                weights.fc2_bias,
                residual=residual,
                out=to,
                rounded=rounded,
            )
    return hidden, mixed


_Gradients = tuple[Tensor | None, ...]


class _Refusal(torch.autograd.Function):
    """Returns gradients as they are, and refuses to be differentiated."""

    @staticmethod
    def forward(ctx: Any, learned: Tensor, *gradients: Tensor | None) -> _Gradients:
        """Return the gradients; `learned` is any tensor that requires a gradient."""
        return gradients

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Tell what to do instead."""
        raise RuntimeError(f"the kernels of whole layers {DIFFERENTIATED_ONCE}")


def _once(backward: Callable[..., _Gradients]) -> Callable[..., _Gradients]:
    """Let a backward pass refuse to be differentiated.

    PyTorch's `once_differentiable` does so only where the gradients that come in depend on
    something, and otherwise returns constants: but the inputs of the forward pass do as well.
    """

    @functools.wraps(backward)
    def refusing(ctx: Any, *grads: Any) -> _Gradients:
        with torch.no_grad():
            found = backward(ctx, *grads)
        if not torch.is_grad_enabled():  # nobody asked for a graph of the gradients
            return found
        return cast(_Gradients, _Refusal.apply(torch.empty(0, requires_grad=True), *found))

    return refusing


class _LayerFunction(torch.autograd.Function):
    """A layer with its gradient, all but what becomes of its dictionary."""

    @staticmethod
    def forward(
        ctx: Any,
        layer: "Layer",
        rounded: bool,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        codes: Tensor | None,
        *weights: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Run the layer, whose results are those of `_run`.

        They must be no views, which could not be changed in their place afterwards.
        """
        given, memory = _Weights(*weights), lambda _, *shape: x.new_empty(shape)
        result = torch.empty(x.shape, dtype=torch.float32, device="cpu")
        inputs = x, keys, values, codes
        out, kept, refined = _run(layer, given, *inputs, result, memory, rounded=rounded, keep=True)
        ctx.save_for_backward(keys, values, codes, *given, *kept, *(refined or ()))
        ctx.layer, ctx.rounded, ctx.shape = layer, rounded, x.shape
        return out, None if refined is None else refined.gathered

    @staticmethod
    @_once
    def backward(ctx: Any, grad: Tensor, grad_gathered: Tensor | None) -> tuple[Any, ...]:
        """Compute the gradients of all tensors that `forward` takes."""
        keys, values, codes, *rest = ctx.saved_tensors  # once, or a checkpoint recomputes again
        count, end = len(_Weights._fields), len(_Weights._fields) + len(_Activations._fields)
        weights, kept = _Weights(*rest[:count]), _Activations(*rest[count:end])
        layer: Layer = ctx.layer
        rounded: bool = ctx.rounded
        (b, h, w, c), grad = ctx.shape, grad.flatten(1, 2).contiguous()
        grads: dict[str, Tensor | None] = {}

        # the refinement, which reads the result
        statistics = grad_shares = grad_variance = None
        if weights.refinement is not None and grad_gathered is not None:
            *of_shares, totals, gathered, out = _Refined(*rest[end:])
            statistics = CPUStatistics(*of_shares)
            grad_shares, grad, grads["refinement"], grad_variance = (
                dictionary.gather_tokens_backward(
                    grad_gathered,
                    kept.shares,
                    out.flatten(1, 2),
                    weights.refinement,
                    statistics,
                    totals,
                    gathered,
                    through=grad,
                )
            )

        # feed-forward part
        fc2 = linear_backward((grad,), weights.fc2, kept.mixed, rounded=rounded)
        grad_hidden, grads["depthwise"], grads["depthwise_bias"] = (
            tokenwise.depthwise_gelu_backward(
                fc2.x.view(kept.hidden.shape),
                kept.hidden,
                weights.depthwise,
                weights.depthwise_bias,
            )
        )
        grad_codes = None
        if codes is not None:
            grad_hidden, of_codes = grad_hidden.split([len(weights.fc1), codes.shape[1]], dim=-1)
            grad_codes = torch.ops.aten.embedding_dense_backward(
                of_codes.flatten(0, 2), kept.categories.flatten(), len(codes), -1, False
            )
        fc1_bias = weights.fc1_bias
        fc1 = linear_backward(
            (grad_hidden.flatten(1, 2),),
            weights.fc1,
            kept.attended,
            norm=_norm_ffn(layer, weights),
            gelu_bias=weights.fc1.new_zeros(len(weights.fc1)) if fc1_bias is None else fc1_bias,
            through=grad,
            rounded=rounded,
        )

        # the sum of the three attentions and x
        grad = fc1.x
        window = linear_backward((grad,), weights.window, kept.from_window, rounded=rounded)
        category = linear_backward((grad,), weights.category, kept.from_category, rounded=rounded)
        looked_up = linear_backward(
            (grad,), values.mT, kept.shares, through=grad_shares, rounded=rounded
        )
        grad_qkv, of_table = attention.window_attention_backward(
            window.x.view(b, h, w, c),
            kept.qkv.view(b, h, w, -1),
            weights.window_biases,
            kept.from_window.view(b, h, w, c),
            kept.window_sums,
            layer.window.side,
            layer.window.shifted,
            learned=True,
            rounded=rounded,
        )
        grad_qkv, grads["log_scale"] = attention.category_attention_backward(
            category.x,
            kept.qkv,
            kept.order,
            weights.log_scale,
            kept.from_category,
            kept.category_sums,
            layer.category.heads,
            min(h * w, layer.category.group),
            learned=True,
            into=grad_qkv.flatten(1, 2),
            rounded=rounded,
        )
        grad_query, grad_keys = dictionary.look_up_backward(
            looked_up.x, kept.query, keys, kept.shares, statistics, grad_variance
        )
        both = torch.cat([weights.qkv, weights.query])
        norm = _norm_attention(layer, weights)
        first = linear_backward(
            (grad_qkv, grad_query), both, kept.x, norm=norm, through=grad, rounded=rounded
        )

        sizes = [len(weights.qkv), len(weights.query)]
        grads["norm_attention"], grads["norm_attention_bias"] = first.norm
        grads["qkv"], grads["query"] = first.weight.split(sizes)
        grads["qkv_bias"], grads["query_bias"] = first.bias.split(sizes)
        grads["window_biases"] = of_table
        grads["norm_ffn"], grads["norm_ffn_bias"] = fc1.norm
        for name, found in ("window", window), ("category", category), ("fc1", fc1), ("fc2", fc2):
            grads[name], grads[name + "_bias"] = found.weight, found.bias
        of_weights = (
            None if weight is None else grads[name] for name, weight in weights._asdict().items()
        )
        grad_values = looked_up.weight.mT
        return None, None, first.x.view(ctx.shape), grad_keys, grad_values, grad_codes, *of_weights


class _MapFunction(torch.autograd.Function):
    """A linear map by kernels, with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Map `b m k` by an `nn.Linear`'s weight and bias."""
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return linear((x,), weight.T, bias)

    @staticmethod
    @_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients of all three."""
        x, weight = ctx.saved_tensors
        found = linear_backward((grad,), weight, x)
        return found.x, found.weight, found.bias if ctx.has_bias else None


def _map(linear_map: nn.Linear, dictionary: Tensor) -> Tensor:
    """Map a dictionary, `b m c`; PyTorch's bits depend on the number of threads."""
    inputs = dictionary, linear_map.weight, linear_map.bias
    if needs_gradients(*(tensor for tensor in inputs if tensor is not None)):
        return cast(Tensor, _MapFunction.apply(*inputs))
    return linear((dictionary,), linear_map.weight.T, linear_map.bias)


def _norm_attention(layer: "Layer", weights: _Weights) -> Norm:
    return Norm(weights.norm_attention, weights.norm_attention_bias, layer.norm_attention.eps)


def _norm_ffn(layer: "Layer", weights: _Weights) -> Norm:
    return Norm(weights.norm_ffn, weights.norm_ffn_bias, layer.norm_ffn.eps)
