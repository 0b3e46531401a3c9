"""Image sequences (animated AVIF): their frames, and how often they are shown.

Sources: ISO/IEC 14496-12, sections 8.3 to 8.7 (tracks); ISO/IEC 23008-12, section 7 (image
sequences); AVIF, section 3 (repetition).
"""

import struct
from dataclasses import dataclass

from atdsr.imaging.codecs.isobmff.av1 import Nclx
from atdsr.imaging.codecs.isobmff.boxes import (
    Box,
    child,
    children,
    iterate_boxes,
    read_nclx,
    top_level,
    unpacking,
)
from atdsr.imaging.picture import DamagedError


@dataclass(frozen=True)
class Track:
    """The frames of an image sequence.

    Attributes:
        width: Width of every frame in pixels.
        height: Height of every frame in pixels.
        durations: How long each frame is shown, in milliseconds.
        loop: How often the sequence is shown; 0 is forever.
        colour: Code points of its colours.
    """

    width: int
    height: int
    durations: tuple[int, ...]
    loop: int
    colour: Nclx | None = None


@unpacking()
def picture_track(data: bytes) -> Track:
    """Return the first track of pictures; the samples of all tracks must be there.

    Raises:
        PictureError: The file is damaged or cut short.
    """
    first: Track | None = None
    for box in children(data, top_level(data)[b"moov"]).get(b"trak", []):
        media = child(data, box, b"mdia")
        table = children(data, child(data, media, b"minf", b"stbl"))
        count = _check_samples(data, {kind: boxes[0] for kind, boxes in table.items()})
        handler = child(data, media, b"hdlr").content
        if first is None and data[handler + 8 : handler + 12] == b"pict":
            durations = _durations(data, table[b"stts"][0], child(data, media, b"mdhd"), count)
            entry = next(iterate_boxes(data, table[b"stsd"][0].content + 8, table[b"stsd"][0].end))
            width, height = struct.unpack_from(">HH", data, entry.content + 24)
            colr = children(data, entry, 78).get(b"colr", [])
            colours = (read_nclx(data, colr_box) for colr_box in colr)
            colour = next((nclx for nclx in colours if nclx is not None), None)
            first = Track(width, height, durations, _loop(data, box), colour)
    if first is None:
        raise DamagedError
    return first


def _check_samples(data: bytes, table: dict[bytes, Box]) -> int:
    """Check that all samples of a track are in the file, and return how many there are."""
    same, count = struct.unpack_from(">II", data, table[b"stsz"].content + 4)
    if count * (same or 4) > len(data):
        raise DamagedError
    at = table[b"stsz"].content + 12
    sizes = iter([same] * count if same else struct.unpack_from(f">{count}I", data, at))
    wide = table.get(b"co64")
    chunks = wide or table[b"stco"]
    (number,) = struct.unpack_from(">I", data, chunks.content + 4)
    if 4 * number > len(data):
        raise DamagedError
    starts = struct.unpack_from(f">{number}{'Q' if wide else 'I'}", data, chunks.content + 8)
    (number,) = struct.unpack_from(">I", data, table[b"stsc"].content + 4)
    if 12 * number > len(data):
        raise DamagedError
    runs = struct.unpack_from(f">{3 * number}I", data, table[b"stsc"].content + 8)
    samples_from = dict(zip(runs[::3], runs[1::3], strict=True))  # by the first chunk of a run
    checked = per_chunk = 0
    for chunk, start in enumerate(starts, 1):
        per_chunk = samples_from.get(chunk, per_chunk)
        in_chunk = min(per_chunk, count - checked)
        if start + sum(next(sizes) for _ in range(in_chunk)) > len(data):
            raise DamagedError
        checked += in_chunk
    if checked != count or not count:
        raise DamagedError
    return count


def _durations(data: bytes, stts: Box, mdhd: Box, count: int) -> tuple[int, ...]:
    """Return the milliseconds of each frame."""
    wide = data[mdhd.content] == 1
    (scale,) = struct.unpack_from(">I", data, mdhd.content + (20 if wide else 12))
    (number,) = struct.unpack_from(">I", data, stts.content + 4)
    if not scale or 8 * number > len(data):
        raise DamagedError
    durations: list[int] = []
    entries = struct.unpack_from(f">{2 * number}I", data, stts.content + 8)
    for frames, ticks in zip(entries[::2], entries[1::2], strict=True):
        durations += [round(1000 * ticks / scale)] * min(frames, count - len(durations))
    if len(durations) != count:
        raise DamagedError
    return tuple(durations)


def _loop(data: bytes, trak: Box) -> int:
    """Return how often a track is shown: its length divided by that of the repeated edit."""
    parts = children(data, trak)
    if b"edts" not in parts or b"tkhd" not in parts:
        return 0  # not stated; viewers go on forever
    elst = child(data, parts[b"edts"][0], b"elst")
    if not data[elst.content + 3] & 1:
        return 1
    at, number = _length_field(data, parts[b"tkhd"][0])
    (total,) = number.unpack_from(data, at)
    (edit,) = struct.unpack_from(">Q" if data[elst.content] else ">I", data, elst.content + 8)
    endless = 2 ** (8 * number.size) - 1
    return 0 if total == endless or not edit else max(1, -(-total // edit))


def _length_field(data: bytes, tkhd: Box) -> tuple[int, struct.Struct]:
    """Return where the header of a track states its length, and the format of that number."""
    wide = data[tkhd.content] == 1
    return tkhd.content + (28 if wide else 20), struct.Struct(">Q" if wide else ">I")


def with_loop(data: bytes, loop: int) -> bytes:
    """Return an image sequence that is repeated forever as one that is shown `loop` times."""
    changed = bytearray(data)
    for trak in children(data, top_level(data)[b"moov"])[b"trak"]:
        elst = child(data, trak, b"edts", b"elst")
        (edit,) = struct.unpack_from(">Q" if data[elst.content] else ">I", data, elst.content + 8)
        at, number = _length_field(data, child(data, trak, b"tkhd"))
        number.pack_into(changed, at, min(edit * loop, 2 ** (8 * number.size) - 2))
        changed[elst.content + 3] = loop > 1  # whether the edit is repeated
    return bytes(changed)
