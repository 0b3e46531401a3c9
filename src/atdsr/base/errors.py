"""The one exception family that reaches a person as a sentence, and values in sentences."""

import reprlib
from typing import Any


class AtdsrError(Exception):
    """What went wrong with which file or option and what to do, in one sentence.

    Every module that can fail for reasons of the user's input derives its own class from this
    one; the command line prints the sentence and exits with 1, a library caller catches it.
    """


def short(value: Any) -> str:
    """A value for a sentence, however large it is."""
    if isinstance(value, dict | list | tuple):
        return "a mapping" if isinstance(value, dict) else "a list"
    try:
        return reprlib.repr(value)
    except ValueError:  # Python writes no integer of thousands of digits
        return "a very large number"
