"""ValidTapsStep against the layer on its own: the same numbers and derivatives, for every shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.gradcheck import check_model
from minicnn.kernels import NUMPY, few_images, valid_taps
from minicnn.kernels.tiles import Tiling, tiling_for
from minicnn.layers import Conv2D, Dense, Flatten, Input, MaxPooling2D, Run
from minicnn.models import Sequential
from minicnn.steps.plan import LayerStep
from minicnn.steps.valid_taps import ValidTapsStep, leaving_padding_out_pays, taps_on_the_map, valid_taps_rule

pytestmark = pytest.mark.skipif(tiling_for(4) is None, reason="no vector unit: plans never have this step here")

SIZES = st.integers(1, 4)


def built(layer, shape, dtype="float64"):
    """The layer, built for this shape, with a bias that is not zero."""
    Sequential([Input(shape=shape), layer], seed=1, dtype=dtype)
    if "bias" in layer.params:
        layer.params["bias"][...] = np.random.default_rng(2).standard_normal(layer.filters) / 10
    return layer


def step_of(layer, tiling=None):
    """The step, whether it pays or not."""
    small = built(Conv2D(1, 3, padding="same", activation=layer.activation), (2, 2, 1), str(layer.dtype))
    (like, _) = valid_taps_rule([small], 0, None)
    return ValidTapsStep(layer, layer.windows(layer.input_shape), like.code, tiling or like.tiling)


def passes(step, x, dy, training=True, need_dx=True):
    """y, dx (empty if not needed) and the gradients."""
    run = Run(NUMPY, training=training)
    y, saved = step.forward(x, run)
    dx = step.backward(dy.copy(), saved, run, need_dx)
    assert (dx is not None) == need_dx
    return y.copy(), np.empty(0) if dx is None else dx, *(g.copy() for g in step.layers[0].grads.values())


def random_batch(layer, n):
    rng = np.random.default_rng(3)
    shapes = layer.input_shape, layer.output_shape(layer.input_shape)
    return [rng.standard_normal((n, *shape)).astype(layer.dtype) for shape in shapes]


def assert_same(layer, n, step, training=True, need_dx=True):
    """The step against LayerStep on NumPy: to 1e-10 of the largest number in float64, 1e-5 in float32."""
    x, dy = random_batch(layer, n)
    wanted = passes(LayerStep(layer, 0), x, dy, training, need_dx)
    got = passes(step, x, dy, training, need_dx)
    tolerance = 1e-10 if layer.dtype == np.float64 else 1e-5
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        assert np.abs(ours - theirs).max(initial=0) <= tolerance * np.abs(theirs).max(initial=0)


@settings(max_examples=60)
@given(
    n=st.sampled_from([1, 2, 3, 5, 17]),
    shape=st.tuples(SIZES, SIZES, st.sampled_from([1, 3, 20])),
    filters=st.sampled_from([1, 5, 16, 70]),
    size=st.tuples(SIZES, st.integers(1, 5)),
    strides=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    dilated=st.booleans(),
    activation=st.sampled_from(["linear", "relu", "tanh"]),
    dtype=st.sampled_from(["float64", "float32"]),
    use_bias=st.booleans(),
    training=st.booleans(),
    need_dx=st.booleans(),
)
def test_any_shape(n, shape, filters, size, strides, dilated, activation, dtype, use_bias, training, need_dx):
    steps = {"dilation_rate": strides} if dilated else {"strides": strides}
    layer = Conv2D(filters, size, padding="same", activation=activation, use_bias=use_bias, **steps)
    built(layer, shape, dtype)
    assert_same(layer, n, step_of(layer), training, need_dx)


@pytest.mark.parametrize("filters", [5, 6])
@pytest.mark.parametrize("n", [1, 4])
def test_the_plain_loops_are_the_same_program(n, filters, monkeypatch):
    """Uncompiled, on tiles of a CPU with other vectors: two lanes, at most 3, 2, 0 and 0 rows."""
    for name, loops in (
        ("valid_taps_numba", valid_taps.valid_taps_blocked),
        ("few_images", few_images.few_images_loops),
        ("valid_taps_backward_numba", valid_taps.valid_taps_backward_blocked),
    ):
        monkeypatch.setattr(f"minicnn.steps.valid_taps.{name}", loops)
    layer = built(Conv2D(filters, 3, padding="same", activation="relu"), (2, 3, 2))
    assert_same(layer, n, step_of(layer, Tiling(2, 3, 2, 0, 0, 4)))


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
@pytest.mark.parametrize("samples", [2, 3])
def test_gradients_against_differences(activation, samples):
    """Through two such steps, so that dx is checked by the first one's kernel; every entry."""
    layers = [Conv2D(4, 3, padding="same", activation=activation), Conv2D(3, (3, 2), padding="same")]
    model = Sequential([Input(shape=(2, 2, 2)), *layers, Flatten(), Dense(2)], seed=3, dtype="float64")
    model.compile("sgd", "mse", steps=["ValidTapsStep"])
    assert [type(step) for step in model.plan().steps[:2]] == [ValidTapsStep, ValidTapsStep]
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((samples, 2, 2, 2)), rng.standard_normal((samples, 2))
    report = check_model(model, x, y, directions=None)
    report.assert_ok()
    assert len(report.not_differentiable) <= report.checked // 20


def test_bits_do_not_depend_on_the_number_of_threads(threads):
    layer = built(Conv2D(150, 3, padding="same", activation="relu"), (3, 2, 90), "float32")
    results = []
    for count in (1, 2):
        threads(count)
        results.append([passes(step_of(layer), *random_batch(layer, n)) for n in (1, 37)])
    for one, two in zip(*results, strict=True):
        assert [array.tobytes() for array in one] == [array.tobytes() for array in two]


def test_a_frozen_layer_hands_its_gradient_on():
    layer = built(Conv2D(4, 3, padding="same", trainable=False), (2, 2, 3))
    x, dy = random_batch(layer, 3)
    np.testing.assert_allclose(passes(step_of(layer), x, dy)[1], passes(LayerStep(layer, 0), x, dy)[1], rtol=1e-12)


def test_the_part_of_the_taps_that_lies_on_the_map():
    assert taps_on_the_map(size=2, out=2, window=3, stride=1, dilation=1, before=1) == 4 / 6
    assert taps_on_the_map(size=4, out=4, window=5, stride=1, dilation=1, before=2) == 14 / 20
    assert taps_on_the_map(size=1, out=1, window=3, stride=1, dilation=5, before=5) == 1 / 3
    assert taps_on_the_map(size=9, out=3, window=3, stride=3, dilation=1, before=0) == 1


@pytest.mark.parametrize(
    ("shape", "size", "pays"),
    [
        ((4, 4, 96), 5, True),  # the sheet's AlexNets, second convolution
        ((2, 2, 256), 3, True),  # and the third
        ((2, 2, 1), 3, True),
        ((4, 4, 64), 3, True),
        ((4, 4, 63), 3, False),  # 0.69 of the taps, and shallow products
        ((8, 8, 128), 3, False),  # 0.84 of the taps
        ((1, 65, 64), 3, False),  # 0.33 of the taps, but many positions
        ((28, 28, 1), 5, False),
    ],
)
def test_when_it_pays(shape, size, pays):
    layer = built(Conv2D(2, size, padding="same"), shape)
    assert leaving_padding_out_pays(shape, layer.windows(shape)) == pays
    assert (valid_taps_rule([layer], 0, None) is not None) == pays


def test_what_is_not_taken():
    class Own(Conv2D):
        """A caller's own layer, which may compute anything."""

    for layer in (Own(2, 3, padding="same"), Conv2D(2, 3, padding="same", activation="gelu"), MaxPooling2D(2)):
        assert valid_taps_rule([built(layer, (2, 2, 3))], 0, None) is None
    assert valid_taps_rule([Conv2D(2, 3, padding="same")], 0, None) is None  # not built: no map is known
    assert str(step_of(built(Conv2D(2, 3, padding="same", name="c"), (2, 2, 3)))) == "ValidTapsStep(Conv2D 'c')"


def test_no_images():
    layer = Sequential([Input((2, 2, 3)), Conv2D(4, 3, padding="same")]).layers[0]
    step, _ = valid_taps_rule([layer], 0, None)
    x = np.empty((0, 2, 2, 3), np.float32)
    y, saved = step.forward(x, Run(NUMPY))
    assert y.shape == (0, 2, 2, 4)
    layer.grads = {name: np.full_like(array, np.nan) for name, array in layer.params.items()}
    assert step.backward(y, saved, Run(NUMPY)).shape == x.shape
    assert all((gradient == 0).all() for gradient in layer.grads.values())
