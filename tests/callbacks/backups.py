"""Trainings that are interrupted by an error and go on in a new model, compared bit for bit."""

import numpy as np
import pytest

from minicnn.callbacks import BackupAndRestore, LambdaCallback
from tests.small_models import QUIET, X, Y, assert_same_weights


class Interrupted(Exception):
    pass


def interrupter(hook, count):
    """A callback that raises at the count-th call of the hook."""
    left = [count]

    def call(*arguments, **keywords):
        left[0] -= 1
        if left[0] == 0:
            raise Interrupted

    return LambdaCallback(**{hook: call})


def interrupt(model, callbacks, hook, count, **fit):
    """Train until the hook is called for the count-th time. fit: other arguments of fit, and other data."""
    data = {"verbose": 0} if "x" in fit else {"x": X, "y": Y, **QUIET}
    fit.setdefault("epochs", 4)
    with pytest.raises(Interrupted):
        model.fit(**{**data, **fit}, callbacks=[*callbacks, interrupter(hook, count)])


def assert_same_state(one, other):
    """Weights, optimizer, counters: all that decides how training would go on."""
    assert_same_weights(one, other)
    assert one.optimizer.slots.keys() == other.optimizer.slots.keys()
    for name, slot in one.optimizer.slots.items():
        np.testing.assert_array_equal(slot, other.optimizer.slots[name])
    assert one.optimizer.iterations == other.optimizer.iterations
    assert one.optimizer.learning_rate == other.optimizer.learning_rate
    assert (one._steps_trained, one._epochs_trained) == (other._steps_trained, other._epochs_trained)
    assert one.seed == other.seed


def check(tmp_path, make, interruptions, save_freq="epoch", fit=None, epochs=4, callbacks=list, **options):
    """Train without interruption, and with these, each in a model of its own; both must end alike.

    make: the model. fit: a function of no arguments that returns those of fit, data among them. interruptions: hook and
    count of each.
    """
    fit = fit or (lambda: {"x": X, "y": Y, **QUIET})
    whole = make()
    expected = whole.fit(**fit(), epochs=epochs, callbacks=callbacks())
    for interruption in interruptions:
        backup = BackupAndRestore(tmp_path / "backup", save_freq, **options)
        interrupt(make(), [backup, *callbacks()], *interruption, **fit(), epochs=epochs)
    model = make()
    backup = BackupAndRestore(tmp_path / "backup", save_freq, **options)
    history = model.fit(**fit(), epochs=epochs, callbacks=[backup, *callbacks()])
    assert_same_state(model, whole)
    np.testing.assert_equal(history.history, expected.history)  # NaN equals NaN
    assert history.epoch == expected.epoch
    assert history.params == expected.params
    return model
