"""The load test measures what it says: against servers whose latency is known."""

import json
import re
import sys
import threading
import time

import numpy as np
import pytest

from serving import load_test
from serving.client import grpc_codec, rest_codec
from serving.client.calls import Target
from serving.load.load_test_generator import Load, Samples, arrival_times, generate
from serving.load.load_test_report import PICTURE_FILE, REPORT_FILE, make_report, to_text
from serving.load_test import make_requests, read_pictures
from tests.support.cases import slow
from tests.support.commands import call
from tests.support.serving.serving_fakes import MODEL, Fail, grpc_fake, rest_fake

PICTURES = [b"\xff\xd8\xff" + b"picture" * (n + 1) for n in range(5)]


@pytest.fixture(scope="module", params=["grpc", slow("rest")])
def server(request):
    with {"grpc": grpc_fake, "rest": rest_fake}[request.param]() as fake:
        yield fake


@pytest.fixture
def fake(server):
    return server.fresh()


def make_load(fake, **options):
    path, bodies = make_requests(fake.address, Target(MODEL), PICTURES)
    settings = {"rate": 50.0, "duration_s": 1.0, "warmup_s": 0.2, "timeout_s": 5.0} | options
    return Load(fake.address, path, bodies, **settings)


def measure(fake, processes=1, **options):
    load = make_load(fake, **options)
    return make_report(load, generate(load, processes))


def test_latencies_are_the_servers(fake):
    fake.always = 0.1
    report = measure(fake)
    assert report.answered == report.requests > 30
    assert 100 <= report.latency_ms["p50"] < 130
    assert not report.errors
    assert set(fake.pictures) == set(PICTURES)


def test_a_stalled_server_delays_all_who_came_meanwhile(fake):
    # For half a second nobody is answered; the load goes on all the same.
    end = []

    def stall(inputs):
        end.append(time.monotonic() + 0.5) if not end else None
        time.sleep(max(0.0, end[0] - time.monotonic()))
        return {"x": np.zeros(1) if "rest" not in type(fake).__name__.lower() else [0.0]}

    fake.always = stall
    report = measure(fake, rate=100.0, arrivals="uniform", warmup_s=0.0)
    # Those that came at t < 0.5 s waited for at least 0.5 - t: evenly up to 500 ms. A generator
    # that waited with them would have seen one slow answer.
    assert report.requests == 100
    waited = np.sort(report.latencies_ms)[::-1]
    assert (waited[:40] > np.linspace(480, 80, 40)).all()


def test_the_closed_loop_keeps_so_many_requests_under_way(fake):
    fake.always = 0.1
    report = measure(fake, rate=None, concurrency=10)
    # Little's law: how many are under way is their rate times how long each takes.
    under_way = report.throughput * report.latency_ms["mean"] / 1e3
    assert under_way == pytest.approx(10, rel=0.25)
    assert report.throughput <= 105
    assert report.latency_ms["p50"] >= 100


def test_errors_are_counted_by_kind_with_what_was_said(fake):
    fake.script += [None] * 5 + [Fail("UNAVAILABLE", "busy"), Fail("NOT_FOUND", "gone")] * 3
    fake.script += [3.0]
    report = measure(fake, timeout_s=1.5, warmup_s=0.0, arrivals="uniform")
    assert report.errors == {"UNAVAILABLE": 3, "NOT_FOUND": 3, "DEADLINE_EXCEEDED": 1}
    assert report.answered == report.requests - 7 == 43
    assert report.messages["UNAVAILABLE"] == "busy"
    assert "3 x NOT_FOUND: gone" in to_text(report)
    assert len(fake.requests) == 50  # nothing was sent twice


def test_processes_divide_the_load_and_its_results_are_put_together(fake):
    report = measure(fake, processes=2, rate=60.0, duration_s=2.0, connections=2)
    assert report.requests == pytest.approx(120, abs=35)
    assert report.answered == report.requests
    assert report.throughput == pytest.approx(report.offered, rel=0.25)


def test_uniform_gaps_are_those_of_all_processes_together(fake):
    load = make_load(fake, rate=9.0, arrivals="uniform", warmup_s=0.0)
    samples = generate(load, processes=3)
    np.testing.assert_allclose(np.sort(samples.intended), np.arange(9) / 9)


def test_arrivals_are_those_of_the_rate_and_of_the_seed():
    load = Load("localhost:1", "", [b""], rate=200.0, duration_s=49.0, warmup_s=1.0)
    times = arrival_times(load)
    gaps = np.diff(times)
    assert times.min() > 0 <= gaps.min()
    assert times.max() < 50
    assert len(times) == pytest.approx(10000, rel=0.04)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # as exponential gaps have it
    np.testing.assert_array_equal(times, arrival_times(load))
    uniform = Load("localhost:1", "", [b""], rate=4.0, duration_s=2.0, arrivals="uniform")
    np.testing.assert_allclose(arrival_times(uniform), np.arange(12) / 4)


def test_numbers_of_a_report_are_those_of_the_samples():
    load = Load("localhost:1", "", [b""], rate=100.0, duration_s=10.0, warmup_s=1.0)
    intended = np.arange(1100) / 100
    latency = np.where(intended < 1, 100.0, np.tile(np.arange(1, 101), 11) / 1000)  # 1 to 100 ms
    codes = np.full(1100, "OK", "U32")
    codes[[50, 200, 300]] = "INTERNAL"  # the first of them before it was measured
    latency[[200, 300]] = 60.0
    samples = Samples(intended, intended + 0.001, intended + latency, codes, {}, cpu_s=0.22)
    report = make_report(load, samples)
    assert (report.requests, report.answered, report.errors) == (1000, 998, {"INTERNAL": 2})
    assert report.latency_ms == pytest.approx(
        {"p50": 51, "p90": 91, "p99": 100, "p99.9": 100, "mean": 50.5992, "max": 100}, abs=0.01
    )
    assert report.throughput == pytest.approx(99.8, abs=1.1)  # the last ones came after the end
    assert report.cpu_ms == pytest.approx(0.2)
    assert report.kept_up


def test_a_generator_that_sends_late_is_told_of():
    load = Load("localhost:1", "", [b""], rate=100.0, duration_s=1.0, warmup_s=0.0)
    intended = np.arange(100) / 100
    late = np.where(np.arange(100) < 90, 0.0, 0.05)
    codes = np.full(100, "OK", "U32")
    samples = Samples(intended, intended + late, intended + late + 0.01, codes, {}, 0.1)
    report = make_report(load, samples)
    assert not report.kept_up
    assert "warning: the generator sent late" in to_text(report)
    assert report.latency_ms["p99"] == pytest.approx(60)


def test_a_duration_without_requests_is_an_error():
    load = Load("localhost:1", "", [b""], rate=0.1, duration_s=1.0, warmup_s=0.0)
    nothing = np.zeros(0)
    with pytest.raises(ValueError, match="no request fell into"):
        make_report(load, Samples(nothing, nothing, nothing, np.zeros(0, "U32"), {}, 0.0))


@pytest.fixture
def folder(tmp_path):
    for number, content in enumerate(PICTURES):
        (tmp_path / "in" / "deep").mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / "deep" / f"{number}.jpg").write_bytes(content)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    return tmp_path / "in"


def run(fake, folder, *arguments):
    command = [f"--server={fake.address}", f"--images={folder}", f"--model={MODEL}"]
    short = ["--rate=40", "--duration=0.5", "--warmup=0.1"]
    return call(load_test, [*command, *short, *arguments])


def test_the_command_prints_and_keeps_its_results(fake, folder, tmp_path, capsys):
    output = tmp_path / "out"
    assert run(fake, folder, f"--output={output}", "--seed=3") == 0
    printed = capsys.readouterr().out
    kept = json.loads((output / REPORT_FILE).read_text())
    assert kept["settings"]["seed"] == 3
    assert f"p99 {kept['report']['latency_ms']['p99']:.2f}" in printed
    assert "ms of processor time a request" in printed
    assert (output / PICTURE_FILE).read_bytes().startswith(b"\x89PNG")
    assert set(fake.pictures) == set(PICTURES)
    assert run(fake, folder, f"--output={output}") == 1
    assert "exists already; --overwrite" in capsys.readouterr().err
    assert run(fake, folder, f"--output={output}", "--overwrite", "--rate=max") == 0


def test_signature_input_batch_and_version_are_as_asked_for(fake, folder):
    seen = []

    def remember(inputs):
        seen.append({name: len(value) for name, value in inputs.items()})
        return {"y": [0.0]}

    fake.always = remember
    arguments = ["--signature=other", "--input=data", "--batch=3", "--version=4"]
    assert run(fake, folder, *arguments) == 0
    assert seen[0] == {"data": 3}
    assert fake.requests[0][0] == (MODEL, 4, None, "other")


def test_what_cannot_work_is_told_before_load_is_made(fake, folder, tmp_path, capsys):
    fake.script.append(Fail("NOT_FOUND", "no such model"))
    assert run(fake, folder) == 1
    assert f"error: {fake.address}, model {MODEL}: NOT_FOUND: no such" in capsys.readouterr().err
    assert len(fake.requests) == 1
    assert run(fake, tmp_path / "nowhere") == 1
    assert "nowhere: expected pictures (JPEG, " in capsys.readouterr().err
    assert run(fake, folder, "--rate=-1") == 1
    assert "--rate: expected a positive number or max" in capsys.readouterr().err


@pytest.mark.parametrize(("batch", "expected"), [(1, 4), (3, 2), (4, 1), (9, 1)])
@pytest.mark.parametrize("server", ["localhost:1", "http://localhost:1"])
def test_requests_hold_every_picture_about_once(monkeypatch, server, batch, expected):
    sent = []
    for codec, drop in ((grpc_codec, 1), (rest_codec, 0)):
        keep = lambda *group, drop=drop, **_: sent.append(group[drop]) or b""  # noqa: E731
        monkeypatch.setattr(codec, "picture_request", keep)
    pictures = [b"a", b"b", b"c", b"d"]
    _, bodies = make_requests(server, Target(MODEL), pictures, batch=batch)
    assert len(bodies) == expected
    assert {len(group) for group in sent} == {batch}
    assert {picture for group in sent for picture in group} == set(pictures)


def test_without_matplotlib_no_load_is_made(fake, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run(fake, folder, f"--output={tmp_path / 'out'}") == 1
    assert "needs matplotlib" in capsys.readouterr().err
    assert fake.requests == []


def test_the_numbers_are_kept_though_the_picture_cannot_be_drawn(fake, folder, tmp_path):
    output = tmp_path / "out"
    (output / PICTURE_FILE).mkdir(parents=True)
    assert run(fake, folder, f"--output={output}", "--overwrite") == 1
    assert json.loads((output / REPORT_FILE).read_text())["report"]["requests"]


def test_failed_requests_are_said_and_all_of_them_end_in_an_error(fake, folder, capsys):
    fake.script.append(None)  # for the first request, which is no part of the load
    fake.always = Fail("INVALID_ARGUMENT", "no picture")
    assert run(fake, folder) == 1
    assert re.search(r"warning: (\S+) of \1 requests failed", capsys.readouterr().out)


def test_pictures_are_drawn_by_the_seed_where_there_are_many(folder):
    assert read_pictures(folder, 10, 0) == PICTURES
    drawn = read_pictures(folder, 2, 0)
    assert len(drawn) == 2
    assert drawn == read_pictures(folder, 2, 0)
    assert any(read_pictures(folder, 2, seed) != drawn for seed in range(1, 5))


def test_a_process_of_the_generator_that_fails_ends_the_test(fake):
    load = make_load(fake, arrivals="uniform", duration_s=0.1)
    threads = threading.active_count()
    object.__setattr__(load, "bodies", [3.5])  # which no transport can send
    with pytest.raises(OSError, match="a process of the generator failed"):
        generate(load, processes=2)
    assert threading.active_count() <= threads + 1
