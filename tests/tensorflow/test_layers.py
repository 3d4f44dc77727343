"""Every layer with every option: outputs, gradients and moving averages as live Keras computes them."""

import numpy as np
import pytest

import minicnn
from minicnn import kernels
from minicnn.layers import (
    LAYERS,
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Conv2DTranspose,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    InputLayer,
    LeakyReLU,
    MaxPooling2D,
    ReLU,
    Rescaling,
    Reshape,
    Run,
    SeparableConv2D,
    Softmax,
    UpSampling2D,
    ZeroPadding2D,
)
from tests.tensorflow.live import assert_close, keras, keras_layer, keras_passes, tf

MAP = (7, 6, 3)
ACTIVATIONS = (
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

CASES = {
    "conv": (lambda: Conv2D(4, 3), MAP),
    "conv 1x1": (lambda: Conv2D(4, 1), MAP),
    "conv of the whole map": (lambda: Conv2D(4, (7, 6)), MAP),
    "conv same": (lambda: Conv2D(4, 3, padding="same"), MAP),
    "conv same even kernel": (lambda: Conv2D(4, (2, 4), padding="same"), MAP),
    "conv same kernel beyond the map": (lambda: Conv2D(2, 5, padding="same"), (2, 3, 2)),
    "conv strides": (lambda: Conv2D(4, (3, 2), strides=(2, 1)), MAP),
    "conv strides same": (lambda: Conv2D(4, 3, strides=2, padding="same"), MAP),
    "conv strides beyond the kernel": (lambda: Conv2D(4, 2, strides=3, padding="same"), MAP),
    "conv 12x12 strides 4 same": (lambda: Conv2D(2, 12, strides=4, padding="same"), (28, 28, 1)),
    "conv dilated": (lambda: Conv2D(4, 2, dilation_rate=(2, 3)), MAP),
    "conv dilated same": (lambda: Conv2D(4, 3, dilation_rate=2, padding="same"), MAP),
    "conv no bias": (lambda: Conv2D(4, 3, use_bias=False, activation="tanh"), MAP),
    "conv one channel": (lambda: Conv2D(6, 5, padding="same", activation="relu"), (9, 8, 1)),
    "conv groups": (lambda: Conv2D(6, 3, groups=3, activation="tanh"), (7, 6, 6)),
    "conv groups same strides": (lambda: Conv2D(4, (2, 3), strides=2, padding="same", groups=2), (7, 6, 6)),
    "conv groups dilated": (lambda: Conv2D(4, 3, dilation_rate=(1, 2), groups=4, use_bias=False), (7, 6, 4)),
    "depthwise": (lambda: DepthwiseConv2D(3), MAP),
    "depthwise multiplied": (lambda: DepthwiseConv2D((2, 3), depth_multiplier=2, activation="relu"), MAP),
    "depthwise strides": (lambda: DepthwiseConv2D(3, strides=2), MAP),
    "depthwise strides same": (lambda: DepthwiseConv2D((3, 2), strides=2, padding="same", depth_multiplier=3), MAP),
    "depthwise dilated": (lambda: DepthwiseConv2D(2, dilation_rate=(2, 3)), MAP),
    "depthwise dilated same": (lambda: DepthwiseConv2D(3, dilation_rate=2, padding="same", use_bias=False), MAP),
    "depthwise strides and dilation": (lambda: DepthwiseConv2D(3, 2, "same", dilation_rate=2), (9, 8, 2)),
    "separable strides and dilation": (lambda: SeparableConv2D(2, 3, 2, dilation_rate=2), (9, 8, 2)),
    "depthwise kernel beyond the map": (lambda: DepthwiseConv2D(5, padding="same"), (2, 3, 2)),
    "separable": (lambda: SeparableConv2D(4, 3), MAP),
    "separable multiplied": (lambda: SeparableConv2D(4, (2, 3), depth_multiplier=2, activation="tanh"), MAP),
    "separable strides same": (lambda: SeparableConv2D(2, 3, strides=2, padding="same", use_bias=False), MAP),
    "separable dilated same": (lambda: SeparableConv2D(2, 3, dilation_rate=(2, 1), padding="same"), MAP),
    "transposed": (lambda: Conv2DTranspose(4, 3, activation="relu"), MAP),
    "transposed strides": (lambda: Conv2DTranspose(4, (3, 2), strides=2), MAP),
    "transposed strides beyond the kernel": (lambda: Conv2DTranspose(2, 2, strides=3, use_bias=False), MAP),
    "transposed same": (lambda: Conv2DTranspose(4, 4, padding="same"), MAP),
    "transposed strides same": (lambda: Conv2DTranspose(4, (3, 4), strides=(2, 3), padding="same"), MAP),
    "transposed padded": (lambda: Conv2DTranspose(2, 3, strides=3, output_padding=(2, 1)), MAP),
    "transposed padded same": (lambda: Conv2DTranspose(2, 3, strides=2, padding="same", output_padding=0), MAP),
    "transposed padded same even": (
        lambda: Conv2DTranspose(2, 4, strides=3, padding="same", output_padding=(1, 2)),
        MAP,
    ),
    "upsampling": (lambda: UpSampling2D(), MAP),
    "upsampling oblong": (lambda: UpSampling2D((3, 1)), MAP),
    "upsampling bilinear": (lambda: UpSampling2D(interpolation="bilinear"), MAP),
    "upsampling bilinear oblong": (lambda: UpSampling2D((3, 5), interpolation="bilinear"), MAP),
    "upsampling bilinear of one pixel": (lambda: UpSampling2D(3, interpolation="bilinear"), (1, 1, 2)),
    "dense": (lambda: Dense(5), (4,)),
    "dense no bias": (lambda: Dense(5, use_bias=False, activation="relu"), (4,)),
    "dense on sequences": (lambda: Dense(5, activation="tanh"), (3, 4)),
    "dense on maps": (lambda: Dense(2, activation="softmax"), MAP),
    "flatten": (lambda: Flatten(), MAP),
    "flatten vectors": (lambda: Flatten(), (4,)),
    "reshape": (lambda: Reshape((6, 21)), MAP),
    "reshape -1": (lambda: Reshape((-1, 2)), MAP),
    "zero padding": (lambda: ZeroPadding2D(2), MAP),
    "zero padding pair": (lambda: ZeroPadding2D((1, 2)), MAP),
    "zero padding sides": (lambda: ZeroPadding2D(((1, 0), (2, 3))), MAP),
    "global average": (lambda: GlobalAveragePooling2D(), MAP),
    "global average keepdims": (lambda: GlobalAveragePooling2D(keepdims=True), MAP),
    "global max": (lambda: GlobalMaxPooling2D(), MAP),
    "global max keepdims": (lambda: GlobalMaxPooling2D(keepdims=True), MAP),
    "relu layer": (lambda: ReLU(), MAP),
    "relu max": (lambda: ReLU(max_value=1.0), MAP),
    "relu 6": (lambda: ReLU(max_value=6.0), MAP),
    "relu slope": (lambda: ReLU(negative_slope=0.25), MAP),
    "relu threshold": (lambda: ReLU(threshold=0.5), MAP),
    "relu all": (lambda: ReLU(max_value=1.0, negative_slope=0.25, threshold=0.5), MAP),
    "leaky relu layer": (lambda: LeakyReLU(), MAP),
    "leaky relu slope": (lambda: LeakyReLU(negative_slope=0.1), MAP),
    "softmax layer": (lambda: Softmax(), (4,)),
    "softmax layer on maps": (lambda: Softmax(), MAP),
    "softmax axis 1": (lambda: Softmax(axis=1), MAP),
    "softmax axis -2": (lambda: Softmax(axis=-2), MAP),
    "rescaling": (lambda: Rescaling(1 / 255, offset=-0.5), MAP),
    "rescaling alone": (lambda: Rescaling(2.0), (4,)),
    "dropout in inference": (lambda: Dropout(0.5), MAP),
}
CASES |= {f"activation {name}": (lambda name=name: Activation(name), MAP) for name in ACTIVATIONS}
CASES |= {f"dense {name}": (lambda name=name: Dense(5, activation=name), (4,)) for name in ACTIVATIONS}
CASES |= {
    f"conv {name}": (lambda name=name: Conv2D(3, 2, activation=name), MAP) for name in ("relu", "tanh", "softmax")
}
POOLINGS = {
    "2": {"pool_size": 2},
    "2 same": {"pool_size": 2, "padding": "same"},
    "overlapping": {"pool_size": 3, "strides": 2},
    "overlapping same": {"pool_size": 3, "strides": 2, "padding": "same"},
    "3 strides 1 same": {"pool_size": 3, "strides": 1, "padding": "same"},
    "oblong": {"pool_size": (2, 3), "strides": (3, 1)},
    "oblong same": {"pool_size": (3, 2), "strides": (1, 3), "padding": "same"},
    "strides beyond the window": {"pool_size": 2, "strides": 3, "padding": "same"},
    "window beyond the map, same": {"pool_size": 9, "padding": "same"},
}
for _cls in (MaxPooling2D, AveragePooling2D):
    CASES |= {f"{_cls.__name__} {name}": (lambda c=_cls, a=args: c(**a), MAP) for name, args in POOLINGS.items()}

BATCH_NORMS = {
    "default": ({}, MAP),
    "vectors": ({}, (5,)),
    "sequences": ({}, (4, 5)),
    "axis 1": ({"axis": 1}, MAP),
    "axis 2": ({"axis": 2}, MAP),
    "no center": ({"center": False}, MAP),
    "no scale": ({"scale": False}, MAP),
    "neither": ({"center": False, "scale": False}, (5,)),
    "momentum and epsilon": ({"momentum": 0.5, "epsilon": 0.1}, MAP),
    "momentum 0": ({"momentum": 0.0}, MAP),
    "frozen": ({"trainable": False}, MAP),
}


ALIKE_OR_ELSEWHERE = ("name", "trainable", "dtype", "data_format", "noise_shape", "seed", "target_shape", "rate")
"""Options that every layer has, that minicnn has one value of, or that have a test of their own."""


def test_every_layer_and_every_option_of_it_is_compared():
    """Each key of a layer's config takes two values or more in the cases. Penalties are compared below, and so is the
    dilation of Conv2DTranspose, which TensorFlow cannot run on a CPU."""
    made = [make() for make, _ in CASES.values()] + [BatchNormalization(**args) for args, _ in BATCH_NORMS.values()]
    assert {type(layer) for layer in made} == set(LAYERS.values()) - {InputLayer}
    for cls in {type(layer) for layer in made}:
        configs = [layer.get_config() for layer in made if type(layer) is cls]
        for key in configs[0]:
            if (cls, key) == (Conv2DTranspose, "dilation_rate"):
                continue
            if key not in ALIKE_OR_ELSEWHERE and not key.endswith(("_initializer", "_regularizer")):
                assert len({str(config[key]) for config in configs}) > 1, (cls, key)


@pytest.fixture(params=["numpy", "numba"])
def kernel_set(request):
    return kernels.KERNEL_SETS[request.param]


def build_both(layer, sample, seed=1):
    """Our layer and Keras's with the same random weights; moving variances are positive."""
    rng = np.random.default_rng(seed)
    layer.ensure_built(sample, np.dtype("float32"), rng)
    for name, array in layer.weights().items():
        array[...] = rng.uniform(0.5, 2, array.shape) if name == "moving_variance" else rng.normal(0, 0.5, array.shape)
    theirs = keras_layer(layer)
    theirs.build((None, *sample))
    theirs.set_weights(layer.get_weights())
    return theirs


def compare(layer, sample, kernel_set, training=False, x=None, batch=3):
    """One forward and one backward pass in both."""
    theirs = build_both(layer, sample)
    rng = np.random.default_rng(2)
    if x is None:
        x = rng.normal(0, 1, (batch, *sample)).astype(np.float32)
    run = Run(kernel_set, training=training)
    y, saved = layer.forward(x.copy(), run)
    assert y.shape[1:] == layer.output_shape(sample)
    dy = rng.normal(0, 1, y.shape).astype(np.float32)
    want_y, want_dx, want_grads = keras_passes(theirs, x, dy, training)
    dx = layer.backward(dy.copy(), saved, run)
    assert_close(y, want_y, what="y")
    assert_close(dx, want_dx, what="dx")
    if layer.trainable:
        assert len(want_grads) == len(layer.grads)
        for (name, gradient), want in zip(layer.grads.items(), want_grads, strict=True):
            assert_close(gradient, want, what=f"gradient of {name}")
    for (name, array), want in zip(layer.weights().items(), theirs.get_weights(), strict=True):
        assert_close(array, want, what=name)


@pytest.mark.parametrize("case", CASES)
def test_layer(case, kernel_set):
    make, sample = CASES[case]
    compare(make(), sample, kernel_set)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_dilated_transposed_convolution_is_the_gradient_of_keras_dilated_convolution(padding, kernel_set):
    layer = Conv2DTranspose(4, (3, 2), padding=padding, dilation_rate=(2, 3), use_bias=False)
    layer.ensure_built(MAP, np.dtype("float32"), np.random.default_rng(1))
    convolution = keras.layers.Conv2D(MAP[2], (3, 2), padding=padding, dilation_rate=(2, 3), use_bias=False)
    convolution.build((None, *layer.output_shape(MAP)))
    convolution.set_weights(layer.get_weights())
    x = np.random.default_rng(2).normal(0, 1, (3, *MAP)).astype(np.float32)
    y, saved = layer.forward(x, Run(kernel_set))
    dy = np.random.default_rng(3).normal(0, 1, y.shape).astype(np.float32)
    back, want_y, (want_dkernel,) = keras_passes(convolution, dy, x, False)
    assert_close(y, want_y, what="y")
    assert_close(layer.backward(dy, saved, Run(kernel_set)), back, what="dx")
    assert_close(layer.grads["kernel"], want_dkernel, what="gradient of the kernel")


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("case", BATCH_NORMS)
def test_batch_normalization(case, training, kernel_set):
    arguments, sample = BATCH_NORMS[case]
    compare(BatchNormalization(**arguments), sample, kernel_set, training, batch=4)


@pytest.mark.parametrize("arguments", [{"pool_size": 3, "strides": 2, "padding": "same"}, {"pool_size": 2}], ids=str)
def test_first_of_equal_maxima_takes_the_gradient(arguments, kernel_set):
    x = np.random.default_rng(0).integers(-1, 2, (4, *MAP)).astype(np.float32)
    compare(MaxPooling2D(**arguments), MAP, kernel_set, x=x)


def test_global_max_pooling_shares_the_gradient_among_equal_maxima(kernel_set):
    """Keras reduces with reduce_max, whose gradient goes to all the largest values alike."""
    x = np.random.default_rng(0).integers(-1, 2, (4, *MAP)).astype(np.float32)
    compare(GlobalMaxPooling2D(), MAP, kernel_set, x=x)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_at_kinks_and_extremes(name, kernel_set):
    x = np.array([[0.0, -0.0, 1e-3, -1e-3, 5.0, -5.0, 30.0, -30.0, 88.0, -88.0, 1000.0, -1000.0]], np.float32)
    compare(Activation(name), x.shape[1:], kernel_set, x=x)


RECTIFIERS = {
    "relu": lambda: ReLU(),
    "leaky": lambda: LeakyReLU(),
    "max": lambda: ReLU(max_value=1.0),
    "max 6": lambda: ReLU(max_value=6.0),
    "slope": lambda: ReLU(negative_slope=0.25),
    "threshold": lambda: ReLU(threshold=0.5),
    "max and slope": lambda: ReLU(max_value=1.0, negative_slope=0.25),
    "all": lambda: ReLU(max_value=1.0, negative_slope=0.25, threshold=0.5),
}


@pytest.mark.parametrize("case", RECTIFIERS)
def test_rectifiers_at_their_kinks(case, kernel_set):
    x = np.array([[0.0, 0.5, 1.0, -0.5, 2.0, -2.0, 6.0, 7.0]], np.float32)
    compare(RECTIFIERS[case](), x.shape[1:], kernel_set, x=x)


def test_dropout_scales_what_it_keeps_as_keras_does(kernel_set):
    x = np.ones((50, 40), np.float32)
    layer = Dropout(0.25)
    ours = layer.forward(x, Run(kernel_set, training=True))[0]
    theirs = keras.layers.Dropout(0.25, seed=0)(tf.constant(x), training=True).numpy()
    np.testing.assert_array_equal(np.unique(ours), np.unique(theirs))
    assert abs(ours.mean() - 1) < 0.05


@pytest.mark.parametrize("name", [n for n in ACTIVATIONS if n != "swish"])
def test_activation_function(name):
    x = np.random.default_rng(0).normal(0, 2, (4, 5)).astype(np.float32)
    assert_close(getattr(minicnn.activations, name)(x), getattr(keras.activations, name)(tf.constant(x)))


@pytest.mark.parametrize(
    ("ours", "theirs", "arguments"),
    [
        (minicnn.activations.LeakyRelu, keras.activations.leaky_relu, {"negative_slope": 0.1}),
        (minicnn.activations.Elu, keras.activations.elu, {"alpha": 0.5}),
    ],
)
def test_activation_arguments(ours, theirs, arguments):
    x = np.random.default_rng(0).normal(0, 2, (4, 5)).astype(np.float32)
    dy = np.random.default_rng(1).normal(0, 2, (4, 5)).astype(np.float32)
    activation = ours(**arguments)
    tensor = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        y = theirs(tensor, **arguments)
        scalar = tf.reduce_sum(y * dy)
    assert_close(activation(x), y.numpy())
    assert_close(activation.gradient(dy, x, activation(x)), tape.gradient(scalar, tensor).numpy())


@pytest.mark.parametrize(
    "regularizer",
    [minicnn.regularizers.L1(0.25), minicnn.regularizers.L2(0.25), minicnn.regularizers.L1L2(0.125, 0.25)],
)
def test_penalty_and_its_gradient(regularizer):
    w = np.random.default_rng(0).normal(0, 1, (3, 4)).astype(np.float32)
    w[0, 0] = 0
    theirs = keras.regularizers.get(minicnn.regularizers.serialize(regularizer))
    tensor = tf.constant(w)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        value = theirs(tensor)
    gradient = np.full_like(w, 0.5)
    regularizer.add_gradient(w, gradient)
    assert_close(regularizer.value(w), value.numpy())
    assert_close(gradient - 0.5, tape.gradient(value, tensor).numpy())
