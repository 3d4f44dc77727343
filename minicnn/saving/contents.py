"""What a model file holds, as far as it can be read: also of models that minicnn does not have, and of weights alone.

Where model_io.py wants a whole model or refuses, this goes on: a part that is damaged or hostile becomes a line in
`problems`, and the rest is still told. Reading is as safe as there, by the same readers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py

from minicnn.errors import FileFormatError
from minicnn.naming import snake_case
from minicnn.saving import architecture, keras_3_weights, keras_archive, keras_hdf5, safe_json, safe_zip
from minicnn.saving.model_file import LayerWeights, ModelFile, NamedArrays
from minicnn.saving.safe_hdf5 import Reader, file_start, guarded, opened, opened_image
from minicnn.typing import Config

ARCHIVE = "a whole model, as a .keras archive"
WHOLE_HDF5 = "a whole model, as HDF5 (.h5)"
KERAS_3_WEIGHTS = "weights alone, in the layout of Keras 3 (.weights.h5)"
KERAS_2_WEIGHTS = "weights alone, as HDF5 of Keras 1 and 2"

_MAX_GROUPS = 20_000
"""Of one file that are looked into: hard links can make a group its own grandchild."""
_MAX_DEPTH = 24
_MAX_PROBLEMS = 10
"""After which no further layers are read: a string with a false length costs HDF5 a second or two, each anew."""

_KNOWN_GROUPS = {
    WHOLE_HDF5: {"model_weights", "optimizer_weights", "iterations", "minicnn_optimizer"},
    ARCHIVE: {*keras_3_weights.CONTAINERS, "optimizer", "vars", "metrics", "minicnn_optimizer"},
    KERAS_3_WEIGHTS: {*keras_3_weights.CONTAINERS, "optimizer", "vars", "metrics"},
}
"""By format, what is told of at the top of the HDF5 file; and metrics' running sums, which every epoch begins anew."""
_KNOWN_ATTRIBUTES = {"keras_version", "backend", "model_config", "training_config"}


@dataclass
class DeclaredLayer:
    """A layer, or a nested model, in the file's list. where: its number, "3", or "3.0" in a nested model.

    place: the way to its weights in Keras 3's layout. config: its arguments as they stand; empty if damaged.
    """

    where: str
    class_name: str
    name: str
    place: keras_3_weights.Place
    config: Config


@dataclass
class Contents(ModelFile):
    """What a file holds. config is empty for weights alone.

    format: one of the constants above. keras_version, saved (a date): None where the file does not say. by_minicnn:
    whether minicnn surely wrote it. places: of the weights in Keras 3's layout, in their order. others: what the file
    holds besides, which minicnn never reads.
    """

    format: str = ""
    keras_version: str | None = None
    saved: str | None = None
    by_minicnn: bool = False
    places: list[keras_3_weights.Place] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return self.format in (ARCHIVE, WHOLE_HDF5)

    def layers(self) -> list[DeclaredLayer]:
        """The layers and nested models in the file's order, what is in a nested model behind it."""
        return list(declared_layers(self.config))


def contents(path: Path) -> Contents:
    """What the file at path holds. Raises FileFormatError if it is missing, damaged as a whole, or no model file."""
    if file_start(path).startswith(safe_zip.SIGNATURE):
        return _archive(path)
    with opened(path) as reader:
        return _hdf5(reader)


# -- archives


def _archive(path: Path) -> Contents:
    members = keras_archive.whole_members(path)
    found = Contents({}, [], format=ARCHIVE)
    with _part(found, path):
        found.config = keras_archive.config_of(path, members)
    with _part(found, path):
        _read_metadata(path, found)
    names = safe_zip.member_names(path)
    found.others = [name for name in names if name not in (*members, keras_archive.METADATA) and not name.endswith("/")]
    with _part(found, path), opened_image(path, members[keras_archive.WEIGHTS]) as reader:
        _read_keras_3(reader, found)
        with _part(found, path):
            keras_archive.read_training(reader, found)
    return found


def _read_metadata(path: Path, found: Contents) -> None:
    if keras_archive.METADATA not in safe_zip.member_names(path):
        return
    text = safe_zip.read_members(path, {keras_archive.METADATA: 1 << 16})[keras_archive.METADATA].decode(
        "utf-8", "replace"
    )
    metadata = safe_json.parse_object(text, f"{path}: {keras_archive.METADATA}")
    version, saved = metadata.get("keras_version"), metadata.get("date_saved")
    found.keras_version = version if isinstance(version, str) else None
    found.by_minicnn = saved == keras_archive.DATE_SAVED
    found.saved = saved if isinstance(saved, str) and not found.by_minicnn else None


# -- HDF5


def _hdf5(reader: Reader) -> Contents:
    path, root = reader.path, reader.root
    of_keras_2 = "model_config" in root.attrs or keras_hdf5.holds_weights(root)
    if keras_3_weights.is_this_layout(root) and not of_keras_2:
        found = Contents({}, [], format=KERAS_3_WEIGHTS)
        _read_keras_3(reader, found)
        with _part(found, path):
            found.keras_optimizer = keras_3_weights.read_optimizer(reader)
        return found
    whole = "model_config" in root.attrs or "model_weights" in root
    if not whole and not keras_hdf5.holds_weights(root):
        raise FileFormatError(f"{path}: {keras_hdf5.what_is_there(reader)}")
    found = Contents({}, [], format=WHOLE_HDF5 if whole else KERAS_2_WEIGHTS)
    with _part(found, path):
        _read_config(reader, found)
    with _part(found, path):
        group = reader.group(root, "model_weights") if whole else root
        found.backend = reader.text(group, "backend") or reader.text(root, "backend")
        found.keras_version = reader.text(group, "keras_version") or reader.text(root, "keras_version")
        _read_layers(reader, group, found)
    if whole:
        with _part(found, path):
            keras_hdf5.read_training(reader, found)
        found.others = _others(root, found.format)
    found.by_minicnn = "minicnn_optimizer" in root
    return found


def _read_config(reader: Reader, found: Contents) -> None:
    text = reader.text(reader.root, "model_config")
    if text is not None:
        found.config = safe_json.parse_object(text, f"{reader.path}: model_config")
    elif found.whole:
        raise FileFormatError(
            f"{reader.path}: has weights but no model_config, which says what the layers are; save it anew."
        )


def _read_layers(reader: Reader, group: h5py.Group, found: Contents) -> None:
    """Layer by layer, so that one that is damaged does not hide the others."""
    names = reader.names(group, "layer_names")
    if names is None:
        found.weights = keras_hdf5.read_layers(reader, group)
        return
    for name in names:
        _check_worth(reader, found)
        with _part(found, reader.path):
            found.weights.append(keras_hdf5.read_layer(reader, group, name))


def _read_keras_3(reader: Reader, found: Contents) -> None:
    """All arrays below the groups of layers, with no need to know the layers."""
    found.by_minicnn = found.by_minicnn or "minicnn_optimizer" in reader.root
    found.others += _others(reader.root, found.format)
    with _part(found, reader.path):
        for place, entry in _Walk(reader, found).layers(reader.root, (), ""):
            found.places.append(place)
            found.weights.append(entry)


class _Walk:
    """Goes through the groups of a file in Keras 3's layout, at most so many and so deep."""

    def __init__(self, reader: Reader, found: Contents) -> None:
        self._reader = reader
        self._found = found
        self._left = _MAX_GROUPS

    def layers(
        self, group: h5py.Group, above: keras_3_weights.Place, path: str
    ) -> Iterator[tuple[keras_3_weights.Place, LayerWeights]]:
        """Every layer's place and arrays, a nested model's own layers behind it. One container has all of them."""
        for container in [name for name in keras_3_weights.CONTAINERS if name in group][:1]:
            children = self._group(group, container)
            for name, step in _steps(children):
                child, inner = self._group(children, name), f"{path}/{name}".lstrip("/")
                yield (*above, step), LayerWeights(inner, self._arrays(child, inner, len(above)))
                if len(above) < _MAX_DEPTH:
                    yield from self.layers(child, (*above, step), inner)

    def _arrays(self, group: h5py.Group, path: str, depth: int) -> NamedArrays:
        """A layer's own arrays: those of layers in it, as an attention layer has them, are its own."""
        arrays: NamedArrays = []
        for name in sorted(group, key=_natural):
            if name in keras_3_weights.CONTAINERS or depth > _MAX_DEPTH:
                continue
            if self._is_group(group, name):
                arrays += self._arrays(self._group(group, name), f"{path}/{name}", depth + 1)
            else:
                _check_worth(self._reader, self._found)
                with _part(self._found, self._reader.path):
                    arrays.append((f"{path}/{name}", self._reader.array(group, name)))
        return arrays

    def _is_group(self, group: h5py.Group, name: str) -> bool:
        """Links to elsewhere are left to the reader, which refuses them."""
        hard = group.get(name, getclass=True, getlink=True) is h5py.HardLink
        return hard and group.get(name, getclass=True) is h5py.Group

    def _group(self, parent: h5py.Group, name: str) -> h5py.Group:
        self._left -= 1
        if self._left < 0:
            raise FileFormatError(f"{self._reader.path}: has more than {_MAX_GROUPS} groups; give a model's file.")
        return self._reader.group(parent, name)


def _steps(container: h5py.Group) -> list[tuple[str, tuple[str, int]]]:
    """The groups of a container with class and rank: conv2d, conv2d_1 or, of Keras 2.12, conv2d, conv2d_2."""
    numbered = []
    for name in container:
        match = re.fullmatch(r"(.+?)_(\d{1,9})", name)
        numbered.append((match[1], int(match[2]), name) if match else (name, 0, name))
    ranks: Counter[str] = Counter()
    steps = []
    for kind, _, name in sorted(numbered):
        steps.append((name, (kind, ranks[kind])))
        ranks[kind] += 1
    return steps


def _natural(name: str) -> tuple[str, int, str]:
    """ "vars/10" behind "vars/9"."""
    return ("", int(name), name) if name.isascii() and name.isdigit() and len(name) < 10 else (name, 0, name)


def _others(root: h5py.Group, format: str) -> list[str]:
    groups = [name for name in root if name not in _KNOWN_GROUPS[format]]
    return groups + [f"attribute {name}" for name in root.attrs if name not in _KNOWN_ATTRIBUTES]


# -- configurations


def declared_layers(config: Config) -> Iterator[DeclaredLayer]:
    """The layers and nested models in a model's configuration, which may be of any kind, or damaged."""
    pending: list[tuple[str, Any, keras_3_weights.Place]] = [("", config, ())]
    while pending:
        where, entry, place = pending.pop()
        class_name = architecture.class_of(entry)
        if where:
            arguments = _arguments(entry)
            name = arguments.get("name")
            yield DeclaredLayer(where, class_name or "?", name if isinstance(name, str) else "", place, arguments)
        inner = architecture.list_in(entry) if class_name in architecture.MODELS else None
        counts: Counter[str] = Counter()
        below = []
        for number, layer in enumerate(inner or []):
            kind = snake_case(architecture.class_of(layer) or "")
            below.append((f"{where}.{number}".lstrip("."), layer, (*place, (kind, counts[kind]))))
            counts[kind] += 1
        pending += reversed(below)


def _arguments(entry: Any) -> Config:
    arguments = entry.get("config") if isinstance(entry, dict) else None
    return arguments if isinstance(arguments, dict) else {}


def _check_worth(reader: Reader, found: Contents) -> None:
    if len(found.problems) >= _MAX_PROBLEMS:
        raise FileFormatError(
            f"{reader.path}: has too many damaged parts; the layers after them are not read; get it anew."
        )


@contextmanager
def _part(found: Contents, path: Path) -> Iterator[None]:
    """What is wrong in the block becomes one of the problems."""
    try:
        with guarded(path):
            yield
    except FileFormatError as error:
        found.problems.append(str(error))
