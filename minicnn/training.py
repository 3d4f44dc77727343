"""Trainer: compile, fit and the training step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from minicnn import losses, optimizers
from minicnn.batches import ArrayBatches, Batch, Batches, IterableBatches, length
from minicnn.callbacks import CallbackList, History
from minicnn.checks import optional_count, validation_epochs
from minicnn.errors import ConfigError, DataError, ShapeError
from minicnn.evaluation import Evaluator, labels_of, returned
from minicnn.geometry import positive_int
from minicnn.layers import Run
from minicnn.layers.shapes import batched
from minicnn.progress import Progress, verbosity, warn
from minicnn.scores import Logs, Scores, check_metrics
from minicnn.steps.plan import check_steps
from minicnn.typing import Array


@dataclass
class Fit:
    """One call of fit: what it was given, and how far it has come.

    validates: whether epoch n, counted from 1, ends with a validation; validation_freq: as it was given. steps: batches
    an epoch, None for all. initial_epoch: the first one. epoch: the one that runs or comes next, from 0. batch: how
    many of its batches are done; scores: of those, None before the first; rest: those to come, None before the epoch
    begins. logs: of the last epoch.
    callbacks.BackupAndRestore stores the second half, and puts it back in another process.
    """

    training: Batches
    validation: Batches | None
    validates: Callable[[int], bool]
    validation_freq: int | Sequence[int]
    calls: CallbackList
    progress: Progress
    epochs: int
    steps: int | None
    initial_epoch: int

    epoch: int
    batch: int = 0
    scores: Scores | None = None
    rest: Iterator[Batch] | None = None
    logs: Logs = field(default_factory=dict)

    def batches(self, epoch: int, epochs_trained: int) -> Iterator[Batch]:
        """The batches of an epoch. epochs_trained: by the model before it, in other calls of fit as well.

        Where steps are fewer than the batches of arrays, the next epoch goes on, and that in which they end is short,
        as in Keras.
        """
        if isinstance(self.training, IterableBatches):
            return self.training.epoch()
        if self.steps is None:
            return self.training.epoch(epochs_trained)
        done, epochs_a_pass = epoch - self.initial_epoch, -(-len(self.training) // self.steps)
        passes, part = divmod(done, epochs_a_pass)
        return islice(self.training.epoch(epochs_trained - done + passes, part * self.steps), self.steps)


class Trainer(Evaluator):
    """Training for a model that says what its layers are. `models.Sequential` is one."""

    running: Fit | None = None
    """The fit that is under way."""

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
        steps: str | Sequence[str] = "auto",
    ) -> None:
        """Choose how to train: the optimizer, the loss and the metrics. Starts the optimizer anew, unless it is the
        model's own already (compile(model.optimizer, ...) after load_model), which goes on.

        optimizer, loss, metrics: names, classes, instances or configs. steps: "auto" lets the plan fuse layers where a
        fused step exists, "layers" runs every layer on its own, and ["ConvolutionStep", "DenseStep"] takes the fused
        steps of these names alone, in predicting too; print plan() to see them. run_eagerly, steps_per_execution,
        jit_compile and auto_scale_loss change nothing here and are taken so that Keras code runs. Raises ConfigError
        for what is unknown.
        """
        allowed = check_steps(steps)
        if loss_weights is not None:
            raise ConfigError(
                f"compile: loss_weights={loss_weights!r} is not supported by minicnn; a Sequential has one loss."
            )
        checked = check_metrics(metrics, "metrics"), check_metrics(weighted_metrics, "weighted_metrics")
        new_loss = None if loss is None else losses.get(loss)
        if new_loss is not None:
            new_loss.check_written()
        if new_loss is not None and new_loss.reduction in (None, "none"):
            raise ConfigError(
                f"compile: loss {new_loss.name} with reduction=None cannot be trained; choose sum_over_batch_size."
            )
        new_optimizer = optimizers.get(optimizer)
        new_optimizer.claim(self)
        if new_optimizer is not self.optimizer:
            new_optimizer.reset()
        if self._buffer is not None and not new_optimizer.slots:
            self._buffer.parked = []  # slots of the optimizer that was
        self.optimizer = new_optimizer
        self.loss = new_loss
        self._metrics, self._weighted_metrics = checked
        self.metrics = []
        self._metrics_checked = set()
        self._steps = allowed
        self._plans.clear()

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
        y: labels (N, ...) as the loss takes them. batch_size: 32 if None, or with steps_per_epoch so many that an epoch
        has all samples. verbose: 0 silent, 1 a bar, 2 a line an epoch. validation_split: this part of x, the last, is
        held out.
        validation_data: (x, y), (x, y, sample_weight) or an iterable of batches. validation_steps: so many of them each
        time, the first ones, or a generator's next. shuffle: True, False or "batch"; of batches, only those of a
        Sequence are shuffled.
        class_weight: {class: weight}. sample_weight: (N,), or a number for each place of an output of several axes,
        (N, H, W). initial_epoch: where to count from. steps_per_epoch: batches an epoch; the next one goes on where it
        ends. The one in which the data end is short, and then they begin anew.
        Raises DataError, ShapeError or ConfigError before anything has changed, and NotCompiledError; of an iterable's
        batches, each is checked when its turn comes. What callbacks refuse when training begins (a file that cannot be
        gone on with, a schedule where they would set the rate) they refuse after the model was built.
        """
        self._need_compiled("fit")
        if self.running is not None:
            raise ConfigError(f"{self}: fit is under way; a callback may use train_on_batch, or fit another model.")
        epochs = positive_int(epochs, "epochs", "fit", minimum=0)
        initial_epoch = positive_int(initial_epoch, "initial_epoch", "fit", minimum=0)
        level = verbosity(verbose, "fit")
        if shuffle not in (True, False, "batch"):
            raise ConfigError(f'fit: shuffle must be True, False or "batch", got {shuffle!r}.')
        size = optional_count(batch_size, "batch_size", "fit")
        held_out_size = optional_count(validation_batch_size, "validation_batch_size", "fit") or size
        steps = optional_count(steps_per_epoch, "steps_per_epoch", "fit")

        if validation_split:
            x, y, sample_weight, validation_data = self._split(x, y, sample_weight, validation_split, validation_data)
        training = self._batches(x, y, sample_weight, size, "fit", shuffle, class_weight, steps)
        validation = self._validation_batches(validation_data, held_out_size, validation_steps)
        validates = validation_epochs(validation_freq, "fit")
        _check_validation(validation, training, filter(validates, range(initial_epoch + 1, epochs + 1)))
        total = steps if steps is not None else length(training)
        calls = CallbackList(callbacks, add_history=True, model=self, verbose=level, epochs=epochs, steps=total)
        assert calls.history is not None

        if isinstance(training, ArrayBatches):
            self.build_for(training.x.shape[1:])
        else:
            training.passes = self._epochs_trained  # not the order of the last fit again
        self.history = calls.history
        self.running = Fit(
            training,
            validation,
            validates,
            validation_freq,
            calls,
            Progress(level, total),
            epochs,
            steps,
            initial_epoch,
            epoch=initial_epoch,
        )
        try:
            with self._engine():
                self._fit_epochs(self.running)
        finally:
            progress, self.running = self.running.progress, None
            progress.close()
        return calls.history

    def _fit_epochs(self, fit: Fit) -> None:
        self.stop_training = False
        if self.built and not self._trained():
            warn("fit: the model has no weights to train; set trainable = True on it, or on layers that have some.")
        fit.calls.on_train_begin()
        for epoch in range(fit.epoch, fit.epochs):
            if isinstance(fit.training, IterableBatches) and fit.training.exhausted:
                _warn_of_the_end(epoch, fit.epochs)
                break
            if fit.batch == 0:  # otherwise it goes on where an earlier process was interrupted
                fit.calls.on_epoch_begin(epoch)
            fit.progress.start(f"Epoch {epoch + 1}/{fit.epochs}", fit.batch)
            self._train_epoch(fit)
            if fit.scores is None:  # a generator that ended with the last batch of the epoch before
                _warn_of_the_end(epoch, fit.epochs)
                break
            fit.logs = fit.scores.logs()
            if fit.validation is not None and fit.validates(epoch + 1):
                fit.logs |= self._validate(fit.validation, fit.calls)
            self._epochs_trained += 1
            fit.progress.stop()
            fit.epoch, fit.batch, fit.scores, fit.rest = epoch + 1, 0, None, None
            fit.calls.on_epoch_end(epoch, fit.logs)
            fit.progress.finish(fit.logs)  # with what callbacks have added, such as the learning rate
            if self.stop_training:
                break
        fit.calls.on_train_end(fit.logs)

    def _validate(self, batches: Batches, calls: CallbackList) -> Logs:
        """The validation's logs, under their own names; a warning and none where there are no batches."""
        scores = self._evaluate_batches(batches, calls)
        if scores is None:
            warn(
                "fit: validation_data gave no batches this time, so there are no val_ values; give an iterable that "
                "can be started anew."
            )
            return {}
        return scores.logs("val_")

    def _train_epoch(self, fit: Fit) -> None:
        """The batches of an epoch that are left. Raises DataError if there is none, and was none in an epoch before."""
        wanted = fit.calls.wants("on_train_batch_end")
        if fit.rest is None:
            fit.rest = fit.batches(fit.epoch, self._epochs_trained)
        for batch in fit.rest:
            fit.calls.on_train_batch_begin(fit.batch)
            loss, y_pred = self._train_step(batch)
            fit.scores = fit.scores or self._scores(batch.y, y_pred)
            fit.scores.update(loss, labels_of(batch), y_pred, batch.sample_weight)
            fit.batch += 1
            logs = fit.scores.logs() if wanted or fit.progress.due else None
            fit.calls.on_train_batch_end(fit.batch - 1, logs)
            fit.progress.advance(logs)
            if self.stop_training:
                break
        if fit.scores is None and fit.epoch == fit.initial_epoch:
            raise DataError("fit: x gave no batches; a generator that ended before cannot be started anew.")

    def _train_step(self, batch: Batch) -> tuple[float, Array]:
        """One update. Returns the batch's loss, penalties included, and its predictions, from before the update."""
        optimizer, loss = self._need_compiled("fit")
        plan = self._plan(loss)
        buffer = self._packed(optimizer)
        run = Run(self.kernels, training=True, seed=self.seed, step=self._steps_trained)
        assert plan.loss is not None
        output, saved = plan.forward(batch.x, run)
        y_true = plan.loss.align(labels_of(batch), output)
        sample_losses, gradient = plan.loss.value_and_gradient(y_true, output, self.kernels)
        value = plan.loss.reduce(sample_losses, batch.sample_weight)
        plan.backward(plan.loss.scaled(gradient, sample_losses, batch.sample_weight), saved, run)
        buffer.collect_gradients()
        value += buffer.add_penalties(self.kernels)
        if buffer.owners:
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
        return returned(self._scored(loss, batch, y_pred), return_dict)


def _warn_of_the_end(epoch: int, epochs: int) -> None:
    warn(
        f"fit: x ran out of batches in epoch {epoch} of {epochs} and training ends; give steps_per_epoch or an "
        "iterable that can be started anew."
    )


def _check_validation(validation: Batches | None, training: Batches, epochs: Iterator[int]) -> None:
    """Raise unless the validation data fit the training data and last for the validations after these epochs."""
    if isinstance(validation, ArrayBatches) and isinstance(training, ArrayBatches):
        given, wanted = validation.x.shape[1:], training.x.shape[1:]
        if given != wanted:
            raise ShapeError(
                f"fit: validation_data has samples {batched(given)}, x has {batched(wanted)}; give both one shape."
            )
    if not isinstance(validation, IterableBatches) or not validation.one_shot or validation.steps is not None:
        return
    if len(list(islice(epochs, 2))) == 2:
        raise ConfigError(
            f"fit: validation_data is a {type(validation.source).__name__}, which lasts for one validation alone; "
            "give validation_steps, arrays, or an iterable that can be started anew."
        )
