"""Sequential: its layers, shapes, names, summary, seeds and dtypes."""

import numpy as np
import pytest

import minicnn
from minicnn import Input, Sequential, naming
from minicnn.errors import ConfigError, MinicnnError, NotBuiltError, ShapeError
from minicnn.layers import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    InputLayer,
    MaxPooling2D,
    ReLU,
)
from minicnn.utils import clear_session
from tests import small_models
from tests.small_models import compiled, small, weights_equal

X, Y = small_models.X[:12], small_models.Y[:12]


@pytest.fixture(autouse=True)
def fresh_names():
    """Each test starts counting names at conv2d; the counter goes back to where it was."""
    before = naming._counts.copy()
    clear_session()
    yield
    naming._counts.clear()
    naming._counts.update(before)


# -- structure


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sequential([Input((6, 6, 2)), Conv2D(4, 3), Flatten(), Dense(3)], seed=1),
        lambda: Sequential([Input(shape=(6, 6, 2)), Conv2D(4, 3), Flatten(), Dense(3)], seed=1),
        lambda: Sequential([InputLayer(batch_shape=(None, 6, 6, 2)), Conv2D(4, 3), Flatten(), Dense(3)], seed=1),
        lambda: Sequential([Conv2D(4, 3, input_shape=(6, 6, 2)), Flatten(), Dense(3)], seed=1),
        lambda: Sequential([Conv2D(4, 3, batch_input_shape=(None, 6, 6, 2)), Flatten(), Dense(3)], seed=1),
    ],
    ids=["Input", "shape", "InputLayer", "input_shape", "batch_input_shape"],
)
def test_every_spelling_of_the_input_builds_the_same_model_at_once(make):
    reference = Sequential([Conv2D(4, 3), Flatten(), Dense(3)], seed=1)
    reference.build((None, 6, 6, 2))
    model = make()
    assert model.built
    assert model.input_shape == (None, 6, 6, 2)
    assert model.output_shape == (None, 3)
    assert [layer.output_shape(layer.input_shape) for layer in model.layers] == [(4, 4, 4), (64,), (3,)]
    assert weights_equal(model.get_weights(), reference.get_weights())


def test_input_is_not_among_the_layers():
    assert [type(layer) for layer in small().layers] == [Conv2D, BatchNormalization, Flatten, Dense]


def test_input_dim_of_a_dense_layer():
    assert Sequential([Dense(3, input_dim=5)]).input_shape == (None, 5)


@pytest.mark.parametrize(
    "first_use",
    [
        lambda m: m.build((None, 6, 6, 2)),
        lambda m: m(X[:2]),
        lambda m: m.fit(X, Y, verbose=0),
        lambda m: m.train_on_batch(X, Y),
        lambda m: m.fit(iter([(X, Y)]), verbose=0),
    ],
    ids=["build", "call", "fit", "train_on_batch", "generator"],
)
def test_a_model_without_an_input_is_built_by_its_first_use(first_use):
    model = Sequential([Conv2D(4, 3), Flatten(), Dense(3, activation="softmax")], seed=1)
    compiled(model, minicnn.optimizers.SGD(0.0))
    assert not model.built
    with pytest.raises(NotBuiltError, match="no input shape"):
        _ = model.input_shape
    first_use(model)
    assert model.built
    assert model.output_shape == (None, 3)
    early = Sequential([Input((6, 6, 2)), Conv2D(4, 3), Flatten(), Dense(3, activation="softmax")], seed=1)
    assert weights_equal(model.get_weights(), early.get_weights())


def test_layers_may_be_added_one_by_one_and_popped():
    model = Sequential(seed=3)
    model.add(Input((6, 6, 2)))
    for layer in (Conv2D(4, 3), Flatten(), Dense(3)):
        model.add(layer)
    before = model.get_weights()
    popped = model.pop()
    assert isinstance(popped, Dense)
    assert model.output_shape == (None, 64)
    model.add(Dense(5))
    assert model.output_shape == (None, 5)
    assert weights_equal(model.get_weights()[:2], before[:2])
    assert model.predict(X, verbose=0).shape == (12, 5)


def test_popping_and_adding_between_two_fits():
    model = compiled(small())
    model.fit(X, Y, verbose=0)
    model.pop()
    model.add(Dense(3, activation="softmax", name="anew"))
    before = model.layers[-1].get_weights()
    model.fit(X, Y, verbose=0)
    assert not np.array_equal(model.layers[-1].get_weights()[0], before[0])


def test_pop_down_to_nothing():
    model = small()
    for _ in range(4):
        model.pop()
    with pytest.raises(ConfigError, match="no layer to pop"):
        model.pop()
    with pytest.raises(NotBuiltError):
        model.predict(X, verbose=0)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Dense, "call it: Dense"),
        ("dense", "takes a layer"),
        (None, "takes a layer"),
        (lambda x: x, "takes a layer"),
        (Dense(3, name="dense"), "a layer named 'dense'"),
        (Input((6, 6, 2)), "must come first"),
        (Conv2D(2, 3, name="too_late"), "needs input"),
    ],
    ids=["class", "string", "None", "function", "same name", "second input", "rank"],
)
def test_add_refuses_and_leaves_the_model_as_it_was(layer, message):
    model = Sequential([Input((6, 6, 2)), Flatten(), Dense(3, name="dense")])
    layers, weights = list(model.layers), model.get_weights()
    with pytest.raises(MinicnnError, match=message):
        model.add(layer)
    assert model.layers == layers
    assert weights_equal(model.get_weights(), weights)
    assert model.output_shape == (None, 3)


def test_a_window_larger_than_the_map_is_refused_with_the_remedy():
    with pytest.raises(ShapeError, match=r"MaxPooling2D 'pool_2': window \(3, 3\).*2x2.*padding=\"same\""):
        Sequential([Input((2, 2, 16)), MaxPooling2D(3, name="pool_2")])


def test_a_deferred_model_that_cannot_fit_builds_nothing():
    model = Sequential([Conv2D(4, 3), Conv2D(4, 9), Flatten(), Dense(3)])
    with pytest.raises(ShapeError, match="does not fit"):
        model.build((None, 6, 6, 2))
    assert not any(layer.built for layer in model.layers)
    model.build((None, 12, 12, 2))
    assert model.output_shape == (None, 3)


@pytest.mark.parametrize("call", ["fit", "__call__", "build"])
def test_a_layer_that_is_built_for_another_shape_is_known_before_any_is_built(call):
    shared = Dense(3, name="shared")
    Sequential([Input((8,)), shared])
    model = Sequential([Dense(5), shared])
    model.compile("sgd", "mse")
    x = np.ones((2, 4), np.float32)
    arguments = {"fit": (x, np.ones((2, 3))), "__call__": (x,), "build": ((None, 4),)}[call]
    with pytest.raises(ShapeError, match=r"'shared': is built for input \(None, 8\), got \(None, 5\)"):
        getattr(model, call)(*arguments)
    assert not model.layers[0].built
    with pytest.raises(NotBuiltError):
        model.predict(x, verbose=0)


def test_weights_cannot_be_set_before_there_are_any():
    with pytest.raises(NotBuiltError, match="is not built yet, so it has no arrays to set"):
        Dense(3).set_weights([np.ones((2, 3)), np.ones(3)])


def test_the_input_has_a_name_of_its_own():
    with pytest.raises(ConfigError, match="has a layer named 'x' already"):
        Sequential([Input((4,), name="x"), Dense(3, name="x")])
    model = Sequential([Dense(3, input_shape=(4,), name="a"), Dense(2, name="a_input")])
    names = [layer["config"]["name"] for layer in model.get_config()["layers"]]
    assert len(set(names)) == 3
    assert names[1:] == ["a", "a_input"]


def test_samples_without_channels_are_refused():
    model = Sequential([Conv2D(4, 3, activation="relu"), Flatten(), Dense(3)])
    model.compile("sgd", "mse")
    with pytest.raises(ShapeError, match=r"\(None, 8, 8, 0\), samples without a number"):
        model.fit(np.zeros((4, 8, 8, 0), np.float32), np.zeros((4, 3)), verbose=0)
    assert not model.built


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("call", ["predict", "evaluate", "fit", "train_on_batch", "predict_on_batch", "__call__"])
def test_weights_of_another_shape_in_the_place_of_a_layers_own(call, trainable):
    model = Sequential([Input((6, 6, 5)), Conv2D(4, 3, name="first", trainable=trainable), Flatten(), Dense(3)])
    model.compile("sgd", "mse")
    model.layers[0].params["kernel"] = np.zeros((3, 3, 3, 4), np.float32)
    x, y = np.zeros((2, 6, 6, 5)), np.zeros((2, 3))
    with pytest.raises(ShapeError, match=r"first.* 'kernel' has shape \(3, 3, 3, 4\).* with \(3, 3, 5, 4\); make"):
        getattr(model, call)(*((x, y) if call in ("evaluate", "fit", "train_on_batch") else (x,)))


@pytest.mark.parametrize(
    "kwargs",
    [
        {"name": 3},
        {"name": [Dense(3)]},
        {"seed": -1},
        {"seed": 1.5},
        {"seed": True},
        {"dtype": "int32"},
        {"kernels": "cuda"},
    ],
    ids=str,
)
def test_wrong_arguments_of_the_constructor(kwargs):
    with pytest.raises(ConfigError):
        Sequential([Dense(3)], **kwargs)


@pytest.mark.parametrize("shape", [(0, 6, 2), (-1, 6, 2), (6.5, 6, 2), "6", (None, 6, 6, 2)], ids=str)
def test_wrong_input_shapes(shape):
    with pytest.raises(ConfigError, match="positive integers"):
        Input(shape)


def test_get_layer():
    model = small()
    assert model.get_layer("dense") is model.layers[3]
    assert model.get_layer(index=0) is model.get_layer(index=np.int64(0)) is model.layers[0]
    with pytest.raises(ConfigError, match=r"no layer named 'dense_9'.*conv2d"):
        model.get_layer("dense_9")
    with pytest.raises(ConfigError, match="none at index 4"):
        model.get_layer(index=4)


# -- names


def test_automatic_names_count_up_in_the_process_and_start_anew():
    first, second = small(), small()
    assert first.name == "sequential"
    assert [layer.name for layer in first.layers] == ["conv2d", "batch_normalization", "flatten", "dense"]
    assert second.name == "sequential_1"
    assert [layer.name for layer in second.layers] == ["conv2d_1", "batch_normalization_1", "flatten_1", "dense_1"]
    assert [MaxPooling2D(2).name, AveragePooling2D(2).name, ReLU().name] == [
        "max_pooling2d",
        "average_pooling2d",
        "re_lu",
    ]
    clear_session()
    assert small().layers[0].name == "conv2d"


def test_names_decide_nothing():
    first, second = small(), small()
    assert weights_equal(first.get_weights(), second.get_weights())


# -- summary

SUMMARY = """\
Model: "sequential"
_________________________________________________________________
Layer (type)                 Output Shape              Param #   
=================================================================
conv2d (Conv2D)              (None, 26, 26, 32)        320       
_________________________________________________________________
max_pooling2d (MaxPooling2D) (None, 13, 13, 32)        0         
_________________________________________________________________
conv2d_1 (Conv2D)            (None, 11, 11, 64)        18496     
_________________________________________________________________
max_pooling2d_1 (MaxPooling2 (None, 5, 5, 64)          0         
_________________________________________________________________
flatten (Flatten)            (None, 1600)              0         
_________________________________________________________________
dropout (Dropout)            (None, 1600)              0         
_________________________________________________________________
dense (Dense)                (None, 10)                16010     
=================================================================
Total params: 34,826
Trainable params: 34,826
Non-trainable params: 0
_________________________________________________________________
"""


def mnist_convnet():
    return Sequential(
        [
            Input((28, 28, 1)),
            Conv2D(32, 3, activation="relu"),
            MaxPooling2D(2),
            Conv2D(64, 3, activation="relu"),
            MaxPooling2D(2),
            Flatten(),
            Dropout(0.5),
            Dense(10, activation="softmax"),
        ]
    )


def test_summary_as_keras_2_prints_it(capsys):
    mnist_convnet().summary()
    assert capsys.readouterr().out == SUMMARY


def test_summary_by_print_fn_line_by_line(capsys):
    lines = []
    mnist_convnet().summary(print_fn=lines.append)
    assert lines == SUMMARY.splitlines()
    assert capsys.readouterr().out == ""


def test_summary_counts_what_is_trained(capsys):
    model = small()
    model.layers[0].trainable = False
    model.summary()
    out = capsys.readouterr().out
    assert "Total params: 287\nTrainable params: 203\nNon-trainable params: 84\n" in out  # 76 frozen, 8 moving averages


def test_summary_of_a_trained_model_leaves_the_optimizer_out(capsys):
    model = compiled(small())
    model.summary()
    before = capsys.readouterr().out
    model.fit(X, Y, verbose=0)
    model.summary()
    assert capsys.readouterr().out == before


@pytest.mark.parametrize("call", ["summary", "get_weights", "count_params"])
def test_what_needs_a_built_model_says_so(call):
    with pytest.raises(NotBuiltError, match="no weights yet"):
        getattr(Sequential([Dense(3)]), call)()


# -- seeds and dtypes


def test_seeds():
    assert weights_equal(small(seed=5).get_weights(), small(seed=5).get_weights())
    assert not np.array_equal(small(seed=5).get_weights()[0], small(seed=6).get_weights()[0])
    assert not np.array_equal(small(seed=None).get_weights()[0], small(seed=None).get_weights()[0])
    assert weights_equal(small(seed=np.int64(5)).get_weights(), small(seed=5).get_weights())


def test_two_layers_of_one_shape_have_different_weights():
    model = Sequential([Input((5,)), Dense(5), Dense(5)], seed=0)
    assert not np.array_equal(model.get_weights()[0], model.get_weights()[2])


@pytest.mark.parametrize("kernels", ["numpy", "numba"])
def test_float64_throughout(kernels):
    model = compiled(small(dtype="float64", kernels=kernels))
    model.fit(X, Y, verbose=0)
    assert {w.dtype for w in model.get_weights()} == {np.dtype("float64")}
    assert {slot.dtype for slot in model.optimizer.slots.values()} == {np.dtype("float64")}
    assert model.predict(X, verbose=0).dtype == np.float64
    assert model(X).dtype == np.float64


def test_a_layer_of_another_dtype_than_the_models_is_refused():
    with pytest.raises(ConfigError, match="has dtype float64, the model float32"):
        Sequential([Input((5,)), Dense(3, dtype="float64")])


def test_calling_the_model():
    model = Sequential([Input((6, 6, 2)), Flatten(), Dropout(0.5), Activation("relu")], seed=0)
    np.testing.assert_array_equal(model(X), np.maximum(X.reshape(12, -1), 0))
    assert set(np.unique(model(np.ones_like(X), training=True))) == {0.0, 2.0}
    np.testing.assert_array_equal(model(X.tolist()), model(X))


def test_calls_in_training_drop_other_entries_each_time_and_the_same_in_every_process():
    def three():
        model = Sequential([Input((50,)), Dropout(0.5)], seed=3)
        return [model(np.ones((2, 50)), training=True) for _ in range(3)]

    first, second, third = three()
    for one, other in ((first, second), (second, third), (first, third)):
        assert not np.array_equal(one, other)
    np.testing.assert_array_equal(three(), [first, second, third])


def test_texts():
    model = small()
    assert str(model) == "Sequential 'sequential'"
    assert repr(model) == "<Sequential 'sequential' of 4 layers>"
    assert "LogitsStep(Dense 'dense')" in str(compiled(model).plan())
