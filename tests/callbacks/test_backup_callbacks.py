"""BackupAndRestore and the other callbacks: their states come back, and what they wrote is the same."""

import time

import numpy as np
import pytest

from minicnn.callbacks import (
    BackupAndRestore,
    Callback,
    CSVLogger,
    EarlyStopping,
    History,
    ModelCheckpoint,
    TerminateOnNaN,
)
from tests.callbacks.backups import check, interrupt
from tests.small_models import QUIET, X, Y, assert_same_weights, new_model


class Noting(Callback):
    """A callback of the caller's own with the pair of methods: a dict of lists, a NumPy scalar, NaN and infinity."""

    def on_train_begin(self, logs=None):
        self.seen, self.last = {}, np.float32("nan")

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.last = np.float32(logs["loss"])
        self.seen.setdefault((batch, batch % 2 == 0), [float("inf")]).append(self.last)

    def on_epoch_end(self, epoch, logs=None):
        assert time.perf_counter() > self.started
        logs["last"] = self.last
        logs["seen"] = sum(map(len, self.seen.values()))

    def get_state(self):
        return {"seen": self.seen, "last": self.last}

    def set_state(self, state):
        assert type(state["last"]) is np.float32
        self.seen, self.last = state["seen"], state["last"]


def test_a_callback_with_get_state_and_set_state(tmp_path):
    interruptions = [("on_train_batch_begin", 2), ("on_train_batch_begin", 5), ("on_epoch_end", 1)]
    check(tmp_path, new_model, interruptions, save_freq=2, callbacks=lambda: [Noting()])


def test_a_state_that_cannot_be_stored_is_refused_before_the_first_batch(tmp_path):
    class Collector(Callback):
        state_names = ("seen",)
        seen = {"a": [{1, 2}]}  # noqa: RUF012

    model = new_model()
    before = model.get_weights()
    with pytest.raises(ValueError) as error:
        model.fit(X, Y, callbacks=[BackupAndRestore(tmp_path), Collector()], **QUIET)
    assert str(error.value) == (
        "BackupAndRestore: state/callbacks/0 Collector/seen/a/0 is a set, which a backup cannot hold; let it be made "
        "of numbers, strings, None, lists, tuples, dicts and arrays."
    )
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))


def test_a_state_that_is_not_there_yet(tmp_path):
    class Late(Callback):
        state_names = ("seen",)

    with pytest.raises(ValueError, match=r"^Late: has no 'seen', which state_names lists; set it in on_train_begin"):
        new_model().fit(X, Y, callbacks=[BackupAndRestore(tmp_path), Late()], **QUIET)


def test_callbacks_without_a_state_come_and_go(tmp_path):
    expected = new_model().fit(X, Y, epochs=3, **QUIET).history
    backup = BackupAndRestore(tmp_path / "backup")
    interrupt(new_model(), [TerminateOnNaN(), backup, Callback()], "on_epoch_end", 2, epochs=3)
    history = History()
    new_model().fit(X, Y, epochs=3, callbacks=[history, backup], **QUIET)
    assert history.history == expected


def test_callbacks_with_a_state_do_not(tmp_path):
    backup = BackupAndRestore(tmp_path / "backup")
    interrupt(new_model(), [EarlyStopping("loss"), backup], "on_epoch_end", 2, epochs=3)
    with pytest.raises(ValueError) as error:
        new_model().fit(X, Y, epochs=3, callbacks=[backup], **QUIET)
    assert str(error.value) == (
        "BackupAndRestore: the backup has the states of EarlyStopping, History, fit has callbacks History; give the "
        "callbacks with which it began."
    )


class Extra(Callback):
    """A value that the first epoch does not have, and so no column of CSVLogger either."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch > 0:
            logs["extra"] = 1.0


@pytest.mark.parametrize("append", [False, True])
def test_lines_of_csv_that_will_be_repeated_are_taken_back(tmp_path, append):
    """The file holds the header of another run at first, and the interrupted run has written one line too many."""
    header = "epoch,accuracy,loss\r\n"
    logs = [tmp_path / "whole.csv", tmp_path / "parts.csv"]
    logs[0].write_text(header)
    new_model().fit(X, Y, epochs=4, callbacks=[Extra(), CSVLogger(logs[0], append=append)], **QUIET)
    for save_freq in ("epoch", 100):  # the second has none but the backup from the beginning
        logs[1].write_text(header)
        backup = BackupAndRestore(tmp_path / "backup", save_freq)
        for _ in range(2):
            interrupt(new_model(), [Extra(), CSVLogger(logs[1], append=append), backup], "on_epoch_end", 2)
        new_model().fit(X, Y, epochs=4, callbacks=[Extra(), CSVLogger(logs[1], append=append), backup], **QUIET)
        assert logs[1].read_bytes() == logs[0].read_bytes()


def test_checkpoints_keep_the_best(tmp_path):
    class Losses(Callback):
        """The third epoch seems worse than the second, and better than the first."""

        def on_epoch_end(self, epoch, logs=None):
            logs["val_loss"] = [3.0, 1.0, 2.0, 4.0][epoch]

    files = [tmp_path / "whole.h5", tmp_path / "parts.h5"]

    def callbacks(file):
        return [Losses(), ModelCheckpoint(file, save_best_only=True, save_weights_only=True)]

    new_model(name="net").fit(X, Y, epochs=4, callbacks=callbacks(files[0]), **QUIET)
    backup = BackupAndRestore(tmp_path / "backup")
    interrupt(new_model(), [backup, *callbacks(files[1])], "on_epoch_end", 3, epochs=4)
    new_model().fit(X, Y, epochs=4, callbacks=[backup, *callbacks(files[1])], **QUIET)
    stored = [new_model() for _ in files]
    for model, file in zip(stored, files, strict=True):
        model.load_weights(file)
    assert_same_weights(*stored)
