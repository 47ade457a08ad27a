"""The packages of the lock file, taken from the Python that is first in PATH."""

_LIBRARY = """
py_library(
    name = "{}",
    visibility = ["//visibility:public"],
)
"""

_REQUIREMENTS = """
def requirement(name):
    return "@{}//:" + name
"""

def _installed_packages(repository_ctx):
    lock = repository_ctx.read(repository_ctx.attr.requirements_lock)
    names = [line.split("==")[0] for line in lock.splitlines() if "==" in line and line[0].isalpha()]
    names = [name.lower().replace("_", "-").replace(".", "-") for name in names]
    repository_ctx.file("BUILD", "".join([_LIBRARY.format(name) for name in names]))
    repository_ctx.file("requirements.bzl", _REQUIREMENTS.format(repository_ctx.name))

installed_packages = repository_rule(
    implementation = _installed_packages,
    attrs = {"requirements_lock": attr.label(allow_single_file = True)},
    doc = """What pip.parse makes of a lock file, for packages that are installed already.

    requirement("NAME") is an empty library, and an error where the file has no such package.
    """,
)
