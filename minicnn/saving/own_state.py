"""minicnn's own group in a model's HDF5 file, which every Keras ignores: how far training has come.

/minicnn_optimizer   @state (JSON); unless Keras's variables have the slots, a group a slot with arrays 0, 1, ...,
                     one for each trainable parameter
"""

from __future__ import annotations

import h5py

from minicnn.errors import FileFormatError
from minicnn.saving import safe_json
from minicnn.saving.model_file import OptimizerState, TrainingState
from minicnn.saving.safe_hdf5 import Reader, put_array
from minicnn.typing import Config

_GROUP = "minicnn_optimizer"
_FORMAT = 1


def read(reader: Reader) -> TrainingState | None:
    """The state in the file, or None if it has none. Raises FileFormatError if it is damaged."""
    if _GROUP not in reader.root:
        return None
    group = reader.group(reader.root, _GROUP)
    owner = f"{reader.path}: {_GROUP}"
    state = safe_json.parse_object(reader.text(group, "state") or "", owner)
    if state.get("format") != _FORMAT:
        raise FileFormatError(f"{owner}: has format {state.get('format')!r}, not {_FORMAT}; update minicnn.")
    whole = "slots" in state
    keys = ("steps_trained", "epochs_trained", *(("iterations", "parameters") if whole else ()))
    numbers = {key: state.get(key) for key in keys}
    slots, class_name = state.get("slots", []), state.get("class_name", "")
    if (
        not safe_json.is_seed(state.get("seed"))
        or not all(map(safe_json.is_count, numbers.values()))
        or not isinstance(slots, list)
        or not all(isinstance(slot, str) for slot in slots)
        or not isinstance(class_name, str)
    ):
        raise FileFormatError(f"{owner}: its state is damaged; load the model with compile=False.")
    if not whole:
        return TrainingState(None, state["seed"], state["steps_trained"], state["epochs_trained"])
    count: int = numbers["parameters"]  # type: ignore[assignment]
    arrays = {}
    for slot in slots:
        slot_group = reader.group(group, slot)
        arrays[slot] = [reader.array(slot_group, str(number)) for number in range(count)]
    optimizer = OptimizerState(class_name, state["iterations"], arrays)
    return TrainingState(optimizer, state["seed"], state["steps_trained"], state["epochs_trained"])


def write(root: h5py.Group, state: TrainingState) -> None:
    """Put the state into the file."""
    group, optimizer = root.create_group(_GROUP), state.optimizer
    config: Config = {"format": _FORMAT}
    if optimizer is not None:
        config |= {
            "class_name": optimizer.class_name,
            "iterations": optimizer.iterations,
            "slots": list(optimizer.slots),
            "parameters": max((len(arrays) for arrays in optimizer.slots.values()), default=0),
        }
    config |= {"seed": state.seed, "steps_trained": state.steps_trained, "epochs_trained": state.epochs_trained}
    group.attrs["state"] = safe_json.to_text(config, "save").encode()
    for slot, arrays in ({} if optimizer is None else optimizer.slots).items():
        slot_group = group.create_group(slot)
        for number, array in enumerate(arrays):
            put_array(slot_group, str(number), array)
