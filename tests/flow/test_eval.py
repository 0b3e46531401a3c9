"""`atdsr eval` as people call it: layouts, outputs, interrupted and gone on with, bad inputs."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

import atdsr
from atdsr import cli
from atdsr.evaluation import standard_sets, testsets
from atdsr.evaluation.damage import Damage
from atdsr.imaging import metrics, resample
from atdsr.weights import Weights, write_weights
from helpers.networks import TINY, TINY_U, lively

SOURCES = str(Path(atdsr.__file__).parents[1])
PAPERS = standard_sets.standard_sets()
Run = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    write_weights(Weights(TINY, lively(TINY).state_dict()), path)
    return path


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(testsets.BENCHMARKS, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture
def run(tiny_file: Path) -> Run:
    """Call `atdsr eval` with a tiny network; stdout and stderr come back."""

    def call(*args: str, code: int = 0, model: str | None = "") -> tuple[str, str]:
        named = [] if model is None else ["-m", model or str(tiny_file)]
        result = CliRunner().invoke(cli.app, ["eval", *named, "--device", "cpu", *args])
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert not list(Path().rglob(".*.part"))
        return result.stdout, result.stderr

    return call


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    def call(*args: str, **settings: Any) -> str:
        said, sentence = run(*args, code=1, **settings)
        assert not said
        assert sentence.startswith("error: ")
        assert sentence.count("\n") == 1
        return sentence

    return call


def picture(path: str | Path, width: int = 36, height: int = 30, seed: int = 0) -> np.ndarray:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(samples).save(path)
    return samples


@pytest.fixture(autouse=True)
def toy_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the papers use any three pictures, as `make_set` makes them."""
    papers = [replace(each, pictures=3, digests={}) for each in PAPERS]
    monkeypatch.setattr(standard_sets, "standard_sets", lambda: papers)


def make_set(folder: str = "Set5") -> None:
    for number, name in enumerate(("baby", "bird", "woman")):
        picture(f"{folder}/{name}.png", seed=number)


def figures(path: str) -> list[dict[str, Any]]:
    """The rows of a JSON file without what depends on the machine."""
    rows = json.loads(Path(path).read_text())["rows"]
    for row in rows:
        for each in (row, *row["pictures"]):
            assert each.pop("seconds") > 0
            each.pop("peak_bytes")
    return rows


# ---------------------------------------------------------------------------------------- outputs


def test_a_table_of_bicubic_and_a_network(run: Run):
    make_set()
    said, _ = run("--data", "Set5", "--json", "all.json", "--markdown", "table.md")
    lines = said.splitlines()
    assert lines[0].startswith("x2: PSNR-Y / SSIM-Y")
    assert [line.split()[0] for line in lines if " / 0." in line][:3] == ["bicubic", "tiny", "CARN"]
    assert any("ATD-light" in line and "38.2850 / 0.9616" in line for line in lines)
    bicubic, tiny = figures("all.json")
    assert (bicubic["model"], bicubic["set"], bicubic["scale"]) == ("bicubic", "Set5", 2)
    assert bicubic["parameters"] is None
    assert [picture["name"] for picture in tiny["pictures"]] == ["baby", "bird", "woman"]
    assert tiny["psnr_y"] == pytest.approx(np.mean([p["psnr_y"] for p in tiny["pictures"]]))
    assert f"| {bicubic['psnr_y']:.2f} / {bicubic['ssim_y']:.4f} |" in Path("table.md").read_text()
    assert not list(Path("cache").rglob("*.jsonl"))


def test_figures_are_held_to_earlier_ones(run: Run, refused: Callable[..., str]):
    make_set()
    run("--data", "Set5", "--json", "then.json")
    said, complaints = run("--data", "Set5", "--expect", "then.json", "--json", "now.json")
    assert said.splitlines()[-1] == "2 of 2 figures as expected, within 0.01 dB"
    assert not complaints
    content = json.loads(Path("then.json").read_text())
    content["rows"][1]["psnr_y"] += 0.02
    content["rows"].append({**content["rows"][0], "set": "Set14"})
    Path("then.json").write_text(json.dumps(content))
    said, complaints = run(
        "--data", "Set5", "--expect", "then.json", "--markdown", "table.md", code=1
    )
    assert said.splitlines()[-1] == (
        "1 of 2 figures as expected, within 0.01 dB; 1 more not measured"
    )
    assert complaints.startswith("error: tiny on Set5, x2: ")
    assert Path("table.md").is_file()
    Path("then.json").write_text("{}")
    assert "holds no expected figures" in refused("--data", "Set5", "--expect", "then.json")


def test_pictures_are_those_of_upscale(run: Run, tiny_file: Path):
    make_set()
    run("--data", "Set5", "--save-images", "out")
    names = sorted(str(path) for path in Path("out").rglob("*.*"))
    assert names == [
        f"out/Set5/{name}_{method}.png"
        for name in ("baby", "bird", "woman")
        for method in ("bicubic", "tiny")
    ]
    with Image.open("Set5/bird.png") as image:
        lr = resample.downscale(np.asarray(image), 2)
    Image.fromarray(lr).save("lr.png")
    upscale = ["upscale", "lr.png", "-m", str(tiny_file), "-o", "sr.png", "--device", "cpu"]
    assert CliRunner().invoke(cli.app, upscale).exit_code == 0
    with Image.open("sr.png") as ours, Image.open("out/Set5/bird_tiny.png") as saved:
        assert np.array_equal(np.asarray(ours), np.asarray(saved))


def test_ensemble_and_lanczos(run: Run, tiny_file: Path):
    make_set()
    run("--data", "Set5", "--ensemble", "--json", "all.json", model=f"lanczos,{tiny_file}")
    assert [row["model"] for row in figures("all.json")] == ["bicubic", "lanczos", "tiny+"]


def test_html(run: Run):
    make_set()
    run("--data", "Set5", "--html", "page.html")
    page = Path("page.html").read_text()
    assert "tiny" in page
    assert "woman" in page
    assert not list(Path("cache").rglob("*.png"))


def test_degraded_pictures_beside_clean_ones(run: Run, refused: Callable[..., str]):
    make_set()
    said, _ = run(
        "--data", "Set5", "--degrade", "clean,jpeg50,noise5+jpeg75", "--json", "a.json",
        model="bicubic,lanczos",
    )  # fmt: skip
    rows = {(row["set"], row["model"]): row["psnr_y"] for row in figures("a.json")}
    assert {dataset for dataset, _ in rows} == {"Set5", "Set5 jpeg50", "Set5 noise5+jpeg75"}
    assert "Set5 jpeg50" in said
    run("--data", "Set5", "--json", "b.json", model="bicubic,lanczos")
    clean = {(row["set"], row["model"]): row["psnr_y"] for row in figures("b.json")}
    assert rows["Set5", "bicubic"] == clean["Set5", "bicubic"]
    assert rows["Set5 jpeg50", "bicubic"] != rows["Set5", "bicubic"]
    lr = Damage(quality=50).apply(
        resample.downscale(np.asarray(Image.open("Set5/baby.png")), 2), ""
    )
    (baby,) = (
        score
        for row in figures("a.json")
        if (row["set"], row["model"]) == ("Set5 jpeg50", "bicubic")
        for score in row["pictures"]
        if score["name"] == "baby"
    )
    expected = metrics.psnr_y(np.asarray(Image.open("Set5/baby.png")), resample.upscale(lr, 2), 2)
    assert baby["psnr_y"] == pytest.approx(expected)
    assert "write jpeg75" in refused("--data", "Set5", "--degrade", "jpeg")


def test_scales_beside_each_other(run: Run, tiny_file: Path):
    config = replace(TINY, scale=4)
    write_weights(Weights(config, lively(config).state_dict()), "four.safetensors")
    for name in ("baby", "bird"):
        picture(f"TestDataSR/HR/Set5/x2/{name}x2.png", 36, 30)
        picture(f"TestDataSR/HR/Set5/x4/{name}x4.png", 60, 64)
    said, _ = run(
        *("--data", "TestDataSR", "--json", "all.json"), model=f"four.safetensors,{tiny_file}"
    )
    assert said.count("PSNR-Y / SSIM-Y") == 2
    rows = figures("all.json")
    assert [(row["model"], row["scale"]) for row in rows] == [
        ("bicubic-x2", 2),
        ("tiny", 2),
        ("bicubic-x4", 4),
        ("four", 4),
    ]
    assert rows[3]["pictures"][0]["width"] == 60


# ---------------------------------------------------------------------------------------- layouts


@pytest.fixture
def layouts() -> None:
    """The same pictures in a plain folder, with LR, and in the official tree."""
    for number, name in enumerate(("baby", "bird")):
        samples = picture(f"plain/Set5/{name}.png", 37, 31, number)
        picture(f"both/Set5/HR/{name}.png", 37, 31, number)
        cropped = resample.crop_to_multiple(samples, 2)
        small = Image.fromarray(resample.downscale(cropped, 2))
        for path in (
            f"official/HR/Set5/x2/{name}.png",
            f"suffixed/HR/Set5/x2/{name}x2.png",
            f"marked/HR/Set5/x2/{name}_HR_x2.png",
        ):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(cropped).save(path)
        for path in (
            f"both/Set5/LR_bicubic/X2/{name}x2.png",
            f"official/LR/LRBI/Set5/x2/{name}.png",
            f"suffixed/LR/LRBI/Set5/x2/{name}x2.png",
            f"marked/LR/LRBI/Set5/x2/{name}_LRBI_x2.png",
        ):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            small.save(path)


@pytest.mark.slow
@pytest.mark.usefixtures("layouts")
@pytest.mark.parametrize(
    "arguments",
    [
        ["both/Set5"],
        ["both/Set5", "--lr", "LR_bicubic"],
        ["both/Set5/HR", "--lr", "both/Set5/LR_bicubic/X2"],
        ["official"],
        ["official", "--lr", "official/LR/LRBI"],
        ["official/HR/Set5/x2", "--lr", "official/LR/LRBI/Set5/x2"],
        ["suffixed/HR/Set5", "--lr", "suffixed/LR/LRBI"],
        ["marked/HR/Set5/x2", "--lr", "marked/LR/LRBI"],
    ],
)
def test_every_layout_gives_the_same_figures(run: Run, arguments: list[str]):
    run("--data", "plain/Set5", "--json", "plain.json")
    run("--data", *arguments, "--json", "other.json")
    assert figures("other.json") == figures("plain.json")


def test_sets_by_name_and_several_at_once(run: Run, monkeypatch: pytest.MonkeyPatch):
    make_set("sets/Set5/HR")
    make_set("sets/BSD100")
    monkeypatch.setenv(testsets.BENCHMARKS, "sets")
    run("--data", "Set5,B100", "--json", "all.json", model="bicubic")
    assert [(row["model"], row["set"]) for row in figures("all.json")] == [
        ("bicubic", "Set5"),
        ("bicubic", "B100"),
    ]
    published = json.loads(Path("all.json").read_text())["published"]
    assert {row["set"] for row in published} == {"Set5", "B100"}


def test_a_set_of_other_pictures_stands_beside_no_published_figures(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(standard_sets, "standard_sets", lambda: PAPERS)
    make_set("Set5")
    words = ("--data", "Set5", "--json", "mine.json", "--html", "mine.html")
    said, told = run(*words, model="bicubic")
    assert "published" not in said
    assert "Your Set5 does not hold the pictures" in told
    assert "Your Set5 does not hold the pictures" in Path("mine.html").read_text()
    assert json.loads(Path("mine.json").read_text())["published"] == []


def test_an_option_file(run: Run, tiny_file: Path):
    for number, name in enumerate(("baby", "bird")):
        hr = picture(f"datasets/Set5/HR/{name}.png", 36, 30, number)
        Path("datasets/Set5/LR").mkdir(exist_ok=True)
        Image.fromarray(resample.downscale(hr, 2)).save(f"datasets/Set5/LR/{name}.png")
    options = {
        "name": "my_test",
        "model_type": "ATDModel",
        "scale": 2,
        "num_gpu": 1,
        "manual_seed": 0,
        "datasets": {
            "test_1": {
                "name": "Set5",
                "type": "PairedImageDataset",
                "dataroot_gt": "datasets/Set5/HR",
                "dataroot_lq": "datasets/Set5/LR",
                "io_backend": {"type": "disk"},
            }
        },
        "network_g": {
            "type": "ATD",
            "upscale": 2,
            "embed_dim": 12,
            "depths": [2, 2],
            "num_heads": [2, 2],
            "window_size": 16,
            "category_size": 256,
            "num_tokens": 8,
            "reducted_dim": 4,
            "convffn_kernel_size": 3,
            "mlp_ratio": 1,
            "upsampler": "pixelshuffledirect",
            "use_checkpoint": False,
        },
        "path": {"pretrain_network_g": str(tiny_file), "strict_load_g": True},
        "val": {
            "save_img": True,
            "suffix": None,
            "metrics": {
                "psnr": {"type": "calculate_psnr", "crop_border": 2, "test_y_channel": True}
            },
        },
    }
    Path("test.yml").write_text(yaml.safe_dump(options))
    run("-opt", "test.yml", "--json", "opt.json", model=None)
    assert Path("results/my_test/visualization/Set5/baby_my_test.png").is_file()
    run("--data", "datasets/Set5", "--json", "plain.json")
    ours, plain = figures("opt.json")[1], figures("plain.json")[1]
    assert ours["model"] == "my_test"
    assert ours["pictures"] == plain["pictures"]
    options["datasets"]["test_2"] = {**options["datasets"]["test_1"], "name": "Manga109"}
    options["datasets"]["test_2"]["dataroot_gt"] = "datasets/Manga109/HR"  # which many lack
    Path("test.yml").write_text(yaml.safe_dump(options))
    again = ("--overwrite", "--json", "opt.json")
    run("-opt", "test.yml", "--data", "Set5", *again, model=None)
    assert figures("opt.json")[1] == ours
    _, said = run("-opt", "test.yml", "--data", "Set14", *again, code=1, model=None)
    assert "no test set Set14; it has Set5, Manga109" in said
    _, said = run("-opt", "test.yml", *again, code=1, model=None)
    assert "datasets/Manga109/HR" in said
    run("-opt", "test.yml", "--scale", "2", code=2, model=None)


# --------------------------------------------------------------------- interrupted and gone on with


def start(*args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "atdsr", "eval", "--device", "cpu", *args],
        env={**os.environ, "PYTHONPATH": SOURCES, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def records() -> list[Path]:
    return list(Path("cache").rglob("records.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_in_the_middle(run: Run, tiny_file: Path, number: signal.Signals):
    for seed in range(16):
        picture(f"Set/{seed:02}.png", 80, 72, seed)
    command = ("--data", "Set", "-m", str(tiny_file), "--html", "page.html", "--json", "all.json")
    process = start(*command)
    while not (records() and records()[0].read_bytes().count(b"\n") >= 3):
        assert process.poll() is None, process.communicate()
    process.send_signal(number)
    _, said = process.communicate()
    assert "Traceback" not in said
    assert not Path("all.json").exists()
    done = records()[0].read_bytes().count(b"\n")
    assert 3 <= done < 32
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert said == f"interrupted after {done} of 32; the same command goes on from here\n"
    _, said = run(*command, model=None)
    assert said == f"going on after {done} of 32\n"
    assert Path("page.html").is_file()
    assert not records()
    run("--data", "Set", "--json", "whole.json")
    assert figures("all.json") == figures("whole.json")


class Baseline:
    """MATLAB's bicubic, which counts how often it is used and may interrupt."""

    def __init__(self, until: int | None = None) -> None:
        self.calls, self.until, self.original = 0, until, resample.upscale

    def __call__(self, samples: np.ndarray, scale: int) -> np.ndarray:
        if self.calls == self.until:
            raise KeyboardInterrupt
        self.calls += 1
        return self.original(samples, scale)


def test_what_is_done_is_not_done_again(run: Run, monkeypatch: pytest.MonkeyPatch):
    make_set()
    run("--data", "Set5", "--json", "whole.json")
    with monkeypatch.context() as patch:
        patch.setattr(resample, "upscale", Baseline(until=2))
        _, said = run("--data", "Set5", code=130)
    assert said == "interrupted after 4 of 6; the same command goes on from here\n"
    baseline = Baseline()
    monkeypatch.setattr(resample, "upscale", baseline)
    _, said = run("--data", "Set5", "--json", "all.json")
    assert said == "going on after 4 of 6\n"
    assert baseline.calls == 1
    assert figures("all.json") == figures("whole.json")


def test_a_bad_picture_stops_it_and_keeps_what_is_done(run: Run, refused: Callable[..., str]):
    make_set()
    Path("Set5/woman.png").write_text("no picture")
    assert "Set5/woman.png" in refused("--data", "Set5", "--json", "all.json")
    assert records()[0].read_bytes().count(b"\n") == 4
    picture("Set5/woman.png", seed=2)  # another file, another evaluation
    _, said = run("--data", "Set5", "--json", "all.json")
    assert said == ""


def test_pictures_that_are_there_when_it_stops_are_told_of(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    make_set()
    with monkeypatch.context() as patch:
        patch.setattr(resample, "upscale", Baseline(until=2))
        _, said = run("--data", "Set5", "--save-images", "out", code=130)
    there = "whose pictures are in out; the same command goes on from here"
    assert said == f"interrupted after 4 of 6, {there}\n"
    assert len(list(Path("out/Set5").iterdir())) == 4
    Path("Set5/woman.png").write_text("no picture")
    Path("Set5/bird.png").touch()
    _, said = run("--data", "Set5", "--save-images", "new", code=1)
    assert said.splitlines()[0] == f"stopped after 4 of 6, {there.replace('out', 'new')}"


def test_restart(run: Run, refused: Callable[..., str]):
    make_set()
    picture("Set5/zebra.png", 8, 8)
    assert "zebra.png, enlarged by bicubic: SSIM needs" in refused("--data", "Set5")
    _, said = run("--data", "Set5", code=1)
    assert said.startswith("going on after 6 of 8\n")
    _, said = run("--data", "Set5", "--restart", code=1)
    assert "going on" not in said


# ------------------------------------------------------------------------------------- bad inputs


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "gone"], "there is no folder 'gone' here"),
        (["--data", "empty"], "empty holds no pictures"),
        (["--data", "Set5/baby.png"], "is a file; name the folder"),
        (["--data", "Set5,Set5/../other/Set5"], "two of these test sets have one name"),
        (["--data", "mixed/Set5", "--lr", "mixed/LR"], "LR/baby.png is 9x9 and mixed/Set5/HR/baby"),
        (["--data", "Set5", "--lr", "empty"], "empty has no LR pictures of Set5 for scale 2"),
        (["--data", "Set5", "--json", "mine.json"], "mine.json: the file exists"),
        (["--data", "Set5", "--html", "empty"], "empty: this is a folder; name a file"),
        (["--data", "Set5", "--markdown", "mine.json/a.md"], "mine.json is not a folder"),
        (["--data", "Set5", "--json", "new", "--html", "new"], "two outputs have the same name"),
        (["--data", "Set5", "--save-images", "mine.json"], "mine.json is not a folder"),
        (["--data", "Set5", "--scale", "3"], "enlarges by 2, not by 3"),
        (["--data", "Set5", "--metrics", "niqe"], "no metric 'niqe'; use lpips or dists"),
        (["--data", "Set5", "-m", "atd-lite-x2"], "did you mean atd-light-x2?"),
        (["--data", "Set5", "-m", "gone.pth"], "gone.pth does not exist"),
        (["--data", "Set5", "-m", "damaged.pth"], "damaged.pth is a text, not weights"),
        (["-opt", "gone.yml"], "gone.yml"),
    ],
)
def test_what_cannot_be_done(refused: Callable[..., str], arguments: list[str], words: str):
    make_set()
    make_set("other/Set5")
    picture("mixed/Set5/HR/baby.png", 36, 30)
    picture("mixed/LR/baby.png", 9, 9)
    Path("empty").mkdir()
    Path("mine.json").write_text("mine")
    Path("damaged.pth").write_text("hello")
    before = sorted(Path().rglob("*"))
    model = None if {"-m", "-opt"} & set(arguments) else ""
    assert words in refused(*arguments, model=model)
    assert Path("mine.json").read_text() == "mine"
    assert [path for path in sorted(Path().rglob("*")) if "cache" not in path.parts] == before


def test_two_at_once(refused: Callable[..., str], run: Run, monkeypatch: pytest.MonkeyPatch):
    make_set()
    said: list[str] = []
    original = resample.upscale

    def upscale(samples: np.ndarray, scale: int) -> np.ndarray:
        if not said:
            said.append(refused("--data", "Set5"))
        return original(samples, scale)

    monkeypatch.setattr(resample, "upscale", upscale)
    run("--data", "Set5")
    assert "another process is at this very evaluation" in said[0]


# ------------------------------------------------------------------------------------- restoring


@pytest.fixture
def restoring_file() -> str:
    write_weights(Weights(TINY_U, lively(TINY_U).state_dict()), "clean.safetensors")
    return "clean.safetensors"


def test_a_network_that_restores_beside_identity(run: Run, restoring_file: str):
    make_set("CBSD68")  # of three pictures, as the toy papers have it
    said, _ = run(
        *("--data", "CBSD68", "--degrade", "noise25,jpeg10", "--json", "a.json"),
        *("--html", "a.html", "--save-images", "out"),
        model=restoring_file,
    )
    lines = said.splitlines()
    assert lines[0].strip() == "noise, colour: PSNR / SSIM"
    assert any(line.startswith("ATD-U") and "31.85" in line for line in lines)
    assert any(line.strip() == "JPEG, colour: PSNR / SSIM / PSNR-B" for line in lines)
    rows = figures("a.json")
    assert [(row["set"], row["model"], row["scale"]) for row in rows] == [
        (f"CBSD68 {damage}", model, 1)
        for damage in ("noise25", "jpeg10")
        for model in ("identity", "clean")
    ]
    page = Path("a.html").read_text("utf-8")
    assert "CBSD68 noise25" in page
    assert 'data-label="identity"' in page
    assert 'data-label="LR"' not in page
    assert len(list(Path("out").rglob("*.png"))) == 12
    said, _ = run(
        *("--data", "CBSD68", "--degrade", "noise25", "--expect", "a.json"), model=restoring_file
    )
    assert (
        said.splitlines()[-1] == "2 of 2 figures as expected, within 0.01 dB; 2 more not measured"
    )


def test_pictures_to_restore_may_be_given(run: Run, restoring_file: str):
    picture("real/HR/a.png", seed=1)
    picture("real/noisy/a.png", seed=2)
    run(
        *("--data", "real", "--lr", "real/noisy", "--json", "a.json"),
        model=f"identity,{restoring_file}",
    )
    identity, network = figures("a.json")
    assert (identity["set"], network["model"]) == ("real", "clean")
    hr, noisy = (np.asarray(Image.open(f"real/{name}/a.png"), float) for name in ("HR", "noisy"))
    assert identity["psnr"] == pytest.approx(10 * np.log10(255**2 / ((hr - noisy) ** 2).mean()))


def test_gray_pictures_are_for_networks_that_restore(run: Run):
    make_set()
    _, sentence = run("--data", "Set5", "--degrade", "gray+jpeg10", code=2)
    assert "gray+ is for networks that restore" in sentence
    run("--data", "Set5", "--degrade", "gray+jpeg10", "--json", "a.json", model="identity")
    assert [row["set"] for row in figures("a.json")] == ["Set5 gray+jpeg10"]
