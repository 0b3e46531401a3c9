"""Plans of manifests: what lines mean, which are refused, shards, and a bound on memory."""

import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from atdsr import batch
from atdsr.batch import BatchConfig, BatchError, Factor, Shard, TargetBox
from helpers.upscaling import touch


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan(content: str | bytes, *inputs: str, out: str | None = None, **config: Any) -> batch.Plan:
    Path("list").write_bytes(content if isinstance(content, bytes) else content.encode())
    config = {"size": Factor(2), "models": {2: "m"}} | config
    return batch.plan_manifest(Path("list"), inputs, out, BatchConfig(**config))


def pairs(made: batch.Plan) -> dict[str, str]:
    return {str(item.source): str(item.target) for item in made.items}


def refusal(content: str | bytes, *inputs: str, **options: Any) -> str:
    with pytest.raises(BatchError) as caught:
        plan(content, *inputs, **options)
    return str(caught.value)


def test_paths_are_relative_to_the_current_folder_or_to_the_input(here: Path):
    Path("in").mkdir()
    lines = "a.png\np/b.jpg\n"
    assert pairs(plan(lines)) == {"a.png": "a_x2.png", "p/b.jpg": "p/b_x2.jpg"}
    assert pairs(plan(lines, out="out"))["p/b.jpg"] == "out/p/b_x2.jpg"
    assert pairs(plan(lines, "in", out="out"))["in/p/b.jpg"] == "out/p/b_x2.jpg"
    assert pairs(plan(f"{here}/in/p/b.jpg", "in", out="out")) == {
        f"{here}/in/p/b.jpg": "out/p/b_x2.jpg"
    }
    assert pairs(plan("/elsewhere/c.png")) == {"/elsewhere/c.png": "/elsewhere/c_x2.png"}


def test_an_output_is_relative_to_the_folder_for_outputs_or_to_the_picture():
    lines = "p/a.png\tnew/b\np/c.png\td.webp\n/x/e.png\tf.png"
    assert list(pairs(plan(lines, out="out")).values()) == [
        "out/new/b.png",
        "out/d.webp",
        "out/f.png",
    ]
    assert list(pairs(plan(lines)).values()) == ["p/new/b.png", "p/d.webp", "/x/f.png"]


def test_lists_of_other_systems():
    lines = b"\xef\xbb\xbfa.png\r\n\r\n\xff.png\t\r\n b .png"
    made = plan(lines)
    assert [str(item.source) for item in made.items] == ["a.png", "\udcff.png", " b .png"]
    assert [item.origin for item in made.items] == ["list, line 1", "list, line 3", "list, line 4"]
    assert len(made.items) == made.total == 3
    assert refusal("a.png\n".encode("utf-16")) == "list is UTF-16; save it as UTF-8."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "list names no picture."),
        ("\n\n", "list names no picture."),
        ("a.png\n\tb.png", "list, line 2: the path of the picture is missing."),
        (
            "a.png\tb.png\tc",
            "list, line 1: the line has more than one tab; write a path, and after a tab",
        ),
        ("a.png\0", "list, line 1: the line has a zero byte; is this a list of paths?"),
        (
            "b.png\n" + "a" * 70000,
            "list, line 2: the line is longer than 65,536 bytes; name one picture.",
        ),
        ("a.png\t../b.png", "list, line 1: the output ../b.png leads out of its folder"),
        ("a.png\t/b.png", "list, line 1: the output /b.png leads out of its folder"),
        ("a.png\tb.txt", "list, line 1: b.txt: no format has the suffix '.txt'"),
        ("a.dat", "list, line 1: a.dat has the suffix of no format; name its output with one"),
        ("../a.png", "list, line 1: ../a.png is not inside the current folder; name the folder"),
        ("/a.png", "list, line 1: /a.png is not inside the current folder; name the folder"),
        ("a.png\nb.png\n./a.png", "list, lines 1 and 3: a.png is there twice; delete one of them."),
        (
            "a.png\nb.png\tc.png\nd.png\tc.png",
            "list, lines 2 and 3: b.png and d.png would both become out/c.png; name their outputs.",
        ),
    ],
)
def test_broken_lines_are_named(content: str, said: str):
    assert said in refusal(content, out="out")


def test_a_million_broken_lines_are_one_sentence():
    lines = "a.png\n" + "b\tc\td\n" * 5000
    said = refusal(lines)
    assert said.startswith("list, line 2: the line has more than one tab;")
    assert said.endswith(". 4,999 more of its lines are broken.")


def test_an_output_is_no_picture_of_the_list():
    said = refusal("a.png\tb.png\nb.png\n")
    assert said == (
        "list, line 1: the output of a.png would replace a picture of the list, which is never "
        "done (list, line 2); name another."
    )
    assert "which is never done" in refusal("a.png\ta.png")
    Path("p").mkdir()
    Path("q").symlink_to("p", target_is_directory=True)
    assert "which is never done" in refusal("p/a.png\tb.png\nq/b.png")


def test_a_list_from_another_folder_than_the_input():
    touch("sh/1.jpg")
    assert refusal("sh/1.jpg\nsh/2.jpg\n", "sh") == (
        "list, line 1: sh/sh/1.jpg does not exist: the lines are relative to INPUT, which is sh; "
        "leave it out."
    )
    assert pairs(plan("sh/1.jpg\n")) == {"sh/1.jpg": "sh/1_x2.jpg"}
    assert pairs(plan("1.jpg\n", "sh")) == {"sh/1.jpg": "sh/1_x2.jpg"}
    assert pairs(plan("gone.jpg\n", "sh")) == {"sh/gone.jpg": "sh/gone_x2.jpg"}
    touch("sh/sh/1.jpg")
    assert pairs(plan("sh/1.jpg\n", "sh")) == {"sh/sh/1.jpg": "sh/sh/1_x2.jpg"}


def test_options_that_do_not_fit():
    Path("in").mkdir()
    assert "one folder that its paths are relative to" in refusal("a.png", "in", "in")
    assert "one folder that its paths are relative to" in refusal("a.png", "a.png")
    assert "--recursive cannot be used with --manifest" in refusal("a.png", recursive=True)
    box = TargetBox(100, 100)
    assert "depends on the size" in refusal("a.png", template="{stem}_{width}")
    assert "depends on the size" in refusal("a.png", template="{stem}_{scale}", size=box)
    assert pairs(plan("a.png", size=box)) == {"a.png": "a_100x100.png"}
    assert "does not end in .webp" in refusal("a.png\tb.png", format_name="webp")
    assert "--quality applies only to" in refusal("a.png", quality=5)
    assert pairs(plan("a.dat", format_name="webp", quality=5)) == {"a.dat": "a_x2.webp"}


def test_a_list_that_is_not_there_or_changes(here: Path):
    with pytest.raises(BatchError, match="none does not exist"):
        batch.plan_manifest(Path("none"), [], None, BatchConfig(Factor(2)))
    with pytest.raises(BatchError, match="is a folder; name a file"):
        batch.plan_manifest(here, [], None, BatchConfig(Factor(2)))
    made = plan("a.png\nb.png")
    Path("list").write_text("a.png\nb.png\nc.png")
    with pytest.raises(BatchError, match="list was changed meanwhile; start again"):
        list(made.items)


def test_shards_of_a_list_are_those_of_the_tree(here: Path):
    names = [f"{folder}{n}.png" for folder in ("", "p/", "p/q/") for n in range(6)]
    touch(*(f"in/{name}" for name in names))
    for lines in (
        names,
        names[::-1],
        [f"./{name}" for name in names],
        [f"{here}/in/{n}" for n in names],
    ):
        found = list[str]()
        for k in (1, 2, 3):
            config = BatchConfig(Factor(2), recursive=True, shard=Shard(k, 3))
            tree = {str(item.target) for item in batch.plan(["in"], "out", config).items}
            listed = plan("\n".join(lines), "in", out="out", shard=Shard(k, 3))
            targets = [str(item.target) for item in listed.items]
            assert set(targets) == tree
            assert len(listed.items) == len(targets)
            found += targets
        assert len(found) == len(set(found)) == len(names)


def test_every_shard_refuses_a_broken_list():
    for k in range(1, 5):
        assert "line 2" in refusal("a.png\nb.dat\n", shard=Shard(k, 4))


@pytest.mark.slow
def test_a_long_list_is_not_held_in_memory():
    lines = 8000
    name = "picture" * 30  # a line of the list is 230 bytes
    content = "".join(f"{n:06}{name}.png\n" for n in range(lines)).encode()
    list(plan(content, out="out").items)  # what is loaded at first use
    tracemalloc.start()
    try:
        made = plan(content, out="out")
        assert sum(1 for _ in made.items) == made.total == lines
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < lines * 100  # numbers of 8 bytes, and copies of them while they are sorted


# Parquet


def parquet(name: str, **columns: Any) -> Path:
    pa = pytest.importorskip("pyarrow", reason="needs the extra parquet")
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), name, row_group_size=2)
    return Path(name)


def listed(path: Path, **config: Any) -> batch.Plan:
    return batch.plan_manifest(path, [], "out", BatchConfig(Factor(2), **config))


def test_a_parquet_file():
    path = parquet("l", path=["a.png", "b.png", "c.png"], output=[None, "x", "y.webp"], n=[1, 2, 3])
    made = listed(path)
    assert pairs(made) == {"a.png": "out/a_x2.png", "b.png": "out/x.png", "c.png": "out/y.webp"}
    assert [item.origin for item in made.items][2] == "l, row 3"
    assert pairs(listed(parquet("m", path=["a.png"]))) == {"a.png": "out/a_x2.png"}


def test_parquet_files_that_are_no_lists():
    with pytest.raises(BatchError, match="l has no column named path"):
        listed(parquet("l", file=["a.png"]))
    with pytest.raises(BatchError, match="the column path is int64; make it text"):
        listed(parquet("l", path=[1]))
    with pytest.raises(BatchError, match="l, row 2: the path of the picture is missing"):
        listed(parquet("l", path=["a.png", None]))
    content = parquet("l", path=["a.png"] * 9).read_bytes()
    for damaged in (content[:40], content[:-1], content[:4] + b"\xff" * 60 + content[64:]):
        Path("l").write_bytes(damaged)
        with pytest.raises(BatchError, match="l is damaged or cut short"):
            listed(Path("l"))


def test_without_pyarrow(monkeypatch: pytest.MonkeyPatch):
    Path("l").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BatchError, match=r"pip install 'atdsr\[parquet\]', or write the list as"):
        listed(Path("l"))
