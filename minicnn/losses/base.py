"""Loss: what every loss is, and how the losses of a batch become one number."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.arguments import dtype_or_none, refuse_unknown
from minicnn.errors import ConfigError, ShapeError
from minicnn.kernels import KernelSet
from minicnn.lending import to_read
from minicnn.naming import snake_case
from minicnn.typing import Array, Config

REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None)


class Loss:
    """A loss L(y_true, y_pred) of each sample, and its gradient. Subclass it for a loss of your own:

        class MeanCubedError(minicnn.losses.Loss):
            def value(self, y_true, y_pred):
                return np.mean(np.abs(y_pred - y_true) ** 3, axis=-1)

            def gradient(self, y_true, y_pred):
                d = y_pred - y_true
                return 3 * d * np.abs(d) / d.shape[-1]

    value: (N, ..., K) to (N, ...), one loss for each sample (or each position of a map). gradient: dL/dy_pred of that
    sample's loss, (N, ..., K). Weights, and the division by how many there are, are added by `reduce` and `scaled`.

    Args:
        name: for messages; None is the class's name in snake case.
        reduction: "sum_over_batch_size" (Σ weight·loss / number of losses), "sum", "mean" (the same as the first),
            "mean_with_sample_weight" (Σ weight·loss / Σ weight) or None (no reduction; not for training).
        dtype: "float32" or "float64", in which a call of the loss computes; None takes that of y_pred, as training does
            in any case.

    Raises ConfigError for arguments that are unknown or wrong.
    """

    activations: tuple[type, ...] = ()
    """The output activations that this loss is differentiated through: behind one of them it takes the logits."""

    def __init__(
        self,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: str | None = None,
        **unknown: Any,
    ) -> None:
        refuse_unknown(unknown, self)
        if name is not None and not isinstance(name, str):
            raise ConfigError(f"{type(self).__name__}: name must be a string or None, got {name!r}.")
        self.name = name or snake_case(type(self).__name__)
        self.dtype = dtype_or_none(dtype, type(self).__name__)
        if reduction == "auto":
            reduction = "sum_over_batch_size"  # Keras 2's word for it
        if reduction not in REDUCTIONS:
            raise ConfigError(f"{self.name}: reduction must be one of {REDUCTIONS}, got {reduction!r}.")
        self.reduction = reduction

    # -- what a subclass says

    def value(self, y_true: Array, y_pred: Array) -> Array:
        """One loss for each sample."""
        raise NotImplementedError(
            f"{type(self).__name__}: minicnn has no automatic differentiation: "
            "write value(y_true, y_pred) and gradient(y_true, y_pred)."
        )

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        """d value / d y_pred, of y_pred's shape."""
        raise NotImplementedError(
            f"{type(self).__name__}: minicnn has no automatic differentiation: write gradient(y_true, y_pred)."
        )

    def check(self, y_true: Array, output_shape: tuple[int, ...]) -> None:
        """Raise DataError or ShapeError unless y_true (N, ...) can be compared with outputs (N, *output_shape)."""
        column = output_shape[-1:] == (1,) and y_true.shape[1:] == output_shape[:-1]  # (N,) for (N, 1)
        if y_true.shape[1:] != output_shape and not column:
            raise ShapeError(
                f"{self.name}: labels of shape {y_true.shape} do not fit the model's output {(None, *output_shape)}; "
                "give one value for each output."
            )

    def align(self, y_true: Array, y_pred: Array) -> Array:
        """y_true as floating-point numbers in the shape that value and gradient need.

        (N,) becomes (N, 1) where y_pred has (N, 1).
        """
        if y_true.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
            y_true = y_true[..., None]
        return np.asarray(y_true, y_pred.dtype)

    # -- what is the same for all

    def value_and_gradient(self, y_true: Array, y_pred: Array, kernels: KernelSet) -> tuple[Array, Array]:
        """Both at once, in y_pred's dtype; losses with a kernel of their own share the work.

        Raises ShapeError if value or gradient returned another shape than Loss asks for.
        """
        y_true, y_pred = to_read(y_true), to_read(y_pred)  # of the caller, and of the last step
        losses = self._losses(y_true, y_pred)
        gradient = np.asarray(self.gradient(y_true, y_pred), y_pred.dtype)
        if gradient.shape != y_pred.shape:
            raise ShapeError(
                f"{self.name}: gradient must have y_pred's shape {y_pred.shape}, got {gradient.shape}; "
                "return the derivative of each sample's loss by each of its outputs."
            )
        return losses, gradient

    def _losses(self, y_true: Array, y_pred: Array) -> Array:
        """value, checked: a loss that is not one a sample would be weighted and averaged wrongly without a word."""
        losses = np.asarray(self.value(y_true, y_pred), y_pred.dtype)
        if losses.shape != y_pred.shape[:-1]:
            raise ShapeError(
                f"{self.name}: value must return one loss a sample, of shape {y_pred.shape[:-1]} for y_pred "
                f"{y_pred.shape}, got {losses.shape}; take the mean over axis=-1."
            )
        return losses

    def weights(self, losses: Array, sample_weight: Array | None) -> tuple[Any, float]:
        """The weight of each loss, or of all, and what their weighted sum is divided by.

        sample_weight: (N,), (N, 1), of the losses' shape, or one number. Raises ShapeError for another shape. Keras's
        mean_with_sample_weight divides by the sum of the weights that were given, however many losses one is for.
        """
        if sample_weight is None:
            return losses.dtype.type(1), 1.0 if self.reduction == "sum" else float(max(losses.size, 1))
        given = np.asarray(sample_weight, losses.dtype)
        w = given[..., 0] if given.ndim == losses.ndim + 1 and given.shape[-1] == 1 else given
        w = w.reshape(w.shape + (1,) * (losses.ndim - w.ndim))
        if w.ndim != losses.ndim or any(w.shape[k] not in (1, losses.shape[k]) for k in range(w.ndim)):
            raise ShapeError(
                f"{self.name}: sample_weight has shape {given.shape} and the losses have {losses.shape}; give one "
                "weight for each sample."
            )
        w = np.broadcast_to(w, losses.shape)
        if self.reduction == "sum":
            return w, 1.0
        if self.reduction == "mean_with_sample_weight":
            return w, float(given.sum(dtype=np.float64)) or 1.0
        return w, float(max(losses.size, 1))

    def reduce(self, losses: Array, sample_weight: Array | None = None) -> float:
        """The number that training reports: the losses weighted, summed and divided, in float64."""
        w, count = self.weights(losses, sample_weight)
        return float((losses * w).sum(dtype=np.float64) / count)

    def scaled(self, gradient: Array, losses: Array, sample_weight: Array | None = None) -> Array:
        """The gradient of `reduce`: each sample's gradient times its weight over the count."""
        w, count = self.weights(losses, sample_weight)
        return np.ascontiguousarray(gradient * (w / w.dtype.type(count))[..., None])

    def check_written(self) -> None:
        """Raise ConfigError unless the loss, or a class that it is derived from, says its value and its gradient."""
        own = type(self)
        if own.value_and_gradient is not Loss.value_and_gradient:
            return
        for name in ("value", "gradient"):
            if getattr(getattr(self, name), "__func__", None) is getattr(Loss, name):
                raise ConfigError(
                    f"{own.__name__}: has no {name}, and minicnn has no automatic differentiation; write "
                    "value(y_true, y_pred) and gradient(y_true, y_pred)."
                )

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The loss of arrays, reduced to a number (an array of losses with reduction=None)."""
        y_pred = _floating(y_pred) if self.dtype is None else np.asarray(y_pred, self.dtype)
        y_true = np.asarray(y_true)
        if y_true.shape[:1] != y_pred.shape[:1]:
            raise ShapeError(
                f"{self.name}: labels of shape {y_true.shape} and predictions of shape {y_pred.shape} are not of as "
                "many samples; give one label for each prediction."
            )
        if y_pred.ndim == 1 and y_true.shape == (len(y_pred), 1):
            y_pred = y_pred[:, None]  # the outputs of one unit, flattened
        self.check(y_true, y_pred.shape[1:])
        losses = self._losses(self.align(y_true, y_pred), y_pred)
        if self.reduction in (None, "none"):
            w, _ = self.weights(losses, sample_weight)
            return losses * w
        return self.reduce(losses, sample_weight)

    def takes_logits_of(self, activation: Any) -> bool:
        """Whether training goes behind this output activation, one of `activations`, to the logits.

        Not if a subclass of the class that names them has a value or gradient of its own, which may know probabilities
        alone.
        """
        order = type(self).__mro__

        def place(name: str) -> int:
            return next(k for k, cls in enumerate(order) if name in vars(cls))

        named, passes = place("activations"), ("value", "gradient", "value_and_gradient")
        return type(activation) in self.activations and all(named <= place(name) for name in passes)

    def on_logits(self) -> Loss:
        """The same loss, taking logits, for losses that have `activations`: what training uses behind one of them."""
        raise NotImplementedError(f"{type(self).__name__} names activations and must override on_logits().")

    def get_config(self) -> Config:
        """The constructor's arguments under Keras's keys."""
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: Config) -> Loss:
        """The loss that get_config, or a Keras file, described. A dtype is left out, as Keras's get_config does."""
        return cls(**{k: v for k, v in config.items() if k not in ("fn", "dtype")})

    def __repr__(self) -> str:
        return f"<loss {self.name}>"


def _floating(array: Any) -> Array:
    array = np.asarray(array)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)
