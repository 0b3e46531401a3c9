"""`atdsr config`."""

import typer

from atdsr.cli import defaults
from atdsr.cli.console import out, say


def config(context: typer.Context) -> None:
    """Show the file with your defaults, and check it.

    Options that you do not give are taken from it. It is TOML: a table for each command, such as
    [upscale], with options by their long names, such as quality = 92.
    """
    path = defaults.file()
    if path is None:
        say(out, f"none: {defaults.VARIABLE} is empty")
        return
    if not path.exists():
        say(out, f"{path} (does not exist)")
        return
    say(out, f"{path}:")
    for line in path.read_text("utf-8").splitlines():
        say(out, line)
    defaults.check(context.find_root())
