"""The formats that networks are exported in: ONNX, PyTorch's programs, OpenVINO's IR."""

import io
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atdsr.export import onnx_graph
from atdsr.export.config import ExportConfig, ExportError, import_package
from atdsr.export.programs import LARGEST_SIDE, Program, any_size
from atdsr.network.model import ATD

_TRACES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")
"""What PyTorch notes about the origin of each operation, with the paths of this machine."""


@dataclass(frozen=True)
class Exported:
    """A network in a format.

    Attributes:
        contents: The contents of its files.
        run: Runs them, `1 3 h w` -> `1 3 h*scale w*scale`.
    """

    contents: Sequence[bytes]
    run: Callable[[Tensor], Tensor]


Build = Callable[[ATD, ExportConfig, Mapping[str, str], Callable[[float], None]], Exported]
"""A prepared network, how it is written, what the file says, who is told the progress."""


@dataclass(frozen=True)
class Exporter:
    """A format.

    Attributes:
        suffixes: What the names of its files end in, in the order of `Exported.contents`.
        build: Makes them.
    """

    suffixes: tuple[str, ...]
    build: Build


def for_path(path: Path) -> Exporter:
    """Return the format that the suffix of a file names.

    Raises:
        ExportError: It names none.
    """
    for exporter in _EXPORTERS:
        if exporter.suffixes[0] == path.suffix.lower():
            return exporter
    suffixes = ", ".join(exporter.suffixes[0] for exporter in _EXPORTERS)
    raise ExportError(f"{path}: the suffix of an exported file is one of {suffixes}.")


def _to_onnx(
    model: ATD,
    config: ExportConfig,
    metadata: Mapping[str, str],
    progress: Callable[[float], None],
) -> Exported:
    onnxruntime = import_package("onnxruntime")
    content = onnx_graph.build(model, config, metadata, progress)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(image: Tensor) -> Tensor:
        (result,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        return torch.from_numpy(result)

    return Exported([content], run)


def _to_program(
    model: ATD,
    config: ExportConfig,
    metadata: Mapping[str, str],
    progress: Callable[[float], None],
) -> Exported:
    """Export for `torch.export.load`. PyTorch assumes one picture, or several, but never both."""
    dims = {2: torch.export.Dim("height", min=1, max=LARGEST_SIDE)}
    dims[3] = torch.export.Dim("width", min=1, max=LARGEST_SIDE)
    with any_size():
        program = torch.export.export(
            Program(model), (torch.rand(1, 3, 40, 56),), dynamic_shapes=(dims,)
        )
    progress(0.9)
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                for trace in _TRACES:
                    node.meta.pop(trace, None)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, buffer, extra_files=dict(metadata))
        loaded: Any = torch.export.load(io.BytesIO(buffer.getvalue())).module()
    return Exported([buffer.getvalue()], torch.no_grad()(loaded))


def _to_openvino(
    model: ATD,
    config: ExportConfig,
    metadata: Mapping[str, str],
    progress: Callable[[float], None],
) -> Exported:
    openvino = import_package("openvino")
    content = onnx_graph.build(model, config, metadata, progress)
    core = openvino.Core()
    network = core.read_model(content)
    for name, text in metadata.items():
        network.set_rt_info(text, ["atdsr", name])
    compiled = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.xml"
        # what is in half precision is so already
        openvino.save_model(network, path, compress_to_fp16=False)
        contents = [path.read_bytes(), path.with_suffix(".bin").read_bytes()]

    def run(image: Tensor) -> Tensor:
        return torch.from_numpy(compiled(image.numpy())[0])

    return Exported(contents, run)


_EXPORTERS = (
    Exporter((".onnx",), _to_onnx),
    Exporter((".pt2",), _to_program),
    Exporter((".xml", ".bin"), _to_openvino),
)
