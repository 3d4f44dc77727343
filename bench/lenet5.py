"""LeNet-5 against the installed Keras: training, prediction and memory, side by side.

    python bench/lenet5.py [--rounds 5] [--epochs 3] [--json out.json]

Both engines get the same weights and images. That they predict the same is checked first. Then each round runs either
engine in a process of its own, in alternation, so that a machine whose speed drifts treats both alike; the table gives
medians over the rounds, and the median of the rounds' ratios. Needs the `test` extra, which brings Keras on TensorFlow.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 128
PREDICT_BATCH = 256
ENGINES = ("minicnn", "keras")
FIGURES = {
    "train_ms_per_step": f"training, ms a step of {BATCH} (fit)",
    "predict_us_per_image": f"prediction, µs an image (batch {PREDICT_BATCH})",
    "first_step_s": "import to the end of the first step, s",
    "peak_memory_mb": "peak memory of training, MB",
}


def images() -> tuple[Any, Any]:
    """MNIST's 60,000 training images and labels if they are on this machine, else random ones of the same shape."""
    from minicnn.datasets import mnist
    from minicnn.errors import DatasetError

    try:
        (x, y), _ = mnist.load_data()
    except DatasetError:
        print("MNIST is not here; measuring on random images of its shape.", file=sys.stderr)
        rng = np.random.default_rng(0)
        x, y = rng.integers(0, 256, (60_000, 28, 28), np.uint8), rng.integers(0, 10, 60_000)
    return x[..., None], y


def minicnn_model(weights: list[Any]) -> Any:
    from minicnn import applications

    model = applications.lenet5(seed=0)
    model.set_weights(weights)
    return model


def keras_model(weights: list[Any]) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from keras import Sequential, layers

    model = Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(6, 5, padding="same", activation="relu"),
            layers.AveragePooling2D(2),
            layers.Conv2D(16, 5, activation="relu"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="relu"),
            layers.Dense(84, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.set_weights(weights)
    return model


def measure(engine: str, folder: Path, epochs: int) -> dict[str, float]:
    """One process's figures. The data are loaded before the clock starts; the first fit, which compiles, is not
    counted."""
    data = np.load(folder / "data.npz")
    x, y = data["x"], data["y"]
    weights = [data[f"w{k}"] for k in range(10)]
    started = time.perf_counter()
    model = (minicnn_model if engine == "minicnn" else keras_model)(weights)
    if epochs == 0:  # the comparison before any timing
        np.save(folder / f"{engine}.npy", model.predict(x[:PREDICT_BATCH], batch_size=PREDICT_BATCH, verbose=0))
        return {}
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x[:BATCH], y[:BATCH], batch_size=BATCH, verbose=0)
    first = time.perf_counter() - started
    steps = -(-len(x) // BATCH)
    train = [seconds(lambda: model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)) for _ in range(epochs)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    model.predict(x[:PREDICT_BATCH], batch_size=PREDICT_BATCH, verbose=0)
    predict = [seconds(lambda: model.predict(x, batch_size=PREDICT_BATCH, verbose=0)) for _ in range(epochs)]
    return {
        "train_ms_per_step": statistics.median(train) / steps * 1e3,
        "predict_us_per_image": statistics.median(predict) / len(x) * 1e6,
        "first_step_s": first,
        "peak_memory_mb": peak,
    }


def seconds(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def worker(engine: str, folder: Path, epochs: int) -> dict[str, float]:
    """measure, in a new process whose BLAS picks its own kernels."""
    environment = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    command = [sys.executable, __file__, "--worker", engine, str(folder), "--epochs", str(epochs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{engine} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    names = [line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    packages = ("numpy", "numba", "scipy", "keras", "tensorflow_cpu")
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        **{name: version(name) for name in packages},
    }


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def table(rounds: list[dict[str, dict[str, float]]]) -> str:
    """The medians and the medians of the ratios, in Markdown."""
    lines = ["| LeNet-5 | minicnn | Keras | minicnn / Keras |", "|---|---|---|---|"]
    for key, title in FIGURES.items():
        ours, theirs = ([r[engine][key] for r in rounds] for engine in ENGINES)
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        lines.append(f"| {title} | {statistics.median(ours):.3g} | {statistics.median(theirs):.3g} | {ratio:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs in each process")
    parser.add_argument("--json", type=Path, help="write every round's figures and the machine here")
    parser.add_argument("--worker", nargs=2, metavar=("ENGINE", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(measure(args.worker[0], Path(args.worker[1]), args.epochs)))
        return

    from minicnn import applications

    x, y = images()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = applications.lenet5(seed=0).get_weights()
        np.savez(folder / "data.npz", x=x, y=y, **{f"w{k}": w for k, w in enumerate(weights)})
        for engine in ENGINES:
            worker(engine, folder, epochs=0)
        difference = float(np.abs(np.load(folder / "minicnn.npy") - np.load(folder / "keras.npy")).max())
        if not difference < 1e-5:
            sys.exit(f"the engines disagree: predictions differ by {difference:.1e}")
        print(f"predictions agree: largest difference {difference:.1e}")
        rounds: list[dict[str, dict[str, float]]] = []
        for number in range(args.rounds):
            rounds.append({engine: worker(engine, folder, args.epochs) for engine in ENGINES})
            print(f"round {number + 1}/{args.rounds}: {rounds[-1]}", flush=True)
    described = machine()
    print("\n" + table(rounds) + "\n\n" + ", ".join(f"{k} {v}" for k, v in described.items()))
    if args.json:
        args.json.write_text(json.dumps({"machine": described, "rounds": rounds}, indent=1) + "\n")


if __name__ == "__main__":
    main()
