"""All trained parameters of a model, laid end to end in one array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from minicnn.errors import ShapeError
from minicnn.kernels import KernelSet
from minicnn.layers import Layer
from minicnn.optimizers import Optimizer
from minicnn.regularizers import Regularizer
from minicnn.typing import Array

Owner = tuple[Layer, str]
"""A layer and the name of one of its parameters."""


def trainable_owners(layers: Iterable[Layer]) -> list[Owner]:
    """Every parameter that training changes, in the order in which Keras numbers optimizer slots."""
    return [(layer, name) for layer in layers if layer.trainable for name in layer.params]


class ParameterBuffer:
    """weights and gradients (P,), each one array; segments: one slice of them for each parameter.

    The layers hold views, so that a layer's `params` and the buffer are the same memory: an optimizer's step, clipping
    by the global norm and counting are then one pass each, whatever the number of layers. Frozen parameters and state
    stay outside.
    """

    def __init__(self, owners: list[Owner], dtype: np.dtype[Any]) -> None:
        self.owners = owners
        self.parked: list[tuple[Layer, str, dict[str, Array]]] = []  # slots of parameters that are frozen now
        self.segments = list(_slices(layer.params[name].size for layer, name in owners))
        size = self.segments[-1].stop if owners else 0
        self.weights: Array = np.empty(size, dtype)
        self.gradients: Array = np.zeros(size, dtype)
        for (layer, name), segment in zip(owners, self.segments, strict=True):
            parameter = layer.params[name]
            self.weights[segment] = parameter.reshape(-1)
            layer.params[name] = self.weights[segment].reshape(parameter.shape)
            layer.grads[name] = self.gradients[segment].reshape(parameter.shape)

    def holds(self, owners: list[Owner]) -> bool:
        """Whether these are the parameters packed here, and the layers still hold the views."""
        return len(owners) == len(self.owners) and all(
            layer is own_layer
            and name == own_name
            and layer.params[name].base is self.weights
            and name in layer.grads
            and layer.grads[name].base is self.gradients
            for (layer, name), (own_layer, own_name) in zip(owners, self.owners, strict=True)
        )

    def known_slots(self, optimizer: Optimizer) -> list[tuple[Layer, str, dict[str, Array]]]:
        """The optimizer's slots, parameter by parameter: of those that are frozen now, and views of those packed."""
        packed = zip(self.owners, self.segments, strict=True)
        return self.parked + [
            (layer, name, {slot: array[segment] for slot, array in optimizer.slots.items()})
            for (layer, name), segment in packed
        ]

    def move_slots(self, optimizer: Optimizer, previous: ParameterBuffer | None) -> None:
        """Lay out the optimizer's slots like this buffer, keeping what each parameter had in the previous one.

        A parameter that is frozen now finds its slots again when it is thawed, as in Keras.
        """
        if previous is None or not optimizer.slots:
            return
        known = previous.known_slots(optimizer)
        kept = {(id(layer), name): slots for layer, name, slots in known}
        for slot_name in list(optimizer.slots):
            new = optimizer.new_slot(slot_name, self.weights.size, self.weights.dtype)
            for (layer, name), segment in zip(self.owners, self.segments, strict=True):
                source = kept.get((id(layer), name), {}).get(slot_name)
                if source is not None and source.size == segment.stop - segment.start:
                    new[segment] = source
            optimizer.slots[slot_name] = new
        packed = {(id(layer), name) for layer, name in self.owners}
        self.parked = [
            (layer, name, {slot: array.copy() for slot, array in slots.items()})
            for layer, name, slots in known
            if (id(layer), name) not in packed
        ]

    def release(self) -> None:
        """Make arrays of their own of the parameters that are still views, those that are frozen now: a small one would
        keep the whole buffer."""
        for layer, name in self.owners:
            parameter = layer.params.get(name)
            if parameter is not None and parameter.base is self.weights:
                layer.params[name] = parameter.copy()
                layer.grads[name] = np.zeros_like(parameter)

    def collect_gradients(self) -> None:
        """Take over gradients that a caller's layer put into `grads` as new arrays, not writing into its views.

        Raises ShapeError if one has not the shape of its parameter.
        """
        for (layer, name), segment in zip(self.owners, self.segments, strict=True):
            if getattr(layer.grads[name], "base", None) is not self.gradients:
                given, view = np.asarray(layer.grads[name]), self.gradients[segment].reshape(layer.params[name].shape)
                layer.grads[name] = view
                if given.shape != view.shape:
                    raise ShapeError(
                        f"{layer}: backward set grads[{name!r}] of shape {given.shape}, and the parameter has "
                        f"{view.shape}; sum over the samples alone."
                    )
                view[...] = given

    def penalty(self, kernels: KernelSet) -> float:
        """The sum of the regularizers' penalties, for the weights as they are."""
        nothing = self.gradients[:0]
        return sum((r.penalize(weights, nothing, kernels) for r, weights, _ in self._penalized()), 0.0)

    def add_penalties(self, kernels: KernelSet) -> float:
        """The same, and each regularizer's gradient is added to its parameter's."""
        return sum((r.penalize(weights, gradients, kernels) for r, weights, gradients in self._penalized()), 0.0)

    def _penalized(self) -> Iterator[tuple[Regularizer, Array, Array]]:
        for layer, name in self.owners:
            if name in layer.regularizers:
                yield layer.regularizers[name], layer.params[name], layer.grads[name]


def _slices(sizes: Iterable[int]) -> Iterator[slice]:
    start = 0
    for size in sizes:
        yield slice(start, start + size)
        start += size
