"""The TFLite files on an emulated ARM64 CPU; `make test-arm64` runs it."""
