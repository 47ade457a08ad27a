"""Pictures on disk: decoding, folders and their layout, and a small data set for tests."""
