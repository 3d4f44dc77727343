"""The digits: shapes, the fixed split, exact enlargement; and the table of all data sets."""

import subprocess
import sys
from fractions import Fraction

import numpy as np

from minicnn import datasets
from minicnn.datasets import digits


def test_shapes_and_split():
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    assert (x_train.shape, y_train.shape) == ((1437, 28, 28), (1437,))
    assert (x_test.shape, y_test.shape) == ((360, 28, 28), (360,))
    assert all(array.dtype == np.uint8 for array in (x_train, y_train, x_test, y_test))
    assert (x_train.min(), x_train.max()) == (0, 255)
    assert np.bincount(y_test).tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]
    assert np.bincount(np.concatenate([y_train, y_test])).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_the_split_is_always_the_same():
    for first, second in zip(digits.load_data(), digits.load_data(), strict=True):
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)


def test_enlarging_is_bilinear_and_exact():
    image = np.random.default_rng(0).integers(0, 17, (8, 8)).astype(np.uint8)

    def sample(row, column):
        """The image at a point between pixel centres, in fractions."""
        (r, s), (c, d) = divmod(row, 1), divmod(column, 1)
        below, right = min(r + 1, 7), min(c + 1, 7)
        return sum(
            weight * int(image[i, j])
            for weight, i, j in [
                ((1 - s) * (1 - d), r, c),
                ((1 - s) * d, r, right),
                (s * (1 - d), below, c),
                (s * d, below, right),
            ]
        )

    centres = [min(max(Fraction(2 * i + 1, 2) * 8 / 28 - Fraction(1, 2), Fraction(0)), Fraction(7)) for i in range(28)]
    expected = [[int(255 * sample(r, c) / 16 + Fraction(1, 2)) for c in centres] for r in centres]
    np.testing.assert_array_equal(digits.enlarge(image[None])[0], expected)


def test_enlarging_keeps_black_and_white():
    flat = np.array([[[0]], [[16]], [[8]]], np.uint8) * np.ones((1, 8, 8), np.uint8)
    large = digits.enlarge(flat)
    assert [np.unique(image).tolist() for image in large] == [[0], [255], [128]]  # 127.5 is rounded up


def test_the_table_of_data_sets():
    assert list(datasets.DATASETS) == ["mnist", "fashion_mnist", "cifar10", "digits"]
    for module in datasets.DATASETS.values():
        assert callable(module.load_data)
        assert len(module.CLASS_NAMES) == 10


def test_importing_loads_nothing_heavy():
    code = "import sys, minicnn.datasets; print(sorted({'sklearn', 'pooch', 'tqdm', 'requests'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
