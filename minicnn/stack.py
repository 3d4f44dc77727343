"""LayerStack: layers one on the other, their shapes and how they are built."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np

from minicnn.arguments import refuse, seed_or_none
from minicnn.errors import ConfigError, NotBuiltError, ShapeError
from minicnn.kernels import kernel_set
from minicnn.layers import InputLayer, Layer
from minicnn.layers.shapes import batched, float_dtype, sample_shape
from minicnn.naming import automatic_name
from minicnn.training import Trainer
from minicnn.typing import Shape


class LayerStack(Trainer):
    """The structure of a Sequential: which layers there are, which shapes go through them, and when they are built."""

    def __init__(
        self,
        layers: Iterable[Layer] | None = None,
        trainable: bool = True,
        name: str | None = None,
        *,
        seed: int | None = None,
        dtype: Any = "float32",
        kernels: Any = "numba",
    ) -> None:
        super().__init__()
        if name is not None and not isinstance(name, str):
            raise ConfigError(f"Sequential: name must be a string, got {name!r}; layers go into a list.")
        if isinstance(layers, Layer) or (layers is not None and not isinstance(layers, Iterable)):
            raise ConfigError(f"Sequential: layers must be a list of layers, got {layers!r}; put it into a list.")
        seed = seed_or_none(seed, "Sequential")
        self.seed_given = seed is not None  # otherwise one was drawn, and another one will be in the next process
        self.name = name or automatic_name("Sequential")
        self.dtype = float_dtype(dtype, str(self))
        self.kernels = kernel_set(kernels)
        self.seed = int(np.random.SeedSequence().entropy % 2**63) if seed is None else int(seed)  # type: ignore[operator]
        self.layers: list[Layer] = []
        self._input: InputLayer | None = None
        self._input_of: Layer | None = None  # the first layer, where the input is from its input_shape
        for layer in layers or ():
            self.add(layer)
        self._trainable = bool(trainable)

    def add(self, layer: Layer, rebuild: bool = True) -> None:
        """Append a layer. Raises ConfigError or ShapeError, leaving the model as it was, if it does not fit."""
        refuse(f"{self}: add", rebuild=(rebuild, True))
        if isinstance(layer, type) and issubclass(layer, Layer):
            raise ConfigError(
                f"{self}: add takes a layer object, got the class {layer.__name__}; call it: {layer.__name__}(...)."
            )
        if not isinstance(layer, Layer):
            nested = "; add its layers one by one: *inner.layers" if isinstance(layer, LayerStack) else ""
            raise ConfigError(f"{self}: add takes a layer, got {layer!r}{nested}.")
        layer.check_initialized()
        if isinstance(layer, InputLayer):
            self._add_input(layer)
            return
        if self._input_of is not None and self._input is not None and layer.name == self._input.name:
            self._input.name = automatic_name("InputLayer")  # which was automatic too
        named = [*self.layers, *([] if self._input is None else [self._input])]
        if any(layer.name == other.name for other in named):
            raise ConfigError(
                f"{self}: has a layer named {layer.name!r} already; give this {type(layer).__name__} another name=."
            )
        layer.check_dtype(self.dtype)
        declared, shape = layer.declared_input_shape, self._next_shape()
        if declared is not None and shape is not None and declared != shape:
            raise ShapeError(
                f"{self}: {layer} says input_shape={declared}, but is given {batched(shape)}; leave input_shape out."
            )
        begins = shape is None and not self.layers
        if begins:
            shape = layer.input_shape if declared is None else declared  # of a layer that another model has built
        if shape is not None:
            layer.ensure_built(shape, self.dtype, self._generator(len(self.layers)))
        if begins and shape is not None:
            self._input, self._input_of = InputLayer(shape, name=f"{layer.name}_input"), layer
        self.layers.append(layer)

    def _add_input(self, layer: InputLayer) -> None:
        if self.layers or self._input is not None:
            raise ConfigError(f"{self}: {layer} must come first, and once; the model has an input or layers already.")
        self._input = layer

    def pop(self, rebuild: bool = True) -> Layer:
        """Remove the last layer and return it. Raises ConfigError if there is none."""
        refuse(f"{self}: pop", rebuild=(rebuild, True))
        if not self.layers:
            raise ConfigError(f"{self}: has no layer to pop.")
        layer = self.layers.pop()
        if layer is self._input_of:
            self._input = self._input_of = None
        return layer

    def build(self, input_shape: Any = None) -> None:
        """Make the weights for input_shape, which has the batch in front: (None, 28, 28, 1).

        Raises ShapeError if the model is built for another shape.
        """
        if input_shape is None and self._input is None:
            raise ConfigError(f"{self}: build needs input_shape=(None, height, width, channels).")
        if input_shape is None:
            return
        if not isinstance(input_shape, (tuple, list)) or not input_shape:
            raise ConfigError(f"{self}: build needs a shape with the batch in front, (None, ...); got {input_shape!r}.")
        sample = sample_shape(input_shape[1:], str(self))
        self.check_input(sample, "build")
        self.build_for(sample)

    def build_for(self, sample: Shape) -> None:
        """Make the weights for samples of this shape (without the batch), unless they are made."""
        if self._input is not None:
            return
        self.output_shape_for(sample)  # every layer fits, or nothing is built
        shape = tuple(sample)
        for index, layer in enumerate(self.layers):
            layer.ensure_built(shape, self.dtype, self._generator(index))
            shape = layer.output_shape(shape)
        self._input = InputLayer(tuple(sample))

    def _generator(self, index: int) -> np.random.Generator:
        """The random numbers for the weights of the layer at this place: a function of the seed and the place."""
        return np.random.default_rng([self.seed, index])

    def _next_shape(self) -> Shape | None:
        """The input shape of the layer that comes next, if known."""
        if self.layers and self.layers[-1].input_shape is not None:
            return self.layers[-1].output_shape(self.layers[-1].input_shape)
        return self._input.declared_input_shape if self._input is not None and not self.layers else None

    @property
    def built(self) -> bool:
        return bool(self.layers) and all(layer.built for layer in self.layers)

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """(None, ...): the shape of a batch. Raises NotBuiltError before it is known."""
        if self._input is None or self._input.declared_input_shape is None:
            raise NotBuiltError(f"{self}: has no input shape yet; give the first layer input_shape=... or call build.")
        return (None, *self._input.declared_input_shape)

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """(None, ...): the shape of the outputs for a batch."""
        return (None, *self.output_shape_for(tuple(n for n in self.input_shape[1:] if n is not None)))

    def check_input(self, sample: Shape, owner: str) -> None:
        if not self.layers:
            raise NotBuiltError(f"{owner}: {self} has no layers; add some first.")
        if self._input is not None and tuple(sample) != self.input_shape[1:]:
            raise ShapeError(
                f"{owner}: {self} takes samples {self.input_shape}, got {batched(sample)}; "
                f"{_sample_remedy(self.input_shape, sample)}"
            )
        if self._input is None:
            self.output_shape_for(sample)

    def output_shape_for(self, sample: Shape) -> Shape:
        shape = tuple(sample)
        if min(shape, default=1) < 1:
            raise ShapeError(f"{self}: got {batched(shape)}, samples without a number; give at least one on each axis.")
        for layer in self.layers:
            layer.check_dtype(self.dtype)
            layer.check_rank(shape)
            layer.check_built_for(shape)
            shape = layer.output_shape(shape)
        return shape

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of that name, or at that place. Raises ConfigError if there is none, or for both at once."""
        if index is not None and name is not None:
            raise ConfigError(f"{self}: get_layer got the name {name!r} and the index {index!r}; give one of them.")
        if index is not None:
            whole = isinstance(index, Integral) and not isinstance(index, bool)
            if not whole or not -len(self.layers) <= index < len(self.layers):
                raise ConfigError(f"{self}: has {len(self.layers)} layers, none at index {index}.")
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ConfigError(
            f"{self}: has no layer named {name!r}; its layers are {[layer.name for layer in self.layers]}."
        )

    @property
    def trainable(self) -> bool:
        """Whether training changes anything. Setting it sets every layer too; as in Keras, a layer that is thawed on
        its own is not trained while its model is frozen."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for layer in self.layers:
            layer.trainable = bool(value)

    def __str__(self) -> str:
        return f"{type(self).__name__} '{self.name}'"

    def __repr__(self) -> str:
        return f"<{self} of {len(self.layers)} layers>"


def _sample_remedy(wanted: tuple[int | None, ...], sample: Shape) -> str:
    if (None, *sample, 1) == wanted:
        return "add the channel axis with x[..., None]."
    if tuple(sample) == wanted[2:]:
        return "give a batch of samples; for a single one x[None]."
    return "reshape the data or give the first layer that input_shape."
