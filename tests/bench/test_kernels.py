"""The stopwatch of bench/kernels.py sees every part of a step, and leaves no trace; the tables add up."""

import numpy as np
import pytest
from kernels import Part, Stopwatch, table, watched
from limits import Peaks, Work

from minicnn import batches, parameters
from minicnn.layers import Conv2D, Dense, Flatten, Input
from minicnn.models import Sequential
from minicnn.regularizers import l2


@pytest.fixture
def model():
    layers = [Input((4, 4, 1)), Conv2D(2, 3, kernel_regularizer=l2(0.01)), Flatten(), Dense(3, activation="softmax")]
    made = Sequential(layers, seed=0, kernels="numpy")
    made.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


def test_all_parts_of_a_training_step_are_timed_and_counted(model):
    x, y = np.zeros((12, 4, 4, 1), np.uint8), np.zeros(12, int)
    steps = model.plan().steps
    watch = watched(model, steps)
    try:
        model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    finally:
        watch.stop()
    passes = {(id(step), name) for step in steps for name in ("forward", "backward")}
    assert set(watch.times) == passes | {"gather", "loss", "penalties", "update"}
    assert {len(times) for times in watch.times.values()} == {6}
    assert len(watch.starts) == 6
    assert 0 < watch.median("update") < watch.step_seconds()


def test_the_stopwatch_puts_everything_back(model):
    kinds = {type(step) for step in model.plan().steps}
    owners = [*kinds, batches, parameters.ParameterBuffer, type(model.optimizer), type(model.loss)]
    before = [dict(vars(owner)) for owner in owners]
    watch = watched(model, model.plan().steps)
    assert vars(batches)["gather"] is not before[len(kinds)]["gather"]
    watch.stop()
    assert [dict(vars(owner)) for owner in owners] == before


def test_a_call_inside_a_timed_one_counts_for_that_alone():
    class Base:
        def run(self):
            return 1

    class Child(Base):
        def run(self):
            return super().run() + 1

    watch = Stopwatch()
    for owner in (Base, Child):
        watch.watch(owner, "run", lambda self, owner=owner: owner.__name__)
    assert Child().run() == 2
    assert Base().run() == 1
    assert {key: len(times) for key, times in watch.times.items()} == {"Child": 1, "Base": 1}


def test_the_table_marks_what_is_slow_and_matters():
    peaks = Peaks(flops=1e9, bandwidth=1e9)
    parts = [
        Part("good", 0.5, Work(4e8)),
        Part("slow", 0.3, Work(1e8, 1e6)),
        Part("small", 0.01, Work(0, 1e6)),
        Part("free", 0.0, Work()),
    ]
    lines = table(parts, 1.0, peaks).splitlines()[2:]
    assert lines == [
        "| good | 500 | 50.0% | 0.400 |  | 400 | 80% |  |",
        "| slow | 300 | 30.0% | 0.100 | 1.00 | 100 | 33% | < |",
        "| small | 10.0 | 1.0% |  | 1.00 | 1.00 | 10% |  |",
        "| free | 0.00 | 0.0% |  |  |  |  |  |",
        "| the rest | 190 | 19.0% |  |  |  |  |  |",
        "| whole step | 1,000 |  | 0.500 | 2.00 | 501 | 50% |  |",
    ]
