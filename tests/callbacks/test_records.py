"""History and CSVLogger: what is left of a run."""

import pickle

import numpy as np
import pytest

from minicnn.callbacks import CSVLogger, History
from minicnn.errors import ConfigError, FileFormatError


def test_history_keeps_python_floats(fit, model):
    history = History()
    fit(history, [{"loss": np.float32(0.5), "acc": np.array(0.25)}, {"loss": 0.125, "acc": 1.0}])
    assert history.history == {"loss": [0.5, 0.125], "acc": [0.25, 1.0]}
    assert {type(v) for values in history.history.values() for v in values} == {float}
    assert history.epoch == [0, 1]
    assert history.params == {"verbose": 0, "epochs": 2, "steps": 1}
    assert model.history is history


def test_history_goes_on_in_a_second_fit(fit):
    history = History()
    fit(history, [0.5])
    fit(history, [0.25])
    assert (history.history, history.epoch) == ({"val_loss": [0.5, 0.25]}, [0])


def test_csv_with_validation(fit, tmp_path):
    rows = [{"loss": 0.5, "accuracy": 0.25, "val_loss": 0.75}, {"loss": 0.125, "accuracy": 1.0, "val_loss": 2.0}]
    fit(CSVLogger(tmp_path / "log.csv"), rows)
    expected = b"epoch,accuracy,loss,val_loss\r\n0,0.25,0.5,0.75\r\n1,1.0,0.125,2.0\r\n"
    assert (tmp_path / "log.csv").read_bytes() == expected


def test_csv_without_validation_has_its_columns_all_the_same(fit, tmp_path):
    fit(CSVLogger(tmp_path / "log.csv", separator=";"), [{"loss": 0.5, "acc": 1.0}, {"loss": 0.25, "val_acc": 0.5}])
    expected = b"epoch;acc;loss;val_acc;val_loss\r\n0;1.0;0.5;NA;NA\r\n1;NA;0.25;0.5;NA\r\n"
    assert (tmp_path / "log.csv").read_bytes() == expected


def test_csv_is_written_anew_or_appended_to(fit, tmp_path):
    path = tmp_path / "log.csv"
    fit(CSVLogger(path), [0.5])
    fit(CSVLogger(path), [0.25])
    assert path.read_bytes() == b"epoch,val_loss\r\n0,0.25\r\n"
    fit(CSVLogger(path, append=True), [0.125])
    assert path.read_bytes() == b"epoch,val_loss\r\n0,0.25\r\n0,0.125\r\n"


def test_csv_keeps_what_it_held_until_there_is_a_line_to_write(fit, tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b"of an earlier run")
    callback = CSVLogger(path)
    callback.on_train_begin()
    assert path.read_bytes() == b"of an earlier run"
    callback.on_epoch_end(0, {"val_loss": 0.5})
    assert path.read_bytes() == b"epoch,val_loss\r\n0,0.5\r\n"
    fit(CSVLogger(path), [])
    assert path.read_bytes() == b""


def test_csv_append_to_a_new_file_writes_the_header(fit, tmp_path):
    fit(CSVLogger(tmp_path / "log.csv", append=True), [0.5])
    assert (tmp_path / "log.csv").read_bytes() == b"epoch,val_loss\r\n0,0.5\r\n"


def test_csv_of_a_sequence_and_of_numpy_scalars(fit, tmp_path):
    fit(CSVLogger(tmp_path / "log.csv"), [{"a": [1, 2], "val_b": np.float32(0.5)}])
    assert (tmp_path / "log.csv").read_bytes() == b'epoch,a,val_b\r\n0,"""[1, 2]""",0.5\r\n'


def test_csv_can_be_pickled_in_the_middle_of_a_run(tmp_path):
    callback = CSVLogger(tmp_path / "log.csv")
    callback.on_train_begin()
    callback.on_epoch_end(0, {"val_loss": 0.5})
    pickle.loads(pickle.dumps(callback)).on_epoch_end(1, {"val_loss": 0.25})
    assert (tmp_path / "log.csv").read_bytes() == b"epoch,val_loss\r\n0,0.5\r\n1,0.25\r\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"separator": ",,"}, "separator must be one character, no quote and no line end, got ',,'"),
        ({"separator": "\n"}, "separator must be one character, no quote and no line end, got '\\n'"),
        ({"filename": None}, "filename must be a path, got None"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ConfigError) as error:
        CSVLogger(**{"filename": "log.csv", **arguments})
    assert str(error.value) == f"CSVLogger: {message}."


def test_a_file_that_cannot_be_written_is_named_before_the_first_epoch(fit, tmp_path):
    with pytest.raises(FileFormatError, match=r"CSVLogger: .*none.log\.csv cannot be written: No such file"):
        fit(CSVLogger(tmp_path / "none" / "log.csv"), [{"loss": 1.0}])
