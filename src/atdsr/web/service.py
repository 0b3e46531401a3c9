"""The jobs of the service: the queue, the processes that work on it, and when results expire."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from atdsr.base import memory
from atdsr.web.child import ChildConfig
from atdsr.web.config import RESULT_FACTOR, WebConfig
from atdsr.web.jobs import Job, State
from atdsr.web.metrics import Metrics
from atdsr.web.options import Options
from atdsr.web.problems import ProblemError
from atdsr.web.process import ChildProcess

UPLOAD = "upload"
"""Name of the file of an upload until it is whole."""

INSPECT_SECONDS = 30.0
VIEW_SECONDS = 120.0

_LEAST_FREE_BYTES = 2**29  # of the disk, below which no upload is accepted
_INSPECTOR_BYTES = 3 * 2**30  # of memory; a decoder of headers needs little
_VIEWER_BYTES = 6 * 2**30
_SWEEP_SECONDS = 5.0
_MOST_ENDED = 5000  # jobs that are kept; the oldest ones go first
_FORGET_SECONDS = 300.0  # until a job without a result is forgotten


class Changes:
    """Wakes all who wait for the next change of any job."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def notify(self) -> None:
        """Wake all who wait."""
        if self._next is not None and not self._next.done():
            self._next.set_result(None)
        self._next = None

    async def wait(self) -> None:
        """Wait for the next change."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._next)


class Service:
    """All jobs, and the processes that work on them.

    Args:
        config: How the service runs.
        folder: An empty folder for uploads and results.
        metrics: Counts what happens.

    Attributes:
        config: As above.
        jobs: The jobs by their ids.
        changes: Wakes those who follow jobs.
        failure: Why no process can start, or None.
        uploads: How many uploads are in progress.
        stopping: Whether new jobs are refused.
    """

    def __init__(self, config: WebConfig, folder: Path, metrics: Metrics) -> None:
        self.config = config
        self.folder = folder
        self.metrics = metrics
        self.jobs: dict[str, Job] = {}
        self.changes = Changes()
        self.failure: str | None = None
        self.uploads = 0
        self.stopping = False
        self.workers: list[ChildProcess] = []
        self._waiting: list[Job] = []
        self._work = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._inspector = self._child("inspector", config.device, _INSPECTOR_BYTES)
        self._viewer = self._child("viewer", "cpu", _VIEWER_BYTES)

    def _child(self, role: str, device: str, limit: int | None) -> ChildProcess:
        config = ChildConfig(role, self.config.models, device, limit)
        return ChildProcess(config, lambda: self.metrics.crashed(role))

    # ------------------------------------------------------------------------- start and stop

    def start(self) -> None:
        """Begin to start the processes; requests can come already."""
        if self.config.state is not None:
            self._restore()
        self._spawn(self._start())
        self._spawn(self._sweep())

    def _restore(self) -> None:
        """Take up the jobs that an earlier service has left, and delete halves of uploads."""
        folders = [folder for folder in self.folder.iterdir() if folder.is_dir()]
        jobs = {folder: Job.load(folder) for folder in folders}
        found = sorted((job for job in jobs.values() if job), key=lambda job: job.created)
        self.jobs = {job.id: job for job in found}
        self._waiting = [job for job in found if not job.finished.is_set()]
        for folder, job in jobs.items():
            if job is None:
                shutil.rmtree(folder, ignore_errors=True)

    async def _start(self) -> None:
        try:
            await self._inspector.start()
            for device in self._inspector.facts["devices"]:
                limit = _worker_bytes(self.config) if device == "cpu" else None
                worker = self._child("worker", device, limit)
                self.workers.append(worker)
                await worker.start()
                self._spawn(self._run_worker(worker))
        except Exception as error:
            self.failure = str(error)

    @property
    def ready(self) -> bool:
        """Whether uploads can be looked at and enlarged."""
        return any(worker.ready.is_set() for worker in self.workers) and not self.stopping

    @property
    def facts(self) -> dict[str, Any]:
        """What the inspector told: the models, formats and devices; empty until it is ready."""
        return self._inspector.facts

    def drain(self) -> None:
        """Refuse new jobs from now on; those that there are go on."""
        self.stopping = True
        self.changes.notify()

    @property
    def busy(self) -> bool:
        """Whether there are jobs without an outcome, or uploads that will become such."""
        return bool(self.uploads) or any(not job.finished.is_set() for job in self.jobs.values())

    async def stop(self) -> None:
        """End all processes, and all jobs with a reason.

        Where there is a folder for state, the next service goes on with these jobs.
        """
        self.drain()
        advice = "send it again" if self.config.state is None else "the job goes on when it starts"
        for job in self.jobs.values():
            if not job.finished.is_set():  # in memory only: what is saved still waits
                job.end(State.FAILED, ProblemError(503, f"the service has stopped; {advice}."))
        self.changes.notify()
        for task in self._tasks:
            task.cancel()
        for process in (self._inspector, self._viewer, *self.workers):
            process.kill()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ----------------------------------------------------------------------------- new jobs

    def check_open(self) -> None:
        """Check that another upload can begin.

        Raises:
            ProblemError: The service is stopping or cannot start, or the queue or the disk is full.
        """
        if self.stopping:
            raise ProblemError(503, "the service is stopping; try again later.", retry_after=30)
        if self.failure is not None:
            raise ProblemError(503, f"the service cannot work: {self.failure}")
        if len(self._waiting) + self.uploads >= self.config.queue:
            raise ProblemError(
                503,
                f"the queue is full ({self.config.queue} pictures); try again later.",
                retry_after=self._retry_seconds(),
            )
        if self._disk_is_full():
            raise ProblemError(503, "the disk is full; try again later.", retry_after=60)

    def _disk_is_full(self) -> bool:
        free = shutil.disk_usage(self.folder).free
        return free < _LEAST_FREE_BYTES + self.config.max_bytes

    def _retry_seconds(self) -> int:
        return max(1, min(60, round(self.metrics.mean_job_seconds())))

    def new_job(self, options: Options) -> Job:
        """Return a job with a folder, which is not in the queue yet."""
        job = Job(self.folder, options)
        job.folder = self.folder / job.id
        job.folder.mkdir()
        return job

    def discard(self, job: Job) -> None:
        """Delete the files of a job."""
        shutil.rmtree(job.folder, ignore_errors=True)

    async def submit(self, job: Job) -> None:
        """Look at an upload that is whole, and put its job into the queue.

        Raises:
            ProblemError: The picture is refused.
        """
        source = job.folder / f"picture{job.options.source_suffix}"
        (job.folder / UPLOAD).rename(source)
        task = {
            "kind": "inspect",
            "max_pixels": self.config.max_pixels,
            "result_factor": RESULT_FACTOR,
        }
        job.facts = await self._inspector.run(
            task | _of(job), seconds=INSPECT_SECONDS, listen=lambda _: None
        )
        if self.config.state is not None:
            job.save()
        self.jobs[job.id] = job
        self._waiting.append(job)
        async with self._work:
            self._work.notify()
        self.changes.notify()

    # --------------------------------------------------------------------------------- work

    async def _run_worker(self, worker: ChildProcess) -> None:
        while True:
            async with self._work:
                await self._work.wait_for(lambda: bool(self._waiting))
                job = self._waiting.pop(0)
            job.state, job.started = State.RUNNING, time.time()
            self.changes.notify()
            job.task = asyncio.create_task(self._run_job(worker, job))
            await asyncio.wait([job.task])
            job.task = None
            self.metrics.ended(job)
            self.changes.notify()

    async def _run_job(self, worker: ChildProcess, job: Job) -> None:
        def listen(message: dict[str, Any]) -> None:
            if "progress" in message:
                job.progress = float(message["progress"])
            if "notice" in message:
                job.notices.append(str(message["notice"]))
            self.changes.notify()

        task = {"kind": "enlarge"} | _of(job)
        try:
            done = await worker.run(task, seconds=self.config.job_seconds, listen=listen)
        except ProblemError as problem:
            self.end(job, State.FAILED, problem)
        except asyncio.CancelledError:
            self.end(job, State.CANCELLED)
        else:
            job.result = Path(done["path"])
            job.facts["result"]["bytes"] = job.result.stat().st_size
            job.progress = 1.0
            self.end(job, State.DONE)

    def end(self, job: Job, state: State, problem: ProblemError | None = None) -> None:
        """Give a job its outcome, unless it has one; without a result its files are deleted."""
        if job.finished.is_set():
            return
        job.end(state, problem)
        if state is not State.DONE:
            self.discard(job)
        elif self.config.state is not None:
            job.save()

    async def explain(self, job: Job) -> Path:
        """Return the page that shows how the network sees the picture of a job.

        Raises:
            ProblemError: The picture cannot be explained.
        """
        page = job.folder / "explain" / "index.html"
        if not page.exists():
            worker = min(self.workers, key=lambda worker: worker.pending, default=None)
            if worker is None:
                raise ProblemError(503, "the service is starting; try again soon.", retry_after=2)
            task = {"kind": "explain"} | _of(job)
            await worker.run(task, seconds=self.config.job_seconds, listen=lambda _: None)
            job.explained = True
            self.changes.notify()
        return page

    async def view(self, job: Job, kind: str) -> Path:
        """Return a picture of a job as a file that browsers show.

        Raises:
            ProblemError: It cannot be read.
        """
        target = job.folder / f"{kind}.{'webp' if kind == 'thumbnail' else 'png'}"
        if not target.exists():
            task = {
                "kind": "view",
                "view": kind,
                "result": None if job.result is None else str(job.result),
                "target": str(target),
            }
            await self._viewer.run(task | _of(job), seconds=VIEW_SECONDS, listen=lambda _: None)
        return target

    # -------------------------------------------------------------------------- looking at jobs

    def find(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            ProblemError: There is none, or it has expired.
        """
        job = self.jobs.get(job_id)
        if job is None:
            raise ProblemError(404, "there is no such job; it may have expired.")
        return job

    def group(self, name: str) -> list[Job]:
        """Return the jobs of a group, the first one first."""
        return [job for job in self.jobs.values() if job.options.group == name]

    def records(self, jobs: Iterable[Job]) -> list[dict[str, Any]]:
        """Return what clients are told of jobs."""
        places = {job.id: place for place, job in enumerate(self._waiting, 1)}
        return [job.record(places.get(job.id), self.config.keep_seconds) for job in jobs]

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._waiting)

    # -------------------------------------------------------------------- cancelling, expiring

    def cancel(self, job: Job) -> None:
        """Cancel a job that waits or runs, and delete one that has ended."""
        if job.finished.is_set():
            self._forget(job)
        else:
            with contextlib.suppress(ValueError):
                self._waiting.remove(job)
            running = job.task
            if running is not None:
                running.cancel()
            else:
                self.end(job, State.CANCELLED)
                self.metrics.ended(job)
        self.changes.notify()

    def _forget(self, job: Job) -> None:
        self.jobs.pop(job.id, None)
        self.discard(job)

    async def _sweep(self) -> None:
        """Forget the jobs whose time has come."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = time.time()
            ended = [job for job in self.jobs.values() if job.ended is not None]
            ended.sort(key=lambda job: job.ended or 0)
            for number, job in enumerate(ended):
                keep = self.config.keep_seconds
                if job.state is not State.DONE:
                    keep = min(keep, _FORGET_SECONDS)
                too_many = len(ended) - number > _MOST_ENDED
                if too_many or self._disk_is_full() or now - (job.ended or 0) > keep:
                    self._forget(job)
            self.changes.notify()


def _of(job: Job) -> dict[str, Any]:
    """Return what every task tells of its job."""
    return {"folder": str(job.folder), "options": asdict(job.options)}


def _worker_bytes(config: WebConfig) -> int:
    """Return the limit of the memory of a worker on the CPU."""
    if config.job_bytes is not None:
        return config.job_bytes
    import psutil

    total = psutil.virtual_memory().total
    return int(0.8 * min(total, memory.limit_bytes() or total))
