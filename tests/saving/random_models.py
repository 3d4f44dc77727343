"""Models drawn at random, of the layers and optimizers that files hold, for tests that go through many of them."""

from contextlib import suppress

import numpy as np

from minicnn import Sequential, layers, optimizers, regularizers
from minicnn.errors import ShapeError

OPTIMIZERS = (
    lambda rng: optimizers.SGD(0.0625),
    lambda rng: optimizers.SGD(0.0625, momentum=0.5, nesterov=bool(rng.integers(2))),
    lambda rng: optimizers.Adam(0.0078125, amsgrad=bool(rng.integers(2))),
    lambda rng: optimizers.AdamW(0.0078125, weight_decay=0.125),
    lambda rng: optimizers.RMSprop(0.0078125, momentum=0.5 * rng.integers(2), centered=bool(rng.integers(2))),
    lambda rng: optimizers.Adagrad(0.0625),
    lambda rng: optimizers.Adadelta(1.0),
)


def random_model(seed, **kwargs):
    """A compiled Sequential for maps of 9 to 12 pixels and one or two channels, which ends in a softmax of 3."""
    rng = np.random.default_rng(seed)
    model = Sequential([layers.Input((*rng.integers(9, 13, 2).tolist(), int(rng.integers(1, 3))))], seed=seed, **kwargs)
    for _ in range(rng.integers(1, 5)):
        for layer in _block(rng):
            with suppress(ShapeError):  # the map has become too small for its window
                model.add(layer)
    model.add(rng.choice([layers.Flatten, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D])())
    if rng.integers(2):
        model.add(layers.Dense(5, activation=str(rng.choice(["relu", "tanh", "elu"])), bias_regularizer="l1"))
        model.add(layers.Dropout(0.0))
    model.add(layers.Dense(3, activation="softmax"))
    optimizer = OPTIMIZERS[seed % len(OPTIMIZERS)](rng)
    model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"])
    return model


def _block(rng):
    kernel = tuple(rng.integers(1, 4, 2).tolist())
    stride, dilation = [(1, 1), (2, 1), (1, 2)][rng.integers(3)]
    padding = str(rng.choice(["valid", "same"]))
    yield layers.Conv2D(
        int(rng.integers(1, 6)),
        kernel if padding == "same" else min(kernel),
        strides=stride,
        dilation_rate=dilation,
        padding=padding,
        use_bias=bool(rng.integers(2)),
        activation=str(rng.choice(["relu", "linear", "sigmoid"])),
        kernel_regularizer=regularizers.L2(0.03125) if rng.integers(2) else None,
    )
    if rng.integers(2):
        yield layers.BatchNormalization(momentum=0.75, scale=bool(rng.integers(2)), center=bool(rng.integers(2)))
    if rng.integers(2):
        yield layers.LeakyReLU(0.125) if rng.integers(2) else layers.ReLU(max_value=4.0)
    if rng.integers(2):
        pool = layers.MaxPooling2D if rng.integers(2) else layers.AveragePooling2D
        yield pool(2, strides=int(rng.integers(1, 3)), padding=str(rng.choice(["valid", "same"])))


def random_batch(model, seed, count=6):
    """Samples in [0, 1] and one-hot labels for a random_model."""
    rng = np.random.default_rng([seed, 1])
    x = rng.random((count, *model.input_shape[1:]), np.float32)
    return x, np.eye(3, dtype=np.float32)[rng.integers(0, 3, count)]
