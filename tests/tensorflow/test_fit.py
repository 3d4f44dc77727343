"""fit, evaluate and their kin beside live Keras: the same keys, the same numbers, the same forms."""

import numpy as np
import pytest

import minicnn
from minicnn import Sequential
from minicnn.layers import BatchNormalization, Conv2D, Dense, Flatten, Input
from minicnn.regularizers import L2
from tests.tensorflow.live import assert_close, keras, keras_twin, logs_equal

SAMPLE, CLASSES, COUNT = (6, 6, 2), 3, 22
RNG = np.random.default_rng(3)
X = RNG.normal(0, 1, (COUNT, *SAMPLE)).astype(np.float32)
NUMBERS = RNG.integers(0, CLASSES, COUNT)
Y = np.eye(CLASSES, dtype=np.float32)[NUMBERS]
X_VAL, Y_VAL = RNG.normal(0, 1, (7, *SAMPLE)).astype(np.float32), Y[:7]
WEIGHTS = RNG.uniform(0, 2, COUNT).astype(np.float32)
WEIGHTS[4] = 0


def adam(library):
    """Adam, but for epsilon. One weight of this model starts with a gradient of -2.2e-6 among others up to 0.6.

    With the default epsilon of 1e-7 Adam multiplies the rounding of such a gradient by lr x epsilon / (g + epsilon)^2,
    200: beside float64 that weight alone was off by 1.5e-5 here and 2.6e-6 in Keras, all others by 1e-6 at most.
    """
    return library.optimizers.Adam(0.01, epsilon=1e-3)


def pair(loss="categorical_crossentropy", classes=CLASSES, output="softmax", penalty=True, optimizer=adam, **arguments):
    """Both models, compiled alike. Strings are shared; a function of the library makes an object of each."""
    regularizer = L2(0.01) if penalty else None
    ours = Sequential(
        [
            Input(SAMPLE),
            Conv2D(4, 3, activation="relu", kernel_regularizer=regularizer),
            BatchNormalization(momentum=0.75),
            Flatten(),
            Dense(classes, activation=output),
        ],
        seed=2,
    )
    theirs = keras_twin(ours)
    for model, library in ((ours, minicnn), (theirs, keras)):
        made = {k: v(library) if callable(v) else v for k, v in {"loss": loss, **arguments}.items()}
        model.compile(optimizer(library), **made)
    return ours, theirs


def fit_both(models, *args, **kwargs):
    """fit both, unshuffled and silent, and compare histories and weights. callbacks: a function of the library."""
    make_callbacks = kwargs.pop("callbacks", lambda library: None)
    histories = [
        model.fit(
            *args,
            **{"shuffle": False, "verbose": 0, "batch_size": 8, "epochs": 3, **kwargs},
            callbacks=make_callbacks(library),
        )
        for model, library in zip(models, (minicnn, keras), strict=True)
    ]
    ours, theirs = histories
    logs_equal(ours.history, theirs.history)
    assert ours.epoch == theirs.epoch
    assert all(type(value) is float for values in ours.history.values() for value in values)
    for mine, other in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        assert_close(mine, other, what="weights")
    return histories


def test_history_with_a_partial_last_batch_and_validation_data():
    ours, _ = fit_both(pair(metrics=["accuracy"]), X, Y, validation_data=(X_VAL, Y_VAL))
    assert set(ours.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}


def test_sample_weight():
    models = pair(metrics=["accuracy"], weighted_metrics=["accuracy", "mse"])
    fit_both(models, X, Y, sample_weight=WEIGHTS, validation_data=(X_VAL, Y_VAL))


def test_weights_of_validation_data():
    models = pair(metrics=["accuracy"], weighted_metrics=["categorical_accuracy"])
    fit_both(models, X, Y, validation_data=(X_VAL, Y_VAL, WEIGHTS[:7]))


@pytest.mark.parametrize("sparse", [False, True])
def test_class_weight(sparse):
    loss = "sparse_categorical_crossentropy" if sparse else "categorical_crossentropy"
    models = pair(loss, metrics=["accuracy"], weighted_metrics=["mse"] if not sparse else ["accuracy"])
    labels = NUMBERS if sparse else Y
    fit_both(models, X, labels, class_weight={0: 3.0, 2: 0.5}, validation_data=(X_VAL, labels[:7]))


@pytest.mark.parametrize("split", [0.25, 0.33, 0.5])
def test_validation_split_takes_the_last_samples_and_their_weights(split):
    fit_both(pair(metrics=["accuracy"]), X, Y, sample_weight=WEIGHTS, validation_split=split)


@pytest.mark.parametrize(
    ("loss", "output"),
    [
        (lambda k: k.losses.CategoricalCrossentropy(label_smoothing=0.1), "softmax"),
        (lambda k: k.losses.CategoricalCrossentropy(from_logits=True), None),
        (lambda k: k.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1), None),
        (lambda k: k.losses.CategoricalCrossentropy(reduction="sum"), "softmax"),
        (lambda k: k.losses.CategoricalCrossentropy(reduction="mean_with_sample_weight"), "softmax"),
        (lambda k: k.losses.MeanSquaredError(), "tanh"),
        (lambda k: k.losses.BinaryCrossentropy(), "sigmoid"),
    ],
    ids=["smoothing", "logits", "logits and smoothing", "sum", "mean with weights", "squared", "binary"],
)
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
def test_losses(loss, output, weighted):
    models = pair(loss, output=output, metrics=["accuracy"], optimizer=lambda library: library.optimizers.SGD(0.01))
    fit_both(models, X, Y, sample_weight=WEIGHTS if weighted else None, validation_data=(X_VAL, Y_VAL))


METRICS = {
    "acc": ["acc"],
    "by name": ["categorical_accuracy", "mse", "mean_absolute_error", "top_k_categorical_accuracy"],
    "objects": lambda k: [
        k.metrics.CategoricalAccuracy(),
        k.metrics.TopKCategoricalAccuracy(k=2, name="top2"),
        "accuracy",
    ],
    "binary": ["binary_accuracy"],
    "cross-entropies": ["categorical_crossentropy"],
    "cross-entropy objects": lambda k: [
        k.metrics.CategoricalCrossentropy(label_smoothing=0.1, name="smooth"),
        k.losses.CategoricalCrossentropy(name="as_loss"),
    ],
}


def test_binary_crossentropy_as_a_metric():
    models = pair("binary_crossentropy", output="sigmoid", metrics=["bce", "binary_crossentropy", "binary_accuracy"])
    fit_both(models, X, Y, sample_weight=WEIGHTS, validation_data=(X_VAL, Y_VAL))


@pytest.mark.parametrize("metrics", METRICS)
def test_metrics_and_their_keys(metrics):
    fit_both(pair(metrics=METRICS[metrics]), X, Y, validation_data=(X_VAL, Y_VAL))


@pytest.mark.parametrize("column", [False, True], ids=["(N,)", "(N, 1)"])
def test_accuracy_of_class_numbers_is_the_sparse_one(column):
    labels = NUMBERS[:, None] if column else NUMBERS
    models = pair("sparse_categorical_crossentropy", metrics=["accuracy", "sparse_top_k_categorical_accuracy"])
    fit_both(models, X, labels, validation_split=0.25)


@pytest.mark.parametrize("column", [False, True], ids=["(N,)", "(N, 1)"])
def test_accuracy_of_one_output_is_the_binary_one(column):
    labels = (NUMBERS > 0).astype(np.float32)
    models = pair("binary_crossentropy", classes=1, output="sigmoid", metrics=["accuracy"])
    fit_both(models, X, labels[:, None] if column else labels, validation_split=0.25)


def test_the_same_metric_twice_has_two_keys():
    fit_both(
        pair(metrics=["accuracy"], weighted_metrics=["accuracy"]), X, Y, sample_weight=WEIGHTS, validation_split=0.25
    )


@pytest.mark.parametrize("patience", [0, 2])
def test_early_stopping_restores_the_best_weights(patience):
    models = pair(metrics=["accuracy"])
    for model in models:
        model.optimizer.learning_rate = 0.125
    stops = []

    def callbacks(k):
        stops.append(k.callbacks.EarlyStopping(patience=patience, restore_best_weights=True))
        return stops[-1:]

    # Weights agree to 1e-5 for a few steps only, so the comparison of trained weights stands in for fit_both's.
    histories = [
        m.fit(
            X,
            Y,
            batch_size=22,
            epochs=12,
            shuffle=False,
            verbose=0,
            validation_data=(X_VAL, Y_VAL),
            callbacks=callbacks(k),
        )
        for m, k in zip(models, (minicnn, keras), strict=True)
    ]
    assert histories[0].epoch == histories[1].epoch
    assert len(histories[0].epoch) < 12
    assert (stops[0].stopped_epoch, stops[0].best_epoch) == (stops[1].stopped_epoch, stops[1].best_epoch)
    best = min(histories[0].history["val_loss"])
    assert models[0].evaluate(X_VAL, Y_VAL, verbose=0)[0] == pytest.approx(best, rel=1e-6)
    assert models[1].evaluate(X_VAL, Y_VAL, verbose=0)[0] == pytest.approx(best, rel=1e-4)


def test_initial_epoch_and_validation_freq():
    fit_both(pair(), X, Y, initial_epoch=2, epochs=4)
    fit_both(pair(), X, Y, epochs=4, validation_data=(X_VAL, Y_VAL), validation_freq=2)


def test_fit_goes_on_where_it_was():
    models = pair(metrics=["accuracy"])
    fit_both(models, X, Y, epochs=1)
    fit_both(models, X, Y, epochs=1)
    assert models[0].optimizer.iterations == int(models[1].optimizer.iterations) == 6


def test_a_generator_and_steps():
    def batches():
        while True:
            for k in range(0, 16, 8):
                yield X[k : k + 8], Y[k : k + 8]

    models = pair(metrics=["accuracy"])
    histories = [m.fit(batches(), steps_per_epoch=3, epochs=2, shuffle=False, verbose=0) for m in models]
    logs_equal(histories[0].history, histories[1].history)
    values = [m.evaluate(batches(), steps=2, verbose=0) for m in models]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-5)


def test_integer_pixels():
    x = RNG.integers(0, 256, (COUNT, *SAMPLE)).astype(np.uint8)
    fit_both(pair(), x, Y, epochs=1)


@pytest.mark.parametrize("metrics", [None, ["accuracy"], ["accuracy", "mse"]], ids=["none", "one", "two"])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
def test_forms_and_numbers_of_what_evaluate_and_batches_return(metrics, weights):
    ours, theirs = pair(metrics=metrics)
    calls = [
        lambda m: m.evaluate(X, Y, batch_size=8, verbose=0, sample_weight=weights),
        lambda m: m.test_on_batch(X, Y, sample_weight=weights),
        lambda m: m.train_on_batch(X, Y, sample_weight=weights),
        lambda m: m.train_on_batch(X, Y, sample_weight=weights),
    ]
    for call in calls:
        mine, other = call(ours), call(theirs)
        assert isinstance(mine, list) == isinstance(other, list)
        np.testing.assert_allclose(mine, other, rtol=1e-5)
    by_name = [
        lambda m: m.evaluate(X, Y, batch_size=8, verbose=0, sample_weight=weights, return_dict=True),
        lambda m: m.test_on_batch(X, Y, sample_weight=weights, return_dict=True),
        lambda m: m.train_on_batch(X, Y, sample_weight=weights, return_dict=True),
    ]
    for call in by_name:
        logs_equal(call(ours), call(theirs))


def test_class_weight_of_one_batch():
    ours, theirs = pair(metrics=["accuracy"])
    results = [m.train_on_batch(X, Y, class_weight={0: 3.0, 2: 0.5}) for m in (ours, theirs)]
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5)


def test_predictions():
    ours, theirs = pair()
    want = theirs.predict(X, batch_size=8, verbose=0)
    assert_close(ours.predict(X, batch_size=8, verbose=0), want)
    assert ours.predict(X, verbose=0).dtype == want.dtype
    assert_close(ours.predict_on_batch(X), theirs.predict_on_batch(X))
    assert_close(ours(X), theirs(X).numpy())
    assert_close(ours(X, training=True), theirs(X, training=True).numpy())
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert_close(mine, other, what="moving averages")


def test_logs_that_callbacks_see():
    """At a batch's end: the running means of loss and metrics."""
    seen = {minicnn: [], keras: []}

    def callbacks(library):
        def remember(batch, logs):
            seen[library].append((batch, dict(logs)))

        return [library.callbacks.LambdaCallback(on_train_batch_end=remember)]

    fit_both(pair(metrics=["accuracy"]), X, Y, epochs=1, callbacks=callbacks)
    assert [batch for batch, _ in seen[minicnn]] == [batch for batch, _ in seen[keras]] == [0, 1, 2]
    for (_, mine), (_, other) in zip(seen[minicnn], seen[keras], strict=True):
        logs_equal(mine, other)


@pytest.mark.parametrize(
    "arguments",
    [{"validation_steps": 1, "validation_batch_size": 3}, {"validation_steps": 1}, {"validation_batch_size": 2}],
    ids=str,
)
def test_how_much_is_validated(arguments):
    fit_both(pair(metrics=["accuracy"]), X, Y, epochs=2, validation_data=(X_VAL, Y_VAL), **arguments)


def test_frozen_layers_pay_no_penalty():
    models = pair()
    for model, library in zip(models, (minicnn, keras), strict=True):
        model.layers[0].trainable = False
        model.compile(adam(library), "categorical_crossentropy")
    fit_both(models, X, Y, epochs=1, validation_data=(X_VAL, Y_VAL))


def test_order_of_callbacks_calls():
    calls = {minicnn: [], keras: []}
    hooks = [f"on_{what}_{end}" for what in ("train", "test", "predict", "epoch") for end in ("begin", "end")]
    hooks += [f"on_{what}_batch_{end}" for what in ("train", "test", "predict") for end in ("begin", "end")]

    def recorder(library):
        def note(hook):
            def called(self, number=None, logs=None):
                if logs is None and isinstance(number, dict):
                    number, logs = None, number
                calls[library].append((hook, number, sorted(logs or {})))

            return called

        return type("Recorder", (library.callbacks.Callback,), {hook: note(hook) for hook in hooks})()

    ours, theirs = pair(metrics=["accuracy"])
    for model, library in ((ours, minicnn), (theirs, keras)):
        callback = [recorder(library)]
        model.fit(X, Y, batch_size=8, epochs=2, verbose=0, validation_data=(X_VAL, Y_VAL), callbacks=callback)
        model.evaluate(X, Y, batch_size=8, verbose=0, callbacks=callback)
        model.predict(X, batch_size=8, verbose=0, callbacks=callback)
    assert calls[minicnn] == calls[keras]
