"""The service as a process of its own: results, errors, crashes, and how it ends."""

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from helpers.pictures import noise, png
from helpers.upscaling import SOURCES
from helpers.web import GROUP, Running, running, wait_for

pytestmark = pytest.mark.slow

SMALL = png(noise(3, h=24, w=32))


@pytest.fixture(scope="module")
def service(tiny_file: Path) -> Iterator[Running]:
    limits = ["--max-megapixels=1", "--max-megabytes=4"]
    with running(tiny_file, *limits) as service:
        yield service


def command_line(run, folder: Path, picture: bytes, name: str, *options: str) -> Path:
    """The output of `atdsr upscale` for the same picture."""
    source = folder / name
    source.write_bytes(picture)
    before = set(folder.iterdir())
    run(str(source), *options)
    (made,) = set(folder.iterdir()) - before
    return made


def encoded(form: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise(3, h=20, w=30)).save(file, form, **options)
    return file.getvalue()


def animation() -> bytes:
    first, second = (Image.fromarray(noise(3, h=16, w=16, seed=seed)) for seed in (1, 2))
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=[second], duration=100)
    return file.getvalue()


@pytest.mark.parametrize(
    ("picture", "name", "query", "options"),
    [
        (SMALL, "a.png", {}, []),
        (png(noise(4, h=9, w=7)), "alpha.png", {}, []),
        (encoded("JPEG", exif=Image.Exif()), "b.JPG", {"quality": "80"}, ["--quality", "80"]),
        (SMALL, "c.png", {"outscale": "3.5"}, ["--outscale", "3.5"]),
        (SMALL, "d.png", {"size": "50x50!"}, ["--size", "50x50!"]),
        (SMALL, "e.png", {"format": "webp"}, ["-f", "webp"]),
        (SMALL, "f.png", {"ensemble": "true"}, ["--ensemble"]),
        (SMALL, "g.png", {"strip_metadata": "true"}, ["--strip-metadata"]),
        (png(noise(3, np.uint16, h=8, w=9)), "h.png", {"format": "tiff"}, ["-f", "tiff"]),
        (animation(), "i.gif", {}, []),
    ],
)
def test_a_result_is_the_command_lines_byte_for_byte(
    service: Running, run, tmp_path: Path, picture, name, query, options
):
    made = command_line(run, tmp_path, picture, name, *options)
    answer = service.result(picture, filename=name, **query)
    assert answer.status_code == 200, answer.text
    assert answer.content == made.read_bytes()
    assert answer.headers["content-disposition"] == f'attachment; filename="{made.name}"'
    assert answer.headers["preference-applied"] == "wait"


def test_a_result_has_a_name_in_ascii_too(service: Running):
    answer = service.result(SMALL, filename="Grün 1.png")
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"Grun 1_x2.png\"; filename*=utf-8''Gr%C3%BCn%201_x2.png"
    )


def test_a_picture_without_a_name_keeps_its_format(service: Running):
    answer = service.result(encoded("WEBP", lossless=True))
    assert answer.headers["content-type"] == "image/webp"


def test_a_job_from_its_upload_to_its_end(service: Running):
    told = service.upscale(SMALL, filename="cat.png")
    assert told.status_code == 202
    job = told.json()
    assert told.headers["location"] == job["url"]
    assert job["state"] in ("waiting", "running")
    assert (job["width"], job["height"], job["format"], job["frames"]) == (32, 24, "png", 1)
    assert job["result"] == {"filename": "cat_x2.png", "format": "png", "width": 64, "height": 48}
    job = service.ended(job["id"])
    assert job["state"] == "done"
    assert job["progress"] == 1
    assert job["expires"] > time.time()
    with service.client() as client:
        result = client.get(job["result_url"])
        assert len(result.content) == job["result"]["bytes"]
        part = client.get(job["result_url"], headers={"Range": "bytes=1-3"})
        assert (part.status_code, part.content) == (206, b"PNG")
        assert client.delete(job["url"]).status_code == 204
        assert client.get(job["url"]).status_code == 404


def test_events_tell_of_a_job_until_its_end(service: Running):
    job = service.upscale(png(noise(3, h=200, w=200))).json()
    with service.client() as client, client.stream("GET", job["events_url"]) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = list(stream.iter_lines())
    told = [json.loads(line[6:]) for line in lines if line.startswith('data: {"id"')]
    assert told[-1]["state"] == "done"
    assert [record["progress"] for record in told] == sorted(r["progress"] for r in told)
    assert lines[-3:] == ["event: end", "data: {}", ""] or "event: end" in lines


def test_a_group_is_listed_followed_and_downloaded_together(service: Running):
    names = ["a.png", "a.png", "b.png"]
    for name in names:
        assert service.upscale(SMALL, filename=name, group=GROUP).status_code == 202
    with service.client(params={"group": GROUP}) as client:
        lines = client.get("/v1/events").text.splitlines()
        assert "event: end" in lines
        jobs = client.get("/v1/jobs").json()["jobs"]
        assert [job["filename"] for job in jobs] == names
        assert {job["state"] for job in jobs} == {"done"}
        with zipfile.ZipFile(io.BytesIO(client.get("/v1/archive").content)) as file:
            assert file.namelist() == ["a_x2.png", "a_x2 (2).png", "b_x2.png"]
            assert file.read("b_x2.png") == client.get(jobs[2]["result_url"]).content
        assert client.delete("/v1/jobs").status_code == 204
        assert client.get("/v1/jobs").json() == {"jobs": []}
        assert client.get("/v1/archive").status_code == 404


def test_a_browser_is_shown_what_it_cannot_read_itself(service: Running):
    job = service.ended(service.upscale(encoded("TIFF"), filename="a.tif").json()["id"])
    sizes = {}
    with service.client() as client:
        for view in ("thumbnail", "input", "bicubic", "result"):
            answer = client.get(f"{job['url']}/views/{view}")
            sizes[view] = Image.open(io.BytesIO(answer.content)).size
            assert answer.headers["content-type"] in ("image/png", "image/webp")
        assert client.get(f"{job['url']}/views/other").status_code == 404
        page = client.get(f"{job['url']}/explanation")
    assert sizes["thumbnail"] == sizes["input"] == (30, 20)
    assert sizes["bicubic"] == sizes["result"] == (60, 40)
    assert "How the network sees a.tif" in page.text
    assert "sandbox" in page.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("picture", "query", "status", "sentence"),
    [
        (b"", {}, 400, "the body is empty; send the picture in it."),
        (b"", {"filename": "a.png"}, 400, "the file is empty."),
        (b"no picture", {"filename": "a.png"}, 415, "a.png: not a picture in one of the formats"),
        (SMALL[:60], {"filename": "a.png"}, 422, "a.png: "),
        (SMALL, {"quality": "50"}, 400, "quality applies only to JPEG, WebP, AVIF and JPEG XL"),
        (SMALL, {"model": "other"}, 400, "there is no model called 'other' here"),
        (SMALL, {"scale": "4"}, 400, "no model for scale 4 is here"),
        (SMALL, {"size": "900000x"}, 413, "more than the limit of 16,000,000 pixels"),
        (SMALL, {"tile": "8"}, 400, "tile is 8"),
        (png(noise(1, h=1001, w=1000)), {}, 413, "1000x1001 is 1,001,000 pixels, more than"),
        (bytes(4_000_001), {}, 413, "the upload has more than the limit of 4,000,000 bytes."),
        (animation(), {"format": "jpg", "filename": "é.gif"}, 422, "é_x2.jpg: jpg holds one"),
        (animation(), {"format": "jpg"}, 422, "jpg holds one picture, not 2"),
        (png(noise(4, h=9, w=7)), {"format": "jpg"}, 422, "no transparency in jpg"),
    ],
)
def test_what_is_refused_is_refused_with_a_sentence(
    service: Running, picture, query, status, sentence
):
    answer = service.result(picture, **query)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert sentence in problem["detail"]
    assert "/tmp" not in problem["detail"]
    assert str(service.temporary) not in problem["detail"]


def test_damage_that_only_decoding_shows_fails_the_job(service: Running):
    picture = bytearray(png(noise(3, h=64, w=64)))
    picture[2000:2100] = bytes(100)
    told = service.upscale(bytes(picture), filename="a.png")
    assert told.status_code == 202
    job = service.ended(told.json()["id"])
    assert job["state"] == "failed"
    assert job["problem"]["detail"].startswith("a.png: ")
    with service.client() as client:
        answer = client.get(job["url"] + "/result")
    assert (answer.status_code, answer.json()) == (422, job["problem"])


def test_a_form_is_refused_with_the_way_out(service: Running):
    with service.client() as client:
        answer = client.post("/v1/upscale", files={"file": SMALL})
    assert answer.status_code == 415
    assert "--data-binary" in answer.json()["detail"]


def test_a_body_of_unknown_length_is_cut_at_the_limit(service: Running):
    def body() -> Iterator[bytes]:
        for _ in range(1000):
            yield bytes(65536)

    # the server may close the connection while the client still sends
    with service.client() as client, contextlib.suppress(httpx.WriteError):
        assert client.post("/v1/upscale", content=body()).status_code == 413
    assert service.result(SMALL).status_code == 200


def test_a_refusal_reaches_a_client_that_still_sends(service: Running):
    head = b"POST /v1/upscale HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10000000000\r\n\r\n"
    answer = service.raw(head + bytes(100_000))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"more than the limit of 4,000,000 bytes" in answer


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 100_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\nhost: a\r\n\r\n",
        b"POST /v1/upscale HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
    ],
)
def test_what_is_not_http_is_answered_and_closed(service: Running, request_bytes: bytes):
    answer = service.raw(request_bytes)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 403 ", b"HTTP/1.1 431 "))
    assert b"application/problem+json" in answer


def test_an_idle_connection_stays_and_half_a_request_does_not(service: Running):
    request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        for pause in (17, 0):  # longer than the headers of a request may take
            connection.sendall(request)
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 ")
            time.sleep(pause)
        start = time.monotonic()
        connection.sendall(request[:20])
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(65536) == b""
        assert 10 < time.monotonic() - start < 50


def test_half_an_upload_leaves_nothing(service: Running):
    before = set(service.spool()[0].iterdir())
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        head = b"POST /v1/upscale HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5000\r\n\r\n"
        connection.sendall(head + SMALL[:100])
        wait_for(lambda: set(service.spool()[0].iterdir()), lambda now: now != before)
    wait_for(lambda: set(service.spool()[0].iterdir()), lambda now: now == before)


def test_who_goes_away_while_waiting_cancels_the_job(service: Running):
    large = png(noise(3, h=600, w=600))
    blocking = [service.upscale(large).json() for _ in range(2)]
    head = b"POST /v1/upscale HTTP/1.1\r\nhost: localhost\r\nprefer: wait=100\r\n"
    head += b"content-length: %d\r\n\r\n" % len(SMALL)
    before = set(service.spool()[0].iterdir())
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(head + SMALL)
        (folder,) = wait_for(lambda: set(service.spool()[0].iterdir()) - before, bool)
        wait_for(lambda: (folder / "picture").exists(), bool)
        time.sleep(0.2)
    wait_for(folder.exists, lambda there: not there)
    with service.client() as client:
        for job in blocking:
            client.delete(job["url"])
            assert service.ended(job["id"])["state"] == "cancelled"


def test_jobs_are_cancelled_where_they_wait_and_where_they_run(service: Running):
    large = png(noise(3, h=900, w=1000))
    running_job, waiting_job = (service.upscale(large).json() for _ in range(2))
    wait_for(lambda: service.job(running_job["id"])["progress"], lambda progress: progress > 0)
    assert service.job(waiting_job["id"])["place"] == 1
    with service.client() as client:
        for job in (waiting_job, running_job):
            assert client.get(job["url"] + "/result").status_code == 409
            assert client.delete(job["url"]).status_code == 204
            assert service.ended(job["id"])["state"] == "cancelled"
            assert client.get(job["url"] + "/result").status_code == 409
    assert service.result(SMALL).status_code == 200


def test_a_killed_worker_costs_one_job(service: Running):
    job = service.upscale(png(noise(3, h=900, w=1000)), ensemble="true").json()
    second = service.upscale(SMALL).json()
    wait_for(lambda: service.job(job["id"])["progress"], lambda progress: progress > 0)
    service.busiest().kill()
    job = service.ended(job["id"])
    assert job["state"] == "failed"
    assert job["problem"]["status"] == 503
    assert "send it again" in job["problem"]["detail"]
    assert service.ended(second["id"])["state"] == "done"
    with service.client() as client:
        assert 'atdsr_crashes_total{role="worker"} 1.0' in client.get("/metrics").text


def test_the_page_and_its_files(service: Running):
    with service.client() as client:
        start = time.perf_counter()
        page = client.get("/")
        assert time.perf_counter() - start < 5
        assert page.headers["content-type"].startswith("text/html")
        assert client.get("/v1/models").json()["models"][0]["name"].startswith("tiny")
        assert client.get("/openapi.json").json()["openapi"] == "3.1.0"


def test_a_stop_finishes_what_was_accepted(tiny_file: Path):
    with running(tiny_file) as service:
        job = service.upscale(png(noise(3, h=300, w=300))).json()
        answers: list[int] = []

        def follow() -> None:
            with service.client() as client:
                text = client.get(job["events_url"]).text
                answers.append(text.count('"state": "done"'))

        thread = threading.Thread(target=follow)
        thread.start()
        wait_for(lambda: service.job(job["id"])["state"], lambda state: state != "waiting")
        assert service.stop() == 0
        thread.join()
        assert answers == [1]
        assert service.spool() == []


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_nothing_is_left_after_a_kill(tiny_file: Path, tmp_path: Path):
    with running(tiny_file, temporary=tmp_path) as service:
        service.upscale(png(noise(3, h=900, w=1000)))
        children = psutil.Process(service.process.pid).children(recursive=True)
        assert service.stop(signal.SIGKILL) == -signal.SIGKILL
        gone, alive = psutil.wait_procs(children, timeout=60)
        assert not alive, gone
        assert len(service.spool()) == 1  # nobody was there to delete it
    with running(tiny_file, temporary=tmp_path, ready=False) as service:
        (spool,) = service.spool()
        assert [path.name for path in spool.iterdir()] == [".lock"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_with_a_folder_for_state_jobs_go_on_after_a_restart(
    tiny_file: Path, tmp_path: Path, number: int
):
    state = f"--state={tmp_path / 'state'}"
    with running(tiny_file, state) as service:
        done = service.upscale(SMALL, filename="done.png", group=GROUP).json()
        content = service.result(SMALL).content
        assert service.ended(done["id"])["state"] == "done"
        large = service.upscale(png(noise(3, h=500, w=500)), filename="b.png", group=GROUP).json()
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            head = b"POST /v1/upscale HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5000\r\n\r\n"
            connection.sendall(head + SMALL[:100])
            service.stop(number)
    with running(tiny_file, state) as service, service.client() as client:
        jobs = client.get("/v1/jobs", params={"group": GROUP}).json()["jobs"]
        assert [job["id"] for job in jobs] == [done["id"], large["id"]]
        assert client.get(done["result_url"] or done["url"] + "/result").content == content
        assert service.ended(large["id"])["state"] == "done"
        assert service.stop() == 0
    folders = [path.name for path in (tmp_path / "state").iterdir() if path.is_dir()]
    assert {done["id"], large["id"]} <= set(folders)
    assert len(folders) == 3  # and the one without a group


def test_a_folder_for_state_is_used_by_one_service(tiny_file: Path, tmp_path: Path):
    state = f"--state={tmp_path}"
    second = running(tiny_file, state, ready=False)
    refused = pytest.raises(AssertionError, match="is used by another service")
    with running(tiny_file, state, ready=False), refused, second:
        pass


def test_other_machines_need_the_token(tiny_file: Path):
    token = "0123456789abcdefgh"
    options = ["--host=0.0.0.0"]
    with (
        running(tiny_file, *options, ready=False, ATDSR_WEB_TOKEN=token) as service,
        service.client() as client,
    ):
        assert client.get("/v1/models").status_code == 401
        page = client.get("/")
        assert page.status_code == 200
        assert 'name="token"' in page.text
        assert client.post("/session", data={"token": "wrong"}).status_code == 401
        answer = client.post("/session", data={"token": token})
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert client.get("/v1/models").status_code in (200, 503)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--host=0.0.0.0"], "add --token SECRET"),
        (["-mnothing"], "there is neither a file nor a model called 'nothing'"),
        (["-mx.onnx"], "x.onnx is an ONNX file, which `atdsr upscale` and `atdsr eval` run; here"),
        (["--device=mps"], "this PyTorch has no mps device here"),
    ],
)
def test_what_cannot_be_served_ends_with_a_sentence(tmp_path: Path, options, sentence):
    (tmp_path / "x.onnx").write_bytes(b"\x08\x0a")
    done = subprocess.run(
        [sys.executable, "-m", "atdsr", "web", "--port=0", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": SOURCES},
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()  # and no address that nobody can open
    assert line.startswith("error: ")
    assert sentence in line


def test_a_port_that_is_taken(service: Running, tiny_file: Path):
    taken = running(tiny_file, f"--port={service.port}", ready=False)
    with pytest.raises(AssertionError, match="cannot be used"), taken:
        pass
