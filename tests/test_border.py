"""Trouble that shows late elsewhere and must show at once here: shapes that disagree, own classes that misbehave,
iterators
that end."""

import numpy as np
import pytest

from minicnn import Input, Sequential
from minicnn.activations import Activation
from minicnn.errors import ConfigError, DataError, MinicnnWarning, ShapeError
from minicnn.initializers import Initializer
from minicnn.kernels.tiles import tiling_for
from minicnn.layers import BatchNormalization, Conv2D, Dense, Flatten, GlobalAveragePooling2D, Layer, MaxPooling2D
from minicnn.models import clone_model
from tests.small_models import CLASSES, NUMBERS, SAMPLE, X, Y, assert_same_weights, new_model


def deferred():
    model = Sequential([Conv2D(4, 3), GlobalAveragePooling2D(), Dense(CLASSES, activation="softmax")], seed=0)
    model.compile("adam", "categorical_crossentropy")
    return model


def batches(times=1):
    for _ in range(times):
        yield X, Y


def test_validation_data_of_another_shape_are_refused_before_the_model_is_built():
    model = deferred()
    with pytest.raises(
        ShapeError, match=r"fit: validation_data has samples \(None, 6, 6, 3\), x has \(None, 6, 6, 2\)"
    ):
        model.fit(X, Y, validation_data=(np.zeros((4, 6, 6, 3)), Y[:4]), verbose=0)
    assert not model.built


def test_validation_data_of_another_shape_than_an_iterables_batches():
    model = deferred()
    with pytest.raises(
        ShapeError, match=r"fit: validation_data: .* takes samples \(None, 6, 6, 2\), got \(None, 6, 6, 3\)"
    ):
        model.fit(batches(), validation_data=(np.zeros((4, 6, 6, 3)), Y[:4]), verbose=0)


def test_a_generator_lasts_for_one_validation():
    model = new_model()
    before = model.get_weights()
    with pytest.raises(ConfigError, match="validation_data is a generator, which lasts for one validation alone"):
        model.fit(X, Y, epochs=2, validation_data=batches(), verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))
    history = model.fit(X, Y, epochs=1, validation_data=batches(), verbose=0)
    assert "val_loss" in history.history


def test_a_validation_generator_that_ends_early_warns():
    with pytest.warns(MinicnnWarning, match="validation_data gave no batches this time"):
        history = new_model().fit(X, Y, epochs=2, validation_data=batches(1), validation_steps=1, verbose=0)
    assert len(history.history["val_loss"]) == 1
    assert len(history.history["loss"]) == 2


def test_a_training_generator_that_ends_early_warns():
    with pytest.warns(MinicnnWarning, match="x ran out of batches in epoch 1 of 3 and training ends"):
        history = new_model().fit(batches(2), epochs=3, verbose=0)
    assert len(history.history["loss"]) == 1


@pytest.mark.parametrize("kernels", ["numba", "numpy"])
def test_numbers_beyond_float32_are_not_finite(kernels):
    model = new_model(kernels=kernels)
    with pytest.raises(DataError, match=r"fit: x: holds 1e\+39 at \(0, 0, 0, 0\)"):
        model.fit(np.full((4, *SAMPLE), 1e39), Y[:4], verbose=0)
    with pytest.raises(DataError, match="evaluate: x"):
        model.evaluate(np.full((4, *SAMPLE), -1e39), Y[:4], verbose=0)
    assert np.isfinite(new_model(dtype="float64").evaluate(np.full((4, *SAMPLE), 1e39), Y[:4], verbose=0)[1])


class Doubled(Layer):
    """Says nothing of the shape that it makes."""

    def forward(self, x, run):
        return np.repeat(x, 2, axis=-1), None

    def backward(self, dy, saved, run, need_dx=True):
        return dy.reshape(*dy.shape[:-1], -1, 2).sum(-1)


class DoubledRight(Doubled):
    def output_shape(self, input_shape):
        return (*input_shape[:-1], 2 * input_shape[-1])


class WrongGradient(DoubledRight):
    def backward(self, dy, saved, run, need_dx=True):
        return dy


class Float64(Layer):
    def forward(self, x, run):
        return np.asarray(x, np.float64) * 0.5, None

    def backward(self, dy, saved, run, need_dx=True):
        return np.asarray(dy, np.float64) * 0.5


def with_layer(layer):
    model = Sequential([Input(SAMPLE), Conv2D(2, 3), layer, Flatten(), Dense(CLASSES, activation="softmax")], seed=0)
    model.compile("adam", "categorical_crossentropy")
    return model


@pytest.mark.parametrize("layer", [Doubled, WrongGradient])
def test_an_own_layer_whose_arrays_have_another_shape_is_named(layer):
    word = "forward" if layer is Doubled else "backward"
    with pytest.raises(ShapeError, match=rf"{layer.__name__} '.*': {word} returned shape .* is due"):
        with_layer(layer()).fit(X, Y, verbose=0)


@pytest.mark.parametrize("layer", [DoubledRight, Float64])
def test_an_own_layer_that_is_right_trains(layer):
    history = with_layer(layer()).fit(X, Y, epochs=3, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_a_layer_that_does_not_fit_leaves_the_model_as_it_was():
    model = Sequential(seed=0)
    with pytest.raises(ConfigError, match="has dtype float64, the model float32"):
        model.add(Dense(3, input_shape=(4,), dtype="float64"))
    model.add(Dense(3, input_shape=(7,)))
    assert model.input_shape == (None, 7)

    model = Sequential([Dense(3), Dense(2)])
    model.layers[1].dtype = np.dtype(np.float64)
    with pytest.raises(ConfigError, match="has dtype float64"):
        model.build((None, 4))
    assert [layer.built for layer in model.layers] == [False, False]


def test_the_input_shape_goes_with_the_layer_that_declared_it():
    model = Sequential([Dense(3, input_shape=(4,))])
    model.pop()
    model.add(Dense(3, input_shape=(7,)))
    assert model.input_shape == (None, 7)
    with pytest.raises(ShapeError, match=r"says input_shape=\(5,\), but is given \(None, 3\)"):
        model.add(Dense(2, input_shape=(5,)))


def test_build_for_another_shape_is_refused():
    with pytest.raises(
        ShapeError, match=r"build: Sequential '.*' takes samples \(None, 6, 6, 2\), got \(None, 9, 9, 2\)"
    ):
        new_model().build((None, 9, 9, 2))
    with pytest.raises(ConfigError, match="build needs a shape with the batch in front"):
        new_model().build(3)


class Cube(Activation):
    def value(self, x):
        return x**3

    def gradient(self, dy, x, y):
        return dy * 3 * x**2


class FirstHalf(Cube):
    def value(self, x):
        return super().value(x)[: len(x) // 2]


class OneGradient(Cube):
    def gradient(self, dy, x, y):
        return super().gradient(dy, x, y).sum()


class FloatCube(Cube):
    """In float64, and not contiguous."""

    def value(self, x):
        return np.asfortranarray(super().value(x), np.float64)

    def gradient(self, dy, x, y):
        return np.asfortranarray(super().gradient(dy, x, y), np.float64)


def cubes(activation, kernels="numba"):
    layers = [Input(SAMPLE), Conv2D(2, 3, activation=activation), Flatten(), Dense(CLASSES, activation="softmax")]
    model = Sequential(layers, seed=0, kernels=kernels)
    model.compile("sgd", "categorical_crossentropy")
    return model


@pytest.mark.parametrize(
    ("activation", "method", "shapes"),
    [
        (FirstHalf, "value", r"\(11, 4, 4, 2\) where \(22, 4, 4, 2\)"),
        (OneGradient, "gradient", r"\(\) where \(22, 4, 4, 2\)"),
    ],
)
@pytest.mark.parametrize("kernels", ["numba", "numpy"])
def test_an_own_activation_whose_arrays_have_another_shape_is_named(activation, method, shapes, kernels):
    message = rf"{activation().name}: {method} returned shape {shapes} is due; return one number for each of x\."
    with pytest.raises(ShapeError, match=message):
        cubes(activation(), kernels).train_on_batch(X, Y)


def test_an_own_activation_may_return_any_dtype_and_order():
    models = [cubes(activation()) for activation in (Cube, FloatCube)]
    losses = [model.fit(X, Y, verbose=0).history["loss"] for model in models]
    np.testing.assert_allclose(*losses, rtol=1e-6)
    assert models[1].predict(X, verbose=0).dtype == np.float32


class Halves(Initializer):
    def __call__(self, shape, dtype, rng):
        return np.full(shape, 0.5, dtype)


class Reversed(Initializer):
    def __call__(self, shape, dtype, rng):
        return np.full(shape[::-1], 0.5, dtype)


class Flat(Initializer):
    def __call__(self, shape, dtype, rng):
        return np.full((*shape, 1), 0.5, dtype)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Dense(2, name="d", kernel_initializer=Reversed()),
            r"Dense 'd': kernel: Reversed returned shape \(2, 3\) where \(3, 2\) is due; make it return the shape that",
        ),
        (lambda: Dense(2, name="d", bias_initializer=Flat()), r"Dense 'd': bias: Flat returned shape \(2, 1\) where"),
        (
            lambda: BatchNormalization(name="b", moving_mean_initializer=Flat()),
            r"BatchNormalization 'b': moving_mean: Flat returned shape \(3, 1\) where \(3,\) is due",
        ),
    ],
)
def test_an_own_initializer_whose_array_has_another_shape_is_named(make, message):
    with pytest.raises(ShapeError, match=message):
        Sequential([Input((3,)), make()])


class Stored(Initializer):
    """Returns the same array each time."""

    array = np.zeros(3, np.float32)

    def __call__(self, shape, dtype, rng):
        return self.array


def test_an_own_initializers_array_stays_its_own():
    layers = [BatchNormalization(moving_mean_initializer=Stored()) for _ in range(2)]
    model = Sequential([Input((3,)), *layers])
    assert not np.shares_memory(layers[0].state["moving_mean"], layers[1].state["moving_mean"])
    model.set_weights([np.ones(3)] * 8)
    assert (Stored.array == 0).all()


class ThirdsOfAnyKind(Initializer):
    """In float64, read-only and not contiguous."""

    def __call__(self, shape, dtype, rng):
        return np.broadcast_to(1 / 3, shape)


class Thirds(Initializer):
    def __call__(self, shape, dtype, rng):
        return np.full(shape, 1 / 3, dtype)


def test_an_own_initializer_may_return_any_dtype_and_order():
    models = []
    for own in (ThirdsOfAnyKind(), Thirds()):
        layers = [Dense(2, kernel_initializer=own), BatchNormalization(moving_mean_initializer=own)]
        model = Sequential([Input((3,)), *layers], seed=0)
        for array in model.get_weights():
            assert array.dtype == np.float32
        model.set_weights([2 * array for array in model.get_weights()])
        model.compile("sgd", "mse")
        model.fit(np.arange(12.0).reshape(4, 3), np.ones((4, 2)), verbose=0)
        models.append(model)
    assert_same_weights(*models)


def test_a_clone_keeps_the_callers_own_parts():
    model = Sequential([Input((3,)), Dense(2, activation=Cube(), kernel_initializer=Halves())], name="cubes")
    clone = clone_model(model)
    assert clone.name == "cubes"
    assert clone.layers[0] is not model.layers[0]
    np.testing.assert_array_equal(clone.predict(np.ones((1, 3)), verbose=0), [[1.5**3] * 2])
    with pytest.raises(ConfigError, match="clone_model: takes a Sequential, got 3"):
        clone_model(3)


def test_metrics_names_are_the_keys_of_the_history():
    from minicnn.metrics import SparseCategoricalAccuracy

    model = new_model(loss="sparse_categorical_crossentropy", metrics=[SparseCategoricalAccuracy])
    history = model.fit(X, NUMBERS, verbose=0)
    assert sorted(model.metrics_names) == list(history.history)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], weighted_metrics=["accuracy"])
    assert sorted(model.metrics_names) == list(model.fit(X, NUMBERS, verbose=0).history)
    model.compile("adam", "sparse_categorical_crossentropy")
    assert model.metrics == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.summary(line_length=80), "summary: line_length=80 is not supported"),
        (lambda m: m.summary(show_trainable=True), "summary: show_trainable=True is not supported"),
        (lambda m: m.save("x.h5", zipped=True), "save: zipped=True is not supported"),
        (lambda m: m.save("x.h5", save_format="tf"), "save: save_format='tf' is not supported"),
        (lambda m: m.save_weights("x.h5", max_shard_size=1), "save_weights: max_shard_size=1 is not supported"),
        (lambda m: m.load_weights("x.h5", by_name=True), "load_weights: by_name=True is not supported"),
        (lambda m: m.add(Dense(1), rebuild=False), "add: rebuild=False is not supported"),
        (lambda m: clone_model(m, clone_function=print), "clone_model: clone_function=.* is not supported"),
        (
            lambda m: m.compile("adam", "mse", steps="some"),
            'compile: steps must be "auto", "layers" or a list of fused',
        ),
        (lambda m: m.compile("adam", "mse", steps=["Dense"]), "got \\['Dense'\\]; there are ToeplitzStep, "),
        (lambda m: m.compile("adam", "mse", steps=3), "got 3; there are ToeplitzStep, "),
        (lambda m: m.set_weights(None), "set_weights takes a list of arrays, got None"),
        (lambda m: m.get_layer(index="a"), "none at index a"),
        (lambda m: Sequential(Dense(3)), "Sequential: layers must be a list of layers"),
        (lambda m: Sequential(kernels=[]), 'kernels must be "numba" or "numpy", got \\[\\]'),
        (lambda m: Sequential.from_config({}), "from_config takes what get_config returns"),
    ],
)
def test_arguments_that_are_not_supported_are_named(call, message):
    with pytest.raises(ConfigError, match=message):
        call(new_model())


def test_steps_layers_runs_every_layer_on_its_own():
    one, other = new_model(), new_model()
    other.compile("adam", "categorical_crossentropy", metrics=["accuracy"], steps="layers")
    losses = [m.fit(X, Y, verbose=0, shuffle=False).history["loss"] for m in (one, other)]
    np.testing.assert_allclose(*losses, rtol=1e-6)
    assert str(other.plan()).count("\n") == len(other.layers) - 1


@pytest.mark.skipif(tiling_for(4) is None, reason="no vector unit: there are fewer fused steps here")
def test_steps_by_their_names_are_the_only_ones_that_are_fused():
    def forced(steps):
        layers = [
            Conv2D(3, 3, activation="relu", input_shape=(8, 8, 1)),
            MaxPooling2D(2),
            Flatten(),
            Dense(4),
            Dense(2),
        ]
        model = Sequential(layers, seed=0)
        model.compile("sgd", "mse", steps=steps)
        return model, [type(step).__name__ for step in model.plan().steps]

    model, names = forced(["DenseStep"])
    assert names == ["LayerStep", "LayerStep", "LayerStep", "DenseStep", "DenseStep"]
    assert forced(("DenseStep", "ConvolutionStep"))[1] == ["ConvolutionStep", "LayerStep", "DenseStep", "DenseStep"]
    assert forced([])[1] == ["LayerStep"] * 5
    assert model.predict(np.zeros((1, 8, 8, 1)), verbose=0).shape == (1, 2)
    model.compile("sgd", "mse")
    assert "ConvolutionStep" in str(model.plan())


def test_metric_objects_count_every_batch_of_an_iterable():
    from minicnn.metrics import CategoricalAccuracy

    parts = [(X[k : k + 8], Y[k : k + 8]) for k in range(0, len(X), 8)]
    by_name, by_object = new_model(metrics=["categorical_accuracy"]), new_model(metrics=[CategoricalAccuracy()])
    histories = [m.fit(iter(parts), validation_data=parts, verbose=0).history for m in (by_name, by_object)]
    assert histories[0] == histories[1]


def test_a_metric_that_does_not_suit_the_labels_is_told_with_their_shape():
    with pytest.raises(ShapeError, match=r"a metric does not suit labels \(22, 3\) and outputs \(None, 3\)"):
        new_model(metrics=["sparse_categorical_accuracy"]).fit(X, Y, verbose=0)
