"""BackupAndRestore against real kills: the processes die at chosen and at random moments, and the end is the same."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from minicnn.callbacks import backup_file
from minicnn.errors import FileFormatError
from tests.callbacks.interrupted import train

ROOT = Path(__file__).resolve().parents[2]
BATCHES = 8  # an epoch: 120 samples by 16
EPOCHS = 40  # of the training that is killed at random moments


def start(folder, **arguments):
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.callbacks.interrupted", json.dumps({"folder": str(folder), **arguments})]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(folder, **arguments):
    """The return code of a process that has come to its end, whichever way."""
    process = start(folder, **arguments)
    _, errors = process.communicate(timeout=120)
    assert process.returncode in (0, -signal.SIGKILL), errors
    return process.returncode


def result(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What the training without interruption ends with, by kernel set: float32, and without any backup."""
    return {kernels: train(str(tmp_path_factory.mktemp(kernels)), kernels=kernels) for kernels in ("numba", "numpy")}


@pytest.mark.parametrize(
    ("save_freq", "kills"),
    [
        ("epoch", [("batch begin", 1), ("batch begin", BATCHES + 3), ("epoch end", 1), ("validation", 2)]),
        ("epoch", [("epoch begin", 2), ("half written", 2), ("written", 1), ("replaced", 1), ("train end", 1)]),
        (
            3,
            [("batch begin", 2), ("batch begin", BATCHES + 3), ("epoch end", 1), ("validation", 2), ("epoch begin", 1)],
        ),
        (BATCHES, [("replaced", 2), ("validation", 1), ("half written", 2), ("half written", 1), ("train end", 1)]),
    ],
)
def test_kills_at_chosen_moments(tmp_path, whole, save_freq, kills):
    options = {"save_freq": save_freq, "kernels": "numpy"}
    for kill in kills:
        assert run(tmp_path, kill=kill, **options) == -signal.SIGKILL
    assert run(tmp_path, **options) == 0
    assert result(tmp_path) == whole["numpy"]
    assert not (tmp_path / "backup").exists()  # what the kills left half written is gone as well


def test_killed_in_the_middle_of_the_first_and_of_the_second_backup(tmp_path, whole):
    options = {"save_freq": "epoch", "kernels": "numpy"}
    folder = tmp_path / "backup"
    assert run(tmp_path, kill=["half written", 1], **options) == -signal.SIGKILL
    (leftover,) = folder.iterdir()
    assert leftover.suffix == ".tmp"
    assert run(tmp_path, kill=["half written", 2], **options) == -signal.SIGKILL
    backup, second = sorted(folder.iterdir(), key=lambda file: file.suffix)
    assert backup.name == "backup.h5"
    assert second.suffix == ".tmp"
    assert second != leftover
    with pytest.raises(FileFormatError, match="is damaged or incomplete"):
        backup_file.read(second)
    assert run(tmp_path, **options) == 0
    assert result(tmp_path) == whole["numpy"]


def test_killed_between_the_two_files_of_a_double_backup(tmp_path, whole):
    options = {"save_freq": "epoch", "double_checkpoint": True, "kernels": "numpy"}
    assert run(tmp_path, kill=["replaced", 4], **options) == -signal.SIGKILL  # one; one away, two; two away
    assert [file.name for file in (tmp_path / "backup").iterdir()] == ["previous.h5"]
    assert run(tmp_path, **options) == 0
    assert result(tmp_path) == whole["numpy"]


def kill_at(process, seconds):
    """Kill it so many seconds from now, or when it has trained one more epoch, if that is earlier: it gets no further,
    however the machine's speed changes. Returns whether it had."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    trained = process.stdout.readline() != ""  # "" once it is dead
    timer.cancel()
    process.kill()
    return trained


@pytest.mark.usefixtures("whole")  # which has compiled the kernels: the way to the first epoch is as long each time
@pytest.mark.parametrize("save_freq", ["epoch", 10])
def test_kills_at_random_moments(tmp_path, save_freq):
    """After the first epoch of a process, in the midst of training, and before: while it imports, loads, goes on."""
    moments = random.Random(25)  # of the seven early ones, at least one in each fifth of the way to the first epoch
    started = time.perf_counter()
    without_backup = start(tmp_path / "whole", epochs=EPOCHS)
    assert without_backup.stdout.readline() == "begun\n"
    seconds_to_begin = time.perf_counter() - started
    output, errors = without_backup.communicate(timeout=120)
    assert without_backup.returncode == 0, errors
    seconds = float(output.splitlines()[-1])
    folder = tmp_path / "killed"
    begun = []
    for early in [True, False, True, False, False, True, False, True, True, False, True, False, True]:
        process = start(folder, epochs=EPOCHS, save_freq=save_freq)
        if early:
            begun.append(kill_at(process, moments.uniform(0, seconds_to_begin)))
        else:
            assert process.stdout.readline() == "begun\n"
            kill_at(process, moments.uniform(0, seconds / 20))
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert not all(begun)
    assert 0 < backup_file.read(folder / "backup" / "backup.h5")["state"]["fit"]["epoch"] < EPOCHS
    assert run(folder, epochs=EPOCHS, save_freq=save_freq) == 0
    assert result(folder) == result(tmp_path / "whole")


def test_control_c(tmp_path):
    assert run(tmp_path / "whole", epochs=EPOCHS) == 0
    process = start(tmp_path, save_freq=2, epochs=EPOCHS)
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert [file.name for file in (tmp_path / "backup").iterdir()] == ["backup.h5"]
    assert run(tmp_path, save_freq=2, epochs=EPOCHS) == 0
    assert result(tmp_path) == result(tmp_path / "whole")
