"""The counting sort on GPUs against PyTorch's stable sort."""

import pytest
import torch
from torch import Tensor

from atdsr.network import operators
from atdsr.network.kernels import gpu
from helpers.gpu_tests import DEVICE

sorting = pytest.importorskip("atdsr.network.kernels.gpu.sorting")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def sorted_by(categories: Tensor, count: int) -> Tensor:
    with gpu.interpreted():
        return sorting.sort_by_category(categories.to(DEVICE, torch.int32), count).cpu()


def expected(categories: Tensor) -> Tensor:
    return categories.sort(dim=1, stable=True).indices.int()


@pytest.mark.parametrize("count", [1, 64, 128, 1000])
@pytest.mark.parametrize("n", [1, 128, 300])
def test_random(n: int, count: int) -> None:
    categories = torch.randint(0, count, (2, n))
    assert torch.equal(sorted_by(categories, count), expected(categories))


@pytest.mark.parametrize("category", [0, 5, 63])
def test_ties_go_by_position(category: int) -> None:
    categories = torch.full((2, 200), category)
    assert torch.equal(
        sorted_by(categories, 64), torch.arange(200, dtype=torch.int32).expand(2, -1)
    )


def test_descending() -> None:
    categories = torch.arange(299, -1, -1)[None] // 7
    assert torch.equal(sorted_by(categories, 43), expected(categories))


def test_a_view_that_is_not_contiguous() -> None:
    categories = torch.randint(0, 9, (150, 3)).T
    assert torch.equal(sorted_by(categories, 9), expected(categories))


def test_as_an_operator() -> None:
    categories = torch.randint(0, 5, (2, 20), dtype=torch.int32, device=DEVICE)
    with gpu.interpreted():
        torch.library.opcheck(torch.ops.atdsr.sort_by_category.default, (categories, 5))
        compiled = torch.compile(operators.sort_by_category, backend="aot_eager", fullgraph=True)
        assert torch.equal(compiled(categories, 5).cpu(), expected(categories.cpu()))
