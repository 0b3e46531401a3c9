"""Processes forked from one that has loaded a network, or used it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.upscaling import SOURCES

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

_SCRIPT = """
import os, pathlib, signal, sys, threading
import numpy as np, torch
import atdsr
from atdsr import imaging

folder = pathlib.Path(sys.argv[1])
samples = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)

def told(work):
    "What the work comes to in a forked process; nothing where it does not end."
    reader, writer = os.pipe()
    if not os.fork():
        signal.alarm(20)
        try:
            text = work()
        except atdsr.AtdsrError as error:
            text = str(error)
        os.write(writer, str(text).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        print(pipe.read())
    os.wait()

def enlarge():
    return upscaler(samples).astype(int).sum()

def enlarge_alone():
    torch.set_num_threads(1)
    return enlarge()

def read():
    return imaging.read(folder / "a.png").width

threads = len(os.listdir("/proc/self/task")) if os.path.exists("/proc") else 0
upscaler = atdsr.load("atd-light-x2")
assert threads == (len(os.listdir("/proc/self/task")) if threads else 0)
assert torch.get_num_threads() == 2
told(enlarge)
thread = threading.Thread(target=enlarge)
thread.start()
thread.join()
told(enlarge)
print(enlarge())
told(enlarge)
told(enlarge_alone)
imaging.write(imaging.Picture(samples), folder / "a.png")
told(read)
"""


@pytest.mark.slow
def test_a_fork_ends_in_the_right_result_or_in_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _SCRIPT, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": SOURCES, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded, used_in_a_thread, here, used, alone, read = done.stdout.splitlines()
    assert loaded == here == alone
    assert int(here) > 0
    for sentence in (used_in_a_thread, used):
        assert "forked" in sentence
        assert "spawn" in sentence
    assert "libvips would hang here" in read
