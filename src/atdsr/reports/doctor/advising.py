"""What to change on a machine: rules that only look at what was found out."""

from collections.abc import Iterator
from dataclasses import dataclass

from atdsr.base import units
from atdsr.reports.doctor.machine import Machine

_BUSY = 0.25  # share of the processor that others may use before it is worth a line
_PAGING = 0.2  # share of the time in the system that tells of pages given back and got again


@dataclass(frozen=True)
class Advice:
    """Something to change: one sentence, and whether nothing works before that is done."""

    sentence: str
    broken: bool = False


def advice(machine: Machine) -> list[Advice]:
    """Return what to change on a machine, the broken parts first; empty where all is well."""
    broken = [Advice(sentence, broken=True) for sentence in _broken(machine)]
    rules = (_on_paths, _on_threads, _on_memory, _on_gpus, _on_precision)
    return broken + [Advice(sentence) for rule in rules for sentence in rule(machine)]


def _broken(machine: Machine) -> Iterator[str]:
    for library in machine.libraries:
        if library.failure is not None:
            yield (
                f"{library.name} cannot be imported ({library.failure}): install it again with "
                f"`pip install --force-reinstall {library.name}`."
            )
    yield from machine.damaged or ()
    if machine.unmeasured is not None:
        yield f"The bundled network did not enlarge a picture ({machine.unmeasured})."
    if machine.failure is not None and not any(each.failure for each in machine.libraries):
        yield (
            f"PyTorch does not compute here ({machine.failure}): install the build of it that is "
            "made for this machine."
        )


def _on_paths(machine: Machine) -> Iterator[str]:
    processor, gpus = machine.processor, machine.gpus
    if gpus is not None and gpus.plain is not None:
        yield f"The slower plain path runs on the GPU: {gpus.plain}"
    if machine.kernels is None:
        return
    if machine.kernels.why_not is not None:
        yield f"The slower plain path runs on the CPU: {machine.kernels.why_not}"
    elif machine.forced == "avx2" and "AVX-512" in ((processor and processor.instructions) or ()):
        yield "ATDSR_KERNELS=avx2 keeps this processor from using its AVX-512: unset it."
    found = machine.measurement
    if found is None or found.plain_seconds is None or _crowded(machine):
        return
    if found.seconds > 1.1 * found.plain_seconds:
        yield (
            "The kernels are slower than the plain path here: set ATDSR_KERNELS=off, and please "
            "report it."
        )


def _crowded(machine: Machine) -> bool:
    return machine.busy is not None and machine.busy > _BUSY


def _on_threads(machine: Machine) -> Iterator[str]:
    if _crowded(machine):
        spins = machine.threads is not None and machine.threads.omp_wait_policy is None
        yield f"Other processes use {machine.busy:.0%} of the processor: wait for them" + (
            ", or set OMP_WAIT_POLICY=PASSIVE so that idle threads leave them their time."
            if spins
            else "."
        )
    threads, processor = machine.threads, machine.processor
    if threads is None:
        return
    if threads.running > threads.useful:
        yield (
            f"{threads.running} threads run where this process may use {threads.useful} of the "
            f"processors: set OMP_NUM_THREADS={threads.useful}."
        )
    cores = min(threads.useful, (processor and processor.cores) or threads.useful)
    if threads.omp_num_threads is not None and threads.running < cores:
        yield (
            f"OMP_NUM_THREADS={threads.omp_num_threads} leaves {cores - threads.running} of "
            f"{cores} cores idle: unset it."
        )


def _on_memory(machine: Machine) -> Iterator[str]:
    free, need = machine.memory and machine.memory.free, machine.photo_bytes
    if free is not None and need is not None and need > free:
        yield (
            f"A photo of a megapixel takes {units.byte_size(need)} of memory as a whole and "
            f"{units.byte_size(free)} are free, so it is done in tiles: close other programs, "
            "or choose smaller tiles with --tile 256."
        )
    found, allocator = machine.measurement, machine.allocator
    if found is None or allocator is None or found.device != "cpu":
        return
    if found.system_share > _PAGING and not allocator.keeps and machine.system.startswith("Linux"):
        yield (
            f"{found.system_share:.0%} of the time goes into getting memory again that "
            f"{allocator.name} gave back: preload another malloc, such as jemalloc, with "
            "LD_PRELOAD."
        )


def _on_gpus(machine: Machine) -> Iterator[str]:
    if machine.gpus is not None and machine.gpus.nvidia_driver and not machine.gpus.names:
        yield (
            "There is a driver of NVIDIA, and this PyTorch finds no GPU: install a build of "
            "PyTorch with CUDA that suits the driver."
        )


def _on_precision(machine: Machine) -> Iterator[str]:
    sets = None if machine.processor is None else machine.processor.instructions
    if machine.device == "cpu" and sets is not None and "AVX-512 BF16" in sets:
        yield "This processor multiplies bfloat16: --precision auto makes use of it."
