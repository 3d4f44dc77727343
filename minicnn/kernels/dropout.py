"""Dropout from a counter-based generator: whether an entry is kept is a pure function of its index and a key.

No generator's state is carried along, so the mask is the same for any number of threads, can be made again in the
backward pass instead of being stored, and a training that is resumed draws what it would have drawn.
"""

import numpy as np

from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.typing import Array

KEEP_RANGE = 1 << 32


def dropout_key(seed: int, step: int, position: int) -> tuple[np.uint32, np.uint32]:
    """Two key words for one dropout layer in one training step.

    NumPy's SeedSequence makes them, which mixes every bit of the three.
    """
    words = np.random.SeedSequence([seed, step, position]).generate_state(2, np.uint32)
    return words[0], words[1]


@inlined
def hash_index(index: int, key0: np.uint32, key1: np.uint32) -> np.uint32:
    """32 well-mixed bits from an index and a key: two rounds of multiply and shift, a key word before each.

    Form: lowbias32 of C. Wellons, "Prospecting for hash functions" (2018). Shifts and multipliers, 16 21f0aaad 15
    735a2d97 15: found later by TheIronBorn with Wellons' program (issue 19 of github.com/skeeto/hash-prospector). The
    key words are added here. Every operation is wrapped in uint32, since Numba would widen it.
    """
    h = np.uint32(np.uint32(index) ^ key0)
    h = np.uint32(h ^ np.uint32(h >> np.uint32(16)))
    h = np.uint32(h * np.uint32(0x21F0AAAD))
    h = np.uint32(h ^ key1)
    h = np.uint32(h ^ np.uint32(h >> np.uint32(15)))
    h = np.uint32(h * np.uint32(0x735A2D97))
    return np.uint32(h ^ np.uint32(h >> np.uint32(15)))


def dropout_loops(x: Array, key0: np.uint32, key1: np.uint32, threshold: np.uint32, scale: float) -> Array:
    """y[i] = scale·x[i] where hash(i) >= threshold, else 0.

    x flat, (L,). threshold = rate·2³², scale = 1/(1 − rate), so that the expected value stays. Being linear in x with
    a mask that is a function of the key, it is its own backward pass: dx = dropout(dy). Source: Srivastava et al. 2014.
    """
    y = np.empty_like(x)
    for i in prange(x.size):
        y[i] = scale * x[i] if hash_index(i, key0, key1) >= threshold else 0
    return y


def dropout_numpy(x: Array, key0: np.uint32, key1: np.uint32, threshold: np.uint32, scale: float) -> Array:
    """dropout_loops with the hash over whole arrays."""
    h = np.arange(x.size, dtype=np.uint32) ^ key0
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x21F0AAAD)
    h ^= key1
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x735A2D97)
    h ^= h >> np.uint32(15)
    return np.where(h >= threshold, scale * x, np.zeros((), x.dtype))


dropout_numba = compiled(dropout_loops)
