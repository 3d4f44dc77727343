"""Callback, CallbackList and LambdaCallback: every hook reaches every callback, with the arguments that Keras gives."""

from itertools import repeat

import numpy as np
import pytest

from minicnn.callbacks import Callback, CallbackList, EarlyStopping, History, LambdaCallback
from minicnn.callbacks.base import HOOKS
from minicnn.errors import ConfigError
from minicnn.layers import Dense, Input
from minicnn.models import Sequential

NUMBERED = [hook for hook in HOOKS if "epoch" in hook or "batch" in hook]


def recorder(hook, calls):
    """A callback that overrides one hook and notes the calls of it."""

    def note(self, *arguments, **keywords):
        calls.append((arguments, keywords))

    return type("Recorder", (Callback,), {hook: note})()


def arguments_of(hook):
    return ({"loss": 1.0},) if hook not in NUMBERED else (3, {"loss": 1.0})


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_reaches_all_in_order(hook):
    calls = []
    callbacks = CallbackList([recorder(hook, calls), recorder(hook, calls)])
    for other in HOOKS:
        if not (hook.startswith("on_batch") and other == hook.replace("on_batch", "on_train_batch")):
            getattr(callbacks, other)(*arguments_of(other))
    by_keyword = "batch" in hook
    expected = ((3,), {"logs": {"loss": 1.0}}) if by_keyword else (arguments_of(hook), {})
    assert calls == [expected, expected]


@pytest.mark.parametrize("end", ["begin", "end"])
def test_train_batch_hooks_fall_back_on_the_old_names(end):
    calls = []
    callbacks = CallbackList(recorder(f"on_batch_{end}", calls))
    getattr(callbacks, f"on_train_batch_{end}")(2, {"loss": 0.5})
    assert calls == [((2,), {"logs": {"loss": 0.5}})]


def test_logs_are_never_none_and_pass_from_one_to_the_next():
    seen = []
    first = LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(rate=0.5))
    second = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(dict(logs)))
    callbacks = CallbackList([first, second])
    callbacks.on_epoch_end(0)
    logs = {"loss": 1.0}
    callbacks.on_epoch_end(1, logs)
    assert seen == [{"rate": 0.5}, {"loss": 1.0, "rate": 0.5}]
    assert logs == {"loss": 1.0, "rate": 0.5}


def test_model_and_params_are_set_on_all(model):
    one, two = Callback(), Callback()
    CallbackList([one, two], model=model, epochs=3, steps=7)
    assert one.model is two.model is model
    assert one.params == two.params == {"epochs": 3, "steps": 7}


@pytest.mark.parametrize(("limit", "batches"), [(None, 3), (2, 2), (5, 3)])
def test_params_tell_how_many_batches_predict_and_evaluate_take(limit, batches):
    model = Sequential([Input((2,)), Dense(1)])
    model.compile("sgd", "mse")
    x, y, predicting, evaluating = np.ones((12, 2)), np.ones(12), Callback(), Callback()
    model.predict(x, batch_size=4, steps=limit, verbose=0, callbacks=predicting)
    model.evaluate(x, y, batch_size=4, steps=limit, verbose=0, callbacks=evaluating)
    assert predicting.params["steps"] == evaluating.params["steps"] == batches


def test_params_tell_the_steps_of_a_source_without_end():
    model, one = Sequential([Input((2,)), Dense(1)]), Callback()
    model.predict(repeat((np.ones((4, 2)),)), steps=5, verbose=0, callbacks=one)
    assert one.params["steps"] == 5


def test_history_comes_last_and_once():
    mine, other = History(), Callback()
    assert CallbackList([mine, other], add_history=True).callbacks == [mine, other]
    added = CallbackList([other], add_history=True)
    assert added.callbacks == [other, added.history]
    assert CallbackList().history is None


def test_lists_within_lists_are_unpacked():
    a, b, c = Callback(), Callback(), Callback()
    assert CallbackList([a, (b, None), CallbackList(c)]).callbacks == [a, b, c]


@pytest.mark.parametrize(
    ("callback", "wanted"),
    [
        (Callback(), set()),
        (EarlyStopping(), {"on_train_begin", "on_epoch_end", "on_train_end"}),
        (LambdaCallback(on_test_batch_end=print), {"on_test_batch_end"}),
        (LambdaCallback(on_batch_end=print), {"on_batch_end", "on_train_batch_end"}),
    ],
)
def test_wants_tells_which_hooks_are_heard(callback, wanted):
    callbacks = CallbackList([Callback(), callback])
    assert {hook for hook in HOOKS if callbacks.wants(hook)} == wanted


def test_constructor_of_a_subclass_need_not_call_ours(fit):
    class Mine(Callback):
        def __init__(self, limit):
            self.limit = limit

        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = logs["val_loss"] < self.limit

    assert fit(Mine(0.5), [0.75, 0.25, 0.125]).epochs == 2


def test_state_is_empty_by_default():
    callback = Callback()
    assert callback.get_state() == {}
    callback.set_state({})
    with pytest.raises(ConfigError, match=r"Callback: its state holds \[\], got \['wait'\]"):
        callback.set_state({"wait": 1})


@pytest.mark.parametrize(
    ("callbacks", "remedy"),
    [
        ([EarlyStopping], "make an object: EarlyStopping()"),
        ([print], "subclass minicnn.callbacks.Callback"),
        ("EarlyStopping", "subclass minicnn.callbacks.Callback"),
    ],
)
def test_what_is_no_callback_is_refused(callbacks, remedy):
    with pytest.raises(ConfigError) as error:
        CallbackList(callbacks)
    assert str(error.value).startswith("callbacks: expected Callback objects, got ")
    assert str(error.value).endswith(f"; {remedy}.")


def test_the_progress_bar_is_not_a_callback():
    with pytest.raises(ConfigError, match="CallbackList: add_progbar is not supported"):
        CallbackList(add_progbar=True)


@pytest.mark.parametrize("hook", HOOKS)
def test_lambda_takes_every_hook(hook):
    calls = []
    callback = LambdaCallback(**{hook: lambda *arguments: calls.append(arguments)})
    getattr(callback, hook)(*arguments_of(hook))
    assert calls == [arguments_of(hook)]


def test_lambda_refuses_what_is_no_hook_and_no_function():
    with pytest.raises(ConfigError, match="LambdaCallback: 'on_epoch_start' is no hook; the hooks are on_train"):
        LambdaCallback(on_epoch_start=print)
    with pytest.raises(ConfigError, match="LambdaCallback: on_epoch_end must be a function, got 3"):
        LambdaCallback(on_epoch_end=3)
