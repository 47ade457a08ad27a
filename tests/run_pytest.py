"""What a test target of Bazel runs: pytest, with the configuration of the repository.

    run_pytest.py tests/test_NAME.py [PYTEST OPTION]...

Programs that tests start find the packages that the tests do. The home directory and the folders of
tests are temporary.
"""

import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def main(folder: str) -> int:
    """Runs pytest with the arguments of this command.

    Args:
      folder: for the home directory and the folders of tests.

    Returns:
      The exit code of pytest, but 0 for a file all of whose tests are slow.
    """
    # Modules of this folder are `tests.NAME` only: Python puts the folder of a script in front.
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != HERE]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    os.environ["HOME"] = folder
    import pytest  # no sooner, as what it loads looks for files there

    options = [
        *("-c", "pyproject.toml", "--rootdir=."),
        *("-p", "no:cacheprovider", f"--basetemp={folder}/pytest"),
    ]
    if "XML_OUTPUT_FILE" in os.environ:
        options.append(f"--junitxml={os.environ['XML_OUTPUT_FILE']}")
    if "TESTBRIDGE_TEST_ONLY" in os.environ:  # bazel test --test_filter
        options.append(f"-k={os.environ['TESTBRIDGE_TEST_ONLY']}")
    code = pytest.main([*options, *sys.argv[1:]])
    if code == pytest.ExitCode.NO_TESTS_COLLECTED and "slow" not in sys.argv:
        print("Every test of this file is marked slow.")
        code = pytest.ExitCode.OK
    return int(code)


if __name__ == "__main__":
    # Not TEST_TMPDIR: its path leaves no room for a Unix socket's, which has 107 characters.
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(main(temporary))
