"""CallbackList: many callbacks called as one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minicnn.callbacks.backup import BackupAndRestore
from minicnn.callbacks.base import Callback, Logs
from minicnn.callbacks.records import History
from minicnn.errors import ConfigError


class CallbackList(Callback):
    """Callbacks that are called as one, in the order given; a BackupAndRestore after all others, whose work it stores.

    Args:
        callbacks: Callback objects, or a single one, or None; lists and CallbackLists within are unpacked.
        add_history: append a History unless one is among them; `history` is the one in use, or None.
        add_progbar: must be False; the progress bar is the trainer's.
        model: set on every callback.
        **params: set on every callback as its `params`: verbose, epochs, steps.

    Raises ConfigError for anything that is not a Callback, and for a second BackupAndRestore.
    """

    def __init__(
        self,
        callbacks: Any = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Any = None,
        **params: Any,
    ) -> None:
        if add_progbar:
            raise ConfigError("CallbackList: add_progbar is not supported by minicnn; fit's verbose draws the bar.")
        self.callbacks: list[Callback] = _flat(callbacks)
        self.history = next((c for c in self.callbacks if isinstance(c, History)), None)
        if self.history is None and add_history:
            self.history = History()
            self.callbacks.append(self.history)
        self.callbacks.sort(key=lambda callback: isinstance(callback, BackupAndRestore))  # stable
        if sum(isinstance(callback, BackupAndRestore) for callback in self.callbacks) > 1:
            raise ConfigError("callbacks: got two BackupAndRestore; a training goes on from one backup.")
        if model is not None:
            self.set_model(model)
        self.set_params(params)

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params
        if params:
            for callback in self.callbacks:
                callback.set_params(params)

    def set_model(self, model: Any) -> None:
        self.model = model
        for callback in self.callbacks:
            callback.set_model(model)

    def wants(self, hook: str) -> bool:
        """Whether any callback reads the logs in this hook: a trainer need not prepare what nobody reads."""
        names = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}
        hooks = {hook, names.get(hook, hook)}
        readers = [callback for callback in self.callbacks if not isinstance(callback, BackupAndRestore)]
        return _any_overrides(readers, hooks)

    def runs_code_in(self, *hooks: str) -> bool:
        """Whether any callback does anything in these hooks."""
        return _any_overrides(self.callbacks, hooks)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._call("on_train_begin", logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._call("on_train_end", logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._call("on_test_begin", logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._call("on_test_end", logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._call("on_predict_begin", logs)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._call("on_predict_end", logs)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._call_numbered("on_epoch_begin", epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._call_numbered("on_epoch_end", epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._call_numbered("on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._call_numbered("on_train_batch_end", batch, logs)

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._call_numbered("on_test_batch_begin", batch, logs)

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._call_numbered("on_test_batch_end", batch, logs)

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._call_numbered("on_predict_batch_begin", batch, logs)

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._call_numbered("on_predict_batch_end", batch, logs)

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._call_numbered("on_batch_begin", batch, logs)

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._call_numbered("on_batch_end", batch, logs)

    def _call(self, hook: str, logs: Logs | None) -> None:
        logs = {} if logs is None else logs
        for callback in self.callbacks:
            getattr(callback, hook)(logs)

    def _call_numbered(self, hook: str, number: int, logs: Logs | None) -> None:
        # Epoch hooks take logs by position and batch hooks by keyword, as Keras calls them: a caller's functions
        # may name the epochs' argument as they like.
        logs = {} if logs is None else logs
        for callback in self.callbacks:
            if hook.startswith("on_epoch"):
                getattr(callback, hook)(number, logs)
            else:
                getattr(callback, hook)(number, logs=logs)


def _flat(callbacks: Any) -> list[Callback]:
    """One list of Callback objects from what the caller gave."""
    if callbacks is None:
        return []
    if isinstance(callbacks, CallbackList):
        return list(callbacks.callbacks)
    if isinstance(callbacks, Callback):
        return [callbacks]
    if isinstance(callbacks, (list, tuple)):
        return [flat for given in callbacks if given is not None for flat in _flat(given)]
    is_class = isinstance(callbacks, type) and issubclass(callbacks, Callback)
    remedy = f"make an object: {callbacks.__name__}()" if is_class else "subclass minicnn.callbacks.Callback"
    raise ConfigError(f"callbacks: expected Callback objects, got {callbacks!r}; {remedy}.")


def _any_overrides(callbacks: Iterable[Callback], hooks: Iterable[str]) -> bool:
    return any(_overrides(callback, hook) for callback in callbacks for hook in hooks)


def _overrides(callback: Callback, hook: str) -> bool:
    method = getattr(callback, hook)
    return getattr(method, "__func__", method) is not getattr(Callback, hook)
