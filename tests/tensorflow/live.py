"""The installed Keras beside minicnn: the same layers and models in both, and what "equal" means.

conftest.py sets the environment that Keras and TensorFlow read when they are imported.
"""

import contextlib

import keras
import numpy as np
import tensorflow as tf

import minicnn

TOLERANCE = 1e-5


def assert_close(ours, theirs, tolerance=TOLERANCE, what=""):
    """|difference| <= tolerance x max(1, largest reference), and equal shapes."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape, f"{what}: shape {ours.shape}, Keras {theirs.shape}"
    if theirs.size:
        worst = np.abs(ours.astype(np.float64) - theirs).max()
        limit = tolerance * max(1.0, np.abs(theirs).max())
        assert worst <= limit, f"{what}: differs by {worst:.3g}, allowed {limit:.3g}"


def keras_layer(layer):
    """The Keras layer that our layer's config describes."""
    return getattr(keras.layers, type(layer).__name__).from_config(layer.get_config())


def keras_twin(model):
    """The Keras model of the same layers, names and weights as our built model."""
    twin = keras.Sequential([keras.layers.Input(model.input_shape[1:]), *map(keras_layer, model.layers)])
    twin.set_weights(model.get_weights())
    return twin


def keras_passes(layer, x, dy, training):
    """y, dL/dx and dL/dparameters of a Keras layer for L = sum(y * dy)."""
    x, dy = tf.constant(x), tf.constant(dy)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=training)
        scalar = tf.reduce_sum(y * dy)
    gradients = tape.gradient(scalar, [x, *(v.value for v in layer.trainable_variables)])
    return y.numpy(), gradients[0].numpy(), [g.numpy() for g in gradients[1:]]


@contextlib.contextmanager
def floatx(dtype):
    """Keras's default dtype, put back at the end."""
    before = keras.config.floatx()
    keras.config.set_floatx(dtype)
    try:
        yield
    finally:
        keras.config.set_floatx(before)


def digits(count=32, dtype="float32"):
    """Handwritten digits of 28x28x1 in 0..255 and their one-hot labels."""
    (x, y), _ = minicnn.datasets.digits.load_data()
    return x[:count, ..., None].astype(dtype), np.eye(10)[y[:count]].astype(dtype)


def logs_equal(ours, theirs, tolerance=TOLERANCE):
    """Two dicts of numbers, or of lists of numbers: the same keys, values within a relative tolerance."""
    assert set(ours) == set(theirs)
    for key, expected in theirs.items():
        np.testing.assert_allclose(ours[key], expected, rtol=tolerance, atol=1e-7, err_msg=key)
