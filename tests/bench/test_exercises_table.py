"""exercises_table.py on records made up by hand: medians, bounds, the remarks on the curves, and what is missing.

And on the project's own, whose table stands in README.md.
"""

import json
import re
from pathlib import Path

import exercises_table as table
import pytest
from exercises_table import RecordError, read_runs

from minicnn.applications import APPLICATIONS
from minicnn.cli.report import SHEET_ACCURACY

MODELS = list(APPLICATIONS)
README = Path(__file__).resolve().parents[2] / "README.md"


def run(engine, model, seed, test, training=0.99, validation=0.98, best=None, epochs=None):
    """A training whose curves end at these accuracies; best: of its first epoch."""
    between = (APPLICATIONS[model].epochs if epochs is None else epochs) - 1
    first = training if best is None else best
    history = {"accuracy": [first] * between + [training], "val_accuracy": [0.5] * between + [validation]}
    return {"engine": engine, "model": model, "seed": seed, "test": test, "seconds": 1.0, "history": history}


def runs(folder, *records):
    (folder / "runs.json").write_text(json.dumps(records))
    return read_runs([folder / "runs.json"])


def three(engine, model, *tests):
    return [run(engine, model, seed, test) for seed, test in enumerate(tests)]


def cells(text, first):
    """The cells of the row whose first cell that is."""
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_of_the_first_table(tmp_path):
    found = runs(
        tmp_path, *three("keras", "lenet5", 0.986, 0.9871, 0.9877), *three("minicnn", "lenet5", 0.99, 0.98, 0.9875)
    )
    assert cells(table.accuracy_table(found), "4") == [
        *("4", "lenet5", "MNIST", "61,706", "30", "98.93"),
        "98.71 (98.60, 98.71, 98.77)",
        "98.75 (99.00, 98.00, 98.75)",
        "+0.04",
        "-0.3: yes",
    ]


def test_a_row_of_readmes_table(tmp_path):
    found = runs(tmp_path, *three("minicnn", "lenet5", 0.99, 0.98, 0.9875), run("minicnn", "cnn_cifar10", 0, 0.8))
    text = table.readme_table(found)
    assert cells(text, "4")[1:] == [
        *("`lenet5`", "MNIST", "61,706", "30", "98.93", "not run"),
        "98.75 (99.00, 98.00, 98.75)",
    ]
    assert cells(text, "7.1")[1:] == [
        *("`cnn_cifar10`", "CIFAR-10, JPEG copy", "5,097,866", "50", "82.37", "not run", "80.00"),
    ]


def test_every_exercise_has_a_row_and_what_was_not_run_says_so(tmp_path):
    lines = table.accuracy_table(runs(tmp_path)).splitlines()[2:]
    assert [line.split("|")[2].strip() for line in lines] == MODELS
    assert all(line.count("not run") == 3 for line in lines)
    assert table.missing(runs(tmp_path))[:2] == ["keras cnn_relu: seeds 0, 1, 2", "keras cnn_tanh: seeds 0, 1, 2"]
    assert "minicnn cnn_cifar10: seed 0" in table.missing(runs(tmp_path))
    assert len(table.missing(runs(tmp_path))) == 2 * len(MODELS)


@pytest.mark.parametrize(
    ("model", "bound"),
    [
        *((name, 0.003) for name in ("cnn_relu", "cnn_tanh", "cnn_dropout", "lenet5")),
        ("alexnet_mnist", 0.005),
        ("cnn_cifar10", 0.02),
        ("lenet5_cifar10", 0.015),
        ("alexnet_cifar10", 0.02),
    ],
)
def test_the_bound_itself_still_holds_and_an_image_less_does_not(tmp_path, model, bound):
    keras = three("keras", model, 0.9, 0.9, 0.9)
    assert table.verdict(runs(tmp_path, *keras, *three("minicnn", model, *[0.9 - bound] * 3)), model) == "yes"
    assert table.verdict(runs(tmp_path, *keras, *three("minicnn", model, *[0.9 - bound - 0.0001] * 3)), model) == "no"


def test_a_median_of_fewer_seeds_than_asked_for_is_provisional(tmp_path):
    keras = three("keras", "lenet5_cifar10", 0.66, 0.65, 0.64)
    assert (
        table.verdict(runs(tmp_path, *keras, run("minicnn", "lenet5_cifar10", 0, 0.66)), "lenet5_cifar10")
        == "yes so far"
    )
    assert table.verdict(runs(tmp_path, *keras), "lenet5_cifar10") == "not run"
    one_seed = [run("keras", "alexnet_mnist", 0, 0.98), run("minicnn", "alexnet_mnist", 0, 0.97)]
    assert table.verdict(runs(tmp_path, *one_seed), "alexnet_mnist") == "no"


def test_single_precision_makes_no_difference(tmp_path):
    """Keras gives 0.9813 as a float32."""
    found = runs(
        tmp_path, *three("keras", "lenet5", *[0.9812999963760376] * 3), *three("minicnn", "lenet5", *[0.9783] * 3)
    )
    assert table.difference(found, "lenet5") == -0.3
    assert table.verdict(found, "lenet5") == "yes"


def test_curves(tmp_path):
    keras = [run("keras", "cnn_tanh", 0, 0.98, 1.0, 0.992), run("keras", "cnn_tanh", 1, 0.98, 0.9994, 0.9862)]
    ours = [
        run("minicnn", "cnn_tanh", 0, 0.98, 0.99, 0.98, best=0.999),
        run("minicnn", "cnn_dropout", 0, 0.99, 0.988, 0.989),
    ]
    text = table.curves_table(runs(tmp_path, *keras, *ours))
    assert cells(text, "2: training minus validation") == [
        *("2: training minus validation", "+1.4", "+1.06 (+0.80, +1.32)", "+1.00"),
        "at least 1: Keras 1 of 2, minicnn 1 of 1",
    ]
    assert cells(text, "2: best training accuracy") == [
        *("2: best training accuracy", "100.0", "99.97 (100.00, 99.94)", "99.90"),
        "at least 99.9: Keras 2 of 2, minicnn 1 of 1",
    ]
    assert cells(text, "3: training minus validation")[3:] == ["-0.10", "less than 0.5: Keras not run, minicnn 1 of 1"]
    assert cells(text, "7.2: training minus validation")[1:] == ["+4.7", "not run", "not run", ""]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no", r"runs\.json: is no JSON \(.*\); give what accuracy\.py --json wrote\."),
        ("{}", r"runs\.json: holds dict, not a list of runs; give what accuracy\.py wrote\."),
        ('[{"engine": "keras"}]', r"runs\.json: holds a run without 'model'; give what accuracy\.py --json wrote\."),
        (
            json.dumps([run("torch", "lenet5", 0, 0.9)]),
            r"runs\.json: is of torch's lenet5; engines are keras, minicnn, ",
        ),
        (
            json.dumps([run("minicnn", "lenet5", 0, 0.9, epochs=2)]),
            r"runs\.json: minicnn's lenet5 has 2 epochs, where the sheet trains 30; leave it out\.",
        ),
        (
            json.dumps([run("keras", "lenet5", 1, 0.9), run("keras", "lenet5", 1, 0.91)]),
            r"runs\.json: has keras's lenet5 with seed 1, as .*runs\.json; keep one\.",
        ),
    ],
)
def test_what_is_no_record_ends_in_one_line(tmp_path, capsys, monkeypatch, content, message):
    (tmp_path / "runs.json").write_text(content)
    with pytest.raises(RecordError, match=message):
        read_runs([tmp_path / "runs.json"])
    monkeypatch.setattr("sys.argv", ["exercises_table.py", str(tmp_path / "runs.json")])
    with pytest.raises(SystemExit, match=rf"^exercises_table\.py: .*{message}"):
        table.main()
    assert not capsys.readouterr().out


def test_a_missing_file(tmp_path):
    with pytest.raises(RecordError, match=r"none\.json: cannot be read \(No such file or directory\)\."):
        read_runs([tmp_path / "none.json"])


def test_the_projects_own_records(capsys, monkeypatch):
    """They can be read, and Keras's first seed is there where the bound asks for three."""
    monkeypatch.setattr("sys.argv", ["exercises_table.py"])
    table.main()
    printed = capsys.readouterr().out
    for model, sheet in APPLICATIONS.items():
        assert cells(printed, sheet.exercise)[:2] == [sheet.exercise, model]
        assert cells(printed, sheet.exercise)[5] == f"{100 * SHEET_ACCURACY[model]:.2f}"
    assert cells(printed, "4")[6] == "98.71 (98.60, 98.71, 98.77)"
    assert len(re.findall(r"^\| ---", printed, re.MULTILINE)) == 2


def test_readmes_table_is_of_the_projects_own_records(capsys, monkeypatch):
    """Row for row and figure for figure what --readme prints."""
    monkeypatch.setattr("sys.argv", ["exercises_table.py", "--readme"])
    table.main()
    (in_readme,) = re.findall(r"^\| exercise \|.*\n(?:\|.*\n)+", README.read_text("utf-8"), re.MULTILINE)
    assert in_readme == capsys.readouterr().out
