"""WinogradStep against the layer on its own: the same numbers and derivatives, for every shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.activations import Activation
from minicnn.differences import Variable, compare
from minicnn.kernels import NUMPY
from minicnn.kernels.dense import FEW
from minicnn.kernels.few_images import few_images_loops
from minicnn.kernels.fused import CODES
from minicnn.kernels.tiles import Tiling, tiling_for
from minicnn.kernels.transforms import with_transforms
from minicnn.layers import AveragePooling2D, Conv2D, Dense, Input, MaxPooling2D, Run
from minicnn.models import Sequential
from minicnn.steps import pooled, winograd, winograd_kernels
from minicnn.steps.convolution import fusible_pool
from minicnn.steps.plan import LayerStep
from minicnn.steps.pooled import even_windows
from minicnn.steps.winograd import WinogradStep, winograd_rule
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

pytestmark = pytest.mark.skipif(tiling_for(4) is None, reason="no vector unit: plans never have this step here")


def built(layers, shape, dtype):
    """The layers, the first one with a random bias if it has one."""
    Sequential([Input(shape=shape), *layers], seed=1, dtype=dtype)
    if layers[0].use_bias:
        layers[0].params["bias"][...] = np.random.default_rng(2).standard_normal(layers[0].filters) / 10
    return layers


def convolution_layer(shape, filters, padding="same", activation="relu", dtype="float64", **arguments):
    """The layer, built, with a random bias if it has one."""
    (layer,) = built([Conv2D(filters, 3, padding=padding, activation=activation, **arguments)], shape, dtype)
    return layer


def step_of(layer, tiling=None, pooling=None):
    windows = layer.windows(layer.input_shape)
    size = layer.dtype.itemsize
    code = CODES[layer.activation.name]
    pool = fusible_pool(pooling, windows, code)
    tiling = tiling or with_transforms(tiling_for(size), size)
    return WinogradStep(layer, pooling, even_windows(windows) if pool else windows, code, pool, tiling)


class Pair:
    """A convolution and its pool as two steps."""

    def __init__(self, layer, pooling):
        self.steps, self.layers = [LayerStep(layer, 0), LayerStep(pooling, 1)], (layer, pooling)

    def forward(self, x, run):
        x, first = self.steps[0].forward(x, run)
        x, second = self.steps[1].forward(x, run)
        return x, (first, second)

    def backward(self, dy, saved, run, need_dx=True):
        return self.steps[0].backward(self.steps[1].backward(dy, saved[1], run), saved[0], run, need_dx)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 4),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    vectors=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    padding=st.sampled_from(["same", "valid"]),
    activation=st.sampled_from(sorted(CODES)),
    dtype=st.sampled_from(["float32", "float64"]),
    use_bias=st.booleans(),
    training=st.booleans(),
)
def test_any_shape(n, size, vectors, padding, activation, dtype, use_bias, training):
    if padding == "valid":
        size = max(size[0], 3), max(size[1], 3)
    channels, filters = (LANES[dtype] * v for v in vectors)
    layer = convolution_layer((*size, channels), filters, padding, activation, dtype, use_bias=use_bias)
    x, dy = problem(layer, n)
    run = Run(NUMPY, training=training)
    wanted = passes(LayerStep(layer, 0), x, dy, run)
    assert_same(passes(step_of(layer), x, dy, run), wanted, TOLERANCES[dtype])


def pooled_layers(shape, filters, pool, padding, activation, dtype="float64", use_bias=True):
    """The convolution and its pool, built."""
    layer = Conv2D(filters, 3, padding=padding, activation=activation, use_bias=use_bias)
    return built([layer, pool(2)], shape, dtype)


POOLED = [(MaxPooling2D, "linear"), (MaxPooling2D, "relu"), (MaxPooling2D, "tanh"), (AveragePooling2D, "relu")]


def decided(layer, pooling, x, margin=1e-4):
    """Of which windows of the pool the gradient does not hang on rounding: (N, OH, OW, C).

    Their largest number, if they hand on that one, is the largest by a margin, and nothing in them is near relu's kink.
    """
    z = layer.linear(x, Run(NUMPY))[0]
    y = layer.activation(z)
    rows, columns = z.shape[1] // 2, z.shape[2] // 2
    windows = [a[:, : rows * 2, : columns * 2].reshape(len(a), rows, 2, columns, 2, a.shape[3]) for a in (z, y)]
    z, y = (a.transpose(0, 1, 3, 5, 2, 4).reshape(*a.shape[:2], a.shape[3], a.shape[5], 4) for a in windows)
    apart = np.full(z.shape[:-1], True)
    if layer.activation.name == "relu":
        apart &= (np.abs(z) > margin * np.abs(z).max(initial=0)).all(axis=-1)
    if isinstance(pooling, MaxPooling2D):
        second, first = np.sort(y, axis=-1)[..., -2:].transpose(4, 0, 1, 2, 3)
        apart &= (first - second > margin * np.abs(y).max(initial=0)) | ((first == 0) & (second == 0))
    return apart


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 4),
    size=st.tuples(st.integers(2, 12), st.integers(2, 12)),
    vectors=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    padding=st.sampled_from(["same", "valid"]),
    pooled_by=st.sampled_from(POOLED),
    dtype=st.sampled_from(["float32", "float64"]),
    use_bias=st.booleans(),
    need_dx=st.booleans(),
)
def test_any_shape_with_a_pool(n, size, vectors, padding, pooled_by, dtype, use_bias, need_dx):
    """In training; tests/steps/test_pooled.py has predicting."""
    if padding == "valid":
        size = max(size[0], 4), max(size[1], 4)
    channels, filters = (LANES[dtype] * v for v in vectors)
    pool, activation = pooled_by
    layer, pooling = pooled_layers((*size, channels), filters, pool, padding, activation, dtype, use_bias)
    rng, run = np.random.default_rng(3), Run(NUMPY, training=True)
    x = rng.standard_normal((n, *size, channels)).astype(dtype)
    dy = rng.standard_normal((n, *pooling.output_shape(layer.output_shape(layer.input_shape)))).astype(dtype)
    dy = np.where(decided(layer, pooling, x), dy, dy.dtype.type(0))
    wanted = passes(Pair(layer, pooling), x, dy, run, need_dx)
    got = passes(step_of(layer, None, pooling), x, dy, run, need_dx)
    assert (got[1] is not None) == need_dx
    assert_same([g for g in got if g is not None], [w for w in wanted if w is not None], TOLERANCES[dtype])


@pytest.mark.parametrize(("pool", "activation"), POOLED)
def test_gradients_with_a_pool_against_differences(pool, activation):
    """On a map with a row and a column that the pool leaves out."""
    layer, pooling = pooled_layers((7, 9, 8), 8, pool, "valid", activation)
    step, run, rng = step_of(layer, None, pooling), Run(NUMPY, training=True), np.random.default_rng(4)
    x = rng.standard_normal((2, 7, 9, 8))
    y, saved = step.forward(x, run)
    y, r = y.copy(), rng.standard_normal(y.shape)
    variables = [Variable("x", x, step.backward(r.copy(), saved, run))]
    variables += [Variable(key, layer.params[key], layer.grads[key].copy()) for key in layer.params]
    report = compare("the step", lambda: float(np.sum(r * (step.forward(x, run)[0] - y))), variables, None, rng)
    report.assert_ok()
    assert len(report.not_differentiable) <= report.checked // 20


@pytest.mark.parametrize(("pool", "activation"), POOLED)
def test_the_plain_loops_with_a_pool_are_the_same_program(pool, activation, monkeypatch):
    for name in ("winograd_forward", "winograd_gradient"):
        monkeypatch.setattr(f"minicnn.steps.winograd.{name}", getattr(winograd_kernels, f"{name}_loops"))
    layer, pooling = pooled_layers((5, 6, 2), 6, pool, "same", activation)
    rng = np.random.default_rng(5)
    x, dy = rng.standard_normal((2, 5, 6, 2)), rng.standard_normal((2, 2, 3, 6))
    got = passes(step_of(layer, Tiling(2, 3, 2, 0, 0, 4), pooling), x, dy)
    assert_same(got, passes(Pair(layer, pooling), x, dy), 1e-10)


@pytest.mark.parametrize(("padding", "activation"), [("same", "relu"), ("valid", "tanh"), ("same", "linear")])
def test_against_the_plain_loops(padding, activation):
    layer = convolution_layer((5, 4, 8), 8, padding, activation)
    x, dy = problem(layer, 3)
    wanted = passes(LayerStep(layer, 0), x, dy, Run(LOOPS, training=True))
    assert_same(passes(step_of(layer), x, dy), wanted, 1e-10)


@pytest.mark.parametrize("n", [FEW, FEW + 1])
@pytest.mark.parametrize(("padding", "activation"), [("same", "relu"), ("valid", "linear")])
def test_the_plain_loops_of_the_step_are_the_same_program(padding, activation, n, monkeypatch):
    """Uncompiled, on tiles of a CPU with other vectors: two lanes, at most 3, 2, 0 and 0 rows."""
    monkeypatch.setattr("minicnn.steps.winograd.few_images", few_images_loops)
    for name in ("winograd_forward", "winograd_gradient"):
        monkeypatch.setattr(f"minicnn.steps.winograd.{name}", getattr(winograd_kernels, f"{name}_loops"))
    layer = convolution_layer((5, 6, 2), 6, padding, activation)
    x, dy = problem(layer, n)
    wanted = passes(LayerStep(layer, 0), x, dy)
    assert_same(passes(step_of(layer, Tiling(2, 3, 2, 0, 0, 4)), x, dy), wanted, 1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
def test_many_blocks(dtype, tolerance):
    """More blocks than slots, several strips to a block, a last block that is not full, sums in two depths."""
    layer = convolution_layer((10, 16, 160), 80, dtype=dtype)
    x, dy = problem(layer, 33)
    assert_same(passes(step_of(layer), x, dy), passes(LayerStep(layer, 0), x, dy), tolerance)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("activation", sorted(CODES))
@pytest.mark.parametrize("images", [1, FEW + 1])
def test_gradients_against_differences(padding, activation, images):
    first = convolution_layer((6, 5, 8), 8, padding, activation)
    second = convolution_layer(first.output_shape(first.input_shape), 8, "same", "tanh")
    assert_gradients_are_differences([step_of(first), step_of(second)], images)


@pytest.mark.parametrize("pooled", [False, True])
def test_bits_do_not_depend_on_the_number_of_threads(pooled, threads):
    layer, pooling = pooled_layers((9, 12, 48), 64, MaxPooling2D, "same", "relu", "float32")
    x, dy = problem(layer, 37)
    if pooled:
        dy = np.ascontiguousarray(dy[:, :4, :6])
    results = []
    for count in (1, 2):
        threads(count)
        results.append(passes(step_of(layer, None, pooling if pooled else None), x, dy))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_images_give_the_same_bits_in_every_batch_of_more_than_a_few():
    layer = convolution_layer((16, 16, 48), 48, dtype="float32")
    x, _ = problem(layer, 20)
    run = Run(NUMPY)
    whole, _ = step_of(layer).forward(x, run)
    some, _ = step_of(layer).forward(x[7 : 8 + FEW], run)
    np.testing.assert_array_equal(some, whole[7 : 8 + FEW])


def test_a_few_images_are_not_transformed(monkeypatch):
    """But they are in training a pool's step, on a larger map and in a larger batch."""
    ways = []
    for module, name, way in (
        (winograd, "few_images", "few"),
        (winograd, "winograd_forward", "transforms"),
        (pooled, "pooled_forward", "pool"),
    ):
        own = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, own=own, way=way: (ways.append(way), own(*args))[1])
    layer, pooling = pooled_layers((8, 8, 32), 64, MaxPooling2D, "same", "relu")
    for n in (1, FEW, FEW + 1):
        step_of(layer).forward(problem(layer, n)[0], Run(NUMPY))
    assert ways == ["few", "few", "transforms"]
    ways.clear()
    for n, keep in ((1, True), (1, False), (FEW, False), (FEW + 1, False)):
        step_of(layer, None, pooling).forward(problem(layer, n)[0], Run(NUMPY, keep=keep))
    assert ways == ["transforms", "pool", "pool", "transforms"]
    ways.clear()
    larger = convolution_layer((16, 17, 32), 64)
    step_of(larger).forward(problem(larger, 1)[0], Run(NUMPY, keep=False))
    larger, pooling = pooled_layers((16, 16, 32), 64, MaxPooling2D, "same", "relu")
    step_of(larger, None, pooling).forward(problem(larger, 1)[0], Run(NUMPY, keep=False))
    assert ways == ["transforms", "transforms"]


@pytest.mark.parametrize("pixel", [(2, 3), (0, 0), (5, 4)])
def test_nan_reaches_what_it_reaches_by_the_definition(pixel):
    layer = convolution_layer((8, 8, LANES["float32"]), LANES["float32"], activation="linear", dtype="float32")
    x, _ = problem(layer, 3)
    x[1, *pixel, 0] = np.nan
    y, _ = step_of(layer).forward(x, Run(NUMPY))
    wanted, _ = LayerStep(layer, 0).forward(x, Run(NUMPY))
    np.testing.assert_array_equal(np.isnan(y), np.isnan(wanted))


def test_a_gradient_that_cannot_be_overwritten_is_copied():
    assert_a_fixed_gradient_is_copied(step_of(convolution_layer((6, 6, 8), 8)))


def test_without_dx_and_frozen():
    assert_goes_without_dx_and_frozen(step_of(convolution_layer((6, 6, 8), 8, trainable=False)))


def test_one_compiled_version_a_dtype():
    shapes = [(size, lanes, dtype) for dtype, lanes in LANES.items() for size in (4, 7)]
    layers = [convolution_layer((size, size, lanes), 2 * lanes, dtype=dtype) for size, lanes, dtype in shapes]
    kernels = [winograd_kernels.winograd_forward, winograd_kernels.winograd_gradient]
    assert_one_version_a_dtype(kernels, map(step_of, layers), FEW + 1)


class Gentle(Activation):
    name = "relu"

    def value(self, x):
        return 0.5 * x

    def gradient(self, dy, x, y):
        return 0.5 * dy


class Mine(Conv2D):
    pass


def ruled(layer, shape=(8, 8, 64)):
    return winograd_rule(Sequential([Input(shape=shape), layer]).layers, 0, None)


def test_what_is_taken():
    for padding, activation in (("same", "relu"), ("valid", "tanh"), ("same", None)):
        layer = Conv2D(48, 3, padding=padding, activation=activation, name="wide")
        step, taken = ruled(layer)
        assert taken == 1
        assert step.layers == (layer,)
        assert str(step) == "WinogradStep(Conv2D 'wide')"


def test_a_pool_is_taken_along():
    layers = Sequential([Input(shape=(13, 13, 32)), Conv2D(64, 3, name="wide"), MaxPooling2D(2, name="pool")]).layers
    step, taken = winograd_rule(layers, 0, None)
    assert taken == 2
    assert step.layers == (layers[0], layers[1])
    assert str(step) == "WinogradStep(Conv2D 'wide', MaxPooling2D 'pool')"


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Conv2D(64, 5), (8, 8, 64)),
        (Conv2D(64, (3, 1)), (8, 8, 64)),
        (Conv2D(64, 3, strides=2), (16, 16, 64)),
        (Conv2D(64, 3, dilation_rate=2), (16, 16, 64)),
        (Conv2D(64, 3, activation="gelu"), (8, 8, 64)),
        (Conv2D(64, 3, activation="softmax"), (8, 8, 64)),
        (Conv2D(64, 3, activation=Gentle()), (8, 8, 64)),
        (Mine(64, 3), (8, 8, 64)),
        (Conv2D(16, 3), (8, 8, 128)),  # too few filters
        (Conv2D(128, 3), (8, 8, 16)),  # too few channels
        (Conv2D(32, 3), (8, 8, 32)),  # both are few
        (Conv2D(65, 3), (8, 8, 64)),  # not whole vectors
        (Conv2D(64, 3), (7, 7, 64)),  # 25 windows
        (Dense(64), (8, 8, 64)),
    ],
)
def test_what_is_not_taken(layer, shape):
    assert ruled(layer, shape) is None


def test_another_process_finds_all_it_needs_in_the_cache(tmp_path):
    """The cached kernel calls machine code by name, which the process must have made: training alone runs here."""
    assert_another_process_finds_all_in_the_cache("WinogradStep", (8, 8, 48), 4, tmp_path)
