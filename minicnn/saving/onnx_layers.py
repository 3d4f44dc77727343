"""Each layer, and each activation, in ONNX's operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minicnn import activations
from minicnn import layers as L
from minicnn.errors import ConfigError
from minicnn.geometry import Windows
from minicnn.kernels.activation import SELU_ALPHA, SELU_SCALE
from minicnn.layers.core import bias_or_zeros
from minicnn.saving.onnx_graph import Graph
from minicnn.typing import Array, Shape


def add_layer(graph: Graph, layer: L.Layer) -> None:
    """Add the operators of one layer in inference. Raises ConfigError for the caller's own classes."""
    if type(layer) not in LAYERS:
        raise ConfigError(f"export_onnx: {layer} has no counterpart in ONNX; export a model of minicnn's own layers.")
    graph.layer = layer.name
    LAYERS[type(layer)](graph, layer)
    graph.sample = layer.output_shape(graph.sample)


# ---------------------------------------------------------------- activations


def add_activation(graph: Graph, activation: activations.Activation, owner: Any) -> None:
    """Add an activation. Raises ConfigError for one of the caller's own."""
    if type(activation) not in ACTIVATIONS:
        raise ConfigError(f"export_onnx: {owner}: activation {activation.name!r} has no counterpart in ONNX; use ours.")
    ACTIVATIONS[type(activation)](graph, activation)


def _gelu(graph: Graph, _: Any) -> None:
    """x/2 · (1 + erf(x/√2))."""
    x = graph.value
    graph.then("Mul", graph.number(np.sqrt(0.5)))
    graph.then("Erf")
    graph.then("Add", graph.number(1))
    graph.then("Mul", x)
    graph.then("Mul", graph.number(0.5))


def _silu(graph: Graph, _: Any) -> None:
    x = graph.value
    graph.then("Sigmoid")
    graph.then("Mul", x)


def _plain(op: str) -> Callable[[Graph, Any], None]:
    def add(graph: Graph, _: Any) -> None:
        graph.then(op)

    return add


ACTIVATIONS: dict[type, Callable[[Graph, Any], object]] = {
    activations.Linear: lambda graph, f: None,
    activations.Relu: _plain("Relu"),
    activations.LeakyRelu: lambda graph, f: graph.then("LeakyRelu", alpha=f.negative_slope),
    activations.Elu: lambda graph, f: graph.then("Elu", alpha=f.alpha),
    activations.Selu: lambda graph, f: graph.then("Selu", alpha=SELU_ALPHA, gamma=SELU_SCALE),
    activations.Gelu: _gelu,
    activations.Silu: _silu,
    activations.Sigmoid: _plain("Sigmoid"),
    activations.Tanh: _plain("Tanh"),
    activations.Softplus: _plain("Softplus"),
    activations.Softmax: lambda graph, f: graph.then("Softmax", axis=graph.axis(-1)),
}


# ---------------------------------------------------------------- layers with windows


def _pads(windows: Windows, sample: Shape) -> list[int]:
    """Pixels before the map and after it, which ONNX wants written out: [top, left, bottom, right]."""
    after = []
    for size, out, window, stride, dilation, before in (
        (sample[0], windows.oh, windows.kh, windows.sh, windows.dh, windows.top),
        (sample[1], windows.ow, windows.kw, windows.sw, windows.dw, windows.left),
    ):
        after.append(max(0, (out - 1) * stride + (window - 1) * dilation + 1 - before - size))
    return [windows.top, windows.left, *after]


def _convolve(graph: Graph, kernel: Array, bias: Array, windows: Windows, groups: int = 1) -> None:
    """A convolution by a kernel (KH, KW, D, F); ONNX has it as (F, D, KH, KW)."""
    graph.maps_channels_first()
    graph.then(
        "Conv",
        kernel.transpose(3, 2, 0, 1),
        bias,
        kernel_shape=[windows.kh, windows.kw],
        strides=[windows.sh, windows.sw],
        dilations=[windows.dh, windows.dw],
        pads=_pads(windows, graph.sample),
        group=groups,
    )


def _conv2d(graph: Graph, layer: L.Conv2D) -> None:
    _convolve(graph, layer.params["kernel"], bias_or_zeros(layer), layer.windows(graph.sample), layer.groups)
    add_activation(graph, layer.activation, layer)


def _depthwise_conv2d(graph: Graph, layer: L.DepthwiseConv2D) -> None:
    channels = graph.sample[2]
    kernel = layer.params["kernel"].reshape(*layer.kernel_size, 1, -1)
    _convolve(graph, kernel, bias_or_zeros(layer, kernel.shape[3]), layer.windows(graph.sample), channels)
    add_activation(graph, layer.activation, layer)


def _separable_conv2d(graph: Graph, layer: L.SeparableConv2D) -> None:
    channels = graph.sample[2]
    depthwise = layer.params["depthwise_kernel"].reshape(*layer.kernel_size, 1, -1)
    _convolve(graph, depthwise, np.zeros(depthwise.shape[3]), layer.windows(graph.sample), channels)
    pointwise = layer.params["pointwise_kernel"].transpose(3, 2, 0, 1)
    graph.then("Conv", pointwise, bias_or_zeros(layer, layer.filters), kernel_shape=[1, 1])
    add_activation(graph, layer.activation, layer)


def _conv2d_transpose(graph: Graph, layer: L.Conv2DTranspose) -> None:
    """ONNX's output is (H − 1)·SH + extent + output_padding − pads; what ours has more or less follows from that."""
    windows = layer.windows(graph.sample)
    pads, more = [windows.top, windows.left], []
    for size, out, window, stride, dilation, before in (
        (graph.sample[0], layer.output_map(graph.sample)[0], windows.kh, windows.sh, windows.dh, windows.top),
        (graph.sample[1], layer.output_map(graph.sample)[1], windows.kw, windows.sw, windows.dw, windows.left),
    ):
        missing = out - ((size - 1) * stride + (window - 1) * dilation + 1 - before)
        more.append(max(0, missing))
        pads.append(max(0, -missing))
    graph.maps_channels_first()
    graph.then(
        "ConvTranspose",
        layer.params["kernel"].transpose(3, 2, 0, 1),  # (KH, KW, F, C) to (C, F, KH, KW)
        bias_or_zeros(layer, layer.filters),
        kernel_shape=[windows.kh, windows.kw],
        strides=[windows.sh, windows.sw],
        dilations=[windows.dh, windows.dw],
        pads=pads,
        output_padding=more,
    )
    add_activation(graph, layer.activation, layer)


def _pooling(op: str, **attributes: Any) -> Callable[[Graph, Any], None]:
    def add(graph: Graph, layer: Any) -> None:
        windows = layer.windows(graph.sample)
        graph.maps_channels_first()
        pads = _pads(windows, graph.sample)
        graph.then(op, kernel_shape=layer.pool_size, strides=layer.strides, pads=pads, **attributes)

    return add


def _global_pooling(op: str) -> Callable[[Graph, Any], None]:
    def add(graph: Graph, layer: Any) -> None:
        graph.maps_channels_first()
        graph.then(op)
        if not layer.keepdims:
            graph.then("Flatten", axis=1)
            graph.channels_first = False

    return add


def _zero_padding2d(graph: Graph, layer: L.ZeroPadding2D) -> None:
    (top, bottom), (left, right) = layer.padding
    graph.maps_channels_first()
    graph.then("Pad", np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))


def _up_sampling2d(graph: Graph, layer: L.UpSampling2D) -> None:
    graph.maps_channels_first()
    nearest = layer.interpolation == "nearest"
    how = (
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        if nearest
        else {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    )
    graph.then("Resize", "", np.array([1, 1, *layer.size], np.float32), **how)


# ---------------------------------------------------------------- the others


def _dense(graph: Graph, layer: L.Dense) -> None:
    graph.maps_channels_last()
    graph.then("MatMul", layer.params["kernel"])
    if layer.use_bias:
        graph.then("Add", layer.params["bias"])
    add_activation(graph, layer.activation, layer)


def _reshape(graph: Graph, layer: L.Layer) -> None:
    graph.maps_channels_last()  # the order in which minicnn reads the entries
    graph.then("Reshape", np.array([-1, *layer.output_shape(graph.sample)], np.int64))


def _relu(graph: Graph, layer: L.ReLU) -> None:
    x = graph.value
    if layer.negative_slope:
        graph.then("Sub", graph.number(layer.threshold))
        graph.then("Mul", graph.number(layer.negative_slope))
        below = graph.value
    else:
        below = graph.number(0)
    if layer.threshold or layer.negative_slope:
        is_below = graph.add("LessOrEqual", x, graph.number(layer.threshold))
        graph.add("Where", is_below, below, x)
    else:
        graph.then("Relu")
    if layer.max_value is not None:
        graph.then("Min", graph.number(layer.max_value))


def _batch_normalization(graph: Graph, layer: L.BatchNormalization) -> None:
    """ONNX's operator over the channels; along any other axis, the multiplication and addition that it comes to."""
    mean, variance = layer.state["moving_mean"], layer.state["moving_variance"]
    gamma, beta = layer.params.get("gamma", np.ones_like(mean)), layer.params.get("beta", np.zeros_like(mean))
    axis = layer.axis % (len(graph.sample) + 1)
    if axis == len(graph.sample) and axis in (1, 3):
        if axis == 3:
            graph.maps_channels_first()
        graph.then("BatchNormalization", gamma, beta, mean, variance, epsilon=layer.epsilon)
        return
    graph.maps_channels_last()
    shape = [1] * (len(graph.sample) + 1)
    shape[axis] = -1
    factor = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + layer.epsilon)
    graph.then("Mul", factor.reshape(shape))
    graph.then("Add", (beta - mean * factor).reshape(shape))


def _rescaling(graph: Graph, layer: L.Rescaling) -> None:
    graph.then("Mul", graph.number(layer.scale))
    graph.then("Add", graph.number(layer.offset))


LAYERS: dict[type, Callable[[Graph, Any], object]] = {
    L.InputLayer: lambda graph, layer: None,
    L.Conv2D: _conv2d,
    L.Conv2DTranspose: _conv2d_transpose,
    L.DepthwiseConv2D: _depthwise_conv2d,
    L.SeparableConv2D: _separable_conv2d,
    L.UpSampling2D: _up_sampling2d,
    L.MaxPooling2D: _pooling("MaxPool"),
    L.AveragePooling2D: _pooling("AveragePool", count_include_pad=0),
    L.GlobalAveragePooling2D: _global_pooling("GlobalAveragePool"),
    L.GlobalMaxPooling2D: _global_pooling("GlobalMaxPool"),
    L.ZeroPadding2D: _zero_padding2d,
    L.Flatten: _reshape,
    L.Reshape: _reshape,
    L.Dense: _dense,
    L.Activation: lambda graph, layer: add_activation(graph, layer.activation, layer),
    L.ReLU: _relu,
    L.LeakyReLU: lambda graph, layer: add_activation(graph, layer.activation, layer),
    L.Softmax: lambda graph, layer: graph.then("Softmax", axis=graph.axis(layer.axis)),
    L.Dropout: lambda graph, layer: None,  # in inference it does nothing
    L.BatchNormalization: _batch_normalization,
    L.Rescaling: _rescaling,
}
"""How each layer is written. A test asserts that none is missing."""
