"""What the child processes do: look at a picture, enlarge it, explain it, make it visible.

This module imports PyTorch and everything else that is slow, so only child processes import it.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atdsr import batch, imaging
from atdsr.base.errors import AtdsrError
from atdsr.base.reporter import Reporter
from atdsr.batch import BatchConfig, BatchError
from atdsr.batch.config import enlargement
from atdsr.imaging import PictureError, TooLargeError, UnsupportedError, resample
from atdsr.inference import InferenceConfig, UpscaleError, Upscaler
from atdsr.inference.config import choose_device
from atdsr.network.kernels import cpu
from atdsr.network.model import ATD
from atdsr.web.options import FORMAT_NAMES, Options
from atdsr.web.problems import ProblemError, for_client
from atdsr.weights import WeightsError, models

SOURCE = "picture"
"""Name, without suffix, of the file of a picture in the folder of its job."""

OUT = "out"
"""Name of the folder, in that of a job, for the result."""

THUMBNAIL_SIDE = 320
"""Longer side of a thumbnail in pixels."""

MOST_VIEW_PIXELS = 50_000_000
"""A larger picture is reduced to so many pixels to be shown in a browser."""

SHOWN_FORMATS = frozenset({"png", "jpg", "webp", "gif", "avif", "bmp"})
"""The formats that browsers show."""

_MOST_NETWORKS = 4  # in the memory of a worker
_TASK = "the page"  # what its networks are for, in a sentence that refuses others


class Offer:
    """The models that the service offers.

    Args:
        names: Names or files; none for the models that come with atdsr.

    Attributes:
        models: Name or path by the name that clients see. A file is known by its name alone.
        scales: The scale of each by that name.
        windows: The side of the attention windows of each.
        facts: What `/v1/models` tells of each.

    Raises:
        WeightsError: A model is not here or cannot be read, or two have one name.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.models: dict[str, str] = {}
        self.scales: dict[str, int] = {}
        self.windows: dict[str, int] = {}
        self.facts: list[dict[str, Any]] = []
        for name in names or tuple(model.name for model in models.BUNDLED):
            shown = Path(name).name if models.is_file(name) else models.canonical(name)
            if shown in self.models:
                raise WeightsError(f"two models are called {shown}; rename one of the files.")
            weights = models.load_weights(name)
            config = weights.enlarging(_TASK)
            self.models[shown], self.scales[shown] = name, config.scale
            self.windows[shown] = config.window
            self.facts.append(
                {"name": shown, "scale": config.scale, "parameters": weights.parameters}
            )

    def choose(self, options: Options) -> dict[int, str]:
        """Return the models to choose from for a request, by scale, as the command line does.

        Raises:
            BatchError: There is no such model, or none of that scale.
        """
        if options.model is not None:
            if options.model not in self.scales:
                known = ", ".join(self.scales)
                raise BatchError(f"there is no model called {options.model!r} here, only {known}.")
            scale = self.scales[options.model]
            if options.scale not in (None, scale):
                raise BatchError(
                    f"{options.model} enlarges by {scale}, not by {options.scale}; drop --scale."
                )
            return {scale: options.model}
        by_scale = {scale: name for name, scale in reversed(self.scales.items())}
        if options.scale is None and (options.outscale or options.size):
            return by_scale
        scale = options.scale or (2 if 2 in by_scale else next(iter(self.scales.values())))
        if scale not in by_scale:
            raise BatchError(f"no model for scale {scale} is here, only {', '.join(self.scales)}.")
        return {scale: by_scale[scale]}


def devices(device: str) -> list[str]:
    """Return the devices that are to have a worker.

    Raises:
        UpscaleError: The device is unknown, or not here.
    """
    if device == "auto" and torch.cuda.is_available():
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [str(choose_device(device))]


def facts(offer: Offer, device: str) -> dict[str, Any]:
    """Return what the server tells clients and does not know itself."""
    return {
        "models": offer.facts,
        "formats": [name for name in FORMAT_NAMES if name in imaging.FORMATS],
        "suffixes": sorted(imaging.READABLE_SUFFIXES),
        "devices": devices(device),
    }


@contextlib.contextmanager
def problems(names: dict[str, str]) -> Iterator[None]:
    """Turn the errors of the library into problems, in which files have the names of `names`."""
    try:
        yield
    except ProblemError as problem:
        raise ProblemError(problem.status, for_client(str(problem), names)) from None
    except AtdsrError as error:
        raise ProblemError(_status(error), for_client(str(error), names)) from None
    except MemoryError:
        raise ProblemError(
            422, "the picture is too large for the memory of this machine."
        ) from None


def _status(error: AtdsrError) -> int:
    if isinstance(error, TooLargeError):
        return 413
    if isinstance(error, UnsupportedError):
        return 415
    return 400 if isinstance(error, BatchError | WeightsError) else 422


def inspect(
    folder: Path, options: Options, offer: Offer, max_pixels: int, result_factor: int
) -> dict[str, Any]:
    """Check a request by the header of its picture, before anything is decoded.

    Returns:
        Width, height, format and number of frames of the picture, and what the result will be.

    Raises:
        AtdsrError: The picture or the request is refused.
    """
    source = _source(folder, options)
    frames = imaging.open_frames(source, max_pixels=max_pixels)
    chosen = offer.choose(options)
    config = _batch_config(options, chosen)
    width, height = config.size.resolve(frames.width, frames.height)
    if width * height > result_factor * max_pixels:
        raise TooLargeError(
            f"{source}: the result would be {width}x{height}, more than the limit of "
            f"{result_factor * max_pixels:,} pixels; ask for less."
        )
    (item,) = _plan(folder, source, config).items
    imaging.check_target(item.target, size=(width, height), frames=len(frames))
    factor = enlargement(frames.width, frames.height, width, height)
    model = chosen[batch.choose_network_scale(factor, chosen)]
    try:
        _inference_config(options, "cpu").for_window(offer.windows[model])
    except UpscaleError as error:
        raise BatchError(str(error)) from None
    return {
        "width": frames.width,
        "height": frames.height,
        "format": frames.format_name,
        "frames": len(frames),
        "model": model,
        "result": {
            "filename": _result_name(options, item.target.name),
            "format": imaging.format_of(item.target),
            "width": width,
            "height": height,
        },
    }


class Worker:
    """The networks of a worker, and the pictures that they enlarge.

    Args:
        offer: The models.
        device: Where to compute.
    """

    def __init__(self, offer: Offer, device: str) -> None:
        self._offer = offer
        self._device = device
        self._networks: dict[str, ATD] = {}

    def warm_up(self) -> None:
        """Load the network that most requests need."""
        (name,) = self._offer.choose(Options()).values()
        self.upscaler(name, Options())

    def upscaler(self, name: str, options: Options) -> Upscaler:
        """Return the network of a name, as a request wants it to run."""
        network = self._networks.pop(name, None)
        if network is None:
            with cpu.one_thread():
                weights = models.load_weights(self._offer.models[name])
                network = weights.build_enlarging(_TASK)
        self._networks[name] = network  # the one that was used last is the last
        while len(self._networks) > _MOST_NETWORKS:
            del self._networks[next(iter(self._networks))]
        return Upscaler(network, _inference_config(options, self._device))

    def enlarge(self, folder: Path, options: Options, reporter: Reporter) -> dict[str, Any]:
        """Enlarge the picture of a job as `atdsr upscale` does.

        Returns:
            Path, width, height and number of frames of the result.

        Raises:
            ProblemError: It cannot be enlarged.
        """
        source = _source(folder, options)
        chosen = self._offer.choose(options)
        networks = batch.Networks(chosen, lambda name: self.upscaler(name, options))
        plan = _plan(folder, source, _batch_config(options, chosen))
        (result,) = batch.run(plan, networks, lambda _: reporter)
        if result.outcome != batch.Outcome.DONE or result.target is None:
            raise ProblemError(422, result.message)
        return {
            "path": str(result.target),
            "width": result.width,
            "height": result.height,
            "seconds": round(result.seconds, 3),
        }

    def explain(self, folder: Path, options: Options, reporter: Reporter) -> dict[str, Any]:
        """Write the page of `atdsr explain` for the picture of a job.

        Raises:
            AtdsrError: It cannot be explained.
        """
        from atdsr.reports import explain

        chosen = self._offer.choose(options)
        upscaler = self.upscaler(next(iter(chosen.values())), Options())
        explained = explain.run(
            upscaler,
            _source(folder, options),
            folder / "explain",
            overwrite=True,
            name=options.filename or None,
            reporter=reporter,
        )
        return {"layer": explained.layer}


def view(folder: Path, options: Options, kind: str, result: str | None, target: Path) -> None:
    """Write a picture of a job as PNG or, for a thumbnail, as WebP, for a browser to show.

    Args:
        folder: The folder of the job.
        options: The options of the job.
        kind: "input"; "thumbnail", a small one; "result"; or "bicubic", the input in the size of
            the result.
        result: Path of the result, where there is one.
        target: The file to write. Of several frames the first is shown.

    Raises:
        AtdsrError: It cannot be read.
    """
    if kind == "result":
        assert result is not None, "the service asks for it when it is there"
        source = Path(result)
    else:
        source = _source(folder, options)
    picture = next(iter(imaging.open_frames(source)))
    width, height = picture.width, picture.height
    if kind == "bicubic":
        assert result is not None, "as above"
        enlarged = imaging.open_frames(Path(result))
        width, height = enlarged.width, enlarged.height
    limit = THUMBNAIL_SIDE / max(width, height) if kind == "thumbnail" else 1.0
    limit = min(1.0, limit, (MOST_VIEW_PIXELS / (width * height)) ** 0.5)
    size = max(1, round(height * limit)), max(1, round(width * limit))
    samples = imaging.to_uint8(picture.samples)
    if size != samples.shape[:2]:
        samples = _resized(samples, *size)
    shown = imaging.Picture(samples, picture.icc, code_points=picture.code_points)
    quality = 80 if kind == "thumbnail" else None
    imaging.write(shown, target, overwrite=True, quality=quality)


def _resized(samples: np.ndarray, height: int, width: int) -> np.ndarray:
    colours, alpha = imaging.split_alpha(samples)
    if alpha is None:
        return resample.resize(colours, height, width)
    colours = resample.resize_colours(colours, alpha, height, width)
    return imaging.join_alpha(colours, resample.resize(alpha, height, width))


def _source(folder: Path, options: Options) -> Path:
    return folder / f"{SOURCE}{options.source_suffix}"


def _plan(folder: Path, source: Path, config: BatchConfig) -> batch.Plan:
    plan = batch.plan([str(source)], f"{folder / OUT}/", config)
    for _, sentence in plan.problems:
        raise PictureError(sentence)
    return plan


def result_stem(options: Options) -> str:
    """Return what the name of the result begins with for the client."""
    return options.filename.removesuffix(options.source_suffix) or SOURCE


def _result_name(options: Options, target_name: str) -> str:
    """Return the name of the result for the client: what `atdsr upscale` would call it."""
    return result_stem(options) + target_name.removeprefix(SOURCE)


def _batch_config(options: Options, chosen: Mapping[int, str]) -> BatchConfig:
    size: batch.TargetSize = batch.Factor(options.outscale or next(iter(chosen)))
    if options.size is not None:
        size = batch.TargetBox(*options.size)
    return BatchConfig(
        size,
        format_name=options.format,
        models=chosen,
        quality=options.quality,
        strip_metadata=options.strip_metadata,
    )


def _inference_config(options: Options, device: str) -> InferenceConfig:
    settings = asdict(options)
    names = ("precision", "tile", "overlap", "ensemble")
    return InferenceConfig(device, **{name: settings[name] for name in names})
