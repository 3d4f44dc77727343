"""Keras's layers that minicnn has under another name, to the same numbers.

ThresholdedReLU(theta)    ReLU(threshold=theta)
Activation("relu6")       ReLU(max_value=6), its slope at 6 included
ELU(alpha)                Activation("elu"), with alpha where it is not 1
activation="softmax_v2"   activation="softmax": TensorFlow's function under a name that it once had
activation=LeakyReLU(s)   the activation of that name; ELU, ReLU and Softmax likewise, as far as activations have them
"""

from __future__ import annotations

from typing import Any

from minicnn.typing import Config

CLASSES = {"ThresholdedReLU": "ReLU", "ELU": "Activation"}
"""Classes that are always another here."""


def ours(class_name: str, config: Config) -> tuple[str, Config]:
    """The layer as minicnn has it; any other as it is."""
    if class_name == "ThresholdedReLU":
        return "ReLU", {**_without(config, "theta"), "threshold": config.get("theta", 1.0)}
    if config.get("activation") == "softmax_v2":
        return class_name, {**config, "activation": "softmax"}
    if class_name == "Activation" and config.get("activation") == "relu6":
        return "ReLU", {**_without(config, "activation"), "max_value": 6.0}
    if class_name == "ELU":
        return "Activation", {**_without(config, "alpha"), "activation": _elu(config)}
    return class_name, config


def activation(entry: Any) -> Any:
    """An activation; of a layer in its place, which Keras takes as well, the activation that it computes."""
    kind, config = (entry.get("class_name"), entry.get("config")) if isinstance(entry, dict) else (None, None)
    if not isinstance(kind, str) or not isinstance(config, dict):
        return entry
    if kind == "LeakyReLU":
        slope = config.get("negative_slope", config.get("alpha", 0.3))  # the latter in Keras 2
        return {"class_name": "leaky_relu", "config": {"negative_slope": slope}}
    if kind == "ELU":
        return _elu(config)
    said = {key: value for key, value in config.items() if key not in ("name", "trainable", "dtype") and value}
    if (kind, said) in (("ReLU", {}), ("Softmax", {"axis": -1})):
        return kind.lower()
    return entry


def _elu(config: Config) -> Any:
    alpha = config.get("alpha", 1.0)
    return "elu" if alpha == 1 else {"class_name": "elu", "config": {"alpha": alpha}}


def _without(config: Config, key: str) -> Config:
    return {name: value for name, value in config.items() if name != key}
