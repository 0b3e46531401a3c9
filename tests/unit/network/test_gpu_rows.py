"""What a layer does to each token's row on a GPU, against the plain formulas in float64."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.gpu_tests import DEVICE, difference, poisoned

pytestmark = pytest.mark.slow

kernels = pytest.importorskip("atdsr.network.kernels.gpu.rows")
backward = pytest.importorskip("atdsr.network.kernels.gpu.rows_backward")

_FORWARD = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
_BACKWARD = {torch.float32: 1e-4, torch.bfloat16: 3e-2}
_EPS = 1e-5


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with poisoned(monkeypatch):
        yield


def _leaf(*shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> Tensor:
    return (scale * torch.randn(*shape, device=DEVICE)).to(dtype).requires_grad_()


def _tokens(n: int, c: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Two pictures where n is even."""
    return _leaf(2, n // 2, 1, c, dtype=dtype) if n % 2 == 0 else _leaf(1, 1, n, c, dtype=dtype)


@dataclass(frozen=True)
class _Case:
    """Leaves, and the same outputs of them by the kernels and by plain formulas."""

    leaves: list[Tensor]
    by_kernels: Callable[[Sequence[Tensor]], list[Tensor]]
    plain: Callable[[Sequence[Tensor]], list[Tensor]]

    def check(self, dtype: torch.dtype) -> None:
        found = self.by_kernels(self.leaves)
        given = [torch.randn_like(part) for part in found]
        gradients = torch.autograd.grad(found, self.leaves, given)
        leaves = [leaf.detach().double().requires_grad_() for leaf in self.leaves]
        expected = self.plain(leaves)
        exact = torch.autograd.grad(expected, leaves, [part.double() for part in given])
        for one, other in zip(found, expected, strict=True):
            assert difference(one, other) < _FORWARD[dtype]
        for leaf, one, other in zip(self.leaves, gradients, exact, strict=True):
            assert one.dtype == leaf.dtype
            if other.abs().max() > 1e-9:  # the norm of one channel's worth of rows may have none
                assert difference(one, other) < _BACKWARD[dtype]

    def twice_the_same(self) -> None:
        runs = []
        for _ in range(2):
            found = self.by_kernels(self.leaves)
            total = torch.stack([part.float().square().sum() for part in found]).sum()
            runs.append([*found, *torch.autograd.grad(total, self.leaves)])
        assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


def _normed_case(
    n: int,
    c: int,
    widths: tuple[int, ...],
    dtype: torch.dtype,
    with_gelu: bool = False,
    x_dtype: torch.dtype = torch.float32,
) -> _Case:
    parameters = [
        part for m in widths for part in (_leaf(m, c, scale=c**-0.5), _leaf(m, scale=0.3))
    ]

    def by_kernels(leaves: Sequence[Tensor]) -> list[Tensor]:
        x, weight, bias, *maps = leaves
        pairs = list(zip(maps[::2], maps[1::2], strict=True))
        if with_gelu:
            return list(kernels.normed_gelu_map(x, weight, bias, _EPS, *pairs[0], dtype))
        through, mapped = kernels.normed_maps(x, weight, bias, _EPS, pairs, dtype)
        return [through, *mapped]

    def plain(leaves: Sequence[Tensor]) -> list[Tensor]:
        x, weight, bias, *maps = leaves
        normed = F.layer_norm(x, (c,), weight, bias, _EPS)
        mapped = [F.linear(normed, *pair) for pair in zip(maps[::2], maps[1::2], strict=True)]
        return [x * 1, *(F.gelu(part) if with_gelu else part for part in mapped)]

    return _Case([_tokens(n, c, x_dtype), _leaf(c), _leaf(c), *parameters], by_kernels, plain)


def _sum_case(
    n: int,
    c: int,
    widths: tuple[int, ...],
    dtype: torch.dtype,
    mixed: bool = True,
    x_dtype: torch.dtype = torch.float32,
) -> _Case:
    attended = [
        part
        for k in widths
        for part in (_tokens(n, k, dtype), _leaf(c, k, scale=k**-0.5), _leaf(c, scale=0.3))
    ]
    leaves = [_tokens(n, c, x_dtype), *attended, *([_tokens(n, c, dtype)] if mixed else [])]
    count = 3 * len(widths)

    def parts(leaves: Sequence[Tensor]) -> tuple[list[tuple[Tensor, ...]], Tensor | None]:
        rest = leaves[1 : 1 + count]
        triples = [tuple(rest[i : i + 3]) for i in range(0, count, 3)]
        return triples, leaves[-1] if mixed else None

    def by_kernels(leaves: Sequence[Tensor]) -> list[Tensor]:
        return [kernels.add_maps(leaves[0], *parts(leaves))]

    def plain(leaves: Sequence[Tensor]) -> list[Tensor]:
        triples, more = parts(leaves)
        total = leaves[0] if more is None else leaves[0] + more
        for part in triples:
            total = total + F.linear(*part)
        return [total]

    return _Case(leaves, by_kernels, plain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("n", "c", "widths"),
    [
        (130, 48, (144, 8)),
        (7, 54, (162,)),
        (1, 12, (36, 5)),
        (130, 12, (8,)),
        (7, 64, (20,)),
        (66, 210, (70, 20)),
        (3, 300, (33,)),
    ],
)
def test_normed_maps_are_those_of_the_norm_and_its_gradients_too(
    n: int, c: int, widths: tuple[int, ...], dtype: torch.dtype
) -> None:
    _normed_case(n, c, widths, dtype).check(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("n", "c", "m"), [(130, 48, 48), (7, 12, 24), (1, 54, 54), (66, 210, 70), (1, 70, 420)]
)
def test_gelu_of_a_normed_map_and_its_gradients(n: int, c: int, m: int, dtype: torch.dtype) -> None:
    _normed_case(n, c, (m,), dtype, with_gelu=True).check(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("n", "c", "widths", "mixed"),
    [
        (130, 48, (48, 48), True),
        (7, 12, (12, 24), False),
        (1, 54, (54,), True),
        (66, 210, (210, 210), True),
        (7, 210, (420,), False),
        (2, 300, (16,), True),
    ],
)
def test_the_sum_of_rows_and_maps_and_its_gradients(
    n: int, c: int, widths: tuple[int, ...], mixed: bool, dtype: torch.dtype
) -> None:
    _sum_case(n, c, widths, dtype, mixed).check(dtype)


def test_rows_in_bfloat16_take_sums_in_bfloat16() -> None:
    half = torch.bfloat16
    _normed_case(7, 48, (16, 8), half, x_dtype=half).check(half)
    _sum_case(7, 48, (48, 48), half, x_dtype=half).check(half)
    _sum_case(7, 70, (70,), half, x_dtype=half).check(half)


@pytest.mark.parametrize("c", [48, 70])
def test_two_runs_give_the_same_bits(c: int) -> None:
    _normed_case(130, c, (20, 8), torch.bfloat16).twice_the_same()
    _sum_case(130, c, (c,), torch.bfloat16).twice_the_same()


@pytest.mark.parametrize("c", [48, 70])
def test_programs_that_take_several_blocks_of_rows_add_up_the_same(
    c: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backward, "_PROGRAMS", 2)
    _normed_case(162, c, (20, 8), torch.float32).check(torch.float32)
    _sum_case(162, c, (c,), torch.float32).check(torch.float32)


@pytest.mark.parametrize("c", [48, 70])
def test_rows_without_variance_have_finite_gradients(c: int) -> None:
    case = _normed_case(7, c, (16,), torch.float32)
    with torch.no_grad():
        case.leaves[0][..., 3:, :] = 0.5
        case.leaves[0][..., 5, :] = 0.0
    case.check(torch.float32)


@pytest.mark.parametrize("c", [48, 70])
def test_what_is_no_number_stays_in_its_row(c: int) -> None:
    normed = _normed_case(7, c, (16, 8), torch.float32)
    added = _sum_case(7, c, (c,), torch.float32)
    with torch.no_grad():
        normed.leaves[0][..., 2, 5] = torch.nan
        added.leaves[1][..., 2, 5] = torch.nan
        added.leaves[0][..., 4, 5] = torch.inf
        for part in normed.by_kernels(normed.leaves)[1:]:
            assert part.isnan().flatten(0, -2).all(1).tolist() == [i == 2 for i in range(7)]
        (total,) = added.by_kernels(added.leaves)
    finite = total.isfinite().flatten(0, -2)
    assert finite.all(1).tolist() == [i not in (2, 4) for i in range(7)]
    assert total.isnan().flatten(0, -2).all(1).tolist() == [i == 2 for i in range(7)]


def test_views_of_rows_are_taken_as_they_are() -> None:
    x = torch.randn(1, 3, 2, 48, device=DEVICE).permute(0, 2, 1, 3)
    leaves = _normed_case(6, 48, (16,), torch.float32).leaves[1:]
    _, (viewed,) = kernels.normed_maps(x, *leaves[:2], _EPS, [tuple(leaves[2:])], torch.float32)
    _, (copied,) = kernels.normed_maps(
        x.contiguous(), *leaves[:2], _EPS, [tuple(leaves[2:])], torch.float32
    )
    assert torch.equal(viewed, copied)
    summed = kernels.add_maps(x, [(x, torch.eye(48, device=DEVICE), leaves[0])], x)
    assert difference(summed, 3 * x + leaves[0]) < 1e-6


def test_nothing_is_kept_where_no_gradient_is_wanted() -> None:
    case = _normed_case(7, 48, (16,), torch.float32)
    with torch.no_grad():
        through, mapped = case.by_kernels(case.leaves)
    assert through is case.leaves[0]
    assert not mapped.requires_grad
    with torch.inference_mode():
        (total,) = _sum_case(7, 48, (48,), torch.float32).by_kernels(
            _sum_case(7, 48, (48,), torch.float32).leaves
        )
    assert total.is_inference()


@pytest.mark.parametrize("c", [12, 70])
def test_the_operators_keep_to_what_they_declare(c: int) -> None:
    half = torch.bfloat16
    x, row = torch.randn(1, 2, 3, c, device=DEVICE), torch.ones(c, device=DEVICE)
    norm, weights, biases = (row, row, _EPS), [x[0, 0], x[0, 1, :2]], [row[:3], row[:2]]
    gradients = [x[..., :3].to(half), x[..., :2].to(half)]
    rows, square = [x.to(half)], [torch.randn(c, c, device=DEVICE)]
    calls = [
        (
            backward.normed_maps_backward_op,
            (x, *norm, weights, biases, False, x, gradients),
        ),
        (backward.add_maps_backward_op, (x, rows, square, True)),
    ]
    if c == 12:  # the forward passes are the same for all widths
        calls += [
            (kernels.normed_maps_op, (x, *norm, weights, biases, False, half)),
            (kernels.normed_maps_op, (x, *norm, weights[:1], biases[:1], True, half)),
            (kernels.add_maps_op, (x, rows[0], rows, square, [row])),
        ]
    for operator, arguments in calls:
        torch.library.opcheck(operator, arguments)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # PyTorch's
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_compiled_layer_gives_the_same(dtype: torch.dtype) -> None:
    c = 12
    x, *norm = _tokens(4, c), _leaf(c), _leaf(c)
    maps = [(_leaf(m, c), _leaf(m)) for m in (3 * c, 5)]
    square = [(_leaf(c, c), _leaf(c)) for _ in range(4)]

    def layer(x: Tensor) -> Tensor:
        x, (qkv, q) = kernels.normed_maps(x, *norm, _EPS, maps, dtype)
        mixed, window, category = qkv.split(c, dim=-1)
        attended = [(window, *square[0]), (category.tanh(), *square[1])]
        x = kernels.add_maps(x, attended, mixed * q.sum(-1, keepdim=True))
        x, hidden = kernels.normed_gelu_map(x, *norm, _EPS, *square[2], dtype)
        return kernels.add_maps(x, [(hidden, *square[3])], None)

    leaves = [x, *norm, *(part for pair in (*maps, *square) for part in pair)]
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    runs = []
    for run in (layer, compiled):
        out = run(x)
        runs.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))
    with torch.no_grad():
        assert torch.equal(compiled(x), runs[0][0])
