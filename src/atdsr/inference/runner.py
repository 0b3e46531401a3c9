"""Running a network on one tile: precision, self-ensemble, CUDA graph, progress by layers."""

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from atdsr import imaging
from atdsr.base import memory
from atdsr.inference import borders, budget
from atdsr.inference.borders import Edges
from atdsr.inference.config import InferenceConfig, UpscaleError
from atdsr.inference.onnx_network import OnnxNetwork
from atdsr.network.backend import multiplies_bfloat16, products_in_bfloat16
from atdsr.network.config import ATDConfig
from atdsr.network.kernels import cpu, gpu
from atdsr.network.kernels.gpu.graphs import Graph
from atdsr.network.unet import Network

_computed_in: set[int] = set()  # processes that computed on several threads: this one, its parent


class TileRunner(ABC):
    """Runs a network on whole pictures or on tiles, from any number of threads at once.

    Attributes:
        scale: How many times the sides grow.
        channels: Channels of the pictures that the network takes, 3 or 1.
        window: Side of the network's attention windows, in pixels.
        steps: How often `layer_done` is called while the network runs once.
        plans_memory: Whether the network runs in main memory, so that `estimate` counts.
    """

    scale: int
    channels = 3
    window: int
    steps: int
    plans_memory: bool

    def __init__(self, config: InferenceConfig) -> None:
        self._config = config
        self._device = torch.device(config.device)

    def __call__(self, image: Tensor, edges: Edges, layer_done: Callable[[], None]) -> Tensor:
        """Return the picture enlarged, `b c h*scale w*scale` in [0, 1].

        Args:
            image: The picture or a tile of it, `b c h w` in [0, 1] with one channel or three.
            edges: Which edges of `image` are edges of the picture.
            layer_done: Called after each layer.
        """
        forward = partial(self._forward, layer_done=layer_done)
        with torch.inference_mode(), self._in_precision():
            image_here = image.to(self._device, self._dtype)
            taken = self._taken(image_here)
            out = self_ensemble(forward, taken) if self._config.ensemble else forward(taken)
            if out.shape[1] < image.shape[1]:  # the luma is restored, and colours stay
                out = image_here + (out - taken)
            out = out.clamp(0, 1)
            if out.shape[1] > image.shape[1]:
                out = imaging.gray_from_rgb(out)
            if self.scale > 1:
                borders.keep_flat(image_here, out, self.scale, edges)
        return out.to(image.device, image.dtype).clone()  # a normal tensor, not an inference one

    def _taken(self, image: Tensor) -> Tensor:
        """Return pictures `b c h w` with as many channels as the network takes."""
        if self.channels == 3:
            return imaging.gray_to_rgb(image)
        return image if image.shape[1] == 1 else imaging.gray_from_rgb(image)

    @property
    def _dtype(self) -> torch.dtype:
        """Of the pictures that the network takes."""
        return torch.float32

    def _in_precision(self) -> AbstractContextManager[Any]:
        """Return the context in which the network runs."""
        return nullcontext()

    @abstractmethod
    def _forward(self, image: Tensor, layer_done: Callable[[], None]) -> Tensor:
        """Run the network, `b channels h w` -> `b channels h*scale w*scale`."""

    @abstractmethod
    def estimate(self, height: int, width: int) -> int:
        """Return the main memory in bytes that a picture of that size takes as a whole."""

    @abstractmethod
    def describe(self) -> str:
        """Return what the network is, where it runs and what computes it, in a few words."""

    @abstractmethod
    def check_fork(self) -> None:
        """Refuse to wait for threads, or to use a GPU, that a fork has left behind.

        Raises:
            UpscaleError: This is such a forked process.
        """

    def release_memory(self) -> None:
        """Give back what is kept but not in use, after memory ran out."""
        memory.release()


class NetworkRunner(TileRunner):
    """Runs an ATD or ATD-U in PyTorch.

    Args:
        model: The network: `b 3 h w` -> `b 3 h*scale w*scale`, RGB in [0, 1], unclamped; an ATD-U
            for gray pictures has one channel in and out.
        config: How to run it, as `InferenceConfig.for_window` returns it.
    """

    def __init__(self, model: Network, config: InferenceConfig) -> None:
        super().__init__(config)
        self._model = model.to(self._device).eval()
        self.scale, self.window = model.config.scale, model.config.window
        self._kind = "ATD"
        if not isinstance(model.config, ATDConfig):
            self._kind, self.channels = "ATD-U", model.config.channels
        self.steps, self.plans_memory = len(model.layers), self._device.type == "cpu"
        self._graph = self._new_graph()
        self._graph_in_use = threading.Lock()  # a graph has one buffer for its input
        self._process = os.getpid()
        self._parameters = sum(parameter.numel() for parameter in model.parameters())
        self._has_kernels = cpu.supports_device(self._device) and (
            config.precision == "fp32" or multiplies_bfloat16(self._device)
        )

    @property
    def _dtype(self) -> torch.dtype:
        return next(self._model.parameters()).dtype

    def _in_precision(self) -> AbstractContextManager[Any]:
        # a recorded graph must not read casts of weights that were cached before the recording
        return products_in_bfloat16(
            self._device,
            enabled=self._config.precision == "bf16",
            cache_casts=self._graph is None,
        )

    def estimate(self, height: int, width: int) -> int:
        """Return the main memory in bytes that a picture of that size takes as a whole."""
        return budget.estimate(
            self._model.config, self._parameters, height, width, has_kernels=self._has_kernels
        )

    def describe(self) -> str:
        """Return the device, the precision and what computes the layers, in a few words."""
        if self._device.type == "cuda":
            name, why_not = gpu.status().gpu, gpu.status().why_not
            kernels = "kernels in Triton" if name else f"plain PyTorch: {why_not}"
        elif self._has_kernels:
            kernels = f"kernels in C ({cpu.status().variant})"
        elif self._device.type == "cpu" and (why_not := cpu.status().why_not):
            kernels = f"plain PyTorch: {why_not}"
        else:
            kernels = "plain PyTorch"
        count = torch.get_num_threads()
        threads = f", {count} thread{'s' * (count != 1)}" if self._device.type == "cpu" else ""
        where = f"{self._device}{threads}, {self._config.precision}"
        return f"{self._kind} x{self.scale} on {where}, {kernels}"

    def _new_graph(self) -> Graph | None:
        """Return a graph for a GPU, which computes a tile faster than Python launches its kernels.

        Tiles, frames and batches all have one size, so that one recording serves them all.
        """
        graphs = self._device.type == "cuda" and gpu.status().cuda_graphs
        return Graph(self._model) if graphs else None

    def _forward(self, image: Tensor, layer_done: Callable[[], None]) -> Tensor:
        if self._graph is None:
            with _after_each(self._model.layers, layer_done):
                return self._model(image)
        with self._graph_in_use:
            return self._replay(self._graph, image, layer_done)

    def _replay(self, graph: Graph, image: Tensor, layer_done: Callable[[], None]) -> Tensor:
        """Run the network as a graph. The layers run once more while the graph is recorded."""
        with _after_each(self._model.layers, lambda: None if graph.records else layer_done()):
            out = graph(image)
        assert out is not None, "a network returns a picture"
        if not graph.replays:
            return out
        for _ in self._model.layers:  # a replay calls no module, so no hook has run
            layer_done()
        return out.clone()  # the next replay overwrites the graph's output

    def check_fork(self) -> None:
        """Refuse to wait for threads, or to use a GPU, that a fork has left behind.

        OpenMP keeps worker threads for each thread of this process. A forked process has the
        thread that forked it but none of those workers, and the next operation would wait for them
        forever. It does not matter which thread computed: OpenMP's locks belong to the process.

        Raises:
            UpscaleError: This is such a forked process.
        """
        process = os.getpid()
        if self._device.type != "cpu":
            is_stranded = process != self._process
        elif torch.get_num_threads() > 1:
            is_stranded = bool(_computed_in - {process})
        else:
            return
        if is_stranded:
            raise UpscaleError(_STRANDED)
        _computed_in.add(process)

    def release_memory(self) -> None:
        """Give back what is kept but not in use, after memory ran out."""
        with self._graph_in_use:
            self._graph = self._new_graph()
        super().release_memory()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        elif self._device.type == "mps":
            torch.mps.empty_cache()


class OnnxRunner(TileRunner):
    """Runs a network in an ONNX file.

    Args:
        network: The network.
        config: How to run it, as `InferenceConfig.for_window` returns it.

    Raises:
        UpscaleError: The configuration asks for what PyTorch does.
    """

    def __init__(self, network: OnnxNetwork, config: InferenceConfig) -> None:
        super().__init__(config)
        if self._device.type != "cpu" or config.precision != "fp32":
            raise UpscaleError(
                "device and precision are for networks in PyTorch; an ONNX file runs where its "
                "provider does, in the precision that it was exported in."
            )
        self._network = network
        self.scale, self.window, self.steps = network.scale, network.window, 1
        self.plans_memory = network.provider == "cpu"
        self._process = os.getpid()

    def _forward(self, image: Tensor, layer_done: Callable[[], None]) -> Tensor:
        out = self._network(image)
        layer_done()
        return out

    def estimate(self, height: int, width: int) -> int:
        """Return the main memory in bytes that a picture of that size takes as a whole."""
        return self._network.estimate(height, width)

    def describe(self) -> str:
        """Return the file and what computes it, in a few words."""
        return f"{self._network.path} x{self.scale} on onnxruntime's {self._network.provider}"

    def check_fork(self) -> None:
        """Refuse to wait for onnxruntime's threads in a process that was forked.

        Raises:
            UpscaleError: This is such a process.
        """
        if os.getpid() != self._process:
            raise UpscaleError(_STRANDED)


_STRANDED = (
    "this process was forked from one that had computed already, so the network would hang here; "
    "start processes with multiprocessing.get_context('spawn'), or on a CPU call "
    "torch.set_num_threads(1) first."
)


@contextmanager
def _after_each(layers: Sequence[nn.Module], call: Callable[[], None]) -> Iterator[None]:
    """Call back when one of the layers has run in this thread; others may use them meanwhile."""
    own_thread = threading.get_ident()

    def layer_has_run(*_: object) -> None:
        if threading.get_ident() == own_thread:
            call()

    hooks = [layer.register_forward_hook(layer_has_run) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def self_ensemble(network: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """Return the mean over the eight symmetries of the square, each undone after the network.

    Args:
        network: `b c h w` -> `b c' h*scale w*scale`.
        image: The picture, `b c h w`.

    Source:
        "Enhanced Deep Residual Networks for Single Image Super-Resolution", section 3.4,
        https://arxiv.org/abs/1707.02921
    """
    total: Tensor | None = None
    for axes in ((), (-1,), (-2,), (-2, -1)):
        for is_transposed in (False, True):
            flipped = image.flip(axes)
            out = network(flipped.mT if is_transposed else flipped)
            out = (out.mT if is_transposed else out).flip(axes)
            total = out if total is None else total.add_(out)
    assert total is not None, "there are eight"
    return total / 8
