"""Extras of atdsr that are not installed, and the command that adds them."""

import os
import shutil
import sys
from pathlib import Path


def install_command(extra: str) -> str:
    """Return the command that adds an extra to the environment that runs this program.

    It names atdsr, which is there already, so only the packages of the extra are fetched.
    """
    quote = '"' if os.name == "nt" else "'"
    requirement = f"{quote}atdsr[{extra}]{quote}"
    folders = [part.lower() for part in Path(sys.prefix).parts]
    if "pipx" in folders:
        return f"pipx runpip {Path(sys.prefix).name} install {requirement}"
    if "uv" in folders:
        return f"uv pip install --python {sys.executable} {requirement}"
    pip = shutil.which("pip")
    if pip is not None and Path(pip).parent == Path(sys.executable).parent:
        return f"pip install {requirement}"
    return f"{sys.executable} -m pip install {requirement}"
