"""How much code a picture and a training step pass through, and how the packages hang together.

    python benchmarks/structure.py [--source FOLDER ...] [--list upscale|train]

Each FOLDER holds the package `atdsr`; the default is `src` here. Several make a table with a column
each. Nothing of a tree is imported but its command line, so trees of any layout can be compared.

What runs is counted with `sys.setprofile`, in a process of its own for each command:

- `upscale` is `atdsr upscale` of one picture of 48x48 pixels: the process starts, loads the
  weights, enlarges the picture and writes it.
- `picture` is what one more picture passes through: the functions that are called more often where
  the same command is given two pictures.
- `train` is `atdsr train` with one step of a tiny network: set up, step, state and weights saved.
- `step` is what one more step passes through, likewise: two steps against one.

Counted is Python code of the tree on all threads. Whatever runs while a module is being imported
is left out. Functions are named functions and lambdas; comprehensions are part of theirs. The stack
depth is the largest number of frames of the tree, of other libraries none, at one time on a thread;
for `picture` and `step` it is taken at calls of the functions that count.
`--list` prints the functions of the first FOLDER in the order of their first call, one a line.

An import chain follows imports at the top of modules, those for type checkers left out.
"""

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from PIL import Image

SOURCE = Path(__file__).parents[1] / "src"
COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
RECIPE = """
name: short
model: {width: 12, depths: [2, 2], heads: [2, 2], category_size: 256, dictionary_size: 8,
        reduced_width: 4, ffn_kernel: 3, ffn_ratio: 1, head: pixelshuffledirect}
scale: 2
iterations: {steps}
data: {train: set, batch: 2, patch: 16}
"""
COMMANDS = {
    "upscale": ("upscale", "pictures/0.png", "--device", "cpu", "-o", "enlarged/"),
    "train": ("train", "short.yaml", "--device", "cpu"),
}
"""Each is run once as it is, and once with a second picture or step."""

CASES = ("upscale", "picture", "train", "step")

Function = tuple[str, int, str]
"""File, line and name."""


# --------------------------------------------------------------------------------- what runs


class Profile:
    """Counts the code of one tree that runs, by `sys.setprofile`.

    Args:
        tree: The folder whose code counts.

    Attributes:
        calls: How often each function was called, in order of the first call.
        depths: The largest number of frames of the tree on the stack when it was.
    """

    def __init__(self, tree: Path) -> None:
        self.calls: Counter[Function] = Counter()
        self.depths: dict[Function, int] = {}
        self._prefix = f"{tree}{os.sep}"
        self._threads = threading.local()

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Receive an event of the profiler."""
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(self._prefix):
            return
        thread = self._threads.__dict__
        step = 1 if event == "call" else -1
        if code.co_name == "<module>":
            thread["imports"] = thread.get("imports", 0) + step
        if thread.get("imports", 0):
            return
        depth = thread["depth"] = thread.get("depth", 0) + step
        if step == 1 and code.co_name not in COMPREHENSIONS:
            file = code.co_filename.removeprefix(self._prefix)
            function = (file, code.co_firstlineno, code.co_qualname)
            self.calls[function] += 1
            self.depths[function] = max(depth, self.depths.get(function, 0))


def run_here(arguments: list[str], tree: Path) -> None:
    """Run a command in this process and print what it passed through as JSON."""
    sys.argv = ["atdsr", *arguments]
    from atdsr.__main__ import main

    profile = Profile(tree)
    threading.setprofile(profile)
    sys.setprofile(profile)
    code: object = None
    try:
        main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    if code:
        sys.exit(f"atdsr {arguments} ended with {code}")
    rows = [
        (*function, calls, profile.depths[function]) for function, calls in profile.calls.items()
    ]
    print(json.dumps(rows))


def calls_of(command: str, source: Path, *, twice: bool) -> dict[Function, tuple[int, int]]:
    """Run a command of a tree in a process of its own, in a folder that goes away.

    Args:
        command: One of `COMMANDS`.
        source: The folder that holds the package.
        twice: Give it a second picture or step.

    Returns:
        For each function, how often it was called and the stack depth.
    """
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder, "pictures")
        pictures.mkdir()
        noise = np.random.default_rng(0)
        for number in range(2):
            samples = noise.integers(0, 256, (48, 48, 3), np.uint8)
            Image.fromarray(samples).save(pictures / f"{number}.png")
        environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
        arguments = [*COMMANDS[command]]
        if command == "train":
            Path(folder, "short.yaml").write_text(RECIPE.replace("{steps}", "2" if twice else "1"))
            pack = [sys.executable, "-m", "atdsr", "data", "pack", "pictures", "-o", "set", "-q"]
            subprocess.run(pack, cwd=folder, env=environment, check=True)
        elif twice:
            arguments.append("pictures/1.png")
        script = [sys.executable, __file__, "--source", str(source), "--run", *arguments]
        run = subprocess.run(script, cwd=folder, env=environment, capture_output=True, text=True)
        if run.returncode:
            sys.exit(run.stderr)
        rows = json.loads(run.stdout.splitlines()[-1])
        return {(file, line, name): (calls, depth) for file, line, name, calls, depth in rows}


def passed_through(source: Path) -> dict[str, dict[Function, int]]:
    """The functions of each of `CASES`, with the stack depth of each."""
    cases = {}
    for one_more, command in (("picture", "upscale"), ("step", "train")):
        once, twice = (calls_of(command, source, twice=twice) for twice in (False, True))
        cases[command] = {function: depth for function, (_, depth) in once.items()}
        cases[one_more] = {
            function: depth
            for function, (calls, depth) in twice.items()
            if calls > once.get(function, (0, 0))[0]
        }
    return cases


# ----------------------------------------------------------------------------- what is there


def modules(source: Path) -> dict[str, ast.Module]:
    """The modules of the package, parsed, by their full names."""
    parsed = {}
    for path in sorted((source / "atdsr").rglob("*.py")):
        name = ".".join(path.relative_to(source).with_suffix("").parts)
        parsed[name.removesuffix(".__init__")] = ast.parse(path.read_text())
    return parsed


def imported(name: str, tree: ast.Module, known: set[str], is_package: bool) -> set[str]:
    """The modules of the package that a module imports when it is imported itself."""
    package = name if is_package else name.rpartition(".")[0]
    names: set[str] = set()
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        statement = pending.pop()
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            base = statement.module or ""
            if statement.level:
                parents = package.split(".")[: len(package.split(".")) - statement.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            for alias in statement.names:
                inner = f"{base}.{alias.name}"
                names.add(inner if inner in known else base)
        elif isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.dump(statement.test):
            pending += statement.orelse
        elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            for field in ("body", "orelse", "finalbody"):
                pending += getattr(statement, field, [])
    return (names & known) - {name}


def longest_chain(source: Path) -> list[str]:
    """The longest chain of modules that import one another; a module on it twice ends it."""
    parsed = modules(source)
    packages = {name for name in parsed if any(other.startswith(f"{name}.") for other in parsed)}
    graph = {
        name: imported(name, tree, set(parsed), name in packages) for name, tree in parsed.items()
    }
    longest: dict[str, list[str]] = {}

    def chain(name: str, above: frozenset[str]) -> list[str]:
        if name not in longest:
            below = [chain(other, above | {name}) for other in sorted(graph[name] - above - {name})]
            longest[name] = [name, *max(below, key=len, default=[])]
        return longest[name]

    return max((chain(name, frozenset()) for name in sorted(graph)), key=len)


def lines_by_package(source: Path) -> Counter[str]:
    """Lines of Python in each package or module at the top."""
    counts: Counter[str] = Counter()
    for path in (source / "atdsr").rglob("*.py"):
        top = path.relative_to(source / "atdsr").parts[0]
        counts[top.removesuffix(".py")] += len(path.read_text().splitlines())
    return counts


def definitions(source: Path) -> int:
    """The number of functions and methods that are defined."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return sum(isinstance(n, kinds) for tree in modules(source).values() for n in ast.walk(tree))


# ----------------------------------------------------------------------------------- tables


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--source", type=Path, nargs="+", default=[SOURCE], metavar="FOLDER")
    parser.add_argument("--list", choices=CASES)
    parser.add_argument("--run", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sources = [source.resolve() for source in options.source]
    for source in sources:
        if not (source / "atdsr").is_dir():
            parser.error(f"{source} has no folder atdsr; name the folder that holds the package")
    if options.run:
        run_here(options.run, sources[0] / "atdsr")
        return
    if options.list:
        for (file, line, name), depth in passed_through(sources[0])[options.list].items():
            print(f"{depth:3} {file}:{line} {name}")
        return
    columns: list[dict[str, object]] = [{} for _ in sources]
    for column, source in zip(columns, sources, strict=True):
        for case, functions in passed_through(source).items():
            column[f"{case}: files"] = len({file for file, _, _ in functions})
            column[f"{case}: functions"] = len(functions)
            column[f"{case}: stack depth"] = max(functions.values())
        lines = lines_by_package(source)
        column["names at the top"] = len([name for name in lines if not name.startswith("__")])
        column["longest import chain"] = len(longest_chain(source))
        column["functions defined"] = definitions(source)
        column["lines"] = lines.total()
        column |= {f"lines of {name}": count for name, count in sorted(lines.items())}
    print(f"| | {' | '.join(map(str, options.source))} |\n|---|{'---|' * len(sources)}")
    for name in dict.fromkeys(name for column in columns for name in column):
        print(f"| {name} | {' | '.join(str(column.get(name, '')) for column in columns)} |")


if __name__ == "__main__":
    main()
