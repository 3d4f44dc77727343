"""The report on the exercises: a table beside the sheet's figures, and the learning curves."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Mapping

import numpy as np

import minicnn
from minicnn.applications import APPLICATIONS
from minicnn.cli.output import duration, percent
from minicnn.cli.running import FIGURE_FILE, Result

REPORT_FILE, SAVED_MODEL = "report.md", "LeNet-5.h5"

SHEET_ACCURACY = {
    "cnn_relu": 0.9876,
    "cnn_tanh": 0.9880,
    "cnn_dropout": 0.9897,
    "lenet5": 0.9893,
    "alexnet_mnist": 0.9874,
    "cnn_cifar10": 0.8237,
    "lenet5_cifar10": 0.7078,
    "alexnet_cifar10": 0.6076,
}
"""Test accuracies that the sheet reports, from one run each."""

COLUMNS = (
    "exercise",
    "model",
    "data",
    "parameters",
    "sheet's parameters",
    "test accuracy",
    "sheet's accuracy",
    "epochs",
    "time",
)

Results = Mapping[str, Mapping[int, Result]]
"""Of each model, the result with each seed."""


def table_rows(results: Results) -> list[tuple[str, ...]]:
    """A row an exercise, under COLUMNS. Accuracy and time are medians over the seeds."""
    rows: list[tuple[str, ...]] = []
    for name, by_seed in results.items():
        sheet, runs = APPLICATIONS[name], list(by_seed.values())
        rows.append(
            (
                sheet.exercise,
                name,
                sheet.dataset,
                f"{runs[0].parameters:,}",
                f"{sheet.parameters:,}",
                percent(statistics.median(run.test_accuracy for run in runs)),
                percent(SHEET_ACCURACY[name]),
                str(runs[0].epochs),
                duration(statistics.median(run.seconds for run in runs)),
            )
        )
    return rows


def report(results: Results) -> str:
    """The whole report in Markdown. Figures are where `exercises` puts them: MODEL/seed-SEED/."""
    seeds = sorted({seed for by_seed in results.values() for seed in by_seed})
    lines = [
        "# The exercise sheet, trained",
        "",
        f"By `minicnn exercises`, minicnn {minicnn.__version__}, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}.",
        "Accuracy on the test images and time of training are medians over the seeds; the sheet's own figures are of "
        "one run with another Keras and another split.",
        "",
        *_table(COLUMNS, table_rows(results)),
    ]
    if "lenet5" in results:
        lines += ["", f"Exercise 5: exercise 4's model, seed {next(iter(results['lenet5']))}, is `{SAVED_MODEL}`."]
    for name, by_seed in results.items():
        lines += ["", f"## Exercise {APPLICATIONS[name].exercise}: {name}", ""]
        lines += _table(
            ("seed", "training accuracy", "validation accuracy", "test accuracy", "test loss", "time"),
            [_seed_row(seed, run) for seed, run in by_seed.items()],
        )
        for seed in by_seed:
            lines += [
                "",
                f"![{name}, seed {seed}: loss and accuracy, epoch by epoch]({name}/seed-{seed}/{FIGURE_FILE})",
            ]
    return "\n".join(lines) + "\n"


def _seed_row(seed: int, run: Result) -> tuple[str, ...]:
    """Of training and validation, the last epoch's."""
    last = ["" if value is None else percent(value) for value in (run.accuracy, run.val_accuracy)]
    return str(seed), *last, percent(run.test_accuracy), f"{run.test_loss:.4f}", duration(run.seconds)


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [_row(columns), "|" + "---|" * len(columns), *map(_row, rows)]


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
