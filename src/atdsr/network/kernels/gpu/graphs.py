"""Work on a GPU as a CUDA graph: launched at once instead of kernel by kernel."""

from collections.abc import Callable

import torch
from torch import Tensor

_WARM_UPS = 3  # what is allocated, compiled or chosen once has been by then


class Graph:
    """Work on tensors of one shape at a time, recorded when it has run a few times and replayed.

    The work must do the same on the GPU whatever the tensors hold, without waiting for it, and
    read nothing that is freed later: autocast around it is to keep no casts (`cache_enabled`).

    Args:
        work: what to do with the tensors; what it returns stays where it is when it is replayed.
        failed: called with the reason where it cannot be recorded; it goes on kernel by kernel.

    Attributes:
        records: whether the work runs to be recorded, which computes nothing yet.
        replays: whether the last call replayed what was recorded, whose Python code does not run.
    """

    def __init__(
        self, work: Callable[..., Tensor | None], failed: Callable[[str], None] = lambda _: None
    ) -> None:
        self._work = work
        self._failed = failed
        self._able = True
        self.records = False
        self._stream: torch.cuda.Stream | None = None
        self._begin(())

    def _begin(self, given: tuple[Tensor, ...]) -> None:
        self._given = given
        self._runs = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: Tensor | None = None
        self.replays = False

    def __call__(self, *tensors: Tensor) -> Tensor | None:
        """Do the work with these tensors, on the current stream of their device.

        Returns:
            What the work returns; the next call may write another result in its place.
        """
        with torch.cuda.device(tensors[0].device):  # else another one's streams are recorded
            return self._run(*tensors)

    def _run(self, *tensors: Tensor) -> Tensor | None:
        kinds = [[(x.shape, x.dtype) for x in group] for group in (tensors, self._given)]
        if kinds[0] != kinds[1]:
            self._begin(tuple(torch.empty_like(x) for x in tensors))
        if not self._able:
            return self._work(*tensors)
        for place, x in zip(self._given, tensors, strict=True):
            place.copy_(x)
        if self._graph is None and self._runs >= _WARM_UPS:
            self._record()
        if self._graph is None:
            self._runs += 1
            return self._aside()
        self._graph.replay()
        self.replays = True
        return self._result

    def _aside(self) -> Tensor | None:
        """Run it on a stream of its own, as recording will, which PyTorch asks of warm-ups."""
        # always the same one, since each stream keeps freed memory for itself
        self._stream = aside = self._stream or torch.cuda.Stream()
        here = torch.cuda.current_stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            result = self._work(*self._given)
        here.wait_stream(aside)
        return result

    def _record(self) -> None:
        graph = torch.cuda.CUDAGraph()
        self.records = True
        try:
            # another thread may pin the memory of the next batch meanwhile
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._result = self._work(*self._given)
        except RuntimeError as error:  # a lack of memory too, since recording takes some more
            self._able = False
            self._result = None
            self._failed(str(error).partition("\n")[0])
        else:
            self._graph = graph
        finally:
            self.records = False
