"""LearningRateScheduler and ReduceLROnPlateau: the rate of each epoch."""

import math

import pytest

import minicnn
from minicnn.callbacks import LearningRateScheduler, ReduceLROnPlateau
from minicnn.errors import ConfigError, MinicnnWarning


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (lambda epoch, rate: rate * 0.5, [0.25, 0.125, 0.0625]),
        (lambda epoch: 1.0 / (epoch + 1), [1.0, 0.5, 1 / 3]),
        (lambda epoch, rate=None: 2.0 if rate is None else rate, [0.5, 0.5, 0.5]),
        (lambda *arguments: float(len(arguments)), [2.0, 2.0, 2.0]),
    ],
)
def test_schedule_sets_and_logs_the_rate(fit, schedule, rates):
    result = fit(LearningRateScheduler(schedule), [1.0, 1.0, 1.0])
    assert result.history["learning_rate"] == rates
    assert result.model.optimizer.learning_rate == rates[-1]


def test_schedule_message(fit, capsys):
    fit(LearningRateScheduler(lambda epoch, rate: 0.125, verbose=1), [1.0])
    assert capsys.readouterr().out == "\nEpoch 1: LearningRateScheduler setting learning rate to 0.125.\n"


def test_an_error_within_the_schedule_is_the_callers(fit):
    def schedule(epoch, rate):
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        fit(LearningRateScheduler(schedule), [1.0])


@pytest.mark.parametrize("rate", [None, "0.1", math.nan, math.inf, True])
def test_schedule_must_return_a_number(fit, rate):
    with pytest.raises(ConfigError, match=r"schedule must return a finite number, got .* for epoch 0"):
        fit(LearningRateScheduler(lambda epoch, old: rate), [1.0])


@pytest.mark.parametrize("schedule", [0.1, lambda: 0.1, lambda a, b, c: 0.1])
def test_schedule_must_take_epoch_and_rate(schedule):
    with pytest.raises(ConfigError, match="LearningRateScheduler: schedule must"):
        LearningRateScheduler(schedule)


@pytest.mark.parametrize(
    ("arguments", "values", "rates"),  # rates: of each epoch, then the one that is left
    [
        ({"patience": 1}, [1, 1, 1, 1], [0.5, 0.5, 0.25, 0.125, 0.0625]),
        ({"patience": 2}, [1, 1, 1, 1, 1], [0.5, 0.5, 0.5, 0.25, 0.25, 0.125]),
        ({"patience": 2}, [1, 2, 0.5, 2, 2], [0.5, 0.5, 0.5, 0.5, 0.5, 0.25]),
        ({"patience": 0}, [1, 1, 0.5], [0.5, 0.5, 0.25, 0.25]),
        ({"patience": 1, "cooldown": 2}, [1, 1, 1, 1, 1], [0.5, 0.5, 0.25, 0.25, 0.125, 0.125]),
        ({"patience": 1, "min_lr": 0.25}, [1, 1, 1, 1], [0.5, 0.5, 0.25, 0.25, 0.25]),
        ({"patience": 1, "min_lr": 0.375}, [1, 1, 1, 1], [0.5, 0.5, 0.375, 0.375, 0.375]),
        ({"patience": 1, "min_delta": 0.25}, [1, 0.75, 0.5], [0.5, 0.5, 0.25, 0.25]),
        ({"patience": 1, "mode": "max"}, [1, 2, 3, 3], [0.5, 0.5, 0.5, 0.5, 0.25]),
        ({"patience": 1}, [math.nan, 1, 0.5, 0.5], [0.5, 0.25, 0.25, 0.25, 0.125]),
    ],
)
def test_reduce_on_plateau(fit, arguments, values, rates):
    result = fit(ReduceLROnPlateau(factor=0.5, **arguments), values)
    assert [*result.history["learning_rate"], result.model.optimizer.learning_rate] == rates


def test_reduce_defaults(fit):
    result = fit(ReduceLROnPlateau(), [1.0] + [0.99995] * 10)  # better by 5e-5 only, 10 times
    assert result.model.optimizer.learning_rate == 0.05


def test_reduce_message_comes_only_with_a_change(fit, capsys):
    fit(ReduceLROnPlateau(factor=0.5, patience=1, min_lr=0.25, verbose=1), [1, 1, 1, 1])
    assert capsys.readouterr().out == "\nEpoch 2: ReduceLROnPlateau reducing learning rate to 0.25.\n"


def test_reduce_without_its_value_warns(fit):
    with pytest.warns(MinicnnWarning, match=r"'val_loss' is not among the logs \(loss, learning_rate\); the"):
        result = fit(ReduceLROnPlateau(patience=0), [{"loss": 1.0}] * 3)
    assert result.history["learning_rate"] == [0.5, 0.5, 0.5]


def test_reduce_starts_anew_with_each_fit_and_has_a_state(fit):
    callback = ReduceLROnPlateau(factor=0.5, patience=3, cooldown=1)
    fit(callback, [0.5, 0.6])
    assert callback.get_state() == {"wait": 1, "best": 0.5, "cooldown_counter": 0}
    fit(callback, [1.0])
    assert callback.get_state() == {"wait": 0, "best": 1.0, "cooldown_counter": 0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factor": 1.0}, "factor must be a finite number of at least 0 and below 1, got 1.0"),
        ({"factor": -0.1}, "factor must be a finite number of at least 0 and below 1, got -0.1"),
        ({"patience": -1}, "patience must be an integer of at least 0, got -1"),
        ({"cooldown": 0.5}, "cooldown must be an integer of at least 0, got 0.5"),
        ({"min_lr": None}, "min_lr must be a finite number, got None"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ConfigError) as error:
        ReduceLROnPlateau(**arguments)
    assert str(error.value) == f"ReduceLROnPlateau: {message}."


def test_reduce_refuses_a_schedule_before_training():
    rate = minicnn.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    model = minicnn.Sequential([minicnn.Input((1,)), minicnn.layers.Dense(1)])
    model.compile(minicnn.optimizers.SGD(rate), "mse")
    with pytest.raises(ConfigError, match="ReduceLROnPlateau: the optimizer's learning_rate follows a schedule"):
        model.fit([[1.0]], [[1.0]], callbacks=[ReduceLROnPlateau(patience=10)], verbose=0)
    assert model.optimizer.iterations == 0
