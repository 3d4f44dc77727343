"""MNIST and Fashion-MNIST: the places in their order, the formats they accept, the damage they report."""

import gzip
import io
import pickle
import zipfile

import numpy as np
import pytest

from minicnn.datasets import fashion_mnist, mnist
from minicnn.datasets.idx import read_idx
from minicnn.errors import DatasetError
from tests.datasets.samples import TEST, TRAIN, assert_same, idx_bytes, sha256_of, small, splits, write_idx


@pytest.fixture(autouse=True)
def few(monkeypatch, refusing):
    """Both sets with few samples, and no mirror that answers."""
    for module in (mnist, fashion_mnist):
        monkeypatch.setattr(module, "OFFICIAL", small(module.OFFICIAL, mirrors=(refusing,)))


def write_npz(path, data, **changes):
    (x_train, y_train), (x_test, y_test) = data
    arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test} | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


# -- places


@pytest.mark.parametrize("gzipped", [True, False])
@pytest.mark.parametrize("module", [mnist, fashion_mnist])
def test_own_folder(module, gzipped, home):
    write_idx(home / module.OFFICIAL.name, splits(), gzipped)
    assert_same(module.load_data(), splits())


@pytest.mark.parametrize("value", [None, ""])
def test_own_folder_is_by_default_in_the_home_folder(value, tmp_path, monkeypatch):
    if value is None:
        monkeypatch.delenv("MINICNN_HOME")
    else:
        monkeypatch.setenv("MINICNN_HOME", value)
    write_idx(tmp_path / "home/.minicnn/datasets/mnist", splits())
    assert_same(mnist.load_data(), splits())


def test_mnist_looks_in_its_folder_then_in_keras_cache(home, tmp_path):
    write_npz(tmp_path / "home/.keras/datasets/mnist.npz", splits(1))
    assert_same(mnist.load_data(), splits(1))
    write_idx(home / "mnist", splits(2))
    assert_same(mnist.load_data(), splits(2))


def test_fashion_mnist_looks_in_its_folder_then_in_keras_cache_then_at_debian(home, tmp_path):
    write_idx(tmp_path / "debian", splits(1))
    assert_same(fashion_mnist.load_data(), splits(1))
    write_idx(tmp_path / "home/.keras/datasets/fashion-mnist", splits(2))
    assert_same(fashion_mnist.load_data(), splits(2))
    write_idx(home / "fashion_mnist", splits(3))
    assert_same(fashion_mnist.load_data(), splits(3))


def test_keras_home_moves_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "elsewhere"))
    write_npz(tmp_path / "elsewhere/datasets/mnist.npz", splits())
    assert_same(mnist.load_data(), splits())


def test_a_path_that_is_given_is_looked_at_first(home, tmp_path):
    write_idx(home / "mnist", splits(1))
    write_npz(tmp_path / "home/.keras/datasets/mine.npz", splits(2))
    write_npz(tmp_path / "other.npz", splits(3))
    assert_same(mnist.load_data("mine.npz"), splits(2))
    assert_same(mnist.load_data(path=str(tmp_path / "other.npz")), splits(3))
    assert_same(mnist.load_data("absent.npz"), splits(1))


@pytest.mark.parametrize("module", [mnist, fashion_mnist])
def test_only_what_is_missing_is_downloaded(module, home, tmp_path, serve, monkeypatch):
    write_idx(tmp_path / "source", splits())
    official = small(module.OFFICIAL, sha256=sha256_of(tmp_path / "source"), mirrors=(serve(tmp_path / "source"),))
    monkeypatch.setattr(module, "OFFICIAL", official)
    write_idx(home / module.OFFICIAL.name, splits(), gzipped=False)
    (home / module.OFFICIAL.name / "t10k-labels-idx1-ubyte").unlink()
    assert_same(module.load_data(), splits())
    names = {path.name for path in (home / module.OFFICIAL.name).iterdir() if path.suffix == ".gz"}
    assert names == {"t10k-labels-idx1-ubyte.gz"}


@pytest.mark.parametrize("module", [mnist, fashion_mnist])
def test_absent_and_offline(module, home, refusing):
    with pytest.raises(DatasetError) as caught:
        module.load_data()
    message = str(caught.value)
    assert message.startswith(f"{module.OFFICIAL.name}: not on this machine, and the download failed (")
    assert message.endswith(
        "put train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, "
        f"t10k-labels-idx1-ubyte.gz into {home / module.OFFICIAL.name}, from {refusing}."
    )
    assert "\n" not in message


# -- damaged files


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"PK" + data[2:], "is not an IDX file of uint8 with 3 dimensions"),
        (lambda data: b"\0\0\x0d\x03" + data[4:], "is not an IDX file of uint8 with 3 dimensions"),  # float32
        (lambda data: idx_bytes(np.zeros(5, np.uint8)), "is not an IDX file of uint8 with 3 dimensions"),
        (lambda data: b"", "is not an IDX file of uint8 with 3 dimensions"),
        (lambda data: data[:10], "is truncated in its header"),
        (lambda data: data[:-1], "holds 5,487 bytes of data, expected 5,488"),
        (lambda data: data + b"x", "holds more than 5,488 bytes of data, expected 5,488"),
        (lambda data: idx_bytes(np.zeros((8, 28, 28), np.uint8)), "of shape (8, 28, 28), expected (7, 28, 28)"),
        (lambda data: idx_bytes(np.zeros((7, 14, 56), np.uint8)), "of shape (7, 14, 56), expected (7, 28, 28)"),
    ],
)
@pytest.mark.parametrize("gzipped", [True, False])
def test_a_damaged_idx_file(damage, message, gzipped, home):
    write_idx(home / "mnist", splits(), gzipped)
    name = "train-images-idx3-ubyte.gz" if gzipped else "train-images-idx3-ubyte"
    data = damage(idx_bytes(splits()[0][0]))
    (home / "mnist" / name).write_bytes(gzip.compress(data) if gzipped else data)
    with pytest.raises(DatasetError) as caught:
        mnist.load_data()
    assert str(caught.value).startswith(f"{home / 'mnist' / name}: ")
    assert message in str(caught.value)
    assert "replace it by the official file, or remove it" in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-4],  # the length at the end
        lambda data: data[:-8] + bytes(4) + data[-4:],  # the checksum
        lambda data: b"<html>no such page</html>",
        lambda data: data[:200] + bytes(50) + data[250:],
    ],
)
def test_a_damaged_gzip_wrapper(damage, home):
    write_idx(home / "mnist", splits())
    path = home / "mnist" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DatasetError, match=r"t10k-images-idx3-ubyte\.gz: is truncated or damaged"):
        mnist.load_data()


def test_a_label_out_of_range(home):
    (x, y), test = splits()
    y[3] = 10
    write_idx(home / "mnist", ((x, y), test))
    with pytest.raises(
        DatasetError, match=r"train-labels-idx1-ubyte\.gz: holds the label 10, but labels go from 0 to 9"
    ):
        mnist.load_data()


def test_a_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        read_idx(tmp_path, (1,))


class Trap:
    """Raises when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("was unpickled",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, "y_test"),
        ({"x_train": np.zeros((TRAIN + 1, 28, 28), np.uint8)}, "x_train is uint8 of shape (8, 28, 28)"),
        ({"x_test": np.zeros((TEST, 28, 28), np.float32)}, "x_test is float32"),
        ({"x_test": np.asfortranarray(np.zeros((TEST, 28, 28), np.uint8))}, "x_test"),
        ({"y_train": np.array([Trap()] * TRAIN, dtype=object)}, "y_train is object"),
        ({"y_train": np.full(TRAIN, 11, np.uint8)}, "holds the label 11"),
    ],
)
def test_an_npz_that_is_not_keras(changes, message, tmp_path):
    path = tmp_path / "home/.keras/datasets/mnist.npz"
    write_npz(path, splits(), **changes)
    with pytest.raises(DatasetError) as caught:
        mnist.load_data()
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", pickle.dumps([Trap()])])
def test_an_npz_that_is_no_archive(content, tmp_path):
    path = tmp_path / "home/.keras/datasets/mnist.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"mnist\.npz: is not Keras's mnist\.npz"):
        mnist.load_data()


@pytest.mark.parametrize("shape", ["(10000000000000, 28, 28)", "(-7, 28, 28)", "(7, 28, 28"])
def test_an_npz_whose_header_lies(shape, tmp_path):
    """The header asks for memory that the file does not fill, or is not even well formed."""
    path = tmp_path / "home/.keras/datasets/mnist.npz"
    path.parent.mkdir(parents=True)
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    npy = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", npy + bytes(100))
    with pytest.raises(DatasetError, match=r"mnist\.npz: is not Keras's mnist\.npz"):
        mnist.load_data()


def test_an_npz_with_too_little_or_too_much_data(tmp_path):
    path = tmp_path / "home/.keras/datasets/mnist.npz"
    buffer = io.BytesIO()
    np.save(buffer, splits()[0][0])
    for data in (buffer.getvalue()[:-1], buffer.getvalue() + b"x"):
        write_npz(path, splits(), x_train=None)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("x_train.npy", data)
        with pytest.raises(DatasetError, match="x_train does not hold 5,488 bytes of data"):
            mnist.load_data()
