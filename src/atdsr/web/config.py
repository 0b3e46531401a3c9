"""How the service runs: where it listens, with which models, and within which limits."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from atdsr.base.errors import AtdsrError

SHORTEST_TOKEN = 16
"""Characters of the shortest token that is accepted."""

RESULT_FACTOR = 16
"""A result may have this many times the pixels of the largest picture, as x4 makes."""


class WebError(AtdsrError):
    """The service cannot start as asked."""


@dataclass(frozen=True)
class WebConfig:
    """How the service runs.

    Attributes:
        host: Address to listen on. Any address but those of loopback needs a token.
        port: TCP port to listen on; 0 takes a free one.
        models: Names or files of the models to offer; empty for those that come with atdsr.
        device: As in `InferenceConfig`. "auto" uses all CUDA devices, one worker process each.
        token: What clients have to send, or None.
        hosts: Further names by which clients may address a service on loopback.
        max_megapixels: Most megapixels of a picture. A result may have 16 times as many.
        max_megabytes: Most megabytes of an upload.
        queue: Most jobs that wait, uploads in progress included.
        job_seconds: Time limit of a job.
        job_bytes: Limit of the memory of a worker process on the CPU; None for 80% of what this
            machine or container has.
        keep_seconds: How long results are kept.
        stop_seconds: How long jobs may go on after the service has been asked to stop.
        state: Folder that keeps jobs and results over a restart; None for a temporary folder.

    Raises:
        WebError: A value does not fit.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    models: tuple[str, ...] = ()
    device: str = "auto"
    token: str | None = None
    hosts: tuple[str, ...] = ()
    max_megapixels: float = 64
    max_megabytes: float = 200
    queue: int = 256
    job_seconds: float = 3600
    job_bytes: int | None = None
    keep_seconds: float = 3600
    stop_seconds: float = 30
    state: Path | None = None

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise WebError(f"--token is too short; it has at least {SHORTEST_TOKEN} characters.")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise WebError("--token has characters that no header can carry; use ASCII letters.")
        if self.token is None and not self.is_local:
            raise WebError(
                f"--host {self.host} lets other machines in; add --token SECRET, which they have "
                "to know."
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def max_pixels(self) -> int:
        """Most pixels of a picture."""
        return round(self.max_megapixels * 1e6)

    @property
    def max_bytes(self) -> int:
        """Most bytes of an upload."""
        return round(self.max_megabytes * 1e6)
