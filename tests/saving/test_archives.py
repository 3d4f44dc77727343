"""The .keras archive and .weights.h5: layout, bytes, going on, and archives that are damaged or made to do harm."""

import io
import json
import zipfile

import h5py
import numpy as np
import pytest

from minicnn import Sequential, layers, load_model, optimizers
from minicnn.errors import ConfigError, FileFormatError, MinicnnWarning
from minicnn.optimizers import schedules
from minicnn.utils import clear_session
from tests.saving.models import Scale, data, every_layer, same_weights, small


def compiled(optimizer="adam", **kwargs):
    model = small(name="net", **kwargs)
    model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.fixture
def path(tmp_path):
    model = compiled()
    model.fit(*data(), verbose=0)
    model.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def repacked(path, changes, compression=zipfile.ZIP_STORED):
    """The archive with other contents of members; None leaves one out."""
    kept = {name: content for name, content in {**members(path), **changes}.items() if content is not None}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in kept.items():
            archive.writestr(name, content)
    return path


def refused(path, message):
    with pytest.raises(FileFormatError, match=message) as error:
        load_model(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


# -- what is written


def test_members_and_configuration(path):
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    assert [info.filename for info in infos] == ["metadata.json", "config.json", "model.weights.h5"]
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}
    config = json.loads(members(path)["config.json"])
    assert (config["module"], config["class_name"], config["registered_name"]) == ("keras", "Sequential", None)
    assert [entry["class_name"] for entry in config["config"]["layers"]][:2] == ["InputLayer", "Conv2D"]
    assert {entry["module"] for entry in config["config"]["layers"]} == {"keras.layers"}
    assert config["compile_config"]["loss"] == "categorical_crossentropy"
    assert config["compile_config"]["optimizer"]["module"] == "keras.optimizers"


def test_groups_of_weights(path):
    with h5py.File(io.BytesIO(members(path)["model.weights.h5"])) as root:
        assert set(root["layers"]) == {"conv2d", "batch_normalization", "flatten", "dropout", "dense"}
        assert {name: d.shape for name, d in root["layers/batch_normalization/vars"].items()} == dict.fromkeys(
            "0123", (3,)
        )
        assert len(root["vars"]) == 0
        counter, rate = root["optimizer/vars/0"], root["optimizer/vars/1"]
        assert (counter[()], counter.dtype, rate.dtype) == (1, np.int64, np.float32)
        assert len(root["optimizer/vars"]) == 2 + 2 * 6


def test_groups_under_the_names_of_keras_2_12_to_2_14(tmp_path):
    """One group under each name that a version looks for, and none under a name that means two layers."""
    model = Sequential([layers.Dense(3, input_shape=(3,)), *(layers.Dense(3) for _ in range(2)), layers.ReLU()])
    model.add(layers.ReLU())
    model.save_weights(tmp_path / "m.weights.h5")
    with h5py.File(tmp_path / "m.weights.h5") as root:
        now, before = root["layers"], root["_layer_checkpoint_dependencies"]
        assert set(now) == {"dense", "dense_1", "dense_2", "re_lu", "re_lu_1"}
        assert set(before) == {"dense", "dense_2", "dense_4", "re_lu", "re_lu_1", "re_lu_2"}
        pairs = [("dense", "dense"), ("dense_2", "dense_1"), ("dense_4", "dense_2"), ("re_lu_2", "re_lu_1")]
        assert all(before[old] == now[new] for old, new in [*pairs, ("re_lu_1", "re_lu_1")])
    assert (tmp_path / "m.weights.h5").stat().st_size < 24_000


def test_the_same_model_gives_the_same_bytes(tmp_path):
    for name in ("a.keras", "b.keras"):
        clear_session()  # so that the layers have the same names
        model = compiled()
        model.fit(*data(), verbose=0)
        model.save(tmp_path / name)
        model.save_weights(tmp_path / f"{name}.weights.h5")
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()
    assert (tmp_path / "a.keras.weights.h5").read_bytes() == (tmp_path / "b.keras.weights.h5").read_bytes()


def test_without_the_optimizer(tmp_path):
    model = compiled()
    model.fit(*data(), verbose=0)
    model.save(tmp_path / "m.keras", include_optimizer=False)
    assert "compile_config" not in json.loads(members(tmp_path / "m.keras")["config.json"])
    loaded = load_model(tmp_path / "m.keras")
    assert not loaded.compiled
    assert same_weights(loaded, model)


OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.1),
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.5),
    "adam": lambda: optimizers.Adam(0.01, amsgrad=True),
    "rmsprop": lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "adadelta": lambda: optimizers.Adadelta(1.0),
    "schedule": lambda: optimizers.Adam(schedules.ExponentialDecay(0.1, 10, 0.5)),
}


@pytest.mark.parametrize("optimizer_for", ["keras3", "keras2"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_bit_for_bit(tmp_path, optimizer, optimizer_for):
    model = compiled(OPTIMIZERS[optimizer]())
    x, y = data()
    model.fit(x, y, epochs=2, batch_size=8, verbose=0)
    model.save(tmp_path / "m.keras", optimizer_for=optimizer_for)
    loaded = load_model(tmp_path / "m.keras")
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    for one in (model, loaded):
        one.fit(x, y, epochs=2, batch_size=8, verbose=0)
    assert same_weights(loaded, model)


def test_a_model_that_was_not_trained(tmp_path):
    model = compiled()
    model.save(tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    assert (loaded.compiled, loaded.optimizer.iterations) == (True, 0)
    for one in (model, loaded):
        one.fit(*data(), verbose=0)
    assert same_weights(loaded, model)


def test_every_layer_and_own_ones(tmp_path):
    model = every_layer(dtype="float64")
    model.save(tmp_path / "m.keras")
    assert same_weights(load_model(tmp_path / "m.keras"), model)
    own = Sequential([layers.Input((4,)), Scale(3.0), layers.Dense(2)])
    own.save(tmp_path / "own.keras")
    assert same_weights(load_model(tmp_path / "own.keras", custom_objects={"Scale": Scale}), own)
    refused(tmp_path / "own.keras", "layer 1, Scale: minicnn has no such layer")


def test_weights_in_keras_3s_layout(tmp_path):
    model, other = every_layer(seed=1), every_layer(seed=2)
    other.set_weights([np.zeros_like(w) for w in other.get_weights()])
    model.save_weights(tmp_path / "w.weights.h5")
    other.load_weights(tmp_path / "w.weights.h5")
    assert same_weights(model, other)
    (tmp_path / "w.weights.h5").rename(tmp_path / "w.txt")  # read by content
    other.load_weights(tmp_path / "w.txt")


def test_weights_of_an_archive_whose_configuration_is_not_understood(path):
    """They go to the layers that lie at the same places, as those of a .weights.h5 do."""
    model = load_model(path)
    config = json.loads(members(path)["config.json"])
    config["config"]["layers"][4]["class_name"] = "Shuffling"
    repacked(path, {"config.json": json.dumps(config)})
    refused(path, "Shuffling: minicnn has no such layer")
    other = small(seed=9)
    other.load_weights(path)
    assert same_weights(model, other)
    fewer = Sequential([layers.Conv2D(3, 3, input_shape=(6, 6, 1)), layers.Flatten()])
    with pytest.raises(FileFormatError, match="holds weights of layers that the model does not have, batch_norm"):
        fewer.load_weights(path)


def test_an_optimizer_that_has_trained_takes_over_the_state_in_a_file_of_weights(tmp_path):
    x, y = data()
    model = compiled()
    model.fit(x, y, epochs=3, verbose=0)
    model.save_weights(tmp_path / "w.weights.h5")
    fresh, trained = compiled(), compiled()
    trained.fit(x, y, verbose=0)
    for one, steps in ((fresh, 0), (trained, 3)):
        one.load_weights(tmp_path / "w.weights.h5")
        assert one.optimizer.iterations == steps
    for slot, values in model.optimizer.slots.items():
        np.testing.assert_array_equal(trained.optimizer.slots[slot], values)
    other = compiled("sgd")
    other.fit(x, y, verbose=0)
    with pytest.warns(MinicnnWarning, match="optimizer's state does not fit and stays as it is"):
        other.load_weights(tmp_path / "w.weights.h5")
    assert other.optimizer.iterations == 1


def test_save_format_must_be_that_of_the_name(tmp_path):
    small().save(tmp_path / "m.keras", save_format="keras")
    small().save(tmp_path / "m.h5", save_format="h5")
    for name, given in (("m.h5", "keras"), ("m.keras", "h5"), ("m.h5", "tf")):
        with pytest.raises(ConfigError, match=f"save_format='{given}' is not supported"):
            small().save(tmp_path / name, save_format=given)


# -- archives that are damaged or hostile


def test_other_ways_of_packing_are_read(path):
    model = load_model(path)
    assert same_weights(load_model(repacked(path, {"assets/readme.txt": b"x", "metadata.json": None})), model)
    assert same_weights(load_model(repacked(path, {}, zipfile.ZIP_DEFLATED)), model)


def test_members_that_are_missing_or_broken(path):
    whole = path.read_bytes()
    for changes, message in (
        ({"config.json": None}, "is an archive without config.json, so no .keras file; it has 'metadata.json'"),
        ({"model.weights.h5": None}, "is an archive without model.weights.h5"),
        ({"config.json": b"\xff"}, "config.json is not text"),
        ({"config.json": b"{"}, "config.json: is not valid JSON"),
        ({"config.json": b"[" * 100_000}, "config.json: the JSON is nested too deeply"),
        ({"config.json": b'{"class_name": "Sequential", "config": 3}'}, "list of layers or its name is damaged"),
        ({"model.weights.h5": b"PK"}, "its model.weights.h5 is no HDF5 file"),
        ({"model.weights.h5": members(path)["model.weights.h5"][:500]}, "is damaged or incomplete"),
    ):
        path.write_bytes(whole)
        refused(repacked(path, changes), message)
    for length in range(4, len(whole), 997):
        path.write_bytes(whole[:length])
        refused(path, "is a damaged or incomplete archive")


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:\\evil", "C:/evil"])
def test_members_that_lead_out(path, name):
    refused(repacked(path, {name: b"x"}), "leads out of the archive; it is hostile")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name(path):
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", b"{}")
    refused(path, "has two members 'config.json'")


def test_compression_bombs(path):
    """100 MB of zeros in 100 KB, and a member that is more than the archive says."""
    refused(repacked(path, {"config.json": bytes(10**8)}, zipfile.ZIP_DEFLATED), "claims to unpack to 100000000")
    path.unlink()
    compiled().save(path)
    refused(repacked(path, {"model.weights.h5": bytes(10**8)}, zipfile.ZIP_DEFLATED), "claims to unpack to 100000000")
    path.unlink()
    compiled().save(path)
    repacked(path, {}, zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    for place in _entries(content):
        content[place + 24 : place + 28] = (100).to_bytes(4, "little")  # the unpacked size of each
    path.write_bytes(content)
    refused(path, "is a damaged or incomplete archive|has not the size that the archive states")


def _entries(content):
    """Where the entries of the directory at the end begin."""
    place = content.find(b"PK\x01\x02")
    while place >= 0:
        yield place
        place = content.find(b"PK\x01\x02", place + 4)


def test_encrypted_members(path):
    content = bytearray(path.read_bytes())
    for place in _entries(content):
        content[place + 8] |= 1
    path.write_bytes(content)
    refused(path, "its config.json is encrypted")


def test_links_inside_the_weights(path, tmp_path):
    buffer = io.BytesIO(members(path)["model.weights.h5"])
    with h5py.File(buffer, "r+") as root:
        del root["layers/dense/vars/0"]
        root["layers/dense/vars/0"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/k")
    refused(repacked(path, {"model.weights.h5": buffer.getvalue()}), "is a link to elsewhere .ExternalLink")


def test_the_learning_rate_of_the_file_counts(path):
    """Keras changes it in the variable; the configuration may hold an older one."""
    config = json.loads(members(path)["config.json"])
    config["compile_config"]["optimizer"] = "adam"
    loaded = load_model(repacked(path, {"config.json": json.dumps(config).encode()}))
    assert loaded.optimizer.learning_rate == 0.001
    buffer = io.BytesIO(members(path)["model.weights.h5"])
    with h5py.File(buffer, "r+") as root:
        root["optimizer/vars/1"][()] = 0.25
    assert load_model(repacked(path, {"model.weights.h5": buffer.getvalue()})).optimizer.learning_rate == 0.25


@pytest.mark.parametrize("value", [3, {}, None, []])
def test_compile_sections_that_are_none(path, value):
    config = {**json.loads(members(path)["config.json"]), "compile_config": value}
    repacked(path, {"config.json": json.dumps(config).encode()})
    if value == 3:
        with pytest.warns(MinicnnWarning, match="compile_config is damaged"):
            assert not load_model(path).compiled
    else:
        assert not load_model(path).compiled
