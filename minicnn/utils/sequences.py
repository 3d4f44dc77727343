"""Sequence: batches by number, for data that are made or read a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minicnn.arguments import refuse


class PyDataset:
    """Subclass it: `len()` is the number of batches, `self[k]` the k-th, (x, y) or (x, y, sample_weight).

    fit takes the batches in another order each epoch unless shuffle=False, evaluate and predict as they are numbered.
    Any class with these two methods will do as well.

    Args:
        workers, use_multiprocessing, max_queue_size: of Keras; batches are made one at a time, when their turn comes,
            so they must have their default.
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        refuse(
            type(self).__name__,
            workers=(workers, 1),
            use_multiprocessing=(use_multiprocessing, False),
            max_queue_size=(max_queue_size, 10),
        )

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must override __len__, the number of batches.")

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must override __getitem__, the batch of that number.")

    def __iter__(self) -> Iterator[Any]:
        """All batches once, in order; without it Python would go on until an IndexError, which slices never raise."""
        return (self[k] for k in range(len(self)))

    def on_epoch_begin(self) -> None:
        """Called before the first batch of an epoch."""

    def on_epoch_end(self) -> None:
        """Called after the last batch of an epoch."""


Sequence = PyDataset
"""Keras 2's name."""
