"""Write goldens.json and goldens.npz: what the installed Keras computes, for machines where it is not installed.

Run it where Keras is installed, from the repository: `python tests/goldens/write_goldens.py`. tests/test_goldens.py
reads the files. goldens.json holds the cases (classes and their configurations) and losses, goldens.npz the arrays.
An array's key is its case's number and its role, such as "layers/3/dx".
"""

import json
import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

MAP, BATCH, CLASSES = (5, 4, 2), 3, 3
FOLDER = Path(__file__).parent

# (class, arguments, shape of a sample, training)
LAYERS = [
    ("Conv2D", {"filters": 3, "kernel_size": 3}, MAP, False),
    ("Conv2D", {"filters": 3, "kernel_size": [2, 4], "padding": "same", "activation": "relu"}, MAP, False),
    ("Conv2D", {"filters": 3, "kernel_size": 3, "strides": [2, 1], "padding": "same", "use_bias": False}, MAP, False),
    ("Conv2D", {"filters": 2, "kernel_size": 2, "dilation_rate": [2, 1], "activation": "tanh"}, MAP, False),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "groups": 2, "padding": "same", "activation": "relu"}, MAP, False),
    ("Conv2D", {"filters": 6, "kernel_size": [3, 2], "groups": 2, "strides": [2, 1]}, MAP, False),
    ("DepthwiseConv2D", {"kernel_size": 3, "padding": "same", "activation": "tanh"}, MAP, False),
    ("DepthwiseConv2D", {"kernel_size": [3, 2], "strides": 2, "depth_multiplier": 3, "use_bias": False}, MAP, False),
    ("DepthwiseConv2D", {"kernel_size": 2, "dilation_rate": [2, 1]}, MAP, False),
    ("SeparableConv2D", {"filters": 3, "kernel_size": 3, "activation": "relu"}, MAP, False),
    (
        "SeparableConv2D",
        {"filters": 4, "kernel_size": [2, 3], "strides": 2, "padding": "same", "depth_multiplier": 2},
        MAP,
        False,
    ),
    ("Conv2DTranspose", {"filters": 3, "kernel_size": 3}, MAP, False),
    ("Conv2DTranspose", {"filters": 2, "kernel_size": [4, 3], "strides": 2, "padding": "same"}, MAP, False),
    (
        "Conv2DTranspose",
        {"filters": 3, "kernel_size": 3, "strides": [2, 3], "output_padding": [1, 0], "activation": "sigmoid"},
        MAP,
        False,
    ),
    ("UpSampling2D", {"size": [3, 2]}, MAP, False),
    ("UpSampling2D", {"size": [2, 3], "interpolation": "bilinear"}, MAP, False),
    ("Dense", {"units": 4, "activation": "softmax"}, (5,), False),
    ("Dense", {"units": 3, "use_bias": False, "activation": "sigmoid"}, (2, 4), False),
    *[
        (cls, arguments, MAP, False)
        for cls in ("MaxPooling2D", "AveragePooling2D")
        for arguments in (
            {"pool_size": 2},
            {"pool_size": 3, "strides": 2, "padding": "same"},
            {"pool_size": [3, 2], "strides": [1, 3], "padding": "same"},
        )
    ],
    ("GlobalAveragePooling2D", {}, MAP, False),
    ("GlobalMaxPooling2D", {"keepdims": True}, MAP, False),
    ("ZeroPadding2D", {"padding": [[1, 0], [2, 3]]}, MAP, False),
    ("Rescaling", {"scale": 0.125, "offset": -0.5}, MAP, False),
    ("ReLU", {"max_value": 1.0, "negative_slope": 0.25, "threshold": 0.5}, MAP, False),
    ("LeakyReLU", {}, MAP, False),
    ("Softmax", {"axis": 1}, MAP, False),
    *[("BatchNormalization", {}, MAP, training) for training in (True, False)],
    ("BatchNormalization", {"axis": 1, "scale": False, "momentum": 0.5, "epsilon": 0.125}, MAP, True),
    ("BatchNormalization", {"center": False}, (4,), True),
    *[
        ("Activation", {"activation": name}, (6,), False)
        for name in ("leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "tanh", "sigmoid", "softmax")
    ],
]

# (class, arguments)
LOSSES = [
    ("CategoricalCrossentropy", {}),
    ("CategoricalCrossentropy", {"label_smoothing": 0.125}),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.125}),
    ("CategoricalCrossentropy", {"reduction": "mean_with_sample_weight"}),
    ("SparseCategoricalCrossentropy", {}),
    ("SparseCategoricalCrossentropy", {"from_logits": True}),
    ("BinaryCrossentropy", {"label_smoothing": 0.125}),
    ("BinaryCrossentropy", {"from_logits": True}),
    ("MeanSquaredError", {}),
    ("MeanSquaredError", {"reduction": "sum"}),
]

L2 = {"class_name": "L2", "config": {"l2": 0.01}}
MODELS = {
    "relu": [
        ("Conv2D", {"filters": 4, "kernel_size": 3, "padding": "same", "activation": "relu"}),
        ("MaxPooling2D", {"pool_size": 2}),
        ("Conv2D", {"filters": 4, "kernel_size": 2, "activation": "relu"}),
        ("Flatten", {}),
        ("Dense", {"units": CLASSES, "activation": "softmax"}),
    ],
    "batch norm": [
        (
            "Conv2D",
            {"filters": 4, "kernel_size": 3, "activation": "tanh", "kernel_regularizer": L2, "bias_regularizer": L2},
        ),
        ("BatchNormalization", {"momentum": 0.75}),
        ("AveragePooling2D", {"pool_size": 2, "padding": "same"}),
        ("Flatten", {}),
        ("Dense", {"units": CLASSES, "activation": "softmax", "kernel_regularizer": L2}),
    ],
}
OPTIMIZERS = [
    ("SGD", {"learning_rate": 0.05}),
    ("SGD", {"learning_rate": 0.02, "momentum": 0.9}),
    ("SGD", {"learning_rate": 0.02, "momentum": 0.9, "nesterov": True}),
    ("RMSprop", {"learning_rate": 0.01}),
    ("Adagrad", {"learning_rate": 0.05}),
    ("Adadelta", {"learning_rate": 1.0}),
    ("Adam", {"learning_rate": 0.01}),
    ("Adam", {"learning_rate": 0.01, "amsgrad": True}),
    ("AdamW", {"learning_rate": 0.01, "weight_decay": 0.05}),
    ("Adam", {"learning_rate": 0.01, "global_clipnorm": 0.5}),
]


def layer_case(number, case, arrays):
    """x, dy, weights in; y, dx, gradients and the weights afterwards out."""
    class_name, config, sample, training = case
    rng = np.random.default_rng([0, number])
    layer = getattr(keras.layers, class_name).from_config(config)
    layer.build((None, *sample))
    layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    before = layer.get_weights()
    x = tf.constant(rng.normal(0, 1, (BATCH, *sample)).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=training)
        dy = rng.normal(0, 1, y.shape).astype(np.float32)
        scalar = tf.reduce_sum(y * dy)
    dx, *gradients = tape.gradient(scalar, [x, *(v.value for v in layer.trainable_variables)])
    named = {"x": x.numpy(), "dy": dy, "y": y.numpy(), "dx": dx.numpy()}
    named |= {f"weight{k}": w for k, w in enumerate(before)}
    named |= {f"gradient{k}": g.numpy() for k, g in enumerate(gradients)}
    if training:
        named |= {f"after{k}": w for k, w in enumerate(layer.get_weights())}
    arrays |= {f"layers/{number}/{name}": array for name, array in named.items()}
    return {"class_name": class_name, "config": config, "sample": sample, "training": training}


def loss_case(number, case, arrays):
    """The value of a weighted batch, and its gradient."""
    class_name, config = case
    rng = np.random.default_rng([1, number])
    shape = 5, 4
    unbounded = config.get("from_logits") or class_name == "MeanSquaredError"
    y_pred = rng.normal(0, 2, shape) if unbounded else rng.uniform(0.05, 0.95, shape)
    y_true = {
        "CategoricalCrossentropy": np.eye(4)[rng.integers(0, 4, 5)],
        "SparseCategoricalCrossentropy": rng.integers(0, 4, 5),
        "BinaryCrossentropy": rng.integers(0, 2, shape),
        "MeanSquaredError": rng.normal(0, 1, shape),
    }[class_name]
    y_true, y_pred = y_true.astype(np.float32), tf.constant(y_pred.astype(np.float32))
    weights = np.array([1, 2, 0.5, 0, 3], np.float32)
    loss = getattr(keras.losses, class_name)(**config)
    with tf.GradientTape() as tape:
        tape.watch(y_pred)
        value = loss(y_true, y_pred, sample_weight=weights)
    named = {"y_true": y_true, "y_pred": y_pred.numpy(), "gradient": tape.gradient(value, y_pred).numpy()}
    arrays |= {f"losses/{number}/{name}": array for name, array in named.items()} | {"losses/weights": weights}
    return {"class_name": class_name, "config": config, "value": float(value)}


def new_model(layers, weights=None):
    made = [getattr(keras.layers, class_name).from_config(config) for class_name, config in layers]
    model = keras.Sequential([keras.layers.Input(MAP), *made])
    if weights is not None:
        model.set_weights(weights)
    return model


def training_cases(arrays):
    """Five steps of each model with each optimizer; two epochs of fit with weights, validation and a partial batch."""
    rng = np.random.default_rng(2)
    x = rng.normal(0, 1, (20, *MAP)).astype(np.float32)
    y = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, 20)]
    sample_weight = rng.uniform(0, 2, 20).astype(np.float32)
    arrays |= {"training/x": x, "training/y": y, "training/sample_weight": sample_weight}
    runs, fits = [], []
    for model_name, layers in MODELS.items():
        keras.utils.set_random_seed(0)
        weights = new_model(layers).get_weights()
        arrays |= {f"training/{model_name}/{k}": w for k, w in enumerate(weights)}
        for class_name, config in OPTIMIZERS:
            model = new_model(layers, weights)
            model.compile(getattr(keras.optimizers, class_name)(**config), "categorical_crossentropy", run_eagerly=True)
            losses = [float(model.train_on_batch(x[4 * k : 4 * k + 4], y[4 * k : 4 * k + 4])) for k in range(5)]
            arrays |= {f"training/{model_name}/{len(runs)}/{k}": w for k, w in enumerate(model.get_weights())}
            runs.append({"model": model_name, "class_name": class_name, "config": config, "losses": losses})
        model = new_model(layers, weights)
        model.compile("adam", "categorical_crossentropy", metrics=["accuracy"], weighted_metrics=["mse"])
        history = model.fit(
            x, y, batch_size=6, epochs=2, shuffle=False, verbose=0, validation_split=0.25, sample_weight=sample_weight
        )
        fits.append({"model": model_name, "history": history.history, "evaluate": model.evaluate(x, y, verbose=0)})
    return {"models": MODELS, "runs": runs, "fits": fits}


def main():
    arrays = {}
    goldens = {
        "keras": keras.__version__,
        "layers": [layer_case(k, case, arrays) for k, case in enumerate(LAYERS)],
        "losses": [loss_case(k, case, arrays) for k, case in enumerate(LOSSES)],
        "training": training_cases(arrays),
    }
    (FOLDER / "goldens.json").write_text(json.dumps(goldens, indent=1) + "\n")
    np.savez_compressed(FOLDER / "goldens.npz", **arrays)


if __name__ == "__main__":
    main()
