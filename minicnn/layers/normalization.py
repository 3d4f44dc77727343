"""BatchNormalization."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn import initializers, regularizers
from minicnn.arguments import finite_number, refuse
from minicnn.layers.base import Layer, Run
from minicnn.layers.shapes import axis_number, size_along
from minicnn.typing import Array, Config, Shape


class BatchNormalization(Layer):
    """Brings every channel to mean 0 and variance 1, then to a mean beta and a deviation gamma that are learnt.

    Everything below is of one channel: x[m], m < M, are its M = N·H·W values, and Σ runs over them.

    forward   training: mean = 1/M · Σ x[m],   variance = 1/M · Σ (x[m] − mean)², biased, that is divided by M
                  moving = momentum·moving + (1 − momentum)·batch, for both
              inference, or trainable=False: mean and variance are the moving ones
                  s = 1/√(variance + epsilon),   x̂[m] = (x[m] − mean)·s,   y[m] = gamma·x̂[m] + beta
    backward  beta enters every y[m] with factor 1, gamma with factor x̂[m]:
                  dL/dbeta = Σ dL/dy[m],   dL/dgamma = Σ dL/dy[m]·x̂[m]
              and x̂[m] enters y[m] with factor gamma: g[m] = dL/dx̂[m] = gamma·dL/dy[m].
              inference: mean and s are constants, ∂x̂[m]/∂x[m] = s, so dL/dx[m] = s·g[m].
              training: x[m] moves mean and variance as well, and through them every x̂. With ds/dvariance = −s³/2,
                  dL/dvariance = Σ g[m]·(x[m] − mean)·(−s³/2) = −s²/2 · Σ g[m]·x̂[m]
                  dL/dmean     = Σ g[m]·(−s) + dL/dvariance · (−2/M)·Σ (x[m] − mean) = −s · Σ g[m]
              since deviations from the mean add up to 0. The three ways from x[m] to L, with ∂mean/∂x[m] = 1/M and
              ∂variance/∂x[m] = 2·(x[m] − mean)/M = 2·x̂[m]/(s·M), are
                  dL/dx[m] = g[m]·s + dL/dvariance · 2·x̂[m]/(s·M) + dL/dmean/M
                           = s·(g[m] − x̂[m]/M · Σ g·x̂ − 1/M · Σ g)
                           = gamma·s·(dL/dy[m] − x̂[m]·dL/dgamma/M − dL/dbeta/M)

    Args:
        axis: of the channels, counted with the batch as axis 0; −1 is the last.
        momentum: of the moving averages. epsilon: added to the variance.
        center, scale: whether beta and gamma are there.
        beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer, beta_regularizer,
            gamma_regularizer: as in Keras.

    Shapes: any (N, ..., C, ...), the same out. gamma, beta, moving_mean, moving_variance: (C,).
    Source: Ioffe and Szegedy 2015. Keras 2 divides the moving variance of maps by M − 1; Keras 3, and this, by M.
    """

    def __init__(
        self,
        axis: Any = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: Any = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        refuse(
            self,
            beta_constraint=(beta_constraint, None),
            gamma_constraint=(gamma_constraint, None),
            renorm=(renorm, False),
            renorm_clipping=(renorm_clipping, None),
            renorm_momentum=(renorm_momentum, 0.99),
            synchronized=(synchronized, False),
        )
        self.axis = axis_number(axis, str(self))
        self.momentum = finite_number(momentum, "momentum", str(self), least=0, most=1)
        self.epsilon = finite_number(epsilon, "epsilon", str(self), least=0)
        self.center, self.scale = bool(center), bool(scale)
        self.beta_initializer = initializers.get(beta_initializer, owner=f"{self}: beta_initializer")
        self.gamma_initializer = initializers.get(gamma_initializer, owner=f"{self}: gamma_initializer")
        self.moving_mean_initializer = initializers.get(
            moving_mean_initializer, owner=f"{self}: moving_mean_initializer"
        )
        self.moving_variance_initializer = initializers.get(
            moving_variance_initializer, owner=f"{self}: moving_variance_initializer"
        )
        self.beta_regularizer = regularizers.get(beta_regularizer, owner=f"{self}: beta_regularizer")
        self.gamma_regularizer = regularizers.get(gamma_regularizer, owner=f"{self}: gamma_regularizer")

    def build(self, input_shape: Shape, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
        shape = (size_along(self.axis, input_shape, str(self)),)
        if self.scale:
            self.add_param("gamma", shape, self.gamma_initializer, dtype, rng, self.gamma_regularizer)
        if self.center:
            self.add_param("beta", shape, self.beta_initializer, dtype, rng, self.beta_regularizer)
        for name, initializer in (
            ("moving_mean", self.moving_mean_initializer),
            ("moving_variance", self.moving_variance_initializer),
        ):
            self.state[name] = self.initial_values(name, shape, initializer, dtype, rng)

    def output_shape(self, input_shape: Shape) -> Shape:
        size_along(self.axis, input_shape, str(self))
        return input_shape

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        rows = self._rows(x)  # (M, C)
        mean, inverse, from_batch = self.moments(rows, run)
        y = run.kernels.batch_norm_apply(rows, mean, inverse, self.gamma(), self.beta())
        return self._unrows(y, x.shape), (rows, mean, inverse, from_batch)

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        rows, mean, inverse, from_batch = saved
        dy_rows = self._rows(dy)
        dgamma, dbeta = run.kernels.batch_norm_sums(dy_rows, rows, mean, inverse)
        self.set_gradients(dgamma, dbeta)
        if not need_dx:
            return None
        if from_batch:
            dx = run.kernels.batch_norm_backward(dy_rows, rows, mean, inverse, self.gamma(), dgamma, dbeta)
        else:
            dx = dy_rows * (self.gamma() * inverse)
        return self._unrows(dx, dy.shape)

    def moments(self, rows: Array, run: Run) -> tuple[Array, Array, bool]:
        """What a pass over rows (M, C) normalizes with: mean and s (C,), and whether they are the batch's own.

        Moves the moving averages if they are.
        """
        from_batch = run.training and self.trainable and len(rows) > 0
        if from_batch:
            mean, variance = run.kernels.batch_norm_statistics(rows)
            self._move("moving_mean", mean)
            self._move("moving_variance", variance)
        else:
            mean, variance = self.state["moving_mean"].copy(), self.state["moving_variance"]
        return mean, 1 / np.sqrt(variance + rows.dtype.type(self.epsilon)), from_batch

    def moving_affine(self) -> tuple[Array, Array, Array]:
        """mean, scale and beta (C,) of y = (x − mean)·scale + beta, what predicting does."""
        mean, variance = self.state["moving_mean"], self.state["moving_variance"]
        return mean, self.gamma() / np.sqrt(variance + mean.dtype.type(self.epsilon)), self.beta()

    def gamma(self) -> Array:
        """gamma (C,), ones if the layer does not scale."""
        return self.params["gamma"] if self.scale else np.ones_like(self.state["moving_mean"])

    def beta(self) -> Array:
        """beta (C,), zeros if the layer does not center."""
        return self.params["beta"] if self.center else np.zeros_like(self.state["moving_mean"])

    def set_gradients(self, dgamma: Array, dbeta: Array) -> None:
        """Set the grads of those of the two that the layer has."""
        if self.scale:
            self.grads["gamma"][...] = dgamma
        if self.center:
            self.grads["beta"][...] = dbeta

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "axis": self.axis,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": initializers.serialize(self.beta_initializer),
            "gamma_initializer": initializers.serialize(self.gamma_initializer),
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
            "beta_regularizer": regularizers.serialize(self.beta_regularizer),
            "gamma_regularizer": regularizers.serialize(self.gamma_regularizer),
        }

    def _rows(self, x: Array) -> Array:
        """x as (M, C): a view where the channels are last."""
        last = x if self._channels_last(x.ndim) else np.moveaxis(x, self.axis, -1)  # moveaxis takes 5 µs
        return np.ascontiguousarray(last).reshape(-1, last.shape[-1])

    def _channels_last(self, axes: int) -> bool:
        return self.axis in (-1, axes - 1)

    def _unrows(self, rows: Array, shape: tuple[int, ...]) -> Array:
        if self._channels_last(len(shape)):
            return rows.reshape(shape)
        channels_last = np.moveaxis(np.empty(shape, np.bool_), self.axis, -1).shape
        return np.ascontiguousarray(np.moveaxis(rows.reshape(channels_last), -1, self.axis))

    def _move(self, name: str, batch: Array) -> None:
        moving = self.state[name]
        number = moving.dtype.type
        moving[...] = moving * number(self.momentum) + batch * number(1 - self.momentum)
