"""minicnn beside Keras, PyTorch and ONNX Runtime, on the eight models of minicnn.applications.

    python bench/make_environments.py                      # once: the peers, pinned, in bench/.envs
    python bench/compare.py      # everything, three rounds; an hour and forty minutes with all measures but `first`
    python bench/compare.py --models lenet5 cnn_relu --engines minicnn torch --measures train --rounds 5
    python bench/compare.py --quick                        # does it work here? no figures to quote
    python bench/compare.py --report bench/results/compare.json      # tables and plot of a run that was kept

All engines get the same weights, made by minicnn, and the same uint8 images; that they predict the same, and that the
losses of their first training steps are the same, is checked before anything is timed. Every measurement runs in a
process of its own. Rounds alternate: engine after engine on one model and figure, then the next, and the other way
round every second time, so that a machine whose speed drifts treats all alike. Each engine chooses its threads by
itself; settings such as OPENBLAS_CORETYPE are removed from what the processes see.

What runs: minicnn and Keras `fit` and `predict`; PyTorch a plain loop, in its default layout, channels-last and through
torch.compile, of which the best counts for each figure; ONNX Runtime the model exported from PyTorch. PyTorch's
variants that took more than 2.5 times as long as its best in the first round are left out of the others: less tells
nothing in a single reading, since rounds have differed by a factor of up to 1.9. Training includes shuffling, gathering
each batch from the images in memory, loss, accuracy and Adam; the first steps, which compile, are not counted.

Results are kept in bench/out/compare.json, or where --json says, as they come; --resume goes on after an interruption,
on the same machine and with the same sources of minicnn, and tries again what failed. The tables give medians over the
rounds; ratios are formed in each round with the peer that is faster in it, and their median is given.
"""

import argparse
import hashlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    BENCH,
    ENVIRONMENTS,
    OUT,
    ChildFailedError,
    RecordError,
    json_file,
    json_to_write,
    load_average,
    machine,
    positive,
    run_child,
    write_json,
)
from make_environments import python_of
from report import read_record, write_report
from workloads import PREDICT_BATCH, WORKLOADS, lay_out

TOLERANCES = {"probabilities": 1e-4, "losses": 1e-4}
LATER_LOSSES = {"keras": 2e-4, "torch": 5e-3}
"""How far an engine's outputs may be from minicnn's, losses relatively. After an update PyTorch's differ more: it adds
Adam's epsilon after the bias correction, Keras and minicnn before it."""

MEASURES = ("train", "predict", "latency", "first")
SLOWER = 2.5
"""Variants that take more than so many times as long as the best of their engine in round 1 are not run again. That is
one reading, and the noise between rounds has been a factor of up to 1.9: below it a variant may be the best yet."""


@dataclass(frozen=True)
class Peer:
    """How an engine is run: its script, its variants, and what it is measured on."""

    script: Path
    variants: tuple[str, ...]
    measures: tuple[str, ...] = MEASURES


_ENGINES = BENCH / "engines"
PEERS = {
    "minicnn": Peer(_ENGINES / "minicnn_engine.py", ("default",), ("train", "predict", "latency", "first", "cold")),
    "keras": Peer(_ENGINES / "keras_engine.py", ("default",)),
    "torch": Peer(_ENGINES / "torch_engine.py", ("nchw", "channels_last", "compiled", "compiled_channels_last")),
    "onnxruntime": Peer(_ENGINES / "onnx_engine.py", ("default",), ("predict", "latency")),
}
KEY_FIGURE = {"train": "train_ms", "predict": "predict_us", "latency": "latency_us", "first": "first_step_s"}


class Comparison:
    """One run: the arguments, the folder with the laid-out models, and the record that is written as it grows."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder = args, folder
        self.pythons = {
            "minicnn": sys.executable,
            "keras": args.keras_python,
            "torch": args.torch_python,
            "onnxruntime": args.torch_python,
        }
        self.facts: dict[str, dict[str, Any]] = {}
        self.record: dict[str, Any] = {
            "machine": machine(),
            "quick": args.quick,
            "sources": sources(),
            "versions": {},
            "models": {},
            "checks": {},
            "runs": [],
        }
        if args.resume and args.json.exists():
            self.go_on(read_record(args.json))

    def go_on(self, earlier: dict[str, Any]) -> None:
        """Take over what a run has measured; what failed in it is tried again. Ends the program if it was another's."""
        quick = earlier.get("quick", False)
        if quick != self.args.quick:
            sys.exit(f"compare: {self.args.json} was made {'with' if quick else 'without'} --quick.")
        if earlier.get("sources") != self.record["sources"]:
            sys.exit(f"compare: {self.args.json} was made by other sources of minicnn; begin anew without --resume.")
        for what in ("processor", "cores", "system"):
            if earlier["machine"].get(what) != self.record["machine"][what]:
                sys.exit(f"compare: {self.args.json} was made with another {what}; begin anew without --resume.")
        self.record |= {key: earlier[key] for key in ("machine", "versions", "models", "checks")}
        self.record["runs"] = [run for run in earlier["runs"] if "failed" not in run]

    def run(self) -> None:
        """Check, then measure round by round."""
        for engine in self.args.engines:
            versions = self.child(engine, {"task": "about"})
            if self.record["versions"].setdefault(engine, versions) != versions:
                sys.exit(
                    f"compare: {self.args.json} was made with other versions of {engine}; begin anew without --resume."
                )
        for model in self.args.models:
            workload = WORKLOADS[model].quick() if self.args.quick else WORKLOADS[model]
            self.facts[model] = lay_out(model, workload, self.folder / model)
            self.record["models"][model] = {k: v for k, v in self.facts[model].items() if k != "folder"}
            if "onnxruntime" in self.args.engines:
                self.child("torch", {"task": "export", "variant": "nchw", **self.facts[model]})
            # Fills the cache of kernels.
            self.child("minicnn", {"task": "first", "variant": "default", **self.facts[model]})
            self.check(model)
        for number in range(1, self.args.rounds + 1):
            for model in self.args.models:
                for measure in self.args.measures:
                    if measure != "first" or model in self.args.start_models:
                        self.measure(number, model, measure)

    def child(self, engine: str, job: dict[str, Any], cold: bool = False) -> Any:
        """The job's result from the engine's own process. cold: minicnn finds no compiled kernels."""
        python, script = self.pythons[engine], PEERS[engine].script
        caches = {
            "TORCHINDUCTOR_CACHE_DIR": str(self.folder / "inductor"),
            "NUMBA_CACHE_DIR": str(self.folder / "kernels"),
        }
        if not cold:
            return run_child(python, script, job, caches)
        with tempfile.TemporaryDirectory() as empty:
            return run_child(python, script, job, caches | {"NUMBA_CACHE_DIR": empty})

    # -- equal outputs

    def check(self, model: str) -> None:
        """Compare every engine's outputs with minicnn's; ends the program where they differ."""
        facts, own = self.facts[model], None
        for engine in (e for e in self.args.engines if e != "minicnn"):
            for variant in self._unchecked(model, engine):
                name = f"{engine}-{variant}"
                own = own or self._outputs("minicnn", "default", facts)
                try:
                    difference = differences(own, self._outputs(engine, variant, facts))
                except ChildFailedError as error:
                    self._note_failure(0, model, engine, variant, "check", error)
                    continue
                self.record["checks"].setdefault(model, {})[name] = difference
                said = ", ".join(f"{what} {value:.1e}" for what, value in difference.items())
                print(f"{model}: {name} agrees with minicnn up to: {said}", flush=True)
                if disagreement(difference, engine):
                    sys.exit(f"compare: {name} and minicnn disagree on {model}: {said}")

    def _unchecked(self, model: str, engine: str) -> list[str]:
        """The engine's variants that have neither agreed nor failed in what --resume goes on from."""
        failed = self._failed(model, engine, "check")
        agreed = self.record["checks"].get(model, {})
        return [v for v in PEERS[engine].variants if v not in failed and f"{engine}-{v}" not in agreed]

    def _failed(self, model: str, engine: str, *measures: str) -> set[str]:
        runs = [run for run in self.record["runs"] if (run["model"], run["engine"]) == (model, engine)]
        return {run["variant"] for run in runs if run["measure"] in measures and "failed" in run}

    def _outputs(self, engine: str, variant: str, facts: dict[str, Any]) -> Any:
        trains = "train" in PEERS[engine].measures
        job = {**facts, "task": "check", "variant": variant, "predict_batch": PREDICT_BATCH, "with_training": trains}
        return self.child(engine, job)

    # -- measuring

    def measure(self, number: int, model: str, measure: str) -> None:
        """One figure of one model in one round, engine after engine, in even rounds from the last to the first."""
        for engine in self.args.engines if number % 2 else self.args.engines[::-1]:
            measures = (measure, "cold") if measure == "first" else (measure,)
            for kind in measures:
                if kind in PEERS[engine].measures:
                    for variant in self._variants(engine, model, kind):
                        self._measure_one(number, model, engine, variant, kind)

    def _measure_one(self, number: int, model: str, engine: str, variant: str, measure: str) -> None:
        key = {"round": number, "model": model, "engine": engine, "variant": variant, "measure": measure}
        if any(key.items() <= run.items() for run in self.record["runs"]):
            return
        facts = self.facts[model]
        job = {**facts, "task": "first" if measure == "cold" else measure, "variant": variant}
        job |= {"epochs": 1 if self.args.quick else 3, "seconds": 0.2 if self.args.quick else 1.0}
        if measure == "predict":
            job["batch"] = PREDICT_BATCH
        load = load_average()
        try:
            figures = self.child(engine, job, cold=measure == "cold")
        except ChildFailedError as error:
            self._note_failure(number, model, engine, variant, measure, error)
            return
        self.record["runs"].append({**key, "load": load, "figures": figures})
        write_json(self.args.json, self.record)
        said = ", ".join(f"{name} {value:.4g}" for name, value in figures.items() if isinstance(value, float))
        print(f"round {number}, {model}, {measure}: {engine}-{variant} {said}", flush=True)

    def _variants(self, engine: str, model: str, measure: str) -> list[str]:
        """Those that work and, once round 1 has measured them, are near the best."""
        variants = PEERS[engine].variants[:1] if measure in ("first", "cold") else PEERS[engine].variants
        failed = self._failed(model, engine, measure, "check")
        key = {"round": 1, "model": model, "engine": engine, "measure": measure}
        first = {
            run["variant"]: run["figures"][KEY_FIGURE[measure]]
            for run in self.record["runs"]
            if key.items() <= run.items() and "figures" in run and measure in KEY_FIGURE
        }
        complete = len(first) == len(set(variants) - failed)
        slow = {v for v, value in first.items() if complete and value > SLOWER * min(first.values())}
        return [v for v in variants if v not in failed | slow]

    def _note_failure(self, number: int, model: str, engine: str, variant: str, measure: str, error: Exception) -> None:
        key = {"round": number, "model": model, "engine": engine, "variant": variant, "measure": measure}
        self.record["runs"].append({**key, "failed": str(error)})
        write_json(self.args.json, self.record)
        print(f"{model}, {measure}: {engine}-{variant} does not work here: {error}", file=sys.stderr, flush=True)


def sources() -> str:
    """A hash of minicnn's files."""
    files = sorted((BENCH.parent / "minicnn").rglob("*.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


def differences(own: Any, other: Any) -> dict[str, float]:
    """The largest difference of a probability, and of a loss relative to its size: before and after weights change."""
    found = {"probabilities": float(np.abs(np.subtract(own["predictions"], other["predictions"])).max())}
    if "losses" in other:
        relative = np.abs(np.divide(other["losses"], own["losses"]) - 1)
        found |= {"losses": float(relative[:2].max()), "later losses": float(relative[2:].max())}
    return found


def disagreement(difference: dict[str, float], engine: str) -> bool:
    """Whether any difference, NaN among them, is beyond what this engine is allowed."""
    allowed = {**TOLERANCES, "later losses": LATER_LOSSES.get(engine, 0.0)}
    return not all(value <= allowed[what] for what, value in difference.items())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--engines", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--measures", nargs="+", choices=MEASURES, default=list(MEASURES))
    parser.add_argument("--rounds", type=positive, help="3, or 1 with --quick, if not given")
    parser.add_argument(
        "--start-models", nargs="+", choices=list(WORKLOADS), default=["lenet5"], help="whose first step is timed"
    )
    parser.add_argument("--keras-python", type=Path, default=python_of(ENVIRONMENTS / "keras"))
    parser.add_argument("--torch-python", type=Path, default=python_of(ENVIRONMENTS / "torch"))
    parser.add_argument(
        "--json", type=json_to_write, default=str(OUT / "compare.json"), help="kept here; .md and .png beside it"
    )
    parser.add_argument("--resume", action="store_true", help="keep what --json has and measure the rest")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--report", type=json_file, metavar="JSON", help="only the tables and the plot of this run")
    args = parser.parse_args()
    args.rounds = args.rounds or (1 if args.quick else 3)
    starting = [model for model in args.models if model in args.start_models]
    if "first" in args.measures and not starting:
        parser.error(f"--measures first: none of --start-models ({', '.join(args.start_models)}) is among --models")
    if set(args.measures) == {"first"}:
        args.models = starting
    if "minicnn" not in args.engines:
        args.engines.insert(0, "minicnn")  # the weights and the reference are its own
    return args


def main() -> None:
    args = arguments()
    try:
        compare(args)
    except (ChildFailedError, RecordError, OSError) as error:
        sys.exit(f"compare: {error}")


def compare(args: argparse.Namespace) -> None:
    """Raises ChildFailedError and RecordError, each with a line to tell."""
    if args.report:
        print(write_report(args.report))
        return
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(args, Path(folder))
        try:
            comparison.run()
        finally:
            if comparison.record["checks"] or comparison.record["runs"]:
                write_json(args.json, comparison.record)
    print(write_report(args.json))


if __name__ == "__main__":
    main()
