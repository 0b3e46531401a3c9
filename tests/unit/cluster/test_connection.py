"""Where a command runs, and what is said where it cannot; no Ray is started here."""

import importlib
import socket
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from atdsr import cli
from atdsr.cluster import ClusterConfig, ClusterError, connected, connection
from helpers.upscaling import save


def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ray be absent, whether it is installed or not."""
    present = importlib.import_module

    def import_module(name: str) -> ModuleType:
        if name.partition(".")[0] == "ray":
            raise ModuleNotFoundError(f"No module named '{name}'")
        return present(name)

    monkeypatch.setattr(importlib, "import_module", import_module)


class Started:
    """What `ray` is for `connected`, without a cluster.

    Attributes:
        options: those of `init`.
        ended: how often it was shut down.
    """

    def __init__(self, resources: dict[str, float], problem: Exception | None = None) -> None:
        self.resources, self.problem = resources, problem
        self.options: dict[str, Any] = {}
        self.ended = 0

    def is_initialized(self) -> bool:
        return False

    def init(self, address: str, **options: Any) -> None:
        self.options = {"address": address, **options}
        if self.problem is not None:
            raise self.problem

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def shutdown(self) -> None:
        self.ended += 1


def start(monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> Started:
    ray = Started(*arguments)
    monkeypatch.setattr(connection, "import_ray", lambda: ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return ray


def refused(*options: str) -> str:
    result = CliRunner().invoke(cli.app, ["cluster", "upscale", *options])
    assert result.exit_code in (1, 2)
    assert not Path("out").exists()
    return result.stderr


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_without_ray_a_sentence_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    absent(monkeypatch)
    save("a.png")
    said = refused("a.png", "-o", "out")
    assert said.startswith("error: this needs Ray, which is not installed (No module named 'ray')")
    assert "atdsr[ray]" in said


def test_nobody_at_an_address_is_a_sentence_at_once(monkeypatch: pytest.MonkeyPatch):
    start(monkeypatch, {})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    for each in (address, f"ray://{address}"):
        with pytest.raises(ClusterError) as caught, connected(ClusterConfig(each)):
            pass
        assert str(caught.value) == (
            f"no Ray cluster is at {each}: Connection refused; check the address, or leave it out "
            "to run on this machine."
        )


def test_what_is_no_address_is_named(monkeypatch: pytest.MonkeyPatch):
    start(monkeypatch, {})
    for address in ("head", "ray://head", "head:port", ":6379", "head:70000"):
        with (
            pytest.raises(ClusterError, match="is no address of a Ray cluster; write auto, HOST"),
            connected(ClusterConfig(address)),
        ):
            pass


def test_what_ray_says_about_a_cluster_is_passed_on(monkeypatch: pytest.MonkeyPatch):
    for error in (ConnectionError("no cluster runs\nhere"), RuntimeError("Version mismatch")):
        start(monkeypatch, {}, error)
        with pytest.raises(ClusterError) as caught, connected(ClusterConfig("auto")):
            pass
        reason = str(error).partition("\n")[0]
        assert str(caught.value) == f"Ray at auto cannot be used: {reason}."


def test_ray_is_started_again_where_a_busy_machine_lets_it_give_up(monkeypatch: pytest.MonkeyPatch):
    ray = start(monkeypatch, {"CPU": 4.0}, Exception("The node timed out.\nMore."))
    with pytest.raises(ClusterError) as caught, connected(ClusterConfig()):
        pass
    assert str(caught.value) == (
        "Ray does not start on this machine: The node timed out; try again when it is less busy."
    )
    assert ray.ended == 3
    ray.problem = None
    with connected(ClusterConfig()) as complete:
        assert complete.actors == 3


def test_this_machine_is_told_to_have_room_for_all_actors(monkeypatch: pytest.MonkeyPatch):
    ray = start(monkeypatch, {"CPU": 300.0})
    with connected(ClusterConfig(actors=100, cpus_per_actor=3)) as complete:
        assert complete.actors == 100
    assert ray.options["address"] == "local"
    assert ray.options["num_cpus"] == 300
    assert ray.options["include_dashboard"] is False
    assert ray.ended == 1


@pytest.mark.parametrize(
    ("resources", "asked", "actors", "gpus"),
    [
        ({"CPU": 16}, {}, 15, 0),  # one CPU of this machine is for the process that lists
        ({"CPU": 16}, {"address": "auto"}, 16, 0),
        ({"CPU": 1}, {}, 1, 0),
        ({"CPU": 16}, {"cpus_per_actor": 4}, 3, 0),
        ({"CPU": 64, "GPU": 8}, {}, 8, 1),
        ({"CPU": 64, "GPU": 8}, {"gpus_per_actor": 0.25}, 32, 0.25),
        ({"CPU": 8, "GPU": 8}, {"gpus_per_actor": 0.25}, 8, 0.25),
        ({"CPU": 8, "GPU": 8}, {"gpus_per_actor": 0, "address": "auto"}, 8, 0),
    ],
)
def test_actors_fill_the_cluster(
    resources: dict[str, float],
    asked: dict[str, Any],
    actors: int,
    gpus: float,
    monkeypatch: pytest.MonkeyPatch,
):
    start(monkeypatch, resources)
    with connected(ClusterConfig(**asked)) as complete:
        assert (complete.actors, complete.gpus_per_actor) == (actors, gpus)


def test_impossible_numbers_are_named():
    wrong: dict[str, Any] = {"actors": 0, "batch": 0, "cpus_per_actor": 0, "gpus_per_actor": 1.5}
    for name, value in wrong.items():
        with pytest.raises(ClusterError, match=f"^{name} is "):
            ClusterConfig(**{name: value})
    assert "gpus_per_actor is 1.5" in refused("a.png", "-o", "out", "--gpus-per-actor", "1.5")


def test_wrong_commands_are_named(monkeypatch: pytest.MonkeyPatch):
    absent(monkeypatch)  # all of them are refused before Ray is asked for
    save("a.png")
    Path("list").write_text("a.png\na.png\n")
    Path("file").touch()
    for options, sentence in (
        (("a.png",), "Name the folder for the outputs with -o."),
        (("-o", "out"), "or a list with --manifest."),
        (("-", "-o", "out"), "`atdsr upscale` enlarges it"),
        (("a.png", "-o", "file"), "file/ is a file; name a folder"),
        (("none", "-o", "out", "-m", "none.pth"), "none.pth"),
        (("--manifest", "list", "-o", "out"), "a.png is there twice; delete one of them"),
        (("s4://bucket", "-o", "out"), "no store is known by s4://"),
        (("a.png", "-o", "out", "--log", "s4://bucket"), "no store is known by s4://"),
        (("a.png", "-o", "out", "--actors", "0"), "--actors"),
    ):
        assert sentence in refused(*options), options
