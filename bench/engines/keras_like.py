"""Keras and minicnn have one interface; this drives both."""

import time
from itertools import pairwise
from typing import Any

from worker import Call, Engine, Job, model_config, weights


class KerasLikeEngine(Engine):
    """compile, fit, evaluate, predict. A subclass imports its library into `library` and `Sequential`."""

    library: Any
    Sequential: Any
    model: Any

    def build(self, job: Job) -> None:
        self.model = self.Sequential.from_config(model_config(job))
        self.model.set_weights(weights(job))

    def compile(self, job: Job) -> None:
        self.model.compile(
            optimizer=self.library.optimizers.Adam(learning_rate=job["learning_rate"]),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )

    def epochs(self, x: Any, y: Any, batch: int, count: int, shuffle: bool = True) -> tuple[list[float], list[float]]:
        clock = self._clock()
        history = self.model.fit(
            x, y, batch_size=batch, epochs=count, shuffle=shuffle, verbose=0, callbacks=[clock]
        ).history
        ends = clock.ends
        return [b - a for a, b in pairwise(ends)], history["loss"]

    def loss(self, x: Any, y: Any) -> float:
        return float(self.model.evaluate(x, y, batch_size=len(x), verbose=0)[0])

    def predict(self, x: Any, batch: int) -> Any:
        return self.model.predict(x, batch_size=batch, verbose=0)

    def single_calls(self) -> dict[str, Call]:
        return {
            "predict": lambda x: self.model.predict(x, verbose=0),
            "predict_on_batch": self.model.predict_on_batch,
            "call": lambda x: self.model(x),
        }

    def _clock(self) -> Any:
        class Clock(self.library.callbacks.Callback):  # type: ignore[misc, name-defined]
            """The moments when training began and when each epoch ended."""

            def on_train_begin(self, logs: Any = None) -> None:
                self.ends = [time.perf_counter()]

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                self.ends.append(time.perf_counter())

        return Clock()
