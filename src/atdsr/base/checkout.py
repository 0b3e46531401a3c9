"""Which commit runs, where the package is used from a clone of its repository."""

import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parents[2]
"""The folder that holds the package: `src` in a clone."""


def commit() -> str | None:
    """Return the commit of the clone, such as `2efec5c` or `2efec5c, changed`.

    None where the package does not lie in a clone, or git cannot tell. Files that git does not
    know do not count as changes.
    """
    root = SOURCES.parent
    if SOURCES.name != "src" or not (root / ".git").exists() or not shutil.which("git"):
        return None
    name, changes = (_git(root, *command) for command in _COMMANDS)
    if not name:
        return None
    return f"{name}, changed" if changes else name


_COMMANDS = (
    ("rev-parse", "--short", "HEAD"),
    ("status", "--porcelain", "--untracked-files=no"),
)


def _git(root: Path, *arguments: str) -> str:
    """Return what git prints, and nothing if it fails."""
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace").strip()
