"""minicnn exercises: the sheet's trainings and the report, on digits in place of MNIST."""

import json
import re
from pathlib import Path

import pytest

from minicnn import applications, load_model
from minicnn.cli import exercises as command
from minicnn.cli.exercises import NAMES, sheet_settings
from minicnn.cli.interruption import Interruption, Stopped
from minicnn.cli.report import SHEET_ACCURACY
from minicnn.cli.running import Folder, Settings
from minicnn.datasets import digits, mnist
from tests.cli.conftest import assert_fails
from tests.cli.test_train import tiny


@pytest.fixture(autouse=True)
def digits_for_mnist(monkeypatch):
    monkeypatch.setattr(mnist, "load_data", digits.load_data)


def rows(text):
    """The cells of the report's first table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    head = next(k for k, line in enumerate(lines) if line.startswith("| exercise |"))
    return [line.strip("| ").split(" | ") for line in lines[head + 1 :] if re.match(r"\| \d(\.\d)? \| [a-z]", line)]


def test_trains_reports_and_does_not_train_again(run, tmp_path):
    result = run("exercises", "4", "cnn_relu", "--epochs", 1, "-o", "out")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "Exercise 1, cnn_relu, seed 0: 1,293 training, 144 validation and 360 test images of mnist" in lines
    assert lines[-1] == "Wrote out/report.md"

    report = Path("out/report.md").read_text()
    one, four = rows(report)
    assert one[:5] == ["1", "cnn_relu", "mnist", "34,826", "34,826"]
    assert four[:5] == ["4", "lenet5", "mnist", "61,706", "61,706"]
    assert (one[6], four[6], one[7]) == ("98.76 %", "98.93 %", "1")
    stored = json.loads(Path("out/lenet5/seed-0/training.json").read_text())["result"]
    assert four[5] == f"{100 * stored['test_accuracy']:.2f} %"
    assert four[8] == f"{stored['seconds']:.1f} s"
    figures = re.findall(r"!\[.*?\]\((.*?)\)", report)
    assert figures == ["cnn_relu/seed-0/learning_curves.png", "lenet5/seed-0/learning_curves.png"]
    assert all((tmp_path / "out" / figure).read_bytes().startswith(b"\x89PNG") for figure in figures)
    assert load_model("out/LeNet-5.h5").count_params() == 61_706
    assert "Exercise 5: exercise 4's model, seed 0, is `LeNet-5.h5`." in report
    assert not list(Path("out").glob("*/*/backup"))

    again = run("exercises", "1", "5", "--epochs", 1, "-o", "out")
    assert again.exit_code == 0
    assert "Epoch" not in again.stdout
    assert again.stdout.count("trained already, test accuracy ") == 2
    assert Path("out/report.md").read_text() == report


def test_seeds_and_medians(run):
    assert run("exercises", "4", "-e", 1, "--seed", 3, "--seed", 1, "--seed", 2, "-o", "out").exit_code == 0
    results = [json.loads(Path(f"out/lenet5/seed-{k}/training.json").read_text())["result"] for k in (1, 2, 3)]
    report = Path("out/report.md").read_text()
    median = sorted(result["test_accuracy"] for result in results)[1]
    assert rows(report)[0][5] == f"{100 * median:.2f} %"
    seeds = re.findall(r"^\| (\d) \| \d+\.\d\d % \| \d+\.\d\d % \| (\d+\.\d\d) % \| ", report, re.MULTILINE)
    assert [seed for seed, _ in seeds] == ["1", "2", "3"]
    assert [accuracy for _, accuracy in seeds] == [f"{100 * result['test_accuracy']:.2f}" for result in results]
    assert "seeds 1, 2, 3." in report
    assert "exercise 4's model, seed 1, is" in report
    one, other = (load_model(f"out/{name}").get_weights()[0] for name in ("LeNet-5.h5", "lenet5/seed-1/model.h5"))
    assert (one == other).all()


def test_the_report_is_on_all_that_the_folder_holds(run):
    assert run("exercises", "4", "-e", 1, "-o", "out").exit_code == 0
    result = run("exercises", "1", "-e", 1, "-o", "out")
    assert [row[0] for row in rows(Path("out/report.md").read_text())] == ["1", "4"]
    assert "Exercise 4" not in result.stdout


def test_quick(run, monkeypatch):
    monkeypatch.setattr(command, "QUICK_IMAGES", 300)
    result = run("exercises", "4", "--quick", "-o", "out")
    assert "270 training, 30 validation and 150 test images" in result.stdout
    assert rows(Path("out/report.md").read_text())[0][7] == "1"


def test_other_settings_in_one_folder_are_refused(run):
    assert run("exercises", "4", "-e", 1, "-o", "out").exit_code == 0
    message = "out/lenet5/seed-0: was trained with epochs 1, not 30; choose another --output."
    assert_fails(run("exercises", "4", "-o", "out"), 2, message)
    assert_fails(run("exercises", "4", "--seed", 1, "-o", "out"), 2, message)
    quick = run("exercises", "4", "--quick", "-o", "out")
    assert_fails(quick, 2, "out/lenet5/seed-0: was trained with images unset, not 2000; choose another --output.")


def begun(name, seed=0, epochs=1, place=0):
    """A training that was begun in out, as its folder tells it."""
    folder = Folder(Path("out") / name / f"seed-{place}")
    folder.make()
    folder.write(sheet_settings(name, seed, epochs, False))
    return folder


def test_all_settings_are_compared_before_the_first_training(run):
    begun("lenet5")
    message = "out/lenet5/seed-0: was trained with epochs 1, not 2; choose another --output."
    assert_fails(run("exercises", "1", "4", "-e", 2, "-o", "out"), 2, message)
    assert [path.name for path in Path("out").iterdir()] == ["lenet5"]


def test_a_folder_with_another_seed_in_it(run):
    begun("lenet5", seed=1)
    message = "out/lenet5/seed-0: was trained with seed 1, not 0; choose another --output."
    assert_fails(run("exercises", "4", "-e", 1, "-o", "out"), 2, message)


def test_all_data_is_loaded_before_the_first_training(run):
    message = "cifar10: not on this machine, and the download failed ("
    assert_fails(run("exercises", "1", "7.2", "-e", 1, "-o", "out"), 1, message)
    assert not Path("out").exists()


def test_all_folders_are_made_before_the_first_training(run):
    Path("out").mkdir()
    Path("out/lenet5").write_text("hello")
    assert_fails(run("exercises", "1", "4", "-e", 1, "-o", "out"), 2, "out/lenet5/seed-0: cannot make the folder (")


def test_a_model_of_somebody_elses_is_not_replaced(run):
    Path("out/lenet5/seed-0").mkdir(parents=True)
    tiny("out/lenet5/seed-0/model.h5")
    before = Path("out/lenet5/seed-0/model.h5").read_bytes()
    message = "out/lenet5/seed-0: holds model.h5, not from `minicnn exercises`; choose another --output."
    assert_fails(run("exercises", "4", "-e", 1, "-o", "out"), 2, message)
    assert Path("out/lenet5/seed-0/model.h5").read_bytes() == before


@pytest.mark.parametrize("file", ["report.md", "LeNet-5.h5"])
def test_files_of_somebody_elses_are_not_replaced(run, file):
    Path("out").mkdir()
    Path("out", file).write_text("mine")
    message = f"out: holds {file}, not from `minicnn exercises`; choose another --output."
    assert_fails(run("exercises", "4", "-e", 1, "-o", "out"), 2, message)
    assert Path("out", file).read_text() == "mine"


@pytest.mark.parametrize("name", ["training.json", "history.json"])
def test_damaged_files_name_a_way_out_that_there_is(run, name):
    (begun("lenet5").path / name).write_text("[]")
    result = run("exercises", "4", "-e", 1, "-o", "out")
    assert result.exit_code == 1
    assert result.stderr.endswith("not a JSON object; choose another --output to start anew.\n")


def test_a_stopped_exercise_goes_on(run, monkeypatch):
    """Ctrl-C comes with the second epoch; the same command then ends as one that was not stopped."""
    assert run("exercises", "4", "-e", 3, "-o", "whole").exit_code == 0

    def stop(self, batch, logs=None):
        if self._epoch == 1 and batch == 4:
            raise Stopped(2)

    with monkeypatch.context() as patch:
        patch.setattr(Interruption, "on_train_batch_begin", stop)
        stopped = run("exercises", "4", "1", "-e", 3, "-o", "out")
    assert stopped.exit_code == 130
    assert stopped.stderr.splitlines()[-1] == (
        "minicnn: stopped in epoch 2 of 3 of cnn_relu, seed 0; give the same command again to go on."
    )
    assert run("exercises", "1", "4", "-e", 3, "-o", "out").exit_code == 0
    assert Path("out/lenet5/seed-0/model.h5").read_bytes() == Path("whole/lenet5/seed-0/model.h5").read_bytes()


def test_unknown_names(run):
    message = "8: is no exercise and no model of the sheet; choose from 1, 2, 3, 4, 5, 6, 7.1, 7.2, 7.3, cnn_relu, "
    assert_fails(run("exercises", "4", "8"), 2, message)
    assert not Path("exercises").exists()


def test_an_output_that_is_no_folder(run):
    Path("text").write_text("hello")
    message = "text/lenet5/seed-0: cannot make the folder ("
    assert_fails(run("exercises", "4", "--output", "text"), 2, message)
    assert Path("text").read_text() == "hello"


def test_the_sheets_settings():
    assert sheet_settings("alexnet_cifar10", 2, None, False) == Settings(
        "alexnet_cifar10", "cifar10", 30, 64, "adam", 1e-4, 2, 0.1, None
    )
    assert sheet_settings("lenet5", 0, None, True) == Settings("lenet5", "mnist", 1, 128, "adam", 1e-3, 0, 0.1, 2000)
    assert sheet_settings("lenet5", 0, 7, True).epochs == 7
    assert list(SHEET_ACCURACY) == list(applications.APPLICATIONS)
    assert sorted(NAMES) == ["1", "2", "3", "4", "5", "6", "7.1", "7.2", "7.3"]
