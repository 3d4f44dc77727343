"""Keras's spellings: what is left out, what is translated, what is refused."""

import json

import h5py
import numpy as np
import pytest

from minicnn import Sequential, activations, load_model, optimizers
from minicnn.errors import ConfigError, FileFormatError, MinicnnWarning
from minicnn.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Flatten,
    Input,
    LeakyReLU,
    ReLU,
    SeparableConv2D,
)
from minicnn.saving import dialects
from tests.saving.models import same_weights, small


def rewritten(path, change, attribute="model_config"):
    """Change a JSON attribute of a file in place; change takes the parsed value and returns the new one, or None."""
    with h5py.File(path, "r+") as root:
        value = json.loads(root.attrs[attribute])
        value = change(value) or value
        root.attrs[attribute] = json.dumps(value).encode()
    return path


@pytest.fixture
def model():
    model = small(name="net")
    model.compile(optimizers.Adam(0.01), "categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.fixture
def path(tmp_path, model):
    model.save(tmp_path / "model.h5")
    return tmp_path / "model.h5"


def layer_config(number, **changes):
    return lambda value: value["config"]["layers"][number]["config"].update(changes)


def without_layer(number):
    return lambda value: value["config"]["layers"].__delitem__(number)


def first_layer_only(value):
    """As Keras 2.3 and earlier: no InputLayer, the first layer knows the shape."""
    entry, first = value["config"]["layers"][:2]
    first["config"]["batch_input_shape"] = entry["config"]["batch_input_shape"]
    del value["config"]["layers"][0]


def bare_list(value):
    """As Keras up to 2.1."""
    first_layer_only(value)
    return {"class_name": "Sequential", "config": value["config"]["layers"]}


def keras_3(value):
    """As Keras 3: batch_shape, policies, wrappers, newer keys."""
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}
    config = value["config"]["layers"][0]["config"]
    config["batch_shape"] = config.pop("batch_input_shape")
    for entry in value["config"]["layers"]:
        entry |= {"module": "keras.layers", "registered_name": None, "build_config": {"input_shape": [None, 1]}}
        if entry["class_name"] != "InputLayer":
            entry["config"]["dtype"] = policy
    conv, norm, dense = (value["config"]["layers"][n]["config"] for n in (1, 2, 5))
    conv["kernel_initializer"] = {
        "module": "keras.initializers",
        "class_name": "GlorotUniform",
        "config": {"seed": None, "input_axes": None, "output_axes": None},
        "registered_name": None,
        "shared_object_id": 17,
    }
    conv |= {"groups": 1, "data_format": "channels_last", "activity_regularizer": None, "kernel_constraint": None}
    norm |= {"synchronized": False, "renorm": False, "renorm_clipping": None, "renorm_momentum": 0.99}
    dense |= {"quantization_config": None, "lora_rank": None}
    value["config"] |= {"trainable": True, "dtype": policy, "build_input_shape": [None, 6, 6, 1]}


def build_input_shape(value):
    """A Sequential that was built on its first data."""
    del value["config"]["layers"][0]
    value["config"]["build_input_shape"] = [None, 6, 6, 1]


@pytest.mark.parametrize(
    "change",
    [
        first_layer_only,
        bare_list,
        keras_3,
        build_input_shape,
        layer_config(0, batch_input_shape=[32, 6, 6, 1]),
        layer_config(0, sparse=False, ragged=False, optional=False),
        layer_config(1, unheard_of=None),
        layer_config(
            1, kernel_initializer={"class_name": "GlorotUniform", "config": {"seed": None, "dtype": "float32"}}
        ),
        layer_config(
            1, activation={"module": "builtins", "class_name": "function", "config": "relu", "registered_name": "relu"}
        ),
        layer_config(1, kernel_size=3, dtype={"class_name": "Policy", "config": {"name": "float32"}}),
        layer_config(2, axis=[3]),
        layer_config(2, name="block/norm"),
        lambda value: value["config"]["layers"][2].update(class_name="BatchNormalizationV1"),
        lambda value: value["config"]["layers"][2].update(class_name="Custom>BatchNormalization"),
    ],
    ids=lambda change: change.__name__,
)
def test_other_spellings_of_the_same_model(path, model, change):
    loaded = load_model(rewritten(path, change))
    assert same_weights(loaded, model)
    x = np.random.default_rng(0).random((3, 6, 6, 1))
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (layer_config(1, unheard_of=3), r"model.h5: layer 1, Conv2D: .*unknown argument 'unheard_of'"),
        (
            layer_config(1, data_format="channels_first"),
            "BatchNormalization: works along axis -1 of channels_first",
        ),
        (layer_config(1, activation="mish"), "activation: unknown name 'mish'"),
        (layer_config(1, filters="many"), "filters must be a positive integer, got 'many'"),
        (layer_config(1, filters=None), r"layer 1, Conv2D: is damaged \(TypeError: .*filters"),
        (layer_config(1, kernel_size=[3, 3, 3]), "kernel_size must be"),
        (layer_config(4, rate=1e999), "is not valid JSON .*Infinity is no number"),
        (
            layer_config(0, batch_input_shape=[None, None, None, 1]),
            r"leaves the input's size open, \(None, None, None, 1\); give load_model input_shape",
        ),
        (layer_config(0, batch_input_shape=7), "layer 0, InputLayer: .*batch_shape must be a tuple"),
        (
            lambda value: {**value, "class_name": "Functional"},
            "the model has 0 inputs and 0 outputs; minicnn reads chains",
        ),
        (lambda value: value.update(config=3), "list of layers or its name is damaged"),
        (lambda value: value["config"].update(layers=7), "list of layers or its name is damaged"),
        (lambda value: value["config"].update(name=7), "list of layers or its name is damaged"),
        (lambda value: value["config"]["layers"].insert(1, "Dense"), "layer 1 is damaged: it has no class_name"),
        (
            lambda value: value["config"]["layers"][1].update(config=[1]),
            "layer 1, Conv2D: its configuration is damaged",
        ),
        (without_layer(5), "holds weights of 3 layers, .*has 2 with weights"),
        (without_layer(0), "has weights but does not say the input's shape; give load_model input_shape="),
        (lambda value: value["config"]["layers"].extend([{}] * 5000), "has 5006 layers, more than the 4096"),
        (lambda value: [value], "holds a JSON list where an object is due"),
    ],
)
def test_what_changes_the_model_is_refused_by_name(path, change, message):
    with pytest.raises(FileFormatError, match=message) as error:
        load_model(rewritten(path, change))
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(path))


def test_a_number_that_keras_held_as_an_array(tmp_path):
    model = Sequential([Dense(2, input_shape=(3,)), LeakyReLU(0.125)])
    model.save(tmp_path / "m.h5")
    alpha = {"type": "ndarray", "value": 0.5}
    assert load_model(rewritten(tmp_path / "m.h5", layer_config(2, alpha=alpha))).layers[1].negative_slope == 0.5


def test_what_keras_2_writes_beside_the_arguments_of_a_separable_convolution(tmp_path):
    model = Sequential([SeparableConv2D(2, 3, input_shape=(5, 5, 2))])
    model.save(tmp_path / "m.h5")
    above = {"kernel_initializer": {"class_name": "GlorotUniform", "config": {}}, "kernel_constraint": "max_norm"}
    assert same_weights(load_model(rewritten(tmp_path / "m.h5", layer_config(1, **above))), model)


@pytest.mark.parametrize(
    ("class_name", "config", "expected"),
    [
        ("ThresholdedReLU", {"theta": 0.5}, ReLU(threshold=0.5)),
        ("Activation", {"activation": "relu6"}, ReLU(max_value=6.0)),
        ("Activation", {"activation": "softmax_v2"}, Activation("softmax")),
        ("ELU", {"alpha": 1.0}, Activation("elu")),
        ("ELU", {"alpha": 0.5}, Activation(activations.Elu(0.5))),
    ],
)
def test_layers_that_have_another_name_here(path, class_name, config, expected):
    def change(value):
        layer = {"class_name": class_name, "config": {"name": "it", "trainable": True, "dtype": "float32", **config}}
        value["config"]["layers"].insert(2, layer)

    layer = load_model(rewritten(path, change)).layers[1]
    assert type(layer) is type(expected)
    assert layer.get_config() == {**expected.get_config(), "name": "it", "dtype": "float32"}


def any_size(value):
    """As of a model that ends its convolutions in a global pool."""
    listed = value["config"]["layers"]
    listed[0]["config"]["batch_input_shape"] = [None, None, None, 1]


@pytest.mark.parametrize("change", [any_size, without_layer(0)], ids=["any size", "no shape"])
def test_an_input_shape_that_the_file_does_not_say(path, model, change):
    loaded = load_model(rewritten(path, change), input_shape=(6, 6, 1))
    assert loaded.input_shape == (None, 6, 6, 1)
    assert same_weights(loaded, model)
    for wrong in ((None, None, 1), "6x6"):
        with pytest.raises(ConfigError, match="load_model: input_shape: a shape holds positive integers"):
            load_model(path, input_shape=wrong)


@pytest.mark.parametrize("weights", [None, [], {}, 1.0, [1.0], {"dense": 1.0}])
def test_loss_weights_of_one_change_nothing(path, weights):
    assert load_model(rewritten(path, section(loss_weights=weights), "training_config")).compiled


def test_an_average_that_is_not_kept_is_not_overwritten(path):
    """Keras 2's RMSprop says how often."""
    unused = optimizer(beta_1=0.5, use_ema=False, ema_overwrite_frequency=100)
    assert load_model(rewritten(path, unused, "training_config")).optimizer.get_config()["beta_1"] == 0.5


def section(**changes):
    return lambda value: value.update(changes)


def optimizer(**config):
    return lambda value: value["optimizer_config"].update(config=config)


def wrapped(class_name, **config):
    return {"module": "keras.losses", "class_name": class_name, "config": config, "registered_name": None}


def named(name, fn):
    return [[{"class_name": "MeanMetricWrapper", "config": {"name": name, "dtype": "float32", "fn": fn}}]]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (section(metrics=named("accuracy", "categorical_accuracy")), ["accuracy"]),
        (section(metrics=named("acc", "sparse_categorical_accuracy")), ["acc"]),
        (section(metrics=named("mse", "mean_squared_error")), ["mse"]),
        (section(metrics=named("mean_squared_error", "mean_squared_error")), ["mean_squared_error"]),
        (section(metrics="accuracy"), ["accuracy"]),
        (section(metrics={"dense": ["accuracy"]}), ["accuracy"]),
        (section(metrics=None), []),
        (
            section(
                metrics=[wrapped("CategoricalAccuracy", name="hits", dtype={"class_name": "DTypePolicy", "config": {}})]
            ),
            ["hits"],
        ),
        (
            section(
                metrics=[{"module": "builtins", "class_name": "function", "config": "mse", "registered_name": "f"}]
            ),
            ["mse"],
        ),
        (section(weighted_metrics=["mae"]), ["accuracy", "mae"]),
    ],
)
def test_metrics(path, change, names):
    model = load_model(rewritten(path, change, "training_config"))
    assert model.metrics_names == ["loss", *names]
    x, y = np.ones((2, 6, 6, 1)), np.eye(3)[:2]
    assert list(model.evaluate(x, y, return_dict=True, verbose=0)) == sorted(["loss", *names])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mse", {"name": "mean_squared_error", "reduction": "sum_over_batch_size"}),
        (["mse"], {"name": "mean_squared_error", "reduction": "sum_over_batch_size"}),
        ({"dense": "mse"}, {"name": "mean_squared_error", "reduction": "sum_over_batch_size"}),
        (
            {
                "class_name": "MeanSquaredError",
                "config": {"reduction": "auto", "name": "m", "fn": "mean_squared_error"},
            },
            {"name": "m", "reduction": "sum_over_batch_size"},
        ),
        (wrapped("MeanSquaredError", reduction="sum", name="m", dtype=None), {"name": "m", "reduction": "sum"}),
        (
            {"module": "builtins", "class_name": "function", "config": "mean_squared_error", "registered_name": "f"},
            {"name": "mean_squared_error", "reduction": "sum_over_batch_size"},
        ),
    ],
)
def test_losses(path, loss, expected):
    model = load_model(rewritten(path, section(loss=loss), "training_config"))
    assert model.loss.get_config() == expected


def test_optimizers_of_keras_2(path):
    old = optimizer(lr=0.25, beta_1=0.875, beta_2=0.999, epsilon=1e-8, decay=0.0, amsgrad=False)
    model = load_model(rewritten(path, old, "training_config"))
    config = model.optimizer.get_config()
    assert (config["learning_rate"], config["beta_1"], config["epsilon"]) == (0.25, 0.875, 1e-8)

    model = load_model(rewritten(path, optimizer(learning_rate=0.5, decay=0.25), "training_config"))
    rates = []
    for model.optimizer.iterations in range(3):
        rates.append(model.optimizer.learning_rate)
    assert rates == [0.5, 0.5 / 1.25, 0.5 / 1.5]  # what Keras 2 calls decay

    newer = optimizer(learning_rate=0.5, jit_compile=True, is_legacy_optimizer=False, use_ema=False, weight_decay=None)
    assert load_model(rewritten(path, newer, "training_config")).optimizer.learning_rate == 0.5


def test_an_optimizer_as_a_wrapped_object_a_name_or_missing(path):
    def as_object(value):
        value["optimizer"] = {"module": "keras.optimizers", **value.pop("optimizer_config"), "registered_name": "Adam"}

    def as_name(value):
        value["optimizer"] = "adagrad"

    def missing(value):
        del value["optimizer"]

    for change, cls in ((as_object, optimizers.Adam), (as_name, optimizers.Adagrad), (missing, optimizers.RMSprop)):
        model = load_model(rewritten(path, lambda value: section(loss="mse")(value), "training_config"))
        with h5py.File(path, "r+") as root:
            root.pop("minicnn_optimizer", None)
        model = load_model(rewritten(path, change, "training_config"))
        assert type(model.optimizer) is cls


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (section(loss="focal"), "loss: unknown name 'focal'"),
        (section(loss=["mse", "mse"]), "for several outputs"),
        (
            section(loss={"class_name": "MeanSquaredError", "config": {"strange": 1}}),
            "MeanSquaredError: unknown argument 'strange'",
        ),
        (section(metrics=["auc"]), "unknown name 'auc'"),
        (section(metrics=named("f", "f")), "unknown name 'f'"),
        (section(metrics=[7]), "metric 7 is not understood"),
        (section(metrics=[["accuracy"], ["accuracy"]]), "is not understood"),
        (section(loss_weights=[0.5]), "loss_weights=.* is not supported"),
        (section(optimizer_config={"class_name": "Nadam", "config": {}}), "unknown name 'Nadam'"),
        (section(optimizer_config={"class_name": "Adam", "config": [1]}), "configuration is damaged"),
        (optimizer(learning_rate=0.1, use_ema=True), "use_ema=True is not supported"),
        (optimizer(learning_rate={"class_name": "Cyclic", "config": {}}), "unknown name 'Cyclic'"),
        (optimizer(learning_rate="fast"), "learning_rate must be"),
    ],
)
def test_a_compile_section_that_is_not_understood_leaves_the_model_uncompiled(path, model, change, message):
    with pytest.warns(MinicnnWarning, match=f"{message}.*loaded uncompiled") as warned:
        loaded = load_model(rewritten(path, change, "training_config"))
    assert not loaded.compiled
    assert same_weights(loaded, model)
    assert warned[0].filename == __file__


def test_a_damaged_training_section_leaves_the_model_uncompiled(path, model):
    with h5py.File(path, "r+") as root:
        root.attrs["training_config"] = b"{"
    with pytest.warns(MinicnnWarning, match="training_config: is not valid JSON"):
        loaded = load_model(path)
    assert not loaded.compiled
    assert same_weights(loaded, model)
    assert not load_model(path, compile=False).compiled


def test_kernels_of_theano_are_turned(tmp_path):
    model = Sequential([Input((6, 6, 2)), Conv2D(3, (3, 2)), BatchNormalization(), Flatten(), Dense(2)])
    model.save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "r+") as root:
        root["model_weights"].attrs["backend"] = "theano"
    loaded = load_model(tmp_path / "model.h5")
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0][::-1, ::-1])
    for ours, theirs in zip(loaded.get_weights()[1:], model.get_weights()[1:], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("layer", "activation"),
    [
        ({"class_name": "LeakyReLU", "config": {"name": "l", "alpha": 0.2}}, activations.LeakyRelu(0.2)),
        ({"class_name": "LeakyReLU", "config": {"negative_slope": 0.1}}, activations.LeakyRelu(0.1)),
        ({"class_name": "LeakyReLU", "config": {}}, activations.LeakyRelu(0.3)),
        ({"class_name": "ELU", "config": {"alpha": 0.5}}, activations.Elu(0.5)),
        ({"class_name": "ReLU", "config": {"max_value": None, "negative_slope": 0.0}}, activations.relu),
        ({"class_name": "Softmax", "config": {"axis": -1, "trainable": True}}, activations.softmax),
    ],
)
def test_a_layer_in_the_place_of_an_activation(layer, activation):
    entry = dialects.layer_from_keras({"class_name": "Dense", "config": {"units": 3, "activation": layer}}, "layer 0")
    made = activations.get(entry.config["activation"])
    assert (type(made), made.get_config()) == (type(activation), activation.get_config())


@pytest.mark.parametrize("config", [{"max_value": 6.0}, {"threshold": 1.0}])
def test_a_layer_that_no_activation_computes_is_named(config):
    layer = {"class_name": "ReLU", "config": config}
    entry = dialects.layer_from_keras({"class_name": "Dense", "config": {"units": 3, "activation": layer}}, "layer 0")
    with pytest.raises(ConfigError, match="activation: unknown name 'ReLU'"):
        activations.get(entry.config["activation"])
