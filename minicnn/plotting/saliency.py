"""Saliency: which pixels move the score of a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.activations import Sigmoid
from minicnn.errors import ConfigError, ShapeError
from minicnn.kernels.blas import single_threaded_blas
from minicnn.layers import Run
from minicnn.losses import CategoricalCrossentropy
from minicnn.plotting.canvas import finished, name_of, names_or_none, new_figure, one_sample, pictures
from minicnn.steps.plan import LAYER_RULES, make_plan
from minicnn.typing import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def class_score_gradient(model: Any, image: Any, class_number: int | None = None) -> Array:
    """The derivative of a class's score by every entry of the image, in inference mode; of the image's shape (H, W, C).

    The score is the output before a last softmax or sigmoid: behind it the derivative would vanish where the model is
    sure. It comes from the layers' own backward passes, begun with dL/dscore = 1 for the class and 0 for the others;
    they overwrite the layers' grads, as a training step does, and nothing else.

    class_number: None takes the class with the largest score. Raises ConfigError for no model or no such class,
    ShapeError where the outputs are no vector or the image does not fit, NotBuiltError or DataError.
    Source: Simonyan, Vedaldi and Zisserman 2013, "Deep inside convolutional networks".
    """
    x = one_sample(model, image, "class_score_gradient")
    plan = make_plan(model.layers, CategoricalCrossentropy(), LAYER_RULES)  # this loss leaves the last activation out
    run = Run(model.kernels)
    with single_threaded_blas():
        scores, saved = plan.forward(x, run)
        number = _class_number(model, scores, class_number, "class_score_gradient")
        dscores = np.zeros_like(scores)
        dscores[0, number] = 1
        gradient = plan.backward(dscores, saved, run, need_dx=True)
    assert gradient is not None
    return gradient[0].copy()


def saliency_map(
    model: Any,
    image: Any,
    class_number: int | None = None,
    class_names: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """An image beside how strongly each of its pixels moves the score of a class: |class_score_gradient|.

    Of several channels the largest counts. class_number: None takes the predicted class; a lone output of a sigmoid is
    the probability of class 1 of two. Raises as class_score_gradient, and ShapeError for a model that takes no images
    of one or three channels.
    """
    x = one_sample(model, image, "saliency_map")
    if x.ndim != 4 or x.shape[3] not in (1, 3):
        raise ShapeError(
            f"saliency_map: draws images of one or three channels, {model} takes {model.input_shape}; "
            "class_score_gradient gives the numbers."
        )
    names = names_or_none(class_names, "saliency_map")
    picture = pictures(np.asarray(image).reshape(x.shape), "saliency_map")[0]
    output = model.predict_on_batch(x)
    lone = output.shape[1:] == (1,) and _ends_in_sigmoid(model)
    if lone:
        output = np.hstack([1 - output, output])  # of two classes: the other one's score is the negative
    number = _class_number(model, output, class_number, "saliency_map")
    strength = np.abs(class_score_gradient(model, image, 0 if lone else number)).max(axis=2)
    figure = new_figure(7.4, 3.6 + 0.3 * bool(title))
    left, right = figure.subplots(1, 2)
    left.imshow(picture, cmap="gray", vmin=0, vmax=1)
    left.set_title(f"predicted: {_predicted(output, names)}", size=10)
    drawn = right.imshow(strength, cmap="magma", vmin=0)
    right.set_title(f"what moves the score of: {name_of(number, names, 'saliency_map')}", size=10)
    figure.colorbar(drawn, ax=right, label="|∂score / ∂pixel|", shrink=0.85)
    for axes in (left, right):
        axes.set_axis_off()
    if title:
        figure.suptitle(title)
    return finished(figure)


def _ends_in_sigmoid(model: Any) -> bool:
    return isinstance(getattr(model.layers[-1], "activation", None), Sigmoid)


def _class_number(model: Any, scores: Array, class_number: Any, owner: str) -> int:
    """class_number if there is such a class among the scores (1, K); for None the largest."""
    if scores.ndim != 2:
        raise ShapeError(
            f"{owner}: {model} gives outputs {model.output_shape}, not a score for each class; end it with Dense."
        )
    if class_number is None:
        return int(scores[0].argmax())
    if (
        isinstance(class_number, bool)
        or not isinstance(class_number, (int, np.integer))
        or not 0 <= class_number < scores.shape[1]
    ):
        raise ConfigError(
            f"{owner}: class_number must be an integer from 0 to {scores.shape[1] - 1}, got {class_number!r}."
        )
    return int(class_number)


def _predicted(output: Array, class_names: list[str] | None) -> str:
    """ "7, 99 %"; the outputs themselves where they are no probabilities."""
    number = int(output[0].argmax())
    value = float(output[0, number])
    whole = bool(np.isclose(output[0].sum(), 1, atol=1e-3)) and output.min() >= 0
    return f"{name_of(number, class_names, 'saliency_map')}, {f'{value:.1%}' if whole else f'{value:.3g}'}"
