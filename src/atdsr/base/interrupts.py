"""Ctrl-C and the signals like it: where they end the process, and where they have to wait.

A library leaves signals to its host, so nothing here happens on import. The command line calls
`take_over`, and from then on SIGTERM (of a service manager) and SIGHUP (of a terminal that is
closed) are what SIGINT (Ctrl-C) is: a `KeyboardInterrupt`, and an exit code that tells which.
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
_ONE = 0.1  # seconds within which several signals are one: `timeout` and some shells send two
_AGAIN = 0.02  # seconds after which a signal that could not be acted on is tried again
_IMPORTS = "<frozen importlib._bootstrap>"  # the file of Python's frames that import


class _Signals:
    """What the command line has taken over, and what came.

    Attributes:
        taken: signals that end the command.
        gentle: whether the first one raises KeyboardInterrupt; else it ends the process at once.
        patient: whether further ones are waited with, as `stop_requests` does.
        first: the signal that came first, None before.
        since: when that was, on the monotonic clock.
        repeated: how many signals this process has sent to itself, that its handler has to see.
        unwatched: how many of them `_watch` has to see.
        clean_up: what is called before the process ends at once.
        busy: tells whether something would be lost then.
    """

    def __init__(self) -> None:  # a dataclass takes longer to import than all of this module
        self.taken: tuple[int, ...] = ()
        self.gentle = False
        self.patient = False
        self.first: int | None = None
        self.since = 0.0
        self.repeated = 0
        self.unwatched = 0
        self.clean_up: Callable[[], None] = lambda: None
        self.busy: Callable[[], bool] = lambda: False


_signals = _Signals()
_ending = threading.RLock()


def take_over() -> None:
    """Let SIGINT, SIGTERM and SIGHUP end this process, which is one of the command line.

    They end it at once, with a line on standard error and the exit code 128 + signal, until
    `raising` begins. A signal that was ignored when the process began stays so (`nohup`).
    """
    if _signals.taken:
        return
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    taken = [n for n in numbers if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    for number in taken:
        signal.signal(number, _receive)
    _signals.taken = tuple(taken)
    # Python's handlers wait for calls into C to return; the second signal shall not
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), name="signals", daemon=True).start()
    sys.unraisablehook = _unraisable


def at_the_end(clean_up: Callable[[], None], busy: Callable[[], bool]) -> None:
    """Name what is called before a signal ends the process at once, from any thread.

    Args:
        clean_up: deletes what must not stay.
        busy: tells whether there is such a thing; then one signal alone does not end the process
            at once, not even while modules are imported.
    """
    _signals.clean_up, _signals.busy = clean_up, busy


def came() -> bool:
    """Whether a signal has asked this process of the command line to end."""
    return _signals.first is not None


@contextmanager
def raising() -> Iterator[None]:
    """Let the first signal raise KeyboardInterrupt in the block; a second one ends at once."""
    _signals.gentle = True
    try:
        yield
    finally:
        _signals.gentle = False


def exit_code() -> int:
    """What a process returns that a signal has ended: 130 after Ctrl-C."""
    return 128 + (_signals.first or signal.SIGINT)


@contextmanager
def later() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block, which should be short.

    Around calls of libvips, for example: where it calls Python, an exception that is raised there
    is shown and lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # no signal comes here
        return
    came: list[int] = []
    before = _replaced({signal.SIGINT, *_signals.taken}, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in came[:1]:
        if callable(handler := before[number]):
            handler(number, None)


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn SIGINT and SIGTERM into a question to be asked when it can stop.

    So is SIGHUP where the command line has taken it over. A second SIGINT is an ordinary Ctrl-C,
    for who does not want to wait; the others may come as often as they like.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # signals reach the main thread alone
        return

    def receive(number: int, frame: "FrameType | None") -> None:
        _note(number)
        if number == signal.SIGINT and number in received:
            signal.default_int_handler(number, frame)
        received.append(number)

    _signals.patient = True
    before = _replaced({signal.SIGINT, signal.SIGTERM, *_signals.taken}, receive)
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _signals.patient = False


def _replaced(
    numbers: set[int], handler: "Callable[[int, FrameType | None], Any]"
) -> "dict[int, Any]":
    """Set a handler for signals; the handlers that were there."""
    return {number: signal.signal(number, handler) for number in sorted(numbers)}


def _note(number: int) -> None:
    if _signals.taken and _signals.first is None:
        _signals.first, _signals.since = number, time.monotonic()


def _receive(number: int, frame: "FrameType | None") -> None:
    """Python's handler, in the main thread."""
    again = _signals.first is not None and not _signals.repeated
    if again and time.monotonic() - _signals.since <= _ONE:
        return  # also where the first one has left the block that it was for already
    if again or not _signals.gentle:
        _end(number)
    if _signals.repeated:
        _signals.repeated -= 1
    _note(number)
    if _is_importing(frame):
        if not _signals.busy():
            _end(number)
        _repeat(number)
        return
    raise KeyboardInterrupt


def _is_importing(frame: "FrameType | None") -> bool:
    """Whether a module is being imported, in the middle of which an exception may be lost."""
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTS:
            return True
        frame = frame.f_back
    return False


def _repeat(number: int) -> None:
    """Send this process a signal once more, in a moment."""

    def send() -> None:
        _signals.repeated += 1
        _signals.unwatched += 1
        if hasattr(signal, "pthread_kill"):  # which also ends a wait of the main thread
            signal.pthread_kill(threading.main_thread().ident or 0, number)
        else:
            _thread.interrupt_main(signal.Signals(number))

    timer = threading.Timer(_AGAIN, send)
    timer.daemon = True
    timer.start()


def _unraisable(problem: "Any") -> None:
    """Python's hook for what is raised where nothing can be: a KeyboardInterrupt is not lost."""
    if problem.exc_type is KeyboardInterrupt and _signals.first is not None:
        _repeat(_signals.first)
    else:
        sys.__unraisablehook__(problem)


def _watch(reader: int) -> None:
    """End the process by the second signal whatever the main thread does; in a thread."""
    since: float | None = None
    while byte := os.read(reader, 1):
        if byte[0] not in _signals.taken or _signals.patient:
            continue
        now = time.monotonic()
        if _signals.unwatched:
            _signals.unwatched -= 1
        elif since is None:
            since = now
            if not _signals.gentle and _signals.first is None:  # else the main thread has seen it
                _end(byte[0])
        elif now - since > _ONE:
            _end(byte[0])


def _end(number: int) -> "NoReturn":
    """End the process here and now; of two threads, one does and the other waits."""
    _ending.acquire()
    with contextlib.suppress(Exception):
        _signals.clean_up()
    with contextlib.suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(128 + number)
