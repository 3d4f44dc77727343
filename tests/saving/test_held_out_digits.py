"""A LeNet-5 that somebody trained with Keras 2.0 reads MNIST's 10,000 test digits as Keras does, digit for digit."""

import numpy as np
import pytest

from minicnn.datasets import mnist
from minicnn.models import load_model
from tests.shared import shared_folder

FILE = "wild_models/Jianglinhe__LeNet-5__LeNet-5.h5"

# fmt: off
MISREAD = {
    62: 5, 247: 6, 340: 3, 445: 0, 449: 5, 582: 2, 583: 3, 625: 4, 659: 7, 674: 3, 684: 3, 882: 7, 924: 7, 947: 9,
    951: 7, 1014: 5, 1112: 6, 1226: 2, 1232: 4, 1247: 5, 1260: 1, 1299: 7, 1319: 0, 1403: 6, 1414: 7, 1459: 3, 1621:
    6, 1670: 3, 1681: 7, 1709: 5, 1717: 0, 1737: 3, 1878: 3, 1901: 4, 2035: 3, 2118: 0, 2130: 9, 2369: 3, 2447: 9,
    2488: 4, 2496: 3, 2582: 7, 2597: 3, 2654: 1, 2668: 9, 2742: 7, 2743: 8, 2939: 7, 2959: 3, 3060: 7, 3336: 7,
    3422: 0, 3520: 4, 3574: 7, 3727: 9, 3762: 8, 3806: 8, 3808: 8, 3869: 4, 3985: 4, 4052: 3, 4176: 7, 4256: 0,
    4360: 3, 4497: 7, 4504: 7, 4507: 9, 4712: 9, 4807: 0, 4814: 0, 4943: 8, 5201: 9, 5457: 8, 5642: 8, 5757: 7,
    5842: 7, 5937: 3, 6091: 5, 6166: 3, 6571: 7, 6572: 5, 6576: 1, 6597: 7, 6623: 8, 6651: 8, 6783: 6, 6847: 4,
    7842: 8, 7847: 0, 7928: 0, 8094: 8, 8408: 5, 9015: 2, 9530: 8, 9540: 8, 9613: 3, 9642: 7, 9669: 7, 9679: 3,
    9729: 6, 9770: 0,
}
# fmt: on
"""What tf_keras 2.21 takes the digits for that it gets wrong, by their number, at pixels from 0 to 1. All others it
gets right. The two largest of a digit's probabilities are 0.0039 apart or more, so that no rounding decides."""


def test_every_digit_is_read_as_keras_reads_it():
    shared = shared_folder()
    if shared is None or not (shared / FILE).is_file() or not mnist.OFFICIAL.is_in(shared / "data" / "mnist"):
        pytest.skip(f"{FILE} or data/mnist is not there: set MINICNN_SHARED to the folder that has them")
    x, y = mnist.OFFICIAL.read(shared / "data" / "mnist")[1]
    model = load_model(shared / FILE)
    labels = model.predict(x[..., None].astype(np.float32) / 255, batch_size=500, verbose=0).argmax(axis=1)
    wrong = np.flatnonzero(labels != y)
    assert dict(zip(wrong.tolist(), labels[wrong].tolist(), strict=True)) == MISREAD
    assert np.sum(labels == y) == 9899
