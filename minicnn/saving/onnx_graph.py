"""An ONNX graph as plain data, and where the channels of its maps stand."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicnn.typing import Array, Shape

TO_CHANNELS_FIRST, TO_CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)


@dataclass(frozen=True)
class Node:
    """One operator of ONNX's: its name there, the names of its inputs and of its one output, its attributes."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]


@dataclass
class Graph:
    """A chain of nodes in the making; what is added works on `value`, the last output.

    sample: the shape of one sample of it as minicnn sees it, (H, W, C) for a map. ONNX's convolutions and poolings take
    maps as (N, C, H, W), so `channels_first` says in which of the two orders `value` has them; whoever needs one of
    them asks for it, and a Transpose goes in only where the order changes.
    """

    value: str
    sample: Shape
    channels_first: bool = False
    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)
    layer: str = ""  # after which new names are called

    def add(self, op: str, *inputs: str | Array, **attributes: Any) -> str:
        """A node of these inputs, which is `value` from now on; arrays become weights of the graph."""
        names = tuple(i if isinstance(i, str) else self.weight(i) for i in inputs)
        self.value = f"{self.layer}/{op}_{len(self.nodes)}"
        self.nodes.append(Node(op, names, self.value, attributes))
        return self.value

    def then(self, op: str, *more: str | Array, **attributes: Any) -> str:
        """A node of `value` and more inputs."""
        return self.add(op, self.value, *more, **attributes)

    def weight(self, array: Array) -> str:
        """The name of a new weight: float32 where it holds floats."""
        name = f"{self.layer}/weight_{len(self.weights)}"
        self.weights[name] = np.ascontiguousarray(array, np.float32 if array.dtype.kind == "f" else array.dtype)
        return name

    def number(self, value: float) -> str:
        """The name of a new weight that is one number."""
        return self.weight(np.array(value, np.float32))

    def maps_channels_first(self) -> None:
        """Bring maps to (N, C, H, W)."""
        if not self.channels_first:
            self.then("Transpose", perm=TO_CHANNELS_FIRST)
            self.channels_first = True

    def maps_channels_last(self) -> None:
        """Bring maps to (N, H, W, C), minicnn's own order. Anything else stays as it is."""
        if self.channels_first:
            self.then("Transpose", perm=TO_CHANNELS_LAST)
            self.channels_first = False

    def axis(self, axis: int) -> int:
        """An axis of minicnn's, counted with the batch as 0, as the axis of `value`."""
        axis %= len(self.sample) + 1
        return TO_CHANNELS_LAST[axis] if self.channels_first else axis

    @property
    def size(self) -> int:
        """How many numbers a sample has."""
        return math.prod(self.sample)
