"""Small data sets in the official formats, for the tests to write, damage and serve."""

import gzip
import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np

from minicnn.datasets.idx import IdxDataset

TRAIN, TEST = 7, 3


def idx_bytes(array: np.ndarray) -> bytes:
    """An IDX file, written by hand from the format's description."""
    return bytes((0, 0, 8, array.ndim)) + b"".join(struct.pack(">I", n) for n in array.shape) + array.tobytes()


def splits(seed: int = 0):
    """(x_train, y_train), (x_test, y_test) of random numbers in MNIST's shapes, few."""
    rng = np.random.default_rng(seed)
    return tuple((rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n, np.uint8)) for n in (TRAIN, TEST))


def write_idx(folder: Path, data, gzipped: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, (x, y) in zip(("train", "t10k"), data, strict=True):
        for name, array in ((f"{prefix}-images-idx3-ubyte", x), (f"{prefix}-labels-idx1-ubyte", y)):
            if gzipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(array)))
            else:
                (folder / name).write_bytes(idx_bytes(array))


def small(official: IdxDataset, **changes) -> IdxDataset:
    """The data set with the few samples of splits()."""
    return replace(official, samples=(TRAIN, TEST), **changes)


def sha256_of(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def assert_same(found, expected) -> None:
    """Equal arrays of uint8 that the caller may write to."""
    for (x, y), (expected_x, expected_y) in zip(found, expected, strict=True):
        for array, reference in ((x, expected_x), (y, expected_y)):
            np.testing.assert_array_equal(array, reference, strict=True)
            assert array.dtype == np.uint8
            assert array.flags.writeable
            assert array.flags.c_contiguous
