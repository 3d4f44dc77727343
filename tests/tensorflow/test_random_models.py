"""Random Sequential models, drawn by hypothesis, beside live Keras: prediction, five training steps, evaluate.

MINICNN_RANDOM_MODELS says how many are drawn, 12 by default.
"""

import os

import numpy as np
import pytest
from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st

import minicnn
from minicnn import Sequential
from minicnn import layers as L
from minicnn.errors import ShapeError
from minicnn.regularizers import L1, L1L2, L2
from tests.tensorflow.live import floatx, keras, keras_twin

COUNT = int(os.environ.get("MINICNN_RANDOM_MODELS", "12"))
BATCH, STEPS, CLASSES = 8, 5, 3
LARGEST_MAP = 14

PAIRS = st.one_of(st.integers(1, 4), st.tuples(st.integers(1, 5), st.integers(1, 4)))
PADDINGS = st.sampled_from(["valid", "same"])
FUNCTIONS = st.sampled_from(
    ["linear", "relu", "tanh", "sigmoid", "elu", "selu", "silu", "gelu", "softplus", "leaky_relu"]
)
PENALTIES = st.sampled_from([None, None, L2(2**-7), L1(2**-9), L1L2(2**-10, 2**-8)])
BIAS_PENALTIES = st.sampled_from([None, None, L2(2**-7)])
"""No L1: a bias starts at 0, where |w| has its kink; see test_an_l1_penalty_on_a_bias_without_gradient."""


def options(**strategies):
    return st.fixed_dictionaries(strategies)


@st.composite
def strides_or_dilation(draw):
    """As Keras, one of both alone may exceed 1."""
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    return draw(st.one_of(st.just({}), options(strides=pairs), options(dilation_rate=pairs)))


@st.composite
def convolutions(draw):
    groups = draw(st.sampled_from([1, 1, 2]))
    own = draw(
        options(kernel_size=PAIRS, padding=PADDINGS, activation=FUNCTIONS, use_bias=st.booleans(),
                kernel_regularizer=PENALTIES, bias_regularizer=BIAS_PENALTIES)
    )  # fmt: skip
    return L.Conv2D, {
        "filters": groups * draw(st.integers(1, 4)),
        "groups": groups,
        **own,
        **draw(strides_or_dilation()),
    }


@st.composite
def depthwise_convolutions(draw):
    own = draw(options(kernel_size=PAIRS, padding=PADDINGS, activation=FUNCTIONS, strides=st.integers(1, 2)))
    if draw(st.booleans()):
        return L.DepthwiseConv2D, {**own, "depth_multiplier": draw(st.integers(1, 2))}
    return L.SeparableConv2D, {**own, "filters": draw(st.integers(1, 4)), "pointwise_regularizer": draw(PENALTIES)}


@st.composite
def transposed_convolutions(draw):
    own = draw(options(filters=st.integers(1, 3), kernel_size=PAIRS, padding=PADDINGS, strides=st.integers(1, 2)))
    return L.Conv2DTranspose, own


@st.composite
def poolings(draw):
    cls = draw(st.sampled_from([L.MaxPooling2D, L.AveragePooling2D]))
    strides = draw(st.one_of(st.none(), st.integers(1, 3)))
    return cls, {"pool_size": draw(PAIRS), "strides": strides, "padding": draw(PADDINGS)}


@st.composite
def others(draw):
    return draw(
        st.sampled_from(
            [
                (L.BatchNormalization, {"momentum": 0.75, "epsilon": 2**-8}),
                (L.BatchNormalization, {"momentum": 0.5, "epsilon": 2**-8, "gamma_regularizer": L2(2**-8)}),
                (L.BatchNormalization, {"scale": False, "epsilon": 2**-8, "momentum": 0.75}),
                (L.Activation, {"activation": draw(FUNCTIONS)}),
                (L.LeakyReLU, {"negative_slope": 0.25}),
                (L.ReLU, {"max_value": 6.0}),
                (L.Dropout, {"rate": 0.0}),
                (L.ZeroPadding2D, {"padding": ((0, 1), (2, 0))}),
                (L.UpSampling2D, {"size": (1, 2)}),
                (L.Rescaling, {"scale": 0.5, "offset": 0.25}),
            ]
        )
    )


BLOCKS = st.one_of(
    convolutions(), convolutions(), poolings(), depthwise_convolutions(), transposed_convolutions(), others()
)
ENDS = {
    "categorical_crossentropy": [(L.Dense, {"units": CLASSES, "activation": "softmax"})],
    "binary_crossentropy": [(L.Dense, {"units": CLASSES, "activation": "sigmoid", "kernel_regularizer": L2(2**-7)})],
    "mse": [(L.Dense, {"units": CLASSES})],
}
OPTIMIZERS = {
    "sgd": ("SGD", {"learning_rate": 2**-6}),
    "momentum": ("SGD", {"learning_rate": 2**-7, "momentum": 0.75}),
    "nesterov": ("SGD", {"learning_rate": 2**-7, "momentum": 0.75, "nesterov": True}),
    "adam": ("Adam", {"learning_rate": 2**-8, "beta_1": 0.75, "beta_2": 0.875, "epsilon": 2**-8}),
    "rmsprop": ("RMSprop", {"learning_rate": 2**-8, "rho": 0.75, "epsilon": 2**-8}),
}


@st.composite
def architectures(draw):
    """The input's shape, the layers as (class, arguments), the loss."""
    sample = draw(st.integers(3, 10)), draw(st.integers(3, 10)), draw(st.integers(1, 3))
    layers, shape = [], sample
    for cls, arguments in draw(st.lists(BLOCKS, min_size=2, max_size=6)):
        try:
            after = cls(**arguments).output_shape(shape)
        except ShapeError:  # a window that does not fit, or groups that do not divide the channels
            continue
        if max(after[:2]) <= LARGEST_MAP:
            layers.append((cls, arguments))
            shape = after
    layers.append((draw(st.sampled_from([L.Flatten, L.Flatten, L.GlobalAveragePooling2D, L.GlobalMaxPooling2D])), {}))
    if draw(st.booleans()):
        layers.append((L.Dense, {"units": 6, "activation": draw(FUNCTIONS), "bias_regularizer": draw(BIAS_PENALTIES)}))
    loss = draw(st.sampled_from(sorted(ENDS)))
    return sample, layers + ENDS[loss], loss


def compiled_pair(architecture, optimizer, seed, dtype):
    """Ours and Keras's with the same weights. Keras runs eagerly: the same numbers without half a second of tracing."""
    sample, layers, loss = architecture
    ours = Sequential([L.Input(sample), *(cls(**arguments) for cls, arguments in layers)], seed=seed, dtype=dtype)
    theirs = keras_twin(ours)
    name, arguments = OPTIMIZERS[optimizer]
    ours.compile(getattr(minicnn.optimizers, name)(**arguments), loss)
    theirs.compile(getattr(keras.optimizers, name)(**arguments), loss, run_eagerly=True, jit_compile=False)
    return ours, theirs


def numbers(model, x, y):
    """What is compared: a prediction, the losses of five steps, and an evaluation after them."""
    predicted = model.predict_on_batch(x[:BATCH])
    batches = [slice(k * BATCH, (k + 1) * BATCH) for k in range(STEPS)]
    losses = [float(model.train_on_batch(x[b], y[b])) for b in batches]
    return np.asarray(predicted), np.array(losses), float(model.evaluate(x, y, batch_size=13, verbose=0))


def distance(ours, theirs):
    """The largest difference over max(1, the largest reference)."""
    return float(np.abs(ours - theirs).max() / max(1, np.abs(theirs).max()))


TOLERANCES = {"float32": 1e-5, "float64": 1e-8}
"""The largest differences found among 260 models were, in float32, 4e-7 in predictions and losses,
but for one model; in float64 4e-9, since Keras rounds some constants, such as slopes, to float32."""

ROUNDING_DECIDES = max(1, COUNT // 200)
"""How many models may differ by more in float32 if they agree in float64."""


def differences(architecture, optimizer, seed, dtype):
    """Of prediction, losses, evaluation and weights, between ours and Keras's."""
    sample, _, _ = architecture
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (BATCH * STEPS, *sample)).astype("float32").astype(dtype)
    y = np.eye(CLASSES)[rng.integers(0, CLASSES, len(x))].astype(dtype)
    with floatx(dtype):
        ours, theirs = compiled_pair(architecture, optimizer, seed, dtype)
        found = [distance(a, b) for a, b in zip(numbers(ours, x, y), numbers(theirs, x, y), strict=True)]
    return [*found, max(distance(a, b) for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True))]


def test_random_models():
    """All agree within TOLERANCES: predictions always, five losses, the evaluation and the weights after them as well.

    In float32 one rounding may decide whether a relu lets its gradient through, or which pixel is largest, and what
    follows differs by as much as that gradient. So a model that differs must agree to 1e-8 in float64, and there may be
    few of them. Among 8,000 models drawn so, with L1 on biases too, our own float32 and float64 took no such decision
    apart, and where they differed by more than 1e-5 it was for L1 on a bias.
    """
    decided = []

    @settings(
        max_examples=COUNT, phases=[Phase.generate]
    )  # shrinking takes minutes, and the models are small as they are
    @given(
        architecture=architectures(),
        optimizer=st.sampled_from(sorted(OPTIMIZERS)),
        seed=st.integers(0, 2**32 - 1),
        dtype=st.sampled_from(["float32", "float64"]),
    )
    def check(architecture, optimizer, seed, dtype):
        found = differences(architecture, optimizer, seed, dtype)
        note(f"{dtype}: prediction, losses, evaluation, weights differ by {found}")
        assert found[0] <= TOLERANCES[dtype]
        if max(found) > TOLERANCES[dtype]:
            assert dtype == "float32"
            assert max(differences(architecture, optimizer, seed, "float64")) <= TOLERANCES["float64"]
            decided.append((found, architecture, optimizer, seed))

    check()
    assert len(decided) <= ROUNDING_DECIDES, decided


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_an_l1_penalty_on_a_bias_without_gradient(optimizer):
    """What made random models differ: by 1e-4 in a bias with RMSprop in float32, by 1e-5 with momentum in float64.

    Normalization takes away the mean, so the bias before it has the gradient 0, which comes out as some 1e-8 of either
    sign. After one step the bias has that sign, and L1's gradient is ±l1, however near to 0 the bias is. No optimizer
    divides the noise itself up to a step's size: with these epsilons of 2^-8, RMSprop multiplies by 16 at most.
    """
    l1, normalization = 2**-9, (L.BatchNormalization, {"epsilon": 2**-8, "momentum": 0.75})
    convolution = (L.Conv2D, {"filters": 4, "kernel_size": 3, "bias_regularizer": L1(l1)})
    sample = (6, 6, 2)
    architecture = sample, [convolution, normalization, (L.Flatten, {}), *ENDS["categorical_crossentropy"]], "mse"
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (BATCH * STEPS, *sample)).astype("float32")
    y = np.eye(CLASSES, dtype="float32")[rng.integers(0, CLASSES, len(x))]
    ours, theirs = compiled_pair(architecture, optimizer, 0, "float32")
    losses = []
    for k in range(STEPS):
        batch = slice(k * BATCH, (k + 1) * BATCH)
        losses.append([float(model.train_on_batch(x[batch], y[batch])) for model in (ours, theirs)])
        if k == 0:  # sign(0) = 0: the penalty has no part in it
            gradients = ours.layers[0].grads
            assert np.abs(gradients["bias"]).max() < 1e-6 * np.abs(gradients["kernel"]).max()
    losses = np.array(losses)
    assert distance(losses[:, 0], losses[:, 1]) <= TOLERANCES["float32"]
    undecided = {f"{ours.layers[0].name}/bias", f"{ours.layers[1].name}/moving_mean"}
    names = [f"{layer.name}/{name}" for layer in ours.layers for name in (*layer.params, *layer.state)]
    for name, a, b in zip(names, ours.get_weights(), theirs.get_weights(), strict=True):
        if name in undecided:  # rounding decides
            continue
        assert distance(a, b) <= TOLERANCES["float32"], name
