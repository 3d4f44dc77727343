"""From the options of `minicnn train`, and what its folder holds already, to the settings and the model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from minicnn import optimizers
from minicnn.applications import APPLICATIONS, build
from minicnn.cli.errors import ArgumentError, say
from minicnn.cli.running import Folder, Settings, data_of, differences
from minicnn.cli.sources import loss_for
from minicnn.models import Sequential


def plan(opened: Sequential | None, folder: Folder, given: dict[str, Any], resume: bool, overwrite: bool) -> Settings:
    """The settings of this training: those given, else those of the training in the folder, else the defaults.

    opened: the model from the file, None for a name. Raises ArgumentError if the folder holds a training and it is not
    said what should become of it, or if the options given are not those with which it began.
    """
    state = None if overwrite else folder.state()
    if state is None:
        if folder.present() and not overwrite:
            raise ArgumentError(
                f"{folder.path}: holds {', '.join(folder.present())}, not from `minicnn train`; choose --overwrite or "
                "another --output."
            )
        if resume:
            say(f"{folder.path} holds no training; starting from the beginning.")
        return Settings(**(_defaults_for_file(opened, given) if opened else _defaults_for_name(given)) | given)
    if not resume:
        raise ArgumentError(f"{folder.path}: holds a training; choose --resume, --overwrite or another --output.")
    begun, result = state
    if not _same_model(begun.model, given["model"]):
        raise ArgumentError(
            f"{folder.path}: was begun with {begun.model}, not {given['model']}; give that model, or another --output."
        )
    settings = dataclasses.replace(begun, **given | {"model": begun.model})
    if changed := differences(begun, settings, except_for=("epochs",)):
        raise ArgumentError(f"{folder.path}: was begun with {', '.join(changed)}; leave these options out to go on.")
    if result is not None and settings.epochs < result.epochs:
        raise ArgumentError(
            f"{folder.path}: has {result.epochs} epochs already; --epochs {settings.epochs} is fewer; give more."
        )
    return settings


def _same_model(one: str, other: str) -> bool:
    """Whether two words name one model: a name, or a file, however it is written."""
    if one in APPLICATIONS or other in APPLICATIONS:
        return one == other
    return Path(one).resolve() == Path(other).resolve()


def _defaults_for_name(given: dict[str, Any]) -> dict[str, Any]:
    """As the sheet trains it. Its rate is one for Adam; another optimizer has its own."""
    sheet = APPLICATIONS[given["model"]]
    return {
        "data": sheet.dataset,
        "epochs": sheet.epochs,
        "batch_size": sheet.batch_size,
        "optimizer": "adam",
        "learning_rate": sheet.learning_rate if given.get("optimizer", "adam") == "adam" else None,
        "seed": 0,
        "validation_split": 0.1,
    }


def _defaults_for_file(opened: Sequential, given: dict[str, Any]) -> dict[str, Any]:
    """With the optimizer that the file brings, in its state; Keras's batch size."""
    return {
        "data": given.get("data") or data_of(opened, given["model"]),
        "epochs": 10,
        "batch_size": 32,
        "optimizer": None if opened.compiled else "adam",
        "learning_rate": None,
        "seed": 0,
        "validation_split": 0.1,
    }


def ready(opened: Sequential | None, settings: Settings) -> Sequential:
    """The model with its seed, compiled with the optimizer of the settings or the one that its file brings."""
    if opened is None:
        model = build(settings.model, seed=settings.seed)
    else:
        model = opened
        model.seed = settings.seed
    rate = {} if settings.learning_rate is None else {"learning_rate": settings.learning_rate}
    if settings.optimizer is not None:
        loss = model.loss if model.loss is not None else loss_for(model)
        model.compile(optimizers.get({"class_name": settings.optimizer, "config": rate}), loss, metrics=["accuracy"])
    elif settings.learning_rate is not None:
        assert model.optimizer is not None
        if model.optimizer.follows_schedule:
            raise ArgumentError(
                f"--rate: {settings.model} brings an optimizer whose rate follows a schedule; give --optimizer too, or "
                "leave --rate out."
            )
        model.optimizer.learning_rate = settings.learning_rate
    return model
