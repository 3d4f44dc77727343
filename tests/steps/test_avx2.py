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
from minicnn.kernels.tiles import tiling_for
from minicnn.layers import Conv2D, Dense, Flatten, Input, MaxPooling2D

assert tiling_for(4).lanes == 8
rng = np.random.default_rng(0)
x, y = rng.random((24, 15, 14, 3), np.float32), rng.integers(0, 4, 24)
results = []
for steps in ("auto", "layers"):
    layers = [
        Input((15, 14, 3)), Conv2D(36, 3, padding="same", activation="relu"), MaxPooling2D(2),
        Conv2D(32, 3, padding="same", activation="tanh"), Conv2D(64, 3, padding="same", activation="relu"),
        MaxPooling2D(2), Flatten(), Dense(10, activation="relu"), Dense(4, activation="softmax"),
    ]
    model = Sequential(layers, seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy", steps=steps)
    names = [type(step).__name__ for step in model.plan().steps]
    if steps == "auto":
        fused = ["ConvolutionStep"] * 2 + ["WinogradStep", "LayerStep", "DenseStep", "LogitsStep"]
        assert names == fused, names
    else:
        assert set(names) == {"LayerStep", "LogitsStep"}, names
    losses = [model.train_on_batch(x, y) for _ in range(3)]
    results.append([losses, model.predict(x, verbose=0), model.predict(x[:1], verbose=0), *model.get_weights()])
for ours, theirs in zip(*results, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
print("equal")
"""


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or tiling_for(4) is None, reason="not a CPU that runs AVX2"
)
def test_fused_steps_train_and_predict_as_the_layers_do(tmp_path):
    settings = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": AVX2, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", TRAINED_AND_PREDICTED], env={**os.environ, **settings}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "equal\n"), done.stderr
