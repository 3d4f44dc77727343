"""Adam, and AdamW, which is Adam with weight decay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.errors import ConfigError
from minicnn.optimizers.base import Optimizer, scalars
from minicnn.optimizers.schedules import LearningRateSchedule
from minicnn.typing import Array, Config

if TYPE_CHECKING:
    from minicnn.kernels import KernelSet


class Adam(Optimizer):
    """A step along the mean gradient, divided by the root of the mean squared gradient, parameter by parameter.

    Formula: adam_loops in minicnn/kernels/update.py. The correction of the bias starts from betas rounded to float32
    and goes on in the weights' dtype, as in Keras: 1 − 0.999ᵗ loses so many digits that the first steps would differ by
    1e-5 of their size, and with them the losses.

    Args:
        learning_rate: a number or a schedule; about the size of one step.
        beta_1: at least 0, below 1; the share of the mean gradient that is kept from step to step.
        beta_2: the same for the mean squared gradient.
        epsilon: added to the root, outside the bias correction.
        amsgrad: divide by the largest mean squared gradient so far.
        weight_decay and those after it: the arguments of every optimizer; see Optimizer.

    Source: Kingma and Ba 2015; Reddi, Kale and Kumar 2018 (amsgrad).
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
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
        self.beta_1 = self._number(beta_1, "beta_1", below=1.0)
        self.beta_2 = self._number(beta_2, "beta_2", below=1.0)
        self.epsilon = self._number(epsilon, "epsilon")
        self.amsgrad = bool(amsgrad)

    @property
    def slot_names(self) -> tuple[str, ...]:
        return ("momentum", "velocity", "velocity_hat") if self.amsgrad else ("momentum", "velocity")

    def update(self, weights: Array, gradients: Array, learning_rate: float, decay: float, kernels: KernelSet) -> None:
        number = weights.dtype.type
        t = number(self.iterations + 1)
        power_1, power_2 = (number(np.float32(beta)) ** t for beta in (self.beta_1, self.beta_2))
        corrected = float(number(learning_rate) * np.sqrt(1 - power_2) / (1 - power_1))
        kernels.adam(
            weights,
            gradients,
            self.slots["momentum"],
            self.slots["velocity"],
            self.slots["velocity_hat"] if self.amsgrad else np.empty(0, weights.dtype),
            *scalars(weights.dtype, corrected, 1 - self.beta_1, 1 - self.beta_2, self.epsilon, decay),
        )

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "amsgrad": self.amsgrad,
        }


class AdamW(Adam):
    """Adam with weight decay: before each update every weight shrinks by learning_rate · weight_decay of itself.

    Args: as Adam, but weight_decay is a number, 0.004 by default. Source: Loshchilov and Hutter 2019.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
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
        if weight_decay is None:
            raise ConfigError("AdamW: weight_decay must be a number, got None; use Adam without one.")
        super().__init__(
            learning_rate,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            amsgrad=amsgrad,
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
