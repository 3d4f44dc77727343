"""Learning-rate schedules: Keras's numbers at every step, configs, and what they refuse."""

import json
import math
from pathlib import Path

import pytest

from minicnn.errors import ConfigError
from minicnn.optimizers.schedules import (
    CosineDecay,
    ExponentialDecay,
    InverseTimeDecay,
    LearningRateSchedule,
    PiecewiseConstantDecay,
    PolynomialDecay,
    deserialize,
    serialize,
)

GOLDENS = json.loads(Path(__file__).with_name("goldens.json").read_text())["schedules"]


@pytest.mark.parametrize("golden", GOLDENS, ids=[f"{g['class_name']}-{i}" for i, g in enumerate(GOLDENS)])
def test_rates_are_those_of_keras(golden):
    schedule = deserialize(golden)
    for step, rate in enumerate(golden["rates"]):
        assert schedule(step) == pytest.approx(rate, rel=5e-7, abs=6e-8), step  # Keras computes them in float32
        assert type(schedule(step)) is float


@pytest.mark.parametrize(
    ("schedule", "step", "rate"),
    [
        (ExponentialDecay(0.5, 10, 0.25), 5, 0.25),
        (ExponentialDecay(0.5, 10, 0.25, staircase=True), 9, 0.5),
        (InverseTimeDecay(0.5, 2, 0.5), 4, 0.25),
        (PiecewiseConstantDecay([2, 4], [1.0, 0.5, 0.25]), 2, 1.0),
        (PiecewiseConstantDecay([2, 4], [1.0, 0.5, 0.25]), 3, 0.5),
        (PiecewiseConstantDecay([2, 4], [1.0, 0.5, 0.25]), 5, 0.25),
        (PolynomialDecay(0.75, 4, 0.25, power=2), 2, 0.375),
        (PolynomialDecay(0.75, 4, 0.25), 100, 0.25),
        (PolynomialDecay(0.75, 4, 0.25, cycle=True), 6, 0.375),
        (CosineDecay(0.5, 10), 5, 0.25),
        (CosineDecay(0.5, 10, alpha=0.5), 10, 0.25),
        (CosineDecay(0.5, 10, alpha=0.5), 1000, 0.25),
        (CosineDecay(0.0, 10, warmup_target=1.0, warmup_steps=4), 1, 0.25),
        (CosineDecay(0.0, 10, warmup_target=1.0, warmup_steps=4), 4, 1.0),
        (CosineDecay(0.0, 10, warmup_target=1.0, warmup_steps=4), 9, 0.5),
    ],
)
def test_rates_by_hand(schedule, step, rate):
    assert schedule(step) == pytest.approx(rate, rel=1e-15)


@pytest.mark.parametrize("golden", GOLDENS, ids=[f"{g['class_name']}-{i}" for i, g in enumerate(GOLDENS)])
def test_config_round_trip(golden):
    config = json.loads(json.dumps(serialize(deserialize(golden))))
    assert config["module"] == "keras.optimizers.schedules"
    assert config["class_name"] == golden["class_name"]
    assert config["config"].items() >= golden["config"].items()
    assert deserialize(config).get_config() == config["config"]


def test_whole_decay_steps_stay_whole_in_the_config():
    assert repr(CosineDecay(0.5, 10).get_config()["decay_steps"]) == "10"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExponentialDecay(-0.1, 10, 0.5), "ExponentialDecay: initial_learning_rate must be a finite number"),
        (lambda: ExponentialDecay(0.1, 0, 0.5), "ExponentialDecay: decay_steps must be positive, got 0"),
        (lambda: ExponentialDecay(0.1, 10, math.nan), "ExponentialDecay: decay_rate must be a finite number"),
        (lambda: InverseTimeDecay(0.1, -1, 0.5), "InverseTimeDecay: decay_steps must be a finite number"),
        (lambda: InverseTimeDecay(0.1, 1, -0.5), "InverseTimeDecay: decay_rate must be a finite number"),
        (lambda: PolynomialDecay("0.1", 10), "PolynomialDecay: initial_learning_rate must be a finite number"),
        (lambda: PolynomialDecay(0.1, 10, power=-1), "PolynomialDecay: power must be a finite number"),
        (lambda: CosineDecay(0.1, None), "CosineDecay: decay_steps must be a finite number"),
        (lambda: CosineDecay(0.1, 10, alpha=-1), "CosineDecay: alpha must be a finite number"),
        (lambda: CosineDecay(0.1, 10, warmup_target=math.inf), "CosineDecay: warmup_target must be a finite number"),
        (lambda: CosineDecay(0.1, 10, warmup_steps=-1), "CosineDecay: warmup_steps must be a finite number"),
        (lambda: PiecewiseConstantDecay([1], [0.1]), "PiecewiseConstantDecay: needs at least one boundary and one"),
        (lambda: PiecewiseConstantDecay([], [0.1]), "PiecewiseConstantDecay: needs at least one boundary and one"),
        (lambda: PiecewiseConstantDecay([2, 2], [1, 2, 3]), "PiecewiseConstantDecay: boundaries must increase"),
        (lambda: PiecewiseConstantDecay([2], [1, -2]), "PiecewiseConstantDecay: values must be a finite number"),
        (lambda: PiecewiseConstantDecay(2, [1, 2]), "PiecewiseConstantDecay: boundaries must be a list of numbers"),
    ],
)
def test_arguments_out_of_range_are_refused(make, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        make()


def test_the_base_asks_for_what_a_subclass_must_have():
    with pytest.raises(NotImplementedError, match=r"LearningRateSchedule must override __call__\(step\)"):
        LearningRateSchedule()(0)
    with pytest.raises(NotImplementedError, match=r"must override get_config\(\) to be saved"):
        LearningRateSchedule().get_config()


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ConfigError, match=r"^learning-rate schedule: unknown name 'CosineDecayRestarts'"):
        deserialize({"class_name": "CosineDecayRestarts", "config": {}})
