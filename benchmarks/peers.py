"""CPU seconds a megapixel of networks and runtimes that one could take instead, against PSNR.

    python benchmarks/peers.py                               # all that is installed
    python benchmarks/peers.py --figure docs/figures/peers.svg --json peers.json
    python benchmarks/peers.py --read peers.json --figure peers.svg      # draw again
    python benchmarks/peers.py --quick

All enlarge the upper left square of the sample photo by 4, each in a process of its own, and take
turns; CPU time is the median of the rounds after a first one that does not count. All processes
keep freed memory (`memory.keep_freed_memory`), but for "ATD, as is". ATD-light has the bundled
weights in atdsr's kernels, also in bfloat16, in plain PyTorch, under `torch.compile`, in
onnxruntime and OpenVINO and in spandrel; the other networks are spandrel's with random weights,
which take the same time as trained ones. What is not installed, or fails, is left out. PSNR is on
Urban100, as published (a network has it, not a runtime); what no paper has is in the table alone.
"""

import argparse
import json
import tempfile
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from atdsr.base import memory
from atdsr.evaluation import published
from atdsr.network import kernels
from atdsr.network.backend import products_in_bfloat16
from atdsr.network.kernels import cpu
from atdsr.reports import plots
from atdsr.weights import models
from exports import OnnxNetwork, exported, has_openvino, openvino, photo
from networks_compared import official, spandrel
from script import read_json, run_script
from turns import DiedError, Seconds, Worker, machine, timed

SCALE = 4
DATASET = "Urban100"
ATD = "ATD-light"
AS_IS, COMPILED, ONNX, OPENVINO = (
    f"{ATD}, spandrel as is",
    f"{ATD}, torch.compile",
    f"{ATD}, onnxruntime",
    f"{ATD}, OpenVINO",
)
ATDSR = f"{ATD}, atdsr"
IN_BF16 = f"{ATD}, atdsr in bf16"
OWN = (ATDSR, IN_BF16, f"{ATD}, plain PyTorch", COMPILED, ONNX, OPENVINO, f"{ATD}, spandrel", AS_IS)
DRAWN = (ATDSR, IN_BF16, ONNX, AS_IS)
"""Of `OWN`, what is in the figure: all have the same PSNR, and more labels would not fit."""

MEASURED = {"DAT-light": 26.64, "ATD-light (bundled)": 25.56}
"""On Urban100 by `atdsr eval` (docs/results.md), where a paper has none or weights are ours."""

LIGHT_HEAD = "pixelshuffledirect"
PEERS: dict[str, tuple[str, dict[str, Any]]] = {
    "SwinIR-light": (
        "SwinIR.__arch.SwinIR:SwinIR",
        {
            "upscale": SCALE,
            "embed_dim": 60,
            "depths": [6] * 4,
            "num_heads": [6] * 4,
            "window_size": 8,
            "mlp_ratio": 2,
            "upsampler": LIGHT_HEAD,
        },
    ),
    "DAT-light": (
        "DAT.__arch.DAT:DAT",
        {
            "upscale": SCALE,
            "embed_dim": 60,
            "split_size": [8, 32],
            "depth": [18],
            "num_heads": [6],
            "expansion_factor": 2,
            "resi_connection": "3conv",
            "upsampler": LIGHT_HEAD,
        },
    ),
    "OmniSR": ("OmniSR.__arch.OmniSR:OmniSR", {"up_scale": SCALE, "res_num": 5}),
    "Real-ESRGAN compact": (
        "Compact.__arch.SRVGG:SRVGGNetCompact",
        {"upscale": SCALE, "num_conv": 32},
    ),
}
"""Where spandrel has networks of others, and how their papers or option files size them for x4."""


def peer(name: str) -> nn.Module:
    """A network of `PEERS`, with random weights."""
    place, sizes = PEERS[name]
    module, _, network = place.partition(":")
    torch.manual_seed(0)
    return getattr(import_module(f"spandrel.architectures.{module}"), network)(**sizes).eval()


class Competitor:
    """A network in a runtime, for a process of its own.

    Args:
        name: One of `OWN` or `PEERS`.
        side: Of the LR picture in pixels.
        onnx: The exported network.
    """

    def __init__(self, name: str, side: int, onnx: Path) -> None:
        assert spandrel is not None  # its import is what makes its networks importable
        warnings.simplefilter("ignore")  # of other people's code
        if name != AS_IS:
            memory.keep_freed_memory()
        self._image = photo(side, side)
        self._is_plain = name not in (ATDSR, IN_BF16, ONNX, OPENVINO)
        self._in_bf16 = name == IN_BF16
        self._run = self._runner(name, onnx)

    def measure(self) -> Seconds:
        """Enlarge the picture once."""
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self._is_plain:
                stack.enter_context(kernels.plain())
            stack.enter_context(products_in_bfloat16(self._image.device, enabled=self._in_bf16))
            return timed(lambda: self._run(self._image))

    def _runner(self, name: str, onnx: Path) -> Callable[[Tensor], object]:
        if name == ONNX:
            return OnnxNetwork(onnx)
        if name == OPENVINO:
            return openvino(onnx)
        if name in PEERS:
            return peer(name)
        network = models.for_scale(SCALE).load().build_enlarging("a benchmark").eval()
        if "spandrel" in name:
            return official(network)
        return torch.compile(network) if name == COMPILED else network


@dataclass(frozen=True)
class Cost:
    """What a network takes.

    Attributes:
        name: One of `OWN` or `PEERS`.
        seconds: CPU seconds a megapixel of the result.
    """

    name: str
    seconds: float

    @property
    def network(self) -> str:
        """Without the runtime."""
        return self.name.partition(",")[0]


def measure(names: list[str], side: int, rounds: int) -> list[Cost]:
    """Let all take turns."""
    taken: dict[str, list[float]] = {name: [] for name in names}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        onnx = exported(models.for_scale(SCALE).name, folder) if ONNX in names else folder
        workers = {n: stack.enter_context(Worker(Competitor, n, side, onnx)) for n in names}
        for name, worker in list(workers.items()):
            try:
                worker.ask(Competitor.measure)  # which loads and compiles
            except DiedError as error:
                print(f"{name} is left out: {error}", flush=True)
                del workers[name]
        for _ in range(rounds):
            for name, worker in workers.items():
                taken[name].append(worker.ask(Competitor.measure).cpu)
    megapixels = (side * SCALE) ** 2 / 1e6
    return [Cost(name, median(taken[name]) / megapixels) for name in workers]


def quality() -> dict[str, float]:
    """The PSNR on `DATASET` by network."""
    rows = published.rows(SCALE, [DATASET])
    return MEASURED | {row.model: row.psnr for row in rows if row.group == "light"}


def table(costs: list[Cost]) -> str:
    """The costs in Markdown, the cheapest first."""
    psnr = quality()
    own = next(cost.seconds for cost in costs if cost.name == ATDSR)
    lines = [
        f"| network, runtime | CPU s a megapixel | times atdsr | PSNR-Y on {DATASET} |",
        "|---|---|---|---|",
    ]
    for cost in sorted(costs, key=lambda cost: cost.seconds):
        known = f"{psnr[cost.network]:.2f}" if cost.network in psnr else ""
        times = cost.seconds / own
        lines.append(f"| {cost.name} | {cost.seconds:.1f} | {times:.2f} | {known} |")
    return "\n".join(lines)


def draw(costs: list[Cost], path: Path) -> None:
    """Draw PSNR against the cost, of some runtimes; a network without a figure is not in it."""
    psnr = quality()
    points = [
        plots.Point(cost.name, cost.seconds, psnr[cost.network], cost.name == ATDSR, cost.name)
        for cost in costs
        if cost.network in psnr and (cost.name not in OWN or cost.name in DRAWN)
    ]
    own = next(point for point in points if point.label == ATDSR)
    bundled = f"{ATD} (bundled)"
    points.append(plots.Point(bundled, own.x, psnr[bundled], True, bundled))
    with plots.style():
        figure = plots.scatter(
            points,
            "CPU seconds a megapixel of the result",
            f"PSNR-Y on {DATASET} x{SCALE} in dB",
            plots.ON_PAPER,
        )
        figure.set_size_inches(8.2, 4.4)
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=140, metadata=metadata)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description="CPU time of other networks and runtimes.")
    parser.add_argument("--quick", action="store_true", help="a tiny picture, without compiling")
    parser.add_argument("--side", type=int, default=128, help="of the LR picture")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--read", type=Path, metavar="FILE", help="measure nothing; read these")
    wanted = parser.parse_args()
    if wanted.read is not None:
        content = read_json(wanted.read, ["machine", "costs"], "benchmarks/peers.py --json")
        head, costs = content["machine"], [Cost(**cost) for cost in content["costs"]]
    else:
        if (why_not := cpu.status().why_not) is not None:
            parser.error(f"atdsr's kernels do not run here: {why_not}")
        left_out = {OPENVINO} if not has_openvino() else set()
        left_out |= {IN_BF16} if not cpu.multiplies_bf16() else set()
        if wanted.quick:
            left_out |= {COMPILED, ONNX, OPENVINO}
        names = [name for name in (*OWN, *PEERS) if name not in left_out]
        side, rounds = (32, 1) if wanted.quick else (wanted.side, wanted.rounds)
        head, costs = machine(), measure(names, side, rounds)
    if wanted.json is not None:
        content = {"machine": head, "costs": [asdict(cost) for cost in costs]}
        wanted.json.write_text(json.dumps(content, indent=1))
    if wanted.figure is not None:
        draw(costs, wanted.figure)
    print(f"\n{head}\n\n{table(costs)}")


if __name__ == "__main__":
    run_script(main)
