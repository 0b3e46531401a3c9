"""The digests by which test sets are known, computed as docs/evaluation.md says."""

import hashlib

import numpy as np
import pytest

from atdsr.base.scales import SCALES
from atdsr.evaluation import published, standard_sets


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
    sets = {row.dataset for scale in SCALES for row in published.rows(scale, names)}
    assert sets == set(names)


@pytest.mark.parametrize("each", standard_sets.standard_sets(), ids=lambda each: each.name)
def test_a_digest_leads_to_its_set_at_its_scale(each: standard_sets.StandardSet) -> None:
    assert set(each.digests) in (set(), {2, 3, 4})
    for scale, digest in each.digests.items():
        assert standard_sets.identify(digest, scale) is each
        assert standard_sets.identify(digest[::-1], scale) is None
    assert standard_sets.identify("", 2) is None
