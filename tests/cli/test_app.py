"""What holds for every command: help with an example, usage errors, and what a process of its own does."""

import re

import pytest
from typer.main import get_command

import minicnn
from minicnn import datasets, optimizers
from minicnn.cli import app, errors, train
from minicnn.cli.sources import DataName
from minicnn.errors import DatasetError
from minicnn.progress import warn
from tests.cli.conftest import assert_fails

COMMANDS = ["train", "evaluate", "predict", "summary", "inspect", "convert", "exercises", "gradcheck", "datasets"]


def test_help_lists_every_command(run):
    result = run("--help")
    assert result.exit_code == 0
    listed = re.findall(r"^  (\w+)  +\S", result.stdout.partition("Commands:")[2], re.MULTILINE)
    assert listed == COMMANDS


@pytest.mark.parametrize("command", [*COMMANDS, "datasets fetch"])
def test_help_shows_an_example(run, command):
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert re.search(rf"^  Examples?:\n    minicnn {command}\b", result.stdout, re.MULTILINE)
    assert run(*command.split(), "-h").stdout == result.stdout


def test_the_help_of_train_tells_what_resume_does(run):
    text = " ".join(run("train", "--help").stdout.split())
    assert "backup/, the state from which --resume goes on" in text
    assert "--resume goes on from the last epoch that was over, so it repeats the one that was stopped" in text


def test_every_argument_and_option_is_explained():
    group = get_command(app)
    commands = [*group.commands.values(), *group.commands["datasets"].commands.values()]
    parameters = [(command.name, p.name, p.help) for command in commands for p in command.params]
    assert len(parameters) > 30
    assert [entry for entry in parameters if not entry[2]] == []


def test_without_a_command_the_help_is_shown(run):
    result = run()
    assert result.exit_code == 2
    assert "Commands:" in result.output


def test_version(run):
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"minicnn {minicnn.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "no such command 'trian'. Did you mean 'train'?"),
        (["--verson"], "no such option: --verson"),
        (["train"], "missing argument 'MODEL'; see minicnn train --help."),
        (
            ["train", "lenet5", "--epochs", "-1"],
            "--epochs: must be greater than or equal to 1, got '-1'; see minicnn train --help.",
        ),
        (["train", "lenet5", "--epochs", "many"], "--epochs: must be a valid integer, got 'many'; see "),
        (["train", "lenet5", "-b", "0"], "--batch-size: must be greater than or equal to 1, got '0'; see "),
        (["train", "lenet5", "--seed", "text"], "--seed: must be a valid integer, got 'text'; see "),
        (["train", "lenet5", "--data", "imagenet"], "--data: 'imagenet' is not one of 'mnist', 'fashion_mnist', "),
        (
            ["train", "lenet5", "--validation-split", "1"],
            "--validation-split: must be less than or equal to 0.9, got '1'; see minicnn train --help.",
        ),
        (["train", "lenet5", "--optimizer", "adamax"], "--optimizer: 'adamax' is not one of 'sgd', "),
        (
            ["train", "lenet5", "--rate", "inf"],
            "--learning-rate: must be a finite number, got 'inf'; see minicnn train --help.",
        ),
        (["train", "lenet5", "--rate", "nan"], "--learning-rate: must be greater than or equal to 0, got 'nan'; see "),
        (["evaluate", "m.h5", "--divide-by", "inf"], "--divide-by: must be a finite number, got 'inf'; see "),
        (["train", "lenet5", "--speed"], "no such option: --speed"),
        (["train", "lenet5", "--seed"], "option '--seed' requires an argument"),
        (["summary", "lenet5", "vgg"], "got unexpected extra argument"),
        (
            ["exercises", "4", "--seed", "0", "--seed", "-2"],
            "--seed: must be greater than or equal to 0, got '-2'; see ",
        ),
        (["predict", "model.h5"], "missing argument 'IMAGE'; see minicnn predict --help."),
        (["datasets", "get"], "no such command 'get'; see minicnn datasets --help."),
    ],
)
def test_usage_errors(run, tmp_path, arguments, message):
    """One line: the argument, what was received, and where help is."""
    assert_fails(run(*arguments), 2, message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DatasetError("mnist:\nnot here."), 1, "mnist: not here."),
        (errors.ArgumentError("x.h5: no such file."), 2, "x.h5: no such file."),
        (KeyboardInterrupt(), 130, "interrupted."),
        (MemoryError(), 1, "out of memory; use a smaller model or batch."),
        (PermissionError(13, "Permission denied", "out/report.md"), 1, "out/report.md: Permission denied."),
        (OSError(28, "No space left on device"), 1, "No space left on device."),
    ],
)
def test_failures_are_one_line(run, monkeypatch, error, code, line):
    def failing():
        raise error

    monkeypatch.setattr(datasets.digits, "load_data", failing)
    result = run("datasets", "fetch", "digits")
    assert_fails(result, code, line)
    assert result.stderr == f"minicnn: {line}\n"


def test_warnings_are_one_line(run, monkeypatch):
    def warning():
        warn("something\nis odd.")
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets.digits, "load_data", warning)
    assert run("datasets", "fetch", "digits").stderr == "minicnn: warning: something is odd.\nminicnn: interrupted.\n"


def test_the_options_name_what_there_is():
    assert set(DataName.__args__) == set(datasets.DATASETS)
    taken = {optimizers.TABLE[name] for name in train.OptimizerName.__args__}
    assert taken == set(optimizers.TABLE.values())
    assert len(taken) == len(train.OptimizerName.__args__)


def test_as_a_module(start):
    process = start("summary", "lenet5")
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")
    assert "Total params: 61,706" in stdout.splitlines()


@pytest.mark.parametrize("unbuffered", ["", "1"])  # what is printed is held back to the end, or not
@pytest.mark.parametrize("arguments", [("summary", "alexnet_cifar10"), ("--version",), ("--help",)])
def test_a_reader_that_closes_the_pipe_sees_no_traceback(arguments, unbuffered, start, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    process = start(*arguments)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) in (0, 1)
