"""The loop: exact restart, a hand-written step, and runs that cannot go on."""

import copy
import dataclasses
import errno
import json
import math
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from atdsr import datasets
from atdsr.base import memory
from atdsr.base.files import FileError
from atdsr.base.reporter import Reporter
from atdsr.datasets import Crops, PackedSet
from atdsr.network.kernels import gpu
from atdsr.network.model import ATD
from atdsr.network.unet import Network
from atdsr.training import (
    Event,
    LogEntry,
    Notice,
    Stepped,
    StoppedError,
    TrainConfig,
    TrainingError,
    Validated,
    checkpoints,
    fit,
    loop,
    trainer,
)
from atdsr.training.distributed import Distributed
from atdsr.training.step import TrainStep, build_optimizers
from atdsr.training.trainer import Trainer
from atdsr.weights import (
    WRITE_SUFFIXES,
    Weights,
    WeightsError,
    models,
    read_tensors,
    read_weights,
    write_weights,
)
from helpers.networks import TINY, lively
from helpers.training_runs import (
    assert_same,
    assert_same_run,
    changed,
    packed,
    pictures,
    state_of,
    tiny_config,
)

ALONE = Distributed(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tmp_path_factory.mktemp("training"))


@pytest.fixture
def settings(train: Path, tmp_path: Path) -> TrainConfig:
    return tiny_config(train, tmp_path / "run")


def stop_after(step: int):
    def watch(event: Event) -> None:
        if isinstance(event, LogEntry) and event.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return watch


def told(settings: TrainConfig) -> list[str]:
    said: list[str] = []
    fit(
        settings,
        callback=lambda event: said.append(event.text) if isinstance(event, Notice) else None,
    )
    return said


def losses(settings: TrainConfig, device: str = "cpu") -> list[float]:
    found: list[float] = []
    fit(
        settings,
        device=device,
        callback=lambda event: found.append(event.loss) if isinstance(event, LogEntry) else None,
    )
    return found


def save_start(path: Path, model: Network | None = None) -> Network:
    model = model or lively(TINY)
    write_weights(Weights(model.config, model.state_dict()), path)
    return model


def test_a_notice_about_unchecked_kernels_is_an_event(
    settings: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "notice_once", lambda device: f"unchecked on {device}")
    assert "unchecked on cpu" in told(changed(settings, iterations=1))


# ---------------------------------------------------------------------------------------- restart


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "half"), [("adamw", 20), ("muon", 6)])
def test_train_40_is_train_20_and_resume_20(
    train: Path, tmp_path: Path, optimizer: str, half: int
) -> None:
    whole = tiny_config(
        train,
        tmp_path / "whole",
        iterations=2 * half,
        optim={"name": optimizer},
        save={"every": 100},
        schedule={"milestones": [4, half + 3]},
        stages=[{"after": 5, "patch": 17, "batch": 3}, {"after": half, "patch": 12, "batch": 1}],
    )
    fit(whole)
    parted = changed(whole, output=tmp_path / "parted")
    with pytest.raises(StoppedError, match=f"stopped at step {half} of {2 * half}"):
        fit(parted, callback=stop_after(half))
    assert state_of(parted)["step"] == half
    fit(parted)
    assert_same_run(parted, whole)
    for name in (trainer.WEIGHTS, trainer.OFFICIAL):
        assert_same(*(read_tensors(each.output / name)[0] for each in (parted, whole)))


@pytest.mark.slow
def test_degraded_crops_are_the_same_after_a_restart(train: Path, tmp_path: Path) -> None:
    whole = tiny_config(train, tmp_path / "whole", data={"degradation": "realesrgan"})
    fit(whole)
    parted = changed(whole, output=tmp_path / "parted")
    with pytest.raises(StoppedError):
        fit(parted, callback=stop_after(2))
    fit(parted)
    assert_same_run(parted, whole)
    clean = tiny_config(train, tmp_path / "clean")
    fit(clean)
    ours, theirs = (read_tensors(each.output / trainer.WEIGHTS)[0] for each in (whole, clean))
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
def test_a_damaged_state_costs_one_interval(train: Path, tmp_path: Path) -> None:
    whole, damaged = (tiny_config(train, tmp_path / name) for name in ("whole", "damaged"))
    fit(whole)
    with pytest.raises(StoppedError):
        fit(damaged, callback=stop_after(3))
    newest = max((damaged.output / trainer.CHECKPOINT_FOLDER).iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    said = told(damaged)
    assert any("damaged" in text and newest.name in text for text in said)
    assert_same_run(damaged, whole)


@pytest.mark.slow
def test_a_stop_between_two_lines_of_the_log_adds_one(settings: TrainConfig) -> None:
    """Else the time since the last line would be lost."""
    settings = changed(settings, iterations=9, log={"every": 4})

    def stop_after_6(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError):
        fit(settings, callback=stop_after_6)
    fit(settings)
    records = map(json.loads, (settings.output / "log.jsonl").read_text().splitlines())
    assert [each["step"] for each in records if each["kind"] == "line"] == [4, 6, 8, 9]


@pytest.mark.slow
def test_a_finished_run_is_left_as_it_is(settings: TrainConfig) -> None:
    fit(settings)
    before = {path: path.stat().st_mtime_ns for path in settings.output.rglob("*.pt*")}
    assert losses(settings) == []
    assert {path: path.stat().st_mtime_ns for path in settings.output.rglob("*.pt*")} == before


@pytest.mark.slow
def test_a_restart_says_what_was_changed(settings: TrainConfig) -> None:
    with pytest.raises(StoppedError):
        fit(settings, callback=stop_after(2))
    said = told(changed(settings, optim={"lr": 5e-4}, iterations=6))
    assert [text for text in said if "other settings" in text] == [
        "going on with other settings than before: iterations is 6, was 4.",
        "going on with other settings than before: optim.lr is 0.0005, was 0.001.",
    ]
    assert state_of(settings)["step"] == 6


def test_a_state_of_an_earlier_version_lacks_settings(settings: TrainConfig) -> None:
    """Which were what the defaults are now."""
    fit(changed(settings, iterations=1))
    state = state_of(settings)
    for section, key in (("optim", "eps"), ("data", "mixup"), ("network", "code_width")):
        del state["settings"][section][key]
    said: list[str] = []
    Trainer(settings, ALONE, Reporter(notice=said.append))._restore(state)
    assert [text for text in said if "other settings" in text] == [
        "going on with other settings than before: iterations is 4, was 1."
    ]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_restart_goes_by_the_new_settings_of_the_optimizer(
    settings: TrainConfig, optimizer: str
) -> None:
    before = changed(settings, iterations=1, optim={"name": optimizer})
    fit(before)
    again = Trainer(changed(before, optim={"betas": [0.5, 0.6], "weight_decay": 0.25}), ALONE)
    again.start()
    groups = [group for each in again._optimizers for group in each.param_groups]
    assert [group["weight_decay"] for group in groups] == [0.25] * len(groups)
    assert tuple(groups[-1]["betas"]) == (0.5, 0.6)
    gathered = [dict(each.state_dict()["state"]) for each in again._optimizers]
    assert_same(gathered, [dict(each["state"]) for each in state_of(before)["optimizers"]])


def test_a_restart_leaves_the_learning_rate_where_a_recorded_step_reads_it(
    settings: TrainConfig,
) -> None:
    fit(changed(settings, iterations=1))
    again = Trainer(settings, ALONE)
    rate = torch.zeros(())
    groups = [group for each in again._optimizers for group in each.param_groups]
    for group in groups:
        group["lr"] = rate
    again.start()
    groups = [group for each in again._optimizers for group in each.param_groups]
    assert all(group["lr"] is rate for group in groups)


@pytest.mark.slow
def test_weights_that_were_deleted_are_written_again(settings: TrainConfig) -> None:
    weights = fit(settings)
    content = weights.read_bytes()
    weights.unlink()
    assert fit(settings) == weights
    assert weights.read_bytes() == content


@pytest.mark.slow
def test_a_run_that_is_past_its_end_ends(settings: TrainConfig) -> None:
    fit(settings)
    assert losses(changed(settings, iterations=3)) == []
    assert state_of(settings)["step"] == 4


@pytest.mark.parametrize(
    "change", [{"network": {"width": 24}}, {"optim": {"name": "muon"}}], ids=["network", "optim"]
)
def test_the_state_of_another_run_is_refused(settings: TrainConfig, change: dict) -> None:
    fit(changed(settings, iterations=1))
    before = state_of(settings)
    with pytest.raises(TrainingError, match="holds a run of another network or optimizer"):
        fit(changed(settings, **change))
    assert_same(state_of(settings), before)


def test_a_run_from_before_tokens_were_sorted_in_blocks(
    settings: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(changed(settings, iterations=1))
    state = state_of(settings)
    assert state["settings"]["network"].pop("category_block") is None
    monkeypatch.setattr(checkpoints, "load", lambda *_: state)
    fit(changed(settings, iterations=2))
    with pytest.raises(TrainingError, match="holds a run of another network"):
        fit(changed(settings, iterations=3, network={"category_block": 32}))


@pytest.mark.slow
def test_a_second_process_keeps_out(settings: TrainConfig) -> None:
    def start_another(event: Event) -> None:
        if isinstance(event, LogEntry) and event.step == 2:
            with pytest.raises(TrainingError, match="another process trains in"):
                fit(settings)

    fit(settings, callback=start_another)
    assert state_of(settings)["step"] == 4


@pytest.mark.slow
def test_what_a_kill_left_half_written_is_swept(settings: TrainConfig) -> None:
    for part in (".", trainer.CHECKPOINT_FOLDER, trainer.MODELS, "validation"):
        (settings.output / part).mkdir(parents=True, exist_ok=True)
        (settings.output / part / ".0123456789abcdef.part").touch()
    fit(settings)
    assert not list(settings.output.rglob("*.part"))


def test_training_off_the_main_thread_leaves_signals_alone(settings: TrainConfig) -> None:
    before = signal.getsignal(signal.SIGTERM)
    done = []
    thread = threading.Thread(target=lambda: done.append(fit(settings)))
    thread.start()
    thread.join()
    assert done == [settings.output / trainer.WEIGHTS]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_ctrl_c_does_not_wait(settings: TrainConfig) -> None:
    before = signal.getsignal(signal.SIGINT)

    def press_twice(event: Event) -> None:
        if isinstance(event, LogEntry):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(settings, callback=press_twice)
    assert signal.getsignal(signal.SIGINT) is before


# ---------------------------------------------------------------------------------------- the step


@pytest.mark.slow
def test_two_steps_by_hand(settings: TrainConfig, tmp_path: Path) -> None:
    """The loop against its definition written out: L1, AdamW, warm-up, EMA."""
    start = save_start(tmp_path / "start.safetensors")
    settings = changed(settings, iterations=2, ema=0.9, init_from=tmp_path / "start.safetensors")
    fit(settings)
    model = copy.deepcopy(start)
    average = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], betas=(0.9, 0.9), weight_decay=0
    )
    crops = Crops(PackedSet(settings.data.train, 2), settings.seed)
    for step in (1, 2):
        optimizer.param_groups[0]["lr"] = 1e-3 * step / 2
        lr, hr = (x.float() / 255 for x in crops.batch(range(2 * step - 2, 2 * step), 16))
        optimizer.zero_grad()
        F.l1_loss(model(lr), hr).backward()
        optimizer.step()
        average = [
            0.9 * a + 0.1 * p.detach() for a, p in zip(average, model.parameters(), strict=True)
        ]
    averaged = copy.deepcopy(model)
    torch.nn.utils.vector_to_parameters(
        torch.nn.utils.parameters_to_vector(average), averaged.parameters()
    )
    state, image = state_of(settings), torch.rand(1, 3, 16, 16)
    # not the parameters: where a gradient is zero but for rounding (a bias of keys), Adam steps
    # in a random direction, which changes nothing
    with torch.no_grad():
        for key, expected in (("model", model), ("average", averaged)):
            trained = ATD(TINY)
            trained.load_state_dict(state[key])
            assert torch.allclose(trained(image), expected(image), atol=1e-5)
            assert not torch.allclose(trained(image), start(image), atol=1e-3)


@pytest.mark.slow
def test_training_lowers_the_loss(settings: TrainConfig) -> None:
    found = losses(changed(settings, iterations=40, save={"every": 40}, log={"every": 10}))
    assert found[-1] < 0.7 * found[0]
    loaded = read_weights(settings.output / trainer.WEIGHTS)
    assert loaded.config == TINY
    assert_same(loaded.state, dict(state_of(settings)["average"]))


@pytest.mark.slow
def test_parts_of_a_batch_add_up_to_the_whole(train: Path, tmp_path: Path) -> None:
    curves = [
        losses(
            tiny_config(
                train,
                tmp_path / str(size),
                precision="fp64",
                data={"batch": 5, "micro_batch": size},
                log={"every": 1},
            )
        )
        for size in (None, 2, 5)
    ]
    assert curves[1] == pytest.approx(curves[0], rel=1e-12)
    assert curves[2] == curves[0]


@pytest.mark.slow
def test_activation_checkpointing_and_bf16_train_the_same(train: Path, tmp_path: Path) -> None:
    plain = losses(tiny_config(train, tmp_path / "plain"))
    again = losses(tiny_config(train, tmp_path / "again", activation_checkpointing=True))
    half = losses(tiny_config(train, tmp_path / "half", precision="bf16"))
    assert again == pytest.approx(plain, rel=1e-6)
    assert half == pytest.approx(plain, rel=0.01)
    assert half != plain


def test_clipping_shortens_the_gradient(train: Path, tmp_path: Path) -> None:
    """After one step the optimizer's mean of gradients is a tenth of what it was given."""
    model = Trainer(tiny_config(train, tmp_path, optim={"clip": 1e-3, "betas": [0.9, 0.9]}), ALONE)
    batch = Crops(PackedSet(train, 2), 0).batch(range(2), 16)
    model.advance(batch)
    assert model.stats().gradient > 0.01
    (optimizer,) = model._optimizers
    means = [state["exp_avg"] for state in optimizer.state.values()]
    assert 10 * torch.nn.utils.get_total_norm(means).item() == pytest.approx(1e-3, rel=1e-3)


def test_muon_takes_the_matrices_and_adamw_the_rest(settings: TrainConfig) -> None:
    model = ATD(TINY)
    muon, adamw = build_optimizers(model, changed(settings, optim={"name": "muon"}).optim)
    of_muon = {id(p) for group in muon.param_groups for p in group["params"]}
    of_adamw = {id(p) for group in adamw.param_groups for p in group["params"]}
    assert of_muon | of_adamw == {id(p) for p in model.parameters() if p.requires_grad}
    assert not of_muon & of_adamw
    assert id(model.layers[0].qkv.weight) in of_muon
    assert id(model.layers[0].window.bias_table) in of_adamw


# ------------------------------------------------------------------------- a loss that is no number


def poisoned(model: Trainer, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    """A step in which the network's output has one number too many."""
    handle = model.model.register_forward_hook(lambda *args: args[-1] * math.inf)
    try:
        model.advance(batch)
    finally:
        handle.remove()


def test_a_step_without_a_finite_loss_changes_nothing(train: Path, tmp_path: Path) -> None:
    model = Trainer(tiny_config(train, tmp_path, skip_limit=3), ALONE)
    batch = Crops(PackedSet(train, 2), 0).batch(range(2), 16)
    model.advance(batch)

    def everything() -> list[dict[str, Any]]:
        gathered = model._optimizers[0].state_dict()["state"]
        return [model.model.state_dict(), model.average.state_dict(), gathered]

    before = copy.deepcopy(everything())
    for _ in range(2):
        poisoned(model, batch)
    assert (model.step, model.stats().skipped) == (3, 2)
    assert_same(everything(), before)
    model.advance(batch)  # a good one begins the count anew
    for _ in range(2):
        poisoned(model, batch)
    with pytest.raises(TrainingError, match="in 3 steps in a row, the last of them 7"):
        poisoned(model, batch)


def test_a_step_that_was_skipped_has_no_part_in_the_loss_of_a_line(
    settings: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the loss is finite and the gradient alone is not."""
    expected = losses(changed(settings, iterations=1, output=settings.output / "expected"))
    backward, calls = TrainStep._backward, []

    def spoilt(self: TrainStep, lr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
        loss = backward(self, lr, hr)
        calls.append(loss)
        if len(calls) == 1:
            return loss
        self._model.conv_first.weight.grad = torch.full_like(
            self._model.conv_first.weight, math.nan
        )
        return loss + 1000

    monkeypatch.setattr(TrainStep, "_backward", spoilt)
    assert losses(changed(settings, iterations=2, log={"every": 2})) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("can't allocate memory: 9 bytes")],
    ids=["cuda", "cpu"],
)
def test_a_step_that_does_not_fit_is_a_sentence(
    settings: TrainConfig, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    fit(settings)
    before = state_of(settings)

    def allocate(*_: object) -> None:
        raise error

    monkeypatch.setattr(TrainStep, "_backward", allocate)
    with pytest.raises(TrainingError, match=r"memory ran out.*data\.micro_batch"):
        fit(changed(settings, iterations=6))
    assert_same(state_of(settings), before)


def test_weights_that_are_no_numbers_are_no_beginning(
    settings: TrainConfig, tmp_path: Path
) -> None:
    sick = lively(TINY)
    with torch.no_grad():
        sick.conv_first.weight[0] = float("nan")
    save_start(tmp_path / "sick.safetensors", sick)
    with pytest.raises(WeightsError, match=r"conv_first\.weight has values that are not finite"):
        fit(changed(settings, init_from=tmp_path / "sick.safetensors"))
    assert not settings.output.exists()


def spoil_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no step find a finite gradient."""
    backward = TrainStep._backward

    def spoilt(self: TrainStep, lr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
        loss = backward(self, lr, hr)
        weight = self._model.conv_first.weight
        weight.grad = torch.full_like(weight, math.nan)
        return loss

    monkeypatch.setattr(TrainStep, "_backward", spoilt)


def files_of(settings: TrainConfig) -> dict[str, bytes]:
    """What a run has kept: its states and weights."""
    kept = (path for path in settings.output.rglob("*") if path.suffix in (".pt", *WRITE_SUFFIXES))
    return {path.name: path.read_bytes() for path in kept}


def test_a_run_that_makes_no_progress_stops(
    settings: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_steps(monkeypatch)
    with pytest.raises(TrainingError, match="no finite number in 2 steps in a row"):
        fit(changed(settings, skip_limit=2))
    assert not files_of(settings)
    line = json.loads((settings.output / "log.jsonl").read_text().splitlines()[-1])
    assert (line["kind"], line["loss"], line["gradient"], line["skipped"]) == (
        "line",
        None,
        None,
        1,
    )


@pytest.mark.slow
def test_a_run_whose_steps_were_all_skipped_has_failed(
    settings: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is new, and one that goes on; the states of the latter stay."""
    finished = changed(settings, output=settings.output.with_name("finished"))
    fit(finished)
    before = files_of(finished)
    spoil_steps(monkeypatch)
    with pytest.raises(
        TrainingError, match="no finite number in 4 steps in a row, the last of them 4"
    ):
        fit(settings)
    assert not files_of(settings)
    going_on = changed(finished, iterations=7)
    with pytest.raises(TrainingError, match="in 3 steps in a row, the last of them 7"):
        fit(going_on)
    assert files_of(going_on) == before


def test_a_stop_before_anything_was_learned_leaves_no_state(
    settings: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_steps(monkeypatch)
    with pytest.raises(StoppedError, match="at step 2 of 4; no step has changed anything, so the"):
        fit(settings, callback=stop_after(2))
    assert not files_of(settings)


@pytest.mark.slow
def test_weights_that_became_no_numbers_are_not_saved(
    settings: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(settings)
    before = files_of(settings)
    take_step = TrainStep.__call__

    def spoilt(self: TrainStep, *arguments: Any) -> None:
        take_step(self, *arguments)
        with torch.no_grad():
            self._averages[0].view(-1)[0] = math.inf

    monkeypatch.setattr(TrainStep, "__call__", spoilt)
    words = r"weights are no finite numbers after step 5 \(the first is in conv_first\.weight\)"
    with pytest.raises(TrainingError, match=words):
        fit(changed(settings, iterations=6))
    assert files_of(settings) == before
    model = Trainer(settings, ALONE)
    model._train_step._averages[0].data.fill_(math.nan)
    with pytest.raises(TrainingError, match="no finite numbers after step 0"):
        model.save_best()


@pytest.mark.parametrize(
    ("free", "change", "words"),
    [
        (1000, {}, r"weights of the network take .* and .* are free; choose a smaller model"),
        (10**6, {"data": {"batch": 5000}}, r"5,000 crops of 16x16 take .*lower data\.batch"),
        (10**6, {"stages": [{"after": 2, "patch": 500, "batch": 9}]}, r"lower stages\.0\.batch"),
    ],
)
def test_what_cannot_fit_into_memory_is_refused_at_once(
    settings: TrainConfig, monkeypatch: pytest.MonkeyPatch, free: int, change: Any, words: str
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: free)
    with pytest.raises(TrainingError, match=words):
        fit(changed(settings, **change))
    assert not settings.output.exists()


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOMEM, "Cannot allocate memory")])
def test_memory_that_runs_out_between_steps_is_a_sentence(
    settings: TrainConfig, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def draw(*_: object) -> None:
        raise error

    monkeypatch.setattr(Crops, "batch", draw)
    with pytest.raises(TrainingError, match=r"memory ran out; lower data\.micro_batch"):
        fit(settings)


# ------------------------------------------------------------------------------------ fine-tuning


def test_a_larger_scale_starts_from_a_smaller_one(settings: TrainConfig, tmp_path: Path) -> None:
    light = save_start(tmp_path / "x2.safetensors")
    settings = changed(settings, network={"scale": 3}, init_from=tmp_path / "x2.safetensors")
    said: list[str] = []
    started = Trainer(settings, ALONE, Reporter(notice=said.append))
    started.start()
    for network in (started.model, started.average):
        assert torch.equal(network.conv_first.weight, light.conv_first.weight)
        assert network.state_dict()["head.0.weight"].shape[0] == 27
    assert said == ["upsample.0.weight, upsample.0.bias of another scale: interpolated."]
    with pytest.raises(TrainingError, match=r"has no upsample\.0\.weight of its shape"):
        Trainer(changed(settings, init_strict=True), ALONE).start()


def test_what_a_file_lacks_begins_fresh_and_is_named(settings: TrainConfig, tmp_path: Path) -> None:
    save_start(
        tmp_path / "narrow.safetensors",
        lively(changed(settings, network={"ffn_kernel": TINY.ffn_kernel + 2}).network),
    )
    said: list[str] = []
    Trainer(
        changed(settings, init_from=tmp_path / "narrow.safetensors"),
        ALONE,
        Reporter(notice=said.append),
    ).start()
    (sentence,) = said
    assert "does not have layers.0.residual_group.layers.0.convffn.dwconv" in sentence
    assert sentence.endswith("these begin fresh.")


def test_both_sets_of_an_official_file_are_taken(settings: TrainConfig, tmp_path: Path) -> None:
    trained, average = lively(TINY, 1), lively(TINY, 2)
    write_weights(
        Weights(TINY, average.state_dict()), tmp_path / "net_g.pth", trained=trained.state_dict()
    )
    started = Trainer(changed(settings, init_from=tmp_path / "net_g.pth", init_strict=True), ALONE)
    started.start()
    assert_same(started.model.state_dict(), trained.state_dict())
    assert_same(started.average.state_dict(), average.state_dict())


@pytest.mark.slow
def test_a_run_starts_from_a_named_model(settings: TrainConfig) -> None:
    (model,) = models.BUNDLED[:1]
    network = dataclasses.asdict(model.config)
    changes = {"network": network, "init_from": model.name, "init_strict": True}
    started = Trainer(changed(settings, **changes), ALONE)
    started.start()
    for trained in (started.model, started.average):
        assert_same(dict(trained.state_dict()), dict(model.load().build().state_dict()))


@pytest.mark.slow
def test_a_run_leaves_a_file_that_another_starts_from(
    settings: TrainConfig, tmp_path: Path
) -> None:
    fit(settings)
    state = state_of(settings)
    following = changed(
        settings, output=tmp_path / "next", init_from=settings.output / trainer.OFFICIAL
    )
    started = Trainer(following, ALONE)
    started.start()
    assert_same(dict(started.model.state_dict()), dict(state["model"]))
    assert_same(dict(started.average.state_dict()), dict(state["average"]))


def test_weights_that_fit_nowhere_are_refused(settings: TrainConfig, tmp_path: Path) -> None:
    wide = lively(
        changed(settings, network={"width": 20, "dictionary_size": 9, "reduced_width": 5}).network
    )
    save_start(tmp_path / "wide.safetensors", wide)
    started = Trainer(
        changed(settings, init_from=tmp_path / "wide.safetensors", init_strict=True), ALONE
    )
    with pytest.raises(TrainingError, match="does not fit the network"):
        started.start()


# ------------------------------------------------------------------------------------- validation


class StandIn:
    """Gives out PSNR by a list, one figure a call."""

    figures: list[float]

    def __init__(self, *_: object) -> None:
        pass

    def measure(self, step: int, average: ATD, best: float) -> Validated:
        average(torch.rand(1, 3, 16, 16))
        psnr = self.figures.pop(0)
        return Validated(step, {"a": psnr}, {"a": 0.9}, {"a": 20.0}, 1.0, psnr > best)


@pytest.fixture
def validated(settings: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    monkeypatch.setattr(loop, "Validator", StandIn)
    return changed(settings, validate={"sets": ["a"], "every": 2}, iterations=5)


@pytest.mark.slow
def test_the_best_weights_are_kept(validated: TrainConfig) -> None:
    StandIn.figures = [30.0, 32.0, 31.0]
    found: list[Validated] = []
    fit(
        validated,
        callback=lambda event: found.append(event) if isinstance(event, Validated) else None,
    )
    assert [(each.step, each.best) for each in found] == [(2, True), (4, True), (5, False)]
    best = read_weights(validated.output / trainer.BEST).state
    official = read_weights(validated.output / trainer.OFFICIAL_BEST, category_size=256)
    assert_same(best, official.state)
    last = read_weights(validated.output / trainer.WEIGHTS).state
    assert not torch.equal(best["conv_first.weight"], last["conv_first.weight"])
    assert state_of(validated)["best"] == 32.0


@pytest.mark.slow
def test_a_fine_tuning_is_measured_before_its_first_step(
    validated: TrainConfig, tmp_path: Path
) -> None:
    save_start(tmp_path / "start.safetensors")
    StandIn.figures = [33.0, 30.0, 30.0, 30.0]
    fit(changed(validated, init_from=tmp_path / "start.safetensors"))
    assert StandIn.figures == []
    assert state_of(validated)["best"] == 33.0


@pytest.mark.slow
def test_a_stop_in_the_middle_of_a_validation(
    validated: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends soon, nothing is lost, and the next start measures what was left."""
    StandIn.figures = [30.0, 31.0, 32.0]
    measure = StandIn.measure

    def interrupted(self: StandIn, step: int, average: ATD, best: float) -> Validated:
        os.kill(os.getpid(), signal.SIGTERM)
        return measure(self, step, average, best)

    monkeypatch.setattr(StandIn, "measure", interrupted)
    with pytest.raises(StoppedError, match="stopped at step 2 of 5"):
        fit(validated)
    assert state_of(validated)["validated"] == -1
    monkeypatch.setattr(StandIn, "measure", measure)
    fit(validated)
    kinds = [
        (record["kind"], record["step"])
        for record in map(json.loads, (validated.output / "log.jsonl").read_text().splitlines())
        if record["kind"] == "validated"
    ]
    assert kinds == [("validated", 2), ("validated", 4), ("validated", 5)]


# ----------------------------------------------------------------------------------- other things


def test_missing_weights_are_named_before_pictures_are_packed(
    settings: TrainConfig, tmp_path: Path
) -> None:
    folder = pictures(tmp_path / "pictures")
    missing = tmp_path / "gone.pth"
    with pytest.raises(WeightsError, match=r"gone\.pth does not exist"):
        fit(changed(settings, data={"train": folder}, init_from=missing))
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


@pytest.mark.slow
def test_a_folder_of_pictures_is_packed_at_the_first_start(
    settings: TrainConfig, tmp_path: Path
) -> None:
    folder = pictures(tmp_path / "pictures")
    of_folder = changed(settings, data={"train": folder})
    assert [text.split(" into")[0] for text in told(of_folder)] == [
        f"packing 3 pictures of {folder}"
    ]
    again = changed(of_folder, output=tmp_path / "again")
    assert told(again) == []
    assert_same_run(again, of_folder)


@pytest.mark.parametrize("name", [trainer.WEIGHTS, trainer.OFFICIAL, "log.jsonl"])
def test_what_cannot_be_written_in_the_end_is_told_at_once(
    settings: TrainConfig, name: str
) -> None:
    (settings.output / name).mkdir(parents=True)
    with pytest.raises(FileError, match=rf"{name}: this is a folder"):
        fit(settings, callback=lambda event: pytest.fail("it began"))


def test_pictures_smaller_than_a_later_crop_are_named_at_once(settings: TrainConfig) -> None:
    settings = changed(settings, stages=[{"after": 2, "patch": 64, "batch": 1}])
    with pytest.raises(
        datasets.DataError, match=r"0\.png is 72x60, smaller than a crop of 128x128"
    ):
        fit(settings)
    assert not (settings.output / trainer.CHECKPOINT_FOLDER).exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_trains_as_the_cpu_does(train: Path, tmp_path: Path) -> None:
    curves = {
        device: losses(tiny_config(train, tmp_path / device), device) for device in ("cpu", "cuda")
    }
    assert curves["cuda"] == pytest.approx(curves["cpu"], rel=1e-3)
