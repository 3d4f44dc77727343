"""Sequential: layers one after the other. Also load_model and clone_model.

What it can do is told in five files, each class the base of the next one:

    Feeding      feeding.py     what callers give it (arrays, batches, labels), checked and cut into batches
    Evaluator    evaluation.py  evaluate, predict, calls; the plan of steps, and the buffer of the parameters
    Trainer      training.py    compile, fit, train_on_batch
    LayerStack   stack.py       the list of layers and what is made of it: layers, seed, dtype, kernels; building
    Sequential   models.py      weights, configs and files
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from minicnn.activations import Activation
from minicnn.arguments import refuse
from minicnn.batches import as_numeric
from minicnn.errors import ConfigError, ShapeError
from minicnn.initializers import Initializer
from minicnn.regularizers import Regularizer
from minicnn.stack import LayerStack
from minicnn.summary import summary_text
from minicnn.typing import Array, Config


class Sequential(LayerStack):
    """A model whose layers run one after the other.

        model = Sequential(
            [Input((28, 28, 1)), Conv2D(32, 3, activation="relu"), Flatten(), Dense(10, activation="softmax")]
        )
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(x_train, y_train, epochs=3)

    The weights are made as soon as the shape of a sample is known: from Input, from input_shape= on the first layer, or
    from the first data.

    Args:
        layers: Layer objects in order; more can be added.
        trainable: False for a model that is not to be trained; see the property.
        name: None picks sequential, sequential_1, ...
        seed: of weights, shuffling and dropout; None draws one. The same seed gives the same bits.
        dtype: "float32" or "float64", throughout.
        kernels: "numba" (fast) or "numpy" (readable, for stepping through).
    """

    # -- weights

    def get_weights(self) -> list[Array]:
        """Copies of all arrays: layer by layer, parameters then state, as in Keras."""
        self._need_built("get_weights")
        return [array for layer in self.layers for array in layer.get_weights()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Take over arrays in the order of get_weights.

        Raises ShapeError or DataError, having changed nothing, unless all fit and hold numbers.
        """
        self._need_built("set_weights")
        if not isinstance(weights, Iterable):
            raise ConfigError(f"{self}: set_weights takes a list of arrays, got {weights!r}.")
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

    def summary(
        self,
        line_length: int | None = None,
        positions: Any = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Any = None,
    ) -> None:
        """Print the layers with output shapes and numbers of parameters; print_fn takes the lines instead of print.

        The table has the form of Keras 2.3 to 2.6. Keras's other arguments raise ConfigError.
        """
        refuse(
            f"{self}: summary",
            line_length=(line_length, None),
            positions=(positions, None),
            expand_nested=(expand_nested, False),
            show_trainable=(show_trainable, False),
            layer_range=(layer_range, None),
        )
        self._need_built("summary")
        for line in summary_text(self.name, self.layers, self._count_trained()).splitlines():
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
        """The model that get_config described, with fresh weights. kwargs: seed, dtype, kernels; dtype is the layers'
        if not given. custom_objects: the caller's own classes by name, of layers and of what they are made with."""
        from minicnn.saving.building import make_layer
        from minicnn.saving.dialects import LayerEntry

        if not isinstance(config, Mapping) or not isinstance(config.get("layers"), (list, tuple)):
            raise ConfigError(f"Sequential: from_config takes what get_config returns, with 'layers'; got {config!r}.")
        for entry in config["layers"]:
            if (
                not isinstance(entry, Mapping)
                or not isinstance(entry.get("config"), Mapping)
                or "class_name" not in entry
            ):
                raise ConfigError(
                    f"Sequential: from_config takes layers as dicts of 'class_name' and 'config', got {entry!r}."
                )
        dtypes = [entry["config"].get("dtype") for entry in config["layers"] if entry["class_name"] != "InputLayer"]
        stated = next(filter(None, dtypes), None)
        if stated is not None:
            kwargs.setdefault("dtype", stated)  # layers of another dtype are refused
        model = cls(name=config.get("name"), **kwargs)
        for entry in config["layers"]:
            model.add(make_layer(LayerEntry(entry["class_name"], dict(entry["config"])), dict(custom_objects or {})))
        return model

    def to_json(self, **options: Any) -> str:
        """The layers, without weights and training, as a text that model_from_json and Keras's read.

        options: of json.dumps, indent=2 for one.
        """
        from minicnn.saving.model_io import to_json

        text = to_json(self)
        return json.dumps(json.loads(text), **options) if options else text

    def save(
        self,
        filepath: str | os.PathLike[str],
        overwrite: bool = True,
        zipped: Any = None,
        include_optimizer: bool = True,
        optimizer_for: str = "keras3",
        save_format: str | None = None,
    ) -> None:
        """Write architecture, weights and, if compiled, the state of training to one file that Keras reads.

        filepath: ends in .keras (read by Keras 2.12 to 3.15, which train on from it), or in .h5 or .hdf5 (read by 2.4
        to 3.15). include_optimizer: False leaves the training section out. optimizer_for: "keras3" or "keras2", the one
        that is to train on. In an .h5 file "keras3" keeps the optimizer's state where Keras does not look, since
        Keras 3 cannot train on from it there; in a .keras file each takes over its own state alone. minicnn goes on
        from all of them. Parameters that are frozen have no optimizer state in the file: thawed after loading, they
        begin with new slots. The file appears whole or not at all; the same model gives the same bytes. Raises
        ConfigError, NotBuiltError or FileFormatError.
        """
        from minicnn.saving.model_io import save_model

        refuse(f"{self}: save", zipped=(zipped, None), save_format=(save_format, _format_of(filepath, save_format)))
        save_model(self, filepath, overwrite, include_optimizer, optimizer_for)

    def save_weights(
        self, filepath: str | os.PathLike[str], overwrite: bool = True, max_shard_size: Any = None
    ) -> None:
        """Write the weights alone: in Keras 3's layout, with the optimizer's state, to a name that ends in .weights.h5;
        to other names in .h5 in Keras 2's, which every Keras reads.
        """
        from minicnn.saving.model_io import save_weights

        refuse(f"{self}: save_weights", max_shard_size=(max_shard_size, None))
        save_weights(self, filepath, overwrite)

    def load_weights(
        self,
        filepath: str | os.PathLike[str],
        skip_mismatch: bool = False,
        by_name: bool = False,
        backend: str | None = None,
        data_format: str | None = None,
    ) -> None:
        """Take over the weights of a weights or model file, of any Keras. What counts is its content, not its name.

        From a file in Keras 3's layout an optimizer that has trained takes over its state too, as in Keras.
        backend: of the Keras that wrote the file, where the file does not say: "theano" holds convolution kernels
        turned. data_format: "channels_first" if a file of weights alone, or one of a model that minicnn does not
        understand, is from a model of maps (channels, height, width), whose kernels after a Flatten follow another
        order.
        Raises FileFormatError, having changed nothing, if they do not fit.
        """
        from minicnn.saving.model_io import load_weights

        refuse(f"{self}: load_weights", skip_mismatch=(skip_mismatch, False), by_name=(by_name, False))
        load_weights(self, filepath, backend, data_format)

    def __getstate__(self) -> dict[str, Any]:
        """Without plans, which are made again when needed, and without the fit that is under way."""
        return {**self.__dict__, "_plans": {}, "history": None, "running": None}


def load_model(
    filepath: str | os.PathLike[str],
    custom_objects: Mapping[str, type] | None = None,
    compile: bool = True,
    **kwargs: Any,
) -> Sequential:
    """The model in a file written by minicnn or Keras: layers, weights and, with compile=True, the state of training.

    custom_objects: the caller's own layer, loss, metric and activation classes (and metric functions) by name. Nothing
    else in a file is ever executed or imported. kwargs: seed, dtype, kernels of the Sequential; backend: "theano" for a
    file that was written with it and does not say so; input_shape, (height, width, channels), for a model that takes
    maps of any size or does not say theirs. What acts in training alone and minicnn does not have (constraints,
    activity regularizers, layers of noise) is left out with a warning. Models of maps (channels,
    height, width) come as ones of (height, width, channels); functional models that are a chain, and nested ones, as
    one Sequential.
    Raises FileFormatError for a file that is damaged, of another kind, missing, or holds what minicnn does not have.
    """
    from minicnn.saving.model_io import load_model as load

    return load(filepath, custom_objects, compile, **kwargs)


def model_from_json(json_string: str, custom_objects: Mapping[str, Any] | None = None) -> Sequential:
    """The model, with fresh weights, whose layers are in a text that to_json wrote, here or in Keras.

    custom_objects: as in load_model. Raises FileFormatError for a text that is damaged or has what minicnn does not
    have, ConfigError for what is no text.
    """
    from minicnn.saving import model_io

    return model_io.model_from_json(json_string, custom_objects)


def clone_model(
    model: Sequential,
    input_tensors: Any = None,
    clone_function: Any = None,
    call_function: Any = None,
    recursive: bool = False,
    **kwargs: Any,
) -> Sequential:
    """A model of the same layers and names with fresh weights, uncompiled.

    Keras's other arguments raise ConfigError.
    """
    if not isinstance(model, Sequential):
        raise ConfigError(f"clone_model: takes a Sequential, got {model!r}.")
    refuse(
        "clone_model",
        input_tensors=(input_tensors, None),
        clone_function=(clone_function, None),
        call_function=(call_function, None),
        recursive=(recursive, False),
        **{name: (value, None) for name, value in kwargs.items()},
    )
    clone = Sequential(name=model.name, dtype=model.dtype, kernels=model.kernels)
    for layer in ([model._input] if model._input is not None else []) + model.layers:
        config = layer.get_config()
        parts = {key: vars(layer)[key] for key in config if isinstance(vars(layer).get(key), _PARTS)}
        clone.add(type(layer).from_config({**config, **parts}))  # parts as they are: the caller's classes among them
    return clone


def _format_of(filepath: Any, given: str | None) -> str | None:
    """The save_format that a file's name stands for, if that is the one given; else None, so that it is refused."""
    endings = {"h5": (".h5", ".hdf5"), "keras": (".keras",)}
    return given if given in endings and str(filepath).lower().endswith(endings[given]) else None


_PARTS = (Activation, Initializer, Regularizer)
