"""Small clips for tests, made with PyAV, and what a clip says of itself."""

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from atdsr.video.colour import PixelFormat, frame_of

TICK = Fraction(1, 90_000)
STEP = 3_600  # ticks of a frame: 25 frames per second


def picture(
    number: int, width: int, height: int, pixels: PixelFormat, seed: int = 0
) -> list[np.ndarray]:
    """Planes of a frame: soft shapes that move, so that codecs keep them well."""
    planes = []
    for plane in range(pixels.colour_planes + pixels.alpha):
        w, h = pixels.plane_size(plane, width, height)
        y, x = np.mgrid[:h, :w]
        wave = np.sin((x + 2 * number + seed) / 5 + plane) + np.cos((y + number) / 7 - plane)
        top = 2**pixels.bits
        planes.append((top * (0.5 + 0.2 * wave)).astype(pixels.dtype))
    return planes


def make_clip(
    path: str | Path,
    *,
    frames: int = 30,
    size: tuple[int, int] = (48, 32),
    pixels: str = "yuv420p",
    codec: str = "libx264",
    pts: Sequence[int] | None = None,
    time_base: Fraction = TICK,
    options: dict[str, str] | None = None,
    audio: Sequence[str] = ("deu",),
    audio_codec: str = "aac",
    subtitles: bool = False,
    chapters: bool = False,
    tags: dict[str, str] | None = None,
    colour: tuple[int, int, int, int] = (1, 1, 1, 1),
    aspect: Fraction = Fraction(1),
    rotation: float = 0,
    frame: Callable[[int], list[np.ndarray]] | None = None,
    interlaced: bool = False,
    container: str | None = None,
) -> Path:
    """Write a clip of moving shapes.

    Args:
        path: The file; its suffix is that of a container.
        frames: How many frames.
        size: Width and height.
        pixels: FFmpeg's name of the pixel format.
        codec: FFmpeg's name of the encoder.
        pts: When the frames are shown, in ticks of `time_base`; 25 in a second by default.
        time_base: Seconds of a tick.
        options: Options of the encoder.
        audio: Languages of the tracks of sound.
        audio_codec: Their encoder.
        subtitles: Whether there is a track of subtitles.
        chapters: Whether there are two chapters.
        tags: Tags of the file.
        colour: Primaries, transfer, matrix and range.
        aspect: Width of a sample divided by its height.
        rotation: Degrees by which players turn it.
        frame: Planes of a frame, by its number.
        interlaced: Whether frames are encoded as two fields.
        container: FFmpeg's name of the container; by default that of the suffix.
    """
    kind = PixelFormat.of(av.VideoFormat(pixels))
    stamps = pts or [number * round(Fraction(1, 25) / time_base) for number in range(frames)]
    with av.open(str(path), "w", format=container) as output:
        output.metadata.update(tags or {})
        stream: Any = output.add_stream(codec, Fraction(25))
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.time_base = stream.codec_context.time_base = time_base
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = colour
        context.sample_aspect_ratio = aspect
        quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        context.options = {**quiet, **(options or {})}
        if interlaced:
            context.flags |= 1 << 18 | 1 << 29
        if rotation:
            stream.set_display_rotation(rotation)
        sounds: list[Any] = [output.add_stream(audio_codec, 48_000) for _ in audio]
        for sound, language in zip(sounds, audio, strict=True):
            sound.metadata.update(language=language, title=f"Track {language}")
        kind_of_text = "subrip" if output.format.name == "matroska" else "mov_text"
        texts: Any = output.add_mux_stream(kind_of_text) if subtitles else None
        if texts is not None:
            texts.metadata["language"] = "fra"
        if chapters:
            output.set_chapters([_chapter(1, 0, 400), _chapter(2, 400, 1200)])
        packets: list[Any] = []
        for number, stamp in enumerate(stamps):
            planes = frame(number) if frame else picture(number, *size, kind)
            made = frame_of(planes, kind)
            made.pts, made.time_base = stamp, time_base
            packets += stream.encode(made)
        packets += stream.encode(None)
        for seed, sound in enumerate(sounds):
            packets += _sound(sound, float((stamps[-1] + STEP) * time_base), seed)
        if texts is not None:
            packets += _subtitles(texts, kind_of_text)
        for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
            output.mux(packet)
    return Path(path)


def _chapter(number: int, start: int, end: int) -> Any:
    return {
        "id": number,
        "start": start,
        "end": end,
        "time_base": Fraction(1, 1000),
        "metadata": {"title": f"Chapter {number}"},
    }


def _sound(stream: Any, seconds: float, seed: int) -> list[Any]:
    random = np.random.default_rng(seed)
    size = stream.codec_context.frame_size or 1024
    layout = stream.codec_context.format.name
    packets: list[Any] = []
    for number in range(max(1, int(seconds * 48_000 / size))):
        samples = random.normal(0, 0.1, (2, size))
        kinds = {"s16": np.int16, "s32": np.int32, "flt": np.float32}
        kind = np.dtype(kinds[layout.removesuffix("p")])
        loudest = 1 if kind.kind == "f" else np.iinfo(kind).max
        data = (samples.clip(-0.9, 0.9) * loudest).astype(kind)
        if not layout.endswith("p"):
            data = data.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(data, layout, "stereo")
        frame.sample_rate, frame.pts = 48_000, number * size
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _subtitles(stream: Any, kind: str) -> list[Any]:
    packets = []
    for number in range(3):
        text = f"Line {number}".encode()
        packet: Any = av.Packet(text if kind == "subrip" else struct.pack(">H", len(text)) + text)
        packet.stream = stream
        packet.time_base = Fraction(1, 1000)
        packet.pts = packet.dts = number * 300
        packet.duration = 200
        packets.append(packet)
    return packets


# ------------------------------------------------------------------------------- what a clip says


@dataclass(frozen=True)
class Said:
    """What a clip says of itself, without its pictures.

    Attributes:
        times: When each frame is shown, in seconds.
        length: How long the stream of pictures is by the file's head, else when the last frame
            ends, in seconds.
        streams: Type, codec, language, title and disposition of each stream but the pictures.
        packets: The bytes of each packet of those streams, and when it is shown, in seconds.
        chapters: Start, end and title of each chapter.
        tags: Tags of the file.
        colour: Primaries, transfer, matrix and range.
        aspect: Width of a sample divided by its height.
        rotation: Degrees by which players turn it.
        pixels: FFmpeg's name of the pixel format.
    """

    times: list[Fraction]
    length: Fraction
    streams: list[tuple[Any, ...]]
    packets: list[list[tuple[bytes, Fraction]]]
    chapters: list[tuple[float, float, str]]
    tags: dict[str, str]
    colour: tuple[int, int, int, int]
    aspect: Fraction
    rotation: int
    pixels: str


def said_of(path: str | Path) -> Said:
    """Read a clip with PyAV."""
    frames = decoded(path)
    first, last = frames[0], frames[-1]
    with av.open(str(path)) as source:
        others = [each for each in source.streams if each.type in ("audio", "subtitle")]
        streams = [
            (
                each.type,
                each.codec_context.name,
                each.metadata.get("language"),
                each.metadata.get("title") or each.metadata.get("name"),
                int(each.disposition),
            )
            for each in others
        ]
        packets: dict[int, list[tuple[bytes, Fraction]]] = {each.index: [] for each in others}
        for packet in source.demux(others) if others else ():
            if packet.size:
                when = (packet.pts or 0) * packet.time_base
                packets[packet.stream_index].append((bytes(packet), when))
        own = {"major_brand", "minor_version", "compatible_brands", "encoder", "ENCODER"}
        return Said(
            times_of(frames),
            _length(source.streams.video[0], last),
            streams,
            list(packets.values()),
            [
                (
                    float(each["start"] * (each["time_base"] or 0)),
                    float(each["end"] * (each["time_base"] or 0)),
                    each["metadata"].get("title", ""),
                )
                for each in source.chapters()
            ],
            {key: value for key, value in source.metadata.items() if key not in own},
            (first.color_primaries, first.color_trc, first.colorspace, first.color_range),
            source.streams.video[0].sample_aspect_ratio or Fraction(1),
            first.rotation,
            first.format.name,
        )


def _length(stream: Any, last: Any) -> Fraction:
    if stream.duration:
        return stream.duration * stream.time_base
    return (last.pts + last.duration) * last.time_base


def decoded(path: str | Path) -> list[av.VideoFrame]:
    """Decode all frames of a clip."""
    with av.open(str(path)) as source:
        return list(source.decode(video=0))


def times_of(frames: Iterable[av.VideoFrame]) -> list[Fraction]:
    """When frames are shown, in seconds."""
    return [(frame.pts or 0) * (frame.time_base or TICK) for frame in frames]


def samples(path: str | Path) -> list[list[np.ndarray]]:
    """The planes of all frames of a clip."""
    from atdsr.video.colour import planes_of

    return [planes_of(frame, PixelFormat.of(frame.format)) for frame in decoded(path)]
