"""Fashion-MNIST: 70,000 grey images of clothes, 28x28 pixels, in MNIST's format and splits.

Source: Xiao, Rasul and Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms
(2017), arXiv:1708.07747. MIT licence.
"""

from pathlib import Path

from minicnn.datasets.files import Split, datasets_folder, keras_folder
from minicnn.datasets.idx import IdxDataset

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts the files."""

# The hashes are those that TensorFlow Datasets publishes (url_checksums/fashion_mnist.txt).
OFFICIAL = IdxDataset(
    name="fashion_mnist",
    sha256={
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
    mirrors=(
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",  # plain http: the hashes vouch for the files
    ),
)


def load_data() -> tuple[Split, Split]:
    """(x_train, y_train), (x_test, y_test), as Keras's function of that name returns them.

    All uint8: images (60000, 28, 28) and (10000, 28, 28), 0 to 255, and labels (60000,) and (10000,), 0 to 9, named by
    CLASS_NAMES. Looked for in $MINICNN_HOME/datasets/fashion_mnist (default ~/.minicnn/datasets/fashion_mnist), in
    Keras's cache and in Debian's dataset-fashion-mnist, else downloaded into the first, 30 MB.
    Raises DatasetError if a file is damaged, or if there is none and the download fails.
    """
    own = datasets_folder() / OFFICIAL.name
    for folder in (own, keras_folder() / "fashion-mnist", DEBIAN):
        if OFFICIAL.is_in(folder):
            return OFFICIAL.read(folder)
    OFFICIAL.download(own)
    return OFFICIAL.read(own)
