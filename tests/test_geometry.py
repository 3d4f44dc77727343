"""Where windows lie: sizes and padding against a count by hand, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.errors import ConfigError, ShapeError
from minicnn.geometry import Windows, padding_name, pair, place_windows, positive_int, same_padding

SIZES = st.integers(1, 4)


@given(
    size=st.integers(1, 12),
    extent=SIZES,
    stride=SIZES,
    dilation=st.integers(1, 3),
    padding=st.sampled_from(["valid", "same"]),
)
def test_one_axis_against_a_count(size, extent, stride, dilation, padding):
    covered = (extent - 1) * dilation + 1
    if padding == "valid":
        starts = [p for p in range(0, size, stride) if p + covered <= size]
        if not starts:
            with pytest.raises(ShapeError):
                place_windows((size, 1), (extent, 1), (stride, 1), padding, "test", (dilation, 1))
            return
    windows = place_windows((size, 1), (extent, 1), (stride, 1), padding, "test", (dilation, 1))
    assert (windows.kh, windows.sh, windows.dh) == (extent, stride, dilation)
    if padding == "valid":
        assert (windows.oh, windows.top) == (len(starts), 0)
    else:
        assert windows.oh == len(range(0, size, stride))
        last = (windows.oh - 1) * stride - windows.top + covered  # where the last window ends
        after = max(last - size, 0)
        assert windows.top in (after, after - 1) or (
            windows.top == 0 and last <= size
        )  # the odd pixel goes after the map
    assert windows.out == (windows.oh, windows.ow)
    assert all(type(value) is int for value in windows)


@pytest.mark.parametrize(
    ("size", "extent", "stride", "before"),
    [(4, 3, 1, 1), (4, 2, 1, 0), (4, 4, 1, 1), (4, 3, 2, 0), (5, 3, 2, 1), (6, 5, 3, 1), (7, 2, 3, 0), (5, 1, 2, 0)],
)
def test_same_padding_as_observed_in_keras(size, extent, stride, before):
    assert same_padding(size, extent, stride) == before


def test_axes_are_height_then_width():
    windows = place_windows((10, 20), (2, 3), (4, 5), "valid", "test")
    assert windows == Windows(kh=2, kw=3, sh=4, sw=5, dh=1, dw=1, top=0, left=0, oh=3, ow=4)


@pytest.mark.parametrize(("dilation", "covers"), [((1, 1), ""), ((2, 1), " covering (5, 3)")])
def test_a_window_that_does_not_fit(dilation, covers):
    with pytest.raises(ShapeError) as error:
        place_windows((2, 9), (3, 3), (1, 1), "valid", "pool", dilation)
    assert str(error.value) == (
        f"pool: window (3, 3){covers} does not fit a map of 2x9; "
        'make the window smaller or the map larger, or use padding="same".'
    )


@pytest.mark.parametrize(
    ("value", "expected"), [(3, (3, 3)), ((2, 5), (2, 5)), ([1, 2], (1, 2)), (np.int64(4), (4, 4))]
)
def test_pair(value, expected):
    result = pair(value, "size", "layer")
    assert result == expected
    assert all(type(v) is int for v in result)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "3", None, (1,), (1, 2, 3), (1, 0), (1, 2.0), ()])
def test_no_pair(value):
    with pytest.raises(ConfigError, match="layer: size must be"):
        pair(value, "size", "layer")


def test_integers_have_a_minimum():
    assert positive_int(0, "count", "fit", minimum=0) == 0
    with pytest.raises(ConfigError, match=r"^fit: count must be an integer of at least 0, got -1\.$"):
        positive_int(-1, "count", "fit", minimum=0)
    with pytest.raises(ConfigError, match=r"^fit: count must be a positive integer, got 0\.$"):
        positive_int(0, "count", "fit")


def test_padding_names():
    assert padding_name("SAME", "layer") == "same"
    assert padding_name("Valid", "layer") == "valid"
    for wrong in ("full", "", None, 1, ["same"]):
        with pytest.raises(ConfigError, match='layer: padding must be "valid" or "same"'):
            padding_name(wrong, "layer")
