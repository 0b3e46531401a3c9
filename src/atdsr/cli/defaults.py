"""Defaults of a person's own: a file in TOML whose values stand for options that are not given.

A table for each command holds options by their long names, such as `quality = 92` in `[upscale]`;
commands in a group have tables like `[data.pack]`. Click takes these values where an option is not
on the command line, and reads them by the option's own rules.
"""

import os
from pathlib import Path
from typing import Any

from typer.core import TyperOption

from atdsr.base.errors import AtdsrError, nearest, unreadable

VARIABLE = "ATDSR_CONFIG"
"""Environment variable with the path of another file; an empty value stands for none."""


class DefaultsError(AtdsrError):
    """The file with defaults cannot be read, or has a key that is no command or option."""


def file() -> Path | None:
    """Return the path of the file, which need not exist; None if there shall be none."""
    if (path := os.environ.get(VARIABLE)) is not None:
        return Path(path) if path else None
    import platformdirs

    return platformdirs.user_config_path("atdsr", appauthor=False) / "config.toml"


def read(group: Any) -> dict[str, Any]:
    """Return the defaults for a group of commands, as Click's `default_map` has them.

    Raises:
        DefaultsError: The file is not TOML, has unknown keys or values of another kind, or does not
            exist although `VARIABLE` names it.
    """
    path = file()
    if path is None:
        return {}
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        if isinstance(error, FileNotFoundError) and VARIABLE not in os.environ:
            return {}
        named = f"{VARIABLE}: " if VARIABLE in os.environ else ""
        raise DefaultsError(f"{named}{unreadable(path, error)}") from None
    except UnicodeDecodeError:
        raise DefaultsError(f"{path} is not UTF-8; save it as such.") from None
    import tomllib

    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DefaultsError(f"{path} is not TOML: {error}.") from None
    return _of_group(content, group, path, "")


def check(context: Any) -> None:
    """Check the defaults of all commands of a group by the rules of their options.

    Args:
        context: Click's context of the group, with what `read` returned.

    Raises:
        typer.BadParameter: A value is none of its option.
    """
    for name in context.default_map or {}:
        command = context.command.commands[name]
        below = type(context)(command, parent=context, info_name=name)
        if hasattr(command, "commands"):
            check(below)
            continue
        for option in command.params:
            if option.name in below.default_map and not option.is_flag:  # `read` knows flags
                option.handle_parse_result(below, {}, [])


def _of_group(content: dict[str, Any], group: Any, path: Path, before: str) -> dict[str, Any]:
    """Return the defaults of the commands of a group."""
    made: dict[str, Any] = {}
    for name, value in content.items():
        key = f"{before}{name}"
        command = group.commands.get(name)
        if command is None:
            raise DefaultsError(f"{path}: {_unknown(key, name, group.commands, 'command')}")
        if not isinstance(value, dict):
            raise DefaultsError(f"{path}: {key} is a command; write its options below [{key}].")
        if hasattr(command, "commands"):
            made[name] = _of_group(value, command, path, f"{key}.")
        else:
            made[name] = _of_command(value, command, path, f"{key}.")
    return made


def _of_command(content: dict[str, Any], command: Any, path: Path, before: str) -> dict[str, Any]:
    """Return the defaults of a command by the names of its parameters."""
    options = {
        option.removeprefix("--"): parameter
        for parameter in command.params
        if isinstance(parameter, TyperOption) and parameter.name != "help"
        for option in parameter.opts
        if option.startswith("--")
    }
    made: dict[str, Any] = {}
    for name, value in content.items():
        option = options.get(name)
        if option is None:
            raise DefaultsError(f"{path}: {_unknown(before + name, name, options, 'option')}")
        made[str(option.name)] = _value(value, option, f"{path}: {before}{name}")
    return made


def _value(value: Any, option: TyperOption, subject: str) -> Any:
    """Return a value as it would be typed; that of a flag is true or false.

    Raises:
        DefaultsError: It is of another kind than the option's values.
    """
    if option.is_flag:
        if not isinstance(value, bool):
            raise DefaultsError(f"{subject} is true or false.")
        return value
    if option.multiple:
        values = value if isinstance(value, list) else [value]
        return [_text(each, subject) for each in values]
    return _text(value, subject)


def _text(value: Any, subject: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DefaultsError(f"{subject} is a text or a number, as on the command line.")
    return str(value)


def _unknown(key: str, name: str, names: Any, kind: str) -> str:
    meant = nearest(name, names)
    advice = f"did you mean {meant}?" if meant else f"the {kind}s are {', '.join(names)}."
    article = "an" if kind == "option" else "a"
    return f"{key} is not {article} {kind}; {advice}"
