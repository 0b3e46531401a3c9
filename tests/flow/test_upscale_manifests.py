"""`atdsr upscale --manifest`: pictures from a list."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from atdsr import cli
from helpers.upscaling import Run, refused, save


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_pictures_of_a_list_and_what_is_missing(run: Run):
    save("in/a.png")
    save("in/p/b.png")
    Path("in/bad.png").write_bytes(b"no picture")
    Path("list").write_text("p/b.png\tnew/b.webp\n\nbad.png\na.png\nnone/c.png\n")
    command = ("in", "--manifest", "list", "-o", "out", "--failures", "failed")
    said = run(*command, code=1)
    assert said[:2] == ["in/p/b.png -> out/new/b.webp", "in/a.png -> out/a_x2.png"]
    assert said[2].startswith("error: list, line 3: in/bad.png: not a picture")
    assert said[3].startswith("error: list, line 5: in/none/c.png does not exist: there is no")
    assert said[4:] == ["2 of 4 pictures done, 2 failed"]
    assert len(Path("failed").read_text().splitlines()) == 2
    assert run(*command, code=1)[-1] == "0 of 4 pictures done, 2 skipped, 2 failed"


def test_shards_of_a_list_make_the_whole(run: Run):
    names = [f"{n}.png" for n in range(6)]
    for name in names:
        save(name)
    Path("list").write_text("\n".join(names))
    for k in (1, 2):
        run("--manifest", "list", "-o", "out", "--shard", f"{k}/2")
    assert sorted(path.name for path in Path("out").iterdir()) == [f"{n}_x2.png" for n in range(6)]
    assert run("--manifest", "list", "-o", "out")[-1] == "0 of 6 pictures done, 6 skipped"


def test_nothing_is_made_of_a_list_with_a_broken_line(run: Run):
    save("a.png")
    Path("list").write_text("a.png\na.png\tb\tc\n")
    said = refused(run, "--manifest", "list", "-o", "out")
    assert said.startswith("error: list, line 2: the line has more than one tab")
    assert "none does not exist" in refused(run, "--manifest", "none")


def test_wrong_commands(run: Run):
    Path("list").write_text("a.png")
    for arguments in (["-", "-o", "b.png"], ["-o", "-"]):
        said = run(*arguments, "--manifest", "list", code=2)[-1]
        assert "--manifest and - exclude each other" in said
    assert "Name a picture, a folder or a glob" in run(code=2)[-1]


def test_the_rest_of_the_command_works_with_a_list(tiny_file: Path):
    save("a.png")
    Path("list").write_text("a.png\nnone.png")
    command = ["upscale", "-m", str(tiny_file), "--manifest", "list"]
    forecast = CliRunner().invoke(cli.app, [*command, "--dry-run"])
    assert forecast.exit_code == 1
    assert forecast.stdout.startswith("a.png -> a_x2.png  14x10 -> 28x20, ")
    assert forecast.stderr.startswith("error: list, line 2: none.png does not exist")
    preview = CliRunner().invoke(cli.app, [*command, "--preview"])
    assert preview.stderr.splitlines()[1].startswith("error: list, line 2: none.png does not")
    assert Path("a_x2_preview.png").is_file()
