"""The libraries of the extra `formats`, which are loaded when a file asks for them."""

import contextlib
import importlib
from collections.abc import Iterator
from types import ModuleType

from atdsr.imaging.picture import PictureError


def load(module: str, kind: str) -> ModuleType:
    """A module of the extra; `kind` is what it reads.

    Raises:
        PictureError: it is not installed or does not fit this system.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise PictureError(
            f"{kind} needs an extra of atdsr; install it with: pip install 'atdsr[formats]'."
        ) from error


@contextlib.contextmanager
def errors() -> Iterator[None]:
    """Turn what these libraries raise for damaged files, which is of many kinds, into an error."""
    try:
        yield
    except (MemoryError, PictureError):
        raise
    except Exception as error:
        reason = str(error).strip().rstrip(".").replace("\n", " ")
        raise PictureError(f"the picture cannot be read: {reason}.") from error
