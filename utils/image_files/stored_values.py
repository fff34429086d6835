"""What an opened picture stores, before it becomes 8-bit colours: bits, values, transparent pixels, pages."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

from ..errors import DataError
from .bit_depth import DeepValues, fit_depth

_PNG_DEPTH = 24  # place of the bit depth in a PNG file
HEADER_BYTES = _PNG_DEPTH + 1
"""How much of a file's start :func:`channel_bits` needs."""
_TIFF_BITS, _TIFF_LARGEST = 258, 281  # tags BitsPerSample and MaxSampleValue
_FULL_RANGE = 65535


def load_pixels(path: str | Path, image: Image.Image) -> None:
    """Decodes an opened picture.

    Raises:
        DataError: it is truncated or damaged; names ``path``.
    """
    try:
        image.load()
    except (OSError, ValueError, SyntaxError, EOFError, IndexError) as error:
        raise DataError(f"{path}: truncated or damaged image ({error})") from error


def channel_bits(image: Image.Image, data: bytes) -> int:
    """Returns the bits of a channel as stored, before the picture is loaded; ``data``: start of a PNG file."""
    if image.format == "PNG":
        return data[_PNG_DEPTH]
    if image.format == "PPM":
        return 16 if _ppm_white(image) > 255 else 8
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(_TIFF_BITS, 1)
        return max(bits) if isinstance(bits, tuple) else int(bits)
    return {"I": 32, "F": 32}.get(image.mode, 16 if ";16" in image.mode else 8)


def page_count(image: Image.Image) -> int:
    """Returns the pages or frames of a file; 1 where their chain is broken, for the first may still be good."""
    try:
        return int(getattr(image, "n_frames", 1))
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, struct.error):
        return 1


def may_be_transparent(image: Image.Image) -> bool:
    """Tells whether a picture has an alpha channel or a transparent colour."""
    return image.getbands()[-1] in ("A", "a") or "transparency" in image.info


def transparent_in(image: Image.Image) -> np.ndarray | None:
    """Returns where the alpha of a loaded picture is 0, (H, W) bool as stored; None: nowhere."""
    if image.getbands()[-1] in ("A", "a"):
        clear = np.asarray(image.getchannel(image.getbands()[-1])) == 0
    elif "transparency" not in image.info:
        return None
    elif image.mode.startswith("I"):
        clear = np.asarray(image) == image.info["transparency"]
    else:
        clear = np.asarray(image.convert("RGBA").getchannel("A")) == 0
    return clear if clear.any() else None


def deep_values(path: str | Path, image: Image.Image, data: bytes) -> DeepValues:
    """Decodes a picture of more than 8 bits per channel that is not loaded yet; ``data``: its file.

    Raises:
        DataError: it is truncated or damaged, or has 32-bit values; names ``path``.
    """
    white = _ppm_white(image) if image.format == "PPM" else _FULL_RANGE
    if image.mode in ("RGB", "RGBA", "LA") and white == _FULL_RANGE:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if values is not None and values.dtype == np.uint16 and values.ndim == 3 and values.shape[2] >= 3:
            return DeepValues(np.ascontiguousarray(values[..., 2::-1]), _declared_bits(image))
    load_pixels(path, image)
    if image.mode.startswith("I;16"):
        return DeepValues(np.asarray(image), _declared_bits(image))
    if image.mode == "I" and image.format == "PPM":
        # Pillow scales by the largest value that the header names; the full range says nothing of the camera.
        return DeepValues(np.asarray(image).astype(np.uint16), scaled=white != _FULL_RANGE)
    if image.mode in ("I", "F"):
        raise DataError(f"{path}: has 32-bit values (mode {image.mode}), expected an 8- or 16-bit image")
    # Of other colours Pillow gives the upper byte.
    return DeepValues(np.array(image.convert("RGB")).astype(np.uint16) * 257, scaled=True)


def _ppm_white(image: Image.Image) -> int:
    """Returns the value of white in the header of a PPM file that is not loaded yet."""
    tile = image.tile[0] if isinstance(image, ImageFile.ImageFile) and image.tile else None
    if tile is not None and isinstance(tile.args, tuple):
        return int(tile.args[1])
    return _FULL_RANGE if image.mode == "I" else 255


def _declared_bits(image: Image.Image) -> int | None:
    """Returns the bits that a TIFF file says its values have, where that is less than its channels hold."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return None
    largest = image.tag_v2.get(_TIFF_LARGEST)
    largest = max(largest, default=0) if isinstance(largest, tuple) else largest
    if isinstance(largest, int) and 0 < largest < _FULL_RANGE:
        return fit_depth(largest)
    bits = channel_bits(image, b"")
    return fit_depth(2**bits - 1) if 8 < bits < 16 else None
