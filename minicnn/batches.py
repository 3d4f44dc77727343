"""Where batches come from: arrays in a shuffled order, or the caller's iterable."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from minicnn.errors import ConfigError, DataError
from minicnn.kernels import KernelSet
from minicnn.typing import Array


class Batch(NamedTuple):
    """x (B, ...) in the model's dtype; y (B, ...) as given; sample_weight (B,), or (B, ...) of places, or None."""

    x: Array
    y: Array | None
    sample_weight: Array | None

    def part(self, rows: slice) -> Batch:
        """These samples of it."""
        y, weight = (None if array is None else array[rows] for array in (self.y, self.sample_weight))
        return Batch(self.x[rows], y, weight)


def as_numeric(data: Any, name: str) -> Array:
    """data as an array of a real number type, not copied where it is one. Raises DataError otherwise."""
    if data is None:
        raise DataError(f"{name}: is missing, got None; give an array of numbers.")
    if isinstance(data, Iterator):
        raise DataError(
            f"{name}: is a {type(data).__name__}; give an array, or batches of (x, y) without y beside them."
        )
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise DataError(f"{name}: cannot be made one array ({error}); give samples of one shape.") from None
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{name}: holds {array.dtype} values, got {type(data).__name__}; give an array of real numbers."
        )
    return array


def check_finite(array: Array, name: str, dtype: Any = None) -> None:
    """Raise DataError if a floating-point array holds NaN, infinity, or more than dtype can hold.

    Looks at a few megabytes at a time.
    """
    if array.dtype.kind != "f" or array.ndim == 0:
        return
    most = np.finfo(array.dtype if dtype is None else dtype).max
    rows = max(1, (1 << 22) // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        finite = np.abs(array[start : start + rows]) <= most  # false for NaN as well
        if not finite.all():
            index = np.argwhere(~finite)[0]
            place = (int(index[0]) + start, *map(int, index[1:]))
            raise DataError(f"{name}: holds {array[place]} at {place}; replace or drop such samples.")


TOGETHER, TOGETHER_NUMBERS = 256, 1 << 24
"""Samples up to which small batches go through a model together where it only predicts, and the numbers that its
largest layer makes of them: at each call a kernel starts two threads and reads its weights. Batches of 32 are
predicted in 0.72 to 0.84 of the time so (four of the sheet's models, 2 cores of an AMD EPYC). Beyond 256 samples
little is left to gain, and 64 MB for a layer's output are what the first layers of the sheet's models take for so
many.
"""


class ArrayBatches:
    """Batches of arrays in memory: the whole set once an epoch, the last batch with what is left.

    x stays as it is; each batch is gathered and converted to the model's dtype on its own. In order and of that dtype,
    batches are parts of x.
    shuffle: False, True (all samples anew every epoch) or "batch" (only within each batch). The order is a function of
    seed and epoch alone.
    """

    def __init__(
        self,
        x: Array,
        y: Array | None,
        sample_weight: Array | None,
        batch_size: int,
        dtype: np.dtype[Any],
        kernels: KernelSet,
        shuffle: bool | str = False,
        seed: int = 0,
    ) -> None:
        self.x, self.y, self.sample_weight = x, y, sample_weight
        self.batch_size, self.dtype, self.kernels = batch_size, dtype, kernels
        self.shuffle, self.seed = shuffle, seed

    def __len__(self) -> int:
        return -(-len(self.x) // self.batch_size)

    @staticmethod
    def size(batch_size: int | None, samples: int, steps: int | None) -> int:
        """The samples in a batch: as given, else Keras's 32, or so many that `steps` batches hold all samples."""
        if batch_size is not None:
            return batch_size
        return 32 if steps is None else max(1, -(-samples // steps))

    def head(self, count: int) -> ArrayBatches:
        """The first `count` batches, unshuffled."""
        x, y, weight = (
            None if array is None else array[: count * self.batch_size]
            for array in (self.x, self.y, self.sample_weight)
        )
        assert x is not None
        return ArrayBatches(x, y, weight, self.batch_size, self.dtype, self.kernels)

    def together(self, numbers: int) -> ArrayBatches:
        """The same samples, unshuffled, with as many batches in one as may go through a model together.

        numbers: the most that a layer of the model takes or makes of one sample.
        """
        samples = min(TOGETHER, TOGETHER_NUMBERS // max(1, numbers))
        size = self.batch_size * max(1, samples // self.batch_size)
        return ArrayBatches(self.x, self.y, self.sample_weight, size, self.dtype, self.kernels)

    def epoch(self, number: int = 0, first: int = 0) -> Iterator[Batch]:
        """The batches of epoch `number`, from batch `first` on."""
        order = self._order(number)
        for start in range(first * self.batch_size, len(self.x), self.batch_size):
            place = slice(start, start + self.batch_size)
            rows = place if order is None else order[place]
            yield Batch(
                gather(self.x, rows, self.dtype, self.kernels),
                None if self.y is None else self.y[rows],
                None if self.sample_weight is None else self.sample_weight[rows],
            )

    def _order(self, epoch: int) -> Array | None:
        """Of the samples; None where it is theirs."""
        if not self.shuffle:
            return None
        order, rng = np.arange(len(self.x)), np.random.default_rng([self.seed, epoch])
        if self.shuffle == "batch":
            for start in range(0, len(order), self.batch_size):
                rng.shuffle(order[start : start + self.batch_size])
        else:
            rng.shuffle(order)
        return order


FEW = 1 << 12
"""Numbers of a batch up to which NumPy gathers faster than threads start: an image of 28x28 in 2 µs instead of 6."""


def gather(x: Array, rows: Array | slice, dtype: np.dtype[Any], kernels: KernelSet) -> Array:
    """x[rows] in dtype: a copy, but for a slice of that dtype, which need not be copied to be read.

    A few numbers, and an x that a kernel cannot read in place (strided, read-only, misaligned, float16), go by NumPy's
    indexing.
    """
    if isinstance(rows, slice):
        if x.dtype == dtype and x.flags.behaved:  # kernels would copy what is not, each anew
            return np.ascontiguousarray(x[rows])
        rows = np.arange(*rows.indices(len(x)))
    shape = (len(rows), *x.shape[1:])
    readable = x.flags.carray and x.dtype in (np.uint8, np.float32, np.float64)
    if not readable or x.ndim < 2 or math.prod(shape) <= FEW:
        return np.ascontiguousarray(x[rows], dtype)
    batch = np.empty(shape, dtype)
    kernels.gather(x.reshape(len(x), -1), rows, batch.reshape(len(rows), -1))
    return batch


class IterableBatches:
    """Batches that the caller makes: an iterable or generator of (x, y) or (x, y, sample_weight).

    A generator goes on from epoch to epoch. An iterable is started anew each epoch, or where steps is given when it has
    ended. So are batches by number, a list or Keras's Sequence, but with them the epoch in which they end is short, as
    in Keras; a Sequence's on_epoch_begin and on_epoch_end are called. steps: batches in an epoch; None takes len() if
    there is one, else all that come. check: called with each batch before it is used. shuffle: True takes a Sequence's
    batches in another order each time, a function of the seed and of passes.

    goes_on: False to start anew each epoch in any case. passes: how often batches by number were gone through; may be
    set to begin with another order. drawn: how many batches have come so far, an entry an epoch. checksum: of the first
    sample of each, so that a run which draws the same batches again can tell that they are the same.
    """

    def __init__(
        self,
        source: Any,
        steps: int | None,
        dtype: np.dtype[Any],
        check: Any,
        shuffle: bool | str = False,
        seed: int = 0,
    ) -> None:
        self.source, self.dtype, self.check = source, dtype, check
        self.shuffle, self.seed = bool(shuffle and shuffle != "batch" and not isinstance(source, (list, tuple))), seed
        self.passes = 0
        self.goes_on = steps is not None
        self.steps = steps if steps is not None else length(source)
        self._iterator: Iterator[Any] | None = None
        self.exhausted = False
        self.drawn: list[int] = []
        self.checksum = 0

    def __len__(self) -> int:
        if self.steps is None:
            raise TypeError("the number of batches is not known")
        return self.steps

    def epoch(self, number: int = 0) -> Iterator[Batch]:
        """The batches of one epoch; sets `exhausted` where a generator ends before its steps, or nothing comes."""
        self.drawn.append(0)
        self._tell("on_epoch_begin")
        for item in islice(self._start(), self.steps):
            yield self._batch(item)
        done = self.drawn[-1]
        if self.steps is None or done < self.steps:
            self._iterator = None
            self.exhausted = self.one_shot or done == 0
        self.end_epoch()

    def end_epoch(self) -> None:
        """Tell a Sequence that the epoch is over: at its end, or where no more of its batches are wanted."""
        self._tell("on_epoch_end")

    @property
    def one_shot(self) -> bool:
        """Whether the source can be gone through only once."""
        return isinstance(self.source, Iterator)

    def _tell(self, hook: str) -> None:
        if hasattr(self.source, hook):
            getattr(self.source, hook)()

    def _start(self) -> Iterator[Any]:
        if self.one_shot:
            return iter(self.source)
        by_number = hasattr(self.source, "__getitem__") and hasattr(self.source, "__len__")
        if not self.goes_on:
            return self._by_number() if by_number else iter(self.source)
        if self._iterator is None:
            self._iterator = self._by_number() if by_number else self._over_and_over()
        return self._iterator

    def _by_number(self) -> Iterator[Any]:
        order = list(range(len(self.source)))
        if self.shuffle:
            np.random.default_rng([self.seed, self.passes]).shuffle(order)
        self.passes += 1
        for place, number in enumerate(order, 1):
            if place == len(order):
                self._iterator = None  # an epoch that ends with the last one is no short one
            yield self.source[number]

    def _over_and_over(self) -> Iterator[Any]:
        """The source's batches, from the start again when they end; until none come."""
        come = True
        while come:
            come = False
            for batch in self.source:
                come = True
                yield batch

    def _batch(self, item: Any) -> Batch:
        parts = (item,) if hasattr(item, "__array__") else item
        if not isinstance(parts, (tuple, list)) or not 1 <= len(parts) <= 3:
            raise DataError(
                f"batches: expected (x, y) or (x, y, sample_weight) tuples, got {type(item).__name__}; "
                "yield tuples of arrays."
            )
        x, y, weight = (*parts, None, None)[:3]
        x, y, weight = self.check(x, y, weight)
        self.drawn[-1] += 1
        for part in (x, y, weight):
            if part is not None:
                self.checksum = zlib.crc32(part[:1].tobytes(), self.checksum)
        return Batch(np.ascontiguousarray(x, self.dtype), y, weight)


def length(batches: Any) -> int | None:
    """The number of batches in an epoch, of a source or of one of the classes above, if it is known.

    Some sources have __len__ and raise TypeError.
    """
    try:
        return len(batches)
    except TypeError:
        return None


Batches = ArrayBatches | IterableBatches


def limited(batches: Batches, steps: int | None) -> Batches:
    """The first `steps` batches of arrays; an iterable was made with its steps."""
    return batches.head(steps) if isinstance(batches, ArrayBatches) and steps is not None else batches


def is_batch_source(x: Any, y: Any) -> bool:
    """Whether x stands for batches rather than for an array of samples.

    It does with no labels beside it, if it is iterable or, as Keras's Sequence, has a length and batches by number.
    """
    if y is not None or isinstance(x, (str, bytes, Mapping)) or _is_numbers(x):
        return False
    return isinstance(x, Iterable) or (hasattr(x, "__len__") and hasattr(x, "__getitem__"))


def _is_numbers(x: Any) -> bool:
    if hasattr(x, "__array__"):
        return True
    return isinstance(x, (list, tuple)) and (
        len(x) == 0 or not isinstance(x[0], (tuple, list)) or not _holds_arrays(x[0])
    )


def _holds_arrays(item: Any) -> bool:
    return any(hasattr(part, "__array__") and getattr(part, "ndim", 1) > 0 for part in item)  # not numbers of NumPy's


def split_validation(x: Array, y: Array, w: Array | None, split: float) -> tuple[Any, Any]:
    """The first (1 − split) of the samples for training, the rest for validation, before any shuffling, as in Keras."""
    if isinstance(split, bool) or not isinstance(split, Real) or not 0 < split < 1:
        raise ConfigError(f"fit: validation_split must lie between 0 and 1, got {split!r}.")
    count = int(np.floor(len(x) * (1 - float(split))))
    if count == 0 or count == len(x):
        raise DataError(
            f"fit: validation_split={split} leaves no samples on one side of {len(x)}; change it or add samples."
        )
    cut = [(a[:count], a[count:]) if a is not None else (None, None) for a in (x, y, w)]
    return tuple(a for a, _ in cut), tuple(b for _, b in cut)
