"""Pooling: MaxPooling2D, AveragePooling2D and their global forms."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.arguments import refuse
from minicnn.geometry import Windows, padding_name, pair, place_windows
from minicnn.layers.base import Layer, Run
from minicnn.typing import Array, Config, Shape


class _Pooling(Layer):
    """What both poolings share: where the windows lie."""

    rank = 3

    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        refuse(self, data_format=(data_format or "channels_last", "channels_last"))
        self.pool_size = pair(pool_size, "pool_size", str(self))
        self.strides = self.pool_size if strides is None else pair(strides, "strides", str(self))
        self.padding = padding_name(padding, str(self))

    def windows(self, input_shape: Shape) -> Windows:
        """Where the windows lie on a map of this shape."""
        return place_windows(input_shape[:2], self.pool_size, self.strides, self.padding, str(self))

    def output_shape(self, input_shape: Shape) -> Shape:
        return (*self.windows(input_shape).out, input_shape[2])

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": "channels_last",
        }


class MaxPooling2D(_Pooling):
    """Keeps the largest value of each window, channel by channel.

    forward   y[n,p,q,c] = max over i, j of x[n,h,w,c],   h = p·SH + i − top,   w = q·SW + j − left, on the map
    backward  y = x at the winner, so ∂y[n,p,q,c]/∂x[n,h,w,c] is 1 if (h, w) wins the window (p, q), and 0 otherwise: a
              small change of any other pixel of the window leaves the largest as it is. So
                  dL/dx[n,h,w,c] = Σ of dL/dy[n,p,q,c] over the windows (p, q) that (h, w) wins
              where windows overlap, a pixel can win several. Of equal values, where there is no derivative, the first
              in row-major order wins.

    Args:
        pool_size: KH, KW in pixels; an int stands for both.
        strides: SH, SW in pixels; None means pool_size.
        padding: "valid" (only whole windows) or "same" (OH = ceil(H / SH); the border never wins).

    Shapes: (N, H, W, C) to (N, OH, OW, C). Raises ShapeError if no window fits.
    Source: Goodfellow, Bengio and Courville, Deep Learning (2016), section 9.3.
    """

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        windows = self.windows(x.shape[1:])
        y = run.kernels.max_pool(x, windows)
        return y, (x, y, windows)

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        return run.kernels.max_pool_backward(dy, *saved) if need_dx else None


class AveragePooling2D(_Pooling):
    """Keeps the mean of each window, channel by channel.

    forward   y[n,p,q,c] = 1/k(p,q) · Σ over the window's real cells of x[n,h,w,c]; k(p,q) is their number, since what
              "same" adds around the map is not counted
    backward  ∂y[n,p,q,c]/∂x[n,h,w,c] = 1/k(p,q) for every cell of the window, so
                  dL/dx[n,h,w,c] = Σ of dL/dy[n,p,q,c]/k(p,q) over the windows (p, q) that cover (h, w)

    Args and shapes: as MaxPooling2D. Source: LeCun et al. 1998, whose "subsampling" this is without its weights.
    """

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        windows = self.windows(x.shape[1:])
        return run.kernels.average_pool(x, windows), (x.shape, windows)

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        x_shape, windows = saved
        return run.kernels.average_pool_backward(dy, x_shape, windows) if need_dx else None


class _GlobalPooling(Layer):
    """One window, as large as the map."""

    rank = 3

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        refuse(self, data_format=(data_format or "channels_last", "channels_last"))
        self.keepdims = bool(keepdims)

    def output_shape(self, input_shape: Shape) -> Shape:
        channels = input_shape[2]
        return (1, 1, channels) if self.keepdims else (channels,)

    def shaped(self, y: Array) -> Array:
        """(N, 1, 1, C) as the output's shape."""
        return y if self.keepdims else y.reshape(y.shape[0], y.shape[3])

    def get_config(self) -> Config:
        return {**super().get_config(), "data_format": "channels_last", "keepdims": self.keepdims}


def _whole_map(x: Array) -> Windows:
    height, width = x.shape[1:3]
    return Windows(kh=height, kw=width, sh=1, sw=1, dh=1, dw=1, top=0, left=0, oh=1, ow=1)


class GlobalMaxPooling2D(_GlobalPooling):
    """The largest value of each channel's whole map.

    forward   y[n,c] = max over h, w of x[n,h,w,c]
    backward  dL/dx[n,h,w,c] = dL/dy[n,c] where x[n,h,w,c] = y[n,c], zero elsewhere, as for MaxPooling2D. Where k pixels
              are equally large each gets dL/dy[n,c]/k: unlike MaxPooling2D, and as TensorFlow, whose reduce_max this is

    Shapes: (N, H, W, C) to (N, C), or (N, 1, 1, C) with keepdims.
    """

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        y = run.kernels.max_pool(x, _whole_map(x))
        return self.shaped(y), (x, y)

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        if not need_dx:
            return None
        x, y = saved
        largest = (x == y).astype(x.dtype)  # (N, H, W, C), by broadcasting y (N, 1, 1, C)
        count = np.maximum(largest.sum(axis=(1, 2), keepdims=True), 1)  # 0 where the map holds NaN
        return largest * (dy.reshape(y.shape) / count)


class GlobalAveragePooling2D(_GlobalPooling):
    """The mean of each channel's whole map: AveragePooling2D with one window.

    forward   y[n,c] = 1/(H·W) · Σ over h, w of x[n,h,w,c]
    backward  ∂y[n,c]/∂x[n,h,w,c] = 1/(H·W), so dL/dx[n,h,w,c] = dL/dy[n,c] / (H·W)

    Shapes: (N, H, W, C) to (N, C), or (N, 1, 1, C) with keepdims. Source: Lin et al. 2013, "Network in network".
    """

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        windows = _whole_map(x)
        return self.shaped(run.kernels.average_pool(x, windows)), (x.shape, windows)

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        (n, _, _, channels), windows = saved
        return run.kernels.average_pool_backward(dy.reshape(n, 1, 1, channels), saved[0], windows) if need_dx else None
