"""What a TFLite file spends its time and memory on: its operations, and their times in LiteRT."""
