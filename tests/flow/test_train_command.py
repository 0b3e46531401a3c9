"""What `atdsr train` makes of its words; the runs themselves are in `test_train.py`."""

import json
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from atdsr import cli, training
from atdsr.training import LogEntry, Notice, Started, TrainConfig, Validated, basicsr, recipes
from helpers import tables

RECIPE = """
name: mine
model: {width: 12, depths: [2], heads: [2], category_size: 256, dictionary_size: 8,
        reduced_width: 4, ffn_kernel: 3, ffn_ratio: 1, head: pixelshuffledirect}
scale: 2
iterations: 20
data: {train: nowhere, batch: 2, patch: 16}
"""


@dataclass
class Fit:
    """A stand-in for `training.fit`, which keeps what it was called with."""

    settings: TrainConfig | None = None
    device: torch.device | None = None
    stopped: bool = False

    def __call__(
        self, settings: TrainConfig, *, device: torch.device, callback: Callable[..., None]
    ) -> Path:
        self.settings, self.device = settings, device
        callback(Notice(0, "a sentence"))
        callback(Started(0, settings.iterations, settings.name, 11_330, 3, "cpu", 1))
        (settings.output / "log.jsonl").touch()
        callback(LogEntry(10, 0.25, 2e-4, 0.5, 5.0, 0.1, 2**30, 0, 16, 2))
        if self.stopped:
            raise training.StoppedError("stopped at step 10 of 20.")
        callback(Validated(20, {"A": 31.0}, {"A": 0.9}, {"A": 30.0}, 1.0, True))
        return settings.output / "weights.safetensors"


@pytest.fixture
def fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fit:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT", raising=False)
    Path("mine.yaml").write_text(RECIPE)
    stand_in = Fit()
    monkeypatch.setattr(training, "fit", stand_in)
    return stand_in


def atdsr(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.app, ["train", *arguments])
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_a_recipe_is_trained_and_kept_in_the_runs_folder(fit: Fit):
    result = atdsr("mine.yaml", "--set", "optim.lr=1e-3", "--set", "seed=7", "--device", "cpu")
    assert fit.settings is not None
    assert (fit.settings.optim.lr, fit.settings.seed) == (1e-3, 7)
    assert fit.device == torch.device("cpu")
    assert result.stdout.splitlines() == ["experiments/mine/weights.safetensors"]
    assert result.stderr.splitlines() == [
        "a sentence",
        "mine: 11,330 parameters, 3 pictures, cpu",
        "step 10/20  loss 0.2500  lr 2.00e-04  2.00 it/s  data 2.0%  1.0 GiB  eta 5 s",
        "step 20/20  A 31.00 dB (+1.00)  best so far  1 s",
    ]
    assert recipes.load("experiments/mine/recipe.yaml") == fit.settings


def test_quiet_says_nothing_but_where_the_weights_are(fit: Fit):
    result = atdsr("mine.yaml", "--quiet")
    assert result.stderr == ""
    assert result.stdout == "experiments/mine/weights.safetensors\n"


def test_where_there_is_a_best_file_it_is_named(fit: Fit):
    Path("experiments/mine").mkdir(parents=True)
    Path("experiments/mine/best.safetensors").touch()
    assert atdsr("mine.yaml").stderr.endswith("experiments/mine/best.safetensors\n")


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({0: 30.0, 10: 30.5, 20: 30.25}, " (step 10, +0.50 dB since step 0)"),
        ({5: 30.0, 20: 30.25}, " (step 20, +0.25 dB since step 5)"),
        ({0: 30.0, 20: 29.0}, "; no later step was better on average than step 0, with which "),
        ({20: 30.0}, ""),
    ],
)
def test_the_best_file_is_named_with_what_it_has_gained(
    fit: Fit, figures: dict[int, float], said: str
):
    folder = Path("experiments/mine")
    folder.mkdir(parents=True)
    (folder / "best.safetensors").touch()
    lines = [
        {"kind": "validated", "step": step, "psnr": {"A": psnr}, "ssim": {}, "bicubic": {}}
        for step, psnr in figures.items()
    ]
    text = "".join(json.dumps(line | {"seconds": 1.0, "best": False}) + "\n" for line in lines)
    (folder / "log.jsonl").write_text(text)
    line = atdsr("mine.yaml").stderr.splitlines()[-1]
    assert line.startswith(f"best weights: experiments/mine/best.safetensors{said}")
    assert said or line.endswith(".safetensors")


def test_a_stopped_run_ends_with_its_sentence_and_130(fit: Fit):
    fit.stopped = True
    result = atdsr("mine.yaml", code=130)
    assert result.stderr.endswith("stopped at step 10 of 20.\n")
    assert result.stdout == ""


def test_of_several_processes_one_speaks(fit: Fit, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "1")
    assert atdsr("mine.yaml").output == ""
    fit.stopped = True
    assert atdsr("mine.yaml", code=130).output == ""


def test_restart_keeps_the_run_that_is_there(fit: Fit, monkeypatch: pytest.MonkeyPatch):
    atdsr("mine.yaml")
    assert "experiments/mine.1" in atdsr("mine.yaml", "--restart").stderr
    assert Path("experiments/mine.1/recipe.yaml").is_file()
    assert Path("experiments/mine/recipe.yaml").is_file()
    # a process that torchrun starts again after a failure goes on, as do the others of it
    for name, value in (("TORCHELASTIC_RESTART_COUNT", "1"), ("RANK", "1")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            atdsr("mine.yaml", "--restart")
        assert not Path("experiments/mine.2").exists()


def test_a_recipe_of_the_user_in_the_folder_is_kept(fit: Fit):
    own = Path("experiments/mine/recipe.yaml")
    own.parent.mkdir(parents=True)
    own.write_text(RECIPE)
    result = atdsr("mine.yaml", code=1)
    assert (
        f"{own} exists, and experiments/mine is not the folder of a run; name another output."
        in result.stderr
    )
    assert own.read_text() == RECIPE
    assert fit.settings is None


def test_a_restart_of_nothing_is_a_start(fit: Fit):
    atdsr("mine.yaml", "--restart")
    assert [path.name for path in Path("experiments").iterdir()] == ["mine"]


def test_a_dry_run_prints_a_recipe_and_what_it_takes(fit: Fit, monkeypatch: pytest.MonkeyPatch):
    estimate: Any = types.ModuleType("estimate")
    made = types.SimpleNamespace(lines=lambda: ["11,330 parameters", "about 2 hours"])
    estimate.estimate = lambda settings, device, ranks: made
    monkeypatch.setitem(sys.modules, "atdsr.training.estimate", estimate)
    result = atdsr("mine.yaml", "--dry-run", "--set", "data.batch=4", "--restart")
    assert fit.settings is None
    assert result.stdout.splitlines()[-2:] == ["# 11,330 parameters", "# about 2 hours"]
    Path("again.yaml").write_text(result.stdout)
    assert recipes.load("again.yaml") == recipes.load("mine.yaml", ["data.batch=4"])
    assert sorted(map(str, Path().iterdir())) == ["again.yaml", "mine.yaml"]


def test_a_dry_run_warns_of_a_schedule_that_is_longer_than_the_run(
    fit: Fit, monkeypatch: pytest.MonkeyPatch
):
    estimate: Any = types.ModuleType("estimate")
    estimate.estimate = lambda *_: types.SimpleNamespace(lines=list)
    monkeypatch.setitem(sys.modules, "atdsr.training.estimate", estimate)
    result = atdsr(
        "mine.yaml", "--dry-run", "--set", "schedule.warmup=20000", "--set", "log.every=5"
    )
    said = [line.split(" and the run has ")[0] for line in result.stderr.splitlines()]
    assert said == [
        "warning: schedule.warmup is 20,000",
        "warning: save.every is 10,000",
        "warning: there is no folder nowhere; name a folder of pictures or a packed set by --data, "
        "or by data.train in the recipe.",
    ]
    assert "warning" not in result.stdout


def test_a_dry_run_warns_of_pictures_that_are_not_there(fit: Fit):
    sets = "validate.sets=[{name: kept out, hr: gone}]"
    result = atdsr("mine.yaml", "--dry-run", "--set", sets, "--set", "data.lr=none")
    first, second = result.stderr.splitlines()[-2:]
    assert first.startswith("warning: there is no folder nowhere; name a folder of pictures or a")
    assert second.startswith("warning: the test set 'kept out' cannot be used: gone does not exist")


def test_a_dry_run_warns_of_a_folder_without_pictures(fit: Fit):
    Path("empty").mkdir()
    result = atdsr("mine.yaml", "--dry-run", "--data", "empty")
    assert result.exit_code == 0, result.output
    assert "warning: empty holds no pictures; name the folder of the HR pictures." in result.stderr
    assert not Path("empty.packed_x2").exists()


def test_a_loss_of_the_users_in_the_current_folder(fit: Fit, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    words = ("mine.yaml", "--set", "loss.kind=own:loss")
    assert "--allow-code" in atdsr(*words, code=1).stderr
    assert fit.settings is None
    assert str(Path.cwd()) not in sys.path
    atdsr(*words, "--allow-code")
    assert fit.settings is not None
    assert fit.settings.loss.kind == "own:loss"
    assert sys.path[-1] == str(Path.cwd())


def test_an_option_file_is_trained_and_its_notes_are_said(
    fit: Fit, monkeypatch: pytest.MonkeyPatch
):
    def read_training(
        path: Path, overrides: list[str], *, allow_code: bool
    ) -> basicsr.TrainingOptions:
        assert path == Path("options.yml")
        return basicsr.TrainingOptions(recipes.load("mine.yaml", overrides), ("a note",))

    monkeypatch.setattr(basicsr, "read_training", read_training)
    result = atdsr("-opt", "options.yml", "--set", "seed=5")
    assert result.stderr.startswith("a note\n")
    assert fit.settings is not None
    assert fit.settings.seed == 5
    assert atdsr("-opt", "options.yml", "-q").stderr == ""


@pytest.mark.parametrize("arguments", [[], ["mine.yaml", "-opt", "options.yml"]])
def test_a_recipe_or_an_option_file_is_named(fit: Fit, arguments: list[str]):
    assert "--list" in atdsr(*arguments, code=2).stderr
    assert fit.settings is None


def test_a_wrong_recipe_ends_in_a_sentence_and_leaves_nothing(fit: Fit):
    said = atdsr("mine.yaml", "--set", "optim.rate=1", code=1).stderr
    assert said.startswith("error: ")
    assert "optim.rate" in said
    assert list(map(str, Path().iterdir())) == ["mine.yaml"]


def test_the_recipes_that_come_with_atdsr_are_listed(fit: Fit):
    listed = {row[0]: row[1:] for row in tables.rows(atdsr("--list").stdout)}
    assert list(listed) == list(recipes.names())
    assert listed["101_ATD_light_SRx2_scratch"][:6] == [
        *("atd-light", "x2", "500,000", "32", "64", "0.0005")
    ]
    assert listed["102_ATD_light_SRx3_finetune"][6] == "101_ATD_light_SRx2_scratch"


@pytest.mark.parametrize(("local", "voices"), [("0", 1), ("1", 0)])
def test_an_error_is_told_once_on_every_machine(
    fit: Fit, monkeypatch: pytest.MonkeyPatch, local: str, voices: int
) -> None:
    """The folder that is missing may be missing on the second machine alone."""
    monkeypatch.setenv("RANK", "9")
    monkeypatch.setenv("LOCAL_RANK", local)
    assert atdsr("gone.yaml", code=1).stderr.count("error: there is no recipe gone.yaml") == voices
    assert fit.settings is None
