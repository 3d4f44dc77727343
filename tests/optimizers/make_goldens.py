"""Write goldens.json: weights after each of five updates, and learning rates, as the installed Keras computes them.

Run it where Keras is installed: `python tests/optimizers/make_goldens.py`. The tests that read the file need no Keras.
The float64 runs use numbers that are exact in binary, because Keras rounds some of them to float32.
"""

import json
from pathlib import Path

import keras
import numpy as np

SHAPES = (3, 2), (4,)
STEPS = 5

# name: (class, arguments for the float64 run); the float32 run has these classes' defaults.
EXACT = {
    "sgd": ("SGD", {"learning_rate": 0.125}),
    "sgd decay": ("SGD", {"learning_rate": 0.125, "weight_decay": 0.25}),
    "momentum": ("SGD", {"learning_rate": 0.125, "momentum": 0.75, "weight_decay": 0.25}),
    "nesterov": ("SGD", {"learning_rate": 0.125, "momentum": 0.75, "nesterov": True}),
    "rmsprop": ("RMSprop", {"learning_rate": 0.125, "rho": 0.75, "epsilon": 0.03125}),
    "rmsprop momentum": ("RMSprop", {"learning_rate": 0.125, "rho": 0.75, "momentum": 0.5, "epsilon": 0.03125}),
    "rmsprop centered": (
        "RMSprop",
        {"learning_rate": 0.125, "rho": 0.75, "momentum": 0.5, "epsilon": 0.03125, "centered": True},
    ),
    "adagrad": ("Adagrad", {"learning_rate": 0.125, "initial_accumulator_value": 0.25, "epsilon": 0.03125}),
    "adadelta": ("Adadelta", {"learning_rate": 0.5, "rho": 0.75, "epsilon": 0.03125, "weight_decay": 0.25}),
    "adam": ("Adam", {"learning_rate": 0.125, "beta_1": 0.75, "beta_2": 0.875, "epsilon": 0.03125}),
    "amsgrad": ("Adam", {"learning_rate": 0.125, "beta_1": 0.75, "beta_2": 0.5, "epsilon": 0.03125, "amsgrad": True}),
    "adamw": (
        "AdamW",
        {"learning_rate": 0.125, "weight_decay": 0.25, "beta_1": 0.75, "beta_2": 0.875, "epsilon": 0.03125},
    ),
    "clipnorm": ("SGD", {"learning_rate": 0.125, "clipnorm": 1.5}),
    "global_clipnorm": ("SGD", {"learning_rate": 0.125, "global_clipnorm": 1.5}),
    "clipvalue": ("SGD", {"learning_rate": 0.125, "clipvalue": 0.5}),
}
DEFAULTS = ("SGD", "RMSprop", "Adagrad", "Adadelta", "Adam", "AdamW")
SCHEDULES = {
    "ExponentialDecay": [
        {"initial_learning_rate": 0.5, "decay_steps": 4, "decay_rate": 0.75},
        {"initial_learning_rate": 0.5, "decay_steps": 4, "decay_rate": 0.75, "staircase": True},
    ],
    "InverseTimeDecay": [
        {"initial_learning_rate": 0.5, "decay_steps": 4, "decay_rate": 0.75},
        {"initial_learning_rate": 0.5, "decay_steps": 4, "decay_rate": 0.75, "staircase": True},
    ],
    "PiecewiseConstantDecay": [
        {"boundaries": [2, 5], "values": [0.5, 0.25, 0.125]},
        {"boundaries": [3], "values": [0.5, 0.25]},
    ],
    "PolynomialDecay": [
        {"initial_learning_rate": 0.5, "decay_steps": 4},
        {"initial_learning_rate": 0.5, "decay_steps": 4, "end_learning_rate": 0.125, "power": 2.0},
        {"initial_learning_rate": 0.5, "decay_steps": 4, "end_learning_rate": 0.125, "power": 0.5, "cycle": True},
    ],
    "CosineDecay": [
        {"initial_learning_rate": 0.5, "decay_steps": 5},
        {"initial_learning_rate": 0.5, "decay_steps": 5, "alpha": 0.25},
        {"initial_learning_rate": 0.0, "decay_steps": 4, "warmup_target": 0.5, "warmup_steps": 3, "alpha": 0.25},
        {"initial_learning_rate": 0.25, "decay_steps": 4, "warmup_target": 0.5, "warmup_steps": 0},
    ],
}


def run(class_name, arguments, dtype):
    """The flat weights after each step."""
    keras.config.set_floatx(dtype)
    rng = np.random.default_rng(0)
    variables = [keras.Variable(rng.standard_normal(shape), dtype=dtype) for shape in SHAPES]
    optimizer = getattr(keras.optimizers, class_name)(**arguments)
    trace = []
    for _ in range(STEPS):
        gradients = [keras.ops.convert_to_tensor(rng.standard_normal(shape).astype(dtype)) for shape in SHAPES]
        optimizer.apply(gradients, variables)
        trace.append([float(value) for variable in variables for value in np.ravel(variable.numpy())])
    return trace


def main():
    keras.config.set_floatx("float64")
    rates = [
        {
            "class_name": class_name,
            "config": config,
            "rates": [float(getattr(keras.optimizers.schedules, class_name)(**config)(step)) for step in range(12)],
        }
        for class_name, configs in SCHEDULES.items()
        for config in configs
    ]
    goldens = {
        "keras": keras.__version__,
        "float64": {
            name: {"class_name": class_name, "config": config, "weights": run(class_name, config, "float64")}
            for name, (class_name, config) in EXACT.items()
        },
        "float32": {class_name: run(class_name, {}, "float32") for class_name in DEFAULTS},
        "schedules": rates,
    }
    Path(__file__).with_name("goldens.json").write_text(json.dumps(goldens, indent=1) + "\n")


if __name__ == "__main__":
    main()
