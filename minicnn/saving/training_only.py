"""What acts in training alone, and is left out of a model that is read: its predictions are the same without.

*_constraint                   brings weights back within bounds after each step
activity_regularizer           adds to the loss
layers of noise and of         change their inputs in training, and pass them on as they are in inference: each
random changes to images       becomes Activation("linear") of the same name, so that layers keep their places
"""

from __future__ import annotations

from typing import Any

from minicnn.saving.safe_json import shown
from minicnn.typing import Config

IDENTITY_IN_INFERENCE = {
    "ActivityRegularization",
    "AlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
    "RandomBrightness",
    "RandomContrast",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "SpatialDropout2D",
}
_STAYS = ("name", "trainable", "dtype", "batch_input_shape", "batch_shape")


def without(class_name: str, config: Config) -> tuple[str, Config, tuple[str, ...]]:
    """The layer as it predicts, and in words what was left out: "kernel_constraint MaxNorm of Conv2D 'conv2d'"."""
    owner = f"{class_name} {config.get('name')!r}"
    if class_name in IDENTITY_IN_INFERENCE:
        kept = {key: value for key, value in config.items() if key in _STAYS}
        return "Activation", {**kept, "activation": "linear"}, (owner,)
    gone = {key: value for key, value in config.items() if _is_left_out(key) and value is not None}
    kept = {key: value for key, value in config.items() if key not in gone}
    return class_name, kept, tuple(f"{key} {_kind(value)} of {owner}" for key, value in gone.items())


def _is_left_out(key: str) -> bool:
    return key.endswith("_constraint") or key == "activity_regularizer"


def _kind(value: Any) -> str:
    """The class of a constraint or regularizer, or the function's name; Keras 1 says "name"."""
    name = value.get("class_name") or value.get("name") if isinstance(value, dict) else value
    return shown(str(name), 40)
