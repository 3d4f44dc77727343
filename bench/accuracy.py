"""Train a model of the exercise sheet as the sheet does, for several seeds, and report the test accuracies.

    python bench/accuracy.py lenet5 --seeds 0 1 2 --json lenet5.json
    python bench/accuracy.py lenet5 --engine keras
    python bench/accuracy.py cnn_cifar10 --seeds 0 --backup runs     # killed and started again, it goes on

A tenth of the training images is held out by scikit-learn's train_test_split(random_state=seed); pixels are raw, 0 to
255; rate, batch size and epochs are the sheet's (minicnn.applications.APPLICATIONS). `--engine keras` trains the same
layers by Keras on TensorFlow, which the environment must have (the extra `test` brings it), from weights that it draws.
Seconds are those of this process: of a training that went on from a backup, of its last part.
`bench/exercises_table.py` sets the records side by side.
"""

import argparse
import csv
import importlib
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from common import json_to_write, positive, write_json
from sklearn.model_selection import train_test_split

import minicnn
from minicnn import applications
from minicnn.datasets import DATASETS
from minicnn.errors import DatasetError
from minicnn.utils import to_categorical


def compiled_model(name: str, seed: int, engine: str) -> Any:
    """The model of the sheet, untrained, in minicnn or in Keras."""
    model: Any = applications.build(name, seed=seed)
    library: Any = minicnn
    if engine == "keras":
        os.environ["KERAS_BACKEND"] = "tensorflow"
        library = importlib.import_module("keras")
        library.utils.set_random_seed(seed)
        model = library.Sequential.from_config(model.get_config())
    rate = applications.APPLICATIONS[name].learning_rate
    model.compile(library.optimizers.Adam(rate), library.losses.CategoricalCrossentropy(), metrics=["accuracy"])
    return model


def resuming(engine: str, log: Path) -> list[Any]:
    """Callbacks that note every epoch in `log` and go on from a backup beside it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    callbacks = importlib.import_module(f"{engine}.callbacks")
    return [
        callbacks.CSVLogger(str(log), append=True),
        callbacks.BackupAndRestore(str(log.with_suffix("")), delete_checkpoint=False),
    ]


def logged(log: Path) -> dict[str, list[float]]:
    """The history that CSVLogger wrote; of an epoch that was run twice, the second time."""
    with log.open(newline="") as file:
        epochs = {int(row.pop("epoch")): row for row in csv.DictReader(file)}
    names = epochs[0].keys()
    return {name: [float(epochs[epoch][name]) for epoch in sorted(epochs)] for name in names}


def train(name: str, seed: int, epochs: int | None, engine: str, backup: Path | None = None) -> dict[str, Any]:
    """One training; the record has the test accuracy and every epoch's history. backup: a folder to go on from."""
    application = applications.APPLICATIONS[name]
    (x, y), (x_test, y_test) = DATASETS[application.dataset].load_data()
    if x.ndim == 3:
        x, x_test = x[..., None], x_test[..., None]
    x_train, x_dev, y_train, y_dev = train_test_split(x, y, test_size=0.1, random_state=seed)
    model = compiled_model(name, seed, engine)
    log = None if backup is None else backup / f"{engine}_{name}_{seed}.csv"
    started = time.perf_counter()
    history = model.fit(
        x_train,
        to_categorical(y_train, 10),
        validation_data=(x_dev, to_categorical(y_dev, 10)),
        batch_size=application.batch_size,
        epochs=application.epochs if epochs is None else epochs,
        verbose=2,
        callbacks=[] if log is None else resuming(engine, log),
    ).history
    if log is not None:
        history = logged(log)
    seconds = time.perf_counter() - started
    _, accuracy = model.evaluate(x_test, to_categorical(y_test, 10), batch_size=256, verbose=0)
    return {"engine": engine, "model": name, "seed": seed, "test": accuracy, "seconds": seconds, "history": history}


def seed_of(text: str) -> int:
    """An argument that scikit-learn's, Keras's and minicnn's generators all take."""
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"must be from 0 to 2**32 - 1, got {text}")
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=list(applications.APPLICATIONS))
    parser.add_argument("--seeds", type=seed_of, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=positive, help="instead of the sheet's")
    parser.add_argument("--engine", choices=["minicnn", "keras"], default="minicnn")
    parser.add_argument("--backup", type=Path, help="a folder to note every epoch in and to go on from")
    parser.add_argument("--json", type=json_to_write, help="write the runs here")
    args = parser.parse_args()
    try:
        run(args)
    except (DatasetError, ModuleNotFoundError, OSError) as error:
        sys.exit(f"accuracy: {error}")


def run(args: argparse.Namespace) -> None:
    """Train with each seed and keep what there is after each. Raises DatasetError where the data cannot be had."""
    runs = []
    for seed in args.seeds:
        runs.append(train(args.model, seed, args.epochs, args.engine, args.backup))
        print(
            f"{args.model}, seed {seed}: test accuracy {runs[-1]['test']:.2%} in {runs[-1]['seconds']:.0f} s",
            flush=True,
        )
        if args.json:
            write_json(args.json, runs)
    print(f"median of {len(runs)} seeds: {statistics.median(run['test'] for run in runs):.2%}")


if __name__ == "__main__":
    main()
