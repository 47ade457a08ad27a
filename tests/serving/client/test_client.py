"""The client over gRPC and REST, blocking and on asyncio: the same answers, and the same errors."""

import ssl
import subprocess
import sys
import threading

import grpc
import numpy as np
import pytest

from serving.client import Client, Prediction, RequestError, Tls
from serving.client.pictures import BATCH_PICTURES
from tests.support.serving.served_pictures import blank_png
from tests.support.serving.serving_client_cases import ask
from tests.support.serving.serving_fakes import MODEL, SCORES, Fail, grpc_fake, rest_fake


def test_pictures_are_sent_as_they_are_and_come_back_with_names(fake, kind, tmp_path):
    content = b"\xff\xd8 picture \x00\xff\x00"
    file = tmp_path / "picture.jpg"
    file.write_bytes(content + b"..")
    found = ask(kind, fake.address, "classify", [content, file, str(file)])
    names = [str(len(content)), str(len(content) + 2), str(len(content) + 2)]
    assert found == [[Prediction(n, SCORES[0]), Prediction("other", SCORES[1])] for n in names]
    assert fake.pictures == [content, content + b"..", content + b".."]
    assert [asked for asked, _ in fake.requests] == [(MODEL, None, None, "serving_default")]


def test_many_pictures_are_sent_in_several_requests_and_stay_in_order(fake, kind):
    pictures = [bytes(length + 1) for length in range(BATCH_PICTURES + 3)]
    found = ask(kind, fake.address, "classify", pictures)
    assert [int(row[0].name) for row in found] == [len(picture) for picture in pictures]
    assert [len(sent) for _, sent in fake.requests] == [BATCH_PICTURES, 3]


def test_a_request_holds_no_more_pixels_than_servers_decode(fake, kind):
    pictures = [blank_png(5_000)] * 9  # 25 million pixels each
    assert len(ask(kind, fake.address, "classify", pictures)) == 9
    assert [len(sent) for _, sent in fake.requests] == [8, 1]


def test_no_pictures_need_no_request(fake, kind):
    assert ask(kind, fake.address, "classify", []) == []
    assert fake.requests == []


def test_a_version_or_a_label_is_asked_for(fake, kind):
    ask(kind, fake.address, "classify", [b"x"], options={"version": 7})
    ask(kind, fake.address, "classify", [b"x"], options={"label": "a/b c"})
    assert [asked[1:3] for asked, _ in fake.requests] == [
        (7, None),
        (None, "a/b c"),
    ]


def test_the_status_of_a_label_is_that_of_its_version(fake, kind):
    options = {"label": "stable"}
    (found,) = ask(kind, fake.address, "model_status", options=options)
    assert found.version == 3
    fake.script.append(Fail("INVALID_ARGUMENT", "Unrecognized servable version label: stable"))
    with pytest.raises(RequestError, match="Unrecognized servable version label"):
        ask(kind, fake.address, "model_status", options=options)
    label, version = (None, "stable"), (3, None)
    assert [asked[1:3] for asked, *_ in fake.requests] == [label, version, label]


def test_status_and_metadata_are_read(fake, kind):
    new, old = ask(kind, fake.address, "model_status")
    assert (new.version, new.state, new.error_code, new.error_message) == (3, "AVAILABLE", "OK", "")
    assert (old.version, old.state, old.error_code, old.error_message) == (
        *(2, "END"),
        *("NOT_FOUND", "gone"),
    )
    found = ask(kind, fake.address, "metadata")
    assert (found.model, found.version, list(found.signatures)) == (MODEL, 3, ["twice"])
    signature = found.signatures["twice"]
    assert signature.method_name == "tensorflow/serving/predict"
    assert (signature.inputs["x"].dtype, signature.inputs["x"].shape) == ("uint8", (None, 2))
    assert (signature.outputs["y"].dtype, signature.outputs["y"].shape) == ("half", None)


def test_arrays_go_there_and_back(fake, kind):
    inputs = {
        "pixels": np.arange(12, dtype=np.float32).reshape(2, 2, 3) / 7,
        "numbers": np.array([[2**53, -1]], np.int64),
        "flags": np.array([True, False]),
    }
    found = ask(kind, fake.address, "predict", inputs, signature_name="other")
    assert sorted(found) == sorted(inputs)
    for name, array in inputs.items():
        np.testing.assert_array_equal(found[name].astype(array.dtype), array)
        assert found[name].dtype.kind == array.dtype.kind
    assert fake.requests[-1][0][3] == "other"


def test_outputs_have_the_types_of_the_signature(fake, kind):
    fake.always = lambda inputs: {"y": np.array([1.5, 2], np.float16)}
    if kind.endswith("rest"):
        fake.always = None
        fake.script += [None, lambda inputs: [1.5, 2]]  # a single output comes without its name
    x = np.zeros((1, 2), np.uint8)
    found = ask(kind, fake.address, "predict", {"x": x}, signature_name="twice")
    assert list(found) == ["y"]
    assert found["y"].dtype == np.float16
    assert found["y"].tolist() == [1.5, 2]


def test_strings_keep_their_zero_bytes(fake, kind):
    fake.always = lambda inputs: {"y_bytes": inputs["x"]}
    sent = [b"a\x00", b"\xff\x00\x00"]
    found = ask(kind, fake.address, "predict", {"x": sent}, output_filter=["y_bytes"])["y_bytes"]
    assert found.tolist() == sent


@pytest.mark.parametrize("kind", ["grpc", "async grpc"], indirect=True)
def test_messages_may_be_larger_than_grpcs_own_limit(fake, kind):
    large = np.random.default_rng(0).integers(0, 256, 6 * 2**20, dtype=np.uint8)
    found = ask(kind, fake.address, "predict", {"x": large}, signature_name="s")
    np.testing.assert_array_equal(found["x"], large)


def test_wrong_arguments_are_errors_before_anything_is_sent(fake, kind, tmp_path):
    (tmp_path / "empty.jpg").touch()

    def classify(*images):
        return ask(kind, fake.address, "classify", list(images))

    with pytest.raises(ValueError, match=r"missing.jpg: cannot be read: No such file"):
        classify(tmp_path / "missing.jpg")
    with pytest.raises(ValueError, match=r"empty.jpg: empty \(0 bytes\)"):
        classify(str(tmp_path / "empty.jpg"))
    with pytest.raises(ValueError, match="image bytes: empty"):
        classify(b"")
    with pytest.raises(TypeError, match=r"predict takes arrays. Received: ndarray"):
        classify(np.zeros((2, 2, 3)))
    with pytest.raises(TypeError, match="a sequence of pictures"):
        ask(kind, fake.address, "classify", "picture.jpg")
    with pytest.raises(ValueError, match="x: not an array"):
        ask(kind, fake.address, "predict", {"x": [[1], [1, 2]]})
    with pytest.raises(ValueError, match=r"x: expected numbers or bytes. Received: dict"):
        ask(kind, fake.address, "predict", {"x": [{}]})
    with pytest.raises(ValueError, match="timeout_s: expected a positive number"):
        ask(kind, fake.address, "model_status", timeout_s=0)
    assert [request for request in fake.requests if request[1]] == []


@pytest.mark.parametrize(
    ("server", "options", "said"),
    [
        ("localhost", {}, "the port is missing"),
        ("ftp://localhost:1", {}, "expected HOST:PORT for gRPC, or http://HOST:PORT"),
        ("localhost:1", {"version": 1, "label": "a"}, "at most one"),
        ("localhost:1", {"version": -1}, "0 or more"),
        ("localhost:1", {"model": ""}, "the name of a model"),
        ("localhost:1", {"timeout_s": 0}, "positive"),
        ("http://localhost:1", {"tls": Tls()}, "needs an https address"),
    ],
)
def test_a_client_that_makes_no_sense_is_refused(server, options, said):
    with pytest.raises(ValueError, match=said):
        Client(server, **options)


def test_half_of_a_certificate_and_missing_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected both or neither"):
        Tls(certificate="a.pem")
    tls = Tls(root_certificates=tmp_path / "missing.pem")
    for server in ("localhost:1", "https://localhost:1"):
        with pytest.raises(ValueError, match=r"missing.pem: cannot be read: No such file"):
            Client(server, tls=tls)
    (tmp_path / "text.pem").write_text("text")
    with pytest.raises(ValueError, match=r"text.pem: no certificates or keys in PEM"):
        Client("https://localhost:1", tls=Tls(root_certificates=tmp_path / "text.pem"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of localhost that is its own authority, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-out", certificate]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", key]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def test_encrypted_connections_need_and_take_certificates(certificate, kind):
    file, key = certificate
    if kind.endswith("grpc"):
        pair = [(key.read_bytes(), file.read_bytes())]
        credentials = grpc.ssl_server_credentials(pair, file.read_bytes(), True)
        serving = grpc_fake(credentials=credentials)
    else:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=file)
        context.load_cert_chain(file, key)
        context.verify_mode = ssl.CERT_REQUIRED
        serving = rest_fake(ssl_context=context)
    with serving as fake:
        own = Tls(root_certificates=file, certificate=file, key=key)
        found = ask(kind, fake.address, "classify", [b"x"], options={"tls": own})
        assert found[0][0].name == "1"
        stranger = {"tls": Tls(), "timeout_s": 5}
        with pytest.raises(RequestError, match="UNAVAILABLE"):
            ask(kind, fake.address, "classify", [b"x"], options=stranger)
        anonymous = {"tls": Tls(root_certificates=file), "timeout_s": 5}
        with pytest.raises(RequestError, match="UNAVAILABLE"):
            ask(kind, fake.address, "classify", [b"x"], options=anonymous)


@pytest.mark.parametrize("kind", ["grpc", "rest"], indirect=True)
def test_threads_may_share_a_client(fake, kind):
    pictures = [bytes(length + 1) for length in range(40)]
    found = {}
    with Client(fake.address, MODEL) as client:

        def work(start):
            for picture in pictures[start::8]:
                found[len(picture)] = client.classify([picture])[0][0].name

        threads = [threading.Thread(target=work, args=(start,)) for start in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {len(picture): str(len(picture)) for picture in pictures}


def test_the_client_starts_without_tensorflow():
    code = "import sys, serving.client.__main__; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
