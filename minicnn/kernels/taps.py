"""Where the pixels of a kernel meet the map, and how the operands of their products are packed: the parts that
valid_taps.py and its relatives share."""

from typing import NamedTuple

from minicnn.geometry import Windows
from minicnn.kernels.jit import inlined
from minicnn.typing import Array


class Tap(NamedTuple):
    """Where one pixel of the kernel lies: at (p·SH + down, q·SW + right) for position (p, q) of the result.

    On the map it is for p0 <= p < p1 and q0 <= q < q1.
    """

    down: int
    right: int
    p0: int
    p1: int
    q0: int
    q1: int


@inlined
def tap_on_map(tap: int, windows: Windows, h: int, w: int) -> Tap:
    """The tap number i·KW + j, on a map of h x w pixels."""
    down = tap // windows.kw * windows.dh - windows.top
    right = tap % windows.kw * windows.dw - windows.left
    p0, p1 = covered(windows.oh, h, windows.sh, down)
    q0, q1 = covered(windows.ow, w, windows.sw, right)
    return Tap(down, right, p0, p1, q0, q1)


@inlined
def covered(out: int, size: int, stride: int, offset: int) -> tuple[int, int]:
    """(first, last + 1) of the positions p < out with p·stride + offset on a map of this size."""
    first = max(0, (stride - 1 - offset) // stride)
    last = min(out, (size - 1 - offset) // stride + 1)
    return first, max(first, last)


@inlined
def pack_panels(matrix: Array, first_row: int, rows: int, first: int, last: int, panels: Array) -> None:
    """panels[p, r, k] = matrix[first_row + r, first + p·width + k]; zero from column `last` on."""
    width = panels.shape[2]
    for r in range(rows):
        source = matrix[first_row + r, first:last]
        for p in range((source.size + width - 1) // width):
            part, target = source[p * width : (p + 1) * width], panels[p, r]
            for k in range(part.size):
                target[k] = part[k]
            for k in range(part.size, width):
                target[k] = 0


@inlined
def transpose(matrix: Array, rows: int, columns: int, result: Array, first_row: int, first: int) -> None:
    """result[first_row + c, first + r] = matrix[r, c], for r < rows, c < columns.

    In blocks that stay in the first-level cache, with writes in runs: a column of the result, written one number a
    row, may have rows 4 KB apart, which take each other's place in the cache (0.28 ns a number instead of 1.5).
    """
    for r0 in range(0, rows, 64):
        for c0 in range(0, columns, 16):
            block = matrix[r0 : min(rows, r0 + 64), c0 : min(columns, c0 + 16)]
            for c in range(block.shape[1]):
                target = result[first_row + c0 + c, first + r0 : first + r0 + block.shape[0]]
                for r in range(target.size):
                    target[r] = block[r, c]
