"""What is said about an option that a command does not have.

Most such options are mistyped. Others are those of programs for the same task: their users get
the option of ours that does it.
"""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atdsr.base.scales import SCALES

ARGUMENTS = "atdsr.arguments"
"""Key in the `meta` of Click's context for the words on the command line of a command."""

_FOR_PRINT = (
    "choose the size in pixels with --size: inches times dots per inch, such as --size 2400x3000 "
    "for 8 by 10 inches at 300 dpi"
)
_ENLARGING = {
    "-i": "name the picture or folder itself, as in `atdsr upscale photo.jpg`",
    "--input": "name the picture or folder itself, as in `atdsr upscale photo.jpg`",
    "-n": "choose a model with -m (`atdsr models` lists them)",
    "--model-name": "choose a model with -m (`atdsr models` lists them)",
    "--model-path": "choose a model or a file of weights with -m",
    "-t": "choose the side of tiles with --tile, which is rarely needed",
    "--tile-size": "choose the side of tiles with --tile, which is rarely needed",
    "--tile-pad": "choose how many pixels tiles share with --overlap",
    "--tile-overlap": "choose how many pixels tiles share with --overlap",
    "--pre-pad": "leave it out, since pictures of any size are padded as needed",
    "-x": "take the mean over 8 flips and turns with --ensemble",
    "--dpi": _FOR_PRINT,
    "--print-size": _FOR_PRINT,
    "--resize": "use --size or --outscale",
    "--geometry": "use --size or --outscale",
    "--density": "choose the size in pixels with --size",
    "--strip": "leave out camera, place, date and author with --strip-metadata",
    "--tta": "take the mean over 8 flips and turns with --ensemble",
    "--self-ensemble": "take the mean over 8 flips and turns with --ensemble",
    "-g": "choose the device with --device, and one of several GPUs with CUDA_VISIBLE_DEVICES",
    "--gpu-id": "choose the device with --device, and one of several GPUs with "
    "CUDA_VISIBLE_DEVICES",
    "--cpu": "choose the device with --device cpu",
    "--ext": "choose the format with -f",
    "--suffix": "name outputs with --name, such as --name '{stem}_large'",
    "--fp32": "leave it out, since fp32 is what --precision is by default",
    "--fp16": "choose bfloat16 with --precision bf16",
    "--half": "choose bfloat16 with --precision bf16",
    "--face-enhance": "leave it out, since ATD enlarges faces as it does all else",
    "--denoise-strength": "leave it out, since ATD enlarges and does not remove noise",
    "--alpha-upsampler": "leave it out, since transparency is always enlarged by bicubic",
}
"""By what Real-ESRGAN and its relatives call the option."""

_TRAINING = {
    "--auto-resume": "leave it out, since the same command always goes on where a run stopped",
    "--resume": "leave it out, since the same command always goes on where a run stopped",
    "--force-yml": "replace settings with --set, such as --set optim.lr=2e-4",
    "--launcher": "start several processes with torchrun",
    "--local-rank": "leave it out, since torchrun tells it by itself",
    "--debug": "check a recipe with --dry-run",
}
"""By what BasicSR calls the option."""

_TIMES = re.compile(r"(?:^| )-x *=? *(\d+)")

_ADVICE = {"upscale": _ENLARGING, "train": _TRAINING}


def long_with_one_dash(words: Sequence[str], command: Any) -> str | None:
    """Return a sentence about a long option with one dash, as those of ImageMagick; None if none.

    Click would take `-output a.png` for `-o utput a.png`.

    Args:
        words: The words on the command line of the command.
        command: Click's command.
    """
    known = {"--help", *(name for parameter in command.params for name in parameter.opts)}
    for word in words:
        option = word.partition("=")[0]
        if option == "--":
            break
        if len(option) < 3 or option.startswith("--") or option in known:
            continue
        if option.startswith("-") and f"-{option}" in known:
            return f"There is no option {option}; did you mean -{option}?"
        if advice := _advice(command.name, option):
            return f"There is no option {option}; {advice}."
    return None


def unknown_option(error: Any) -> str:
    """Return a sentence about an option that a command does not have, and what to use instead.

    Args:
        error: Click's `NoSuchOption`.
    """
    option: str = error.option_name
    words: Sequence[str] = error.ctx.meta.get(ARGUMENTS, ()) if error.ctx is not None else ()
    command = error.ctx.info_name if error.ctx is not None else ""
    advice = _advice(command, option)
    match = _TIMES.search(" ".join(words))
    if command == "upscale" and match and option == "-x":
        times = match[1]
        advice = (
            f"enlarge by {times} with --{'scale' if int(times) in SCALES else 'outscale'} {times}"
        )
    if advice is None and error.possibilities:
        advice = f"did you mean {' or '.join(sorted(error.possibilities))}?"
    if advice is None:
        option = _whole_word(option, words)
        if error.ctx is not None and error.ctx.parent is None:
            sentence = long_with_one_dash([option], error.ctx.command)
            return sentence or _before_the_command(option, words)
        return f"There is no option {option}."
    return f"There is no option {option}; {advice}{'' if advice.endswith('?') else '.'}"


def _advice(command: str | None, option: str) -> str | None:
    """Return what to do in place of another program's option, with one dash or two."""
    advice = _ADVICE.get(command or "", {})
    name = option.replace("_", "-").lower()
    if len(name) > 2 and not name.startswith("--"):
        name = f"-{name}"
    return advice.get(name)


def _whole_word(option: str, words: Sequence[str]) -> str:
    """Return the word that Click has split into letters, such as -foo for -f."""
    for word in words:
        if word[:1] == "-" and word[:2] != "--" and option[1:] in word[1:]:
            return word.partition("=")[0]
    return option


def _before_the_command(option: str, words: Sequence[str]) -> str:
    """Return a sentence about an option in the place of a command."""
    picture = next((word for word in words if Path(word).exists()), None)
    if picture is not None:
        command = f"atdsr upscale {shlex.quote(picture)}"
        return f"There is no option {option}; enlarge {picture} with: {command}"
    if option in ("-i", "--input"):
        return f"There is no option {option}; {_ENLARGING[option]}."
    return f"There is no option {option} here; name a command first, as in `atdsr upscale a.png`."
