"""A training with everything that has a state, and what it ended with, to be compared bit for bit.

Run as a script it is one process of such a training, which kills itself or waits to be killed:

    python -m tests.callbacks.interrupted '{"folder": "...", "save_freq": 10, "kill": ["batch begin", 7]}'
"""

import hashlib
import json
import os
import signal
import sys
import time

import numpy as np

from minicnn import Input, Sequential
from minicnn.callbacks import (
    BackupAndRestore,
    Callback,
    CSVLogger,
    EarlyStopping,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
)
from minicnn.layers import AveragePooling2D, BatchNormalization, Conv2D, Dense, Dropout, Flatten
from minicnn.regularizers import l2
from minicnn.saving import atomic
from minicnn.utils import clear_session

RNG = np.random.default_rng(11)
X = RNG.integers(0, 256, (150, 16, 16, 1)).astype(np.uint8)
Y = RNG.integers(0, 10, 150)
WEIGHTS = RNG.uniform(0.5, 1.5, 150)


def lenet5(**options):
    """LeNet-5 for small images, with dropout, batch normalization and penalties. Its names are those of a new process.

    The names are in the files of ModelCheckpoint.
    """
    clear_session()
    layers = [
        Input((16, 16, 1)),
        Conv2D(6, 5, padding="same", activation="relu", kernel_regularizer=l2(1e-3)),
        BatchNormalization(),
        AveragePooling2D(2),
        Conv2D(16, 5, activation="relu"),
        BatchNormalization(),
        AveragePooling2D(2),
        Flatten(),
        Dropout(0.25),
        Dense(120, activation="relu"),
        Dropout(0.5),
        Dense(84, activation="relu"),
        Dense(10, activation="softmax"),
    ]
    model = Sequential(layers, **{"seed": 5, **options})
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], weighted_metrics=["accuracy"])
    return model


class Caller(Callback):
    """A callback of the caller's own with a state: the losses of all batches, and how many hooks it has seen."""

    state_names = ("losses", "epochs_begun")

    def on_train_begin(self, logs=None):
        self.losses = np.empty(0)
        self.epochs_begun = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs_begun += 1

    def on_train_batch_end(self, batch, logs=None):
        self.losses = np.append(self.losses, logs["loss"])


class Killer(Callback):
    """Kills the process at the count-th time that something happens: a hook, or a step of writing a backup."""

    def __init__(self, what, count):
        self.what, self.left = what, count

    def now(self, what):
        if what != self.what:
            return
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_begin(self, logs=None):
        """Take part in the writing of backups; other files go their way."""
        write, fsync, replace = atomic.write_whole, os.fsync, os.replace

        def killing_write(path, content):
            if path.name == "backup.h5" and self.what == "half written":
                write_half = self.left == 1
                atomic.os.fsync = lambda file: (
                    write_half and os.ftruncate(file, len(content) // 2),
                    self.now(self.what),
                )
            write(path, content)
            atomic.os.fsync = fsync

        def killing_replace(source, target):
            backup = os.path.basename(os.path.dirname(target)) == "backup"
            self.now("written" if backup else None)
            replace(source, target)
            self.now("replaced" if backup else None)

        atomic.write_whole, os.replace = killing_write, killing_replace

    def on_epoch_begin(self, epoch, logs=None):
        self.now("epoch begin")

    def on_train_batch_begin(self, batch, logs=None):
        self.now("batch begin")

    def on_test_batch_end(self, batch, logs=None):
        self.now("validation")

    def on_epoch_end(self, epoch, logs=None):
        self.now("epoch end")

    def on_train_end(self, logs=None):
        self.now("train end")


class Announcer(Callback):
    """Tells the parent when the first epoch is done, and each further one, and at the end the seconds from there.

    The first epoch loads kernels, or compiles them.
    """

    started = None

    def on_epoch_end(self, epoch, logs=None):
        first = self.started is None
        if first:
            self.started = time.perf_counter()
        print("begun" if first else "epoch", flush=True)

    def on_train_end(self, logs=None):
        print(time.perf_counter() - (self.started or 0), flush=True)


def train(folder, save_freq=None, double_checkpoint=False, epochs=4, extra=(), **options):
    """Train, with a backup if save_freq is given. Returns what it ended with, as JSON values."""
    model, caller = lenet5(**options), Caller()
    stop = EarlyStopping("val_loss", patience=epochs - 2, restore_best_weights=True)
    callbacks = [
        stop,
        ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=0.5),
        LearningRateScheduler(lambda epoch, rate: rate * 0.75),
        ModelCheckpoint(os.path.join(folder, "best.h5"), save_best_only=True),
        CSVLogger(os.path.join(folder, "log.csv"), append=True),
        caller,
        *extra,
    ]
    if save_freq is not None:
        callbacks.insert(0, BackupAndRestore(os.path.join(folder, "backup"), save_freq, double_checkpoint))
    history = model.fit(
        X,
        Y,
        batch_size=16,
        epochs=epochs,
        verbose=0,
        callbacks=callbacks,
        validation_split=0.2,
        sample_weight=WEIGHTS,
    )
    return outcome(model, history, folder, stop, caller)


def outcome(model, history, folder, stop, caller):
    optimizer = model.optimizer
    with open(os.path.join(folder, "best.h5"), "rb") as best, open(os.path.join(folder, "log.csv")) as log:
        return {
            "weights": digest(*model.get_weights()),
            "slots": {name: digest(slot) for name, slot in optimizer.slots.items()},
            "rate": optimizer.learning_rate,
            "counts": [optimizer.iterations, model._steps_trained, model._epochs_trained],
            "history": history.history,
            "epochs": history.epoch,
            "stop": [stop.wait, stop.best, stop.best_epoch, stop.stopped_epoch, digest(*stop.best_weights)],
            "losses": caller.losses.tolist(),
            "epochs_begun": caller.epochs_begun,
            "best.h5": hashlib.sha256(best.read()).hexdigest(),
            "log.csv": log.read(),
        }


def digest(*arrays):
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def main():
    arguments = json.loads(sys.argv[1])
    kill = arguments.pop("kill", None)
    result = train(extra=[Announcer(), *([Killer(*kill)] if kill else [])], **arguments)
    with open(os.path.join(arguments["folder"], "result.json"), "w") as file:
        json.dump(result, file)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in the background without it
    main()
