"""`atdsr upscale` with bad weights, interrupts and closed streams."""

import os
import pickle
import signal
import sys
from pathlib import Path

import pytest
import torch

from atdsr import cli, imaging
from atdsr.base import interrupts, memory
from atdsr.cli import upscaling
from atdsr.weights import Weights, models, write_weights
from helpers.networks import TINY, lively
from helpers.pictures import noise
from helpers.upscaling import Run, refused, save, start, temporaries


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Bad weights


class RunsCode:
    """An object that leaves a file behind when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch code-has-run",)


@pytest.mark.parametrize("zipped", [False, True])
def test_weights_that_would_run_code_do_not(run: Run, zipped: bool):
    if zipped:
        torch.save({"params_ema": RunsCode()}, "evil.pth")
    else:
        Path("evil.pth").write_bytes(pickle.dumps({"params_ema": RunsCode()}))
    save("a.png")
    assert "evil.pth" in refused(run, "a.png", model="evil.pth")
    assert not Path("code-has-run").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_damaged_weights(run: Run, suffix: str):
    path = Path(f"cut{suffix}")
    write_weights(Weights(TINY, lively(TINY).state_dict()), path)
    whole = path.read_bytes()
    save("a.png")
    for content in (whole[: len(whole) // 2], b"", b"\0" * 100):
        path.write_bytes(content)
        assert path.name in refused(run, "a.png", model=path)


def test_weights_of_another_architecture(run: Run):
    torch.save({"params": {"conv1.weight": torch.zeros(3, 3, 1, 1)}}, "other.pth")
    save("a.png")
    assert "other.pth: these are not the weights of an ATD" in refused(
        run, "a.png", model="other.pth"
    )


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("missing.pth", "missing.pth does not exist"),
        ("atd-lihgt-x2", "did you mean atd-light-x2?"),
        ("here", "here is a folder"),
    ],
)
def test_models_that_are_not_there(run: Run, model: str, words: str):
    Path("here").mkdir()
    assert words in refused(run, save("a.png"), model=model)


def test_scales_that_do_not_fit(run: Run, monkeypatch: pytest.MonkeyPatch):
    save("a.png")
    assert "enlarges by 2, not by 3" in refused(run, "a.png", "--scale", "3")
    monkeypatch.setattr(models, "BUNDLED", models.BUNDLED[:1])
    assert "no model for scale 4" in refused(run, "a.png", "--scale", "4", model=None)


# Interrupts and closed streams


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished_and_nothing_else(tiny_file: Path):
    save("in/a.png")
    save("in/b.png", noise(3, h=300, w=300))
    save("in/c.png")
    process = start(
        *("upscale", "in", "-o", "out", "-m", str(tiny_file)),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("in/a.png -> out/a_x2.png  ")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert "Traceback" not in said
    assert "interrupted: 1 of 3 pictures done, in " in said.splitlines()[-1]
    assert process.returncode == 130
    assert list(Path("out").iterdir()) == [Path("out/a_x2.png")]


def test_ctrl_c_in_the_middle_of_writing(run: Run, monkeypatch: pytest.MonkeyPatch):
    def interrupt(_: int) -> None:
        assert temporaries()
        raise KeyboardInterrupt

    save("a.png")
    monkeypatch.setattr(os, "fsync", interrupt)
    assert run("a.png", code=130) == ["interrupted: 0 of 1 picture done"]
    assert list(Path().iterdir()) == [Path("a.png")]


def test_ctrl_c_before_the_work(run: Run, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(upscaling, "load_upscaler", interrupt)
    save("a.png")
    assert run("a.png", code=130) == ["interrupted"]


def test_without_stdin_stdout_and_stderr(tiny_file: Path, monkeypatch: pytest.MonkeyPatch):
    save("a.png")
    for stream in ("stdin", "stdout", "stderr"):  # None is what a closed one is for Python
        monkeypatch.setattr(sys, stream, None)
    monkeypatch.setattr(sys, "argv", ["atdsr", "upscale", "a.png", "-m", str(tiny_file)])
    monkeypatch.setattr(memory, "keep_freed_memory", lambda: False)
    monkeypatch.setattr(interrupts, "install_handlers", lambda: None)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    assert imaging.read("a_x2.png").height == 20
