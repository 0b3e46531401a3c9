"""Every GPU kernel with random inputs and, beside it, its definition in plain PyTorch."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from atdsr.network import attention, operators
from atdsr.network.config import ATDConfig
from atdsr.network.kernels.gpu import depthwise, dictionary, rows, sorting

EPS = 1e-5

_REFINEMENT = "look-up + refinement"

LIMITS = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
"""The largest error that a kernel may have, by the type of its products; see `errors`."""


@dataclass(frozen=True)
class Size:
    """A batch of feature maps inside a network.

    Attributes:
        name: Name of the network.
        config: Configuration of the network.
        batch: Number of pictures.
        height: Height of each picture in tokens, a multiple of the window.
        width: Width of each picture in tokens, a multiple of the window.
    """

    name: str
    config: ATDConfig
    batch: int
    height: int
    width: int

    @property
    def tokens(self) -> int:
        """Number of tokens of all pictures."""
        return self.batch * self.height * self.width


@dataclass(frozen=True)
class Case:
    """A kernel and its definition.

    Attributes:
        name: Name of the kernel.
        inputs: Tensors with the types that the network passes; floating-point ones get gradients.
        fast: The kernel. It takes the inputs and returns a tensor or several.
        plain: The same in plain PyTorch. It takes the inputs in float64, or as they are.
        bytes: Bytes that the forward pass must move at least: each input read and each output
            written once.
        flops: Floating-point operations of the forward pass's matrix products.
    """

    name: str
    inputs: tuple[Tensor, ...]
    fast: Callable[..., Tensor | tuple[Tensor, ...]]
    plain: Callable[..., Tensor | tuple[Tensor, ...]]
    bytes: int
    flops: int


def sorting_is_stable(size: Size, device: torch.device) -> bool:
    """Return whether the counting sort gives the order of PyTorch's stable sort."""
    count = size.config.dictionary_size
    shape = (size.batch, size.height * size.width)
    categories = torch.randint(0, count, shape, dtype=torch.int32, device=device)
    order = sorting.sort_by_category(categories, count)
    return torch.equal(order.long(), categories.long().sort(dim=1, stable=True).indices)


def cases(size: Size, dtype: torch.dtype, device: torch.device) -> list[Case]:
    """Return a case for every kernel with gradients that the network runs.

    Args:
        size: The network and the feature maps to work on.
        dtype: Type of the matrix products.
        device: Where the inputs are made.
    """
    names = [name for name in KERNELS if name != _REFINEMENT or not size.config.is_static]
    return [make_case(kernel, size, dtype, device) for kernel in names]


def make_case(kernel: str, size: Size, dtype: torch.dtype, device: torch.device) -> Case:
    """Return the case of one kernel, named as in `KERNELS`; see `cases`."""
    return KERNELS[kernel](_Maker(size, dtype, device))


class _Maker:
    def __init__(self, size: Size, dtype: torch.dtype, device: torch.device) -> None:
        self.size, self.dtype, self.device = size, dtype, device
        config = size.config
        self.c, self.d, self.m = config.width, config.reduced_width, config.dictionary_size
        self.heads, self.side = config.heads[0], config.window
        self.map = (size.batch, size.height, size.width)
        self.rows = (size.batch, size.height * size.width)

    def random(self, *shape: int, scale: float = 1.0, dtype: torch.dtype | None = None) -> Tensor:
        values = scale * torch.randn(shape, device=self.device)
        return values.to(dtype or self.dtype).requires_grad_()

    def parameter(self, *shape: int) -> Tensor:
        return self.random(*shape, scale=0.2, dtype=torch.float32)

    def moved(self, *tensors: Tensor | tuple[int, int]) -> int:
        """Return the bytes of tensors; a pair is numbers a token and bytes a number."""
        sizes = [
            self.size.tokens * math.prod(t) if isinstance(t, tuple) else t.nbytes for t in tensors
        ]
        return sum(sizes)

    def windows(self, *, shifted: bool) -> Case:
        qkv = self.random(*self.map, 3 * self.c)
        table = self.parameter((2 * self.side - 1) ** 2, self.heads)
        return Case(
            "window attention" + (", shifted" if shifted else ""),
            (qkv, table),
            partial(operators.window_attention, side=self.side, shifted=shifted),
            partial(attention.window_attention_reference, side=self.side, shifted=shifted),
            self.moved(qkv, table, (self.c, self.dtype.itemsize)),
            4 * self.size.tokens * self.side**2 * self.c,
        )

    def categories(self) -> Case:
        group = min(self.size.config.category_size, self.rows[1])
        qkv, log_scale = self.random(*self.rows, 3 * self.c, scale=0.5), self.parameter(1)
        categories = torch.randint(0, self.m, self.rows, device=self.device)
        order = categories.sort(dim=1, stable=True).indices.int()
        return Case(
            "category attention",
            (qkv, log_scale),
            lambda qkv, scale: torch.ops.atdsr.category_attention(
                qkv, order, scale.reshape(()), self.heads, group, torch.is_grad_enabled()
            )[0],
            lambda qkv, scale: attention.category_attention(qkv, order, scale, self.heads, group),
            self.moved(qkv, order, (self.c, self.dtype.itemsize)),
            4 * self.size.tokens * group * self.c,
        )

    def _map_of(self, q: Tensor, keys: Tensor) -> Tensor:
        return (F.normalize(q, dim=-1, eps=1e-12) @ keys.mT).softmax(-1)

    def _keys(self) -> Tensor:
        keys = torch.randn(self.size.batch, self.m, self.d, device=self.device)
        temperature = 1 + 0.5 * math.log(self.m)
        return (F.normalize(keys, dim=-1) * temperature).requires_grad_()

    def look_up(self) -> Case:
        q, keys = self.random(*self.rows, self.d), self._keys()
        values = self.random(self.size.batch, self.m, self.c)
        return Case(
            "look-up",
            (q, keys, values),
            lambda q, keys, values: dictionary.look_up(q, keys, values)[0],
            lambda q, keys, values: self._map_of(q, keys) @ values,
            self.moved(q, keys, values, (self.c, self.dtype.itemsize), (1, 4)),
            2 * self.size.tokens * self.m * (self.d + self.c),
        )

    def refinement(self) -> Case:
        q, keys = self.random(*self.rows, self.d), self._keys()
        x, weight = self.random(*self.rows, self.c, dtype=torch.float32), self.parameter(self.m)
        values = torch.zeros(self.size.batch, self.m, self.c, dtype=self.dtype, device=self.device)

        def fast(q: Tensor, keys: Tensor, x: Tensor, weight: Tensor) -> Tensor:
            statistics = dictionary.look_up(q, keys, values)[2]  # they have a gradient as well
            return dictionary.gather_shares(q, keys, x, weight, statistics=statistics)

        def plain(q: Tensor, keys: Tensor, x: Tensor, weight: Tensor) -> Tensor:
            shares = self._map_of(q, keys).mT
            variance = shares.var(-1, keepdim=True, correction=0)
            return (shares * weight[:, None] * (variance + EPS).rsqrt()).softmax(-1) @ x

        moved = self.moved(q, keys, x)
        flops = 2 * self.size.tokens * self.m * (self.d + self.c)
        return Case(_REFINEMENT, (q, keys, x, weight), fast, plain, moved, flops)

    def _norm(self) -> tuple[Tensor, Tensor, Tensor]:
        x = self.random(*self.map, self.c, dtype=torch.float32)
        return x, self.parameter(self.c), self.parameter(self.c)

    def normed_maps(self) -> Case:
        widths = (3 * self.c, self.d)
        maps = [t for m in widths for t in (self.parameter(m, self.c), self.parameter(m))]

        def fast(x: Tensor, weight: Tensor, bias: Tensor, *maps: Tensor) -> tuple[Tensor, ...]:
            pairs = [(maps[0], maps[1]), (maps[2], maps[3])]
            return tuple(rows.normed_maps(x, weight, bias, EPS, pairs, self.dtype)[1])

        def plain(x: Tensor, weight: Tensor, bias: Tensor, *maps: Tensor) -> tuple[Tensor, ...]:
            normed = F.layer_norm(x, (self.c,), weight, bias, EPS)
            return F.linear(normed, maps[0], maps[1]), F.linear(normed, maps[2], maps[3])

        inputs = (*self._norm(), *maps)
        moved = self.moved(*inputs, (sum(widths), self.dtype.itemsize))
        flops = 2 * self.size.tokens * self.c * sum(widths)
        return Case("norm + qkv + q", inputs, fast, plain, moved, flops)

    def normed_gelu_map(self) -> Case:
        hidden = self.size.config.hidden
        inputs = (*self._norm(), self.parameter(hidden, self.c), self.parameter(hidden))
        return Case(
            "norm + fc1 + GELU",
            inputs,
            lambda x, norm, bias, weight, of_map: rows.normed_gelu_map(
                x, norm, bias, EPS, weight, of_map, self.dtype
            )[1],
            lambda x, norm, bias, weight, of_map: F.gelu(
                F.linear(F.layer_norm(x, (self.c,), norm, bias, EPS), weight, of_map)
            ),
            self.moved(*inputs, (hidden, self.dtype.itemsize)),
            2 * self.size.tokens * self.c * hidden,
        )

    def add_maps(self) -> Case:
        x = self.random(*self.map, self.c, dtype=torch.float32)
        attended = [self.random(*self.map, self.c) for _ in range(3)]
        maps = [
            t for _ in range(2) for t in (self.parameter(self.c, self.c), self.parameter(self.c))
        ]

        def fast(x: Tensor, a: Tensor, b: Tensor, mixed: Tensor, *maps: Tensor) -> Tensor:
            return rows.add_maps(x, [(a, maps[0], maps[1]), (b, maps[2], maps[3])], mixed)

        def plain(x: Tensor, a: Tensor, b: Tensor, mixed: Tensor, *maps: Tensor) -> Tensor:
            return x + mixed + F.linear(a, *maps[:2]) + F.linear(b, *maps[2:])

        inputs = (x, *attended, *maps)
        flops = 4 * self.size.tokens * self.c**2
        return Case("sum of projections", inputs, fast, plain, self.moved(x, *inputs), flops)

    def depthwise(self) -> Case:
        config = self.size.config
        hidden, k = config.hidden + (config.code_width or 0), config.ffn_kernel
        x = self.random(*self.map, hidden)
        weight, bias = self.parameter(hidden, 1, k, k), self.parameter(hidden)

        def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            planes = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=k // 2, groups=hidden)
            return x + F.gelu(planes).permute(0, 2, 3, 1)

        flops = 2 * self.size.tokens * hidden * k * k
        moved = self.moved(x, x)
        inputs = (x, weight, bias)
        return Case("depthwise + GELU + add", inputs, depthwise.depthwise_gelu, plain, moved, flops)


KERNELS: dict[str, Callable[[_Maker], Case]] = {
    "window attention": lambda make: make.windows(shifted=False),
    "window attention, shifted": lambda make: make.windows(shifted=True),
    "category attention": _Maker.categories,
    "look-up": _Maker.look_up,
    _REFINEMENT: _Maker.refinement,
    "norm + qkv + q": _Maker.normed_maps,
    "sum of projections": _Maker.add_maps,
    "norm + fc1 + GELU": _Maker.normed_gelu_map,
    "depthwise + GELU + add": _Maker.depthwise,
}
"""How the case of each kernel is made."""


# ------------------------------------------------------------------------------------- errors


def errors(case: Case) -> list[float]:
    """Return the relative errors of the outputs and of all gradients; NaN where one is NaN.

    The error is ||kernel - plain|| / ||plain||, with plain PyTorch in float64. The gradient of a
    single number is a sum of terms that may cancel, so its error is relative to their magnitudes:
    a scale of scores has the terms x dx of what is scored, which is the first input.
    """
    doubles = [x.detach().double().requires_grad_() for x in case.inputs]
    expected = as_tuple(case.plain(*doubles))
    outputs = as_tuple(case.fast(*case.inputs))
    upstream = [torch.randn_like(x) for x in outputs]
    gradients = torch.autograd.grad(outputs, case.inputs, upstream)
    exact = torch.autograd.grad(expected, doubles, [x.double() for x in upstream])
    terms = (doubles[0] * exact[0]).abs().sum()
    return [
        ((a.double() - b).norm() / (b.norm() if b.numel() > 1 else terms)).item()
        for a, b in zip((*outputs, *gradients), (*expected, *exact), strict=True)
    ]


def largest_error(case: Case) -> float:
    """Return the largest of a case's `errors`, with NaN in all memory that nobody has written."""
    with poisoned():
        return largest(errors(case))


def largest(errors: Iterable[float]) -> float:
    """Return the largest error; NaN counts as the largest of all, which it does not for Python."""
    return max(errors, key=lambda error: math.inf if math.isnan(error) else error)


def as_tuple(x: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the outputs of a kernel as a tuple, also where there is one."""
    return (x,) if isinstance(x, Tensor) else x


@contextmanager
def poisoned() -> Iterator[None]:
    """Fill new memory with NaN inside the block, so that what a kernel does not write is seen."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
