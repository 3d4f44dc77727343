"""The gradient check finds what is wrong, says where, and is not fooled by kinks. Then: whole models."""

import numpy as np
import pytest

import minicnn
from minicnn import activations, gradcheck, layers, losses
from minicnn.applications import lenet5
from minicnn.errors import ConfigError, DataError, MinicnnError, NotCompiledError, ShapeError
from minicnn.gradcheck import GradientError, check_activation, check_layer, check_loss, check_model

KERNELS = ["numpy", "numba"]

# ---------------------------------------------------------------- what a check finds


class Square(layers.Layer):
    """y = w·x², with a mistake put in on demand."""

    def __init__(self, mistake=lambda dx, dw: (dx, dw), **kwargs):
        super().__init__(**kwargs)
        self.mistake = mistake

    def build(self, input_shape, dtype, rng):
        self.params["w"] = rng.uniform(1, 2, input_shape).astype(dtype)
        self.grads["w"] = np.full(input_shape, 7.0, dtype)
        self.state["passes"] = np.zeros(1, dtype)

    def forward(self, x, run):
        self.state["passes"] += 1
        return self.params["w"] * x**2, x

    def backward(self, dy, saved, run, need_dx=True):
        dx, self.grads["w"][...] = self.mistake(2 * self.params["w"] * saved * dy, (dy * saved**2).sum(axis=0))
        return dx


def altered(array, index, factor):
    array = array.copy()
    array[index] *= factor
    return array


def test_a_right_layer_passes_and_is_left_as_it_was():
    layer = Square(name="square")
    layer.ensure_built((3,), np.dtype("float64"), np.random.default_rng(0))
    weights, grads = layer.params["w"], layer.grads["w"]
    before = weights.copy()
    report = check_layer(layer, (2, 3))
    assert report.passed
    assert report.checked == 9
    assert report.failed == 0
    assert report.worst.error < 1e-9
    assert report.not_differentiable == ()
    assert str(report).startswith("Square 'square' (inference, numba): 9 agree; worst ")
    report.assert_ok()
    assert layer.params["w"] is weights
    np.testing.assert_array_equal(weights, before)
    np.testing.assert_array_equal(grads, [7, 7, 7])
    np.testing.assert_array_equal(layer.state["passes"], [0])


@pytest.mark.parametrize(
    ("mistake", "array", "index"),
    [
        (lambda dx, dw: (altered(dx, (1, 2), 1 + 1e-5), dw), "x", (1, 2)),
        (lambda dx, dw: (altered(dx, (0, 0), -1), dw), "x", (0, 0)),
        (lambda dx, dw: (dx, altered(dw, 1, 1 - 1e-5)), "w", (1,)),
        (lambda dx, dw: (dx, altered(dw, 2, 0)), "w", (2,)),
        (lambda dx, dw: (dx, altered(dw, 0, np.nan)), "w", (0,)),
        (lambda dx, dw: (dx, altered(dw, 0, np.inf)), "w", (0,)),
    ],
)
def test_a_mistake_in_one_entry_is_named(mistake, array, index):
    report = check_layer(Square(mistake, name="square"), (2, 3))
    assert not report.passed
    assert report.failed == 1
    assert (report.worst.array, report.worst.index) == (array, index)
    place = f"{array}[{', '.join(map(str, index))}]"
    with pytest.raises(GradientError) as error:
        report.assert_ok()
    assert f"Square 'square' (inference, numba): 1 of 9 differ; worst {place}: analytic " in str(error.value)
    assert isinstance(error.value, MinicnnError)
    assert isinstance(error.value, AssertionError)


@pytest.mark.parametrize("factor", [0, -1, 2, 1.001])
def test_a_mistake_everywhere_fails_everywhere_and_in_every_direction(factor):
    layer = Square(lambda dx, dw: (factor * dx, factor * dw))
    assert check_layer(layer, (2, 3)).failed == 9
    report = check_layer(layer, (2, 3), directions=5)
    assert report.failed == report.checked == 5
    assert report.worst.array == "direction"


def test_a_small_mistake_is_seen_from_one_part_in_a_million():
    assert check_layer(Square(lambda dx, dw: (dx * (1 + 1.1e-6), dw)), (2, 3)).failed == 6
    assert check_layer(Square(lambda dx, dw: (dx * (1 + 0.9e-6), dw)), (2, 3)).passed


def test_a_gradient_of_another_shape_is_refused():
    with pytest.raises(GradientError, match=r"gradient of x has shape \(3, 2\), x itself \(2, 3\)"):
        check_layer(Square(lambda dx, dw: (dx.reshape(3, 2), dw)), (2, 3))


def test_large_entries_move_further():
    """At x = 1e6 a step of 1e-5 would drown in rounding."""
    assert check_layer(Square(), 1e6 * np.array([[1.0, -2, 3]])).passed


def test_an_error_inside_still_restores():
    class Fails(Square):
        def forward(self, x, run):
            if self.state["passes"][0]:
                raise RuntimeError
            return super().forward(x, run)

        def backward(self, dy, saved, run, need_dx=True):
            self.grads["w"][...] = 0
            self.params["w"][...] = 0
            raise RuntimeError

    layer = Fails()
    layer.ensure_built((3,), np.dtype("float64"), np.random.default_rng(0))
    before = layer.params["w"].copy()
    with pytest.raises(RuntimeError):
        check_layer(layer, (2, 3))
    np.testing.assert_array_equal(layer.params["w"], before)
    np.testing.assert_array_equal(layer.grads["w"], [7, 7, 7])
    np.testing.assert_array_equal(layer.state["passes"], [0])


# ---------------------------------------------------------------- kinks and ties


@pytest.mark.parametrize("offset", [0, 1e-7, -1e-7, 2e-6, 1e-5 / 3, -1e-5 / 3, 5e-6, -5e-6, 9e-6, -9e-6])
def test_a_kink_within_the_step_is_not_a_mistake(offset):
    report = check_activation("relu", np.array([[1.0, offset, -1, 2]]))
    assert report.passed
    assert report.checked == 3
    assert [(entry.array, entry.index) for entry in report.not_differentiable] == [("x", (0, 1))]
    assert "Not differentiable here (kinks or ties): 1 of 4, such as x[0, 1]" in str(report)
    assert "most of them" not in str(report)


@pytest.mark.parametrize("offset", [1.1e-5, -1.1e-5, 1e-4])
def test_a_kink_outside_the_step_is_none(offset):
    report = check_activation("relu", np.array([[1.0, offset, -1, 2]]))
    assert report.passed
    assert report.checked == 4
    assert not report.not_differentiable


def test_a_mistake_beside_a_kink_still_fails():
    class Wrong(activations.Activation):
        def value(self, x):
            return np.abs(x)

        def gradient(self, dy, x, y):
            return dy * np.where((x >= 0) | (x < -1.5), 1.0, -1.0)

    report = check_activation(Wrong(), np.array([[1.0, 0, -1, -2]]))
    assert not report.passed
    assert report.worst.index == (0, 3)
    assert len(report.not_differentiable) == 1


def test_ties_in_max_pooling():
    x = np.array([[1.0, 5], [5, 2]]).reshape(1, 2, 2, 1)
    report = check_layer(layers.MaxPooling2D(2), x)
    assert report.passed
    assert report.checked == 2
    assert [entry.index for entry in report.not_differentiable] == [(0, 0, 1, 0), (0, 1, 0, 0)]


def test_a_point_that_is_all_kinks_does_not_pass_and_says_why():
    report = check_layer(layers.MaxPooling2D(2, name="pool"), np.ones((1, 4, 4, 1)))
    assert not report.passed
    assert report.worst is None
    with pytest.raises(GradientError) as error:
        report.assert_ok()
    assert str(error.value).startswith("MaxPooling2D 'pool' (inference, numba): nothing to compare. Not differentiable")
    assert "16 of 16" in str(error.value)
    assert "move the inputs away from kinks and ties" in str(error.value)


def test_most_points_at_kinks_pass_with_a_warning_in_the_text():
    report = check_activation("relu", np.array([[0.0, 0, 0, 1]]))
    assert report.passed
    assert "That is most of them: move the inputs away" in str(report)


def test_a_strong_curve_is_not_a_kink():
    class Wave(activations.Activation):
        def __init__(self, factor):
            self.factor = factor

        def value(self, x):
            return np.sin(100 * x)

        def gradient(self, dy, x, y):
            return self.factor * dy * 100 * np.cos(100 * x)

    report = check_activation(Wave(1.01), (5, 7))
    assert report.failed == 35
    assert not report.not_differentiable


# ---------------------------------------------------------------- what it refuses


def test_float32_is_refused_with_the_remedy():
    layer = layers.Dense(2, name="d", dtype="float32")
    with pytest.raises(ConfigError, match=r"Dense 'd': computes in float32, .* dtype=\"float64\""):
        check_layer(layer, (2, 3))
    model = minicnn.Sequential([layers.Dense(2, input_shape=(3,))])
    with pytest.raises(NotCompiledError, match="call compile"):
        check_model(model, np.ones((2, 3)), np.ones((2, 2)))
    model.compile("sgd", "mse")
    with pytest.raises(ConfigError, match=r"computes in float32, .* dtype=\"float64\""):
        check_model(model, np.ones((2, 3)), np.ones((2, 2)))


def test_other_things_that_are_refused():
    with pytest.raises(ConfigError, match="has no entry to check; give at least one sample"):
        check_layer(layers.Flatten(), (0, 3))
    with pytest.raises(ConfigError, match="directions must be a positive integer, got 0"):
        check_layer(layers.Flatten(), (2, 3), directions=0)
    with pytest.raises(ConfigError, match="kernels must be"):
        check_layer(layers.Flatten(), (2, 3), kernels="c")
    with pytest.raises(ShapeError, match="labels of shape"):
        check_loss("mse", np.ones((2, 3)), np.ones((2, 4)))
    for loss, labels in (("mse", np.ones((1, 4))), ("mse", np.ones((3, 4))), (S(), np.ones(3))):
        with pytest.raises(
            DataError, match=r"check_loss: got labels of shape \(\d.*\) and outputs of \(2, 4\); give one label each"
        ):
            check_loss(loss, labels, np.full((2, 4), 0.25))


class Unprepared(layers.Layer):
    def __init__(self):
        pass


class Alone(layers.Layer):
    def forward(self, x, run):
        return 2 * x


class WithoutGradient(layers.Layer):
    def build(self, input_shape, dtype, rng):
        self.params["scale"] = np.ones(input_shape, dtype)

    def forward(self, x, run):
        return x * self.params["scale"], x

    def backward(self, dy, saved, run, need_dx=True):
        return dy * self.params["scale"]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Unprepared, r"call super\(\).__init__"),
        (Alone, r"forward must return the tuple \(y, saved\)"),
        (WithoutGradient, r"backward sets no grads\['scale'\]"),
    ],
)
def test_layers_that_are_not_finished_are_told_what_is_missing(layer, message):
    with pytest.raises(ConfigError, match=message):
        check_layer(layer(), (2, 3))


# ---------------------------------------------------------------- losses and activations


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", sorted(activations.ACTIVATIONS))
def test_activations(name, kernels):
    report = check_activation(name, (4, 5), kernels=kernels)
    report.assert_ok()
    assert report.checked == 20


def fractions(*shape, seed=2):
    """Numbers between 0 and 1 in rows that do not sum to 1: probabilities as far as a loss can tell."""
    return np.random.default_rng(seed).uniform(0.1, 0.9, shape)


def one_hot(*shape, seed=1):
    return np.eye(shape[-1])[np.random.default_rng(seed).integers(0, shape[-1], shape[:-1])]


def class_numbers(*shape):
    return one_hot(*shape).argmax(axis=-1)


C, S, B, M = (
    losses.CategoricalCrossentropy,
    losses.SparseCategoricalCrossentropy,
    losses.BinaryCrossentropy,
    losses.MeanSquaredError,
)
LOSS_CASES = [
    (C(), one_hot),
    (C(label_smoothing=0.1), one_hot),
    (C(from_logits=True), one_hot),
    (C(from_logits=True, label_smoothing=0.2), one_hot),
    (C(reduction="sum"), one_hot),
    (C(reduction="mean_with_sample_weight"), one_hot),
    (C(), fractions),  # targets that are not one-hot and do not sum to 1
    (C(from_logits=True), fractions),
    (S(), class_numbers),
    (S(from_logits=True), class_numbers),
    (S(reduction="sum"), class_numbers),
    (B(), fractions),
    (B(label_smoothing=0.3), one_hot),
    (B(from_logits=True), fractions),
    (B(from_logits=True, label_smoothing=0.3), one_hot),
    (M(), fractions),
    (M(reduction="sum"), fractions),
]


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("loss", "labels"), LOSS_CASES, ids=lambda v: getattr(v, "name", getattr(v, "__name__", "")))
def test_losses(loss, labels, weighted, kernels):
    for shape in ((5, 3), (4, 2, 3)):
        weight = np.arange(shape[0], dtype=float) if weighted else None  # one of them is 0
        report = check_loss(loss, labels(*shape), fractions(*shape, seed=0), sample_weight=weight, kernels=kernels)
        report.assert_ok()
        assert report.checked == np.prod(shape)
        assert not report.not_differentiable


def test_every_loss_has_a_case():
    assert {type(loss) for loss, _ in LOSS_CASES} == set(losses.LOSSES.values())


def test_clipped_probabilities_are_flat():
    """Below 1e-7 Keras clips: the loss does not change there, and its gradient is 0."""
    report = check_loss(B(), np.array([[1.0, 0]]), np.array([[-1.0, 2.0]]))
    report.assert_ok()
    assert report.worst.error == 0


# ---------------------------------------------------------------- whole models


def data(sample, classes=10, n=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((n, *sample)), rng.integers(0, classes, n)


def compiled(model, loss="sparse_categorical_crossentropy"):
    model.compile("adam", loss)
    return model


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kernels", KERNELS)
def test_lenet5(kernels, training):
    model = compiled(lenet5(seed=0, dtype="float64", kernels=kernels))
    report = check_model(model, *data((28, 28, 1)), training=training, directions=20)
    report.assert_ok()
    assert report.checked + len(report.not_differentiable) == 20
    assert report.checked >= 10


def everything(kernels, **more):
    """A model with every kind of layer, penalties and dropout. Inputs (9, 8, 2), 3 classes."""
    L = layers
    return minicnn.Sequential(
        [
            L.Input((9, 8, 2)),
            L.Rescaling(2.0, offset=-1.0),
            L.ZeroPadding2D(1),
            L.Conv2D(3, 3, kernel_regularizer=minicnn.regularizers.L1L2(0.01, 0.02), bias_regularizer="l2"),
            L.BatchNormalization(gamma_regularizer="l2", beta_regularizer="l1"),
            L.LeakyReLU(),
            L.MaxPooling2D(2, strides=1, padding="same"),
            L.Conv2D(4, 2, dilation_rate=2, padding="same", activation="tanh"),
            L.AveragePooling2D((2, 3), padding="same"),
            L.Dropout(0.3),
            L.Conv2D(3, (2, 1), strides=(2, 1), use_bias=False),
            L.Activation("silu"),
            L.Dense(4, activation="softplus", kernel_regularizer="l1"),
            L.Softmax(),
            L.ReLU(max_value=0.9),
            L.Reshape((2, -1, 4)),
            L.GlobalAveragePooling2D(keepdims=True),
            L.Flatten(),
            L.Dropout(0.1),
            L.BatchNormalization(),
            L.Dense(3, activation="softmax"),
        ],
        seed=3,
        dtype="float64",
        kernels=kernels,
        **more,
    )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kernels", KERNELS)
def test_a_model_of_everything_entry_by_entry(kernels, training):
    model = compiled(everything(kernels))
    x, y = data((9, 8, 2), classes=3, n=5)
    before = model.get_weights()
    report = check_model(model, x, y, sample_weight=[1, 2, 0.5, 0, 1], training=training, directions=None)
    report.assert_ok()
    assert report.checked + len(report.not_differentiable) == sum(
        w.size for layer in model.layers for w in layer.params.values()
    )
    assert len(report.not_differentiable) < 0.05 * report.checked
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(
    ("last", "loss", "labels"),
    [
        (layers.Dense(3, activation="softmax"), "categorical_crossentropy", one_hot),
        (layers.Dense(3, activation="softmax"), losses.CategoricalCrossentropy(label_smoothing=0.1), one_hot),
        (layers.Dense(3), losses.CategoricalCrossentropy(from_logits=True), one_hot),
        (layers.Activation("softmax"), "sparse_categorical_crossentropy", class_numbers),
        (layers.Softmax(), "sparse_categorical_crossentropy", class_numbers),
        (layers.Dense(3, activation="sigmoid"), "binary_crossentropy", one_hot),
        (layers.Dense(3), losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1), one_hot),
        (layers.Dense(3, activation="softmax"), "mse", one_hot),
        (layers.Dense(3, activation="sigmoid"), "sparse_categorical_crossentropy", class_numbers),
        (layers.Activation("sigmoid"), losses.MeanSquaredError(reduction="sum"), one_hot),
    ],
    ids=lambda v: getattr(v, "__name__", str(v)),
)
def test_output_layers_with_their_losses(last, loss, labels, kernels):
    """With and without the activation left out for the sake of the logits."""
    last = type(last).from_config(last.get_config())  # one of its own for each test
    model = minicnn.Sequential(
        [layers.Dense(3, activation="tanh", kernel_regularizer="l2", input_shape=(4,)), last],
        seed=0,
        dtype="float64",
        kernels=kernels,
    )
    model.compile("sgd", loss)
    x = np.random.default_rng(0).standard_normal((5, 4))
    report = check_model(model, x, labels(5, 3), directions=None)
    report.assert_ok()
    assert not report.not_differentiable


def test_the_gradient_reaches_every_layer_of_it():
    """A model whose first layers got no gradient would check little."""
    model = compiled(everything("numba"))
    model.train_on_batch(*data((9, 8, 2), classes=3, n=5))
    sizes = [np.abs(gradient).max() for layer in model.layers for gradient in layer.grads.values()]
    del sizes[1]  # the bias before a batch normalization, which takes it away with the mean
    assert min(sizes) > 1e-5


def test_frozen_layers_are_left_out():
    model = compiled(everything("numba"))
    for layer in model.layers[:-1]:
        layer.trainable = False
    x, y = data((9, 8, 2), classes=3)
    report = check_model(model, x, y, directions=None)
    report.assert_ok()
    assert report.checked == model.layers[-1].count_params()


def test_a_model_with_a_mistake_is_found_out_in_directions_and_by_entry():
    class Wrong(layers.Dense):
        def linear_backward(self, dz, saved, run, need_dx=True):
            return 1.01 * super().linear_backward(dz, saved, run, True)

    model = minicnn.Sequential(
        [layers.Dense(4, activation="tanh", input_shape=(3,), name="first"), Wrong(2, name="second")],
        seed=0,
        dtype="float64",
    )
    model.compile("sgd", "mse")
    x, y = np.random.default_rng(0).standard_normal((2, 5, 3))
    assert check_model(model, x, y[:, :2], directions=10).failed > 5
    report = check_model(model, x, y[:, :2], directions=None)
    assert report.failed == model.layers[0].count_params()
    assert report.worst.array.startswith("first/")
    assert report.checked == model.count_params()


def test_penalties_are_part_of_what_is_checked():
    class Wrong(minicnn.regularizers.Regularizer):
        def value(self, weights):
            return float(np.sum(weights**2))

        def gradient(self, weights):
            return weights  # the factor 2 is missing

    model = minicnn.Sequential([layers.Dense(2, kernel_regularizer=Wrong(), input_shape=(3,))], seed=0, dtype="float64")
    model.compile("sgd", "mse")
    report = check_model(model, np.ones((2, 3)), np.zeros((2, 2)), directions=None)
    assert report.failed == 6
    assert report.worst.array == f"{model.layers[0].name}/kernel"


def test_training_goes_on_after_a_check_as_if_it_had_not_been():
    x, y = data((9, 8, 2), classes=3, n=8)
    results = []
    for check in (False, True):
        model = compiled(everything("numba"))
        model.train_on_batch(x, y)
        if check:
            check_model(model, x, y, directions=3).assert_ok()
        model.train_on_batch(x, y)
        results.append(model.get_weights())
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_shapes_inputs_are_apart():
    x = gradcheck._inputs((3, 5, 7), np.random.default_rng(0))
    assert np.diff(np.sort(x.ravel())).min() > 1e-2
    assert np.abs(x).min() > 1e-3
    assert np.abs(x).max() <= 2


# ---------------------------------------------------------------- wrong arguments


@pytest.mark.parametrize("layer", ["x", None, layers.Dense])
def test_what_is_no_layer(layer):
    with pytest.raises(ConfigError) as error:
        gradcheck.check_layer(layer, (2, 3))
    expected = f"check_layer: the first argument must be a Layer, got {layer!r}; make one, as Dense(3)."
    assert str(error.value) == expected


def test_what_is_no_model():
    with pytest.raises(ConfigError) as error:
        gradcheck.check_model("x", np.ones((2, 3)), np.ones(2))
    assert str(error.value) == "check_model: the first argument must be a model, got 'x'; make a Sequential."


def test_inputs_that_are_no_numbers():
    with pytest.raises(DataError, match=r"^gradcheck: x: holds <U3 values, got str; give"):
        gradcheck.check_layer(layers.Dense(2), "abc")
