"""What a batch asks of whatever enlarges clips. `atdsr.video` does, which is above this package."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from atdsr.base.reporter import Reporter
    from atdsr.base.stores import Location
    from atdsr.batch.forecasts import Forecast
    from atdsr.batch.networks import Networks
    from atdsr.batch.planning import LocalItem, Plan
    from atdsr.imaging import Picture


class Clips(Protocol):
    """Recognises clips among the inputs, and enlarges them."""

    @property
    def formats(self) -> Mapping[str, str]:
        """The containers that are written, each with its suffix."""
        ...

    @property
    def is_installed(self) -> bool:
        """Whether the extra that reads clips is there."""
        ...

    def is_clip(self, source: "Location") -> bool:
        """Return whether a file is a clip, as far as its name and its first bytes tell."""
        ...

    def suffix(self, source: "Location", format_name: str | None) -> str:
        """Return the suffix of a clip's output, in the container asked for if there is one."""
        ...

    def size(self, source: Path) -> tuple[int, int]:
        """Return width and height of a clip in pixels.

        Raises:
            AtdsrError: It cannot be read.
        """
        ...

    def make(
        self, item: "LocalItem", plan: "Plan", networks: "Networks", reporter: "Reporter"
    ) -> tuple[int, int, int]:
        """Enlarge a clip; as `running.MakeFile`, within `running.claimed_output`."""
        ...

    def forecast(self, item: "LocalItem", plan: "Plan", networks: "Networks") -> "Forecast":
        """Tell what `make` would do, and how long it would take.

        Raises:
            AtdsrError: It would fail.
        """
        ...

    def work(self, item: "LocalItem", plan: "Plan", networks: "Networks") -> float:
        """Return how many pixels the network would be given.

        Raises:
            AtdsrError: `make` would fail.
        """
        ...

    def picture(self, source: Path) -> "Picture":
        """Return a frame for a preview.

        Raises:
            AtdsrError: It cannot be read.
        """
        ...


CLIP_KIND = "video"
"""What clips are called where they are counted without being read, and the extra for them."""
