"""Models that are no plain Sequential of today: Keras 1, Theano, channels_first, functional chains, nested models."""

import json

import h5py
import numpy as np
import pytest

from minicnn import Sequential, layers, load_model
from minicnn.errors import ConfigError, FileFormatError
from minicnn.models import model_from_json
from minicnn.saving import architecture, keras_1
from tests.saving.models import data, same_weights, small
from tests.saving.test_archives import members, repacked
from tests.saving.test_dialects import rewritten
from tests.shared import shared_folder


@pytest.fixture
def model():
    """Conv2D, BatchNormalization, Flatten, Dropout, Dense; two filters of size 3 and different numbers everywhere."""
    model = small(name="net")
    rng = np.random.default_rng(7)
    model.set_weights([rng.uniform(0.1, 1.0, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture
def path(tmp_path, model):
    model.save(tmp_path / "model.h5")
    return tmp_path / "model.h5"


def predictions(model):
    return model.predict(data()[0], verbose=0)


# -- functional models


def chain_of(value, form):
    """The Sequential as a functional model, in Keras 2's or 3's form."""
    listed = value["config"]["layers"]
    names = [entry["config"]["name"] for entry in listed]
    for entry, name, before in zip(listed, names, [None, *names[:-1]], strict=True):
        entry["name"] = name
        tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None], "keras_history": [before, 0, 0]}}
        calls = {2: [[[before, 0, 0, {}]]], 3: [{"args": [tensor], "kwargs": {"training": False, "mask": None}}]}
        entry["inbound_nodes"] = [] if before is None else calls[form]
    value["class_name"] = {2: "Model", 3: "Functional"}[form]
    ends = [names[0], 0, 0], [names[-1], 0, 0]
    value["config"]["input_layers"], value["config"]["output_layers"] = ends if form == 3 else ([e] for e in ends)
    return value


@pytest.mark.parametrize("form", [2, 3])
def test_a_chain_is_read(path, model, form):
    loaded = load_model(rewritten(path, lambda value: chain_of(value, form)))
    assert isinstance(loaded, Sequential)
    assert same_weights(loaded, model)
    np.testing.assert_array_equal(predictions(loaded), predictions(model))


@pytest.mark.parametrize("form", [2, 3])
def test_ends_with_names_of_their_own(path, model, form):
    """As of a model of inputs={"image": ...} and outputs={"class": ...}."""

    def change(value):
        config = chain_of(value, form)["config"]
        for key in ("input_layers", "output_layers"):
            config[key] = {"end": config[key] if form == 3 else config[key][0]}

    assert same_weights(load_model(rewritten(path, change)), model)


def shuffled(value):
    """The layers listed in another order than they compute in; weights follow the list."""
    chain_of(value, 3)
    listed = value["config"]["layers"]
    listed[2], listed[4] = listed[4], listed[2]


def test_the_calls_say_the_order_and_not_the_list(path, model):
    loaded = load_model(rewritten(path, shuffled))
    assert [type(layer).__name__ for layer in loaded.layers] == [type(layer).__name__ for layer in model.layers]
    assert same_weights(loaded, model)


def inbound(number, calls):
    def change(value):
        chain_of(value, 2)
        value["config"]["layers"][number]["inbound_nodes"] = calls(value["config"]["layers"])

    return change


def call(listed, number, options=None):
    return [listed[number]["name"], 0, 0, options or {}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (inbound(3, lambda v: [[call(v, 2), call(v, 1)]]), "is no chain: layer '.*' has the inputs"),
        (inbound(3, lambda v: [[call(v, 2)], [call(v, 1)]]), "is called more than once"),
        (inbound(3, lambda v: [[call(v, 1)]]), "its 6 layers do not all lie between input and output"),
        (inbound(2, lambda v: [[call(v, 4)]]), "do not all lie between input and output"),
        (inbound(1, lambda v: [[call(v, 1)]]), "do not all lie between input and output"),
        (inbound(4, lambda v: [[call(v, 3, {"training": True})]]), "calls layers with their input alone"),
        (inbound(4, lambda v: 7), "is called more than once"),
        (lambda v: chain_of(v, 2)["config"].update(output_layers=[["a", 0, 0], ["b", 0, 0]]), "1 inputs and 2 outputs"),
        (lambda v: chain_of(v, 3)["config"].update(layers=[3]), "damaged"),
    ],
)
def test_other_graphs_are_refused(path, change, message):
    with pytest.raises(FileFormatError, match=message):
        load_model(rewritten(path, change))


# -- nested models


def nested(value):
    """The first two layers as a model of their own, in the list twice nested."""
    listed = value["config"]["layers"]
    inner = {"class_name": "Sequential", "config": {"name": "inner", "layers": [dict(listed[0]), *listed[1:3]]}}
    inner["config"]["layers"][0] = json.loads(json.dumps(listed[0]))
    inner["config"]["layers"][0]["config"]["name"] = "inner_input"
    outer = {"class_name": "Sequential", "config": {"name": "outer", "layers": [inner]}}
    value["config"]["layers"] = [listed[0], outer, *listed[3:]]


def test_nested_models_become_one(path, model):
    """Their arrays lie together: what is trained of all layers, then the rest."""
    with h5py.File(path, "r+") as root:
        group = root["model_weights"]
        names = [n.decode() for n in group.attrs["layer_names"]]
        conv, norm = names[:2]
        arrays = [f"{conv}/{conv}/kernel:0", f"{conv}/{conv}/bias:0"]
        arrays += [f"{norm}/{norm}/{n}:0" for n in ("gamma", "beta", "moving_mean", "moving_variance")]
        outer = group.create_group("outer")
        for number, name in enumerate(arrays):
            outer[str(number)] = group[name][()]
        outer.attrs["weight_names"] = [str(n) for n in range(6)]
        group.attrs["layer_names"] = ["outer", *names[2:]]
    loaded = load_model(rewritten(path, nested))
    assert same_weights(loaded, model)
    np.testing.assert_array_equal(predictions(loaded), predictions(model))


def test_layers_of_one_name_are_told_apart(path):
    def change(value):
        nested(value)
        inner = value["config"]["layers"][1]["config"]["layers"][0]["config"]
        inner["layers"][2]["config"]["name"] = value["config"]["layers"][-1]["config"]["name"] = "same"

    with h5py.File(path) as root:
        config = json.loads(root.attrs["model_config"])
    change(config)
    names = [layer.config["name"] for layer in architecture.model_from_keras(config).layers]
    assert names[2] == "outer_inner_same"
    assert names[-1] == "same"  # one outside has no model's name to put in front
    config["config"]["layers"].insert(1, config["config"]["layers"].pop())
    assert architecture.model_from_keras(config).layers[-3].config["name"] == "outer_inner_same"


def dense(name):
    return {"class_name": "Dense", "config": {"name": name, "units": 2}}


def nesting(*others):
    """The configuration of a model that begins with a nested one of a Dense 'dense', as by Sequential([base, ...])."""
    inputs = {"class_name": "InputLayer", "config": {"name": "images", "batch_shape": [None, 3]}}
    base = {"class_name": "Sequential", "config": {"name": "base", "layers": [inputs, dense("dense"), dense("two")]}}
    return {"class_name": "Sequential", "config": {"name": "net", "layers": [base, *others]}}


def test_a_head_on_a_loaded_model_may_have_the_name_of_a_layer_in_it():
    model = model_from_json(json.dumps(nesting(dense("dense"))))
    assert [layer.name for layer in model.layers] == ["base_dense", "two", "dense"]
    model = model_from_json(json.dumps(nesting(dense("base_dense"), dense("dense"))))
    assert [layer.name for layer in model.layers] == ["base_dense_1", "two", "base_dense", "dense"]


def test_names_without_end_are_refused():
    for config in (nesting(dense("d" * 1001)), {"class_name": "Sequential", "config": {"layers": [nesting()]}}):
        config["config"]["layers"][0]["config"]["name"] = "n" * 1001
        with pytest.raises(FileFormatError, match=r"its name has 1,001 characters"):
            model_from_json(json.dumps(config))


def test_models_nested_without_end():
    config = {"class_name": "Sequential", "config": []}
    for _ in range(200):
        config = {"class_name": "Sequential", "config": [config]}
    with pytest.raises(ConfigError, match="nested more than 16 deep"):
        architecture.model_from_keras(config)


def test_every_unknown_layer_is_named(path):
    def change(value):
        nested(value)
        value["config"]["layers"][1]["config"]["layers"][0]["config"]["layers"][1]["class_name"] = "LSTM"
        value["config"]["layers"][-1]["class_name"] = "Lambda"

    with pytest.raises(FileFormatError) as error:
        load_model(rewritten(path, change))
    assert str(error.value) == (
        f"{path}: minicnn does not have the layers LSTM, Lambda (layer 1.0.1, LSTM, layer 4, Lambda); "
        "Lambda holds code, which minicnn never runs from a file; "
        "those of your own go into custom_objects={name: class}."
    )


# -- Theano and channels_first


def with_backend(path, backend):
    with h5py.File(path, "r+") as root:
        for node in (root, root["model_weights"]):
            node.attrs.pop("backend", None)
            if backend is not None:
                node.attrs["backend"] = backend
    return path


def turned(path):
    """Kernels of convolutions turned by 180 degrees, as Theano has them."""
    with h5py.File(path, "r+") as root:
        name = next(n for n in root["model_weights"] if n.startswith("conv"))
        kernel = root[f"model_weights/{name}/{name}/kernel:0"]
        kernel[...] = kernel[()][::-1, ::-1]
    return path


def test_theanos_kernels_are_turned_back(path, model):
    turned(path)
    assert same_weights(load_model(with_backend(path, "theano")), model)
    with_backend(path, None)
    assert not same_weights(load_model(path), model)
    assert same_weights(load_model(path, backend="theano"), model)
    fresh = small(seed=9)
    fresh.load_weights(path, backend="theano")
    assert same_weights(fresh, model)
    assert not same_weights(load_model(with_backend(path, "tensorflow"), backend="theano"), model)  # the file says
    with pytest.raises(ConfigError, match="backend must be None or one of 'tensorflow', 'theano'"):
        load_model(path, backend="caffe")
    with pytest.raises(ConfigError, match='data_format must be None, "channels_last" or "channels_first"'):
        fresh.load_weights(path, data_format="th")


def channels_first(value):
    listed = value["config"]["layers"]
    listed[0]["config"]["batch_input_shape"] = [None, 1, 6, 6]
    listed[1]["config"]["data_format"] = "channels_first"
    listed[2]["config"]["axis"] = [1]


def flattened_by_channel(path):
    """The rows of the dense kernel in the order (C, H, W) of a flattened map of 4x4x3."""
    with h5py.File(path, "r+") as root:
        name = next(n for n in root["model_weights"] if n.startswith("dense"))
        kernel = root[f"model_weights/{name}/{name}/kernel:0"]
        kernel[...] = kernel[()].reshape(4, 4, 3, 3).transpose(2, 0, 1, 3).reshape(48, 3)
    return path


def test_channels_first_becomes_channels_last(path, model):
    loaded = load_model(flattened_by_channel(rewritten(path, channels_first)))
    assert loaded.input_shape == (None, 6, 6, 1)
    assert same_weights(loaded, model)
    fresh = small(seed=9)
    fresh.load_weights(path)  # the whole model's file says it itself
    assert same_weights(fresh, model)


@pytest.mark.parametrize("file", ["model.h5", "model.keras"])
def test_channels_first_weights_for_a_model_with_other_layers_without_weights(tmp_path, file):
    """Their places do not tell which Flatten a layer follows."""

    def of(*between):
        return Sequential([layers.Input((6, 6, 1)), layers.Conv2D(3, 3), *between, layers.Dense(3)], seed=9)

    saved = of(layers.Dropout(0.5), layers.Flatten())
    saved.save(tmp_path / file)

    def change(value):
        listed = value["config"]["layers"]
        listed[0]["config"].pop("batch_input_shape", None)
        listed[0]["config"]["batch_shape"] = [None, 1, 6, 6]
        listed[1]["config"]["data_format"] = "channels_first"

    if file == "model.keras":
        config = json.loads(members(tmp_path / file)["config.json"])
        change(config)
        repacked(tmp_path / file, {"config.json": json.dumps(config)})
    else:
        rewritten(tmp_path / file, change)
    expected = load_model(tmp_path / file)
    assert not same_weights(expected, saved)  # the rows of the Dense are in another order
    for between in (
        [layers.Dropout(0.5), layers.Flatten()],
        [layers.Flatten()],
        [layers.Flatten(), layers.Activation("relu")],
        [layers.Dropout(0.5), layers.ReLU(), layers.Flatten(), layers.Dropout(0.5)],
    ):
        model = of(*between)
        model.load_weights(tmp_path / file)
        assert same_weights(model, expected)


def test_a_flatten_that_turns_samples_that_are_no_maps_is_refused():
    inputs = {"class_name": "InputLayer", "config": {"name": "images", "batch_shape": [None, 4, 4]}}
    flatten = {"class_name": "Flatten", "config": {"name": "flatten", "data_format": "channels_first"}}
    config = {"class_name": "Sequential", "config": {"name": "net", "layers": [inputs, flatten, dense("dense")]}}
    with pytest.raises(FileFormatError, match="Flatten: of channels_first, which puts the first of 2 axes last"):
        model_from_json(json.dumps(config))


SOFTMAX_ON_MAPS = {
    "Conv2D": lambda: layers.Conv2D(3, 3, activation="softmax"),
    "Conv2DTranspose": lambda: layers.Conv2DTranspose(3, 3, activation="softmax"),
    "DepthwiseConv2D": lambda: layers.DepthwiseConv2D(3, activation="softmax"),
    "SeparableConv2D": lambda: layers.SeparableConv2D(3, 3, activation="softmax"),
    "Activation": lambda: layers.Activation("softmax"),
}


@pytest.mark.parametrize("form", ["softmax", {"class_name": "Softmax", "config": {}}], ids=["name", "object"])
@pytest.mark.parametrize("kind", SOFTMAX_ON_MAPS)
def test_a_softmax_on_channels_first_maps_is_refused(tmp_path, kind, form):
    """Keras takes it along the last axis, there the width."""
    rest = [layers.GlobalMaxPooling2D(), layers.Dense(2, activation="softmax")]
    Sequential([layers.Input((6, 6, 3)), SOFTMAX_ON_MAPS[kind](), *rest]).save(tmp_path / "m.h5")

    def change(value):
        listed = value["config"]["layers"]
        listed[0]["config"]["batch_input_shape"] = [None, 3, 6, 6]
        for entry in listed[1:3]:
            entry["config"] |= {} if entry["class_name"] == "Activation" else {"data_format": "channels_first"}
        listed[1]["config"]["activation"] = form

    with pytest.raises(FileFormatError, match=f"layer 1, {kind}: works on the width of a channels_first map"):
        load_model(rewritten(tmp_path / "m.h5", change))


def test_weights_alone_need_to_be_told(tmp_path, model):
    path = tmp_path / "w.h5"
    model.save_weights(path)
    with h5py.File(path, "r+") as root:
        root.create_group("model_weights")
        name = next(n for n in root if n.startswith("dense"))
        kernel = root[f"{name}/{name}/kernel:0"]
        kernel[...] = kernel[()].reshape(4, 4, 3, 3).transpose(2, 0, 1, 3).reshape(48, 3)
    fresh = small(seed=9)
    fresh.load_weights(path, data_format="channels_first")
    assert same_weights(fresh, model)


@pytest.mark.parametrize("word", ["channels_first", "th"])
@pytest.mark.parametrize("name", ["model.h5", "model.keras"])
def test_weights_in_channels_first_are_not_taken_unturned(tmp_path, model, name, word):
    """Where the rest of the configuration is not understood, only the caller can say that they are to be turned."""
    path, other = tmp_path / name, small(seed=9)

    def change(value):
        channels_first(value)
        value["config"]["layers"][4]["class_name"] = "Shuffling"
        if word == "th":  # Keras 1's
            for entry in value["config"]["layers"]:
                if entry["config"].pop("data_format", None) is not None:
                    entry["config"]["dim_ordering"] = word

    model.save(path)
    if name == "model.keras":
        config = json.loads(members(path)["config.json"])
        change(config)
        repacked(path, {"config.json": json.dumps(config)})
    else:
        rewritten(path, change)
    before = other.get_weights()
    with pytest.raises(FileFormatError, match="Shuffling: minicnn has no such layer"):
        other.load_weights(path)
    np.testing.assert_array_equal(other.get_weights()[0], before[0])
    other.load_weights(path, data_format="channels_first")
    rows = model.layers[-1].params["kernel"].reshape(3, 4, 4, 3).transpose(1, 2, 0, 3).reshape(48, 3)
    np.testing.assert_array_equal(other.layers[-1].params["kernel"], rows)


def test_a_flatten_that_turns_the_map_itself(path, model):
    def change(value):
        channels_first(value)
        value["config"]["layers"][3]["config"]["data_format"] = "channels_first"

    assert same_weights(load_model(rewritten(path, change)), model)


# -- Keras 1


def in_keras_1(value):
    """The words of Keras 1.2, for maps (channels, height, width)."""
    listed = [entry for entry in value["config"]["layers"] if entry["class_name"] != "InputLayer"]
    conv, norm, _, dropout, dense = (entry["config"] for entry in listed)
    listed[0] |= {"class_name": "Convolution2D"}
    listed[0]["config"] = {
        "name": conv["name"],
        "trainable": True,
        "batch_input_shape": [None, 1, 6, 6],
        "input_dtype": "float32",
        "nb_filter": 3,
        "nb_row": 3,
        "nb_col": 3,
        "init": "uniform",
        "activation": "relu",
        "border_mode": "valid",
        "subsample": [1, 1],
        "dim_ordering": "th",
        "W_regularizer": {"name": "WeightRegularizer", "l1": 0.0, "l2": 0.5},
        "b_regularizer": None,
        "activity_regularizer": None,
        "W_constraint": None,
        "b_constraint": None,
        "bias": True,
    }
    keep = {"name": norm["name"], "epsilon": norm["epsilon"], "momentum": norm["momentum"]}
    listed[1]["config"] = {**keep, "mode": 0, "axis": 1, "gamma_regularizer": None, "beta_init": "zero"}
    listed[3]["config"] = {"name": dropout["name"], "p": 0.5}
    listed[4]["config"] = {
        "name": dense["name"],
        "output_dim": 3,
        "init": "glorot_uniform",
        "activation": "softmax",
        "bias": True,
        "input_dim": None,
    }
    return {"class_name": "Sequential", "config": listed}


@pytest.mark.parametrize("backend", ["theano", "tensorflow"])
def test_a_model_of_keras_1(path, model, backend):
    flattened_by_channel(rewritten(path, in_keras_1))
    if backend == "theano":
        turned(path)
    with h5py.File(path, "r+") as root:
        group = root["model_weights"]
        name = next(n for n in group if n.startswith("conv"))
        kernel = group[f"{name}/{name}/kernel:0"][()]
        del group[f"{name}/{name}/kernel:0"]
        group[f"{name}/{name}/kernel:0"] = kernel.transpose(3, 2, 0, 1)  # filters, channels, rows, columns
        for node in (root, group):
            node.attrs["keras_version"] = "1.2.2"
    with_backend(path, None)
    loaded = load_model(path, backend=backend)
    assert same_weights(loaded, model)
    conv = loaded.layers[0]
    assert conv.kernel_regularizer.get_config()["l2"] == 0.5
    assert type(conv.kernel_initializer).__name__ == "RandomUniform"
    assert loaded.layers[3].rate == 0.5
    np.testing.assert_array_equal(predictions(loaded), predictions(model))
    with h5py.File(path, "r+") as root:
        del root.attrs["model_config"]  # a file of weights, all but in name
    fresh = small(seed=9)
    fresh.load_weights(path, backend=backend)
    assert same_weights(fresh, model)


@pytest.mark.parametrize(
    ("ordering", "stored"), [("tf", (0, 1, 3, 2)), ("th", (2, 3, 0, 1))], ids=["channels last", "channels first"]
)
def test_a_deconvolution_of_keras_1(tmp_path, ordering, stored):
    """Its kernel is stored like that of a Convolution2D, and it is told the shape of its outputs."""
    model = Sequential([layers.Conv2DTranspose(2, 3, strides=2, input_shape=(4, 5, 3), name="up")], seed=3)
    model.save(tmp_path / "m.h5")
    first = ordering == "th"
    shape, outputs = ((3, 4, 5), (2, 9, 11)) if first else ((4, 5, 3), (9, 11, 2))
    config = {"name": "up", "nb_filter": 2, "nb_row": 3, "nb_col": 3, "subsample": [2, 2], "border_mode": "valid"}
    config |= {"batch_input_shape": [None, *shape], "output_shape": [None, *outputs], "dim_ordering": ordering}

    def change(value):
        return {"class_name": "Sequential", "config": [{"class_name": "Deconvolution2D", "config": config}]}

    rewritten(tmp_path / "m.h5", change)
    with h5py.File(tmp_path / "m.h5", "r+") as root:
        name = "model_weights/up/up/kernel:0"
        kernel = root[name][()]
        del root[name]
        root[name] = kernel.transpose(np.argsort(stored))
    loaded = load_model(tmp_path / "m.h5")
    assert same_weights(loaded, model)
    config["output_shape"] = [None, *outputs[:-1], outputs[-1] + 1]
    with pytest.raises(FileFormatError, match=r"has output_shape .*, where minicnn makes \(None, 9, 11, 2\)"):
        load_model(rewritten(tmp_path / "m.h5", change))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([1, 2], [1, 2]),
        ([1, 2, 3, 4], [[1, 2], [3, 4]]),
        ({"top_pad": 1, "left_pad": 3, "right_pad": 4}, [[1, 0], [3, 4]]),
    ],
)
def test_padding_of_keras_1(given, expected):
    _, config, _ = keras_1.to_keras_2("ZeroPadding2D", {"padding": given, "dim_ordering": "tf"})
    assert config["padding"] == expected


def test_arguments_of_other_layers_are_not_taken_for_keras_1s():
    config = {"mode": "horizontal"}
    assert keras_1.to_keras_2("RandomFlip", config) == ("RandomFlip", config, None)


def test_what_keras_2_dropped_is_refused():
    with pytest.raises(ConfigError, match="border_mode='full' is not supported"):
        keras_1.to_keras_2("Convolution2D", {"border_mode": "full"})
    with pytest.raises(ConfigError, match="mode=1 of Keras 1 is not supported"):
        keras_1.to_keras_2("BatchNormalization", {"mode": 1})
    config = {"units": 3, "use_bias": True}
    assert keras_1.to_keras_2("Dense", config) == ("Dense", config, None)


def test_weights_of_2015(tmp_path, model):
    """The first layout: numbered groups of numbered arrays."""
    with h5py.File(tmp_path / "w.h5", "w") as root:
        root.attrs["nb_layers"] = len(model.layers)
        for k, layer in enumerate(model.layers):
            group = root.create_group(f"layer_{k}")
            for n, array in enumerate(layer.get_weights()):
                group[f"param_{n}"] = array
    fresh = small(seed=9)
    fresh.load_weights(tmp_path / "w.h5")
    assert same_weights(fresh, model)


# -- files from the wild


@pytest.mark.skipif(shared_folder() is None, reason="no folder with files from the wild: set MINICNN_SHARED")
class TestWild:
    def test_every_file_with_a_reference(self):
        folder = shared_folder() / "wild_models"
        manifest = json.loads((folder / "manifest.json").read_text())["files"]
        with np.load(folder / "reference.npz") as references:
            for about in manifest:
                path = folder / about["file"]
                if about["reference"] is None:
                    with pytest.raises(FileFormatError, match="damaged or incomplete"):
                        load_model(path)
                    continue
                loaded = self.loaded(path, about)
                shape = tuple(about["input_shape"])
                x = np.random.default_rng(20261124).random((8, *shape), dtype=np.float32)
                x = x if loaded.input_shape[1:] == shape else x.transpose(0, 2, 3, 1)  # it was channels_first
                predicted = loaded.predict(x, verbose=0)
                np.testing.assert_allclose(predicted, references[about["file"]], rtol=0, atol=1e-5, err_msg=path.name)

    @staticmethod
    def loaded(path, about):
        if "architecture" not in about:
            return load_model(path)
        config = json.loads((path.parent / about["architecture"]).read_text())
        entries = architecture.model_from_keras(config).layers
        model = Sequential([getattr(layers, e.class_name).from_config(e.config) for e in entries])
        model.load_weights(path)
        return model
