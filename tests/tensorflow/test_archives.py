"""Files in Keras 3's formats, both ways: equal predictions, and the next step of training is the same.

MINICNN_RANDOM_FILES=100 draws a hundred random models instead of some.

After one step, weights agree within the larger of 5e-5 and a tenth of the learning rate, entries aside whose gradient
is below 1e-6 of the largest: Adam and its like divide by the gradient's own size, whose rounding then counts in full.
Losses agree within 1e-6 in float64; in float32 within 5e-5, since a batch of six through BatchNormalization on a map of
few pixels is divided by deviations down to the root of epsilon, which multiplies rounding by up to 30 a layer.
"""

import os
import warnings

import h5py
import numpy as np
import pytest

from minicnn import Sequential, load_model, optimizers
from minicnn import layers as own_layers
from minicnn.errors import MinicnnWarning
from minicnn.optimizers import schedules
from tests.saving.models import data, every_layer
from tests.saving.random_models import random_batch, random_model
from tests.saving.test_archives import compiled
from tests.tensorflow.live import floatx, keras
from tests.tensorflow.test_files import TOLERANCE, assert_predicts_alike, in_keras

MANY = int(os.environ.get("MINICNN_RANDOM_FILES", "14"))


def assert_next_step_alike(ours, theirs, x, y):
    """Train both on one batch and compare the weights."""
    theirs.run_eagerly = True  # one step: tracing it would take longer
    losses = ours.train_on_batch(x, y), theirs.train_on_batch(x, y)
    rtol = 1e-6 if ours.dtype == np.float64 else 5e-5
    np.testing.assert_allclose(np.ravel(losses[0])[0], np.ravel(losses[1])[0], rtol=rtol)
    largest = max(float(np.abs(g).max()) for layer in ours.layers for g in layer.grads.values())
    tolerance = max(5e-5, 0.1 * float(theirs.optimizer.learning_rate))
    stored = iter(theirs.get_weights())
    for layer in ours.layers:
        for name, array in layer.weights().items():
            difference = np.abs(array - next(stored))
            if name in layer.grads:
                difference = difference[np.abs(layer.grads[name]) >= 1e-6 * largest]
            assert difference.max(initial=0) <= tolerance, (layer, name)


@pytest.mark.parametrize("seed", range(MANY))
def test_keras_reads_random_models_and_goes_on(tmp_path, seed):
    dtype = "float64" if seed % 2 else "float32"
    model = random_model(seed, kernels="numpy", dtype=dtype)
    x, y = (array.astype(dtype) for array in random_batch(model, seed))
    for _ in range(2):
        model.train_on_batch(x, y)
    model.save(tmp_path / "m.keras")
    model.save(tmp_path / "m.h5")
    model.save_weights(tmp_path / "m.weights.h5")
    with floatx(dtype):
        compare_files(tmp_path, model, x, y)


def compare_files(tmp_path, model, x, y):
    theirs = in_keras(tmp_path / "m.keras")
    ours = model.predict(x, verbose=0)
    for read in (theirs, in_keras(tmp_path / "m.h5")):
        np.testing.assert_allclose(np.asarray(read(x)), ours, rtol=0, atol=TOLERANCE)
    theirs.set_weights([np.zeros_like(w) for w in theirs.get_weights()])
    theirs.load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_allclose(np.asarray(theirs(x)), ours, rtol=0, atol=TOLERANCE)
    assert int(theirs.optimizer.iterations) == 2
    assert_next_step_alike(model, theirs, x, y)


def keras_model(optimizer):
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((6, 6, 2)),
            layers.Conv2D(3, 3, activation="relu", kernel_regularizer=keras.regularizers.L2(0.03125)),
            layers.BatchNormalization(momentum=0.75),
            layers.Flatten(),
            layers.Dense(4, activation="tanh"),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"])
    return model


KERAS_OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(0.0078125),
    "amsgrad": lambda: keras.optimizers.Adam(0.0078125, amsgrad=True),
    "sgd": lambda: keras.optimizers.SGD(0.0625),
    "nesterov": lambda: keras.optimizers.SGD(0.0625, momentum=0.5, nesterov=True),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.0078125, momentum=0.5, centered=True),
    "adagrad": lambda: keras.optimizers.Adagrad(0.0625),
    "adadelta": lambda: keras.optimizers.Adadelta(1.0),
    "adamw": lambda: keras.optimizers.AdamW(0.0078125),
    "string": lambda: "adam",
}


@pytest.mark.parametrize("optimizer", KERAS_OPTIMIZERS)
def test_minicnn_goes_on_from_keras(tmp_path, optimizer):
    """After three steps of Keras the fourth is Keras's own, from .keras and from .h5 (where Keras itself fails)."""
    x, y = data((6, 6, 2))
    x = x.astype(np.float32)
    theirs = keras_model(KERAS_OPTIMIZERS[optimizer]())
    for _ in range(3):
        theirs.train_on_batch(x, y)
    for name in ("m.keras", "m.weights.h5", "m.h5"):  # in this order: .h5 makes Keras forget the optimizer
        (theirs.save_weights if "weights" in name else theirs.save)(tmp_path / name)
    read = [load_model(tmp_path / name, kernels="numpy") for name in ("m.keras", "m.h5")]
    read.append(load_model(tmp_path / "m.keras", kernels="numpy"))
    read[2].set_weights([np.zeros_like(w) for w in read[2].get_weights()])
    read[2].optimizer.iterations = 1
    read[2].load_weights(tmp_path / "m.weights.h5")
    before = theirs.get_weights()
    assert_predicts_alike(theirs, read[0], x)
    for number, ours in enumerate(read):
        assert ours.optimizer.iterations == 3
        if number == 0:
            assert_next_step_alike(ours, theirs, x, y)
        else:
            for mine, first in zip(ours.get_weights(), before, strict=True):
                np.testing.assert_array_equal(mine, first)
            ours.train_on_batch(x, y)
        for mine, first in zip(ours.get_weights(), read[0].get_weights(), strict=True):
            np.testing.assert_array_equal(mine, first)


def test_weights_that_keras_saved_before_fit_leave_the_optimizer_as_it_is(tmp_path):
    """Keras warns of it too."""
    x, y = data((6, 6, 2))
    theirs, trained = keras_model("adam"), keras_model("adam")
    theirs.save_weights(tmp_path / "w.weights.h5")
    trained.save(tmp_path / "m.keras")
    ours = load_model(tmp_path / "m.keras", kernels="numpy")
    ours.train_on_batch(x, y)
    trained.train_on_batch(x, y)
    with pytest.warns(MinicnnWarning, match="stays as it is: it is from before the first step"):
        ours.load_weights(tmp_path / "w.weights.h5")
    with pytest.warns(UserWarning, match="Skipping variable loading for optimizer"):
        trained.load_weights(tmp_path / "w.weights.h5")
    assert ours.optimizer.iterations == int(trained.optimizer.iterations) == 1
    assert_next_step_alike(ours, trained, x.astype(np.float32), y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_layer_in_an_archive(tmp_path, dtype):
    model = every_layer(dtype=dtype)
    model.save(tmp_path / "m.keras")
    assert_predicts_alike(in_keras(tmp_path / "m.keras"), model, data((8, 8, 2))[0])
    model.save_weights(tmp_path / "m.weights.h5")
    theirs = in_keras(tmp_path / "m.keras")
    theirs.set_weights([np.zeros_like(w) for w in theirs.get_weights()])
    theirs.load_weights(tmp_path / "m.weights.h5")
    assert_predicts_alike(theirs, model, data((8, 8, 2))[0])


def nested():
    layers = keras.layers
    inner = keras.Sequential([layers.Input((8, 8, 2)), layers.Conv2D(2, 3), layers.BatchNormalization()], name="inner")
    deep = keras.Sequential([layers.Input((6, 6, 2)), layers.Conv2D(3, 3, name="conv2d"), inner_tail()], name="deep")
    return keras.Sequential([layers.Input((8, 8, 2)), inner, deep, layers.Flatten(), layers.Dense(3)])


def inner_tail():
    layers = keras.layers
    frozen = layers.BatchNormalization(name="frozen", trainable=False)
    return keras.Sequential([layers.Input((4, 4, 3)), layers.Conv2D(2, 2), frozen, layers.ReLU()], name="tail")


def chain():
    layers = keras.layers
    x = layers.Input((8, 8, 2))
    y = layers.Conv2D(2, 3)(x)
    y = layers.BatchNormalization()(y)
    inner = keras.Sequential([layers.Input((6, 6, 2)), layers.Conv2D(3, 3), layers.ReLU()], name="inner")
    y = layers.Dropout(0.5)(inner(y), training=False)
    y = layers.Dense(3)(layers.Flatten()(y))
    return keras.Model(x, y)


@pytest.mark.parametrize("make", [nested, chain])
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_nested_models_and_chains(tmp_path, make, ending):
    theirs = make()
    rng = np.random.default_rng(0)
    theirs.set_weights([rng.uniform(0.5, 1.0, w.shape) for w in theirs.get_weights()])
    theirs.compile("adam", "mse")
    x, y = rng.random((4, 8, 8, 2), np.float32), rng.random((4, 3), np.float32)
    for _ in range(2):
        theirs.train_on_batch(x, y)
    path = tmp_path / f"m{ending}"
    theirs.save(path)
    ours = load_model(path)
    assert isinstance(ours, Sequential)
    np.testing.assert_allclose(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), rtol=2e-6, atol=TOLERANCE)
    assert ours.optimizer.iterations == 2
    fresh = load_model(path, compile=False)
    fresh.set_weights([np.zeros_like(w) for w in fresh.get_weights()])
    fresh.load_weights(path)
    for a, b in zip(fresh.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def channels_first_and_last(last):
    """The model for maps (channels, height, width), or with a Permute what it computes on (height, width, channels)."""
    layers, data_format = keras.layers, "channels_last" if last else "channels_first"
    axis = 3 if last else 1
    return keras.Sequential(
        [
            layers.Input((8, 6, 2) if last else (2, 8, 6)),
            layers.Conv2D(4, 3, padding="same", data_format=data_format),
            layers.BatchNormalization(axis=axis),
            layers.MaxPooling2D(2, data_format=data_format),
            *([layers.Permute((3, 1, 2))] if last else []),
            layers.Flatten(data_format="channels_last"),
            layers.BatchNormalization(),
            layers.Dense(5, activation="relu"),
            layers.Dense(3),
        ]
    )


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_channels_first(tmp_path, name):
    first, last = channels_first_and_last(False), channels_first_and_last(True)
    rng = np.random.default_rng(0)
    last.set_weights([rng.uniform(0.0625, 0.25, w.shape) for w in last.get_weights()])
    last.compile(keras.optimizers.SGD(0.0078125, momentum=0.5), "mse")
    x, y = rng.random((4, 8, 6, 2), np.float32), rng.random((4, 3), np.float32)
    last.train_on_batch(x, y)
    first.set_weights(last.get_weights())
    first.compile(keras.optimizers.SGD(0.0078125, momentum=0.5), "mse")
    first.optimizer.build(first.trainable_variables)
    for to, value in zip(first.optimizer.variables, last.optimizer.variables, strict=True):
        to.assign(value)
    first.save(tmp_path / name)
    ours = load_model(tmp_path / name)
    assert ours.input_shape == (None, 8, 6, 2)
    np.testing.assert_allclose(ours.predict(x, verbose=0), last.predict(x, verbose=0), rtol=2e-6)
    last.train_on_batch(x, y)
    ours.train_on_batch(x, y)
    np.testing.assert_allclose(ours.predict(x, verbose=0), last.predict(x, verbose=0), rtol=2e-6)


def test_weights_of_a_model_with_other_layers_are_refused(tmp_path):
    theirs = keras_model("sgd")
    theirs.save_weights(tmp_path / "w.weights.h5")
    ours = Sequential([own_layers.Conv2D(3, 3, input_shape=(6, 6, 2)), own_layers.Flatten()])
    with pytest.raises(ValueError, match="holds weights of layers that the model does not have, batch_norm"):
        ours.load_weights(tmp_path / "w.weights.h5")


def test_layers_that_minicnn_does_not_have_are_named_together(tmp_path):
    layers = keras.layers
    theirs = keras.Sequential([layers.Input((6, 6)), layers.LSTM(4), layers.Dense(2), layers.LayerNormalization()])
    for name in ("m.keras", "m.h5"):
        theirs.save(tmp_path / name)
        with pytest.raises(ValueError, match=r"does not have the layers LSTM, LayerNormalization \(layer 1, LSTM, lay"):
            load_model(tmp_path / name)


def test_names_of_groups_are_kerass(tmp_path):
    """Each layer class is stored under the name that Keras's own file has for it."""
    every_layer().save(tmp_path / "m.keras")
    in_keras(tmp_path / "m.keras").save_weights(tmp_path / "theirs.weights.h5")
    every_layer().save_weights(tmp_path / "ours.weights.h5")
    with h5py.File(tmp_path / "ours.weights.h5") as ours, h5py.File(tmp_path / "theirs.weights.h5") as keras_file:
        assert set(ours["layers"]) == set(keras_file["layers"])


SCHEDULES = {
    "exponential": lambda: schedules.ExponentialDecay(0.125, 2, 0.5),
    "piecewise": lambda: schedules.PiecewiseConstantDecay([3, 5], [0.125, 0.0625, 0.03125]),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_keras_goes_on_with_a_schedule_where_it_was(tmp_path, schedule):
    model = compiled(optimizers.Adam(SCHEDULES[schedule]()))
    model.layers[3].rate = 0.0  # dropout
    x, y = data()
    model.fit(x, y, epochs=2, batch_size=8, verbose=0)
    model.save(tmp_path / "m.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Keras warns where it passes over the optimizer's variables
        theirs = in_keras(tmp_path / "m.keras")
    assert int(theirs.optimizer.iterations) == model.optimizer.iterations > 4
    assert_next_step_alike(model, theirs, x.astype(np.float32), y)


@pytest.mark.parametrize("ending", [".h5", ".keras"])
def test_layers_as_activations(tmp_path, ending):
    """Conv2D(..., activation=LeakyReLU(0.1)), as Keras takes it."""
    kinds = keras.layers
    theirs = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            kinds.Conv2D(4, 3, activation=kinds.LeakyReLU(0.1)),
            kinds.Conv2D(4, 3, activation=kinds.ReLU()),
            kinds.Flatten(),
            kinds.Dense(5, activation=kinds.ELU(0.5)),
            kinds.Dense(3, activation=kinds.Softmax()),
        ]
    )
    theirs.save(tmp_path / f"m{ending}")
    ours = load_model(tmp_path / f"m{ending}")
    assert [layer.activation.name for layer in ours.layers if hasattr(layer, "activation")] == [
        *("leaky_relu", "relu", "elu", "softmax")
    ]
    x = np.random.default_rng(0).standard_normal((5, 6, 6, 2)).astype(np.float32)
    np.testing.assert_allclose(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), rtol=0, atol=1e-6)
