"""The file of a backup: what goes in comes out bit for bit, and what is damaged or hostile is refused in one line."""

import copy
import json
import math

import h5py
import numpy as np
import pytest

from minicnn.callbacks import BackupAndRestore, backup_file
from minicnn.errors import ConfigError, FileFormatError, MinicnnError
from minicnn.saving import safe_json
from tests.callbacks.backups import interrupt
from tests.small_models import QUIET, X, Y, new_model

TREE = {
    "none": None,
    "numbers": [True, False, 0, -1, 2**62, 0.1, -0.0, 1e-310, 1.7976931348623157e308],
    "not finite": [math.inf, -math.inf],
    "text": "é\n\0\ud800",
    "nested": ((), [], {}, (1, [2, {"a": (3,)}])),
    "keys": {1: "int", "1": "str", 1.5: "float", None: "none", (1, "a"): "tuple"},
    "looks like ours": {"array": {"number": 0, "booleans": False}, "tuple": [1], "float": "nan"},
}
ARRAYS = [
    np.array([[1.5, np.nan], [np.inf, -0.0]], np.float32),
    np.arange(6).reshape(2, 3).T,
    np.array([True, False]),
    np.array(5, np.uint8),
    np.empty((0, 3)),
    np.arange(4, dtype=">i2"),
    np.array([0.1], np.float16),
]


def round_trip(tree, tmp_path):
    path = tmp_path / "tree.h5"
    path.write_bytes(backup_file.image(tree))
    return backup_file.read(path)


def test_plain_values_come_back(tmp_path):
    back = round_trip(TREE, tmp_path)
    assert repr(back) == repr(TREE)  # types, the sign of zero and the order of keys as well
    assert math.isnan(round_trip({"value": math.nan}, tmp_path)["value"])


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: array.dtype.str)
def test_arrays_come_back(tmp_path, array):
    back = round_trip([array, {"again": array}], tmp_path)
    for found in (back[0], back[1]["again"]):
        assert type(found) is np.ndarray
        assert found.dtype == array.dtype.newbyteorder("=")
        assert found.shape == array.shape
        assert found.tobytes() == array.astype(array.dtype.newbyteorder("=")).tobytes()


@pytest.mark.parametrize("value", [np.float32(0.1), np.float64("nan"), np.int64(-3), np.bool_(True), np.float16(2)])
def test_scalars_of_numpy_come_back(tmp_path, value):
    back = round_trip({"value": value}, tmp_path)["value"]
    assert type(back) is type(value)
    assert back.tobytes() == value.tobytes()


def test_the_same_tree_gives_the_same_bytes():
    assert bytes(backup_file.image([TREE, *ARRAYS])) == bytes(backup_file.image([TREE, *ARRAYS]))


class Whole(int):
    pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [0, {1, 2}]}, "a/1 is a set"),
        ({"a": {(1, 2): object()}}, "a/(1, 2) is a object"),
        ([Whole(3)], "0 is a Whole"),
        ([b"bytes"], "0 is a bytes"),
        ([1j], "0 is a complex"),
        ([np.array(["text"])], "0 is a array of <U4"),
        ([np.array([None])], "0 is a array of object"),
        ([np.array([1j])], "0 is a array of complex128"),
        ([len], "0 is a builtin_function_or_method"),
    ],
)
def test_what_cannot_be_held(value, message):
    with pytest.raises(ConfigError) as error:
        backup_file.image(value)
    assert str(error.value) == (
        f"BackupAndRestore: {message}, which a backup cannot hold; let it be made of numbers, strings, None, lists, "
        "tuples, dicts and arrays."
    )


def test_a_list_that_holds_itself():
    endless = []
    endless.append(endless)
    with pytest.raises(
        ConfigError, match="BackupAndRestore: a state is nested too deeply, or holds itself; make it flat"
    ):
        backup_file.image(endless)


def test_more_text_than_can_be_read_is_not_written(monkeypatch):
    monkeypatch.setattr(safe_json, "MAX_CHARACTERS", 100)
    with pytest.raises(
        ConfigError, match="the states take 115 characters, more than 100; let callbacks keep long series"
    ):
        backup_file.image("x" * 103)


# -- damage


@pytest.fixture
def path(tmp_path):
    (tmp_path / "tree.h5").write_bytes(backup_file.image({"weights": ARRAYS, "state": TREE}))
    return tmp_path / "tree.h5"


def refused(path):
    with pytest.raises(FileFormatError) as error:
        backup_file.read(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_truncation_is_noticed(path):
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 61):
        path.write_bytes(whole[:length])
        refused(path)


def test_every_changed_byte_is_noticed_or_changes_nothing(path):
    """The digest covers names, shapes, types and values; what is left is space that nothing uses."""
    whole, expected = path.read_bytes(), repr(backup_file.read(path))
    outcomes = {"the same": 0, "refused": 0}
    for place in range(0, len(whole), 37):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            assert repr(backup_file.read(path)) == expected
            outcomes["the same"] += 1
        except FileFormatError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 0


def test_files_of_another_kind(tmp_path, path):
    path.write_bytes(b"<html>")
    assert "is text, not an HDF5 file" in refused(path)
    new_model().save(tmp_path / "model.h5")
    assert "is not written by this version of BackupAndRestore" in refused(tmp_path / "model.h5")
    assert "no such file" in refused(tmp_path / "none.h5")


# -- hostile files, with a digest that is right


def hostile(path, text, arrays=()):
    with h5py.File(path, "w") as root:
        root.attrs["format"] = backup_file.FORMAT
        root.attrs["tree"] = text
        root.attrs["digest"] = backup_file._digest(text, list(arrays))
        group = root.create_group("arrays")
        for number, array in enumerate(arrays):
            group[str(number)] = array


@pytest.mark.parametrize(
    "tree",
    [
        {"code": "import os"},
        {"tuple": 3},
        {"dict": [[1]]},
        {"dict": [[{"dict": []}, 1]]},
        {"float": "1"},
        {"array": {"number": 7, "booleans": False}},
        {"array": {"number": "0", "booleans": False}},
        {"array": 0},
        {"tuple": [1], "dict": []},
        {},
    ],
)
def test_trees_that_are_none(tmp_path, tree):
    hostile(tmp_path / "tree.h5", json.dumps({"tree": tree}), [np.zeros(3)])
    assert "is damaged" in refused(tmp_path / "tree.h5")


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", '{"tree": ' + "[" * 100_000 + "]" * 100_000 + "}"])
def test_text_that_is_no_tree(tmp_path, text):
    hostile(tmp_path / "tree.h5", text)
    refused(tmp_path / "tree.h5")


def test_links_to_elsewhere_are_not_followed(tmp_path, path):
    hostile(path, json.dumps({"tree": {"array": {"number": 0, "booleans": False}}}), [np.zeros(3)])
    with h5py.File(tmp_path / "secret.h5", "w") as root:
        root["0"] = np.zeros(3)
    with h5py.File(path, "r+") as root:
        del root["arrays/0"]
        root["arrays/0"] = h5py.ExternalLink("secret.h5", "/0")
    assert "is a link to elsewhere (ExternalLink), which is never followed" in refused(path)


def leaves(tree, place=()):
    """Every place in a tree of lists, tuples and dicts."""
    yield place
    if isinstance(tree, dict):
        for key in tree:
            yield from leaves(tree[key], (*place, key))
    elif isinstance(tree, (list, tuple)):
        for number, value in enumerate(tree):
            yield from leaves(value, (*place, number))


def replaced(tree, place, value):
    if not place:
        return value
    tree = copy.copy(tree) if not isinstance(tree, tuple) else list(tree)
    tree[place[0]] = replaced(tree[place[0]], place[1:], value)
    return tree


@pytest.mark.parametrize("value", [None, -1, 10**30, 0.5, "x", [], {}, [[]], np.zeros(3)], ids=repr)
def test_no_value_in_its_place_does_more_than_an_error(tmp_path, value):
    """Each part of a real backup replaced: the fit goes on or is refused, and a refused one has changed nothing."""
    interrupt(new_model(), [BackupAndRestore(tmp_path, 1)], "on_train_batch_end", 5)
    path = tmp_path / "backup.h5"
    backup = backup_file.read(path)
    refusals = 0
    for place in leaves(backup):
        if len(place) > 3 and ("callbacks" in place or "attributes" in place or "metrics" in place[:-1]):
            continue  # what callbacks, optimizers and metrics make of their own attributes is their affair
        path.write_bytes(backup_file.image(replaced(backup, place, value)))
        model, refused = new_model(), False
        before = model.get_weights()
        try:
            model.fit(X, Y, epochs=2, callbacks=[BackupAndRestore(tmp_path, delete_checkpoint=False)], **QUIET)
        except MinicnnError:
            refused = True
        assert not refused or all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True)), place
        refusals += refused
    assert refusals > 80
