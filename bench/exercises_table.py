"""The exercises' full trainings, minicnn's beside Keras's and the sheet's, as two tables in Markdown.

    python bench/exercises_table.py
    python bench/exercises_table.py my_runs/*.json > tables.md
    python bench/exercises_table.py --readme     # the table of README.md alone

Reads the records that `bench/accuracy.py --json` wrote, of any number of seeds; what no record holds is shown as not
run. The first table has the test accuracies and whether minicnn's are as good as Keras's, within the bound below. The
second has what the sheet remarks on the curves, in numbers: how far the accuracy on the training set ends above that
on the validation set.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import RESULTS, RecordError, markdown_table, read_json

from minicnn.applications import APPLICATIONS
from minicnn.cli.report import SHEET_ACCURACY

Run = dict[str, Any]
Runs = Mapping[tuple[str, str], Mapping[int, Run]]
"""By engine and model, the run of each seed."""

DATA = {"mnist": "MNIST", "cifar10": "CIFAR-10, JPEG copy"}
ENGINES = ("keras", "minicnn")
NOT_RUN = "not run"


@dataclass(frozen=True)
class Bound:
    """minicnn's median over that many seeds may lie so many points of accuracy below Keras's."""

    points: float
    seeds: int


BOUNDS = {
    **dict.fromkeys(("cnn_relu", "cnn_tanh", "cnn_dropout", "lenet5"), Bound(0.3, 3)),
    "alexnet_mnist": Bound(0.5, 1),
    "cnn_cifar10": Bound(2.0, 1),
    "lenet5_cifar10": Bound(1.5, 3),
    "alexnet_cifar10": Bound(2.0, 1),
}

SHEET_GAP = {
    "cnn_relu": 99.7 - 98.4,
    "cnn_tanh": 100.0 - 98.6,
    "cnn_dropout": 98.7 - 98.5,
    "lenet5": 99.8 - 98.7,
    "alexnet_mnist": 99.8 - 97.9,
    "cnn_cifar10": 86.4 - 80.1,
    "lenet5_cifar10": 75.2 - 70.5,
    "alexnet_cifar10": 70.1 - 60.7,
}
"""Training minus validation accuracy, in points, as the sheet reads them from its curves."""


# -- records


def read_runs(paths: Iterable[Path]) -> Runs:
    """The runs in all files. Raises RecordError for what is no full training, and for two of one engine and seed."""
    runs: dict[tuple[str, str], dict[int, Run]] = {}
    places: dict[tuple[str, str, int], Path] = {}
    for path in paths:
        for run in _records(path):
            check_run(run, path)
            engine, model, seed = key = run["engine"], run["model"], run["seed"]
            if key in places:
                raise RecordError(f"{path}: has {engine}'s {model} with seed {seed}, as {places[key]}; keep one.")
            places[key] = path
            runs.setdefault((engine, model), {})[seed] = run
    return {key: dict(sorted(by_seed.items())) for key, by_seed in runs.items()}


def _records(path: Path) -> list[Any]:
    records = read_json(path, "accuracy.py")
    if not isinstance(records, list):
        raise RecordError(f"{path}: holds {type(records).__name__}, not a list of runs; give what accuracy.py wrote.")
    return records


def check_run(run: Any, path: Path) -> None:
    """Raises RecordError unless this is a training of a model of the sheet, with the sheet's epochs."""
    try:
        engine, model, _, _ = run["engine"], run["model"], int(run["seed"]), float(run["test"])
        lengths = {len(run["history"][name]) for name in ("accuracy", "val_accuracy")}
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"{path}: holds a run without {error}; give what accuracy.py --json wrote.") from error
    if engine not in ENGINES or model not in APPLICATIONS:
        raise RecordError(
            f"{path}: is of {engine}'s {model}; engines are {', '.join(ENGINES)}, models {', '.join(APPLICATIONS)}."
        )
    if lengths != {APPLICATIONS[model].epochs}:
        raise RecordError(
            f"{path}: {engine}'s {model} has {max(lengths)} epochs, where the sheet trains "
            f"{APPLICATIONS[model].epochs}; leave it out."
        )


# -- figures of a run, in points


def accuracy(run: Run) -> float:
    """Test accuracy."""
    return 100 * run["test"]


def gap(run: Run) -> float:
    """The last epoch's training accuracy minus its validation accuracy."""
    return 100 * (run["history"]["accuracy"][-1] - run["history"]["val_accuracy"][-1])


def best_training(run: Run) -> float:
    """The highest training accuracy of any epoch."""
    return 100 * max(run["history"]["accuracy"])


def median(runs: Runs, engine: str, model: str, figure: Callable[[Run], float]) -> float | None:
    """Over the seeds; None if there is no run."""
    by_seed = runs.get((engine, model), {})
    return statistics.median(figure(run) for run in by_seed.values()) if by_seed else None


def difference(runs: Runs, model: str) -> float | None:
    """minicnn's median test accuracy minus Keras's, in points; None while either has no run."""
    theirs, ours = (median(runs, engine, model, accuracy) for engine in ENGINES)
    return None if ours is None or theirs is None else round(ours - theirs, 3)  # exact: an image is 0.01 points


def verdict(runs: Runs, model: str) -> str:
    """Whether minicnn is within the bound: yes or no, so far while seeds are missing, not run without any."""
    found = difference(runs, model)
    if found is None:
        return NOT_RUN
    bound = BOUNDS[model]
    short = any(len(runs[engine, model]) < bound.seeds for engine in ENGINES)
    return ("yes" if found >= -bound.points else "no") + (" so far" if short else "")


# -- tables

ACCURACY_COLUMNS = ("exercise", "model", "data", "parameters", "epochs", "sheet", "Keras", "minicnn")


def values(runs: Runs, engine: str, model: str, figure: Callable[[Run], float], pattern: str = ".2f") -> str:
    """The median over the seeds and, in parentheses, each seed's, in their order."""
    each = [format(figure(run), pattern) for run in runs.get((engine, model), {}).values()]
    middle = median(runs, engine, model, figure)
    if middle is None:
        return NOT_RUN
    return f"{middle:{pattern}}" + (f" ({', '.join(each)})" if len(each) > 1 else "")


def accuracy_table(runs: Runs) -> str:
    """A row an exercise: what was trained, test accuracies, and whether the bound holds."""
    rows = []
    for model in APPLICATIONS:
        found, points = difference(runs, model), BOUNDS[model].points
        verdict_cells = ["" if found is None else f"{found:+.2f}", f"-{points:g}: {verdict(runs, model)}"]
        rows.append(accuracy_row(runs, model) + verdict_cells)
    header = [*ACCURACY_COLUMNS, "difference", "within the bound"]
    return markdown_table(header, rows, words=("model", "data", "within the bound"))


def readme_table(runs: Runs) -> str:
    """The table of README.md: the same without the verdicts, and the models' names as code."""
    rows = []
    for model in APPLICATIONS:
        exercise, name, *rest = accuracy_row(runs, model)
        rows.append([exercise, f"`{name}`", *rest])
    return markdown_table(list(ACCURACY_COLUMNS), rows, words=("model", "data"))


def accuracy_row(runs: Runs, model: str) -> list[str]:
    """What was trained and the test accuracies, under ACCURACY_COLUMNS."""
    sheet = APPLICATIONS[model]
    return [
        *(sheet.exercise, model, DATA[sheet.dataset], f"{sheet.parameters:,}", str(sheet.epochs)),
        f"{100 * SHEET_ACCURACY[model]:.2f}",
        *(values(runs, engine, model, accuracy) for engine in ENGINES),
    ]


def curves_table(runs: Runs) -> str:
    """A row an exercise: how far training ends above validation, and what the sheet's remark makes of it."""
    rows = []
    for model, sheet in APPLICATIONS.items():
        cells = [values(runs, engine, model, gap, "+.2f") for engine in ENGINES]
        rows.append(
            [f"{sheet.exercise}: training minus validation", f"{SHEET_GAP[model]:+.1f}", *cells, remark(runs, model)]
        )
        if model == "cnn_tanh":
            cells = [values(runs, engine, model, best_training) for engine in ENGINES]
            rows.append([f"{sheet.exercise}: best training accuracy", "100.0", *cells, learnt_by_heart(runs)])
    return markdown_table(["exercise", "sheet", "Keras", "minicnn", "remark"], rows, words=("remark",))


def remark(runs: Runs, model: str) -> str:
    """The sheet on overfitting: exercises 1, 2 and 4 end at least 1 point apart, 3 less than 0.5. Who does?"""
    if model in ("cnn_relu", "cnn_tanh", "lenet5"):
        return _who(runs, model, gap, "at least 1", lambda points: points >= 1)
    if model == "cnn_dropout":
        return _who(runs, model, gap, "less than 0.5", lambda points: points < 0.5)
    return ""


def learnt_by_heart(runs: Runs) -> str:
    """The sheet on exercise 2: it learns its training images by heart."""
    return _who(runs, "cnn_tanh", best_training, "at least 99.9", lambda points: points >= 99.9)


def _who(runs: Runs, model: str, figure: Callable[[Run], float], words: str, holds: Callable[[float], bool]) -> str:
    """How many of each engine's runs are as remarked."""
    counts = []
    for engine, name in zip(ENGINES, ("Keras", "minicnn"), strict=True):
        each = [holds(round(figure(run), 3)) for run in runs.get((engine, model), {}).values()]
        counts.append(f"{name} {sum(each)} of {len(each)}" if each else f"{name} {NOT_RUN}")
    return f"{words}: {', '.join(counts)}"


def missing(runs: Runs) -> list[str]:
    """The trainings that the bounds ask for and no record holds, as "minicnn cnn_tanh: seeds 1, 2"."""
    lines = []
    for engine in ENGINES:
        for model, bound in BOUNDS.items():
            absent = [str(seed) for seed in range(bound.seeds) if seed not in runs.get((engine, model), {})]
            if absent:
                lines.append(f"{engine} {model}: seed{'s' * (len(absent) > 1)} {', '.join(absent)}")
    return lines


def tables(runs: Runs) -> str:
    """Both tables, with what is missing."""
    parts = [
        "Test accuracy in %: the median over the seeds and, in parentheses, each seed's in their order. The difference "
        "is in points.",
        accuracy_table(runs),
        "Training minus validation accuracy after the last epoch, in points, and the best training accuracy in %: "
        "median and seeds as above.",
        curves_table(runs),
    ]
    if absent := missing(runs):
        parts.append(f"Not run: {'; '.join(absent)}.")
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", help="records of accuracy.py; by default bench/results/accuracy")
    parser.add_argument("--readme", action="store_true", help="print the table of README.md and nothing else")
    args = parser.parse_args()
    try:
        runs = read_runs(args.files or sorted((RESULTS / "accuracy").glob("*.json")))
        print(readme_table(runs) if args.readme else tables(runs))
    except RecordError as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()
