"""What a package index shows: the description, and where its links lead."""

import tomllib
from pathlib import Path
from typing import Any

import hatch_build
import pytest

from helpers.networks import ROOT

ADDRESS = "https://forge.example/somebody/atdsr"


def metadata(**config: str) -> dict[str, Any]:
    project: dict[str, Any] = {"version": "1.2.3"}
    hook: Any = hatch_build.get_metadata_hook()
    hook(str(ROOT), config).update(project)
    return project


@pytest.mark.parametrize("config", [{}, {"repository": ""}])
def test_without_an_address_the_readme_stays_as_it_is(config: dict[str, str]) -> None:
    project = metadata(**config)
    assert project["readme"]["text"] == (ROOT / "README.md").read_text("utf-8")
    assert project["urls"] == {}


def test_with_an_address_links_and_pictures_lead_there() -> None:
    project = metadata(repository=f"{ADDRESS}/")
    text = project["readme"]["text"]
    assert project["urls"]["Repository"] == ADDRESS
    assert project["urls"]["Changelog"] == f"{ADDRESS}/blob/v1.2.3/CHANGELOG.md"
    assert f"]({ADDRESS}/raw/v1.2.3/docs/figures/comparison.webp)" in text
    assert f"]({ADDRESS}/blob/v1.2.3/docs/upscaling.md#all-commands)" in text
    assert "](docs/" not in text
    assert "](https://arxiv.org/abs/2401.08209)" in text


def test_links_within_the_page_and_to_other_places_stay() -> None:
    text = "[a](#b) [c](https://d.e/f) [g](mailto:h@i) ![j](k.png)"
    expected = "[a](#b) [c](https://d.e/f) [g](mailto:h@i) ![j](R/raw/v1/k.png)"
    assert hatch_build.absolute_links(text, "R", "v1") == expected


def test_the_address_has_one_place() -> None:
    project = tomllib.loads(Path(ROOT / "pyproject.toml").read_text("utf-8"))
    assert "urls" not in project["project"]
    assert set(project["tool"]["hatch"]["metadata"]["hooks"]["custom"]) == {"repository"}
