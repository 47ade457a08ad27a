"""One command for each claim."""
