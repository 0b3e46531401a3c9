"""The finished part of a clip on disk, so that an interrupted command can go on.

Beside the output `clip_x2.mp4` there is a hidden folder `.clip_x2.mp4.parts` as long as it is being
made. It holds segments, which are Matroska files of `encoders.SEGMENT_FRAMES` frames each, and
`index.jsonl`: a line on what is made of what and how, then a line for each finished segment. Every
segment is made by an encoder of its own, so that it depends on its frames alone, and not on where a
command was interrupted.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atdsr.base import files
from atdsr.video.config import VideoError
from atdsr.video.encoders import SEGMENT_FRAMES, Encoding
from atdsr.video.reading import ClipDamage, ClipFrame, library, opened, reason

if TYPE_CHECKING:
    from av.packet import Packet

INDEX_NAME = "index.jsonl"
"""Name of the index in the folder."""

_INDEX_FORMAT = 1
_MILLISECOND = Fraction(1, 1000)


@dataclass(frozen=True)
class Segment:
    """A finished segment.

    Attributes:
        name: Its file.
        pts: When each of its frames is shown, in ticks of the clip.
        duration: How long the last of its frames is shown, in ticks; 0 if that is not known.
        repeats: How many of its frames equal the one before.
        delay: By how many frames a player has to be ahead in decoding it.
    """

    name: str
    pts: tuple[int, ...]
    duration: int
    repeats: int
    delay: int


class Parts:
    """The segments of an output.

    Args:
        target: The output.
        identity: What it is made of and how, as plain JSON. Segments of another one are deleted.

    Attributes:
        folder: Where they are.
        segments: Those that are finished, in order.
        damage: What was wrong with the clip, once `is_complete`.
        is_complete: Whether all segments are there.
        is_new_start: Whether segments were deleted since they were of another identity.

    Raises:
        VideoError: The folder cannot be read or written.
    """

    def __init__(self, target: Path, identity: dict[str, Any]) -> None:
        self.folder = folder_of(target)
        self.segments: list[Segment] = []
        self.damage = ClipDamage()
        self.is_complete = False
        self.is_new_start = False
        self._target = target
        self._header = {"format": _INDEX_FORMAT, "identity": identity}
        with self._sentences():
            self._load()

    @property
    def frames(self) -> int:
        """How many frames are finished."""
        return sum(len(segment.pts) for segment in self.segments)

    @property
    def pts(self) -> list[int]:
        """When each frame is shown, in ticks of the clip."""
        return [pts for segment in self.segments for pts in segment.pts]

    def _load(self) -> None:
        lines = self._read_index()
        if lines and lines[0] != self._header:
            self.is_new_start = len(lines) > 1
            lines = []
        for line in lines[1:]:
            if "damage" in line:
                self.is_complete = True
                self.damage = ClipDamage(**line["damage"])
            elif (self.folder / line["name"]).is_file():
                line["pts"] = tuple(line["pts"])
                self.segments.append(Segment(**line))
            else:
                break
        self.folder.mkdir(parents=True, exist_ok=True)
        known = {INDEX_NAME, *(segment.name for segment in self.segments)}
        for file in self.folder.iterdir():
            if file.name not in known:
                file.unlink()
        self._write_index()

    def _read_index(self) -> list[dict[str, Any]]:
        """Return the lines of the index; the last one may be cut short, and nothing follows it."""
        lines: list[dict[str, Any]] = []
        try:
            text = (self.folder / INDEX_NAME).read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return lines
        for line in text.splitlines():
            try:
                found = json.loads(line)
            except ValueError:
                break
            if not isinstance(found, dict):
                break
            lines.append(found)
        return lines

    def _write_index(self) -> None:
        """Write the index anew, without what was cut short."""
        temporary = self.folder / f"{INDEX_NAME}.part"
        lines = [self._header, *map(asdict, self.segments)]
        if self.is_complete:
            lines.append({"damage": asdict(self.damage)})
        temporary.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
        files.move_durably(temporary, self.folder / INDEX_NAME)

    def _append(self, line: dict[str, Any]) -> None:
        with (self.folder / INDEX_NAME).open("a", encoding="utf-8") as index:
            index.write(f"{json.dumps(line)}\n")
            index.flush()
            os.fsync(index.fileno())

    def add(self, segment: Segment, temporary: Path) -> None:
        """Add a finished segment, which survives whatever comes.

        Args:
            segment: The segment.
            temporary: The file that becomes it.

        Raises:
            VideoError: The disk takes no more.
        """
        with self._sentences():
            files.move_durably(temporary, self.folder / segment.name)
            self._append(asdict(segment))
        self.segments.append(segment)

    def complete(self, damage: ClipDamage) -> None:
        """Say that there are no more segments.

        Args:
            damage: What was wrong with the clip.

        Raises:
            VideoError: The disk takes no more.
        """
        with self._sentences():
            self._append({"damage": asdict(damage)})
        self.damage, self.is_complete = damage, True

    def remove(self) -> None:
        """Delete all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Turn errors of the system and of FFmpeg into sentences."""
        try:
            yield
        except (library().error.FFmpegError, OSError) as error:
            raise self.unwritable(error) from error

    def unwritable(self, error: Exception) -> VideoError:
        """Return the error for a segment that cannot be written."""
        kept = (
            f"; {self.frames} frames are kept, and the same command goes on" if self.frames else ""
        )
        return VideoError(
            f"{self._target}: its segments cannot be written to {self.folder}: {reason(error)}"
            f"{kept}."
        )


def folder_of(target: Path) -> Path:
    """Return the folder for the segments of an output."""
    return target.with_name(f".{target.name}.parts")


def packets_in_place(path: Path) -> "list[tuple[int, Packet]]":
    """Return the packets of a segment in the order in which they are decoded.

    Returns:
        For each packet the place of its frame among those of the segment, and the packet.

    Raises:
        VideoError: The file cannot be read.
    """
    with opened(path) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    shown = sorted(packet.pts or 0 for packet in packets)
    place = {pts: number for number, pts in enumerate(shown)}
    return [(place[packet.pts or 0], packet) for packet in packets]


class SegmentEncoder:
    """Encodes frames into segments, one after another.

    Args:
        parts: Gets the segments. The first frame is the one after those that are finished.
        encoding: How they are encoded.
    """

    def __init__(self, parts: Parts, encoding: Encoding) -> None:
        self._parts, self._encoding = parts, encoding
        self._open: _OpenSegment | None = None

    def add(self, frame: ClipFrame, planes: Sequence[np.ndarray], *, is_repeat: bool) -> None:
        """Encode a frame.

        Args:
            frame: When it is shown; its own samples are not used.
            planes: Its samples.
            is_repeat: Whether it equals the one before.

        Raises:
            VideoError: The encoder fails, or the disk takes no more.
        """
        if self._open is None:
            name = f"{len(self._parts.segments):06}.mkv"
            self._open = _OpenSegment(self._parts.folder / name, self._encoding)
        with self._sentences():
            self._open.add(frame, planes, is_repeat)
        if len(self._open.pts) == SEGMENT_FRAMES:
            self.finish()

    def finish(self) -> None:
        """Finish the segment that is being made, if there is one.

        Raises:
            VideoError: The encoder fails, or the disk takes no more.
        """
        if self._open is None:
            return
        with self._sentences():
            segment = self._open.finish()
        self._parts.add(segment, self._open.temporary)
        self._open = None

    def abandon(self) -> None:
        """Delete the segment that is being made."""
        if self._open is not None:
            self._open.abandon()
            self._open = None

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._parts.unwritable(error) from error
        except (library().error.FFmpegError, ValueError) as error:
            raise VideoError(
                f"the encoder {self._encoding.encoder} fails: {reason(error)}."
            ) from error


class _OpenSegment:
    """A segment that is being made."""

    def __init__(self, path: Path, encoding: Encoding) -> None:
        self.temporary = path.with_suffix(".part")
        self.pts: list[int] = []
        self._path, self._encoding = path, encoding
        self._packets: list[Packet] = []
        self._duration = self._repeats = 0
        av = library()
        self._container = av.open(f"file:{self.temporary}", "w", format="matroska")
        self._stream = self._container.add_stream(encoding.encoder, encoding.rate)
        encoding.open(self._stream.codec_context)

    def add(self, frame: ClipFrame, planes: Sequence[np.ndarray], is_repeat: bool) -> None:
        self.pts.append(frame.pts)
        self._duration = frame.duration
        self._repeats += is_repeat
        self._packets += self._stream.encode(self._encoding.frame(planes, frame.pts))

    def finish(self) -> Segment:
        self._packets += self._stream.encode(None)
        # Matroska counts milliseconds, so the place of a frame stands for its time
        place = {pts: number for number, pts in enumerate(self.pts)}
        if sorted(packet.pts or 0 for packet in self._packets) != self.pts:
            raise ValueError("it has returned other frames than it was given")
        places = [place[packet.pts or 0] for packet in self._packets]
        delay = max(number - shown for number, shown in enumerate(places))
        for number, (packet, shown) in enumerate(zip(self._packets, places, strict=True)):
            packet.time_base = _MILLISECOND
            packet.pts, packet.dts, packet.duration = shown + delay, number, 1
        self._container.mux(self._packets)
        self._container.close()
        return Segment(self._path.name, tuple(self.pts), self._duration, self._repeats, delay)

    def abandon(self) -> None:
        self.temporary.unlink(missing_ok=True)  # nothing has been written yet, except at the end
