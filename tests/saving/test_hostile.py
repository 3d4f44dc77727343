"""Files that are damaged, of another kind, or made to do harm: each is refused in one line, and nothing happens."""

import json
import os
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest

from minicnn import Sequential, layers, load_model
from minicnn.errors import FileFormatError, MinicnnWarning
from minicnn.saving.building import WEIGHT_SHAPES
from tests.saving.models import every_layer, small
from tests.saving.test_dialects import layer_config, rewritten
from tests.shared import shared_folder


@pytest.fixture
def path(tmp_path):
    small(name="net").save(tmp_path / "model.h5")
    return tmp_path / "model.h5"


def refused(path, message, load=load_model):
    with pytest.raises(FileFormatError, match=message) as error:
        load(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


# -- files that are no model


def test_what_is_not_there(tmp_path):
    refused(tmp_path / "none.h5", f"no such file; check the name and the folder {tmp_path}")
    refused(tmp_path, "is a folder")


CONTENTS = {
    "empty": (b"", "is empty"),
    "zip": (b"PK\x03\x04" + bytes(60), "is a damaged or incomplete archive"),
    "text": (b"<html><body>404 Not Found</body></html>", "is text, not an HDF5 file; it begins '<html><body>404"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a", "pointer of git-lfs"),
    "signature": (b"\x89HDF", "HDF5 file that breaks off after its first bytes"),
    "other": (b"\x00\x01\x02\x03\xff\xfe", "is not an HDF5 file; it begins with the bytes 00 01 02 03 ff fe"),
    "superblock": (b"\x89HDF\r\n\x1a\n" + bytes(100), "is damaged or incomplete"),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_other_contents(tmp_path, kind):
    content, message = CONTENTS[kind]
    file = tmp_path / "model.h5"
    file.write_bytes(content)
    refused(file, message)
    refused(file, message, small().load_weights)


def test_every_truncation_is_noticed(path):
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 997):
        path.write_bytes(whole[:length])
        refused(path, "empty|breaks off|damaged")


def test_no_change_of_a_byte_does_more_than_an_error(path):
    """Every 37th byte replaced: the file is refused or read, with a warning or without; nothing else is raised."""
    whole = path.read_bytes()
    outcomes = {"read": 0, "refused": 0}
    for place in range(0, len(whole), 37):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            load_model(path)
            outcomes["read"] += 1
        except (FileFormatError, MinicnnWarning):
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 0


@pytest.mark.parametrize("size", [bytes(8), b"\xff" * 8, (1 << 40).to_bytes(8, "little")])
def test_a_heap_of_strings_without_an_end(path, size):
    """HDF5 1.14.6 reads for ever where the free space at the end of a heap has size 0, or one that leads back."""
    whole = bytearray(path.read_bytes())
    heap = whole.index(b"GCOL\x01\0\0\0")
    place = heap + 16
    while whole[place : place + 2] != b"\0\0":  # the objects; number 0 is the free space
        place += 16 + -(-int.from_bytes(whole[place + 8 : place + 16], "little") // 8) * 8
    whole[place + 8 : place + 16] = size
    path.write_bytes(whole)
    refused(path, "damaged .a heap of strings without an end")


def test_a_text_that_claims_4_gb(path):
    """HDF5 would take the memory before it looks whether the text is that long."""
    with h5py.File(path) as root:
        length = len(root.attrs["model_config"])
    whole = bytearray(path.read_bytes())
    place = whole.index(length.to_bytes(4, "little"), whole.index(b"model_config\0"))
    whole[place : place + 4] = b"\xf0\xff\xff\xff"
    path.write_bytes(whole)
    refused(path, "the attribute 'model_config' claims 4294967280 bytes of text, which the file does not hold")


def test_an_archive_of_zip_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("../evil", "x")
    refused(tmp_path / "m.keras", "has a member '../evil', which leads out of the archive")
    assert not (tmp_path.parent / "evil").exists()


# -- HDF5 that reaches elsewhere or claims too much

KERNEL = "model_weights/dense/dense/kernel:0"


@pytest.fixture
def edited(tmp_path):
    """A function: a saved model, changed by a function of the open file and of its dense layer's group."""

    def edit(change):
        layers_ = [layers.Dense(3, input_shape=(4,), name="dense")]
        file = tmp_path / "model.h5"
        Sequential(layers_).save(file)
        with h5py.File(file, "r+") as root:
            change(root, root["model_weights/dense/dense"])
        return file

    return edit


def replaced(make):
    def change(root, group):
        del group["kernel:0"]
        make(group, "kernel:0")

    return change


def secret(tmp_path):
    """A file beside the model that a hostile one may want to read."""
    (tmp_path / "secret.bin").write_bytes(np.arange(12, dtype=np.float32).tobytes())
    with h5py.File(tmp_path / "secret.h5", "w") as root:
        root["k"] = np.arange(12, dtype=np.float32).reshape(4, 3)
    return tmp_path


def test_links(edited, tmp_path):
    secret(tmp_path)
    external = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/k")
    refused(edited(replaced(lambda g, k: g.__setitem__(k, external))), r"'dense/kernel:0' is a link .*ExternalLink")
    soft = h5py.SoftLink("/model_weights/dense/dense/bias:0")
    refused(edited(replaced(lambda g, k: g.__setitem__(k, soft))), r"is a link to elsewhere \(SoftLink\)")

    def group_elsewhere(root, group):
        del root["model_weights"]
        root["model_weights"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/")

    refused(edited(group_elsewhere), r"'model_weights' is a link to elsewhere")


def test_data_in_other_files(edited, tmp_path):
    secret(tmp_path)
    raw = [(str(tmp_path / "secret.bin"), 0, 48)]
    refused(
        edited(replaced(lambda g, k: g.create_dataset(k, (4, 3), "f4", external=raw))),
        "lies in another file, which is never read",
    )
    layout = h5py.VirtualLayout((4, 3), "f4")
    layout[...] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "k", (4, 3))
    refused(
        edited(replaced(lambda g, k: g.create_virtual_dataset(k, layout))), "lies in another file, which is never read"
    )


def test_arrays_that_claim_more_than_the_file_holds(edited):
    """16 GB in a file of a few KB: refused before any memory is taken."""
    bomb = edited(replaced(lambda g, k: g.create_dataset(k, (1 << 16, 1 << 16), "f4")))
    assert bomb.stat().st_size < 100_000
    tracemalloc.start()
    refused(bomb, r"claims 17179869184 bytes, which the file does not hold")
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()
    chunked = edited(
        replaced(lambda g, k: g.create_dataset(k, (1 << 14, 1 << 14), "f4", chunks=True, compression="gzip"))
    )
    refused(chunked, "stored in chunks or compressed, which Keras never does; rewrite the file with: h5repack")


def test_one_array_under_many_names(edited):
    """Together the arrays may not be larger than the file."""

    def change(root, group):
        large = group.create_dataset("large", data=np.zeros(1 << 18, np.float32))
        names = [f"dense/kernel:{number}" for number in range(1, 1001)]
        for name in names:
            root["model_weights/dense"][name] = large
        root["model_weights/dense"].attrs["weight_names"] = np.array(names, "S")

    refused(edited(change), r"claims 1048576 bytes, which the file does not hold")


def test_cycles_of_groups_end(edited):
    def change(root, group):
        group["dense"] = root["model_weights"]
        root["model_weights/dense"].attrs["weight_names"] = ["dense/" * 100 + "kernel:0"]

    refused(edited(change), "refuses the name")


@pytest.mark.parametrize(
    "name",
    ["/model_weights/dense/dense/kernel:0", "../dense/dense/kernel:0", "dense//kernel:0", "./dense/kernel:0", ""],
)
def test_names_that_lead_out_of_the_group(edited, name):
    change = lambda root, _: root["model_weights/dense"].attrs.__setitem__("weight_names", [name, "dense/bias:0"])  # noqa: E731
    refused(edited(change), "refuses the name")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([b"x"] * 12).reshape(4, 3), "holds .S1, not numbers"),
        (np.zeros((4, 3), [("a", "f4")]), "not numbers"),
        (np.zeros((4, 3), "c8"), "not numbers"),
        (np.zeros((4, 3), "g"), "not numbers"),
        (np.zeros((3, 4), "f4"), r"holds arrays \[\(3, 4\), \(3,\)\], but Dense 'dense' needs \[\(4, 3\), \(3,\)\]"),
        (np.float32(1), r"holds arrays \[\(\), \(3,\)\]"),
        (h5py.Empty("f4"), "not numbers"),
    ],
    ids=str,
)
def test_arrays_of_another_kind(edited, value, message):
    refused(edited(replaced(lambda g, k: g.create_dataset(k, data=value))), message)


def test_structure(edited):
    refused(edited(replaced(lambda g, k: g.create_group(k))), "has a group where the array 'dense/kernel:0' is due")
    refused(edited(replaced(lambda g, k: None)), "has no 'dense/kernel:0' in '/model_weights/dense'")
    refused(edited(lambda root, _: root.__delitem__("model_weights")), "has a model's configuration but no weights")
    refused(edited(lambda root, _: root.attrs.__delitem__("model_config")), "is HDF5, but neither a Keras model")
    refused(edited(lambda root, _: root["model_weights"].attrs.__delitem__("layer_names")), "have no layer_names")
    refused(
        edited(lambda root, _: root["model_weights/dense"].attrs.__delitem__("weight_names")), "has no weight_names"
    )

    def array_for_group(root, _):
        del root["model_weights/dense"]
        root["model_weights/dense"] = np.zeros(3)

    refused(edited(array_for_group), "has an array where the group 'dense' is due")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(3), "'model_config' is not a string"),
        (7, "too large or of a strange type"),
        (np.array([b"a", b"b"]), "'model_config' is not a string"),
        (b"", "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"7", "holds a JSON int where an object is due"),
        (b'{"class_name": "Sequential", "config": NaN}', "NaN is no number of JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not valid JSON"),
        (b'{"a": "' + b"x" * (1 << 24) + b'"}', "characters of JSON, more than 16777216"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_configurations(edited, value, message):
    refused(edited(lambda root, _: root.attrs.__setitem__("model_config", value)), message)


def test_a_list_of_names_of_another_type(edited):
    refused(
        edited(lambda root, _: root["model_weights"].attrs.__setitem__("layer_names", [1.5])), "not a list of names"
    )


# -- configurations that ask for too much, or for code


@pytest.mark.parametrize(
    "change",
    [
        layer_config(1, filters=10**9),
        layer_config(5, units=10**12),
        layer_config(1, kernel_size=[10**6, 10**6], padding="same"),
        layer_config(0, batch_input_shape=[None, 6, 6, 10**10]),
        layer_config(0, batch_input_shape=[None, 10**6, 10**6, 1]),
    ],
)
def test_sizes_are_checked_before_memory_is_taken(path, change):
    rewritten(path, change)
    tracemalloc.start()
    refused(path, r"up to .* the model needs \d+ numbers, the file holds \d+; it is damaged or hostile")
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()


def test_batch_normalization_counts_too(path):
    def change(value):
        value["config"]["layers"][0]["config"]["batch_input_shape"] = [None, 10**9]
        del value["config"]["layers"][1]

    refused(rewritten(path, change), r"up to BatchNormalization .* needs 4000000000 numbers")


def test_the_sizes_that_are_checked_are_those_that_are_built():
    model = every_layer()
    seen = set()
    for layer in model.layers:
        if type(layer).build in WEIGHT_SHAPES:
            shapes = WEIGHT_SHAPES[type(layer).build](layer, layer.input_shape)
            assert shapes == [array.shape for array in layer.weights().values()], layer
            seen.add(type(layer))
        else:
            assert not layer.weights(), layer
    assert {cls.build for cls in seen} == set(WEIGHT_SHAPES)


@pytest.mark.parametrize(
    ("class_name", "message"),
    [
        ("Lambda", "this layer holds code, which minicnn never runs"),
        ("TFSMLayer", "this layer holds code"),
        ("TorchModuleWrapper", "this layer holds code"),
        ("os.system", "minicnn has no such layer"),
        ("StringLookup", "minicnn has no such layer"),
        ("Sequential", "minicnn has no such layer"),
        ("layers.Dense", "minicnn has no such layer"),
        ("Layer", "minicnn has no such layer"),
        ("", "minicnn has no such layer"),
    ],
)
def test_classes_are_those_of_the_table(path, class_name, message):
    change = lambda value: value["config"]["layers"][5].update(class_name=class_name)  # noqa: E731
    refused(rewritten(path, change), message)


def test_modules_in_a_file_are_never_looked_at(path, tmp_path, monkeypatch):
    """An entry may name any module: the class is the table's, and the module is not imported."""
    (tmp_path / "trap.py").write_text("import pathlib; pathlib.Path(__file__).with_name('sprung').touch()")
    monkeypatch.syspath_prepend(tmp_path)

    def change(value):
        for entry in value["config"]["layers"]:
            entry |= {"module": "trap", "registered_name": "trap>System"}

    load_model(rewritten(path, change))
    assert not (tmp_path / "sprung").exists()


def test_weights_that_are_not_finite_are_read_with_a_warning(path):
    with h5py.File(path, "r+") as root:
        name = next(name for name in root["model_weights"] if name.startswith("dense"))
        root[f"model_weights/{name}/{name}/bias:0"][1] = np.nan
    with pytest.warns(MinicnnWarning, match=r"NaN or infinite, in dense.*bias:0") as warned:
        model = load_model(path)
    assert warned[0].filename == __file__
    assert np.isnan(model.get_weights()[-1]).tolist() == [False, True, False]
    with pytest.warns(MinicnnWarning, match="NaN or infinite") as warned:
        small().load_weights(path)
    assert warned[0].filename == __file__


def test_numbers_beyond_the_dtype_are_read_with_a_warning(tmp_path):
    model = Sequential([layers.Dense(1, input_shape=(1,))], dtype="float64")
    model.set_weights([[[1e300]], [0]])
    model.save(tmp_path / "model.h5")
    with pytest.warns(MinicnnWarning, match="NaN or infinite"):
        load_model(tmp_path / "model.h5", dtype="float32")


@pytest.mark.skipif(
    os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
)
def test_a_file_without_permission(path):
    path.chmod(0)
    refused(path, "cannot be read: Permission denied")


# -- the fixtures that lie outside the repository

HOSTILE = {
    "hugefilters.h5": "up to Conv2D 'conv2d' the model needs 10000000000 numbers",
    "lambda_k2.h5": "layer 2, Lambda: this layer holds code",
    "lambda_k3.keras": "layer 2, Lambda: this layer holds code",
    "link_external.h5": "'conv2d/kernel:0' is a link to elsewhere",
    "module_subprocess.keras": "layer 3, Popen: minicnn has no such layer",
    "noconfig.h5": "is HDF5, but neither a Keras model",
    "nojson.h5": "model_config: is not valid JSON",
    "other.h5": "is HDF5, but neither a Keras model",
    "slip.keras": "has a member '../evil.txt', which leads out of the archive",
    "string_weights.h5": "'dense/kernel:0' holds object, not numbers",
    "unknown_class.h5": "layer 2, os.system: minicnn has no such layer",
    "wrong_shape.h5": "layer 'dense' holds arrays .*, but Dense 'dense' needs",
}


@pytest.mark.skipif(shared_folder() is None, reason="no folder with hostile files: set MINICNN_SHARED")
class TestSharedFiles:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_refused(self, name):
        refused(shared_folder() / "hostile_files" / name, HOSTILE[name])

    def test_not_finite(self):
        with pytest.warns(MinicnnWarning, match="NaN or infinite"):
            load_model(shared_folder() / "hostile_files" / "nan_weights.h5")

    def test_all_of_them_are_tested(self):
        names = {file.name for file in (shared_folder() / "hostile_files").iterdir()}
        assert names - set(HOSTILE) == {"README.md", "nan_weights.h5"}

    def test_a_truncated_file_from_the_wild(self):
        refused(shared_folder() / "wild_models" / "gfrangias__KungFu__00848538_my_model.keras", "damaged or incomplete")


def test_json_written_is_plain(path):
    with h5py.File(path) as root:
        text = root.attrs["model_config"]
    assert json.dumps(json.loads(text)) == text
