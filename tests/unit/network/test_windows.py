"""Windows against loops over pixels."""

import pytest
import torch

from atdsr.network import windows


@pytest.mark.parametrize("side", [2, 4, 16])
def test_merge_undoes_partition(side: int) -> None:
    x = torch.randn(2, 3 * side, side, 5, dtype=torch.float64)
    cut = windows.partition(x, side)
    assert cut.shape == (2, 3, 1, side * side, 5)
    assert torch.equal(windows.merge(cut, side), x)


def test_a_window_holds_its_own_pixels_in_reading_order() -> None:
    x = torch.arange(6 * 4).reshape(1, 6, 4, 1)
    cut = windows.partition(x, 2)
    assert cut[0, 2, 1, :, 0].tolist() == [18, 19, 22, 23]


def test_unshift_undoes_shift() -> None:
    x = torch.randn(1, 8, 12, 3)
    shifted = windows.shift(x, 4)
    assert torch.equal(shifted[0, 0, 0], x[0, 2, 2])
    assert torch.equal(windows.unshift(shifted, 4), x)


def test_position_index_counts_query_minus_key() -> None:
    side = 4
    index = windows.position_index(side)
    for query in range(side * side):
        for key in range(side * side):
            dy = query // side - key // side
            dx = query % side - key % side
            expected = (dy + side - 1) * (2 * side - 1) + (dx + side - 1)
            assert index[query, key] == expected


def test_penalties_part_what_only_the_roll_brought_together() -> None:
    side, half = 4, 2
    penalties = windows.shift_penalties(side)
    for last_row in (0, 1):
        for last_column in (0, 1):
            for query in range(side * side):
                for key in range(side * side):
                    apart = (last_row and (query // side < half) != (key // side < half)) or (
                        last_column and (query % side < half) != (key % side < half)
                    )
                    expected = windows.SHIFT_PENALTY if apart else 0.0
                    assert penalties[last_row, last_column, query, key] == expected
