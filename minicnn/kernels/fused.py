"""What a fused step does to a run of numbers while it is in the cache: bias, activation, and the activation's gradient.

The arrays here are flat runs of one length, L: one row of a map, say, with OW·F numbers. Each loop writes one array
only: with two, LLVM gives up making vector code of it (0.58 ns a number instead of 0.11, on two cores of an AVX-512
Xeon).
"""

import math
from typing import Any

import numpy as np

from minicnn.kernels.jit import inlined
from minicnn.typing import Array

LINEAR, RELU, TANH = 0, 1, 2
"""The activations that fused steps know, all with a derivative that can be read off y."""

CODES = {"linear": LINEAR, "relu": RELU, "tanh": TANH}
"""By Keras's name."""


@inlined
def rational_tanh(x: Any) -> Any:
    """tanh to within 5 units in the last place of float32, from a rational function: vector code, no call.

    tanh x ≈ x·P(x²)/Q(x²) on [−9, 9], beyond which tanh is ±1 to half a unit, as the function is there once it is cut
    off at ±1. Below 3e-36 the product with P is subnormal and loses digits. Coefficients: Eigen's generic_fast_tanh.
    """
    limit, one = np.float32(9), np.float32(1)
    x = min(max(x, -limit), limit) if x == x else x
    s = x * x
    p = np.float32(-2.76076847742355e-16)
    p = p * s + np.float32(2.00018790482477e-13)
    p = p * s + np.float32(-8.60467152213735e-11)
    p = p * s + np.float32(5.12229709037114e-08)
    p = p * s + np.float32(1.48572235717979e-05)
    p = p * s + np.float32(6.37261928875436e-04)
    p = p * s + np.float32(4.89352455891786e-03)
    q = np.float32(1.19825839466702e-06)
    q = q * s + np.float32(1.18534705686654e-04)
    q = q * s + np.float32(2.26843463243900e-03)
    q = q * s + np.float32(4.89352518554385e-03)
    y = np.float32(x * p / q)
    y = one if y > one else y  # NaN stays NaN
    return -one if y < -one else y


@inlined
def activated(value: Any, code: int, zero: Any, itemsize: int) -> Any:
    """f(value); zero and itemsize, its bytes, are of its dtype."""
    if code == RELU:
        return zero if value <= 0 else value  # NaN stays NaN
    if code == TANH:
        return rational_tanh(value) if itemsize == 4 else math.tanh(value)
    return value


@inlined
def activate(z: Array, bias: Array, code: int, y: Array) -> None:
    """y[k] = f(z[k] + bias[k]) for all k < L; y may not be z."""
    zero = z.dtype.type(0)
    for k in range(z.size):
        y[k] = activated(z[k] + bias[k], code, zero, z.itemsize)


@inlined
def activate_in_place(y: Array, bias: Array, code: int) -> None:
    """y[k] = f(y[k] + bias[k]) for all k < L.

    Not activate(y, bias, code, y): code that finds two of its arrays to be one takes a number at a time, a quarter as
    fast for relu and an eighth for tanh.
    """
    zero = y.dtype.type(0)
    for k in range(y.size):
        y[k] = activated(y[k] + bias[k], code, zero, y.itemsize)


@inlined
def sloped(dy: Any, y: Any, code: int, zero: Any, one: Any) -> Any:
    """dy · f'(z) from y = f(z); zero and one are of their dtype."""
    if code == RELU:
        return dy if y > 0 else zero
    return dy * (one - y * y) if code == TANH else dy


@inlined
def activation_gradient(dy: Array, y: Array, code: int, dz: Array) -> None:
    """dz[k] = dy[k] · f'(z[k]) from y = f(z), for all k < L; dz may not be dy."""
    zero, one = dy.dtype.type(0), dy.dtype.type(1)
    for k in range(dy.size):
        gradient = dy[k]  # read first: a conditional read would be a jump
        dz[k] = sloped(gradient, y[k], code, zero, one)


@inlined
def activation_gradient_in_place(dz: Array, y: Array, code: int) -> None:
    """activation_gradient, with dy in dz to begin with; fast where y is not dz (see activate_in_place)."""
    zero, one = dz.dtype.type(0), dz.dtype.type(1)
    for k in range(dz.size):
        gradient = dz[k]
        dz[k] = sloped(gradient, y[k], code, zero, one)
