"""The IDX files of MNIST and of the sets made in its image.

An IDX file holds one array: two zero bytes, the element type (8 for uint8), the number of dimensions, each size as a
big-endian 32-bit integer, then the elements in row-major order.
Source: LeCun, Cortes and Burges, The MNIST database, http://yann.lecun.com/exdb/mnist/.
"""

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minicnn.datasets.download import PATIENCE, fetch
from minicnn.datasets.files import Split, check_labels, damaged
from minicnn.typing import Array, Shape

_UINT8 = 8


@dataclass(frozen=True, slots=True)
class IdxDataset:
    """A set in four IDX files: images and labels, for training and for testing.

    name: of the set. sha256: the published hash of each official file, by its name (ending in .gz). mirrors: addresses
    to which a file name is appended. samples: how many for training and for testing. image: height and width in pixels.
    """

    name: str
    sha256: dict[str, str]
    mirrors: tuple[str, ...]
    samples: tuple[int, int] = (60_000, 10_000)
    image: tuple[int, int] = (28, 28)

    def is_in(self, folder: Path) -> bool:
        """Whether all four files are in the folder, each as downloaded (.gz) or unpacked."""
        return not self.missing_from(folder)

    def missing_from(self, folder: Path) -> list[str]:
        """The names of the files that are not in the folder."""
        return [name for name in self.sha256 if _find(folder, name) is None]

    def read(self, folder: Path) -> tuple[Split, Split]:
        """(x_train, y_train), (x_test, y_test) from a folder that has all four files.

        uint8, images (N, H, W) and labels (N,). Raises DatasetError naming a file that is damaged or of another size.
        """
        train, test = self.samples
        return self._read_split(folder, "train", train), self._read_split(folder, "t10k", test)

    def download(self, folder: Path, patience: float = PATIENCE) -> None:
        """Fetch what is missing from the folder. Raises DatasetError if that fails."""
        missing = {name: self.sha256[name] for name in self.missing_from(folder)}
        fetch(self.name, folder, missing, self.mirrors, patience)

    def _read_split(self, folder: Path, prefix: str, samples: int) -> Split:
        images = self._path(folder, f"{prefix}-images-idx3-ubyte.gz")
        labels = self._path(folder, f"{prefix}-labels-idx1-ubyte.gz")
        x = read_idx(images, (samples, *self.image))
        y = read_idx(labels, (samples,))
        check_labels(labels, y)
        return x, y

    def _path(self, folder: Path, name: str) -> Path:
        return _find(folder, name) or folder / name


def read_idx(path: Path, shape: Shape) -> Array:
    """The uint8 array of an IDX file, gzipped if its name ends in .gz.

    Raises DatasetError unless the file holds exactly an array of this shape; no more than that is read into memory.
    """
    size = math.prod(shape)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic = file.read(4)
            sizes = file.read(4 * len(shape))
            data = file.read(size + 1)  # one more, to see that it ends there; at the end gzip compares its checksum
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(path, f"is truncated or damaged ({error})") from error
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror})") from error
    if magic != bytes((0, 0, _UINT8, len(shape))):
        raise damaged(path, f"is not an IDX file of uint8 with {len(shape)} dimensions (starts with {magic!r})")
    if len(sizes) < 4 * len(shape):
        raise damaged(path, "is truncated in its header")
    found = struct.unpack(f">{len(shape)}I", sizes)
    if found != shape:
        raise damaged(path, f"says that it holds an array of shape {found}, expected {shape}")
    if len(data) != size:
        amount = f"{len(data):,}" if len(data) < size else f"more than {size:,}"
        raise damaged(path, f"holds {amount} bytes of data, expected {size:,}")
    return np.frombuffer(data, np.uint8).reshape(shape).copy()  # a copy: bytes cannot be written to


def _find(folder: Path, name: str) -> Path | None:
    """The file as downloaded, else unpacked, else None."""
    candidates = (folder / name, folder / name.removesuffix(".gz"))
    return next((path for path in candidates if path.is_file()), None)
