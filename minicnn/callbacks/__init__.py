"""What happens around training: hooks that `fit`, `evaluate` and `predict` call at fixed points.

Names, arguments and defaults are those of Keras 3.15.
"""

from minicnn.callbacks.backup import BackupAndRestore
from minicnn.callbacks.base import Callback, LambdaCallback
from minicnn.callbacks.callback_list import CallbackList
from minicnn.callbacks.checkpoint import ModelCheckpoint
from minicnn.callbacks.rates import LearningRateScheduler, ReduceLROnPlateau
from minicnn.callbacks.records import CSVLogger, History
from minicnn.callbacks.stopping import EarlyStopping, TerminateOnNaN

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TerminateOnNaN",
]
