"""The one place where image files are opened: pixel limit from the header, EXIF rule, colour conversion, clear errors.

The header is read with Pillow, never more; pixels of plain 8-bit JPEG and PNG files come from OpenCV (1.5 to 2 times
faster), all others, and every file OpenCV refuses, from Pillow, whose message then says what is wrong.
"""

from __future__ import annotations

import io
import threading
import warnings
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from .errors import DataError
from .files import atomic_write
from .image_files.bit_depth import AUTO, DeepValues, DepthReport, report_depth, to_8_bit
from .image_files.stored_values import (
    HEADER_BYTES,
    channel_bits,
    deep_values,
    load_pixels,
    may_be_transparent,
    page_count,
    transparent_in,
)

MAX_PIXELS = 200_000_000
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})

# Pillow chooses a parser by content; only these few may be tried (a camera's MPO file opens as JPEG).
_FORMATS = ("JPEG", "PNG", "BMP", "PPM", TiffImagePlugin.TiffImageFile.format, WebPImagePlugin.WebPImageFile.format)
_EXIF_ORIENTATION = 0x0112
# Differences to the row above: label maps are written twice as fast as with the usual choice of filter per row, read
# 1.2 times as fast, and come out no larger; photographs 3 % larger.
_PNG_OPTIONS = [
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT),
]
_BOMB_LOCK = threading.Lock()

# OpenCV's own complaints name no file; ours follow, with the path.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS, bit_depth: str = AUTO) -> np.ndarray:
    """Reads a photograph as it is meant to be seen.

    The EXIF orientation is applied; grey, palette, alpha, CMYK and 16-bit images become 8-bit RGB. Alpha is dropped; of
    several pages or frames the first is read.

    Args:
        path: JPEG, PNG, BMP, WebP, TIFF or PPM file.
        max_pixels: larger images are refused before they are decoded.
        bit_depth: INPUT.BIT_DEPTH: how values of more than 8 bits become 0..255, see ``image_files/bit_depth.py``.

    Returns:
        (H, W, 3) uint8 RGB, 0..255, writable.

    Raises:
        DataError: the file is missing, empty, truncated, no image, or too large; a value exceeds ``bit_depth``; names
            the path.
    """
    path = Path(path)
    return decode_image(_read_bytes(path), path, max_pixels, bit_depth)


def decode_image(data: bytes, name: str | Path, max_pixels: int = MAX_PIXELS, bit_depth: str = AUTO) -> np.ndarray:
    """Returns what :func:`read_image` does, from the content of a file.

    Args:
        data: the file's bytes.
        name: stands in error messages.
        max_pixels: as :func:`read_image`.
        bit_depth: as :func:`read_image`.
    """
    header = _header(name, io.BytesIO(data), max_pixels)
    orientation = _orientation(header)
    array = None
    if channel_bits(header, data) > 8:
        array = _repeat_grey(to_8_bit(deep_values(name, header, data), name, bit_depth))
    elif header.mode in ("RGB", "L") and header.format in ("JPEG", "PNG"):
        array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if array is None:
        array = _decode_rgb(name, header)
    return _orient(array, orientation)


def to_rgb(
    image: str | Path | Image.Image | np.ndarray, max_pixels: int = MAX_PIXELS, bit_depth: str = AUTO
) -> np.ndarray:
    """Returns a picture, in whatever form a program holds it, as :func:`read_image` returns a file.

    Args:
        image: path; Pillow image (EXIF orientation applied, every mode that files have); or array (H, W), (H, W, 1),
            (H, W, 3) RGB or (H, W, 4) RGBA, of uint8 0..255 or uint16 0..65535.
        max_pixels: larger images are refused.
        bit_depth: as :func:`read_image`.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: it cannot be read, has no pixels or too many, or the array is no picture.
    """
    if isinstance(image, (str, Path)):
        return read_image(image, max_pixels, bit_depth)
    if isinstance(image, Image.Image):
        _check_pixels("image", *image.size, max_pixels)
        if 0 in image.size:
            raise DataError("image: the Pillow image has no pixels")
        return _orient(_decode_rgb("image", image, bit_depth), _orientation(image))
    return _array_to_rgb(image, max_pixels, bit_depth)


def _array_to_rgb(array: np.ndarray, max_pixels: int, bit_depth: str) -> np.ndarray:
    expected = "expected (H, W, 3) RGB of uint8, 0..255"
    if not isinstance(array, np.ndarray) or array.dtype not in (np.uint8, np.uint16):
        found = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise DataError(f"image: found {found}, {expected}, a path or a Pillow image")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or array.size == 0:
        raise DataError(f"image: found an array of shape {array.shape}, {expected}")
    _check_pixels("image", array.shape[1], array.shape[0], max_pixels)
    if array.dtype == np.uint16:
        array = to_8_bit(DeepValues(array[..., :3] if array.ndim == 3 else array), "image", bit_depth)
    if array.ndim == 2 or array.shape[2] == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(array[..., :3])


def read_label(path: str | Path, max_pixels: int = MAX_PIXELS, void: int = 0) -> np.ndarray:
    """Reads an annotation picture without changing its values.

    A palette image gives its indices, the EXIF orientation is applied as for photographs. What a transparent pixel
    holds, nobody has seen: it counts as unlabelled.

    Args:
        path: the file.
        max_pixels: larger images are refused.
        void: value, in each channel, of pixels with alpha 0.

    Returns:
        (H, W) uint8, uint16 or int32 for one-channel files, (H, W, 3) uint8 RGB for colour files.

    Raises:
        DataError: as :func:`read_image`.
    """
    path = Path(path)
    data, header = _open(path, max_pixels)
    orientation = _orientation(header)
    array = _plain_png(data, header)
    if array is None:
        load_pixels(path, header)
        clear = transparent_in(header)
        if header.mode in ("RGBA", "CMYK", "YCbCr", "RGBX"):
            header = header.convert("RGB")
        elif header.mode in ("LA", "1"):
            header = header.convert("L")
        array = np.array(header)
        if clear is not None:
            array = array if void <= np.iinfo(array.dtype).max else array.astype(np.int32)
            array[clear] = void
    return _orient(array, orientation)


def read_color_label(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads an annotation picture as the colours it shows (palette and grey images included; transparent: black).

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: as :func:`read_image`; also for 16-bit files, whose values are not colours.
    """
    path = Path(path)
    data, header = _open(path, max_pixels)
    if header.mode not in ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "YCbCr"):
        raise DataError(f"{path}: has mode {header.mode}, expected 8-bit colours (save the mask as an 8-bit RGB PNG)")
    orientation = _orientation(header)
    array = _plain_png(data, header)
    if array is None:
        array = _decode_rgb(path, header)
        clear = transparent_in(header)
        if clear is not None:
            array[clear] = 0
    return _orient(array, orientation)


def transparent_pixels(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray | None:
    """Returns where an annotation picture has alpha 0, (H, W) bool; None: nowhere, which most headers tell.

    Raises:
        DataError: as :func:`read_image`.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            image = _header(path, file, max_pixels)
            if not may_be_transparent(image):
                return None
            orientation = _orientation(image)
            load_pixels(path, image)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    clear = transparent_in(image)
    return None if clear is None else _orient(clear, orientation)


def read_depth(path: str | Path, max_pixels: int = MAX_PIXELS) -> DepthReport | None:
    """Says how a photograph of more than 8 bits per channel is read under INPUT.BIT_DEPTH auto; None: it has 8.

    Raises:
        DataError: as :func:`read_image`.
    """
    path = Path(path)
    data = _read_bytes(path)
    header = _header(path, io.BytesIO(data), max_pixels)
    return report_depth(deep_values(path, header, data)) if channel_bits(header, data) > 8 else None


class ImageHeader(NamedTuple):
    """What a header says.

    Attributes:
        height: displayed, after the EXIF rotation.
        width: displayed.
        mode: Pillow's.
        format: Pillow's.
        orientation: EXIF, 1..8.
        bits: depth of a channel.
        pages: pages or frames of the file, of which the first is read.
    """

    height: int
    width: int
    mode: str
    format: str
    orientation: int
    bits: int
    pages: int


def read_image_header(path: str | Path, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Reads an image's header, no pixels.

    Raises:
        DataError: the file is missing, no image, or larger than ``max_pixels``.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            image = _header(path, file, max_pixels)
            width, height = image.size
            orientation = _orientation(image)
            mode = image.mode
            file.seek(0)
            bits = channel_bits(image, file.read(HEADER_BYTES))
            pages = page_count(image)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if orientation >= 5:
        height, width = width, height
    return ImageHeader(height, width, mode, str(image.format), orientation, bits, pages)


def image_size(path: str | Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Returns (height, width) after the EXIF rotation, from the header alone; errors as :func:`read_image_header`."""
    return read_image_header(path, max_pixels)[:2]


def encode_png(array: np.ndarray, compress: int = 1) -> bytes:
    """Returns the PNG file of an (H, W) uint8/uint16 or (H, W, 3) uint8 RGB array.

    Args:
        array: pixels.
        compress: zlib level, 0 (fast) to 9 (small).

    Raises:
        ValueError: for another shape or dtype.
    """
    color = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
    if not color and not (array.ndim == 2 and array.dtype in (np.uint8, np.uint16)):
        raise ValueError(f"a PNG needs (H, W) uint8/uint16 or (H, W, 3) uint8, not {array.shape} {array.dtype}")
    pixels = np.ascontiguousarray(array[..., ::-1] if color else array)
    done, data = cv2.imencode(".png", pixels, [*_PNG_OPTIONS, cv2.IMWRITE_PNG_COMPRESSION, compress])
    if not done:
        raise ValueError(f"OpenCV cannot encode {array.shape} {array.dtype} as PNG")
    return data.tobytes()


def write_png(path: str | Path, array: np.ndarray, compress: int = 1) -> None:
    """Writes a PNG file atomically; arguments as :func:`encode_png`."""
    data = encode_png(array, compress)
    with atomic_write(path) as file:
        file.write(data)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: no system has such a name
        raise _unreadable(path, error) from error


def _open(path: Path, max_pixels: int) -> tuple[np.ndarray, Image.Image]:
    """Returns the file's bytes (uint8) and the lazily opened image over them."""
    data = _read_bytes(path)
    return np.frombuffer(data, np.uint8), _header(path, io.BytesIO(data), max_pixels)


def _header(path: str | Path, file: BinaryIO, max_pixels: int) -> Image.Image:
    try:
        with _BOMB_LOCK, warnings.catch_warnings():
            # Our own limit stands in for Pillow's, which is a global variable.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                header = Image.open(file, formats=_FORMATS)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: {_not_an_image(file)}") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path}: unreadable image ({error})") from error
    _check_pixels(path, *header.size, max_pixels)
    return header


def _check_pixels(name: str | Path, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise DataError(
            f"{name}: {width} x {height} = {width * height} pixels, the limit is {max_pixels} "
            "(scale the image down, or raise the limit: INPUT.MAX_PIXELS)"
        )


def _not_an_image(file: BinaryIO) -> str:
    file.seek(0)
    start = file.read(40)
    if not start:
        return "the file is empty"
    known = "JPEG, PNG, BMP, WebP, TIFF or PPM"
    if start.startswith(b"version https://git-lfs"):
        return f"a Git LFS pointer, not the image itself (run `git lfs pull`); expected {known}"
    return f"no image; expected {known}, found a file that begins with {start[:16]!r}"


def _unreadable(path: Path, error: OSError | ValueError) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: no such image file")
    if isinstance(error, IsADirectoryError):
        return DataError(f"{path}: is a folder, expected an image file")
    return DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})")


def _plain_png(data: np.ndarray, header: Image.Image) -> np.ndarray | None:
    """Decodes a colour PNG without transparency, (H, W, 3) uint8 RGB; None for other files and damaged ones."""
    if header.mode != "RGB" or header.format != "PNG" or may_be_transparent(header):
        return None
    return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)


def _decode_rgb(path: str | Path, image: Image.Image, bit_depth: str = AUTO) -> np.ndarray:
    if image.mode.startswith(("I", "F")):
        return _repeat_grey(to_8_bit(deep_values(path, image, b""), path, bit_depth))
    load_pixels(path, image)
    return np.array(image.convert("RGB"))


def _repeat_grey(array: np.ndarray) -> np.ndarray:
    """Returns (H, W) as (H, W, 3), and (H, W, 3) as it is."""
    return array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation 1..8; 1 where it is absent or broken."""
    try:
        # Pillow's PNG reader would decode the whole picture here, to look for a chunk behind the pixels.
        exif = Image.Image.getexif(image) if image.format == "PNG" else image.getexif()
        value = exif.get(_EXIF_ORIENTATION, 1)
    except Exception:  # Pillow's EXIF parser raises many kinds of errors on broken tags; the pixels are still good.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _orient(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turns stored pixels into displayed ones (EXIF 2.3, tag 0x0112)."""
    if orientation == 1:
        return array
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return np.ascontiguousarray(array)
