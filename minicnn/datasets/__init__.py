"""The data sets of the exercises, each a module with Keras's load_data() and the names of its classes.

They are looked for on this machine first and downloaded only if they are not there; nothing is unpickled.
"""

from types import ModuleType

from minicnn.datasets import cifar10, digits, fashion_mnist, mnist

DATASETS: dict[str, ModuleType] = {
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
    "digits": digits,
}
"""Every data set by its name."""

__all__ = ["DATASETS", "cifar10", "digits", "fashion_mnist", "mnist"]
