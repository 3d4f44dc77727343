"""InputLayer, and Input for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.arguments import refuse
from minicnn.errors import ConfigError
from minicnn.layers.base import Layer, Run
from minicnn.typing import Array, Config


class InputLayer(Layer):
    """Tells a model the shape of one sample. It computes nothing, y = x and dL/dx = dL/dy, and stands in no summary.

    Args:
        shape: of one sample, without the batch: (height, width, channels). batch_shape: the same with None in front.
        dtype: of the data, any real one; the model casts them to its own.

    Raises ConfigError without a shape, and for Keras's other arguments, which are not supported.
    """

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: Any = None,
        sparse: bool | None = None,
        ragged: bool | None = None,
        batch_shape: Any = None,
        input_tensor: Any = None,
        optional: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if shape is not None:
            kwargs["input_shape"] = shape
        if batch_shape is not None:
            kwargs["batch_shape"] = batch_shape
        super().__init__(name=name, **kwargs)
        refuse(
            self,
            batch_size=(batch_size, None),
            sparse=(sparse or None, None),
            ragged=(ragged or None, None),
            input_tensor=(input_tensor, None),
            optional=(optional, False),
        )
        if dtype is not None:
            _check_real(dtype, str(self))
        if self.declared_input_shape is None:
            raise ConfigError(f"{self}: needs shape=(height, width, channels), the shape of one sample.")

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        return x, None

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        return dy if need_dx else None

    def get_config(self) -> Config:
        assert self.declared_input_shape is not None
        return {"batch_shape": (None, *self.declared_input_shape), "dtype": "float32", "name": self.name}


def Input(
    shape: Any = None,
    batch_size: int | None = None,
    dtype: Any = None,
    sparse: bool | None = None,
    ragged: bool | None = None,
    batch_shape: Any = None,
    name: str | None = None,
    tensor: Any = None,
    optional: bool = False,
) -> InputLayer:
    """The first entry of a Sequential: Input(shape=(28, 28, 1)). Keras's other spelling of InputLayer; see there."""
    refuse("Input", tensor=(tensor, None))
    return InputLayer(shape, batch_size, dtype, sparse, ragged, batch_shape, None, optional, name)


def _check_real(dtype: Any, owner: str) -> None:
    """Raise ConfigError unless NumPy has a dtype of that name and it holds real numbers."""
    try:
        kind = np.dtype(dtype).kind
    except TypeError:
        kind = None
    if kind is None or kind not in "biuf":
        raise ConfigError(f'{owner}: dtype must name real numbers, such as "float32" or "uint8", got {dtype!r}.')
