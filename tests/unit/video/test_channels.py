"""Channels between threads: order, bounds, ends and errors."""

import threading
import time

import pytest

from atdsr.video.channels import Channel, GivenUpError, emptied, filled


def test_items_come_in_order_and_few_wait():
    channel = Channel[int](2)
    most = 0

    def fill() -> None:
        for number in range(50):
            channel.put(number)

    got = []
    with filled(channel, fill, "filler"):
        for number in channel:
            most = max(most, len(channel._items))
            got.append(number)
    assert got == list(range(50))
    assert most <= 2


def test_an_error_comes_after_the_items_before_it():
    channel = Channel[int](5)

    def fill() -> None:
        channel.put(1)
        raise ValueError("no more")

    got = []
    with pytest.raises(ValueError, match="no more"), filled(channel, fill, "filler"):
        got.extend(channel)
    assert got == [1]


def test_a_reader_that_leaves_ends_the_thread():
    channel = Channel[int](1)

    def fill() -> None:
        while True:
            channel.put(0)

    with filled(channel, fill, "filler"):
        assert next(iter(channel)) == 0
    assert "filler" not in {thread.name for thread in threading.enumerate()}


def test_the_end_waits_for_what_empties_it():
    channel = Channel[int](1)
    got = []

    def empty() -> None:
        for number in channel:
            time.sleep(0.01)
            got.append(number)

    with emptied(channel, empty, "reader"):
        for number in range(5):
            channel.put(number)
    assert got == [0, 1, 2, 3, 4]


def test_an_error_of_the_reader_is_raised():
    channel = Channel[int](1)

    def empty() -> None:
        raise OSError("full")

    def fill() -> None:
        while True:
            channel.put(0)

    with pytest.raises(OSError, match="full"), emptied(channel, empty, "reader"):
        fill()


def test_a_block_that_fails_lets_the_reader_give_up():
    channel = Channel[int](3)
    ends = []

    def empty() -> None:
        try:
            for _ in channel:
                pass
        except GivenUpError:
            ends.append("given up")
            raise

    def interrupt() -> None:
        channel.put(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), emptied(channel, empty, "reader"):
        interrupt()
    assert ends == ["given up"]
