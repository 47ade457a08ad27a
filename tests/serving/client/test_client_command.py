"""`python -m serving.client` prints names and probabilities, and errors in one line."""

import os
from pathlib import Path

import pytest

from levit_common.picture_files import printable
from serving.client import __main__ as command
from tests.support.commands import call
from tests.support.serving.serving_fakes import MODEL, Fail, grpc_fake, rest_fake
from tests.support.training.data_cases import encoded
from tests.support.training.data_cases import picture as picture_of


@pytest.fixture(scope="module", params=["grpc", "rest"])
def fake(request):
    with {"grpc": grpc_fake, "rest": rest_fake}[request.param]() as fake:
        yield fake


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(b"12345")
    return str(path)


def run(fake, *arguments):
    return call(
        command, [f"--server={fake.address}", f"--model={MODEL}", "--timeout=5", *arguments]
    )


def test_pictures_are_named_with_their_classes(fake, picture, capsys):
    assert run(fake, picture, "--version=3", picture) == 0
    output, errors = capsys.readouterr()
    assert output == 2 * f"{picture}\n   75.00 %  5\n   25.00 %  other\n"
    assert errors == ""
    assert fake.requests[-1][0] == (MODEL, 3, None, "serving_default")


def test_fewer_classes_and_a_label_may_be_asked_for(fake, picture, capsys):
    assert run(fake, "--top=1", "--label=stable", picture) == 0
    assert capsys.readouterr().out == f"{picture}\n   75.00 %  5\n"
    assert fake.requests[-1][0][2] == "stable"


def test_what_the_server_says_does_not_reach_the_terminal_as_codes(fake, picture, capsys):
    fake.script.append(Fail("INVALID_ARGUMENT", "no \x1b[2J picture"))
    assert run(fake, picture) == 1
    assert "no \\x1b[2J picture" in capsys.readouterr().err
    assert printable("\x1b[31mcat\x07\x9b ok ä 猫") == "\\x1b[31mcat\\x07\\x9b ok ä 猫"


def test_rest_needs_no_scheme(picture, capsys):
    with rest_fake() as fake:
        address = fake.address.removeprefix("http://")
        assert call(command, [f"--server={address}", "--rest", f"--model={MODEL}", picture]) == 0
    assert capsys.readouterr().out.startswith(picture)


def test_a_picture_that_cannot_be_read_does_not_stop_the_others(fake, picture, capsys):
    fake.script.append(Fail("INVALID_ARGUMENT", "no picture\nat all"))
    assert run(fake, picture, "missing.jpg", picture) == 1
    output, errors = capsys.readouterr()
    assert output == f"{picture}\n   75.00 %  5\n   25.00 %  other\n"
    refused, missing = errors.splitlines()
    assert refused.startswith(f"error: {picture}: {fake.address}, model {MODEL}: ")
    assert refused.endswith("INVALID_ARGUMENT: no picture at all")
    assert missing == "error: missing.jpg: cannot be read: No such file or directory."


def test_a_folder_stands_for_its_pictures(fake, tmp_path, capsys):
    for name in ("b/2.jpg", "1.jpg"):
        path = tmp_path / "my pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture_of(0), "JPEG"))
    (tmp_path / "my pictures" / "notes.txt").write_text("no picture")
    assert run(fake, "--top=1", str(tmp_path / "my pictures")) == 0
    named = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert sorted(named) == [str(tmp_path / "my pictures" / name) for name in ("1.jpg", "b/2.jpg")]


def test_grpc_to_a_rest_port_is_told_once(picture, capsys):
    with rest_fake() as fake:
        address = fake.address.removeprefix("http://")
        assert call(command, [f"--server={address}", f"--model={MODEL}", picture]) == 1
    assert "this port speaks HTTP" in capsys.readouterr().err


def test_a_picture_that_is_too_large_for_the_server_does_not_stop_the_others(fake, picture, capsys):
    fake.script.append(Fail("RESOURCE_EXHAUSTED", "Received message larger than max"))
    assert run(fake, picture, picture) == 1
    output, errors = capsys.readouterr()
    assert output == f"{picture}\n   75.00 %  5\n   25.00 %  other\n"
    assert errors.startswith(f"error: {picture}: ")


def test_a_name_that_is_not_utf_8_is_printed_with_escapes(fake, picture, capsys):
    other = os.fsencode(picture) + b"\xff"
    Path(os.fsdecode(other)).write_bytes(b"12345")
    assert run(fake, os.fsdecode(other), picture) == 0
    assert capsys.readouterr().out.startswith(f"{picture}\\udcff\n   75.00 %  5\n")


def test_an_unknown_model_is_one_error_in_one_line(fake, picture, capsys):
    fake.script.append(Fail("NOT_FOUND", "Servable not found for request: Latest(fake)"))
    assert run(fake, picture, picture) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert len(errors.splitlines()) == 1
    assert "NOT_FOUND: Servable not found" in errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--server=nowhere", "a.jpg"], "error: nowhere: the port is missing"),
        (["--tls", "--server=http://localhost:1", "a.jpg"], "needs an https address"),
        (["--root_certificates=no.pem", "a.jpg"], "error: no.pem: cannot be read"),
    ],
)
def test_arguments_that_cannot_work_are_errors_in_one_line(arguments, said, capsys):
    assert call(command, arguments) == 1
    errors = capsys.readouterr().err
    assert said in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "error: Missing arguments: PICTURE"),
        (["--top=0", "a.jpg"], "--top=0: 0 is not a positive integer"),
        (["--timeout=0", "a.jpg"], "--timeout: expected a positive number. Received: 0"),
        (["--version=1", "--label=a", "a.jpg"], "--version and --label both name a version"),
    ],
)
def test_misused_arguments_are_explained(arguments, said, capsys):
    assert call(command, arguments) == 1
    errors = capsys.readouterr().err
    assert said in errors
    assert len(errors.splitlines()) == 1
