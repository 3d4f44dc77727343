"""Arrays that a layer of the caller's own is given and returns: neither side overwrites them, and kernels read them."""

import numpy as np
import pytest

from minicnn import Sequential, activations
from minicnn.activations import Activation
from minicnn.kernels import jit, vector_unit
from minicnn.layers import ActivatedLayer, Conv2D, Dense, Flatten, Input, Layer, Run
from minicnn.layers import Activation as ActivationLayer
from minicnn.lending import to_read
from minicnn.steps.plan import CallersLayerStep
from minicnn.steps.toeplitz import TRAINING_FROM
from tests.small_models import assert_same_weights
from tests.steps.test_plan import Bare

needs_a_vector_unit = pytest.mark.skipif(vector_unit.vector_unit() is None, reason="no vector unit: no such steps here")


class Kept(Layer):
    """Returns a gradient that stays its own."""

    def forward(self, x, run):
        return 2 * x, None

    def backward(self, dy, saved, run, need_dx=True):
        self.kept = 2 * dy
        self.as_it_was = self.kept.copy()
        return self.kept


class KeptOfLinear(ActivatedLayer, Kept):
    """The same, for logits."""

    def __init__(self):
        super().__init__()
        self.activation = activations.get("softmax")

    def linear(self, x, run):
        return Kept.forward(self, x, run)

    def linear_backward(self, dz, saved, run, need_dx=True):
        return Kept.backward(self, dz, saved, run, need_dx)


class Overwriting(Layer):
    """Multiplies the gradient by 3 where it lies."""

    def forward(self, x, run):
        return 3 * x, None

    def backward(self, dy, saved, run, need_dx=True):
        dy *= 3
        return dy


def wide(filters):
    return Conv2D(filters, 3, padding="same", activation="relu")


@pytest.mark.parametrize(
    ("step", "shape", "first"),
    [
        pytest.param("WinogradStep", (8, 8, 32), lambda: [wide(64)], marks=needs_a_vector_unit),
        pytest.param("ToeplitzStep", (2, 2, 32), lambda: [wide(32)], marks=needs_a_vector_unit),
        ("CallersLayerStep", (4, 4, 2), lambda: [wide(3), Overwriting()]),
    ],
)
@pytest.mark.parametrize(
    "last",
    [lambda: [Kept(), Flatten(), Dense(2, activation="softmax")], lambda: [Flatten(), KeptOfLinear()]],
    ids=["layer", "linear"],
)
def test_a_gradient_that_the_caller_keeps_is_not_overwritten(step, shape, first, last):
    model = Sequential([Input(shape), *first(), *last()], seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert step in [type(step).__name__ for step in model.plan().steps]
    x = np.random.default_rng(0).standard_normal((TRAINING_FROM, *shape)).astype(np.float32)
    model.train_on_batch(x, np.zeros(len(x)))
    (keeping,) = (layer for layer in model.layers if isinstance(layer, Kept))
    np.testing.assert_array_equal(keeping.kept, keeping.as_it_was)


class Scaled(Layer):
    """Divides its input where it lies."""

    def forward(self, x, run):
        x /= 255
        return x, None


@pytest.mark.parametrize("layer", [Scaled(), Bare(lambda x: np.divide(x, 255, out=x))], ids=["layer", "linear"])
def test_the_callers_data_cannot_be_written_to_by_accident(layer):
    x = np.full((4, 3), 255, np.float32)
    model = Sequential([Input((3,)), layer])
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="read-only"):
        model.evaluate(x, np.zeros(4), verbose=0)
    assert (x == 255).all()


class InPlace(Activation):
    """Doubles its input where it lies."""

    def value(self, x):
        x *= 2
        return x


def test_an_own_activation_cannot_write_to_the_callers_data():
    x = np.ones((4, 3), np.float32)
    with pytest.raises(ValueError, match="read-only"):
        Sequential([Input((3,)), ActivationLayer(InPlace())]).predict(x, verbose=0)
    assert (x == 1).all()


class Doubled(Activation):
    """Returns a gradient that stays its own, made by `make`."""

    def __init__(self, make=np.array):
        super().__init__()
        self.make = make

    def value(self, x):
        return 2 * x

    def gradient(self, dy, x, y):
        self.kept = self.make(2 * dy)
        self.as_it_was = self.kept.copy()
        return self.kept


FUSED = [
    pytest.param("WinogradStep", (8, 8, 32), 64, marks=needs_a_vector_unit),
    pytest.param("ToeplitzStep", (2, 2, 32), 32, marks=needs_a_vector_unit),
]


@pytest.mark.parametrize(("step", "shape", "filters"), FUSED)
def test_a_gradient_that_an_own_activation_keeps_is_not_overwritten(step, shape, filters):
    x = np.random.default_rng(0).standard_normal((TRAINING_FROM, *shape)).astype(np.float32)
    activations, models = [Doubled(), Doubled(misaligned)], []
    for activation in activations:
        layers = [Input(shape), wide(filters), ActivationLayer(activation), Flatten(), Dense(2, activation="softmax")]
        model = Sequential(layers, seed=0)
        model.compile("sgd", "sparse_categorical_crossentropy")
        assert step in [type(step).__name__ for step in model.plan().steps]
        model.train_on_batch(x, np.zeros(len(x)))
        np.testing.assert_array_equal(activation.kept, activation.as_it_was)
        models.append(model)
    assert_same_weights(*models)


def test_kernels_read_lent_arrays_where_they_lie_and_copy_what_nobody_may_write_to():
    x = np.ones((4, 3), np.float32)
    lent = to_read(x)
    assert np.shares_memory(jit._plain(lent), x)
    assert not lent.flags.writeable
    x.flags.writeable = False
    assert not np.shares_memory(jit._plain(x), x)
    assert not np.shares_memory(jit._plain(x[:]), x)


class HandedOn(Layer):
    """Returns what `make` makes of what it gets."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x, run):
        return self.make(x), None

    def backward(self, dy, saved, run, need_dx=True):
        return self.make(dy)


def misaligned(x):
    return np.frombuffer(bytearray(1) + bytearray(x), x.dtype, offset=1).reshape(x.shape)


SAME = [lambda x: x, lambda x: x[:], lambda x: np.asfortranarray(x, np.float64), misaligned]
"""Ways to hand on an array: itself, another view of it, and copies that kernels do not read."""


@pytest.mark.parametrize("make", SAME, ids=["x", "view", "copy", "misaligned"])
def test_what_the_caller_hands_on_is_fit_for_kernels(make):
    """Each kernel would copy it otherwise."""
    step, x = CallersLayerStep(HandedOn(make), 0), np.arange(6, dtype=np.float32).reshape(2, 3)
    y, saved = step.forward(x, Run())
    dx = step.backward(x, saved, Run())
    for array in (y, dx):
        assert np.shares_memory(jit._plain(array), array)  # what a kernel is given: not a copy
        assert array.dtype == np.float32
        assert (array is x) == (make is SAME[0])  # not even copied
        np.testing.assert_array_equal(array, x)


@needs_a_vector_unit
@pytest.mark.parametrize("make", SAME, ids=["x", "view", "copy", "misaligned"])
def test_layers_that_hand_on_change_nothing(make):
    models = []
    for count in (0, 1):
        first, second, third = ([HandedOn(make) for _ in range(count)] for _ in range(3))
        layers = [*first, wide(64), *second, wide(64), *third, Flatten(), Dense(2)]
        models.append(Sequential([Input((8, 8, 32)), *layers], seed=0))
    models[1].set_weights(models[0].get_weights())
    x = np.random.default_rng(0).standard_normal((4, 8, 8, 32)).astype(np.float32)
    for model in models:
        model.compile("sgd", "mse")
        assert "WinogradStep" in str(model.plan())
        model.train_on_batch(x, np.ones((4, 2)))
    assert_same_weights(*models)
