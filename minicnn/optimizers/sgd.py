"""SGD: gradient descent, plain or with momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minicnn.optimizers.base import Optimizer, scalars
from minicnn.optimizers.schedules import LearningRateSchedule
from minicnn.typing import Array, Config

if TYPE_CHECKING:
    from minicnn.kernels import KernelSet


class SGD(Optimizer):
    """Gradient descent on batches: w ← w − lr·g, or with a velocity that remembers earlier steps.

    Formulas: sgd_loops and momentum_loops in minicnn/kernels/update.py.

    Args:
        learning_rate: a number or a schedule.
        momentum: 0 to 1; the share of the velocity that is kept from step to step. 0 is none.
        nesterov: look ahead: step as if the velocity had been applied already. Without momentum of no effect.
        weight_decay and those after it: the arguments of every optimizer; see Optimizer.

    Source: Sutskever et al. 2013.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
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
        self.momentum = self._number(momentum, "momentum", most=1.0)
        self.nesterov = bool(nesterov)

    @property
    def slot_names(self) -> tuple[str, ...]:
        return ("momentum",) if self.momentum else ()

    def update(self, weights: Array, gradients: Array, learning_rate: float, decay: float, kernels: KernelSet) -> None:
        rate, momentum, shrink = scalars(weights.dtype, learning_rate, self.momentum, decay)
        if self.momentum:
            kernels.momentum(weights, gradients, self.slots["momentum"], rate, momentum, self.nesterov, shrink)
        else:
            kernels.sgd(weights, gradients, rate, shrink)

    def get_config(self) -> Config:
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}
