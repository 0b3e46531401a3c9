"""All measurements of the GPU kernels in one run: correctness, speed, and against spandrel.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --only check --only step
    python benchmarks/gpu.py --rehearse               # tiny and interpreted, where there is no GPU

Needs torch and Triton; spandrel (with torchvision, einops, safetensors and numpy) is compared with
where it can be imported, and this network without its kernels stands in for it elsewhere.

1. `check`: every kernel on fresh random inputs against its definition in float64, forward and
   backward, outputs poisoned with NaN before; the counting sort; the whole network.
2. `kernels`: the machine's two ceilings (a large bf16 product, a large copy), and the time of each
   kernel over the floor that they and the kernel's bytes and products give.
3. `forward`, `step`: the networks and the training step against spandrel's, in turns, and the most
   memory that a step has allocated.
4. `curves`: a thousand steps with the kernels, without, and in float32; two runs with equal bits.

The table of what was wanted comes last; it is Markdown. A check that fails ends it with 1.
"""

import argparse
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from interpreting import ON_GPU  # isort: skip  # before Triton

import triton.testing

from atdsr.network import kernels
from atdsr.network.config import atd, atd_light
from atdsr.network.kernels import gpu
from atdsr.network.kernels.gpu.graphs import Graph
from atdsr.reports.doctor.kernel_cases import (
    LIMITS,
    Size,
    as_tuple,
    cases,
    largest_error,
    sorting_is_stable,
)
from gpu_curves import curves, same_bits
from gpu_networks import Peer, Trainer, fresh, noise

PARTS = ("check", "kernels", "forward", "step", "curves")
TINY = replace(
    atd_light(2),
    width=12,
    depths=(2,),
    heads=(2,),
    window=4,
    category_size=20,
    dictionary_size=6,
    reduced_width=4,
    ffn_kernel=3,
)
"""A network that an interpreter gets through in seconds."""


@dataclass(frozen=True)
class Wanted:
    """A row of the last table.

    Attributes:
        what: is measured.
        least: what it should reach.
        aim: what it may reach.
        found: what it did.
    """

    what: str
    least: str
    aim: str
    found: str = "not measured"


# ------------------------------------------------------------------------------------------ right


def check(sizes: list[Size], device: torch.device) -> bool:
    """Hold every kernel to its definition; whether all are right."""
    right = True
    print("\n| network | kernel | type | largest error | |\n|---|---|---|---|---|")
    for size in sizes:
        for dtype, limit in LIMITS.items():
            for case in cases(size, dtype, device):
                worst = largest_error(case)
                good = worst <= limit
                right &= good
                name = str(dtype).removeprefix("torch.")
                verdict = "" if good else f"wrong: over {limit}"
                print(f"| {size.name} | {case.name} | {name} | {worst:.1e} | {verdict} |")
        print(
            f"| {size.name} | the network, 64x64 | float32 | {error_of_network(size, device)} | |"
        )
        stable = sorting_is_stable(size, device)
        right &= stable
        print(f"| {size.name} | counting sort | int32 | | {'' if stable else 'wrong'} |")
    return right


def error_of_network(size: Size, device: torch.device) -> str:
    """Of a forward pass with the kernels; a token in another category makes it larger."""
    network = fresh(size.config, device).eval()
    side = min(64, size.height)
    image = torch.rand(1, 3, side, side, device=device)
    with torch.no_grad(), nullcontext() if ON_GPU else gpu.interpreted():
        found = network(image).double()
        exact = network.double()(image.double())
    return f"{((found - exact).norm() / exact.norm()).item():.1e}"


# ------------------------------------------------------------------------------------------- fast


def milliseconds(work: Callable[[], object]) -> float:
    """Of one call, recorded so that no launch is waited for: the median of many, cache cold."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = work()  # noqa: F841  # where the graph writes
    found: Any = triton.testing.do_bench(graph.replay, warmup=50, rep=200, return_mode="median")
    return float(found)


def ceilings(device: torch.device) -> tuple[float, float]:
    """FLOP/s of a large bf16 product and bytes/s of a large copy, read and written."""
    side = 8192
    a, b = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    flops = 2 * side**3 / milliseconds(lambda: a @ b) * 1e3
    source = torch.randn(2**30, device=device)
    target = torch.empty_like(source)
    copied = 2 * source.nbytes / milliseconds(lambda: target.copy_(source)) * 1e3
    return flops, copied


def time_kernels(sizes: list[Size], device: torch.device) -> None:
    """Print what each kernel takes, and how far from its floor that is."""
    flops, copied = ceilings(device)
    print(f"\nbf16 product {flops / 1e12:.0f} TFLOP/s, copy {copied / 1e12:.2f} TB/s\n")
    print("| network | kernel | forward, us | floor, us | x floor | backward, us |")
    print("|---|---|---|---|---|---|")
    for size in sizes:
        for case in cases(size, torch.bfloat16, device):
            with torch.no_grad():
                forward = milliseconds(partial(case.fast, *case.inputs))
            out = as_tuple(case.fast(*case.inputs))
            upstream = [torch.randn_like(x) for x in out]
            gradients = partial(torch.autograd.grad, out, case.inputs, upstream, retain_graph=True)
            backward = milliseconds(gradients)
            floor = max(case.bytes / copied, case.flops / flops) * 1e3
            print(
                f"| {size.name} | {case.name} | {forward * 1e3:.0f} | {floor * 1e3:.1f} | "
                f"{forward / floor:.1f} | {backward * 1e3:.0f} |"
            )


def in_turns(ways: dict[str, Callable[[], object]], rounds: int, calls: int) -> dict[str, float]:
    """Milliseconds of a call of each way, the medians of rounds in which all take their turn."""
    took: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, work in ways.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(calls):
                work()
            end.record()
            end.synchronize()
            if number:  # the first one warms up
                took[way].append(start.elapsed_time(end) / calls)
    return {way: median(times) for way, times in took.items()}


def compare_forward(wanted: Wanted, size: Size, device: torch.device) -> Wanted:
    """Time a network against its peer in bf16; print all ways of running it."""
    network = fresh(size.config, device).eval()
    peer = Peer(network)
    image = torch.rand(size.batch, 3, size.height, size.width, device=device)
    graph = Graph(network, lambda why: print(f"no CUDA graph: {why}"))

    def run(work: Callable[[Tensor], object], keeps: bool = True, fused: bool = True) -> None:
        path = nullcontext() if fused else kernels.plain()
        with path, torch.autocast(device.type, torch.bfloat16, cache_enabled=keeps):
            work(image)

    ways: dict[str, Callable[[], object]] = {
        peer.name: partial(run, peer),
        "plain": partial(run, network, fused=False),
        "kernels": partial(run, network),
        # a recorded graph must not read casts that were kept from before it
        "kernels, CUDA graph": partial(run, graph, keeps=False),
    }
    with torch.inference_mode():
        took = in_turns(ways, rounds=5, calls=4)
    print("\n| forward | way | ms | it / kernels |\n|---|---|---|---|")
    for way, time in took.items():
        print(f"| {wanted.what} | {way} | {time:.2f} | {time / took['kernels']:.2f} |")
    ratio = took[peer.name] / took["kernels, CUDA graph"]
    found = f"{ratio:.1f}x {peer.name}, {took['kernels, CUDA graph']:.1f} ms"
    return replace(wanted, found=f"{found} ({took['kernels']:.1f} ms without CUDA graph)")


def compare_steps(wanted: Wanted, size: Size, device: torch.device) -> tuple[Wanted, str]:
    """Time a training step against the peer's; the row, and the ratio of memory."""
    batch = noise(size.config, size.batch, size.height, device)
    ways: dict[str, Callable[[], object]] = {}
    memory: dict[str, float] = {}
    peer = Peer(fresh(size.config, device))
    makers: dict[str, Callable[[], Callable[..., None]]] = {
        peer.name: peer.trainer,
        "kernels": lambda: Trainer(size.config, device, cuda_graph=False),
        "kernels, CUDA graph": lambda: Trainer(size.config, device),
    }
    for way, make in makers.items():
        step = make()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        try:
            for _ in range(5):
                step(batch)
        except torch.OutOfMemoryError:
            print(f"{way} does not fit into memory")
            continue
        memory[way] = torch.cuda.max_memory_allocated() - before
        ways[way] = partial(step, batch)
    took = in_turns(ways, rounds=5, calls=4)
    print("\n| step | way | ms | GiB |\n|---|---|---|---|")
    for way, time in took.items():
        print(f"| {wanted.what} | {way} | {time:.2f} | {memory[way] / 2**30:.2f} |")
    ours = took["kernels, CUDA graph"]
    if peer.name not in took:
        return replace(wanted, found=f"{ours:.1f} ms; {peer.name} does not fit"), "not measured"
    found = f"{took[peer.name] / ours:.1f}x {peer.name}, {ours:.1f} ms"
    share = memory[peer.name] / memory["kernels"]
    return replace(wanted, found=found), f"1/{share:.1f} of {peer.name}"


# ------------------------------------------------------------------------------------- everything


def learn(quick: bool, device: torch.device) -> None:
    """Print the curves of training each way, and whether two runs are the same."""
    config, steps, crops, patch = atd_light(2), 1000, 8, 32
    if quick:
        config, steps, crops, patch = TINY, 2, 1, 8
    found = curves(config, steps, crops, patch, device)
    print(f"\nmean L1 of tenths of {steps} steps, {crops} crops of {patch}x{patch}")
    for way, losses in found.items():
        print(f"{way:14}", *(f"{loss:.5f}" for loss in losses))
    same = same_bits(config, max(2, steps // 10), crops, patch, device)
    print(f"two runs with kernels: {'the same bits' if same else 'DIFFERENT BITS'}")


def rehearse(size: Size, device: torch.device) -> None:
    """A forward pass and a step of a tiny network, interpreted, against the plain path."""
    network = fresh(size.config, device).eval()
    image = torch.rand(1, 3, size.height, size.width)
    with torch.inference_mode():
        with gpu.interpreted():
            fused = network(image)
        with kernels.plain():
            plain = network(image)
    print(f"\nrehearsal: largest difference of the network {(fused - plain).abs().max():.1e}")
    batch = noise(size.config, 1, size.height, device)
    Peer(network).trainer()(batch)
    with gpu.interpreted():
        trainer = Trainer(size.config, device)
        trainer(batch)
    print(f"rehearsal: loss of a step {trainer.loss():.4f}")


def main() -> None:
    """Run the parts that are wanted; the table comes last."""
    parser = argparse.ArgumentParser(description="The GPU kernels: right, fast, against spandrel.")
    parser.add_argument("--only", action="append", choices=PARTS, help="several times; all if not")
    parser.add_argument("--rehearse", action="store_true", help="tiny, and without a GPU")
    asked = parser.parse_args()
    if not ON_GPU and not asked.rehearse:
        sys.exit("there is no GPU here; --rehearse runs what can be run without.")
    parts = asked.only or PARTS
    device = torch.device("cuda" if ON_GPU else "cpu")
    light, classical = atd_light, atd
    training = [Size("light", light(2), 32, 64, 64), Size("classical", classical(2), 4, 64, 64)]
    enlarging = [Size("classical", classical(4), 1, 180, 320), Size("light", light(4), 1, 480, 640)]
    if asked.rehearse:
        training = enlarging = [Size("tiny", TINY, 2, 8, 12)]
    print(_machine(device))
    rows = [
        Wanted("training step, light x2, 32 x 64x64, bf16", "6x, 20 ms", "10x, 10 ms"),
        Wanted("training step, classical x2, 4 x 64x64, bf16", "4x", "8x"),
        Wanted("forward, classical x4, 320x180, bf16", "5x", "10x, 12 ms"),
        Wanted("forward, light x4, 640x480, bf16", "6x", "12x"),
        Wanted("peak memory of the light step", "1/5", "1/8"),
    ]
    right = check(training, device) if "check" in parts else True
    if asked.rehearse:
        rehearse(training[0], device)
    if ON_GPU and "kernels" in parts:
        time_kernels(training, device)
    if ON_GPU and "step" in parts:
        for i, size in enumerate(training):
            rows[i], memory = compare_steps(rows[i], size, device)
            if i == 0:
                rows[4] = replace(rows[4], found=memory)
    if ON_GPU and "forward" in parts:
        for i, size in enumerate(enlarging):
            rows[i + 2] = compare_forward(rows[i + 2], size, device)
    if "curves" in parts:
        with nullcontext() if ON_GPU else gpu.interpreted():
            learn(asked.rehearse, device)
    print(f"\n{_machine(device)}\n\n| | at least | aim | found |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row.what} | {row.least} | {row.aim} | {row.found} |")
    sys.exit(0 if right else 1)


def _machine(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if ON_GPU else "no GPU, kernels interpreted on a CPU"
    return f"{name}, torch {torch.__version__}, Triton {triton.__version__}"


if __name__ == "__main__":
    main()
