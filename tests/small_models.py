"""Models that train in no time, one with all fused steps, data for them, and comparisons of their weights."""

import numpy as np

from minicnn import Input, Sequential, optimizers
from minicnn.layers import AveragePooling2D, BatchNormalization, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from minicnn.steps.toeplitz import TRAINING_FROM

SAMPLE, CLASSES, COUNT = (6, 6, 2), 3, 22
RNG = np.random.default_rng(3)
X = RNG.normal(0, 1, (COUNT, *SAMPLE)).astype(np.float32)
NUMBERS = RNG.integers(0, CLASSES, COUNT)
Y = np.eye(CLASSES, dtype=np.float32)[NUMBERS]
QUIET = {"batch_size": 8, "verbose": 0}


def new_model(optimizer="adam", loss="categorical_crossentropy", metrics=("accuracy",), dropout=0.0, **kwargs):
    model = Sequential(
        [
            Input(SAMPLE),
            Conv2D(4, 3, padding="same", activation="relu"),
            BatchNormalization(),
            MaxPooling2D(2),
            Dropout(dropout),
            Flatten(),
            Dense(CLASSES, activation="softmax"),
        ],
        **{"seed": 0, **kwargs},
    )
    model.compile(optimizer, loss, metrics=list(metrics))
    return model


def linear_model(rate=0.0, **kwargs):
    """One dense layer on vectors, mean squared error, plain gradient descent."""
    model = Sequential([Input((2,)), Dense(1)], seed=0, **kwargs)
    model.compile(optimizers.SGD(rate), "mse")
    return model


def assert_same_weights(a, b):
    for left, right in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def assert_near_weights(a, b, tolerance=1e-5):
    for left, right in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=tolerance * max(1, np.abs(right).max()))


def small(**kwargs):
    """Conv2D, BatchNormalization, Flatten, Dense: 4·3·3·2 + 4, 4·4, 64·3 + 3 numbers."""
    layers = [
        Input((6, 6, 2)),
        Conv2D(4, 3, activation="relu"),
        BatchNormalization(),
        Flatten(),
        Dense(3, activation="softmax"),
    ]
    return Sequential(layers, **{"seed": 0, **kwargs})


def with_every_fused_step(seed=0, optimizer="adam", **kwargs):
    """Compiled, for images of 24x24x2 and 4 classes; the second convolution is Winograd's, in predicting too.

    tests/steps/test_plan.py holds it to its name.
    """
    layers = [
        Input((24, 24, 2)),
        *(Conv2D(48, 3, padding="same", activation="relu"), MaxPooling2D(2)),  # ConvolutionStep
        *(Conv2D(64, 3, padding="same", activation="relu"), BatchNormalization(), MaxPooling2D(2)),  # Normalized...
        Conv2D(48, 3, padding="same", activation="tanh"),  # WinogradStep
        *(BatchNormalization(), AveragePooling2D(2)),  # NormalizationPoolStep
        Conv2D(32, 2),  # to a map of 2x2
        Conv2D(32, 3, padding="same", activation="relu"),  # ToeplitzStep
        Conv2D(8, 5, padding="same"),  # ValidTapsStep
        Flatten(),
        Dropout(0.3),
        Dense(10, activation="relu"),  # DenseStep
        Dense(4, activation="softmax"),
    ]
    model = Sequential(layers, seed=seed, **kwargs)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def images_for_every_fused_step(seed=0, count=40):
    rng = np.random.default_rng(seed)
    return rng.random((count, 24, 24, 2), np.float32), rng.integers(0, 4, count)


def trained_and_predicted(seed=0):
    """The weights of the model with every fused step after two batches, and predictions by them."""
    model, (x, y) = with_every_fused_step(seed), images_for_every_fused_step(seed, 2 * TRAINING_FROM)
    model.fit(x, y, batch_size=TRAINING_FROM, verbose=0)
    return [*model.get_weights(), model.predict(x, batch_size=TRAINING_FROM, verbose=0)]


def compiled(model, optimizer="adam"):
    model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"])
    return model


def weights_equal(a, b):
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
