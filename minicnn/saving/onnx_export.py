"""export_onnx: a trained model as an ONNX file, which ONNX Runtime and others run without minicnn."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minicnn.errors import ConfigError, MissingPackageError, NotBuiltError
from minicnn.saving import atomic
from minicnn.saving.onnx_graph import Graph
from minicnn.saving.onnx_layers import add_layer

if TYPE_CHECKING:
    from minicnn.models import Sequential

OPSET = 17
"""Of ONNX's operators, of 2022: old enough for any runtime in use, new enough for Softmax along an axis."""

IR_VERSION = 8
"""Of the file, that of the same release of ONNX, 1.12."""

LARGEST = 2**31 - 1
"""Bytes of a protobuf message; ONNX keeps larger models in several files, which are not written here."""


def export_onnx(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Write a model's predictions as an ONNX graph: what model.predict computes, without what training needs.

    The graph takes "input" and gives "output", float32 and in minicnn's order (N, H, W, C), N free, so that the arrays
    which go into model.predict go in there too; inside, maps are transposed to ONNX's (N, C, H, W). Weights of a
    float64 model are rounded to float32.

        session = onnxruntime.InferenceSession("model.onnx")
        (y,) = session.run(None, {"input": x.astype("float32")})

    path: ends in .onnx; the file appears whole or not at all. Raises MissingPackageError without the package onnx;
    NotBuiltError for a model without weights yet; ConfigError for layers and activations of the caller's own, a wrong
    path, or a model beyond 2 GB; FileFormatError where the system refuses to write.
    Source: the operators' specification, https://onnx.ai/onnx/operators.
    """
    target = _as_path(path)
    atomic.check_target(target, True, (".onnx",), "export_onnx")
    if not model.built:
        raise NotBuiltError(f"{model}: has no weights yet, so export_onnx has nothing to work with; build it first.")
    graph = _graph_of(model)
    size = sum(array.nbytes for array in graph.weights.values())
    if size > LARGEST - (1 << 20):
        raise ConfigError(f"export_onnx: {model} has {size} bytes of weights; ONNX takes 2 GB in one file, use fewer.")
    atomic.write_whole(target, memoryview(_protobuf(graph, model)))


def _as_path(path: Any) -> Path:
    try:
        return Path(path)
    except TypeError:
        raise ConfigError(f"export_onnx: path must be a string or a Path, got {path!r}.") from None


def _graph_of(model: Sequential) -> Graph:
    """The model as nodes and weights."""
    graph = Graph("input", tuple(size for size in model.input_shape[1:] if size is not None))
    for layer in model.layers:
        add_layer(graph, layer)
    graph.layer = "end"
    graph.maps_channels_last()
    return graph


def _protobuf(graph: Graph, model: Sequential) -> bytes:
    """The graph in ONNX's format."""
    try:
        from onnx import TensorProto, checker, helper, numpy_helper
    except ImportError:
        raise MissingPackageError(
            'export_onnx: needs the package onnx, which is not installed; pip install "minicnn[onnx]".'
        ) from None

    nodes = [helper.make_node(n.op, n.inputs, [n.output], name=n.output, **n.attributes) for n in graph.nodes]
    nodes.append(helper.make_node("Identity", [graph.value], ["output"], name="output"))
    body = helper.make_graph(
        nodes,
        model.name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", *model.input_shape[1:]])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", *model.output_shape[1:]])],
        [numpy_helper.from_array(array, name) for name, array in graph.weights.items()],
    )
    proto = helper.make_model(
        body,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="minicnn",
    )
    checker.check_model(proto)
    result: bytes = proto.SerializeToString(deterministic=True)
    return result
