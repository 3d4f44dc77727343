"""The optimizers' updates: one pass over all parameters of a model, laid end to end in one buffer.

Throughout: weights w, gradients g and slots are (P,) arrays of one dtype, P the number of parameters; w and the slots
are changed in place. Scalars have the arrays' dtype, so that nothing is computed in a wider one. An update that has
variants takes an array of size 0 for a slot that its variant does without.

Every update first shrinks the weights, w ← w − decay·w, where decay is learning rate times weight decay, 0 for none
(Loshchilov and Hutter 2019). Each element is its own: the bits do not depend on the number of threads. Cost: a few
operations an element, so the time goes into memory, and each array is read and written once.

Slots that shrink from step to step do not shrink for ever: of a unit that never fires the gradient is 0, and after a
thousand steps what is left of its mean would be smaller than the numbers that a CPU computes with at full speed
(subnormal, below 1e-38 in float32; Keras on TensorFlow makes those 0). Here a mean ends at 0, and a mean of squares,
whose root is divided by, at the smallest number that a slot holds. On an Intel Xeon Adam's update of LeNet-5 took
230 µs instead of 50 after an epoch of MNIST in batches of 32, 14 % of its mean gradients being subnormal.
"""

from typing import Any

import numpy as np

from minicnn.kernels.jit import compiled, inlined, prange
from minicnn.typing import Array

MARGIN = 1 << 20
"""The smallest number that a slot holds, besides 0, is so many times the smallest normal one: 1e-32 in float32. Its
products with a rate or 1 − β₂ are then not subnormal either."""


@inlined
def least_slot(like: Array) -> Any:
    """The smallest number that a slot of this dtype holds, besides 0."""
    return like.dtype.type(MARGIN * np.finfo(like.dtype).tiny)


@inlined
def shrunk_mean(value: Any, least: Any) -> Any:
    """value, or 0 where it is nearer to 0 than `least`; NaN stays."""
    zero = least - least  # of its dtype
    return zero if abs(value) < least else value


@inlined
def shrunk_square(value: Any, least: Any) -> Any:
    """value, or `least` where it is smaller; 0 and NaN stay."""
    return least if 0 < value < least else value


def end_means(slot: Array) -> None:
    """shrunk_mean of a whole slot, in place."""
    slot[np.abs(slot) < least_slot(slot)] = 0


def end_squares(slot: Array) -> None:
    """shrunk_square of a whole slot, in place."""
    slot[(slot > 0) & (slot < least_slot(slot))] = least_slot(slot)


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
    least = least_slot(velocity)
    for i in prange(weights.size):
        velocity[i] = shrunk_mean(momentum * velocity[i] - learning_rate * gradients[i], least)
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
    end_means(velocity)
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
    least = least_slot(velocity)
    for i in prange(weights.size):
        velocity[i] = shrunk_square(keep * velocity[i] + take * gradients[i] * gradients[i], least)
        spread = velocity[i]
        if centered:
            average_gradient[i] = shrunk_mean(keep * average_gradient[i] + take * gradients[i], least)
            spread -= average_gradient[i] * average_gradient[i]
        step = learning_rate * gradients[i] / np.sqrt(spread + epsilon)
        if has_momentum:
            momentum_slot[i] = shrunk_mean(momentum * momentum_slot[i] + step, least)
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
    end_squares(velocity)
    spread = velocity
    if average_gradient.size:
        average_gradient *= keep
        average_gradient += take * gradients
        end_means(average_gradient)
        spread = velocity - average_gradient * average_gradient
    step = learning_rate * gradients / np.sqrt(spread + epsilon)
    if momentum_slot.size:
        momentum_slot *= momentum
        momentum_slot += step
        end_means(momentum_slot)
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
    least = least_slot(weights)
    for i in prange(weights.size):
        accumulated_grad[i] = shrunk_square(keep * accumulated_grad[i] + take * gradients[i] * gradients[i], least)
        step = np.sqrt(accumulated_delta[i] + epsilon) * gradients[i] / np.sqrt(accumulated_grad[i] + epsilon)
        accumulated_delta[i] = shrunk_square(keep * accumulated_delta[i] + take * step * step, least)
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
    end_squares(accumulated_grad)
    step = np.sqrt(accumulated_delta + epsilon) * gradients / np.sqrt(accumulated_grad + epsilon)
    accumulated_delta *= keep
    accumulated_delta += take * step * step
    end_squares(accumulated_delta)
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
    least = least_slot(momentum)
    for i in prange(weights.size):
        momentum[i] = shrunk_mean(momentum[i] + take_1 * (gradients[i] - momentum[i]), least)
        velocity[i] = shrunk_square(velocity[i] + take_2 * (gradients[i] * gradients[i] - velocity[i]), least)
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
    end_means(momentum)
    end_squares(velocity)
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
