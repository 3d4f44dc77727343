"""BLAS keeps to one thread while kernels run, and the caller's setting comes back."""

import itertools
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import minicnn
from minicnn.geometry import place_windows
from minicnn.kernels import NUMBA, blas
from minicnn.kernels.blas import single_threaded_blas


def blas_threads():
    """The number of threads of every BLAS in the process."""
    return {(lib["filepath"], lib["num_threads"]) for lib in threadpool_info() if lib["user_api"] == "blas"}


def counts():
    return {count for _, count in blas_threads()}


@pytest.fixture
def callers_setting():
    """The caller's own setting: two threads."""
    with single_threaded_blas():
        pass  # loads SciPy's BLAS, so that the limit below covers it
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        if not before or counts() != {2}:
            pytest.skip("no BLAS here whose threads can be set")
        yield before


def test_a_block_limits_and_restores(callers_setting):
    with single_threaded_blas():
        assert counts() == {1}
    assert blas_threads() == callers_setting


def test_an_error_inside_restores_too(callers_setting):
    with pytest.raises(RuntimeError), single_threaded_blas():
        raise RuntimeError
    assert blas_threads() == callers_setting


def test_control_c_at_any_place_of_a_block_restores_too(callers_setting):
    """While the number of threads is set, before and after; but not where a block is about to be left."""
    interrupted = 0
    for step in itertools.count(1):
        calls = itertools.count(1)

        def interrupt(frame, event, argument, step=step, calls=calls):
            ours = event == "call" and frame.f_code.co_filename == blas.__file__
            if ours and frame.f_code.co_name != "_leave" and next(calls) == step:
                sys.setprofile(None)
                raise KeyboardInterrupt

        sys.setprofile(interrupt)
        try:
            with single_threaded_blas():
                pass
        except KeyboardInterrupt:
            interrupted += 1
        finally:
            sys.setprofile(None)
        with single_threaded_blas():
            assert counts() == {1}
        assert blas_threads() == callers_setting
        if interrupted < step:  # the block has no more calls
            break
    assert interrupted > 5


def test_a_setting_that_is_changed_inside_a_block_is_not_the_callers():
    """The caller has one thread: two that are set inside are none to come back to, though another block begins then."""
    with single_threaded_blas():
        pass
    with threadpool_limits(1, user_api="blas"):
        before = blas_threads()
        with single_threaded_blas(), threadpool_limits(2, user_api="blas"), single_threaded_blas():
            pass
        assert blas_threads() == before


def test_nested_blocks_restore_at_the_outermost_end(callers_setting):
    with single_threaded_blas():
        with single_threaded_blas():
            assert counts() == {1}
        assert counts() == {1}
    assert blas_threads() == callers_setting


def test_overlapping_blocks_in_two_threads_restore_at_the_last_end(callers_setting):
    inside, leave = threading.Event(), threading.Event()

    def other():
        with single_threaded_blas():
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=other)
    with single_threaded_blas():
        thread.start()
        assert inside.wait(30)
    assert counts() == {1}  # the first to enter has left, the other is still inside
    leave.set()
    thread.join()
    assert blas_threads() == callers_setting


def test_many_threads_entering_and_leaving(callers_setting):
    seen = []

    def work():
        for _ in range(20):
            with single_threaded_blas():
                seen.append(counts())

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert seen == [{1}] * 80
    assert blas_threads() == callers_setting


def test_kernels_and_training_leave_the_setting(callers_setting):
    x = np.ones((2, 5, 5, 1), np.float32)
    windows = place_windows((5, 5), (3, 3), (1, 1), "valid", "test")
    NUMBA.conv2d(x, np.ones((3, 3, 1, 2), np.float32), np.zeros(2, np.float32), windows)
    assert blas_threads() == callers_setting
    model = minicnn.Sequential([minicnn.layers.Flatten(input_shape=(5, 5, 1)), minicnn.layers.Dense(2)], seed=0)
    model.compile("sgd", "mse")
    during = []
    spy = minicnn.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: during.append(counts()))
    model.fit(x, np.zeros((2, 2)), verbose=0, callbacks=[spy])
    assert during == [{1}]
    assert blas_threads() == callers_setting
    model.predict(x, verbose=0)
    model.evaluate(x, np.zeros((2, 2)), verbose=0)
    assert blas_threads() == callers_setting
    with pytest.raises(minicnn.errors.ShapeError):
        model.fit(x[..., 0], np.zeros((2, 2)), verbose=0)
    assert blas_threads() == callers_setting


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_forked_inside_a_block_has_the_callers_setting(callers_setting):
    with single_threaded_blas():
        child = os.fork()
        if child == 0:
            os._exit(0 if counts() == {2} else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert counts() == {1}
    assert blas_threads() == callers_setting


ALONE = """
import sys
import numpy as np
{before}
from minicnn import layers, models
model = models.Sequential([layers.Input((6,)), layers.Dense(3)])
model.compile("sgd", "mse")
x, y = np.ones((4, 6), np.float32), np.ones((4, 3), np.float32)
model.train_on_batch(x, y)
print("scipy.linalg" in sys.modules)
import scipy.linalg
import scipy.linalg.cython_blas as blas
from scipy.linalg import cython_blas
assert blas is cython_blas is sys.modules["scipy.linalg.cython_blas"] and "dgemm" in blas.__pyx_capi__
assert scipy.linalg.norm(np.array([3.0, 4.0])) == 5
model.train_on_batch(x, y)
"""


REPLACED = """
import types
from importlib.machinery import PathFinder
from minicnn.kernels import blas

def fail(*args):
    raise RuntimeError("this loader fails")

def others_import_first(spec, make=blas.module_from_spec):
    import scipy.linalg
    return make(spec)

def found_but_fails(name, path):
    spec = PathFinder.find_spec(name, path)
    spec.loader.exec_module = fail
    return spec

"""
NOT_THERE = REPLACED + "blas.PathFinder = types.SimpleNamespace(find_spec=lambda *args: None)"
FAILS = REPLACED + "blas.PathFinder = types.SimpleNamespace(find_spec=found_but_fails)"
A_THREAD_IS_FASTER = REPLACED + "blas.module_from_spec = others_import_first"
NOT_ASKED = REPLACED + "import scipy.linalg; blas.PathFinder = types.SimpleNamespace(find_spec=fail)"


@pytest.mark.parametrize(
    ("before", "package"),
    [("", "False"), (NOT_THERE, "True"), (FAILS, "True"), (A_THREAD_IS_FASTER, "True"), (NOT_ASKED, "True")],
    ids=["alone", "not there", "fails", "a thread is faster", "not asked"],
)
def test_blas_comes_without_the_rest_of_scipys_linear_algebra(before, package):
    """Or with it, where it was there already or cannot be imported alone."""
    code = ALONE.replace("{before}", before)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.split()) == (0, [package]), done.stderr
