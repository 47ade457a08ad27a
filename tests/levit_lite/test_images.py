"""Pictures of every usual kind are read as 8-bit RGB; what is none is refused by name."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from levit_lite.images import MAX_PIXELS, ImageError, load_image
from levit_tf.pictures.images import load_images

RED, GREEN, BLUE, GREY = (200, 30, 40), (10, 180, 60), (20, 50, 220), (120, 120, 120)
MIDDLES = ((12, 16), (12, 48), (36, 16), (36, 48))  # (y, x) in the four quadrants below


def quadrants(height=48, width=64):
    """RGB: red and green above, blue and grey below."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = RED
    pixels[: height // 2, width // 2 :] = GREEN
    pixels[height // 2 :, : width // 2] = BLUE
    pixels[height // 2 :, width // 2 :] = GREY
    return pixels


def encoded(image, **save_options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, **save_options)
    return buffer.getvalue()


def png(width, height, bit_depth, colour_type, rows):
    """A PNG written chunk by chunk, for what Pillow cannot write: 16 bits, or a false header."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("save_options", "tolerance"),
    [
        ({"format": "PNG"}, 0),
        ({"format": "BMP"}, 0),
        ({"format": "GIF"}, 0),
        ({"format": "WEBP", "lossless": True}, 0),
        ({"format": "WEBP", "quality": 95}, 12),
        ({"format": "JPEG", "quality": 95, "subsampling": 0}, 6),
        ({"format": "JPEG", "quality": 95, "subsampling": 0, "progressive": True}, 6),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_every_format_is_read(tmp_path, save_options, tolerance):
    content = encoded(quadrants(), **save_options)
    file = tmp_path / "a picture without an ending"
    file.write_bytes(content)
    for source in (file, str(file), content, bytearray(content), memoryview(content)):
        image = load_image(source)
        assert image.shape == (48, 64, 3)
        assert image.dtype == np.uint8
        middle = image[4:-4, 4:-4].astype(int) - quadrants()[4:-4, 4:-4]
        inner = np.abs(np.delete(np.delete(middle, slice(16, 24), 0), slice(24, 32), 1))
        assert inner.max() <= tolerance


def test_of_an_animation_the_first_frame_is_read():
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN)]
    for options in ({"format": "GIF"}, {"format": "WEBP", "lossless": True}, {"format": "PNG"}):
        content = encoded(frames[0], save_all=True, append_images=frames[1:], **options)
        np.testing.assert_array_equal(load_image(content), np.full((8, 8, 3), RED))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA-in-PNG", "RGB", "RGBA"])
def test_every_colour_mode_becomes_rgb_without_its_transparency(mode):
    source = Image.fromarray(quadrants())
    options = {}
    if mode == "PA-in-PNG":
        source = source.quantize(4)
        options["transparency"] = bytes([0, 128, 255, 0])
        expected = quadrants()
    elif mode == "P":
        source = source.quantize(4)
        options["transparency"] = 0
        expected = quadrants()
    else:
        source = source.convert(mode)
        expected = np.asarray(source.convert("RGB"))
        if "A" in mode:
            source.putalpha(Image.fromarray(quadrants()[..., 0] // 100 * 90))
    image = load_image(encoded(source, format="PNG", **options))
    np.testing.assert_array_equal(image, expected)


def test_a_transparent_colour_of_a_png_keeps_its_value():
    for mode, colour in (("L", 120), ("RGB", RED)):
        content = encoded(Image.new(mode, (4, 4), colour), format="PNG", transparency=colour)
        np.testing.assert_array_equal(load_image(content)[0, 0], np.broadcast_to(colour, 3))


def test_sixteen_bit_grey_is_scaled_not_clipped():
    values = np.array([[0, 255, 256, 1000, 32768, 65535]], ">u2")
    content = png(6, 1, bit_depth=16, colour_type=0, rows=[values.tobytes()])
    expected = np.repeat([[[0], [0], [1], [3], [128], [255]]], 3, axis=-1)
    np.testing.assert_array_equal(load_image(content), expected)


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_sixteen_bit_colour_and_alpha_keep_their_upper_bits(colour_type, channels):
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, channels)).astype(">u2")
    content = png(7, 5, 16, colour_type, [row.tobytes() for row in values])
    colours = values[..., :1] if channels == 2 else values[..., :3]
    expected = np.broadcast_to(colours >> 8, (5, 7, 3))
    np.testing.assert_array_equal(load_image(content), expected)


def test_cmyk_jpegs_have_the_right_colours():
    content = encoded(
        Image.fromarray(quadrants()).convert("CMYK"), format="JPEG", quality=95, subsampling=0
    )
    image = load_image(content).astype(int)
    for y, x in MIDDLES:
        assert np.abs(image[y, x] - quadrants()[y, x]).max() <= 6


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(orientation, file_format):
    # The picture as a camera stores it for each orientation (EXIF 2.32, tag 0x0112: which side of
    # the scene row 0 and column 0 are), made by array operations.
    upright = quadrants()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if file_format == "WEBP" else {"quality": 95, "subsampling": 0}
    content = encoded(np.ascontiguousarray(stored), format=file_format, exif=exif, **lossless)
    image = load_image(content).astype(int)
    assert image.shape == upright.shape
    for y, x in MIDDLES:
        assert np.abs(image[y, x] - upright[y, x]).max() <= 6


def test_damaged_exif_data_does_not_spoil_the_picture():
    content = encoded(quadrants(), format="JPEG", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert load_image(content).shape == (48, 64, 3)


JPEG = encoded(quadrants(), format="JPEG")
BAD_FILES = {
    "empty.jpg": (b"", r"empty \(0 bytes\)"),
    "text.jpg": (b"This is no picture.\n" * 40, "no picture, or damaged at its beginning; .*JPEG"),
    "page.png": (b"<!DOCTYPE html><html></html>", "no picture, or damaged at its beginning"),
    "header.jpg": (JPEG[:20], "no picture|truncated or damaged"),
    "half.jpg": (JPEG[: len(JPEG) // 2], "truncated or damaged"),
    "huge.png": (
        png(50_000, 50_000, 8, 2, []),
        rf"more than the {MAX_PIXELS:,} pixels that are decoded at most",
    ),
    "wide.png": (
        png(30_000, 4_000, 8, 2, []),
        "30000x4000 pixels; more than the 89,478,485 pixels",
    ),
    "vector.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "expected JPEG, PNG, GIF, BMP"),
}
for _format in ("PNG", "GIF", "BMP", "WEBP"):
    _whole = encoded(quadrants(), format=_format)
    BAD_FILES[f"half.{_format.lower()}"] = (
        _whole[: len(_whole) // 2],
        "truncated or damaged|no picture, or damaged",
    )


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused_by_name(tmp_path, name):
    content, reason = BAD_FILES[name]
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(ImageError, match=f"{name}: .*({reason})"):
        load_image(file)
    with pytest.raises(ImageError, match=f"image bytes: .*({reason})"):
        load_image(content)


def test_a_missing_file_and_a_directory_are_refused_by_name(tmp_path):
    with pytest.raises(ImageError, match=r"nowhere.jpg: no such file"):
        load_image(tmp_path / "nowhere.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(ImageError, match=r"folder.jpg: is a directory"):
        load_image(tmp_path / "folder.jpg")


def test_pictures_of_differing_sizes_become_one_batch():
    sources = [encoded(quadrants(*size), format="PNG") for size in ((48, 64), (100, 30), (7, 9))]
    batch = load_images(sources, (64, 96))
    assert batch.shape == (3, 64, 96, 3)
    assert batch.dtype == np.float32
    for image in batch:
        np.testing.assert_allclose(image[4, 4], RED, atol=1)
        np.testing.assert_allclose(image[-4, -4], GREY, atol=1)
    assert load_images([], (64, 96)).shape == (0, 64, 96, 3)
