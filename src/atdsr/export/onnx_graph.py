"""A network as an ONNX model.

Exporting every layer would take PyTorch minutes, since each of its operations is traced several
times with symbolic sizes. But there are only a few kinds of layers. So the network is exported with
one node for each layer, and each kind of layer once as a function of its parameters; then the
functions take the place of the nodes.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from atdsr.export.config import ExportConfig, import_package
from atdsr.export.programs import LARGEST_SIDE, LayerProgram, Program, any_size, window_tensors
from atdsr.network.exportable import ExportBackend
from atdsr.network.model import ATD, Layer

_DOMAIN = "atdsr"  # of the nodes that stand for layers, until functions take their place
_BATCH, _HEIGHT, _WIDTH = (
    torch.export.Dim(name, min=1, max=LARGEST_SIDE) for name in ("batch", "height", "width")
)
_EXAMPLE = (2, 40, 56)  # pictures, height and width; no side is a multiple of a window


def build(
    model: ATD,
    config: ExportConfig,
    metadata: Mapping[str, str],
    progress: Callable[[float], None],
) -> bytes:
    """Return a network as the content of an ONNX file.

    Args:
        model: The network, as `programs.prepared` returns it.
        config: How it is written.
        metadata: Names and texts to put into the file.
        progress: Called with the fraction of the work that is done.

    Raises:
        ExportError: A package is missing.
    """
    onnx = import_package("onnx")
    ir, passes = import_package("onnx_ir"), import_package("onnx_ir.passes.common")
    kinds: dict[str, Layer] = {}
    for layer in model.layers:
        kinds.setdefault(_kind(layer), layer)
    with _quiet():
        whole = _export(
            Program(model, _LayerNodes),
            [torch.rand(_EXAMPLE[0], 3, *_EXAMPLE[1:])],
            [{0: _BATCH, 2: _HEIGHT, 3: _WIDTH}],
            output_names=["enlarged"],
        )
        for number, (kind, layer) in enumerate(kinds.items(), 1):
            progress(number / (len(kinds) + 1))
            function = _as_function(ir, kind, _export_layer(model, layer))
            whole.functions[function.identifier()] = function
        whole.opset_imports[_DOMAIN] = 1
        passes.InlinePass()(whole)
        _transpose_weights(ir, whole)
        if config.opset != whole.opset_imports[""]:
            import_package("onnxscript.version_converter").convert_version(whole, config.opset)
        for clean in (
            passes.IdentityEliminationPass(),
            passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
            passes.DeduplicateInitializersPass(),
            passes.CommonSubexpressionEliminationPass(),
            passes.RemoveUnusedNodesPass(),
            passes.RemoveUnusedOpsetsPass(),
            passes.ClearMetadataAndDocStringPass(),  # among them the stack of every operation
        ):
            clean(whole)
    _shorten(whole)
    scale = model.config.scale
    whole.graph.outputs[0].shape = ir.Shape(["batch", 3, f"{scale}*height", f"{scale}*width"])
    whole.producer_name, whole.producer_version = "atdsr", metadata["version"]
    whole.metadata_props.update(metadata)
    proto = ir.to_proto(whole)
    onnx.checker.check_model(proto)
    return proto.SerializeToString()


# ------------------------------------------------------------------------------------- layers


class _LayerNodes(ExportBackend):
    """Puts one node into the graph for each layer."""

    def run_layer(self, layer: Layer, x: Tensor, dictionary: Tensor) -> tuple[Tensor, Tensor]:
        windows = window_tensors(self.windows(layer, x))
        outputs = [x, dictionary] if layer.refinement is not None else [x]
        results = torch.onnx.ops.symbolic_multi_out(
            f"{_DOMAIN}::{_kind(layer)}",
            (x, dictionary, *windows, *layer.parameters()),
            dtypes=[output.dtype for output in outputs],
            shapes=[output.shape for output in outputs],
            version=1,
        )
        return results[0], results[1] if layer.refinement is not None else dictionary


def _kind(layer: Layer) -> str:
    """Return a name that is the same for layers that differ in their parameters only."""
    shift = "shifted" if layer.window.shifted else "plain"
    end = "refining" if layer.refinement is not None else "last"
    return f"Layer_{shift}_{end}_{layer.category.heads}"


def _export_layer(model: ATD, layer: Layer) -> Any:
    config, (b, rows, columns) = model.config, (2, 3, 4)
    x = torch.rand(b, rows * config.window, columns * config.window, config.width)
    # a dictionary that no layer changes is one for all pictures
    pictures, of_pictures = (1, None) if config.is_static else (b, {0: _BATCH})
    dictionary = torch.rand(pictures, config.dictionary_size, config.width)
    windows = window_tensors(ExportBackend().windows(layer, x))
    parameters = [parameter.detach() for parameter in layer.parameters()]
    auto = torch.export.Dim.AUTO  # numbers of tokens and windows follow from height and width
    of_windows = [{1: auto}, {1: auto}, None, {1: auto}][: len(windows)]
    return _export(
        LayerProgram(layer),
        [x, dictionary, windows, parameters],
        [{0: _BATCH, 1: auto, 2: auto}, of_pictures, of_windows, [None] * len(parameters)],
    )


def _as_function(ir: Any, name: str, model: Any) -> Any:
    """Return a model as a function of the same inputs, with its initializers as constants."""
    graph, constants = model.graph, []
    for value in list(graph.initializers.values()):
        constant = ir.node("Constant", [], {"value": value.const_value})
        (output,) = constant.outputs
        output.shape, output.type = value.shape, value.type
        value.replace_all_uses_with(output)
        del graph.initializers[value.name]
        constants.append(constant)
    graph.insert_before(graph[0], constants)
    return ir.Function(_DOMAIN, name, graph=graph, attributes=[])


# ------------------------------------------------------------------------------------- graphs


def _export(
    program: nn.Module,
    inputs: Sequence[Any],
    dynamic: Sequence[Any],
    output_names: Sequence[str] | None = None,
) -> Any:
    """Export a program with `torch.onnx`, and compute what does not depend on the inputs.

    Args:
        program: The program.
        inputs: Its inputs, as an example.
        dynamic: For each input, which of its dimensions may have any length, and their names.
        output_names: Names of the outputs, or None for any.
    """
    with any_size():
        exported = torch.onnx.export(
            program,
            tuple(inputs),
            dynamic_shapes=tuple(dynamic),
            output_names=output_names,
            opset_version=18,
            optimize=False,
            external_data=False,
            verbose=False,
        )
    assert exported is not None, "there is no file to write into"
    # small constants only: what is computed once for each picture need not be in the file
    limits = {"input_size_limit": 1024, "output_size_limit": 1024}
    optimizer = import_package("onnxscript.optimizer")
    optimizer.optimize_ir(exported.model, num_iterations=1, **limits)
    return exported.model


def _transpose_weights(ir: Any, model: Any) -> None:
    """Store weights as the products take them, which is not as PyTorch stores them."""
    transposed: dict[str, Any] = {}
    for node in list(model.graph):
        value = node.inputs[0] if node.op_type == "Transpose" else None
        if value is None or value.name not in model.graph.initializers:
            continue
        if value.name not in transposed:
            array = value.const_value.numpy().transpose(node.attributes["perm"].as_ints())
            tensor = ir.tensor(array.copy(), name=f"{value.name}_transposed")
            transposed[value.name] = ir.val(tensor.name, const_value=tensor)
            model.graph.register_initializer(transposed[value.name])
        node.outputs[0].replace_all_uses_with(transposed[value.name])
        model.graph.remove(node, safe=True)


def _shorten(model: Any) -> None:
    """Give short names, and leave out the shapes between nodes, which every reader computes."""
    number = 0
    for place, node in enumerate(model.graph):
        node.name = f"{node.op_type}_{place}"
        for value in node.outputs:
            if not value.is_graph_output():
                value.name, value.shape, value.type = f"t{number}", None, None
                number += 1


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the exporter tells its developers."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
