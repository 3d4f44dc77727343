"""Dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.arguments import finite_number, refuse, seed_or_none
from minicnn.kernels.dropout import KEEP_RANGE, dropout_key
from minicnn.layers.base import Layer, Run
from minicnn.typing import Array, Config


class Dropout(Layer):
    """Sets a random part of the entries to zero in training, and scales the others up. The identity in inference.

    forward   training: y[i] = mask[i]·x[i] / (1 − rate), mask[i] 0 with probability rate, else 1, drawn anew for every
              batch. y[i] has the expectation x[i], so that inference, y = x, needs no factor
    backward  the mask does not depend on x, and x[i] moves y[i] alone: dL/dx[i] = mask[i]·dL/dy[i] / (1 − rate), with
              the mask of the forward pass; in inference dL/dx = dL/dy

    The mask is a function of the model's seed, the training step and the layer's place in the model
    (kernels/dropout.py), so it is not stored but made again.

    Args:
        rate: part set to zero, 0 <= rate <= 1; 1 gives zeros.
        seed: takes the place of the model's seed for this layer.

    Shapes: any, the same out. Source: Srivastava et al. 2014.
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        refuse(self, noise_shape=(noise_shape, None))
        self.rate = finite_number(rate, "rate", str(self), least=0, most=1)
        self.seed = seed_or_none(seed, str(self))

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        return self._masked(x, run), None

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        return self._masked(dy, run) if need_dx else None  # linear in x: backward is forward, applied to dy

    def _masked(self, x: Array, run: Run) -> Array:
        if not run.training or self.rate == 0:
            return x
        if self.rate == 1:
            return np.zeros_like(x)
        key = dropout_key(run.seed if self.seed is None else self.seed, run.step, run.position)
        threshold = np.uint32(min(round(self.rate * KEEP_RANGE), KEEP_RANGE - 1))
        scale = x.dtype.type(1 / (1 - self.rate))
        return np.asarray(run.kernels.dropout(x.reshape(-1), *key, threshold, scale).reshape(x.shape))

    def get_config(self) -> Config:
        return {**super().get_config(), "rate": self.rate, "noise_shape": None, "seed": self.seed}
