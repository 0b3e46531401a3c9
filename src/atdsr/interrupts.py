"""Ctrl-C and the like, where they must not come in the middle."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def later() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block, which should be short.

    Around calls of libvips, for example: it calls Python for its log, and an exception that is
    raised there is shown and lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # no signal comes here
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came and callable(before):
        before(signal.SIGINT, None)


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn SIGINT and SIGTERM into a question to be asked when it can stop.

    A second SIGINT is an ordinary Ctrl-C, for who does not want to wait.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # signals reach the main thread alone
        return

    def receive(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and number in received:
            signal.default_int_handler(number, frame)
        received.append(number)

    handlers = {
        number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
