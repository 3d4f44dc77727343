"""How time grows with the batch, the size of the images, the number of channels, and the threads.

    python bench/scaling.py                                             # four of the models
    python bench/scaling.py --models cnn_relu --axes batch threads --rounds 5
    python bench/scaling.py --quick

A model of minicnn.applications is changed along one axis and trained and asked for predictions at each point: other
batch sizes; other image sizes (the layers stay, random pixels); all convolutions and hidden dense layers with a
multiple of their channels; other numbers of threads. Points alternate, round by round, in one process; figures are
medians, after a batch for which no time is taken. A call has half as many images as one of predict in compare.py, but
2048 at least, and fewer where they are large: of alexnet_mnist 2048, too few for Strassen's product
(minicnn/steps/strassen.py). predict takes up to 256 images of small batches at once, so that its batches of 32 to 256
are alike. Each table shows the time an image and what it is relative to the best point: for images by pixel, for
channels by floating-point operation, so that 1.0 everywhere would be perfect scaling; for threads the speed-up.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    OUT,
    clear_settings,
    describe,
    images,
    json_to_write,
    machine,
    markdown_table,
    number,
    positive,
    write_json,
)
from limits import product_flops
from workloads import WORKLOADS

from minicnn import applications, optimizers
from minicnn.applications import APPLICATIONS
from minicnn.config import get_num_threads, set_num_threads
from minicnn.errors import ShapeError
from minicnn.models import Sequential

AXES: dict[str, list[float]] = {
    "batch": [32, 64, 128, 256, 512, 1024],
    "image": [16, 24, 32, 48, 64, 96],
    "channels": [0.25, 0.5, 1, 2, 4],
    "threads": [1, 2],
}
MODELS = ("lenet5", "cnn_relu", "cnn_cifar10", "alexnet_mnist")
TITLES = {
    "batch": "batch size",
    "image": "height and width of an image",
    "channels": "times as many channels",
    "threads": "threads",
}
PHASES = ("train", "predict")


@dataclass(frozen=True)
class Point:
    """A model at one place of an axis: how to run it once, over how many images, and what those cost.

    pixels: of one image; flops: floating-point operations of one image's forward pass.
    """

    value: float
    threads: int
    count: int
    pixels: int
    flops: float
    warm: Callable[[], Any]
    train: Callable[[], Any]
    predict: Callable[[], Any]


# -- points


def points(name: str, axis: str, values: list[float], count: int) -> Iterator[Point]:
    """The points of an axis that the model allows, warmed up. count: about how many images each runs over."""
    config = applications.build(name, seed=0).get_config()
    batch = APPLICATIONS[name].batch_size
    for value in values:
        size = int(value) if axis == "batch" else batch
        threads = int(value) if axis == "threads" else get_num_threads()
        try:
            changed = resized(config, int(value)) if axis == "image" else config
            model = Sequential.from_config(widened(changed, value) if axis == "channels" else changed, seed=0)
        except ShapeError as error:
            print(f"{name}: no {axis} {value:g} ({error})")
            continue
        wanted = count if axis != "image" else int(count * min(1.0, 28**2 / value**2))
        yield _point(model, name, value, threads, size, max(1, wanted // size) * size)


def _point(model: Sequential, name: str, value: float, threads: int, size: int, count: int) -> Point:
    shape = tuple(int(n or 0) for n in model.input_shape[1:])
    x, y, _ = images(APPLICATIONS[name].dataset, count)
    if x.shape[1:] != shape:
        x = np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)
    adam = optimizers.Adam(APPLICATIONS[name].learning_rate)
    model.compile(adam, "sparse_categorical_crossentropy", metrics=["accuracy"])

    def warm() -> None:
        model.fit(x[:size], y[:size], batch_size=size, verbose=0)
        model.predict(x[:size], batch_size=size, verbose=0)

    point = Point(
        value,
        threads,
        count,
        pixels=shape[0] * shape[1],
        flops=sum(product_flops(layer, 1) for layer in model.layers),
        warm=warm,
        train=lambda: model.fit(x, y, batch_size=size, verbose=0),
        predict=lambda: model.predict(x, batch_size=size, verbose=0),
    )
    set_num_threads(threads)
    warm()
    return point


def resized(config: dict[str, Any], size: int) -> dict[str, Any]:
    """A model's config for images of size x size pixels."""
    first, *rest = config["layers"]
    shape = (None, size, size, first["config"]["batch_shape"][3])
    return {**config, "layers": [{**first, "config": {**first["config"], "batch_shape": shape}}, *rest]}


def widened(config: dict[str, Any], factor: float) -> dict[str, Any]:
    """A model's config with so many times the filters and hidden units; the last layer keeps its classes."""
    *layers, last = config["layers"]
    changed = []
    for layer in layers:
        sizes = {k: max(1, round(v * factor)) for k, v in layer["config"].items() if k in ("filters", "units")}
        changed.append({**layer, "config": {**layer["config"], **sizes}})
    return {**config, "layers": [*changed, last]}


# -- measuring


def measure(name: str, axis: str, values: list[float], count: int, rounds: int) -> list[dict[str, Any]]:
    """Seconds an image at each point, training and predicting: the median over rounds that alternate the points."""
    threads = get_num_threads()
    there = list(points(name, axis, values, count))
    seconds: dict[tuple[int, str], list[float]] = {}
    for _ in range(rounds):
        for k, point in enumerate(there):
            set_num_threads(point.threads)
            point.warm()  # the point before has left memory for batches of another size
            for phase, run in zip(PHASES, (point.train, point.predict), strict=True):
                started = time.perf_counter()
                run()
                seconds.setdefault((k, phase), []).append((time.perf_counter() - started) / point.count)
    set_num_threads(threads)
    return [
        {
            "value": point.value,
            "pixels": point.pixels,
            "flops": point.flops,
            **{phase: statistics.median(seconds[k, phase]) for phase in PHASES},
            **{f"{phase}_rounds": seconds[k, phase] for phase in PHASES},
        }
        for k, point in enumerate(there)
    ]


def relative(axis: str, measured: list[dict[str, Any]], phase: str) -> list[float]:
    """What the table shows beside the times: speed-up over the first point for threads, else times the best point."""
    if axis == "threads":
        return [measured[0][phase] / point[phase] for point in measured]
    work = {"image": "pixels", "channels": "flops"}.get(axis)
    costs = [point[phase] / (point[work] if work else 1) for point in measured]
    return [cost / min(costs) for cost in costs]


def table(axis: str, measured: list[dict[str, Any]]) -> str:
    """One row a point."""
    unit = {"image": " a pixel", "channels": " an operation", "threads": ""}.get(axis, "")
    what = "speed-up" if axis == "threads" else f"time{unit}, relative to the best"
    header = [TITLES[axis]]
    for phase in PHASES:
        header += [f"{phase}, µs an image", what]
    ratios = [relative(axis, measured, phase) for phase in PHASES]
    rows = []
    for k, point in enumerate(measured):
        cells = [[number(point[phase] * 1e6), f"{ratio[k]:.2f}"] for phase, ratio in zip(PHASES, ratios, strict=True)]
        rows.append([f"{point['value']:g}", *cells[0], *cells[1]])
    return markdown_table(header, rows)


def draw(record: dict[str, Any], path: Path) -> None:
    """A panel for each axis: relative time (speed-up for threads) of every model; solid training, dashed predicting."""
    from matplotlib.figure import Figure

    axes_measured = [axis for axis in AXES if any(axis in found for found in record["models"].values())]
    drawing = Figure(figsize=(4.2 * len(axes_measured), 3.8), layout="constrained")
    for panel, axis in zip(drawing.subplots(1, len(axes_measured), squeeze=False)[0], axes_measured, strict=True):
        for k, (name, found) in enumerate(record["models"].items()):
            for phase, style in zip(PHASES, ("o-", "s--"), strict=True):
                values = [point["value"] for point in found.get(axis, [])]
                ratios = relative(axis, found[axis], phase) if values else []
                panel.plot(values, ratios, style, color=f"C{k}", markersize=4, label=f"{name}, {phase}")
        if axis != "threads":
            panel.set_xscale("log", base=2)
        ticks = (
            AXES[axis]
            if axis != "threads"
            else sorted({p["value"] for f in record["models"].values() for p in f[axis]})
        )
        panel.set_xticks(ticks, [f"{value:g}" for value in ticks], minor=False)
        panel.minorticks_off()
        panel.set_xlabel(TITLES[axis], fontsize=9)
        by = {"image": " a pixel", "channels": " an operation"}.get(axis, " an image")
        panel.set_title("speed-up" if axis == "threads" else f"time{by}, 1 = best point", fontsize=10)
        panel.set_ylabel("speed-up" if axis == "threads" else "relative time")
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    handles = {
        label: line for axes in drawing.axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    drawing.legend(handles.values(), handles, loc="outside right upper", fontsize=8, frameon=False)
    drawing.supxlabel(describe(record["machine"]), fontsize=8, color="#555555")
    drawing.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(WORKLOADS), default=list(MODELS))
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES))
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument(
        "--json", type=json_to_write, default=str(OUT / "scaling.json"), help="kept here; .md and .png beside it"
    )
    parser.add_argument("--quick", action="store_true", help="few images, one round, the outer points of each axis")
    args = parser.parse_args()
    clear_settings()
    AXES["threads"] = [float(k) for k in range(1, get_num_threads() + 1)]
    record: dict[str, Any] = {"machine": machine(), "rounds": 1 if args.quick else args.rounds, "models": {}}
    said = [describe(record["machine"])]
    print(said[0])
    for name in args.models:
        record["models"][name] = {}
        for axis in args.axes:
            values = AXES[axis]
            count = 1024 if args.quick else max(2048, WORKLOADS[name].images // 2)
            chosen = [values[0], values[len(values) // 2], values[-1]] if args.quick and len(values) > 3 else values
            measured = measure(name, axis, chosen, count, record["rounds"])
            record["models"][name][axis] = measured
            said.append(f"\n### {name}: {TITLES[axis]}\n\n{table(axis, measured)}")
            print(said[-1], flush=True)
            write_json(args.json, record)
    args.json.with_suffix(".md").write_text("\n".join(said) + "\n")
    draw(record, args.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
