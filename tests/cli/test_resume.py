"""Trainings that stop and go on: Ctrl-C, kill -9, more epochs; the end is that without a stop, bit for bit."""

import csv
import json
import signal
import sys

import pytest

from minicnn import load_model
from minicnn.cli.interruption import Interruption, Stopped
from tests.cli.conftest import assert_fails
from tests.cli.test_train import FILES, STEPS, tiny

TRAIN = ("train", "lenet5", "--data", "digits", "--epochs")
EPOCHS = 30


def losses(folder):
    with (folder / "history.csv").open(newline="") as file:
        return [{name: row[name] for name in ("epoch", "loss", "val_accuracy")} for row in csv.DictReader(file)]


def assert_same_training(one, other):
    assert (one / "model.h5").read_bytes() == (other / "model.h5").read_bytes()
    assert losses(one) == losses(other)
    results = [json.loads((folder / "training.json").read_text())["result"] for folder in (one, other)]
    assert len({(result["test_loss"], result["test_accuracy"], result["epochs"]) for result in results}) == 1


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a training that nobody stopped."""
    from tests.cli.conftest import invoke

    folder = tmp_path_factory.mktemp("whole") / "run"
    assert invoke(*TRAIN, EPOCHS, "-o", folder).exit_code == 0
    return folder


def read_until(process, start):
    for line in process.stdout:
        if line.startswith(start):
            return
    pytest.fail(f"ended before {start!r}: {process.stderr.read()}")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c(start, run, whole, tmp_path):
    process = start(*TRAIN, EPOCHS, "-o", "out")
    read_until(process, f"Epoch 2/{EPOCHS}")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    *_, stopping, stopped = stderr.splitlines()  # perhaps after a line on compiling
    assert stopping == "minicnn: stopping after this batch; Ctrl-C again stops at once, without saving."
    assert stopped.startswith("minicnn: stopped in epoch ")
    assert stopped.endswith(f" of {EPOCHS}; saved out/model.h5. Go on with: minicnn train lenet5 --output out --resume")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    iterations = load_model(tmp_path / "out" / "model.h5").optimizer.iterations
    assert 2 * STEPS <= iterations < EPOCHS * STEPS
    assert len(losses(tmp_path / "out")) == iterations // STEPS

    result = run("train", "lenet5", "--output", "out", "--resume")
    assert result.exit_code == 0, result.stderr
    assert "BackupAndRestore: going on with epoch " in result.stdout
    assert_same_training(tmp_path / "out", whole)


def test_kill(start, run, whole, tmp_path):
    process = start(*TRAIN, EPOCHS, "-o", "out")
    read_until(process, f"Epoch 3/{EPOCHS}")
    process.kill()
    process.communicate(timeout=120)
    assert run("train", "lenet5", "--output", "out", "--resume").exit_code == 0
    assert_same_training(tmp_path / "out", whole)


def test_more_epochs(run, trained, tmp_path):
    assert run(*TRAIN, 2, "-o", "out").exit_code == 0
    result = run("train", "lenet5", "-o", "out", "--resume", "--epochs", 4)
    assert result.exit_code == 0
    assert "Epoch 3/4" in result.stdout
    assert "Epoch 2/4" not in result.stdout
    assert_same_training(tmp_path / "out", trained[0])


def test_nothing_left_to_do(run, tmp_path):
    tiny("mine.h5")
    first = run("train", "mine.h5", "--data", "digits", "-e", 2, "-o", "out")
    again = run("train", "mine.h5", "-o", "out", "--resume")
    assert again.exit_code == 0
    assert "Epoch" not in again.stdout
    assert first.stdout.splitlines()[-3:] == again.stdout.splitlines()[-3:]


def test_resume_without_a_training_begins_one(run, tmp_path):
    tiny("mine.h5")
    result = run("train", "mine.h5", "--data", "digits", "-e", 1, "-o", "out", "--resume")
    assert result.exit_code == 0
    assert result.stderr == "minicnn: out holds no training; starting from the beginning.\n"


def test_a_training_is_neither_dropped_nor_changed_unasked(run):
    tiny("mine.h5")
    train = ("train", "mine.h5", "--data", "digits", "-e", 2, "-o", "out")
    assert run(*train).exit_code == 0
    assert_fails(run(*train), 2, "out: holds a training; choose --resume, --overwrite or another --output.")
    changed = run(*train, "--resume", "--batch", 64, "--seed", 1)
    assert_fails(
        changed, 2, "out: was begun with batch size 32, not 64, seed 0, not 1; leave these options out to go on."
    )
    fewer = run("train", "mine.h5", "-o", "out", "--resume", "-e", 1)
    assert_fails(fewer, 2, "out: has 2 epochs already; --epochs 1 is fewer; give more.")
    itself = run("train", "out/model.h5", "--data", "digits", "-o", "out", "--overwrite")
    assert_fails(itself, 2, "out/model.h5: would be overwritten by its own training; choose another --output.")


def test_the_model_of_a_training_is_known_however_its_path_is_written(run, tmp_path):
    tiny("mine.h5")
    tiny("other.h5")
    assert run("train", "mine.h5", "--data", "digits", "-e", 1, "-o", "out").exit_code == 0
    for name in ("./mine.h5", tmp_path / "mine.h5", "home/../mine.h5"):
        (tmp_path / "home").mkdir(exist_ok=True)
        assert run("train", name, "-o", "out", "--resume").exit_code == 0
    for name in ("other.h5", "lenet5"):
        message = f"out: was begun with mine.h5, not {name}; give that model, or another --output."
        assert_fails(run("train", name, "-o", "out", "--resume"), 2, message)


def test_overwrite_drops_the_training_and_nothing_else(run, tmp_path):
    tiny("mine.h5")
    assert run("train", "mine.h5", "--data", "digits", "-e", 3, "-o", "out").exit_code == 0
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (tmp_path / "out" / "backup" / "notes.txt").write_text("mine")
    assert run("train", "mine.h5", "--data", "digits", "-e", 1, "-o", "out", "--overwrite").exit_code == 0
    assert [row["epoch"] for row in losses(tmp_path / "out")] == ["1"]
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "out" / "backup" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("options", [[], ["--resume"]])
def test_a_model_of_somebody_elses_is_not_replaced(run, tmp_path, options):
    (tmp_path / "out").mkdir()
    tiny("out/model.h5")
    before = (tmp_path / "out" / "model.h5").read_bytes()
    result = run("train", "lenet5", "--data", "digits", "-e", 1, "-o", "out", *options)
    assert_fails(result, 2, "out: holds model.h5, not from `minicnn train`; choose --overwrite or another --output.")
    assert (tmp_path / "out" / "model.h5").read_bytes() == before


@pytest.mark.parametrize("content", ["{", "[]", '{"settings": {}}', '{"settings": 3}', "\xff"])
@pytest.mark.parametrize("name", ["training.json", "history.json"])
def test_damaged_files_of_the_folder(run, tmp_path, name, content):
    tiny("mine.h5")
    assert run("train", "mine.h5", "--data", "digits", "-e", 1, "-o", "out").exit_code == 0
    (tmp_path / "out" / name).write_bytes(content.encode("latin-1"))
    result = run("train", "mine.h5", "-o", "out", "--resume")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"minicnn: out/{name}: ")
    assert result.stderr.endswith("; choose another --output to start anew.\n")
    assert len(result.stderr.splitlines()) == 1


def test_interruption_stops_between_batches_and_gives_way_to_a_second_ctrl_c(capsys):
    before = signal.getsignal(signal.SIGINT)
    with Interruption() as interruption:
        interruption.on_epoch_begin(2)
        interruption.on_train_batch_begin(0)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Stopped) as stopped:
            interruption.on_train_batch_begin(1)
        assert stopped.value.epoch == 3
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert capsys.readouterr().err.count("\n") == 1
