"""Convolution without im2col: the three products of a convolution, one image at a time, straight from the map.

In a map that lies in memory row by row, a window of KH x KW pixels is KH runs of KW·C numbers, one image row apart:
what the tile product (tiles.py) sums over. So no column is ever copied:

    forward   z[q, f]      = Σ over i < KH, k < KW·C of map[p·SH + i, q·SW·C + k] · kernel[i, k, f]
    dkernel   dK[i, k, f] += Σ over p < OH, q < OW  of map[p·SH + i, q·SW·C + k] · dz[p, q, f]
    dx        dx[w, c]     = Σ over i < KH, k < KW·F of dz[h + i, w·F + k]       · flipped[i, k, c]

with the window's place p, its pixel i, and k = j·C + c (in the last line, k = j·F + f). The last is a convolution of
dz, framed with zeros, with the kernel turned around, for stride 1. Where C is far from filling vectors, dx is instead
scattered: each dz[p, q] times the kernel's row i, a run of KW·C numbers, is added to the map where it came from.

Vectors run over the filters, which are filled up to whole vectors: F' of them, the last ones zero. Where filters are so
few that most of a vector would be zeros, the same products are taken with the roles exchanged: the forward pass's
vectors run over the windows of a row, those of dkernel over the run of a kernel row. LeNet's first convolution, with 6
filters, takes half the time that way.

Every function here works on one image and is part of a fused step's compiled loops (steps/convolution_kernels.py and
convolution_backward.py). A map is handed over as a flat array, the place of its first number and the length of a row.
Source of the idea: Georganas et al. 2018, "Anatomy of high-performance deep learning convolutions on SIMD
architectures".
"""

from minicnn.geometry import Windows
from minicnn.kernels.jit import inlined
from minicnn.kernels.tiles import Tiling, even_width, rows_product, whole_vectors
from minicnn.typing import Array


@inlined
def pack_columns(matrix: Array, tiling: Tiling, packed: Array) -> None:
    """Copy a matrix (D, F) in panels of even_width (tiles.py), each panel contiguous, zeros after F.

    packed (D·F',): panel by panel, so that the product reads memory in order.
    """
    depth, columns = matrix.shape
    filled = packed.size // depth
    widest = even_width(filled, tiling)
    for first in range(0, filled, widest):
        width = min(widest, filled - first)
        panel = packed[first * depth : (first + width) * depth]
        real = min(width, columns - first)
        for k in range(depth):
            for f in range(real):
                panel[k * width + f] = matrix[k, first + f]
            for f in range(real, width):
                panel[k * width + f] = 0


@inlined
def frame_image(image: Array, top: int, left: int, frame: Array) -> None:
    """Copy an image (H, W·C) into the middle of a frame (H', W'·C) of zeros; left in numbers."""
    rows, run = image.shape
    for h in range(rows):
        source, target = image[h], frame[top + h]
        for k in range(run):
            target[left + k] = source[k]


@inlined
def convolve_row(
    image: Array, start: int, row: int, run: int, kh: int, step: int, packed: Array,
    z: Array, place: int, count: int, filled: int, tiling: Tiling,
) -> None:  # fmt: skip
    """z[q, f] for `count` windows of kh runs each, the first one's corner at image[start], the others `step` apart.

    row: numbers from one row of the image to the next; run: KW·C. z: flat, written from `place` on, (count, F').
    """
    depth, widest = kh * run, even_width(filled, tiling)
    for first in range(0, filled, widest):
        columns = min(widest, filled - first)
        rows_product(
            image, start, step, 1, row,
            packed, first * depth, columns, run * columns,
            z, place + first, filled,
            run, kh, count, columns, False, tiling,
        )  # fmt: skip


@inlined
def frame_planes(image: Array, top: int, left: int, frame: Array) -> None:
    """frame_image, each row channel by channel: an image (H, W, C) into a frame (H', C, W')."""
    rows, width, channels = image.shape
    for h in range(rows):
        for c in range(channels):
            target = frame[top + h, c]
            for w in range(width):
                target[left + w] = image[h, w, c]


@inlined
def pack_planes(kernel: Array, packed: Array) -> None:
    """A kernel (KH, KW, C, F) in the order in which convolve_planes reads it: (KH, C, KW, F)."""
    kh, kw, channels, filters = kernel.shape
    for i in range(kh):
        for c in range(channels):
            for j in range(kw):
                for f in range(filters):
                    packed[((i * channels + c) * kw + j) * filters + f] = kernel[i, j, c, f]


@inlined
def convolve_planes(
    frame: Array, start: int, plane: int, planes: int, kw: int, packed: Array, filters: int,
    z: Array, filled: int, tiling: Tiling,
) -> None:  # fmt: skip
    """z[f, q] for a row of windows one pixel apart, q < filled, from a frame of planes with rows of `plane` numbers.

    planes: KH·C. The last windows of a filled row hang over the frame's edge: the frame must be that wide.
    """
    for first in range(0, filled, tiling.widest):
        columns = min(tiling.widest, filled - first)
        rows_product(
            packed, 0, 1, filters, kw * filters,
            frame, start + first, 1, plane,
            z, first, filled,
            kw, planes, filters, columns, False, tiling,
        )  # fmt: skip


@inlined
def add_turned_kernel_gradient(
    image: Array, start: int, row: int, channels: int, windows: Windows,
    dz: Array, dz_start: int, dz_row: int, oh: int, ow: int, filters: int, dkernel: Array, place: int, tiling: Tiling,
) -> None:  # fmt: skip
    """add_kernel_gradient with vectors over a kernel row: dkernel (KH, F, R), R = KW·C filled up to whole vectors.

    dz: (OH, OW, F), not filled up. What lies behind a run in the image is summed too, into places nobody reads.
    """
    padded_run = whole_vectors(windows.kw * channels, tiling.lanes)
    for i in range(windows.kh):
        for first in range(0, padded_run, tiling.widest):
            rows_product(
                dz, dz_start, 1, filters, dz_row,
                image, start + i * row + first, windows.sw * channels, windows.sh * row,
                dkernel, place + i * filters * padded_run + first, padded_run,
                ow, oh, filters, min(tiling.widest, padded_run - first), True, tiling,
            )  # fmt: skip


@inlined
def add_kernel_gradient(
    image: Array, start: int, row: int, channels: int, windows: Windows,
    dz: Array, dz_start: int, dz_row: int, oh: int, ow: int, dkernel: Array, place: int, filled: int, tiling: Tiling,
) -> None:  # fmt: skip
    """Add one image's part of dkernel (KH·KW·C, F'), which lies flat from dkernel[place] on.

    dz: the gradient of the first oh x ow windows, from dz[dz_start] on, dz_row numbers from row to row.
    """
    run, widest = windows.kw * channels, even_width(filled, tiling)
    for first in range(0, filled, widest):
        columns = min(widest, filled - first)
        for i in range(windows.kh):
            rows_product(
                image, start + i * row, 1, windows.sw * channels, windows.sh * row,
                dz, dz_start + first, filled, dz_row,
                dkernel, place + i * run * filled + first, filled,
                ow, oh, run, columns, True, tiling,
            )  # fmt: skip


@inlined
def add_scattered(
    dz: Array, dz_start: int, dz_row: int, oh: int, ow: int, depth: int, windows: Windows,
    packed: Array, run: int, products: Array, dx: Array, dx_start: int, dx_row: int, channels: int, tiling: Tiling,
) -> None:  # fmt: skip
    """Add kernel row by kernel row what each window hands back to a framed map dx, for a stride of any size.

    depth: numbers a window in dz, F or F'. packed: for each kernel row i its transpose (depth, R) in panels, R = run
    filled up to whole vectors. products: a workspace (OW·R,).
    """
    padded_run = whole_vectors(run, tiling.lanes)
    widest = even_width(padded_run, tiling)
    for p in range(oh):
        for i in range(windows.kh):
            for first in range(0, padded_run, widest):
                columns = min(widest, padded_run - first)
                rows_product(
                    dz, dz_start + p * dz_row, depth, 1, 0,
                    packed, (i * padded_run + first) * depth, columns, 0,
                    products, first, padded_run,
                    depth, 1, ow, columns, False, tiling,
                )  # fmt: skip
            line = dx_start + (p * windows.sh + i) * dx_row
            for q in range(ow):
                target = dx[line + q * windows.sw * channels : line + q * windows.sw * channels + padded_run]
                source = products[q * padded_run : (q + 1) * padded_run]
                # Whole vectors: behind the run the products are zero, or NaN where dz is not finite. So NaN may come to
                # pixels that the window does not reach.
                for k in range(padded_run):
                    target[k] += source[k]
