"""Recipe files."""

from pathlib import Path

import pytest

from atdsr import recipes
from atdsr.model import atd, atd_light
from atdsr.recipes import RecipeError

GOOD = "model: atd-light\nscale: 3\ndata: sets/a\noutput: runs/a\niterations: 10\n"


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return write


def test_a_recipe(write) -> None:
    recipe = recipes.load(write(GOOD + "lr: 2e-4\nmilestones: [5, 8]\noptimizer: muon\n"))
    assert recipe.config == atd_light(3)
    assert recipe.settings.data == Path("sets/a")
    assert recipe.settings.lr == 2e-4
    assert recipe.settings.milestones == (5, 8)
    assert recipe.settings.optimizer == "muon"
    assert recipes.load(write(GOOD.replace("atd-light", "atd"))).config == atd(3)


def test_a_network_by_its_fields(write) -> None:
    model = (
        "{width: 12, depths: [2], heads: [2], category_size: 16, dictionary_size: 8, "
        "reduced_width: 4, ffn_kernel: 3, ffn_ratio: 1, head: pixelshuffledirect}"
    )
    recipe = recipes.load(write(GOOD.replace("atd-light", model)))
    assert recipe.config.width == 12
    assert recipe.config.depths == (2,)
    assert recipe.config.scale == 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (GOOD + "itreations: 3\n", "no key 'itreations'; did you mean 'iterations'"),
        (GOOD + "batch: many\n", "batch is 'many'"),
        (GOOD + "batch: 0\n", "batch is 0"),
        (GOOD + "optimizer: sgd\n", "optimizer is 'sgd'"),
        (GOOD.replace("iterations: 10\n", ""), "'iterations' is missing"),
        (GOOD.replace("atd-light", "swinir"), "model is 'swinir'"),
        (GOOD.replace("atd-light", "{width: 12, depth: 3}"), "did you mean 'depths'"),
        (GOOD.replace("3", "5"), "scale is 5"),
        (GOOD.replace("3", "three"), "scale is 'three'"),
        ("- a\n- b\n", "key: value"),
        ("a: [", "no YAML"),
        ("", "key: value"),
    ],
)
def test_what_is_no_recipe(write, text: str, sentence: str) -> None:
    with pytest.raises(RecipeError, match=rf"recipe\.yaml.*{sentence}"):
        recipes.load(write(text))


def test_a_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        recipes.load(tmp_path / "gone.yaml")
