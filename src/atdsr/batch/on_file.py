"""What is too long for the memory: records in a temporary file, and a set of digests of names."""

import hashlib
import json
import os
import tempfile
import weakref
from collections.abc import Iterator

import numpy as np

_BLOCK = 2**16  # bytes of records at a time


class Spool:
    """Records of texts in a temporary file, which is deleted with this object.

    Records are added first and gone through then, any number of times.
    """

    def __init__(self) -> None:
        # closed by the finalizer, since a plan has no end at which it could be closed
        self._file = tempfile.TemporaryFile(prefix="atdsr-")  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._count = 0

    def add(self, *texts: str) -> None:
        """Add a record.

        Raises:
            OSError: The disk is full.
        """
        self._file.write(json.dumps(texts).encode() + b"\n")
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[list[str]]:
        place = 0
        while True:
            self._file.seek(place)  # somebody else may go through it at the same time
            lines = self._file.readlines(_BLOCK)
            if not lines:
                return
            place = self._file.tell()
            yield from map(json.loads, lines)


class Names:
    """A set of names of which only digests are kept, 16 bytes each.

    That two names share one does not happen by chance. Names are added first and looked for then.
    """

    def __init__(self) -> None:
        self._added = bytearray()
        self._sorted: np.ndarray | None = None

    def add(self, *name: object) -> None:
        """Add a name, which may have several parts."""
        self._added += _digest(name)

    def __contains__(self, name: tuple[object, ...]) -> bool:
        if self._sorted is None:
            self._sorted = np.frombuffer(bytes(self._added), "S16").copy()
            self._sorted.sort()
            self._added.clear()
        digest = np.bytes_(_digest(name))
        place = int(np.searchsorted(self._sorted, digest))
        return place < len(self._sorted) and bool(self._sorted[place] == digest)


def _digest(name: tuple[object, ...]) -> bytes:
    text = "\0".join(map(str, name))
    return hashlib.blake2b(os.fsencode(text), digest_size=16).digest()
