"""What `atdsr doctor` finds out and advises, on machines that are made up."""

import importlib
import math
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from atdsr.base import memory
from atdsr.inference.upscaler import Upscaler
from atdsr.network import kernels
from atdsr.network.kernels import cpu
from atdsr.network.kernels.cpu import CPUStatus
from atdsr.reports import doctor
from atdsr.reports.doctor import machine, measuring, probes
from atdsr.reports.doctor.machine import (
    Allocator,
    Gpus,
    Library,
    Machine,
    Measurement,
    Memory,
    Processor,
)
from atdsr.reports.doctor.machine import Threads as Of
from atdsr.weights import models
from helpers.networks import TINY, lively

GIB = 2**30
FAST = Measurement("cpu", 128, 1.0, 2.0, 0.01)
WELL = Machine(
    system="Linux-6.1",
    processor=Processor("A processor", 4, 8, ("AVX2",)),
    memory=Memory(16 * GIB, 12 * GIB, None),
    gpus=Gpus((), nvidia_driver=False),
    python="3.11.7",
    libraries=(Library("torch", "2.13.0"), Library("pyvips", "3.2.0")),
    libvips="8.18.7",
    allocator=Allocator("glibc", keeps=True),
    threads=Of(4, 8, None, None, None),
    busy=0.02,
    kernels=CPUStatus("avx2", None, "OpenMP"),
    forced=None,
    device="cpu",
    damaged=(),
    failure=None,
    photo_bytes=6 * GIB,
    measurement=FAST,
)
UNKNOWN = Machine(
    system="?",
    processor=None,
    memory=None,
    gpus=None,
    python="3.11.7",
    libraries=(),
    libvips=None,
    allocator=None,
    threads=None,
    busy=None,
    kernels=None,
    forced=None,
    device=None,
    damaged=None,
    failure=None,
    photo_bytes=None,
)


def advised(found: Machine) -> list[str]:
    return [each.sentence for each in doctor.advice(found)]


# Advice


def test_where_all_is_well_or_unknown_there_is_nothing_to_change():
    assert advised(WELL) == []
    assert advised(UNKNOWN) == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"kernels": CPUStatus(None, "they were not built.", "OpenMP")}, "they were not built."),
        (
            {"forced": "avx2", "processor": Processor("New", 4, 8, ("AVX2", "AVX-512"))},
            "ATDSR_KERNELS=avx2 keeps this processor from using its AVX-512",
        ),
        ({"measurement": replace(FAST, seconds=2.5)}, "ATDSR_KERNELS=off"),
        ({"threads": Of(8, 2, None, None, None)}, "set OMP_NUM_THREADS=2."),
        ({"threads": Of(4, 8, 1.5, None, None)}, "set OMP_NUM_THREADS=2."),
        ({"threads": Of(1, 8, None, "1", None)}, "leaves 3 of 4 cores idle"),
        ({"busy": 0.6}, "Other processes use 60% of the processor"),
        ({"memory": Memory(4 * GIB, 2 * GIB, None)}, "takes 6.0 GiB of memory as a whole"),
        ({"gpus": Gpus((), nvidia_driver=True)}, "a build of PyTorch with CUDA"),
        (
            {"gpus": Gpus(("Tesla V100",), nvidia_driver=True, plain="it is too old.")},
            "plain path runs on the GPU: it is too old.",
        ),
        ({"processor": Processor("New", 4, 8, ("AVX-512 BF16", "AMX"))}, "--precision auto"),
        (
            {
                "allocator": Allocator("musl", keeps=False),
                "measurement": replace(FAST, system_share=0.4),
            },
            "40% of the time goes into getting memory again that musl gave back",
        ),
    ],
)
def test_what_is_not_well_is_said_in_one_sentence(found: dict[str, object], words: str):
    (sentence,) = doctor.advice(replace(WELL, **found))
    assert words in sentence.sentence
    assert not sentence.broken
    assert sentence.sentence.endswith(".")


@pytest.mark.parametrize(
    "found",
    [
        # no more threads than a quota rounded up, and none that anybody told to idle
        {"threads": Of(2, 8, 1.5, None, None)},
        {"threads": Of(1, 8, 1.0, "1", None)},
        {"threads": Of(2, 8, None, None, None)},
        # threads of the same core help nobody
        {"threads": Of(4, 8, None, "4", None)},
        # the system's time is no wonder where memory is kept, or on another system
        {"measurement": replace(FAST, system_share=0.9)},
        {
            "system": "macOS-15",
            "allocator": Allocator("the system's", keeps=False),
            "measurement": replace(FAST, system_share=0.9),
        },
        {"measurement": replace(FAST, plain_seconds=None)},
        {"measurement": None},
        {"gpus": Gpus(("NVIDIA H200",), nvidia_driver=True)},
        {"processor": Processor("New", 4, 8, ("AMX",)), "device": "cuda"},
        {"processor": Processor("Odd", None, None, None), "forced": "avx2"},
        {"forced": "avx2"},
    ],
)
def test_what_is_as_it_should_be_is_left_alone(found: dict[str, object]):
    assert advised(replace(WELL, **found)) == []


def test_who_waits_already_is_not_told_to():
    patient = replace(WELL, busy=0.6, threads=Of(4, 8, None, None, "PASSIVE"))
    assert "OMP_WAIT_POLICY=PASSIVE" in advised(replace(WELL, busy=0.6))[0]
    assert advised(patient) == ["Other processes use 60% of the processor: wait for them."]


def test_nothing_is_concluded_from_times_taken_beside_others():
    slow = replace(WELL, busy=0.6, measurement=replace(FAST, seconds=9.0))
    assert not any("ATDSR_KERNELS" in sentence for sentence in advised(slow))


def test_what_is_broken_comes_first():
    libraries = (Library("torch", "2.13.0"), Library("pyvips", None, "no libvips"))
    found = replace(
        WELL,
        busy=0.6,
        libraries=libraries,
        damaged=("a file is damaged.",),
        unmeasured="out of memory",
    )
    advice = doctor.advice(found)
    assert [each.broken for each in advice] == [True, True, True, False]
    assert "pyvips cannot be imported (no libvips)" in advice[0].sentence
    assert advice[1].sentence == "a file is damaged."
    assert "out of memory" in advice[2].sentence


def test_a_library_that_is_missing_explains_that_nothing_computes():
    found = replace(UNKNOWN, failure="no module torch")
    assert "does not compute here (no module torch)" in advised(found)[0]
    libraries = (Library("torch", None, "no module torch"),)
    (sentence,) = advised(replace(found, libraries=libraries))
    assert sentence.startswith("torch cannot be imported")


# Probes


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the probes that take a while."""
    for name in ("_busy", "_damaged", "bundled"):
        monkeypatch.setattr(probes, name, fails)


def fails(*_: object, **__: object):
    raise RuntimeError("a defect\nand more")


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ("fpu sse2 avx avx2 fma", ("AVX2",)),
        ("avx2 avx512f avx512_bf16 amx_tile", ("AVX2", "AVX-512", "AVX-512 BF16", "AMX")),
        ("avx2 avx512_f amx_bf16", ("AVX2", "AVX-512")),  # as PyTorch writes them
        ("fp asimd aes bf16", ("NEON", "NEON BF16")),
        ("fpu", ()),
    ],
)
def test_the_instruction_sets_that_matter(flags: str, names: tuple[str, ...]):
    assert probes.instructions(set(flags.split())) == names


@pytest.mark.parametrize(
    ("sets", "native"), [(None, None), ((), False), (("AVX-512",), False), (("AMX",), True)]
)
def test_bfloat16_is_native_or_not_or_nobody_knows(
    sets: tuple[str, ...] | None, native: bool | None
):
    assert Processor("A processor", 1, 1, sets).bfloat16 is native


@pytest.mark.usefixtures("quick")
def test_the_processor_of_a_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    listing = tmp_path / "cpuinfo"
    listing.write_text("processor\t: 0\nmodel name\t: A: processor\nflags\t\t: avx2 avx512f\n")
    monkeypatch.setattr(probes, "_CPU_INFO", listing)
    monkeypatch.setattr(sys, "platform", "linux")
    found = probes.examine().processor
    assert found is not None
    assert (found.name, found.instructions) == ("A: processor", ("AVX2", "AVX-512"))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/in\n", {"cpu.max": "200000 100000\n", "in/cpu.max": "max 100000\n"}, 2.0),
        (
            "3:cpu,cpuacct:/\n",
            {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            0.5,
        ),
        (
            "3:cpu,cpuacct:/\n",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            None,
        ),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
        ("4:memory:/\n", {}, None),
    ],
)
def test_the_quota_of_control_groups(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    groups: str,
    files: dict[str, str],
    quota: float | None,
):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "cgroup").write_text(groups)
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "_PROCESS_CGROUPS", tmp_path / "cgroup")
    found = probes.examine().threads
    assert found is not None
    assert found.quota == quota
    assert found.useful == min(found.processors, math.ceil(quota or found.processors))


@pytest.mark.usefixtures("quick")
def test_a_limit_of_a_control_group_counts_where_it_is_below_what_there_is(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(memory, "limit_bytes", lambda: 2**20)
    found = probes.examine().memory
    assert found is not None
    assert found.limit == 2**20 < found.total
    monkeypatch.setattr(memory, "limit_bytes", lambda: 2**62)
    found = probes.examine().memory
    assert found is not None
    assert found.limit is None


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("maps", "found"),
    [
        ("/usr/lib/libjemalloc.so.2\n", Allocator("jemalloc", keeps=True)),
        ("/lib/libc.so.6\n", None),
    ],
)
def test_another_malloc_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, maps: str, found: Allocator | None
):
    monkeypatch.setattr(memory, "keep_freed_memory", lambda: False)
    (tmp_path / "maps").write_text(maps)
    monkeypatch.setattr(probes, "_MAPS", tmp_path / "maps")
    allocator = probes.examine().allocator
    assert allocator is not None
    assert allocator == (found or Allocator(allocator.name, keeps=False))


def test_a_probe_that_fails_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ATDSR_KERNELS", raising=False)
    names = [name for name in vars(probes) if name.startswith("_") and callable(vars(probes)[name])]
    kept = {"_known", "_library", "_failure"}
    for name in set(names) - kept:
        monkeypatch.setattr(probes, name, fails)
    monkeypatch.setattr(probes, "bundled", fails)
    found = probes.examine()
    assert found == replace(
        UNKNOWN, system=found.system, python=found.python, libraries=found.libraries
    )
    assert all(library.failure is None and library.version for library in found.libraries)


@pytest.mark.usefixtures("quick")
def test_a_library_that_fails_says_why(monkeypatch: pytest.MonkeyPatch):
    whole = importlib.import_module
    monkeypatch.setattr(
        probes, "import_module", lambda name: fails() if name == "pyvips" else whole(name)
    )
    found = {library.name: library for library in probes.examine().libraries}
    assert found["pyvips"] == Library("pyvips", None, "a defect")
    assert found["torch"].failure is None


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("product", "words"),
    [(fails, "a defect"), (lambda a, _: a, "comes out wrong")],
)
def test_a_pytorch_that_does_not_compute_is_found_out(
    monkeypatch: pytest.MonkeyPatch, product: Callable[..., object], words: str
):
    monkeypatch.setattr(torch.nn.functional, "conv2d", product)
    failure = probes.examine().failure
    assert failure is not None
    assert words in failure


@pytest.mark.slow
def test_damaged_weights_are_named(monkeypatch: pytest.MonkeyPatch):
    assert probes.examine().damaged == ()
    first, *others = models.BUNDLED
    monkeypatch.setattr(models, "BUNDLED", (replace(first, sha256="0" * 64), *others))
    found = probes.examine()
    assert found.damaged is not None
    assert len(found.damaged) == 1
    assert first.file in found.damaged[0]


# Measurement


def test_the_picture_is_as_large_as_the_time_allows():
    sides = [measuring.largest_side(seconds) for seconds in (0.001, 0.1, 0.3, 1.0, 30.0)]
    assert sides == [256, 256, 128, 96, 64]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Upscaler:
    """A tiny network in place of the bundled one, measured on the smallest picture."""
    upscaler = Upscaler(lively(TINY), device="cpu")
    monkeypatch.setattr(measuring, "bundled", lambda: upscaler)
    monkeypatch.setattr(measuring, "_SIDES", (64,))
    return upscaler


def test_both_paths_are_measured_in_turns(tiny: Upscaler, monkeypatch: pytest.MonkeyPatch):
    ran: list[bool] = []
    plain = False

    @contextmanager
    def by_the_plain_path():
        nonlocal plain
        plain = True
        yield
        plain = False

    monkeypatch.setattr(cpu, "status", lambda: CPUStatus("avx2", None, "OpenMP"))
    monkeypatch.setattr(kernels, "plain", by_the_plain_path)
    monkeypatch.setattr(
        tiny.model, "forward", lambda image: ran.append(plain) or image.repeat(1, 1, 2, 2)
    )
    shares: list[float] = []
    found = measuring.measured(replace(WELL, measurement=None), shares.append).measurement
    assert found is not None
    assert found.plain_seconds is not None
    assert (found.device, found.side) == ("cpu", 64)
    assert ran == [False, True] * (2 + 3)  # warm, once for the size, three rounds
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_the_plain_path_alone_is_measured_once(tiny: Upscaler, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cpu, "status", lambda: CPUStatus(None, "not built.", "OpenMP"))
    found = measuring.measured(WELL).measurement
    assert found is not None
    assert found.plain_seconds is None
    assert 0 <= found.system_share <= 1
    assert found.pixels_per_second == pytest.approx(64**2 / found.seconds)
    assert found.photo_seconds == pytest.approx(1e6 / 64**2 * found.seconds)


def test_a_measurement_that_fails_is_a_finding(tiny: Upscaler, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tiny.model, "forward", fails)
    found = measuring.measured(replace(WELL, measurement=None))
    assert found == replace(WELL, measurement=None, unmeasured="a defect")


def test_nothing_is_measured_where_something_is_broken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measuring, "bundled", fails)
    broken = replace(WELL, measurement=None, damaged=("a file is damaged.",))
    assert measuring.measured(broken) is broken


def test_a_megapixel_is_one():
    assert math.prod(machine.PHOTO) == 10**6
