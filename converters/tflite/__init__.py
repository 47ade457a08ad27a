"""TFLite files: the graph in the flatbuffer, quantisation, metadata, and writing them checked."""
