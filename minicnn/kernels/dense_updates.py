"""A dense layer's forward pass in which the kernel is read once, where it lies: for few samples and large kernels.

A tile product (tiles.py) keeps results in registers and wants the kernel packed in panels that stay in a cache. With
few samples a packed number is used a few times only, and a kernel of 64 MB goes through the cache twice. Here it is
turned about. Some rows of the kernel, one vector wide, are loaded into registers, and the inputs and sums of all
samples, which are small, pass by:

    for each block of `rank` inputs:
        for each vector of outputs:
            sums[vector] (N, lanes) += x[:, block] (N, rank) · kernel[block, vector] (rank, lanes)

where the inputs of a block lie side by side for all samples, and the sums in the second-level cache. The next vectors
are the numbers beside, and so the rows of the kernel are as many streams that the CPU fetches ahead.

Gained on two cores of an AMD EPYC with AVX-512, over packing (valid_taps.py): a layer 4096x4096 is 1.6 to 1.9 times as
fast with 3 to 16 samples, 1.3 to 1.4 with 32, 1.1 with 64, and from 128 on neither way is; a forward pass of the
sheet's alexnet_mnist for 32 samples, the batch that fit takes unless told, takes 0.8 of the time. Kernels that fit a
cache are faster by tile products, which do not store their results for each block of inputs.
"""

import numpy as np

from minicnn.kernels.fused import activate
from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.kernels.taps import pack_panels
from minicnn.kernels.tiles import lines_of_cache, rank_update, zeroed_lines_of_cache
from minicnn.typing import Array

COLUMNS = 1024
"""Outputs of one task at most: in float32 a row of them is a page of memory. Half as many, as in valid_taps.py, take
1.25 times as long for 4 samples and 1.05 times for 32 (4096x4096)."""

SAMPLES = 256
"""Samples of one task at most."""

SUMS = 1 << 17
"""Numbers of y that one task holds at once, at most: in float32 half a megabyte, in the second-level cache."""

FOR_A_SAMPLE = 1 << 18
"""Numbers of the kernel for each sample, from which this is faster than tile products on a packed kernel."""

TASKS = 4
"""Into how many parts the outputs are cut at least."""


def updates_pay(samples: int, inputs: int, outputs: int, lanes: int) -> bool:
    """Whether the outputs are whole vectors, and the kernel so large that this is the faster way."""
    return outputs % lanes == 0 and inputs * outputs >= FOR_A_SAMPLE * samples


@inlined
def updated_block(
    x: Array, packed: Array, kernel: Array, bias: Array, code: int, lanes: int,
    sample: int, samples: int, first: int, last: int, y: Array,
) -> None:  # fmt: skip
    """y of `samples` samples from `sample` on, for the outputs first <= o < last. packed (I / rank, N, rank): x, but
    for its last inputs, fewer than rank, which come one by one."""
    (blocks, n, rank), (inputs, outputs) = packed.shape, kernel.shape
    size = samples * lanes
    sums = zeroed_lines_of_cache((last - first) * samples, x)
    for block in range(blocks):
        number, row = (block * n + sample) * rank, block * rank * outputs
        for o in range(first, last, lanes):
            place = (o - first) // lanes * size
            rank_update(packed, number, rank, kernel, row + o, outputs, sums, place, rank, samples, lanes)
    for i in range(blocks * rank, inputs):
        for o in range(first, last, lanes):
            place = (o - first) // lanes * size
            rank_update(
                x, sample * inputs + i, inputs, kernel, i * outputs + o, outputs, sums, place, 1, samples, lanes
            )
    for r in range(samples):
        for o in range(first, last, lanes):
            z = sums[(o - first) // lanes * size + r * lanes :][:lanes]
            activate(z, bias[o : o + lanes], code, y[sample + r, o : o + lanes])


def dense_updated_blocked(x: Array, kernel: Array, bias: Array, code: int, lanes: int, rank: int) -> Array:
    """y = f(x · kernel + bias), (N, O), for x (N, I) and kernel (I, O); code: of the activation (fused.py).

    O is a multiple of lanes, the numbers of a vector; rank as update_rank gives it.
    One task a block of outputs for some samples; each sum is made by one thread, in the order of the inputs.
    """
    n, inputs = x.shape
    outputs = kernel.shape[1]
    y = np.empty((n, outputs), x.dtype)
    packed = lines_of_cache(inputs // rank * n * rank, x).reshape(inputs // rank, n, rank)
    for block in prange(inputs // rank):
        pack_panels(x, 0, n, block * rank, (block + 1) * rank, packed[block : block + 1])
    parts = (n + SAMPLES - 1) // SAMPLES
    columns = max(1, min(COLUMNS, outputs // TASKS, SUMS // min(n, SAMPLES)) // lanes) * lanes
    blocks = (outputs + columns - 1) // columns
    for task in prange(parts * blocks):
        part, block = task // blocks, task % blocks
        sample, end = part * n // parts, (part + 1) * n // parts
        first, last = block * columns, min(outputs, (block + 1) * columns)
        updated_block(x, packed, kernel, bias, code, lanes, sample, end - sample, first, last, y)
    return y


dense_updated = compiled(dense_updated_blocked)
