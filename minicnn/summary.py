"""A model's summary as a table, in the form of Keras 2.3 to 2.6 that textbooks and exercise sheets show."""

from __future__ import annotations

from collections.abc import Sequence

from minicnn.layers import Layer
from minicnn.layers.shapes import batched

WIDTH = 65
COLUMNS = (29, 55, 65)
"""Where the three columns end; a cell is cut so that one blank remains before the next."""


def summary_text(name: str, layers: Sequence[Layer], trained: int) -> str:
    """The table for built layers, without a final newline. trained: how many of the numbers training changes."""
    rule, double = "_" * WIDTH, "=" * WIDTH
    rows = [_row("Layer (type)", "Output Shape", "Param #")]
    for layer in layers:
        assert layer.input_shape is not None
        cells = f"{layer.name} ({type(layer).__name__})", batched(layer.output_shape(layer.input_shape))
        rows.append(_row(*cells, str(layer.count_params())))
    total = sum(layer.count_params() for layer in layers)
    body = f"\n{rule}\n".join(rows[1:])
    return "\n".join(
        [
            f'Model: "{name}"',
            rule,
            rows[0],
            double,
            *([body] if layers else []),
            double,
            f"Total params: {total:,}",
            f"Trainable params: {trained:,}",
            f"Non-trainable params: {total - trained:,}",
            rule,
        ]
    )


def _row(*cells: str) -> str:
    line = ""
    for cell, end in zip(cells, COLUMNS, strict=True):
        if line:
            line = line[:-1] + " "  # a full cell is cut, so that one blank parts it from the next
        line = (line + cell)[:end].ljust(end)
    return line
