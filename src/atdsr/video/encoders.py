"""The encoders that PyAV brings along: which one, for which samples, with which options."""

import os
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atdsr.video import colour
from atdsr.video.colour import Colour, PixelFormat
from atdsr.video.config import VideoConfig, VideoError
from atdsr.video.reading import Clip, ColourTags, library, reason

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame

SEGMENT_FRAMES = 48
"""Frames of a segment, and so the most between two key frames."""

_SOFTWARE = {
    "h264": ("libx264",),
    "hevc": ("libx265",),
    "av1": ("libsvtav1", "libaom-av1"),
    "prores": ("prores_ks",),
    "ffv1": ("ffv1",),
}
_HARDWARE_MAKERS = ("nvenc", "qsv", "amf", "videotoolbox")
_QUALITY_OPTION = {"nvenc": "cq", "qsv": "global_quality", "amf": "qp_i", "videotoolbox": "q"}
_CRF = {"h264": 16.0, "hevc": 18.0, "av1": 22.0}
_HIGHEST_CRF = {"h264": 51, "hevc": 51, "av1": 63}
_SMALLEST_SIDE = {"libx265": 96}
"""Sides in pixels. x265 4.2 writes outside of its memory at 48x32, and its result at 64x64 differs
each time."""

_HOLD_ALPHA = frozenset({"prores", "ffv1"})
_HOLD_HDR10 = frozenset({"libx264", "libx265", "libsvtav1"})


@dataclass(frozen=True)
class Encoding:
    """How the frames of a clip are encoded; equal ones give equal segments.

    Attributes:
        codec: One of `config.CODECS`.
        encoder: FFmpeg's name of the encoder.
        pixel_format: FFmpeg's name of the format that it takes.
        pixels: The planar format with the same samples.
        width: Width of a frame in samples.
        height: Height of a frame in samples.
        time_base: Seconds of a tick.
        rate: Frames per second, on average.
        sample_aspect: Width of a sample divided by its height.
        colour: What the samples mean.
        tags: What the file says of its colours.
        options: Names and values of the encoder's options.
        threads: Threads of the encoder.
    """

    codec: str
    encoder: str
    pixel_format: str
    pixels: PixelFormat
    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    sample_aspect: Fraction
    colour: Colour
    tags: ColourTags
    options: tuple[tuple[str, str], ...]
    threads: int

    def record(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        fractions = {"time_base", "rate", "sample_aspect"}
        return {
            name: str(value) if name in fractions else value for name, value in asdict(self).items()
        } | {"options": dict(self.options), "pixels": self.pixels.name}

    def configure(self, context: "VideoCodecContext") -> None:
        """Set up an encoder that is not open yet."""
        from av.codec.context import Flags

        context.width, context.height = self.width, self.height
        context.pix_fmt = self.pixel_format
        context.time_base = self.time_base
        context.framerate = self.rate
        context.sample_aspect_ratio = self.sample_aspect
        context.color_range = self.tags.range
        context.color_primaries = self.tags.primaries
        context.color_trc = self.tags.transfer
        context.colorspace = self.tags.matrix
        context.gop_size = SEGMENT_FRAMES
        context.thread_count = self.threads
        context.flags |= Flags.global_header
        context.options = dict(self.options)

    def open(self, context: "VideoCodecContext") -> None:
        """Set up an encoder and open it.

        Raises:
            VideoError: It refuses.
        """
        av = library()
        self.configure(context)
        try:
            with _own_scheduling():
                context.open()
        except (av.error.FFmpegError, ValueError) as error:
            raise VideoError(
                f"the encoder {self.encoder} does not take {self.width}x{self.height} with these "
                f"options: {reason(error)}; choose others with --codec, --preset or --size."
            ) from error

    def check(self) -> None:
        """Open the encoder and close it again, before hours are spent.

        Raises:
            VideoError: It refuses.
        """
        self.open(library().CodecContext.create(self.encoder, "w"))

    def frame(self, planes: Sequence[Any], pts: int) -> "VideoFrame":
        """Return a frame for the encoder.

        Args:
            planes: Its samples.
            pts: When it is shown, in ticks of `time_base`.
        """
        frame = colour.frame_of(planes, self.pixels)
        frame.pts, frame.time_base = pts, self.time_base
        frame.color_range = self.tags.range
        frame.color_primaries = self.tags.primaries
        frame.color_trc = self.tags.transfer
        frame.colorspace = self.tags.matrix
        return frame


def choose(clip: Clip, size: tuple[int, int], config: VideoConfig) -> Encoding:
    """Return how the frames of a clip are to be encoded.

    Args:
        clip: The clip.
        size: Width and height that are wanted. With subsampled chroma, an odd side grows by one
            sample, since the common codecs have none.
        config: What the command asks for.

    Raises:
        VideoError: The encoder is not in this build of PyAV, or refuses an option.
    """
    codec = config.codec or ("h264" if clip.pixels.bits == 8 else "hevc")
    encoder = _hardware(codec, clip) if config.hardware else _software(codec)
    pixel_format, pixels = _pixels(encoder, clip.pixels, codec in _HOLD_ALPHA)
    width, height = size
    if pixels.family == "yuv":
        width += -width % min(2, pixels.shrink[0])
        height += -height % min(2, pixels.shrink[1])
    if min(width, height) < (smallest := _SMALLEST_SIDE.get(encoder, 1)):
        raise VideoError(
            f"{codec} needs at least {smallest} pixels a side here, and the result would be "
            f"{width}x{height}; choose another --codec."
        )
    meaning, tags = clip.colour, clip.tags
    if clip.pixels.family == "rgb" and pixels.family == "yuv":
        matrix = 9 if tags.primaries == 9 else 1
        meaning = Colour(matrix, full_range=False)
        tags = ColourTags(tags.primaries, tags.transfer, matrix, colour.LIMITED)
    threads = config.threads or 1  # so that equal frames give an equal file, wherever it is made
    options = _options(codec, encoder, clip, pixels, config)
    return Encoding(
        codec,
        encoder,
        pixel_format,
        pixels,
        width,
        height,
        clip.time_base,
        clip.rate,
        clip.sample_aspect,
        meaning,
        tags,
        tuple(sorted(options.items())),
        threads,
    )


def notices(clip: Clip, encoding: Encoding) -> list[str]:
    """Return a sentence for everything about the samples of a clip that is not kept."""
    found = []
    here, there = clip.pixels, encoding.pixels
    if here.bits > there.bits:
        found.append(f"{encoding.codec} has {there.bits} bits here, and the clip {here.bits}.")
    if there.family == "yuv" and here.family != "gray":
        shrink = here.shrink if here.family == "yuv" else (1, 1)
        if there.shrink[0] > shrink[0] or there.shrink[1] > shrink[1]:
            found.append(f"{encoding.codec} has less chroma here ({there.name}) than the clip.")
    if here.alpha and not there.alpha:
        found.append("transparency is left out; prores and ffv1 keep it.")
    lost = list(clip.lost)
    if (clip.mastering or clip.light) and encoding.encoder not in _HOLD_HDR10:
        lost.append("HDR10 metadata (its tags stay)")
    if lost:
        found.append(f"not kept, since PyAV cannot write it: {', '.join(lost)}.")
    return found


def _software(codec: str) -> str:
    for name in _SOFTWARE[codec]:
        if _has(name):
            return name
    raise VideoError(f"this build of PyAV has no encoder for {codec}; choose another with --codec.")


def _has(encoder: str) -> bool:
    av = library()
    try:
        av.codec.Codec(encoder, "w")
    except ValueError:
        return False
    return True


def _hardware(codec: str, clip: Clip) -> str:
    """Return the first encoder in hardware that works on this machine.

    Raises:
        VideoError: None does.
    """
    av = library()
    for maker in _HARDWARE_MAKERS:
        name = f"{codec}_{maker}"
        if not _has(name):
            continue
        context = av.CodecContext.create(name, "w")
        context.width, context.height, context.time_base = 640, 480, clip.time_base
        context.framerate = clip.rate
        context.pix_fmt = _pixels(name, clip.pixels, False)[0]
        try:
            context.open()
        except (av.error.FFmpegError, ValueError):
            continue
        return name
    raise VideoError(
        f"no hardware encoder for {codec} works on this machine; drop --hardware, or choose "
        "another --codec."
    )


def _pixels(encoder: str, wanted: PixelFormat, keep_alpha: bool) -> tuple[str, PixelFormat]:
    """Return the format of an encoder that loses least, and of those the smallest."""
    candidates: list[tuple[str, PixelFormat]] = []
    for offered in library().codec.Codec(encoder, "w").video_formats or ():
        try:
            candidates.append((offered.name, PixelFormat.of(offered)))
        except VideoError:
            continue
    shrink = wanted.shrink if wanted.family == "yuv" else (1, 1)
    if wanted.family == "gray":
        shrink = (2, 2)

    def cost(candidate: tuple[str, PixelFormat]) -> tuple[Any, ...]:
        name, pixels = candidate
        wasted = [here / there for here, there in zip(shrink, pixels.shrink, strict=True)]
        return (
            pixels.family != wanted.family,
            pixels.family != "yuv",  # the second choice of all families
            pixels.alpha != (wanted.alpha and keep_alpha),
            max(0, wanted.bits - pixels.bits),
            sum(each < 1 for each in wasted),
            pixels.bits,
            sum(wasted),
            name != pixels.name,
        )

    usable = [each for each in candidates if wanted.family in (each[1].family, "gray", "rgb")]
    if not usable:
        raise VideoError(f"the encoder {encoder} takes no frames like those of the clip.")
    return min(usable, key=cost)


def _options(
    codec: str, encoder: str, clip: Clip, pixels: PixelFormat, config: VideoConfig
) -> dict[str, str]:
    """Return the options of an encoder.

    Raises:
        VideoError: The codec has no such quality or preset.
    """
    if config.crf is not None and codec not in _CRF:
        raise VideoError(f"--crf is for h264, hevc and av1, and {codec} has none; drop it.")
    if config.preset is not None and codec == "ffv1":
        raise VideoError("--preset is not for ffv1, which has none; drop it.")
    options: dict[str, str] = {}
    if codec in _CRF:
        crf = _CRF[codec] if config.crf is None else config.crf
        if not 0 <= crf <= _HIGHEST_CRF[codec]:
            raise VideoError(f"--crf of {codec} is from 0 to {_HIGHEST_CRF[codec]}, not {crf:g}.")
        maker = encoder.rpartition("_")[2]
        options[_QUALITY_OPTION.get(maker, "crf")] = f"{crf:g}"
        if config.preset is not None:
            options["preset"] = config.preset
    elif codec == "prores":
        options["profile"] = config.preset or ("4444" if pixels.shrink == (1, 1) else "hq")
        options["vendor"] = "apl0"
    else:
        options |= {"level": "3", "slicecrc": "1"}
    if encoder == "libx264":
        options["mbtree"] = "0"  # with it, x264 165 does not make the same file each time
        options |= _hdr10("x264-params", "mastering-display", "cll", clip, [])
    elif encoder == "libx265":
        quiet = ["log-level=none", "open-gop=0"]
        options |= _hdr10("x265-params", "master-display", "max-cll", clip, quiet)
    elif encoder == "libsvtav1":
        options.setdefault("preset", "6")
        options |= _hdr10("svtav1-params", "mastering-display", "content-light", clip, [])
    return options


def _hdr10(
    option: str, mastering: str, light: str, clip: Clip, others: list[str]
) -> dict[str, str]:
    """Return the option of an encoder that writes the HDR10 metadata of a clip.

    FFmpeg's structures are AVMasteringDisplayMetadata (libavutil/mastering_display_metadata.h), ten
    fractions and two flags, and AVContentLightMetadata, two numbers.
    """
    if clip.mastering is not None:
        numbers = struct.unpack("<20i", clip.mastering[:80])
        values = [
            Fraction(top, bottom or 1)
            for top, bottom in zip(numbers[::2], numbers[1::2], strict=True)
        ]
        # AV1's encoder takes the values, the others count small units
        unit, level = (1, 1) if option == "svtav1-params" else (50_000, 10_000)
        in_units = [each * unit for each in values[:8]] + [each * level for each in values[8:]]
        texts = [f"{float(each):.6g}" if unit == 1 else str(round(each)) for each in in_units]
        red, green, blue, white = (f"({texts[i]},{texts[i + 1]})" for i in (0, 2, 4, 6))
        others.append(
            f"{mastering}=G{green}B{blue}R{red}WP{white}L({texts[9]},{texts[8]})",
        )
    if clip.light is not None:
        brightest, frame = struct.unpack("<2I", clip.light[:8])
        others.append(f"{light}={brightest},{frame}")
    return {option: ":".join(others)} if others else {}


@contextmanager
def _own_scheduling() -> Iterator[None]:
    """Undo what an encoder does to the scheduling of this thread and of the threads it starts.

    Where it may (as root), SVT-AV1 makes the thread that opens it a real-time thread of the highest
    priority. All threads and processes that this thread starts later would inherit that, and keep
    others from running.
    """
    os.environ.setdefault("SVT_LOG", "1")  # it prints a page of settings otherwise
    if sys.platform != "linux":
        yield
        return
    tasks = Path("/proc/self/task")
    before = set(tasks.iterdir())
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    processors = os.sched_getaffinity(0)
    try:
        yield
    finally:
        started = (int(task.name) for task in set(tasks.iterdir()) - before)
        for thread in (0, *started):
            try:
                if os.sched_getscheduler(thread) != policy:
                    os.sched_setscheduler(thread, policy, parameters)
                if os.sched_getaffinity(thread) != processors:
                    os.sched_setaffinity(thread, processors)
            except ProcessLookupError:  # it has ended
                continue
