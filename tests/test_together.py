"""Small batches that go through the model together where it only predicts: nobody can tell but by the last digits."""

import numpy as np
import pytest

from minicnn import Input, Sequential
from minicnn.activations import Activation
from minicnn.batches import TOGETHER
from minicnn.callbacks import Callback
from minicnn.layers import Dense, GlobalMaxPooling2D
from minicnn.steps.plan import Plan
from tests.small_models import CLASSES, NUMBERS, QUIET, RNG, SAMPLE, Y, new_model
from tests.small_models import X as SAMPLES

COUNT = 2 * TOGETHER + 13
X = RNG.normal(0, 1, (COUNT, *SAMPLE)).astype(np.float32)
LABELS = np.eye(CLASSES, dtype=np.float32)[RNG.integers(0, CLASSES, COUNT)]


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


def test_an_activation_of_the_callers_sees_the_batches_that_were_asked_for():
    seen = []

    class Counting(Activation):
        def value(self, x):
            seen.append(len(x))
            return x

    model = Sequential([Input((3,)), Dense(2, activation=Counting())], seed=0)
    model.predict(np.zeros((20, 3), "f"), batch_size=8, verbose=0)
    assert seen == [8, 8, 4]


@pytest.fixture
def passes(monkeypatch):
    """How many samples go through a plan at once."""
    counts, predict = [], Plan.predict
    monkeypatch.setattr(Plan, "predict", lambda plan, x, run: (counts.append(len(x)), predict(plan, x, run))[1])
    return counts


@pytest.mark.parametrize(
    ("sample", "units", "size", "expected"),  # how many samples go through at once
    [
        ((28, 28, 1), 1, 32, [256, 144]),
        ((28, 28, 1), 1, 100, [200, 200]),
        ((28, 28, 1), 1, 300, [300, 100]),
        ((3,), 1, 1, [256, 144]),
        ((400, 250, 1), 1, 1, [167, 167, 66]),  # 100,000 numbers each
        ((400, 250, 1), 1, 32, [160, 160, 80]),
        ((4,), 400_000, 1, [41, 41, 8]),  # the layer's output counts
        ((4,), 400_000, 50, [50, 40]),  # never less than was asked for
    ],
)
def test_as_many_go_together_as_take_64_mb(sample, units, size, expected, passes):
    pool = [GlobalMaxPooling2D()] if len(sample) == 3 else []
    model = Sequential([Input(sample), *pool, Dense(units)], seed=0)
    y = model.predict(np.zeros((sum(expected), *sample), np.uint8), batch_size=size, verbose=0)
    assert y.shape == (sum(expected), units)
    assert passes == expected


def test_numpy_kernels_take_each_batch_alone(passes):
    new_model(kernels="numpy").predict(SAMPLES, **QUIET)
    assert passes == [8, 8, 6]


def test_limited_steps(passes):
    model = new_model()
    y = model.predict(X, batch_size=8, steps=3, verbose=0)
    assert passes == [24]
    np.testing.assert_allclose(y, model.predict(X, verbose=0)[:24], rtol=0, atol=1e-6)
    part = model.evaluate(X[:24], LABELS[:24], batch_size=8, verbose=0)
    assert model.evaluate(X, LABELS, batch_size=8, steps=3, verbose=0) == part


def test_a_loss_that_a_callback_compiles_before_the_first_batch_counts():
    class Recompile(Callback):
        def on_test_begin(self, logs=None):
            self.model.compile("adam", "mse")

    model, other = new_model(), new_model()
    other.compile("adam", "mse")
    expected = other.evaluate(SAMPLES, Y, callbacks=[Turns()], **QUIET)
    assert model.evaluate(SAMPLES, Y, callbacks=[Recompile(), Turns()], **QUIET) == expected
