"""Settings of all tests: no stale compiled kernels, and hypothesis draws the same examples everywhere."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import settings

PACKAGE = Path(__file__).resolve().parents[1] / "minicnn"
KERNEL_FOLDERS = [PACKAGE / "kernels", PACKAGE / "steps"]
OTHER_SOURCES = [PACKAGE / "geometry.py"]
NUMBA_CACHE_DIR = os.environ.get("NUMBA_CACHE_DIR")

if (os.cpu_count() or 1) == 1:  # two threads on one core, before Numba is imported: tests of threads run there too
    os.environ.setdefault("NUMBA_NUM_THREADS", "2")

# The first example compiles, so no deadline; derandomized, so that a test which passes once passes always.
settings.register_profile("minicnn", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("minicnn")


def clear_stale_kernels(folders=KERNEL_FOLDERS, others=OTHER_SOURCES, numba_cache_dir=NUMBA_CACHE_DIR):
    """Delete Numba's cached kernels if any source changed since the last run. Returns how many.

    Sources: all files of the folders, and the others. A kernel's name in the cache goes by them (kernels/jit.py): the
    old ones are not used again, but pile up. The hash of all files stands in a stamp beside the first cache.
    """
    caches = [folder / "__pycache__" for folder in folders]
    if numba_cache_dir:
        caches += [found for folder in folders for found in Path(numba_cache_dir).glob(f"{folder.name}_*")]
    sources = [*(file for folder in folders for file in sorted(folder.glob("*.py"))), *others]
    current = hashlib.sha256(b"\0".join(file.read_bytes() for file in sources)).hexdigest()
    stamp = caches[0] / "kernels.sha256"
    try:
        if stamp.read_text() == current:
            return 0
    except OSError:
        pass  # never written, or a folder that cannot be read: then there is no cache either
    compiled = [file for cache in caches for file in cache.glob("*.nb[ic]")]
    for file in compiled:
        file.unlink(missing_ok=True)
    try:
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(current)
    except OSError:
        pass  # a read-only checkout: Numba keeps no cache here
    return len(compiled)


clear_stale_kernels()


@pytest.fixture
def threads():
    """set_num_threads, for numbers up to 2; afterwards nothing is set, if nothing was."""
    import numba

    from minicnn.config import set_num_threads
    from minicnn.kernels import jit

    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("NUMBA_NUM_THREADS allows one thread.")
    before = jit._threads
    yield set_num_threads
    jit._threads = before


@pytest.fixture
def batches_apart(monkeypatch):
    """predict and evaluate compute each batch of an array alone, so that the bits are those of the same batches."""
    monkeypatch.setattr("minicnn.batches.TOGETHER", 1)
