"""`Upscaler`: pictures in, pictures of the same kind out, as large as wanted."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from atdsr import pixels, resample, zoo
from atdsr.inference import Engine, Precision, Progress, Source, Tell, Tile, UpscaleError
from atdsr.kernels import cpu
from atdsr.model import ATD
from atdsr.pixels import Picture

Kind = TypeVar("Kind", Image.Image, np.ndarray, Tensor, Picture)


class Upscaler:
    """An ATD ready to enlarge pictures.

    A picture is enlarged as a whole where memory allows, since the network looks at similar
    places all over it. Where it does not, tiles are used, smaller and smaller until they fit.

    Args:
        model: the network.
        device: "auto" takes CUDA, then MPS, then the CPU; or a device by name.
        precision: "fp32", or "bf16" for matrix products in bfloat16 (sums stay in float32).
        tile: side of a tile in pixels of the input; "auto" for tiles only where the whole does
            not fit, "off" for never.
        overlap: pixels of the input that neighbouring tiles share, 32 by default.
        ensemble: take the mean over the eight flips and transposes of the picture (self-ensemble,
            "+" in the field's tables): a little better, eight times as long.

    Attributes:
        model: `b 3 h w` -> `b 3 h*scale w*scale`, RGB in [0, 1], unclamped.
        scale: how many times the sides grow.
        device: where the network is.
        engine: what runs it.

    Raises:
        UpscaleError: no such device, precision, tile or overlap.

    Example:
        >>> import atdsr, numpy
        >>> upscaler = atdsr.load("atd-light-x2")
        >>> upscaler(numpy.zeros((3, 5, 3), numpy.uint8)).shape
        (6, 10, 3)
    """

    def __init__(
        self,
        model: ATD,
        *,
        device: str | torch.device = "auto",
        precision: Precision = "fp32",
        tile: Tile = "auto",
        overlap: int | None = None,
        ensemble: bool = False,
    ) -> None:
        self.engine = Engine(
            model,
            device=device,
            precision=precision,
            tile=tile,
            overlap=overlap,
            ensemble=ensemble,
        )
        self.model = model
        self.scale = model.config.scale
        self.device = self.engine.device

    def __call__(
        self,
        picture: Kind,
        *,
        size: tuple[int, int] | None = None,
        out: np.ndarray | None = None,
        progress: Progress = lambda _: None,
        tell: Tell = lambda _: None,
    ) -> Kind:
        """Enlarge a picture and give back the same kind.

        Args:
            picture: a `PIL.Image.Image`; samples `h w c` of uint8 or uint16 with 1 to 4 channels
                (gray, gray and alpha, RGB, RGBA); a floating-point tensor `b c h w` in [0, 1]
                with 1 or 3 channels; or a `pixels.Picture`.
            size: width and height of the result in pixels, by default `scale` times the
                picture's. The network is used as often as it takes to reach both, not at all
                where they are reached already; then antialiased bicubic makes it that size.
            out: samples `h w c` of the picture's dtype and channels to write the result into,
                such as a file mapped into memory; not for a tensor. What is in it is complete
                only when the call returns.
            progress: called with the share of the work that is done, from 0 to 1; it falls back
                where memory ran out and the work begins again with tiles.
            tell: called with a sentence where the picture takes much memory, or tiles.

        Returns:
            The same kind, dtype, device and number of channels. A Pillow image of mode 1, P,
            CMYK or the like comes back as the nearest of L, LA, RGB and RGBA. Alpha is enlarged
            by bicubic resampling, which keeps what is opaque opaque.

        Raises:
            UpscaleError: another kind of object, a size or an `out` that does not fit, or more
                memory than there is.
            PictureError: samples that are no picture.
        """
        if isinstance(picture, Tensor):
            if out is not None:
                raise UpscaleError("a tensor becomes a tensor of its own; leave out `out`.")
            return self._enlarge_tensor(picture, size, progress, tell)
        if isinstance(picture, Picture):
            return self._enlarge_picture(picture, size, out, progress, tell)
        if isinstance(picture, np.ndarray):
            made = self._enlarge_picture(Picture(picture), size, out, progress, tell)
            return cast("Kind", made.samples)
        if isinstance(picture, Image.Image):
            source = pixels.from_pil(picture)
            made = self._enlarge_picture(source, size, out, progress, tell)
            return pixels.to_pil(made)
        raise UpscaleError(
            f"a {type(picture).__name__} is no picture; give a PIL image, an array h w c of uint8 "
            "or uint16, or a tensor b c h w in [0, 1]."
        )

    def estimate(self, height: int, width: int) -> int:
        """Main memory in bytes that a picture of that size takes as a whole; see `Engine`."""
        return self.engine.estimate(height, width)

    def batch(
        self,
        pictures: Sequence[Picture],
        *,
        size: tuple[int, int] | None = None,
        progress: Progress = lambda _: None,
        tell: Tell = lambda _: None,
    ) -> list[Picture]:
        """Enlarge pictures of one size, depth and number of channels side by side.

        For small pictures this is faster than one after another (`benchmarks/batches.py`).

        Args:
            pictures: one at least.
            size: see `__call__`, like the next two.
            progress: for all of them together.
            tell: for all of them together.

        Raises:
            UpscaleError: see `__call__`; also for pictures that differ in shape or depth.
        """
        first = pictures[0].samples
        if any(p.samples.shape != first.shape or p.samples.dtype != first.dtype for p in pictures):
            raise UpscaleError("pictures of a batch are of one size, depth and kind.")
        width, height = self._result_size(pictures[0].width, pictures[0].height, size)
        outs = [np.empty((height, width, first.shape[2]), first.dtype) for _ in pictures]
        self._enlarge([picture.samples for picture in pictures], outs, progress, tell)
        return [replace(p, samples=out) for p, out in zip(pictures, outs, strict=True)]

    def _enlarge_picture(
        self,
        picture: Picture,
        size: tuple[int, int] | None,
        out: np.ndarray | None,
        progress: Progress,
        tell: Tell,
    ) -> Picture:
        width, height = self._result_size(picture.width, picture.height, size)
        shape = (height, width, picture.samples.shape[2])
        if out is None:
            out = np.empty(shape, picture.samples.dtype)
        elif out.shape != shape or out.dtype != picture.samples.dtype:
            raise UpscaleError(
                f"out is {out.shape} of {out.dtype} and the result {shape} of "
                f"{picture.samples.dtype}."
            )
        self._enlarge([picture.samples], [out], progress, tell)
        return replace(picture, samples=out)

    def _enlarge(
        self,
        pictures: Sequence[np.ndarray],
        outs: Sequence[np.ndarray],
        progress: Progress,
        tell: Tell,
    ) -> None:
        """Samples `h w c` into samples of the size wanted, all of one shape and depth."""
        height, width = pictures[0].shape[:2]
        to_height, to_width, channels = outs[0].shape
        colours = [pixels.split_alpha(samples)[0] for samples in pictures]
        made = [pixels.split_alpha(out)[0] for out in outs]
        if (to_height, to_width) == (self.scale * height, self.scale * width):
            self._fill(made, colours, progress, tell)
        else:
            # 16 bits in between, so that only the last rounding counts
            for begin, end in self._shares(width, height, to_width, to_height):
                shape = (self.scale * height, self.scale * width, colours[0].shape[2])
                wide = [np.empty(shape, np.uint16) for _ in colours]
                self._fill(wide, colours, _part_of(progress, begin, end), tell)
                colours, (height, width) = wide, shape[:2]
            for target, colour in zip(made, colours, strict=True):
                resized = resample.resize(colour, to_height, to_width)
                target[...] = pixels.to_uint8(resized) if target.dtype == np.uint8 else resized
        if channels in (2, 4):
            for out, samples in zip(outs, pictures, strict=True):
                out[..., -1:] = resample.resize(samples[..., -1:], to_height, to_width)

    def _fill(
        self,
        made: Sequence[np.ndarray],
        colours: Sequence[np.ndarray],
        progress: Progress,
        tell: Tell,
    ) -> None:
        """Colours `h w c` into `made`, of any depth; tiles are read as they are needed."""

        def read(rows: slice, columns: slice) -> Tensor:
            return torch.cat([pixels.to_tensor(colour[rows, columns]) for colour in colours])

        source = Source(read, len(colours), *colours[0].shape[:2])
        for top, part in self.engine.parts(source, progress, tell):
            for number, target in enumerate(made):
                band = target[top : top + part.shape[-2]]
                band[...] = pixels.to_array(part[number : number + 1], target.dtype)
                if isinstance(target, np.memmap):
                    pixels.release(target)  # else all of it would be in memory in the end

    def _enlarge_tensor(
        self, image: Tensor, size: tuple[int, int] | None, progress: Progress, tell: Tell
    ) -> Tensor:
        if image.ndim != 4 or image.shape[1] not in (1, 3) or not image.is_floating_point():
            raise UpscaleError(
                f"a tensor is b c h w of floats with 1 or 3 channels, not {tuple(image.shape)} "
                f"of {image.dtype}."
            )
        if 0 in image.shape:
            raise UpscaleError(f"a tensor of {tuple(image.shape)} holds no picture.")
        width, height = self._result_size(image.shape[-1], image.shape[-2], size)
        made = image.detach()
        for begin, end in self._shares(image.shape[-1], image.shape[-2], width, height):
            made = self._enlarge_once(made, _part_of(progress, begin, end), tell)
        if made.shape[-2:] == (height, width):
            return made.clone() if made.data_ptr() == image.data_ptr() else made
        resized = [
            resample.resize(picture.double().cpu().permute(1, 2, 0).numpy(), height, width)
            for picture in made
        ]
        return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).to(made).clamp(0, 1)

    def _enlarge_once(self, image: Tensor, progress: Progress, tell: Tell) -> Tensor:
        batch, channels, height, width = image.shape
        made = image.new_empty(batch, channels, self.scale * height, self.scale * width)
        source = Source(lambda rows, columns: image[..., rows, columns], batch, height, width)
        for top, part in self.engine.parts(source, progress, tell):
            made[..., top : top + part.shape[-2], :] = part
        return made

    def _result_size(
        self, width: int, height: int, size: tuple[int, int] | None
    ) -> tuple[int, int]:
        if size is None:
            return self.scale * width, self.scale * height
        if min(size) < 1:
            raise UpscaleError(f"a size of {size[0]}x{size[1]} pixels is no picture.")
        return size

    def _shares(
        self, width: int, height: int, to_width: int, to_height: int
    ) -> list[tuple[float, float]]:
        """Begin and end, as shares of the work, of each use of the network."""
        sizes = []
        while width < to_width or height < to_height:
            sizes.append(width * height)
            width, height = self.scale * width, self.scale * height
        ends = np.cumsum(sizes) / max(1, sum(sizes))
        return list(zip([0.0, *ends[:-1]], ends, strict=True)) if sizes else []


def load(
    name_or_path: str | Path,
    device: str | torch.device = "auto",
    precision: Precision = "fp32",
    *,
    category_size: int | None = None,
    tile: Tile = "auto",
    overlap: int | None = None,
    ensemble: bool = False,
) -> Upscaler:
    """An `Upscaler` of a named model or of a file of weights.

    Args:
        name_or_path: a name of `atdsr models`, or a `.safetensors` or official `.pth` file.
        device: "auto" takes CUDA, then MPS, then the CPU; or a device by name.
        precision: "fp32" or "bf16".
        category_size: of a file that cannot tell it (the published networks can).
        tile: see `Upscaler`, like the next two.
        overlap: 32 by default.
        ensemble: off by default.

    Raises:
        CheckpointError: no such model, no such weights in the file, or a category size for a
            named model, which knows its own.
        UpscaleError: no such device, precision, tile or overlap.
    """
    with cpu.one_thread():  # so that a process can be forked after it
        return Upscaler(
            zoo.load(name_or_path, category_size=category_size).build(),
            device=device,
            precision=precision,
            tile=tile,
            overlap=overlap,
            ensemble=ensemble,
        )


def _part_of(progress: Progress, begin: float, end: float) -> Progress:
    return lambda share: progress(begin + (end - begin) * share)
