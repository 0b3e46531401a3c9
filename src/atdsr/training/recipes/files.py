"""The files of recipes: those that come with atdsr, and the bases that a recipe builds on."""

import stat
from pathlib import Path
from typing import Any

from atdsr.base import yaml_io
from atdsr.base.errors import short, similar
from atdsr.base.yaml_io import YamlError
from atdsr.training.recipes.partial import PartialRecipe, RecipeError

_FOLDER = Path(__file__).parent
_SUFFIX = ".yaml"


def names() -> tuple[str, ...]:
    """Return the names of the recipes that come with atdsr."""
    return tuple(sorted(path.stem for path in _FOLDER.glob(f"*{_SUFFIX}")))


def find(recipe: str | Path, folder: Path | None = None) -> Path:
    """Return the file of a recipe.

    Args:
        recipe: A file, or the name of a recipe that comes with atdsr, or the beginning of one.
        folder: Folder that the file is relative to; by default the working directory.

    Raises:
        RecipeError: There is none, or several.
    """
    path = Path(recipe) if folder is None else folder / recipe
    if _is_file(path):
        return path
    known = names()
    matches = [name for name in known if name.startswith(str(recipe))]
    if str(recipe) in known:
        matches = [str(recipe)]
    if len(matches) == 1:
        return _FOLDER / f"{matches[0]}{_SUFFIX}"
    listed = ", ".join(matches or known)
    if matches:
        raise RecipeError(
            f"{short(str(recipe))} begins the names of several recipes; name one of {listed}."
        )
    meant = _similar(path)
    if meant is not None:
        raise RecipeError(f"{path} does not exist; did you mean {meant}?")
    raise RecipeError(
        f"there is no recipe {str(path)[:200]}: no file has that name, and atdsr comes with "
        f"{listed}."
    )


def read(path: Path) -> PartialRecipe:
    """Read a recipe and its bases.

    The name and the output folder of a run are its own; those of bases are left out.

    Raises:
        RecipeError: A file is no YAML mapping of plain values, or bases form a circle.
    """
    return _Reader().read(path)


class _Reader:
    """Reads each file once, however often it is a base."""

    def __init__(self) -> None:
        self._recipes: dict[Path, PartialRecipe] = {}
        self._open: list[Path] = []  # the files that build on the current one

    def read(self, path: Path) -> PartialRecipe:
        """Read a file and its bases.

        Raises:
            RecipeError: See `read`.
        """
        resolved = path.resolve()
        if resolved in self._open:
            circle = [*self._open[self._open.index(resolved) :], path]
            raise RecipeError(
                f"{path}: the bases go round in a circle: {' -> '.join(map(str, circle))}."
            )
        if len(self._open) > yaml_io.MAX_LEVELS:
            raise RecipeError(
                f"{path}: more than {yaml_io.MAX_LEVELS} bases build on each other; name fewer."
            )
        if resolved not in self._recipes:
            self._open.append(resolved)
            self._recipes[resolved] = self._read_file(path)
            self._open.pop()
        return self._recipes[resolved]

    def _read_file(self, path: Path) -> PartialRecipe:
        try:
            content = yaml_io.read(path)
        except YamlError as error:
            raise RecipeError(str(error)) from None
        recipe = PartialRecipe()
        for base in _bases(content.pop("base", []), path):
            try:
                base_path = find(base, path.parent)
            except RecipeError as error:
                raise RecipeError(f"{path}: base: {error}") from None
            recipe = recipe.under(self.read(base_path).without("name", "output"))
        return recipe.under(PartialRecipe({str(path): content}))


def _similar(path: Path) -> Path | None:
    """Return the recipe beside a missing file that is probably meant."""
    for suffix in (".yaml", ".yml"):  # the same name with another suffix, or with one
        if path.name and _is_file(path.with_suffix(suffix)):
            return path.with_suffix(suffix)
    meant = similar(path) if path.suffix in (".yaml", ".yml") else None
    return meant if meant is not None and _is_file(meant) else None


def _is_file(path: Path) -> bool:
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError):  # for example, the name is too long
        return False


def _bases(value: Any, path: Path) -> list[str]:
    bases = value if isinstance(value, list) else [value]
    for base in bases:
        if not isinstance(base, str) or not base:
            raise RecipeError(
                f"{path}: base is {short(base)}; it is the file or the name of a recipe, or a list "
                "of them."
            )
    return bases
