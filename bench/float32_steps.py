"""Draw two hundred float32 training steps in minicnn and in Keras over each other, for each model of the sheet.

    python bench/float32_steps.py                              # all eight models, half an hour
    python bench/float32_steps.py --models cnn_relu lenet5 --steps 50 --json some.json
    python bench/float32_steps.py --models --json some.json    # none: draw what the file has

Both start from the same weights and see the same batches of the data set, in its order; rate and batch size are the
sheet's, pixels raw, dropout off. The losses of each step go to the JSON file, which keeps models of earlier runs, and
the figure, beside it as PNG, shows all that the file has. This is to be looked at, not a test: rounding grows from step
to step until two float32 runs are two trainings of their own, as two runs of Keras are. tests/tensorflow holds the
first five steps, and thirty in float64, to numbers. Keras on TensorFlow must be there (the extra `test` brings it).
"""

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from common import OUT, RecordError, describe, images, json_to_write, machine, positive, read_json, write_json

import minicnn
from minicnn import applications
from minicnn.applications import APPLICATIONS
from minicnn.utils import to_categorical

LARGE = 0.01  # the relative difference that the panels name the first step of


def config_without_dropout(name: str) -> dict[str, Any]:
    """The model's configuration with every dropout's rate at 0."""
    config: dict[str, Any] = applications.build(name, seed=0).get_config()
    for layer in config["layers"]:
        if layer["class_name"] == "Dropout":
            layer["config"]["rate"] = 0.0
    return config


def losses(library: Any, name: str, x: Any, y: Any, steps: int) -> list[float]:
    """The loss of each step. library: minicnn or keras."""
    application = APPLICATIONS[name]
    model = library.Sequential.from_config(config_without_dropout(name))
    model.set_weights(applications.build(name, seed=0).get_weights())
    model.compile(library.optimizers.Adam(application.learning_rate), "categorical_crossentropy")
    size = application.batch_size
    parts = [slice(k * size, (k + 1) * size) for k in range(steps)]
    return [float(model.train_on_batch(x[part].astype("float32"), y[part])) for part in parts]


def both(name: str, steps: int) -> dict[str, Any]:
    """The record of one model."""
    application = APPLICATIONS[name]
    x, labels, source = images(application.dataset, steps * application.batch_size)
    y = to_categorical(labels, 10)
    keras = importlib.import_module("keras")
    return {
        "images": source,
        "batch": application.batch_size,
        "learning_rate": application.learning_rate,
        "minicnn": losses(minicnn, name, x, y, steps),
        "keras": losses(keras, name, x, y, steps),
    }


def first_large(record: dict[str, Any]) -> int | None:
    """The first step, counted from 1, whose losses differ by more than LARGE of Keras's; None if none does."""
    ours, theirs = np.array(record["minicnn"]), np.array(record["keras"])
    steps = np.flatnonzero(~(np.abs(ours - theirs) <= LARGE * np.abs(theirs)))  # NaN is different
    return int(steps[0]) + 1 if steps.size else None


def draw(models: dict[str, Any], file: Path) -> None:
    """A panel for each model of the sheet that was run."""
    from matplotlib.figure import Figure

    names = [name for name in APPLICATIONS if name in models]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4 * columns, 3.2 * rows + 0.5), layout="constrained")
    for axes, name in zip(figure.subplots(rows, columns, squeeze=False).flat, names, strict=False):
        record = models[name]
        steps = range(1, len(record["keras"]) + 1)
        axes.plot(steps, record["minicnn"], color="tab:orange", linewidth=3, alpha=0.6, label="minicnn")
        axes.plot(steps, record["keras"], color="black", linewidth=0.8, label="Keras")
        step = first_large(record)
        apart = f"{LARGE:.0%} apart first at step {step}" if step else f"never {LARGE:.0%} apart"
        axes.set_title(f"{name}\n{apart}", fontsize=10)
        if max(record["keras"]) > 10 * min(record["keras"]):
            axes.set_yscale("log")
        axes.grid(alpha=0.3)
    for axes in figure.axes[len(names) :]:
        axes.set_axis_off()
    figure.axes[0].legend(loc="upper right")
    figure.supxlabel("training step")
    figure.supylabel("loss of the batch")
    figure.suptitle("float32, the same weights and batches, dropout off")
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", choices=list(APPLICATIONS), default=list(APPLICATIONS), metavar="MODEL")
    parser.add_argument("--steps", type=positive, default=200)
    parser.add_argument("--json", type=json_to_write, default=str(OUT / "float32_steps.json"))
    args = parser.parse_args()
    try:
        run(args)
    except (RecordError, ModuleNotFoundError, OSError) as error:
        sys.exit(f"float32_steps: {error}")


def earlier_record(path: Path) -> dict[str, Any]:
    """What an earlier run left, or an empty record. Raises RecordError for anything else."""
    if not path.exists():
        return {"models": {}}
    record = read_json(path, "float32_steps.py")
    if not isinstance(record, dict) or not isinstance(record.get("models"), dict):
        raise RecordError(f"{path}: has no models; give what float32_steps.py --json wrote.")
    return record


def run(args: argparse.Namespace) -> None:
    """Run the models that are asked for and draw all that the record has. Raises RecordError if it has none."""
    record = earlier_record(args.json)
    if not args.models and not record["models"]:
        raise RecordError(f"{args.json}: holds no model to draw; run some first.")
    if args.models:
        os.environ["KERAS_BACKEND"] = "tensorflow"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        libraries = ("minicnn", "keras", "tensorflow")
        versions = {library: importlib.import_module(library).__version__ for library in libraries}
        record |= {"machine": machine(), "versions": versions}
        print(describe(record["machine"]))
    for name in args.models:
        record["models"][name] = both(name, args.steps)
        step = first_large(record["models"][name])
        print(f"{name}: {args.steps} steps; {LARGE:.0%} apart first at step {step or 'none'}", flush=True)
        write_json(args.json, record)
    draw(record["models"], args.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
