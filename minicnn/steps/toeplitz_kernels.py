"""The loops of ToeplitzStep: a convolution on maps of 2x2 or 4x4 pixels, its bias and activation, and its derivatives.

kernels/toeplitz.py has the algorithm. A block of images at a time is taken apart, multiplied and put together again.
"""

import numpy as np

from minicnn.kernels.fused import LINEAR, activate_in_place, activation_gradient_in_place
from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.kernels.taps import transpose
from minicnn.kernels.tiles import Tiling, lines_of_cache, rows_product
from minicnn.kernels.toeplitz import Toeplitz
from minicnn.kernels.transforms import tile_transform
from minicnn.kernels.winograd import odd_lines
from minicnn.steps.winograd_kernels import multiply_panel, transform_kernel_gradients, transform_kernels
from minicnn.typing import Array

BLOCK_BYTES = 1 << 19
"""Aim for a block's places."""

LEAST = 24
"""Images of a block to aim for at least, since the weights are read anew for each: four tiles of six."""

TASKS = 4
"""Blocks are a multiple of so many, so that each core has as many; that may halve them. As many parts of a tap."""

DEPTH = 64
"""Images that one product sums over: their panels stay in the first-level cache."""

TOGETHER_BYTES = 1 << 25
"""Aim for the places of images that are held at once for the kernel's gradient: 290 of the AlexNets' on 4x4 pixels."""


@inlined
def blocks_of_images(n: int, image_bytes: int) -> int:
    """Into how many blocks n images are cut, whose places take image_bytes each."""
    most = max(LEAST, BLOCK_BYTES // image_bytes)
    blocks = (n + most - 1) // most
    return min(n, (blocks + TASKS - 1) // TASKS * TASKS)


def exchanged_loops(kernel: Array) -> Array:
    """The kernel (KH, KW, C, F) with filters and channels exchanged: (KH, KW, F, C)."""
    kh, kw, channels, filters = kernel.shape
    result = np.empty((kh, kw, filters, channels), kernel.dtype)
    taps, transposed = kernel.reshape(kh * kw, channels, filters), result.reshape(kh * kw, filters, channels)
    for task in prange(kh * kw * TASKS):
        tap, first, last = task // TASKS, task % TASKS * channels // TASKS, (task % TASKS + 1) * channels // TASKS
        transpose(taps[tap, first:last], last - first, filters, transposed[tap], 0, first)
    return result


def toeplitz_weights_loops(kernel: Array, kernels: Array, tiling: Tiling) -> Array:
    """What toeplitz_forward multiplies by, place by place, of the kernel (KH, KW, C, F), C and F whole vectors.

    kernels: toeplitz.kernel_matrix.
    """
    channels, filters = kernel.shape[2], kernel.shape[3]
    weights = lines_of_cache(kernels.shape[0] * channels * filters, kernel)
    flat_kernel = kernel.reshape(-1)
    for c in prange(channels):
        transform_kernels(flat_kernel, c, channels, filters, kernels, weights, tiling)
    return weights


def toeplitz_forward_loops(
    x: Array, weights: Array, bias: Array, code: int, toeplitz: Toeplitz, tiling: Tiling, y: Array
) -> None:
    """y = f(convolution + bias) for x (N, S, S, C), N at least 1, and the weights that toeplitz_weights made.

    code: of the activation f (fused.py). bias: empty if there is neither bias nor activation. Overwrites y.
    """
    n, size, channels, filters = x.shape[0], toeplitz.size, x.shape[3], y.shape[3]
    places, widest = toeplitz.rank * toeplitz.rank, tiling.widest
    flat_x, flat_y = x.reshape(-1), y.reshape(-1)
    blocks = blocks_of_images(n, places * (channels + widest) * x.itemsize)
    most = (n + blocks - 1) // blocks
    input_plane, product_plane = odd_lines(most * channels, x.itemsize), odd_lines(most * widest, x.itemsize)
    for block in prange(blocks):
        first, last = block * n // blocks, (block + 1) * n // blocks
        images, pixels = last - first, size * size
        inputs, products = lines_of_cache(places * input_plane, x), lines_of_cache(places * product_plane, x)
        tile_transform(
            flat_x, first * pixels * channels, size * channels, channels, pixels * channels,
            inputs, 0, toeplitz.rank * input_plane, input_plane, channels, toeplitz.inputs, images, channels,
        )  # fmt: skip
        for f in range(0, filters, widest):
            width = min(widest, filters - f)
            multiply_panel(
                inputs, input_plane, images, channels, weights, filters, f, width, (f + width) % filters,
                places, products, product_plane, tiling,
            )  # fmt: skip
            tile_transform(
                products, 0, toeplitz.rank * product_plane, product_plane, width,
                flat_y, first * pixels * filters + f, size * filters, filters, pixels * filters,
                toeplitz.outputs, images, width,
            )  # fmt: skip
            if bias.size:
                for pixel in range(first * pixels, last * pixels):
                    start = pixel * filters + f
                    activate_in_place(flat_y[start : start + width], bias[f : f + width], code)


@inlined
def take_apart(
    maps: Array, channels: int, first: int, last: int, kind: int, toeplitz: Toeplitz, tiling: Tiling,
    places: Array, plane: int, start: int, together: int,
) -> None:  # fmt: skip
    """The places of images first <= n < last of maps, by a kind of tile_transform; both arrays flat.

    places: `plane` numbers apart, each in panels of channels (together, width), where `start` is the first image.
    """
    pixels = toeplitz.size * toeplitz.size
    for c in range(0, channels, tiling.widest):
        width = min(tiling.widest, channels - c)
        tile_transform(
            maps, first * pixels * channels + c, toeplitz.size * channels, channels, pixels * channels,
            places, c * together + (first - start) * width, toeplitz.rank * plane, plane, width,
            kind, last - first, width,
        )  # fmt: skip


@inlined
def multiply_images(
    inputs: Array, a0: int, channels: int, gradients: Array, b0: int, width: int,
    sums: Array, c0: int, images: int, together: int, add: bool, tiling: Tiling,
) -> None:  # fmt: skip
    """sums (C, width) = (sums if add else 0) + Σ over the images of a place of inputs · one panel of gradients."""
    for c in range(0, channels, tiling.widest):
        rows = min(tiling.widest, channels - c)
        for image in range(0, images, DEPTH):
            rows_product(
                inputs, a0 + c * together + image * rows, 1, rows, 0,
                gradients, b0 + image * width, width, 0,
                sums, c0 + c * width, width,
                min(DEPTH, images - image), 1, rows, width, add or image > 0, tiling,
            )  # fmt: skip


def toeplitz_gradient_loops(
    x: Array, y: Array, code: int, kernel_gradients: Array, toeplitz: Toeplitz, tiling: Tiling,
    dz: Array, dkernel: Array, dbias: Array,
) -> None:  # fmt: skip
    """dz = dL/dz, dkernel and dbias from dy = dL/dy, which dz holds to begin with, and the output y = f(z).

    Overwrites the three. kernel_gradients: toeplitz.kernel_matrix transposed, (KH·KW, rank²). The first of the places
    of Aᵀ dz A is the sum of an image's dz: dbias.
    """
    n, channels, filters = x.shape[0], x.shape[3], dz.shape[3]
    places, widest = kernel_gradients.shape[1], tiling.widest
    panels, image_size = (filters + widest - 1) // widest, toeplitz.size * toeplitz.size * filters
    flat_x, flat_y, flat_dz, flat_dkernel = x.reshape(-1), y.reshape(-1), dz.reshape(-1), dkernel.reshape(-1)
    together = min(n, max(DEPTH, TOGETHER_BYTES // (places * (channels + filters) * x.itemsize)))
    input_plane, plane = odd_lines(together * channels, x.itemsize), odd_lines(together * filters, x.itemsize)
    inputs, gradients = lines_of_cache(places * input_plane, x), lines_of_cache(places * plane, x)
    sums = lines_of_cache(places * channels * filters, x)
    dbias[:] = 0
    for start in range(0, n, together):
        images = min(together, n - start)
        blocks = min(2 * TASKS, images)
        for block in prange(blocks):
            first, last = start + block * images // blocks, start + (block + 1) * images // blocks
            if code != LINEAR:
                begin, end = first * image_size, last * image_size
                activation_gradient_in_place(flat_dz[begin:end], flat_y[begin:end], code)
            take_apart(
                flat_x, channels, first, last, toeplitz.inputs, toeplitz, tiling, inputs, input_plane, start, together
            )
            take_apart(
                flat_dz, filters, first, last, toeplitz.gradients, toeplitz, tiling, gradients, plane, start, together
            )
        for task in prange(places * panels):
            place, f = task // panels, task % panels * widest
            multiply_images(
                inputs, place * input_plane, channels,
                gradients, place * plane + f * together, min(widest, filters - f),
                sums, (place * filters + f) * channels, images, together, start > 0, tiling,
            )  # fmt: skip
        for f in range(0, filters, widest):
            width = min(widest, filters - f)
            for image in range(images):
                for k in range(width):
                    dbias[f + k] += gradients[f * together + image * width + k]
    for c in prange(channels):
        transform_kernel_gradients(kernel_gradients, c, channels, filters, sums, 1, 0, flat_dkernel, tiling)


exchanged = compiled(exchanged_loops)
toeplitz_weights = compiled(toeplitz_weights_loops)
toeplitz_forward = compiled(toeplitz_forward_loops)
toeplitz_gradient = compiled(toeplitz_gradient_loops)
