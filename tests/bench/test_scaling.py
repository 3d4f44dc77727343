"""bench/scaling.py: how models are changed, and what is compared with what."""

import pytest
from scaling import relative, resized, table, widened

from minicnn import applications
from minicnn.models import Sequential

CONFIG = applications.build("lenet5", seed=0).get_config()


def test_other_images_keep_the_layers():
    model = Sequential.from_config(resized(CONFIG, 40))
    assert model.input_shape == (None, 40, 40, 1)
    assert [type(layer).__name__ for layer in model.layers] == [
        type(layer).__name__ for layer in Sequential.from_config(CONFIG).layers
    ]
    assert Sequential.from_config(CONFIG).input_shape == (None, 28, 28, 1)


def test_wider_models_keep_their_classes():
    model = Sequential.from_config(widened(CONFIG, 2))
    sizes = [w.shape[-1] for w in model.get_weights() if w.ndim > 1]
    assert sizes == [12, 32, 240, 168, 10]


MEASURED = [
    {"value": 1, "pixels": 100, "flops": 10, "train": 2.0, "predict": 1.0},
    {"value": 2, "pixels": 400, "flops": 40, "train": 4.0, "predict": 4.0},
]


@pytest.mark.parametrize(
    ("axis", "train", "predict"),
    [
        ("batch", [1, 2], [1, 4]),
        ("image", [2, 1], [1, 1]),
        ("channels", [2, 1], [1, 1]),
        ("threads", [1, 0.5], [1, 0.25]),
    ],
)
def test_relative(axis, train, predict):
    assert relative(axis, MEASURED, "train") == pytest.approx(train)
    assert relative(axis, MEASURED, "predict") == pytest.approx(predict)


def test_the_table():
    lines = table("batch", [{**point, "train": point["train"] / 1e6} for point in MEASURED]).splitlines()
    assert lines[0].startswith("| batch size | train, µs an image | time, relative to the best |")
    assert lines[2].startswith("| 1 | 2.00 | 1.00 |")
