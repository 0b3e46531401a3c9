"""What an actor of Ray Data does with a row; no Ray is started here."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atdsr import imaging
from atdsr.cluster import ClusterError, NetworkSource
from atdsr.cluster.datasets import _Enlarge
from helpers.pictures import noise, png


def enlarge(source: NetworkSource, cell: Any, **options: Any) -> dict[str, Any]:
    arguments = {"factor": None, "format_name": None, **options}
    return _Enlarge(source, "picture", "large", "error", **arguments)({"picture": cell, "id": 3})


def read(content: bytes, folder: Path) -> imaging.Picture:
    (folder / "made").write_bytes(content)
    return imaging.read(folder / "made")


def test_files_keep_their_format_or_get_another(source: NetworkSource, tmp_path: Path):
    content = png(noise(3, h=6, w=8))
    row = enlarge(source, content)
    assert list(row) == ["picture", "id", "large", "error"]
    assert (row["picture"], row["id"], row["error"]) == (content, 3, "")
    assert imaging.recognise(row["large"]) == "png"
    assert read(row["large"], tmp_path).samples.shape == (12, 16, 3)
    row = enlarge(source, content, factor=1.5, format_name="webp")
    assert imaging.recognise(row["large"]) == "webp"
    assert read(row["large"], tmp_path).samples.shape == (9, 12, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_arrays_keep_their_type(source: NetworkSource, dtype: type):
    array = noise(3, h=6, w=8)
    array = (array / 255).astype(dtype) if dtype is np.float32 else array.astype(dtype)
    large = enlarge(source, array)["large"]
    assert (large.shape, large.dtype) == ((12, 16, 3), dtype)
    assert enlarge(source, array[..., 0])["large"].shape == (12, 16)


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        (b"no picture", "picture: not a picture in one of"),
        (b"", "picture: "),
        (None, "NoneType is neither bytes nor an array."),
        ("a.png", "str is neither bytes nor an array."),
    ],
)
def test_what_is_no_picture_is_told(source: NetworkSource, cell: Any, sentence: str):
    row = enlarge(source, cell)
    assert row["large"] is None
    assert row["error"].startswith(sentence)


def test_arrays_that_are_no_pictures_become_empty_ones(source: NetworkSource):
    for array in (np.zeros(4, np.uint8), np.zeros((4, 4, 7), np.uint8), np.zeros((0, 4, 3))):
        row = enlarge(source, array)
        assert row["large"].size == 0
        assert row["error"]


def test_a_row_without_the_column_is_an_error(source: NetworkSource):
    with pytest.raises(ClusterError, match="no column picture; it has photo"):
        _Enlarge(source, "picture", "large", "error", None, None)({"photo": b""})
