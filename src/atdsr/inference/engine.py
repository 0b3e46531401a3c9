"""The network on a picture of any size: device, precision, memory, tiles, self-ensemble."""

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from atdsr import imaging
from atdsr.base import memory
from atdsr.base.errors import AtdsrError
from atdsr.inference import borders, tiles
from atdsr.inference.borders import Edges
from atdsr.network.kernels import cpu
from atdsr.network.kernels.gpu.graphs import Graph
from atdsr.network.model import ATD

Precision = Literal["fp32", "bf16"]
Tile = Literal["auto", "off"] | int
Progress = Callable[[float], None]
Tell = Callable[[str], None]

OVERLAP = 32
"""Pixels that neighbouring tiles share by default; `docs/tiles.md` has the measurements."""

_SHARE = 0.85  # of the free memory; the rest is for what the estimate does not know
_NOTEWORTHY = 2**30  # bytes; an estimate above this is worth a line

_computed: set[int] = set()  # the processes that computed on several threads: this one, its parent


class UpscaleError(AtdsrError):
    """A picture that cannot be enlarged here, or an option that does not exist here."""


@dataclass(frozen=True)
class Source:
    """Pictures of one size whose parts are read when they are needed.

    Attributes:
        read: rows and columns -> that part of the pictures, `b c h w` of floats in [0, 1] with
            one channel or three.
        batch: how many pictures.
        height: in pixels.
        width: in pixels.
    """

    read: Callable[[slice, slice], Tensor]
    batch: int
    height: int
    width: int


class Engine:
    """A network with all that is to know about running it, from any number of threads at once.

    Attributes:
        model: `b 3 h w` -> `b 3 h*scale w*scale`, RGB in [0, 1], unclamped.
        device: where the network is.
        precision: see `upscale.Upscaler`, like the next three.
        tile: a multiple of the network's window if it is a number.
        overlap: at most half a tile.
        ensemble: whether to take the mean over eight flips and transposes.
    """

    def __init__(
        self,
        model: ATD,
        *,
        device: str | torch.device,
        precision: Precision,
        tile: Tile,
        overlap: int | None,
        ensemble: bool,
    ) -> None:
        if precision not in ("fp32", "bf16"):
            raise UpscaleError(f"precision is {precision!r}; it is 'fp32' or 'bf16'.")
        self.device = choose_device(device)
        self.model = model.to(self.device).eval()
        self._parameters = sum(parameter.numel() for parameter in model.parameters())
        self._kernels = cpu.run_on(next(model.parameters()).data)
        self._graph = self._new_graph()
        self._graph_in_use = threading.Lock()  # it has one place for what it is given
        self._process = os.getpid()
        self.precision = precision
        self.tile = self._checked_tile(tile)
        self.overlap = self._checked_overlap(overlap)
        self.ensemble = ensemble

    @property
    def _window(self) -> int:
        return self.model.config.window

    @property
    def _smallest_tile(self) -> int:
        return 2 * self._window  # a shifted layer needs a neighbour

    def _checked_tile(self, tile: Tile) -> Tile:
        if tile in ("auto", "off"):
            return tile
        if not isinstance(tile, int) or tile < self._smallest_tile:
            raise UpscaleError(
                f"tile is {tile!r}; it is 'auto', 'off' or a number of pixels from "
                f"{self._smallest_tile} on."
            )
        return self._whole_windows(tile)

    def _checked_overlap(self, overlap: int | None) -> int:
        most = self.tile // 2 if isinstance(self.tile, int) else None
        if overlap is None:
            return OVERLAP if most is None else min(OVERLAP, most)
        if overlap < 0 or (most is not None and overlap > most):
            limit = "on" if most is None else f"to {most}, half a tile"
            raise UpscaleError(f"overlap is {overlap}; it is from 0 {limit}.")
        return overlap

    def _whole_windows(self, side: int) -> int:
        return side - side % self._window

    def estimate(self, height: int, width: int) -> int:
        """Main memory in bytes that the network takes at its peak for a picture of that size.

        Fitted to what `benchmarks/memory.py` measures on a CPU in float32: per pixel 2.8 kB for
        the light network and 11 kB for the classical one by the kernels, 6.7 and 24 kB in plain
        PyTorch; at x4 the end of the classical one takes most, 16 kB.
        """
        config, fused = self.model.config, self.precision == "fp32" and self._kernels
        height, width = (side + -side % config.window for side in (height, width))
        rows, maps = (12, 2) if fused else (24, 8)
        body = rows * config.width + maps * config.dictionary_size
        end = 4 * 64 * config.scale**2 if config.head == "pixelshuffle" else 0
        per_pixel = 4 * max(body, end)
        return 20 * 2**20 + 2 * self._parameters + per_pixel * height * width

    # ----------------------------------------------------------------------- memory and tiles

    def parts(self, source: Source, progress: Progress, tell: Tell) -> Iterator[tuple[int, Tensor]]:
        """Enlarge a picture, or a batch, and yield it in parts from top to bottom.

        Where memory runs out, it begins again at the top with smaller tiles and yields those
        rows again, so that all parts are of one piece in the end.

        Args:
            source: what to enlarge.
            progress: called with the share of the work that is done, from 0 to 1; it falls back
                where the work begins again.
            tell: called with a sentence where it takes much memory, or tiles.

        Yields:
            The enlarged row at which a part begins, and the part, `b c rows width*scale` in
            [0, 1], of the channels, dtype and device that `source.read` gives.

        Raises:
            UpscaleError: there is not even memory for the smallest tile, or for the whole where
                tiles are off; or this process was forked from one that computed already.
        """
        self._check_fork()
        tile = self._first_tile(source, tell)
        while True:
            try:
                yield from self._tiled(source, tile, progress)
                return
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise  # otherwise out of this block, where the traceback keeps tensors alive
            self._release()
            if tile <= self._smallest_tile or self.tile == "off":
                raise UpscaleError(_too_large(source))
            half = self._whole_windows(min(tile, max(source.height, source.width)) // 2)
            tile = max(self._smallest_tile, half)
            tell(f"memory ran out, so it begins again {self._in_tiles_of(tile)}.")

    def _check_fork(self) -> None:
        """Refuse to wait for threads, or to use a GPU, that a fork has left behind.

        OpenMP keeps the threads that work for a thread of ours. A forked process has the thread
        that forked it and none of those, and the next operation would wait for them for ever. It
        does not matter which thread computed: OpenMP's locks are those of the process.

        Raises:
            UpscaleError: this is such a process.
        """
        process = os.getpid()
        if self.device.type != "cpu":
            lost = process != self._process
        elif torch.get_num_threads() > 1:
            lost = bool(_computed - {process})
        else:
            return
        if lost:
            raise UpscaleError(
                "this process was forked from one that had computed already, so the network would "
                "hang here; start processes with multiprocessing.get_context('spawn'), or on a "
                "CPU call torch.set_num_threads(1) first."
            )
        _computed.add(process)

    def _first_tile(self, source: Source, tell: Tell) -> int:
        """The tile to begin with; one that holds the picture is no tile but the whole.

        Raises:
            UpscaleError: tiles are off, and the main memory is clearly too small.
        """
        tile = self.tile if isinstance(self.tile, int) else max(source.height, source.width)
        if self.device.type != "cpu":
            return tile  # there, running out of memory costs a moment and not the process
        height, width = min(tile, source.height), min(tile, source.width)
        need = source.batch * self.estimate(height, width)
        free = memory.available_bytes()
        takes = f"takes about {_gib(need)} of memory and {_gib(free)} are free"
        if self.tile == "off" and need > free:
            raise UpscaleError(f"{_too_large(source)} It {takes}.")
        if self.tile != "off" and need > _SHARE * free:
            tile = self._largest_tile(source, _SHARE * free)
            tell(f"{width}x{height} {takes}, so it is done {self._in_tiles_of(tile)}.")
        elif need > _NOTEWORTHY:
            tell(f"{width}x{height} {takes}.")
        return tile

    def _largest_tile(self, source: Source, budget: float) -> int:
        """Side of the largest tile that takes no more than so many bytes."""
        whole = self._whole_windows(max(source.height, source.width))
        for side in range(whole, self._smallest_tile, -self._window):
            need = self.estimate(min(side, source.height), min(side, source.width))
            if source.batch * need <= budget:
                return side
        return self._smallest_tile

    def _in_tiles_of(self, tile: int) -> str:
        return f"in tiles of {tile} with an overlap of {min(self.overlap, tile // 2)}"

    def _tiled(self, source: Source, tile: int, progress: Progress) -> Iterator[tuple[int, Tensor]]:
        overlap = min(self.overlap, tile // 2)
        rows = tiles.spans(source.height, tile, overlap, self._window)
        columns = tiles.spans(source.width, tile, overlap, self._window)
        runs = len(rows) * len(columns) * (8 if self.ensemble else 1)
        done = 0

        def advance() -> None:
            nonlocal done
            done += 1
            progress(done / (runs * len(self.model.layers)))

        def enlarge(rows: slice, columns: slice) -> Tensor:
            edges = Edges(
                rows.start == 0,
                rows.stop == source.height,
                columns.start == 0,
                columns.stop == source.width,
            )
            return self._run(source.read(rows, columns), edges, advance)

        yield from tiles.join_rows(rows, columns, self.model.config.scale, enlarge)

    def _run(self, image: Tensor, edges: Edges, layer_done: Callable[[], None]) -> Tensor:
        """`b c h w` -> `b c h*scale w*scale`, in [0, 1].

        Args:
            image: the picture or a part of it.
            edges: those of the picture.
            layer_done: called after each layer.
        """
        bf16 = self.precision == "bf16"
        # a recorded graph must not read casts of weights that were kept from before it
        keeps = self._graph is None
        autocast = torch.autocast(
            self.device.type, torch.bfloat16, enabled=bf16, cache_enabled=keeps
        )

        def network(work: Tensor) -> Tensor:
            return self._network(work, layer_done)

        with torch.inference_mode(), autocast:
            given = image.to(self.device, next(self.model.parameters()).dtype)
            work = imaging.gray_to_rgb(given)
            out = self_ensemble(network, work) if self.ensemble else network(work)
            out = out.clamp(0, 1)
            if image.shape[1] == 1:
                out = imaging.gray_from_rgb(out)
            borders.keep_flat(given, out, self.model.config.scale, edges)
        return out.to(image.device, image.dtype).clone()  # a normal tensor again

    def _new_graph(self) -> Graph | None:
        """Tiles, frames and batches have one size, and a GPU is faster than its launches."""
        return Graph(self.model) if self.device.type == "cuda" else None

    def _network(self, image: Tensor, layer_done: Callable[[], None]) -> Tensor:
        if self._graph is None:
            with _after_each(self.model.layers, layer_done):
                return self.model(image)
        with self._graph_in_use:
            return self._replayed(self._graph, image, layer_done)

    def _replayed(self, graph: Graph, image: Tensor, layer_done: Callable[[], None]) -> Tensor:
        """The network as a graph, which runs the layers once more to be recorded."""
        with _after_each(self.model.layers, lambda: None if graph.records else layer_done()):
            out = graph(image)
        assert out is not None, "a network returns a picture"
        if not graph.replays:
            return out
        for _ in self.model.layers:  # none of which ran as a module
            layer_done()
        return out.clone()  # the next run writes in the same place

    def _release(self) -> None:
        with self._graph_in_use:
            self._graph = self._new_graph()
        memory.release()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.device.type == "mps":
            torch.mps.empty_cache()


@contextmanager
def _after_each(layers: Sequence[nn.Module], call: Callable[[], None]) -> Iterator[None]:
    """Call back when one of the layers has run in this thread; others may use them meanwhile."""
    own = threading.get_ident()

    def done(*_: object) -> None:
        if threading.get_ident() == own:
            call()

    hooks = [layer.register_forward_hook(done) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def self_ensemble(network: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """The mean over the eight symmetries of the square, each undone after the network.

    Args:
        network: `b c h w` -> `b c' h*scale w*scale`.
        image: `b c h w`.

    Source:
        "Enhanced Deep Residual Networks for Single Image Super-Resolution", section 3.4,
        https://arxiv.org/abs/1707.02921
    """
    total: Tensor | None = None
    for axes in ((), (-1,), (-2,), (-2, -1)):
        for turned in (False, True):
            flipped = image.flip(axes)
            out = network(flipped.mT if turned else flipped)
            out = (out.mT if turned else out).flip(axes)
            total = out if total is None else total.add_(out)
    assert total is not None, "there are eight"
    return total / 8


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


def is_out_of_memory(error: Exception) -> bool:
    """Whether this is what PyTorch raises on any device when there is no memory."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):  # from a file that is mapped into memory
        return error.errno == errno.ENOMEM
    text = str(error)
    # what oneDNN says when there is no room for the code it generates; alone, since a longer
    # sentence that begins so is about something that it cannot do
    if text in ("could not create a primitive", "could not execute a primitive"):
        return True
    sentences = (
        "can't allocate memory",
        "out of memory",
        "bad_alloc",
        "could not create a memory",
        "can't start new thread",  # there is no room for its stack
        "failed to map segment",  # of a library that is loaded late
        "error return without exception set",  # what an import says
    )
    return any(sentence in text for sentence in sentences)


def _too_large(source: Source) -> str:
    return (
        f"a picture of {source.width}x{source.height} is too large for the memory of this machine."
    )


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
