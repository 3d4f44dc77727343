"""Files that Keras 2.4, tf_keras 2.21 and Keras 3.15 wrote: predictions, compile sections and optimizer states."""

import h5py
import numpy as np
import pytest

from minicnn import Sequential, layers, load_model, losses, optimizers
from minicnn.errors import FileFormatError
from tests.shared import shared_folder

SHARED = shared_folder()
pytestmark = pytest.mark.skipif(SHARED is None, reason="no folder with real Keras files: set MINICNN_SHARED")

TAGS = ("k24", "tfk", "k315")
WHOLE = [f"{tag}_{kind}.h5" for tag in TAGS for kind in ("adam", "sgd", "sgd0", "nofit", "noopt", "rich")] + [
    "tfk_legacyadam.h5",
    "tfk_legacysgd.h5",
    "k24_adam.keras",
    "k24_rich.keras",
    "k24_sgd.keras",
]  # HDF5 by content
SHAPES = [(3, 3, 1, 4), (4,), (4,), (4,), (64, 3), (3,)]  # of the trainable parameters


def keras_file(name):
    return SHARED / "keras_files" / name


def samples():
    return np.random.RandomState(0).rand(16, 8, 8, 1).astype(np.float32)  # as the references were made


def stored_weights(path):
    """Every array of a file in Keras's order, read without minicnn."""
    with h5py.File(path) as root:
        group = root.get("model_weights", root)
        return [
            group[layer][name][()]
            for layer in group.attrs["layer_names"]
            for name in group[layer].attrs["weight_names"]
        ]


@pytest.mark.parametrize("name", WHOLE)
def test_every_whole_model(name):
    model = load_model(keras_file(name))
    for ours, theirs in zip(model.get_weights(), stored_weights(keras_file(name)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert model.input_shape == (None, 8, 8, 1)
    assert model.output_shape == (None, 3)
    assert model.compiled is ("noopt" not in name)


@pytest.mark.parametrize("kernels", ["numpy", "numba"])
@pytest.mark.parametrize("name", [n for n in WHOLE if n.split(".")[0].endswith(("_adam", "_rich"))])
def test_predictions(name, kernels):
    tag, kind = name.split(".")[0].split("_")
    reference = np.load(keras_file(f"{tag}_rich_pred.npy" if kind == "rich" else f"{tag}_pred.npy"))
    predicted = load_model(keras_file(name), kernels=kernels).predict(samples(), verbose=0)
    np.testing.assert_allclose(predicted, reference, rtol=0, atol=2e-6)


@pytest.mark.parametrize("tag", TAGS)
def test_compile_sections(tag):
    model = load_model(keras_file(f"{tag}_adam.h5"))
    assert isinstance(model.loss, losses.CategoricalCrossentropy)
    assert (model.loss.reduction, model.loss.from_logits) == ("sum_over_batch_size", False)
    assert model.metrics_names == ["loss", "accuracy"]
    assert type(model.optimizer) is optimizers.Adam
    assert model.optimizer.get_config()["learning_rate"] == np.float32(0.001)
    model = load_model(keras_file(f"{tag}_rich.h5"))  # the rate that Keras 3 loses from a tf_keras file
    assert model.optimizer.learning_rate == np.float32(0.002)
    model = load_model(keras_file(f"{tag}_sgd.h5"))
    assert (np.float32(model.optimizer.momentum), model.optimizer.nesterov) == (np.float32(0.9), True)
    labels = np.eye(3)[np.arange(16) % 3]
    assert list(model.evaluate(samples(), labels, return_dict=True, verbose=0)) == ["accuracy", "loss"]


def stored_slots(path, slots):
    """The slots in a file, by the endings of their names, read without minicnn."""
    with h5py.File(path) as root:
        group = root["optimizer_weights"]
        names = [n.decode() if isinstance(n, bytes) else n for n in group.attrs["weight_names"]]
        return {
            slot: np.concatenate([group[n][()].ravel() for n in names if matches(n)]) for slot, matches in slots.items()
        }


def ends(word):
    return lambda name: name.endswith(word)


def begins(word):
    return lambda name: name.startswith(word)


@pytest.mark.parametrize(
    ("name", "slots"),
    [
        ("k24_adam.h5", {"momentum": ends("/m:0"), "velocity": ends("/v:0")}),
        ("tfk_legacyadam.h5", {"momentum": ends("/m:0"), "velocity": ends("/v:0")}),
        ("tfk_adam.h5", {"momentum": begins("Adam/m/"), "velocity": begins("Adam/v/")}),
        ("k315_adam.h5", {"momentum": ends("_momentum"), "velocity": ends("_velocity")}),
        ("k24_sgd.h5", {"momentum": ends("/momentum:0")}),
        ("tfk_legacysgd.h5", {"momentum": ends("/momentum:0")}),
        ("tfk_sgd.h5", {"momentum": begins("SGD/m/")}),
        ("k315_sgd.h5", {"momentum": ends("_momentum")}),
        ("k24_sgd0.h5", {}),
        ("tfk_sgd0.h5", {}),
        ("k315_sgd0.h5", {}),
    ],
)
def test_optimizer_states(name, slots):
    model = load_model(keras_file(name))
    assert model.optimizer.iterations == 1
    assert list(model.optimizer.slots) == list(slots)
    for slot, values in stored_slots(keras_file(name), slots).items():
        assert np.abs(values).max() > 0
        np.testing.assert_array_equal(model.optimizer.slots[slot], values)
    assert [layer.params[p].shape for layer in model.layers for p in layer.params] == SHAPES
    model.fit(samples(), np.eye(3)[np.arange(16) % 3], epochs=1, verbose=0)
    assert model.optimizer.iterations == 2


@pytest.mark.parametrize("name", ["k24_wlegacy.h5", "tfk_wlegacy.h5", "k24_w.weights.h5", "k315_sgd.h5"])
def test_weights(name):
    model = Sequential(
        [
            layers.Conv2D(4, 3, padding="same", activation="relu", input_shape=(8, 8, 1)),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.load_weights(keras_file(name))
    for ours, theirs in zip(model.get_weights(), stored_weights(keras_file(name)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_alone_are_no_model():
    for name in ("k24_wlegacy.h5", "k315_w.weights.h5"):
        with pytest.raises(FileFormatError, match="holds weights alone, no model"):
            load_model(keras_file(name))


@pytest.mark.parametrize(
    ("name", "state"),
    [
        (
            "Jianglinhe__LeNet-5__LeNet-5.h5",
            (4700, ["momentum", "velocity"]),
        ),  # Keras 2.0: `lr`, no InputLayer, bare list
        ("Moonflower2022__MNIST-models__mnist_model.h5", (6330, ["momentum", "velocity"])),  # Keras 3.0
        (
            "TrustAI__DeepConcolic__mnist2.h5",
            (0, ["accumulated_grad", "accumulated_delta_var"]),
        ),  # stored without a counter
        ("copperwire__clustering_cnn_representations__mnist_cnn.h5", (1200, ["momentum", "velocity"])),
        ("tux-o-matic__banana__keras_cifar10_trained_model.h5", (10000, ["momentum"])),
    ],
)
def test_files_from_the_wild(name, state):
    folder = SHARED / "wild_models"
    model = load_model(folder / name)
    with np.load(folder / "reference.npz") as references:
        reference = references[name]
    x = np.random.default_rng(20261124).random((8, *model.input_shape[1:]), dtype=np.float32)
    np.testing.assert_allclose(model.predict(x, verbose=0), reference, rtol=0, atol=2e-6)
    assert (model.optimizer.iterations, list(model.optimizer.slots)) == state
