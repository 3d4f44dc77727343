"""What every engine's process does: read a job, run it with that engine, write the figures.

    python minicnn_engine.py JOB.json RESULT.json      (keras_engine.py, torch_engine.py, onnx_engine.py likewise)

compare.py writes the jobs and starts the processes. Only the standard library and NumPy are imported here, and NumPy
late, so that an engine's import can be timed in a process that has imported nothing yet; nothing comes from the rest of
bench/, so that an engine's own environment is enough.

A job holds: task, variant, folder (with x.npy, y.npy, model.json and weights.npz), batch, and what the task needs.
Images are uint8 (N, H, W, C), labels int64 (N,), weights in Keras's order and layouts.
"""

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Job = dict[str, Any]
Call = Callable[[Any], Any]


class Engine:
    """One library, as a competent user would drive it. A subclass says how; the tasks below time it."""

    packages: tuple[str, ...] = ()
    """Distributions whose versions belong into the report."""

    def load(self) -> None:
        """Import the library: what a training script does in its first lines."""
        raise NotImplementedError

    def build(self, job: Job) -> None:
        """Make the model of the job, with its weights, in the job's variant."""
        raise NotImplementedError

    def compile(self, job: Job) -> None:
        """Choose Adam with the job's rate, cross-entropy on integer labels, and accuracy."""
        raise NotImplementedError

    def prepare(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Images and labels in the form in which this variant keeps them in memory: still uint8."""
        return x, y

    def epochs(self, x: Any, y: Any, batch: int, count: int, shuffle: bool = True) -> tuple[list[float], list[float]]:
        """Train; the seconds and the mean loss of each epoch."""
        raise NotImplementedError

    def loss(self, x: Any, y: Any) -> float:
        """The loss of one batch in inference mode, penalties included."""
        raise NotImplementedError

    def predict(self, x: Any, batch: int) -> Any:
        """Class probabilities (N, 10) as a NumPy array."""
        raise NotImplementedError

    def single_calls(self) -> dict[str, Call]:
        """The ways to get probabilities for one prepared image, by name."""
        raise NotImplementedError


# -- tasks


def check(engine: Engine, job: Job) -> dict[str, Any]:
    """What engines must agree on: predictions, of as many images and in the batches that are timed, and the losses of
    one training batch in inference and in three steps."""
    engine.load()
    engine.build(job)
    x, _ = engine.prepare(*_images(job, job["images"]))
    result: dict[str, Any] = {"predictions": engine.predict(x, job["predict_batch"]).tolist()}
    if job["with_training"]:
        engine.compile(job)
        x, y = engine.prepare(*_images(job, job["batch"]))
        result["losses"] = [engine.loss(x, y), *engine.epochs(x, y, job["batch"], 3, shuffle=False)[1]]
    return result


def train(engine: Engine, job: Job) -> dict[str, Any]:
    """Milliseconds a step, and the most memory that the process held. A first short training is not counted."""
    engine.load()
    engine.build(job)
    engine.compile(job)
    x, y = engine.prepare(*_images(job, job["steps"] * job["batch"]))
    warm_up = job["batch"] * min(job["steps"], 10)
    engine.epochs(x[:warm_up], y[:warm_up], job["batch"], 1)
    seconds, _ = engine.epochs(x, y, job["batch"], job["epochs"])
    return {
        "train_ms": statistics.median(seconds) / job["steps"] * 1e3,
        "train_ms_epochs": [s / job["steps"] * 1e3 for s in seconds],
        "memory_mb": peak_memory_mb(),
    }


def predict(engine: Engine, job: Job) -> dict[str, Any]:
    """Microseconds an image over a whole set, in batches. The first batches are not counted."""
    engine.load()
    engine.build(job)
    x, _ = engine.prepare(*_images(job, job["images"]))
    engine.predict(x[: 4 * job["batch"]], job["batch"])
    times = [_seconds(lambda: engine.predict(x, job["batch"])) for _ in range(job["epochs"])]
    calls = [seconds / job["images"] * 1e6 for seconds in times]
    return {"predict_us": statistics.median(calls), "predict_us_calls": calls}


def latency(engine: Engine, job: Job) -> dict[str, Any]:
    """Microseconds a call with one image: the median over job["seconds"] of calls, for each way of calling."""
    engine.load()
    engine.build(job)
    x, _ = engine.prepare(*_images(job, 256))
    figures = {name: _median_call(call, x, job["seconds"]) for name, call in engine.single_calls().items()}
    return {"latency_us": min(figures.values()), "latency_us_calls": figures}


def first(engine: Engine, job: Job) -> dict[str, Any]:
    """Seconds to import the library, and from there to the end of the first training step, reading data left out."""
    imported = _seconds(engine.load)
    x, y = _images(job, job["batch"])
    started = time.perf_counter()
    engine.build(job)
    engine.compile(job)
    x, y = engine.prepare(x, y)
    engine.epochs(x, y, job["batch"], 1)
    return {"import_s": imported, "first_step_s": imported + time.perf_counter() - started}


def about(engine: Engine, job: Job) -> dict[str, Any]:
    """Versions of Python and of the engine's packages; None for one that is not installed."""
    return {"python": sys.version.split()[0], **{name: _version(name) for name in engine.packages}}


TASKS = {task.__name__: task for task in (check, train, predict, latency, first, about)}


def main(engine: Engine, **further_tasks: Callable[[Any, Job], dict[str, Any]]) -> None:
    """Run the job of the command line. further_tasks: what this engine alone can do."""
    job = json.loads(Path(sys.argv[1]).read_text())
    result = {**TASKS, **further_tasks}[job["task"]](engine, job)
    Path(sys.argv[2]).write_text(json.dumps(result))


# -- reading what compare.py laid out


def weights(job: Job) -> list[Any]:
    """The arrays that model.get_weights() gave, in its order."""
    import numpy as np

    with np.load(Path(job["folder"]) / "weights.npz") as file:
        return [file[f"w{k}"] for k in range(len(file.files))]


def model_config(job: Job) -> dict[str, Any]:
    """model.get_config(): the layers with Keras's class names and arguments. For a check, without dropout's chance."""
    config: dict[str, Any] = json.loads((Path(job["folder"]) / "model.json").read_text())
    for layer in config["layers"]:
        if layer["class_name"] == "Dropout" and job["task"] == "check":
            layer["config"]["rate"] = 0.0
    return config


def _images(job: Job, count: int) -> tuple[Any, Any]:
    import numpy as np

    x, y = (np.load(Path(job["folder"]) / f"{name}.npy", mmap_mode="r")[:count] for name in ("x", "y"))
    return np.array(x), np.array(y)


def peak_memory_mb() -> float:
    """The most memory that this process has held, in MB (2**20 bytes).

    Linux's VmHWM begins anew with the program; ru_maxrss would count what the parent held when it started us.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _median_call(call: Call, x: Any, seconds: float) -> float:
    """Microseconds of call on one image of x after the other."""
    for k in range(20):
        call(x[k : k + 1])
    times: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        k = len(times) % len(x)
        image = x[k : k + 1]
        started = time.perf_counter()
        call(image)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6


def _seconds(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
