"""Flags and text files of the stand-in: TensorFlow Serving's names and rules, errors that help."""

import pytest
from absl import flags

from serving.server import text_files
from serving.server.flags import define_flags, options_from_flags
from serving.server.models.batching import read_batching_parameters
from serving.server.options import Options
from serving.server.server import Server


def parse(*arguments):
    values = flags.FlagValues()
    define_flags(values)
    values(["server", "--model_base_path=/m", *arguments])
    return options_from_flags(values)


def test_flags_have_tensorflow_servings_names_and_forms():
    options = parse(
        "--port=9000",
        "--rest_api_port=9001",
        "--enable_batching",
        "--enable_model_warmup=false",
        "--tensorflow_session_parallelism=3",
    )
    assert (options.port, options.rest_api_port) == (9000, 9001)
    assert options.enable_batching
    assert not options.enable_model_warmup
    assert options.tensorflow_session_parallelism == 3
    assert options.model_name == "default"


def test_without_a_flag_only_this_machine_can_ask():
    assert parse().host == "127.0.0.1"


@pytest.mark.parametrize(
    ("flag", "instead"),
    [
        ("--enable_profiler=true", "use TensorFlow Serving itself"),
        ("--enable_profiler", "use TensorFlow Serving itself"),
        ("--use_alts_credentials=true", "--ssl_config_file"),
        ("--platform_config_file=x", "--tensorflow_session_config_file"),
        ("--xla_cpu_compilation_enabled", "export without jit_compile"),
    ],
)
def test_a_flag_that_cannot_work_says_what_to_do_instead(flag, instead):
    with pytest.raises(ValueError, match=rf"is not in this stand-in: .*{instead}"):
        parse(flag)


def test_a_flag_that_asks_for_nothing_special_is_fine():
    assert parse("--enable_profiler=false") == parse()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port=0"], "--port and --grpc_socket_path"),
        (["--rest_api_port=8500"], "are both 8500"),
        (["--model_base_path="], "--model_base_path and --model_config_file"),
        (["--batching_parameters_file=x"], "without --enable_batching"),
        (["--mixed_precision=float8"], "--mixed_precision is bfloat16"),
        (["--num_load_threads=-1"], "--num_load_threads must not be negative: -1"),
        (["--max_request_bytes=0"], "--max_request_bytes must be between"),
        (
            ["--tensorflow_session_parallelism=1", "--tensorflow_intra_op_parallelism=1"],
            "Set either --tensorflow_session_parallelism",
        ),
    ],
)
def test_flags_that_do_not_go_together_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        parse(*arguments)


# Batching parameters


def batching(tmp_path, text):
    (tmp_path / "batching.txt").write_text(text)
    return read_batching_parameters(str(tmp_path / "batching.txt"))


def test_batching_parameters_are_read(tmp_path):
    found = batching(
        tmp_path,
        """
        max_batch_size { value: 32 }
        batch_timeout_micros { value: 1000 }
        num_batch_threads { value: 4 }
        max_enqueued_batches { value: 100 }
        allowed_batch_sizes: 8
        allowed_batch_sizes: 32
        thread_pool_name { value: "any" }  # which only names threads
        """,
    )
    assert (found.max_batch_size, found.batch_timeout_micros) == (32, 1000)
    assert (found.num_batch_threads, found.max_enqueued_batches) == (4, 100)
    assert found.allowed_batch_sizes == (8, 32)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size { value: 32 } allowed_batch_sizes: 16", "last entry was 16; expected 32"),
        ("max_batch_size { value: 4 } allowed_batch_sizes: [4, 2, 4]", "must increase"),
        ("max_batch_size { value: 0 }", "max_batch_size must be at least 1: 0"),
        ("num_batch_threads { value: 0 }", "num_batch_threads must be at least 1: 0"),
        ("pad_variable_length_inputs: true", "let the signature bring its inputs to one shape"),
        (
            "max_batch_sise { value: 4 }",
            "text-format tensorflow.serving.BatchingParameters: .*sise",
        ),
        ("max_batch_size: 4", "text-format tensorflow.serving.BatchingParameters"),
    ],
)
def test_batching_parameters_that_break_a_rule_are_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        batching(tmp_path, text)


def test_large_batches_can_be_split(tmp_path):
    found = batching(
        tmp_path,
        "max_batch_size { value: 64 } enable_large_batch_splitting { value: true } "
        "max_execution_batch_size { value: 16 }",
    )
    assert (found.max_batch_size, found.allowed_batch_sizes) == (64, (16,))


# Other text files


def test_models_config_is_read(tmp_path):
    file = tmp_path / "models.config"
    file.write_text(
        'model_config_list { config { name: "m" base_path: "/m" model_platform: "tensorflow" '
        "model_version_policy { specific { versions: 2 versions: 4 } } "
        'version_labels { key: "stable" value: 2 } } }'
    )
    (model,) = text_files.read_models(str(file)).model_config_list.config
    assert list(model.model_version_policy.specific.versions) == [2, 4]
    assert dict(model.version_labels) == {"stable": 2}


@pytest.mark.parametrize(
    "content", [b"model_config_list {", b"\xff\xfe", b"model_config_list { config { nam: 1 } }"]
)
def test_a_malformed_file_is_named(tmp_path, content):
    file = tmp_path / "models.config"
    file.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"models.config: Error parsing text-format .*ModelServerC"
    ):
        text_files.read_models(str(file))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(OSError, match=r"none: no such file"):
        text_files.read_models(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('server_key: "/etc/key.pem" server_cert: "c"', "must be the content of a PEM file"),
        (
            'server_key: "-----BEGIN" server_cert: "-----BEGIN" client_verify: true',
            "client_verify needs custom_ca",
        ),
    ],
)
def test_an_ssl_config_of_paths_or_without_an_authority_is_refused(tmp_path, text, message):
    (tmp_path / "ssl.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        Server(Options(port=0, model_base_path="/m", ssl_config_file=str(tmp_path / "ssl.txt")))


def test_grpc_arguments_are_pairs():
    with pytest.raises(ValueError, match=r"key=value,key=value. Received: 'grpc.x'"):
        Server(Options(port=0, model_base_path="/m", grpc_channel_arguments="grpc.x"))


def test_a_configuration_is_a_regular_file(tmp_path):
    import os

    os.mkfifo(tmp_path / "fifo")
    for path, kind in (
        (tmp_path / "fifo", "a pipe"),
        (tmp_path, "a folder"),
        ("/dev/zero", "a dev"),
    ):
        with pytest.raises(ValueError, match=f"{path}: expected a regular file. Found: {kind}"):
            text_files.read_models(str(path))
