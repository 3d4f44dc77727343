"""fit, evaluate and predict: exact losses, epochs and callbacks, what is printed, and NaN."""

import copy
import io
import pickle
import re
import sys
import types

import numpy as np
import pytest

import minicnn
from minicnn import Input, Sequential, optimizers
from minicnn.callbacks import Callback, EarlyStopping, History, LambdaCallback, LearningRateScheduler
from minicnn.errors import ConfigError, DataError, ShapeError
from minicnn.layers import Conv2D, Dense, Layer
from minicnn.progress import format_logs
from tests.small_models import COUNT, QUIET, X, Y, assert_same_weights, linear_model, new_model

# -- exact numbers


def test_loss_of_an_epoch_weights_every_sample_alike():
    """Batches of 4, 4 and 2: the mean over samples, not over batches."""
    model = linear_model()
    model.set_weights([np.array([[1.0], [0.0]]), np.zeros(1)])
    x = np.arange(10, dtype=np.float32)[:, None] * [1, 0]
    assert model.fit(x, np.zeros(10), batch_size=4, verbose=0).history["loss"] == [28.5]
    assert model.evaluate(x, np.zeros(10), batch_size=4, verbose=0) == 28.5


def test_sample_weights_are_divided_by_the_batch_size():
    model = linear_model()
    model.set_weights([np.array([[1.0], [0.0]]), np.zeros(1)])
    x = np.array([[1.0, 0], [2.0, 0], [3.0, 0]])
    assert model.evaluate(x, np.zeros(3), sample_weight=[1, 0.5, 2], verbose=0) == pytest.approx(
        (1 + 2 + 18) / 3, rel=1e-6
    )


def test_class_weight_multiplies_and_leaves_validation_alone():
    model = Sequential([Input((2,)), Dense(2, activation="softmax", kernel_initializer="zeros")], seed=0)
    model.compile(optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    x, y = np.ones((4, 2)), np.array([0, 0, 0, 1])
    history = model.fit(x, y, class_weight={1: 5.0}, validation_data=(x, y), verbose=0).history
    assert history["loss"] == [pytest.approx(np.log(2) * (3 + 5) / 4, rel=1e-6)]
    assert history["val_loss"] == [pytest.approx(np.log(2), rel=1e-6)]


def test_the_penalty_is_part_of_every_loss():
    model = Sequential([Input((2,)), Dense(1, use_bias=False, kernel_regularizer=minicnn.regularizers.L2(0.5))], seed=0)
    model.compile(optimizers.SGD(0.25), "mse")
    kernel = np.array([[2.0], [0.0]])
    model.set_weights([kernel])
    x, y = np.zeros((4, 2)), np.zeros(4)
    assert model.evaluate(x, y, verbose=0) == model.test_on_batch(x, y) == 2.0
    history = model.fit(x, y, batch_size=2, validation_data=(x, y), verbose=0).history
    np.testing.assert_array_equal(model.get_weights()[0], kernel * 0.75**2)  # w −= 0.25·2·0.5·w, twice
    assert history["loss"] == [(2.0 + 0.5 * 1.5**2) / 2]  # each batch's penalty from before its update
    assert history["val_loss"] == [0.5 * 1.125**2]


# -- epochs, histories and callbacks


def test_initial_epoch_counts_on():
    history = new_model().fit(X, Y, initial_epoch=3, epochs=5, **QUIET)
    assert history.epoch == [3, 4]
    assert len(history.history["loss"]) == 2
    assert new_model().fit(X, Y, initial_epoch=3, epochs=3, **QUIET).history == {}
    assert new_model().fit(X, Y, epochs=0, **QUIET).history == {}


def test_history_object():
    model = new_model()
    history = model.fit(X, Y, validation_split=0.25, epochs=2, **QUIET)
    assert isinstance(history, History)
    assert model.history is history
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert all(type(v) is float and len(values) == 2 for values in history.history.values() for v in values)
    assert history.params == {"verbose": 0, "epochs": 2, "steps": 2}
    assert history.model is model


class Recorder(Callback):
    """Writes down every hook that is called, with its number and the keys of its logs."""

    def __init__(self):
        self.calls = []

    def _note(self, name, number, logs):
        self.calls.append((name, number, tuple(sorted(logs or {}))))


for _hook in ("train", "test", "predict"):
    for _end in ("begin", "end"):
        setattr(Recorder, f"on_{_hook}_{_end}", lambda self, logs=None, n=f"{_hook} {_end}": self._note(n, None, logs))
        setattr(
            Recorder,
            f"on_{_hook}_batch_{_end}",
            lambda self, batch, logs=None, n=f"{_hook} batch {_end}": self._note(n, batch, logs),
        )
for _end in ("begin", "end"):
    setattr(Recorder, f"on_epoch_{_end}", lambda self, epoch, logs=None, n=f"epoch {_end}": self._note(n, epoch, logs))


def test_order_of_callbacks_calls():
    model, recorder = new_model(metrics=()), Recorder()
    model.fit(X[:10], Y[:10], validation_data=(X[:3], Y[:3]), callbacks=[recorder], epochs=1, **QUIET)
    loss = ("loss",)
    assert recorder.calls == [
        ("train begin", None, ()),
        ("epoch begin", 0, ()),
        ("train batch begin", 0, ()),
        ("train batch end", 0, loss),
        ("train batch begin", 1, ()),
        ("train batch end", 1, loss),
        ("test begin", None, ()),
        ("test batch begin", 0, ()),
        ("test batch end", 0, loss),
        ("test end", None, loss),
        ("epoch end", 0, ("loss", "val_loss")),
        ("train end", None, ("loss", "val_loss")),
    ]
    recorder.calls.clear()
    model.predict(X[:10], callbacks=[recorder], **QUIET)
    assert [name for name, _, _ in recorder.calls] == [
        "predict begin",
        *["predict batch begin", "predict batch end"] * 2,
        "predict end",
    ]
    recorder.calls.clear()
    model.evaluate(X[:10], Y[:10], callbacks=[recorder], **QUIET)
    assert [name for name, _, _ in recorder.calls] == [
        "test begin",
        *["test batch begin", "test batch end"] * 2,
        "test end",
    ]


@pytest.mark.parametrize(
    ("hook", "epochs", "steps"), [("on_train_batch_end", [0], 2), ("on_epoch_end", [0], 3), ("on_epoch_begin", [0], 1)]
)
def test_stop_training(hook, epochs, steps):
    class Stop(Callback):
        pass

    def stop(self, number, logs=None):
        if hook != "on_train_batch_end" or number == 1:
            self.model.stop_training = True

    setattr(Stop, hook, stop)
    model = new_model()
    history = model.fit(X, Y, epochs=4, callbacks=[Stop()], **QUIET)
    assert history.epoch == epochs
    assert model.optimizer.iterations == steps
    assert model.fit(X, Y, epochs=2, **QUIET).epoch == [0, 1]  # a new fit starts unstopped


def test_a_callback_ends_evaluate_and_predict(batches_apart):
    class Stop(Callback):
        def on_test_batch_end(self, batch, logs=None):
            self.model.stop_evaluating = batch == 1

        def on_predict_batch_end(self, batch, logs=None):
            self.model.stop_predicting = batch == 1

    model = new_model()
    assert len(model.predict(X, callbacks=[Stop()], **QUIET)) == 16
    assert len(model.predict(X, **QUIET)) == COUNT  # a new call starts unstopped
    assert model.evaluate(X, Y, callbacks=[Stop()], **QUIET) == model.evaluate(X[:16], Y[:16], **QUIET)
    history = model.fit(X, Y, validation_data=(X, Y), epochs=2, callbacks=[Stop()], **QUIET)
    assert history.history["val_loss"][-1] == model.evaluate(X[:16], Y[:16], **QUIET)[0]


def test_any_number_of_epochs_begins_at_once():
    stop = LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", True))
    model = new_model()
    assert model.fit(X, Y, epochs=10**15, validation_data=(X, Y), callbacks=[stop], **QUIET).epoch == [0]


def test_copies_made_by_a_callback_can_be_trained():
    copies = []

    class Keep(Callback):
        def on_epoch_end(self, epoch, logs=None):
            copies.extend([copy.deepcopy(self.model), pickle.loads(pickle.dumps(self.model))])

        def on_train_batch_end(self, batch, logs=None):
            copies.append(copy.deepcopy(self.model))

    model = new_model(dropout=0.5)
    model.fit(X, Y, callbacks=[Keep()], validation_data=(X, Y), **QUIET)
    model.fit(X, Y, **QUIET)
    for made in copies[-2:]:
        made.fit(X, Y, **QUIET)
        assert_same_weights(made, model)
    assert len(copies[0].fit(X, Y, **QUIET).epoch) == 1


def test_early_stopping_restores_the_weights_of_the_best_epoch():
    model = new_model(optimizers.SGD(2.0))
    kept = {}
    keep = LambdaCallback(on_epoch_end=lambda epoch, logs: kept.update({epoch: model.get_weights()}))
    stop = EarlyStopping(patience=2, restore_best_weights=True)
    history = model.fit(X[:16], Y[:16], validation_data=(X[16:], Y[16:]), epochs=50, callbacks=[keep, stop], **QUIET)
    best = int(np.argmin(history.history["val_loss"]))
    assert stop.best_epoch == best
    assert history.epoch == list(range(best + 3))
    for array, expected in zip(model.get_weights(), kept[best], strict=True):
        np.testing.assert_array_equal(array, expected)


def test_a_scheduler_callback_and_a_schedule_in_the_optimizer_take_the_same_steps():
    scheduled = new_model(optimizers.SGD(optimizers.schedules.ExponentialDecay(0.5, 3, 0.5, staircase=True)))
    called = new_model(optimizers.SGD(0.5))
    scheduled.fit(X, Y, epochs=3, **QUIET)
    called.fit(X, Y, epochs=3, callbacks=[LearningRateScheduler(lambda epoch: 0.5 * 0.5**epoch)], **QUIET)
    assert_same_weights(scheduled, called)
    assert called.optimizer.learning_rate == 0.125
    assert scheduled.optimizer.learning_rate == 0.0625  # of the step to come


def test_the_rate_may_be_set_between_fits():
    model = new_model(optimizers.SGD(0.5))
    model.fit(X, Y, **QUIET)
    model.optimizer.learning_rate = 0.0
    before = model.layers[0].get_weights()
    model.fit(X, Y, **QUIET)
    np.testing.assert_array_equal(model.layers[0].get_weights()[0], before[0])


def test_successive_fits_go_on_and_compile_starts_anew():
    whole, parts = new_model(dropout=0.5), new_model(dropout=0.5)
    whole.fit(X, Y, epochs=3, **QUIET)
    parts.fit(X, Y, epochs=2, **QUIET)
    parts.fit(X, Y, epochs=1, **QUIET)
    assert_same_weights(whole, parts)
    assert parts.optimizer.iterations == 9
    used = new_model(optimizers.Adam())
    used.fit(X, Y, **QUIET)
    optimizer = used.optimizer
    used.compile("sgd", "mse")
    parts.compile(optimizer, "categorical_crossentropy")
    assert optimizer.iterations == 0
    assert optimizer.slots == {}
    parts.fit(X, Y, **QUIET)
    assert optimizer.iterations == 3


@pytest.mark.parametrize("reset", [False, True])
def test_slots_that_wait_for_a_frozen_layer_are_forgotten_with_their_optimizer(reset):
    """Where compile starts anew, or the optimizer was reset, a layer that is thawed begins with new slots."""
    kernels = []
    for frozen_before in (True, False):
        model = new_model(optimizers.SGD(0.1, momentum=0.9))
        model.layers[0].trainable = not frozen_before
        model.fit(X, Y, **QUIET)
        model.layers[0].trainable = True
        model.fit(X, Y, **QUIET)
        model.layers[0].trainable = False
        model.fit(X, Y, **QUIET)
        start = new_model().get_weights()
        model.set_weights(start)
        if reset:
            model.optimizer.reset()
        model.compile(model.optimizer if reset else optimizers.SGD(0.1, momentum=0.9), "categorical_crossentropy")
        model.fit(X, Y, shuffle=False, **QUIET)
        model.layers[0].trainable = True
        model.fit(X, Y, shuffle=False, **QUIET)
        kernels.append(model.layers[0].get_weights()[0])
    np.testing.assert_array_equal(*kernels)


@pytest.mark.parametrize("frozen", [False, True])
def test_compiling_with_its_own_optimizer_goes_on(frozen):
    """For another loss or metrics, say after load_model, as in Keras; also with parameters that wait to be thawed."""
    whole, parts = (new_model() for _ in range(2))
    for model in (whole, parts):
        model.fit(X, Y, epochs=2, **QUIET)
        model.layers[0].trainable = not frozen
        model.fit(X, Y, **QUIET)
    parts.compile(parts.optimizer, "categorical_crossentropy", metrics=["mse"])
    for model in (whole, parts):
        model.layers[0].trainable = True
        model.fit(X, Y, **QUIET)
    assert_same_weights(whole, parts)
    assert parts.optimizer.iterations == 12


def test_an_optimizer_of_a_model_that_was_dropped_or_has_another_one_serves_the_next():
    optimizer = optimizers.SGD(0.1)
    new_model(optimizer).fit(X, Y, **QUIET)
    model = new_model(optimizer)
    model.fit(X, Y, **QUIET)
    with pytest.raises(ConfigError, match="belongs to Sequential"):
        new_model(optimizer)
    model.compile("adam", "mse")
    other = new_model(optimizer)
    other.fit(X, Y, **QUIET)
    with pytest.raises(ConfigError, match=f"belongs to {other} already"):
        model.compile(optimizer, "mse")


def test_train_on_batch_takes_the_steps_of_fit():
    fitted, stepped = new_model(dropout=0.5), new_model(dropout=0.5)
    fitted.fit(X, Y, shuffle=False, **QUIET)
    for start in range(0, COUNT, 8):
        stepped.train_on_batch(X[start : start + 8], Y[start : start + 8])
    assert_same_weights(fitted, stepped)


@pytest.mark.parametrize("metrics", [(), ("accuracy",), ("accuracy", "mse")])
def test_forms_of_results(metrics):
    model = new_model(metrics=metrics)
    for call in (model.train_on_batch, model.test_on_batch, lambda *a, **k: model.evaluate(*a, verbose=0, **k)):
        result = call(X, Y)
        assert isinstance(result, list) if metrics else type(result) is float
        assert list(call(X, Y, return_dict=True)) == sorted(["loss", *metrics])
        assert all(type(value) is float for value in np.atleast_1d(result).tolist())
        if metrics:
            assert len(result) == 1 + len(metrics)


def test_evaluate_changes_nothing():
    model = new_model(dropout=0.5)
    model.fit(X, Y, **QUIET)
    before, iterations = model.get_weights(), model.optimizer.iterations
    results = [model.evaluate(X, Y, verbose=0) for _ in range(2)]
    assert results[0] == results[1]
    assert model.optimizer.iterations == iterations
    for array, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, expected)


# -- output on the screen


def test_verbose_0_prints_nothing(capsys):
    model = new_model()
    model.fit(X, Y, validation_split=0.25, **QUIET)
    model.evaluate(X, Y, verbose=0)
    model.predict(X, verbose=0)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("verbose", [1, 2, "auto"])
def test_a_line_an_epoch_where_there_is_no_terminal(verbose, capsys):
    history = new_model().fit(X, Y, validation_split=0.25, epochs=2, batch_size=8, verbose=verbose).history
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for epoch, line in enumerate(lines):
        numbers = " - ".join(
            f"{key}: {history[key][epoch]:.4f}" for key in ("accuracy", "loss", "val_accuracy", "val_loss")
        )
        assert re.fullmatch(rf"Epoch {epoch + 1}/2 2/2 - [\d.]+s, [\d.]+ ms/step - {re.escape(numbers)}", line)


def test_small_numbers_are_printed_with_exponents(capsys):
    model = linear_model()
    model.set_weights([np.zeros((2, 1)), np.full(1, 0.01)])
    model.evaluate(np.zeros((4, 2)), np.zeros(4), verbose=2)
    assert "loss: 1.0000e-04" in capsys.readouterr().out


# -- non-finite values


@pytest.mark.parametrize("kernels", ["numpy", "numba"])
def test_nan_passes_through_predict_to_its_own_sample(kernels):
    model = new_model(kernels=kernels)
    want = model.predict(X, verbose=0)
    spoilt = X.copy()
    spoilt[3, 2, 2, 0] = np.nan
    got = model.predict(spoilt, verbose=0)
    assert np.isnan(got[3]).all()
    np.testing.assert_array_equal(np.delete(got, 3, axis=0), np.delete(want, 3, axis=0))
    assert np.isnan(model(spoilt)[3]).all()
    assert np.isnan(model.predict_on_batch(spoilt)[3]).all()


@pytest.mark.parametrize("labels", [np.zeros(4), np.zeros((4, 1)), np.array([0.0, 1, 0, 0])])
def test_class_weight_of_one_output_knows_both_classes_in_every_batch(labels):
    model = Sequential([Input((2,)), Dense(1, activation="sigmoid", kernel_initializer="zeros")], seed=0)
    model.compile(optimizers.SGD(0.0), "binary_crossentropy")
    weights = np.where(labels.reshape(-1) == 1, 5.0, 2.0)
    loss = model.train_on_batch(np.ones((4, 2)), labels, class_weight={0: 2.0, 1: 5.0})
    assert loss == pytest.approx(np.log(2) * weights.mean(), rel=1e-6)


@pytest.mark.parametrize("shape", [(8, 4, 4), (8, 4, 4, 1)])
def test_class_weight_for_maps_of_labels_is_refused(shape):
    model = Sequential([Input((4, 4, 1)), Conv2D(3, 1, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ConfigError, match=r"class_weight needs one label for each sample, and y has .*sample_weight"):
        model.fit(np.ones((8, 4, 4, 1)), np.zeros(shape), class_weight={0: 1.0}, verbose=0)


class Forgetful(Layer):
    """A bias whose gradient is summed over everything."""

    def build(self, input_shape, dtype, rng):
        self.add_param("bias", input_shape, minicnn.initializers.get("zeros"), dtype, rng)

    def forward(self, x, run):
        return x + self.params["bias"], None

    def backward(self, dy, saved, run, need_dx=True):
        self.grads["bias"] = dy.sum()
        return dy


def test_a_gradient_of_another_shape_than_its_parameter_is_refused():
    model = Sequential([Input((3,)), Forgetful(name="mine")])
    model.compile("sgd", "mse")
    with pytest.raises(
        ShapeError, match=r"Forgetful 'mine': backward set grads\['bias'\] of shape \(\), and .* \(3,\)"
    ):
        model.fit(np.ones((4, 3)), np.ones((4, 3)), verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], np.zeros(3))


@pytest.mark.parametrize(
    ("labels", "class_weight", "weights"),
    [
        (np.array([False, True, True, False]), {False: 2.0, True: 5.0}, [2, 5, 5, 2]),
        (np.array([-1.0, 1, 1, -1]), {0: 3.0, 1: 5.0}, [1, 5, 5, 1]),
        (np.array([-1.0, 1, 1, -1]), {-1: 3.0}, [3, 1, 1, 3]),
        (np.array([0.9, 0.1, 0.6, 0.4]), {0: 2.0, 1: 5.0}, [5, 2, 5, 2]),
        (np.array([0.0, 1, 1, 0]), {0.0: 2.0, 1.0: 5.0}, [2, 5, 5, 2]),
    ],
    ids=["bool", "negative", "negative key", "rounded", "floats"],
)
def test_class_weight_looks_up_the_rounded_label(labels, class_weight, weights):
    """As Keras 3.15 does."""
    model = Sequential([Input((2,)), Dense(1, kernel_initializer="zeros")], seed=0)
    model.compile(optimizers.SGD(0.0), "mse")
    loss = model.train_on_batch(np.ones((4, 2)), labels, class_weight=class_weight)
    assert loss == pytest.approx((labels.astype(float) ** 2 * weights).mean(), rel=1e-6)


def test_fit_within_fit_is_refused_and_the_outer_one_may_be_begun_anew():
    model = linear_model()
    again = LambdaCallback(on_epoch_end=lambda epoch, logs: model.fit(np.ones((2, 2)), np.ones(2), verbose=0))
    with pytest.raises(ConfigError, match=r"Sequential '.*': fit is under way; a callback may use train_on_batch"):
        model.fit(np.ones((2, 2)), np.ones(2), verbose=0, callbacks=[again])
    assert len(model.fit(np.ones((2, 2)), np.ones(2), verbose=0).epoch) == 1


def test_messages_about_validation_data_say_so():
    model = Sequential([Input((2,)), Dense(3, activation="softmax")], seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = np.ones((4, 2)), np.array([0, 1, 2, 0])
    with pytest.raises(
        DataError, match=r"^fit: validation_data: sparse_categorical_crossentropy: labels must lie between"
    ):
        model.fit(x, y, validation_data=(x, y + 1), verbose=0)
    with pytest.raises(ConfigError, match=r"^fit: validation_batch_size must be a positive integer, got -1"):
        model.fit(x, y, validation_data=(x, y), validation_batch_size=-1, verbose=0)
    assert "val_loss" in model.fit(x, y, validation_split=np.float32(0.25), verbose=0).history
    wanted = model.evaluate(x, y, verbose=0)
    history = model.fit(x, y, validation_data=(list(x), y.tolist()), sample_weight=np.zeros(4), verbose=0).history
    assert history["val_loss"] == [wanted]


def test_the_bar_takes_what_a_callback_put_into_the_logs():
    logs = {"loss": np.float32(0.25), "phase": "warm", "none": None, "small": 1e-5, "count": 3}
    assert format_logs(logs) == "loss: 0.2500 - phase: warm - none: None - small: 1.0000e-05 - count: 3.0000"


def test_logs_are_sorted_by_name_and_lists_begin_with_the_loss():
    """As in Keras 3: the history, what callbacks see, evaluate's dict; a list is the loss and the metrics as given."""
    model = new_model(metrics=["mse", "accuracy"])
    history = model.fit(X, Y, validation_split=0.25, **QUIET).history
    assert list(history) == ["accuracy", "loss", "mse", "val_accuracy", "val_loss", "val_mse"]
    by_name = model.evaluate(X, Y, verbose=0, return_dict=True)
    assert list(by_name) == ["accuracy", "loss", "mse"]
    assert model.evaluate(X, Y, verbose=0) == [by_name["loss"], by_name["mse"], by_name["accuracy"]]


def test_the_line_of_an_epoch_shows_what_callbacks_add(capsys):
    model = new_model("sgd")
    schedule = LearningRateScheduler(lambda epoch, rate: rate / 2)
    model.fit(X, Y, batch_size=8, epochs=2, verbose=2, callbacks=[schedule])
    first, second = capsys.readouterr().out.splitlines()
    assert "learning_rate: 0.0050" in first
    assert "learning_rate: 0.0025" in second


@pytest.mark.parametrize("stdout", [None, io.StringIO(), types.SimpleNamespace(write=len, flush=int)])
def test_a_process_without_a_terminal_trains_and_predicts(monkeypatch, stdout):
    """Without any stream, as programs with windows, and with a writer that does not say whether it is a terminal."""
    monkeypatch.setattr(sys, "stdout", stdout)
    model = new_model()
    model.fit(X, Y, verbose=1)
    model.evaluate(X, Y, verbose=1)
    assert len(model.predict(X, verbose=1)) == len(X)
