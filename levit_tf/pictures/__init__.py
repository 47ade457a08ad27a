"""Pictures on disk: decoding, folders and their layout, and a small set for tests."""
