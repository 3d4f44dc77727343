"""CIFAR-10: the byte order of its records, its archive, the damage it reports."""

import gzip
import hashlib
import io
import tarfile

import numpy as np
import pytest

from minicnn.datasets import cifar10
from minicnn.errors import DatasetError

RECORDS = 4
NAMES = [*cifar10.TRAIN_FILES, cifar10.TEST_FILE]


def batch(seed):
    """The bytes of one file, its images (N, 32, 32, 3) and labels (N, 1), written from the format's description."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (RECORDS, 32, 32, 3), np.uint8)
    labels = rng.integers(0, 10, (RECORDS, 1), np.uint8)
    data = bytearray()
    for image, label in zip(images, labels, strict=True):
        data.append(label[0])
        for channel in range(3):
            for row in range(32):
                for column in range(32):
                    data.append(image[row, column, channel])
    return bytes(data), images, labels


BATCHES = [batch(seed) for seed in range(6)]


def archive_bytes(members):
    """A gzipped tar of (name, bytes) or ready TarInfo members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in members:
            if isinstance(name, tarfile.TarInfo):
                info = name
            else:
                info = tarfile.TarInfo(name)
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


MEMBERS = [(f"cifar-10-batches-bin/{name}", data) for name, (data, _, _) in zip(NAMES, BATCHES, strict=True)]
ARCHIVE = archive_bytes([*MEMBERS, ("cifar-10-batches-bin/readme.html", b"<html>")])


def load(home, mirrors=(), sha256=""):
    return cifar10.load(home, RECORDS, sha256, mirrors, patience=5.0)


def assert_all_there(found):
    (x_train, y_train), (x_test, y_test) = found
    np.testing.assert_array_equal(x_train, np.concatenate([images for _, images, _ in BATCHES[:5]]), strict=True)
    np.testing.assert_array_equal(y_train, np.concatenate([labels for _, _, labels in BATCHES[:5]]), strict=True)
    np.testing.assert_array_equal(x_test, BATCHES[5][1], strict=True)
    np.testing.assert_array_equal(y_test, BATCHES[5][2], strict=True)
    assert all(array.flags.c_contiguous and array.flags.writeable for array in (x_train, y_train, x_test, y_test))


@pytest.fixture
def folder(home):
    """The unpacked folder, whole."""
    folder = home / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name, (data, _, _) in zip(NAMES, BATCHES, strict=True):
        (folder / name).write_bytes(data)
    return folder


def test_the_unpacked_folder(folder, home):
    assert_all_there(load(home))


def test_an_archive_of_the_users_own_is_unpacked_and_kept(home):
    home.mkdir(parents=True)
    (home / "cifar-10-binary.tar.gz").write_bytes(ARCHIVE)
    assert_all_there(load(home))
    assert (home / "cifar-10-binary.tar.gz").read_bytes() == ARCHIVE
    assert sorted(path.name for path in (home / "cifar-10-batches-bin").iterdir()) == sorted(NAMES)


def test_the_downloaded_archive_is_unpacked_and_removed(home, serve, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "cifar-10-binary.tar.gz").write_bytes(ARCHIVE)
    assert_all_there(load(home, (serve(tmp_path / "source"),), hashlib.sha256(ARCHIVE).hexdigest()))
    assert [path.name for path in home.iterdir()] == ["cifar-10-batches-bin"]
    assert_all_there(load(home))


def test_absent_and_offline(home, refusing, monkeypatch):
    monkeypatch.setattr(cifar10, "MIRRORS", (refusing,))
    with pytest.raises(DatasetError) as caught:
        cifar10.load_data()
    assert str(caught.value).startswith("cifar10: not on this machine, and the download failed (")
    assert str(caught.value).endswith(f"put cifar-10-binary.tar.gz into {home}, from {refusing}.")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "holds 12,291 bytes, expected 12,292 (4 records)"),
        (lambda data: data + b"x", "holds more than 12,292 bytes, expected 12,292 (4 records)"),
        (lambda data: b"", "holds 0 bytes, expected 12,292 (4 records)"),
        (lambda data: b"\x0a" + data[1:], "holds the label 10, but labels go from 0 to 9"),
    ],
)
def test_a_damaged_file(damage, message, folder, home):
    path = folder / "data_batch_3.bin"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DatasetError) as caught:
        load(home)
    assert str(caught.value).startswith(f"{path}: {message}; ")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (ARCHIVE[: len(ARCHIVE) // 2], "is truncated or damaged"),
        (b"<html>no such page</html>", "is truncated or damaged"),
        (gzip.compress(b"not a tar file" * 100, mtime=0), "is truncated or damaged"),
        (archive_bytes(MEMBERS[:-1]), "has no cifar-10-batches-bin/test_batch.bin with 4 records"),
        (archive_bytes([*MEMBERS[1:], (MEMBERS[0][0], b"short")]), "has no cifar-10-batches-bin/data_batch_1.bin with"),
    ],
)
def test_a_damaged_archive(data, message, home):
    home.mkdir(parents=True)
    path = home / "cifar-10-binary.tar.gz"
    path.write_bytes(data)
    with pytest.raises(DatasetError) as caught:
        load(home)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_what_else_an_archive_holds_is_never_written(home, tmp_path):
    link = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "outside")
    hostile = [("../escaped", b"x"), (str(tmp_path / "absolute"), b"x"), (link, b""), *MEMBERS]
    home.mkdir(parents=True)
    (home / "cifar-10-binary.tar.gz").write_bytes(archive_bytes(hostile))
    assert_all_there(load(home))
    assert not any((tmp_path / name).exists() for name in ("outside", "absolute"))
    assert not list(tmp_path.rglob("escaped"))
    assert not (home / "cifar-10-batches-bin" / "data_batch_1.bin").is_symlink()
