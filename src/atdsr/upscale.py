"""`Upscaler`: pictures in, pictures of the same kind out, `scale` times as large."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from atdsr import checkpoint, memory, pixels, resample, zoo
from atdsr.errors import AtdsrError
from atdsr.model import ATD
from atdsr.pixels import Picture

Precision = Literal["fp32", "bf16"]
Progress = Callable[[float], None]
Kind = TypeVar("Kind", Image.Image, np.ndarray, Tensor, Picture)


class UpscaleError(AtdsrError):
    """A picture that cannot be enlarged here, or an option that does not exist here."""


class Upscaler:
    """An ATD ready to enlarge pictures.

    Attributes:
        model: the network itself, `b 3 h w` -> `b 3 h*scale w*scale`, RGB in [0, 1], unclamped.
        scale: how many times the sides grow.
        device: where the network is.
        precision: "fp32", or "bf16" for matrix products in bfloat16 (sums stay in float32).

    Example:
        >>> import atdsr, numpy
        >>> upscaler = atdsr.load("atd-light-x2")
        >>> upscaler(numpy.zeros((3, 5, 3), numpy.uint8)).shape
        (6, 10, 3)
    """

    def __init__(
        self, model: ATD, *, device: str | torch.device = "auto", precision: Precision = "fp32"
    ) -> None:
        if precision not in ("fp32", "bf16"):
            raise UpscaleError(f"precision is {precision!r}; it is 'fp32' or 'bf16'.")
        self.device = choose_device(device)
        self.model = model.to(self.device).eval()
        self.scale = model.config.scale
        self.precision = precision

    def __call__(self, picture: Kind, *, progress: Progress = lambda _: None) -> Kind:
        """Enlarge a picture and give back the same kind.

        Args:
            picture: a `PIL.Image.Image`; samples `h w c` of uint8 or uint16 with 1 to 4 channels
                (gray, gray and alpha, RGB, RGBA); a floating-point tensor `b c h w` in [0, 1]
                with 1 or 3 channels; or a `pixels.Picture`.
            progress: called with the share of the work that is done, from 0 to 1.

        Returns:
            The same kind, dtype, device and number of channels. A Pillow image of mode 1, P,
            CMYK or the like comes back as the nearest of L, LA, RGB and RGBA. Alpha is enlarged
            by bicubic resampling, which keeps what is opaque opaque.

        Raises:
            UpscaleError: another kind of object, or more memory than there is.
            PictureError: samples that are no picture.
        """
        if isinstance(picture, Picture):
            return self._enlarge(picture, progress)
        if isinstance(picture, np.ndarray):
            return cast("Kind", self._enlarge(Picture(picture), progress).samples)
        if isinstance(picture, Image.Image):
            return pixels.to_pil(self._enlarge(pixels.from_pil(picture), progress))
        if isinstance(picture, Tensor):
            return self._run(picture, progress)
        raise UpscaleError(
            f"a {type(picture).__name__} is no picture; give a PIL image, an array h w c of uint8 "
            "or uint16, or a tensor b c h w in [0, 1]."
        )

    def _enlarge(self, picture: Picture, progress: Progress) -> Picture:
        colour, alpha = pixels.split_alpha(picture.samples)
        enlarged = pixels.to_array(
            self._run(pixels.to_tensor(colour), progress), picture.samples.dtype
        )
        if alpha is not None:
            alpha = resample.upscale(alpha, self.scale)
        return Picture(pixels.join_alpha(enlarged, alpha), picture.icc)

    def _run(self, image: Tensor, progress: Progress) -> Tensor:
        """`b c h w` -> `b c h*scale w*scale`, clamped to [0, 1]."""
        if image.ndim != 4 or image.shape[1] not in (1, 3) or not image.is_floating_point():
            raise UpscaleError(
                f"a tensor is b c h w of floats with 1 or 3 channels, not {tuple(image.shape)} "
                f"of {image.dtype}."
            )
        if 0 in image.shape:
            raise UpscaleError(f"a tensor of {tuple(image.shape)} holds no picture.")
        self._refuse_too_large(image)
        work = image.to(self.device, next(self.model.parameters()).dtype)
        autocast = torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.precision == "bf16"
        )
        with torch.inference_mode(), autocast, self._layers_reported(progress):
            try:
                out = self.model(pixels.gray_to_rgb(work))
            except torch.OutOfMemoryError:
                raise UpscaleError(_too_large(image)) from None
            except RuntimeError as error:  # what the CPU's allocator raises
                if "can't allocate memory" not in str(error):
                    raise
                raise UpscaleError(_too_large(image)) from None
        out = out.clamp(0, 1)
        if image.shape[1] == 1:
            out = pixels.luma(out)
        return out.to(image.device, image.dtype).clone()  # a normal tensor again

    def _refuse_too_large(self, image: Tensor) -> None:
        """Say no before the system ends the process.

        Raises:
            UpscaleError: the main memory that is free is clearly too little.
        """
        free = memory.available_bytes()
        if self.device.type != "cpu" or free is None:
            return
        need = bytes_per_pixel(self.model) * image[:, 0].numel()
        if need > free:
            raise UpscaleError(
                f"{_too_large(image)} It would take about {need / 2**30:.1f} GiB where "
                f"{free / 2**30:.1f} GiB are free."
            )

    @contextmanager
    def _layers_reported(self, progress: Progress) -> Iterator[None]:
        layers = self.model.layers
        done = 0

        def report(*_: object) -> None:
            nonlocal done
            done += 1
            progress(done / len(layers))

        hooks = [layer.register_forward_hook(report) for layer in layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def load(
    name_or_path: str | Path,
    device: str | torch.device = "auto",
    precision: Precision = "fp32",
    *,
    category_size: int | None = None,
) -> Upscaler:
    """An `Upscaler` of a named model or of a file of weights.

    Args:
        name_or_path: a name of `atdsr models`, or a `.safetensors` or official `.pth` file.
        device: "auto" takes CUDA, then MPS, then the CPU; or a device by name.
        precision: "fp32" or "bf16".
        category_size: of a file that cannot tell it (the published networks can).

    Raises:
        CheckpointError: no such model, or no such weights in the file.
        UpscaleError: no such device or precision.
    """
    path = Path(name_or_path)
    named = str(name_or_path) in [model.name for model in zoo.MODELS]
    if not named and (path.suffix.lower() in checkpoint.SUFFIXES or path.exists()):
        weights = checkpoint.load(path, category_size=category_size)
    else:
        weights = zoo.find(str(name_or_path)).load()
    return Upscaler(weights.build(), device=device, precision=precision)


def choose_device(device: str | torch.device) -> torch.device:
    """The device of that name, "auto" being the fastest there is.

    Raises:
        UpscaleError: unknown, or not on this machine.
    """
    here = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if device == "auto":
        return torch.device(next((name for name, there in here.items() if there()), "cpu"))
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise UpscaleError(f"there is no device {device!r}; use auto, cpu, cuda or mps.") from None
    if chosen.type != "cpu" and not here.get(chosen.type, lambda: False)():
        raise UpscaleError(f"this PyTorch has no {chosen.type} device here; use auto or cpu.")
    return chosen


def bytes_per_pixel(model: ATD) -> int:
    """Main memory that a float32 forward pass takes at its peak, per LR pixel.

    Fitted to what `benchmarks/memory.py` measures: 6.8 kB for the light network, 24 kB for the
    classical one.
    """
    return 4 * (24 * model.config.width + 9 * model.config.dictionary_size)


def _too_large(image: Tensor) -> str:
    height, width = image.shape[-2:]
    return f"a picture of {width}x{height} is too large for the memory of this machine."
