"""What is measured on which model: the sheet's batch size and rate, and enough steps for seconds, not minutes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import images, write_json

from minicnn import applications
from minicnn.applications import APPLICATIONS

PREDICT_BATCH = 256


@dataclass(frozen=True)
class Workload:
    """steps: training steps in an epoch that is timed. images: how many are predicted at a time."""

    steps: int
    images: int

    def quick(self) -> "Workload":
        """A tenth, for trying."""
        return Workload(max(4, self.steps // 10), max(PREDICT_BATCH * 2, self.images // 10 // PREDICT_BATCH * 256))


_SMALL, _LARGE = Workload(200, 40 * PREDICT_BATCH), Workload(32, 16 * PREDICT_BATCH)

WORKLOADS: dict[str, Workload] = {
    "cnn_relu": _SMALL,
    "cnn_tanh": _SMALL,
    "cnn_dropout": _SMALL,
    "lenet5": Workload(300, 80 * PREDICT_BATCH),
    "alexnet_mnist": _LARGE,
    "cnn_cifar10": _LARGE,
    "lenet5_cifar10": _SMALL,
    "alexnet_cifar10": Workload(48, 16 * PREDICT_BATCH),
}


def lay_out(name: str, workload: Workload, folder: Path) -> dict[str, Any]:
    """Write x.npy, y.npy, model.json and weights.npz for every engine. Returns the facts that jobs are made of.

    The facts: folder, batch (of training), learning_rate, steps, images, and source (of the images).
    """
    application = APPLICATIONS[name]
    folder.mkdir(parents=True, exist_ok=True)
    x, y, source = images(application.dataset, max(workload.steps * application.batch_size, workload.images))
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    model = applications.build(name, seed=0)
    write_json(folder / "model.json", model.get_config())
    np.savez(folder / "weights.npz", **{f"w{k}": array for k, array in enumerate(model.get_weights())})  # type: ignore[arg-type]
    return {
        "folder": str(folder),
        "batch": application.batch_size,
        "learning_rate": application.learning_rate,
        "steps": workload.steps,
        "images": workload.images,
        "source": source,
    }
