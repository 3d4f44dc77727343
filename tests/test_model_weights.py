"""A model's weights: their order, frozen layers, models that share layers, and copies."""

import pickle

import numpy as np
import pytest

import minicnn
from minicnn import Input, Sequential
from minicnn.activations import Activation
from minicnn.errors import ConfigError, DataError, FileFormatError, MinicnnError, NotBuiltError, ShapeError
from minicnn.initializers import Initializer
from minicnn.layers import (
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
)
from minicnn.models import clone_model, load_model, model_from_json
from tests import small_models
from tests.small_models import compiled, small, weights_equal

X, Y = small_models.X[:12], small_models.Y[:12]


# -- weights


def test_order_of_weights():
    model = small()
    assert [w.shape for w in model.get_weights()] == [(3, 3, 2, 4), (4,), (4,), (4,), (4,), (4,), (64, 3), (3,)]
    gamma, beta, mean, variance = model.get_weights()[2:6]
    np.testing.assert_array_equal([gamma, beta, mean, variance], [[1] * 4, [0] * 4, [0] * 4, [1] * 4])


def test_freezing_does_not_change_the_order():
    model = small()
    before = model.get_weights()
    model.layers[1].trainable = False
    assert weights_equal(model.get_weights(), before)


def test_weights_are_copies():
    model = small()
    model.get_weights()[0][...] = 7
    given = [w + 1 for w in model.get_weights()]
    model.set_weights(given)
    given[0][...] = 9
    assert model.get_weights()[0].max() < 7


def test_set_weights_then_predict():
    one, other = small(seed=1), small(seed=2)
    assert not np.array_equal(one.predict(X, verbose=0), other.predict(X, verbose=0))
    other.set_weights(one.get_weights())
    np.testing.assert_array_equal(one.predict(X, verbose=0), other.predict(X, verbose=0))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda w: w[:-1],
        lambda w: [*w, np.zeros(3)],
        lambda w: [w[0].T, *w[1:]],
        lambda w: [*w[:-1], np.zeros(4)],
        lambda w: [],
        lambda w: [*w[:-1], ["a", "b", "c"]],
        lambda w: [*w[:-1], np.array([None] * 3)],
    ],
    ids=["too few", "too many", "transposed", "wrong shape last", "none", "strings", "objects"],
)
def test_set_weights_that_do_not_fit_change_nothing(spoil):
    model = small()
    before = model.get_weights()
    with pytest.raises(MinicnnError):
        model.set_weights(spoil([w + 1 for w in before]))
    assert weights_equal(model.get_weights(), before)


def test_set_weights_between_steps_of_training():
    """The arrays are views of one buffer by then."""
    model = compiled(small())
    start = model.get_weights()
    model.fit(X, Y, verbose=0)
    model.set_weights(start)
    assert weights_equal(model.get_weights(), start)
    model.compile("adam", "categorical_crossentropy")
    model.fit(X, Y, verbose=0)
    assert not weights_equal(model.get_weights(), start)


def test_count_params():
    model = small()
    assert model.count_params() == 287
    assert [layer.count_params() for layer in model.layers] == [76, 16, 0, 195]
    with pytest.raises(NotBuiltError):
        Dense(3).count_params()


# -- trainable


def test_frozen_weights_do_not_move():
    model = compiled(small())
    model.layers[0].trainable = model.layers[1].trainable = False
    before = model.get_weights()
    model.fit(X, Y, epochs=2, verbose=0)
    after = model.get_weights()
    assert weights_equal(after[:6], before[:6])
    assert not np.array_equal(after[6], before[6])


def test_model_trainable_sets_every_layer():
    model = compiled(small())
    before = model.get_weights()
    model.trainable = False
    assert not model.trainable
    with pytest.warns(minicnn.errors.MinicnnWarning, match="no weights to train; set trainable = True"):
        model.fit(X, Y, verbose=0)
    assert weights_equal(model.get_weights(), before)
    assert model.optimizer.iterations == 0  # as in Keras
    model.trainable = True
    assert all(layer.trainable for layer in model.layers)
    assert not Sequential([Dense(3)], trainable=False).trainable


def test_a_layer_that_is_thawed_in_a_frozen_model_is_not_trained():
    """As in Keras, where freezing the model is more than freezing all its layers."""
    model = compiled(small())
    before = model.get_weights()
    model.trainable = False
    model.layers[3].trainable = True
    with pytest.warns(minicnn.errors.MinicnnWarning, match="no weights to train; set trainable = True on it"):
        model.fit(X, Y, verbose=0)
    assert weights_equal(model.get_weights(), before)
    lines = []
    model.summary(print_fn=lines.append)
    assert "Trainable params: 0" in lines
    model.trainable = True
    model.fit(X, Y, verbose=0)
    assert not weights_equal(model.get_weights(), before)


def test_layers_added_to_a_frozen_model_are_not_trained():
    model = Sequential(trainable=False)
    model.add(Input((6, 6, 2)))
    for layer in (Flatten(), Dense(3)):
        model.add(layer)
    assert model.layers[1].trainable  # as in Keras
    compiled(model)
    before = model.get_weights()
    with pytest.warns(minicnn.errors.MinicnnWarning, match="no weights to train"):
        model.fit(X, Y, verbose=0)
    assert weights_equal(model.get_weights(), before)


def test_frozen_layers_do_not_keep_the_buffer_of_all_parameters():
    model = compiled(small())
    model.train_on_batch(X, Y)
    frozen, before = model.layers[0], model.layers[0].get_weights()
    frozen.trainable = False
    model.train_on_batch(X, Y)
    for array in (*frozen.params.values(), *frozen.grads.values()):
        assert array.base is None or array.base.size == array.size
    for one, other in zip(frozen.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_slots_of_frozen_layers_are_forgotten_when_the_optimizer_is_reset():
    model = compiled(small(), minicnn.optimizers.SGD(0.1, momentum=0.5))
    model.train_on_batch(X, Y)
    model.layers[0].trainable = False
    model.train_on_batch(X, Y)
    model.optimizer.reset()
    model.train_on_batch(X, Y)
    model.layers[0].trainable = True
    model.optimizer.learning_rate = 0.0
    model.train_on_batch(X, Y)
    assert not model.optimizer.slots["momentum"][:76].any()


@pytest.mark.parametrize("exchange", [lambda array: array.astype(np.float64), lambda array: array.tolist()])
def test_an_exchanged_array_of_another_dtype_is_converted(exchange):
    model, other = small(), small()
    kernel = other.layers[0].params["kernel"]
    model.layers[0].params["kernel"] = exchange(kernel)
    np.testing.assert_array_equal(model.predict(X, verbose=0), other.predict(X, verbose=0))
    assert model.layers[0].params["kernel"].dtype == np.float32
    model.layers[0].params["kernel"] = "numbers"
    with pytest.raises(DataError, match=r"Conv2D 'conv2d.*: 'kernel'"):
        model.predict(X, verbose=0)


def test_slots_go_with_their_parameters_when_layers_are_frozen_and_thawed():
    """Momentum that a layer gathered before it was frozen is still there afterwards; others are not disturbed."""
    model = compiled(small(), minicnn.optimizers.SGD(0.1, momentum=0.5))
    dense = model.layers[3]
    model.train_on_batch(X, Y)
    momentum_of_conv = model.optimizer.slots["momentum"][:76].copy()
    momentum_of_dense = model.optimizer.slots["momentum"][-195:].copy()
    model.layers[0].trainable = False
    dense.trainable = False
    model.train_on_batch(X, Y)
    assert model.optimizer.slots["momentum"].size == 8
    dense.trainable = True
    kernel = dense.params["kernel"].copy()
    gradient_free = compiled(small(), "sgd")
    gradient_free.set_weights(model.get_weights())
    gradient_free.layers[0].trainable = False
    gradient_free.optimizer.learning_rate = 0.1
    gradient_free.train_on_batch(X, Y)
    step = gradient_free.layers[3].params["kernel"] - kernel
    model.train_on_batch(X, Y)
    expected = kernel + step + 0.5 * momentum_of_dense[:192].reshape(64, 3)
    np.testing.assert_allclose(dense.params["kernel"], expected, rtol=0, atol=1e-6)
    assert momentum_of_conv.any()


def test_two_models_share_layers():
    """A feature extractor trained within one model is what another model sees."""
    body = [Conv2D(4, 3, activation="relu", input_shape=(6, 6, 2)), Flatten()]
    one = compiled(Sequential([*body, Dense(3, activation="softmax")], seed=0))
    other = compiled(Sequential([*body, Dense(3, activation="softmax")], seed=1))
    for _ in range(2):
        before = other.predict(X, verbose=0)
        one.fit(X, Y, verbose=0)
        assert not np.array_equal(other.predict(X, verbose=0), before)
        assert np.array_equal(one.layers[0].params["kernel"], other.layers[0].params["kernel"])
        kernel = one.layers[0].params["kernel"].copy()
        other.fit(X, Y, verbose=0)
        assert not np.array_equal(one.layers[0].params["kernel"], kernel)


def test_models_sharing_layers_train_as_if_each_kept_its_slots():
    """Alternating two models on shared layers: each optimizer goes on with its own momentum."""

    def run(alternate):
        body = [Dense(4, input_shape=(5,)), Dense(3, activation="softmax")]
        one = Sequential(body, seed=0)
        one.compile(minicnn.optimizers.SGD(0.25, momentum=0.5), "categorical_crossentropy")
        x = np.linspace(-1, 1, 60, dtype=np.float32).reshape(12, 5)
        if alternate:
            other = Sequential(body, seed=0)
            other.compile(minicnn.optimizers.SGD(0.0), "categorical_crossentropy")
        for _ in range(3):
            one.train_on_batch(x, Y)
            if alternate:
                other.train_on_batch(x, Y)  # changes nothing, but packs the shared layers into its own buffer
        return one.get_weights()

    assert weights_equal(run(True), run(False))


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_a_model_of_layers_that_are_built_has_their_input(tmp_path, suffix):
    """The first layers of a model that began with Input, which is not among its layers."""
    base = small()
    features = Sequential(base.layers[:-1])
    assert features.input_shape == base.input_shape
    wanted = features.predict(X, verbose=0)
    with pytest.raises(ShapeError, match=r"takes samples \(None, 6, 6, 2\), got \(None, 12, 12, 2\)"):
        features.predict(np.zeros((4, 12, 12, 2)), verbose=0)
    features.save(tmp_path / f"features{suffix}")
    loaded = load_model(tmp_path / f"features{suffix}")
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), wanted)
    tail = Sequential(base.layers[-1:])
    assert tail.input_shape == (None, 64)
    tail.pop()
    tail.add(Dense(2, input_shape=(3,)))  # as if it had not been there
    assert tail.input_shape == (None, 3)


# -- copies


@pytest.mark.parametrize("kernels", ["numpy", "numba"])
def test_a_pickled_model_predicts_the_same(kernels):
    model = small(kernels=kernels)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(X, verbose=0), model.predict(X, verbose=0))
    assert copy.kernels is model.kernels
    assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", minicnn.optimizers.SGD(0.1, momentum=0.9, nesterov=True)])
def test_a_model_pickled_in_the_middle_of_training_goes_on_bit_for_bit(optimizer):
    model = Sequential(
        [
            Input((6, 6, 2)),
            Conv2D(4, 3, activation="relu"),
            BatchNormalization(),
            Flatten(),
            Dropout(0.5),
            Dense(3, activation="softmax"),
        ],
        seed=4,
    )
    compiled(model, optimizer)
    model.fit(X, Y, batch_size=5, epochs=2, verbose=0)
    copy = pickle.loads(pickle.dumps(model))
    histories = [m.fit(X, Y, batch_size=5, epochs=2, verbose=0).history for m in (model, copy)]
    assert histories[0] == histories[1]
    assert weights_equal(model.get_weights(), copy.get_weights())
    assert model.optimizer.iterations == copy.optimizer.iterations == 12


def test_a_pickled_model_is_independent():
    model = compiled(small())
    model.fit(X, Y, verbose=0)
    copy = pickle.loads(pickle.dumps(model))
    before = copy.get_weights()
    model.fit(X, Y, verbose=0)
    assert weights_equal(copy.get_weights(), before)


def test_clone_model_has_the_layers_and_names_but_weights_of_its_own():
    model = small(dtype="float64", kernels="numpy")
    model.layers[0].trainable = False
    copy = clone_model(model)
    assert [layer.get_config() for layer in copy.layers] == [layer.get_config() for layer in model.layers]
    assert copy.input_shape == model.input_shape
    assert copy.dtype == np.float64
    assert copy.kernels is model.kernels
    assert not copy.layers[0].trainable
    assert not np.array_equal(copy.get_weights()[0], model.get_weights()[0])
    assert copy.optimizer is None
    copy.set_weights(model.get_weights())
    np.testing.assert_array_equal(copy.predict(X, verbose=0), model.predict(X, verbose=0))


def test_clone_of_an_unbuilt_model_and_of_the_callers_own_layer():
    class Doubling(Layer):
        def forward(self, x, run):
            return 2 * x, None

        def backward(self, dy, saved, run, need_dx=True):
            return 2 * dy if need_dx else None

    model = Sequential([Doubling(), Dense(3)])
    copy = clone_model(model)
    assert not copy.built
    assert type(copy.layers[0]) is Doubling
    assert copy(np.ones((1, 2))).shape == (1, 3)


def test_config_round_trip():
    model = small()
    copy = Sequential.from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    assert copy.name == model.name
    assert copy.dtype == np.float32


class Cube(Activation):
    def value(self, x):
        return x**3

    def gradient(self, dy, x, y):
        return 3 * dy * x**2


class Halves(Initializer):
    def __call__(self, shape, dtype, rng):
        return np.full(shape, 0.5, dtype)


def test_config_round_trip_with_parts_of_the_callers_own():
    model = Sequential([Input((4,)), Dense(3, activation=Cube(), kernel_initializer=Halves())])
    copy = Sequential.from_config(model.get_config(), custom_objects={"Cube": Cube, "Halves": Halves})
    np.testing.assert_array_equal(copy(np.ones((1, 4))), np.full((1, 3), 8.0))


class Unchanged(Layer):
    """A layer whose configuration says no dtype."""

    def forward(self, x, run):
        return x, None

    def get_config(self):
        return {"name": self.name}


def test_config_round_trip_where_the_first_layer_says_no_dtype():
    model = Sequential([Input((4,)), Unchanged(), Dense(2)], dtype="float64")
    assert Sequential.from_config(model.get_config(), {"Unchanged": Unchanged}).dtype == np.float64


def test_config_round_trip_of_a_model_in_float64():
    model = small(dtype="float64")
    copy = Sequential.from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    assert copy.dtype == np.float64
    with pytest.raises(ConfigError, match="has dtype float64, the model float32"):
        Sequential.from_config(model.get_config(), dtype="float32")
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float64"}, "registered_name": None}
    config = {"name": "m", "layers": [{"class_name": "Dense", "config": {"units": 2, "dtype": policy}}]}
    assert Sequential.from_config(config).dtype == np.float64
    config["layers"] = [
        {"class_name": "InputLayer", "config": {"batch_shape": (None, 4), "dtype": "float64"}},
        {"class_name": "Dense", "config": {"units": 2, "dtype": "float32"}},
    ]
    assert Sequential.from_config(config).dtype == np.float32


def test_a_model_as_json():
    model = small()
    copy = model_from_json(model.to_json())
    assert copy.get_config() == model.get_config()
    assert model_from_json(model.to_json(indent=2)).get_config() == model.get_config()
    assert small(dtype="float64").to_json() != model.to_json()
    assert model_from_json(small(dtype="float64").to_json()).dtype == np.float64
    own = Sequential([Input((4,)), Dense(3, activation=Cube(), kernel_initializer=Halves())])
    made = model_from_json(own.to_json(), custom_objects={"Cube": Cube, "Halves": Halves})
    np.testing.assert_array_equal(made(np.ones((1, 4))), np.full((1, 3), 8.0))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"class_name": "Sequential"}', '{"class_name": 3, "config": 4}'])
def test_a_text_that_is_no_model(text):
    with pytest.raises(FileFormatError, match=r"^model_from_json: "):
        model_from_json(text)


def test_json_that_is_no_text():
    with pytest.raises(ConfigError, match="model_from_json: json_string must be a string, got 3"):
        model_from_json(3)
