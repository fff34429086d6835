"""Label maps of public data sets: files of one value per pixel, and what the values mean."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...utils.errors import DataError
from ...utils.image_io import MAX_PIXELS, read_label

UNLABELLED = 255
"""Value of a semantic map, after decoding, that means: no category."""
MATLAB_SUFFIX = ".mat"
_LIMIT = 65536
_MATLAB_NAMES = ("GTcls", "GTinst", "LabelMap")


@dataclass(frozen=True)
class SemanticCoding:
    """Meaning of the values of semantic PNGs.

    Attributes:
        indices: (value, category index) pairs.
        ignored: values that mean "unlabelled".
        open: values that are not listed are unlabelled too; else they are an error.
    """

    indices: tuple[tuple[int, int], ...]
    ignored: tuple[int, ...] = (UNLABELLED,)
    open: bool = False

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Turns the values of a file (H, W) into category indices (H, W) uint8, 255 = unlabelled.

        Raises:
            ValueError: a value has no meaning.
        """
        if values.size and (values.min() < 0 or values.max() >= _LIMIT):
            raise ValueError(f"values {values.min()}..{values.max()}, expected 0..{_LIMIT - 1}")
        table = _table(self)
        out = table[values]
        unknown = out > UNLABELLED
        if unknown.any():
            found = np.unique(values[unknown]).tolist()
            known = sorted(value for value, _ in self.indices)
            raise ValueError(
                f"values {', '.join(map(str, found[:5]))} have no meaning (categories: {known[0]}..{known[-1]}, "
                f"unlabelled: {', '.join(map(str, self.ignored))})"
            )
        return out.astype(np.uint8)


def unlabelled_value(coding: SemanticCoding | None) -> int:
    """Returns a value that means "unlabelled" in semantic PNGs; None: they hold category indices."""
    if coding is None:
        return UNLABELLED
    listed = {value for value, _ in coding.indices}
    return next(value for value in (*coding.ignored, *range(UNLABELLED, _LIMIT)) if value not in listed)


@lru_cache(maxsize=8)
def _table(coding: SemanticCoding) -> np.ndarray:
    table = np.full(_LIMIT, UNLABELLED if coding.open else UNLABELLED + 1, np.uint16)
    table[list(coding.ignored)] = UNLABELLED
    for value, index in coding.indices:
        table[value] = index
    return table


@dataclass(frozen=True)
class ObjectCoding:
    """Meaning of the values of object PNGs; 0 is background.

    Attributes:
        ignored: values that count neither way. Pascal VOC's boundary is palette index 255; saved as grey it is 220.
        union: all other values are one object.
    """

    ignored: tuple[int, ...] = (255, 220)
    union: bool = False


def read_label_map(path: str | Path, max_pixels: int = MAX_PIXELS, void: int = UNLABELLED) -> np.ndarray:
    """Reads a label map without changing its values.

    Besides pictures, MATLAB files of the Semantic Boundaries Dataset (``GTcls``, ``GTinst``) and of Pascal Context
    (``LabelMap``) are read. Transparent pixels get the value ``void``.

    Returns:
        (H, W) uint8, uint16 or int32 for one-channel files, (H, W, 3) uint8 RGB for colour files.

    Raises:
        DataError: the file is missing, damaged, too large, or a MATLAB file of another content.
    """
    path = Path(path)
    return _read_matlab(path, max_pixels) if path.suffix == MATLAB_SUFFIX else read_label(path, max_pixels, void)


def read_object_map(path: str | Path, coding: ObjectCoding, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads a map of objects: (H, W) int32, 0 = background, -1 = counts neither way, other values one object each.

    Transparent pixels count neither way, or are background where ``coding`` ignores no value.

    Raises:
        DataError: as :func:`read_label_map`; a colour picture whose objects are not one.
    """
    values = read_label_map(path, max_pixels, coding.ignored[0] if coding.ignored else 0)
    if values.ndim == 3:
        if not coding.union:
            raise DataError(f"{path}: a colour picture, expected one channel (or a palette) with object numbers")
        values = values.max(axis=2)
    values = values.astype(np.int32)
    ignored = np.isin(values, coding.ignored)
    if coding.union:
        values = (values > 0).astype(np.int32)
    values[ignored] = -1
    return values


def _read_matlab(path: Path, max_pixels: int) -> np.ndarray:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        with open(path, "rb") as file:
            content = loadmat(file, variable_names=_MATLAB_NAMES)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (MatReadError, NotImplementedError, ValueError, TypeError, OSError) as error:
        raise DataError(f"{path}: not a readable MATLAB file of version 4 to 7.2 ({error})") from error
    name = next((name for name in _MATLAB_NAMES if name in content), None)
    try:
        values = content[name] if name == "LabelMap" else content[name]["Segmentation"][0, 0]
        values = np.asarray(values, order="C")
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise DataError(f"{path}: holds none of {', '.join(_MATLAB_NAMES)} with a map `Segmentation`") from error
    if values.ndim != 2 or values.dtype.kind not in "iu" or values.size > max_pixels:
        raise DataError(f"{path}: {name}: expected a map of whole numbers of at most {max_pixels} pixels")
    return values
