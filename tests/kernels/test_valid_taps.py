"""Convolution over the taps on the map is the convolution of the definition, with an activation on top."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.geometry import place_windows
from minicnn.kernels import taps, valid_taps
from minicnn.kernels.convolution import conv2d_backward_loops, conv2d_backward_numpy, conv2d_loops, conv2d_numpy
from minicnn.kernels.fused import LINEAR, RELU, TANH
from minicnn.kernels.tiles import Tiling, tiling_for
from tests.kernels.versions import DERIVATIVES, DTYPES, FUNCTIONS, SEEDS, assert_close, plain

pytestmark = pytest.mark.skipif(tiling_for(4) is None, reason="no vector unit: plans never run these kernels here")

SMALL = st.integers(1, 3)
PAIRS = st.tuples(SMALL, SMALL)
SMALL_TILES = Tiling(lanes=2, limit1=3, limit2=2, limit3=0, limit4=0, widest=4)


def random_problem(n, shape, filters, size, windows, dtype, seed):
    """x, kernel, bias, dy."""
    rng = np.random.default_rng(seed)
    shapes = (n, *shape), (*size, shape[2], filters), (filters,), (n, *windows.out, filters)
    return [rng.standard_normal(s).astype(dtype) for s in shapes]


@st.composite
def problems(draw, most=4):
    """x, kernel, bias, dy, windows, code: any padding, strides or dilation, maps down to 1x1."""
    size, strides, dilation = draw(PAIRS), draw(PAIRS), draw(PAIRS)
    padding = draw(st.sampled_from(["valid", "same"]))
    h, w = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    if padding == "valid":
        h, w = max(h, (size[0] - 1) * dilation[0] + 1), max(w, (size[1] - 1) * dilation[1] + 1)
    windows = place_windows((h, w), size, strides, padding, "test", dilation)
    n, channels, filters = (draw(st.integers(1, most)) for _ in range(3))
    arrays = random_problem(n, (h, w, channels), filters, size, windows, draw(DTYPES), draw(SEEDS))
    return *arrays, windows, draw(st.sampled_from([LINEAR, RELU, TANH]))


def assert_is_the_convolution(forward, x, kernel, bias, windows, code, definition=conv2d_loops):
    """forward(x, kernel, bias, windows, code) is f of the definition, up to the rounding of its sums."""
    z = plain(definition, x, kernel, bias, windows)
    largest = plain(definition, abs(x), abs(kernel), abs(bias), windows).max(initial=0)
    assert_close(forward(x, kernel, bias, windows, code), FUNCTIONS[code](z), largest)  # no f' is larger than 1
    return FUNCTIONS[code](z)


def assert_are_the_derivatives(backward, dy, y, x, kernel, windows, code, need_dx, definition=conv2d_backward_loops):
    """backward(dy, y, x, kernel, windows, code, dkernel, dbias, need_dx) are those of the definition."""

    def run(version, dz, x, kernel):
        dkernel, dbias = np.full_like(kernel, np.nan), np.full(kernel.shape[3], np.nan, kernel.dtype)
        dx = plain(version, dz, x, kernel, windows, dkernel, dbias, need_dx)
        return dkernel, dbias, dx

    dz = dy * DERIVATIVES[code](y)
    expected, sizes = run(definition, dz, x, kernel), run(definition, abs(dy), abs(x), abs(kernel))
    got = run(lambda dz, x, kernel, windows, *rest: backward(dy, y, x, kernel, windows, code, *rest), dz, x, kernel)
    assert need_dx or got[2].size == 0
    for actual, value, size in zip(got[: 2 + need_dx], expected, sizes, strict=False):
        assert_close(actual, value, size.max(initial=0))


def with_tiling(version, tiling=None, at=5):
    """The version, given a tiling at this place of its arguments; None: the CPU's own."""
    return lambda *args: version(*args[:at], *_at_the_end_of_five(args, at, tiling))


def _at_the_end_of_five(args, at, tiling):
    chosen = tiling_for(args[0].itemsize) if tiling is None else tiling
    return chosen, *args[at:]


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks so small that small problems have several of each."""
    for name, value in (("DEPTH", 2), ("COLUMNS", 4), ("SUMS", 8), ("CHANNELS", 3), ("GROUP", 2), ("DZ_BYTES", 32)):
        monkeypatch.setattr(valid_taps, name, value)
    monkeypatch.setattr(valid_taps, "PAGE", 16)  # rows of an even number of filters, or of four
    monkeypatch.setattr(valid_taps, "ROWS", 2)


def test_plain_loops(small_blocks):
    """Uncompiled, with several blocks of everything and the tiles of another CPU."""

    @settings(max_examples=40)
    @given(problems(6), st.booleans())
    def check(problem, need_dx):
        x, kernel, bias, dy, windows, code = problem
        if x.dtype == np.float32 and code == TANH:
            code = RELU  # the rational tanh of float32 is held to account elsewhere
        forward = with_tiling(valid_taps.valid_taps_blocked, SMALL_TILES)
        y = assert_is_the_convolution(forward, x, kernel, bias, windows, code)
        backward = with_tiling(valid_taps.valid_taps_backward_blocked, SMALL_TILES, 6)
        assert_are_the_derivatives(backward, dy, y, x, kernel, windows, code, need_dx)

    check()


@given(problems(), st.booleans())
def test_compiled(problem, need_dx):
    x, kernel, bias, dy, windows, code = problem
    y = assert_is_the_convolution(with_tiling(valid_taps.valid_taps_numba), x, kernel, bias, windows, code)
    backward = with_tiling(valid_taps.valid_taps_backward_numba, at=6)
    assert_are_the_derivatives(backward, dy, y, x, kernel, windows, code, need_dx)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "shape", "filters", "size", "strides"),
    [
        (70, (2, 2, 130), 131, (3, 3), (1, 1)),  # odd numbers of everything, several blocks of each
        (33, (4, 3, 49), 257, (5, 5), (1, 1)),
        (9, (4, 4, 300), 80, (3, 3), (2, 2)),
        (3, (1, 1, 520), 600, (1, 1), (1, 1)),  # a dense layer
        (20, (1, 1, 200), 1024, (1, 1), (1, 1)),  # its rows whole pages
    ],
)
def test_many_channels_and_filters(n, shape, filters, size, strides, dtype):
    windows = place_windows(shape[:2], size, strides, "same", "test")
    x, kernel, bias, dy = random_problem(n, shape, filters, size, windows, dtype, 0)
    case = x, kernel, bias, windows, RELU, conv2d_numpy
    y = assert_is_the_convolution(with_tiling(valid_taps.valid_taps_numba), *case)
    backward = with_tiling(valid_taps.valid_taps_backward_numba, at=6)
    assert_are_the_derivatives(backward, dy, y, x, kernel, windows, RELU, True, conv2d_backward_numpy)


def test_what_no_tap_reads_has_no_gradient():
    """Stride 3 with a 1x1 kernel: most pixels are in no window; and a kernel with one tap on the map."""
    tiling = tiling_for(8)
    windows = place_windows((5, 5), (1, 1), (3, 3), "valid", "test")
    x, kernel, _, dy = random_problem(2, (5, 5, 1), 1, (1, 1), windows, np.float64, 1)
    dkernel, dbias = np.empty_like(kernel), np.empty(1)
    dx = valid_taps.valid_taps_backward_numba(dy, dy, x, kernel, windows, LINEAR, tiling, dkernel, dbias, True)
    read = np.zeros((5, 5), bool)
    read[::3, ::3] = True
    np.testing.assert_array_equal(dx[:, read, 0], dy.reshape(2, 4) * kernel.item())
    np.testing.assert_array_equal(dx[:, ~read], 0)

    windows = place_windows((1, 1), (3, 3), (1, 1), "same", "test")
    x, kernel, _, dy = random_problem(2, (1, 1, 1), 1, (3, 3), windows, np.float64, 1)
    dkernel = np.full_like(kernel, np.nan)
    valid_taps.valid_taps_backward_numba(dy, dy, x, kernel, windows, LINEAR, tiling, dkernel, dbias, False)
    expected = np.zeros((3, 3))
    expected[1, 1] = np.sum(x * dy)
    np.testing.assert_allclose(dkernel[:, :, 0, 0], expected, rtol=1e-15)


@pytest.mark.parametrize("filters", [3, 40])
def test_nan_and_infinity_stay_in_their_own_outputs(filters):
    windows = place_windows((2, 2), (3, 3), (1, 1), "same", "test")
    x, kernel, bias, _ = random_problem(5, (2, 2, 4), filters, (3, 3), windows, np.float32, 2)
    clean = valid_taps.valid_taps_numba(x, kernel, bias, windows, LINEAR, tiling_for(4))
    x[1, 0, 0, 2], x[3, 1, 1, 0] = np.nan, np.inf
    y = valid_taps.valid_taps_numba(x, kernel, bias, windows, LINEAR, tiling_for(4))
    assert np.isnan(y[1]).all()
    assert not np.isfinite(y[3]).any()
    np.testing.assert_array_equal(y[[0, 2, 4]], clean[[0, 2, 4]])


def test_positions_covered():
    """Against asking each position."""
    for out in range(1, 6):
        for size in range(1, 6):
            for stride in range(1, 4):
                for offset in range(-8, 8):
                    inside = [p for p in range(out) if 0 <= p * stride + offset < size]
                    first, last = taps.covered(out, size, stride, offset)
                    assert list(range(first, last)) == inside
