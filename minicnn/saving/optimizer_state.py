"""Optimizer variables in the orders in which the versions of Keras store them, to and from slots by name.

Every Keras begins with the counter of steps, and Keras 3 goes on with the learning rate. The slots follow:

    to Keras 2.10, and optimizers.legacy   the first slot of all parameters, then the second of all, ...
    from Keras 2.11                        parameter by parameter the slots of one group below, then the next group

The counter's name tells which: "iterations" or "iter" before 2.11, "iteration" from then on. Keras to 2.1 stores some
optimizers without a counter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minicnn.errors import ConfigError, FileFormatError
from minicnn.saving.model_file import NamedArrays, OptimizerState
from minicnn.typing import Array, Shape

GROUPS: dict[str, tuple[tuple[str, ...], ...]] = {
    "SGD": (("momentum",),),
    "RMSprop": (("velocity",), ("momentum",), ("average_gradient",)),
    "Adagrad": (("accumulator",),),
    "Adadelta": (("accumulated_grad", "accumulated_delta_var"),),
    "Adam": (("momentum", "velocity"), ("velocity_hat",)),
    "AdamW": (("momentum", "velocity"), ("velocity_hat",)),
}
"""By optimizer: its slots, under Keras 3's names, those of a group being stored parameter by parameter."""

_KERAS_2_NAMES = {
    ("Adam", "momentum"): "m",
    ("Adam", "velocity"): "v",
    ("Adam", "velocity_hat"): "vhat",
    ("RMSprop", "velocity"): "rms",
    ("RMSprop", "average_gradient"): "mg",
    ("Adadelta", "accumulated_grad"): "accum_grad",
    ("Adadelta", "accumulated_delta_var"): "accum_var",
}


def orders(parameters: Sequence[tuple[str, str]]) -> list[list[int]]:
    """The orders in which Keras's versions take the parameters, given as (layer, name), by number.

    The model's; and, in Keras 1 and up to 2.0.6, that of the names, in Keras 1 W and b for kernel and bias.
    """
    numbers = range(len(parameters))
    short = {"kernel": "W", "bias": "b"}
    by_name = sorted(numbers, key=lambda n: "/".join(parameters[n]))
    by_old_name = sorted(numbers, key=lambda n: f"{parameters[n][0]}_{short.get(parameters[n][1], parameters[n][1])}")
    return [list(numbers), by_name, by_old_name]


def from_keras(
    class_name: str,
    slot_names: Sequence[str],
    shapes: Sequence[Shape],
    stored: NamedArrays,
    orders: Sequence[Sequence[int]] = (),
) -> OptimizerState:
    """The state in Keras's variables, of any version.

    slot_names: of the optimizer as it is configured; shapes: of the trainable parameters, in order. orders: in which
    they may be stored; the first that fits is taken, and the slots come back in the parameters' own. Raises
    FileFormatError, without the file's name, if the variables are not this optimizer's for these parameters.
    """
    problem: FileFormatError | None = None
    for order in orders or [range(len(shapes))]:
        try:
            state = _in_order(class_name, slot_names, [shapes[number] for number in order], stored)
        except FileFormatError as error:
            problem = problem or error
            continue
        back = [list(order).index(number) for number in range(len(shapes))]
        state.slots = {slot: [arrays[n] for n in back] for slot, arrays in state.slots.items()}
        return state
    assert problem is not None
    raise problem


def _in_order(
    class_name: str, slot_names: Sequence[str], shapes: Sequence[Shape], stored: NamedArrays
) -> OptimizerState:
    """As from_keras, for parameters stored in the order of shapes."""
    if class_name not in GROUPS:
        raise FileFormatError(f"the order of {class_name}'s variables is not known")
    rest = list(stored)
    iterations, interleaved = 0, False
    if rest and rest[0][1].shape == ():
        name, counter = rest.pop(0)
        iterations = counted(name, counter)
        interleaved = _last_word(name) == "iteration"
    if rest and rest[0][1].shape == () and _last_word(rest[0][0]) == "learning_rate":
        rest.pop(0)  # the configuration has it
    groups = [tuple(s for s in group if s in slot_names) for group in GROUPS[class_name]]
    if not interleaved:
        groups = [(slot,) for group in groups for slot in group]
    slots: dict[str, list[Array]] = {slot: [] for slot in slot_names}
    arrays = [array for _, array in rest]
    if arrays:
        for group in groups:
            for shape in shapes:
                for slot in group:
                    slots[slot].append(_next(arrays, shape, slot))
    _check_leftover(class_name, arrays, shapes)
    if any(len(slot) != len(shapes) for slot in slots.values()):
        if iterations:
            raise FileFormatError(f"it has made {iterations} steps and holds no {' or '.join(slots)}")
        slots = {}  # saved before the first step
    return OptimizerState(class_name, iterations, slots)


def to_keras_2(state: OptimizerState, parameters: Mapping[str, Array], since_2_11: bool = False) -> NamedArrays:
    """The state as Keras 2 stores it: in the order of 2.4, or that of 2.11 for what earlier versions do not have.

    parameters: the trainable ones by name, "conv2d/kernel" and so on, in order. Raises ConfigError for optimizers that
    Keras 2 does not have.
    """
    name = state.class_name
    if name not in GROUPS:
        raise ConfigError(f'save: Keras 2 has no optimizer {name}; leave out optimizer_for="keras2".')
    slots = dict(state.slots)
    if since_2_11:
        slots = add_unused_momentum(state, parameters.values()).slots
    groups = [tuple(slot for slot in group if slot in slots) for group in GROUPS[name]]
    if not since_2_11:
        groups = [(slot,) for group in groups for slot in group]
    counter = np.asarray(state.iterations, np.int64)
    result: NamedArrays = [("iteration:0" if since_2_11 else f"{name}/iter:0", counter)]
    for group in groups:
        for number, parameter in enumerate(parameters):
            for slot in group:
                short = _KERAS_2_NAMES.get((name.removesuffix("W"), slot), slot)
                result.append((f"{name}/{parameter}/{short}:0", slots[slot][number]))
    return result


def add_unused_momentum(state: OptimizerState, parameters: Iterable[Array]) -> OptimizerState:
    """The state with the slot that Keras 2.11 to 2.15 have in SGD without momentum too."""
    if state.class_name != "SGD" or state.slots:
        return state
    return replace(state, slots={"momentum": [np.zeros_like(parameter) for parameter in parameters]})


def to_keras_3(state: OptimizerState, learning_rate: float | None) -> list[Array]:
    """The state as Keras has it from 2.12 on in .keras files: the counter, the rate, the slots parameter by parameter.

    learning_rate: None leaves it out, as Keras 2 does, and Keras 3 with a schedule. Raises ConfigError for optimizers
    that are not Keras's.
    """
    if state.class_name not in GROUPS:
        raise ConfigError(
            f"save: Keras has no optimizer {state.class_name}; save as .h5 or with include_optimizer=False."
        )
    arrays: list[Array] = [np.asarray(state.iterations, np.int64)]
    if learning_rate is not None:
        arrays.append(np.asarray(learning_rate, np.float32))
    for group in GROUPS[state.class_name]:
        slots = [state.slots[slot] for slot in group if slot in state.slots]
        arrays += [array for of_parameter in zip(*slots, strict=True) for array in of_parameter]
    return arrays


def stored_rate(stored: NamedArrays) -> float | None:
    """The learning rate among Keras's variables, which counts more than the configuration's; None if there is none."""
    for name, array in stored[:2]:
        if array.shape == () and _last_word(name) == "learning_rate":
            return float(array)
    return None


def _last_word(name: str) -> str:
    """ "iteration" of "adam/iteration", "Adam/iteration:0" and the like."""
    return name.rpartition("/")[2].partition(":")[0]


def counted(name: str, counter: Array) -> int:
    """The number of steps in a counter of that name. Raises FileFormatError, without the file's name, if it is none."""
    value: Any = counter.item()
    if not 0 <= value < 2**63 or value != int(value):
        raise FileFormatError(f"{name!r} is {value}, no number of steps")
    return int(value)


def _next(arrays: list[Array], shape: Shape, slot: str) -> Array:
    if not arrays or arrays[0].shape != tuple(shape):
        found = arrays[0].shape if arrays else "nothing"
        raise FileFormatError(f"slot {slot!r} needs an array {tuple(shape)} where the file has {found}")
    return arrays.pop(0)


def _check_leftover(class_name: str, arrays: list[Array], shapes: Sequence[Shape]) -> None:
    """Nothing may be left over but what some versions store without using it."""
    unused_momentum = class_name == "SGD" and [a.shape for a in arrays] == [tuple(shape) for shape in shapes]
    no_amsgrad = class_name == "Adam" and all(a.shape == (1,) for a in arrays)  # Keras to 2.3
    if arrays and not unused_momentum and not no_amsgrad:
        raise FileFormatError(f"{len(arrays)} arrays are left over after the slots of {class_name}")
