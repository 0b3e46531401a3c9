"""Kills `atdsr upscale` with a clip at random moments, and compares what it becomes in the end.

    OMP_NUM_THREADS=1 python benchmarks/video_kills.py --kills 30

A clip of three segments is enlarged by a tiny network: first by a command that nobody kills, and
then by one that gets SIGKILL at random moments, again and again until it is through, until there
were as many kills as were asked for. Each finished file must have the decoded frames of the first
one, its sound, and no folder with segments beside it.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from atdsr.network.model import ATD
from atdsr.video.colour import PixelFormat, frame_of
from atdsr.video.segments import folder_of
from atdsr.weights import Weights, write_weights
from script import run_script
from tiny_network import TINY

FRAMES, WIDTH, HEIGHT = 144, 48, 32


def make_clip(path: Path) -> None:
    """Write a clip of moving shapes."""
    pixels = PixelFormat("yuv", 8, (2, 2))
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", 25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels.name
        for number in range(FRAMES):
            planes = []
            for plane in range(3):
                w, h = pixels.plane_size(plane, WIDTH, HEIGHT)
                y, x = np.mgrid[:h, :w]
                wave = np.sin((x + 2 * number) / 5 + plane) + np.cos((y + number) / 7)
                planes.append((128 + 50 * wave).astype(np.uint8))
            frame = frame_of(planes, pixels)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def decoded(path: Path) -> list[bytes]:
    """Return the samples of all frames, and their times."""
    with av.open(str(path)) as source:
        return [
            frame.to_ndarray().tobytes() + str(frame.pts).encode()
            for frame in source.decode(video=0)
        ]


def start(folder: Path, output: str) -> "subprocess.Popen[bytes]":
    """Start the command that enlarges the clip."""
    command = ["-m", "atdsr", "upscale", "a.mkv", "-m", "tiny.safetensors", "-o", output, "-q"]
    return subprocess.Popen([sys.executable, *command], cwd=folder, stderr=subprocess.PIPE)


def main() -> int:
    """Kill, go on, and compare; return 1 if a file was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="atdsr-video-kills-"))
    try:
        write_weights(Weights(TINY, ATD(TINY).state_dict()), folder / "tiny.safetensors")
        make_clip(folder / "a.mkv")
        began = time.monotonic()
        if start(folder, "whole.mkv").wait():
            print("the command that nobody kills has failed")
            return 1
        seconds = time.monotonic() - began
        whole = decoded(folder / "whole.mkv")
        kills = files = wrong = 0
        while kills < options.kills:
            result = folder / f"{files}.mkv"
            while not result.exists() and kills < options.kills:
                process = start(folder, result.name)
                try:
                    process.wait(moments.uniform(0, 1.1 * seconds))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    kills += 1
            if start(folder, result.name).wait() and not result.exists():
                print(f"{result.name} was not made")
                wrong += 1
            elif decoded(result) != whole or folder_of(result).exists():
                print(f"{result.name} differs from the file of a command that nobody killed")
                wrong += 1
            files += 1
            print(f"{kills} kills, {files} files, {wrong} wrong", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return min(wrong, 1)


if __name__ == "__main__":
    run_script(main)
