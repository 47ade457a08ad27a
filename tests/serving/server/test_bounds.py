"""Small requests cannot take much: strings, pixels, scans and bytes are bounded, and counted."""

import io
import json
import random
import struct
import threading

import numpy as np
import pytest
from grpc import StatusCode
from PIL import Image
from tensorflow.core.framework.tensor_pb2 import TensorProto

from serving.export.signature_pictures import sample_pixels
from serving.picture_sizes import jpeg_scans, pixels
from serving.server.bounds import Bounds
from serving.server.errors import ServingError
from serving.server.metrics import Metrics
from serving.server.options import Options
from tests.fuzz_pictures import damaged
from tests.serving.server.test_core_metrics import metrics_of
from tests.support.serving.served_pictures import (
    END_IN_A_COMMENT,
    PICTURES,
    blank_png,
    jpeg,
    motion_photo,
    with_scans,
)
from tests.support.serving.serving_cases import (
    MODEL,
    classify_request,
    eventually,
    examples,
    predict_request,
    refusal,
    serve,
    values,
)
from tests.support.serving.serving_rest_cases import call

X = {"x": np.float32([2, 4])}


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    file = tmp_path_factory.mktemp("monitoring") / "monitoring.txt"
    file.write_text("prometheus_config { enable: true }")
    with serve(
        monitoring_config_file=str(file),
        max_request_bytes=2**17,
        max_bytes_under_way=2**18,
        max_strings_per_request=5,
        max_pixels_per_request=100_000,
        max_pixels_under_way=150_000,
        max_jpeg_scans=15,
        grpc_max_threads=4,
    ) as target:
        yield target


def refused_count(target, bound):
    name = f':tensorflow:serving:stand_in_refused_count{{bound="{bound}"}} '
    found = metrics_of(target).partition(name)[2]
    return float(found.split()[0]) if found else 0


def texts(*contents):
    return {"text": np.array([*contents, None], object)[:-1]}


def test_the_strings_of_a_request_are_limited(target):
    before = refused_count(target, "max_strings_per_request")
    target.predict(texts(*[b"a"] * 5), "strings")
    message = "input tensor text: at most 5 strings or examples a request, got 6."
    assert refusal(target.predict, texts(*[b""] * 6), "strings") == (
        StatusCode.INVALID_ARGUMENT,
        message,
    )
    port = int(target.rest.rpartition(":")[2])
    document = {"signature_name": "strings", "instances": [""] * 6}
    status, _, reply = call(port, "POST", f"/v1/models/{MODEL}:predict", document)
    assert (status, json.loads(reply)["error"]) == (400, message)
    assert refused_count(target, "max_strings_per_request") == before + 2


def test_the_examples_of_a_request_are_limited(target):
    ask = target.predictions.Classify
    ask(classify_request(source=examples(*[1.0] * 5)), 20)
    code, message = refusal(ask, classify_request(source=examples(*[1.0] * 6)), 20)
    assert code == StatusCode.INVALID_ARGUMENT
    assert "at most 5 strings or examples" in message
    source = examples(*[1.0] * 5)
    source.example_list_with_context.examples.extend(source.example_list.examples)
    feature = source.example_list_with_context.context.features.feature["y"]
    feature.bytes_list.value.append(b"x" * 30_000)
    code, message = refusal(ask, classify_request(source=source), 20)
    assert (code, "A context of" in message) == (StatusCode.INVALID_ARGUMENT, True)


def test_the_pixels_of_a_request_are_limited_by_the_headers(target):
    before = refused_count(target, "max_pixels_per_request")
    target.predict(texts(blank_png(300)), "strings")
    for pictures in ([blank_png(400)], [jpeg(size=(200, 250)), b"x", blank_png(250)]):
        code, message = refusal(target.predict, texts(*pictures), "strings")
        assert code == StatusCode.INVALID_ARGUMENT
        assert "may have 100000 pixels together" in message
    source = examples(1.0)
    feature = source.example_list.examples[0].features.feature["image/encoded"]
    feature.bytes_list.value.append(blank_png(400))
    code, _ = refusal(target.predictions.Classify, classify_request(source=source), 20)
    assert code == StatusCode.INVALID_ARGUMENT
    assert refused_count(target, "max_pixels_per_request") == before + 3


def test_the_scans_of_a_jpeg_are_limited(target):
    target.predict(texts(with_scans(15)), "strings")
    code, message = refusal(target.predict, texts(with_scans(16)), "strings")
    assert (code, message) == (
        StatusCode.INVALID_ARGUMENT,
        "A JPEG has more than the 15 scans that are decoded.",
    )
    assert refused_count(target, "max_jpeg_scans") >= 1


@pytest.mark.parametrize(
    ("content", "scans"),
    [
        (jpeg(), 1),
        (with_scans(40), 40),
        (with_scans(40, between=END_IN_A_COMMENT), 40),
        (with_scans(40).removesuffix(b"\xff\xd9"), 40),
        (jpeg() + with_scans(40), 1),
        (motion_photo(), jpeg(3, progressive=True).count(b"\xff\xda")),
        (with_scans(20, between=1000 * END_IN_A_COMMENT) + with_scans(40), 60),
        (blank_png(3), 0),
    ],
    ids=range(8),
)
def test_the_scans_of_a_jpeg_are_counted_up_to_its_end(content, scans):
    assert jpeg_scans(content) == scans


def test_pixels_wait_for_their_turn_and_are_refused_when_it_does_not_come():
    metrics = Metrics()
    bounds = Bounds(Options(max_pixels_under_way=150_000), metrics)
    picture = [blank_png(300)]  # 90,000 pixels
    ended = threading.Event()

    def hold():
        with bounds.admitted(1, picture):
            ended.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    eventually(lambda: b'stand_in_under_way{what="pixels"} 90000.0' in metrics.exposition()[0])
    with pytest.raises(ServingError, match="try again later") as caught:
        bounds.admitted(1, picture, timeout_s=0.05).__enter__()
    assert caught.value.code == StatusCode.RESOURCE_EXHAUSTED
    assert b'refused_count{bound="max_pixels_under_way"} 1.0' in metrics.exposition()[0]
    with bounds.admitted(1, [b"no picture"], timeout_s=0):
        pass
    threading.Timer(0.1, ended.set).start()
    with bounds.admitted(1, picture, timeout_s=20):
        assert ended.is_set()
    thread.join()
    assert b'stand_in_under_way{what="pixels"} 0.0' in metrics.exposition()[0]


def test_the_bytes_of_all_requests_together_are_limited(target):
    before = refused_count(target, "max_bytes_under_way")
    large = {"x": np.ones(10_000, "f")}  # 40 kB, and once more as a tensor
    calls = [
        target.predictions.Predict.future(predict_request(large, "sleep"), 20) for _ in range(4)
    ]
    codes = [call.code() for call in calls]
    assert set(codes) == {StatusCode.OK, StatusCode.RESOURCE_EXHAUSTED}
    assert refused_count(target, "max_bytes_under_way") == before + codes.count(
        StatusCode.RESOURCE_EXHAUSTED
    )
    # And nothing is left of them.
    assert ':stand_in_under_way{what="bytes"} 0.0' in eventually_idle(target)
    np.testing.assert_array_equal(values(target.predict(X)), [3, 4])


def eventually_idle(target):
    return eventually(
        lambda: (text := metrics_of(target)) and ('{what="bytes"} 0.0' in text) and text
    )


def test_a_tensor_of_one_repeated_number_is_no_larger_than_a_request(target):
    before = refused_count(target, "max_request_bytes")
    tensor = TensorProto(dtype=1, float_val=[1.0])
    tensor.tensor_shape.dim.add(size=2**15 + 1)
    code, _ = refusal(target.predict, {"x": tensor})
    assert code == StatusCode.INVALID_ARGUMENT
    assert refused_count(target, "max_request_bytes") == before + 1


def webp(frames=1, **options):
    pictures = [Image.fromarray(sample_pixels(n, (90, 140))) for n in range(frames)]
    file = io.BytesIO()
    animated = {"save_all": True, "append_images": pictures[1:]} if frames > 1 else {}
    pictures[0].save(file, "WEBP", **animated, **options)
    return file.getvalue()


WEBP = {
    "WebP": webp(),
    "lossless WebP": webp(lossless=True),
    "WebP with a canvas": webp(exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
    "animated WebP": webp(3),
}


@pytest.mark.parametrize("kind", [*PICTURES, *WEBP])
def test_headers_are_read_as_pillow_reads_them(kind):
    content = (PICTURES | WEBP)[kind]
    with Image.open(io.BytesIO(content)) as image:
        frames = getattr(image, "n_frames", 1)
        assert pixels(content) == image.width * image.height * frames
    assert all(0 <= pixels(content[:n]) <= pixels(content) for n in range(0, 400, 3))
    assert jpeg_scans(content) == (content.count(b"\xff\xda") if "JPEG" in kind else 0)


def test_a_gifs_frames_count_and_may_be_larger_than_its_canvas():
    canvas, frame = struct.pack("<6sHH3x", b"GIF89a", 1, 1), b",\0\0\0\0%s\0\2\0"
    comment, table = b"!\xfe\3one\2,,\0", b"\x81" + bytes(12)
    tall, wide = (struct.pack("<HH", *sides) for sides in ((1, 4000), (3000, 2)))
    content = canvas + comment + frame % tall + frame[:-3] % wide + table + b"\2\1,\0" + b";,,,,"
    assert pixels(content) == 2 * 3000 * 4000
    assert pixels(canvas + frame % tall * 1001) == 1001 * 4000
    assert pixels(canvas + frame % tall + b"?" + frame % wide) == 4000  # the decoder stops there
    assert [pixels(content[:n]) for n in (9, 10, len(canvas))] == [0, 1, 1]
    assert pixels(canvas + b"!\xfe" + b"\1a" * 10_000) > 2**48  # not walked to its end


@pytest.mark.parametrize("kind", [*PICTURES, *WEBP])
def test_damaged_headers_are_no_errors(kind):
    rng = random.Random(0)
    for _ in range(200):
        assert pixels(damaged((PICTURES | WEBP)[kind], rng)) >= 0


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", b"\xff\xd8" + b"\xff" * 9999, b"BM"])
def test_what_has_no_header_has_no_pixels(content):
    assert pixels(content) == 0


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"max_bytes_under_way": 2**20}, "--max_bytes_under_way must be at least 134217728"),
        ({"max_pixels_under_way": 1}, "--max_pixels_under_way must be at least 200000000"),
    ],
)
def test_bounds_that_would_refuse_everything_are_refused(option, message):
    from tests.serving.server.test_core_options import parse

    with pytest.raises(ValueError, match=message):
        parse(*(f"--{name}={value}" for name, value in option.items()))
