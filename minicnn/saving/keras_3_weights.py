"""Keras 3's layout of weights in HDF5: a file .weights.h5, and model.weights.h5 in a .keras archive.

    /layers/<class>[_k]/vars/0, 1, ...   a layer's arrays, parameters then state
    /optimizer/vars/0, 1, ...            the counter of steps, from Keras 3 on the learning rate, then the slots
    /vars                                empty; Keras up to 3.0 asks for it
    /metrics/...                         up to 2.15; never read

The class is in snake case; the k-th further layer of a class has the number k. A nested model is a layer with `layers`
of its own. Keras 2.12 to 2.14 have `_layer_checkpoint_dependencies` in place of `layers`, and 2.12 and 2.13 number 0,
2, 4: so it is the order of the numbers that counts.

Files that are written have both, the second as further names (hard links) of the same groups: numbered 0, 2, 4 for 2.12
and 2.13, and 0, 1 too where a class has two layers. With three the number 2 would mean two layers at once, and 2.14
fails on the file.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

import h5py

from minicnn.errors import FileFormatError
from minicnn.saving import own_state
from minicnn.saving.model_file import LayerWeights, NamedArrays, TrainingState
from minicnn.saving.safe_hdf5 import Reader, put_array
from minicnn.typing import Array

CONTAINERS = ("layers", "_layer_checkpoint_dependencies")

Place = tuple[tuple[str, int], ...]
"""The way to a layer: at each level its class in snake case, and how many of that class come before."""


def is_this_layout(root: h5py.Group) -> bool:
    return any(name in root for name in CONTAINERS)


def read_layers(reader: Reader, places: Sequence[Place]) -> list[LayerWeights]:
    """The arrays of the layers at these places, in that order; none for a layer that the file does not have.

    Raises FileFormatError if the file has arrays of layers that are not among them.
    """
    tree = _Tree(reader)
    result = []
    for place in places:
        name = "/".join(_numbered_name(kind, number) for kind, number in place)
        group = tree.layer(place)
        result.append(LayerWeights(name, [] if group is None else _variables(reader, group, name)))
    unread = tree.unread()
    if unread:
        listed = ", ".join(unread[:5]) + (", ..." if len(unread) > 5 else "")
        raise FileFormatError(
            f"{reader.path}: holds weights of layers that the model does not have, {listed}; "
            "build the model that was saved."
        )
    return result


def read_optimizer(reader: Reader) -> NamedArrays:
    """The optimizer's variables, the first with the names that tell them apart; empty if there are none."""
    if "optimizer" not in reader.root:
        return []
    arrays = [array for _, array in _variables(reader, reader.group(reader.root, "optimizer"), "optimizer")]
    names = ["iteration", *("learning_rate" for array in arrays[1:2] if array.shape == ())]
    names += [str(number) for number in range(len(names), len(arrays))]
    return list(zip(names, arrays, strict=False))


class _Tree:
    """The groups of layers by place, and which of them have been asked for."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._groups: dict[Place, h5py.Group | None] = {(): reader.root}
        self._names: dict[tuple[Place, str], list[str]] = {}  # of a class's groups at a place
        self._asked: dict[Place, set[str]] = {}

    def layer(self, place: Place) -> h5py.Group | None:
        if place not in self._groups:
            above, (kind, number) = self.layer(place[:-1]), place[-1]
            container = None if above is None else _container(self._reader, above)
            key = (place[:-1], kind)
            if key not in self._names:
                self._names[key] = [] if container is None else _numbered(container, kind)
            names = self._names[key]
            found = self._groups[place] = self._reader.group(container, names[number]) if number < len(names) else None
            if found is not None:
                self._asked.setdefault(place[:-1], set()).add(names[number])
        return self._groups[place]

    def unread(self) -> list[str]:
        """The names of groups with arrays that nobody asked for."""
        names = []
        for place, group in self._groups.items():
            container = None if group is None else _container(self._reader, group)
            for name in () if container is None else container:
                if name not in self._asked.get(place, ()) and _holds_arrays(self._reader, container, name):
                    names.append(name)
        return names


def _numbered(container: h5py.Group, kind: str) -> list[str]:
    """The groups of a class, in the order of their numbers: conv2d, conv2d_1, conv2d_2."""
    pattern = re.compile(re.escape(kind) + r"(?:_(\d{1,9}))?")
    found = [(int(match[1] or 0), name) for name in container if (match := pattern.fullmatch(name))]
    return [name for _, name in sorted(found)]


def _container(reader: Reader, group: Any) -> h5py.Group | None:
    return next((reader.group(group, name) for name in CONTAINERS if name in group), None)


def _holds_arrays(reader: Reader, container: Any, name: str) -> bool:
    group = reader.group(container, name)
    inner = _container(reader, group)
    return ("vars" in group and len(reader.group(group, "vars")) > 0) or (inner is not None and len(inner) > 0)


def _variables(reader: Reader, group: h5py.Group, owner: str) -> NamedArrays:
    if "vars" not in group:
        return []
    variables = reader.group(group, "vars")
    count = len(variables)
    return [(f"{owner}/{number}", reader.array(variables, str(number))) for number in range(count)]


# -- writing


def image(
    layers: Iterable[tuple[str, list[Array]]], optimizer: list[Array] | None, state: TrainingState | None = None
) -> bytes:
    """The bytes of a file. layers: class name in snake case and arrays of each; optimizer: its variables, or None.

    state: minicnn's own. The same arguments give the same bytes.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as root:
        container, before_2_15 = (root.create_group(name) for name in CONTAINERS)
        groups: dict[str, list[h5py.Group]] = {}
        for kind, arrays in layers:
            same = groups.setdefault(kind, [])
            same.append(container.create_group(_numbered_name(kind, len(same))))
            _put_variables(same[-1], arrays)
        for kind, same in groups.items():
            for number, group in enumerate(same):
                before_2_15[_numbered_name(kind, 2 * number)] = group
            if len(same) == 2:
                before_2_15[_numbered_name(kind, 1)] = same[1]
        if optimizer is not None:
            _put_variables(root.create_group("optimizer"), optimizer)
        root.create_group("vars")
        if state is not None:
            own_state.write(root, state)
    return buffer.getvalue()


def _numbered_name(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


def _put_variables(group: h5py.Group, arrays: list[Array]) -> None:
    variables = group.create_group("vars")
    for number, array in enumerate(arrays):
        put_array(variables, str(number), array)
