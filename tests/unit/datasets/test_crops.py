"""Crops: pure functions of the seed and their numbers, in main memory and on a device."""

import math
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atdsr import datasets
from atdsr.datasets import Crops, DataError, PackConfig, PackedSet
from helpers.packing import empty_set, noise_folder
from helpers.pictures import noise

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> PackedSet:
    """Seven pictures of several sizes."""
    folder = noise_folder(tmp_path_factory.mktemp("data") / "pictures", 5)
    Image.fromarray(noise(h=90, w=50, seed=7)).save(folder / "high.png")
    Image.fromarray(noise(h=49, w=170, seed=8)).save(folder / "wide.png")
    return datasets.pack(folder, folder.parent / "set", PackConfig((2, 3)))


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> PackedSet:
    """Pictures of 2x2 blocks of one colour, whose LR is every second pixel, without ringing."""
    folder = tmp_path_factory.mktemp("data") / "blocks"
    (folder / "lr").mkdir(parents=True)
    (folder / "hr").mkdir()
    for number in range(3):
        small = noise(h=36, w=42 + 12 * number, seed=number)
        Image.fromarray(small).save(folder / "lr" / f"{number}.png")
        Image.fromarray(small.repeat(2, 0).repeat(2, 1)).save(folder / "hr" / f"{number}.png")
    return datasets.pack(folder / "hr", folder / "set", PackConfig((2,), folder / "lr"))


def same(ours: tuple[torch.Tensor, ...], theirs: tuple[torch.Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("candidates", [1, 3])
@pytest.mark.parametrize("device", [None, CPU])
def test_crops_are_pure_functions_of_seed_and_number(
    packed: PackedSet, device: torch.device | None, candidates: int
) -> None:
    first, again = (Crops(packed, 3, candidates=candidates, device=device) for _ in range(2))
    again.batch(range(2), 16)  # what was asked before does not matter
    assert same(first.batch(range(20, 24), 16), again.batch(range(20, 24), 16))
    assert not same(first.batch(range(20, 24), 16), first.batch(range(24, 28), 16))
    other = Crops(packed, 4, candidates=candidates, device=device)
    assert not same(first.batch(range(20, 24), 16), other.batch(range(20, 24), 16))
    lr, hr = first.batch(range(3), 16)
    assert (lr.dtype, lr.shape) == (torch.uint8, (3, 3, 16, 16))
    assert (hr.dtype, hr.shape) == (torch.uint8, (3, 3, 32, 32))
    assert lr.is_contiguous()
    assert hr.is_contiguous()


@pytest.mark.parametrize("candidates", [1, 3])
@pytest.mark.parametrize("device", [None, CPU])
def test_a_share_of_a_batch_is_a_slice_of_the_whole(
    packed: PackedSet, device: torch.device | None, candidates: int
) -> None:
    crops = Crops(packed, 0, candidates=candidates, device=device)
    whole = crops.batch(range(100, 116), 12)
    for share in (range(100, 104), range(104, 116), range(101, 116, 3), range(110, 110)):
        inside = slice(share.start - 100, share.stop - 100, share.step)
        assert same(crops.batch(share, 12), tuple(side[inside] for side in whole))


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("candidates", [1, 3])
@pytest.mark.parametrize(("hflip", "rot"), [(True, True), (False, True), (True, False)])
def test_a_device_gives_the_bits_of_the_files(
    packed: PackedSet, scale: int, hflip: bool, rot: bool, candidates: int
) -> None:
    pictures = PackedSet(packed.folder, scale)
    make = partial(Crops, pictures, 1, hflip=hflip, rot=rot, candidates=candidates)
    mapped, resident = make(), make(device=CPU)
    for patch in (1, 5, 16):
        assert same(mapped.batch(range(7, 50), patch), resident.batch(range(7, 50), patch))
    assert mapped.nbytes == resident.nbytes == pictures.lr.nbytes + pictures.hr.nbytes


def test_a_copy_on_a_device_is_made_in_parts(
    packed: PackedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atdsr.datasets.crops._COPY_BYTES", 1000)
    resident = Crops(packed, 1, device=CPU)
    assert same(resident.batch(range(50), 16), Crops(packed, 1).batch(range(50), 16))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("candidates", [1, 3])
def test_a_gpu_gives_the_bits_of_the_files(packed: PackedSet, candidates: int) -> None:
    make = partial(Crops, packed, 1, candidates=candidates)
    batch = make(device=torch.device("cuda")).batch(range(50), 16)
    assert batch[0].is_cuda
    assert same(tuple(side.cpu() for side in batch), make().batch(range(50), 16))


@pytest.mark.parametrize("scale", [2, 3])
def test_of_the_candidates_the_one_with_the_most_detail_is_taken(
    packed: PackedSet, scale: int
) -> None:
    """Against a loop over the candidates, whose places are drawn as those of single crops are."""
    pictures = PackedSet(packed.folder, scale)
    crops = Crops(pictures, 2, candidates=4, hflip=False, rot=False)
    _, hr = crops.batch(range(30), 10)
    numbers = np.arange(30)
    words = [crops._words(numbers, turn) for turn in range(4)]
    for number, picture in enumerate(crops._pictures_of(numbers)):
        whole = pictures.pair(picture)[1]
        height, width = (side // scale - 9 for side in whole.shape[:2])
        best, most = np.empty(0), -1.0
        for turn in words:
            top, left = (int(turn[number, 0] >> 32) * height, int(turn[number, 1] >> 32) * width)
            top, left = (scale * (place >> 32) for place in (top, left))
            crop = whole[top : top + 10 * scale, left : left + 10 * scale].astype(float)
            means = crop.reshape(10, scale, 10, scale, 3).mean((1, 3))
            detail = np.abs(crop - means.repeat(scale, 0).repeat(scale, 1)).sum()
            if detail > most + 1e-6:
                best, most = crop, detail
        assert np.array_equal(hr[number].permute(1, 2, 0).numpy(), best)


def test_of_candidates_with_equal_detail_the_first_is_taken(blocks: PackedSet) -> None:
    """Pictures of 2x2 blocks have no detail anywhere."""
    single, several = (Crops(blocks, 0, candidates=candidates) for candidates in (1, 5))
    assert same(several.batch(range(60), 8), single.batch(range(60), 8))


def test_an_epoch_takes_every_picture_once(tmp_path: Path) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    for value in range(5):
        Image.new("RGB", (24, 24), (value * 10,) * 3).save(folder / f"{value}.png")
    crops = Crops(datasets.pack(folder, tmp_path / "set"), 0)
    _, hr = crops.batch(range(10_000), 8)
    epochs = hr[:, 0, 0, 0].view(-1, 5)
    assert (epochs.sort(dim=1).values == torch.tensor([0, 10, 20, 30, 40])).all()
    counts = np.unique(epochs.numpy(), axis=0, return_counts=True)[1]
    assert len(counts) == math.factorial(5)  # every order, about as often
    assert 2 < counts.min() <= counts.max() < 40


@pytest.mark.parametrize(
    ("hflip", "rot", "kinds"),
    [(True, True, 8), (True, False, 2), (False, True, 4), (False, False, 1)],
)
def test_lr_and_hr_of_a_crop_are_one_place_in_one_orientation(
    blocks: PackedSet, hflip: bool, rot: bool, kinds: int
) -> None:
    """Each crop is found in a picture, in one orientation; HR is LR with pixels repeated."""
    crops = Crops(blocks, 0, hflip=hflip, rot=rot)
    lr, hr = crops.batch(range(240), 36)  # as high as the pictures: only `left` is free
    assert torch.equal(hr, lr.repeat_interleave(2, 2).repeat_interleave(2, 3))
    turns = {
        _turned(small[:, left : left + 36], orientation).tobytes(): orientation
        for small in (blocks.pair(number)[0] for number in range(3))
        for left in range(small.shape[1] - 35)
        for orientation in range(8)
    }
    seen = Counter(turns[crop.tobytes()] for crop in lr.permute(0, 2, 3, 1).numpy())
    allowed = (1 if hflip else 0) | (6 if rot else 0)
    assert all(orientation & ~allowed == 0 for orientation in seen)
    assert len(seen) == kinds
    assert min(seen.values()) > 240 / kinds / 3


def _turned(crop: np.ndarray, orientation: int) -> np.ndarray:
    if orientation & 1:
        crop = crop[:, ::-1]
    if orientation & 2:
        crop = crop[::-1]
    return crop.swapaxes(0, 1) if orientation & 4 else crop


def test_every_place_of_a_picture_is_drawn(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    ramp = np.arange(24 * 24, dtype=np.uint16).reshape(24, 24)
    picture = np.stack((ramp // 24, ramp % 24, ramp * 0), 2).astype(np.uint8)
    Image.fromarray(picture).save(folder / "a.png")
    packed = datasets.pack(folder, tmp_path / "set")
    _, hr = Crops(packed, 0, hflip=False, rot=False).batch(range(3000), 8)
    tops, counts = np.unique(hr[:, 0, 0, 0].numpy(), return_counts=True)
    lefts = np.unique(hr[:, 1, 0, 0].numpy())
    assert tops.tolist() == lefts.tolist() == [0, 2, 4, 6, 8]
    assert 500 < counts.min() <= counts.max() < 700


def test_numbers_and_offsets_beyond_32_bits(tmp_path: Path) -> None:
    """The last picture begins after 26 GB of a file with holes; a mark in it is found."""
    packed = empty_set(tmp_path / "set", [(360_000_000, 24), (24, 24)])
    with (packed.folder / "hr.bin").open("r+b") as file:
        file.seek(3 * packed.records[1].offset)
        file.write(b"\7" * 24 * 24 * 3)
    crops = Crops(packed, 0)
    for first in (0, 2**31, 2**40):
        _, hr = crops.batch(range(first, first + 4), 12)
        assert sorted(hr.flatten(1).amin(1).tolist()) == [0, 0, 7, 7]


def test_a_picture_that_is_smaller_than_a_crop(packed: PackedSet) -> None:
    crops = Crops(packed, 0)
    crops.check(24)
    crops.batch(range(4), 24)
    with pytest.raises(DataError, match=r"\.png is \d+x48, smaller than a crop of 50x50; take it"):
        crops.check(25)
    with pytest.raises(DataError, match="smaller than a crop"):
        crops.batch(range(4), 25)


def test_a_device_that_is_too_small(packed: PackedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(DataError, match=r"do not fit into the memory of cpu, .* KiB more are need"):
        Crops(packed, 0, device=CPU)


def test_the_random_numbers_are_those_of_every_release(packed: PackedSet) -> None:
    """A run that was begun with another release goes on with the same crops."""
    crops = Crops(packed, 5)
    assert crops._order(0).tolist() == [3, 6, 2, 4, 5, 0, 1]
    assert crops._order(1).tolist() == [2, 6, 1, 4, 5, 0, 3]
    first, second = crops._words(np.array([3, 4]), 0)[:, 0].tolist()
    assert (first, second) == (0x490257DB9CE3B517, 0x56D2D7A4F56ECF82)


# ------------------------------------------------------------------------------ for restoration


def test_crops_without_lr_are_pairs_of_equals(packed: PackedSet) -> None:
    pictures = PackedSet(packed.folder, 1)
    lr, hr = Crops(pictures, 3).batch(range(20), 17)
    assert lr.shape == hr.shape == (20, 3, 17, 17)
    assert torch.equal(lr, hr)
    resident = Crops(pictures, 3, device=CPU)
    assert same(resident.batch(range(20), 17), (lr, hr))


def test_numbers_may_come_in_any_order(packed: PackedSet) -> None:
    crops = Crops(packed, 3)
    lr, hr = crops.batch(range(40, 60), 12)
    order = [7, 0, 19, 7]
    assert same(crops.batch([40 + place for place in order], 12), (lr[order], hr[order]))


def test_gray_crops(packed: PackedSet) -> None:
    pictures = PackedSet(packed.folder, 1)
    colour, gray = Crops(pictures, 3), Crops(pictures, 3, gray=True)
    _, rgb = colour.batch(range(20), 16)
    lr, hr = gray.batch(range(20), 16)
    assert (hr.dtype, hr.shape) == (torch.uint8, (20, 1, 16, 16))
    assert torch.equal(lr, hr)
    for crop, expected in zip(hr, rgb, strict=True):
        image = Image.fromarray(expected.permute(1, 2, 0).numpy()).convert("L")
        assert np.array_equal(crop[0].numpy(), np.asarray(image))


def test_what_is_gray_stays_as_it_is() -> None:
    levels = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)
    assert torch.equal(datasets.gray_from_rgb(levels), levels[:, :1])
