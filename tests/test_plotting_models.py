"""Figures of models and images: what is drawn is what the model computes."""

import itertools

import matplotlib.colors
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from minicnn import Sequential, plotting
from minicnn.errors import ConfigError, DataError, NotBuiltError, ShapeError
from minicnn.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Input,
    MaxPooling2D,
    Softmax,
)
from minicnn.plotting.canvas import mosaic, pictures

RNG = np.random.default_rng(5)
IMAGE = RNG.normal(0, 1, (6, 5, 2))


def model_of(last=None, dtype="float64", kernels="numba", channels=2):
    model = Sequential(
        [
            Input((6, 5, channels)),
            Conv2D(4, 3, padding="same", activation="tanh"),
            BatchNormalization(),
            MaxPooling2D(2),
            Dropout(0.5),
            Flatten(),
            Dense(30, activation="tanh"),
            *(last or [Dense(3, activation="softmax")]),
        ],
        seed=2,
        dtype=dtype,
        kernels=kernels,
    )
    normalization = model.layers[1]
    normalization.state["moving_mean"][...] = [0.1, -0.2, 0.3, 0.0]
    normalization.state["moving_variance"][...] = [0.5, 1.5, 1.0, 2.0]
    return model


def picture_of(axes):
    (image,) = axes.get_images()
    return np.asarray(image.get_array())


# ---------------------------------------------------------------- pictures and tiles


def test_bytes_go_from_0_to_255_and_other_numbers_from_smallest_to_largest():
    np.testing.assert_array_equal(pictures(np.array([[[0, 51, 255]]], np.uint8), "f"), [[[0, 0.2, 1]]])
    np.testing.assert_array_equal(pictures([[[[-1.0], [0.0], [3.0]]]], "f"), [[[0, 0.25, 1]]])
    np.testing.assert_array_equal(pictures(np.full((2, 2, 2, 3), 7.0), "f"), np.zeros((2, 2, 2, 3)))


def test_tiles_stand_in_rows_with_gaps_of_nothing():
    tiles = np.arange(3.0)[:, None, None] * np.ones((1, 24, 24))
    whole = mosaic(tiles, 2)
    assert whole.shape == (50, 50)
    assert (whole[:24, :24] == 0).all()
    assert (whole[:24, 26:] == 1).all()
    assert (whole[26:, :24] == 2).all()
    assert np.isnan(whole[24:26]).all()
    assert np.isnan(whole[:, 24:26]).all()
    assert np.isnan(whole[26:, 26:]).all()


def test_small_tiles_are_enlarged_and_gaps_of_colour_tiles_are_white():
    whole = mosaic(np.array([[[[0.0, 0.5, 1.0], [1.0, 0.0, 0.0]]]]).repeat(2, axis=0), 1)
    assert whole.shape == (12 + 2 + 12, 24, 3)
    np.testing.assert_array_equal(whole[11, 11], [0, 0.5, 1])
    np.testing.assert_array_equal(whole[12], np.ones((24, 3)))
    np.testing.assert_array_equal(whole[14, 12], [1, 0, 0])


# ---------------------------------------------------------------- a grid of images


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def test_a_grid_shows_images_classes_and_probabilities():
    images = RNG.integers(0, 256, (3, 4, 5, 1)).astype(np.uint8)
    probabilities = [[0.9, 0.1], [0.25, 0.75], [0.4, 0.6]]
    figure = plotting.image_grid(images, [[0], [1], [0]], probabilities, ["cat", "dog"], columns=2, title="Pets")
    assert titles(figure) == [
        "true: cat\npredicted: cat, 90%",
        "true: dog\npredicted: dog, 75%",
        "true: cat\npredicted: dog, 60%",
    ]
    colors = [matplotlib.colors.to_hex(axes.title.get_color()) for axes in figure.axes]
    assert colors == ["#000000", "#000000", matplotlib.colors.to_hex("tab:red")]
    assert [axes.title.get_weight() for axes in figure.axes] == ["normal", "normal", "bold"]
    for axes, image in zip(figure.axes, images, strict=True):
        np.testing.assert_array_equal(picture_of(axes), image[..., 0] / 255)
    assert [axes.get_subplotspec().get_geometry()[:2] for axes in figure.axes] == [(2, 2)] * 3
    assert figure.get_suptitle() == "Pets"


def test_a_grid_with_fewer_labels():
    images = np.zeros((2, 3, 3, 3))
    assert titles(plotting.image_grid(images)) == ["", ""]
    assert titles(plotting.image_grid(images, y_true=np.eye(4)[[3, 1]])) == ["true: 3", "true: 1"]
    assert titles(plotting.image_grid(images, y_pred=[1, 0])) == ["predicted: 1", "predicted: 0"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"images": np.zeros((28, 28))},
            ShapeError,
            "image_grid: images must have shape (N, H, W), (N, H, W, 1) or (N, H, W, 3), got (28, 28); "
            "for a single image give x[None].",
        ),
        ({"images": np.zeros((0, 2, 2))}, ShapeError, "image_grid: there are no images to draw; give at least one."),
        (
            {"images": np.zeros((2, 2, 2)), "y_true": [1]},
            ShapeError,
            "image_grid: there are 2 images and y_true has 1; give one each.",
        ),
        (
            {"images": np.zeros((1, 2, 2)), "y_pred": [2], "class_names": ["cat", "dog"]},
            ConfigError,
            "image_grid: class_names has 2 names, but there is a class 2; name every class.",
        ),
        (
            {"images": np.zeros((1, 2, 2)), "columns": 0},
            ConfigError,
            "image_grid: columns must be a positive integer, got 0.",
        ),
        (
            {"images": np.full((1, 2, 2), np.nan)},
            DataError,
            "image_grid: images: holds nan at (0, 0, 0); replace or drop such samples.",
        ),
    ],
)
def test_what_cannot_be_a_grid(arguments, error, message):
    with pytest.raises(error) as caught:
        plotting.image_grid(**arguments)
    assert str(caught.value) == message


# ---------------------------------------------------------------- filters


def kernel_figure(channels, filters, **options):
    layer = Conv2D(filters, (3, 2), name="conv")
    layer(np.zeros((1, 6, 6, channels), np.float32))
    layer.params["kernel"][...] = RNG.normal(0, 1, layer.params["kernel"].shape)
    return layer.params["kernel"], plotting.filters(layer, **options)


def test_filters_of_one_channel_are_tiles_on_one_scale():
    kernel, figure = kernel_figure(1, 6)
    axes = figure.axes[0]
    np.testing.assert_array_equal(picture_of(axes), mosaic(kernel[:, :, 0].transpose(2, 0, 1), 6))
    assert axes.get_images()[0].get_clim() == (-np.abs(kernel).max(), np.abs(kernel).max())
    assert figure.get_suptitle() == "conv: 6 filters, 3x2"


def test_filters_of_three_channels_are_colour_pictures_in_which_grey_is_0():
    kernel, figure = kernel_figure(3, 12, max_filters=10)
    largest = np.abs(kernel[..., :10]).max()
    expected = mosaic(0.5 + kernel[..., :10].transpose(3, 0, 1, 2) / (2 * largest), 5)
    np.testing.assert_array_equal(picture_of(figure.axes[0]), expected)
    assert figure.get_suptitle() == "conv: the first 10 of 12 filters, 3x2, grey is 0"
    assert len(figure.axes) == 1  # no bar of colours


def test_filters_of_many_channels_have_a_row_a_channel():
    kernel, figure = kernel_figure(5, 4, max_channels=2, title="Second layer")
    axes = figure.axes[0]
    tiles = [kernel[:, :, c, f] for c in range(2) for f in range(4)]
    np.testing.assert_array_equal(picture_of(axes), mosaic(np.array(tiles), 4))
    assert (figure.get_suptitle(), axes.get_xlabel(), axes.get_ylabel()) == ("Second layer", "filter", "input channel")


def drawn(figure):
    """Lay the figure out; the box of each axes with its labels, in inches."""
    FigureCanvasAgg(figure).draw()
    return [axes.get_tightbbox().transformed(figure.dpi_scale_trans.inverted()) for axes in figure.axes]


@pytest.mark.parametrize(("channels", "filters"), [(1, 1), (1, 6), (3, 96), (2, 1), (64, 1), (4, 128), (64, 32)])
def test_every_filter_is_large_enough_and_no_label_is_cut_off(channels, filters):
    kernel, figure = kernel_figure(channels, filters, max_filters=128)
    width, height = figure.get_size_inches()
    for box in drawn(figure):
        assert 0 <= box.x0 < box.x1 <= width
        assert 0 <= box.y0 < box.y1 <= height
    axes = figure.axes[0]
    picture = axes.get_images()[0].get_array()
    tile = mosaic(np.zeros((1, *kernel.shape[:2])), 1)
    inches = axes.get_window_extent().width / figure.dpi * tile.shape[1] / picture.shape[1]
    assert inches > 0.1


def test_a_filters_signs_can_be_told_apart_in_print():
    """The map from values to colours goes from dark to light, so that it keeps its order without colours."""
    _, figure = kernel_figure(1, 6)
    red, green, blue, _ = figure.axes[0].get_images()[0].get_cmap()(np.linspace(0, 1, 21)).T
    assert (np.diff(0.299 * red + 0.587 * green + 0.114 * blue) > 0).all()


def test_filters_need_a_convolution_with_weights():
    with pytest.raises(ConfigError) as error:
        plotting.filters(Flatten(name="flat"))
    assert str(error.value) == (
        "filters: takes a Conv2D layer, got <Flatten 'flat'>; find one with model.get_layer(name)."
    )
    with pytest.raises(NotBuiltError) as error:
        plotting.filters(Conv2D(2, 3, name="c"))
    assert str(error.value) == "filters: Conv2D 'c' has no weights yet; build its model first."


# ---------------------------------------------------------------- feature maps


@pytest.mark.parametrize("kernels", ["numba", "numpy"])
def test_layer_outputs_are_what_the_model_computes(kernels):
    model = model_of(kernels=kernels)
    outputs = plotting.layer_outputs(model, IMAGE)
    assert [layer for layer, _ in outputs] == model.layers
    assert [y.shape for _, y in outputs] == [layer.output_shape(layer.input_shape) for layer in model.layers]
    x = IMAGE[None]
    for layer, y in outputs:
        x = layer(x)
        np.testing.assert_allclose(y, x[0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(outputs[-1][1], model.predict(IMAGE[None], verbose=0)[0], rtol=1e-12)


def test_feature_maps_show_every_layer():
    model = model_of()
    figure = plotting.feature_maps(model, IMAGE, max_maps=3, title="Inside")
    outputs = [y for _, y in plotting.layer_outputs(model, IMAGE)]
    assert [axes.get_ylabel().split("\n")[:2] for axes in figure.axes] == [
        ["image", "6x5x2"],
        [model.layers[0].name, "6x5x4, first 3"],
        [model.layers[1].name, "6x5x4, first 3"],
        [model.layers[2].name, "3x2x4, first 3"],
        [model.layers[3].name, "3x2x4, first 3"],
        [model.layers[4].name, "24"],
        [model.layers[5].name, "30"],
        [model.layers[6].name, "3"],
    ]
    np.testing.assert_array_equal(picture_of(figure.axes[0]), mosaic(IMAGE.transpose(2, 0, 1), 3))
    np.testing.assert_array_equal(picture_of(figure.axes[1]), mosaic(outputs[0][..., :3].transpose(2, 0, 1), 3))
    assert figure.axes[1].get_images()[0].get_clim() == (outputs[0].min(), outputs[0].max())
    assert figure.axes[1].get_ylabel().split("\n")[2] == f"{outputs[0].min():.3g} to {outputs[0].max():.3g}"
    np.testing.assert_array_equal(picture_of(figure.axes[6]), outputs[5][None])
    np.testing.assert_array_equal([bar.get_height() for bar in figure.axes[7].patches], outputs[6])
    assert figure.get_suptitle() == "Inside"


@pytest.mark.parametrize("most", [1, 3, 16, 40])
def test_feature_maps_stand_apart_with_their_labels_inside(most):
    figure = plotting.feature_maps(model_of(), IMAGE, max_maps=most)
    boxes = drawn(figure)
    width, height = figure.get_size_inches()
    assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes)
    assert all(upper.y0 >= lower.y1 for upper, lower in itertools.pairwise(boxes))


def test_a_colour_image_is_shown_in_its_colours():
    image = RNG.integers(0, 256, (6, 5, 3)).astype(np.uint8)
    figure = plotting.feature_maps(model_of(channels=3), image, max_maps=2)
    drawn = picture_of(figure.axes[0])
    assert drawn.shape[2] == 3
    stretched = (image - float(image.min())) / (float(image.max()) - float(image.min()))
    np.testing.assert_allclose(drawn[0, 0], stretched[0, 0], rtol=1e-12)


# ---------------------------------------------------------------- saliency


def difference(function, x, h=1e-5):
    """The derivative of function at x, entry by entry, by central differences."""
    result = np.empty_like(x)
    for index in np.ndindex(x.shape):
        values = []
        for sign in (1, -1):
            moved = x.copy()
            moved[index] += sign * h
            values.append(function(moved))
        result[index] = (values[0] - values[1]) / (2 * h)
    return result


LAST = {
    "softmax": lambda: [Dense(3, activation="softmax")],
    "softmax layer": lambda: [Dense(3), Softmax()],
    "activation layer": lambda: [Dense(3), Activation("softmax")],
    "logits": lambda: [Dense(3)],
}


@pytest.mark.parametrize("kernels", ["numba", "numpy"])
@pytest.mark.parametrize("last", LAST)
def test_the_gradient_is_that_of_the_score_before_softmax(last, kernels):
    model = model_of(LAST[last](), kernels=kernels)
    logits = model_of([Dense(3)], kernels=kernels)  # the same seed, the same weights
    before = [array.copy() for array in model.get_weights()]
    for number in range(3):
        gradient = plotting.class_score_gradient(model, IMAGE, number)
        expected = difference(lambda x, k=number: logits.predict(x[None], verbose=0)[0, k], IMAGE)
        assert gradient.shape == IMAGE.shape
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-9)
    for array, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, old)


def test_without_a_number_it_is_the_class_with_the_largest_score():
    model = model_of()
    number = int(model.predict(IMAGE[None], verbose=0).argmax())
    np.testing.assert_array_equal(
        plotting.class_score_gradient(model, IMAGE), plotting.class_score_gradient(model, IMAGE, number)
    )


def test_a_sigmoid_is_left_out_as_well():
    model, logits = model_of([Dense(1, activation="sigmoid")]), model_of([Dense(1)])
    np.testing.assert_array_equal(
        plotting.class_score_gradient(model, IMAGE), plotting.class_score_gradient(logits, IMAGE)
    )


def test_a_frozen_and_trained_model_goes_on_training_as_before():
    """The figure in between changes nothing of the training that follows."""
    x, y = RNG.normal(0, 1, (8, 6, 5, 2)), RNG.integers(0, 3, 8)
    models = [model_of(), model_of()]
    for model in models:
        model.layers[0].trainable = False
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x, y, batch_size=4, verbose=0)
    plotting.class_score_gradient(models[0], IMAGE, 1)
    plotting.feature_maps(models[0], IMAGE)
    for model in models:
        model.fit(x, y, batch_size=4, verbose=0)
    for left, right in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_saliency_map_shows_image_and_strength():
    model = model_of(channels=3, dtype="float32")
    image = RNG.integers(0, 256, (6, 5, 3)).astype(np.uint8)
    probabilities = model.predict(image[None], verbose=0)[0]
    names = ["cat", "dog", "emu"]
    figure = plotting.saliency_map(model, image, 2, names, title="Why?")
    left, right, bar = figure.axes
    np.testing.assert_array_equal(picture_of(left), image / 255)
    gradient = plotting.class_score_gradient(model, image, 2)
    np.testing.assert_array_equal(picture_of(right), np.abs(gradient).max(axis=2))
    number = probabilities.argmax()
    assert left.get_title() == f"predicted: {names[number]}, {probabilities[number]:.1%}"
    assert right.get_title() == "what moves the score of: emu"
    assert bar.get_ylabel() == "|∂score / ∂pixel|"
    assert figure.get_suptitle() == "Why?"


@pytest.mark.parametrize("bias", [-9.0, 9.0])
def test_a_lone_sigmoid_is_the_probability_of_class_1(bias):
    model = model_of([Dense(1, activation="sigmoid")], channels=3)
    model.layers[-1].params["bias"][...] = bias
    image = np.zeros((6, 5, 3))
    p = model.predict(image[None], verbose=0)[0, 0]
    number, gradient = int(bias > 0), np.abs(plotting.class_score_gradient(model, image)).max(axis=2)
    left, right, _ = plotting.saliency_map(model, image, class_names=["cat", "dog"]).axes
    assert left.get_title() == f"predicted: {['cat', 'dog'][number]}, {max(p, 1 - p):.1%}"
    assert right.get_title() == f"what moves the score of: {['cat', 'dog'][number]}"
    np.testing.assert_array_equal(picture_of(right), gradient)
    for asked in (0, 1):
        _, right, _ = plotting.saliency_map(model, image, asked, ["cat", "dog"]).axes
        assert right.get_title() == f"what moves the score of: {['cat', 'dog'][asked]}"
        np.testing.assert_array_equal(picture_of(right), gradient)


def test_outputs_that_are_no_probabilities_are_shown_as_they_are():
    model = model_of([Dense(3)], channels=3)
    output = model.predict(np.zeros((1, 6, 5, 3)), verbose=0)[0]
    title = plotting.saliency_map(model, np.zeros((6, 5, 3))).axes[0].get_title()
    assert title == f"predicted: {output.argmax()}, {output.max():.3g}"


@pytest.mark.parametrize("function", [plotting.layer_outputs, plotting.class_score_gradient])
def test_one_image_with_or_without_the_batch_and_the_channel(function):
    model = model_of(channels=1)
    image = RNG.normal(0, 1, (6, 5))
    results = [function(model, x) for x in (image, image[..., None], image[None, :, :, None])]
    arrays = [r if isinstance(r, np.ndarray) else r[-1][1] for r in results]
    np.testing.assert_array_equal(arrays[0], arrays[1])
    np.testing.assert_array_equal(arrays[0], arrays[2])


UNBUILT = Sequential([Dense(3)], name="unbuilt")
MAPS = Sequential([Input((4, 4, 3)), Conv2D(2, 3)], name="maps")
TWO_CHANNELS = Sequential([Input((4, 4, 2)), Flatten(), Dense(2)], name="two")
WHOLE = Sequential([Input((4, 4, 3)), Conv2D(2, 3), GlobalAveragePooling2D()], name="whole", seed=0)


@pytest.mark.parametrize(
    ("function", "arguments", "error", "message"),
    [
        (
            plotting.saliency_map,
            ("model.h5", np.zeros((4, 4, 3))),
            ConfigError,
            "saliency_map: the first argument must be a model, got 'model.h5'; make a Sequential.",
        ),
        (
            plotting.feature_maps,
            (UNBUILT, np.zeros(4)),
            NotBuiltError,
            "feature_maps: Sequential 'unbuilt' has no weights yet; give the first layer input_shape=..., "
            "or call build.",
        ),
        (
            plotting.feature_maps,
            (WHOLE, np.zeros((2, 4, 4, 3))),
            ShapeError,
            "feature_maps: image must be one sample of shape (4, 4, 3), got (2, 4, 4, 3); give x[k].",
        ),
        (
            plotting.class_score_gradient,
            (WHOLE, [["a"]]),
            DataError,
            "class_score_gradient: image: holds <U1 values, got list; give an array of real numbers.",
        ),
        (
            plotting.class_score_gradient,
            (MAPS, np.zeros((4, 4, 3))),
            ShapeError,
            "class_score_gradient: Sequential 'maps' gives outputs (None, 2, 2, 2), not a score for each class; "
            "end it with Dense.",
        ),
        (
            plotting.class_score_gradient,
            (WHOLE, np.zeros((4, 4, 3)), 2),
            ConfigError,
            "class_score_gradient: class_number must be an integer from 0 to 1, got 2.",
        ),
        (
            plotting.saliency_map,
            (WHOLE, np.zeros((4, 4, 3)), -1),
            ConfigError,
            "saliency_map: class_number must be an integer from 0 to 1, got -1.",
        ),
        (
            plotting.saliency_map,
            (WHOLE, np.zeros((4, 4, 3)), 1, ["one"]),
            ConfigError,
            "saliency_map: class_names has 1 names, but there is a class 1; name every class.",
        ),
        (
            plotting.saliency_map,
            (TWO_CHANNELS, np.zeros((4, 4, 2))),
            ShapeError,
            "saliency_map: draws images of one or three channels, Sequential 'two' takes (None, 4, 4, 2); "
            "class_score_gradient gives the numbers.",
        ),
    ],
)
def test_what_cannot_be_shown(function, arguments, error, message):
    with pytest.raises(error) as caught:
        function(*arguments)
    assert str(caught.value) == message


def test_all_can_be_saved(tmp_path):
    model = model_of(channels=1)
    figures = {
        "grid": plotting.image_grid(np.zeros((2, 6, 5)), [0, 1], [1, 1]),
        "filters": plotting.filters(model.layers[0]),
        "maps": plotting.feature_maps(model, IMAGE[..., 0]),
        "saliency": plotting.saliency_map(model, IMAGE[..., 0]),
    }
    for name, figure in figures.items():
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
