"""The eight models of the sheet: each layer as the sheet has it, sizes, shapes, names, and one step of training."""

import numpy as np
import pytest

from minicnn import applications, optimizers
from minicnn.applications import APPLICATIONS
from minicnn.errors import ConfigError
from minicnn.layers import BatchNormalization, Conv2D, Dropout
from minicnn.utils import clear_session
from tests import sheet

PARAMETERS = {
    "cnn_relu": 34_826,
    "cnn_tanh": 34_826,
    "cnn_dropout": 34_826,
    "lenet5": 61_706,
    "alexnet_mnist": 21_601_130,
    "cnn_cifar10": 5_097_866,
    "lenet5_cifar10": 83_214,
    "alexnet_cifar10": 21_627_658,
}
SHAPES = {
    "lenet5": [(28, 28, 6), (14, 14, 6), (10, 10, 16), (5, 5, 16), (400,), (120,), (84,), (10,)],
    "alexnet_mnist": [
        (7, 7, 96),
        (4, 4, 96),
        (4, 4, 256),
        (2, 2, 256),
        (2, 2, 384),
        (2, 2, 384),
        (2, 2, 256),
        (1, 1, 256),
    ],
    "lenet5_cifar10": [(32, 32, 6), (32, 32, 6), (16, 16, 6), (12, 12, 16), (12, 12, 16), (6, 6, 16), (576,), (576,)],
}


def shapes(model):
    return [layer.output_shape(layer.input_shape) for layer in model.layers]


def test_the_table_holds_these_models():
    assert list(APPLICATIONS) == list(PARAMETERS)
    assert [application.exercise for application in APPLICATIONS.values()] == [
        "1",
        "2",
        "3",
        "4",
        "6",
        "7.1",
        "7.2",
        "7.3",
    ]


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_and_shapes(name):
    model = applications.build(name, seed=0)
    assert model.count_params() == PARAMETERS[name] == APPLICATIONS[name].parameters
    assert model.input_shape == ((None, 28, 28, 1) if APPLICATIONS[name].dataset == "mnist" else (None, 32, 32, 3))
    assert model.output_shape == (None, 10)
    assert not model.compiled


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_between_the_layers(name):
    found = shapes(applications.build(name))
    assert found[: len(SHAPES[name])] == SHAPES[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_one_step_of_training(name):
    """On raw pixels, as the sheet trains: a finite loss, and every trained parameter moves."""
    samples = 2 if "alexnet" in name else 8
    model = applications.build(name, seed=1)
    model.compile(
        optimizers.Adam(APPLICATIONS[name].learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (samples, *model.input_shape[1:])).astype(np.uint8)
    before = model.get_weights()
    loss, accuracy = model.train_on_batch(x, rng.integers(0, 10, samples))
    assert np.isfinite(loss)
    assert 0 <= accuracy <= 1
    after = model.get_weights()
    assert all(np.isfinite(array).all() for array in after)
    assert all((old != new).any() for old, new in zip(before, after, strict=True))
    assert model.predict(x, verbose=0).sum(axis=1) == pytest.approx(np.ones(samples), abs=1e-5)


@pytest.fixture(scope="module")
def trained_by_the_sheet(tmp_path_factory):
    """How the sheet's own code trains each model."""
    text = sheet.sheet_text()
    if text is None:
        pytest.skip("no shared/seed; set MINICNN_SHARED to the folder that has the exercise sheet in seed/")
    folder = tmp_path_factory.mktemp("sheet")
    (folder / "sheet.py").write_text(sheet.script(text), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        return dict(zip(PARAMETERS, sheet.trainings(folder / "sheet.py", folder, patch), strict=True))


@pytest.mark.parametrize("name", PARAMETERS)
def test_layers_rate_batches_and_epochs_are_the_sheets(trained_by_the_sheet, name):
    """Every argument of every layer, activations, dropout rates and penalties among them, and of the optimizer."""
    assert sheet.application(name) == trained_by_the_sheet[name]


def test_names_are_automatic_or_given():
    clear_session()
    model = applications.lenet5()
    assert model.name == "sequential"
    assert [layer.name for layer in model.layers] == [
        "conv2d",
        "average_pooling2d",
        "conv2d_1",
        "average_pooling2d_1",
        "flatten",
        "dense",
        "dense_1",
        "dense_2",
    ]
    assert applications.lenet5(name="mine").name == "mine"


def test_arguments_of_sequential_are_handed_on():
    one, other = (applications.build("lenet5", seed=3, dtype="float64", kernels="numpy") for _ in range(2))
    assert one.dtype == np.float64
    assert one.kernels.name == "numpy"
    for left, right in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_the_first_three_differ_in_activation_and_dropout_alone():
    relu, tanh, dropout = (applications.build(name) for name in ("cnn_relu", "cnn_tanh", "cnn_dropout"))
    activations = [
        {layer.activation.name for layer in m.layers if isinstance(layer, Conv2D)} for m in (relu, tanh, dropout)
    ]
    assert activations == [{"relu"}, {"tanh"}, {"relu"}]
    assert [sum(isinstance(layer, Dropout) for layer in m.layers) for m in (relu, tanh, dropout)] == [0, 0, 1]
    assert shapes(relu) == shapes(tanh)


@pytest.mark.parametrize("name", ["cnn_cifar10", "lenet5_cifar10", "alexnet_cifar10"])
def test_models_of_exercise_7_are_normalized_and_penalized(name):
    model = applications.build(name)
    convolutions = [layer for layer in model.layers if isinstance(layer, Conv2D)]
    assert sum(isinstance(layer, BatchNormalization) for layer in model.layers) == len(convolutions)
    for layer in convolutions:
        assert layer.regularizers.keys() == {"kernel", "bias"}
        assert all(regularizer.get_config() == {"l2": 0.01} for regularizer in layer.regularizers.values())


def test_unknown_name():
    with pytest.raises(ConfigError, match="unknown model 'lenet'; choose from cnn_relu"):
        applications.build("lenet")
