"""How near each part of a training step comes to what the machine can do.

    python bench/kernels.py                                    # all eight models
    python bench/kernels.py --models cnn_relu lenet5 --json out.json
    python bench/kernels.py --quick

Each model is trained and asked for predictions with `fit` and `predict` as they are, while the passes of the plan's
steps, the gathering of batches, the loss, the penalties and the optimizer are timed on the way: real shapes, real data,
caches as they are in training. The table gives the median time of each, its share of the whole step, its operations and
bytes, and the percentage of its limit, as limits.py defines it; "<" marks parts that take more than 5 % of the step and
reach less than 60 %. What a step does outside these parts (accuracy, bookkeeping) is "the rest". The machine's rates
are measured right before each model, since a machine that others share is not always as fast.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from common import OUT, clear_settings, describe, images, json_to_write, machine, markdown_table, number, write_json
from limits import Peaks, Work, backward_work, forward_work, gather_work, measure_peaks, penalty_work, update_work
from workloads import PREDICT_BATCH, WORKLOADS

from minicnn import applications, batches, optimizers, parameters
from minicnn.applications import APPLICATIONS
from minicnn.config import get_num_threads

SHARE, ENOUGH = 0.05, 0.60  # of the step; of the limit


@dataclass(frozen=True)
class Part:
    """One part of a step: seconds it took, and what it had to do."""

    name: str
    seconds: float
    work: Work


class Stopwatch:
    """Times calls of methods and functions while a model runs, by replacing them on their class or module.

    A timed call inside another one counts for the outer one alone.
    """

    def __init__(self) -> None:
        self.times: dict[Any, list[float]] = {}
        self.starts: list[float] = []  # when each batch was asked for
        self._undo: list[Callable[[], None]] = []
        self._inside = False

    def watch(self, owner: Any, name: str, label: Callable[..., Any], starts: bool = False) -> None:
        """Time owner.name; label(*args) says under which key. starts: a call begins a step."""
        original = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return original(*args, **kwargs)
            self._inside = True
            started = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                self._inside = False
                self.times.setdefault(label(*args), []).append(time.perf_counter() - started)
                if starts:
                    self.starts.append(started)

        own = name in vars(owner)
        setattr(owner, name, timed)
        self._undo.append(lambda: setattr(owner, name, original) if own else delattr(owner, name))

    def stop(self) -> None:
        """Put everything back."""
        for undo in reversed(self._undo):
            undo()

    def median(self, key: Any) -> float:
        return statistics.median(self.times[key]) if key in self.times else 0.0

    def step_seconds(self) -> float:
        """The median time from one batch to the next."""
        return statistics.median(np.diff(self.starts))


def watched(model: Any, steps: Any) -> Stopwatch:
    """A stopwatch on everything that a pass through these steps does. Keys: (id of a step, "forward"), "gather", ..."""
    watch = Stopwatch()
    for step_class in {type(step) for step in steps}:
        for name in ("forward", "backward"):
            watch.watch(step_class, name, lambda step, *args, name=name, **kwargs: (id(step), name))
    watch.watch(batches, "gather", lambda *args: "gather", starts=True)
    if model.loss is not None:
        for loss_class in {type(model.loss), type(model.plan().loss)}:
            watch.watch(loss_class, "value_and_gradient", lambda *args: "loss")
    watch.watch(parameters.ParameterBuffer, "add_penalties", lambda *args: "penalties")
    if model.optimizer is not None:
        watch.watch(type(model.optimizer), "step", lambda *args: "update")
    return watch


# -- a model's parts


def training_parts(name: str, steps: int) -> tuple[list[Part], float]:
    """The parts of a training step of this application, and the seconds of the whole step."""
    application = APPLICATIONS[name]
    size = application.batch_size
    x, y, _ = images(application.dataset, steps * size)
    model = applications.build(name, seed=0)
    model.compile(optimizers.Adam(application.learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x[: 3 * size], y[: 3 * size], batch_size=size, verbose=0)
    plan = model.plan()
    watch = watched(model, plan.steps)
    try:
        model.fit(x, y, batch_size=size, epochs=2, verbose=0)
    finally:
        watch.stop()
    pixels = int(np.prod(x.shape[1:]))
    parts = [Part("gather the batch", watch.median("gather"), gather_work(size, pixels))]
    for step in plan.steps:
        work = forward_work(step.layers, size)
        parts.append(Part(f"forward {_named(model, step)}", watch.median((id(step), "forward")), work))
    parts.append(Part("loss and its gradient", watch.median("loss"), Work()))
    first = next(k for k, step in enumerate(plan.steps) if any(layer.params for layer in step.layers))
    for k, step in reversed(list(enumerate(plan.steps))):
        if (id(step), "backward") in watch.times:
            work = backward_work(step.layers, size, need_dx=k > first)
            parts.append(Part(f"backward {_named(model, step)}", watch.median((id(step), "backward")), work))
    if any(layer.regularizers for layer in model.layers):
        parts.append(Part("penalties", watch.median("penalties"), penalty_work(model.layers)))
    assert model.optimizer is not None
    trained = sum(a.size for layer in model.layers for a in layer.params.values())
    parts.append(Part("Adam", watch.median("update"), update_work(trained, len(model.optimizer.slots))))
    return parts, watch.step_seconds()


def predicting_parts(name: str, count: int) -> tuple[list[Part], float]:
    """The parts of predicting a batch of 256, and the seconds of the whole batch."""
    x, _, _ = images(APPLICATIONS[name].dataset, count)
    model = applications.build(name, seed=0)
    model.predict(x[:PREDICT_BATCH], batch_size=PREDICT_BATCH, verbose=0)
    plan = model.plan()
    watch = watched(model, plan.steps)
    try:
        for _ in range(2):
            model.predict(x, batch_size=PREDICT_BATCH, verbose=0)
    finally:
        watch.stop()
    pixels = int(np.prod(x.shape[1:]))
    parts = [Part("gather the batch", watch.median("gather"), gather_work(PREDICT_BATCH, pixels))]
    for step in plan.steps:
        work = forward_work(step.layers, PREDICT_BATCH, training=False)
        parts.append(Part(f"forward {_named(model, step)}", watch.median((id(step), "forward")), work))
    return parts, watch.step_seconds()


def _named(model: Any, step: Any) -> str:
    """The layers that a step stands for, each with its place in the model."""
    return " + ".join(f"{model.layers.index(layer)} {type(layer).__name__}" for layer in step.layers)


# -- the table


def table(parts: list[Part], whole: float, peaks: Peaks) -> str:
    """One row a part, the whole step last. The limit of the whole is the sum of its parts' limits."""
    rows = [_row(part, whole, peaks) for part in parts]
    rest = whole - sum(part.seconds for part in parts)
    rows.append(["the rest", number(rest * 1e3), f"{rest / whole:.1%}", "", "", "", "", ""])
    limit = sum(peaks.seconds(part.work) for part in parts)
    total = sum((part.work for part in parts), Work())
    rows.append(
        ["whole step", number(whole * 1e3), "", *_amounts(total), number(limit * 1e3), f"{limit / whole:.0%}", ""]
    )
    return markdown_table(["", "ms", "share", "GFLOP", "MB", "limit, ms", "reached", ""], rows)


def _row(part: Part, whole: float, peaks: Peaks) -> list[str]:
    limit = peaks.seconds(part.work)
    reached = limit / part.seconds if part.seconds else 0.0
    mark = "<" if part.seconds > SHARE * whole and reached < ENOUGH else ""
    shown = [number(limit * 1e3), f"{reached:.0%}"] if limit else ["", ""]
    return [
        part.name, number(part.seconds * 1e3), f"{part.seconds / whole:.1%}", *_amounts(part.work), *shown, mark
    ]  # fmt: skip


def _amounts(work: Work) -> list[str]:
    return [number(work.flops / 1e9) if work.flops else "", number(work.bytes / 1e6) if work.bytes else ""]


def rates(peaks: Peaks) -> str:
    """What the limits above are of."""
    return (
        f"Reached here: {peaks.flops / 1e9:.0f} GFLOP/s in a large product, {peaks.bandwidth / 1e9:.0f} GB/s of memory."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    kept = str(OUT / "kernels.json")
    parser.add_argument("--json", type=json_to_write, default=kept, help="kept here; .md beside it")
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps")
    args = parser.parse_args()
    clear_settings()
    facts, threads = machine(), get_num_threads()
    said = [f"{describe(facts)}; {threads} threads"]
    print(said[0])
    record: dict[str, Any] = {"machine": facts, "threads": threads, "models": {}}
    for name in args.models:
        workload = WORKLOADS[name].quick() if args.quick else WORKLOADS[name]
        peaks = measure_peaks(threads)
        measured = {
            "training": training_parts(name, workload.steps),
            "predicting": predicting_parts(name, workload.images),
        }
        for phase, (parts, whole) in measured.items():
            said.append(f"\n### {name}, {phase}\n\n{table(parts, whole, peaks)}\n\n{rates(peaks)}")
            print(said[-1], flush=True)
        record["models"][name] = {"peaks": asdict(peaks)} | {
            phase: {"seconds": whole, "parts": [asdict(part) for part in parts]}
            for phase, (parts, whole) in measured.items()
        }
        write_json(args.json, record)
    args.json.with_suffix(".md").write_text("\n".join(said) + "\n")


if __name__ == "__main__":
    main()
