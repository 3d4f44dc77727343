"""`minicnn summary` and `minicnn gradcheck`: what a model is made of, and whether its derivatives are right."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import typer

from minicnn.cli.errors import ArgumentError, CommandError
from minicnn.cli.options import KernelsName, Model
from minicnn.cli.sources import find_model, labels_for, loss_for, need_built
from minicnn.gradcheck import check_model


def summary(model: Model) -> None:
    """The layers, their shapes and parameters.

    \b
    Examples:
      minicnn summary runs/lenet5/model.h5
      minicnn summary alexnet_mnist
    """
    network = find_model(model, compile=False)
    need_built(network, model)
    network.summary()


def gradcheck(
    model: Model,
    samples: Annotated[int, typer.Option(min=1, help="samples in the batch")] = 4,
    directions: Annotated[int, typer.Option(min=1, help="random directions through all parameters")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="of samples, labels and directions")] = 0,
    inference: Annotated[
        bool, typer.Option("--inference", help="without dropout, and with the moving averages of BatchNormalization")
    ] = False,
    kernels: Annotated[KernelsName, typer.Option(help="those that are checked")] = "numba",
) -> None:
    """Compare gradients with finite differences.

    The model computes in float64, on a batch drawn at random, pixels from 0 to 1. An error of at most 1e-6 in every
    direction passes; otherwise the exit code is 1.

    \b
    Examples:
      minicnn gradcheck lenet5
      minicnn gradcheck runs/lenet5/model.h5 --directions 50
    """
    network = find_model(model, dtype="float64", kernels=kernels, seed=seed)
    need_built(network, model)
    sample = tuple(size for size in network.input_shape[1:] if size is not None)
    shape = network.output_shape_for(sample)
    if len(shape) != 1:
        raise ArgumentError(
            f"{model}: {network} has outputs {network.output_shape}; gradcheck takes (None, classes); "
            "add Flatten and Dense."
        )
    if not network.compiled:
        network.compile(loss=loss_for(network))
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 1, (samples, *sample))
    y = labels_for(network.loss, rng.integers(0, shape[0], samples), shape[0])
    report = check_model(network, x, y, training=not inference, directions=directions, seed=seed)
    if not report.passed:
        raise CommandError(str(report))
    print(report)
