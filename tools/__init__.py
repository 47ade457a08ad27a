"""Commands for developers of levit_tf; most run in any Python, without installed packages."""
