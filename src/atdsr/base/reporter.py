"""How a piece of work tells its caller how far it is and what is worth knowing."""

from collections.abc import Callable
from dataclasses import dataclass, replace


def _ignore(_: object) -> None:
    pass


@dataclass(frozen=True)
class Reporter:
    """Receives the progress and the notices of a piece of work. By default both are ignored.

    One object is handed down through all calls that do the work.

    Attributes:
        progress: Called with the fraction of the work that is done, from 0 to 1. The fraction
            falls back where work has to start again.
        notice: Called with one sentence that the user should know, such as that tiles are used.
        detail: Called with a few words on how fast it goes, such as "2.5 frames/s".
    """

    progress: Callable[[float], None] = _ignore
    notice: Callable[[str], None] = _ignore
    detail: Callable[[str], None] = _ignore

    def part(self, start: float, stop: float) -> "Reporter":
        """Return a reporter for one part of the work.

        Args:
            start: Fraction of the whole work that is done when the part begins.
            stop: Fraction of the whole work that is done when the part ends.
        """
        return replace(self, progress=lambda done: self.progress(start + (stop - start) * done))

    def logged(self) -> "Reporter":
        """Return a reporter whose notices also go to the logger `atdsr`, at the level INFO."""
        import logging  # which the help screens need not wait for

        logger = logging.getLogger("atdsr")

        def notice(sentence: str) -> None:
            logger.info("%s", sentence)
            self.notice(sentence)

        return replace(self, notice=notice)


SILENT = Reporter()
"""Ignores everything; the default where a function takes a reporter."""
