"""The files themselves, looked at with plain h5py: what every Keras from 2.4 on finds where it looks."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from minicnn import Sequential, layers, losses, metrics, optimizers
from minicnn.errors import MinicnnWarning
from minicnn.optimizers import schedules
from minicnn.saving import keras_hdf5
from minicnn.saving.model_file import LayerWeights
from tests.saving.models import data, every_layer, small

ROOT = Path(__file__).resolve().parents[2]


def saved(model, folder, name="model.h5", **kwargs):
    model.save(folder / name, **kwargs)
    return h5py.File(folder / name, "r")


def trained(optimizer="adam", loss="categorical_crossentropy", model=None, **kwargs):
    model = model or small(name="net")
    for number, layer in enumerate(model.layers):
        layer.name = f"layer_{number}"
    model.compile(optimizer, loss, **kwargs)
    x, y = data()
    model.fit(x, y, batch_size=8, verbose=0)
    return model


def test_a_file_begins_as_keras_writes_it(tmp_path):
    saved(small(), tmp_path).close()
    assert (tmp_path / "model.h5").read_bytes()[:16].hex(" ") == "89 48 44 46 0d 0a 1a 0a 00 00 00 00 00 08 08 00"


def test_groups_attributes_and_arrays_of_a_whole_model(tmp_path):
    model = trained(metrics=["accuracy"])
    with saved(model, tmp_path) as root:
        assert sorted(root) == ["minicnn_optimizer", "model_weights"]
        assert sorted(root.attrs) == ["backend", "keras_version", "model_config", "training_config"]
        assert (root.attrs["backend"], root.attrs["keras_version"]) == ("tensorflow", "2.4.0")
        weights = root["model_weights"]
        assert list(weights.attrs["layer_names"]) == [b"layer_0", b"layer_1", b"layer_2", b"layer_3", b"layer_4"]
        assert weights.attrs["layer_names"].dtype.kind == "S"
        names = {name: list(weights[name].attrs["weight_names"]) for name in weights}
        assert names == {
            "layer_0": [b"layer_0/kernel:0", b"layer_0/bias:0"],
            "layer_1": [
                b"layer_1/gamma:0",
                b"layer_1/beta:0",
                b"layer_1/moving_mean:0",
                b"layer_1/moving_variance:0",
            ],
            "layer_2": [],
            "layer_3": [],
            "layer_4": [b"layer_4/kernel:0", b"layer_4/bias:0"],
        }
        assert weights["layer_2"].attrs["weight_names"].dtype == np.float64  # as Keras writes an empty list
        kernel = weights["layer_0/layer_0/kernel:0"]
        assert (kernel.shape, kernel.dtype.str, kernel.chunks, kernel.compression) == ((3, 3, 1, 3), "<f4", None, None)
        np.testing.assert_array_equal(kernel[()], model.layers[0].params["kernel"])
        np.testing.assert_array_equal(
            weights["layer_1/layer_1/moving_mean:0"][()], model.layers[1].state["moving_mean"]
        )


def test_the_model_configuration_holds_what_every_version_knows(tmp_path):
    with saved(every_layer(name="net"), tmp_path) as root:
        text = root.attrs["model_config"]
    config = json.loads(text)
    assert config["class_name"] == "Sequential"
    assert sorted(config["config"]) == ["layers", "name"]
    for entry in config["config"]["layers"]:
        entry["config"].pop("name")
    first = {entry["class_name"]: entry["config"] for entry in reversed(config["config"]["layers"])}
    common = {"trainable": True, "dtype": "float32"}
    assert first["InputLayer"] == {"batch_input_shape": [None, 8, 8, 2], "dtype": "float32"}
    assert first["Conv2D"] == {
        **common,
        "filters": 4,
        "kernel_size": [3, 2],
        "strides": [1, 1],
        "padding": "same",
        "dilation_rate": [1, 1],
        "activation": "relu",
        "use_bias": True,
        "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
        "bias_initializer": {"class_name": "Zeros", "config": {}},
        "kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.125}},
    }
    assert first["LeakyReLU"] == {**common, "alpha": 0.125}  # Keras 2's name, which Keras 3 takes
    assert first["GlobalAveragePooling2D"] == {**common, "keepdims": True}
    assert first["GlobalMaxPooling2D"] == common
    assert first["Dropout"] == {**common, "rate": 0.25, "seed": 5}
    assert first["BatchNormalization"]["axis"] == -1


def training_config(model, folder, **kwargs):
    with saved(model, folder, **kwargs) as root:
        return json.loads(root.attrs["training_config"])


def test_the_training_section(tmp_path):
    model = small()
    model.compile(optimizers.Adam(0.002), "categorical_crossentropy", metrics=["accuracy"])
    assert training_config(model, tmp_path) == {
        "loss": "categorical_crossentropy",
        "metrics": ["accuracy"],
        "weighted_metrics": None,
        "loss_weights": None,
        "optimizer_config": {
            "class_name": "Adam",
            "config": {
                "name": "adam",
                "learning_rate": 0.002,
                "beta_1": 0.9,
                "beta_2": 0.999,
                "epsilon": 1e-07,
                "amsgrad": False,
            },
        },
    }


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (losses.MeanSquaredError, "mean_squared_error"),
        (losses.CategoricalCrossentropy(), "categorical_crossentropy"),
        (
            losses.CategoricalCrossentropy(label_smoothing=0.25),
            {
                "class_name": "CategoricalCrossentropy",
                "config": {"name": "categorical_crossentropy", "from_logits": False, "label_smoothing": 0.25},
            },
        ),
        (
            losses.MeanSquaredError(reduction="sum"),
            {"class_name": "MeanSquaredError", "config": {"name": "mean_squared_error", "reduction": "sum"}},
        ),
    ],
)
def test_a_loss_is_a_name_where_that_says_all(tmp_path, loss, expected):
    model = small()
    model.compile("sgd", loss)
    assert training_config(model, tmp_path)["loss"] == expected


def test_metrics_are_names_where_that_says_all(tmp_path):
    model = small()
    given = ["acc", metrics.MeanSquaredError, metrics.CategoricalAccuracy(), metrics.TopKCategoricalAccuracy(k=2)]
    model.compile("sgd", "mse", metrics=given)
    assert training_config(model, tmp_path)["metrics"] == [
        "acc",
        "mean_squared_error",
        "categorical_accuracy",
        {"class_name": "TopKCategoricalAccuracy", "config": {"name": "top_k_categorical_accuracy", "k": 2}},
    ]


def test_accuracy_of_class_numbers_is_spelt_out(tmp_path):
    """Keras 2 would take "accuracy" in a file for that of one-hot labels."""
    model = small()
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy", "mae"])
    named = {"class_name": "SparseCategoricalAccuracy", "config": {"name": "accuracy"}}
    assert training_config(model, tmp_path)["metrics"] == [named, "mae"]


def test_a_schedule_without_what_early_versions_do_not_know(tmp_path):
    model = small()
    model.compile(optimizers.SGD(schedules.CosineDecay(0.1, 10)), "mse")
    rate = training_config(model, tmp_path)["optimizer_config"]["config"]["learning_rate"]
    assert (rate["module"], rate["class_name"]) == ("keras.optimizers.schedules", "CosineDecay")
    assert rate["config"] == {"initial_learning_rate": 0.1, "decay_steps": 10, "alpha": 0.0, "name": "CosineDecay"}


def test_own_group_with_the_optimizers_state(tmp_path):
    model = trained(optimizers.Adam(amsgrad=True))
    with saved(model, tmp_path) as root:
        group = root["minicnn_optimizer"]
        assert json.loads(group.attrs["state"]) == {
            "format": 1,
            "class_name": "Adam",
            "iterations": 3,
            "slots": ["momentum", "velocity", "velocity_hat"],
            "parameters": 6,
            "seed": 2,
            "steps_trained": 3,
            "epochs_trained": 1,
        }
        assert sorted(group) == ["momentum", "velocity", "velocity_hat"]
        assert [group["velocity"][str(n)].shape for n in range(6)] == [(3, 3, 1, 3), (3,), (3,), (3,), (48, 3), (3,)]
        stored = np.concatenate([group["velocity"][str(n)][()].ravel() for n in range(6)])
    np.testing.assert_array_equal(stored, model.optimizer.slots["velocity"])


OLD = [
    (optimizers.Adam, {}, "Adam/iter:0", ["m", "v"]),
    (optimizers.Adam, {"amsgrad": True}, "Adam/iter:0", ["m", "v", "vhat"]),
    (optimizers.SGD, {"momentum": 0.5}, "SGD/iter:0", ["momentum"]),
    (optimizers.SGD, {}, "SGD/iter:0", []),
    (optimizers.RMSprop, {"momentum": 0.5, "centered": True}, "RMSprop/iter:0", ["rms", "momentum", "mg"]),
    (optimizers.Adagrad, {}, "Adagrad/iter:0", ["accumulator"]),
    (optimizers.Adadelta, {}, "Adadelta/iter:0", ["accum_grad", "accum_var"]),
]
PARAMETERS = [
    "layer_0/kernel",
    "layer_0/bias",
    "layer_1/gamma",
    "layer_1/beta",
    "layer_4/kernel",
    "layer_4/bias",
]


@pytest.mark.parametrize(("cls", "arguments", "counter", "slots"), OLD)
def test_optimizer_for_keras_2_has_the_order_of_2_4(tmp_path, cls, arguments, counter, slots):
    model = trained(cls(**arguments))
    with saved(model, tmp_path, optimizer_for="keras2") as root:
        group = root["optimizer_weights"]
        names = [name.decode() for name in group.attrs["weight_names"]]
        assert names == [counter] + [f"{cls.__name__}/{p}/{slot}:0" for slot in slots for p in PARAMETERS]
        count = group[counter]
        assert (count.shape, count.dtype, count[()]) == ((), np.int64, 3)
        stored = [group[name][()].ravel() for name in names[1:]]
    ours = list(model.optimizer.slots.values())
    np.testing.assert_array_equal(np.concatenate([*stored, []]), np.concatenate([*ours, []]))


def test_what_came_with_keras_2_11_has_its_order(tmp_path):
    model = trained(optimizers.AdamW())
    with saved(model, tmp_path, optimizer_for="keras2") as root:
        names = [name.decode() for name in root["optimizer_weights"].attrs["weight_names"]]
        assert json.loads(root.attrs["training_config"])["optimizer_config"]["class_name"] == "Custom>AdamW"
    assert names == ["iteration:0"] + [f"AdamW/{p}/{slot}:0" for p in PARAMETERS for slot in ("m", "v")]

    model = trained(optimizers.SGD(weight_decay=0.125))  # has slots, even without momentum
    with saved(model, tmp_path, optimizer_for="keras2") as root:
        group = root["optimizer_weights"]
        assert len(group.attrs["weight_names"]) == 7
        assert json.loads(root.attrs["training_config"])["optimizer_config"]["class_name"] == "Custom>SGD"


def test_keras_2_writes_no_optimizer_weights_before_the_first_step(tmp_path):
    model = small()
    model.compile("adam", "mse")
    with saved(model, tmp_path, optimizer_for="keras2") as root:
        assert "optimizer_weights" not in root


def test_weights_alone(tmp_path):
    model = small()
    model.save_weights(tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5") as root:
        assert sorted(root) == sorted(layer.name for layer in model.layers)
        assert sorted(root.attrs) == ["backend", "keras_version", "layer_names"]
        assert [name.decode() for name in root.attrs["layer_names"]] == [layer.name for layer in model.layers]


def test_long_lists_of_names_are_split_as_keras_splits_them(tmp_path):
    """401 names of 311 bytes: 201 and 200, the smallest number of nearly equal parts that fit into an attribute."""
    names = [f"{number:0311d}" for number in range(401)]
    (tmp_path / "w.h5").write_bytes(keras_hdf5.weights_image([LayerWeights(name, []) for name in names]))
    with h5py.File(tmp_path / "w.h5") as root:
        assert "layer_names" not in root.attrs
        assert [root.attrs[f"layer_names{n}"].shape for n in (0, 1)] == [(201,), (200,)]
        assert root.attrs["layer_names0"].dtype == "S311"
    stored = keras_hdf5.read_weights(tmp_path / "w.h5", [], lambda config: None)
    weights, backend = stored.weights, stored.backend
    assert [entry.layer for entry in weights] == names
    assert backend == "tensorflow"


def test_names_beyond_ascii(tmp_path):
    model = Sequential([layers.Dense(2, input_shape=(3,), name="schicht_größe")], name="größe")
    with pytest.warns(MinicnnWarning, match="has characters that it refuses") as warned:
        model.save(tmp_path / "model.h5")
    assert len(warned) == 2
    with h5py.File(tmp_path / "model.h5") as root:
        assert root["model_weights"].attrs["layer_names"][0].decode() == "schicht_größe"
    model.load_weights(tmp_path / "model.h5")


def test_the_same_model_gives_the_same_bytes(tmp_path):
    model = trained(metrics=["accuracy"])
    images = []
    for number in range(3):
        model.save(tmp_path / f"{number}.h5")
        images.append((tmp_path / f"{number}.h5").read_bytes())
    assert images[0] == images[1] == images[2]


def test_the_same_model_gives_the_same_bytes_in_another_process(tmp_path):
    script = (
        "import sys; from tests.saving.models import small; model = small(); "
        "model.compile('adam', 'mse'); model.save(sys.argv[1])"
    )
    files = [tmp_path / f"{number}.h5" for number in range(2)]
    for file in files:
        subprocess.run([sys.executable, "-c", script, file], cwd=ROOT, check=True)
    assert files[0].read_bytes() == files[1].read_bytes()
