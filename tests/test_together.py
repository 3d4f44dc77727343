"""Small batches that go through the model together where it only predicts: nobody can tell but by the last digits."""

import numpy as np
import pytest

from minicnn import Input, Sequential
from minicnn.batches import TOGETHER, TOGETHER_NUMBERS, ArrayBatches
from minicnn.callbacks import Callback
from minicnn.kernels import NUMBA
from minicnn.layers import Dense
from tests.small_models import NUMBERS, QUIET, RNG, SAMPLE, Y, new_model
from tests.small_models import X as SAMPLES

COUNT = 2 * TOGETHER + 13
X = RNG.normal(0, 1, (COUNT, *SAMPLE)).astype(np.float32)


class Turns(Callback):
    """Has its turn after each batch, of which it keeps the outputs."""

    def __init__(self):
        super().__init__()
        self.outputs = []

    def on_predict_batch_end(self, batch, logs=None):
        self.outputs.append(logs["outputs"])

    def on_test_batch_end(self, batch, logs=None):
        self.outputs.append(logs["loss"])


@pytest.mark.parametrize("size", [1, 7, 32, TOGETHER, TOGETHER + 1])
def test_outputs_come_in_the_order_of_the_samples_whatever_the_batches(size):
    model, turns = new_model(), Turns()
    y = model.predict(X, batch_size=size, verbose=0)
    alone = model.predict(X, batch_size=size, callbacks=[turns], verbose=0)
    assert [len(part) for part in turns.outputs] == [len(X[k : k + size]) for k in range(0, COUNT, size)]
    np.testing.assert_array_equal(np.concatenate(turns.outputs), alone)
    np.testing.assert_allclose(y, alone, rtol=0, atol=1e-6)


def test_small_batches_are_computed_as_one_of_256():
    model = new_model()
    large = model.predict(X[:512], batch_size=256, verbose=0)
    np.testing.assert_array_equal(model.predict(X[:512], batch_size=32, verbose=0), large)


def test_integers_and_strided_samples_go_together_too():
    pixels = RNG.integers(0, 256, (COUNT, *SAMPLE), dtype=np.uint8)
    model = new_model()
    np.testing.assert_array_equal(
        model.predict(pixels, batch_size=8, verbose=0), model.predict(pixels.astype("f"), batch_size=8, verbose=0)
    )
    np.testing.assert_array_equal(
        model.predict(X[::-2], batch_size=8, verbose=0), model.predict(X[::-2].copy(), batch_size=8, verbose=0)
    )


def test_losses_and_metrics_see_the_batches_that_were_asked_for():
    model, seen = new_model(), []

    def most_of_a_batch(y_true, y_pred):
        seen.append(len(y_pred))
        return np.full(len(y_pred), y_pred.max())

    model.compile("adam", "sparse_categorical_crossentropy", metrics=[most_of_a_batch])
    seen.clear()
    together = model.evaluate(SAMPLES, NUMBERS, sample_weight=np.arange(len(SAMPLES)), **QUIET)
    assert [count for count in seen if count > 1] == [8, 8, 6]  # one sample alone is how metrics are checked
    alone = model.evaluate(SAMPLES, NUMBERS, sample_weight=np.arange(len(SAMPLES)), callbacks=[Turns()], **QUIET)
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_a_validation_takes_the_batches_as_they_are():
    values = []
    for callbacks in ([], [Turns()]):
        history = new_model().fit(SAMPLES, Y, validation_data=(SAMPLES, Y), callbacks=callbacks, **QUIET).history
        values.append([history["val_loss"], history["val_accuracy"]])
    assert values[0] == values[1]


def test_a_layer_of_the_callers_sees_the_batches_that_were_asked_for():
    seen = []

    class Counting(Dense):
        def forward(self, x, run):
            seen.append(len(x))
            return super().forward(x, run)

    model = Sequential([Input((3,)), Counting(2)], seed=0)
    model.predict(np.zeros((20, 3), "f"), batch_size=8, verbose=0)
    assert seen == [8, 8, 4]


@pytest.mark.parametrize(
    ("sample", "size", "expected"),
    [
        ((28, 28, 1), 32, 256),
        ((28, 28, 1), 100, 200),
        ((28, 28, 1), 300, 300),
        ((32, 32, 3), 1, 256),
        ((64, 64, 3), 32, 64),
        ((224, 224, 3), 1, 6),
        ((224, 224, 3), 32, 32),  # never less than was asked for
        ((0,), 3, 255),
    ],
)
def test_memory_stays_small(sample, size, expected):
    x = np.broadcast_to(np.zeros((), np.uint8), (1000, *sample))
    together = ArrayBatches(x, None, None, size, np.dtype("f"), NUMBA).together()
    assert together.batch_size == expected
    assert expected == size or expected * x[0].size <= TOGETHER_NUMBERS
