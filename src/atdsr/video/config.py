"""What a command asks for about clips, and which containers and codecs there are."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePath

from atdsr.base.errors import AtdsrError

CONTAINERS = {"mkv": ".mkv", "mp4": ".mp4", "mov": ".mov"}
"""The containers that are written, each with its suffix."""

MUXERS = {"mkv": "matroska", "mp4": "mp4", "mov": "mov"}
"""What FFmpeg calls them."""

CODECS = ("h264", "hevc", "av1", "prores", "ffv1")
"""The codecs that are written."""

_SAME_CONTAINER = {".mkv": "mkv", ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov"}
_OTHER_SUFFIXES = (
    *(".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob"),
    *(".flv", ".wmv", ".asf", ".ogv", ".3gp", ".3g2", ".mxf", ".nut"),
)
SUFFIXES = frozenset((*_SAME_CONTAINER, *_OTHER_SUFFIXES))
"""Suffixes of the files that are taken for clips, in lower case."""

_TRANSPORT_STREAM = 0x47  # the first byte of each packet, which TypeScript does not begin with


class VideoError(AtdsrError):
    """A clip that cannot be read, enlarged or written as asked; the sentence names it."""


@dataclass(frozen=True)
class VideoConfig:
    """How clips are read and encoded, the same for all clips of a command.

    Attributes:
        codec: One of `CODECS`. None is H.264 for 8 bits and HEVC for more.
        crf: Quality of the encoder, as its documentation counts it. None is a value that keeps
            nearly everything visible.
        preset: The encoder's name or number for how much effort it makes. None is its default.
        hardware: Whether an encoder of the graphics card or processor is used.
        start: Time in seconds of the first frame that is enlarged, from the beginning.
        end: Time in seconds at which to stop; None is the end of the clip.
        frames: The most frames to enlarge; None is all.
        deinterlace: Whether interlaced frames are deinterlaced instead of refused.
        threads: Threads of the decoder and of the encoder each. 0 is one thread for the encoder, so
            that its result is the same each time, and one for each processor for the decoder.
    """

    codec: str | None = None
    crf: float | None = None
    preset: str | None = None
    hardware: bool = False
    start: Fraction | None = None
    end: Fraction | None = None
    frames: int | None = None
    deinterlace: bool = False
    threads: int = 0

    @property
    def is_excerpt(self) -> bool:
        """Whether only a part of each clip is wanted."""
        return (self.start, self.end, self.frames) != (None, None, None)


def container_for(source: PurePath, wanted: str | None = None) -> str:
    """Return the container for the result of a clip: the one asked for, its own, or Matroska."""
    return wanted or _SAME_CONTAINER.get(source.suffix.lower(), "mkv")


def is_clip_name(path: PurePath) -> bool:
    """Return whether a file has the suffix of a clip."""
    return path.suffix.lower() in SUFFIXES


def begins_like_clip(path: PurePath, start: bytes) -> bool:
    """Return whether the first bytes of a file with such a suffix may be those of a clip.

    Only `.ts` and its like are doubtful, since programs in TypeScript have that suffix, too.
    """
    if path.suffix.lower() not in (".ts", ".mts"):
        return True
    return _TRANSPORT_STREAM in (start[:1] + start[4:5])
