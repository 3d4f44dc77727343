"""Keras's process, on TensorFlow; see worker.py."""

import os

from keras_like import KerasLikeEngine
from worker import main


class KerasEngine(KerasLikeEngine):
    packages = ("keras", "tensorflow-cpu", "tensorflow", "numpy")

    def load(self) -> None:
        os.environ["KERAS_BACKEND"] = "tensorflow"
        import keras

        self.library, self.Sequential = keras, keras.Sequential


if __name__ == "__main__":
    main(KerasEngine())
