"""Compiled kernels: one signature a dtype, the same bits for any number of threads and in a forked child."""

import collections
import inspect
import itertools
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numba
import numpy as np
import pytest

import minicnn
from minicnn.activations import ACTIVATIONS
from minicnn.errors import ConfigError, MinicnnWarning
from minicnn.geometry import place_windows
from minicnn.kernels import NUMBA, convolution, jit, kernel_cache, machine_code, vector_unit
from minicnn.kernels.dropout import dropout_key
from minicnn.kernels.jit import Kernel, compiled, get_num_threads, prange, set_num_threads
from tests.saving.models import data, every_layer
from tests.small_models import trained_and_predicted

layers = minicnn.layers


def everything():
    """Outputs and gradients of many kernels on one fixed problem: several blocks, several partial sums."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((37, 14, 14, 3)).astype(np.float32)
    kernel, bias = rng.standard_normal((5, 5, 3, 8)).astype(np.float32), rng.standard_normal(8).astype(np.float32)
    windows = place_windows((14, 14), (5, 5), (1, 1), "same", "test")
    y = NUMBA.conv2d(x, kernel, bias, windows)
    dkernel, dbias = np.empty_like(kernel), np.empty_like(bias)
    dx = NUMBA.conv2d_backward(y, x, kernel, windows, dkernel, dbias, True)
    rows = x.reshape(37, -1)
    weights = rng.standard_normal((rows.shape[1], 40)).astype(np.float32)
    dense = NUMBA.dense(rows, weights, np.zeros(40, np.float32))
    dweights, dzeros = np.empty_like(weights), np.empty(40, np.float32)
    back = NUMBA.dense_backward(dense, rows, weights, dweights, dzeros, True)
    statistics = NUMBA.batch_norm_statistics(y.reshape(-1, 8))
    sums = NUMBA.batch_norm_sums(y.reshape(-1, 8), y.reshape(-1, 8), *statistics)
    windows = place_windows((14, 14), (3, 3), (2, 2), "same", "test")
    pooled = NUMBA.max_pool(y, windows)
    unpooled = NUMBA.max_pool_backward(pooled, y, pooled, windows)
    losses = NUMBA.softmax_cross_entropy(dense, np.eye(40, dtype=np.float32)[:37])
    dropped = NUMBA.dropout(x.reshape(-1), *dropout_key(1, 2, 3), np.uint32(1 << 30), np.float32(4 / 3))
    norm = np.float64(NUMBA.squared_norm(x.reshape(-1)))
    return [
        y,
        dx,
        dkernel,
        dbias,
        dense,
        back,
        dweights,
        dzeros,
        *statistics,
        *sums,
        pooled,
        unpooled,
        *losses,
        dropped,
        norm,
    ]


def fitted_weights():
    """The weights after an epoch of a model as they are usual."""
    rng = np.random.default_rng(0)
    model = minicnn.Sequential(
        [
            layers.Input((12, 12, 2)),
            layers.Conv2D(6, 3, padding="same", activation="relu", kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.Conv2D(5, 3, activation="tanh"),
            layers.AveragePooling2D(2),
            layers.Dropout(0.3),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ],
        seed=0,
    )
    model.compile(minicnn.optimizers.Adam(global_clipnorm=1.0), "sparse_categorical_crossentropy")
    model.fit(rng.random((90, 12, 12, 2)), rng.integers(0, 4, 90), batch_size=32, epochs=2, verbose=0)
    return model.get_weights()


def every_layers_weights(dtype="float32"):
    """Weights after an epoch, and predictions: of a model with every class of layer, of one with every activation."""
    many = every_layer(dtype=dtype)
    dense = [layers.Dense(6, activation=name) for name in ACTIVATIONS if name != "softmax"]
    convolutions = [layers.Conv2D(3, 2, padding="same", activation=name) for name in ACTIVATIONS]
    various = minicnn.Sequential(
        [layers.Input((8, 8, 2)), *convolutions, layers.Flatten(), *dense, layers.Dense(3)], seed=1, dtype=dtype
    )
    found = []
    for model in (many, various):
        model.compile("adam", "mse")
        x, y = data((8, 8, 2), 20)
        model.fit(x, y, batch_size=10, verbose=0)
        found += [*model.get_weights(), model.predict(x, verbose=0)]
    return found


@pytest.mark.parametrize("compute", [everything, fitted_weights, trained_and_predicted, every_layers_weights])
def test_bits_do_not_depend_on_the_number_of_threads(threads, compute):
    results = []
    for count in (1, 2, numba.config.NUMBA_NUM_THREADS):
        threads(count)
        assert minicnn.config.get_num_threads() == count
        results.append([array.tobytes() for array in compute()])
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("count", [0, -1, 1.0, True, "2", 10**6])
def test_a_number_of_threads_that_cannot_be(count):
    before = get_num_threads()
    with pytest.raises(ConfigError, match="count must be an integer from 1 to"):
        set_num_threads(count)
    assert get_num_threads() == before


def test_python_threads_compute_at_once_and_heed_the_setting(threads):
    threads(2)
    expected = [array.tobytes() for array in everything()]
    results = {}

    def work(number):
        results[number] = [[array.tobytes() for array in everything()] for _ in range(3)]

    workers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == {k: [expected] * 3 for k in range(4)}


def thread_count_loops(counts):
    for k in prange(counts.size):
        counts[k] = numba.get_num_threads()


@pytest.mark.filterwarnings("ignore:Cannot cache compiled function")
def test_kernels_run_on_as_many_threads_as_were_set_and_the_callers_setting_comes_back(threads):
    kernel, counts = jit.compiled(thread_count_loops), np.zeros(4, np.int64)
    callers = numba.get_num_threads()
    for count in (2, 1):
        threads(count)
        for _ in range(2):  # the first call compiles
            kernel(counts)
            assert (counts == count).all()
            assert numba.get_num_threads() == callers
    threads(1)
    with pytest.raises(numba.TypingError):
        kernel("no array")
    assert numba.get_num_threads() == callers


@pytest.mark.filterwarnings("ignore:Cannot cache compiled function")
def test_threads_are_not_set_where_they_are_as_many_already(threads, monkeypatch):
    kernel, counts = jit.compiled(thread_count_loops), np.zeros(4, np.int64)
    threads(numba.get_num_threads())
    kernel(counts)  # compiles
    calls = []
    monkeypatch.setattr(numba, "set_num_threads", calls.append)
    kernel(counts)
    assert (counts == numba.get_num_threads()).all()
    assert calls == []


@pytest.mark.filterwarnings("ignore:Cannot cache compiled function")
def test_numbas_own_setting_counts_where_none_was_set(threads, monkeypatch):
    monkeypatch.setattr(jit, "_threads", None)
    kernel, counts = jit.compiled(thread_count_loops), np.zeros(4, np.int64)
    before = numba.get_num_threads()
    try:
        for count in (1, 2):
            numba.set_num_threads(count)
            kernel(counts)
            assert get_num_threads() == counts[0] == count
    finally:
        numba.set_num_threads(before)


def test_asking_for_the_number_of_threads_does_not_start_them():
    code = (
        "from minicnn.kernels import jit; count = jit.get_num_threads(); print(count, jit._threading_layer());"
        "import numba; numba.set_num_threads(1); print(jit.get_num_threads())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NUMBA_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "2 None\n1\n"


def computed():
    return [array.tobytes() for array in everything() + fitted_weights() + every_layers_weights()]


def _compute_and_send(pipe):
    pipe.send(computed())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_computes_the_same_bits():
    """OpenMP's threads are not in the child, and a parallel kernel would kill it."""
    expected = computed()  # kernels have run before the fork
    receive, send = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_compute_and_send, args=(send,))
    child.start()
    send.close()
    assert receive.poll(240), "the child neither answered nor died"
    try:
        result = receive.recv()
    except EOFError:
        result = None
    child.join(30)
    assert child.exitcode == 0
    assert result == expected
    assert not jit._forked  # in this process kernels go on in parallel
    assert computed() == expected


def all_kernels():
    """Every compiled kernel, by name: those of the set, the others of the kernel files, and those of the steps."""
    for module in [*vars(minicnn.kernels).values(), *vars(minicnn.steps).values()]:
        if inspect.ismodule(module) and module.__name__.startswith(("minicnn.kernels.", "minicnn.steps.")):
            yield from ((f"{module.__name__}.{k}", v) for k, v in vars(module).items() if isinstance(v, Kernel))


def test_one_signature_a_dtype():
    """Each compilation costs a second or more. Strided, read-only and empty arrays must not cause another one."""
    rng = np.random.default_rng(0)
    windows = place_windows((6, 6), (3, 3), (1, 1), "same", "test")
    for dtype in (np.float32, np.float64):
        x = rng.standard_normal((4, 6, 6, 2)).astype(dtype)
        kernel, bias = np.ones((3, 3, 2, 3), dtype), np.ones(3, dtype)
        expected = NUMBA.conv2d(x, kernel, bias, windows)
        frozen, strided, fortran = x.copy(), np.repeat(x, 2, axis=0)[::2], np.asfortranarray(x)
        frozen.flags.writeable = False
        for same in (frozen, strided, fortran):
            np.testing.assert_array_equal(NUMBA.conv2d(same, kernel, bias, windows), expected)
        assert NUMBA.conv2d(x[:0], kernel, bias, windows).shape == (0, 6, 6, 3)
    everything()
    fitted_weights()
    trained_and_predicted()
    for dtype in ("float32", "float64"):
        every_layers_weights(dtype)
    many = {}
    for name, kernel in all_kernels():
        dtypes = collections.Counter(
            tuple(str(t.dtype) for t in signature if isinstance(t, numba.types.Array))
            for signature in kernel.signatures
        )
        if max(dtypes.values(), default=0) > 1:
            many[name] = kernel.signatures
    assert not many
    versions = {name.rpartition(".")[2]: len(kernel.signatures) for name, kernel in all_kernels()}
    both_ways = ("grouped_conv2d", "upsample_bilinear", "max_pool", "softmax", "gelu", "elu")
    names = (*both_ways, *(f"{name}_backward" for name in both_ways), "conv2d_transpose", "batch_norm_statistics")
    for name in names:
        assert versions[f"{name}_numba"] == 2, name  # the test looked at something
    if vector_unit.vector_unit() is not None:
        assert minicnn.steps.winograd_kernels.winograd_forward.signatures


def address_loops(x, address):
    address[0] = x.ctypes.data


def test_kernels_see_aligned_arrays_and_those_where_they_lie():
    """Compiled code may take for granted that a number begins at a multiple of its size."""
    kernel, address = jit.compiled(address_loops), np.zeros(1, np.int64)
    memory = bytearray(8 * 5)
    for offset in (0, 1, 4):
        x = np.frombuffer(memory, np.float64, 4, offset)
        kernel(x, address)
        assert address[0] % x.dtype.alignment == 0
        assert (address[0] == x.ctypes.data) == x.flags.aligned


def test_loops_are_plain_python():
    """Uncompiled, prange is range and helpers are functions: a learner can step through them."""
    assert convolution.prange is range
    columns = np.empty((1, 1))
    convolution.im2col_image(np.full((1, 1, 1), 7.0), place_windows((1, 1), (1, 1), (1, 1), "same", "test"), columns)
    assert columns.item() == 7


@pytest.mark.parametrize("name", ["geometry.py", "kernels/direct.py", "steps/pooled.py"])
def test_kernels_in_the_cache_go_by_every_source(name, tmp_path, monkeypatch):
    """geometry.py too: where a kernel finds the fields of Windows is part of its code."""
    package, sources = tmp_path / "minicnn", kernel_cache.sources.__wrapped__
    before = sources()
    shutil.copytree(Path(minicnn.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(kernel_cache, "__file__", str(package / "kernels" / "kernel_cache.py"))
    assert sources() == before
    with (package / name).open("a") as file:
        file.write("# another\n")
    assert sources() != before
    (package / name).unlink()
    assert sources().startswith("unknown") is (name == "geometry.py")  # of the folders it takes what is there


def test_the_user_is_told_while_kernels_compile_and_only_then(tmp_path):
    code = (
        "import numpy as np; from minicnn.kernels import NUMBA; from minicnn.geometry import place_windows;"
        "w = place_windows((4, 4), (3, 3), (1, 1), 'same', '');"
        "NUMBA.conv2d(np.ones((1, 4, 4, 1)), np.ones((3, 3, 1, 2)), np.ones(2), w)"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    cold, warm = (
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stderr
        for _ in range(2)
    )
    assert cold == "minicnn: compiling kernels, once on this machine: some 20 seconds.\n"
    assert warm == ""


def slow_loops(x):
    """Half a second of additions, each of which waits for the last; then two new arrays."""
    total = x[0]
    for k in range(400_000_000):
        total = total * 0.5 + x[k & 1]
    return x + total, x - total


INTERRUPTED = """
import os, signal, threading
import numpy as np
from minicnn.kernels.jit import compiled
from tests.kernels.test_jit import slow_loops

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is started with it ignored
kernel, x = compiled(slow_loops), np.ones(2)
kernel(x)
try:
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    for _ in range(100):  # however late the signal comes, a kernel runs
        kernel(x)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_control_c_while_a_kernel_runs_is_a_keyboard_interrupt():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=300)
    assert done.stdout == "interrupted\n", done.stderr


SAID = "<function f> returned a result with an exception set"


@pytest.mark.parametrize(
    ("errors", "raised"),
    [
        ([TimeoutError("late"), SystemError(SAID), SystemError(SAID)], 0),
        ([ValueError("first"), TimeoutError("late"), SystemError(SAID)], 1),  # with a cause of its own
        ([ValueError("first"), SystemError("of another kind")], 1),
        ([SystemError(SAID)], 0),
    ],
)
def test_a_system_error_gives_way_to_the_exception_of_a_signals_handler(errors, raised, monkeypatch):
    for behind, error in itertools.pairwise(errors):
        error.__cause__ = behind
    kernel = compiled(slow_loops)

    def fail(*args):
        raise errors[-1]

    monkeypatch.setattr(kernel, "_call", fail)
    with pytest.raises(type(errors[raised])) as caught:
        kernel(np.ones(2))
    assert caught.value is errors[raised]
    assert caught.value.__cause__ is (errors[raised - 1] if raised else None)


def test_without_a_folder_to_cache_in_kernels_are_compiled_and_the_user_is_warned_once(monkeypatch):
    monkeypatch.setattr(kernel_cache, "_warned", False)
    functions = {"__name__": "typed"}
    exec("def loops(x):\n    return x", functions)  # stands in no file, so that Numba finds no place for its cache
    with pytest.warns(MinicnnWarning, match="set NUMBA_CACHE_DIR to a folder that can be written"):
        serial = jit._compile(functions["loops"], parallel=False)
    parallel = jit._compile(functions["loops"], parallel=True)  # another warning would be an error
    assert serial.signatures == parallel.signatures == []


def test_machine_code_is_made_under_the_notice_and_its_errors_are_not_swallowed(monkeypatch, capfd):
    """Numba's part is played here: real machine code takes seconds."""

    def slow(kind, cache):
        time.sleep(0.3)
        if cache:
            raise RuntimeError(f"{said}: no locator available")
        return lambda function: types.SimpleNamespace(address=0)

    for name, value in (("_compiling_noticed", False), ("_PATIENCE", 0.01)):
        monkeypatch.setattr(jit, name, value)
    monkeypatch.setattr(kernel_cache, "_warned", False)
    monkeypatch.setattr(machine_code, "_provided", {})
    monkeypatch.setattr(machine_code.binding, "add_symbol", lambda name, address: None)
    monkeypatch.setattr(numba, "cfunc", slow)
    said = "cannot cache function"
    with pytest.warns(MinicnnWarning):
        machine_code.provide("tile", 4)
    assert capfd.readouterr().err == "minicnn: compiling kernels, once on this machine: some 20 seconds.\n"
    said = "out of luck"
    with pytest.raises(RuntimeError, match="out of luck"):
        machine_code.provide("tile", 8)
    assert ("tile", 8) not in machine_code._provided


FAILING_CACHE = """
import resource, sys
import numpy as np
from minicnn.kernels import NUMBA
from minicnn.kernels.tiles import tiling_for

if sys.argv[1] == "full":  # files of more than 4 kB cannot be written
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
tiling = tiling_for(4)  # machine code, which has a cache of its own kind
for _ in range(2):
    print(NUMBA.relu(np.array([-1.0, 2.0])).tolist(), tiling)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of a process")
def test_a_cache_that_is_full_or_damaged_costs_time_and_a_warning_alone(tmp_path):
    def said(how):
        settings = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-c", FAILING_CACHE, how]
        done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr.count("the cache of compiled kernels cannot be used")

    full = said("full")
    whole = said("whole")
    for index in tmp_path.rglob("*.nbi"):
        index.write_bytes(b"")
    damaged = said("damaged")
    assert full == damaged == (whole[0], 1)
    assert whole[1] == 0
