"""What a benchmark prints and writes."""

import json
from unittest import mock

import numpy as np
import pytest
from absl import flags

from benchmarks.every_runtime import OURS, Entry, rows_of
from benchmarks.networks.published import interpolated
from benchmarks.support import options, pictures, results
from benchmarks.todays_networks import Point, front, quickest


def test_numbers_of_numpy_are_numbers_in_the_table_and_in_the_file(tmp_path, capsys):
    rows = [("a", 16, np.float32(12.5), None), ("b", 1, 123.4, 0.001)]
    folder = results.publish("mine", ("name", "batch", "ms", "error"), rows, str(tmp_path / "out"))
    assert capsys.readouterr().out.splitlines() == [
        "| name | batch |   ms | error |",
        "|------|------:|-----:|------:|",
        "| a    |    16 | 12.5 |     - |",
        "| b    |     1 |  123 | 0.001 |",
    ]
    content = json.loads((folder / "mine.json").read_text())
    assert content["benchmark"] == "mine"
    assert content["rows"][0] == {"name": "a", "batch": 16, "ms": 12.5, "error": None}
    assert {"processor", "cores", "versions", "date"} <= set(content)


def test_a_table_replaces_the_one_before_in_a_page(tmp_path):
    page = tmp_path / "speed.md"
    page.write_text("# Speed\n<!-- benchmark: mine -->\nold\n<!-- end: mine -->\nMore.\n")
    for text in ("| a |", "| b |"):
        results.update_page(page, "mine", text)
    lines = page.read_text().splitlines()
    assert (lines[:2], lines[-3:]) == (
        ["# Speed", "<!-- benchmark: mine -->"],
        ["| b |", "<!-- end: mine -->", "More."],
    )
    assert results.machine()["date"] in page.read_text()
    with pytest.raises(ValueError, match="has no lines <!-- benchmark: other -->"):
        results.update_page(page, "other", "| c |")


def test_a_page_without_a_place_is_refused_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["benchmarks/mine.py"])
    options.define_output()
    page = tmp_path / "speed.md"
    try:
        with pytest.raises(flags.Error, match=r"cannot be read: .*No such file"):
            flags.FLAGS.page = str(page)
        page.write_text("<!-- benchmark: other -->\n<!-- end: other -->\n")
        with pytest.raises(flags.Error, match="has no lines <!-- benchmark: mine -->"):
            flags.FLAGS.page = str(page)
        page.write_text("<!-- benchmark: mine_ratios -->\n<!-- end: mine_ratios -->\n")
        flags.FLAGS.page = str(page)
    finally:
        delattr(flags.FLAGS, "page")
        delattr(flags.FLAGS, "output")


def test_a_flag_that_takes_some_of_a_list_takes_nothing_else():
    options.define_some_of("fruits", ("apple", "pear"))
    try:
        assert flags.FLAGS["fruits"].value == ["apple", "pear"]
        flags.FLAGS.fruits = ["pear"]
        with pytest.raises(flags.Error, match=r"expected some of apple, pear. Received: plum"):
            flags.FLAGS.fruits = ["pear", "plum"]
    finally:
        delattr(flags.FLAGS, "fruits")


def test_a_picture_of_lines_has_a_panel_for_each_title_and_the_names_beside_the_points(tmp_path):
    figures = []
    lines = {"mine": [(1.0, 76.0, "small"), (30.0, 80.0, "large")], "front": [(1.0, 76.0)]}
    with mock.patch.object(pictures, "save_figure", lambda figure, _: figures.append(figure)):
        pictures.draw_lines(tmp_path / "a.png", {"fp32": lines, "int8": {}}, "ms", has_log_x=True)
    left, right = figures[0].axes
    assert (left.get_title(), right.get_title()) == ("fp32", "int8")
    assert [line.get_label() for line in left.lines] == ["mine", "front"]
    assert [text.get_text() for text in left.texts] == ["small", "large"]
    assert left.get_xscale() == "log"


def test_times_at_an_accuracy_lie_between_the_nearest_members():
    family = [(80.0, 10.0), (82.0, 40.0), (78.0, 5.0)]
    assert interpolated(family, 81.0) == pytest.approx(20.0)
    assert interpolated(family, 78.0) == pytest.approx(5.0)
    assert interpolated(family, 83.0) is None
    assert interpolated([], 80.0) is None


def test_on_the_front_is_what_no_other_network_beats():
    points = [Point("a", 76.0, 5.0), Point("b", 78.0, 9.0), Point("c", 77.0, 9.0)]
    points += [Point("d", 80.0, 12.0), Point("e", 75.0, 4.0), Point("f", 76.0, 6.0)]
    assert [point.name for point in front(points)] == ["e", "a", "b", "d"]
    assert quickest(points, 76.5).name == "b"
    assert quickest(points, 80.0).name == "d"


def test_ours_is_beside_the_best_other_of_each_runtime():
    times = {
        Entry("TFLite int8", OURS, "int8.tflite"): 6.0,
        Entry("TFLite int8", "a", "int8.tflite"): 9.0,
        Entry("TFLite int8", "a", "dynamic.tflite"): 8.0,
        Entry("OpenVINO int8", OURS, "int8.onnx"): 3.0,
        Entry("OpenVINO int8", OURS, "int8.xml"): 4.0,
    }
    assert rows_of("LeViT256", 1, 2, times) == [
        ("LeViT256", 1, 2, "TFLite int8", 6.0, "a, dynamic.tflite", 8.0, 0.75),
        ("LeViT256", 1, 2, "OpenVINO int8", 3.0, "levit_tf, int8.xml", 4.0, 0.75),
    ]
