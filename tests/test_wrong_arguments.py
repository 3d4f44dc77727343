"""Wrong arguments of layers, losses, optimizers and their kin: a ConfigError or ShapeError of one line."""

import pytest

import minicnn
from minicnn import Input, Sequential, losses, metrics, optimizers
from minicnn.errors import ConfigError, ShapeError
from minicnn.layers import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    LeakyReLU,
    MaxPooling2D,
    ReLU,
    Reshape,
    Softmax,
    ZeroPadding2D,
)

WRONG_ARGUMENTS = [
    (Dense, {"units": 0}),
    (Dense, {"units": -3}),
    (Dense, {"units": 2.5}),
    (Dense, {"units": "ten"}),
    (Dense, {"units": True}),
    (Dense, {"units": 3, "activation": "reluu"}),
    (Dense, {"units": 3, "activation": 7}),
    (Dense, {"units": 3, "kernel_initializer": "glorot"}),
    (Dense, {"units": 3, "kernel_regularizer": "l3"}),
    (Dense, {"units": 3, "kernel_constraint": "max_norm"}),
    (Dense, {"units": 3, "activity_regularizer": "l2"}),
    (Dense, {"units": 3, "unit": 3}),
    (Dense, {"units": 3, "name": "a/b"}),
    (Dense, {"units": 3, "name": ""}),
    (Dense, {"units": 3, "name": 5}),
    (Dense, {"units": 3, "dtype": "float16"}),
    (Dense, {"units": 3, "input_shape": (-1,)}),
    (Dense, {"units": 3, "batch_input_shape": (32, 5)}),
    (Conv2D, {"filters": 0, "kernel_size": 3}),
    (Conv2D, {"filters": 4, "kernel_size": 0}),
    (Conv2D, {"filters": 4, "kernel_size": -1}),
    (Conv2D, {"filters": 4, "kernel_size": (3, 3, 3)}),
    (Conv2D, {"filters": 4, "kernel_size": (3, 0)}),
    (Conv2D, {"filters": 4, "kernel_size": 3, "strides": 0}),
    (Conv2D, {"filters": 4, "kernel_size": 3, "strides": (1, -1)}),
    (Conv2D, {"filters": 4, "kernel_size": 3, "padding": "full"}),
    (Conv2D, {"filters": 4, "kernel_size": 3, "padding": 1}),
    (Conv2D, {"filters": 4, "kernel_size": 3, "dilation_rate": 0}),
    (Conv2D, {"filters": 4, "kernel_size": 3, "dilation_rate": 2, "strides": 2}),
    (Conv2D, {"filters": 4, "kernel_size": 3, "groups": 3}),
    (Conv2D, {"filters": 4, "kernel_size": 3, "data_format": "channels_first"}),
    *[
        (cls, arguments)
        for cls in (MaxPooling2D, AveragePooling2D)
        for arguments in (
            {"pool_size": 0},
            {"pool_size": (2, -2)},
            {"pool_size": 2, "strides": 0},
            {"pool_size": 2, "padding": "SAMEE"},
            {"pool_size": 2, "data_format": "channels_first"},
        )
    ],
    (ZeroPadding2D, {"padding": -1}),
    (ZeroPadding2D, {"padding": (1, 2, 3)}),
    (Reshape, {"target_shape": (-1, -1)}),
    (Reshape, {"target_shape": (0, 3)}),
    (Reshape, {"target_shape": "ab"}),
    (Activation, {"activation": "reluu"}),
    (ReLU, {"max_value": -1.0}),
    (ReLU, {"negative_slope": -0.1}),
    (ReLU, {"threshold": float("nan")}),
    (LeakyReLU, {"negative_slope": -0.1}),
    (LeakyReLU, {"negative_slope": "steep"}),
    (Softmax, {"axis": 0}),
    (Dropout, {"rate": 1.5}),
    (Dropout, {"rate": -0.1}),
    (Dropout, {"rate": float("nan")}),
    (Dropout, {"rate": "half"}),
    (Dropout, {"rate": 0.5, "seed": -1}),
    (Dropout, {"rate": 0.5, "noise_shape": (None, 1)}),
    (BatchNormalization, {"momentum": 1.5}),
    (BatchNormalization, {"epsilon": -1e-3}),
    (BatchNormalization, {"axis": 0}),
    (BatchNormalization, {"renorm": True}),
    (optimizers.Adam, {"learning_rate": -1.0}),
    (optimizers.Adam, {"beta_1": 1.0}),
    (optimizers.SGD, {"momentum": 2.0}),
    (optimizers.SGD, {"clipnorm": -1.0}),
    (losses.CategoricalCrossentropy, {"label_smoothing": 2.0}),
    (losses.CategoricalCrossentropy, {"reduction": "average"}),
    (losses.CategoricalCrossentropy, {"axis": 1}),
    (losses.SparseCategoricalCrossentropy, {"ignore_class": 2}),
    (metrics.TopKCategoricalAccuracy, {"k": 0}),
    (minicnn.regularizers.L2, {"l2": -1.0}),
    (minicnn.regularizers.L2, {"l2": float("inf")}),
]


@pytest.mark.parametrize(("cls", "arguments"), WRONG_ARGUMENTS, ids=lambda v: getattr(v, "__name__", str(v)))
def test_wrong_arguments_of_constructors(cls, arguments):
    with pytest.raises(ConfigError) as caught:
        cls(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "sample"),
    [
        (Conv2D(2, 3), (5,)),
        (Conv2D(2, 3), (5, 5)),
        (Conv2D(2, 9), (5, 5, 1)),
        (Conv2D(2, 3, dilation_rate=3), (5, 5, 1)),
        (MaxPooling2D(9), (5, 5, 1)),
        (AveragePooling2D(2), (5, 5)),
        (ZeroPadding2D(), (5,)),
        (Reshape((4,)), (5,)),
        (Reshape((-1, 4)), (5,)),
        (BatchNormalization(axis=3), (5,)),
        (Softmax(axis=2), (5,)),
    ],
    ids=str,
)
def test_layers_that_do_not_fit_their_input(layer, sample):
    with pytest.raises(ShapeError, match=layer.name) as caught:
        Sequential([Input(sample), layer])
    assert "\n" not in str(caught.value)
    assert not layer.built
