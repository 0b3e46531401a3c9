"""The options of `atdsr upscale` that concern clips."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from atdsr.base import option_values
from atdsr.cli.options import at_least_1, flag, typed


class Codec(StrEnum):
    """What clips are encoded with: `video.CODECS`."""

    h264 = "h264"
    hevc = "hevc"
    av1 = "av1"
    prores = "prores"
    ffv1 = "ffv1"


_PANEL = "Clips (with atdsr[video])"
_parse_time = typed(option_values.parse_time)
_parse_crf = typed(option_values.parse_crf)

CodecOption = Annotated[
    Codec | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=_PANEL,
        help="Codec of clips: h264, hevc, av1, prores or ffv1 (lossless).  "
        "[default: h264, hevc for more than 8 bits]",
    ),
]
CrfOption = Annotated[
    Any,
    typer.Option(
        metavar="N",
        parser=_parse_crf,
        rich_help_panel=_PANEL,
        help="Quality of clips; a smaller N is better and larger.  "
        "[default: 16 h264, 18 hevc, 22 av1]",
    ),
]
PresetOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=_PANEL,
        help="Effort of the encoder, such as slow; a number for av1, a profile for prores.",
    ),
]
HardwareOption = Annotated[
    bool,
    flag(
        "--hardware",
        rich_help_panel=_PANEL,
        help="Encode clips on the graphics card (nvenc, qsv, amf, videotoolbox).",
    ),
]
StartOption = Annotated[
    Any,
    typer.Option(
        metavar="TIME",
        parser=_parse_time,
        rich_help_panel=_PANEL,
        help="Begin clips there, at seconds or such as 1:02:03.5.",
    ),
]
EndOption = Annotated[
    Any,
    typer.Option(
        metavar="TIME", parser=_parse_time, rich_help_panel=_PANEL, help="End clips there."
    ),
]
FramesOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=at_least_1,
        rich_help_panel=_PANEL,
        help="Enlarge only N frames of each clip, for a trial.",
    ),
]
DeinterlaceOption = Annotated[
    bool,
    flag(
        "--deinterlace",
        rich_help_panel=_PANEL,
        help="Make whole frames of interlaced clips, which are refused otherwise.",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=at_least_1,
        rich_help_panel=_PANEL,
        help="Threads that decode clips, and that encode them.  [default: all decode, 1 encodes]",
    ),
]
