"""Queues between threads that end, fail and are given up in good order."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class GivenUpError(Exception):
    """The other side of a channel wants nothing more."""


class Channel(Generic[T]):
    """A queue of few items from one thread to another.

    Args:
        most: So many items wait in it; then `put` waits.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._is_over = self._is_given_up = False
        self._error: BaseException | None = None

    def put(self, item: T) -> None:
        """Add an item.

        Raises:
            GivenUpError: Nobody will take it.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._most or self._is_given_up)
            if self._is_given_up:
                raise GivenUpError
            self._items.append(item)
            self._changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """Say that nothing follows, or that an error came instead."""
        with self._changed:
            self._is_over, self._error = True, error
            self._changed.notify_all()

    def give_up(self) -> None:
        """Say that nothing more is wanted; what waits is dropped."""
        with self._changed:
            self._is_given_up = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Yield the items until the end.

        Raises:
            GivenUpError: They are not wanted any more.
            BaseException: What came instead of an item.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._is_over or self._is_given_up)
                if self._is_given_up:
                    raise GivenUpError
                if not self._items:
                    if self._error is not None:
                        raise self._error
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item


@contextmanager
def filled(channel: Channel[Any], work: Callable[[], None], name: str) -> Iterator[None]:
    """Run what fills a channel in a thread of its own during the block.

    Its end, or its error, reaches whoever reads the channel.
    """

    def fill() -> None:
        try:
            work()
        except GivenUpError:
            return
        except BaseException as error:
            channel.end(error)
        else:
            channel.end()

    thread = threading.Thread(target=fill, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        channel.give_up()
        thread.join()


@contextmanager
def emptied(channel: Channel[Any], work: Callable[[], None], name: str) -> Iterator[None]:
    """Run what empties a channel in a thread of its own, and wait at the end of the block for it.

    If the block fails, the thread is told to give up. If the thread fails, `Channel.put` fails in
    the block, and the error of the thread is raised in its place.
    """
    errors: list[BaseException] = []

    def empty() -> None:
        try:
            work()
        except GivenUpError:
            return
        except BaseException as error:
            errors.append(error)
            channel.give_up()

    thread = threading.Thread(target=empty, name=name, daemon=True)
    thread.start()
    try:
        yield
        channel.end()
        thread.join()
    except GivenUpError:
        thread.join()
    finally:
        channel.give_up()
        thread.join()
    for error in errors:
        raise error
