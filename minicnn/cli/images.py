"""Image files as a model's input: read, made grey or coloured, padded and resized, and told what was done."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minicnn.cli.errors import ArgumentError, no_such_file
from minicnn.cli.framing import Frame, border, framed
from minicnn.typing import Array

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG")

LONGEST = 4096
"""Pixels of an image's longer side, down to which it is resized before it gets a border."""

BRIGHT = 127.5
"""A border that is brighter than this is taken for paper."""


@dataclass(frozen=True)
class Picture:
    """pixels: (H, W, C) uint8, 0 to 255. changes: what was done to the file's image, in words."""

    pixels: Array
    changes: list[str]


def read_picture(
    path: Path, shape: tuple[int, int, int], invert: bool | None = None, frame: Frame | None = None
) -> Picture:
    """The image in a PNG or JPEG file as a sample of shape (height, width, 1 or 3).

    An image of that size and kind is left as it is. Others are laid on white where they are transparent, made grey or
    RGB, padded with the colour of their border to the shape's proportions, so that nothing is cut off or distorted,
    and resized by averaging.
    invert: swap dark and light; None does so for a grey sample with a bright border: the models at hand know bright
    figures on dark ground, people draw the other way round. frame: where a grey sample's figure is to be; None leaves
    it where it is.
    Raises ArgumentError for a file that is absent or no such image.
    """
    height, width, channels = shape
    image, changes = _convert(_open(path), channels)
    size = image.size
    pixels = np.asarray(image)
    if invert or (invert is None and channels == 1 and np.median(border(pixels)) > BRIGHT):
        pixels = 255 - pixels
        changes.append("inverted")
    if frame is not None and channels == 1:
        figure = framed(pixels, (height, width), frame)
        if figure is not pixels:
            pixels = figure
            changes.append("centred")
    pixels, padded = _resized(pixels, width, height)
    if padded:
        changes.append("padded")
    if size != (width, height):
        changes.append(f"resized from {size[0]}x{size[1]}")
    return Picture(pixels.reshape(shape), changes)


def _open(path: Path) -> Image.Image:
    """The image, decoded, the right way up."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                return ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise no_such_file(path) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ArgumentError(
            f"{path}: has too many pixels, more than {Image.MAX_IMAGE_PIXELS:,}; make it smaller."
        ) from None
    except UnidentifiedImageError:
        raise ArgumentError(
            f"{path}: is no {' or '.join(FORMATS)} image, {_beginning(path)}; give a .png or .jpg file."
        ) from None
    except OSError as error:
        raise ArgumentError(f"{path}: cannot be read as an image ({error.strerror or error}); give another.") from error
    except (SyntaxError, ValueError, EOFError) as error:  # what Pillow raises for damaged files besides OSError
        raise ArgumentError(f"{path}: is damaged ({error}); get it anew.") from error


def _beginning(path: Path) -> str:
    """How the file begins, in words."""
    with path.open("rb") as file:
        start = file.read(8)
    return f"it begins with {start!r}" if start else "it is empty"


def _convert(image: Image.Image, channels: int) -> tuple[Image.Image, list[str]]:
    """The image with that many channels of 8 bits, and what that took."""
    from PIL import Image

    changes = []
    if image.mode.startswith(("I", "F")):  # 16 bits a pixel, grey
        image = _from_pixels((np.asarray(image).astype(np.float64) / 257).clip(0, 255).round().astype(np.uint8))
        changes.append("8 bits from 16")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        changes.append("laid on white")
    grey = image.mode in ("1", "L") or (image.mode in ("RGB", "RGBA") and _is_grey(image))
    if not grey and channels == 1:
        changes.append("made grey")
    if grey and channels == 3:
        changes.append("grey as RGB")
    return image.convert("L" if channels == 1 else "RGB"), changes


def _is_grey(image: Image.Image) -> bool:
    pixels = np.asarray(image)
    return bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())


def _resized(pixels: Array, width: int, height: int) -> tuple[Array, bool]:
    """The whole image in one of that size, and whether it got a border to keep its proportions."""
    from PIL import Image

    high, wide = pixels.shape[:2]
    if (wide, high) == (width, height):
        return pixels, False
    image = _from_pixels(pixels)
    reach = max(wide, high) / LONGEST
    if reach > 1:  # a canvas for all its pixels would take as many squared
        wide, high = max(1, round(wide / reach)), max(1, round(high / reach))
        image = image.resize((wide, high), Image.Resampling.BILINEAR)
    canvas_size = max(wide, round(high * width / height)), max(high, round(wide * height / width))
    if padded := canvas_size != (wide, high):
        ground = np.median(border(pixels), axis=0).astype(int)
        canvas = Image.new(image.mode, canvas_size, tuple(ground.tolist()) if ground.ndim else int(ground))
        canvas.paste(image, ((canvas_size[0] - wide) // 2, (canvas_size[1] - high) // 2))
        image = canvas
    # Bilinear, in Pillow, is a weighted mean of all pixels that a new one covers: none is skipped.
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)), padded


def _from_pixels(pixels: Array) -> Image.Image:
    from PIL import Image

    return Image.fromarray(pixels)
