"""What lasts as long as the tests of one process."""

import contextlib

# Closed by `tests.conftest`. Not by atexit, when no thread can start any more (Python 3.12 and
# later), as servers need to stop.
until_the_end = contextlib.ExitStack()
