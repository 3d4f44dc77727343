"""Losses: values observed in Keras 3.15 or worked out by hand, weights and reductions, configs, and what is refused."""

import math
import pickle

import numpy as np
import pytest

from minicnn import losses
from minicnn.errors import ConfigError, DataError, ShapeError
from minicnn.kernels import NUMBA, NUMPY

C, S, B, M = (
    losses.CategoricalCrossentropy,
    losses.SparseCategoricalCrossentropy,
    losses.BinaryCrossentropy,
    losses.MeanSquaredError,
)
ALL = [C, S, B, M]
LAST = [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("loss", "y_true", "y_pred", "expected"),
    [
        # observed in Keras 2.4 to 3.15
        (C(), LAST, [0.5, 0.5, 0.0], 16.118095),
        (C(), LAST, [0.0, 0.0, 1.0], 1.1920929e-07),
        (C(), LAST, [0.2, 0.2, 0.2], math.log(3)),
        (C(), [0.5, 0.2, 0.0], [0.7, 0.2, 0.1], 0.500225),
        (C(), [1, 0, 0], [0.7, 0.2, 0.1], -math.log(0.7)),
        (C(from_logits=True), [1, 0, 0], [2.0, 1.0, 0.0], 0.407606),
        (C(label_smoothing=0.1), [1, 0, 0], [0.7, 0.2, 0.1], 0.463297),
        (C(from_logits=True), [0, 1, 0], [200.0, 0.0, 0.0], 200.0),
        (C(from_logits=True), [0, 1, 0], [400.0, 0.0, 0.0], 400.0),
        (S(), 0, [0.7, 0.2, 0.1], -math.log(0.7)),
        (S(), 2, [0.2, 0.2, 0.2], math.log(3)),
        (S(), 2, [0.5, 0.5, 0.0], 16.118095),
        (S(from_logits=True), 0, [2.0, 1.0, 0.0], 0.407606),
        (B(), [1.0], [0.0], 16.118095),
        (B(), [1, 0], [0.8, 0.4], -(math.log(0.8) + math.log(0.6)) / 2),
        (B(from_logits=True), [1, 0], [0.0, 0.0], math.log(2)),
        (B(from_logits=True), [0, 0], [1000.0, 0.0], (1000 + math.log(2)) / 2),
        (B(label_smoothing=0.2), [1.0], [0.8], -(0.9 * math.log(0.8) + 0.1 * math.log(0.2))),
        (M(), [1.0, 2.0], [3.0, 1.0], 2.5),
    ],
)
def test_value_of_one_sample(loss, y_true, y_pred, expected):
    value = loss(np.array([y_true]), np.array([y_pred], np.float32))
    assert value == pytest.approx(expected, rel=2e-6)
    assert type(value) is float


def test_predictions_need_not_sum_to_one():
    assert C()(np.array([[1.0, 0, 0]]), np.array([[0.5, 0.2, 0]])) == pytest.approx(-math.log(0.5 / 0.7), rel=1e-12)
    value = C()(np.array([[0.7, 0.2, 0.1]]), np.array([[0.7, 0.2, 0.1]]))
    assert value == pytest.approx(-sum(p * math.log(p) for p in (0.7, 0.2, 0.1)), rel=1e-12)


def test_a_row_of_zeros_is_nan_as_in_keras():
    with np.errstate(invalid="ignore"):
        assert math.isnan(C()(np.array([[1.0, 0]]), np.zeros((1, 2))))


# ---------------------------------------------------------------- the loss on logits


@pytest.mark.parametrize("gap", [1.0, 200.0, 400.0])
def test_on_logits_the_gradient_is_exact_however_sure_the_model_is(gap):
    loss = C().on_logits()
    z, t = np.array([[gap, 0, 0]], np.float32), np.array([[0, 1, 0]], np.float32)
    p = np.exp([0, -gap, -gap])
    p /= p.sum()
    for kernels in (NUMPY, NUMBA):
        value, gradient = loss.value_and_gradient(t, z, kernels)
        np.testing.assert_allclose(gradient[0], p - [0, 1, 0], atol=1e-7)
        assert value.item() == pytest.approx(gap + math.log(1 + 2 * math.exp(-gap)), rel=1e-6)


def test_on_logits_keeps_every_other_argument():
    assert C(label_smoothing=0.25, reduction="sum", name="mine").on_logits().get_config() == {
        "name": "mine",
        "reduction": "sum",
        "from_logits": True,
        "label_smoothing": 0.25,
        "axis": -1,
    }
    assert S().on_logits().from_logits
    assert B(label_smoothing=0.5).on_logits().label_smoothing == 0.5


def test_probabilities_and_logits_are_one_loss():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((6, 4))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    numbers = rng.integers(0, 4, 6)
    one_hot = np.eye(4)[numbers]
    expected = -np.log(p[np.arange(6), numbers]).mean()
    for value in (
        C()(one_hot, p),
        C(from_logits=True)(one_hot, z),
        S()(numbers, p),
        S()(numbers[:, None], p),
        S()(numbers.astype(np.uint8), p),
        S()(numbers.astype(np.float32), p),
        S(from_logits=True)(numbers, z),
    ):
        assert value == pytest.approx(expected, rel=1e-12)
    q = 1 / (1 + np.exp(-z))
    assert B(from_logits=True)(one_hot, z) == pytest.approx(B()(one_hot, q), rel=1e-12)


# ---------------------------------------------------------------- weights and reductions

Y_TRUE, Y_PRED = np.array([[1.0, 0], [0, 1], [0, 1]]), np.array([[0.8, 0.2], [0.4, 0.6], [0.9, 0.1]])
EACH = -np.log([0.8, 0.6, 0.1])
WEIGHT = np.array([1, 2, 0.5])


@pytest.mark.parametrize(
    ("reduction", "plain", "weighted"),
    [
        ("sum_over_batch_size", EACH.sum() / 3, (WEIGHT * EACH).sum() / 3),
        ("mean", EACH.sum() / 3, (WEIGHT * EACH).sum() / 3),
        ("auto", EACH.sum() / 3, (WEIGHT * EACH).sum() / 3),
        ("sum", EACH.sum(), (WEIGHT * EACH).sum()),
        ("mean_with_sample_weight", EACH.sum() / 3, (WEIGHT * EACH).sum() / 3.5),
        (None, EACH, WEIGHT * EACH),
        ("none", EACH, WEIGHT * EACH),
    ],
)
def test_reductions(reduction, plain, weighted):
    loss = C(reduction=reduction)
    np.testing.assert_allclose(loss(Y_TRUE, Y_PRED), plain, rtol=1e-12)
    np.testing.assert_allclose(loss(Y_TRUE, Y_PRED, sample_weight=WEIGHT), weighted, rtol=1e-12)


def test_the_weighted_loss_is_divided_by_the_number_of_samples_not_by_the_weights():
    y_true = np.eye(3)
    y_pred = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.3, 0.5]])
    expected = -(math.log(0.7) + 2 * math.log(0.6) + 0.5 * math.log(0.5)) / 3
    assert C()(y_true, y_pred, sample_weight=WEIGHT) == pytest.approx(expected, rel=1e-12)


def test_weights_of_samples_hold_for_all_positions_of_a_map():
    loss, y_true, y_pred = M(), np.zeros((2, 3, 4, 1)), np.ones((2, 3, 4, 1))
    assert loss(y_true, y_pred, sample_weight=[1, 3]) == pytest.approx(2.0)
    values = loss.value(y_true, y_pred)
    scaled = loss.scaled(np.ones_like(y_pred), values, np.array([1.0, 3]))
    np.testing.assert_allclose(scaled[0], np.full((3, 4, 1), 1 / 24))
    np.testing.assert_allclose(scaled[1], np.full((3, 4, 1), 3 / 24))


def test_all_weights_zero_make_a_loss_of_zero():
    for reduction in ("sum_over_batch_size", "mean_with_sample_weight", "sum"):
        assert M(reduction=reduction)(np.zeros((2, 1)), np.ones((2, 1)), sample_weight=[0, 0]) == 0


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes_and_dtypes(cls, dtype):
    rng = np.random.default_rng(0)
    for shape in ((5, 3), (2, 4, 3), (0, 3)):
        p = rng.uniform(0.1, 0.9, shape).astype(dtype)
        labels = np.eye(3)[rng.integers(0, 3, shape[:-1])]
        y_true = labels.argmax(axis=-1) if cls is S else labels
        loss = cls()
        aligned = loss.align(y_true, p)
        before = p.copy(), aligned.copy()
        for kernels in (NUMPY, NUMBA):
            values, gradient = loss.value_and_gradient(aligned, p, kernels)
            assert values.shape == shape[:-1]
            assert gradient.shape == shape
            assert values.dtype == gradient.dtype == loss.scaled(gradient, values).dtype == dtype
        np.testing.assert_array_equal(p, before[0])
        np.testing.assert_array_equal(aligned, before[1])
        np.testing.assert_allclose(loss.value(aligned, p), values, rtol=8 * np.finfo(dtype).eps)
        np.testing.assert_allclose(loss.gradient(aligned, p), gradient, rtol=8 * np.finfo(dtype).eps)


def test_one_output_takes_flat_labels():
    for loss in (M(), B()):
        flat, column = np.array([0.0, 1, 1]), np.array([[0.0], [1], [1]])
        p = np.array([[0.2], [0.5], [0.9]])
        assert loss(flat, p) == loss(column, p) == loss(column, p[:, 0])
        with pytest.raises(ShapeError, match="do not fit"):
            loss(np.ones((3, 2)), p[:, 0])


# ---------------------------------------------------------------- names and configs


@pytest.mark.parametrize(
    ("identifier", "cls"),
    [
        ("categorical_crossentropy", C),
        ("CategoricalCrossentropy", C),
        ("sparse_categorical_crossentropy", S),
        ("binary_crossentropy", B),
        ("bce", B),
        ("mean_squared_error", M),
        ("mse", M),
        ("MSE", M),
        (C, C),
        (B(), B),
        ({"class_name": "MeanSquaredError", "config": {"name": "mean_squared_error"}}, M),
    ],
)
def test_get(identifier, cls):
    assert type(losses.get(identifier)) is cls


@pytest.mark.parametrize(
    "loss",
    [
        C(),
        C(from_logits=True, label_smoothing=0.1, reduction="sum", name="mine"),
        S(from_logits=True),
        B(label_smoothing=0.2),
        M(reduction="mean_with_sample_weight"),
    ],
    ids=str,
)
def test_config_round_trip(loss):
    for twin in (losses.get(losses.serialize(loss)), losses.deserialize(losses.serialize(loss))):
        assert type(twin) is type(loss)
        assert twin.get_config() == loss.get_config()
    assert pickle.loads(pickle.dumps(loss)).get_config() == loss.get_config()


class Cubed(losses.Loss):
    def value(self, y_true, y_pred):
        return np.mean(np.abs(y_pred - y_true) ** 3, axis=-1)

    def gradient(self, y_true, y_pred):
        d = y_pred - y_true
        return 3 * d * np.abs(d) / d.shape[-1]


def test_a_callers_own_loss():
    loss = losses.get(Cubed)
    assert loss.name == "cubed"
    assert loss(np.zeros((1, 2)), np.array([[1.0, 3.0]])) == 14.0
    assert losses.get(losses.serialize(loss), {"Cubed": Cubed}).name == "cubed"
    with pytest.raises(ConfigError, match="unknown name 'Cubed'"):
        losses.get({"class_name": "Cubed", "config": {}})


@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
def test_a_call_computes_in_the_dtype(dtype):
    for loss in (C(dtype=dtype), S(dtype=dtype), B(dtype=dtype), M(dtype=dtype), Cubed(dtype=dtype)):
        assert loss.dtype == dtype
        loss.reduction = None
        y_true = np.array([0]) if isinstance(loss, S) else np.array([[1.0, 0.0]])
        assert loss(y_true, np.array([[0.75, 0.25]], np.float32)).dtype == (dtype or "float32")


class Returns(losses.Loss):
    """Returns what it was made with."""

    def __init__(self, value, gradient):
        super().__init__(name="mine")
        self.answers = value, gradient

    def value(self, y_true, y_pred):
        return self.answers[0]

    def gradient(self, y_true, y_pred):
        return self.answers[1]


VALUE_MESSAGE = (
    "mine: value must return one loss a sample, of shape (4,) for y_pred (4, 3), got {}; take the mean over axis=-1."
)
GRADIENT_MESSAGE = (
    "mine: gradient must have y_pred's shape (4, 3), got {}; "
    "return the derivative of each sample's loss by each of its outputs."
)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (Returns(0.5, np.ones((4, 3))), VALUE_MESSAGE.format("()")),
        (Returns(np.ones((4, 3)), np.ones((4, 3))), VALUE_MESSAGE.format("(4, 3)")),
        (Returns(np.ones((4, 1)), np.ones((4, 3))), VALUE_MESSAGE.format("(4, 1)")),
        (Returns(np.ones(4), np.ones(4)), GRADIENT_MESSAGE.format("(4,)")),
        (Returns(np.ones(4), np.ones((1, 3))), GRADIENT_MESSAGE.format("(1, 3)")),
    ],
)
def test_a_callers_loss_of_another_shape_is_refused(loss, message):
    with pytest.raises(ShapeError) as error:
        loss.value_and_gradient(np.zeros((4, 3)), np.zeros((4, 3)), NUMPY)
    assert str(error.value) == message
    if "value" in message:
        with pytest.raises(ShapeError) as error:
            loss(np.zeros((4, 3)), np.zeros((4, 3)))
        assert str(error.value) == message


def test_a_callers_loss_of_another_dtype_is_cast():
    loss = Returns([1, 2], np.ones((2, 3), np.int64))
    values, gradient = loss.value_and_gradient(np.zeros((2, 3)), np.zeros((2, 3), np.float32), NUMPY)
    assert values.dtype == gradient.dtype == loss.scaled(gradient, values).dtype == np.float32
    assert values.tolist() == [1, 2]


def test_a_loss_written_for_keras_is_told_what_to_write():
    class Own(losses.Loss):
        def call(self, y_true, y_pred):
            return 0

    class Half(losses.Loss):
        def value(self, y_true, y_pred):
            return np.zeros(len(y_pred))

    y = np.zeros((1, 2))
    with pytest.raises(NotImplementedError) as error:
        Own()(y, y)
    assert str(error.value) == (
        "Own: minicnn has no automatic differentiation: write value(y_true, y_pred) and gradient(y_true, y_pred)."
    )
    with pytest.raises(NotImplementedError) as error:
        Half().value_and_gradient(y, y, NUMPY)
    assert str(error.value) == "Half: minicnn has no automatic differentiation: write gradient(y_true, y_pred)."


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.get(lambda t, p: 0), "A plain function has no derivative here: subclass minicnn's Loss"),
        (lambda: losses.get("categorical_crossentropie"), "did you mean 'categorical_crossentropy'"),
        (lambda: losses.get(None), "expected a name"),
        (lambda: losses.get(3), "expected a name"),
        (lambda: C(label_smoothing=1.5), "label_smoothing"),
        (lambda: C(label_smoothing=-0.1), "label_smoothing"),
        (lambda: C(axis=1), "axis=1 is not supported by minicnn"),
        (lambda: C(reduction="average"), "reduction must be one of"),
        (lambda: S(ignore_class=-1), "ignore_class=-1 is not supported by minicnn"),
        (lambda: M(dtype="int8"), 'MeanSquaredError: dtype must be None, "float32" or "float64", got \'int8\'.'),
        (lambda: B(nonsense=1), "BinaryCrossentropy: unknown argument 'nonsense'; see help(BinaryCrossentropy)."),
        (lambda: Cubed(nonsense=None), "Cubed: unknown argument 'nonsense'; see help(Cubed)."),
        (lambda: Cubed(3), "Cubed: name must be a string or None, got 3."),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ConfigError) as error:
        make()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("loss", "y_true", "y_pred", "error", "message"),
    [
        (C(), np.zeros((4,)), np.ones((4, 3)), ShapeError, "or use SparseCategoricalCrossentropy"),
        (C(), np.zeros((4, 2)), np.ones((4, 3)), ShapeError, "labels of shape (4, 2) do not fit"),
        (S(), np.zeros((4, 3)), np.ones((4, 3)), ShapeError, "use CategoricalCrossentropy for one-hot labels"),
        (S(), np.array([0, 3]), np.ones((2, 3)), DataError, "labels must lie between 0 and 2, got 0 to 3"),
        (S(), np.array([0, -1]), np.ones((2, 3)), DataError, "labels must lie between 0 and 2, got -1 to 0"),
        (S(), np.array([0, 0.5]), np.ones((2, 3)), DataError, "labels must be whole class numbers"),
        (M(), np.zeros((4, 2)), np.ones((4, 3)), ShapeError, "give one value for each output"),
        (B(), np.zeros((4,)), np.ones((4, 3)), ShapeError, "labels of shape (4,) do not fit"),
    ],
)
def test_labels_that_do_not_fit(loss, y_true, y_pred, error, message):
    with pytest.raises(error) as raised:
        loss(y_true, y_pred)
    assert message in str(raised.value)
    assert loss.name in str(raised.value)


def test_one_hot_labels_are_checked_row_by_row():
    losses.crossentropy.check_distributions(np.array([[0, 1], [0.25, 0.75]]), "loss")
    losses.crossentropy.check_distributions(np.zeros((0, 2)), "loss")
    for bad, place in (([[0, 1], [1, 1]], "(1,)"), ([[0.0, 0.0]], "(0,)"), ([[-1, 2]], "(0,)")):
        with pytest.raises(DataError) as error:
            losses.crossentropy.check_distributions(np.array(bad), "loss")
        assert f"the row at {place} is" in str(error.value)
        assert "to_categorical" in str(error.value)


# ---------------------------------------------------------------- weights of samples


def test_weights_of_samples_in_every_shape():
    rng = np.random.default_rng(0)
    y_true, y_pred, w = rng.standard_normal((5, 3)), rng.standard_normal((5, 3)), np.arange(5.0)
    of_each = ((y_true - y_pred) ** 2).mean(axis=1)
    for given in (w, w[:, None], w.tolist()):
        assert M()(y_true, y_pred, given) == pytest.approx((w * of_each).sum() / 5)
        by_weight = M(reduction="mean_with_sample_weight")
        assert by_weight(y_true, y_pred, given) == pytest.approx((w * of_each).sum() / 10)
    assert M()(y_true, y_pred, 2.0) == pytest.approx(2 * of_each.mean())


@pytest.mark.parametrize("weights", [np.ones(4), np.ones((5, 3)), np.ones((1, 5)), np.ones((5, 1, 1))])
def test_weights_of_another_shape_are_refused(weights):
    with pytest.raises(ShapeError, match=r"mean_squared_error: sample_weight has shape .* losses have \(5,\)"):
        M()(np.zeros((5, 3)), np.ones((5, 3)), weights)


@pytest.mark.parametrize("loss", [M(), C(), B()])
@pytest.mark.parametrize("labels", [np.zeros((4, 3)), np.zeros((1, 3)), np.float32(0)])
def test_labels_of_another_number_of_samples_are_refused(loss, labels):
    with pytest.raises(ShapeError, match="are not of as many samples; give one label for each prediction"):
        loss(labels, np.full((5, 3), 1 / 3))


@pytest.mark.parametrize("name", ["categorical_crossentropy", "binary_crossentropy", "mean_squared_error"])
def test_functions_give_the_values_of_their_class_and_compile_takes_them(name):
    function = getattr(losses, name)
    y, p = np.eye(3)[[0, 2, 1]], np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4]])
    expected = losses.get({"class_name": name, "config": {"reduction": None}})(y, p)
    assert expected.shape == (3,)
    np.testing.assert_array_equal(function(y, p), expected)
    assert losses.get(function).get_config() == losses.get(name).get_config()


def test_the_function_for_class_numbers():
    p = np.array([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]])
    one_hot = losses.categorical_crossentropy(np.eye(3)[[0, 2]], p, from_logits=True)
    np.testing.assert_allclose(losses.sparse_categorical_crossentropy([0, 2], p, from_logits=True), one_hot, rtol=1e-12)
    assert type(losses.get(losses.sparse_categorical_crossentropy)) is losses.SparseCategoricalCrossentropy
