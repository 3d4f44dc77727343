"""The plan follows the model that it is for."""

import numpy as np

from minicnn import Sequential, activations
from minicnn.layers import Conv2D, Dense, Flatten, Input, Run


def test_an_exchanged_activation_is_obeyed():
    model = Sequential([Input((5, 5, 2)), Conv2D(8, 3, activation="relu"), Flatten(), Dense(3, activation="tanh")])
    x = np.random.default_rng(0).standard_normal((4, 5, 5, 2)).astype(np.float32)
    assert np.abs(model.predict(x, verbose=0)).max() < 1
    convolution, _, dense = model.layers
    dense.activation = activations.get("linear")
    convolution.activation = activations.get("gelu")
    z = activations.gelu(convolution.linear(x, Run(model.kernels))[0])
    expected = z.reshape(4, -1) @ dense.params["kernel"] + dense.params["bias"]
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=0, atol=1e-5)


def test_backward_lets_go_of_what_forward_saved():
    model = Sequential([Input((5, 5, 2)), Conv2D(8, 3, activation="relu"), Flatten(), Dense(3)])
    plan, x = model.plan(), np.ones((2, 5, 5, 2), np.float32)
    y, saved = plan.forward(x, Run(model.kernels))
    plan.backward(np.ones_like(y), saved, Run(model.kernels))
    assert saved == [None] * len(plan.steps)
