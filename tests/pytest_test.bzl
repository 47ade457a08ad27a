"""A test target for a file of tests."""

load("@rules_python//python:py_test.bzl", "py_test")

def pytest_test(name, srcs = [], deps = [], **kwargs):
    """Runs `name`.py with pytest, configured as in pyproject.toml.

    Args:
      name: of the file, without its suffix.
      srcs: other files of tests which that one imports.
      deps: beside what all tests share.
      **kwargs: of py_test.
    """
    _pytest_test(name, name + ".py", srcs, deps, **kwargs)

def slow_pytest_test(name, srcs = [], **kwargs):
    """Runs the tests of `name`.py that are marked slow. `//...` leaves this target out.

    Args:
      name: of the file, without its suffix; the target is `name`_slow.
      srcs: other files of tests which that one imports.
      **kwargs: of py_test.
    """
    _pytest_test(
        name + "_slow",
        name + ".py",
        srcs,
        [],
        options = ["-m", "slow"],
        size = "enormous",
        tags = [
            "exclusive",
            "manual",
        ],
        **kwargs
    )

def _pytest_test(name, file, srcs, deps, options = [], **kwargs):
    py_test(
        name = name,
        srcs = [
            file,
            "run_pytest.py",
        ] + srcs,
        args = ["%s/%s" % (native.package_name(), file)] + options,
        data = ["//:pyproject.toml"],
        # An __init__.py beside pyproject.toml would make pytest take that folder for a package.
        legacy_create_init = 0,
        main = "run_pytest.py",
        deps = [":support"] + deps,
        **kwargs
    )
