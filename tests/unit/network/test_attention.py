"""The three attentions against loops over tokens, and fast paths against plain ones."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from atdsr.network import attention, operators


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _window_inputs(rows: int, columns: int, side: int, heads: int = 2, width: int = 6):
    qkv = torch.randn(2, rows * side, columns * side, 3 * width, dtype=torch.float64)
    table = torch.randn((2 * side - 1) ** 2, heads, dtype=torch.float64)
    return qkv, table


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 3), (3, 1), (2, 3)])
def test_fast_window_attention_is_the_reference(rows: int, columns: int, shifted: bool) -> None:
    qkv, table = _window_inputs(rows, columns, side=4)
    expected = attention.window_attention_reference(qkv, table, 4, shifted)
    with torch.no_grad():
        out = attention.window_attention(qkv, table, 4, shifted)
    assert torch.allclose(out, expected)
    table.requires_grad_()  # the path of training
    out = attention.window_attention(qkv, table, 4, shifted)
    assert torch.allclose(out, expected)
    upstream = torch.randn_like(out)
    fast = torch.autograd.grad(out, table, upstream)[0]
    reference = attention.window_attention_reference(qkv, table, 4, shifted)
    expected = torch.autograd.grad(reference, table, upstream)[0]
    assert torch.allclose(fast, expected)


def test_window_attention_token_by_token() -> None:
    """The definition, on a picture of 2 x 2 windows: shift, own window, own region, bias."""
    side, heads, width = 2, 2, 4
    qkv, table = _window_inputs(2, 2, side, heads, width)
    bias = attention.position_bias(table, side)
    out = attention.window_attention_reference(qkv, table, side, shifted=True)
    h = w = 4
    d = width // heads
    for y in range(h):
        for x in range(w):
            sy, sx = (y - 1) % h, (x - 1) % w  # where the roll moved the token
            row, column = sy // side, sx // side
            for head in range(heads):
                scores, values = [], []
                for ky in range(side):
                    for kx in range(side):
                        oy, ox = (row * side + ky + 1) % h, (column * side + kx + 1) % w
                        q = qkv[0, y, x, head * d : head * d + d]
                        k = qkv[0, oy, ox, width + head * d : width + head * d + d]
                        v = qkv[0, oy, ox, 2 * width + head * d : 2 * width + head * d + d]
                        query = (sy % side) * side + sx % side
                        score = q @ k / math.sqrt(d) + bias[head, query, ky * side + kx]
                        apart = (row == 1 and sy % side != ky) or (column == 1 and sx % side != kx)
                        scores.append(score - 100.0 * apart)
                        values.append(v)
                expected = torch.stack(scores).softmax(0) @ torch.stack(values)
                assert torch.allclose(out[0, y, x, head * d : head * d + d], expected)


def test_the_attention_map_by_the_equation() -> None:
    q, k = torch.randn(2, 5, 3, dtype=torch.float64), torch.randn(2, 4, 3, dtype=torch.float64)
    scale = torch.tensor([-0.5, 0.25, 0.5, 3.0], dtype=torch.float64)  # clamped at both ends
    cosine = F.cosine_similarity(q[:, :, None], k[:, None], dim=-1, eps=1e-12)
    expected = (cosine * (1 + scale.clamp(0, 1) * math.log(4))).softmax(-1)
    assert torch.allclose(attention.attention_map(q, k, scale), expected)


def test_a_token_of_zeros_attends_to_the_dictionary_evenly() -> None:
    shares = attention.attention_map(
        torch.zeros(1, 1, 3), torch.randn(1, 8, 3), torch.full((8,), 0.5)
    )
    assert torch.allclose(shares, torch.full((1, 1, 8), 1 / 8))


def test_refinement_is_a_softmax_of_an_instance_norm() -> None:
    """What the paper writes, with an affine bias that must not matter."""
    b, n, m, c = 2, 50, 4, 3
    a = torch.randn(b, n, m, dtype=torch.float64).softmax(-1)
    x, dictionary = (torch.randn(b, k, c, dtype=torch.float64) for k in (n, m))
    weight, bias, sigma = (torch.randn(m, dtype=torch.float64) for _ in range(3))
    normed = F.instance_norm(a.mT, weight=weight, bias=bias, eps=1e-5)
    keep = sigma[:, None].sigmoid()
    expected = keep * dictionary + (1 - keep) * (normed.softmax(-1) @ x)
    gathered = attention.gather_tokens(a, x, weight)
    out = attention.refine_dictionary(dictionary, gathered, sigma[:, None])
    assert torch.allclose(out, expected)


def _category_attention_by_hand(
    qkv: Tensor, categories: Tensor, logit_scale: Tensor, heads: int, group: int
) -> Tensor:
    b, n, c3 = qkv.shape
    c, group = c3 // 3, min(n, group)
    out = torch.zeros(b, n, c, dtype=qkv.dtype)
    for picture in range(b):
        order = sorted(range(n), key=lambda t: (int(categories[picture, t]), t))
        missing = -n % group
        padded = order + (order[n - missing :][::-1] if missing else [])
        for start in range(0, n, group):
            run = padded[start : start + group]
            for position, token in enumerate(run):
                if start + position >= n:
                    continue
                for head in range(heads):
                    part = slice(head * c // heads, (head + 1) * c // heads)
                    q = qkv[picture, token, :c][part]
                    k = qkv[picture, run, c : 2 * c][:, part]
                    v = qkv[picture, run, 2 * c :][:, part]
                    scores = k @ q * logit_scale.clamp(max=math.log(100)).exp().item()
                    out[picture, token, part] = scores.softmax(0) @ v
    return out


@pytest.mark.parametrize("n", [1, 7, 8, 16, 21])
@pytest.mark.parametrize("logit_scale", [0.3, 9.0])
def test_category_attention_token_by_token(n: int, logit_scale: float) -> None:
    qkv = torch.randn(2, n, 12, dtype=torch.float64) * 0.3
    categories = torch.randint(0, 3, (2, n))
    scale = torch.tensor(logit_scale, dtype=torch.float64)
    out = operators.category_attention(qkv, categories, scale, heads=2, group=8, count=3)
    assert torch.allclose(out, _category_attention_by_hand(qkv, categories, scale, 2, 8))


def test_equal_categories_keep_the_order_of_positions() -> None:
    """With one category the runs are the picture's own runs of tokens."""
    qkv = torch.randn(1, 8, 6, dtype=torch.float64)
    zeros = torch.zeros(1, 8, dtype=torch.long)
    scale = torch.tensor(0.0, dtype=torch.float64)
    whole = operators.category_attention(qkv, zeros, scale, heads=1, group=4, count=1)
    half = operators.category_attention(qkv[:, :4], zeros[:, :4], scale, 1, group=4, count=1)
    assert torch.equal(whole[:, :4], half)


@pytest.mark.parametrize(("h", "w", "block"), [(5, 9, 2), (8, 8, 4), (3, 20, 16), (7, 7, 1)])
def test_tokens_are_sorted_inside_blocks(h: int, w: int, block: int) -> None:
    categories = torch.randint(0, 4, (2, h * w))
    keys, count = attention.sort_keys(categories, 4, h, w, block)
    assert 0 <= keys.min() <= keys.max() < count
    for of_picture, order in zip(categories, keys.sort(stable=True).indices, strict=True):
        tokens = range(h * w)
        expected = sorted(
            tokens,
            key=lambda token: (
                token // w // block,
                token % w // block,
                int(of_picture[token]),
                token,
            ),
        )
        assert order.tolist() == expected


@pytest.mark.parametrize("block", [None, 9, 100])
def test_one_block_is_the_picture(block: int | None) -> None:
    categories = torch.randint(0, 4, (2, 5 * 9))
    keys, count = attention.sort_keys(categories, 4, 5, 9, block)
    assert keys is categories
    assert count == 4


def test_permutation_and_its_gradient() -> None:
    x = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    order = torch.stack([torch.randperm(6) for _ in range(2)])
    inverse = order.argsort(1)
    permuted = attention.permute_tokens(x, order, inverse)
    assert torch.equal(permuted, x.gather(1, order[..., None].expand_as(x)))
    assert torch.equal(attention.permute_tokens(permuted, inverse, order), x)
    assert torch.autograd.gradcheck(lambda t: attention.permute_tokens(t, order, inverse), x)
    assert torch.autograd.gradgradcheck(lambda t: attention.permute_tokens(t, order, inverse), x)


def test_category_attention_gradients() -> None:
    qkv = torch.randn(1, 7, 6, dtype=torch.float64, requires_grad=True)
    categories = torch.tensor([[2, 0, 1, 2, 0, 0, 1]])
    scale = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda q, s: operators.category_attention(q, categories, s, heads=2, group=4, count=3),
        (qkv, scale),
    )


@pytest.mark.parametrize("shifted", [False, True])
def test_inference_leaves_nothing_behind_that_training_cannot_use(
    monkeypatch: pytest.MonkeyPatch, shifted: bool
) -> None:
    monkeypatch.setattr(attention, "_constants", {})
    qkv, table = torch.randn(1, 16, 16, 12), torch.randn(15**2, 2, requires_grad=True)
    with torch.inference_mode():
        attention.window_attention(qkv, table, 8, shifted)
    attention.window_attention(qkv, table, 8, shifted).sum().backward()
    assert table.grad is not None
    assert len(attention._constants) == 1 + shifted
