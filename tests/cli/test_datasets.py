"""minicnn datasets: what is listed where, and fetching without a network."""

import re

import pytest
from rich.console import Console

from minicnn.cli import output
from minicnn.cli.data import CONTENTS, place
from minicnn.datasets import DATASETS, cifar10, fashion_mnist, mnist
from tests.cli.conftest import assert_fails
from tests.datasets.samples import sha256_of, small, splits, write_idx


@pytest.fixture
def home(run, tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    monkeypatch.setattr(mnist, "OFFICIAL", small(mnist.OFFICIAL))
    monkeypatch.setattr(fashion_mnist, "OFFICIAL", small(fashion_mnist.OFFICIAL))
    return tmp_path / "home" / "minicnn" / "datasets"


def listed(result):
    assert result.exit_code == 0, result.stderr
    head, *lines = result.stdout.splitlines()
    assert head.split() == ["name", "images", "where"]
    return {line.split()[0]: re.split(r"  +", line)[-1] for line in lines}


def test_nothing_is_here_but_the_digits(run, home):
    assert listed(run("datasets")) == {
        "mnist": "not here; minicnn datasets fetch mnist",
        "fashion_mnist": "not here; minicnn datasets fetch fashion_mnist",
        "cifar10": "not here; minicnn datasets fetch cifar10",
        "digits": "scikit-learn",
    }
    assert list(CONTENTS) == list(DATASETS)


def test_what_is_here_is_listed_with_its_place(run, home, tmp_path):
    write_idx(home / "mnist", splits())
    write_idx(tmp_path / "debian", splits())
    (home / cifar10.FOLDER).mkdir()
    for name in (*cifar10.TRAIN_FILES, cifar10.TEST_FILE):
        (home / cifar10.FOLDER / name).touch()
    places = listed(run("datasets"))
    assert places["mnist"] == str(home / "mnist")
    assert places["fashion_mnist"] == str(tmp_path / "debian")
    assert places["cifar10"] == str(home / cifar10.FOLDER)


def test_places_of_keras_and_of_archives(run, home, tmp_path):
    keras = tmp_path / "home" / "keras" / "datasets"
    write_idx(keras / "fashion-mnist", splits())
    (keras / "mnist.npz").touch()
    home.mkdir(parents=True)
    (home / cifar10.ARCHIVE).touch()
    assert place("mnist") == keras / "mnist.npz"
    assert place("fashion_mnist") == keras / "fashion-mnist"
    assert place("cifar10") == home / cifar10.ARCHIVE
    (home / cifar10.ARCHIVE).unlink()
    assert place("cifar10") is None


def test_fetch_reads_what_is_here(run, home):
    write_idx(home / "mnist", splits())
    result = run("datasets", "fetch", "mnist", "digits")
    assert result.stdout.splitlines() == [
        f"mnist: 7 training and 3 test images, already in {home / 'mnist'}",
        "digits: 1,437 training and 360 test images, already in scikit-learn",
    ]


def test_fetch_downloads(run, home, monkeypatch, serve, tmp_path):
    write_idx(tmp_path / "served", splits())
    mirror = serve(tmp_path / "served")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name)

    monkeypatch.setattr(
        mnist, "OFFICIAL", small(mnist.OFFICIAL, sha256=sha256_of(tmp_path / "served"), mirrors=(mirror,))
    )
    result = run("datasets", "fetch", "mnist")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"mnist: 7 training and 3 test images, now in {home / 'mnist'}\n"


def test_without_a_network_it_says_so_in_one_line(run, home):
    result = run("datasets", "fetch", "mnist")
    assert_fails(result, 1, "mnist: not on this machine, and the download failed (")
    assert str(home / "mnist") in result.stderr


def test_damaged_files_and_unknown_names(run, home):
    write_idx(home / "mnist", splits())
    (home / "mnist" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"hello")
    assert_fails(run("datasets", "fetch", "mnist"), 1, f"{home / 'mnist'}/t10k-labels-idx1-ubyte.gz: ")
    assert_fails(run("datasets", "fetch", "imagenet"), 2, "imagenet: is no data set; choose from mnist, ")


def test_tables_are_drawn_on_a_terminal_and_plain_elsewhere(monkeypatch, capsys):
    output.print_table(("name", "size"), [("a [b]", "1"), ("c", "20")], right=("size",))
    assert capsys.readouterr().out == "name   size\na [b]     1\nc        20\n"
    monkeypatch.setattr(output, "Console", lambda: Console(force_terminal=True, width=40))
    output.print_table(("name", "size"), [("a [b]", "1"), ("c", "20")], right=("size",))
    drawn = capsys.readouterr().out
    assert re.search(r"^ a \[b\] +1 ", drawn, re.MULTILINE)
    assert "\x1b" in drawn


def test_words():
    assert output.percent(0.98765) == "98.77 %"
    assert [output.plural(n, "epoch") for n in (0, 1, 2)] == ["0 epochs", "1 epoch", "2 epochs"]
    durations = {4.23: "4.2 s", 59.94: "59.9 s", 60: "1 min 0 s", 200: "3 min 20 s", 7500: "2 h 5 min"}
    assert {seconds: output.duration(seconds) for seconds in durations} == durations
