"""What can be compared: ATD, other networks, bicubic and Lanczos, each as a `Method`."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from atdsr import imaging
from atdsr.base import files
from atdsr.base.errors import AtdsrError
from atdsr.base.reporter import SILENT
from atdsr.evaluation import peers
from atdsr.evaluation.peers import Peer
from atdsr.evaluation.protocol import Method
from atdsr.imaging import resample
from atdsr.inference.config import Precision, Tile, choose_device
from atdsr.inference.runner import self_ensemble
from atdsr.inference.upscaler import Upscaler
from atdsr.weights import Weights, WeightsError, models, read_tensors, read_weights

BASELINES = ("bicubic", "lanczos")
"""The methods that learn nothing, of any scale."""


class MethodError(AtdsrError):
    """Methods that cannot be compared as asked."""


@dataclass(frozen=True)
class Settings:
    """How networks are run.

    Attributes:
        device: "auto", or a device by name.
        precision: "fp32", or "bf16" for ATD; other networks take float32 always.
        tile: see `Upscaler`; off, since a tiled picture is another function's.
        category_size: of a file that cannot tell it.
        ensemble: whether to take the mean over a picture's eight flips and transposes.
        tell: called with a sentence where a picture takes much memory.
    """

    device: str = "auto"
    precision: Precision = "fp32"
    tile: Tile = "off"
    category_size: int | None = None
    ensemble: bool = False
    tell: Callable[[str], None] = SILENT.notice

    def upscaler(self, weights: Weights) -> Upscaler:
        """An ATD run so.

        Raises:
            UpscaleError: no such device, precision or tile.
        """
        return Upscaler(
            weights.build(),
            device=self.device,
            precision=self.precision,
            tile=self.tile,
            ensemble=self.ensemble,
        )


def named(
    names: Sequence[str], scale: int | None = None, settings: Settings | None = None
) -> list[Method]:
    """The methods of these names, each of another name; bicubic comes first in any case.

    Args:
        names: of baselines or models, or files of weights, of ATD or whatever spandrel reads;
            none at all stands for the bundled model of the scale.
        scale: of all networks; None takes each at its own, and the baselines at each of these,
            or at 2.
        settings: of the networks.

    Raises:
        WeightsError: no such file or model.
        PeerError: a network that spandrel does not read, or no spandrel.
        MethodError: a network of another scale.
        UpscaleError: no such device.
    """
    settings = settings or Settings()
    baselines = dict.fromkeys(["bicubic", *(name for name in names if name in BASELINES)])
    of_networks = [
        name for name in names or [models.for_scale(scale or 2).name] if name not in baselines
    ]
    networks = [_network(name, settings) for name in of_networks]
    for name, method in zip(of_networks, networks, strict=True):
        if scale not in (None, method.scale):
            raise MethodError(
                f"{name} enlarges by {method.scale}, not by {scale}; drop it or --scale."
            )
    scales = sorted({method.scale for method in networks}) or [scale or 2]
    of_any = [baseline(name, each) for each in scales for name in baselines]
    return _distinct([*of_any, *networks])


def baseline(name: str, scale: int) -> Method:
    """One of `BASELINES`: MATLAB's bicubic, or Pillow's Lanczos.

    Example:
        >>> baseline("bicubic", 2).enlarge(np.zeros((3, 5, 3), np.uint8)).shape
        (6, 10, 3)
    """

    def bicubic(samples: np.ndarray) -> np.ndarray:
        return resample.upscale(samples, scale)

    def lanczos(samples: np.ndarray) -> np.ndarray:
        size = (samples.shape[1] * scale, samples.shape[0] * scale)
        return np.asarray(Image.fromarray(samples).resize(size, Image.Resampling.LANCZOS))

    return Method(name, scale, {"bicubic": bicubic, "lanczos": lanczos}[name])


def network(
    upscaler: Upscaler,
    name: str,
    identity: str = "",
    tell: Callable[[str], None] = SILENT.notice,
) -> Method:
    """An ATD, by the same pixels as a user's picture.

    Args:
        upscaler: the network; its ensemble adds a "+" to the name.
        name: to call it.
        identity: what tells its weights from others, for an evaluation that is gone on with.
        tell: see `Upscaler`.
    """
    config = upscaler.config
    settings = [config.precision, config.tile, config.overlap, config.ensemble]
    return Method(
        name=f"{name}+" if config.ensemble else name,
        scale=upscaler.scale,
        enlarge=lambda samples: upscaler(samples, tell=tell),
        parameters=sum(parameter.numel() for parameter in upscaler.model.parameters()),
        identity=json.dumps([identity, upscaler.device.type, *settings]),
        device=upscaler.device.type,
    )


def peer(network: Peer, name: str, device: torch.device, identity: str, ensemble: bool) -> Method:
    """A network of another architecture, by the same pixels and the same rounding."""

    def enlarge(samples: np.ndarray) -> np.ndarray:
        image = imaging.to_tensor(samples, device=device)
        made = self_ensemble(network, image) if ensemble else network(image)
        return imaging.to_array(made)

    return Method(
        name=f"{name}+" if ensemble else name,
        scale=network.scale,
        enlarge=enlarge,
        parameters=network.parameters,
        identity=json.dumps([identity, device.type, ensemble]),
        device=device.type,
    )


def _network(name: str, settings: Settings) -> Method:
    """An ATD by name or file, or else whatever spandrel makes of the file."""
    if not models.is_file(name):
        model = models.find(name)
        return network(settings.upscaler(model.load()), name, model.sha256, settings.tell)
    path = Path(name)
    try:
        weights = read_weights(path, category_size=settings.category_size)
    except WeightsError:
        if not path.is_file() or _is_atd(path):
            raise
        device = choose_device(settings.device)
        return peer(
            peers.load(path, device), path.stem, device, files.sha256(path), settings.ensemble
        )
    return network(settings.upscaler(weights), path.stem, files.sha256(path), settings.tell)


def _is_atd(path: Path) -> bool:
    """Whether a file that was refused is an ATD's all the same, or none that torch reads."""
    try:
        tensors, _ = read_tensors(path)
    except WeightsError:
        return True
    return any(name.endswith(".residual_group.td") for name in tensors)


def _distinct(methods: Sequence[Method]) -> list[Method]:
    """The methods under names that occur once: with the scale, then a number, where need be."""
    twice = {name for name, count in Counter(m.name for m in methods).items() if count > 1}
    scales = {method.scale for method in methods}
    taken: list[Method] = []
    for method in methods:
        scaled = method.name in twice and len(scales) > 1
        name = f"{method.name}-x{method.scale}" if scaled else method.name
        numbered = (name, *(f"{name}-{number}" for number in range(2, len(methods) + 1)))
        names = {other.name for other in taken}
        taken.append(replace(method, name=next(name for name in numbered if name not in names)))
    return taken
