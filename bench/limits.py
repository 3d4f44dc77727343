"""What a machine must do for a layer at least: floating-point operations, and bytes to and from memory.

The limit of a step is the larger of two times (the roofline of Williams, Waterman and Patterson 2009): its operations
at the rate that a large single-precision matrix product reaches, and its bytes at the rate of memory, both measured on
all cores in the same run. No program can do better with these operations on arrays that lie in memory; it can with
fewer operations (Winograd's convolution), or where the arrays are still in cache. A rate is the best of what was tried:
a step beyond it that has neither excuse says that the machine was slower while the rates were measured.

Operations are those of the products alone, two for each multiplication, without the taps of a kernel that fall on
padding. Elementwise work (relu, dropout, maxima of a pool, exp of a softmax) counts none, so that a step whose time
goes there (tanh) shows a low percentage.

Bytes are what any program must move, however it fuses the layers of a step: the first layer's input and the last one's
output, parameters, and in the backward pass the gradients of each. Batch normalization cannot begin before it has seen
the whole batch, so it moves its input once more, or writes and reads it where layers before it are in the same step.
"""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.layers import AveragePooling2D, BatchNormalization, Conv2D, Dense, Dropout, Flatten, Layer


@dataclass(frozen=True)
class Work:
    """Floating-point operations and bytes."""

    flops: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.flops + other.flops, self.bytes + other.bytes)


@dataclass(frozen=True)
class Peaks:
    """Operations and bytes a second that this machine reaches on all its cores."""

    flops: float
    bandwidth: float

    def seconds(self, work: Work) -> float:
        """The least time for this work: the larger of its two parts."""
        return max(work.flops / self.flops, work.bytes / self.bandwidth)


# -- layers


def forward_work(layers: Sequence[Layer], samples: int, training: bool = True) -> Work:
    """What the forward pass of these layers, as one step on so many samples, takes at least."""
    if all(_passes_through(layer, training) for layer in layers):
        return Work()
    moved = _input_bytes(layers[0], samples) + _output_bytes(layers[-1], samples) + _parameter_bytes(layers)
    if training:
        moved += _statistics_bytes(layers, samples)
    return Work(sum(product_flops(layer, samples) for layer in layers), moved)


def backward_work(layers: Sequence[Layer], samples: int, need_dx: bool) -> Work:
    """What the backward pass takes at least. need_dx: whether the gradient of the step's input is wanted."""
    if all(_passes_through(layer, training=False) for layer in layers) and not any(
        isinstance(layer, Dropout) for layer in layers
    ):
        return Work()
    first = layers[0]
    moved = _output_bytes(layers[-1], samples) + 2 * _parameter_bytes(layers) + _statistics_bytes(layers, samples)
    if not all(isinstance(layer, (AveragePooling2D, Dropout, Flatten)) for layer in layers):
        moved += _input_bytes(first, samples)  # x is needed again
    flops = 2 * sum(product_flops(layer, samples) for layer in layers)
    if need_dx:
        moved += _input_bytes(first, samples)
    else:
        flops -= product_flops(first, samples)
    return Work(flops, moved)


def product_flops(layer: Layer, samples: int) -> float:
    """Operations of one product of a layer: z = x·K in the forward pass, or dK, or dx, which take as many."""
    shape = layer.input_shape
    assert shape is not None
    if isinstance(layer, Conv2D):
        windows = layer.windows(shape)
        rows = taps_on_map(windows.oh, windows.kh, windows.sh, windows.dh, windows.top, shape[0])
        columns = taps_on_map(windows.ow, windows.kw, windows.sw, windows.dw, windows.left, shape[1])
        return 2.0 * samples * rows * columns * shape[2] * layer.filters
    if isinstance(layer, Dense):
        return 2.0 * samples * math.prod(shape) * layer.units
    return 0.0


def taps_on_map(windows: int, taps: int, stride: int, dilation: int, before: int, size: int) -> int:
    """Along one axis: how many pairs of a window and one of its taps lie on the map rather than on padding."""
    places = np.arange(windows)[:, None] * stride + np.arange(taps) * dilation - before
    return int(((places >= 0) & (places < size)).sum())


def _passes_through(layer: Layer, training: bool) -> bool:
    """Whether the output is the input, in the same memory."""
    return isinstance(layer, Flatten) or (isinstance(layer, Dropout) and not training)


def _statistics_bytes(layers: Sequence[Layer], samples: int) -> int:
    total = 0
    for k, layer in enumerate(layers):
        if isinstance(layer, BatchNormalization):
            total += _input_bytes(layer, samples) * (1 if k == 0 else 2)
    return total


def _input_bytes(layer: Layer, samples: int) -> int:
    assert layer.input_shape is not None
    return samples * math.prod(layer.input_shape) * _item(layer)


def _output_bytes(layer: Layer, samples: int) -> int:
    assert layer.input_shape is not None
    return samples * math.prod(layer.output_shape(layer.input_shape)) * _item(layer)


def _parameter_bytes(layers: Sequence[Layer]) -> int:
    return sum(a.nbytes for layer in layers for a in layer.params.values())


def _item(layer: Layer) -> int:
    assert layer.dtype is not None
    return layer.dtype.itemsize


# -- the rest of a training step


def gather_work(images: int, pixels: int, item: int = 4) -> Work:
    """uint8 pixels read, numbers of `item` bytes written."""
    return Work(0, images * pixels * (1 + item))


def update_work(parameters: int, slots: int, item: int = 4) -> Work:
    """The optimizer: gradients read, weights and each slot read and written."""
    return Work(0, parameters * item * (1 + 2 * (1 + slots)))


def penalty_work(layers: Sequence[Layer]) -> Work:
    """The regularizers' values and gradients: parameters read, their gradients read and written."""
    return Work(0, 3 * sum(layer.params[name].nbytes for layer in layers for name in layer.regularizers))


# -- what the machine reaches


def measure_peaks(threads: int, repeats: int = 12) -> Peaks:
    """Measure both rates; takes two seconds or so. BLAS uses the threads that it chooses itself."""
    return Peaks(max(_product_rate(size, repeats) for size in (1024, 2048, 3072)), _memory_rate(threads, repeats))


def _product_rate(size: int, repeats: int) -> float:
    rng = np.random.default_rng(0)
    a, b = (rng.random((size, size), np.float32) for _ in range(2))
    c = np.empty_like(a)
    return 2 * size**3 / _best(lambda: np.matmul(a, b, out=c), repeats)


def _memory_rate(threads: int, repeats: int, size: int = 96 << 20) -> float:
    """The best of copying, reading and adding arrays of this many bytes, each thread its part."""
    source, target = (np.ones(size // 4, np.float32) for _ in range(2))
    parts = [slice(k * source.size // threads, (k + 1) * source.size // threads) for k in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        copying = _best(lambda: list(pool.map(lambda part: np.copyto(target[part], source[part]), parts)), repeats)
        reading = _best(lambda: list(pool.map(lambda part: source[part].max(), parts)), repeats)
        adding = _best(
            lambda: list(pool.map(lambda part: np.add(target[part], source[part], target[part]), parts)), repeats
        )
    return max(2 * size / copying, size / reading, 3 * size / adding)


def _best(run: Callable[[], Any], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)
