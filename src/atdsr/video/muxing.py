"""The finished file: pictures from the segments, and everything else as it is in the clip."""

import heapq
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atdsr.video.config import MUXERS, VideoConfig, VideoError
from atdsr.video.encoders import Encoding
from atdsr.video.reading import Clip, library, opened, reason
from atdsr.video.segments import Parts, packets_in_place

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

_MICROSECOND = Fraction(1, 1_000_000)
_OF_CONTAINER = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder"})
_OF_ENCODER = ("BPS", "DURATION", "NUMBER_OF_", "_STATISTICS", "SOURCE_ID", "encoder", "vendor_id")
"""How tags begin that describe a stream of pictures as it was."""

_ITUNES_TAGS = frozenset(
    (
        *("title", "artist", "album_artist", "composer", "album", "date", "comment", "genre"),
        *("copyright", "grouping", "lyrics", "description", "synopsis", "show", "episode_id"),
        *("network", "keywords", "track", "disc", "creation_time"),
    )
)
"""The tags that MP4 has places for; `use_metadata_tags` keeps all others, in Apple's newer form."""


@dataclass(frozen=True)
class Copied:
    """What becomes of the streams of a clip.

    Attributes:
        streams: Numbers of those that are copied, with attachments.
        lost: What is left out, one sentence each.
    """

    streams: tuple[int, ...]
    lost: tuple[str, ...]


def plan_streams(clip: Clip, container: str) -> Copied:
    """Return which streams a container takes, by trying its muxer.

    Args:
        clip: The clip.
        container: One of `config.CONTAINERS`.

    Raises:
        VideoError: It does not take sound or subtitles, which nobody wants to lose unasked.
    """
    streams: list[int] = []
    lost: list[str] = []
    with opened(clip.path) as source:
        for stream in source.streams:
            if stream.index == clip.stream or _is_made_anew(stream):
                continue
            if _takes(container, stream):
                streams.append(stream.index)
                continue
            name = f"stream {stream.index} ({stream.type}, {_codec(stream)})"
            if stream.type in ("audio", "subtitle"):
                others = "mkv" if container != "mkv" else "mp4"
                raise VideoError(
                    f"{clip.path}: {container} cannot hold {name}; choose another container with "
                    f"--format, such as {others}."
                )
            lost.append(f"{name} is left out, since {container} cannot hold it.")
    return Copied(tuple(streams), tuple(lost))


def check_codec(encoding: Encoding, container: str, clip: Clip) -> None:
    """Check that a container holds a codec.

    Raises:
        VideoError: It does not.
    """
    av = library()
    with av.open(io.BytesIO(), "w", format=MUXERS[container]) as output:
        try:
            output.add_stream(encoding.encoder, encoding.rate)
        except ValueError:
            raise VideoError(
                f"{clip.path}: {container} cannot hold {encoding.codec}; choose another container "
                "with --format, or another --codec."
            ) from None


def remux(
    clip: Clip,
    config: VideoConfig,
    encoding: Encoding,
    parts: Parts,
    copied: Copied,
    path: Path,
    container: str,
) -> list[str]:
    """Write the finished file. Nothing is decoded or encoded.

    Args:
        clip: The clip.
        config: Which part of it is wanted.
        encoding: How the segments are encoded.
        parts: All segments.
        copied: Which streams are copied.
        path: The file to write.
        container: One of `config.CONTAINERS`.

    Returns:
        A sentence for everything that the container could not keep.

    Raises:
        VideoError: The file cannot be written, or a segment is damaged.
    """
    av = library()
    try:
        with opened(clip.path) as source:
            tags = _container_tags(source)
            options = _muxer_options(container, tags)
            with av.open(
                f"file:{path}", "w", format=MUXERS[container], container_options=options
            ) as output:
                output.metadata.update(tags)
                return _write(source, output, clip, config, encoding, parts, copied)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{path.name} cannot be written: {reason(error)}.") from error


def _write(
    source: "InputContainer",
    output: "OutputContainer",
    clip: Clip,
    config: VideoConfig,
    encoding: Encoding,
    parts: Parts,
    copied: Copied,
) -> list[str]:
    pictures: VideoStream | None = None
    targets: dict[int, Stream] = {}
    with opened(parts.folder / parts.segments[0].name) as first:
        for stream in source.streams:
            if stream.index == clip.stream:
                pictures = _add_pictures(output, first.streams.video[0], stream, clip, encoding)
            elif stream.index in copied.streams:
                targets[stream.index] = _add_copy(output, stream)
    assert pictures is not None, "the clip had such a stream a moment ago"
    times = _Times(parts, clip, config)
    output.set_chapters(times.chapters(source.chapters()))
    output.start_encoding()
    streams = [source.streams[n] for n in targets if source.streams[n].type != "attachment"]
    packets = heapq.merge(
        _picture_packets(parts, times, clip, pictures),
        _copied_packets(source, streams, targets, times),
        key=lambda timed: timed[0],
    )
    for _, packet in packets:
        output.mux_one(packet)
    return times.notices(pictures.time_base or clip.time_base)


# --------------------------------------------------------------------------------------- streams


def _is_made_anew(stream: "Stream") -> bool:
    """Return whether the muxer writes a stream by itself: the text of chapters, or the timecode."""
    from av.stream import Discard

    is_of_chapters = stream.discard == Discard.all  # the demuxer has read it and says so
    return stream.type == "data" and (is_of_chapters or "timecode" in stream.metadata)


def _tag(stream: "Stream") -> str:
    try:
        return stream.codec_tag
    except AttributeError:
        return ""


def _codec(stream: "Stream") -> str:
    return stream.codec_context.codec.name if stream.codec_context else _tag(stream) or "unknown"


def _takes(container: str, stream: "Stream") -> bool:
    """Return whether a container takes a stream, by writing the head of a file with it alone."""
    av = library()
    try:
        with av.open(io.BytesIO(), "w", format=MUXERS[container]) as output:
            _add_copy(output, stream)
            output.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _add_copy(output: "OutputContainer", stream: "Stream") -> "Stream":
    """Add a stream like that of a clip, with its tags and its disposition."""
    if stream.type == "video":
        target = output.add_stream_from_template(stream, opaque=True)
    else:
        target = output.add_stream_from_template(stream)
    target.metadata.update(_stream_tags(stream))
    target.disposition = stream.disposition
    return target


def _stream_tags(stream: "Stream") -> dict[str, str]:
    """Return the tags of a stream. MP4 has a title under another name, which muxers do not know."""
    tags = dict(stream.metadata)
    if "name" in tags:
        tags.setdefault("title", tags.pop("name"))
    return tags


def _add_pictures(
    output: "OutputContainer",
    segment: "VideoStream",
    original: "Stream",
    clip: Clip,
    encoding: Encoding,
) -> "VideoStream":
    """Add the stream of pictures."""
    target = output.add_stream_from_template(segment, opaque=True)
    target.time_base = clip.time_base
    context = target.codec_context
    context.framerate = clip.rate
    context.sample_aspect_ratio = encoding.sample_aspect
    if encoding.codec == "hevc" and output.format.name in ("mp4", "mov"):
        context.codec_tag = "hvc1"  # with which Apple's players open it, too
    if clip.display_matrix is not None:
        target.set_display_matrix(struct.unpack("<9i", clip.display_matrix))
    for key, value in _stream_tags(original).items():
        if not key.startswith(_OF_ENCODER):
            target.metadata[key] = value
    target.disposition = original.disposition
    return target


def _container_tags(source: "InputContainer") -> dict[str, str]:
    return {key: value for key, value in source.metadata.items() if key not in _OF_CONTAINER}


def _muxer_options(container: str, tags: dict[str, str]) -> dict[str, str]:
    if container == "mkv":
        return {}
    flags = "+faststart"  # the index at the beginning, so that a browser can begin to play
    if not tags.keys() <= _ITUNES_TAGS:
        flags += "+use_metadata_tags"
    return {"movflags": flags}


# --------------------------------------------------------------------------------------- packets


class _Times:
    """When packets are decoded and shown.

    With an excerpt, all time stamps move so that its first frame is at 0, and what is before or
    after it is left out.
    """

    def __init__(self, parts: Parts, clip: Clip, config: VideoConfig) -> None:
        self.pts = parts.pts
        self.delay = max(segment.delay for segment in parts.segments)
        self._clip, self._is_excerpt = clip, config.is_excerpt
        last = parts.segments[-1].duration
        if clip.end is not None and not config.is_excerpt and clip.end > self.pts[-1]:
            last = clip.end - self.pts[-1]
        if not last:
            last = self.pts[-1] - self.pts[-2] if len(self.pts) > 1 else 0
        self.last_duration = last or max(1, round(1 / (clip.rate * clip.time_base)))
        self._shift = self.pts[0] if config.start is not None else 0
        self._begin = self.pts[0] * clip.time_base
        self._end = (self.pts[-1] + self.last_duration) * clip.time_base

    def of_picture(self, decoded: int, shown: int) -> tuple[int, int, int]:
        """Return pts, dts and duration of a frame in ticks of the clip.

        Args:
            decoded: Its place in the order of decoding.
            shown: Its place in the order in which frames are shown.
        """
        pts = self.pts
        last = len(pts) - 1
        duration = pts[shown + 1] - pts[shown] if shown < last else self.last_duration
        dts = self._dts(decoded)
        if decoded == last != shown:  # MP4 has a length, which ends with the last one decoded
            length = pts[-1] + self.last_duration - pts[0]
            duration = max(1, length - (dts - self._dts(0)))
        return pts[shown] - self._shift, dts - self._shift, duration

    def _dts(self, decoded: int) -> int:
        if decoded >= self.delay:
            return self.pts[decoded - self.delay]
        step = self.pts[1] - self.pts[0] if len(self.pts) > 1 else self.last_duration
        return self.pts[0] - (self.delay - decoded) * step

    def keeps(self, seconds: Fraction) -> bool:
        """Return whether what begins at a time of the clip is part of the excerpt."""
        return not self._is_excerpt or self._begin <= seconds < self._end

    def shift(self, stamp: int | None, time_base: Fraction) -> int | None:
        """Return a time stamp of another stream in the finished file."""
        if stamp is None or not self._shift:
            return stamp
        return stamp - round(self._shift * self._clip.time_base / time_base)

    def chapters(self, chapters: list[Any]) -> list[Any]:
        """Return the chapters of the finished file; those that an excerpt cuts are shorter."""
        if not self._is_excerpt:
            return chapters
        found = []
        for chapter in chapters:
            base = chapter["time_base"] or _MICROSECOND
            begin = max(chapter["start"] * base, self._begin)
            end = min(chapter["end"] * base, self._end)
            if begin < end:
                start = self.shift(round(begin / base), base)
                stop = self.shift(round(end / base), base)
                found.append({**chapter, "start": start, "end": stop})
        return found

    def notices(self, time_base: Fraction) -> list[str]:
        """Return a sentence if the time stamps of frames are no multiples of a time base."""
        ratio = self._clip.time_base / time_base
        if all((pts * ratio).denominator == 1 for pts in self.pts):
            return []
        return [
            "Matroska counts milliseconds, so the times of frames are rounded to them; --format "
            "mp4 keeps them exactly."
        ]


Timed = tuple[Fraction, "Packet"]


def _picture_packets(
    parts: Parts, times: _Times, clip: Clip, target: "VideoStream"
) -> Iterator[Timed]:
    """Yield the packets of all segments with the times that they are decoded at."""
    before = 0
    for segment in parts.segments:
        path = parts.folder / segment.name
        packets = packets_in_place(path)
        if len(packets) != len(segment.pts):
            raise VideoError(
                f"{path} is damaged; delete its folder and run the same command again."
            )
        for number, (place, packet) in enumerate(packets):
            pts, dts, duration = times.of_picture(before + number, before + place)
            packet.stream = target
            packet.time_base = clip.time_base
            packet.pts, packet.dts, packet.duration = pts, dts, duration
            yield dts * clip.time_base, packet
        before += len(packets)


def _copied_packets(
    source: "InputContainer",
    streams: "list[Stream]",
    targets: "dict[int, Stream]",
    times: _Times,
) -> Iterator[Timed]:
    """Yield the packets of the other streams with the times that they are decoded at."""
    if not streams:
        return
    from av import error

    packets = source.demux(streams)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, error.EOFError):
            return
        except error.InvalidDataError:
            continue
        if not packet.size:  # at the end of each stream
            continue
        base = packet.time_base
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None:
            stamp = 0  # a cover
            packet.pts = 0
        if not times.keeps((packet.pts if packet.pts is not None else stamp) * base):
            continue
        packet.dts = times.shift(stamp, base)
        packet.pts = times.shift(packet.pts, base)
        packet.stream = targets[packet.stream_index]
        yield stamp * base, packet
