"""Predicting through a convolution and its pool at once, with or without a normalization between them, against the
layers on their own; and NormalizedConvolutionStep in training."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.gradcheck import check_model
from minicnn.kernels import NUMBA, NUMPY
from minicnn.kernels.dense import FEW
from minicnn.kernels.tiles import Tiling, tiling_for
from minicnn.layers import AveragePooling2D, BatchNormalization, Conv2D, Dense, Flatten, Input, MaxPooling2D, Run
from minicnn.models import Sequential
from minicnn.steps import pooled, pooled_kernels, winograd, winograd_kernels
from minicnn.steps.convolution import ConvolutionStep
from minicnn.steps.normalized_convolution import NormalizedConvolutionStep
from minicnn.steps.plan import LAYER_RULES, RULES, make_plan
from minicnn.steps.winograd import WinogradStep

pytestmark = pytest.mark.skipif(tiling_for(4) is None, reason="no vector unit: plans never have these steps here")

POOLED = [(MaxPooling2D, "linear"), (MaxPooling2D, "relu"), (MaxPooling2D, "tanh"), (AveragePooling2D, "relu")]
TOLERANCES = {"float64": 1e-12, "float32": 1e-5}


def stack(shape, filters, size, pooled_by, dtype, normalized=False, strides=1, padding="valid"):
    """The layers, built, with random biases, gammas of both signs and one of 0, and averages away from their start."""
    pool, activation = pooled_by
    layers = [Conv2D(filters, size, strides=strides, padding=padding, activation=activation)]
    layers += [BatchNormalization()] if normalized else []
    model = Sequential([Input(shape), *layers, pool(2)], seed=1, dtype=dtype)
    rng = np.random.default_rng(2)
    layers[0].params["bias"][...] = rng.standard_normal(filters) / 10
    if normalized:
        for array in layers[1].params.values():
            array[...] = rng.standard_normal(filters)
        layers[1].params["gamma"][-1] = 0
        layers[1].state["moving_mean"][...] = rng.standard_normal(filters)
        layers[1].state["moving_variance"][...] = 0.5 + rng.random(filters)
    return model.layers


def predictions(layers, x, kernels=NUMPY):
    """By the step, of which there must be one, and by the layers on their own, with these kernels."""
    plan = make_plan(layers, rules=RULES)
    assert len(plan.steps) == 1
    run = Run(kernels)
    return plan.predict(x, run), make_plan(layers, rules=LAYER_RULES).predict(x, run)


def assert_same(layers, n):
    dtype = layers[0].dtype
    x = np.random.default_rng(3).standard_normal((n, *layers[0].input_shape)).astype(dtype)
    got, wanted = predictions(layers, x)
    assert got.dtype == wanted.dtype
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max(initial=0) <= TOLERANCES[dtype.name] * max(np.abs(wanted).max(initial=0), 1e-3)


WAYS = [(1, 5), (3, 32), (32, 64)]
"""Channels and filters that are few, that are convolved directly, and by Winograd's algorithm."""


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(
    ("pooled_by", "normalized", "channels", "filters"),
    [
        (pooled_by, normalized, *way)
        for pooled_by in POOLED
        for normalized in (False, True)
        for way in WAYS
        if not (normalized and way[1] < 16 and pooled_by[0] is MaxPooling2D)  # as normalization.fusing_pays has it
    ],
)
def test_every_way(pooled_by, dtype, normalized, channels, filters):
    assert_same(stack((13, 15, channels), filters, 3, pooled_by, dtype, normalized), 9)


@pytest.mark.parametrize("normalized", [False, True])
def test_winograds_way_is_taken(normalized):
    (step,) = make_plan(stack((13, 15, 32), 64, 3, POOLED[1], "float32", normalized)).steps
    assert type(step.convolution if normalized else step) is WinogradStep


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("n", [0, 1, FEW])
@pytest.mark.parametrize("pooled_by", POOLED)
@pytest.mark.parametrize(("normalized", "channels"), [(True, 32), (False, 32), (True, 3), (False, 3)])
def test_a_few_images(pooled_by, normalized, channels, n, dtype):
    """With the kernel as it is: where Winograd's way is the usual one and a normalization follows, in two steps."""
    assert_same(stack((13, 15, channels), 64, 3, pooled_by, dtype, normalized), n)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 10),
    shape=st.tuples(st.integers(7, 15), st.integers(7, 40), st.integers(1, 20)),
    filters=st.integers(1, 70),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=st.integers(1, 2),
    padding=st.sampled_from(["same", "valid"]),
    pooled_by=st.sampled_from(POOLED),
    normalized=st.booleans(),
    dtype=st.sampled_from(["float64", "float32"]),
)
def test_any_shape(n, shape, filters, size, strides, padding, pooled_by, normalized, dtype):
    if pooled_by[0] is MaxPooling2D and normalized:
        filters += 15
    assert_same(stack(shape, filters, size, pooled_by, dtype, normalized, strides, padding), n)


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize(("channels", "filters"), [(1, 5), (3, 20)])
def test_nan_and_infinity_reach_their_windows_alone(normalized, channels, filters):
    pool = AveragePooling2D if normalized and filters < 16 else MaxPooling2D
    layers = stack((12, 12, channels), filters, 3, (pool, "relu"), "float32", normalized, padding="same")
    x = np.random.default_rng(4).standard_normal((8, 12, 12, channels)).astype(np.float32)
    x[1, 5, 5, 0], x[3, 7, 2, 0] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        got, wanted = predictions(layers, x, NUMBA)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(np.isfinite(got), finite)
    np.testing.assert_allclose(got[finite], wanted[finite], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("channels", "filters"), [(2, 3), (2, 5), (4, 4)], ids=["few", "direct", "winograd"])
@pytest.mark.parametrize("normalized", [False, True])
def test_the_plain_loops_are_the_same_program(channels, filters, normalized, monkeypatch):
    """Uncompiled, on tiles of a CPU with other vectors: two lanes."""
    monkeypatch.setattr(pooled, "pooled_forward", pooled_kernels.pooled_forward_loops)
    monkeypatch.setattr(pooled, "winograd_forward", winograd_kernels.winograd_forward_loops)
    monkeypatch.setattr(pooled, "tiling_for", lambda itemsize: Tiling(2, 3, 2, 0, 0, 4))
    monkeypatch.setattr(pooled, "pooled_tiling_for", lambda itemsize: Tiling(2, 2, 0, 0, 0, 2))
    monkeypatch.setattr(winograd, "winograd_forward", winograd_kernels.winograd_forward_loops)
    monkeypatch.setattr(winograd, "tiling_for", lambda itemsize: Tiling(2, 3, 2, 0, 0, 4))
    monkeypatch.setattr(winograd, "winograd_pays", lambda *arguments: filters == 4)
    layers = stack((7, 8, channels), filters, 3, POOLED[3] if normalized else POOLED[2], "float64", normalized)
    assert_same(layers, 3)


@pytest.mark.parametrize("pooled_by", POOLED)
@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("n", [0, 6])
@pytest.mark.parametrize(
    ("channels", "filters", "by"), [(3, 20, ConvolutionStep), (48, 48, WinogradStep)], ids=["direct", "winograd"]
)
def test_training_is_that_of_the_layers(pooled_by, trained, n, channels, filters, by):
    """Outputs, derivatives and moving averages, with the convolution trained or frozen."""
    results = []
    for rules in (RULES, LAYER_RULES):
        layers = stack((9, 10, channels), filters, 3, pooled_by, "float64", True)
        layers[0].trainable = trained
        for layer in layers[:2]:
            layer.grads = {name: np.full_like(array, np.nan) for name, array in layer.params.items()}
        plan, run = make_plan(layers, rules=rules), Run(NUMPY, training=True)
        rng = np.random.default_rng(5)
        y, saved = plan.forward(rng.standard_normal((n, 9, 10, channels)), run)
        dx = plan.backward(rng.standard_normal(y.shape), saved, run, need_dx=trained)
        found = [y] + ([dx] if trained else []) + list(layers[1].grads.values()) + list(layers[1].state.values())
        results.append(found + (list(layers[0].grads.values()) if trained else []))
    (step,) = make_plan(layers, rules=RULES).steps
    assert (type(step), type(step.convolution)) == (NormalizedConvolutionStep, by)
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-11 * max(1, np.abs(theirs).max(initial=0)))


@pytest.mark.parametrize(("channels", "filters"), [(3, 20), (48, 48)], ids=["direct", "winograd"])
def test_training_in_float32_is_that_of_the_layers(channels, filters):
    """Where rounding decides nothing: without relu's kink, the choice of a largest number, and the bias of a linear
    convolution, whose gradient through a normalization is 0."""
    results = []
    for rules in (RULES, LAYER_RULES):
        layers = stack((9, 10, channels), filters, 3, (AveragePooling2D, "tanh"), "float32", True)
        plan, run, rng = make_plan(layers, rules=rules), Run(NUMPY, training=True), np.random.default_rng(5)
        y, saved = plan.forward(rng.standard_normal((6, 9, 10, channels)).astype(np.float32), run)
        dx = plan.backward(rng.standard_normal(y.shape).astype(np.float32), saved, run, need_dx=True)
        results.append([y, dx, *(a for layer in layers for a in (*layer.grads.values(), *layer.state.values()))])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max(initial=0))


def checked(shape, layers, kinds, directions):
    """The gradient check of a model of these layers and a dense one, which begins with steps of these types."""
    model = Sequential([Input(shape), *layers, Flatten(), Dense(2)], seed=3, dtype="float64")
    model.compile("sgd", "mse")
    assert [type(step) for step in model.plan().steps[: len(kinds)]] == kinds
    rng = np.random.default_rng(4)
    report = check_model(model, rng.standard_normal((3, *shape)), rng.standard_normal((3, 2)), directions=directions)
    report.assert_ok()
    assert len(report.not_differentiable) <= report.checked // 10
    return model.plan().steps


@pytest.mark.parametrize("pooled_by", POOLED)
def test_gradients_against_differences(pooled_by):
    """Every entry, those of a convolution before the step too."""
    pool, activation = pooled_by
    layers = [Conv2D(3, 2), Conv2D(16, 2, activation=activation), BatchNormalization(), pool(2)]
    checked((6, 6, 2), layers, [ConvolutionStep, NormalizedConvolutionStep], None)


def test_gradients_by_winograds_algorithm_against_differences():
    layers = [Conv2D(48, 3, padding="same", activation="tanh") for _ in range(2)]
    layers += [BatchNormalization(), MaxPooling2D(2)]
    steps = checked((6, 6, 48), layers, [WinogradStep, NormalizedConvolutionStep], 20)
    assert type(steps[1].convolution) is WinogradStep


@pytest.mark.parametrize(("channels", "filters"), WAYS)
def test_bits_do_not_depend_on_the_number_of_threads(channels, filters, threads):
    layers = stack((13, 13, channels), filters, 3, POOLED[1], "float32")
    assert type(make_plan(layers).steps[0]) is (WinogradStep if channels == 32 else ConvolutionStep)
    x = np.random.default_rng(5).standard_normal((37, 13, 13, channels)).astype("float32")
    results = []
    for count in (1, 2):
        threads(count)
        results.append(make_plan(layers).predict(x, Run(NUMPY)))
    np.testing.assert_array_equal(*results)


def test_one_image_is_cut_into_bands():
    layers = stack((28, 28, 1), 6, 5, POOLED[3], "float32")
    x = np.random.default_rng(6).standard_normal((9, 28, 28, 1)).astype("float32")
    step, run = make_plan(layers).steps[0], replace(Run(NUMPY), keep=False)
    together = step.forward(x, run)[0].copy()
    for k in range(9):
        np.testing.assert_array_equal(step.forward(x[k : k + 1], run)[0][0], together[k])
