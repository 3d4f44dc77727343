"""ModelCheckpoint: which files are there after a run, and what is in them."""

import math

import pytest

from minicnn.callbacks import ModelCheckpoint
from minicnn.errors import ConfigError, FileFormatError, MinicnnWarning


def contents(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_one_file_is_overwritten_each_epoch(fit, tmp_path):
    fit(ModelCheckpoint(tmp_path / "m.h5"), [0.5, 0.4, 0.6])
    assert contents(tmp_path) == {"m.h5": "model 2"}


def test_name_is_filled_in_from_epoch_and_logs(fit, tmp_path):
    fit(ModelCheckpoint(tmp_path / "run" / "{epoch:02d}-{val_loss:.2f}.h5"), [0.5, 0.456])
    assert contents(tmp_path) == {"run/01-0.50.h5": "model 0", "run/02-0.46.h5": "model 1"}


def test_only_the_best_is_kept(fit, tmp_path):
    fit(ModelCheckpoint(tmp_path / "m.h5", save_best_only=True), [0.5, 0.4, 0.6, 0.4])
    assert contents(tmp_path) == {"m.h5": "model 1"}


def test_best_may_be_the_largest(fit, tmp_path):
    rows = [{"val_accuracy": v} for v in (0.5, 0.7, 0.6)]
    fit(ModelCheckpoint(tmp_path / "m.h5", monitor="val_accuracy", save_best_only=True), rows)
    assert contents(tmp_path) == {"m.h5": "model 1"}


def test_nan_is_never_the_best(fit, tmp_path):
    fit(ModelCheckpoint(tmp_path / "{epoch}.h5", save_best_only=True), [math.nan, 0.7, math.nan, 0.6])
    assert contents(tmp_path) == {"2.h5": "model 1", "4.h5": "model 3"}


def test_threshold_must_be_beaten(fit, tmp_path):
    callback = ModelCheckpoint(tmp_path / "{epoch}.h5", save_best_only=True, initial_value_threshold=0.5)
    fit(callback, [0.6, 0.5, 0.4])
    assert contents(tmp_path) == {"3.h5": "model 2"}


def test_best_is_kept_from_fit_to_fit(fit, tmp_path):
    callback = ModelCheckpoint(tmp_path / "m.h5", save_best_only=True)
    fit(callback, [0.6, 0.4])
    fit(callback, [0.5])
    assert contents(tmp_path) == {"m.h5": "model 1"}
    assert callback.get_state() == {"best": 0.4, "batches_since_saving": 0, "epochs_since_saving": 0}


def test_weights_only(fit, tmp_path):
    fit(ModelCheckpoint(tmp_path / "m.h5", save_weights_only=True), [0.5])
    assert contents(tmp_path) == {"m.h5": "weights 0"}


def test_every_so_many_batches_counted_across_epochs(fit, tmp_path):
    fit(ModelCheckpoint(tmp_path / "{epoch}-{batch}.h5", save_freq=4), [0.5, 0.4, 0.3], batches=3)
    assert contents(tmp_path) == {"2-1.h5": "model 1", "3-2.h5": "model 2"}


def test_period_of_keras_2_counts_epochs_from_fit_to_fit(fit, tmp_path):
    callback = ModelCheckpoint(tmp_path / "{epoch}-{val_loss}.h5", period=2)
    fit(callback, [0.5, 0.4, 0.3])
    fit(callback, [0.2])
    assert contents(tmp_path) == {"2-0.4.h5": "model 1", "1-0.2.h5": "model 0"}


def test_missing_value_warns_and_saves(fit, tmp_path):
    callback = ModelCheckpoint(tmp_path / "m.h5", save_best_only=True)
    with pytest.warns(MinicnnWarning, match=r"ModelCheckpoint: 'val_loss' is not among the logs \(loss\); the"):
        fit(callback, [{"loss": 1.0}])
    assert contents(tmp_path) == {"m.h5": "model 0"}


def test_messages(fit, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit(ModelCheckpoint("m.h5", save_best_only=True, verbose=1), [0.5, 0.6])
    fit(ModelCheckpoint("m.h5", verbose=1), [0.5])
    assert capsys.readouterr().out == (
        "\nEpoch 1: val_loss improved from None to 0.50000, saving model to m.h5\n"
        "\nEpoch 1: finished saving model to m.h5\n"
        "\nEpoch 2: val_loss did not improve from 0.50000\n"
        "\nEpoch 1: saving model to m.h5\n"
        "\nEpoch 1: finished saving model to m.h5\n"
    )


def test_a_key_that_the_logs_do_not_have_is_named(fit):
    with pytest.raises(ConfigError) as error:
        fit(ModelCheckpoint("{epoch}-{val_acc:.2f}.h5"), [0.5])
    assert str(error.value) == (
        "ModelCheckpoint: filepath '{epoch}-{val_acc:.2f}.h5' asks for 'val_acc', which the logs do not have; "
        "known: epoch, val_loss."
    )


@pytest.mark.parametrize("name", ["{epoch:q}.h5", "{}.h5", "{epoch.h5", "{epoch.size}.h5"])
def test_a_bad_format_is_named(fit, name):
    with pytest.raises(ConfigError, match=r"ModelCheckpoint: filepath '.*' (cannot be filled in|asks for)"):
        fit(ModelCheckpoint(name), [0.5])


def test_a_folder_is_refused(fit, tmp_path):
    (tmp_path / "m.h5").mkdir()
    with pytest.raises(ConfigError, match=r"m\.h5' is a folder; name a file"):
        fit(ModelCheckpoint(tmp_path / "m.h5"), [0.5])


ENDINGS = "filepath must end in .h5 or .hdf5{}, got '{}'"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filepath": "m.txt"}, ENDINGS.format(" or .keras", "m.txt")),
        ({"filepath": "m.keras", "save_weights_only": True}, ENDINGS.format("", "m.keras")),
        ({"filepath": 3}, "filepath must be a path, got 3"),
        ({"save_freq": "batch"}, "save_freq must be \"epoch\" or a number of batches, got 'batch'"),
        ({"save_freq": 0}, "save_freq must be a positive integer, got 0"),
        ({"initial_value_threshold": "x"}, "initial_value_threshold must be a finite number, got 'x'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ConfigError) as error:
        ModelCheckpoint(**{"filepath": "m.h5", **arguments})
    assert str(error.value) == f"ModelCheckpoint: {message}."


def test_a_folder_that_cannot_be_made_is_named(fit, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        FileFormatError, match=r"ModelCheckpoint: the folder of '.*m\.h5' cannot be made: .*another file"
    ):
        fit(ModelCheckpoint(tmp_path / "file" / "more" / "m.h5"), [0.5])


def test_what_could_not_be_saved_is_not_the_best(fit, tmp_path):
    (tmp_path / "m.h5").mkdir()
    checkpoint = ModelCheckpoint(tmp_path / "m.h5", save_best_only=True)
    with pytest.raises(ConfigError, match="is a folder"):
        fit(checkpoint, [0.5])
    assert checkpoint.best is None
