"""How much each choice of the protocol matters: bicubic on Set5 and Set14, one change at a time.

    python benchmarks/protocol.py FOLDER

FOLDER holds the pictures in Set5/HR and Set14/HR. A line is a choice made unlike `docs/protocol.md`
makes it; its figures are the changes of the means of the sets, then the least and the greatest.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from PIL import Image

from atdsr import imaging
from atdsr.evaluation import testsets
from atdsr.imaging.metrics import psnr, psnr_y, shave, ssim, y_channel
from atdsr.imaging.resample import crop_to_multiple, downscale, upscale
from script import run_script

SETS = ("Set5", "Set14")
SCALES = (2, 3, 4)
GRAY = "bridge"  # the one file of a single channel; WebP has none, so that a copy may hold three
PADDING = 4  # LR pixels, more than the two that the cubic kernel reaches


def main(folder: Path) -> None:
    """Print the table, a column for each set and scale."""
    columns = [(name, scale) for name in SETS for scale in SCALES]
    heads = [f"{name} x{scale}" for name, scale in columns] + ["least", "greatest"]
    print(f"{'in dB of PSNR, unless it says':34}" + "".join(f"{head:>10}" for head in heads))
    means = [measure_set(folder / name, scale) for name, scale in columns]
    for choice in means[0]:
        values = [mean[choice] for mean in means]
        cells = [*values, min(values), max(values)]
        print(f"{choice:34}" + "".join(f"{cell:10.4f}" for cell in cells))


def measure_set(folder: Path, scale: int) -> dict[str, float]:
    """The means over a set's pictures of what `measure` gives."""
    (pictures,) = testsets.find(folder, scale)
    found = [measure(pair.hr, scale) for pair in pictures.pairs]
    return {choice: float(np.mean([each[choice] for each in found])) for choice in found[0]}


def measure(path: Path, scale: int) -> dict[str, float]:
    """PSNR of one HR picture by the protocol, and its change by choice; then what is not PSNR."""
    samples = crop_to_multiple(imaging.read(path).samples, scale)
    hr = np.repeat(samples, 3, axis=2) if samples.shape[2] == 1 else samples
    lr = downscale(hr, scale)
    sr = upscale(lr, scale)
    unrounded = upscale(lr.astype(np.float64), scale)
    plain = by_pytorch(hr, scale, antialias=False)
    pillow, pytorch = by_pillow(hr, scale), by_pytorch(hr, scale, antialias=True)
    clamped = with_clamped_border(downscale, hr, scale, PADDING * scale, PADDING)
    clamped = with_clamped_border(upscale, clamped, scale, PADDING, PADDING * scale)
    inner_hr, inner_sr = shave(hr, scale), shave(sr, scale)

    def score(output: np.ndarray) -> float:
        return psnr_y(hr, output, scale)

    def compare(values: Callable[[np.ndarray], np.ndarray], by: Callable = psnr) -> float:
        return by(values(inner_hr), values(inner_sr))

    decibels = {
        "PSNR over R, G and B": compare(levels),
        "Y in full range": compare(full_range_luma),
        "LR without antialiasing": score(upscale(plain, scale)),
        "no border shaved": psnr_y(hr, sr, 0),
        f"{GRAY} in its own range": compare(levels if path.stem == GRAY else y_channel),
        "Y rounded": compare(rounded_luma),
        "output truncated": score(unrounded.clip(0, 255).astype(np.uint8)),
        "border clamped": score(clamped),
        "LR by Pillow": score(upscale(pillow, scale)),
        "LR by PyTorch, antialiased": score(upscale(pytorch, scale)),
    }
    return {
        "bicubic by the protocol": score(sr),
        **{choice: value - score(sr) for choice, value in decibels.items()},
        "SSIM: Y rounded": compare(rounded_luma, ssim) - compare(y_channel, ssim),
        "% of LR that differs, Pillow": 100 * float(np.mean(pillow != lr)),
        "% of LR that differs, PyTorch": 100 * float(np.mean(pytorch != lr)),
    }


def levels(rgb: np.ndarray) -> np.ndarray:
    """R, G and B as they are, from 0 to 255."""
    return rgb.astype(np.float64)


def full_range_luma(rgb: np.ndarray) -> np.ndarray:
    """Y from 0 for black to 255 for white, not rounded: the first plane of YIQ."""
    return 255 * imaging.gray_from_rgb(imaging.to_tensor(rgb))[0, 0].double().numpy()


def rounded_luma(rgb: np.ndarray) -> np.ndarray:
    """Y as MATLAB's `rgb2ycbcr` gives it for integers."""
    return np.floor(y_channel(rgb) + 0.5)


def by_pillow(hr: np.ndarray, scale: int) -> np.ndarray:
    """LR by Pillow, which always antialiases."""
    size = (hr.shape[1] // scale, hr.shape[0] // scale)
    return np.asarray(Image.fromarray(hr).resize(size, Image.Resampling.BICUBIC))


def by_pytorch(hr: np.ndarray, scale: int, antialias: bool) -> np.ndarray:
    """LR by PyTorch in float32, rounded once."""
    size = (hr.shape[0] // scale, hr.shape[1] // scale)
    tensor = F.interpolate(imaging.to_tensor(hr), size, mode="bicubic", antialias=antialias)
    return imaging.to_array(tensor)


def with_clamped_border(
    resample: Callable[[np.ndarray, int], np.ndarray],
    samples: np.ndarray,
    scale: int,
    before: int,
    after: int,
) -> np.ndarray:
    """Resample with the edge pixel repeated `before` times, and shave `after` pixels again."""
    padded = np.pad(samples, ((before, before), (before, before), (0, 0)), "edge")
    return shave(resample(padded, scale), after)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python benchmarks/protocol.py FOLDER")
    run_script(partial(main, Path(sys.argv[1])))
