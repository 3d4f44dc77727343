"""The orders in which the versions of Keras store an optimizer's variables."""

import numpy as np
import pytest

from minicnn import load_model, naming, optimizers
from minicnn.errors import FileFormatError, MinicnnWarning
from minicnn.optimizers import schedules
from minicnn.saving import keras_3_weights, optimizer_state
from tests.saving.models import data, same_weights, small
from tests.saving.test_dialects import rewritten

SHAPES = [(2, 3), (3,)]  # a kernel and a bias
COUNT = np.array(5, np.int64)
RATE = np.array(0.25, np.float32)


def filled(slot, parameter):
    """An array that tells which slot and parameter it is."""
    return np.full(SHAPES[parameter], 10 * slot + parameter, np.float32)


def stored(*names, order):
    """Counters under the given names, then (slot, parameter) in the given order."""
    counters = [(name, RATE if name.endswith("learning_rate") else COUNT) for name in names]
    return counters + [(f"variable_{slot}_{parameter}", filled(slot, parameter)) for slot, parameter in order]


BY_SLOT_2 = [(0, 0), (0, 1), (1, 0), (1, 1)]
BY_SLOT_3 = [*BY_SLOT_2, (2, 0), (2, 1)]
BY_PARAMETER = [(0, 0), (1, 0), (0, 1), (1, 1)]
VHAT_UNUSED = [("vhat_0:0", np.zeros(1, np.float32)), ("vhat_1:0", np.zeros(1, np.float32))]


@pytest.mark.parametrize(
    ("optimizer", "variables"),
    [
        ("2.3 Adam", stored("Adam/iterations:0", order=BY_SLOT_2) + VHAT_UNUSED),
        ("2.4 Adam", stored("Adam/iter:0", order=BY_SLOT_2)),
        ("2.11 Adam", stored("iteration:0", order=BY_PARAMETER)),
        ("3.0 Adam", stored("iteration", "learning_rate", order=BY_PARAMETER)),
        ("3.15 Adam", stored("adam_1/iteration", "adam_1/learning_rate", order=BY_PARAMETER)),
        ("2.4 Adam amsgrad", stored("Adam/iter:0", order=BY_SLOT_3)),
        ("2.11 Adam amsgrad", stored("iteration:0", order=[*BY_PARAMETER, (2, 0), (2, 1)])),
        ("3.15 AdamW", stored("adamw/iteration", "adamw/learning_rate", order=BY_PARAMETER)),
        ("2.4 SGD momentum", stored("SGD/iter:0", order=[(0, 0), (0, 1)])),
        ("2.11 SGD momentum", stored("iteration:0", order=[(0, 0), (0, 1)])),
        ("3.15 SGD momentum", stored("sgd/iteration", "sgd/learning_rate", order=[(0, 0), (0, 1)])),
        ("2.4 SGD", stored("SGD/iter:0", order=[])),
        ("2.11 SGD", stored("iteration:0", order=[(0, 0), (0, 1)])),  # slots without momentum, not used
        ("3.15 SGD", stored("sgd/iteration", "sgd/learning_rate", order=[])),
        ("2.4 RMSprop", stored("RMSprop/iter:0", order=[(0, 0), (0, 1)])),
        ("2.4 RMSprop momentum centered", stored("RMSprop/iter:0", order=BY_SLOT_3)),
        ("3.15 RMSprop momentum centered", stored("r/iteration", "r/learning_rate", order=BY_SLOT_3)),
        ("3.15 Adagrad", stored("adagrad/iteration", "adagrad/learning_rate", order=[(0, 0), (0, 1)])),
        ("2.0 Adadelta", stored(order=BY_SLOT_2)),  # no counter
        ("2.4 Adadelta", stored("Adadelta/iter:0", order=BY_SLOT_2)),
        ("3.15 Adadelta", stored("adadelta/iteration", "adadelta/learning_rate", order=BY_PARAMETER)),
    ],
)
def test_layouts(optimizer, variables):
    _, class_name, *options = optimizer.split()
    values = {"amsgrad": True, "momentum": 0.5, "centered": True}
    slot_names = getattr(optimizers, class_name)(**{option: values[option] for option in options}).slot_names
    state = optimizer_state.from_keras(class_name, slot_names, SHAPES, variables)
    assert state.iterations == (0 if optimizer.startswith("2.0") else 5)
    assert tuple(state.slots) == slot_names
    for number, slot in enumerate(slot_names):
        for parameter, array in enumerate(state.slots[slot]):
            np.testing.assert_array_equal(array, filled(number, parameter))


@pytest.mark.parametrize("names", [(), ("iteration:0",), ("adam/iteration", "adam/learning_rate")])
def test_before_the_first_step_there_are_no_slots(names):
    variables = [(name, 0 * array) for name, array in stored(*names, order=[])]
    assert optimizer_state.from_keras("Adam", ("momentum", "velocity"), SHAPES, variables).slots == {}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (stored("Adam/iter:0", order=[(0, 0)]), r"slot 'momentum' needs an array \(3,\) where the file has nothing"),
        (stored("Adam/iter:0", order=BY_PARAMETER), r"needs an array \(3,\) where the file has \(2, 3\)"),
        (stored("iteration:0", order=BY_SLOT_2), r"slot 'velocity' needs an array \(2, 3\) where the file has \(3,\)"),
        (stored("Adam/iter:0", order=BY_SLOT_3), "2 arrays are left over"),
        (
            stored("sgd/iteration", "sgd/learning_rate", order=[]),
            "it has made 5 steps and holds no momentum or velocity",
        ),
        ([("iter:0", np.array(-1)), *stored(order=BY_SLOT_2)], "'iter:0' is -1, no number of steps"),
        ([("iter:0", np.array(0.5)), *stored(order=BY_SLOT_2)], "is 0.5, no number of steps"),
        ([("iter:0", np.array(np.nan)), *stored(order=BY_SLOT_2)], "is nan, no number of steps"),
    ],
)
def test_what_does_not_fit(variables, message):
    with pytest.raises(FileFormatError, match=message):
        optimizer_state.from_keras("Adam", ("momentum", "velocity"), SHAPES, variables)


def test_an_unknown_optimizer_has_no_known_order():
    with pytest.raises(FileFormatError, match="order of Own's variables is not known"):
        optimizer_state.from_keras("Own", ("slot",), SHAPES, [])


@pytest.fixture
def trained(tmp_path):
    model = small()
    model.compile("adam", "categorical_crossentropy")
    model.fit(*data(), verbose=0)
    model.save(tmp_path / "model.h5")
    return model, tmp_path / "model.h5"


def change_state(**changes):
    def change(root):
        import json

        group = root["minicnn_optimizer"]
        group.attrs["state"] = json.dumps(json.loads(group.attrs["state"]) | changes).encode()

    return change


def without_an_array(root):
    del root["minicnn_optimizer/velocity/2"]


def of_another_shape(root):
    del root["minicnn_optimizer/velocity/0"]
    root["minicnn_optimizer/velocity/0"] = np.zeros((3, 3), np.float32)


def not_finite(root):
    root["minicnn_optimizer/velocity/0"][0, 0, 0, 0] = np.nan


def without_state(root):
    del root["minicnn_optimizer"].attrs["state"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_state(format=2), "has format 2, not 1; update minicnn"),
        (change_state(iterations=-1), "its state is damaged"),
        (change_state(seed="x"), "its state is damaged"),
        (change_state(slots=["../model_weights"]), "leads out of its group"),
        (change_state(class_name="SGD", slots=["momentum"]), "that of SGD .* the optimizer is Adam"),
        (change_state(parameters=4), "has not the shapes of the trainable parameters"),
        (change_state(parameters=10**9), r"has no '6'"),
        (without_an_array, "has no '2'"),
        (of_another_shape, "has not the shapes of the trainable parameters"),
        (not_finite, "slot 'velocity' holds numbers that are NaN"),
        (without_state, "minicnn_optimizer: is not valid JSON"),
    ],
)
def test_a_state_that_does_not_fit_is_dropped(trained, change, message):
    import h5py

    model, path = trained
    with h5py.File(path, "r+") as root:
        change(root)
    with pytest.warns(MinicnnWarning, match=message):
        loaded = load_model(path)
    assert same_weights(loaded, model)
    assert loaded.compiled
    assert (loaded.optimizer.iterations, loaded.optimizer.slots) == (0, {})


def test_another_optimizer_in_the_configuration_starts_anew(trained):
    _, path = trained
    rewritten(path, lambda v: v.update(optimizer_config={"class_name": "SGD", "config": {}}), "training_config")
    with pytest.warns(MinicnnWarning, match="that of Adam with slots .*, the optimizer is SGD"):
        loaded = load_model(path)
    assert (loaded.optimizer.iterations, loaded.optimizer.slots) == (0, {})


def test_weights_of_another_optimizers_training_leave_rate_and_steps_alone(tmp_path):
    plain, adam = small(seed=1), small(seed=1)
    plain.compile(optimizers.SGD(0.5), "categorical_crossentropy")
    adam.compile(optimizers.Adam(0.01), "categorical_crossentropy")
    x, y = data()
    plain.fit(x, y, epochs=2, verbose=0)
    adam.fit(x, y, verbose=0)
    plain.save_weights(tmp_path / "sgd.weights.h5")
    steps = adam.optimizer.iterations
    with pytest.warns(MinicnnWarning, match="the optimizer's state does not fit and stays as it is: it has made"):
        adam.load_weights(tmp_path / "sgd.weights.h5")
    assert (adam.optimizer.iterations, adam.optimizer.learning_rate) == (steps, 0.01)
    for own, stored in zip(adam.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(own, stored)


def test_a_rate_in_a_file_leaves_a_schedule_alone(tmp_path):
    constant, scheduled = small(seed=1), small(seed=1)
    constant.compile(optimizers.Adam(0.5), "categorical_crossentropy")
    scheduled.compile(optimizers.Adam(schedules.ExponentialDecay(0.125, 2, 0.5)), "categorical_crossentropy")
    x, y = data()
    for model in (constant, scheduled):
        model.fit(x, y, verbose=0)
    constant.save_weights(tmp_path / "adam.weights.h5")
    scheduled.load_weights(tmp_path / "adam.weights.h5")
    assert scheduled.optimizer.follows_schedule
    assert scheduled.optimizer.iterations == constant.optimizer.iterations


def test_weights_saved_before_the_first_step_leave_rate_steps_and_slots_alone(trained, tmp_path):
    """Keras writes the counter and the rate, and passes over them where the optimizer has moments by then."""
    model, _ = trained
    layers = [(name, [array + 1 for array in arrays]) for name, arrays in arrays_by_class(model)]
    before = [np.array(0, np.int64), np.array(0.5, np.float32)]
    (tmp_path / "w.weights.h5").write_bytes(keras_3_weights.image(layers, before))
    optimizer = model.optimizer
    kept = optimizer.iterations, optimizer.learning_rate, optimizer.slots["velocity"].copy()
    with pytest.warns(MinicnnWarning, match="stays as it is: it is from before the first step, without momentum and v"):
        model.load_weights(tmp_path / "w.weights.h5")
    assert (optimizer.iterations, optimizer.learning_rate) == kept[:2]
    np.testing.assert_array_equal(optimizer.slots["velocity"], kept[2])
    np.testing.assert_array_equal(model.get_weights()[0], layers[0][1][0])


def arrays_by_class(model):
    return [(naming.snake_case(type(layer).__name__), list(layer.weights().values())) for layer in model.layers]


def test_an_optimizer_without_slots_takes_over_a_counter_from_before_the_first_step(tmp_path):
    model = small()
    model.compile("sgd", "categorical_crossentropy")
    model.fit(*data(), verbose=0)
    before = [np.array(0, np.int64), np.array(0.5, np.float32)]
    (tmp_path / "w.weights.h5").write_bytes(keras_3_weights.image(arrays_by_class(model), before))
    model.load_weights(tmp_path / "w.weights.h5")
    assert (model.optimizer.iterations, model.optimizer.learning_rate) == (0, 0.5)


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_slots_of_a_layer_that_is_thawed_are_in_the_file(tmp_path, name):
    """Frozen for a step and saved before the next: training goes on as without the file."""
    x, y = data()
    model = small()
    model.compile(optimizers.SGD(0.125, momentum=0.5), "categorical_crossentropy")
    model.fit(x, y, verbose=0)
    model.layers[-1].trainable = False
    model.fit(x, y, verbose=0)
    model.layers[-1].trainable = True
    model.save(tmp_path / name)
    loaded = load_model(tmp_path / name)
    for one in (model, loaded):
        one.fit(x, y, verbose=0)
    assert same_weights(model, loaded)
