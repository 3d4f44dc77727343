"""MNIST: 70,000 grey images of handwritten digits, 28x28 pixels.

Source: LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition (1998); LeCun, Cortes
and Burges, The MNIST database, http://yann.lecun.com/exdb/mnist/. CC BY-SA 3.0.
"""

import math
import zipfile
from pathlib import Path

import numpy as np

from minicnn.datasets.files import Split, check_labels, damaged, datasets_folder, keras_folder
from minicnn.datasets.idx import IdxDataset
from minicnn.errors import DatasetError
from minicnn.typing import Array, Shape

CLASS_NAMES = tuple("0123456789")

# The hashes are those that TensorFlow Datasets publishes (url_checksums/mnist.txt).
OFFICIAL = IdxDataset(
    name="mnist",
    sha256={
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    mirrors=(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ),
)

_KERAS_FILE = "mnist.npz"


def load_data(path: str = _KERAS_FILE) -> tuple[Split, Split]:
    """(x_train, y_train), (x_test, y_test), as Keras's function of that name returns them.

    All uint8: images (60000, 28, 28) and (10000, 28, 28), 0 to 255, and labels (60000,) and (10000,), 0 to 9. Looked
    for in $MINICNN_HOME/datasets/mnist (default ~/.minicnn/datasets/mnist) and in Keras's cache, else downloaded into
    the first, 12 MB.

    path: the file in Keras's cache, relative to ~/.keras/datasets; one other than the default is looked at first.
    Raises DatasetError if a file is damaged, or if there is none and the download fails.
    """
    own = datasets_folder() / OFFICIAL.name
    keras_file = keras_folder() / path
    if path != _KERAS_FILE and keras_file.is_file():
        return read_npz(keras_file, *OFFICIAL.samples)
    if OFFICIAL.is_in(own):
        return OFFICIAL.read(own)
    if keras_file.is_file():
        return read_npz(keras_file, *OFFICIAL.samples)
    OFFICIAL.download(own)
    return OFFICIAL.read(own)


def read_npz(path: Path, train: int, test: int) -> tuple[Split, Split]:
    """The four arrays of Keras's mnist.npz with that many samples; nothing is unpickled. Raises DatasetError."""
    image = OFFICIAL.image
    try:
        with zipfile.ZipFile(path) as archive:
            x_train, y_train = _read_npy(archive, "x_train", (train, *image)), _read_npy(archive, "y_train", (train,))
            x_test, y_test = _read_npy(archive, "x_test", (test, *image)), _read_npy(archive, "y_test", (test,))
    except Exception as error:  # zipfile, zlib and NumPy's header parser each have several of their own
        raise damaged(path, f"is not Keras's mnist.npz ({error})") from error
    check_labels(path, y_train)
    check_labels(path, y_test)
    return (x_train, y_train), (x_test, y_test)


def _read_npy(archive: zipfile.ZipFile, name: str, shape: Shape) -> Array:
    """One uint8 array of the archive. What the header says is checked before memory is taken."""
    size = math.prod(shape)
    with archive.open(f"{name}.npy") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise DatasetError(f"{name} has an unknown format version")
        found, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        if (found, fortran_order, dtype) != (shape, False, np.dtype(np.uint8)):
            raise DatasetError(f"{name} is {dtype} of shape {found}, expected uint8 of shape {shape}")
        data = file.read(size + 1)  # one more, to see that it ends there
    if len(data) != size:
        raise DatasetError(f"{name} does not hold {size:,} bytes of data")
    return np.frombuffer(data, np.uint8).reshape(shape).copy()  # a copy: bytes cannot be written to
