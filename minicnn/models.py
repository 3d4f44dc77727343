"""Sequential: layers one after the other. Also load_model and clone_model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.batches import as_numeric
from minicnn.errors import ConfigError, NotBuiltError, ShapeError
from minicnn.kernels import kernel_set
from minicnn.layers import LAYERS, InputLayer, Layer
from minicnn.layers.base import batched, float_dtype, sample_shape
from minicnn.lookup import class_named
from minicnn.naming import automatic_name
from minicnn.summary import summary_text
from minicnn.training import Trainer
from minicnn.typing import Array, Config, Shape


class Sequential(Trainer):
    """A model whose layers run one after the other.

        model = Sequential([Input((28, 28, 1)), Conv2D(32, 3, activation="relu"), Flatten(), Dense(10,
        activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(x_train, y_train, epochs=3)

    The weights are made as soon as the shape of a sample is known: from Input, from input_shape= on the first layer, or
    from the first data.

    Args:
        layers: Layer objects in order; more can be added.
        trainable: False freezes every layer.
        name: None picks sequential, sequential_1, ...
        seed: of weights, shuffling and dropout; None draws one. The same seed gives the same bits.
        dtype: "float32" or "float64", throughout.
        kernels: "numba" (fast) or "numpy" (readable, for stepping through).
    """

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
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0):
            raise ConfigError(f"Sequential: seed must be a non-negative integer or None, got {seed!r}.")
        self.name = name or automatic_name("Sequential")
        self.dtype = float_dtype(dtype, str(self))
        self.kernels = kernel_set(kernels)
        self.seed = int(np.random.SeedSequence().entropy % 2**63) if seed is None else int(seed)  # type: ignore[operator]
        self.layers: list[Layer] = []
        self._input: InputLayer | None = None
        for layer in layers or ():
            self.add(layer)
        if not trainable:
            self.trainable = False

    # -- structure

    def add(self, layer: Layer) -> None:
        """Append a layer. Raises ConfigError or ShapeError, leaving the model as it was, if it does not fit."""
        if isinstance(layer, type) and issubclass(layer, Layer):
            raise ConfigError(
                f"{self}: add takes a layer object, got the class {layer.__name__}; call it: {layer.__name__}(...)."
            )
        if not isinstance(layer, Layer):
            raise ConfigError(f"{self}: add takes a layer, got {layer!r}.")
        if isinstance(layer, InputLayer):
            self._add_input(layer)
            return
        if any(layer.name == other.name for other in self.layers):
            raise ConfigError(
                f"{self}: has a layer named {layer.name!r} already; give this {type(layer).__name__} another name=."
            )
        if not self.layers and self._input is None and layer.declared_input_shape is not None:
            layer.output_shape(layer.declared_input_shape)
            self._input = InputLayer(layer.declared_input_shape, name=f"{layer.name}_input")
        shape = self._next_shape()
        if shape is not None:
            layer.ensure_built(shape, self.dtype, self._generator(len(self.layers)))
        self.layers.append(layer)

    def _add_input(self, layer: InputLayer) -> None:
        if self.layers or self._input is not None:
            raise ConfigError(f"{self}: {layer} must come first, and once; the model has an input or layers already.")
        self._input = layer

    def pop(self) -> Layer:
        """Remove the last layer and return it. Raises ConfigError if there is none."""
        if not self.layers:
            raise ConfigError(f"{self}: has no layer to pop.")
        return self.layers.pop()

    def build(self, input_shape: Any = None) -> None:
        """Make the weights for input_shape, which has the batch in front: (None, 28, 28, 1)."""
        if input_shape is None and self._input is None:
            raise ConfigError(f"{self}: build needs input_shape=(None, height, width, channels).")
        if input_shape is not None:
            self.build_for(sample_shape(tuple(input_shape)[1:], str(self)))

    def build_for(self, sample: Shape) -> None:
        """Make the weights for samples of this shape (without the batch), unless they are made."""
        if self._input is not None:
            return
        self.output_shape_for(sample)  # every layer fits, or nothing is built
        self._input = InputLayer(sample)
        shape = tuple(sample)
        for index, layer in enumerate(self.layers):
            layer.ensure_built(shape, self.dtype, self._generator(index))
            shape = layer.output_shape(shape)

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
        for layer in self.layers:
            layer.check_rank(shape)
            shape = layer.output_shape(shape)
        return shape

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of that name, or at that place. Raises ConfigError if there is none."""
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
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
        """Whether any layer is trained. Setting it sets every layer."""
        return any(layer.trainable for layer in self.layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.layers:
            layer.trainable = bool(value)

    # -- weights

    def get_weights(self) -> list[Array]:
        """Copies of all arrays: layer by layer, parameters then state, as in Keras."""
        self._need_built("get_weights")
        return [array for layer in self.layers for array in layer.get_weights()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Take over arrays in the order of get_weights. Raises ShapeError or DataError, having changed nothing, unless
        all fit and hold numbers."""
        self._need_built("set_weights")
        own = [(layer, name, a) for layer in self.layers for name, a in layer.weights().items()]
        new = [as_numeric(w, f"{self}: set_weights") for w in weights]
        if len(new) != len(own):
            raise ShapeError(f"{self}: holds {len(own)} arrays, got {len(new)}; give them in the order of get_weights.")
        for (layer, name, array), value in zip(own, new, strict=True):
            if value.shape != array.shape:
                raise ShapeError(
                    f"{self}: {layer} has {name} of shape {array.shape}, got {value.shape}; check the order."
                )
        for (_, _, array), value in zip(own, new, strict=True):
            array[...] = value

    def count_params(self) -> int:
        """How many numbers the model holds, trained or not."""
        self._need_built("count_params")
        return sum(layer.count_params() for layer in self.layers)

    def summary(self, print_fn: Callable[[str], Any] | None = None) -> None:
        """Print the layers with output shapes and numbers of parameters; print_fn takes the lines instead of print."""
        self._need_built("summary")
        for line in summary_text(self.name, self.layers).splitlines():
            (print_fn or print)(line)

    # -- configuration and files

    def get_config(self) -> Config:
        """The model as JSON values: name and layers, each with class_name and config, the input first if known."""
        layers = ([self._input] if self._input is not None else []) + self.layers
        return {
            "name": self.name,
            "layers": [{"class_name": type(layer).__name__, "config": layer.get_config()} for layer in layers],
        }

    @classmethod
    def from_config(cls, config: Config, custom_objects: Mapping[str, type] | None = None, **kwargs: Any) -> Sequential:
        """The model that get_config described, with fresh weights. kwargs: seed, dtype, kernels."""
        model = cls(name=config.get("name"), **kwargs)
        for entry in config["layers"]:
            layer_class = class_named("layer", Layer, LAYERS, entry["class_name"], custom_objects)
            model.add(layer_class.from_config(dict(entry["config"])))
        return model

    def save(
        self,
        filepath: str | os.PathLike[str],
        overwrite: bool = True,
        include_optimizer: bool = True,
        optimizer_for: str = "keras3",
    ) -> None:
        """Write architecture, weights and, if compiled, the state of training to an HDF5 file that Keras 2 and 3 read.

        filepath: ends in .h5 or .hdf5. include_optimizer: False leaves the training section out. optimizer_for:
        "keras3" keeps the optimizer's state where Keras does not look, since Keras 3 cannot train on from it; "keras2"
        writes it where Keras 2 reads it. The file appears whole or not at all. Raises ConfigError, NotBuiltError or
        FileFormatError.
        """
        from minicnn.saving.model_io import save_model

        save_model(self, Path(filepath), overwrite, include_optimizer, optimizer_for)

    def save_weights(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Write the weights alone, as Keras 2's save_weights does; every Keras reads the file."""
        from minicnn.saving.model_io import save_weights

        save_weights(self, Path(filepath), overwrite)

    def load_weights(self, filepath: str | os.PathLike[str]) -> None:
        """Take over the weights of a weights or model file. Raises FileFormatError, having changed nothing, if they do
        not fit."""
        from minicnn.saving.model_io import load_weights

        load_weights(self, Path(filepath))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plans": {}, "history": None}  # plans are made again when needed

    def __str__(self) -> str:
        return f"Sequential '{self.name}'"

    def __repr__(self) -> str:
        return f"<{self} of {len(self.layers)} layers>"


def load_model(
    filepath: str | os.PathLike[str],
    custom_objects: Mapping[str, type] | None = None,
    compile: bool = True,
    **kwargs: Any,
) -> Sequential:
    """The model in a file written by minicnn or Keras: layers, weights and, with compile=True, the state of training.

    custom_objects: the caller's own layer, loss, metric and activation classes (and metric functions) by name; nothing
    else in a file is ever
    executed or imported. kwargs: seed, dtype, kernels of the Sequential. Raises FileFormatError for a file that is
    damaged, of another kind, missing, or holds what minicnn does not have.
    """
    from minicnn.saving.model_io import load_model as load

    return load(Path(filepath), custom_objects, compile, **kwargs)


def clone_model(model: Sequential) -> Sequential:
    """A model of the same layers and names with fresh weights, uncompiled."""
    custom = {type(layer).__name__: type(layer) for layer in model.layers}
    return Sequential.from_config(model.get_config(), custom, dtype=model.dtype, kernels=model.kernels)


def _sample_remedy(wanted: tuple[int | None, ...], sample: Shape) -> str:
    if (None, *sample, 1) == wanted:
        return "add the channel axis with x[..., None]."
    if tuple(sample) == wanted[2:]:
        return "give a batch of samples; for a single one x[None]."
    return "reshape the data or give the first layer that input_shape."
