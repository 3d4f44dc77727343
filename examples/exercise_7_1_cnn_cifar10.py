"""Exercise 7.1: three convolutions with batch normalization, l2 and dropout learn the ten classes of CIFAR-10.

    python examples/exercise_7_1_cnn_cifar10.py
    python examples/exercise_7_1_cnn_cifar10.py --quick

5,097,866 parameters, 896 of them not trained: the moving means and variances. Adam 1e-4, batches of 128, 50 epochs. The
sheet's test accuracy is 82.37 %.
"""

from exercise import cifar10, draw, options

from minicnn.layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D
from minicnn.models import Sequential
from minicnn.optimizers import Adam
from minicnn.regularizers import l2

args = options(__doc__, epochs=50, quick_images=600)

# 1. The data: 32x32 pixels in three colours of 0 to 255, a tenth of them held out for validation.
(x_train, y_train), (x_dev, y_dev), (x_test, y_test) = cifar10(args)

# 2. The network, with three remedies against overfitting.
penalty = {"kernel_regularizer": l2(0.01), "bias_regularizer": l2(0.01)}
model = Sequential(
    [
        Input(shape=(32, 32, 3)),
        Conv2D(64, kernel_size=(3, 3), padding="same", activation="relu", **penalty),  # (32, 32, 64)
        BatchNormalization(),
        MaxPooling2D(pool_size=(2, 2)),  # (16, 16, 64)
        Conv2D(128, kernel_size=(3, 3), padding="same", activation="relu", **penalty),  # (16, 16, 128)
        BatchNormalization(),
        MaxPooling2D(pool_size=(2, 2)),  # (8, 8, 128)
        Conv2D(256, kernel_size=(3, 3), padding="same", activation="relu", **penalty),  # (8, 8, 256)
        Dropout(0.5),
        BatchNormalization(),
        MaxPooling2D(pool_size=(2, 2)),  # (4, 4, 256)
        Flatten(),  # 4,096
        Dropout(0.5),
        Dense(1024, activation="relu"),
        Dropout(0.5),
        Dense(512, activation="relu"),
        Dropout(0.5),
        Dense(10, activation="softmax"),
    ],
    seed=args.seed,
)
model.summary()

# 3. Training. The loss takes class numbers as they are; with one-hot labels it is categorical_crossentropy.
model.compile(optimizer=Adam(learning_rate=1e-4), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(x_train, y_train, batch_size=128, epochs=args.epochs, validation_data=(x_dev, y_dev))

# 4. How good is it on images that it has never seen?
_, accuracy = model.evaluate(x_test, y_test, batch_size=256, verbose=0)
print(f"Test accuracy: {accuracy:.2%}")

# 5. The two figures: where the curves part, the network learns its training images by heart.
draw(history, args)
