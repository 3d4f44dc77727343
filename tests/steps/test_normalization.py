"""NormalizationPoolStep against its two layers on their own: the same numbers, derivatives and moving averages."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.gradcheck import check_model
from minicnn.kernels import NUMBA, NUMPY
from minicnn.layers import AveragePooling2D, BatchNormalization, Conv2D, Dense, Flatten, Input, MaxPooling2D, Run
from minicnn.models import Sequential
from minicnn.steps import normalization_kernels
from minicnn.steps.normalization import NormalizationPoolStep, normalization_pool_rule
from minicnn.steps.plan import LayerStep, Plan

POOLS = [MaxPooling2D, AveragePooling2D]
TOLERANCES = {"float64": 1e-10, "float32": 1e-5}


def stack(shape, pool, dtype, **options):
    """The two layers, built, with gammas of both signs and one of 0, and moving averages away from their start."""
    layers = Sequential([Input(shape), BatchNormalization(**options), pool(2)], seed=1, dtype=dtype).layers
    layer, rng = layers[0], np.random.default_rng(2)
    if layer.scale:
        layer.params["gamma"][...] = rng.standard_normal(shape[2])
        layer.params["gamma"][-1] = 0 if shape[2] > 2 else -1
    if layer.center:
        layer.params["beta"][...] = rng.standard_normal(shape[2])
    layer.state["moving_mean"][...] = rng.standard_normal(shape[2])
    layer.state["moving_variance"][...] = 0.5 + rng.random(shape[2])
    return layers


def steps_of(layers):
    return [LayerStep(layer, k) for k, layer in enumerate(layers)]


def passes(steps, x, dy, run):
    """y, dx, the gradients and the moving averages after it, from these steps one after the other."""
    layer, kept = steps[0].layers[0], []
    state = {name: array.copy() for name, array in layer.state.items()}
    for array in layer.grads.values():
        array[...] = np.nan
    for step in steps:
        x, saved = step.forward(x, run)
        kept.append(saved)
    y, dy = x.copy(), dy.copy()
    for step, saved in zip(reversed(steps), reversed(kept), strict=True):
        dy = step.backward(dy, saved, run)
    moved = {name: array.copy() for name, array in layer.state.items()}
    for name, array in layer.state.items():
        array[...] = state[name]
    return {"y": y, "dx": dy, **{k: v.copy() for k, v in layer.grads.items()}, **moved}


def assert_same(layers, x, dy, training, tolerance):
    """The step with compiled kernels against the layers with NumPy's."""
    wanted = passes(steps_of(layers), x, dy, Run(NUMPY, training=training))
    got = passes([NormalizationPoolStep(*layers)], x, dy, Run(NUMBA, training=training))
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        assert (got[name].shape, got[name].dtype) == (value.shape, value.dtype)
        largest = max(np.abs(value).max(initial=0), 1e-3)
        assert np.abs(got[name] - value).max(initial=0) <= tolerance * largest, name


@st.composite
def problems(draw):
    n, h, w, channels = draw(st.tuples(*[st.integers(low, high) for low, high in ((1, 7), (2, 9), (2, 9), (1, 40))]))
    dtype = draw(st.sampled_from(list(TOLERANCES)))
    options = {"scale": draw(st.booleans()), "center": draw(st.booleans()), "trainable": draw(st.booleans())}
    layers = stack((h, w, channels), draw(st.sampled_from(POOLS)), dtype, **options)
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    x = rng.standard_normal((n, h, w, channels)).astype(dtype) + draw(st.sampled_from([0, 3]))
    dy = rng.standard_normal((n, h // 2, w // 2, channels)).astype(dtype)
    return layers, x.astype(dtype), dy


@given(problems(), st.booleans())
def test_any_shape(problem, training):
    layers, x, dy = problem
    assert_same(layers, x, dy, training, TOLERANCES[x.dtype.name])


@pytest.mark.parametrize("shape", [(128, 8, 8, 64), (40, 12, 12, 16), (33, 9, 11, 6)])
@pytest.mark.parametrize("pool", POOLS)
def test_shapes_of_the_sheet(shape, pool):
    """Many blocks of rows and whole vectors, in float32."""
    layers, rng = stack(shape[1:], pool, "float32"), np.random.default_rng(3)
    x = np.maximum(rng.standard_normal(shape), 0).astype(np.float32)  # relu's zeros: many ties
    dy = rng.standard_normal((shape[0], shape[1] // 2, shape[2] // 2, shape[3])).astype(np.float32)
    assert_same(layers, x, dy, True, 1e-5)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("training", [True, False])
def test_the_plain_loops_are_the_same_program(pool, training, monkeypatch):
    for name in ("normalized_pool", "normalized_pool_backward"):
        monkeypatch.setattr(f"minicnn.steps.normalization.{name}", getattr(normalization_kernels, f"{name}_loops"))
    rng = np.random.default_rng(4)
    x, dy = rng.standard_normal((2, 5, 7, 3)), rng.standard_normal((2, 2, 3, 3))
    assert_same(stack((5, 7, 3), pool, "float64"), x, dy, training, 1e-12)


@pytest.mark.parametrize("gamma", [2.0, -2.0, 0.0])
def test_ties_and_signs(gamma):
    """Which pixel wins: of x with gamma > 0 the first largest, with gamma < 0 the first smallest, with 0 the first."""
    layers = stack((2, 2, 16), MaxPooling2D, "float64")
    layer = layers[0]
    layer.params["gamma"][...], layer.params["beta"][...] = gamma, 1
    layer.state["moving_mean"][...], layer.state["moving_variance"][...] = 0, 1 - layer.epsilon
    pixels = {2.0: [1, 5, 5, 0], -2.0: [1, -3, 0, -3], 0.0: [1, 2, 3, 4]}[gamma]
    winner = {2.0: 1, -2.0: 1, 0.0: 0}[gamma]
    x = np.repeat(np.array(pixels, float), 16).reshape(1, 2, 2, 16)
    got = passes([NormalizationPoolStep(*layers)], x, np.ones((1, 1, 1, 16)), Run(NUMBA))
    np.testing.assert_allclose(got["y"].ravel(), 1 + gamma * pixels[winner], rtol=1e-15)
    expected = np.zeros((4, 16))
    expected[winner] = gamma
    np.testing.assert_allclose(got["dx"].reshape(4, 16), expected, rtol=1e-15)
    np.testing.assert_allclose(got["gamma"], pixels[winner], rtol=1e-15)
    np.testing.assert_array_equal(got["beta"], np.ones(16))


@pytest.mark.parametrize("training", [True, False])
def test_nan_wins_as_it_does_in_the_layers(training):
    layers = stack((4, 4, 16), MaxPooling2D, "float64")
    rng = np.random.default_rng(5)
    x, dy = rng.standard_normal((2, 4, 4, 16)), rng.standard_normal((2, 2, 2, 16))
    x[0, 0, 1, 3] = x[0, 1, 0, 3] = x[1, 3, 3, 5] = np.nan
    wanted = passes(steps_of(layers), x, dy, Run(NUMPY, training=training))
    got = passes([NormalizationPoolStep(*layers)], x, dy, Run(NUMBA, training=training))
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-10, atol=1e-12, err_msg=name)


def test_predicting_keeps_nothing_and_gives_the_same():
    layers = stack((6, 6, 16), MaxPooling2D, "float32")
    x = np.random.default_rng(6).standard_normal((3, 6, 6, 16)).astype(np.float32)
    step = NormalizationPoolStep(*layers)
    y, (_, picked, *_) = step.forward(x, Run(NUMBA, keep=False))
    assert picked.size == 0
    np.testing.assert_array_equal(y, step.forward(x, Run(NUMBA))[0])
    np.testing.assert_array_equal(y, Plan((step,)).predict(x, Run(NUMBA)))


def test_the_gradients_alone():
    layers, rng = stack((4, 4, 16), MaxPooling2D, "float64"), np.random.default_rng(7)
    step, run = NormalizationPoolStep(*layers), Run(NUMBA, training=True)
    _, saved = step.forward(rng.standard_normal((2, 4, 4, 16)), run)
    layers[0].grads["gamma"][...] = np.nan
    assert step.backward(rng.standard_normal((2, 2, 2, 16)), saved, run, need_dx=False) is None
    assert np.isfinite(layers[0].grads["gamma"]).all()


def test_no_samples():
    for pool in POOLS:
        layers = stack((4, 4, 16), pool, "float32")
        got = passes(
            [NormalizationPoolStep(*layers)],
            np.zeros((0, 4, 4, 16), np.float32),
            np.zeros((0, 2, 2, 16), np.float32),
            Run(NUMBA, training=True),
        )
        assert (got["y"].shape, got["dx"].shape) == ((0, 2, 2, 16), (0, 4, 4, 16))
        np.testing.assert_array_equal(got["gamma"], np.zeros(16))
        np.testing.assert_array_equal(got["moving_mean"], layers[0].state["moving_mean"])


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("training", [True, False])
def test_gradients_against_differences(pool, training, monkeypatch):
    """Every entry, through the step between a convolution and a dense layer; an odd map, gammas of both signs."""
    layers = [Conv2D(16, 2), BatchNormalization(), pool(2), Flatten(), Dense(2)]
    model = Sequential([Input((6, 8, 1)), *layers], seed=3, dtype="float64")
    model.compile("sgd", "mse")
    layers[1].params["gamma"][...] = np.random.default_rng(8).standard_normal(16)
    with_the_step = plan_with_the_step(model)
    monkeypatch.setattr(model, "_plan", lambda loss: with_the_step)
    rng = np.random.default_rng(9)
    x, y = rng.standard_normal((3, 6, 8, 1)), rng.standard_normal((3, 2))
    report = check_model(model, x, y, training=training, directions=None)
    report.assert_ok()
    assert len(report.not_differentiable) <= report.checked // 20


def plan_with_the_step(model):
    plan = model.plan()
    steps = [LayerStep(layer, k) for k, layer in enumerate(model.layers)]
    step, taken = normalization_pool_rule(model.layers, 1, model.loss)
    assert taken == 2
    return Plan((steps[0], step, *steps[3:]), plan.loss, plan.output)


def test_bits_do_not_depend_on_the_number_of_threads(threads):
    rng = np.random.default_rng(10)
    for pool in POOLS:
        layers = stack((11, 12, 24), pool, "float32")
        x = rng.standard_normal((37, 11, 12, 24)).astype(np.float32)
        dy = rng.standard_normal((37, 5, 6, 24)).astype(np.float32)
        results = []
        for count in (1, 2):
            threads(count)
            results.append(passes([NormalizationPoolStep(*layers)], x, dy, Run(NUMBA, training=True)))
        for name, value in results[0].items():
            np.testing.assert_array_equal(results[1][name], value)


class Own(BatchNormalization):
    """A caller's own layer: what it does in forward must be done."""


@pytest.mark.parametrize(
    ("layers", "taken"),
    [
        ([BatchNormalization(), MaxPooling2D(2)], 2),
        ([BatchNormalization(axis=3), AveragePooling2D((2, 2), strides=2)], 2),
        ([BatchNormalization(), MaxPooling2D(2, padding="same")], 2),
        ([BatchNormalization(axis=1), MaxPooling2D(2)], None),
        ([BatchNormalization(), MaxPooling2D(3, strides=2)], None),
        ([BatchNormalization(), MaxPooling2D(2, strides=1)], None),
        ([BatchNormalization(), Conv2D(4, 2)], None),
        ([Own(), MaxPooling2D(2)], None),
        ([MaxPooling2D(2), BatchNormalization()], None),
        ([BatchNormalization()], None),
    ],
)
def test_what_is_taken(layers, taken):
    model = Sequential([Input((8, 6, 16)), *layers])
    answer = normalization_pool_rule(model.layers, 0, None)
    assert taken == (answer and answer[1])
    if answer:
        assert str(answer[0]) == f"NormalizationPoolStep({layers[0]}, {layers[1]})"
        assert list(answer[0].layers) == layers


def test_what_leaves_windows_open_or_short_of_channels_is_not_taken():
    for shape, pool in (((7, 6, 16), MaxPooling2D(2, padding="same")), ((8, 8, 6), MaxPooling2D(2))):
        assert normalization_pool_rule(Sequential([Input(shape), BatchNormalization(), pool]).layers, 0, None) is None
    few = Sequential([Input((7, 7, 6)), BatchNormalization(), AveragePooling2D(2)]).layers
    assert normalization_pool_rule(few, 0, None) is not None
