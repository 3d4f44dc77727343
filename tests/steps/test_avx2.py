"""Fused steps on a CPU that has AVX2 and no more, as this one computes when Numba is told so."""

import os
import platform
import subprocess
import sys

import pytest

from minicnn.kernels.tiles import tiling_for
from tests.kernels.test_tiles import AVX2

TRAINED_AND_PREDICTED = """
import numpy as np
from minicnn import Sequential
from minicnn.kernels import dense
from minicnn.kernels.tiles import tiling_for
from minicnn.layers import AveragePooling2D, BatchNormalization, Conv2D, Dense, Flatten, Input, MaxPooling2D
from minicnn.steps import strassen, toeplitz

def check(fused, shape, samples, predicted, make_layers):
    rng = np.random.default_rng(0)
    x, y = rng.random((max(samples, predicted), *shape), np.float32), rng.integers(0, 4, samples)
    results = []
    for engine in ("numba", "numpy"):
        layers = [Input(shape), *make_layers(), Dense(4, activation="softmax")]
        model = Sequential(layers, seed=0, kernels=engine)
        model.compile("sgd", "sparse_categorical_crossentropy")
        names = [type(step).__name__ for step in model.plan().steps]
        if engine == "numba":
            assert names == [*fused, "LogitsStep"], names
        else:
            assert set(names) == {"LayerStep", "LogitsStep"}, names
        losses = [model.train_on_batch(x[:samples], y) for _ in range(3)]
        predictions = [model.predict(x[:n], batch_size=256, verbose=0) for n in (predicted, 1)]
        results.append([losses, *predictions, *model.get_weights()])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)

assert tiling_for(4).lanes == 8
called = set()
kernels = [
    (dense, "dense_updated"), (strassen, "strassen_forward"),
    (toeplitz, "toeplitz_forward"), (toeplitz, "toeplitz_gradient"),
]
for module, name in kernels:
    own = getattr(module, name)
    setattr(module, name, lambda *args, own=own, name=name: (called.add(name), own(*args))[1])

check(
    ["ConvolutionStep", "ConvolutionStep", "WinogradStep", "LayerStep", "DenseStep"], (15, 14, 3), 24, 24,
    lambda: [
        Conv2D(36, 3, padding="same", activation="relu"), MaxPooling2D(2),
        Conv2D(32, 3, padding="same", activation="tanh"), Conv2D(64, 3, padding="same", activation="relu"),
        MaxPooling2D(2), Flatten(), Dense(10, activation="relu"),
    ],
)
check(
    ["NormalizedConvolutionStep", "ValidTapsStep", "ToeplitzStep", "NormalizationPoolStep", "LayerStep"],
    (8, 8, 16), toeplitz.TRAINING_FROM, toeplitz.TRAINING_FROM,
    lambda: [
        Conv2D(16, 3, padding="same", activation="relu"), BatchNormalization(), MaxPooling2D(2),
        Conv2D(32, 5, padding="same", activation="tanh"), Conv2D(32, 5, padding="same", activation="relu"),
        BatchNormalization(), AveragePooling2D(2), Flatten(),
    ],
)
check(["StrassenStep"], (strassen.NARROWEST,), 8, strassen.SAMPLES, lambda: [Dense(4096, activation="relu")])
assert called == {name for _, name in kernels}, called
print("equal")
"""


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or tiling_for(4) is None, reason="not a CPU that runs AVX2"
)
def test_fused_steps_train_and_predict_as_numpy_does(tmp_path):
    settings = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": AVX2, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", TRAINED_AND_PREDICTED], env={**os.environ, **settings}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "equal\n"), done.stderr
