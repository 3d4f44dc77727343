"""Penalties on weights: added to the loss, with their gradients added to the weights' gradients.

A large weight costs something of its own, so training keeps weights small (L2) or at zero (L1) unless the data pay for
them. A regularizer of one's own subclasses Regularizer with `value` and `gradient`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.arguments import finite_number, refuse_unknown
from minicnn.errors import ConfigError, ShapeError
from minicnn.kernels.norms import penalty_numpy
from minicnn.lending import conforming
from minicnn.lookup import resolve, table_of
from minicnn.typing import Array, Config

if TYPE_CHECKING:
    from minicnn.kernels import KernelSet


class Regularizer:
    """A penalty on one parameter. Subclasses override value and gradient and, if they have arguments, get_config."""

    def __init__(self, **unknown: Any) -> None:
        refuse_unknown(unknown, self)

    def value(self, weights: Array) -> float:
        """The penalty of weights, of any shape."""
        raise NotImplementedError(
            f"{type(self).__name__}: minicnn has no automatic differentiation: "
            "write value(weights) and gradient(weights)."
        )

    def gradient(self, weights: Array) -> Array:
        """The derivative of value with respect to each weight: a new array of their shape and dtype."""
        raise NotImplementedError(
            f"{type(self).__name__}: minicnn has no automatic differentiation: write gradient(weights)."
        )

    def add_gradient(self, weights: Array, gradients: Array) -> None:
        """Add gradient(weights) to gradients, in place. Raises ShapeError if it has not the shape of the weights."""
        owner, remedy = f"{type(self).__name__}: gradient", "return the derivative with respect to each weight"
        gradients += conforming(self.gradient(weights), weights.shape, weights.dtype, owner, remedy)

    def penalize(self, weights: Array, gradients: Array, kernels: KernelSet) -> float:
        """value(weights), and gradient(weights) added to gradients, in place; of size 0, they are not wanted.

        What training calls: a subclass that has a faster way for both than one after the other overrides it. Raises
        ShapeError if value is not one number.
        """
        if gradients.size:
            self.add_gradient(weights, gradients)
        value = self.value(weights)
        if np.ndim(value):
            raise ShapeError(
                f"{type(self).__name__}: value returned shape {np.shape(value)} where one number is due; sum over the "
                "weights."
            )
        return float(value)

    def __call__(self, weights: Any) -> float:
        """value(weights), for code written for Keras."""
        return self.value(np.asarray(weights))

    def get_config(self) -> Config:
        """The constructor's arguments under Keras's keys."""
        return {}

    @classmethod
    def from_config(cls, config: Config) -> Regularizer:
        """The regularizer that get_config described."""
        return cls(**config)


class L1L2(Regularizer):
    """Both penalties: l1·Σ|w| + l2·Σw².

    gradient  l1·sign(w) + 2·l2·w, with sign(0) = 0, as in TensorFlow.

    Args:
        l1, l2: factors, finite and not negative; None is 0.

    Source: Goodfellow, Bengio and Courville, Deep Learning (2016), section 7.1; Zou and Hastie 2005.
    """

    def __init__(self, l1: float | None = 0.0, l2: float | None = 0.0, **unknown: Any) -> None:
        super().__init__(**unknown)
        self.l1 = finite_number(0.0 if l1 is None else l1, "l1", type(self).__name__, least=0)
        self.l2 = finite_number(0.0 if l2 is None else l2, "l2", type(self).__name__, least=0)

    def value(self, weights: Array) -> float:
        return penalty_numpy(weights.reshape(-1), weights[:0].reshape(-1), self.l1, self.l2)

    def gradient(self, weights: Array) -> Array:
        gradients = np.zeros_like(weights)
        self.add_gradient(weights, gradients)
        return gradients

    def add_gradient(self, weights: Array, gradients: Array) -> None:
        if self.l1:
            gradients += self.l1 * np.sign(weights)
        if self.l2:
            gradients += (2 * self.l2) * weights

    def penalize(self, weights: Array, gradients: Array, kernels: KernelSet) -> float:
        ours = type(self) in (L1, L2, L1L2)  # a subclass may have a value of its own
        if not ours or not gradients.flags.c_contiguous:
            return super().penalize(weights, gradients, kernels)
        return float(kernels.penalty(weights.reshape(-1), gradients.reshape(-1), self.l1, self.l2))

    def get_config(self) -> Config:
        return {"l1": self.l1, "l2": self.l2}


class L1(L1L2):
    """l1·Σ|w|: pushes every weight towards zero by the same amount, so that unneeded ones end there.

    Keras 2's name `l` of the factor is taken too.
    """

    def __init__(self, l1: float | None = 0.01, **keras_2: Any) -> None:
        l1 = keras_2.pop("l", l1)
        refuse_unknown(keras_2, self)
        super().__init__(l1=0.01 if l1 is None else l1)

    def get_config(self) -> Config:
        return {"l1": self.l1}


class L2(L1L2):
    """l2·Σw²: pushes every weight towards zero in proportion to its size. No factor ½: the gradient is 2·l2·w.

    Keras 2's name `l` of the factor is taken too.
    """

    def __init__(self, l2: float | None = 0.01, **keras_2: Any) -> None:
        l2 = keras_2.pop("l", l2)
        refuse_unknown(keras_2, self)
        super().__init__(l2=0.01 if l2 is None else l2)

    def get_config(self) -> Config:
        return {"l2": self.l2}


l1, l2, l1_l2 = L1, L2, L1L2
"""Keras's other names for the classes, as in `kernel_regularizer=regularizers.l2(1e-4)`."""

TABLE = table_of(L1, L2, L1L2, aliases={"l1_l2": L1L2})


def get(identifier: Any, custom_objects: Mapping[str, type] | None = None, owner: str = "") -> Regularizer | None:
    """The regularizer that a name, a class, an instance or a config stands for; None for None.

    "l1" and "l2" have the factor 0.01, and so has either part of "l1_l2" (as Keras documents it; L1L2() and "l1l2"
    penalise nothing). custom_objects: the caller's own classes by name. owner: messages begin with it: "Dense
    'dense': kernel_regularizer". Raises ConfigError for anything else.
    """
    if identifier is None:
        return None
    if isinstance(identifier, str) and identifier == "l1_l2":
        return L1L2(0.01, 0.01)
    if callable(identifier) and not isinstance(identifier, (Regularizer, type)):
        raise ConfigError(
            f"{owner or 'regularizer'}: got the function {identifier!r}, which has no derivative here; subclass "
            "minicnn.regularizers.Regularizer with value and gradient instead."
        )
    return resolve("regularizer", Regularizer, TABLE, identifier, custom_objects, owner)


def deserialize(config: Any, custom_objects: Mapping[str, type] | None = None) -> Regularizer | None:
    """The regularizer of a config {"class_name", "config"}; get, under Keras's other name."""
    return get(config, custom_objects)


def serialize(regularizer: Regularizer | None) -> Config | None:
    """{"class_name", "config"}, which get and every Keras take; None for None."""
    if regularizer is None:
        return None
    return {"class_name": type(regularizer).__name__, "config": regularizer.get_config()}
