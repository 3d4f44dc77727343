"""The operations that layers, losses and optimizers are made of: arrays in, arrays out.

A KernelSet holds one function for each operation. NUMPY and NUMBA are its two instances, equal up to rounding. Each
file that is imported below has, for its operations, the formula, the plain loops, the NumPy version and the compiled
one. The other files of this package are parts of those, products that fused steps call past the KernelSet
(steps/plan.py decides what runs), and how machine code is made of all that.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from minicnn.errors import ConfigError
from minicnn.kernels import (
    activation,
    convolution,
    dense,
    dropout,
    gather,
    grouped_convolution,
    normalization,
    norms,
    pooling,
    softmax,
    transposed_convolution,
    update,
    upsampling,
)

Operation = Callable[..., Any]


@dataclass(frozen=True)
class KernelSet:
    """One implementation of every operation. The docstring of `<operation>_loops` in its file is its contract."""

    name: str
    # convolution.py
    conv2d: Operation
    conv2d_backward: Operation
    # grouped_convolution.py
    grouped_conv2d: Operation
    grouped_conv2d_backward: Operation
    # transposed_convolution.py
    conv2d_transpose: Operation
    conv2d_transpose_backward: Operation
    # upsampling.py
    upsample_nearest: Operation
    upsample_nearest_backward: Operation
    upsample_bilinear: Operation
    upsample_bilinear_backward: Operation
    # dense.py
    dense: Operation
    dense_backward: Operation
    # pooling.py
    max_pool: Operation
    max_pool_backward: Operation
    average_pool: Operation
    average_pool_backward: Operation
    # activation.py
    relu: Operation
    relu_backward: Operation
    leaky_relu: Operation
    leaky_relu_backward: Operation
    elu: Operation
    elu_backward: Operation
    sigmoid: Operation
    sigmoid_backward: Operation
    silu: Operation
    silu_backward: Operation
    softplus: Operation
    softplus_backward: Operation
    tanh: Operation
    tanh_backward: Operation
    gelu: Operation
    gelu_backward: Operation
    # softmax.py
    softmax: Operation
    softmax_backward: Operation
    softmax_cross_entropy: Operation
    # normalization.py
    batch_norm_statistics: Operation
    batch_norm_apply: Operation
    batch_norm_sums: Operation
    batch_norm_backward: Operation
    # dropout.py
    dropout: Operation
    # gather.py
    gather: Operation
    # norms.py
    squared_norm: Operation
    penalty: Operation
    # update.py
    sgd: Operation
    momentum: Operation
    rmsprop: Operation
    adagrad: Operation
    adadelta: Operation
    adam: Operation

    def __reduce__(self) -> tuple[Any, ...]:
        return kernel_set, (self.name,)  # models are pickled with the name of their set


_FILES = (
    activation,
    convolution,
    dense,
    dropout,
    gather,
    grouped_convolution,
    normalization,
    norms,
    pooling,
    softmax,
    transposed_convolution,
    update,
    upsampling,
)


def _assemble(name: str) -> KernelSet:
    """The set whose operations are called <operation>_<name> in their files."""
    available = {k: v for file in _FILES for k, v in vars(file).items() if k.endswith(f"_{name}")}
    fields = [field for field in KernelSet.__dataclass_fields__ if field != "name"]
    return KernelSet(name, **{field: available[f"{field}_{name}"] for field in fields})


NUMPY = _assemble("numpy")
"""Vectorised NumPy: easy to read and to step through."""

NUMBA = _assemble("numba")
"""The loops, or their blocked versions, compiled for all cores."""

KERNEL_SETS: Mapping[str, KernelSet] = {"numpy": NUMPY, "numba": NUMBA}


def kernel_set(kernels: Any) -> KernelSet:
    """The set of that name, or the set itself. Raises ConfigError for anything else."""
    if isinstance(kernels, KernelSet):
        return kernels
    if not isinstance(kernels, str) or kernels not in KERNEL_SETS:
        raise ConfigError(f'kernels must be "numba" or "numpy", got {kernels!r}.')
    return KERNEL_SETS[kernels]
