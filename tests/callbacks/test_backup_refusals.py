"""BackupAndRestore: what does not fit is refused in one line, before anything has changed."""

import shutil

import numpy as np
import pytest

from minicnn import Input, Sequential, optimizers
from minicnn.callbacks import BackupAndRestore, CSVLogger, LambdaCallback
from minicnn.errors import ConfigError, FileFormatError, MinicnnWarning
from minicnn.layers import Conv2D, Dense, Flatten
from minicnn.saving import atomic
from tests.callbacks.backups import assert_same_state, interrupt
from tests.small_models import CLASSES, NUMBERS, QUIET, SAMPLE, X, Y, new_model


@pytest.fixture
def folder(tmp_path):
    """A folder with the backup of a training that was interrupted in its second epoch."""
    interrupt(new_model(dropout=0.25), [BackupAndRestore(tmp_path)], "on_train_batch_end", 5, epochs=3)
    return tmp_path


def refusal(model, folder, **fit):
    """The message of the error, after which model and backup are as they were."""
    before, content = model.get_weights(), (folder / "backup.h5").read_bytes()
    with pytest.raises((FileFormatError, ConfigError)) as error:
        model.fit(**{"x": X, "y": Y, "epochs": 3, **QUIET, **fit}, callbacks=[BackupAndRestore(folder)])
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))
    assert model.optimizer.iterations == 0
    assert model.running is None
    assert (folder / "backup.h5").read_bytes() == content
    assert "\n" not in str(error.value)
    return str(error.value)


def other(folder, what):
    return (
        f"BackupAndRestore: {folder}/backup.h5 is of another training ({what}); delete it to begin anew, or give this "
        "training a backup_dir of its own."
    )


def of_layers(*layers, **options):
    model = Sequential([Input(SAMPLE), *layers, Flatten(), Dense(CLASSES, activation="softmax")], seed=0, **options)
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: of_layers(), "layers is a list of 6, not a list of 2"),
        (lambda: new_model(dropout=0.5), "layers[3].rate is 0.25, not 0.5"),
        (lambda: new_model(dropout=0.25, dtype="float64"), "dtype is 'float32', not 'float64'"),
        (lambda: new_model(dropout=0.25, kernels="numpy"), "kernels is 'numba', not 'numpy'"),
        (lambda: new_model(dropout=0.25, seed=1), "seed is 0, not 1"),
        (lambda: new_model(dropout=0.25, seed=None), "seed is 0, not None"),
        (lambda: new_model("sgd", dropout=0.25), "optimizer.class is 'Adam', not 'SGD'"),
        (lambda: new_model(optimizers.Adam(1e-4), dropout=0.25), "optimizer._learning_rate is 0.001, not 0.0001"),
        (lambda: new_model(optimizers.Adam(clipnorm=1), dropout=0.25), "optimizer.clipnorm is None, not 1.0"),
        (
            lambda: new_model(loss="mse", dropout=0.25),
            "loss.class is 'CategoricalCrossentropy', not 'MeanSquaredError'",
        ),
        (lambda: new_model(metrics=["mae"], dropout=0.25), "metrics[0] is 'accuracy', not 'mae'"),
    ],
)
def test_another_model(folder, make, what):
    assert refusal(make(), folder) == other(folder, what)


def test_frozen_layers(folder):
    model = new_model(dropout=0.25)
    model.layers[0].trainable = False
    assert refusal(model, folder) == other(folder, "trainable[0] is True, not False")


def test_a_frozen_model(folder):
    model = new_model(dropout=0.25)
    model.trainable = False
    for layer in model.layers:
        layer.trainable = True
    with pytest.warns(MinicnnWarning, match="no weights to train"):
        message = refusal(model, folder)
    assert message == other(folder, "trainable[0] is True, not False")


def test_the_log_of_the_interrupted_training_is_still_there(tmp_path):
    log = tmp_path / "log.csv"

    def callbacks():
        return [CSVLogger(log), BackupAndRestore(tmp_path)]

    interrupt(new_model(), callbacks(), "on_epoch_end", 2)
    before = log.read_bytes()
    assert before.count(b"\n") == 3
    with pytest.raises(FileFormatError, match="is of another training"):
        new_model().fit(X, Y, batch_size=4, epochs=3, callbacks=callbacks(), verbose=0)
    assert log.read_bytes() == before


def test_other_fused_steps(folder):
    model = new_model(dropout=0.25)
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"], steps=[])
    assert refusal(model, folder) == other(folder, "steps is 'auto', not []")


def test_another_schedule(tmp_path):
    schedules = [optimizers.schedules.ExponentialDecay(0.5, steps, 0.5) for steps in (3, 4)]
    models = [new_model(optimizers.SGD(schedule)) for schedule in schedules]
    interrupt(models[0], [BackupAndRestore(tmp_path)], "on_epoch_end", 2)
    assert "(optimizer._learning_rate.decay_steps is 3" in refusal(models[1], tmp_path)


@pytest.mark.parametrize(
    ("fit", "what"),
    [
        ({"batch_size": 4}, "training.batch_size is 8, not 4"),
        ({"shuffle": False}, "training.shuffle is True, not False"),
        ({"steps_per_epoch": 2}, "steps_per_epoch is None, not 2"),
        ({"initial_epoch": 1}, "initial_epoch is 0, not 1"),
        ({"validation_freq": 2}, "validation_freq is 1, not 2"),
        ({"x": X[:-1], "y": Y[:-1]}, "training.x.shape[0] is 22, not 21"),
        ({"x": X.astype(np.float64)}, "training.x.dtype is '<f4', not '<f8'"),
        ({"validation_split": 0.25}, "training.x.shape[0] is 22, not 16"),
    ],
)
def test_other_arguments_and_data(folder, fit, what):
    assert refusal(new_model(dropout=0.25), folder, **fit) == other(folder, what)


def swapped(array):
    """The array with its last two samples in each other's place."""
    return np.concatenate([array[:-2], array[-1:], array[-2:-1]])


@pytest.mark.parametrize(
    ("fit", "what"),
    [
        ({"x": swapped(X)}, r"training\.x\.contents is '[0-9a-f]{16}', not '[0-9a-f]{16}'"),
        ({"y": swapped(Y)}, r"training\.y\.contents is '[0-9a-f]{16}', not '[0-9a-f]{16}'"),
        ({"sample_weight": np.ones(len(X))}, r"training\.sample_weight is None, not {'shape': \[22\], .*"),
        ({"validation_data": (X, Y)}, r"validation is None, not {.*"),
        ({"x": [(X, Y)], "y": None}, r"training\.batch_size is 8, not None"),
    ],
)
def test_other_contents(folder, fit, what):
    with pytest.raises(FileFormatError, match=rf"^BackupAndRestore: .*backup\.h5 is of another training \({what}\); "):
        new_model(dropout=0.25).fit(
            **{"x": X, "y": Y, "epochs": 3, **QUIET, **fit}, callbacks=[BackupAndRestore(folder)]
        )


def test_labels_of_another_kind(tmp_path):
    interrupt(new_model(), [BackupAndRestore(tmp_path)], "on_epoch_end", 2)
    model = new_model(loss="sparse_categorical_crossentropy")
    assert "(loss.class is 'CategoricalCrossentropy', not 'Sparse" in refusal(model, tmp_path, y=NUMBERS)


def test_fewer_epochs_than_are_done(folder):
    message = (
        f"BackupAndRestore: {folder}/backup.h5 has come to epoch 1, and fit has epochs=0; raise epochs, or delete "
    )
    assert refusal(new_model(dropout=0.25), folder, epochs=0) == message + "it to begin anew."


def test_the_backup_of_a_later_fit(tmp_path):
    """A script of two fits with one folder: begun anew, its first fit finds the backup of the second."""
    model = new_model()
    model.fit(X, Y, epochs=2, callbacks=[BackupAndRestore(tmp_path)], **QUIET)
    interrupt(model, [BackupAndRestore(tmp_path)], "on_train_batch_begin", 5, epochs=3)
    assert refusal(new_model(), tmp_path) == other(tmp_path, "it began after 6 steps of training, not 0")


def test_the_learning_rate_in_a_model_that_was_compiled_anew(folder):
    """The model has been trained further than the backup, so that only its optimizer's count tells."""
    model = new_model(dropout=0.25)
    model.fit(X, Y, epochs=3, **QUIET)
    model.compile(optimizers.Adam(1e-4), "categorical_crossentropy", metrics=["accuracy"])
    assert refusal(model, folder) == other(folder, "optimizer._learning_rate is 0.001, not 0.0001")


def test_a_backup_without_a_step_is_replaced(tmp_path):
    """There is nothing to lose, and whoever changes a rate after a look at the first batches is not bothered."""
    interrupt(new_model(), [BackupAndRestore(tmp_path)], "on_train_batch_end", 1)
    model, whole = new_model("sgd"), new_model("sgd")
    model.fit(X, Y, callbacks=[BackupAndRestore(tmp_path)], **QUIET)
    whole.fit(X, Y, **QUIET)
    assert_same_state(model, whole)


# -- files


def test_a_damaged_backup(folder):
    path = folder / "backup.h5"
    path.write_bytes(path.read_bytes()[:-100])
    message = refusal(new_model(dropout=0.25), folder)
    assert message.startswith(f"BackupAndRestore: delete {path} to begin anew; {path}: is damaged or incomplete (")


def test_a_damaged_backup_and_the_one_before(tmp_path):
    whole, model = new_model(), new_model()
    interrupt(new_model(), [BackupAndRestore(tmp_path, double_checkpoint=True)], "on_epoch_end", 4, epochs=5)
    path = tmp_path / "backup.h5"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(
        MinicnnWarning, match=r"^BackupAndRestore: training goes on from .*previous\.h5, since .* damaged"
    ):
        model.fit(X, Y, epochs=5, callbacks=[BackupAndRestore(tmp_path, double_checkpoint=True)], **QUIET)
    whole.fit(X, Y, epochs=5, **QUIET)
    assert_same_state(model, whole)


def test_a_damaged_backup_never_takes_the_place_of_the_one_before(tmp_path, monkeypatch):
    """Not even where the process ends before it has written the next one."""
    interrupt(new_model(), [BackupAndRestore(tmp_path, double_checkpoint=True)], "on_epoch_end", 4, epochs=5)
    latest, previous = tmp_path / "backup.h5", tmp_path / "previous.h5"
    whole = previous.read_bytes()
    latest.write_bytes(latest.read_bytes()[:-100])

    def full(path, content):
        raise OSError("no space left on device")

    write_whole = atomic.write_whole
    monkeypatch.setattr(atomic, "write_whole", full)
    with pytest.raises(OSError, match="no space"), pytest.warns(MinicnnWarning):
        new_model().fit(X, Y, epochs=5, callbacks=[BackupAndRestore(tmp_path, double_checkpoint=True)], **QUIET)
    monkeypatch.setattr(atomic, "write_whole", write_whole)
    assert previous.read_bytes() == whole
    with pytest.warns(MinicnnWarning, match="training goes on from"):
        new_model().fit(X, Y, epochs=5, callbacks=[BackupAndRestore(tmp_path, double_checkpoint=True)], **QUIET)


def test_the_file_that_is_damaged_is_the_one_to_delete(tmp_path):
    (tmp_path / "previous.h5").write_bytes(b"nothing")
    with pytest.raises(FileFormatError, match=r"^BackupAndRestore: delete \S*previous\.h5 to begin anew; "):
        new_model().fit(X, Y, callbacks=[BackupAndRestore(tmp_path, double_checkpoint=True)], **QUIET)


def test_a_model_file_is_no_backup(tmp_path):
    model = new_model()
    model.save(tmp_path / "backup.h5")
    path = tmp_path / "backup.h5"
    message = (
        f"BackupAndRestore: delete {path} to begin anew; {path}: is not written by this version of BackupAndRestore."
    )
    assert refusal(model, tmp_path) == message


@pytest.mark.parametrize("name", ["file", "file/folder"])
def test_a_folder_that_cannot_be_made(tmp_path, name):
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        FileFormatError, match=rf"^BackupAndRestore: .*{name} cannot be made: .*; choose another backup_dir"
    ):
        new_model().fit(X, Y, callbacks=[BackupAndRestore(tmp_path / name)], **QUIET)


def test_a_folder_that_vanishes_ends_the_training(tmp_path):
    folder = tmp_path / "backup"
    gone = LambdaCallback(on_epoch_end=lambda epoch, logs: shutil.rmtree(folder))
    with pytest.raises(FileFormatError, match=rf"^{folder}/backup\.h5: cannot be written: No such file or directory"):
        new_model().fit(X, Y, callbacks=[BackupAndRestore(folder), gone], **QUIET)


# -- arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backup_dir": ""}, "backup_dir must be the path of a folder, got ''"),
        ({"backup_dir": None}, "backup_dir must be the path of a folder, got None"),
        ({"save_freq": "batch"}, "save_freq must be \"epoch\" or a number of batches, got 'batch'"),
        ({"save_freq": 0}, "save_freq must be a positive integer, got 0"),
        ({"save_freq": False}, "save_freq must be a positive integer, got False"),
        ({"save_before_preemption": True}, "unknown argument 'save_before_preemption'; see help(BackupAndRestore)"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ConfigError) as error:
        BackupAndRestore(**{"backup_dir": "backup", **arguments})
    assert str(error.value) == f"BackupAndRestore: {message}."


def test_two_backups(tmp_path):
    with pytest.raises(ConfigError, match="callbacks: got two BackupAndRestore; a training goes on from one backup"):
        new_model().fit(X, Y, callbacks=[BackupAndRestore(tmp_path), BackupAndRestore(tmp_path)], **QUIET)


def test_convolutions_of_another_size(tmp_path):
    interrupt(of_layers(Conv2D(4, 3)), [BackupAndRestore(tmp_path)], "on_epoch_end", 2)
    assert refusal(of_layers(Conv2D(5, 3)), tmp_path) == other(tmp_path, "layers[0].filters is 4, not 5")
