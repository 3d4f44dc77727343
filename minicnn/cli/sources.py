"""What the commands work on: models by name or file, and data sets by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from minicnn.applications import APPLICATIONS, CIFAR10_SHAPE, MNIST_SHAPE, build
from minicnn.cli.errors import ArgumentError, no_such_file
from minicnn.datasets import DATASETS
from minicnn.datasets.files import Split
from minicnn.errors import MinicnnError
from minicnn.layers import Dropout, Flatten, GlobalAveragePooling2D, Reshape
from minicnn.losses import CategoricalCrossentropy, Loss, SparseCategoricalCrossentropy
from minicnn.models import Sequential, load_model
from minicnn.steps.plan import left_out_activation
from minicnn.typing import Array
from minicnn.utils import to_categorical

DataName: TypeAlias = Literal["mnist", "fashion_mnist", "cifar10", "digits"]
"""The data sets, as an option takes them."""

PASSING = (Dropout, Flatten, GlobalAveragePooling2D, Reshape)
"""Layers that pass probabilities on as such."""

BATCH = 256
"""Images at a time where nothing is trained."""


# ---------------------------------------------------------------- models


def find_model(text: str, compile: bool = True, **kwargs: Any) -> Sequential:
    """The model of minicnn.applications with that name, else the one in that file. kwargs: those of Sequential.

    Raises ArgumentError if it is neither, or if the file cannot be read as a model.
    """
    if text in APPLICATIONS:
        return build(text, **kwargs)
    if not Path(text).exists():
        raise ArgumentError(
            f"{text}: no such file, and no model of that name; choose one of {', '.join(APPLICATIONS)}."
        )
    return open_model(Path(text), compile, **kwargs)


def open_model(path: Path, compile: bool = True, **kwargs: Any) -> Sequential:
    """The model in a file, with weights. Raises ArgumentError if there is none that can be read."""
    if not path.exists():
        raise no_such_file(path)
    try:
        return load_model(path, compile=compile, **kwargs)
    except MinicnnError as error:
        raise ArgumentError(str(error)) from error


def need_built(model: Sequential, path: Path | str) -> None:
    """Raises ArgumentError for a model from a file that does not say its input shape."""
    if not model.built:
        raise ArgumentError(f"{path}: {model} has no weights, since the file says no input shape; train it first.")


# ---------------------------------------------------------------- data


@dataclass(frozen=True)
class Data:
    """Images (N, H, W, C) uint8, 0 to 255, with class numbers (N,).

    training, validation (held out from it), test: what they serve for. class_names: in the order of the numbers.
    """

    name: str
    training: Split
    validation: Split | None
    test: Split
    class_names: Sequence[str]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.test[0].shape[1:]

    @property
    def counts(self) -> str:
        """How many there are of each kind, in words."""
        validation = f", {len(self.validation[0]):,} validation" if self.validation else ""
        return f"{len(self.training[0]):,} training{validation} and {len(self.test[0]):,} test images"


def load_data(name: str, validation_split: float = 0.0, seed: int = 0, images: int | None = None) -> Data:
    """The data set of that name.

    validation_split: the part of the training images that is held out, chosen by scikit-learn's train_test_split from
    the seed. images: only the first so many of the training images, and half as many for testing.
    Raises DatasetError if it is not on this machine and cannot be downloaded.
    """
    module = DATASETS[name]
    training, test = module.load_data()
    training = _images_and_classes(training, images)
    test = _images_and_classes(test, None if images is None else images // 2)
    validation = None
    if validation_split:
        training, validation = _hold_out(training, validation_split, seed)
    return Data(name, training, validation, test, module.CLASS_NAMES)


def _images_and_classes(split: Split, limit: int | None) -> Split:
    x, y = split[0][:limit], split[1][:limit].reshape(-1)
    return (x[..., None] if x.ndim == 3 else x), y  # grey images have one channel


def _hold_out(training: Split, part: float, seed: int) -> tuple[Split, Split]:
    from sklearn.model_selection import train_test_split

    seed %= 2**32  # the largest that scikit-learn takes, and one
    x, x_held_out, y, y_held_out = train_test_split(*training, test_size=part, random_state=seed)
    return (x, y), (x_held_out, y_held_out)


def suggested_data(model: Sequential) -> str | None:
    """The data set whose images fit a model's input; None where that tells nothing."""
    shape = model.input_shape[1:] if model.built else None
    by_shape: dict[Any, str] = {MNIST_SHAPE: "mnist", CIFAR10_SHAPE: "cifar10"}
    return by_shape.get(shape)


def default_data(model: Sequential, text: str) -> str:
    """The data set whose images fit a model's input. Raises ArgumentError where that tells nothing."""
    suggested = suggested_data(model)
    if suggested is None:
        takes = f"takes samples {model.input_shape}" if model.built else "says no input shape"
        raise ArgumentError(f"{text}: {takes}, which suggests no data set; name one with --data.")
    return suggested


def need_fit(model: Sequential, data: Data, text: str) -> None:
    """Build the model for the images if need be. Raises ArgumentError unless it takes them and knows their classes."""
    sample = data.sample_shape
    try:
        model.check_input(sample, f"{text}: {data.name}")
        outputs = model.output_shape_for(sample)
    except MinicnnError as error:
        raise ArgumentError(str(error)) from error
    if outputs != (len(data.class_names),):
        raise ArgumentError(
            f"{text}: {model} has outputs {(None, *outputs)}, but {data.name} has {len(data.class_names)} classes; "
            f"it must end in Dense({len(data.class_names)})."
        )
    model.build_for(sample)


def ends_in_probabilities(model: Sequential) -> bool:
    """Whether the last layer that computes anything has a softmax or sigmoid."""
    last = next((layer for layer in reversed(model.layers) if not isinstance(layer, PASSING)), None)
    return last is not None and left_out_activation(last, CategoricalCrossentropy()) is not None


def loss_for(model: Sequential) -> Loss:
    """The loss of a classifier whose file brings none: what is no probability is taken for logits, as in predict."""
    return CategoricalCrossentropy(from_logits=not ends_in_probabilities(model))


def labels_for(loss: Loss | None, y: Array, classes: int) -> Array:
    """Class numbers (N,) in the form that the loss takes: as they are, or one-hot (N, classes)."""
    return y if isinstance(loss, SparseCategoricalCrossentropy) else to_categorical(y, classes)


def scores(model: Sequential, x: Array, numbers: Array, classes: int, batch_size: int = BATCH) -> tuple[float, float]:
    """Loss and accuracy, 0 to 1, on images x (N, ...) of the classes with these numbers (N,)."""
    y = labels_for(model.loss, numbers, classes)
    values = model.evaluate(x, y, batch_size=batch_size, verbose=0, return_dict=True)
    if "accuracy" not in values:
        predicted = model.predict(x, batch_size=batch_size, verbose=0).argmax(axis=1)
        values["accuracy"] = float((predicted == numbers).mean())
    return values["loss"], values["accuracy"]
