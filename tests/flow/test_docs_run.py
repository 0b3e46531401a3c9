"""The commands and snippets of the documentation run, and do what the text beside them says.

Each page has a folder with small files under the names that it uses: pictures, weights, test sets,
a training run. What cannot run here says so in `NOT_RUN`; `test_docs.py` checks its options.
"""

import io
import json
import logging
import re
import shlex
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from atdsr import cli, imaging, inference
from atdsr.base import yaml_io
from atdsr.evaluation import standard_sets, testsets
from atdsr.network.config import atd_light
from atdsr.training import estimate, recipes
from atdsr.weights import Weights, models, write_weights
from helpers import documentation, logs, onnx_files, option_files
from helpers.documentation import Block
from helpers.networks import ROOT, TINY_U, lively
from helpers.pictures import noise
from helpers.servers import Server, network_file, running
from helpers.training_runs import learnable, pictures

PAGES = documentation.user_pages()
BLOCKS = [block for page in PAGES for block in documentation.blocks(page)]
ELSEWHERE = {"docs/cluster.md": "needs a Ray cluster; tests/flow/test_cluster.py"}
"""Pages whose Python blocks are run by another test."""

PYTHON = [each for each in BLOCKS if each.language == "python" and each.page not in ELSEWHERE]

NOT_RUN = {
    "INPUT...": "a synopsis",
    "NAME...": "a synopsis",
    "atdsr demo": "takes half a minute; tests/flow/test_demo.py",
    "atdsr doctor": "measures for ten seconds; tests/flow/test_doctor.py",
    "reports/sample/coffee.png": "takes a minute",
    "atdsr cluster": "needs Ray; tests/flow/test_cluster.py",
    "--expect": "compares with figures of the real test sets; tests/flow/test_eval.py",
    "DAT_light": "other people's weights; tests/unit/benchmarks/test_benchmarks.py",
    "--preview": "enlarges a small file to 33 megapixels; tests/flow/test_upscale_previews.py",
    **dict.fromkeys((".mkv", "clips -r"), "enlarges clips; tests/flow/test_upscale_clips.py"),
    "atdsr web": "serves until it is stopped; tests/flow/test_web.py",
    "atdsr export": "takes a minute; tests/flow/test_export.py",
    "--provider directml": "is on Windows; tests/unit/inference/test_onnx_network.py",
    **dict.fromkeys(
        ("s3://", "gs://", "az://"), "needs a bucket; tests/flow/test_upscale_stores.py"
    ),
    **dict.fromkeys(
        ("atdsr restore", "official/atd-u"),
        "needs the files of the authors; tests/flow/test_restore.py, tests/flow/test_eval.py",
    ),
    "community/": "needs the files of others; tests/unit/weights/test_download.py",
    "https://host/": "is an example of an address; tests/unit/weights/test_download.py",
    "models add": "needs the files of the authors; tests/flow/test_models.py",
}
"""What a command holds that is not run, and why; where it is tested instead."""

SETS = ("Set5", "Set14", "B100", "Urban100")


def save(path: Path, height: int = 14, width: int = 20, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(learnable(seed, height, width)).save(path)


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small file for every name in the documentation."""
    folder = tmp_path_factory.mktemp("stand-ins")
    for name in (
        "photo.jpg",
        "old.jpg",
        "screenshot.png",
        "a.png",
        "holiday/beach.jpg",
        "holiday/sea/a.jpg",
    ):
        save(folder / name)
    for name in ("photos/a.jpg", "photos/b.png", "uploads/a.png", "uploads/b.jpg"):
        save(folder / name)
    shutil.copytree(folder / "photos", folder / "data/photos")
    for name in ("a", "b"):
        save(folder / "photos-noisy" / f"{name}.png", seed=1)
    (folder / "list.txt").write_text("a.jpg\nb.png\n")
    frames = [Image.fromarray(learnable(seed, 14, 20)) for seed in range(2)]
    frames[0].save(folder / "in.gif", save_all=True, append_images=frames[1:], duration=70, loop=3)
    weights = models.load_weights("atd-light-x2")
    write_weights(weights, folder / "mine.pth")
    shutil.copy(folder / "mine.pth", folder / "mine.ckpt")
    denoise = Weights(TINY_U, lively(TINY_U).state_dict())
    write_weights(denoise, folder / "denoise.safetensors")
    onnx_files.nearest(folder / "atd-light-x2.onnx")
    for name in ("text", "finetune"):
        (folder / "experiments" / name).mkdir(parents=True)
        write_weights(weights, folder / "experiments" / name / "best.safetensors")
    for name in SETS:
        for number in range(2):
            save(folder / "sets" / name / "HR" / f"{number}.png", 36, 40, number)
    for name in ("PICTURES", "my/pictures", "my/held-out"):
        pictures(folder / name)
    (loss,) = (block.text for block in PYTHON if block.text.startswith("# my_losses.py"))
    (folder / "my_losses.py").write_text(loss)
    pictures(folder / "datasets/DF2K/DF2K_train_HR", height=48, width=60)
    for number in range(3):
        save(folder / f"datasets/DF2K/DF2K_train_LR_bicubic/X2/{number}x2.png", 24, 30)
    shutil.copytree(ROOT / "runs/text", folder / "runs/text")
    pictures(folder / "work/text/train", height=96, width=96)
    save(folder / "work/text/validate/HR/a.png", 36, 40)
    option_file = folder / "options/train/101_ATD_light_SRx2_scratch.yml"
    option_file.parent.mkdir(parents=True)
    option_file.write_text(yaml_io.write(option_files.options(option_file.stem)))
    shutil.copytree(folder / "datasets/DF2K", folder / "datasets/DIV2K")
    for path in (folder / "datasets/DIV2K").iterdir():
        path.rename(path.with_name(path.name.replace("DF2K", "DIV2K")))
    logs.write(folder / "experiments/text", steps=2_000, every=100)
    logs.write(folder / "experiments/my_run", steps=2_000, every=100)
    return folder


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A mirror of the official light weights, which here are random."""
    folder = tmp_path_factory.mktemp("mirror")
    with running() as server:
        for model in models.OFFICIAL:
            if model.name.startswith("official/atd-light"):
                file = network_file(folder / model.file, model.config)
                server.serve(f"{model.subfolder}/{model.file}".lstrip("/"), file)
        yield server


@pytest.fixture
def here(stand_ins: Path, mirror: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    shutil.copytree(stand_ins, folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)  # for my_losses.py
    monkeypatch.setenv(testsets.BENCHMARKS, str(folder / "sets"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("ATDSR_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("ATDSR_MIRROR", mirror.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr(estimate, "_TIME_BUDGET", 0.0)
    monkeypatch.setattr(estimate, "_MAX_TIMED_PATCH", 16)
    return folder


def atdsr(arguments: list[str], piped: bytes | None = None) -> Result:
    result = CliRunner().invoke(cli.app, arguments, input=piped)
    assert result.exit_code == 0, f"atdsr {shlex.join(arguments)}\n{result.output}"
    return result


def runnable(page: str) -> list[str]:
    """The `atdsr` lines of a page that run here."""
    lines = [
        line
        for block in documentation.blocks(page)
        if block.language == "sh"
        for line in block.commands()
        if "atdsr" in next(iter(documentation.words(line)))[0] or "| atdsr" in line
    ]
    return [line for line in lines if not any(part in line for part in NOT_RUN)]


def run_line(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the `atdsr` command of a line, with what its pipe or redirection brings."""
    piped = Path("photo.jpg").read_bytes() if "<" in line or "curl" in line else None
    with monkeypatch.context() as patch:
        for word in shlex.split(line, comments=True):
            name, is_set, value = word.partition("=")
            if not is_set or not name.isupper():
                break
            patch.setenv(name, value)
        (command,) = (words for words in documentation.words(line) if "atdsr" in words[0])
        arguments = [re.sub("^/data/", "data/", word) for word in command[1:]]
        if arguments[0] == "train" and "--dry-run" not in arguments:
            arguments.append("--dry-run")  # which reads and checks all the rest
        if arguments[0] == "upscale" and "official/" in line:
            arguments.append("--yes")
        result = atdsr(arguments, piped)
    if "-o -" in line:
        assert Image.open(io.BytesIO(result.stdout_bytes)).size == (40, 28)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)])
def test_commands_run_one_after_another(
    page: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for line in runnable(page):
        run_line(line, monkeypatch)


def test_nothing_is_left_out_in_vain() -> None:
    lines = [line for block in BLOCKS if block.language == "sh" for line in block.commands()]
    assert [part for part in NOT_RUN if not any(part in line for line in lines)] == []


# ------------------------------------------------------------------------------ what becomes what

OUTPUTS = {
    "atdsr upscale photo.jpg": ["photo_x2.jpg"],
    "atdsr upscale photo.jpg -o large.png": ["large.png"],
    "atdsr upscale photo.jpg -o large/": ["large/photo_x2.jpg"],
    "atdsr upscale photos -o large": ["large/a_x2.jpg", "large/b_x2.png"],
    "atdsr upscale photos -r -o large": [
        *("large/a_x2.jpg", "large/b_x2.png", "large/in/c_x2.png"),
    ],
    'atdsr upscale "photos/*.png"': ["photos/b_x2.png"],
    "atdsr upscale photos -f webp": ["photos/a_x2.webp", "photos/b_x2.webp"],
    "atdsr upscale photo.jpg -o large": ["large.jpg"],
    "atdsr upscale photo.jpg -o -": [],
}
"""The commands of the first table of docs/upscaling.md, and the files that they write."""


def test_the_table_of_outputs_is_the_one_that_is_tested() -> None:
    table = documentation.read("docs/upscaling.md").split("## Where the results go")[1]
    rows = [line for line in table.split("\n\n")[1].splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == list(OUTPUTS)


@pytest.mark.slow
@pytest.mark.parametrize("command", OUTPUTS)
def test_results_go_where_the_table_says(command: str, here: Path) -> None:
    save(here / "photos/in/c.png")
    before = set(here.rglob("*"))
    atdsr(shlex.split(command)[1:])
    new = {path.relative_to(here).as_posix() for path in set(here.rglob("*")) - before}
    assert sorted(name for name in new if (here / name).is_file()) == OUTPUTS[command]


# ------------------------------------------------------------------------------------- Python


def readme(names: dict[str, Any], here: Path, printed: str) -> None:
    with Image.open(here / "large.png") as large:
        assert large.size == (40, 28)
    assert names["upscaler"].model.config.scale == 2


def evaluation(names: dict[str, Any], here: Path, printed: str) -> None:
    assert [line.split()[:2] for line in printed.splitlines()] == [
        *(["bicubic", "Set5"], ["lanczos", "Set5"], ["atd-light-x2", "Set5"]),
    ]


def explain(names: dict[str, Any], here: Path, printed: str) -> None:
    assert printed.startswith("0.2 (")
    assert len(list((here / "explained").iterdir())) == 5


def exported(names: dict[str, Any], here: Path, printed: str) -> None:
    assert names["upscaler"](names["picture"]).shape == (28, 40, 3)


def animation(names: dict[str, Any], here: Path, printed: str) -> None:
    with Image.open(here / "out.webp") as picture:
        assert (picture.size, picture.n_frames) == ((40, 28), 2)  # pyright: ignore
        assert picture.info["loop"] == 4  # times in all; GIF counts the repetitions


def upscaling(names: dict[str, Any], here: Path, printed: str) -> None:
    assert names["large"].shape == (28, 40, 3)
    assert [large.dtype for large in names["larges"]] == [np.uint8] * 2


def embedded(names: dict[str, Any], here: Path, printed: str) -> None:
    with Image.open(here / "large.jpg") as large:
        assert large.size == (40, 28)
    shown = f"print(upscaler)  # {printed.strip()}"
    assert shown in documentation.read("docs/embedding.md")


def errors(names: dict[str, Any], here: Path, printed: str) -> None:
    assert printed.startswith("True broken.jpg")
    assert len(printed.splitlines()) == 1


def cancelled(names: dict[str, Any], here: Path, printed: str) -> None:
    first, *_, last = printed.splitlines()
    assert (first, last) == ("4%", "cancelled")
    assert len(printed.splitlines()) == 2
    again = names["upscaler"](names["picture"])
    assert (again == inference.load("atd-light-x2", "cpu")(names["picture"])).all()


def logged(names: dict[str, Any], here: Path, printed: str) -> None:
    assert names["logging"].getLogger("atdsr").getEffectiveLevel() == logging.INFO


def logged_in_full(names: dict[str, Any], here: Path, printed: str) -> None:
    assert names["logging"].getLogger("atdsr").getEffectiveLevel() == logging.DEBUG


def memory(names: dict[str, Any], here: Path, printed: str) -> None:
    assert re.fullmatch(r"\d\.\d GiB\n0\.\d GiB a tile\n", printed)


def restored(names: dict[str, Any], here: Path, printed: str) -> None:
    assert names["large"].shape == (28, 40, 3)
    assert not np.array_equal(names["large"], inference.load("atd-light-x2")(names["picture"]))


def evaluation_of_noise(names: dict[str, Any], here: Path, printed: str) -> None:
    (row,) = names["result"].rows
    assert (row.model, row.dataset) == ("identity", "Set5 noise25")
    assert row.psnr == pytest.approx(20.5, abs=1)


def threads(names: dict[str, Any], here: Path, printed: str) -> None:
    assert printed == "True True\n"


def loss(names: dict[str, Any], here: Path, printed: str) -> None:
    sr = torch.rand(2, 3, 8, 8, requires_grad=True)
    names["edges"](sr, torch.rand(2, 3, 8, 8)).backward()
    assert names["edges"](sr, sr) == 0


def log_of_a_run(names: dict[str, Any], here: Path, printed: str) -> None:
    assert list(names["loss"])[:2] == [100, 200]


def official(names: dict[str, Any], here: Path, printed: str) -> None:
    assert names["weights"].config == atd_light(2)


CLAIMS: dict[str, list[Callable[[dict[str, Any], Path, str], None]]] = {
    "README.md": [readme],
    "docs/embedding.md": [embedded, errors, cancelled, logged, memory, threads],
    "docs/evaluation.md": [evaluation, evaluation_of_noise],
    "docs/explain.md": [explain],
    "docs/export.md": [exported],
    "docs/models/official.md": [official],
    "docs/pictures.md": [animation],
    "docs/training.md": [loss],
    "docs/upscaling.md": [restored, logged_in_full, upscaling],
    "docs/watching.md": [log_of_a_run],
}
"""What each Python block of a page must have done, in the order of the page."""


def no_network(*_: object) -> None:
    pytest.fail("the network is used")


@pytest.mark.slow
@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_does_what_the_page_says(
    block: Block,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if block.page == "docs/embedding.md":  # which says so
        monkeypatch.setattr(socket.socket, "connect", no_network)
        monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(logging.getLogger("atdsr"), "level", logging.NOTSET)  # which they set
    monkeypatch.setattr(logging.root, "handlers", [])
    claims = CLAIMS[block.page]
    of_page = [each for each in PYTHON if each.page == block.page]
    assert len(claims) == len(of_page), f"{block.page} has another number of Python blocks"
    names: dict[str, Any] = {
        "picture": noise(3, h=14, w=20),
        "another": noise(3, h=14, w=20, seed=1),
        "imaging": imaging,
    }
    if "upscaler =" not in block.text and "upscaler" in block.text:
        names["upscaler"] = inference.load("atd-light-x2", "cpu")
    exec(compile(block.text, str(block), "exec"), names)
    claims[of_page.index(block)](names, here, capsys.readouterr().out)


# ------------------------------------------------------------------------------ recipes, JSON


RECIPES = [
    each for each in BLOCKS if each.language == "yaml" and not each.text.startswith("apiVersion:")
]  # the others are for Kubernetes


@pytest.mark.slow
@pytest.mark.parametrize("block", RECIPES, ids=str)
def test_recipes_are_read(block: Block, here: Path) -> None:
    content = yaml_io.parse(block.text)
    # pictures that are degraded have no LR, which 101 names
    is_degraded = "degradation" in content.get("data", {})
    content.setdefault("base", "finetune" if is_degraded else "101_ATD_light_SRx2_scratch")
    Path("recipe.yaml").write_text(yaml_io.write(content))
    config = recipes.load("recipe.yaml")
    assert (config.data.degradation is not None) == is_degraded
    if "every" in content.get("validate", {}):
        assert config.validation.every == content["validate"]["every"]


@pytest.mark.slow
@pytest.mark.parametrize("block", [each for each in BLOCKS if each.language == "json"], ids=str)
def test_lines_for_programs_have_the_fields_of_the_page(block: Block, here: Path) -> None:
    text, shown = block.text.strip(), []
    while text:
        value, end = json.JSONDecoder().raw_decode(text)
        shown.append(value)
        text = text[end:].lstrip()
    forecast = ["--dry-run"] if shown[0]["event"] == "forecast" else []
    said = atdsr(["upscale", "a.png", "--json", *forecast]).stdout.splitlines()
    for ours, theirs in zip(map(json.loads, said), shown, strict=True):
        assert (ours["event"], ours["format"]) == (theirs["event"], theirs["format"])
        assert list(ours) == list(theirs)


# ------------------------------------------------------------------------------------- figures


def test_digests_of_test_sets_are_those_of_the_program() -> None:
    text = documentation.read("docs/evaluation.md")
    for each in standard_sets.standard_sets():
        assert f"| {each.name}" in text
        assert each.source in text
        for scale, digest in each.digests.items():
            (row,) = (line for line in text.splitlines() if digest in line and each.name in line)
            assert str(scale) in row.split("|")[2]


def test_figures_of_the_readme_are_those_of_the_results() -> None:
    rows = json.loads((ROOT / "docs/results.json").read_text("utf-8"))["rows"]
    psnr = {(row["model"], row["scale"], row["set"]): row["psnr_y"] for row in rows}
    scale, seen = 0, 0
    for line in documentation.read("README.md").splitlines():
        cells = [cell.strip(" *`") for cell in line.strip("|").split("|")]
        if len(cells) != 6:
            continue
        scale = int(cells[0][1:]) if cells[0].startswith("x") else scale
        if "measured" not in cells[1]:
            continue
        name = cells[1].replace("*", "").split(",")[0].strip("` ")
        for set_name, figure in zip(SETS, cells[2:], strict=True):
            assert f"{psnr[name, scale, set_name]:.2f}" == figure
            seen += 1
    assert seen == 3 * 2 * 4
