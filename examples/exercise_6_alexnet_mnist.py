"""Exercise 6: AlexNet, cut to the size of MNIST's digits.

    python examples/exercise_6_alexnet_mnist.py
    python examples/exercise_6_alexnet_mnist.py --quick

21,601,130 parameters, most of them in one dense layer. Adam 1e-4, batches of 128, 30 epochs, and about a hundred times
the multiplications of LeNet-5. The sheet's test accuracy is 98.74 %.
Source: Krizhevsky, Sutskever and Hinton, ImageNet classification with deep convolutional neural networks (2012).
"""

from exercise import draw, mnist, options

from minicnn.layers import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D
from minicnn.models import Sequential
from minicnn.optimizers import Adam

args = options(__doc__, epochs=30, quick_images=400)

# 1. The data: 28x28 grey pixels of 0 to 255, a tenth of them held out for validation.
(x_train, y_train), (x_dev, y_dev), (x_test, y_test) = mnist(args)

# 2. The network: large kernels with strides first, small ones on small maps then.
model = Sequential(
    [
        Input(shape=(28, 28, 1)),
        Conv2D(96, kernel_size=(12, 12), strides=(4, 4), padding="same", activation="relu"),  # (7, 7, 96)
        MaxPooling2D(pool_size=(3, 3), strides=(2, 2), padding="same"),  # (4, 4, 96)
        Conv2D(256, kernel_size=(5, 5), padding="same", activation="relu"),  # (4, 4, 256)
        MaxPooling2D(pool_size=(3, 3), strides=(2, 2), padding="same"),  # (2, 2, 256)
        Conv2D(384, kernel_size=(3, 3), padding="same", activation="relu"),  # (2, 2, 384)
        Conv2D(384, kernel_size=(3, 3), padding="same", activation="relu"),  # (2, 2, 384)
        Conv2D(256, kernel_size=(3, 3), padding="same", activation="relu"),  # (2, 2, 256)
        MaxPooling2D(pool_size=(3, 3), strides=(2, 2), padding="same"),  # (1, 1, 256)
        Flatten(),
        Dropout(0.5),
        Dense(4096, activation="relu"),
        Dense(4096, activation="relu"),  # 4096·4096 + 4096: more than three quarters of all parameters
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
