"""Homes of the tests' own, and web servers on this machine."""

import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from minicnn.datasets import fashion_mnist


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty HOME, so that no test sees or touches the user's data. Returns the folder of the data sets."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setenv("MINICNN_HOME", str(tmp_path / "minicnn"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    return tmp_path / "minicnn" / "datasets"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, quietly, and waits a while after every 4 KiB."""

    delay = 0.0

    def log_message(self, *args: object) -> None:
        pass

    def copyfile(self, source, outputfile) -> None:
        while chunk := source.read(4096):
            outputfile.write(chunk)
            time.sleep(self.delay)


class SlowHandler(Handler):
    delay = 0.1


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """serve(folder, slow=False) is the address of a web server for that folder."""
    servers = []

    def start(folder: Path, slow: bool = False) -> str:
        handler = partial(SlowHandler if slow else Handler, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


@pytest.fixture
def refusing() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/"
