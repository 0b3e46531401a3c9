"""Tiles cover a picture, fade into each other, and change nothing that needs no context."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from atdsr.inference.tiles import Span, join_rows, spans


@st.composite
def axes(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """Length, tile, overlap and step as `spans` takes them."""
    step = draw(st.integers(1, 16))
    tile = step * draw(st.integers(2, 8))
    return draw(st.integers(1, 1000)), tile, draw(st.integers(0, tile // 2)), step


@settings(deadline=None)
@given(axes())
def test_an_axis_is_covered_by_spans_whose_weights_add_up_to_one(axis: tuple[int, int, int, int]):
    length, tile, overlap, step = axis
    total = torch.zeros(2 * length, dtype=torch.float64)
    for span in spans(length, tile, overlap, step):
        assert span.start % step == 0
        assert span.start <= span.fade_in[0] <= span.fade_in[1]
        assert span.fade_in[1] <= span.fade_out[0] <= span.fade_out[1] <= span.stop
        assert span.stop - span.start <= tile
        total[2 * span.fade_in[0] : 2 * span.fade_out[1]] += span.weights(2, total)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)


@settings(deadline=None)
@given(axes())
def test_neighbours_overlap_as_asked_and_their_outer_quarters_are_thrown_away(
    axis: tuple[int, int, int, int],
):
    length, tile, overlap, step = axis
    of_axis = spans(length, tile, overlap, step)
    for first, second in pairwise(of_axis):
        assert first.stop - second.start >= overlap
        assert second.fade_in[0] - second.start >= overlap // 4
        assert first.stop - first.fade_out[1] >= overlap // 4
        assert first.fade_out == second.fade_in


def test_a_short_axis_is_one_span():
    assert spans(48, 48, 16, 16) == [Span(0, 48, (0, 0), (48, 48))]


def test_the_fewest_tiles_are_spread_evenly_over_a_long_axis():
    starts = [span.start for span in spans(200, 64, 16, 16)]
    assert starts == [0, 48, 96, 144]
    starts = [span.start for span in spans(209, 64, 16, 16)]
    assert starts == [0, 32, 80, 112, 160]


def test_what_needs_no_context_comes_out_as_without_tiles():
    image = torch.rand(2, 3, 70, 101, dtype=torch.float64)

    def nearest(rows: slice, columns: slice) -> Tensor:
        return F.interpolate(image[..., rows, columns], scale_factor=3, mode="nearest")

    out = torch.full((2, 3, 210, 303), torch.nan, dtype=torch.float64)
    seen = 0
    for top, part in join_rows(spans(70, 32, 12, 8), spans(101, 32, 12, 8), 3, nearest):
        assert top == seen  # from top to bottom without a gap
        seen += part.shape[-2]
        out[..., top : top + part.shape[-2], :] = part
    assert seen == 210
    torch.testing.assert_close(out, nearest(slice(None), slice(None)), rtol=0, atol=1e-12)


def test_two_tiles_that_differ_fade_without_a_step():
    brightness = iter((0.0, 1.0))

    def flat(rows: slice, columns: slice) -> Tensor:
        shape = (1, 1, 2 * (rows.stop - rows.start), 2 * (columns.stop - columns.start))
        return torch.full(shape, next(brightness))

    ((_, out),) = join_rows(spans(16, 48, 16, 16), spans(80, 48, 16, 16), 2, flat)
    row = out[0, 0, 0]
    steps = row.diff()
    assert row[0] == 0
    assert row[-1] == 1
    assert (steps >= 0).all()
    assert steps.max() < 0.1  # 16 pixels of fading, steepest in the middle: pi / 2 / 16
