"""The dictionary's kernels on GPUs against the plain formulas in float64, forward and backward."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from atdsr.network import attention
from atdsr.network.kernels import gpu
from helpers.gpu_tests import DEVICE, difference

pytestmark = pytest.mark.slow

dictionary = pytest.importorskip("atdsr.network.kernels.gpu.dictionary")

SINGLE, HALF = (1e-5, 1e-4), (2e-2, 3e-2)
"""Bounds of the forward and the backward pass."""

SIZES = [  # n, m, d, c
    (1, 8, 4, 12),
    (7, 1, 8, 12),
    (7, 100, 4, 12),
    (150, 64, 8, 48),
    (20, 128, 20, 210),
]


@pytest.fixture(autouse=True)
def _prepared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Memory begins as NaN, so that whatever is not written shows."""
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    if DEVICE == "cpu":  # the interpreter's time follows the number of blocks
        monkeypatch.setattr(dictionary, "GENERAL", dictionary.DictionaryBlocks(64, 128, 4, 2, 4))
        monkeypatch.setattr(dictionary, "SUMMED", 4096)
    with gpu.interpreted():
        yield
    torch.use_deterministic_algorithms(False)


def inputs(n: int, m: int, d: int, c: int, b: int = 2) -> list[Tensor]:
    """Queries, keys, values, x and the weight, of which some are negative and one is zero."""
    keys = F.normalize(torch.randn(b, m, d), dim=-1) * (1 + torch.rand(m, 1) * 4)
    weight = torch.randn(m)
    weight[m // 2] = 0
    return [torch.randn(b, n, d), keys, torch.randn(b, m, c), torch.randn(b, n, c), weight]


def plain(q: Tensor, keys: Tensor, values: Tensor, x: Tensor, weight: Tensor) -> list[Tensor]:
    """What was mixed, what was gathered, and the map."""
    shares = (F.normalize(q, dim=-1, eps=1e-12) @ keys.mT).softmax(-1)
    variance = shares.var(1, correction=0)
    over_tokens = (shares * (weight * (variance + 1e-5).rsqrt())[:, None]).softmax(1)
    return [shares @ values, over_tokens.mT @ x, shares]


def ours(q: Tensor, keys: Tensor, values: Tensor, x: Tensor, weight: Tensor) -> list[Any]:
    """What was mixed, what was gathered, the categories and the statistics."""
    mixed, categories, statistics = dictionary.look_up(q, keys, values)
    gathered = dictionary.gather_shares(q, keys, x, weight, statistics)
    return [mixed, gathered, categories, statistics]


def learned(tensors: list[Tensor], *dtypes: torch.dtype) -> list[Tensor]:
    return [
        tensor.to(DEVICE, dtype).requires_grad_()
        for tensor, dtype in zip(tensors, dtypes, strict=True)
    ]


def exact(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.detach().double().cpu().requires_grad_() for tensor in tensors]


def close(found: Tensor, expected: Tensor, bound: float) -> bool:
    """Relative to the largest number; what is zero in the end was summed from hundredths."""
    apart = (found.detach().double().cpu() - expected.detach()).abs().max()
    return bool(apart <= bound * expected.detach().abs().max().clamp(min=0.01))


def check(given: list[Tensor], bounds: tuple[float, float]) -> None:
    """Results, statistics and gradients."""
    reference = exact(given)
    *expected, shares = plain(*reference)
    *found, categories, statistics = ours(*given)
    for one, other in zip(found, expected, strict=True):
        assert close(one, other, bounds[0])
    assert close(statistics.mean, shares.mean(1), bounds[0])
    assert close(statistics.variance, shares.var(1, correction=0), bounds[0])
    assert close(statistics.smallest, shares.amin(1), bounds[0])
    assert close(statistics.largest, shares.amax(1), bounds[0])
    chosen = shares.gather(2, categories.long().cpu()[..., None])[..., 0]
    assert (shares.amax(2) - chosen).max() <= 1e-6
    upstream = [torch.randn_like(other) for other in expected]
    wanted = torch.autograd.grad(expected, reference, upstream)
    made = torch.autograd.grad(
        found, given, [u.to(f) for u, f in zip(upstream, found, strict=True)]
    )
    for one, other, tensor in zip(made, wanted, given, strict=True):
        assert one.dtype == tensor.dtype
        assert close(one, other, bounds[1])


@pytest.mark.parametrize("size", SIZES)
def test_float32(size: tuple[int, int, int, int]) -> None:
    check(learned(inputs(*size), *[torch.float32] * 5), SINGLE)


@pytest.mark.parametrize(
    ("size", "x"),
    [
        ((1, 64, 8, 48), torch.bfloat16),
        ((70, 64, 8, 48), torch.float32),
        ((30, 50, 8, 70), torch.bfloat16),
        ((17, 128, 20, 210), torch.float32),
    ],
)
def test_bfloat16(size: tuple[int, int, int, int], x: torch.dtype) -> None:
    half = torch.bfloat16
    check(learned(inputs(*size), half, torch.float32, half, x, torch.float32), HALF)


@pytest.mark.parametrize("alone", [0, 1])
def test_gradients_of_one_result(alone: int) -> None:
    given = learned(inputs(20, 10, 4, 12), *[torch.float32] * 5)
    reference = exact(given)
    found, expected = ours(*given)[alone], plain(*reference)[alone]
    upstream = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, reference, upstream, allow_unused=True)
    made = torch.autograd.grad(found, given, upstream.to(found), allow_unused=True)
    for one, other in zip(made, wanted, strict=True):
        if other is None:
            assert one is None or not one.any()
        else:
            assert one is not None
            assert close(one, other, SINGLE[1])


def test_agrees_with_attention() -> None:
    """The plain path's own functions, whose keys come as they are."""
    q, k, values, x, weight = inputs(40, 50, 8, 12)
    scale, sigma, entries = torch.rand(50), torch.randn(50, 1), torch.randn(2, 50, 12)

    shares = attention.attention_map(q.double(), k.double(), scale.double())
    gathered = attention.gather_tokens(shares, x.double(), weight.double())
    expected = attention.refine_dictionary(entries.double(), gathered, sigma.double())
    there = [t.to(DEVICE) for t in (q, k, values, x, weight, scale, entries, sigma)]
    q, k, values, x, weight, scale, entries, sigma = there
    keys = attention.scaled_keys(k, scale)
    mixed, categories, statistics = dictionary.look_up(q, keys, values)
    gathered = dictionary.gather_shares(q, keys, x, weight, statistics)
    refined = attention.refine_dictionary(entries, gathered, sigma)
    assert difference(mixed, shares @ values.cpu().double()) <= SINGLE[0]
    assert difference(refined, expected) <= SINGLE[0]
    assert torch.equal(categories.long().cpu(), shares.argmax(-1))


def test_queries_between_other_columns() -> None:
    q, *others = inputs(30, 10, 8, 12)
    wide = torch.randn(2, 30, 29)
    wide[..., 13:21] = q
    given = learned([wide[..., 13:21], *others], *[torch.float32] * 5)
    check([wide.to(DEVICE)[..., 13:21].requires_grad_(), *given[1:]], SINGLE)


def test_several_blocks_in_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dictionary, "GENERAL", dictionary.DictionaryBlocks(16, 16, 4, 2, 4))
    check(learned(inputs(50, 20, 4, 24), *[torch.float32] * 5), SINGLE)


def test_first_of_the_largest() -> None:
    q, keys, values = inputs(5, 7, 4, 12)[:3]
    keys[:, 4] = keys[:, 2] = 5 * F.normalize(q[:, 0], dim=-1)
    categories = dictionary.look_up(*(t.to(DEVICE) for t in (q, keys, values)))[1]
    assert (categories[:, 0] == 2).all()
    same = torch.ones_like(keys)
    assert not dictionary.look_up(q.to(DEVICE), same.to(DEVICE), values.to(DEVICE))[1].any()


def test_entries_that_are_not_there_never_win() -> None:
    """All real logits are below the zeros that a block is filled up with."""
    q, keys, values = inputs(3, 5, 4, 12)[:3]
    keys = -5 * F.normalize(q[:, :1], dim=-1).expand_as(keys)
    mixed, categories, _ = dictionary.look_up(*(t.to(DEVICE) for t in (q, keys, values)))
    assert not categories[:, 0].any()
    assert difference(mixed[:, 0], values.mean(1)) <= SINGLE[0]


def test_small_variances() -> None:
    """Of shares far from zero that hardly differ."""
    q, keys, values = inputs(200, 3, 4, 12, b=1)[:3]
    q = torch.ones_like(q) + 1e-4 * q
    shares = plain(*exact([q, keys, values, values[:, :1].expand(1, 200, 12), keys[0, :, 0]]))[2]
    variance = shares.var(1, correction=0)
    assert variance.max() < 1e-7
    found = dictionary.look_up(*(t.to(DEVICE) for t in (q, keys, values)))[2].variance
    assert difference(found, variance) <= 1e-3


def test_queries_of_zeros() -> None:
    """A norm below 1e-12 is taken for that, and lets no gradient through."""
    raw = inputs(6, 8, 4, 12)
    raw[0][:, 1] = 0
    given = learned(raw, *[torch.float32] * 5)
    reference = exact(given)
    found, expected = ours(*given)[:2], plain(*reference)[:2]
    upstream = [torch.randn_like(other) for other in expected]
    made = torch.autograd.grad(
        found, given, [u.to(f) for u, f in zip(upstream, found, strict=True)]
    )
    wanted = torch.autograd.grad(expected, reference, upstream)
    assert difference(made[0][:, 1], wanted[0][:, 1]) <= SINGLE[1]
    assert difference(made[0][:, 2:], wanted[0][:, 2:]) <= SINGLE[1]
    assert difference(made[1], wanted[1]) <= SINGLE[1]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, in the interpreter
def test_nan_stays_in_its_picture() -> None:
    raw = inputs(20, 10, 4, 12)
    raw[0][0, 3] = float("nan")
    given = learned(raw, *[torch.float32] * 5)
    mixed, gathered, categories, _ = ours(*given)
    assert mixed[0, 3].isnan().all()
    assert mixed[0, 4:].isfinite().all()
    assert gathered[0].isnan().all()
    assert gathered[1].isfinite().all()
    assert ((categories >= 0) & (categories < 10)).all()
    grad = torch.autograd.grad([mixed, gathered], given[0], [mixed, gathered])[0]
    assert grad[0].isnan().any()
    assert grad[1].isfinite().all()


def test_same_bits_twice_and_without_gradients() -> None:
    given = learned(inputs(50, 20, 8, 12), *[torch.float32] * 5)

    def run() -> list[Tensor]:
        mixed, gathered = ours(*given)[:2]
        return [mixed, gathered, *torch.autograd.grad([mixed.sum(), gathered.sum()], given)]

    first, second = run(), run()
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    with torch.no_grad():
        mixed, gathered = ours(*given)[:2]
    assert not mixed.requires_grad
    assert torch.equal(mixed, first[0])
    assert torch.equal(gathered, first[1])


def test_as_operators() -> None:
    q, keys, values, x, weight = learned(inputs(5, 6, 4, 12), *[torch.float32] * 5)
    torch.library.opcheck(dictionary._look_up_op, (q, keys, values))
    _, _, *statistics = dictionary._look_up_op(q.detach(), keys.detach(), values.detach())
    statistics[1].requires_grad_()
    torch.library.opcheck(dictionary._gather_op, (q, keys, x, weight, *statistics))


def test_a_refined_dictionary_keeps_its_type() -> None:
    q, x = (torch.randn(1, 20, c, device=DEVICE).bfloat16() for c in (4, 6))
    entries, keys = (torch.randn(1, 5, c, device=DEVICE).bfloat16() for c in (6, 4))
    ones = torch.ones(5, device=DEVICE).bfloat16()
    _, _, statistics = dictionary.look_up(q, keys, entries)
    gathered = dictionary.gather_shares(q, keys, x, ones, statistics)
    assert gathered.dtype == torch.float32
    assert attention.refine_dictionary(entries, gathered, ones[:, None]).dtype == torch.bfloat16


def test_compiled() -> None:
    given = learned(inputs(20, 10, 4, 12), *[torch.float32] * 5)

    def run(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        mixed, gathered = ours(*tensors)[:2]
        return mixed, gathered

    compiled = torch.compile(run, backend="aot_eager", fullgraph=True)(*given)
    eager = run(*given)
    for one, other in zip(compiled, eager, strict=True):
        assert torch.equal(one, other)
    of_compiled = torch.autograd.grad([one.sum() for one in compiled], given)
    of_eager = torch.autograd.grad([one.sum() for one in eager], given)
    for one, other in zip(of_compiled, of_eager, strict=True):
        assert torch.equal(one, other)
