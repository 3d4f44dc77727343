"""BackupAndRestore: trainings that are interrupted by an error and go on in a new model, compared bit for bit.

What is interrupted by real kills stands in test_backup_kills.py.
"""

import numpy as np
import pytest

from minicnn import Input, Sequential, optimizers
from minicnn.callbacks import BackupAndRestore, Callback, CallbackList, EarlyStopping, LambdaCallback, TerminateOnNaN
from minicnn.layers import Dense
from minicnn.metrics import Metric
from minicnn.optimizers import Optimizer
from tests.callbacks.backups import Interrupted, assert_same_state, check, interrupt, interrupter
from tests.callbacks.interrupted import train
from tests.small_models import CLASSES, COUNT, NUMBERS, QUIET, SAMPLE, X, Y, new_model

# -- the end is the same


@pytest.mark.parametrize("save_freq", ["epoch", 1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernels", ["numba", "numpy"])
def test_all_that_has_a_state(tmp_path, kernels, dtype, save_freq):
    """LeNet-5 with dropout, batch normalization, penalties, sample weights, a split, and seven callbacks."""
    folders = [tmp_path / "whole", tmp_path / "parts"]
    for folder in folders:
        folder.mkdir()
    whole = train(str(folders[0]), kernels=kernels, dtype=dtype)
    for hook, count in (("on_train_batch_begin", 14), ("on_test_begin", 1), ("on_epoch_end", 2)):
        with pytest.raises(Interrupted):
            train(str(folders[1]), save_freq, extra=[interrupter(hook, count)], kernels=kernels, dtype=dtype)
    assert train(str(folders[1]), save_freq, kernels=kernels, dtype=dtype) == whole


@pytest.mark.parametrize("batch", range(1, 10))
def test_every_batch(tmp_path, batch):
    """Three batches an epoch, the last one smaller: every place within the epoch, and between two."""
    check(tmp_path, lambda: new_model(dropout=0.5), [("on_train_batch_end", batch + 1)], save_freq=batch)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True, global_clipnorm=0.5),
        lambda: optimizers.RMSprop(centered=True, momentum=0.5),
        lambda: optimizers.Adam(amsgrad=True, weight_decay=0.01),
        lambda: optimizers.AdamW(),
        lambda: optimizers.Adagrad(clipnorm=1.0),
        lambda: optimizers.Adadelta(1.0),
        lambda: optimizers.SGD(optimizers.schedules.CosineDecay(0.5, 12)),
    ],
)
def test_optimizers(tmp_path, optimizer):
    check(tmp_path, lambda: new_model(optimizer()), [("on_train_batch_end", 2), ("on_train_batch_end", 5)], save_freq=1)


class Slowing(Optimizer):
    """An optimizer of the caller's own that remembers a number, and a slot of a type of its own."""

    slot_names = ("ups",)

    def __init__(self):
        super().__init__(0.5)
        self.factor = 1.0

    def new_slot(self, name, size, dtype):
        return np.ones(size, np.int32)

    def update(self, weights, gradients, learning_rate, decay, kernels):
        self.factor *= 0.75
        self.slots["ups"] += gradients < 0
        weights -= (learning_rate * self.factor / self.slots["ups"]).astype(weights.dtype) * gradients


def test_an_optimizers_own_numbers(tmp_path):
    check(tmp_path, lambda: new_model(Slowing()), [("on_train_batch_end", 5)], save_freq=2)


def test_a_seed_of_any_size(tmp_path):
    check(tmp_path, lambda: new_model(dropout=0.25, seed=1 << 127), [("on_train_batch_end", 5)], save_freq=2)


class ThawedInAFrozenModel(Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.model.trainable = epoch != 1
        for layer in self.model.layers:
            layer.trainable = True


def test_a_model_that_is_frozen_for_an_epoch(tmp_path):
    check(tmp_path, new_model, [("on_train_batch_end", 5)], save_freq=2, callbacks=lambda: [ThawedInAFrozenModel()])


@pytest.mark.parametrize("shuffle", [True, False, "batch"])
@pytest.mark.parametrize("steps", [None, 2])
def test_arguments_of_fit(tmp_path, shuffle, steps):
    def fit():
        return {
            "x": X,
            "y": NUMBERS,
            "class_weight": {0: 2.0},
            "validation_data": (X[:9], NUMBERS[:9], np.linspace(0, 1, 9)),
            "validation_batch_size": 4,
            "validation_freq": 2,
            "shuffle": shuffle,
            "steps_per_epoch": steps,
            "initial_epoch": 1,
            **QUIET,
        }

    def make():
        return new_model(loss="sparse_categorical_crossentropy", dropout=0.25)

    check(tmp_path, make, [("on_train_batch_end", 3), ("on_test_begin", 1)], save_freq=2, fit=fit, epochs=6)


class Confusion(Metric):
    """A metric of the caller's own that counts in an array, and makes it when it sees the first batch."""

    def __init__(self):
        super().__init__(name="diagonal")
        self.reset_state()

    def reset_state(self):
        vars(self).pop("counts", None)

    def update_state(self, y_true, y_pred, sample_weight=None):
        if "counts" not in vars(self):
            self.counts = np.zeros((3, 3), np.int64)
        np.add.at(self.counts, (y_true.argmax(-1), y_pred.argmax(-1)), 1)

    def result(self):
        return float(np.trace(self.counts))


def test_metrics(tmp_path):
    def make():
        return new_model(metrics=["accuracy", Confusion(), "mse", lambda y_true, y_pred: y_pred.max(axis=-1)])

    check(tmp_path, make, [("on_train_batch_end", 3), ("on_train_batch_end", 3)], save_freq=1)


def test_a_metric_that_cannot_be_stored_is_named(tmp_path):
    class Wrapping(Confusion):
        def __init__(self):
            super().__init__()
            self.inner = Confusion()

    with pytest.raises(ValueError, match=r"state/scores/metrics/0/inner is a Confusion, which a backup cannot hold"):
        new_model(metrics=[Wrapping()]).fit(X, Y, callbacks=[BackupAndRestore(tmp_path, 1)], **QUIET)
    check(tmp_path, lambda: new_model(metrics=[Wrapping()]), [("on_epoch_end", 2)])  # between epochs there are no sums


def test_a_seed_that_was_drawn_is_stored(tmp_path):
    first, second = (new_model(dropout=0.5, seed=None) for _ in range(2))
    interrupt(first, [BackupAndRestore(tmp_path / "b")], "on_epoch_end", 1, epochs=3)
    assert second.seed != first.seed
    second.fit(X, Y, epochs=3, callbacks=[BackupAndRestore(tmp_path / "b")], **QUIET)
    whole = new_model(dropout=0.5, seed=first.seed)
    whole.fit(X, Y, epochs=3, **QUIET)
    assert_same_state(second, whole)


class Thaw(Callback):
    """Freezes the convolution in the second and third epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.layers[0].trainable = epoch not in (0, 1)


@pytest.mark.parametrize("save_freq", [1, "epoch"])
@pytest.mark.parametrize("batch", [4, 8, 10])
def test_layers_that_are_frozen_for_a_while(tmp_path, batch, save_freq):
    model = check(tmp_path, new_model, [("on_train_batch_end", batch)], save_freq, callbacks=lambda: [Thaw()])
    assert model.layers[0].trainable


class Alternating(Callback):
    """Trains one of two layers of equal size, the other one from the second epoch on."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 0:
            self.model.layers[2].trainable = False

    def on_epoch_end(self, epoch, logs=None):
        self.model.layers[1].trainable, self.model.layers[2].trainable = False, True


@pytest.mark.parametrize("batch", [2, 5, 8])
def test_layers_of_equal_size_that_are_trained_in_turn(tmp_path, batch):
    def make():
        layers = (
            Dense(8, activation="tanh"),
            Dense(8, activation="tanh"),
            Dense(8),
            Dense(CLASSES, activation="softmax"),
        )
        model = Sequential([Input((8,)), *layers], seed=1)
        model.compile("adam", "categorical_crossentropy")
        return model

    def fit():
        return {"x": X.reshape(COUNT, -1)[:, :8], "y": Y, **QUIET}

    check(tmp_path, make, [("on_train_batch_end", batch)], fit=fit, callbacks=lambda: [Alternating()])


@pytest.mark.parametrize(("before", "after"), [(0.0, [0.9] * 4), (0.9, [0.0] * 4), (0.0, [0.9, 0.0, 0.0, 0.9])])
def test_a_momentum_that_a_callback_switches_on_or_off(tmp_path, before, after):
    class Switch(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.optimizer.momentum = after[epoch]

    for count in (5, 8, 11):
        check(
            tmp_path,
            lambda: new_model(optimizers.SGD(0.1, momentum=before)),
            [("on_train_batch_end", count)],
            callbacks=lambda: [Switch()],
        )


def test_masks_of_calls_in_training(tmp_path):
    """A callback that calls the model with dropout sees the masks that it would have seen."""

    class Spread(Callback):
        def on_epoch_end(self, epoch, logs):
            logs["spread"] = float(np.std([self.model(X, training=True) for _ in range(3)]))

    model = check(tmp_path, lambda: new_model(dropout=0.5), [("on_train_batch_end", 8)], callbacks=lambda: [Spread()])
    assert len(set(model.history.history["spread"])) == 4


# -- training that stops


def stop_at_batch(number):
    """Stops training after so many batches, counted from here on."""

    class Stop(Callback):
        state_names = ("left",)

        def on_train_begin(self, logs=None):
            self.left = number

        def on_train_batch_end(self, batch, logs=None):
            self.left -= 1
            self.model.stop_training = self.left <= 0

    return Stop()


def test_interrupted_after_a_callback_stopped_training_within_an_epoch(tmp_path):
    """What is left of the run is the end of the epoch, its validation and the callbacks."""

    def fit():
        return {"x": X, "y": Y, "validation_data": (X[:5], Y[:5]), **QUIET}

    model = check(
        tmp_path, new_model, [("on_test_begin", 2)], save_freq=1, fit=fit, callbacks=lambda: [stop_at_batch(5)]
    )
    assert model.optimizer.iterations == 5


@pytest.mark.parametrize("save_freq", ["epoch", 1])
def test_interrupted_after_a_callback_stopped_training_at_the_end_of_an_epoch(tmp_path, save_freq):
    def callbacks():
        return [EarlyStopping("loss", patience=0, mode="max", restore_best_weights=True)]

    model = check(tmp_path, new_model, [("on_train_end", 1)], save_freq=save_freq, callbacks=callbacks)
    assert model.optimizer.iterations == 6


def test_interrupted_by_terminate_on_nan(tmp_path, capsys):
    def make():
        return new_model(optimizers.SGD(1e30))

    model = check(tmp_path, make, [("on_epoch_end", 1)], save_freq=1, callbacks=lambda: [TerminateOnNaN()])
    assert np.isnan(model.history.history["loss"]).tolist() == [True]
    assert capsys.readouterr().out == "Batch 1: Invalid loss, terminating training\n" * 2  # not by the last run


# -- what is left behind


def test_the_backup_is_removed_at_the_end_and_nothing_else(tmp_path):
    folder = tmp_path / "deep" / "backup"
    new_model().fit(X, Y, callbacks=[BackupAndRestore(folder)], **QUIET)
    assert (folder.parent.exists(), folder.exists()) == (True, False)
    folder.mkdir()
    for name in ("mine.txt", "mine.tmp", ".0123456789abcdef.tmp"):  # the last one is what a killed process leaves
        (folder / name).write_text("x")
    new_model().fit(X, Y, epochs=3, callbacks=[BackupAndRestore(folder, double_checkpoint=True)], **QUIET)
    assert sorted(file.name for file in folder.iterdir()) == ["mine.tmp", "mine.txt"]


def test_a_kept_backup_leaves_nothing_to_do_or_goes_on_with_more_epochs(tmp_path, capsys):
    backup = BackupAndRestore(tmp_path, delete_checkpoint=False)
    first = new_model(dropout=0.5)
    first.fit(X, Y, epochs=2, callbacks=[backup], **QUIET)
    calls, last = [], []
    count = LambdaCallback(on_epoch_begin=lambda epoch, logs: calls.append(epoch), on_train_end=last.append)
    again = new_model(dropout=0.5)
    history = again.fit(X, Y, epochs=2, callbacks=[backup, count], **QUIET)
    assert calls == []
    assert last == [{name: values[-1] for name, values in first.history.history.items()}]
    assert_same_state(again, first)
    new_model(dropout=0.5).fit(X, Y, epochs=2, callbacks=[backup], batch_size=8, verbose=1)
    assert capsys.readouterr().out == f"BackupAndRestore: all epochs are done, by {tmp_path}/backup.h5.\n"
    assert history.history == first.history.history
    further = new_model(dropout=0.5)
    further.fit(X, Y, epochs=4, callbacks=[backup, count], batch_size=8, verbose=2)
    assert calls == [2, 3]
    assert capsys.readouterr().out.startswith(f"BackupAndRestore: going on with epoch 3, from {tmp_path}/backup.h5.\n")
    whole = new_model(dropout=0.5)
    whole.fit(X, Y, epochs=4, **QUIET)
    assert_same_state(further, whole)


def test_the_same_model_goes_on_in_the_same_process(tmp_path, capsys):
    """As in a notebook after an error, and as in the documentation of Keras."""
    model, whole = new_model(dropout=0.5), new_model(dropout=0.5)
    backup = BackupAndRestore(tmp_path, save_freq=2)
    slower = LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(model.optimizer, "learning_rate", 2e-3 / 2**epoch))
    for interruption in (("on_train_batch_end", 1), ("on_train_batch_end", 6)):
        interrupt(model, [backup, slower], *interruption, epochs=4)
    assert capsys.readouterr().out == ""
    model.fit(X, Y, epochs=4, callbacks=[backup, slower], batch_size=8, verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"BackupAndRestore: going on with epoch 2 after batch 1, from {tmp_path}/backup.h5."
    assert [line.split(" - ")[0] for line in lines[1:]] == [f"Epoch {epoch}/4 3/3" for epoch in (2, 3, 4)]
    rates = LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(whole.optimizer, "learning_rate", 2e-3 / 2**epoch))
    whole.fit(X, Y, epochs=4, callbacks=[rates], **QUIET)
    assert_same_state(model, whole)
    assert model.history.history == whole.history.history


def test_two_fits_in_a_row_with_a_backup_each(tmp_path):
    """The script begins anew with its first fit, whose backup is gone, and finds that of the second."""

    def script(interruption=None):
        model = new_model(dropout=0.5)
        model.fit(X, Y, epochs=2, callbacks=[BackupAndRestore(tmp_path / "one")], **QUIET)
        callbacks = [BackupAndRestore(tmp_path / "two"), *([interrupter(*interruption)] if interruption else [])]
        model.fit(X, Y, epochs=3, callbacks=callbacks, **QUIET)
        return model

    with pytest.raises(Interrupted):
        script(("on_epoch_end", 2))
    whole = new_model(dropout=0.5)
    whole.fit(X, Y, epochs=5, **QUIET)
    assert_same_state(script(), whole)


def test_logs_of_batches_are_not_computed_for_its_sake():
    for save_freq in ("epoch", 1):
        assert not CallbackList(BackupAndRestore("backup", save_freq)).wants("on_train_batch_end")


def test_it_comes_after_all_other_callbacks():
    backup, other = BackupAndRestore("backup"), Callback()
    calls = CallbackList([backup, other], add_history=True)
    assert calls.callbacks == [other, calls.history, backup]


def test_the_callback_works_in_fit_alone(tmp_path):
    model = Sequential([Input(SAMPLE), Dense(1)])
    with pytest.raises(ValueError, match="BackupAndRestore: works within fit alone; give it to fit's callbacks"):
        CallbackList(BackupAndRestore(tmp_path), model=model).on_train_begin()


def test_evaluate_and_predict_take_it_and_do_nothing(tmp_path):
    model, backup = new_model(), BackupAndRestore(tmp_path / "backup")
    model.evaluate(X[:COUNT], Y, callbacks=[backup], **QUIET)
    model.predict(X, callbacks=[backup], **QUIET)
    assert not (tmp_path / "backup").exists()
