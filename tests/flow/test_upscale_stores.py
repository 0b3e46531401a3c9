"""`atdsr upscale` with pictures in a store: S3 by a server on this machine, and in memory."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from atdsr import cli
from atdsr.base import stores
from atdsr.batch import staging
from helpers.pictures import noise
from helpers.stores import Proxy, first, needs_s3, path_of
from helpers.upscaling import SOURCES, Run, refused, save

pytestmark = pytest.mark.slow

pytest.importorskip("obstore", reason="obstore is not installed (the extra `stores`)")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield tmp_path
    assert list((tmp_path / "temporary").iterdir()) == []


def picture(seed: int = 0, h: int = 10, w: int = 14, name: str = "picture.png") -> bytes:
    save(name, noise(h=h, w=w, seed=seed))
    content = Path(name).read_bytes()
    Path(name).unlink()
    return content


def enlarged(run: Run, content: bytes) -> bytes:
    """What the same command makes of a picture on disk."""
    Path("plain.png").write_bytes(content)
    run("plain.png", "-o", "plain_out.png", "--overwrite")
    made = Path("plain_out.png").read_bytes()
    Path("plain.png").unlink()
    Path("plain_out.png").unlink()
    return made


# ------------------------------------------------------------------------------- what is made


@needs_s3
def test_one_object_becomes_another(run: Run, s3: Proxy, bucket: str):
    content = picture()
    s3.put(bucket, "in/a.png", content)
    assert run(f"s3://{bucket}/in/a.png") == [
        f"s3://{bucket}/in/a.png -> s3://{bucket}/in/a_x2.png"
    ]
    assert s3.get(bucket, "in/a_x2.png") == enlarged(run, content)
    # as on disk: a single picture is not made twice, unless it is said
    said = f"s3://{bucket}/in/a_x2.png exists and is kept; replace it with --overwrite"
    assert said in refused(run, f"s3://{bucket}/in/a.png")
    run(f"s3://{bucket}/in/a.png", "--overwrite")
    assert s3.keys(bucket) == ["in/a.png", "in/a_x2.png"]


@needs_s3
def test_a_tree_becomes_a_tree_and_the_rest_is_done_later(run: Run, s3: Proxy, bucket: str):
    names = ["a.png", "p/b.png", "p/q/c.png", "p/d e#~[1].png", "é/f.png"]
    content = {name: picture(seed) for seed, name in enumerate(names)}
    for name in names:
        s3.put(bucket, f"in/{name}", content[name])
    s3.put(bucket, "in/.hidden.png", b"")
    s3.put(bucket, "in/@eaDir/x.png", b"")
    s3.put(bucket, "in/text.txt", b"")
    s3.put(bucket, "in/p/", b"")  # as a console of AWS makes folders
    *_, summary = run(f"s3://{bucket}/in", "-r", "-o", f"s3://{bucket}/out")
    assert summary == "5 of 5 pictures done"
    made = {name: f"out/{name.replace('.png', '_x2.png')}" for name in names}
    assert {key for key in s3.keys(bucket) if key.startswith("out/")} == set(made.values())
    for name, key in made.items():
        assert s3.get(bucket, key) == enlarged(run, content[name])
    s3.request("DELETE", f"/{bucket}/out/p/b_x2.png")
    s3.asked.clear()
    *lines, summary = run(f"s3://{bucket}/in", "-r", "-o", f"s3://{bucket}/out")
    assert summary == "1 of 5 pictures done, 4 skipped"
    assert f"s3://{bucket}/in/a.png: s3://{bucket}/out/a_x2.png exists and is kept" in lines
    # what exists is told by lists, not by a request for each, and is not read again
    asked = [(method, path_of(path)) for method, path in s3.asked]
    assert [path for method, path in asked if method == "PUT"] == [f"/{bucket}/out/p/b_x2.png"]
    read = [path for method, path in asked if method == "GET" and path.count("/") > 1]
    assert read == [f"/{bucket}/in/p/b.png"]
    assert sum(method == "HEAD" for method, _ in asked) <= 3


@needs_s3
def test_a_folder_in_the_input_for_the_outputs_is_no_input(run: Run, s3: Proxy, bucket: str):
    s3.put(bucket, "a.png", picture())
    for said in ("1 of 1 picture done", "0 of 1 picture done, 1 skipped"):
        assert run(f"s3://{bucket}", "-r", "-o", f"s3://{bucket}/large")[-1] == said
    for said in ("1 of 1 picture done", "0 of 1 picture done, 1 skipped"):
        lines = run(f"s3://{bucket}")
        assert lines[-1] == said
    left_out = f"s3://{bucket}/a_x2.png: left out as an earlier output; name it alone to enlarge it"
    assert left_out in lines
    assert s3.keys(bucket) == ["a.png", "a_x2.png", "large/a_x2.png"]


@needs_s3
def test_from_disk_to_a_store_and_back(run: Run, s3: Proxy, bucket: str):
    for seed, name in enumerate(("a.png", "p/b.png")):
        save(f"in/{name}", noise(h=6, w=7, seed=seed))
    assert run("in", "-r", "-o", f"s3://{bucket}/out/")[-1] == "2 of 2 pictures done"
    assert s3.keys(bucket) == ["out/a_x2.png", "out/p/b_x2.png"]
    again = run("in", "-r", "-o", f"s3://{bucket}/out/")
    assert again[-1] == "0 of 2 pictures done, 2 skipped"
    for name in s3.keys(bucket):
        s3.put(bucket, name.replace("out", "in").replace("_x2", ""), s3.get(bucket, name))
    assert run(f"s3://{bucket}/in", "-r", "-o", "back")[-1] == "2 of 2 pictures done"
    names = sorted(str(path) for path in Path("back").rglob("*.png"))
    assert names == ["back/a_x2.png", "back/p/b_x2.png"]
    assert Path(names[0]).read_bytes() == enlarged(run, s3.get(bucket, "in/a.png"))
    assert run(f"s3://{bucket}/in", "-r", "-o", "back")[-1] == "0 of 2 pictures done, 2 skipped"


@needs_s3
def test_a_glob_in_a_bucket(run: Run, s3: Proxy, bucket: str):
    for seed, name in enumerate(("a1.png", "a2.png", "b.png", "p/a3.png", "p/q/a4.png")):
        s3.put(bucket, f"in/{name}", picture(seed, 4, 4))
    assert run(f"s3://{bucket}/in/a*.png", "-o", f"s3://{bucket}/flat")[-1].startswith("2 of 2 ")
    assert run(f"s3://{bucket}/in/**/a?.png", "-o", "deep/")[-1].startswith("4 of 4 ")
    made = sorted(path.name for path in Path("deep").iterdir())
    assert made == [f"a{n}_x2.png" for n in (1, 2, 3, 4)]
    assert run(f"s3://{bucket}/none*.png", code=1) == [
        f"error: no picture matches s3://{bucket}/none*.png."
    ]


@needs_s3
def test_shards_of_a_bucket_are_those_of_the_same_folder(run: Run, s3: Proxy, bucket: str):
    names = [f"{folder}{n}.png" for folder in ("", "p/", "p/q/") for n in range(4)]
    for seed, name in enumerate(names):
        s3.put(bucket, f"in/{name}", picture(seed, 4, 4))
        save(f"in/{name}", noise(h=4, w=4, seed=seed))
    for k in (2, 1, 3):
        here = run("in", "-r", "-o", "out", "--shard", f"{k}/3")
        there = run(f"s3://{bucket}/in", "-r", "-o", f"s3://{bucket}/out", "--shard", f"{k}/3")
        assert sorted(there) == sorted(
            re.sub(r"\b(in|out)/", rf"s3://{bucket}/\1/", each) for each in here
        )
    made = {key: s3.get(bucket, key) for key in s3.keys(bucket) if key.startswith("out/")}
    assert made == {str(path): path.read_bytes() for path in Path("out").rglob("*.png")}


@needs_s3
def test_a_manifest_names_objects(run: Run, s3: Proxy, bucket: str):
    for seed, name in enumerate(("a.png", "p/b.png", "c.png")):
        s3.put(bucket, f"in/{name}", picture(seed, 4, 4))
    Path("list").write_text(f"a.png\np/b.png\ts/B.webp\ns3://{bucket}/in/c.png\ngone.png\n")
    command = [f"s3://{bucket}/in", "--manifest", "list", "-o", f"s3://{bucket}/out"]
    lines = run(*command, code=1)
    assert (
        lines[-2]
        == "error: list, line 4: s3://" + f"{bucket}/in/gone.png does not exist; check the name."
    )
    made = [key for key in s3.keys(bucket) if key.startswith("out")]
    assert made == ["out/a_x2.png", "out/c_x2.png", "out/s/B.webp"]
    s3.put(bucket, "in/gone.png", picture(9, 4, 4))
    assert run(*command)[-1] == "1 of 4 pictures done, 3 skipped"
    Path("list").write_text(f"s3://{bucket}/in/a.png\ns3://{bucket}/in/x//y.png\n")
    said = run("--manifest", "list", code=1)
    assert "list, line 2: " in said[0]
    assert "has a part in its name that is empty" in said[0]
    Path("list").write_text(f"s3://{bucket}/in/a.png\n")
    assert run("--manifest", "list") == [
        f"s3://{bucket}/in/a.png -> s3://{bucket}/in/a_x2.png",
        "1 of 1 picture done",
    ]


def test_objects_in_memory_and_files_by_their_address(run: Run, here: Path):
    save("in/a b.png")
    assert run(f"file://{here}/in/a%20b.png", "-o", "memory://m/a.png") == [
        f"{here}/in/a b.png -> memory://m/a.png"
    ]
    assert run("memory://m/a.png", "-o", f"file://{here}/out/b.png") == [
        f"memory://m/a.png -> {here}/out/b.png"
    ]
    assert run("memory://m", "-o", "memory://n/")[-1] == "1 of 1 picture done"
    assert run(f"file://{here}/in", "-o", f"file://{here}/made")[-1] == "1 of 1 picture done"
    assert Path("made/a b_x2.png").is_file()
    large = stores.locate("memory://n/a_x2.png")
    assert isinstance(large, stores.ObjectPath)
    stores.download(large, Path("got.png"), most_bytes=10**6, is_wanted=lambda _: True)
    assert Path("got.png").read_bytes() == Path("out/b.png").read_bytes()


@needs_s3
def test_previews_and_forecasts_of_objects(run: Run, s3: Proxy, bucket: str, tiny_file: Path):
    s3.put(bucket, "in/a.png", picture())
    s3.put(bucket, "in/broken.png", b"no picture")
    command = ["upscale", "-m", str(tiny_file), f"s3://{bucket}/in", "-o", f"s3://{bucket}/out"]
    result = CliRunner().invoke(cli.app, [*command, "--dry-run", "--json"])
    assert result.exit_code == 1
    good, bad, _ = map(json.loads, result.stdout.splitlines())
    assert (good["source"], good["width"]) == (f"s3://{bucket}/in/a.png", 28)
    assert bad["message"].startswith(f"s3://{bucket}/in/broken.png: not a picture")
    assert s3.keys(bucket) == ["in/a.png", "in/broken.png"]
    run(f"s3://{bucket}/in", "-o", f"s3://{bucket}/out", "--preview", code=1)
    assert s3.keys(bucket)[-1] == "out/a_x2_preview.png"


@needs_s3
def test_streams_and_stores(s3: Proxy, bucket: str, tiny_file: Path, monkeypatch):
    s3.put(bucket, "a.png", picture())
    command = ["upscale", "-m", str(tiny_file), f"s3://{bucket}/a.png", "-o", "-"]
    made = CliRunner().invoke(cli.app, command)
    assert made.stdout_bytes.startswith(b"\x89PNG")
    command = ["upscale", "-m", str(tiny_file), "-", "-o", f"s3://{bucket}/b.png"]
    result = CliRunner().invoke(cli.app, command, input=made.stdout_bytes)
    assert result.stderr.startswith(f"standard input -> s3://{bucket}/b.png")
    assert s3.get(bucket, "b.png").startswith(b"\x89PNG")


# ------------------------------------------------------------------------------ what goes wrong


@needs_s3
@pytest.mark.parametrize("fault", ["503", "cut", "drop", "429"])
def test_what_fails_for_a_while_is_asked_again(run: Run, s3: Proxy, bucket: str, fault: str):
    content = picture(h=40, w=40)
    s3.put(bucket, "a.png", content)
    s3.fault = first(2, fault, "GET", "/a.png")
    run(f"s3://{bucket}/a.png", "-o", f"s3://{bucket}/b.png")
    assert s3.get(bucket, "b.png") == enlarged(run, content)
    if fault != "cut":  # an answer to PUT has no body
        s3.fault = first(2, fault, "PUT", "/c.png")
        run(f"s3://{bucket}/a.png", "-o", f"s3://{bucket}/c.png")
        assert s3.get(bucket, "c.png") == s3.get(bucket, "b.png")


@needs_s3
def test_what_fails_for_long_is_a_sentence_and_stops_no_other(run: Run, s3: Proxy, bucket: str):
    for name in ("a.png", "b.png", "c.png"):
        s3.put(bucket, f"in/{name}", picture())
    s3.fault = first(999, "503", "GET", "/in/b.png")
    lines = run(f"s3://{bucket}/in", "-o", f"s3://{bucket}/out", code=1)
    assert lines[-2:] == [
        f"error: s3://{bucket}/in/b.png cannot be read: the store fails, also when asked again "
        "(503 SlowDown); start again later.",
        "2 of 3 pictures done, 1 failed",
    ]
    s3.fault = first(999, "drop", "PUT")
    said = refused(run, f"s3://{bucket}/in/b.png", "-o", f"s3://{bucket}/out/")
    assert "out/b_x2.png cannot be written: the store cannot be reached, or the conn" in said
    s3.fault = first(999, "cut", "GET", "/in/b.png")
    said = refused(run, f"s3://{bucket}/in/b.png", "-o", f"s3://{bucket}/out/")
    assert "in/b.png cannot be read: the store cannot be reached, or the connection breaks" in said
    s3.fault = first(0, "", "")
    assert run(f"s3://{bucket}/in", "-o", f"s3://{bucket}/out")[-1] == (
        "1 of 3 pictures done, 2 skipped"
    )


@needs_s3
def test_a_slow_store_is_asked_again(run: Run, s3: Proxy, bucket: str, monkeypatch):
    monkeypatch.setattr(stores, "_READ_SECONDS", 1)
    s3.put(bucket, "a.png", picture())
    s3.fault = first(1, "hang", "GET", "/a.png")
    run(f"s3://{bucket}/a.png")
    assert "a_x2.png" in s3.keys(bucket)


@needs_s3
def test_what_is_no_picture_or_too_large_is_not_read_to_its_end(
    run: Run, s3: Proxy, bucket: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stores, "PART", 1000)
    s3.put(bucket, "a.png", bytes(10**5))
    s3.put(bucket, "empty.png", b"")
    s3.put(bucket, "large.png", picture(h=100, w=100))
    assert f"s3://{bucket}/a.png: not a picture" in refused(run, f"s3://{bucket}/a.png")
    assert s3.ranges.count("bytes=0-999") == 1
    assert len([each for each in s3.ranges if each]) == 1
    said = refused(run, f"s3://{bucket}/empty.png")
    assert said == f"error: s3://{bucket}/empty.png: the file is empty."
    monkeypatch.setattr(staging, "MOST_BYTES", 2000)
    said = refused(run, f"s3://{bucket}/large.png")
    assert re.search(r"large.png has [\d,]+ bytes, more than the limit of 2,000\.$", said)


@needs_s3
def test_an_object_that_changes_while_it_is_read_is_not_mixed(
    run: Run, s3: Proxy, bucket: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stores, "PART", 1000)
    s3.put(bucket, "a.png", picture(1, 40, 40))

    def change(method: str, path: str) -> None:
        if s3.ranges[-1] == "bytes=2000-2999":
            s3.put(bucket, "a.png", picture(2, 40, 40))

    s3.fault = change
    said = refused(run, f"s3://{bucket}/a.png")
    assert said == f"error: s3://{bucket}/a.png was changed while it was read; start again."


@needs_s3
def test_an_object_that_appears_meanwhile_is_kept(run: Run, s3: Proxy, bucket: str):
    s3.put(bucket, "in/a.png", picture())

    def appear(method: str, path: str) -> None:
        if method == "PUT":
            s3.put(bucket, "out/a_x2.png", b"of somebody else")

    s3.fault = appear
    lines = run(f"s3://{bucket}/in", "-o", f"s3://{bucket}/out")
    assert lines[-1] == "0 of 1 picture done, 1 skipped"
    assert s3.get(bucket, "out/a_x2.png") == b"of somebody else"


@needs_s3
def test_a_bucket_that_is_gone(run: Run, s3: Proxy, bucket: str):
    said = "error: s3://no-such-bucket does not exist; check the name of the bucket."
    assert refused(run, "s3://no-such-bucket/in", "-r") == said
    assert refused(run, "s3://no-such-bucket/*.png") == said
    s3.put(bucket, "a.png", picture())
    assert refused(run, f"s3://{bucket}/a.png", "-o", "s3://no-such-bucket/b.png") == said
    assert refused(run, f"s3://{bucket}/gone.png") == (
        f"error: s3://{bucket}/gone.png does not exist; check the name."
    )


@needs_s3
def test_credentials(run: Run, s3: Proxy, bucket: str, monkeypatch: pytest.MonkeyPatch):
    s3.put(bucket, "a.png", picture())
    s3.fault = first(999, "403", "GET")
    said = refused(run, f"s3://{bucket}/a.png", "-o", "b.png")
    assert "a.png cannot be read: the credentials do not permit it (403 " in said
    s3.fault = first(999, "401", "GET")
    said = refused(run, f"s3://{bucket}/a.png", "-o", "b.png")
    assert "a.png cannot be read: the store refuses the credentials (401 " in said
    assert "very-secret-words" not in said
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    stores._open.cache_clear()
    pytest.importorskip("boto3", reason="boto3 is not installed (the extra `stores`)")
    said = refused(run, f"s3://{bucket}/a.png", "-o", "b.png")
    assert "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in said
    # a profile, as `aws configure` writes it
    Path("profile").write_text("[default]\naws_access_key_id = x\naws_secret_access_key = y\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "profile")
    s3.fault = first(0, "", "")
    stores._open.cache_clear()
    run(f"s3://{bucket}/a.png", "-o", "b.png")


def test_wrong_addresses(run: Run):
    save("a.png")
    said = refused(run, "hdfs://cluster/a.png")
    known = "there are file://, s3://, gs://, az://, memory://."
    assert said == f"error: hdfs://cluster/a.png: no store is known by hdfs://; {known}"
    assert known in refused(run, "a.png", "-o", "hdfs://cluster/a.png")
    assert "s3:// names no bucket" in refused(run, "s3://")
    assert "has a part in its name that is empty" in refused(run, "s3://bucket//a.png")
    assert "names another machine" in refused(run, "file://there/a.png")
    said = refused(run, "a.png", "memory://m/a.png", "-o", "out")
    assert said == (
        "error: a.png is on disk, and memory://m/a.png is in a store; enlarge them by commands of "
        "their own."
    )
    said = refused(run, "memory://m/a.png", "--name", "{stem}_{width}")
    assert "depends on the size of each picture" in said
    assert "is not read before its turn" in refused(run, "memory://m/a")


@needs_s3
def test_shards_killed_at_random_lose_nothing(
    s3: Proxy, bucket: str, tiny_file: Path, run: Run, tmp_path_factory: pytest.TempPathFactory
):
    names = [f"{n:02}.png" for n in range(24)]
    content = {name: picture(seed, 6, 6) for seed, name in enumerate(names)}
    for name in names:
        s3.put(bucket, f"in/{name}", content[name])
    s3.fault = lambda _, path: "503" if hash(path) % 7 == len(s3.asked) % 7 else None
    command = [sys.executable, "-m", "atdsr", "upscale", f"s3://{bucket}/in", "-q"]
    command += ["-m", str(tiny_file), "-o", f"s3://{bucket}/out"]
    settings = {**os.environ, "PYTHONPATH": SOURCES, "OMP_NUM_THREADS": "1"}
    settings["TMPDIR"] = str(tmp_path_factory.mktemp("left"))  # where a killed process leaves files

    def made() -> list[str]:
        return [key for key in s3.keys(bucket) if key.startswith("out/")]

    for shard in ("1/2", "2/2"):
        process = subprocess.Popen([*command, "--shard", shard], env=settings)
        before = len(made())
        enough = threading.Event()
        while not enough.wait(0.05) and process.poll() is None:
            if len(made()) >= before + 3:
                enough.set()
        process.kill()
        process.wait()
    assert 6 <= len(made()) < 24
    for shard in ("1/2", "2/2"):
        subprocess.run([*command, "--shard", shard], env=settings, check=True)
    assert made() == [f"out/{name.replace('.png', '_x2.png')}" for name in names]
    for name in names:
        key = f"out/{name.replace('.png', '_x2.png')}"
        assert s3.get(bucket, key) == enlarged(run, content[name])
