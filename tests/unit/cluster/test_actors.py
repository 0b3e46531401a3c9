"""What travels to actors, and what they do there; no Ray is started here."""

import threading
import time
from pathlib import Path

import pytest

from atdsr.base import files
from atdsr.base.stores import locate
from atdsr.batch import BatchConfig, BatchItem, Factor, Networks, Outcome
from atdsr.cluster import ClusterError, NetworkSource
from atdsr.cluster.actors import PictureNames, UpscaleActor
from atdsr.inference import InferenceConfig
from helpers.upscaling import save


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_of_weights_travels(source: NetworkSource):
    networks = source.load()
    assert networks.models == {2: "tiny"}
    assert networks.for_factor(2).config.overlap == 4


def test_models_that_come_with_atdsr_travel_by_name():
    inference = InferenceConfig()
    one = NetworkSource.read("ATD-light-x2", inference)
    assert (one.name, one.content) == ("atd-light-x2", b"")
    assert one.load().models == {2: "atd-light-x2"}
    all_of_them = NetworkSource.read(None, inference)
    assert all_of_them.load().models == Networks.bundled(inference).models
    Path("folder.pth").mkdir()
    with pytest.raises(ClusterError, match=r"folder.pth"):
        NetworkSource.read("folder.pth", inference)


@pytest.mark.parametrize("name", ["a.png", "s3://photos/p/a.png", "memory://m/a.png"])
def test_a_picture_is_the_same_elsewhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    item = BatchItem(locate(name), locate(name).with_name("b.png"), "list, line 3")
    travelled = PictureNames(*map(str, PictureNames.of(item)))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    there = travelled.item()
    assert there.source == (tmp_path / name if name == "a.png" else item.source)
    assert (there.target, there.origin) == (there.source.with_name("b.png"), "list, line 3")
    assert type(there.source) is type(item.source)


def test_what_a_process_of_a_lost_machine_still_makes_is_waited_for(source: NetworkSource):
    save("a.png")
    actor = UpscaleActor(source, BatchConfig(Factor(2)))
    picture = PictureNames.of(BatchItem(Path("a.png"), Path("b.png")))
    with files.output_lock(Path("b.png").absolute()):
        (result,) = actor.enlarge([picture])
        assert result.outcome is Outcome.SKIPPED
    locked, release = threading.Event(), threading.Event()

    def hold() -> None:
        with files.output_lock(Path("b.png").absolute()):
            locked.set()
            release.wait()

    other = threading.Thread(target=hold)
    other.start()
    locked.wait()
    threading.Timer(0.5, release.set).start()
    start = time.monotonic()
    (result,) = actor.enlarge_again(picture)
    other.join()
    assert time.monotonic() - start >= 0.5
    assert result.outcome is Outcome.DONE
    (again,) = actor.enlarge_again(picture)  # that of another actor is kept
    assert again.message.endswith("b.png exists and is kept")
