"""`minicnn exercises`: the exercise sheet's trainings, one after the other, and one report on them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from minicnn.applications import APPLICATIONS, build
from minicnn.cli.errors import INTERRUPTED, ArgumentError, say
from minicnn.cli.interruption import Stopped
from minicnn.cli.output import duration, percent, print_table
from minicnn.cli.record import write_text
from minicnn.cli.report import COLUMNS, REPORT_FILE, SAVED_MODEL, Results, report, table_rows
from minicnn.cli.running import MODEL_FILE, Folder, Result, Settings, differences, run
from minicnn.cli.sources import load_data
from minicnn.losses import CategoricalCrossentropy
from minicnn.optimizers import Adam
from minicnn.utils import clear_session

NAMES = {application.exercise: name for name, application in APPLICATIONS.items()} | {"5": "lenet5"}
"""The model of each exercise; the fifth saves the fourth's."""

QUICK_IMAGES = 2_000

SHOWN = (0, 1, 3, 5, 6, 7, 8)
"""The columns of the report's table that are printed: they fit a terminal."""


def exercises(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAMES", help="numbers, as 4 or 7.2, or models, as lenet5", show_default="all"),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="folder for the report and all trainings")] = Path(
        "exercises"
    ),
    seeds: Annotated[
        list[int] | None,
        typer.Option("--seed", min=0, help="one training each; give it several times", show_default="0"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", "-e", min=1, help="passes through the images", show_default="the sheet's")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help=f"1 epoch on {QUICK_IMAGES:,} images, to see that everything works")
    ] = False,
) -> None:
    """Train the exercise sheet's models and report.

    The report sets parameters and accuracies beside the sheet's. A tenth of the training images is held out by
    scikit-learn's train_test_split, with the seed as its random_state; pixels are raw, 0 to 255; optimizer, rate,
    batch size and epochs are the sheet's. What the folder holds already is not trained again, a training that was
    stopped goes on, and the report is on all that the folder holds. Folders and data of all trainings are looked at
    before the first one begins.

    \b
    Examples:
      minicnn exercises
      minicnn exercises 1 4 7.2 --seed 0 --seed 1 --seed 2 --output runs/sheet
      minicnn exercises --quick --output quick
    """
    wanted = [
        sheet_settings(name, seed, epochs, quick)
        for name in _chosen(names or [])
        for seed in dict.fromkeys(seeds or [0])
    ]
    prepare(wanted, output)
    for settings in wanted:
        try:
            train_one(settings, output)
        except Stopped as stopped:
            say(
                f"stopped in epoch {stopped.epoch} of {settings.epochs} of {settings.model}, seed {settings.seed}; "
                "give the same command again to go on."
            )
            raise typer.Exit(INTERRUPTED) from None
        write_report(output)  # after each, so that it is there if the next one fails
    results = write_report(output)
    rows = [[row[k] for k in SHOWN] for row in table_rows(results)]
    print_table([COLUMNS[k] for k in SHOWN], rows, right=COLUMNS[3:])
    print(f"\nWrote {output / REPORT_FILE}")


def _chosen(names: list[str]) -> list[str]:
    """The models asked for, in the order of the sheet. Raises ArgumentError for an unknown name."""
    for name in names:
        if name not in NAMES and name not in APPLICATIONS:
            known = ", ".join([*sorted(NAMES), *APPLICATIONS])
            raise ArgumentError(f"{name}: is no exercise and no model of the sheet; choose from {known}.")
    wanted = {NAMES.get(name, name) for name in names}
    return [name for name in APPLICATIONS if name in wanted or not wanted]


def sheet_settings(name: str, seed: int, epochs: int | None, quick: bool) -> Settings:
    """How the sheet trains this model, unless epochs or quick shorten it."""
    sheet = APPLICATIONS[name]
    return Settings(
        model=name,
        data=sheet.dataset,
        epochs=epochs or (1 if quick else sheet.epochs),
        batch_size=sheet.batch_size,
        optimizer="adam",
        learning_rate=sheet.learning_rate,
        seed=seed,
        validation_split=0.1,
        images=QUICK_IMAGES if quick else None,
    )


def prepare(wanted: list[Settings], output: Path) -> None:
    """All that could end the trainings, before the first of them, which may take hours: their folders and their data.

    Raises ArgumentError for a folder that holds something else or cannot be written, DatasetError for missing data.
    """
    left = [settings for settings in wanted if finished(settings, output) is None]
    there = [file for file in (REPORT_FILE, SAVED_MODEL) if (output / file).exists()]
    if there and not any(folder.state() for name in APPLICATIONS for folder in _folders(output, name)):
        raise ArgumentError(f"{output}: holds {there[0]}, not from `minicnn exercises`; choose another --output.")
    for name in dict.fromkeys(settings.data for settings in left):
        load_data(name)
    for settings in left:
        _folder(settings, output).make()


def finished(settings: Settings, output: Path) -> Result | None:
    """The result of this training, if the output folder holds it.

    Raises ArgumentError if the folder holds trainings of this model with other settings, the seed aside, or files in
    the place of this one's that are of no training.
    """
    own = _folder(settings, output)
    for folder in _folders(output, settings.model):
        state = folder.state()
        others = () if folder.path == own.path else ("seed",)
        if state is not None and (changed := differences(state[0], settings, except_for=others)):
            raise ArgumentError(f"{folder.path}: was trained with {', '.join(changed)}; choose another --output.")
    state = own.state()
    if state is None and own.present():
        raise ArgumentError(
            f"{own.path}: holds {', '.join(own.present())}, not from `minicnn exercises`; choose another --output."
        )
    return None if state is None else state[1]


def train_one(settings: Settings, output: Path) -> None:
    """Train, unless the output folder holds this training already; go on with it if it was stopped."""
    sheet = APPLICATIONS[settings.model]
    title = f"Exercise {sheet.exercise}, {settings.model}, seed {settings.seed}"
    if (done := finished(settings, output)) is not None:
        print(f"{title}: trained already, test accuracy {percent(done.test_accuracy)}\n", flush=True)
        return
    data = load_data(settings.data, settings.validation_split, settings.seed, settings.images)
    print(f"{title}: {data.counts} of {data.name}", flush=True)
    clear_session()  # the layers' names do not tell what was trained before
    model = build(settings.model, seed=settings.seed)
    model.compile(Adam(sheet.learning_rate), CategoricalCrossentropy(), metrics=["accuracy"])
    folder = _folder(settings, output)
    result = run(model, data, settings, folder)
    folder.drop_backup()
    print(f"Test accuracy: {percent(result.test_accuracy)} after {duration(result.seconds)}\n", flush=True)


def write_report(output: Path) -> Results:
    """Report on all trainings in the output folder that are over; exercise 5 saves exercise 4's model beside it."""
    results: dict[str, dict[int, Result]] = {}
    for name in APPLICATIONS:
        states = [folder.state() for folder in _folders(output, name)]
        over = {state[0].seed: state[1] for state in states if state is not None and state[1] is not None}
        if over:
            results[name] = dict(sorted(over.items()))
    if saved := results.get(NAMES["5"]):
        shutil.copyfile(output / NAMES["5"] / f"seed-{min(saved)}" / MODEL_FILE, output / SAVED_MODEL)
    write_text(output / REPORT_FILE, report(results))
    return results


def _folder(settings: Settings, output: Path) -> Folder:
    return Folder(output / settings.model / f"seed-{settings.seed}")


def _folders(output: Path, name: str) -> list[Folder]:
    return [Folder(path) for path in (output / name).glob("seed-*") if path.is_dir()]
