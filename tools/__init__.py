"""Commands for those who work on levit_tf; most run in any Python, with nothing installed in it."""
