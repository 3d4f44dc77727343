"""Constructors and functions take the arguments of the installed Keras: the same names, order and defaults."""

import inspect

import pytest

import minicnn
from tests.tensorflow.live import keras

MODULES = ["callbacks", "initializers", "losses", "metrics", "optimizers", "optimizers.schedules", "regularizers"]
EXTRA = {"get": ["custom_objects", "owner"], "to_categorical": ["dtype"]}
"""What minicnn takes beyond Keras, behind Keras's arguments."""


def module(package, path):
    for name in path.split("."):
        package = getattr(package, name)
    return package


def shared():
    for path in [*MODULES, "utils"]:
        ours, theirs = module(minicnn, path), module(keras, path)
        for name in sorted(set(dir(ours)) & set(dir(theirs))):
            if not name.startswith("_") and callable(getattr(ours, name)):
                yield pytest.param(getattr(ours, name), getattr(theirs, name), id=f"{path}.{name}")


def arguments(function):
    """Names and defaults in order, without the catch-all for what is unknown."""
    return [
        (parameter.name, parameter.default)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]


@pytest.mark.parametrize(("ours", "theirs"), list(shared()))
def test_signature(ours, theirs):
    if ours is minicnn.optimizers.Optimizer:  # Keras hides its behind (*args, **kwargs), for the backends
        theirs = keras.src.optimizers.base_optimizer.BaseOptimizer
    extra = EXTRA.get(ours.__name__, [])
    assert [(name, default) for name, default in arguments(ours) if name not in extra] == arguments(theirs)
