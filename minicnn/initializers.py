"""Initial values of parameters: constants, random draws, and draws scaled to a layer's fans.

An initializer is called with a shape, a dtype and a generator handed down from the model's seed. One made with a seed
of its own draws from that instead, the same values at each call, as in Keras. Values are drawn in float64 and rounded
to the dtype, so that a float32 and a float64 model of one seed start alike. Keras's random streams differ from
backend to backend and are not reproduced.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minicnn.arguments import finite_number, refuse, refuse_unknown, seed_or_none
from minicnn.errors import ConfigError, ShapeError
from minicnn.lookup import resolve, table_of
from minicnn.typing import Array, Config, Shape

_BLOCK = 1 << 16  # values drawn at a time: no float64 copy of a large kernel is made
_TRUNCATED_STDDEV = 0.87962566103423978  # of a standard normal cut off at −2 and 2


class Initializer:
    """Makes the initial values of a parameter. Subclasses override __call__ and, if they have arguments, get_config."""

    def __init__(self, **unknown: Any) -> None:
        refuse_unknown(unknown, self)

    def __call__(self, shape: Shape, dtype: Any = np.float32, rng: np.random.Generator | None = None) -> Array:
        """A new array of that shape and dtype. rng: the model's generator, for those that draw; a class of the caller's
        may do without it, as Keras's: __call__(shape, dtype=None)."""
        raise NotImplementedError(f"{type(self).__name__} must override __call__(shape, dtype, rng).")

    def get_config(self) -> Config:
        """The constructor's arguments under Keras's keys."""
        return {}

    @classmethod
    def from_config(cls, config: Config) -> "Initializer":
        """The initializer that get_config described. The key "dtype", which early Keras 2 wrote, is left out."""
        return cls(**{key: value for key, value in config.items() if key != "dtype"})


class Zeros(Initializer):
    """All 0."""

    def __call__(self, shape: Shape, dtype: Any = np.float32, rng: np.random.Generator | None = None) -> Array:
        return np.zeros(shape, dtype)


class Ones(Initializer):
    """All 1."""

    def __call__(self, shape: Shape, dtype: Any = np.float32, rng: np.random.Generator | None = None) -> Array:
        return np.ones(shape, dtype)


class Constant(Initializer):
    """All `value`."""

    def __init__(self, value: float = 0.0, **unknown: Any) -> None:
        super().__init__(**unknown)
        self.value = finite_number(value, "value", type(self).__name__)

    def __call__(self, shape: Shape, dtype: Any = np.float32, rng: np.random.Generator | None = None) -> Array:
        return np.full(shape, self.value, dtype)

    def get_config(self) -> Config:
        return {"value": self.value}


class Identity(Initializer):
    """The identity matrix times `gain`; for two-dimensional shapes, square or not. Raises ShapeError for others."""

    def __init__(self, gain: float = 1.0, **unknown: Any) -> None:
        super().__init__(**unknown)
        self.gain = finite_number(gain, "gain", type(self).__name__)

    def __call__(self, shape: Shape, dtype: Any = np.float32, rng: np.random.Generator | None = None) -> Array:
        if len(shape) != 2:
            raise ShapeError(f"Identity: needs a shape of two dimensions, got {tuple(shape)}; use Orthogonal.")
        matrix: Array = self.gain * np.eye(*shape, dtype=dtype)
        return matrix

    def get_config(self) -> Config:
        return {"gain": self.gain}


class RandomInitializer(Initializer):
    """Base of those that draw. seed: None draws from the model's generator; an integer fixes the values."""

    def __init__(self, seed: int | None = None, **unknown: Any) -> None:
        super().__init__(**unknown)
        self.seed = seed_or_none(seed, type(self).__name__)

    def generator(self, rng: np.random.Generator | None) -> np.random.Generator:
        """The generator to draw from: the own one, started anew, if there is a seed; a fresh one if there is none."""
        return rng if rng is not None and self.seed is None else np.random.default_rng(self.seed)

    def get_config(self) -> Config:
        return {"seed": self.seed}


class RandomUniform(RandomInitializer):
    """Uniform between `minval` and `maxval`."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None, **unknown: Any) -> None:
        super().__init__(seed, **unknown)
        self.minval, self.maxval = (
            finite_number(minval, "minval", type(self).__name__),
            finite_number(maxval, "maxval", type(self).__name__),
        )
        if self.minval > self.maxval:
            raise ConfigError(f"RandomUniform: minval {minval!r} is above maxval {maxval!r}; exchange them.")

    def __call__(self, shape: Shape, dtype: Any = np.float32, rng: np.random.Generator | None = None) -> Array:
        return _uniform(shape, dtype, self.generator(rng), self.minval, self.maxval)

    def get_config(self) -> Config:
        return {**super().get_config(), "minval": self.minval, "maxval": self.maxval}


class RandomNormal(RandomInitializer):
    """Normal with that mean and standard deviation."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None, **unknown: Any) -> None:
        super().__init__(seed, **unknown)
        self.mean, self.stddev = (
            finite_number(mean, "mean", type(self).__name__),
            finite_number(stddev, "stddev", type(self).__name__, least=0.0),
        )

    def __call__(self, shape: Shape, dtype: Any = np.float32, rng: np.random.Generator | None = None) -> Array:
        return _normal(shape, dtype, self.generator(rng), self.mean, self.stddev)

    def get_config(self) -> Config:
        return {**super().get_config(), "mean": self.mean, "stddev": self.stddev}


class TruncatedNormal(RandomNormal):
    """Normal, but values farther than two `stddev` from the mean are drawn again.

    The deviation of what remains is 0.88·stddev.
    """

    def __call__(self, shape: Shape, dtype: Any = np.float32, rng: np.random.Generator | None = None) -> Array:
        return _truncated_normal(shape, dtype, self.generator(rng), self.mean, self.stddev)


class VarianceScaling(RandomInitializer):
    """Draws whose variance is scale / n, so that signals keep their size from layer to layer.

    n is the fan in (inputs of one output), the fan out, or their mean: for a dense kernel (in, out) the two
    dimensions, for a convolution kernel (KH, KW, in, out) KH·KW·in and KH·KW·out.

    Args:
        scale: positive.
        mode: "fan_in", "fan_out" or "fan_avg".
        distribution: "truncated_normal" ("normal" is another name for it), cut off at two standard deviations and
            widened so that the variance holds; "untruncated_normal"; or "uniform" within ±√(3·scale / n).
        seed: an integer fixes the values.
        input_axes, output_axes: of Keras, not supported: must be None.

    Source: Glorot and Bengio 2010 (fan_avg); He et al. 2015 (fan_in, scale 2); LeCun et al. 1998 (fan_in, scale 1).
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        input_axes: None = None,
        output_axes: None = None,
        **unknown: Any,
    ) -> None:
        super().__init__(seed, **unknown)
        name = type(self).__name__
        self.scale = finite_number(scale, "scale", type(self).__name__)
        if self.scale <= 0:
            raise ConfigError(f"{name}: scale must be positive, got {scale!r}.")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ConfigError(f'{name}: mode must be "fan_in", "fan_out" or "fan_avg", got {mode!r}.')
        lower = distribution.lower() if isinstance(distribution, str) else distribution
        if lower not in ("normal", *_DISTRIBUTIONS):
            known = ", ".join(f'"{d}"' for d in _DISTRIBUTIONS)
            raise ConfigError(f"{name}: distribution must be one of {known}, got {distribution!r}.")
        refuse(type(self).__name__, input_axes=(input_axes, None))
        refuse(type(self).__name__, output_axes=(output_axes, None))
        self.mode = mode
        self.distribution = "truncated_normal" if lower == "normal" else lower

    def __call__(self, shape: Shape, dtype: Any = np.float32, rng: np.random.Generator | None = None) -> Array:
        fan_in, fan_out = fans(shape)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        draw = _DISTRIBUTIONS[self.distribution]
        return draw(shape, dtype, self.generator(rng), math.sqrt(self.scale / max(1.0, n)))

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "scale": self.scale,
            "mode": self.mode,
            "distribution": self.distribution,
        }


class _Named(VarianceScaling):
    """A variance scaling with a name of its own, whose only argument left is the seed."""

    arguments: tuple[float, str, str]

    def __init__(
        self, seed: int | None = None, input_axes: None = None, output_axes: None = None, **unknown: Any
    ) -> None:
        refuse_unknown(unknown, self)
        super().__init__(*self.arguments, seed, input_axes, output_axes)

    def get_config(self) -> Config:
        return {"seed": self.seed}


class GlorotUniform(_Named):
    """Uniform within ±√(6 / (fan_in + fan_out)). Source: Glorot and Bengio 2010."""

    arguments = 1.0, "fan_avg", "uniform"


class GlorotNormal(_Named):
    """Truncated normal of variance 2 / (fan_in + fan_out). Source: Glorot and Bengio 2010."""

    arguments = 1.0, "fan_avg", "truncated_normal"


class HeUniform(_Named):
    """Uniform within ±√(6 / fan_in); for layers before a ReLU. Source: He et al. 2015."""

    arguments = 2.0, "fan_in", "uniform"


class HeNormal(_Named):
    """Truncated normal of variance 2 / fan_in; for layers before a ReLU. Source: He et al. 2015."""

    arguments = 2.0, "fan_in", "truncated_normal"


class LecunUniform(_Named):
    """Uniform within ±√(3 / fan_in); for layers before a SELU. Source: LeCun et al. 1998."""

    arguments = 1.0, "fan_in", "uniform"


class LecunNormal(_Named):
    """Truncated normal of variance 1 / fan_in; for layers before a SELU. Source: LeCun et al. 1998."""

    arguments = 1.0, "fan_in", "truncated_normal"


class Orthogonal(RandomInitializer):
    """Orthogonal columns of length `gain`, or rows where there are fewer of those.

    The shape is read as a matrix: all dimensions but the last are its rows. Raises ShapeError below two dimensions.
    Source: Saxe et al. 2014.
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None, **unknown: Any) -> None:
        super().__init__(seed, **unknown)
        self.gain = finite_number(gain, "gain", type(self).__name__)

    def __call__(self, shape: Shape, dtype: Any = np.float32, rng: np.random.Generator | None = None) -> Array:
        if len(shape) < 2:
            raise ShapeError(f"Orthogonal: needs a shape of at least two dimensions, got {tuple(shape)}.")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = self.generator(rng).standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(tall)
        q *= np.sign(np.diagonal(r))  # without this, q depends on the library and is not uniform among rotations
        matrix: Array = self.gain * (q if rows >= columns else q.T)
        return np.ascontiguousarray(matrix.reshape(shape), dtype)

    def get_config(self) -> Config:
        return {**super().get_config(), "gain": self.gain}


def fans(shape: Shape) -> tuple[int, int]:
    """(fan in, fan out) of a kernel: (in, out) dense, (KH, KW, in, out) convolution; a vector counts as both."""
    if len(shape) < 2:
        size = math.prod(shape)
        return size, size
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def _fill(shape: Shape, dtype: Any, draw: Callable[[int], Array]) -> Array:
    """An array filled in order with what draw(count) returns, a block at a time."""
    values = np.empty(shape, dtype)
    flat = values.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        block[...] = draw(block.size)
    return values


def _uniform(shape: Shape, dtype: Any, rng: np.random.Generator, low: float, high: float) -> Array:
    return _fill(shape, dtype, lambda count: rng.uniform(low, high, count))


def _normal(shape: Shape, dtype: Any, rng: np.random.Generator, mean: float, stddev: float) -> Array:
    return _fill(shape, dtype, lambda count: rng.normal(mean, stddev, count))


def _truncated_normal(shape: Shape, dtype: Any, rng: np.random.Generator, mean: float, stddev: float) -> Array:
    def draw(count: int) -> Array:
        values = rng.standard_normal(count)
        while (outside := np.flatnonzero(np.abs(values) > 2)).size:  # one in 22
            values[outside] = rng.standard_normal(outside.size)
        return mean + stddev * values

    return _fill(shape, dtype, draw)


# The distributions of VarianceScaling, each with mean 0 and the standard deviation that it is given.
_DISTRIBUTIONS: dict[str, Callable[[Shape, Any, np.random.Generator, float], Array]] = {
    "truncated_normal": lambda shape, dtype, rng, s: _truncated_normal(shape, dtype, rng, 0.0, s / _TRUNCATED_STDDEV),
    "untruncated_normal": lambda shape, dtype, rng, s: _normal(shape, dtype, rng, 0.0, s),
    "uniform": lambda shape, dtype, rng, s: _uniform(shape, dtype, rng, -math.sqrt(3) * s, math.sqrt(3) * s),
}


TABLE = table_of(
    Zeros,
    Ones,
    Constant,
    Identity,
    RandomUniform,
    RandomNormal,
    TruncatedNormal,
    VarianceScaling,
    GlorotUniform,
    GlorotNormal,
    HeUniform,
    HeNormal,
    LecunUniform,
    LecunNormal,
    Orthogonal,
    aliases={"zero": Zeros, "one": Ones, "uniform": RandomUniform, "normal": RandomNormal},
)

# Keras's other names for the classes, as in minicnn.initializers.he_normal().
zeros, ones, constant, identity, orthogonal = Zeros, Ones, Constant, Identity, Orthogonal
random_uniform, random_normal, truncated_normal = RandomUniform, RandomNormal, TruncatedNormal
variance_scaling = VarianceScaling
glorot_uniform, glorot_normal = GlorotUniform, GlorotNormal
he_uniform, he_normal = HeUniform, HeNormal
lecun_uniform, lecun_normal = LecunUniform, LecunNormal


def get(identifier: Any, custom_objects: Mapping[str, type] | None = None, owner: str = "") -> Initializer:
    """The initializer that a name, a class, an instance or a config stands for; ConfigError for anything else.

    custom_objects: the caller's own classes by name. owner: messages begin with it: "Dense 'dense': bias_initializer".
    """
    if callable(identifier) and not isinstance(identifier, (Initializer, type)):
        raise ConfigError(
            f"{owner or 'initializer'}: got the function {identifier!r}; subclass minicnn.initializers.Initializer "
            "with __call__(shape, dtype, rng) instead."
        )
    return resolve("initializer", Initializer, TABLE, identifier, custom_objects, owner)


def deserialize(config: Any, custom_objects: Mapping[str, type] | None = None) -> Initializer:
    """The initializer of a config {"class_name", "config"}; get, under Keras's other name."""
    return get(config, custom_objects)


def serialize(initializer: Initializer) -> Config:
    """{"class_name", "config"}, which get and every Keras take."""
    return {"class_name": type(initializer).__name__, "config": initializer.get_config()}
