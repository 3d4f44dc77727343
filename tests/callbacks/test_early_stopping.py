"""EarlyStopping on scripted values: when it stops, and whose weights are left. The cases were observed in Keras."""

import math
import pickle

import numpy as np
import pytest

from minicnn.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from minicnn.errors import ConfigError, MinicnnWarning
from tests.callbacks import conftest

NAN = math.nan


@pytest.mark.parametrize(
    ("arguments", "values", "epochs", "weights_from"),
    [
        ({"patience": 0}, [1, 0.9, 0.95, 0.8], 3, 2),
        ({"patience": 2, "restore_best_weights": True}, [1, 0.5, 0.6, 0.7, 0.4], 4, 1),
        ({"patience": 2, "restore_best_weights": True}, [1, 0.5, 0.6], 3, 1),  # not stopped, restored all the same
        ({"patience": 2}, [1, 0.5, 0.6, 0.7, 0.4], 4, 3),
        ({"patience": 1}, [1, 1, 1, 1], 2, 1),  # equal is not better
        ({"patience": 2, "min_delta": 0.1}, [1, 0.95, 0.91, 0.85], 3, 2),
        ({"patience": 2, "min_delta": -0.1}, [1, 0.95, 0.91, 0.85], 3, 2),  # the sign is ignored
        ({"patience": 1, "min_delta": 0.1}, [0.8, 0.7, 0.5], 3, 2),  # float64: 0.7 + 0.1 < 0.8
        ({"patience": 2, "baseline": 0.5, "restore_best_weights": True}, [1, 0.9, 0.8, 0.7], 4, 3),
        ({"patience": 2, "baseline": 0.5, "restore_best_weights": True}, [1, 0.9, 0.8, 0.85, 0.7], 4, 2),
        ({"patience": 2, "baseline": 0.85}, [1, 0.9, 0.8, 0.85, 0.9, 0.7], 5, 4),
        ({"patience": 1, "start_from_epoch": 3}, [1, 2, 3, 4, 5, 6, 7], 5, 4),
        ({"patience": 1, "start_from_epoch": 3, "restore_best_weights": True}, [1, 2, 3, 4, 5, 6, 7], 5, 3),
        ({"patience": 1}, [NAN, NAN, NAN, NAN], 2, 1),
        ({"patience": 1, "restore_best_weights": True}, [NAN, NAN, NAN, NAN], 2, 0),
        ({"patience": 2, "restore_best_weights": True}, [NAN, 1, 2, 3, 0], 4, 1),  # NaN is not the best
        ({"patience": 2, "restore_best_weights": True, "start_from_epoch": 1}, [1, NAN, 3, 2, 4, 4], 6, 3),
        ({"patience": 0, "mode": "max"}, [1, 2, 2, 3], 3, 2),
        ({"patience": 0}, [1, 0.5], 2, 1),
    ],
)
def test_stops_and_restores(fit, arguments, values, epochs, weights_from):
    result = fit(EarlyStopping(**arguments), values)
    assert (result.epochs, result.weights_from_epoch) == (epochs, weights_from)


def test_baseline_never_reached_keeps_the_best_seen(fit):
    callback = EarlyStopping(patience=2, baseline=0.5)
    fit(callback, [1, 0.9, 0.8, 0.7])
    assert (callback.best, callback.best_epoch, callback.wait, callback.stopped_epoch) == (0.7, 3, 4, 0)


@pytest.mark.parametrize("monitor", ["acc", "val_accuracy", "val_auc", "top_k_categorical_accuracy", "my_acc"])
def test_auto_wants_accuracy_to_rise(fit, monitor):
    assert fit(EarlyStopping(monitor), [{monitor: v} for v in (0.5, 0.6, 0.7, 0.6, 0.9)]).epochs == 4


@pytest.mark.parametrize("monitor", ["loss", "val_loss", "mse", "val_my_error", "f1_loss"])
def test_auto_wants_losses_and_errors_to_fall(fit, monitor):
    assert fit(EarlyStopping(monitor), [{monitor: v} for v in (0.7, 0.6, 0.5, 0.6, 0.1)]).epochs == 4


@pytest.mark.parametrize(
    "callback",
    [
        EarlyStopping("val_dice"),
        ReduceLROnPlateau("val_dice"),
        ModelCheckpoint("x.keras", "val_dice", save_best_only=True),
    ],
)
def test_auto_does_not_guess(fit, callback):
    with pytest.raises(ConfigError, match="cannot tell whether 'val_dice' is to rise or to fall; give mode='max' or"):
        fit(callback, [{"val_dice": 0.5}])


def test_auto_asks_the_metrics_of_the_model_first(fit, model):
    class Hits:
        name = "hits"
        direction = "max"

    model.metrics = [Hits()]
    assert fit(EarlyStopping("val_hits"), [{"val_hits": v} for v in (0.5, 0.6, 0.7, 0.6, 0.9)]).epochs == 4


def test_missing_value_warns_with_the_keys_and_never_stops(fit):
    with pytest.warns(MinicnnWarning, match=r"EarlyStopping: 'val_loss' is not among the logs \(loss, acc\)"):
        assert fit(EarlyStopping(), [{"loss": 1.0, "acc": 0.0}] * 3).epochs == 3


@pytest.mark.parametrize("callback", [EarlyStopping(), ReduceLROnPlateau()])
def test_missing_value_warns_once_a_fit_at_the_line_outside_minicnn(fit, callback):
    for _ in range(2):  # each fit anew
        with pytest.warns(MinicnnWarning) as warned:
            fit(callback, [{"loss": 1.0}] * 3)
        assert [w.filename for w in warned] == [conftest.__file__]


def test_messages(fit, capsys):
    fit(EarlyStopping(patience=2, restore_best_weights=True, verbose=1), [1, 0.5, 0.6, 0.7, 0.4])
    assert capsys.readouterr().out == (
        "Epoch 4: early stopping\nRestoring model weights from the end of the best epoch: 2.\n"
    )


def test_is_silent_by_default(fit, capsys):
    fit(EarlyStopping(restore_best_weights=True), [1, 2, 3])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("patience", [0, 1, 2, 3])
def test_stopped_epoch_counts_from_zero(fit, patience):
    callback = EarlyStopping(patience=patience)
    fit(callback, [10.0, 9.0, 8.0, 9.0, 8.9, 8.8, 8.7, 8.6, 8.5])
    assert callback.stopped_epoch == max(patience, 1) + 2


def test_each_fit_starts_anew(fit):
    callback = EarlyStopping(patience=1, restore_best_weights=True)
    fit(callback, [0.1, 0.2])
    result = fit(callback, [1.0, 0.9, 0.8])
    assert (result.epochs, result.weights_from_epoch, callback.best) == (3, 2, 0.8)


def test_state_takes_a_run_up_again(fit, model):
    callback = EarlyStopping(patience=2, restore_best_weights=True)
    fit(callback, [1, 0.5, 0.6])
    state = callback.get_state()
    assert {k: v for k, v in state.items() if k != "best_weights"} == {
        "wait": 1,
        "best": 0.5,
        "best_epoch": 1,
        "stopped_epoch": 0,
    }
    np.testing.assert_array_equal(state["best_weights"], [[1.0]])
    other = EarlyStopping(patience=2, restore_best_weights=True)
    other.set_model(model)
    other.on_train_begin()
    other.set_state(state)
    model.stop_training = False
    other.on_epoch_end(3, {"val_loss": 0.7})
    assert model.stop_training
    other.on_train_end()
    np.testing.assert_array_equal(model.weights, [[1.0]])


def test_state_of_another_callback_is_refused():
    with pytest.raises(ConfigError, match=r"EarlyStopping: its state holds .* got \['best'\]"):
        EarlyStopping().set_state({"best": 1.0})


def test_can_be_pickled(fit):
    callback = EarlyStopping(patience=3)
    fit(callback, [1, 2])
    callback.model = None
    assert pickle.loads(pickle.dumps(callback)).get_state() == callback.get_state()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patience": -1}, "patience must be an integer of at least 0, got -1"),
        ({"patience": 1.5}, "patience must be an integer of at least 0, got 1.5"),
        ({"patience": None}, "patience must be an integer of at least 0, got None"),
        ({"min_delta": "x"}, "min_delta must be a finite number, got 'x'"),
        ({"min_delta": NAN}, "min_delta must be a finite number, got nan"),
        ({"baseline": "0.5"}, "baseline must be a finite number, got '0.5'"),
        ({"start_from_epoch": -1}, "start_from_epoch must be an integer of at least 0, got -1"),
        ({"mode": "best"}, 'mode must be "auto", "min" or "max", got \'best\''),
        ({"monitor": None}, 'monitor must be a key of the logs such as "val_loss", got None'),
        ({"verbose": "loud"}, "verbose must be 0, 1, 2 or \"auto\", got 'loud'"),
        ({"patient": 3}, "unknown argument 'patient'; see help(EarlyStopping)"),
        ({"best": 3}, "unknown argument 'best'; see help(EarlyStopping)"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ConfigError) as error:
        EarlyStopping(**arguments)
    assert str(error.value) == f"EarlyStopping: {message}."
