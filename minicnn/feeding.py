"""Feeding: what the caller passes as x, y and weights becomes checked batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.batches import (
    ArrayBatches,
    Batch,
    Batches,
    IterableBatches,
    as_numeric,
    check_finite,
    is_batch_source,
    limited,
    split_validation,
)
from minicnn.checks import check_labels, check_weights, class_weights, optional_count
from minicnn.errors import ConfigError, DataError, MinicnnError, NotCompiledError
from minicnn.kernels import KernelSet
from minicnn.losses import Loss
from minicnn.typing import Array, Shape


class Feeding:
    """The part of a model that takes data in. It changes nothing but, with a first batch, the model's build."""

    dtype: np.dtype[Any]
    kernels: KernelSet
    seed: int
    seed_given: bool
    loss: Loss | None

    # -- what a model provides

    @property
    def built(self) -> bool:
        """Whether the layers have their weights."""
        raise NotImplementedError

    def check_input(self, sample: Shape, owner: str) -> None:
        """Raise ShapeError unless samples of this shape can be fed to the model; changes nothing."""
        raise NotImplementedError

    def output_shape_for(self, sample: Shape) -> Shape:
        """The shape of one output for samples of this shape; changes nothing."""
        raise NotImplementedError

    def build_for(self, sample: Shape) -> None:
        """Build the layers for samples of this shape, unless they are."""
        raise NotImplementedError

    def check_metrics(self, y: Array, output_shape: Shape, weights: Array | None) -> None:
        """Raise ShapeError or ConfigError if a metric cannot compare labels y (N, ...) with such outputs, or weigh."""
        raise NotImplementedError

    # -- checked data

    def _samples(self, x: Any, owner: str) -> Array:
        if _is_list_of_one(x) and self._fits(np.shape(x[0])[1:]):
            several = isinstance(x[0], np.ndarray) and x[0].ndim > 1 and not self.built  # what is not built takes all
            if several or not self._fits(np.shape(x[0])):
                x = x[0]  # [x], as Keras takes the inputs of a model with one
        samples = as_numeric(x, f"{owner}: x")
        if samples.ndim == 0:
            raise DataError(f"{owner}: x must hold samples along its first axis, got a single number.")
        self.check_input(samples.shape[1:], owner)
        return samples

    def _fits(self, sample: Shape) -> bool:
        try:
            self.check_input(sample, "")
        except MinicnnError:
            return False
        return True

    def _checked(self, x: Any, y: Any, sample_weight: Any, owner: str, class_weight: Any = None) -> Batch:
        """Samples, labels and weights that fit the model and each other, as arrays of their own dtypes."""
        if self.loss is None:
            raise NotCompiledError(f"{self}: call compile(optimizer, loss) before {owner}.")
        samples = self._samples(x, owner)
        check_finite(samples, f"{owner}: x", self.dtype)
        output_shape = self.output_shape_for(samples.shape[1:])
        y, sample_weight = (_out_of_list(part, len(samples)) for part in (y, sample_weight))
        labels = check_labels(y, len(samples), self.loss, output_shape, owner, self.dtype)
        weights = check_weights(sample_weight, len(samples), owner, output_shape, self.dtype)
        self.check_metrics(labels, output_shape, weights)
        return Batch(samples, labels, class_weights(class_weight, weights, labels, output_shape, owner, self.dtype))

    def _one_batch(self, x: Any, y: Any, sample_weight: Any, owner: str, class_weight: Any = None) -> Batch:
        batch = self._checked(x, y, sample_weight, owner, class_weight)
        if len(batch.x) == 0:
            raise DataError(f"{owner}: x has no samples.")
        return batch._replace(x=np.ascontiguousarray(batch.x, self.dtype))

    def _batches(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        batch_size: int | None,
        owner: str,
        shuffle: bool | str = False,
        class_weight: Any = None,
        steps: int | None = None,
    ) -> Batches:
        if is_batch_source(x, y):
            if sample_weight is not None:
                raise ConfigError(
                    f"{owner}: sample_weight belongs into the batches when x is an iterable: (x, y, weight)."
                )

            def check(bx: Any, by: Any, bw: Any) -> Batch:
                return self._first_built(bx, by, bw, owner, class_weight)

            return IterableBatches(x, steps, self.dtype, check, shuffle, self.seed)
        data = self._checked(x, y, sample_weight, owner, class_weight)
        if len(data.x) == 0:
            raise DataError(f"{owner}: x has no samples.")
        size = ArrayBatches.size(batch_size, len(data.x), steps)
        return ArrayBatches(*data, size, self.dtype, self.kernels, shuffle, self.seed)

    def _first_built(self, x: Any, y: Any, sample_weight: Any, owner: str, class_weight: Any) -> Batch:
        """A checked batch of an iterable; the first one tells the input shape."""
        batch = self._checked(x, y, sample_weight, owner, class_weight)
        if len(batch.x) == 0:
            raise DataError(f"{owner}: a batch has no samples; leave empty batches out.")
        self.build_for(batch.x.shape[1:])
        return batch

    def _validation_batches(self, data: Any, batch_size: int | None, steps: Any) -> Batches | None:
        if data is None:
            return None
        limit = optional_count(steps, "validation_steps", "fit")
        # Of lists, a tuple is the arrays (x, y) and a list is batches; of tuples, both are batches.
        nested = (tuple, list) if isinstance(data, list) else tuple
        if isinstance(data, (tuple, list)) and len(data) in (2, 3) and not isinstance(data[0], nested):
            x, y, weight = (*data, None)[:3]
            return limited(self._batches(x, y, weight, batch_size, "fit: validation_data", steps=limit), limit)
        batches = self._batches(data, None, None, batch_size, "fit: validation_data", steps=limit)
        if isinstance(batches, IterableBatches):
            batches.goes_on = False  # each epoch is validated by the same batches
        return batches

    def _split(self, x: Any, y: Any, w: Any, split: float, validation_data: Any) -> tuple[Any, Any, Any, Any]:
        if validation_data is not None:
            return x, y, w, validation_data  # as in Keras, validation_data goes before validation_split
        if is_batch_source(x, y):
            raise ConfigError("fit: validation_split needs arrays; give validation_data when x is an iterable.")
        data = self._checked(x, y, w, "fit")
        assert data.y is not None
        (x, y, w), held_out = split_validation(data.x, data.y, data.sample_weight, split)
        return x, y, w, held_out

    def _check_predict_batch(self, x: Any, y: Any, w: Any) -> tuple[Array, None, None]:
        return self._samples(x, "predict"), None, None


def _is_list_of_one(data: Any) -> bool:
    """Whether it is a list of one array."""
    return isinstance(data, (list, tuple)) and len(data) == 1 and hasattr(data[0], "__array__")


def _out_of_list(data: Any, count: int) -> Any:
    """The array of `count` labels or weights in a list of one; anything else as it is."""
    return data[0] if _is_list_of_one(data) and np.shape(data[0])[:1] == (count,) else data
