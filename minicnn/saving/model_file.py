"""ModelFile: what a file of any format holds, as plain values and arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from minicnn.typing import Array, Config

if TYPE_CHECKING:
    from minicnn.saving.architecture import ModelEntry

NamedArrays = list[tuple[str, Array]]
"""Arrays with the names under which a file holds them, in the file's order, which is the order that counts."""


@dataclass
class LayerWeights:
    """The arrays of one layer: parameters, then state, as in Layer.weights."""

    layer: str
    arrays: NamedArrays


@dataclass
class StoredWeights:
    """The weights of a file, of any format. The rest as in ModelFile; entry: None for a file of weights alone.

    keras_1: whether Keras 1 may have written it, whose kernels may lie in another order.
    """

    weights: list[LayerWeights]
    backend: str | None = None
    keras_1: bool = False
    keras_optimizer: NamedArrays = field(default_factory=list)
    entry: ModelEntry | None = None
    units: list[list[int]] = field(default_factory=list)


@dataclass
class OptimizerState:
    """How far an optimizer has come. slots: by name, one array for each trainable parameter, in the model's order."""

    class_name: str
    iterations: int
    slots: dict[str, list[Array]]


@dataclass
class TrainingState:
    """What minicnn needs to go on training as if it had never stopped: besides the optimizer, the random numbers.

    optimizer: None where Keras's variables have all of it. seed: of shuffling and dropout. steps_trained,
    epochs_trained: batches and epochs trained on since the model was made; dropout's masks and the order of the samples
    follow from them.
    """

    optimizer: OptimizerState | None
    seed: int
    steps_trained: int
    epochs_trained: int


@dataclass
class ModelFile:
    """A whole model.

    config: the model as Keras's JSON, {"class_name", "config"}. weights: layer by layer, those without any included.
    training: the compile section as Keras's JSON; None where the model was not compiled. keras_optimizer: Keras's
    optimizer variables, empty if there are none. state: minicnn's own. problems: of the optimizer's part, which were
    met on reading; the model can do without it. backend: "tensorflow", "theano", ...; None where the file does not say.

    On reading, entry: the config understood. units: which of the entry's layers, by number, each of the weights belongs
    to: several where a nested model's arrays lie together.
    """

    config: Config
    weights: list[LayerWeights]
    training: Config | None = None
    keras_optimizer: NamedArrays = field(default_factory=list)
    state: TrainingState | None = None
    problems: list[str] = field(default_factory=list)
    backend: str | None = None
    entry: ModelEntry | None = None
    units: list[list[int]] = field(default_factory=list)
