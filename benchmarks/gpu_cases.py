"""Every GPU kernel on fresh random inputs, next to its definition in float64."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from atdsr.network import attention
from atdsr.network.kernels.gpu import attention as attention_kernels
from atdsr.network.kernels.gpu import depthwise, dictionary, rows, sorting
from atdsr.network.model import ATDConfig
from atdsr.network.windows import position_index, shift_penalties

EPS = 1e-5


@dataclass(frozen=True)
class Size:
    """A batch of feature maps in a network.

    Attributes:
        name: of the network.
        config: its shape.
        batch: pictures.
        height: of each, a multiple of the window.
        width: likewise.
    """

    name: str
    config: ATDConfig
    batch: int
    height: int
    width: int

    @property
    def tokens(self) -> int:
        """Of all pictures."""
        return self.batch * self.height * self.width


@dataclass(frozen=True)
class Case:
    """A kernel and what it is to compute.

    Attributes:
        name: of the kernel.
        inputs: tensors of the types that the network gives it; floating ones get gradients.
        fast: the kernel, of these inputs; a tensor or several.
        exact: the same of the inputs in float64.
        bytes: that the forward pass has to move at least: inputs read and outputs written once.
        flops: of its products.
    """

    name: str
    inputs: tuple[Tensor, ...]
    fast: Callable[..., Tensor | tuple[Tensor, ...]]
    exact: Callable[..., Tensor | tuple[Tensor, ...]]
    bytes: int
    flops: int


def sorting_is_stable(size: Size, device: torch.device) -> bool:
    """Whether the counting sort gives what PyTorch's stable sort does."""
    count = size.config.dictionary_size
    shape = (size.batch, size.height * size.width)
    categories = torch.randint(0, count, shape, dtype=torch.int32, device=device)
    order = sorting.sort_by_category(categories, count)
    return torch.equal(order.long(), categories.long().sort(dim=1, stable=True).indices)


def cases(size: Size, dtype: torch.dtype, device: torch.device) -> list[Case]:
    """All kernels with gradients, at the size of a network, products in this type."""
    make = _Maker(size, dtype, device)
    return [
        make.windows(shifted=False),
        make.windows(shifted=True),
        make.categories(),
        make.look_up(),
        make.refinement(),
        make.normed_maps(),
        make.add_maps(),
        make.normed_gelu_map(),
        make.depthwise(),
    ]


class _Maker:
    def __init__(self, size: Size, dtype: torch.dtype, device: torch.device) -> None:
        self.size, self.dtype, self.device = size, dtype, device
        config = size.config
        self.c, self.d, self.m = config.width, config.reduced_width, config.dictionary_size
        self.heads, self.side = config.heads[0], config.window
        self.map = (size.batch, size.height, size.width)
        self.rows = (size.batch, size.height * size.width)

    def random(self, *shape: int, scale: float = 1.0, dtype: torch.dtype | None = None) -> Tensor:
        made = scale * torch.randn(shape, device=self.device)
        return made.to(dtype or self.dtype).requires_grad_()

    def parameter(self, *shape: int) -> Tensor:
        return self.random(*shape, scale=0.2, dtype=torch.float32)

    def moved(self, *tensors: Tensor | tuple[int, int]) -> int:
        """Bytes of tensors; a pair is numbers for each token and bytes of one."""
        sizes = [
            self.size.tokens * math.prod(t) if isinstance(t, tuple) else t.nbytes for t in tensors
        ]
        return sum(sizes)

    def windows(self, *, shifted: bool) -> Case:
        qkv = self.random(*self.map, 3 * self.c)
        table = self.parameter((2 * self.side - 1) ** 2, self.heads)
        with torch.device("cpu"):
            index, penalties = position_index(self.side), shift_penalties(self.side)
        index, penalties = index.to(self.device), penalties.to(self.device, torch.float64)

        def exact(qkv: Tensor, table: Tensor) -> Tensor:
            bias = table[index].permute(2, 0, 1)
            return attention.window_attention_reference(
                qkv, bias, penalties if shifted else None, self.side
            )

        return Case(
            "window attention" + (", shifted" if shifted else ""),
            (qkv, table),
            partial(attention_kernels.window_attention, side=self.side, shifted=shifted),
            exact,
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
            lambda qkv, scale: attention_kernels.category_attention(
                qkv, order, scale, self.heads, group
            ),
            lambda qkv, scale: attention.category_attention(
                qkv, categories, scale, self.heads, group
            ),
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

        def exact(q: Tensor, keys: Tensor, x: Tensor, weight: Tensor) -> Tensor:
            shares = self._map_of(q, keys).mT
            variance = shares.var(-1, keepdim=True, correction=0)
            return (shares * weight[:, None] * (variance + EPS).rsqrt()).softmax(-1) @ x

        moved = self.moved(q, keys, x)
        flops = 2 * self.size.tokens * self.m * (self.d + self.c)
        return Case("look-up + refinement", (q, keys, x, weight), fast, exact, moved, flops)

    def _norm(self) -> tuple[Tensor, Tensor, Tensor]:
        x = self.random(*self.map, self.c, dtype=torch.float32)
        return x, self.parameter(self.c), self.parameter(self.c)

    def normed_maps(self) -> Case:
        widths = (3 * self.c, self.d)
        parts = [t for m in widths for t in (self.parameter(m, self.c), self.parameter(m))]

        def fast(x: Tensor, weight: Tensor, bias: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
            maps = [(parts[0], parts[1]), (parts[2], parts[3])]
            return tuple(rows.normed_maps(x, weight, bias, EPS, maps, self.dtype)[1])

        def exact(x: Tensor, weight: Tensor, bias: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
            normed = F.layer_norm(x, (self.c,), weight, bias, EPS)
            return F.linear(normed, parts[0], parts[1]), F.linear(normed, parts[2], parts[3])

        inputs = (*self._norm(), *parts)
        moved = self.moved(*inputs, (sum(widths), self.dtype.itemsize))
        flops = 2 * self.size.tokens * self.c * sum(widths)
        return Case("norm + qkv + q", inputs, fast, exact, moved, flops)

    def normed_gelu_map(self) -> Case:
        hidden = int(self.c * self.size.config.ffn_ratio)
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

        def exact(x: Tensor, a: Tensor, b: Tensor, mixed: Tensor, *maps: Tensor) -> Tensor:
            return x + mixed + F.linear(a, *maps[:2]) + F.linear(b, *maps[2:])

        inputs = (x, *attended, *maps)
        flops = 4 * self.size.tokens * self.c**2
        return Case("sum of projections", inputs, fast, exact, self.moved(x, *inputs), flops)

    def depthwise(self) -> Case:
        hidden, k = int(self.c * self.size.config.ffn_ratio), self.size.config.ffn_kernel
        x = self.random(*self.map, hidden)
        weight, bias = self.parameter(hidden, 1, k, k), self.parameter(hidden)

        def exact(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            planes = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=k // 2, groups=hidden)
            return x + F.gelu(planes).permute(0, 2, 3, 1)

        flops = 2 * self.size.tokens * hidden * k * k
        moved = self.moved(x, x)
        inputs = (x, weight, bias)
        return Case("depthwise + GELU + add", inputs, depthwise.depthwise_gelu, exact, moved, flops)
