"""Every fused step against its layers one by one on the plain loops, in float64: outputs, derivatives and state.

Shapes are small, since plain loops in Python are slow; the other files here have all shapes, against NumPy.
"""

import copy

import numpy as np
import pytest

from minicnn.kernels.tiles import tiling_for
from minicnn.layers import (
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Input,
    MaxPooling2D,
    Run,
)
from minicnn.models import Sequential
from minicnn.steps import strassen
from minicnn.steps.plan import FUSED, LAYER_RULES, LayerStep, make_plan, rules_for
from tests.steps.test_dense import built
from tests.steps.test_strassen import many, random_samples, step_of
from tests.steps.wide_convolutions import LANES, LOOPS, assert_same

pytestmark = pytest.mark.skipif(tiling_for(8) is None, reason="no vector unit: plans have few of these steps here")

WIDTH = LANES["float64"]

CASES = {
    "ConvolutionStep": ((7, 6, 2), lambda: [Conv2D(3, 3, activation="relu"), MaxPooling2D(2)]),
    "ToeplitzStep": ((2, 2, WIDTH), lambda: [Conv2D(WIDTH, 3, padding="same", activation="relu")]),
    "ValidTapsStep": ((2, 2, WIDTH), lambda: [Conv2D(WIDTH, 5, padding="same", activation="tanh")]),
    "WinogradStep": ((6, 5, WIDTH), lambda: [Conv2D(WIDTH, 3, padding="same", activation="relu")]),
    "NormalizedConvolutionStep": (
        (6, 6, 2),
        lambda: [Conv2D(16, 2, activation="tanh"), BatchNormalization(), MaxPooling2D(2)],
    ),
    "NormalizationPoolStep": ((6, 6, 3), lambda: [BatchNormalization(), AveragePooling2D(2)]),
    "DenseStep": ((6,), lambda: [Dense(5, activation="relu")]),
}


def results(plan, run, x):
    """y, dx, the gradients and the states."""
    rng = np.random.default_rng(5)
    y, saved = plan.forward(x.copy(), run)
    y = y.copy()
    dx = plan.backward(rng.standard_normal(y.shape), saved, run, need_dx=True)
    layers = [layer for step in plan.steps for layer in step.layers]
    return [y, dx, *(a for layer in layers for a in (*layer.grads.values(), *layer.state.values()))]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_it_is_its_layers(name, training, monkeypatch):
    monkeypatch.setattr("minicnn.steps.winograd.winograd_pays", lambda *arguments: True)
    monkeypatch.setattr("minicnn.steps.toeplitz.toeplitz_pays", lambda *arguments: True)
    shape, make = CASES[name]
    layers = Sequential([Input(shape), *make()], seed=1, dtype="float64").layers
    fused, single = make_plan(layers, rules=rules_for((name,))), make_plan(copy.deepcopy(layers), rules=LAYER_RULES)
    assert [type(step).__name__ for step in fused.steps] == [name]
    x = np.random.default_rng(3).standard_normal((3, *shape))
    run = Run(LOOPS, training=training)
    assert_same(results(fused, run, x), results(single, run, x), 1e-10)


def test_strassens_product_is_the_layer(monkeypatch):
    """In predicting, which is all that it does."""
    monkeypatch.setattr(strassen, "LEAST", 1)
    layer = built(Dense(4 * WIDTH, activation="relu"), 4 * WIDTH)
    x = random_samples(layer, 5)
    assert_same([step_of(layer).forward(x, many())[0]], [LayerStep(layer, 0).forward(x, Run(LOOPS))[0]], 1e-10)


def test_no_step_is_left_out():
    assert {*CASES, "StrassenStep"} == set(FUSED)
