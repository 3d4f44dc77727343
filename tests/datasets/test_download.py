"""Downloads: mirrors take over from each other, hashes are checked, waiting ends, and an error says what to do."""

import hashlib
import os
import socket
import threading
import time

import pytest

from minicnn.datasets import download
from minicnn.datasets.download import fetch
from minicnn.errors import DatasetError

CONTENT = {"a.bin": b"first" * 3000, "b.bin": b"second" * 10}
SHA256 = {name: hashlib.sha256(data).hexdigest() for name, data in CONTENT.items()}


@pytest.fixture
def source(tmp_path):
    """A folder with the files, to be served."""
    folder = tmp_path / "source"
    folder.mkdir()
    for name, data in CONTENT.items():
        (folder / name).write_bytes(data)
    return folder


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_arrive_with_a_progress_bar(source, serve, home, capsys):
    fetch("set", home / "set", SHA256, [serve(source)])
    assert content(home / "set") == CONTENT
    bars = capsys.readouterr().err
    assert "a.bin: 100%" in bars
    assert "b.bin: 100%" in bars


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_whoever_may_read_new_files_may_read_these(source, serve, home):
    (source / "new").touch()
    fetch("set", home, SHA256, [serve(source)])
    assert {path.stat().st_mode for path in home.iterdir()} == {(source / "new").stat().st_mode}


def test_the_next_mirror_takes_over(source, serve, silent, refusing, home, tmp_path):
    partial = tmp_path / "partial"
    partial.mkdir()
    (partial / "a.bin").write_bytes(CONTENT["a.bin"])
    (partial / "b.bin").write_bytes(b"not what was published")
    fetch("set", home, SHA256, [refusing, silent, serve(partial), serve(source)], patience=4.0)
    assert content(home) == CONTENT


def test_a_file_with_another_hash_never_appears(source, serve, home):
    (source / "b.bin").write_bytes(b"not what was published")
    with pytest.raises(DatasetError, match=r"hash is not the published one.*put b\.bin into"):
        fetch("set", home, SHA256, [serve(source)])
    assert content(home) == {"a.bin": CONTENT["a.bin"]}


def test_an_interrupted_file_never_appears(home):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 15000\r\n\r\n" + CONTENT["a.bin"][:9000])

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(DatasetError, match="download failed"):
            fetch("set", home, {"a.bin": SHA256["a.bin"]}, [address])
        thread.join()
    assert content(home) == {}


def test_the_error_says_in_one_line_what_to_put_where(serve, refusing, tmp_path, home):
    (tmp_path / "empty").mkdir()
    empty = serve(tmp_path / "empty")
    with pytest.raises(DatasetError) as caught:
        fetch("set", home, SHA256, [refusing, empty])
    hosts = [address.removeprefix("http://").removesuffix("/") for address in (refusing, empty)]
    assert str(caught.value) == (
        "set: not on this machine, and the download failed "
        f"({hosts[0]}: ConnectionError; {hosts[1]}: HTTP status 404); "
        f"put a.bin, b.bin into {home}, from {refusing} or {empty}."
    )


def test_patience_is_shared_by_all_mirrors_and_files(silent, home):
    start = time.monotonic()
    with pytest.raises(DatasetError, match=r"no answer in time; .*no answer in time"):
        fetch("set", home, SHA256, [silent, silent], patience=1.0)
    assert 0.9 < time.monotonic() - start < 5
    assert content(home) == {}


def test_a_name_lookup_that_hangs_is_left_behind(home, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: time.sleep(10) or [])
    start = time.monotonic()
    with pytest.raises(DatasetError, match=r"data\.invalid: no answer in time"):
        fetch("set", home, SHA256, ["http://data.invalid/"], patience=0.5)
    assert time.monotonic() - start < 5


def test_a_slow_line_still_gets_its_file(source, serve, home):
    data = bytes(30 * 4096)
    (source / "slow.bin").write_bytes(data)
    start = time.monotonic()
    fetch("set", home, {"slow.bin": hashlib.sha256(data).hexdigest()}, [serve(source, slow=True)], patience=2.0)
    assert time.monotonic() - start > 2.5  # longer than the patience, which only silence uses up
    assert content(home) == {"slow.bin": data}


def test_twenty_seconds_unless_said_otherwise():
    assert download.PATIENCE == 20


def test_a_folder_that_cannot_be_made(tmp_path, refusing):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatasetError, match=r"set: cannot write to the folder .*file.set .*set MINICNN_HOME"):
        fetch("set", tmp_path / "file" / "set", SHA256, [refusing])


def test_poochs_logger_is_left_as_it_was(source, serve, home, caplog):
    import pooch

    before = pooch.get_logger().level
    fetch("set", home, SHA256, [serve(source)])
    assert pooch.get_logger().level == before
