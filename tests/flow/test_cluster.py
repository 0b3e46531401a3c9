"""`atdsr cluster upscale` and `upscale_dataset` on a Ray cluster of two nodes on this machine.

Ray takes long to start where other programs run, so all tests share one cluster.
"""

import gc
import importlib
import json
import os
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

import atdsr
from atdsr import batch, cli, cluster
from atdsr.cluster import running
from atdsr.cluster.actors import UpscaleActor
from atdsr.inference import InferenceConfig
from helpers import documentation
from helpers import stores as servers
from helpers.pictures import noise
from helpers.stores import Proxy
from helpers.upscaling import Run, save

pytest.importorskip("ray", reason="Ray is not installed (the extra `ray`)")
pytestmark = [
    pytest.mark.slow,
    # of Ray itself, and what it leaves open at its end
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
    ),
]

PICTURES = 40


@pytest.fixture(scope="module")
def store() -> Iterator[Proxy | None]:
    """An S3 server, which the actors know from their environment; None if none is installed."""
    if servers.moto_server() is None:
        yield None
        return
    with servers.moto() as port, pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        yield Proxy(port, port)


@pytest.fixture(scope="module")
def nodes(store: Proxy | None) -> Iterator[Any]:
    """The cluster: a node for this process, and one beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(Path(atdsr.__file__).parents[1]))
        ray = importlib.import_module("ray")
        started = start_cluster(ray)
        ray.init(started.address, log_to_driver=False, logging_level="ERROR")
        yield started
        ray.shutdown()
        started.shutdown()
        with warnings.catch_warnings():  # Ray's sockets, of which a later test would be accused
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


def start_cluster(ray: Any) -> Any:
    """Start two nodes, for each of which Ray waits 30 s, whatever else the machine does."""
    cluster_class = importlib.import_module("ray.cluster_utils").Cluster
    room = {"num_cpus": 2, "object_store_memory": 2**27}
    reason = ""
    for _ in range(3):
        started = cluster_class()
        try:
            started.add_node(**room, include_dashboard=False)
            started.add_node(**room)
        except Exception as error:  # Ray raises just this, among others
            reason = str(error)
            ray.shutdown()
            started.shutdown()
        else:
            return started
    pytest.skip(f"Ray did not start here, three times: {reason}")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pictures(count: int = PICTURES) -> None:
    for number in range(count):
        save(f"in/{number % 3}/{number}.png", noise(3, h=6 + number, w=8, seed=number))


def content(folder: str) -> dict[str, bytes]:
    files = (path for path in Path(folder).rglob("*.png"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def told(lines: list[dict[str, Any]]) -> Counter[str]:
    return Counter(Path(line["source"]).name for line in lines)


def call(tiny_file: Path, *args: str, code: int = 0) -> Result:
    """Call `atdsr cluster upscale`, with one actor."""
    command = ["cluster", "upscale", "-m", str(tiny_file), "--actors", "1", *args]
    result = CliRunner().invoke(cli.app, command)
    assert result.exit_code == code, result.output
    return result


def test_a_cluster_makes_what_one_process_makes(
    nodes: Any, run: Run, tiny_file: Path, monkeypatch: pytest.MonkeyPatch
):
    pictures()
    Path("in/bad.png").write_bytes(b"no picture")
    run("in", "-r", "-o", "whole", code=1)
    command = ("in", "-r", "-o", "out", "--json", "--failures", "failed")
    *lines, totals = map(json.loads, call(tiny_file, *command, code=1).stdout.splitlines())
    assert content("out") == content("whole")
    assert (totals["done"], totals["failed"], totals["total"]) == (PICTURES, 1, PICTURES + 1)
    assert set(told(lines).values()) == {1}
    (failure,) = map(json.loads, Path("failed").read_text().splitlines())
    assert failure["message"].startswith(f"{Path('in/bad.png').absolute()}: not a picture")
    log = pq.read_table("out/_results").to_pylist()
    assert {row["source"]: row["outcome"] for row in log} == {
        line["source"]: line["outcome"] for line in lines
    }
    # again: what is there is skipped, and no actor is started for it
    Path("in/bad.png").unlink()
    monkeypatch.setattr(running, "actor_class", lambda _: None)
    said = call(tiny_file, "in", "-r", "-o", "out").stderr.splitlines()
    assert sum(line.endswith("exists and is kept") for line in said) == PICTURES
    assert said[-1].startswith(f"0 of {PICTURES} pictures done, {PICTURES} skipped, in ")


def test_objects_become_objects(nodes: Any, store: Proxy | None, run: Run, tiny_file: Path):
    pytest.importorskip("obstore", reason="obstore is not installed (the extra `stores`)")
    if store is None:
        pytest.skip("no S3 server is installed (pip install 'moto[server,s3]')")
    pictures(5)
    store.make_bucket("photos")
    for name, data in content("in").items():
        store.put("photos", f"in/{name}", data)
    run("in", "-r", "-o", "whole")
    call(tiny_file, "s3://photos/in", "-r", "-o", "s3://photos/out")
    made = [key for key in store.keys("photos") if key.startswith("out/")]
    assert sum(key.startswith("out/_results/") for key in made) >= 1
    pictures_made = {key.removeprefix("out/") for key in made if key.endswith(".png")}
    assert {key: store.get("photos", f"out/{key}") for key in pictures_made} == content("whole")
    again = call(tiny_file, "s3://photos/in", "-r", "-o", "s3://photos/out").stderr
    assert again.splitlines()[-1].startswith("0 of 5 pictures done, 5 skipped")


class Dying(UpscaleActor):
    """Is killed by one of the pictures, as by the end of the memory."""

    def enlarge(self, pictures: Any) -> Any:
        if any("dies" in picture.source for picture in pictures):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().enlarge(pictures)

    def enlarge_again(self, picture: Any) -> Any:
        return self.enlarge([picture])


def test_a_picture_that_ends_each_actor_fails_and_the_others_are_made(
    nodes: Any, run: Run, tiny_file: Path, monkeypatch: pytest.MonkeyPatch
):
    pictures(3)
    run("in", "-r", "-o", "whole")
    save("in/dies.png")
    importlib.import_module("ray.cloudpickle").register_pickle_by_value(sys.modules[__name__])
    dying = importlib.import_module("ray").remote(num_cpus=1, max_restarts=0)(Dying)
    monkeypatch.setattr(running, "actor_class", lambda _: dying)
    monkeypatch.setattr(running, "MOST_LOSSES", 2)
    said = call(tiny_file, "in", "-r", "-o", "out", code=1).stderr.splitlines()
    assert f"error: {Path('in/dies.png').absolute()}: 2 actors were lost with it: " in said[-2]
    assert said[-1].startswith("3 of 4 pictures done, 1 failed, in ")
    assert content("out") == content("whole")


def test_what_a_lost_node_had_is_made_by_others_and_a_run_that_ends_early_is_resumed(
    nodes: Any, run: Run, tiny_file: Path
):
    pictures()
    run("in", "-r", "-o", "whole")
    config = batch.BatchConfig(batch.Factor(2), recursive=True)
    plan = batch.plan(["in"], "out/", config)
    source = cluster.NetworkSource.read(str(tiny_file), InferenceConfig())
    where = cluster.ClusterConfig(actors=3, gpus_per_actor=0, batch=1)  # on both nodes
    results: list[batch.Result] = []
    first = cluster.run(plan, source, where)
    while len(results) < PICTURES // 2:
        results.append(next(first))
        if len(results) == 4:
            (lost,) = nodes.worker_nodes
            nodes.remove_node(lost, allow_graceful=False)
    first.close()
    while actor_processes():  # those of the lost node end by themselves
        time.sleep(0.1)
    before = len(content("out"))
    assert PICTURES // 2 <= before < PICTURES
    rest = list(cluster.run(plan, source, replace(where, actors=1)))
    outcomes = Counter(result.outcome.value for result in rest)
    assert outcomes == {"done": PICTURES - before, "skipped": before}
    assert content("out") == content("whole")
    for each in (results, rest):
        assert set(Counter(result.source for result in each).values()) == {1}


def actor_processes() -> list[psutil.Process]:
    found = psutil.process_iter(["name"])  # read at once, since some end meanwhile
    return [each for each in found if (each.info["name"] or "").startswith("ray::UpscaleAct")]


def test_actors_that_cannot_start_end_the_run_with_a_sentence(
    nodes: Any, monkeypatch: pytest.MonkeyPatch
):
    pictures(1)
    monkeypatch.setattr(running, "MOST_STARTS", 1)
    plan = batch.plan(["in"], "out/", batch.BatchConfig(batch.Factor(2), recursive=True))
    broken = cluster.NetworkSource("broken", InferenceConfig(), ".safetensors", b"no weights")
    config = cluster.ClusterConfig(actors=1, gpus_per_actor=0)
    with pytest.raises(cluster.ClusterError, match=r"no actor starts on the cluster: .*weights"):
        list(cluster.run(plan, broken, config))
    assert not Path("out").exists()


def dataset(rows: list[dict[str, Any]]) -> Any:
    made = importlib.import_module("ray.data").from_items(rows)
    made.context.execution_options.preserve_order = True
    made.context.enable_progress_bars = False
    return made


def test_a_column_of_files_becomes_another_as_the_page_says(nodes: Any, run: Run):
    pictures(4)
    Path("in").rename("photos")
    for path in list(Path("photos").glob("*/*.png")):
        path.rename(Path("photos", path.name))
    run("photos", "-o", "whole", model=None)
    (block,) = (
        each for each in documentation.blocks("docs/cluster.md") if "import ray" in each.text
    )
    exec(compile(block.text.replace("/data", str(Path.cwd())), str(block), "exec"), {})
    table = pq.read_table("large")
    assert table.schema.names == ["bytes", "large", "error"]
    assert table.schema.field("large").type == table.schema.field("bytes").type == pa.binary()
    assert sorted(table["large"].to_pylist()) == sorted(content("whole").values())
    assert set(table["error"].to_pylist()) == {""}


def test_a_column_of_arrays_becomes_another_in_order(nodes: Any, tiny_file: Path):
    from_items = importlib.import_module("ray.data").from_items
    arrays = [noise(3, h=6 + number, w=8, seed=number) for number in range(8)]
    arrays[5] = np.zeros((4, 4, 7), np.uint8)
    rows = [{"number": number, "image": array} for number, array in enumerate(arrays)]
    rows_in_order = from_items(rows, override_num_blocks=4)
    rows_in_order.context.execution_options.preserve_order = True
    made = cluster.upscale_dataset(
        rows_in_order, column="image", into="large", error="problem", model=str(tiny_file)
    )
    taken = made.take_all()
    assert [list(row) for row in taken] == [["number", "image", "large", "problem"]] * 8
    assert [row["number"] for row in taken] == list(range(8))
    upscaler = atdsr.load(tiny_file)
    for row, array in zip(taken, arrays, strict=True):
        assert row["large"].dtype == np.uint8
        if row["number"] == 5:
            assert row["large"].size == 0
            assert "7" in row["problem"]
        else:
            np.testing.assert_array_equal(row["large"], upscaler(array))
            assert row["problem"] == ""
    with pytest.raises(cluster.ClusterError, match="no column photo; it has number, image"):
        cluster.upscale_dataset(rows_in_order, column="photo")
    with pytest.raises(cluster.ClusterError, match="has a column number already"):
        cluster.upscale_dataset(rows_in_order, column="image", into="number")
