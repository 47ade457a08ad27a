"""SIGTERM and Ctrl-C stop a run after its step; a second one ends the process."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from training.loop.preemption import stop_on_signals


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")]
)
def test_the_first_signal_is_a_wish(number, name, capfd):
    before = signal.getsignal(number)
    with stop_on_signals() as wish:
        assert not wish()
        os.kill(os.getpid(), number)
        wait_for(wish)
        assert wish.name == name
    assert signal.getsignal(number) == before
    assert f"{name}: saves after this step; once more ends at once." in capfd.readouterr().err


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_the_second_signal_ends_the_process_whatever_it_is_at(number):
    script = """
        import ctypes
        from training.loop.preemption import stop_on_signals
        with stop_on_signals():
            print("ready", flush=True)
            # As TensorFlow in a long step: no Python runs in this thread meanwhile.
            while True:
                ctypes.CDLL(None).sleep(1000)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        while "once more ends at once" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait(60) == 128 + number


def test_other_threads_only_never_see_a_wish():
    found = []

    def run():
        with stop_on_signals() as wish:
            found.append(wish())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False]
