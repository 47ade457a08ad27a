"""One command for each claim."""

from levit_common.quiet import is_starting_command, start_keras

if is_starting_command():
    start_keras()
