"""Runs a script so that a wrong file, folder or name ends in a sentence and not in a traceback."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from atdsr.base.errors import AtdsrError, unreadable

Main: TypeAlias = Callable[[], int | None]


def run_script(main: Main) -> None:
    """Call the main function of a script and end with its exit code; 1 for a foreseen failure."""
    try:
        sys.exit(main())
    except AtdsrError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.filename is None:
            raise  # no file of the user's
        sys.exit(f"error: {unreadable(Path(error.filename), error)}")


def read_json(path: Path, keys: Sequence[str], maker: str) -> dict[str, Any]:
    """Read a JSON file that a command or script has written.

    Args:
        path: The file.
        keys: What must be in it.
        maker: The command or script.

    Raises:
        AtdsrError: It holds something else.
        OSError: It cannot be read.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not content.keys() >= set(keys):
        raise AtdsrError(f"{path} is not a file that {maker} has written; name one.")
    return content
