"""Bazel 4's own py_test, under the name that rules_python has for its."""

py_test = native.py_test
