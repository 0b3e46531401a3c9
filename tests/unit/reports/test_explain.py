"""What `explain` says a layer did is what the layer did."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from atdsr.network.attention import split_heads
from atdsr.network.model import ATD, Layer
from atdsr.reports import explain
from atdsr.reports.explain import colours, figures, trace
from atdsr.reports.explain.figures import View
from helpers.networks import TINY, lively

HEIGHT, WIDTH = 20, 37  # padded to 32 x 48: 1536 tokens
LAYERS = ["0.0", "0.1", "1.0", "1.1"]  # x.1 are shifted, and refine nothing
# runs of 256 fit; of 200 and 1000 the last is short, completed from itself or from further back
GROUPS = [256, 200, 1000, 5000]


def network(group: int = 256) -> ATD:
    return lively(replace(TINY, category_size=group)).double()


def picture(height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 3, height, width, generator=generator, dtype=torch.float64)


def outputs(model: ATD, name: str, part: str) -> tuple[trace.Trace, Any]:
    """The trace of a layer, and what one part of it gave in a pass of its own.

    For the attentions to windows and to categories it is what enters the projection.
    """
    kept: list[Any] = []
    layer = trace.record(model, picture(), name).layer
    module = getattr(layer, part)
    if hasattr(module, "proj"):
        hook = module.proj.register_forward_pre_hook(lambda _m, inputs: kept.append(inputs[0]))
    else:
        hook = module.register_forward_hook(lambda _m, _i, out: kept.append(out))
    recorded = trace.record(model, picture(), name)
    hook.remove()
    return recorded, kept[0]


def attended_values(recorded: trace.Trace, heads: int, attended: trace.Attended) -> Tensor:
    _, _, v = split_heads(recorded.qkv.flatten(0, 1), heads)  # heads n d
    return (attended.weights[:, None] @ v[:, attended.tokens]).flatten()


# -------------------------------------------------------------------------------------- traces


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("name", LAYERS)
def test_category_attention_gives_the_output_of_the_layer(name: str, group: int):
    recorded, out = outputs(network(group), name, "category")
    order = recorded.categories.flatten().sort(stable=True).indices.tolist()
    part = recorded.layer.category
    for token in {*range(0, 1536, 311), *order[:2], *order[-300::67], order[-1]}:
        attended = recorded.category_attention(token)
        ours = attended_values(recorded, part.heads, attended)
        torch.testing.assert_close(ours, out[0].flatten(0, 1)[token], rtol=0, atol=1e-10)
        assert token in attended.tokens
        assert len(attended.tokens.unique()) == len(attended.tokens)
        torch.testing.assert_close(
            attended.weights.sum(-1), torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("name", LAYERS)
def test_window_attention_gives_the_output_of_the_layer(name: str):
    recorded, out = outputs(network(), name, "window")
    assert recorded.layer.window.shifted == name.endswith("1")
    for token in {*range(0, 1536, 53), 0, 47, 1535, 31 * 48}:
        x, y = recorded.place(token)
        ours = attended_values(recorded, 2, recorded.window_attention(token))
        torch.testing.assert_close(ours, out[0, y, x], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", LAYERS)
def test_categories_are_the_argmax_of_the_map(name: str):
    recorded, (_, similarity) = outputs(network(), name, "dictionary")
    assert torch.equal(recorded.categories, similarity.argmax(-1).view(32, 48))


def test_the_dictionaries_are_those_of_the_block():
    model = network()
    first, last = (trace.record(model, picture(), name) for name in ("1.0", "1.1"))
    assert torch.equal(first.learned, model.blocks[1].dictionary)  # type: ignore[union-attr]
    assert torch.equal(first.dictionary, first.learned)
    assert first.refined is not None
    assert torch.equal(last.dictionary, first.refined)
    assert not torch.equal(last.dictionary, last.learned)
    assert last.refined is None


@pytest.mark.parametrize(("x", "y"), [(0, 0), (30, 5), (17, 12), (35, 18)])
def test_a_token_is_the_pixel_it_stands_for(x: int, y: int):
    model = network()
    changed = picture()
    changed[..., y, x] += 0.5
    before, after = (trace.record(model, p, "0.0").qkv for p in (picture(), changed))
    moved = (before != after).any(-1)[:HEIGHT, :WIDTH]  # a convolution of 3 x 3 is all there was
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    assert torch.equal(moved, torch.from_numpy((abs(rows - y) <= 1) & (abs(columns - x) <= 1)))
    recorded = trace.record(model, picture(), "0.0")
    token = recorded.token(x, y)
    assert recorded.place(token) == (x, y)
    assert torch.equal(recorded.qkv.flatten(0, 1)[token], before[y, x])


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_alike_and_far_is_a_sum_over_the_attention(group: int):
    recorded = trace.record(network(group), picture(), "0.1")
    surroundings = torch.randn(HEIGHT, WIDTH, 4, dtype=torch.float64)
    ours = recorded.alike_and_far(surroundings)
    categories = recorded.categories.flatten()
    for token in [recorded.token(x, y) for x in range(0, WIDTH, 7) for y in range(0, HEIGHT, 6)]:
        x, y = recorded.place(token)
        attended = recorded.category_attention(token)
        total = 0.0
        for other, weight in zip(attended.tokens.tolist(), attended.weights.mean(0), strict=True):
            u, v = recorded.place(other)
            far = np.hypot(u - x, v - y) > WIDTH / 8
            if u < WIDTH and v < HEIGHT and far and categories[other] == categories[token]:
                total += float(weight * (surroundings[y, x] @ surroundings[v, u]).clamp(min=0))
        assert float(ours[y, x]) == pytest.approx(total, abs=1e-12)


def test_structure():
    flat = torch.zeros(40, 40, dtype=torch.int64)
    halves = flat.clone()
    halves[20:] = 1
    quarters = halves.clone()
    quarters[:, 20:] += 2
    noise = torch.randint(4, (400, 400), generator=torch.Generator().manual_seed(0))
    assert trace.structure(flat, 4) == pytest.approx(0, abs=1e-12)
    assert trace.structure(noise, 4) < 0.01
    assert trace.structure(halves, 4) == pytest.approx(np.log(2), abs=0.1)
    assert trace.structure(quarters, 4) == pytest.approx(np.log(4), abs=0.2)
    assert trace.structure(flat[:1, :1], 4) == 0


def test_the_layer_by_default_has_the_most_structure():
    model = network()
    by_name = {name: trace.record(model, picture(), name) for name in LAYERS}
    structures = {
        name: trace.structure(recorded.categories[:HEIGHT, :WIDTH], 8)
        for name, recorded in by_name.items()
    }
    chosen = trace.record(model, picture())
    assert structures[chosen.name] == max(structures.values())
    assert torch.equal(chosen.similarity, by_name[chosen.name].similarity)


def test_nothing_runs_after_the_layer_asked_for_and_nothing_stays_behind():
    model = network()
    ran: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, Layer):
            module.register_forward_hook(lambda _m, _i, _o, name=name: ran.append(name))
    shares: list[float] = []
    trace.record(model, picture(), "0.1", shares.append)
    assert ran == ["blocks.0.layers.0", "blocks.0.layers.1"]
    assert shares == [1]
    shares.clear()
    trace.record(model, picture(), None, shares.append)
    assert shares == [0.25, 0.5, 0.75, 1]
    kept = [len(module._forward_hooks) for module in model.modules()]
    assert sum(kept) == len(LAYERS)  # those of this test


def test_a_layer_that_is_not_there():
    with pytest.raises(explain.ExplainError, match=r"no layer 2\.0; .* 2 blocks .* 0\.0 to 0\.1"):
        trace.record(network(), picture(), "2.0")


# ------------------------------------------------------------------------------------- colours


def test_oklab():
    known = {(255, 255, 255): (1, 0, 0), (255, 0, 0): (0.6280, 0.2249, 0.1258)}
    for rgb, lab in known.items():  # from Ottosson's page
        np.testing.assert_allclose(colours.to_oklab(np.array(rgb)), lab, atol=2e-4)
    rgb = np.random.default_rng(0).integers(0, 256, (1000, 3), np.uint8)
    np.testing.assert_array_equal(colours.from_oklab(colours.to_oklab(rgb)), rgb)
    assert colours.from_oklab(np.array([1.2, 0, 0])).tolist() == [255, 255, 255]


@pytest.mark.parametrize(("count", "width"), [(1, 1), (2, 3), (64, 8), (128, 20), (300, 2)])
def test_no_two_tokens_have_one_colour(count: int, width: int):
    rng = np.random.default_rng(count)
    vectors, shares, light = rng.normal(size=(count, width)), rng.random(count), rng.random(count)
    shares[::3] = 0
    made = colours.token_colours(vectors, shares / max(shares.sum(), 1), light)
    again = colours.token_colours(vectors, shares / max(shares.sum(), 1), light)
    np.testing.assert_array_equal(made, again)
    lab = colours.to_oklab(made)
    distances = np.linalg.norm(lab[:, None] - lab, axis=-1) + 9 * np.eye(count)
    assert distances.min() > (0.05 if count <= 128 else 0.02)


def test_similar_tokens_look_similar():
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.normal(size=(4, 8)), 8, axis=0)
    vectors = centres + 0.05 * rng.normal(size=centres.shape)
    light = np.repeat(rng.random(4), 8) + 0.01 * rng.random(32)
    lab = colours.to_oklab(colours.token_colours(vectors, np.full(32, 1 / 32), light))
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    same = np.repeat(np.arange(4), 8)[:, None] == np.repeat(np.arange(4), 8)
    assert distances[same].mean() < 0.7 * distances[~same].mean()


def test_lighter_tokens_look_lighter():
    rng = np.random.default_rng(0)
    light = rng.permutation(40) / 40
    made = colours.token_colours(rng.normal(size=(40, 8)), np.full(40, 1 / 40), light)
    assert np.corrcoef(colours.to_oklab(made)[:, 0], light)[0, 1] > 0.85


def test_the_order_by_similarity_finds_a_chain():
    angles = np.linspace(0, np.pi / 2, 12)
    shuffled = np.random.default_rng(3).permutation(12)
    order = colours.by_similarity(np.column_stack([np.cos(angles), np.sin(angles)])[shuffled])
    found = shuffled[order].tolist()
    assert found in (list(range(12)), list(range(11, -1, -1)))


# ------------------------------------------------------------------------------------ pictures


def view(height: int = HEIGHT, width: int = WIDTH, name: str | None = None) -> View:
    image = picture(height, width)
    photo = (image[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    return View(trace.record(network(), image, name), photo)


def test_shares_count_the_pixels_of_the_picture_alone():
    seen = view(17, 33, "0.0")
    assert seen.categories.shape == (17, 33)
    assert seen.shares.sum() == pytest.approx(1)
    token = seen.largest[0]
    assert seen.shares[token] == (seen.categories == token).mean()
    assert seen.shares[seen.largest].tolist() == sorted(seen.shares[seen.largest].tolist())[::-1]
    assert 0 not in seen.shares[seen.largest]
    np.testing.assert_array_equal(seen.map[3, 5], seen.colours[seen.categories[3, 5]])


def test_typical_places_lie_in_the_mask_and_apart():
    mask = np.zeros((80, 120), bool)
    mask[10:30, 10:110] = True
    mask[70, 5] = True
    places = figures._typical_places(mask, 5)
    assert 3 <= len(places) <= 5
    assert all(mask[y, x] for x, y in places)
    for i, (x, y) in enumerate(places):
        assert all(max(abs(x - u), abs(y - v)) >= 9 for u, v in places[:i])
    assert figures._typical_places(~np.ones((5, 5), bool), 3) == []


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (70, 2), (16, 16)])
@pytest.mark.parametrize("name", ["0.0", "1.1"])
def test_any_size_can_be_drawn(size: tuple[int, int], name: str):
    seen = view(*size, name)
    x, y = seen.most_telling_pixel()
    assert 0 <= x < size[1]
    assert 0 <= y < size[0]
    for sheet in (
        figures.categories(seen),
        figures.masks(seen),
        figures.attention(seen, size[1] - 1, size[0] - 1),
        figures.dictionary(seen),
    ):
        assert min(sheet.size) > 50


@pytest.mark.parametrize(("long", "short"), [(600, 512), (513, 512), (4000, 37), (7, 7)])
def test_a_place_in_a_reduced_picture_and_back(long: int, short: int):
    back = [explain._moved((p, p), (short, short), (long, long)) for p in range(short)]
    assert all(0 <= x < long for x, _ in back)
    there = [explain._moved(place, (long, long), (short, short)) for place in back]
    assert there == [(p, p) for p in range(short)]
    assert explain._moved((long - 1, 0), (long, long), (short, short)) == (short - 1, 0)
