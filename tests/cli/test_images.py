"""Image files as a model's input: what is read, how it is changed, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from minicnn.cli.errors import ArgumentError
from minicnn.cli.framing import FRAMES, framed
from minicnn.cli.images import read_picture
from minicnn.datasets import digits

GREY, COLOUR = (28, 28, 1), (32, 32, 3)
RNG = np.random.default_rng(0)


@pytest.fixture
def save(tmp_path):
    """save(pixels or image, name) writes a file and returns its path."""

    def write(image, name="image.png", **options):
        path = tmp_path / name
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
        return path

    return write


def dark(*shape):
    """Random pixels with a dark border."""
    pixels = RNG.integers(0, 256, shape, np.uint8)
    pixels[[0, -1]] = pixels[:, [0, -1]] = 0
    return pixels


@pytest.mark.parametrize(("shape", "size"), [(GREY, (28, 28)), (COLOUR, (32, 32, 3))])
def test_what_fits_is_left_as_it_is(save, shape, size):
    pixels = dark(*size)
    picture = read_picture(save(pixels), shape)
    np.testing.assert_array_equal(picture.pixels, pixels.reshape(shape))
    assert picture.pixels.dtype == np.uint8
    assert picture.changes == []


def test_grey_in_three_channels_is_grey(save):
    pixels = dark(28, 28)
    picture = read_picture(save(np.dstack([pixels] * 3)), GREY)
    np.testing.assert_array_equal(picture.pixels[..., 0], pixels)
    assert picture.changes == []


def test_colour_is_made_grey_and_grey_colour(save):
    red = np.zeros((28, 28, 3), np.uint8)
    red[5:20, 5:20, 0] = 200
    picture = read_picture(save(red), GREY)
    assert picture.changes == ["made grey"]
    assert set(np.unique(picture.pixels)) == {0, 60}  # 0.299 of red: ITU-R 601
    picture = read_picture(save(dark(32, 32)), COLOUR)
    assert picture.changes == ["grey as RGB"]
    assert (picture.pixels[..., 0] == picture.pixels[..., 2]).all()


def test_a_bright_border_means_ink_on_paper(save):
    pixels = dark(28, 28)
    path = save(255 - pixels)
    picture = read_picture(path, GREY)
    np.testing.assert_array_equal(picture.pixels[..., 0], pixels)
    assert picture.changes == ["inverted"]
    np.testing.assert_array_equal(read_picture(path, GREY, invert=False).pixels[..., 0], 255 - pixels)
    np.testing.assert_array_equal(read_picture(save(pixels), GREY, invert=True).pixels[..., 0], 255 - pixels)


def test_colour_images_are_not_inverted_unasked(save):
    white = np.full((32, 32, 3), 255, np.uint8)
    assert read_picture(save(white), COLOUR).pixels.min() == 255
    assert read_picture(save(white), COLOUR, invert=True).pixels.max() == 0


def test_sixteen_bits(save):
    pixels = dark(28, 28)
    picture = read_picture(save(pixels.astype(np.uint16) * 257), GREY)
    np.testing.assert_array_equal(picture.pixels[..., 0], pixels)
    assert picture.changes == ["8 bits from 16"]


def test_transparency_is_paper(save):
    image = np.zeros((28, 28, 4), np.uint8)
    image[10:18, 10:18, 3] = 255  # black ink on nothing
    picture = read_picture(save(image), GREY)
    assert picture.changes == ["laid on white", "inverted"]
    expected = np.zeros((28, 28))
    expected[10:18, 10:18] = 255
    np.testing.assert_array_equal(picture.pixels[..., 0], expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("shape", [GREY, COLOUR])
def test_every_kind_of_png(save, mode, shape):
    assert read_picture(save(Image.new(mode, (40, 30))), shape).pixels.shape == shape


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_every_kind_of_jpeg(save, mode):
    assert read_picture(save(Image.new(mode, (40, 30)), "image.jpg"), COLOUR).pixels.shape == COLOUR


def test_the_name_does_not_tell_the_format(save):
    pixels = dark(28, 28)
    path = save(pixels).rename(save(pixels, "other.png").with_suffix(".dat"))
    np.testing.assert_array_equal(read_picture(path, GREY).pixels[..., 0], pixels)


def test_resizing_takes_the_mean_of_what_a_pixel_covers(save):
    small = np.zeros((28, 28), np.uint8)
    small[8:20, 8:20] = 100
    picture = read_picture(save(np.kron(small, np.ones((4, 4), np.uint8))), GREY)
    assert picture.changes == ["resized from 112x112"]
    inner = picture.pixels[10:18, 10:18, 0]
    np.testing.assert_array_equal(inner, 100)
    assert abs(int(picture.pixels.sum()) - int(small.sum())) < 0.01 * small.sum()


def test_other_proportions_are_padded_with_the_border(save):
    wide = np.full((20, 80, 3), (10, 200, 30), np.uint8)
    picture = read_picture(save(wide), COLOUR)
    assert picture.changes == ["padded", "resized from 80x20"]
    assert (picture.pixels == (10, 200, 30)).all()
    tall = np.zeros((80, 20), np.uint8)
    tall[30:50, 5:15] = 255
    picture = read_picture(save(tall), GREY)
    columns = np.flatnonzero(picture.pixels[..., 0].max(axis=0) > 127)
    assert (columns[0] + columns[-1] + 1) / 2 == 14  # still in the middle, and not stretched
    assert len(columns) < 6


def test_a_strip_of_any_length_is_padded(save):
    """Its canvas at full size would have 3.6e9 pixels."""
    pixels = np.zeros((40, 60_000), np.uint8)
    pixels[10:30, 20_000:40_000] = 255
    picture = read_picture(save(pixels), GREY)
    assert picture.changes == ["padded", "resized from 60000x40"]
    inside = picture.pixels[13:15, :, 0].max(axis=0)
    assert (inside[10:18] > 0).all()
    assert (inside[:9] == 0).all()
    assert (inside[19:] == 0).all()
    assert (np.delete(picture.pixels, [13, 14], axis=0) == 0).all()


def test_a_turned_photograph_is_turned_back(save):
    pixels = dark(28, 28)
    exif = Image.Exif()
    exif[0x0112] = 3  # orientation: upside down
    picture = read_picture(save(pixels[::-1, ::-1], exif=exif), GREY)
    np.testing.assert_array_equal(picture.pixels[..., 0], pixels)


def test_what_is_no_image(save, tmp_path):
    whole = save(RNG.integers(0, 256, (50, 50), np.uint8)).read_bytes()
    cases = {
        "absent.png": (None, "no such file; check the name and the folder "),
        "text.png": (b"hello", "is no PNG or JPEG image, it begins with b'hello'; give a .png or .jpg file."),
        "empty.png": (b"", "is no PNG or JPEG image, it is empty; give a .png or .jpg file."),
        "cut.png": (whole[:700], "cannot be read as an image (image file is truncated"),
        "head.png": (whole[:20], "cannot be read as an image (Truncated File Read); give another."),
    }
    for name, (content, message) in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ArgumentError) as error:
            read_picture(tmp_path / name, GREY)
        assert str(error.value).startswith(f"{tmp_path / name}: {message}")
    with pytest.raises(ArgumentError, match=r"cannot be read as an image \("):
        read_picture(tmp_path, GREY)
    with pytest.raises(ArgumentError, match="is no PNG or JPEG image"):
        read_picture(save(Image.new("L", (9, 9)), "image.gif"), GREY)


def test_a_bomb_is_refused(save, monkeypatch):
    path = save(Image.new("1", (200, 200)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30_000)
    with pytest.raises(ArgumentError, match="has too many pixels"):
        read_picture(path, GREY)


def test_flipped_bytes_are_refused_or_read(save, tmp_path):
    for name in ("image.png", "image.jpg"):
        whole = save(RNG.integers(0, 256, (30, 30), np.uint8), name).read_bytes()
        for _ in range(150):
            damaged = bytearray(whole)
            for place in RNG.integers(0, len(whole), 3):
                damaged[place] ^= int(RNG.integers(1, 256))
            (tmp_path / "damaged").write_bytes(damaged)
            try:
                picture = read_picture(tmp_path / "damaged", GREY)
            except ArgumentError:
                continue
            assert picture.pixels.shape == GREY


# ---------------------------------------------------------------- where the figure stands


def bar(field, rows, columns, value=255):
    pixels = np.zeros(field, np.uint8)
    pixels[rows, columns] = value
    return pixels


def test_a_figure_is_fitted_and_its_centre_of_mass_is_central():
    ell = bar((100, 200), slice(10, 50), slice(150, 155)) | bar((100, 200), slice(45, 50), slice(150, 170))
    found = framed(ell, (28, 28), FRAMES["mnist"])
    rows, columns = (np.flatnonzero((found > 50).any(axis=axis)) for axis in (1, 0))
    assert rows[-1] - rows[0] + 1 == 20
    assert 9 <= columns[-1] - columns[0] + 1 <= 10
    weights = found / found.sum()
    centre = [(np.indices(found.shape)[axis] + 0.5).ravel() @ weights.ravel() for axis in (0, 1)]
    assert np.abs(np.array(centre) - 14).max() <= 0.6  # it moves by whole pixels


def test_a_grey_ground_is_taken_away_and_faint_ink_made_full():
    pixels = np.full((100, 100), 40, np.uint8)
    pixels[20:60, 30:40] = 140
    found = framed(pixels, (28, 28), FRAMES["mnist"])
    assert (found.min(), found.max()) == (0, 255)
    assert (found[0] == 0).all()


@pytest.mark.parametrize("name", ["mnist", "digits"])
def test_what_stands_in_the_frame_stays(name):
    frame = FRAMES[name]
    start = (28 - frame.box) // 2
    pixels = bar((28, 28), slice(start, start + frame.box), slice(12, 16), 200)
    assert framed(pixels, (28, 28), frame) is pixels


@pytest.mark.parametrize("pen", [1, 4])
@pytest.mark.parametrize("name", ["mnist", "digits"])
def test_a_thinly_drawn_figure_is_seen(name, pen):
    """A 7 of a thousand pixels: averaged down to the frame, its strokes are a hundredth as bright."""
    seven = bar((1200, 1200), slice(100, 100 + pen), slice(300, 800))
    for row in range(100, 1100):
        seven[row, (column := 800 - (row - 100) // 2) : column + pen] = 255
    found = framed(seven, (28, 28), FRAMES[name])
    assert found.max() == 255
    rows = np.flatnonzero((found > 50).any(axis=1))
    assert abs(rows[-1] - rows[0] + 1 - FRAMES[name].box) <= 2


def test_nothing_to_frame():
    empty = np.full((50, 50), 7, np.uint8)
    assert framed(empty, (28, 28), FRAMES["mnist"]) is empty


@pytest.mark.parametrize("field", [(1, 1), (1, 90), (90, 1), (3, 500), (28, 28)])
@pytest.mark.parametrize("name", ["mnist", "digits"])
def test_any_field(field, name):
    pixels = np.zeros(field, np.uint8)
    pixels[field[0] // 2, field[1] // 2] = 255
    found = framed(pixels, (28, 28), FRAMES[name])
    assert found is pixels or found.shape == (28, 28)


def test_most_digits_are_in_their_own_frame():
    (x, _), _ = digits.load_data()
    same = [framed(image, (28, 28), FRAMES["digits"]) is image for image in x]
    assert np.mean(same) > 0.9
