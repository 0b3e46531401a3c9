"""The entry point of the command `atdsr` and of `python -m atdsr`.

It sets up signals first, since importing the modules of the command line takes a moment.
"""

import _signal  # pyright: ignore[reportMissingImports]  # the built-in part of `signal`

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # ends the process without a traceback

from atdsr.base import interrupts


def main() -> None:
    """Run the command line as a process of its own."""
    interrupts.install_handlers()
    from atdsr.cli import main as run

    run()


if __name__ == "__main__":
    main()
