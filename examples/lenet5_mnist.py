"""Train LeNet-5 on handwritten digits, save it as a Keras file, and look at how it did.

    python examples/lenet5_mnist.py
    python examples/lenet5_mnist.py --epochs 30 --data fashion_mnist --out runs/fashion

The first run downloads MNIST (11 MB); without a network it trains on the 1,797 digits that come with scikit-learn.
"""

import argparse
from pathlib import Path

import numpy as np

from minicnn import applications, datasets, load_model, plotting
from minicnn.errors import DatasetError
from minicnn.optimizers import Adam


def whole_number(least):
    """The type of an option that takes integers from `least` on."""

    def number(text):
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be an integer of at least {least}, got {text!r}")
        return int(text)

    return number


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
option = parser.add_argument
option("--data", default="mnist", choices=["mnist", "fashion_mnist", "digits"], help="images to learn (%(default)s)")
option("--epochs", type=whole_number(1), default=12, help="passes through the training images (%(default)s)")
option("--batch-size", type=whole_number(1), default=128, help="images in one training step (%(default)s)")
option("--kernels", default="numba", choices=["numba", "numpy"], help="numpy: slower, and easy to step through")
option("--seed", type=whole_number(0), default=0, help="the same seed gives the same network, bit for bit")
option("--out", type=Path, default=Path("out"), help="folder for the model and the figures (%(default)s)")
args = parser.parse_args()
try:
    args.out.mkdir(parents=True, exist_ok=True)  # now, so that no training is lost where it cannot be made
except OSError as error:
    parser.error(f"argument --out: cannot make the folder {args.out}: {error.strerror}")

# 1. The data: images of 28x28 pixels, 0 to 255, and the class of each.
try:
    data = datasets.DATASETS[args.data]
    (x_train, y_train), (x_test, y_test) = data.load_data()
except DatasetError as error:
    print(f"{error} Training on scikit-learn's digits instead.")
    data = datasets.DATASETS["digits"]
    (x_train, y_train), (x_test, y_test) = data.load_data()
x_train, x_test = x_train[..., None], x_test[..., None]  # (N, 28, 28, 1): one channel
print(f"{len(x_train)} training and {len(x_test)} test images, {len(data.CLASS_NAMES)} classes")

# 2. The network: two convolutions, each followed by average pooling, then three dense layers.
model = applications.lenet5(seed=args.seed, kernels=args.kernels)
model.summary()

# 3. Training. The last tenth of the training images is held out to watch for overfitting.
model.compile(optimizer=Adam(learning_rate=1e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(x_train, y_train, batch_size=args.batch_size, epochs=args.epochs, validation_split=0.1)

# 4. How good is it on images that it has never seen?
probabilities = model.predict(x_test, batch_size=256, verbose=0)
accuracy = np.mean(probabilities.argmax(axis=1) == y_test)
print(f"Test accuracy: {accuracy:.2%}")

# 5. Save it, and see that the file holds the same network.
model.save(args.out / "LeNet-5.h5")
reloaded = load_model(args.out / "LeNet-5.h5", kernels=args.kernels)
same = np.array_equal(reloaded.predict(x_test, batch_size=256, verbose=0), probabilities)
print(f"Saved {args.out / 'LeNet-5.h5'}; reloaded, it predicts {'the same' if same else 'SOMETHING ELSE'}.")

# 6. Two figures.
plotting.learning_curves(history, "LeNet-5").savefig(args.out / "learning_curves.png")
plotting.confusion_matrix(y_test, probabilities, data.CLASS_NAMES).savefig(args.out / "confusion_matrix.png")
print(f"Drew {args.out / 'learning_curves.png'} and {args.out / 'confusion_matrix.png'}.")
