"""Ctrl-C and similar signals: where they end the process, and where they must wait.

A library leaves signals to its host, so nothing happens here on import. The command line calls
`install_handlers`. From then on SIGTERM (from a service manager) and SIGHUP (from a terminal that
is closed) act like SIGINT (Ctrl-C): they raise `KeyboardInterrupt`, and the exit code tells which
signal it was.
"""

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TYPE_CHECKING = False  # importing that of `typing` takes longer than this module
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, NoReturn

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
_SAME_SIGNAL = 0.1  # seconds within which signals count as one: `timeout` and some shells send two
_RETRY = 0.02  # seconds after which a signal that could not be acted on is sent again
_IMPORT_SYSTEM = "<frozen importlib._bootstrap>"  # the file name of frames that import a module


class _Signals:
    """Which signals the command line handles, and which have been received.

    Attributes:
        handled: Signals that end the command.
        raises: Whether the first signal raises KeyboardInterrupt; otherwise it ends the process.
        defers: Whether further signals do not end the process, as in `stop_requests`.
        first: The first signal that was received, or None.
        first_time: Time at which it was received, on the monotonic clock.
        resent: Number of signals that this process has sent itself and `_receive` will see.
        resent_unwatched: Number of them that `_watch` will see.
        clean_up: Called before the process ends at once.
        is_busy: Tells whether something would be lost then.
    """

    def __init__(self) -> None:  # `dataclasses` takes longer to import than this whole module
        self.handled: tuple[int, ...] = ()
        self.raises = False
        self.defers = False
        self.first: int | None = None
        self.first_time = 0.0
        self.resent = 0
        self.resent_unwatched = 0
        self.clean_up: Callable[[], None] = lambda: None
        self.is_busy: Callable[[], bool] = lambda: False


_signals = _Signals()
_ending = threading.RLock()


def install_handlers() -> None:
    """Let SIGINT, SIGTERM and SIGHUP end this process, which runs the command line.

    They end it at once, with a line on standard error and the exit code 128 + signal, until
    `raise_on_signal` begins. A signal that was ignored when the process started stays ignored
    (`nohup`).
    """
    if _signals.handled:
        return
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    handled = [n for n in numbers if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    for number in handled:
        signal.signal(number, _receive)
    _signals.handled = tuple(handled)
    # Python's handlers run only after a call into C has returned; the second signal must not wait
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), name="signals", daemon=True).start()
    sys.unraisablehook = _unraisable


def set_cleanup(clean_up: Callable[[], None], is_busy: Callable[[], bool]) -> None:
    """Set what is called, from any thread, before a signal ends the process at once.

    Args:
        clean_up: Deletes what must not stay.
        is_busy: Tells whether there is anything to delete. While it does, a single signal does not
            end the process at once, not even while modules are imported.
    """
    _signals.clean_up, _signals.is_busy = clean_up, is_busy


def was_interrupted() -> bool:
    """Whether this process of the command line has received a signal that ends it."""
    return _signals.first is not None


@contextmanager
def raise_on_signal() -> Iterator[None]:
    """Let the first signal raise KeyboardInterrupt; a second one ends the process at once."""
    _signals.raises = True
    try:
        yield
    finally:
        _signals.raises = False


def exit_code() -> int:
    """Return the exit code of a process that a signal has ended: 130 after Ctrl-C."""
    return 128 + (_signals.first or signal.SIGINT)


@contextmanager
def deferred() -> Iterator[None]:
    """Defer Ctrl-C to the end of the block, which should be short.

    It is needed around calls of libvips, for example: when libvips calls back into Python, an
    exception that is raised there is printed and lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread alone
        return
    received: list[int] = []
    previous = _set_handlers(
        {signal.SIGINT, *_signals.handled}, lambda number, _: received.append(number)
    )
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    for number in received[:1]:
        if callable(handler := previous[number]):
            handler(number, None)


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether SIGINT or SIGTERM has asked the block to stop.

    SIGHUP counts as well if the command line handles it. A second SIGINT is an ordinary Ctrl-C, for
    users who do not want to wait; the other signals may come any number of times.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # signals reach the main thread alone
        return

    def receive(number: int, frame: "FrameType | None") -> None:
        _record(number)
        if number == signal.SIGINT and number in received:
            signal.default_int_handler(number, frame)
        received.append(number)

    _signals.defers = True
    previous = _set_handlers({signal.SIGINT, signal.SIGTERM, *_signals.handled}, receive)
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _signals.defers = False


def _set_handlers(
    numbers: set[int], handler: "Callable[[int, FrameType | None], Any]"
) -> "dict[int, Any]":
    """Set a handler for signals, and return the previous handlers."""
    return {number: signal.signal(number, handler) for number in sorted(numbers)}


def _record(number: int) -> None:
    if _signals.handled and _signals.first is None:
        _signals.first, _signals.first_time = number, time.monotonic()


def _receive(number: int, frame: "FrameType | None") -> None:
    """Handle a signal in Python, in the main thread."""
    is_second = _signals.first is not None and not _signals.resent
    if is_second and time.monotonic() - _signals.first_time <= _SAME_SIGNAL:
        return  # even if the first one has already left the block it was raised in
    if is_second or not _signals.raises:
        _end(number)
    if _signals.resent:
        _signals.resent -= 1
    _record(number)
    if _is_importing(frame):
        if not _signals.is_busy():
            _end(number)
        _resend(number)
        return
    raise KeyboardInterrupt


def _is_importing(frame: "FrameType | None") -> bool:
    """Whether a module is being imported: an exception raised then may be lost."""
    while frame is not None:
        if frame.f_code.co_filename == _IMPORT_SYSTEM:
            return True
        frame = frame.f_back
    return False


def _resend(number: int) -> None:
    """Send this process a signal again in a moment."""

    def send() -> None:
        _signals.resent += 1
        _signals.resent_unwatched += 1
        if hasattr(signal, "pthread_kill"):  # also wakes a main thread that waits
            signal.pthread_kill(threading.main_thread().ident or 0, number)
        else:
            _thread.interrupt_main(signal.Signals(number))

    timer = threading.Timer(_RETRY, send)
    timer.daemon = True
    timer.start()


def _unraisable(problem: "Any") -> None:
    """Keep a KeyboardInterrupt from being lost where Python cannot propagate an exception."""
    if problem.exc_type is KeyboardInterrupt and _signals.first is not None:
        _resend(_signals.first)
    else:
        sys.__unraisablehook__(problem)


def _watch(reader: int) -> None:
    """End the process on the second signal, whatever the main thread does; runs in a thread."""
    first_time: float | None = None
    while byte := os.read(reader, 1):
        if byte[0] not in _signals.handled or _signals.defers:
            continue
        now = time.monotonic()
        if _signals.resent_unwatched:
            _signals.resent_unwatched -= 1
        elif first_time is None:
            first_time = now
            if not _signals.raises and _signals.first is None:  # else the main thread handles it
                _end(byte[0])
        elif now - first_time > _SAME_SIGNAL:
            _end(byte[0])


def _end(number: int) -> "NoReturn":
    """End the process now. If two threads call this, one does it and the other waits."""
    _ending.acquire()
    with contextlib.suppress(Exception):
        _signals.clean_up()
    with contextlib.suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(128 + number)
