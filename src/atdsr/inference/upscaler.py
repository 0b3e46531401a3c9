"""`Upscaler`: pictures in, pictures of the same kind out, as large as wanted."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from atdsr import imaging
from atdsr.imaging import Content, PictureLike, resample
from atdsr.inference.engine import Engine, Precision, Progress, Source, Tell, Tile, UpscaleError
from atdsr.network.kernels import cpu
from atdsr.network.model import ATD
from atdsr.weights import models


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
        picture: PictureLike,
        *,
        size: tuple[int, int] | None = None,
        out: np.ndarray | None = None,
        progress: Progress = lambda _: None,
        tell: Tell = lambda _: None,
    ) -> PictureLike:
        """Enlarge a picture and give back the same kind.

        Args:
            picture: an array `h w c` or `h w`, or a tensor `b c h w`, `c h w` or `h w`, of
                uint8, uint16, or floats in [0, 1]; a `PIL.Image.Image`; or a `pixels.Picture`.
                1 to 4 channels are gray, gray and alpha, RGB, RGBA. The table in
                docs/upscaling.md has every shape, dtype, mode and range.
            size: width and height of the result in pixels, by default `scale` times the
                picture's. The network is used as often as it takes to reach both, not at all
                where they are reached already; then antialiased bicubic makes it that size.
            out: samples `h w c` (or `h w`) of the picture's dtype and channels to write the
                result into, such as a file mapped into memory; not for tensors or floats. What
                is in it is complete only when the call returns.
            progress: called with the share of the work that is done, from 0 to 1; it falls back
                where memory ran out and the work begins again with tiles.
            tell: called with a sentence where the picture takes much memory, or tiles.

        Returns:
            The same kind, dtype, device and number of dimensions and channels. A Pillow image of
            mode 1, P, CMYK or the like comes back as the nearest of L, LA, RGB and RGBA. Floats
            are not rounded, and clamped to [0, 1]. Alpha is enlarged by bicubic resampling,
            which keeps what is opaque opaque.

        Raises:
            UpscaleError: a size or an `out` that does not fit, or more memory than there is.
            PictureError: another kind of object, or a shape, dtype, mode or range of none.
        """
        given = imaging.convert_input(picture)
        outs = None
        if out is not None:
            if isinstance(picture, Tensor) or isinstance(given.content, Tensor):
                raise UpscaleError("`out` is for arrays of uint8 or uint16; leave it out.")
            outs = [self._checked_out(out, given.content[0], size)]
        return given.restore(self._enlarged(given.content, size, outs, progress, tell))

    def estimate(self, height: int, width: int) -> int:
        """Main memory in bytes that a picture of that size takes as a whole; see `Engine`."""
        return self.engine.estimate(height, width)

    def batch(
        self,
        pictures: Sequence[PictureLike],
        *,
        size: tuple[int, int] | None = None,
        progress: Progress = lambda _: None,
        tell: Tell = lambda _: None,
    ) -> list[PictureLike]:
        """Enlarge pictures of one size, depth and number of channels side by side.

        For small pictures this is faster than one after another (`benchmarks/batches.py`).

        Args:
            pictures: one at least, each of a kind that `__call__` takes.
            size: see `__call__`, like the next two.
            progress: for all of them together.
            tell: for all of them together.

        Returns:
            What each picture becomes, of the kind that it was.

        Raises:
            UpscaleError: see `__call__`; also for pictures that differ in shape or depth.
            PictureError: see `__call__`.
        """
        given = [imaging.convert_input(picture) for picture in pictures]
        if not given:
            raise UpscaleError("a batch has at least one picture.")
        together = _joined([each.content for each in given])
        made = self._enlarged(together, size, None, progress, tell)
        stops = np.cumsum([len(each.content) for each in given])
        return [
            each.restore(made[stop - len(each.content) : stop])
            for each, stop in zip(given, stops, strict=True)
        ]

    def _enlarged(
        self,
        content: Content,
        size: tuple[int, int] | None,
        outs: list[np.ndarray] | None,
        progress: Progress,
        tell: Tell,
    ) -> Content:
        """Either form of pictures in that form; `outs` is where samples go."""
        if isinstance(content, Tensor):
            return self._enlarge_floats(content, size, progress, tell)
        if outs is None:
            outs = [np.empty(self._result_shape(each, size), each.dtype) for each in content]
        self._enlarge(content, outs, progress, tell)
        return outs

    def _checked_out(
        self, out: np.ndarray, samples: np.ndarray, size: tuple[int, int] | None
    ) -> np.ndarray:
        room = out[..., None] if out.ndim == 2 else out
        shape = self._result_shape(samples, size)
        if room.shape != shape or room.dtype != samples.dtype:
            raise UpscaleError(
                f"out is {out.shape} of {out.dtype} and the result {shape} of {samples.dtype}."
            )
        return room

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
        colours = [imaging.visible_colours(samples) for samples in pictures]
        made = [imaging.split_alpha(out)[0] for out in outs]
        if (to_height, to_width) == (self.scale * height, self.scale * width):
            self._fill(made, colours, progress, tell)
        else:
            # 16 bits in between, so that only the last rounding counts
            for begin, end in self._shares(width, height, to_width, to_height):
                shape = (self.scale * height, self.scale * width, colours[0].shape[2])
                wide = [np.empty(shape, np.uint16) for _ in colours]
                self._fill(wide, colours, _part_of(progress, begin, end), tell)
                colours, (height, width) = wide, shape[:2]
            for target, colour, samples in zip(made, colours, pictures, strict=True):
                alpha = imaging.split_alpha(samples)[1]
                resized = _resized(colour, alpha, to_height, to_width)
                target[...] = imaging.to_uint8(resized) if target.dtype == np.uint8 else resized
        if channels in (2, 4):
            for out, samples in zip(outs, pictures, strict=True):
                out[..., -1:] = resample.resize(samples[..., -1:], to_height, to_width)

    def _fill(
        self,
        made: Sequence[np.ndarray],
        colours: Sequence[resample.Readable],
        progress: Progress,
        tell: Tell,
    ) -> None:
        """Colours `h w c` into `made`, of any depth; tiles are read as they are needed."""

        def read(rows: slice, columns: slice) -> Tensor:
            return torch.cat([imaging.to_tensor(colour[rows, columns]) for colour in colours])

        source = Source(read, len(colours), *colours[0].shape[:2])
        for top, part in self.engine.parts(source, progress, tell):
            for number, target in enumerate(made):
                band = target[top : top + part.shape[-2]]
                band[...] = imaging.to_array(part[number : number + 1], target.dtype)
                if isinstance(target, np.memmap):
                    imaging.release_memory(target)  # else all of it would be in memory in the end

    def _enlarge_floats(
        self, image: Tensor, size: tuple[int, int] | None, progress: Progress, tell: Tell
    ) -> Tensor:
        """Floats `b c h w` of 1 to 4 channels, likewise."""
        width, height = self._result_size(image.shape[-1], image.shape[-2], size)
        has_alpha = image.shape[1] in (2, 4)
        alpha = image[:, -1:] if has_alpha else None
        made = _visible(image) if has_alpha else image
        shares = self._shares(image.shape[-1], image.shape[-2], width, height)
        for begin, end in shares:
            made = self._enlarge_once(made, _part_of(progress, begin, end), tell)
        if made.shape[-2:] != (height, width):
            made = _resized_floats(made, alpha, height, width)
        elif not shares:
            made = made.clamp(0, 1)  # a copy, and as all other results
        if alpha is None:
            return made
        return torch.cat([made, _resized_floats(alpha, None, height, width)], dim=1)

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

    def _result_shape(
        self, samples: np.ndarray, size: tuple[int, int] | None
    ) -> tuple[int, int, int]:
        height, width, channels = samples.shape
        width, height = self._result_size(width, height, size)
        return height, width, channels

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
            models.load(name_or_path, category_size=category_size).build(),
            device=device,
            precision=precision,
            tile=tile,
            overlap=overlap,
            ensemble=ensemble,
        )


def _joined(contents: Sequence[Content]) -> Content:
    """Pictures of one form, shape and dtype as one batch."""
    tensors = [each for each in contents if isinstance(each, Tensor)]
    samples = [array for each in contents if not isinstance(each, Tensor) for array in each]
    looks = {(each.shape[1:], each.dtype, each.device) for each in tensors}
    looks |= {(array.shape, array.dtype) for array in samples}
    if len(looks) != 1:
        raise UpscaleError("pictures of a batch are of one size, depth and kind.")
    return torch.cat(tensors) if tensors else samples


def _visible(image: Tensor) -> Tensor:
    """The colours of floats `b c h w` with alpha, those of hidden pixels filled."""
    colours = [imaging.visible_colours(_samples(picture))[:, :] for picture in image]
    return _stacked(colours).to(image)


def _resized_floats(image: Tensor, alpha: Tensor | None, height: int, width: int) -> Tensor:
    """Floats `b c h w` by bicubic, with the alpha `b 1 h w` of what they were made of."""
    alphas = [None] * len(image) if alpha is None else [_samples(each) for each in alpha]
    resized = [
        _resized(_samples(picture), each, height, width)
        for picture, each in zip(image, alphas, strict=True)
    ]
    return _stacked(resized).clamp_(0, 1).to(image)


def _samples(picture: Tensor) -> np.ndarray:
    """Floats `c h w` as an array h w c of float64, which holds all kinds of them exactly."""
    return picture.double().cpu().permute(1, 2, 0).numpy()


def _stacked(pictures: Sequence[np.ndarray]) -> Tensor:
    """The inverse of `_samples` for a batch."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def _resized(
    colours: resample.Readable, alpha: np.ndarray | None, height: int, width: int
) -> np.ndarray:
    """Colours h w c by bicubic, with the alpha h w 1 of the picture that they were made of."""
    if isinstance(colours, np.ndarray) and (alpha is None or alpha.min() == alpha.max()):
        return resample.resize(colours, height, width)
    assert alpha is not None, "only alpha hides what is then filled"
    fitting = resample.resize(alpha, *colours.shape[:2])
    return resample.resize_colours(colours, fitting, height, width)


def _part_of(progress: Progress, begin: float, end: float) -> Progress:
    return lambda share: progress(begin + (end - begin) * share)
