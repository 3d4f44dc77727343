"""Exercise 7.2: LeNet-5 with batch normalization, l2 and dropout on the colour images of CIFAR-10.

    python examples/exercise_7_2_lenet5_cifar10.py
    python examples/exercise_7_2_lenet5_cifar10.py --quick

83,214 parameters, 44 of them not trained. Adam 1e-4, batches of 128, 50 epochs. The sheet's test accuracy is 70.78 %.
"""

from exercise import cifar10, draw, options

from minicnn.layers import AveragePooling2D, BatchNormalization, Conv2D, Dense, Dropout, Flatten, Input
from minicnn.models import Sequential
from minicnn.optimizers import Adam
from minicnn.regularizers import l2

args = options(__doc__, epochs=50)

# 1. The data: 32x32 pixels in three colours of 0 to 255, a tenth of them held out for validation.
(x_train, y_train), (x_dev, y_dev), (x_test, y_test) = cifar10(args)

# 2. The network: that of exercise 4 on a larger input, with the remedies of 7.1.
penalty = {"kernel_regularizer": l2(0.01), "bias_regularizer": l2(0.01)}
model = Sequential(
    [
        Input(shape=(32, 32, 3)),
        Conv2D(6, kernel_size=(5, 5), padding="same", activation="relu", **penalty),  # (32, 32, 6)
        BatchNormalization(),
        AveragePooling2D(pool_size=(2, 2), strides=2),  # (16, 16, 6)
        Conv2D(16, kernel_size=(5, 5), padding="valid", activation="relu", **penalty),  # (12, 12, 16)
        BatchNormalization(),
        AveragePooling2D(pool_size=(2, 2), strides=2),  # (6, 6, 16)
        Flatten(),  # 576
        Dropout(0.5),
        Dense(120, activation="relu"),
        Dense(84, activation="relu"),
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
