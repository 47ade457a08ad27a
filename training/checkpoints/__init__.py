"""The folder of a run: checkpoints, the record of the run's inputs, and resuming from both."""
