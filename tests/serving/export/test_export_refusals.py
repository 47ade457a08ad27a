"""Pictures that are refused: by a clear message, without a crash, and without taking memory."""

import io
import resource
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from serving.export.picture_graph import MAX_PICTURES
from serving.export.picture_headers import MAX_PIXELS, MAX_REQUEST_PIXELS, MAX_SCANS
from serving.signatures import IMAGE_TENSOR, SERVING_DEFAULT
from serving.tensorflow_c.c_api import TensorFlowError
from tests.support.serving.export_serving import SIZE, ask
from tests.support.serving.served_pictures import (
    END_IN_A_COMMENT,
    PICTURES,
    animation,
    blank_png,
    jpeg,
    motion_photo,
    with_scans,
)


def refusal(session, pictures):
    """TensorFlow's message about pictures that are refused."""
    with pytest.raises(TensorFlowError) as caught:
        ask(session, SERVING_DEFAULT, pictures)
    assert caught.value.code == tf.errors.INVALID_ARGUMENT
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty (0 bytes)"),
        (b"hello", "not a JPEG, PNG, GIF or BMP file"),
        (b"\xff", "not a JPEG, PNG, GIF or BMP file"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "WebP, which is not decoded here; send JPEG or PNG"),
        (b"BM" + b"\0" * 60, "a BMP of a rare kind"),
    ],
)
def test_what_is_no_picture_is_named_by_its_place(session, content, message):
    assert f"picture 0 of 1: {message}" in refusal(session, [content])
    assert f"picture 2 of 4: {message}" in refusal(session, [jpeg(), jpeg(), content, b"x"])


DAMAGED = {
    "truncated JPEG": jpeg()[:-2000],
    "JPEG of a header": jpeg()[:200],
    "JPEG of a marker": b"\xff\xd8\xff",
    "truncated PNG": PICTURES["PNG"][:5000],
    "PNG of a header": PICTURES["PNG"][:33],
    "damaged PNG": PICTURES["PNG"][:2000] + b"\0" * 100 + PICTURES["PNG"][2100:],
    "GIF without an image": b"GIF89a\1\0\1\0\0\0\0;",
    "truncated GIF": animation()[:2000],
    "truncated BMP": PICTURES["BMP"][:2000],
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_damaged_is_refused(session, kind):
    refusal(session, [DAMAGED[kind]])
    message = refusal(session, [jpeg(), DAMAGED[kind], jpeg()])
    assert "picture 1 of 3: truncated or damaged" in message


def test_a_batch_of_nothing_but_damaged_pictures_is_refused(session):
    assert "picture 0 of 9" in refusal(session, list(DAMAGED.values()))


@pytest.mark.parametrize("signature", [SERVING_DEFAULT, IMAGE_TENSOR])
def test_an_empty_batch_is_refused(session, signature):
    values = [] if signature == SERVING_DEFAULT else np.zeros((0, *SIZE, 3), np.float32)
    with pytest.raises(TensorFlowError, match="of an empty batch"):
        ask(session, signature, values)


def png_bomb(side):
    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(10_000_000), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def jpeg_bomb(side):
    content = bytearray(jpeg())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", side, side)
    return bytes(content)


def gif_bomb(frame):
    """A canvas of one pixel and a frame, or the other way round."""
    canvas = 1 if frame else 65_535
    content = bytearray(animation(1))
    content[6:10] = struct.pack("<HH", canvas, canvas)
    if frame:
        at = content.index(b"\x2c", 13 + 3 * 64)
        content[at + 5 : at + 9] = struct.pack("<HH", 65_535, 65_535)
    return bytes(content)


def bmp_bomb(width, height):
    content = bytearray(PICTURES["BMP"])
    content[18:26] = struct.pack("<ii", width, height)
    return bytes(content)


BOMBS = {
    "PNG": png_bomb(60_000),
    "PNG of overflowing sides": png_bomb(2**31 - 1),
    "JPEG": jpeg_bomb(65_000),
    "GIF": gif_bomb(frame=False),
    "GIF of a small canvas": gif_bomb(frame=True),
    "BMP": bmp_bomb(60_000, 60_000),
    "BMP upside down": bmp_bomb(60_000, -60_000),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_refused_before_they_are_decoded(session, kind):
    ask(session, SERVING_DEFAULT, [jpeg(), jpeg()])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = f"more than the {MAX_PIXELS:,} pixels that are decoded at most"
    assert f"picture 0 of 1: {message}" in refusal(session, [BOMBS[kind]])
    assert f"picture 1 of 2: {message}" in refusal(session, [jpeg(), BOMBS[kind]])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100_000  # kB; decoded, each would be of gigabytes


@pytest.mark.slow
def test_only_the_first_frame_of_an_animation_is_unpacked(session):
    first, *others = (Image.new("P", (1500, 1500), n) for n in range(61))
    first.putpalette(list(range(256)) * 3)
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=others, duration=1, optimize=False)
    ask(session, SERVING_DEFAULT, [animation()])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = ask(session, SERVING_DEFAULT, [file.getvalue()])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert found["scores"].shape == (1, 5)
    assert grown < 200_000  # kB; all frames as RGB are 410 MB


def test_jpegs_of_many_scans_are_refused(session):
    ask(session, SERVING_DEFAULT, [with_scans(MAX_SCANS)])
    hidden = with_scans(MAX_SCANS + 1, between=END_IN_A_COMMENT)
    segments = with_scans(MAX_SCANS, between=100 * END_IN_A_COMMENT)
    for pictures in (
        [with_scans(MAX_SCANS + 1)],
        [with_scans(200), jpeg()],
        [hidden],
        [segments + motion_photo()],
        [with_scans(MAX_SCANS + 1).removesuffix(b"\xff\xd9")],
    ):
        assert f"a JPEG of more than {MAX_SCANS} scans" in refusal(session, pictures)


def test_what_follows_a_jpeg_is_not_looked_at(session):
    picture = jpeg(3, progressive=True)
    expected = ask(session, SERVING_DEFAULT, [picture])
    second = with_scans(MAX_SCANS + 1)  # as in a file of several pictures
    found = ask(session, SERVING_DEFAULT, [motion_photo(), picture + second])
    for name, values in expected.items():
        assert (found[name] == values).all()


def test_more_pictures_than_a_request_may_have_are_refused_undecoded(session):
    ask(session, SERVING_DEFAULT, [PICTURES["tiny PNG"]] * MAX_PICTURES)
    message = refusal(session, [b""] * (MAX_PICTURES + 1))
    assert f"image_bytes: expected (batch,), got the shape of more than {MAX_PICTURES}]" in message
    refusal(session, [b""] * 100_000)


@pytest.mark.slow
def test_the_pixels_of_a_request_are_limited(session):
    large = blank_png(7000)
    assert MAX_REQUEST_PIXELS < 5 * 7000**2
    message = refusal(session, [large] * 5)
    assert f"picture 4 of 5: with those before it more than the {MAX_REQUEST_PIXELS:,}" in message


@pytest.mark.slow
def test_large_pictures_beside_small_ones_are_answered_as_alone(session):
    pictures = [jpeg(1), jpeg(2, (2600, 2600)), jpeg(3), jpeg(4, (2700, 2500)), PICTURES["BMP"]]
    together = ask(session, SERVING_DEFAULT, pictures)["probabilities"]
    alone = [ask(session, SERVING_DEFAULT, [picture])["probabilities"][0] for picture in pictures]
    np.testing.assert_allclose(together, alone, atol=1e-6)
