"""scikit-learn's 1,797 handwritten digits, enlarged from 8x8 to MNIST's 28x28 pixels. They need no download.

Source: Alpaydin and Kaynak, Optical recognition of handwritten digits (1998), UCI machine learning repository, its test
part, as sklearn.datasets.load_digits returns it.
"""

import numpy as np

from minicnn.datasets.files import Split
from minicnn.typing import Array

CLASS_NAMES = tuple("0123456789")

_SMALL, _LARGE = 8, 28  # pixels a side
_BRIGHTEST = 16  # of the 8x8 images


def load_data() -> tuple[Split, Split]:
    """(x_train, y_train), (x_test, y_test) in the shapes of MNIST.

    All uint8: images (1437, 28, 28) and (360, 28, 28), 0 to 255, and labels (1437,) and (360,), 0 to 9. The split is
    always the same, a fifth for testing, every digit in its share.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x = enlarge(digits.images.astype(np.uint8))
    y = digits.target.astype(np.uint8)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=0, stratify=y)
    return (x_train, y_train), (x_test, y_test)


def enlarge(images: Array) -> Array:
    """Bilinear enlargement of (N, 8, 8) images of 0 to 16 to (N, 28, 28) uint8 of 0 to 255.

    Pixel i of a side of 28 has its centre at (i + 1/2)·8/28 - 1/2 = (4i - 5)/14 of the side of 8, held within 0 to 7.
    So the weights are fourteenths, and whole numbers give every pixel exactly, rounded half up, on any machine.
    """
    position = np.clip(4 * np.arange(_LARGE) - 5, 0, 14 * (_SMALL - 1))
    left, part = np.divmod(position, 14)
    weights = np.zeros((_LARGE, _SMALL), np.int64)  # row i: what pixel i takes of each of the eight, in fourteenths
    rows = np.arange(_LARGE)
    weights[rows, left] = 14 - part
    weights[rows, np.minimum(left + 1, _SMALL - 1)] += part
    full = 14 * 14 * _BRIGHTEST
    return ((255 * (weights @ images @ weights.T) + full // 2) // full).astype(np.uint8)
