"""Bazel 4's own py_binary, under the name that rules_python has for its."""

py_binary = native.py_binary
