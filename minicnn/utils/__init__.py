"""Small helpers under Keras's names."""

from minicnn import naming
from minicnn.utils import np_utils
from minicnn.utils.np_utils import to_categorical
from minicnn.utils.sequences import PyDataset, Sequence


def clear_session(free_memory: bool = True) -> None:
    """Start automatic layer names anew: the next Conv2D is conv2d again.

    Nothing else is kept between models, so that free_memory, which Keras has, makes no difference.
    """
    naming.reset()


__all__ = ["PyDataset", "Sequence", "clear_session", "np_utils", "to_categorical"]
