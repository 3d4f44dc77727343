"""Activations: functions of one number, applied to every entry.

Throughout: x, y and dy are flat arrays of one length (an activation does not see the shape), y = f(x), and the
gradient is

    dx[i] = dy[i] · f'(x[i])

The gradient functions take (dy, x, y), since some derivatives are simplest in y. At a kink the derivative is the one
from the left, as in TensorFlow: relu'(0) = 0. Parameters are numbers of the arrays' dtype, so that float32 stays
float32.
"""

import math

import numpy as np

from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.typing import Array

SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805
"""Klambauer et al. 2017, "Self-normalizing neural networks": the fixed point keeps mean 0 and variance 1."""

# ---------------------------------------------------------------- relu and its variants


def leaky_relu_loops(x: Array, slope: float) -> Array:
    """f(x) = x for x > 0, slope·x otherwise.

    relu is that of slope 0. Source: Maas, Hannun and Ng 2013; relu: Nair and Hinton 2010.
    """
    y = np.empty_like(x)
    for i in prange(x.size):
        y[i] = slope * x[i] if x[i] <= 0 else x[i]
    return y


def leaky_relu_backward_loops(dy: Array, x: Array, y: Array, slope: float) -> Array:
    """f'(x) = 1 for x > 0, slope otherwise."""
    dx = np.empty_like(dy)
    for i in prange(dy.size):
        dx[i] = dy[i] if x[i] > 0 else slope * dy[i]
    return dx


def leaky_relu_numpy(x: Array, slope: float) -> Array:
    """leaky_relu_loops."""
    return np.where((x > 0) | np.isnan(x), x, slope * x)


def leaky_relu_backward_numpy(dy: Array, x: Array, y: Array, slope: float) -> Array:
    """leaky_relu_backward_loops."""
    return np.where(x > 0, dy, slope * dy)


def relu_loops(x: Array) -> Array:
    """f(x) = max(x, 0)."""
    y = np.empty_like(x)
    zero = x.dtype.type(0)
    for i in prange(x.size):
        y[i] = zero if x[i] <= 0 else x[i]  # one comparison and no branch: vector code; NaN stays NaN
    return y


def relu_backward_loops(dy: Array, x: Array, y: Array) -> Array:
    """f'(x) = 1 where y > 0, else 0: the input need not be kept."""
    dx = np.empty_like(dy)
    zero = dy.dtype.type(0)
    for i in prange(dy.size):
        dx[i] = dy[i] if y[i] > 0 else zero
    return dx


def relu_numpy(x: Array) -> Array:
    """relu_loops."""
    return np.maximum(x, 0)


def relu_backward_numpy(dy: Array, x: Array, y: Array) -> Array:
    """relu_backward_loops."""
    return np.where(y > 0, dy, np.zeros((), dy.dtype))


def elu_loops(x: Array, alpha: float) -> Array:
    """f(x) = x for x > 0, alpha·(e^x − 1) otherwise. Source: Clevert et al. 2016."""
    y = np.empty_like(x)
    for i in prange(x.size):
        y[i] = x[i] if x[i] > 0 else alpha * math.expm1(x[i])
    return y


def elu_backward_loops(dy: Array, x: Array, y: Array, alpha: float) -> Array:
    """f'(x) = 1 for x > 0, alpha·e^x = y + alpha otherwise."""
    dx = np.empty_like(dy)
    for i in prange(dy.size):
        dx[i] = dy[i] if x[i] > 0 else dy[i] * (y[i] + alpha)
    return dx


def elu_numpy(x: Array, alpha: float) -> Array:
    """elu_loops."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def elu_backward_numpy(dy: Array, x: Array, y: Array, alpha: float) -> Array:
    """elu_backward_loops."""
    return np.where(x > 0, dy, dy * (y + alpha))


# ---------------------------------------------------------------- sigmoid and what is built on it


@inlined
def logistic(x: float) -> float:
    """1 / (1 + e^−x), by the form whose exponential cannot overflow."""
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    e = math.exp(x)
    return e / (1 + e)


def sigmoid_loops(x: Array) -> Array:
    """f(x) = 1 / (1 + e^−x)."""
    y = np.empty_like(x)
    for i in prange(x.size):
        y[i] = logistic(x[i])
    return y


def sigmoid_backward_loops(dy: Array, x: Array, y: Array) -> Array:
    """f'(x) = y·(1 − y)."""
    dx = np.empty_like(dy)
    for i in prange(dy.size):
        dx[i] = dy[i] * y[i] * (1 - y[i])
    return dx


def sigmoid_numpy(x: Array) -> Array:
    """sigmoid_loops."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def sigmoid_backward_numpy(dy: Array, x: Array, y: Array) -> Array:
    """sigmoid_backward_loops."""
    return dy * y * (1 - y)


def silu_loops(x: Array) -> Array:
    """f(x) = x·sigmoid(x). Source: Elfwing et al. 2018; also called swish."""
    y = np.empty_like(x)
    for i in prange(x.size):
        y[i] = x[i] * logistic(x[i])
    return y


def silu_backward_loops(dy: Array, x: Array, y: Array) -> Array:
    """f'(x) = s·(1 + x·(1 − s)) with s = sigmoid(x)."""
    dx = np.empty_like(dy)
    for i in prange(dy.size):
        s = logistic(x[i])
        dx[i] = dy[i] * s * (1 + x[i] * (1 - s))
    return dx


def silu_numpy(x: Array) -> Array:
    """silu_loops."""
    return x * sigmoid_numpy(x)


def silu_backward_numpy(dy: Array, x: Array, y: Array) -> Array:
    """silu_backward_loops."""
    s = sigmoid_numpy(x)
    return dy * s * (1 + x * (1 - s))


def softplus_loops(x: Array) -> Array:
    """f(x) = log(1 + e^x) = max(x, 0) + log(1 + e^−|x|), whose exponential cannot overflow.

    Source: Glorot, Bordes and Bengio 2011.
    """
    y = np.empty_like(x)
    for i in prange(x.size):
        y[i] = (0 if x[i] <= 0 else x[i]) + math.log1p(math.exp(-abs(x[i])))
    return y


def softplus_backward_loops(dy: Array, x: Array, y: Array) -> Array:
    """f'(x) = sigmoid(x)."""
    dx = np.empty_like(dy)
    for i in prange(dy.size):
        dx[i] = dy[i] * logistic(x[i])
    return dx


def softplus_numpy(x: Array) -> Array:
    """softplus_loops."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def softplus_backward_numpy(dy: Array, x: Array, y: Array) -> Array:
    """softplus_backward_loops."""
    return dy * sigmoid_numpy(x)


# ---------------------------------------------------------------- tanh and gelu


def tanh_loops(x: Array) -> Array:
    """f(x) = (e^x − e^−x) / (e^x + e^−x)."""
    y = np.empty_like(x)
    for i in prange(x.size):
        y[i] = math.tanh(x[i])
    return y


def tanh_backward_loops(dy: Array, x: Array, y: Array) -> Array:
    """f'(x) = 1 − y²."""
    dx = np.empty_like(dy)
    for i in prange(dy.size):
        dx[i] = dy[i] * (1 - y[i] * y[i])
    return dx


def tanh_numpy(x: Array) -> Array:
    """tanh_loops."""
    return np.tanh(x)


def tanh_backward_numpy(dy: Array, x: Array, y: Array) -> Array:
    """tanh_backward_loops."""
    return dy * (1 - y * y)


def gelu_loops(x: Array) -> Array:
    """f(x) = x·Φ(x), Φ the normal distribution function (1 + erf(x/√2)) / 2. Source: Hendrycks and Gimpel 2016."""
    y = np.empty_like(x)
    for i in prange(x.size):
        y[i] = 0.5 * x[i] * (1 + math.erf(x[i] * math.sqrt(0.5)))
    return y


def gelu_backward_loops(dy: Array, x: Array, y: Array) -> Array:
    """f'(x) = Φ(x) + x·φ(x), φ(x) = e^(−x²/2) / √(2π) the normal density."""
    dx = np.empty_like(dy)
    for i in prange(dy.size):
        cumulative = 0.5 * (1 + math.erf(x[i] * math.sqrt(0.5)))
        dx[i] = dy[i] * (cumulative + x[i] * math.exp(-0.5 * x[i] * x[i]) * (1 / math.sqrt(2 * math.pi)))
    return dx


def gelu_numpy(x: Array) -> Array:
    """gelu_loops; NumPy has no erf, SciPy has."""
    from scipy.special import ndtr

    return x * ndtr(x)


def gelu_backward_numpy(dy: Array, x: Array, y: Array) -> Array:
    """gelu_backward_loops."""
    from scipy.special import ndtr

    near = np.clip(x, -40, 40)  # beyond, the density is 0 and x² might overflow
    return dy * (ndtr(x) + x * np.exp(-0.5 * near * near) / dy.dtype.type(math.sqrt(2 * math.pi)))


relu_numba = compiled(relu_loops)
relu_backward_numba = compiled(relu_backward_loops)
leaky_relu_numba = compiled(leaky_relu_loops)
leaky_relu_backward_numba = compiled(leaky_relu_backward_loops)
elu_numba = compiled(elu_loops)
elu_backward_numba = compiled(elu_backward_loops)
sigmoid_numba = compiled(sigmoid_loops)
sigmoid_backward_numba = compiled(sigmoid_backward_loops)
silu_numba = compiled(silu_loops)
silu_backward_numba = compiled(silu_backward_loops)
# Numba's wheels have no vector mathematics library, so a compiled loop calls the scalar tanh: 7.1 ms for a million
# numbers on two cores, where NumPy's vector code takes 0.3 ms on one.
tanh_numba = tanh_numpy
tanh_backward_numba = compiled(tanh_backward_loops)
softplus_numba = softplus_numpy  # 6.8 ms compiled, 1.7 ms so, for a million numbers: as with tanh
softplus_backward_numba = compiled(softplus_backward_loops)
gelu_numba = compiled(gelu_loops)
gelu_backward_numba = compiled(gelu_backward_loops)
