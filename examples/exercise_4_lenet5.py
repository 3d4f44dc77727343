"""Exercise 4: LeNet-5, the network that read cheques, with relu and softmax.

    python examples/exercise_4_lenet5.py
    python examples/exercise_4_lenet5.py --quick

61,706 parameters, trained as exercise 1. The sheet's test accuracy is 98.93 %.
Source: LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition (1998).
"""

from exercise import draw, mnist, options

from minicnn.layers import AveragePooling2D, Conv2D, Dense, Flatten, Input
from minicnn.models import Sequential
from minicnn.optimizers import Adam

args = options(__doc__, epochs=30)

# 1. The data: 28x28 grey pixels of 0 to 255, a tenth of them held out for validation.
(x_train, y_train), (x_dev, y_dev), (x_test, y_test) = mnist(args)

# 2. The network: two convolutions, each averaged over 2x2 pixels, then three dense layers.
model = Sequential(
    [
        Input(shape=(28, 28, 1)),
        Conv2D(6, kernel_size=(5, 5), padding="same", activation="relu"),  # (28, 28, 6): 5·5·1·6 + 6 numbers
        AveragePooling2D(pool_size=(2, 2), strides=2),  # (14, 14, 6)
        Conv2D(16, kernel_size=(5, 5), padding="valid", activation="relu"),  # (10, 10, 16): 5·5·6·16 + 16
        AveragePooling2D(pool_size=(2, 2), strides=2),  # (5, 5, 16)
        Flatten(),  # 400
        Dense(120, activation="relu"),  # 400·120 + 120
        Dense(84, activation="relu"),  # 120·84 + 84
        Dense(10, activation="softmax"),  # 84·10 + 10
    ],
    seed=args.seed,
)
model.summary()

# 3. Training. The loss takes class numbers as they are; with one-hot labels it is categorical_crossentropy.
model.compile(optimizer=Adam(learning_rate=1e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(x_train, y_train, batch_size=128, epochs=args.epochs, validation_data=(x_dev, y_dev))

# 4. How good is it on images that it has never seen?
_, accuracy = model.evaluate(x_test, y_test, batch_size=256, verbose=0)
print(f"Test accuracy: {accuracy:.2%}")

# 5. The two figures: where the curves part, the network learns its training images by heart.
draw(history, args)
