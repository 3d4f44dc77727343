"""minicnn's process; see worker.py."""

from keras_like import KerasLikeEngine
from worker import main


class MinicnnEngine(KerasLikeEngine):
    packages = ("minicnn", "numpy", "numba", "scipy")

    def load(self) -> None:
        import minicnn
        from minicnn import callbacks, layers, models, optimizers  # noqa: F401  as a script does

        self.library, self.Sequential = minicnn, models.Sequential


if __name__ == "__main__":
    main(MinicnnEngine())
