"""How far flat pictures drift in spandrel's network, in ours, and in `Upscaler`.

    python benchmarks/flat.py [MODEL_OR_FILE...]

Each figure is the largest deviation in levels of 255. Without names, the bundled models.
"""

import sys
import warnings

import torch

from atdsr import inference
from atdsr.evaluation import other_networks
from atdsr.weights import models, official_state_dict
from script import run_script

COLOURS = {"white": (255, 255, 255), "green": (0, 255, 0), "red": (255, 0, 0), "gray": (128,) * 3}
SIDES = (8, 16, 32, 64)


def main() -> None:
    """Measure and print."""
    names = sys.argv[1:] or [model.name for model in models.BUNDLED]
    spandrel = other_networks.import_spandrel()
    print("| model | side | colour | spandrel | network | upscaler |\n|---|---|---|---|---|---|")
    for name in names:
        upscaler = inference.load(name, "cpu")
        official = official_state_dict(models.load_weights(name))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other people's code
            theirs = spandrel.ModelLoader().load_from_state_dict(official).eval()
        for side in SIDES:
            for colour, levels in COLOURS.items():
                image = (torch.tensor(levels) / 255).view(1, 3, 1, 1).repeat(1, 1, side, side)
                with torch.inference_mode():
                    made = [theirs(image), upscaler.model(image).clamp(0, 1), upscaler(image)]
                drifts = [255 * (each - image[..., :1, :1]).abs().max().item() for each in made]
                figures = " | ".join(f"{drift:.1f}" for drift in drifts)
                print(f"| {name} | {side} | {colour} | {figures} |", flush=True)


if __name__ == "__main__":
    run_script(main)
