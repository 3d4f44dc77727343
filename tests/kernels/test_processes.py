"""Fused steps in Numba's two thread pools, in pools of any size, in joblib's workers, after a fork, without compiling,
and from an installation that cannot be written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest

import minicnn
from minicnn.kernels.tiles import tiling_for
from minicnn.layers import Dense
from minicnn.steps.strassen import LEAST
from tests.small_models import QUIET, X, Y, new_model, trained_and_predicted
from tests.steps.test_dense import built
from tests.steps.test_strassen import many, step_of

PACKAGE = Path(minicnn.__file__).parent
ROOT = Path(__file__).resolve().parents[2]

AT_ONCE = """
import sys, threading
import numba
from tests.kernels.test_processes import bits

alone = [bits(seed) for seed in range(2)]
assert numba.threading_layer() == sys.argv[1], numba.threading_layer()
together = [[], []]

def work(seed):
    for _ in range(3):
        together[seed].append(bits(seed))

workers = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
assert together == [[alone[seed]] * 3 for seed in range(2)]
print("equal bits")
"""

ONE_MODEL = """
import sys, threading
import numba
import numpy as np
from tests.small_models import images_for_every_fused_step, with_every_fused_step

model = with_every_fused_step()
data = [images_for_every_fused_step(seed, 48) for seed in range(2)]

def work(x, y):
    return model.predict(x, batch_size=16, verbose=0).tobytes(), model.evaluate(x, y, batch_size=16, verbose=0)

alone = [work(x, y) for x, y in data]
assert alone[0] != alone[1]
assert numba.threading_layer() == sys.argv[1], numba.threading_layer()
together = [[], []]

def several(which):
    for _ in range(4):
        together[which].append(work(*data[which]))

workers = [threading.Thread(target=several, args=(which,)) for which in range(2)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
assert together == [[alone[which]] * 4 for which in range(2)]
print("equal")
"""

POOL_OF_ANY_SIZE = """
import hashlib
from tests.kernels.test_processes import bits

print(hashlib.sha256(bits(0)).hexdigest())
"""

FORKED = """
import os
import numba
import numpy as np
from minicnn.kernels import NUMBA

numba.set_num_threads(1)  # starts Numba's threads, as parallel code of the caller's own does
child = os.fork()
if child == 0:
    print(NUMBA.relu(np.array([-1.0, 2.0])).tolist(), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""

FORKED_WHILE_COMPILING = """
import os, signal, sys, threading, time
import numpy as np
from minicnn.kernels import NUMBA, jit, linking, machine_code, tiles

owner, name = {
    "preparing": (jit, "_compile"),
    "Numba": (linking.NoticedCompiler, "compile_extra"),
    "machine code": (machine_code, "_provide"),
}[sys.argv[1]]
compiling, compile_it = threading.Event(), getattr(owner, name)

def slowly(*args):
    compiling.set()
    time.sleep(1)
    return compile_it(*args)

def compute():
    tiles.tiling_for(4)
    os.write(1, f"{NUMBA.relu(np.array([-1.0, 2.0])).tolist()}\\n".encode())  # nothing in a buffer that a fork copies

setattr(owner, name, slowly)
other = threading.Thread(target=compute)
other.start()
assert compiling.wait(60)
setattr(owner, name, compile_it)
child = os.fork()
if child == 0:
    signal.alarm(100)  # ends a child that waits for ever
    compute()
    os._exit(0)
other.join()
status = os.waitpid(child, 0)[1]
assert status == 0, status
"""

FORKED_WHILE_IMPORTING = """
import os, signal, sys, threading, time
from minicnn.kernels.tiles import tiling_for

other = threading.Thread(target=tiling_for, args=(4,))
other.start()
while "numba" not in sys.modules:
    time.sleep(0.001)
child = os.fork()
if child == 0:
    signal.alarm(100)  # ends a child that waits for ever
    tiling_for(4)
    os._exit(0)
other.join()
status = os.waitpid(child, 0)[1]
assert status == 0, status
"""

INTERRUPTED_FORK = """
import os, signal, threading
from minicnn.kernels import NUMBA
from minicnn.kernels.forking import blas_lock, compile_lock
from numba.core.compiler_lock import global_compiler_lock as numbas

held, done = threading.Event(), threading.Event()

def hold():
    with numbas:
        held.set()
        done.wait(60)

other = threading.Thread(target=hold)
other.start()
held.wait(60)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
child = os.fork()  # waits until Control-C
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
done.set()
other.join()
free = []
checker = threading.Thread(target=lambda: free.extend(lock.acquire() for lock in [compile_lock, numbas, blas_lock]))
checker.daemon = True
checker.start()
checker.join(60)
print(len(free), flush=True)
os._exit(0)
"""

FORKED_WHILE_SETTING = """
import os, threading, time
from minicnn.kernels.forking import blas_lock

held = threading.Event()

def hold():
    with blas_lock:
        held.set()
        time.sleep(0.5)

threading.Thread(target=hold).start()
held.wait(60)
child = os.fork()
if child == 0:
    took = []
    other = threading.Thread(target=lambda: took.append(blas_lock.acquire(timeout=10)))
    other.start()
    other.join()
    os._exit(0 if took == [True] else 1)
assert os.waitpid(child, 0)[1] == 0
"""

NOT_COMPILED = """
import numpy as np
from minicnn import Sequential
from minicnn.layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D

x, y = np.random.default_rng(0).random((3, 6, 6, 1), np.float32), np.array([0, 1, 2])
results = []
for kernels in ("numba", "numpy"):
    model = Sequential(
        [Input((6, 6, 1)), Conv2D(2, 3, activation="relu"), MaxPooling2D(2), BatchNormalization(), Flatten(),
         Dropout(0.3), Dense(3, activation="softmax")], seed=0, kernels=kernels,
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    results.append([model.train_on_batch(x, y), model.predict(x, verbose=0)])
for ours, theirs in zip(*results, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
print("equal")
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


def bits(seed):
    """The bytes of the weights of a model with every fused step after an epoch, and of predictions by them."""
    return b"".join(array.tobytes() for array in [*trained_and_predicted(seed), *strassens_product(seed)])


def strassens_product(seed):
    """StrassenStep on its own, since plans have it for millions of weights alone."""
    if tiling_for(4) is None:
        return []
    layer = built(Dense(256, activation="relu"), 128, "float32")
    x = np.random.default_rng(seed).standard_normal((LEAST + 3, 128)).astype(np.float32)
    return [step_of(layer).forward(x, many())[0]]


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
    assert run(AT_ONCE, pool, folder=ROOT, **environment).stdout == "equal bits\n"


@pytest.mark.parametrize("pool", ["omp", "workqueue"])
def test_two_python_threads_ask_one_model(pool):
    """predict and evaluate, with different data, while the other thread does the same."""
    if pool == "omp" and sys.platform == "darwin":
        pytest.skip("Numba's wheels for macOS have no OpenMP of their own.")
    environment = {"NUMBA_THREADING_LAYER": pool, "NUMBA_NUM_THREADS": "2"}
    assert run(ONE_MODEL, pool, folder=ROOT, **environment).stdout == "equal\n"


def trained_elsewhere(model, x, y):
    """The bytes of the weights after the model has taken its own weights over and was trained on."""
    model.set_weights(model.get_weights())
    model.fit(x, y, verbose=0)
    return b"".join(array.tobytes() for array in model.get_weights())


def test_a_model_that_joblib_hands_to_its_workers_trains_there():
    """Large arrays of arguments come as maps of files that cannot be written; here all of them do."""
    model = new_model()
    model.fit(X, Y, **QUIET)
    jobs = [joblib.delayed(trained_elsewhere)(model, X, Y) for _ in range(2)]
    results = joblib.Parallel(n_jobs=2, backend="loky", max_nbytes=1)(jobs)
    assert results == [trained_elsewhere(model, X, Y)] * 2


@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_of_joblib_compute_the_same_bits(backend):
    """Of processes that are new (loky), forked after kernels ran here (multiprocessing), and of threads."""
    expected = [bits(seed) for seed in range(2)]
    jobs = [joblib.delayed(bits)(seed) for seed in range(2)]
    workers = joblib.Parallel(n_jobs=2, backend=backend)
    if backend == "multiprocessing":
        workers(jobs[:1])  # compiles the serial kernels, which both would do otherwise
    assert workers(jobs) == expected


def test_bits_do_not_depend_on_the_size_of_the_thread_pool():
    """Odd pools and one larger than most machines have cores, in which parts of the work fall to threads otherwise."""
    said = {run(POOL_OF_ANY_SIZE, folder=ROOT, NUMBA_NUM_THREADS=count).stdout for count in ("1", "3", "5")}
    assert len(said) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_forked_after_parallel_code_of_the_callers_own_computes():
    """Numba's threads are not in the child, though no kernel of ours has started them."""
    assert run(FORKED).stdout == "[0.0, 2.0]\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("what", ["preparing", "Numba", "machine code"])
def test_a_child_forked_while_another_thread_compiles_computes(what, tmp_path):
    if what == "machine code" and tiling_for(4) is None:
        pytest.skip("no vector unit: there is no generated code here")
    done = run(FORKED_WHILE_COMPILING, what, NUMBA_CACHE_DIR=str(tmp_path))
    assert done.stdout == "[0.0, 2.0]\n" * 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_forked_while_another_thread_imports_numba_computes(tmp_path):
    if tiling_for(4) is None:
        pytest.skip("no vector unit: there is no generated code here")
    run(FORKED_WHILE_IMPORTING, NUMBA_CACHE_DIR=str(tmp_path))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_control_c_while_a_fork_waits_leaves_no_lock_behind():
    assert "3" in run(INTERRUPTED_FORK).stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_fork_waits_while_another_thread_sets_blass_threads():
    run(FORKED_WHILE_SETTING)


def test_without_compiling_the_loops_are_run():
    done = run(NOT_COMPILED, NUMBA_DISABLE_JIT="1")
    assert (done.stdout, done.stderr) == ("equal\n", "")


@pytest.mark.skipif(tiling_for(4) is None, reason="no vector unit: compiling is done before the notice of it is due")
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
