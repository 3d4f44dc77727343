"""Keras's layers that minicnn has under another name, to the same numbers.

ThresholdedReLU(theta)    ReLU(threshold=theta)
Activation("relu6")       ReLU(max_value=6), its slope at 6 included
ELU(alpha)                Activation("elu"), with alpha where it is not 1
activation="softmax_v2"   activation="softmax": TensorFlow's function under a name that it once had
"""

from __future__ import annotations

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
        alpha = config.get("alpha", 1.0)
        activation = "elu" if alpha == 1 else {"class_name": "elu", "config": {"alpha": alpha}}
        return "Activation", {**_without(config, "alpha"), "activation": activation}
    return class_name, config


def _without(config: Config, key: str) -> Config:
    return {name: value for name, value in config.items() if name != key}
