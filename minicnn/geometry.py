"""Where windows lie on a map: pairs, output sizes and SAME padding. Integers only."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple

from minicnn.errors import ConfigError, ShapeError
from minicnn.typing import Pair


def positive_int(value: Any, name: str, owner: str, minimum: int = 1) -> int:
    """value as an int of at least `minimum`; ConfigError names the owner and the argument otherwise."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        kind = "a positive integer" if minimum == 1 else f"an integer of at least {minimum}"
        raise ConfigError(f"{owner}: {name} must be {kind}, got {value!r}.")
    return int(value)


def pair(value: Any, name: str, owner: str, minimum: int = 1) -> Pair:
    """(height, width) from an int, which stands for both, or from two ints. Raises ConfigError for anything else."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != 2:
            raise ConfigError(f"{owner}: {name} must be an integer or two integers, got {value!r}.")
        return positive_int(value[0], name, owner, minimum), positive_int(value[1], name, owner, minimum)
    one = positive_int(value, name, owner, minimum)
    return one, one


def padding_name(value: Any, owner: str) -> str:
    """ "valid" or "same", whatever the case of the letters. Raises ConfigError for anything else."""
    name = value.lower() if isinstance(value, str) else value
    if name not in ("valid", "same"):
        raise ConfigError(f'{owner}: padding must be "valid" or "same", got {value!r}.')
    return str(name)


class Windows(NamedTuple):
    """Windows of one size sliding over a map, in pixels, (height, width) each.

    Window (p, q) covers the input pixels (p·SH + i·DH − top, q·SW + j·DW − left), i < KH, j < KW; what lies outside
    the map is padding. One value describes a convolution and a pooling alike, so the kernels share it. Plain integers
    only, which is what compiled kernels can take apart.
    """

    kh: int
    kw: int
    sh: int
    sw: int
    dh: int  # dilation; 1 is a dense window
    dw: int
    top: int  # pixels of padding before the map
    left: int
    oh: int  # how many windows there are
    ow: int

    @property
    def out(self) -> Pair:
        """(OH, OW)."""
        return self.oh, self.ow


def same_padding(size: int, extent: int, stride: int) -> int:
    """Pixels of padding before a map under SAME; an odd pixel goes after it.

        total = max((ceil(size / stride) − 1)·stride + extent − size, 0),   before = floor(total / 2)

    size: of the map; extent: of the dilated window. Source: measured on Keras 2.4 to 3.15.
    """
    total = max((-(-size // stride) - 1) * stride + extent - size, 0)
    return total // 2


def place_windows(
    map_size: Sequence[int], size: Pair, strides: Pair, padding: str, owner: str, dilation: Pair = (1, 1)
) -> Windows:
    """The windows that fit a map of (height, width) pixels.

    valid: only whole windows, OH = floor((H − extent) / SH) + 1 with extent = (KH − 1)·DH + 1.
    same:  OH = ceil(H / SH), with padding as in same_padding.
    Raises ShapeError, naming `owner`, where no window fits.
    """
    height, width = map_size
    extent = (size[0] - 1) * dilation[0] + 1, (size[1] - 1) * dilation[1] + 1
    if padding == "same":
        before = same_padding(height, extent[0], strides[0]), same_padding(width, extent[1], strides[1])
        out = -(-height // strides[0]), -(-width // strides[1])
    else:
        before = 0, 0
        out = (height - extent[0]) // strides[0] + 1, (width - extent[1]) // strides[1] + 1
    if min(out) < 1:
        covers = f" covering {extent}" if extent != size else ""
        raise ShapeError(
            f"{owner}: window {size}{covers} does not fit a map of {height}x{width}; "
            'make the window smaller or the map larger, or use padding="same".'
        )
    return Windows(*size, *strides, *dilation, *before, *out)


def transposed_size(
    size: int, window: int, stride: int, dilation: int, padding: str, output_padding: int | None
) -> int:
    """The length of the map that a transposed convolution makes of `size` pixels along one axis.

        valid: (size − 1)·stride + extent + output_padding,       None: max(stride − extent, 0)
        same:  (size − 1)·stride + extent mod 2 + output_padding, None: what makes it size·stride

    with extent = (window − 1)·dilation + 1. Source: measured on Keras 3.15.
    """
    extent = (window - 1) * dilation + 1
    if padding == "valid":
        extra = max(stride - extent, 0) if output_padding is None else output_padding
        return (size - 1) * stride + extent + extra
    return size * stride if output_padding is None else (size - 1) * stride + extent % 2 + output_padding
