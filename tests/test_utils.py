"""to_categorical, clear_session and the base class of Sequences."""

import gc
import weakref

import numpy as np
import pytest

from minicnn import Input, naming, utils
from minicnn import Sequential as Model
from minicnn.errors import ConfigError, DataError
from minicnn.layers import Dense
from minicnn.utils import PyDataset, clear_session, to_categorical
from tests.small_models import QUIET, X, Y, new_model


def test_one_hot_rows():
    rows = to_categorical([0, 2, 1, 2])
    assert rows.dtype == np.float64
    assert rows.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    "x",
    [["0", "2"], np.array(["0", "2"], object), np.array([0, 2], object), np.array([b"0", b"2"]), np.array(["0", " 2"])],
)
def test_numbers_as_tables_hold_them(x):
    assert to_categorical(x).tolist() == [[1, 0, 0], [0, 0, 1]]


def test_num_classes_may_be_larger():
    assert to_categorical([1, 0], 4).tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]


def test_negative_numbers_count_from_the_end():
    assert to_categorical([0, -1], num_classes=3).tolist() == [[1, 0, 0], [0, 0, 1]]


def test_floats_are_cut():
    assert to_categorical([0.9, 2.9]).tolist() == [[1, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("shape", "result"),
    [
        ((), (3,)),
        ((1,), (1, 3)),
        ((4,), (4, 3)),
        ((4, 1), (4, 3)),
        ((1, 1), (1, 3)),
        ((2, 4), (2, 4, 3)),
        ((2, 4, 1), (2, 4, 3)),
        ((0,), (0, 3)),
    ],
)
def test_shapes(shape, result):
    rows = to_categorical(np.full(shape, 2), 3)
    assert rows.shape == result
    np.testing.assert_array_equal(rows.argmax(-1) if rows.size else 2, 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, bool])
def test_dtypes(dtype):
    assert to_categorical(np.array([1, 0], dtype)).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("x", "num_classes", "message"),
    [
        ([0, 3], 3, "to_categorical: x holds 3, which is none of 3 classes; raise num_classes."),
        ([0, -4], 3, "to_categorical: x holds -4, which is none of 3 classes; raise num_classes."),
        ([-1], None, "to_categorical: x holds -1, which is none of 0 classes; raise num_classes."),
        ([], None, "to_categorical: x of shape (0,) is empty; say num_classes."),
        (["a"], None, "to_categorical: x must hold class numbers, got dtype <U1; convert it to integers."),
        (["1", "1.5"], None, "to_categorical: x must hold class numbers, got dtype <U3; convert it to integers."),
        ([None], None, "to_categorical: x must hold class numbers, got dtype object; convert it to integers."),
        ([0.0, float("nan")], 3, "to_categorical: x holds NaN or infinity; class numbers are finite."),
        ([[1], [1, 2]], 3, "to_categorical: x must be an array of class numbers, got rows of different lengths."),
    ],
)
def test_what_is_no_class(x, num_classes, message):
    with pytest.raises(DataError) as error:
        to_categorical(x, num_classes)
    assert str(error.value) == message


@pytest.mark.parametrize("num_classes", [-1, 2.5, "3", True])
def test_bad_num_classes(num_classes):
    with pytest.raises(ConfigError, match="num_classes must be a positive integer, or None or 0 to count the classes"):
        to_categorical([0], num_classes)


@pytest.mark.parametrize("num_classes", [None, 0, np.int64(0)])
def test_the_classes_of_x_are_counted(num_classes):
    assert to_categorical([0, 2], num_classes).tolist() == [[1, 0, 0], [0, 0, 1]]


def test_clear_session_drops_models_that_nobody_has():
    """A model and its History refer to each other; automatic collection is off, as it may be rare."""
    gc.disable()
    try:
        model = new_model()
        model.fit(X, Y, **QUIET)
        dropped = weakref.ref(model)
        del model
        clear_session(free_memory=False)
        assert dropped() is not None
        clear_session()
        assert dropped() is None
    finally:
        gc.enable()


def test_clear_session_starts_names_anew():
    clear_session()
    assert [naming.automatic_name("Conv2D") for _ in range(2)] == ["conv2d", "conv2d_1"]
    clear_session()
    assert naming.automatic_name("Conv2D") == "conv2d"


@pytest.mark.parametrize("dtype", ["float32", np.uint8, bool, "int64"])
def test_dtype_of_keras_2(dtype):
    rows = to_categorical([1, 0], 2, dtype=dtype)
    assert rows.dtype == np.dtype(dtype)
    assert rows.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("dtype", ["flaot32", str, object, 3])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(ConfigError) as error:
        to_categorical([1, 0], 2, dtype)
    assert str(error.value) == (f'to_categorical: dtype must be a type of numbers such as "float32", got {dtype!r}.')


def test_the_place_of_keras_2():
    from minicnn.utils import np_utils
    from minicnn.utils.np_utils import to_categorical as old

    assert np_utils.to_categorical is old is to_categorical


class Halves(PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return np.full((4, 3), index, np.float32), np.zeros((4, 1))


def test_a_class_of_batches_by_number(batches_apart):
    assert utils.Sequence is PyDataset
    model = Model([Input((3,)), Dense(1)], seed=0)
    model.compile("sgd", "mse")
    assert len(model.fit(Halves(), epochs=2, verbose=0).epoch) == 2
    x = np.repeat([0.0, 1.0], 4)[:, None] * np.ones(3)
    np.testing.assert_array_equal(model.predict(Halves(), verbose=0), model.predict(x, batch_size=4, verbose=0))
    with pytest.raises(ConfigError, match="Halves: workers=4 is not supported"):
        Halves(workers=4)
    assert [x[0, 0] for x, _ in Halves()] == [0, 1]  # slices beyond the end would go on
    with pytest.raises(NotImplementedError, match="PyDataset must override __len__, the number of batches"):
        len(PyDataset())
