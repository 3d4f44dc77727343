"""HDF5 files whose parts are each as they may be, and together would take hours or all memory."""

import struct

import h5py
import numpy as np

from minicnn import Sequential, layers, load_model
from minicnn.saving.safe_hdf5 import SIGNATURE, Reader
from tests.saving.models import small
from tests.saving.test_hostile import refused

MEGABYTE = 1 << 20


def test_arrays_of_no_size_are_not_read_any_number_of_times(tmp_path):
    """64,000 such names in each of 64,000 layers were 4·10⁹ arrays out of a file of 200 KB; here is one layer."""
    with h5py.File(tmp_path / "w.h5", "w") as root:
        root.attrs["layer_names"] = np.array([b"dense"])
        root.create_dataset("dense/n", (0,), "f4")
        root["dense"].attrs["weight_names"] = np.array([b"n"] * 4000)
    refused(tmp_path / "w.h5", "lists more arrays than it has room for, 'n' among them", small().load_weights)


def test_a_file_of_many_small_arrays_is_read(tmp_path):
    model = Sequential([layers.Dense(1, input_shape=(1,)), *(layers.Dense(1) for _ in range(60))])
    for name in ("w.h5", "w.weights.h5", "m.keras", "m.h5"):
        (model.save_weights if "w." in name else model.save)(tmp_path / name)
        model.load_weights(tmp_path / name)


def test_heaps_of_strings_in_one_another(tmp_path):
    """32,000 heaps, each of all that follow: 5·10⁸ objects to look at."""
    units = MEGABYTE // 32
    ends = (32 * (units - number) - 16 for number in range(units))
    forged = b"".join(struct.pack("<H6xQ", 1, 16) + b"GCOL\x01\0\0\0" + struct.pack("<Q", end) for end in ends)
    (tmp_path / "m.h5").write_bytes(SIGNATURE + bytes(88) + forged)
    refused(tmp_path / "m.h5", "is damaged .heaps of strings in one another.; get the file anew")


def test_lists_of_strings_in_one_another(tmp_path):
    """25,000 attributes, each of 65,536 strings: 10⁹ lengths to look at."""
    small().save(tmp_path / "m.h5")
    name, kind, space = b"model_config\0", b"\x19" + bytes(7), struct.pack("<BBHQ", 2, 1, 0, MEGABYTE)
    attribute = struct.pack("<BB3HB", 3, 0, len(name), len(kind), len(space), 0) + name + kind + space
    with (tmp_path / "m.h5").open("ab") as file:
        file.write(attribute * (MEGABYTE // len(attribute)))
    refused(tmp_path / "m.h5", "the attribute 'model_config' is damaged; get the file anew")


def test_a_list_in_any_number_of_parts(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as root:
        for number in range(65):
            root.attrs[f"layer_names{number}"] = ["dense"]
    refused(tmp_path / "w.h5", "the list 'layer_names' has more than 64 parts; give a model's", small().load_weights)


def test_what_does_not_fit_into_memory_is_not_called_damaged(tmp_path, monkeypatch):
    small().save(tmp_path / "m.h5")

    def too_large(*args):
        raise MemoryError

    monkeypatch.setattr(Reader, "array", too_large)
    refused(tmp_path / "m.h5", "does not fit into memory; free some, or use a machine with more", load_model)
