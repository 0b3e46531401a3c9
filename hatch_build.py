"""Compiles the C kernels of atdsr: one shared library for each instruction set of a machine.

hatchling calls the hooks at the end of this file when a wheel or an editable install is made; one
of them completes the package's metadata. As a script it needs nothing but Python and a compiler:

    python hatch_build.py                                        # in place, for this machine
    python hatch_build.py --target x86_64-windows --into FOLDER  # for another one

The compiler is `$CC`, else the first of cc, gcc and clang that works (not on Windows), else the
package `ziglang`, which is fetched where it is needed and compiles for other machines as well.
Where nothing compiles, atdsr is installed without kernels, after a warning, and runs slower.

Environment variables:
    CC: the compiler for this machine, with arguments if need be.
    ATDSR_REQUIRE_KERNELS: `1` makes it an error to end up without kernels.
    ATDSR_BUILD_TARGET: compile a wheel to hand out, for this one of the `RELEASED` targets; it
        gets a tag that says how old a system it runs on.
"""

import argparse
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

KERNELS = "src/atdsr/network/kernels/cpu"
RELEASED = ("x86_64-linux", "aarch64-linux", "aarch64-macos", "x86_64-macos", "x86_64-windows")
ZIG = "ziglang>=0.13"  # pip takes the newest that the system can run

# AVX512-BF16 is for intrinsics that run only where the processor has it; compilers use it for
# nothing else.
INSTRUCTION_SETS = {
    "x86_64": {"avx512": "x86-64-v4+avx512bf16", "avx2": "x86-64-v3"},
    "aarch64": {"neon": None},  # what every such machine has
}
SUFFIXES = {"linux": ".so", "macos": ".dylib", "windows": ".dll"}

# Not -ffast-math: it makes denormal numbers zero in the whole process that loads the library.
FLAGS: tuple[str, ...] = ("-O3", "-std=gnu17", "-fPIC")
FLAGS += ("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")

GLIBC = "2.17"  # the oldest that Zig has for aarch64
MACOS = "11.0"  # the oldest with Apple silicon

# The start-up code of Zig's C library for Windows takes minutes to compile. These kernels need none
# of it, but a library has to have an entry.
WINDOWS_ENTRY = "int DllMainCRTStartup(void) { return 1; }\n"

PICTURES = (".webp", ".png", ".svg", ".jpg")

PROBE = "#include <math.h>\n#include <stdlib.h>\nfloat probe(float x) { return log2f(x); }\n"


class BuildError(Exception):
    """The kernels could not be compiled; the text says why."""


class Target(NamedTuple):
    """A kind of machine, such as `x86_64-linux`."""

    machine: str
    system: str

    @classmethod
    def here(cls) -> "Target":
        """The machine that this Python is for."""
        system = {"darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)
        # a Python for several kinds of Mac names none, one for Windows may be emulated
        named = sysconfig.get_platform().rpartition("-")[2]
        machine = (platform.machine() if system == "macos" else named).lower()
        return cls({"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine), system)

    @classmethod
    def named(cls, name: str) -> "Target":
        """The target of this name.

        Raises:
            BuildError: it is none of `RELEASED`.
        """
        if name not in RELEASED:
            raise BuildError(f"There is no target {name!r}; choose from {', '.join(RELEASED)}.")
        return cls(*name.split("-"))

    @property
    def libraries(self) -> dict[str, str]:
        """The file name of each instruction set's library; empty where there are no kernels."""
        if self.system not in SUFFIXES:
            return {}
        names = INSTRUCTION_SETS.get(self.machine, {})
        return {name: name + SUFFIXES[self.system] for name in names}

    def tag(self, *, released: bool) -> str:
        """The tag of a wheel with these kernels.

        Args:
            released: whether they were compiled for old systems too, which a compiler of the
                system does not do on Linux.
        """
        apple = {"aarch64": "arm64"}.get(self.machine, self.machine)
        platforms = {
            "linux": f"manylinux_{GLIBC}_{self.machine}" if released else f"linux_{self.machine}",
            "macos": f"macosx_{MACOS}_{apple}",
            "windows": {"x86_64": "win_amd64", "aarch64": "win_arm64"}.get(self.machine, ""),
        }
        return "py3-none-" + platforms[self.system].replace(".", "_")


class Compiler(NamedTuple):
    """How a C compiler is called, and whether it is Zig's."""

    command: tuple[str, ...]
    zig: bool = False

    def steps(
        self, target: Target, instruction_set: str, sources: Iterable[str]
    ) -> list[list[str]]:
        """The commands that make a library out of C files in the working folder."""
        cc = [*self.command, *self._target_flags(target)]
        level = INSTRUCTION_SETS[target.machine][instruction_set]
        flags = list(FLAGS)
        if level is not None and self.zig:
            flags.append(f"-mcpu={level.replace('-', '_')}")
        elif level is not None:
            base, *extensions = level.split("+")
            flags += [f"-march={base}", *(f"-m{extension}" for extension in extensions)]
        if instruction_set == "avx512":
            flags.append("-mprefer-vector-width=512")
        compiled = {source: source.removesuffix(".c") + ".o" for source in sources}
        steps = [[*cc, *flags, "-c", source, "-o", made] for source, made in compiled.items()]
        library = target.libraries[instruction_set]
        strip = ["-s"] if self.zig else []
        standard = ["-lm"]
        if target.system == "windows":
            standard = ["-nostdlib", "-lucrtbase", "-lcompiler_rt"]
        steps.append([*cc, "-shared", *strip, *compiled.values(), "-o", library, *standard])
        return steps

    def _target_flags(self, target: Target) -> list[str]:
        if self.zig:
            system = {
                "linux": f"linux-gnu.{GLIBC}",
                "macos": f"macos.{MACOS}",
                "windows": "windows-gnu",
            }[target.system]
            return ["-target", f"{target.machine}-{system}"]
        if target.system == "macos":
            architecture = "arm64" if target.machine == "aarch64" else target.machine
            return ["-arch", architecture, f"-mmacosx-version-min={MACOS}"]
        return []


def find_compiler(target: Target, *, released: bool = False) -> Compiler | None:
    """The compiler to use; None where there is none.

    Args:
        target: what to compile for.
        released: only Zig will do, since it compiles for every target.
    """
    if not released and target.system != "windows":
        if os.environ.get("CC"):
            return Compiler(tuple(shlex.split(os.environ["CC"])))
        found = (shutil.which(name) for name in ("cc", "gcc", "clang"))
        for compiler in (Compiler((path,)) for path in found if path):
            if _works(compiler, target):
                return compiler
    if importlib.util.find_spec("ziglang"):
        return Compiler((sys.executable, "-m", "ziglang", "cc"), zig=True)
    return None


def requirements(target: Target, *, released: bool = False) -> list[str]:
    """What has to be installed in order to compile."""
    if not target.libraries:
        return []
    compiler = find_compiler(target, released=released)
    return [ZIG] if compiler is None or compiler.zig else []


def build(sources: Path, into: Path, target: Target, *, released: bool = False) -> list[Path]:
    """Compile all C files of a folder into the libraries of a target.

    Args:
        sources: the folder with the C files.
        into: the folder for the libraries; it gets all of them or none.
        target: what to compile for.
        released: for old systems too, see `Target.tag`.

    Returns:
        The libraries.

    Raises:
        BuildError: there is nothing to compile or to compile with, or it failed.
    """
    if not target.libraries:
        raise BuildError(f"There are no kernels for {target.machine} on {target.system}.")
    if not any(sources.glob("*.c")):
        raise BuildError(f"There are no C files in {sources}.")
    compiler = find_compiler(target, released=released)
    if compiler is None:
        raise BuildError("There is no C compiler that works, and the package ziglang is missing.")
    try:
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".building-", dir=into, ignore_cleanup_errors=True
        ) as scratch:
            return [
                library.replace(into / library.name)
                for library in _compile(compiler, target, sources, Path(scratch))
            ]
    except OSError as error:
        raise BuildError(f"The kernels cannot be written to {into}: {error}.") from error


def up_to_date(sources: Path, target: Target) -> list[Path]:
    """The libraries beside the C files, if all are newer than these and this file."""
    libraries = [sources / name for name in target.libraries.values()]
    inputs = [*sources.glob("*.[ch]"), Path(__file__)]
    newest = max(path.stat().st_mtime_ns for path in inputs)
    if all(path.exists() and path.stat().st_mtime_ns > newest for path in libraries):
        return libraries
    return []


def build_in_place(sources: Path, target: Target) -> list[Path]:
    """`build` beside the C files, unless what is there is up to date.

    Where that fails, what is there goes, for it might not fit the Python code any more.
    """
    if made := up_to_date(sources, target):
        return made
    try:
        return build(sources, sources, target)
    except BuildError:
        for name in target.libraries.values():
            (sources / name).unlink(missing_ok=True)
        raise


def _compile(compiler: Compiler, target: Target, sources: Path, scratch: Path) -> list[Path]:
    """The libraries in a scratch folder, after compiling all at the same time."""
    cache = str(scratch / "cache")
    environment = {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache, **os.environ}

    def make(instruction_set: str) -> Path:
        # a copy, so that no path of this machine gets into a library
        folder = scratch / instruction_set
        folder.mkdir()
        for path in sources.glob("*.[ch]"):
            shutil.copy(path, folder)
        if target.system == "windows":
            (folder / "windows_entry.c").write_text(WINDOWS_ENTRY)
        files = sorted(path.name for path in folder.glob("*.c"))
        for command in compiler.steps(target, instruction_set, files):
            _run(command, folder, environment)
        return folder / target.libraries[instruction_set]

    with ThreadPoolExecutor() as threads:
        return list(threads.map(make, target.libraries))


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be run: {error}.") from error
    if done.returncode:
        said = (done.stderr + done.stdout).strip()[-2000:]
        raise BuildError(f"This command failed: {shlex.join(command)}\n{said}")


def _works(compiler: Compiler, target: Target) -> bool:
    """Whether a compiler has the headers, the linker and all instruction sets."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        sources, scratch = Path(folder, "sources"), Path(folder, "scratch")
        sources.mkdir()
        scratch.mkdir()
        (sources / "probe.c").write_text(PROBE)
        try:
            _compile(compiler, target, sources, scratch)
        except BuildError:
            return False
        return True


def _asked_for() -> tuple[Target, bool]:
    """What a wheel is to be for, and whether it is to be handed out."""
    name = os.environ.get("ATDSR_BUILD_TARGET")
    return (Target.named(name), True) if name else (Target.here(), False)


def get_build_hook() -> type:
    """The hook, for hatchling; inside a function, since the script does without hatchling."""
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    class KernelsHook(BuildHookInterface):
        """Puts the kernels into a wheel, or beside their sources for an editable install."""

        def dependencies(self) -> list[str]:
            target, released = _asked_for()
            return requirements(target, released=released)

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            sources = Path(self.root, KERNELS)
            target, released = _asked_for()
            # kept as long as this hook is, for the wheel is written later
            self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
            try:
                if version == "editable":
                    build_in_place(sources, Target.here())
                    return
                made = [] if released else up_to_date(sources, target)
                made = made or build(sources, Path(self._folder.name), target, released=released)
            except BuildError as error:
                if released or os.environ.get("ATDSR_REQUIRE_KERNELS") == "1":
                    self._folder.cleanup()
                    raise
                self.app.display_warning(
                    "WARNING: atdsr is built without its C kernels and will be several times "
                    f"slower on CPUs.\n{error}\nWith a C compiler, or after `pip install "
                    "ziglang`, build it again."
                )
                return
            build_data["pure_python"] = False
            build_data["tag"] = target.tag(released=released)
            for library in made:
                build_data["force_include"][str(library)] = (
                    f"{KERNELS.removeprefix('src/')}/{library.name}"
                )

        def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
            self._folder.cleanup()

    return KernelsHook


def get_metadata_hook() -> type:
    """The hook that hatchling calls for the package's address and description."""
    from hatchling.metadata.plugin.interface import MetadataHookInterface

    class AddressHook(MetadataHookInterface):
        """Lists the repository, and makes the links of the README absolute, for a package index."""

        def update(self, metadata: dict[str, Any]) -> None:
            repository = self.config.get("repository", "").rstrip("/")
            text = Path(self.root, "README.md").read_text("utf-8")
            metadata["urls"] = {}
            if repository:
                text = absolute_links(text, repository, f"v{metadata['version']}")
                metadata["urls"] = {
                    "Repository": repository,
                    "Documentation": f"{repository}/tree/v{metadata['version']}/docs",
                    "Changelog": f"{repository}/blob/v{metadata['version']}/CHANGELOG.md",
                    "Issues": f"{repository}/issues",
                }
            metadata["readme"] = {"content-type": "text/markdown", "text": text}

    return AddressHook


def absolute_links(text: str, repository: str, tag: str) -> str:
    """Return Markdown whose links to files lead into the repository, at a tag, as on GitHub."""

    def absolute(match: re.Match[str]) -> str:
        kind = "raw" if match[1].endswith(PICTURES) else "blob"
        return f"]({repository}/{kind}/{tag}/{match[1]})"

    return re.sub(r"\]\((?![a-z]+:|#)([^)\s]+)\)", absolute, text)


def main() -> None:
    """Compile as the command line says."""
    parser = argparse.ArgumentParser(description="Compile the C kernels of atdsr.")
    parser.add_argument("--target", choices=RELEASED, help="for this machine if left out")
    parser.add_argument("--into", type=Path, help="the folder of the sources if left out")
    arguments = parser.parse_args()
    sources = Path(__file__).parent / KERNELS
    start = time.perf_counter()
    try:
        if arguments.target or arguments.into:
            target = Target.named(arguments.target) if arguments.target else Target.here()
            into = (arguments.into or sources).resolve()
            made = build(sources, into, target, released=bool(arguments.target))
        else:
            made = build_in_place(sources, Target.here())
    except BuildError as error:
        sys.exit(f"{error}")
    for path in made:
        print(path)
    print(f"in {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
