"""Small helpers under Keras's names."""

import gc

from minicnn import naming
from minicnn.kernels import workspace
from minicnn.utils import np_utils
from minicnn.utils.np_utils import to_categorical
from minicnn.utils.sequences import PyDataset, Sequence


def clear_session(free_memory: bool = True) -> None:
    """Start automatic layer names anew: the next Conv2D is conv2d again.

    free_memory: also collect models that nobody refers to any more (a model and its History refer to each other, and
    Python may leave such a circle for long), and give back the memory that fused steps keep for their next results.
    """
    naming.reset()
    if free_memory:
        gc.collect()
        workspace.release()


__all__ = ["PyDataset", "Sequence", "clear_session", "np_utils", "to_categorical"]
