"""`atdsr models`, `info`, `convert`, `--version`, the help screens and what is no command."""

import io
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import atdsr
from atdsr import cli
from atdsr.base import checkout, interrupts, memory, units
from atdsr.network.config import atd_light
from atdsr.network.model import ATD
from atdsr.weights import Weights, download, models, read_weights, write_weights
from atdsr.weights.models import CommunityModel, OfficialModel
from helpers.networks import TINY, lively
from helpers.pictures import noise
from helpers.servers import Server, network_file, prepare, running
from helpers.upscaling import save

SOURCES = str(Path(atdsr.__file__).parents[1])
COMMANDS = [
    "upscale",
    "restore",
    "models",
    "models fetch",
    "models add",
    "info",
    "convert",
    "export",
    "eval",
    "explain",
    "train",
    "data",
    "data pack",
    "demo",
    "doctor",
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ATDSR_MODELS", raising=False)
    return tmp_path


def run(*args: str, code: int = 0, typed: str | None = None) -> tuple[str, str]:
    """Call `atdsr`; what it says on stdout and stderr comes back."""
    result = CliRunner().invoke(cli.app, list(args), input=typed)
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.stdout, result.stderr


def refused(*args: str) -> str:
    said, sentence = run(*args, code=1)
    assert not said
    assert sentence.startswith("error: ")
    assert sentence.count("\n") == 1
    return sentence


@pytest.fixture
def weights() -> Weights:
    weights = Weights(TINY, lively(TINY).state_dict())
    write_weights(weights, "tiny.safetensors")
    return weights


def test_models_are_listed():
    said, _ = run("models")
    assert max(map(len, said.splitlines())) <= 100
    for model in (*models.BUNDLED, *models.OFFICIAL):
        (line,) = (line for line in said.splitlines() if line.startswith(f"{model.name} "))
        assert f"{model.parameters:,}" in line
        assert "online" in line or model in models.BUNDLED
    assert re.search(r"official/atd-light-x2 .* 38\.29 .* 34\.10 .* 32\.39 .* 33\.27 ", said)
    assert re.search(r"official/atd-x4 .* 33\.14 ", said)


def test_models_that_restore_are_listed_with_what_they_remove():
    said, _ = run("models")
    rows = [line.split() for line in said.splitlines() if line.startswith("official/atd-u")]
    assert ["official/atd-u-color-25", "noise25", "24,905,120", "33.28", "online"] in rows
    assert ["official/atd-u-jpeg-q10", "gray+jpeg10", "24,903,392", "30.88", "online"] in rows
    assert len(rows) == 10
    assert "removes" in said


def test_models_are_listed_by_what_they_are_for():
    said, _ = run("models")
    clean, photos = said.split("for everyday photos")
    assert clean.startswith("for clean pictures")
    assert "atd-light-x2 " in clean
    assert "community/4xNomos2_hq_atd " in clean
    assert re.search("atd-light-photo-x2 .* bundled", photos)
    assert "community/4xNomosWebPhoto_atd" in photos
    assert models.for_scale(2).name == "atd-light-x2"


# Files of others, at a server on this machine


@pytest.fixture
def community(server: Server, here: Path, monkeypatch: pytest.MonkeyPatch) -> CommunityModel:
    """A tiny model of somebody else's, whose address is at that server."""
    prepare(monkeypatch, here, "")
    monkeypatch.delenv("ATDSR_MIRROR")
    write_weights(Weights(TINY, lively(TINY).state_dict()), here / "4xTiny.safetensors")
    content = (here / "4xTiny.safetensors").read_bytes()
    server.serve("a/4xTiny.safetensors", content)
    model = CommunityModel(
        name="community/4xTiny",
        config=TINY,
        file="4xTiny.safetensors",
        parameters=9_000,
        data="noise",
        nbytes=len(content),
        published_sha256=sha256(content).hexdigest(),
        licence="CC-BY-4.0",
        purpose="everyday photos",
        url=f"{server.url}/a/4xTiny.safetensors",
        author="A. Nother",
        note="tiny photos",
    )
    monkeypatch.setattr(models, "COMMUNITY", (model,))
    return model


def test_a_model_of_others_is_fetched(server: Server, community: CommunityModel):
    assert "downloads it" in refused("info", community.name)
    size = units.byte_size(community.expected_bytes)
    assert run("models", "fetch", "COMMUNITY/4xtiny") == (
        f"{community.name} -> {community.path}\n",
        f"{community.name}: {size} from {community.url}\n",
    )
    assert re.search(f"{community.name} .* here\n", run("models")[0])
    rows = dict(line.split(maxsplit=1) for line in run("info", community.name)[0].splitlines())
    assert (rows["author"], rows["licence"]) == ("A. Nother", "CC-BY-4.0")
    assert "PSNR-Y" not in rows
    run("models", "fetch", community.name)
    assert len(server.asked) == 1


def test_another_file_in_place_of_that_of_others(server: Server, community: CommunityModel):
    content = bytearray(server.pages["/a/4xTiny.safetensors"][1])
    content[-1] ^= 1
    server.serve("a/4xTiny.safetensors", bytes(content))
    _, sentences = run("models", "fetch", community.name, code=1)
    assert "what came is not the file of A. Nother and was deleted" in sentences
    assert f"fetch {community.url} with a browser" in sentences
    assert not community.path.exists()
    server.status = 404
    _, sentences = run("models", "fetch", community.name, code=1)
    assert "127.0.0.1" in sentences
    assert "answers 404 Not Found" in sentences


def test_a_model_of_others_is_added_by_hand(community: CommunityModel):
    assert run("models", "add", "4xTiny.safetensors")[0] == (
        f"4xTiny.safetensors -> {community.name}\n"
    )
    assert community.is_intact
    Path("4xTiny.pth").write_bytes(b"other")
    assert "is not a .safetensors file" in refused("models", "add", "4xTiny.pth")


def test_any_file_is_fetched_by_its_address(server: Server, community: CommunityModel):
    url, digest = community.url, str(community.published_sha256)
    said, _ = run("models", "fetch", url, "--sha256", digest.upper())
    path = Path(said.removeprefix(f"{url} -> ").rstrip("\n"))
    assert path.read_bytes() == server.pages["/a/4xTiny.safetensors"][1]
    assert path.name == "4xTiny.safetensors"
    assert "parameters" in run("info", str(path))[0]
    assert "already here" in run("models", "fetch", url)[0]
    assert len(server.asked) == 1
    # a file of the same name elsewhere is another one
    server.serve("b/4xTiny.safetensors", b"<html>no weights</html>")
    other = url.replace("/a/", "/b/")
    _, sentences = run("models", "fetch", other, code=1)
    assert "what came is not 4xTiny.safetensors and was deleted" in sentences
    _, sentences = run("models", "fetch", other, "--sha256", "0" * 64, code=1)
    assert "was deleted" in sentences
    assert path.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("ftp://host/a.pth",), 1, "is no address such as https"),
        (("https://host/page.html",), 1, "does not end in the name of a weight file"),
        (("https://me:secret@host/page",), 1, "https://host/page does not end"),
        (("https://host/a.pth", "--sha256", "abc"), 1, "'abc' is no SHA-256"),
        (("official/atd-x4", "--sha256", "0" * 64), 2, "--sha256 belongs to one URL"),
    ],
)
def test_what_is_no_address_of_weights(arguments: tuple[str, ...], code: int, words: str):
    said, sentences = run("models", "fetch", *arguments, code=code)
    assert not said
    assert words in " ".join(sentences.split())


def test_the_models_of_others_are_whole():
    """Their sizes are those of ATD x4 with the published head, in float32 with its index."""
    for model in models.COMMUNITY:
        assert model.licence == "CC-BY-4.0"
        assert re.fullmatch("[0-9a-f]{64}", model.published_sha256 or "")
        assert model.url.endswith(f"/{model.file}")
        tensors = 4 * model.parameters + 8 * 256**2
        assert model.nbytes is not None
        assert 0 < model.nbytes - tensors < 200_000  # the header


# Official models, at a server on this machine


@pytest.fixture
def server(here: Path) -> Iterator[Server]:
    with running() as server:
        server.serve("900_tiny.pth", network_file(here / "900_tiny.pth"))
        yield server


@pytest.fixture
def official(server: Server, here: Path, monkeypatch: pytest.MonkeyPatch) -> OfficialModel:
    return prepare(monkeypatch, here, server.url)


def test_an_official_model_is_fetched(server: Server, official: OfficialModel):
    name = official.name
    assert run("models", "fetch", name) == (
        f"{name} -> {official.path}\n",
        f"{name}: about {units.byte_size(official.expected_bytes)} from {server.url}\n",
    )
    assert official.is_intact
    assert run("models", "fetch", "all") == (f"{name}: already here, {official.path}\n", "")
    official.path.write_bytes(b"damaged")
    assert run("models", "fetch", "-q", name, name) == ("", "")
    assert official.is_intact
    assert len(server.asked) == 2
    assert re.search(f"{name} .* here\n", run("models")[0])


def test_names_are_looked_at_before_anything_is_fetched(server: Server, official: OfficialModel):
    assert "did you mean official/tiny" in refused("models", "fetch", official.name, "official/tin")
    assert "comes with atdsr" in refused("models", "fetch", official.name, "atd-light-x2")
    assert not server.asked


def test_a_download_fails_in_one_sentence(server: Server, official: OfficialModel):
    server.status = 404
    said, sentences = run("models", "fetch", official.name, code=1)
    assert not said
    before, sentence = sentences.splitlines()
    size = units.byte_size(official.expected_bytes)
    assert before == f"{official.name}: about {size} from {server.url}"
    assert sentence.startswith(f"error: {official.name}: 127.0.0.1:")
    assert "answers 404 Not Found; fetch https://drive.google.com/" in sentence


def test_ctrl_c_in_a_download(official: OfficialModel, monkeypatch: pytest.MonkeyPatch):
    def fetch(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "fetch", fetch)
    said, sentences = run("models", "fetch", official.name, code=130)
    assert not said
    assert sentences.endswith("interrupted; `atdsr models fetch` goes on from here\n")


def test_a_file_fetched_by_hand_is_added(official: OfficialModel):
    Path("900_tiny.pth").rename("mine.pth")
    assert "say with --as NAME which model it is" in refused("models", "add", "mine.pth")
    assert run("models", "add", "mine.pth", "--as", official.name) == (
        f"mine.pth -> {official.name}\n",
        "",
    )
    assert official.is_intact
    assert Path("mine.pth").exists()


def test_info_of_an_official_model(server: Server, official: OfficialModel):
    assert "`atdsr models fetch official/tiny` downloads it" in refused("info", official.name)
    run("models", "fetch", official.name)
    rows = dict(line.split(maxsplit=1) for line in run("info", official.name)[0].splitlines())
    assert rows["file"] == str(official.path)
    assert rows["bytes"] == f"{official.path.stat().st_size:,}"
    assert rows["SHA-256"] == official.sha256
    assert rows["source"].startswith(f"{server.url}/900_tiny.pth, 2")
    assert rows["licence"] == "Apache-2.0"
    assert rows["depths"] == "(2, 2)"


COMMANDS_WITH_MODELS = [
    ["upscale", "a.png", "-q"],
    ["eval", "--data", "set", "-q", "--save-images", "made"],
]


@pytest.fixture
def pictures() -> None:
    save("a.png")
    save("set/a.png", noise(3, h=24, w=24))


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("command", [*COMMANDS_WITH_MODELS, ["explain", "a.png", "-o", "out"]])
def test_nothing_is_downloaded_unasked(server: Server, official: OfficialModel, command: list[str]):
    sentence = refused(*command, "-m", official.name)
    assert "`atdsr models fetch official/tiny` downloads it" in sentence
    assert ("--yes" in sentence) == (command[0] != "explain")
    assert not server.asked


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("command", COMMANDS_WITH_MODELS)
def test_yes_downloads(official: OfficialModel, command: list[str]):
    _, sentences = run(*command, "-m", official.name, "--yes")
    assert not sentences
    assert official.is_intact
    assert Path("a_x2.png").exists() or [*Path("made").rglob("*tiny.png")]


@pytest.mark.usefixtures("pictures")
def test_a_person_is_asked(
    server: Server, official: OfficialModel, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cli.models, "_on_terminal", lambda: True)
    command = ("upscale", "a.png", "-q", "-m", official.name)
    size = units.byte_size(official.expected_bytes)
    question = f"is not here yet: download about {size} from {server.url}? [y/N]\n"
    for typed in ("n\n", "\n"):
        said, sentences = run(*command, typed=typed, code=1)
        assert question in said + sentences
        assert sentences.endswith("\nnothing downloaded\n")
    run(*command, typed="", code=1)  # the end of the input is no yes
    assert not server.asked
    run(*command, typed="y\n")
    assert official.is_intact
    assert Path("a_x2.png").exists()
    run(*command, "--overwrite", typed="")  # nothing is asked again
    known = replace(official, nbytes=163_803_535, name="official/large")
    monkeypatch.setattr(models, "OFFICIAL", (known,))
    monkeypatch.delenv("ATDSR_MIRROR")
    official.path.unlink()
    asked = "".join(run(*command[:-1], known.name, typed="n\n", code=1))
    assert "is not here yet: download 156 MiB from the authors' Google Drive? [y/N]\n" in asked


# Files and models


def test_info_says_what_a_file_is(weights: Weights):
    said, _ = run("info", "tiny.safetensors")
    rows = dict(line.split(maxsplit=1) for line in said.splitlines())
    assert rows["file"] == "tiny.safetensors"
    assert rows["parameters"] == f"{weights.parameters:,}"
    assert rows["scale"] == "2"
    assert rows["depths"] == "(2, 2)"
    assert rows["head"] == "pixelshuffledirect"


def test_info_says_what_a_named_model_is():
    (model,) = models.BUNDLED[:1]
    said, _ = run("info", model.name)
    for fact in (model.data, model.hardware, model.licence, model.sha256, "Set5 "):
        assert fact in said
    assert re.search(rf"^scale +{model.config.scale}$", said, re.MULTILINE)
    assert "knows its category size" in refused("info", model.name, "--category-size", "64")
    assert "did you mean" in refused("info", model.name + "x")


@pytest.mark.slow
def test_a_named_model_is_converted(here: Path):
    (model,) = models.BUNDLED[:1]
    run("convert", model.name, "a.pth")
    converted, kept = read_weights("a.pth").state, model.load().state
    assert all(torch.equal(converted[name], kept[name]) for name in kept)


def test_a_name_that_the_encoding_of_the_output_lacks(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
):
    stdout = io.TextIOWrapper(io.BytesIO(), "ascii")
    Path("tiny.safetensors").rename("猫.safetensors")
    monkeypatch.setattr(memory, "keep_freed_memory", lambda: False)
    monkeypatch.setattr(interrupts, "install_handlers", lambda: None)
    monkeypatch.setattr(sys, "argv", ["atdsr", "info", "猫.safetensors"])
    monkeypatch.setattr(sys, "stdout", stdout)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    stdout.seek(0)
    assert stdout.readline().split() == ["file", r"\u732b.safetensors"]


def test_what_a_pth_file_cannot_tell():
    network = ATD(replace(atd_light(2), category_block=64))
    write_weights(Weights(network.config, network.state_dict()), "blocks.safetensors")
    assert "category_block   64" in run("info", "blocks.safetensors")[0]
    _, told = run("convert", "blocks.safetensors", "blocks.pth")
    assert told == (
        "blocks.pth cannot tell that this network sorts tokens in squares of 64; whoever loads it "
        "will sort them all over the picture.\n"
    )
    assert "category_block" not in run("info", "blocks.pth")[0]


def test_convert_there_and_back(weights: Weights):
    said, told = run("convert", "tiny.safetensors", "a.pth")
    assert said == "tiny.safetensors -> a.pth\n"
    assert told.startswith(
        "a.pth cannot tell the category size of this network; load it with --cat"
    )
    assert "--category-size 256" in told
    run("convert", "a.pth", "b.safetensors", "--category-size", "256")
    back = read_weights("b.safetensors")
    assert back.config == TINY
    for name, tensor in weights.state.items():
        assert torch.equal(back.state[name], tensor)


def test_an_existing_file_is_kept_unless_told(weights: Weights):
    Path("a.pth").write_text("mine")
    assert "a.pth: the file exists" in refused("convert", "tiny.safetensors", "a.pth")
    assert Path("a.pth").read_text() == "mine"
    run("convert", "tiny.safetensors", "a.pth", "--overwrite")
    assert read_weights("a.pth", category_size=256).config == TINY


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tiny.safetensors", "new.txt"], "new.txt: weights are written as"),
        (["missing.pth", "new.pth"], "missing.pth does not exist"),
        (["tiny.safetensors", "folder"], "folder"),
        (["tiny.safetensors", "tiny.safetensors/new.pth"], "tiny.safetensors is not a folder"),
        (["tiny.pth", "new.safetensors"], "--category-size"),
        (["text.pth", "new.safetensors"], "text.pth is a text, not weights"),
    ],
)
def test_what_cannot_be_converted(weights: Weights, arguments: list[str], words: str):
    Path("folder").mkdir()
    Path("text.pth").write_text("hello")
    write_weights(weights, "tiny.pth")
    before = sorted(Path().rglob("*"))
    assert words in refused("convert", *arguments)
    assert sorted(Path().rglob("*")) == before


def test_weights_that_are_no_numbers_are_neither_described_nor_converted(weights: Weights):
    weights.state["conv_first.weight"][0] = float("inf")
    for name in ("sick.pth", "sick.safetensors"):
        write_weights(weights, name)
        words = f"{name}: the tensor conv_first.weight has values that are not finite numbers"
        assert words in refused("info", name, "--category-size", "256")
        assert words in refused("convert", name, "new.pth", "--category-size", "256")
    assert not Path("new.pth").exists()


def test_info_of_what_is_no_weights():
    Path("[bold].pth").write_text("hello")
    assert "[bold].pth is a text, not weights" in refused("info", "[bold].pth")
    assert "missing.safetensors does not exist" in refused("info", "missing.safetensors")
    assert "is a folder" in refused("info", ".")


def test_the_version_and_in_a_clone_the_commit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checkout, "commit", lambda: None)
    assert run("--version") == (f"atdsr {atdsr.__version__}\n", "")
    monkeypatch.setattr(checkout, "commit", lambda: "2efec5c, changed")
    assert run("--version") == (f"atdsr {atdsr.__version__} (commit 2efec5c, changed)\n", "")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_reads_well_at_80_columns(command: str):
    said, _ = run(*command.split(), "--help")
    assert run(*command.split(), "-h") == (said, "")
    assert max(map(len, said.splitlines())) <= 80
    fields = re.sub(r"\{[a-z]*\}", "", said)  # of templates for names
    assert not any(ugly in fields for ugly in ("{", "<", "list[", "TEXT", "None"))
    assert "  -h, --help" in said


def test_the_first_help_lists_every_command():
    said, _ = run("--help")
    for command in COMMANDS:
        assert f"  {command.split()[0]} " in said
    assert "..." not in said.partition("Commands:")[2]  # no sentence is cut


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["upscale"], "Name a picture, a folder or a glob, or a list with --manifest."),
        (["upscale", "a.png", "--zzzz"], "There is no option --zzzz."),
        (["upscale", "a.png", "--scale", "5"], "'5' is not 2, 3 or 4"),
        (["upscale", "a.png", "--category-size", "0"], "'0' is not a whole number from 1 on"),
        (["upscale", "a.png", "--format", "psd"], "no format has the suffix '.psd'"),
        (["upscale", "a.png", "--format", "heic"], "'.heic' is read but not written"),
        (["upscale", "a.png", "--device", "tpu"], "'tpu' is not auto, cpu, cuda or mps"),
        (["upscale", "a.png", "--precision", "int8"], "'int8' is not one of 'fp32'"),
        (["upscael"], "Did you mean 'upscale'?"),
        (["a\u202eb"], r"No such command 'a\u202eb'"),
        (["--a\u200bb"], r"There is no option --a\u200bb here;"),
        (["info", "--a\u2066b"], r"There is no option --a\u2066b."),
        (["upscale", "a.png", "--tile", "\ufeff"], r"'\ufeff' is neither auto nor off"),
        (["models", "fetch"], "Missing argument 'NAME|URL...'"),
        (["models", "add"], "Missing argument 'FILE'"),
        (["info"], "Missing argument 'NAME|FILE'"),
        (["convert", "a.pth"], "Missing argument 'OUT'"),
        (["eval"], "Missing option '--data'"),
        (["train"], "Name a recipe, or an option file"),
        (["data", "pack", "pictures"], "Missing option '-o' / '--output'"),
        (["data", "pack", "pictures", "-o", "set", "-s", "6"], "'6' is not 2, 3 or 4"),
    ],
)
def test_usage_errors_end_with_2(arguments: list[str], words: str):
    said, sentence = run(*arguments, code=2)
    assert not said
    assert sentence.startswith("Usage: ")
    assert words in sentence


@pytest.mark.slow
def test_the_module_is_the_command_and_answers_without_torch():
    code = "import atdsr.cli, sys; sys.exit('torch' in sys.modules)"
    environment = {"PYTHONPATH": SOURCES}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
    said = subprocess.run(
        [sys.executable, "-m", "atdsr", "--version"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert re.fullmatch(
        rf"atdsr {re.escape(atdsr.__version__)}( \(commit [0-9a-f]+(, changed)?\))?\n", said.stdout
    )
    assert said.returncode == 0
