"""Automatic names are Keras's."""

import pytest

from minicnn import naming


@pytest.mark.parametrize(
    ("class_name", "expected"),
    [
        ("Conv2D", "conv2d"),
        ("MaxPooling2D", "max_pooling2d"),
        ("GlobalAveragePooling2D", "global_average_pooling2d"),
        ("ZeroPadding2D", "zero_padding2d"),
        ("ReLU", "re_lu"),
        ("LeakyReLU", "leaky_re_lu"),
        ("BatchNormalization", "batch_normalization"),
        ("InputLayer", "input_layer"),
        ("Dense", "dense"),
        ("Sequential", "sequential"),
        ("SGD", "sgd"),
        ("RMSprop", "rm_sprop"),
        ("AdamW", "adam_w"),
        ("L1L2", "l1l2"),
        ("ResNet50Block", "res_net50_block"),
        ("Conv2DTranspose", "conv2d_transpose"),
        ("MyConv2DBlock", "my_conv2d_block"),
        ("GlorotUniform", "glorot_uniform"),
        ("CategoricalCrossentropy", "categorical_crossentropy"),
    ],
)
def test_snake_case(class_name, expected):
    assert naming.snake_case(class_name) == expected


def test_each_class_is_counted_by_itself_from_no_number_on():
    naming.reset()
    names = [naming.automatic_name(name) for name in ("Dense", "Conv2D", "Dense", "Dense", "Conv2D")]
    assert names == ["dense", "conv2d", "dense_1", "dense_2", "conv2d_1"]
    naming.reset()
    assert naming.automatic_name("Dense") == "dense"
