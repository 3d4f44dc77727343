"""What the exercises share: their options, the data as the sheet splits them, and its two figures."""

import argparse
import sys
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split

from minicnn import datasets, plotting
from minicnn.callbacks import History
from minicnn.errors import DatasetError
from minicnn.typing import Array

Pair = tuple[Array, Array]
"""Images and their classes."""

NAME = Path(sys.argv[0]).stem


def whole_number(least: int):
    """The type of an option that takes integers from `least` on."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be an integer of at least {least}, got {text!r}")
        return int(text)

    return number


def options(doc: str | None, epochs: int, quick_images: int = 5000) -> argparse.Namespace:
    """The command line: epochs, seed, out, images (how many to take; None is all), and the title of the figures."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--quick", action="store_true", help=f"{quick_images} images and 2 epochs: does all work?")
    option("--epochs", type=whole_number(1), help=f"passes through the training images ({epochs})")
    option("--seed", type=whole_number(0), default=0, help="the same seed gives the same network, bit for bit")
    option("--out", type=Path, default=Path("out", NAME), help="folder for what the script writes (%(default)s)")
    args = parser.parse_args()
    args.title = (doc or NAME).partition(":")[0]
    args.images = quick_images if args.quick else None
    args.epochs = args.epochs or (2 if args.quick else epochs)
    try:
        args.out.mkdir(parents=True, exist_ok=True)  # now, so that no training is lost where it cannot be made
    except OSError as error:
        parser.error(f"argument --out: cannot make the folder {args.out}: {error.strerror}")
    return args


def mnist(args: argparse.Namespace) -> tuple[Pair, Pair, Pair]:
    """MNIST for training, validation and testing: images (N, 28, 28, 1) of 0 to 255, and digits (N,)."""
    try:
        train, test = datasets.mnist.load_data()
    except DatasetError as error:
        print(f"{error} Training on scikit-learn's digits instead.")
        train, test = datasets.digits.load_data()
    return split(args, *((x[..., None], y) for x, y in (train, test)))


def cifar10(args: argparse.Namespace) -> tuple[Pair, Pair, Pair]:
    """CIFAR-10 for training, validation and testing: images (N, 32, 32, 3) of 0 to 255, and classes (N, 1)."""
    try:
        train, test = datasets.cifar10.load_data()
    except DatasetError as error:
        print(
            f"{error} Training on scikit-learn's grey digits instead, framed to 32x32 and repeated in three channels."
        )
        train, test = ((in_colour(x), y[:, None]) for x, y in datasets.digits.load_data())
    return split(args, train, test)


def in_colour(images: Array) -> Array:
    """Grey images (N, 28, 28) as (N, 32, 32, 3): two pixels of black around them, red, green and blue alike."""
    framed = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    return np.repeat(framed[..., None], 3, axis=3)


def split(args: argparse.Namespace, train: Pair, test: Pair) -> tuple[Pair, Pair, Pair]:
    """A tenth of the training images is held out for validation, as in the sheet."""
    (x, y), (x_test, y_test) = ((x[: args.images], y[: args.images]) for x, y in (train, test))
    x_train, x_dev, y_train, y_dev = train_test_split(x, y, test_size=0.1, random_state=args.seed % 2**32)
    print(f"{len(x_train)} images to train on, {len(x_dev)} to validate, {len(x_test)} to test; epochs: {args.epochs}")
    return (x_train, y_train), (x_dev, y_dev), (x_test, y_test)


def draw(history: History, args: argparse.Namespace) -> None:
    """The sheet's two figures: accuracy and loss, training and validation, over the epochs."""
    for name in ("accuracy", "loss"):
        path = args.out / f"{name}.png"
        plotting.learning_curves(history, args.title, names=[name]).savefig(path)
        print(f"Drew {path}")
