"""Models that the tests of this folder save."""

import numpy as np

from minicnn import Sequential, layers, regularizers
from minicnn.layers import Layer

EVERY_LAYER = [
    lambda: layers.Rescaling(0.5, offset=0.25),
    lambda: layers.ZeroPadding2D(((1, 0), (0, 1))),
    lambda: layers.Conv2D(4, (3, 2), padding="same", activation="relu", kernel_regularizer=regularizers.L2(0.125)),
    lambda: layers.BatchNormalization(momentum=0.75, epsilon=0.5),
    lambda: layers.ReLU(max_value=4.0, negative_slope=0.25, threshold=0.125),
    lambda: layers.MaxPooling2D((2, 1), strides=1, padding="same"),
    lambda: layers.Conv2D(5, 2, strides=(1, 2), use_bias=False, kernel_initializer="he_normal", bias_regularizer="l1"),
    lambda: layers.DepthwiseConv2D(2, padding="same", depth_multiplier=2),
    lambda: layers.Conv2D(6, 1, groups=2),
    lambda: layers.SeparableConv2D(4, 2, padding="same", depth_multiplier=2, use_bias=False),
    lambda: layers.Conv2DTranspose(5, 2, padding="same", activation="tanh"),
    lambda: layers.UpSampling2D((1, 2), interpolation="bilinear"),
    lambda: layers.AveragePooling2D((1, 2)),
    lambda: layers.LeakyReLU(0.125),
    lambda: layers.BatchNormalization(scale=False, gamma_regularizer="l1_l2"),
    lambda: layers.AveragePooling2D(2, strides=1),
    lambda: layers.Activation("tanh"),
    lambda: layers.Dropout(0.25, seed=5),
    lambda: layers.Reshape((-1, 15)),
    lambda: layers.Dense(4, activation="elu"),
    lambda: layers.Reshape((7, -1, 2)),
    lambda: layers.GlobalAveragePooling2D(keepdims=True),
    lambda: layers.GlobalMaxPooling2D(),
    lambda: layers.Flatten(),
    lambda: layers.Dense(3, bias_initializer="ones"),
    lambda: layers.Softmax(),
]


def every_layer(**kwargs):
    """A Sequential for 8x8x2 with every layer class."""
    model = Sequential([layers.Input((8, 8, 2)), *(make() for make in EVERY_LAYER)], **{"seed": 1, **kwargs})
    randomize(model)
    return model


def small(**kwargs):
    """A Sequential for 6x6x1 with dropout and batch normalization: what it computes depends on all that is saved."""
    return Sequential(
        [
            layers.Conv2D(3, 3, activation="relu", input_shape=(6, 6, 1)),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(3, activation="softmax"),
        ],
        **{"seed": 2, **kwargs},
    )


def data(shape=(6, 6, 1), count=20, classes=3):
    """Samples and one-hot labels."""
    rng = np.random.default_rng(3)
    return rng.random((count, *shape)), np.eye(classes)[rng.integers(0, classes, count)]


def randomize(model):
    """Other numbers in every array, moving averages included."""
    rng = np.random.default_rng(4)
    model.set_weights([rng.uniform(0.1, 1.0, w.shape) for w in model.get_weights()])


def same_weights(a, b):
    """Whether two models hold bitwise the same arrays."""
    mine, other = a.get_weights(), b.get_weights()
    return len(mine) == len(other) and all(
        x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
        for x, y in zip(mine, other, strict=True)
    )


class Scale(Layer):
    """A layer of the caller's own: y = factor · gain · x, with a trained gain and a counter that is not trained."""

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, input_shape, dtype, rng):
        self.params["gain"] = np.ones(input_shape[-1:], dtype)
        self.grads["gain"] = np.zeros(input_shape[-1:], dtype)
        self.state["seen"] = np.zeros((), dtype)

    def forward(self, x, run):
        return x * self.params["gain"] * x.dtype.type(self.factor), x

    def backward(self, dy, saved, run, need_dx=True):
        factor = dy.dtype.type(self.factor)
        self.grads["gain"][...] = (dy * saved).sum(axis=tuple(range(dy.ndim - 1))) * factor
        return dy * self.params["gain"] * factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}
