"""The folder of a run: checkpoints, what the run was made of, and going on from both."""
