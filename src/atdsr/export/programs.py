"""The network as PyTorch exports it: for any number of pictures, of any size."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from atdsr.network.exportable import ExportBackend, Windows, compute_layer
from atdsr.network.model import ATD, Layer

LARGEST_SIDE = 2**15
"""Pixels of a side, and pictures of a batch, up to which a program is exported."""


class Program(nn.Module):
    """A whole network, `b 3 h w` -> `b 3 h*scale w*scale`, of operations that can be exported.

    Args:
        model: The network.
        backend: The class of what computes the layers.
    """

    def __init__(self, model: ATD, backend: type[ExportBackend] = ExportBackend) -> None:
        super().__init__()
        self.model = model
        self._backend = backend

    def forward(self, image: Tensor) -> Tensor:
        """Enlarge a batch of pictures."""
        return self.model(image, self._backend())


class LayerProgram(nn.Module):
    """A layer as a function of its parameters, so that it serves for all layers of its kind.

    Args:
        layer: The layer.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self._layer = [layer]  # in a list, so that its parameters are not those of the program
        self._names = [name for name, _ in layer.named_parameters()]

    def forward(
        self, x: Tensor, dictionary: Tensor, windows: list[Tensor], parameters: list[Tensor]
    ) -> tuple[Tensor, ...]:
        """Run the layer; the dictionary is returned where the layer refines it.

        Args:
            x: Tokens, `b h w c`.
            dictionary: Token dictionary, `b m c`, or `1 m c` for all pictures.
            windows: What `window_tensors` returns.
            parameters: Those of the layer, in its order.
        """
        (layer,) = self._layer
        order, place, pairs, *regions = windows
        given = _GivenWindows(Windows(order, place, pairs, regions[0] if regions else None))
        values = dict(zip(self._names, parameters, strict=True))
        outputs = torch.func.functional_call(layer, values, (x, dictionary, given))
        return outputs if layer.refinement is not None else outputs[:1]


class _GivenWindows:
    """Runs a layer in windows that are given."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows

    def run_layer(self, layer: Layer, x: Tensor, dictionary: Tensor) -> tuple[Tensor, Tensor]:
        return compute_layer(layer, x, dictionary, self._windows)

    def end_stack(self) -> None:
        """Do nothing: nothing is kept."""


def window_tensors(windows: Windows) -> list[Tensor]:
    """Return the tensors of the windows, without regions where there is no shift."""
    tensors = [windows.order, windows.place, windows.pairs]
    return tensors if windows.regions is None else [*tensors, windows.regions]


def prepared(model: ATD, *, half: bool) -> ATD:
    """Return a copy of a network that is ready to be exported.

    Args:
        model: The network, in float32.
        half: Whether the layers' products are in half precision, but for what concerns the
            dictionary, which decides about categories.
    """
    model = copy.deepcopy(model).eval().requires_grad_(False)
    if half:
        for layer in model.layers:
            for module in (layer.qkv, layer.window, layer.category, layer.ffn):
                module.half()
    return model


@contextmanager
def any_size() -> Iterator[None]:
    """Let PyTorch export without assuming that a side is longer than a window, inside the block."""
    from torch.fx.experimental import _config as settings

    # what `torch.onnx.export` sets, too; a module that is a settings object at run time
    patch = settings.patch  # pyright: ignore[reportAttributeAccessIssue]
    with torch.no_grad(), patch(backed_size_oblivious=True):
        yield
