"""What export_onnx writes, run by ONNX Runtime beside predict: every layer, the sheet's models, and the refusals."""

import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from minicnn import Sequential, applications
from minicnn import layers as L
from minicnn.activations import ACTIVATIONS, Activation
from minicnn.errors import ConfigError, FileFormatError, MissingPackageError, NotBuiltError
from minicnn.layers import LAYERS
from minicnn.saving import export_onnx, onnx_layers
from tests.layers.cases import CASES


def onnx_predict(path, x):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (y,) = session.run(["output"], {"input": x})
    return y


def with_random_weights(model, seed=0):
    """The same model with weights that hide nothing; moving variances are positive."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        for name, array in layer.weights().items():
            array[...] = (
                rng.uniform(0.5, 2, array.shape) if name == "moving_variance" else rng.normal(0, 0.3, array.shape)
            )
    return model


def compare(model, path, x, tolerance=1e-5):
    """|difference| <= tolerance x max(1, largest output)."""
    export_onnx(model, path)
    expected, actual = model.predict(x, verbose=0), onnx_predict(path, x)
    assert actual.shape == expected.shape
    assert actual.dtype == np.float32
    assert np.abs(actual - expected).max() <= tolerance * max(1, np.abs(expected).max())


@pytest.mark.parametrize("case", [case for case in CASES if case.cls is not L.InputLayer], ids=str)
def test_every_layer_with_every_option(case, tmp_path):
    model = Sequential([L.Input(case.sample), case.make(None)], seed=0)
    compare(with_random_weights(model), tmp_path / "layer.onnx", 1.5 * case.batch(dtype="float32"))


def test_no_layer_or_activation_is_missing():
    assert set(onnx_layers.LAYERS) == set(LAYERS.values())
    assert set(onnx_layers.ACTIVATIONS) == set(ACTIVATIONS.values())


MIXED = {
    "maps after a reshape": [
        L.Dense(24),
        L.Reshape((2, 4, 3)),
        L.Conv2D(2, 2, padding="same"),
        L.Flatten(),
        L.Dense(3),
    ],
    "dense on maps": [L.Reshape((3, 2, 2)), L.Conv2D(4, 2, padding="same"), L.Dense(5, "tanh"), L.MaxPooling2D(2)],
    "reshape of maps": [L.Reshape((2, 3, 2)), L.Conv2D(5, 1), L.Reshape((5, 6)), L.Softmax(axis=1)],
    "softmax of channels": [L.Reshape((2, 3, 2)), L.Conv2D(5, 2, padding="same", activation="softmax")],
    "softmax of rows": [L.Reshape((2, 3, 2)), L.Conv2D(5, 2, padding="same"), L.Softmax(axis=1), L.Softmax(axis=-2)],
    "normalized rows": [L.Reshape((2, 3, 2)), L.Conv2D(5, 1), L.BatchNormalization(axis=1), L.ZeroPadding2D(1)],
    "kept dimensions": [L.Reshape((2, 3, 2)), L.GlobalMaxPooling2D(keepdims=True), L.Dense(4), L.Flatten()],
}


@pytest.mark.parametrize("case", MIXED)
def test_maps_change_their_order_where_they_must(case, tmp_path):
    model = Sequential(
        [L.Input((12,)), *(type(layer).from_config(layer.get_config()) for layer in MIXED[case])], seed=1
    )
    x = np.random.default_rng(1).normal(0, 1, (4, 12)).astype(np.float32)
    compare(with_random_weights(model), tmp_path / "mixed.onnx", x)


def test_convolutions_one_after_the_other_need_two_transposes(tmp_path):
    model = Sequential([L.Input((8, 8, 1)), L.Conv2D(2, 3), L.MaxPooling2D(2), L.Conv2D(3, 2), L.Flatten(), L.Dense(2)])
    export_onnx(model, tmp_path / "model.onnx")
    ops = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert ops == [
        *("Transpose", "Conv", "MaxPool", "Conv", "Transpose", "Reshape", "MatMul", "Add", "Identity"),
    ]


@pytest.mark.parametrize("name", ["cnn_relu", "cnn_tanh", "cnn_dropout", "lenet5", "cnn_cifar10", "lenet5_cifar10"])
def test_models_of_the_sheet(name, tmp_path):
    """On pixels from 0 to 1: on raw ones the logits of untrained weights are in the hundreds, and float32 is coarse."""
    model = applications.build(name, seed=0)
    x = np.random.default_rng(0).uniform(0, 1, (5, *model.input_shape[1:])).astype(np.float32)
    compare(model, tmp_path / "model.onnx", x)


def test_a_float64_model_is_rounded(tmp_path):
    model = Sequential(
        [L.Input((6, 6, 2)), L.Conv2D(3, 3, activation="gelu"), L.Flatten(), L.Dense(2)], dtype="float64"
    )
    x = np.random.default_rng(0).normal(0, 1, (3, 6, 6, 2)).astype(np.float32)
    compare(model, tmp_path / "model.onnx", x)


def test_names_batches_and_equal_bytes(tmp_path):
    model = applications.lenet5(seed=0, name="digits")
    for file in ("a.onnx", "b.onnx"):
        export_onnx(model, str(tmp_path / file))
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.shape, taken.type) == ("input", ["N", 28, 28, 1], "tensor(float)")
    assert (given.name, given.shape, given.type) == ("output", ["N", 10], "tensor(float)")
    proto = onnx.load(tmp_path / "a.onnx")
    assert (proto.graph.name, proto.producer_name, proto.opset_import[0].version) == ("digits", "minicnn", 17)
    for count in (0, 1, 7):
        assert onnx_predict(tmp_path / "a.onnx", np.zeros((count, 28, 28, 1), np.float32)).shape == (count, 10)


class OwnLayer(L.Layer):
    def forward(self, x, run):
        return x, None


class OwnDense(L.Dense):
    pass


class Cube(Activation):
    def value(self, x):
        return x**3


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (OwnLayer(name="mine"), "export_onnx: OwnLayer 'mine' has no counterpart in ONNX; export a model of minicnn's"),
        (OwnDense(2, name="mine"), "export_onnx: OwnDense 'mine' has no counterpart"),
        (L.Dense(2, activation=Cube(), name="d"), "export_onnx: Dense 'd': activation 'cube' has no counterpart"),
    ],
)
def test_the_callers_own_classes_are_refused_by_name(layer, message, tmp_path):
    with pytest.raises(ConfigError) as error:
        export_onnx(Sequential([L.Input((4,)), layer]), tmp_path / "model.onnx")
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


def test_paths_and_unbuilt_models(tmp_path):
    model = Sequential([L.Input((4,)), L.Dense(2)])
    with pytest.raises(ConfigError, match=r"must end in \.onnx"):
        export_onnx(model, tmp_path / "model.h5")
    with pytest.raises(ConfigError, match="path must be a string or a Path, got 3"):
        export_onnx(model, 3)
    with pytest.raises(FileFormatError, match="make it first"):
        export_onnx(model, tmp_path / "nowhere" / "model.onnx")
    with pytest.raises(NotBuiltError, match="has no weights yet"):
        export_onnx(Sequential([L.Dense(2)]), tmp_path / "model.onnx")


def test_without_the_package_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingPackageError, match=r'needs the package onnx, .* pip install "minicnn\[onnx\]"') as error:
        export_onnx(Sequential([L.Input((4,)), L.Dense(2)]), tmp_path / "model.onnx")
    assert isinstance(error.value, ImportError)
    assert isinstance(error.value, ValueError)
    assert not list(tmp_path.iterdir())
