"""ConvolutionStep against the layers on their own: the same numbers and derivatives, for every shape and variant."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.gradcheck import check_model
from minicnn.kernels import NUMPY
from minicnn.kernels.tiles import Tiling, tiling_for
from minicnn.layers import AveragePooling2D, Conv2D, Dense, Flatten, Input, MaxPooling2D, Run
from minicnn.models import Sequential
from minicnn.steps.convolution import ConvolutionStep, convolution_rule
from minicnn.steps.convolution_backward import convolution_backward_loops
from minicnn.steps.convolution_kernels import convolution_forward_loops
from minicnn.steps.plan import LayerStep

pytestmark = pytest.mark.skipif(tiling_for(4) is None, reason="no vector unit: plans never have this step here")

KEYS = ("kernel", "bias")


def stack(shape, filters, size, strides, padding, activation, pool, dtype, use_bias=True):
    """The layers of one step, built, with random biases, so that nothing is zero by chance."""
    layers = [Conv2D(filters, size, strides=strides, padding=padding, activation=activation, use_bias=use_bias)]
    if pool is not None:
        layers.append(pool((2, 2)))
    model = Sequential([Input(shape=shape), *layers], seed=1, dtype=dtype)
    if use_bias:
        layers[0].params["bias"][...] = np.random.default_rng(2).standard_normal(filters) / 10
    return model.layers


def step_of(layers, **changed):
    step, taken = convolution_rule(layers, 0, None)
    assert taken == len(layers)
    return step if not changed else ConvolutionStep(**{**vars(step), **changed})


def passes(steps, x, dy, training=True, need_dx=True):
    """y, dx (empty if not needed) and the gradients of the convolution, from these steps one after the other."""
    run, kept, layer = Run(NUMPY, training=training), [], steps[0].layers[0]
    layer.grads = {key: np.full_like(array, np.nan) for key, array in layer.params.items()}
    for step in steps:
        x, saved = step.forward(x, run)
        kept.append(saved)
    y, dy = x.copy(), dy.copy()
    for step, saved in zip(reversed(steps), reversed(kept), strict=True):
        dy = step.backward(dy, saved, run, need_dx or step is not steps[0])
    assert (dy is not None) == need_dx
    return y, dy if need_dx else np.empty(0), *(layer.grads[key].copy() for key in KEYS if key in layer.grads)


def assert_same(layers, n, step, tolerance, need_dx=True):
    rng = np.random.default_rng(3)
    dtype = layers[0].dtype
    x = rng.standard_normal((n, *layers[0].input_shape)).astype(dtype)
    shape = layers[-1].output_shape(layers[-1].input_shape)
    dy = rng.standard_normal((n, *shape)).astype(dtype)
    wanted = passes([LayerStep(layer, k) for k, layer in enumerate(layers)], x, dy, need_dx=need_dx)
    got = passes([step], x, dy, need_dx=need_dx)
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        assert np.abs(ours - theirs).max(initial=0) <= tolerance * max(np.abs(theirs).max(initial=0), 1e-3)


POOLED = [(None, "linear"), (None, "relu"), (None, "tanh"), (MaxPooling2D, "linear"), (MaxPooling2D, "relu")]
POOLED += [(MaxPooling2D, "tanh"), (AveragePooling2D, "relu")]


@pytest.mark.parametrize(("pool", "activation"), POOLED)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("scatter", [False, True])
def test_every_variant(pool, activation, dtype, tolerance, few, scatter):
    layers = stack((9, 12, 3), 5, (3, 4), 1, "same", activation, pool, dtype)
    assert_same(layers, 11, step_of(layers, few=few, scatter=scatter), tolerance)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 10),
    shape=st.tuples(st.integers(4, 15), st.integers(4, 15), st.integers(1, 20)),
    filters=st.integers(1, 100),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.integers(1, 3),
    padding=st.sampled_from(["same", "valid"]),
    pooled=st.sampled_from(POOLED),
    dtype=st.sampled_from(["float64", "float32"]),
    use_bias=st.booleans(),
    need_dx=st.booleans(),
)
def test_any_shape(n, shape, filters, size, stride, padding, pooled, dtype, use_bias, need_dx):
    pool, activation = pooled
    if padding == "valid":
        size = min(size[0], shape[0]), min(size[1], shape[1])
    out = [-(-s // stride) if padding == "same" else (s - k) // stride + 1 for s, k in zip(shape, size, strict=False)]
    if min(out) < 2:
        pool = None
    layers = stack(shape, filters, size, stride, padding, activation, pool, dtype, use_bias)
    assert_same(layers, n, step_of(layers), 1e-12 if dtype == "float64" else 1e-5, need_dx)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "filters", "size", "stride"),
    [((32, 32, 3), 96, 11, 4), ((9, 8, 80), 80, 3, 1), ((7, 9, 5), 96, 3, 2), ((5, 6, 40), 4, 3, 1)],
)
def test_panels_of_several_widths(shape, filters, size, stride, dtype):
    """Of filters, and of channels on the way back; the first is the sheet's AlexNets'."""
    layers = stack(shape, filters, size, stride, "same", "relu", None, dtype)
    assert_same(layers, 3, step_of(layers), 1e-12 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("pool", [None, MaxPooling2D, AveragePooling2D])
@pytest.mark.parametrize(("few", "scatter"), [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize(("n", "need_dx"), [(0, True), (0, False), (11, False)])
def test_no_images_and_no_dx(n, need_dx, few, scatter, pool):
    layers = stack((9, 12, 3), 5, (3, 4), 1, "same", "relu", pool, "float64")
    assert_same(layers, n, step_of(layers, few=few, scatter=scatter), 1e-12, need_dx)


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("pool", [None, MaxPooling2D])
def test_the_plain_loops_are_the_same_program(few, pool, monkeypatch):
    """Uncompiled, on tiles of a CPU with other vectors: two lanes, at most 3, 2, 0 and 0 rows."""
    monkeypatch.setattr("minicnn.steps.convolution.convolution_forward", convolution_forward_loops)
    monkeypatch.setattr("minicnn.steps.convolution.convolution_backward", convolution_backward_loops)
    layers = stack((5, 6, 2), 3, 3, 1, "same", "relu", pool, "float64")
    assert_same(layers, 2, step_of(layers, few=few, tiling=Tiling(2, 3, 2, 0, 0, 4)), 1e-12)


@pytest.mark.parametrize(("pool", "activation"), POOLED)
@pytest.mark.parametrize("filters", [4, 20])
def test_gradients_against_differences(pool, activation, filters):
    """Through two such steps, so that dx is checked by the first one's kernel; every entry."""
    layers = []
    for convolution in (Conv2D(filters, 3, padding="same", activation=activation), Conv2D(3, 2, activation=activation)):
        layers += [convolution] if pool is None else [convolution, pool(2)]
    model = Sequential([Input(shape=(7, 8, 2)), *layers, Flatten(), Dense(2)], seed=3, dtype="float64")
    model.compile("sgd", "mse")
    assert [type(step) for step in model.plan().steps[:2]] == [ConvolutionStep, ConvolutionStep]
    rng = np.random.default_rng(4)
    report = check_model(model, rng.standard_normal((2, 7, 8, 2)), rng.standard_normal((2, 2)), directions=None)
    report.assert_ok()
    assert len(report.not_differentiable) <= report.checked // 20


def test_bits_do_not_depend_on_the_number_of_threads(threads):
    layers = stack((13, 13, 5), 20, 3, 1, "same", "relu", MaxPooling2D, "float32")
    rng = np.random.default_rng(5)
    x = rng.standard_normal((37, 13, 13, 5)).astype("float32")
    dy = rng.standard_normal((37, 6, 6, 20)).astype("float32")
    results = []
    for count in (1, 2):
        threads(count)
        results.append(passes([step_of(layers)], x, dy))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_nan_and_infinity_pass_through():
    layers = stack((4, 4, 1), 2, 1, 1, "valid", "relu", MaxPooling2D, "float32")
    layers[0].params["kernel"][...] = 1
    layers[0].params["bias"][...] = 0
    x = np.zeros((1, 4, 4, 1), np.float32)
    x[0, 1, 1], x[0, 3, 3] = np.nan, np.inf
    y, _ = step_of(layers).forward(x, Run(NUMPY))
    assert np.isnan(y[0, 0, 0]).all()
    assert np.isinf(y[0, 1, 1]).all()
    assert (y[0, 0, 1] == 0).all()


def test_what_is_not_taken():
    for layer in (Conv2D(4, 3, dilation_rate=2), Conv2D(4, 3, activation="gelu"), Dense(3)):
        model = Sequential([Input(shape=(8, 8, 3)), layer])
        assert convolution_rule(model.layers, 0, None) is None


@pytest.mark.parametrize(
    ("activation", "pool"),
    [
        ("linear", MaxPooling2D(2, strides=1)),
        ("relu", MaxPooling2D(3, strides=2, padding="same")),  # halves the map, but not by windows of 2x2
        ("relu", AveragePooling2D(3, strides=2, padding="same")),
        ("tanh", AveragePooling2D(2)),  # the mean of relu is what is fused
        ("linear", AveragePooling2D(2)),
        ("relu", MaxPooling2D((2, 1))),
    ],
)
def test_pools_that_are_not_taken(activation, pool):
    model = Sequential([Input(shape=(8, 8, 3)), Conv2D(4, 3, padding="same", activation=activation), pool])
    assert convolution_rule(model.layers, 0, None)[1] == 1  # the convolution alone


def test_windows_that_are_not_whole_are_not_taken():
    padded = Sequential([Input(shape=(7, 7, 3)), Conv2D(4, 3, padding="same"), MaxPooling2D(2, padding="same")])
    assert convolution_rule(padded.layers, 0, None)[1] == 1
    cut = Sequential([Input(shape=(7, 7, 3)), Conv2D(4, 3, padding="same"), MaxPooling2D(2)])
    assert convolution_rule(cut.layers, 0, None)[1] == 2


def test_the_tiling_of_this_machine():
    for itemsize in (4, 8):
        tiling = tiling_for(itemsize)
        if tiling is not None:
            assert tiling.lanes * itemsize in (16, 32, 64)
            assert tiling.limit1 >= 4
