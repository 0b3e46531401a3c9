"""Packed sets and crops."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atdsr import data, pixels
from atdsr.data import CropSampler, DataError, PackedSet
from atdsr.resample import downscale


def picture(h: int, w: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three RGB pictures and a gray one, some in a folder inside."""
    folder = tmp_path / "pictures"
    (folder / "inner").mkdir(parents=True)
    Image.fromarray(picture(50, 61)).save(folder / "a.png")
    Image.fromarray(picture(48, 48, 1)).save(folder / "inner" / "b.png")
    Image.fromarray(picture(70, 49, 2)[..., 0]).save(folder / "c.png")
    wide = picture(48, 48, 3).astype(np.uint16) * 257
    pixels.write(pixels.Picture(wide), folder / "d.png")
    (folder / "notes.txt").write_text("not a picture")
    return folder


def test_a_packed_set_holds_the_pictures_and_their_reductions(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    data.pack(folder, out, scales=(2, 3))
    packed = PackedSet(out, 3)
    assert [entry.name for entry in packed.entries] == ["a.png", "c.png", "d.png", "inner/b.png"]
    lr, hr = packed.pair(0)
    assert np.array_equal(hr, picture(50, 61)[:48, :60])
    assert np.array_equal(lr, downscale(hr, 3))
    _, gray = packed.pair(1)
    assert np.array_equal(gray, picture(70, 49, 2)[:60, :48, :1].repeat(3, axis=2))
    assert np.array_equal(packed.pair(2)[1], picture(48, 48, 3))
    assert np.array_equal(PackedSet(out, 2).pair(3)[0], downscale(picture(48, 48, 1), 2))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pictures", "set"]


def test_crops_are_pure_functions_of_seed_and_place(folder: Path, tmp_path: Path) -> None:
    packed = data.pack(folder, tmp_path / "set")
    first, again = (CropSampler(packed, 16, seed=3) for _ in range(2))
    again.batch(0, 2)  # what was asked before does not matter
    for a, b in zip(first.batch(5, 4), again.batch(5, 4), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.batch(5, 4)[0], first.batch(6, 4)[0])
    assert not torch.equal(first.batch(5, 4)[0], CropSampler(packed, 16, 4).batch(5, 4)[0])
    # one batch of 4 at iteration 1 is the two batches of 2 at iterations 2 and 3
    halves = torch.cat([first.batch(2, 2)[0], first.batch(3, 2)[0]])
    assert torch.equal(first.batch(1, 4)[0], halves)


def test_an_epoch_takes_every_picture_once(tmp_path: Path) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    for value in range(5):
        Image.new("RGB", (24, 24), (value * 10,) * 3).save(folder / f"{value}.png")
    crops = CropSampler(data.pack(folder, tmp_path / "set"), 8, seed=0)
    for epoch in range(3):
        _, hr = crops.batch(epoch, 5)
        assert sorted((hr[:, 0, 0, 0] * 255).round().int().tolist()) == [0, 10, 20, 30, 40]


def test_lr_and_hr_of_a_crop_belong_together_in_all_eight_orientations(tmp_path: Path) -> None:
    """With blocks of one colour the LR crop must be every second pixel of the HR crop."""
    folder = tmp_path / "blocks"
    folder.mkdir()
    blocks = picture(12, 12).repeat(12, axis=0).repeat(12, axis=1)
    Image.fromarray(blocks).save(folder / "a.png")
    packed = data.pack(folder, tmp_path / "set")
    packed._lr = blocks[::2, ::2].reshape(-1, 3)  # LR without ringing, to compare exactly
    lr, hr = CropSampler(packed, 30, seed=0).batch(0, 64)
    assert lr.shape == (64, 3, 30, 30)
    assert hr.shape == (64, 3, 60, 60)
    assert torch.equal(lr, hr[..., ::2, ::2])
    corners = {tuple(crop[0, [0, 0, -1, -1], [0, -1, 0, -1]].tolist()) for crop in lr}
    assert len(corners) > 8


def test_orientations_are_the_eight_of_a_square() -> None:
    square = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
    seen = {data._orient(square, number).tobytes() for number in range(8)}
    assert len(seen) == 8


def test_a_set_is_made_whole_or_not_at_all(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    with pytest.raises(pixels.PictureError, match=r"broken\.png"):
        data.pack(folder, tmp_path / "set")
    assert [p.name for p in tmp_path.iterdir()] == ["pictures"]


def test_what_cannot_be_packed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no pictures"):
        data.pack(tmp_path / "empty", tmp_path / "set")
    with pytest.raises(DataError, match="is no folder"):
        data.pack(tmp_path / "gone", tmp_path / "set")
    with pytest.raises(DataError, match="among 2, 3 and 4"):
        data.pack(folder, tmp_path / "set", scales=(5,))
    with pytest.raises(DataError, match="exists"):
        data.pack(folder, tmp_path / "empty")
    Image.new("RGB", (11, 40)).save(folder / "small.png")
    with pytest.raises(DataError, match=r"small\.png.*smaller than 12"):
        data.pack(folder, tmp_path / "set")
    (folder / "small.png").unlink()
    Image.new("RGBA", (40, 40)).save(folder / "clear.png")
    with pytest.raises(DataError, match=r"clear\.png.*transparency"):
        data.pack(folder, tmp_path / "set")


def test_what_is_no_packed_set(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no packed set"):
        PackedSet(folder, 2)
    data.pack(folder, tmp_path / "set")
    with pytest.raises(DataError, match=r"holds the scales \[2\]"):
        PackedSet(tmp_path / "set", 3)
    with pytest.raises(DataError, match=r"smaller than a crop of 100x100"):
        CropSampler(PackedSet(tmp_path / "set", 2), 50, 0)
    hr = tmp_path / "set" / "hr.bin"
    hr.write_bytes(hr.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"hr\.bin has"):
        PackedSet(tmp_path / "set", 2)
    (tmp_path / "set" / "index.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        PackedSet(tmp_path / "set", 2)
