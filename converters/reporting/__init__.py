"""Reports the time and memory of a TFLite file: its ops, and their times in LiteRT."""
