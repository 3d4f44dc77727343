"""Convolution on a map of 2x2 or 4x4 pixels with 9 or 81 products of matrices instead of 16 or up to 256.

A convolution whose output has the size of its map multiplies each row of the map by a Toeplitz matrix, one that is
constant along its diagonals. With two pixels, and g(d) the kernel's number for the pixel d to the right,

    y0 = g(0)·x0 + g(1)·x1        y1 = g(−1)·x0 + g(0)·x1

takes four multiplications, or three, where what depends on g alone is computed once for all images:

    m0 = g(0)·(x0 + x1)     m1 = (g(1) − g(0))·x1     m2 = (g(−1) − g(0))·x0     y0 = m0 + m1     y1 = m0 + m2

With matrices, y = A[(G g) ⊙ (B x)]. Four pixels are two halves, and their matrix is one of 2x2 blocks, Toeplitz each
and as a whole: the same once more, with blocks for numbers, takes nine multiplications instead of sixteen (or fourteen,
if the kernel has five numbers). Its A and B are the Kronecker products of the small ones. Along rows and columns,

    Y = A[(G g Gᵀ) ⊙ (B x Bᵀ)]Aᵀ

as in Winograd's convolution (winograd.py), and as there the sum over the channels is taken before A, so that each of
the 9 or 81 places is a product (N, C)·(C, F). Unlike Winograd's its tile is a whole map: pixels beyond it, which meet
5/9 of a 3x3 kernel on 2x2 pixels, are no part of anything. Derivatives, with dz = dL/dY:

    dL/dg = Gᵀ[Σ over images of (B x Bᵀ) ⊙ (Aᵀ dz A)]G
    dL/dx   is Y again, of dz, with g(−d) for g(d), filters and channels exchanged

Its error in float32 is 1e-6 of the largest output. A NaN or infinity reaches every output of its map, often as NaN; by
the definition, with a 5x5 kernel on 4x4 pixels, only those at most two pixels away. steps/toeplitz.py has its times
beside those of ValidTapsStep, which it stands in for. Predicting 256 images with the sheet's AlexNets is 1.18 and 1.12
times as fast with it as without, and a training step of alexnet_mnist takes 0.95 of the time with 128 images and 0.91
with 256 (2 cores of an AMD EPYC with AVX-512); 0.98, 0.95, and 0.86 with 1024 on an AVX-512 Xeon. All this is of
before the weights were fetched ahead (fetching.py), and so is that a fifth of the 256 images' time in these
convolutions went into the kernel's transform. predict and evaluate make it once for all their batches where they may
(Run.once in layers/base.py).

Source: Winograd 1980, "Arithmetic complexity of computations"; Fan and Hasan 2007, "A new approach to subquadratic
space complexity parallel multipliers for extended binary fields", for the nesting. The NumPy versions are the formulas;
what is run is steps/toeplitz_kernels.py.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from minicnn.geometry import Windows
from minicnn.kernels.transforms import (
    FOUR_GRADIENTS,
    FOUR_INPUTS,
    FOUR_OUTPUTS,
    SIDES,
    TWO_GRADIENTS,
    TWO_INPUTS,
    TWO_OUTPUTS,
)
from minicnn.typing import Array

_KERNEL_SIDE = np.array([[0, 1, 0], [0, -1, 1], [1, -1, 0]])
"""G of two pixels: of g(−1), g(0), g(1)."""


class Toeplitz(NamedTuple):
    """How maps of size x size pixels are taken apart: into rank x rank places.

    inputs, outputs, gradients: the kinds of tile_transform for B x Bᵀ, A M Aᵀ and Aᵀ dz A.
    """

    size: int
    rank: int
    inputs: int
    outputs: int
    gradients: int


SIZES = {
    2: Toeplitz(size=2, rank=3, inputs=TWO_INPUTS, outputs=TWO_OUTPUTS, gradients=TWO_GRADIENTS),
    4: Toeplitz(size=4, rank=9, inputs=FOUR_INPUTS, outputs=FOUR_OUTPUTS, gradients=FOUR_GRADIENTS),
}
"""By the size of the map."""


@cache
def kernel_side(size: int) -> Array:
    """G (rank, 2·size − 1): of g(1 − size), ..., g(size − 1). Of four pixels, g(2·D + d) is d in the blocks D."""
    if size == 2:
        return _KERNEL_SIDE
    nested = np.zeros((9, 7), int)
    for block in range(3):
        for inside in range(3):
            nested[:, 2 * block + inside] += np.kron(_KERNEL_SIDE[:, block], _KERNEL_SIDE[:, inside])
    return nested


@cache
def kernel_matrix(windows: Windows, size: int, dtype: str, turned: bool = False) -> Array:
    """G⊗G (rank², KH·KW) for the kernel as it lies in memory. turned: of g(−d)."""

    def side(count: int, dilation: int, before: int) -> Array:
        distances = (dilation * np.arange(count) - before) * (-1 if turned else 1)
        on_map = np.abs(distances) < size
        return kernel_side(size)[:, np.where(on_map, distances, 0) + size - 1] * on_map

    both = np.kron(side(windows.kh, windows.dh, windows.top), side(windows.kw, windows.dw, windows.left))
    return np.ascontiguousarray(both, dtype)


def _both_ways(kind: int, maps: Array) -> Array:
    """S m Sᵀ of maps (N, H, W, C), for the matrix S of a kind."""
    side = np.array(SIDES[kind], maps.dtype)
    return np.einsum("ik,nklc,jl->nijc", side, maps, side, optimize=True)


def toeplitz_numpy(x: Array, kernel: Array, bias: Array, windows: Windows, turned: bool = False) -> Array:
    """conv2d_numpy (convolution.py), for maps of one of SIZES whose output has their size. turned: of g(−d)."""
    t = SIZES[x.shape[1]]
    matrix = kernel_matrix(windows, t.size, x.dtype.name, turned)
    weights = np.tensordot(matrix, kernel.reshape(-1, *kernel.shape[2:]), 1).reshape(t.rank, t.rank, *kernel.shape[2:])
    products = np.einsum("nijc,ijcf->nijf", _both_ways(t.inputs, x), weights, optimize=True)
    return np.ascontiguousarray(_both_ways(t.outputs, products) + bias)


def toeplitz_input_gradient_numpy(dz: Array, kernel: Array, windows: Windows) -> Array:
    """dL/dx: what the kernel turned around makes of dz."""
    return toeplitz_numpy(dz, kernel.swapaxes(2, 3), np.zeros(kernel.shape[2], dz.dtype), windows, turned=True)


def toeplitz_gradient_numpy(x: Array, dz: Array, windows: Windows) -> tuple[Array, Array]:
    """dkernel = Gᵀ[Σ (B x Bᵀ) ⊙ (Aᵀ dz A)]G, and dbias."""
    t = SIZES[x.shape[1]]
    weights = np.einsum("nijc,nijf->ijcf", _both_ways(t.inputs, x), _both_ways(t.gradients, dz), optimize=True).reshape(
        t.rank**2, -1
    )
    matrix = kernel_matrix(windows, t.size, x.dtype.name)
    shape = (windows.kh, windows.kw, x.shape[3], dz.shape[3])
    return (matrix.T @ weights).reshape(shape), dz.sum((0, 1, 2))
