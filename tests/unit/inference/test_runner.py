"""The network on pictures of any size: whole, in tiles, short of memory, eight times."""

import copy
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from atdsr.base import memory
from atdsr.imaging import resample
from atdsr.inference.config import UpscaleError
from atdsr.inference.upscaler import Upscaler
from atdsr.network.kernels import gpu
from atdsr.network.model import ATD
from helpers.networks import TINY, lively


def upscaler(**options) -> Upscaler:
    return Upscaler(lively(TINY), device="cpu", **options)


def smooth(height: int, width: int) -> np.ndarray:
    """A picture with structure, `h w 3`."""
    coarse = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return resample.resize(coarse, height, width)


def free_memory(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: count)


def test_a_gpu_is_not_used_in_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    small = upscaler()
    monkeypatch.setattr(small._runner, "_device", torch.device("cuda"))
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(UpscaleError, match="forked from one that had computed"):
        small(smooth(16, 16))


# ------------------------------------------------------------------------------------------ tiles


@pytest.mark.slow
@pytest.mark.parametrize(("tile", "overlap"), [(32, 16), (48, 8), (64, 32)])
def test_tiles_come_close_to_the_whole(tile: int, overlap: int) -> None:
    picture = smooth(72, 120)
    whole = upscaler()(picture).astype(int)
    tiled = upscaler(tile=tile, overlap=overlap)(picture).astype(int)
    assert not np.array_equal(tiled, whole)  # the category attention saw less
    assert np.abs(tiled - whole).mean() < 3


def test_tiles_are_what_the_network_makes_of_them_blended() -> None:
    picture = smooth(16, 64)
    of_tiles = upscaler(tile=48, overlap=16)
    left, right = of_tiles(picture[:, :48]), of_tiles(picture[:, 16:])
    out = of_tiles(picture)
    # the overlap is 16..48, the middle of it 32, and a quarter of 16 on each side fades
    assert np.array_equal(out[:, :56], left[:, :56])
    assert np.array_equal(out[:, 72:], right[:, 40:])
    fading = out[:, 56:72].astype(int)
    both = np.stack([left[:, 56:72], right[:, 24:40]]).astype(int)
    assert ((fading >= both.min(0) - 1) & (fading <= both.max(0) + 1)).all()


def test_a_picture_within_a_tile_is_done_as_a_whole() -> None:
    picture = smooth(40, 56)
    assert np.array_equal(upscaler(tile=64)(picture), upscaler()(picture))


@pytest.mark.slow
def test_tiles_of_tensors_batches_and_gray() -> None:
    image = torch.rand(2, 1, 40, 70, dtype=torch.float64)
    out = upscaler(tile=32)(image)
    assert out.shape == (2, 1, 80, 140)
    assert out.dtype == torch.float64
    torch.testing.assert_close(out[:1], upscaler(tile=32)(image[:1]), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tile": 31}, "tile is 31; it is 'auto', 'off' or a number of pixels from 32 on"),
        ({"tile": "small"}, "tile is 'small'"),
        ({"tile": 64, "overlap": 33}, "overlap is 33; it is from 0 to 32"),
        ({"overlap": -1}, "overlap is -1; it is from 0 on"),
    ],
)
def test_tiles_that_cannot_be(options: dict, sentence: str) -> None:
    with pytest.raises(UpscaleError, match=sentence):
        upscaler(**options)


@pytest.mark.slow
def test_progress_rises_to_one_over_tiles_and_flips() -> None:
    seen: list[float] = []
    small = upscaler(tile=32, ensemble=True)
    small(smooth(40, 64), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert len(seen) == 2 * 3 * 8 * len(small.model.layers)


class Recorded:
    """A graph that is recorded at its first run and replayed from then on."""

    records = replays = False

    def __init__(self, model: ATD) -> None:
        self._model, self._replayed = model, copy.deepcopy(model)

    def __call__(self, image: Tensor) -> Tensor:
        if not self.replays:
            self.records = True
            self._model(image)
            self.records, self.replays = False, True
        return self._replayed(image)  # as which no module is called


def test_progress_counts_a_recorded_run_once() -> None:
    seen: list[float] = []
    small = upscaler(tile=32)
    small._runner._graph = Recorded(small.model)  # pyright: ignore
    small(smooth(40, 64), progress=seen.append)
    assert seen[-1] == 1
    assert len(seen) == 2 * 3 * len(small.model.layers)


def in_threads(small: Upscaler, pictures: list[np.ndarray], rounds: int) -> list[list[float]]:
    """The progress of calls at once, each several times; results are those of calls in turn."""
    alone = [small(picture) for picture in pictures]

    def call(number: int) -> list[float]:
        seen: list[float] = []
        out = small(pictures[number % len(pictures)], progress=seen.append)
        assert np.array_equal(out, alone[number % len(pictures)])
        return seen

    with ThreadPoolExecutor(len(pictures)) as threads:
        return list(threads.map(call, range(rounds * len(pictures))))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"tile": 32}, {"ensemble": True}, {"precision": "bf16"}])
def test_calls_from_threads_have_a_progress_of_their_own(options: dict) -> None:
    small = upscaler(**options)
    pictures = [smooth(24 + 8 * (n % 3), 40 + 8 * n) for n in range(4)]
    for seen in in_threads(small, pictures, rounds=3):
        assert seen == sorted(set(seen))
        assert seen[0] > 0
        assert seen[-1] == 1
    assert not any(layer._forward_hooks for layer in small.model.layers)


class Placed:
    """A graph as a GPU has it: what it is given goes into one place, and the result comes out."""

    records = replays = False

    def __init__(self, model: ATD) -> None:
        self._model, self._place = model, torch.empty(0)

    def __call__(self, image: Tensor) -> Tensor:
        self._place = image
        time.sleep(0.002)  # another thread may come in
        return self._model(self._place)


@pytest.mark.slow
def test_calls_from_threads_share_a_recorded_graph_in_turn() -> None:
    small = upscaler()
    pictures = [np.rot90(smooth(32, 32), n).copy() for n in range(4)]
    alone = [small(picture) for picture in pictures]
    small._runner._graph = Placed(small.model)  # pyright: ignore
    for seen in in_threads(small, pictures, rounds=2):
        assert seen[-1] == 1
    assert all(np.array_equal(small(p), out) for p, out in zip(pictures, alone, strict=True))


# ----------------------------------------------------------------------------------------- memory


@pytest.mark.slow
def test_what_does_not_fit_is_done_in_the_largest_tiles_that_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notices: list[str] = []
    free_memory(monkeypatch, int(upscaler().estimate(64, 64) / 0.84))
    picture = smooth(80, 104)
    out = upscaler()(picture, tell=notices.append)
    assert np.array_equal(out, upscaler(tile=64)(picture))
    (line,) = notices
    assert line.startswith("104x80 takes about ")
    assert " of memory and " in line
    assert line.endswith("so it is done in tiles of 64 with an overlap of 32.")


def test_a_long_picture_is_cut_across_only(monkeypatch: pytest.MonkeyPatch) -> None:
    small, notices = upscaler(), []
    free_memory(monkeypatch, int(small.estimate(16, 160) / 0.849))
    small(smooth(16, 320), tell=notices.append)
    assert "in tiles of 160 with" in notices[0]  # a square of 160 would not fit


def test_tiles_that_are_off_mean_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    free_memory(monkeypatch, 1000)
    with pytest.raises(UpscaleError, match=r"120x72 is too large.*takes about.*are free"):
        upscaler(tile="off")(smooth(72, 120))


def test_a_tile_that_does_not_fit_is_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    free_memory(monkeypatch, int(upscaler().estimate(48, 48) / 0.84))
    notices: list[str] = []
    picture = smooth(80, 104)
    out = upscaler(tile=64, overlap=16)(picture, tell=notices.append)
    assert np.array_equal(out, upscaler(tile=48, overlap=16)(picture))
    assert "tiles of 48" in notices[0]


def test_much_memory_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    small = upscaler()
    monkeypatch.setattr(small, "estimate", lambda *_: 3 * 2**30)
    free_memory(monkeypatch, 16 * 2**30)
    notices: list[str] = []
    small(smooth(16, 16), tell=notices.append)
    assert notices == ["16x16 takes about 3.0 GiB of memory and 16.0 GiB are free."]


def fail_at(network: torch.nn.Module, call: int, error: Callable[[], Exception]) -> None:
    """Make the network run out of memory in its n-th call, once."""
    forward, calls = network.forward, iter(range(10**6))

    def failing(image: Tensor) -> Tensor:
        if next(calls) == call:
            raise error()
        return forward(image)

    network.forward = failing


ERRORS = {
    "any device": lambda: torch.OutOfMemoryError("CUDA out of memory."),
    "cpu": lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to..."),
    "python": MemoryError,
    "c++": lambda: RuntimeError("std::bad_alloc"),
    "oneDNN": lambda: RuntimeError("could not create a primitive"),
}


@pytest.mark.slow
@pytest.mark.parametrize("call", range(6))
def test_running_out_of_memory_at_any_tile_leaves_no_wrong_tile(call: int) -> None:
    picture = smooth(72, 104)
    small = upscaler(tile=64, overlap=32)
    fail_at(small.model, call, ERRORS["any device"])
    notices: list[str] = []
    out = small(picture, tell=notices.append)
    assert np.array_equal(out, upscaler(tile=32, overlap=16)(picture))
    assert notices == ["memory ran out, so it begins again in tiles of 32 with an overlap of 16."]


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_running_out_of_memory_as_a_whole(error: Callable[[], Exception]) -> None:
    picture = smooth(72, 104)
    small = upscaler()
    fail_at(small.model, 0, error)
    assert np.array_equal(small(picture), upscaler(tile=48)(picture))


@pytest.mark.slow
@pytest.mark.parametrize(("tile", "halves"), [("auto", ["48", "32"]), ("off", []), (32, [])])
def test_running_out_of_memory_again_and_again_ends(
    tile, halves: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = upscaler(tile=tile)

    def failing(image: Tensor) -> Tensor:
        raise MemoryError(image.shape)

    monkeypatch.setattr(small.model, "forward", failing)
    notices: list[str] = []
    with pytest.raises(UpscaleError, match="120x72 is too large for the memory"):
        small(smooth(72, 120), tell=notices.append)
    assert [line.split("tiles of ")[1].split()[0] for line in notices] == halves


@pytest.mark.parametrize(
    "words", ["a defect", "could not create a primitive descriptor for a convolution"]
)
def test_other_errors_are_not_taken_for_a_lack_of_memory(words: str) -> None:
    small = upscaler()
    fail_at(small.model, 0, lambda: RuntimeError(words))
    with pytest.raises(RuntimeError, match=words):
        small(smooth(16, 16))


LIMITED = """
import resource, sys
import numpy as np
from atdsr.base import memory
from atdsr.inference import Upscaler
from helpers.networks import TINY, lively

memory.keep_freed_memory()
upscaler = Upscaler(lively(TINY), device="cpu")
picture = np.zeros((384, 384, 3), np.uint8)
upscaler(picture[:64, :64])
import psutil
used = psutil.Process().memory_info().vms
resource.setrlimit(resource.RLIMIT_AS, (used + upscaler.estimate(384, 384) // 2,) * 2)
if sys.argv[1] == "surprise":
    memory.available_bytes = lambda: 2**50
print(upscaler(picture, tell=print).shape)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits address space on Linux")
@pytest.mark.parametrize(
    ("case", "words"), [("foreseen", "so it is done in tiles of"), ("surprise", "memory ran out")]
)
def test_a_real_limit_is_met_by_tiles(case: str, words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, case],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert words in done.stdout
    assert done.stdout.endswith("(768, 768, 3)\n")


def test_what_is_free_counts_the_limit_of_address_space() -> None:
    code = (
        "import resource, psutil; from atdsr.base import memory;"
        "used = psutil.Process().memory_info().vms;"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**28,) * 2);"
        "print(memory.available_bytes())"
    )
    if not sys.platform.startswith("linux"):
        pytest.skip("limits address space on Linux")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(out.stdout) <= 2**28


def test_what_is_free_counts_the_limits_of_control_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = memory.available_bytes()
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    (tmp_path / "memory.max").write_text("100000000\n")
    (tmp_path / "memory.current").write_text("70000000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 10000000\n")
    monkeypatch.setattr(memory, "_PROCESS_CGROUPS", tmp_path / "cgroup")
    (tmp_path / "cgroup").write_text("1:name=systemd:/\n0::/\n")
    assert memory.available_bytes() == 40_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes() > before / 2
    version_1 = tmp_path / "memory" / "inner"
    version_1.mkdir(parents=True)
    (version_1 / "memory.limit_in_bytes").write_text("1000\n")
    (version_1 / "memory.usage_in_bytes").write_text("400\n")
    (version_1 / "memory.stat").write_text("inactive_file 0\n")
    (tmp_path / "cgroup").write_text("4:memory:/inner\n")
    assert memory.available_bytes() == 600


# --------------------------------------------------------------------------------------- ensemble


@pytest.mark.slow
def test_the_ensemble_is_the_mean_over_the_eight_symmetries() -> None:
    image = torch.rand(1, 3, 21, 34, dtype=torch.float64)
    single, eight = upscaler(), upscaler(ensemble=True)
    single.model.double()
    eight.model.double()
    with torch.inference_mode():
        outs = [
            single.model(image.rot90(turns, (2, 3)).flip(axes)).flip(axes).rot90(-turns, (2, 3))
            for turns in range(4)
            for axes in ((), (3,))
        ]
        expected = torch.stack(outs).mean(0).clamp(0, 1)
    torch.testing.assert_close(eight(image), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(eight(image.mT).mT, expected, rtol=0, atol=1e-12)


def test_the_ensemble_of_gray_and_of_tiles() -> None:
    picture = smooth(40, 64)[..., :1]
    out = upscaler(ensemble=True, tile=48)(picture)
    assert out.shape == (80, 128, 1)


def test_a_notice_about_unchecked_kernels_reaches_the_user(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gpu, "notice_once", lambda device: f"unchecked on {device}")
    told: list[str] = []
    upscaler()(smooth(16, 16), tell=told.append)
    assert "unchecked on cpu" in told
