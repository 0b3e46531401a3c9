"""Reading clips: what a file says about itself, and its frames with their time stamps."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atdsr.base.extras import install_command
from atdsr.video import colour
from atdsr.video.colour import Colour, PixelFormat
from atdsr.video.config import VideoConfig, VideoError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,nut,m4v,h264,"
    "hevc,obu,ivf"
)
"""What files are opened as. Playlists are not among them, since they name other files."""

_CENTRED_CHROMA = frozenset({"mjpeg", "mpeg1video"})
_DEFAULT_RATE = Fraction(25)

_LOST_SIDE_DATA = {
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata",
    "DYNAMIC_HDR_VIVID": "HDR Vivid metadata",
    "DOVI_RPU_BUFFER": "Dolby Vision metadata",
    "DOVI_METADATA": "Dolby Vision metadata",
    "A53_CC": "closed captions inside of the pictures",
    "STEREO3D": "the layout of 3D pictures",
    "SPHERICAL": "the projection of 360-degree pictures",
    "ICC_PROFILE": "the colour profile",
}
"""What PyAV cannot write, by FFmpeg's name for it."""


@dataclass(frozen=True)
class ColourTags:
    """What a clip says of its colours, in the code points of H.273 and FFmpeg's range."""

    primaries: int
    transfer: int
    matrix: int
    range: int


@dataclass(frozen=True)
class Clip:
    """What is known of a clip before it is decoded.

    Attributes:
        path: The file.
        stream: Number of the stream of pictures.
        codec: Its codec, as FFmpeg calls it.
        width: Width of a frame in samples, as stored.
        height: Height of a frame in samples, as stored.
        pixels: The format of its samples.
        colour: How they are converted.
        tags: What the file says of its colours; the matrix is the guessed one if it says none.
        time_base: Seconds of a tick.
        rate: Frames per second, on average.
        frames: How many frames there are, or about how many where the file does not say.
        duration: Its length in seconds; 0 where the file does not say.
        start: Time of its first frame in seconds.
        end: When its last frame ends, in ticks; None where the file does not say.
        sample_aspect: Width of a sample divided by its height.
        display_matrix: How players turn it: 9 numbers of 4 bytes. None leaves it as stored.
        mastering: The colours of the display on which it was made, for HDR10; as FFmpeg holds it.
        light: The brightest sample and frame, for HDR10; as FFmpeg holds it.
        lost: What it has and PyAV cannot write.
        is_interlaced: Whether its first frame consists of two fields.
    """

    path: Path
    stream: int
    codec: str
    width: int
    height: int
    pixels: PixelFormat
    colour: Colour
    tags: ColourTags
    time_base: Fraction
    rate: Fraction
    frames: int
    duration: Fraction
    start: Fraction
    end: int | None
    sample_aspect: Fraction
    display_matrix: bytes | None = None
    mastering: bytes | None = None
    light: bytes | None = None
    lost: tuple[str, ...] = ()
    is_interlaced: bool = False

    @property
    def is_sideways(self) -> bool:
        """Whether players turn it by a right angle."""
        if self.display_matrix is None:
            return False
        first = np.frombuffer(self.display_matrix, "<i4")
        return abs(first[1]) > abs(first[0])


@dataclass(frozen=True, eq=False)
class ClipFrame:
    """A decoded frame.

    Attributes:
        number: Its place among the frames that are enlarged, from 0.
        pts: When it is shown, in ticks of the clip.
        duration: How long, in ticks; 0 where the file does not say.
        planes: Its samples, as `colour.planes_of` returns them.
    """

    number: int
    pts: int
    duration: int
    planes: list[np.ndarray]

    def equals(self, other: "ClipFrame | None") -> bool:
        """Return whether all samples are those of another frame."""
        return other is not None and all(map(np.array_equal, self.planes, other.planes))


@dataclass
class ClipDamage:
    """What was wrong with a clip as far as it has been read.

    Attributes:
        packets: Packets that could not be decoded.
        times: Frames without a time stamp after that of the frame before, which got another.
    """

    packets: int = 0
    times: int = 0

    @property
    def sentence(self) -> str:
        """One sentence; empty if nothing was wrong."""
        parts = []
        if self.packets:
            parts.append(f"{self.packets} damaged packets could not be decoded and are left out")
        if self.times:
            parts.append(f"{self.times} frames had no later time than the one before and got one")
        return f"{'; '.join(parts)}." if parts else ""


def library() -> Any:
    """Import PyAV.

    Raises:
        VideoError: It is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise VideoError(
            f"clips need an extra of atdsr; install it with: {install_command('video')}."
        ) from error
    return av


@contextmanager
def opened(path: Path) -> "Iterator[InputContainer]":
    """Open a clip for reading, and never anything else that it names.

    Raises:
        VideoError: It cannot be opened, or FFmpeg fails inside of the block.
    """
    av = library()
    options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
    try:
        with av.open(f"file:{path}", "r", options=options, metadata_errors="replace") as container:
            yield container
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise VideoError(f"{path} cannot be read as a clip: {reason(error)}.") from error


def reason(error: Exception) -> str:
    """Return what FFmpeg says of an error, for the end of a sentence."""
    text = str(getattr(error, "strerror", None) or error).strip().rstrip(".")
    return text[:1].lower() + text[1:]


def probe(path: Path) -> Clip:
    """Return what a clip says of itself; its first frame is decoded.

    Raises:
        VideoError: It is no clip, is damaged, or has pictures of a kind that is not read.
    """
    with opened(path) as container:
        stream = picture_stream(container, path)
        decoder = _Decoder(stream)
        frame = next((frame for frame in decoder.frames(container) if frame.width), None)
        if frame is None:
            raise VideoError(f"{path} has no frame that can be decoded.")
        try:
            return _described(path, container, stream, frame)
        except VideoError as error:
            raise VideoError(f"{path}: {error}") from None


def picture_stream(container: "InputContainer", path: Path) -> "VideoStream":
    """Return the first stream of pictures that is no cover.

    Raises:
        VideoError: There is none, or no decoder for it.
    """
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                raise VideoError(f"{path} has pictures of a codec that FFmpeg does not know.")
            return stream
    raise VideoError(f"{path} has no pictures, only sound or other data.")


def _described(
    path: Path, container: "InputContainer", stream: "VideoStream", frame: "VideoFrame"
) -> Clip:
    context = stream.codec_context
    pixels = PixelFormat.of(frame.format)
    rate = stream.average_rate or stream.guessed_rate or _DEFAULT_RATE
    time_base = stream.time_base or 1 / rate
    if stream.duration:
        duration = stream.duration * time_base
    else:
        duration = Fraction(container.duration or 0, 1_000_000)
    is_full = frame.color_range == colour.FULL or frame.format.name.startswith("yuvj")
    matrix = frame.colorspace
    if pixels.family == "rgb":
        matrix, is_full = 0, frame.color_range != colour.LIMITED
    elif matrix in (0, colour.UNSPECIFIED, 3):
        matrix = colour.guessed_matrix(frame.width, frame.height)
    meaning = Colour(matrix, is_full, stream.codec.name not in _CENTRED_CHROMA)
    meaning.check()
    side_data = {each.type.name: bytes(each) for each in _side_data(frame)}
    return Clip(
        path,
        stream.index,
        context.codec.canonical_name,
        frame.width,
        frame.height,
        pixels,
        meaning,
        ColourTags(
            frame.color_primaries,
            frame.color_trc,
            matrix,
            colour.FULL if is_full else frame.color_range,
        ),
        time_base,
        rate,
        max(1, stream.frames or round(duration * rate)),
        duration,
        (frame.pts or 0) * time_base,
        None if stream.duration is None else (stream.start_time or 0) + stream.duration,
        stream.sample_aspect_ratio or Fraction(1),
        side_data.get("DISPLAYMATRIX"),
        side_data.get("MASTERING_DISPLAY_METADATA"),
        side_data.get("CONTENT_LIGHT_LEVEL"),
        tuple(sorted({lost for name, lost in _LOST_SIDE_DATA.items() if name in side_data})),
        frame.interlaced_frame,
    )


def _side_data(frame: "VideoFrame") -> Iterator[Any]:
    """Yield the side data of a frame, without kinds that PyAV has no name for."""
    for number in range(len(frame.side_data)):
        try:
            found = frame.side_data[number]  # type: ignore[index]
            assert found.type.name
        except (ValueError, KeyError):
            continue
        yield found


# ---------------------------------------------------------------------------------------- frames


@dataclass
class _Decoder:
    """Decodes a stream, past packets that cannot be decoded."""

    stream: "VideoStream"
    damage: ClipDamage = field(default_factory=ClipDamage)

    def frames(self, container: "InputContainer") -> "Iterator[VideoFrame]":
        from av import error

        packets = container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
                yield from packet.decode()
            except (StopIteration, error.EOFError):
                return
            except error.InvalidDataError:
                self.damage.packets += 1


def excerpt_bounds(clip: Clip, config: VideoConfig) -> tuple[int | None, int | None]:
    """Return the ticks at which the frames that are wanted begin and end; None is no bound.

    Times count from the beginning of the clip.
    """

    def ticks(seconds: Fraction | None) -> int | None:
        return None if seconds is None else math.ceil((clip.start + seconds) / clip.time_base)

    return ticks(config.start), ticks(config.end)


def read_frames(
    clip: Clip, config: VideoConfig, damage: ClipDamage, skip: int = 0
) -> Iterator[ClipFrame]:
    """Yield the frames of a clip, in the order in which they are shown, one at a time.

    Each time stamp is the file's, except where a frame has none, or one that is not after that of
    the frame before.

    Args:
        clip: The clip.
        config: Which part of it is wanted, and how it is decoded.
        damage: Gets counts of what was wrong.
        skip: So many frames are decoded and not yielded.

    Raises:
        VideoError: The clip cannot be read, is interlaced, or changes its size on the way.
    """
    first, end = excerpt_bounds(clip, config)
    with opened(clip.path) as container:
        stream = picture_stream(container, clip.path)
        stream.thread_type = "AUTO"
        stream.thread_count = config.threads
        if first is not None:
            container.seek(first, stream=stream)
        decoder = _Decoder(stream, damage)
        frames = decoder.frames(container)
        if config.deinterlace:
            frames = _deinterlaced(frames, stream)
        times = _Times(clip, damage)
        number = 0
        for frame in frames:
            if config.frames is not None and number >= config.frames:
                return
            pts = times.of(frame)
            if first is not None and pts < first:
                continue
            if end is not None and pts >= end:
                return
            _check_frame(frame, clip, config)
            if number >= skip:
                planes = colour.planes_of(frame, clip.pixels)
                yield ClipFrame(number, pts, times.duration(frame), planes)
            number += 1


class _Times:
    """Gives each frame a time stamp in ticks of the clip, later than the one before."""

    def __init__(self, clip: Clip, damage: ClipDamage) -> None:
        self._clip, self._damage = clip, damage
        self._step = max(1, round(1 / (clip.rate * clip.time_base)))
        self._last: int | None = None

    def of(self, frame: "VideoFrame") -> int:
        stamp = frame.pts if frame.pts is not None else frame.dts
        if stamp is None:
            pts = 0 if self._last is None else self._last + self._step
            self._damage.times += 1
        else:
            pts = self._ticks(stamp, frame)
        if self._last is not None and pts <= self._last:
            pts = self._last + 1
            self._damage.times += 1
        self._last = pts
        return pts

    def duration(self, frame: "VideoFrame") -> int:
        return self._ticks(frame.duration or 0, frame)

    def _ticks(self, stamp: int, frame: "VideoFrame") -> int:
        return round(stamp * (frame.time_base or self._clip.time_base) / self._clip.time_base)


def _check_frame(frame: "VideoFrame", clip: Clip, config: VideoConfig) -> None:
    if (frame.width, frame.height) != (clip.width, clip.height):
        raise VideoError(
            f"{clip.path} changes from {clip.width}x{clip.height} to {frame.width}x{frame.height} "
            f"at {_clock(frame)}; cut it there, or enlarge a part with --start and --end."
        )
    if frame.interlaced_frame and not config.deinterlace:
        raise VideoError(
            f"{clip.path} is interlaced at {_clock(frame)}, and the network takes whole frames; "
            "add --deinterlace."
        )
    if PixelFormat.of(frame.format) != clip.pixels:
        raise VideoError(
            f"{clip.path} changes its pixel format to {frame.format.name} at {_clock(frame)}; cut "
            "it there, or enlarge a part with --start and --end."
        )


def _clock(frame: "VideoFrame") -> str:
    return f"{frame.time or 0:.2f} s"


def _deinterlaced(frames: "Iterator[VideoFrame]", stream: "VideoStream") -> "Iterator[VideoFrame]":
    """Yield one whole frame for each frame; those that are not interlaced stay as they are."""
    from av import error
    from av.filter import Graph

    graph = Graph()
    source = graph.add_buffer(template=stream)
    bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()

    def ready() -> "Iterator[VideoFrame]":
        while True:
            try:
                yield graph.vpull()
            except (error.BlockingIOError, error.EOFError):
                return

    for frame in frames:
        graph.vpush(frame)
        yield from ready()
    graph.vpush(None)
    yield from ready()


def frame_near(clip: Clip, config: VideoConfig) -> ClipFrame:
    """Return the frame for a preview: the first that is wanted, or one a third into the clip.

    Raises:
        VideoError: There is none.
    """
    from dataclasses import replace

    if config.start is None and not config.frames:
        config = replace(config, start=clip.duration / 3)
    for start in (config.start, None):
        for frame in read_frames(clip, replace(config, start=start, end=None), ClipDamage()):
            return frame
    raise VideoError(f"{clip.path} has no frame that can be decoded.")
