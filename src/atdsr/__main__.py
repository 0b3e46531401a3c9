"""`python -m atdsr` is `atdsr`: the beginning of both.

Signals come first: the modules of the command line take a moment to import.
"""

import _signal  # pyright: ignore[reportMissingImports]  # the part of `signal` that is there

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # which ends the process without a traceback

from atdsr.base import interrupts


def main() -> None:
    """Run the command line as a process of its own."""
    interrupts.install_handlers()
    from atdsr.cli import main as run

    run()


if __name__ == "__main__":
    main()
