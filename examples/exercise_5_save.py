"""Exercise 5: save the LeNet-5 of exercise 4 as an .h5 file, and load it again.

    python examples/exercise_5_save.py
    python examples/exercise_5_save.py --quick

The file has Keras's own layout: Keras 2 and 3 open it too, and minicnn opens theirs.
"""

import numpy as np
from exercise import draw, mnist, options

from minicnn import applications
from minicnn.models import load_model
from minicnn.optimizers import Adam

args = options(__doc__, epochs=30)

# 1. The network of exercise 4, trained in the same way.
(x_train, y_train), (x_dev, y_dev), (x_test, y_test) = mnist(args)
model = applications.lenet5(seed=args.seed)
model.summary()
model.compile(optimizer=Adam(learning_rate=1e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(x_train, y_train, batch_size=128, epochs=args.epochs, validation_data=(x_dev, y_dev))
draw(history, args)

# 2. Into one file: the layers and their arguments, the weights, and how the model was trained.
path = args.out / "LeNET-5.h5"
model.save(path)
print(f"Saved {path}: {path.stat().st_size:,} bytes for {model.count_params():,} parameters")

# 3. Out of it again, into a model that knows nothing of the first.
loaded = load_model(path)
probabilities = loaded.predict(x_test, batch_size=256, verbose=0)
assert np.array_equal(probabilities, model.predict(x_test, batch_size=256, verbose=0))
print("Loaded again, it predicts the same, bit for bit.")
accuracy = np.mean(probabilities.argmax(axis=1) == y_test)
print(f"Test accuracy: {accuracy:.2%}")
