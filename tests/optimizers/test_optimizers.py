"""Optimizers: Keras's numbers, clipping, schedules, configs, state, and what they refuse."""

import copy
import inspect
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from minicnn import optimizers
from minicnn.errors import ConfigError, ShapeError
from minicnn.kernels import NUMBA, NUMPY
from minicnn.optimizers import SGD, Adadelta, Adagrad, Adam, AdamW, Optimizer, RMSprop, schedules

GOLDENS = json.loads(Path(__file__).with_name("goldens.json").read_text())
SHAPES = (3, 2), (4,)
SEGMENTS = [slice(0, 6), slice(6, 10)]
ALL = [SGD, RMSprop, Adagrad, Adadelta, Adam, AdamW]
KERNELS = pytest.mark.parametrize("kernels", [NUMPY, NUMBA], ids=["numpy", "numba"])


def flat(rng, dtype):
    return np.concatenate([np.ravel(rng.standard_normal(shape)) for shape in SHAPES]).astype(dtype)


def trace(optimizer, dtype, kernels, steps=5):
    """The weights after each step; the same start and gradients as in make_goldens.py."""
    rng = np.random.default_rng(0)
    weights = flat(rng, dtype)
    result = []
    for _ in range(steps):
        optimizer.step(weights, flat(rng, dtype), SEGMENTS, kernels)
        result.append(weights.copy())
    return np.array(result)


def steps(optimizer, weights, gradients, kernels=NUMPY):
    """The weights, one parameter, after each of the gradients."""
    weights = np.array(weights, np.float64)
    result = []
    for g in gradients:
        optimizer.step(weights, np.array(g, np.float64), [slice(0, weights.size)], kernels)
        result.append(weights.tolist())
    return result


@KERNELS
@pytest.mark.parametrize("name", GOLDENS["float64"])
def test_float64_is_keras(name, kernels):
    golden = GOLDENS["float64"][name]
    optimizer = optimizers.get({"class_name": golden["class_name"], "config": golden["config"]})
    np.testing.assert_allclose(trace(optimizer, "float64", kernels), golden["weights"], rtol=1e-14, atol=1e-14)
    assert optimizer.iterations == 5


@KERNELS
@pytest.mark.parametrize("name", GOLDENS["float32"])
def test_float32_with_defaults_is_keras(name, kernels):
    optimizer = optimizers.get(name)
    got = trace(optimizer, "float32", kernels)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, GOLDENS["float32"][name], rtol=0, atol=3e-7)  # two units in the last place of 2
    for slot in optimizer.slots.values():
        assert slot.dtype == np.float32


@KERNELS
def test_momentum_and_nesterov_by_hand(kernels):
    gradients = [(1, -0.5), (0.3, 0.2), (-0.2, 0.9)]
    plain = steps(SGD(0.1, momentum=0.9), (1, 2), gradients, kernels)
    np.testing.assert_allclose(plain, [(0.9, 2.05), (0.78, 2.075), (0.692, 2.0075)], rtol=1e-14)
    ahead = steps(SGD(0.1, momentum=0.9, nesterov=True), (1, 2), gradients, kernels)
    np.testing.assert_allclose(ahead, [(0.81, 2.095), (0.672, 2.0975), (0.6128, 1.94675)], rtol=1e-14)


@KERNELS
def test_adams_epsilon_stands_outside_the_bias_correction(kernels):
    exact = steps(Adam(0.1, beta_1=0.875, beta_2=1 - 2**-10, epsilon=0.1), (1, 2), [(1, -0.5)], kernels)
    # 1 - 0.1·√v/(1/8) · (1/8)/(√v + 0.1) with v = 2^-10; inside the correction it would be 0.909091
    assert exact[0][0] == pytest.approx(1 - 0.1 * 2**-5 / (2**-5 + 0.1), rel=1e-14)
    got = steps(Adam(0.1, epsilon=0.1), (1, 2), [(1, -0.5), (0.3, 0.2), (-0.2, 0.9)], kernels)
    np.testing.assert_allclose(got, [(0.975975, 2.013653), (0.954743, 2.01868), (0.941436, 2.008439)], atol=1e-6)


@KERNELS
def test_adam_corrects_the_bias_with_betas_rounded_to_float32(kernels):
    """As Keras does, in float64 too; with 0.999 itself the first step would be 6.6e-6 of its size larger."""
    step = 1 - steps(Adam(0.1, epsilon=0.0), (1, 1), [(1, 1)], kernels)[0][0]
    rounded = 0.1 * (1 - float(np.float32(0.999))) ** 0.5 / (1 - float(np.float32(0.9))) * 0.1 / 0.001**0.5
    assert step == pytest.approx(rounded, rel=1e-12)
    assert abs(step / 0.1 - 1) > 5e-6


@KERNELS
def test_amsgrad_divides_by_the_largest(kernels):
    got = steps(Adam(0.1, epsilon=0.1, amsgrad=True), (1, 1), [(1, 1), (0, 0), (0.1, 0.1)], kernels)
    np.testing.assert_allclose(np.array(got)[:, 0], (0.975975, 0.959885, 0.945932), atol=1e-6)


def test_clipnorm_looks_at_each_parameter_and_global_clipnorm_at_all():
    def clipped(**clip):
        weights, gradients = np.zeros(4), np.array([3.0, 4.0, 0.6, 0.8])
        SGD(1.0, **clip).step(weights, gradients, [slice(0, 2), slice(2, 4)], NUMPY)
        return -weights

    np.testing.assert_allclose(clipped(clipnorm=2.5), [1.5, 2.0, 0.6, 0.8], rtol=1e-15)
    np.testing.assert_allclose(clipped(global_clipnorm=13**0.5), np.array([3, 4, 0.6, 0.8]) * 0.5**0.5, rtol=1e-14)
    np.testing.assert_array_equal(clipped(global_clipnorm=6.0), [3.0, 4.0, 0.6, 0.8])
    np.testing.assert_array_equal(clipped(clipvalue=0.7), [0.7, 0.7, 0.6, 0.7])


@KERNELS
@pytest.mark.parametrize(
    ("clip", "bad", "expected"),
    [
        ("clipnorm", np.nan, [np.nan, np.nan, np.nan]),
        ("clipnorm", np.inf, [np.nan, 0.0, 0.0]),
        ("global_clipnorm", np.nan, [np.nan, np.nan, np.nan]),
        ("global_clipnorm", np.inf, [np.nan, np.nan, np.nan]),
        ("clipvalue", np.nan, [np.nan, -1.0, -0.1]),
        ("clipvalue", np.inf, [-1.0, -1.0, -0.1]),
    ],
)
def test_gradients_that_are_not_finite_pass_clipping_as_in_keras(clip, bad, expected, kernels):
    weights = np.zeros(3, np.float32)
    SGD(1.0, **{clip: 1.0}).step(weights, np.array([bad, 3, 0.1], np.float32), [slice(0, 3)], kernels)
    np.testing.assert_array_equal(weights, np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("optimizer", "names"),
    [
        (SGD(), ()),
        (SGD(momentum=0.5), ("momentum",)),
        (RMSprop(), ("velocity",)),
        (RMSprop(momentum=0.5), ("velocity", "momentum")),
        (RMSprop(centered=True), ("velocity", "average_gradient")),
        (RMSprop(momentum=0.5, centered=True), ("velocity", "momentum", "average_gradient")),
        (Adagrad(), ("accumulator",)),
        (Adadelta(), ("accumulated_grad", "accumulated_delta_var")),
        (Adam(), ("momentum", "velocity")),
        (AdamW(amsgrad=True), ("momentum", "velocity", "velocity_hat")),
    ],
)
def test_slots_have_the_names_of_keras(optimizer, names):
    assert optimizer.slot_names == names
    assert optimizer.slots == {}
    trace(optimizer, "float32", NUMPY, steps=1)
    assert tuple(optimizer.slots) == names
    optimizer.reset()
    assert optimizer.iterations == 0
    assert optimizer.slots == {}


def test_adagrad_starts_at_its_initial_value():
    np.testing.assert_array_equal(Adagrad().new_slot("accumulator", 3, np.float64), [0.1, 0.1, 0.1])
    np.testing.assert_array_equal(Adam().new_slot("velocity", 2, np.float64), [0.0, 0.0])


def test_slots_of_another_model_are_refused_before_anything_changes():
    optimizer = SGD(0.5, momentum=0.5)
    trace(optimizer, "float32", NUMPY, steps=1)
    weights = np.ones(3, np.float32)
    with pytest.raises(ShapeError, match=r"slot 'momentum' is for 10 weights, got 3; call reset\(\)"):
        optimizer.step(weights, np.ones(3, np.float32), [slice(0, 3)], NUMPY)
    np.testing.assert_array_equal(weights, np.ones(3))
    assert optimizer.iterations == 1


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
@pytest.mark.parametrize("cls", ALL)
def test_a_copy_goes_on_alike_and_apart(cls, duplicate):
    optimizer = cls(schedules.CosineDecay(0.1, 10))
    rng = np.random.default_rng(1)
    weights = flat(rng, np.float32)
    optimizer.step(weights, flat(rng, np.float32), SEGMENTS, NUMPY)
    twin = duplicate(optimizer)
    gradients, own, other = flat(rng, np.float32), weights.copy(), weights.copy()
    optimizer.step(own, gradients.copy(), SEGMENTS, NUMPY)
    assert twin.iterations == 1
    twin.step(other, gradients.copy(), SEGMENTS, NUMPY)
    np.testing.assert_array_equal(own, other)


def test_the_learning_rate_is_a_float_that_may_be_set():
    optimizer = SGD(1)
    assert type(optimizer.learning_rate) is float
    optimizer.learning_rate = np.float32(0.25)
    assert optimizer.learning_rate == 0.25
    assert steps(optimizer, [1.0], [[1.0]]) == [[0.75]]
    optimizer.lr = 0.5
    assert optimizer.learning_rate == 0.5
    with pytest.raises(ConfigError, match="SGD: learning_rate must be a finite number of at least 0, got -1"):
        optimizer.learning_rate = -1


def test_a_schedule_is_read_at_the_step():
    optimizer = SGD(schedules.PiecewiseConstantDecay([0, 1], [0.5, 0.25, 0.125]))
    assert optimizer.learning_rate == 0.5
    assert steps(optimizer, [1.0], [[1.0]] * 4) == [[0.5], [0.25], [0.125], [0.0]]
    assert optimizer.learning_rate == 0.125
    optimizer.learning_rate = schedules.ExponentialDecay(1.0, 4, 0.5)
    assert optimizer.learning_rate == 0.5
    with pytest.raises(ConfigError, match=r"SGD: learning_rate follows ExponentialDecay and cannot be set to 0\.1"):
        optimizer.learning_rate = 0.1


class Warmup(schedules.LearningRateSchedule):
    def __init__(self, rate=0.5):
        self.rate = rate

    def __call__(self, step):
        return np.where(step < 1, 0.0, self.rate)

    def get_config(self):
        return {"rate": self.rate}


def test_a_schedule_of_ones_own():
    optimizer = SGD(Warmup())
    assert steps(optimizer, [1.0], [[1.0]] * 2) == [[1.0], [0.5]]
    config = json.loads(json.dumps(optimizers.serialize(optimizer)))
    for make in (optimizers.get, optimizers.deserialize):
        again = make(config, custom_objects={"Warmup": Warmup})
        assert isinstance(again._learning_rate, Warmup)
    with pytest.raises(ConfigError, match="unknown name 'Warmup'"):
        optimizers.get(config)


def test_a_schedule_that_returns_no_rate_stops_the_step():
    optimizer = SGD(Warmup(np.nan))
    optimizer.iterations = 1
    weights = np.ones(1)
    with pytest.raises(ConfigError, match="SGD: the rate of Warmup must be a finite number of at least 0, got nan"):
        optimizer.step(weights, np.ones(1), [slice(0, 1)], NUMPY)
    assert weights[0] == 1
    assert optimizer.iterations == 1


class Halving(Optimizer):
    """Moves by half the gradient, whatever the rate."""

    def __init__(self, learning_rate=0.01, **common):
        super().__init__(learning_rate, **common)

    def update(self, weights, gradients, learning_rate, decay, kernels):
        weights -= gradients / 2


def test_an_optimizer_of_ones_own():
    optimizer = optimizers.get({"class_name": "Halving", "config": {}}, custom_objects={"Halving": Halving})
    assert steps(optimizer, [1.0, 2.0], [[1.0, 2.0]]) == [[0.5, 1.0]]
    assert optimizer.name == "halving"


@pytest.mark.parametrize("cls", ALL)
def test_config_round_trip(cls):
    optimizer = cls(schedules.PolynomialDecay(0.5, 10), global_clipnorm=2, weight_decay=0.25, name="mine")
    config = json.loads(json.dumps(optimizer.get_config()))
    again = cls.from_config(config)
    assert again.get_config() == config
    assert config["global_clipnorm"] == 2.0
    assert config["weight_decay"] == 0.25
    assert config["name"] == "mine"
    assert again.learning_rate == optimizer.learning_rate == 0.5


def test_configs_are_those_of_keras():
    common = {
        "weight_decay": None,
        "clipnorm": None,
        "global_clipnorm": None,
        "clipvalue": None,
        "use_ema": False,
        "ema_momentum": 0.99,
        "ema_overwrite_frequency": None,
        "loss_scale_factor": None,
        "gradient_accumulation_steps": None,
    }
    adam = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "amsgrad": False}
    assert SGD().get_config() == {
        "name": "sgd",
        "learning_rate": 0.01,
        **common,
        "momentum": 0.0,
        "nesterov": False,
    }
    assert RMSprop().get_config() == {
        "name": "rm_sprop",
        "learning_rate": 0.001,
        **common,
        "rho": 0.9,
        "momentum": 0.0,
        "epsilon": 1e-7,
        "centered": False,
    }
    assert Adagrad().get_config() == {
        "name": "adagrad",
        "learning_rate": 0.001,
        **common,
        "initial_accumulator_value": 0.1,
        "epsilon": 1e-7,
    }
    assert Adadelta().get_config() == {
        "name": "adadelta",
        "learning_rate": 0.001,
        **common,
        "rho": 0.95,
        "epsilon": 1e-7,
    }
    assert Adam().get_config() == {"name": "adam", "learning_rate": 0.001, **common, **adam}
    assert AdamW().get_config() == {
        "name": "adam_w",
        "learning_rate": 0.001,
        **common,
        **adam,
        "weight_decay": 0.004,
    }
    assert Adam(schedules.CosineDecay(0.5, 10)).get_config()["learning_rate"] == {
        "module": "keras.optimizers.schedules",
        "class_name": "CosineDecay",
        "config": {
            "initial_learning_rate": 0.5,
            "decay_steps": 10,
            "alpha": 0.0,
            "name": "CosineDecay",
            "warmup_target": None,
            "warmup_steps": 0,
        },
        "registered_name": None,
    }


@pytest.mark.parametrize(
    "config",
    [
        {"name": "Adam", "learning_rate": 0.5, "decay": 0.0, "beta_1": 0.5},  # Keras 2.4
        {"lr": 0.5, "decay": 0.0, "beta_1": 0.5},  # Keras 2.2
        {"learning_rate": 0.5, "beta_1": 0.5, "jit_compile": True, "is_legacy_optimizer": False, "use_ema": False},
    ],
)
def test_configs_of_keras_2_are_read(config):
    optimizer = Adam.from_config(config)
    assert optimizer.learning_rate == 0.5
    assert optimizer.beta_1 == 0.5


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"use_ema": True}, "use_ema=True is not supported by minicnn; leave it at False"),
        ({"ema_momentum": 0.5}, "ema_momentum=0.5 is not supported"),
        ({"ema_overwrite_frequency": 2}, "ema_overwrite_frequency=2 is not supported"),
        ({"loss_scale_factor": 2.0}, "loss_scale_factor=2.0 is not supported"),
        ({"gradient_accumulation_steps": 2}, "gradient_accumulation_steps=2 is not supported"),
        ({"decay": 0.5}, r"decay=0.5 is not supported; give learning_rate=schedules.InverseTimeDecay\(0.0\d*1, 1, 0.5"),
        ({"learning_rate": 0.5, "lr": 0.25}, "got learning_rate=0.5 and lr=0.25; give learning_rate alone"),
        ({"learning_rate": -1.0}, "learning_rate must be a finite number of at least 0, got -1.0"),
        ({"learning_rate": np.nan}, "learning_rate must be a finite number of at least 0, got nan"),
        ({"learning_rate": "fast"}, "learning_rate must be a finite number of at least 0, got 'fast'"),
        ({"learning_rate": None}, "learning_rate must be"),
        ({"learning_rate": True}, "learning_rate must be"),
        ({"learning_rate": lambda: 0.1}, "subclass minicnn.optimizers.schedules.LearningRateSchedule"),
        ({"weight_decay": -0.5}, "weight_decay must be"),
        ({"clipnorm": 0}, "clipnorm must be positive or None, got 0"),
        ({"clipvalue": np.inf}, "clipvalue must be"),
        ({"clipnorm": 1.0, "clipvalue": 1.0}, "got clipnorm and clipvalue; give one of them"),
        ({"name": 3}, "name must be a string or None, got 3"),
        ({"learning_rat": 0.5}, "unknown argument 'learning_rat'"),
    ],
)
def test_arguments_that_are_refused(cls, arguments, message):
    with pytest.raises(ConfigError, match=f"^{cls.__name__}: .*{message}"):
        cls(**arguments)


@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (SGD, {"momentum": -0.1}),
        (SGD, {"momentum": 1.5}),
        (SGD, {"momentum": np.nan}),
        (RMSprop, {"rho": 1.0}),
        (RMSprop, {"momentum": 2}),
        (RMSprop, {"epsilon": -1e-7}),
        (Adagrad, {"initial_accumulator_value": -0.1}),
        (Adagrad, {"epsilon": "small"}),
        (Adadelta, {"rho": -0.5}),
        (Adadelta, {"epsilon": np.inf}),
        (Adam, {"beta_1": 1.0}),
        (Adam, {"beta_2": -0.1}),
        (Adam, {"epsilon": None}),
        (AdamW, {"beta_2": 1}),
        (AdamW, {"weight_decay": None}),
    ],
)
def test_hyper_parameters_out_of_range_are_refused(cls, arguments):
    (name,) = arguments
    with pytest.raises(ConfigError, match=f"^{cls.__name__}: {name} must be a"):
        cls(**arguments)


def test_lr_is_the_learning_rate():
    assert SGD(lr=0.5).learning_rate == 0.5
    assert Adam(lr=schedules.ExponentialDecay(0.5, 1, 0.5), decay=0.0).learning_rate == 0.5


def test_constructors_take_the_arguments_of_keras_in_its_order():
    assert list(inspect.signature(SGD).parameters)[:3] == ["learning_rate", "momentum", "nesterov"]
    assert list(inspect.signature(AdamW).parameters)[:3] == ["learning_rate", "weight_decay", "beta_1"]
    common = [
        "weight_decay",
        "clipnorm",
        "clipvalue",
        "global_clipnorm",
        "use_ema",
        "ema_momentum",
        "ema_overwrite_frequency",
        "loss_scale_factor",
        "gradient_accumulation_steps",
        "name",
        "keras_2",
    ]
    for cls in (Optimizer, SGD, RMSprop, Adagrad, Adadelta, Adam):
        assert list(inspect.signature(cls).parameters)[-11:] == common
    assert list(inspect.signature(AdamW).parameters)[-10:] == common[1:]
    assert SGD(0.5, 0.5, True, 0.25, 2.0).get_config().items() >= {"weight_decay": 0.25, "clipnorm": 2.0}.items()
    assert AdamW(0.5, 0.25, 0.5, 0.5, 0.5, True, None, 2.0).get_config().items() >= {"clipvalue": 2.0}.items()
    assert (
        RMSprop(0.5, 0.75, 0.25, 0.125, True).get_config().items()
        >= {
            "learning_rate": 0.5,
            "rho": 0.75,
            "momentum": 0.25,
            "epsilon": 0.125,
            "centered": True,
        }.items()
    )


@pytest.mark.parametrize(
    ("identifier", "cls"),
    [
        ("sgd", SGD),
        ("SGD", SGD),
        ("rmsprop", RMSprop),
        ("RMSProp", RMSprop),
        ("adam", Adam),
        ("ADAM", Adam),
        ("adamw", AdamW),
        (Adagrad, Adagrad),
        ({"class_name": "adadelta", "config": {}}, Adadelta),
    ],
)
def test_get(identifier, cls):
    assert type(optimizers.get(identifier)) is cls


def test_get_returns_an_instance_as_it_is():
    optimizer = Adam()
    assert optimizers.get(optimizer) is optimizer


@pytest.mark.parametrize("identifier", ["adm", None, 3, {"class_name": "Nadam", "config": {}}])
def test_get_refuses(identifier):
    with pytest.raises(ConfigError, match=r"^optimizer: "):
        optimizers.get(identifier)
