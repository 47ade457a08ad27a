"""Configurations by name: one module each, with a `CONFIG`, chosen by `--config=NAME`.

A module's docstring gives the command, the cost and the expected result.
"""
