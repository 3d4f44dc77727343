"""Fused steps know convolutions of one group; those in groups run as they are, and train to the same numbers."""

import numpy as np
import pytest

from minicnn import Sequential
from minicnn.layers import AveragePooling2D, Conv2D, Dense, Flatten, Input, MaxPooling2D


@pytest.mark.parametrize(
    ("sample", "options", "pool"),
    [
        ((8, 8, 2), {"filters": 4, "kernel_size": 5, "activation": "relu"}, MaxPooling2D),
        ((8, 8, 2), {"filters": 4, "kernel_size": 5, "activation": "relu"}, AveragePooling2D),
        ((8, 8, 96), {"filters": 96, "kernel_size": 3, "padding": "same"}, MaxPooling2D),  # else Winograd's
        ((2, 2, 64), {"filters": 4, "kernel_size": 3, "padding": "same"}, MaxPooling2D),  # else tap by tap
    ],
)
def test_grouped_convolutions_are_left_to_their_layer(sample, options, pool):
    def model(kernels):
        layers = [Input(sample), Conv2D(**options, groups=2), pool(2), Flatten(), Dense(3, activation="softmax")]
        made = Sequential(layers, seed=0, kernels=kernels, dtype="float64")
        made.compile("sgd", "sparse_categorical_crossentropy")
        return made

    fast, plain = model("numba"), model("numpy")
    assert "LayerStep(Conv2D" in str(fast.plan())
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1, (6, *sample)), rng.integers(0, 3, 6)
    for _ in range(3):
        assert fast.train_on_batch(x, y) == pytest.approx(plain.train_on_batch(x, y), rel=1e-10)
    for ours, reference in zip(fast.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-10)
