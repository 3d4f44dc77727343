"""WinogradStep: a wide 3x3 convolution, its bias, activation and perhaps the 2x2 pool behind it, by Winograd's way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels import workspace
from minicnn.kernels.dense import FEW
from minicnn.kernels.few_images import few_images
from minicnn.kernels.forking import made_once
from minicnn.kernels.fused import LINEAR
from minicnn.kernels.tiles import Tiling, tiling_for
from minicnn.kernels.transforms import with_transforms
from minicnn.kernels.winograd import grid_of, transform_for, turned_around, turned_windows
from minicnn.layers import Conv2D, Layer, Run
from minicnn.layers.core import bias_or_zeros, kernel_and_bias_grads
from minicnn.losses import Loss
from minicnn.steps.convolution import activation_code, fusible_pool
from minicnn.steps.pool_parts import NO_POOL
from minicnn.steps.pooled import PooledPrediction, even_windows, pooled_prediction
from minicnn.steps.winograd_kernels import winograd_forward, winograd_gradient
from minicnn.typing import Array


@dataclass(frozen=True)
class WinogradStep:
    """One Conv2D of 3x3, strides and dilation 1, and perhaps its pool; kernels/winograd.py says why that is right.

    windows: with a pool those that it reads, an even number of rows and columns. code: of the activation
    (kernels/fused.py). pool: NO_POOL, MAX_POOL or AVERAGE_POOL. Channels and filters must be multiples of tiling.lanes.
    """

    convolution: Conv2D
    pooling: Layer | None
    windows: Windows
    code: int
    pool: int
    tiling: Tiling

    @property
    def layers(self) -> Sequence[Layer]:
        return (self.convolution,) if self.pooling is None else (self.convolution, self.pooling)

    @made_once
    def predicting(self) -> PooledPrediction:
        """For a step with a pool and few images: the same without the transforms."""
        return pooled_prediction(self.convolution, self.windows, self.code, self.pool)

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        layer, (oh, ow) = self.convolution, self.windows.out
        as_it_is = self.takes_kernel_as_it_is(x)
        if as_it_is and self.pool and not run.keep:
            return self.predicting.predict(x), None
        if as_it_is and not self.pool:
            y = few_images(x, layer.params["kernel"], bias_or_zeros(layer), self.windows, self.code, self.tiling)
            return y, (x, None if self.code == LINEAR else y, np.empty((0, 0, 0, 0), np.uint8))
        shape = (len(x), oh // 2, ow // 2, layer.filters) if self.pool else (len(x), oh, ow, layer.filters)
        y = workspace.empty(shape, x.dtype)
        index = np.empty(shape if self.pool and run.keep else (0, 0, 0, 0), np.uint8)
        plain = self.code == LINEAR and not layer.use_bias and not self.pool
        bias = np.empty(0, x.dtype) if plain else bias_or_zeros(layer)
        self._convolve(x, layer.params["kernel"], bias, self.windows, self.code, self.pool, y, index)
        return y, (x, None if self.code == LINEAR and not self.pool else y, index)

    def takes_kernel_as_it_is(self, x: Array) -> bool:
        """Whether x are so few images on so small a map that the transforms, above all the kernel's, do not pay.

        Winograd's time over that of few_images.py, one image: 2.4 on 6x6x64 to 64, 1.6 on 8x8x128 to 256, 1.5 on
        16x16x48 to 48, 1.2 on 16x16x64 to 128; but 0.9 on 32x32x64 to 64 and 0.75 on 28x28x128 to 128. Over that of
        pooled_kernels.py: one image 1.6 on 13x13x32 to 64, 1.3 on 8x8x128 to 256, 1.0 and 0.9 on 16x16x64 to 128 and
        16x16x48 to 48; two 1.1 on the first two of these, 0.8 and 0.9 on the others.
        """
        windows = self.windows.oh * self.windows.ow
        return len(x) <= FEW and (windows * len(x) <= 200 if self.pool else windows <= 256)

    def _convolve(
        self, x: Array, kernel: Array, bias: Array, windows: Windows, code: int, pool: int, y: Array, index: Array
    ) -> None:
        """Write y and index from x; without a pool y may be larger than the windows, and is not written beyond."""
        transform, none = transform_for(x.dtype.name), np.empty(0, x.dtype)
        grid = grid_of(x.shape[1:3], windows, transform.m, None if pool else y.shape[1:3])
        winograd_forward(x, kernel, bias, grid, code, transform, self.tiling, pool, none, none, none, y, index)

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        x, y, index = saved
        layer, map_size = self.convolution, x.shape[1:3]
        transform = transform_for(x.dtype.name)
        grid = grid_of(map_size, self.windows, transform.m)
        if self.pool:
            dz = workspace.empty((len(x), *self.windows.out, layer.filters), x.dtype)
        else:
            dz = np.require(dy, requirements=("C", "A", "W"))  # dy until winograd_gradient has been there
        winograd_gradient(
            x, dz if y is None else y, dy if self.pool else dz, index, self.pool, grid, self.code, transform,
            self.tiling, dz, *kernel_and_bias_grads(layer),
        )  # fmt: skip
        return self._input_gradient(x, dz) if need_dx else None

    def _input_gradient(self, x: Array, dz: Array) -> Array:
        """dx: the convolution of dz with the kernel turned around, where it reaches; zero beyond."""
        _, h, w, _ = x.shape
        top, left, (oh, ow) = self.windows.top, self.windows.left, self.windows.out
        reached = min(h, oh + 2 - top), min(w, ow + 2 - left)
        dx = workspace.empty(x.shape, x.dtype)
        dx[:, reached[0] :] = 0
        dx[:, :, reached[1] :] = 0
        self._convolve(
            dz, turned_around(self.convolution.params["kernel"]), np.empty(0, x.dtype),
            turned_windows(self.windows, reached), LINEAR, NO_POOL, dx, np.empty((0, 0, 0, 0), np.uint8),
        )  # fmt: skip
        return dx

    def __str__(self) -> str:
        return f"WinogradStep({', '.join(str(layer) for layer in self.layers)})"


def winograd_pays(channels: int, filters: int, windows: Windows, tiling: Tiling) -> bool:
    """Whether the products that are spared outweigh the transforms; channels and filters must be whole vectors besides.

    From 32 channels to 64 filters or the other way round, and 36 windows on. ConvolutionStep's time over this step's,
    batch 128, float32, 2 cores of an AVX-512 Xeon, predicting and training: 1.0, 1.0 on 16x16x32 to 32; 1.2, 1.2 on
    16x16x32 to 64; 1.2, 1.2 on 16x16x48 to 48; 1.2, 1.2 on 6x6x64 to 64; with a pool behind it 1.1, 1.1 on 14x14x32 to
    32; 1.3, 1.2 on 14x14x32 to 64; 1.9, 1.6 on 16x16x64 to 128.
    """
    whole = channels % tiling.lanes == 0 and filters % tiling.lanes == 0
    wide = min(channels, filters) >= 32 and channels * filters >= 2048
    return whole and wide and windows.oh * windows.ow >= 36


def winograd_rule(layers: Sequence[Layer], i: int, loss: Loss | None) -> tuple[WinogradStep, int] | None:
    """A wide Conv2D of 3x3 with an activation that fused steps know, on a CPU with a vector unit.

    None of these activations is one that a loss takes the logits of, so the last layer needs no exception.
    """
    layer = layers[i]
    if type(layer) is not Conv2D or layer.input_shape is None or layer.dtype is None or layer.groups > 1:
        return None
    if layer.kernel_size != (3, 3) or layer.strides != (1, 1) or layer.dilation_rate != (1, 1):
        return None
    code = activation_code(layer.activation)
    tiling = tiling_for(layer.dtype.itemsize)
    if code is None or tiling is None:
        return None
    windows = layer.windows(layer.input_shape)
    pooling = layers[i + 1] if i + 1 < len(layers) else None
    pool = fusible_pool(pooling, windows, code)
    if pool:
        windows = even_windows(windows)
    if not winograd_pays(layer.input_shape[2], layer.filters, windows, tiling):
        return None
    tiling = with_transforms(tiling, layer.dtype.itemsize)
    step = WinogradStep(layer, pooling if pool else None, windows, code, pool, tiling)
    return step, len(step.layers)
