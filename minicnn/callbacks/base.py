"""Callback: the hooks; LambdaCallback: hooks from plain functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

from minicnn.errors import ConfigError

Logs: TypeAlias = dict[str, Any]
"""Loss and metrics by name, as Python floats. One dict goes from callback to callback: what one adds, the next sees."""

HOOKS = (
    "on_train_begin",
    "on_train_end",
    "on_test_begin",
    "on_test_end",
    "on_predict_begin",
    "on_predict_end",
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_batch_begin",
    "on_test_batch_end",
    "on_predict_batch_begin",
    "on_predict_batch_end",
    "on_batch_begin",
    "on_batch_end",
)


class Callback:
    """Subclass it and override the hooks of interest; the others do nothing.

    model: the model that is running. Set `self.model.stop_training = True` to end training after this batch,
        `stop_evaluating` or `stop_predicting` to end those.
    params: what `fit` says of itself: verbose, epochs, and steps (batches an epoch).

    Epochs and batches are counted from 0. `logs` holds the running means of loss and metrics at a batch's end, and at
    an epoch's end also the validation's under "val_" names.

    A callback that remembers something from epoch to epoch, or from batch to batch, lets BackupAndRestore store it: it
    names the attributes in `state_names`, or overrides get_state and set_state where attributes are not enough:

        class Slowest(Callback):
            state_names = ("longest",)

            def on_train_begin(self, logs=None):
                self.longest = 0.0

            def on_epoch_begin(self, epoch, logs=None):
                self.started = time.perf_counter()

            def on_epoch_end(self, epoch, logs=None):
                self.longest = max(self.longest, time.perf_counter() - self.started)
    """

    params: dict[str, Any] | None = None
    model: Any = None
    state_names: ClassVar[tuple[str, ...]] = ()
    """The attributes that a training run needs to be taken up again after an interruption."""

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def set_model(self, model: Any) -> None:
        self.model = model

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """fit starts; logs is empty."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """fit ends; logs is that of the last epoch."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """evaluate, or a validation within fit, starts."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """evaluate, or a validation within fit, ends."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """predict starts."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """predict ends."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """An epoch of training starts; logs is empty."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """An epoch of training and its validation are over."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """A training batch starts."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """A training batch is done and the weights are updated."""
        self.on_batch_end(batch, logs=logs)

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """A batch of evaluate or of a validation starts."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """A batch of evaluate or of a validation is done."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """A batch of predict starts."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """A batch of predict is done; logs["outputs"] is what the model said, (N, ...)."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Another name of on_train_batch_begin, from Keras's early days."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Another name of on_train_batch_end, from Keras's early days."""

    def get_state(self) -> dict[str, Any]:
        """What an interrupted run needs to go on, asked for by BackupAndRestore after the other hooks of that moment.

        A dict of None, booleans, numbers, strings, NumPy scalars and arrays, and lists, tuples and dicts of these.
        """
        for name in self.state_names:
            if not hasattr(self, name):
                raise ConfigError(
                    f"{type(self).__name__}: has no {name!r}, which state_names lists; set it in on_train_begin."
                )
        return {name: getattr(self, name) for name in self.state_names}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over what get_state returned in another process, where the same training was interrupted.

        Called after on_train_begin, if the epoch had begun after on_epoch_begin as well, with the model and the
        optimizer as they were. Raises ConfigError if the names differ.
        """
        if set(state) != set(self.state_names):
            raise ConfigError(
                f"{type(self).__name__}: its state holds {sorted(self.state_names)}, got {sorted(state)}; "
                "restore it with the callback that it came from."
            )
        for name in self.state_names:
            setattr(self, name, state[name])


class LambdaCallback(Callback):
    """A callback made of plain functions, one a hook.

        LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))

    Args: functions under the names of Callback's hooks. Those of a batch are called with logs by keyword.
    Raises ConfigError for a name that is no hook and for a value that cannot be called.
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **kwargs: Callable[..., Any] | None,
    ) -> None:
        functions = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **kwargs,
        }
        for name, function in functions.items():
            if name not in HOOKS:
                raise ConfigError(f"LambdaCallback: {name!r} is no hook; the hooks are {', '.join(HOOKS)}.")
            if function is None:
                continue
            if not callable(function):
                raise ConfigError(f"LambdaCallback: {name} must be a function, got {function!r}.")
            setattr(self, name, function)
