"""Numbers worked out by hand or observed in Keras, layer by layer; how layers are named, called and given weights."""

import numpy as np
import pytest

from minicnn import layers as L
from minicnn import naming
from tests.layers.cases import run

KERNELS = ["numpy", "numba"]


def column(*values):
    return np.array(values, np.float64).reshape(-1, 1)


def forward(layer, x, kernels="numba", **more):
    x = np.ascontiguousarray(x, np.float64)
    layer.ensure_built(x.shape[1:], np.dtype("float64"), np.random.default_rng(0))
    return layer.forward(x, run(kernels, **more))


def gradient(layer, x, dy, kernels="numba", **more):
    """dL/dx for dL/dy = dy."""
    y, saved = forward(layer, x, kernels, **more)
    return layer.backward(np.broadcast_to(np.asarray(dy, np.float64), y.shape).copy(), saved, run(kernels, **more))


@pytest.mark.parametrize("kernels", KERNELS)
def test_batch_normalization_in_training(kernels):
    """Observed in Keras 3: the output, and the moving averages with the biased variance."""
    layer = L.BatchNormalization()
    x = np.array([1.0, 2, 3, 6]).reshape(2, 2, 1, 1)
    y, _ = forward(layer, x, kernels, training=True)
    np.testing.assert_allclose(y.ravel(), [-1.0688924, -0.5344462, 0, 1.6033385], atol=5e-8)
    np.testing.assert_allclose(layer.state["moving_mean"], [0.03], rtol=1e-14)
    np.testing.assert_allclose(layer.state["moving_variance"], [1.025], rtol=1e-14)
    y, _ = forward(layer, x, kernels)  # inference: (x − 0.03)/√(1.025 + 0.001)
    np.testing.assert_allclose(y.ravel(), (np.array([1, 2, 3, 6]) - 0.03) / np.sqrt(1.026), rtol=1e-14)
    np.testing.assert_allclose(layer.state["moving_mean"], [0.03], rtol=1e-14)


def test_batch_normalization_of_one_sample_has_variance_zero():
    layer = L.BatchNormalization()
    y, _ = forward(layer, [[5.0]], training=True)
    assert y.item() == 0
    np.testing.assert_allclose(layer.state["moving_variance"], [0.99], rtol=1e-14)


def test_frozen_batch_normalization_infers_even_in_training():
    layer = L.BatchNormalization(trainable=False)
    y, _ = forward(layer, column(1, 2, 3), training=True)
    np.testing.assert_allclose(y, column(1, 2, 3) / np.sqrt(1.001), rtol=1e-14)
    np.testing.assert_array_equal(layer.state["moving_mean"], [0])
    np.testing.assert_array_equal(layer.state["moving_variance"], [1])


def test_an_empty_batch_leaves_the_moving_averages():
    layer = L.BatchNormalization()
    assert forward(layer, np.zeros((0, 3)), training=True)[0].shape == (0, 3)
    np.testing.assert_array_equal(layer.state["moving_mean"], [0, 0, 0])
    np.testing.assert_array_equal(layer.state["moving_variance"], [1, 1, 1])


@pytest.mark.parametrize("kernels", KERNELS)
def test_dropout(kernels):
    layer, x = L.Dropout(0.25), np.ones((40, 50))
    y, _ = forward(layer, x, kernels, training=True, seed=1)
    assert set(np.unique(y)) == {0.0, 4 / 3}
    np.testing.assert_array_equal(gradient(layer, x, 1, kernels, training=True, seed=1), y)  # the same mask
    np.testing.assert_array_equal(forward(layer, x, kernels)[0], x)
    np.testing.assert_array_equal(gradient(layer, x, 3, kernels), 3 * x)


def test_dropouts_mask_is_a_function_of_seed_step_and_position_unless_the_layer_has_a_seed():
    x = np.ones((20, 20))

    def mask(layer, **more):
        return forward(layer, x, training=True, **more)[0]

    first = mask(L.Dropout(0.5), seed=1, step=2, position=3)
    np.testing.assert_array_equal(mask(L.Dropout(0.5), seed=1, step=2, position=3), first)
    for other in ({"seed": 2, "step": 2, "position": 3}, {"seed": 1, "step": 3, "position": 3}, {"seed": 1, "step": 2}):
        assert not np.array_equal(mask(L.Dropout(0.5), **other), first)
    own = mask(L.Dropout(0.5, seed=9), seed=1)
    np.testing.assert_array_equal(mask(L.Dropout(0.5, seed=9), seed=2), own)
    assert not np.array_equal(mask(L.Dropout(0.5, seed=9), seed=2, step=1), own)


def test_dropout_of_everything_and_of_nothing():
    x = np.arange(1.0, 7).reshape(2, 3)
    np.testing.assert_array_equal(forward(L.Dropout(1), x, training=True)[0], 0 * x)
    np.testing.assert_array_equal(gradient(L.Dropout(1), x, 1, training=True), 0 * x)
    np.testing.assert_array_equal(forward(L.Dropout(0), x, training=True)[0], x)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(
    ("layer", "x", "y", "slopes"),
    [
        (L.ReLU(), [-1, 0, 2], [0, 0, 2], [0, 0, 1]),
        (L.ReLU(max_value=6), [-1, 0, 5, 6, 7], [0, 0, 5, 6, 6], [0, 0, 1, 0, 0]),
        (L.ReLU(negative_slope=0.5), [-2, 0, 2], [-1, 0, 2], [0.5, 0.5, 1]),
        (L.ReLU(threshold=1), [-1, 1, 1.5], [0, 0, 1.5], [0, 0, 1]),
        (L.ReLU(4, 0.5, 1), [-1, 1, 3, 9], [-1, 0, 3, 4], [0.5, 0, 1, 0]),
        (L.ReLU(max_value=6), [-np.inf, np.inf], [0, 6], [0, 0]),
        (L.LeakyReLU(), [-10, 0, 2], [-3, 0, 2], [0.3, 0.3, 1]),
        (L.LeakyReLU(alpha=0.5), [-10, 2], [-5, 2], [0.5, 1]),
        (L.LeakyReLU(0.5, alpha=None), [-10, 2], [-5, 2], [0.5, 1]),
    ],
)
def test_rectifiers(layer, x, y, slopes, kernels):
    np.testing.assert_allclose(forward(layer, column(*x), kernels)[0], column(*y), rtol=1e-15)
    np.testing.assert_allclose(gradient(layer, column(*x), 1, kernels), column(*slopes), rtol=1e-15)


def test_global_pooling():
    x = np.arange(12.0).reshape(1, 2, 3, 2)
    np.testing.assert_array_equal(forward(L.GlobalMaxPooling2D(), x)[0], [[10, 11]])
    np.testing.assert_array_equal(forward(L.GlobalAveragePooling2D(), x)[0], [[5, 6]])
    np.testing.assert_array_equal(forward(L.GlobalAveragePooling2D(keepdims=True), x)[0], [[[[5, 6]]]])
    np.testing.assert_allclose(gradient(L.GlobalAveragePooling2D(), x, 1), np.full_like(x, 1 / 6), rtol=1e-15)


@pytest.mark.parametrize("kernels", KERNELS)
def test_equal_largest_values_of_a_whole_map_share_the_gradient(kernels):
    """As TensorFlow's reduce_max, and unlike MaxPooling2D."""
    x = np.array([5.0, 1, 5, 2]).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(gradient(L.GlobalMaxPooling2D(), x, 6, kernels).ravel(), [3, 0, 3, 0])
    np.testing.assert_array_equal(gradient(L.MaxPooling2D(2), x, 6, kernels).ravel(), [6, 0, 0, 0])


def test_shapes_are_read_in_row_major_order():
    x = np.arange(12.0).reshape(1, 2, 3, 2)
    np.testing.assert_array_equal(forward(L.Flatten(), x)[0], [np.arange(12.0)])
    np.testing.assert_array_equal(forward(L.Reshape((4, 3)), x)[0], np.arange(12.0).reshape(1, 4, 3))
    padded, _ = forward(L.ZeroPadding2D(((1, 0), (0, 2))), x)
    assert padded.shape == (1, 3, 5, 2)
    np.testing.assert_array_equal(padded[:, 1:, :3], x)
    assert padded.sum() == x.sum()


def test_rescaling_and_softmax():
    np.testing.assert_array_equal(forward(L.Rescaling(2, offset=-1), [[0.0, 3]])[0], [[-1, 5]])
    x = np.log(np.array([[[1.0, 2], [3, 6]]]))
    np.testing.assert_allclose(forward(L.Softmax(), x)[0], [[[1 / 3, 2 / 3], [1 / 3, 2 / 3]]], rtol=1e-15)
    np.testing.assert_allclose(forward(L.Softmax(axis=1), x)[0], [[[0.25, 0.25], [0.75, 0.75]]], rtol=1e-15)


def test_dense_on_more_dimensions_works_at_each_position_alike():
    layer, x = L.Dense(3, activation="tanh"), np.random.default_rng(0).standard_normal((2, 4, 5, 6))
    y, _ = forward(layer, x)
    for place in np.ndindex(2, 4, 5):
        np.testing.assert_allclose(y[place], np.tanh(x[place] @ layer.params["kernel"]), rtol=1e-13)


# ---------------------------------------------------------------- names, calls, weights


def test_automatic_names_count_each_class():
    naming.reset()
    names = [
        layer.name for layer in (L.Conv2D(1, 1), L.Dense(1), L.Conv2D(1, 1), L.ReLU(), L.MaxPool2D(), L.Conv2D(1, 1))
    ]
    assert names == ["conv2d", "dense", "conv2d_1", "re_lu", "max_pooling2d", "conv2d_2"]
    assert L.Dense(1, name="mine").name == "mine"


def test_the_spellings_of_an_input_shape():
    for given in (
        {"input_shape": (4, 5, 1)},
        {"batch_input_shape": (None, 4, 5, 1)},
        {"batch_shape": [None, 4, 5, 1]},
        {"input_shape": [np.int64(4), 5, 1]},
    ):
        assert L.Conv2D(2, 3, **given).declared_input_shape == (4, 5, 1)
    assert L.Dense(2, input_dim=7).declared_input_shape == (7,)
    assert L.Dense(2).declared_input_shape is None
    assert L.Input((28, 28, 1)).declared_input_shape == (28, 28, 1)
    assert L.Dense(2, input_dim=7, input_shape=(7,)).declared_input_shape == (7,)
    assert L.Dense(2, input_dim=None, batch_shape=None).declared_input_shape is None
    for dtype in ("uint8", "float64", np.int32, bool, np.dtype("float16")):
        layer = L.Input(shape=(28, 28, 1), dtype=dtype)
        assert layer.declared_input_shape == (28, 28, 1)
        assert layer.get_config()["dtype"] == "float32"  # of the model, which casts the data
    assert L.Input((4,), None, "float32", None, None, None, "images", None, False).name == "images"
    assert L.InputLayer((4,), sparse=False, ragged=False).declared_input_shape == (4,)


def test_calling_a_layer_on_an_array():
    layer = L.Dense(2, kernel_initializer="ones")
    y = layer(np.array([[1, 2], [3, 4]]))  # integers are cast
    np.testing.assert_array_equal(y, np.array([[3, 3], [7, 7]], np.float32), strict=True)
    assert layer.built
    assert layer.input_shape == (2,)  # without the batch
    assert list(layer.weights()) == ["kernel", "bias"]  # a method, and a dict
    assert (L.Dropout(0.5)(np.ones((9, 9)), training=True) == 0).any()


def test_weights_go_in_and_out_as_copies_in_keras_order():
    layer = L.BatchNormalization(dtype="float64")
    forward(layer, np.ones((2, 3)))
    assert list(layer.weights()) == ["gamma", "beta", "moving_mean", "moving_variance"]
    new = [np.arange(3.0) + k for k in range(4)]
    layer.set_weights(new)
    new[0][:] = -1
    np.testing.assert_array_equal(layer.params["gamma"], [0, 1, 2])
    layer.get_weights()[0][:] = -1
    np.testing.assert_array_equal(layer.params["gamma"], [0, 1, 2])
    assert list(L.LAYERS["Conv2D"](2, 3).weights()) == []
    conv = L.Conv2D(2, 3)
    forward(conv, np.ones((1, 4, 4, 5)))
    assert [w.shape for w in conv.get_weights()] == [(3, 3, 5, 2), (2,)]  # HWIO, then bias: Keras's arrays


def test_keras_other_names():
    assert L.MaxPool2D is L.MaxPooling2D
    assert L.AvgPool2D is L.AveragePooling2D
    assert L.Convolution2D is L.Conv2D
    assert L.Convolution2DTranspose is L.Conv2DTranspose
    assert L.SeparableConvolution2D is L.SeparableConv2D
    assert L.GlobalMaxPool2D is L.GlobalMaxPooling2D
    assert L.GlobalAvgPool2D is L.GlobalAveragePooling2D
