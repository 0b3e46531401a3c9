"""`atdsr upscale` with clips: what comes out is what went in, larger."""

import json
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from helpers.clips import STEP, decoded, make_clip, said_of, times_of
from helpers.upscaling import Run, refused

VARIABLE = [0, 3600, 7207, 7300, 20000, 20001, 33333, 90000, 90001, 123456]
PQ = (9, 16, 9, 1)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


CLIPS: dict[str, dict[str, Any]] = {
    "constant rate.mp4": {},
    "variable rate.mp4": {"pts": VARIABLE},
    "variable rate.mkv": {
        "pts": [7 * n + n % 3 for n in range(20)],
        "time_base": Fraction(1, 1000),
    },
    "b-frames.mp4": {"frames": 60, "options": {"bf": "4", "b_strategy": "0", "g": "20"}},
    "no b-frames.mov": {"options": {"bf": "0"}},
    "29.97.mp4": {"pts": [n * 1001 for n in range(12)], "time_base": Fraction(1, 30000)},
    "pq.mp4": {
        "codec": "libx265",
        "pixels": "yuv420p10le",
        "colour": PQ,
        "frames": 9,
        "size": (64, 64),
    },
    "pq.mkv": {
        "codec": "libx265",
        "pixels": "yuv420p10le",
        "colour": PQ,
        "frames": 9,
        "size": (64, 64),
    },
    "12 bits.mkv": {"codec": "ffv1", "pixels": "yuv420p12le", "frames": 3, "size": (64, 64)},
    "4-2-2.mkv": {"pixels": "yuv422p", "frames": 5},
    "4-4-4.mp4": {"pixels": "yuv444p", "frames": 5},
    "full range.mp4": {"colour": (5, 6, 5, 2), "frames": 5},
    "odd.mkv": {"size": (45, 31), "codec": "ffv1", "frames": 5},
    "odd 4-4-4.mp4": {"size": (45, 31), "pixels": "yuv444p", "frames": 5},
    "rotated.mp4": {"rotation": 90},
    "rotated.mkv": {"rotation": 180},
    "anamorphic.mp4": {"aspect": Fraction(64, 45)},
    "anamorphic.mkv": {"aspect": Fraction(8, 9)},
    "three tracks.mp4": {"audio": ("deu", "eng", "jpn")},
    "three tracks.mkv": {"audio": ("deu", "eng", "jpn")},
    "subtitles.mkv": {"subtitles": True},
    "subtitles.mp4": {"subtitles": True},
    "chapters.mp4": {"chapters": True, "tags": {"title": "A film", "artist": "Somebody"}},
    "chapters.mkv": {"chapters": True, "tags": {"title": "A film", "MOOD": "calm"}},
    "more tags.mp4": {"tags": {"title": "A film", "com.apple.quicktime.make": "A camera"}},
    "silent.mp4": {"audio": ()},
    "one frame.mp4": {"frames": 1, "audio": ()},
    "one frame.mkv": {"frames": 1},
    "long.mkv": {"frames": 100, "size": (16, 16)},
    "clip.mov": {
        "codec": "prores_ks",
        "pixels": "yuv422p10le",
        "audio_codec": "pcm_s16le",
        "size": (64, 64),
    },
    "clip.webm": {"codec": "libvpx-vp9", "audio_codec": "libopus", "frames": 8},
    "clip.avi": {"codec": "mpeg4", "audio_codec": "libmp3lame", "time_base": Fraction(1, 25)},
    "clip.ts": {"audio_codec": "mp2"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPS)
def test_only_the_size_changes(run: Run, name: str):
    source = make_clip(name, **CLIPS[name])
    run(name)
    suffix = source.suffix if source.suffix in (".mp4", ".mkv", ".mov") else ".mkv"
    before, after = said_of(source), said_of(f"{source.stem}_x2{suffix}")
    assert after.times == before.times
    if source.suffix == suffix:  # Matroska has the length of a frame in milliseconds
        assert abs(after.length - before.length) <= Fraction(3 if suffix == ".mkv" else 1, 1000)
    assert after.streams == before.streams
    for those, these in zip(before.packets, after.packets, strict=True):
        assert [data for data, _ in these] == [data for data, _ in those]
        rounding = 0 if source.suffix == suffix else Fraction(1, 2000)
        assert all(abs(a[1] - b[1]) <= rounding for a, b in zip(these, those, strict=True))
    assert after.chapters == before.chapters
    assert {k.lower(): v for k, v in after.tags.items()} == {
        k.lower(): v for k, v in before.tags.items()
    }
    # what players assume is written
    *others, matrix, limits = before.colour
    assert after.colour == (*others, 6 if matrix == 2 else matrix, limits or 1)
    assert after.aspect == before.aspect
    assert after.rotation == before.rotation
    assert after.pixels == before.pixels
    first, large = decoded(source)[0], decoded(f"{source.stem}_x2{suffix}")[0]
    assert (large.width, large.height) == (2 * first.width, 2 * first.height)
    assert not list(Path().glob(".*"))


@pytest.mark.slow
def test_a_transport_stream_with_a_broken_packet(run: Run):
    source = make_clip("a.ts", audio_codec="mp2", frames=60, options={"g": "10"})
    data = bytearray(source.read_bytes())
    middle = len(data) // 2 // 188 * 188
    data[middle + 4 : middle + 188] = np.random.default_rng(0).bytes(184)
    source.write_bytes(data)
    with av.open("a.ts") as opened:
        before = [(bytes(p), (p.pts or 0) * p.time_base) for p in opened.demux(audio=0) if p.size]
    run("a.ts", "-f", "mp4")
    after = said_of("a_x2.mp4")
    assert len(after.times) >= 50
    assert {packet for packet, _ in after.packets[0]} <= {packet for packet, _ in before}
    assert len(after.packets[0]) >= len(before) - 2
    assert {*after.times} <= {*times_of(decoded("a.ts"))}


def test_a_frame_that_repeats_is_counted_and_equal(run: Run):
    from atdsr.video.colour import PixelFormat
    from helpers.clips import picture

    kind = PixelFormat("yuv", 8, (2, 2))
    make_clip(
        "a.mkv", frames=9, codec="ffv1", frame=lambda n: picture(n // 3, 48, 32, kind), audio=()
    )
    lines = run("a.mkv", "--codec", "ffv1")
    assert "a.mkv: 6 of 9 frames equal the one before and were not computed again." in lines
    made = decoded("a_x2.mkv")
    first, second, fourth = (made[n].to_ndarray() for n in (0, 1, 3))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, fourth)


@pytest.mark.slow
def test_a_part_of_a_clip(run: Run):
    source = make_clip("a.mp4", frames=100, chapters=True, options={"g": "20"})
    run("a.mp4", "--start", "1.2", "--end", "0:02")
    before, after = said_of(source), said_of("a_x2.mp4")
    wanted = [time for time in before.times if Fraction("1.2") <= time < 2]
    assert after.times == [time - wanted[0] for time in wanted]
    packets = [data for data, time in before.packets[0] if wanted[0] <= time < 2]
    assert [data for data, _ in after.packets[0]] == packets
    assert [title for _, _, title in after.chapters] == []
    run("a.mp4", "--frames", "7", "--overwrite")
    assert said_of("a_x2.mp4").times == before.times[:7]


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "prores", "ffv1"])
def test_codecs(run: Run, codec: str):
    make_clip("a.mov", frames=4, size=(64, 64))
    run("a.mov", "--codec", codec, "-f", "mkv")
    name = decoded_codec("a_x2.mkv")
    assert name == codec
    assert len(decoded("a_x2.mkv")) == 4


def decoded_codec(path: str) -> str:
    with av.open(path) as opened:
        return opened.streams.video[0].codec_context.codec.canonical_name


def test_what_a_container_cannot_hold_is_said(run: Run):
    make_clip("a.mkv", frames=2, subtitles=True)
    line = refused(run, "a.mkv", "-f", "mp4")
    assert line == (
        "error: a.mkv: mp4 cannot hold stream 2 (subtitle, srt); choose another container with "
        "--format, such as mkv."
    )
    make_clip("b.mp4", frames=2)
    line = refused(run, "b.mp4", "--codec", "prores")
    assert "mp4 cannot hold prores" in line


def test_files_that_are_no_clips(run: Run):
    Path("a.mkv").write_bytes(b"no clip at all")
    assert "a.mkv cannot be read as a clip" in refused(run, "a.mkv")
    Path("b.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n")
    assert "b.mp4 cannot be read as a clip" in refused(run, "b.mp4")
    assert "c.mp4 does not exist" in refused(run, "c.mp4")


def test_interlaced_clips(run: Run):
    make_clip("a.mp4", frames=4, size=(64, 64), interlaced=True)
    assert decoded("a.mp4")[0].interlaced_frame
    assert "a.mp4 is interlaced" in refused(run, "a.mp4")
    run("a.mp4", "--deinterlace")
    assert not any(frame.interlaced_frame for frame in decoded("a_x2.mp4"))
    assert said_of("a_x2.mp4").times == said_of("a.mp4").times


def test_a_folder_of_pictures_and_clips(run: Run):
    from helpers.upscaling import save

    Path("in").mkdir()
    save("in/a.png")
    make_clip("in/b.mkv", frames=2)
    Path("in/c.mp4").write_bytes(b"damaged")
    make_clip("in/d.mp4", frames=2)
    Path("in/program.ts").write_text("export const a = 1;\n")
    lines = run("in", "-o", "out", code=1)
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "a_x2.png",
        "b_x2.mkv",
        "d_x2.mp4",
    ]
    assert [line for line in lines if line.startswith("error")] == [
        "error: in/c.mp4 cannot be read as a clip: invalid data found when processing input."
    ]
    lines = run("in", "-o", "out", code=1)
    assert sum("exists and is kept" in line for line in lines) == 3


def test_preview_and_size(run: Run):
    make_clip("a.mp4", frames=6, rotation=90)
    run("a.mp4", "--preview")
    assert Path("a_x2_preview.png").is_file()
    run("a.mp4", "--size", "64x96")  # as players show it, 32x48 grows by 2
    large = decoded("a_64x96.mp4")[0]
    assert (large.width, large.height) == (96, 64)


def test_frame_duration_is_that_of_the_step():
    assert STEP * 25 == 90_000


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="no ffprobe; Debian has it in ffmpeg")
@pytest.mark.parametrize("name", ["variable rate.mp4", "chapters.mkv", "pq.mp4", "rotated.mp4"])
def test_ffprobe_reads_the_same(run: Run, name: str):
    """Another build of FFmpeg, by its program, as an independent reader."""
    source = make_clip(name, **CLIPS[name])
    run(name)
    before, after = probed(source), probed(Path(f"{source.stem}_x2{source.suffix}"))
    assert after["times"] == before["times"]
    assert after["audio"] == before["audio"]
    assert after["chapters"] == before["chapters"]
    for key in (
        "color_space",
        "color_transfer",
        "color_primaries",
        "color_range",
        "side_data_list",
    ):
        assert after["video"].get(key) == before["video"].get(key)
    assert after["video"]["width"] == 2 * before["video"]["width"]


def probed(path: Path) -> dict[str, Any]:
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_streams", "-show_chapters"]
    command += ["-show_frames", "-show_packets", "-show_data_hash", "md5", str(path)]
    said = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    parts = said["packets_and_frames"]
    video = next(each for each in said["streams"] if each["codec_type"] == "video")
    frames = [each for each in parts if each["type"] == "frame" and each["media_type"] == "video"]
    packets = [each for each in parts if each["type"] == "packet"]
    return {
        "video": video,
        "times": [each["pts_time"] for each in frames],
        "audio": [
            (each["pts_time"], each["data_hash"])
            for each in packets
            if each["codec_type"] == "audio"
        ],
        "chapters": [
            (each["start_time"], each["end_time"], each.get("tags")) for each in said["chapters"]
        ],
    }
