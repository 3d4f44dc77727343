"""Every loss with every option, on arrays and behind output layers: values and gradients as in live Keras."""

import numpy as np
import pytest

from minicnn import Sequential
from minicnn.kernels import KERNEL_SETS
from minicnn.layers import Activation, Conv2D, Dense, Input, Softmax
from minicnn.losses import BinaryCrossentropy, CategoricalCrossentropy, MeanSquaredError, SparseCategoricalCrossentropy
from tests.tensorflow.live import assert_close, keras, keras_twin, tf

WEIGHTS = np.array([1, 2, 0.5, 0, 1, 3], np.float32)
REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight")
CASES = {
    "categorical": (CategoricalCrossentropy, {}),
    "categorical logits": (CategoricalCrossentropy, {"from_logits": True}),
    "categorical smoothed": (CategoricalCrossentropy, {"label_smoothing": 0.1}),
    "categorical logits smoothed": (CategoricalCrossentropy, {"from_logits": True, "label_smoothing": 0.25}),
    "sparse": (SparseCategoricalCrossentropy, {}),
    "sparse logits": (SparseCategoricalCrossentropy, {"from_logits": True}),
    "binary": (BinaryCrossentropy, {}),
    "binary logits": (BinaryCrossentropy, {"from_logits": True}),
    "binary smoothed": (BinaryCrossentropy, {"label_smoothing": 0.1}),
    "binary logits smoothed": (BinaryCrossentropy, {"from_logits": True, "label_smoothing": 0.1}),
    "squared": (MeanSquaredError, {}),
}


def data(cls, arguments, shape=(6, 4), seed=0):
    """Labels and predictions that suit a loss; the probabilities do not sum to 1, as Keras's own tests have them."""
    rng = np.random.default_rng(seed)
    if arguments.get("from_logits") or cls is MeanSquaredError:
        y_pred = rng.normal(0, 2, shape)
    else:
        y_pred = rng.uniform(0.05, 0.95, shape)
    if cls is SparseCategoricalCrossentropy:
        y_true = rng.integers(0, shape[-1], shape[:-1])
    elif cls is CategoricalCrossentropy:
        y_true = np.eye(shape[-1])[rng.integers(0, shape[-1], shape[:-1])]
    elif cls is BinaryCrossentropy:
        y_true = rng.integers(0, 2, shape)
    else:
        y_true = rng.normal(0, 1, shape)
    return y_true.astype(np.float32), y_pred.astype(np.float32)


def keras_value_and_gradient(loss, y_true, y_pred, sample_weight):
    tensor = tf.constant(y_pred)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        value = loss(tf.constant(y_true), tensor, sample_weight=sample_weight)
    return value.numpy(), tape.gradient(value, tensor).numpy()


def compare(cls, arguments, y_true, y_pred, sample_weight=None):
    ours = cls(**arguments)
    want, want_gradient = keras_value_and_gradient(
        getattr(keras.losses, cls.__name__)(**arguments), y_true, y_pred, sample_weight
    )
    assert_close(ours(y_true, y_pred, sample_weight), want, what="value")
    aligned = ours.align(y_true, y_pred)
    for kernels in KERNEL_SETS.values():
        losses, gradient = ours.value_and_gradient(aligned, y_pred, kernels)
        assert_close(ours.reduce(losses, sample_weight), want, what=f"value with {kernels.name}")
        assert_close(ours.scaled(gradient, losses, sample_weight), want_gradient, what=f"gradient with {kernels.name}")


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", CASES)
def test_loss(case, reduction, weights):
    cls, arguments = CASES[case]
    compare(cls, {**arguments, "reduction": reduction}, *data(cls, arguments), weights)


@pytest.mark.parametrize("case", CASES)
def test_loss_on_maps(case):
    cls, arguments = CASES[case]
    compare(cls, arguments, *data(cls, arguments, shape=(6, 2, 3, 4)))


@pytest.mark.parametrize("case", CASES)
def test_weighted_loss_on_maps(case):
    cls, arguments = CASES[case]
    y_true, y_pred = data(cls, arguments, shape=(6, 2, 3, 4))
    weights = np.broadcast_to(WEIGHTS[:, None, None], (6, 2, 3))  # Keras wants the rank of the losses
    theirs = getattr(keras.losses, cls.__name__)(**arguments)(y_true, y_pred, sample_weight=weights).numpy()
    assert_close(cls(**arguments)(y_true, y_pred, WEIGHTS), theirs)


@pytest.mark.parametrize("case", CASES)
def test_loss_of_each_sample(case):
    cls, arguments = CASES[case]
    y_true, y_pred = data(cls, arguments)
    ours, theirs = cls(**arguments, reduction=None), getattr(keras.losses, cls.__name__)(**arguments, reduction=None)
    assert_close(ours(y_true, y_pred, WEIGHTS), theirs(y_true, y_pred, sample_weight=WEIGHTS).numpy())


@pytest.mark.parametrize("case", ["categorical", "sparse", "binary"])
def test_probabilities_of_0_and_1_are_clipped(case):
    cls, arguments = CASES[case]
    y_pred = np.array([[0, 1, 0], [1, 0, 0], [0.5, 0.5, 0], [1e-8, 1e-7, 1 - 1.1e-7]], np.float32)
    y_true = np.array([1, 1, 2, 0])
    if cls is not SparseCategoricalCrossentropy:
        y_true = np.eye(3, dtype=np.float32)[y_true]
    compare(cls, arguments, y_true, y_pred)


def test_one_output_takes_labels_of_either_shape():
    y_pred = np.array([[0.25], [0.75], [0.5]], np.float32)
    for y_true in (np.array([0.0, 1.0, 1.0]), np.array([[0.0], [1.0], [1.0]])):
        for cls in (BinaryCrossentropy, MeanSquaredError):
            assert_close(cls()(y_true, y_pred), getattr(keras.losses, cls.__name__)()(y_true, y_pred).numpy())


# -- behind an output layer: Keras on TensorFlow recovers the logits


OUTPUTS = {
    "softmax in the layer": lambda f: [Dense(4, activation=f)],
    "softmax of its own": lambda f: [Dense(4), Activation(f)],
    "softmax of a convolution": lambda f: [Conv2D(4, 1, activation=f)],
}


def models(layers, sample, loss, **arguments):
    """Ours and Keras's with the same weights and plain gradient descent of rate 1: a step shows the gradient."""
    ours = Sequential([Input(sample), *layers], seed=0, kernels=arguments.pop("kernels", "numba"))
    theirs = keras_twin(ours)
    ours.compile("sgd", loss)
    ours.optimizer.learning_rate = 1.0
    theirs.compile(
        keras.optimizers.SGD(1.0),
        getattr(keras.losses, type(loss).__name__).from_config(loss.get_config()),
        **arguments,
    )
    return ours, theirs


@pytest.mark.parametrize("kernels", ["numpy", "numba"])
@pytest.mark.parametrize("eager", [True, False], ids=["eager", "graph"])
@pytest.mark.parametrize("gap", [200, 400])
@pytest.mark.parametrize("case", ["categorical", "sparse"])
def test_a_confident_mistake_costs_the_gap_of_the_logits(case, gap, eager, kernels):
    loss = CASES[case][0]()
    ours, theirs = models([Dense(3, activation="softmax")], (1,), loss, run_eagerly=eager, kernels=kernels)
    weights = [np.array([[gap, 0, 0]], np.float32), np.zeros(3, np.float32)]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    x, y = np.ones((1, 1), np.float32), np.array([1])
    y = y if case == "sparse" else np.eye(3, dtype=np.float32)[y]
    assert ours.test_on_batch(x, y) == float(theirs.test_on_batch(x, y)) == gap
    assert ours.train_on_batch(x, y) == float(theirs.train_on_batch(x, y)) == gap
    np.testing.assert_array_equal(ours.get_weights()[1], [-1, 1, 0])
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("eager", [True, False], ids=["eager", "graph"])
@pytest.mark.parametrize("gap", [20, 200])
def test_binary_loss_behind_a_sigmoid_uses_the_logits(gap, eager):
    ours, theirs = models([Dense(1, activation="sigmoid")], (1,), BinaryCrossentropy(), run_eagerly=eager)
    weights = [np.array([[gap]], np.float32), np.zeros(1, np.float32)]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    x, y = np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32)
    assert ours.train_on_batch(x, y) == float(theirs.train_on_batch(x, y)) == gap
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert_close(ours.test_on_batch(x, y), float(theirs.test_on_batch(x, y)))


def compare_step(layers, sample, case):
    cls, arguments = CASES[case]
    ours, theirs = models(layers, sample, cls(**arguments), run_eagerly=True)
    x = np.random.default_rng(0).normal(0, 1, (6, *sample)).astype(np.float32)
    y, _ = data(cls, arguments, shape=(6, *ours.output_shape[1:]))
    assert_close(ours.train_on_batch(x, y), float(theirs.train_on_batch(x, y)), what="loss")
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert_close(mine, other, what="weights")


PLAIN = [case for case in CASES if "logits" not in case]
SUITED = [("sigmoid" if "binary" in case else "softmax", case) for case in PLAIN]
SUITED += [(activation, "squared") for activation in ("sigmoid", "tanh", "linear")]


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize(("activation", "case"), SUITED)
def test_a_step_behind_an_output_layer(output, activation, case):
    compare_step(OUTPUTS[output](activation), (2, 2, 3) if "convolution" in output else (3,), case)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize(
    ("activation", "case"), [("softmax", "binary"), ("sigmoid", "categorical"), ("sigmoid", "sparse")]
)
def test_a_step_of_an_unsuited_pair_takes_the_logits_for_the_losses_own(output, activation, case):
    """Keras hands any softmax's or sigmoid's logits to any cross-entropy, which applies its own function to them."""
    compare_step(OUTPUTS[output](activation), (2, 2, 3) if "convolution" in output else (3,), case)


def test_a_step_behind_a_softmax_layer():
    compare_step([Dense(4), Softmax()], (3, 5), "categorical")


@pytest.mark.parametrize("case", [case for case in CASES if "logits" in case])
def test_a_step_on_logits(case):
    compare_step([Dense(4)], (3,), case)
