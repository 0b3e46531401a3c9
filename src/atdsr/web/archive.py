"""Results as one zip file, made while it is sent."""

import io
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from atdsr.web.jobs import Job

_STEP = 2**20  # bytes at a time


class _Pipe(io.RawIOBase):
    """What `zipfile` writes into, piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(memoryview(data))  # pyright: ignore[reportArgumentType]
        self._pieces.append(piece)
        return len(piece)

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def stream(jobs: Sequence[Job]) -> Iterator[bytes]:
    """Yield a zip file with the results of jobs; pictures are packed already, so it only stores.

    Results that expire meanwhile are left out.
    """
    pipe = _Pipe()
    names = unique_names([job.facts["result"]["filename"] for job in jobs])
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        for job, name in zip(jobs, names, strict=True):
            yield from _member(archive, pipe, job, name)
    yield pipe.take()


def _member(archive: zipfile.ZipFile, pipe: _Pipe, job: Job, name: str) -> Iterator[bytes]:
    try:
        source = (job.result or Path()).open("rb")
    except OSError:
        return
    info = zipfile.ZipInfo(name, time.localtime(job.ended)[:6])
    with source, archive.open(info, "w", force_zip64=True) as member:
        while block := source.read(_STEP):
            member.write(block)
            yield pipe.take()


def unique_names(names: Sequence[str]) -> list[str]:
    """Return the names, with a number where one has come before (also in other case)."""
    seen: set[str] = set()
    unique: list[str] = []
    for name in names:
        path, number, free = PurePath(name), 2, name
        while free.casefold() in seen:
            free, number = f"{path.stem} ({number}){path.suffix}", number + 1
        seen.add(free.casefold())
        unique.append(free)
    return unique
