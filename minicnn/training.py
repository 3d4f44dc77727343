"""Trainer: compile, fit, evaluate, predict and their single-batch forms."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from minicnn import losses, optimizers
from minicnn.batches import ArrayBatches, Batch, Batches, IterableBatches, is_batch_source
from minicnn.callbacks import CallbackList, History
from minicnn.checks import check_batch_size, check_optional_steps
from minicnn.errors import ConfigError, DataError, NotBuiltError, NotCompiledError
from minicnn.feeding import Feeding
from minicnn.geometry import positive_int
from minicnn.kernels.blas import single_threaded_blas
from minicnn.layers import Layer, Run
from minicnn.losses import Loss
from minicnn.metrics import Metric
from minicnn.optimizers import Optimizer
from minicnn.parameters import ParameterBuffer, trainable_owners
from minicnn.progress import Progress, verbosity
from minicnn.scores import Logs, Scores, check_metrics, make_scores
from minicnn.steps.plan import Plan, make_plan
from minicnn.typing import Array


class Trainer(Feeding):
    """Training and prediction for a model that says what its layers are. `models.Sequential` is one."""

    name: str
    layers: list[Layer]

    def __init__(self) -> None:
        self.optimizer: Optimizer | None = None
        self.loss: Loss | None = None
        self.history: History | None = None
        self.stop_training = False
        self.metrics: list[Metric] = []  # as objects, once the first batch has shown the labels' shape
        self._metrics: list[Any] = []
        self._weighted_metrics: list[Any] = []
        self._buffer: ParameterBuffer | None = None
        self._steps_trained = 0  # dropout's masks follow from it
        self._epochs_trained = 0  # the shuffling follows from it
        self._plans: dict[Any, tuple[list[Layer], Plan]] = {}

    @property
    def built(self) -> bool:
        raise NotImplementedError

    # -- compile

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: Any = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Choose how to train: the optimizer, the loss and the metrics. Starts the optimizer anew.

        optimizer, loss, metrics: names, classes, instances or configs. run_eagerly, steps_per_execution and
        jit_compile change nothing here and are taken so that Keras code runs. Raises ConfigError for what is unknown.
        """
        if loss_weights is not None:
            raise ConfigError(
                f"compile: loss_weights={loss_weights!r} is not supported by minicnn; a Sequential has one loss."
            )
        checked = check_metrics(metrics, "metrics"), check_metrics(weighted_metrics, "weighted_metrics")
        new_loss = None if loss is None else losses.get(loss)
        if new_loss is not None and new_loss.reduction in (None, "none"):
            raise ConfigError(
                f"compile: loss {new_loss.name} with reduction=None cannot be trained; choose sum_over_batch_size."
            )
        new_optimizer = optimizers.get(optimizer)
        new_optimizer.claim(self)
        new_optimizer.reset()
        self.optimizer = new_optimizer
        self.loss = new_loss
        self._metrics, self._weighted_metrics = checked
        self._plans.clear()

    @property
    def compiled(self) -> bool:
        return self.optimizer is not None and self.loss is not None

    @property
    def metrics_names(self) -> list[str]:
        """ "loss" and the metrics as they appear in logs."""
        given = self._metrics + self._weighted_metrics
        return ["loss", *(m if isinstance(m, str) else getattr(m, "name", "metric") for m in given)]

    def _need_compiled(self, method: str) -> tuple[Optimizer, Loss]:
        if self.optimizer is None or self.loss is None:
            raise NotCompiledError(f"{self}: call compile(optimizer, loss) before {method}.")
        return self.optimizer, self.loss

    # -- fit

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool | str = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
    ) -> History:
        """Train for epochs − initial_epoch epochs. Returns the History: `.history["loss"]` and so on, a number an
        epoch.

        x: samples (N, ...) of any real dtype, or an iterable of (x, y) or (x, y, sample_weight) batches.
        y: labels (N, ...) as the loss takes them. batch_size: 32 if None.
        verbose: 0 silent, 1 a bar, 2 a line an epoch. validation_split: this part of x, the last, is held out.
        validation_data: (x, y), (x, y, sample_weight) or an iterable of batches. shuffle: True, False or "batch".
        class_weight: {class: weight}. sample_weight: (N,). initial_epoch: where to count from.
        Raises DataError, ShapeError or ConfigError before anything has changed.
        """
        self._need_compiled("fit")
        epochs = positive_int(epochs, "epochs", "fit", minimum=0)
        initial_epoch = positive_int(initial_epoch, "initial_epoch", "fit", minimum=0)
        level = verbosity(verbose, "fit")
        if shuffle not in (True, False, "batch"):
            raise ConfigError(f'fit: shuffle must be True, False or "batch", got {shuffle!r}.')
        size = check_batch_size(batch_size, "fit")
        held_out_size = size if validation_batch_size is None else check_batch_size(validation_batch_size, "fit")
        steps = check_optional_steps(steps_per_epoch, "steps_per_epoch", "fit")

        if validation_split:
            x, y, sample_weight, validation_data = self._split(x, y, sample_weight, validation_split, validation_data)
        training = self._batches(x, y, sample_weight, size, "fit", shuffle, class_weight, steps)
        validation = self._validation_batches(validation_data, held_out_size, validation_steps)
        validate_at = _validation_epochs(validation_freq)
        if isinstance(training, ArrayBatches):
            self.build_for(training.x.shape[1:])

        total = steps if steps is not None else _length(training)
        calls = CallbackList(callbacks, add_history=True, model=self, verbose=level, epochs=epochs, steps=total)
        assert calls.history is not None
        self.history = calls.history
        with self._engine():
            self._fit_epochs(
                training, validation, validate_at, calls, Progress(level, total), epochs, initial_epoch, steps
            )
        return calls.history

    def _fit_epochs(
        self,
        training: Batches,
        validation: Batches | None,
        validate_at: Any,
        calls: CallbackList,
        progress: Progress,
        epochs: int,
        initial_epoch: int,
        steps: int | None,
    ) -> None:
        self.stop_training = False
        logs: Logs = {}
        calls.on_train_begin()
        try:
            for epoch in range(initial_epoch, epochs):
                calls.on_epoch_begin(epoch)
                progress.start(f"Epoch {epoch + 1}/{epochs}")
                logs = self._train_epoch(training, calls, progress, steps)
                if validation is not None and validate_at(epoch + 1):
                    logs |= self._evaluate_batches(validation, calls, prefix="val_")
                self._epochs_trained += 1
                progress.finish(logs)
                calls.on_epoch_end(epoch, logs)
                if getattr(training, "exhausted", False):
                    break
                if self.stop_training:
                    break
        finally:
            progress.close()
        calls.on_train_end(logs)

    def _train_epoch(self, training: Batches, calls: CallbackList, progress: Progress, steps: int | None) -> Logs:
        scores: Scores | None = None
        wanted = calls.wants("on_train_batch_end")
        for number, batch in enumerate(training.epoch(self._epochs_trained)):
            if number == steps:
                break
            calls.on_train_batch_begin(number)
            loss, y_pred = self._train_step(batch)
            scores = scores or self._scores(batch.y, y_pred)
            scores.update(loss, _labels(batch), y_pred, batch.sample_weight)
            logs = scores.logs() if wanted or progress.due else None
            calls.on_train_batch_end(number, logs)
            progress.advance(logs)
            if self.stop_training:
                break
        if scores is None:
            raise DataError("fit: x gave no batches; a generator that ended before cannot be started anew.")
        return scores.logs()

    def _train_step(self, batch: Batch) -> tuple[float, Array]:
        """One update. Returns the batch's loss, penalties included, and its predictions, both from before the
        update."""
        optimizer, loss = self._need_compiled("fit")
        plan = self._plan(loss)
        buffer = self._packed(optimizer)
        run = Run(self.kernels, training=True, seed=self.seed, step=self._steps_trained)
        assert plan.loss is not None
        output, saved = plan.forward(batch.x, run)
        y_true = plan.loss.align(_labels(batch), output)
        sample_losses, gradient = plan.loss.value_and_gradient(y_true, output, self.kernels)
        value = plan.loss.reduce(sample_losses, batch.sample_weight) + buffer.penalty()
        plan.backward(plan.loss.scaled(gradient, sample_losses, batch.sample_weight), saved, run)
        buffer.collect_gradients()
        buffer.add_penalty_gradients()
        optimizer.step(buffer.weights, buffer.gradients, buffer.segments, self.kernels)
        self._steps_trained += 1
        return value, output if plan.output is None else plan.output.forward(output, self.kernels)

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """One update on one batch. Returns its loss (and metrics: a list, or a dict with return_dict)."""
        self._need_compiled("train_on_batch")
        batch = self._one_batch(x, y, sample_weight, "train_on_batch", class_weight)
        self.build_for(batch.x.shape[1:])
        with self._engine():
            loss, y_pred = self._train_step(batch)
        return _returned(self._scored(loss, batch, y_pred), return_dict)

    # -- evaluate

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Loss and metrics in inference mode: a float without metrics, else a list, or a dict with return_dict.

        Arguments as in fit. The loss includes the regularizers' penalties.
        """
        self._need_compiled("evaluate")
        self._need_built("evaluate")
        level = verbosity(verbose, "evaluate")
        limit = check_optional_steps(steps, "steps", "evaluate")
        batches = self._batches(x, y, sample_weight, check_batch_size(batch_size, "evaluate"), "evaluate", steps=limit)
        calls = CallbackList(callbacks, model=self, verbose=level, epochs=1, steps=_length(batches))
        progress = Progress(level, limit if limit is not None else _length(batches))
        with self._engine():
            logs = self._evaluate_batches(batches, calls, progress=progress, steps=limit)
        return _returned(logs, return_dict)

    def _evaluate_batches(
        self,
        batches: Batches,
        calls: CallbackList,
        prefix: str = "",
        progress: Progress | None = None,
        steps: int | None = None,
    ) -> Logs:
        scores: Scores | None = None
        wanted = calls.wants("on_test_batch_end")
        calls.on_test_begin()
        if progress is not None:
            progress.start("Evaluate")
        for number, batch in enumerate(batches.epoch()):
            if number == steps:
                break
            calls.on_test_batch_begin(number)
            loss, y_pred = self._test_step(batch)
            scores = scores or self._scores(batch.y, y_pred)
            scores.update(loss, _labels(batch), y_pred, batch.sample_weight)
            calls.on_test_batch_end(number, scores.logs() if wanted else None)
            if progress is not None:
                progress.advance()
        if scores is None:
            raise DataError("evaluate: x gave no batches.")
        if progress is not None:
            progress.finish(scores.logs())
        calls.on_test_end(scores.logs())
        return scores.logs(prefix)

    def _test_step(self, batch: Batch) -> tuple[float, Array]:
        optimizer, loss = self._need_compiled("evaluate")
        plan = self._plan(loss)
        assert plan.loss is not None
        output = plan.predict(batch.x, Run(self.kernels))
        y_true = plan.loss.align(_labels(batch), output)
        sample_losses, _ = plan.loss.value_and_gradient(y_true, output, self.kernels)
        value = plan.loss.reduce(sample_losses, batch.sample_weight) + self._packed(optimizer).penalty()
        return value, output if plan.output is None else plan.output.forward(output, self.kernels)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Loss (and metrics) of one batch in inference mode; returned as by train_on_batch."""
        self._need_compiled("test_on_batch")
        self._need_built("test_on_batch")
        batch = self._one_batch(x, y, sample_weight, "test_on_batch")
        with self._engine():
            loss, y_pred = self._test_step(batch)
        return _returned(self._scored(loss, batch, y_pred), return_dict)

    # -- predict

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Array:
        """The outputs (N, ...) for samples x (N, ...), in inference mode. NaN in x passes through to its own outputs.

        x may also be an iterable of batches, steps of them. Raises NotBuiltError before the model has weights.
        """
        self._need_built("predict")
        level = verbosity(verbose, "predict")
        limit = check_optional_steps(steps, "steps", "predict")
        size = check_batch_size(batch_size, "predict")
        if is_batch_source(x, None):
            batches: Batches = IterableBatches(x, limit, self.dtype, self._check_predict_batch)
        else:
            samples = self._samples(x, "predict")
            batches = ArrayBatches(samples, None, None, size, self.dtype, self.kernels)
        total = _length(batches)
        calls = CallbackList(callbacks, model=self, verbose=level, epochs=1, steps=total)
        progress = Progress(level, total)
        outputs = []
        with self._engine():
            calls.on_predict_begin()
            progress.start("Predict")
            for number, batch in enumerate(batches.epoch()):
                if number == limit:
                    break
                calls.on_predict_batch_begin(number)
                outputs.append(self._plan(None).predict(batch.x, Run(self.kernels)))
                calls.on_predict_batch_end(number, {"outputs": outputs[-1]})
                progress.advance()
            progress.finish({})
            calls.on_predict_end()
        if not outputs:
            assert self.layers[0].input_shape is not None
            return np.empty((0, *self.output_shape_for(self.layers[0].input_shape)), self.dtype)
        return np.concatenate(outputs)

    def predict_on_batch(self, x: Any) -> Array:
        """The outputs for one batch."""
        self._need_built("predict_on_batch")
        return self._forward(self._samples(x, "predict_on_batch"), training=False)

    def __call__(self, x: Any, training: bool = False) -> Array:
        """The outputs for one batch; builds the model for its shape if need be. training=True: dropout and batch
        statistics."""
        samples = self._samples(x, str(self))
        self.build_for(samples.shape[1:])
        return self._forward(samples, training)

    def _forward(self, samples: Array, training: bool) -> Array:
        run = Run(self.kernels, training=bool(training), seed=self.seed, step=self._steps_trained)
        with self._engine():
            return self._plan(None).predict(np.ascontiguousarray(samples, self.dtype), run)

    # -- machinery

    def _engine(self) -> AbstractContextManager[None]:
        """One thread pool at a time: while kernels run in threads, BLAS does not."""
        return single_threaded_blas() if self.kernels.name == "numba" else nullcontext()

    def _plan(self, loss: Loss | None) -> Plan:
        if not self.built:  # batches from an iterable: the first one tells the shape
            raise NotBuiltError(f"{self}: is not built yet.")
        layers, plan = self._plans.get(loss, (None, None))
        if (
            plan is None
            or layers is None
            or len(layers) != len(self.layers)
            or any(a is not b for a, b in zip(layers, self.layers, strict=True))
        ):
            plan = make_plan(self.layers, loss)
            self._plans[loss] = (list(self.layers), plan)
        return plan

    def plan(self) -> Plan:
        """The steps that training runs through (predicting, before compile); print it to see them."""
        self._need_built("plan")
        return self._plan(self.loss)

    def _packed(self, optimizer: Optimizer) -> ParameterBuffer:
        """The parameters in one buffer, packed again where layers or `trainable` have changed since the last step."""
        owners = trainable_owners(self.layers)
        if self._buffer is None or not self._buffer.holds(owners):
            buffer = ParameterBuffer(owners, self.dtype)
            buffer.move_slots(optimizer, self._buffer)
            self._buffer = buffer
        return self._buffer

    def _scores(self, y: Any, y_pred: Array) -> Scores:
        scores = make_scores(self._metrics, self._weighted_metrics, y.shape, y_pred.shape[1:])
        self.metrics = scores.metrics
        return scores

    def _scored(self, loss: float, batch: Batch, y_pred: Array) -> Logs:
        scores = self._scores(batch.y, y_pred)
        scores.reset()
        scores.update(loss, _labels(batch), y_pred, batch.sample_weight)
        return scores.logs()

    def _need_built(self, method: str) -> None:
        if not self.built:
            raise NotBuiltError(
                f"{self}: has no weights yet, so {method} has nothing to work with; give the first layer "
                "input_shape=..., or call fit, build or load_weights first."
            )


def _labels(batch: Batch) -> Array:
    assert batch.y is not None
    return batch.y


def _returned(logs: Logs, return_dict: bool) -> Any:
    if return_dict:
        return logs
    values = list(logs.values())
    return values[0] if len(values) == 1 else values


def _length(batches: Batches) -> int | None:
    try:
        return len(batches)
    except TypeError:
        return None


def _validation_epochs(freq: Any) -> Any:
    """Whether to validate after epoch n, counted from 1: every freq-th, or those listed."""
    if isinstance(freq, Sequence) and not isinstance(freq, str):
        wanted = {positive_int(n, "validation_freq", "fit") for n in freq}
        return wanted.__contains__
    every = positive_int(freq, "validation_freq", "fit")
    return lambda epoch: epoch % every == 0
