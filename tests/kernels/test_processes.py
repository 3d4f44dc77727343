"""Fused steps in Numba's two thread pools, in joblib's workers, and from an installation that cannot be written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest

import minicnn
from minicnn import layers

PACKAGE = Path(minicnn.__file__).parent

AT_ONCE = """
import sys, threading
import numba
from tests.kernels.test_processes import trained_and_predicted

alone = [trained_and_predicted(seed) for seed in range(2)]
assert numba.threading_layer() == sys.argv[1], numba.threading_layer()
together = [[], []]

def work(seed):
    for _ in range(3):
        together[seed].append(trained_and_predicted(seed))

workers = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
assert together == [[alone[seed]] * 3 for seed in range(2)]
print("equal bits")
"""

INSTALLED = """
import minicnn
from pathlib import Path
import numpy as np
from minicnn import layers

assert Path(minicnn.__file__).parts[-3:] == ("installed", "minicnn", "__init__.py"), minicnn.__file__
model = minicnn.Sequential(
    [layers.Input((8, 8, 1)), layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(2), layers.Flatten(),
     layers.Dense(3)], seed=0,
)
assert "ConvolutionStep" in str(model.plan()), model.plan()
model.compile("sgd", "mse")
model.fit(np.ones((4, 8, 8, 1)), np.zeros((4, 3)), verbose=0)
"""


def trained_and_predicted(seed):
    """The bytes of the weights after an epoch, and of predictions by them; every fused step takes part."""
    rng = np.random.default_rng(seed)
    model = minicnn.Sequential(
        [
            layers.Input((12, 12, 2)),
            layers.Conv2D(6, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.Conv2D(20, 3, activation="tanh"),
            layers.AveragePooling2D(2),
            layers.Conv2D(8, 3, padding="same"),  # on a map of 2x2: only the taps on it
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(4, activation="softmax"),
        ],
        seed=seed,
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    x, y = rng.random((60, 12, 12, 2)), rng.integers(0, 4, 60)
    model.fit(x, y, batch_size=32, verbose=0)
    arrays = [*model.get_weights(), model.predict(x, batch_size=32, verbose=0)]
    return b"".join(array.tobytes() for array in arrays)


def run(code, *arguments, folder=None, **environment):
    """What a new process prints, started in `folder`; fails with what it said if it does not end well."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("pool", ["omp", "workqueue"])
def test_two_python_threads_train_and_predict_at_once(pool):
    """workqueue kills a process in which two threads enter it at once."""
    if pool == "omp" and sys.platform == "darwin":
        pytest.skip("Numba's wheels for macOS have no OpenMP of their own.")
    environment = {"NUMBA_THREADING_LAYER": pool, "NUMBA_NUM_THREADS": "2"}
    assert run(AT_ONCE, pool, **environment).stdout == "equal bits\n"


@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_of_joblib_compute_the_same_bits(backend):
    """Of processes that are new (loky), forked after kernels ran here (multiprocessing), and of threads."""
    expected = [trained_and_predicted(seed) for seed in range(2)]
    jobs = [joblib.delayed(trained_and_predicted)(seed) for seed in range(2)]
    assert joblib.Parallel(n_jobs=2, backend=backend)(jobs) == expected


def test_an_installation_that_cannot_be_written_caches_in_the_users_folder(tmp_path):
    """Root may write anywhere, so that files stand where Numba would make its folders."""
    installed, home = tmp_path / "installed", tmp_path / "home"
    shutil.copytree(PACKAGE, installed / "minicnn", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [installed / "minicnn", *(p for p in (installed / "minicnn").rglob("*") if p.is_dir())]:
        (folder / "__pycache__").touch()
    before = sorted(installed.rglob("*"))
    environment = {
        "PYTHONPATH": str(installed),
        "NUMBA_CACHE_DIR": "",
        **dict.fromkeys(("HOME", "USERPROFILE", "LOCALAPPDATA", "XDG_CACHE_HOME"), str(home)),
    }
    cold, warm = (run(INSTALLED, folder=tmp_path, **environment).stderr for _ in range(2))
    assert "minicnn: compiling kernels" in cold
    assert warm == ""
    assert sorted(installed.rglob("*")) == before
    assert list(home.rglob("*.nbi"))
