"""The same seed gives the same bits; the kernel sets agree."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

import minicnn
from tests.small_models import (
    QUIET,
    X,
    Y,
    assert_near_weights,
    new_model,
)

REPRODUCE = """
import hashlib, sys
import numpy as np
from minicnn import Input, Sequential, config
from minicnn.layers import AveragePooling2D, BatchNormalization, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
config.set_num_threads(int(sys.argv[1]))
rng = np.random.default_rng(0)
x, y = rng.integers(0, 256, (150, 12, 12, 1)).astype(np.uint8), rng.integers(0, 10, 150)
for kernels in ("numba", "numpy"):
    model = Sequential([
        Input((12, 12, 1)), Conv2D(8, 3, activation="relu"), BatchNormalization(), MaxPooling2D(2), Dropout(0.25),
        Conv2D(8, 3, padding="same", activation="tanh"), AveragePooling2D(2), Flatten(), Dense(32, activation="relu"),
        Dropout(0.5), Dense(10, activation="softmax"),
    ], seed=7, kernels=kernels)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=32, verbose=0)
    print(hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest())
"""


def test_the_same_seed_gives_the_same_bits_in_every_process_and_for_any_number_of_threads():
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2"}
    runs = [
        subprocess.run(
            [sys.executable, "-c", REPRODUCE, threads], env=environment, capture_output=True, text=True, check=True
        )
        for threads in ("1", "2", "2")
    ]
    numba, numpy = zip(*(run.stdout.split() for run in runs), strict=True)
    assert len(set(numba)) == 1
    assert numpy[1] == numpy[2]


def test_lenet5_has_the_same_bits_with_one_thread_and_with_two(threads):
    (x, y), _ = minicnn.datasets.digits.load_data()
    hashes = []
    for count in (1, 2):
        threads(count)
        model = minicnn.applications.lenet5(seed=3)
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x[:500, ..., None], y[:500], batch_size=128, verbose=0)
        hashes.append(hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest())
    assert hashes[0] == hashes[1]


def test_another_seed_gives_another_model():
    one, other = new_model(seed=1), new_model(seed=2)
    assert one.fit(X, Y, **QUIET).history != other.fit(X, Y, **QUIET).history


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop"])
def test_kernel_sets_agree_over_some_steps(optimizer):
    """Dropout's masks included."""
    models = [new_model(optimizer, dropout=0.25, kernels=kernels) for kernels in ("numpy", "numba")]
    histories = [model.fit(X, Y, epochs=2, **QUIET).history for model in models]
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-5)
    assert_near_weights(*models)
    np.testing.assert_allclose(*(m.predict(X, verbose=0) for m in models), rtol=0, atol=1e-5)


def test_kernel_sets_agree_in_float64():
    models = [new_model(dropout=0.25, kernels=kernels, dtype="float64") for kernels in ("numpy", "numba")]
    for model in models:
        model.fit(X, Y, epochs=10, **QUIET)
    assert_near_weights(*models, tolerance=1e-11)


def test_numpys_global_generator_is_neither_used_nor_moved():
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    new_model(dropout=0.5, seed=None).fit(X, Y, **QUIET)
    assert np.random.random() == expected  # noqa: NPY002
