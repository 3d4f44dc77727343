"""The plan follows the model that it is for."""

import numpy as np
import pytest

from minicnn import Sequential, activations
from minicnn.errors import ShapeError
from minicnn.kernels import vector_unit
from minicnn.kernels.tiles import pooled_tiling_for, tiling_for
from minicnn.layers import (
    ActivatedLayer,
    BatchNormalization,
    Conv2D,
    Dense,
    Flatten,
    Input,
    MaxPooling2D,
    Run,
    Softmax,
)
from minicnn.losses import BinaryCrossentropy
from minicnn.steps.convolution import ConvolutionStep
from minicnn.steps.plan import FUSED, LogitsStep
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


def test_the_first_trained_step_is_asked_for_no_input_gradient_and_those_before_for_nothing():
    """Which is a third of a first convolution's backward pass."""
    asked = []

    class Asked(Dense):
        def backward(self, dy, saved, run, need_dx=True):
            asked.append((self.name, need_dx))
            return super().backward(dy, saved, run, need_dx)

    frozen, first, second = Asked(4, name="frozen", trainable=False), Asked(3, name="first"), Asked(2, name="second")
    model = Sequential([Input((5,)), frozen, Flatten(), first, second], seed=0)
    model.compile("sgd", "mse")
    model.train_on_batch(np.ones((2, 5)), np.zeros((2, 2)))
    assert asked == [("second", True), ("first", False)]


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


# ---------------------------------------------------------------- last layers and losses of the caller's own

INPUTS = np.random.default_rng(1).standard_normal((16, 6)).astype(np.float32)
CLASS_NUMBERS = np.random.default_rng(2).integers(0, 3, 16)


class Cold(Softmax):
    def forward(self, x, run):
        return super().forward(x / 4, run)

    def backward(self, dy, saved, run, need_dx=True):
        return super().backward(dy, saved, run, need_dx) / 4


class Twice(Dense):
    def forward(self, x, run):
        return super().forward(2 * x, run)

    def backward(self, dy, saved, run, need_dx=True):
        dx = super().backward(dy, saved, run, need_dx)
        return 2 * dx if need_dx else None


@pytest.mark.parametrize("last", [[Dense(3), Cold()], [Twice(3, activation="softmax")]], ids=["Softmax", "Dense"])
@pytest.mark.parametrize("kernels", ["numpy", "numba"])
def test_passes_of_the_callers_own_count_in_training_as_in_predicting(last, kernels):
    model = Sequential([Input((6,)), *last], seed=1, kernels=kernels)
    model.compile("sgd", "sparse_categorical_crossentropy")
    p = model.predict(INPUTS, verbose=0)[np.arange(16), CLASS_NUMBERS]
    assert model.evaluate(INPUTS, CLASS_NUMBERS, verbose=0) == pytest.approx(-np.log(p).mean(), rel=1e-5)
    assert model.train_on_batch(INPUTS, CLASS_NUMBERS) == pytest.approx(-np.log(p).mean(), rel=1e-5)
    assert not any(isinstance(step, LogitsStep) for step in model.plan().steps)


class Bare(ActivatedLayer):
    """Logits are the inputs; what linear and its derivative return is set from outside."""

    def __init__(self, linear=lambda z: z, linear_backward=lambda dx: dx):
        super().__init__()
        self.activation, self.of_linear, self.of_backward = activations.get("softmax"), linear, linear_backward

    def linear(self, x, run):
        return self.of_linear(x), None

    def linear_backward(self, dz, saved, run, need_dx=True):
        return self.of_backward(dz) if need_dx else None


def test_a_linear_of_the_callers_own_runs_with_the_loss_on_the_logits():
    model = Sequential([Input((6,)), Dense(3), Bare(lambda z: z.astype(np.float64))], seed=1)
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert isinstance(model.plan().steps[-1], LogitsStep)
    output, _ = model.plan().forward(INPUTS, Run(model.kernels, training=True))
    assert output.dtype == np.float32
    assert model.train_on_batch(INPUTS, CLASS_NUMBERS) > 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"linear": lambda z: z[:, :2]}, r"linear returned shape \(16, 2\) where \(16, 3\) is due"),
        ({"linear_backward": lambda dx: dx[:3]}, r"linear_backward returned shape \(3, 3\) where \(16, 3\) is due"),
    ],
)
def test_what_a_linear_of_the_callers_own_returns_is_checked(wrong, message):
    model = Sequential([Input((6,)), Dense(3), Bare(**wrong)], seed=1)
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ShapeError, match=message):
        model.train_on_batch(INPUTS, CLASS_NUMBERS)


class Weighted(BinaryCrossentropy):
    """A loss of the caller's own, with an argument that get_config leaves out."""

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def value(self, y_true, y_pred):
        return self.weight * super().value(y_true, y_pred)

    def gradient(self, y_true, y_pred):
        return self.weight * super().gradient(y_true, y_pred)


class OnLabels(BinaryCrossentropy):
    """Another, which changes the labels alone."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def align(self, y_true, y_pred):
        return super().align(y_true, y_pred) * self.part


@pytest.mark.parametrize(("loss", "on_logits"), [(Weighted(4.0), False), (OnLabels(0.5), True)])
def test_a_cross_entropy_of_the_callers_own_keeps_what_it_was_given(loss, on_logits):
    model = Sequential([Input((6,)), Dense(1, activation="sigmoid")], seed=1)
    model.compile("sgd", loss)
    y = np.ones(16, np.float32)
    assert isinstance(model.plan().steps[-1], LogitsStep) == on_logits
    assert model.test_on_batch(INPUTS, y) == pytest.approx(loss(y[:, None], model.predict(INPUTS, verbose=0)), rel=1e-5)
