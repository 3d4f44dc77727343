"""BackupAndRestore: a training that was interrupted goes on, and ends as if it had not been."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minicnn.arguments import refuse_unknown
from minicnn.callbacks.base import Callback, Logs
from minicnn.errors import ConfigError, FileFormatError
from minicnn.geometry import positive_int
from minicnn.progress import warn
from minicnn.typing import Config

if TYPE_CHECKING:
    from minicnn.training import Fit

LATEST, PREVIOUS = "backup.h5", "previous.h5"


class BackupAndRestore(Callback):
    """Stores the training every epoch or every so many batches; the same script, started again, goes on from there.

        model.fit(x, y, epochs=30, callbacks=[BackupAndRestore("backup")])

    Whatever ended the first run (a crash, kill -9, Ctrl-C, at any moment), the second one ends with the same bits as a
    run without interruption: weights, history, what callbacks wrote. Keras's callback stores weights and epoch and does
    not promise this.

    Stored, in one HDF5 file that is replaced as a whole or not at all:
        - the weights and the layers' other state (moving averages), which layers are trainable;
        - the optimizer's slots, step count, rate and other numbers;
        - the seed, the steps and the epochs trained, from which the order of the samples and dropout's masks follow;
        - the epoch, the batch in it, the sums of loss and metrics so far, and whether training was to stop;
        - the state of every callback that has one (Callback.get_state), History and CSVLogger's file among them.
    That is enough, since each batch and each number that is reported is a function of these and of the fit's arguments.
    A first backup is made before the first batch, so this holds from the beginning.

    What must be the same in the second run is compared: arguments of fit and compile, layers, a seed that was given,
    callbacks with a state, and the data by their contents. So a random split needs a seed; and every fit of a script
    needs a backup_dir of its own. epochs may be raised. The bits also need the same machine and versions of libraries.

    Data given as an iterable or generator cannot be set to a place. Its batches are drawn once more from the first and
    dropped, which is exact if it gives the same batches in every run, and takes the time to make them. If it does not,
    a MinicnnWarning says so.

    Not stored: what is outside of these, such as a schedule that a callback puts in the optimizer, a layer's rate or a
    regularizer's factor that a callback changes, a global random generator, or variables of the script. Where training
    goes on within an epoch, callbacks see on_epoch_begin of that epoch a second time.

    Args:
        backup_dir: the folder of the backup, made if need be, for this fit alone.
        save_freq: "epoch", or a number of training batches, counted across epochs.
        double_checkpoint: keep the backup before the last one too, and use it where the last one is damaged.
        delete_checkpoint: remove the backup at the end of a training that was not interrupted. If it is kept, the next
            run does what is left since then, or goes on with more epochs.

    Raises ConfigError for arguments that are wrong, an unbuilt model with x an iterable, and a callback's or metric's
    state that cannot be stored; FileFormatError for a backup that is damaged or of another training, and a folder that
    cannot be written; DataError for an iterable that gave too few batches: all before the model has changed, but for a
    metric's state, and for what could be stored or written at the beginning and cannot any more, which end the training
    at that backup.
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
        **unknown: Any,
    ) -> None:
        refuse_unknown(unknown, self)
        if not isinstance(backup_dir, (str, os.PathLike)) or not os.fspath(backup_dir):
            raise ConfigError(f"BackupAndRestore: backup_dir must be the path of a folder, got {backup_dir!r}.")
        if isinstance(save_freq, str) and save_freq != "epoch":
            raise ConfigError(f'BackupAndRestore: save_freq must be "epoch" or a number of batches, got {save_freq!r}.')
        self.backup_dir = backup_dir
        self.save_freq: str | int = (
            save_freq if isinstance(save_freq, str) else positive_int(save_freq, "save_freq", "BackupAndRestore")
        )
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self._batches_since_saving = 0
        self._latest_is_whole = True  # it takes the place of the previous one then
        self._begun_with: Config = {}  # what the fit is, and how many steps the model had been trained before

    # -- hooks

    def on_train_begin(self, logs: Logs | None = None) -> None:
        from minicnn.callbacks import training_state
        from minicnn.callbacks.identity import identity

        fit = self._fit()
        if not self.model.built:
            raise ConfigError(
                "BackupAndRestore: the model is not built, and x is an iterable; give the first layer input_shape=..."
            )
        self._batches_since_saving = 0
        self._begun_with = {"identity": identity(self.model, fit), "steps": self.model._steps_trained}
        self._make_folder()
        path, backup = self._read()
        self._latest_is_whole = path == self._paths()[0]
        if backup is None or not self._is_of_this_training(backup, path):
            self._save()
            return
        self._begun_with = backup["begun_with"]
        training_state.put(self.model, fit, backup["state"], path)
        if (self.params or {}).get("verbose") and self.model._steps_trained > self._begun_with["steps"]:
            place = f"epoch {fit.epoch + 1}" + (f" after batch {fit.batch}" if fit.batch else "")
            what = f"going on with {place}, from" if fit.epoch < fit.epochs else "all epochs are done, by"
            print(f"BackupAndRestore: {what} {path}.")

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if isinstance(self.save_freq, str):
            return
        self._batches_since_saving += 1
        if self._batches_since_saving >= self.save_freq:
            self._save()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save()

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.delete_checkpoint:
            self._delete()

    # -- is it this training's

    def _fit(self) -> Fit:
        fit: Fit | None = getattr(self.model, "running", None)
        if fit is None:
            raise ConfigError("BackupAndRestore: works within fit alone; give it to fit's callbacks.")
        return fit

    def _is_of_this_training(self, backup: Config, path: Path) -> bool:
        """Whether to go on from it. A backup of another training raises, unless that one had not made a step yet.

        The model may have been trained before the fit began, as far as at the first try, or, where the same process
        tries again, at least as far as the backup is.
        """
        from minicnn.callbacks.backup_file import reading
        from minicnn.callbacks.identity import difference
        from minicnn.saving.safe_json import is_count

        with reading(path):
            begun_with, state = backup["begun_with"], backup["state"]
            first_steps, stored_steps = begun_with["steps"], state["model"]["steps_trained"]
            iterations, epoch, batch = state["optimizer"]["iterations"], state["fit"]["epoch"], state["fit"]["batch"]
            if not all(map(is_count, (first_steps, stored_steps, iterations, epoch, batch))):
                raise ValueError("its counts cannot be")
            steps = self._begun_with["steps"]
            just_compiled = steps == first_steps or self.model.optimizer.iterations < iterations
            other = difference(begun_with["identity"], self._begun_with["identity"], just_compiled)
        if other is None and steps != first_steps and steps < stored_steps:
            other = f"it began after {first_steps} steps of training, not {steps}"
        if other is not None and stored_steps == first_steps:
            return False
        if other is not None:
            raise FileFormatError(
                f"BackupAndRestore: {path} is of another training ({other}); delete it to begin anew, or give this "
                "training a backup_dir of its own."
            )
        if epoch + (batch > 0) > self._fit().epochs:
            raise ConfigError(
                f"BackupAndRestore: {path} has come to epoch {epoch + (batch > 0)}, and fit has "
                f"epochs={self._fit().epochs}; raise epochs, or delete it to begin anew."
            )
        return True

    # -- files

    def _paths(self) -> tuple[Path, Path]:
        """Of the last backup, and of the one before."""
        return Path(self.backup_dir) / LATEST, Path(self.backup_dir) / PREVIOUS

    def _make_folder(self) -> None:
        from minicnn.saving import atomic

        folder = Path(self.backup_dir)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileFormatError(
                f"BackupAndRestore: {folder} cannot be made: {error.strerror}; choose another backup_dir."
            ) from error
        atomic.remove_temporary(folder)  # of a process that was killed while it wrote

    def _read(self) -> tuple[Path, Config | None]:
        """The last backup that can be read, and its path; None if there is none."""
        from minicnn.callbacks import backup_file

        latest, previous = self._paths()
        failure: FileFormatError | None = None
        for path in (latest, previous) if self.double_checkpoint else (latest,):
            if not path.exists():
                continue
            try:
                backup: Config = backup_file.read(path)
            except FileFormatError as error:
                failure = failure or error
                continue
            if failure is not None:
                warn(f"BackupAndRestore: training goes on from {path}, since {failure}")
            return path, backup
        if failure is not None:
            found = " and ".join(str(path) for path in (latest, previous) if path.exists())
            raise FileFormatError(f"BackupAndRestore: delete {found} to begin anew; {failure}") from failure
        return latest, None

    def _save(self) -> None:
        from minicnn.callbacks import backup_file, training_state
        from minicnn.saving import atomic

        self._batches_since_saving = 0
        state = training_state.taken(self.model, self._fit())
        content = backup_file.image({"begun_with": self._begun_with, "state": state})
        latest, previous = self._paths()
        if self.double_checkpoint and self._latest_is_whole:
            with suppress(FileNotFoundError):
                os.replace(latest, previous)
        atomic.write_whole(latest, content)
        self._latest_is_whole = True

    def _delete(self) -> None:
        latest, previous = self._paths()
        with suppress(OSError):
            previous.unlink(missing_ok=True)  # first: alone it would be taken for the last one
            latest.unlink(missing_ok=True)
            latest.parent.rmdir()  # unless something else is in it
