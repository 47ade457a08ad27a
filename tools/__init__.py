"""Commands for those who work on levit_tf; any Python runs them, with nothing installed in it."""
