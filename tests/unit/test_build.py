"""How the C kernels are compiled, mostly with compilers that only pretend to be ones."""

import ctypes
import importlib.util
import os
import platform
import shutil
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import hatch_build
import pytest
from hatch_build import BuildError, Compiler, Target
from hatchling.builders.wheel import WheelBuilder

from helpers.networks import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the pretended are shell scripts")

KERNELS = "atdsr/network/kernels/cpu/"  # in a wheel
LINUX = Target("x86_64", "linux")
WORKS = 'while [ "$1" != -o ]; do shift; done; echo made > "$2"'
FAILS = "echo it does not like that >&2; exit 1"
FAILS_FOR_AVX2 = f'case "$*" in *x86-64-v3*) {FAILS};; esac; {WORKS}'
needs_cc = pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")


@pytest.fixture
def compilers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let these compilers be all that there are; Zig's is not."""

    def only(**scripts: str) -> None:
        folder = tmp_path / "bin"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, script in scripts.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))

    for name in ("CC", "ATDSR_BUILD_TARGET", "ATDSR_REQUIRE_KERNELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(Target, "here", lambda: LINUX)
    only()
    return only


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A folder with a little C."""
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "three.h").write_text("int three(void);\n")
    (folder / "three.c").write_text('#include "three.h"\nint three(void) { return 3; }\n')
    (folder / "six.c").write_text('#include "three.h"\nint six(void) { return 2 * three(); }\n')
    return folder


@pytest.fixture
def project(sources: Path, tmp_path: Path) -> Path:
    """This project with hardly anything in it, and with libraries that were made before."""
    root = tmp_path / "project"
    kernels = root / hatch_build.KERNELS
    shutil.copytree(sources, kernels)
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, root)
    (root / "src/atdsr/__init__.py").write_text('__version__ = "1.2.3"\n')
    (kernels / "__init__.py").touch()
    for library in ("avx512.so", "avx2.so"):
        (kernels / library).write_text("old\n")
        os.utime(kernels / library, (0, 0))
    return root


def wheel(project: Path) -> tuple[str, dict[str, str]]:
    """Build one: its name, and what is in it of the kernels."""
    (path,) = WheelBuilder(str(project)).build(directory=str(project / "dist"))
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.startswith(KERNELS)]
        assert len(names) == len(set(names))
        return Path(path).name, {
            name.removeprefix(KERNELS): archive.read(name).decode() for name in names
        }


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------------------------- compilers


def test_the_first_compiler_that_works_is_taken(compilers: Callable[..., None]) -> None:
    compilers(cc=FAILS, gcc=FAILS_FOR_AVX2, clang=WORKS)
    compiler = hatch_build.find_compiler(LINUX)
    assert compiler is not None
    assert [Path(part).name for part in compiler.command] == ["clang"]
    assert not compiler.zig
    assert hatch_build.requirements(LINUX) == []


def test_a_named_compiler_comes_before_all_others(
    compilers: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    compilers(cc=WORKS)
    monkeypatch.setenv("CC", "ccache 'my gcc' -m64")
    assert hatch_build.find_compiler(LINUX) == Compiler(("ccache", "my gcc", "-m64"))
    assert hatch_build.requirements(LINUX) == []


def test_without_a_compiler_zig_is_asked_for(
    compilers: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    compilers(cc=FAILS)
    assert hatch_build.find_compiler(LINUX) is None
    assert hatch_build.requirements(LINUX) == [hatch_build.ZIG]
    assert hatch_build.requirements(Target("riscv64", "linux")) == []  # there is nothing to compile
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "ziglang")
    zig = Compiler((sys.executable, "-m", "ziglang", "cc"), zig=True)
    assert hatch_build.find_compiler(LINUX) == zig
    compilers(cc=WORKS)
    assert hatch_build.find_compiler(LINUX) != zig
    assert hatch_build.find_compiler(LINUX, released=True) == zig
    assert hatch_build.requirements(LINUX, released=True) == [hatch_build.ZIG]
    assert hatch_build.find_compiler(Target("x86_64", "windows")) == zig


@pytest.mark.parametrize(
    ("target", "instruction_set", "zig", "compiling", "linking"),
    [
        ("x86_64-linux", "avx512", False, "-march=x86-64-v4 -mavx512bf16", "-lm"),
        ("x86_64-linux", "avx2", False, "-march=x86-64-v3", "-lm"),
        ("x86_64-linux", "avx2", True, "-mcpu=x86_64_v3 -target x86_64-linux-gnu.2.17", "-s -lm"),
        ("aarch64-linux", "neon", True, "-target aarch64-linux-gnu.2.17", "-lm"),
        ("aarch64-macos", "neon", False, "-arch arm64 -mmacosx-version-min=11.0", "-arch arm64"),
        ("x86_64-macos", "avx2", True, "-target x86_64-macos.11.0", "-lm"),
        (
            "x86_64-windows",
            "avx512",
            True,
            "-mcpu=x86_64_v4+avx512bf16 -target x86_64-windows-gnu",
            "-lucrtbase",
        ),
    ],
)
def test_flags(target: str, instruction_set: str, zig: bool, compiling: str, linking: str) -> None:
    steps = Compiler(("cc",), zig).steps(Target.named(target), instruction_set, ["a.c", "b.c"])
    compiled = [*hatch_build.FLAGS, *compiling.split()]
    assert [step[-3:] for step in steps[:-1]] == [["a.c", "-o", "a.o"], ["b.c", "-o", "b.o"]]
    for step in steps[:-1]:
        assert set(compiled) <= set(step)
        assert "-ffast-math" not in step
    assert {"-shared", "a.o", "b.o", *linking.split()} <= set(steps[-1])
    assert ("-march=" in " ".join(steps[0])) == (not zig and target.startswith("x86"))


# --------------------------------------------------------------------------------------- targets


@pytest.mark.parametrize(
    ("system", "named", "machine", "target", "libraries", "tag"),
    [
        ("linux", "linux-x86_64", "x86_64", LINUX, ["avx512.so", "avx2.so"], "linux_x86_64"),
        ("linux", "linux-aarch64", "", Target("aarch64", "linux"), ["neon.so"], "linux_aarch64"),
        (
            "darwin",
            "macosx-10.9-universal2",
            "arm64",
            Target("aarch64", "macos"),
            ["neon.dylib"],
            "macosx_11_0_arm64",
        ),
        (
            "darwin",
            "macosx-10.9-universal2",
            "x86_64",
            Target("x86_64", "macos"),
            ["avx512.dylib", "avx2.dylib"],
            "macosx_11_0_x86_64",
        ),
        (
            "win32",
            "win-amd64",
            "ARM64",  # which emulates the other
            Target("x86_64", "windows"),
            ["avx512.dll", "avx2.dll"],
            "win_amd64",
        ),
        ("win32", "win-arm64", "ARM64", Target("aarch64", "windows"), ["neon.dll"], "win_arm64"),
        ("win32", "win32", "AMD64", Target("win32", "windows"), [], None),
        ("linux", "linux-riscv64", "riscv64", Target("riscv64", "linux"), [], None),
        ("freebsd14", "freebsd-14-amd64", "amd64", Target("x86_64", "freebsd14"), [], None),
    ],
)
def test_this_machine(
    system: str,
    named: str,
    machine: str,
    target: Target,
    libraries: list[str],
    tag: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(sysconfig, "get_platform", lambda: named)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert Target.here() == target
    assert list(target.libraries.values()) == libraries
    if tag:
        assert target.tag(released=False) == f"py3-none-{tag}"


def test_tags_of_wheels_to_hand_out() -> None:
    tags = [Target.named(name).tag(released=True) for name in hatch_build.RELEASED]
    assert tags == [
        "py3-none-manylinux_2_17_x86_64",
        "py3-none-manylinux_2_17_aarch64",
        "py3-none-macosx_11_0_arm64",
        "py3-none-macosx_11_0_x86_64",
        "py3-none-win_amd64",
    ]
    with pytest.raises(BuildError, match="no target 'amiga'; choose from x86_64-linux, "):
        Target.named("amiga")


# -------------------------------------------------------------------------------------- building


@pytest.mark.parametrize("script", [FAILS, FAILS_FOR_AVX2])
def test_all_libraries_or_none(
    script: str, compilers: Callable[..., None], sources: Path, tmp_path: Path, monkeypatch
) -> None:
    compilers(mine=script)
    monkeypatch.setenv("CC", "mine")
    made = tmp_path / "made"
    made.mkdir()
    (made / "avx2.so").write_text("old\n")
    with pytest.raises(BuildError, match=r"(?s)command failed: mine .*it does not like that"):
        hatch_build.build(sources, made, LINUX)
    assert names(made) == ["avx2.so"]
    assert (made / "avx2.so").read_text() == "old\n"
    compilers(mine=WORKS)
    hatch_build.build(sources, made, LINUX)
    assert names(made) == ["avx2.so", "avx512.so"]
    assert (made / "avx2.so").read_text() == "made\n"


def test_what_cannot_be_built(
    compilers: Callable[..., None], sources: Path, tmp_path: Path, monkeypatch
) -> None:
    made = tmp_path / "made"
    with pytest.raises(BuildError, match=r"no C compiler that works, and .* ziglang is missing"):
        hatch_build.build(sources, made, LINUX)
    with pytest.raises(BuildError, match="no kernels for riscv64 on linux"):
        hatch_build.build(sources, made, Target("riscv64", "linux"))
    with pytest.raises(BuildError, match="no C files in"):
        hatch_build.build(tmp_path, made, LINUX)
    monkeypatch.setenv("CC", "nowhere")
    with pytest.raises(BuildError, match="nowhere cannot be run"):
        hatch_build.build(sources, made, LINUX)
    made.rmdir()
    made.touch()
    with pytest.raises(BuildError, match=f"cannot be written to {made}"):
        hatch_build.build(sources, made, LINUX)


def test_in_place_only_what_changed(compilers: Callable[..., None], sources: Path) -> None:
    compilers(cc=WORKS)
    libraries = hatch_build.build_in_place(sources, LINUX)
    assert [path.read_text() for path in libraries] == ["made\n", "made\n"]
    compilers(cc=FAILS)
    future = max(path.stat().st_mtime_ns for path in libraries) + 10**9
    for path in libraries:
        os.utime(path, ns=(future, future))
    assert hatch_build.build_in_place(sources, LINUX) == libraries
    os.utime(sources / "three.h", ns=(future, future))
    with pytest.raises(BuildError):
        hatch_build.build_in_place(sources, LINUX)
    assert names(sources) == ["six.c", "three.c", "three.h"]  # nothing that does not fit


@pytest.mark.slow
@needs_cc
def test_a_real_library(sources: Path, tmp_path: Path) -> None:
    target = Target.here()
    if hatch_build.find_compiler(target) is None or not target.libraries:
        pytest.skip("there is no C compiler for kernels of this machine")
    first = hatch_build.build(sources, tmp_path / "first", target)
    second = hatch_build.build(sources, tmp_path / "the_second", target)
    assert [path.name for path in first] == list(target.libraries.values())
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert ctypes.CDLL(str(first[-1])).six() == 6


def test_a_library_for_another_machine(sources: Path, tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    target = Target.named("x86_64-windows")
    for library in hatch_build.build(sources, tmp_path, target, released=True):
        found = library.read_bytes()
        assert found.startswith(b"MZ")
        assert b"six" in found  # exported
        assert str(tmp_path).encode() not in found


# ------------------------------------------------------------------------------------------ hook


def test_a_wheel_has_fresh_libraries(compilers: Callable[..., None], project: Path) -> None:
    compilers(cc=WORKS)
    name, kernels = wheel(project)
    assert name == "atdsr-1.2.3-py3-none-linux_x86_64.whl"
    assert kernels == {"__init__.py": "", "avx512.so": "made\n", "avx2.so": "made\n"}
    for path in (project / hatch_build.KERNELS).glob("*.so"):
        assert path.read_text() == "old\n"


def test_a_wheel_takes_libraries_that_are_up_to_date(
    compilers: Callable[..., None], project: Path
) -> None:
    compilers(cc=FAILS)
    for path in (project / hatch_build.KERNELS).glob("*.so"):
        future = (project / "hatch_build.py").stat().st_mtime + 60
        os.utime(path, (future, future))
    name, kernels = wheel(project)
    assert name == "atdsr-1.2.3-py3-none-linux_x86_64.whl"
    assert kernels == {"__init__.py": "", "avx512.so": "old\n", "avx2.so": "old\n"}


def test_a_wheel_without_kernels_is_for_all_machines(
    compilers: Callable[..., None],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    compilers(cc=FAILS)
    name, kernels = wheel(project)
    assert name == "atdsr-1.2.3-py3-none-any.whl"
    assert kernels == {"__init__.py": ""}
    warning = capsys.readouterr().err
    assert warning.count("WARNING: atdsr is built without its C kernels") == 1
    assert "no C compiler that works" in warning
    monkeypatch.setenv("ATDSR_REQUIRE_KERNELS", "1")
    with pytest.raises(Exception, match="no C compiler that works"):
        wheel(project)


def test_a_wheel_to_hand_out_has_kernels(
    compilers: Callable[..., None], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compilers(cc=WORKS)
    monkeypatch.setenv("ATDSR_BUILD_TARGET", "aarch64-macos")
    with pytest.raises(Exception, match="ziglang is missing"):
        wheel(project)
    assert WheelBuilder(str(project)).config.dependencies == [hatch_build.ZIG]


def test_an_editable_install_builds_in_place(
    compilers: Callable[..., None],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    compilers(cc=WORKS)
    hook = WheelBuilder(str(project)).get_build_hooks("dist")["custom"]
    hook.initialize("editable", {})
    hook.finalize("editable", {}, "")
    kernels = project / hatch_build.KERNELS
    assert [(kernels / name).read_text() for name in ("avx2.so", "avx512.so")] == ["made\n"] * 2
    assert not capsys.readouterr().err


def test_the_script(
    compilers: Callable[..., None],
    sources: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    compilers(cc=WORKS)
    monkeypatch.setattr(hatch_build, "KERNELS", sources)
    monkeypatch.setattr(sys, "argv", ["hatch_build.py"])
    hatch_build.main()
    assert capsys.readouterr().out.splitlines()[0] == str(sources / "avx512.so")
    monkeypatch.setattr(sys, "argv", ["hatch_build.py", "--into", str(tmp_path / "elsewhere")])
    hatch_build.main()
    assert names(tmp_path / "elsewhere") == ["avx2.so", "avx512.so"]
    monkeypatch.setattr(sys, "argv", ["hatch_build.py", "--target", "x86_64-macos"])
    with pytest.raises(SystemExit, match="ziglang is missing"):
        hatch_build.main()
