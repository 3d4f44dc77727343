"""Numbers recorded from Keras 3.15 on TensorFlow: these tests need no TensorFlow.

tests/goldens/ holds our own, written by write_goldens.py there. The traces of a whole training come from the shared
folder.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from minicnn import Sequential, losses, optimizers
from minicnn.kernels import KERNEL_SETS
from minicnn.layers import (
    LAYERS,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Flatten,
    Input,
    MaxPooling2D,
    Run,
)
from minicnn.losses import CategoricalCrossentropy
from minicnn.regularizers import L2
from tests.shared import shared_folder

FOLDER = Path(__file__).parent / "goldens"
CASES = json.loads((FOLDER / "goldens.json").read_text())
ARRAYS = dict(np.load(FOLDER / "goldens.npz", allow_pickle=False))
TRAINING = CASES["training"]
NUMPY_AND_NUMBA = pytest.mark.parametrize("kernels", ["numpy", "numba"])


def assert_close(ours, theirs, tolerance=1e-5):
    """|difference| <= tolerance x max(1, largest reference), and equal shapes."""
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(np.float64) - theirs).max() <= tolerance * max(1.0, np.abs(theirs).max())


def stored(prefix):
    """The arrays prefix0, prefix1, ... as far as they go."""
    names = itertools.takewhile(ARRAYS.__contains__, (f"{prefix}{k}" for k in itertools.count()))
    return [ARRAYS[name] for name in names]


def case_name(case):
    options = " ".join(
        f"{k}={v}" for k, v in case["config"].items() if k not in ("kernel_regularizer", "bias_regularizer")
    )
    return f"{case.get('model', '')} {case['class_name']} {options}".strip()


def numbered(cases):
    return pytest.mark.parametrize("number", range(len(cases)), ids=[case_name(case) for case in cases])


@NUMPY_AND_NUMBA
@numbered(CASES["layers"])
def test_layer(number, kernels):
    case = CASES["layers"][number]
    key = f"layers/{number}/"
    layer = LAYERS[case["class_name"]].from_config(case["config"])
    layer.ensure_built(tuple(case["sample"]), np.dtype("float32"), np.random.default_rng(0))
    layer.set_weights(stored(key + "weight"))
    run = Run(KERNEL_SETS[kernels], training=case["training"])
    y, saved = layer.forward(ARRAYS[key + "x"].copy(), run)
    dx = layer.backward(ARRAYS[key + "dy"].copy(), saved, run)
    assert_close(y, ARRAYS[key + "y"])
    assert_close(dx, ARRAYS[key + "dx"])
    for gradient, reference in zip(layer.grads.values(), stored(key + "gradient"), strict=True):
        assert_close(gradient, reference)
    if case["training"]:
        for array, reference in zip(layer.get_weights(), stored(key + "after"), strict=True):
            assert_close(array, reference)


@NUMPY_AND_NUMBA
@numbered(CASES["losses"])
def test_loss(number, kernels):
    case = CASES["losses"][number]
    y_true, y_pred, gradient = (ARRAYS[f"losses/{number}/{name}"] for name in ("y_true", "y_pred", "gradient"))
    weights = ARRAYS["losses/weights"]
    loss = losses.get({"class_name": case["class_name"], "config": case["config"]})
    assert loss(y_true, y_pred, weights) == pytest.approx(case["value"], rel=1e-5)
    each, ours = loss.value_and_gradient(loss.align(y_true, y_pred), y_pred, KERNEL_SETS[kernels])
    assert loss.reduce(each, weights) == pytest.approx(case["value"], rel=1e-5)
    assert_close(loss.scaled(ours, each, weights), gradient)


def new_model(name, **kwargs):
    layers = [LAYERS[class_name].from_config(config) for class_name, config in TRAINING["models"][name]]
    model = Sequential([Input(ARRAYS["training/x"].shape[1:]), *layers], **kwargs)
    model.set_weights([ARRAYS[f"training/{name}/{k}"] for k in range(len(model.get_weights()))])
    return model


@NUMPY_AND_NUMBA
@numbered(TRAINING["runs"])
def test_five_steps(number, kernels):
    run = TRAINING["runs"][number]
    model = new_model(run["model"], kernels=kernels)
    model.compile(
        optimizers.get({"class_name": run["class_name"], "config": run["config"]}), "categorical_crossentropy"
    )
    x, y = ARRAYS["training/x"], ARRAYS["training/y"]
    ours = [model.train_on_batch(x[4 * k : 4 * k + 4], y[4 * k : 4 * k + 4]) for k in range(5)]
    np.testing.assert_allclose(ours, run["losses"], rtol=1e-5)
    for array, reference in zip(model.get_weights(), stored(f"training/{run['model']}/{number}/"), strict=True):
        assert_close(array, reference)


@NUMPY_AND_NUMBA
@pytest.mark.parametrize("fit", TRAINING["fits"], ids=lambda fit: fit["model"])
def test_fit(fit, kernels):
    model = new_model(fit["model"], kernels=kernels)
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"], weighted_metrics=["mse"])
    x, y, weights = (ARRAYS[f"training/{name}"] for name in ("x", "y", "sample_weight"))
    history = model.fit(
        x, y, batch_size=6, epochs=2, shuffle=False, verbose=0, validation_split=0.25, sample_weight=weights
    ).history
    assert set(history) == set(fit["history"])
    for key, values in fit["history"].items():
        np.testing.assert_allclose(history[key], values, rtol=1e-5, err_msg=key)
    np.testing.assert_allclose(model.evaluate(x, y, verbose=0), fit["evaluate"], rtol=1e-5)


# -- the traces of the shared folder: three epochs that exercise every convention but dropout


@pytest.fixture(scope="module")
def trace():
    folder = shared_folder()
    path = folder / "keras_files" / "golden_tf.npz" if folder else None
    if path is None or not path.is_file():
        pytest.skip("golden_tf.npz is not there: set MINICNN_SHARED to the folder that has keras_files/")
    return dict(np.load(path, allow_pickle=False))


TRACES = {
    "adam": (lambda: optimizers.Adam(0.01), {}, False),
    "sgdm": (lambda: optimizers.SGD(0.05, momentum=0.9), {}, False),
    "nest": (lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True), {}, False),
    "adam_sw": (lambda: optimizers.Adam(0.01), {}, True),
    "adam_ls": (lambda: optimizers.Adam(0.01), {"label_smoothing": 0.1}, False),
}


@NUMPY_AND_NUMBA
@pytest.mark.parametrize("run", TRACES)
def test_trace(trace, run, kernels):
    make_optimizer, loss, weighted = TRACES[run]
    model = Sequential(
        [
            Input((9, 9, 2)),
            Conv2D(4, 3, strides=2, padding="same", activation="relu", kernel_regularizer=L2(0.01)),
            BatchNormalization(),
            MaxPooling2D(2, padding="same"),
            Conv2D(5, (3, 2), padding="same", activation="relu"),
            AveragePooling2D(2, padding="same"),
            Flatten(),
            Dense(3, activation="softmax", kernel_regularizer=L2(0.02)),
        ],
        kernels=kernels,
    )
    model.set_weights([trace[f"w{k}"] for k in range(10)])
    model.compile(make_optimizer(), CategoricalCrossentropy(**loss), metrics=["accuracy"])
    np.testing.assert_allclose(model.predict(trace["X"], verbose=0), trace[f"{run}_pred0"], rtol=0, atol=2e-6)
    history = model.fit(
        trace["X"],
        trace["Y"],
        batch_size=8,
        epochs=3,
        shuffle=False,
        verbose=0,
        validation_data=(trace["XV"], trace["YV"]),
        sample_weight=trace["SW"] if weighted else None,
    ).history
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    for key, values in history.items():
        np.testing.assert_allclose(values, trace[f"{run}_h_{key}"], rtol=0, atol=2e-6, err_msg=key)
    for k, array in enumerate(model.get_weights()):
        np.testing.assert_allclose(array, trace[f"{run}_f{k}"], rtol=0, atol=5e-6)
    np.testing.assert_allclose(model.get_weights()[5], trace[f"{run}_f5"], rtol=0, atol=1e-6)  # the biased variance
    np.testing.assert_allclose(model.predict(trace["XV"], verbose=0), trace[f"{run}_pred"], rtol=0, atol=2e-6)
    np.testing.assert_allclose(
        model.evaluate(trace["XV"], trace["YV"], verbose=0), trace[f"{run}_eval"], rtol=0, atol=2e-6
    )
