"""Small ONNX files: networks that repeat every pixel, and what is none."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def nearest(
    path: Path,
    scale: int = 2,
    *,
    channels: int = 3,
    batch: str | int = "b",
    sides: Sequence[str | int] = ("h", "w"),
    multiple: int = 1,
    opset: int = 18,
    dtype: int = TensorProto.FLOAT,
    external: bool = False,
) -> Path:
    """Write a network that makes every pixel `scale * scale` pixels.

    Args:
        path: The file.
        scale: How many times the sides grow.
        channels: Channels of a picture.
        batch: Number of pictures, or a name where any will do.
        sides: Height and width, or names.
        multiple: What the sides must be a multiple of.
        opset: Version of the operators.
        dtype: Type of the pictures.
        external: Whether the weights are in another file, `path` with `.data`.
    """
    kernel = np.zeros((channels * scale**2, channels, 1, 1), np.float32)
    for channel in range(channels):
        kernel[channel * scale**2 : (channel + 1) * scale**2, channel] = 1
    nodes = [
        helper.make_node("Cast", ["x"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("SpaceToDepth", ["floats"], ["blocks"], blocksize=multiple),
        helper.make_node("DepthToSpace", ["blocks"], ["same"], blocksize=multiple),
        helper.make_node("Conv", ["same", "kernel"], ["deep"]),
        helper.make_node("DepthToSpace", ["deep"], ["large"], blocksize=scale, mode="CRD"),
        helper.make_node("Cast", ["large"], ["y"], to=dtype),
    ]
    larger = [f"{scale}*{side}" if isinstance(side, str) else scale * side for side in sides]
    graph = helper.make_graph(
        nodes,
        "nearest",
        [helper.make_tensor_value_info("x", dtype, [batch, channels, *sides])],
        [helper.make_tensor_value_info("y", dtype, [batch, channels, *larger])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(
        model,
        path,
        save_as_external_data=external,
        location=f"{path.name}.data" if external else None,
        size_threshold=0,
    )
    return path
