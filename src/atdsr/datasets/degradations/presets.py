"""The degradations that have a name, with the ranges that were published."""

import math
from collections.abc import Callable, Mapping
from typing import Literal, get_args

from atdsr.datasets.degradations.config import (
    Blur,
    BlurKernel,
    Choice,
    Degradation,
    InOrder,
    Jpeg,
    Noise,
    Resize,
    ResizeKernel,
    Shuffle,
    Webp,
)

PresetName = Literal["web", "bsrgan", "realesrgan"]
"""The names of the presets."""

NAMES: tuple[PresetName, ...] = get_args(PresetName)

_INTERPOLATED: dict[ResizeKernel, float] = {"area": 1.0, "bilinear": 1.0, "bicubic": 1.0}


def preset(name: PresetName, scale: int) -> Degradation:
    """Return the degradation of a name.

    Args:
        name: Its name.
        scale: Scale of LR, on which BSRGAN's blur depends.
    """
    return _PRESETS[name](scale)


def _web(scale: int) -> Degradation:
    """Return a mild one: pictures that were shrunk with care, and saved once as JPEG.

    A third are clean. Without them, a network that had learned to remove noise and JPEG lost 2.4 dB
    on clean pictures (Set5 x2).
    """
    widest = 0.4 * scale  # pixels of HR, less than half a pixel of LR
    side = 2 * math.ceil(3 * widest) + 1
    return Degradation(
        operations=(
            Blur(
                probability=0.5,
                kernels={"iso": 0.7, "aniso": 0.3},
                sigma=(widest / 4, widest),
                size=(side, side),
            ),
            Resize(
                kernels={
                    "antialiased_bicubic": 0.5,
                    "antialiased_bilinear": 0.2,
                    "area": 0.15,
                    "lanczos": 0.15,
                }
            ),
            Noise(probability=0.4, sigma=(0.5, 6.0), poisson=0.3, strength=(0.05, 0.3), gray=0.4),
            Choice(
                probability=0.9,
                operations=(
                    Jpeg(quality=(50, 95), subsampled=0.75),
                    Webp(quality=(50, 95)),
                ),
                weights=(0.95, 0.05),
            ),
        ),
        clean=1 / 3,
    )


def _bsrgan(scale: int) -> Degradation:
    """Return the degradation of Zhang et al., arXiv 2103.14006, sections 3.1 to 3.4.

    What the paper leaves open is as in its code (github.com/cszn/BSRGAN, `utils/utils_blindsr.py`).
    Instead of the noise of a camera's sensor (section 3.3), whose pipelines are not here, the same
    share of crops gets Poisson noise. Its decimation after a blur by a kernel that is shifted by
    half a pixel is a bilinear one here, which needs no shift. At scale 4, its code goes on with the
    ranges of scale 2 after the picture was halved; here they stay those of scale 4. HR is not
    sharpened.
    """
    sizes = (7, 25)
    blur = Choice(  # either kind with the same probability, where the paper has one blur of each
        operations=(
            Blur(sigma=(0.1, 2 + 0.2 * scale), size=sizes),
            Blur(kernels={"aniso": 1.0}, variance=(0.5, 4.0 + scale), size=sizes),
        )
    )
    halved = Resize(
        probability=0.25,
        relative_to="current",
        factor=(0.5, 0.5),
        kernels={**_INTERPOLATED, "antialiased_bicubic": 3.0},
    )
    shrunk = Resize(
        relative_to="current",
        factor=(1 / (2 * scale), 1),
        uniform="inverse",
        kernels=_INTERPOLATED,
    )
    decimated = InOrder(
        operations=(
            Blur(sigma=(0.1, 0.6 * scale), size=(25, 25)),
            Resize(kernels={"bilinear": 1.0}),
        )
    )
    return Degradation(
        operations=(
            *((halved,) if scale == 4 else ()),
            Shuffle(
                operations=(
                    blur,
                    blur,
                    Choice(operations=(shrunk, decimated), weights=(0.75, 0.25)),
                    Resize(kernels=_INTERPOLATED),
                    Noise(sigma=(2, 25), gray=0.4, correlated=0.2),
                    Jpeg(probability=0.9, quality=(30, 95)),
                    Noise(probability=0.25, poisson=1),
                )
            ),
            Jpeg(quality=(30, 95)),
        )
    )


def _realesrgan(scale: int) -> Degradation:
    """Return the second-order degradation of Wang et al., arXiv 2107.10833, section 3 and appendix.

    The numbers are those of its option file (github.com/xinntao/Real-ESRGAN,
    `options/train_realesrgan_x4plus.yml`). They do not depend on the scale. HR is not sharpened.
    """
    del scale
    kernels: dict[BlurKernel, float] = {
        "iso": 0.405,
        "aniso": 0.225,
        "generalized_iso": 0.108,
        "generalized_aniso": 0.027,
        "plateau_iso": 0.108,
        "plateau_aniso": 0.027,
        "sinc": 0.1,
    }
    jpeg = Jpeg(quality=(30, 95))
    last_sinc = Blur(probability=0.8, kernels={"sinc": 1.0}, cutoff=(1 / 3, 1))
    last_resize = Resize(kernels=_INTERPOLATED)
    return Degradation(
        operations=(
            Blur(kernels=kernels, sigma=(0.2, 3)),
            Resize(
                relative_to="current",
                up=0.2,
                down=0.7,
                factor=(0.15, 1.5),
                kernels=_INTERPOLATED,
            ),
            Noise(sigma=(1, 30), poisson=0.5, strength=(0.05, 3), gray=0.4),
            jpeg,
            Blur(probability=0.8, kernels=kernels, sigma=(0.2, 1.5)),
            Resize(up=0.3, down=0.4, factor=(0.3, 1.2), kernels=_INTERPOLATED),
            Noise(sigma=(1, 25), poisson=0.5, strength=(0.05, 2.5), gray=0.4),
            Choice(
                operations=(
                    InOrder(operations=(last_resize, last_sinc, jpeg)),
                    InOrder(operations=(jpeg, last_resize, last_sinc)),
                )
            ),
        )
    )


_PRESETS: Mapping[PresetName, Callable[[int], Degradation]] = {
    "web": _web,
    "bsrgan": _bsrgan,
    "realesrgan": _realesrgan,
}
