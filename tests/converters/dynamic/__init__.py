"""Dynamic files: every path of every format."""
