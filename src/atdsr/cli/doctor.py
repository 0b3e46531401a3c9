"""`atdsr doctor`."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

import atdsr
from atdsr.base import units
from atdsr.base.errors import AtdsrError
from atdsr.cli.console import out, print_table, progress_bar, say, say_wrapped
from atdsr.cli.options import flag

if TYPE_CHECKING:
    from atdsr.network.kernels.cpu import CPUStatus
    from atdsr.network.kernels.gpu.checks import KernelCheck
    from atdsr.reports.doctor import Advice, Machine

_UNKNOWN = "unknown"
_NAMES = 14  # columns for the names of rows
_SETS = {"avx512": "AVX-512", "avx2": "AVX2", "neon": "NEON"}


def doctor(
    quick: Annotated[bool, flag("--quick", help="Leave out the measurement.")] = False,
    gpu: Annotated[
        bool, flag("--gpu", help="Check the GPU kernels, which are used only once they passed.")
    ] = False,
    as_json: Annotated[
        bool, flag("--json", help="Print it as one object of JSON, for programs.")
    ] = False,
) -> None:
    """Look at this machine and say what to change.

    Tells hardware, libraries, threads, and which path the network takes here and why; enlarges a
    picture for about ten seconds to see how fast. The exit code is 1 if something is broken.
    """
    if gpu:
        _check_gpu(as_json)
        return
    from atdsr.reports import doctor as examining

    with progress_bar(as_json) as progress:
        task = progress.add_task("looking", total=1)
        machine = examining.examine()
        if not quick:
            progress.update(task, description="measuring")
            machine = examining.measured(
                machine, lambda share: progress.update(task, completed=share)
            )
    advice = examining.advice(machine)
    if as_json:
        say(out, json.dumps(_record(machine, advice)))
    else:
        _print(machine, advice)
    if any(each.broken for each in advice):
        raise typer.Exit(1)


def _check_gpu(as_json: bool) -> None:
    """Check every GPU kernel against plain PyTorch, and print a table.

    Raises:
        AtdsrError: The kernels cannot run here at all.
    """
    from atdsr.network.kernels import gpu

    if (why_not := gpu.unsupported()) is not None:
        raise AtdsrError(f"the GPU kernels cannot be checked: {why_not}")
    from atdsr.network.kernels.gpu import checks
    from atdsr.reports.doctor import gpu_checks

    with progress_bar(as_json) as progress:
        task = progress.add_task("checking", total=1)
        results = gpu_checks.check_all(
            lambda name, share: progress.update(task, description=name, completed=share)
        )
    failed = [result.kernel for result in results if result.failure is not None]
    if as_json:
        environment = asdict(checks.environment())
        record = {"environment": environment, "checks": [asdict(result) for result in results]}
        say(out, json.dumps({"atdsr": atdsr.__version__, **record}))
    else:
        _print_checks(results)
    if failed:
        raise typer.Exit(1)


def _print_checks(results: "list[KernelCheck]") -> None:
    def cell(number: float | None, form: str) -> str:
        return "" if number is None else format(number, form)

    print_table(
        ("kernel", "error, float32", "error, bfloat16", "plain time / kernel time", "verdict"),
        [
            (
                result.kernel,
                cell(result.float32_error, ".1e"),
                cell(result.bfloat16_error, ".1e"),
                cell(result.speedup, ".1f"),
                "passed" if result.failure is None else "FAILED",
            )
            for result in results
        ],
    )
    failed = [result for result in results if result.failure is not None]
    for result in failed:
        say_wrapped(f"{result.kernel}: {result.failure}.", "  - ")
    if not failed:
        say(out, "All passed: from now on the GPU kernels run on this machine.")
    elif [result.kernel for result in failed] == ["CUDA graph"]:
        say(out, "The GPU kernels run on this machine from now on, without CUDA graphs.")
    else:
        say(out, "Plain PyTorch runs on this machine's GPU, more slowly and with the same results.")


def _record(machine: "Machine", advice: "list[Advice]") -> dict[str, object]:
    """Everything that was found, under the names that `doctor.Machine` has."""
    found = machine.measurement
    more = {}
    if found is not None:
        more["measurement"] = asdict(found) | {
            "pixels_per_second": found.pixels_per_second,
            "photo_seconds": found.photo_seconds,
        }
    return {
        "atdsr": atdsr.__version__,
        **asdict(machine),
        **more,
        "advice": [asdict(each) for each in advice],
    }


def _print(machine: "Machine", advice: "list[Advice]") -> None:
    """Rows of a name and what is to be said of it, then the advice."""
    for section in (_hardware(machine), _software(machine), _running(machine), _speed(machine)):
        for name, text in section.items():
            say_wrapped(text, f"{name:{_NAMES}}")
        if section:
            out.print()
    if not advice:
        say(out, "Nothing to change.")
        return
    say(out, "What to change:")
    for each in advice:
        say_wrapped(("broken: " if each.broken else "") + each.sentence, "  - ")


def _hardware(machine: "Machine") -> dict[str, str]:
    processor, memory, gpus = machine.processor, machine.memory, machine.gpus
    rows: dict[str, str] = {}
    rows |= dict.fromkeys(("processor", "instructions", "memory", "GPU"), _UNKNOWN)
    if processor is not None:
        cores, logical = (number or _UNKNOWN for number in (processor.cores, processor.logical))
        rows["processor"] = f"{processor.name}, {cores} cores ({logical} logical)"
        if processor.instructions is not None:
            native = "native" if processor.bfloat16 else "not native"
            listed = ", ".join(processor.instructions) or "none that matter"
            rows["instructions"] = f"{listed}; bfloat16 is {native}"
    if memory is not None:
        free, total, limit = map(units.byte_size, (memory.free, memory.total, memory.limit))
        rows["memory"] = f"{free} free of {total}"
        if memory.limit is not None:
            rows["memory"] += f"; a control group allows {limit}"
    if gpus is not None:
        rows["GPU"] = ", ".join(gpus.names) or "none that PyTorch can use"
        if gpus.names:
            rows["GPU path"] = "kernels" if gpus.plain is None else f"plain: {gpus.plain}"
    return rows


def _software(machine: "Machine") -> dict[str, str]:
    named = {library.name: library.version or _UNKNOWN for library in machine.libraries}
    versions = {"atdsr": atdsr.__version__, "Python": machine.python, **named}
    versions["libvips"] = machine.libvips or _UNKNOWN
    return {
        "system": machine.system,
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "weights": _weights(machine),
    }


def _weights(machine: "Machine") -> str:
    if machine.damaged is None:
        return _UNKNOWN
    return f"{len(machine.damaged)} damaged" if machine.damaged else "intact"


def _running(machine: "Machine") -> dict[str, str]:
    allocator, threads = machine.allocator, machine.threads
    rows: dict[str, str] = {}
    rows |= dict.fromkeys(("runs on", "CPU path", "threads", "allocator"), _UNKNOWN)
    if machine.device is not None:
        rows["runs on"] = f"{machine.device}, unless --device says otherwise"
    if machine.kernels is not None:
        rows["CPU path"] = _path(machine.kernels)
    if threads is not None:
        quota = "" if threads.quota is None else f", a control group gives {threads.quota:g}"
        rows["threads"] = f"{threads.running} on {threads.processors} processors{quota}"
        for name in ("omp_num_threads", "omp_wait_policy"):
            value = getattr(threads, name)
            rows["threads"] += f"; {name.upper()} is {'not set' if value is None else value}"
    if allocator is not None:
        what = "keeps" if allocator.keeps else "gives back"
        rows["allocator"] = f"{allocator.name}, which {what} freed memory"
    return rows


def _path(kernels: "CPUStatus") -> str:
    if kernels.variant is None:
        return f"plain: {kernels.why_not}"
    return f"kernels for {_SETS[kernels.variant]}, on threads of {kernels.threads}"


def _speed(machine: "Machine") -> dict[str, str]:
    """What was measured, if anything was."""
    found = machine.measurement
    if found is None:
        return {}
    rate = f"{found.pixels_per_second:,.0f} pixels of the input a second"
    rows = {"measured": f"{found.side}x{found.side} by ATD-light: {found.seconds:.2f} s, {rate}"}
    if found.plain_seconds is not None:
        times = found.plain_seconds / found.seconds
        rows["plain path"] = f"{found.plain_seconds:.2f} s, {times:.1f} times as long"
    rows["a megapixel"] = f"takes about {units.duration(found.photo_seconds)}"
    rows["page faults"] = f"{found.system_share:.0%} of the time goes to the system"
    return rows
