"""Layer: what every layer is; Run: what a pass needs to know."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from minicnn.arguments import refuse, takes
from minicnn.errors import ConfigError, DataError, NotBuiltError, ShapeError
from minicnn.kernels import NUMBA, KernelSet
from minicnn.layers.shapes import batched, declared_shape, float_dtype, rank_remedy
from minicnn.lending import conforming, writable
from minicnn.naming import automatic_name
from minicnn.typing import Array, Config, Shape

if TYPE_CHECKING:
    from minicnn.initializers import Initializer
    from minicnn.regularizers import Regularizer


_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Run:
    """What one pass through a model needs to know. Layers read it and never change it, but for what `once` keeps.

    kernels: the set of operations to compute with. training: batch statistics and dropout, or not.
    seed, step, position: dropout's mask is a function of these three and of nothing else; step counts the batches
    trained on, position is the layer's place in the model. keep: whether a backward pass may follow; if not, forward
    need not keep anything for it. made: what `once` keeps between batches; None if weights may change there.
    samples: of all the batches together that `made` is kept for; 0 without it.
    """

    kernels: KernelSet = NUMBA
    training: bool = False
    seed: int = 0
    step: int = 0
    position: int = 0
    keep: bool = True
    made: dict[Layer, Any] | None = None
    samples: int = 0

    def at(self, position: int) -> Run:
        """The same run, for the layer at this place in the model."""
        return Run(  # replace() would take 2 µs
            self.kernels, self.training, self.seed, self.step, position, self.keep, self.made, self.samples
        )

    def once(self, layer: Layer, make: Callable[[], _Made]) -> _Made:
        """make(), what follows from the layer's weights; kept for further batches if `made` is a dict. One a layer."""
        if self.made is None:
            return make()
        if layer not in self.made:
            self.made[layer] = make()
        made: _Made = self.made[layer]
        return made


class Layer:
    """One operation with its parameters.

    A layer is built once, for one input shape; `forward` and `backward` then work on any number of samples. A pass
    keeps nothing on the layer: forward returns what backward needs, so that one model serves several threads. Training
    overwrites `grads` and, in layers that have it, updates `state`.

    Args:
        name: of this layer within its model; None picks conv2d, conv2d_1, ...
        trainable: False freezes the parameters. May be changed later; the next training step heeds it.
        dtype: "float32" or "float64"; None takes the model's.
        input_shape: of one sample, without the batch, on the first layer of a model. batch_shape, batch_input_shape:
            the same with the batch in front, which must be None. Keras's `input_dim=n` stands for input_shape=(n,).

    Attributes:
        input_shape: of one sample, once built; other than in Keras the batch is left out. None before.
        params, grads, state: arrays by name. weights() is a method, and a dict: params, then state.

    Raises ConfigError for an argument that is wrong, unknown, or Keras's and not supported.
    """

    rank: ClassVar[int | None] = None
    """Dimensions of an input sample, without the batch; None takes any."""

    def __init__(self, *, name: str | None = None, trainable: bool = True, dtype: Any = None, **kwargs: Any) -> None:
        if name is not None and (not isinstance(name, str) or not name or "/" in name or name in (".", "..")):
            raise ConfigError(f"{type(self).__name__}: name must be a string without '/', got {name!r}.")
        self.name = name or automatic_name(type(self).__name__)
        self.trainable = bool(trainable)
        self.dtype: np.dtype[Any] | None = None if dtype is None else float_dtype(dtype, str(self))
        refuse(
            self,
            activity_regularizer=(kwargs.pop("activity_regularizer", None), None),
            autocast=(kwargs.pop("autocast", True), True),
        )
        self.declared_input_shape = declared_shape(kwargs, str(self))
        if kwargs:
            raise ConfigError(f"{self}: unknown argument {next(iter(kwargs))!r}; see help({type(self).__name__}).")
        self.input_shape: Shape | None = None  # of one sample, once built
        self.params: dict[str, Array] = {}  # trained
        self.grads: dict[str, Array] = {}  # same keys; overwritten by backward, never added to
        self.state: dict[str, Array] = {}  # saved, not trained
        self._built_as: dict[str, tuple[Shape, np.dtype[Any]]] = {}  # the shape and dtype of both
        self.regularizers: dict[str, Regularizer] = {}  # by parameter

    # -- what a subclass says of itself

    def build(self, input_shape: Shape, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
        """Make the parameters for samples of input_shape. A layer without parameters has nothing to do here."""

    def output_shape(self, input_shape: Shape) -> Shape:
        """The shape of one output sample. Raises ShapeError where the input does not fit."""
        return input_shape

    def forward(self, x: Array, run: Run) -> tuple[Array, Any]:
        """y, and what backward will need of this pass. x has the batch in front.

        To a layer of the caller's x is read-only: compiled code that asks for more takes x.copy().
        """
        raise NotImplementedError(_to_write(self, "forward"))

    def backward(self, dy: Array, saved: Any, run: Run, need_dx: bool = True) -> Array | None:
        """dL/dx, of x's shape, from dy = dL/dy, of y's, or None if not needed; sets `grads` on the way.

        The chain rule: dL/dx[i] = Σ over j of dL/dy[j] · ∂y[j]/∂x[i], and for a parameter likewise. Each layer's
        docstring works out its own sums. Right for training=False too.
        """
        raise NotImplementedError(_to_write(self, "backward"))

    def get_config(self) -> Config:
        """The constructor's arguments under Keras's keys, as JSON values. Subclasses add theirs."""
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": None if self.dtype is None else self.dtype.name,
        }

    # -- what every layer can do

    @classmethod
    def from_config(cls, config: Config) -> Layer:
        """The layer that get_config described, unbuilt."""
        return cls(**config)

    @property
    def built(self) -> bool:
        return self.input_shape is not None

    def ensure_built(self, input_shape: Shape, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
        """Build for this input shape unless done. Raises ShapeError if built for another one."""
        self.check_initialized()
        self.check_built_for(input_shape)
        if self.built:
            return
        self.check_rank(input_shape)
        self.output_shape(input_shape)
        self.check_dtype(dtype)
        self.build(input_shape, dtype, rng)
        self.dtype = dtype
        self.input_shape = tuple(input_shape)
        arrays = {name: np.asarray(array) for name, array in self.weights().items()}
        self._built_as = {name: (array.shape, array.dtype) for name, array in arrays.items()}

    def check_built_for(self, input_shape: Shape) -> None:
        """Raises ShapeError if the layer is built for another input shape."""
        if self.input_shape is not None and self.input_shape != tuple(input_shape):
            raise ShapeError(
                f"{self}: is built for input {batched(self.input_shape)}, got {batched(input_shape)}; "
                "make a new layer for another shape."
            )

    def check_initialized(self) -> None:
        """Raises ConfigError if a subclass's constructor did not call that of Layer, NotImplementedError without
        forward: both before a build that is written for Keras fails on its arguments."""
        if "declared_input_shape" not in vars(self):
            raise ConfigError(f"{type(self).__name__}: call super().__init__(**kwargs) at the start of __init__.")
        if type(self).forward is Layer.forward:
            raise NotImplementedError(_to_write(self, "forward"))

    def check_dtype(self, dtype: np.dtype[Any]) -> None:
        """Raises ConfigError unless the layer can be part of a model of this dtype."""
        if self.dtype is not None and self.dtype != dtype:
            raise ConfigError(
                f"{self}: has dtype {self.dtype}, the model {dtype}; give the model dtype={self.dtype.name!r}."
            )

    def check_rank(self, input_shape: Shape) -> None:
        """Raises ShapeError unless a sample has the number of dimensions that the layer works on."""
        if self.rank is not None and len(input_shape) != self.rank:
            wanted = {3: "(batch, height, width, channels)", 1: "(batch, features)"}.get(
                self.rank, f"rank {self.rank + 1}"
            )
            raise ShapeError(
                f"{self}: needs input {wanted}, got {batched(input_shape)}; {rank_remedy(self.rank, input_shape)}"
            )

    def add_param(
        self,
        name: str,
        shape: Shape,
        initializer: Initializer,
        dtype: np.dtype[Any],
        rng: np.random.Generator,
        regularizer: Regularizer | None = None,
    ) -> None:
        """Make a trained parameter and the array for its gradient."""
        gradient = np.zeros(shape, dtype)
        self.params[name] = self.initial_values(name, gradient.shape, initializer, dtype, rng)
        self.grads[name] = gradient
        if regularizer is not None:
            self.regularizers[name] = regularizer

    def check_arrays(self) -> None:
        """Raise ShapeError if an array of weights was exchanged for one of another shape, which kernels would not
        notice, DataError if it holds no numbers; one of another dtype is converted."""
        for name, (shape, dtype) in self._built_as.items():
            arrays = self.params if name in self.params else self.state
            array = arrays[name]
            if not isinstance(array, np.ndarray) or array.dtype != dtype:
                array = arrays[name] = np.array(_numbers(array, f"{self}: {name!r}"), dtype, order="C")
            if array.shape != shape:
                raise ShapeError(
                    f"{self}: {name!r} has shape {array.shape}, and the layer was built with {shape}; "
                    "make a new layer for it."
                )

    def initial_values(
        self, name: str, shape: Shape, initializer: Initializer, dtype: np.dtype[Any], rng: np.random.Generator
    ) -> Array:
        """What the initializer, which may be the caller's, makes for an array of this name. Raises ShapeError unless it
        has this shape."""
        owner = f"{self}: {name}: {type(initializer).__name__}"
        remedy = "make it return the shape that it is called with"
        ours = type(initializer).__module__.startswith("minicnn.")
        arguments = (shape, dtype, rng) if ours or takes(initializer, 3) else (shape, dtype)
        values = conforming(initializer(*arguments), shape, dtype, owner, remedy)
        return values if ours else values.copy()  # the caller may keep what it returned

    def weights(self) -> dict[str, Array]:
        """Every array that is saved, in Keras's order: parameters, then state."""
        return {**self.params, **self.state}

    def count_params(self) -> int:
        """How many numbers the layer holds, trained or not. Raises NotBuiltError before the input shape is known."""
        if not self.built:
            raise NotBuiltError(f"{self}: is not built yet, so it has no parameters to count; build the model first.")
        return sum(a.size for a in self.weights().values())

    def get_weights(self) -> list[Array]:
        """Copies of the arrays, in Keras's order."""
        return [a.copy() for a in self.weights().values()]

    def set_weights(self, weights: Any) -> None:
        """Take over arrays in the order of get_weights.

        Raises ShapeError, DataError or ConfigError, having changed nothing, unless all fit and hold numbers, and
        NotBuiltError before there are any.
        """
        if not isinstance(weights, Iterable):
            raise ConfigError(f"{self}: set_weights takes a list of arrays, got {weights!r}.")
        if not self.built:
            raise NotBuiltError(f"{self}: is not built yet, so it has no arrays to set; build the model first.")
        own = self.weights()
        new = [_numbers(w, f"{self}: set_weights") for w in weights]
        if [w.shape for w in new] != [a.shape for a in own.values()]:
            want = {k: a.shape for k, a in own.items()}
            raise ShapeError(
                f"{self}: holds arrays {want}, got shapes {[w.shape for w in new]}; give them in that order."
            )
        for array, value in zip(own.values(), new, strict=True):
            array[...] = value

    def __call__(self, x: Any, training: bool = False) -> Array:
        """Apply the layer to a batch, building it for that shape if need be (with fresh entropy).

        x: numbers of any real dtype, with the batch in front. Raises DataError or ShapeError for anything else.
        training: with batch statistics, and dropout, whose mask is the same at each call; a model's call changes it.
        """
        self.check_initialized()
        x = _numbers(x, f"{self} called")
        if x.ndim == 0:
            raise ShapeError(f"{self}: takes a batch of samples, got the single number {x}; give an array.")
        dtype = self.dtype or np.dtype(np.float32)
        self.ensure_built(x.shape[1:], dtype, np.random.default_rng())
        return two_results(self.forward(np.ascontiguousarray(x, dtype), Run(training=training)), self)[0]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickled arrays can be written: joblib hands large ones to its workers as maps of files that cannot."""
        self.__dict__.update(state)
        for arrays in (self.params, self.grads, self.state):
            writable(arrays)

    def __str__(self) -> str:
        return f"{type(self).__name__} '{self.name}'"

    def __repr__(self) -> str:
        return f"<{self}>"


def two_results(results: Any, layer: Layer) -> tuple[Array, Any]:
    """What a layer's forward returned, if it is a pair. Raises ConfigError otherwise."""
    if not isinstance(results, tuple) or len(results) != 2:
        raise ConfigError(
            f"{layer}: forward must return the tuple (y, saved), got {type(results).__name__}; return (y, None) if "
            "backward needs nothing."
        )
    return results


def _numbers(data: Any, owner: str) -> Array:
    """data as an array of a real number type. Raises DataError otherwise."""
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise DataError(f"{owner}: cannot make one array of this ({error}); give arrays of one shape.") from None
    if isinstance(data, Layer):
        raise DataError(f"{owner}: got {data}; layers are not called on layers here, but listed: Sequential([...]).")
    if array.dtype.kind not in "biuf":
        raise DataError(f"{owner}: got {array.dtype} values; give an array of numbers.")
    return array


def _to_write(layer: Layer, method: str) -> str:
    """What the author of a subclass has still to do."""
    call = "; its call is never used" if hasattr(layer, "call") else ""
    return (
        f"{type(layer).__name__} has no {method}{call}; "
        "minicnn has no automatic differentiation: write forward and backward."
    )
