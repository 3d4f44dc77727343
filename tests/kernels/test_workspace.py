"""Pooled arrays: their own memory for as long as anything refers to them, the same memory again afterwards."""

import gc
import itertools
import subprocess
import sys
import threading

import numpy as np
import pytest

from minicnn.kernels import workspace

LARGE = (3, workspace.SMALLEST // 4)


@pytest.fixture(autouse=True)
def empty_pool():
    workspace._free.clear()
    yield
    workspace._free.clear()


def address(array):
    return array.__array_interface__["data"][0]


def test_small_arrays_are_their_own():
    array = workspace.empty((4, 5), np.float32)
    assert array.shape == (4, 5)
    assert array.dtype == np.float32
    assert array.base is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_large_array_is_plain_and_writable(dtype):
    array = workspace.empty(LARGE, dtype)
    assert type(array) is np.ndarray
    assert array.shape == LARGE
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    array[...] = 1
    assert array.sum() == array.size


def test_two_arrays_that_are_alive_share_nothing():
    arrays = [workspace.empty(LARGE, np.float32) for _ in range(6)]
    for k, array in enumerate(arrays):
        array[...] = k
    assert [float(array[0, 0]) for array in arrays] == [0, 1, 2, 3, 4, 5]
    assert not any(np.shares_memory(a, b) for a, b in itertools.pairwise(arrays))


def test_memory_comes_back_only_with_the_last_reference():
    array = workspace.empty(LARGE, np.float32)
    place = address(array)
    view = array[1:].reshape(-1)
    del array
    gc.collect()
    assert len(workspace._free) == 0
    other = workspace.empty(LARGE, np.float32)
    assert address(other) != place
    del view
    gc.collect()
    assert len(workspace._free) == 1
    again = workspace.empty(LARGE, np.float32)
    assert address(again) == place


def test_a_block_far_too_large_is_not_taken():
    small = 1, workspace.SMALLEST // 4
    block = workspace.empty((4, workspace.SMALLEST // 4), np.float32)
    place = address(block)
    del block
    assert address(workspace.empty(small, np.float32)) != place


def test_the_pool_keeps_few_blocks():
    arrays = [workspace.empty(LARGE, np.float32) for _ in range(workspace.KEPT + 3)]
    del arrays
    gc.collect()
    assert len(workspace._free) == workspace.KEPT


def test_the_pool_keeps_no_more_than_its_bytes(monkeypatch):
    monkeypatch.setattr(workspace, "KEPT_BYTES", 5 * workspace.SMALLEST)
    arrays = [workspace.empty((2, workspace.SMALLEST // 4), np.float32) for _ in range(3)]
    del arrays
    gc.collect()
    assert [block.size for block in workspace._free] == [2 * workspace.SMALLEST] * 2


def test_threads_never_share():
    wrong = []

    def use(number):
        for _ in range(20):
            array = workspace.empty((1, workspace.SMALLEST // 4), np.float32)
            array[0, ::4096] = number
            if not (array[0, ::4096] == number).all():
                wrong.append(number)
            del array

    threads = [threading.Thread(target=use, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_pool_gives_back_what_nobody_uses():
    array = workspace.empty(LARGE, np.float32)
    kept = workspace.empty(LARGE, np.float32)
    kept[...] = 2
    del array
    assert len(workspace._free) == 1
    workspace.release()
    assert len(workspace._free) == 0
    assert (kept == 2).all()


def test_at_the_end_of_a_process_arrays_keep_their_memory():
    code = """
import atexit

def later():
    other = workspace.empty(array.shape, array.dtype)
    print(np.shares_memory(array, other), array[0])

atexit.register(later)
import numpy as np
from minicnn.kernels import workspace

array = workspace.empty((workspace.SMALLEST // 4,), np.float32)
array[...] = 1
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False 1.0\n"
