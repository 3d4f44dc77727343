"""The exercise sheet in the shared folder: its code as one script, the tables that it prints, and how it trains.

The sheet is text of a PDF: code stands between lines of three backquotes, broken at the pages' ends, among the
exercises' words and tables.
"""

import functools
import re
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from minicnn.applications import APPLICATIONS
from minicnn.callbacks import History
from minicnn.datasets import cifar10, mnist
from minicnn.losses import CategoricalCrossentropy
from minicnn.models import Sequential
from minicnn.optimizers import Adam
from tests.shared import shared_folder

MODELS = ("model_1", "model_2", "model_3", "model_4", "model_5", "model_6_1", "model_6_2", "model_6_3")
PARAMETERS = (34_826, 34_826, 34_826, 61_706, 21_601_130, 5_097_866, 83_214, 21_627_658)

IMPORTS = (
    (r"from (?:tensorflow\.)?keras\b", "from minicnn"),
    (r"(from .* import .*),$", r"\1"),  # the sheet has a comma at the end of one import line, which no Python takes
    (r"import (?:pandas as pd|tensorflow as tf|seaborn as sn)$", ""),
    (r"sn\.set\(\).*$", ""),
)
"""What is changed of the sheet's code, line by line, everywhere."""

SLIP = (("model_6_1.", "model_6_2."), ("history_6_1 =", "history_6_2 ="))
"""And in exercise 7.2, which by a slip of the pen compiles and trains the model of 7.1."""


def sheet_text() -> str | None:
    """The sheet, or None where there is no shared folder."""
    shared = shared_folder()
    files: list[Path] = sorted((shared / "seed").glob("*.txt")) if shared is not None else []
    return files[0].read_text(encoding="utf-8") if files else None


def code_blocks(text: str) -> list[str]:
    """What stands between backquotes, without the outputs of summary() that do so as well."""
    blocks = re.split(r"^```$", text, flags=re.MULTILINE)[1::2]
    return [block for block in blocks if not re.match(r'\s*(Model: "|Layer \(type\)|Total params)', block)]


def script(text: str) -> str:
    """The whole sheet as a script for minicnn: the changes above and nothing else."""
    before, exercise, after = re.split(r"^(Bài 7\.2: .*?)(?=^Bài 7\.3: )", text, flags=re.MULTILINE | re.DOTALL)
    for slip, meant in SLIP:
        exercise = exercise.replace(slip, meant)
    lines = "".join(code_blocks(before + exercise + after)).splitlines()
    for pattern, replacement in IMPORTS:
        lines = [re.sub(f"^{pattern}", replacement, line) for line in lines]
    return "\n".join(lines) + "\n"


def rows(text: str) -> list[tuple[str, str, str]]:
    """Name, output shape and number of parameters in every row of the summaries in a text."""
    return re.findall(r"^([a-z0-9_]+) \(.*?(\(None(?:, \d+)+\))\s+(\d+)\s*$", text, re.MULTILINE)


def totals(text: str) -> list[tuple[int, int, int]]:
    """Total, trainable and non-trainable parameters of every summary in a text."""
    kinds = ("Total", "Trainable", "Non-trainable")
    found = [re.findall(rf"^ *{kind} params: ([\d,]+)", text, re.MULTILINE) for kind in kinds]
    return [tuple(int(n.replace(",", "")) for n in numbers) for numbers in zip(*found, strict=True)]


# ---------------------------------------------------------------- how models are trained


@dataclass(frozen=True)
class Training:
    """All that decides how a model is trained, but for names and seeds.

    layers: class and configuration of each, the input first. loss: the same, whether labels are one-hot or class
    numbers. held_out: the part of the images that is for validation. pixels: their type and the highest.
    """

    layers: list[tuple[str, dict[str, Any]]]
    optimizer: dict[str, Any]
    loss: tuple[str, bool]
    batch_size: int | None
    epochs: int
    held_out: float
    pixels: tuple[str, int]


def training(model: Sequential, batch_size: int | None, epochs: int, held_out: float, pixels: tuple[str, int]):
    """Of a compiled model, and what fit is given."""
    layers = [
        (layer["class_name"], {key: value for key, value in layer["config"].items() if key != "name"})
        for layer in model.get_config()["layers"]
    ]
    loss = type(model.loss).__name__.removeprefix("Sparse"), model.loss.get_config()["from_logits"]
    return Training(layers, model.optimizer.get_config(), loss, batch_size, epochs, held_out, pixels)


@functools.cache
def application(name: str) -> Training:
    """How minicnn.applications has it: a tenth is held out, and pixels are raw."""
    entry = APPLICATIONS[name]
    model = entry.make()
    model.compile(Adam(entry.learning_rate), CategoricalCrossentropy())
    return training(model, entry.batch_size, entry.epochs, 0.1, ("uint8", 255))


def trainings(script: Path, folder: Path, patch: pytest.MonkeyPatch) -> list[Training]:
    """How a script trains its models, in their order: it runs in this folder from top to bottom, without options.

    But no model is trained: images are a hundred random ones, histories are made up, all predictions are class 0, and
    figures are neither shown nor saved.
    """
    found = []

    def load_data(image: tuple[int, ...], label: tuple[int, ...]):
        rng = np.random.default_rng(0)
        pair = rng.integers(0, 256, (100, *image), np.uint8), rng.integers(0, 10, (100, *label), np.uint8)
        return lambda: (pair, pair)

    def fit(model, x, y, batch_size=None, epochs=1, validation_data=None):
        held_out = len(validation_data[0]) / (len(x) + len(validation_data[0]))
        found.append(training(model, batch_size, epochs, held_out, (x.dtype.name, int(x.max()))))
        history = History()
        history.history = {name: [0.5] for name in ("accuracy", "loss", "val_accuracy", "val_loss")}
        history.epoch = [0]
        return history

    patch.setattr(mnist, "load_data", load_data((28, 28), ()))
    patch.setattr(cifar10, "load_data", load_data((32, 32, 3), (1,)))
    patch.setattr(Sequential, "fit", fit)
    patch.setattr(Sequential, "predict", lambda model, x, **options: np.eye(10)[np.zeros(len(x), int)])
    patch.setattr(Sequential, "evaluate", lambda model, x, y, **options: (0.0, 0.0))
    patch.setattr(Figure, "savefig", lambda *arguments, **options: None)
    patch.setattr(pyplot, "show", lambda: pyplot.close("all"))
    patch.setattr(sys, "argv", [str(script)])
    patch.syspath_prepend(script.parent)
    patch.delitem(sys.modules, "exercise", raising=False)  # which the examples import, and which looks at argv
    patch.chdir(folder)
    pyplot.switch_backend("agg")
    runpy.run_path(str(script), run_name="__main__")
    pyplot.close("all")
    return found
