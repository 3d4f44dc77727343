"""A file appears whole or not at all, and whatever stands in the way is said in one line."""

import errno
import os
import stat

import pytest

from minicnn import Sequential, activations, load_model
from minicnn.errors import ConfigError, FileFormatError, MinicnnWarning
from minicnn.layers import Activation, Conv2D, Dense, Flatten, Input, Layer, LeakyReLU
from tests.saving.models import same_weights, small


def test_a_file_is_replaced(tmp_path):
    path = tmp_path / "model.h5"
    path.write_bytes(b"old")
    model = small()
    model.save(path)
    assert same_weights(load_model(path), model)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.h5"]


@pytest.mark.parametrize("step", ["open", "fsync", "chmod", "replace"])
def test_a_failure_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch, step):
    path = tmp_path / "model.h5"
    path.write_bytes(b"old")

    def fails(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, step, fails)
        for save in (small().save, small().save_weights):
            with pytest.raises(FileFormatError, match=r"model.h5: cannot be written: No space left on device"):
                save(path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.h5"]


def test_an_interruption_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    path = tmp_path / "model.h5"
    path.write_bytes(b"old")

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small().save(path)
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("model.h5", b"old")]


def test_what_cannot_be_written_to(tmp_path):
    model = small()
    with pytest.raises(FileFormatError, match=r"the folder .*nowhere does not exist; make it first"):
        model.save(tmp_path / "nowhere" / "model.h5")
    (tmp_path / "folder.h5").mkdir()
    with pytest.raises(FileFormatError, match="is a folder and cannot be written"):
        model.save(tmp_path / "folder.h5")
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileFormatError, match="does not exist"):
        model.save(tmp_path / "file" / "model.h5")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(FileFormatError, match="cannot be written: Permission denied"):
            small().save(tmp_path / "model.h5")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("name", ["model", "model.txt", "model.h5.bak", "model.keras.zip"])
def test_other_endings(tmp_path, name):
    for save in (small().save, small().save_weights):
        with pytest.raises(ConfigError, match=r"must end in \.h5 or \.hdf5"):
            save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_weights_alone_are_no_archive(tmp_path):
    with pytest.raises(ConfigError, match=r"must end in \.h5 or \.hdf5"):
        small().save_weights(tmp_path / "model.keras")


def test_every_ending_and_text_paths(tmp_path):
    for name in ("a.h5", "b.hdf5", "c.H5", "d.keras", "e.KERAS"):
        small().save(str(tmp_path / name))
        load_model(str(tmp_path / name))


def test_overwrite(tmp_path):
    path = tmp_path / "model.h5"
    small().save(path, overwrite=False)
    before = path.read_bytes()
    for save in (small(seed=5).save, small(seed=5).save_weights):
        with pytest.raises(ConfigError, match=r"exists and overwrite=False"):
            save(path, overwrite=False)
    assert path.read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="permissions and links of POSIX")
def test_permissions_and_links_stay(tmp_path):
    path, link = tmp_path / "model.h5", tmp_path / "latest.h5"
    small().save(path)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o640)
    link.symlink_to(path.name)
    model = small(seed=5)
    model.save(link)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert same_weights(load_model(path), model)


@pytest.mark.parametrize("filepath", [3, None, b"model.h5", "model\0.h5", ["model.h5"]])
def test_what_is_no_path(filepath):
    model = small()
    calls = {
        "save": model.save,
        "save_weights": model.save_weights,
        "load_weights": model.load_weights,
        "load_model": load_model,
    }
    for method, call in calls.items():
        with pytest.raises(ConfigError) as error:
            call(filepath)
        assert str(error.value) == f"{method}: filepath must be a string or a Path, got {filepath!r}."


def test_a_name_that_is_too_long(tmp_path):
    path = tmp_path / f"{'x' * 300}.h5"
    with pytest.raises(FileFormatError, match=r"x\.h5: cannot be written: File name too long; choose another name\."):
        small().save(path)
    with pytest.raises(FileFormatError, match=r"x\.h5: .*File name too long"):
        load_model(path)


# ---------------------------------------------------------------- what Keras would refuse


def model_of(*layers, name="net"):
    return Sequential([Input((4, 4, 1)), *layers, Flatten()], name=name)


REFUSED = {
    "layer name": (
        lambda: model_of(Conv2D(2, 3, name="first layer")),
        "the layer's name 'first layer' has characters that it refuses; use letters, digits and '_'.",
    ),
    "model name": (
        lambda: model_of(Conv2D(2, 3), name="_net"),
        "the model's name '_net' has characters that it refuses; use letters, digits and '_'.",
    ),
    "leaky_relu": (
        lambda: model_of(Conv2D(2, 3, activation=activations.LeakyRelu(0.125), name="c")),
        "Conv2D 'c' has the activation 'leaky_relu' with parameters {'negative_slope': 0.125}; "
        "use a LeakyReLU(0.125) layer.",
    ),
    "elu": (
        lambda: model_of(Activation(activations.Elu(0.5), name="a")),
        "Activation 'a' has the activation 'elu' with parameters {'alpha': 0.5}; use 'elu' without them.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_keras_would_refuse_is_written_with_a_warning(tmp_path, case):
    make, problem = REFUSED[case]
    model, path = make(), tmp_path / "model.h5"
    with pytest.warns(MinicnnWarning) as warned:
        model.save(path)
    assert [str(w.message) for w in warned] == [f"save: {path} serves minicnn, but Keras fails on it: {problem}"]
    assert warned[0].filename == __file__
    loaded = load_model(path)
    assert loaded.get_config() == model.get_config()
    assert same_weights(loaded, model)
    model.save_weights(path)  # has neither names that Keras opens scopes for nor activations


def test_every_problem_has_its_own_warning(tmp_path):
    model = model_of(Conv2D(2, 3, name="a b"), Conv2D(2, 1, name="ä"), name="my net")
    with pytest.warns(MinicnnWarning) as warned:
        model.save(tmp_path / "model.h5")
    assert len(warned) == 3


def test_what_keras_reads_is_written_without_a_warning(tmp_path):
    class Own(Layer):
        """The caller's own layers and activations are between the caller and Keras."""

        def get_config(self):
            return {**super().get_config(), "activation": {"class_name": "elu", "config": {"alpha": 0.5}}}

        def forward(self, x, run):
            return x, None

    class Cube(activations.Activation):
        def value(self, x):
            return x**3

    layers = Conv2D(2, 3, activation="leaky_relu", name="a.b-c>d_9"), LeakyReLU(0.125, name="_x"), Own()
    model_of(*layers, Dense(2, Cube()), Dense(2, "elu"), name="net.1-a>b_").save(tmp_path / "model.h5")
