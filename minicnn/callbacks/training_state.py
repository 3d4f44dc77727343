"""The state of a training between two batches: taken out of a fit, and put into another one.

What the next batch does to the weights is a function of the weights and the layers' other state, of the optimizer's
slots, step count and rate, of the batch, which follows from the seed, the epochs trained and the place in the epoch,
and of dropout's masks, which follow from the seed and the steps trained. What fit reports is a function of the sums of
loss and metrics so far, and what callbacks do of their own states. All of these are here, and nothing else is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.batches import Batch, Batches, IterableBatches
from minicnn.callbacks.backup_file import reading
from minicnn.callbacks.base import Callback
from minicnn.errors import ConfigError, DataError
from minicnn.progress import warn
from minicnn.saving.safe_json import is_count, is_seed
from minicnn.typing import Array

if TYPE_CHECKING:
    from minicnn.models import Sequential
    from minicnn.optimizers import Optimizer
    from minicnn.training import Fit

State = dict[str, Any]

# -- out of a fit


def taken(model: Sequential, fit: Fit) -> State:
    """The state of a fit, as a tree of plain values and arrays, which are those in use and no copies."""
    optimizer = model.optimizer
    assert optimizer is not None
    model._packed(optimizer)  # a callback may have changed `trainable` since the last step, whose slots these are
    return {
        "fit": {"epoch": fit.epoch, "batch": fit.batch, "stopped": bool(model.stop_training), "logs": dict(fit.logs)},
        "scores": None if fit.scores is None else fit.scores.get_state(),
        "drawn": [_drawn(source) for source in (fit.training, fit.validation)],
        "model": {
            "seed": model.seed,
            "steps_trained": model._steps_trained,
            "epochs_trained": model._epochs_trained,
            "calls_in_training": model._calls_in_training,
            "trainable": [model._trainable, *(layer.trainable for layer in model.layers)],
            "weights": _weights(model),
        },
        "optimizer": {
            "iterations": optimizer.iterations,
            "attributes": _attributes(optimizer),
            "slots": dict(optimizer.slots),
            "parked": _parked(model),
        },
        "callbacks": {name: callback.get_state() for name, callback in _stateful(fit).items()},
    }


def _weights(model: Sequential) -> list[Array]:
    return [array for layer in model.layers for array in layer.weights().values()]


def _attributes(optimizer: Any) -> State:
    """Its rate and all other attributes but functions; a schedule is one, of the steps."""
    apart = ("iterations", "slots", "_owner")
    return {k: v for k, v in vars(optimizer).items() if k not in apart and not callable(v)}


def _parked(model: Sequential) -> list[Any]:
    """The slots of parameters that are frozen now: the layer's place, the parameter's name, and its slots."""
    places = {id(layer): place for place, layer in enumerate(model.layers)}
    parked = [] if model._buffer is None else model._buffer.parked
    return [[places[id(layer)], name, dict(slots)] for layer, name, slots in parked if id(layer) in places]


def _stateful(fit: Fit) -> dict[str, Callback]:
    """The callbacks that have a state, by number and class: "0 EarlyStopping". Others may come and go."""
    own = [c for c in fit.calls.callbacks if c.state_names or type(c).get_state is not Callback.get_state]
    return {f"{number} {type(callback).__name__}": callback for number, callback in enumerate(own)}


def _drawn(source: Batches | None) -> tuple[list[int], int] | None:
    """How many batches an iterable has given in each epoch, and the checksum of all."""
    return (list(source.drawn), source.checksum) if isinstance(source, IterableBatches) else None


# -- into a fit


def put(model: Sequential, fit: Fit, state: State, path: Path) -> None:
    """Bring a fit that is about to begin to the state of another one of the same identity.

    Iterables give their first batches once more, which are dropped. If the state is in the middle of an epoch, hooks
    see that epoch begin, for the callbacks that set something up there; what they do to the model is undone. Raises
    FileFormatError, beginning with path, if the state is damaged, ConfigError or DataError if the fit's callbacks or
    iterables do not fit it: before model and callbacks are changed.
    """
    where = state["fit"]
    with reading(path):
        _check(model, fit, state)
        _check_callbacks(fit, state)
    all_done = where["stopped"] and not where["batch"]
    last = None if all_done else _replay(model, fit, state)

    fit.epoch, fit.batch, fit.logs = where["epoch"], where["batch"], where["logs"]
    _put_model(model, state)
    if fit.batch:
        fit.calls.on_epoch_begin(fit.epoch)
        _put_model(model, state)
    if last is not None:
        fit.scores = model._scores(last.y, np.empty((0, *model.output_shape[1:]), model.dtype))
        fit.scores.set_state(state["scores"])
    for name, callback in _stateful(fit).items():
        callback.set_state(state["callbacks"][name])
    if all_done:
        fit.epoch = fit.epochs
    elif where["stopped"]:
        fit.rest = iter(())


def _put_model(model: Sequential, state: State) -> None:
    kept, optimizer = state["model"], model.optimizer
    assert optimizer is not None
    model.seed, model.stop_training = kept["seed"], state["fit"]["stopped"]
    model._steps_trained, model._epochs_trained = kept["steps_trained"], kept["epochs_trained"]
    model._calls_in_training = kept["calls_in_training"]
    model._trainable, *of_layers = kept["trainable"]
    for layer, trainable in zip(model.layers, of_layers, strict=True):
        layer.trainable = trainable
    for array, value in zip(_weights(model), kept["weights"], strict=True):
        array[...] = value
    vars(optimizer).update(state["optimizer"]["attributes"])
    optimizer.iterations = state["optimizer"]["iterations"]
    buffer = model._packed(optimizer)  # lays out what is trainable now; the slots are laid out so already
    optimizer.slots = {name: array.copy() for name, array in state["optimizer"]["slots"].items()}
    buffer.parked = [(model.layers[place], name, slots) for place, name, slots in state["optimizer"]["parked"]]


def _replay(model: Sequential, fit: Fit, state: State) -> Batch | None:
    """Draw the batches that are done, so that the sources are where they were. Returns the last one of this epoch.

    Arrays need this for the epoch that is under way alone, and have the order of its samples from the seed. Of
    validations, a callback may have ended some before their last batch.
    """
    epoch, batch = state["fit"]["epoch"], state["fit"]["batch"]
    fit.training.seed = state["model"]["seed"]
    if isinstance(fit.training, IterableBatches):  # in the process that was interrupted, the model has come further
        fit.training.passes = state["model"]["epochs_trained"] - (epoch - fit.epoch)
    validated = iter(state["drawn"][1][0] if isinstance(fit.validation, IterableBatches) else ())
    for past in range(fit.epoch, epoch):
        if isinstance(fit.training, IterableBatches):
            _draw(fit.training.epoch())
        if isinstance(fit.validation, IterableBatches) and fit.validates(past + 1):
            _draw(islice(fit.validation.epoch(), next(validated, None) or None))  # 0: there was none to come
            fit.validation.end_epoch()
    last = None
    if batch:
        fit.rest = fit.batches(epoch, state["model"]["epochs_trained"])
        last = _draw(islice(fit.rest, batch))
    for name, source, drawn in zip(
        ("x", "validation_data"), (fit.training, fit.validation), state["drawn"], strict=True
    ):
        if isinstance(source, IterableBatches):
            _compare(name, source, drawn)
    return last


def _draw(batches: Iterator[Batch]) -> Batch | None:
    last = deque(batches, maxlen=1)
    return last.pop() if last else None


def _compare(name: str, source: IterableBatches, drawn: tuple[list[int], int]) -> None:
    if source.drawn != drawn[0]:
        raise DataError(
            f"BackupAndRestore: {name} gave {sum(source.drawn)} batches where the interrupted run had taken "
            f"{sum(drawn[0])}; make the iterable anew for every fit."
        )
    if source.checksum != drawn[1]:
        warn(
            f"BackupAndRestore: {name} gives other batches than in the interrupted run, so the end will not be that of "
            "an uninterrupted one; let it give the same batches in every run, with a seed of its own."
        )


# -- what a file may hold


def _check(model: Sequential, fit: Fit, state: State) -> None:
    """Raise something unless every part of the state can be put into this model and fit."""
    where, kept, stored = state["fit"], state["model"], state["optimizer"]
    optimizer = model.optimizer
    assert optimizer is not None
    _need(is_count(where["epoch"]) and is_count(where["batch"]) and type(where["stopped"]) is bool, "its place")
    _need(fit.epoch <= where["epoch"], "its epoch")
    _need(all(type(name) is str for name in where["logs"]), "its logs")
    counts = kept["steps_trained"], kept["epochs_trained"], kept["calls_in_training"]
    _need(all(map(is_count, counts)), "its counts")
    _need(is_seed(kept["seed"]), "its seed")
    _need(_alike(kept["weights"], _weights(model)), "the weights")
    _need([type(flag) for flag in kept["trainable"]] == [bool] * (1 + len(model.layers)), "trainable")
    _need(set(stored["attributes"]) == set(_attributes(optimizer)), "the optimizer")
    _need(is_count(stored["iterations"]), "the optimizer's iterations")
    trained = sum(
        array.size
        for layer, flag in zip(model.layers, kept["trainable"][1:], strict=True)
        for array in layer.params.values()
        if flag and kept["trainable"][0]
    )
    _need(_are_slots(stored["slots"], optimizer, trained, model.dtype), "the slots")
    for place, name, slots in stored["parked"]:
        size = model.layers[place].params[name].size
        _need(_are_slots(slots, optimizer, size, model.dtype), "the slots of frozen parameters")
    _need((state["scores"] is None) == (where["batch"] == 0), "the sums")
    if state["scores"] is not None:
        _check_scores(state["scores"], len(model._metrics + model._weighted_metrics))
    for source, drawn in zip((fit.training, fit.validation), state["drawn"], strict=True):
        _need((_drawn(source) is None) == (drawn is None), "the batches drawn")
        _need(drawn is None or all(map(is_count, drawn[0])), "the batches drawn")


def _check_callbacks(fit: Fit, state: State) -> None:
    own = _stateful(fit)
    if list(state["callbacks"]) != list(own):
        names = [", ".join(name.partition(" ")[2] for name in found) for found in (state["callbacks"], own)]
        raise ConfigError(
            f"BackupAndRestore: the backup has the states of {names[0] or 'no callback'}, fit has callbacks "
            f"{names[1] or 'without any'}; give the callbacks with which it began."
        )
    for name, callback in own.items():
        kept = state["callbacks"][name]
        by_name = type(callback).set_state is Callback.set_state
        _need(type(kept) is dict and (not by_name or set(kept) == set(callback.state_names)), f"the state of {name}")


def _check_scores(scores: State, metrics: int) -> None:
    _need(isinstance(scores["loss_sum"], (float, np.floating)) and is_count(scores["samples"]), "the sums")
    _need(len(scores["metrics"]) == metrics, "the metrics")
    for attributes in scores["metrics"]:
        _need(type(attributes) is dict and all(type(k) is str and k[:2] != "__" for k in attributes), "the metrics")


def _alike(arrays: list[Array], own: list[Array]) -> bool:
    return [(a.shape, a.dtype) for a in arrays] == [(a.shape, a.dtype) for a in own]


def _are_slots(slots: dict[str, Array], optimizer: Optimizer, size: int, dtype: Any) -> bool:
    """Of any name: a momentum that a callback switched on and off leaves one that has no use now."""
    return all(
        type(name) is str and a.shape == (size,) and a.dtype == optimizer.new_slot(name, 0, dtype).dtype
        for name, a in slots.items()
    )


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f"{what} cannot be")
