"""Writes the text files beside the models, for starting TensorFlow Serving and Docker.

`tensorflow-serving-api` has no classes for BatchingParameters, MonitoringConfig and SSLConfig, so
these are written as text. Existing files are kept, because users may have edited them.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from serving.export.picture_graph import MAX_PIXELS
from serving.export.warmup_requests import BATCH_SIZES
from serving.repository import CONFIG_FILE

IMAGE = "tensorflow/serving:latest"
BATCHING_FILE = "batching.config"
MONITORING_FILE = "monitoring.config"
SSL_FILE = "ssl.config"
COMPOSE_FILE = "docker-compose.yml"
NOTES_FILE = "SERVING.md"
METRICS_PATH = "/monitoring/prometheus/metrics"
GRPC_PORT, REST_PORT = 8500, 8501
_BATCH_TIMEOUT_MICROS = 1000


def write_deployment(repository: Path, base: str) -> list[Path]:
    """Writes the files that do not exist yet.

    Args:
      repository: the folder of models.
      base: path of that folder on the server.

    Returns:
      Paths of the written files.
    """
    cores = os.cpu_count() or 1
    contents = {
        BATCHING_FILE: batching_config(cores),
        MONITORING_FILE: monitoring_config(),
        SSL_FILE: ssl_config(),
        COMPOSE_FILE: compose_file(repository, base, cores),
        NOTES_FILE: notes(repository, base, cores),
    }
    written = []
    for name, content in contents.items():
        try:
            with (repository / name).open("x", encoding="utf-8") as file:
                file.write(content)
        except FileExistsError:
            continue
        written.append(repository / name)
    return written


def server_flags(base: str, cores: int) -> list[str]:
    """Returns the flags of `tensorflow_model_server` for both ways of starting it."""
    return [
        f"--model_config_file={base}/{CONFIG_FILE}",
        "--model_config_file_poll_wait_seconds=10",
        "--allow_version_labels_for_unavailable_models=true",
        f"--monitoring_config_file={base}/{MONITORING_FILE}",
        "--tensorflow_intra_op_parallelism=1",
        f"--tensorflow_inter_op_parallelism={cores}",
    ]


def server_command(base: str, cores: int) -> str:
    """Returns the command that starts an installed `tensorflow_model_server`."""
    flags = [f"--port={GRPC_PORT}", f"--rest_api_port={REST_PORT}", *server_flags(base, cores)]
    return command_line([["tensorflow_model_server"], *([flag] for flag in flags)])


def docker_command(repository: Path, base: str, cores: int) -> str:
    """Returns the command that starts the official container, whose entry point sets the ports."""
    mount = ["type=bind", f"source={repository}", f"target={base}", "readonly"]
    return command_line(
        [
            ["docker", "run", "--rm"],
            ["--publish", f"127.0.0.1:{GRPC_PORT}:{GRPC_PORT}"],
            ["--publish", f"127.0.0.1:{REST_PORT}:{REST_PORT}"],
            ["--mount", _comma_separated(mount)],
            [IMAGE],
            *([flag] for flag in server_flags(base, cores)),
        ]
    )


def stand_in_command(repository: Path, base: str, name: str) -> str:
    """Returns the command that starts the stand-in of this package on this machine.

    It serves all models, or only the model `name` if models.config has paths of another machine.
    """
    models = [
        f"--model_config_file={base}/{CONFIG_FILE}",
        "--model_config_file_poll_wait_seconds=10",
        "--allow_version_labels_for_unavailable_models=true",
    ]
    if base != str(repository):
        models = [f"--model_name={name}", f"--model_base_path={repository}/{name}"]
    flags = [f"--port={GRPC_PORT}", f"--rest_api_port={REST_PORT}", *models]
    return command_line([["python", "-m", "serving.server"], *([flag] for flag in flags)])


def batching_config(cores: int) -> str:
    return f"""\
# BatchingParameters of TensorFlow Serving: --enable_batching --batching_parameters_file=THIS.
# Requests that wait at the same time are computed together. A picture that cannot be decoded then
# makes all requests of its batch fail. Without allowed_batch_sizes, a batch is computed as it is;
# with them, it would be filled up to the next size, which costs a CPU as much as more pictures.
max_batch_size {{ value: {BATCH_SIZES[-1]} }}
# Longest wait for others, in microseconds: 0 for the shortest latency, up to 10000 for throughput.
batch_timeout_micros {{ value: {_BATCH_TIMEOUT_MICROS} }}
# One thread per core.
num_batch_threads {{ value: {cores} }}
# Batches that may wait; beyond them requests are refused with UNAVAILABLE.
max_enqueued_batches {{ value: 100 }}
"""


def monitoring_config() -> str:
    return f"""\
# MonitoringConfig of TensorFlow Serving: --monitoring_config_file=THIS, on the REST port.
prometheus_config {{
  enable: true
  path: "{METRICS_PATH}"
}}
"""


def ssl_config() -> str:
    return """\
# SSLConfig of TensorFlow Serving: --ssl_config_file=THIS. For gRPC only; put a proxy before REST.
#
# The fields take the PEM text itself, not the name of a file, each line ending in \\n:
#   awk '{printf "%s\\\\n", $0}' server.key
# Keep this file readable for the server only. Until the fields are filled in, no server starts
# with it.
server_key: "-----BEGIN PRIVATE KEY-----\\n...\\n-----END PRIVATE KEY-----\\n"
server_cert: "-----BEGIN CERTIFICATE-----\\n...\\n-----END CERTIFICATE-----\\n"
# To admit clients only with a certificate of this authority, also set client_verify.
custom_ca: ""
client_verify: false
"""


def compose_file(repository: Path, base: str, cores: int) -> str:
    flags = "\n".join(f"      - {_in_compose(flag)}" for flag in server_flags(base, cores))
    return f"""\
# docker compose up. Publishes to this machine only; SERVING.md explains the flags.
services:
  serving:
    image: {IMAGE}
    restart: unless-stopped
    ports:
      - "127.0.0.1:{GRPC_PORT}:{GRPC_PORT}"  # gRPC
      - "127.0.0.1:{REST_PORT}:{REST_PORT}"  # REST and metrics
    volumes:
      - type: bind
        source: {_in_compose(str(repository))}
        target: {_in_compose(base)}
        read_only: true
    command:
{flags}
"""


def notes(repository: Path, base: str, cores: int) -> str:
    batching = shlex.quote(f"--batching_parameters_file={base}/{BATCHING_FILE}")
    return f"""\
# Serving these models

TensorFlow Serving in its container:

```sh
{docker_command(repository, base, cores)}
```

or `docker compose up` with `{COMPOSE_FILE}`, or installed:

```sh
{server_command(base, cores)}
```

The stand-in of levit_tf, for laptops and tests:

```sh
{stand_in_command(repository, base, "NAME")}
```

`{CONFIG_FILE}` names the models by the path under which the server sees them, `{base}`; the
container sees the folder there, too. Ports are published to this machine only.

## Requests

- `serving_default` takes `image_bytes`, JPEG, PNG, GIF or BMP files of any size, and returns
  `classes`, `scores` and `probabilities`.
- `image_tensor` takes `images`, float32 (batch, height, width, 3), RGB 0..255, and returns the same
  and `logits`.
- `classify` takes tf.Example with the bytes feature `image/encoded`, and returns `classes` and
  `scores`.

Pictures of more than {MAX_PIXELS:,} pixels are refused, and so is WebP. The EXIF orientation of
JPEGs is applied; send other pictures upright.

```sh
printf '{{"instances": [{{"b64": "%s"}}]}}' "$(base64 -w0 photo.jpg)" |
    curl --data @- http://localhost:{REST_PORT}/v1/models/NAME:predict
```

## Flags for CPUs

- `--tensorflow_intra_op_parallelism`: threads of one operation. 1 gives the highest throughput
  when requests keep all cores busy, and the shortest latency of one picture at a time, too. More
  help requests of many pictures only.
- `--tensorflow_inter_op_parallelism`: operations at a time, over all requests: the number of cores.
- `--enable_batching {batching}`: computes requests
  together. It helps under load with spare cores; measure it. Start with as many threads as cores
  and a timeout of 0 to 10 ms.
- `--mixed_precision=bfloat16`: computes a float32 export in bfloat16. An export with
  `--precision=bfloat16` does it better and needs no flag; both need a CPU with AVX512-BF16 or AMX.
- oneDNN is on by default on x86-64 (`TF_ENABLE_ONEDNN_OPTS=1` on other CPUs).
- XLA is not used; `--xla_cpu_compilation_enabled` has no benefit here.
- `--model_config_file_poll_wait_seconds` applies what `python -m serving.versions` changes.
- `--allow_version_labels_for_unavailable_models` allows a label for a version that is not
  loaded yet. Without it, a server with labels does not even start.
- `--prefer_tflite_model` serves `model.tflite` of versions that were exported with `--tflite`: the
  signature `image_tensor` only, and one picture per request.

Requests that name neither a version nor a label go to the highest version that is served.
"""


def command_line(parts: Sequence[Sequence[str]]) -> str:
    """Formats a command for a shell, quoted where needed.

    Args:
      parts: the arguments, grouped by line.
    """
    return " \\\n    ".join(map(shlex.join, parts))


def _comma_separated(fields: Sequence[str]) -> str:
    """Formats fields as `docker run --mount` parses them: as a line of CSV."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()


def _in_compose(text: str) -> str:
    """Formats a string for YAML such that Compose replaces no variables in it."""
    return json.dumps(text, ensure_ascii=False).replace("$", "$$")
