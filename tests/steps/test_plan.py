"""The plan follows the model that it is for."""

import numpy as np
import pytest

from minicnn import Sequential, activations
from minicnn.kernels import vector_unit
from minicnn.kernels.tiles import pooled_tiling_for, tiling_for
from minicnn.layers import BatchNormalization, Conv2D, Dense, Flatten, Input, MaxPooling2D, Run
from minicnn.steps.convolution import ConvolutionStep
from minicnn.steps.plan import FUSED
from minicnn.steps.winograd import WinogradStep
from tests.small_models import images_for_every_fused_step, with_every_fused_step

needs_a_vector_unit = pytest.mark.skipif(vector_unit.vector_unit() is None, reason="no vector unit: no such steps here")


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


def fused(plan):
    """The names of its fused steps."""
    return {type(step).__name__ for step in plan.steps} & set(FUSED)


@needs_a_vector_unit
def test_the_model_with_every_fused_step_has_them_all():
    """But StrassenStep, which wants millions of weights and thousands of samples: test_strassen.py has those."""
    model = with_every_fused_step()
    for plan in (model.plan(), model._plan(None)):
        assert fused(plan) == set(FUSED) - {"StrassenStep"}
        step = next(step for step in plan.steps if type(step).__name__ == "NormalizedConvolutionStep")
        assert type(step.convolution) is WinogradStep
        assert step.predicting.grid is not None


@pytest.fixture
def no_vector_unit(monkeypatch):
    monkeypatch.setattr(vector_unit, "vector_unit", lambda: None)
    for tiling in (tiling_for, pooled_tiling_for):
        tiling.cache_clear()
    yield
    for tiling in (tiling_for, pooled_tiling_for):
        tiling.cache_clear()


def test_a_cpu_without_a_vector_unit_computes_the_same(no_vector_unit):
    x, y = images_for_every_fused_step(count=9)
    models = [with_every_fused_step(optimizer="sgd", kernels=kernels) for kernels in ("numba", "numpy")]
    assert fused(models[0].plan()) == fused(models[0]._plan(None)) == {"NormalizationPoolStep", "DenseStep"}
    losses = [model.train_on_batch(x, y) for model in models]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    np.testing.assert_allclose(*(model.predict(x, verbose=0) for model in models), rtol=0, atol=1e-5)


NORMALIZED = ["NormalizedConvolutionStep", "WinogradStep"]


@needs_a_vector_unit
@pytest.mark.parametrize(
    ("channels", "steps", "remark"),
    [
        (32, "auto", ", by Winograd's algorithm"),
        (32, NORMALIZED, ", by Winograd's algorithm"),
        (16, NORMALIZED, ""),
        (32, NORMALIZED[:1], ""),
    ],
)
def test_chosen_steps_hold_for_predicting_and_the_plan_tells_how_it_is_done(channels, steps, remark):
    layers = [Conv2D(64, 3), BatchNormalization(), MaxPooling2D(2)]
    model = Sequential([Input((13, 15, channels)), *layers], seed=0)
    model.compile("sgd", "mse", steps=steps)
    for plan in (model.plan(), model._plan(None)):
        (step,) = plan.steps
        assert (step.predicting.grid is None) == (remark == "")
        assert str(plan).endswith(f"'){remark}" if remark else ")")
        assert type(step.convolution) is (WinogradStep if remark else ConvolutionStep)
