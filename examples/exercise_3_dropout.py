"""Exercise 3: the network of exercise 1 with dropout before its dense layer.

    python examples/exercise_3_dropout.py
    python examples/exercise_3_dropout.py --quick

34,826 parameters, trained as exercise 1; dropout has none. The sheet's test accuracy is 98.97 %. Training accuracy is
measured with half of the entries missing, so it stays near validation's: dropout keeps the network from overfitting.
"""

from exercise import draw, mnist, options

from minicnn.layers import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D
from minicnn.models import Sequential
from minicnn.optimizers import Adam

args = options(__doc__, epochs=30)

# 1. The data: 28x28 grey pixels of 0 to 255, a tenth of them held out for validation.
(x_train, y_train), (x_dev, y_dev), (x_test, y_test) = mnist(args)

# 2. The network: that of exercise 1 and one layer more.
model = Sequential(
    [
        Input(shape=(28, 28, 1)),
        Conv2D(32, kernel_size=(3, 3), activation="relu"),  # (26, 26, 32): 3·3·1·32 weights and 32 biases
        MaxPooling2D(pool_size=(2, 2)),  # (13, 13, 32)
        Conv2D(64, kernel_size=(3, 3), activation="relu"),  # (11, 11, 64): 3·3·32·64 + 64
        MaxPooling2D(pool_size=(2, 2)),  # (5, 5, 64)
        Flatten(),  # 1,600 numbers
        Dropout(0.5),  # in training, half of them are set to 0, at random
        Dense(10, activation="softmax"),  # a probability for each digit: 1600·10 + 10
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
