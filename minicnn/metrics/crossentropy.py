"""Cross-entropies as metrics: the losses' values, averaged over batches, without regularizers and class weights."""

from __future__ import annotations

from typing import Any, ClassVar

from minicnn.arguments import refuse_unknown
from minicnn.losses.base import Loss
from minicnn.losses.crossentropy import BinaryCrossentropy as BinaryLoss
from minicnn.losses.crossentropy import CategoricalCrossentropy as CategoricalLoss
from minicnn.losses.crossentropy import SparseCategoricalCrossentropy as SparseLoss
from minicnn.metrics.base import SampleMetric
from minicnn.typing import Array, Config


class _LossMetric(SampleMetric):
    """The mean of what a loss gives for each sample."""

    direction = "min"
    arguments: ClassVar[tuple[str, ...]] = ()
    """Of the loss and of the metric, by name; axis, if there is one, is -1."""

    def __init__(self, name: str | None, dtype: str | None, loss: Loss, **unknown: Any) -> None:
        refuse_unknown(unknown, self)
        self._loss = loss
        super().__init__(name, dtype)

    def values(self, y_true: Any, y_pred: Any) -> Array:
        values: Array = self._loss(y_true, y_pred)
        return values

    def get_config(self) -> Config:
        of_loss = self._loss.get_config()
        return {**super().get_config(), **{key: -1 if key == "axis" else of_loss.get(key) for key in self.arguments}}


class BinaryCrossentropy(_LossMetric):
    """Of labels 0 and 1 and as many outputs. Arguments and errors: losses.BinaryCrossentropy.

    Of the outputs as they are; Keras takes the logits behind a softmax for those of a sigmoid.
    """

    arguments = ("from_logits", "label_smoothing")

    def __init__(
        self,
        name: str | None = "binary_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        **unknown: Any,
    ) -> None:
        super().__init__(name, dtype, BinaryLoss(from_logits, label_smoothing, reduction=None), **unknown)


class CategoricalCrossentropy(_LossMetric):
    """Of one-hot labels. Arguments and errors: losses.CategoricalCrossentropy."""

    arguments = ("from_logits", "label_smoothing", "axis")

    def __init__(
        self,
        name: str | None = "categorical_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        **unknown: Any,
    ) -> None:
        super().__init__(name, dtype, CategoricalLoss(from_logits, label_smoothing, axis, reduction=None), **unknown)


class SparseCategoricalCrossentropy(_LossMetric):
    """Of class numbers. Arguments and errors: losses.SparseCategoricalCrossentropy."""

    arguments = ("from_logits", "ignore_class", "axis")

    def __init__(
        self,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        ignore_class: Any = None,
        axis: int = -1,
        **unknown: Any,
    ) -> None:
        super().__init__(name, dtype, SparseLoss(from_logits, ignore_class, None, axis), **unknown)
