"""The names that `import atdsr` offers, to people, completion and type checkers."""

import rlcompleter
import subprocess
import sys
from pathlib import Path

import pytest

import atdsr


def test_the_public_names_are_offered_before_they_are_imported() -> None:
    assert set(atdsr.__all__) <= set(dir(atdsr))
    assert "TYPE_CHECKING" not in dir(atdsr)
    complete = rlcompleter.Completer({"atdsr": atdsr}).complete
    assert complete("atdsr.lo", 0) == "atdsr.load("
    for name in atdsr.__all__:
        assert getattr(atdsr, name).__name__ == name


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = atdsr.nonsense  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.slow
def test_a_type_checker_knows_the_names_and_refuses_others(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    sources = Path(atdsr.__file__).parents[1]
    (tmp_path / "pyrightconfig.json").write_text(f'{{"extraPaths": ["{sources.as_posix()}"]}}')
    script.write_text(
        "import atdsr\n"
        "reveal_type(atdsr.load('atd-light-x2'))\n"
        "atdsr.nonsense\n"
        "atdsr.load('atd-light-x2', tyle=3)\n"
    )
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "-p", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    lines = [line.strip() for line in done.stdout.splitlines() if "script.py:" in line]
    assert 'Type of "atdsr.load(\'atd-light-x2\')" is "Upscaler"' in lines[0]
    assert '"nonsense" is not a known attribute of module "atdsr"' in lines[1]
    assert 'No parameter named "tyle"' in lines[-1]
    assert done.returncode == 1
