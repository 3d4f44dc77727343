"""compare.py's tables, in Markdown, and its plot, from the record that a run left."""

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import RecordError, describe, markdown_table, number, read_json

Run = dict[str, Any]
Value = Callable[[Run], float]

NAMES = {"minicnn": "minicnn", "keras": "Keras", "torch": "PyTorch", "onnxruntime": "ONNX Runtime"}
COLOURS = {"minicnn": "#0072B2", "keras": "#E69F00", "torch": "#CC5A43", "onnxruntime": "#8C8C8C"}
PEERS_IN_TRAINING = ("keras", "torch")


@dataclass(frozen=True)
class Timing:
    """An engine's figure on a model: the variant with the lowest median, that median, and the value of each round."""

    engine: str
    variant: str
    median: float
    rounds: dict[int, float]


def timing(record: Run, model: str, engine: str, measure: str, value: Value) -> Timing | None:
    """The engine's best variant for this figure, or None if it was not measured."""
    variants: dict[str, dict[int, float]] = {}
    for run in record["runs"]:
        if (run["model"], run["engine"], run["measure"]) == (model, engine, measure) and "figures" in run:
            variants.setdefault(run["variant"], {})[run["round"]] = value(run["figures"])
    found = [Timing(engine, name, statistics.median(rounds.values()), rounds) for name, rounds in variants.items()]
    return min(found, key=lambda t: t.median, default=None)


def times_as_fast(own: Timing | None, peers: Iterable[Timing | None]) -> list[float]:
    """In each round, how many times as long as we the peer takes that is faster in it; sorted. Empty if there is none.

    Only rounds that all the peers have count: one of them left out might have been the faster.
    """
    there = [peer for peer in peers if peer is not None]
    if own is None or not there:
        return []
    common = [r for r in own.rounds if all(r in peer.rounds for peer in there)]
    return sorted(min(peer.rounds[r] for peer in there) / own.rounds[r] for r in common)


def geometric_mean(values: Iterable[float]) -> float:
    """The mean that fits ratios. NaN for none."""
    logarithms = [math.log(v) for v in values]
    return math.exp(statistics.fmean(logarithms)) if logarithms else math.nan


def figure(name: str) -> Value:
    return lambda figures: figures[name]


def call_latency(*names: str) -> Value:
    """The fastest of these ways of calling, µs."""
    return lambda figures: min(v for k, v in figures["latency_us_calls"].items() if k in names)


# -- tables


def tables(record: Run) -> str:
    """All tables for which there are figures, and what they were measured on."""
    parts = [
        _title("Training: ms a step, batch gathering, accuracy and Adam included"),
        _speed_table(record, "train", "train_ms", ()),
        _title(f"Predicting: µs an image, batches of 256, {_fewest_images(record)} images or more a call"),
        _speed_table(record, "predict", "predict_us", ("onnxruntime",)),
        _title("One image at a time: µs a call"),
        _latency_table(record),
        _title("Peak memory of the training process, MB"),
        _memory_table(record),
        _title("A new process: seconds to import, and from the start of the import to the end of the first step"),
        _start_table(record),
    ]
    kept = [title + table for title, table in zip(parts[::2], parts[1::2], strict=True) if table]
    return "\n\n".join([*kept, _footer(record)]) + "\n"


def _fewest_images(record: Run) -> str:
    return f"{min(facts['images'] for facts in record['models'].values()):,}"


def _title(text: str) -> str:
    return f"### {text}\n\n"


def _models(record: Run, measure: str) -> list[str]:
    measured = {run["model"] for run in record["runs"] if run["measure"] == measure and "figures" in run}
    return [model for model in record["models"] if model in measured]


def _speed_table(record: Run, measure: str, name: str, further: tuple[str, ...]) -> str:
    """One row a model. Last columns: times as fast as the better of Keras and PyTorch, then as each further peer."""
    engines = ("minicnn", *PEERS_IN_TRAINING, *further)
    rows, ratios, further_ratios = [], [], []
    for model in _models(record, measure):
        found = {engine: timing(record, model, engine, measure, figure(name)) for engine in engines}
        ratio = times_as_fast(found["minicnn"], [found[engine] for engine in PEERS_IN_TRAINING])
        others = [times_as_fast(found["minicnn"], [found[engine]]) for engine in further]
        ratios.append(ratio)
        further_ratios.append(others)
        rows.append([f"`{model}`", *map(_cell, found.values()), _ratio(ratio), *map(_ratio, others)])
    if not rows:
        return ""
    there = [NAMES[peer] for peer in PEERS_IN_TRAINING if any(run["engine"] == peer for run in record["runs"])]
    means = [_mean(ratios)] + [_mean([others[k] for others in further_ratios]) for k in range(len(further))]
    rows.append(["geometric mean", *[""] * len(engines), *means])
    better = f"the better of {there[0]} and {there[1]}" if len(there) == 2 else (there or ["its peers"])[0]
    header = ["", *(NAMES[engine] for engine in engines), f"times as fast as {better}"]
    return markdown_table([*header, *(f"as {NAMES[engine]}" for engine in further)], rows)


def _latency_table(record: Run) -> str:
    rows, ratios = [], []
    for model in _models(record, "latency"):
        columns = [
            timing(record, model, "minicnn", "latency", call_latency("predict")),
            timing(record, model, "minicnn", "latency", call_latency("predict_on_batch", "call")),
            timing(record, model, "keras", "latency", call_latency("predict")),
            timing(record, model, "keras", "latency", call_latency("predict_on_batch", "call")),
            timing(record, model, "torch", "latency", figure("latency_us")),
            timing(record, model, "onnxruntime", "latency", figure("latency_us")),
        ]
        ratios.append([times_as_fast(columns[0], [peer]) for peer in columns[4:]])
        rows.append([f"`{model}`", *map(_cell, columns), *map(_ratio, ratios[-1])])
    if not rows:
        return ""
    rows.append(["geometric mean", *[""] * 6, *(_mean([pair[k] for pair in ratios]) for k in (0, 1))])
    header = ["", "minicnn `predict`", "minicnn `predict_on_batch`", "Keras `predict`", "Keras `predict_on_batch`"]
    header += ["PyTorch", "ONNX Runtime", "`predict` times as fast as PyTorch", "as ONNX Runtime"]
    return markdown_table(header, rows)


def _memory_table(record: Run) -> str:
    rows = []
    for model in _models(record, "train"):
        found = {e: timing(record, model, e, "train", figure("memory_mb")) for e in ("minicnn", *PEERS_IN_TRAINING)}
        shares = [_ratio([1 / r for r in times_as_fast(found["minicnn"], [found[e]])]) for e in PEERS_IN_TRAINING]
        rows.append([f"`{model}`", *map(_cell, found.values()), *shares])
    header = ["", "minicnn", "Keras", "PyTorch", "minicnn / Keras", "minicnn / PyTorch"]
    return markdown_table(header, rows) if rows else ""


def _start_table(record: Run) -> str:
    rows = []
    for model in _models(record, "first"):
        for engine in ("minicnn", *PEERS_IN_TRAINING):
            found = [timing(record, model, engine, "first", figure(name)) for name in ("import_s", "first_step_s")]
            cold = timing(record, model, engine, "cold", figure("first_step_s"))
            if found[0] is not None:
                rows.append([f"`{model}`, {NAMES[engine]}", *(number(t.median if t else None) for t in (*found, cold))])
    header = ["", "import", "first step", "first step ever (kernels are compiled)"]
    return markdown_table(header, rows) if rows else ""


def _cell(found: Timing | None) -> str:
    if found is None:
        return "–"
    plain = found.variant == "default"
    return number(found.median) + ("" if plain else f" ({found.variant.replace('_', ' ')})")


def _ratio(rounds: list[float]) -> str:
    """The median, with the lowest and highest round if there are several."""
    if not rounds:
        return "–"
    rounds = sorted(rounds)
    middle = f"{statistics.median(rounds):.2f}"
    return middle if len(rounds) == 1 else f"{middle} ({rounds[0]:.2f} to {rounds[-1]:.2f})"


def _mean(ratios: list[list[float]]) -> str:
    there = [statistics.median(rounds) for rounds in ratios if rounds]
    return f"{geometric_mean(there):.2f}" if there else "–"


def _footer(record: Run) -> str:
    versions = {}
    for engine, facts in record["versions"].items():
        versions[engine] = ", ".join(f"{k} {v}" for k, v in facts.items() if v is not None)
    measured = {run["model"] for run in record["runs"]}
    batches = ", ".join(
        f"{facts['batch']} on {model}" for model, facts in record["models"].items() if model in measured
    )
    lines = [
        f"{describe(record['machine'])}; medians of {_rounds(record)} in alternation.",
        "Ratios are formed in each round, with the peer that is faster in it, PyTorch in its variant of the lowest "
        "median: their median, lowest and highest.",
        f"A name in parentheses is the variant of the engine with the lowest median. Training batches: {batches}.",
        *(f"{NAMES[engine]}: {text}." for engine, text in versions.items()),
        f"Images: {', '.join(sorted({facts['source'] for facts in record['models'].values()}))}.",
        *_agreement(record),
        *_left_out(record),
    ]
    if record.get("quick"):
        lines.insert(0, "Made with --quick: no figures to quote.")
    return "  \n".join(lines)


def _rounds(record: Run) -> str:
    """How many rounds minicnn was measured in: from the figure with the fewest to the one with the most."""
    by_figure: dict[tuple[str, str], set[int]] = {}
    for run in record["runs"]:
        if run["engine"] == "minicnn" and "figures" in run:
            by_figure.setdefault((run["model"], run["measure"]), set()).add(run["round"])
    counts = [len(rounds) for rounds in by_figure.values()]
    least, most = min(counts, default=0), max(counts, default=0)
    if least != most:
        return f"{least} to {most} rounds"
    return f"{most} round" + "s" * (most != 1)


def _agreement(record: Run) -> list[str]:
    """How far the engines' outputs were from minicnn's before anything was timed."""
    most: dict[str, float] = {}
    for check in (check for checks in record["checks"].values() for check in checks.values()):
        for what, value in check.items():
            most[what] = max(value, most.get(what, 0.0))
    said = ", ".join(f"{what} {value:.1e}" for what, value in most.items())
    return [f"Largest differences from minicnn's outputs, of losses relatively: {said}."] if most else []


def _left_out(record: Run) -> list[str]:
    """The variants that were measured in the first round alone, as too slow, and those that failed."""
    rounds_of: dict[tuple[str, str, str, str], set[int]] = {}
    failed = set()
    for run in record["runs"]:
        key = run["model"], run["measure"], run["engine"], run["variant"]
        if "failed" in run:
            failed.add(key)
        rounds_of.setdefault(key, set()).add(run["round"])
    gone_on = {key[:3] for key, rounds in rounds_of.items() if max(rounds) > 1}
    few = {key for key, rounds in rounds_of.items() if rounds == {1} and key[:3] in gone_on} - failed
    told = [("Slower and measured in the first round alone", few), ("Failed", failed)]
    return [f"{what}: {_listed(keys)}." for what, keys in told if keys]


def _listed(keys: Iterable[tuple[str, str, str, str]]) -> str:
    """model measure: variant and variant; ..."""
    by_figure: dict[str, list[str]] = {}
    for model, measure, engine, variant in sorted(keys):
        name = NAMES[engine] if variant == "default" else variant.replace("_", " ")
        by_figure.setdefault(f"{model} {measure}", []).append(name)
    return "; ".join(f"{place}: {', '.join(names)}" for place, names in by_figure.items())


# -- plot


def draw(record: Run, path: Path) -> None:
    """Bars of each engine's time relative to minicnn's, training beside predicting, to a PNG."""
    from matplotlib.figure import Figure

    panels = [
        (measure, title, name, unit, engines)
        for measure, title, name, unit, engines in (
            ("train", "Training", "train_ms", "ms a step", ("minicnn", "keras", "torch")),
            ("predict", "Predicting, batches of 256", "predict_us", "µs an image", tuple(NAMES)),
        )
        if _models(record, measure)
    ]
    if not panels:
        return
    drawing = Figure(figsize=(6.2 * len(panels), 7.2), layout="constrained")
    for axes, panel in zip(drawing.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _panel(axes, record, *panel)
    drawing.legend(
        *axes.get_legend_handles_labels(),
        title="Time relative to minicnn: shorter is faster",
        title_fontproperties={"size": 13, "weight": "bold"},
        loc="outside upper center",
        ncols=len(NAMES),
        frameon=False,
        fontsize=9,
    )
    drawing.supxlabel(describe(record["machine"]), fontsize=8, color="#555555")
    drawing.savefig(path, dpi=130)


def _panel(axes: Any, record: Run, measure: str, title: str, name: str, unit: str, engines: tuple[str, ...]) -> None:
    models = _models(record, measure)
    height = 0.84 / len(engines)
    for k, engine in enumerate(engines):
        found = [timing(record, model, engine, measure, figure(name)) for model in models]
        own = [timing(record, model, "minicnn", measure, figure(name)) for model in models]
        places = [row + (k - (len(engines) - 1) / 2) * height for row in range(len(models))]
        ratios = [times_as_fast(b, [a]) for a, b in zip(found, own, strict=True)]
        widths = [statistics.median(rounds) if rounds else 0 for rounds in ratios]
        axes.barh(places, widths, height * 0.92, color=COLOURS[engine], label=NAMES[engine])
        for place, width, entry in zip(places, widths, found, strict=True):
            if entry is not None:
                axes.annotate(
                    number(entry.median), (width, place), (3, 0), textcoords="offset points", va="center", fontsize=7.5
                )
    axes.axvline(1, color=COLOURS["minicnn"], linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(models)), models, fontsize=9)
    axes.set_title(f"{title} ({unit} at the bars)", fontsize=10)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.1)
    axes.set_ylim(len(models) - 0.5, -0.5)  # the first model at the top


def read_record(path: Path) -> dict[str, Any]:
    """What compare.py has kept. Raises RecordError for anything else."""
    record: dict[str, Any] = read_json(path, "compare.py")
    missing = {"machine", "versions", "models", "checks", "runs"}.difference(record if isinstance(record, dict) else ())
    if missing:
        raise RecordError(f"{path}: has no {', '.join(sorted(missing))}; give what compare.py --json wrote.")
    return record


def write_report(path: Path) -> str:
    """Write the record's tables and plot beside it, as .md and .png; returns the tables. Raises as read_record."""
    record = read_record(path)
    if not record["models"]:
        raise RecordError(f"{path}: is of a run that ended before anything was measured; run compare.py again.")
    try:
        text = tables(record)
        path.with_suffix(".md").write_text(text)
        draw(record, path.with_suffix(".png"))
    except (AttributeError, KeyError, TypeError) as error:
        raise RecordError(f"{path}: is not whole ({error!r}); give what compare.py --json wrote.") from error
    return text
