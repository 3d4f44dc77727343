"""Are files of minicnn read by tf_keras, the Keras 2 that is still maintained, and does it train on from them?

    python bench/tf_keras_files.py [--models 100] [--python PATH]

tf_keras needs an environment of its own, beside Keras 3: PATH is its interpreter; without, one is made in a temporary
folder and `pip install tf_keras tensorflow-cpu` fetches it (1 GB). Random models take two steps of training here and
are written as .keras, .h5 and weights alone. tf_keras predicts from each, and takes a third step from .keras and .h5
files written with optimizer_for="keras2". Predictions must agree within 2e-6, the trained weights after
the step within the larger of 5e-5 and a tenth of the learning rate, entries aside whose gradient is below 1e-6 of the
largest. BatchNormalization's moving averages are not compared, since Keras 2 takes the unbiased variance; nor is the
step of an RMSprop without momentum from .h5, where Keras 2 makes its optimizer of 2.4, with epsilon outside the root.
Exits with 1 if any differs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import numpy as np
from common import positive

TOLERANCE = 2e-6
FORMATS = ("m.keras", "m.h5", "w.weights.h5", "w.h5")


def write(folder: Path, count: int) -> None:
    """The files of `count` random models, and as expected.npz what minicnn gets from each."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tests.saving.random_models import random_batch, random_model

    for seed in range(count):
        model = random_model(seed, kernels="numpy")
        x, y = random_batch(model, seed)
        for _ in range(2):
            model.train_on_batch(x, y)
        to = folder / str(seed)
        to.mkdir()
        for name in FORMATS[:2]:
            model.save(to / name, optimizer_for="keras2")
        for name in FORMATS[2:]:
            model.save_weights(to / name)
        prediction = model.predict(x, verbose=0)
        model.train_on_batch(x, y)
        trained = [(layer.params[name], layer.grads[name]) for layer in model.layers for name in layer.params]
        arrays = {f"after_{n}": after for n, (after, _) in enumerate(trained)}
        arrays |= {f"gradient_{n}": gradient for n, (_, gradient) in enumerate(trained)}
        np.savez(to / "expected.npz", x=x, y=y, prediction=prediction, rate=model.optimizer.learning_rate, **arrays)


def check(folder: Path) -> list[str]:
    """Every difference, in words. Runs in the environment of tf_keras."""
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="0", CUDA_VISIBLE_DEVICES="-1")
    import tf_keras

    problems = []
    for place in sorted(folder.iterdir(), key=lambda path: int(path.name)):
        with np.load(place / "expected.npz") as stored:
            expected = dict(stored)
        for name in FORMATS:
            try:
                found = _differences(tf_keras, place / name, expected)
                problems += [f"model {place.name}, {name}: {what}" for what in found]
            except Exception as error:  # whatever tf_keras says of a file is a finding
                problems.append(f"model {place.name}, {name}: {type(error).__name__}: {error}")
    return problems


def _differences(tf_keras, path, expected):
    weights_alone = path.name.startswith("w.")
    model = tf_keras.models.load_model(path.with_name("m.keras") if weights_alone else path)
    if weights_alone:
        model.set_weights([np.zeros_like(w) for w in model.get_weights()])
        model.load_weights(path)
    gap = np.abs(np.asarray(model(expected["x"])) - expected["prediction"]).max()
    if not gap <= TOLERANCE:  # NaN differs
        yield f"predictions differ by {gap:.1e}"
    if weights_alone:
        return
    model.run_eagerly = True
    if int(model.optimizer.iterations) != 2:
        yield f"the optimizer stands at step {int(model.optimizer.iterations)}"
    optimizer = model.optimizer
    if path.name == "m.h5" and type(optimizer).__name__ == "RMSprop" and not optimizer.get_config()["momentum"]:
        return
    model.train_on_batch(expected["x"], expected["y"])
    numbers = range(len(model.trainable_weights))
    gradients = [expected[f"gradient_{n}"] for n in numbers]
    least = 1e-6 * max(np.abs(gradient).max() for gradient in gradients)
    tolerance = max(5e-5, 0.1 * float(expected["rate"]))
    for n, weight in zip(numbers, model.trainable_weights, strict=True):
        gap = np.abs(weight.numpy() - expected[f"after_{n}"])[np.abs(gradients[n]) >= least].max(initial=0)
        if not gap <= tolerance:
            yield f"{weight.name} differs by {gap:.1e} after the next step"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", type=positive, default=100)
    parser.add_argument("--python", help="the interpreter of an environment with tf_keras")
    parser.add_argument("--check", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.check:
        print(json.dumps(check(given.check)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        python = given.python
        if python is None:
            venv.create(Path(temporary) / "env", with_pip=True)
            python = str(Path(temporary) / "env/bin/python")
            subprocess.run([python, "-m", "pip", "install", "--quiet", "tf_keras", "tensorflow-cpu"], check=True)
        files = Path(temporary) / "files"
        files.mkdir()
        write(files, given.models)
        command = [python, __file__, "--check", str(files)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    problems = json.loads(output.splitlines()[-1])
    print(*problems, f"{given.models} models, {len(problems)} differences", sep="\n")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
