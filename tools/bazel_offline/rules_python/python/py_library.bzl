"""Bazel 4's own py_library, under the name that rules_python has for its."""

py_library = native.py_library
