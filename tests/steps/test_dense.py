"""DenseStep against the layer on its own: the same numbers and derivatives, for small layers and large ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn import losses
from minicnn.gradcheck import check_model
from minicnn.kernels import NUMPY, dense, dense_tiles, dense_updates, valid_taps
from minicnn.kernels.tiles import Tiling
from minicnn.layers import Dense, Dropout, Input, Run
from minicnn.models import Sequential
from minicnn.steps.dense import DenseStep, dense_rule
from minicnn.steps.plan import LayerStep, LogitsStep, layer_rule, logits_rule, make_plan

WIDTHS = st.sampled_from([1, 2, 5, 16, 33, 70])


@pytest.fixture(params=["small", "large", "updated", "streamed", "blas"])
def size(request, monkeypatch):
    """Each way of computing, for layers of any size."""
    monkeypatch.setattr(dense, "is_large", lambda inputs, outputs: request.param in ("large", "updated"))
    monkeypatch.setattr(dense, "streaming_pays", lambda inputs, outputs: request.param == "streamed")
    if request.param == "blas":
        monkeypatch.setattr(dense, "tiling_for", lambda itemsize: None)
    if request.param == "updated":
        monkeypatch.setattr(dense, "updates_pay", lambda n, inputs, outputs, lanes: outputs % lanes == 0)
    return request.param


def built(layer, inputs, dtype="float64"):
    """The layer, built for samples of so many numbers, with a bias that is not zero."""
    Sequential([Input(shape=(inputs,)), layer], seed=1, dtype=dtype)
    if "bias" in layer.params:
        layer.params["bias"][...] = np.random.default_rng(2).standard_normal(layer.units) / 10
    return layer


def step_of(layer):
    step, taken = dense_rule([layer], 0, None)
    assert taken == 1
    return step


def passes(step, x, dy, training=True, need_dx=True):
    """y, dx (empty if not needed) and the gradients."""
    run = Run(NUMPY, training=training)
    y, saved = step.forward(x, run)
    dx = step.backward(dy.copy(), saved, run, need_dx)
    assert (dx is not None) == need_dx
    return y.copy(), np.empty(0) if dx is None else dx, *(g.copy() for g in step.layers[0].grads.values())


def random_batch(layer, n):
    rng = np.random.default_rng(3)
    return [rng.standard_normal((n, width)).astype(layer.dtype) for width in (layer.input_shape[0], layer.units)]


def assert_same(layer, n, training=True, need_dx=True):
    """The step against LayerStep on NumPy: to 1e-10 of the largest number in float64, 1e-5 in float32."""
    x, dy = random_batch(layer, n)
    wanted = passes(LayerStep(layer, 0), x, dy, training, need_dx)
    got = passes(step_of(layer), x, dy, training, need_dx)
    tolerance = 1e-10 if layer.dtype == np.float64 else 1e-5
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        assert np.abs(ours - theirs).max(initial=0) <= tolerance * np.abs(theirs).max(initial=0)


def test_any_shape(size):
    @settings(max_examples=60)
    @given(
        n=st.sampled_from([1, 2, 3, 5, 17, 37, 67]),
        inputs=WIDTHS,
        units=WIDTHS,
        activation=st.sampled_from(["linear", "relu", "tanh"]),
        dtype=st.sampled_from(["float64", "float32"]),
        use_bias=st.booleans(),
        training=st.booleans(),
        need_dx=st.booleans(),
    )
    def check(n, inputs, units, activation, dtype, use_bias, training, need_dx):
        layer = built(Dense(units, activation=activation, use_bias=use_bias), inputs, dtype)
        assert_same(layer, n, training, need_dx)

    check()


@pytest.mark.parametrize("n", [1, 2, 4, 37])
def test_the_plain_loops_are_the_same_program(size, n, monkeypatch):
    """Uncompiled, on tiles of a CPU with other vectors: two lanes, at most 3, 2, 0 and 0 rows."""
    for name, loops in (
        ("dense_few_numba", dense.dense_few),
        ("dense_blocked_numba", dense.dense_blocked),
        ("dense_backward_blocked_numba", dense.dense_backward_blocked),
        ("dense_tiled", dense_tiles.dense_tiled_loops),
        ("dense_tiled_backward", dense_tiles.dense_tiled_backward_loops),
        ("valid_taps_numba", valid_taps.valid_taps_blocked),
        ("dense_streamed_numba", dense.dense_streamed),
        ("dense_updated", dense_updates.dense_updated_blocked),
        ("valid_taps_backward_numba", valid_taps.valid_taps_backward_blocked),
    ):
        monkeypatch.setattr(dense, name, loops)
    if size != "blas":
        monkeypatch.setattr(dense, "tiling_for", lambda itemsize: Tiling(2, 3, 2, 0, 0, 4))
    for outputs in (6, 5, 1):
        for inputs in (7, 70):
            assert_same(built(Dense(outputs, activation="relu"), inputs), n)


@pytest.mark.parametrize("large", [False, True])
def test_a_cpu_without_a_vector_unit_takes_blas(monkeypatch, large):
    monkeypatch.setattr(dense, "tiling_for", lambda itemsize: None)
    monkeypatch.setattr(dense, "is_large", lambda inputs, outputs: large)
    for name in (
        *("valid_taps_numba", "dense_streamed_numba", "valid_taps_backward_numba"),
        *("dense_tiled", "dense_tiled_backward"),
    ):
        monkeypatch.setattr(dense, name, None)  # a call would fail
    for n in (1, 5):
        assert_same(built(Dense(3, activation="tanh"), 4), n)


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
@pytest.mark.parametrize("samples", [2, 3])
def test_gradients_against_differences(size, activation, samples):
    """Through two such steps, so that dx is checked by the first one's kernel; every entry."""
    layers = [Dense(8 if size == "updated" else 5, activation=activation), Dense(3)]
    model = Sequential([Input(shape=(4,)), *layers], seed=3, dtype="float64")
    model.compile("sgd", "mse", steps=["DenseStep"])
    assert [type(step) for step in model.plan().steps] == [DenseStep, DenseStep]
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((samples, 4)), rng.standard_normal((samples, 3))
    report = check_model(model, x, y, directions=None)
    report.assert_ok()
    assert len(report.not_differentiable) <= report.checked // 20


def test_bits_do_not_depend_on_the_number_of_threads(size, threads):
    wide, narrow = (160, 16) if size == "updated" else (150, 10)
    for inputs, outputs in ((333, wide), (333, narrow), (9, wide)):
        layer = built(Dense(outputs, activation="relu"), inputs, "float32")
        results = []
        for count in (1, 2):
            threads(count)
            results.append([passes(step_of(layer), *random_batch(layer, n)) for n in (1, 2, 37, 150)])
        for one, two in zip(*results, strict=True):
            assert [array.tobytes() for array in one] == [array.tobytes() for array in two]


def test_a_frozen_layer_hands_its_gradient_on(size):
    layer = built(Dense(4, trainable=False), 3)
    x, dy = random_batch(layer, 3)
    np.testing.assert_allclose(passes(step_of(layer), x, dy)[1], passes(LayerStep(layer, 0), x, dy)[1], rtol=1e-12)


def test_which_layers_are_large():
    """The sheet's: AlexNet's and the CIFAR network's wide ones, and not LeNet's or any output layer."""
    assert all(dense.is_large(*shape) for shape in [(256, 4096), (4096, 4096), (4096, 1024), (1024, 512)])
    assert not any(dense.is_large(*shape) for shape in [(1600, 10), (400, 120), (120, 84), (84, 10), (4096, 10)])


def test_the_last_layer_is_left_to_the_logits():
    layers = Sequential([Input(shape=(3,)), Dense(4, activation="relu"), Dense(2, activation="softmax")]).layers
    plan = make_plan(layers, losses.get("sparse_categorical_crossentropy"), (logits_rule, dense_rule, layer_rule))
    assert [type(step) for step in plan.steps] == [DenseStep, LogitsStep]


def test_what_is_not_taken():
    class Own(Dense):
        """A caller's own layer, which may compute anything."""

    for layer in (Own(2), Dense(2, activation="gelu"), Dense(2, activation="softmax"), Dropout(0.5)):
        assert dense_rule([built(layer, 3)], 0, None) is None
    sequence = Dense(2)
    Sequential([Input(shape=(5, 3)), sequence])
    assert dense_rule([sequence], 0, None) is None  # samples of two axes
    assert dense_rule([Dense(2)], 0, None) is None  # not built
    assert str(step_of(built(Dense(2, name="d"), 3))) == "DenseStep(Dense 'd')"
