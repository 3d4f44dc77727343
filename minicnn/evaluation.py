"""Evaluator: what a model does without changing its weights: evaluate, predict, and the plan they run through."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from minicnn.batches import ArrayBatches, Batch, Batches, IterableBatches, is_batch_source, length, limited
from minicnn.callbacks import CallbackList, History
from minicnn.checks import optional_count
from minicnn.errors import DataError, MinicnnError, NotBuiltError, NotCompiledError
from minicnn.feeding import Feeding
from minicnn.kernels import NUMBA
from minicnn.kernels.blas import single_threaded_blas
from minicnn.layers import Layer, Run
from minicnn.lending import not_the_callers
from minicnn.losses import Loss
from minicnn.metrics import Metric, metric_for
from minicnn.optimizers import Optimizer
from minicnn.parameters import Owner, ParameterBuffer, trainable_owners
from minicnn.progress import Progress, verbosity
from minicnn.scores import Scores, make_scores, names_of
from minicnn.steps.plan import Plan, make_plan, rules_for
from minicnn.typing import Array, Shape

STEPS_OF_CALLS = 1 << 62
"""Where calls with training=True count their steps from, of which dropout's masks are made."""


class Evaluator(Feeding):
    """Evaluation and prediction for a model that says what its layers are."""

    name: str
    layers: list[Layer]

    def __init__(self) -> None:
        self.optimizer: Optimizer | None = None
        self.loss: Loss | None = None
        self.history: History | None = None
        self.stop_training = self.stop_evaluating = self.stop_predicting = False  # True, set by a callback, ends it
        self.metrics: list[Metric] = []  # as objects, once the first batch has shown the labels' shape
        self._metrics: list[Any] = []
        self._weighted_metrics: list[Any] = []
        self._metrics_checked: set[Any] = set()  # the shapes of labels and outputs that they have seen
        self._buffer: ParameterBuffer | None = None
        self._steps_trained = 0  # dropout's masks follow from it
        self._epochs_trained = 0  # the shuffling follows from it
        self._calls_in_training = 0  # dropout's masks in them follow from it
        self._trainable = True
        self._steps: str | tuple[str, ...] = "auto"  # which fused steps the plan may take
        self._plans: dict[int, tuple[list[Any], Plan]] = {}  # by loss, with it, layers and activations they are for

    @property
    def compiled(self) -> bool:
        return self.optimizer is not None and self.loss is not None

    @property
    def metrics_names(self) -> list[str]:
        """ "loss" and the metrics as they appear in logs."""
        both = self._metrics, self._weighted_metrics
        return ["loss", *names_of(*([metric_for(metric, (1, 1), (1, 1)) for metric in given] for given in both))]

    def _need_compiled(self, method: str) -> tuple[Optimizer, Loss]:
        if self.optimizer is None or self.loss is None:
            raise NotCompiledError(f"{self}: call compile(optimizer, loss) before {method}.")
        return self.optimizer, self.loss

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

        Arguments as in fit. The loss includes the regularizers' penalties. Small batches are computed several at once,
        as in predict, but not by fit for a validation, so that its last digits may differ. Another thread must not
        change the weights meanwhile, as in predict, nor evaluate at once where compile was given metrics as objects,
        which hold the sums (given by name, each call has its own), or where a callback sets stop_evaluating, which ends
        all.
        """
        self._need_compiled("evaluate")
        self._need_built("evaluate")
        level = verbosity(verbose, "evaluate")
        limit = optional_count(steps, "steps", "evaluate")
        size = optional_count(batch_size, "batch_size", "evaluate")
        batches = limited(self._batches(x, y, sample_weight, size, "evaluate", steps=limit), limit)
        total = length(batches)
        calls = CallbackList(callbacks, model=self, verbose=level, epochs=1, steps=total)
        progress = Progress(level, total)
        with self._engine(), closing(progress):
            scores = self._evaluate_batches(batches, calls, progress)
        if scores is None:
            raise DataError("evaluate: x gave no batches; a generator that ended before cannot be started anew.")
        return returned(scores, return_dict)

    def _evaluate_batches(
        self, batches: Batches, calls: CallbackList, progress: Progress | None = None
    ) -> Scores | None:
        """The scores of all batches, None if there are none. progress: evaluate's; a validation of fit's has none."""
        self.stop_evaluating = False
        scores: Scores | None = None
        wanted = calls.wants("on_test_batch_end")
        if isinstance(batches, ArrayBatches):  # checked before, but perhaps before the input shape was known
            self.check_input(batches.x.shape[1:], "fit: validation_data" if progress is None else "evaluate")
        calls.on_test_begin()
        _, loss = self._need_compiled("evaluate")
        if progress is not None:
            progress.start("Evaluate")
        # A validation leaves the memory that batches together take to fit.
        outputs = self._outputs(batches, loss, calls, "test", together=progress is not None)
        for number, (batch, plan, output) in enumerate(outputs):
            value, y_pred = self._test_step(batch, plan, output)
            scores = scores or self._scores(batch.y, y_pred)
            scores.update(value, labels_of(batch), y_pred, batch.sample_weight)
            calls.on_test_batch_end(number, scores.logs() if wanted else None)
            if progress is not None:
                progress.advance()
            if self.stop_evaluating:
                if isinstance(batches, IterableBatches):
                    batches.end_epoch()
                break
        if scores is None:
            return None
        if progress is not None:
            progress.finish(scores.logs())
        calls.on_test_end(scores.logs())
        return scores

    def _test_step(self, batch: Batch, plan: Plan, output: Array) -> tuple[float, Array]:
        """The batch's loss, penalties included, and its predictions, from the plan's output."""
        optimizer, _ = self._need_compiled("evaluate")
        assert plan.loss is not None
        y_true = plan.loss.align(labels_of(batch), output)
        sample_losses, _ = plan.loss.value_and_gradient(y_true, output, self.kernels)
        penalty = self._packed(optimizer).penalty(self.kernels)
        value = plan.loss.reduce(sample_losses, batch.sample_weight) + penalty
        return value, output if plan.output is None else plan.output.forward(output, self.kernels)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Loss (and metrics) of one batch in inference mode; returned as by train_on_batch."""
        _, loss = self._need_compiled("test_on_batch")
        self._need_built("test_on_batch")
        batch = self._one_batch(x, y, sample_weight, "test_on_batch")
        with self._engine():
            plan = self._plan(loss)
            output = plan.predict(batch.x, Run(self.kernels, keep=False))
            value, y_pred = self._test_step(batch, plan, output)
        return returned(self._scored(value, batch, y_pred), return_dict)

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

        The last digits of an output may depend on the size of its batch and on the other samples in it, on how many
        samples there are in all, and on whether a callback has its turn between batches.

        batch_size: 32 if None, or with steps so many that these are all samples. Where no code of the caller's has its
        turn in between, small batches of an array are computed several at once: up to 256 samples, and as far as no
        layer makes more than 64 MB of float32 of them. x may also be an iterable of batches, steps of them. Another
        thread must not change the weights meanwhile: some batches may be computed with parts of both. A callback that
        sets stop_predicting ends the calls of all threads. Raises NotBuiltError before the model has weights.
        """
        self._need_built("predict")
        level = verbosity(verbose, "predict")
        limit = optional_count(steps, "steps", "predict")
        size = optional_count(batch_size, "batch_size", "predict")
        if is_batch_source(x, None):
            batches: Batches = IterableBatches(x, limit, self.dtype, self._check_predict_batch)
        else:
            samples = self._samples(x, "predict")
            size = ArrayBatches.size(size, len(samples), limit)
            batches = limited(ArrayBatches(samples, None, None, size, self.dtype, self.kernels), limit)
        total = length(batches)
        calls = CallbackList(callbacks, model=self, verbose=level, epochs=1, steps=total)
        progress = Progress(level, total)
        self.stop_predicting = False
        outputs = []
        with self._engine(passes=total), closing(progress):
            calls.on_predict_begin()
            progress.start("Predict")
            for number, (_, _, output) in enumerate(self._outputs(batches, None, calls, "predict")):
                outputs.append(output)
                calls.on_predict_batch_end(number, {"outputs": output})
                progress.advance()
                if self.stop_predicting:
                    break
            progress.finish({})
            calls.on_predict_end()
        if not outputs:
            assert self.layers[0].input_shape is not None
            return np.empty((0, *self.output_shape_for(self.layers[0].input_shape)), self.dtype)
        return np.concatenate(outputs)

    def _outputs(
        self, batches: Batches, loss: Loss | None, calls: CallbackList, kind: str, together: bool = True
    ) -> Iterator[tuple[Batch, Plan, Array]]:
        """Each batch with the plan for this loss and its output. kind: "test" or "predict", of the callbacks' hooks.

        together: let small batches go through the plan together, and the steps keep what they make of the weights for
        the next ones, where no callback, layer or activation of the caller's has its turn in between.
        """
        run, begin = Run(self.kernels, keep=False), f"on_{kind}_batch_begin"
        if (
            not together
            or not isinstance(batches, ArrayBatches)
            or len(batches) < 2
            or self.kernels is not NUMBA  # NumPy's make columns of all images at once
            or calls.runs_code_in(begin, f"on_{kind}_batch_end")
            or self._plan(None).runs_callers_code
        ):
            for number, batch in enumerate(batches.epoch()):
                getattr(calls, begin)(number)
                plan = self._plan(loss)
                yield batch, plan, plan.predict(batch.x, run)
            return
        run = replace(run, made={}, samples=len(batches.x))
        shapes = [batches.x.shape[1:]]
        for layer in self.layers:
            shapes.append(layer.output_shape(shapes[-1]))
        for several in batches.together(max(map(math.prod, shapes))).epoch():
            plan = self._plan(loss)
            output = plan.predict(several.x, run)
            for start in range(0, len(output), batches.batch_size):
                rows = slice(start, start + batches.batch_size)
                yield several.part(rows), plan, output[rows]

    def predict_on_batch(self, x: Any) -> Array:
        """The outputs for one batch."""
        self._need_built("predict_on_batch")
        return self._forward(self._samples(x, "predict_on_batch"), training=False)

    def __call__(self, x: Any, training: bool = False) -> Array:
        """The outputs for one batch; builds the model for its shape if need be.

        training=True: with dropout, of other masks at each call, and batch statistics.
        """
        samples = self._samples(x, "call")
        self.build_for(samples.shape[1:])
        return self._forward(samples, training)

    def _forward(self, samples: Array, training: bool) -> Array:
        step = self._steps_trained
        if training:  # a number that no step of training has
            step, self._calls_in_training = STEPS_OF_CALLS + self._calls_in_training, self._calls_in_training + 1
        run = Run(self.kernels, training=bool(training), seed=self.seed, step=step, keep=False)
        x = np.ascontiguousarray(samples, self.dtype)
        with self._engine(passes=1):
            return not_the_callers(self._plan(None).predict(x, run), x)  # which layers that hand on return

    # -- machinery

    def _engine(self, passes: int | None = None) -> AbstractContextManager[None]:
        """One thread pool at a time: while kernels run in threads, BLAS does not.

        Kernels that call BLAS see to it themselves, so this only spares them the trouble, a tenth of the time of
        predicting one image, and a single forward pass needs no such block around it.
        """
        return single_threaded_blas() if self.kernels.name == "numba" and passes != 1 else nullcontext()

    def _plan(self, loss: Loss | None) -> Plan:
        for layer in self.layers:
            layer.check_arrays()  # 3 µs for LeNet-5, 5 for AlexNet
        # Steps know their layers' activations, which a caller may exchange.
        parts = [loss, *self.layers, *(getattr(layer, "activation", None) for layer in self.layers)]
        known, plan = self._plans.get(id(loss), ([], None))
        if plan is None or len(known) != len(parts) or not all(map(operator.is_, known, parts)):
            if not self.built:  # batches from an iterable: the first one tells the shape
                raise NotBuiltError(f"{self}: is not built yet; add layers by add(), and call build or fit.")
            plan = make_plan(self.layers, loss, rules_for(self._steps if self.kernels is NUMBA else "layers"))
            self._plans[id(loss)] = (parts, plan)
        return plan

    def plan(self) -> Plan:
        """The steps that training runs through (predicting, before compile); print it to see them.

        Predicting runs through the same, but for the last layer of LogitsStep, which it takes as a whole. Where a step
        uses another algorithm in one of the two alone, what is printed says so.
        """
        self._need_built("plan")
        return self._plan(self.loss)

    def _trained(self) -> list[Owner]:
        """The parameters that training changes: none while the model is frozen."""
        return trainable_owners(self.layers) if self._trainable else []

    def _count_trained(self) -> int:
        """How many numbers they are."""
        return sum(layer.params[name].size for layer, name in self._trained())

    def _packed(self, optimizer: Optimizer) -> ParameterBuffer:
        """The parameters in one buffer, packed again where layers or `trainable` have changed since the last step."""
        owners = self._trained()
        if self._buffer is None or not self._buffer.holds(owners):
            buffer = ParameterBuffer(owners, self.dtype)
            buffer.move_slots(optimizer, self._buffer)
            if self._buffer is not None:
                self._buffer.release()
            self._buffer = buffer
        if not optimizer.slots:
            self._buffer.parked = []  # those of before the optimizer was reset
        return self._buffer

    def check_metrics(self, y: Array, output_shape: Shape, weights: Array | None) -> None:
        """Let copies of the metrics see one sample, so that one that does not suit the labels raises now."""
        kind = y.shape[1:], output_shape, None if weights is None else weights.shape[1:]
        if len(y) == 0 or kind in self._metrics_checked:
            return
        try:
            metrics, weighted = copy.deepcopy((self._metrics, self._weighted_metrics))
            scores = make_scores(metrics, weighted, y.shape, output_shape)
            scores.update(
                0.0, y[:1], np.full((1, *output_shape), 0.5, self.dtype), None if weights is None else weights[:1]
            )
        except MinicnnError as error:
            shapes = f"labels {y.shape} and outputs {(None, *output_shape)}"
            raise type(error)(f"{self}: a metric does not suit {shapes}: {error}") from None
        except Exception:  # the caller's metric may want more than one sample: the first batch will tell
            pass
        self._metrics_checked.add(kind)

    def _scores(self, y: Any, y_pred: Array) -> Scores:
        scores = make_scores(self._metrics, self._weighted_metrics, y.shape, y_pred.shape[1:])
        self.metrics = scores.metrics
        return scores

    def _scored(self, loss: float, batch: Batch, y_pred: Array) -> Scores:
        scores = self._scores(batch.y, y_pred)
        scores.update(loss, labels_of(batch), y_pred, batch.sample_weight)
        return scores

    def _need_built(self, method: str) -> None:
        if not self.built:
            raise NotBuiltError(
                f"{self}: has no weights yet, so {method} has nothing to work with; give the first layer "
                "input_shape=..., or call build or fit first."
            )


def labels_of(batch: Batch) -> Array:
    """The labels of a batch that has some."""
    assert batch.y is not None
    return batch.y


def returned(scores: Scores, return_dict: bool) -> Any:
    """Scores in the form that Keras returns: a dict by name, a list with the loss first, or the loss alone."""
    if return_dict:
        return scores.logs()
    values = scores.values()
    return values[0] if len(values) == 1 else values
