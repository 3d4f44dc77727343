"""What holds for every layer with every option."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from minicnn import gradcheck
from minicnn.errors import MinicnnError
from minicnn.kernels import NUMPY
from minicnn.layers import LAYERS, BatchNormalization, Dropout, InputLayer, Run
from tests.layers.cases import CASES, run

KERNELS = ["numpy", "numba"]
MODES = [False, True]


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return request.param


def test_every_layer_has_a_case():
    assert {case.cls for case in CASES} == set(LAYERS.values())


def test_cases_reach_every_argument_of_the_constructors():
    """Each option that a layer's config lists is set by some case, or it is one of those that every layer has."""
    common = {"name", "dtype", "trainable", "data_format", "noise_shape"}
    for cls in LAYERS.values():
        own = [case for case in CASES if case.cls is cls]
        set_somewhere = {key for case in own for key in case.options}
        untested = set(own[0].make(None).get_config()) - common - set_somewhere
        assert not untested - {"moving_mean_initializer", "moving_variance_initializer", "gamma_initializer"}, cls


def test_a_run_at_another_place_differs_in_that_alone():
    run = Run(NUMPY, training=True, seed=3, step=5, position=7, keep=False, made={}, samples=9)
    assert run.at(2) == replace(run, position=2)


@pytest.mark.parametrize("training", MODES)
@pytest.mark.parametrize("kernels", KERNELS)
def test_backward_is_the_derivative_of_forward(case, kernels, training):
    report = gradcheck.check_layer(case.built(), case.batch(2), kernels=kernels, training=training, seed=1)
    report.assert_ok()
    assert not report.not_differentiable
    size = 2 * int(np.prod(case.sample)) + sum(w.size for w in case.built().params.values())
    assert report.checked == size


@pytest.mark.parametrize("training", MODES)
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_and_dtypes(case, dtype, kernels, training):
    for n in (3, 1, 0):
        layer = case.built(dtype)
        x = case.batch(n, dtype)
        y, saved = layer.forward(x, run(kernels, training))
        assert layer.output_shape(case.sample) == case.output
        assert y.shape == (n, *case.output)
        assert y.dtype == dtype
        dx = layer.backward(np.ones_like(y), saved, run(kernels, training))
        assert dx.shape == x.shape
        assert dx.dtype == dtype
        for array in (y, dx):
            assert array.flags.c_contiguous
            assert np.isfinite(array).all()
        for name, weights in layer.params.items():
            assert layer.grads[name].shape == weights.shape
            assert layer.grads[name].dtype == weights.dtype == dtype
            assert n or not layer.grads[name].any(), "no samples, no gradient"
        assert all(array.dtype == dtype for array in layer.state.values())


def test_kernel_sets_agree(case):
    results = []
    for kernels in KERNELS:
        layer = case.built()
        y, saved = layer.forward(case.batch(), run(kernels, training=True))
        dx = layer.backward(np.cos(np.arange(y.size)).reshape(y.shape), saved, run(kernels, training=True))
        results.append([y, dx, *layer.grads.values(), *layer.state.values()])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("training", MODES)
@pytest.mark.parametrize("kernels", KERNELS)
def test_a_pass_changes_only_grads_and_state(case, kernels, training):
    layer = case.built()
    x = case.batch()
    params = {name: array.copy() for name, array in layer.params.items()}
    state = {name: array.copy() for name, array in layer.state.items()}
    y, saved = layer.forward(x, run(kernels, training))
    dy = np.cos(np.arange(y.size)).reshape(y.shape)
    before = x.copy(), y.copy(), dy.copy()
    keys = set(vars(layer))
    layer.backward(dy, saved, run(kernels, training))
    for array, values in zip((x, y, dy), before, strict=True):
        np.testing.assert_array_equal(array, values)
    np.testing.assert_array_equal(x, case.batch())
    for name, array in layer.params.items():
        np.testing.assert_array_equal(array, params[name])
    moves = isinstance(layer, BatchNormalization) and training and layer.trainable
    for name, array in layer.state.items():
        assert np.array_equal(array, state[name]) is not moves
    assert set(vars(layer)) == keys


@pytest.mark.parametrize("kernels", KERNELS)
def test_read_only_arrays_are_taken(case, kernels):
    """A caller's arrays may be memory maps or views that cannot be written."""
    layer, results = case.built(), []
    for writeable in (True, False):
        x = case.batch()
        x.flags.writeable = writeable
        y, saved = layer.forward(x, run(kernels))
        dy = np.cos(np.arange(y.size)).reshape(y.shape).astype(y.dtype)
        dy.flags.writeable = writeable
        dx = layer.backward(dy, saved, run(kernels))
        results.append([y.copy(), dx.copy(), *(gradient.copy() for gradient in layer.grads.values())])
        np.testing.assert_array_equal(x, case.batch())
    for theirs, ours in zip(*results, strict=True):
        np.testing.assert_array_equal(theirs, ours)


@pytest.mark.parametrize("training", MODES)
@pytest.mark.parametrize("kernels", KERNELS)
def test_without_dx_the_gradients_are_the_same(case, kernels, training):
    layer = case.built()
    y, saved = layer.forward(case.batch(), run(kernels, training))
    assert layer.backward(np.ones_like(y), saved, run(kernels, training), need_dx=False) is None
    without = {name: array.copy() for name, array in layer.grads.items()}
    layer.backward(np.ones_like(y), saved, run(kernels, training))
    for name, array in layer.grads.items():
        np.testing.assert_allclose(array, without[name], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("kernels", KERNELS)
def test_gradients_are_overwritten_not_added_to(case, kernels):
    layer = case.built()
    y, saved = layer.forward(case.batch(), run(kernels))
    layer.backward(np.ones_like(y), saved, run(kernels))
    first = {name: array.copy() for name, array in layer.grads.items()}
    arrays = dict(layer.grads)
    layer.backward(np.ones_like(y), saved, run(kernels))
    for name, array in first.items():
        np.testing.assert_array_equal(layer.grads[name], array)
        assert layer.grads[name] is arrays[name], "the optimizer's views must stay the layer's arrays"


def test_samples_do_not_see_each_other_in_inference(case):
    layer = case.built()
    x = case.batch(3)
    whole, _ = layer.forward(x, run())
    for k in range(3):
        one, _ = layer.forward(np.ascontiguousarray(x[k : k + 1]), run())
        np.testing.assert_allclose(one[0], whole[k], rtol=1e-13, atol=1e-13)


def test_config_round_trip(case):
    layer = case.built()
    config = layer.get_config()
    as_json = json.loads(json.dumps(config))  # what a file holds: tuples become lists
    for given in (config, as_json):
        twin = case.cls.from_config(dict(given))
        assert twin.get_config() == config
        assert twin.name == layer.name
        twin.ensure_built(case.sample, np.dtype("float64"), np.random.default_rng(5))
        twin.set_weights(layer.get_weights())
        for training in MODES:
            x = case.batch()
            np.testing.assert_array_equal(
                twin.forward(x, run(training=training))[0], layer.forward(x, run(training=training))[0]
            )
        assert {k: (type(r), r.get_config()) for k, r in twin.regularizers.items()} == {
            k: (type(r), r.get_config()) for k, r in layer.regularizers.items()
        }
    assert config == layer.get_config()


def test_building_is_repeatable_and_once_only(case):
    first, second = case.make(), case.make()
    for layer in (first, second):
        layer.ensure_built(case.sample, np.dtype("float64"), np.random.default_rng(3))
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    before = first.get_weights()
    first.ensure_built(case.sample, np.dtype("float64"), np.random.default_rng(4))  # built already: nothing happens
    for a, b in zip(first.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert first.count_params() == sum(w.size for w in before)
    with pytest.raises(MinicnnError, match="is built for input"):
        first.ensure_built((*case.sample, 1), np.dtype("float64"), np.random.default_rng(4))


def test_a_float32_layer_does_not_go_into_a_float64_model(case):
    if case.cls is InputLayer:
        return  # its dtype is that of the data, which are cast
    layer = case.make("float32")
    with pytest.raises(MinicnnError, match="float32"):
        layer.ensure_built(case.sample, np.dtype("float64"), np.random.default_rng(0))
    assert not layer.built
    assert not layer.params


@pytest.mark.parametrize("training", MODES)
def test_nan_goes_through(case, training):
    """Non-finite values are caught at the border of fit; a layer hands them on."""
    layer = case.built()
    x = case.batch()
    x[1] = np.nan
    for kernels in KERNELS:
        y, _ = layer.forward(x, run(kernels, training))
        assert np.isnan(y[1]).any()
        if not (isinstance(layer, BatchNormalization) and training):
            assert not np.isnan(y[[0, 2]]).any()
        if not isinstance(layer, Dropout):
            assert np.isnan(y[1]).all() or case.output != case.sample


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "InputLayer"])
def test_its_docstring_teaches_both_passes(name):
    """What the layer computes, and how the gradient follows from that, with the shapes of what goes through."""
    text = LAYERS[name].__doc__
    forward, backward = text.index("    forward"), text.index("backward")
    assert forward < backward
    assert "Shapes:" in text or "args and shapes: as" in text.lower() or re.match(r"\(N, ", text) or name == "Reshape"
    if name != "Reshape":  # which refers to Flatten
        assert "dL/d" in text[backward:]
