"""Learning rates that change with the step.

A schedule is given as an optimizer's learning_rate; at the step number `step`, counted from 0, it returns the rate. A
schedule of one's own subclasses LearningRateSchedule and overrides __call__. Rates are computed in float64; Keras
computes them in float32.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from minicnn.arguments import finite_number, refuse_unknown
from minicnn.errors import ConfigError
from minicnn.lookup import resolve, table_of
from minicnn.typing import Config


class LearningRateSchedule:
    """A function of the step number. Subclasses override __call__, and get_config if they are to be saved."""

    def __init__(self, **unknown: Any) -> None:
        refuse_unknown(unknown, self)

    def __call__(self, step: int) -> float:
        """The learning rate at that step: the number of updates made before."""
        raise NotImplementedError(f"{type(self).__name__} must override __call__(step).")

    def get_config(self) -> Config:
        """The constructor's arguments under Keras's keys."""
        raise NotImplementedError(f"{type(self).__name__} must override get_config() to be saved.")

    @classmethod
    def from_config(cls, config: Config) -> "LearningRateSchedule":
        """The schedule that get_config described."""
        return cls(**config)


class _SteadyDecay(LearningRateSchedule):
    """What the two decays that never end share: their arguments, and the time in units of decay_steps."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool,
        name: str,
        **unknown: Any,
    ) -> None:
        super().__init__(**unknown)
        self.initial_learning_rate = _rate(initial_learning_rate, "initial_learning_rate", self)
        self.decay_steps = _steps(decay_steps, self)
        self.decay_rate = _rate(decay_rate, "decay_rate", self)
        self.staircase = bool(staircase)
        self.name = name

    def periods(self, step: int) -> float:
        """How many decay_steps have passed; only whole ones with staircase."""
        p = step / self.decay_steps
        return math.floor(p) if self.staircase else p

    def get_config(self) -> Config:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "decay_rate": self.decay_rate,
            "staircase": self.staircase,
            "name": self.name,
        }


class ExponentialDecay(_SteadyDecay):
    """initial_learning_rate · decay_rate^(step / decay_steps).

    Args:
        initial_learning_rate: at step 0.
        decay_steps: positive; steps until the rate has been multiplied by decay_rate once.
        decay_rate: not negative.
        staircase: take whole decay_steps only, so that the rate falls in jumps.
        name: kept in the config.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
        **unknown: Any,
    ) -> None:
        super().__init__(initial_learning_rate, decay_steps, decay_rate, staircase, name, **unknown)

    def __call__(self, step: int) -> float:
        return float(self.initial_learning_rate * self.decay_rate ** self.periods(step))


class InverseTimeDecay(_SteadyDecay):
    """initial_learning_rate / (1 + decay_rate · step / decay_steps).

    With decay_steps = 1 this is what the argument `decay` of Keras 2's optimizers did.

    Args:
        initial_learning_rate: at step 0.
        decay_steps: positive.
        decay_rate: not negative.
        staircase: take whole decay_steps only, so that the rate falls in jumps.
        name: kept in the config.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
        **unknown: Any,
    ) -> None:
        super().__init__(initial_learning_rate, decay_steps, decay_rate, staircase, name, **unknown)

    def __call__(self, step: int) -> float:
        return self.initial_learning_rate / (1 + self.decay_rate * self.periods(step))


class PiecewiseConstantDecay(LearningRateSchedule):
    """values[0] up to and including step boundaries[0], values[1] up to boundaries[1], ..., values[-1] after the last.

    Args:
        boundaries: strictly increasing step numbers, at least one.
        values: rates, one more than boundaries.
        name: kept in the config.
    """

    def __init__(
        self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant", **unknown: Any
    ) -> None:
        super().__init__(**unknown)
        owner = type(self).__name__
        for argument, given in (("boundaries", boundaries), ("values", values)):
            if isinstance(given, str) or not isinstance(given, Sequence):
                raise ConfigError(f"{owner}: {argument} must be a list of numbers, got {given!r}.")
        if not boundaries or len(values) != len(boundaries) + 1:
            raise ConfigError(
                f"{owner}: needs at least one boundary and one more value than boundaries, "
                f"got {len(boundaries)} boundaries and {len(values)} values."
            )
        for boundary in boundaries:
            finite_number(boundary, "boundaries", owner)
        if any(b >= c for b, c in pairwise(boundaries)):
            raise ConfigError(f"{owner}: boundaries must increase from one to the next, got {boundaries!r}.")
        self.boundaries = list(boundaries)
        self.values = [_rate(value, "values", self) for value in values]
        self.name = name

    def __call__(self, step: int) -> float:
        return self.values[sum(step > boundary for boundary in self.boundaries)]

    def get_config(self) -> Config:
        return {"boundaries": self.boundaries, "values": self.values, "name": self.name}


class PolynomialDecay(LearningRateSchedule):
    """(initial − end) · (1 − step / decay_steps)^power + end, and end from decay_steps on.

    Args:
        initial_learning_rate: at step 0.
        decay_steps: positive.
        end_learning_rate: at decay_steps.
        power: not negative; 1 is a straight line.
        cycle: instead of staying at the end, stretch decay_steps to its next multiple each time it is passed.
        name: kept in the config.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
        **unknown: Any,
    ) -> None:
        super().__init__(**unknown)
        self.initial_learning_rate = _rate(initial_learning_rate, "initial_learning_rate", self)
        self.decay_steps = _steps(decay_steps, self)
        self.end_learning_rate = _rate(end_learning_rate, "end_learning_rate", self)
        self.power = _rate(power, "power", self)
        self.cycle = bool(cycle)
        self.name = name

    def __call__(self, step: int) -> float:
        decay_steps = self.decay_steps
        if self.cycle:
            decay_steps *= max(1, math.ceil(step / decay_steps))
        left = 1 - min(step, decay_steps) / decay_steps
        return float((self.initial_learning_rate - self.end_learning_rate) * left**self.power + self.end_learning_rate)

    def get_config(self) -> Config:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "end_learning_rate": self.end_learning_rate,
            "power": self.power,
            "cycle": self.cycle,
            "name": self.name,
        }


class CosineDecay(LearningRateSchedule):
    """Half a cosine wave from the initial rate down to alpha times it, after a linear warm-up if one is wanted.

        warm-up   initial + (warmup_target − initial) · step / warmup_steps          while step < warmup_steps
        decay     peak · ((1 − alpha) · (1 + cos(π·s / decay_steps)) / 2 + alpha),   s = step − warmup_steps

    peak is warmup_target, or without a warm-up the initial rate, from step 0 on. After the decay the rate stays.

    Args:
        initial_learning_rate: at step 0.
        decay_steps: positive; steps of the decay, those of the warm-up not counted.
        alpha: the last rate as a fraction of the peak.
        name: kept in the config.
        warmup_target: the rate at the end of the warm-up; None for no warm-up.
        warmup_steps: not negative; without warmup_target of no effect.

    Source: Loshchilov and Hutter 2017; Goyal et al. 2017 (warm-up).
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: float = 0,
        **unknown: Any,
    ) -> None:
        super().__init__(**unknown)
        self.initial_learning_rate = _rate(initial_learning_rate, "initial_learning_rate", self)
        self.decay_steps = _steps(decay_steps, self)
        self.alpha = _rate(alpha, "alpha", self)
        self.name = name
        self.warmup_target = None if warmup_target is None else _rate(warmup_target, "warmup_target", self)
        finite_number(warmup_steps, "warmup_steps", type(self).__name__, least=0)
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        if self.warmup_target is None:
            return self._decayed(self.initial_learning_rate, step)
        if step < self.warmup_steps:
            rise = self.warmup_target - self.initial_learning_rate
            return self.initial_learning_rate + rise * step / self.warmup_steps
        return self._decayed(self.warmup_target, step - self.warmup_steps)

    def _decayed(self, peak: float, step: float) -> float:
        cosine = (1 + math.cos(math.pi * min(step, self.decay_steps) / self.decay_steps)) / 2
        return peak * ((1 - self.alpha) * cosine + self.alpha)

    def get_config(self) -> Config:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "alpha": self.alpha,
            "name": self.name,
            "warmup_target": self.warmup_target,
            "warmup_steps": self.warmup_steps,
        }


TABLE = table_of(ExponentialDecay, InverseTimeDecay, PiecewiseConstantDecay, PolynomialDecay, CosineDecay)


def deserialize(config: Any, custom_objects: Mapping[str, type] | None = None) -> LearningRateSchedule:
    """The schedule of a config {"class_name", "config"}. Raises ConfigError for an unknown one."""
    return resolve("learning-rate schedule", LearningRateSchedule, TABLE, config, custom_objects)


def serialize(learning_rate_schedule: LearningRateSchedule) -> Config:
    """The config that deserialize and Keras 3 take."""
    cls = type(learning_rate_schedule)
    ours = TABLE.get(cls.__name__) is cls
    return {
        "module": "keras.optimizers.schedules" if ours else None,
        "class_name": cls.__name__,
        "config": learning_rate_schedule.get_config(),
        "registered_name": None if ours else cls.__name__,
    }


def _rate(value: Any, name: str, owner: LearningRateSchedule) -> float:
    return finite_number(value, name, type(owner).__name__, least=0)


def _steps(value: Any, owner: LearningRateSchedule) -> float:
    """decay_steps as given, so that an integer stays one in the config. Raises ConfigError unless it is positive."""
    if finite_number(value, "decay_steps", type(owner).__name__, least=0) == 0:
        raise ConfigError(f"{type(owner).__name__}: decay_steps must be positive, got {value!r}.")
    return value if isinstance(value, int) else float(value)
