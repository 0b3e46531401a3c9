"""The files of recipes: those that come with atdsr, and the bases that a recipe builds on."""

import stat
from pathlib import Path
from typing import Any

from atdsr.base import yaml_io
from atdsr.base.errors import short
from atdsr.base.yaml_io import YamlError
from atdsr.training.recipes.drafts import Draft, RecipeError

_HERE = Path(__file__).parent
_SUFFIX = ".yaml"


def names() -> tuple[str, ...]:
    """The recipes that come with atdsr, one for each published run."""
    return tuple(sorted(path.stem for path in _HERE.glob(f"*{_SUFFIX}")))


def find(recipe: str | Path, folder: Path | None = None) -> Path:
    """The file of a recipe.

    Args:
        recipe: a file, or the name of one that comes with atdsr, or the beginning of such a name.
        folder: from where the file is seen; by default, from where the command runs.

    Raises:
        RecipeError: there is none, or several.
    """
    path = Path(recipe) if folder is None else folder / recipe
    if _is_file(path):
        return path
    known = names()
    found = [name for name in known if name.startswith(str(recipe))]
    if str(recipe) in known:
        found = [str(recipe)]
    if len(found) == 1:
        return _HERE / f"{found[0]}{_SUFFIX}"
    listed = ", ".join(found or known)
    if found:
        raise RecipeError(f"{short(str(recipe))} begins the names of several recipes: {listed}.")
    raise RecipeError(
        f"there is no recipe {str(path)[:200]}: it is no file, and atdsr comes with {listed}."
    )


def read(path: Path) -> Draft:
    """The values of a recipe, with those of its bases below them.

    The name and the folder of a run are its own; those of bases are left out.

    Raises:
        RecipeError: a file is no YAML mapping of plain values, or bases go round in a circle.
    """
    return _Reader().draft(path)


class _Reader:
    """Reads each file once, however often it is a base."""

    def __init__(self) -> None:
        self.drafts: dict[Path, Draft] = {}
        self.open: list[Path] = []

    def draft(self, path: Path) -> Draft:
        """The values of a file and its bases.

        Raises:
            RecipeError: see `read`.
        """
        place = path.resolve()
        if place in self.open:
            circle = " -> ".join(str(step) for step in [*self.open[self.open.index(place) :], path])
            raise RecipeError(f"{path}: the bases go round in a circle: {circle}.")
        if len(self.open) > yaml_io.MAX_LEVELS:
            raise RecipeError(f"{path}: more than {yaml_io.MAX_LEVELS} bases build on each other.")
        if place not in self.drafts:
            self.open.append(place)
            self.drafts[place] = self._draft(path)
            self.open.pop()
        return self.drafts[place]

    def _draft(self, path: Path) -> Draft:
        try:
            content = yaml_io.read(path)
        except YamlError as error:
            raise RecipeError(str(error)) from None
        below = Draft()
        for base in _bases(content.pop("base", []), path):
            try:
                found = find(base, path.parent)
            except RecipeError as error:
                raise RecipeError(f"{path}: base: {error}") from None
            below = below.under(self.draft(found).without("name", "output"))
        return below.under(Draft.of(content, str(path)))


def _is_file(path: Path) -> bool:
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError):  # a name that is too long, say
        return False


def _bases(value: Any, path: Path) -> list[str]:
    several = value if isinstance(value, list) else [value]
    for base in several:
        if not isinstance(base, str) or not base:
            raise RecipeError(
                f"{path}: base is {short(base)}; it is the file or the name of a recipe, or a list "
                "of them."
            )
    return several
