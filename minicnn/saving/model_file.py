"""ModelFile: what a file of any format holds, as plain values and arrays."""

from __future__ import annotations

from dataclasses import dataclass, field

from minicnn.typing import Array, Config

NamedArrays = list[tuple[str, Array]]
"""Arrays with the names under which a file holds them, in the file's order, which is the order that counts."""


@dataclass
class LayerWeights:
    """The arrays of one layer: parameters, then state, as in Layer.weights."""

    layer: str
    arrays: NamedArrays


@dataclass
class OptimizerState:
    """How far an optimizer has come. slots: by name, one array for each trainable parameter, in the model's order."""

    class_name: str
    iterations: int
    slots: dict[str, list[Array]]


@dataclass
class TrainingState:
    """What minicnn needs to go on training as if it had never stopped: besides the optimizer, the random numbers.

    seed: of shuffling and dropout. steps_trained, epochs_trained: batches and epochs trained on since the model was
    made; dropout's masks and the order of the samples follow from them.
    """

    optimizer: OptimizerState
    seed: int
    steps_trained: int
    epochs_trained: int


@dataclass
class ModelFile:
    """A whole model.

    config: the model as Keras's JSON, {"class_name", "config"}. weights: layer by layer, those without any included.
    training: the compile section as Keras's JSON; None where the model was not compiled. keras_optimizer: Keras's
    optimizer variables, empty if there are none. state: minicnn's own. problems: of the optimizer's part, which were
    met on reading; the model can do without it. backend: "tensorflow", "theano", ...
    """

    config: Config
    weights: list[LayerWeights]
    training: Config | None = None
    keras_optimizer: NamedArrays = field(default_factory=list)
    state: TrainingState | None = None
    problems: list[str] = field(default_factory=list)
    backend: str = "tensorflow"
