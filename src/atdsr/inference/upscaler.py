"""`Upscaler`: pictures in, pictures of the same kind out, at any size."""

import logging
import math
import operator
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from atdsr import imaging
from atdsr.base import memory, units
from atdsr.base.errors import short
from atdsr.base.reporter import SILENT, Reporter
from atdsr.base.scales import RESTORING
from atdsr.imaging import Content, PictureLike, resample
from atdsr.inference import budget, onnx_network, tiles
from atdsr.inference.borders import Edges
from atdsr.inference.budget import Workload
from atdsr.inference.config import InferenceConfig, Precision, Provider, Tile, UpscaleError
from atdsr.inference.onnx_network import OnnxNetwork
from atdsr.inference.runner import NetworkRunner, OnnxRunner
from atdsr.network.kernels import cpu, gpu
from atdsr.network.model import ATD
from atdsr.network.unet import Network
from atdsr.weights import WeightsError, models

_LOGGER = logging.getLogger("atdsr")

_LONGEST_SIDE = 10**8  # the bytes of a square with such sides can still be addressed

ParameterSet = Literal["params_ema", "params"]
"""The sets of parameters that a file may hold."""

Read = Callable[[slice, slice], Tensor]
"""Rows and columns -> that region of the pictures, floats `b c h w` in [0, 1], 1 or 3 channels."""


class Upscaler:
    """A network ready to enlarge or restore pictures, from any number of threads at once.

    A picture is enlarged as a whole where memory allows, since the network looks at similar
    places all over it. Where it does not, tiles are used, smaller and smaller until they fit.

    Args:
        model: The network, in PyTorch or in an ONNX file.
        config: How to run it.
        restorer: A network of scale 1 that each picture goes through first, with 16 bits or floats
            in between; None for none.
        **options: Fields of `InferenceConfig` that replace those of `config`, such as
            `device="cpu"`, `precision`, `tile`, `overlap` or `ensemble`.

    Attributes:
        model: The network: `b 3 h w` -> `b 3 h*scale w*scale`, RGB in [0, 1], unclamped; an ATD-U
            for gray pictures has one channel in and out.
        parameters: Number of its learned values; 0 where an ONNX file does not tell it.
        config: How it runs. The device is a device of this machine, the precision is not "auto",
            and the overlap is a number.
        device: Where the network is.
        scale: How many times the sides grow; 1 for an ATD-U, which restores.
        channels: Channels of what the network takes: 3, or 1 for an ATD-U for gray pictures.
        restorer: As above.

    Raises:
        UpscaleError: There is no such device, precision, tile or overlap, or the restorer enlarges.

    Example:
        >>> import atdsr, numpy
        >>> upscaler = atdsr.load("atd-light-x2")
        >>> upscaler(numpy.zeros((3, 5, 3), numpy.uint8)).shape
        (6, 10, 3)
    """

    def __init__(
        self,
        model: Network | OnnxNetwork,
        config: InferenceConfig | None = None,
        *,
        restorer: "Upscaler | None" = None,
        **options: Any,
    ) -> None:
        if restorer is not None and restorer.scale != RESTORING:
            raise UpscaleError(
                f"the restorer enlarges by {restorer.scale}; name a network that restores."
            )
        self.restorer = restorer
        config = replace(config or InferenceConfig(), **options)
        # `Any`, so that users' type checkers offer what an ATD has, which nearly all models are
        self.model: ATD | Any = model
        if not isinstance(model, OnnxNetwork):
            if config.provider is not None:
                raise UpscaleError("a provider runs ONNX files; `atdsr export` makes one.")
            self.config = config.for_window(model.config.window)
            self._runner = NetworkRunner(model, self.config)
            self.parameters = sum(parameter.numel() for parameter in model.parameters())
        else:
            device = "cpu" if config.device == "auto" else config.device
            precision = "fp32" if config.precision == "auto" else config.precision
            self.config = replace(
                config, device=device, precision=precision, provider=model.provider
            ).for_window(model.window)
            self._runner = OnnxRunner(model, self.config)
            self.parameters = model.parameters
        self.device = torch.device(self.config.device)
        self.scale, self._window = self._runner.scale, self._runner.window
        self.channels = self._runner.channels
        self._steps, self._estimate = self._runner.steps, self._runner.estimate
        self._plans_memory = self._runner.plans_memory
        _LOGGER.debug("%s", self._runner.describe())

    def __repr__(self) -> str:
        """Say which network runs, at which scale, where and in which precision."""
        if isinstance(self.model, OnnxNetwork):
            return f"<Upscaler: {self.model.path.name} x{self.scale}, {self.model.provider}>"
        shape = f"{self.model.config.name} x{self.scale}, {self.parameters:,} parameters"
        return f"<Upscaler: {shape}, {self.device}, {self.config.precision}>"

    def __call__(
        self,
        picture: PictureLike,
        *,
        size: tuple[int, int] | None = None,
        out: np.ndarray | None = None,
        progress: Callable[[float], None] = SILENT.progress,
        tell: Callable[[str], None] = SILENT.notice,
    ) -> PictureLike:
        """Enlarge a picture and return the same kind of object.

        Args:
            picture: An array `h w c` or `h w`, or a tensor `b c h w`, `c h w` or `h w`, of
                uint8, uint16, or floats in [0, 1]; a `PIL.Image.Image`; or an `imaging.Picture`.
                1 to 4 channels are gray, gray and alpha, RGB, RGBA. The table in
                docs/upscaling.md has every shape, dtype, mode and range. Where pictures are
                restored, floats may lie beyond [0, 1], as noise brings them there.
            size: Width and height of the result in pixels, by default `scale` times the
                picture's. The network runs as often as it takes to reach both, and not at all
                where they are reached already; one of scale 1 runs once. Antialiased bicubic then
                makes it that size.
            out: Samples `h w c` (or `h w`) of the picture's dtype and channels to write the
                result into, such as a file mapped into memory. It cannot be used with tensors or
                floats, and its content is complete only when the call returns.
            progress: Called with the fraction of the work that is done, from 0 to 1. It falls
                back where memory ran out and the work begins again with tiles.
            tell: Called with a sentence where the picture takes much memory, or tiles.

        Returns:
            The same kind, dtype, device and number of dimensions and channels. A Pillow image of
            mode 1, P, CMYK or the like comes back as the nearest of L, LA, RGB and RGBA. Floats
            are not rounded, and clamped to [0, 1]. Alpha is enlarged by bicubic resampling,
            which keeps what is opaque opaque.

        Raises:
            UpscaleError: The size or `out` does not fit, or there is too little memory.
            PictureError: The object is of another kind, or its shape, dtype, mode or range is not
                that of a picture.
        """
        reporter = Reporter(progress, tell).logged()
        accepted = imaging.convert_input(picture, noisy=self._restores)
        content = accepted.content
        if out is not None and (isinstance(picture, Tensor) or isinstance(content, Tensor)):
            raise UpscaleError("`out` is for arrays of uint8 or uint16; leave it out.")
        if isinstance(content, Tensor):
            return accepted.restore(self._enlarge_floats(content, size, reporter))
        return accepted.restore(self._enlarge_samples(content, size, reporter, out))

    def batch(
        self,
        pictures: Sequence[PictureLike],
        *,
        size: tuple[int, int] | None = None,
        progress: Callable[[float], None] = SILENT.progress,
        tell: Callable[[str], None] = SILENT.notice,
    ) -> list[PictureLike]:
        """Enlarge pictures of one size, depth and number of channels side by side.

        For small pictures this is faster than one after another (`benchmarks/batches.py`).

        Args:
            pictures: A list or tuple of at least one picture, each of a kind that `__call__` takes.
            size: As in `__call__`.
            progress: As in `__call__`, for all pictures together.
            tell: As in `__call__`, for all pictures together.

        Returns:
            What each picture becomes, of the kind that it was.

        Raises:
            UpscaleError: As in `__call__`; also where pictures differ in shape or depth.
            PictureError: As in `__call__`.
        """
        if not isinstance(pictures, Sequence):
            kind = type(pictures).__name__
            raise UpscaleError(f"a batch is a list of pictures, not of type {kind}; put it in one.")
        if not pictures:
            raise UpscaleError("a batch has at least one picture.")
        reporter = Reporter(progress, tell).logged()
        accepted = [imaging.convert_input(picture, noisy=self._restores) for picture in pictures]
        content = _concatenated([picture.content for picture in accepted])
        if isinstance(content, Tensor):
            results = self._enlarge_floats(content, size, reporter)
        else:
            results = self._enlarge_samples(content, size, reporter)
        stops = np.cumsum([len(picture.content) for picture in accepted])
        return [
            picture.restore(results[stop - len(picture.content) : stop])
            for picture, stop in zip(accepted, stops, strict=True)
        ]

    def estimate(self, height: int, width: int) -> int:
        """Return the main memory in bytes that a picture of that size takes as a whole.

        Args:
            height: Height of the picture in pixels.
            width: Width of the picture in pixels.

        Raises:
            UpscaleError: The size is no size.
        """
        width, height = _checked_size((width, height))
        return self._estimate(height, width)

    def workload(self, width: int, height: int, size: tuple[int, int] | None = None) -> Workload:
        """Return what a picture would ask of the network, by what memory is free now.

        Of a restorer, only the memory is counted; its own `workload` tells the rest.

        Args:
            width: Width of the picture in pixels.
            height: Height of the picture in pixels.
            size: Width and height of the result in pixels, as in `__call__`.

        Raises:
            UpscaleError: The size is no size, or tiles are off and memory is clearly too small.
        """
        to_width, to_height = self._result_size(width, height, size)
        count, pixels, side, peak = 0, 0, None, 0
        sizes = budget.pass_sizes(self.scale, width, height, to_width, to_height)
        for width_now, height_now in sizes:
            tile = self._first_tile(1, height_now, width_now, SILENT)
            rows, columns = self._spans(height_now, tile), self._spans(width_now, tile)
            covered = (sum(span.stop - span.start for span in spans) for spans in (rows, columns))
            count += len(rows) * len(columns)
            pixels += math.prod(covered)
            side = tile if tile < max(width_now, height_now) else None
            peak = max(peak, self.estimate(min(tile, height_now), min(tile, width_now)))
        if self.restorer is not None:
            peak = max(peak, self.restorer.workload(width, height).memory or 0)
        return Workload(len(sizes), side, count, pixels, peak if self._plans_memory else None)

    # ----------------------------------------------------------- integers, floats, sizes, alpha

    def _enlarge_samples(
        self,
        pictures: Sequence[np.ndarray],
        size: tuple[int, int] | None,
        reporter: Reporter,
        out: np.ndarray | None = None,
    ) -> list[np.ndarray]:
        """Enlarge samples `h w c` of one shape and dtype, those of a single picture into `out`."""
        height, width, channels = pictures[0].shape
        dtype = pictures[0].dtype
        to_width, to_height = self._result_size(width, height, size)
        if out is None:
            shape = to_height, to_width, channels
            with _named_lack_of_memory(to_width, to_height):
                results = [np.empty(shape, dtype) for _ in pictures]
        else:
            results = [out[..., None] if out.ndim == 2 else out]
            if results[0].shape != (to_height, to_width, channels) or out.dtype != dtype:
                raise UpscaleError(
                    f"out is {out.shape} of {out.dtype} and the result "
                    f"{(to_height, to_width, channels)} of {dtype}; make `out` like the result."
                )
        colours = [imaging.visible_colours(samples) for samples in pictures]
        targets = [imaging.split_alpha(result)[0] for result in results]
        if self.restorer is not None:
            part, reporter = self._split(reporter, width, height, to_width, to_height)
            with _named_lack_of_memory(width, height):
                restored = [
                    np.empty((height, width, colour.shape[2]), np.uint16) for colour in colours
                ]
            self.restorer._run_samples(colours, restored, part)
            colours = restored
        if (to_height, to_width) == (self.scale * height, self.scale * width):
            self._run_samples(colours, targets, reporter)
        else:
            # 16 bits in between, so that only the last rounding counts
            for part in self._passes(width, height, to_width, to_height, reporter):
                shape = (self.scale * height, self.scale * width, colours[0].shape[2])
                with _named_lack_of_memory(shape[1], shape[0]):
                    enlarged = [np.empty(shape, np.uint16) for _ in colours]
                self._run_samples(colours, enlarged, part)
                colours, (height, width) = enlarged, shape[:2]
            for target, colour, samples in zip(targets, colours, pictures, strict=True):
                alpha = imaging.split_alpha(samples)[1]
                with _named_lack_of_memory(to_width, to_height):
                    resized = _resize(colour, alpha, to_height, to_width)
                    target[...] = imaging.to_uint8(resized) if dtype == np.uint8 else resized
        if channels in (2, 4):
            for result, samples in zip(results, pictures, strict=True):
                result[..., -1:] = resample.resize(samples[..., -1:], to_height, to_width)
        return results

    def _run_samples(
        self,
        colours: Sequence[resample.Readable],
        targets: Sequence[np.ndarray],
        reporter: Reporter,
    ) -> None:
        """Run the network once on colours `h w c`; tiles are read when they are needed."""

        def read(rows: slice, columns: slice) -> Tensor:
            return torch.cat([imaging.to_tensor(colour[rows, columns]) for colour in colours])

        height, width = colours[0].shape[:2]
        for top, band in self._bands(read, len(colours), height, width, reporter):
            for number, target in enumerate(targets):
                rows = target[top : top + band.shape[-2]]
                rows[...] = imaging.to_array(band[number : number + 1], target.dtype)
                if isinstance(target, np.memmap):  # all of it would be in memory at the end
                    imaging.release_memory(target)

    def _enlarge_floats(
        self, image: Tensor, size: tuple[int, int] | None, reporter: Reporter
    ) -> Tensor:
        """Enlarge floats `b c h w` with 1 to 4 channels."""
        width, height = self._result_size(image.shape[-1], image.shape[-2], size)
        with _named_lack_of_memory(width, height):
            image.new_empty(*image.shape[:2], height, width)  # fails now and not after the work
        alpha = image[:, -1:] if image.shape[1] in (2, 4) else None
        colours = image if alpha is None else _visible_floats(image)
        if self.restorer is not None:
            part, reporter = self._split(reporter, image.shape[-1], image.shape[-2], width, height)
            colours = self.restorer._run_floats(colours, part)
        passes = self._passes(image.shape[-1], image.shape[-2], width, height, reporter)
        for part in passes:
            colours = self._run_floats(colours, part)
        if colours.shape[-2:] != (height, width):
            with _named_lack_of_memory(width, height):
                colours = _resize_floats(colours, alpha, height, width)
        elif not passes:
            colours = colours.clamp(0, 1)  # a copy, in the range of all other results
        if alpha is None:
            return colours
        return torch.cat([colours, _resize_floats(alpha, None, height, width)], dim=1)

    def _run_floats(self, image: Tensor, reporter: Reporter) -> Tensor:
        batch, channels, height, width = image.shape
        to_height, to_width = self.scale * height, self.scale * width
        with _named_lack_of_memory(to_width, to_height):
            enlarged = image.new_empty(batch, channels, to_height, to_width)

        def read(rows: slice, columns: slice) -> Tensor:
            return image[..., rows, columns]

        for top, band in self._bands(read, batch, height, width, reporter):
            enlarged[..., top : top + band.shape[-2], :] = band
        return enlarged

    def _result_size(
        self, width: int, height: int, size: tuple[int, int] | None
    ) -> tuple[int, int]:
        if size is None:
            return self.scale * width, self.scale * height
        return _checked_size(size)

    @property
    def _restores(self) -> bool:
        return self.scale == RESTORING or self.restorer is not None

    def _split(
        self, reporter: Reporter, width: int, height: int, to_width: int, to_height: int
    ) -> tuple[Reporter, Reporter]:
        """Return reporters for the restorer, which counts like a pass, and for all passes."""
        count = 1 + len(budget.pass_sizes(self.scale, width, height, to_width, to_height))
        return reporter.part(0, 1 / count), reporter.part(1 / count, 1)

    def _passes(
        self, width: int, height: int, to_width: int, to_height: int, reporter: Reporter
    ) -> list[Reporter]:
        """Return a reporter for each time that the network has to run to reach a size."""
        passes = budget.pass_sizes(self.scale, width, height, to_width, to_height)
        sizes = [pass_width * pass_height for pass_width, pass_height in passes]
        ends = [0.0, *np.cumsum(sizes) / max(1, sum(sizes))]
        return [reporter.part(ends[n], ends[n + 1]) for n in range(len(sizes))]

    # --------------------------------------------------------------------------- memory and tiles

    def _bands(
        self, read: Read, batch: int, height: int, width: int, reporter: Reporter
    ) -> Iterator[tuple[int, Tensor]]:
        """Run the network once on pictures of one size, and yield bands from top to bottom.

        Where memory runs out, the work begins again at the top with smaller tiles, and the rows
        are yielded again, so that all bands belong to one result in the end.

        Args:
            read: Reads a region of the pictures, on any device and of any float dtype.
            batch: How many pictures there are.
            height: Height of the pictures in pixels.
            width: Width of the pictures in pixels.
            reporter: Receives the progress, and a notice where much memory or tiles are needed.

        Yields:
            The row of the result at which a band begins, and the band, `b c rows width*scale` in
            [0, 1], with the channels, dtype and device that `read` gives.

        Raises:
            UpscaleError: There is not even memory for the smallest tile, or for the whole picture
                where tiles are off; or this process was forked from one that computed already.
        """
        self._runner.check_fork()
        if (notice := gpu.notice_once(self.device)) is not None:
            reporter.notice(notice)
        smallest = 2 * self._window
        tile = self._first_tile(batch, height, width, reporter)
        while True:
            start = time.perf_counter()
            try:
                yield from self._tiled(read, tile, height, width, reporter)
                seconds = time.perf_counter() - start
                _LOGGER.debug("the network took %s", units.duration(seconds))
                return
            except (MemoryError, RuntimeError) as error:
                if not budget.is_out_of_memory(error):
                    raise
            # outside of the block above, whose traceback keeps the tensors of the failed call alive
            self._runner.release_memory()
            if tile <= smallest or self.config.tile == "off":
                raise UpscaleError(_too_large(height, width, self.config.tile))
            half = min(tile, max(height, width)) // 2
            tile = max(smallest, half - half % self._window)
            reporter.notice(f"memory ran out, so it begins again {self._in_tiles_of(tile)}.")

    def _first_tile(self, batch: int, height: int, width: int, reporter: Reporter) -> int:
        """Return the side of the tile to begin with; one that holds the picture is the whole.

        Raises:
            UpscaleError: Tiles are off, and the main memory is clearly too small.
        """
        longest = max(height, width)
        tile = self.config.tile if isinstance(self.config.tile, int) else longest
        if not self._plans_memory:
            return tile  # there, running out of memory costs a moment and not the process

        def need_of(side: int) -> int:
            return batch * self.estimate(min(side, height), min(side, width))

        need, free = need_of(tile), memory.available_bytes()
        takes = (
            f"takes about {units.byte_size(need)} of memory and {units.byte_size(free)} are free"
        )
        shown = f"{min(tile, width)}x{min(tile, height)}"
        if self.config.tile == "off" and need > free:
            raise UpscaleError(f"{_too_large(height, width, self.config.tile)} It {takes}.")
        if self.config.tile != "off" and need > budget.USABLE * free:
            window = self._window
            sides = range(longest - longest % window, 2 * window, -window)
            fitting = (side for side in sides if need_of(side) <= budget.USABLE * free)
            tile = next(fitting, 2 * window)
            reporter.notice(f"{shown} {takes}, so it is done {self._in_tiles_of(tile)}.")
        elif need > budget.NOTEWORTHY:
            reporter.notice(f"{shown} {takes}.")
        return tile

    def _overlap(self, tile: int) -> int:
        assert self.config.overlap is not None, "`for_window` has set it"
        return min(self.config.overlap, tile // 2)

    def _spans(self, length: int, tile: int) -> list[tiles.Span]:
        return tiles.spans(length, tile, self._overlap(tile), self._window)

    def _in_tiles_of(self, tile: int) -> str:
        return f"in tiles of {tile} with an overlap of {self._overlap(tile)}"

    def _tiled(
        self, read: Read, tile: int, height: int, width: int, reporter: Reporter
    ) -> Iterator[tuple[int, Tensor]]:
        row_spans, column_spans = self._spans(height, tile), self._spans(width, tile)
        runs = len(row_spans) * len(column_spans) * (8 if self.config.ensemble else 1)
        layers = runs * self._steps
        done = 0
        if len(row_spans) * len(column_spans) > 1:
            columns, rows = len(column_spans), len(row_spans)
            how = f"{columns}x{rows} {self._in_tiles_of(tile).removeprefix('in ')}"
        else:
            how = "as a whole"
        _LOGGER.debug("the network runs on %dx%d, %s", width, height, how)

        def layer_done() -> None:
            nonlocal done
            done += 1
            reporter.progress(done / layers)

        def enlarge(rows: slice, columns: slice) -> Tensor:
            edges = Edges(
                top=rows.start == 0,
                bottom=rows.stop == height,
                left=columns.start == 0,
                right=columns.stop == width,
            )
            return self._runner(read(rows, columns), edges, layer_done)

        return tiles.join_rows(row_spans, column_spans, self.scale, enlarge)


def load(
    name_or_path: str | Path,
    device: str | torch.device = "auto",
    precision: Precision = "fp32",
    *,
    category_size: int | None = None,
    prefer: ParameterSet = "params_ema",
    tile: Tile = "auto",
    overlap: int | None = None,
    ensemble: bool = False,
    provider: Provider | None = None,
    restorer: Upscaler | None = None,
) -> Upscaler:
    """Return an `Upscaler` for a named model, a file of weights or an ONNX file.

    Args:
        name_or_path: A name that `atdsr models` lists, a `.safetensors` or official `.pth` file, or
            an `.onnx` file, of `atdsr export` or of another network with the same interface.
        device: "auto" takes CUDA, then MPS, then the CPU. Anything else names a device.
        precision: "fp32", or "bf16" for matrix products in bfloat16 (sums stay in float32). "auto"
            takes bf16 with the kernels on CPUs that multiply bfloat16.
        category_size: Category size of a file that does not tell it (the published networks do).
        prefer: Which set of parameters to take of a file with two: "params_ema", the moving average
            that official options name, or "params", which the official test of ATD-U reads.
        tile: Side of a tile in pixels of the input. "auto" uses tiles only where the whole picture
            does not fit into memory, "off" never does.
        overlap: Pixels of the input that neighbouring tiles share. None means 32, or half a tile
            if that is less.
        ensemble: Take the mean over the eight flips and transposes of the picture, which is
            slightly better and takes eight times as long.
        provider: What computes a network in an ONNX file: "cpu", "cuda", "directml", "coreml",
            "tensorrt" or "openvino". None is "cpu".
        restorer: A network of scale 1 that each picture goes through first, as for `Upscaler`.

    Raises:
        WeightsError: There is no such model, the file has no such weights, or a category size
            is given for a model that knows its own.
        UpscaleError: There is no such device, precision, tile, overlap or provider, or the ONNX
            file cannot be run.
    """
    config = InferenceConfig(device, precision, tile, overlap, ensemble, provider)
    if not isinstance(name_or_path, str | Path) or not str(name_or_path):
        raise WeightsError(
            f"{short(name_or_path)} is neither a file nor the name of a model; `atdsr models` "
            "lists the models."
        )
    if onnx_network.is_onnx(name_or_path):
        if category_size is not None:
            raise WeightsError(f"{name_or_path} knows its category size; leave it out.")
        return Upscaler(OnnxNetwork(name_or_path, provider or "cpu"), config, restorer=restorer)
    with cpu.one_thread():  # so that the process can be forked afterwards
        weights = models.load_weights(name_or_path, category_size=category_size, prefer=prefer)
        return Upscaler(weights.build(), config, restorer=restorer)


def _checked_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return width and height as integers of Python.

    Raises:
        UpscaleError: They are not two whole numbers from 1 to `_LONGEST_SIDE`.
    """
    try:
        width, height = map(operator.index, size)
    except (TypeError, ValueError):
        raise UpscaleError(
            f"size is {size!r}; it is width and height in pixels, such as (640, 480)."
        ) from None
    if not 1 <= min(width, height) <= max(width, height) <= _LONGEST_SIDE:
        raise UpscaleError(
            f"size is {width}x{height}; width and height must be from 1 to {_LONGEST_SIDE:,}."
        )
    return width, height


@contextmanager
def _named_lack_of_memory(width: int, height: int) -> Iterator[None]:
    """Say that there is no memory for a result of that size, where that is what went wrong.

    Raises:
        UpscaleError: There is none.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not budget.is_out_of_memory(error):
            raise
        raise UpscaleError(
            f"a result of {width}x{height} is too large for the memory of this machine; ask for a "
            "smaller `size`, or pass `out`."
        ) from None


def _too_large(height: int, width: int, tile: Tile) -> str:
    advice = "use tiles (tile='auto', or --tile auto)" if tile == "off" else "free some of it"
    return f"a picture of {width}x{height} is too large for the memory of this machine; {advice}."


def _concatenated(contents: Sequence[Content]) -> Content:
    """Return pictures of one form, shape and dtype as one batch."""
    tensors = [content for content in contents if isinstance(content, Tensor)]
    arrays = [array for content in contents if isinstance(content, list) for array in content]
    kinds: set[tuple[Any, ...]] = {(x.shape[1:], x.dtype, x.device) for x in tensors}
    kinds |= {(array.shape, array.dtype) for array in arrays}
    if len(kinds) != 1:
        shown = " and ".join(str(kind[0]) + f" of {kind[1]}" for kind in sorted(kinds, key=str)[:2])
        raise UpscaleError(
            f"pictures of a batch are of one size, depth and kind, not {shown}; enlarge them one "
            "by one."
        )
    return torch.cat(tensors) if tensors else arrays


def _visible_floats(image: Tensor) -> Tensor:
    """Return the colours of floats `b c h w` with alpha, those of hidden pixels filled."""
    colours = [imaging.visible_colours(_to_float_array(picture))[:, :] for picture in image]
    return _stack(colours).to(image)


def _resize_floats(image: Tensor, alpha: Tensor | None, height: int, width: int) -> Tensor:
    """Resize floats `b c h w` by bicubic, with the alpha `b 1 h w` of the original picture."""
    alphas = [None] * len(image) if alpha is None else [_to_float_array(mask) for mask in alpha]
    resized = [
        _resize(_to_float_array(picture), mask, height, width)
        for picture, mask in zip(image, alphas, strict=True)
    ]
    return _stack(resized).clamp_(0, 1).to(image)


def _to_float_array(picture: Tensor) -> np.ndarray:
    """Return floats `c h w` as an array h w c of float64, which holds every float type exactly."""
    return picture.double().cpu().permute(1, 2, 0).numpy()


def _stack(pictures: Sequence[np.ndarray]) -> Tensor:
    """Return arrays h w c as one tensor `b c h w`."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def _resize(
    colours: resample.Readable, alpha: np.ndarray | None, height: int, width: int
) -> np.ndarray:
    """Resize colours h w c by bicubic, with the alpha h w 1 of the original picture."""
    if isinstance(colours, np.ndarray) and (alpha is None or alpha.min() == alpha.max()):
        return resample.resize(colours, height, width)
    assert alpha is not None, "only alpha hides what is then filled"
    fitting = resample.resize(alpha, *colours.shape[:2])
    return resample.resize_colours(colours, fitting, height, width)
