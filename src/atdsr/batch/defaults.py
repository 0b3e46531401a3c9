"""Values that a person did not type, and which of them give way to what was typed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from atdsr import imaging
from atdsr.base.option_values import STREAM
from atdsr.batch.config import BatchConfig
from atdsr.batch.inputs import is_folder_or_glob
from atdsr.batch.naming import names_format, without_format
from atdsr.batch.planning import is_folder


def give_way(config: BatchConfig, inputs: Sequence[str], out: str | None) -> BatchConfig:
    """Return what a command asks for, without the defaults that the rest of it excludes.

    Only the fields in `config.defaults` change, since the others were asked for:

    - A format gives way to the suffix of `out`, or to that of a template that is no default.
    - A template gives way to an `out` that is one file, and to standard input and output. Its
      suffix gives way to a format that is no default.
    - Entering folders gives way to standard input and output.

    A quality needs no change, since `plan` applies a default to the formats that have one.

    Args:
        config: What the command asks for.
        inputs: The inputs as a person writes them.
        out: The output as a person writes it.
    """
    streams = STREAM in (*inputs, out)
    several = len(inputs) > 1 or any(is_folder_or_glob(name) for name in inputs)
    has_suffix = (
        out is not None
        and not several
        and not is_folder(out)
        and Path(out).suffix.lower() in imaging.WRITABLE_SUFFIXES | config.clip_suffixes
    )
    format_name, template, recursive = config.format_name, config.template, config.recursive
    if "recursive" in config.defaults and streams:
        recursive = False
    if "template" in config.defaults and template is not None:
        if has_suffix or streams:
            template = None
        elif "format_name" not in config.defaults and format_name is not None:
            template = without_format(template)
    asked_name = None if "template" in config.defaults else template
    if "format_name" in config.defaults and (has_suffix or names_format(asked_name or "")):
        format_name = None
    return replace(config, format_name=format_name, template=template, recursive=recursive)
