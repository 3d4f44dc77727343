"""The optimizers' updates: one pass over all parameters of a model, laid end to end in one buffer.

Throughout: weights w, gradients g and slots are (P,) arrays of one dtype, P the number of parameters; w and the slots
are changed in place. Scalars have the arrays' dtype, so that nothing is computed in a wider one. An update that has
variants takes an array of size 0 for a slot that its variant does without.

Every update first shrinks the weights, w ← w − decay·w, where decay is learning rate times weight decay, 0 for none
(Loshchilov and Hutter 2019). Each element is its own: the bits do not depend on the number of threads. Cost: a few
operations an element, so the time goes into memory, and each array is read and written once.
"""

import numpy as np

from minicnn.kernels.jit import compiled, prange
from minicnn.typing import Array


def sgd_loops(weights: Array, gradients: Array, learning_rate: float, decay: float) -> None:
    """Gradient descent: w ← w − lr·g."""
    for i in prange(weights.size):
        weights[i] = weights[i] - decay * weights[i] - learning_rate * gradients[i]


def sgd_numpy(weights: Array, gradients: Array, learning_rate: float, decay: float) -> None:
    """sgd_loops on whole arrays."""
    weights -= decay * weights
    weights -= learning_rate * gradients


def momentum_loops(
    weights: Array,
    gradients: Array,
    velocity: Array,
    learning_rate: float,
    momentum: float,
    nesterov: bool,
    decay: float,
) -> None:
    """Gradient descent with momentum: a velocity u that remembers the last steps.

        u ← μ·u − lr·g
        w ← w + u                 or, Nesterov:  w ← w + μ·u − lr·g

    The learning rate is inside the velocity, so a change of rate acts on new gradients only, as in Keras (PyTorch
    multiplies by it outside). Source: Sutskever et al. 2013.
    """
    for i in prange(weights.size):
        velocity[i] = momentum * velocity[i] - learning_rate * gradients[i]
        step = momentum * velocity[i] - learning_rate * gradients[i] if nesterov else velocity[i]
        weights[i] = weights[i] - decay * weights[i] + step


def momentum_numpy(
    weights: Array,
    gradients: Array,
    velocity: Array,
    learning_rate: float,
    momentum: float,
    nesterov: bool,
    decay: float,
) -> None:
    """momentum_loops on whole arrays."""
    velocity *= momentum
    velocity -= learning_rate * gradients
    weights -= decay * weights
    weights += momentum * velocity - learning_rate * gradients if nesterov else velocity


def rmsprop_loops(
    weights: Array,
    gradients: Array,
    velocity: Array,
    momentum_slot: Array,
    average_gradient: Array,
    learning_rate: float,
    keep: float,
    take: float,
    momentum: float,
    epsilon: float,
    decay: float,
) -> None:
    """RMSprop: each parameter's step is divided by the root of its mean squared gradient v.

        v ← ρ·v + (1 − ρ)·g²
        s = lr·g / √(v + ε)                centered: a ← ρ·a + (1 − ρ)·g,  s = lr·g / √(v − a² + ε)
        w ← w − s                          momentum: u ← μ·u + s,          w ← w − u

    keep = ρ and take = 1 − ρ: both come rounded once, as in Keras. velocity is v; momentum_slot u and
    average_gradient a are of size 0 in the variants without. Source: Hinton 2012, lecture 6e; Graves 2013 (centered).
    """
    has_momentum, centered = momentum_slot.size > 0, average_gradient.size > 0
    for i in prange(weights.size):
        velocity[i] = keep * velocity[i] + take * gradients[i] * gradients[i]
        spread = velocity[i]
        if centered:
            average_gradient[i] = keep * average_gradient[i] + take * gradients[i]
            spread -= average_gradient[i] * average_gradient[i]
        step = learning_rate * gradients[i] / np.sqrt(spread + epsilon)
        if has_momentum:
            momentum_slot[i] = momentum * momentum_slot[i] + step
            step = momentum_slot[i]
        weights[i] = weights[i] - decay * weights[i] - step


def rmsprop_numpy(
    weights: Array,
    gradients: Array,
    velocity: Array,
    momentum_slot: Array,
    average_gradient: Array,
    learning_rate: float,
    keep: float,
    take: float,
    momentum: float,
    epsilon: float,
    decay: float,
) -> None:
    """rmsprop_loops on whole arrays."""
    velocity *= keep
    velocity += take * gradients * gradients
    spread = velocity
    if average_gradient.size:
        average_gradient *= keep
        average_gradient += take * gradients
        spread = velocity - average_gradient * average_gradient
    step = learning_rate * gradients / np.sqrt(spread + epsilon)
    if momentum_slot.size:
        momentum_slot *= momentum
        momentum_slot += step
        step = momentum_slot
    weights -= decay * weights
    weights -= step


def adagrad_loops(
    weights: Array, gradients: Array, accumulator: Array, learning_rate: float, epsilon: float, decay: float
) -> None:
    """Adagrad: the step shrinks with the sum G of all squared gradients so far.

        G ← G + g²
        w ← w − lr·g / √(G + ε)

    Source: Duchi, Hazan and Singer 2011.
    """
    for i in prange(weights.size):
        accumulator[i] += gradients[i] * gradients[i]
        step = learning_rate * gradients[i] / np.sqrt(accumulator[i] + epsilon)
        weights[i] = weights[i] - decay * weights[i] - step


def adagrad_numpy(
    weights: Array, gradients: Array, accumulator: Array, learning_rate: float, epsilon: float, decay: float
) -> None:
    """adagrad_loops on whole arrays."""
    accumulator += gradients * gradients
    weights -= decay * weights
    weights -= learning_rate * gradients / np.sqrt(accumulator + epsilon)


def adadelta_loops(
    weights: Array,
    gradients: Array,
    accumulated_grad: Array,
    accumulated_delta: Array,
    learning_rate: float,
    keep: float,
    take: float,
    epsilon: float,
    decay: float,
) -> None:
    """Adadelta: the step has the weights' own unit, the mean squared step D over the mean squared gradient G.

        G ← ρ·G + (1 − ρ)·g²
        s = g·√(D + ε) / √(G + ε)
        D ← ρ·D + (1 − ρ)·s²
        w ← w − lr·s

    keep = ρ, take = 1 − ρ. Source: Zeiler 2012, which has lr = 1.
    """
    for i in prange(weights.size):
        accumulated_grad[i] = keep * accumulated_grad[i] + take * gradients[i] * gradients[i]
        step = np.sqrt(accumulated_delta[i] + epsilon) * gradients[i] / np.sqrt(accumulated_grad[i] + epsilon)
        accumulated_delta[i] = keep * accumulated_delta[i] + take * step * step
        weights[i] = weights[i] - decay * weights[i] - learning_rate * step


def adadelta_numpy(
    weights: Array,
    gradients: Array,
    accumulated_grad: Array,
    accumulated_delta: Array,
    learning_rate: float,
    keep: float,
    take: float,
    epsilon: float,
    decay: float,
) -> None:
    """adadelta_loops on whole arrays."""
    accumulated_grad *= keep
    accumulated_grad += take * gradients * gradients
    step = np.sqrt(accumulated_delta + epsilon) * gradients / np.sqrt(accumulated_grad + epsilon)
    accumulated_delta *= keep
    accumulated_delta += take * step * step
    weights -= decay * weights
    weights -= learning_rate * step


def adam_loops(
    weights: Array,
    gradients: Array,
    momentum: Array,
    velocity: Array,
    velocity_hat: Array,
    rate: float,
    take_1: float,
    take_2: float,
    epsilon: float,
    decay: float,
) -> None:
    """Adam: a step along the mean gradient m, divided by the root of the mean squared gradient v.

        m ← m + (1 − β₁)·(g − m)
        v ← v + (1 − β₂)·(g² − v)
        w ← w − α·m / (√v + ε)             amsgrad: h ← max(h, v),  w ← w − α·m / (√h + ε)

    rate is α = lr·√(1 − β₂ᵗ) / (1 − β₁ᵗ) at step t = 1, 2, ...: the correction of the bias of m and v, which start
    at 0. ε is not part of it (the "epsilon hat" of the paper), as in Keras. take_1 = 1 − β₁, take_2 = 1 − β₂.
    momentum is m, velocity v; velocity_hat h is of size 0 without amsgrad. Source: Kingma and Ba 2015, end of
    section 2; Reddi, Kale and Kumar 2018 (amsgrad).
    """
    amsgrad = velocity_hat.size > 0
    for i in prange(weights.size):
        momentum[i] += take_1 * (gradients[i] - momentum[i])
        velocity[i] += take_2 * (gradients[i] * gradients[i] - velocity[i])
        largest = velocity[i]
        if amsgrad:
            largest = np.maximum(velocity_hat[i], largest)  # np.maximum hands NaN on, max does not
            velocity_hat[i] = largest
        step = rate * momentum[i] / (np.sqrt(largest) + epsilon)
        weights[i] = weights[i] - decay * weights[i] - step


def adam_numpy(
    weights: Array,
    gradients: Array,
    momentum: Array,
    velocity: Array,
    velocity_hat: Array,
    rate: float,
    take_1: float,
    take_2: float,
    epsilon: float,
    decay: float,
) -> None:
    """adam_loops on whole arrays."""
    momentum += take_1 * (gradients - momentum)
    velocity += take_2 * (gradients * gradients - velocity)
    largest = velocity
    if velocity_hat.size:
        np.maximum(velocity_hat, velocity, out=velocity_hat)
        largest = velocity_hat
    weights -= decay * weights
    weights -= rate * momentum / (np.sqrt(largest) + epsilon)


sgd_numba = compiled(sgd_loops)
momentum_numba = compiled(momentum_loops)
rmsprop_numba = compiled(rmsprop_loops)
adagrad_numba = compiled(adagrad_loops)
adadelta_numba = compiled(adadelta_loops)
adam_numba = compiled(adam_loops)
