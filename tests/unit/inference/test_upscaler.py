"""`Upscaler`: the same kind back, whatever the kind."""

import logging
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import atdsr
from atdsr import imaging
from atdsr.base import memory
from atdsr.imaging import resample
from atdsr.inference import budget
from atdsr.inference.config import InferenceConfig, UpscaleError, choose_device
from atdsr.inference.upscaler import Upscaler
from atdsr.weights import Weights, WeightsError, write_weights
from helpers import pictures
from helpers.networks import TINY, lively


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler(lively(TINY), device="cpu")


noise = partial(pictures.noise, h=9, w=14)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_arrays(upscaler: Upscaler, channels: int, dtype: type) -> None:
    out = upscaler(noise(channels, dtype))
    assert out.shape == (18, 28, channels)
    assert out.dtype == dtype


def test_rgb_is_the_network_rounded(upscaler: Upscaler) -> None:
    samples = noise(3)
    with torch.inference_mode():
        expected = upscaler.model(imaging.to_tensor(samples))
    assert np.array_equal(upscaler(samples), imaging.to_array(expected))


def test_gray_is_the_luma_of_what_the_network_makes_of_three_equal_channels(
    upscaler: Upscaler,
) -> None:
    gray = noise(1, np.uint16)
    with torch.inference_mode():
        rgb = upscaler.model(imaging.to_tensor(gray.repeat(3, axis=2))).clamp(0, 1)
    assert np.array_equal(upscaler(gray), imaging.to_array(imaging.gray_from_rgb(rgb), np.uint16))


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_enlarged_and_changes_no_colour(upscaler: Upscaler, channels: int) -> None:
    samples = noise(channels)
    samples[..., -1] |= 1  # nothing is wholly hidden
    out = upscaler(samples)
    assert np.array_equal(out[..., :-1], upscaler(samples[..., :-1]))
    assert np.array_equal(out[..., -1:], resample.upscale(samples[..., -1:], 2))
    samples[..., -1] = 255
    assert (upscaler(samples)[..., -1] == 255).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_tensors(upscaler: Upscaler, channels: int, dtype: torch.dtype) -> None:
    image = torch.rand(2, channels, 5, 8).to(dtype)
    out = upscaler(image)
    assert out.shape == (2, channels, 10, 16)
    assert out.dtype == dtype
    assert out.min() >= 0
    assert out.max() <= 1
    (out * torch.ones((), dtype=dtype, requires_grad=True)).sum().backward()  # a normal tensor


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("L", "L"), ("LA", "LA"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("1", "L"), ("I;16", "I;16")],
)
def test_pillow_images(upscaler: Upscaler, mode: str, expected: str) -> None:
    out = upscaler(Image.new(mode, (6, 4)))
    assert out.mode == expected
    assert out.size == (12, 8)


def test_the_colour_profile_is_kept(upscaler: Upscaler) -> None:
    profile = bytes(16) + b"RGB " + bytes(108)
    assert upscaler(imaging.Picture(noise(3), profile)).icc == profile


def test_progress_rises_to_one(upscaler: Upscaler) -> None:
    seen: list[float] = []
    upscaler(noise(3), progress=seen.append)
    assert seen == sorted(seen)
    assert len(seen) == len(upscaler.model.layers)
    assert seen[-1] == 1
    upscaler(noise(3))
    assert len(seen) == len(upscaler.model.layers)  # the hooks are gone


def test_bf16_is_close(upscaler: Upscaler) -> None:
    rounded = Upscaler(lively(TINY), device="cpu", precision="bf16")
    image = torch.rand(1, 3, 16, 16)
    out = rounded(image)
    assert out.dtype == torch.float32
    assert 0 < (out - upscaler(image)).abs().quantile(0.9) < 0.05


@pytest.mark.parametrize("multiplies", [True, False])
def test_precision_is_chosen_by_the_processor(multiplies: bool, monkeypatch) -> None:
    monkeypatch.setattr("atdsr.inference.config.multiplies_bfloat16", lambda _: multiplies)
    chosen = Upscaler(lively(TINY), device="cpu", precision="auto").config.precision
    assert chosen == ("bf16" if multiplies else "fp32")


@pytest.mark.parametrize(
    ("picture", "sentence"),
    [
        ("photo.png", r"the name of a file is not a picture; open it"),
        (None, "None is not a picture; pass a PIL image"),
        ([1, 2], "an object of type list is not a picture"),
        (torch.zeros(4), r"shape \(4,\) cannot .* b c h w, c h w or h w"),
        (torch.zeros(1, 5, 4, 4), r"\(1, 5, 4, 4\) .* 1 to 4 channels"),
        (torch.zeros(8, 8, 3), r"\(8, 8, 3\) .* permute it from h w c"),
        (torch.zeros(1, 1, 3, 4, 4), r"\(1, 1, 3, 4, 4\)"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.int64), "dtype int64 and values from 0 to 0"),
        (torch.ones(3, 4, 4, dtype=torch.bool), "dtype bool and values from 1 to 1 .* uint8, uint"),
        (torch.zeros(1, 3, 0, 4), "is empty"),
        (torch.full((3, 4, 4), torch.nan), "not finite"),
        (torch.full((3, 4, 4), 255.0), r"\[0, 1\], and these are from 255 to 255; divide"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"\(1, 4, 4, 3\) cannot .* h w c or h w"),
        (np.zeros((3, 40, 40), np.uint8), r"\(3, 40, 40\) .* transpose it from c h w"),
        (np.full((4, 4, 3), 7, np.int64), "dtype int64 and values from 7 to 7 .* uint8, uint16"),
        (np.zeros((4, 4), np.complex64), "dtype complex64 cannot be used"),
        (np.zeros((4, 4), bool), "dtype bool and values from 0 to 0"),
        (np.zeros((4, 4), np.longdouble), "dtype float128|dtype longdouble|dtype float96"),
        (np.zeros((4, 0, 3), np.float32), "is empty"),
        (np.zeros((4, 4, 5), np.uint8), "1 to 4 channels"),
        (
            np.linspace(-1, 1, 16).reshape(4, 4),
            r"\[0, 1\], and these are from -1 to 1; .* \(x \+ 1\) / 2",
        ),
        (np.array([[0.5, np.nan]]), "not finite"),
        (np.array([[0.5, np.inf]], np.float16), "not finite"),
        (Image.new("F", (4, 4), 256.0), "mode F is in 0 to 255, not 256 to 256"),
        (Image.new("F", (4, 4), -1.0), "not -1 to -1"),
        (Image.new("F", (4, 4), float("nan")), "not nan to nan"),
        (Image.new("F", (4, 4), 0.5), r"ends at 0.5; .* an array, which is in \[0, 1\]"),
        (Image.new("I", (4, 4), 65536), "mode I is in 0 to 65535, not 65536 to 65536"),
        (Image.new("I", (4, 4), -1), "not -1 to -1"),
        (Image.new("I", (4, 4), 200), "ends at 200; convert it to L"),
    ],
)
def test_what_is_no_picture(upscaler: Upscaler, picture, sentence: str) -> None:
    with pytest.raises(atdsr.AtdsrError, match=sentence):
        upscaler(picture)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_any_size(upscaler: Upscaler, channels: int, dtype: type) -> None:
    samples = noise(channels, dtype)
    out = upscaler(samples, size=(50, 33))  # twice the network, then down
    assert out.shape == (33, 50, channels)
    assert out.dtype == dtype
    assert upscaler(torch.rand(2, 3, 9, 14), size=(15, 10)).shape == (2, 3, 10, 15)


def test_a_size_is_the_network_then_the_antialiased_bicubic(upscaler: Upscaler) -> None:
    samples = noise(3)
    wide = upscaler(samples.astype(np.uint16) * 257)  # the same picture in 16 bits
    assert np.array_equal(
        upscaler(samples, size=(20, 11)), imaging.to_uint8(resample.resize(wide, 11, 20))
    )
    twice = upscaler(wide)
    assert np.array_equal(
        upscaler(samples, size=(20, 19)), imaging.to_uint8(resample.resize(twice, 19, 20))
    )


def test_the_size_that_comes_by_itself_is_not_resampled(upscaler: Upscaler) -> None:
    assert np.array_equal(upscaler(noise(3), size=(28, 18)), upscaler(noise(3)))
    image = torch.rand(1, 3, 9, 14)
    assert torch.equal(upscaler(image, size=(28, 18)), upscaler(image))


def test_what_is_as_large_already_is_reduced_without_the_network(upscaler: Upscaler) -> None:
    samples = noise(4)
    samples[..., -1] = 200
    assert np.array_equal(upscaler(samples, size=(7, 5)), resample.resize(samples, 5, 7))
    assert np.array_equal(upscaler(samples, size=(14, 9)), samples)
    image = torch.rand(1, 3, 9, 14)
    kept = upscaler(image, size=(14, 9))
    assert torch.equal(kept, image)
    kept.zero_()
    assert image.max() > 0  # it was a copy
    with pytest.raises(UpscaleError, match="0x5"):
        upscaler(samples, size=(0, 5))


def test_the_result_can_go_where_there_is_room_for_it(upscaler: Upscaler, tmp_path: Path) -> None:
    samples = noise(4)
    room = np.memmap(tmp_path / "room", np.uint8, "w+", shape=(18, 28, 4))
    assert upscaler(samples, out=room) is room
    assert np.array_equal(room, upscaler(samples))
    with pytest.raises(UpscaleError, match=r"out is \(18, 28, 4\) of uint8 and the result"):
        upscaler(samples, size=(20, 10), out=room)
    with pytest.raises(UpscaleError, match="leave it out"):
        upscaler(torch.rand(1, 3, 4, 4), out=room)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("size", [None, (20, 11)])
def test_a_batch_is_what_each_picture_becomes(
    upscaler: Upscaler, channels: int, size: tuple[int, int] | None
) -> None:
    pictures = [imaging.Picture(np.roll(noise(channels), n, 0)) for n in range(3)]
    seen: list[float] = []
    made = upscaler.batch(pictures, size=size, progress=seen.append)
    for out, picture in zip(made, pictures, strict=True):
        alone = upscaler(picture, size=size).samples
        # a batch is multiplied in another order: at a tie of rounding a level may differ
        assert np.abs(out.samples.astype(int) - alone).max() <= 1
    assert seen[-1] == 1
    with pytest.raises(UpscaleError, match=r"of one size.* one by one"):
        upscaler.batch([pictures[0], imaging.Picture(noise(3))])


@pytest.mark.parametrize("pictures", [noise(3), torch.zeros(1, 3, 4, 4), None, 3])
def test_a_batch_is_a_list(upscaler: Upscaler, pictures: Any) -> None:
    with pytest.raises(UpscaleError, match=f"not of type {type(pictures).__name__}; put it in one"):
        upscaler.batch(pictures)


@pytest.mark.parametrize("picture", [noise(3), noise(4), torch.zeros(1, 3, 4, 4)])
def test_a_result_larger_than_memory_is_refused_before_the_work(
    upscaler: Upscaler, picture: Any
) -> None:
    seen: list[float] = []
    with pytest.raises(UpscaleError, match="10000000x10000000 is too large for the memory"):
        upscaler(picture, size=(10**7, 10**7), progress=seen.append)
    with pytest.raises(UpscaleError, match="from 1 to 100,000,000"):
        upscaler(picture, size=(10**30, 10**30), progress=seen.append)
    assert not seen


@pytest.mark.parametrize("size", [(0, -5), (0, 4), (4, None), ("4", 4)])
def test_an_estimate_needs_a_size(upscaler: Upscaler, size: Any) -> None:
    with pytest.raises(UpscaleError, match="size is "):
        upscaler.estimate(*size)


@pytest.mark.parametrize("name", ["", None, 3, b"x.pth"])
def test_what_names_no_model_is_refused(name: Any) -> None:
    with pytest.raises(WeightsError, match="neither a file nor the name of a model"):
        atdsr.load(name)


def test_the_result_is_no_part_of_what_was_given(upscaler: Upscaler) -> None:
    samples = noise(3)
    before = samples.copy()
    upscaler(samples, size=(14, 9))[:] = 0
    assert np.array_equal(samples, before)


def test_load_by_name_and_by_file(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    write_weights(Weights(TINY, lively(TINY).state_dict()), path)
    assert atdsr.load(path, device="cpu").model.config == TINY
    assert atdsr.load("atd-light-x2", device="cpu").scale == 2
    with pytest.raises(WeightsError, match="did you mean atd-light-x2"):
        atdsr.load("atd-lihgt-x2")
    with pytest.raises(WeightsError, match=r"gone\.pth does not exist"):
        atdsr.load(tmp_path / "gone.pth")


def test_a_folder_called_like_a_model_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("atd-light-x2").mkdir()
    assert atdsr.load("atd-light-x2", device="cpu").scale == 2


def test_devices_and_precisions_that_are_not_here() -> None:
    with pytest.raises(UpscaleError, match="no device 'tpu9'"):
        choose_device("tpu9")
    if not torch.cuda.is_available():
        with pytest.raises(UpscaleError, match="no cuda device here"):
            choose_device("cuda")
    with pytest.raises(UpscaleError, match="precision is 'fp8'"):
        Upscaler(lively(TINY), precision="fp8")
    with pytest.raises(UpscaleError, match="no device None"):
        choose_device(None)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UpscaleError, match="overlap is 'a'; it is a number of pixels"):
        Upscaler(lively(TINY), overlap="a")


@pytest.mark.parametrize("size", [4, (4.5, 5), (4, 5, 6)])
def test_a_size_is_two_numbers(upscaler: Upscaler, size: Any) -> None:
    with pytest.raises(UpscaleError, match="it is width and height in pixels, such as"):
        upscaler(np.zeros((4, 4, 3), np.uint8), size=size)


def test_options_replace_those_of_a_configuration() -> None:
    upscaler = Upscaler(lively(TINY), InferenceConfig("cpu", tile=70), ensemble=True)
    assert upscaler.config == InferenceConfig(torch.device("cpu"), "fp32", 64, 32, ensemble=True)
    with pytest.raises(TypeError, match="tiles"):
        Upscaler(lively(TINY), tiles=64)


def test_a_category_size_is_for_files(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="atd-light-x2 knows its category size"):
        atdsr.load("atd-light-x2", category_size=64)


def test_it_says_what_it_is(upscaler: Upscaler) -> None:
    assert repr(atdsr.load("atd-light-x3", "cpu")) == (
        "<Upscaler: ATD-light x3, 759,699 parameters, cpu, fp32>"
    )
    other = repr(Upscaler(upscaler.model, device="cpu", precision="bf16"))
    assert re.fullmatch(
        r"<Upscaler: ATD of width \d+ with \d+ layers x2, [\d,]+ parameters, cpu, bf16>", other
    )


@pytest.mark.slow
def test_importing_the_package_does_not_import_pytorch() -> None:
    import subprocess
    import sys

    code = "import sys, atdsr, atdsr.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="nothing"):
        _ = atdsr.nothing  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("options", "size"), [({}, None), ({"tile": 32}, None), ({"tile": 32}, (130, 90)), ({}, (9, 9))]
)
def test_the_workload_is_what_the_network_is_given(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], size: tuple[int, int] | None
) -> None:
    upscaler = Upscaler(lively(TINY), device="cpu", **options)
    given: list[tuple[int, int]] = []
    run = upscaler._runner.__call__

    def record(image: torch.Tensor, *args: object) -> torch.Tensor:
        given.append((image.shape[-1], image.shape[-2]))
        return run(image, *args)  # pyright: ignore[reportArgumentType]

    record.check_fork = upscaler._runner.check_fork  # pyright: ignore[reportFunctionMemberAccess]
    monkeypatch.setattr(upscaler, "_runner", record)
    workload = upscaler.workload(50, 40, size)
    upscaler(pictures.noise(3, h=40, w=50), size=size)
    assert workload.tiles == len(given)
    assert workload.pixels == sum(width * height for width, height in given)
    assert workload.tile == (options.get("tile") if given else None)
    assert workload.memory == max((upscaler.estimate(h, w) for w, h in given), default=0)


def test_the_workload_of_a_picture_that_cannot_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**20)
    upscaler = Upscaler(lively(TINY), device="cpu", tile="off")
    with pytest.raises(UpscaleError, match="too large for the memory"):
        upscaler.workload(500, 400)


def test_the_logger_tells_how_the_network_runs(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG, "atdsr")
    monkeypatch.setattr(budget, "NOTEWORTHY", 0)
    upscaler = Upscaler(lively(TINY), device="cpu", tile=32)
    upscaler(pictures.noise(3, h=20, w=50))
    upscaler(noise(3))
    said = [record.getMessage() for record in caplog.records]
    assert said[0].startswith("ATD x2 on cpu, ")
    assert ", fp32, " in said[0]
    assert "the network runs on 50x20, 3x1 tiles of 32 with an overlap of 16" in said
    assert "the network runs on 14x9, as a whole" in said
    assert [line.startswith("the network took ") for line in said].count(True) == 2
    notices = [record for record in caplog.records if record.levelno == logging.INFO]
    assert len(notices) == 2
    assert notices[0].getMessage().startswith("32x20 takes about ")
