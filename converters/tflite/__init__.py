"""TFLite files: graph in the flatbuffer, quantisation, metadata, and writing with checks."""
