"""Optimizers: how weights follow their gradients. Keras's names, defaults and numbers."""

from collections.abc import Mapping
from typing import Any

from minicnn.lookup import initialized, resolve, table_of
from minicnn.optimizers import schedules
from minicnn.optimizers.adam import Adam, AdamW
from minicnn.optimizers.adaptive import Adadelta, Adagrad, RMSprop
from minicnn.optimizers.base import Optimizer
from minicnn.optimizers.sgd import SGD
from minicnn.typing import Config

__all__ = [
    "SGD",
    "TABLE",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]

TABLE = table_of(SGD, RMSprop, Adagrad, Adadelta, Adam, AdamW, aliases={"rmsprop": RMSprop, "adamw": AdamW})


def get(identifier: Any, custom_objects: Mapping[str, type] | None = None) -> Optimizer:
    """The optimizer that a name (in any case of letters), a class, an instance or a config stands for.

    custom_objects: the caller's own optimizers and schedules by name. Raises ConfigError for anything else.
    """
    if isinstance(identifier, str):
        identifier = _known(identifier)
    elif isinstance(identifier, Mapping) and isinstance(identifier.get("class_name"), str):
        config = dict(identifier.get("config") or {})
        if isinstance(config.get("learning_rate"), Mapping):
            config["learning_rate"] = schedules.deserialize(config["learning_rate"], custom_objects)
        identifier = {"class_name": _known(identifier["class_name"]), "config": config}
    optimizer = resolve("optimizer", Optimizer, TABLE, identifier, custom_objects)
    return initialized(optimizer, "slots", "learning_rate")


def deserialize(config: Any, custom_objects: Mapping[str, type] | None = None) -> Optimizer:
    """The optimizer of a config {"class_name", "config"}; get, under Keras's other name."""
    return get(config, custom_objects)


def serialize(optimizer: Optimizer) -> Config:
    """{"class_name", "config"}, which get and every Keras take."""
    return {"class_name": type(optimizer).__name__, "config": optimizer.get_config()}


def _known(name: str) -> str:
    """The name in lower case if the table knows it so, as Keras does; a caller's own class keeps its name."""
    return name.lower() if name not in TABLE and name.lower() in TABLE else name
