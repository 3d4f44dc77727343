"""Optimizer: what all of them share. One update is one pass over a buffer that holds every trainable parameter."""

from __future__ import annotations

import gc
import inspect
import math
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.arguments import finite_number, refuse, refuse_unknown
from minicnn.errors import ConfigError, ShapeError
from minicnn.lending import writable
from minicnn.naming import snake_case
from minicnn.optimizers import schedules
from minicnn.optimizers.schedules import LearningRateSchedule
from minicnn.typing import Array, Config

if TYPE_CHECKING:
    from minicnn.kernels import KernelSet

# Keras's arguments that are not supported, in its order, with the default that they must have.
_UNSUPPORTED = {
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}


class Optimizer:
    """Changes weights along their gradients.

    A subclass stores its own arguments, names its slots (arrays that it remembers from step to step, one number for
    each weight) and overrides `update`. Hyper-parameters are plain attributes and may be changed between steps.

    Args:
        learning_rate: a number, not negative, or a LearningRateSchedule. Keras 2's name `lr` is taken too.
        weight_decay: before each update every weight shrinks by learning_rate · weight_decay of itself; None for none.
        clipnorm: scale the gradient of each parameter (a kernel, a bias) down to this norm if it is larger.
        clipvalue: cut every gradient off at ±clipvalue.
        global_clipnorm: scale all gradients together down to this norm if theirs is larger. At most one of these three
            may be given.
        name: of the optimizer in files; None takes the class's name.
        use_ema, ema_momentum, ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps: of Keras, not
            supported; they must have their default.
        keras_2: `lr`, and `decay` if it is 0.

    Raises ConfigError for arguments that are unknown or out of range.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **keras_2: Any,
    ) -> None:
        if "lr" in keras_2:
            learning_rate = self._rate_of_keras_2(learning_rate, keras_2.pop("lr"))
        if decay := keras_2.pop("decay", None):
            raise ConfigError(
                f"{self}: decay={decay!r} is not supported; give learning_rate="
                f"schedules.InverseTimeDecay({learning_rate!r}, 1, {decay!r}) instead."
            )
        refuse_unknown(keras_2, self)
        unsupported = (use_ema, ema_momentum, ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps)
        for value, (argument, default) in zip(unsupported, _UNSUPPORTED.items(), strict=True):
            refuse(type(self).__name__, **{argument: (value, default)})
        if name is not None and not isinstance(name, str):
            raise ConfigError(f"{self}: name must be a string or None, got {name!r}.")
        self.name = name or snake_case(type(self).__name__)
        self.weight_decay = self._number(weight_decay, "weight_decay", optional=True)
        self.clipnorm, self.global_clipnorm, self.clipvalue = self._checked_clips(
            {"clipnorm": clipnorm, "global_clipnorm": global_clipnorm, "clipvalue": clipvalue}
        )
        self._learning_rate = self._checked_rate(learning_rate)
        self.iterations = 0
        self.slots: dict[str, Array] = {}
        self._owner: weakref.ref[Any] | None = None

    # -- what a subclass says of itself

    @property
    def slot_names(self) -> tuple[str, ...]:
        """The slots, by Keras's names, in the order in which Keras stores those of one parameter."""
        return ()

    def update(self, weights: Array, gradients: Array, learning_rate: float, decay: float, kernels: KernelSet) -> None:
        """Change weights, (P,), and the slots in place, by gradients, (P,), which are clipped already.

        learning_rate is the one in force at this step, decay the fraction by which the weights shrink first.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must override update(weights, gradients, learning_rate, decay, kernels)."
        )

    def new_slot(self, name: str, size: int, dtype: np.dtype[Any]) -> Array:
        """The first values of a slot for `size` weights: zeros, unless a subclass says otherwise."""
        return np.zeros(size, dtype)

    def get_config(self) -> Config:
        """The constructor's arguments under Keras 3's keys, as JSON values. Subclasses add theirs."""
        rate = self._learning_rate
        return {
            "name": self.name,
            "learning_rate": schedules.serialize(rate) if isinstance(rate, LearningRateSchedule) else rate,
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "global_clipnorm": self.global_clipnorm,
            "clipvalue": self.clipvalue,
            **_UNSUPPORTED,
        }

    # -- what every optimizer can do

    def step(self, weights: Array, gradients: Array, segments: Sequence[slice], kernels: KernelSet) -> None:
        """One update of all weights, in place.

        weights, gradients: (P,), of one dtype. segments: where each parameter lies in them; they cover the buffer in
        order. Clipping overwrites gradients. Slots that are missing are made. Raises ShapeError if there are
        slots for another number of weights, ConfigError if a schedule returns anything but a rate.
        """
        rate = self.learning_rate
        for name in self.slot_names:
            if name not in self.slots:
                self.slots[name] = self.new_slot(name, weights.size, weights.dtype)
            elif self.slots[name].shape != weights.shape:
                raise ShapeError(
                    f"{self}: slot {name!r} is for {self.slots[name].size} weights, got {weights.size}; "
                    "call reset() to train another model."
                )
        self._clip(gradients, segments, kernels)
        self.update(weights, gradients, rate, rate * (self.weight_decay or 0.0), kernels)
        self.iterations += 1

    def claim(self, model: Any) -> None:
        """Serve this model. Raises ConfigError if another one that is still in use is trained with this object."""
        if self._serves_another(model):
            gc.collect()  # a dropped model and its History hold each other until then
        if self._serves_another(model):
            assert self._owner is not None
            raise ConfigError(
                f"{self}: belongs to {self._owner()} already; make a new {type(self).__name__} for {model}."
            )
        self._owner = weakref.ref(model)

    def _serves_another(self, model: Any) -> bool:
        owner = self._owner() if self._owner is not None else None
        return owner is not None and owner is not model and owner.optimizer is self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_owner": None}  # the copy serves whatever model it is compiled into

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickled slots can be written; see Layer."""
        self.__dict__.update(state)
        writable(self.slots)

    def reset(self) -> None:
        """Forget the steps made: iterations 0, no slots."""
        self.iterations = 0
        self.slots = {}

    @property
    def follows_schedule(self) -> bool:
        """Whether the rate is a LearningRateSchedule's."""
        return isinstance(self._learning_rate, LearningRateSchedule)

    @property
    def learning_rate(self) -> Any:
        """The rate in force, a float; of a schedule, its value at `iterations`.

        May be set to a number or a schedule. A schedule may be replaced by another one, but not by a number, as in
        Keras: a callback that sets the rate would switch it off unnoticed.
        """
        rate = self._learning_rate
        if not isinstance(rate, LearningRateSchedule):
            return rate
        value: Any = rate(self.iterations)
        if isinstance(value, np.ndarray) and value.size == 1:  # as np.where returns it
            value = value.item()
        return finite_number(value, f"the rate of {type(rate).__name__}", str(self), least=0)

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if isinstance(self._learning_rate, LearningRateSchedule) and not isinstance(value, LearningRateSchedule):
            raise ConfigError(
                f"{self}: learning_rate follows {type(self._learning_rate).__name__} and cannot be set to {value!r}; "
                "make the optimizer with a number to set it later."
            )
        self._learning_rate = self._checked_rate(value)

    lr = learning_rate  # Keras 2's name

    @classmethod
    def from_config(cls, config: Config) -> Optimizer:
        """The optimizer that get_config described, of any Keras's; without iterations and slots."""
        arguments = dict(config)
        for key in ("jit_compile", "is_legacy_optimizer"):  # of Keras 2.11 to 2.15; how, not what, they compute
            arguments.pop(key, None)
        rate = arguments.get("learning_rate")
        if isinstance(rate, dict):
            arguments["learning_rate"] = schedules.deserialize(rate)
        return cls(**arguments)

    def __str__(self) -> str:
        return type(self).__name__

    # -- parts

    def _clip(self, gradients: Array, segments: Sequence[slice], kernels: KernelSet) -> None:
        if self.clipnorm is not None:
            for segment in segments:
                part = gradients[segment]
                _scale_down(part, math.sqrt(kernels.squared_norm(part)), self.clipnorm)
        elif self.global_clipnorm is not None:
            norm = math.sqrt(kernels.squared_norm(gradients))
            if math.isinf(norm):
                gradients.fill(np.nan)  # as Keras: a step that cannot be right shows at once
            else:
                _scale_down(gradients, norm, self.global_clipnorm)
        elif self.clipvalue is not None:
            np.clip(gradients, -self.clipvalue, self.clipvalue, out=gradients)

    def _number(self, value: Any, name: str, optional: bool = False, **limits: float) -> Any:
        """value as a float within limits, by default not negative; None if that is allowed. ConfigError otherwise."""
        if value is None and optional:
            return None
        return finite_number(value, name, str(self), **{"least": 0.0, **limits})

    def _checked_rate(self, value: Any) -> float | LearningRateSchedule:
        if isinstance(value, LearningRateSchedule):
            return value
        if callable(value):
            raise ConfigError(
                f"{self}: learning_rate got {value!r}; subclass "
                "minicnn.optimizers.schedules.LearningRateSchedule with __call__(step) and give an instance."
            )
        rate: float = self._number(value, "learning_rate")
        return rate

    def _rate_of_keras_2(self, learning_rate: Any, lr: Any) -> Any:
        parameter = inspect.signature(type(self)).parameters.get("learning_rate")
        if parameter is not None and learning_rate != parameter.default:
            raise ConfigError(f"{self}: got learning_rate={learning_rate!r} and lr={lr!r}; give learning_rate alone.")
        return lr

    def _checked_clips(self, clips: dict[str, Any]) -> tuple[float | None, float | None, float | None]:
        given = [key for key, value in clips.items() if value is not None]
        if len(given) > 1:
            raise ConfigError(f"{self}: got {' and '.join(given)}; give one of them.")
        for key in given:
            if self._number(clips[key], key) == 0:
                raise ConfigError(f"{self}: {key} must be positive or None, got {clips[key]!r}.")
            clips[key] = float(clips[key])
        return clips["clipnorm"], clips["global_clipnorm"], clips["clipvalue"]


def scalars(dtype: np.dtype[Any], *values: float) -> tuple[Any, ...]:
    """The values as scalars of that dtype, so that a kernel computes in no wider one."""
    return tuple(dtype.type(value) for value in values)


def _scale_down(gradients: Array, norm: float, limit: float) -> None:
    """Scale to norm `limit` if `norm` is larger.

    A NaN norm makes all gradients NaN; an infinite one makes the infinite ones NaN and the others 0, as in Keras.
    """
    if not norm <= limit:
        with np.errstate(invalid="ignore"):
            gradients *= limit / norm
