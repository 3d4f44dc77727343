"""Exercise 7.3: AlexNet with batch normalization, l2 and dropout on the colour images of CIFAR-10.

    python examples/exercise_7_3_alexnet_cifar10.py
    python examples/exercise_7_3_alexnet_cifar10.py --quick

21,627,658 parameters, 2,752 of them not trained. Adam 1e-4, batches of 64, 30 epochs. The sheet's test accuracy is
60.76 %: made for photographs of 224x224 pixels, the network has maps of 2x2 left before its third convolution.
"""

from exercise import cifar10, draw, options

from minicnn.layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D
from minicnn.models import Sequential
from minicnn.optimizers import Adam
from minicnn.regularizers import l2

args = options(__doc__, epochs=30, quick_images=300)

# 1. The data: 32x32 pixels in three colours of 0 to 255, a tenth of them held out for validation.
(x_train, y_train), (x_dev, y_dev), (x_test, y_test) = cifar10(args)

# 2. The network: that of exercise 6, with the remedies of 7.1.
penalty = {"kernel_regularizer": l2(0.01), "bias_regularizer": l2(0.01)}
model = Sequential(
    [
        Input(shape=(32, 32, 3)),
        Conv2D(96, kernel_size=(11, 11), strides=(4, 4), padding="same", activation="relu", **penalty),  # (8, 8, 96)
        BatchNormalization(),
        MaxPooling2D(pool_size=(3, 3), strides=(2, 2), padding="same"),  # (4, 4, 96)
        Conv2D(256, kernel_size=(5, 5), padding="same", activation="relu", **penalty),  # (4, 4, 256)
        BatchNormalization(),
        Dropout(0.5),
        MaxPooling2D(pool_size=(3, 3), strides=(2, 2), padding="same"),  # (2, 2, 256)
        Conv2D(384, kernel_size=(3, 3), padding="same", activation="relu", **penalty),  # (2, 2, 384)
        BatchNormalization(),
        Dropout(0.5),
        Conv2D(384, kernel_size=(3, 3), padding="same", activation="relu", **penalty),  # (2, 2, 384)
        BatchNormalization(),
        Dropout(0.5),
        Conv2D(256, kernel_size=(3, 3), padding="same", activation="relu", **penalty),  # (2, 2, 256)
        BatchNormalization(),
        Dropout(0.5),
        MaxPooling2D(pool_size=(3, 3), strides=(2, 2), padding="same"),  # (1, 1, 256)
        Flatten(),
        Dropout(0.5),
        Dense(4096, activation="relu"),
        Dropout(0.5),
        Dense(4096, activation="relu"),
        Dropout(0.5),
        Dense(10, activation="softmax"),
    ],
    seed=args.seed,
)
model.summary()

# 3. Training. The loss takes class numbers as they are; with one-hot labels it is categorical_crossentropy.
model.compile(optimizer=Adam(learning_rate=1e-4), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(x_train, y_train, batch_size=64, epochs=args.epochs, validation_data=(x_dev, y_dev))

# 4. How good is it on images that it has never seen?
_, accuracy = model.evaluate(x_test, y_test, batch_size=256, verbose=0)
print(f"Test accuracy: {accuracy:.2%}")

# 5. The two figures: where the curves part, the network learns its training images by heart.
draw(history, args)
