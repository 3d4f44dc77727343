"""The real data sets, where the shared folder has them; the loaders ask for the official sizes."""

import gzip
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from minicnn.datasets import cifar10, fashion_mnist, mnist
from tests.shared import shared_folder


def real(name: str) -> Path:
    """The folder of that name in shared/data; skips the test where there is none."""
    shared = shared_folder()
    if shared is None or not (shared / "data" / name).is_dir():
        pytest.skip(f"no shared/data/{name}; set MINICNN_SHARED to the folder that has data/{name}")
    return shared / "data" / name


@pytest.mark.parametrize(
    ("module", "first_train", "first_test", "total"),
    [
        (mnist, [5, 0, 4, 1, 9], [7, 2, 1, 0, 4], 1_567_298_545),
        (fashion_mnist, [9, 0, 0, 3, 0], [9, 2, 1, 1, 6], 3_431_114_169),
    ],
)
def test_grey_images(module, first_train, first_test, total, home):
    name = module.OFFICIAL.name
    home.mkdir(parents=True)
    (home / name).symlink_to(real(name))
    (x_train, y_train), (x_test, y_test) = module.load_data()
    assert (x_train.shape, y_train.shape) == ((60_000, 28, 28), (60_000,))
    assert (x_test.shape, y_test.shape) == ((10_000, 28, 28), (10_000,))
    assert all(array.dtype == np.uint8 for array in (x_train, y_train, x_test, y_test))
    assert y_train[:5].tolist() == first_train
    assert y_test[:5].tolist() == first_test
    assert int(x_train.sum(dtype=np.int64)) == total
    assert set(y_train.tolist()) == set(range(len(module.CLASS_NAMES)))


def test_published_hashes_of_fashion_mnist():
    """The shared files are the official ones less name and time in the gzip header; with both, the hashes match."""
    folder = real("fashion_mnist")
    modified = {"train": 1_504_176_606, "t10k": 1_504_176_627}  # 31 August 2017
    for name, digest in fashion_mnist.OFFICIAL.sha256.items():
        data = (folder / name).read_bytes()
        if data[3] != 0:
            pytest.skip("these files have a gzip header of their own")
        time = modified[name.split("-")[0]].to_bytes(4, "little")
        original = data[:3] + b"\x08" + time + data[8:10] + name.removesuffix(".gz").encode() + b"\0" + data[10:]
        assert gzip.decompress(original) == gzip.decompress(data)
        assert hashlib.sha256(original).hexdigest() == digest


def test_colour_images(home):
    """An image a class of a JPEG copy of CIFAR-10, repeated to the official number of records."""
    source = real("cifar10_jpeg") / "test.zip"
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is needed to read the JPEG copy of CIFAR-10")
    folder = home / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    images = {}
    for index, label in enumerate(cifar10.CLASS_NAMES):
        with zipfile.ZipFile(source) as archive:
            name = next(name for name in sorted(archive.namelist()) if f"/{label}/" in f"/{name}")
            images[index] = np.asarray(pillow.open(io.BytesIO(archive.read(name))).convert("RGB"))
    records = b"".join(bytes((k,)) + image.transpose(2, 0, 1).tobytes() for k, image in images.items())
    for name in (*cifar10.TRAIN_FILES, cifar10.TEST_FILE):
        (folder / name).write_bytes(records * 1000)
    (x_train, y_train), (x_test, y_test) = cifar10.load_data()
    assert (x_train.shape, y_train.shape) == ((50_000, 32, 32, 3), (50_000, 1))
    assert (x_test.shape, y_test.shape) == ((10_000, 32, 32, 3), (10_000, 1))
    for k, image in images.items():
        np.testing.assert_array_equal(x_train[40_000 + k], image)
        assert y_test[9_990 + k, 0] == k
