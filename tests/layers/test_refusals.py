"""Wrong arguments and wrong inputs: minicnn's own error, which names the layer and says what to do."""

import inspect

import numpy as np
import pytest

from minicnn import layers as L
from minicnn.errors import ConfigError, DataError, MinicnnError, NotBuiltError, ShapeError
from tests.layers.cases import CASES

FLAT, IMAGE = (6,), (6, 5, 2)


def build(layer, sample):
    layer.ensure_built(sample, np.dtype("float32"), np.random.default_rng(0))
    return layer


@pytest.mark.parametrize(
    ("cls", "options", "argument"),
    [
        (L.Conv2D, {"filters": 2, "kernel_size": 3, "data_format": "channels_first"}, "data_format"),
        (L.Conv2D, {"filters": 2, "kernel_size": 3, "activity_regularizer": "l2"}, "activity_regularizer"),
        (L.Conv2D, {"filters": 2, "kernel_size": 3, "kernel_constraint": "non_neg"}, "kernel_constraint"),
        (L.Conv2D, {"filters": 2, "kernel_size": 3, "bias_constraint": "non_neg"}, "bias_constraint"),
        *(
            (cls, {**options, argument: value}, argument)
            for cls, options, constraints in (
                (L.DepthwiseConv2D, {"kernel_size": 3}, ("depthwise", "bias")),
                (L.SeparableConv2D, {"filters": 2, "kernel_size": 3}, ("depthwise", "pointwise", "bias")),
                (L.Conv2DTranspose, {"filters": 2, "kernel_size": 3}, ("kernel", "bias")),
            )
            for argument, value in {
                "data_format": "channels_first",
                "activity_regularizer": "l2",
                **{f"{array}_constraint": "non_neg" for array in constraints},
            }.items()
        ),
        (L.UpSampling2D, {"data_format": "channels_first"}, "data_format"),
        (L.Dense, {"units": 2, "activity_regularizer": "l2"}, "activity_regularizer"),
        (L.Dense, {"units": 2, "kernel_constraint": "non_neg"}, "kernel_constraint"),
        (L.Dense, {"units": 2, "bias_constraint": "non_neg"}, "bias_constraint"),
        (L.Dense, {"units": 2, "lora_rank": 4}, "lora_rank"),
        (L.Dense, {"units": 2, "quantization_config": {}}, "quantization_config"),
        (L.MaxPooling2D, {"data_format": "channels_first"}, "data_format"),
        (L.AveragePooling2D, {"data_format": "channels_first"}, "data_format"),
        (L.GlobalMaxPooling2D, {"data_format": "channels_first"}, "data_format"),
        (L.GlobalAveragePooling2D, {"data_format": "channels_first"}, "data_format"),
        (L.ZeroPadding2D, {"data_format": "channels_first"}, "data_format"),
        (L.Flatten, {"data_format": "channels_first"}, "data_format"),
        (L.Dropout, {"rate": 0.5, "noise_shape": (None, 1)}, "noise_shape"),
        (L.BatchNormalization, {"beta_constraint": "non_neg"}, "beta_constraint"),
        (L.BatchNormalization, {"gamma_constraint": "non_neg"}, "gamma_constraint"),
        (L.BatchNormalization, {"synchronized": True}, "synchronized"),
        (L.BatchNormalization, {"renorm": True}, "renorm"),
        (L.BatchNormalization, {"renorm_clipping": {"rmax": 1.0}}, "renorm_clipping"),
        (L.BatchNormalization, {"renorm_momentum": 0.5}, "renorm_momentum"),
        (L.Dense, {"units": 2, "lora_alpha": 4}, "lora_alpha"),
        (L.Dense, {"units": 2, "kernel_constraint": np.ones(2)}, "kernel_constraint"),
        (L.Flatten, {"activity_regularizer": "l2"}, "activity_regularizer"),
        (L.ReLU, {"autocast": False}, "autocast"),
        *(
            (cls, {"shape": (3,), argument: value}, argument)
            for cls in (L.InputLayer, L.Input)
            for argument, value in {"batch_size": 32, "sparse": True, "ragged": True, "optional": True}.items()
        ),
        (L.InputLayer, {"shape": (3,), "input_tensor": np.ones(3)}, "input_tensor"),
        (L.Input, {"shape": (3,), "tensor": np.ones(3)}, "tensor"),
    ],
)
def test_what_keras_has_and_minicnn_does_not_is_refused_by_name(cls, options, argument):
    with pytest.raises(ConfigError, match=f"{argument}=.* is not supported by minicnn; leave it"):
        cls(**options)


SIGNATURES = {
    "Input": "shape batch_size dtype sparse ragged batch_shape name tensor optional",
    "InputLayer": "shape batch_size dtype sparse ragged batch_shape input_tensor optional name",
    "Conv2D": "filters kernel_size strides padding data_format dilation_rate groups activation use_bias "
    "kernel_initializer bias_initializer kernel_regularizer bias_regularizer activity_regularizer "
    "kernel_constraint bias_constraint",
    "DepthwiseConv2D": "kernel_size strides padding depth_multiplier data_format dilation_rate activation use_bias "
    "depthwise_initializer bias_initializer depthwise_regularizer bias_regularizer activity_regularizer "
    "depthwise_constraint bias_constraint",
    "SeparableConv2D": "filters kernel_size strides padding data_format dilation_rate depth_multiplier activation "
    "use_bias depthwise_initializer pointwise_initializer bias_initializer depthwise_regularizer "
    "pointwise_regularizer bias_regularizer activity_regularizer depthwise_constraint pointwise_constraint "
    "bias_constraint",
    "Conv2DTranspose": "filters kernel_size strides padding output_padding data_format dilation_rate activation "
    "use_bias kernel_initializer bias_initializer kernel_regularizer bias_regularizer activity_regularizer "
    "kernel_constraint bias_constraint",
    "UpSampling2D": "size data_format interpolation",
    "MaxPooling2D": "pool_size strides padding data_format name",
    "AveragePooling2D": "pool_size strides padding data_format name",
    "GlobalAveragePooling2D": "data_format keepdims",
    "GlobalMaxPooling2D": "data_format keepdims",
    "ZeroPadding2D": "padding data_format",
    "Flatten": "data_format",
    "Reshape": "target_shape",
    "Dense": "units activation use_bias kernel_initializer bias_initializer kernel_regularizer bias_regularizer "
    "activity_regularizer kernel_constraint bias_constraint lora_rank lora_alpha quantization_config",
    "Activation": "activation",
    "ReLU": "max_value negative_slope threshold",
    "LeakyReLU": "negative_slope",
    "Softmax": "axis",
    "Dropout": "rate noise_shape seed",
    "BatchNormalization": "axis momentum epsilon center scale beta_initializer gamma_initializer "
    "moving_mean_initializer moving_variance_initializer beta_regularizer gamma_regularizer beta_constraint "
    "gamma_constraint renorm renorm_clipping renorm_momentum synchronized",
    "Rescaling": "scale offset",
}
"""The arguments of Keras 3.15's layers, in its order."""


def test_arguments_stand_in_keras_order():
    assert set(SIGNATURES) == {*L.LAYERS, "Input"}
    for name, arguments in SIGNATURES.items():
        parameters = inspect.signature(getattr(L, name)).parameters.values()
        positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert positional == arguments.split(), name


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_unknown_argument_is_refused_by_name(case):
    with pytest.raises(ConfigError, match="unknown argument 'nonsense'"):
        case.make(nonsense=1)


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (L.Conv2D, {"filters": 0, "kernel_size": 3}, "filters must be a positive integer, got 0"),
        (L.Conv2D, {"filters": 2.0, "kernel_size": 3}, "filters must be a positive integer, got 2.0"),
        (L.Conv2D, {"filters": True, "kernel_size": 3}, "filters must be a positive integer, got True"),
        (L.Conv2D, {"filters": 2, "kernel_size": -3}, "kernel_size must be a positive integer, got -3"),
        (L.Conv2D, {"filters": 2, "kernel_size": (3, 3, 3)}, "kernel_size must be an integer or two integers"),
        (L.Conv2D, {"filters": 2, "kernel_size": "33"}, "kernel_size must be a positive integer, got '33'"),
        (L.Conv2D, {"filters": 2, "kernel_size": 3, "strides": 0}, "strides must be a positive integer, got 0"),
        (
            L.Conv2D,
            {"filters": 2, "kernel_size": 3, "padding": "full"},
            'padding must be "valid" or "same", got \'full\'',
        ),
        (L.Conv2D, {"filters": 2, "kernel_size": 3, "padding": 1}, 'padding must be "valid" or "same", got 1'),
        (L.Conv2D, {"filters": 2, "kernel_size": 3, "strides": 2, "dilation_rate": 2}, "cannot both exceed 1"),
        (L.Conv2D, {"filters": 2, "kernel_size": 3, "groups": 0}, "groups must be a positive integer, got 0"),
        (L.Conv2D, {"filters": 3, "kernel_size": 3, "groups": 2}, "groups=2 does not divide 3 filters; use a divisor"),
        (L.DepthwiseConv2D, {"kernel_size": 3, "depth_multiplier": 0}, "depth_multiplier must be a positive integer"),
        (L.SeparableConv2D, {"filters": 2, "kernel_size": 0}, "kernel_size must be a positive integer, got 0"),
        (
            L.Conv2DTranspose,
            {"filters": 2, "kernel_size": 3, "strides": 2, "output_padding": (1, 2)},
            "output_padding must be less than strides (2, 2), got (1, 2); make it smaller or leave it at None",
        ),
        (L.Conv2DTranspose, {"filters": 2, "kernel_size": 3, "strides": 2, "dilation_rate": 2}, "cannot both exceed 1"),
        (L.UpSampling2D, {"size": (2, 0)}, "size must be a positive integer, got 0"),
        (
            L.UpSampling2D,
            {"interpolation": "bicubic"},
            'interpolation must be "nearest" or "bilinear", got \'bicubic\'',
        ),
        (L.Conv2D, {"filters": 2, "kernel_size": 3, "activation": "rleu"}, "unknown name 'rleu'; did you mean 'relu'"),
        (L.Conv2D, {"filters": 2, "kernel_size": 3, "activation": np.tanh}, "subclass minicnn's Activation"),
        (L.Conv2D, {"filters": 2, "kernel_size": 3, "kernel_initializer": "glorot"}, "glorot"),
        (L.Conv2D, {"filters": 2, "kernel_size": 3, "kernel_regularizer": "l3"}, "l3"),
        (L.MaxPooling2D, {"pool_size": 0}, "pool_size must be a positive integer, got 0"),
        (L.AveragePooling2D, {"strides": (2, 0)}, "strides must be a positive integer, got 0"),
        (L.ZeroPadding2D, {"padding": -1}, "padding must be an integer of at least 0, got -1"),
        (L.ZeroPadding2D, {"padding": (1, 2, 3)}, "padding must be an int, two ints or two pairs of ints"),
        (L.Dense, {"units": 0}, "units must be a positive integer, got 0"),
        (L.Dense, {"units": "10"}, "units must be a positive integer, got '10'"),
        (L.Reshape, {"target_shape": (0, 2)}, "positive integers and one -1 at most"),
        (L.Reshape, {"target_shape": (-1, -1)}, "positive integers and one -1 at most"),
        (L.Reshape, {"target_shape": 4}, "target_shape must be integers"),
        (L.Reshape, {"target_shape": (2.5, 2)}, "target_shape must be integers"),
        (L.Reshape, {"target_shape": "12"}, "target_shape must be integers"),
        (L.Dropout, {"rate": 1.5}, "1.5"),
        (L.Dropout, {"rate": -0.1}, "-0.1"),
        (L.Dropout, {"rate": float("nan")}, "nan"),
        (L.Dropout, {"rate": 0.5, "seed": -1}, "seed must be a non-negative integer or None, got -1"),
        (L.ReLU, {"max_value": -1}, "max_value"),
        (L.ReLU, {"negative_slope": -0.1}, "negative_slope"),
        (L.ReLU, {"threshold": "a"}, "threshold"),
        (L.LeakyReLU, {"negative_slope": -1}, "negative_slope"),
        *(
            (cls, {"axis": axis}, f": axis must be one integer other than 0, the batch; got {axis!r}.")
            for cls in (L.Softmax, L.BatchNormalization)
            for axis in (0, [1, 2], [], 1.5, True, "last")
        ),
        (
            L.LeakyReLU,
            {"alpha": 0.1, "negative_slope": 0.3, "name": "leak"},
            "LeakyReLU 'leak': alpha=0.1 and negative_slope=0.3 are one argument; leave alpha, its old name, out.",
        ),
        (L.LeakyReLU, {"alpha": -1}, "negative_slope must be a finite number of at least 0, got -1."),
        *(
            (
                cls,
                {"shape": (3,), "dtype": dtype, "name": "images"},
                f'InputLayer \'images\': dtype must name real numbers, such as "float32" or "uint8", got {dtype!r}.',
            )
            for cls in (L.InputLayer, L.Input)
            for dtype in ("flaot32", "complex64", "str", object)
        ),
        (
            L.InputLayer,
            {"shape": (4,), "batch_shape": (None, 5), "name": "images"},
            "InputLayer 'images': input_shape and batch_shape give different shapes; keep one of them.",
        ),
        (
            L.Dense,
            {"units": 1, "input_dim": 4, "input_shape": (5,), "name": "d"},
            "Dense 'd': input_shape and input_dim give different shapes; keep one of them.",
        ),
        *(
            (
                L.Flatten,
                {key: value, "name": "f"},
                f"Flatten 'f': {key} must be a tuple (None, ...) with the batch in front, got {value!r}.",
            )
            for key in ("batch_shape", "batch_input_shape")
            for value in (5, (), "ab")
        ),
        (L.Dense, {"units": 1, "activation": "rleu", "name": "d"}, "Dense 'd': activation"),
        (L.Conv2D, {"filters": 1, "kernel_size": 1, "bias_initializer": "zeroes", "name": "c"}, "Conv2D 'c': bias_ini"),
        (L.BatchNormalization, {"gamma_regularizer": "l3", "name": "b"}, "BatchNormalization 'b': gamma_regularizer"),
        (L.Activation, {"activation": 3, "name": "a"}, "Activation 'a': activation"),
        (L.BatchNormalization, {"momentum": 1.5}, "momentum"),
        (L.BatchNormalization, {"epsilon": -1}, "epsilon"),
        (L.Rescaling, {"scale": float("inf")}, "scale"),
        (L.InputLayer, {}, "needs shape="),
        (L.InputLayer, {"shape": (28, -1)}, "a shape holds positive integers"),
        (L.InputLayer, {"batch_shape": (32, 28, 28, 1)}, "fixes the batch; put None first"),
        (L.Flatten, {"name": "a/b"}, "name must be a string without '/'"),
        (L.Flatten, {"dtype": "float16"}, 'dtype must be "float32" or "float64"'),
        (L.Flatten, {"dtype": "nonsense"}, 'dtype must be "float32" or "float64"'),
        (L.Flatten, {"input_shape": (28, 0)}, "a shape holds positive integers"),
    ],
)
def test_wrong_arguments(cls, options, message):
    with pytest.raises(ConfigError) as error:
        cls(**options)
    assert message in str(error.value)
    assert isinstance(error.value, ValueError)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("layer", "sample", "message"),
    [
        (
            L.Conv2D(2, 3),
            (28, 28),
            "needs input (batch, height, width, channels), got (None, 28, 28); add the channel axis",
        ),
        (
            L.Conv2D(2, 3, groups=2, name="g"),
            (6, 6, 3),
            "Conv2D 'g': input (None, 6, 6, 3) has 3 channels, which groups=2 does not divide; use a divisor of 3.",
        ),
        (
            L.Conv2DTranspose(2, 4, strides=2, padding="same", output_padding=0, name="t"),
            (3, 3, 1),
            "Conv2DTranspose 't': output_padding (0, 0) makes a map of 4x4 of input (None, 3, 3, 1), which "
            "padding='same' cannot; raise it or leave it at None.",
        ),
        (L.DepthwiseConv2D(3), (2, 2, 1), "does not fit a map of 2x2"),
        (L.Conv2D(2, 3), (784,), "needs input (batch, height, width, channels), got (None, 784); reshape the input"),
        (L.MaxPooling2D(), (28, 28), "add the channel axis with x[..., None]"),
        (L.AveragePooling2D(), (3, 28, 28, 1), "reshape the input"),
        (L.GlobalMaxPooling2D(), (10,), "needs input (batch, height, width, channels)"),
        (L.GlobalAveragePooling2D(), (10,), "needs input (batch, height, width, channels)"),
        (L.ZeroPadding2D(), (10, 10), "add the channel axis"),
        (L.Dense(2), (), "add an axis with x[:, None]"),
        (L.Conv2D(2, 7), IMAGE, "window (7, 7) does not fit a map of 6x5; make the window smaller or the map larger"),
        (L.Conv2D(2, 3, dilation_rate=3), IMAGE, "window (3, 3) covering (7, 7) does not fit a map of 6x5"),
        (
            L.MaxPooling2D((7, 2)),
            IMAGE,
            'does not fit a map of 6x5; make the window smaller or the map larger, or use padding="same"',
        ),
        (L.AveragePooling2D((2, 6)), IMAGE, "does not fit a map of 6x5"),
        (L.Reshape((7, 9)), IMAGE, "has 60 entries a sample, which do not fill target_shape (7, 9)"),
        (L.Reshape((7, -1)), IMAGE, "has 60 entries a sample, which do not fill target_shape (7, -1)"),
        (L.Softmax(axis=4), IMAGE, "axis 4 is not in input (None, 6, 5, 2); use axis=-1"),
        (L.Softmax(axis=-2), FLAT, "axis -2 is not in input (None, 6); use axis=-1"),
        (L.Softmax(), (), "samples must have an axis, got (None,); add one with x[None]"),
        (L.BatchNormalization(axis=2), FLAT, "axis 2 is not in input (None, 6); use axis=-1"),
        (L.BatchNormalization(axis=-4), IMAGE, "axis -4 is not in input (None, 6, 5, 2); use axis=-1"),
    ],
)
def test_inputs_that_do_not_fit(layer, sample, message):
    with pytest.raises(ShapeError) as error:
        build(layer, sample)
    assert message in str(error.value)
    assert layer.name in str(error.value)
    assert "\n" not in str(error.value)
    assert not layer.built
    assert not layer.weights()


def test_weights_that_do_not_fit_change_nothing():
    layer = build(L.Dense(3), (2,))
    before = layer.get_weights()
    for wrong in ([], before[:1], [before[1], before[0]], [before[0], np.zeros(4)]):
        with pytest.raises(ShapeError, match=r"holds arrays .*'kernel': \(2, 3\), 'bias': \(3,\)"):
            layer.set_weights(wrong)
    for a, b in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_unbuilt_layer_has_nothing_to_count():
    with pytest.raises(NotBuiltError, match="is not built yet"):
        L.Dense(3).count_params()


def test_a_base_layer_and_a_bad_subclass_say_so():
    class Half(L.Layer):
        def __init__(self, portion, **kwargs):
            super().__init__(**kwargs)
            self.portion = portion

    with pytest.raises(MinicnnError, match="unknown argument 'portoin'"):
        Half(0.5, portoin=1)
    remedy = "minicnn has no automatic differentiation: write forward and backward."
    with pytest.raises(NotImplementedError) as error:
        Half(0.5).forward(np.ones((1, 1)), L.Run())
    assert str(error.value) == f"Half has no forward; {remedy}"
    with pytest.raises(NotImplementedError) as error:
        Half(0.5).backward(np.ones((1, 1)), None, L.Run())
    assert str(error.value) == f"Half has no backward; {remedy}"


def test_a_layer_written_for_keras_says_what_to_write():
    class Doubled(L.Layer):
        def call(self, inputs):
            return 2 * inputs

    with pytest.raises(NotImplementedError) as error:
        Doubled()(np.ones((1, 1)))
    assert str(error.value) == (
        "Doubled has no forward; its call is never used; "
        "minicnn has no automatic differentiation: write forward and backward."
    )


def test_a_subclass_that_forgot_to_call_its_base():
    class Forgetful(L.Layer):
        def __init__(self):
            self.factor = 2

    for use in (lambda layer: layer(np.ones((2, 2))), lambda layer: build(layer, (2,))):
        with pytest.raises(ConfigError) as error:
            use(Forgetful())
        assert str(error.value) == "Forgetful: call super().__init__(**kwargs) at the start of __init__."


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ("abc", DataError, "Dense 'd' called: got <U3 values; give an array of numbers."),
        (None, DataError, "Dense 'd' called: got object values; give an array of numbers."),
        ([1j], DataError, "Dense 'd' called: got complex128 values; give an array of numbers."),
        (5, ShapeError, "Dense 'd': takes a batch of samples, got the single number 5; give an array."),
    ],
)
def test_calling_a_layer_on_what_is_no_batch(x, error, message):
    layer = L.Dense(2, name="d")
    with pytest.raises(error) as caught:
        layer(x)
    assert str(caught.value) == message
    assert not layer.built


def test_calling_a_layer_on_a_ragged_list():
    with pytest.raises(
        DataError, match=r"^Dense 'd' called: cannot make one array of this \(.*\); give arrays of one shape"
    ):
        L.Dense(2, name="d")([[1, 2], [3]])


@pytest.mark.parametrize("weights", [5, None])
def test_weights_are_a_list(weights):
    layer = build(L.Dense(2, name="d"), (3,))
    with pytest.raises(ConfigError) as error:
        layer.set_weights(weights)
    assert str(error.value) == f"Dense 'd': set_weights takes a list of arrays, got {weights!r}."


def test_weights_are_numbers():
    layer = build(L.Dense(2, name="d"), (3,))
    before = layer.get_weights()
    with pytest.raises(DataError, match=r"^Dense 'd': set_weights: got <U1 values; give an array of numbers\.$"):
        layer.set_weights([before[0], np.array(["a", "b"])])
    np.testing.assert_array_equal(layer.get_weights()[0], before[0])
