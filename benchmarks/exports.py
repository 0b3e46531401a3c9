"""Exported files in onnxruntime and OpenVINO: the same picture, and how fast.

    python benchmarks/exports.py same FOLDER                    # export, and compare the results
    python benchmarks/exports.py same FOLDER --network atd-light-x2
    python benchmarks/exports.py speed FOLDER/atd-light-x2.onnx --side 128 --rounds 5

`same` exports the bundled models, and a classical network with random weights and two blocks of
three layers, unless their files are in the folder already. It runs the files on the sample photo at
three sizes and counts the 8-bit samples that differ from what plain PyTorch gives; the kernels in C
are compared likewise. `speed` lets the C kernels, plain PyTorch, onnxruntime and OpenVINO take
turns, each in a process of its own, and prints medians of CPU time and the peak of memory.
OpenVINO is left out where it is not installed.
"""

import argparse
import importlib
import importlib.util
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

from atdsr import export, imaging
from atdsr.base import memory
from atdsr.inference.onnx_network import OnnxNetwork
from atdsr.network import kernels
from atdsr.network.config import atd
from atdsr.network.model import ATD
from atdsr.weights import models
from turns import Seconds, Worker, machine, timed

CLASSICAL = "classical-x2-2x3"
NETWORKS = (*(model.name for model in models.BUNDLED), CLASSICAL)
SIZES = ((61, 83), (96, 64), (127, 129))
"""Height and width of the photo's upper left parts that are enlarged."""

WAYS = ("C kernels", "plain PyTorch", "onnxruntime", "OpenVINO")

Run = Callable[[Tensor], Tensor]


def network(name: str) -> ATD:
    """The network of that name."""
    if name != CLASSICAL:
        return models.load_weights(name).build_enlarging("an export")
    torch.manual_seed(0)
    return ATD(replace(atd(2), depths=(3, 3), heads=(6, 6))).eval()


def exported(name: str, folder: Path) -> Path:
    """The network as an ONNX file, which is written unless it is there."""
    path = folder / f"{name}.onnx"
    if not path.exists():
        start = time.process_time()
        for check in export.export(network(name), path, export.Description(name)):
            print(f"{name}: {check.width}x{check.height}, {check.psnr:.1f} dB from the network")
        megabytes = path.stat().st_size / 1e6
        print(f"{name}: {time.process_time() - start:.0f} CPU s to export, {megabytes:.1f} MB")
    return path


def photo(height: int, width: int) -> Tensor:
    """The upper left part of the sample photo, `1 3 h w`."""
    with as_file(files("atdsr.reports") / "sample" / "coffee.png") as path:
        return imaging.to_tensor(imaging.read(path).samples[:height, :width])


def has_openvino() -> bool:
    """Whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


def openvino(path: Path) -> Run:
    """What runs the file in OpenVINO, on as many threads as PyTorch uses."""
    package: Any = importlib.import_module("openvino")
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = package.Core().compile_model(str(path), "CPU", settings)
    return lambda image: torch.from_numpy(compiled(image.numpy())[0])


class Way:
    """One way of running a network, in a process of its own."""

    def __init__(self, way: str, path: Path, name: str, side: int) -> None:
        memory.keep_freed_memory()
        self._image = photo(side, side)
        self._plain = way == "plain PyTorch"
        self._run: Run
        if way == "onnxruntime":
            self._run = OnnxNetwork(path)
        elif way == "OpenVINO":
            self._run = openvino(path)
        else:
            self._run = network(name)

    def measure(self) -> tuple[Seconds, int]:
        """Run it once; the seconds, and the bytes of memory that the process has at its peak."""
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self._plain:
                stack.enter_context(kernels.plain())
            peak = stack.enter_context(memory.peak())
            taken = timed(lambda: self._run(self._image))
        return taken, peak.bytes or psutil.Process().memory_info().rss


def same(names: list[str], folder: Path) -> None:
    """Compare the results of all ways, as 8-bit samples."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = exported(name, folder)
        model = network(name)
        runs: dict[str, Run] = {"C kernels": model, "onnxruntime": OnnxNetwork(path)}
        if has_openvino():
            runs["OpenVINO"] = openvino(path)
        for height, width in SIZES:
            image = photo(height, width)
            with torch.inference_mode(), kernels.plain():
                expected = model(image)
            for way, run in runs.items():
                with torch.inference_mode():
                    result = run(image)
                levels = [imaging.to_array(x.clamp(0, 1)).astype(int) for x in (result, expected)]
                apart = np.abs(levels[0] - levels[1])
                print(
                    f"{name} {width}x{height} {way}: {(apart > 0).sum()} of {apart.size} samples "
                    f"differ, by {apart.max()} at most; floats by "
                    f"{(result - expected).abs().max():.1e}",
                    flush=True,
                )


def speed(path: Path, name: str, side: int, rounds: int) -> None:
    """Let all ways take turns on the photo's upper left square."""
    ways = [way for way in WAYS if way != "OpenVINO" or has_openvino()]
    with ExitStack() as stack:
        workers = {way: stack.enter_context(Worker(Way, way, path, name, side)) for way in ways}
        taken: dict[str, list[tuple[Seconds, int]]] = {way: [] for way in ways}
        for _ in range(rounds + 1):
            for way, worker in workers.items():
                taken[way].append(worker.ask(Way.measure))
    print(machine())
    cpu = {way: median(seconds.cpu for seconds, _ in each[1:]) for way, each in taken.items()}
    for way in ways:
        peak = max(peak for _, peak in taken[way])
        times = cpu[way] / cpu[ways[0]]
        print(
            f"{name} {side}x{side} {way}: {cpu[way]:.2f} CPU s, {times:.2f} times the C kernels, "
            f"{peak / 2**20:.0f} MiB at the peak"
        )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Exported files in other programs")
    commands = parser.add_subparsers(dest="command", required=True)
    compare = commands.add_parser("same")
    compare.add_argument("folder", type=Path)
    compare.add_argument("--network", action="append", choices=NETWORKS)
    measure = commands.add_parser("speed")
    measure.add_argument("file", type=Path, help="called as the network")
    measure.add_argument("--side", type=int, default=128)
    measure.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.command == "same":
        same(options.network or list(NETWORKS), options.folder)
    else:
        speed(options.file, options.file.stem, options.side, options.rounds)


if __name__ == "__main__":
    main()
