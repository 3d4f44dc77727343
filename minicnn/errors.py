"""The errors of minicnn. Each is a ValueError too, so that code written for Keras catches them.

A message is one line: which object, what it received, and what to do about it.
"""


class MinicnnError(ValueError):
    """The root: `except minicnn.errors.MinicnnError` catches every error that minicnn raises itself, but for the
    NotImplementedError of a method that a class of the caller's own was to write."""


class ShapeError(MinicnnError):
    """An array or a map does not have the shape that a layer, a loss or a model needs."""


class ConfigError(MinicnnError):
    """An argument is unknown, out of range, of the wrong type, or known to Keras and not supported here."""


class DataError(MinicnnError):
    """Training data that cannot be used: lengths that differ, labels out of range, non-finite values, dtype object."""


class NotBuiltError(MinicnnError):
    """A layer or a model is asked for what it has only once its input shape is known."""


class NotCompiledError(MinicnnError, RuntimeError):
    """fit, evaluate or train_on_batch before compile. A RuntimeError as well, as in Keras 2."""


class FileFormatError(MinicnnError):
    """A model or weights file that is damaged, hostile, of another kind, or that does not fit the model."""


class NonFiniteLossError(MinicnnError, RuntimeError):
    """TerminateOnNaN(raise_error=True) saw a loss that is NaN or infinite. A RuntimeError as well, as in Keras."""


class DatasetError(MinicnnError, OSError):
    """A data set that is neither on this machine nor can be downloaded, or whose files are damaged."""


class MissingPackageError(MinicnnError, ImportError):
    """An optional package that is needed for what was asked, and not installed. An ImportError as well."""


class MinicnnWarning(UserWarning):
    """The one category of warnings that minicnn issues itself."""
