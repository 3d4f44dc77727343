"""What minicnn does not have and a model can be read without: it acts in training alone, or only rounds."""

import h5py
import numpy as np
import pytest

from minicnn import Sequential, layers, load_model
from minicnn.errors import MinicnnWarning
from minicnn.saving import conversion
from minicnn.saving.contents import contents
from tests.saving.models import data, same_weights, small
from tests.saving.test_dialects import layer_config, rewritten

MAX_NORM = {"class_name": "MaxNorm", "config": {"max_value": 2.0, "axis": 0}}
L2 = {"module": "keras.regularizers", "class_name": "L2", "config": {"l2": 0.01}, "registered_name": None}


@pytest.fixture
def model():
    return small(name="net")


@pytest.fixture
def path(tmp_path, model):
    model.save(tmp_path / "model.h5")
    return tmp_path / "model.h5"


def renamed(number, name, **changes):
    def change(value):
        layer_config(number, name=name, **changes)(value)

    return change


@pytest.mark.parametrize(
    ("number", "changes", "left_out"),
    [
        (1, {"kernel_constraint": MAX_NORM}, "kernel_constraint MaxNorm of Conv2D 'it'"),
        (1, {"bias_constraint": {"name": "NonNeg"}}, "bias_constraint NonNeg of Conv2D 'it'"),
        (2, {"gamma_constraint": "unit_norm"}, "gamma_constraint unit_norm of BatchNormalization 'it'"),
        (
            5,
            {"kernel_constraint": MAX_NORM, "activity_regularizer": L2},
            "kernel_constraint MaxNorm of Dense 'it', activity_regularizer L2 of Dense 'it'",
        ),
    ],
)
def test_constraints_and_activity_regularizers(path, model, number, changes, left_out):
    rewritten(path, renamed(number, "it", **changes))
    with pytest.warns(MinicnnWarning) as caught:
        loaded = load_model(path)
    assert [str(warning.message) for warning in caught] == [
        f"{path}: minicnn does not have, and leaves out: {left_out}. This acts in training alone: the model predicts "
        "the same."
    ]
    assert caught[0].filename == __file__
    assert same_weights(loaded, model)
    x = data()[0]
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    for format in conversion.FORMATS:
        (lost, *_) = conversion.losses(contents(path), loaded, format)
        assert lost == f"what acts in training alone, and minicnn does not have: {left_out}"


def test_what_a_file_calls_a_constraint_stays_in_one_line(path):
    with pytest.warns(MinicnnWarning, match=r"leaves out: kernel_constraint a{38} of Conv2D"):
        load_model(rewritten(path, layer_config(1, kernel_constraint="\n\x1b" + "a" * 1000)))


def test_a_null_is_nothing_left_out(path, model):
    assert same_weights(load_model(rewritten(path, layer_config(1, kernel_constraint=None))), model)


NOISE = [
    ("GaussianNoise", {"stddev": 0.5}),
    ("SpatialDropout2D", {"rate": 0.5, "data_format": "channels_last"}),
    ("SpatialDropout2D", {"p": 0.5, "dim_ordering": "tf"}),
    ("RandomFlip", {"mode": "horizontal", "seed": 3}),
    ("ActivityRegularization", {"l1": 0.5, "l2": 0.0}),
]


@pytest.mark.parametrize(("class_name", "config"), NOISE)
def test_layers_of_noise_become_the_identity(path, model, class_name, config):
    def change(value):
        value["config"]["layers"].insert(1, {"class_name": class_name, "config": {"name": "noise", **config}})

    with pytest.warns(MinicnnWarning, match=f"leaves out: {class_name} 'noise'. This acts in training alone"):
        loaded = load_model(rewritten(path, change))
    assert isinstance(loaded.layers[0], layers.Activation)
    assert loaded.layers[0].name == "noise"
    x = data()[0]
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_the_first_layer_may_be_one_of_noise(path, model):
    """It then says the shape of the input."""

    def change(value):
        shape = {"batch_input_shape": value["config"]["layers"][0]["config"]["batch_input_shape"]}
        value["config"]["layers"][0] = {"class_name": "RandomFlip", "config": {"name": "flip", **shape}}

    with pytest.warns(MinicnnWarning, match="leaves out: RandomFlip 'flip'"):
        assert same_weights(load_model(rewritten(path, change)), model)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "mixed_float16", "mixed_bfloat16"])
def test_narrow_types_are_widened_with_a_warning(path, model, name):
    policy = {"class_name": "DTypePolicy", "config": {"name": name}}
    with pytest.warns(MinicnnWarning, match=f"computes in {name}, which is widened to float32"):
        assert same_weights(load_model(rewritten(path, layer_config(1, dtype=policy))), model)


def test_bfloat16_is_read_exactly(tmp_path):
    """Keras hands its bytes to HDF5 without a type; they are the upper half of float32."""
    model = Sequential([layers.Dense(3, use_bias=False, input_shape=(2,))])
    model.save_weights(tmp_path / "w.h5")
    numbers = np.array([[1.0, -2.5, 3.140625], [0.0, 2.0**-100, -(2.0**100)]], np.float32)
    halves = (numbers.view(np.uint32) >> 16).astype("<u2").view("V2")
    with h5py.File(tmp_path / "w.h5", "r+") as root:
        name = f"{model.layers[0].name}/{model.layers[0].name}/kernel:0"
        del root[name]
        root.create_dataset(name, data=halves)
    model.load_weights(tmp_path / "w.h5")
    np.testing.assert_array_equal(model.get_weights()[0], numbers)
