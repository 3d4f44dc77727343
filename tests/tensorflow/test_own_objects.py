"""Files with classes and functions of the caller's own, in Keras, which finds them among its custom_objects."""

import keras
import numpy as np
import pytest

from minicnn import Sequential, layers, losses, metrics, optimizers
from minicnn.models import model_from_json
from tests.saving.models import Scale, data, small
from tests.saving.test_compile_section import Halving, HalvingRate, Heaviest, scaled_error
from tests.saving.test_round_trip import Largest


class KerasHalving(HalvingRate, keras.optimizers.schedules.LearningRateSchedule):
    pass


class KerasLargest(keras.metrics.Metric):
    def __init__(self, name="largest", dtype=None):
        super().__init__(dtype=dtype, name=name)
        self.largest = self.add_variable((), "zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.largest.assign(keras.ops.maximum(self.largest, keras.ops.max(y_pred)))

    def result(self):
        return self.largest


def keras_scaled_error(y_true, y_pred, scale=1.0):
    return scale * keras.ops.mean(keras.ops.abs(y_true - y_pred), axis=-1)


OWN = {
    "Halving": KerasHalving,
    "Largest": KerasLargest,
    "Heaviest": KerasLargest,
    "scaled_error": keras_scaled_error,
}


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_metrics_of_functions(tmp_path, name):
    x, y = data()
    model = small()
    given = [
        metrics.MeanMetricWrapper(metrics.top_k_categorical_accuracy, name="top2", k=2),
        metrics.MeanMetricWrapper(scaled_error, name="percent", scale=100.0),
        metrics.MeanMetricWrapper(scaled_error, scale=10.0),
    ]
    model.compile("sgd", "categorical_crossentropy", metrics=given)
    ours = model.evaluate(x, y, verbose=0, return_dict=True)
    model.save(tmp_path / name)
    theirs = keras.models.load_model(tmp_path / name, custom_objects=OWN)
    values = theirs.evaluate(x.astype(np.float32), y, verbose=0, return_dict=True)
    assert set(ours) == {"loss", "top2", "percent", "scaled_error"}
    for key, value in values.items():  # without a name in the file, a metric is called after Keras's class
        name = "scaled_error" if key.startswith("mean_metric_wrapper") else key
        np.testing.assert_allclose(ours.pop(name), value, rtol=1e-5)
    assert not ours


def test_weighted_metrics_classes_and_schedules(tmp_path):
    x, y = data()
    model = small()
    optimizer = optimizers.Adam(Halving(0.5))
    model.compile(optimizer, "categorical_crossentropy", metrics=[Largest], weighted_metrics=[Heaviest(name="heavy")])
    model.fit(x, y, verbose=0)
    ours = model.evaluate(x, y, verbose=0, return_dict=True)
    model.save(tmp_path / "m.keras")
    theirs = keras.models.load_model(tmp_path / "m.keras", custom_objects=OWN)
    assert isinstance(theirs.optimizer._learning_rate, KerasHalving)
    for key, value in theirs.evaluate(x.astype(np.float32), y, verbose=0, return_dict=True).items():
        np.testing.assert_allclose(ours[key], value, rtol=1e-5)
    assert set(ours) == {"loss", "largest", "heavy"}


class ResNet50Block(Scale):
    """A capital letter behind digits: Keras 3's file has it as res_net50_block."""


class KerasBlock(keras.layers.Layer):
    def build(self, input_shape):
        self.gain = self.add_weight(shape=(input_shape[-1],), initializer="ones")
        self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False)
        super().build(input_shape)

    def call(self, x):
        return x * self.gain


KerasBlock.__name__ = "ResNet50Block"


def test_weights_of_an_own_layer_are_found_both_ways(tmp_path):
    ours = Sequential([layers.Input((4,)), ResNet50Block(1.0), layers.Dense(2)], seed=1)
    theirs = keras.Sequential([keras.layers.Input((4,)), KerasBlock(), keras.layers.Dense(2)])
    theirs.set_weights([weights + 1 for weights in theirs.get_weights()])
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    ours.load_weights(tmp_path / "theirs.weights.h5")
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    ours.set_weights([weights * 2 for weights in ours.get_weights()])
    ours.save_weights(tmp_path / "ours.weights.h5")
    theirs.load_weights(tmp_path / "ours.weights.h5")
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_models_as_json_both_ways():
    x, _ = data()
    model = small()
    theirs = keras.models.model_from_json(model.to_json())
    theirs.set_weights(model.get_weights())
    np.testing.assert_allclose(theirs.predict(x, verbose=0), model.predict(x, verbose=0), rtol=0, atol=1e-6)
    ours = model_from_json(theirs.to_json())
    ours.set_weights(model.get_weights())
    np.testing.assert_array_equal(ours.predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.parametrize("name", ["categorical_crossentropy", "binary_crossentropy", "mean_squared_error"])
def test_losses_as_functions(name):
    y, p = np.eye(3, dtype=np.float32)[[0, 2, 1]], np.random.default_rng(0).dirichlet(np.ones(3), 3).astype(np.float32)
    theirs = np.asarray(getattr(keras.losses, name)(y, p))
    np.testing.assert_allclose(getattr(losses, name)(y, p), theirs, rtol=1e-5)
