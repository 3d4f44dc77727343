"""StrassenStep against the layer on its own: the same numbers for every shape, and only where it is meant to be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.callbacks import Callback
from minicnn.kernels import NUMPY
from minicnn.kernels import strassen as loops
from minicnn.kernels.fused import CODES
from minicnn.kernels.tiles import Tiling, tiling_for
from minicnn.kernels.transforms import with_transforms
from minicnn.layers import Dense, Input, Layer, Run
from minicnn.models import Sequential
from minicnn.steps import strassen
from minicnn.steps.dense import DenseStep
from minicnn.steps.plan import LayerStep
from minicnn.steps.strassen import LEAST, MOST, SAMPLES, WIDEST, StrassenStep, strassen_rule
from tests.steps.test_dense import built
from tests.steps.wide_convolutions import LANES, assert_a_second_process_says_the_same, assert_same

pytestmark = pytest.mark.skipif(tiling_for(4) is None, reason="no vector unit: plans never have this step here")

KERNELS = ("largest_of_columns", "largest_of_rows", "strassen_weights", "strassen_forward")
TOLERANCES = {"float64": 1e-13, "float32": 1e-5}


def step_of(layer, tiling=None):
    """The step, whether it pays or not."""
    code, size = CODES[layer.activation.name], layer.dtype.itemsize
    tiling = tiling or with_transforms(tiling_for(size), size)
    return StrassenStep(DenseStep(layer, code), tiling)


def many(samples=SAMPLES):
    """The run of a call of predict with so many samples."""
    return Run(NUMPY, keep=False, made={}, samples=samples)


def random_samples(layer, n):
    return np.random.default_rng(3).standard_normal((n, *layer.input_shape)).astype(layer.dtype)


@pytest.fixture
def any_batch(monkeypatch):
    monkeypatch.setattr(strassen, "LEAST", 1)


@pytest.fixture
def products(monkeypatch):
    """How many samples went through each of Strassen's products."""
    counts, own = [], strassen.strassen_forward
    monkeypatch.setattr(strassen, "strassen_forward", lambda x, *rest: (counts.append(len(x)), own(x, *rest))[1])
    return counts


def assert_is_the_layer(layer, n, step=None):
    x = random_samples(layer, n)
    got, wanted = (step or step_of(layer)).forward(x, many())[0], LayerStep(layer, 0).forward(x, Run(NUMPY))[0]
    assert_same([got], [wanted], TOLERANCES[str(layer.dtype)])


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 30),
    vectors=st.tuples(st.integers(1, 4), st.integers(1, 6)),
    activation=st.sampled_from(sorted(CODES)),
    dtype=st.sampled_from(["float32", "float64"]),
    use_bias=st.booleans(),
)
def test_any_shape(n, vectors, activation, dtype, use_bias):
    inputs, outputs = (4 * LANES[dtype] * v for v in vectors)
    layer = built(Dense(outputs, activation=activation, use_bias=use_bias), inputs, dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strassen, "LEAST", 1)
        assert_is_the_layer(layer, n)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many_blocks(dtype, products):
    """About as many inputs as are taken, so that the last product sums over fewer, several tasks of several panels with
    a last one that is not full, and more samples than are multiplied at once."""
    layer = built(Dense(4 * 37 * LANES[dtype], activation="relu"), WIDEST - 4 * LANES[dtype], dtype)
    assert_is_the_layer(layer, 2 * MOST + 2)
    assert products == [342, 342, 342]


def test_the_plain_loops_are_the_same_program(any_batch, monkeypatch):
    """Uncompiled, on tiles of a CPU with other vectors: two lanes, at most 3, 2, 0 and 0 rows."""
    for name in KERNELS:
        for module in (loops, strassen):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, getattr(loops, f"{name}_loops"))
    layer = built(Dense(24, activation="relu"), 16)
    assert_is_the_layer(layer, 7, step_of(layer, Tiling(2, 3, 2, 0, 0, 4)))


SPREADS = {"float32": 36, "float64": 250}


def powers_of_ten(count, dtype, spread):
    return (10.0 ** np.random.default_rng(0).uniform(-spread, spread, count)).astype(dtype)


def assert_keeps_digits(layer, x):
    """Every number, measured by the largest value that its sum could have had without cancelling."""
    y, kernel = step_of(layer).forward(x, many())[0].astype(np.longdouble), layer.params["kernel"].astype(np.longdouble)
    sizes = np.abs(x).astype(np.longdouble) @ np.abs(kernel)
    assert (np.abs(y - x @ kernel) <= {"float32": 3e-6, "float64": 6e-15}[str(layer.dtype)] * sizes).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_small_sample_beside_large_ones_keeps_its_digits(dtype, any_batch):
    layer = built(Dense(256, use_bias=False), 512, dtype)
    x = random_samples(layer, 40) * powers_of_ten((40, 1), dtype, SPREADS[dtype])
    x[17] = 0
    assert_keeps_digits(layer, x)  # of zeros: exactly 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_small_output_beside_large_ones_keeps_its_digits(dtype, any_batch):
    layer = built(Dense(256, use_bias=False), 512, dtype)
    layer.params["kernel"] *= powers_of_ten(256, dtype, SPREADS[dtype])
    layer.params["kernel"][:, 40] = 0
    assert_keeps_digits(layer, random_samples(layer, 40))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inputs_of_other_sizes_that_the_weights_undo_keep_their_digits(dtype, any_batch):
    layer = built(Dense(256, use_bias=False), 512, dtype)
    x, sizes = random_samples(layer, 40), powers_of_ten(512, dtype, 15)
    layer.params["kernel"] /= sizes[:, None]
    layer.params["kernel"][7] = 0
    assert_keeps_digits(layer, x * sizes)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_sample(number, any_batch, products):
    layer = built(Dense(128), 64, "float32")
    x = random_samples(layer, 20)
    finite = DenseStep(layer, 0).forward(x, Run(NUMPY))[0].copy()
    x[7, 3] = number
    y = step_of(layer).forward(x, many())[0]
    assert not np.isfinite(y[7]).any()
    np.testing.assert_array_equal(np.delete(y, 7, 0), np.delete(finite, 7, 0))
    assert products == []


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_kernel_that_is_not_finite_is_multiplied_as_it_is_defined(number, any_batch, products):
    layer = built(Dense(128), 64, "float32")
    layer.params["kernel"][5, 9] = number
    x, run = random_samples(layer, 20), many()
    for _ in range(2):  # found out once, and kept
        y = step_of(layer).forward(x, run)[0]
        np.testing.assert_array_equal(y, DenseStep(layer, 0).forward(x, Run(NUMPY))[0])
    assert products == []


def test_bits_do_not_depend_on_the_number_of_threads(threads):
    layer = built(Dense(2048, activation="relu"), 256, "float32")
    x, results = random_samples(layer, 133), []
    for count in (1, 2):
        threads(count)
        results.append(step_of(layer).forward(x, many())[0])
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    ("n", "run", "taken"),
    [
        (LEAST, many(), True),
        (LEAST - 1, many(), False),
        (LEAST, many(SAMPLES - 1), False),
        (LEAST, Run(NUMPY, keep=False), False),
        (LEAST, Run(NUMPY, training=True), False),
    ],
)
def test_when_it_is_taken(n, run, taken, products):
    layer = built(Dense(128), 64, "float32")
    x = random_samples(layer, n)
    y = step_of(layer).forward(x, run)[0]
    assert_same([y], [DenseStep(layer, 0).forward(x, run)[0]], 1e-5)
    assert products == ([n] if taken else [])


def test_training_is_that_of_the_plain_step():
    layer = built(Dense(128, activation="relu"), 64)
    x, dy = random_samples(layer, 70), np.random.default_rng(4).standard_normal((70, 128))
    passes = []
    for step in (step_of(layer), DenseStep(layer, CODES["relu"])):
        y, saved = step.forward(x, Run(NUMPY, training=True))
        passes.append(
            (y, step.backward(dy.copy(), saved, Run(NUMPY, training=True)), *map(np.copy, layer.grads.values()))
        )
    assert_same(*passes, 0)


def test_one_compiled_version_a_dtype(any_batch):
    for dtype, lanes in LANES.items():
        for vectors in (1, 5):
            assert_is_the_layer(built(Dense(4 * lanes * vectors, activation="relu"), 4 * lanes, dtype), 9)
    assert [len(getattr(loops, name).signatures) for name in KERNELS] == [2] * len(KERNELS)


class Mine(Dense):
    pass


def ruled(layer, inputs):
    return strassen_rule(Sequential([Input(shape=(inputs,)), layer], dtype="float32").layers, 0, None)


def test_what_is_taken_by_the_plan():
    layer = Dense(4096, activation="relu", name="d")
    step, taken = ruled(layer, 1024)
    assert taken == 1
    assert step.layers == (layer,)
    assert str(step) == "StrassenStep(Dense 'd'), in predicting many"
    assert str(step) in str(Sequential([Input(shape=(1024,)), layer, Dense(10)]).plan())


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        (Dense(16384), 512),  # few inputs
        (Dense(512), 4096),  # few outputs
        (Dense(1024), 2048),  # few weights
        (Dense(1024), 8192),  # so many inputs that rounding would show
        (Dense(8192), 4096),  # 412 MB of sums
        (Dense(4088), 4096),  # blocks of outputs that are not whole vectors
        (Dense(4096), 4088),  # of inputs
        (Dense(4096, activation="gelu"), 1024),
        (Dense(4096, activation="softmax"), 1024),
        (Mine(4096), 1024),
    ],
)
def test_what_is_not_taken_by_the_plan(layer, inputs):
    assert ruled(layer, inputs) is None


X = np.random.default_rng(0).standard_normal((SAMPLES + 6, 1024)).astype(np.float32)


@pytest.fixture
def model():
    return Sequential([Input(shape=(1024,)), Dense(4096), Dense(2)], seed=0)


def expected(model):
    first, second = (layer.params for layer in model.layers)
    return (X @ first["kernel"] + first["bias"]) @ second["kernel"] + second["bias"]


def assert_predicts(model, wanted, **arguments):
    """In batches of 1000; the last of 102."""
    assert_same([model.predict(X, batch_size=1000, verbose=0, **arguments)], [wanted], 1e-5)


def test_the_kernel_is_taken_apart_once_for_a_call_and_anew_for_the_next(model, monkeypatch, products):
    made, own = [], strassen.strassen_weights
    monkeypatch.setattr(strassen, "strassen_weights", lambda *args: (made.append(1), own(*args))[1])
    assert_predicts(model, expected(model))
    assert len(made) == 1
    assert products == [500] * 8 + [102]
    model.set_weights([2 * array for array in model.get_weights()])
    assert_predicts(model, expected(model))
    assert len(made) == 2


def test_evaluate_does_as_predict_and_a_validation_leaves_its_memory_to_fit(model, products):
    y = expected(model)
    model.compile("sgd", "mse")
    assert model.evaluate(X, y + 1, batch_size=1000, verbose=0) == pytest.approx(1, rel=1e-4)
    assert products == [500] * 8 + [102]
    model.fit(X[:1], y[:1], validation_data=(X, y), batch_size=1000, verbose=0)
    assert products == [500] * 8 + [102]


def test_few_samples_limited_steps_and_single_batches_are_left_to_the_other_step(model, products, batches_apart):
    some = model.predict(X[: SAMPLES - 1], batch_size=1000, verbose=0)
    limited = model.predict(X, batch_size=1000, steps=3, verbose=0)
    model.predict(X, batch_size=len(X), verbose=0)
    model.predict(X, batch_size=LEAST - 1, verbose=0)
    model.compile("sgd", "mse", steps=["DenseStep"])
    plain = model.predict(X, batch_size=1000, verbose=0)
    np.testing.assert_array_equal(some[:4000], plain[:4000])  # the last batches are not of one size
    np.testing.assert_array_equal(limited, plain[:3000])
    assert products == []


def test_weights_that_a_callback_changes_between_batches_count(model, products):
    class Doubling(Callback):
        def on_predict_batch_begin(self, batch, logs=None):
            if batch == 1:
                self.model.set_weights([2 * array for array in self.model.get_weights()])

    before = expected(model)
    y = model.predict(X, batch_size=3000, verbose=0, callbacks=[Doubling()])
    assert_same([y], [np.concatenate([before[:3000], expected(model)[3000:]])], 1e-5)
    assert products == []


class Doubled(Layer):
    """A caller's own, which might change weights between batches."""

    def forward(self, x, run):
        return 2 * x, None


def test_a_layer_of_the_callers_is_left_to_the_other_step(products):
    model = Sequential([Input(shape=(1024,)), Dense(4096), Doubled()], seed=0)
    model.predict(X, batch_size=1000, verbose=0)
    assert products == []


def test_another_process_finds_all_it_needs_in_the_cache(tmp_path):
    """The cached kernels call machine code by name, which the process must have made."""
    code = (
        "import numpy as np; from minicnn import Sequential; from minicnn.layers import Dense, Input;"
        "model = Sequential([Input((1024,)), Dense(4096)], seed=1); print('StrassenStep' in str(model.plan()));"
        f"print(model.predict(np.ones(({SAMPLES}, 1024), 'float32'), batch_size=1024, verbose=0)[::1000, :3])"
    )
    assert_a_second_process_says_the_same(code, tmp_path)
