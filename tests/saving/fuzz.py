"""A seeded fuzzer of model files: python -m tests.saving.fuzz [--mutations 20000] [--first 0].

Each mutation takes a file (real ones of ../shared where they are, and some that are written first), changes a few
bytes, numbers or lengths, and reads it in a process of 6 GB of address space. Reading must end within 20 s, with a
model or with one of minicnn's own errors. Most changes to an archive are made to a member, which is packed up again, so
that check sums do not catch them; most to HDF5 where its structure is, since the bulk of a file is weights.
"""

import argparse
import io
import multiprocessing
import resource
import signal
import sys
import tempfile
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np

from minicnn import Sequential, layers, load_model
from minicnn.errors import MinicnnError
from tests.saving.models import data, small
from tests.shared import shared_folder

ADDRESS_SPACE = 6 << 30
SECONDS = 20
LARGEST = 1 << 20  # of the files that are mutated, so that many mutations take bearable time
NUMBERS = (b"0", b"-1", b"null", b"1e999", b"999999999999", b"[]", b'"x"', b"{}", b"true", b"NaN", b"0.5")
WORDS = (bytes(8), b"\xff" * 8, b"\x7f" + b"\xff" * 7, (1 << 40).to_bytes(8, "little"), (1 << 31).to_bytes(4, "little"))


def originals(folder):
    """The files to start from: name and content."""
    x, y = data()
    model = small()
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, verbose=0)
    for name in ("own.h5", "own.keras"):
        model.save(folder / name)
    model.save(folder / "keras2.h5", optimizer_for="keras2")
    for name in ("weights.h5", "own.weights.h5"):
        model.save_weights(folder / name)
    files = sorted(folder.iterdir())
    shared = shared_folder()
    if shared is not None:
        found = [*(shared / "keras_files").iterdir(), *(shared / "wild_models").iterdir()]
        files += sorted(f for f in found if f.suffix in (".h5", ".keras") and f.stat().st_size <= LARGEST)
    return [(file.name, file.read_bytes()) for file in files]


def mutated(content, rng):
    """The content with a few things changed; an archive is taken apart and packed up again in half of the cases."""
    if content.startswith(b"PK") and rng.integers(4):
        return _repacked(content, rng)
    return _changed(content, rng)


def _repacked(content, rng):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = str(rng.choice(["config.json", "model.weights.h5"]))
    members[name] = _changed(members[name], rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if rng.integers(2) else zipfile.ZIP_STORED) as archive:
        for member, value in members.items():
            archive.writestr(member, value)
    return buffer.getvalue()


def _changed(content, rng):
    changed = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        kind, place = rng.integers(6), _place(changed, rng)
        if kind <= 1 and changed:
            changed[place] = rng.integers(256)
        elif kind == 2:
            word = WORDS[rng.integers(len(WORDS))]
            changed[place : place + len(word)] = word
        elif kind == 3:
            _change_number(changed, place, rng)
        elif kind == 4:
            del changed[place : place + int(rng.integers(1, 64))]
        elif rng.integers(4) == 0:
            del changed[place:]
        else:
            other = _place(changed, rng)
            changed[place : place + 16] = changed[other : other + 16]
    return bytes(changed)


def _place(content, rng):
    """A place anywhere, or in the first pages or beside a text, where a file says what it holds."""
    kind = rng.integers(3)
    if kind == 0 or len(content) < 4096:
        return int(rng.integers(max(len(content), 1)))
    if kind == 1:
        return int(rng.integers(4096))
    marks = (b"TREE", b"HEAP", b"SNOD", b"GCOL", b"class_name", b"weight_names", b"config")
    mark = content.find(marks[rng.integers(len(marks))], int(rng.integers(len(content))))
    return min(max(mark, 0) + int(rng.integers(256)), len(content) - 1)


def _change_number(content, place, rng):
    """Another value for the next number of a JSON text, if there is one near."""
    digits = next((k for k in range(place, min(place + 512, len(content))) if chr(content[k]).isdigit()), None)
    if digits is not None:
        content[digits : digits + 1] = NUMBERS[rng.integers(len(NUMBERS))]


def read(path):
    """Read a file in every way; minicnn's own errors are what should happen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for attempt in (load_model, small().load_weights, _other().load_weights):
            try:
                attempt(path)
            except MinicnnError as error:
                if "\n" in str(error):
                    raise RuntimeError("a message of more than one line") from error


def _other():
    """The model that most files of keras_files hold the weights of."""
    return Sequential(
        [
            layers.Conv2D(4, 3, padding="same", activation="relu", input_shape=(8, 8, 1)),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def _work(folder, first, last, at, findings):
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    files = [(path.name, path.read_bytes()) for path in sorted((folder / "originals").iterdir())]
    for number in range(first, last):
        at.value = number
        name, content = files[number % len(files)]
        path = folder / f"mutated_{first}{Path(name).suffix}"
        path.write_bytes(mutated(content, np.random.default_rng([number, 20261124])))
        signal.alarm(SECONDS)
        try:
            read(path)
        except Exception as error:
            findings.put((number, name, f"{type(error).__name__}: {error}"))
        signal.alarm(0)
    at.value = last


def run(mutations, first=0):
    """(number, file, what happened) of every mutation that did not end in a model or an error of minicnn."""
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "originals").mkdir()
        for name, content in originals(folder / "originals"):
            (folder / "originals" / name).write_bytes(content)
        names = sorted(path.name for path in (folder / "originals").iterdir())
        context = multiprocessing.get_context("spawn")
        number, last = first, first + mutations
        while number < last:
            at, findings = context.Value("q", number), context.Queue()
            worker = context.Process(target=_work, args=(folder, number, last, at, findings))
            worker.start()
            while worker.is_alive() or not findings.empty():
                while not findings.empty():
                    found.append(findings.get())
                time.sleep(0.05)
            worker.join()
            if worker.exitcode == 0:
                break
            ended = f"the process ended with {worker.exitcode} (14: after {SECONDS} s)"
            found.append((at.value, names[at.value % len(names)], ended))
            number = at.value + 1
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mutations", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    start = time.perf_counter()
    found = run(given.mutations, given.first)
    print(*found, f"{given.mutations} mutations, {len(found)} findings, {time.perf_counter() - start:.0f} s", sep="\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
