"""Recording work as a CUDA graph: what happens when, with a stand-in for the GPU; and on one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import Tensor

from atdsr.network.kernels.gpu import graphs
from atdsr.network.kernels.gpu.graphs import Graph


class Recorder:
    """PyTorch's streams and graphs as far as they are used, without a GPU.

    A graph keeps the work that ran while it was recorded, and does it again.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        self.fails: str | None = None
        self.devices: list[torch.device] = []
        self.work: Callable[[], object] = lambda: None
        recorder = self

        class FakeGraph:
            def replay(self) -> None:
                recorder.events.append("replay")
                recorder.work()

        class FakeStream:
            def wait_stream(self, other: "FakeStream") -> None:
                assert other is not self

        @contextmanager
        def record(graph: FakeGraph, capture_error_mode: str) -> Iterator[None]:
            # other threads may call CUDA meanwhile
            assert capture_error_mode == "thread_local"
            recorder.events.append("record")
            if recorder.fails is not None:
                raise RuntimeError(recorder.fails)
            yield

        def on(device: torch.device) -> nullcontext[None]:
            recorder.devices.append(device)
            return nullcontext()

        here = FakeStream()
        monkeypatch.setattr(torch.cuda, "device", on)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
        monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: here)
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
        monkeypatch.setattr(torch.cuda, "graph", record)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


class Doubling:
    """Work that leaves its result always in the same place, once it is recorded."""

    def __init__(self, recorder: Recorder) -> None:
        self.runs = 0
        self._recorder = recorder

    def __call__(self, x: Tensor) -> Tensor:
        self.runs += 1
        out = 2 * x
        self._recorder.work = lambda: out.copy_(2 * x)
        return out


def test_it_warms_up_records_once_and_replays(recorder: Recorder) -> None:
    double = Doubling(recorder)
    graph = Graph(double)
    for number in range(6):
        out = graph(torch.full((3,), float(number)))
        assert out is not None
        assert out.tolist() == [2.0 * number] * 3
        assert graph.replays == (number >= graphs._WARM_UPS)
    assert recorder.events == ["record", "replay", "replay", "replay"]
    assert double.runs == graphs._WARM_UPS + 1


def test_it_records_on_the_device_of_the_tensors(recorder: Recorder) -> None:
    Graph(Doubling(recorder))(torch.ones(1))
    assert recorder.devices == [torch.device("cpu")]


@pytest.mark.parametrize("fails", [None, "operation not permitted"])
def test_it_says_while_it_records(recorder: Recorder, fails: str | None) -> None:
    recorded: list[bool] = []

    def work(x: Tensor) -> Tensor:
        recorded.append(graph.records)
        if graph.records and fails:
            raise RuntimeError(fails)
        return x

    graph = Graph(work)
    for _ in range(graphs._WARM_UPS + 1):
        graph(torch.ones(1))
    assert recorded == [False] * graphs._WARM_UPS + [True] + [False] * bool(fails)
    assert not graph.records


def test_another_shape_or_type_begins_anew(recorder: Recorder) -> None:
    graph = Graph(Doubling(recorder))
    for x in (torch.ones(3), torch.ones(4), torch.ones(4).double(), torch.ones(3)):
        for _ in range(graphs._WARM_UPS + 1):
            out = graph(x)
            assert out is not None
            assert torch.equal(out, 2 * x)
    assert recorder.events == ["record", "replay"] * 4


def test_what_cannot_be_recorded_goes_on_without(recorder: Recorder) -> None:
    said: list[str] = []
    recorder.fails = "operation not permitted when stream is capturing\nand more"
    graph = Graph(Doubling(recorder), said.append)
    for number in range(8):
        out = graph(torch.full((2,), float(number)))
        assert out is not None
        assert out.tolist() == [2.0 * number] * 2
    assert recorder.events == ["record"]
    assert said == ["operation not permitted when stream is capturing"]
    assert not graph.replays


def test_an_error_of_the_work_itself_is_not_hidden(recorder: Recorder) -> None:
    def fail(x: Tensor) -> Tensor:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Graph(fail)(torch.ones(1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_it_computes_what_was_recorded() -> None:
    weight = torch.randn(64, 64, device="cuda")
    graph = Graph(lambda x: torch.relu(x @ weight))
    for _ in range(graphs._WARM_UPS + 3):
        x = torch.randn(32, 64, device="cuda")
        out = graph(x)
        assert out is not None
        torch.testing.assert_close(out, torch.relu(x @ weight))
    assert graph.replays
