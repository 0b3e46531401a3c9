"""The log of results in Parquet files."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from atdsr.base.stores import list_objects, locate
from atdsr.batch import Outcome, Result
from atdsr.cluster import ClusterError, logs, results_to


def result(number: int) -> Result:
    return Result(
        Path(f"/in/{number}.png"), Path(f"/out/{number}.png"), Outcome.DONE, "made", 4, 6, 1, 0.5
    )


def test_a_file_for_so_many_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logs, "ROWS", 3)
    monkeypatch.setattr(logs, "SECONDS", 1e9)
    folder = tmp_path / "new/log"
    for run in range(2):  # each under names of its own
        with results_to(folder) as add:
            for number in range(7):
                add(result(7 * run + number))
                assert len(list(folder.glob("*.parquet"))) == 3 * run + (number + 1) // 3
    tables = [pq.read_table(path) for path in sorted(folder.iterdir())]
    assert sorted(map(len, tables)) == [1, 1, 3, 3, 3, 3]
    rows = pq.read_table(folder).to_pylist()
    assert sorted(row["source"] for row in rows) == sorted(f"/in/{n}.png" for n in range(14))
    assert {(row["outcome"], row["width"], row["height"], row["seconds"]) for row in rows} == {
        ("done", 4, 6, 0.5)
    }


def test_what_is_finished_is_written_soon_and_at_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def written() -> int:
        return len(list(tmp_path.iterdir()))

    monkeypatch.setattr(logs, "SECONDS", 1e9)
    with pytest.raises(KeyboardInterrupt), results_to(tmp_path) as add:  # noqa: PT012
        add(result(1))
        assert written() == 0
        monkeypatch.setattr(logs, "SECONDS", 0)
        add(result(2))
        assert written() == 1
        monkeypatch.setattr(logs, "SECONDS", 1e9)
        add(result(3))
        raise KeyboardInterrupt
    assert len(pq.read_table(tmp_path)) == 3


def test_a_log_in_a_store(tmp_path: Path):
    pytest.importorskip("obstore", reason="obstore is not installed (the extra `stores`)")
    folder = locate("memory://logs/run")
    assert not isinstance(folder, Path)
    with results_to(folder) as add:
        add(result(1))
    (key,) = list_objects(folder)
    assert key.startswith("run/")
    assert key.endswith("-000001.parquet")


def test_no_folder_and_a_file_in_its_place(tmp_path: Path):
    with results_to(None) as add:
        add(result(1))
    (tmp_path / "file").touch()
    with (
        pytest.raises(ClusterError, match=r"file for the log cannot be made: File exists\."),
        results_to(tmp_path / "file"),
    ):
        pass
