"""Scripts end in a sentence where a file, a folder or a name is wrong."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

import crops
import parts
import results
import script
import sizes
import tiles
from atdsr.base.errors import AtdsrError


def end_of(main: script.Main) -> str | int | None:
    with pytest.raises(SystemExit) as ended:
        script.run_script(main)
    return ended.value.code


def test_what_ends_a_script() -> None:
    def refuse() -> None:
        raise AtdsrError("a.png is empty.")

    assert end_of(lambda: None) is None
    assert end_of(lambda: 3) == 3
    assert end_of(refuse) == "error: a.png is empty."
    with pytest.raises(ZeroDivisionError):  # a defect of the script is shown as one
        script.run_script(lambda: 1 // 0)


@pytest.mark.parametrize(
    ("module", "arguments", "sentence"),
    [
        (results, ["gone.json"], "gone.json does not exist"),
        (results, ["other.json"], "other.json is not a file that `atdsr eval --json` has written"),
        (sizes, ["--read", "other.json"], "other.json is not a file that benchmarks/sizes.py"),
        (tiles, ["gone.png"], "gone.png does not exist"),
        (tiles, ["other.json"], "other.json: not a picture"),
        (crops, ["gone"], "gone does not exist"),
        (crops, ["."], "has no picture of a megapixel or more"),
        (parts, ["gone", "-m", "bicubic", "-o", "out.png"], "HR does not exist"),
        (parts, [".", "-m", "swinir", "-o", "out.png"], "neither a file nor a model called"),
    ],
)
def test_wrong_files_folders_and_models(
    module: ModuleType,
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.json").write_text(json.dumps({"a": 1}))
    monkeypatch.setattr(sys, "argv", [module.__name__, *arguments])
    said = str(end_of(module.main))
    assert said.startswith("error: ")
    assert sentence in said
