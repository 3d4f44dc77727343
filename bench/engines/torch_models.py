"""A minicnn model's layers as PyTorch modules, with their weights: what one would write by hand for PyTorch.

Maps are (N, C, H, W) here. Symmetric "same" padding is the module's own; TensorFlow's asymmetric one is ZeroPad2d
before a convolution, and ceil_mode in a max pooling, where it places the same windows.
"""

from collections.abc import Iterator
from typing import Any

import torch
from layouts import ceil_mode_is_same, convolution_kernel, dense_kernel, same_padding, windows_of
from torch import nn

Config = dict[str, Any]
Shape = tuple[int, ...]


class Network(nn.Module):  # type: ignore[misc, unused-ignore]
    """The layers up to the logits. penalties: pairs (parameter, factor of its l2 penalty)."""

    def __init__(self, config: Config, weights: list[Any]) -> None:
        super().__init__()
        arrays = iter(weights)
        modules: list[nn.Module] = []
        self.penalties: list[tuple[nn.Parameter, float]] = []
        shape: Shape = ()
        flattened: Shape | None = None  # (H, W, C) of the map, from Flatten to the first dense layer
        for layer in config["layers"]:
            kind, arguments = layer["class_name"], layer["config"]
            if kind == "InputLayer":
                shape = tuple(arguments["batch_shape"][1:])
            elif kind == "Conv2D":
                made, shape = _convolution(arguments, shape, arrays, self.penalties)
                modules += made
            elif kind == "Dense":
                modules += _dense(arguments, flattened, arrays, self.penalties)
                shape, flattened = (arguments["units"],), None
            elif kind == "BatchNormalization":
                modules.append(_batch_norm(arguments, shape, flattened, arrays))
            elif kind in ("MaxPooling2D", "AveragePooling2D"):
                made, shape = _pooling(kind, arguments, shape)
                modules += made
            elif kind == "Dropout":
                modules.append(nn.Dropout(arguments["rate"]))
            elif kind == "Flatten":
                modules.append(nn.Flatten())
                flattened, shape = shape, (shape[0] * shape[1] * shape[2],)
            else:
                raise ValueError(f"torch_models: no module for {kind}")
        self.layers = nn.Sequential(*modules)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)

    def penalty(self) -> torch.Tensor | float:
        """The sum of the l2 penalties, to be added to the loss."""
        return sum(factor * parameter.square().sum() for parameter, factor in self.penalties)


class Classifier(nn.Module):  # type: ignore[misc, unused-ignore]
    """Probabilities from images of any dtype: what one exports and predicts with."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.network(x.float()), dim=1)


def _convolution(
    config: Config, shape: Shape, arrays: Iterator[Any], penalties: list[Any]
) -> tuple[list[nn.Module], Shape]:
    height, width, channels = shape
    kernel, strides = tuple(config["kernel_size"]), tuple(config["strides"])
    modules: list[nn.Module] = []
    padding = (0, 0)
    if config["padding"] == "same":
        (top, bottom), (left, right) = (
            same_padding(n, k, s) for n, k, s in zip((height, width), kernel, strides, strict=True)
        )
        if top == bottom and left == right:
            padding = (top, left)
        else:
            modules.append(nn.ZeroPad2d((left, right, top, bottom)))
    module = nn.Conv2d(channels, config["filters"], kernel, strides, padding)
    _fill(module.weight, convolution_kernel(next(arrays)))
    _fill(module.bias, next(arrays))
    _note_penalties(config, module, penalties)
    sizes = (windows_of(n, k, s, config["padding"]) for n, k, s in zip((height, width), kernel, strides, strict=True))
    return [*modules, module, *_activation(config)], (*sizes, config["filters"])


def _dense(config: Config, flattened: Any, arrays: Iterator[Any], penalties: list[Any]) -> list[nn.Module]:
    kernel = next(arrays)
    module = nn.Linear(*kernel.shape)
    _fill(module.weight, dense_kernel(kernel, flattened))
    _fill(module.bias, next(arrays))
    _note_penalties(config, module, penalties)
    return [module, *_activation(config)]


def _batch_norm(config: Config, shape: Shape, flattened: Any, arrays: Iterator[Any]) -> nn.Module:
    if flattened is not None:
        raise ValueError("torch_models: batch normalization between Flatten and Dense is not supported")
    make = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    module = make(shape[-1], eps=config["epsilon"], momentum=1 - config["momentum"])
    for parameter in (module.weight, module.bias, module.running_mean, module.running_var):
        _fill(parameter, next(arrays))
    return module


def _pooling(kind: str, config: Config, shape: Shape) -> tuple[list[nn.Module], Shape]:
    window, strides, padding = tuple(config["pool_size"]), tuple(config["strides"]), config["padding"]
    axes = list(zip(shape[:2], window, strides, strict=True))
    out = (*(windows_of(*axis, padding) for axis in axes), shape[2])
    if padding == "valid":
        return [(nn.MaxPool2d if kind == "MaxPooling2D" else nn.AvgPool2d)(window, strides)], out
    if kind != "MaxPooling2D":
        raise ValueError("torch_models: average pooling with padding='same' is not supported")
    (top, bottom), (left, right) = (same_padding(*axis) for axis in axes)
    if top == bottom and left == right:
        return [nn.MaxPool2d(window, strides, (top, left))], out
    if all(ceil_mode_is_same(*axis) for axis in axes):
        return [nn.MaxPool2d(window, strides, ceil_mode=True)], out
    pad = nn.ConstantPad2d((left, right, top, bottom), float("-inf"))
    return [pad, nn.MaxPool2d(window, strides)], out


def _activation(config: Config) -> list[nn.Module]:
    """None for softmax: cross-entropy takes the logits, and Classifier adds it."""
    return {"relu": [nn.ReLU()], "tanh": [nn.Tanh()], "softmax": [], "linear": []}[config["activation"]]


def _note_penalties(config: Config, module: Any, penalties: list[Any]) -> None:
    for key, parameter in (("kernel_regularizer", module.weight), ("bias_regularizer", module.bias)):
        if config[key] is not None:
            penalties.append((parameter, config[key]["config"]["l2"]))


def _fill(parameter: Any, values: Any) -> None:
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(values))
