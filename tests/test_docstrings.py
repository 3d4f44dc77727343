"""The classes that docstrings show are run: what a reader copies from there works."""

import ast
import inspect
import time
from pathlib import Path

import numpy as np
import pytest

import minicnn
from minicnn.activations import Activation
from minicnn.callbacks import Callback
from minicnn.gradcheck import check_activation, check_loss
from minicnn.losses import Loss
from minicnn.metrics import Metric
from tests.small_models import QUIET, X, Y, new_model

PACKAGE = Path(minicnn.__file__).parent


def shown_classes():
    """The source of every class that stands in a docstring, by its name."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                for block in indented_blocks(ast.get_docstring(node) or ""):
                    if block.startswith("class "):
                        found[block.split()[1].partition("(")[0]] = block
    return found


def indented_blocks(text):
    """The parts of a docstring that stand further in than the rest."""
    block = []
    for line in [*text.splitlines(), "end"]:
        if line.startswith("    ") or (block and not line):
            block.append(line)
        elif block:
            yield inspect.cleandoc("\n" + "\n".join(block))
            block = []


SHOWN = shown_classes()


def the_class(name):
    namespace = {"minicnn": minicnn, "np": np, "time": time, "Callback": Callback, "Metric": Metric}
    exec(SHOWN[name], namespace)
    return namespace[name]


def test_all_are_found():
    assert {"MeanCubedError", "Cube", "Largest", "Slowest"} <= set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_a_shown_class_works(name):
    shown = the_class(name)
    if issubclass(shown, Loss):
        rng = np.random.default_rng(0)
        check_loss(shown(), rng.standard_normal((4, 3)), rng.standard_normal((4, 3))).assert_ok()
        new_model(loss=shown()).fit(X, Y, **QUIET)
    elif issubclass(shown, Activation):
        check_activation(shown(), (3, 4)).assert_ok()
    elif issubclass(shown, Metric):
        model = new_model(metrics=[shown()])
        history = model.fit(X, Y, **QUIET).history
        assert history[shown().name][0] > 0.3
    else:
        assert issubclass(shown, Callback), f"{name} is no class that this test knows how to run"
        callback = shown()
        new_model().fit(X, Y, callbacks=[callback], **QUIET)
        assert set(callback.get_state()) == set(shown.state_names)
