"""ModelCheckpoint: saves the model while it trains."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from minicnn.arguments import finite_number, refuse_unknown
from minicnn.callbacks.base import Logs
from minicnn.callbacks.monitor import Monitor
from minicnn.errors import ConfigError, FileFormatError
from minicnn.geometry import positive_int
from minicnn.progress import verbosity

_ENDINGS = (".h5", ".hdf5")  # what save_weights writes, and model.save besides .keras; refused here, not after an epoch


class ModelCheckpoint(Monitor):
    """Saves the model, or its weights, after every epoch or every so many batches.

    Args:
        filepath: where to. May hold {epoch} (from 1), {batch} (from 1, with save_freq in batches) and keys of the logs,
            with formats: "run/{epoch:02d}-{val_loss:.2f}.h5". Missing folders are made. Must end in .h5 or .hdf5, or
            for the whole model in .keras.
        monitor: the key that save_best_only looks at.
        verbose: 1 prints each decision.
        save_best_only: save only when the monitored value is better than ever before. Where it is missing, saves
            nevertheless and gives one MinicnnWarning a fit.
        save_weights_only: `model.save_weights(path)` instead of `model.save(path)`.
        mode: "auto", "min" or "max", as in Monitor.
        save_freq: "epoch", or a number of training batches, counted across epochs.
        initial_value_threshold: the value to beat from the start.
        period: of Keras 2: with save_freq="epoch", only every so many epochs, counted from fit to fit.

    `best` is kept from fit to fit. Raises ConfigError for an ending that is not supported, for a {key} that the logs do
    not have, and for a path that is a folder.
    """

    state_names: ClassVar[tuple[str, ...]] = ("best", "batches_since_saving", "epochs_since_saving")

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
        **keras_2: Any,
    ) -> None:
        threshold = initial_value_threshold
        if threshold is not None:
            threshold = finite_number(threshold, "initial_value_threshold", "ModelCheckpoint")
        self.period = positive_int(keras_2.pop("period", 1), "period", "ModelCheckpoint")
        refuse_unknown(keras_2, self)
        super().__init__(monitor, mode, best=threshold)
        try:
            self.filepath = str(os.fspath(filepath))
        except TypeError:
            raise ConfigError(f"ModelCheckpoint: filepath must be a path, got {filepath!r}.") from None
        endings = _ENDINGS if save_weights_only else (*_ENDINGS, ".keras")
        if not self.filepath.endswith(endings):
            raise ConfigError(f"ModelCheckpoint: filepath must end in {' or '.join(endings)}, got {self.filepath!r}.")
        self.verbose = verbosity(verbose, "ModelCheckpoint")
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        if isinstance(save_freq, str) and save_freq != "epoch":
            raise ConfigError(f'ModelCheckpoint: save_freq must be "epoch" or a number of batches, got {save_freq!r}.')
        self.save_freq: str | int = (
            save_freq if isinstance(save_freq, str) else positive_int(save_freq, "save_freq", "ModelCheckpoint")
        )
        if self.period > 1 and self.save_freq != "epoch":
            raise ConfigError(
                f"ModelCheckpoint: period={self.period} counts epochs, save_freq={save_freq!r} batches; give one."
            )
        self.batches_since_saving = 0
        self.epochs_since_saving = 0
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if isinstance(self.save_freq, str):
            return
        self.batches_since_saving += 1
        if self.batches_since_saving >= self.save_freq:
            self.batches_since_saving = 0
            self._consider(self.epoch, {"batch": batch + 1, **(logs or {})})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq != "epoch":
            return
        self.epochs_since_saving += 1
        if self.epochs_since_saving >= self.period:
            self.epochs_since_saving = 0
            self._consider(epoch, logs or {})

    def _consider(self, epoch: int, logs: Logs) -> None:
        path, best = self._path(epoch, logs), self.best
        if not self._worth_saving(epoch, logs, path):
            return
        try:
            self._save(path)
        except BaseException:
            self.best = best  # what could not be saved is not to be compared with
            raise
        self._say(epoch, f"finished saving model to {path}")

    def _save(self, path: str) -> None:
        if os.path.isdir(path):
            raise ConfigError(f"ModelCheckpoint: {path!r} is a folder; name a file.")
        if folder := os.path.dirname(path):
            try:
                os.makedirs(folder, exist_ok=True)
            except OSError as error:
                raise FileFormatError(
                    f"ModelCheckpoint: the folder of {path!r} cannot be made: {error.strerror}; name another file."
                ) from error
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)

    def _worth_saving(self, epoch: int, logs: Logs, path: str) -> bool:
        if not self.save_best_only:
            self._say(epoch, f"saving model to {path}")
            return True
        current = self.monitored(logs, "the model is saved whether it is the best or not")
        if current is None:
            return True
        best = "None" if self.best is None else f"{self.best:.5f}"
        if not self.improves(current, self.best):
            self._say(epoch, f"{self.monitor} did not improve from {best}")
            return False
        self._say(epoch, f"{self.monitor} improved from {best} to {current:.5f}, saving model to {path}")
        self.best = current
        return True

    def _path(self, epoch: int, logs: Logs) -> str:
        values: dict[str, Any] = {**logs, "epoch": epoch + 1}
        try:
            return self.filepath.format_map(values)
        except KeyError as error:
            known = ", ".join(sorted(values))
            raise ConfigError(
                f"ModelCheckpoint: filepath {self.filepath!r} asks for {error.args[0]!r}, which the logs do not have; "
                f"known: {known}."
            ) from None
        except (ValueError, TypeError, IndexError, AttributeError) as error:
            raise ConfigError(f"ModelCheckpoint: filepath {self.filepath!r} cannot be filled in: {error}.") from None

    def _say(self, epoch: int, message: str) -> None:
        if self.verbose > 0:
            print(f"\nEpoch {epoch + 1}: {message}")
