"""Keras code of 2021 on minicnn: of exercises 4 and 5 only the import lines are changed.

    python examples/keras_drop_in.py
    python examples/keras_drop_in.py --quick

Each import line has beside it what it was. Lines that are not the sheet's say so: those for machines without MNIST, for
--quick and --help, and those that write into out/keras_drop_in instead of opening windows.
"""

import argparse
import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

from minicnn.datasets.mnist import load_data  # from keras.datasets.mnist import load_data
from minicnn.layers import AveragePooling2D, Conv2D, Dense, Flatten  # from keras.layers import ...
from minicnn.losses import CategoricalCrossentropy  # from tensorflow.keras.losses import CategoricalCrossentropy
from minicnn.models import Sequential, load_model  # from keras.models import Sequential, load_model
from minicnn.optimizers import Adam  # from tensorflow.keras.optimizers import Adam
from minicnn.utils import to_categorical  # from tensorflow.keras.utils import to_categorical

# The sheet has none of these seven lines. The folder is made now, so that no training is lost where that fails.
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--quick", action="store_true", help="5000 images and 2 epochs: does all work?")
args = parser.parse_args()
try:
    os.makedirs("out/keras_drop_in", exist_ok=True)
except OSError as error:
    parser.error(f"cannot make the folder out/keras_drop_in: {error.strerror}")

try:
    (X_train, y_train), (X_test, y_test) = load_data()
except OSError as error:  # no MNIST here, and no network: these lines are not the sheet's
    print(f"{error} Training on scikit-learn's digits instead.")
    from minicnn.datasets.digits import load_data

    (X_train, y_train), (X_test, y_test) = load_data()

epochs = 30
if args.quick:  # neither are these
    X_train, y_train, X_test, y_test = X_train[:5000], y_train[:5000], X_test[:5000], y_test[:5000]
    epochs = 2  # below, the sheet has the number

X_train, X_dev, y_train, y_dev = train_test_split(X_train, y_train, test_size=0.1)

X_train_expanded = np.expand_dims(X_train, axis=3)
X_dev_expanded = np.expand_dims(X_dev, axis=3)
X_test_expanded = np.expand_dims(X_test, axis=3)

y_train_new = to_categorical(y_train, num_classes=10)
y_dev_new = to_categorical(y_dev, num_classes=10)

model_4 = Sequential()

model_4.add(Conv2D(filters=6, kernel_size=(5, 5), padding="same", activation="relu", input_shape=(28, 28, 1)))
model_4.add(AveragePooling2D(strides=2, pool_size=(2, 2)))

model_4.add(Conv2D(filters=16, kernel_size=(5, 5), padding="valid", activation="relu"))
model_4.add(AveragePooling2D(strides=2, pool_size=(2, 2)))

model_4.add(Flatten())
model_4.add(Dense(120, activation="relu"))
model_4.add(Dense(84, activation="relu"))
model_4.add(Dense(10, activation="softmax"))

model_4.summary()

Optimizer = Adam(learning_rate=1e-3)
Loss = CategoricalCrossentropy()
model_4.compile(optimizer=Optimizer, loss=Loss, metrics=["accuracy"])

history_4 = model_4.fit(
    X_train_expanded, y_train_new, validation_data=(X_dev_expanded, y_dev_new), batch_size=128, epochs=epochs
)

plt.plot(history_4.history["accuracy"], label="Train Accuracy")
plt.plot(history_4.history["val_accuracy"], label="Validation Accuracy")
plt.title("Accuracy")
plt.xlabel("Epochs")
plt.ylabel("Accuracy")
plt.legend()
plt.savefig("out/keras_drop_in/accuracy.png")  # the sheet has plt.show()
plt.clf()  # not the sheet's

plt.plot(history_4.history["loss"], label="Train Loss")
plt.plot(history_4.history["val_loss"], label="Validation Loss")
plt.title("Loss")
plt.xlabel("Epochs")
plt.ylabel("Loss")
plt.legend()
plt.savefig("out/keras_drop_in/loss.png")  # the sheet has plt.show()

y_pred = model_4.predict(X_test_expanded)
y_pred = np.argmax(y_pred, axis=-1)
accuracy = round(accuracy_score(y_test, y_pred) * 100, 2)
print("Accuracy test = {}".format(accuracy))  # noqa: UP032 (the sheet's)

model_4.save("out/keras_drop_in/LeNET-5.h5")  # the sheet has model_4.save("LeNET-5.h5")
loaded = load_model("out/keras_drop_in/LeNET-5.h5")  # not the sheet's, though it imports load_model
y_again = np.argmax(loaded.predict(X_test_expanded), axis=-1)  # not the sheet's
print("Saved and loaded again:", np.array_equal(y_again, y_pred))  # not the sheet's
