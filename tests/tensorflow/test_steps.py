"""Training step by step beside live Keras: same weights, same batches, no dropout.

In float32 five steps agree to 1e-5; later ones cannot, since training amplifies rounding. In float64 200 steps agree to
1e-8, with rates, betas, epsilons and penalties that are exact in binary, because Keras rounds some of them to float32.
"""

import numpy as np
import pytest

from minicnn import Sequential, applications, optimizers
from minicnn.layers import Activation, AveragePooling2D, BatchNormalization, Conv2D, Dense, Flatten, Input, MaxPooling2D
from minicnn.regularizers import L1L2, L2
from tests.tensorflow.live import digits, floatx, keras, keras_twin

SMALL = (8, 8, 2)


def batch_norm_model(sample=(28, 28, 1), classes=10, **kwargs):
    """Convolutions, each normalized, with l2 on kernels and biases, on the normalization and on the dense layer."""
    return Sequential(
        [
            Input(sample),
            Conv2D(6, 3, padding="same", activation="relu", kernel_regularizer=L2(2**-7), bias_regularizer=L2(2**-7)),
            BatchNormalization(momentum=0.75, epsilon=2**-10, gamma_regularizer=L2(2**-8)),
            MaxPooling2D(2),
            Conv2D(8, 3, use_bias=False, kernel_regularizer=L1L2(2**-10, 2**-7)),
            BatchNormalization(momentum=0.75, epsilon=2**-10),
            Activation("relu"),
            AveragePooling2D(2, padding="same"),
            Flatten(),
            Dense(classes, activation="softmax", kernel_regularizer=L2(2**-7)),
        ],
        **kwargs,
    )


MODELS = {"lenet5": applications.lenet5, "tanh": applications.cnn_tanh, "batch norm": batch_norm_model}
OPTIMIZERS = {
    "adam": ("Adam", {"learning_rate": 1e-3}),
    "nesterov": ("SGD", {"learning_rate": 1e-2, "momentum": 0.9, "nesterov": True}),
}


def compiled_pair(make, optimizer, **kwargs):
    """Ours and Keras's, with the same weights and the same optimizer."""
    name, arguments = optimizer
    ours = make(seed=1, **kwargs)
    theirs = keras_twin(ours)
    ours.compile(getattr(optimizers, name)(**arguments), "categorical_crossentropy")
    theirs.compile(getattr(keras.optimizers, name)(**arguments), "categorical_crossentropy", jit_compile=False)
    return ours, theirs


def losses_of(model, batches):
    return [float(model.train_on_batch(x, y)) for x, y in batches]


def digit_batches(count, size, scale, dtype="float32"):
    x, y = digits(count * size, dtype)
    x = x * np.asarray(scale, dtype)
    return [(x[k * size : (k + 1) * size], y[k * size : (k + 1) * size]) for k in range(count)]


@pytest.mark.parametrize("kernels", ["numpy", "numba"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_five_steps(model, optimizer, kernels):
    ours, theirs = compiled_pair(MODELS[model], OPTIMIZERS[optimizer], kernels=kernels)
    batches = digit_batches(5, 32, 1 / 255)
    np.testing.assert_allclose(losses_of(ours, batches), losses_of(theirs, batches), rtol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_five_steps_on_raw_pixels(model):
    ours, theirs = compiled_pair(MODELS[model], OPTIMIZERS["adam"])
    batches = digit_batches(5, 32, 1)
    np.testing.assert_allclose(losses_of(ours, batches), losses_of(theirs, batches), rtol=1e-5)


EXACT = {
    "adam": ("Adam", {"learning_rate": 2**-9, "beta_1": 0.875, "beta_2": 0.96875, "epsilon": 2**-10}),
    "nesterov": ("SGD", {"learning_rate": 2**-7, "momentum": 0.875, "nesterov": True}),
}


@pytest.mark.parametrize("optimizer", EXACT)
@pytest.mark.parametrize("model", MODELS)
def test_two_hundred_steps_in_float64(model, optimizer):
    with floatx("float64"):
        ours, theirs = compiled_pair(MODELS[model], EXACT[optimizer], dtype="float64")
        batches = digit_batches(10, 8, 2**-8, "float64") * 20
        mine, other = losses_of(ours, batches), losses_of(theirs, batches)
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-8)
        for array, reference in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_allclose(array, reference, rtol=0, atol=1e-8)


def small_model(**kwargs):
    return Sequential(
        [
            Input(SMALL),
            Conv2D(4, 3, activation="tanh", kernel_regularizer=L2(2**-7)),
            BatchNormalization(momentum=0.75, epsilon=2**-10),
            Flatten(),
            Dense(3, activation="softmax"),
        ],
        **kwargs,
    )


EVERY_OPTIMIZER = {
    "sgd": ("SGD", {"learning_rate": 0.125}),
    "sgd decay": ("SGD", {"learning_rate": 0.125, "weight_decay": 2**-6}),
    "momentum": ("SGD", {"learning_rate": 2**-5, "momentum": 0.75}),
    "nesterov": ("SGD", {"learning_rate": 2**-5, "momentum": 0.75, "nesterov": True}),
    "rmsprop": ("RMSprop", {"learning_rate": 2**-7, "rho": 0.75, "epsilon": 2**-10}),
    "rmsprop momentum": ("RMSprop", {"learning_rate": 2**-8, "rho": 0.75, "momentum": 0.5, "epsilon": 2**-10}),
    "rmsprop centered": ("RMSprop", {"learning_rate": 2**-8, "rho": 0.75, "centered": True, "epsilon": 2**-10}),
    "adagrad": ("Adagrad", {"learning_rate": 2**-5, "initial_accumulator_value": 0.125, "epsilon": 2**-10}),
    "adadelta": ("Adadelta", {"learning_rate": 1.0, "rho": 0.75, "epsilon": 2**-10}),
    "adam": ("Adam", {"learning_rate": 2**-7, "beta_1": 0.75, "beta_2": 0.875, "epsilon": 2**-10}),
    "amsgrad": ("Adam", {"learning_rate": 2**-7, "beta_1": 0.75, "beta_2": 0.875, "epsilon": 2**-10, "amsgrad": True}),
    "adamw": (
        "AdamW",
        {"learning_rate": 2**-7, "weight_decay": 2**-6, "beta_1": 0.75, "beta_2": 0.875, "epsilon": 2**-10},
    ),
    "clipnorm": ("SGD", {"learning_rate": 0.125, "clipnorm": 0.25}),
    "global_clipnorm": ("SGD", {"learning_rate": 0.125, "global_clipnorm": 0.25}),
    "clipvalue": ("SGD", {"learning_rate": 0.125, "clipvalue": 2**-5}),
}


def random_batches(count, dtype, size=8):
    rng = np.random.default_rng(5)
    return [
        (rng.normal(0, 1, (size, *SMALL)).astype(dtype), np.eye(3)[rng.integers(0, 3, size)].astype(dtype))
        for _ in range(count)
    ]


@pytest.mark.parametrize("optimizer", EVERY_OPTIMIZER)
def test_every_optimizer_in_float64(optimizer):
    with floatx("float64"):
        ours, theirs = compiled_pair(small_model, EVERY_OPTIMIZER[optimizer], dtype="float64")
        batches = random_batches(20, "float64")
        np.testing.assert_allclose(losses_of(ours, batches), losses_of(theirs, batches), rtol=0, atol=1e-8)
        for array, reference in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_allclose(array, reference, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adagrad", "Adadelta", "Adam", "AdamW"])
def test_every_optimizers_defaults_in_float32(name):
    ours, theirs = compiled_pair(small_model, (name, {}))
    batches = random_batches(5, "float32")
    np.testing.assert_allclose(losses_of(ours, batches), losses_of(theirs, batches), rtol=1e-5)


@pytest.mark.parametrize(
    "schedule",
    [
        ("ExponentialDecay", {"initial_learning_rate": 0.125, "decay_steps": 2, "decay_rate": 0.5}),
        ("PiecewiseConstantDecay", {"boundaries": [1, 3], "values": [0.125, 0.0625, 0.03125]}),
        ("CosineDecay", {"initial_learning_rate": 0.125, "decay_steps": 8}),
        ("PolynomialDecay", {"initial_learning_rate": 0.125, "decay_steps": 8}),
        ("InverseTimeDecay", {"initial_learning_rate": 0.125, "decay_steps": 1, "decay_rate": 0.5}),
    ],
    ids=lambda schedule: schedule[0],
)
def test_schedules(schedule):
    name, arguments = schedule
    ours = small_model(seed=1)
    theirs = keras_twin(ours)
    ours.compile(optimizers.SGD(getattr(optimizers.schedules, name)(**arguments)), "categorical_crossentropy")
    rate = getattr(keras.optimizers.schedules, name)(**arguments)
    theirs.compile(keras.optimizers.SGD(rate), "categorical_crossentropy", jit_compile=False)
    batches = random_batches(5, "float32")
    np.testing.assert_allclose(losses_of(ours, batches), losses_of(theirs, batches), rtol=1e-5)
    for array, reference in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(array, reference, rtol=1e-5, atol=1e-6)


def test_a_frozen_layer_stays_in_both():
    ours = small_model(seed=1)
    ours.layers[0].trainable = ours.layers[1].trainable = False
    theirs = keras_twin(ours)
    before = ours.get_weights()
    for model, library in ((ours, optimizers), (theirs, keras.optimizers)):
        model.compile(library.Adam(0.01), "categorical_crossentropy")
    batches = random_batches(5, "float32")
    np.testing.assert_allclose(losses_of(ours, batches), losses_of(theirs, batches), rtol=1e-5)
    for array, reference, start in zip(ours.get_weights()[:6], theirs.get_weights(), before, strict=False):
        np.testing.assert_array_equal(array, start)
        np.testing.assert_array_equal(reference, start)


@pytest.mark.parametrize("optimizer", ["nesterov", "adam"])
def test_a_layer_frozen_for_two_steps_finds_its_slots_again(optimizer):
    """As in Keras without a new compile: the slots belong to the parameters."""
    ours, theirs = compiled_pair(small_model, OPTIMIZERS[optimizer])
    theirs.compile(
        theirs.optimizer, "categorical_crossentropy", run_eagerly=True
    )  # so that `trainable` is heeded at once
    batches = random_batches(6, "float32")
    losses = []
    for model in (ours, theirs):
        losses.append(losses_of(model, batches[:2]))
        model.layers[0].trainable = False
        losses[-1] += losses_of(model, batches[2:4])
        model.layers[0].trainable = True
        losses[-1] += losses_of(model, batches[4:])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    for array, reference in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(array, reference, rtol=1e-5, atol=1e-6)
