"""Saved and loaded, a model is the same model: it predicts, reports and trains on bit for bit."""

import numpy as np
import pytest

from minicnn import Sequential, activations, initializers, load_model, losses, metrics, optimizers, regularizers
from minicnn.errors import ConfigError, FileFormatError, MinicnnWarning, NotBuiltError
from minicnn.layers import LAYERS, BatchNormalization, Conv2D, Dense, Dropout, Flatten, Input
from minicnn.optimizers import schedules
from minicnn.saving.contents import KERAS_2_WEIGHTS, contents
from tests.saving.models import Scale, data, every_layer, randomize, same_weights, small


def saved_and_loaded(model, folder, **kwargs):
    model.save(folder / "model.h5")
    return load_model(folder / "model.h5", **kwargs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_layer_comes_back(tmp_path, dtype):
    model = every_layer(dtype=dtype, name="all_of_them")
    loaded = saved_and_loaded(model, tmp_path)
    assert {type(layer) for layer in model.layers} | {type(model._input)} == set(LAYERS.values())
    assert loaded.dtype == dtype
    assert loaded.get_config() == model.get_config()
    assert same_weights(loaded, model)
    x, _ = data((8, 8, 2))
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))


def test_the_initializers_of_the_configuration_stay(tmp_path):
    loaded = saved_and_loaded(every_layer(), tmp_path)
    convolution = next(layer for layer in loaded.layers if isinstance(layer, Conv2D) and layer.strides == (1, 2))
    normalization = next(layer for layer in loaded.layers if isinstance(layer, BatchNormalization))
    assert convolution.kernel_initializer.__class__ is initializers.HeNormal
    assert normalization.moving_variance_initializer.__class__ is initializers.Ones


OPTIMIZERS = {
    "adam": lambda: optimizers.Adam(0.01),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True, clipnorm=0.5),
    "adamw": lambda: optimizers.AdamW(0.01, weight_decay=0.125),
    "sgd": lambda: optimizers.SGD(0.1),
    "nesterov": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda: optimizers.RMSprop(0.01),
    "rmsprop centered": lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "adagrad": lambda: optimizers.Adagrad(0.1, initial_accumulator_value=0.25),
    "adadelta": lambda: optimizers.Adadelta(1.0),
    "scheduled": lambda: optimizers.Adam(schedules.ExponentialDecay(0.01, 3, 0.5)),
    "warm-up": lambda: optimizers.SGD(schedules.CosineDecay(0.01, 5, warmup_target=0.1, warmup_steps=2), momentum=0.5),
    "piecewise": lambda: optimizers.SGD(schedules.PiecewiseConstantDecay([1, 3], [0.1, 0.2, 0.3])),
}


@pytest.mark.parametrize("optimizer_for", ["keras3", "keras2"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_bit_for_bit(tmp_path, optimizer, optimizer_for):
    """Two epochs are one, saving, loading and another one: slots, counters, shuffling and dropout's masks go on."""
    x, y = data()
    whole, halves = small(), small()
    for model in (whole, halves):
        model.compile(OPTIMIZERS[optimizer](), "categorical_crossentropy", metrics=["accuracy"])
    together = whole.fit(x, y, batch_size=8, epochs=2, verbose=0).history
    first = halves.fit(x, y, batch_size=8, epochs=1, verbose=0).history
    halves.save(tmp_path / "half.h5", optimizer_for=optimizer_for)
    loaded = load_model(tmp_path / "half.h5")
    assert loaded.optimizer.iterations == 3
    second = loaded.fit(x, y, batch_size=8, epochs=1, verbose=0).history
    assert {key: first[key] + second[key] for key in first} == together
    assert same_weights(loaded, whole)
    assert loaded.optimizer.get_config() == whole.optimizer.get_config()
    for name, slot in whole.optimizer.slots.items():
        np.testing.assert_array_equal(loaded.optimizer.slots[name], slot)


def test_a_rate_that_was_set_during_training_comes_back(tmp_path):
    model = small()
    model.compile(optimizers.Adam(0.01), "mse")
    model.optimizer.learning_rate = 0.1 + 0.2
    assert saved_and_loaded(model, tmp_path).optimizer.learning_rate == 0.1 + 0.2


def test_a_model_that_was_never_trained_stays_so(tmp_path):
    model = small()
    model.compile("adam", "mse")
    loaded = saved_and_loaded(model, tmp_path)
    assert (loaded.optimizer.iterations, loaded.optimizer.slots) == (0, {})


def test_slots_follow_their_parameters_when_layers_are_frozen_around_saving(tmp_path):
    x, y = data()
    model = small()
    model.compile("adam", "categorical_crossentropy")
    model.fit(x, y, verbose=0)
    dense_momentum = model.optimizer.slots["momentum"][model._buffer.segments[-2]]
    model.layers[0].trainable = False
    loaded = saved_and_loaded(model, tmp_path)
    assert not loaded.layers[0].trainable
    assert loaded.layers[1].trainable
    np.testing.assert_array_equal(loaded.optimizer.slots["momentum"][loaded._buffer.segments[-2]], dense_momentum)

    loaded.layers[1].trainable = False  # and frozen between loading and training
    loaded.fit(x, y, verbose=0)
    model.layers[1].trainable = False
    model.fit(x, y, verbose=0)
    assert same_weights(loaded, model)


LOSSES = {
    "string": lambda: "categorical_crossentropy",
    "class": lambda: losses.MeanSquaredError,
    "smoothed": lambda: losses.CategoricalCrossentropy(label_smoothing=0.25),
    "summed": lambda: losses.MeanSquaredError(reduction="sum", name="total"),
    "binary": lambda: losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.125),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_losses(tmp_path, loss):
    model = small()
    model.compile(
        "sgd", LOSSES[loss](), metrics=["accuracy", metrics.TopKCategoricalAccuracy(k=2), metrics.MeanSquaredError]
    )
    x, y = data()
    loaded = saved_and_loaded(model, tmp_path)
    assert loaded.loss.get_config() == model.loss.get_config()
    assert loaded.evaluate(x, y, return_dict=True, verbose=0) == model.evaluate(x, y, return_dict=True, verbose=0)


def test_metrics_keep_names_weights_and_arguments(tmp_path):
    model = small()
    given = ["acc", metrics.CategoricalAccuracy(name="hits"), metrics.BinaryAccuracy(threshold=0.25)]
    model.compile("sgd", "categorical_crossentropy", metrics=given, weighted_metrics=["mae"])
    x, y = data()
    weights = np.linspace(0, 1, len(x))
    loaded = saved_and_loaded(model, tmp_path)
    expected = model.evaluate(x, y, sample_weight=weights, return_dict=True, verbose=0)
    assert loaded.evaluate(x, y, sample_weight=weights, return_dict=True, verbose=0) == expected
    assert list(expected) == ["acc", "binary_accuracy", "hits", "loss", "mae"]


def test_accuracy_of_class_numbers(tmp_path):
    model = small()
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = data()
    loaded = saved_and_loaded(model, tmp_path)
    assert loaded.metrics_names == ["loss", "accuracy"]
    assert loaded.evaluate(x, y.argmax(1), verbose=0) == model.evaluate(x, y.argmax(1), verbose=0)


def test_without_the_training_section(tmp_path):
    model = small()
    model.compile("adam", "mse")
    model.save(tmp_path / "bare.h5", include_optimizer=False)
    assert not load_model(tmp_path / "bare.h5").compiled
    model.save(tmp_path / "full.h5")
    loaded = load_model(tmp_path / "full.h5", compile=False)
    assert not loaded.compiled
    assert same_weights(loaded, model)


def test_seed_dtype_and_kernels_of_the_loaded_model(tmp_path):
    model = small(seed=2**70)
    model.compile("adam", "mse")
    model.save(tmp_path / "model.h5")
    assert load_model(tmp_path / "model.h5").seed == 2**70
    loaded = load_model(tmp_path / "model.h5", seed=7, dtype="float64", kernels="numpy")
    assert (loaded.seed, loaded.dtype, loaded.kernels.name) == (7, np.float64, "numpy")
    for wide, own in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(wide, own.astype(np.float64))
    with pytest.raises(ConfigError, match="unknown argument 'speed'"):
        load_model(tmp_path / "model.h5", speed=1)
    with pytest.raises(ConfigError, match="safe_mode=False is not supported"):
        load_model(tmp_path / "model.h5", safe_mode=False)
    with pytest.raises(ConfigError, match="custom_objects must be a dict"):
        load_model(tmp_path / "model.h5", custom_objects=[Scale])


# -- classes of the caller's own


class Cube(activations.Activation):
    def value(self, x):
        return x**3

    def gradient(self, dy, x, y):
        return dy * 3 * x**2


class Sevens(initializers.Initializer):
    def __call__(self, shape, dtype, rng):
        return np.full(shape, 7, dtype)


class Quartic(regularizers.Regularizer):
    def __init__(self, strength):
        self.strength = strength

    def value(self, weights):
        return self.strength * float(np.sum(weights**4))

    def gradient(self, weights):
        return 4 * self.strength * weights**3

    def get_config(self):
        return {"strength": self.strength}


class Cubed(losses.Loss):
    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def value(self, y_true, y_pred):
        return self.factor * np.mean(np.abs(y_pred - y_true) ** 3, axis=-1)

    def gradient(self, y_true, y_pred):
        d = y_pred - y_true
        return self.factor * 3 * d * np.abs(d) / d.shape[-1]

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


class Largest(metrics.Metric):
    def __init__(self, name="largest", dtype=None):
        super().__init__(dtype, name)
        self.reset_state()

    def reset_state(self):
        self.largest = float("-inf")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.largest = max(self.largest, float(y_pred.max()))

    def result(self):
        return self.largest


class HalfStep(optimizers.SGD):
    def update(self, weights, gradients, learning_rate, decay, kernels):
        super().update(weights, gradients, learning_rate / 2, decay, kernels)


def furthest(y_true, y_pred):
    return np.abs(y_true - y_pred).max(axis=-1)


OWN = {cls.__name__: cls for cls in (Scale, Cube, Sevens, Quartic, Cubed, Largest, HalfStep)} | {"furthest": furthest}


def own_model():
    model = Sequential(
        [
            Input((6, 6, 1)),
            Conv2D(2, 3, activation=Cube(), kernel_regularizer=Quartic(0.5)),
            Scale(1.5),
            Flatten(),
            Dense(3, bias_initializer=Sevens()),
        ],
        seed=0,
    )
    model.compile(HalfStep(0.01, momentum=0.5), Cubed(0.25), metrics=[Largest(), furthest])
    return model


def test_own_classes_come_back_with_custom_objects(tmp_path):
    x, y = data()
    model = own_model()
    model.fit(x, y, epochs=1, verbose=0)
    model.layers[1].state["seen"][...] = 11
    loaded = saved_and_loaded(model, tmp_path, custom_objects=OWN)
    assert isinstance(loaded.layers[1], Scale)
    assert loaded.layers[1].state["seen"] == 11
    np.testing.assert_array_equal(loaded.layers[3].params["bias"], model.layers[3].params["bias"])
    assert loaded.evaluate(x, y, return_dict=True, verbose=0) == model.evaluate(x, y, return_dict=True, verbose=0)
    assert loaded.fit(x, y, verbose=0).history == model.fit(x, y, verbose=0).history
    assert same_weights(loaded, model)


def test_without_custom_objects_own_layers_are_refused_by_name(tmp_path):
    own_model().save(tmp_path / "own.h5")
    with pytest.raises(FileFormatError, match=r"layer 2, Scale: .* goes into custom_objects=\{'Scale'"):
        load_model(tmp_path / "own.h5", custom_objects={"Cube": Cube, "Quartic": Quartic})
    with pytest.raises(FileFormatError, match=r"own.h5: layer 1, Conv2D: .*activation: unknown name 'Cube'"):
        load_model(tmp_path / "own.h5", custom_objects={"Scale": Scale})
    with pytest.raises(FileFormatError, match="must be a subclass of Layer"):
        load_model(tmp_path / "own.h5", custom_objects={**OWN, "Scale": Cube})


@pytest.mark.parametrize("missing", ["Cubed", "Largest", "HalfStep", "furthest"])
def test_without_the_loss_or_metric_the_model_is_loaded_uncompiled(tmp_path, missing):
    model = own_model()
    model.save(tmp_path / "own.h5")
    known = {name: cls for name, cls in OWN.items() if name != missing}
    with pytest.warns(MinicnnWarning, match=f"{missing}.*loaded uncompiled"):
        loaded = load_model(tmp_path / "own.h5", custom_objects=known)
    assert not loaded.compiled
    assert same_weights(loaded, model)


def test_an_own_class_that_bears_the_name_of_a_layer_keeps_its_configuration(tmp_path):
    class Dense(Scale):
        def get_config(self):
            return {**super().get_config(), "groups": 1, "extra": None}

        def __init__(self, groups, extra, **kwargs):
            super().__init__(**kwargs)
            self.given = groups, extra

    model = Sequential([Input((4,)), Dense(groups=1, extra=None, factor=2)])
    loaded = saved_and_loaded(model, tmp_path, custom_objects={"Dense": Dense})
    assert loaded.layers[0].given == (1, None)


# -- weights alone


def test_weights_alone(tmp_path):
    model, other = every_layer(), every_layer(seed=9)
    randomize(model)
    other.set_weights([w * 0 for w in other.get_weights()])
    model.save_weights(tmp_path / "w.h5")
    other.load_weights(tmp_path / "w.h5")
    assert same_weights(model, other)


def test_weights_alone_of_a_layer_with_the_name_of_keras_3s_group(tmp_path):
    model, other = (Sequential([Dense(2, input_shape=(3,), name="layers")], seed=seed) for seed in (1, 2))
    model.save_weights(tmp_path / "w.h5")
    other.load_weights(tmp_path / "w.h5")
    assert same_weights(model, other)
    assert contents(tmp_path / "w.h5").format == KERAS_2_WEIGHTS


def test_weights_of_a_whole_model_file_by_place_and_into_another_dtype(tmp_path):
    model = small()
    model.compile("adam", "mse")
    model.save(tmp_path / "model.h5")
    other = small(dtype="float64")
    for number, layer in enumerate(other.layers):
        layer.name = f"other_{number}"
    other.load_weights(tmp_path / "model.h5")
    assert other.get_weights()[0].dtype == np.float64
    np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0].astype(np.float64))


def test_loading_weights_does_not_disturb_training(tmp_path):
    """The layers keep their views of the parameter buffer."""
    x, y = data()
    model, twin = small(), small()
    for m in (model, twin):
        m.compile("sgd", "categorical_crossentropy")
        m.fit(x, y, verbose=0)
        m.save_weights(tmp_path / "w.h5")
        m.fit(x, y, verbose=0)
    model.load_weights(tmp_path / "w.h5")
    twin.set_weights(model.get_weights())
    model.fit(x, y, verbose=0)
    twin.fit(x, y, verbose=0)
    assert same_weights(model, twin)


def test_weights_that_do_not_fit_change_nothing(tmp_path):
    model = Sequential([Input((6, 6, 1)), Conv2D(3, 3), Flatten(), Dense(3)])
    model.save_weights(tmp_path / "w.h5")
    wider = Sequential([Input((6, 6, 1)), Conv2D(3, 3, name="c"), Flatten(), Dense(4, name="d")])
    before = wider.get_weights()
    with pytest.raises(FileFormatError, match=r"w.h5: layer 'dense.*' holds arrays .*48, 3.* Dense 'd' needs .*48, 4"):
        wider.load_weights(tmp_path / "w.h5")
    deeper = Sequential([Input((6, 6, 1)), Conv2D(3, 3), Dropout(0.5), BatchNormalization(), Flatten(), Dense(3)])
    with pytest.raises(FileFormatError, match=r"weights of 2 layers, .* has 3 with weights"):
        deeper.load_weights(tmp_path / "w.h5")
    assert all(np.array_equal(a, b) for a, b in zip(before, wider.get_weights(), strict=True))


def test_an_unbuilt_model_has_nothing_to_save_or_to_load_into(tmp_path):
    model = Sequential([Dense(3)])
    for call in (model.save, model.save_weights, model.load_weights):
        with pytest.raises(NotBuiltError, match="has no weights yet"):
            call(tmp_path / "model.h5")
    assert not list(tmp_path.iterdir())


def test_what_json_cannot_hold_is_refused_by_name(tmp_path):
    model = Sequential([Input((4,)), Scale(object())])
    with pytest.raises(ConfigError, match="cannot be saved"):
        model.save(tmp_path / "model.h5")
    assert not list(tmp_path.iterdir())
    model = Sequential([Input((4,)), Scale(np.float32(0.5))])  # NumPy's numbers become JSON's
    assert saved_and_loaded(model, tmp_path, custom_objects=OWN).layers[0].factor == 0.5


def test_optimizer_for_takes_two_words(tmp_path):
    model = own_model()
    with pytest.raises(ConfigError, match='must be "keras3" or "keras2"'):
        model.save(tmp_path / "model.h5", optimizer_for="keras")
    model.fit(*data(), verbose=0)
    with pytest.raises(ConfigError, match="Keras 2 has no optimizer HalfStep"):
        model.save(tmp_path / "model.h5", optimizer_for="keras2")
