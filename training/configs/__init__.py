"""Configurations by name, one module each with a `CONFIG`; `--config=NAME` chooses one.

A module's docstring gives its command, its cost and the result to expect.
"""
