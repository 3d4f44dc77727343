"""One image through LeNet-5 by hand, forwards and backwards, in plain NumPy.

    python examples/inside_a_layer.py

Every number that the engine computes on the way is computed here as well, from the formulas in the docstrings of
minicnn/layers, and compared. Read it from top to bottom, beside minicnn/layers/convolution.py. In float64, so that what
differs can only be a mistake and not rounding. The image is one of scikit-learn's digits; nothing is downloaded.
"""

import numpy as np

from minicnn import applications, plotting
from minicnn.datasets import digits
from minicnn.optimizers import SGD


def same(name, ours, engines):
    """Print the shape, and stop unless both hold the same numbers."""
    assert ours.shape == engines.shape, (name, ours.shape, engines.shape)
    error = np.abs(ours - engines).max() / max(np.abs(engines).max(), 1e-300)
    assert error < 1e-10, f"{name} differs by {error:.1e} of its largest entry"
    print(f"  {name:42} {ours.shape!s:16} off by {error:.0e} of the largest entry, {np.abs(ours).max():.3g}")


# ---------------------------------------------------------------- the operations, for one image


def im2col(x, size, pad):
    """Every window of x (H, W, C) as a row: (OH·OW, size·size·C)."""
    padded = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    oh, ow = padded.shape[0] - size + 1, padded.shape[1] - size + 1
    return np.array([padded[p : p + size, q : q + size].ravel() for p in range(oh) for q in range(ow)])


def col2im(columns, shape, size, pad):
    """The way back: add every row to the pixels that it was copied from."""
    height, width, channels = shape
    padded = np.zeros((height + 2 * pad, width + 2 * pad, channels))
    ow = padded.shape[1] - size + 1
    for row, window in enumerate(columns):
        p, q = divmod(row, ow)
        padded[p : p + size, q : q + size] += window.reshape(size, size, channels)
    return padded[pad : pad + height, pad : pad + width]


def relu(z):
    return np.maximum(z, 0)


def pool(x):
    """The mean of each 2x2 pixels: (H, W, C) to (H/2, W/2, C)."""
    height, width, channels = x.shape
    return x.reshape(height // 2, 2, width // 2, 2, channels).mean(axis=(1, 3))


def pool_back(dy):
    """Each of the four pixels entered the mean with factor 1/4, and gets a quarter of its gradient."""
    return dy.repeat(2, axis=0).repeat(2, axis=1) / 4


# ---------------------------------------------------------------- the network and one image

(_, _), (images, labels) = digits.load_data()
image, digit = images[0][..., None] / 255, int(labels[0])  # 0 to 1, so that the untrained network is not yet sure
model = applications.lenet5(seed=0, dtype="float64")
conv1, pool1, conv2, pool2, flatten, dense1, dense2, dense3 = model.layers
engine = dict(plotting.layer_outputs(model, image))
print(f"A {digit}, {image.shape[0]}x{image.shape[1]} pixels of {image.min():.2f} to {image.max():.2f}")

# ---------------------------------------------------------------- forwards

print("Forwards")

# A convolution is a matrix product: a row a window, a column a filter.
K1, b1 = conv1.params["kernel"].reshape(5 * 5 * 1, 6), conv1.params["bias"]
columns1 = im2col(image, size=5, pad=2)  # (784, 25); two zeros around the map: padding="same"
z1 = columns1 @ K1 + b1  # (784, 6)
y1 = relu(z1).reshape(28, 28, 6)
same("conv2d: relu(im2col · K + bias)", y1, engine[conv1])

p1 = pool(y1)
same("average_pooling2d: mean of 2x2", p1, engine[pool1])

K2, b2 = conv2.params["kernel"].reshape(5 * 5 * 6, 16), conv2.params["bias"]
columns2 = im2col(p1, size=5, pad=0)  # (100, 150)
z2 = columns2 @ K2 + b2  # (100, 16)
y2 = relu(z2).reshape(10, 10, 16)
same("conv2d_1: relu(im2col · K + bias)", y2, engine[conv2])

p2 = pool(y2)
same("average_pooling2d_1: mean of 2x2", p2, engine[pool2])

f = p2.ravel()  # in the order of memory: row, column, channel
same("flatten", f, engine[flatten])

# A dense layer is the same product with a single window, the whole input.
z3 = f @ dense1.params["kernel"] + dense1.params["bias"]
y3 = relu(z3)
same("dense: relu(x · K + bias)", y3, engine[dense1])
z4 = y3 @ dense2.params["kernel"] + dense2.params["bias"]
y4 = relu(z4)
same("dense_1: relu(x · K + bias)", y4, engine[dense2])
logits = y4 @ dense3.params["kernel"] + dense3.params["bias"]
exponentials = np.exp(logits - logits.max())  # the largest becomes 1: nothing overflows
probabilities = exponentials / exponentials.sum()
same("dense_2: softmax(x · K + bias)", probabilities, engine[dense3])

loss = -np.log(probabilities[digit])
print(f"  The network has not learnt yet: {digit} gets {probabilities[digit]:.1%}, the loss is {loss:.3f}")

# ---------------------------------------------------------------- backwards


def backwards(dlogits):
    """From dL/dlogits to the gradient of every parameter, by layer and name, and of the image.

    Each layer gets the gradient of its output and gives that of its input; `d` stands for dL/d throughout.
    """
    gradients = {}

    def dense_back(layer, x, dz):
        gradients[layer, "kernel"] = np.outer(x, dz)  # kernel[i,o] enters z[o] with factor x[i]
        gradients[layer, "bias"] = dz
        return layer.params["kernel"] @ dz  # x[i] enters every z[o] with factor kernel[i,o]

    def conv_back(layer, columns, kernel, dz):
        gradients[layer, "kernel"] = (columns.T @ dz).reshape(layer.params["kernel"].shape)
        gradients[layer, "bias"] = dz.sum(axis=0)  # the bias enters at every position with factor 1
        return dz @ kernel.T  # the gradient of the columns

    dy4 = dense_back(dense3, y4, dlogits)
    dy3 = dense_back(dense2, y3, dy4 * (z4 > 0))  # relu hands on where it was open
    df = dense_back(dense1, f, dy3 * (z3 > 0))
    dp2 = df.reshape(p2.shape)
    dz2 = pool_back(dp2).reshape(100, 16) * (z2 > 0)
    dcolumns2 = conv_back(conv2, columns2, K2, dz2)
    dp1 = col2im(dcolumns2, p1.shape, size=5, pad=0)
    dz1 = pool_back(dp1).reshape(784, 6) * (z1 > 0)
    dcolumns1 = conv_back(conv1, columns1, K1, dz1)
    return gradients, col2im(dcolumns1, image.shape, size=5, pad=2)


# Cross-entropy behind softmax has the gradient p − t, where t is 1 for the true class and 0 for the others.
target = np.eye(10)[digit]
gradients, _ = backwards(probabilities - target)

# The engine's step: a learning rate of 0 leaves the weights as they are, and the gradients in the layers' grads.
model.compile(optimizer=SGD(learning_rate=0.0), loss="sparse_categorical_crossentropy")
engines_loss = model.train_on_batch(image[None], np.array([digit]))

print("Backwards")
same("cross-entropy", np.array(loss), np.array(engines_loss))
for (layer, name), gradient in gradients.items():  # from the last layer to the first
    same(f"gradient of {layer.name}'s {name}", gradient, layer.grads[name])

# Begun with 1 for a class and 0 for the others, the same way back ends at a saliency map of the image.
_, dimage = backwards(target)
same(f"gradient of the score of {digit} by the image", dimage, plotting.class_score_gradient(model, image, digit))

print("By hand and by the engine: the same numbers.")
