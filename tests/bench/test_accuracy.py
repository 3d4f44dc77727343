"""A training of bench/accuracy.py goes on where it was stopped."""

import accuracy
import numpy as np
import pytest
from sklearn.datasets import load_digits

from minicnn import applications
from minicnn.datasets import DATASETS


@pytest.fixture
def digits(monkeypatch):
    """scikit-learn's digits in place of MNIST, which a user's machine does not have."""
    x, y = load_digits(return_X_y=True)
    images = np.kron(x.reshape(-1, 8, 8), np.ones((4, 4)))[:300, 2:30, 2:30].astype(np.uint8)
    data = (images[:200], y[:200].astype(np.uint8)), (images[200:], y[200:300].astype(np.uint8))
    name = applications.APPLICATIONS["lenet5"].dataset
    monkeypatch.setattr(DATASETS[name], "load_data", lambda *arguments: data)


@pytest.mark.parametrize("engine", ["minicnn", "keras"])
def test_a_stopped_training_goes_on(engine, digits, tmp_path):
    if engine == "keras":
        pytest.importorskip("keras")
    whole = accuracy.train("lenet5", 0, 3, engine)
    accuracy.train("lenet5", 0, 2, engine, tmp_path)
    resumed = accuracy.train("lenet5", 0, 3, engine, tmp_path)
    assert {name: len(values) for name, values in resumed["history"].items()} == dict.fromkeys(whole["history"], 3)
    assert resumed["history"]["loss"][0] == pytest.approx(whole["history"]["loss"][0], rel=1e-6)
    if engine == "minicnn":
        assert resumed["test"] == whole["test"]
        assert resumed["history"]["val_loss"][-1] == pytest.approx(whole["history"]["val_loss"][-1], rel=1e-12)
