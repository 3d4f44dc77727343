"""Files of minicnn in the installed Keras: equal predictions and scores, and Keras trains on. And back."""

import warnings

import numpy as np
import pytest

from minicnn import Sequential, activations, applications, layers, load_model, losses, metrics, optimizers
from minicnn.activations import ACTIVATIONS
from minicnn.errors import MinicnnWarning
from minicnn.optimizers import schedules
from tests.saving.models import data, every_layer, small
from tests.tensorflow.live import keras

TOLERANCE = 2e-6


def in_keras(path):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Argument `alpha` is deprecated")  # LeakyReLU's name in both Kerases
        return keras.models.load_model(path)


def saved(model, folder, **kwargs):
    model.save(folder / "model.h5", **kwargs)
    return folder / "model.h5"


def assert_predicts_alike(theirs, ours, x):
    np.testing.assert_allclose(theirs.predict(x, verbose=0), ours.predict(x, verbose=0), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_layer(tmp_path, dtype):
    model = every_layer(dtype=dtype)
    theirs = in_keras(saved(model, tmp_path))
    assert_predicts_alike(theirs, model, data((8, 8, 2))[0])
    assert [layer.name for layer in theirs.layers] == [layer.name for layer in model.layers]


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {cls.__name__ for cls in ACTIVATIONS.values()}))
def test_every_activation(tmp_path, name):
    model = Sequential([layers.Conv2D(3, 3, activation=name, input_shape=(6, 6, 1)), layers.Activation(name)])
    assert_predicts_alike(in_keras(saved(model, tmp_path)), model, data()[0])


@pytest.fixture
def _scopes_closed():
    """Keras leaves a scope open where opening the next one fails; its name would precede that of all later ones."""
    yield
    keras.utils.clear_session()


@pytest.mark.usefixtures("_scopes_closed")
@pytest.mark.parametrize("name", ["a b", "ä", "a:b", "a+b", "_a", ">a", "-a", ".a", "a.b-c>d_9", "A"])
@pytest.mark.parametrize("place", ["layer", "model"])
def test_save_warns_of_the_names_that_keras_refuses_and_of_no_others(tmp_path, place, name):
    layer, model = (name, "net") if place == "layer" else ("flat", name)
    ours = Sequential([layers.Input((6, 6, 1)), layers.Flatten(name=layer)], name=model)
    x = data()[0]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", MinicnnWarning)
        path = saved(ours, tmp_path)
    refused = any(issubclass(w.category, MinicnnWarning) for w in warned)
    if refused:
        with pytest.raises(ValueError, match="is not a valid"):
            in_keras(path).predict(x, verbose=0)
    else:
        assert_predicts_alike(in_keras(path), ours, x)


@pytest.mark.parametrize("activation", [activations.LeakyRelu(0.125), activations.Elu(0.5)])
@pytest.mark.filterwarnings("ignore::minicnn.errors.MinicnnWarning")
def test_keras_refuses_activations_with_parameters_as_save_says(tmp_path, activation):
    ours = Sequential([layers.Conv2D(2, 3, activation=activation, input_shape=(6, 6, 1))])
    with pytest.raises(TypeError, match="activation"):
        in_keras(saved(ours, tmp_path))


def test_the_remedy_for_a_leaky_activation(tmp_path):
    ours = Sequential([layers.Conv2D(2, 3, input_shape=(6, 6, 1)), layers.LeakyReLU(0.125)])
    assert_predicts_alike(in_keras(saved(ours, tmp_path)), ours, data()[0])


OPTIMIZERS = {
    "adam": lambda: optimizers.Adam(0.01, beta_1=0.8, epsilon=1e-5, amsgrad=True),
    "adamw": lambda: optimizers.AdamW(0.01, weight_decay=0.1),
    "sgd": lambda: optimizers.SGD(0.1, momentum=0.5, nesterov=True, clipnorm=1.0),
    "rmsprop": lambda: optimizers.RMSprop(0.01, rho=0.8, momentum=0.5, centered=True),
    "adagrad": lambda: optimizers.Adagrad(0.1, global_clipnorm=1.0),
    "adadelta": lambda: optimizers.Adadelta(1.0, clipvalue=0.5),
    "exponential": lambda: optimizers.SGD(schedules.ExponentialDecay(0.1, 10, 0.5)),
    "inverse": lambda: optimizers.SGD(schedules.InverseTimeDecay(0.1, 1, 0.5)),
    "piecewise": lambda: optimizers.SGD(schedules.PiecewiseConstantDecay([1, 2], [0.1, 0.2, 0.3])),
    "polynomial": lambda: optimizers.SGD(schedules.PolynomialDecay(0.1, 10)),
    "cosine": lambda: optimizers.SGD(schedules.CosineDecay(0.1, 10)),
    "warm-up": lambda: optimizers.SGD(schedules.CosineDecay(0.1, 10, warmup_target=0.2, warmup_steps=3)),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_keras_scores_alike_and_trains_on(tmp_path, optimizer):
    """The optimizer has its arguments and starts anew, so one step from there is the step of a fresh optimizer here."""
    x, y = data()
    model = small(kernels="numpy")
    model.layers[3].rate = 0.0
    model.compile(OPTIMIZERS[optimizer](), "categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, verbose=0)
    theirs = in_keras(saved(model, tmp_path))
    assert_predicts_alike(theirs, model, x)
    scores = theirs.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(scores, model.evaluate(x, y, verbose=0), rtol=TOLERANCE)
    model.compile(OPTIMIZERS[optimizer](), "categorical_crossentropy", metrics=["accuracy"])
    ours = model.fit(x, y, verbose=0).history["loss"]
    np.testing.assert_allclose(theirs.fit(x, y, verbose=0).history["loss"], ours, rtol=1e-5)
    for after, expected in zip(theirs.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(after, expected, rtol=0, atol=2e-5)


COMPILED = {
    "smoothed": (lambda: losses.CategoricalCrossentropy(label_smoothing=0.25), ["acc"]),
    "summed": (lambda: losses.MeanSquaredError(reduction="sum"), ["mae", metrics.CategoricalAccuracy(name="hits")]),
    "named": (lambda: losses.CategoricalCrossentropy(name="entropy"), [metrics.TopKCategoricalAccuracy(k=2)]),
    "class numbers": (lambda: "sparse_categorical_crossentropy", ["accuracy"]),
    "squared": (lambda: "mse", ["mse", metrics.BinaryAccuracy(threshold=0.25)]),
    "no metrics": (lambda: "mse", None),
}


@pytest.mark.parametrize("kind", COMPILED)
def test_losses_and_metrics(tmp_path, kind):
    loss, given = COMPILED[kind]
    x, y = data()
    y = y.argmax(axis=1) if kind == "class numbers" else y
    model = small()
    model.compile("sgd", loss(), metrics=given)
    theirs = in_keras(saved(model, tmp_path))
    scores = theirs.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(scores, model.evaluate(x, y, verbose=0), rtol=TOLERANCE)


def test_lenet5(tmp_path):
    model = applications.lenet5(seed=0)
    x = np.random.default_rng(0).random((16, *model.input_shape[1:]), np.float32)
    assert_predicts_alike(in_keras(saved(model, tmp_path)), model, x)


def test_weights_alone(tmp_path):
    model = small()
    model.save_weights(tmp_path / "w.h5")
    theirs = in_keras(saved(small(seed=9), tmp_path))
    theirs.load_weights(tmp_path / "w.h5")
    for a, b in zip(theirs.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_files_of_the_installed_keras(tmp_path):
    """Trained and saved by Keras: read with its predictions, scores and optimizer state."""
    x, y = data()
    theirs = keras.Sequential(
        [
            keras.layers.Input((6, 6, 1)),
            keras.layers.Conv2D(3, 3, activation="relu", kernel_regularizer="l2"),
            keras.layers.BatchNormalization(),
            keras.layers.LeakyReLU(0.125),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(),
            keras.layers.Dropout(0.5),
            keras.layers.Flatten(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.25)
    theirs.compile(keras.optimizers.Adam(0.01, amsgrad=True), loss, metrics=["accuracy"])
    theirs.fit(x, y, verbose=0)
    slots = [np.asarray(v) for v in theirs.optimizer.variables[2:]]
    expected = theirs.predict(x, verbose=0), theirs.evaluate(x, y, verbose=0)
    theirs.save(tmp_path / "keras.h5")
    model = load_model(tmp_path / "keras.h5")
    np.testing.assert_allclose(model.predict(x, verbose=0), expected[0], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(model.evaluate(x, y, verbose=0), expected[1], rtol=TOLERANCE)
    assert model.optimizer.iterations == 1
    momentum, velocity, largest = slots[0:12:2], slots[1:12:2], slots[12:]
    for name, arrays in (("momentum", momentum), ("velocity", velocity), ("velocity_hat", largest)):
        np.testing.assert_array_equal(model.optimizer.slots[name], np.concatenate([a.ravel() for a in arrays]))
