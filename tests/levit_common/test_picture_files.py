"""One rule says which files of a folder are pictures, here and in the load test."""

import subprocess
import sys
from pathlib import Path

import pytest

import levit_common.picture_files
from levit_common.picture_files import (
    FORMATS,
    distinct_stems,
    format_of,
    is_passed_over,
    printable,
    walk,
)
from tests.support.training.data_cases import encoded, picture


def test_the_load_test_starts_without_keras():
    code = "import sys, serving.load_test; sys.exit(sum(n in sys.modules for n in sys.argv[1:]))"
    command = [sys.executable, "-c", code, "keras", "tensorflow", "levit_tf", "converters"]
    assert subprocess.run(command, check=False).returncode == 0


@pytest.mark.parametrize("name", FORMATS)
def test_formats_that_are_read_are_told_by_their_beginning(name):
    assert format_of(encoded(picture(0), name)[:64]) == name


@pytest.mark.parametrize("name", ["TIFF", "JPEG2000", "ICO", "PPM", "AVIF"])
def test_formats_that_are_not_read_have_a_name(name):
    found = format_of(encoded(picture(0), name)[:64])
    assert found == {"JPEG2000": "JPEG 2000", "PPM": "PNM"}.get(name, name)


@pytest.mark.parametrize("content", [b"", b"BMW is a car, and this is a text", b"PK\3\4", b"RIFF"])
def test_other_files_are_no_pictures(content):
    assert format_of(content) is None


@pytest.mark.parametrize("name", [".DS_Store", "._x.png", "Thumbs.db", "__MACOSX", "desktop.INI"])
def test_what_systems_leave_behind_is_passed_over(name):
    assert is_passed_over(name)
    assert not is_passed_over(f"my{name}")


def test_names_are_printed_on_one_line_without_terminal_codes():
    assert printable("Ünïcödé 'x'.jpg") == "Ünïcödé 'x'.jpg"
    assert printable("a\nb\x1b[31m\udcff") == r"a\nb\x1b[31m\udcff"
    assert printable("a\u2028\u2029\x9b\x7f") == r"a\u2028\u2029\x9b\x7f"
    assert printable("a\u202egpj.exe\u2066") == r"a\u202egpj.exe\u2066"


@pytest.mark.parametrize(
    "name",
    [
        "\u0645\u06cc\u200c\u062e.jpg",  # Persian, with a non-joiner
        "\U0001f469\u200d\U0001f52c.jpg",  # an emoji of two that are joined
        "\u732b\u3000\u72ac.jpg",  # Japanese, with a wide space
        "Screenshot at 9.41.00\u202fAM.png",  # as macOS writes it
        "\u05d0\u200f!.jpg",  # Hebrew, with the mark that keeps its "!" on the left
    ],
    ids=range(5),
)
def test_names_of_all_languages_are_printed_as_they_are(name):
    assert printable(name) == name


def test_a_folder_that_cannot_be_read_is_told(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    (tmp_path / "a.jpg").touch()
    scandir = levit_common.picture_files.os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(levit_common.picture_files.os, "scandir", refuse)
    files, refused = walk(tmp_path)
    assert files == [str(tmp_path / "a.jpg")]
    assert refused == [(str(tmp_path / "locked"), "folder that cannot be read: Permission denied")]


def test_links_to_files_and_folders_are_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.jpg").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "b.jpg").symlink_to(tmp_path / "real" / "a.jpg")
    files, refused = walk(tmp_path)
    assert [Path(file).relative_to(tmp_path).as_posix() for file in files] == [
        "b.jpg",
        "link/a.jpg",
        "real/a.jpg",
    ]
    assert refused == []


@pytest.mark.parametrize(
    ("paths", "stems"),
    [
        (["a.jpg", "b.png"], ["a", "b"]),
        (["monday/1.jpg", "tuesday/1.jpg", "1.png"], ["1", "1-2", "1-3"]),
        (["a.jpg", "a.png", "a-2.jpg"], ["1-a", "2-a-2", "3-a-2"]),
    ],
)
def test_pictures_of_the_same_name_get_files_of_their_own(paths, stems):
    assert distinct_stems(paths) == stems
