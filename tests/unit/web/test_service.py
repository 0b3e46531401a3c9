"""The queue's bounds, on the service itself, without child processes."""

from pathlib import Path

import pytest

from atdsr.web import service as module
from atdsr.web.config import WebConfig
from atdsr.web.jobs import Job, State
from atdsr.web.metrics import Metrics
from atdsr.web.options import Options
from atdsr.web.problems import ProblemError
from atdsr.web.service import Service


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(WebConfig(queue=2), tmp_path, Metrics())


def refused(service: Service) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        service.check_open()
    return caught.value


def test_it_is_open(service: Service):
    service.check_open()


def test_uploads_count_for_the_queue(service: Service):
    service.uploads = 2
    problem = refused(service)
    assert problem.status == 503
    assert problem.retry_after is not None
    assert "the queue is full (2 pictures)" in str(problem)


def test_a_full_disk(service: Service, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_LEAST_FREE_BYTES", 2**60)
    assert "the disk is full" in str(refused(service))


def test_a_service_that_stops(service: Service):
    service.drain()
    assert "stopping" in str(refused(service))


def test_a_service_that_cannot_start(service: Service):
    service.failure = "there is no such model."
    assert "there is no such model" in str(refused(service))


def test_what_a_job_without_a_result_tells(tmp_path: Path):
    job = Job(tmp_path, Options())
    assert job.missing_result().status == 409
    job.end(State.FAILED, ProblemError(422, "it is damaged."))
    assert str(job.missing_result()) == "it is damaged."
    cancelled = Job(tmp_path, Options())
    cancelled.end(State.CANCELLED)
    assert cancelled.missing_result().status == 409


def test_an_outcome_stays(service: Service):
    job = service.new_job(Options())
    service.end(job, State.CANCELLED)
    service.end(job, State.DONE)
    assert job.state is State.CANCELLED
    assert not job.folder.exists()


def test_the_time_left_is_by_the_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    job = Job(tmp_path, Options(), state=State.RUNNING, started=1000.0)
    monkeypatch.setattr("time.time", lambda: 1030.0)
    assert job.seconds_left() is None
    job.progress = 0.75
    assert job.seconds_left() == pytest.approx(10)
