"""The base class of all errors that users see, and values in error messages."""

import reprlib
from typing import Any


class AtdsrError(Exception):
    """One sentence: what went wrong with which file or option, and what to do.

    Every module that can fail because of the user's input derives a class of its own from this
    one. The command line prints the sentence and exits with 1; callers of the library catch it.
    """


def short(value: Any) -> str:
    """Return a value for an error message, shortened if it is long."""
    if isinstance(value, dict | list | tuple):
        return "a mapping" if isinstance(value, dict) else "a list"
    try:
        return reprlib.repr(value)
    except ValueError:  # Python does not print integers of thousands of digits
        return "a very large number"
