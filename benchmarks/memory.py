"""Peak memory of enlarging a picture on the CPU.

    python benchmarks/memory.py              # the networks at several sizes, then against spandrel
    python benchmarks/memory.py light 4 96 96     # one case against its estimate
    python benchmarks/memory.py --quick

First the peak of the process against what it had before plus what `Upscaler.estimate` says. Then,
for a picture of 512x512, what ATD-light takes above what is resident after loading, by this
project and by spandrel's network. Each case runs in a process of its own, since a process never
gives its peak back.
"""

import argparse
from dataclasses import dataclass

import psutil

from atdsr import imaging
from atdsr.base import memory
from atdsr.inference import upscaler
from networks_compared import AS_IS, FUSED, PLAIN, TUNED, Runner, Work, parameters, picture
from turns import Worker, machine

CASES = (
    Work("light", 2, 128, 128),
    Work("light", 2, 256, 256),
    Work("light", 2, 384, 512),
    Work("light", 2, 640, 960),
    Work("light", 3, 256, 256),
    Work("light", 4, 256, 256),
    Work("classical", 2, 64, 64),
    Work("classical", 2, 128, 128),
    Work("classical", 2, 160, 192),
    Work("classical", 3, 128, 128),
    Work("classical", 4, 128, 128),
    Work("light-v2", 2, 256, 256),
    Work("light-v2", 2, 384, 512),
    Work("light-v2", 4, 256, 256),
    Work("classical-v2", 2, 64, 64),
    Work("classical-v2", 2, 128, 128),
    Work("classical-v2", 4, 128, 128),
    Work("u", 1, 128, 128),
    Work("u", 1, 256, 256),
    Work("u", 1, 300, 400),
)
COMPARED = Work("light", 2, 512, 512)
QUICK = Work("tiny", 2, 64, 64)


@dataclass(frozen=True)
class Taken:
    """Memory of a process in bytes.

    Attributes:
        before: what it had.
        estimate: what it was expected to have at the most.
        peak: what it had at the most.
    """

    before: int
    estimate: int
    peak: int


class Enlarger:
    """A picture and what enlarges it, as the command line does it, in a process of its own."""

    def __init__(self, work: Work) -> None:
        memory.keep_freed_memory()
        self._upscaler = upscaler.Upscaler(parameters(work.config), device="cpu", tile="off")
        self._picture = imaging.to_array(picture(work.height, work.width))

    def measure(self) -> Taken:
        """Enlarge it once."""
        before = psutil.Process().memory_info().rss
        estimate = before + self._upscaler.estimate(*self._picture.shape[:2])
        with memory.peak() as peak:
            self._upscaler(self._picture)
        if peak.bytes is None:
            raise SystemExit("this system does not tell the peak memory of a process")
        return Taken(before, estimate, peak.bytes)


def against_estimate(cases: tuple[Work, ...]) -> None:
    """Print measured and estimated peaks."""
    print("\n| network, LR | peak MiB | estimate MiB | error | bytes a pixel |", flush=True)
    print("|---|---|---|---|---|", flush=True)
    for work in cases:
        with Worker(Enlarger, work) as worker:
            taken = worker.ask(Enlarger.measure)
        a_pixel = (taken.peak - taken.before) / (work.height * work.width)
        print(
            f"| {work.name} | {taken.peak / 2**20:,.0f} | {taken.estimate / 2**20:,.0f} | "
            f"{taken.estimate / taken.peak - 1:+.1%} | {a_pixel:,.0f} |",
            flush=True,
        )


def against_spandrel(work: Work) -> None:
    """Print what each path takes above what is resident after loading."""
    print(f"\n{work.name}\n\n| path | MiB above | bytes a pixel | spandrel as is / it |")
    print("|---|---|---|---|", flush=True)
    first: int | None = None
    for side in (AS_IS, TUNED, PLAIN, FUSED):
        if (why_not := side.why_not()) is not None:
            print(f"\n{side.name} is left out: {why_not}")
            continue
        with Worker(Runner, side, work) as worker:
            taken = worker.ask(Runner.peak)
        first = first or taken
        a_pixel = taken / (work.height * work.width)
        row = f"{side.name} | {taken / 2**20:,.0f} | {a_pixel:,.0f} | {first / taken:.2f}"
        print(f"| {row} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Peak memory on the CPU.")
    parser.add_argument("case", nargs="*", help="NETWORK SCALE HEIGHT WIDTH, instead of all")
    parser.add_argument("--quick", action="store_true", help="a tiny network, for a trial")
    wanted = parser.parse_args()
    if len(wanted.case) not in (0, 4) or not all(map(str.isdecimal, wanted.case[1:])):
        parser.error("a case is NETWORK SCALE HEIGHT WIDTH, such as light 2 64 64")
    print(machine())
    if wanted.case:
        network, *numbers = wanted.case
        against_estimate((Work(network, *map(int, numbers)),))
        return
    against_estimate((QUICK,) if wanted.quick else CASES)
    against_spandrel(QUICK if wanted.quick else COMPARED)


if __name__ == "__main__":
    main()
