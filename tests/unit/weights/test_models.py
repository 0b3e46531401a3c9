"""Names of models, and official weights that are added by hand."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from atdsr.evaluation import methods, published
from atdsr.inference.config import InferenceConfig
from atdsr.network.config import ATDConfig, ATDUConfig, atd_u
from atdsr.network.model import ATD
from atdsr.network.unet import ATDU
from atdsr.weights import WeightsError, models, published_file, read_weights, write_weights
from atdsr.weights.models import CacheError, OfficialModel
from helpers.networks import ROOT, TINY
from helpers.servers import network_file, prepare


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> OfficialModel:
    return prepare(monkeypatch, tmp_path, "http://127.0.0.1:9")  # where nobody listens


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "900_tiny.pth"
    network_file(path)
    return path


# The list


ENLARGING = [model for model in models.OFFICIAL if "-u-" not in model.name]
RESTORING = [model for model in models.OFFICIAL if "-u-" in model.name]


@pytest.mark.parametrize("model", ENLARGING, ids=lambda model: model.name)
def test_what_the_list_says_of_official_models(model: OfficialModel) -> None:
    kind, scale = model.name.removeprefix("official/").rsplit("-x", 1)
    assert model.config.scale == int(scale)
    assert f"_SRx{scale}_" in model.file
    assert ("light" in model.file) == ("light" in kind)
    assert isinstance(model.config, ATDConfig)
    assert (model.config.is_static, model.subfolder == "v2") == (("v2" in kind),) * 2
    assert model.config.name.lower().replace(" ", "-") == kind
    with torch.device("meta"):
        network = ATD(model.config)
    assert sum(parameter.numel() for parameter in network.parameters()) == model.parameters
    (row,) = (
        row
        for row in published.rows(int(scale), ["Set5"])
        if row.model.lower().replace(" ", "-") == kind  # as papers call it
    )
    assert row.parameters is not None
    assert abs(model.parameters / row.parameters - 1) < 0.01
    assert models.find(model.name) is model
    assert not models.is_file(model.name)


@pytest.mark.parametrize("model", RESTORING, ids=lambda model: model.name)
def test_what_the_list_says_of_those_that_restore(model: OfficialModel) -> None:
    kind, damage = model.name.removeprefix("official/atd-u-").split("-")
    assert isinstance(model.config, ATDUConfig)
    assert model.config == atd_u(3 if kind == "color" else 1)
    assert model.file.removesuffix(".pth").endswith(damage)  # sigma, or the quality
    assert ("jpegcar" in model.file) == (kind == "jpeg")
    with torch.device("meta"):
        network = ATDU(model.config)
    assert sum(parameter.numel() for parameter in network.parameters()) == model.parameters
    assert models.find(model.name) is model
    assert models.generation(model.config) == "ATD-U"


def test_the_page_about_them_has_the_same_table() -> None:
    page = (ROOT / "docs" / "models" / "official.md").read_text("utf-8")
    for model in models.OFFICIAL:
        size = "not published" if model.nbytes is None else f"{model.nbytes:,} bytes"
        row = f"`{model.name}` | `{model.file}` | {size} | {model.parameters:,} | {model.data}"
        assert f"| {row} |\n" in page


def test_names_and_files_are_distinct() -> None:
    assert (
        len({model.name for model in (*models.BUNDLED, *models.OFFICIAL)})
        == len(models.BUNDLED) + 22
    )
    assert len({model.file for model in ENLARGING}) == 6  # the same in both generations
    assert len({model.path for model in models.OFFICIAL}) == 22
    assert len({model.download_folder for model in models.OFFICIAL}) == 22
    # two of the first generation are known by their folder alone, and all of the second
    assert len({model.page for model in models.OFFICIAL}) == 6


def test_a_name_wins_over_a_file(
    model: OfficialModel, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "official").mkdir()
    (tmp_path / "official" / "tiny").write_text("mine")
    assert not models.is_file("official/tiny")
    assert not models.is_file(Path("official/tiny"))
    assert models.is_file("official")
    assert models.is_file("official/tiny.pth")
    assert not models.is_file("Official/Tiny.x")
    assert models.canonical("Official/TINY") == "official/tiny"
    assert models.canonical("Tiny") == "Tiny"
    (tmp_path / "Official").mkdir(exist_ok=True)
    (tmp_path / "Official" / "TINY").write_text("mine")
    assert models.is_file("Official/TINY")  # that is how the file is called
    assert models.canonical("Official/TINY") == "Official/TINY"
    with pytest.raises(WeightsError, match="official/tiny is not on this machine"):
        models.load_weights("official/tiny")
    with pytest.raises(WeightsError, match="knows its category size"):
        models.load_weights("official/tiny", category_size=64)


# Where they lie


def test_where_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ATDSR_MODELS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert published_file.folder() == tmp_path / "atdsr" / "models" / "official"
    monkeypatch.setenv("ATDSR_MODELS", "")
    assert published_file.folder() == tmp_path / "atdsr" / "models" / "official"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ATDSR_MODELS", "~/models")
    assert published_file.folder() == tmp_path / "home" / "models"


# Adding


@pytest.mark.parametrize("name", ["900_tiny.pth", "900_tiny (1).pth", "900_tiny(12).PTH"])
def test_a_file_is_known_by_its_name(
    model: OfficialModel, file: Path, tmp_path: Path, name: str
) -> None:
    file = file.rename(tmp_path / name)
    content = file.read_bytes()
    assert models.add(file) == model
    assert model.path.read_bytes() == content == file.read_bytes()
    assert models.load_weights("official/tiny").config == TINY
    assert model.record is not None
    assert model.record.source == str(file)
    assert model.record.sha256 == sha256(content).hexdigest()
    assert sorted(path.suffix for path in model.path.parent.iterdir()) == [".json", ".pth"]
    models.add(file)  # again, for nothing
    models.add(model.path)
    assert model.is_intact


def test_a_file_of_another_name_needs_one(model: OfficialModel, file: Path, tmp_path: Path) -> None:
    file = file.rename(tmp_path / "900_tiny_of_mine.pth")
    with pytest.raises(WeightsError, match="say with --as NAME which model it is"):
        models.add(file)
    with pytest.raises(WeightsError, match="did you mean official/tiny"):
        models.add(file, "official/tinny")
    with pytest.raises(WeightsError, match="atd-light-x2 comes with atdsr"):
        models.add(file, "atd-light-x2")
    assert models.add(file, "official/tiny") == model
    assert model.is_intact


def text(path: Path) -> None:
    path.write_text("<html>sign in</html>")


def test_the_estimated_size_is_near_the_published_one() -> None:
    known = models.find_official("official/atd-x4")
    assert known.nbytes is not None
    assert known.expected_bytes == known.nbytes
    estimate = replace(known, nbytes=None).expected_bytes
    assert 0.99 < estimate / known.nbytes < 1.01


def other_scale(path: Path) -> None:
    network_file(path, replace(TINY, scale=4))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (text, "900_tiny.pth is an HTML page, not weights"),
        (other_scale, "another network than official/tiny: its scale is 4, not 2"),
        (lambda path: path.write_bytes(b"hello"), "900_tiny.pth is a text, not weights"),
        (lambda path: path.write_bytes(b""), "900_tiny.pth is empty"),
        (lambda path: path.write_bytes(path.read_bytes()[:-500]), "or it is damaged"),
        (lambda path: path.unlink(), "900_tiny.pth does not exist; check the name"),
        (lambda path: (path.unlink(), path.mkdir()), "900_tiny.pth is a folder; name the"),
    ],
)
def test_what_cannot_be_added(
    model: OfficialModel, file: Path, make: Callable[[Path], object], words: str
) -> None:
    make(file)
    with pytest.raises(WeightsError) as caught:
        models.add(file)
    assert words in str(caught.value)
    assert not model.path.parent.exists()


def test_only_what_the_authors_ship(model: OfficialModel, file: Path, tmp_path: Path) -> None:
    path = tmp_path / "900_tiny.safetensors"
    write_weights(read_weights(file, category_size=TINY.category_size), path)
    with pytest.raises(WeightsError, match=r"is not a \.pth file"):
        models.add(path)


def test_another_file_than_the_first(model: OfficialModel, file: Path) -> None:
    models.add(file)
    first = file.read_bytes()
    network_file(file, seed=1)
    with pytest.raises(WeightsError, match=r"not the file that was recorded .*900_tiny\.json"):
        models.add(file)
    assert model.path.read_bytes() == first
    model.path.with_suffix(".json").unlink()
    models.add(file)
    assert model.path.read_bytes() == file.read_bytes() != first


def test_a_published_hash_is_what_counts(
    model: OfficialModel, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = replace(model, published_sha256="0" * 64)
    monkeypatch.setattr(models, "OFFICIAL", (known,))
    with pytest.raises(WeightsError, match="its SHA-256 is not the published one"):
        models.add(file)
    assert not known.is_here


def test_a_damaged_file_is_replaced(model: OfficialModel, file: Path) -> None:
    models.add(file)
    model.path.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=r"900_tiny\.pth is damaged \(SHA-256 differs\)"):
        models.load_weights("official/tiny")
    models.add(file)
    assert models.load_weights("official/tiny").config == TINY


def test_a_file_that_was_put_there_without_a_word(model: OfficialModel, file: Path) -> None:
    model.path.parent.mkdir()
    file.rename(model.path)
    with pytest.raises(WeightsError, match=r"nothing is known of .*; `atdsr models add /.*pth`"):
        models.load_weights("official/tiny")
    models.add(model.path)
    assert models.load_weights("official/tiny").config == TINY


def test_while_another_process_fetches(model: OfficialModel, file: Path) -> None:
    with model.lock(), pytest.raises(CacheError, match="another process is fetching"):
        models.add(file)
    models.add(file)
    assert model.is_intact


# Two generations


def small(model: OfficialModel) -> OfficialModel:
    """The same model with a tiny network, for a file of a few kilobytes."""
    assert isinstance(model.config, ATDConfig)
    fields = {"dictionary_size": 20, "ffn_ratio": 1.5, "code_width": 3, "scale": model.config.scale}
    config = (
        replace(TINY, **fields) if model.config.is_static else replace(TINY, scale=fields["scale"])
    )
    return replace(model, config=config, nbytes=None, published_sha256=None)


@pytest.fixture
def generations(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[OfficialModel, OfficialModel]:
    first, second = (
        small(models.find_official(f"official/{name}-x2")) for name in ("atd", "atd-v2")
    )
    prepare(monkeypatch, tmp_path, "http://127.0.0.1:9")
    monkeypatch.setattr(models, "OFFICIAL", (first, second))
    return first, second


def test_files_of_both_generations_lie_side_by_side(
    generations: tuple[OfficialModel, OfficialModel], tmp_path: Path
) -> None:
    """They have one name; what is in a file decides whose it is."""
    path = tmp_path / "001_ATD_SRx2_finetune.pth"
    for model in (*generations, *reversed(generations)):
        network_file(path, model.config)
        assert models.add(path).name == model.name
    for model in generations:
        assert models.load_weights(model.name).config == model.config


def test_a_file_is_never_taken_for_the_other_generation(
    generations: tuple[OfficialModel, OfficialModel], tmp_path: Path
) -> None:
    path = tmp_path / "001_ATD_SRx2_finetune.pth"
    for model, other in (generations, tuple(reversed(generations))):
        network_file(path, other.config)
        theirs, ours = (models.generation(each.config) for each in (other, model))
        assert {theirs, ours} == {"ATD", "ATD v2"}
        with pytest.raises(WeightsError, match=f"holds an {theirs} and {model.name} is an {ours};"):
            models.add(path, model.name)
        assert not model.is_here


# In an evaluation


def test_an_official_method_is_told_by_its_file(model: OfficialModel, file: Path) -> None:
    models.add(file)
    _, method = methods.named(["official/tiny"], config=InferenceConfig(device="cpu", tile="off"))
    assert method.name == "official/tiny"
    assert model.sha256 in method.identity
