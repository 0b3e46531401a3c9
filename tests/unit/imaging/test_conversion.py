"""Whatever people hold comes back as what it was: the table in docs/upscaling.md, row by row."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from torch import Tensor

from atdsr import imaging
from atdsr.imaging import Picture, PictureError
from atdsr.inference import UpscaleError, Upscaler
from helpers.networks import ROOT, TINY, lively

H, W = 6, 9


def rows_of_the_table() -> Iterator[tuple[str, str, str, str, str]]:
    """Kind, shape, dtype or mode, range, and the mode that it comes back as, of every case."""
    page = (ROOT / "docs/upscaling.md").read_text()
    _, _, table = page.partition("| picture | shape |")
    for line in table.partition("\n\n")[0].splitlines()[2:]:
        kind, shapes, looks, ranges, back = (cell.strip() for cell in line.strip("|").split("|"))
        ranges = re.findall("`(.*?)`", ranges) or [""]
        for number, look in enumerate(re.findall("`(.*?)`", looks)):
            for shape in re.findall("`(.*?)`", shapes) or [""]:
                same = look if back.startswith("the same") else back.removeprefix("as ").strip("`")
                yield kind, shape, look, ranges[min(number, len(ranges) - 1)], same


CASES = list(rows_of_the_table())


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler(lively(TINY), device="cpu")


def levels(shape: tuple[int, ...], span: str) -> np.ndarray:
    """Numbers over a whole range."""
    low, high = map(float, (span or "0 255").split())
    values = low + (high - low) * np.random.default_rng(0).random(shape)
    values.flat[:2] = low, high
    return values


def made(kind: str, shape: str, look: str, span: str) -> Any:
    """A picture of a case."""
    if kind == "Pillow image":
        values = levels((H, W), span).round()
        if look.startswith("I"):
            order = {"I;16B": ">u2", "I": "=i4"}.get(look, "<u2")
            return Image.frombytes(look, (W, H), values.astype(order).tobytes())
        if look == "F":
            return Image.fromarray(levels((H, W), span).astype(np.float32))
        if look == "LAB":
            return Image.new("LAB", (W, H), (128, 20, 30))
        return Image.fromarray(levels((H, W, 3), span).astype(np.uint8)).convert(look)
    sides = {"b": 2, "c": 3, "h": H, "w": W}
    size = tuple(sides[side] if side in sides else int(side) for side in shape.split())
    values = levels(size, span)
    if kind == "PyTorch tensor":
        return torch.from_numpy(values).to(getattr(torch, look))
    array = values.astype(look)
    return Picture(array) if "Picture" in kind else array


def enlarged(shape: tuple[int, ...], kind: str) -> tuple[int, ...]:
    rows = len(shape) - 2 if kind == "PyTorch tensor" else 0
    return tuple(2 * side if at in (rows, rows + 1) else side for at, side in enumerate(shape))


def test_the_table_was_found() -> None:
    assert len(CASES) == 2 * 5 + 3 * 5 + 3 * 2 + 3 * 4 + 20 + 4 * 2
    assert len({case[0] for case in CASES}) == 4


@pytest.mark.parametrize("case", CASES, ids=" ".join)
@pytest.mark.parametrize("together", [False, True])
def test_every_row_of_the_table(
    upscaler: Upscaler, case: tuple[str, str, str, str, str], together: bool
) -> None:
    kind, _, look, span, back = case
    picture = made(*case[:4])
    out = upscaler.batch([picture, picture])[1] if together else upscaler(picture)
    assert type(out) is type(picture)
    if kind == "Pillow image":
        assert out.mode == back
        assert out.size == (2 * W, 2 * H)
        out = np.array(out.getchannel(0) if look in ("RGB", "P") else out)
    elif "Picture" in kind:
        assert out.samples.shape == enlarged(picture.samples.shape, kind)
        out = out.samples
    else:
        assert tuple(out.shape) == enlarged(tuple(picture.shape), kind)
        assert out.dtype == picture.dtype
        out = out.double().numpy() if isinstance(out, Tensor) else out
    low, high = map(float, (span or "0 255").split())
    assert out.min() >= low
    assert high / 2 < out.max() <= high  # the range that it came in


def forms_of(rgb: np.ndarray) -> dict[str, tuple[Any, Callable[[Any], np.ndarray]]]:
    """The same 8-bit picture h w 3 in many forms, and what makes samples in [0, 1] of each."""
    chw = torch.from_numpy(rgb.transpose(2, 0, 1).copy())

    def planes(image: Tensor) -> np.ndarray:
        return image.reshape(image.shape[-3:]).permute(1, 2, 0).double().numpy()

    return {
        "uint8": (rgb, lambda out: out / 255),
        "uint16": (rgb.astype(np.uint16) * 257, lambda out: out / 65535),
        ">u2": ((rgb.astype(np.uint16) * 257).astype(">u2"), lambda out: out / 65535),
        "float32": ((rgb / 255).astype(np.float32), np.asarray),
        "float64": (rgb / 255, np.asarray),
        ">f8": ((rgb / 255).astype(">f8"), np.asarray),
        "backwards": ((rgb / 255)[::-1, ::-1], lambda out: out),
        "c h w": (chw / 255, planes),
        "b c h w": (chw.double()[None] / 255, planes),
        "c h w uint8": (chw, lambda out: planes(out) / 255),
        "b c h w uint8": (chw[None], lambda out: planes(out) / 255),
        "PIL": (Image.fromarray(rgb), lambda out: np.array(out) / 255),
    }


@pytest.mark.parametrize("channels", [3, 4])
def test_all_forms_give_one_result(upscaler: Upscaler, channels: int) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (7, 11, channels), np.uint8)
    if channels == 4:  # smooth: where it overshoots, integers are clamped after each axis
        rgb[..., 3] = np.add.outer(np.arange(60, 130, 10), np.arange(11))
    expected = upscaler(rgb.astype(np.uint16) * 257) / 65535
    for name, (picture, samples) in forms_of(rgb).items():
        out = upscaler(picture)
        wanted = upscaler(rgb[::-1, ::-1]) / 255 if name == "backwards" else expected
        coarse = 1 / 255 if "uint8" in name or name in ("backwards", "PIL") else 0.0001
        difference = np.abs(samples(out)[..., :3] - wanted[..., :3]).max()
        assert difference < coarse, name
        if channels == 4:  # 8 bits round alpha twice on the way
            assert np.abs(samples(out)[..., 3] - wanted[..., 3]).max() < 0.005, name
        if isinstance(picture, np.ndarray):
            assert out.dtype == picture.dtype


def test_bytes_of_tensors_and_arrays_are_the_same(upscaler: Upscaler) -> None:
    batch = torch.randint(0, 256, (3, 4, 7, 11), dtype=torch.uint8)
    for size in (None, (15, 9)):
        out = upscaler(batch, size=size)
        for one, picture in zip(out, batch, strict=True):
            alone = upscaler(picture.permute(1, 2, 0).numpy(), size=size)
            # a batch is multiplied in another order: at a tie of rounding a level may differ
            assert np.abs(one.permute(1, 2, 0).numpy().astype(int) - alone).max() <= 1


def test_floats_are_not_rounded(upscaler: Upscaler) -> None:
    gray = np.random.default_rng(0).random((7, 11))
    out = upscaler(gray)
    assert not np.allclose(out * 65535, (out * 65535).round(), atol=0.01)
    with torch.inference_mode():
        image = torch.from_numpy(gray).float().expand(1, 3, -1, -1)
        expected = imaging.gray_from_rgb(upscaler.model(image).clamp(0, 1))
    assert np.allclose(out, expected[0, 0].numpy(), rtol=0, atol=1e-6)


def test_floats_a_little_outside_are_not_clamped_before_the_network(upscaler: Upscaler) -> None:
    image = torch.rand(1, 3, 8, 8) * 1.6 - 0.3
    with torch.inference_mode():
        expected = upscaler.model(image).clamp(0, 1)
    assert torch.equal(upscaler(image), expected)
    assert torch.equal(upscaler(image, size=(8, 8)), image.clamp(0, 1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_alpha_of_floats(upscaler: Upscaler, dtype: torch.dtype) -> None:
    image = torch.zeros(2, 4, 12, 12, dtype=dtype)
    image[..., 4:8, 4:8] = 1
    image[:, :3, :4] = 0.5  # under alpha 0
    out = upscaler(image)
    assert out.dtype == dtype
    assert out[:, 3, 10:14, 10:14].eq(1).all()
    assert out[:, 3, :4].eq(0).all()
    clean = image.clone()
    clean[:, :3, :4] = 0
    assert torch.equal(upscaler(clean), out)


def test_lab_is_colour(upscaler: Upscaler) -> None:
    rgb = Image.new("RGB", (8, 6), (200, 60, 90))
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(rgb, *profiles, outputMode="LAB")
    assert lab is not None
    back = imaging.from_pil(lab).samples
    assert np.abs(back.astype(int) - np.array(rgb)).max() <= 3


def test_a_float_image_keeps_what_its_file_says(upscaler: Upscaler) -> None:
    image = Image.new("F", (8, 4), 99.5)
    image.info["dpi"] = (300, 300)
    image.getexif()[274] = 6  # lies on its side
    out = upscaler(image)
    assert out.size == (8, 16)
    assert out.info["dpi"] == (300, 300)


def test_a_batch_of_one_kind(upscaler: Upscaler) -> None:
    image = torch.rand(2, 3, 5, 8)
    made = upscaler.batch([image, image[:1]])
    assert [out.shape[0] for out in made] == [2, 1]
    assert torch.allclose(made[0][:1], made[1], atol=1e-5)
    with pytest.raises(UpscaleError, match="of one size"):
        upscaler.batch([image, image[..., :4]])
    with pytest.raises(UpscaleError, match="of one size"):
        upscaler.batch([np.zeros((4, 4), np.uint8), np.zeros((4, 4))])


def test_room_for_two_dimensions(upscaler: Upscaler) -> None:
    gray = np.random.default_rng(0).integers(0, 256, (5, 8), np.uint8)
    room = np.empty((10, 16), np.uint8)
    assert np.array_equal(upscaler(gray, out=room), upscaler(gray))
    assert np.array_equal(room, upscaler(gray))
    with pytest.raises(UpscaleError, match="leave it out"):
        upscaler(gray / 255, out=room)


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_a_transparent_level_of_16_bits_is_alpha(upscaler: Upscaler, mode: str) -> None:
    levels = np.full((6, 8), 40_000, np.uint16)
    levels[2:4] = 7
    kind = ">u2" if mode == "I;16B" else "<u2"
    image = Image.frombytes(mode, (8, 6), levels.astype(kind).tobytes())
    image.info["transparency"] = 7
    picture = imaging.from_pil(image)
    assert np.array_equal(picture.samples[..., 1] == 0, levels == 7)
    assert np.array_equal(picture.samples[..., 0], levels)
    assert upscaler(image).mode == "LA"


def test_nothing_is_no_picture(upscaler: Upscaler) -> None:
    with pytest.raises(PictureError, match="0x3 pixels is empty"):
        upscaler(Image.new("RGB", (0, 3)))
    with pytest.raises(UpscaleError, match="a batch has at least one picture"):
        upscaler.batch([])
