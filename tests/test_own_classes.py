"""The caller's own losses, activations, metrics and layers in a real fit, each against what exists already."""

from dataclasses import dataclass

import numpy as np
import pytest

import minicnn
from minicnn import Input, Sequential, optimizers
from minicnn.activations import Activation
from minicnn.errors import ConfigError, DataError, ShapeError
from minicnn.gradcheck import check_loss
from minicnn.layers import Conv2D, Dense, Dropout, Flatten, Layer, ReLU
from minicnn.losses import Loss
from minicnn.metrics import MeanMetricWrapper, Metric
from tests.small_models import CLASSES, COUNT, QUIET, SAMPLE, X, Y, assert_near_weights, new_model


class OwnSquaredError(Loss):
    def value(self, y_true, y_pred):
        return np.mean((y_pred - y_true) ** 2, axis=-1)

    def gradient(self, y_true, y_pred):
        return 2 * (y_pred - y_true) / y_pred.shape[-1]


@pytest.mark.parametrize("loss", [OwnSquaredError, OwnSquaredError()], ids=["class", "object"])
def test_own_loss(loss):
    own, built_in = new_model(loss=loss), new_model(loss="mse")
    weights = np.linspace(0, 2, COUNT)
    first = own.fit(X, Y, sample_weight=weights, validation_split=0.25, epochs=2, **QUIET)
    second = built_in.fit(X, Y, sample_weight=weights, validation_split=0.25, epochs=2, **QUIET)
    for key, values in second.history.items():
        np.testing.assert_allclose(first.history[key], values, rtol=1e-6)
    assert_near_weights(own, built_in)


class NotOneASample(OwnSquaredError):
    def value(self, y_true, y_pred):
        return np.mean((y_pred - y_true) ** 2)


def test_own_loss_that_is_not_one_number_a_sample_is_refused():
    message = r"^not_one_a_sample: value must return one loss a sample, .*; take the mean over axis=-1\.$"
    with pytest.raises(ShapeError, match=message):
        new_model(loss=NotOneASample).fit(X, Y, epochs=1, **QUIET)
    with pytest.raises(ShapeError, match=message):
        check_loss(NotOneASample(), Y[:3].astype(float), np.linspace(0.1, 0.9, 3 * CLASSES).reshape(3, CLASSES))


class OwnRelu(Activation):
    def value(self, x):
        return np.maximum(x, 0)

    def gradient(self, dy, x, y):
        return dy * (x > 0)


def test_own_activation():
    def train(activation):
        model = Sequential(
            [Input(SAMPLE), Conv2D(4, 3, activation=activation), Flatten(), Dense(CLASSES, activation="softmax")],
            seed=0,
        )
        model.compile("adam", "categorical_crossentropy")
        model.fit(X, Y, epochs=2, **QUIET)
        return model

    assert_near_weights(train(OwnRelu()), train("relu"))


class Largest(Metric):
    def __init__(self, name="largest"):
        super().__init__(name=name)
        self.reset_state()

    def reset_state(self):
        self.largest = float("-inf")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.largest = max(self.largest, float(y_pred.max()))

    def result(self):
        return self.largest


def test_own_metric_is_reset_every_epoch():
    model = Sequential([Input((2,)), Dense(1, use_bias=False)], seed=0)
    model.compile(optimizers.SGD(0.0), "mse", metrics=[Largest()])
    model.set_weights([np.array([[1.0], [0.0]])])
    x = np.array([[1.0, 0], [5.0, 0], [2.0, 0]])
    history = model.fit(x, np.zeros(3), batch_size=1, epochs=2, validation_data=(x[:1], np.zeros(1)), verbose=0).history
    assert history["largest"] == [5.0, 5.0]
    assert history["val_largest"] == [1.0, 1.0]
    assert model.evaluate(x[2:], np.zeros(1), verbose=0, return_dict=True)["largest"] == 2.0


def test_own_metric_function():
    def mean_output(y_true, y_pred):
        return y_pred.mean(axis=-1)

    model = new_model(metrics=[mean_output])
    assert model.evaluate(X, Y, verbose=0, return_dict=True)["mean_output"] == pytest.approx(1 / CLASSES, rel=1e-6)


class Scale(Layer):
    """y = scale·x with one trained number; the gradient is written into grads."""

    def build(self, input_shape, dtype, rng):
        self.add_param("scale", (1,), minicnn.initializers.get("ones"), dtype, rng)

    def forward(self, x, run):
        return x * self.params["scale"], x

    def backward(self, dy, saved, run, need_dx=True):
        self.grads["scale"][...] = np.sum(dy * saved)
        return dy * self.params["scale"] if need_dx else None


class RebindingScale(Scale):
    """The same, with a new array put into grads, as a newcomer would write it."""

    def backward(self, dy, saved, run, need_dx=True):
        self.grads["scale"] = np.sum(dy * saved, keepdims=True).reshape(1)
        return dy * self.params["scale"] if need_dx else None


@pytest.mark.parametrize("layer", [Scale, RebindingScale])
@pytest.mark.parametrize("kernels", ["numpy", "numba"])
def test_own_layer_is_trained(layer, kernels):
    """A scale of x alone, labels 3x: gradient descent on mean (s·x − 3x)², by hand."""
    model = Sequential([Input((1,)), layer(name="scale")], kernels=kernels)
    model.compile(optimizers.SGD(0.25), "mse")
    x = np.array([[1.0], [-1.0]])
    losses = [model.train_on_batch(x, 3 * x) for _ in range(3)]
    assert losses == [4.0, 1.0, 0.25]  # the error halves with each step: s = 1, 2, 2.5, 2.75
    np.testing.assert_array_equal(model.get_weights()[0], [2.75])
    assert model.count_params() == 1


def test_own_layer_among_others():
    model = Sequential([Input(SAMPLE), Conv2D(4, 3), Scale(), Flatten(), Dense(CLASSES, activation="softmax")], seed=0)
    model.compile("adam", "categorical_crossentropy")
    history = model.fit(X, Y, epochs=20, **QUIET).history["loss"]
    assert history[-1] < 0.7 * history[0]
    assert model.layers[1].params["scale"] != 1


def test_plain_functions_for_losses_and_activations_are_refused_with_the_way_out():
    with pytest.raises(ConfigError, match="subclass minicnn's Loss"):
        new_model(loss=lambda y_true, y_pred: 0)
    with pytest.raises(ConfigError, match="subclass minicnn's Activation"):
        Dense(3, activation=np.tanh)


TWO = np.ones((2, 4), np.float32)
"""Two samples."""


class OfKeras(Layer):
    """As it is written for Keras."""

    def build(self, input_shape):
        self.w = self.add_weight(shape=(input_shape[-1], 3))

    def call(self, x):
        return x @ self.w


class NotInitialized(Layer):
    def __init__(self):
        self.units = 3


class Alone(Layer):
    """Returns y without what backward needs."""

    def forward(self, x, run):
        return 2 * x

    def backward(self, dy, saved, run, need_dx=True):
        return 2 * dy


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (OfKeras, "OfKeras has no forward; its call is never used; .* write forward and backward"),
        (NotInitialized, r"NotInitialized: call super\(\).__init__\(\*\*kwargs\) at the start of __init__"),
        (Alone, r"Alone '.*': forward must return the tuple \(y, saved\), got ndarray; return \(y, None\)"),
    ],
)
@pytest.mark.parametrize(
    "way", [lambda layer: Sequential([Input((4,)), layer]).predict(TWO, verbose=0), lambda layer: layer(TWO)]
)
def test_own_layers_that_lack_something_are_told_what(layer, message, way):
    with pytest.raises((ConfigError, NotImplementedError), match=message):
        way(layer())


def test_own_loss_without_its_base_is_told_so():
    class Bare(OwnSquaredError):
        def __init__(self):
            self.factor = 2

    with pytest.raises(ConfigError, match=r"Bare: call super\(\).__init__\(\) at the start of __init__"):
        new_model(loss=Bare())


def test_a_layer_is_no_activation():
    with pytest.raises(ConfigError, match=r"activation: expected a name, .* A layer stands on its own: put it behind"):
        Dense(3, activation=ReLU())


def test_a_layer_is_not_called_on_a_layer():
    with pytest.raises(DataError, match=r"Dense 'd' called: got InputLayer .* not called on layers here, but listed"):
        Dense(3, name="d")(Input((4,)))


def test_a_model_within_a_model_is_refused_with_the_way_out():
    inner = Sequential([Input((4,)), Dense(3)])
    with pytest.raises(ConfigError, match=r"add takes a layer, got .*; add its layers one by one: \*inner.layers"):
        Sequential([inner, Dense(2)])


# -- what the caller's own code may do, and what is said where it is wrong


def test_a_metric_that_needs_more_than_one_sample():
    def spread(y_true, y_pred):
        if len(y_true) < 2:
            raise ValueError("of one sample there is none")
        return np.full(len(y_true), y_pred.std())

    model = new_model(metrics=[spread])
    history = model.fit(X, Y, **QUIET).history
    assert history["spread"][0] > 0


@pytest.mark.parametrize("metric", ["mean", minicnn.metrics.Mean, minicnn.metrics.Mean()])
def test_a_mean_of_values_is_no_metric_of_labels(metric):
    with pytest.raises(ConfigError, match=r"compile: metrics got .* take a metric of labels and predictions"):
        new_model(metrics=[metric])


def test_a_metric_whose_result_is_no_number():
    class Nothing(Metric):
        def update_state(self, y_true, y_pred, sample_weight=None):
            pass

        def result(self):
            return None

    model = new_model(metrics=[Nothing()])
    with pytest.raises(ConfigError, match="metric nothing: result must return a number, got None"):
        model.fit(X, Y, **QUIET)


@pytest.mark.parametrize("base", [Metric, optimizers.SGD])
def test_a_constructor_that_leaves_out_the_bases(base):
    class Hasty(base):
        def __init__(self):
            pass

    arguments = {"metrics": [Hasty()]} if base is Metric else {"optimizer": Hasty()}
    with pytest.raises(ConfigError, match=r"Hasty: call super\(\).__init__\("):
        new_model(**arguments)


class Shrinking(minicnn.regularizers.Regularizer):
    def value(self, weights):
        return np.sum(weights**2)

    def gradient(self, weights):
        return 2 * weights


def model_with(regularizer):
    model = Sequential([Input(SAMPLE), Flatten(), Dense(CLASSES, kernel_regularizer=regularizer)], seed=0)
    model.compile("sgd", "mse")
    return model


def test_an_own_regularizers_value_may_be_numpys_and_the_loss_stays_a_float():
    loss = model_with(Shrinking()).train_on_batch(X, Y)
    assert type(loss) is float
    assert loss == pytest.approx(model_with(minicnn.regularizers.L2(1.0)).train_on_batch(X, Y), rel=1e-6)


def test_an_own_regularizer_without_its_sum():
    class NotSummed(Shrinking):
        def value(self, weights):
            return weights**2

    with pytest.raises(ShapeError, match=r"NotSummed: value returned shape .* where one number is due; sum over"):
        model_with(NotSummed()).train_on_batch(X, Y)


def test_an_own_regularizers_gradient_of_another_shape():
    class OneNumber(Shrinking):
        def gradient(self, weights):
            return 1.0

    with pytest.raises(ShapeError, match=r"OneNumber: gradient returned shape \(\) where .* is due"):
        model_with(OneNumber()).train_on_batch(X, Y)


class WrittenForKeras(Loss):
    def call(self, y_true, y_pred):
        return np.mean((y_pred - y_true) ** 2, axis=-1)


class WithoutGradient(Loss):
    def value(self, y_true, y_pred):
        return np.mean((y_pred - y_true) ** 2, axis=-1)


@pytest.mark.parametrize(("loss", "missing"), [(WrittenForKeras, "value"), (WithoutGradient(), "gradient")])
def test_a_loss_that_lacks_a_method_is_refused_before_anything_has_changed(loss, missing):
    model = new_model()
    with pytest.raises(ConfigError, match=rf"has no {missing}, .*; write value\(y_true, y_pred\) and gradient"):
        model.compile("sgd", loss)
    model.fit(X, Y, **QUIET)  # as it was compiled before


def test_a_loss_that_can_be_compared_but_not_hashed():
    @dataclass
    class Scaled(OwnSquaredError):
        factor: float = 2.0

        def __post_init__(self):
            super().__init__()

    assert Scaled.__hash__ is None
    one, other = new_model(loss=Scaled()), new_model(loss="mse")
    assert one.fit(X, Y, **QUIET).history["loss"] == pytest.approx(other.fit(X, Y, **QUIET).history["loss"])


def test_own_losses_and_metrics_cannot_write_to_the_callers_labels():
    class Masking(OwnSquaredError):
        def value(self, y_true, y_pred):
            y_true[y_true < 0] = 0
            return super().value(y_true, y_pred)

    class MaskingMetric(Metric):
        def update_state(self, y_true, y_pred, sample_weight=None):
            y_pred -= y_true

        def result(self):
            return 0.0

    labels = -np.ones((COUNT, CLASSES), np.float32)
    for model in (new_model(loss=Masking()), new_model(loss="mse", metrics=[MaskingMetric(name="m")])):
        with pytest.raises(ValueError, match="read-only"):
            model.evaluate(X, labels, verbose=0)
    assert (labels == -1).all()


def test_a_metric_written_for_keras_is_told_what_to_do():
    class Counted(Metric):
        def __init__(self, name="counted"):
            super().__init__(name=name)
            self.total = self.add_weight(name="total", initializer="zeros")

    with pytest.raises(ConfigError, match=r"^Counted: add_variable and add_weight are Keras's; keep sums as plain"):
        Counted()


def test_a_wrapped_function_gets_arrays():
    metric = MeanMetricWrapper(lambda y_true, y_pred: np.abs(y_true - y_pred).max(axis=-1), name="largest")
    assert metric([[1, 2]], [[2, 5]]) == 3


def test_the_outputs_of_layers_that_hand_on_are_not_the_callers_array():
    model = Sequential([Input((3,)), Dropout(0.5)])
    x = np.ones((2, 3), np.float32)
    for y in (model(x), model.predict_on_batch(x), model.predict(x, verbose=0)):
        y *= 0
    assert (x == 1).all()
