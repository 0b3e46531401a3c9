"""The scripts of `benchmarks/` that compare: they run, and count what they say they count."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

import floor
import folder
import manifest
import memory as memory_script
import networks_compared
import peers
import results
import sizes
import speed
import strips
import train_step
from atdsr.base import memory
from atdsr.evaluation import expected
from atdsr.network.config import ATDConfig, atd, atd_light
from atdsr.network.kernels import cpu
from atdsr.network.model import ATD
from floor import Rates
from helpers.networks import lively
from networks_compared import AS_IS, DAT, PLAIN, TINY, TUNED, Side, Work
from turns import DiedError, Seconds, Worker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="peak memory is told on Linux"),
]


def run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, arguments)])
    script.main()


def rows(markdown: str) -> list[list[str]]:
    """The cells of every row of tables, heads left out."""
    lines = markdown.splitlines()
    bodies = [
        line for before, line in pairwise(lines) if line.startswith("| ") and before.startswith("|")
    ]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in bodies]


@pytest.fixture
def fused() -> int:
    """How many rows are there only where the kernels run."""
    return 0 if cpu.status().variant is None else 1


# ------------------------------------------------------------------------------------ they run


def test_speed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, fused: int
) -> None:
    run(speed, monkeypatch, "--quick", "--json", tmp_path / "all.json")
    table = rows(capsys.readouterr().out)
    assert len(table) == 4 + fused
    assert [row[1] for row in table][:3] == [AS_IS.name, TUNED.name, PLAIN.name]
    for row in table:
        cpu_seconds, as_is = float(row[2]), float(row[4])
        assert as_is == pytest.approx(float(table[0][2]) / cpu_seconds, rel=0.02)
    # the same function: no difference beyond rounding, and no token in another category
    assert "0 of 6,144 flipped" in table[2][-1]
    assert float(table[2][-1].partition(",")[0]) < 1e-5
    assert "bf16" in table[-1][1]
    (case,) = json.loads((tmp_path / "all.json").read_text())["cases"]
    assert all(len(row["rounds"]) == 2 and row["rounds"][0]["cpu"] > 0 for row in case["rows"])


def test_folder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(folder, "COUNT", 4)
    run(folder, monkeypatch, "--against", folder.HERE, "--rounds", 1)
    *sides, ratio = capsys.readouterr().out.splitlines()
    assert [side.partition(":")[0] for side in sides] == ["this tree", "the other"]
    assert 0.5 < float(ratio.removeprefix("ratio ")) < 2
    with pytest.raises(SystemExit):
        run(folder, monkeypatch, "--against", folder.HERE / "src")


def test_sizes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, fused: int
) -> None:
    path, drawn = tmp_path / "sizes.json", tmp_path / "sizes.svg"
    monkeypatch.setattr(sizes, "SIDES", sizes.SIDES[1:])
    run(sizes, monkeypatch, "--quick", "--json", path)
    table = rows(capsys.readouterr().out)
    assert [row[0] for row in table] == ["32x32", "64x64"]
    assert all(float(cell) > 0 for row in table for cell in row[1:])
    costs = json.loads(path.read_text())["costs"]
    assert len(costs) == 2 * (2 + fused)
    run(sizes, monkeypatch, "--read", path, "--figure", drawn)
    assert rows(capsys.readouterr().out) == table
    assert drawn.read_text().startswith("<?xml")


def test_memory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fused: int
) -> None:
    run(memory_script, monkeypatch, "--quick")
    estimate, *compared = rows(capsys.readouterr().out)
    assert estimate[0] == "tiny x2, 64x64"
    assert len(compared) == 3 + fused
    above = [float(row[1]) for row in compared]
    assert above[0] > above[2] > 0  # the plain path takes less than spandrel


def test_train_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fused: int
) -> None:
    run(train_step, monkeypatch, "--quick")
    table = rows(capsys.readouterr().out)
    assert len(table) == 3 + fused
    assert all(float(row[1]) > 0 and float(row[4]) > 0 for row in table)
    assert table[0][3] == "1.00"


# ------------------------------------------------------------------------------ what they count


CONFIGS = {
    "tiny x2": TINY,
    "tiny x4, other widths": replace(TINY, scale=4, ffn_ratio=2.0, dictionary_size=5),
    "light x3": replace(atd_light(3), depths=(3, 2), heads=(4, 4)),
    "classical x2": replace(atd(2), depths=(2,), heads=(6,)),
    "classical x3": replace(atd(3), depths=(2,), heads=(6,)),
    "classical x4": replace(atd(4), depths=(2,), heads=(6,)),
}


def test_peers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fused: int,
) -> None:
    if not fused:
        with pytest.raises(SystemExit):
            run(peers, monkeypatch, "--quick")
        return
    monkeypatch.setattr(peers, "OWN", (peers.ATDSR, peers.AS_IS))
    figure, kept = tmp_path / "peers.svg", tmp_path / "peers.json"
    run(peers, monkeypatch, "--quick", "--json", kept)
    table = {row[0]: row for row in rows(capsys.readouterr().out)}
    assert table["ATD-light, atdsr"][2:] == ["1.00", "26.97"]
    assert table["SwinIR-light"][3] == "26.47"  # as published
    assert table["Real-ESRGAN compact"][3] == ""
    run(peers, monkeypatch, "--read", kept, "--figure", figure)
    assert {row[0]: row for row in rows(capsys.readouterr().out)} == table
    drawn = figure.read_text()
    assert "DAT-light" in drawn
    assert "compact" not in drawn  # no paper has its PSNR


@pytest.mark.parametrize("name", CONFIGS)
def test_flops_are_those_that_pytorch_counts(name: str) -> None:
    """In spandrel's network, which writes every product out."""
    network = networks_compared.official(ATD(CONFIGS[name]))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.rand(1, 3, 20, 40))  # continued to 32x48
    assert floor.least(CONFIGS[name], 20, 40).flops == counter.get_total_flops()


@pytest.mark.parametrize(
    ("config", "height", "width", "gflop"),
    [
        (atd_light(4), 64, 64, 13.2),
        (atd_light(4), 128, 128, 52.8),
        (atd_light(4), 180, 320, 198),
        (atd(4), 64, 64, 231),
    ],
)
def test_flops_of_the_published_networks(
    config: ATDConfig, height: int, width: int, gflop: float
) -> None:
    assert floor.least(config, height, width).flops == pytest.approx(gflop * 1e9, rel=0.005)


def test_exponentials_of_one_window() -> None:
    config = replace(TINY, depths=(2,), heads=(3,), width=12)
    softmaxes = 3 * (256 + 256) + 8  # both attentions, the dictionary
    assert floor.least(config, 16, 16).exponentials == 256 * (2 * (softmaxes + 2 * 12) + 8)


def test_a_floor_is_what_takes_longest() -> None:
    rates = Rates(matmul=100.0, matmul_bf16=100.0, linears=50.0, copied=10.0, exponentials=5.0)
    assert rates.floor(floor.Least(flops=200, exponentials=5, bytes=10)) == 2
    assert rates.floor(floor.Least(flops=200, exponentials=5, bytes=30)) == 3
    assert rates.shaped_floor(floor.Least(flops=200, exponentials=5, bytes=30)) == 4 + 1
    assert not rates.native_bf16


def test_typical_rates_are_medians() -> None:
    measured = [Rates(*(float(n) for _ in range(5))) for n in (3, 9, 1)]
    assert floor.typical(measured) == Rates(3.0, 3.0, 3.0, 3.0, 3.0)


# ---------------------------------------------------------------------------- what they compare


def test_sides_differ_where_their_weights_do() -> None:
    work = Work("tiny", 2, 24, 40)
    with Worker(networks_compared.Runner, TUNED, work) as worker:
        expected = worker.ask(networks_compared.Runner.result)
    assert expected.samples.shape == (3, 48, 80)
    assert expected.categories.shape == (4, 32 * 48)
    changed = expected.samples.copy()
    changed[0, 0, 0] += 0.5
    flipped = expected.categories.copy()
    flipped[1, :3] += 1
    found = speed.difference(replace(expected, samples=changed, categories=flipped), expected)
    assert found == "5e-01, 47 dB, 3 of 6,144 flipped"
    assert speed.difference(expected, expected) == "same bits"


@pytest.mark.usefixtures("stable_sort")
def test_categories_are_told_of_both_networks() -> None:
    ours = lively(TINY).double()
    told: list[list[torch.Tensor]] = []
    for network in (ours, networks_compared.official(ours).double()):
        told.append([])
        with torch.inference_mode(), networks_compared.categories_told(network, told[-1].append):
            network(networks_compared.picture(16, 32).double())
    mine, theirs = told
    assert len(mine) == 4
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    assert len(torch.cat(mine).unique()) > 1


def test_a_picture_of_any_size() -> None:
    for height, width in ((16, 16), (16, 900), (700, 20)):
        made = networks_compared.picture(height, width)
        assert made.shape == (1, 3, height, width)
        assert made.std() > 0.05


def test_light_networks_have_trained_weights() -> None:
    network = networks_compared.parameters(atd_light(4))
    trained = networks_compared.parameters(atd_light(2))
    assert torch.equal(network.conv_first.weight, trained.conv_first.weight)
    fresh = networks_compared.parameters(TINY)
    assert torch.equal(
        fresh.conv_first.weight, networks_compared.parameters(TINY).conv_first.weight
    )


# ------------------------------------------------------------------------------------- processes


class Probe:
    """What a process says of itself."""

    def __init__(self, side: Side) -> None:
        side.prepare()

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def number(self) -> int:
        return os.getpid()

    def burn(self) -> Seconds:
        return networks_compared.timed(lambda: sum(i * i for i in range(300_000)))

    def die(self) -> None:
        os._exit(3)


@pytest.fixture
def probe() -> Iterator["Worker[Probe]"]:
    with Worker(Probe, PLAIN) as worker:
        yield worker


def test_a_worker_is_a_process_of_its_own(probe: Worker[Probe]) -> None:
    assert probe.ask(Probe.number) not in (os.getpid(), None)
    said = probe.ask(Probe.environment)
    assert said["OMP_WAIT_POLICY"] == "PASSIVE"
    assert said["ATDSR_KERNELS"] == "off"
    took = probe.ask(Probe.burn)
    assert 0 < took.cpu < 10
    assert took.wall > 0


def test_a_worker_that_dies_is_told(probe: Worker[Probe]) -> None:
    with pytest.raises(DiedError, match="3"):
        probe.ask(Probe.die)


def test_what_cannot_run_is_left_out_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert AS_IS.why_not() is None
    sides = (TUNED, DAT)
    measured = speed.measure(speed.Case(Work("tiny", 2, 16, 16), sides), 1, True, None)
    assert [row.side for row in measured.rows] == [TUNED]
    assert "--dat" in capsys.readouterr().out


def test_a_path_ends_where_memory_would(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**20)
    costs = sizes.measure(PLAIN, "tiny", (32, 64), 900.0)
    assert [cost.length for cost in costs] == [32]
    assert "64x64 is left out" in capsys.readouterr().out


# -------------------------------------------------------------------------------------- results


def test_results_stand_beside_published_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    row = {"scale": 4, "set": "Set5", "psnr_y": 30.124, "ssim_y": 0.87654}
    mine = {**row, "model": "atd-light-x4", "parameters": 768_792}
    bicubic = {**row, "model": "bicubic", "parameters": None, "set": "Set14"}
    for name, rows_of in (("a.json", [mine]), ("b.json", [bicubic])):
        (tmp_path / name).write_text(json.dumps({"rows": rows_of}))
    files = [tmp_path / "a.json", tmp_path / "b.json", tmp_path / "b.json"]
    run(results, monkeypatch, *files, "--json", tmp_path / "all.json")
    kept = expected.read(tmp_path / "all.json")
    assert [(row.model, row.psnr) for row in kept.rows] == [
        ("atd-light-x4", 30.124),
        ("bicubic", 30.124),
    ]
    table = rows(capsys.readouterr().out)
    empty = ["", ""]
    ours = ["x4", "**atd-light**", "measured", "769K", "30.12 / 0.8765", "", *empty]
    theirs = ["x4", "bicubic", "measured", "", "", "30.12 / 0.8765", *empty]
    assert [line for line in table if "measured" in line] == [ours, theirs, theirs]
    (published,) = (line for line in table if line[1] == "ATD-light")
    assert published[2:5] == ["published", "769K", "32.63 / 0.8998"]
    assert not [line for line in table if line[0] != "x4"]


def test_strips(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "sets" / "Urban100" / "HR"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (90, 130, 3), np.uint8)
    for name in ("img_027.png", "img_076.webp"):
        Image.fromarray(pixels).save(folder / name)
    out = tmp_path / "out"
    run(strips, monkeypatch, tmp_path / "sets", "-o", out, "-s", 4, "-m", "lanczos")
    said = capsys.readouterr().out
    assert [line[:2] for line in rows(said)] == [
        [f"Urban100 {name}, x4", method]
        for name in ("img_027", "img_076")
        for method in ("bicubic", "lanczos")
    ]
    assert "Manga109" in said
    assert sorted(path.name for path in out.iterdir()) == [
        "Urban100_img_027_x4.png",
        "Urban100_img_076_x4.png",
    ]


def test_manifest_counts_the_lines_of_a_shard(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    run(manifest, monkeypatch, "--lines", 640)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("640 lines, ")
    assert 0 < int(said[0].split()[2]) < 40  # about a 64th
    assert said[2].startswith("memory ")
