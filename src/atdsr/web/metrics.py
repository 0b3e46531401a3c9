"""Figures about the service in the text format of Prometheus."""

from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.process_collector import ProcessCollector

from atdsr.web.jobs import Job, State

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of `Metrics.text`."""

_SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)  # buckets


class Metrics:
    """Counts requests, jobs and crashes."""

    def __init__(self) -> None:
        disable_created_metrics()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = self._counter("http_requests", "Requests.", "method", "route", "status")
        self._received = self._counter("received_bytes", "Bytes of uploads.")
        self._jobs = self._counter("jobs", "Jobs that have ended.", "outcome")
        self._crashes = self._counter("crashes", "Child processes that have crashed.", "role")
        self._job_seconds = Histogram(
            "atdsr_job_seconds",
            "How long the work on a job takes.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._gauges = {
            name: Gauge(f"atdsr_{name}", description, registry=self._registry)
            for name, description in (
                ("jobs_waiting", "Jobs in the queue."),
                ("jobs_running", "Jobs that are worked on."),
                ("uploads", "Uploads in progress."),
            )
        }
        self._total_seconds, self._total_jobs = 0.0, 0
        for state in (State.DONE, State.FAILED, State.CANCELLED):
            self._jobs.labels(state.value)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"atdsr_{name}", description, labels, registry=self._registry)

    def requested(self, method: str, route: str, status: int) -> None:
        """Count a request."""
        self._requests.labels(method, route, str(status)).inc()

    def received(self, count: int) -> None:
        """Count bytes of an upload."""
        self._received.inc(count)

    def crashed(self, role: str) -> None:
        """Count the crash of a child process."""
        self._crashes.labels(role).inc()

    def ended(self, job: Job) -> None:
        """Count a job that has ended."""
        self._jobs.labels(job.state.value).inc()
        seconds = job.seconds()
        if seconds is not None:
            self._job_seconds.observe(seconds)
            self._total_seconds, self._total_jobs = (
                self._total_seconds + seconds,
                self._total_jobs + 1,
            )

    def mean_job_seconds(self) -> float:
        """Return how long a job takes on average; 1 before the first."""
        return self._total_seconds / self._total_jobs if self._total_jobs else 1.0

    def text(self, **gauges: Any) -> bytes:
        """Return all figures, with these values of the gauges."""
        for name, value in gauges.items():
            self._gauges[name].set(value)
        return generate_latest(self._registry)
