"""A model that only pretends to learn: callbacks are tested on scripted logs, without training anything."""

import numpy as np
import pytest

from minicnn.callbacks import CallbackList


class Optimizer:
    learning_rate = 0.5


class ScriptedModel:
    """After epoch e its one weight is e, so that weights tell which epoch they are from."""

    def __init__(self):
        self.stop_training = False
        self.optimizer = Optimizer()
        self.weights = [np.array([-1.0])]

    def get_weights(self):
        return [w.copy() for w in self.weights]

    def set_weights(self, weights):
        self.weights = [w.copy() for w in weights]

    def save(self, path):
        with open(path, "w") as file:
            file.write(f"model {self.weights[0][0]:g}")

    def save_weights(self, path):
        with open(path, "w") as file:
            file.write(f"weights {self.weights[0][0]:g}")


class Result:
    """What is left of a scripted fit."""

    def __init__(self, model, history):
        self.model = model
        self.history = history.history
        self.epochs = len(history.epoch)
        self.weights_from_epoch = model.weights[0][0]


@pytest.fixture
def model():
    return ScriptedModel()


@pytest.fixture
def fit(model):
    """fit(callbacks, epochs): run a training whose epoch e logs epochs[e], a dict or a number, the val_loss."""

    def run(callbacks, epochs, batches=1):
        callbacks = CallbackList(callbacks, add_history=True, model=model, verbose=0, epochs=len(epochs), steps=batches)
        model.stop_training = False
        logs = None
        callbacks.on_train_begin()
        for epoch, values in enumerate(epochs):
            logs = dict(values) if isinstance(values, dict) else {"val_loss": values}
            callbacks.on_epoch_begin(epoch)
            for batch in range(batches):
                callbacks.on_train_batch_begin(batch)
                model.weights = [np.array([float(epoch)])]
                callbacks.on_train_batch_end(batch, dict(logs))
                if model.stop_training:
                    break
            callbacks.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
        callbacks.on_train_end(logs)
        return Result(model, callbacks.history)

    return run
