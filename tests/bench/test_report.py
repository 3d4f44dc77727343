"""compare.py's tables from a record made up by hand: which variant counts, and how ratios are formed."""

import argparse
import json
import math

import compare
import pytest
from common import RecordError, markdown_table, number
from report import Timing, draw, figure, geometric_mean, tables, times_as_fast, timing, write_report


def run(round_, engine, value, variant="default", measure="train", name="train_ms"):
    figures = {name: value, "memory_mb": 100 * value}
    keys = {"round": round_, "model": "lenet5", "engine": engine, "variant": variant, "measure": measure}
    return {**keys, "figures": figures}


RUNS = [
    *(run(k, "minicnn", value) for k, value in enumerate([2.0, 2.0, 4.0], 1)),
    *(run(k, "keras", value) for k, value in enumerate([9.0, 9.0, 9.0], 1)),
    *(run(k, "torch", value, "nchw") for k, value in enumerate([3.0, 6.0, 6.0], 1)),
    run(1, "torch", 8.0, "compiled"),
    {"round": 1, "model": "lenet5", "engine": "torch", "variant": "broken", "measure": "train", "failed": "no"},
]
RECORD = {
    "machine": {"cores": 2, "processor": "Abacus", "features": ["avx2"], "system": "Linux 1", "date": "2026-01-01"},
    "versions": {"minicnn": {"python": "3.11.7", "minicnn": "0.1.0", "none": None}},
    "models": {name: {"source": "mnist", "images": 10240, "batch": 128} for name in ("lenet5", "cnn_relu")},
    "checks": {"lenet5": {"keras-default": {"probabilities": 2e-6}, "torch-nchw": {"probabilities": 1e-6}}},
    "runs": RUNS,
}


def best(engine, name="train_ms"):
    return timing(RECORD, "lenet5", engine, "train", figure(name))


def test_the_variant_with_the_lowest_median_counts():
    assert (best("torch").variant, best("torch").median) == ("nchw", 6.0)
    assert best("torch").rounds == {1: 3.0, 2: 6.0, 3: 6.0}


def test_what_was_not_measured_is_none():
    assert best("onnxruntime") is None
    assert timing(RECORD, "cnn_relu", "minicnn", "train", figure("train_ms")) is None


def test_ratios_are_of_each_round_to_the_better_peer():
    assert times_as_fast(best("minicnn"), [best("keras"), best("torch")]) == [1.5, 1.5, 3.0]
    assert times_as_fast(best("minicnn"), [best("keras"), None]) == [2.25, 4.5, 4.5]
    assert times_as_fast(best("minicnn"), [None]) == times_as_fast(None, [best("keras")]) == []


def test_peers_that_cross_count_each_where_it_is_faster():
    own, one, other = (
        Timing(name, "default", rounds[2], rounds)
        for name, rounds in (
            ("minicnn", {1: 1.0, 2: 1.0, 3: 2.0}),
            ("keras", {1: 2.0, 2: 5.0, 3: 5.0}),
            ("torch", {1: 6.0, 2: 3.0}),
        )
    )
    assert times_as_fast(own, [one, other]) == [2.0, 3.0]  # in round 3 one is missing


def test_geometric_mean():
    assert geometric_mean([1, 4, 16]) == pytest.approx(4)
    assert math.isnan(geometric_mean([]))


def test_the_tables():
    text = tables(RECORD)
    assert "| `lenet5` | 2.00 | 9.00 | 6.00 (nchw) | 1.50 (1.50 to 3.00) |" in text
    assert "| geometric mean |  |  |  | 1.50 |" in text
    assert "| `lenet5` | 200 | 900 | 600 (nchw) | 0.22 (0.22 to 0.44) | 0.67 (0.33 to 0.67) |" in text
    assert "2 cores of Abacus (avx2), Linux 1, 2026-01-01; medians of 3 rounds" in text
    assert "Predicting" not in text  # not measured
    assert "cnn_relu" not in text
    assert "None" not in text
    assert "Training batches: 128 on lenet5." in text
    assert "Largest differences from minicnn's outputs, of losses relatively: probabilities 2.0e-06." in text
    assert "Slower and measured in the first round alone: lenet5 train: compiled." in text
    assert "Failed: lenet5 train: broken." in text
    assert "--quick" not in text
    assert "Made with --quick" in tables({**RECORD, "quick": True})


def test_the_report_stands_beside_the_record(tmp_path):
    path = tmp_path / "some.json"
    path.write_text(json.dumps(RECORD))
    assert write_report(path) == path.with_suffix(".md").read_text() == tables(RECORD)
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_a_record_without_figures_draws_nothing(tmp_path):
    draw({**RECORD, "runs": []}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.01234, "0.0123"), (1.0, "1.00"), (99.96, "100"), (12345.6, "12,346")]
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_a_markdown_table():
    assert markdown_table(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"


# -- what compare.py decides


def comparison(runs, checks=None):
    made = object.__new__(compare.Comparison)
    made.record = {"runs": runs, "checks": checks or {}}
    return made


def test_slow_variants_are_left_out_once_all_are_measured():
    """But not those that noise between rounds may have made slow."""
    variants = compare.PEERS["torch"].variants
    some = [run(1, "torch", value, variant) for variant, value in zip(variants, [4.0, 10.0, 10.1], strict=False)]
    assert comparison(some)._variants("torch", "lenet5", "train") == list(variants)
    every = [*some, run(1, "torch", 15.0, variants[3])]
    assert comparison(every)._variants("torch", "lenet5", "train") == list(variants[:2])
    assert comparison(every)._variants("torch", "lenet5", "predict") == list(variants)


def test_variants_that_failed_are_left_out():
    failed = {**run(0, "torch", 1.0, "compiled", "check"), "failed": "no compiler"}
    del failed["figures"]
    assert "compiled" not in comparison([failed])._variants("torch", "lenet5", "train")


def test_what_was_checked_before_an_interruption_is_not_checked_again():
    nchw, channels_last, *compiled = compare.PEERS["torch"].variants
    failed = {**run(0, "torch", 1.0, channels_last, "check"), "failed": "no memory"}
    made = comparison([failed], {"lenet5": {f"torch-{nchw}": {"probabilities": 0.0}}})
    assert made._unchecked("lenet5", "torch") == compiled
    assert made._unchecked("cnn_relu", "torch") == list(compare.PEERS["torch"].variants)


@pytest.mark.parametrize(
    ("before", "refusal"), [({"sources": "others"}, "other sources"), ({"quick": True}, "--quick")]
)
def test_a_record_of_another_kind_is_not_gone_on_with(before, refusal, tmp_path, monkeypatch):
    kept = {
        "quick": False,
        "sources": compare.sources(),
        "machine": {},
        "versions": {},
        "models": {},
        "checks": {},
        "runs": [],
        **before,
    }
    (tmp_path / "kept.json").write_text(json.dumps(kept))
    monkeypatch.setattr("sys.argv", ["compare.py", "--resume", "--json", str(tmp_path / "kept.json")])
    with pytest.raises(SystemExit, match=refusal):
        compare.Comparison(compare.arguments(), tmp_path)


def test_rounds_of_other_versions_are_not_gone_on_with(tmp_path, monkeypatch):
    made = comparison([], {})
    made.args = argparse.Namespace(engines=["torch"], models=[], json=tmp_path / "kept.json")
    made.record["versions"] = {"torch": {"torch": "2.12"}}
    monkeypatch.setattr(made, "child", lambda engine, job: {"torch": "2.13"})
    with pytest.raises(SystemExit, match=r"kept\.json was made with other versions of torch; begin anew without"):
        made.run()


@pytest.mark.parametrize("arguments", [["--report"], ["--resume", "--json"]])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no", r"no\.json: is no JSON \(.*\); give what compare\.py --json wrote\."),
        ("3", r"no\.json: has no checks, machine, models, runs, versions; give what"),
        (json.dumps({key: {} for key in ("machine", "versions", "models", "checks")}), "has no runs; give"),
    ],
)
def test_what_is_no_record_ends_in_one_line(arguments, content, message, tmp_path, monkeypatch):
    (tmp_path / "no.json").write_text(content)
    monkeypatch.setattr("sys.argv", ["compare.py", *arguments, str(tmp_path / "no.json")])
    with pytest.raises(SystemExit, match=rf"^compare: .*{message}"):
        compare.main()


def test_a_report_of_a_missing_file(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["compare.py", "--report", str(tmp_path / "none.json")])
    with pytest.raises(SystemExit, match=r"none\.json: cannot be read \(No such file or directory\)\."):
        compare.main()


def test_differences():
    own = {"predictions": [[0.25, 0.75]], "losses": [1.0, 2.0, 4.0]}
    other = {"predictions": [[0.5, 0.5]], "losses": [1.0, 2.5, 5.0]}
    assert compare.differences(own, other) == {"probabilities": 0.25, "losses": 0.25, "later losses": 0.25}
    assert compare.differences(own, {"predictions": own["predictions"]}) == {"probabilities": 0.0}


def test_outputs_that_are_no_numbers_are_refused():
    nan = float("nan")
    found = compare.differences({"predictions": [[nan]]}, {"predictions": [[nan]]})
    assert compare.disagreement(found, "keras")
    assert not compare.disagreement({"probabilities": 0.0}, "onnxruntime")
    assert compare.disagreement({"probabilities": 0.0, "later losses": 1e-3}, "keras")
    assert not compare.disagreement({"probabilities": 0.0, "later losses": 1e-3}, "torch")


def test_measuring_processes_do_not_inherit_settings(monkeypatch):
    from common import child_environment

    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    environment = child_environment({"NUMBA_CACHE_DIR": "here"})
    assert environment["NUMBA_CACHE_DIR"] == "here"
    assert not {"OPENBLAS_CORETYPE", "OMP_NUM_THREADS"} & set(environment)
    assert environment["PATH"]


def test_quick_runs_predict_whole_batches():
    from workloads import PREDICT_BATCH, WORKLOADS

    for workload in (*WORKLOADS.values(), *(w.quick() for w in WORKLOADS.values())):
        assert workload.images % PREDICT_BATCH == 0
        assert workload.steps >= 3


def test_every_model_of_the_sheet_has_a_workload():
    from workloads import WORKLOADS

    from minicnn.applications import APPLICATIONS

    assert list(WORKLOADS) == list(APPLICATIONS)


def test_one_peer_is_named_and_rounds_are_counted():
    runs = [run(1, "minicnn", 2.0), run(2, "minicnn", 2.0), run(1, "keras", 4.0)]
    runs.append({**run(1, "minicnn", 3.0, measure="predict", name="predict_us")})
    text = tables({**RECORD, "runs": runs})
    assert "times as fast as Keras |" in text
    assert "medians of 1 to 2 rounds in alternation" in text


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({**RECORD, "models": {}}, "ended before anything was measured"),
        ({**RECORD, "runs": [{"model": "lenet5"}]}, "is not whole"),
        ({**RECORD, "machine": {}}, "is not whole"),
    ],
)
def test_a_damaged_record_is_told_in_a_line(record, message, tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record))
    with pytest.raises(RecordError, match=message):
        write_report(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "figures.md"], "must end in .json"),
        (["--json", "{file}/inside/x.json"], "cannot be written"),
        (["--report", "x.md"], "must end in .json"),
        (["--measures", "first", "--models", "cnn_relu"], "none of --start-models"),
        (["--rounds", "0"], "must be 1 or more"),
    ],
)
def test_arguments_are_refused_before_anything_is_measured(arguments, message, tmp_path, monkeypatch, capsys):
    file = tmp_path / "file"
    file.write_text("in the way")
    monkeypatch.setattr("sys.argv", ["compare.py", *(a.replace("{file}", str(file)) for a in arguments)])
    with pytest.raises(SystemExit):
        compare.arguments()
    assert message in capsys.readouterr().err


def test_quick_takes_one_round_and_the_first_step_alone_one_model(monkeypatch, tmp_path):
    kept = str(tmp_path / "x.json")
    monkeypatch.setattr("sys.argv", ["compare.py", "--quick", "--measures", "first", "--json", kept])
    args = compare.arguments()
    assert (args.rounds, args.models) == (1, ["lenet5"])


def test_resume_takes_over_what_worked_on_the_same_machine(tmp_path):
    args = argparse.Namespace(
        keras_python="k", torch_python="t", quick=False, resume=True, json=tmp_path / "x.json", engines=[]
    )
    mine = compare.Comparison(argparse.Namespace(**{**vars(args), "resume": False}), tmp_path).record
    record = {**mine, "runs": RUNS, "versions": {"keras": {"keras": "3"}}}
    args.json.write_text(json.dumps(record))
    resumed = compare.Comparison(args, tmp_path).record
    assert resumed["runs"] == [r for r in RUNS if "failed" not in r]
    assert resumed["versions"] == {"keras": {"keras": "3"}}
    args.json.write_text(json.dumps({**record, "machine": {**mine["machine"], "processor": "Abacus"}}))
    with pytest.raises(SystemExit, match="another processor"):
        compare.Comparison(args, tmp_path)
