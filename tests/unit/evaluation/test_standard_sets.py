"""The digests by which test sets are known, computed as docs/evaluation.md says."""

import hashlib
import json
from importlib.resources import files

import numpy as np
import pytest

from atdsr.base.scales import RESTORING, SCALES
from atdsr.evaluation import published, standard_sets
from atdsr.weights.models import OFFICIAL


def test_a_picture_is_its_size_and_its_samples() -> None:
    samples = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    expected = hashlib.sha256(b"3x2\n" + bytes(range(18))).hexdigest()
    assert standard_sets.picture_digest(samples) == expected
    assert standard_sets.picture_digest(samples.reshape(3, 2, 3)) != expected


def test_the_order_of_pictures_does_not_matter() -> None:
    expected = hashlib.sha256(b"a\nb\n").hexdigest()
    assert standard_sets.set_digest(["b", "a"]) == standard_sets.set_digest(["a", "b"]) == expected
    assert standard_sets.set_digest(["a", "a", "b"]) != expected


def test_every_set_with_published_figures_is_described() -> None:
    names = [each.name for each in standard_sets.standard_sets()]
    damages = [model.damage for model in OFFICIAL if model.damage]
    to_restore = [f"{name} {damage}" for name in names for damage in damages]
    enlarged = {row.dataset for scale in SCALES for row in published.rows(scale, names)}
    restored = {row.dataset.split()[0] for row in published.rows(RESTORING, to_restore)}
    assert enlarged == {"Set5", "Set14", "B100", "Urban100", "Manga109"}
    assert enlarged | restored == set(names)
    everything = json.loads((files("atdsr") / "evaluation/published.json").read_text("utf-8"))
    columns = {column for entry in everything["restoring"] for column in entry["psnr"]}
    assert columns == {row.dataset for row in published.rows(RESTORING, to_restore)}


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("CBSD68HQ", "CBSD68"),
        ("classic5", "Classic5"),
        ("LIVE1_HQ", "LIVE1"),
        ("BSD100", "B100"),
        ("set5", "Set5"),
        ("HQ", "HQ"),
        ("my photos_HQ", "my photos_HQ"),
    ],
)
def test_folders_have_the_names_of_papers(folder: str, name: str) -> None:
    assert standard_sets.known_name(folder) == name


@pytest.mark.parametrize("each", standard_sets.standard_sets(), ids=lambda each: each.name)
def test_a_digest_leads_to_its_set_at_its_scale(each: standard_sets.StandardSet) -> None:
    assert set(each.digests) in (set(), {2, 3, 4}, {1, 2, 3, 4})
    for scale, digest in each.digests.items():
        assert standard_sets.identify(digest, scale) is each
        assert standard_sets.identify(digest[::-1], scale) is None
    assert standard_sets.identify("", 2) is None
