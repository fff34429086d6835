"""Values of more than 8 bits become 0..255 by the range that the key, the file or its largest value says."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from segfoundry.utils.errors import DataError
from segfoundry.utils.image_files.bit_depth import DeepValues, report_depth, to_8_bit
from segfoundry.utils.image_io import decode_image, read_depth, read_image, read_image_header, to_rgb

VALUES = np.linspace(0, 4095, 270).round().astype(np.uint16).reshape(9, 30)
SCALED = np.floor(VALUES / 4095 * 255 + 0.5).astype(np.uint8)


def encoded(suffix, values):
    return cv2.imencode(suffix, values)[1].tobytes()


@pytest.mark.parametrize(
    ("largest", "bit_depth", "white"),
    [
        (200, "auto", 255),
        (255, "auto", 255),
        (256, "auto", 4095),
        (4095, "auto", 4095),
        (4096, "auto", 65535),
        (200, "12", 4095),
        (4095, "16", 65535),
        (65535, "16", 65535),
        (0, "auto", 255),
    ],
)
def test_white_is_the_largest_value_of_the_depth(largest, bit_depth, white):
    values = np.array([[0, largest // 2, largest]], np.uint16)
    expected = np.floor(values / white * 255 + 0.5)
    np.testing.assert_array_equal(to_8_bit(DeepValues(values), "a.tif", bit_depth), expected)


def test_a_value_above_the_depth_is_no_silent_white():
    values = np.array([[0, 5000]], np.uint16)
    with pytest.raises(DataError, match=r"a.tif: holds the value 5000, INPUT.BIT_DEPTH 12 .*BIT_DEPTH 16 reads it"):
        to_8_bit(DeepValues(values), "a.tif", "12")


@pytest.mark.parametrize("suffix", [".tif", ".png", ".pgm"])
def test_grey_files_of_every_format_and_arrays_agree(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(encoded(suffix, VALUES))
    expected = np.repeat(SCALED[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), expected)
    np.testing.assert_array_equal(to_rgb(Image.open(tmp_path / f"a{suffix}")), expected)
    np.testing.assert_array_equal(to_rgb(VALUES), expected)
    assert read_image(tmp_path / f"a{suffix}", bit_depth="16").max() == 16
    assert read_image_header(tmp_path / f"a{suffix}").bits == 16
    assert read_depth(tmp_path / f"a{suffix}")[:2] == (12, 4095)


@pytest.mark.parametrize("suffix", [".tif", ".png", ".ppm"])
@pytest.mark.parametrize("channels", [3, 4])
def test_colours_keep_their_lower_byte(suffix, channels):
    if (suffix, channels) == (".ppm", 4):
        return
    values = np.stack([VALUES, VALUES[::-1], VALUES[:, ::-1], VALUES][:channels], axis=2)
    found = decode_image(encoded(suffix, values), "a")  # OpenCV's order is blue, green, red
    np.testing.assert_array_equal(found, np.stack([SCALED[:, ::-1], SCALED[::-1], SCALED], axis=2))


def tiff(values, **tags):
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF", tiffinfo={int(tag[1:]): value for tag, value in tags.items()})
    return file.getvalue()


def test_a_tiff_may_say_its_largest_value():
    dark = (VALUES // 32).astype(np.uint16)  # at most 127: 8 bits by the values alone
    np.testing.assert_array_equal(decode_image(tiff(dark), "a")[..., 0], dark)
    said = decode_image(tiff(dark, t281=4095), "a")[..., 0]
    np.testing.assert_array_equal(said, np.floor(dark / 4095 * 255 + 0.5))
    assert decode_image(tiff(VALUES, t281=255), "a").max() == 255  # a tag below the values is wrong
    assert decode_image(tiff(dark, t281=4095), "a", bit_depth="8").max() == dark.max()


@pytest.mark.parametrize(("kind", "channels"), [(b"P5", 1), (b"P6", 3)])
def test_a_ppm_says_its_range(kind, channels):
    data = kind + b" 4 1 1023\n" + np.repeat(np.array([0, 100, 500, 900], ">u2"), channels).tobytes()
    for bit_depth in ("auto", "12"):
        found = decode_image(data, "a.ppm", bit_depth=bit_depth)[0, :, 0]
        assert np.abs(found - np.array([0, 100, 500, 900]) / 1023 * 255).max() <= 1


def test_32_bit_values_are_refused(tmp_path):
    for mode in ("I", "F"):
        Image.fromarray(VALUES).convert(mode).save(tmp_path / "a.tif")
        with pytest.raises(DataError, match=f"mode {mode}"):
            read_image(tmp_path / "a.tif")
        with pytest.raises(DataError, match=f"mode {mode}"):
            to_rgb(Image.open(tmp_path / "a.tif"))


def test_the_report_counts_hot_pixels_apart():
    values = np.full((100, 100), 300, np.uint16)
    values[0, :5] = 4000
    assert report_depth(DeepValues(values)) == (12, 4000, 300)
    values[0, :20] = 4000
    assert report_depth(DeepValues(values)) == (12, 4000, 4000)
