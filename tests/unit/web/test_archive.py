import io
import zipfile
from pathlib import Path

from atdsr.web import archive
from atdsr.web.jobs import Job, State
from atdsr.web.options import Options


def done(folder: Path, name: str, content: bytes | None) -> Job:
    job = Job(folder, Options(filename=name))
    job.result = folder / job.id
    job.facts = {"result": {"filename": name}}
    if content is not None:
        job.result.write_bytes(content)
    job.end(State.DONE)
    return job


def test_it_holds_the_results(tmp_path: Path):
    large = bytes(range(256)) * 10_000
    jobs = [done(tmp_path, "a.png", b"one"), done(tmp_path, "b.png", large)]
    pieces = list(archive.stream(jobs))
    assert len(pieces) > 2
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as file:
        assert file.testzip() is None
        assert file.read("a.png") == b"one"
        assert file.read("b.png") == large


def test_what_has_expired_is_left_out(tmp_path: Path):
    jobs = [done(tmp_path, "a.png", None), done(tmp_path, "b.png", b"two")]
    with zipfile.ZipFile(io.BytesIO(b"".join(archive.stream(jobs)))) as file:
        assert file.namelist() == ["b.png"]


def test_names_are_told_apart():
    names = ["a.png", "A.png", "a.png", "a (2).png", "b"]
    assert archive.unique_names(names) == ["a.png", "A (2).png", "a (3).png", "a (2) (2).png", "b"]
