"""The stand-in in a process of its own, serving a LeViT of random weights, for benchmarks."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from serving.client import Client, RequestError, RetryPolicy

MODEL = "levit"
_START_S = 300.0


@dataclass(frozen=True)
class Running:
    """A server that answers.

    Attributes:
      grpc: its address for gRPC.
      rest: its address for REST.
      pid: of its process.
    """

    grpc: str
    rest: str
    pid: int

    def resident_mb(self) -> float:
        """Memory that the process holds, MB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def cpu_s(self) -> float:
        """Processor time that the process has used, seconds."""
        # After the name, which may hold anything: state is field 3, utime 14 and stime 15.
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def export_model(variant: str, repository: Path) -> Path:
    """Publishes the network as version 1 of `MODEL`. Returns the version's folder."""
    from benchmarks.networks.ours import levit
    from serving.export.exporting import export

    return export(levit(variant), MODEL, repository).path


@contextlib.contextmanager
def server(repository: Path, *arguments: str) -> Iterator[Running]:
    """A server of the repository on free ports; it is told to stop at the end.

    Args:
      repository: with the configuration that `export_model` wrote.
      *arguments: more of the server's flags.

    Raises:
      OSError: it did not start; its output is the message.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that this block's end is reached
    grpc_port, rest_port = _free_ports(2)
    command = [sys.executable, "-m", "serving.server", f"--port={grpc_port}"]
    command += [f"--rest_api_port={rest_port}"]
    command += [f"--model_config_file={repository / 'models.config'}", *arguments]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            address = f"localhost:{grpc_port}"
            if not _answers(address, process):
                output.seek(0)
                lines = output.read().decode(errors="replace").splitlines()
                raise OSError("the server has not started:\n" + "\n".join(lines[-20:]))
            yield Running(address, f"http://localhost:{rest_port}", process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _answers(address: str, process: subprocess.Popen) -> bool:
    end = time.monotonic() + _START_S
    with Client(address, MODEL, retries=RetryPolicy(attempts=1)) as client:
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(RequestError):
                if any(one.state == "AVAILABLE" for one in client.model_status()):
                    return True
            time.sleep(0.2)
    return False


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
