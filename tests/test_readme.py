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
