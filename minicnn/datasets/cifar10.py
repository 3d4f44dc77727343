"""CIFAR-10: 60,000 colour images of ten kinds of things, 32x32 pixels, in its binary version.

A record is a label byte and 3,072 bytes of pixels in channel, row, column order; a file holds 10,000 records.
Keras downloads the Python version, which is pickled; this one is plain bytes.
Source: Krizhevsky, Learning multiple layers of features from tiny images (2009),
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import gzip
import os
import tarfile
import tempfile
import zlib
from pathlib import Path

import numpy as np

from minicnn.datasets.download import PATIENCE, fetch
from minicnn.datasets.files import Split, check_labels, damaged, datasets_folder, give_usual_mode
from minicnn.errors import DatasetError
from minicnn.typing import Array

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

FOLDER = "cifar-10-batches-bin"  # as the archive unpacks
TRAIN_FILES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST_FILE = "test_batch.bin"

ARCHIVE = "cifar-10-binary.tar.gz"
# Published by TensorFlow Datasets (url_checksums/cifar10.txt).
ARCHIVE_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
MIRRORS = (
    "https://www.cs.toronto.edu/~kriz/",
    "https://cave.cs.toronto.edu/kriz/",
    "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/",
)

_IMAGE = (3, 32, 32)  # channel, row, column
_RECORD = 1 + 3 * 32 * 32  # bytes
_RECORDS = 10_000  # in a file


def load_data() -> tuple[Split, Split]:
    """(x_train, y_train), (x_test, y_test), as Keras's function of that name returns them.

    All uint8: images (50000, 32, 32, 3) and (10000, 32, 32, 3), RGB, 0 to 255, and labels (50000, 1) and (10000, 1),
    0 to 9, named by CLASS_NAMES. Looked for in $MINICNN_HOME/datasets (default ~/.minicnn/datasets): the folder
    cifar-10-batches-bin, else the archive cifar-10-binary.tar.gz, which is unpacked; else downloaded into it, 170 MB.
    Raises DatasetError if a file is damaged, or if there is none and the download fails.
    """
    return load(datasets_folder(), _RECORDS, ARCHIVE_SHA256, MIRRORS, PATIENCE)


def load(datasets: Path, records: int, sha256: str, mirrors: tuple[str, ...], patience: float) -> tuple[Split, Split]:
    """load_data with all that it takes for granted: records a file, and where the archive is from."""
    folder, archive = datasets / FOLDER, datasets / ARCHIVE
    if not all((folder / name).is_file() for name in (*TRAIN_FILES, TEST_FILE)):
        downloaded = not archive.is_file()
        if downloaded:
            fetch("cifar10", datasets, {ARCHIVE: sha256}, mirrors, patience)
        unpack(archive, folder, records)
        if downloaded:
            archive.unlink()  # all of it is in the folder now
    parts = [read_batch(folder / name, records) for name in TRAIN_FILES]
    x_train, y_train = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return (x_train, y_train), read_batch(folder / TEST_FILE, records)


def read_batch(path: Path, records: int) -> Split:
    """Images (records, 32, 32, 3) and labels (records, 1) of one file, uint8.

    Raises DatasetError unless the file has exactly that many records; no more than that is read into memory.
    """
    size = records * _RECORD
    try:
        data: Array = np.fromfile(path, np.uint8, size + 1)  # one more, to see that it ends there
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror})") from error
    if data.size != size:
        amount = f"{data.size:,}" if data.size < size else f"more than {size:,}"
        raise damaged(path, f"holds {amount} bytes, expected {size:,} ({records:,} records)")
    table = data.reshape(records, _RECORD)
    labels = table[:, :1].copy()
    check_labels(path, labels)
    images = table[:, 1:].reshape(records, *_IMAGE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels


def unpack(archive: Path, folder: Path, records: int) -> None:
    """Write the six files of the archive into folder.

    Only members of the expected names and sizes are looked at, as bytes: no path, link or mode of the archive counts.
    Raises DatasetError if one is absent or the archive is damaged.
    """
    wanted = {f"{FOLDER}/{name}": name for name in (*TRAIN_FILES, TEST_FILE)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive, "r:gz") as members:
            for member in members:
                if member.name in wanted and member.isreg() and member.size == records * _RECORD:
                    file = members.extractfile(member)
                    if file is not None:
                        _write(folder / wanted.pop(member.name), file.read())
                if not wanted:
                    return
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(archive, f"is truncated or damaged ({error})") from error
    except OSError as error:
        reason = f"cannot be unpacked into {folder} ({error.strerror})"
        raise DatasetError(f"{archive}: {reason}; make room, or make both readable and writable.") from error
    raise damaged(archive, f"has no {', '.join(wanted)} with {records:,} records")


def _write(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        give_usual_mode(Path(temporary))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
