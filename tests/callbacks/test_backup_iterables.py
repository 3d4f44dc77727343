"""BackupAndRestore where the data come from an iterable: its batches are drawn again, and the end is the same."""

import numpy as np
import pytest

from minicnn import Sequential
from minicnn.callbacks import BackupAndRestore, Callback, LambdaCallback
from minicnn.errors import MinicnnWarning
from minicnn.layers import Dense, Flatten
from tests.callbacks.backups import assert_same_state, check, interrupt
from tests.small_models import CLASSES, COUNT, X, Y, new_model


def augmented(seed=0, batches=None):
    """Batches of random samples and noise, without an end unless given; the last one of three is smaller."""
    rng = np.random.default_rng(seed)
    number = 0
    while batches is None or number < batches:
        rows = rng.integers(0, COUNT, 4 if number % 3 == 2 else 8)
        yield X[rows] + rng.normal(0, 0.1, (len(rows), 1, 1, 1)), Y[rows], rng.uniform(0.5, 1, len(rows))
        number += 1


class Reshuffled:
    """An iterable that can be started anew, and gives another order each time."""

    def __init__(self):
        self.rng = np.random.default_rng(3)

    def __iter__(self):
        for rows in np.split(self.rng.permutation(20), 4):
            yield X[rows], Y[rows]


class Sequence:
    """Batches by number, with random noise."""

    def __init__(self, count=3, size=7):
        self.rng, self.count, self.size = np.random.default_rng(4), count, size

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        place = slice(number * self.size, (number + 1) * self.size)
        return X[place] + self.rng.normal(0, 0.1, X[place].shape), Y[place]

    def on_epoch_end(self):
        self.rng.normal()


SOURCES = {
    "generator": lambda: {"x": augmented(), "steps_per_epoch": 3},
    "iterable": lambda: {"x": Reshuffled()},
    "iterable over and over": lambda: {"x": Reshuffled(), "steps_per_epoch": 3},
    "list": lambda: {"x": list(augmented(batches=3))},
    "sequence": lambda: {"x": Sequence()},
    "sequence by steps": lambda: {"x": Sequence(5, 4), "steps_per_epoch": 3},
    "validation by generator": lambda: {
        "x": augmented(),
        "steps_per_epoch": 3,
        "validation_data": augmented(1),
        "validation_steps": 2,
        "validation_freq": 2,
    },
    "validation by some steps of a sequence": lambda: {
        "x": X,
        "y": Y,
        "batch_size": 8,
        "validation_data": Sequence(5, 4),
        "validation_steps": 2,
    },
    "arrays, validation by generator": lambda: {
        "x": X,
        "y": Y,
        "batch_size": 8,
        "validation_data": augmented(1),
        "validation_steps": 2,
    },
}


@pytest.mark.parametrize(
    "interruption", [("on_train_batch_begin", 2), ("on_train_batch_begin", 9), ("on_epoch_end", 2)]
)
@pytest.mark.parametrize("save_freq", ["epoch", 1])
@pytest.mark.parametrize("source", SOURCES)
def test_iterables(tmp_path, source, save_freq, interruption):
    def fit():
        return {**SOURCES[source](), "verbose": 0}

    check(
        tmp_path,
        lambda: new_model(dropout=0.5),
        [interruption, ("on_train_batch_begin", 2)],
        save_freq=save_freq,
        fit=fit,
    )


@pytest.mark.parametrize(
    ("batches", "epoch", "second"), [(8, 3, ("on_train_batch_end", 2)), (6, 2, ("on_train_end", 1))]
)
def test_a_generator_that_ends_before_its_epochs(tmp_path, batches, epoch, second):
    """Within an epoch or with it. Training ends with a warning; interrupted and taken up again it does so as well."""

    def fit():
        return {"x": augmented(batches=batches), "steps_per_epoch": 3, "verbose": 0}

    with pytest.warns(MinicnnWarning, match=f"x ran out of batches in epoch {epoch} of 5 and training ends"):
        model = check(tmp_path, new_model, [("on_epoch_end", 2), second], fit=fit, epochs=5)
    assert model.optimizer.iterations == batches


def test_a_training_that_stopped_within_an_epoch_is_done(tmp_path):
    """Its iterable is not gone through again, whatever it would give."""
    backup = BackupAndRestore(tmp_path, delete_checkpoint=False)
    stop = LambdaCallback(on_train_batch_end=lambda batch, logs: setattr(model, "stop_training", batch == 1))
    model = new_model()
    model.fit(augmented(), steps_per_epoch=10, epochs=2, callbacks=[stop, backup], verbose=0)
    again = new_model()
    history = again.fit(augmented(), steps_per_epoch=10, epochs=2, callbacks=[backup], verbose=0)
    assert_same_state(again, model)
    assert len(history.history["loss"]) == 1


@pytest.mark.filterwarnings("ignore:fit. validation_data gave no batches")
@pytest.mark.parametrize("count", [2, 3])
def test_a_validation_generator_that_runs_out(tmp_path, count):
    def fit():
        validation = augmented(1, batches=count)
        return {"x": X, "y": Y, "batch_size": 8, "validation_data": validation, "validation_steps": 2, "verbose": 0}

    check(tmp_path, new_model, [("on_train_batch_end", 11)], fit=fit)


@pytest.mark.parametrize("validation", [lambda: Sequence(5, 4), lambda: augmented(1)], ids=["sequence", "generator"])
def test_validations_that_a_callback_ends(tmp_path, validation):
    class Stop(Callback):
        def on_test_batch_end(self, batch, logs=None):
            self.model.stop_evaluating = batch == self.model.optimizer.iterations // 3

    def fit():
        return {"x": X, "y": Y, "batch_size": 8, "validation_data": validation(), "validation_steps": 5, "verbose": 0}

    check(tmp_path, new_model, [("on_train_batch_end", 8)], fit=fit, callbacks=lambda: [Stop()])


def test_a_sequence_is_in_the_order_of_an_earlier_process_that_had_trained_before(tmp_path):
    def trained_before():
        model = new_model()
        model.fit(X, Y, epochs=2, batch_size=8, verbose=0)
        return model

    def fit():
        return {"x": Sequence(5, 4), "verbose": 0}

    check(tmp_path, trained_before, [("on_train_batch_end", 7)], save_freq=2, fit=fit)
    model, whole = trained_before(), trained_before()
    whole.fit(**fit(), epochs=3)
    backup = BackupAndRestore(tmp_path / "same", save_freq=2)
    interrupt(model, [backup], "on_train_batch_end", 12, **fit(), epochs=3)
    model.fit(**fit(), epochs=3, callbacks=[backup])  # in the same process, with the epochs trained meanwhile
    assert_same_state(model, whole)


def test_other_batches_than_before_give_a_warning(tmp_path):
    whole, model = new_model(), new_model()
    backup = BackupAndRestore(tmp_path, save_freq=2)
    interrupt(whole, [backup], "on_train_batch_end", 6, x=augmented(0), steps_per_epoch=3)
    with pytest.warns(MinicnnWarning, match="x gives other batches than in the interrupted run, so the end will not"):
        model.fit(augmented(1), steps_per_epoch=3, epochs=2, callbacks=[backup], verbose=0)


@pytest.mark.parametrize("order", ["samples", "weights"])
def test_the_same_samples_in_another_order_are_other_batches(tmp_path, order):
    backup = BackupAndRestore(tmp_path, save_freq=1)
    batches = [(X[:8], Y[:8], np.ones(8)), (X[8:16], Y[8:16], np.ones(8))]
    others = [batches[1], batches[0]] if order == "samples" else [(x, y, w / 2) for x, y, w in batches]
    interrupt(new_model(), [backup], "on_train_batch_end", 2, x=batches)
    with pytest.warns(MinicnnWarning, match="x gives other batches"):
        new_model().fit(others, callbacks=[backup], verbose=0)


def test_a_generator_that_was_used_up_is_an_error(tmp_path):
    source = augmented(batches=6)
    model = new_model()
    backup = BackupAndRestore(tmp_path, save_freq=2)
    interrupt(model, [backup], "on_train_batch_end", 6, x=source, steps_per_epoch=6)
    before = model.get_weights()
    with pytest.raises(ValueError) as error:
        model.fit(source, steps_per_epoch=6, callbacks=[backup], verbose=0)
    assert str(error.value) == (
        "BackupAndRestore: x gave 0 batches where the interrupted run had taken 4; make the iterable anew for every "
        "fit."
    )
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))


def test_the_model_must_be_built(tmp_path):
    model = Sequential([Flatten(), Dense(CLASSES, activation="softmax")])
    model.compile("adam", "categorical_crossentropy")
    with pytest.raises(
        ValueError, match="the model is not built, and x is an iterable; give the first layer input_shape"
    ):
        model.fit(augmented(), steps_per_epoch=2, callbacks=[BackupAndRestore(tmp_path)], verbose=0)


def test_with_arrays_it_need_not_be(tmp_path):
    def make():
        model = Sequential([Flatten(), Dense(CLASSES, activation="softmax")], seed=1)
        model.compile("adam", "categorical_crossentropy")
        return model

    assert_same_state(check(tmp_path, make, [("on_epoch_end", 2)], epochs=3), check(tmp_path, make, [], epochs=3))
