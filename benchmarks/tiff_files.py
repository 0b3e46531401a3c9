"""Writes TIFF files tag by tag."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

_SHORT, _LONG, _RATIONAL, _LONG8 = 3, 4, 5, 16
_LETTERS = {1: "B", 2: "B", 7: "B", _SHORT: "H", _LONG: "I", _RATIONAL: "I", _LONG8: "Q"}


@dataclass
class Tiff:
    """A file of one page; `places` and `sizes` of its parts may be falsified before `bytes`.

    `more` has other tags: number -> (kind, values), where fractions are two values each.
    """

    parts: Sequence[bytes]
    width: int
    height: int
    photometric: int
    bits: Sequence[int] = (8,)
    compression: int = 1
    tile: tuple[int, int] | None = None
    rows: int | None = None
    planar: bool = False
    order: str = "<"
    big: bool = False
    more: Mapping[int, tuple[int, Sequence[int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sizes = [len(part) for part in self.parts]
        ends = np.cumsum([16, *self.sizes]).tolist()
        self.places = ends[:-1]
        self._end = ends[-1] + ends[-1] % 2

    def _tags(self) -> dict[int, tuple[int, Sequence[int]]]:
        offset = _LONG8 if self.big else _LONG
        found: dict[int, tuple[int, Sequence[int]]] = {
            256: (_LONG, [self.width]),
            257: (_LONG, [self.height]),
            258: (_SHORT, self.bits),
            259: (_SHORT, [self.compression]),
            262: (_SHORT, [self.photometric]),
            277: (_SHORT, [len(self.bits)]),
            284: (_SHORT, [2 if self.planar else 1]),
        }
        if self.tile:
            found |= {322: (_LONG, [self.tile[0]]), 323: (_LONG, [self.tile[1]])}
            found |= {324: (offset, self.places), 325: (offset, self.sizes)}
        else:
            found |= {273: (offset, self.places), 279: (offset, self.sizes)}
            found[278] = (_LONG, [self.rows or self.height])
        return found | dict(self.more)

    def bytes(self) -> bytes:
        """The file."""
        head, room = ("HHQ", 8) if self.big else ("HHI", 4)
        pointer = self.order + ("Q" if self.big else "I")
        magic = {"<": b"II", ">": b"MM"}[self.order] + struct.pack(
            self.order + "H", 43 if self.big else 42
        )
        extra = struct.pack(self.order + "HH", 8, 0) if self.big else b""
        body = (magic + extra + struct.pack(pointer, self._end)).ljust(16, b"\0")
        body = (body + b"".join(self.parts)).ljust(self._end, b"\0")
        tags = sorted(self._tags().items())
        rows = struct.pack(self.order + ("Q" if self.big else "H"), len(tags))
        values = b""
        at = self._end + len(rows) + len(tags) * (struct.calcsize("=" + head) + room) + room
        for tag, (kind, numbers) in tags:
            value = struct.pack(f"{self.order}{len(numbers)}{_LETTERS[kind]}", *numbers)
            count = len(numbers) // (2 if kind == _RATIONAL else 1)
            if len(value) > room:
                value, values = struct.pack(pointer, at + len(values)), values + value
            rows += struct.pack(self.order + head, tag, kind, count) + value.ljust(room, b"\0")
        return body + rows + bytes(room) + values


def packed(samples: np.ndarray, bits: int, order: str = "<") -> bytes:
    """Samples (rows, samples of a row) as a strip: each row filled up to a whole byte."""
    if bits in (8, 16, 32, 64):
        return samples.astype(f"{order}u{bits // 8}").tobytes()
    if bits == 24:
        four = samples.astype(f"{order}u4").view(np.uint8).reshape(*samples.shape, 4)
        return four[..., :3].tobytes() if order == "<" else four[..., 1:].tobytes()
    rows = ["".join(f"{value:0{bits}b}" for value in row) for row in samples.tolist()]
    return b"".join(
        int(row.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8)) for row in rows
    )


def cut(samples: np.ndarray, width: int, height: int) -> list[np.ndarray]:
    """Tiles of samples h w c, left to right and top to bottom; what is outside is zero."""
    h, w = samples.shape[:2]
    padded = np.pad(samples, ((0, -h % height), (0, -w % width), (0, 0)))
    return [
        padded[y : y + height, x : x + width]
        for y in range(0, h, height)
        for x in range(0, w, width)
    ]
