"""Which encoder and samples a clip gets, and that encoders leave the process as it was."""

import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import pytest

from atdsr.video import encoders
from atdsr.video.colour import PixelFormat
from atdsr.video.config import VideoConfig, VideoError
from atdsr.video.reading import Clip, probe
from helpers.clips import make_clip, picture


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return probe(make_clip(tmp_path_factory.mktemp("clips") / "a.mp4", frames=2, audio=()))


@pytest.mark.parametrize(
    ("pixels", "codec", "chosen"),
    [
        ("yuv420p", None, ("libx264", "yuv420p")),
        ("yuv420p10le", None, ("libx265", "yuv420p10le")),
        ("yuv422p12le", None, ("libx265", "yuv422p12le")),
        ("yuv411p", "h264", ("libx264", "yuv422p")),
        ("yuv440p", "h264", ("libx264", "yuv444p")),
        ("yuv420p", "prores", ("prores_ks", "yuv422p10le")),
        ("yuva444p10le", "prores", ("prores_ks", "yuva444p10le")),
        ("yuva420p", "h264", ("libx264", "yuv420p")),
        ("yuva420p", "ffv1", ("ffv1", "yuva420p")),
        ("yuv444p12le", "av1", ("libsvtav1", "yuv420p10le")),
        ("gray", "h264", ("libx264", "gray")),
        ("gray10le", "prores", ("prores_ks", "yuv422p10le")),
        ("gbrp", "h264", ("libx264", "yuv444p")),
        ("gbrp", "hevc", ("libx265", "gbrp")),
        ("gbrp", "ffv1", ("ffv1", "bgr0")),
        ("gbrp10le", "ffv1", ("ffv1", "gbrp10le")),
    ],
)
def test_samples_lose_as_little_as_an_encoder_allows(
    clip: Clip, pixels: str, codec: str | None, chosen: tuple[str, str]
):
    clip = replace(clip, pixels=PixelFormat.of(av.VideoFormat(pixels)))
    encoding = encoders.choose(clip, (128, 96), VideoConfig(codec=codec))
    assert (encoding.encoder, encoding.pixel_format) == chosen


def test_sides_are_even_where_chroma_is_shared(clip: Clip):
    encoding = encoders.choose(clip, (135, 97), VideoConfig())
    assert (encoding.width, encoding.height) == (136, 98)
    clip = replace(clip, pixels=PixelFormat("yuv"))
    encoding = encoders.choose(clip, (135, 97), VideoConfig())
    assert (encoding.width, encoding.height) == (135, 97)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (VideoConfig(codec="ffv1", crf=3), "--crf is for h264, hevc and av1"),
        (VideoConfig(codec="h264", crf=60), "--crf of h264 is from 0 to 51, not 60"),
        (VideoConfig(codec="ffv1", preset="slow"), "--preset is not for ffv1"),
        (VideoConfig(codec="hevc"), "hevc needs at least 96 pixels a side"),
    ],
)
def test_what_an_encoder_cannot_do_is_said(clip: Clip, config: VideoConfig, sentence: str):
    with pytest.raises(VideoError, match=sentence):
        encoders.choose(clip, (48, 32), config)


def test_an_unknown_preset_is_said(clip: Clip):
    encoding = encoders.choose(clip, (128, 96), VideoConfig(preset="fastish"))
    with pytest.raises(VideoError, match="libx264 does not take 128x96 with these options"):
        encoding.check()


PRIMARIES = (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329)
MASTERING = struct.pack(
    "<20i", *(n for each in PRIMARIES for n in (round(each * 10_000), 10_000)), 5, 1000, 1000, 1
)
MASTERING += struct.pack("<2i", 1, 1)


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_hdr10_metadata_is_written(clip: Clip, tmp_path: Path, codec: str):
    light = (1000).to_bytes(4, "little") + (400).to_bytes(4, "little")
    pixels = PixelFormat("yuv", 10, (2, 2))
    clip = replace(clip, pixels=pixels, mastering=MASTERING, light=light)
    encoding = encoders.choose(clip, (128, 96), VideoConfig(codec=codec))
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream(encoding.encoder, 25)
        encoding.open(stream.codec_context)  # type: ignore[arg-type]
        for number in range(3):
            frame = encoding.frame(picture(number, 128, 96, pixels), number * 3600)
            output.mux(stream.encode(frame))  # type: ignore[union-attr]
        output.mux(stream.encode(None))  # type: ignore[union-attr]
    found = probe(path)
    assert found.light == light
    assert found.mastering is not None
    numbers = struct.unpack("<20i", found.mastering[:80])
    values = [above / below for above, below in zip(numbers[::2], numbers[1::2], strict=True)]
    assert values == pytest.approx([*PRIMARIES, 0.005, 1000], rel=0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how threads are scheduled")
def test_av1_changes_no_scheduling(clip: Clip):
    """As root, SVT-AV1 makes the thread that opens it one of real time; its children would be."""

    def scheduling() -> tuple[int, set[int]]:
        return os.sched_getscheduler(0), os.sched_getaffinity(0)

    before = scheduling()
    encoding = encoders.choose(clip, (128, 96), VideoConfig(codec="av1"))
    context = av.CodecContext.create(encoding.encoder, "w")
    encoding.open(context)  # type: ignore[arg-type]
    pixels = encoding.pixels
    context.encode(encoding.frame(picture(0, 128, 96, pixels), 0))  # type: ignore[union-attr]
    context.encode(None)  # type: ignore[union-attr]
    assert scheduling() == before
    policies = {os.sched_getscheduler(int(task)) for task in os.listdir("/proc/self/task")}  # noqa: PTH208
    assert policies == {before[0]}
    child = "import os; print(os.sched_getscheduler(0), *sorted(os.sched_getaffinity(0)))"
    said = subprocess.run([sys.executable, "-c", child], capture_output=True, check=True, text=True)
    assert said.stdout.split() == [str(before[0]), *map(str, sorted(before[1]))]
