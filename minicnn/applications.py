"""The eight convolutional networks of a university exercise sheet (October 2021), by name.

    model = minicnn.applications.lenet5()
    model = minicnn.applications.build("lenet5", seed=0)

Each function returns an uncompiled Sequential for inputs of raw pixels, 0 to 255; its keyword arguments are those of
Sequential: seed, dtype, kernels, name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minicnn.errors import ConfigError
from minicnn.layers import (
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    Layer,
    MaxPooling2D,
)
from minicnn.models import Sequential
from minicnn.regularizers import l2

MNIST_SHAPE, CIFAR10_SHAPE = (28, 28, 1), (32, 32, 3)


def _conv_pool_twice(activation: str) -> list[Layer]:
    return [
        Input(shape=MNIST_SHAPE),
        Conv2D(32, (3, 3), activation=activation),
        MaxPooling2D((2, 2)),
        Conv2D(64, (3, 3), activation=activation),
        MaxPooling2D((2, 2)),
        Flatten(),
    ]


def cnn_relu(**kwargs: Any) -> Sequential:
    """Exercise 1: two convolutions with relu, each pooled, and a dense layer. 34,826 parameters."""
    return Sequential([*_conv_pool_twice("relu"), Dense(10, activation="softmax")], **kwargs)


def cnn_tanh(**kwargs: Any) -> Sequential:
    """Exercise 2: exercise 1 with tanh. 34,826 parameters."""
    return Sequential([*_conv_pool_twice("tanh"), Dense(10, activation="softmax")], **kwargs)


def cnn_dropout(**kwargs: Any) -> Sequential:
    """Exercise 3: exercise 1 with dropout before the dense layer. 34,826 parameters."""
    return Sequential([*_conv_pool_twice("relu"), Dropout(0.5), Dense(10, activation="softmax")], **kwargs)


def lenet5(**kwargs: Any) -> Sequential:
    """Exercise 4: LeNet-5 with relu, after LeCun et al. 1998. 61,706 parameters."""
    return Sequential(
        [
            Input(shape=MNIST_SHAPE),
            Conv2D(6, (5, 5), padding="same", activation="relu"),
            AveragePooling2D((2, 2), strides=2),
            Conv2D(16, (5, 5), activation="relu"),
            AveragePooling2D((2, 2), strides=2),
            Flatten(),
            Dense(120, activation="relu"),
            Dense(84, activation="relu"),
            Dense(10, activation="softmax"),
        ],
        **kwargs,
    )


def alexnet_mnist(**kwargs: Any) -> Sequential:
    """Exercise 6: AlexNet for MNIST, after Krizhevsky et al. 2012, with 12x12 kernels first. 21,601,130 parameters."""
    return Sequential(
        [
            Input(shape=MNIST_SHAPE),
            Conv2D(96, (12, 12), strides=(4, 4), padding="same", activation="relu"),
            MaxPooling2D((3, 3), strides=(2, 2), padding="same"),
            Conv2D(256, (5, 5), padding="same", activation="relu"),
            MaxPooling2D((3, 3), strides=(2, 2), padding="same"),
            Conv2D(384, (3, 3), padding="same", activation="relu"),
            Conv2D(384, (3, 3), padding="same", activation="relu"),
            Conv2D(256, (3, 3), padding="same", activation="relu"),
            MaxPooling2D((3, 3), strides=(2, 2), padding="same"),
            Flatten(),
            Dropout(0.5),
            Dense(4096, activation="relu"),
            Dense(4096, activation="relu"),
            Dense(10, activation="softmax"),
        ],
        **kwargs,
    )


def _regularized(filters: int, size: int, **kwargs: Any) -> Conv2D:
    return Conv2D(
        filters, (size, size), activation="relu", kernel_regularizer=l2(0.01), bias_regularizer=l2(0.01), **kwargs
    )


def cnn_cifar10(**kwargs: Any) -> Sequential:
    """Exercise 7.1: three convolutions with batch normalization, l2 and dropout. 5,097,866 parameters."""
    return Sequential(
        [
            Input(shape=CIFAR10_SHAPE),
            _regularized(64, 3, padding="same"),
            BatchNormalization(),
            MaxPooling2D((2, 2)),
            _regularized(128, 3, padding="same"),
            BatchNormalization(),
            MaxPooling2D((2, 2)),
            _regularized(256, 3, padding="same"),
            Dropout(0.5),
            BatchNormalization(),
            MaxPooling2D((2, 2)),
            Flatten(),
            Dropout(0.5),
            Dense(1024, activation="relu"),
            Dropout(0.5),
            Dense(512, activation="relu"),
            Dropout(0.5),
            Dense(10, activation="softmax"),
        ],
        **kwargs,
    )


def lenet5_cifar10(**kwargs: Any) -> Sequential:
    """Exercise 7.2: LeNet-5 with batch normalization, l2 and dropout. 83,214 parameters."""
    return Sequential(
        [
            Input(shape=CIFAR10_SHAPE),
            _regularized(6, 5, padding="same"),
            BatchNormalization(),
            AveragePooling2D((2, 2), strides=2),
            _regularized(16, 5),
            BatchNormalization(),
            AveragePooling2D((2, 2), strides=2),
            Flatten(),
            Dropout(0.5),
            Dense(120, activation="relu"),
            Dense(84, activation="relu"),
            Dense(10, activation="softmax"),
        ],
        **kwargs,
    )


def alexnet_cifar10(**kwargs: Any) -> Sequential:
    """Exercise 7.3: AlexNet for CIFAR-10, 11x11 kernels first, with BN, l2 and dropout. 21,627,658 parameters."""
    return Sequential(
        [
            Input(shape=CIFAR10_SHAPE),
            _regularized(96, 11, strides=(4, 4), padding="same"),
            BatchNormalization(),
            MaxPooling2D((3, 3), strides=(2, 2), padding="same"),
            _regularized(256, 5, padding="same"),
            BatchNormalization(),
            Dropout(0.5),
            MaxPooling2D((3, 3), strides=(2, 2), padding="same"),
            _regularized(384, 3, padding="same"),
            BatchNormalization(),
            Dropout(0.5),
            _regularized(384, 3, padding="same"),
            BatchNormalization(),
            Dropout(0.5),
            _regularized(256, 3, padding="same"),
            BatchNormalization(),
            Dropout(0.5),
            MaxPooling2D((3, 3), strides=(2, 2), padding="same"),
            Flatten(),
            Dropout(0.5),
            Dense(4096, activation="relu"),
            Dropout(0.5),
            Dense(4096, activation="relu"),
            Dropout(0.5),
            Dense(10, activation="softmax"),
        ],
        **kwargs,
    )


@dataclass(frozen=True)
class Application:
    """A model of the sheet and how the sheet trains it: Adam with this rate, batch size and number of epochs."""

    exercise: str
    make: Callable[..., Sequential]
    dataset: str
    parameters: int
    learning_rate: float
    batch_size: int
    epochs: int


APPLICATIONS: dict[str, Application] = {
    "cnn_relu": Application("1", cnn_relu, "mnist", 34_826, 1e-3, 128, 30),
    "cnn_tanh": Application("2", cnn_tanh, "mnist", 34_826, 1e-3, 128, 30),
    "cnn_dropout": Application("3", cnn_dropout, "mnist", 34_826, 1e-3, 128, 30),
    "lenet5": Application("4", lenet5, "mnist", 61_706, 1e-3, 128, 30),
    "alexnet_mnist": Application("6", alexnet_mnist, "mnist", 21_601_130, 1e-4, 128, 30),
    "cnn_cifar10": Application("7.1", cnn_cifar10, "cifar10", 5_097_866, 1e-4, 128, 50),
    "lenet5_cifar10": Application("7.2", lenet5_cifar10, "cifar10", 83_214, 1e-4, 128, 50),
    "alexnet_cifar10": Application("7.3", alexnet_cifar10, "cifar10", 21_627_658, 1e-4, 64, 30),
}
"""The models by name, in the order of the sheet (its exercise 5 saves exercise 4's)."""


def build(name: str, **kwargs: Any) -> Sequential:
    """The model of that name, uncompiled; kwargs as above. Raises ConfigError for an unknown name."""
    if name not in APPLICATIONS:
        raise ConfigError(f"applications: unknown model {name!r}; choose from {', '.join(APPLICATIONS)}.")
    return APPLICATIONS[name].make(**kwargs)
