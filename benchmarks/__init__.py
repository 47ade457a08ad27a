"""One command for each claim."""

import tests  # noqa: F401 - the first import; it says why
from levit_common.quiet import is_starting_command, start_keras

if is_starting_command():
    start_keras()
