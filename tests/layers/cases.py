"""Every layer with every option, as the contract tests go through them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn import layers as L
from minicnn.kernels import kernel_set


@dataclass(frozen=True)
class Case:
    """One configuration of one layer: cls(**options) on samples of shape `sample`, giving samples of shape `output`."""

    cls: type
    options: dict[str, Any]
    sample: tuple[int, ...]
    output: tuple[int, ...]

    def make(self, dtype="float64", **more):
        return self.cls(**self.options, dtype=dtype, **more)

    def built(self, dtype="float64", seed=0):
        """The layer with weights that hide nothing: no zeros or ones, which biases, gamma and beta start from."""
        layer = self.make(dtype)
        rng = np.random.default_rng(seed)
        layer.ensure_built(self.sample, np.dtype(dtype), rng)
        signs = [1] if layer.state else [-1, 1]  # a moving variance is positive
        layer.set_weights([rng.uniform(0.2, 1.2, w.shape) * rng.choice(signs, w.shape) for w in layer.get_weights()])
        return layer

    def batch(self, n=3, dtype="float64", seed=0):
        """Random samples whose entries are all apart, and apart from 0."""
        count = n * int(np.prod(self.sample))
        values = (np.random.default_rng(seed).permutation(count) + 0.3) * (4 / max(count, 1)) - 2
        return values.reshape(n, *self.sample).astype(dtype)

    def __str__(self):
        options = ",".join(f"{k}={v}".replace(" ", "") for k, v in self.options.items())
        return f"{self.cls.__name__}({options})-{'x'.join(map(str, self.sample))}"


def run(kernels="numba", training=False, **more):
    return L.Run(kernel_set(kernels), training=training, **more)


def case(cls: type, sample: tuple[int, ...], output: tuple[int, ...], **options: Any) -> Case:
    return Case(cls, options, sample, output)


FLAT, MAP, IMAGE = (6,), (5, 4), (6, 5, 2)

CASES: list[Case] = [
    case(L.InputLayer, IMAGE, IMAGE, shape=IMAGE),
    case(L.InputLayer, IMAGE, IMAGE, batch_shape=(None, *IMAGE)),
    # Conv2D
    case(L.Conv2D, IMAGE, (4, 3, 3), filters=3, kernel_size=3),
    case(L.Conv2D, IMAGE, (6, 5, 3), filters=3, kernel_size=3, padding="same"),
    case(L.Conv2D, IMAGE, (6, 5, 3), filters=3, kernel_size=(2, 4), padding="same", activation="tanh"),
    case(L.Conv2D, IMAGE, (5, 3, 1), filters=1, kernel_size=(2, 3), use_bias=False),
    case(L.Conv2D, IMAGE, (2, 2, 2), filters=2, kernel_size=3, strides=2),
    case(L.Conv2D, IMAGE, (3, 2, 2), filters=2, kernel_size=(2, 3), strides=(2, 3), padding="SAME"),
    case(L.Conv2D, IMAGE, (2, 5, 2), filters=2, kernel_size=2, strides=(3, 1), padding="same"),
    case(L.Conv2D, IMAGE, (2, 3, 2), filters=2, kernel_size=3, dilation_rate=(2, 1)),
    case(L.Conv2D, IMAGE, (6, 5, 2), filters=2, kernel_size=3, dilation_rate=(3, 2), padding="same"),
    case(L.Conv2D, IMAGE, (6, 5, 4), filters=4, kernel_size=1, activation="relu"),
    case(L.Conv2D, IMAGE, (1, 1, 2), filters=2, kernel_size=(6, 5), activation="sigmoid"),
    case(L.Conv2D, IMAGE, (4, 3, 3), filters=3, kernel_size=3, activation="softmax"),
    case(L.Conv2D, IMAGE, (4, 3, 2), filters=2, kernel_size=3, kernel_regularizer="l2", bias_regularizer="l1"),
    case(L.Conv2D, IMAGE, (4, 3, 2), filters=2, kernel_size=3, kernel_initializer="he_normal", bias_initializer="ones"),
    case(L.Conv2D, (1, 1, 1), (1, 1, 2), filters=2, kernel_size=1),
    case(L.Conv2D, (1, 1, 3), (1, 1, 2), filters=2, kernel_size=5, padding="same"),
    case(L.Conv2D, (5, 4, 4), (3, 2, 6), filters=6, kernel_size=3, groups=2),
    case(L.Conv2D, (5, 4, 4), (3, 2, 4), filters=4, kernel_size=3, groups=4, strides=2, padding="same"),
    case(L.Conv2D, (5, 4, 6), (5, 4, 3), filters=3, kernel_size=2, groups=3, padding="same", use_bias=False),
    # convolutions that keep the channels apart
    case(L.DepthwiseConv2D, IMAGE, (4, 3, 2), kernel_size=3),
    case(L.DepthwiseConv2D, IMAGE, (3, 3, 4), kernel_size=(2, 3), strides=2, padding="same", depth_multiplier=2),
    case(L.DepthwiseConv2D, IMAGE, (2, 3, 2), kernel_size=3, dilation_rate=(2, 1), use_bias=False, activation="tanh"),
    case(
        L.DepthwiseConv2D,
        IMAGE,
        (5, 4, 6),
        kernel_size=2,
        depth_multiplier=3,
        depthwise_initializer="he_normal",
        bias_initializer="ones",
        depthwise_regularizer="l2",
        bias_regularizer="l1",
    ),
    case(L.SeparableConv2D, IMAGE, (4, 3, 3), filters=3, kernel_size=3),
    case(L.SeparableConv2D, IMAGE, (3, 3, 3), filters=3, kernel_size=(2, 3), strides=2, padding="same"),
    case(L.SeparableConv2D, IMAGE, (4, 1, 1), filters=1, kernel_size=3, dilation_rate=(1, 2), activation="sigmoid"),
    case(
        L.SeparableConv2D,
        IMAGE,
        (5, 4, 2),
        filters=2,
        kernel_size=2,
        depth_multiplier=2,
        depthwise_initializer="he_normal",
        pointwise_initializer="he_uniform",
        bias_initializer="ones",
        depthwise_regularizer="l2",
        pointwise_regularizer="l1",
        bias_regularizer="l1_l2",
    ),
    case(L.SeparableConv2D, IMAGE, (6, 5, 2), filters=2, kernel_size=3, padding="same", use_bias=False),
    case(L.DepthwiseConv2D, IMAGE, (1, 3, 2), kernel_size=3, strides=(2, 1), dilation_rate=(2, 1)),
    # what makes maps larger
    case(L.Conv2DTranspose, IMAGE, (8, 7, 3), filters=3, kernel_size=3),
    case(L.Conv2DTranspose, IMAGE, (12, 15, 2), filters=2, kernel_size=3, strides=(2, 3), padding="same"),
    case(L.Conv2DTranspose, IMAGE, (18, 15, 1), filters=1, kernel_size=2, strides=3, activation="tanh"),
    case(L.Conv2DTranspose, IMAGE, (14, 11, 2), filters=2, kernel_size=3, strides=2, output_padding=(1, 0)),
    case(
        L.Conv2DTranspose,
        IMAGE,
        (11, 9, 2),
        filters=2,
        kernel_size=(3, 4),
        strides=2,
        padding="same",
        output_padding=(0, 1),
        use_bias=False,
    ),
    case(L.Conv2DTranspose, IMAGE, (10, 7, 2), filters=2, kernel_size=3, dilation_rate=(2, 1)),
    case(L.Conv2DTranspose, IMAGE, (6, 5, 2), filters=2, kernel_size=3, dilation_rate=(1, 3), padding="same"),
    case(
        L.Conv2DTranspose,
        (1, 1, 3),
        (2, 2, 2),
        filters=2,
        kernel_size=2,
        kernel_initializer="he_normal",
        bias_initializer="ones",
        kernel_regularizer="l2",
        bias_regularizer="l1",
    ),
    case(L.UpSampling2D, IMAGE, (12, 10, 2)),
    case(L.UpSampling2D, IMAGE, (6, 15, 2), size=(1, 3)),
    case(L.UpSampling2D, IMAGE, (12, 15, 2), size=(2, 3), interpolation="bilinear"),
    case(L.UpSampling2D, (1, 2, 1), (4, 8, 1), size=4, interpolation="bilinear"),
    # pooling
    case(L.MaxPooling2D, IMAGE, (3, 2, 2)),
    case(L.MaxPooling2D, IMAGE, (3, 3, 2), padding="same"),
    case(L.MaxPooling2D, IMAGE, (2, 2, 2), pool_size=3, strides=2),
    case(L.MaxPooling2D, IMAGE, (4, 3, 2), pool_size=3, strides=1),
    case(L.MaxPooling2D, IMAGE, (3, 5, 2), pool_size=(3, 2), strides=(2, 1), padding="same"),
    case(L.MaxPooling2D, IMAGE, (2, 2, 2), pool_size=2, strides=3, padding="same"),
    case(L.MaxPooling2D, (1, 1, 1), (1, 1, 1), pool_size=1),
    case(L.AveragePooling2D, IMAGE, (3, 2, 2)),
    case(L.AveragePooling2D, IMAGE, (3, 3, 2), padding="same"),
    case(L.AveragePooling2D, IMAGE, (2, 2, 2), pool_size=3, strides=2),
    case(L.AveragePooling2D, IMAGE, (3, 5, 2), pool_size=(3, 2), strides=(2, 1), padding="same"),
    case(L.AveragePooling2D, IMAGE, (2, 2, 2), pool_size=2, strides=3, padding="same"),
    case(L.AveragePooling2D, (1, 1, 1), (1, 1, 1), pool_size=3, padding="same"),
    case(L.GlobalMaxPooling2D, IMAGE, (2,)),
    case(L.GlobalMaxPooling2D, IMAGE, (1, 1, 2), keepdims=True),
    case(L.GlobalAveragePooling2D, IMAGE, (2,)),
    case(L.GlobalAveragePooling2D, IMAGE, (1, 1, 2), keepdims=True),
    # shapes
    case(L.ZeroPadding2D, IMAGE, (8, 7, 2)),
    case(L.ZeroPadding2D, IMAGE, (10, 5, 2), padding=(2, 0)),
    case(L.ZeroPadding2D, IMAGE, (7, 10, 2), padding=((0, 1), (2, 3))),
    case(L.Flatten, IMAGE, (60,)),
    case(L.Flatten, FLAT, FLAT),
    case(L.Flatten, (), (1,)),
    case(L.Reshape, IMAGE, (3, 20), target_shape=(3, 20)),
    case(L.Reshape, IMAGE, (4, 15), target_shape=(-1, 15)),
    case(L.Reshape, FLAT, (2, 3, 1), target_shape=[2, 3, 1]),
    # Dense
    case(L.Dense, FLAT, (3,), units=3),
    case(L.Dense, FLAT, (1,), units=1, use_bias=False),
    case(L.Dense, FLAT, (4,), units=4, activation="softmax"),
    case(L.Dense, FLAT, (4,), units=4, activation="elu", kernel_regularizer="l1_l2", bias_regularizer="l2"),
    case(L.Dense, FLAT, (4,), units=4, activation="relu", kernel_initializer="orthogonal", bias_initializer="ones"),
    case(L.Dense, MAP, (5, 3), units=3, activation="gelu"),
    case(L.Dense, IMAGE, (6, 5, 3), units=3, activation="softplus"),
    case(L.Dense, (1,), (1,), units=1),
    # activations
    *(
        case(L.Activation, MAP, MAP, activation=name)
        for name in (
            "linear",
            "relu",
            "leaky_relu",
            "elu",
            "selu",
            "gelu",
            "silu",
            "swish",
            "sigmoid",
            "tanh",
            "softplus",
            "softmax",
        )
    ),
    case(L.Activation, MAP, MAP, activation={"class_name": "leaky_relu", "config": {"negative_slope": 0.4}}),
    case(L.Activation, MAP, MAP, activation={"class_name": "elu", "config": {"alpha": 0.7}}),
    case(L.ReLU, MAP, MAP),
    case(L.ReLU, MAP, MAP, max_value=1.5),
    case(L.ReLU, MAP, MAP, negative_slope=0.3),
    case(L.ReLU, MAP, MAP, threshold=0.5),
    case(L.ReLU, MAP, MAP, max_value=1.2, negative_slope=0.2, threshold=0.4),
    case(L.ReLU, MAP, MAP, max_value=0.4, negative_slope=0.2, threshold=1.2),
    case(L.LeakyReLU, MAP, MAP),
    case(L.LeakyReLU, MAP, MAP, negative_slope=0.1),
    case(L.Softmax, MAP, MAP),
    case(L.Softmax, IMAGE, IMAGE, axis=1),
    case(L.Softmax, IMAGE, IMAGE, axis=-2),
    # Dropout, Rescaling
    case(L.Dropout, MAP, MAP, rate=0.5),
    case(L.Dropout, IMAGE, IMAGE, rate=0.2, seed=7),
    case(L.Dropout, MAP, MAP, rate=0),
    case(L.Rescaling, IMAGE, IMAGE, scale=1 / 255),
    case(L.Rescaling, MAP, MAP, scale=2.0, offset=-1.0),
    # BatchNormalization
    case(L.BatchNormalization, IMAGE, IMAGE),
    case(L.BatchNormalization, FLAT, FLAT),
    case(L.BatchNormalization, MAP, MAP, axis=1),
    case(L.BatchNormalization, IMAGE, IMAGE, axis=2),
    case(L.BatchNormalization, IMAGE, IMAGE, axis=[3]),
    case(L.BatchNormalization, IMAGE, IMAGE, center=False),
    case(L.BatchNormalization, IMAGE, IMAGE, scale=False),
    case(L.BatchNormalization, FLAT, FLAT, center=False, scale=False),
    case(L.BatchNormalization, IMAGE, IMAGE, momentum=0.5, epsilon=0.1),
    case(L.BatchNormalization, IMAGE, IMAGE, trainable=False),
    case(L.BatchNormalization, IMAGE, IMAGE, gamma_regularizer="l2", beta_regularizer="l1", beta_initializer="ones"),
]
