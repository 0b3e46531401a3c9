"""What TensorBoard and Weights & Biases are told of a run."""

import importlib
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from atdsr.base.reporter import Reporter
from atdsr.training.config import DataConfig, LogConfig, TrainConfig
from atdsr.training.events import Event, LogEntry, Notice, Saved, Started, Stepped, Validated
from atdsr.training.trackers import TrackerError, trackers
from helpers.networks import TINY


def settings(output: Path, **log: Any) -> TrainConfig:
    return TrainConfig(
        name="a run",
        output=output,
        network=TINY,
        iterations=100,
        data=DataConfig(train=Path("nowhere")),
        log=LogConfig(**log),
    )


def events(folder: Path, after: int, until: int, every: int = 10) -> list[Event]:
    """What a run tells from one step to another, with one validation at the end."""
    strips = folder / "validation.png"
    strips.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 12, 3), until, np.uint8)).save(strips)
    told: list[Event] = [Started(after, 100, "a run", 753, 3, "cpu", 1)]
    for step in range(after + 1, until + 1):
        told.append(Stepped(step))
        if step % every == 0:
            told.append(LogEntry(step, 1 / step, 2e-4, 0.5, 5.0, 1.0, 2**31, 1, 64, 32))
    told.append(Saved(until, folder / "state.pt"))
    figures = ({"Set5": 30.0 + until}, {"Set5": 0.9}, {"Set5": 33.0})
    told.append(Validated(until, *figures, seconds=1.0, best=True, strips=strips))
    return [*told, Notice(until, "a sentence")]


def run(wanted: TrainConfig, step: int, told: list[Event], **more: Any) -> None:
    with trackers(wanted, step, **more) as watch:
        for event in told:
            watch(event)


def test_what_is_not_asked_for_is_not_imported_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("tensorboard", "torch.utils.tensorboard", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)  # an import would fail
    output = tmp_path / "run"
    run(settings(output), 0, events(tmp_path, 0, 20))
    assert not output.exists()


# ------------------------------------------------------------------------------------- TensorBoard


def read(folder: Path) -> Any:
    """What TensorBoard itself makes of a run's folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other people's code
        accumulator = pytest.importorskip(
            "tensorboard.backend.event_processing.event_accumulator", reason="no TensorBoard"
        )
        found = accumulator.EventAccumulator(str(folder / "tensorboard"))
        found.Reload()
    return found


def points(found: Any, name: str) -> dict[int, float]:
    listed = [(point.step, point.value) for point in found.Scalars(name)]
    assert len(dict(listed)) == len(listed), "a step has two points"
    return dict(listed)


def test_tensorboard_gets_every_figure(tmp_path: Path):
    run(settings(tmp_path, tensorboard=True), 0, events(tmp_path, 0, 20))
    found = read(tmp_path)
    assert points(found, "train/loss") == pytest.approx({10: 0.1, 20: 0.05})
    assert points(found, "train/lr") == pytest.approx({10: 2e-4, 20: 2e-4})
    assert points(found, "train/gradient") == {10: 0.5, 20: 0.5}
    assert points(found, "train/skipped") == {10: 1, 20: 1}
    assert points(found, "speed/it_per_s") == {10: 2, 20: 2}
    assert points(found, "speed/data_wait") == pytest.approx({10: 0.2, 20: 0.2})
    assert points(found, "speed/memory_gib") == {10: 2, 20: 2}
    assert points(found, "psnr/Set5") == {20: 50}
    assert points(found, "ssim/Set5") == pytest.approx({20: 0.9})
    (image,) = found.Images("strips")
    assert (image.step, image.height, image.width) == (20, 8, 12)


def test_after_a_restart_no_point_is_there_twice(tmp_path: Path):
    wanted = settings(tmp_path, tensorboard=True)
    run(wanted, 0, events(tmp_path, 0, 40))  # a kill takes it back to step 20
    run(wanted, 20, events(tmp_path, 20, 60, every=5))
    found = read(tmp_path)
    assert sorted(points(found, "train/loss")) == [10, 20, 25, 30, 35, 40, 45, 50, 55, 60]
    assert points(found, "speed/it_per_s")[25] == 1  # from the step it goes on from
    assert sorted(points(found, "psnr/Set5")) == [60]


def test_without_tensorboard_a_run_goes_on_and_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    said: list[str] = []
    with trackers(settings(tmp_path, tensorboard=True), 0, Reporter(notice=said.append)) as watch:
        for event in events(tmp_path, 0, 20):
            watch(event)
    (sentence,) = said
    assert "going on without TensorBoard" in sentence
    assert "pip install 'atdsr[tensorboard]'" in sentence


def test_a_tracker_that_fails_is_left_out_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    module = importlib.import_module("torch.utils.tensorboard")
    calls: list[str] = []

    def add_scalar(self: Any, name: str, *_: Any) -> None:
        calls.append(name)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.SummaryWriter, "add_scalar", add_scalar)
    told: list[str] = []
    wanted = settings(tmp_path, tensorboard=True)
    run(wanted, 0, events(tmp_path, 0, 40), reporter=Reporter(notice=told.append))
    assert len(calls) == 1
    assert len(told) == 1
    assert "TensorBoard" in told[0]
    assert "No space left on device" in told[0]


# ------------------------------------------------------------------------------- Weights & Biases


class Online:
    """A stand-in for the module `wandb`, which takes no second point for a step either."""

    def __init__(self) -> None:
        self.inits: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, Any]]] = []
        self.ended: list[int] = []

    def module(self) -> types.ModuleType:
        module: Any = types.ModuleType("wandb")
        module.init, module.Image = self.init, lambda path: ("image", path)
        return module

    def init(self, **how: Any) -> "Online":
        warnings.warn("what libraries say", DeprecationWarning, stacklevel=1)
        self.inits.append(how)
        return self

    def log(self, figures: dict[str, Any], step: int) -> None:
        self.logged.append((step, figures))

    def finish(self, exit_code: int = 0) -> None:
        self.ended.append(exit_code)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Online:
    online = Online()
    monkeypatch.setitem(sys.modules, "wandb", online.module())
    return online


def test_wandb_gets_every_figure_under_its_step(tmp_path: Path, online: Online):
    run(settings(tmp_path, wandb="my project"), 0, events(tmp_path, 0, 20))
    (how,) = online.inits
    assert (how["project"], how["name"], how["resume"]) == ("my project", "a run", "allow")
    assert how["config"]["optim"]["lr"] == 2e-4
    assert [step for step, _ in online.logged] == [10, 20, 20]
    assert online.logged[0][1]["train/loss"] == 0.1
    assert online.logged[2][1]["psnr/Set5"] == 50
    assert online.logged[2][1]["strips"] == ("image", str(tmp_path / "validation.png"))
    assert online.ended == [0]


def test_a_restart_goes_on_with_the_same_wandb_run(tmp_path: Path, online: Online):
    for output in ("one", "one", "other"):
        run(settings(tmp_path / output, wandb="my project"), 0, [])
    first, again, other = (how["id"] for how in online.inits)
    assert first == again != other


def test_a_run_that_ends_by_an_error_is_told_as_failed(tmp_path: Path, online: Online):
    with (
        pytest.raises(ZeroDivisionError),
        trackers(settings(tmp_path, wandb="my project"), 0),
    ):
        raise ZeroDivisionError
    assert online.ended == [1]


def test_a_wandb_that_does_not_start_ends_in_a_sentence(
    tmp_path: Path, online: Online, monkeypatch: pytest.MonkeyPatch
):
    def init(**_: Any) -> None:
        raise RuntimeError("api_key not configured.\nmore")

    monkeypatch.setattr(sys.modules["wandb"], "init", init)
    with pytest.raises(TrackerError, match=r"api_key not configured\. .*WANDB_MODE=offline"):
        run(settings(tmp_path, wandb="my project"), 0, [])
    assert online.inits == []


def test_without_wandb_a_sentence_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(TrackerError, match=r"pip install 'atdsr\[wandb\]'"):
        run(settings(tmp_path, wandb="my project"), 0, [])
