"""The scans of a JPEG are counted in the graph as in Python, and without taking memory."""

import random
import resource

import pytest
import tensorflow as tf

from serving.export import jpeg_graph
from serving.picture_sizes import jpeg_scans
from tests.support.serving.served_pictures import (
    END_IN_A_COMMENT,
    jpeg,
    motion_photo,
    with_scans,
)

LIMIT = 16


def counter():
    """A function of a file: whether it has more scans than `LIMIT`, counted by a graph."""
    graph = tf.function(lambda content: jpeg_graph.has_more_scans(content, LIMIT))
    return lambda content: bool(graph(tf.constant(content)))


def random_segments(seed):
    """Coded pixels and whole or cut segments of any kind, more of the few that count."""
    draw = random.Random(seed)
    content = b"\xff\xd8\xff\xe0\0\2"
    for _ in range(draw.randrange(60)):
        marker = bytes([0xFF, draw.choice([*[0xDA] * 20, 0xD9, draw.randrange(256)])])
        length = draw.randrange(40)
        body = bytes(draw.choices([0xFF, 0xDA, 0xC4, 0, 7], k=length))
        content += marker + (length + draw.choice([0, 2, 300])).to_bytes(2, "big") + body
    return content[: draw.choice([len(content), -1, -3])]


@pytest.mark.parametrize("part", [5, 16, 1 << 16])
def test_the_graph_counts_as_python_does(part, monkeypatch):
    monkeypatch.setattr(jpeg_graph, "_PART", part)
    count = counter()
    contents = [
        *(with_scans(n, between=END_IN_A_COMMENT) for n in (LIMIT, LIMIT + 1)),
        jpeg() + with_scans(40),
        motion_photo(),
        with_scans(LIMIT, between=1000 * END_IN_A_COMMENT) + with_scans(40),
        *map(random_segments, range(200)),
    ]
    expected = [jpeg_scans(content) > LIMIT for content in contents]
    assert [*map(count, contents)] == expected
    assert {*expected} == {True, False}


def test_what_follows_a_jpeg_takes_no_memory():
    count = counter()
    count(motion_photo())
    content = jpeg() + b"\xff\xda" * 20_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert not count(content)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000  # kB; the file has 40 MB, and the places of all its markers 160
