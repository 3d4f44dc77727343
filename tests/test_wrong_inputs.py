"""Wrong input: one line from minicnn that names what is wrong, is a ValueError, and leaves everything as it was."""

import copy
import types

import numpy as np
import pytest

import minicnn
from minicnn import Input, Sequential, losses, optimizers
from minicnn.callbacks import EarlyStopping
from minicnn.errors import ConfigError, DataError, MinicnnError, NotBuiltError, NotCompiledError, ShapeError
from minicnn.layers import (
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPooling2D,
)

COUNT, CLASSES = 12, 3
RNG = np.random.default_rng(0)
X = RNG.normal(0, 1, (COUNT, 6, 6, 2)).astype(np.float32)
NUMBERS = RNG.integers(0, CLASSES, COUNT)
Y = np.eye(CLASSES, dtype=np.float32)[NUMBERS]


def new_model(loss="categorical_crossentropy", metrics=("accuracy",), output="softmax"):
    model = Sequential(
        [
            Input((6, 6, 2)),
            Conv2D(4, 3, activation="relu"),
            BatchNormalization(),
            Dropout(0.25),
            Flatten(),
            Dense(CLASSES, activation=output),
        ],
        seed=0,
    )
    model.compile(optimizers.Adam(), loss, metrics=list(metrics))
    return model


def snapshot(model):
    """Everything that a failing call must leave alone."""
    return copy.deepcopy(
        {
            "weights": model.get_weights(),
            "slots": model.optimizer.slots,
            "iterations": model.optimizer.iterations,
            "rate": model.optimizer.learning_rate,
            "steps": (model._steps_trained, model._epochs_trained),
            "history": model.history.history if model.history else None,
            "trainable": [layer.trainable for layer in model.layers],
            "names": [layer.name for layer in model.layers],
            "loss": model.loss.get_config(),
            "metrics": (list(model._metrics), list(model._weighted_metrics)),
            "stop_training": model.stop_training,
        }
    )


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_equal(a[key], b[key], err_msg=key)


def assert_fails(model, call, error=MinicnnError, match=None, history=True):
    """The call raises a one-line error of minicnn's, and the model trains on as if it had never been made.

    history=False: training has begun, so the history is a new one.
    """
    before = snapshot(model)
    twin = copy.deepcopy(model)
    with pytest.raises(error, match=match) as caught:
        call(model)
    assert isinstance(caught.value, MinicnnError)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)
    after = snapshot(model)
    if not history:
        del before["history"], after["history"]
    assert_equal(after, before)
    y = NUMBERS if "sparse" in model.loss.name else Y
    twin.fit(X, y, batch_size=5, verbose=0)
    model.fit(X, y, batch_size=5, verbose=0)
    assert_equal(snapshot(model), snapshot(twin))


@pytest.fixture
def model():
    """In the middle of training, so that slots and counters are there to be spoilt."""
    made = new_model()
    made.fit(X, Y, batch_size=5, verbose=0)
    return made


@pytest.fixture
def sparse():
    made = new_model("sparse_categorical_crossentropy")
    made.fit(X, NUMBERS, batch_size=5, verbose=0)
    return made


# -- x and y

SPOILT = X.copy()
SPOILT[7, 1, 2, 0] = np.nan
INFINITE = X.copy()
INFINITE[7, 1, 2, 0] = np.inf

WRONG_X = {
    "rank 3": (X[..., 0], ShapeError, r"\(None, 6, 6, 2\)"),
    "rank 5": (X[..., None], ShapeError, r"\(None, 6, 6, 2\)"),
    "one sample": (X[0], ShapeError, r"x\[None\]"),
    "flat": (X.reshape(COUNT, -1), ShapeError, r"\(None, 72\)"),
    "channels": (X[..., :1], ShapeError, r"\(None, 6, 6, 1\)"),
    "channels first": (X.transpose(0, 3, 1, 2), ShapeError, r"\(None, 2, 6, 6\)"),
    "size": (X[:, :5], ShapeError, r"\(None, 5, 6, 2\)"),
    "a number": (3.0, DataError, "first axis"),
    "objects": (X.astype(object), DataError, "object"),
    "strings": (np.full(X.shape, "a"), DataError, "array of real numbers"),
    "complex": (X.astype(complex), DataError, "complex"),
    "dates": (np.zeros(X.shape, "datetime64[s]"), DataError, "datetime"),
    "ragged": ([[1, 2], [3]], DataError, "one array"),
}
METHODS = {
    "fit": lambda m, x, y: m.fit(x, y, verbose=0),
    "fit validation": lambda m, x, y: m.fit(X, Y, validation_data=(x, y), verbose=0),
    "fit split": lambda m, x, y: m.fit(x, y, validation_split=0.5, verbose=0),
    "evaluate": lambda m, x, y: m.evaluate(x, y, verbose=0),
    "train_on_batch": lambda m, x, y: m.train_on_batch(x, y),
    "test_on_batch": lambda m, x, y: m.test_on_batch(x, y),
}
PREDICTIONS = {
    "predict": lambda m, x: m.predict(x, verbose=0),
    "predict_on_batch": lambda m, x: m.predict_on_batch(x),
    "call": lambda m, x: m(x),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", WRONG_X)
def test_wrong_x(case, method, model):
    x, error, match = WRONG_X[case]
    assert_fails(model, lambda m: METHODS[method](m, x, Y), error, match)


@pytest.mark.parametrize("method", PREDICTIONS)
@pytest.mark.parametrize("case", WRONG_X)
def test_wrong_x_to_predict(case, method, model):
    x, error, match = WRONG_X[case]
    assert_fails(model, lambda m: PREDICTIONS[method](m, x), error, match)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("x", [SPOILT, INFINITE, SPOILT.astype(np.float16)], ids=["nan", "inf", "float16 nan"])
def test_non_finite_x(x, method, model):
    assert_fails(model, lambda m: METHODS[method](m, x, Y), DataError, r"x: holds (nan|inf) at \(7, 1, 2, 0\)")


WRONG_Y = {
    "missing": (None, "needs labels"),
    "too few": (Y[:-1], "12 samples and y has 11"),
    "too many": (np.concatenate([Y, Y]), "12 samples and y has 24"),
    "one": (1.0, "one label each"),
    "other classes": (np.eye(4)[NUMBERS], r"\(None, 3\)"),
    "class numbers": (NUMBERS, "to_categorical"),
    "column": (NUMBERS[:, None], r"\(None, 3\)"),
    "all zeros": (np.zeros_like(Y), "one-hot"),
    "two ones": (np.minimum(Y + np.array([1, 0, 1]), 1), "one-hot"),
    "counts": (Y * 255, "one-hot"),
    "negative": (Y - [0.0, 1.0, -1.0], "one-hot"),
    "nan": (np.where(Y == 1, np.nan, Y), "y: holds nan"),
    "objects": (Y.astype(object), "object"),
    "strings": (np.full(Y.shape, "a"), "array of real numbers"),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", WRONG_Y)
def test_wrong_y(case, method, model):
    y, match = WRONG_Y[case]
    assert_fails(model, lambda m: METHODS[method](m, X, y), MinicnnError, match)


WRONG_NUMBERS = {
    "too large": (np.where(NUMBERS == 2, 3, NUMBERS), "0 and 2"),
    "negative": (NUMBERS - 1, "0 and 2"),
    "unsigned overflow": (np.full(COUNT, 255, np.uint8), "0 and 2"),
    "fractions": (NUMBERS + 0.5, "whole"),
    "one-hot": (Y, "one class number"),
    "too few": (NUMBERS[:-1], "12 samples"),
    "nan": (np.where(NUMBERS == 2, np.nan, NUMBERS), "nan"),
    "objects": (NUMBERS.astype(object), "object"),
    "strings": (NUMBERS.astype(str), "array of real numbers"),
}


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
@pytest.mark.parametrize("case", WRONG_NUMBERS)
def test_wrong_class_numbers(case, method, sparse):
    y, match = WRONG_NUMBERS[case]
    assert_fails(sparse, lambda m: METHODS[method](m, X, y), MinicnnError, match)


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
@pytest.mark.parametrize("y", [Y * 2, Y - 1, Y + 0.5], ids=["2", "-1", "1.5"])
def test_binary_labels_out_of_range(y, method):
    made = new_model("binary_crossentropy", output="sigmoid")
    assert_fails(made, lambda m: METHODS[method](m, X, y), DataError, "binary_crossentropy")


@pytest.mark.parametrize("call", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_no_samples(call, model):
    assert_fails(model, lambda m: METHODS[call](m, X[:0], Y[:0]), DataError, "no samples")


WRONG_WEIGHTS = {
    "too few": np.ones(COUNT - 1),
    "a number": 2.0,
    "matrix": np.ones((COUNT, CLASSES)),
    "nan": np.full(COUNT, np.nan),
    "strings": np.full(COUNT, "a"),
    "objects": np.ones(COUNT, object),
}


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
@pytest.mark.parametrize("case", WRONG_WEIGHTS)
def test_wrong_sample_weights(case, method, model):
    arguments = {"sample_weight": WRONG_WEIGHTS[case]} | ({} if "batch" in method else {"verbose": 0})
    assert_fails(model, lambda m: getattr(m, method)(X, Y, **arguments), DataError, "sample_weight")


WRONG_CLASS_WEIGHTS = {
    "list": [1, 2, 3],
    "names": {"cat": 2.0},
    "fractions": {0.5: 2.0},
    "class that is not there": {3: 2.0},
    "negative class": {-1: 2.0},
    "nan": {0: np.nan},
    "string": {0: "heavy"},
    "None": {0: None},
}


@pytest.mark.parametrize("method", ["fit", "train_on_batch"])
@pytest.mark.parametrize("case", WRONG_CLASS_WEIGHTS)
def test_wrong_class_weights(case, method, model):
    arguments = {"class_weight": WRONG_CLASS_WEIGHTS[case]} | ({} if "batch" in method else {"verbose": 0})
    assert_fails(model, lambda m: getattr(m, method)(X, Y, **arguments), ConfigError, "class_weight")


def test_a_class_weight_beyond_the_models_numbers(model):
    assert_fails(
        model,
        lambda m: m.fit(X, Y, class_weight={0: 1e39}, verbose=0),
        DataError,
        r"class_weight has 1e\+39, more than float32",
    )


def test_class_and_sample_weights_exclude_each_other(model):
    assert_fails(
        model, lambda m: m.fit(X, Y, class_weight={0: 2.0}, sample_weight=np.ones(COUNT), verbose=0), ConfigError
    )


# -- the arguments of fit, evaluate and predict

WRONG_FIT = {
    "batch_size": (0, -1, 2.5, True, "8", np.float32(8)),
    "epochs": (-1, 1.5, "3", None, True),
    "initial_epoch": (-1, 0.5, None),
    "verbose": (3, -1, "loud", None),
    "shuffle": ("epoch", 2, None),
    "validation_split": (1.0, -0.1, 1.5, "half", 0.99, True, float("nan")),
    "validation_freq": (0, -1, 1.5, [0], "2", ["a"]),
    "validation_steps": (0, -1, 1.5),
    "validation_batch_size": (0, -3, 2.5),
    "steps_per_epoch": (0, -1, 2.5, "2"),
    "callbacks": (["stop"], EarlyStopping, [EarlyStopping], 3, [lambda: None]),
    "validation_data": (X, (X,), (X, Y, None, None), "data", 3, (X, Y[:-1]), (X[:0], Y[:0])),
}


@pytest.mark.parametrize(("argument", "value"), [(k, v) for k, values in WRONG_FIT.items() for v in values])
def test_wrong_arguments_of_fit(argument, value, model):
    valid = {"validation_data": (X, Y)} if argument.startswith("validation") and argument != "validation_split" else {}
    assert_fails(model, lambda m: m.fit(X, Y, **{"verbose": 0, **valid, argument: value}))


@pytest.mark.parametrize(
    ("argument", "value"), [("batch_size", 0), ("batch_size", 1.5), ("steps", -1), ("verbose", 7), ("callbacks", ["a"])]
)
def test_wrong_arguments_of_evaluate_and_predict(argument, value, model):
    arguments = {"verbose": 0, argument: value}
    assert_fails(model, lambda m: m.evaluate(X, Y, **arguments), ConfigError)
    assert_fails(model, lambda m: m.predict(X, **arguments), ConfigError)


@pytest.mark.parametrize(
    "batch",
    [X, "ab", {"x": X}, (X, Y, None, None), (X, Y[:-1]), (X[..., :1], Y), (SPOILT, Y), (X, NUMBERS), (X,), None, 3],
    ids=["bare array", "string", "dict", "four", "lengths", "channels", "nan", "labels", "no labels", "None", "number"],
)
def test_wrong_first_batch_of_a_generator(batch, model):
    assert_fails(model, lambda m: m.fit(iter([batch]), verbose=0), history=False)
    assert_fails(model, lambda m: m.evaluate(iter([batch]), verbose=0))


def test_what_a_generator_cannot_have(model):
    def batches():
        return iter([(X, Y)])

    assert_fails(model, lambda m: m.fit(batches(), validation_split=0.5, verbose=0), ConfigError, "validation_split")
    assert_fails(
        model, lambda m: m.fit(batches(), sample_weight=np.ones(COUNT), verbose=0), ConfigError, "sample_weight"
    )
    assert_fails(model, lambda m: m.fit(iter([]), verbose=0), DataError, "no batches", history=False)
    assert_fails(model, lambda m: m.evaluate(iter([]), verbose=0), DataError, "no batches")


@pytest.mark.parametrize("name", ["sparse_categorical_accuracy", "sparse_top_k_categorical_accuracy"])
@pytest.mark.parametrize("method", METHODS)
def test_a_metric_that_does_not_suit_the_labels_is_found_before_the_first_step(name, method):
    made = new_model(metrics=[name])
    before = snapshot(made)
    with pytest.raises(MinicnnError, match="accuracy"):
        METHODS[method](made, X, Y)
    assert_equal(snapshot(made) | {"history": None}, before)


# -- before build and before compile


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.predict(X, verbose=0),
        lambda m: m.predict_on_batch(X),
        lambda m: m.evaluate(X, Y, verbose=0),
        lambda m: m.test_on_batch(X, Y),
        lambda m: m.summary(),
        lambda m: m.get_weights(),
        lambda m: m.set_weights([]),
        lambda m: m.count_params(),
        lambda m: m.plan(),
    ],
    ids=[
        "predict",
        "predict_on_batch",
        "evaluate",
        "test_on_batch",
        "summary",
        "get_weights",
        "set_weights",
        "count_params",
        "plan",
    ],
)
def test_before_build(call):
    model = Sequential([Flatten(), Dense(CLASSES, activation="softmax")])
    model.compile("adam", "categorical_crossentropy")
    with pytest.raises(NotBuiltError, match="input_shape"):
        call(model)
    assert not model.built


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda m: m.fit(X, Y, verbose=0), "fit"),
        (lambda m: m.evaluate(X, Y, verbose=0), "evaluate"),
        (lambda m: m.train_on_batch(X, Y), "train_on_batch"),
        (lambda m: m.test_on_batch(X, Y), "test_on_batch"),
    ],
)
def test_before_compile(call, name):
    model = Sequential([Input((6, 6, 2)), Flatten(), Dense(CLASSES)])
    with pytest.raises(NotCompiledError, match=rf"compile.*{name}") as caught:
        call(model)
    assert isinstance(caught.value, RuntimeError)
    model.compile("adam")  # without a loss: predicting only
    with pytest.raises(NotCompiledError):
        call(model)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.fit(X, NUMBERS, verbose=0),
        lambda m: m.fit(X, Y, batch_size=0, verbose=0),
        lambda m: m.fit(X, Y, callbacks=["a"], verbose=0),
        lambda m: m.fit(SPOILT, Y, verbose=0),
        lambda m: m.fit(X, Y, validation_data=(X, NUMBERS), verbose=0),
        lambda m: m.fit(X[:, :1, :1], Y, verbose=0),
        lambda m: m.fit(iter([(X, NUMBERS)]), verbose=0),
        lambda m: m.train_on_batch(X, NUMBERS),
        lambda m: m(X[:, :1, :1]),
    ],
    ids=["labels", "batch_size", "callbacks", "nan", "validation", "window", "generator", "train_on_batch", "call"],
)
def test_a_failing_first_use_leaves_a_deferred_model_unbuilt(call):
    model = Sequential([Conv2D(2, 3), Flatten(), Dense(CLASSES, activation="softmax")])
    model.compile("adam", "categorical_crossentropy")
    with pytest.raises(MinicnnError):
        call(model)
    assert not model.built
    assert not any(layer.built for layer in model.layers)


def test_window_larger_than_the_map_of_the_data():
    model = Sequential([MaxPooling2D(7, name="pool"), Flatten(), Dense(CLASSES)])
    model.compile("adam", "mse")
    with pytest.raises(ShapeError, match=r"'pool': window \(7, 7\) does not fit a map of 6x6"):
        model.fit(X, Y, verbose=0)


# -- compile

WRONG_COMPILE = {
    "optimizer": ("adamm", 3, None, object(), dict, {"class_name": "Nope"}, lambda: None),
    "loss": (
        "crossentropy",
        3,
        object(),
        {"class_name": "Nope"},
        losses.MeanSquaredError(reduction=None),
        ["mse", "mse"],
    ),
    "metrics": (["accurracy"], [3], {"a": "accuracy"}, [object()], "nope"),
    "weighted_metrics": (["nope"], [None]),
    "loss_weights": ([1.0], 2.0),
}


@pytest.mark.parametrize(("argument", "value"), [(k, v) for k, values in WRONG_COMPILE.items() for v in values])
def test_wrong_arguments_of_compile(argument, value, model):
    arguments = {"optimizer": "sgd", "loss": "mse", argument: value}
    assert_fails(model, lambda m: m.compile(**arguments), ConfigError)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'adam'"):
        new_model().compile("adamm", "mse")
    with pytest.raises(ConfigError, match="did you mean 'relu'"):
        Dense(3, activation="reluu")


def test_an_optimizer_that_trains_another_model_is_refused(model):
    other = new_model()
    assert_fails(model, lambda m: m.compile(other.optimizer, "mse"), ConfigError, "belongs to")


def test_every_error_class_is_a_value_error():
    found = [
        v
        for v in vars(minicnn.errors).values()
        if isinstance(v, type) and issubclass(v, Exception) and not issubclass(v, Warning)
    ]
    assert len(found) >= 8
    assert all(issubclass(error, MinicnnError) and issubclass(error, ValueError) for error in found)
    assert isinstance(minicnn.errors, types.ModuleType)
