"""The process that measures minicnn does every task that compare.py asks for."""

import json
import os
import subprocess
import sys

import pytest
from compare import PEERS
from workloads import Workload, lay_out

TASKS = ("about", "check", "train", "predict", "latency", "first")


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """LeNet-5 and a few images, as compare.py lays them out."""
    return lay_out("lenet5", Workload(steps=2, images=512), tmp_path_factory.mktemp("lenet5"))


@pytest.mark.parametrize("task", TASKS)
def test_a_task(task, facts, tmp_path):
    further = {"variant": "default", "predict_batch": 256, "with_training": True, "epochs": 1, "seconds": 0.01}
    job, result = tmp_path / "job.json", tmp_path / "result.json"
    job.write_text(json.dumps({**facts, **further, "task": task, **({"batch": 256} if task == "predict" else {})}))
    command = [sys.executable, str(PEERS["minicnn"].script), str(job), str(result)]
    done = subprocess.run(command, env={**os.environ}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    figures = json.loads(result.read_text())
    if task == "about":
        assert figures["minicnn"]
    elif task == "check":
        assert len(figures["predictions"]) == 512
        assert len(figures["losses"]) == 4
    else:
        key = {"train": "train_ms", "predict": "predict_us", "latency": "latency_us", "first": "first_step_s"}[task]
        assert figures[key] > 0
