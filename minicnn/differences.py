"""Derivatives measured by differences, and compared with those that were computed: the arithmetic behind gradcheck.

For a function f of arrays, central differences give the derivative in one entry x,

    numeric = (f(x + h) − f(x − h)) / 2h,   h = 1e-5·max(1, |x|)
    error   = |numeric − analytic| / max(|numeric|, |analytic|, 1e-3·the largest gradient entry)

or along a random direction d through all entries, where the analytic derivative is Σ gradient·d.

At a kink (relu at 0) or a tie (two largest values in a window) there is no derivative to compare with. The numbers show
it: with D(h) = (f(x + h) − 2·f(x) + f(x − h)) / h, a smooth f has D(h) = h·f'' and so D(h) − 2·D(h/2) = 0, while a
slope that jumps by J leaves a part of J there. Entries whose disagreement is explained so do not fail; they are listed.

Source: Gill, Murray and Wright, Practical Optimization (1981), section 8.6, for the differences; the treatment of kinks
follows the idea of Chainer's gradient_check.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.errors import ConfigError, MinicnnError
from minicnn.geometry import positive_int
from minicnn.typing import Array

STEP = 1e-5
"""h for entries of size up to 1; larger ones move in proportion."""

LIMIT = 1e-6
"""The largest error that passes."""

FLOOR = 1e-3
"""Entries below this part of the largest gradient entry are compared on its scale: they are sums that cancel."""

EXPLAINED = 0.25
"""The part of a disagreement that D(h) − 2·D(h/2) must show for it to be put down to a kink."""


class GradientError(MinicnnError, AssertionError):
    """backward does not compute the derivative of forward. An AssertionError too, which is what a test expects."""


@dataclass(frozen=True)
class Entry:
    """One comparison: which entry of which array (or which direction), the two derivatives, and their error."""

    array: str
    index: tuple[int, ...]
    analytic: float
    numeric: float
    error: float

    def __str__(self) -> str:
        place = ", ".join(map(str, self.index))
        return (
            f"{self.array}[{place}]: analytic {self.analytic:.10g}, numeric {self.numeric:.10g}, error {self.error:.2g}"
        )


@dataclass(frozen=True)
class Report:
    """What a check found.

    subject: what was checked, and how. checked: how many entries (or directions) were compared. failed: how many of
    them differ by more than LIMIT. worst: the one with the largest error; None where there was none to compare.
    not_differentiable: the entries at a kink or a tie, which are in neither count.
    """

    subject: str
    checked: int
    failed: int
    worst: Entry | None
    not_differentiable: tuple[Entry, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every entry that has a derivative agrees, and there is one."""
        return self.failed == 0 and self.checked > 0

    def assert_ok(self) -> None:
        """Raise GradientError, naming the worst entry, unless the check passed."""
        if not self.passed:
            raise GradientError(str(self))

    def __str__(self) -> str:
        count = f"{self.checked} agree" if self.passed else f"{self.failed} of {self.checked} differ"
        text = f"{self.subject}: {count}; worst {self.worst}." if self.worst else f"{self.subject}: nothing to compare."
        skipped, total = len(self.not_differentiable), len(self.not_differentiable) + self.checked
        if skipped:
            text += (
                f" Not differentiable here (kinks or ties): {skipped} of {total}, such as {self.not_differentiable[0]}."
            )
        if 2 * skipped > total:
            text += " That is most of them: move the inputs away from kinks and ties, or the check says little."
        return text


@dataclass(frozen=True)
class Variable:
    """An array that is moved in place, and the gradient to be checked."""

    name: str
    array: Array
    gradient: Array


@dataclass(frozen=True)
class Probe:
    """One line through the point: move(t) goes t steps of length `step` along it; move(0) goes back."""

    array: str
    index: tuple[int, ...]
    analytic: float
    step: float
    move: Callable[[float], None]


def compare(
    subject: str,
    value: Callable[[], float],
    variables: Sequence[Variable],
    directions: int | None,
    rng: np.random.Generator,
) -> Report:
    """Compare along every probe. value: f at the variables as they stand."""
    for variable in variables:
        if variable.gradient.shape != variable.array.shape:
            raise GradientError(
                f"{subject}: the gradient of {variable.name} has shape {variable.gradient.shape}, "
                f"{variable.name} itself {variable.array.shape}; backward must return the same shape."
            )
    if sum(variable.array.size for variable in variables) == 0:
        raise ConfigError(f"{subject}: has no entry to check; give at least one sample.")
    floor = FLOOR * max(float(np.abs(v.gradient).max(initial=0)) for v in variables)
    at_start = value()
    entries: list[Entry] = []
    skipped: list[Entry] = []
    for probe in _entries(variables) if directions is None else _directions(variables, directions, rng):
        entry = _compare(probe, value, floor)
        kink = not entry.error <= LIMIT and _kink_explains(probe, value, at_start, abs(entry.numeric - entry.analytic))
        (skipped if kink else entries).append(entry)
    failed = sum(not entry.error <= LIMIT for entry in entries)
    worst = max(entries, key=lambda entry: entry.error, default=None)
    return Report(subject, len(entries), failed, worst, tuple(skipped))


def _compare(probe: Probe, value: Callable[[], float], floor: float) -> Entry:
    numeric = (_at(probe, 1, value) - _at(probe, -1, value)) / (2 * probe.step)
    gap = abs(numeric - probe.analytic)
    size = max(abs(numeric), abs(probe.analytic), floor)
    error = gap / size if size > 0 else 0.0
    if math.isnan(error):
        error = math.inf  # NaN and infinity are no derivative
    return Entry(probe.array, probe.index, probe.analytic, numeric, error)


def _kink_explains(probe: Probe, value: Callable[[], float], at_start: float, gap: float) -> bool:
    """Whether D(h) − 2·D(h/2), or the same from h/2 on, shows a jump of the slope large enough for this gap.

    One step size is not enough: for a kink a third of h away the two terms cancel.
    """

    def bend(t: float) -> float:
        return (_at(probe, t, value) - 2 * at_start + _at(probe, -t, value)) / (t * probe.step)

    whole, half, quarter = bend(1), bend(1 / 2), bend(1 / 4)
    return max(abs(whole - 2 * half), abs(half - 2 * quarter)) > EXPLAINED * gap


def _at(probe: Probe, t: float, value: Callable[[], float]) -> float:
    probe.move(t)
    result = value()
    probe.move(0)
    return result


def _entries(variables: Sequence[Variable]) -> Iterator[Probe]:
    """A probe along each axis: one entry moves, the others stay."""
    for variable in variables:
        for index in np.ndindex(variable.array.shape):
            start = float(variable.array[index])
            step = STEP * max(1.0, abs(start))

            def move(
                t: float, array: Array = variable.array, index: Any = index, start: float = start, step: float = step
            ) -> None:
                array[index] = start + t * step if t else start

            yield Probe(variable.name, index, float(variable.gradient[index]), step, move)


def _directions(variables: Sequence[Variable], count: int, rng: np.random.Generator) -> Iterator[Probe]:
    """Probes along random directions of length 1 in all variables at once, longer where entries are larger than 1."""
    starts: list[Array] = [variable.array.copy() for variable in variables]
    for number in range(positive_int(count, "directions", "gradcheck")):
        normal: list[Array] = [np.asarray(rng.standard_normal(start.shape)) for start in starts]
        length = math.sqrt(sum(float(np.sum(part**2)) for part in normal))
        parts = [np.maximum(1, np.abs(start)) * part / length for start, part in zip(starts, normal, strict=True)]

        def move(t: float, parts: list[Array] = parts) -> None:
            for variable, start, part in zip(variables, starts, parts, strict=True):
                variable.array[...] = start + (t * STEP) * part if t else start

        analytic = sum(float(np.sum(v.gradient * part)) for v, part in zip(variables, parts, strict=True))
        yield Probe("direction", (number,), analytic, STEP, move)
