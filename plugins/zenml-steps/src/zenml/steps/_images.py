"""Encoded images as pixels: one piece of code for snapshots, training and serving.

Everything that decides about a pixel is pinned. An image is upright, as its EXIF orientation says.
Colours become grey by ITU-R 601-2, transparency is dropped and not blended, and of 16 bits of grey
the upper eight are taken. Of several frames the first counts. Sizes change by Pillow's bilinear
filter, which looks at all pixels that become one, in whole numbers and in one thread.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from zenml.core.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Images", "pixels", "why_unreadable"]

#: What decoders are asked for; others start programs, or read other files.
_FORMATS: Final = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
#: An image of more pixels is refused before it is decoded.
_MOST: Final = 1 << 26
#: Numbers of 32 bits, whose white is unknown; and a space that is converted by floating point.
_UNCERTAIN: Final = ("I", "F", "LAB")
_MODES: Final[Mapping[int, str]] = {1: "L", 3: "RGB", 4: "RGBA"}


class Images(NamedTuple):
    """Images that are decoded one at a time, since all of them could be too large for memory.

    Attributes:
        encoded: The bytes of each.
        channels: 1 for grey, 3 for red, green and blue, 4 for these and opacity.
    """

    encoded: pl.Series
    channels: int


class _UnreadableError(Exception):
    """Bytes are no image that can be decoded."""


def why_unreadable(data: bytes) -> str | None:
    """What is wrong with an encoded image; None if it can be decoded. Raises ``DataError``."""
    try:
        _decode(data)
    except _UnreadableError as error:
        return str(error)
    return None


def pixels(images: Images, height: int, width: int, *, resize: bool) -> npt.NDArray[np.float32]:
    """Images as vectors of numbers from 0 to 255: by rows of pixels, and channels within a pixel.

    Args:
        images: The images.
        height: Rows of pixels.
        width: Pixels in a row.
        resize: Whether images of another size are given this one. Otherwise they are refused.

    Returns:
        Images by ``height * width * channels``.

    Raises:
        DataError: an image is missing, cannot be decoded, or is of another size.
    """
    made = np.empty((len(images.encoded), height * width * images.channels), np.float32)
    for place, data in enumerate(images.encoded):
        where = f"column '{images.encoded.name}', row {place + 1}"
        if data is None:
            raise DataError("the image is missing", where=where, remedy="leave the row out")
        try:
            image = _convert(_decode(data), images.channels)
        except _UnreadableError as error:
            raise DataError(
                f"the image cannot be read: it {error}", where=where, remedy="send another one"
            ) from error
        if image.size != (width, height):
            if not resize:
                raise DataError(
                    f"the image is {image.height} pixels high and {image.width} wide, and "
                    f"load_binary_image expects {height} and {width}",
                    where=where,
                    remedy="leave height and width out there, and put image_reshape after it",
                )
            image = _resized(image, height, width)
        made[place] = np.asarray(image, np.uint8).reshape(-1)
    return made


def _decode(data: bytes) -> Image:
    """An image as it is to be looked at. Raises ``_UnreadableError``."""
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise DataError(
            f"a library is missing: {error.name or error}",
            remedy="pip install 'zenml-steps[image]'",
        ) from error
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > _MOST:
                raise _UnreadableError(_too_large(f"{image.width} x {image.height}"))
            image.load()
            upright = ImageOps.exif_transpose(image)
    except (_UnreadableError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _UnreadableError(_too_large("far more")) from error
    except UnidentifiedImageError as error:
        raise _UnreadableError(f"is none of {', '.join(_FORMATS)}") from error
    except Exception as error:  # damaged bytes lead decoders anywhere
        said = str(error) or type(error).__name__
        raise _UnreadableError(f"is damaged or cut off ({said})") from error
    return upright


def _too_large(found: str) -> str:
    return f"has {found} pixels, and at most {_MOST:,} are decoded"


def _convert(image: Image, channels: int) -> Image:
    from PIL import Image

    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in _UNCERTAIN:
        raise _UnreadableError(f"is of mode {image.mode}, which has no exact conversion to colours")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    try:
        return image.convert(_MODES[channels])
    except ValueError as error:
        raise _UnreadableError(f"has colours that cannot be converted ({error})") from error


def _resized(image: Image, height: int, width: int) -> Image:
    from PIL.Image import Resampling

    return image.resize((width, height), Resampling.BILINEAR)
