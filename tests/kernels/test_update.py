"""The optimizers' updates: loops, NumPy and Numba agree, and the values are those of the formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.kernels import update

SIZES = st.sampled_from([0, 1, 2, 7, 4095, 4096, 4097, 8195])

# operation: number of slots, which of them the variant does without, scalars after the arrays
OPERATIONS = {
    "sgd": (0, (), (0.1, 0.01)),
    "sgd without decay": (0, (), (0.1, 0.0)),
    "momentum": (1, (), (0.1, 0.9, False, 0.01)),
    "momentum, nesterov": (1, (), (0.1, 0.9, True, 0.01)),
    "rmsprop": (3, (1, 2), (0.1, 0.9, 0.1, 0.0, 0.01, 0.01)),
    "rmsprop, momentum": (3, (2,), (0.1, 0.9, 0.1, 0.5, 0.01, 0.01)),
    "rmsprop, centered": (3, (1,), (0.1, 0.9, 0.1, 0.0, 0.01, 0.01)),
    "rmsprop, both": (3, (), (0.1, 0.9, 0.1, 0.5, 0.01, 0.01)),
    "adagrad": (1, (), (0.1, 0.01, 0.01)),
    "adadelta": (2, (), (0.1, 0.9, 0.1, 0.01, 0.01)),
    "adam": (3, (2,), (0.1, 0.1, 0.01, 0.01, 0.01)),
    "adam, amsgrad": (3, (), (0.1, 0.1, 0.01, 0.01, 0.01)),
}


# slots that shrink where gradients are 0, by their place among the arguments: those with a sign, and means of squares
SHRINKING = {"momentum": ([2], []), "rmsprop": ([3, 4], [2]), "adadelta": ([], [2, 3]), "adam": ([2], [3])}


def function(operation, version):
    return getattr(update, f"{operation.split(',')[0].split(' ')[0]}_{version}")


def arguments(operation, size, dtype, seed=0):
    """Weights, gradients, slots and scalars. Slots are positive, and mean squares above the squares of means."""
    slots, absent, values = OPERATIONS[operation]
    rng = np.random.default_rng(seed)
    weights, gradients = rng.standard_normal((2, size)).astype(dtype)
    made = [rng.uniform(0.1, 0.3, size).astype(dtype) for _ in range(slots)]
    made = [slot[:0].copy() if i in absent else slot for i, slot in enumerate(made)]
    return [weights, gradients, *made, *(v if isinstance(v, bool) else np.dtype(dtype).type(v) for v in values)]


def copied(args):
    return [a.copy() if isinstance(a, np.ndarray) else a for a in args]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("operation", OPERATIONS)
@settings(deadline=None, max_examples=12)  # the first example compiles
@given(size=SIZES, seed=st.integers(0, 2**32 - 1))
def test_versions_agree(operation, dtype, size, seed):
    given_args = arguments(operation, size, dtype, seed)
    expected = copied(given_args)
    function(operation, "loops")(*expected)
    assert size == 0 or not np.array_equal(expected[0], given_args[0])
    np.testing.assert_array_equal(expected[1], given_args[1])  # gradients are only read
    # Two steps of one unit in the last place, at values around 1: Numba may fuse a product with a sum.
    tolerance = 8 * np.finfo(dtype).eps
    for version in ("numpy", "numba"):
        got = copied(given_args)
        function(operation, version)(*got)
        for a, b in zip(got, expected, strict=True):
            if isinstance(a, np.ndarray):
                assert a.dtype == dtype
                np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("version", ["loops", "numpy", "numba"])
@pytest.mark.parametrize(
    ("operation", "given_args", "expected"),
    [
        # w 4 - 0.25·4 - 0.5·2
        ("sgd", ([4.0], [2.0], 0.5, 0.25), ([2.0], [2.0])),
        # u 0.5·2 - 0.5·2 = 0, w 4 - 1 + 0; Nesterov goes on to 0.5·0 - 0.5·2
        ("momentum", ([4.0], [2.0], [2.0], 0.5, 0.5, False, 0.25), ([3.0], [2.0], [0.0])),
        ("momentum", ([4.0], [2.0], [2.0], 0.5, 0.5, True, 0.25), ([2.0], [2.0], [0.0])),
        # v 0.75·4 + 0.25·16 = 7, step 0.5·4/√(7 + 2) = 2/3
        ("rmsprop", ([4.0], [4.0], [4.0], [], [], 0.5, 0.75, 0.25, 0.0, 2.0, 0.25), ([3 - 2 / 3], [4.0], [7.0])),
        # a 0.75·0 + 0.25·4 = 1: step 2/√(7 - 1 + 3) = 2/3, u 0.5·2 + 2/3
        (
            "rmsprop",
            ([4.0], [4.0], [4.0], [2.0], [0.0], 0.5, 0.75, 0.25, 0.5, 3.0, 0.0),
            ([4 - 5 / 3], [4.0], [7.0], [5 / 3], [1.0]),
        ),
        # G 3 + 4 = 7, step 0.5·2/√(7 + 2)
        ("adagrad", ([4.0], [2.0], [3.0], 0.5, 2.0, 0.25), ([3 - 1 / 3], [2.0], [7.0])),
        # G 0.5·10 + 0.5·4 = 7, s 2·√(2 + 2)/√(7 + 2) = 4/3, D 0.5·2 + 0.5·16/9
        (
            "adadelta",
            ([4.0], [2.0], [10.0], [2.0], 0.5, 0.5, 0.5, 2.0, 0.25),
            ([3 - 2 / 3], [2.0], [7.0], [17 / 9]),
        ),
        # m 1 + 0.5·(3 - 1) = 2, v 1 + 0.375·(9 - 1) = 4, step 2·2/(2 + 2)
        ("adam", ([4.0], [3.0], [1.0], [1.0], [], 2.0, 0.5, 0.375, 2.0, 0.25), ([2.0], [3.0], [2.0], [4.0])),
        # the largest so far, 36, divides: 2·2/(6 + 2)
        (
            "adam",
            ([4.0], [3.0], [1.0], [1.0], [36.0], 2.0, 0.5, 0.375, 2.0, 0.0),
            ([3.5], [3.0], [2.0], [4.0], [36.0]),
        ),
    ],
)
def test_by_hand(version, operation, given_args, expected):
    args = [np.array(a, np.float64) if isinstance(a, list) else a for a in given_args]
    function(operation, version)(*args)
    arrays = [a for a in args if isinstance(a, np.ndarray) and a.size]
    for got, want in zip(arrays, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-15)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_bits_do_not_depend_on_the_threads_nor_on_the_place(operation, threads):
    args = arguments(operation, 12_293, np.float32)
    args = [a if not isinstance(a, np.ndarray) or not a.size else np.full_like(a, a[0]) for a in args]
    results = []
    for count in (1, 2):
        threads(count)
        results.append(copied(args))
        function(operation, "numba")(*results[-1])
    for got in results:
        assert len(np.unique(got[0])) == 1  # equal elements stay equal, in vector instructions and beside them
        np.testing.assert_array_equal(got[0], results[0][0])


def test_one_compiled_signature_a_dtype():
    for dtype in (np.float32, np.float64):
        for operation in OPERATIONS:
            function(operation, "numba")(*arguments(operation, 5, dtype))
    for operation in ("sgd", "momentum", "rmsprop", "adagrad", "adadelta", "adam"):
        assert len(function(operation, "numba").signatures) == 2


@pytest.mark.parametrize("version", ["loops", "numpy", "numba"])
def test_amsgrad_hands_nan_on(version):
    args = [np.array(a) for a in ([1.0], [np.nan], [0.0], [0.0], [5.0])]
    function("adam", version)(*args, 0.1, 0.1, 0.1, 0.1, 0.0)
    assert np.isnan(args[0][0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("version", ["loops", "numpy", "numba"])
@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name.split(",")[0] in SHRINKING])
def test_what_is_left_of_a_slot_without_gradients_is_not_subnormal(operation, version, dtype):
    """Such numbers make a CPU slow, and rounding keeps them from ever reaching 0."""
    args = arguments(operation, 3, dtype)
    tiny = np.finfo(dtype).tiny
    before = args[0].copy()
    args[1][:] = 0
    means, squares = SHRINKING[operation.split(",")[0]]
    shrinking = [args[k] for k in (*means, *squares) if args[k].size]
    least = update.MARGIN * tiny
    for slot in shrinking:
        slot[:] = [1e4 * least, 2 * least, 0]
    for k in means:
        args[k][1::3] *= -1
    function(operation, version)(*args)
    assert all(slot[:2].all() for slot in shrinking)  # not yet
    for _ in range(2500):
        function(operation, version)(*args)
        for slot in shrinking:
            assert np.all((slot == 0) | (abs(slot) >= least))
    assert not any(args[k].any() for k in means)
    assert all(args[k].tolist() == [least, least, 0] for k in squares)
    np.testing.assert_allclose(args[0], before * (1 - 0.01) ** 2501, rtol=1e-3)  # by the decay alone


@pytest.mark.parametrize("version", ["loops", "numpy", "numba"])
def test_a_unit_that_no_longer_fires_keeps_its_weight_without_epsilon(version):
    """Its mean of squares must not end at 0: the step would be 0/0."""
    number, nothing = np.float32, np.empty(0, np.float32)
    weights, gradients, velocity = (np.array([value], number) for value in (0.5, 0, 1))
    for _ in range(1500):
        scalars = (number(value) for value in (0.1, 0.9, 0.1, 0, 0, 0))
        function("rmsprop", version)(weights, gradients, velocity, nothing, nothing, *scalars)
    assert weights == number(0.5)


@pytest.mark.parametrize("version", ["loops", "numpy", "numba"])
@pytest.mark.parametrize("operation", [name for name, (slots, *_) in OPERATIONS.items() if slots])
def test_nan_stays_in_the_slots(operation, version):
    args = arguments(operation, 3, "float32")
    args[1][1] = np.nan
    function(operation, version)(*args)
    for array in args:
        if isinstance(array, np.ndarray) and array is not args[1] and array.size:
            assert np.isnan(array).tolist() == [False, True, False]
