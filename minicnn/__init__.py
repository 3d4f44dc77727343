"""minicnn: a convolutional-network engine to read and to use, on NumPy and Numba.

Names, arguments and numbers are Keras's: change `keras` to `minicnn` in the import lines of a script, run it, then
open the layer.
"""

from minicnn import (
    activations,
    applications,
    callbacks,
    config,
    datasets,
    errors,
    gradcheck,
    initializers,
    kernels,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    plotting,
    regularizers,
    utils,
)
from minicnn.layers import Input
from minicnn.models import Sequential, load_model

__version__ = "0.1.0"

__all__ = [
    "Input",
    "Sequential",
    "activations",
    "applications",
    "callbacks",
    "config",
    "datasets",
    "errors",
    "gradcheck",
    "initializers",
    "kernels",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "plotting",
    "regularizers",
    "utils",
]
