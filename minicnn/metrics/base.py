"""Metric: what every metric is; Mean and its kin: weighted means over batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from minicnn.arguments import dtype_or_none, refuse_unknown
from minicnn.errors import ConfigError, ShapeError
from minicnn.naming import function_name, snake_case
from minicnn.typing import Array, Config


class Metric:
    """A number that is built up batch by batch. Subclass it with update_state, result and reset_state.

        class Largest(Metric):
            def __init__(self, name="largest"):
                super().__init__(name=name)
                self.reset_state()

            def reset_state(self):
                self.largest = float("-inf")

            def update_state(self, y_true, y_pred, sample_weight=None):
                self.largest = max(self.largest, y_pred.max())

            def result(self):
                return float(self.largest)

    Args:
        dtype: None, "float32" or "float64", kept for Keras's files; results are Python floats in any case.
        name: its key in the logs; None makes one of the class's name: TopKAccuracy, top_k_accuracy.

    The order is Keras 3's; the metrics that exist here take the name first. Raises ConfigError for arguments that are
    unknown or wrong.
    """

    direction: ClassVar[str | None] = None
    """"max" if larger is better, "min" if smaller is, for callbacks in mode "auto"; None leaves it to the name."""

    def __init__(self, dtype: str | None = None, name: str | None = None, **unknown: Any) -> None:
        refuse_unknown(unknown, self)
        if name is not None and (not isinstance(name, str) or not name):
            raise ConfigError(f"{type(self).__name__}: name must be a string that is not empty, got {name!r}.")
        self.name = name or snake_case(type(self).__name__)
        self.dtype = dtype_or_none(dtype, type(self).__name__)

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Take in a batch: update_state(y_true, y_pred, sample_weight=None); sample_weight is (N,), or (N, H, W)
        for places of an output, or None."""
        raise NotImplementedError(
            f"{type(self).__name__} must override update_state(y_true, y_pred, sample_weight=None)."
        )

    def result(self) -> float:
        """The value over all batches since reset_state."""
        raise NotImplementedError(f"{type(self).__name__} must override result().")

    def reset_state(self) -> None:
        """Forget all batches."""

    def add_variable(self, *args: Any, **kwargs: Any) -> Any:
        """Keras's way to keep a number. Raises ConfigError: a metric has plain attributes here."""
        raise ConfigError(
            f"{type(self).__name__}: add_variable and add_weight are Keras's; keep sums as plain attributes, "
            "self.total = 0.0, and set them anew in reset_state."
        )

    add_weight = add_variable

    def get_config(self) -> Config:
        """The constructor's arguments as JSON values. Subclasses add theirs."""
        return {"name": self.name, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: Config) -> Metric:
        """The metric that get_config described, with no batch seen."""
        return cls(**config)

    def __call__(self, *args: Any, **kwargs: Any) -> float:
        """update_state, then result: the value so far, this batch included."""
        self.update_state(*args, **kwargs)
        return self.result()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} '{self.name}'>"


class _WeightedMean(Metric):
    """sum(w·value) / sum(w); 0 before the first value."""

    def __init__(self, name: str | None = None, dtype: str | None = None, **unknown: Any) -> None:
        super().__init__(dtype, name, **unknown)
        self.reset_state()

    def reset_state(self) -> None:
        self.total = 0.0  # sum of w·value
        self.count = 0.0  # sum of w, or the number of samples

    def result(self) -> float:
        return self.total / self.count if self.count else 0.0

    def _add(self, values: Any, sample_weight: Any) -> None:
        """Take in values (N, ...) and their weights.

        Weights (N,) apply to the means of samples; weights of more axes to the means over the axes that they lack.
        In the end a sample counts once: over its further axes, w·value and w are averaged.
        """
        values = np.asarray(values, np.float64)
        if sample_weight is None:
            self.total += float(_sample_means(values).sum())
            self.count += values.shape[0] if values.ndim else 1
            return
        values, weights = align(values, np.asarray(sample_weight, np.float64))
        if values.ndim > weights.ndim:
            values = values.mean(axis=tuple(range(weights.ndim, values.ndim)))
        try:
            weights = np.broadcast_to(weights, values.shape)
        except ValueError:
            raise ShapeError(
                f"{type(self).__name__} '{self.name}': sample_weight {weights.shape} does not fit values "
                f"{values.shape}; give one weight a sample."
            ) from None
        self.total += float(_sample_means(values * weights).sum())
        self.count += float(_sample_means(weights).sum())


class Mean(_WeightedMean):
    """The weighted mean of values that are handed in: update_state(values, sample_weight=None), values (N, ...)."""

    def __init__(self, name: str | None = "mean", dtype: str | None = None, **unknown: Any) -> None:
        super().__init__(name, dtype, **unknown)

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        self._add(values, sample_weight)


class SampleMetric(_WeightedMean):
    """The weighted mean of a per-sample function, which subclasses give as `values`."""

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """One value a sample, (N,), or a pixel, (N, ...)."""
        raise NotImplementedError(f"{type(self).__name__} must override values(y_true, y_pred).")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self._add(self.values(y_true, y_pred), sample_weight)


class MeanMetricWrapper(SampleMetric):
    """The weighted mean of a function fn(y_true, y_pred, **kwargs) of two NumPy arrays that returns a value a sample.

    Its config names the function but does not hold it: to load such a metric from a file, give the function in
    custom_objects, by its name.
    """

    def __init__(
        self, fn: Callable[..., Any], name: str | None = None, dtype: str | None = None, **kwargs: Any
    ) -> None:
        if not callable(fn):
            raise ConfigError(f"MeanMetricWrapper: fn must be a function of (y_true, y_pred), got {fn!r}.")
        self.fn = fn
        self.kwargs = kwargs
        super().__init__(name or getattr(fn, "__name__", snake_case(type(fn).__name__)), dtype)

    def values(self, y_true: Any, y_pred: Any) -> Any:
        values = self.fn(np.asarray(y_true), np.asarray(y_pred), **self.kwargs)
        if values is None:
            raise ConfigError(f"metric {self.name}: the function returned None; return a value for each sample.")
        return values

    def get_config(self) -> Config:
        return {**super().get_config(), "fn": function_name(self.fn), **self.kwargs}


def _sample_means(values: Array) -> Array:
    """The mean of each sample: (N, ...) to (N,)."""
    means: Array = values.mean(axis=tuple(range(1, values.ndim))) if values.ndim > 1 else values
    return means


def align(a: Array, b: Array) -> tuple[Array, Array]:
    """(N,) and (N, 1) both as (N, 1); beyond that, a trailing axis of 1 that only one of them has is dropped."""
    if a.ndim == b.ndim + 1 and a.shape[-1] == 1:
        return (a, b[:, None]) if b.ndim == 1 else (a[..., 0], b)
    if b.ndim == a.ndim + 1 and b.shape[-1] == 1:
        return (a[:, None], b) if a.ndim == 1 else (a, b[..., 0])
    return a, b


def same_shape(owner: str, y_true: Any, y_pred: Any) -> tuple[Array, Array]:
    true, pred = align(np.asarray(y_true), np.asarray(y_pred))
    if true.shape != pred.shape:
        raise ShapeError(
            f"{owner}: y_true {true.shape} and y_pred {pred.shape} differ; give labels of the output's shape."
        )
    return true, pred
