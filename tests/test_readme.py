"""README.md: its Python blocks run, and its two commands are what CI and a newcomer expect."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_there_are_python_blocks():
    assert len(BLOCKS) >= 2


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_python_blocks_run(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    if "check_layer" in block:
        assert "364 agree" in capsys.readouterr().out


def test_the_two_commands_stand_on_lines_of_their_own():
    commands = re.findall(r"```sh\n(python3 -m venv .*)\n```", README)
    assert [command.split("&&")[-1].strip() for command in commands] == ["python examples/lenet5_mnist.py", "pytest"]


@pytest.mark.parametrize("title", ["Training", "Predicting"])
def test_the_tables_of_speed_are_the_records(title):
    record = (Path(__file__).parent.parent / "bench/results/compare.md").read_text()
    table = next(part for part in record.split("### ") if part.startswith(title)).split("\n\n")[1]
    assert table.count("\n") == 10  # eight models, two lines of head and the mean
    assert f"\n\n{table}\n\n" in README
