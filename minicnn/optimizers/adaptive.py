"""RMSprop, Adagrad and Adadelta: each parameter's step is scaled by its own past gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.optimizers.base import Optimizer, scalars
from minicnn.optimizers.schedules import LearningRateSchedule
from minicnn.typing import Array, Config

if TYPE_CHECKING:
    from minicnn.kernels import KernelSet


class RMSprop(Optimizer):
    """The gradient divided by the root of its mean square. Formula: rmsprop_loops in minicnn/kernels/update.py.

    Args:
        learning_rate: a number or a schedule.
        rho: at least 0, below 1; the share of the mean square that is kept from step to step.
        momentum: 0 to 1; the share of the last step that is added to the next one. 0 is none.
        epsilon: added under the root.
        centered: divide by the deviation of the gradient instead, without the part that its mean contributes.
        weight_decay and those after it: the arguments of every optimizer; see Optimizer.

    Source: Hinton 2012, lecture 6e; Graves 2013 (centered).
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
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
        super().__init__(
            learning_rate,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
            **keras_2,
        )
        self.rho = self._number(rho, "rho", below=1.0)
        self.momentum = self._number(momentum, "momentum", most=1.0)
        self.epsilon = self._number(epsilon, "epsilon")
        self.centered = bool(centered)

    @property
    def slot_names(self) -> tuple[str, ...]:
        return "velocity", *(["momentum"] * bool(self.momentum)), *(["average_gradient"] * self.centered)

    def update(self, weights: Array, gradients: Array, learning_rate: float, decay: float, kernels: KernelSet) -> None:
        none = np.empty(0, weights.dtype)
        kernels.rmsprop(
            weights,
            gradients,
            self.slots["velocity"],
            self.slots["momentum"] if self.momentum else none,
            self.slots["average_gradient"] if self.centered else none,
            *scalars(weights.dtype, learning_rate, self.rho, 1 - self.rho, self.momentum, self.epsilon, decay),
        )

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "rho": self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "centered": self.centered,
        }


class Adagrad(Optimizer):
    """The gradient divided by the root of the sum of all its squares. Formula: adagrad_loops in kernels/update.py.

    Args:
        learning_rate: a number or a schedule.
        initial_accumulator_value: not negative; where the sums start.
        epsilon: added under the root.
        weight_decay and those after it: the arguments of every optimizer; see Optimizer.

    Source: Duchi, Hazan and Singer 2011.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
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
        super().__init__(
            learning_rate,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
            **keras_2,
        )
        self.initial_accumulator_value = self._number(initial_accumulator_value, "initial_accumulator_value")
        self.epsilon = self._number(epsilon, "epsilon")

    @property
    def slot_names(self) -> tuple[str, ...]:
        return ("accumulator",)

    def new_slot(self, name: str, size: int, dtype: np.dtype[Any]) -> Array:
        return np.full(size, self.initial_accumulator_value, dtype)

    def update(self, weights: Array, gradients: Array, learning_rate: float, decay: float, kernels: KernelSet) -> None:
        rate, epsilon, shrink = scalars(weights.dtype, learning_rate, self.epsilon, decay)
        kernels.adagrad(weights, gradients, self.slots["accumulator"], rate, epsilon, shrink)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "initial_accumulator_value": self.initial_accumulator_value,
            "epsilon": self.epsilon,
        }


class Adadelta(Optimizer):
    """The gradient times the root of the mean squared step, divided by the root of its own mean square.

    Formula: adadelta_loops in minicnn/kernels/update.py. The paper has learning_rate 1.

    Args:
        learning_rate: a number or a schedule.
        rho: at least 0, below 1; the share of both means that is kept from step to step.
        epsilon: added under the roots.
        weight_decay and those after it: the arguments of every optimizer; see Optimizer.

    Source: Zeiler 2012.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
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
        super().__init__(
            learning_rate,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
            **keras_2,
        )
        self.rho = self._number(rho, "rho", below=1.0)
        self.epsilon = self._number(epsilon, "epsilon")

    @property
    def slot_names(self) -> tuple[str, ...]:
        return "accumulated_grad", "accumulated_delta_var"

    def update(self, weights: Array, gradients: Array, learning_rate: float, decay: float, kernels: KernelSet) -> None:
        kernels.adadelta(
            weights,
            gradients,
            self.slots["accumulated_grad"],
            self.slots["accumulated_delta_var"],
            *scalars(weights.dtype, learning_rate, self.rho, 1 - self.rho, self.epsilon, decay),
        )

    def get_config(self) -> Config:
        return {**super().get_config(), "rho": self.rho, "epsilon": self.epsilon}
