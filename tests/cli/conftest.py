"""The command line as a user runs it: in a folder of its own, with a home of its own and no network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from minicnn.cli import app
from minicnn.utils import clear_session
from tests.datasets.conftest import serve  # noqa: F401 (a fixture)

ROOT = Path(__file__).resolve().parents[2]


def closed_network():
    """A port at which nobody listens stands in for every proxy, so no download can begin."""
    closed = dict.fromkeys(("http_proxy", "https_proxy", "ftp_proxy", "all_proxy"), "http://127.0.0.1:9")
    return closed | {name.upper(): address for name, address in closed.items()} | {"no_proxy": "", "NO_PROXY": ""}


def environment(home):
    homes = {"HOME": str(home), "USERPROFILE": str(home), "MINICNN_HOME": str(home / "minicnn")}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return closed_network() | homes | {"KERAS_HOME": str(home / "keras"), "PYTHONPATH": path}


def invoke(*arguments, **more):
    """The result of a command: exit_code, stdout, stderr. Nothing but an exit may come out of it."""
    clear_session()  # as in a new process
    result = CliRunner().invoke(app, [str(a) for a in arguments], prog_name="minicnn", **more)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def run(tmp_path, monkeypatch):
    """run("train", "lenet5", ...) in tmp_path."""
    for name, value in environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return invoke


@pytest.fixture
def start(tmp_path):
    """start("train", ...) begins `python -m minicnn train ...` as a process of its own in tmp_path."""
    processes = []

    def begin(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "minicnn", *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | environment(tmp_path / "home"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """(folder, result) of `minicnn train lenet5 --data digits --epochs 4 --output folder`."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    return folder, invoke("train", "lenet5", "--data", "digits", "--epochs", 4, "--output", folder)


@pytest.fixture(scope="session")
def model_file(trained):
    return trained[0] / "model.h5"


def assert_fails(result, code, message):
    """One line on stderr that begins so, nothing on stdout, and this exit code."""
    assert result.exit_code == code, result.output
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith(f"minicnn: {message}"), result.stderr
    assert result.stdout == ""
