"""What fit, evaluate and predict take as data: arrays of any kind, lists, generators and iterables of batches."""

import itertools

import numpy as np
import pytest

from minicnn import Input, Sequential, optimizers
from minicnn.batches import ArrayBatches, check_finite
from minicnn.callbacks import LambdaCallback
from minicnn.errors import DataError, MinicnnError, MinicnnWarning
from minicnn.gradcheck import check_model
from minicnn.kernels import NUMBA
from minicnn.layers import Conv2D, Dense, Flatten, Layer
from tests.small_models import (
    CLASSES,
    COUNT,
    NUMBERS,
    QUIET,
    SAMPLE,
    X,
    Y,
    assert_same_weights,
    linear_model,
    new_model,
)

# -- kinds of data


@pytest.mark.parametrize("kernels", ["numpy", "numba"])
@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.astype(np.uint8),
        lambda x: x.astype(np.int64),
        lambda x: x.astype(np.int8),
        lambda x: x.astype(np.float16),
        lambda x: x.astype(np.float64),
        lambda x: x.astype(">f4"),
        lambda x: x.tolist(),
        lambda x: list(x),
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: np.concatenate([x, x], axis=-1)[..., :2],
        lambda x: x[::-1][::-1],
        lambda x: _read_only(x),
        lambda x: _misaligned(x),
    ],
    ids=[
        "uint8",
        "int64",
        "int8",
        "float16",
        "float64",
        "big endian",
        "nested lists",
        "list of arrays",
        "fortran",
        "strided",
        "sliced",
        "reversed",
        "read-only",
        "misaligned",
    ],
)
def test_inputs_of_any_kind_train_alike(convert, kernels):
    """The same small integers in every form: the same bits of weights and predictions."""
    x = np.random.default_rng(1).integers(0, 16, X.shape).astype(np.float32)
    reference, model = new_model(kernels=kernels), new_model(kernels=kernels)
    reference.fit(x, Y, **QUIET)
    given = convert(x)
    model.fit(given, Y, **QUIET)
    assert_same_weights(model, reference)
    np.testing.assert_array_equal(model.predict(given, verbose=0), reference.predict(x, verbose=0))
    np.testing.assert_array_equal(model(given), reference(x))
    assert model.evaluate(given, Y, verbose=0) == reference.evaluate(x, Y, verbose=0)
    np.testing.assert_array_equal(np.asarray(given, np.float32), x)


def _read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def _misaligned(array):
    return np.frombuffer(bytearray(1) + bytearray(array), array.dtype, offset=1).reshape(array.shape)


def test_booleans_are_numbers():
    assert new_model().fit(X > 0, Y, **QUIET).history["loss"][0] > 0


@pytest.mark.parametrize(
    "convert", [np.array, list, lambda n: n[:, None], lambda n: n.astype(np.float32), lambda n: n.astype(np.uint8)]
)
def test_class_numbers_of_any_kind(convert):
    reference, model = (new_model(loss="sparse_categorical_crossentropy") for _ in range(2))
    reference.fit(X, NUMBERS, **QUIET)
    model.fit(X, convert(NUMBERS), **QUIET)
    assert_same_weights(model, reference)


def test_one_hot_and_class_numbers_train_alike():
    one, other = new_model(), new_model(loss="sparse_categorical_crossentropy")
    first, second = one.fit(X, Y, **QUIET), other.fit(X, NUMBERS, **QUIET)
    assert first.history == second.history
    assert_same_weights(one, other)


def test_data_are_not_changed():
    x, y, w = X.copy(), Y.copy(), np.linspace(0, 1, COUNT)
    model = new_model()
    model.fit(x, y, sample_weight=w, validation_split=0.25, shuffle=True, **QUIET)
    model.evaluate(x, y, sample_weight=w, verbose=0)
    model.predict(x, verbose=0)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)
    np.testing.assert_array_equal(w, np.linspace(0, 1, COUNT))


def test_batches_in_order_are_parts_of_the_data_and_others_copies():
    x = np.arange(30, dtype=np.float32).reshape(10, 3)
    for data, shared in (
        (x, True),
        (x.astype(np.float64), False),
        (_read_only(x), False),
        (_misaligned(x), False),
    ):
        source = ArrayBatches(data, None, None, 4, x.dtype, NUMBA)
        batches = [batch.x for batch in source.epoch()]
        assert [np.shares_memory(batch, data) for batch in batches] == [shared] * 3
        assert all(batch.flags.carray and batch.dtype == np.float32 for batch in batches)
        np.testing.assert_array_equal(np.concatenate(batches), x)
    shuffled = [batch.x for batch in ArrayBatches(x, None, None, 4, x.dtype, NUMBA, True).epoch()]
    assert not any(np.shares_memory(batch, x) for batch in shuffled)
    np.testing.assert_array_equal(np.sort(np.concatenate(shuffled), axis=0), x)


def test_labels_of_one_output_in_either_shape():
    for y in (np.zeros(4), np.zeros((4, 1))):
        assert linear_model().fit(np.ones((4, 2)), y, verbose=0).history["loss"][0] > 0


# -- batches, generators, iterables


def batches(x=X, y=Y, size=8):
    return [(x[k : k + size], y[k : k + size]) for k in range(0, len(x), size)]


class Batches:
    """Keras's Sequence: batches by number."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return batches()[index]


class Iterable:
    def __iter__(self):
        return iter(batches())


def endless():
    while True:
        yield from batches()


@pytest.mark.parametrize(
    ("source", "steps"),
    [(lambda: batches(), None), (Batches, None), (Iterable, None), (Iterable, 3), (endless, 3)],
    ids=["list", "sequence", "iterable", "iterable with steps", "generator"],
)
def test_iterables_of_batches_train_as_arrays_do(source, steps, batches_apart):
    reference, model = new_model(), new_model()
    expected = reference.fit(X, Y, epochs=2, shuffle=False, **QUIET)
    history = model.fit(source(), steps_per_epoch=steps, epochs=2, shuffle=False, verbose=0)
    assert history.history == expected.history
    assert_same_weights(model, reference)
    assert model.evaluate(source(), steps=steps, verbose=0) == reference.evaluate(X, Y, batch_size=8, verbose=0)


def test_a_generator_goes_on_over_epochs_and_ends_training_where_it_ends():
    seen = []
    model = new_model()
    note = LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    with pytest.warns(MinicnnWarning, match="x ran out of batches in epoch 2 of 5 and training ends"):
        history = model.fit(iter(batches()), steps_per_epoch=2, epochs=5, verbose=0, callbacks=[note])
    assert seen == [0, 1, 0]
    assert history.epoch == [0, 1]


def test_a_generator_that_ends_with_an_epoch_ends_training_in_good_order():
    """As Keras: a warning. Callbacks see the end, and the history is whole."""
    ended = []
    note = LambdaCallback(on_train_end=lambda logs: ended.append(logs))
    with pytest.warns(MinicnnWarning, match="x ran out of batches in epoch 1 of 5 and training ends"):
        history = new_model().fit(iter(batches()), steps_per_epoch=3, epochs=5, verbose=0, callbacks=[note])
    assert history.epoch == [0]
    assert ended == [{name: values[-1] for name, values in history.history.items()}]


@pytest.mark.parametrize("steps", [None, 2])
def test_an_iterable_that_gives_itself_only_once(steps):
    class Once:
        def __init__(self):
            self.source = iter(batches())

        def __iter__(self):
            return self.source

    with pytest.warns(MinicnnWarning, match="x ran out of batches"):
        history = new_model().fit(Once(), steps_per_epoch=steps, epochs=4, verbose=0)
    assert len(history.epoch) == (1 if steps is None else 2)


def test_a_source_whose_length_is_not_known(batches_apart):
    """It has the method, which raises TypeError, as PyTorch's DataLoader of a stream and tf.data have it."""

    class Stream(Iterable):
        def __len__(self):
            raise TypeError("no length")

    reference, model = new_model(), new_model()
    reference.fit(X, Y, epochs=2, shuffle=False, **QUIET)
    model.fit(Stream(), epochs=2, verbose=0)
    assert_same_weights(model, reference)
    assert model.evaluate(Stream(), verbose=0) == reference.evaluate(X, Y, batch_size=8, verbose=0)
    assert len(model.predict(Stream(), verbose=0)) == COUNT


@pytest.mark.parametrize("source", [batches, Iterable, Batches], ids=["list", "iterable", "sequence"])
def test_every_validation_of_some_steps_is_of_the_same_batches(source, batches_apart):
    model = untrained_model()
    history = model.fit(X, Y, epochs=4, validation_data=source(), validation_steps=2, **QUIET)
    expected = model.evaluate(X[:16], Y[:16], batch_size=8, verbose=0)
    assert history.history["val_loss"] == [expected] * 4


def test_a_generator_for_validation_goes_on():
    model = untrained_model()
    history = model.fit(X, Y, epochs=2, validation_data=endless(), validation_steps=2, **QUIET)
    parts = [model.evaluate(x, y, verbose=0) for x, y in batches()]
    np.testing.assert_allclose(history.history["val_loss"][0], (parts[0] + parts[1]) / 2, rtol=1e-6)
    np.testing.assert_allclose(history.history["val_loss"][1], (6 * parts[2] + 8 * parts[0]) / 14, rtol=1e-6)


def untrained_model():
    """A model that does not change when it is trained."""
    model = Sequential([Input(SAMPLE), Flatten(), Dense(CLASSES, activation="softmax")], seed=0)
    model.compile(optimizers.SGD(0.0), "categorical_crossentropy")
    return model


def test_batches_with_weights_and_validation_by_an_iterable():
    w = np.linspace(0, 2, COUNT)
    weighted = [(x, y, w[8 * k : 8 * k + 8]) for k, (x, y) in enumerate(batches())]
    reference, model = new_model(), new_model()
    expected = reference.fit(X, Y, sample_weight=w, validation_data=(X, Y, w), shuffle=False, **QUIET)
    history = model.fit(weighted, validation_data=weighted, verbose=0)
    assert history.history == expected.history


def test_predict_on_batches(batches_apart):
    model = new_model()
    want = model.predict(X, batch_size=8, verbose=0)
    np.testing.assert_array_equal(model.predict([(x,) for x, _ in batches()], verbose=0), want)
    np.testing.assert_array_equal(model.predict((x for x, _ in batches()), verbose=0), want)
    np.testing.assert_array_equal(model.predict(((x,) for x, _ in endless()), steps=3, verbose=0), want)
    np.testing.assert_array_equal(model.predict(X, batch_size=8, steps=2, verbose=0), want[:16])
    np.testing.assert_array_equal(model.predict(X, batch_size=1000, verbose=0).argmax(1), want.argmax(1))
    np.testing.assert_allclose(model.predict_on_batch(X), want, rtol=0, atol=1e-6)


def model_of_maps():
    """One class for each pixel."""
    model = Sequential([Input((4, 5, 2)), Conv2D(3, 1, activation="softmax")], seed=0, dtype="float64")
    model.compile("sgd", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    return model


def test_a_weight_for_each_place_of_the_output():
    rng = np.random.default_rng(0)
    x, y, w = rng.normal(size=(6, 4, 5, 2)), rng.integers(0, 3, (6, 4, 5)), rng.uniform(size=(6, 4, 5))
    model = model_of_maps()
    p = model.predict(x, verbose=0)
    losses = -np.log(np.take_along_axis(p, y[..., None], -1)[..., 0])
    loss, accuracy = model.evaluate(x, y, sample_weight=w, batch_size=4, verbose=0)
    assert loss == pytest.approx((losses * w).mean())
    assert accuracy == pytest.approx(((p.argmax(-1) == y) * w).sum() / w.sum())
    assert model.evaluate(x, y, sample_weight=w[..., None], verbose=0)[0] == pytest.approx(loss)
    of_rows = np.broadcast_to(w[..., :1], w.shape)
    rows = model.evaluate(x, y, sample_weight=w[..., 0], verbose=0)
    assert rows == pytest.approx(model.evaluate(x, y, sample_weight=of_rows, verbose=0))
    assert check_model(model, x, y, sample_weight=w).failed == 0
    model.fit(x, y, sample_weight=w, validation_split=0.5, verbose=0)


def test_weights_of_places_that_a_metric_cannot_take_stop_before_the_first_step():
    def of_samples(y_true, y_pred):
        return np.ones(len(y_pred))

    model = model_of_maps()
    model.compile("sgd", "sparse_categorical_crossentropy", weighted_metrics=[of_samples])
    with pytest.raises(MinicnnError, match="of_samples"):
        model.fit(np.ones((6, 4, 5, 2)), np.zeros((6, 4, 5)), sample_weight=np.ones((6, 4, 5)), verbose=0)
    assert model.optimizer.iterations == 0


@pytest.mark.parametrize("shape", [(6, 5), (6, 4, 4), (6, 4, 5, 3), (6, 4, 5, 1, 1)])
def test_weights_of_other_places(shape):
    with pytest.raises(DataError, match=r"sample_weight must have shape \(6,\), got .* for each place of \(4, 5\)"):
        model_of_maps().evaluate(np.ones((6, 4, 5, 2)), np.zeros((6, 4, 5)), sample_weight=np.ones(shape), verbose=0)


@pytest.mark.parametrize("steps", [1, 2, 5, 30])
def test_steps_without_a_batch_size_are_of_all_samples(steps):
    """As Keras: so many samples in a batch that the steps hold all."""
    size = -(-COUNT // steps)
    model, reference = new_model(), new_model()
    given = {"epochs": 2, "steps_per_epoch": steps, "validation_data": (X, Y), "validation_steps": steps, "verbose": 0}
    assert model.fit(X, Y, **given).history == reference.fit(X, Y, size, **given).history
    assert model.optimizer.iterations == 2 * -(-COUNT // size)
    assert len(model.predict(X, steps=steps, verbose=0)) == COUNT
    assert model.evaluate(X, Y, steps=steps, verbose=0) == model.evaluate(X, Y, size, verbose=0)


def test_arrays_in_lists_of_one_are_those_arrays():
    """As Keras takes the inputs and outputs of a model with one of each."""
    model, reference = new_model(), new_model()
    history = model.fit([X], [Y], sample_weight=[np.arange(COUNT)], validation_data=([X], [Y]), **QUIET)
    expected = reference.fit(X, Y, sample_weight=np.arange(COUNT), validation_data=(X, Y), **QUIET)
    assert history.history == expected.history
    assert_same_weights(model, reference)
    assert model.evaluate([X], [Y], verbose=0) == reference.evaluate(X, Y, verbose=0)
    for given in ([X], (X,)):
        np.testing.assert_array_equal(model.predict(given, verbose=0), reference.predict(X, verbose=0))
    np.testing.assert_array_equal(model([X[:1]]), model(X[:1]))
    np.testing.assert_array_equal(model([X[0]]), model(X[:1]))  # a list of one sample
    assert model.train_on_batch([X[0]], [Y[0]]) == reference.train_on_batch(X[:1], Y[:1])


def test_an_array_in_a_list_of_one_builds_the_model_for_its_samples():
    x, y = np.random.default_rng(0).random((100, 8)), np.arange(100) % 3
    model = Sequential([Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit([x], [y], verbose=0)
    assert model.input_shape == (None, 8)
    assert model.optimizer.iterations == 4
    lone = Sequential([Dense(3)])
    assert lone([x[0]]).shape == (1, 3)


def test_weights_of_samples_as_a_column():
    model, reference = new_model(), new_model()
    model.fit(X, Y, sample_weight=np.arange(COUNT)[:, None], **QUIET)
    reference.fit(X, Y, sample_weight=np.arange(COUNT), **QUIET)
    assert_same_weights(model, reference)


def test_predict_on_nothing():
    assert new_model().predict(X[:0], verbose=0).shape == (0, CLASSES)
    assert new_model().predict_on_batch(X[:0]).shape == (0, CLASSES)


def test_what_batches_hold():
    """shuffle=False: in order. True: every sample once, another order every epoch. "batch": only within batches."""
    x = np.arange(10, dtype=np.float32)[:, None] * [1, 1]

    def order(shuffle, epochs=1, seed=0):
        seen = []

        class Spy(Layer):
            def forward(self, x, run):
                if run.training:
                    seen.append(x[:, 0].astype(int).tolist())
                return x, None

            def backward(self, dy, saved, run, need_dx=True):
                return dy

        model = Sequential([Input((2,)), Spy(), Dense(1)], seed=seed)
        model.compile("sgd", "mse")
        model.fit(x, x[:, :1], batch_size=4, epochs=epochs, shuffle=shuffle, verbose=0)
        return seen

    assert order(False) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    shuffled = order(True, epochs=2)
    assert [len(batch) for batch in shuffled] == [4, 4, 2, 4, 4, 2]
    first, second = (list(itertools.chain(*epoch)) for epoch in (shuffled[:3], shuffled[3:]))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert first != list(range(10))
    assert order(True, epochs=2) == shuffled
    assert order(True, seed=1) != shuffled[:3]
    within = order("batch", epochs=2)
    assert [sorted(batch) for batch in within] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]] * 2
    assert within != [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]] * 2


@pytest.mark.parametrize(("count", "split", "trained"), [(10, 0.25, 7), (10, 0.33, 6), (10, 0.3, 7), (7, 0.5, 3)])
def test_validation_split_holds_out_the_last_samples(count, split, trained):
    x = np.arange(count, dtype=np.float32)[:, None] * [1, 0]
    model = linear_model()
    model.set_weights([np.array([[1.0], [0.0]]), np.zeros(1)])
    history = model.fit(x, np.zeros(count), validation_split=split, verbose=0).history
    assert history["loss"] == [pytest.approx(np.mean(np.arange(trained) ** 2.0), rel=1e-6)]
    assert history["val_loss"] == [pytest.approx(np.mean(np.arange(trained, count) ** 2.0), rel=1e-6)]


def test_validation_data_go_before_validation_split():
    model = linear_model()
    model.set_weights([np.array([[1.0], [0.0]]), np.zeros(1)])
    x = np.ones((4, 2))
    history = model.fit(x, np.zeros(4), validation_split=0.5, validation_data=(3 * x, np.zeros(4)), verbose=0).history
    assert history == {"loss": [1.0], "val_loss": [9.0]}


def test_a_generator_that_has_ended_is_an_error():
    ended = iter([])
    with pytest.raises(DataError, match="gave no batches"):
        new_model().fit(ended, verbose=0)


# -- steps_per_epoch


class Numbers:
    """Keras's Sequence, of batches that tell their number; how many epochs have begun and ended."""

    begun = ended = 0

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        return np.full((2, 1), float(number)), np.zeros((2, 1))

    def on_epoch_begin(self):
        self.begun += 1

    def on_epoch_end(self):
        self.ended += 1


def numbers_of_epochs(x, y=None, **arguments):
    """The numbers of the batches in each epoch, as a model sees them."""
    seen = []

    class Spy(Layer):
        def forward(self, x, run):
            if run.training:
                seen[-1].append(int(x[0, 0]))
            return x, None

        def backward(self, dy, saved, run, need_dx=True):
            return dy

    model = Sequential([Input((1,)), Spy(), Dense(1)], seed=0)
    model.compile("sgd", "mse")
    model.fit(
        x, y, verbose=0, callbacks=[LambdaCallback(on_epoch_begin=lambda epoch, logs: seen.append([]))], **arguments
    )
    return seen


@pytest.mark.parametrize(
    ("steps", "epochs"),
    [
        (1, [[0], [1], [2], [0]]),
        (2, [[0, 1], [2], [0, 1], [2]]),
        (3, [[0, 1, 2]] * 4),
        (5, [[0, 1, 2]] * 4),
        (None, [[0, 1, 2]] * 4),
    ],
)
def test_an_epoch_of_some_steps_goes_on_where_the_last_one_ended(steps, epochs):
    """As Keras 3.15 does it, with arrays and with batches by number."""
    x, y = np.repeat(np.arange(3.0), 2)[:5, None], np.zeros((5, 1))
    assert numbers_of_epochs(x, y, batch_size=2, steps_per_epoch=steps, epochs=4, shuffle=False) == epochs
    assert (
        numbers_of_epochs(x, y, batch_size=2, steps_per_epoch=steps, epochs=6, initial_epoch=2, shuffle=False) == epochs
    )
    source = Numbers(3)
    assert numbers_of_epochs(source, steps_per_epoch=steps, epochs=4, shuffle=False) == epochs
    assert source.begun == source.ended == 4
    assert numbers_of_epochs([source[k] for k in range(3)], steps_per_epoch=steps, epochs=4) == epochs


def test_some_steps_of_a_shuffled_epoch_see_every_sample_once():
    x, y = np.arange(12.0)[:, None], np.zeros((12, 1))
    seen = numbers_of_epochs(x, y, batch_size=1, steps_per_epoch=5, epochs=6)
    assert [len(epoch) for epoch in seen] == [5, 5, 2] * 2
    first, second = (list(itertools.chain(*seen[k : k + 3])) for k in (0, 3))
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second


def test_a_sequence_is_shuffled_anew_each_time_and_a_list_is_not():
    whole = numbers_of_epochs(Numbers(9), epochs=3)
    assert [sorted(epoch) for epoch in whole] == [list(range(9))] * 3
    assert whole[0] != whole[1] != whole[2] != whole[0]
    assert numbers_of_epochs(Numbers(9), epochs=3) == whole  # of the same seed
    by_fives = numbers_of_epochs(Numbers(9), steps_per_epoch=5, epochs=4)
    assert [by_fives[0] + by_fives[1], by_fives[2] + by_fives[3]] == whole[:2]
    in_order = [list(range(9))] * 2
    assert numbers_of_epochs([Numbers(9)[k] for k in range(9)], epochs=2) == in_order
    assert numbers_of_epochs(Numbers(9), epochs=2, shuffle="batch") == in_order


@pytest.mark.parametrize("steps", [None, 2])
def test_a_sequence_is_told_of_the_epochs_of_evaluate_and_predict(steps):
    model, source = Sequential([Input((1,)), Dense(1)], seed=0), Numbers(3)
    model.compile("sgd", "mse")
    model.evaluate(source, steps=steps, verbose=0)
    assert (source.begun, source.ended) == (1, 1)
    assert len(model.predict(source, steps=steps, verbose=0)) == 2 * (steps or 3)
    assert (source.begun, source.ended) == (2, 2)


def test_a_sequence_is_in_another_order_at_every_call_of_fit():
    seen = []

    class Noting(Numbers):
        def __getitem__(self, number):
            seen.append(number)
            return super().__getitem__(number)

    model = Sequential([Input((1,)), Dense(1)], seed=0)
    model.compile("sgd", "mse")
    for _ in range(3):
        model.fit(Noting(9), verbose=0)
    orders = [tuple(seen[k : k + 9]) for k in (0, 9, 18)]
    assert len(set(orders)) == 3
    assert all(sorted(order) == list(range(9)) for order in orders)


def test_a_number_that_is_none_is_named_by_its_place_however_large_the_data():
    x = np.zeros((3, 1 << 20))
    x[2, 5] = np.nan
    with pytest.raises(DataError, match=r"x: holds nan at \(2, 5\)"):
        check_finite(x, "x")


# -- class weights of batches


def test_class_weights_of_batches_that_lack_a_class():
    """A batch without a class that class_weight names is no error; what the outputs cannot tell apart is."""
    x = np.arange(6, dtype=np.float32).reshape(6, 1)
    batches = [(x[:3], np.ones(3)), (x[3:], np.array([-1.0, 1, -1]))]
    weights = [np.ones(3), np.array([3.0, 1, 3])]
    models = [Sequential([Input((1,)), Dense(1)], seed=0) for _ in range(2)]
    for model in models:
        model.compile("sgd", "mse")
    models[0].fit(batches, class_weight={-1: 3.0}, verbose=0)
    models[1].fit([(bx, by, w) for (bx, by), w in zip(batches, weights, strict=True)], verbose=0)
    assert_same_weights(*models)
    wide = Sequential([Input((1,)), Dense(3, activation="softmax")], seed=0)
    wide.compile("sgd", "sparse_categorical_crossentropy")
    wide.train_on_batch(x, np.zeros(6, int), class_weight={2: 2.0})
    with pytest.raises(MinicnnError, match=r"train_on_batch: class_weight names class 3; .* there are 3"):
        wide.train_on_batch(x, np.zeros(6, int), class_weight={3: 2.0})


def test_labels_and_weights_that_the_models_dtype_does_not_hold():
    model = linear_model()
    before = model.get_weights()
    x = np.ones((4, *model.input_shape[1:]), np.float32)
    y = np.zeros((4, *model.output_shape[1:]))
    with pytest.raises(DataError, match=r"fit: y: holds 1e\+39"):
        model.fit(x, y + 1e39, verbose=0)
    with pytest.raises(DataError, match=r"fit: sample_weight: holds 1e\+39"):
        model.fit(x, y, sample_weight=np.full(4, 1e39), verbose=0)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_lists_of_numpys_numbers_are_samples():
    model = Sequential([Input((3,)), Dense(2)], seed=0)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(model.predict([list(row) for row in x], verbose=0), model.predict(x, verbose=0))


def test_a_sequence_is_shuffled_by_whatever_is_true():
    assert numbers_of_epochs(Numbers(9), epochs=2, shuffle=1) == numbers_of_epochs(Numbers(9), epochs=2)
