"""Downloads that are not the file that was asked for, and what is recorded of those that are."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from atdsr.weights import WeightsError, download, models
from atdsr.weights.models import DownloadError, OfficialModel
from helpers.networks import TINY
from helpers.servers import BY_HAND, Server, known, network_file, refused

# What is not the file


def flipped(content: bytes) -> bytes:
    """With one bit of the weights changed, which PyTorch reads without a word."""
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


PAGE = b"\n<!DOCTYPE html><html><title>Sign in to this network</title></html>"


@pytest.mark.parametrize(
    ("make", "published", "words"),
    [
        (lambda content: PAGE, False, "900_tiny.pth is an HTML page, not weights"),
        (lambda content: PAGE, True, f"{len(PAGE)} bytes where 900_tiny.pth has"),
        (lambda content: flipped(content), False, "900_tiny.pth is damaged"),
        (lambda content: flipped(content), True, "its SHA-256 is not the published one"),
        (lambda content: content[:-1000], False, "is not a PyTorch file, or it is damaged"),
        (lambda content: content[:-1000], True, "bytes where 900_tiny.pth has"),
        (lambda content: content + b"more", True, "bytes where 900_tiny.pth has"),
        (lambda content: b"", False, "900_tiny.pth is empty; fetch https"),
    ],
)
def test_what_is_not_the_file_is_deleted(
    server: Server,
    model: OfficialModel,
    right: bytes,
    make: Callable[[bytes], bytes],
    published: bool,
    words: str,
) -> None:
    model = known(model, right) if published else model
    server.serve("900_tiny.pth", make(right))
    sentence = refused(model)
    assert words in sentence
    assert "was deleted" in sentence
    assert BY_HAND in sentence
    assert not model.path.parent.exists()  # nothing at all is left


@pytest.mark.parametrize("published", [True, False])
def test_another_network(
    server: Server, model: OfficialModel, right: bytes, tmp_path: Path, published: bool
) -> None:
    other = network_file(tmp_path / "x3.pth", replace(TINY, scale=3))
    server.serve("900_tiny.pth", other)
    if published:  # and its size is right
        model = replace(known(model, right), nbytes=len(other))
        assert "SHA-256 is not the published" in refused(model)
    else:
        assert "another network than official/tiny: its scale is 3, not 2" in refused(model)


def test_no_more_is_taken_than_there_is(server: Server, model: OfficialModel, right: bytes) -> None:
    """An endless answer ends soon, and without a length."""
    server.serve("900_tiny.pth", right + bytes(10_000_000))
    server.length = "none"
    seen: list[int] = []
    model = known(model, right)
    with pytest.raises(DownloadError, match="or more bytes where"):
        download.fetch(model, lambda done, total: seen.append(done))
    assert not model.path.parent.exists()
    assert max(seen) <= len(right)


@pytest.mark.parametrize("length", ["none", "true"])
def test_there_is_a_limit_where_no_size_is_published(
    server: Server,
    model: OfficialModel,
    right: bytes,
    length: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert model.nbytes is None
    assert 2**26 < model.max_bytes < 2**27
    monkeypatch.setattr(OfficialModel, "max_bytes", 2_000_000)
    server.serve("900_tiny.pth", right + bytes(10_000_000))
    server.length = length
    seen: list[int] = []
    with pytest.raises(DownloadError, match=r"bytes where 900_tiny.pth has at most 2,000,000"):
        download.fetch(model, lambda done, total: seen.append(done))
    assert not model.path.parent.exists()
    assert max(seen, default=0) <= 2_000_000


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("lie", [-1000, 1000])
def test_a_wrong_length_is_announced(
    server: Server, model: OfficialModel, right: bytes, lie: int, published: bool
) -> None:
    server.length = len(right) + lie
    model = known(model, right) if published else model
    if published:
        assert f"{len(right) + lie:,} bytes where 900_tiny.pth has {len(right):,}" in refused(model)
    else:
        words = "was deleted" if lie < 0 else "broke off"
        assert words in refused(model)


# What is recorded


def test_another_file_than_the_first_is_refused(
    server: Server, model: OfficialModel, tmp_path: Path, right: bytes
) -> None:
    download.fetch(model)
    other = network_file(tmp_path / "other.pth", seed=1)
    server.serve("900_tiny.pth", other)
    model.path.unlink()
    note = model.path.with_suffix(".json")
    sentence = refused(model)
    assert "not the file that was recorded for official/tiny" in sentence
    assert f"delete {note} first" in sentence
    assert "models add" not in sentence  # what it would take is this very file
    note.unlink()  # as the sentence says
    download.fetch(model)
    assert model.path.read_bytes() == other


def test_a_published_hash_wins_over_a_recorded_one(
    server: Server, model: OfficialModel, right: bytes, tmp_path: Path
) -> None:
    download.fetch(model)
    other = network_file(tmp_path / "other.pth", seed=1)
    server.serve("900_tiny.pth", other)
    model = known(model, other)
    assert not model.is_intact
    download.fetch(model)
    assert model.path.read_bytes() == other


def test_a_damaged_file_is_not_loaded_and_fetched_anew(
    server: Server, model: OfficialModel, right: bytes
) -> None:
    download.fetch(model)
    model.path.write_bytes(flipped(right))
    with pytest.raises(WeightsError, match=r"damaged .*`atdsr models fetch official/tiny`"):
        models.load_weights("official/tiny")
    download.fetch(model)
    assert model.path.read_bytes() == right


@pytest.mark.parametrize("note", ["", "{", "[]", '{"name": 1}', "null"])
def test_a_damaged_record(model: OfficialModel, note: str) -> None:
    download.fetch(model)
    model.path.with_suffix(".json").write_text(note)
    with pytest.raises(WeightsError, match=r"900_tiny\.json cannot be read or is damaged; del"):
        models.load_weights("official/tiny")
    with pytest.raises(WeightsError, match=r"900_tiny\.json cannot be read or is damaged; del"):
        download.fetch(model)
