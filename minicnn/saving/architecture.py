"""The model in a file's configuration as one list of layers: Sequential, functional chains, and those nested.

Keras 3 writes {"class_name", "config": {"name", "layers": [...]}}; Keras up to 2.1.5 has the bare list for a
Sequential's config. A functional model ("Functional", "Model" before 2.4) adds to each layer its name and
`inbound_nodes`, the calls that it is the result of:

    Keras 2   [[["previous", 0, 0, {}]]]                             a list of calls, each with a list of inputs
    Keras 3   [{"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["previous", 0, 0]}}], ...}]

It is read if its layers follow each other from one input to one output, each called once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from minicnn.errors import ConfigError
from minicnn.naming import snake_case
from minicnn.saving import dialects
from minicnn.saving.channels_first import to_channels_last
from minicnn.saving.dialects import LayerEntry
from minicnn.typing import Config

MAX_NAME = 1000
"""Characters of a layer's or model's name at most."""

MAX_LAYERS = 4096
"""More layers than any Sequential has; a file that lists more would only keep the loader busy."""

_MAX_NESTING = 16
FUNCTIONAL = ("Functional", "Model")
MODELS = ("Sequential", *FUNCTIONAL)
"""The classes that hold layers."""
_NARROW = {"float16", "bfloat16", "mixed_float16", "mixed_bfloat16"}


@dataclass
class ModelEntry:
    """A Sequential. layers: in the order in which they compute, nested models taken apart.

    dtype: "float32" or "float64", of all layers; None where the file does not say. narrow: names of types with fewer
    digits than float32, in which layers of the file compute.
    """

    name: str | None
    layers: list[LayerEntry]
    dtype: str | None = None
    narrow: tuple[str, ...] = ()

    def units(self) -> list[list[int]]:
        """The layers, by number, that the model's list has as one: several for a nested model, in the file's order."""
        numbers = sorted(range(len(self.layers)), key=lambda number: self.layers[number].order)
        units: dict[int, list[int]] = {}
        for number in numbers:
            units.setdefault(self.layers[number].order[0], []).append(number)
        return list(units.values())

    def left_out(self) -> list[str]:
        """In words, what the file's layers do in training and these do not."""
        return [part for layer in self.layers for part in layer.left_out]


def model_from_keras(config: Config, callers: Collection[str] = ()) -> ModelEntry:
    """The layers of a model_config. callers: names of classes whose configurations are the caller's own affair.

    Raises ConfigError for what is no chain of layers, or damaged.
    """
    listed = list_of_layers(config, "the model")
    layers = _chain(config, _parsed(config, "", callers))
    _drop_inner_inputs(layers)
    _name_apart(layers)
    arguments = config.get("config")
    known = arguments if isinstance(arguments, dict) else {}
    name, declared = known.get("name"), known.get("build_input_shape")
    if not isinstance(name, str | None):
        raise ConfigError("the model's list of layers or its name is damaged; get the file anew.")
    if declared and layers and "batch_shape" not in layers[0].config:
        layers[0].config["batch_shape"] = dialects.any_batch(declared)
    layers = to_channels_last(layers, callers)
    dtypes = {dialects.dtype_name((entry.get("config") or {}).get("dtype")) for entry in _leaves(listed)}
    narrow = tuple(sorted(dtypes & _NARROW))
    return ModelEntry(name, layers, "float64" if "float64" in dtypes else None, narrow)


def model_to_keras(name: str, layers: list[Config]) -> Config:
    """The model_config of these entries."""
    return {"class_name": "Sequential", "config": {"name": name, "layers": layers}}


def class_names(config: Config) -> Iterator[tuple[str, str]]:
    """The number ("3", or "3.0" in a nested model) and the class of every layer, in the file's order."""
    pending = [("", entry) for entry in [config]]
    while pending:
        where, entry = pending.pop()
        name = class_of(entry)
        if name in MODELS and list_in(entry) is not None:
            listed = list_in(entry) or []
            inner = [(f"{where}.{number}".lstrip("."), layer) for number, layer in enumerate(listed)]
            pending += reversed(inner)
        elif where and name is not None:
            yield where, dialects.class_in_use(name)


def list_of_layers(config: Any, where: str, depth: int = 0) -> list[Any]:
    """The list in a Sequential's or functional model's configuration. Raises ConfigError if it is none."""
    class_name, _ = dialects.parts(config, where)
    if class_name not in MODELS:
        raise ConfigError(
            f"{where} is a {class_name}; minicnn reads Sequential models and functional chains of layers, use Keras."
        )
    listed = list_in(config)
    if listed is None:
        raise ConfigError(f"{where}'s list of layers or its name is damaged; get the file anew.")
    if len(listed) > MAX_LAYERS:
        raise ConfigError(
            f"{where} has {len(listed)} layers, more than the {MAX_LAYERS} that minicnn reads; use Keras."
        )
    if depth > _MAX_NESTING:
        raise ConfigError(
            f"{where}: models are nested more than {_MAX_NESTING} deep; it is damaged or hostile, do not use it."
        )
    return listed


def class_of(entry: Any) -> str | None:
    """The class of an entry in a list of layers, without its package; None if the entry is damaged."""
    name = entry.get("class_name") if isinstance(entry, dict) else None
    return name.rpartition(">")[2] if isinstance(name, str) else None


def list_in(entry: Any) -> list[Any] | None:
    """The list of layers of a model's entry, or None."""
    arguments = entry.get("config")
    listed = arguments.get("layers") if isinstance(arguments, dict) else arguments
    return listed if isinstance(listed, list) else None


def _leaves(listed: list[Any]) -> Iterator[Config]:
    for entry in listed:
        inner = list_in(entry) if class_of(entry) in MODELS else None
        if inner is not None:
            yield from _leaves(inner)
        elif isinstance(entry, dict) and isinstance(entry.get("config"), dict):
            yield entry


def _parsed(config: Config, where: str, callers: Collection[str], depth: int = 0) -> list[list[LayerEntry]]:
    """By entry of the model's list: its layer, or the nested model's layers in the order in which they compute."""
    counts: Counter[str] = Counter()
    units = []
    for number, entry in enumerate(list_of_layers(config, where or "the model", depth)):
        place = f"{where}.{number}".lstrip(".")
        class_name, arguments = dialects.parts(entry, f"layer {place}")
        said = arguments.get("name") if isinstance(arguments, dict) else None
        if isinstance(said, str) and len(said) > MAX_NAME:
            raise ConfigError(
                f"layer {place}: its name has {len(said):,} characters; minicnn reads up to {MAX_NAME:,}."
            )
        group = (snake_case(class_name), counts[snake_case(class_name)])
        counts[group[0]] += 1
        if class_name in MODELS and class_name not in callers:
            inner = _chain(entry, _parsed(entry, place, callers, depth + 1), f"layer {place}")
            if isinstance(arguments, dict) and arguments.get("trainable") is False:
                inner = [replace(layer, config={**layer.config, "trainable": False}) for layer in inner]
            outer = arguments.get("name") if isinstance(arguments, dict) else None
            for layer in inner:
                layer.parents = (str(outer or f"layer_{number}"), *layer.parents)
        else:
            inner = [dialects.layer_from_keras(entry, f"layer {place}", callers)]
        units.append([replace(layer, order=(number, *layer.order), group=(group, *layer.group)) for layer in inner])
    if sum(map(len, units)) > MAX_LAYERS:
        raise ConfigError(f"the model has more layers than the {MAX_LAYERS} that minicnn reads.")
    return units


def _chain(config: Config, units: list[list[LayerEntry]], where: str = "the model") -> list[LayerEntry]:
    """The layers in the order in which they compute. Raises ConfigError for a functional model that is no chain."""
    if class_of(config) not in FUNCTIONAL:
        return [layer for unit in units for layer in unit]
    arguments = config["config"]
    if not isinstance(arguments, dict):
        raise ConfigError(f"{where}'s list of layers or its name is damaged; get the file anew.")
    names = [_node_name(entry) for entry in arguments["layers"]]
    inputs, outputs = (_ends(arguments.get(key)) for key in ("input_layers", "output_layers"))
    if len(inputs) != 1 or len(outputs) != 1:
        raise ConfigError(
            f"{where} has {len(inputs)} inputs and {len(outputs)} outputs; "
            "minicnn reads chains from one to one, use Keras."
        )
    before = {}
    for name, entry in zip(names, arguments["layers"], strict=True):
        sources = _sources(entry, f"{where}, layer {name!r}")
        if sources != [] if name == inputs[0] else len(sources) != 1:
            raise ConfigError(
                f"{where} is no chain: layer {name!r} has the inputs {sources}; minicnn reads functional models whose "
                "layers follow each other, use Keras."
            )
        before[name] = sources
    path = [outputs[0]]
    while path[-1] in before and before[path[-1]] and len(path) <= len(names):
        path.append(before[path[-1]][0])
    if sorted(path) != sorted(names):
        raise ConfigError(
            f"{where} is no chain: its {len(names)} layers do not all lie between input and output; use Keras."
        )
    numbers = {name: number for number, name in enumerate(names)}
    return [layer for name in reversed(path) for layer in units[numbers[name]]]


def _ends(value: Any) -> list[str]:
    """The layers of a model's inputs or outputs, which Keras 3 may know by names of their own."""
    return _tensors(list(value.values()) if isinstance(value, dict) else value)


def _node_name(entry: Config) -> str:
    arguments = entry.get("config")
    inner = arguments.get("name") if isinstance(arguments, dict) else None
    return str(entry.get("name", inner))


def _sources(entry: Config, where: str) -> list[str]:
    """The names of the layers whose outputs go into this one."""
    calls = entry.get("inbound_nodes", [])
    if not isinstance(calls, list) or len(calls) > 1:
        raise ConfigError(
            f"{where}: is called more than once; minicnn reads models that use each layer once, use Keras."
        )
    names: list[str] = []
    for call in calls:
        extra = call.get("kwargs") if isinstance(call, dict) else None
        names += _tensors(call.get("args") if isinstance(call, dict) else call)
        options = [extra, *(item[3] for item in call if isinstance(item, list) and len(item) > 3)]
        if any(isinstance(o, dict) and (o.get("training") or _tensors(list(o.values()))) for o in options):
            raise ConfigError(
                f"{where}: is called with {options}; minicnn calls layers with their input alone, use Keras."
            )
    return names


def _tensors(value: Any) -> list[str]:
    """The layers that outputs in value come from: ["name", 0, 0, ...] or Keras 3's tensors, in lists or not."""
    if isinstance(value, dict):
        tensor = value.get("config")
        if value.get("class_name") == "__keras_tensor__" and isinstance(tensor, dict):
            return _tensors(tensor.get("keras_history"))
        return []
    if not isinstance(value, list):
        return []
    if len(value) >= 3 and isinstance(value[0], str) and all(isinstance(v, int) for v in value[1:3]):
        return [value[0]]
    return [name for item in value for name in _tensors(item)]


def _drop_inner_inputs(layers: list[LayerEntry]) -> None:
    """A nested model has its own InputLayer, which says again what shape it is given."""
    inner = [n for n, layer in enumerate(layers) if n and layer.class_name == "InputLayer" and len(layer.order) > 1]
    for number in reversed(inner):
        del layers[number]
    for layer in layers[1:]:
        if len(layer.order) > 1:
            layer.config.pop("batch_shape", None)


def _name_apart(layers: list[LayerEntry]) -> None:
    """Layers of nested models may share their names with others; these get their model's in front, and a number if that
    is taken too. The model's own layers keep theirs, which two of them may not share."""
    taken = {layer.config.get("name") for layer in layers if not layer.parents}
    counts: Counter[str] = Counter()
    for layer in layers:
        name = layer.config.get("name")
        if not layer.parents or not isinstance(name, str):
            continue
        if name in taken:
            base = name = "_".join((*layer.parents, name)).replace("/", "_")
            while name in taken:
                counts[base] += 1
                name = f"{base}_{counts[base]}"
            layer.config["name"] = name
        taken.add(name)
