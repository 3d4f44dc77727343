"""Without TensorFlow the tests of this folder are skipped, and say so; where it is required, they fail instead.

Continuous integration sets MINICNN_REQUIRE_TENSORFLOW=1, so that the live comparison cannot drop out unnoticed.
"""

import importlib
import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ["KERAS_BACKEND"] = "tensorflow"


def _missing():
    """Why there is nothing to compare with; None if Keras on TensorFlow can be imported."""
    try:
        for name in ("tensorflow", "keras"):
            importlib.import_module(name)
    except ImportError as error:
        missing = "tensorflow is not installed" if error.name == "tensorflow" else str(error)
        return f"{missing}: no live comparison"
    return None


MISSING = _missing()


class _NotCompared(pytest.Module):
    """A test module that is not even imported, since it imports Keras."""

    def collect(self):
        if os.environ.get("MINICNN_REQUIRE_TENSORFLOW") == "1":
            raise self.CollectError(f"{MISSING}, but MINICNN_REQUIRE_TENSORFLOW=1 asks for it")
        pytest.skip(MISSING, allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    return _NotCompared.from_parent(parent, path=module_path) if MISSING else None
