"""Makes each system call that writes a file fail, once or for good, and checks what is left.

    python benchmarks/faults.py
    python benchmarks/faults.py --only png state --every 1

Each way of writing (pictures, animations, scratch files, weights, states, the command) is run with
its first call of the system that writes into a folder failing, then its second, and so on until a
run makes fewer calls than that: opening, writing, reserving, syncing, renaming and linking, by
Python and by the libraries, for a full disk (ENOSPC) and a broken one (EIO). Then again with a
limit for the size of files, and with memory running out in each function of ours. A run is a fault
unless the file is the old or the new one, whole, nothing else is in the folder, and the error is
one sentence. Exit code 1 if there is any. Needs Linux and a C compiler.
"""

import argparse
import ctypes
import errno
import inspect
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

HERE = Path(__file__)
LIBRARY = "ATDSR_FAULTS"
"""The variable of the environment that names the compiled library to a process that has it."""

_SIZES = 12  # limits for the size of files that are tried


@dataclass(frozen=True)
class Way:
    """A way of writing.

    Attributes:
        file: the name of what is written.
        write: writes it, over another or not.
        memory: whether it is tried without memory. The command is not: it then takes smaller
            tiles, whose result is another one by rounding.
    """

    file: str
    write: Callable[[Path], object]
    memory: bool = True


class Tally:
    """What was tried, and what was wrong."""

    def __init__(self) -> None:
        self.tried = 0
        self.faults: list[str] = []


# ------------------------------------------------------------------------------- ways of writing


def ways() -> dict[str, Way]:
    """All ways of writing."""
    import numpy as np

    from atdsr import imaging
    from atdsr.imaging import Picture
    from atdsr.network.model import ATD
    from atdsr.training import checkpoints
    from atdsr.weights import Weights, write_weights
    from fuzz_targets import TINY

    rng = np.random.default_rng(0)
    samples = rng.integers(0, 256, (90, 120, 3), np.uint8)
    picture = Picture(samples)
    weights = Weights(TINY, ATD(TINY).state_dict())
    made: dict[str, Way] = {}
    for suffix in imaging.FORMATS.values():
        made[suffix[1:]] = Way(
            f"a{suffix}", lambda path: imaging.write(picture, path, overwrite=True)
        )
    for suffix in (".gif", ".webp", ".png", ".avif"):
        made[f"{suffix[1:]} animation"] = Way(f"a{suffix}", lambda path: _frames(picture, path))
    made["tiff pages"] = Way("a.tiff", lambda path: _pages(picture, path))
    made["scratch"] = Way("a.tiff", lambda path: _scratch(samples, path))
    for suffix in (".pth", ".safetensors"):
        made[f"weights {suffix}"] = Way(
            f"a{suffix}", lambda path: write_weights(weights, path, overwrite=True)
        )
    state = {"step": 7, "weights": weights.state}
    name = _name_of_state(checkpoints, state)
    made["state"] = Way(name, lambda path: checkpoints.save(state, path.parent, 7, 2))
    made["command"] = _command(picture, weights)
    return made


def _frames(picture: Any, path: Path) -> None:
    from atdsr import imaging

    imaging.write_frames([picture] * 3, path, durations=[40] * 3, overwrite=True)


def _pages(picture: Any, path: Path) -> None:
    from atdsr import imaging

    imaging.write_frames([picture] * 3, path, overwrite=True)


def _scratch(samples: Any, path: Path) -> None:
    from atdsr import imaging
    from atdsr.imaging import Picture

    with imaging.temporary_array(path, samples.shape, samples.dtype) as array:
        array[:] = samples
        imaging.write(Picture(array), path, overwrite=True)


def _name_of_state(checkpoints: Any, state: dict[str, Any]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return checkpoints.save(state, Path(folder), 7, 2).name


def _command(picture: Any, weights: Any) -> Way:
    """`atdsr upscale` itself, with its exit code and its sentence."""
    from typer.testing import CliRunner

    from atdsr import cli, imaging
    from atdsr.base.errors import AtdsrError
    from atdsr.weights import write_weights

    folder = Path(tempfile.mkdtemp())  # goes away with the folder around it
    source, network = folder / "a.png", folder / "tiny.safetensors"
    imaging.write(picture, source)
    write_weights(weights, network)

    def write(path: Path) -> None:
        arguments = ["upscale", "--overwrite", "-m", str(network), "-o", str(path), str(source)]
        result = CliRunner().invoke(cli.app, arguments)
        lines = result.stderr.splitlines()
        if result.exit_code:
            failed = len(lines) == 1 and lines[0].startswith("error: ")
            raise AtdsrError(lines[0]) if failed else RuntimeError(f"{lines} {result.exception!r}")

    return Way("a.png", write, memory=False)


# ------------------------------------------------------------------------------------- the trials


def check(way: Way, folder: Path, old: bytes | None, new: bytes) -> tuple[bool, list[str]]:
    """Write once under whatever is armed; whether it succeeded, and what is wrong after it."""
    from atdsr.base.errors import AtdsrError

    for left in folder.iterdir():
        left.unlink()
    path, wrong = folder / way.file, []
    if old is not None:
        path.write_bytes(old)
    try:
        with _armed.now():
            way.write(path)
        done = True
    except (AtdsrError, MemoryError) as error:
        done = False
        sentence = str(error)
        if not isinstance(error, MemoryError) and ("\n" in sentence or not sentence.endswith(".")):
            wrong.append(f"no sentence: {sentence!r}")
    except Exception as error:
        done = False
        wrong.append(f"{type(error).__name__}: {error}")
    there = path.read_bytes() if path.exists() else None
    if there not in ((new,) if done else (old, new)):
        wrong.append(f"{'no file' if there is None else f'{len(there)} bytes'} where it should be")
    others = sorted(left.name for left in folder.iterdir() if left != path)
    return done, [*wrong, *(f"{name} is left" for name in others)]


class _Armed:
    """What is to go wrong while a file is written, and only then."""

    def __init__(self) -> None:
        self.begin: Callable[[], object] = lambda: None
        self.end: Callable[[], object] = lambda: None

    def now(self) -> "_Armed":
        return self

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, *_: object) -> None:
        self.end()


_armed = _Armed()


def try_way(name: str, way: Way, folder: Path, every: int, tally: Tally) -> None:
    """Try all that can go wrong with one way of writing."""
    _armed.__init__()
    _, _wrong = check(way, folder, None, b"")
    new = (folder / way.file).read_bytes()
    for old in (None, b"what was there"):
        for error in (errno.ENOSPC, errno.EIO):
            for forever in (False, True):
                kind = f"{errno.errorcode[error]}{' for good' if forever else ''}"
                try_calls(name, kind, way, folder, (old, new), every, tally, (error, forever))
        if way.memory:
            try_calls(name, "memory", way, folder, (old, new), every, tally, None)
        try_size(name, way, folder, (old, new), tally)


def try_calls(
    name: str,
    kind: str,
    way: Way,
    folder: Path,
    contents: tuple[bytes | None, bytes],
    every: int,
    tally: Tally,
    system: tuple[int, bool] | None,
) -> None:
    """Let call number 1 fail, then 2 ..., of the system or (None) of functions of ours."""
    library = ctypes.CDLL(os.environ[LIBRARY])
    number = 1
    while True:
        memory, seen = _Memory(number), list[int]()
        if system is None:
            _armed.begin, _armed.end = memory.begin, memory.end
        else:
            place = str(folder).encode()
            _armed.begin = lambda: library.fault_arm(place, number, *map(int, system))  # noqa: B023
            _armed.end = lambda: (seen.append(library.fault_seen()), _disarm(library))  # noqa: B023
        _, wrong = check(way, folder, *contents)
        tally.tried += 1
        tally.faults += [f"{name}, {kind} at {number}: {one}" for one in wrong]
        reached = memory.seen if system is None else seen[0]
        if reached < number:
            return
        number += every


def _disarm(library: Any) -> None:
    library.fault_arm(b"", 0, 0, 0)


class _Memory:
    """Raises a MemoryError in the function of ours that is entered as number so-and-so.

    Those of `files` are left out: they clean up, and one that fails in this moment cannot.
    """

    def __init__(self, number: int) -> None:
        self.number, self.seen = number, 0

    def begin(self) -> None:
        sys.setprofile(self._entered)

    def end(self) -> None:
        sys.setprofile(None)

    def _entered(self, frame: FrameType, event: str, _: object) -> None:
        name = frame.f_code.co_filename
        if event != "call" or "/atdsr/" not in name or name.endswith("/files.py"):
            return
        if frame.f_code.co_flags & inspect.CO_GENERATOR:
            return  # also entered to be closed, which is where the clean-up is
        self.seen += 1
        if self.seen == self.number:
            raise MemoryError("no memory, to see what happens")


def try_size(
    name: str, way: Way, folder: Path, contents: tuple[bytes | None, bytes], tally: Tally
) -> None:
    """Let no file grow beyond some of the sizes that the new one has on its way."""
    size = len(contents[1])
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    for step in range(_SIZES):
        limit = size * step // _SIZES
        _armed.begin = lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE,
            (limit, usual[1]),  # noqa: B023
        )
        _armed.end = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, usual)
        done, wrong = check(way, folder, *contents)
        tally.tried += 1
        wrong += ["it cannot have been written"] if done else []
        tally.faults += [f"{name}, no file beyond {limit} bytes: {one}" for one in wrong]


def work(only: list[str] | None, every: int) -> int:
    """Try the ways of writing in this process, which has the library."""
    tally, begin = Tally(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="atdsr-faults-") as around:
        tempfile.tempdir = around
        folder = Path(around, "target")
        folder.mkdir()
        for name, way in ways().items():
            if only and name not in only:
                continue
            before = tally.tried, len(tally.faults)
            try_way(name, way, folder, every, tally)
            print(
                f"{name:16} {tally.tried - before[0]:5} runs, "
                f"{len(tally.faults) - before[1]} faults",
                flush=True,
            )
    for fault in tally.faults[:200]:
        print(f"    {fault}")
    seconds = time.perf_counter() - begin
    print(f"{tally.tried} runs in {seconds:.0f} s, {len(tally.faults)} faults")
    return 1 if tally.faults else 0


def main() -> int:
    """Compile the library, and try in a process that has it."""
    parser = argparse.ArgumentParser(description="What failing calls leave of files.")
    parser.add_argument("--only", nargs="+", help="names of ways of writing")
    parser.add_argument("--every", type=int, default=1, help="each so-and-so-manieth call")
    asked = parser.parse_args()
    if LIBRARY in os.environ:
        return work(asked.only, asked.every)
    compiler = shutil.which("cc")
    if not sys.platform.startswith("linux") or compiler is None:
        print("skipped: this needs Linux and a C compiler (cc).")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        library = f"{folder}/faults.so"
        source = str(HERE.with_suffix(".c"))
        command = [compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"]
        subprocess.run(command, check=True)
        environment = os.environ | {LIBRARY: library, "LD_PRELOAD": library}
        command = [sys.executable, str(HERE), *sys.argv[1:]]
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
