"""ToeplitzStep against the layer on its own: the same numbers and derivatives, for every shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.callbacks import BackupAndRestore, Callback
from minicnn.kernels import NUMPY
from minicnn.kernels.fused import CODES
from minicnn.kernels.tiles import Tiling, tiling_for
from minicnn.kernels.transforms import with_transforms
from minicnn.layers import Conv2D, Dense, Input, Layer, Run
from minicnn.models import Sequential
from minicnn.steps import toeplitz, toeplitz_kernels
from minicnn.steps.plan import LayerStep
from minicnn.steps.toeplitz import PREDICTING_FROM, TRAINING_FROM, ToeplitzStep, toeplitz_rule
from minicnn.steps.valid_taps import ValidTapsStep
from tests.steps.wide_convolutions import (
    LANES,
    LOOPS,
    TOLERANCES,
    assert_a_fixed_gradient_is_copied,
    assert_another_process_finds_all_in_the_cache,
    assert_goes_without_dx_and_frozen,
    assert_gradients_are_differences,
    assert_one_version_a_dtype,
    assert_same,
    passes,
    problem,
)

KERNELS = ("toeplitz_weights", "toeplitz_forward", "toeplitz_gradient", "exchanged")
pytestmark = pytest.mark.skipif(tiling_for(4) is None, reason="no vector unit: plans never have this step here")


@pytest.fixture
def any_batch(monkeypatch):
    """The step's own loops from one image on."""
    for name in ("PREDICTING_FROM", "TRAINING_FROM"):
        monkeypatch.setattr(toeplitz, name, 1)


def convolution_layer(size, channels, filters, window=3, activation="relu", dtype="float64", **arguments):
    """The layer, built for maps of size x size, with a random bias if it has one."""
    layer = Conv2D(filters, window, padding="same", activation=activation, **arguments)
    Sequential([Input(shape=(size, size, channels)), layer], seed=1, dtype=dtype)
    if layer.use_bias:
        layer.params["bias"][...] = np.random.default_rng(2).standard_normal(filters) / 10
    return layer


def step_of(layer, tiling=None):
    """The step, whether it pays or not."""
    windows, code, size = layer.windows(layer.input_shape), CODES[layer.activation.name], layer.dtype.itemsize
    tiling = tiling or with_transforms(tiling_for(size), size)
    return ToeplitzStep(layer, windows, code, tiling, ValidTapsStep(layer, windows, code, tiling))


def assert_is_the_layer(layer, n, step=None, training=True):
    x, dy = problem(layer, n)
    run = Run(NUMPY, training=training)
    got = passes(step or step_of(layer), x, dy, run)
    assert_same(got, passes(LayerStep(layer, 0), x, dy, run), TOLERANCES[str(layer.dtype)])


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 9),
    size=st.sampled_from([2, 4]),
    vectors=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    window=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    dilation=st.integers(1, 3),
    activation=st.sampled_from(sorted(CODES)),
    dtype=st.sampled_from(["float32", "float64"]),
    use_bias=st.booleans(),
    training=st.booleans(),
)
def test_any_shape(n, size, vectors, window, dilation, activation, dtype, use_bias, training):
    channels, filters = (LANES[dtype] * v for v in vectors)
    arguments = {"use_bias": use_bias, "dilation_rate": dilation}
    layer = convolution_layer(size, channels, filters, window, activation, dtype, **arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toeplitz, "PREDICTING_FROM", 1)
        patch.setattr(toeplitz, "TRAINING_FROM", 1)
        assert_is_the_layer(layer, n, training=training)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("activation", sorted(CODES))
def test_the_plain_loops_are_the_same_program(size, activation, any_batch, monkeypatch):
    """Uncompiled, on tiles of a CPU with other vectors: two lanes, at most 3, 2, 0 and 0 rows."""
    for name in KERNELS:
        monkeypatch.setattr(toeplitz, name, getattr(toeplitz_kernels, f"{name}_loops"))
    layer = convolution_layer(size, 2, 6, activation=activation)
    assert_is_the_layer(layer, 3, step_of(layer, Tiling(2, 3, 2, 0, 0, 4)))


@pytest.mark.parametrize(("size", "window"), [(2, 3), (4, 5)])
def test_against_the_plain_loops(size, window, any_batch):
    layer = convolution_layer(size, 8, 8, window)
    x, dy = problem(layer, 3)
    assert_same(passes(step_of(layer), x, dy), passes(LayerStep(layer, 0), x, dy, Run(LOOPS, training=True)), 1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("size", "window"), [(2, 3), (4, 5)])
def test_many_blocks(size, window, dtype, any_batch):
    """More images than a product sums over, and with 81 places of these channels than are held together; a last panel
    that is not full."""
    layer = convolution_layer(size, 5 * LANES[dtype], 9 * LANES[dtype], window, dtype=dtype)
    assert_is_the_layer(layer, 500)


@pytest.fixture
def ways(monkeypatch):
    """The step's own kernels, as they are called."""
    ways = []
    for name in ("toeplitz_forward", "toeplitz_gradient"):
        own = getattr(toeplitz, name)
        monkeypatch.setattr(toeplitz, name, lambda *args, own=own, name=name: (ways.append(name), own(*args))[1])
    return ways


@pytest.mark.parametrize("n", [TRAINING_FROM - 1, TRAINING_FROM])
def test_trains_from_so_many_images_on(n, ways):
    assert_is_the_layer(convolution_layer(2, 16, 16), n)
    own = ["toeplitz_forward", "toeplitz_gradient", "toeplitz_forward"]  # the last for dx
    assert ways == (own if n >= TRAINING_FROM else [])


@pytest.mark.parametrize("n", [PREDICTING_FROM - 1, PREDICTING_FROM])
def test_predicts_from_so_many_images_on(n, ways):
    layer = convolution_layer(2, 16, 16)
    x, _ = problem(layer, n)
    got, wanted = (step.forward(x, Run(NUMPY, keep=False))[0] for step in (step_of(layer), LayerStep(layer, 0)))
    assert_same([got], [wanted], 1e-10)
    assert ways == (["toeplitz_forward"] if n >= PREDICTING_FROM else [])


@pytest.mark.parametrize("activation", sorted(CODES))
@pytest.mark.parametrize(("size", "window"), [(2, 3), (4, 5)])
def test_gradients_against_differences(size, window, activation, any_batch):
    layers = [convolution_layer(size, 8, 8, 3, activation), convolution_layer(size, 8, 8, window, "tanh")]
    assert_gradients_are_differences([step_of(layer) for layer in layers], images=3)


def test_bits_do_not_depend_on_the_number_of_threads(threads):
    layer = convolution_layer(4, 48, 80, 5, dtype="float32")
    results = []
    for count in (1, 2):
        threads(count)
        results.append(passes(step_of(layer), *problem(layer, TRAINING_FROM + 1)))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_images_give_the_same_bits_in_every_batch_that_is_large_enough():
    layer = convolution_layer(4, 48, 48, 5, dtype="float32")
    x, _ = problem(layer, 150)
    whole, some = (step_of(layer).forward(part, Run(NUMPY, keep=False))[0] for part in (x, x[7 : 7 + PREDICTING_FROM]))
    np.testing.assert_array_equal(some, whole[7 : 7 + PREDICTING_FROM])


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_nan_and_infinity_reach_all_of_their_own_map(number, any_batch):
    layer = convolution_layer(4, 16, 16, 5, activation="linear", dtype="float32")
    x, _ = problem(layer, 3)
    finite, _ = step_of(layer).forward(x, Run(NUMPY))
    x[1, 0, 3, 0] = number
    y, _ = step_of(layer).forward(x, Run(NUMPY))
    assert not np.isfinite(y[1]).any()
    np.testing.assert_array_equal(y[::2], finite[::2])


def test_a_gradient_that_cannot_be_overwritten_is_copied(any_batch):
    assert_a_fixed_gradient_is_copied(step_of(convolution_layer(2, 8, 8)))


def test_without_dx_and_frozen(any_batch):
    assert_goes_without_dx_and_frozen(step_of(convolution_layer(2, 8, 8, trainable=False)))


def test_no_images():
    layer = convolution_layer(2, 16, 16)
    x = np.empty((0, 2, 2, 16))
    y, dx, *gradients = passes(step_of(layer), x, x)
    assert y.shape == dx.shape == x.shape
    assert not any(gradient.any() for gradient in gradients)


def test_one_compiled_version_a_dtype(any_batch):
    layers = [
        convolution_layer(size, lanes, 2 * lanes, dtype=dtype) for dtype, lanes in LANES.items() for size in (2, 4)
    ]
    kernels = [getattr(toeplitz_kernels, name) for name in KERNELS]
    assert_one_version_a_dtype(kernels, map(step_of, layers), 3)


class Mine(Conv2D):
    pass


def ruled(layer, shape):
    return toeplitz_rule(Sequential([Input(shape=shape), layer]).layers, 0, None)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Conv2D(256, 5, padding="same", activation="relu", name="c"), (4, 4, 96)),  # the sheet's AlexNets
        (Conv2D(384, 3, padding="same", activation="tanh", name="c"), (2, 2, 256)),
        (Conv2D(32, 3, padding="same", dilation_rate=1, name="c"), (2, 2, 32)),
    ],
)
def test_what_is_taken(layer, shape):
    step, taken = ruled(layer, shape)
    assert taken == 1
    assert step.layers == (layer,)
    assert str(step) == "ToeplitzStep(Conv2D 'c')"


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Conv2D(64, 3, padding="same"), (4, 4, 64)),  # few products are spared
        (Conv2D(32, 4, padding="same"), (4, 4, 32)),  # nor does leaving the padding out pay
        (Conv2D(512, 5, padding="same"), (4, 4, 512)),  # 85 MB of transformed kernel
        (Conv2D(64, 3, padding="same", dilation_rate=2), (2, 2, 64)),  # one tap in three is on the map
        (Conv2D(64, 3, padding="same"), (3, 3, 64)),
        (Conv2D(64, 5, padding="same"), (4, 2, 64)),
        (Conv2D(64, 1, padding="same"), (2, 2, 64)),
        (Conv2D(64, 2), (2, 2, 64)),  # another map
        (Conv2D(64, 3, padding="same", strides=2), (4, 4, 64)),
        (Conv2D(64, 5, padding="same", strides=2), (2, 2, 64)),
        (Conv2D(16, 3, padding="same"), (2, 2, 64)),  # too few filters
        (Conv2D(64, 3, padding="same"), (2, 2, 16)),  # too few channels
        (Conv2D(65, 3, padding="same"), (2, 2, 64)),  # not whole vectors
        (Conv2D(64, 3, padding="same", activation="gelu"), (2, 2, 64)),
        (Conv2D(64, 3, padding="same", activation="softmax"), (2, 2, 64)),
        (Conv2D(64, 3, padding="same", groups=2), (2, 2, 64)),
        (Mine(64, 3, padding="same"), (2, 2, 64)),
        (Dense(64), (2, 2, 64)),
    ],
)
def test_what_is_not_taken(layer, shape):
    assert ruled(layer, shape) is None


X = np.random.default_rng(0).standard_normal((3 * PREDICTING_FROM, 2, 2, 32)).astype(np.float32)


class Doubling(Layer):
    """A caller's own: after each batch the weights of the convolution before it are doubled."""

    def forward(self, x, run):
        self.convolution.params["kernel"] *= 2
        return x, None


def predicting(*following):
    """A model whose outputs are proportional to its weights."""
    layers = [Conv2D(32, 3, padding="same"), *following]
    return Sequential([Input(shape=(2, 2, 32)), *layers], seed=0)


def double(model):
    model.set_weights([2 * array for array in model.get_weights()])


def three_batches(model, **arguments):
    """The first numbers that it predicts of each batch of X."""
    return model.predict(X, batch_size=PREDICTING_FROM, verbose=0, **arguments)[::PREDICTING_FROM]


def test_weights_are_transformed_once_for_the_batches_of_a_call_and_anew_for_the_next(monkeypatch):
    made, own = [], toeplitz.toeplitz_weights
    monkeypatch.setattr(toeplitz, "toeplitz_weights", lambda *args: (made.append(1), own(*args))[1])
    model = predicting()
    before = three_batches(model)
    assert len(made) == 1
    double(model)
    np.testing.assert_allclose(three_batches(model), 2 * before, rtol=1e-5, atol=1e-6)
    assert len(made) == 2


@pytest.mark.parametrize(
    ("images", "batch_size", "calls"), [(PREDICTING_FROM + 1, 12, 4), (PREDICTING_FROM - 1, 12, 0)]
)
def test_images_of_all_batches_count_and_one_left_over_goes_another_way(images, batch_size, calls, ways, batches_apart):
    model = predicting()
    y = model.predict(X[:images], batch_size=batch_size, verbose=0)
    assert ways == ["toeplitz_forward"] * calls
    assert_same([y], [model.predict(X, batch_size=len(X), verbose=0)[:images]], 1e-5)


@pytest.fixture
def evaluated():
    """A model whose loss, the mean squared output, is proportional to the square of its weights."""
    model = predicting()
    model.compile("sgd", "mse")
    return model


def evaluate(model, **arguments):
    return model.evaluate(X, np.zeros_like(X), batch_size=PREDICTING_FROM, verbose=0, **arguments)


def test_evaluate_transforms_weights_once_too(evaluated, ways, batches_apart, monkeypatch):
    made, own = [], toeplitz.toeplitz_weights
    monkeypatch.setattr(toeplitz, "toeplitz_weights", lambda *args: (made.append(1), own(*args))[1])
    before = evaluate(evaluated)
    assert (len(made), len(ways)) == (1, 3)
    double(evaluated)
    assert evaluate(evaluated) == pytest.approx(4 * before)
    assert len(made) == 2


@pytest.mark.parametrize(("hook", "number"), [("on_test_batch_begin", 1), ("on_test_batch_end", 0)])
def test_weights_that_a_callback_changes_between_batches_of_evaluate_count(hook, number, evaluated):
    def change(self, batch, logs=None):
        if batch == number:
            double(self.model)

    first, rest = (evaluate(evaluated, steps=1), 3 * evaluate(evaluated) - evaluate(evaluated, steps=1))
    changed = evaluate(evaluated, callbacks=[type("Changing", (Callback,), {hook: change})()])
    assert changed == pytest.approx((first + 4 * rest) / 3)


@pytest.mark.parametrize("base", [Callback, BackupAndRestore])
@pytest.mark.parametrize(("hook", "number"), [("on_predict_batch_begin", 2), ("on_predict_batch_end", 1)])
def test_weights_that_a_callback_changes_between_batches_count(hook, number, base, tmp_path):
    def change(self, batch, logs=None):
        if batch == number:
            double(self.model)

    model = predicting()
    wanted = three_batches(model) * np.reshape([1, 1, 2], (3, 1, 1, 1))
    arguments = [tmp_path] if base is BackupAndRestore else []
    changed = three_batches(model, callbacks=[type("Changing", (base,), {hook: change})(*arguments)])
    np.testing.assert_allclose(changed, wanted, rtol=1e-5, atol=1e-6)


def test_weights_that_a_layer_of_the_callers_changes_count():
    model = predicting(Doubling())
    model.layers[-1].convolution = model.layers[-2]
    wanted = three_batches(predicting()) * np.reshape([1, 2, 4], (3, 1, 1, 1))
    np.testing.assert_allclose(three_batches(model), wanted, rtol=1e-5, atol=1e-6)


def test_weights_that_the_source_of_batches_changes_count():
    def batches():
        for x in np.split(X, 3):
            yield (x,)
            double(model)

    model = predicting()
    wanted = three_batches(model) * np.reshape([1, 2, 4], (3, 1, 1, 1))
    changed = model.predict(batches(), verbose=0)[::PREDICTING_FROM]
    np.testing.assert_allclose(changed, wanted, rtol=1e-5, atol=1e-6)


def test_chosen_alone():
    """It runs few images through the taps, though ValidTapsStep was not chosen."""
    model = predicting()
    model.compile("sgd", "mse", steps=["ToeplitzStep"])
    assert [type(step) for step in model.plan().steps] == [ToeplitzStep]
    some, all_of_them = (model.predict(X[:n], batch_size=n, verbose=0) for n in (3, PREDICTING_FROM))
    assert_same([some], [all_of_them[:3]], 1e-5)


def test_another_process_finds_all_it_needs_in_the_cache(tmp_path):
    """The cached kernels call machine code by name, which the process must have made."""
    assert_another_process_finds_all_in_the_cache("ToeplitzStep", (2, 2, 48), TRAINING_FROM, tmp_path)
