"""Signals: what the command line makes of them, and that a library leaves them alone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from signal import SIGHUP, SIGINT, SIGTERM

import pytest

from helpers.upscaling import SOURCES

BEGIN = """
import sys, time
from atdsr.base import interrupts
interrupts.install_handlers()
def ready():
    print("ready", flush=True)
"""


def ended(
    code: str,
    *numbers: signal.Signals,
    pause: float = 0.0,
    before: Callable[[], object] = lambda: signal.signal(SIGINT, signal.default_int_handler),
) -> tuple[int, str]:
    """Send signals to Python when it is ready; how it ends, and what it says on standard error."""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": SOURCES},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for number in numbers:
            process.send_signal(number)
            time.sleep(pause)
        _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.parametrize("number", [SIGINT, SIGTERM, SIGHUP])
def test_before_there_is_anything_to_lose_a_signal_ends_at_once(number: signal.Signals):
    code = f"{BEGIN}ready(); time.sleep(60)"
    assert ended(code, number) == (128 + number, "interrupted\n")


@pytest.mark.parametrize("number", [SIGINT, SIGTERM, SIGHUP])
def test_a_signal_is_a_keyboard_interrupt(number: signal.Signals):
    code = f"""{BEGIN}
try:
    with interrupts.raise_on_signal():
        ready(); time.sleep(60)
except KeyboardInterrupt:
    sys.exit(interrupts.exit_code())
"""
    assert ended(code, number) == (128 + number, "")


def test_a_second_signal_ends_at_once_whatever_the_main_thread_does():
    code = f"""{BEGIN}
import ctypes
interrupts.set_cleanup(lambda: print("cleaned up", file=sys.stderr, flush=True), lambda: True)
with interrupts.raise_on_signal(), interrupts.deferred():
    ready()
    for _ in range(3):  # each signal ends one
        ctypes.CDLL(None).sleep(60)
"""
    begin = time.monotonic()
    assert ended(code, SIGTERM, SIGTERM, pause=0.3) == (143, "cleaned up\ninterrupted\n")
    assert time.monotonic() - begin < 30


def test_two_signals_in_one_moment_are_one():
    # on a busy machine the second may be handled seconds after the first
    code = f"""{BEGIN}
interrupts._SAME_SIGNAL = 30
try:
    with interrupts.raise_on_signal():
        ready(); time.sleep(60)
except KeyboardInterrupt:
    print("in order", file=sys.stderr)
    time.sleep(3)  # or the second may come to a Python that ends, which no handler sees
"""
    assert ended(code, SIGTERM, SIGTERM) == (0, "in order\n")


def test_what_was_ignored_stays_ignored():
    code = f"{BEGIN}ready(); time.sleep(0.3)"
    assert ended(code, SIGHUP, before=lambda: signal.signal(SIGHUP, signal.SIG_IGN)) == (0, "")
    assert ended(code, SIGINT, before=lambda: signal.signal(SIGINT, signal.SIG_IGN)) == (0, "")


def test_a_signal_waits_for_the_end_of_the_block():
    code = f"""{BEGIN}
try:
    with interrupts.raise_on_signal():
        with interrupts.deferred():
            ready()
            end = time.monotonic() + 0.3
            while time.monotonic() < end:
                pass
            print("whole", file=sys.stderr, flush=True)
        print("lost", file=sys.stderr)
except KeyboardInterrupt:
    sys.exit(interrupts.exit_code())
"""
    assert ended(code, SIGTERM) == (143, "whole\n")


@pytest.mark.parametrize("busy", [False, True])
def test_a_signal_in_the_middle_of_an_import_is_not_lost(tmp_path, busy: bool):
    (tmp_path / "slow.py").write_text(
        "import time\ntry:\n    print('ready', flush=True); time.sleep(0.5)\n"
        "except BaseException:\n    pass\n"
    )
    code = f"""{BEGIN}
interrupts.set_cleanup(lambda: None, lambda: {busy})
sys.path.insert(0, {str(tmp_path)!r})
try:
    with interrupts.raise_on_signal():
        import slow
        print("imported", file=sys.stderr, flush=True)
        time.sleep(60)
except KeyboardInterrupt:
    sys.exit(interrupts.exit_code())
"""
    said = "imported\n" if busy else "interrupted\n"
    assert ended(code, SIGTERM) == (143, said)


def test_a_signal_where_nothing_can_be_raised_is_not_lost():
    code = f"""{BEGIN}
class Slow:
    def __del__(self):
        ready(); time.sleep(0.5)
try:
    with interrupts.raise_on_signal():
        Slow()
        time.sleep(60)
except KeyboardInterrupt:
    sys.exit(interrupts.exit_code())
"""
    assert ended(code, SIGTERM) == (143, "")


def test_a_training_run_is_asked_as_often_as_one_likes():
    code = f"""{BEGIN}
with interrupts.raise_on_signal(), interrupts.stop_requests() as asked:
    ready()
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        time.sleep(0.01)
    print(asked(), file=sys.stderr)
sys.exit(interrupts.exit_code())
"""
    assert ended(code, SIGHUP, SIGTERM, SIGTERM, pause=0.2) == (129, "True\n")


@pytest.mark.slow
def test_a_library_leaves_signals_alone():
    code = """
import signal, sys, atdsr.inference.upscaler, atdsr.cli
from atdsr.base import interrupts
for number in (signal.SIGTERM, signal.SIGHUP):
    assert signal.getsignal(number) == signal.SIG_DFL
assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
with interrupts.deferred(), interrupts.stop_requests():
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
print("ready", flush=True)
"""
    assert ended(code) == (0, "")
