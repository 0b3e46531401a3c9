"""What is said about an option that a command does not have.

Most such options are mistyped. Others are those of programs for the same task: their users get
the option of ours that does it.
"""

import re
from typing import Any

from atdsr.base.scales import SCALES

ARGUMENTS = "atdsr.arguments"
"""Key in the `meta` of Click's context for the words on the command line of a command."""

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
    "--dpi": "choose the size in pixels with --size: inches times dots per inch, such as "
    "--size 2400x3000 for 8 by 10 inches at 300 dpi",
    "--print-size": "choose the size in pixels with --size: inches times dots per inch, such as "
    "--size 2400x3000 for 8 by 10 inches at 300 dpi",
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


def unknown_option(error: Any) -> str:
    """Return a sentence about an option that a command does not have, and what to use instead.

    Args:
        error: Click's `NoSuchOption`.
    """
    option: str = error.option_name
    command = error.ctx.info_name if error.ctx is not None else ""
    advice = _ADVICE.get(command, {}).get(option.replace("_", "-").lower())
    words = " ".join(error.ctx.meta.get(ARGUMENTS, ())) if error.ctx is not None else ""
    if command == "upscale" and (match := _TIMES.search(words)) and option == "-x":
        times = match[1]
        advice = (
            f"enlarge by {times} with --{'scale' if int(times) in SCALES else 'outscale'} {times}"
        )
    if advice is None and error.possibilities:
        advice = f"did you mean {' or '.join(sorted(error.possibilities))}?"
    if advice is None:
        return f"There is no option {option}."
    return f"There is no option {option}; {advice}{'' if advice.endswith('?') else '.'}"
