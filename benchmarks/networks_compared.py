"""The networks that the benchmarks compare: ours, and spandrel's with the same weights."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from atdsr import imaging
from atdsr.base import memory
from atdsr.evaluation import other_networks
from atdsr.network import kernels
from atdsr.network.backend import products_in_bfloat16
from atdsr.network.config import NetworkConfig, atd, atd_light, atd_light_v2, atd_u, atd_v2
from atdsr.network.kernels import cpu
from atdsr.network.model import ATD, Layer
from atdsr.network.unet import Network, build
from atdsr.weights import Weights, initialise_from, models, official_state_dict
from tiny_network import TINY
from turns import Seconds, timed

spandrel = other_networks.import_spandrel()


@dataclass(frozen=True)
class Side:
    """A way to run a network.

    Attributes:
        name: what tables call it.
        network: whose; "dat" is DAT from a file, "v2" our ATD v2 in place of the ATD.
        kernels: whether the fused kernels run; for ours only.
        keeps_memory: whether glibc keeps freed memory (`memory.keep_freed_memory`).
        precision: of matrix products.
    """

    name: str
    network: Literal["atdsr", "v2", "spandrel", "dat"]
    kernels: bool = False
    keeps_memory: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"

    def why_not(self) -> str | None:
        """Why this does not run here, in a sentence; None where it does."""
        return cpu.status().why_not if self.kernels else None

    def prepare(self) -> None:
        """Make this process one of the side, before its first tensor."""
        if not self.kernels:
            os.environ[kernels.SWITCH] = "off"
        if self.keeps_memory:
            memory.keep_freed_memory()

    def in_bf16(self) -> "Side":
        """The same with matrix products in bfloat16."""
        return replace(self, precision="bf16")


AS_IS = Side("spandrel, as is", "spandrel")
TUNED = Side("spandrel, malloc tuned", "spandrel", keeps_memory=True)
DAT = Side("DAT-light, as is", "dat")
PLAIN = Side("atdsr, plain", "atdsr", keeps_memory=True)
FUSED = Side("atdsr, fused", "atdsr", kernels=True, keeps_memory=True)
PLAIN_V2 = replace(PLAIN, name="ATD v2, plain", network="v2")
FUSED_V2 = replace(FUSED, name="ATD v2, fused", network="v2")


@dataclass(frozen=True)
class Work:
    """A network and the size of the picture it enlarges.

    Attributes:
        network: "light", "classical", either with "-v2", "u", or "tiny" for trials.
        scale: how many times the sides grow.
        height: of the LR picture in pixels.
        width: of the LR picture in pixels.
    """

    network: str
    scale: int
    height: int
    width: int

    @property
    def config(self) -> NetworkConfig:
        """The network's shape."""
        if self.network == "tiny":
            return replace(TINY, scale=self.scale)
        return atd_u(3) if self.network == "u" else _NAMED[self.network](self.scale)

    @property
    def name(self) -> str:
        """Such as "light x4, 320x180"."""
        return f"{self.network} x{self.scale}, {self.width}x{self.height}"

    def by_v2(self) -> "Work":
        """The same of the ATD v2 of that kind."""
        return replace(self, network=f"{self.network}-v2")


_NAMED = {
    "light": atd_light,
    "classical": atd,
    "light-v2": atd_light_v2,
    "classical-v2": atd_v2,
}


@dataclass(frozen=True)
class Result:
    """What a network made of the picture.

    Attributes:
        samples: floats `3 h*scale w*scale` in [0, 1].
        categories: of every token in every layer, int16 `layers n`; empty for DAT.
    """

    samples: NDArray[np.float32]
    categories: NDArray[np.int16]


class Runner:
    """A side at its work, for a process of its own.

    Args:
        side: whose network, and how it runs.
        work: which network, and the size of the picture.
        file: the weights of DAT.
    """

    def __init__(self, side: Side, work: Work, file: Path | None = None) -> None:
        side.prepare()
        self._side = side
        self._network = _network(side, work, file)
        self._image = picture(work.height, work.width)

    def result(self) -> Result:
        """Enlarge the picture, ties of categories by position on both sides; also warms up."""
        categories: list[Tensor] = []
        with _stable_sort(), categories_told(self._network, categories.append):
            samples = self._enlarge(self._image)[0].clamp(0, 1).float().numpy()
        told = torch.stack(categories) if categories else torch.empty(0, 0)
        return Result(samples, told.to(torch.int16).numpy())

    def run(self) -> Seconds:
        """Enlarge the picture, and tell what it took."""
        return timed(partial(self._enlarge, self._image))

    def peak(self) -> int:
        """Most bytes that the process has, while it enlarges, above what it had before.

        A picture of one window goes first, so that code which is loaded on first use is there.
        """
        self._enlarge(self._image[..., :16, :16].contiguous())
        memory.trim()
        before = psutil.Process().memory_info().rss
        with memory.peak() as peak:
            self._enlarge(self._image)
        if peak.bytes is None:
            raise SystemExit("this system does not tell the peak memory of a process")
        return peak.bytes - before

    def _enlarge(self, image: Tensor) -> Tensor:
        bf16 = self._side.precision == "bf16"
        with torch.inference_mode(), products_in_bfloat16(image.device, enabled=bf16):
            return self._network(image)


def _network(side: Side, work: Work, file: Path | None) -> nn.Module:
    if side.network == "dat":
        assert file is not None, "DAT comes from a file"
        return _spandrels(lambda loader: loader.load_from_file(file))
    own = parameters((work.by_v2() if side.network == "v2" else work).config)
    if side.network != "spandrel":
        return own.eval()
    assert isinstance(own, ATD), "spandrel has no other network of ours"
    return official(own)


def parameters(config: NetworkConfig) -> Network:
    """A network with the bundled weights as far as they fit, else as a fresh one has them."""
    torch.manual_seed(0)
    network = build(config)
    bundled = models.for_scale(2)
    if isinstance(network, ATD) and network.config == replace(bundled.config, scale=config.scale):
        initialise_from(network, bundled.load().state)
    return network


def official(network: ATD) -> nn.Module:
    """Spandrel's network with the same parameters."""
    weights = Weights(network.config, {k: v.cpu() for k, v in network.state_dict().items()})
    tensors = official_state_dict(weights)
    return _spandrels(lambda loader: loader.load_from_state_dict(tensors))


def _spandrels(load: Callable[[Any], Any]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other people's code
        return load(spandrel.ModelLoader("cpu")).model.float().eval()


def picture(height: int, width: int) -> Tensor:
    """The sample photo, reduced or enlarged until it covers that size: `1 3 h w` in [0, 1]."""
    with as_file(files("atdsr.reports") / "sample" / "coffee.png") as path:
        photo = imaging.to_pil(imaging.read(path)).convert("RGB")
    factor = max(height / photo.height, width / photo.width)
    covering = max(round(photo.width * factor), width), max(round(photo.height * factor), height)
    samples = np.asarray(photo.resize(covering, Image.Resampling.LANCZOS))
    return imaging.to_tensor(samples[:height, :width])


@contextmanager
def _stable_sort() -> Iterator[None]:
    """Let spandrel's sort, which leaves the order of equals open, leave them where they are."""
    sort = torch.sort

    def stable(x: Tensor, dim: int, **_: object) -> object:
        return sort(x, dim=dim, stable=True)

    with mock.patch.object(torch, "sort", stable):
        yield


@contextmanager
def categories_told(network: nn.Module, tell: Callable[[Tensor], None]) -> Iterator[None]:
    """Tell the categories of all tokens, `n`, layer by layer, while the network runs.

    Ours come from what enters a layer. A hook inside it would keep the fused layer from running.
    """

    def ours(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(layer, Layer)
        x, dictionary, *_ = inputs
        _, similarity = layer.dictionary(layer.norm_attention(x), dictionary)
        tell(similarity[0].argmax(-1))

    def theirs(_: nn.Module, __: object, output: tuple[Tensor, Tensor]) -> None:
        tell(output[1][0].argmax(-1))

    hooks = []
    for module in network.modules():
        if isinstance(module, Layer):
            hooks.append(module.register_forward_pre_hook(ours))
        elif type(module).__name__ == "ATD_CA":  # spandrel's attention to the dictionary
            hooks.append(module.register_forward_hook(theirs))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
