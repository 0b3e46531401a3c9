"""A job: one picture, from its upload until its result expires."""

import asyncio
import json
import secrets
import time
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from atdsr.base import files
from atdsr.web.options import Options
from atdsr.web.problems import ProblemError

_RECORD = "job.json"


class State(StrEnum):
    """Where a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(eq=False)
class Job:
    """A picture to enlarge.

    Attributes:
        folder: The folder with its files.
        options: What is asked for.
        id: What clients call it; nobody can guess it.
        state: Where it is.
        facts: What the inspection told of the picture and the result to be.
        created: Time of the request, in seconds since the epoch.
        started: When the work began, or None.
        ended: When it ended, or None.
        progress: The fraction of the work that is done.
        notices: Sentences that the user should know.
        problem: Why it has no result, or None.
        result: The file, once it is there.
        explained: Whether the page of `atdsr explain` is there.
        finished: Set when the job has ended, in any way.
        task: The work in progress, or None.
    """

    folder: Path
    options: Options
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: State = State.WAITING
    facts: dict[str, Any] = field(default_factory=dict)
    created: float = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    progress: float = 0.0
    notices: list[str] = field(default_factory=list)
    problem: ProblemError | None = None
    result: Path | None = None
    explained: bool = False
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[Any] | None" = None

    def end(self, state: State, problem: ProblemError | None = None) -> None:
        """Give the job its outcome."""
        self.state, self.problem, self.ended = state, problem, time.time()
        self.finished.set()

    def save(self) -> None:
        """Write what a service needs to go on with the job into its folder.

        Raises:
            FileError: The folder cannot be written.
        """
        record = {
            "options": asdict(self.options),
            "state": self.state.value,
            "facts": self.facts,
            "created": self.created,
            "started": self.started,
            "ended": self.ended,
            "notices": self.notices,
            "problem": None if self.problem is None else [self.problem.status, str(self.problem)],
            "result": None if self.result is None else str(self.result.relative_to(self.folder)),
        }
        with files.atomic_write(self.folder / _RECORD, overwrite=True) as path:
            path.write_text(json.dumps(record), "utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Job | None":
        """Return the job that an earlier service saved in a folder; one that ran waits again.

        None stands for a folder without a job, such as that of an upload that was cut off.
        """
        try:
            record = json.loads((folder / _RECORD).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        job = cls(folder, Options.from_record(record["options"]), id=folder.name)
        job.facts, job.created = record["facts"], record["created"]
        if record["ended"] is None:
            return job
        problem = record["problem"]
        job.end(State(record["state"]), None if problem is None else ProblemError(*problem))
        job.started, job.ended, job.notices = record["started"], record["ended"], record["notices"]
        if record["result"] is not None:
            job.result, job.progress = folder / record["result"], 1.0
        return job

    def seconds_left(self) -> float | None:
        """Return how long the work will probably go on, or None if nobody knows yet."""
        if self.state is not State.RUNNING or self.started is None or self.progress <= 0.02:
            return None
        return (time.time() - self.started) * (1 - self.progress) / self.progress

    def record(self, place: int | None, keep_seconds: float) -> dict[str, Any]:
        """Return what clients are told.

        Args:
            place: Its place in the queue, from 1; None unless it waits.
            keep_seconds: How long results are kept.
        """
        left = self.seconds_left()
        url = f"/v1/jobs/{self.id}"
        done = self.state is State.DONE
        return {
            "id": self.id,
            "state": self.state.value,
            "place": place,
            "progress": round(self.progress, 3),
            "seconds_left": None if left is None else round(left, 1),
            "filename": self.options.filename or "picture",
            **{name: self.facts.get(name) for name in ("width", "height", "format", "frames")},
            "model": self.facts.get("model"),
            "result": dict(result) if (result := self.facts.get("result")) else None,
            "seconds": self.seconds(),
            "notices": list(self.notices),
            "problem": None if self.problem is None else self.problem.record(),
            "explained": self.explained,
            "created": round(self.created, 3),
            "expires": None if self.ended is None else round(self.ended + keep_seconds, 3),
            "url": url,
            "events_url": f"{url}/events",
            "result_url": f"{url}/result" if done else None,
        }

    def seconds(self) -> float | None:
        """Return how long the work has taken, or None if it has not ended."""
        if self.started is None or self.ended is None:
            return None
        return round(self.ended - self.started, 3)

    def missing_result(self) -> ProblemError:
        """Return the problem with asking for the result of a job that has none."""
        if self.problem is not None and self.state is State.FAILED:
            return self.problem
        if self.state is State.CANCELLED:
            return ProblemError(409, "the job was cancelled; send the picture again.")
        return ProblemError(409, f"the job is {self.state.value}; ask again when it is done.")
