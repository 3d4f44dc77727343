"""The layers, under Keras's names."""

from minicnn.layers.activation import LeakyReLU, ReLU, Softmax
from minicnn.layers.base import Layer, Run
from minicnn.layers.convolution import Conv2D, ZeroPadding2D
from minicnn.layers.core import ActivatedLayer, Activation, Dense, Flatten, Rescaling, Reshape
from minicnn.layers.depthwise import DepthwiseConv2D, SeparableConv2D
from minicnn.layers.input import Input, InputLayer
from minicnn.layers.normalization import BatchNormalization
from minicnn.layers.pooling import AveragePooling2D, GlobalAveragePooling2D, GlobalMaxPooling2D, MaxPooling2D
from minicnn.layers.regularization import Dropout
from minicnn.layers.upsampling import Conv2DTranspose, UpSampling2D

LAYERS: dict[str, type[Layer]] = {
    cls.__name__: cls
    for cls in (
        InputLayer,
        Conv2D,
        Conv2DTranspose,
        DepthwiseConv2D,
        SeparableConv2D,
        UpSampling2D,
        MaxPooling2D,
        AveragePooling2D,
        GlobalAveragePooling2D,
        GlobalMaxPooling2D,
        ZeroPadding2D,
        Flatten,
        Reshape,
        Dense,
        Activation,
        ReLU,
        LeakyReLU,
        Softmax,
        Dropout,
        BatchNormalization,
        Rescaling,
    )
}
"""Every layer by its name in configurations and files. Nothing else is ever made from a file."""

MaxPool2D, AvgPool2D = MaxPooling2D, AveragePooling2D
GlobalMaxPool2D, GlobalAvgPool2D = GlobalMaxPooling2D, GlobalAveragePooling2D
Convolution2D, Convolution2DTranspose, SeparableConvolution2D = Conv2D, Conv2DTranspose, SeparableConv2D

__all__ = [
    "LAYERS",
    "ActivatedLayer",
    "Activation",
    "AveragePooling2D",
    "AvgPool2D",
    "BatchNormalization",
    "Conv2D",
    "Conv2DTranspose",
    "Convolution2D",
    "Convolution2DTranspose",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling2D",
    "Input",
    "InputLayer",
    "Layer",
    "LeakyReLU",
    "MaxPool2D",
    "MaxPooling2D",
    "ReLU",
    "Rescaling",
    "Reshape",
    "Run",
    "SeparableConv2D",
    "SeparableConvolution2D",
    "Softmax",
    "UpSampling2D",
    "ZeroPadding2D",
]
