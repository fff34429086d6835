"""Reading pictures of every kind, and the errors for files that are none."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from segfoundry.utils.errors import DataError
from segfoundry.utils.image_io import (
    encode_png,
    image_size,
    read_color_label,
    read_image,
    read_image_header,
    read_label,
    transparent_pixels,
    write_png,
)

RGB = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


def smooth():
    y, x = np.mgrid[:48, :64]
    return np.stack([x * 4, y * 5, 255 - x * 2], axis=-1).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp"])
def test_lossless_formats_keep_pixels(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(RGB).save(path, **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(read_image(path), RGB)
    assert image_size(path) == (12, 20)


def test_jpeg_is_rgb_and_close(tmp_path):
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", quality=98)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - smooth()).mean() < 2


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_other_modes_become_rgb(tmp_path, mode):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    source = Image.fromarray(smooth()).convert(mode)
    source.save(path)
    image = read_image(path)
    assert image.shape == (48, 64, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.asarray(source.convert("RGB")))


def test_16_bit_is_scaled_not_cut(tmp_path):
    values = np.array([[0, 257, 65535, 32896]], np.uint16)
    write_png(tmp_path / "a.png", values)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0, :, 0], [0, 1, 255, 128])
    np.testing.assert_array_equal(read_label(tmp_path / "a.png"), values)
    assert read_image_header(tmp_path / "a.png").bits == 16


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_matches_pillow(tmp_path, orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=exif, quality=95)
    with Image.open(tmp_path / "a.jpg") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    found = read_image(tmp_path / "a.jpg")
    assert found.shape == expected.shape and image_size(tmp_path / "a.jpg") == expected.shape[:2]
    assert np.abs(found.astype(int) - expected).max() <= 3
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(read_label(tmp_path / "a.png"), np.asarray(ImageOps.exif_transpose(image)))


def test_labels_keep_values(tmp_path):
    index = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    index.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0] + [0] * 759)
    index.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_label(tmp_path / "p.png"), [[0, 1], [2, 1]])
    np.testing.assert_array_equal(read_color_label(tmp_path / "p.png")[0, 1], [255, 0, 0])
    Image.fromarray(np.dstack([RGB, RGB[..., :1].clip(1)])).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_label(tmp_path / "rgba.png"), RGB)


def test_transparent_label_pixels_are_void(tmp_path):
    values = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    alpha = np.array([[255, 0, 1], [255, 255, 0]], np.uint8)
    clear = alpha == 0
    colors = np.dstack([values, values + 10, values + 20])
    palette = Image.fromarray(values, "P")
    palette.putpalette([channel for value in range(256) for channel in (value, value + 10 & 255, value + 20 & 255)])
    palette.save(tmp_path / "p.png", transparency=2)
    Image.fromarray(np.dstack([values, alpha]), "LA").save(tmp_path / "la.png")
    Image.fromarray(np.dstack([colors, alpha])).save(tmp_path / "rgba.png")
    Image.fromarray(colors).save(tmp_path / "rgb.png", transparency=(2, 12, 22))
    Image.fromarray(values.astype(np.uint16)).save(tmp_path / "deep.png", transparency=2)
    for name, gone in (("la", clear), ("rgba", clear), ("p", values == 2), ("rgb", values == 2), ("deep", values == 2)):
        path = tmp_path / f"{name}.png"
        stored = colors if name.startswith("rgb") else values
        for void in (0, 255):
            mask = gone if stored.ndim == 2 else gone[..., None]
            np.testing.assert_array_equal(read_label(path, void=void), np.where(mask, void, stored))
        np.testing.assert_array_equal(transparent_pixels(path), gone)
        if name != "deep":
            grey = np.dstack([values] * 3) if name == "la" else colors
            np.testing.assert_array_equal(read_color_label(path), np.where(gone[..., None], 0, grey))
    np.testing.assert_array_equal(
        read_label(tmp_path / "la.png", void=65535), np.where(clear, 65535, values.astype(int))
    )
    for name in ("rgba", "rgb"):  # a photograph shows its colours
        np.testing.assert_array_equal(read_image(tmp_path / f"{name}.png"), colors)
    Image.fromarray(np.dstack([colors, alpha | 1])).save(tmp_path / "seen.png")
    Image.fromarray(values).save(tmp_path / "plain.png")
    assert transparent_pixels(tmp_path / "seen.png") is None and transparent_pixels(tmp_path / "plain.png") is None


def test_pages_are_counted_and_the_first_is_read(tmp_path):
    first, second = Image.fromarray(RGB), Image.fromarray(255 - RGB)
    for suffix, options in ((".tif", {}), (".webp", {"lossless": True}), (".png", {})):
        path = tmp_path / f"a{suffix}"
        first.save(path, save_all=True, append_images=[second], **options)
        assert read_image_header(path).pages == 2
        np.testing.assert_array_equal(read_image(path), RGB)
        first.save(path)
        assert read_image_header(path).pages == 1


def test_names_that_no_system_has(tmp_path):
    for read in (read_image, read_label, image_size, transparent_pixels):
        with pytest.raises(DataError, match="cannot be read"):
            read(tmp_path / "a\0.png")


def test_truncated_files_name_themselves(tmp_path):
    for name, options in (("a.jpg", {"quality": 95}), ("a.png", {})):
        Image.fromarray(RGB).save(tmp_path / name, **options)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) * 2 // 3])
        with pytest.raises(DataError, match=f"{name}.*(truncated|damaged)"):
            read_image(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"", "empty"), (b"<html>404</html>", "no image"), (b"version https://git-lfs.github.com/spec/v1\n", "LFS")],
)
def test_files_that_are_no_image(tmp_path, content, text):
    (tmp_path / "a.jpg").write_bytes(content)
    for read in (read_image, read_label, image_size):
        with pytest.raises(DataError, match=f"a.jpg.*{text}"):
            read(tmp_path / "a.jpg")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match="no such image"):
        read_image(tmp_path / "x.jpg")
    with pytest.raises(DataError, match="folder"):
        read_image(tmp_path)


def bomb(path, side):
    """Writes a small PNG whose header promises side x side pixels."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))


def test_pixel_limit_comes_from_the_header(tmp_path):
    bomb(tmp_path / "bomb.png", 15_000)
    with pytest.raises(DataError, match="225000000 pixels.*MAX_PIXELS"):
        read_image(tmp_path / "bomb.png")
    # Pillow's own, lower limit does not interfere with ours, and stays in place for others.
    assert image_size(tmp_path / "bomb.png", max_pixels=300_000_000) == (15_000, 15_000)
    assert Image.MAX_IMAGE_PIXELS is not None


def test_png_needs_a_fitting_array():
    with pytest.raises(ValueError, match="uint8"):
        encode_png(np.zeros((4, 4), np.int64))
    with pytest.raises(ValueError, match="uint8"):
        encode_png(np.zeros((4, 4, 4), np.uint8))
